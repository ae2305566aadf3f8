"""The generator of images of regions."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from sklearn_cmr.datasets import make_cross_modal_regions


def test_shapes_types_and_classes():
    X_img, X_txt, y, informative = make_cross_modal_regions(
        90,
        n_regions=5,
        n_informative=3,
        n_image_features=4,
        n_text_features=6,
        n_classes=3,
        return_informative=True,
        random_state=0,
    )
    assert X_img.shape == (90, 5, 4) and X_txt.shape == (90, 6)
    assert X_img.dtype == X_txt.dtype == np.float64
    assert np.isfinite(X_img).all() and np.isfinite(X_txt).all()
    assert np.bincount(y).tolist() == [30, 30, 30] and y.dtype == np.int64
    assert informative.shape == (90, 5) and informative.dtype == bool
    assert (informative.sum(axis=1) == 3).all()
    # In random places.
    assert (informative.mean(axis=0) > 0.3).all()


def test_absent_regions_are_nan_and_last():
    X_img, _, _, informative = make_cross_modal_regions(
        400, n_regions=6, min_regions=3, return_informative=True, random_state=0
    )
    absent = np.isnan(X_img)
    assert_array_equal(absent.all(axis=2), absent.any(axis=2))
    absent = absent.all(axis=2)
    assert_array_equal(absent, np.sort(absent, axis=1))
    counts = (~absent).sum(axis=1)
    assert set(counts) == {3, 4, 5, 6} and np.bincount(counts)[3:].min() > 60
    assert not (informative & absent).any()
    assert (informative.sum(axis=1) == 2).all()


def test_only_informative_regions_and_texts_tell_the_class():
    X_img, X_txt, y, informative = make_cross_modal_regions(
        600, n_classes=4, return_informative=True, random_state=0
    )
    first = informative.argmax(axis=1)
    background = (~informative).argmax(axis=1)
    rows = np.arange(600)
    model = LogisticRegression(max_iter=1000)
    assert cross_val_score(model, X_img[rows, first], y).mean() > 0.7
    assert cross_val_score(model, X_img[rows, background], y).mean() < 0.33
    assert cross_val_score(model, X_txt, y).mean() > 0.7


def test_regions_of_an_image_show_one_instance():
    """They share more than the class: views of one latent point."""
    X_img, _, y, informative = make_cross_modal_regions(
        300, image_noise=0.1, n_classes=2, return_informative=True, random_state=0
    )
    pairs = X_img[informative].reshape(300, 2, -1)
    same = np.linalg.norm(pairs[:, 0] - pairs[:, 1], axis=1)
    of_class = pairs[y == 0]
    other = np.linalg.norm(of_class[1:, 0] - of_class[:-1, 1], axis=1)
    assert np.median(same) < np.median(other) / 2


def test_seed_decides():
    params = {"n_samples": 20, "min_regions": 4}
    first = make_cross_modal_regions(**params, random_state=0)
    for a, b in zip(
        first, make_cross_modal_regions(**params, random_state=0), strict=True
    ):
        assert_array_equal(a, b)
    other = make_cross_modal_regions(**params, random_state=1)
    assert not np.array_equal(first[1], other[1])


@pytest.mark.parametrize(
    "params",
    [
        {"n_informative": 10},
        {"min_regions": 10},
        {"n_informative": 4, "min_regions": 3},
    ],
)
def test_impossible_numbers_of_regions(params):
    with pytest.raises(ValueError, match="n_informative regions at least"):
        make_cross_modal_regions(**params)
    with pytest.raises(ValueError, match="'n_regions' parameter"):
        make_cross_modal_regions(n_regions=0)
