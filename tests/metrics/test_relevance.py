"""What makes an item relevant: labels, pairs, or a matrix."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import coo_array, csr_array, csr_matrix
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import ndcg_score

from sklearn_cmr.metrics import (
    hit_rate_at_k,
    map_at_r,
    mean_average_precision,
    mean_rank,
    median_rank,
    ndcg_at_k,
    precision_at_k,
    precision_recall_curve,
    r_precision,
    recall_at_k,
    reciprocal_rank,
)
from tests.metrics.ranked_lists import random_set

METRICS = [
    lambda *sets, **options: mean_average_precision(*sets, k=[3, 40], **options),
    lambda *sets, **options: precision_at_k(*sets, k=[1, 7], **options),
    lambda *sets, **options: recall_at_k(*sets, k=[1, 7], **options),
    lambda *sets, **options: hit_rate_at_k(*sets, k=[1, 7], **options),
    ndcg_at_k,
    map_at_r,
    r_precision,
    reciprocal_rank,
    mean_rank,
    median_rank,
    lambda *sets, **options: precision_recall_curve(*sets, **options).precision,
]
FORMS = [np.asarray, csr_array, csr_matrix, coo_array, np.ndarray.tolist]


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
@pytest.mark.parametrize("metric", METRICS)
def test_a_matrix_stands_for_labels(metric, dtype):
    query, gallery, y_query, y_gallery = random_set(0)
    sets = query.astype(dtype), gallery.astype(dtype)
    expected = metric(*sets, y_query, y_gallery)
    relevant = (y_query[:, None] == y_gallery).astype(float)
    for form in FORMS:
        assert_array_equal(metric(*sets, relevance=form(relevant)), expected)
    assert_array_equal(metric(*sets, relevance=relevant == 1), expected)
    # Binary relevance has one gain, whatever the value.
    assert_allclose(metric(*sets, relevance=3 * relevant), expected)


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
@pytest.mark.parametrize("metric", METRICS)
def test_pairs(metric, dtype):
    query, gallery, *_ = random_set(1, n_query=20, n_gallery=20)
    sets = query.astype(dtype), gallery.astype(dtype)
    rows = np.arange(20)
    expected = metric(*sets, rows, rows)
    assert_array_equal(metric(*sets, relevance="pair"), expected)
    names = np.array([f"pair {i}" for i in rows])
    order = np.random.default_rng(0).permutation(20)
    moved = metric(
        *sets,
        names,
        names[order],
        relevance="pair",
        ties="expected",
        exclude_self=False,
    )
    again = metric(
        *sets, relevance=np.equal.outer(names, names[order]), ties="expected"
    )
    assert_array_equal(moved, again)


@pytest.mark.parametrize("gain", ["linear", "exponential"])
@pytest.mark.parametrize("form", FORMS)
def test_graded_matrix(form, gain):
    query, gallery, *_ = random_set(2, n_bits=6)
    rng = np.random.default_rng(0)
    grades = rng.choice([0, 0.5, 1, 3], (20, 50))
    similarity = query.astype(int) @ gallery.T
    expected = ndcg_score(
        2**grades - 1 if gain == "exponential" else grades, similarity, k=7
    )
    for sets in ((query, gallery), (query.astype(float), gallery.astype(float))):
        score = ndcg_at_k(
            *sets, k=7, relevance=form(grades), gain=gain, ties="expected"
        )
        assert score == pytest.approx(expected, rel=1e-12)
    # Other metrics ask for values above 0 only.
    assert precision_at_k(query, gallery, k=5, relevance=grades) == precision_at_k(
        query, gallery, k=5, relevance=grades > 0
    )


def test_graded_matrix_with_explicit_zeros_and_duplicates():
    data, row, column = [1.0, 2.0, 0.0, 0.0], [0, 0, 1, 1], [1, 1, 0, 2]
    matrix = coo_array((data, (row, column)), shape=(2, 3))
    csr = csr_array((data, [1, 1, 0, 2], [0, 2, 4]), shape=(2, 3))
    rng = np.random.default_rng(0)
    sets = rng.standard_normal((2, 4)), rng.standard_normal((3, 4))
    dense = matrix.toarray()
    with pytest.warns(UndefinedMetricWarning, match="1 of 2"):
        expected = ndcg_at_k(*sets, relevance=dense)
        assert ndcg_at_k(*sets, relevance=csr) == expected
    assert len(csr.data) == 4  # not changed in place
    with pytest.warns(UndefinedMetricWarning, match="2 of 2"):
        assert ndcg_at_k(*sets, relevance=np.zeros((2, 3))) == 0


ROWS = np.arange(6)
SHORT = np.ones((4, 3))
LONG = np.ones((6, 3))


@pytest.mark.parametrize(
    "sets, relevance, message",
    [
        ((LONG, LONG), "label", "Labels are needed"),
        ((LONG, LONG, ROWS), "label", "y_gallery is missing"),
        ((LONG, LONG, None, ROWS), "pair", "y_query is missing"),
        ((SHORT, LONG), "pair", "4 queries and 6 items. Number the groups"),
        ((LONG, LONG, np.eye(6), np.eye(6)), "pair", "one number or name"),
        ((LONG, LONG, ROWS, ROWS), np.eye(6), "in place of labels"),
        ((SHORT, LONG), np.eye(4), r"shape \(4, 4\), but .* 4 queries and 6 items"),
        ((LONG, LONG), -np.eye(6), "0 or greater, but holds -1"),
        ((LONG, LONG), np.full((6, 6), np.nan), "relevance contains NaN"),
        ((LONG, np.ones((300, 3))), np.arange(1800).reshape(6, 300), "Round the"),
        ((LONG, LONG), "group", "'relevance' parameter"),
    ],
)
def test_errors(sets, relevance, message):
    with pytest.raises(ValueError, match=message):
        ndcg_at_k(*sets, relevance=relevance)
