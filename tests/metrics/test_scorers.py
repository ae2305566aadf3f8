"""Scorers in searches and cross-validation, and how they split outputs."""

# SPDX-License-Identifier: BSD-3-Clause

import pickle
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    StratifiedKFold,
    ValidationCurveDisplay,
    cross_val_score,
    cross_validate,
    train_test_split,
)
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.fixes import parse_version
from skorch.helper import SliceDict

from sklearn_cmr.metrics import (
    hit_rate_at_k,
    make_map_scorer,
    make_retrieval_scorer,
    map_at_r,
    map_i2t_scorer,
    map_scorer,
    map_t2i_scorer,
    mean_average_precision,
    mean_rank,
    median_rank,
    ndcg_at_k,
    precision_at_k,
    r_precision,
    recall_at_k,
    reciprocal_rank,
    rsum,
)

N_IMAGE, N_TEXT, N_CLASSES = 6, 4, 4
SHUFFLED = StratifiedKFold(3, shuffle=True, random_state=0)


class ClassMeans(TransformerMixin, BaseEstimator):
    """Similarity to the class means of each modality, in the form of its input."""

    def __init__(self, power=1.0, names=True):
        self.power = power
        self.names = names

    def _split(self, X):
        if isinstance(X, dict):
            return X["image"], X["text"]
        X = np.asarray(X)
        return X[:, :N_IMAGE], X[:, N_IMAGE:]

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        rows = [np.asarray(y) == label for label in self.classes_]
        self.means_ = [
            np.array([part[members].mean(axis=0) for members in rows])
            for part in self._split(X)
        ]
        self.n_calls_ = 0
        return self

    def transform(self, X):
        self.n_calls_ += 1
        image, text = (
            np.exp(self.power * (part @ means.T)).astype(np.float32)
            for part, means in zip(self._split(X), self.means_, strict=True)
        )
        if isinstance(X, dict):
            return type(X)(image=image, text=text)
        return np.hstack([image, text])

    def get_feature_names_out(self, input_features=None):
        if not self.names:
            raise AttributeError("no names")
        return np.array(
            [f"{m}__classmeans{i}" for m in ("image", "text") for i in self.classes_]
        )


class Fixed(BaseEstimator):
    """A fitted estimator that returns what it is given."""

    def __init__(self, output, names=None, classes=None):
        self.output = output
        self.names = names
        if classes is not None:
            self.classes_ = classes

    def transform(self, X):
        return self.output

    def get_feature_names_out(self):
        if self.names is None:
            raise AttributeError("no names")
        return self.names


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    y = np.arange(120) % N_CLASSES
    image = rng.standard_normal((120, N_IMAGE)) + rng.standard_normal((4, N_IMAGE))[y]
    text = rng.standard_normal((120, N_TEXT)) + rng.standard_normal((4, N_TEXT))[y]
    return SliceDict(image=image, text=text), y


@pytest.fixture
def embeddings():
    rng = np.random.default_rng(1)
    image, text = rng.standard_normal((2, 20, 3))
    return image, text, np.arange(20) % 3


def expected_scores(image, text, y, **options):
    i2t = mean_average_precision(image, text, y, y, **options)
    t2i = mean_average_precision(text, image, y, y, **options)
    return (i2t + t2i) / 2, i2t, t2i


# Values -----------------------------------------------------------------------


def test_directions(embeddings):
    image, text, y = embeddings
    estimator = Fixed((image, text))
    scores = [
        scorer(estimator, None, y)
        for scorer in (map_scorer, map_i2t_scorer, map_t2i_scorer)
    ]
    assert scores == list(expected_scores(image, text, y))
    assert len(set(scores)) == 3
    assert all(type(score) is float for score in scores)


def test_options_and_weights(embeddings):
    image, text, y = embeddings
    options = {"k": 5, "normalizer": "all", "metric": "euclidean"}
    weight = np.arange(20)
    score = make_map_scorer(**options)(Fixed((image, text)), None, y, weight)
    assert score == expected_scores(image, text, y, sample_weight=weight, **options)[0]
    assert score != expected_scores(image, text, y, **options)[0]
    assert score != expected_scores(image, text, y, sample_weight=weight)[0]


def test_int8_output_uses_expected_ties(embeddings):
    image, text, y = embeddings
    codes = tuple(np.where(part >= 0, 1, -1).astype(np.int8) for part in (image, text))
    score = map_scorer(Fixed(codes), None, y)
    assert score == expected_scores(*codes, y, metric="hamming", ties="expected")[0]
    assert score != expected_scores(*codes, y, ties="stable")[0]


def test_multilabel(embeddings):
    image, text, y = embeddings
    labels = np.eye(3)[y]
    labels[:5, 0] = 1
    score = map_scorer(Fixed((image, text), classes=np.arange(3)), None, labels)
    assert score == expected_scores(image, text, labels)[0]
    assert score != expected_scores(image, text, y)[0]


# Splitting --------------------------------------------------------------------


def flat_frame(image, text):
    columns = [f"{m}__f{i}" for m in ("image", "text") for i in range(3)]
    return pd.DataFrame(np.hstack([image, text]), columns=columns)


def test_output_forms(embeddings):
    image, text, y = embeddings
    expected = expected_scores(image, text, y)[1]
    frame = flat_frame(image, text)
    names = frame.columns.to_numpy()
    order = [3, 0, 4, 1, 2, 5]
    frames = {"image": pd.DataFrame(image), "text": pd.DataFrame(text)}
    two_levels = pd.concat(frames, axis=1)
    for estimator in (
        Fixed({"text": text, "image": image}),
        Fixed(SliceDict(text=text, image=image)),
        Fixed({"image": torch.tensor(image), "text": torch.tensor(text), "tag": 0}),
        Fixed(frames),
        Fixed([image, text]),
        Fixed(frame),
        Fixed(frame.iloc[:, order]),
        Fixed(two_levels),
        Fixed(two_levels.iloc[:, order]),
        Fixed(pd.concat({"a": two_levels}, axis=1)),
        Fixed(frame.to_numpy(), names=names),
        Fixed(frame.to_numpy()[:, order], names=names[order]),
        Fixed(torch.tensor(frame.to_numpy()), names=names),
        Fixed(frame.to_numpy()),
        Fixed(frame.to_numpy(), names=[f"pca{i}" for i in range(6)]),
    ):
        assert map_i2t_scorer(estimator, None, y) == pytest.approx(expected)


def test_names_beat_halves(embeddings):
    """Columns of a feature union are [image_a text_a image_b text_b]."""
    image, text, y = embeddings
    output = np.hstack([image[:, :2], text[:, :1], image[:, 2:], text[:, 1:]])
    names = ["a__image__0", "a__image__1", "a__text__0"]
    names += ["b__image__0", "b__text__0", "b__text__1"]
    score = map_i2t_scorer(Fixed(output, names), None, y)
    assert score == pytest.approx(expected_scores(image, text, y)[1])
    halves = map_i2t_scorer(Fixed(output), None, y)
    assert halves == expected_scores(output[:, :3], output[:, 3:], y)[1]
    assert halves != pytest.approx(score)


def test_feature_union(pairs):
    X, y = pairs
    array = np.hstack([X["image"], X["text"]])
    members = [("a", ClassMeans()), ("b", ClassMeans(power=0.3))]
    union = FeatureUnion(members).fit(array, y)
    parts = [member.transform(X) for _, member in union.transformer_list]
    image, text = (
        np.hstack([part[modality] for part in parts]) for modality in ("image", "text")
    )
    assert map_scorer(union, array, y) == pytest.approx(
        expected_scores(image, text, y)[0]
    )
    pipe = make_pipeline(FunctionTransformer(feature_names_out="one-to-one"), union)
    assert map_scorer(pipe, array, y) == map_scorer(union, array, y)


def test_tokens_stand_between_underscores(embeddings):
    """ "context__" is no text."""
    image, text, y = embeddings
    output = np.hstack([image, text])
    names = [f"context__{i}" for i in range(6)]
    score = map_i2t_scorer(Fixed(output, names), None, y)
    assert score == expected_scores(image, text, y)[1]


@pytest.mark.parametrize(
    "output, names, message",
    [
        ({"img": 1, "txt": 2}, None, r"must have the keys .* got \['img', 'txt'\]"),
        (np.ones((20, 5)), None, "5 columns, which cannot be halved"),
        (np.ones((20, 2)), ["image__0", "rest"], "1 of 2 do not, such as 'rest'"),
        (np.ones((20, 2)), ["image__text__0", "text__0"], "such as 'image__text__0'"),
        (np.ones((20, 2)), ["image__0", "image__1"], "one modality only"),
        (np.ones((20, 4)), ["image__0", "text__0"], "2 names, but .* 4 columns"),
        (np.ones(20), None, "2-D array"),
        ([np.ones((20, 2))] * 3, None, "2-D array"),
    ],
)
def test_output_errors(output, names, message):
    with pytest.raises(ValueError, match=message):
        map_scorer(Fixed(output, names), None, np.arange(20) % 2)


def test_labels_are_required(embeddings):
    with pytest.raises(ValueError, match="Pass y to the search"):
        map_scorer(Fixed(embeddings[:2]), None, None)


# Model selection --------------------------------------------------------------


@pytest.mark.parametrize("form", ["mapping", "named array", "array", "frame"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search(pairs, form, n_jobs):
    X, y = pairs
    if form == "frame":
        X = pd.DataFrame(np.hstack([X["image"], X["text"]]))
    elif form != "mapping":
        X = np.hstack([X["image"], X["text"]])
    search = GridSearchCV(
        ClassMeans(names=form == "named array"),
        {"power": [0.01, 0.5]},
        scoring=map_scorer,
        cv=SHUFFLED,
        n_jobs=n_jobs,
        error_score="raise",
    ).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert np.all((scores > 0.3) & (scores < 1))
    train, test = next(SHUFFLED.split(y, y))
    rows = X.iloc if form == "frame" else X
    first = ClassMeans(power=0.01).fit(rows[train], y[train])
    assert search.cv_results_["split0_test_score"][0] == pytest.approx(
        map_scorer(first, rows[test], y[test])
    )
    assert search.score(X, y) == map_scorer(search.best_estimator_, X, y)
    assert clone(search).scoring == map_scorer


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_several_scorers(pairs, n_jobs):
    X, y = pairs
    scoring = {"mean": map_scorer, "i2t": map_i2t_scorer, "t2i": map_t2i_scorer}
    results = cross_validate(
        ClassMeans(), X, y, scoring=scoring, cv=SHUFFLED, n_jobs=n_jobs
    )
    assert_array_equal(
        results["test_mean"], (results["test_i2t"] + results["test_t2i"]) / 2
    )
    assert not np.isnan(results["test_mean"]).any()
    search = GridSearchCV(
        ClassMeans(), {"power": [0.1, 1]}, scoring=scoring, refit="t2i", cv=SHUFFLED
    ).fit(X, y)
    assert search.score(X, y) == map_t2i_scorer(search.best_estimator_, X, y)


def test_one_call_of_transform(pairs):
    X, y = pairs
    estimator = ClassMeans().fit(X, y)
    map_scorer(estimator, X, y)
    assert estimator.n_calls_ == 1


def test_pipeline(pairs):
    X, y = pairs
    pipe = make_pipeline(FunctionTransformer(), ClassMeans()).fit(X, y)
    assert map_scorer(pipe, X, y) == map_scorer(pipe[-1], X, y)


@pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.9"),
    reason="scikit-learn passes the weights of the fit to no scorer",
)
def test_sample_weight_without_routing(pairs):
    """Searches ask whether all scorers take the weights of the fit."""
    X, y = pairs
    scoring = {"mean": map_scorer, "i2t": map_i2t_scorer}
    weight = (y == 0).astype(float)
    options = {"cv": SHUFFLED, "refit": False}
    plain, weighted = (
        GridSearchCV(ClassMeans(), {}, scoring=scoring, **options)
        .fit(X, y, **params)
        .cv_results_["mean_test_mean"]
        for params in ({}, {"sample_weight": weight})
    )
    assert np.isfinite(weighted).all()
    assert plain != weighted


# Metadata routing -------------------------------------------------------------


def test_routing_without_metadata(pairs):
    X, y = pairs
    expected = cross_val_score(ClassMeans(), X, y, scoring=map_scorer, cv=SHUFFLED)
    with config_context(enable_metadata_routing=True):
        estimator = ClassMeans()
        scores = cross_val_score(
            estimator, X, y, scoring=map_scorer, cv=SHUFFLED, params={}
        )
        search = GridSearchCV(
            estimator,
            {"power": [1.0]},
            scoring={"mean": map_scorer, "i2t": map_i2t_scorer},
            refit="mean",
            cv=SHUFFLED,
        ).fit(X, y)
    assert_array_equal(scores, expected)
    assert search.best_score_ == pytest.approx(expected.mean())


@pytest.mark.parametrize("alias", [True, "importance"])
def test_routing_of_sample_weight(pairs, alias):
    X, y = pairs
    weight = np.random.default_rng(0).random(len(y))
    name = "sample_weight" if alias is True else alias
    with config_context(enable_metadata_routing=True):
        estimator = ClassMeans().set_fit_request(sample_weight=False)
        weighted = make_map_scorer().set_score_request(sample_weight=alias)
        plain = make_map_scorer().set_score_request(sample_weight=False)
        for scorer in (weighted, clone(weighted), pickle.loads(pickle.dumps(weighted))):
            results = cross_validate(
                estimator,
                X,
                y,
                scoring={"weighted": scorer, "plain": plain},
                cv=SHUFFLED,
                params={name: weight},
            )
            for i, (train, test) in enumerate(SHUFFLED.split(y, y)):
                fitted = clone(estimator).fit(X[train], y[train])
                expected = map_scorer(fitted, X[test], y[test], weight[test])
                assert results["test_weighted"][i] == expected
                assert results["test_plain"][i] == map_scorer(fitted, X[test], y[test])


def test_routing_requests():
    with config_context(enable_metadata_routing=True):
        requests = make_map_scorer().get_metadata_routing().score.requests
    assert requests == {"sample_weight": None}


# The scorer as an object ------------------------------------------------------


def test_repr_tells_what_is_computed():
    scorer = make_map_scorer(direction="t2i", k=50, normalizer="min", ties="optimistic")
    assert repr(scorer) == (
        "make_map_scorer(direction='t2i', k=50, normalizer='min', metric='auto', "
        "ties='optimistic', zero_relevant='zero', chunk_size=None, random_state=None)"
    )
    assert repr(eval(repr(scorer))) == repr(scorer)
    assert "direction='mean'" in str(map_scorer)
    shown = repr(GridSearchCV(ClassMeans(), {"power": [1]}, scoring=map_scorer))
    for name in ("direction", "metric", "k", "normalizer", "ties"):
        assert f"{name}={getattr(map_scorer, name)!r}" in shown
    assert "k=50" in repr(GridSearchCV(ClassMeans(), {"power": [1]}, scoring=scorer))


def test_name():
    assert map_scorer.__name__ == "mean_average_precision"
    assert map_t2i_scorer.__name__ == "mean_average_precision_text_to_image"
    scorer = make_map_scorer(direction="i2t", k=50)
    assert scorer.__name__ == "mean_average_precision_at_50_image_to_text"


def test_validation_curve(pairs):
    plt.switch_backend("Agg")
    display = ValidationCurveDisplay.from_estimator(
        ClassMeans(),
        *pairs,
        param_name="power",
        param_range=[0.5, 1, 2],
        scoring=map_scorer,
        cv=SHUFFLED,
    )
    assert display.ax_.get_ylabel() == "Mean average precision"
    plt.close("all")


def test_pickle_and_clone(embeddings):
    image, text, y = embeddings
    scorer = make_map_scorer(direction="i2t", k=7)
    for copy in (pickle.loads(pickle.dumps(scorer)), clone(scorer, safe=False)):
        assert copy is not scorer
        assert copy == scorer and hash(copy) == hash(scorer)
        assert copy(Fixed((image, text)), None, y) == scorer(
            Fixed((image, text)), None, y
        )
    assert scorer != make_map_scorer(direction="i2t", k=8)
    assert scorer != "scorer"


@pytest.mark.parametrize(
    "params, error, message",
    [
        ({"direction": "i2i"}, ValueError, "'direction' parameter"),
        ({"k": 0}, ValueError, "'k' parameter"),
        ({"ties": "any"}, ValueError, "'ties' parameter"),
        ({"per_query": True}, TypeError, "per_query"),
    ],
)
def test_wrong_options(params, error, message):
    with pytest.raises(error, match=message):
        make_map_scorer(**params)


# Folds of sorted rows ---------------------------------------------------------


def random_embeddings(n_rows):
    return np.random.default_rng(0).standard_normal((2, n_rows, 4)).astype(np.float32)


def score_fold(y, classes):
    estimator = Fixed(tuple(random_embeddings(len(y))), classes=np.asarray(classes))
    return map_scorer(estimator, None, y)


@pytest.mark.parametrize(
    "y, classes, message",
    [
        (np.repeat([0, 1], 50), np.arange(5), "100 rows hold only 2 of the 5 classes"),
        (["a"] * 60 + ["b"] * 40, ["c", "d", "e"], "100 of 100 rows belong to classes"),
        ([3] * 6 + [4] * 4, [0, 1, 2, 4], "6 of 10 rows belong to classes"),
        (np.repeat([[0], [1]], 50, axis=0)[:, 0], np.arange(10), "StratifiedKFold"),
    ],
)
def test_sorted_fold_warns(y, classes, message):
    with pytest.warns(UserWarning, match=message):
        score_fold(y, classes)


@pytest.mark.parametrize(
    "y, classes",
    [
        (np.arange(100) % 3, np.arange(5)),
        (np.arange(100) % 5, np.arange(5)),
        # Few rows may miss many classes.
        (np.arange(20) % 4, np.arange(10)),
        # A class of which all members fell into this fold.
        ([0, 1, 2, 3, 9] * 4, np.arange(5)),
        (["a", "b", "c", "d"] * 10, ["a", "b", "c", "d", "e"]),
    ],
)
def test_ordinary_fold_is_silent(y, classes):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score_fold(y, classes)


@pytest.mark.parametrize("n_classes", [2, 3, 10, 40])
@pytest.mark.parametrize("zipf", [0, 1, 2])
def test_shuffled_folds_raise_no_false_alarm(n_classes, zipf):
    """Even with classes of very different sizes, ten splits of some sizes."""
    rng = np.random.default_rng(n_classes)
    frequency = 1 / np.arange(1, n_classes + 1) ** zipf
    for n_rows, seed in [(n, seed) for n in (60, 300, 1000) for seed in range(10)]:
        y = np.sort(rng.choice(n_classes, n_rows, p=frequency / frequency.sum()))
        train, test = train_test_split(y, test_size=0.25, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            score_fold(np.sort(test), np.unique(train))


@pytest.mark.parametrize("n_splits", [2, 4, 10])
def test_unshuffled_folds_of_sorted_rows_warn(pairs, n_splits):
    X, y = pairs
    order = np.argsort(y, kind="stable")
    with pytest.warns(UserWarning) as record:
        cross_val_score(
            ClassMeans(), X[order], y[order], scoring=map_scorer, cv=KFold(n_splits)
        )
    text = " ".join(str(warning.message) for warning in record)
    assert "shuffles" in text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cv = KFold(n_splits, shuffle=True, random_state=0)
        cross_val_score(ClassMeans(), X[order], y[order], scoring=map_scorer, cv=cv)


def test_one_class_fold_warns_through_the_metric():
    estimator = Fixed(tuple(random_embeddings(9)))
    with pytest.warns(UndefinedMetricWarning, match="any ranking scores 1"):
        assert map_scorer(estimator, None, [1] * 9) == 1


# Scorers of other metrics -------------------------------------------------------

OTHERS = {
    "map": (mean_average_precision, {"k": 5, "normalizer": "min"}),
    "map_at_r": (map_at_r, {}),
    "r_precision": (r_precision, {"metric": "euclidean"}),
    "precision": (precision_at_k, {"k": 4}),
    "recall": (recall_at_k, {"k": 4, "ties": "expected"}),
    "hit_rate": (hit_rate_at_k, {"k": 1}),
    "ndcg": (ndcg_at_k, {"k": 4, "gain": "exponential"}),
    "reciprocal_rank": (reciprocal_rank, {"metric": "inner_product"}),
    "neg_median_rank": (median_rank, {}),
    "neg_mean_rank": (mean_rank, {"zero_relevant": "skip"}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_scorers_of_all_metrics(embeddings, name):
    image, text, y = embeddings
    function, options = OTHERS[name]
    sign = -1 if name.startswith("neg") else 1
    estimator = Fixed({"image": image, "text": text})
    weight = np.arange(len(y))
    ways = {
        "i2t": function(image, text, y, y, sample_weight=weight, **options),
        "t2i": function(text, image, y, y, sample_weight=weight, **options),
    }
    ways["mean"] = np.mean(list(ways.values()))
    for direction, value in ways.items():
        scorer = make_retrieval_scorer(name, direction=direction, **options)
        for each in (scorer, clone(scorer), pickle.loads(pickle.dumps(scorer))):
            assert each == scorer and hash(each) == hash(scorer)
            score = each(estimator, image, y, sample_weight=weight)
            assert score == pytest.approx(sign * value)
        again = eval(repr(scorer), {"make_retrieval_scorer": make_retrieval_scorer})
        assert again == scorer
    assert make_retrieval_scorer(name, direction="i2t", **options) != scorer


def test_scorers_of_pairs(embeddings):
    """The labels are for the training, and the rows are the pairs."""
    image, text, y = embeddings
    estimator = Fixed({"image": image, "text": text})
    scorer = make_retrieval_scorer("hit_rate", k=1, relevance="pair", direction="i2t")
    expected = hit_rate_at_k(image, text, k=1, relevance="pair")
    assert scorer(estimator, image) == scorer(estimator, image, y) == expected
    with pytest.raises(ValueError, match="The hit rate needs labels"):
        make_retrieval_scorer("hit_rate", k=1)(estimator, image)


def test_scorer_of_the_sum_of_hit_rates(embeddings):
    """It sums over both directions, where other scorers average."""
    image, text, y = embeddings
    estimator = Fixed({"image": image, "text": text})
    scorer = make_retrieval_scorer("rsum")
    assert scorer(estimator, image, y) == scorer(estimator, image) == rsum(image, text)
    for relevance, labels in {"pair": None, "label": y}.items():
        scorer = make_retrieval_scorer("rsum", k=[1, 3], relevance=relevance)
        rates = make_retrieval_scorer("hit_rate", k=1, relevance=relevance)
        others = make_retrieval_scorer("hit_rate", k=3, relevance=relevance)
        weight = np.arange(len(y))
        expected = 200 * sum(
            each(estimator, image, y, sample_weight=weight) for each in (rates, others)
        )
        score = scorer(estimator, image, y, sample_weight=weight)
        assert score == pytest.approx(expected)
        assert rsum(
            image, text, labels, k=[1, 3], relevance=relevance, sample_weight=weight
        ) == pytest.approx(expected)
        for each in (clone(scorer), pickle.loads(pickle.dumps(scorer))):
            assert each == scorer and hash(each) == hash(scorer)
    with pytest.raises(ValueError, match="The rsum needs labels"):
        scorer(estimator, image)


def test_equal_scorers_have_equal_hashes():
    scorer = make_retrieval_scorer("map", k=5, ties="stable")
    again = make_retrieval_scorer("map", ties="stable", k=5)
    assert scorer == again
    assert hash(scorer) == hash(again)


def test_names_of_scorers():
    for scorer, name in {
        make_retrieval_scorer("ndcg", k=10, direction="i2t"): (
            "ndcg_at_10_image_to_text"
        ),
        make_retrieval_scorer("r_precision"): "r_precision",
        make_retrieval_scorer("neg_median_rank", direction="t2i"): (
            "neg_median_rank_text_to_image"
        ),
        # Those of labels and of pairs go into one dictionary.
        make_retrieval_scorer("hit_rate", k=1): "hit_rate_at_1",
        make_retrieval_scorer("hit_rate", k=1, relevance="pair"): (
            "hit_rate_at_1_of_pairs"
        ),
        make_retrieval_scorer("rsum"): "rsum",
        make_retrieval_scorer("rsum", k=(1, 5), relevance="label"): (
            "rsum_at_1_5_of_labels"
        ),
    }.items():
        assert scorer.__name__ == name


@pytest.mark.parametrize(
    "name, options, error, message",
    [
        ("mrr", {}, ValueError, "'name' parameter"),
        ("precision", {}, TypeError, "needs the option k"),
        ("map", {"k": [1, 2]}, ValueError, "'k' parameter"),
        ("map", {"gain": "linear"}, TypeError, "no option 'gain' .* normalizer"),
        ("map", {"per_query": True}, TypeError, "no option 'per_query'"),
        ("map", {"metric": "precomputed"}, ValueError, "'metric' parameter"),
        ("map", {"relevance": np.eye(3)}, ValueError, "'relevance' parameter"),
        ("neg_mean_rank", {"zero_relevant": "zero"}, ValueError, "'zero_relevant'"),
        ("map", {"direction": "both"}, ValueError, "'direction' parameter"),
        ("rsum", {"direction": "i2t"}, ValueError, "the sum over both directions"),
        ("rsum", {"k": [1, 0]}, ValueError, "k must be a positive integer"),
        ("rsum", {"k": "1"}, ValueError, "'k' parameter"),
        ("rsum", {"gallery": {}}, TypeError, "no option 'gallery'"),
    ],
)
def test_wrong_options_of_other_scorers(name, options, error, message):
    with pytest.raises(error, match=message):
        make_retrieval_scorer(name, **options)


def test_several_metrics_in_cross_validation(pairs):
    X, y = pairs
    scorers = [
        make_retrieval_scorer("ndcg", k=5),
        make_retrieval_scorer("hit_rate", k=1, direction="t2i"),
    ]
    scores = cross_validate(
        ClassMeans(),
        X,
        y,
        cv=StratifiedKFold(2, shuffle=True, random_state=0),
        scoring={scorer.__name__: scorer for scorer in scorers},
    )
    for scorer in scorers:
        assert np.all(scores[f"test_{scorer.__name__}"] > 0)
