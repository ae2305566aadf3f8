"""Attention-aware deep adversarial hashing."""

# SPDX-License-Identifier: BSD-3-Clause

import math
import warnings
from contextlib import nullcontext
from functools import partial
from itertools import chain, permutations
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import nn
from torch.utils.data import Subset

from sklearn_cmr._unpaired import JointTrainingMixin, encode_rows
from sklearn_cmr.base import CrossModalTransformer, HasherMixin
from sklearn_cmr.nn.layers import make_mlp
from sklearn_cmr.nn.losses import quantization_loss
from sklearn_cmr.nn.pairwise import relevance, safe_sqrt, squared_distances
from sklearn_cmr.nn.regions import pool_regions, split_padding
from sklearn_cmr.nn.triplets import triplet_losses
from sklearn_cmr.training import (
    ClassBalanced,
    Player,
    indicator_of,
    joint_sampler,
    parts_of,
)
from sklearn_cmr.training.batches import shuffled

# What rounding may take from the logarithm of a probability.
_LOG_TOLERANCE = 1e-6
# Steepness of the soft mask.
_SOFT_SLOPE = 5.0
# Rows of each class that a class-balanced batch has.
_ROWS_OF_CLASS = 4
# Training rows that tell how unattended codes rank, where none are held out.
_JUDGED_ROWS = 256
# Share of rows in batches without a triplet from which on the user is told.
_MANY_WITHOUT_TRIPLET = 0.1

PARTS = ("attended", "unattended", "full")


# -- networks ----------------------------------------------------------------------


def attend(logits, present, threshold, gradient):
    """Choose what to attend to: what gets more than its share of the attention.

    Parameters
    ----------
    logits : tensor of shape (b, r)

    present : bool tensor of shape (b, r) or (1, r)
        Where there is something; each row has its own number of them, :math:`R`.

    threshold : float
        In units of the share :math:`1 / R`.

    gradient : {"ste", "ste_raw", "soft", None}
        None gives the mask of "ste" and "ste_raw" without a gradient.

    Returns
    -------
    probabilities : tensor of shape (b, r)
        0 where nothing is present.

    mask : tensor of shape (b, r)
        1 where attended, else 0; between them if `gradient` is "soft".
    """
    n_present = present.sum(1, keepdim=True)
    log_share = logits.masked_fill(~present, -math.inf).log_softmax(1)
    probabilities = log_share.exp()
    excess = n_present * probabilities - threshold
    if gradient == "soft":
        return probabilities, present * (_SOFT_SLOPE * excess).sigmoid()
    # As logarithms: in spite of rounding, equal probabilities must reach their share.
    over = log_share + n_present.log() - math.log(threshold)
    mask = over.detach().ge_(-_LOG_TOLERANCE)
    if gradient == "ste":
        passed = excess.clamp(-1, 1)
    elif gradient == "ste_raw":
        passed = probabilities - threshold / n_present
    else:
        return probabilities, mask
    return probabilities, mask + (passed - passed.detach())


class AttentionHash(nn.Module):
    """Feature, attention and hash network of one modality.

    Parameters
    ----------
    features : torch.nn.Module
        Applied to vectors, or to each region.

    attention : torch.nn.Module or None
        From the features to the logits: of their coordinates, or one of each region.

    hashing : torch.nn.Module
        From the masked features, pooled over the regions, to the relaxed code.

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
        """Return features, and which regions, or coordinates of all, there are."""
        if X.ndim == 2:
            f = self.features(X)
            return f, torch.ones_like(f[:1], dtype=torch.bool)
        X, present = split_padding(X)
        return self.features(X), present

    def attend(self, f, present):
        """Return probabilities and mask; see :func:`attend`."""
        gradient = None
        if self.training or self.soft_inference:
            gradient = self.gradient
        if gradient != "soft" and not torch.is_grad_enabled():
            gradient = None
        logits = self.attention(f)
        logits = logits.view(logits.shape[:2])
        return attend(logits, present, self.threshold, gradient)

    def mask(self, f, present):
        """Return the mask; all is attended where there is no attention network."""
        if self.attention is None:
            return present.to(f.dtype)
        return self.attend(f, present)[1]

    def select(self, f, mask):
        """Return what a mask selects, one vector for each item."""
        return f * mask if f.ndim == 2 else pool_regions(f, mask, self.pooling)

    def encode(self, f, mask):
        """Return the relaxed codes of what a mask selects."""
        return self.hashing(self.select(f, mask))

    def encode_both(self, f, mask, present):
        """Return the relaxed codes of the attended and the unattended part."""
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


# -- losses ------------------------------------------------------------------------


def euclidean(a, b):
    """Distances between codes, in units of that of opposite ones."""
    return safe_sqrt(squared_distances(a, b)) / (2 * math.sqrt(a.shape[-1]))


def sqeuclidean(a, b):
    """Squared distances between codes, in units of that of opposite ones."""
    return squared_distances(a, b) / (4 * a.shape[-1])


def common_labels(y, y_other):
    """Count the labels that rows share."""
    return y @ y_other.T


def squared_cosine(y, y_other):
    """Square of the cosine of the labels, times the number of those of `y`.

    For each row of `y` it orders the others as the cosine does. Being a ratio of whole
    numbers, it is the same for equal cosines, to the last bit.
    """
    return common_labels(y, y_other).square() / y_other.sum(1).clamp_min(1)


DISTANCES = {"euclidean": euclidean, "sqeuclidean": sqeuclidean}
SIMILARITIES = {
    "binary": relevance,
    "count": common_labels,
    "cosine": squared_cosine,
}


class Ranking(NamedTuple):
    """How codes are compared: the triplet losses of pairs of modalities."""

    distance: str
    similarity: str
    margin: float
    reduction: str

    def losses(self, batch, terms, wrong_order=False):
        """Return what :func:`triplet_losses` says of each term.

        Parameters
        ----------
        batch : Batch

        terms : list of tuple
            Modality and codes of the anchors, then of the items that they rank.

        wrong_order : bool
            Whether dissimilar items are to be nearer than similar ones.
        """
        anchors, codes, items, others = zip(*terms, strict=True)
        distances = DISTANCES[self.distance](torch.stack(codes), torch.stack(others))
        similar = SIMILARITIES[self.similarity]
        # Rows have the shape (b,) if they are pairs, (n_modalities, b) if not.
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
        for own, anchor, item in zip(candidates, anchors, items, strict=True):
            if anchor == item:
                own.copy_(rows[anchor].unsqueeze(1) != rows[item])
        return triplet_losses(
            distances,
            similarity,
            candidates,
            self.margin,
            self.reduction,
        )


def ranked_across(codes, others):
    """List the terms in which the codes of one modality rank those of another one."""
    return [
        (anchor, codes[anchor], item, others[item])
        for anchor, item in permutations(codes, 2)
        if item in others
    ]


def hashing_objective(module, batch, state, *, ranking, weights):
    """Return what feature and hash networks minimise; a weight of 0 leaves a term out.

    The masks are constants, unless there is no adversarial term: then the attention
    networks learn from the others, as they would not learn at all.
    """
    codes, unattended, terms = {}, {}, {}
    plays = weights["adversarial_loss"] > 0
    for modality, X in batch.features.items():
        network = module[modality]
        f, present = network.extract(X)
        mask = whole = present.to(f.dtype)
        if network.attention is not None:
            with torch.no_grad() if plays else nullcontext():
                mask = network.mask(f.detach(), present)
                terms[f"attended_fraction_{modality}"] = mask.mean() / whole.mean()
                masked = state.scalars["masked"]
                mask = mask * masked + whole * (1 - masked)
        if network.attention is not None and plays:
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


def attention_objective(module, batch, state, *, ranking, attention_loss, detach_query):
    """Return what the attention networks minimise: that unattended codes rank well."""
    codes, unattended = {}, {}
    for modality, X in batch.features.items():
        network = module[modality]
        with torch.no_grad():
            f, present = network.extract(X)
        mask = network.mask(f, present)
        if network.attention is not None:
            unattended[modality] = network.encode(f, present.to(f.dtype) - mask)
        with torch.no_grad() if detach_query else nullcontext():
            codes[modality] = network.encode(f, mask)
    terms = ranked_across(codes, unattended)
    flips = attention_loss == "flipped"
    losses, *_ = ranking.losses(batch, terms, wrong_order=flips)
    loss = 2 * losses.sum() / math.perm(len(codes), 2)
    return loss if flips else -loss, {}


# -- the estimator -----------------------------------------------------------------


class AADAHHasher(HasherMixin, JointTrainingMixin, CrossModalTransformer):
    r"""Attention-aware deep adversarial hashing (AADAH).

    Every modality has three networks. A feature network makes features of an item; an
    attention network divides them into an attended and an unattended part, by the
    regions of an image, or by coordinates where there are no regions; a hash network
    makes a code of each part. Feature and hash networks learn to rank items by their
    labels, with both parts. Attention networks learn to make the unattended part
    useless for that, so that what is informative comes to be attended. Only attended
    codes are used for retrieval [1]_.

    With features :math:`f` and the probabilities :math:`P = \operatorname{softmax}
    G(f)` of its :math:`R` regions or coordinates, the mask :math:`Z_r = [P_r \geq
    \alpha / R]` gives the relaxed codes :math:`H = \tanh D(Z f)` and :math:`U =
    \tanh D((1 - Z) f)`. Codes :math:`X` rank codes :math:`Y` by their distance
    :math:`d`, scaled to [0, 1], in all triplets of a batch in which :math:`i` and
    :math:`j` are more similar than :math:`i` and :math:`k`; with :math:`n` of them
    costing something,

    .. math::

        F(X, Y) = \frac{1}{n} \sum_{i, j, k \,:\, S_{ij} > S_{ik}}
            \max(0, \epsilon + d(x_i, y_j) - d(x_i, y_k)).

    Feature networks and hash networks take steps towards less

    .. math::

        L = \beta \sum_{A \neq B} F(H^A, H^B) + \gamma \sum_A F(H^A, H^A) +
            \delta L_{adv}, \qquad L_{adv} = \sum_{A \neq B} F(H^A, U^B)

    the masks held fixed. In every `attention_every`-th batch, the attention networks
    then take one towards more :math:`L_{adv}`, or towards less of the cost of the wrong
    order, the others held fixed. With more than two modalities, every sum is divided by
    the number of its pairs and multiplied by 2, so that the weights keep their meaning.

    Parameters
    ----------
    n_bits : int, default=32
        Length :math:`K` of the codes.

    hidden_layer_sizes : tuple of int, or dict, default=None
        Widths of the feature networks, each layer followed by ReLU, for all modalities
        or for each by its name: ``{"image": (...), "text": (...)}``. None takes
        ``(1024, 512)``, and ``(512,)`` for items with regions.

    hash_hidden_layer_sizes : tuple of int, or dict, default=None
        The same for the hidden layers of the hash networks. None takes ``(512,)`` for
        the image and no hidden layer for other modalities.

    use_attention : bool or tuple of str, default=True
        Whether to divide the features into an attended and an unattended part, or the
        modalities where to do so. False is plain hashing by triplets.

    attention_threshold : float, default=1.0
        Threshold :math:`\alpha > 0` of the probabilities, in units of :math:`1 / R`.
        Up to 1, something is attended in every item; above, maybe nothing.

    mask_gradient : {"ste", "ste_raw", "soft"}, default="ste"
        What stands for the derivative of the mask :math:`Z`:

        - "ste": that of :math:`R P`, where it is within 1 of the threshold;
        - "ste_raw": that of :math:`P`, smaller by a factor of :math:`R`;
        - "soft": that of :math:`Z = \sigma(5 (R P - \alpha))`, which is also the mask
          in training.

    mask_inference : {"hard", "same"}, default="hard"
        Mask of encoding where `mask_gradient` is "soft": 0 and 1, or as in training.

    region_pooling : {"mean", "sum", "flatten"}, default="mean"
        How the attended regions become the input of the hash network. "flatten"
        keeps their order and needs as many in all items.

    margin : float, default=0.1
        Margin :math:`\epsilon > 0` of the triplets, where the distance of opposite
        codes is 1.

    distance : {"euclidean", "sqeuclidean"}, default="euclidean"
        Distance :math:`d` of relaxed codes or its square, divided by the largest value.

    similarity : {"binary", "count", "cosine"}, default="binary"
        Similarity :math:`S` of labels: whether there is a common one, how many there
        are, or their cosine.

    inter_weight : float, default=1.0
        Weight :math:`\beta \geq 0` of ranking across the modalities.

    intra_weight : float, default=1.0
        Weight :math:`\gamma \geq 0` of ranking within each modality.

    adversarial_weight : float, default=1.0
        Weight :math:`\delta \geq 0` of ranking unattended codes. At 0 there is no
        game: the attention networks learn from the other terms.

    quantization_weight : float, default=0.0
        Weight :math:`\geq 0` of the mean of :math:`(h - \operatorname{sign} h)^2`.

    triplet_reduction : {"active", "valid", "sum"}, default="active"
        Whether a term is divided by the number :math:`n` of its triplets that cost
        something, by that of all its triplets, or not at all.

    attention_loss : {"flipped", "maximize"}, default="flipped"
        What the attention networks minimise: the cost of the wrong order in the ranking
        of the unattended codes, or the negative cost of the right one.

    detach_query : bool, default=True
        Whether the attended codes, which rank the unattended ones, are constants for
        the attention networks.

    sampler : {"shuffle", "class_balanced"}, default="shuffle"
        Batches of random rows, or of four rows each of random classes.

    attention_every : int, default=4
        The attention networks take a step in every so many-th batch.

    warmup_epochs : int, default=0
        Epochs at the start in which everything is attended.

    lr : float, default=3e-4
        Learning rate of Adam.

    lr_attention : float, default=2e-3
        That of the attention networks; None takes `lr`.

    lr_decay : float, default=1.0
        Factor in (0, 1] on the learning rates after every epoch.

    weight_decay : float, default=0.0
        Half of it times the squared weights is added to the losses.

    betas : tuple of 2 floats, default=(0.9, 0.999)
        Decay rates of Adam's moments, in [0, 1).

    batch_size : int, default=128
        Rows in a batch.

    max_epochs : int, default=50
        Passes over the training set.

    output : {"sign", "packed"}, default="sign"
        Codes of -1 and +1 (int8), or packed bits (uint8).

    early_stopping : bool, default=False
        Whether to hold out rows, stop when their mAP no longer grows, and return to
        the weights of the best epoch.

    validation_fraction : float, default=0.1
        Share of the rows to hold out, in (0, 1).

    n_iter_no_change : int, default=10
        Epochs without a better held-out mAP before training stops.

    tol : float, default=0.0
        What the held-out mAP must grow by to count as better.

    warm_start : bool, default=False
        Whether :meth:`fit` continues with the weights of the last call.

    random_state : int, RandomState instance or None, default=None
        Determines initial weights, held-out rows and batches. Pass an int for the same
        result in every call.

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
        Sorted classes, or the columns of the label indicator.

    modalities_ : tuple of str
        Names of the fitted modalities.

    n_features_in_ : int
        Number of features of all modalities together.

    n_image_features_in_, n_text_features_in_ : int
        Number of features of a modality; other ones have an attribute alike.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features. Only if all of them are strings.

    n_iter_ : int
        Number of epochs run.

    history_ : list of dict
        For every epoch, averaged over its batches: `inter_loss`, `intra_loss` and
        `adversarial_loss`, the sums above without their weights, `quantization_loss` if
        it has a weight, `train_loss`, their weighted sum, and `hashing_loss`, the same;
        `active_fraction`, the share of triplets that cost something; `attention_loss`,
        what the attention networks minimise, if they had a turn;
        `attended_fraction_image` and alike; `no_triplet`, the share of rows in batches
        without a triplet; `masked`, 0 in the warm-up and 1 after it; `unattended_map`,
        the mAP of attended codes that rank the unattended ones of another modality, on
        held-out rows or, without any, on up to 256 training rows; and `seconds`. With
        `early_stopping` also `valid_loss` and `valid_map`.

    loss_curve_ : list of float
        `train_loss` of every epoch.

    module_ : torch.nn.ModuleDict
        By modality, its networks `features`, `attention` and `hashing`.

    See Also
    --------
    DRCLProjector : Real-valued embeddings, likewise without pairs.
    PairTransformer : Standardise, or otherwise prepare, each modality.

    Notes
    -----
    **Regions.** Image features may have the shape (n_samples, n_regions, n_features).
    Where items have different numbers of them, the absent ones are NaN throughout:
    ``np.where(present[..., None], X, np.nan)``. They change nothing, and :math:`R` is
    each item's own number. The attention of 2-D features, of any modality, is to the
    coordinates of the last hidden layer.

    **Without pairs.** Triplets need labels only. ``fit({"image": A, "text": B},
    {"image": ya, "text": yb})`` takes modalities with rows of their own, of any number,
    and draws them independently of each other; with one array of labels for all, the
    rows are pairs, or tuples of more modalities. The pair is the most informative
    positive: where there are pairs, use them. Tools for model selection slice the rows
    of pairs; these forms are for direct calls.

    **What to look at.** `unattended_map` should fall towards the mAP of a random
    ranking, while `attended_fraction_image` and alike stay well below 1. With "active",
    a loss is the mean cost of what is still wrong, and need not fall: `active_fraction`
    does. Divided by all triplets instead, the game has less and less weight as they
    come right, and more stays in the unattended part.

    **Triplets** are never listed. Costs and gradients of a batch of size :math:`b`
    follow from :math:`b` sorted rows of distances, in memory of order :math:`b^2`; only
    the similarities "count" and "cosine" take time of order :math:`b^3`, in a bounded
    memory. An anchor does not rank itself within its modality. With many labels of few
    rows, most anchors of a random batch have no positive but their partner:
    ``sampler="class_balanced"``.

    **The game of the paper**, literally::

        AADAHHasher(
            attention_loss="maximize", detach_query=False, triplet_reduction="sum",
            mask_gradient="ste_raw",
        )

    Widths, margin and training settings of the paper are not known: the defaults are
    this package's own. So is the scale of the distances, by which one margin serves
    codes of any length. Its convolutional networks are not included: features are what
    an image or a text network has extracted.

    References
    ----------
    .. [1] X. Zhang, H. Lai, J. Feng. "Attention-aware Deep Adversarial Hashing for
       Cross-Modal Retrieval". European Conference on Computer Vision, 2018, 591-606.
       :doi:`10.48550/arXiv.1711.09347`

    Examples
    --------
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn_cmr import AADAHHasher
    >>> from sklearn_cmr.datasets import make_cross_modal_classification
    >>> data = make_cross_modal_classification(300, n_classes=4, random_state=0)
    >>> A, A_test, B, B_test, y, y_test = train_test_split(*data, random_state=0)
    >>> aadah = AADAHHasher(n_bits=16, max_epochs=20, random_state=0).fit(A, B, y)
    >>> codes_img, codes_txt = aadah.transform(A_test, B_test)
    >>> codes_img.shape, codes_img.dtype
    ((75, 16), dtype('int8'))
    >>> print(f"{aadah.score(A_test, B_test, y_test):.1f}")
    0.9
    >>> aadah.encode(A_test, "image", output="packed").shape
    (75, 2)
    >>> P, Z = aadah.attention(A_test, modality="image")
    >>> P.shape, Z.dtype
    ((75, 512), dtype('bool'))
    """

    _parameter_constraints: dict = {
        **HasherMixin._parameter_constraints,
        "hidden_layer_sizes": ["array-like", dict, None],
        "hash_hidden_layer_sizes": ["array-like", dict, None],
        "use_attention": ["boolean", "array-like"],
        "attention_threshold": [Interval(Real, 0, None, closed="neither")],
        "mask_gradient": [StrOptions({"ste", "ste_raw", "soft"})],
        "mask_inference": [StrOptions({"hard", "same"})],
        "region_pooling": [StrOptions({"mean", "sum", "flatten"})],
        "margin": [Interval(Real, 0, None, closed="neither")],
        "distance": [StrOptions(set(DISTANCES))],
        "similarity": [StrOptions(set(SIMILARITIES))],
        "inter_weight": [Interval(Real, 0, None, closed="left")],
        "intra_weight": [Interval(Real, 0, None, closed="left")],
        "adversarial_weight": [Interval(Real, 0, None, closed="left")],
        "quantization_weight": [Interval(Real, 0, None, closed="left")],
        "triplet_reduction": [StrOptions({"valid", "active", "sum"})],
        "attention_loss": [StrOptions({"flipped", "maximize"})],
        "detach_query": ["boolean"],
        "sampler": [StrOptions({"shuffle", "class_balanced"})],
        "attention_every": [Interval(Integral, 1, None, closed="left")],
        "warmup_epochs": [Interval(Integral, 0, None, closed="left")],
        "lr_attention": [Interval(Real, 0, None, closed="neither"), None],
        "lr_decay": [Interval(Real, 0, 1, closed="right")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "betas": ["array-like"],
    }
    _region_modalities = ("image",)
    _network_parameters = (
        "hidden_layer_sizes",
        "hash_hidden_layer_sizes",
        "use_attention",
        "attention_threshold",
        "mask_gradient",
        "mask_inference",
        "region_pooling",
    )

    def __init__(
        self,
        *,
        n_bits=32,
        hidden_layer_sizes=None,
        hash_hidden_layer_sizes=None,
        use_attention=True,
        attention_threshold=1.0,
        mask_gradient="ste",
        mask_inference="hard",
        region_pooling="mean",
        margin=0.1,
        distance="euclidean",
        similarity="binary",
        inter_weight=1.0,
        intra_weight=1.0,
        adversarial_weight=1.0,
        quantization_weight=0.0,
        triplet_reduction="active",
        attention_loss="flipped",
        detach_query=True,
        sampler="shuffle",
        attention_every=4,
        warmup_epochs=0,
        lr=3e-4,
        lr_attention=2e-3,
        lr_decay=1.0,
        weight_decay=0.0,
        betas=(0.9, 0.999),
        batch_size=128,
        max_epochs=50,
        output="sign",
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
        self.hidden_layer_sizes = hidden_layer_sizes
        self.hash_hidden_layer_sizes = hash_hidden_layer_sizes
        self.use_attention = use_attention
        self.attention_threshold = attention_threshold
        self.mask_gradient = mask_gradient
        self.mask_inference = mask_inference
        self.region_pooling = region_pooling
        self.margin = margin
        self.distance = distance
        self.similarity = similarity
        self.inter_weight = inter_weight
        self.intra_weight = intra_weight
        self.adversarial_weight = adversarial_weight
        self.quantization_weight = quantization_weight
        self.triplet_reduction = triplet_reduction
        self.attention_loss = attention_loss
        self.detach_query = detach_query
        self.sampler = sampler
        self.attention_every = attention_every
        self.warmup_epochs = warmup_epochs
        self.lr = lr
        self.lr_attention = lr_attention
        self.lr_decay = lr_decay
        self.weight_decay = weight_decay
        self.betas = betas
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.output = output
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

    # -- encoding --------------------------------------------------------------

    def encode(self, X, modality, *, part="attended", output="sign"):
        """Encode one modality alone, in the form that is asked for.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features), \
                or array-like of shape (n_samples, n_regions, n_features)
            Features of that modality.

        modality : str
            Its name, such as ``"image"`` or ``"text"``.

        part : {"attended", "unattended", "full"}, default="attended"
            Which part of the features to encode. Retrieval uses the attended codes;
            unattended ones should tell nothing.

        output : {"sign", "bool", "packed", "real"}, default="sign"
            Codes of -1 and +1 (int8), of False and True, as packed bits (uint8, the
            first bit the most significant one, padded with 0 to whole bytes), or the
            real values in [-1, 1] whose signs they are (float32).

        Returns
        -------
        codes : ndarray of shape (n_samples, n_bits), or (n_samples, ceil(n_bits / 8))

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the features are not those of the fit, if `part` or `output` is unknown,
            or if the modality has no unattended part.
        """
        check_is_fitted(self)
        if part not in PARTS:
            raise ValueError(f"part must be one of {list(PARTS)}, got {part!r}.")
        X = self._read_modality(X, modality)
        if part == "unattended":
            self._check_attention(modality)
        return self._encode_as(
            output, partial(self._relaxed_codes, part=part), modality, X
        )

    def attention(self, X, modality):
        """Return how much attention the regions or coordinates of one modality get.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features), \
                or array-like of shape (n_samples, n_regions, n_features)
            Features of that modality.

        modality : str
            Its name, such as ``"image"`` or ``"text"``.

        Returns
        -------
        probabilities : float32 ndarray of shape (n_samples, n_regions), or \
                (n_samples, n_hidden)
            The share :math:`P` of each region, 0 where it is absent; of items without
            regions, that of each coordinate of the last layer of the feature network.

        mask : ndarray of the same shape
            What is attended: booleans, or float32 weights in [0, 1] if both
            ``mask_gradient="soft"`` and ``mask_inference="same"``.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the features are not those of the fit, or if there is no attention in
            that modality.
        """
        check_is_fitted(self)
        X = self._read_modality(X, modality)
        self._check_attention(modality)
        both = self._apply_in_blocks(_attention, modality, X)
        mask = both[:, 1]
        if not self.module_[modality].soft_inference:
            mask = mask.astype(bool)
        return both[:, 0], mask

    def _check_attention(self, modality):
        if self.module_[modality].attention is None:
            raise ValueError(
                f"There is no attention in the {modality} features: all is attended. "
                "Fit with use_attention=True."
            )

    def _relaxed_codes(self, module, modality, X, part="attended"):
        return module[modality](X, part)

    @property
    def _needs_same_regions(self):  # type: ignore[override]
        return self.region_pooling == "flatten"

    # -- networks --------------------------------------------------------------

    def _build(self, n_features, n_classes):
        if len(n_features) < 2:
            raise ValueError(
                "there is nothing to rank across: X must have two modalities or more, "
                f"got {list(n_features)}."
            )
        attended = self._attended_modalities(list(n_features))
        return nn.ModuleDict(
            {
                name: self._build_network(name, n_inputs, name in attended)
                for name, n_inputs in n_features.items()
            }
        )

    def _attended_modalities(self, modalities):
        if isinstance(self.use_attention, (bool, np.bool_)):
            return modalities if self.use_attention else []
        named = np.atleast_1d(self.use_attention).tolist()
        if not set(named) <= set(modalities):
            raise ValueError(
                "use_attention must be True, False, or some of the modalities "
                f"{modalities}; got {self.use_attention!r}."
            )
        return named

    def _build_network(self, modality, n_inputs, is_attended):
        n_regions = self._n_regions_in.get(modality)
        if n_regions == 1 and is_attended:
            raise ValueError(
                f"The {modality} features have one region in each item: there is "
                "nothing to choose from. Pass them without regions, X[:, 0], or leave "
                "the modality out of use_attention."
            )
        widths = (1024, 512) if n_regions is None else (512,)
        if self.hidden_layer_sizes is not None:
            widths = self._layer_sizes("hidden_layer_sizes", modality)
        hash_widths = (512,) if modality == "image" else ()
        if self.hash_hidden_layer_sizes is not None:
            hash_widths = self._layer_sizes("hash_hidden_layer_sizes", modality)
        relu = {"activation": "relu", "output_activation": "relu"}
        features: nn.Module = nn.Identity()
        if widths:
            features = make_mlp([n_inputs, *widths], **relu)
        width = n_hashed = [n_inputs, *widths][-1]
        if n_regions is not None and self.region_pooling == "flatten":
            n_hashed = width * n_regions
        attention = None
        if is_attended:
            attention = nn.Linear(width, width if n_regions is None else 1)
        hashing = make_mlp(
            [n_hashed, *hash_widths, self.n_bits],
            activation="relu",
            output_activation="tanh",
        )
        return AttentionHash(
            features,
            attention,
            hashing,
            pooling=self.region_pooling,
            threshold=self.attention_threshold,
            gradient=self.mask_gradient,
            inference=self.mask_inference,
        )

    # -- training --------------------------------------------------------------

    def _objective(self, module, task):
        ranking = Ranking(
            self.distance, self.similarity, self.margin, self.triplet_reduction
        )
        weights = {
            "inter_loss": self.inter_weight,
            "intra_loss": self.intra_weight,
            "adversarial_loss": self.adversarial_weight,
            "quantization_loss": self.quantization_weight,
        }
        learned = dict(module.named_parameters())
        of_attention = [p for name, p in learned.items() if ".attention." in name]
        others = [p for name, p in learned.items() if ".attention." not in name]
        has_game = bool(of_attention and self.adversarial_weight)
        if not (self.inter_weight or self.intra_weight or has_game):
            raise ValueError(
                "nothing to learn: inter_weight, intra_weight, or adversarial_weight "
                "with use_attention, must be > 0."
            )
        objective = partial(hashing_objective, ranking=ranking, weights=weights)
        moved = others if has_game else others + of_attention
        players = [self._player("hashing", moved, objective, self.lr)]
        if has_game:
            objective = partial(
                attention_objective,
                ranking=ranking,
                attention_loss=self.attention_loss,
                detach_query=self.detach_query,
            )
            lr = self.lr if self.lr_attention is None else self.lr_attention
            turns = {"every": self.attention_every, "begins": self.warmup_epochs}
            players.append(
                self._player("attention", of_attention, objective, lr, **turns)
            )
        phase = task.make_phase(
            players=players,
            sampler=joint_sampler(task.dataset, self._make_sampler),
            schedule=self._mask_schedule,
            min_batch_size=2,
        )
        if of_attention:
            if task.dataset_valid is None:
                judged = {m: _spread(own) for m, own in parts_of(task.dataset).items()}
            else:
                judged = parts_of(task.dataset_valid)
            phase.end_epoch = partial(self._judge_unattended, datasets=judged)
        return [phase]

    def _judge_unattended(self, module, state, datasets):
        """Return the mAP of attended codes that rank the unattended ones."""
        queries, gallery = {}, {}
        for name, dataset in datasets.items():
            codes = encode_rows(module, _encode_both, name, dataset)
            queries[name] = codes[:, 0]
            if module[name].attention is not None:
                gallery[name] = codes[:, 1]
        y = {name: indicator_of(dataset) for name, dataset in datasets.items()}
        return {"unattended_map": self._mean_map_across(queries, gallery, y)}

    def _player(self, name, parameters, objective, lr, **options):
        return Player(
            name,
            parameters,
            objective,
            lambda epoch: lr * self.lr_decay**epoch,
            self.betas,
            weight_decay=self.weight_decay,
            **options,
        )

    def _mask_schedule(self, epoch):
        return {"masked": float(epoch >= self.warmup_epochs)}

    def _make_sampler(self, dataset):
        if self.sampler == "shuffle":
            return shuffled
        indicator = indicator_of(dataset)
        if (indicator.sum(axis=1) != 1).any():
            raise ValueError(
                "sampler='class_balanced' needs exactly one label for each row. Use "
                "sampler='shuffle'."
            )
        n_rows_each = min(_ROWS_OF_CLASS, max(1, self.batch_size // 2))
        return ClassBalanced(indicator.argmax(axis=1), n_rows_each)

    def _review_history(self):
        shares = [row["no_triplet"] for row in self.history_ if "no_triplet" in row]
        share = np.mean(shares or 0)
        if share > _MANY_WITHOUT_TRIPLET:
            warnings.warn(
                f"{share:.0%} of the rows were in batches without any triplet, from "
                "which nothing is learned: their items are all similar to one another, "
                "or all dissimilar. Raise batch_size, use fewer but more specific "
                "labels, or similarity='count', which also tells how similar items "
                "are.",
                ConvergenceWarning,
                stacklevel=2,
            )


def _attention(module, modality, X):
    """Return probabilities and mask of a batch as one tensor."""
    network = module[modality]
    return torch.stack(network.attend(*network.extract(X)), 1)


def _encode_both(module, modality, X):
    """Return attended and unattended codes of a batch as one tensor."""
    network = module[modality]
    f, present = network.extract(X)
    both = network.encode_both(f, network.mask(f, present), present)
    return (torch.stack(both, 1) >= 0).to(torch.int8) * 2 - 1


def _spread(dataset):
    """Return a subset of evenly spaced rows."""
    n_rows = len(dataset)
    rows = np.linspace(0, n_rows - 1, min(n_rows, _JUDGED_ROWS)).astype(int)
    return Subset(dataset, rows.tolist())
