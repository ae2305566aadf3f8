"""Self-supervised adversarial hashing."""

# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import combinations, pairwise
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from sklearn_cmr._fitting import TrainingTask, device_of
from sklearn_cmr._inputs.labels import check_labels
from sklearn_cmr._unpaired import SeparateTrainingMixin
from sklearn_cmr.base import CrossModalTransformer, HasherMixin, LabelProbabilityMixin
from sklearn_cmr.metrics import mean_average_precision
from sklearn_cmr.nn.layers import MultiScale, ResponseNorm, dropout
from sklearn_cmr.nn.losses import bce_label_loss, quantization_loss
from sklearn_cmr.nn.pairwise import cosine_similarities, relevance
from sklearn_cmr.nn.regions import RegionPooling
from sklearn_cmr.training import (
    BatchIterator,
    Phase,
    Player,
    RowDataset,
    indicator_of,
    whole_dataset,
)

# The name by which labels are encoded.
_LABEL = "label"
# Standard deviation of all weights and biases with init="normal".
_INIT_STD = 0.01
# What rounding may take from the cosine of equal labels, which shall be 1.
_COSINE_EPS = 1e-5
# Rows that are encoded at once to refresh the bank, to validate or to unify codes.
_ROWS_AT_ONCE = 1024


# -- networks ----------------------------------------------------------------------


class Output(NamedTuple):
    """What a network says of a batch.

    Attributes
    ----------
    feature : tensor of shape (b, feature_dim)
        Semantic feature, not negative.

    code : tensor of shape (b, n_bits)
        Relaxed code in [-1, 1].

    logits : tensor of shape (b, n_classes)
        Of the labels.
    """

    feature: torch.Tensor
    code: torch.Tensor
    logits: torch.Tensor


class SemanticNetwork(nn.Module):
    """A body that gives a semantic feature, with a head for codes and one for labels.

    Parameters
    ----------
    body : torch.nn.Module

    feature_dim, n_bits, n_classes : int
    """

    def __init__(self, body, feature_dim, n_bits, n_classes):
        super().__init__()
        self.body = body
        self.code = nn.Linear(feature_dim, n_bits)
        self.labels = nn.Linear(feature_dim, n_classes)

    def forward(self, X):
        feature = self.body(X)
        return Output(feature, self.code(feature).tanh(), self.labels(feature))


class Discriminator(nn.Module):
    """Tell features of labels from those of a modality.

    Parameters
    ----------
    sizes : sequence of int
        Width of the input and of every hidden layer.

    p : float
        Dropout in the hidden layers.
    """

    def __init__(self, sizes, p):
        super().__init__()
        self.p = p
        self.hidden = nn.ModuleList(nn.Linear(*widths) for widths in pairwise(sizes))
        self.verdict = nn.Linear(sizes[-1], 1)

    def forward(self, X, generator):
        for layer in self.hidden:
            X = layer(X).relu()
            if self.p and self.training:
                X = dropout(X, self.p, generator)
        return self.verdict(X)


def make_body(sizes, normalized, first=()):
    """Build layers of ReLU units.

    Parameters
    ----------
    sizes : sequence of int
        Width of the input and of every layer.

    normalized : int
        Number of the layers, from the first, that :class:`ResponseNorm` follows.

    first : sequence of torch.nn.Module
        What comes before them.
    """
    layers = [*first]
    for i, widths in enumerate(pairwise(sizes)):
        layers += [nn.Linear(*widths), nn.ReLU()]
        if i < normalized:
            layers.append(ResponseNorm())
    return nn.Sequential(*layers)


def init_normal(module):
    """Draw the weights and biases of a linear layer as the published code does."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=_INIT_STD)
        nn.init.normal_(module.bias, std=_INIT_STD)


def freeze(network):
    """Keep the weights of a network from now on."""
    network.requires_grad_(False)


def is_frozen(network):
    """Tell whether :func:`freeze` was called."""
    return not next(network.parameters()).requires_grad


# -- losses ------------------------------------------------------------------------


class Bank(NamedTuple):
    """What a batch is compared with: rows of labels, and what stands for them.

    Attributes
    ----------
    feature, code : tensor of shape (k, feature_dim) and (k, n_bits)
        Constants where they come from the label network.

    y : tensor of shape (k, n_classes)

    counts : tensor of shape (k,)
        How often each row counts.
    """

    feature: torch.Tensor
    code: torch.Tensor
    y: torch.Tensor
    counts: torch.Tensor


def similarities(y, y_bank, kind):
    """Return how similar rows of labels are, in [0, 1].

    Parameters
    ----------
    y, y_bank : tensor of shape (b, n_classes) and (k, n_classes)

    kind : {"binary", "cosine"}
        1 for rows with a label in common, or the cosine of the indicators.
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
        Whether what is similar and what is not shall weigh the same, where there are
        both; a pair in between weighs in proportion.
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
    """Return the mean negative log-likelihood of similarities.

    Parameters
    ----------
    logits, S, weights : tensor of shape (b, k)
    """
    return F.binary_cross_entropy_with_logits(
        logits, S, weight=weights, reduction="sum"
    )


def squared_label_loss(logits, y):
    """Return the mean squared error of the sigmoids."""
    return F.mse_loss(logits.sigmoid(), y)


LABEL_LOSSES: dict[str, Callable] = {"bce": bce_label_loss, "mse": squared_label_loss}
VERDICT_LOSSES: dict[str, Callable] = {
    "bce": F.binary_cross_entropy_with_logits,
    "lsgan": F.mse_loss,
}
# Verdicts above are "label".
_THRESHOLDS = {"bce": 0.0, "lsgan": 0.5}


@dataclass(frozen=True)
class Criterion:
    """The terms that networks minimise, and their weights; see :class:`SSAHHasher`.

    Terms without a weight are left out.
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
        """Compare a batch with a bank."""
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
        """Judge the codes and the predicted labels of a batch."""
        terms = {}
        if self.weights["quantization_loss"]:
            scale = self._scale(output.code.numel())
            terms["quantization_loss"] = scale * quantization_loss(output.code)
        if self.weights["label_loss"]:
            label_loss = LABEL_LOSSES[self.label_loss](output.logits, y)
            terms["label_loss"] = self._scale(y.numel()) * label_loss
        return terms

    def verdict_loss(self, verdicts, is_label, n_items):
        """Compare verdicts with where the rows come, or shall seem to come, from.

        Parameters
        ----------
        verdicts : tensor of shape (b, 1)

        is_label : tensor of the same shape
            1 for labels, 0 for a modality.

        n_items : int
            By how much a sum over the batch is more than a mean.
        """
        loss = VERDICT_LOSSES[self.adversarial_loss](verdicts, is_label)
        return self._scale(n_items) * loss

    def accuracy(self, verdicts, is_label):
        """Return the share of right verdicts."""
        says_label = verdicts > _THRESHOLDS[self.adversarial_loss]
        return (says_label == is_label).to(verdicts.dtype).mean()

    def total(self, terms):
        """Return the weighted sum of terms."""
        return sum(self.weights[name] * term for name, term in terms.items())

    def _scale(self, n_terms):
        return n_terms if self.reduction == "sum" else 1


def network_of(module, modality):
    """Return the network that encodes a modality, or labels."""
    if modality == _LABEL:
        return module["label_network"]
    return module["networks"][modality]["encoder"]


def label_objective(module, batch, state, *, bank, criterion):
    """Return what the label network minimises."""
    output = module["label_network"](batch.y)
    bank.update(batch.rows, output)
    terms = criterion.pair_terms(output, batch.y, bank.content)
    terms |= criterion.own_terms(output, batch.y)
    return criterion.total(terms), terms


def encoder_objective(module, batch, state, *, modality, bank, criterion):
    """Return what the encoder of a modality minimises, all other networks held fixed.

    Parameters
    ----------
    bank : LabelBank
        Of the frozen label network.
    """
    output = encoded(module, batch, modality)
    terms = criterion.pair_terms(output, batch.y, bank.content)
    terms |= criterion.own_terms(output, batch.y)
    if criterion.weights["adversarial_loss"]:
        discriminator = module["networks"][modality]["discriminator"]
        verdicts = discriminator(output.feature, state.generator)
        terms["adversarial_loss"] = criterion.verdict_loss(
            verdicts, torch.ones_like(verdicts), len(verdicts)
        )
    return criterion.total(terms), terms


def discriminator_objective(module, batch, state, *, modality, criterion):
    """Return what the discriminator of a modality minimises, the networks held fixed.

    It tells the features of the labels of a batch from those of its items.
    """
    with torch.no_grad():
        real = module["label_network"].body(batch.y)
    fake = encoded(module, batch, modality).feature.detach()
    judge = module["networks"][modality]["discriminator"]
    verdicts = judge(torch.cat([real, fake]), state.generator)
    is_label = torch.zeros_like(verdicts)
    is_label[: len(real)] = 1
    loss = criterion.verdict_loss(verdicts, is_label, len(fake))
    return loss, {"discriminator_accuracy": criterion.accuracy(verdicts, is_label)}


def encoded(module, batch, modality):
    """Encode a batch once, although discriminator and encoder need it.

    Between their turns the encoder stays as it is, so that its gradients, which are
    left in what is shared, still hold.
    """
    if modality not in batch.shared:
        batch.shared[modality] = network_of(module, modality)(batch.features[modality])
    return batch.shared[modality]


def joint_objective(module, batch, state, *, criterion):
    """Return what encoders minimise that learn from each other on pairs."""
    outputs = [
        network_of(module, modality)(X) for modality, X in batch.features.items()
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


# -- the bank ----------------------------------------------------------------------


def count_label_rows(indicators):
    """Return the distinct rows of some indicators, and how often they count.

    A row counts as often as it occurs in the modality that has it most often: pairs
    count once, whether or not they are given as pairs.

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
    # Sorted as bits in words of 64: many times quicker than np.unique by rows.
    bits = np.packbits(stacked, axis=1)
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
    """Draw a sample of rows in which all kinds have their share, as near as may be.

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


class LabelBank:
    """What the label network says of all labels of the training set.

    Rows with equal labels are one row that counts as often.

    Parameters
    ----------
    indicators : list of uint8 ndarray of shape (n_samples, n_classes)
        Labels of each modality.

    size : int or None
        Number of rows of which the bank consists, if it has to be a sample.

    seed : int
        Of the sample.

    device : torch.device

    Attributes
    ----------
    dataset : RowDataset
        All rows of labels, to train the label network on.

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
        kept = sampled > 0
        # Rows out of the sample share one more place, which does not count.
        places = np.full(len(distinct), kept.sum())
        places[kept] = np.arange(kept.sum())
        self.places = torch.from_numpy(np.repeat(places, counts)).to(device)
        y = np.vstack([distinct[kept], np.zeros_like(distinct[:1])])
        self.y = torch.from_numpy(y).to(device, torch.float32)
        sampled = np.append(sampled[kept], 0)
        self.counts = torch.from_numpy(sampled).to(device, torch.float32)

    def refresh(self, module, state=None):
        """Encode all rows anew."""
        with torch.no_grad():
            chunks = map(module["label_network"], self.y.split(_ROWS_AT_ONCE))
            features, codes, _ = zip(*chunks, strict=True)
        self.content = Bank(torch.cat(features), torch.cat(codes), self.y, self.counts)

    def update(self, rows, output):
        """Write down what is now said of some rows of the data set."""
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


class Task(NamedTuple):
    """What the hasher learns from.

    Attributes
    ----------
    parts : dict of str to TrainingTask
        By modality; or one for all, if they learn from each other.

    seed : int

    paired : list of RowDataset or None
        All rows, if those of all modalities belong together.
    """

    parts: dict[str, TrainingTask]
    seed: int
    paired: list[RowDataset] | None


# -- the estimator -----------------------------------------------------------------


class SSAHHasher(
    HasherMixin, LabelProbabilityMixin, SeparateTrainingMixin, CrossModalTransformer
):
    r"""Self-supervised adversarial hashing (SSAH).

    Every modality has an encoder, and so have the labels: the *label network*. From
    its input an encoder makes a semantic feature :math:`F`, of units that are not
    negative, and from that a relaxed code :math:`H = \tanh(\cdot)` and the labels
    :math:`\hat L`. The label network is trained first, and with it its codes follow
    what the labels have in common. The other encoders then learn to agree with the
    features and codes that it gives to all labels of the training set; a
    discriminator for each, which learns to tell the features of a modality from those
    of labels, adds its gradients [1]_. As all of them learn from labels alone,
    modalities need labels, but no pairs; there may be any number of them, with any
    numbers of rows, and :meth:`add_modality` adds one later without a change to the
    others.

    With rows :math:`i` of labels in the *bank*, constants :math:`F_i^l` and
    :math:`H_i^l`, rows :math:`j` of the batch, logits
    :math:`\Delta_{ij} = \frac{1}{2} \langle F_i^l, F_j \rangle` and
    :math:`\Gamma_{ij} = \frac{1}{2} \langle H_i^l, H_j \rangle`, similarities
    :math:`S_{ij} \in [0, 1]` of labels and the discriminator :math:`D`, an encoder
    minimises

    .. math::

        L &= \alpha J_1 + \gamma J_2 + \eta J_3 + \beta J_4 + \delta A \\
        J_1 &= \operatorname{mean}_{ij} w_{ij} \left[ \log(1 + e^{\Delta_{ij}})
            - S_{ij} \Delta_{ij} \right] \\
        J_2 &= \operatorname{mean}_{ij} w_{ij} \left[ \log(1 + e^{\Gamma_{ij}})
            - S_{ij} \Gamma_{ij} \right] \\
        J_3 &= \operatorname{mean}_{jk} (H_{jk} - \operatorname{sign} H_{jk})^2 \\
        J_4 &= \operatorname{mean}_{jm} \operatorname{BCE}(\hat L_{jm}, L_{jm}) \\
        A &= \operatorname{mean}_j \operatorname{BCE}(D(F_j), 1)

    and the label network the same without :math:`A`. The discriminator minimises
    :math:`\frac{1}{2} \operatorname{mean}_j [ \operatorname{BCE}(D(F_j^l), 1) +
    \operatorname{BCE}(D(F_j), 0) ]`. The codes are the signs of :math:`H`, that of 0 is
    positive.

    Parameters
    ----------
    n_bits : int, default=32
        Bits of a code, at least 1.

    output : {"sign", "packed"}, default="sign"
        What :meth:`transform` returns: codes of -1 and +1 (int8), or their bits packed
        into bytes (uint8). :meth:`encode` has further forms.

    hidden_layer_sizes : tuple of int, or dict, default=(256,)
        Widths of the layers before the semantic feature, each followed by ReLU, of all
        modalities, or of each by its name: ``{"image": (...), "text": (...)}``.

    feature_dim : int, default=512
        Width of the semantic feature, at least 1.

    label_hidden_layer_sizes : tuple of int, default=()
        Widths of the layers before the semantic feature of the labels.

    discriminator_hidden_layer_sizes : tuple of int, default=(128,)
        Widths of the hidden layers of the discriminators.

    discriminator_dropout : float, default=0.0
        Share, in [0, 1), of the hidden units of a discriminator that are left out in
        training.

    text_fusion : {"auto"} or bool, default="auto"
        Whether copies of the texts, smoothed over windows of neighbouring columns, are
        put beside them. It suits counts of words in an order that means something.
        "auto" does so if the texts of :meth:`fit` are not negative and mostly 0.

    text_scales : tuple of int, default=(5, 10, 15, 30, 50)
        Widths of these windows. Those wider than the texts are left out.

    region_pooling : {"mean", "max", "flatten"}, default="mean"
        How one vector is made of the regions of an image. "flatten" keeps them apart,
        and needs as many in every call.

    init : {"default", "normal"}, default="default"
        Initial weights: torch's, or, with the biases, normal with a standard deviation
        of 0.01.

    lrn : bool, default=False
        Whether hidden layers of the label network, and all layers of the text's encoder
        up to the semantic feature, are followed by local response normalisation, here
        close to a division by 1.7.

    feature_weight : float, default=1.0
        Weight :math:`\alpha \geq 0` of the pairs of features.

    hash_weight : float, default=1.0
        Weight :math:`\gamma \geq 0` of the pairs of codes.

    quantization_weight : float, default=0.01
        Weight :math:`\eta \geq 0` of the distance to the signs. Near 1, codes turn into
        signs before they tell labels apart.

    label_weight : float, default=1.0
        Weight :math:`\beta \geq 0` of the label loss.

    adversarial_weight : float, default=0.01
        Weight :math:`\delta \geq 0` of the game against the discriminator; 0 leaves it
        out.

    reduction : {"mean", "sum"}, default="mean"
        Whether the terms are means, as above, or these times the number of their
        summands. Weights mean something else then.

    pair_weight : {"balanced"} or None, default="balanced"
        Weights :math:`w_{ij}` of the pairs. "balanced" multiplies those of similar
        pairs by the ratio of dissimilar to similar ones in the block of batch and
        bank, if it has both; None takes all pairs alike, as published.

    similarity : {"binary", "cosine"}, default="binary"
        :math:`S_{ij}` is 1 for rows with a common label, or the cosine of the label
        indicators.

    similarity_smoothing : float, default=0.0
        Share, in [0, 1), by which all :math:`S_{ij}` are reduced.

    normalize_features : bool, default=False
        Whether the features in :math:`\Delta` are scaled to the length
        :math:`\sqrt{n\_bits}`, that of a code.

    label_loss : {"bce", "mse"}, default="bce"
        Cross entropy or squared error of the predicted labels' sigmoids.

    adversarial_loss : {"bce", "lsgan"}, default="bce"
        Cross entropy of the sigmoids of the verdicts, or squared error of the verdicts
        themselves.

    self_supervision : bool, default=True
        Whether there is a label network. Without it, images and texts, which must be
        pairs, are compared with each other in the batch, and there is no game.

    schedule : {"distill", "alternate"}, default="distill"
        "distill" trains the label network, then keeps it and trains each modality,
        where discriminator and encoder take a step on every batch. "alternate" is the
        published loop of `n_rounds` rounds: label network, discriminators and encoders
        take turns of some passes each.

    n_rounds : int, default=3
        Rounds of "alternate", at least 1.

    label_passes : tuple of int, default=(10, 5)
        Passes over the labels in each stage of a round of "alternate". A stage ends
        before when the loss rises.

    encoder_passes : tuple of int, or dict, default=(15, 7, 5)
        The same for the encoders, or for each by the name of its modality.

    discriminator_passes : tuple of int, default=(1, 1)
        The same for the discriminators, which see all their passes through.

    lr : float or dict, default=2e-3
        Learning rate of the encoders, or of each by the name of its modality:
        ``{"image": 1e-4, "text": 1e-3}``. It may hold names of modalities to come.

    lr_label : float, default=3e-3
        Learning rate of the label network.

    lr_discriminator : float, default=None
        Learning rate of the discriminators; None takes `lr`.

    lr_decay : float, default=1.0
        What the learning rates of encoders and discriminators are multiplied with every
        `lr_decay_every` epochs, in (0, 1]; in round :math:`r` and stage :math:`s` of
        "alternate" all learning rates with its power :math:`r + s`, from 0.

    lr_decay_every : int, default=10
        Epochs between two decays, at least 1.

    bank_size : int, default=None
        Rows of labels that a batch is compared with: a random sample with every row of
        labels in its proportion. None takes all of them. As equal rows cost no more
        than one, only many combinations of labels call for a sample.

    missing_labels : {"raise", "drop"}, default="raise"
        What happens in :meth:`fit` to rows without a label, which are similar to
        nothing: an error, or a warning while they are left out.

    batch_size : int, default=128
        Rows in a batch.

    max_epochs : int, default=30
        Epochs for each modality with "distill".

    max_epochs_label : int, default=60
        Epochs of the label network with "distill". What it has not learned, no modality
        can learn from it.

    early_stopping : bool, default=False
        Whether to hold out rows of each modality, stop its training when their mAP no
        longer grows, and return to the weights of the best epoch. Held-out rows query
        the label network's codes of the labels of all training rows.

    validation_fraction : float, default=0.1
        Share of the rows to hold out, in (0, 1).

    n_iter_no_change : int, default=10
        Epochs without a better validation mAP before the training of a modality stops.

    tol : float, default=0.0
        What the validation mAP must grow by to count as better.

    warm_start : bool, default=False
        Whether :meth:`fit` continues with the modalities it gets, with the classes,
        widths and label network of the last call.

    random_state : int, RandomState instance or None, default=None
        Determines initial weights, held-out rows, batches, dropout and the sample of
        the bank. Pass an int for the same result in every call.

    verbose : int, default=0
        0 is silent, 1 shows a progress bar, 2 prints a line for every epoch.

    device : str or torch.device, default="auto"
        "auto" is CUDA if there is a GPU, else the CPU.

    callbacks : list of skorch callbacks, default=None
        Further callbacks. They are copied.

    n_image_features : int, default=None
        Number of leading image columns where a plain matrix holds both modalities;
        None takes half of the columns and warns.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted classes of all modalities, or the columns of the label indicator.

    modalities_ : tuple of str
        Names of the fitted modalities.

    train_codes_ : int8 ndarray of shape (n_samples, n_bits) or None
        One code of -1 and +1 for each pair that :meth:`fit` has learned from, without
        those dropped for want of labels: the signs of the sum of the relaxed codes of
        its modalities and labels. None if its rows were no pairs.

    text_fusion_ : bool
        Whether smoothed copies are put beside the texts.

    n_features_in_ : int
        Number of features of all modalities of :meth:`fit` together.

    n_image_features_in_, n_text_features_in_ : int
        Number of features of a modality; other ones have an attribute alike.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features. Only if all of them are strings.

    n_iter_ : int
        Number of epochs run, in all phases.

    history_ : list of dict
        For every epoch, averaged over its batches: `phase` ("label", then the name of
        each modality; with "alternate" also "{m}_discriminator"), `feature_loss`
        (:math:`J_1`), `hash_loss` (:math:`J_2`), `quantization_loss` (:math:`J_3`) and
        `label_loss` (:math:`J_4`); of a modality "{m}" also `adversarial_loss`
        (:math:`A`), `{m}_discriminator_loss` and `discriminator_accuracy`, the share of
        right verdicts, 0.5 where the discriminator is beaten; `train_loss`, also named
        by its network, `label_network_loss` or `{m}_encoder_loss`; `seconds`; and with
        `early_stopping` `valid_map` and `valid_loss`. Without `self_supervision`, the
        terms are sums over the modalities, and there is no `phase`.

    loss_curve_ : list of float
        `train_loss` of every epoch.

    module_ : torch.nn.ModuleDict
        "label_network", and "networks" by modality with their "encoder" and
        "discriminator".

    See Also
    --------
    DRCLProjector : A real-valued space, also without pairs.
    PairTransformer : Standardise, or otherwise prepare, each modality.

    Notes
    -----
    **Labels as queries.** ``transform_modality(y, "label")`` and ``encode(y, "label")``
    encode labels of any kind that :meth:`fit` takes.

    **Modalities by name.** ``fit({"image": A, "text": B, "audio": C}, labels)`` takes
    any names but "label", and one array of labels for all, or a mapping with labels for
    each; then the numbers of rows may differ. :meth:`transform` and :meth:`score` take
    a mapping with any of the fitted names, and :meth:`transform_modality` one of them.
    Labels that occur in several modalities count as often in the bank as in the one
    that has them most often, so that pairs give the same whether or not they are given
    as pairs. Tools for model selection slice the rows of pairs; these forms are for
    direct calls.

    **Images with regions.** An image may be a matrix: `X` of shape (n_samples,
    n_regions, n_features). Regions that are absent are NaN throughout, as
    ``np.where(mask[..., None], X, np.nan)`` makes them.

    **Balanced pairs** are a departure from the paper. Of ten classes, one pair in ten
    is similar, and all the others outvote it. Where the test split of real features
    queries the training split by codes of 32 bits (means of three seeds), the mAP of
    images and of texts as queries is 0.471 and 0.754 with "balanced", 0.447 and 0.714
    with None, on Wikipedia with ten classes; 0.542 and 0.729, or 0.527 and 0.680, on
    IAPR TC-12 with 291 labels. In shorter trainings the gap is wider.

    **The label network** bounds what the encoders can learn. Where `hash_loss` still
    falls at the end of its phase, as with many combinations of labels, more epochs of
    it are worth more than those of the encoders.

    **The game.** With features as different as those of labels and images, the
    discriminator hardly errs. A small `adversarial_weight` made no difference on the
    data above; from 0.03 on, it did harm.

    **Ablations** of the paper: ``self_supervision=False``, ``text_fusion=False``,
    ``adversarial_weight=0``, and each of the weights 0.

    **Published settings**, with the sums of the paper and the loop of the code [2]_::

        SSAHHasher(
            hidden_layer_sizes={"image": (), "text": (4096,)}, feature_dim=512,
            label_hidden_layer_sizes=(4096,), text_fusion=True, lrn=True, init="normal",
            discriminator_hidden_layer_sizes=(512, 256), quantization_weight=1e-4,
            label_weight=1e-4, adversarial_weight=1, reduction="sum", pair_weight=None,
            label_loss="mse", adversarial_loss="lsgan", schedule="alternate",
            lr={"image": 3.2e-5, "text": 3.2e-4}, lr_label=1e-2, lr_discriminator=1e-3,
            lr_decay=0.32, batch_size=128,
        )

    with the features of a convolutional network's last hidden layer as images and the
    counts of tags as texts.

    **Departures from that code.** There, the features that the discriminators see are
    constants, so that the encoders learn nothing from the game, while their steps move
    the discriminators the wrong way; the loss of pairs is squared; the bank starts as
    noise, and a pass, which replaces it, visits about two thirds of the rows; and the
    gains of the smoothed texts may start negative, which silences them for good. Here
    every pass visits every row once. The defaults are this package's own, for
    standardised features.

    References
    ----------
    .. [1] C. Li, C. Deng, N. Li, W. Liu, X. Gao, D. Tao. "Self-Supervised Adversarial
       Hashing Networks for Cross-Modal Retrieval". IEEE/CVF Conference on Computer
       Vision and Pattern Recognition, 4242-4251, 2018. :arxiv:`1804.01223`

    .. [2] https://github.com/lelan-li/SSAH

    Examples
    --------
    >>> from sklearn_cmr import SSAHHasher
    >>> from sklearn_cmr.datasets import make_cross_modal_classification
    >>> A, B, y = make_cross_modal_classification(300, n_classes=4, random_state=0)
    >>> ssah = SSAHHasher(
    ...     n_bits=16, hidden_layer_sizes=(64,), feature_dim=64, max_epochs=10,
    ...     random_state=0,
    ... ).fit(A[:200], B[:200], y[:200])
    >>> codes_img, codes_txt = ssah.transform(A[200:], B[200:])
    >>> codes_img.shape, codes_img.dtype
    ((100, 16), dtype('int8'))

    Labels can be queries as well, and codes be packed into bytes:

    >>> ssah.transform_modality(y[:5], "label").shape
    (5, 16)
    >>> ssah.encode(A[200:], "image", output="packed").shape
    (100, 2)
    """

    _network_parameters = (
        "hidden_layer_sizes",
        "label_hidden_layer_sizes",
        "discriminator_hidden_layer_sizes",
        "discriminator_dropout",
        "feature_dim",
        "text_fusion",
        "text_scales",
        "region_pooling",
        "lrn",
        "self_supervision",
    )
    _parameter_constraints: dict = {
        **HasherMixin._parameter_constraints,
        "feature_dim": [Interval(Integral, 1, None, closed="left")],
        "label_hidden_layer_sizes": ["array-like"],
        "discriminator_hidden_layer_sizes": ["array-like"],
        "discriminator_dropout": [Interval(Real, 0, 1, closed="left")],
        "text_fusion": ["boolean", StrOptions({"auto"})],
        "text_scales": ["array-like"],
        "region_pooling": [StrOptions({"mean", "max", "flatten"})],
        "init": [StrOptions({"default", "normal"})],
        "lrn": ["boolean"],
        "feature_weight": [Interval(Real, 0, None, closed="left")],
        "hash_weight": [Interval(Real, 0, None, closed="left")],
        "quantization_weight": [Interval(Real, 0, None, closed="left")],
        "label_weight": [Interval(Real, 0, None, closed="left")],
        "adversarial_weight": [Interval(Real, 0, None, closed="left")],
        "reduction": [StrOptions({"mean", "sum"})],
        "pair_weight": [StrOptions({"balanced"}), None],
        "similarity": [StrOptions({"binary", "cosine"})],
        "similarity_smoothing": [Interval(Real, 0, 1, closed="left")],
        "normalize_features": ["boolean"],
        "label_loss": [StrOptions(set(LABEL_LOSSES))],
        "adversarial_loss": [StrOptions(set(VERDICT_LOSSES))],
        "self_supervision": ["boolean"],
        "schedule": [StrOptions({"distill", "alternate"})],
        "n_rounds": [Interval(Integral, 1, None, closed="left")],
        "label_passes": ["array-like"],
        "encoder_passes": ["array-like", dict],
        "discriminator_passes": ["array-like"],
        "lr": [Interval(Real, 0, None, closed="neither"), dict],
        "lr_label": [Interval(Real, 0, None, closed="neither")],
        "lr_discriminator": [Interval(Real, 0, None, closed="neither"), None],
        "lr_decay": [Interval(Real, 0, 1, closed="right")],
        "lr_decay_every": [Interval(Integral, 1, None, closed="left")],
        "max_epochs_label": [Interval(Integral, 1, None, closed="left")],
        "bank_size": [Interval(Integral, 1, None, closed="left"), None],
        "missing_labels": [StrOptions({"raise", "drop"})],
    }

    _region_modalities = ("image",)

    def __init__(
        self,
        *,
        n_bits=32,
        output="sign",
        hidden_layer_sizes=(256,),
        feature_dim=512,
        label_hidden_layer_sizes=(),
        discriminator_hidden_layer_sizes=(128,),
        discriminator_dropout=0.0,
        text_fusion="auto",
        text_scales=(5, 10, 15, 30, 50),
        region_pooling="mean",
        init="default",
        lrn=False,
        feature_weight=1.0,
        hash_weight=1.0,
        quantization_weight=0.01,
        label_weight=1.0,
        adversarial_weight=0.01,
        reduction="mean",
        pair_weight="balanced",
        similarity="binary",
        similarity_smoothing=0.0,
        normalize_features=False,
        label_loss="bce",
        adversarial_loss="bce",
        self_supervision=True,
        schedule="distill",
        n_rounds=3,
        label_passes=(10, 5),
        encoder_passes=(15, 7, 5),
        discriminator_passes=(1, 1),
        lr=2e-3,
        lr_label=3e-3,
        lr_discriminator=None,
        lr_decay=1.0,
        lr_decay_every=10,
        bank_size=None,
        missing_labels="raise",
        batch_size=128,
        max_epochs=30,
        max_epochs_label=60,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        tol=0.0,
        warm_start=False,
        random_state=None,
        verbose=0,
        device="auto",
        callbacks=None,
        n_image_features=None,
    ):
        self.n_bits = n_bits
        self.output = output
        self.hidden_layer_sizes = hidden_layer_sizes
        self.feature_dim = feature_dim
        self.label_hidden_layer_sizes = label_hidden_layer_sizes
        self.discriminator_hidden_layer_sizes = discriminator_hidden_layer_sizes
        self.discriminator_dropout = discriminator_dropout
        self.text_fusion = text_fusion
        self.text_scales = text_scales
        self.region_pooling = region_pooling
        self.init = init
        self.lrn = lrn
        self.feature_weight = feature_weight
        self.hash_weight = hash_weight
        self.quantization_weight = quantization_weight
        self.label_weight = label_weight
        self.adversarial_weight = adversarial_weight
        self.reduction = reduction
        self.pair_weight = pair_weight
        self.similarity = similarity
        self.similarity_smoothing = similarity_smoothing
        self.normalize_features = normalize_features
        self.label_loss = label_loss
        self.adversarial_loss = adversarial_loss
        self.self_supervision = self_supervision
        self.schedule = schedule
        self.n_rounds = n_rounds
        self.label_passes = label_passes
        self.encoder_passes = encoder_passes
        self.discriminator_passes = discriminator_passes
        self.lr = lr
        self.lr_label = lr_label
        self.lr_discriminator = lr_discriminator
        self.lr_decay = lr_decay
        self.lr_decay_every = lr_decay_every
        self.bank_size = bank_size
        self.missing_labels = missing_labels
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.max_epochs_label = max_epochs_label
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.device = device
        self.callbacks = callbacks
        self.n_image_features = n_image_features

    # -- reading ---------------------------------------------------------------

    @property
    def _trains_apart(self):  # type: ignore[override]
        return self.self_supervision

    @property
    def _needs_same_regions(self):  # type: ignore[override]
        return self.region_pooling == "flatten"

    def _read_training_set(self, X, Y, y, *, reset):
        features, labels = super()._read_training_set(X, Y, y, reset=reset)
        if not self.self_supervision and not (labels.shared and len(features) > 1):
            raise ValueError(
                "self_supervision=False lets modalities learn from each other: it "
                "needs two or more whose rows are pairs, with one array of labels; got "
                f"{list(features)}"
                + ("." if labels.shared else " with labels of their own.")
            )
        if reset:
            fuses = self.text_fusion
            if fuses == "auto":
                fuses = "text" in features and has_counts(features["text"])
            self.text_fusion_ = bool(fuses)
        self.train_codes_ = None
        return features, labels

    def _read_modality(self, X, modality):
        if modality != _LABEL:
            return super()._read_modality(X, modality)
        if "label_network" not in self.module_:
            raise ValueError(
                "Labels cannot be encoded: self_supervision=False has no network for "
                "them."
            )
        return check_labels(X, self, classes=self.classes_).indicator

    # -- networks --------------------------------------------------------------

    def _build(self, n_features, n_classes):
        module = nn.ModuleDict()
        if self.self_supervision:
            module["label_network"] = self._build_encoder(_LABEL, n_classes)
            self._initialise(module["label_network"])
        module["networks"] = self._build_networks(n_features)
        return module

    def _build_network(self, modality, n_inputs):
        if modality == _LABEL:
            raise ValueError("'label' names the labels; choose another name.")
        self._learning_rate(modality)
        network = nn.ModuleDict({"encoder": self._build_encoder(modality, n_inputs)})
        if self.self_supervision:
            hidden = self._layer_sizes("discriminator_hidden_layer_sizes")
            network["discriminator"] = Discriminator(
                [self.feature_dim, *hidden], self.discriminator_dropout
            )
        self._initialise(network)
        return network

    def _initialise(self, network):
        if self.init == "normal":
            network.apply(init_normal)

    def _build_encoder(self, modality, n_inputs):
        first: list[nn.Module] = []
        normalized = 0
        if modality == _LABEL:
            hidden = self._layer_sizes("label_hidden_layer_sizes")
            normalized = len(hidden)
        else:
            hidden = self._layer_sizes("hidden_layer_sizes", modality)
        if modality in self._n_regions_in:
            first.append(RegionPooling(self.region_pooling))
            if self.region_pooling == "flatten":
                n_inputs *= self._n_regions_in[modality]
        if modality == "text":
            normalized = len(hidden) + 1
            if self.text_fusion_:
                block = MultiScale(n_inputs, self._layer_sizes("text_scales"))
                first.append(block)
                n_inputs = block.n_outputs
        sizes = [n_inputs, *hidden, self.feature_dim]
        body = make_body(sizes, normalized if self.lrn else 0, first)
        return SemanticNetwork(body, self.feature_dim, self.n_bits, len(self.classes_))

    # -- training --------------------------------------------------------------

    def _make_task(self, features, labels, device, seed):
        first, *_ = labels.parts.values()
        if self.self_supervision:
            parts = super()._make_task(features, labels, device, seed)
        elif self._validation_set[0] is not None:
            raise ValueError(
                "X_val and y_val are for modalities that are trained apart: set "
                "self_supervision=True, or leave them out, and validation_fraction of "
                "the pairs are held out."
            )
        elif labels.shared:
            make_one = super(SeparateTrainingMixin, self)._make_task
            parts = {"": make_one(features, first, device, seed)}
        else:
            raise ValueError(
                "add_modality needs a label network to learn from: fit with "
                "self_supervision=True."
            )
        paired = None
        if labels.shared:
            paired = [whole_dataset(part.dataset) for part in parts.values()]
        return Task(parts, seed, paired)

    def _objective(self, module, task):
        criterion = Criterion(
            weights={
                "feature_loss": self.feature_weight,
                "hash_loss": self.hash_weight,
                "quantization_loss": self.quantization_weight,
                "label_loss": self.label_weight,
                "adversarial_loss": self.adversarial_weight,
            },
            reduction=self.reduction,
            balanced=self.pair_weight == "balanced",
            similarity=self.similarity,
            similarity_smoothing=self.similarity_smoothing,
            feature_length=self.n_bits**0.5 if self.normalize_features else None,
            label_loss=self.label_loss,
            adversarial_loss=self.adversarial_loss,
        )
        if not (self.feature_weight or self.hash_weight or self.label_weight):
            raise ValueError(
                "nothing to learn from: one of feature_weight, hash_weight and "
                "label_weight must be > 0."
            )
        if not self.self_supervision:
            yield self._joint_phase(module, task.parts[""], criterion)
        else:
            indicators = [indicator_of(part.dataset) for part in task.parts.values()]
            bank = LabelBank(indicators, self.bank_size, task.seed, device_of(module))
            schedule = getattr(self, f"_{self.schedule}")
            yield from schedule(module, task.parts, bank, criterion)
            freeze(module["label_network"])
        if task.paired is not None:
            self.train_codes_ = self._unify(module, task.paired)

    def _distill(self, module, parts, bank, criterion):
        """Train the label network, then every modality to imitate it."""
        if not is_frozen(module["label_network"]):
            yield self._label_phase(
                module, bank, criterion, self.lr_label, self.max_epochs_label
            )
            freeze(module["label_network"])
        bank.refresh(module)
        for modality, part in parts.items():
            players = [self._encoder(module, modality, bank, criterion, self._decayed)]
            if self.adversarial_weight:
                players.append(
                    self._discriminator(module, modality, criterion, self._decayed)
                )
            yield part.make_phase(
                name=modality,
                players=players,
                # The encoder leads, but plays last.
                turns=[player.name for player in reversed(players)],
                **self._validated(modality, part, bank),
            )

    def _alternate(self, module, parts, bank, criterion):
        """Train the label network, discriminators and encoders by turns, in rounds."""
        label_passes = self._layer_sizes("label_passes")
        if is_frozen(module["label_network"]):
            label_passes = ()
        discriminator_passes = self._layer_sizes("discriminator_passes")
        if not self.adversarial_weight:
            discriminator_passes = ()
        encoder_passes = {m: self._layer_sizes("encoder_passes", m) for m in parts}
        for turn in range(self.n_rounds):
            for n_passes, slowed in self._stages(label_passes, turn):
                lr = slowed(self.lr_label)
                yield self._label_phase(
                    module, bank, criterion, lr, n_passes, stops_on_rise=True
                )
            bank.refresh(module)
            for modality, part in parts.items():
                for n_passes, slowed in self._stages(discriminator_passes, turn):
                    yield part.make_phase(
                        name=f"{modality}_discriminator",
                        players=[
                            self._discriminator(module, modality, criterion, slowed)
                        ],
                        max_epochs=n_passes,
                        dataset_valid=None,
                    )
                for n_passes, slowed in self._stages(encoder_passes[modality], turn):
                    yield part.make_phase(
                        name=modality,
                        players=[
                            self._encoder(module, modality, bank, criterion, slowed)
                        ],
                        max_epochs=n_passes,
                        stops_on_rise=True,
                        **self._validated(modality, part, bank),
                    )

    def _stages(self, passes, turn):
        """Pair the passes of each stage with what makes its learning rate."""
        for stage, n_passes in enumerate(passes):
            decay = self.lr_decay ** (turn + stage)
            yield n_passes, lambda lr, decay=decay: lr * decay

    def _decayed(self, lr):
        return lambda epoch: lr * self.lr_decay ** (epoch // self.lr_decay_every)

    def _label_phase(self, module, bank, criterion, lr, max_epochs, **options):
        parameters = list(module["label_network"].parameters())
        objective = partial(label_objective, bank=bank, criterion=criterion)
        return Phase(
            name=_LABEL,
            players=[Player("label_network", parameters, objective, lr)],
            dataset=bank.dataset,
            max_epochs=max_epochs,
            batch_size=self.batch_size,
            begin_epoch=bank.refresh,
            **options,
        )

    def _encoder(self, module, modality, bank, criterion, slowed):
        return Player(
            f"{modality}_encoder",
            list(network_of(module, modality).parameters()),
            partial(
                encoder_objective, modality=modality, bank=bank, criterion=criterion
            ),
            slowed(self._learning_rate(modality)),
        )

    def _discriminator(self, module, modality, criterion, slowed):
        discriminator = module["networks"][modality]["discriminator"]
        return Player(
            f"{modality}_discriminator",
            list(discriminator.parameters()),
            partial(discriminator_objective, modality=modality, criterion=criterion),
            slowed(self.lr_discriminator or self._learning_rate(modality)),
        )

    def _joint_phase(self, module, part, criterion):
        """Train all encoders together, without a label network."""
        if isinstance(self.lr, dict):
            raise ValueError(
                "lr must be a number with self_supervision=False, where one step moves "
                f"all networks; got {self.lr!r}."
            )
        parameters = list(module["networks"].parameters())
        objective = partial(joint_objective, criterion=criterion)
        validated = {}
        if part.dataset_valid is not None:
            y = indicator_of(part.dataset_valid)
            score = partial(self._valid_map, dataset=part.dataset_valid, y=y)
            validated = {"score_valid": score}
        lr = self._decayed(self.lr)
        return part.make_phase(
            players=[Player("encoders", parameters, objective, lr)], **validated
        )

    def _validated(self, modality, part, bank):
        """Return how held-out rows of a modality are judged, if there are any."""
        if part.dataset_valid is None:
            return {}
        y = indicator_of(part.dataset_valid)
        score = partial(
            self._label_map,
            modality=modality,
            dataset=part.dataset_valid,
            y=y,
            bank=bank,
        )
        return {"score_valid": score}

    def _label_map(self, module, modality, dataset, y, bank):
        """Let held-out rows query what stands for the labels of the training rows."""
        with torch.inference_mode():
            codes = torch.cat(
                [
                    self._encode(module, modality, batch.features[modality])
                    for batch in BatchIterator(dataset, _ROWS_AT_ONCE)
                ]
            )
        gallery, y_gallery = bank.expanded()
        return mean_average_precision(codes.cpu().numpy(), gallery, y, y_gallery)

    def _unify(self, module, datasets):
        """Return the signs of what the networks say together of pairs."""
        iterators = [BatchIterator(dataset, _ROWS_AT_ONCE) for dataset in datasets]
        signs = []
        with torch.inference_mode():
            for batches in zip(*iterators, strict=True):
                parts = {m: X for batch in batches for m, X in batch.features.items()}
                if self.self_supervision:
                    parts[_LABEL] = batches[0].y
                relaxed = (self._relaxed_codes(module, m, X) for m, X in parts.items())
                is_positive = sum(relaxed) >= 0
                signs.append(is_positive.to(torch.int8) * 2 - 1)
        return torch.cat(signs).cpu().numpy()

    # -- encoding --------------------------------------------------------------

    def _relaxed_codes(self, module, modality, X):
        return network_of(module, modality)(X).code

    def _label_probabilities(self, module, modality, X):
        if not any("label_loss" in row for row in self.history_):
            raise ValueError(
                "predict_proba needs heads for labels, which were left untrained: fit "
                "with label_weight > 0."
            )
        return network_of(module, modality)(X).logits.sigmoid()


def has_counts(X):
    """Tell whether features look like counts of words: not negative and mostly 0."""
    values = X.data if sparse.issparse(X) else X
    n_nonzero = np.count_nonzero(values)
    return bool((values >= 0).all() and 2 * n_nonzero < np.prod(X.shape))
