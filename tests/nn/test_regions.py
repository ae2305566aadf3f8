"""Items with regions: padding and pooling."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
import torch

from sklearn_cmr.nn.regions import pool_regions, split_padding


@pytest.fixture
def padded():
    rng = np.random.RandomState(0)
    X = rng.randn(5, 4, 3).astype(np.float32)
    X[0, 2:] = np.nan
    X[3, 0] = np.nan
    return torch.from_numpy(X)


def test_padding_is_found_and_emptied(padded):
    X, present = split_padding(padded)
    assert present.tolist()[0] == [True, True, False, False]
    assert present.sum() == 17
    assert (X[~present] == 0).all()
    assert torch.equal(X[present], padded[present])


@pytest.mark.parametrize(
    ("pooling", "reduce"),
    [("mean", np.nanmean), ("sum", np.nansum), ("max", np.nanmax)],
)
def test_pooling_is_over_the_present_regions(padded, pooling, reduce):
    pooled = pool_regions(*split_padding(padded), pooling)
    expected = reduce(padded.numpy(), axis=1)
    np.testing.assert_allclose(pooled, expected, rtol=1e-5, atol=1e-6)


def test_flatten_keeps_order_and_empties_the_rest(padded):
    pooled = pool_regions(*split_padding(padded), "flatten")
    expected = np.nan_to_num(padded.numpy()).reshape(5, 12)
    np.testing.assert_array_equal(pooled, expected)


@pytest.mark.parametrize("pooling", ["mean", "sum", "max", "flatten"])
def test_nothing_selected_gives_zero_and_finite_gradients(pooling):
    X = torch.randn(2, 3, 4, requires_grad=True)
    mask = torch.tensor([[False, False, False], [True, False, True]])
    pooled = pool_regions(X, mask, pooling)
    assert (pooled[0] == 0).all()
    pooled.sum().backward()
    assert X.grad.isfinite().all()
    assert (X.grad[0] == 0).all()


def test_soft_weights_average():
    X = torch.tensor([[[2.0], [4.0]]])
    pooled = pool_regions(X, torch.tensor([[1.0, 0.5]]), "mean")
    assert pooled.item() == pytest.approx((2 + 2) / 1.5)
