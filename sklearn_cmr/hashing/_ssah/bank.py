"""Bank of SSAH: the rows of labels that every batch is compared with."""

# SPDX-License-Identifier: BSD-3-Clause

from typing import NamedTuple

import numpy as np
import torch

from sklearn_cmr.codes import pack_bits
from sklearn_cmr.hashing._ssah.networks import LABEL
from sklearn_cmr.training import RowDataset

# Rows of labels that are encoded at once.
_ROWS_AT_ONCE = 1024


class Bank(NamedTuple):
    """Rows of labels, with the features and codes that represent them.

    Attributes
    ----------
    feature, code : tensor of shape (k, feature_dim) and (k, n_bits)
        Constants where they come from the label network.

    y : tensor of shape (k, n_classes)

    counts : tensor of shape (k,)
        Number of times that each row counts.
    """

    feature: torch.Tensor
    code: torch.Tensor
    y: torch.Tensor
    counts: torch.Tensor


class LabelBank:
    """Features and codes of the labels of the training set, by the label network.

    Equal rows of labels are one row with a count.

    Parameters
    ----------
    indicators : list of uint8 ndarray of shape (n_samples, n_classes)
        Labels of each modality.

    size : int or None
        Number of rows of the bank; None takes all of them.

    seed : int
        Seed of the sample, if there are more rows than `size`.

    device : torch.device

    Attributes
    ----------
    dataset : RowDataset
        All rows of labels: the training set of the label network.

    content : Bank
        Set by :meth:`refresh`.
    """

    content: Bank

    def __init__(self, indicators, size, seed, device):
        distinct, counts = count_label_rows(indicators)
        self.dataset = RowDataset({}, np.repeat(distinct, counts, axis=0), device)
        sampled = counts
        if size is not None and size < counts.sum():
            sampled = sample_counts(counts, size, seed)
        in_sample = sampled > 0
        # Rows outside the sample share one more place, whose count is 0.
        places = np.full(len(distinct), in_sample.sum())
        places[in_sample] = np.arange(in_sample.sum())
        self.places = torch.from_numpy(np.repeat(places, counts)).to(device)
        y = np.vstack([distinct[in_sample], np.zeros_like(distinct[:1])])
        self.y = torch.from_numpy(y).to(device, torch.float32)
        sampled = np.append(sampled[in_sample], 0)
        self.counts = torch.from_numpy(sampled).to(device, torch.float32)

    def refresh(self, module, state=None):
        """Encode all rows anew."""
        network = module["encoders"][LABEL]
        with torch.no_grad():
            chunks = map(network.outputs, self.y.split(_ROWS_AT_ONCE))
            features, codes, _ = zip(*chunks, strict=True)
        self.content = Bank(torch.cat(features), torch.cat(codes), self.y, self.counts)

    def update(self, rows, output):
        """Replace the features and codes of some rows of the data set."""
        places = self.places[rows]
        self.content.feature.index_copy_(0, places, output.feature.detach())
        self.content.code.index_copy_(0, places, output.code.detach())

    def expanded(self):
        """Return the signs of the codes and the labels of every row, as arrays."""
        counts = self.counts.long().cpu().numpy()
        codes = torch.where(self.content.code >= 0, 1, -1).to(torch.int8)
        return [
            np.repeat(part.cpu().numpy(), counts, axis=0) for part in (codes, self.y)
        ]


def count_label_rows(indicators):
    """Return the distinct rows of some indicators and their counts.

    The count of a row is its largest count in any modality: pairs count once, whether
    or not they are given as pairs.

    Parameters
    ----------
    indicators : list of uint8 ndarray of shape (n_samples, n_classes)

    Returns
    -------
    distinct : uint8 ndarray of shape (k, n_classes)
        In lexical order.

    counts : int ndarray of shape (k,)
    """
    stacked = np.concatenate(indicators)
    # Sorted as bits in words of 64: many times faster than np.unique by rows.
    bits = pack_bits(stacked)
    words = np.pad(bits, ((0, 0), (0, -bits.shape[1] % 8))).view(">u8")
    order = np.lexsort(words.T[::-1])
    differs = (np.diff(words[order], axis=0) != 0).any(axis=1)
    is_new = np.concatenate([[True], differs])
    distinct = stacked[order[is_new]]
    kinds = np.empty_like(order)
    kinds[order] = np.cumsum(is_new) - 1
    ends = np.cumsum([len(part) for part in indicators])[:-1]
    by_modality = [
        np.bincount(part, minlength=len(distinct)) for part in np.split(kinds, ends)
    ]
    return distinct, np.max(by_modality, axis=0)


def sample_counts(counts, size, seed):
    """Draw a sample of rows in which every kind has its share, up to rounding.

    Parameters
    ----------
    counts : int ndarray of shape (k,)
        Rows of each kind.

    size : int
        Rows of the sample.

    seed : int

    Returns
    -------
    counts : int ndarray of shape (k,)
        Rows of each kind in the sample.
    """
    start = np.random.RandomState(seed).uniform()
    places = ((np.arange(size) + start) * counts.sum() / size).astype(int)
    kinds = np.searchsorted(np.cumsum(counts), places, side="right")
    return np.bincount(kinds, minlength=len(counts))
