"""Deep reversible consistency learning."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import math
from functools import partial
from itertools import pairwise
from numbers import Integral, Real

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.utils import check_array
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklearn_cmr._unpaired import UnpairedMixin
from sklearn_cmr.base import (
    CrossModalTransformer,
    LabelProbabilityMixin,
    ProjectorMixin,
)
from sklearn_cmr.nn.pairwise import cosine_similarities
from sklearn_cmr.training import BatchIterator, Player

# Below this, a probability counts as this when its logarithm is taken.
_MIN_PROBABILITY = 1e-12
# The release doubles its cosines.
_COSINE_SCALE = 2
# Rows whose quality is evaluated at once.
_QUALITY_BATCH = 4096


class Prior(nn.Module):
    """The linear map from the common space to the labels, and its inverse.

    Parameters
    ----------
    weight : tensor of shape (m, n_classes)

    rcond : float or None
        Share of the largest singular value below which one counts as 0 in the inverse.
    """

    def __init__(self, weight, rcond):
        super().__init__()
        self.rcond = rcond
        self.weight = nn.Parameter(weight)
        self.register_buffer("inverse", torch.zeros_like(weight.T))

    def forward(self, f):
        """Return the probabilities of the labels."""
        return (f @ self.weight).softmax(1)

    def set_weight(self, weight):
        """Replace the weights."""
        with torch.no_grad():
            self.weight.copy_(weight)

    def freeze(self):
        """Keep the weights from now on, and invert them."""
        self.weight.requires_grad_(False)
        # In double precision: recast labels have to come back as the labels.
        exact = self.weight.detach().cpu().double()
        self.inverse.copy_(torch.linalg.pinv(exact, rtol=self.rcond))
        return self


def label_mass(probabilities, y):
    """Return the probability that each row gives to its labels."""
    return (probabilities * y).sum(1)


def generalized_cross_entropy(mass, q):
    """Return the mean of ``(1 - mass**q) / q``, or of its limit ``-log(mass)`` at 0.

    Parameters
    ----------
    mass : tensor of shape (b,)
        Probabilities of the true labels.

    q : 0-d tensor
        Cross entropy at 0, mean absolute error at 1.
    """
    log_mass = mass.clamp_min(_MIN_PROBABILITY).log()
    at_limit = q < torch.finfo(q.dtype).tiny
    exponent = torch.where(at_limit, 1, q)
    powers = -torch.expm1(exponent * log_mass) / exponent
    return torch.where(at_limit, -log_mass, powers).mean()


def mix_rows(order, mix_lambda, *tensors):
    """Add to every row a share of the row that `order` puts into its place."""
    return [mix_lambda * part + (1 - mix_lambda) * part[order] for part in tensors]


def consistency_loss(r, f):
    """Compare the cosines within and between recast labels and embeddings.

    Parameters
    ----------
    r, f : tensor of shape (b, m)

    Returns
    -------
    loss : 0-d tensor
        Embeddings are as similar to each other as their labels are, and the
        similarities between labels and embeddings are symmetric.
    """
    cosines = {
        "rr": _COSINE_SCALE * cosine_similarities(r, r),
        "ff": _COSINE_SCALE * cosine_similarities(f, f),
        "rf": _COSINE_SCALE * cosine_similarities(r, f),
    }
    intra = (cosines["rr"] - cosines["ff"]).square().mean()
    inter = (cosines["rf"] - cosines["rf"].T).square().mean()
    return intra + inter


def recast_loss(r, f, reduction):
    """Return the squared distance to the recast labels, its "mean" or "sum" a row."""
    loss = (r - f).square().sum(1).mean()
    return loss / r.shape[1] if reduction == "mean" else loss


def prior_objective(module, batch, state, *, modality):
    """Return what network and prior of a modality minimise in the first stage."""
    f = embed(module, modality, batch.features[modality])
    mass = label_mass(module["prior"](f), batch.y)
    return generalized_cross_entropy(mass, state.scalars["q"]), {}


def consistency_objective(
    module,
    batch,
    state,
    *,
    modality,
    eta,
    alpha,
    beta,
    mix_lambda,
    q_max,
    mse_reduction,
    normalize_labels,
):
    """Return what the network of a modality minimises, the prior held fixed.

    In evaluation mode, nothing is mixed and the exponent is the last one: values of
    different epochs compare.
    """
    prior = module["prior"]
    f, y = embed(module, modality, batch.features[modality]), batch.y
    recast = y / y.sum(1, keepdim=True) if normalize_labels else y
    q = torch.as_tensor(q_max, dtype=f.dtype, device=f.device)
    if module.training:
        q = state.scalars["q"]
        order = torch.randperm(len(f), generator=state.generator, device=f.device)
        f, y, recast = mix_rows(order, mix_lambda, f, y, recast)
    r = recast @ prior.inverse
    terms = {
        "label_loss": generalized_cross_entropy(label_mass(prior(f), y), q),
        "consistency_loss": consistency_loss(r, f),
        "recast_loss": recast_loss(r, f, mse_reduction),
    }
    weights = {"label_loss": eta, "consistency_loss": alpha, "recast_loss": beta}
    return sum(weights[name] * term for name, term in terms.items()), terms


def embed(module, modality, X):
    """Return the unit rows of one modality in the common space."""
    return F.normalize(module["networks"][modality](X), dim=1)


class _BestPrior:
    """Judge the prior after every epoch and keep a copy of the best one."""

    def __init__(self, modality, dataset):
        self.modality, self.dataset = modality, dataset
        self.quality, self.weight = -math.inf, None

    def __call__(self, module, state):
        """Return the quality: the mean probability of the true labels."""
        masses = []
        with torch.inference_mode():
            for batch in BatchIterator(self.dataset, _QUALITY_BATCH):
                f = embed(module, self.modality, batch.features[self.modality])
                masses.append(label_mass(module["prior"](f), batch.y))
            quality = torch.cat(masses).double().mean().item()
        if quality > self.quality:
            self.quality = quality
            self.weight = module["prior"].weight.detach().clone()
        return {"quality": quality}


class DRCLProjector(
    LabelProbabilityMixin, ProjectorMixin, UnpairedMixin, CrossModalTransformer
):
    r"""DOC"""

    _parameter_constraints: dict = {
        **CrossModalTransformer._parameter_constraints,
        **ProjectorMixin._parameter_constraints,
        "output_init": [StrOptions({"input_dim", "default"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "beta": [Interval(Real, 0, None, closed="left")],
        "eta": [Interval(Real, 0, None, closed="left")],
        "mix_lambda": [Interval(Real, 0, 1, closed="both")],
        "lr": [Interval(Real, 0, None, closed="neither"), dict],
        "lr_prior": [Interval(Real, 0, None, closed="neither")],
        "q_step": [Interval(Real, 0, None, closed="left")],
        "q_max": [Interval(Real, 0, 1, closed="both")],
        "prior": [str, "array-like", HasMethods(["fit", "transform_modality"])],
        "quality_on": [StrOptions({"train", "validation"})],
        "keep_all_priors": ["boolean"],
        "mse_reduction": [StrOptions({"mean", "sum"})],
        "normalize_labels": ["boolean"],
        "rcond": [Interval(Real, 0, 1, closed="left"), None],
        "betas": ["array-like"],
        "max_epochs_prior": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        *,
        embedding_dim=256,
        hidden_layer_sizes=(512,),
        output_init="input_dim",
        alpha=0.1,
        beta=0.1,
        eta=1.0,
        mix_lambda=0.9,
        lr=1e-4,
        lr_prior=5e-4,
        q_step=0.01,
        q_max=1.0,
        prior="select",
        quality_on="train",
        keep_all_priors=False,
        mse_reduction="mean",
        normalize_labels=False,
        rcond=None,
        betas=(0.5, 0.999),
        batch_size=256,
        max_epochs=100,
        max_epochs_prior=None,
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
        self.output_init = output_init
        self.alpha = alpha
        self.beta = beta
        self.eta = eta
        self.mix_lambda = mix_lambda
        self.lr = lr
        self.lr_prior = lr_prior
        self.q_step = q_step
        self.q_max = q_max
        self.prior = prior
        self.quality_on = quality_on
        self.keep_all_priors = keep_all_priors
        self.mse_reduction = mse_reduction
        self.normalize_labels = normalize_labels
        self.rcond = rcond
        self.betas = betas
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.max_epochs_prior = max_epochs_prior
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

    # -- networks and prior ----------------------------------------------------

    def _build(self, n_features, n_classes):
        if self.embedding_dim < n_classes:
            raise ValueError(
                f"embedding_dim={self.embedding_dim} must not be less than the number "
                f"of classes, {n_classes}: the prior could not be inverted."
            )
        if self.quality_on == "validation" and not self.early_stopping:
            raise ValueError(
                "quality_on='validation' judges the priors on held-out rows: set "
                "early_stopping=True, which holds out validation_fraction of them."
            )
        for name in n_features:
            self._learning_rate(name)
        self.quality_scores_, self.priors_, self.prior_modality_ = {}, {}, None
        prior = self._build_prior(list(n_features), n_classes)
        networks = self._build_networks(n_features)
        return nn.ModuleDict({"networks": networks, "prior": prior})

    def _build_network(self, modality, n_inputs):
        widths = [n_inputs, *self._layer_sizes("hidden_layer_sizes", modality)]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        output = nn.Linear(widths[-1], self.embedding_dim, bias=False)
        if self.output_init == "input_dim":
            bound = n_inputs**-0.5
            nn.init.uniform_(output.weight, -bound, bound)
        return nn.Sequential(*layers, output)

    def _build_prior(self, modalities, n_classes):
        """Return the prior: where it starts to learn, or frozen if it is given."""
        shape = (self.embedding_dim, n_classes)
        if isinstance(self.prior, str):
            if self.prior not in ("select", "orthogonal", *modalities):
                raise ValueError(
                    "prior must be 'select', 'orthogonal', one of the modalities "
                    f"{modalities}, an array, or a fitted DRCLProjector; got "
                    f"{self.prior!r}."
                )
            prior = Prior(nn.init.orthogonal_(torch.empty(shape)), self.rcond)
            return prior.freeze() if self.prior == "orthogonal" else prior
        weight = self.prior
        if hasattr(weight, "transform_modality"):
            check_is_fitted(weight)
            if not np.array_equal(weight.classes_, self.classes_):
                raise ValueError(
                    "The prior was learnt for other classes, or the same in another "
                    f"order: expected {self.classes_.tolist()}, got "
                    f"{weight.classes_.tolist()}."
                )
            weight = weight.prior_
        weight = check_array(weight, dtype=np.float32, copy=True, input_name="prior")
        if weight.shape != shape:
            raise ValueError(
                f"The prior must have the shape (embedding_dim, n_classes) = {shape}, "
                f"got {weight.shape}."
            )
        return Prior(torch.from_numpy(weight), self.rcond).freeze()

    def _learning_rate(self, modality):
        lr = self._value_for("lr", modality)
        if not isinstance(lr, Real) or not 0 < lr < math.inf:
            raise ValueError(
                f"lr of {modality!r} must be a positive number, got {lr!r}."
            )
        return lr

    # -- training --------------------------------------------------------------

    def _objective(self, module, task):
        prior = module["prior"]
        if prior.weight.requires_grad:
            yield from self._learn_prior(module, task)
            prior.freeze()
        self.prior_ = prior.weight.detach().cpu().numpy().copy()
        for modality, part in task.items():
            objective = partial(
                consistency_objective,
                modality=modality,
                eta=self.eta,
                alpha=self.alpha,
                beta=self.beta,
                mix_lambda=self.mix_lambda,
                q_max=self.q_max,
                mse_reduction=self.mse_reduction,
                normalize_labels=self.normalize_labels,
            )
            parameters = list(module["networks"][modality].parameters())
            lr = self._learning_rate(modality)
            yield part.make_phase(
                name=modality,
                players=[Player(modality, parameters, objective, lr, self.betas)],
                schedule=partial(self._exponent, first=1),
            )

    def _learn_prior(self, module, task):
        """Train network and prior of each modality, then keep the best prior."""
        prior = module["prior"]
        start, weights = prior.weight.detach().clone(), {}
        wanted = task if self.prior == "select" else [self.prior]
        for modality in wanted:
            part, network = task[modality], module["networks"][modality]
            # The networks start anew in the second stage, with the same weights.
            untrained = copy.deepcopy(network.state_dict())
            prior.set_weight(start)
            judged_on = part.dataset
            if self.quality_on == "validation":
                judged_on = part.dataset_valid
            best = _BestPrior(modality, judged_on)
            name = f"prior_{modality}"
            parameters = [prior.weight, *network.parameters()]
            objective = partial(prior_objective, modality=modality)
            yield part.make_phase(
                name=name,
                players=[
                    Player(name, parameters, objective, self.lr_prior, self.betas)
                ],
                schedule=partial(self._exponent, first=0),
                max_epochs=self.max_epochs_prior or self.max_epochs,
                end_epoch=best,
                dataset_valid=None,
            )
            network.load_state_dict(untrained)
            self.quality_scores_[modality] = best.quality
            weights[modality] = best.weight
        # Of equal ones the first by name, so that no order of modalities matters.
        self.prior_modality_ = max(sorted(weights), key=self.quality_scores_.get)
        prior.set_weight(weights[self.prior_modality_])
        if self.keep_all_priors:
            self.priors_ = {name: W.cpu().numpy() for name, W in weights.items()}

    def _exponent(self, epoch, first):
        return {"q": min(self.q_max, self.q_step * (epoch + first))}

    # -- encoding --------------------------------------------------------------

    def _encode(self, module, modality, X):
        return embed(module, modality, X)

    def _label_probabilities(self, module, modality, X):
        return module["prior"](embed(module, modality, X))
