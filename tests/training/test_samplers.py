"""Samplers: the order of the rows of an epoch, and how they form batches."""

# SPDX-License-Identifier: BSD-3-Clause

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_cmr.training import AnchorSampler, ClassBalanced
from sklearn_cmr.training.samplers import (
    EachByItself,
    anchors_in_order,
    in_order,
    shuffled,
)
from tests.helpers import make_labels

HUGE = 10**9


def draw(sampler, n_samples, batch_size=10, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return list(sampler(n_samples, batch_size, generator))


# -- rows by class -------------------------------------------------------------


@pytest.mark.parametrize("n_rows_each", [1, 2, 4])
@pytest.mark.parametrize("batch_size", [4, 13, 24])
def test_class_balanced_batches(n_rows_each, batch_size):
    codes = np.repeat([0, 2, 3, 5, 6, 7], [1, 2, 5, 9, 30, 40])
    np.random.default_rng(0).shuffle(codes)
    sampler = ClassBalanced(codes, n_rows_each)
    batches = draw(sampler, len(codes), batch_size)
    size = batch_size // n_rows_each * n_rows_each
    assert {len(rows) for rows in batches} == {size}
    assert len(batches) == -(-len(codes) // size)
    for rows in batches:
        groups = codes[rows.numpy()].reshape(-1, n_rows_each)
        assert (groups == groups[:, :1]).all()
    used = np.bincount(codes[torch.cat(batches).numpy()])[[0, 2, 3, 5, 6, 7]]
    # Classes take turns: none is ahead of another by more than one.
    assert used.max() - used.min() <= n_rows_each
    if size == 24:
        seen = [np.bincount(codes[rows.numpy()], minlength=8) for rows in batches]
        assert np.array(seen)[:, [0, 2, 3, 5, 6, 7]].min() == 4


def test_class_balanced_rows_take_turns():
    codes = np.repeat([0, 1], [6, 10])
    (rows,) = draw(ClassBalanced(codes, 3), 60, 60)
    counts = np.bincount(rows, minlength=16)
    assert counts[:6].tolist() == [5] * 6
    assert counts[6:].tolist() == [3] * 10
    # A class with fewer rows than are wanted of it has some of them twice.
    (rows,) = draw(ClassBalanced(np.array([0, 1, 1, 1]), 3), 6, 6)
    assert np.bincount(rows).tolist() == [3, 1, 1, 1]


def test_class_balanced_order_depends_on_the_generator_alone():
    sampler = ClassBalanced(np.arange(40) % 4, 2)
    first, again, other = (torch.cat(draw(sampler, 40, 8, s)) for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("n_rows_each", [1, 4, 7])
def test_a_class_balanced_batch_is_no_larger_than_the_data(n_rows_each):
    codes = np.arange(90) % 5
    batches = draw(ClassBalanced(codes, n_rows_each), 90, HUGE)
    assert all(len(rows) <= 90 for rows in batches)
    # It is the data, as far as whole groups go.
    assert len(batches[0]) == 90 // n_rows_each * n_rows_each
    same = draw(ClassBalanced(codes, n_rows_each), 90, 90)
    assert_array_equal(torch.cat(batches), torch.cat(same))


# -- modalities with rows of their own -----------------------------------------


@pytest.mark.parametrize("batch_size", [4, 13, 24])
@pytest.mark.parametrize("lengths", [(43, 10), (10, 43), (45, 44), (3, 43), (5, 5)])
def test_every_modality_keeps_its_groups_of_a_class(lengths, batch_size):
    codes = [np.arange(n_rows) % 3 for n_rows in lengths]
    sampler = EachByItself(lengths, [ClassBalanced(own, 4) for own in codes])
    batches = draw(sampler, max(lengths), batch_size)
    size = min(batch_size, max(lengths)) // 4 * 4
    assert {rows.shape for rows in batches} == {(2, size)}
    assert len(batches) == -(-max(lengths) // size)
    for own, rows in zip(codes, torch.stack(batches, dim=1), strict=True):
        groups = own[rows.numpy()].reshape(-1, 4)
        assert (groups == groups[:, :1]).all()


@pytest.mark.parametrize("lengths", [(90, 30), (30, 90), (90, 90)])
@pytest.mark.parametrize(
    "make_inner",
    [
        lambda n_rows: shuffled,
        lambda n_rows: in_order,
        lambda n_rows: ClassBalanced(np.arange(n_rows) % 5, 4),
    ],
    ids=["shuffled", "in_order", "ClassBalanced"],
)
def test_a_batch_of_each_modality_is_no_larger_than_the_data(lengths, make_inner):
    sampler = EachByItself(lengths, [make_inner(n_rows) for n_rows in lengths])
    batches = draw(sampler, 90, HUGE)
    assert all(rows.shape[-1] <= 90 for rows in batches)


# -- anchors -------------------------------------------------------------------


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
        monkeypatch.setattr("sklearn_cmr.training.samplers._DRAWS", n_draws)
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
    assert all(rows.shape == (2, min(n, batch_size)) for rows in batches)


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


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("mismatched", [True, False])
def test_a_batch_of_anchors_is_no_larger_than_the_data(balanced, mismatched):
    y = make_labels("multi", 90, 5, np.random.default_rng(0))
    sampler = AnchorSampler(y, balanced, mismatched)
    (rows,) = draw(sampler, 90, HUGE)
    assert rows.shape == (1 + mismatched, 90)
    (same,) = draw(sampler, 90, 90)
    assert torch.equal(rows, same)
