# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_cmr.training.state import (
    load_weights,
    moments_from_arrays,
    moments_to_arrays,
    weights_of,
)


def make_module(seed):
    torch.manual_seed(seed)
    shared = nn.Linear(3, 3)
    first = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), shared)
    return nn.ModuleDict({"first": first, "second": nn.Sequential(shared)})


def test_the_weights_of_one_module_make_another_one_equal():
    source, target = make_module(0), make_module(1)
    source["first"](torch.randn(5, 2))  # moves the running statistics
    X = torch.randn(4, 2)
    load_weights(target, weights_of(source))
    source.eval(), target.eval()
    assert torch.equal(source["first"](X), target["first"](X))
    assert target["first"][2] is target["second"][0]
    assert int(target["first"][1].num_batches_tracked) == 1


def test_the_arrays_are_copies():
    module = make_module(0)
    weights = weights_of(module)
    before = weights["second.0.bias"].copy()
    with torch.no_grad():
        module["second"][0].bias += 1
    np.testing.assert_array_equal(weights["second.0.bias"], before)
    load_weights(module, weights)
    weights["second.0.bias"] += 1
    np.testing.assert_array_equal(module["second"][0].bias.detach().numpy(), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda weights: weights.pop("first.0.bias"),
            r"\['first.0.bias'\] are missing",
        ),
        (lambda weights: weights.update(more=np.ones(2)), r"\['more'\] are unknown"),
        (
            lambda weights: weights.update({"first.0.bias": np.ones(4, np.float32)}),
            r"first.0.bias must be an array of shape \(3,\) of float32, got \(4,\)",
        ),
        (
            lambda weights: weights.update({"first.0.bias": np.ones(3)}),
            r"first.0.bias must be an array of shape \(3,\) of float32, got .*float64",
        ),
        (
            lambda weights: weights.update({"first.0.bias": [1.0, 1.0, 1.0]}),
            "first.0.bias must be an array .* got .*list",
        ),
    ],
)
def test_weights_that_do_not_fit_leave_the_module_as_it_was(change, message):
    module = make_module(0)
    before = weights_of(module)
    weights = {name: array + 1 for name, array in before.items()}
    change(weights)
    with pytest.raises(ValueError, match=message):
        load_weights(module, weights)
    for name, array in weights_of(module).items():
        np.testing.assert_array_equal(array, before[name])


def test_moments_come_back_equal():
    parameter = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    own = {key: value.clone() for key, value in optimizer.state[parameter].items()}
    moments = moments_from_arrays(moments_to_arrays({"player": {"weight": own}}))
    for key, value in own.items():
        assert torch.equal(moments["player"]["weight"][key], value)
        assert moments["player"]["weight"][key].dtype == value.dtype
