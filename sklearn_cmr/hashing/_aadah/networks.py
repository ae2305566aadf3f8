"""Networks of AADAH: features, attention and hashing of one modality."""

# SPDX-License-Identifier: BSD-3-Clause

import math

import torch
from torch import nn

from sklearn_cmr.nn.regions import pool_regions, split_padding

# Rounding error that is allowed in the logarithm of a probability.
_LOG_TOLERANCE = 1e-6
# Slope of the soft mask.
_SOFT_SLOPE = 5.0

PARTS = ("attended", "unattended", "full")


def attend(logits, present, threshold, gradient):
    """Compute the attention and its mask: what reaches its share is attended.

    Parameters
    ----------
    logits : tensor of shape (b, r)

    present : bool tensor of shape (b, r) or (1, r)
        Regions or coordinates that a row has. Their number is :math:`R`.

    threshold : float
        In units of the equal share :math:`1 / R`.

    gradient : {"ste", "ste_raw", "soft", None}
        Gradient of the mask. None gives the mask of "ste" and "ste_raw" without one.

    Returns
    -------
    probabilities : tensor of shape (b, r)
        Attention; 0 where a region is absent.

    mask : tensor of shape (b, r)
        1 where attended, else 0; values in between if `gradient` is "soft".
    """
    n_present = present.sum(1, keepdim=True)
    log_probabilities = logits.masked_fill(~present, -math.inf).log_softmax(1)
    probabilities = log_probabilities.exp()
    excess = n_present * probabilities - threshold
    if gradient == "soft":
        return probabilities, present * (_SOFT_SLOPE * excess).sigmoid()
    # Compared as logarithms, with a tolerance: despite rounding errors, equal
    # probabilities must reach their share.
    log_ratio = log_probabilities + n_present.log() - math.log(threshold)
    mask = log_ratio.detach().ge_(-_LOG_TOLERANCE)
    if gradient == "ste":
        surrogate = excess.clamp(-1, 1)
    elif gradient == "ste_raw":
        surrogate = probabilities - threshold / n_present
    else:
        return probabilities, mask
    return probabilities, mask + (surrogate - surrogate.detach())


class AttentionHash(nn.Module):
    """Encoder of one modality: a feature, an attention and a hash network.

    Parameters
    ----------
    features : torch.nn.Module
        From inputs to features, of an item or of each region.

    attention : torch.nn.Module or None
        From features to attention logits: one for each coordinate, or for each region.

    hashing : torch.nn.Module
        From masked features, pooled over the regions, to the relaxed code.

    pooling : {"mean", "sum", "flatten"}

    threshold : float

    gradient, inference : str
        The constructor's `mask_gradient` and `mask_inference`.
    """

    def __init__(
        self, features, attention, hashing, *, pooling, threshold, gradient, inference
    ):
        super().__init__()
        self.features = features
        self.attention = attention
        self.hashing = hashing
        self.pooling = pooling
        self.threshold = threshold
        self.gradient = gradient
        self.soft_inference = gradient == "soft" and inference == "same"

    def extract(self, X):
        """Return the features, and a mask of the regions or coordinates present."""
        if X.ndim == 2:
            f = self.features(X)
            return f, torch.ones_like(f[:1], dtype=torch.bool)
        X, present = split_padding(X)
        return self.features(X), present

    def attend(self, f, present):
        """Return attention and mask; see :func:`attend`."""
        gradient = None
        if self.training or self.soft_inference:
            gradient = self.gradient
        if gradient != "soft" and not torch.is_grad_enabled():
            gradient = None
        logits = self.attention(f)
        logits = logits.view(logits.shape[:2])
        return attend(logits, present, self.threshold, gradient)

    def mask(self, f, present):
        """Return the mask; without an attention network, everything present."""
        if self.attention is None:
            return present.to(f.dtype)
        return self.attend(f, present)[1]

    def select(self, f, mask):
        """Apply a mask to the features and return one vector for each item."""
        return f * mask if f.ndim == 2 else pool_regions(f, mask, self.pooling)

    def encode(self, f, mask):
        """Return the relaxed codes of masked features."""
        return self.hashing(self.select(f, mask))

    def encode_both(self, f, mask, present):
        """Return the relaxed codes of the attended and of the unattended part."""
        masks = mask, present.to(f.dtype) - mask
        selected = torch.cat([self.select(f, part) for part in masks])
        return self.hashing(selected).chunk(2)

    def forward(self, X, part="attended"):
        """Return the relaxed codes of one of the `PARTS` of the features."""
        f, present = self.extract(X)
        mask = present.to(f.dtype)
        if part == "attended":
            mask = self.mask(f, present)
        elif part == "unattended":
            mask = mask - self.mask(f, present)
        return self.encode(f, mask)
