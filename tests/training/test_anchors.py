"""Anchors, and rows that share no label with them."""

# SPDX-License-Identifier: BSD-3-Clause

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_cmr.training.anchors import AnchorSampler, anchors_in_order


def make_labels(kind, n, n_classes, rng):
    """Draw an indicator: one label a row, several, all of one class, or all labels."""
    y = np.zeros((n, n_classes), dtype=np.uint8)
    y[np.arange(n), rng.integers(0, n_classes, n)] = 1
    if kind == "multi":
        y |= (rng.random(y.shape) < 0.25).astype(np.uint8)
        y[0] = 1  # overlaps everything
    elif kind == "one class":
        y[:] = np.eye(n_classes)[0]
    return y


def draw(sampler, n, batch_size=10, seed=0):
    return list(sampler(n, batch_size, torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("balanced", [True, False])
@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(["single", "multi", "one class"]),
    n=st.integers(2, 7),
    n_classes=st.integers(2, 4),
    seed=st.integers(0, 2**31 - 1),
)
def test_mismatched_rows_share_no_label(balanced, kind, n, n_classes, seed):
    y = make_labels(kind, n, n_classes, np.random.default_rng(seed))
    sampler = AnchorSampler(y, balanced)
    relevant = y.astype(int) @ y.T > 0
    assert_array_equal(sampler.has_mismatch, ~relevant.all(1))
    for anchors, mismatched in draw(sampler, n, 4, seed):
        for anchor, other in zip(anchors.tolist(), mismatched.tolist(), strict=True):
            if relevant[anchor].all():
                assert other == anchor
            else:
                assert not relevant[anchor, other]


@pytest.mark.parametrize("balanced", [True, False])
def test_rare_mismatches_are_found(balanced):
    """Rejecting draws would hardly ever meet the one row without the label."""
    y = np.zeros((3000, 3), dtype=np.uint8)
    y[:, 0] = 1
    y[:1000, 1] = 1
    y[1234] = [0, 0, 1]
    y[7] = 1  # overlaps that one too
    y[:, 1] |= y[:, 0] if balanced else 0
    sampler = AnchorSampler(y, balanced)
    assert_array_equal(np.flatnonzero(~sampler.has_mismatch), [7])
    rows = torch.cat(draw(sampler, 3000), dim=1)
    for anchor, other in rows.T.tolist():
        if anchor == 7:
            assert other == 7
        elif anchor != 1234:
            assert other == 1234


@pytest.mark.parametrize("balanced", [True, False])
def test_search_draws_as_rejection_does(balanced, monkeypatch):
    y = make_labels("multi", 12, 4, np.random.default_rng(3))
    shares = []
    for n_draws in (16, 0):
        monkeypatch.setattr("sklearn_cmr.training.anchors._DRAWS", n_draws)
        sampler = AnchorSampler(y, balanced)
        drawn = sampler._mismatch(torch.full((40_000,), 5), torch.Generator())
        shares.append(np.bincount(drawn, minlength=12) / len(drawn))
    assert_allclose(*shares, atol=0.02)
    assert np.count_nonzero(shares[0]) > 2


@pytest.mark.parametrize("n, batch_size", [(50, 16), (48, 16), (7, 16)])
def test_class_balanced_epochs(n, batch_size):
    y = np.eye(4, dtype=np.uint8)[np.r_[0, np.ones(n - 3, dtype=int), 2, 2]]
    batches = draw(AnchorSampler(y, balanced=True), n, batch_size)
    assert len(batches) == math.ceil(n / batch_size)
    assert all(rows.shape == (2, batch_size) for rows in batches)


def test_classes_are_balanced_in_anchors_and_mismatches():
    codes = np.r_[0, np.full(900, 1), np.full(98, 3)]  # no row of class 2
    sampler = AnchorSampler(np.eye(4, dtype=np.uint8)[codes], balanced=True)
    rows = torch.cat(draw(sampler, 60_000), dim=1)
    for drawn in codes[rows]:
        shares = np.bincount(drawn, minlength=4) / len(drawn)
        assert_allclose(shares, [1 / 3, 1 / 3, 0, 1 / 3], atol=0.01)
    within = np.bincount(rows[0][codes[rows[0]] == 3])[-98:]
    assert within.min() > 0.7 * within.mean() and within.max() < 1.3 * within.mean()


def test_multi_label_anchors_come_by_class():
    y = make_labels("multi", 30, 4, np.random.default_rng(0))
    rows = torch.cat(draw(AnchorSampler(y, balanced=True), 100_000), dim=1)
    expected = (y / y.sum(0)).sum(1) / 4
    assert_allclose(np.bincount(rows[0]) / rows.shape[1], expected, atol=0.003)


def test_shuffled_epochs_visit_each_row_once():
    y = make_labels("single", 25, 3, np.random.default_rng(0))
    batches = draw(AnchorSampler(y, balanced=False), 25)
    assert [rows.shape for rows in batches] == [(2, 10), (2, 10), (2, 5)]
    anchors, mismatched = torch.cat(batches, dim=1)
    assert sorted(anchors.tolist()) == list(range(25)) != anchors.tolist()
    assert len(set(mismatched.tolist())) > 5


@pytest.mark.parametrize("balanced", [True, False])
def test_samplers_follow_their_seed(balanced):
    y = make_labels("multi", 30, 4, np.random.default_rng(0))
    first, again, other = (
        torch.cat(draw(AnchorSampler(y, balanced), 30, seed=seed), dim=1)
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first[0], other[0]) and not torch.equal(first[1], other[1])


def test_anchors_alone():
    y = make_labels("single", 25, 3, np.random.default_rng(0))
    alone = draw(AnchorSampler(y, balanced=True, mismatched=False), 25)
    both = draw(AnchorSampler(y, balanced=True), 25)
    assert [rows.shape for rows in alone] == [(1, 10)] * 3
    assert torch.equal(torch.cat(alone, 1)[0], torch.cat(both, 1)[0])
    in_order = list(anchors_in_order(5, 2))
    assert [rows.tolist() for rows in in_order] == [[[0, 1]], [[2, 3]], [[4]]]
