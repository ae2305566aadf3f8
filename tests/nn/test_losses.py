"""Losses against loops and values by hand."""

# SPDX-License-Identifier: BSD-3-Clause

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from sklearn_cmr.nn.losses import (
    LABEL_LOSSES,
    bce_label_loss,
    mse_label_loss,
    quantization_loss,
    softmax_label_loss,
)


def _batch(n, n_classes, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, (n, n_classes))
    y[np.arange(n), rng.integers(0, n_classes, n)] = 1
    return 3 * rng.normal(size=(n, n_classes)), y


batches = st.builds(
    _batch, st.integers(1, 7), st.integers(2, 6), st.integers(0, 2**32 - 1)
)


def literal_softmax(logits, y):
    total = 0.0
    for row, labels in zip(logits, y, strict=True):
        mass = sum(math.exp(value) for value in row)
        for value, label in zip(row, labels, strict=True):
            total -= label / sum(labels) * math.log(math.exp(value) / mass)
    return total / len(y)


def literal_bce(logits, y):
    total = 0.0
    for row, labels in zip(logits, y, strict=True):
        for value, label in zip(row, labels, strict=True):
            p = 1 / (1 + math.exp(-value))
            total -= label * math.log(p) + (1 - label) * math.log(1 - p)
    return total / np.size(y)


def literal_mse(logits, y):
    total = 0.0
    for row, labels in zip(logits, y, strict=True):
        for value, label in zip(row, labels, strict=True):
            total += (1 / (1 + math.exp(-value)) - label) ** 2
    return total / np.size(y)


@settings(max_examples=40, deadline=None)
@given(batches)
def test_label_losses(batch):
    logits, y = batch
    tensors = torch.tensor(logits), torch.tensor(y).double()
    assert_allclose(softmax_label_loss(*tensors), literal_softmax(logits, y))
    assert_allclose(bce_label_loss(*tensors), literal_bce(logits, y))
    assert_allclose(mse_label_loss(*tensors), literal_mse(logits, y))


@pytest.mark.parametrize("name", sorted(LABEL_LOSSES))
def test_large_logits_stay_finite(name):
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    loss = LABEL_LOSSES[name](logits, torch.tensor([[0.0, 1.0], [1.0, 1.0]]))
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()


def test_softmax_of_one_label_is_the_usual_cross_entropy():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([0, 1, 2, 3, 3, 0])
    expected = torch.nn.functional.cross_entropy(logits, classes)
    y = torch.nn.functional.one_hot(classes, 4).float()
    assert_allclose(softmax_label_loss(logits, y), expected, rtol=1e-6)


def test_quantization_takes_the_sign_of_zero_as_positive():
    code = torch.tensor([[0.0, -0.25, 0.5]], requires_grad=True)
    loss = quantization_loss(code)
    assert_allclose(loss.item(), (1 + 0.75**2 + 0.5**2) / 3)
    loss.backward()
    assert_allclose(code.grad, [[-2 / 3, 2 * 0.75 / 3, -1 / 3]])
