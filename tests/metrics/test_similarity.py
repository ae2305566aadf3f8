"""Distances that rank: the inner product and precomputed ones."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_cmr.codes import hamming_distances
from sklearn_cmr.metrics import (
    mean_average_precision,
    ndcg_at_k,
    precision_at_k,
    precision_recall_curve,
)
from tests.metrics.ranked_lists import random_set


def real_set(seed=0):
    query, gallery, *labels = random_set(seed)
    rng = np.random.default_rng(seed)
    return rng.standard_normal((20, 5)), rng.standard_normal((50, 5)), *labels


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inner_product(dtype):
    query, gallery, *labels = real_set()
    query, gallery = query.astype(dtype), gallery.astype(dtype)
    options = {"per_query": True}
    values = mean_average_precision(
        query, gallery, *labels, metric="inner_product", **options
    )
    given = mean_average_precision(
        -query.astype(float) @ gallery.T,
        None,
        *labels,
        metric="precomputed",
        **options,
    )
    assert_allclose(values, given, rtol=1e-12)
    # It heeds the lengths of items, but not those of queries, ...
    unit = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    assert_allclose(
        mean_average_precision(query, unit, *labels, metric="inner_product"),
        mean_average_precision(query, gallery, *labels),
    )
    cosine = mean_average_precision(query, gallery, *labels, **options)
    assert np.any(values != cosine)
    # ... and takes numbers of any size.
    for scale in (1e-30, 1e30):
        scaled = query * dtype(scale), gallery * dtype(scale)
        again = mean_average_precision(
            *scaled, *labels, metric="inner_product", **options
        )
        assert_allclose(again, values, rtol=1e-12)


def test_inner_product_of_codes_ties_where_hamming_distances_tie():
    query, gallery, *labels = random_set(1)
    for ties in ("expected", "stable"):
        assert mean_average_precision(
            query * 1.0, gallery * 1.0, *labels, metric="inner_product", ties=ties
        ) == pytest.approx(mean_average_precision(query, gallery, *labels, ties=ties))


@pytest.mark.parametrize("ties", ["expected", "stable", "optimistic", "random"])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float32, np.float64])
def test_precomputed_distances(dtype, ties):
    query, gallery, *labels = random_set(2)
    distances = hamming_distances(query, gallery).astype(dtype)
    before = distances.copy()
    options = {"ties": ties, "random_state": 0, "metric": "precomputed"}
    expected = mean_average_precision(
        query, gallery, *labels, ties=ties, random_state=0
    )
    for chunk_size in (None, 3):
        score = mean_average_precision(
            distances, None, *labels, chunk_size=chunk_size, **options
        )
        assert score == pytest.approx(expected, rel=1e-12)
    assert_array_equal(distances, before)
    y_query, y_gallery = labels
    relevance = y_query[:, None] == y_gallery
    again = mean_average_precision(distances, relevance=relevance, **options)
    assert again == pytest.approx(expected, rel=1e-12)
    assert precision_at_k(distances, relevance=relevance, k=3, **options) > 0
    curve = precision_recall_curve(distances, relevance=relevance, **options)
    assert curve.precision.shape == (50,)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_items=st.sampled_from([3, 5000]),
    n_values=st.sampled_from([3, 10**4, 2**31]),
    low=st.sampled_from([-1.0, -1e30, 0.0]),
    high=st.sampled_from([1.0, 1e-30]),
    ties=st.sampled_from(["stable", "optimistic", "pessimistic", "expected"]),
)
def test_single_precision(seed, n_items, n_values, low, high, ties):
    """Numbers of float32 are ranked as if they were sorted, with few or many ties."""
    rng = np.random.default_rng(seed)
    share = rng.integers(n_values, size=(20, n_items)) / (n_values - 1)
    distances = (low * share + high * (1 - share)).astype(np.float32)
    distances[rng.random(distances.shape) < 1 / n_items] = 0.0
    distances[rng.random(distances.shape) < 1 / n_items] = -0.0
    relevance = rng.random(distances.shape) < rng.random()
    relevance[:, rng.permutation(n_items)[:2]] = True, False
    options = {"metric": "precomputed", "relevance": relevance, "ties": ties}
    values = mean_average_precision(distances, per_query=True, **options)
    if ties == "expected":
        twice = mean_average_precision(distances.astype(float), **options)
        assert np.mean(values) == pytest.approx(twice, rel=1e-12)
        return
    for row, hits, value in zip(distances, relevance, values, strict=True):
        second = {"stable": 0 * hits, "optimistic": ~hits, "pessimistic": hits}[ties]
        ranked = hits[np.lexsort((second, row))]
        precisions = np.cumsum(ranked) / np.arange(1, n_items + 1)
        assert value == pytest.approx(precisions[ranked].mean(), rel=1e-12)


def test_errors_of_precomputed_distances():
    query, gallery, *labels = real_set()
    distances = -query @ gallery.T
    with pytest.raises(ValueError, match="no gallery. Pass None"):
        ndcg_at_k(distances, gallery, *labels, metric="precomputed")
    with pytest.raises(ValueError, match="gallery is None, but metric='auto'"):
        ndcg_at_k(distances, None, *labels)
    with pytest.raises(ValueError, match="gallery has 50 rows but y_gallery has 49"):
        ndcg_at_k(distances, None, labels[0], labels[1][1:], metric="precomputed")
    distances[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        ndcg_at_k(distances, None, *labels, metric="precomputed")
