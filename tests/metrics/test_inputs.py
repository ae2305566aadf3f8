"""Forms of input that all metrics share: tensors, ragged lists, labels of two types."""

# SPDX-License-Identifier: BSD-3-Clause

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose

from sklearn_cmr.codes import hamming_distances, pack_codes, unpack_codes
from sklearn_cmr.metrics import (
    CommonSpaceDisplay,
    RetrievalDisplay,
    compare_retrieval,
    cross_modal_report,
    hit_rate_at_k,
    make_map_scorer,
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
from sklearn_cmr.neighbors import CrossModalNeighbors

plt.switch_backend("Agg")

Z = np.random.default_rng(0).standard_normal((2, 6, 3))
y = np.arange(6) % 3
RAGGED = [[1.0, 2.0, 3.0], [1.0, 2.0], [1.0], [1.0], [1.0], [1.0]]
METRICS = [
    mean_average_precision,
    ndcg_at_k,
    map_at_r,
    r_precision,
    reciprocal_rank,
    mean_rank,
    median_rank,
    lambda *sets, **options: hit_rate_at_k(*sets, k=2, **options),
    lambda *sets, **options: precision_at_k(*sets, k=2, **options),
    lambda *sets, **options: recall_at_k(*sets, k=2, **options),
    lambda *sets, **options: precision_recall_curve(*sets, **options).precision,
]


def recording(X, dtype=None):
    """A tensor that records gradients."""
    return torch.tensor(X, dtype=dtype or torch.float64, requires_grad=True)


@pytest.mark.parametrize("metric", METRICS)
def test_tensors_that_record_gradients(metric):
    weight = np.arange(6.0)
    sets = [recording(X) for X in (*Z, y, y)]
    assert_allclose(
        metric(*sets, sample_weight=recording(weight)),
        metric(*Z, y, y, sample_weight=weight),
    )
    # torch's own brief floats, which numpy does not know
    brief = [recording(np.sign(X), torch.bfloat16) for X in Z]
    assert_allclose(metric(*brief, *sets[2:]), metric(*np.sign(Z), y, y))
    indicator = np.eye(3)[y]
    sets[2:] = [recording(indicator)] * 2
    assert_allclose(metric(*sets), metric(*Z, indicator, indicator))


@pytest.mark.parametrize("metric", METRICS)
def test_tensors_of_other_inputs(metric):
    relevance = (y[:, None] == y).astype(float)
    own = np.arange(6)[::-1].copy()
    assert_allclose(
        metric(
            recording(Z[0]),
            recording(Z[1]),
            relevance=recording(relevance),
            exclude_self=torch.tensor(own),
        ),
        metric(*Z, y, y, exclude_self=own),
    )
    distances = -Z[0] @ Z[1].T
    assert_allclose(
        metric(recording(distances), relevance=relevance, metric="precomputed"),
        metric(*Z, y, y, metric="inner_product"),
    )


def test_tensors_that_record_gradients_elsewhere():
    values = np.random.default_rng(0).random((2, 9))
    options = {"random_state": 0, "n_resamples": 99}
    assert compare_retrieval(*map(recording, values), **options) == compare_retrieval(
        *values, **options
    )
    tensors, labels = list(map(recording, Z)), recording(y)
    assert cross_modal_report(*tensors, labels) == cross_modal_report(*Z, y)
    estimator = type("Fitted", (), {"transform": lambda self, X: recording(X)})()
    X = np.hstack(Z)
    expected = mean_average_precision(*Z, y, y)
    assert make_map_scorer(direction="i2t")(estimator, X, labels) == expected
    CommonSpaceDisplay.from_predictions(*tensors, labels, method="pca")
    display = RetrievalDisplay.from_predictions(*tensors, labels, k=1)
    assert display.queries[0].endswith(".0)")
    plt.close("all")

    codes = np.sign(Z[0])
    packed = pack_codes(recording(codes))
    np.testing.assert_array_equal(unpack_codes(packed, 3), codes)
    np.testing.assert_array_equal(
        hamming_distances(recording(codes)), hamming_distances(codes)
    )
    neighbors = CrossModalNeighbors(n_neighbors=1).fit(recording(Z[0]))
    assert neighbors.kneighbors(recording(Z[0]))[1].ravel().tolist() == [*range(6)]


@pytest.mark.parametrize("metric", METRICS)
def test_ragged_lists(metric):
    with pytest.raises(ValueError, match="query must have the same number of features"):
        metric(RAGGED, Z[1], y, y)
    with pytest.raises(ValueError, match="gallery must have the same number"):
        metric(Z[0], RAGGED, y, y)
    with pytest.raises(ValueError, match="y_gallery holds a collection of labels"):
        metric(*Z, y, [[0], [1, 2], [0], [1], [2], [0]])


def test_ragged_lists_elsewhere():
    with pytest.raises(ValueError, match="X must have the same number of features"):
        CrossModalNeighbors().fit(RAGGED)
    with pytest.raises(ValueError, match="codes must have the same number of features"):
        pack_codes(RAGGED)
    with pytest.raises(ValueError, match="B must have the same number of features"):
        hamming_distances(np.sign(Z[0]), RAGGED)


MIXED = [1, "a", 1, "a", 2, 2]


@pytest.mark.parametrize(
    "form", [list, tuple, lambda y: np.array(y, object), lambda y: pd.Series(y)]
)
@pytest.mark.parametrize("metric", METRICS)
def test_labels_of_two_types(metric, form):
    with pytest.raises(ValueError, match="y_query mixes strings .* 'a' and 1"):
        metric(*Z, form(MIXED), y)
    with pytest.raises(ValueError, match="y_gallery mixes strings .* 'a' and 1"):
        metric(*Z, y, form(MIXED))


def test_labels_of_two_types_elsewhere():
    with pytest.raises(ValueError, match="y_query mixes strings with other labels"):
        cross_modal_report(*Z, MIXED)
    with pytest.raises(ValueError, match="y mixes strings with other labels"):
        CommonSpaceDisplay.from_predictions(*Z, MIXED)
