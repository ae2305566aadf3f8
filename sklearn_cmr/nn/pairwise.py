"""Distances, similarities and relevance between all rows of two batches."""

# SPDX-License-Identifier: BSD-3-Clause

import torch

# About the rounding error of the squared distance of equal rows in float32. Below it,
# the steep square root would amplify rounding errors.
_SQRT_EPS = 1e-6


def relevance(y, y_other):
    """Return which rows have a label in common.

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
    """Compute the squared Euclidean distances between all rows of `a` and `b`.

    Parameters
    ----------
    a, b : tensor of shape (..., n_a, m) and (..., n_b, m)
        With at most one leading dimension.

    Returns
    -------
    squared : tensor of shape (..., n_a, n_b)
        Never negative.
    """
    lengths = a.square().sum(-1, keepdim=True) + b.square().sum(-1).unsqueeze(-2)
    add_product = torch.addmm if a.ndim == 2 else torch.baddbmm
    return add_product(lengths, a, b.mT, alpha=-2).clamp_min(0)


def safe_sqrt(squared):
    """Compute the square root with a finite derivative at 0.

    Parameters
    ----------
    squared : tensor of any shape
        Non-negative values.
    """
    return (squared + _SQRT_EPS).sqrt()


def cosine_similarities(a, b):
    """Compute the cosines between all rows of `a` and `b`; a zero row has cosine 0.

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
    """Compute the mean of each row over the entries that a mask selects.

    Parameters
    ----------
    values : tensor of shape (..., k)

    mask : bool tensor of the same shape

    Returns
    -------
    means : tensor of shape (...)
        0 where the mask selects no entry.

    selected : bool tensor of shape (...)
        Whether the mask selects an entry of the row.
    """
    counts = mask.sum(-1)
    sums = torch.where(mask, values, 0).sum(-1)
    return sums / counts.clamp_min(1), counts > 0


def masked_mean_weights(masks, dtype):
    """Compute the weights of the mean, over the rows, of their masked means.

    The weighted sum of the values is that mean. Rows in which a mask selects no entry
    are left out. Weights can be added up where several means share their values.

    Parameters
    ----------
    masks : bool tensor of shape (..., b, k)

    dtype : torch.dtype

    Returns
    -------
    weights : tensor of the same shape
        The sum of the weights of a mask is 1, or 0 if it selects no entry.
    """
    selected = masks.to(dtype)
    counts = selected.sum(-1, keepdim=True)
    n_rows = (counts > 0).sum(-2, keepdim=True)
    return selected / (counts * n_rows).clamp_min(1)


def masked_mean(values, mask):
    """Compute the mean of the selected values; 0 with gradient 0 if there are none.

    Parameters
    ----------
    values : tensor of any shape

    mask : bool tensor of the same shape
    """
    return torch.where(mask, values, 0).sum() / mask.sum().clamp_min(1)
