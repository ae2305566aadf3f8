"""Items that consist of regions, some of which may be absent."""

# SPDX-License-Identifier: BSD-3-Clause

import torch
from torch import nn


def split_padding(X):
    """Tell apart the regions of items and their padding.

    Parameters
    ----------
    X : tensor of shape (b, n_regions, n_features)
        Absent regions are NaN.

    Returns
    -------
    X : tensor of the same shape
        0 in place of absent regions.

    present : bool tensor of shape (b, n_regions)
    """
    present = ~X[..., 0].isnan()
    return torch.where(present.unsqueeze(-1), X, 0), present


def pool_regions(X, mask, pooling):
    """Make one vector of the regions of each item that a mask selects.

    Parameters
    ----------
    X : tensor of shape (b, n_regions, m)

    mask : bool tensor, or float one with weights in [0, 1], of shape (b, n_regions)

    pooling : {"mean", "sum", "max", "flatten"}
        "max" of nothing is 0; "flatten" keeps the regions in their order, 0 where they
        are not selected.

    Returns
    -------
    pooled : tensor of shape (b, m), or (b, n_regions * m)
    """
    weights = mask.to(X.dtype).unsqueeze(-1)
    if pooling == "max":
        highest = X.masked_fill(weights == 0, -torch.inf).amax(1)
        return torch.where(weights.any(1), highest, 0)
    weighted = X * weights
    if pooling == "flatten":
        return weighted.flatten(1)
    pooled = weighted.sum(1)
    return pooled / weights.sum(1).clamp_min(1) if pooling == "mean" else pooled


class RegionPooling(nn.Module):
    """Make one vector of the regions of an item; those that are NaN are absent.

    Parameters
    ----------
    pooling : {"mean", "max", "flatten"}
    """

    def __init__(self, pooling):
        super().__init__()
        self.pooling = pooling

    def forward(self, X):
        regions, present = split_padding(X)
        return pool_regions(regions, present, self.pooling)
