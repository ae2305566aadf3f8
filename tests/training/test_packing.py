"""What checkpoints hold: nested values, exactly as they were."""

# SPDX-License-Identifier: BSD-3-Clause

import math
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes

from sklearn_cmr.training.packing import Packer, pack_text, unpack, unpack_text


def round_trip(value):
    return unpack(*Packer().pack(value))


def assert_same(first, second):
    """Compare types, dtypes, shapes and bits."""
    assert type(first) is type(second)
    if isinstance(first, torch.Tensor):
        first, second = first.numpy(), second.numpy()
    if isinstance(first, (np.ndarray, np.generic)):
        assert (first.dtype, first.shape) == (second.dtype, second.shape)
        assert first.tobytes() == second.tobytes()
    elif isinstance(first, dict):
        assert list(first) == list(second)
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second)
        for pair in zip(first, second, strict=True):
            assert_same(*pair)
    elif isinstance(first, float) and math.isnan(first):
        assert math.isnan(second)
    else:
        assert first == second


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
KINDS = "biufc"
ARRAYS = scalar_dtypes().filter(lambda dtype: dtype.kind in KINDS + "SUmM")
ARRAYS = ARRAYS.flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=0)))
KEYS = st.text() | st.integers() | st.tuples(st.integers(), st.text())
VALUES = st.recursive(
    PLAIN | ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_values_come_back_as_they_were(value):
    assert_same(round_trip(value), value)
    assert_same(unpack_text(pack_text(value)), value)


@pytest.mark.parametrize(
    "value",
    [
        torch.arange(6).reshape(2, 3),
        torch.tensor(2.5),
        torch.empty(0, 3),
        torch.tensor([True, False]),
        torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).T,
        np.float32(0.1),
        np.zeros((0, 3)),
        np.arange(12).reshape(3, 4)[:, ::2],
        {1, 2},
        frozenset("a"),
    ],
    ids=repr,
)
def test_tensors_scalars_and_sets(value):
    back = round_trip({"value": value})["value"]
    if isinstance(value, torch.Tensor):
        assert back.dtype == value.dtype and torch.equal(back, value)
    else:
        assert type(back) is type(value)
        np.testing.assert_array_equal(np.asarray(back), np.asarray(value))


def test_a_parameter_comes_back_as_a_tensor_and_an_ordered_dict_as_a_dict():
    state = torch.nn.Linear(3, 2).state_dict()
    assert isinstance(state, OrderedDict)
    back = round_trip(state)
    assert type(back) is dict and list(back) == list(state)
    parameter = round_trip(torch.nn.Linear(3, 2).weight)
    assert type(parameter) is torch.Tensor and not parameter.requires_grad


def test_what_comes_back_shares_no_memory():
    packer = Packer()
    first, second = torch.zeros(4), torch.ones(4)
    text, numbers = packer.pack(first)
    back = unpack(text, numbers)
    _, again = packer.pack(second)
    assert again is numbers  # the memory is used again
    back += 2
    assert torch.equal(first, torch.zeros(4)) and torch.equal(back, first + 2)
    assert torch.equal(unpack(text, again), second)


@pytest.mark.parametrize(
    "value, name",
    [
        (object(), "builtins.object"),
        (Counter("aab"), "collections.Counter"),
        (len, "builtin_function_or_method"),
        (np.array([object()]), "numpy.ndarray"),
        ({"a": [1, {"b": b"bytes"}]}, "builtins.bytes"),
    ],
)
def test_other_values_are_refused(value, name):
    with pytest.raises(TypeError, match=f"{name} is neither plain data nor an array"):
        Packer().pack({"value": value})
