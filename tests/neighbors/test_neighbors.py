"""Top-k search: brute force, ties, growth, containers, and one result for all."""

# SPDX-License-Identifier: BSD-3-Clause

import pickle
import sys
import tracemalloc
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import NearestNeighbors

from sklearn_cmr import CrossModalNeighbors
from sklearn_cmr.hashing import hamming_distances, pack_codes
from sklearn_cmr.neighbors import _blocks, _hamming, _neighbors, _real


class OtherIndex:
    """Stands for a library that rounds, and that prefers the last of tied rows."""

    def __init__(self, width):
        self.gallery = np.empty((0, 0))

    def add(self, gallery):
        self.gallery = gallery

    def search(self, query, k):
        distances = self._distances(query)
        rows = np.argsort(distances[:, ::-1], axis=1, kind="stable")[:, :k]
        rows = distances.shape[1] - 1 - rows
        return np.take_along_axis(distances, rows, axis=1), rows

    def range_search(self, query, radius):
        distances = self._distances(query)[:, ::-1]
        near = distances < radius
        ends = np.append(0, np.cumsum(near.sum(axis=1))).astype(np.uint64)
        return ends, distances[near], distances.shape[1] - 1 - np.nonzero(near)[1]


class OtherBinaryIndex(OtherIndex):
    def _distances(self, query):
        return hamming_distances(query, self.gallery)


class OtherRealIndex(OtherIndex):
    def _distances(self, query):
        squares = [(X * X).sum(axis=1) for X in (query, self.gallery)]
        products = query @ self.gallery.T
        return squares[0][:, None] + squares[1] - 2 * products


@pytest.fixture(params=["brute", "faiss", "other"])
def algorithm(request, monkeypatch):
    """Each way of searching: both algorithms, and one that does its best to differ."""
    if request.param == "faiss":
        pytest.importorskip("faiss")
    if request.param == "other":
        other = SimpleNamespace(
            IndexBinaryFlat=OtherBinaryIndex, IndexFlatL2=OtherRealIndex
        )
        monkeypatch.setitem(sys.modules, "faiss", other)
        return "faiss"
    return request.param


def random_codes(n_samples, n_bits, seed=0):
    bits = np.random.RandomState(seed).randint(2, size=(n_samples, n_bits))
    return np.where(bits, 1, -1).astype(np.int8)


def nearest(distances, k):
    """Order all items of each query, equal ones as they stand, and cut."""
    rows = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, rows, axis=1), rows


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert_array_equal(one, other)


def assert_same_balls(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert len(one) == len(other)
        assert_same(one, other)


# Codes ------------------------------------------------------------------------


@pytest.mark.parametrize("n_bits", [3, 8, 20, 64, 130, 260])
@pytest.mark.parametrize(("n_items", "k"), [(1, 1), (60, 7), (60, 60), (9000, 5)])
def test_codes_against_brute_force(algorithm, n_bits, n_items, k):
    gallery, query = random_codes(n_items, n_bits), random_codes(11, n_bits, seed=1)
    distances = (n_bits - query.astype(int) @ gallery.T.astype(int)) // 2
    model = CrossModalNeighbors(n_neighbors=k, algorithm=algorithm).fit(gallery)
    found = model.kneighbors(query)
    assert_same(found, nearest(distances, k))
    assert found[0].dtype == np.int32
    radius = n_bits // 2 - 1
    balls = model.radius_neighbors(query, radius)
    within = [np.flatnonzero(row <= radius) for row in distances]
    expected = [row[near] for row, near in zip(distances, within, strict=True)]
    assert_same_balls(balls, (expected, within))


@given(
    arrays(np.uint8, (40, 1), elements=st.sampled_from([0, 1, 3, 7, 128, 255])),
    arrays(np.uint8, (5, 1), elements=st.sampled_from([0, 1, 2, 255])),
    st.integers(1, 40),
)
def test_ties_of_codes(gallery, query, k):
    expected = nearest(np.bitwise_count(query ^ gallery.T), k)
    model = CrossModalNeighbors(algorithm="brute", n_neighbors=k).fit(gallery)
    assert_same(model.kneighbors(query), expected)


@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_ties_that_another_library_orders_otherwise(seed, k):
    rng = np.random.RandomState(seed)
    gallery = rng.randint(rng.randint(2, 256), size=(300, 1)).astype(np.uint8)
    query = rng.randint(256, size=(9, 1)).astype(np.uint8)
    other = SimpleNamespace(IndexBinaryFlat=OtherBinaryIndex)
    search = _hamming.FaissHammingSearch(gallery, other)
    expected = nearest(np.bitwise_count(query ^ gallery.T), k)
    assert_same(search.search(query, k), expected)


def test_few_codes_for_many_items(algorithm):
    # As a trained hasher gives them: whole classes share a code.
    codes = random_codes(4, 64)
    gallery = codes[np.random.RandomState(0).randint(4, size=20_000)]
    model = CrossModalNeighbors(n_neighbors=30, algorithm=algorithm).fit(gallery)
    expected = nearest(hamming_distances(codes, gallery), 30)
    assert_same(model.kneighbors(codes), expected)


def test_items_that_come_ever_nearer(algorithm):
    # No limit found so far leaves anything out.
    gallery = np.ones((30_000, 64), dtype=np.int8)
    gallery[np.arange(64) < np.linspace(64, 0, 30_000)[:, None]] = -1
    query = np.ones((3, 64), dtype=np.int8)
    model = CrossModalNeighbors(n_neighbors=100, algorithm=algorithm).fit(gallery)
    expected = nearest(hamming_distances(query, gallery), 100)
    assert_same(model.kneighbors(query), expected)


@pytest.mark.parametrize("order", ["nearer", "farther", "equal"])
def test_real_values_in_order_of_their_distance(algorithm, order, monkeypatch):
    monkeypatch.setattr(_real, "_PAIRS", 500)
    steps = {
        "nearer": np.linspace(9, 0, 5000),
        "farther": np.linspace(0, 9, 5000),
        "equal": np.ones(5000),
    }
    gallery = steps[order][:, None] * np.ones((1, 4))
    model = CrossModalNeighbors(metric="euclidean", algorithm=algorithm).fit(gallery)
    expected = nearest(2 * steps[order][None], 20)
    distances, rows = model.kneighbors(np.zeros((1, 4)), 20)
    assert_array_equal(rows, expected[1])
    assert_allclose(distances, expected[0])


@pytest.mark.parametrize("form", [pack_codes, np.float32, np.int64, torch.tensor])
def test_forms_of_codes(form):
    gallery, query = random_codes(50, 20), random_codes(6, 20, seed=1)
    expected = CrossModalNeighbors().fit(gallery).kneighbors(query)
    model = CrossModalNeighbors(metric="hamming").fit(form(gallery))
    assert_same(model.kneighbors(form(query)), expected)
    assert model.n_features_in_ == form(gallery).shape[1]


# Real values ------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_real_values_as_scikit_learn_finds_them(algorithm, metric, dtype):
    rng = np.random.RandomState(0)
    gallery = (100 * rng.randn(3000, 24)).astype(dtype)
    query = (100 * rng.randn(40, 24)).astype(dtype)
    reference = NearestNeighbors(metric=metric, algorithm="brute")
    reference.fit(gallery.astype(np.float64))
    expected = reference.kneighbors(query, 10)
    model = CrossModalNeighbors(metric=metric, algorithm=algorithm).fit(gallery)
    distances, rows = model.kneighbors(query, 10)
    assert_array_equal(rows, expected[1])
    assert_allclose(distances, expected[0], rtol=1e-12)
    assert distances.dtype == np.float64

    radius = float(np.median(distances[:, -1]))
    expected = reference.radius_neighbors(query, radius, sort_results=True)
    distances, rows = model.radius_neighbors(query, radius, sort_results=True)
    for one, other in zip(rows, expected[1], strict=True):
        assert_array_equal(one, other)
    assert_allclose(np.concatenate(distances), np.concatenate(expected[0]), rtol=1e-12)


def exact_keys(query, gallery, metric):
    """Numbers in the order of the distances, as fractions."""
    if metric == "euclidean":
        return [
            sum((int(q) - int(x)) ** 2 for q, x in zip(query, row, strict=True))
            for row in gallery
        ]
    keys = []
    for row in gallery:
        dot, length = int(query @ row), int(query @ query) * int(row @ row)
        cosine = Fraction(dot * abs(dot), length) if length else Fraction(0)
        keys.append(-cosine)
    return keys


@given(
    arrays(np.int64, (30, 5), elements=st.integers(-1, 1)),
    arrays(np.int64, (3, 5), elements=st.integers(-1, 1)),
    st.integers(1, 30),
    st.sampled_from(["cosine", "euclidean"]),
)
def test_ties_of_real_values(gallery, query, k, metric):
    model = CrossModalNeighbors(metric=metric, algorithm="brute", n_neighbors=k)
    rows = model.fit(gallery).kneighbors(query, return_distance=False)
    for one, found in zip(query, rows, strict=True):
        keys = exact_keys(one, gallery, metric)
        assert found.tolist() == sorted(range(30), key=lambda i: (keys[i], i))[:k]


def hard_cases():
    rng = np.random.RandomState(0)
    X, Q = rng.randn(2000, 8), rng.randn(12, 8)
    outlier = X.copy()
    outlier[7] *= 1e9
    zeros = X.copy()
    zeros[::3] = 0
    return {
        "codes": (np.sign(X), np.sign(Q)),
        "copies": (X[rng.randint(5, size=2000)], Q),
        "all equal": (np.ones_like(X), np.ones_like(Q)),
        "far from the origin": (X + 1e6, Q + 1e6),
        "nearly one direction": (1 + 1e-7 * X, 1 + 1e-7 * Q),
        "an outlier": (outlier, Q),
        "a far query": (X, Q * 1e30),
        "beyond float32": (X * 1e200, Q * 1e200),
        "below float32": (X * 1e-200, Q * 1e-200),
        "rows of zeros": (zeros, np.vstack([Q, np.zeros(8)])),
        "all zero": (X * 0, Q * 0),
        "one column": (X[:, :1], Q[:, :1]),
    }


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("case", hard_cases())
def test_rounding_hides_no_neighbour(algorithm, metric, case):
    gallery, query = hard_cases()[case]
    # With all items asked for, none can be missed. No double is good enough to judge.
    X, Q = gallery.astype(np.longdouble), query.astype(np.longdouble)
    if metric == "euclidean":
        exact = np.sqrt(((Q[:, None] - X) ** 2).sum(axis=2))
    else:
        lengths = np.sqrt((Q**2).sum(axis=1))[:, None] * np.sqrt((X**2).sum(axis=1))
        lengths[lengths == 0] = np.inf
        exact = 1 - Q @ X.T / lengths
    model = CrossModalNeighbors(metric=metric, algorithm=algorithm).fit(gallery)
    distances, rows = model.kneighbors(query, len(gallery))
    assert_allclose(
        distances,
        np.take_along_axis(exact, rows, axis=1).astype(float),
        rtol=1e-13,
        atol=1e-15 if metric == "cosine" else 0,
    )
    everything = np.empty_like(distances)
    np.put_along_axis(everything, rows, distances, axis=1)
    assert_same((distances, rows), nearest(everything, len(gallery)))
    assert_same(model.kneighbors(query, 9), (distances[:, :9], rows[:, :9]))
    radius = np.median(distances[:, 9])
    ends = (distances <= radius).sum(axis=1)
    expected = [
        [row[:end] for row, end in zip(part, ends, strict=True)]
        for part in (distances, rows)
    ]
    balls = model.radius_neighbors(query, radius, sort_results=True)
    assert_same_balls(balls, expected)


def test_equal_vectors_are_at_distance_zero():
    X = np.random.RandomState(0).randn(30, 7)
    for metric in ("cosine", "euclidean"):
        model = CrossModalNeighbors(metric=metric, n_neighbors=1).fit(X)
        distances, rows = model.kneighbors(X)
        assert not distances.any()
        assert_array_equal(rows.ravel(), np.arange(30))


# The same result however it is computed ----------------------------------------


def sample(metric, n_items=700, n_queries=90):
    """A gallery and queries, some of them tied."""
    if metric == "hamming":
        return random_codes(n_items, 20), random_codes(n_queries, 20, seed=1)
    rng = np.random.RandomState(0)
    gallery = rng.randn(n_items, 20)
    gallery[::5] = gallery[3]
    return gallery, rng.randn(n_queries, 20)


METRICS = ["cosine", "euclidean", "hamming"]


@pytest.mark.parametrize("metric", METRICS)
def test_each_query_alone(algorithm, metric):
    gallery, query = sample(metric)
    model = CrossModalNeighbors(metric=metric, algorithm=algorithm).fit(gallery)
    distances, rows = model.kneighbors(query)
    for i in range(0, len(query), 7):
        assert_same(model.kneighbors(query[i : i + 1]), (distances[[i]], rows[[i]]))
    order = np.random.RandomState(0).permutation(len(query))
    assert_same(model.kneighbors(query[order]), (distances[order], rows[order]))


@pytest.mark.parametrize("metric", METRICS)
def test_whatever_is_held_at_once(algorithm, metric, monkeypatch):
    gallery, query = sample(metric, n_items=150, n_queries=40)
    radius = 6 if metric == "hamming" else 0.9
    model = CrossModalNeighbors(metric=metric, algorithm=algorithm).fit(gallery)
    found = model.kneighbors(query)
    balls = model.radius_neighbors(query, radius)
    own = model.kneighbors()
    own_balls = model.radius_neighbors(radius=radius)
    for module, name, value in [
        (_neighbors, "_FOUND", 50),
        (_neighbors, "_BALLS", 7),
        (_hamming, "_QUERIES", 3),
        (_hamming, "_ITEMS", 10),
        (_hamming, "_PAIRS", 30),
        (_blocks, "_PAIRS_PER_THREAD", 100),
        (_real, "_QUERIES", 4),
        (_real, "_PAIRS", 60),
        (_real, "_NUMBERS", 50),
        (_real, "_CANDIDATES", 100),
    ]:
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(_blocks, "_openmp_effective_n_threads", lambda: 2)
    model.fit(gallery)
    assert_same(model.kneighbors(query), found)
    assert_same_balls(model.radius_neighbors(query, radius), balls)
    assert_same(model.kneighbors(), own)
    assert_same_balls(model.radius_neighbors(radius=radius), own_balls)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_equal_rows_of_many_columns(metric):
    # Sums of that many numbers depend on their order. Of 27 pairs one is left over.
    rng = np.random.RandomState(0)
    for _ in range(5):
        gallery = np.repeat(rng.randn(1, 10_000), 27, axis=0)
        model = CrossModalNeighbors(metric=metric, n_neighbors=27).fit(gallery)
        distances, rows = model.kneighbors(rng.randn(1, 10_000))
        assert_array_equal(distances, distances[:, :1].repeat(27, axis=1))
        assert_array_equal(rows, [np.arange(27)])


@pytest.mark.parametrize("metric", METRICS)
def test_all_items_are_within_an_infinite_radius(algorithm, metric):
    gallery, query = sample(metric, n_items=30)
    model = CrossModalNeighbors(metric=metric, algorithm=algorithm).fit(gallery)
    rows = model.radius_neighbors(query, np.inf, return_distance=False)
    assert_same(rows, [np.arange(30)] * len(query))


@pytest.mark.parametrize("metric", METRICS)
def test_partial_fit_is_fit_on_all(algorithm, metric):
    gallery, query = sample(metric)
    model = CrossModalNeighbors(metric=metric, algorithm=algorithm)
    expected = clone(model).fit(gallery).kneighbors(query)
    model.partial_fit(gallery[:300]).partial_fit(gallery[300:301])
    assert model.n_samples_fit_ == 301
    first = clone(model).fit(gallery[:301]).kneighbors(query)
    assert_same(model.kneighbors(query), first)
    model.partial_fit(gallery[301:])
    assert model.n_samples_fit_ == len(gallery)
    assert_same(model.kneighbors(query), expected)


@pytest.mark.parametrize("metric", METRICS)
def test_pickle(algorithm, metric):
    gallery, query = sample(metric)
    model = CrossModalNeighbors(metric=metric, algorithm=algorithm).fit(gallery)
    stored = pickle.dumps(model)
    # No index of any library.
    assert len(stored) < model._blocks[0].nbytes + 2000
    assert_same(pickle.loads(stored).kneighbors(query), model.kneighbors(query))


def test_memory_of_codes_is_bounded():
    gallery, query = random_codes(100_000, 64), random_codes(300, 64, seed=1)
    gallery, query = pack_codes(gallery), pack_codes(query)
    model = CrossModalNeighbors(algorithm="brute").fit(gallery)
    tracemalloc.start()
    model.kneighbors(query)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(gallery) * len(query) / 6  # all distances as uint8: six times


def test_memory_of_real_values_is_bounded():
    rng = np.random.RandomState(0)
    gallery, query = rng.randn(20_000, 16), rng.randn(2000, 16)
    model = CrossModalNeighbors(algorithm="brute").fit(gallery)
    tracemalloc.start()
    model.kneighbors(query)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(gallery) * len(query) * 8 / 10


# Interface ---------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_without_queries_the_items_search_each_other(algorithm, metric):
    gallery = sample(metric, n_items=120)[0]
    model = CrossModalNeighbors(metric=metric, algorithm=algorithm).fit(gallery)
    distances, rows = model.kneighbors(gallery, len(gallery))
    others = rows != np.arange(len(gallery))[:, None]
    expected = [
        part[others].reshape(len(gallery), -1)[:, :4] for part in (distances, rows)
    ]
    assert_same(model.kneighbors(n_neighbors=4), expected)
    # An item tied with many is among the last of them.
    same = np.repeat(gallery[:1], 9, axis=0)
    rows = CrossModalNeighbors(n_neighbors=2).fit(same).kneighbors()[1]
    assert_array_equal(rows[:3], [[1, 2], [0, 2], [0, 1]])
    assert_array_equal(rows[3:], [[0, 1]] * 6)

    radius = float(np.median(distances[:, 3]))
    balls = model.radius_neighbors(radius=radius)
    for i, (near, found) in enumerate(zip(*balls, strict=True)):
        assert i not in found
        assert (near <= radius).all()
        assert len(found) == (distances[i] <= radius).sum() - 1


def test_a_far_query_does_not_cost_the_others_memory():
    rng = np.random.default_rng(0)
    gallery, query = rng.standard_normal((20_000, 4)), rng.standard_normal((300, 4))
    model = CrossModalNeighbors(metric="euclidean", algorithm="brute").fit(gallery)
    expected = model.radius_neighbors(query, 0.1, return_distance=False)
    # In float32, the distances of this query are off by more than the radius.
    far = np.vstack([query, np.full(4, 1e5)])
    tracemalloc.start()
    rows = model.radius_neighbors(far, 0.1, return_distance=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert_same(rows, [*expected, []])
    assert peak < 2e7, "all items were candidates for all queries"


def test_order_of_a_ball():
    gallery = np.array([[-1, -1, 1], [1, 1, 1], [1, 1, -1], [1, 1, 1]], dtype=np.int8)
    query = np.array([[1, 1, 1], [-1, -1, -1]], dtype=np.int8)
    model = CrossModalNeighbors(radius=2).fit(gallery)
    distances, rows = model.radius_neighbors(query)
    assert [part.tolist() for part in distances] == [[2, 0, 1, 0], [1, 2]]
    assert [part.tolist() for part in rows] == [[0, 1, 2, 3], [0, 2]]
    distances, rows = model.radius_neighbors(query, sort_results=True)
    assert [part.tolist() for part in distances] == [[0, 0, 1, 2], [1, 2]]
    assert [part.tolist() for part in rows] == [[1, 3, 2, 0], [0, 2]]
    rows = model.radius_neighbors(query, radius=0.9, return_distance=False)
    assert [part.tolist() for part in rows] == [[1, 3], []]


@pytest.mark.parametrize(
    "ids",
    [
        [10, 20, 30, 5],
        ["b", "a", "c", "d"],
        np.array([1.5, 2, 3, 4]),
        pd.Series(range(4)),
    ],
)
def test_ids(algorithm, ids):
    gallery = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]], dtype=np.int8)
    model = CrossModalNeighbors(n_neighbors=2, algorithm=algorithm)
    rows = model.fit(gallery).kneighbors(gallery, return_distance=False)
    names = np.asarray(ids)
    found = model.fit(gallery, ids=ids).kneighbors(gallery)[1]
    assert_array_equal(found, names[rows])
    balls = model.radius_neighbors(gallery, 1)[1]
    assert_array_equal(balls[0], names[[0, 1, 3]])
    model.fit(gallery[:1], ids=ids[:1]).partial_fit(gallery[1:], ids=ids[1:])
    assert_array_equal(model.kneighbors(gallery)[1], names[rows])
    assert_array_equal(model.ids_, names)


def test_ids_of_a_dataframe_and_of_a_list():
    X = np.eye(4)
    names = pd.Series(["a", "b"], dtype=object)
    model = CrossModalNeighbors(n_neighbors=1).fit(X[:2], ids=names)
    model.partial_fit(X[2:], ids=["long", "d"])
    assert model.kneighbors(X)[1].ravel().tolist() == ["a", "b", "long", "d"]


def test_ids_must_fit():
    X = np.eye(3)
    model = CrossModalNeighbors(n_neighbors=1)
    with pytest.raises(ValueError, match="Got 2 ids for 3 rows"):
        model.fit(X, ids=[1, 2])
    with pytest.raises(ValueError, match="the new ones have, those in it have not"):
        model.fit(X).partial_fit(X, ids=[1, 2, 3])
    with pytest.raises(ValueError, match="those in it have, the new ones have not"):
        model.fit(X, ids=[1, 2, 3]).partial_fit(X)
    with pytest.raises(ValueError, match="new ids have the dtype <U1, those .* int64"):
        model.partial_fit(X, ids=["a", "b", "c"])
    assert_array_equal(model.kneighbors(X)[1], [[1], [2], [3]])
    assert model.n_samples_fit_ == 3


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 2, "c"], "ids must be all numbers or all strings"),
        ([1.0, 2.0, np.nan], "ids has missing values"),
        (np.array(["a", None, "c"], dtype=object), "ids has missing values"),
        (pd.Series(["a", pd.NA, "c"], dtype="string"), "ids has missing values"),
        (np.eye(3), r"ids must be one-dimensional.* shape \(3, 3\)"),
        ("abc", "got str of shape"),
    ],
)
def test_ids_must_name_every_item(ids, message):
    with pytest.raises(ValueError, match=message):
        CrossModalNeighbors().fit(np.eye(3), ids=ids)


def test_ids_must_be_unique():
    X = np.eye(3)
    model = CrossModalNeighbors(n_neighbors=1)
    with pytest.raises(ValueError, match="ids must be unique, but 'a' names more"):
        model.fit(X, ids=["a", "b", "a"])
    model.fit(X, ids=["a", "b", "c"]).partial_fit(X, ids=["d", "e", "f"])
    for copied in (model, pickle.loads(pickle.dumps(model))):
        for name in ("a", "f"):
            with pytest.raises(ValueError, match=f"unique, but '{name}' names"):
                copied.partial_fit(X[:2], ids=["new", name])
        assert copied.n_samples_fit_ == 6
        copied.partial_fit(X[:1], ids=["new"])
        assert copied.ids_.tolist() == [*"abcdef", "new"]


@pytest.mark.parametrize("form", [np.asarray, torch.from_numpy, pd.DataFrame])
@pytest.mark.parametrize(
    "gallery", [np.eye(4), random_codes(4, 8), pack_codes(random_codes(4, 8))]
)
def test_later_changes_of_the_input_have_no_effect(form, gallery):
    values, ids = gallery.copy(), np.arange(4)
    model = CrossModalNeighbors(n_neighbors=1).fit(form(values), ids=ids)
    expected = model.kneighbors(form(gallery))
    for array in (values, ids):
        array[:] = array[::-1].copy()
    for copied in (model, pickle.loads(pickle.dumps(model))):
        assert_same(copied.kneighbors(form(gallery)), expected)
        assert copied.ids_.tolist() == [0, 1, 2, 3]

    added, ids = 1 * gallery[2:], np.array([20, 21])
    model.partial_fit(form(added), ids=ids)
    for array in (added, ids):
        array[:] = array[::-1].copy()
    assert_same(model.kneighbors(form(gallery)), expected)
    assert model.ids_.tolist() == [0, 1, 2, 3, 20, 21]
    assert_same(model.kneighbors(form(gallery[2:]), 2)[1].T, [[2, 3], [20, 21]])


def test_types_of_distances(algorithm):
    for gallery, dtype in [(random_codes(9, 16), np.int32), (np.eye(9), np.float64)]:
        model = CrossModalNeighbors(n_neighbors=2, algorithm=algorithm).fit(gallery)
        assert model.kneighbors(gallery)[0].dtype == dtype
        assert all(near.dtype == dtype for near in model.radius_neighbors(gallery)[0])


def prefixed(X, prefix, frame=pd.DataFrame):
    names = [f"{prefix}{i}" for i in range(X.shape[1])]
    return frame(X, names) if frame is pl.DataFrame else frame(X, columns=names)


@pytest.mark.parametrize(
    ("form_of_gallery", "form_of_query"),
    [
        (np.ndarray.tolist, np.ndarray.tolist),
        (torch.tensor, torch.tensor),
        (np.asfortranarray, np.asfortranarray),
        (lambda X: {"text": X}, lambda X: {"image": X}),
        (lambda X: prefixed(X, "z"), lambda X: prefixed(X, "z")),
        (lambda X: prefixed(X, "text__z"), lambda X: prefixed(X, "image__z")),
        (lambda X: prefixed(X, "text__z"), lambda X: prefixed(X, "z", pl.DataFrame)),
        (lambda X: {"text": prefixed(X, "text__")}, lambda X: prefixed(X, "image__")),
    ],
)
@pytest.mark.parametrize("metric", METRICS)
def test_containers(form_of_gallery, form_of_query, metric):
    gallery, query = sample(metric, 40, 5)
    expected = CrossModalNeighbors(metric=metric).fit(gallery).kneighbors(query)
    model = CrossModalNeighbors(metric=metric).fit(form_of_gallery(gallery))
    assert_same(model.kneighbors(form_of_query(query)), expected)


def test_feature_names_are_those_of_the_gallery():
    gallery, query = sample("cosine", 40, 5)
    model = CrossModalNeighbors().fit(prefixed(gallery, "text__z"))
    assert list(model.feature_names_in_[:2]) == ["z0", "z1"]
    with pytest.raises(ValueError, match="feature names should match"):
        model.kneighbors(prefixed(query, "image__w"))
    with pytest.raises(ValueError, match="feature names should match"):
        model.partial_fit(prefixed(gallery, "text__z").iloc[:, ::-1])


X = np.eye(3)
C = np.where(X, 1, -1).astype(np.int8)


@pytest.mark.parametrize(
    ("params", "gallery", "message"),
    [
        ({}, {"image": X, "text": X}, r"a mapping with the keys \['image', 'text'\]"),
        ({}, {}, r"a mapping with the keys \[\]"),
        ({}, pd.DataFrame(X, columns=["image__0", "text__0", "text__1"]), "of both"),
        ({}, (X, X), "Found array with dim 3"),
        ({}, X[:0], r"0 sample\(s\)"),
        ({}, X * np.nan, "contains NaN"),
        ({}, X + np.inf, "contains infinity"),
        ({}, csr_array(X), "Sparse data was passed"),
        ({}, X[0], "Expected 2D array"),
        ({"metric": "hamming"}, X, r"X contains the value 0\.0"),
        ({"metric": "hamming"}, C == 1, "X has the dtype bool"),
        ({}, C == 1, "X has the dtype bool"),
        ({}, 2 * C, "X contains the value"),
        ({"metric": "manhattan"}, X, "'metric' parameter"),
        ({"algorithm": "ball_tree"}, X, "'algorithm' parameter"),
        ({"n_neighbors": 0}, X, "'n_neighbors' parameter"),
        ({"radius": -1}, X, "'radius' parameter"),
        ({"metric": "cosine"}, pack_codes(C), "X has the dtype uint8, that of packed"),
    ],
)
def test_fit_refuses(params, gallery, message):
    with pytest.raises((ValueError, TypeError), match=message):
        CrossModalNeighbors(**params).fit(gallery)


@pytest.mark.parametrize(
    ("gallery", "query", "options", "message"),
    [
        (X, X[:, :2], {}, "X has 2 features, but CrossModalNeighbors is expecting 3"),
        (X, X * np.nan, {}, "contains NaN"),
        (X, X[:0], {}, r"0 sample\(s\)"),
        (X, C, {}, "X has the dtype int8, but the gallery holds real values"),
        (C, X, {}, r"X has the dtype float64, but the gallery holds codes of -1 and"),
        (C, pack_codes(C), {}, "X has the dtype uint8, .* holds codes of -1 and"),
        (pack_codes(C), C, {}, "X has the dtype int8, .* holds packed bits"),
        (pack_codes(C), C * 1.0, {}, "X has the dtype float64, .* holds packed bits"),
        (
            C,
            C.astype(np.uint8),
            {},
            "X has the dtype uint8, but the gallery holds codes",
        ),
        (pack_codes(C), C[:, :1], {}, "X has the dtype int8, .* holds packed bits"),
        (C, C * 0, {}, "X contains the value 0"),
        (X, X, {"n_neighbors": 4}, "Expected n_neighbors <= n_samples_fit, but n_nei"),
        (X, None, {"n_neighbors": 3}, "Expected n_neighbors < n_samples_fit, but n_"),
        (X, X, {"n_neighbors": 0}, "n_neighbors == 0, must be >= 1"),
        (X, X, {"n_neighbors": 1.5}, "n_neighbors must be an instance of int"),
    ],
)
def test_kneighbors_refuses(gallery, query, options, message):
    model = CrossModalNeighbors(n_neighbors=1).fit(gallery)
    with pytest.raises((ValueError, TypeError), match=message):
        model.kneighbors(query, **options)


@pytest.mark.parametrize("gallery", [X, C])
def test_radius_neighbors_refuses(gallery):
    model = CrossModalNeighbors().fit(gallery)
    with pytest.raises(ValueError, match="radius == -1, must be >= 0"):
        model.radius_neighbors(gallery, -1)
    with pytest.raises(ValueError, match="radius is nan"):
        model.radius_neighbors(gallery, np.nan)


@pytest.mark.parametrize("method", ["kneighbors", "radius_neighbors"])
def test_not_fitted(method):
    with pytest.raises(
        NotFittedError, match="This CrossModalNeighbors instance is not"
    ):
        getattr(CrossModalNeighbors(), method)(X)


@pytest.mark.parametrize(
    ("gallery", "ids"),
    [
        (pack_codes(random_codes(3, 24)), ["a", "b", "b"]),  # of the same width
        (np.full((3, 2), np.nan), None),
        (X[:, :2], ["a"]),
    ],
)
def test_a_fit_that_fails_leaves_the_gallery_as_it_was(gallery, ids):
    model = CrossModalNeighbors(n_neighbors=1).fit(X)
    with pytest.raises(ValueError, match="X contains NaN|unique|ids"):
        model.fit(gallery, ids=ids)
    assert_array_equal(model.kneighbors(X)[1].ravel(), [0, 1, 2])
    assert model.n_features_in_ == 3
    assert model.effective_metric_ == "cosine"


def test_partial_fit_leaves_a_refused_part_out():
    model = CrossModalNeighbors(n_neighbors=1).fit(X)
    with pytest.raises(ValueError, match="is expecting 3 features"):
        model.partial_fit(X[:, :2])
    assert_array_equal(model.kneighbors(X)[1].ravel(), [0, 1, 2])


def test_faiss_that_is_not_installed(monkeypatch):
    codes = random_codes(20, 8)
    expected = CrossModalNeighbors(algorithm="brute").fit(codes).kneighbors()
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert_same(CrossModalNeighbors().fit(codes).kneighbors(), expected)
    model = CrossModalNeighbors(algorithm="faiss")
    with pytest.raises(ImportError, match=r"sklearn-cmr\[faiss\]"):
        model.fit(codes)
    with pytest.raises(NotFittedError):
        model.kneighbors(codes)


def test_auto_means_faiss_for_codes_on_linux(monkeypatch):
    other = SimpleNamespace(IndexBinaryFlat=OtherBinaryIndex)
    monkeypatch.setitem(sys.modules, "faiss", other)
    codes = random_codes(20, 8)
    for platform, kind in [
        ("linux", _hamming.FaissHammingSearch),
        ("darwin", _hamming.HammingSearch),
    ]:
        monkeypatch.setattr(sys, "platform", platform)
        assert type(CrossModalNeighbors().fit(codes)._index) is kind
    CrossModalNeighbors().fit(X)


# A gallery that changes ----------------------------------------------------------


def named(n_items):
    return np.array([f"item {i}" for i in range(n_items)])


@pytest.mark.parametrize("metric", METRICS)
def test_remove_is_fit_on_the_rest(algorithm, metric):
    gallery, query = sample(metric)
    names = named(len(gallery))
    gone = np.random.RandomState(0).permutation(len(gallery))[:200]
    kept = np.delete(np.arange(len(gallery)), gone)
    model = CrossModalNeighbors(metric=metric, algorithm=algorithm)
    rest = clone(model).fit(gallery[kept], ids=names[kept])
    model.fit(gallery, ids=names).kneighbors(query)
    model.remove(names[gone[:50]]).remove(names[gone[50:]].tolist())
    assert model.n_samples_fit_ == len(kept)
    assert_same(model.kneighbors(query), rest.kneighbors(query))
    model.add(gallery[gone], ids=names[gone])  # the ids are free again
    back = np.concatenate([kept, gone])
    rest.fit(gallery[back], ids=names[back])
    assert_same(model.kneighbors(query), rest.kneighbors(query))


@pytest.mark.parametrize("metric", METRICS)
def test_update_is_fit_on_the_new_rows(algorithm, metric):
    gallery, query = sample(metric)
    rows = np.random.RandomState(0).permutation(len(gallery))[:90]
    changed = gallery.copy()
    changed[rows] = query
    model = CrossModalNeighbors(metric=metric, algorithm=algorithm)
    expected = clone(model).fit(changed).kneighbors(query)
    for ids in (None, named(len(gallery)), rows.max() - np.arange(len(gallery))):
        model.fit(gallery, ids=ids).kneighbors(query)
        model.update(query, ids=rows if ids is None else ids[rows])
        found = expected[1] if ids is None else ids[expected[1]]
        assert_same(model.kneighbors(query), (expected[0], found))


def test_update_loses_no_digit():
    model = CrossModalNeighbors(metric="euclidean", n_neighbors=1)
    model.fit(np.zeros((2, 1), dtype=np.float32)).update([[1 + 1e-12]], ids=[1])
    assert model.kneighbors([[1 + 1e-12]])[0] == 0


def test_rows_are_numbered_anew_where_there_are_no_ids():
    model = CrossModalNeighbors(n_neighbors=1).fit(np.eye(4)).remove([1, 0])
    assert model.kneighbors(np.eye(4)[2:])[1].ravel().tolist() == [0, 1]


@pytest.mark.parametrize("kind", [object, str, int, float])
def test_ids_of_every_kind_are_found(kind):
    names = np.array([30, 10, 20]).astype(kind)
    model = CrossModalNeighbors(n_neighbors=1).fit(np.eye(3), ids=names)
    model.remove(names[[1]])
    assert model.ids_.tolist() == names[[0, 2]].tolist()
    assert model.ids_.dtype == names.dtype


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["d"], "1 of 1 ids are not in the gallery, such as 'd'. It holds 3 items"),
        (["a", 1, "e"], "ids must be all numbers or all strings, but mixes them"),
        ([0, 1], "2 of 2 ids are not in the gallery, such as 0"),
        (["a", "b", "a"], "'a' occurs more than once"),
        ([["a"], ["b"]], r"ids must be one-dimensional.* got list of shape \(2, 1\)"),
        ("a", r"ids must be one-dimensional.* got str of shape \(\)"),
        ({"a"}, "got set of shape"),
        (["a", "b", "c"], "All 3 items would be removed"),
    ],
)
def test_remove_refuses(ids, message):
    model = CrossModalNeighbors(n_neighbors=1).fit(X, ids=["a", "b", "c"])
    with pytest.raises(ValueError, match=message):
        model.remove(ids)
    assert_array_equal(model.kneighbors(X)[1].ravel(), ["a", "b", "c"])


def test_rows_to_remove_must_be_numbers_of_rows():
    model = CrossModalNeighbors(n_neighbors=1).fit(X)
    for ids, message in [
        ([3], "1 of 1 rows are not in the gallery, such as 3"),
        ([-1], "such as -1"),
        (["a"], "The items have no ids, but their row numbers; got the dtype <U1"),
        ([0.0], "got the dtype float64"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.remove(ids)
    assert model.n_samples_fit_ == 3


def test_update_refuses():
    model = CrossModalNeighbors(n_neighbors=1).fit(X, ids=["a", "b", "c"])
    for rows, ids, message in [
        (X[:1], ["d"], "not in the gallery, such as 'd'"),
        (X[:2], ["a"], "Got 1 ids for 2 rows"),
        (X[:2], ["a", "a"], "'a' occurs more than once"),
        (X[:1, :2], ["a"], "is expecting 3 features"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.update(rows, ids=ids)
    assert_array_equal(model.kneighbors(X)[1].ravel(), ["a", "b", "c"])


@pytest.mark.parametrize("method", ["add", "remove", "update"])
def test_only_a_gallery_can_change(method):
    arguments = {"add": (X,), "remove": ([0],), "update": (X,)}[method]
    options = {"ids": [0, 1, 2]} if method == "update" else {}
    with pytest.raises(NotFittedError, match="This CrossModalNeighbors instance"):
        getattr(CrossModalNeighbors(), method)(*arguments, **options)


# Search in a part of the gallery --------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("has_ids", [False, True])
def test_subset_is_a_gallery_of_its_items(algorithm, metric, has_ids):
    gallery, query = sample(metric, n_items=300)
    mask = np.random.RandomState(0).rand(300) < 0.3
    rows = np.flatnonzero(mask)
    names = named(300) if has_ids else np.arange(300)
    model = CrossModalNeighbors(metric=metric, algorithm=algorithm)
    part = clone(model).fit(gallery[mask], ids=names[mask])
    model.fit(gallery, ids=names if has_ids else None)
    radius = 6 if metric == "hamming" else 0.9
    everything = model.kneighbors(query)
    for subset in (mask, mask.tolist(), names[rows[::-1]]):
        assert_same(model.kneighbors(query, subset=subset), part.kneighbors(query))
        assert_same(model.kneighbors(subset=subset), part.kneighbors())
        balls = model.radius_neighbors(query, radius, subset=subset)
        assert_same_balls(balls, part.radius_neighbors(query, radius))
        own = model.radius_neighbors(radius=radius, subset=subset)
        assert_same_balls(own, part.radius_neighbors(radius=radius))
    assert_same(model.kneighbors(query), everything)


@pytest.mark.parametrize(
    ("subset", "message"),
    [
        ([True, False], "needs 3 entries, one for each item; subset has 2"),
        ([False] * 3, "subset leaves no item to search"),
        (["a", "x"], "1 of 2 ids are not in the gallery, such as 'x'"),
        (["a", "a"], "'a' occurs more than once"),
        ("a", "subset must be one-dimensional"),
        ([[True, False, False]], "subset must be one-dimensional"),
        ([True, False, False], "n_neighbors = 2, n_samples_fit = 1"),
    ],
)
def test_subset_must_fit(subset, message):
    model = CrossModalNeighbors(n_neighbors=2).fit(X, ids=["a", "b", "c"])
    with pytest.raises(ValueError, match=message):
        model.kneighbors(X, subset=subset)
