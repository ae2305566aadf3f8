"""Precision, recall and NDCG at k: exact values, brute force, options and errors."""

# SPDX-License-Identifier: BSD-3-Clause

import tracemalloc
import warnings
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import ndcg_score

from sklearn_cmr.metrics import ndcg_at_k, precision_at_k, recall_at_k
from tests.metrics.ranked_lists import (
    EXAMPLE_A,
    EXAMPLE_B,
    all_orders,
    angles_at,
    codes_at,
    random_set,
)

METRICS = (precision_at_k, recall_at_k, ndcg_at_k)
exponential_ndcg_at_k = partial(ndcg_at_k, gain="exponential")

# Four labels, so that items share 0 to 4 of them with a query that has all.
N_LABELS = 4


def indicator(grades):
    """Label sets that share the given numbers of labels with the full set."""
    return np.arange(N_LABELS) < np.asarray(grades)[:, None]


def one_query(metric, distances, grades, form="hamming", **options):
    """Score one query that has all labels."""
    if form == "hamming":
        query, gallery = codes_at([0]), codes_at(distances)
    else:
        gallery = angles_at(distances, form)
        query = np.array([[1, 0]], dtype=form)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        return metric(
            query, gallery, indicator([N_LABELS]), indicator(grades), **options
        )


def value_at(metric, grades, k):
    """Value of a list in a fixed order, by the definition."""
    k = min(k, len(grades))
    hits = sum(grade > 0 for grade in grades[:k])
    if metric is precision_at_k:
        return hits / k
    if metric is recall_at_k:
        return hits / max(1, sum(grade > 0 for grade in grades))
    if metric is exponential_ndcg_at_k:
        grades = [2**grade - 1 for grade in grades]
    totals = [
        sum(gain / np.log2(rank + 1) for rank, gain in enumerate(order[:k], 1))
        for order in (grades, sorted(grades, reverse=True))
    ]
    return totals[0] / totals[1] if totals[1] else 0


# Exact values -----------------------------------------------------------------


@pytest.mark.parametrize("form", ["hamming", np.float32, np.float64])
@pytest.mark.parametrize(
    "example, k, hits",
    [
        (EXAMPLE_A, 1, 1),
        (EXAMPLE_A, 2, Fraction(4, 3)),
        (EXAMPLE_A, 3, Fraction(5, 3)),
        (EXAMPLE_A, 4, 2),
        (EXAMPLE_A, 5, Fraction(5, 2)),
        (EXAMPLE_A, 6, 3),
        (EXAMPLE_B, 1, Fraction(1, 2)),
        (EXAMPLE_B, 3, Fraction(5, 3)),
        (EXAMPLE_B, 4, Fraction(7, 3)),
    ],
)
def test_precision_and_recall_of_examples(example, k, hits, form):
    options = {"form": form, "k": k, "ties": "expected"}
    scores = [
        one_query(metric, *example, **options)
        for metric in (precision_at_k, recall_at_k)
    ]
    assert_allclose(scores, [float(hits / Fraction(k)), float(hits / Fraction(3))])


@pytest.mark.parametrize("form", ["hamming", np.float32, np.float64])
def test_ndcg_of_example(form):
    """Level 0 holds gain 1, level 1 the mean gain 1/3, level 3 the mean gain 1/2."""
    discount = 1 / np.log2(np.arange(2, 8))
    gained = discount @ [1, 1 / 3, 1 / 3, 1 / 3, 1 / 2, 1 / 2]
    score = one_query(ndcg_at_k, *EXAMPLE_A, form, ties="expected")
    assert score == pytest.approx(gained / discount[:3].sum(), rel=1e-12)


@given(
    items=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, N_LABELS)), min_size=1, max_size=6
    ),
    k=st.integers(1, 7),
    metric=st.sampled_from([*METRICS, exponential_ndcg_at_k]),
    form=st.sampled_from(["hamming", np.float32, np.float64]),
)
@settings(max_examples=150, deadline=None)
def test_against_all_orders(items, k, metric, form):
    distances, grades = map(list, zip(*items, strict=True))
    values = [value_at(metric, order, k) for order in all_orders(distances, grades)]
    by_gallery = [grades[i] for i in np.argsort(distances, kind="stable")]
    expected = {
        "expected": np.mean(values),
        "optimistic": max(values),
        "pessimistic": min(values),
        "stable": value_at(metric, by_gallery, k),
    }
    for ties, value in expected.items():
        score = one_query(metric, distances, grades, form, k=k, ties=ties)
        assert score == pytest.approx(value, abs=1e-12), ties
    options = {"k": k, "ties": "random", "random_state": 3}
    random = one_query(metric, distances, grades, form, **options)
    assert np.isclose(random, values).any()


@pytest.mark.parametrize("n_bits", [2, 16])
@pytest.mark.parametrize("k", [None, 1, 7, 50])
def test_ndcg_is_that_of_scikit_learn(n_bits, k):
    """It averages the gains of tied items, too."""
    query, gallery, *_ = random_set(0, n_bits=n_bits)
    rng = np.random.default_rng(0)
    labels = [(rng.random((len(X), 6)) < 0.4).astype(int) for X in (query, gallery)]
    labels[0][:, 0] = labels[1][0] = 1
    grades = labels[0] @ labels[1].T
    similarity = query.astype(int) @ gallery.T
    assert ndcg_at_k(query, gallery, *labels, k=k) == pytest.approx(
        ndcg_score(grades, similarity, k=k), rel=1e-12
    )
    exponential = ndcg_at_k(query, gallery, *labels, k=k, gain="exponential")
    assert exponential == pytest.approx(
        ndcg_score(2.0**grades - 1, similarity, k=k), rel=1e-12
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ndcg_of_classes_without_ties(dtype):
    rng = np.random.default_rng(1)
    query, gallery = rng.standard_normal((2, 30, 5)).astype(dtype)
    y_query, y_gallery = np.arange(30) % 3, rng.permutation(np.arange(30) % 3)
    relevant = (y_query[:, None] == y_gallery).astype(int)
    for metric, similarity in {
        "cosine": query @ (gallery / np.linalg.norm(gallery, axis=1)[:, None]).T,
        "euclidean": -np.linalg.norm(query[:, None] - gallery, axis=2),
    }.items():
        values = ndcg_at_k(
            query, gallery, y_query, y_gallery, k=8, metric=metric, per_query=True
        )
        expected = [
            ndcg_score([row], [scores], k=8, ignore_ties=True)
            for row, scores in zip(relevant, similarity, strict=True)
        ]
        assert_allclose(values, expected, rtol=1e-9)


# Cut-offs ---------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("form", [np.int8, np.float32])
def test_several_cutoffs_at_once(metric, form):
    query, gallery, *labels = random_set(2)
    sets = query.astype(form), gallery.astype(form), *labels
    cutoffs = [50, 1, 7, 80]
    scores = metric(*sets, k=cutoffs)
    assert scores.shape == (4,)
    assert_allclose(scores, [metric(*sets, k=k) for k in cutoffs], rtol=1e-12)
    values = metric(*sets, k=np.array(cutoffs), per_query=True)
    assert values.shape == (20, 4)
    assert_allclose(values.mean(axis=0), scores, rtol=1e-12)
    assert isinstance(metric(*sets, k=7), float)
    assert metric(*sets, k=7, per_query=True).shape == (20,)


@pytest.mark.parametrize("metric", METRICS)
def test_k_beyond_the_gallery_counts_as_its_size(metric):
    sets = random_set(3)
    assert metric(*sets, k=51) == metric(*sets, k=50)
    whole = {precision_at_k: np.mean(sets[2][:, None] == sets[3]), recall_at_k: 1}
    if metric in whole:
        assert metric(*sets, k=1000) == pytest.approx(whole[metric])


@pytest.mark.parametrize(
    "k", [0, -1, 2.0, [], [1, 0], [1.5], [[1, 2]], "1", ["1"], None]
)
@pytest.mark.parametrize("metric", [precision_at_k, recall_at_k])
def test_invalid_cutoffs(metric, k):
    with pytest.raises(ValueError, match="k"):
        metric(*random_set(3), k=k)


def test_ndcg_of_the_whole_gallery_by_default():
    sets = random_set(3)
    assert ndcg_at_k(*sets) == ndcg_at_k(*sets, k=None) == ndcg_at_k(*sets, k=50)
    with pytest.raises(ValueError, match="k must be"):
        ndcg_at_k(*sets, k=[1, 0])
    with pytest.raises(ValueError, match="'gain' parameter"):
        ndcg_at_k(*sets, gain="squared")


# Properties -------------------------------------------------------------------


@given(
    seed=st.integers(0, 10**6),
    n_bits=st.integers(1, 9),
    n_gallery=st.integers(1, 40),
    multi_label=st.booleans(),
    form=st.sampled_from([np.int8, np.float32, np.float64]),
)
@settings(max_examples=80, deadline=None)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_properties(seed, n_bits, n_gallery, multi_label, form):
    rng = np.random.default_rng(seed)
    query, gallery, *labels = random_set(
        seed, n_query=12, n_gallery=n_gallery, n_bits=n_bits
    )
    query, gallery = query.astype(form), gallery.astype(form)
    if multi_label:
        labels = [(rng.random((len(X), 5)) < 0.3).astype(int) for X in (query, gallery)]
        relevant = labels[0] @ labels[1].T > 0
    else:
        relevant = labels[0][:, None] == labels[1]
    cutoffs = np.arange(1, n_gallery + 1)
    order = rng.permutation(n_gallery)
    packed = [np.packbits(X > 0, axis=1) for X in (query, gallery)]

    def scores(metric, query=query, gallery=gallery, y_gallery=labels[1], **options):
        options = {"ties": "expected", "k": cutoffs, "per_query": True} | options
        return metric(query, gallery, labels[0], y_gallery, **options)

    for metric in METRICS:
        expected = scores(metric)
        assert np.all((expected >= 0) & (expected <= 1 + 1e-12))
        for same in (
            scores(metric, gallery=gallery[order], y_gallery=labels[1][order]),
            scores(metric, *packed),
            scores(metric, chunk_size=5),
        ):
            assert_allclose(same, expected, atol=1e-12)
        assert np.all(scores(metric, ties="optimistic") >= expected - 1e-12)
        assert np.all(scores(metric, ties="pessimistic") <= expected + 1e-12)

    hits = scores(precision_at_k) * cutoffs
    assert_allclose(scores(recall_at_k) * relevant.sum(axis=1)[:, None], hits)
    # One more item brings one hit at most, and all items bring all.
    assert np.all(np.diff(hits, axis=1, prepend=0) <= 1 + 1e-9)
    assert np.all(np.diff(hits, axis=1, prepend=0) >= -1e-9)
    assert_allclose(hits[:, -1], relevant.sum(axis=1))


@pytest.mark.parametrize("ties", ["expected", "stable", "optimistic", "random"])
@pytest.mark.parametrize("form", [np.int8, np.float32, np.float64])
@pytest.mark.parametrize("metric", METRICS)
def test_chunk_size(metric, form, ties):
    rng = np.random.default_rng(0)
    query, gallery, *_ = random_set(9, n_query=50, n_gallery=150)
    labels = [(rng.random((len(X), 5)) < 0.4).astype(int) for X in (query, gallery)]
    labels[0][:, 0] = labels[1][0] = 1
    sets = query.astype(form), gallery.astype(form), *labels
    options = {"ties": ties, "k": [3, 60], "random_state": 0, "per_query": True}
    expected = metric(*sets, **options)
    for chunk_size in (1, 7, 1000):
        values = metric(*sets, chunk_size=chunk_size, **options)
        assert_array_equal(values, expected)


@given(
    seed=st.integers(0, 10**6),
    chunk_size=st.integers(1, 12),
    n_labels=st.integers(2, 80),
    form=st.sampled_from([np.int8, np.float32, np.float64]),
    real=st.booleans(),
    ties=st.sampled_from(["expected", "stable", "optimistic", "random"]),
    gain=st.sampled_from(["linear", "exponential"]),
)
@settings(max_examples=80, deadline=None)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_queries_do_not_affect_each_other(
    seed, chunk_size, n_labels, form, real, ties, gain
):
    """To the last bit, whatever the chunks, and however large some gains are."""
    rng = np.random.default_rng(seed)
    query, gallery, *_ = random_set(seed, n_query=12, n_gallery=40, n_bits=9)
    if real and form is not np.int8:
        query, gallery = (rng.standard_normal(X.shape) for X in (query, gallery))
    sets = query.astype(form), gallery.astype(form)
    share = rng.random((2, 1))[:, :, None]
    labels = [
        (rng.random((len(X), n_labels)) < p).astype(int)
        for X, p in zip(sets, share, strict=True)
    ]
    options = {"k": [1, 8, 40], "gain": gain, "ties": ties, "random_state": 0}
    options["per_query"] = True
    expected = ndcg_at_k(*sets, *labels, **options)
    values = ndcg_at_k(*sets, *labels, chunk_size=chunk_size, **options)
    assert_array_equal(values, expected)


@pytest.mark.parametrize("form", [np.int8, np.float64])
@pytest.mark.parametrize("n_labels", [10, 50, 60, 200])
def test_one_query_with_many_labels_in_common(n_labels, form):
    """Its gain of 2**n_labels does not swamp those of the other queries."""
    query, gallery, *_ = random_set(4, n_query=12, n_gallery=60, n_bits=16)
    rng = np.random.default_rng(0)
    labels = [(rng.random((len(X), n_labels)) < 2 / n_labels) for X in (query, gallery)]
    labels[0][3] = labels[1][7] = labels[0][:, 0] = 1
    sets = query.astype(form), gallery.astype(form), *(y.astype(int) for y in labels)
    options = {"gain": "exponential", "per_query": True, "ties": "stable", "k": [5, 60]}
    values = ndcg_at_k(*sets, **options)
    grades = labels[0].astype(int) @ labels[1].T.astype(int)
    for row in range(12):
        order = np.argsort(-(query[row] @ gallery.T.astype(int)), kind="stable")
        expected = [
            value_at(exponential_ndcg_at_k, [int(g) for g in grades[row, order]], k)
            for k in (5, 60)
        ]
        assert_allclose(values[row], expected, rtol=1e-12)


def test_exponential_gains_beyond_float64():
    X, y = np.ones((1, 2)), np.ones((1, 2000), dtype=int)
    with pytest.raises(ValueError, match="graded up to 2000.*Use gain='linear'"):
        ndcg_at_k(X, X, y, y, gain="exponential")


def test_many_labels_in_common():
    """More than a byte counts."""
    labels = np.ones((1, 300), dtype=int)
    y_gallery = np.arange(300) < np.array([0, 10, 256, 300])[:, None]
    for gallery in (codes_at([0, 1, 2, 3]), angles_at([0, 1, 2, 3], np.float32)):
        query = gallery[:1]
        gains = np.array([0, 10, 256, 300])
        discount = 1 / np.log2(np.arange(2, 6))
        score = ndcg_at_k(query, gallery, labels, y_gallery.astype(int))
        assert score == pytest.approx(gains @ discount / (gains[::-1] @ discount))
        sparse = ndcg_at_k(query, gallery, csr_array(labels), csr_array(y_gallery * 1))
        assert sparse == score


# Queries without relevant items, weights ----------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_zero_relevant(metric):
    query, gallery, y_query, y_gallery = random_set(7)
    options = {"k": [2, 9]}
    known = metric(
        query[2:], gallery, y_query[2:], y_gallery, per_query=True, **options
    )
    y_query[:2] = 99
    sets = query, gallery, y_query, y_gallery
    for policy, mean, value in [
        ("zero", known.sum(axis=0) / 20, 0),
        ("skip", known.mean(axis=0), np.nan),
        ("nan", [np.nan, np.nan], np.nan),
    ]:
        options["zero_relevant"] = policy
        with pytest.warns(UndefinedMetricWarning, match="2 of 20 queries") as record:
            score = metric(*sets, **options)
        assert record[0].filename == __file__
        with pytest.warns(UndefinedMetricWarning, match=policy):
            values = metric(*sets, per_query=True, **options)
        assert_allclose(score, mean)
        assert_array_equal(values, np.vstack([np.full((2, 2), value), known]))
    options["zero_relevant"] = "skip"
    with pytest.warns(UndefinedMetricWarning, match="20 of 20"):
        score = metric(query, gallery, y_query + 100, y_gallery, **options)
    assert_array_equal(score, [np.nan, np.nan])


@pytest.mark.parametrize("metric", METRICS)
def test_sample_weight(metric):
    sets = random_set(8)
    values = metric(*sets, k=[3, 8], per_query=True)
    weight = np.random.default_rng(0).random(20)
    assert_allclose(
        metric(*sets, k=[3, 8], sample_weight=weight),
        np.average(values, weights=weight, axis=0),
    )
    with pytest.raises(ValueError, match="[Nn]egative"):
        metric(*sets, k=3, sample_weight=-weight)


def test_everything_relevant():
    X = np.random.default_rng(0).standard_normal((4, 2))
    y = [0, 0, 0, 0]
    with pytest.warns(UndefinedMetricWarning, match="any ranking scores 1"):
        assert precision_at_k(X, X, y, y, k=3) == 1
    with pytest.warns(UndefinedMetricWarning, match="any ranking scores the same"):
        assert recall_at_k(X, X, y, y, k=3) == 0.75
    with pytest.warns(UndefinedMetricWarning, match="any ranking scores 1"):
        assert ndcg_at_k(X, X, y, y, k=3) == pytest.approx(1)
    # The grades still differ.
    labels = np.array([[1, 0], [1, 1], [1, 1], [1, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ndcg_at_k(X, X, labels, labels, k=3) < 1


# Memory and inputs --------------------------------------------------------------


@pytest.mark.parametrize("form", [np.int8, np.float32])
def test_memory_is_bounded(form):
    rng = np.random.default_rng(0)
    query, gallery, *_ = random_set(0, n_query=200, n_gallery=8_000, n_bits=16)
    labels = [(rng.random((len(X), 20)) < 0.3).astype(int) for X in (query, gallery)]
    labels[0][:, 0] = labels[1][0] = 1
    peaks = []
    for chunk_size in (200, 1):
        tracemalloc.start()
        ndcg_at_k(
            query.astype(form), gallery.astype(form), *labels, chunk_size=chunk_size
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] / 3


@pytest.mark.parametrize("metric", METRICS)
def test_same_checks_as_the_average_precision(metric):
    query, gallery, y_query, y_gallery = random_set(1)
    for sets, message in [
        ((query, gallery[:, :3], y_query, y_gallery), "query has 12 columns"),
        ((query, gallery, y_query[:3], y_gallery), "y_query has 3"),
        ((query * 1.0, gallery, y_query, y_gallery), "metric='auto' cannot be"),
    ]:
        with pytest.raises(ValueError, match=message):
            metric(*sets, k=3)
    for options in ({"ties": "best"}, {"metric": "l1"}, {"normalizer": "min"}):
        with pytest.raises((ValueError, TypeError)):
            metric(query, gallery, y_query, y_gallery, k=3, **options)
