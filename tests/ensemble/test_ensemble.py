"""CrossModalEnsemble: what its members make of every input, and how it is combined."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import pickle
from itertools import permutations

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import (
    AADAHHasher,
    ACMRProjector,
    CCAProjector,
    CMGANProjector,
    CrossModalEnsemble,
    DRCLProjector,
    PairTransformer,
    SemanticMatchingProjector,
    SSAHHasher,
    make_pairs,
)
from sklearn_cmr.base import CrossModalTransformer, ProjectorMixin
from sklearn_cmr.datasets import make_cross_modal_classification
from sklearn_cmr.ensemble._ensemble import match_bits
from sklearn_cmr.metrics import map_scorer, mean_average_precision
from tests.base.methods import A, B, make, y

PAIRS = {"image": A, "text": B}
UNPAIRED = {"image": A, "text": B[:40], "sound": A[:30, :4]}
UNPAIRED_LABELS = {"image": y, "text": y[:40], "sound": y[:30]}


def ensemble(*classes, params=None, **options):
    """Make an ensemble that trains for a moment, of one or of several classes."""
    members = [(cls.__name__[:4].lower(), make(cls, **params or {})) for cls in classes]
    estimator = members if len(members) > 1 else members[0][1]
    return CrossModalEnsemble(
        estimator, **{"n_estimators": 3, "random_state": 0} | options
    )


@pytest.fixture(scope="module")
def acmr():
    return ensemble(ACMRProjector).fit(A, B, y)


class LengthProjector(ProjectorMixin, CrossModalTransformer):
    """The first columns, or a zero embedding where the first one is negative."""

    def __init__(
        self, *, scale=1.0, metric="cosine", missing_labels="raise",
        n_image_features=None,
    ):  # fmt: skip
        self.scale = scale
        self.metric = metric
        self.missing_labels = missing_labels
        self.n_image_features = n_image_features

    _parameter_constraints = CrossModalTransformer._parameter_constraints
    _n_components = 3

    def _fit(self, features, labels):
        self.labels_ = labels

    def _encode(self, X, modality):
        scale = np.where(X[:, :1] < 0, 0, self.scale)
        return (X[:, :3] * scale).astype(np.float32)


# -- embeddings ------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["image", "text"])
def test_unit_embeddings_stand_side_by_side(acmr, modality):
    X = PAIRS[modality]
    Z = acmr.transform_modality(X, modality)
    expected = np.zeros((len(X), 24))
    for i, member in enumerate(acmr.estimators_):
        for row, own in enumerate(member.transform_modality(X, modality)):
            expected[row, 8 * i : 8 * i + 8] = own / np.sqrt(np.sum(own**2)) / 3**0.5
    assert Z.dtype == np.float32
    assert_allclose(Z, expected, rtol=1e-5, atol=1e-7)
    assert_allclose(np.linalg.norm(Z, axis=1), 1, rtol=1e-6)


def test_cosine_similarity_is_the_mean_over_the_members(acmr):
    Z_img, Z_txt = acmr.transform(A, B)
    cosines = []
    for member in acmr.estimators_:
        U, V = member.transform(A, B)
        lengths = np.outer(np.linalg.norm(U, axis=1), np.linalg.norm(V, axis=1))
        cosines.append(U @ V.T / lengths)
    assert_allclose(Z_img @ Z_txt.T, np.mean(cosines, axis=0), atol=1e-6)


def test_zero_embeddings_stay_zero_and_extreme_ones_are_scaled():
    scales = [1.0, 1e-30, 1e30]
    members = [(f"m{i}", LengthProjector(scale=s)) for i, s in enumerate(scales)]
    own = CrossModalEnsemble(members, n_estimators=1).fit(np.abs(A), np.abs(B), y)
    X = np.abs(A)
    X[::2, 0] *= -1
    Z = own.transform_image(X)
    assert not Z[::2].any()
    unit = X[1::2, :3] / np.linalg.norm(X[1::2, :3], axis=1, keepdims=True)
    assert_allclose(Z[1::2], np.hstack([unit] * 3) / 3**0.5, rtol=1e-5)


def test_score_ranks_by_cosines(acmr):
    Z_img, Z_txt = acmr.transform(A, B)
    expected = [
        mean_average_precision(*pair, y, y, metric="cosine")
        for pair in permutations([Z_img, Z_txt])
    ]
    assert acmr.score(A, B, y) == pytest.approx(np.mean(expected))
    assert map_scorer(acmr, make_pairs(A, B), y) == pytest.approx(np.mean(expected))


def test_it_ranks_better_than_its_members():
    X_img, X_txt, labels = make_cross_modal_classification(
        500, n_classes=4, random_state=1
    )
    own = CrossModalEnsemble(
        ACMRProjector(embedding_dim=16, hidden_layer_sizes=(32,), max_epochs=30),
        random_state=0,
    ).fit(X_img[:200], X_txt[:200], labels[:200])
    test = X_img[200:], X_txt[200:], labels[200:]
    members = [member.score(*test) for member in own.estimators_]
    assert own.score(*test) > max(members)


# -- codes -----------------------------------------------------------------------------


def vote_by_loop(members, features, modality, X):
    """Return the majority of aligned bits, by loops."""

    def codes(member, part, name):
        return member.encode(part, name).astype(int)

    first, *others = members
    seen = [
        np.vstack([codes(member, part, name) for name, part in features.items()])
        for member in members
    ]
    votes = 2 * codes(first, X, modality)
    for member, own in zip(others, seen[1:], strict=True):
        bits, signs = match_bits(np.float32(seen[0]), np.float32(own))
        aligned = codes(member, X, modality)[:, bits] * signs.astype(int)
        votes += 2 * aligned
    votes += codes(first, X, modality)  # ties
    return np.where(votes > 0, 1, -1)


@pytest.mark.parametrize("n_estimators", [2, 3])
def test_majority_of_aligned_bits(n_estimators):
    own = ensemble(SSAHHasher, n_estimators=n_estimators).fit(A, B, y)
    for modality, X in PAIRS.items():
        codes = own.transform_modality(X, modality)
        assert codes.shape == (60, 16) and codes.dtype == np.int8
        expected = vote_by_loop(own.estimators_, PAIRS, modality, X)
        assert_array_equal(codes, expected)
        real = own.encode(X, modality, output="real")
        assert (np.abs(real) <= 1).all()
        assert_array_equal(codes, np.sign(real))


def test_two_members_that_disagree_follow_the_first():
    own = ensemble(SSAHHasher, n_estimators=2).fit(A, B, y)
    assert_array_equal(own.transform_image(A), own.estimators_[0].transform_image(A))


def test_bits_one_after_the_other():
    own = ensemble(SSAHHasher, AADAHHasher, combine_bits="concatenate", n_estimators=2)
    own.fit(A, B, y)
    Z = own.transform_text(B)
    assert_array_equal(Z, np.hstack([m.transform_text(B) for m in own.estimators_]))
    assert Z.shape == (60, 64)
    for output in ("bool", "real"):
        parts = [m.encode(B, "text", output=output) for m in own.estimators_]
        assert_array_equal(own.encode(B, "text", output=output), np.hstack(parts))


@pytest.mark.parametrize("combine_bits", ["majority", "concatenate"])
def test_packed_codes(combine_bits):
    options = {"combine_bits": combine_bits, "n_estimators": 2}
    params = {"n_bits": 12}  # no whole bytes
    signs = ensemble(SSAHHasher, params=params, **options).fit(A, B, y)
    packed = ensemble(SSAHHasher, params=params | {"output": "packed"}, **options)
    packed.fit(A, B, y)
    Z = packed.transform_image(A)
    assert_array_equal(Z, np.packbits(signs.transform_image(A) > 0, axis=1))
    names = packed.get_feature_names_out()
    assert len(names) == 2 * Z.shape[1]
    assert names[1] == "image__crossmodalensemble8"
    assert packed.score(A, B, y) == signs.score(A, B, y)
    frame = packed.set_output(transform="pandas").transform_image(A)
    assert list(frame) == list(names[: Z.shape[1]])


def test_bits_are_matched_up_to_order_and_signs():
    rng = np.random.default_rng(0)
    codes = np.where(rng.normal(size=(500, 12)) > 0.3, 1, -1).astype(np.float32)
    codes[:, 3] = 1  # constant
    order = rng.permutation(12)
    signs = np.where(rng.random(12) < 0.5, 1, -1).astype(np.float32)
    signs[3] = 1
    shuffled = (codes * signs)[:, order]
    noisy = np.where(rng.random(shuffled.shape) < 0.2, -shuffled, shuffled)
    bits, found = match_bits(codes, noisy)
    assert_array_equal(order[bits], np.arange(12))
    varies = np.arange(12) != 3
    assert_array_equal(found[varies], signs[varies])


def test_matching_is_the_best_of_all():
    rng = np.random.default_rng(1)
    codes = np.where(rng.normal(size=(2, 40, 5)) > 0, 1, -1).astype(np.float32)
    correlation = np.corrcoef(*codes, rowvar=False)[:5, 5:]
    best = max(
        permutations(range(5)),
        key=lambda order: np.abs(correlation[range(5), order]).sum(),
    )
    bits, signs = match_bits(*codes)
    assert_array_equal(bits, best)
    assert_array_equal(signs, np.sign(correlation[range(5), best]))


# -- members, names and seeds ----------------------------------------------------------


def test_members_are_the_fits_of_their_seeds(acmr):
    assert list(acmr.named_estimators_) == [f"acmrprojector_{i}" for i in range(3)]
    assert list(acmr.named_estimators_.values()) == acmr.estimators_
    seeds = [member.random_state for member in acmr.estimators_]
    assert len(set(seeds)) == 3
    alone = make(ACMRProjector, random_state=seeds[1]).fit(A, B, y)
    assert_array_equal(alone.transform_image(A), acmr.estimators_[1].transform_image(A))
    assert_array_equal(acmr.estimators_[1].classes_, acmr.classes_)


def test_every_estimator_of_a_list_is_fitted_as_often():
    own = ensemble(ACMRProjector, DRCLProjector, n_estimators=2).fit(A, B, y)
    names = ["acmr_0", "drcl_0", "acmr_1", "drcl_1"]
    assert list(own.named_estimators_) == names
    kinds = [type(member) for member in own.estimators_]
    assert kinds == [ACMRProjector, DRCLProjector] * 2
    # Those of fewer fits are among them.
    fewer = clone(own).set_params(n_estimators=1).fit(A, B, y)
    for name, member in fewer.named_estimators_.items():
        assert member.random_state == own.named_estimators_[name].random_state


def test_estimators_are_not_touched(acmr):
    assert acmr.estimator.random_state == 0
    with pytest.raises(NotFittedError):
        acmr.estimator.transform(A, B)


def test_an_estimator_without_a_seed_is_fitted_once():
    members = [
        ("sm", SemanticMatchingProjector()),
        ("trees", SemanticMatchingProjector(estimator=ExtraTreesClassifier(5))),
    ]
    own = CrossModalEnsemble(members, n_estimators=3, random_state=0).fit(A, B, y)
    plain = {id(m) for name, m in own.named_estimators_.items() if "sm" in name}
    assert len(plain) == 1
    seeds = {m.estimator.random_state for m in own.estimators_[1::2]}
    assert len(seeds) == 3 and None not in seeds
    assert own.transform_image(A).shape == (60, 18)
    copied = pickle.loads(pickle.dumps(own))
    assert len({id(member) for member in copied.estimators_}) == 4


def test_seeds_inside_a_pipeline():
    steps = make_pipeline(
        PairTransformer(image=TruncatedSVD(3), text=StandardScaler()),
        make(ACMRProjector),
    )
    own = CrossModalEnsemble(steps, n_estimators=2, random_state=0).fit(A, B, y)
    assert list(own.named_estimators_) == ["acmrprojector_0", "acmrprojector_1"]
    for name in ("pairtransformer__image__random_state", "acmrprojector__random_state"):
        assert len({m.get_params()[name] for m in own.estimators_}) == 2
    Z = own.transform_image(A)
    member = own.estimators_[1]
    expected = member.transform({"image": A})["image"]
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    assert_allclose(Z[:, 8:] * 2**0.5, expected, atol=1e-6)


def test_same_seed_same_bits_and_another_one_others():
    Z = ensemble(ACMRProjector).fit(A, B, y).transform_image(A)
    again = ensemble(ACMRProjector).fit(A, B, y).transform_image(A)
    other = ensemble(ACMRProjector, random_state=1).fit(A, B, y).transform_image(A)
    assert_array_equal(Z, again)
    assert (Z != other).any()


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_jobs_do_not_change_the_result():
    # Large enough for joblib to pass on files in place of arrays.
    rng = np.random.default_rng(0)
    X_img, X_txt = rng.normal(size=(2, 3000, 60))
    labels = np.arange(3000) % 3
    sparse_text = sparse.csr_array(np.where(X_txt > 1, X_txt, 0))
    expected = ensemble(ACMRProjector, n_estimators=2).fit(X_img, sparse_text, labels)
    for backend in ("loky", "threading"):
        own = clone(expected).set_params(n_jobs=2)
        with joblib.parallel_config(backend=backend):
            own.fit(X_img, sparse_text, labels)
        for Z, other in zip(
            own.transform(X_img, sparse_text),
            expected.transform(X_img, sparse_text),
            strict=True,
        ):
            assert_array_equal(Z, other)


# -- parameters ------------------------------------------------------------------------


def test_nested_parameters_of_one_estimator():
    own = ensemble(ACMRProjector).set_params(estimator__margin=2.0)
    assert own.estimator.margin == 2.0
    assert clone(own).get_params()["estimator__margin"] == 2.0
    own.set_params(estimator=make(DRCLProjector), estimator__lr=0.1)
    assert isinstance(own.estimator, DRCLProjector) and own.estimator.lr == 0.1


def test_nested_parameters_of_a_list():
    own = ensemble(ACMRProjector, DRCLProjector, n_estimators=1)
    own.set_params(acmr__margin=2.0, n_estimators=2)
    params = own.get_params()
    assert params["acmr__margin"] == 2.0 and params["acmr"].margin == 2.0
    assert "acmr" not in own.get_params(deep=False)
    copied = clone(own)
    assert copied.estimator[0][1] is not own.estimator[0][1]
    assert copied.get_params()["acmr__margin"] == 2.0
    own.set_params(drcl=make(CMGANProjector))
    assert [name for name, _ in own.estimator] == ["acmr", "drcl"]
    assert isinstance(own.estimator[1][1], CMGANProjector)
    with pytest.raises(ValueError, match="Invalid parameter 'other'"):
        own.set_params(other__margin=1)


def test_search_over_a_parameter_of_the_members():
    model = make_pipeline(
        PairTransformer(image=StandardScaler(), text=StandardScaler()),
        ensemble(ACMRProjector, n_estimators=2),
    )
    search = GridSearchCV(
        model,
        {"crossmodalensemble__estimator__margin": [0.2, 0.5]},
        scoring=map_scorer,
        cv=StratifiedKFold(2, shuffle=True, random_state=0),
    ).fit(make_pairs(A, B), y)
    best = search.best_params_["crossmodalensemble__estimator__margin"]
    members = search.best_estimator_[-1].estimators_
    assert {member.margin for member in members} == {best}
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_search_over_a_named_member():
    own = ensemble(ACMRProjector, DRCLProjector, n_estimators=1)
    grid = {"acmr__margin": [0.3], "drcl": [make(CMGANProjector)]}
    search = GridSearchCV(own, grid, scoring=map_scorer, cv=2)
    search.fit(make_pairs(A, B), y)
    assert isinstance(search.best_estimator_.estimators_[1], CMGANProjector)


# -- containers ------------------------------------------------------------------------

FRAMES = pd.DataFrame(A).add_prefix("a"), pd.DataFrame(B).add_prefix("b")


@pytest.mark.parametrize(
    ("X", "options"),
    [
        (make_pairs(A, B), {}),
        (PAIRS, {}),
        (make_pairs(A, sparse.csr_array(B)), {}),
        (make_pairs(*FRAMES), {}),
        (pd.concat(dict(zip(PAIRS, FRAMES, strict=True)), axis=1), {}),
        (np.hstack([A, B]), {"n_image_features": A.shape[1]}),
    ],
    ids=["pairs", "dict", "csr", "prefixed", "levels", "plain"],
)
def test_containers_give_the_same_bits(acmr, X, options):
    own = ensemble(ACMRProjector, **options).fit(X, y)
    for modality, part in PAIRS.items():
        expected = acmr.transform_modality(part, modality)
        assert_array_equal(own.transform({modality: part})[modality], expected)
    assert type(own.transform(X)) is type(X)
    assert own.score(X, y) == acmr.score(A, B, y)


def test_frames_keep_names_and_index(acmr):
    frame = make_pairs(*FRAMES)
    frame.index += 7
    own = ensemble(ACMRProjector).fit(frame, y)
    Z = own.transform(frame)
    assert list(Z) == list(own.get_feature_names_out()) and len(Z.columns) == 48
    assert Z.index.equals(frame.index)
    with pytest.raises(ValueError, match="feature names should match"):
        own.transform(frame.rename(columns={"image__a0": "image__other"}))
    own = clone(acmr).set_output(transform="pandas").fit(A, B, y)
    assert list(own.transform_text(B)) == list(own.get_feature_names_out()[24:])


@pytest.mark.parametrize("cls", [DRCLProjector, SSAHHasher, AADAHHasher])
def test_unpaired_modalities(cls):
    own = ensemble(cls, n_estimators=2).fit(UNPAIRED, UNPAIRED_LABELS)
    assert own.modalities_ == ("image", "text", "sound")
    assert own.n_sound_features_in_ == 4
    Z = own.transform(UNPAIRED)
    assert [len(part) for part in Z.values()] == [60, 40, 30]
    assert_array_equal(own.transform_modality(A[:30, :4], "sound"), Z["sound"])
    assert 0 < own.score(UNPAIRED, UNPAIRED_LABELS) <= 1


def test_one_member_that_needs_pairs_is_enough():
    own = ensemble(DRCLProjector, ACMRProjector, n_estimators=1)
    with pytest.raises(ValueError, match="must have the keys 'image' and 'text'"):
        own.fit(UNPAIRED, UNPAIRED_LABELS)
    with pytest.raises(ValueError, match="learns from pairs"):
        own.fit(PAIRS, {"image": y, "text": y})


def test_regions_where_all_members_take_them():
    X_img = np.stack([A, A + 1], axis=1)
    own = ensemble(AADAHHasher, n_estimators=2).fit(X_img, B, y)
    assert own.transform_image(X_img).shape == (60, 16)
    with pytest.raises(ValueError, match="dim 3"):
        ensemble(ACMRProjector).fit(X_img, B, y)


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["a", "b", "c"])[y],
        np.eye(3, dtype=int)[y],
        sparse.eye_array(3).tocsr()[y],
    ],
    ids=["strings", "indicator", "csr"],
)
def test_labels_of_every_kind(acmr, labels):
    own = ensemble(ACMRProjector, params={"label_loss": "softmax"}).fit(A, B, labels)
    classes = own.estimators_[0].classes_
    assert_array_equal(own.classes_, classes)
    assert own.score(A, B, labels) == pytest.approx(acmr.score(A, B, y), abs=0.2)
    if not sparse.issparse(labels) and labels.ndim == 1:
        assert list(classes) == ["a", "b", "c"]


def test_rows_without_a_label_are_dropped_once():
    labels = y.astype(float)
    labels[:5] = np.nan
    own = ensemble(ACMRProjector)
    with pytest.raises(ValueError, match="missing_labels='drop'"):
        own.fit(A, B, labels)
    own.set_params(missing_labels="drop")
    with pytest.warns(UserWarning, match="5 of 60 rows of y have no label") as caught:
        own.fit(A, B, labels)
    assert len(caught) == 1
    expected = ensemble(ACMRProjector).fit(A[5:], B[5:], y[5:])
    assert_array_equal(own.transform_image(A), expected.transform_image(A))


def test_members_that_need_no_labels():
    members = [
        ("cca", CCAProjector(n_components=2)),
        ("pls", CCAProjector(method="pls")),
    ]
    own = CrossModalEnsemble(members, n_estimators=1)
    assert not own.__sklearn_tags__().target_tags.required
    own.fit(make_pairs(A, B))
    assert own.transform_image(A).shape == (60, 2 + own.estimators_[1]._n_features_out)
    assert not hasattr(own, "classes_")
    with pytest.raises(ValueError, match="requires y to be passed"):
        own.set_params(pls=make(ACMRProjector)).fit(make_pairs(A, B))


# -- further methods -------------------------------------------------------------------


def test_probabilities_are_means():
    members = [("sm", SemanticMatchingProjector()), ("acmr", make(ACMRProjector))]
    own = CrossModalEnsemble(members, n_estimators=2, random_state=0).fit(A, B, y)
    parts = [member.predict_proba(B, "text") for member in own.estimators_]
    assert_allclose(own.predict_proba(B, "text"), np.mean(parts, axis=0))
    pairs = make_pairs(A, B)
    parts = [member.predict_proba(pairs) for member in own.estimators_]
    assert_allclose(own.predict_proba(pairs), np.mean(parts, axis=0), rtol=1e-5)
    with pytest.raises(TypeError, match="name of a modality"):
        own.predict_proba(A, B)


def test_methods_that_not_all_members_have():
    members = [("cca", CCAProjector()), ("acmr", make(ACMRProjector))]
    assert not hasattr(CrossModalEnsemble(members), "predict_proba")
    assert not hasattr(ensemble(ACMRProjector), "encode")
    assert hasattr(ensemble(SSAHHasher), "encode")
    with pytest.raises(NotFittedError):
        ensemble(SSAHHasher).encode(A, "image")


def test_held_out_rows_reach_all_members():
    params = {"early_stopping": True, "max_epochs": 5}
    own = ensemble(ACMRProjector, params=params, n_estimators=2)
    held_out = {"X_val": np.hstack([A[40:], B[40:]]), "y_val": y[40:]}
    own.fit(A[:40], B[:40], y[:40], **held_out)
    for member in own.estimators_:
        best = max(row["valid_map"] for row in member.history_)
        assert member.score(A[40:], B[40:], y[40:]) == pytest.approx(best, abs=1e-6)
    with pytest.raises(ValueError, match="X_val and y_val together"):
        own.fit(A, B, y, X_val=A)
    with pytest.raises(ValueError, match="'sm'.* trains no networks"):
        CrossModalEnsemble([("sm", SemanticMatchingProjector())]).fit(
            A, B, y, **held_out
        )
    with pytest.raises(ValueError, match="would not be transformed by the pipeline"):
        CrossModalEnsemble(make_pipeline(PairTransformer(), own.estimator)).fit(
            A, B, y, **held_out
        )


def test_files_and_copies(acmr, tmp_path):
    hashers = ensemble(SSAHHasher, AADAHHasher, n_estimators=2).fit(A, B, y)
    for own in (acmr, hashers):
        joblib.dump(own, tmp_path / "ensemble.joblib")
        loaded = joblib.load(tmp_path / "ensemble.joblib")
        for other in (loaded, pickle.loads(pickle.dumps(own)), copy.deepcopy(own)):
            assert_array_equal(other.transform_image(A), own.transform_image(A))
            assert list(other.named_estimators_) == list(own.named_estimators_)


def test_parameters_set_after_the_fit_wait_for_the_next_one():
    own = ensemble(ACMRProjector).fit(A, B, y)
    Z = own.transform_image(A)
    own.set_params(estimator=make(SSAHHasher))
    assert_array_equal(own.transform_image(A), Z)
    assert own.fit(A, B, y).transform_image(A).dtype == np.int8


def test_cross_validation_with_labels_by_position():
    scores = cross_val_score(ensemble(ACMRProjector), make_pairs(A, B), y, cv=2)
    assert (scores > 0).all()


# -- what is refused -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        ([], ValueError, "holds one or more pairs of a name"),
        ([ACMRProjector()], ValueError, "holds one or more pairs of a name"),
        ([("a", ACMRProjector())] * 2, ValueError, "not unique"),
        ([("a__b", ACMRProjector())], ValueError, "must not contain __"),
        ([("n_jobs", ACMRProjector())], ValueError, "conflict with constructor"),
        ([("a", ACMRProjector)], TypeError, "class ACMRProjector: it needs paren"),
        (StandardScaler(), TypeError, "'standardscaler' must be a projector or a hash"),
        (make_pipeline(PairTransformer()), TypeError, "projector or a hasher of"),
        (CrossModalEnsemble(ACMRProjector()), TypeError, "projector or a hasher of"),
        (
            [("acmr", ACMRProjector()), ("ssah", SSAHHasher())],
            ValueError,
            r"\['acmr'\] are projectors, and \['ssah'\] are hashers",
        ),
        (
            [("a", SSAHHasher(n_bits=8)), ("b", SSAHHasher(n_bits=16))],
            ValueError,
            "same n_bits; got {'a': 8, 'b': 16}.*combine_bits='concatenate'",
        ),
        (
            [("a", SSAHHasher(output="packed")), ("b", SSAHHasher())],
            ValueError,
            "the same output",
        ),
        (ACMRProjector(n_image_features=3), ValueError, "n_image_features on the ens"),
        (ACMRProjector(margin=-1), ValueError, "'margin' parameter of ACMRProjector"),
    ],
)
def test_estimators_that_cannot_be_combined(estimator, error, message):
    with pytest.raises(error, match=message):
        CrossModalEnsemble(estimator).fit(A, B, y)


def test_codes_of_different_lengths_can_be_concatenated():
    members = [("a", make(SSAHHasher, n_bits=8)), ("b", make(SSAHHasher, n_bits=12))]
    own = CrossModalEnsemble(members, n_estimators=1, combine_bits="concatenate")
    assert own.fit(A, B, y).transform_image(A).shape == (60, 20)


class Failing(LengthProjector):
    def _fit(self, features, labels):
        if self.scale > 1:
            raise FloatingPointError("the loss is infinite")


def test_a_failed_fit_leaves_the_ensemble_as_it_was(acmr):
    own = copy.deepcopy(acmr)
    before = vars(own).copy()
    own.estimator = [("good", make(ACMRProjector)), ("bad", Failing(scale=2))]
    with pytest.raises(FloatingPointError, match="infinite") as caught:
        own.fit(A[:, 1:], B, y)
    assert "'bad_0', a member of the ensemble" in caught.value.__notes__[0]
    assert vars(own) == before | {"estimator": own.estimator}
    assert_array_equal(own.transform_image(A), acmr.transform_image(A))


def test_a_first_fit_that_fails_leaves_it_unfitted():
    own = CrossModalEnsemble(Failing(scale=2))
    with pytest.raises(FloatingPointError):
        own.fit(A, B, y)
    assert not [name for name in vars(own) if name.endswith("_")]
    with pytest.raises(NotFittedError):
        own.transform(A, B)
