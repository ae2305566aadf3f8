"""Losses of AADAH: triplet losses of attended and unattended codes."""

# SPDX-License-Identifier: BSD-3-Clause

import math
from contextlib import nullcontext
from itertools import chain, permutations
from typing import NamedTuple

import torch

from sklearn_cmr.nn.losses import quantization_loss
from sklearn_cmr.nn.pairwise import relevance, safe_sqrt, squared_distances
from sklearn_cmr.nn.triplets import triplet_losses


def euclidean(a, b):
    """Return Euclidean distances of codes, in units of that of opposite codes."""
    return safe_sqrt(squared_distances(a, b)) / (2 * math.sqrt(a.shape[-1]))


def sqeuclidean(a, b):
    """Return squared distances of codes, in units of that of opposite codes."""
    return squared_distances(a, b) / (4 * a.shape[-1])


def common_labels(y, y_other):
    """Return the numbers of labels that rows have in common."""
    return y @ y_other.T


def squared_cosine(y, y_other):
    """Return the squared cosines of labels, times the number of labels in `y`.

    For each row of `y`, they order the other rows as the cosines do. As ratios of
    integers they are bit-identical for equal cosines.
    """
    return common_labels(y, y_other).square() / y_other.sum(1).clamp_min(1)


DISTANCES = {"euclidean": euclidean, "sqeuclidean": sqeuclidean}
SIMILARITIES = {
    "binary": relevance,
    "count": common_labels,
    "cosine": squared_cosine,
}


class Ranking(NamedTuple):
    """Triplet loss of codes of one modality that rank codes of another one.

    Attributes
    ----------
    distance, similarity, margin, reduction
        Parameters of the estimator; see :class:`AADAHHasher`.
    """

    distance: str
    similarity: str
    margin: float
    reduction: str

    def losses(self, batch, terms, wrong_order=False):
        """Return the result of :func:`triplet_losses` for each term.

        Parameters
        ----------
        batch : Batch

        terms : list of tuple
            Modality and codes of the anchors, then modality and codes of the items
            that they rank.

        wrong_order : bool
            Whether to reverse the similarities, so that dissimilar items should be
            nearer than similar ones.
        """
        anchors, codes, items, others = zip(*terms, strict=True)
        distances = DISTANCES[self.distance](torch.stack(codes), torch.stack(others))
        similar = SIMILARITIES[self.similarity]
        # The shape of the rows is (b,) for pairs, else (n_modalities, b).
        if batch.rows.ndim == 1:
            rows = dict.fromkeys(batch.features, batch.rows)
            similarity = similar(batch.y, batch.y).expand_as(distances)
        else:
            rows = dict(zip(batch.features, batch.rows, strict=True))
            y = dict(zip(batch.features, batch.y, strict=True))
            pairs = zip(anchors, items, strict=True)
            similarity = torch.stack(
                [similar(y[one], y[other]) for one, other in pairs]
            )
        if wrong_order:
            similarity = ~similarity if self.similarity == "binary" else -similarity
        candidates = torch.ones_like(distances, dtype=torch.bool)
        for allowed, anchor, item in zip(candidates, anchors, items, strict=True):
            if anchor == item:
                allowed.copy_(rows[anchor].unsqueeze(1) != rows[item])
        return triplet_losses(
            distances,
            similarity,
            candidates,
            self.margin,
            self.reduction,
        )


def ranked_across(codes, others):
    """Return the terms in which one modality ranks the codes of another one."""
    return [
        (anchor, codes[anchor], item, others[item])
        for anchor, item in permutations(codes, 2)
        if item in others
    ]


def hashing_loss(module, batch, state, *, ranking, weights):
    """Return the loss of the feature and hash networks.

    The masks are constants if there is an adversarial loss. If not, the attention
    networks learn from the other terms.

    Parameters
    ----------
    ranking : Ranking

    weights : dict of str to float
        Weights of the terms; a weight of 0 leaves a term out.
    """
    codes, unattended, terms = {}, {}, {}
    has_adversary = weights["adversarial_loss"] > 0
    for modality, X in batch.features.items():
        network = module["encoders"][modality]
        f, present = network.extract(X)
        mask = whole = present.to(f.dtype)
        if network.attention is not None:
            with torch.no_grad() if has_adversary else nullcontext():
                mask = network.mask(f.detach(), present)
                terms[f"attended_fraction_{modality}"] = mask.mean() / whole.mean()
                masked = state.scalars["masked"]
                mask = mask * masked + whole * (1 - masked)
        if network.attention is not None and has_adversary:
            both = network.encode_both(f, mask, present)
            codes[modality], unattended[modality] = both
        else:
            codes[modality] = network.encode(f, mask)
    groups = {
        "inter_loss": ranked_across(codes, codes),
        "intra_loss": [(name, own, name, own) for name, own in codes.items()],
        "adversarial_loss": ranked_across(codes, unattended),
    }
    groups = {name: group for name, group in groups.items() if weights[name] and group}
    losses, *counts = ranking.losses(batch, list(chain(*groups.values())))
    n_active, n_valid = (count.sum() for count in counts)
    terms["active_fraction"] = n_active / n_valid.clamp_min(1)
    terms["no_triplet"] = (n_valid == 0).to(losses.dtype)
    loss = losses.new_zeros(())
    sizes = [len(group) for group in groups.values()]
    for name, own in zip(groups, losses.split(sizes), strict=True):
        n_pairs = len(codes) if name == "intra_loss" else math.perm(len(codes), 2)
        terms[name] = 2 * own.sum() / n_pairs
        if name == "adversarial_loss":
            terms[name] = terms[name] * state.scalars["masked"]
        loss = loss + weights[name] * terms[name]
    if weights["quantization_loss"]:
        errors = [quantization_loss(own) for own in codes.values()]
        terms["quantization_loss"] = torch.stack(errors).mean()
        loss = loss + weights["quantization_loss"] * terms["quantization_loss"]
    return loss, terms


def attention_loss(module, batch, state, *, ranking, kind, detach_query):
    """Return the loss of the attention networks, low if unattended codes rank badly.

    Parameters
    ----------
    ranking : Ranking

    kind : {"flipped", "maximize"}
        The constructor's `attention_loss`.

    detach_query : bool
        Whether the attended codes are constants.
    """
    codes, unattended = {}, {}
    for modality, X in batch.features.items():
        network = module["encoders"][modality]
        with torch.no_grad():
            f, present = network.extract(X)
        mask = network.mask(f, present)
        if network.attention is not None:
            unattended[modality] = network.encode(f, present.to(f.dtype) - mask)
        with torch.no_grad() if detach_query else nullcontext():
            codes[modality] = network.encode(f, mask)
    terms = ranked_across(codes, unattended)
    is_flipped = kind == "flipped"
    losses, *_ = ranking.losses(batch, terms, wrong_order=is_flipped)
    loss = 2 * losses.sum() / math.perm(len(codes), 2)
    return loss if is_flipped else -loss, {}
