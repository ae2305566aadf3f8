"""Adversarial cross-modal retrieval."""

# SPDX-License-Identifier: BSD-3-Clause

import math
import warnings
from functools import partial
from numbers import Integral, Real

import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from sklearn_cmr.base import (
    CrossModalTransformer,
    LabelProbabilityMixin,
    ProjectorMixin,
)
from sklearn_cmr.nn.layers import ACTIVATIONS, make_mlp
from sklearn_cmr.nn.losses import LABEL_LOSSES
from sklearn_cmr.nn.pairwise import (
    cosine_similarities,
    masked_mean,
    masked_row_means,
    relevance,
    root,
    squared_distances,
)
from sklearn_cmr.training import Player

# The modality classifier counts as unbeaten above this accuracy, after so many epochs.
_UNBEATEN_ACCURACY = 0.999
_UNBEATEN_EPOCHS = 5


def sample_triplets(sampling, relevant, squared, input_cosines, generator):
    """Choose the positives and negatives of every anchor.

    Parameters
    ----------
    sampling : {"all", "hard", "hard_input", "random"}

    relevant : bool tensor of shape (b, b)
        Whether an anchor (row) shares a label with an item of the other modality. Row
        and column `i` are a pair.

    squared : tensor of shape (b, b)
        Squared distances from the anchors in the common space.

    input_cosines : tensor of shape (b, b)
        Cosines between the input features of the anchors' modality.

    generator : torch.Generator

    Returns
    -------
    positive, negative : bool tensor of shape (b, b)
        An anchor without a negative in the batch has an empty row in `negative`.
    """
    if sampling == "all":
        return relevant, ~relevant
    positive = torch.eye(len(relevant), dtype=torch.bool, device=relevant.device)
    if sampling == "random":
        positive = _best(_noise(squared, generator), relevant)
        closeness = _noise(squared, generator)
    else:
        closeness = -squared.detach() if sampling == "hard" else input_cosines
    return positive, _best(closeness, ~relevant)


def _noise(like, generator):
    return torch.rand(like.shape, generator=generator, device=like.device)


def _best(values, allowed):
    """Mark the largest allowed value of every row, if any is allowed."""
    best = values.masked_fill(~allowed, -math.inf).argmax(1, keepdim=True)
    return torch.zeros_like(allowed).scatter(1, best, True) & allowed


def triplet_loss(form, squared, positive, negative, *, margin, neg_weight):
    """Structure preservation for the anchors of one modality.

    Parameters
    ----------
    form : {"paper", "ranking", "contrastive"}

    squared : tensor of shape (b, b)
        Squared distances from the anchors (rows) to the items of the other modality.

    positive, negative : bool tensor of shape (b, b)

    margin, neg_weight : float

    Returns
    -------
    loss : 0-d tensor
        Anchors without a negative are left out of the mean over negatives.
    """
    if form == "ranking":
        near, _ = masked_row_means(squared / 2, positive)
        far, has_negative = masked_row_means(squared / 2, negative)
        return masked_mean(F.relu(margin + near / neg_weight - far), has_negative)
    if form == "contrastive":
        near, distances = squared.diagonal().mean(), squared
    else:
        distances = root(squared)
        near = masked_row_means(distances, positive)[0].mean()
    hinges, has_negative = masked_row_means(F.relu(margin - distances), negative)
    return near + neg_weight * masked_mean(hinges, has_negative)


def weight_norms(networks):
    """Sum the Frobenius norms of the weight matrices of some networks."""
    norms = [
        layer.weight.norm()
        for network in networks
        for layer in network
        if isinstance(layer, nn.Linear)
    ]
    return torch.stack(norms).sum()


def domain_loss(domain, z):
    """Cross entropy of the modality classifier, summed over both modalities.

    Parameters
    ----------
    domain : callable
        Maps embeddings to two logits.

    z : tensor of shape (2 * b, m)
        Image embeddings, then text embeddings.

    Returns
    -------
    loss : 0-d tensor

    accuracy : 0-d tensor
    """
    logits = domain(z)
    is_text = torch.arange(len(z), device=z.device) >= len(z) // 2
    accuracy = (logits[:, 1] > logits[:, 0]).eq(is_text).float().mean()
    return 2 * F.cross_entropy(logits, is_text.long()), accuracy


def projector_objective(
    module,
    batch,
    state,
    *,
    alpha,
    beta,
    margin,
    neg_weight,
    reg,
    adv_weight,
    triplet_form,
    triplet_sampling,
    label_loss,
):
    """What projectors and label classifier minimise: embedding minus adversarial loss.

    Subtracting the adversarial loss, with the modality classifier held fixed, gives
    the projectors the gradient of a gradient reversal layer.
    """
    images, texts = batch.features["image"], batch.features["text"]
    z_img, z_txt = module["image"](images), module["text"](texts)
    z = torch.cat([z_img, z_txt])
    batch.shared["z"] = z.detach()

    relevant = relevance(batch.y, batch.y)
    squared = squared_distances(z_img, z_txt)
    triplet = 0.0
    for from_anchors, inputs in ((squared, images), (squared.T, texts)):
        needs_inputs = triplet_sampling == "hard_input"
        cosines = cosine_similarities(inputs, inputs) if needs_inputs else None
        positive, negative = sample_triplets(
            triplet_sampling, relevant, from_anchors, cosines, state.generator
        )
        triplet = triplet + triplet_loss(
            triplet_form,
            from_anchors,
            positive,
            negative,
            margin=margin,
            neg_weight=neg_weight,
        )
    # Twice the mean over both modalities is the sum of the two means.
    label = 2 * label_loss(module["classifier"](z), batch.y.repeat(2, 1))
    adversarial, _ = domain_loss(module["domain"], z)

    loss = alpha * triplet + beta * label
    if reg is not None:
        loss = loss + reg * weight_norms([module["image"], module["text"]])
    terms = {"triplet_loss": triplet, "label_loss": label, "embedding_loss": loss}
    reversal = adv_weight * state.scalars["grl_coefficient"]
    return loss - reversal * adversarial, terms


def domain_objective(module, batch, state):
    """What the modality classifier minimises, the embeddings held fixed."""
    loss, accuracy = domain_loss(module["domain"], batch.shared["z"])
    return loss, {"domain_accuracy": accuracy}


class ACMRProjector(LabelProbabilityMixin, ProjectorMixin, CrossModalTransformer):
    r"""Adversarial cross-modal retrieval (ACMR).

    TODO.
    """

    _parameter_constraints: dict = {
        **CrossModalTransformer._parameter_constraints,
        **ProjectorMixin._parameter_constraints,
        "activation": [StrOptions(set(ACTIVATIONS))],
        "init": [StrOptions({"glorot", "default"})],
        "domain_hidden_layer_sizes": ["array-like"],
        "domain_activation": [StrOptions(set(ACTIVATIONS))],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "beta": [Interval(Real, 0, None, closed="left")],
        "margin": [Interval(Real, 0, None, closed="left")],
        "neg_weight": [Interval(Real, 0, None, closed="left")],
        "reg": [Interval(Real, 0, None, closed="left")],
        "adv_weight": [Interval(Real, 0, None, closed="left")],
        "triplet_form": [StrOptions({"paper", "ranking", "contrastive"})],
        "triplet_sampling": [StrOptions({"all", "hard", "hard_input", "random"})],
        "label_loss": [StrOptions({"auto", *LABEL_LOSSES})],
        "grl_schedule": [StrOptions({"sigmoid"}), Interval(Real, 0, None, closed="left")],
        "grl_gamma": [Interval(Real, 0, None, closed="neither")],
        "n_projector_steps": [Interval(Integral, 1, None, closed="left")],
        "lr_domain": [Interval(Real, 0, None, closed="neither"), None],
        "betas": ["array-like"],
    }

    def __init__(
        self,
        *,
        embedding_dim=200,
        hidden_layer_sizes=(512,),
        activation="tanh",
        init="glorot",
        domain_hidden_layer_sizes=(50,),
        domain_activation="relu",
        alpha=1.0,
        beta=10.0,
        margin=1.0,
        neg_weight=0.2,
        reg=0.0,
        adv_weight=1.0,
        triplet_form="paper",
        triplet_sampling="all",
        label_loss="auto",
        grl_schedule="sigmoid",
        grl_gamma=10.0,
        n_projector_steps=1,
        lr=1e-4,
        lr_domain=None,
        betas=(0.5, 0.999),
        batch_size=64,
        max_epochs=30,
        metric="cosine",
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
        self.embedding_dim = embedding_dim
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.init = init
        self.domain_hidden_layer_sizes = domain_hidden_layer_sizes
        self.domain_activation = domain_activation
        self.alpha = alpha
        self.beta = beta
        self.margin = margin
        self.neg_weight = neg_weight
        self.reg = reg
        self.adv_weight = adv_weight
        self.triplet_form = triplet_form
        self.triplet_sampling = triplet_sampling
        self.label_loss = label_loss
        self.grl_schedule = grl_schedule
        self.grl_gamma = grl_gamma
        self.n_projector_steps = n_projector_steps
        self.lr = lr
        self.lr_domain = lr_domain
        self.betas = betas
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.metric = metric
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

    def _build(self, n_features, n_classes):
        build = partial(make_mlp, activation=self.activation, init=self.init)
        width = self.embedding_dim
        module = nn.ModuleDict()
        for modality, n_inputs in n_features.items():
            hidden = self._layer_sizes("hidden_layer_sizes", modality)
            module[modality] = build(
                [n_inputs, *hidden, width], output_activation=self.activation
            )
        module["classifier"] = build([width, n_classes])
        hidden = self._layer_sizes("domain_hidden_layer_sizes")
        module["domain"] = build([width, *hidden, 2], activation=self.domain_activation)
        return module

    def _objective(self, module, task):
        if self.triplet_form == "ranking" and self.neg_weight == 0:
            raise ValueError(
                "triplet_form='ranking' ranks positives against negatives and needs "
                "neg_weight > 0; got neg_weight=0."
            )
        self.label_loss_ = self.label_loss
        if self.label_loss == "auto":
            self.label_loss_ = "softmax" if task.single_label else "bce"
        objective = partial(
            projector_objective,
            alpha=self.alpha,
            beta=self.beta,
            margin=self.margin,
            neg_weight=self.neg_weight,
            reg=self.reg or None,
            adv_weight=self.adv_weight,
            triplet_form=self.triplet_form,
            triplet_sampling=self.triplet_sampling,
            label_loss=LABEL_LOSSES[self.label_loss_],
        )
        projectors = [module["image"], module["text"], module["classifier"]]
        moved = [p for network in projectors for p in network.parameters()]
        return [
            task.make_phase(
                players=[
                    Player(
                        "projector",
                        moved,
                        objective,
                        self.lr,
                        self.betas,
                        monitor="embedding_loss",
                    ),
                    Player(
                        "domain",
                        list(module["domain"].parameters()),
                        domain_objective,
                        self.lr if self.lr_domain is None else self.lr_domain,
                        self.betas,
                        every=self.n_projector_steps,
                    ),
                ],
                schedule=self._grl_coefficient,
            )
        ]

    def _grl_coefficient(self, epoch):
        coefficient = self.grl_schedule
        if coefficient == "sigmoid":
            progress = min(1.0, epoch / self.max_epochs)
            coefficient = 2 / (1 + math.exp(-self.grl_gamma * progress)) - 1
        return {"grl_coefficient": float(coefficient)}

    def _review_history(self):
        recent = [
            row["domain_accuracy"]
            for row in self.history_[len(self.history_) // 2 :]
            if "domain_accuracy" in row
        ]
        unbeaten = all(accuracy > _UNBEATEN_ACCURACY for accuracy in recent)
        if self.adv_weight > 0 and unbeaten and len(recent) >= _UNBEATEN_EPOCHS:
            warnings.warn(
                "The modality classifier has told images from texts without error in "
                f"the last {len(recent)} epochs: the adversarial game has no effect. "
                "Lower lr_domain, raise adv_weight, or set adv_weight=0 to leave the "
                "game out on purpose.",
                ConvergenceWarning,
                stacklevel=2,
            )

    def _label_probabilities(self, module, modality, X):
        logits = module["classifier"](self._encode(module, modality, X))
        return logits.softmax(1) if self.label_loss_ == "softmax" else logits.sigmoid()
