"""ITQHasher against an alternation by hand, and its promises."""

# SPDX-License-Identifier: BSD-3-Clause

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from sklearn_cmr import (
    ACMRProjector,
    CCAProjector,
    ITQHasher,
    PairTransformer,
    SemanticMatchingProjector,
    make_pairs,
)
from sklearn_cmr.datasets import make_cross_modal_classification
from sklearn_cmr.hashing import unpack_codes
from sklearn_cmr.metrics import map_scorer, mean_average_precision

A, B, y = make_cross_modal_classification(
    120, n_image_features=12, n_text_features=9, n_classes=5, random_state=0
)
PAIRS = make_pairs(A, B)
TRAIN, TEST = slice(90), slice(90, None)


def make(projector=None, **params):
    return ITQHasher(projector=projector, random_state=0, **{"n_bits": 8} | params)


def centered(projector, X_img, X_txt):
    """Return the centered embeddings of unit length, without functions of ours."""
    parts = projector.transform_image(X_img), projector.transform_text(X_txt)
    parts = [Z - Z.mean(axis=0, dtype=float) for Z in parts]
    return np.vstack([Z / np.linalg.norm(Z, axis=1, keepdims=True) for Z in parts])


def initial_rotation(n_bits):
    return np.linalg.qr(np.random.RandomState(0).normal(size=(n_bits, n_bits)))[0]


# -- golden results ----------------------------------------------------------------


@pytest.mark.parametrize("n_iter", [0, 1, 20])
def test_it_equals_the_alternation_by_hand(n_iter):
    n_bits = 4
    cca = CCAProjector(n_components=7, shrinkage=0.01)
    itq = make(cca, n_bits=n_bits, n_iter=n_iter).fit(PAIRS)
    U = centered(clone(cca).fit(PAIRS), A, B)
    # Principal components whose largest coordinate is positive.
    axes = np.linalg.svd(U, full_matrices=False)[2][:n_bits]
    largest = np.abs(axes).argmax(axis=1)
    axes = (axes * np.sign(axes[np.arange(n_bits), largest])[:, None]).T
    V, R = U @ axes, initial_rotation(n_bits)
    for _ in range(n_iter):
        codes = np.where(V @ R >= 0, 1, -1)
        # As in the paper: C^T V = S O S'^T, and R = S' S^T.
        S, _, Sp_t = np.linalg.svd(codes.T @ V)
        R = Sp_t.T @ S.T
    assert_allclose(itq.rotation_, axes @ R, atol=1e-6)
    real = np.vstack([itq.encode(X, m, output="real") for m, X in PAIRS.items()])
    assert_allclose(real, V @ R, atol=1e-6)
    signs = np.vstack([itq.transform_image(A), itq.transform_text(B)])
    assert_array_equal(signs, np.where(V @ R >= 0, 1, -1))
    loss = np.linalg.norm(signs - V @ R) ** 2 / len(V)
    assert itq.quantization_losses_[-1] == pytest.approx(loss, rel=1e-6)
    assert len(itq.quantization_losses_) == n_iter + 1


@pytest.mark.parametrize("n_bits", [1, 4, 9, 40])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_loss_never_rises_and_the_rotation_is_orthogonal(n_bits, seed):
    itq = ITQHasher(projector=CCAProjector(n_components=9), n_bits=n_bits)
    itq.set_params(random_state=seed).fit(PAIRS)
    losses = np.array(itq.quantization_losses_)
    assert len(losses) == 51
    assert (np.diff(losses) <= 1e-12 * losses[0]).all()
    assert losses[-1] < losses[0] or n_bits == 1
    W = itq.rotation_
    gram = W.T @ W if n_bits <= 9 else W @ W.T
    assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


def test_narrow_embeddings_get_columns_of_zeros():
    sm = SemanticMatchingProjector().fit(PAIRS, y)
    itq = make(n_bits=12).fit(PAIRS, y)
    V = np.pad(centered(sm, A, B), ((0, 0), (0, 7)))
    R = initial_rotation(12)
    # The rotation among columns of zeros is arbitrary.
    for _ in range(50):
        codes = np.where(V @ R >= 0, 1, -1)
        S, _, Sp_t = np.linalg.svd(V.T @ codes)
        R = S @ Sp_t
    loss = ((np.where(V @ R >= 0, 1, -1) - V @ R) ** 2).sum(axis=1).mean()
    assert itq.quantization_losses_[-1] == pytest.approx(loss, rel=0.02)
    assert itq.rotation_.shape == (5, 12)
    assert itq.transform_image(A).shape == (120, 12)


def test_more_bits_keep_more_of_the_embedding():
    model = SemanticMatchingProjector().fit(A[TRAIN], B[TRAIN], y[TRAIN])
    best = model.score(A[TEST], B[TEST], y[TEST])
    scores = [
        np.mean(
            [
                ITQHasher(n_bits=n_bits, random_state=seed)
                .fit(A[TRAIN], B[TRAIN], y[TRAIN])
                .score(A[TEST], B[TEST], y[TEST])
                for seed in range(3)
            ]
        )
        for n_bits in (2, 8, 64)
    ]
    assert scores[0] < scores[1] < scores[2]
    assert abs(scores[2] - best) < 0.05


def test_the_rotation_is_better_than_the_signs_of_the_embedding():
    # Correlated coordinates: their signs alone say the same thing several times.
    rng = np.random.default_rng(0)
    labels = rng.integers(16, size=400)
    centers = rng.normal(size=(16, 8)) @ np.diag(2.0 ** -np.arange(8))
    X_img, X_txt = centers[labels] + 0.1 * rng.normal(size=(2, 400, 8))
    pls = CCAProjector(n_components=8, method="pls").fit(make_pairs(X_img, X_txt))
    signs = [np.where(Z >= 0, 1, -1) for Z in pls.transform(X_img, X_txt)]
    plain = mean_average_precision(*signs, labels, labels, metric="hamming")
    itq = make(pls).fit(make_pairs(X_img, X_txt))
    assert itq.score(X_img, X_txt, labels) > plain


# -- projectors ----------------------------------------------------------------------


def test_the_projector_is_cloned():
    cca = CCAProjector(n_components=6)
    itq = make(cca).fit(PAIRS)
    assert not hasattr(cca, "coef_")
    assert itq.projector_ is not cca
    assert itq.projector_.coef_["image"].shape == (12, 6)


def test_labels_are_needed_where_the_projector_needs_them():
    with pytest.raises(ValueError, match="requires y to be passed"):
        make().fit(PAIRS)
    assert get_tags(make()).target_tags.required
    standardize = PairTransformer(image=StandardScaler(), text=StandardScaler())
    supervised = make_pipeline(standardize, SemanticMatchingProjector())
    with pytest.raises(ValueError, match="requires y to be passed"):
        make(supervised).fit(PAIRS)
    for projector in (CCAProjector(), make_pipeline(standardize, CCAProjector())):
        itq = make(projector).fit(PAIRS)
        assert not get_tags(itq).target_tags.required
        assert not hasattr(itq, "classes_")


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["a", "b", "c", "d", "e"])[y],
        y - 2.0,
        np.eye(5, dtype=np.uint8)[y],
        np.maximum(np.eye(5, dtype=int)[y], np.eye(5, dtype=int)[y[::-1]]),
    ],
    ids=["str", "float", "indicator", "several"],
)
def test_the_projector_gets_the_labels(labels):
    itq = make().fit(A, B, labels)
    sm = SemanticMatchingProjector().fit(A, B, labels)
    assert_array_equal(itq.classes_, sm.classes_)
    assert_array_equal(itq.projector_.transform_text(B), sm.transform_text(B))


class OwnProjector(TransformerMixin, BaseEstimator):
    """Project to the probabilities of one classifier a label; no class of ours."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def fit(self, X, y):
        model = OneVsRestClassifier(GaussianNB())
        self.models_ = {name: clone(model).fit(part, y) for name, part in X.items()}
        return self

    def transform(self, X):
        return {
            name: self.models_[name].predict_proba(part) for name, part in X.items()
        }


def test_more_than_256_labels_of_any_projector():
    # scikit-learn numbers the columns of a uint8 indicator modulo 256.
    X = np.random.default_rng(0).normal(size=(300, 4))
    Y = np.eye(300, dtype=int)
    Y[:, 0] = Y[1, 299] = Y[2, 256] = 1
    Y[5, 0] = 0
    itq = make(OwnProjector()).fit(X, X, Y)
    expected = OwnProjector().fit({"image": X}, Y).transform({"image": X})
    assert_array_equal(
        itq.projector_.transform({"image": X})["image"], expected["image"]
    )


def test_supervised_steps_of_a_pipeline_need_labels():
    select = PairTransformer(image=LinearDiscriminantAnalysis())
    itq = make(make_pipeline(select, CCAProjector()))
    with pytest.raises(ValueError, match="requires y to be passed"):
        itq.fit(PAIRS)
    expected = clone(select).fit_transform(PAIRS, y)["image"]
    assert_array_equal(
        itq.fit(PAIRS, y).projector_[0].transform(PAIRS)["image"], expected
    )


def test_a_pipeline_equals_its_steps():
    standardize = PairTransformer(image=StandardScaler(), text=StandardScaler())
    X_img, X_txt = A * 100 + 3, B * 0.01
    scaled = standardize.fit_transform(make_pairs(X_img, X_txt))
    expected = make().fit(scaled, y).transform(scaled)
    inner = make(make_pipeline(standardize, SemanticMatchingProjector()))
    outer = make_pipeline(standardize, make())
    for model in (inner, outer):
        found = model.fit(make_pairs(X_img, X_txt), y)
        found = found.transform(make_pairs(X_img, X_txt))
        for name in PAIRS:
            assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("as_pipeline", [False, True])
def test_a_frozen_projector_is_not_fitted_again(as_pipeline):
    sm = SemanticMatchingProjector(C=1.0).fit(A[:60], B[:60], y[:60])
    frozen = FrozenEstimator(make_pipeline(sm) if as_pipeline else sm)
    expected = sm.transform_image(A)
    itq = make(frozen).fit(PAIRS)  # needs no labels
    assert_array_equal(itq.projector_.transform({"image": A})["image"], expected)
    assert_allclose(itq.means_["image"], expected.mean(axis=0, dtype=float))
    unpaired = make(frozen).fit({"image": A, "text": B[:50]})
    assert unpaired.transform_text(B).shape == (120, 8)


def test_a_network_as_projector():
    acmr = ACMRProjector(embedding_dim=8, max_epochs=2, random_state=0, device="cpu")
    itq = make(acmr, n_bits=4).fit(A, B, y)
    assert itq.projector_.n_iter_ == 2
    assert itq.transform_image(A).shape == (120, 4)


def test_unpaired_modalities_with_rows_of_their_own():
    X = {"image": A, "text": B[:70], "sound": A[:80, :4]}
    labels = {name: y[: len(part)] for name, part in X.items()}
    itq = make().fit(X, labels)
    assert itq.modalities_ == ("image", "text", "sound")
    assert set(itq.means_) == set(X)
    assert itq.n_sound_features_in_ == 4
    expected = SemanticMatchingProjector().fit(X, labels)
    Z = expected.transform_modality(A[:, :4], "sound")
    mean = Z[:80].mean(axis=0, dtype=float)
    real = (Z - mean) / np.linalg.norm(Z - mean, axis=1, keepdims=True) @ itq.rotation_
    assert_allclose(itq.encode(A[:, :4], "sound", output="real"), real, atol=1e-6)
    assert 0.2 < itq.score(X, labels) <= 1


def test_modalities_of_a_projector_of_pairs():
    with pytest.raises(ValueError, match="keys 'image' and 'text'"):
        make(CCAProjector()).fit({"image": A, "text": B, "sound": A})
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        make(CCAProjector()).fit({"image": A, "text": B[:50]})


def test_embeddings_that_are_no_common_space_are_refused():
    different = PairTransformer(image=PCA(3), text=PCA(4))
    with pytest.raises(ValueError, match=r"one common space.*'image': 3, 'text': 4"):
        make(different).fit(PAIRS)
    with pytest.raises(ValueError, match="real-valued embeddings.*dtype int8"):
        make(make()).fit(PAIRS, y)


@pytest.mark.parametrize(
    "params", [{"n_bits": 0}, {"n_iter": -1}, {"projector": "CCA"}, {"output": "real"}]
)
def test_invalid_parameters_are_refused(params):
    with pytest.raises(ValueError, match=f"'{next(iter(params))}' parameter"):
        make(**params).fit(A, B, y)


# -- codes and tools -------------------------------------------------------------------


def test_forms_of_codes_agree():
    itq = make(n_bits=12).fit(A, B, y)
    signs, bits, packed, real = (
        itq.encode(B, "text", output=form)
        for form in ("sign", "bool", "packed", "real")
    )
    assert_array_equal(signs, itq.transform_text(B))
    assert_array_equal(bits, signs > 0)
    assert_array_equal(bits, real >= 0)
    assert np.abs(real).max() <= 1 and real.dtype == np.float32
    assert_array_equal(unpack_codes(packed, 12), signs)
    itq.set_params(output="packed")
    assert_array_equal(itq.transform_text(B), packed)


def test_the_seed_determines_the_codes():
    first, second = (make().fit(A, B, y).transform_image(A) for _ in range(2))
    assert_array_equal(first, second)
    other = make().set_params(random_state=1).fit(A, B, y).transform_image(A)
    assert (other != first).any()


def test_missing_labels():
    labels = y.astype(object)
    labels[[3, 8]] = None
    with pytest.warns(UserWarning, match="2 of 120 rows of y have no label"):
        itq = make(missing_labels="drop").fit(A, B, labels)
    rows = np.delete(np.arange(120), [3, 8])
    expected = make().fit(A[rows], B[rows], y[rows])
    assert_array_equal(itq.transform_image(A), expected.transform_image(A))


def test_a_failed_fit_leaves_the_fitted_hasher():
    itq = make().fit(A, B, y)
    expected = itq.transform_image(A)
    with pytest.raises(ValueError, match="one common space"):
        itq.set_params(projector=PairTransformer(image=PCA(3), text=PCA(4))).fit(PAIRS)
    assert_array_equal(itq.transform_image(A), expected)


def test_clone_and_pickle():
    itq = make(CCAProjector(n_components=6)).fit(PAIRS)
    again = pickle.loads(pickle.dumps(itq))
    assert_array_equal(again.transform_text(B), itq.transform_text(B))
    assert clone(itq).get_params()["projector__n_components"] == 6


def test_grid_search_over_the_projector():
    search = GridSearchCV(
        make(SemanticMatchingProjector()),
        [
            {"projector__C": [0.01, 1.0], "n_bits": [4, 16]},
            {"projector": [CCAProjector()]},
        ],
        scoring=map_scorer,
        cv=3,
    ).fit(PAIRS, y)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all() and len(set(scores)) == 5


@pytest.mark.filterwarnings("error:X (has|does not have) valid feature names")
def test_named_columns():
    columns = [f"image__{i}" for i in range(12)] + [f"text__{i}" for i in range(9)]
    X = pd.DataFrame(np.hstack([A, B]), columns=columns)
    itq = make().fit(X, y).set_output(transform="pandas")
    expected = make().fit(A, B, y).transform(A, B)
    assert_array_equal(itq.transform(X), np.hstack(expected))
    assert list(itq.feature_names_in_) == columns


# -- real data -------------------------------------------------------------------------


def test_codes_of_the_wikipedia_features(real_data):
    arrays = real_data("wiki_cnn_pca")
    model = make_pipeline(
        PairTransformer(image=StandardScaler(), text=StandardScaler()),
        ITQHasher(random_state=0),
    )
    train = make_pairs(arrays["image_train"], arrays["text_train"])
    held_out = np.arange(len(arrays["y_train"])) % 3 == 0
    labels = arrays["y_train"]
    model.fit(train[~held_out], labels[~held_out])
    # Cosines of the embeddings of 10 columns reach about .34.
    assert model.score(train[held_out], labels[held_out]) > 0.31
