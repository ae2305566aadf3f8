"""Modalities by name, with rows of their own, and one more added later."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from sklearn_cmr import DRCLProjector, make_pairs
from sklearn_cmr._inputs.labels import check_labels
from sklearn_cmr.metrics import mean_average_precision
from tests.helpers import assert_same_weights, split_rows, weights_of

rng = np.random.default_rng(0)
N_ROWS = {"image": 40, "text": 30, "audio": 50}
N_FEATURES = {"image": 6, "text": 5, "audio": 4}
y = {name: np.arange(n) % 3 for name, n in N_ROWS.items()}
X = {
    name: rng.normal(size=(n, N_FEATURES[name]))
    + 2 * np.eye(3, N_FEATURES[name])[y[name]]
    for name, n in N_ROWS.items()
}


def projector(**params):
    small = {
        "embedding_dim": 8,
        "hidden_layer_sizes": (16,),
        "max_epochs": 3,
        "q_step": 0.01,
        "prior": "select",
    }
    return DRCLProjector(**small | {"batch_size": 16, "random_state": 0} | params)


def some(parts, *names):
    return {name: parts[name] for name in names}


@pytest.fixture(scope="module")
def fitted():
    return projector().fit(X, y)


# -- fitting -------------------------------------------------------------------------


def test_modalities_with_rows_of_their_own(fitted):
    assert fitted.modalities_ == ("image", "text", "audio")
    assert fitted.n_audio_features_in_ == 4 and fitted.n_image_features_in_ == 6
    assert fitted.n_features_in_ == 15
    assert set(fitted.quality_scores_) == set(X)
    assert_array_equal(fitted.classes_, [0, 1, 2])
    Z = fitted.transform(X)
    assert list(Z) == list(X)
    for name, part in Z.items():
        assert part.shape == (N_ROWS[name], 8)
        assert_array_equal(part, fitted.transform_modality(X[name], name))
    assert_array_equal(fitted.transform_text(X["text"]), Z["text"])
    names = fitted.get_feature_names_out()
    assert len(names) == 24 and names[-1] == "audio__drclprojector7"


def test_any_subset_is_mirrored(fitted):
    parts = some(X, "audio", "image")
    assert list(fitted.transform(parts)) == ["audio", "image"]
    assert list(fitted.transform({"audio": X["audio"]})) == ["audio"]


@pytest.mark.parametrize("prior", ["select", "orthogonal", "audio"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_nothing_depends_on_the_order_of_modalities(prior, early_stopping):
    estimator = projector(
        prior=prior, early_stopping=early_stopping, validation_fraction=0.3
    )
    first = copy.deepcopy(estimator).fit(X, y)
    names = ["audio", "text", "image"]
    second = estimator.fit(some(X, *names), y)
    assert first.prior_modality_ == second.prior_modality_
    assert_array_equal(first.prior_, second.prior_)
    for name in X:
        Z, other = (e.transform_modality(X[name], name) for e in (first, second))
        assert_array_equal(Z, other)
        assert_array_equal(
            first.predict_proba(X[name], modality=name),
            second.predict_proba(X[name], modality=name),
        )


@pytest.mark.filterwarnings("ignore:DRCLProjector encodes")
@pytest.mark.parametrize("names", ["ab", "ba"])
def test_equal_qualities_are_settled_by_name(names):
    """Features that say nothing leave every label as likely as the others."""
    silent = {name: np.zeros((30, 4)) for name in names}
    estimator = projector(hidden_layer_sizes=()).fit(silent, y["text"])
    assert_allclose(list(estimator.quality_scores_.values()), 1 / 3)
    assert estimator.quality_scores_["a"] == estimator.quality_scores_["b"]
    assert estimator.prior_modality_ == "a"


def test_a_modality_does_not_depend_on_its_company(fitted):
    """Given the prior, every network is trained apart."""
    alone = projector(prior=fitted.prior_)
    alone.fit({"audio": X["audio"]}, {"audio": y["audio"]})
    assert_same_weights(alone, fitted, "encoders.audio")


def test_one_modality_with_plain_labels():
    estimator = projector().fit({"audio": X["audio"]}, y["audio"])
    assert estimator.modalities_ == ("audio",) and estimator.prior_modality_ == "audio"
    assert estimator.n_features_in_ == estimator.n_audio_features_in_ == 4
    assert not hasattr(estimator, "n_image_features_in_")
    assert estimator.transform_modality(X["audio"], "audio").shape == (50, 8)
    with pytest.raises(ValueError, match=r"must be one of \['audio'\], got 'image'"):
        estimator.transform_image(X["image"])
    with pytest.raises(ValueError, match="needs two modalities or more"):
        estimator.score({"audio": X["audio"]}, y["audio"])


def test_paired_forms_and_mappings_give_the_same():
    A, B, labels = X["image"][:30], X["text"], y["text"]
    first = projector().fit(A, B, labels)
    for form in ((make_pairs(A, B), labels), ({"image": A, "text": B}, labels)):
        assert_same_weights(projector().fit(*form), first)
    own = projector().fit({"text": B, "image": A}, {"image": labels, "text": labels})
    assert_same_weights(own, first)
    assert own.score(A, B, labels) == first.score(A, B, labels)
    assert_array_equal(own.transform(A, B)[0], first.transform(A, B)[0])
    assert_array_equal(
        own.transform(np.hstack([A, B])), first.transform(np.hstack([A, B]))
    )


def test_rows_of_both_modalities_may_differ_with_own_labels():
    parts = some(X, "image", "text")
    estimator = projector().fit(parts, some(y, "image", "text"))
    assert estimator.transform_image(X["image"]).shape == (40, 8)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        projector().fit(parts, y["image"])


def test_sparse_features_and_dataframes():
    pd = pytest.importorskip("pandas")
    frames = {
        name: pd.DataFrame(part).rename(columns=lambda i: f"f{i}")
        for name, part in X.items()
    }
    estimator = projector().fit(frames, y)
    assert list(estimator.feature_names_in_[-2:]) == ["audio__f2", "audio__f3"]
    estimator.transform(frames)
    with pytest.raises(ValueError, match="audio feature names should match"):
        estimator.transform({"audio": frames["audio"].iloc[:, ::-1]})
    csr = {name: sparse.csr_matrix(part) for name, part in X.items()}
    assert_allclose(
        projector().fit(csr, y).transform(csr)["audio"],
        projector().fit(X, y).transform(X)["audio"],
        atol=1e-5,
    )


def test_set_output():
    pytest.importorskip("pandas")
    estimator = projector().set_output(transform="pandas").fit(X, y)
    frame = estimator.transform(X)["audio"]
    assert list(frame.columns)[0] == "audio__drclprojector0" and len(frame) == 50


@pytest.mark.parametrize(
    ("parts", "labels", "text"),
    [
        ({}, {}, "must have a modality"),
        (X, some(y, "image", "text"), r"expected \['image', 'text', 'audio'\], got"),
        (X, y | {"video": y["text"]}, "must have the names of the modalities"),
        (X, y | {"audio": y["text"]}, "inconsistent numbers of samples"),
        (X, y | {"audio": y["audio"].astype(str)}, "must be of one kind"),
        (X, y | {"audio": np.eye(3)[y["audio"]]}, "must be of one kind"),
        (X, y | {"audio": y["audio"] + np.nan}, "NaN"),
        (X, y["image"], "inconsistent numbers of samples"),
        (X, None, "requires y to be passed"),
        ({"my.audio": X["audio"]}, y["audio"], "must be a string without"),
        ({"my__audio": X["audio"]}, y["audio"], "must be a string without"),
        ({1: X["audio"]}, y["audio"], "must be a string without.*got 1"),
        ({"train": X["audio"]}, y["audio"], "'train' is reserved"),
        ({"audio": X["audio"]}, np.zeros(50), "only one class"),
    ],
)
def test_wrong_arguments(parts, labels, text):
    estimator = projector()
    with pytest.raises(ValueError, match=text):
        estimator.fit(parts, labels)
    with pytest.raises(NotFittedError):
        estimator.transform({"audio": X["audio"]})


def test_containers_inside_of_containers():
    with pytest.raises(TypeError, match="paired container as the audio features"):
        projector().fit({"audio": make_pairs(X["image"], X["image"])}, y["image"])


def test_a_plain_matrix_needs_a_fit_on_pairs(fitted):
    for wide in (np.hstack([X[name][:30] for name in X]), np.ones((3, 11))):
        with pytest.raises(ValueError, match="Pass a mapping with some of these"):
            fitted.transform(wide)
    Z = fitted.transform(X["image"][:30], X["text"])
    assert_array_equal(Z[1], fitted.transform_text(X["text"]))
    only = projector().fit(some(X, "text", "audio"), some(y, "text", "audio"))
    with pytest.raises(ValueError, match="Pass a mapping with some of these"):
        only.transform(X["image"], X["text"])


def test_a_refit_forgets_the_modalities(fitted):
    estimator = copy.deepcopy(fitted).fit(X["image"][:30], X["text"], y["text"])
    assert estimator.modalities_ == ("image", "text")
    assert not hasattr(estimator, "n_audio_features_in_")
    with pytest.raises(ValueError, match="modality must be one of"):
        estimator.transform_modality(X["audio"], "audio")


# -- labels --------------------------------------------------------------------------


def test_classes_are_those_of_all_modalities():
    """A modality may lack some classes, or all but one."""
    labels = {
        "image": np.array(["a", "c"])[np.arange(40) % 2],
        "text": np.array(["b", "cc"])[np.arange(30) % 2],
        "audio": np.full(50, "d"),
    }
    estimator = projector().fit(X, labels)
    assert_array_equal(estimator.classes_, ["a", "b", "c", "cc", "d"])
    assert estimator.predict_proba(X["text"], modality="text").shape == (30, 5)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix, np.ndarray.tolist])
def test_indicators_by_modality(make, fitted):
    labels = {name: make(np.eye(3, dtype=int)[part]) for name, part in y.items()}
    assert_same_weights(projector().fit(X, labels), fitted)
    with pytest.raises(ValueError, match="must be of one kind"):
        projector().fit(X, labels | {"audio": make(np.eye(4, dtype=int)[y["audio"]])})


def test_labels_among_known_classes():
    known = np.array(["a", "b", "c"])
    labels = check_labels(["c", "a", "c"], projector(), classes=known)
    assert_array_equal(labels.indicator, [[0, 0, 1], [1, 0, 0], [0, 0, 1]])
    assert_array_equal(labels.codes, [2, 0, 2])
    assert labels.classes is known
    indicator = check_labels([[0, 1, 1]], projector(), classes=known).indicator
    assert_array_equal(indicator, [[0, 1, 1]])
    with pytest.raises(ValueError, match=r"not seen in fit: \['d'\].*'a', 'b', 'c'"):
        check_labels(["d", "a"], projector(), classes=known)
    with pytest.raises(ValueError, match="y has 2 columns, expected one for each of"):
        check_labels([[0, 1], [1, 1]], projector(), classes=known)


# -- probabilities and scores --------------------------------------------------------


def test_probabilities_of_several_modalities(fitted):
    parts = {name: part[:30] for name, part in X.items()}
    each = [fitted.predict_proba(part, modality=n) for n, part in parts.items()]
    assert_allclose(fitted.predict_proba(parts), np.mean(each, axis=0), rtol=1e-6)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fitted.predict_proba(X)


def test_score_is_the_mean_over_ordered_pairs(fitted):
    Z = fitted.transform(X)
    scores = [
        mean_average_precision(Z[q], Z[g], y[q], y[g]) for q in X for g in X if q != g
    ]
    assert_allclose(fitted.score(X, y), np.mean(scores))
    parts = {name: part[:30] for name, part in X.items()}
    labels = y["text"]
    assert fitted.score(parts, labels) == fitted.score(parts, dict.fromkeys(X, labels))
    weights = np.arange(30.0)
    assert fitted.score(parts, labels, sample_weight=weights) > 0
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fitted.score(X, y["text"])
    with pytest.raises(ValueError, match="labels that all modalities share"):
        fitted.score(X, y, sample_weight=weights)
    with pytest.raises(ValueError, match="must have the names of the modalities"):
        fitted.score(X, some(y, "image"))


# -- one more modality ---------------------------------------------------------------


@pytest.mark.parametrize("early_stopping", [False, True])
def test_add_modality_leaves_the_others_as_they_are(early_stopping):
    options = {"early_stopping": early_stopping, "validation_fraction": 0.3}
    estimator = projector(**options).fit(
        some(X, "image", "text"), some(y, "image", "text")
    )
    before, gallery = weights_of(estimator), estimator.transform_text(X["text"])
    prior, n_rows = estimator.prior_.copy(), len(estimator.history_)
    assert estimator.add_modality("audio", X["audio"], y["audio"]) is estimator
    after = estimator.module_.state_dict()
    for name, value in before.items():
        assert torch.equal(value, after[name]), name
    assert_array_equal(estimator.transform_text(X["text"]), gallery)
    assert_array_equal(estimator.prior_, prior)
    assert estimator.modalities_ == ("image", "text", "audio")
    assert estimator.n_audio_features_in_ == 4
    assert {row["phase"] for row in estimator.history_[n_rows:]} == {"audio"}
    assert not estimator.module_.training
    # As if it had been there from the start, with the same prior.
    whole = projector(prior=prior, **options).fit(X, y)
    assert_same_weights(whole, estimator, "encoders.audio")
    assert_same_weights(whole, estimator, "encoders.image")
    loaded = pickle.loads(pickle.dumps(estimator))
    Z = estimator.transform_modality(X["audio"], "audio")
    assert_array_equal(loaded.transform({"audio": X["audio"]})["audio"], Z)


def test_add_modality_after_a_fit_on_pairs():
    pairs = np.hstack([X["image"][:30], X["text"]])
    estimator = projector(n_image_features=6).fit(pairs, y["text"])
    encoded = estimator.transform(pairs)
    estimator.add_modality("audio", X["audio"], y["audio"])
    assert_array_equal(estimator.transform(pairs), encoded)
    assert estimator.n_features_in_ == 11
    assert estimator.score(X, y) > 0
    estimator.add_modality("video", X["text"], np.zeros(30, dtype=int))
    assert estimator.modalities_ == ("image", "text", "audio", "video")


def test_names_of_an_added_modality():
    pd = pytest.importorskip("pandas")
    frames = {name: pd.DataFrame(part).add_prefix("f") for name, part in X.items()}
    estimator = projector().fit(some(frames, "image", "text"), some(y, "image", "text"))
    estimator.add_modality("audio", frames["audio"], y["audio"])
    estimator.transform(frames)
    with pytest.raises(ValueError, match="audio feature names should match"):
        estimator.transform_modality(frames["audio"].add_prefix("other"), "audio")
    estimator.add_modality("video", X["text"], y["text"])
    estimator.transform_modality(frames["text"], "video")


@pytest.mark.parametrize(
    ("name", "part", "labels", "text"),
    [
        ("image", X["image"], y["image"], "'image' is fitted already"),
        ("my.audio", X["audio"], y["audio"], "must be a string without"),
        ("audio", X["audio"], y["text"], "inconsistent numbers of samples"),
        ("audio", X["audio"], y["audio"] + 1, r"not seen in fit: \[3\]"),
        ("audio", X["audio"], np.eye(4)[y["audio"]], "y has 4 columns"),
        ("audio", X["audio"] * np.nan, y["audio"], "audio features contains NaN"),
    ],
)
def test_add_modality_with_wrong_arguments(name, part, labels, text, fitted):
    estimator = projector().fit(some(X, "image", "text"), some(y, "image", "text"))
    before = weights_of(estimator)
    with pytest.raises(ValueError, match=text):
        estimator.add_modality(name, part, labels)
    after = estimator.module_.state_dict()
    assert before.keys() == after.keys() and estimator.modalities_ == ("image", "text")


def test_add_modality_needs_a_fit_and_its_settings():
    with pytest.raises(NotFittedError):
        projector().add_modality("audio", X["audio"], y["audio"])
    estimator = projector(lr={"image": 1e-3, "text": 1e-3})
    estimator.fit(some(X, "image", "text"), some(y, "image", "text"))
    with pytest.raises(ValueError, match="must have a key for.*'audio'"):
        estimator.add_modality("audio", X["audio"], y["audio"])
    assert "audio" not in estimator.module_["encoders"]
    estimator.set_params(lr=1e-3).add_modality("audio", X["audio"], y["audio"])


def test_a_failed_addition_leaves_no_trace():
    class Failing(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 3:
                raise KeyboardInterrupt

    estimator = projector(warm_start=True)
    estimator.fit(some(X, "image", "text"), some(y, "image", "text"))
    untroubled, n_epochs = copy.deepcopy(estimator), len(estimator.history_)
    before = estimator.transform_image(X["image"])
    with pytest.raises(KeyboardInterrupt):
        estimator.set_params(callbacks=[Failing]).add_modality(
            "audio", X["audio"], y["audio"]
        )
    assert estimator.modalities_ == ("image", "text")
    assert list(estimator.module_["encoders"]) == ["image", "text"]
    assert estimator.n_iter_ == len(estimator.history_) == n_epochs
    estimator.set_params(callbacks=None).add_modality("audio", X["audio"], y["audio"])
    assert_array_equal(estimator.transform_image(X["image"]), before)
    assert_same_weights(
        estimator, untroubled.add_modality("audio", X["audio"], y["audio"])
    )


# -- going on ------------------------------------------------------------------------


def test_warm_start_trains_the_modalities_it_gets():
    estimator = projector(warm_start=True)
    estimator.fit(some(X, "image", "text"), some(y, "image", "text"))
    estimator.add_modality("audio", X["audio"], y["audio"])
    before = weights_of(estimator)
    estimator.fit({"audio": X["audio"]}, y["audio"])
    after = estimator.module_.state_dict()
    for name, value in before.items():
        moves = name.startswith("encoders.audio")
        assert torch.equal(value, after[name]) != moves, name
    assert estimator.modalities_ == ("image", "text", "audio")
    twice = projector(max_epochs=6, prior=estimator.prior_)
    twice.fit({"audio": X["audio"]}, y["audio"])
    assert_same_weights(twice, estimator, "encoders.audio")
    with pytest.raises(ValueError, match="modality must be one of"):
        estimator.fit({"video": X["audio"]}, y["audio"])


def test_warm_start_allows_for_the_sizes_of_modalities_to_come():
    sizes = {"image": (5,), "text": (4,)}
    estimator = projector(warm_start=True, hidden_layer_sizes=sizes)
    estimator.fit(some(X, "image", "text"), some(y, "image", "text"))
    more = sizes | {"audio": (6,)}
    estimator.set_params(hidden_layer_sizes=more)
    estimator.add_modality("audio", X["audio"], y["audio"])
    estimator.fit({"audio": X["audio"]}, y["audio"])
    estimator.set_params(hidden_layer_sizes=more | {"text": (3,)})
    with pytest.raises(ValueError, match="same networks"):
        estimator.fit({"audio": X["audio"]}, y["audio"])


def test_early_stopping_holds_rows_of_each_modality_out():
    estimator = projector(early_stopping=True, validation_fraction=0.3).fit(X, y)
    rows = [row for row in estimator.history_ if row["phase"] == "audio"]
    assert all("valid_loss" in row and "valid_map" in row for row in rows)
    with pytest.raises(ValueError, match="which is not possible"):
        projector(early_stopping=True, validation_fraction=0.01).fit(X, y)


def test_rows_held_out_by_the_caller():
    """As if they had been held out of the rest, in the same order."""
    options = {"early_stopping": True, "validation_fraction": 0.3, "max_epochs": 12}
    options |= {"lr": 0.05, "n_iter_no_change": 1, "quality_on": "validation"}
    expected = projector(**options).fit(X, y)
    rows = {name: split_rows(y[name], 0.3) for name in X}

    def pick(whole, i):
        return {name: part[rows[name][i]] for name, part in whole.items()}

    train, valid = ([pick(X, i), pick(y, i)] for i in (0, 1))
    estimator = projector(**options).fit(*train, X_val=valid[0], y_val=valid[1])
    assert_same_weights(estimator, expected)
    assert estimator.n_iter_ == expected.n_iter_ < 2 * 3 * 12
    # Where one modality has no such rows, some of its own are held out.
    names = ("image", "text")
    estimator = projector(**options).fit(
        {**train[0], "audio": X["audio"]},
        {**train[1], "audio": y["audio"]},
        X_val=some(valid[0], *names),
        y_val=some(valid[1], *names),
    )
    assert_same_weights(estimator, expected)
    other = projector(**options).fit(*train, X_val=X, y_val=y)
    assert other.quality_scores_ != expected.quality_scores_


def test_forms_of_the_rows_held_out_by_the_caller():
    A, B, labels = X["image"][:30], X["text"], y["text"]
    plain = np.hstack([A, B])
    options = {"early_stopping": True, "n_image_features": 6}
    fits = [
        projector(**options).fit(A, B, labels, X_val=form, y_val=own)
        for form, own in (
            ({"image": A[:9], "text": B[:9]}, labels[:9]),
            (make_pairs(A[:9], B[:9]), labels[:9]),
            (plain[:9], labels[:9].tolist()),
        )
    ]
    losses = [[row.get("valid_loss") for row in fit.history_] for fit in fits]
    for other, own in zip(fits, losses, strict=True):
        assert_same_weights(fits[0], other)
        assert own == losses[0]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"y_val": None}, "together"),
        ({"X_val": None}, "together"),
        ({"early_stopping": False}, "set early_stopping=True"),
        ({"X_val": {"video": X["audio"]}}, "modality must be one of"),
        ({"X_val": {"audio": X["image"]}}, "has 6 audio features"),
        ({"y_val": y["text"]}, "inconsistent numbers of samples"),
        ({"y_val": {"text": y["text"]}}, "must have the names of the modalities"),
        ({"y_val": y["audio"] + 1}, r"not seen in fit: \[3\]"),
    ],
)
def test_wrong_held_out_rows(options, text):
    given = {"X_val": {"audio": X["audio"]}, "y_val": y["audio"], **options}
    estimator = projector(early_stopping=given.pop("early_stopping", True))
    with pytest.raises(ValueError, match=text):
        estimator.fit(X, y, **given)
    # Nothing of it is left for the next fit.
    assert_same_weights(
        projector(early_stopping=True).fit(X, y),
        estimator.set_params(early_stopping=True).fit(X, y),
    )


@pytest.mark.slow
def test_three_views_of_real_digits(real_data):
    """Rows of their own, one view added later: all six directions stay good."""
    arrays = real_data("uci_mfeat")
    views = ("image", "text", "pixel")
    train, test = (
        {name: arrays[f"{name}_{part}"] for name in views} for part in ("train", "test")
    )
    scalers = {name: StandardScaler().fit(part) for name, part in train.items()}
    train = {name: scalers[name].transform(part) for name, part in train.items()}
    test = {name: scalers[name].transform(part) for name, part in test.items()}
    # The source sorts its rows by class.
    order = np.random.default_rng(0).permutation(1500)
    rows = {"image": order[:900], "text": order[400:], "pixel": order[300:1300]}
    train = {name: part[rows[name]] for name, part in train.items()}
    labels = {name: arrays["y_train"][rows[name]] for name in views}
    estimator = DRCLProjector(random_state=0)
    estimator.fit(some(train, "image", "text"), some(labels, "image", "text"))
    estimator.add_modality("pixel", train["pixel"], labels["pixel"])
    for pair in (("image", "text"), ("image", "pixel"), ("text", "pixel")):
        assert estimator.score(some(test, *pair), arrays["y_test"]) > 0.7, pair


def test_a_plain_matrix_needs_the_modalities_of_pairs():
    indicator = np.eye(3, dtype=int)[np.arange(30) % 3]
    parts = {"audio": np.eye(30)[:, :5], "video": np.eye(30)[:, 5:9]}
    estimator = DRCLProjector(max_epochs=1, random_state=0).fit(parts, indicator)
    with pytest.raises(ValueError, match=r"was fitted on the modalities \['audio'"):
        estimator.score(np.hstack(list(parts.values())), indicator)
