"""Order in which the rows of an epoch come, and how they form batches."""

# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable, Iterator

import numpy as np
import torch

# Draws of a mismatched row for all anchors at once, before the rest is searched for.
_DRAWS = 16
# Rows whose labels are compared with those of all others at once, and pairs of them.
_ROWS_PER_SEARCH = 1024
_PAIRS_PER_SEARCH = 2**22

Sampler = Callable[[int, int, torch.Generator], Iterator[torch.Tensor]]


def shuffled(n_samples, batch_size, generator):
    """Yield the rows of the batches of one epoch: each row once, in random order."""
    return iter(torch.randperm(n_samples, generator=generator).split(batch_size))


def in_order(n_samples, batch_size, generator=None):
    """Yield the rows of consecutive batches."""
    return iter(torch.arange(n_samples).split(batch_size))


class ClassBalanced:
    """Sampler of as many rows of each class as of any other.

    A batch has `n_rows_each` rows of every class that it has. Classes take turns in
    random order, and within a class its rows.

    Parameters
    ----------
    codes : int ndarray of shape (n_samples,)
        Class of each row.

    n_rows_each : int
        Number of rows of a class in a batch.
    """

    def __init__(self, codes, n_rows_each):
        self.codes = torch.from_numpy(codes)
        _, self.counts = self.codes.unique(return_counts=True)
        self.starts = self.counts.cumsum(0) - self.counts
        self.n_rows_each = n_rows_each

    def __call__(self, n_samples, batch_size, generator):
        """Yield the rows of as many full batches as cover `n_samples` rows."""
        n_classes = len(self.counts)
        n_groups = max(1, min(batch_size, n_samples) // self.n_rows_each)
        n_batches = -(-n_samples // (n_groups * self.n_rows_each))
        n_turns = -(-n_batches * n_groups // n_classes)
        order = torch.randperm(len(self.codes), generator=generator)
        by_class = order[self.codes[order].argsort(stable=True)]
        classes = torch.rand(n_turns, n_classes, generator=generator).argsort(1)
        turns = torch.arange(n_turns)[:, None, None] * self.n_rows_each
        place = turns + torch.arange(self.n_rows_each)
        place = place % self.counts[classes].unsqueeze(2)
        rows = by_class[self.starts[classes].unsqueeze(2) + place].flatten()
        size = n_groups * self.n_rows_each
        return iter(rows[: n_batches * size].split(size))


class EachByItself:
    """Sampler of an :class:`UnpairedDataset`: every modality in an order of its own.

    The modality with the most rows is passed once; others start again when theirs end.
    Batches are as large as the largest one of the samplers.

    Parameters
    ----------
    lengths : sequence of int
        Number of rows of each modality.

    samplers : sequence of callables
        Sampler of each modality.
    """

    def __init__(self, lengths, samplers):
        self.lengths = lengths
        self.samplers = samplers

    def __call__(self, n_samples, batch_size, generator):
        """Yield rows of shape (n_modalities, size)."""
        orders, size = [], 0
        for length, sampler in zip(self.lengths, self.samplers, strict=True):
            batches = [
                rows
                for _ in range(-(-n_samples // length))
                for rows in sampler(length, batch_size, generator)
            ]
            # A sampler may make smaller batches, to keep its groups whole.
            size = max(size, *map(len, batches))
            orders.append(torch.cat(batches))
        # One pass of the modality with the most rows: the shortest, however many rows
        # its sampler makes of them.
        n_drawn = min(map(len, orders))
        orders = [order[:n_drawn] for order in orders]
        return iter(torch.stack(orders).split(size, dim=1))


class AnchorSampler:
    """Draw anchors and, for each, a mismatched row: one without a common label.

    Batches have shape (2, b): anchors, then mismatched rows. An anchor that shares
    labels with all other rows is its own mismatched row. The common labels then show
    that it has none.

    Parameters
    ----------
    labels : uint8 ndarray of shape (n_samples, n_classes)
        Label indicator of the rows.

    balanced : bool
        Draw a class, then one of its rows, for as many full batches as cover the number
        of rows; otherwise visit each row once, in random order. Mismatched rows are
        drawn in the same way: by class, or uniformly.

    mismatched : bool, default=True
        Whether to draw mismatched rows; batches have shape (1, b) otherwise.
    """

    def __init__(self, labels, balanced, mismatched=True):
        self.labels = torch.from_numpy(labels).bool()
        self.balanced = balanced
        self.mismatched = mismatched
        classes, self.members = self.labels.T.nonzero(as_tuple=True)
        _, self.counts = classes.unique(return_counts=True)
        self.starts = self.counts.cumsum(0) - self.counts
        # How likely each row is to be drawn.
        self.odds = torch.ones(len(labels))
        if balanced:
            self.odds = (self.labels / self.labels.sum(0).clamp_min(1)).sum(1)
        # Rows with the same labels have the same mismatched rows.
        distinct, kind_of_row = np.unique(labels, axis=0, return_inverse=True)
        kinds = torch.from_numpy(distinct).bool()
        has_mismatch = [
            _disjoint(chunk, kinds).any(1)
            for chunk in kinds.split(_rows_per_search(len(kinds)))
        ]
        self.has_mismatch = torch.cat(has_mismatch)[kind_of_row.reshape(-1)]

    def __call__(self, n_samples, batch_size, generator):
        """Yield the rows of the batches of one epoch."""
        if self.balanced:
            batch_size = min(batch_size, n_samples)
            n_batches = -(-n_samples // batch_size)
            anchors = self._draw(n_batches * batch_size, generator)
        else:
            anchors = torch.randperm(n_samples, generator=generator)
        rows = [anchors]
        if self.mismatched:
            rows.append(self._mismatch(anchors, generator))
        return iter(torch.stack(rows).split(batch_size, dim=1))

    def _draw(self, n_rows, generator):
        if not self.balanced:
            return torch.randint(len(self.labels), (n_rows,), generator=generator)
        classes = torch.randint(len(self.counts), (n_rows,), generator=generator)
        place = torch.rand(n_rows, generator=generator, dtype=torch.float64)
        place = (place * self.counts[classes]).long()
        return self.members[self.starts[classes] + place]

    def _mismatch(self, anchors, generator):
        mismatched = anchors.clone()
        missing = self.has_mismatch[anchors].nonzero().squeeze(1)
        for _ in range(_DRAWS):
            drawn = self._draw(len(missing), generator)
            fits = ~(self.labels[anchors[missing]] & self.labels[drawn]).any(1)
            mismatched[missing[fits]] = drawn[fits]
            missing = missing[~fits]
        n_rows = _rows_per_search(len(self.labels))
        for chunk in missing.split(n_rows) if len(missing) else ():
            fits = _disjoint(self.labels[anchors[chunk]], self.labels)
            drawn = torch.multinomial(fits * self.odds, 1, generator=generator)
            mismatched[chunk] = drawn.squeeze(1)
        return mismatched


def _rows_per_search(n_others):
    return max(1, min(_ROWS_PER_SEARCH, _PAIRS_PER_SEARCH // n_others))


def _disjoint(y, y_other):
    """Return which pairs of rows have no label in common."""
    return y.float() @ y_other.float().T == 0


def anchors_in_order(n_samples, batch_size, generator=None):
    """Yield the rows of consecutive batches of anchors, of shape (1, b)."""
    return iter(torch.arange(n_samples)[None].split(batch_size, dim=1))
