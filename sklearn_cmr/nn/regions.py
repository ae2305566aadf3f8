"""Pooling of items that consist of regions, some of which may be absent."""

# SPDX-License-Identifier: BSD-3-Clause

import torch
from torch import nn


def split_padding(X):
    """Separate the regions of items from their padding.

    Parameters
    ----------
    X : tensor of shape (b, n_regions, n_features)
        NaN in absent regions.

    Returns
    -------
    X : tensor of the same shape
        0 in absent regions.

    present : bool tensor of shape (b, n_regions)
    """
    present = ~X[..., 0].isnan()
    return torch.where(present.unsqueeze(-1), X, 0), present


def pool_regions(X, mask, pooling):
    """Pool the regions of each item that a mask selects into one vector.

    Parameters
    ----------
    X : tensor of shape (b, n_regions, m)

    mask : bool tensor, or float one with weights in [0, 1], of shape (b, n_regions)

    pooling : {"mean", "sum", "max", "flatten"}
        "max" over no region is 0. "flatten" concatenates all regions in their order,
        with 0 for those that are not selected.

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
    """Pool the regions of an item into one vector; absent regions are NaN.

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
