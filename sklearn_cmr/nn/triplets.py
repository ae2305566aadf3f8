"""Triplet losses over all triplets of a batch, in the memory of its distances."""

# SPDX-License-Identifier: BSD-3-Clause

import torch
from sklearn.utils import gen_batches

# Triplets that are compared at once, a few bytes each. More would not fit the cache.
_TRIPLETS_AT_ONCE = 2**20


def triplet_losses(distances, similarity, candidates, margin, reduction="valid"):
    r"""Compute hinge losses of all triplets, in which a less similar item is too near.

    The valid triplets of a matrix are all :math:`(i, j, k)` of an anchor (a row) and
    two candidates (columns) with :math:`S_{ij} > S_{ik}`. The loss of a triplet is
    :math:`\max(0, \text{margin} + d_{ij} - d_{ik})`. Triplets with a positive loss are
    active.

    Parameters
    ----------
    distances : tensor of shape (n_terms, n_anchors, n_items)

    similarity : tensor of the same shape
        The triplets of boolean similarities are counted by sorting each row. Those of
        other similarities are enumerated, a bounded number at a time.

    candidates : bool tensor of the same shape
        Items that form triplets with an anchor.

    margin : float
        Positive.

    reduction : {"valid", "active", "sum"}
        Whether the sum over the triplets is divided by the number of valid triplets, by
        the number of active triplets, or not at all.

    Returns
    -------
    losses : tensor of shape (n_terms,)
        0, with a gradient of 0, where there is no valid triplet.

    n_active : tensor of shape (n_terms,)
        Numbers of active triplets.

    n_valid : tensor of shape (n_terms,)
        Numbers of valid triplets.
    """
    count = _count_sorted if similarity.dtype == torch.bool else _count_in_chunks
    with torch.no_grad():
        slopes, *counts = count(
            distances.flatten(0, 1),
            similarity.flatten(0, 1),
            candidates.flatten(0, 1),
            margin,
        )
        n_active, n_valid = (n.view(distances.shape[:2]).sum(1) for n in counts)
    # The sum over the active triplets is linear in the distances. Its slopes, which are
    # numbers of triplets, give its exact value and gradient.
    losses = (slopes.view_as(distances) * distances).sum((1, 2)) + margin * n_active
    if reduction == "valid":
        losses = losses / n_valid.clamp_min(1)
    elif reduction == "active":
        losses = losses / n_active.clamp_min(1)
    return losses, n_active, n_valid


def _count_sorted(distances, similar, candidates, margin):
    """Return the slopes of the distances, and active and valid triplets by anchor.

    The margin is added to the distances of similar items, and all distances are sorted.
    Then a similar item forms an active triplet with every dissimilar item before it.
    """
    order = torch.where(similar, distances + margin, distances).argsort(1)
    positive = (similar & candidates).gather(1, order).to(distances.dtype)
    negative = (~similar & candidates).gather(1, order).to(distances.dtype)
    n_positive = positive.sum(1, keepdim=True)
    pulled = positive * negative.cumsum(1)
    pushed = negative * (n_positive - positive.cumsum(1))
    slopes = torch.empty_like(distances).scatter_(1, order, pulled - pushed)
    return slopes, pulled.sum(1), (n_positive * negative).sum(1)


def _count_in_chunks(distances, similarity, candidates, margin):
    """Return the same for any similarities, by enumerating the triplets."""
    n_anchors, n_items = distances.shape
    slopes = torch.zeros_like(distances)
    n_active, n_valid = slopes.new_zeros(2, n_anchors)
    n_columns = min(n_items, max(1, _TRIPLETS_AT_ONCE // n_items))
    n_rows = max(1, _TRIPLETS_AT_ONCE // (n_columns * n_items))
    for rows in gen_batches(n_anchors, n_rows):
        d, s, c = distances[rows], similarity[rows], candidates[rows]
        for columns in gen_batches(n_items, n_columns):
            valid = s[:, columns].unsqueeze(2) > s.unsqueeze(1)
            valid &= c[:, columns].unsqueeze(2)
            valid &= c.unsqueeze(1)
            active = d[:, columns].unsqueeze(2) + margin > d.unsqueeze(1)
            active &= valid
            slopes[rows, columns] += active.sum(2)
            slopes[rows] -= active.sum(1)
            n_active[rows] += active.sum((1, 2))
            n_valid[rows] += valid.sum((1, 2))
    return slopes, n_active, n_valid
