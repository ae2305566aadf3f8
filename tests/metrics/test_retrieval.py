"""Queries that stand in the gallery and are left out of their own lists."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_cmr.metrics import (
    mean_average_precision,
    ndcg_at_k,
    precision_at_k,
    precision_recall_curve,
)
from tests.metrics.ranked_lists import random_set
from tests.metrics.test_relevance import METRICS

LABELS = [
    np.random.default_rng(0).integers(0, 4, 40),
    np.r_[1, np.zeros(5, int)] | (np.random.default_rng(0).random((40, 6)) < 0.3),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.parametrize("ties", ["expected", "stable", "optimistic", "pessimistic"])
@pytest.mark.parametrize("form", [np.int8, np.float32, np.float64])
@pytest.mark.parametrize("y", LABELS)
@pytest.mark.parametrize("metric", METRICS[:-1])
def test_without_the_query_itself(metric, y, form, ties):
    """As if each query had a gallery of its own, without it."""
    y = y.astype(int)
    _, X, *_ = random_set(0, n_gallery=40, n_bits=7)
    X = X.astype(form)
    options = {"ties": ties, "per_query": True}
    rows = np.random.default_rng(1).permutation(40)[:15]
    expected = [
        metric(
            X[[row]],
            np.delete(X, row, axis=0),
            y[[row]],
            np.delete(y, row, axis=0),
            **options,
        )[0]
        for row in rows
    ]
    for chunk_size in (None, 4):
        values = metric(
            X[rows], X, y[rows], y, exclude_self=rows, chunk_size=chunk_size, **options
        )
        assert_allclose(values, expected, rtol=1e-10)
        whole = metric(X, X, y, y, exclude_self=True, **options)
        assert_allclose(whole[rows], expected, rtol=1e-10)


def test_flags_of_numpy():
    _, X, _, y = random_set(0, n_gallery=40)
    for flag in (True, False):
        score = precision_at_k(X, X, y, y, k=3, exclude_self=np.bool_(flag))
        assert score == precision_at_k(X, X, y, y, k=3, exclude_self=flag)


@pytest.mark.parametrize("form", [np.int8, np.float64])
def test_random_order_without_the_query(form):
    _, X, _, y = random_set(0, n_gallery=40, n_bits=3)
    X = X.astype(form)
    options = {"exclude_self": True, "per_query": True}
    expected = mean_average_precision(X, X, y, y, ties="expected", **options)
    values = [
        mean_average_precision(X, X, y, y, ties="random", random_state=i, **options)
        for i in range(300)
    ]
    assert_allclose(np.mean(values, axis=0), expected, atol=0.05)


def test_noise_scores_what_chance_gives():
    """With the query in its own list, its first place is a gift."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((300, 8)), rng.integers(0, 10, 300)
    chance = mean_average_precision(rng.standard_normal((300, 8)), X, y, y)
    apart = mean_average_precision(X, X, y, y, exclude_self=True)
    assert apart == pytest.approx(chance, abs=0.01)
    assert mean_average_precision(X, X, y, y) > chance + 0.03


def test_noise_scores_as_documented():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((200, 10)), rng.integers(0, 10, 200)
    for exclude_self, score in ((False, 0.187), (True, 0.126)):
        found = mean_average_precision(X, X, y, y, exclude_self=exclude_self)
        assert f"{found:.3f}" == f"{score:.3f}"
        assert f"{score:.3f}" in mean_average_precision.__doc__


@pytest.mark.parametrize("by", ["rank", "radius", "recall"])
def test_curves_without_the_query(by):
    _, X, _, y = random_set(0, n_gallery=40, n_bits=7)
    curve = precision_recall_curve(X, X, y, y, by=by, exclude_self=True)
    if by == "rank":
        assert len(curve.precision) == 39
        cutoffs = [1, 5, 39]
        expected = precision_at_k(X, X, y, y, k=cutoffs, exclude_self=True)
        assert_allclose(curve.precision[[0, 4, 38]], expected)
    assert curve.recall[-1] == pytest.approx(1)
    if by == "radius":
        # The whole gallery but the query itself.
        relevant = (y[:, None] == y).sum(axis=1) - 1
        assert curve.precision[-1] == pytest.approx(np.mean(relevant / 39))


def test_galleries_beyond_the_cache():
    """Counted in several blocks."""
    rng = np.random.default_rng(0)
    gallery = rng.choice([-1, 1], (40_000, 10)).astype(np.int8)
    y = rng.integers(0, 3, 40_000)
    rows = np.array([0, 39_999, 20_000, 13_333])
    values = ndcg_at_k(
        gallery[rows], gallery, y[rows], y, exclude_self=rows, per_query=True
    )
    for value, row in zip(values, rows, strict=True):
        rest = np.delete(gallery, row, axis=0), np.delete(y, row)
        expected = ndcg_at_k(gallery[[row]], rest[0], y[[row]], rest[1])
        assert value == pytest.approx(expected, rel=1e-10)


X = np.random.default_rng(0).standard_normal((5, 2))


@pytest.mark.parametrize(
    "sets, exclude_self, message",
    [
        ((X[:3], X), True, "3 queries and 5 items. Pass the positions"),
        ((X, X), [0, 1], r"each of the 5 queries .* shape \(2,\)"),
        ((X, X), np.arange(5.0), "dtype float64"),
        ((X, X), np.arange(5) + 1, "positions from 1 to 5"),
        ((X, X), np.arange(5) - 1, "positions from -1 to 3"),
        ((X[:1], X[:1]), True, "nothing is left"),
        ((X, X), "yes", "'exclude_self' parameter"),
    ],
)
def test_errors(sets, exclude_self, message):
    y = np.zeros(5, dtype=int)
    y[0] = 1
    with pytest.raises(ValueError, match=message):
        precision_at_k(
            *sets, y[: len(sets[0])], y[: len(sets[1])], k=1, exclude_self=exclude_self
        )
