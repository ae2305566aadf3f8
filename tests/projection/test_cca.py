"""CCAProjector against scikit-learn's CCA and PLS, its definition and its promises."""

# SPDX-License-Identifier: BSD-3-Clause

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import linalg, sparse
from sklearn.base import clone
from sklearn.cross_decomposition import CCA, PLSSVD
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import CCAProjector, PairTransformer, make_pairs
from sklearn_cmr.datasets import make_cross_modal_classification
from sklearn_cmr.metrics import map_scorer, mean_average_precision

A, B, y = make_cross_modal_classification(
    120, n_image_features=6, n_text_features=5, n_classes=3, random_state=0
)
# Two modalities that share a source, at scales far from 1.
rng = np.random.default_rng(0)
SOURCE = rng.normal(size=(200, 3))
X_IMG = SOURCE @ rng.normal(size=(3, 7)) * 50 + rng.normal(size=(200, 7)) * 40 + 300
X_TXT = SOURCE @ rng.normal(size=(3, 5)) * 0.01 + rng.normal(size=(200, 5)) * 0.01
PAIRS = make_pairs(X_IMG, X_TXT)


def align(Z, expected):
    """Return Z with the signs and the scales of the expected columns."""
    return Z * (Z * expected).sum(axis=0) / (Z**2).sum(axis=0)


def standardize(X):
    X = X.astype(np.float64) - X.mean(axis=0, dtype=np.float64)
    scale = X.std(axis=0)
    return X / np.where(scale > 0, scale, 1)


def canonical_weights(A, B, shrinkage, n_components):
    """Whiten with symmetric inverse square roots of the shrunk covariances."""
    roots = []
    for X in (A, B):
        covariance = X.T @ X / len(X)
        mean_variance = np.trace(covariance) / len(covariance)
        values, vectors = linalg.eigh(
            covariance + shrinkage * mean_variance * np.eye(len(covariance))
        )
        roots.append(vectors / np.sqrt(values) @ vectors.T)
    P, _, Qt = linalg.svd(roots[0] @ (A.T @ B / len(A)) @ roots[1])
    return roots[0] @ P[:, :n_components], roots[1] @ Qt[:n_components].T


def project(cca, X_img, X_txt):
    """Return float64 projections; `transform` rounds them to float32."""
    return [
        X @ cca.coef_[name] + cca.intercept_[name]
        for name, X in {"image": X_img, "text": X_txt}.items()
    ]


# -- golden results ----------------------------------------------------------------


def test_svd_equals_cca_of_scikit_learn():
    cca = CCAProjector(n_components=4, shrinkage=0).fit(PAIRS)
    by_hand = CCA(4, max_iter=10_000, tol=1e-24).fit(X_IMG, X_TXT)
    expected = by_hand.transform(X_IMG, X_TXT)
    for Z, Z_expected in zip(project(cca, X_IMG, X_TXT), expected, strict=True):
        assert_allclose(align(Z, Z_expected), Z_expected, atol=1e-6)


def test_nipals_is_cca_of_scikit_learn():
    cca = CCAProjector(n_components=4, solver="nipals").fit(PAIRS)
    scaled = standardize(X_IMG), standardize(X_TXT)
    expected = CCA(4, scale=False).fit(*scaled).transform(*scaled)
    for Z, Z_expected in zip(project(cca, X_IMG, X_TXT), expected, strict=True):
        assert_allclose(Z, Z_expected, atol=1e-9)


@pytest.mark.parametrize("solver", ["svd", "nipals"])
def test_pls_is_plssvd_of_scikit_learn(solver):
    cca = CCAProjector(n_components=4, method="pls", solver=solver).fit(PAIRS)
    scaled = standardize(X_IMG), standardize(X_TXT)
    expected = PLSSVD(4, scale=False).fit(*scaled).transform(*scaled)
    for Z, Z_expected in zip(project(cca, X_IMG, X_TXT), expected, strict=True):
        assert_allclose(Z, Z_expected, atol=1e-9)


@pytest.mark.parametrize("shrinkage", [0, 0.1, 3.0])
def test_svd_equals_the_definition(shrinkage):
    cca = CCAProjector(n_components=5, shrinkage=shrinkage).fit(PAIRS)
    scaled = standardize(X_IMG), standardize(X_TXT)
    weights = canonical_weights(*scaled, shrinkage, 5)
    for Z, X, W in zip(project(cca, X_IMG, X_TXT), scaled, weights, strict=True):
        signs = np.sign((Z * (X @ W)).sum(axis=0))
        assert_allclose(Z * signs, X @ W, atol=1e-10)


def test_canonical_variates_are_centered_uncorrelated_and_of_unit_variance():
    cca = CCAProjector(n_components=5, shrinkage=0).fit(PAIRS)
    Z_img, Z_txt = project(cca, X_IMG, X_TXT)
    for Z in (Z_img, Z_txt):
        assert_allclose(Z.mean(axis=0), 0, atol=1e-12)
        assert_allclose(Z.T @ Z / len(Z), np.eye(5), atol=1e-12)
    cross = Z_img.T @ Z_txt / len(Z_img)
    correlations = np.diag(cross)
    assert_allclose(cross, np.diag(correlations), atol=1e-12)
    assert (np.diff(correlations) <= 0).all()
    assert 0 < correlations[-1] <= correlations[0] <= 1


def test_float64_accuracy():
    # Columns whose scales differ by 1e12, far from zero: as exact as standardized ones.
    scales = np.logspace(-6, 6, X_IMG.shape[1])
    X = standardize(X_IMG) * scales + 1e3 * scales
    cca = CCAProjector(n_components=5, shrinkage=0).fit(make_pairs(X, X_TXT))
    plain = CCAProjector(n_components=5, shrinkage=0).fit(PAIRS)
    for Z, expected in zip(
        project(cca, X, X_TXT), project(plain, X_IMG, X_TXT), strict=True
    ):
        assert_allclose(Z, expected, atol=1e-9)
    Z = cca.transform_image(X)
    assert Z.dtype == np.float32
    assert_allclose(Z, project(cca, X, X_TXT)[0], rtol=1e-6, atol=1e-7)
    Z = cca.transform_image(X.astype(np.float32))
    assert_allclose(Z, project(cca, X, X_TXT)[0], atol=1e-2)


def test_input_is_left_unchanged():
    X_img, X_txt = X_IMG.copy(), X_TXT.copy()
    CCAProjector().fit(make_pairs(X_img, X_txt))
    assert_array_equal(X_img, X_IMG)
    assert_array_equal(X_txt, X_TXT)


# -- shapes and ranks --------------------------------------------------------------


@pytest.mark.parametrize("method", ["cca", "pls"])
def test_width_is_that_of_the_narrow_modality(method):
    cca = CCAProjector(method=method).fit(PAIRS)
    Z = cca.transform(PAIRS)
    assert Z["image"].shape == Z["text"].shape == (200, 5)
    assert len(cca.get_feature_names_out()) == 10
    narrow = CCAProjector(method=method).fit(make_pairs(X_IMG, X_TXT[:, :1]))
    assert narrow.transform_image(X_IMG).shape == (200, 1)


@pytest.mark.parametrize("method", ["cca", "pls"])
def test_more_features_than_rows(method):
    rows = slice(0, 4)
    X_img, X_txt = X_IMG[rows], X_TXT[rows]
    cca = CCAProjector(method=method).fit(make_pairs(X_img, X_txt))
    # Four centered rows have rank 3.
    n_components = 3 if method == "cca" else 4
    Z = cca.transform_image(X_IMG)
    assert Z.shape == (200, n_components)
    assert np.isfinite(Z).all()


def test_without_shrinkage_and_with_more_features_than_rows_pairs_coincide():
    X_img, X_txt = X_IMG[:5], X_TXT[:5]
    cca = CCAProjector(shrinkage=0).fit(make_pairs(X_img, X_txt))
    Z_img, Z_txt = project(cca, X_img, X_txt)
    assert_allclose(Z_img, Z_txt, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shrinkage", [0, 0.1])
def test_rows_that_sum_to_one_have_a_rank_less(dtype, shrinkage):
    topics = np.exp(SOURCE @ rng.normal(size=(3, 6)) + rng.normal(size=(200, 6)))
    topics = (topics / topics.sum(axis=1, keepdims=True)).astype(dtype)
    cca = CCAProjector(shrinkage=shrinkage).fit(make_pairs(X_IMG, topics))
    assert cca.transform_text(topics).shape == (200, 5)
    without = CCAProjector(n_components=5, shrinkage=shrinkage)
    if shrinkage:
        scaled = standardize(X_IMG), standardize(topics)
        weights = canonical_weights(*scaled, shrinkage, 5)
        expected = [X @ W for X, W in zip(scaled, weights, strict=True)]
    else:
        without.fit(make_pairs(X_IMG, topics[:, :5]))
        expected = project(without, X_IMG, topics[:, :5])
    tolerance = 1e-8 if dtype == np.float64 else 1e-4
    for Z, Z_expected in zip(project(cca, X_IMG, topics), expected, strict=True):
        signs = np.sign((Z * Z_expected).sum(axis=0))
        assert_allclose(Z * signs, Z_expected, atol=tolerance)


def test_constant_and_repeated_columns_do_not_matter():
    X = np.column_stack([X_IMG, np.full(200, 0.1), X_IMG[:, 2] * 3 + 1])
    wide = CCAProjector(shrinkage=0).fit(make_pairs(X, X_TXT))
    plain = CCAProjector(shrinkage=0).fit(PAIRS)
    for Z, expected in zip(
        project(wide, X, X_TXT), project(plain, X_IMG, X_TXT), strict=True
    ):
        signs = np.sign((Z * expected).sum(axis=0))
        assert_allclose(Z * signs, expected, atol=1e-9)


def test_features_that_rounding_has_left_almost_constant():
    X = (X_IMG * 1e-8 + 1e6).astype(np.float32)
    X[0] += 1
    with pytest.warns(ConvergenceWarning, match=r"\['image'\] alike"):
        cca = CCAProjector().fit(make_pairs(X, X_TXT))
    assert np.isfinite(cca.transform_image(X)).all()
    assert cca.transform_image(X).shape[1] >= 1


# -- arguments -----------------------------------------------------------------------


def test_labels_are_not_needed_and_are_ignored():
    cca = CCAProjector().fit(make_pairs(A, B))
    for labels in (y, np.full(120, np.nan), np.zeros(120), y[::-1], ["a"] * 120):
        other = CCAProjector().fit(A, B, labels)
        assert_array_equal(other.coef_["image"], cca.coef_["image"])
        other = CCAProjector().fit(make_pairs(A, B), labels)
        assert_array_equal(other.coef_["text"], cca.coef_["text"])
    assert not hasattr(cca, "classes_")
    assert not cca.__sklearn_tags__().target_tags.required


@pytest.mark.parametrize("to_text", [np.asarray, sparse.csr_array, pd.DataFrame])
def test_two_matrices_alone_give_a_hint(to_text):
    with pytest.raises(ValueError, match=r"fit\(make_pairs\(X_img, X_txt\)\)"):
        CCAProjector().fit(A, to_text(B))


def test_score_needs_labels():
    cca = CCAProjector().fit(make_pairs(A, B))
    assert 1 / 3 < cca.score(A, B, y) <= 1
    with pytest.raises(ValueError, match="requires y"):
        cca.score(make_pairs(A, B))


def test_fit_transform_without_labels():
    Z = CCAProjector().fit_transform(make_pairs(A, B))
    expected = CCAProjector().fit(make_pairs(A, B)).transform(make_pairs(A, B))
    for name in ("image", "text"):
        assert_array_equal(Z[name], expected[name])


def make_frame():
    columns = [f"image__{i}" for i in range(6)] + [f"text__{i}" for i in range(5)]
    return pd.DataFrame(np.hstack([A, B]), columns=columns)


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_pairs(A, B),
        lambda: {"image": A, "text": sparse.csr_matrix(B)},
        lambda: {"image": sparse.csr_array(A), "text": B},
        make_frame,
        lambda: np.hstack([A, B]),
        lambda: sparse.csr_matrix(np.hstack([A, B])),
    ],
    ids=["pairs", "sparse text", "sparse images", "frame", "matrix", "sparse matrix"],
)
@pytest.mark.parametrize("method", ["cca", "pls"])
def test_every_container(make, method):
    cca = CCAProjector(n_components=3, method=method, n_image_features=6)
    expected = clone(cca).fit(make_pairs(A, B))
    X = make()
    Z = cca.fit(X).transform(X)
    if not isinstance(Z, dict) and not hasattr(Z, "keys"):
        Z = {"image": Z[:, :3], "text": Z[:, 3:]}
    elif isinstance(Z, pd.DataFrame):
        Z = {"image": Z.to_numpy()[:, :3], "text": Z.to_numpy()[:, 3:]}
    for name, own in {"image": A, "text": B}.items():
        assert_allclose(Z[name], expected.transform_modality(own, name), atol=1e-5)


def test_rows_must_be_pairs_of_images_and_texts():
    with pytest.raises(ValueError, match="number of (rows|samples)|samples|rows"):
        CCAProjector().fit({"image": A, "text": B[:100]})
    with pytest.raises(ValueError, match="'image'.*'text'|sound"):
        CCAProjector().fit({"image": A, "sound": B})


@pytest.mark.parametrize("method", ["cca", "pls"])
@pytest.mark.parametrize("modality", ["image", "text"])
def test_constant_features_are_refused(method, modality):
    features = {"image": A, "text": B}
    features[modality] = np.full_like(features[modality], 0.1)
    cca = CCAProjector(method=method).fit(make_pairs(A, B))
    expected = cca.transform_image(A)
    with pytest.raises(ValueError, match=f"Constant {modality} features"):
        cca.fit(features)
    assert_array_equal(cca.transform_image(A), expected)
    with pytest.raises(ValueError, match="n_samples = 1"):
        CCAProjector(method=method).fit(make_pairs(A[:1], B[:1]))


@pytest.mark.parametrize(
    "params",
    [
        {"n_components": 0},
        {"n_components": 2.0},
        {"method": "kernel"},
        {"solver": "eigen"},
        {"shrinkage": -0.1},
        {"metric": "hamming"},
    ],
)
def test_invalid_parameters_are_refused(params):
    with pytest.raises(ValueError, match=f"'{next(iter(params))}' parameter"):
        CCAProjector(**params).fit(make_pairs(A, B))


# -- scikit-learn's tools --------------------------------------------------------------


def test_grid_search_in_a_pipeline():
    model = make_pipeline(
        PairTransformer(image=StandardScaler(), text=StandardScaler()), CCAProjector()
    )
    grid = {
        "ccaprojector__n_components": [2, 5],
        "ccaprojector__shrinkage": [0, 0.1],
        "ccaprojector__method": ["cca", "pls"],
    }
    search = GridSearchCV(model, grid, scoring=map_scorer, cv=3)
    search.fit(make_pairs(A, B), y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.score(make_pairs(A, B), y) > 1 / 3


def test_pipeline_without_labels():
    model = make_pipeline(PairTransformer(image=StandardScaler()), CCAProjector())
    Z = model.fit(make_pairs(A, B)).transform(make_pairs(A, B))
    assert Z["text"].shape == (120, 5)


def test_clone_and_pickle():
    cca = CCAProjector(n_components=3, metric="euclidean").fit(A, B, y)
    again = pickle.loads(pickle.dumps(cca))
    assert_array_equal(again.transform_image(A), cca.transform_image(A))
    assert again.score(A, B, y) == cca.score(A, B, y)
    copy = clone(cca)
    assert not hasattr(copy, "coef_")
    assert_array_equal(copy.fit(A, B, y).coef_["text"], cca.coef_["text"])


def test_nipals_that_does_not_converge_warns():
    # Canonical correlations from .45 to .46.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 40))
    Q = linalg.qr(X - X.mean(axis=0), mode="economic")[0]
    Q_txt = Q[:, :20] * np.linspace(0.5, 0.52, 20) + Q[:, 20:]
    pairs = make_pairs(
        Q[:, :20] @ rng.normal(size=(20, 20)), Q_txt @ rng.normal(size=(20, 20))
    )
    with pytest.warns(ConvergenceWarning, match="Maximum number of iterations reached"):
        CCAProjector(solver="nipals").fit(pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CCAProjector().fit(pairs)


def test_collapse_in_a_pipeline_warns_at_the_line_of_the_caller():
    X = np.zeros_like(A)
    X[0] = 1  # an outlier
    model = make_pipeline(PairTransformer(text=StandardScaler()), CCAProjector())
    with pytest.warns(ConvergenceWarning, match=r"\['image'\] alike") as found:
        model.fit(make_pairs(X, B))
    assert [warning.filename for warning in found] == [__file__]


# -- real data -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "of_ten", "of_five"),
    [
        ("wiki_sift_lda", (0.2462, 0.2006), (0.2592, 0.2051)),
        ("wiki_cnn_pca", (0.2775, 0.2527), (0.3364, 0.2972)),
        ("uci_mfeat", (0.5566, 0.5454), (0.5696, 0.5662)),
        ("iaprtc12_1962", (0.4950, 0.4808), (0.4790, 0.4701)),
        ("pascal_sentence_100", (0.6483, 0.6682), (0.5821, 0.6119)),
    ],
)
def test_published_map(real_data, name, of_ten, of_five):
    arrays = real_data(name)
    train = make_pairs(arrays["image_train"], arrays["text_train"])
    test = make_pairs(arrays["image_test"], arrays["text_test"])
    labels = arrays["y_test"]
    for n_components, expected in {10: of_ten, 5: of_five}.items():
        model = make_pipeline(
            PairTransformer(image=StandardScaler(), text=StandardScaler()),
            CCAProjector(n_components=n_components),
        )
        Z = model.fit(train).transform(test)
        found = [
            mean_average_precision(Z[query], Z[gallery], labels, labels)
            for query, gallery in (("image", "text"), ("text", "image"))
        ]
        assert_allclose(found, expected, atol=1e-4)
    # The rows of the topics sum to one.
    assert Z["text"].shape[1] == 5
    if name == "wiki_sift_lda":
        model.set_params(ccaprojector__n_components=10).fit(train)
        assert model.transform(test)["text"].shape[1] == 9
