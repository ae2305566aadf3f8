"""Losses over all triplets against their enumeration."""

# SPDX-License-Identifier: BSD-3-Clause

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from sklearn_cmr.nn import triplets
from sklearn_cmr.nn.triplets import triplet_losses

REDUCTIONS = ["valid", "active", "sum"]


def enumerate_triplets(distances, similarity, candidates, margin):
    """Return cost and slopes of one term, and its active and valid triplets."""
    cost, n_active, n_valid = 0.0, 0, 0
    slopes = np.zeros_like(distances)
    n_anchors, n_items = distances.shape
    for i, j, k in itertools.product(range(n_anchors), range(n_items), range(n_items)):
        if not (candidates[i, j] and candidates[i, k]):
            continue
        if similarity[i, j] > similarity[i, k]:
            n_valid += 1
            hinge = margin + distances[i, j] - distances[i, k]
            if hinge > 0:
                n_active += 1
                cost += hinge
                slopes[i, j] += 1
                slopes[i, k] -= 1
    return cost, slopes, n_active, n_valid


def make_terms(kind, n_terms, n_anchors, n_items, seed):
    rng = np.random.default_rng(seed)
    shape = (n_terms, n_anchors, n_items)
    similarity = {
        "binary": rng.random(shape) < 0.4,
        "graded": rng.integers(0, 4, shape).astype(float),
        "all similar": np.ones(shape, dtype=bool),
        "all dissimilar": np.zeros(shape, dtype=bool),
        "all equal": np.ones(shape),
    }[kind]
    return rng.random(shape), similarity, rng.random(shape) < 0.8


@settings(max_examples=80, deadline=None)
@given(
    kind=st.sampled_from(
        ["binary", "graded", "all similar", "all dissimilar", "all equal"]
    ),
    n_terms=st.integers(1, 3),
    n_anchors=st.integers(1, 6),
    n_items=st.integers(1, 7),
    seed=st.integers(0, 2**31 - 1),
    margin=st.sampled_from([0.01, 0.2, 2.0]),
    reduction=st.sampled_from(REDUCTIONS),
)
def test_all_triplets(kind, n_terms, n_anchors, n_items, seed, margin, reduction):
    arrays = make_terms(kind, n_terms, n_anchors, n_items, seed)
    distances, similarity, candidates = map(torch.tensor, arrays)
    distances.requires_grad_()
    losses, n_active, n_valid = triplet_losses(
        distances, similarity, candidates, margin, reduction
    )
    weights = torch.arange(1.0, n_terms + 1, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(losses @ weights, distances)
    for t, term in enumerate(zip(*arrays, strict=True)):
        cost, slopes, *counts = enumerate_triplets(*term, margin)
        assert [n_active[t], n_valid[t]] == counts
        divisor = {"active": counts[0], "valid": counts[1], "sum": 1}[reduction]
        assert_allclose(losses[t].item(), cost / max(1, divisor), atol=1e-12)
        expected = weights[t].item() * slopes / max(1, divisor)
        assert_allclose(gradient[t], expected, atol=1e-12)


def test_sorting_and_looking_agree_on_many_rows():
    distances, similarity, candidates = map(
        torch.tensor, make_terms("binary", 2, 60, 50, seed=0)
    )
    quick = triplet_losses(distances, similarity, candidates, 0.1)
    slow = triplet_losses(distances, similarity.double(), candidates, 0.1)
    assert_allclose(quick[0], slow[0])
    assert all(map(torch.equal, quick[1:], slow[1:]))


@pytest.mark.parametrize("limit", [1, 7, 49, 100, 343, 10**6])
def test_the_bound_on_triplets_at_once_changes_nothing(limit, monkeypatch):
    arrays = make_terms("graded", 2, 5, 7, seed=0)
    terms = [torch.tensor(part) for part in arrays]
    expected = triplet_losses(*terms, 0.3)
    monkeypatch.setattr(triplets, "_TRIPLETS_AT_ONCE", limit)
    largest = 0

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.ndim == 3:
                largest = max(largest, result.numel())
            return result

    with Watch():
        found = triplets._count_in_chunks(*(t.flatten(0, 1) for t in terms), 0.3)
    # One anchor and one item with all others is the least that can be looked at.
    assert largest <= max(limit, 7)
    for a, b in zip(triplet_losses(*terms, 0.3), expected, strict=True):
        assert_allclose(a, b)
    assert found[0].shape == (10, 7)


@pytest.mark.parametrize("graded", [False, True])
def test_swapped_labels_by_hand(graded):
    """Squared distances 0 and 1: no cost in the right order, 1 + margin otherwise."""
    distances = torch.tensor([[[0.0, 1.0]]])
    candidates = torch.ones(1, 1, 2, dtype=torch.bool)
    right = torch.tensor([[[True, False]]])
    for similarity, expected in ((right, 0.0), (~right, 1.1)):
        similarity = similarity.double() if graded else similarity
        losses, n_active, n_valid = triplet_losses(
            distances, similarity, candidates, 0.1
        )
        assert losses.tolist() == pytest.approx([expected])
        assert n_valid.tolist() == [1] and n_active.item() == bool(expected)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("similar", [True, False, 1.0])
def test_no_triplet_is_no_loss_with_a_graph(reduction, similar):
    distances = torch.rand(2, 4, 4, requires_grad=True)
    candidates = torch.ones(2, 4, 4, dtype=torch.bool)
    similarity = torch.full((2, 4, 4), similar)
    losses, n_active, n_valid = triplet_losses(
        distances, similarity, candidates, 0.1, reduction
    )
    losses.sum().backward()
    assert losses.tolist() == n_active.tolist() == n_valid.tolist() == [0, 0]
    assert (distances.grad == 0).all()


def test_equal_distances_cost_the_margin():
    distances = torch.full((1, 9, 9), 0.5)
    similarity = torch.eye(9, dtype=torch.bool)[None]
    losses, *_ = triplet_losses(distances, similarity, torch.ones_like(similarity), 0.2)
    assert losses.item() == pytest.approx(0.2)
