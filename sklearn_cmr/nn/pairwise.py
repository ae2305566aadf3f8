"""Distances and relevance between all rows of two batches."""

# SPDX-License-Identifier: BSD-3-Clause

import torch

# About what float32 leaves of the squared distance of coinciding rows: below it, the
# slope of the square root would blow rounding errors up.
_SQRT_EPS = 1e-6


def relevance(y, y_other):
    """Tell which rows share a label.

    Parameters
    ----------
    y, y_other : tensor of shape (b, n_classes) and (b_other, n_classes)
        Non-negative label indicators.

    Returns
    -------
    relevant : bool tensor of shape (b, b_other)
    """
    return y @ y_other.T > 0


def squared_distances(a, b):
    """Return the squared Euclidean distances between all rows of `a` and `b`.

    Parameters
    ----------
    a, b : tensor of shape (..., n_a, m) and (..., n_b, m)
        With one more dimension, or none.

    Returns
    -------
    squared : tensor of shape (..., n_a, n_b)
        Never negative.
    """
    lengths = a.square().sum(-1, keepdim=True) + b.square().sum(-1).unsqueeze(-2)
    add_product = torch.addmm if a.ndim == 2 else torch.baddbmm
    return add_product(lengths, a, b.mT, alpha=-2).clamp_min(0)


def root(squared):
    """Return the square root with a finite slope at 0.

    Parameters
    ----------
    squared : tensor of any shape
        Not negative.
    """
    return (squared + _SQRT_EPS).sqrt()


def cosine_similarities(a, b):
    """Return the cosines between all rows of `a` and `b`; a zero row has cosine 0.

    Parameters
    ----------
    a, b : tensor of shape (n_a, m) and (n_b, m)

    Returns
    -------
    cosines : tensor of shape (n_a, n_b)
    """
    normalize = torch.nn.functional.normalize
    return normalize(a, dim=1) @ normalize(b, dim=1).T


def masked_row_means(values, mask):
    """Average each row over the entries that a mask selects.

    Parameters
    ----------
    values : tensor of shape (..., k)

    mask : bool tensor of the same shape

    Returns
    -------
    means : tensor of shape (...)
        0 where the mask selects nothing.

    selected : bool tensor of shape (...)
        Whether the mask selects anything in the row.
    """
    counts = mask.sum(-1)
    sums = torch.where(mask, values, 0).sum(-1)
    return sums / counts.clamp_min(1), counts > 0


def mean_weights(masks, dtype):
    """Return the weights with which a sum is the mean over rows of their masked means.

    Rows in which a mask selects nothing are left out. Several masks on the same values
    then cost one sum.

    Parameters
    ----------
    masks : bool tensor of shape (..., b, k)

    dtype : torch.dtype

    Returns
    -------
    weights : tensor of the same shape
        Their sum over `b` and `k` is 1, or 0 if the mask selects nothing at all.
    """
    selected = masks.to(dtype)
    counts = selected.sum(-1, keepdim=True)
    n_rows = (counts > 0).sum(-2, keepdim=True)
    return selected / (counts * n_rows).clamp_min(1)


def masked_mean(values, mask):
    """Average the selected values; 0, with a valid gradient of 0, if there is none.

    Parameters
    ----------
    values : tensor of any shape

    mask : bool tensor of the same shape
    """
    return torch.where(mask, values, 0).sum() / mask.sum().clamp_min(1)
