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

from sklearn_cmr._unpaired import SeparateTrainingMixin
from sklearn_cmr.base import (
    CrossModalTransformer,
    LabelProbabilityMixin,
    ProjectorMixin,
)
from sklearn_cmr.training import BatchIterator, Player

# Below this, a probability counts as this when its logarithm is taken.
_MIN_PROBABILITY = 1e-12
# Below this, a length counts as this when something is divided by it.
_MIN_LENGTH = 1e-12
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

    inverse: torch.Tensor

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
    # The gradient of index_select is quicker than that of an index.
    return [
        torch.lerp(part.index_select(0, order), part, mix_lambda) for part in tensors
    ]


def consistency_loss(y, inverse, f):
    """Compare the cosines within and between recast labels and embeddings.

    Parameters
    ----------
    y : tensor of shape (b, n_classes)
        Labels, or mixtures of them.

    inverse : tensor of shape (n_classes, m)
        What recasts them: ``r = y @ inverse``.

    f : tensor of shape (b, m)

    Returns
    -------
    loss : 0-d tensor
        Embeddings are as similar to each other as their labels are, and the
        similarities between labels and embeddings are symmetric.
    """
    # With fewer columns than r has, labels give the same products sooner.
    gram = inverse @ inverse.T
    lengths = (y @ gram * y).sum(1, keepdim=True).clamp_min(_MIN_LENGTH**2).sqrt()
    y, f = y / lengths, F.normalize(f, dim=1)
    between = f @ inverse.T @ y.T
    # Both differences are (anti)symmetric: the second operand, here a constant, has the
    # same share in the gradient as the first.
    intra = F.mse_loss(f @ f.detach().T, y @ gram @ y.T)
    inter = F.mse_loss(between, between.detach().T.contiguous())
    loss = _COSINE_SCALE**2 * (intra + inter)
    return 2 * loss - loss.detach()


def recast_loss(r, f, reduction):
    """Return the squared distance to the recast labels, its "mean" or "sum" a row."""
    loss = F.mse_loss(f, r)
    return loss if reduction == "mean" else loss * r.shape[1]


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
    q = f.new_full((), q_max)  # filled on the device, which nobody waits for
    if module.training:
        q = state.scalars["q"]
        order = torch.randperm(len(f), generator=state.generator, device=f.device)
        f, y, recast = mix_rows(order, mix_lambda, f, y, recast)
    r = recast @ prior.inverse
    terms = {
        "label_loss": generalized_cross_entropy(label_mass(prior(f), y), q),
        "consistency_loss": consistency_loss(recast, prior.inverse, f),
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
        self.quality = -math.inf
        self.weight = torch.empty(0)

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
    LabelProbabilityMixin, ProjectorMixin, SeparateTrainingMixin, CrossModalTransformer
):
    r"""Deep reversible consistency learning (DRCL).

    Every modality has a perceptron of its own. They share nothing but the *prior*, a
    linear map from the common space to the labels: the first stage learns one with
    every modality and keeps the best, the second one trains each network anew to agree
    with it [1]_. So the modalities need labels, but no pairs; there may be any number
    of them, with any numbers of rows, and :meth:`add_modality` adds one later without
    a change to the others.

    With the embeddings :math:`f_i = F_k(x_i) / \|F_k(x_i)\|` of :math:`b` rows of a
    modality :math:`k`, the prior :math:`W` and the probability
    :math:`s_i = \sum_c y_{ic} \operatorname{softmax}(f_i W)_c` of the true labels, both
    stages minimise the generalised cross entropy

    .. math::

        L_q = \frac{1}{b} \sum_i \frac{1 - s_i^q}{q}, \qquad L_0 = -\frac{1}{b}
            \sum_i \log s_i

    whose exponent :math:`q` grows by `q_step` an epoch up to `q_max`. The first stage,
    for every modality from the same orthogonal :math:`W`, trains network and
    prior together. The second holds fixed the prior with the best quality, the mean of
    :math:`s_i` after the best epoch, and its Moore-Penrose inverse :math:`W^+`. It
    mixes rows with a random permutation :math:`\pi` of the batch,
    :math:`\tilde f_i = \lambda f_i + (1 - \lambda) f_{\pi(i)}` and labels
    :math:`\tilde y_i` alike, recasts the labels into the common space,
    :math:`r_i = \tilde y_i W^+`, and minimises

    .. math::

        L &= \eta L_q + \alpha L_D + \beta L_{MSE} \\
        L_D &= \frac{4}{b^2} \sum_{ij} \left[ \left( \cos(r_i, r_j)
            - \cos(\tilde f_i, \tilde f_j) \right)^2 + \left( \cos(r_i, \tilde f_j)
            - \cos(r_j, \tilde f_i) \right)^2 \right] \\
        L_{MSE} &= \frac{1}{b m} \sum_i \| r_i - \tilde f_i \|^2

    Parameters
    ----------
    embedding_dim : int, default=256
        Width :math:`m` of the common space, at least the number of classes.

    hidden_layer_sizes : tuple of int, or dict, default=(512, 512)
        Widths of the hidden layers, each followed by ReLU, of all networks, or of each
        by the name of its modality: ``{"image": (...), "text": (...)}``.

    output_init : {"input_dim", "default"}, default="input_dim"
        Initial weights of the output layers: uniform up to :math:`d^{-1/2}` for
        :math:`d` features of the modality, or torch's.

    alpha : float, default=0.1
        Weight :math:`\alpha \geq 0` of :math:`L_D`.

    beta : float, default=0.1
        Weight :math:`\beta \geq 0` of :math:`L_{MSE}`.

    eta : float, default=1.0
        Weight :math:`\eta \geq 0` of the generalised cross entropy.

    mix_lambda : float, default=0.9
        Share :math:`\lambda` in [0, 1] of a row in its mixture; 1 mixes nothing.

    lr : float or dict, default=1e-4
        Learning rate of the second stage, for all modalities or for each:
        ``{"image": 1e-4, "text": 1e-3}``. It may hold names of modalities to come.

    lr_prior : float, default=5e-4
        Learning rate of the first stage.

    q_step : float, default=0.01
        Growth :math:`\geq 0` of the exponent an epoch. The first stage starts at 0.

    q_max : float, default=1.0
        Largest exponent, in [0, 1]: 0 is the cross entropy, 1 the mean absolute error.

    prior : str, array-like of shape (embedding_dim, n_classes), or estimator, \
            default="select"
        Where the prior comes from:

        - "select": the modality with the best quality;
        - "orthogonal": random orthogonal columns, and no first stage;
        - name of a modality: that one, whatever its quality;
        - array: given, with its columns in the order of `classes_`;
        - fitted :class:`DRCLProjector` with the same `classes_`: its prior. For
          searches and clones put it into :class:`~sklearn.frozen.FrozenEstimator`.

    quality_on : {"train", "validation"}, default="train"
        Rows on which the quality is evaluated. On training rows, a network that
        overfits looks good; "validation" needs `early_stopping`.

    keep_all_priors : bool, default=False
        Whether to keep the priors of all modalities in `priors_`.

    mse_reduction : {"mean", "sum"}, default="mean"
        Whether :math:`L_{MSE}` is the mean over the :math:`m` columns, or their sum.
        See Notes.

    normalize_labels : bool, default=False
        Whether to divide the labels of a row by their number before recasting them.

    rcond : float, default=None
        Singular values of the prior below this share of the largest one, in [0, 1),
        count as 0 in its inverse; None takes the precision of the arithmetic.

    betas : tuple of 2 floats, default=(0.5, 0.999)
        Decay rates of Adam's moments, in [0, 1).

    batch_size : int, default=256
        Rows in a batch.

    max_epochs : int, default=50
        Epochs of the second stage for each modality.

    max_epochs_prior : int, default=None
        Epochs of the first stage for each modality; None takes `max_epochs`.

    metric : {"cosine", "euclidean"}, default="cosine"
        How :meth:`score` ranks.

    early_stopping : bool, default=False
        Whether to hold out rows of each modality, stop its second stage when their
        loss, with `q_max` and without mixing, no longer falls, and return to the
        weights of the best epoch. :meth:`fit` takes other held-out rows as `X_val`.

    validation_fraction : float, default=0.1
        Share of the rows of each modality to hold out, in (0, 1).

    n_iter_no_change : int, default=10
        Epochs without a better held-out loss before the training of a modality stops.

    tol : float, default=0.0
        What the held-out loss must fall by to count as better.

    warm_start : bool, default=False
        Whether :meth:`fit` continues the second stage of the modalities it gets, with
        the prior, classes and widths of the last call.

    random_state : int, RandomState instance or None, default=None
        Determines initial weights, held-out rows, batches and mixtures. Pass an int for
        the same result in every call.

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

    prior_ : ndarray of shape (embedding_dim, n_classes)
        The prior :math:`W`.

    prior_modality_ : str or None
        The modality that it was learned with here.

    quality_scores_ : dict of str to float
        Best quality of every modality of the first stage.

    priors_ : dict of str to ndarray of shape (embedding_dim, n_classes)
        Best prior of every modality; empty without `keep_all_priors`.

    n_features_in_ : int
        Number of features of all modalities of :meth:`fit` together.

    n_image_features_in_, n_text_features_in_ : int
        Number of features of a modality; other ones have an attribute alike.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features. Only if all of them are strings.

    n_iter_ : int
        Number of epochs run, in all stages.

    history_ : list of dict
        For every epoch, averaged over its batches: `phase` ("prior_image" and alike in
        the first stage, the name of the modality in the second), `q`, `train_loss`,
        which is also there as `{phase}_loss`, and `seconds`; `quality` in the first
        stage; `label_loss` (:math:`L_q`), `consistency_loss` (:math:`L_D`) and
        `recast_loss` (:math:`L_{MSE}`) in the second, and `valid_loss` with
        `early_stopping`.

    loss_curve_ : list of float
        `train_loss` of every epoch.

    module_ : torch.nn.ModuleDict
        "networks" by modality, and "prior".

    See Also
    --------
    ACMRProjector : For pairs, by an adversarial game.
    PairTransformer : Standardise, or otherwise prepare, each modality.

    Notes
    -----
    **Modalities by name.** ``fit({"image": A, "text": B, "audio": C}, labels)`` takes
    any names, and one array of labels for all, or a mapping with labels for each; then
    the numbers of rows may differ. :meth:`transform` and :meth:`score` take a mapping
    with any of the fitted names, and :meth:`transform_modality` one of them.
    Given the prior, a modality is learned in the same way in any company and order.
    Tools for model selection slice the rows of pairs; these forms are for direct calls.

    **Learning rates** are what matters most. A modality that is learned by heart in a
    few epochs needs a lower one. As the exponent grows, rows with improbable labels
    count less and less, and `train_loss` falls by itself. Next to try are one wide
    layer, ``hidden_layer_sizes=(1024,)``, and the `prior` of the modality that tells
    the labels better on rows it has not seen: the quality on training rows prefers the
    one that overfits.

    **Length of the recast labels.** As :math:`r W = y`, and the columns of a learned
    prior are longer than 1, the :math:`r_i` are shorter than the embeddings:
    :math:`L_{MSE}` contradicts the label loss. With "mean" its gradient is next to
    nothing in a wide space; with "sum" it acts.

    **Published settings** for Wikipedia, in the code of the paper [2]_::

        DRCLProjector(
            embedding_dim=2048, hidden_layer_sizes=(4096, 4096), alpha=0.1, beta=0.1,
            mix_lambda=0.9, lr={"image": 6e-6, "text": 5e-3}, lr_prior=5e-4,
            batch_size=1024, max_epochs=200, early_stopping=True,
            n_iter_no_change=200,
        )

    **Departures from that code.** There, the cross entropy at :math:`q = 0` is a NaN,
    so that the first epoch is lost; the best prior is overwritten by later ones; the
    last rows of an epoch are not used; and epochs are compared by a loss whose exponent
    changes, on the data set's validation split. Here a share of the training rows is
    held out, and the defaults are this package's own, for standardised features.

    References
    ----------
    .. [1] R. Pu, Y. Qin, D. Peng, X. Song, H. Zheng. "Deep Reversible Consistency
       Learning for Cross-modal Retrieval". IEEE Transactions on Multimedia, 2025.
       :doi:`10.48550/arXiv.2501.05686`

    .. [2] https://github.com/perquisite/DRCL

    Examples
    --------
    Images and texts need not be pairs, nor as many:

    >>> from sklearn_cmr import DRCLProjector
    >>> from sklearn_cmr.datasets import make_cross_modal_classification
    >>> A, B, y = make_cross_modal_classification(300, n_classes=4, random_state=0)
    >>> drcl = DRCLProjector(
    ...     embedding_dim=16, lr=1e-3, max_epochs=10, random_state=0
    ... ).fit({"image": A[:200], "text": B[100:]}, {"image": y[:200], "text": y[100:]})
    >>> drcl.transform_image(A).shape
    (300, 16)

    One more modality comes into the same space:

    >>> drcl.add_modality("sketch", A[:150, :20], y[:150]).modalities_
    ('image', 'text', 'sketch')
    >>> Z = drcl.transform({"sketch": A[:, :20], "text": B})
    >>> Z["sketch"].shape
    (300, 16)
    """

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
        hidden_layer_sizes=(512, 512),
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
        max_epochs=50,
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
        start, scores = prior.weight.detach().clone(), self.quality_scores_
        weights: dict[str, torch.Tensor] = {}
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
            scores[modality] = best.quality
            weights[modality] = best.weight
        # Of equal ones the first by name, so that no order of modalities matters.
        self.prior_modality_ = max(sorted(weights), key=lambda name: scores[name])
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
