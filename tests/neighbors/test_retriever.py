"""Retrieval of raw items: the same as encoding and searching by hand."""

# SPDX-License-Identifier: BSD-3-Clause

import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import coo_array, csr_array
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import (
    CCAProjector,
    CrossModalEnsemble,
    CrossModalNeighbors,
    CrossModalRetriever,
    DRCLProjector,
    PairTransformer,
    SemanticMatchingProjector,
    SSAHHasher,
    make_pairs,
)
from sklearn_cmr.datasets import make_cross_modal_classification
from sklearn_cmr.metrics import make_retrieval_scorer, map_scorer

A, B, y = make_cross_modal_classification(300, n_classes=4, random_state=0)
TRAIN, TEST = np.arange(200), np.arange(200, 300)
NAMES = np.array([f"image {i}" for i in TEST])


def fitted(model=None, **params):
    model = SemanticMatchingProjector() if model is None else model
    return CrossModalRetriever(model, **params).fit(A[TRAIN], B[TRAIN], y[TRAIN])


@pytest.fixture(scope="module")
def hasher():
    """A fitted hasher."""
    model = SSAHHasher(n_bits=20, max_epochs=3, random_state=0)
    return model.fit(A[TRAIN], B[TRAIN], y[TRAIN])


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert_array_equal(one, other)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_embeddings_are_ranked_by_the_metric_of_the_model(metric):
    retriever = fitted(SemanticMatchingProjector(metric=metric), n_neighbors=7)
    model = retriever.model_
    reference = NearestNeighbors(n_neighbors=7, metric=metric, algorithm="brute")
    reference.fit(model.transform_image(A[TEST]).astype(float))
    expected = reference.kneighbors(model.transform_text(B[TEST]).astype(float))
    ids, distances = retriever.index(image=A[TEST]).query(text=B[TEST])
    assert_array_equal(ids, expected[1])
    assert_allclose(distances, expected[0], atol=1e-7)
    assert retriever.neighbors_.effective_metric_ == metric


@pytest.mark.parametrize("output", ["sign", "packed"])
def test_codes_are_ranked_by_the_hamming_distance(hasher, output):
    model = pickle.loads(pickle.dumps(hasher)).set_params(output=output)
    retriever = CrossModalRetriever(model, n_neighbors=5).index(text=B[TEST])
    codes = hasher.encode(B[TEST], "text"), hasher.encode(A[TEST], "image")
    expected = CrossModalNeighbors(n_neighbors=5).fit(codes[0]).kneighbors(codes[1])
    ids, distances = retriever.query(image=A[TEST])
    assert_same((distances, ids), expected)
    assert distances.dtype == np.int32


@pytest.mark.parametrize(
    ("make", "metric"),
    [
        (lambda model: make_pipeline(PairTransformer(), model), "euclidean"),
        (lambda model: GridSearchCV(model, {"metric": ["euclidean"]}), "euclidean"),
        (
            lambda model: make_pipeline(
                PairTransformer(), GridSearchCV(model, {"metric": ["euclidean"]})
            ),
            "euclidean",
        ),
        (lambda model: CrossModalEnsemble(model, n_estimators=1), "cosine"),
    ],
)
def test_the_metric_is_found_in_what_encodes(make, metric):
    model = make(SemanticMatchingProjector(metric="euclidean"))
    retriever = CrossModalRetriever(model, n_neighbors=1)
    retriever.fit(make_pairs(A[TRAIN], B[TRAIN]), y[TRAIN]).index(image=A[TEST])
    assert retriever.neighbors_.effective_metric_ == metric


def test_a_metric_of_the_retriever_wins():
    retriever = fitted(metric="euclidean", algorithm="brute").index(image=A[TEST])
    assert retriever.neighbors_.effective_metric_ == "euclidean"
    assert retriever.neighbors_.algorithm == "brute"


def test_any_modality_queries_any_gallery():
    model = DRCLProjector(embedding_dim=8, max_epochs=2, random_state=0)
    parts = {"image": A[TRAIN], "text": B[TRAIN], "sound": A[TRAIN]}
    retriever = CrossModalRetriever(model, n_neighbors=2)
    retriever.fit(parts, dict.fromkeys(parts, y[TRAIN]))
    for gallery, query in [("sound", "text"), ("image", "image"), ("text", "sound")]:
        retriever.index(**{gallery: parts[gallery]})
        Z = [retriever.model_.transform_modality(parts[m], m) for m in (gallery, query)]
        expected = CrossModalNeighbors(n_neighbors=2).fit(Z[0]).kneighbors(Z[1])
        assert_same(retriever.kneighbors({query: parts[query]}), expected)


# What a gallery and queries may be -----------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        np.ndarray.tolist,
        torch.tensor,
        csr_array,
        coo_array,
        pd.DataFrame,
        lambda X: pl.DataFrame(X, [str(i) for i in range(X.shape[1])]),
    ],
)
@pytest.mark.parametrize("chunk_size", [1, 33, 100])
def test_forms_of_features_and_chunks(form, chunk_size):
    expected = fitted().index(image=A[TEST]).query(text=B[TEST])
    retriever = fitted(chunk_size=chunk_size)
    ids, distances = retriever.index(image=form(A[TEST])).query(text=form(B[TEST]))
    assert_array_equal(ids, expected[0])
    assert_allclose(distances, expected[1], atol=1e-6)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output_does_not_change_the_result(library, hasher):
    for model, params in [(SemanticMatchingProjector(), {}), (hasher, {})]:
        retriever = fitted(clone(model), **params)
        expected = retriever.index(image=A[TEST]).query(text=B[TEST])
        retriever.set_output(transform=library)
        assert hasattr(retriever.transform(A, B)[0], "columns")
        assert_same(retriever.index(image=A[TEST]).query(text=B[TEST]), expected)


def test_raw_texts_in_a_pipeline():
    texts = [["round four", "tall one", "a loop"][label % 3] for label in y]
    model = make_pipeline(
        PairTransformer(image=StandardScaler(), text=TfidfVectorizer()),
        SemanticMatchingProjector(),
    )
    retriever = CrossModalRetriever(model, n_neighbors=3, chunk_size=64)
    retriever.fit({"image": A, "text": texts}, y % 3)
    ids, _ = retriever.index(image=A).query(text=["a round four", "one"])
    queries = {"text": ["a round four", "one"]}
    Z = [retriever.transform(part) for part in ({"image": A}, queries)]
    expected = CrossModalNeighbors(n_neighbors=3).fit(Z[0]).kneighbors(Z[1])
    assert_array_equal(ids, expected[1])
    series = pd.Series(["a round four", "one"], index=["x", "y"])
    assert_array_equal(retriever.query(text=series)[0], ids)
    with pytest.raises(TypeError, match="got a single string as the text features"):
        retriever.query(text="a round four")


def test_as_frame():
    retriever = fitted(n_neighbors=2).index(image=A[TEST], ids=NAMES)
    ids, distances = retriever.query(text=B[:3])
    frame = retriever.query(text=B[:3], as_frame=True)
    assert list(frame.columns) == ["query", "rank", "id", "distance"]
    assert frame["query"].tolist() == [0, 0, 1, 1, 2, 2]
    assert frame["rank"].tolist() == [1, 2] * 3
    assert_array_equal(frame["id"], ids.ravel())
    assert_array_equal(frame["distance"], distances.ravel())
    X = pd.DataFrame(B[:3], index=["x", "y", "z"])
    assert retriever.query(text=X, as_frame=True)["query"].tolist() == list("xxyyzz")


def test_as_frame_without_pandas(monkeypatch):
    retriever = fitted().index(image=A[TEST])

    def refuse(name, *others):
        if name == "pandas":
            raise ModuleNotFoundError(name)

    # Not None in its place, which scikit-learn 1.6 takes for pandas.
    monkeypatch.delitem(sys.modules, "pandas")
    finders = [SimpleNamespace(find_spec=refuse), *sys.meta_path]
    monkeypatch.setattr(sys, "meta_path", finders)
    with pytest.raises(ImportError, match="as_frame=True needs pandas"):
        retriever.query(text=B[:3], as_frame=True)


def test_options_of_a_query():
    retriever = fitted(n_neighbors=4).index(image=A[TEST], ids=NAMES)
    Z = (
        retriever.model_.transform_image(A[TEST]),
        retriever.model_.transform_text(B[:9]),
    )
    reference = CrossModalNeighbors(n_neighbors=4).fit(Z[0], ids=NAMES)
    queries = {"text": B[:9]}
    assert_same(retriever.kneighbors(queries), reference.kneighbors(Z[1]))
    assert_same(retriever.kneighbors(queries, 2), reference.kneighbors(Z[1], 2))
    found = retriever.kneighbors(queries, return_distance=False)
    assert_array_equal(found, reference.kneighbors(Z[1])[1])
    assert_same(retriever.kneighbors(), reference.kneighbors())
    subset = np.arange(100) % 2 == 0
    expected = reference.kneighbors(Z[1], subset=subset)
    assert_same(retriever.kneighbors(queries, subset=subset), expected)
    assert_array_equal(
        retriever.query(text=B[:9], subset=NAMES[subset])[0], expected[1]
    )
    assert retriever.set_params(n_neighbors=6).query(text=B[:9])[0].shape == (9, 6)
    assert retriever.query(text=B[:9], n_neighbors=1)[0].shape == (9, 1)


def test_a_gallery_that_changes():
    retriever = fitted(n_neighbors=60)
    retriever.index(image=A[200:250], ids=NAMES[:50]).add(image=A[250:], ids=NAMES[50:])
    expected = clone(retriever).fit(A[TRAIN], B[TRAIN], y[TRAIN])
    expected.index(image=A[TEST], ids=NAMES)
    assert_same(retriever.query(text=B), expected.query(text=B))
    retriever.remove(NAMES[:10])
    expected.index(image=A[210:], ids=NAMES[10:])
    assert_same(retriever.query(text=B), expected.query(text=B))
    retriever.update(image=A[:5], ids=NAMES[10:15])
    expected.index(image=np.concatenate([A[:5], A[215:]]), ids=NAMES[10:])
    assert_same(retriever.query(text=B), expected.query(text=B))
    # A gallery of both modalities.
    retriever.add(text=B[:2], ids=["text 0", "text 1"])
    assert "text 0" in retriever.query(text=B[:1], n_neighbors=1)[0]


# Models ---------------------------------------------------------------------------


def test_fit_copies_the_model_and_drops_the_gallery():
    model = SemanticMatchingProjector()
    retriever = CrossModalRetriever(model).fit(A, B, y).index(image=A)
    assert not hasattr(model, "classes_")
    assert retriever.classes_.tolist() == [0, 1, 2, 3]
    assert retriever.n_features_in_ == A.shape[1] + B.shape[1]
    retriever.fit(A[:, :5], B, y)
    assert retriever.n_features_in_ == 5 + B.shape[1]
    with pytest.raises(NotFittedError, match="has no gallery yet. Call 'index'"):
        retriever.query(text=B)


def test_a_fitted_model_needs_no_fit():
    model = SemanticMatchingProjector().fit(A[TRAIN], B[TRAIN], y[TRAIN])
    expected = fitted().index(image=A[TEST]).query(text=B[TEST])
    retriever = CrossModalRetriever(model)
    assert retriever.score(A, B, y) == model.score(A, B, y)
    assert_same(retriever.index(image=A[TEST]).query(text=B[TEST]), expected)
    assert retriever.model_ is model
    frozen = fitted(FrozenEstimator(model))
    assert_same(frozen.index(image=A[TEST]).query(text=B[TEST]), expected)


def test_a_model_without_labels():
    retriever = CrossModalRetriever(CCAProjector(n_components=3)).fit(make_pairs(A, B))
    assert not hasattr(retriever, "classes_")
    assert retriever.index(image=A).query(text=B)[0].shape == (300, 10)


def test_transform_is_that_of_the_model():
    retriever = fitted()
    assert_same(retriever.transform(A, B), retriever.model_.transform(A, B))
    both = retriever.transform(make_pairs(A, B))
    assert_array_equal(both["text"], retriever.model_.transform_text(B))
    Z = clone(retriever).fit_transform(A[TRAIN], B[TRAIN], y[TRAIN])
    assert_same(Z, retriever.transform(A[TRAIN], B[TRAIN]))
    names = retriever.get_feature_names_out()
    assert_array_equal(names, retriever.model_.get_feature_names_out())


def test_further_arguments_reach_the_model():
    held_out = {"X_val": make_pairs(A[TEST], B[TEST]), "y_val": y[TEST]}
    model = DRCLProjector(max_epochs=1, early_stopping=True, random_state=0)
    retriever = CrossModalRetriever(model).fit(A[TRAIN], B[TRAIN], y[TRAIN], **held_out)
    expected = clone(model).fit(A[TRAIN], B[TRAIN], y[TRAIN], **held_out)
    assert retriever.score(A, B, y) == expected.score(A, B, y)
    weights = np.arange(300)
    score = expected.score(A, B, y, sample_weight=weights)
    assert retriever.score(A, B, y, sample_weight=weights) == score


def test_model_selection():
    model = make_pipeline(
        PairTransformer(image=StandardScaler(), text=StandardScaler()),
        CCAProjector(),
    )
    pairs = make_pairs(A, B)
    grid = {"model__ccaprojector__n_components": [1, 4]}
    scoring = {"map": map_scorer, "hit": make_retrieval_scorer("hit_rate", k=1)}
    search = GridSearchCV(CrossModalRetriever(model), grid, cv=3).fit(pairs, y)
    several = GridSearchCV(
        CrossModalRetriever(model), grid, cv=3, scoring=scoring, refit="map"
    ).fit(pairs, y)
    expected = GridSearchCV(
        model, {"ccaprojector__n_components": [1, 4]}, cv=3, scoring=map_scorer
    ).fit(pairs, y)
    for found in (search, several):
        scores = found.cv_results_.get("mean_test_score")
        scores = found.cv_results_["mean_test_map"] if scores is None else scores
        assert_allclose(scores, expected.cv_results_["mean_test_score"])
    best = search.best_estimator_.index(image=A, ids=np.arange(300) + 1000)
    assert best.query(text=B[:2])[0].min() >= 1000
    scores = cross_val_score(CrossModalRetriever(model), pairs, y, cv=3)
    assert scores.shape == (3,)


def test_pickle_and_clone(tmp_path):
    retriever = fitted().index(image=A[TEST], ids=NAMES)
    expected = retriever.query(text=B)
    assert_same(pickle.loads(pickle.dumps(retriever)).query(text=B), expected)
    assert not hasattr(clone(retriever), "neighbors_")
    retriever.neighbors_.save(tmp_path)
    other = CrossModalRetriever(retriever.model_)
    other.index(CrossModalNeighbors.load(tmp_path))
    assert_same(other.query(text=B), expected)


# Errors ---------------------------------------------------------------------------


def test_not_fitted():
    retriever = CrossModalRetriever(SemanticMatchingProjector())
    calls = [
        lambda: retriever.index(image=A),
        lambda: retriever.query(text=B),
        lambda: retriever.kneighbors(),
        lambda: retriever.add(image=A),
        lambda: retriever.remove([0]),
        lambda: retriever.transform(A, B),
        lambda: retriever.score(A, B, y),
    ]
    for call in calls:
        with pytest.raises(NotFittedError, match="is not fitted yet, nor is its model"):
            call()
    retriever.fit(A, B, y)
    with pytest.raises(NotFittedError, match="has no gallery yet"):
        retriever.update(image=A, ids=[0])


def test_one_modality_by_name():
    retriever = fitted().index(image=A[TEST])
    expected = retriever.query(text=B)
    message = "Expected the features of one modality by its name"
    for call in [
        retriever.query,
        retriever.index,
        retriever.add,
        lambda: retriever.query(image=A, text=B),
        lambda: retriever.kneighbors(A),
        lambda: retriever.kneighbors(make_pairs(A, B)),
    ]:
        with pytest.raises(TypeError, match=message):
            call()
    for call in [
        lambda: retriever.index(A),
        lambda: retriever.index(CrossModalNeighbors().fit(A), image=A),
        lambda: retriever.index(CrossModalNeighbors().fit(A), ids=NAMES),
    ]:
        with pytest.raises(TypeError, match="index takes a CrossModalNeighbors alone"):
            call()
    with pytest.raises(NotFittedError):
        retriever.index(CrossModalNeighbors())
    with pytest.raises(ValueError, match="sound"):
        retriever.query(sound=A)
    with pytest.raises(ValueError, match="features"):
        retriever.query(text=B[:, :3])
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        retriever.query(text=B[:0])
    with pytest.raises(ValueError, match="Got 2 ids for 100 rows"):
        retriever.index(image=A[TEST], ids=["a", "b"])
    assert_same(retriever.query(text=B), expected)


@pytest.mark.parametrize(
    "params",
    [{"n_neighbors": 0}, {"metric": "auto"}, {"chunk_size": 0}, {"model": "acmr"}],
)
def test_parameters_are_checked(params):
    retriever = CrossModalRetriever(SemanticMatchingProjector()).set_params(**params)
    with pytest.raises(ValueError, match=f"The '{[*params][0]}' parameter of CrossMod"):
        retriever.fit(A, B, y)
