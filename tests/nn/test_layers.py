"""Layers, and networks made of them."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from sklearn_cmr.nn.layers import (
    ACTIVATIONS,
    MultiScale,
    ResponseNorm,
    UnitLength,
    dropout,
    make_mlp,
)


def test_layers_and_their_order():
    network = make_mlp([5, 4, 3], activation="relu", output_activation="tanh")
    kinds = [type(layer) for layer in network]
    assert kinds == [nn.Linear, nn.ReLU, nn.Linear, nn.Tanh]
    shapes = [tuple(layer.weight.shape) for layer in network[::2]]
    assert shapes == [(4, 5), (3, 4)]


def test_output_is_linear_by_default():
    network = make_mlp([3, 2], activation="tanh")
    X = torch.arange(12.0).view(4, 3)
    torch.testing.assert_close(network(X), X @ network[0].weight.T)


@pytest.mark.parametrize("name, expected", [
    ("identity", [-1.0, 0.0, 2.0]),
    ("relu", [0.0, 0.0, 2.0]),
    ("tanh", [-0.76159, 0.0, 0.96403]),
    ("logistic", [0.26894, 0.5, 0.88080]),
])  # fmt: skip
def test_activations(name, expected):
    values = ACTIVATIONS[name]()(torch.tensor([-1.0, 0.0, 2.0]))
    torch.testing.assert_close(values, torch.tensor(expected), atol=1e-5, rtol=0)


def test_glorot_initialisation():
    torch.manual_seed(0)
    network = make_mlp([300, 200, 50], activation="tanh")
    for layer in network[::2]:
        n_out, n_in = layer.weight.shape
        bound = (6 / (n_in + n_out)) ** 0.5
        assert (layer.bias == 0).all()
        assert layer.weight.abs().max() <= bound
        assert layer.weight.abs().max() > 0.98 * bound
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.03)


def test_default_initialisation_is_that_of_torch():
    torch.manual_seed(0)
    network = make_mlp([7, 3], activation="tanh", init="default")
    torch.manual_seed(0)
    expected = nn.Linear(7, 3)
    assert torch.equal(network[0].weight, expected.weight)
    assert torch.equal(network[0].bias, expected.bias)


def test_dropout():
    X, before = torch.full((40, 500), 3.0), torch.random.get_rng_state()
    first, again, other = (
        dropout(X, 0.25, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.unique().tolist() == [0.0, 4.0]
    assert first.mean().item() == pytest.approx(3, rel=0.02)


@pytest.mark.parametrize("n_inputs", [4, 7, 23])
def test_multi_scale_block(n_inputs):
    """The last, shorter window counts; windows wider than the input do not."""
    scales = (3, 5, 30)
    X = torch.rand(2, n_inputs)
    block = MultiScale(n_inputs, scales)
    assert_array_equal(block.gains.detach(), 1)
    gains = [0.5, -1.0][: len(block.gains)]
    block.gains.data = torch.tensor(gains)
    used = [scale for scale in scales if scale <= n_inputs]
    assert len(block.gains) == len(used)
    expected = [X.numpy()]
    for gain, scale in zip(gains, used, strict=True):
        copies = []
        for row in X.numpy():
            windows = [row[i : i + scale] for i in range(0, n_inputs, scale)]
            means = np.maximum(gain * np.array([w.mean() for w in windows]), 0)
            # Centres of the stretched windows among those of the columns.
            places = (np.arange(n_inputs) + 0.5) * len(means) / n_inputs - 0.5
            copies.append(np.interp(places, np.arange(len(means)), means))
        expected.append(np.array(copies))
    out = block(X)
    assert block.n_outputs == out.shape[1] == n_inputs * (1 + len(used))
    assert_allclose(out.detach(), np.concatenate(expected, axis=1), atol=1e-5)


def test_response_normalisation():
    X = torch.rand(3, 9) * 50
    expected = np.empty((3, 9))
    for i in range(9):
        window = X[:, max(0, i - 2) : i + 3].numpy()
        expected[:, i] = X[:, i].numpy() / (2 + 1e-4 * (window**2).sum(1)) ** 0.75
    assert_allclose(ResponseNorm()(X), expected, rtol=1e-5)


def test_unit_length():
    X = torch.tensor([[3.0, -4.0], [0.0, 0.0], [1e-3, 0.0]], requires_grad=True)
    Z = UnitLength()(X)
    assert_allclose(Z.detach(), [[0.6, -0.8], [0, 0], [1, 0]], rtol=1e-6)
    Z.sum().backward()
    assert X.grad.isfinite().all()
    assert not UnitLength().state_dict()
