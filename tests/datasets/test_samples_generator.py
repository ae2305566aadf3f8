"""The generator of paired features with a shared latent class structure."""

# SPDX-License-Identifier: BSD-3-Clause

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from sklearn_cmr.datasets import make_cross_modal_classification

SEEDS = st.integers(0, 2**32 - 1)


def _residual(A, B):
    """Share of `B` that no linear map of `A` explains."""
    return np.linalg.norm(B - A @ np.linalg.lstsq(A, B)[0]) / np.linalg.norm(B)


@settings(max_examples=40, deadline=None)
@given(
    n_samples=st.integers(1, 60),
    n_image_features=st.integers(1, 9),
    n_text_features=st.integers(1, 9),
    n_classes=st.integers(2, 6),
    n_latent=st.integers(1, 5),
    nonlinearity=st.floats(0, 1),
    multilabel=st.booleans(),
    random_state=SEEDS,
)
def test_shapes_types_and_labels(
    n_samples, n_image_features, n_text_features, n_classes, multilabel, **params
):
    X_img, X_txt, y = make_cross_modal_classification(
        n_samples,
        n_image_features=n_image_features,
        n_text_features=n_text_features,
        n_classes=n_classes,
        multilabel=multilabel,
        **params,
    )
    assert X_img.shape == (n_samples, n_image_features)
    assert X_txt.shape == (n_samples, n_text_features)
    assert X_img.dtype == X_txt.dtype == np.float64
    assert np.isfinite(X_img).all() and np.isfinite(X_txt).all()
    assert y.dtype == np.int64
    if multilabel:
        assert y.shape == (n_samples, n_classes)
        assert set(np.unique(y)) <= {0, 1}
        assert y.sum(axis=1).min() >= 1
    else:
        assert y.shape == (n_samples,)
        assert y.min() >= 0 and y.max() < n_classes


@pytest.mark.parametrize("multilabel", [False, True])
def test_random_state_fixes_everything(multilabel):
    def make(random_state):
        return make_cross_modal_classification(
            50, multilabel=multilabel, random_state=random_state
        )

    first = make(3)
    for again in (make(3), make(np.random.RandomState(3))):
        for a, b in zip(first, again, strict=True):
            assert_array_equal(a, b)
    for a, b in zip(first, make(4), strict=True):
        assert (a != b).any()


@pytest.mark.parametrize("multilabel", [False, True])
def test_global_generator_is_untouched_by_a_seed(multilabel):
    def state():
        return pickle.dumps(np.random.get_state())  # noqa: NPY002

    before = state()
    make_cross_modal_classification(20, multilabel=multilabel, random_state=0)
    assert state() == before


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.floats(0.01, 100), min_size=2, max_size=8),
    n_samples=st.integers(1, 200),
    random_state=SEEDS,
)
def test_class_sizes_follow_the_weights(weights, n_samples, random_state):
    *_, y = make_cross_modal_classification(
        n_samples, n_classes=len(weights), weights=weights, random_state=random_state
    )
    sizes = np.bincount(y, minlength=len(weights))
    exact = n_samples * np.array(weights) / np.sum(weights)
    # Less than one off at either end of a class.
    assert np.abs(sizes - exact).max() <= 1 + 1e-9


def test_classes_are_balanced_and_mixed_by_default():
    *_, y = make_cross_modal_classification(100, n_classes=4, random_state=0)
    assert_array_equal(np.bincount(y), [25, 25, 25, 25])
    # Neither sorted nor in turns.
    assert len(set(y[:10].tolist())) > 1
    assert len({tuple(row) for row in y.reshape(25, 4)}) > 10


def test_only_the_proportion_of_weights_matters():
    first, second = (
        make_cross_modal_classification(
            90, n_classes=3, weights=weights, random_state=0
        )
        for weights in ([1, 2, 3], np.array([10.0, 20.0, 30.0]))
    )
    assert_array_equal(np.bincount(first[2]), [15, 30, 45])
    for a, b in zip(first, second, strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("n_labels", [1, 1.5, 3, 5])
def test_mean_number_of_labels(n_labels):
    *_, Y = make_cross_modal_classification(
        4000, n_classes=5, multilabel=True, n_labels=n_labels, random_state=0
    )
    assert Y.sum(axis=1).mean() == pytest.approx(n_labels, abs=0.05)
    assert_allclose(Y.mean(axis=0), n_labels / 5, atol=0.04)


def test_labels_are_drawn_with_the_weights():
    *_, Y = make_cross_modal_classification(
        4000,
        n_classes=3,
        multilabel=True,
        n_labels=1,
        weights=[0.6, 0.3, 0.1],
        random_state=0,
    )
    assert_allclose(Y.mean(axis=0), [0.6, 0.3, 0.1], atol=0.03)


def test_without_noise_linear_views_show_one_latent_point():
    X_img, X_txt, _ = make_cross_modal_classification(
        100, n_latent=5, nonlinearity=0, image_noise=0, text_noise=0, random_state=0
    )
    assert np.linalg.matrix_rank(X_img) == np.linalg.matrix_rank(X_txt) == 5
    assert _residual(X_img, X_txt) < 1e-10
    assert _residual(X_img, X_txt[::-1]) > 0.5


@pytest.mark.parametrize("n_latent", [20, 200])
def test_scale_does_not_depend_on_the_latent_dimension(n_latent):
    X_img, *_ = make_cross_modal_classification(
        n_image_features=200,
        n_classes=50,
        n_latent=n_latent,
        class_sep=3,
        nonlinearity=0,
        image_noise=0,
        random_state=0,
    )
    # The variances of the centres and of the instances around them.
    assert np.square(X_img).mean() == pytest.approx(3**2 + 1, rel=0.15)


def test_nonlinearity_bends_and_bounds_the_views():
    X_img, X_txt, _ = make_cross_modal_classification(
        200, n_latent=5, nonlinearity=1, image_noise=0, text_noise=0, random_state=0
    )
    assert np.linalg.matrix_rank(X_img) > 5
    assert np.abs(X_img).max() <= 1 and np.abs(X_txt).max() <= 1
    X_half, *_ = make_cross_modal_classification(
        200, n_latent=5, nonlinearity=0.5, image_noise=0, random_state=0
    )
    X_line, *_ = make_cross_modal_classification(
        200, n_latent=5, nonlinearity=0, image_noise=0, random_state=0
    )
    assert_allclose(np.tanh(X_line), X_img)
    assert_allclose((X_line + X_img) / 2, X_half)


@settings(max_examples=20, deadline=None)
@given(image_noise=st.floats(0, 5), text_noise=st.floats(0, 5), random_state=SEEDS)
def test_noise_changes_the_amount_of_noise_and_nothing_else(
    image_noise, text_noise, random_state
):
    def make(image_noise, text_noise):
        return make_cross_modal_classification(
            15,
            image_noise=image_noise,
            text_noise=text_noise,
            random_state=random_state,
        )

    clean, unit, noisy = make(0, 0), make(1, 1), make(image_noise, text_noise)
    assert_array_equal(clean[2], noisy[2])
    for part, amount in enumerate((image_noise, text_noise)):
        expected = clean[part] + amount * (unit[part] - clean[part])
        assert_allclose(noisy[part], expected, atol=1e-9)


def test_noise_is_standard_normal():
    clean, noisy = (
        make_cross_modal_classification(
            500, image_noise=noise, text_noise=2 * noise, random_state=0
        )
        for noise in (0, 1)
    )
    for part, scale in ((0, 1), (1, 2)):
        noise = noisy[part] - clean[part]
        assert noise.mean() == pytest.approx(0, abs=0.05)
        assert noise.std() == pytest.approx(scale, rel=0.03)


def test_image_does_not_depend_on_the_text():
    first, *_ = make_cross_modal_classification(30, random_state=0)
    second, *_ = make_cross_modal_classification(
        30, n_text_features=5, text_noise=3, random_state=0
    )
    assert_array_equal(first, second)


def test_class_sep_sets_how_well_classes_are_told_apart():
    accuracies = []
    for class_sep in (0, 1, 3):
        X_img, X_txt, y = make_cross_modal_classification(
            500, n_classes=5, class_sep=class_sep, random_state=0
        )
        accuracies.append(
            [
                cross_val_score(LogisticRegression(), X, y, cv=3).mean()
                for X in (X_img, X_txt)
            ]
        )
    none, some, much = np.array(accuracies)
    assert_allclose(none, 0.2, atol=0.08)
    assert (some > 0.5).all() and (some < 0.95).all()
    assert (much > 0.95).all()


def test_pairs_share_more_than_the_class():
    X_img, X_txt, y = make_cross_modal_classification(
        600, n_classes=3, image_noise=0.5, text_noise=0.5, random_state=0
    )
    for c in range(3):
        A, B = (X[y == c] - X[y == c].mean(axis=0) for X in (X_img, X_txt))
        assert _residual(A, B) < 0.8
        assert _residual(A, B[::-1]) > 0.8


def test_length_of_the_latent_point_does_not_grow_with_labels():
    X_img, _, Y = make_cross_modal_classification(
        3000,
        n_classes=40,
        n_latent=60,
        n_labels=4,
        class_sep=5,
        nonlinearity=0,
        image_noise=0,
        multilabel=True,
        random_state=0,
    )
    power = np.square(X_img).mean(axis=1)
    n_labels = Y.sum(axis=1)
    one, many = power[n_labels == 1].mean(), power[n_labels >= 5].mean()
    assert many / one == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize(
    "weights",
    [[0.5, 0.5], [[0.2, 0.3, 0.5]], [1, 1, 0], [1, 1, -1], [1, 1, 1, 1]],
)
def test_bad_weights(weights):
    with pytest.raises(ValueError, match="one positive number for each of the 3"):
        make_cross_modal_classification(n_classes=3, weights=weights)


def test_weights_must_be_finite():
    with pytest.raises(ValueError, match="Input weights contains NaN"):
        make_cross_modal_classification(n_classes=2, weights=[1, np.nan])


def test_more_labels_than_classes():
    with pytest.raises(ValueError, match="n_labels=4 must not exceed n_classes=3"):
        make_cross_modal_classification(n_classes=3, n_labels=4, multilabel=True)
    # Without multilabel the parameter has no meaning.
    make_cross_modal_classification(5, n_classes=3, n_labels=4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_samples", 0),
        ("n_samples", 2.5),
        ("n_image_features", 0),
        ("n_text_features", 0),
        ("n_classes", 1),
        ("n_latent", 0),
        ("class_sep", -1),
        ("nonlinearity", 1.5),
        ("image_noise", -0.1),
        ("text_noise", -0.1),
        ("multilabel", "yes"),
        ("n_labels", 0.5),
        ("weights", 3),
        ("random_state", "seed"),
    ],
)
def test_parameters_are_validated(name, value):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of"):
        make_cross_modal_classification(**{name: value})


def test_all_but_the_first_parameter_are_keyword_only():
    with pytest.raises(TypeError, match="positional"):
        make_cross_modal_classification(10, 5)
