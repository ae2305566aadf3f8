"""Multi-layer perceptrons."""

# SPDX-License-Identifier: BSD-3-Clause

import pytest
import torch
from torch import nn

from sklearn_cmr.nn.layers import ACTIVATIONS, make_mlp


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
