"""Batches of anchors with rows that share no label with them."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch

# Draws of a mismatched row for all anchors at once, before the rest is searched for.
_DRAWS = 16
# Rows whose labels are compared with those of all others at once.
_ROWS_PER_SEARCH = 1024


class AnchorSampler:
    """Draw anchors and, for each, a mismatched row: one without a common label.

    Batches have shape (2, b): anchors, then mismatched rows. An anchor that shares
    labels with all other rows stands for its own mismatched row, so that the labels
    tell who has none.

    Parameters
    ----------
    labels : uint8 ndarray of shape (n_samples, n_classes)

    balanced : bool
        Draw a class, then one of its rows, for as many full batches as cover the number
        of rows; otherwise visit each row once, in random order. Mismatched rows are
        drawn in the same way: by class, or all alike.

    mismatched : bool, default=True
        Whether mismatched rows are wanted; batches have shape (1, b) otherwise.
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
            _disjoint(chunk, kinds).any(1) for chunk in kinds.split(_ROWS_PER_SEARCH)
        ]
        self.has_mismatch = torch.cat(has_mismatch)[kind_of_row.reshape(-1)]

    def __call__(self, n_samples, batch_size, generator):
        """Yield the rows of the batches of one epoch."""
        if self.balanced:
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
        for chunk in missing.split(_ROWS_PER_SEARCH) if len(missing) else ():
            fits = _disjoint(self.labels[anchors[chunk]], self.labels)
            drawn = torch.multinomial(fits * self.odds, 1, generator=generator)
            mismatched[chunk] = drawn.squeeze(1)
        return mismatched


def _disjoint(y, y_other):
    """Tell which rows have no label in common."""
    return y.float() @ y_other.float().T == 0


def anchors_in_order(n_samples, batch_size, generator=None):
    """Yield the rows of consecutive batches of anchors, of shape (1, b)."""
    return iter(torch.arange(n_samples)[None].split(batch_size, dim=1))
