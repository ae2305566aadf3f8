"""Distances, relevance and masked means against loops over rows."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from sklearn_cmr.nn.pairwise import (
    cosine_similarities,
    masked_mean,
    masked_mean_weights,
    masked_row_means,
    relevance,
    safe_sqrt,
    squared_distances,
)

SIZES = st.integers(1, 7)
SEEDS = st.integers(0, 2**32 - 1)
quick = settings(max_examples=40, deadline=None)


@quick
@given(n=SIZES, n_other=SIZES, n_classes=SIZES, seed=SEEDS)
def test_relevance_is_one_common_label(n, n_other, n_classes, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, (n, n_classes))
    y_other = rng.integers(0, 2, (n_other, n_classes))
    relevant = relevance(torch.tensor(y).float(), torch.tensor(y_other).float())
    assert relevant.dtype == torch.bool
    for i in range(n):
        for j in range(n_other):
            common = {*np.flatnonzero(y[i])} & {*np.flatnonzero(y_other[j])}
            assert relevant[i, j] == bool(common)


@quick
@given(n=SIZES, n_other=SIZES, width=SIZES, seed=SEEDS)
def test_squared_distances(n, n_other, width, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, width)), rng.normal(size=(n_other, width))
    expected = [[((row - other) ** 2).sum() for other in b] for row in a]
    a, b = torch.tensor(a), torch.tensor(b)
    assert_allclose(squared_distances(a, b), expected, atol=1e-12)
    stacked = squared_distances(torch.stack([a, 2 * a]), torch.stack([b, 2 * b]))
    assert_allclose(stacked, [expected, 4 * np.array(expected)], atol=1e-12)


def test_squared_distances_of_close_rows_are_not_negative():
    a = 1 + 1e-4 * torch.rand(50, 200, generator=torch.Generator().manual_seed(0))
    squared = squared_distances(a, a)
    assert (squared >= 0).all()
    # Cancellation costs digits; 1e-7 times the squared lengths is what is left.
    assert squared.diagonal().max() < 1e-3


@pytest.mark.parametrize("distance", [0, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 0.1])
@pytest.mark.parametrize("width", [3, 200])
def test_distance_of_close_rows_has_a_bounded_slope(width, distance):
    """The true slope is 1; rounding must not make a jump of it."""
    generator = torch.Generator().manual_seed(0)
    a = 2 * torch.rand(64, width, generator=generator) - 1
    step = torch.randn(64, width, generator=generator)
    b = a + distance * torch.nn.functional.normalize(step, dim=1)
    a.requires_grad_()
    safe_sqrt(squared_distances(a, b)).diagonal().sum().backward()
    assert a.grad.isfinite().all()
    assert a.grad.norm(dim=1).max() < 4


def test_safe_sqrt_is_the_square_root_elsewhere():
    values = torch.tensor([0.1, 1.0, 100.0])
    assert_allclose(safe_sqrt(values), values.sqrt(), rtol=1e-5)
    assert safe_sqrt(torch.zeros(1)).item() < 2e-3


@quick
@given(n=SIZES, n_other=SIZES, width=SIZES, seed=SEEDS)
def test_cosine_similarities(n, n_other, width, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, width)), rng.normal(size=(n_other, width))
    a[0] = 0
    expected = [
        [row @ other / max(np.linalg.norm(row) * np.linalg.norm(other), 1e-12)
         for other in b]
        for row in a
    ]  # fmt: skip
    cosines = cosine_similarities(torch.tensor(a), torch.tensor(b))
    assert_allclose(cosines, expected, atol=1e-9)
    assert (cosines[0] == 0).all()


@quick
@given(n=SIZES, width=SIZES, seed=SEEDS)
def test_masked_means(n, width, seed):
    rng = np.random.default_rng(seed)
    values, mask = rng.normal(size=(n, width)), rng.random((n, width)) < 0.4
    means, selected = masked_row_means(torch.tensor(values), torch.tensor(mask))
    for i in range(n):
        chosen = values[i][mask[i]]
        assert selected[i] == (len(chosen) > 0)
        assert_allclose(means[i], chosen.mean() if len(chosen) else 0, atol=1e-12)
    mean = masked_mean(torch.tensor(values), torch.tensor(mask))
    assert_allclose(mean, values[mask].mean() if mask.any() else 0, atol=1e-12)


@quick
@given(n=SIZES, width=SIZES, seed=SEEDS)
def test_masked_mean_weights_are_those_of_the_mean_of_row_means(n, width, seed):
    rng = np.random.default_rng(seed)
    values, masks = rng.normal(size=(n, width)), rng.random((2, 3, n, width)) < 0.4
    weights = masked_mean_weights(torch.tensor(masks), torch.float64)
    for place in np.ndindex(2, 3):
        means, selected = masked_row_means(
            torch.tensor(values), torch.tensor(masks[place])
        )
        expected = masked_mean(means, selected)
        assert_allclose((weights[place].numpy() * values).sum(), expected, atol=1e-12)


@pytest.mark.parametrize("unselected", [0.0, np.inf, np.nan])
def test_unselected_values_do_not_count(unselected):
    """An infinity times a mask of 0 would be NaN."""
    values = torch.tensor([[1.0, unselected], [unselected, unselected]])
    values.requires_grad_()
    mask = torch.tensor([[True, False], [False, False]])
    means, selected = masked_row_means(values, mask)
    loss = masked_mean(means, selected)
    loss.backward()
    assert loss == 1
    assert values.grad.tolist() == [[1, 0], [0, 0]]


def test_mean_of_nothing_is_zero_with_a_zero_gradient():
    values = torch.ones(2, 3, requires_grad=True)
    masked_mean(values, torch.zeros(2, 3, dtype=torch.bool)).backward()
    assert (values.grad == 0).all()
