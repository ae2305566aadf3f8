"""Losses of SSAH: pure functions of tensors."""

# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import torch
import torch.nn.functional as F

from sklearn_cmr.hashing._ssah.bank import Bank
from sklearn_cmr.hashing._ssah.networks import LABEL
from sklearn_cmr.nn.losses import LABEL_LOSSES, quantization_loss
from sklearn_cmr.nn.pairwise import cosine_similarities, relevance

# Rounding error of the cosine of equal labels, which has to be 1.
_COSINE_EPS = 1e-5

ADVERSARIAL_LOSSES: dict[str, Callable] = {
    "bce": F.binary_cross_entropy_with_logits,
    "lsgan": F.mse_loss,
}
# A discriminator assigns rows with higher logits to the labels.
_THRESHOLDS = {"bce": 0.0, "lsgan": 0.5}


def similarities(y, y_bank, kind):
    """Return the similarities of rows of labels, in [0, 1].

    Parameters
    ----------
    y, y_bank : tensor of shape (b, n_classes) and (k, n_classes)

    kind : {"binary", "cosine"}
        1 for rows with a common label, or the cosine of the indicators.
    """
    if kind == "binary":
        return relevance(y, y_bank).to(y.dtype)
    S = cosine_similarities(y, y_bank)
    return torch.where(S > 1 - _COSINE_EPS, 1, S)


def pair_weights(S, counts, balanced):
    """Return the weights of pairs, whose sum is 1.

    Parameters
    ----------
    S : tensor of shape (b, k)

    counts : tensor of shape (k,)

    balanced : bool
        Whether similar and dissimilar pairs have the same total weight, if there are
        both. A pair with a similarity in between is weighted in proportion.
    """
    weights = counts.expand_as(S)
    if balanced:
        similar = (S * counts).sum()
        dissimilar = weights.sum() - similar
        has_both = (similar > 0) & (dissimilar > 0)
        ratio = torch.where(has_both, dissimilar / similar, 1)
        weights = torch.addcmul(weights, weights * (ratio - 1), S)
    return weights / weights.sum()


def pair_loss(logits, S, weights):
    """Return the weighted negative log-likelihood of similarities.

    Parameters
    ----------
    logits, S, weights : tensor of shape (b, k)
    """
    return F.binary_cross_entropy_with_logits(
        logits, S, weight=weights, reduction="sum"
    )


@dataclass(frozen=True)
class Criterion:
    """Loss terms of the networks and their weights; see :class:`SSAHHasher`.

    Terms with weight 0 are left out.
    """

    weights: dict[str, float]
    reduction: str
    balanced: bool
    similarity: str
    similarity_smoothing: float
    feature_length: float | None
    label_loss: str
    adversarial_loss: str

    def pair_terms(self, output, y, bank):
        """Return the terms that compare a batch with a bank."""
        S = similarities(y, bank.y, self.similarity)
        weights = pair_weights(S, bank.counts, self.balanced)
        S = S * (1 - self.similarity_smoothing)
        scale = self._scale(S.shape[0] * bank.counts.sum())
        feature, banked = output.feature, bank.feature
        if self.feature_length is not None:
            feature, banked = (
                self.feature_length * F.normalize(part, dim=1)
                for part in (feature, banked)
            )
        pairs = {
            "feature_loss": (feature, banked),
            "hash_loss": (output.code, bank.code),
        }
        return {
            name: scale * pair_loss(own @ other.T / 2, S, weights)
            for name, (own, other) in pairs.items()
            if self.weights[name]
        }

    def own_terms(self, output, y):
        """Return the terms of the codes and the predicted labels of a batch."""
        terms = {}
        if self.weights["quantization_loss"]:
            scale = self._scale(output.code.numel())
            terms["quantization_loss"] = scale * quantization_loss(output.code)
        if self.weights["balance_loss"]:
            scale = self._scale(output.code.numel())
            terms["balance_loss"] = scale * output.code.mean(0).square().mean()
        if self.weights["label_loss"]:
            label_loss = LABEL_LOSSES[self.label_loss](output.logits, y)
            terms["label_loss"] = self._scale(y.numel()) * label_loss
        return terms

    def adversarial_term(self, logits, is_label, n_items):
        """Return the loss of a discriminator's logits.

        Parameters
        ----------
        logits : tensor of shape (b, 1)

        is_label : tensor of the same shape
            Targets: 1 for labels, 0 for a modality.

        n_items : int
            Ratio of the sum over the batch to the mean.
        """
        loss = ADVERSARIAL_LOSSES[self.adversarial_loss](logits, is_label)
        return self._scale(n_items) * loss

    def accuracy(self, logits, is_label):
        """Return the accuracy of a discriminator."""
        predicted = logits > _THRESHOLDS[self.adversarial_loss]
        return (predicted == is_label).to(logits.dtype).mean()

    def total(self, terms):
        """Return the weighted sum of terms."""
        return sum(self.weights[name] * term for name, term in terms.items())

    def _scale(self, n_terms):
        return n_terms if self.reduction == "sum" else 1


def label_network_loss(module, batch, state, *, bank, criterion):
    """Return the loss of the label network, and update the bank."""
    output = module["encoders"][LABEL].outputs(batch.y)
    bank.update(batch.rows, output)
    terms = criterion.pair_terms(output, batch.y, bank.content)
    terms |= criterion.own_terms(output, batch.y)
    return criterion.total(terms), terms


def encoder_loss(module, batch, state, *, modality, bank, criterion):
    """Return the loss of the encoder of a modality, all other networks held fixed.

    Parameters
    ----------
    bank : LabelBank
        Bank of the frozen label network.
    """
    output = cached_outputs(module, batch, modality, state)
    terms = criterion.pair_terms(output, batch.y, bank.content)
    terms |= criterion.own_terms(output, batch.y)
    if criterion.weights["adversarial_loss"]:
        discriminator = module["discriminators"][modality]
        logits = discriminator(output.feature, state.generator)
        terms["adversarial_loss"] = criterion.adversarial_term(
            logits, torch.ones_like(logits), len(logits)
        )
    return criterion.total(terms), terms


def discriminator_loss(module, batch, state, *, modality, criterion):
    """Return the loss of the discriminator of a modality, the encoders held fixed.

    It classifies the features of the labels of a batch and those of its items.
    """
    with torch.no_grad():
        real = module["encoders"][LABEL].body(batch.y)
    fake = cached_outputs(module, batch, modality, state).feature.detach()
    discriminator = module["discriminators"][modality]
    logits = discriminator(torch.cat([real, fake]), state.generator)
    is_label = torch.zeros_like(logits)
    is_label[: len(real)] = 1
    loss = criterion.adversarial_term(logits, is_label, len(fake))
    return loss, {"discriminator_accuracy": criterion.accuracy(logits, is_label)}


def cached_outputs(module, batch, modality, state):
    """Encode a batch once for the discriminator and the encoder.

    The encoder does not change between their steps, so that the graph in the cache is
    still valid when the encoder computes its gradients.
    """
    if modality not in batch.cache:
        network = module["encoders"][modality]
        X = batch.features[modality]
        batch.cache[modality] = network.outputs(X, state.generator)
    return batch.cache[modality]


def joint_loss(module, batch, state, *, criterion):
    """Return the loss of encoders that learn from each other on pairs."""
    outputs = [
        module["encoders"][modality].outputs(X, state.generator)
        for modality, X in batch.features.items()
    ]
    ones = torch.ones_like(batch.y[:, 0])
    terms: dict[str, torch.Tensor] = {}
    for output, other in combinations(outputs, 2):
        bank = Bank(other.feature, other.code, batch.y, ones)
        _add(terms, criterion.pair_terms(output, batch.y, bank))
    for output in outputs:
        _add(terms, criterion.own_terms(output, batch.y))
    return criterion.total(terms), terms


def _add(sums, terms):
    for name, term in terms.items():
        sums[name] = sums[name] + term if name in sums else term
