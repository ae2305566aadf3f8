"""Rows of matrices in files, which are read when they are needed."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import KFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from sklearn_cmr import (
    AADAHHasher,
    ACMRProjector,
    CCAProjector,
    DRCLProjector,
    PairTransformer,
    SSAHHasher,
    make_pairs,
)
from sklearn_cmr._arrays import MappedRows, blocks_of, take_rows
from sklearn_cmr.datasets import make_cross_modal_classification

SMALL = {"hidden_layer_sizes": (16,), "max_epochs": 2, "random_state": 0}
IMAGE, TEXT, y = make_cross_modal_classification(120, n_classes=3, random_state=0)
ROWS = np.random.default_rng(0).permutation(120)[:80]


@pytest.fixture
def mapped(tmp_path):
    parts = []
    for name, X in {"image": IMAGE, "text": TEXT}.items():
        np.save(tmp_path / f"{name}.npy", X)
        parts.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    return parts


def test_rows_are_those_of_the_array(mapped):
    lazy = take_rows(mapped[0], ROWS)
    assert isinstance(lazy, MappedRows)
    assert (lazy.shape, lazy.dtype, len(lazy)) == ((80, 64), IMAGE.dtype, 80)
    assert lazy.size == 80 * 64
    np.testing.assert_array_equal(lazy, IMAGE[ROWS])
    np.testing.assert_array_equal(lazy[3:9], IMAGE[ROWS][3:9])
    assert isinstance(lazy[3:9], MappedRows)
    assert type(lazy[[5, -1]]) is np.ndarray
    np.testing.assert_array_equal(lazy[[5, -1]], IMAGE[ROWS][[5, -1]])
    np.testing.assert_array_equal(np.asarray(lazy, dtype=int), IMAGE[ROWS].astype(int))
    mask = np.arange(80) % 3 == 0
    twice = take_rows(lazy, mask)
    assert twice.array is mapped[0]
    np.testing.assert_array_equal(twice, IMAGE[ROWS][mask])
    assert repr(twice) == "<27 rows of a float64 array of (120, 64)>"


@pytest.mark.parametrize("rows", [slice(3, 9), [4, 2], np.arange(120) > 50])
def test_other_arrays_are_sliced_as_usual(rows):
    found = take_rows(IMAGE, rows)
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, IMAGE[rows])


def test_blocks_have_all_rows(mapped, monkeypatch):
    monkeypatch.setattr("sklearn_cmr._arrays._VALUES_AT_ONCE", 64 * 7)
    for X in (IMAGE, take_rows(mapped[0], np.arange(120))):
        blocks = list(blocks_of(X))
        assert [len(block) for block in blocks] == [7] * 17 + [1]
        assert all(isinstance(block, np.ndarray) for block in blocks)
        np.testing.assert_array_equal(np.vstack(blocks), IMAGE)


def test_pairs_select_rows_without_reading(mapped):
    pairs = make_pairs(*mapped)
    some = pairs[ROWS]
    assert all(isinstance(part, MappedRows) for part in some.unread().values())
    assert repr(some) == "<Pairs of image: (80, 64), text: (80, 32)>"
    copies = [some, some.copy(), copy.copy(some), pickle.loads(pickle.dumps(some))]
    for found in (*copies, train_test_split(pairs, shuffle=False)[0][:80][:80]):
        assert all(isinstance(part, MappedRows) for part in found.unread().values())
    # Whoever takes a modality out gets an array.
    ways = [
        some["image"],
        some.get("image"),
        dict(some)["image"],
        {**some}["image"],
        dict(some.items())["image"],
        list(some.values())[0],
        take_image(**some),
    ]
    for found in ways:
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, IMAGE[ROWS])
    assert len(some.items()) == len(some.values()) == 2
    assert some.get("sound") is None
    assert some == make_pairs(IMAGE[ROWS], TEXT[ROWS])


def take_image(image, text):
    return image


@pytest.mark.parametrize(
    "estimator",
    [
        ACMRProjector(**SMALL, early_stopping=True),
        DRCLProjector(**SMALL),
        SSAHHasher(**SMALL),
        CCAProjector(),
        make_pipeline(
            PairTransformer(image=FunctionTransformer(lambda X: X[:, :9].clip(-1, 1))),
            ACMRProjector(**SMALL),
        ),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_estimators_learn_the_same(estimator, mapped):
    results = []
    for parts in ((IMAGE, TEXT), mapped):
        pairs = make_pairs(*parts)
        estimator.fit(pairs[ROWS], y[ROWS])
        Z = estimator.transform(pairs[ROWS[::2]])
        results.append([*Z.values(), estimator.score(pairs[ROWS], y[ROWS])])
    for found, expected in zip(*results, strict=True):
        assert not isinstance(found, MappedRows)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ">f4", bool])
def test_other_dtypes(dtype, tmp_path):
    image = (IMAGE > 0).astype(dtype)
    np.save(tmp_path / "image.npy", image)
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    codes = [
        SSAHHasher(**SMALL)
        .fit(make_pairs(X, TEXT)[ROWS], y[ROWS])
        .transform_image(mapped)
        for X in (image, mapped)
    ]
    np.testing.assert_array_equal(*codes)


class MeanOfPixels(nn.Module):
    def forward(self, X):
        return X.float().mean(dim=(2, 3))


@pytest.mark.parametrize("dtype", [np.float64, np.uint8, np.uint16])
def test_items_for_an_encoder_stay_in_the_file(dtype, tmp_path, monkeypatch):
    shape = (120, 16, 3, 2)
    images = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    codes = []
    for X in (images, mapped):
        estimator = ACMRProjector(**SMALL, encoders={"image": MeanOfPixels()})
        fold = PairTransformer().fit_transform(make_pairs(X, TEXT)[ROWS])
        if X is mapped:
            assert isinstance(fold.unread()["image"], MappedRows)
            assert fold.unread()["image"].nbytes == images[ROWS].nbytes
            monkeypatch.setattr("sklearn_cmr._arrays._VALUES_AT_ONCE", 16 * 6 * 7)
        codes.append(estimator.fit(fold, y[ROWS]).transform_image(fold["image"]))
    np.testing.assert_array_equal(*codes)


def test_regions_in_a_file(tmp_path):
    regions = np.random.default_rng(0).normal(size=(120, 4, 5))
    regions[::3, 2:] = np.nan
    np.save(tmp_path / "regions.npy", regions)
    mapped = np.load(tmp_path / "regions.npy", mmap_mode="r")
    codes = []
    for X in (regions, mapped):
        estimator = AADAHHasher(**SMALL).fit(make_pairs(X, TEXT)[ROWS], y[ROWS])
        codes.append(estimator.transform_image(X))
    np.testing.assert_array_equal(*codes)


def test_reversed_rows_of_a_file(mapped):
    codes = [
        DRCLProjector(**SMALL).fit(make_pairs(*parts)[ROWS][::-1], y[ROWS][::-1])
        for parts in ((IMAGE, TEXT), mapped)
    ]
    np.testing.assert_array_equal(*[c.transform_image(IMAGE) for c in codes])


def test_checkpoints_of_a_fold(mapped, tmp_path):
    estimator = ACMRProjector(**SMALL, checkpoint=tmp_path / "folder")
    fitted = clone(estimator).fit(make_pairs(*mapped)[ROWS], y[ROWS])
    # The same values, in memory.
    read = clone(estimator).fit(make_pairs(IMAGE, TEXT)[ROWS], y[ROWS])
    assert read.n_iter_ == fitted.n_iter_
    with pytest.raises(ValueError, match="image features: other values"):
        clone(estimator).fit(make_pairs(*mapped)[ROWS[::-1]], y[ROWS[::-1]])


def test_a_modality_taken_out_is_an_array(mapped):
    pairs = make_pairs(*mapped)[ROWS]
    assert type(pairs.pop("image")) is np.ndarray
    assert list(pairs) == ["text"]
    assert pairs.pop("sound", None) is None


@pytest.mark.parametrize("rows", [None, (1, 2), [[0, 1]], np.ones((120, 1), bool)])
def test_rows_are_selected_by_one_dimension(mapped, rows):
    for pairs in (make_pairs(*mapped), make_pairs(IMAGE, TEXT)):
        with pytest.raises(IndexError, match="rows have one dimension. Pass a slice"):
            pairs[rows]


def test_scores_of_folds(mapped):
    folds = KFold(3, shuffle=True, random_state=0)
    scores = [
        cross_val_score(ACMRProjector(**SMALL), make_pairs(*parts), y, cv=folds)
        for parts in ((IMAGE, TEXT), mapped)
    ]
    np.testing.assert_array_equal(*scores)


def test_rows_without_a_label_are_left_out_unread(mapped):
    labels = y.astype(float)
    labels[::7] = np.nan
    codes = []
    for parts in ((IMAGE, TEXT), mapped):
        estimator = SSAHHasher(**SMALL, missing_labels="drop")
        with pytest.warns(UserWarning, match="have no label"):
            estimator.fit(*parts, labels)
        codes.append(estimator.transform_image(IMAGE))
    np.testing.assert_array_equal(*codes)


def test_bad_values_are_found(tmp_path):
    image = IMAGE.copy()
    image[ROWS[70], 3] = np.nan
    np.save(tmp_path / "image.npy", image)
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    with pytest.raises(ValueError, match="image features contains NaN"):
        ACMRProjector(**SMALL).fit(make_pairs(mapped, TEXT)[ROWS], y[ROWS])
    clean = make_pairs(mapped, TEXT)[ROWS[:70]]
    ACMRProjector(**SMALL).fit(clean, y[ROWS[:70]])
    with pytest.raises(ValueError, match="0 sample"):
        ACMRProjector(**SMALL).fit(clean[np.arange(0)], y[:0])
