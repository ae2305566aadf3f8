"""Approximate search: most of the exact neighbors, at their exact distances."""

# SPDX-License-Identifier: BSD-3-Clause

import pickle
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_cmr import CrossModalNeighbors, CrossModalRetriever
from sklearn_cmr.codes import hamming_distances

pytest.importorskip("faiss")

METRICS = ["cosine", "euclidean", "hamming"]


def sample(metric, n_items=4000, n_queries=50, width=24):
    """Items around centers, as a trained model encodes them."""
    rng = np.random.RandomState(0)
    centers = rng.randn(10, width)
    items, queries = (
        centers[rng.randint(10, size=n)] + 0.5 * rng.randn(n, width)
        for n in (n_items, n_queries)
    )
    if metric == "hamming":
        return [np.where(Z >= 0, 1, -1).astype(np.int8) for Z in (items, queries)]
    return items.astype(np.float32), queries.astype(np.float32)


def both(metric, algorithm, **params):
    gallery, query = sample(metric)
    models = [
        CrossModalNeighbors(metric=metric, algorithm=name, **options).fit(gallery)
        for name, options in [("brute", {}), (algorithm, params)]
    ]
    return gallery, query, *models


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("algorithm", ["hnsw", "ivf"])
def test_most_neighbors_are_found_at_their_distances(metric, algorithm):
    gallery, query, exact, model = both(metric, algorithm)
    distances, rows = model.kneighbors(query, 10)
    expected = exact.kneighbors(query, len(gallery))
    pairs = zip(rows, expected[1][:, :10], strict=True)
    shared = [len(set(found) & set(nearest)) for found, nearest in pairs]
    assert np.mean(shared) > 8
    # By distance, then by row, as the exact search has them.
    for own, ids, near, order in zip(distances, rows, *expected, strict=True):
        at = np.flatnonzero(np.isin(order, ids))
        assert_array_equal(order[at], ids)
        assert_array_equal(near[at], own)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("algorithm", "params"),
    [
        ("ivf", {"n_lists": 5, "n_probes": 5}),
        ("hnsw", {"ef_search": 4000, "ef_construction": 400}),
    ],
)
def test_an_exhaustive_search_is_exact(metric, algorithm, params):
    _, query, exact, model = both(metric, algorithm, algorithm_params=params)
    if metric == "hamming":  # which of tied items are found is not determined
        assert_array_equal(model.kneighbors(query)[0], exact.kneighbors(query)[0])
    else:
        assert_array_equal(model.kneighbors(query)[1], exact.kneighbors(query)[1])


def test_more_effort_finds_more():
    _, query, exact, _ = both("euclidean", "brute")
    expected = exact.kneighbors(query)[1]
    found = []
    for n_probes in (1, 4, 16):
        params = {"n_lists": 60, "n_probes": n_probes}
        model = both("euclidean", "ivf", algorithm_params=params)[-1]
        found.append(np.isin(model.kneighbors(query)[1], expected).sum())
    assert found[0] < found[1] < found[2]


@pytest.mark.parametrize("metric", METRICS)
def test_too_few_candidates_are_made_up_for(metric):
    params = {"n_lists": 100, "n_probes": 1}
    _, query, exact, model = both(metric, "ivf", algorithm_params=params)
    # More neighbors than a list has items.
    expected = exact.kneighbors(query, 1000)
    distances, rows = model.kneighbors(query, 1000)
    assert all(len(set(row)) == 1000 for row in rows.tolist())
    assert_array_equal(rows, expected[1])
    assert_array_equal(distances, expected[0])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("algorithm", ["hnsw", "ivf"])
def test_radius_and_subset_are_exact(metric, algorithm):
    gallery, query, exact, model = both(metric, algorithm)
    radius = float(np.median(exact.kneighbors(query)[0]))
    subset = np.arange(len(gallery)) % 3 == 0
    for own, other in zip(
        model.radius_neighbors(query, radius),
        exact.radius_neighbors(query, radius),
        strict=True,
    ):
        assert all(map(np.array_equal, own, other))
    own = model.kneighbors(query, subset=subset)
    for one, other in zip(own, exact.kneighbors(query, subset=subset), strict=True):
        assert_array_equal(one, other)


@pytest.mark.parametrize("algorithm", ["hnsw", "ivf"])
@pytest.mark.parametrize("n_items", [1, 3, 50])
def test_small_galleries(algorithm, n_items):
    for metric in METRICS:
        gallery, query = sample(metric, n_items=n_items)
        model = CrossModalNeighbors(metric=metric, algorithm=algorithm).fit(gallery)
        exact = CrossModalNeighbors(metric=metric).fit(gallery)
        distances = model.kneighbors(query, n_items)[0]
        assert_array_equal(distances, exact.kneighbors(query, n_items)[0])


def test_a_gallery_that_changes_and_travels(tmp_path):
    gallery, query = sample("hamming", 500)
    params = {"n_links": np.int64(16)}
    model = CrossModalNeighbors(algorithm="hnsw", algorithm_params=params)
    model.fit(gallery[:400]).add(gallery[400:]).remove([0])
    distances, rows = model.kneighbors(query)
    assert_array_equal(
        distances,
        np.take_along_axis(hamming_distances(query, gallery[1:]), rows, axis=1),
    )
    model.save(tmp_path)
    for copied in (
        pickle.loads(pickle.dumps(model)),
        CrossModalNeighbors.load(tmp_path),
    ):
        assert copied.algorithm_params == {"n_links": 16}
        assert_array_equal(copied.kneighbors(query)[0], distances)


@pytest.mark.parametrize(
    ("algorithm", "params", "message"),
    [
        ("hnsw", {"n_probes": 3}, "algorithm_params of 'hnsw' are .*got .'n_probes'"),
        ("ivf", {"n_lists": 0}, r"algorithm_params\['n_lists'\] == 0, must be >= 1"),
        ("ivf", {"n_lists": 50}, "need 39 items each, but the gallery has 100 items"),
        ("hnsw", {"n_links": 1.5}, "must be an instance of int"),
        ("auto", {"n_links": 8}, "are for the algorithms .* algorithm='auto' has none"),
        ("brute", {}, "algorithm='brute' has none"),
    ],
)
def test_parameters_are_checked(algorithm, params, message):
    model = CrossModalNeighbors(algorithm=algorithm, algorithm_params=params)
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(sample("cosine", 100)[0])


def test_faiss_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match="algorithm='hnsw' needs an optional package"):
        CrossModalNeighbors(algorithm="hnsw").fit(np.eye(3))


def test_the_retriever_passes_the_algorithm_on():
    from sklearn_cmr import SemanticMatchingProjector

    rng = np.random.RandomState(0)
    A, B, y = rng.randn(90, 4), rng.randn(90, 3), np.arange(90) % 3
    params = {"ef_search": 90}
    retriever = CrossModalRetriever(
        SemanticMatchingProjector(), algorithm="hnsw", algorithm_params=params
    )
    retriever.fit(A, B, y).index(image=A)
    assert retriever.neighbors_.algorithm == "hnsw"
    assert retriever.neighbors_.algorithm_params == params
