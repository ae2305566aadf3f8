"""Deep reversible consistency learning."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import math
import warnings
from functools import partial
from itertools import pairwise
from numbers import Integral, Real

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.preprocessing import normalize
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklearn_cmr._arrays import check_matrix
from sklearn_cmr._lazy import public
from sklearn_cmr.base import (
    AddModalityMixin,
    LabelProbabilityMixin,
    NetworkTransformer,
    ProjectorMixin,
)
from sklearn_cmr.metrics import mean_average_precision
from sklearn_cmr.nn.layers import UnitLength
from sklearn_cmr.nn.layers import dropout as drop_out
from sklearn_cmr.training import Separate, encode_dataset, indicator_of

# Smaller probabilities are raised to this before their logarithm is taken.
_MIN_PROBABILITY = 1e-12
# Smaller lengths are raised to this before something is divided by them.
_MIN_LENGTH = 1e-12
# The published code doubles its cosines.
_COSINE_SCALE = 2
# Width of the common space with embedding_dim=None, where there are no more classes.
_EMBEDDING_DIM = 256


# -- the prior ---------------------------------------------------------------------


class Prior(nn.Module):
    """Linear map from the common space to the labels, with its pseudo-inverse.

    Parameters
    ----------
    weight : tensor of shape (embedding_dim, n_classes)

    rcond : float or None
        Share of the largest singular value below which a singular value counts as 0
        in the pseudo-inverse.
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
        """Fix the weights and compute their pseudo-inverse."""
        self.weight.requires_grad_(False)
        # In double precision, so that the prior maps recast labels back to the labels.
        exact = self.weight.detach().cpu().double()
        self.inverse.copy_(torch.linalg.pinv(exact, rtol=self.rcond))
        return self


# -- losses ------------------------------------------------------------------------


def label_probability(probabilities, y):
    """Return the probability of the labels of each row.

    Parameters
    ----------
    probabilities, y : tensor of shape (b, n_classes)
    """
    return (probabilities * y).sum(1)


def generalized_cross_entropy(probability, q):
    """Return the mean of ``(1 - p**q) / q``, or of its limit ``-log(p)`` at ``q=0``.

    Parameters
    ----------
    probability : tensor of shape (b,)
        Probabilities :math:`p` of the true labels.

    q : 0-d tensor
        Exponent: 0 gives the cross entropy, 1 the mean absolute error.
    """
    log_probability = probability.clamp_min(_MIN_PROBABILITY).log()
    at_limit = q < torch.finfo(q.dtype).tiny
    exponent = torch.where(at_limit, 1, q)
    powers = -torch.expm1(exponent * log_probability) / exponent
    return torch.where(at_limit, -log_probability, powers).mean()


def mix_rows(order, mix_lambda, *tensors):
    """Return ``mix_lambda * X + (1 - mix_lambda) * X[order]`` for every tensor X."""
    # The gradient of index_select is faster than that of indexing.
    return [
        torch.lerp(part.index_select(0, order), part, mix_lambda) for part in tensors
    ]


def consistency_loss(y, inverse, f):
    """Compare the cosines within and between recast labels and embeddings.

    The loss is 0 if embeddings are as similar to each other as their recast labels
    are, and if the similarities between recast labels and embeddings are symmetric.

    Parameters
    ----------
    y : tensor of shape (b, n_classes)
        Labels, or mixtures of them.

    inverse : tensor of shape (n_classes, embedding_dim)
        Pseudo-inverse of the prior. The recast labels are ``r = y @ inverse``.

    f : tensor of shape (b, embedding_dim)

    Returns
    -------
    loss : 0-d tensor
    """
    # The labels have fewer columns than r, and give the same products faster.
    gram = inverse @ inverse.T
    lengths = (y @ gram * y).sum(1, keepdim=True).clamp_min(_MIN_LENGTH**2).sqrt()
    y, f = y / lengths, F.normalize(f, dim=1)
    between = f @ inverse.T @ y.T
    # Both differences are (anti)symmetric. The second operand is a constant here,
    # since its share of the gradient equals that of the first.
    intra = F.mse_loss(f @ f.detach().T, y @ gram @ y.T)
    inter = F.mse_loss(between, between.detach().T.contiguous())
    loss = _COSINE_SCALE**2 * (intra + inter)
    return 2 * loss - loss.detach()


def recast_loss(r, f, reduction):
    """Return the squared error of the embeddings against the recast labels.

    Parameters
    ----------
    r, f : tensor of shape (b, embedding_dim)

    reduction : {"mean", "sum"}
        Reduction over the columns. Over the rows it is always the mean.
    """
    loss = F.mse_loss(f, r)
    return loss if reduction == "mean" else loss * r.shape[1]


def embed(module, batch, state, modality, dropout):
    """Return the embeddings of a batch, in training with dropout before all layers.

    Parameters
    ----------
    dropout : float
        Share of the inputs of a layer that are set to 0, in [0, 1).
    """
    X, encoder = batch.features[modality], module["encoders"][modality]
    if not (module.training and dropout):
        return encoder(X)
    for layer in encoder:
        if isinstance(layer, nn.Linear):
            X = drop_out(X, dropout, state.generator)
        X = layer(X)
    return X


def prior_loss(module, batch, state, *, modality, dropout):
    """Return the loss of the first stage, for the encoder and the prior."""
    f = embed(module, batch, state, modality, dropout)
    probability = label_probability(module["prior"](f), batch.y)
    return generalized_cross_entropy(probability, state.scalars["q"]), {}


def encoder_loss(
    module,
    batch,
    state,
    *,
    modality,
    weights,
    dropout,
    mix_lambda,
    q_max,
    recast_reduction,
    normalize_labels,
):
    """Return the loss of the second stage, for the encoder alone.

    In evaluation mode no features are dropped, no rows are mixed, and the exponent is
    `q_max`, so that the values of different epochs are comparable.

    Parameters
    ----------
    weights : dict of str to float
        Weights of "label_loss", "consistency_loss" and "recast_loss".
    """
    prior = module["prior"]
    f, y = embed(module, batch, state, modality, dropout), batch.y
    recast = y / y.sum(1, keepdim=True) if normalize_labels else y
    q = f.new_full((), q_max)  # filled on the device, without a synchronization
    if module.training:
        q = state.scalars["q"]
        order = torch.randperm(len(f), generator=state.generator, device=f.device)
        f, y, recast = mix_rows(order, mix_lambda, f, y, recast)
    r = recast @ prior.inverse
    probability = label_probability(prior(f), y)
    terms = {
        "label_loss": generalized_cross_entropy(probability, q),
        "consistency_loss": consistency_loss(recast, prior.inverse, f),
        "recast_loss": recast_loss(r, f, recast_reduction),
    }
    return sum(weights[name] * term for name, term in terms.items()), terms


class BestPrior:
    """Evaluate the prior after every epoch and keep a copy of the best one.

    Parameters
    ----------
    modality : str

    dataset : RowDataset or Subset
        Rows on which the quality is evaluated.
    """

    def __init__(self, modality, dataset):
        self.modality, self.dataset = modality, dataset
        self.y = torch.from_numpy(indicator_of(dataset))
        self.quality = -math.inf
        self.weight = torch.empty(0)

    def __call__(self, module, state):
        """Return the quality: the mean probability of the true labels."""
        encoder, prior = module["encoders"][self.modality], module["prior"]
        probabilities = encode_dataset(
            lambda X: prior(encoder(X)), self.dataset, self.modality
        )
        true = label_probability(probabilities, self.y.to(probabilities.device))
        quality = true.double().mean().item()
        if quality > self.quality:
            self.quality = quality
            self.weight = prior.weight.detach().clone()
        return {"quality": quality}

    def state_dict(self):
        """Return what a checkpoint stores."""
        return {"quality": self.quality, "weight": self.weight}

    def load_state_dict(self, state):
        """Continue from a checkpoint."""
        self.quality, self.weight = state["quality"], state["weight"]


# -- the estimator -----------------------------------------------------------------


@public("sklearn_cmr")
class DRCLProjector(
    AddModalityMixin, LabelProbabilityMixin, ProjectorMixin, NetworkTransformer
):
    r"""Deep reversible consistency learning (DRCL).

    Every modality has a perceptron of its own, its *encoder*. The encoders share only
    the *prior*, a linear map from the common space to the labels. With
    ``prior="select"``, the first stage learns a prior with every modality and selects
    the best one; by default, the prior is a random orthogonal one, and there is no
    first stage. The second stage trains each encoder to agree with the prior [1]_. So
    the modalities need labels, but no pairs. There may be any number of modalities,
    with any numbers of rows, and :meth:`add_modality` adds one later without a change
    to the others.

    Let :math:`f_i = F_k(x_i) / \|F_k(x_i)\|` be the embeddings of :math:`b` rows of a
    modality :math:`k`, :math:`W` the prior, and
    :math:`s_i = \sum_c y_{ic} \operatorname{softmax}(f_i W)_c` the probability of the
    true labels. Both stages minimize the generalized cross entropy

    .. math::

        L_q = \frac{1}{b} \sum_i \frac{1 - s_i^q}{q}, \qquad L_0 = -\frac{1}{b}
            \sum_i \log s_i

    whose exponent :math:`q` grows by `q_step` per epoch up to `q_max`. The first stage
    trains encoder and prior together, for every modality from the same orthogonal
    :math:`W`. The quality of a prior is the mean of :math:`s_i` after its best epoch.
    The second stage holds the prior and its Moore-Penrose inverse :math:`W^+` fixed,
    and trains the encoders anew. It mixes rows with a random permutation :math:`\pi` of
    the batch,
    :math:`\tilde f_i = \lambda f_i + (1 - \lambda) f_{\pi(i)}`, mixes the labels
    :math:`\tilde y_i` in the same way, recasts the labels into the common space,
    :math:`r_i = \tilde y_i W^+`, and minimizes

    .. math::

        L &= \eta L_q + \alpha L_D + \beta L_{MSE} \\
        L_D &= \frac{4}{b^2} \sum_{ij} \left[ \left( \cos(r_i, r_j)
            - \cos(\tilde f_i, \tilde f_j) \right)^2 + \left( \cos(r_i, \tilde f_j)
            - \cos(r_j, \tilde f_i) \right)^2 \right] \\
        L_{MSE} &= \frac{1}{b} \sum_i \| r_i - \tilde f_i \|^2

    Parameters
    ----------
    embedding_dim : int, default=None
        Width of the common space. At least the number of classes. None is 256, or the
        number of classes if that is larger.

    hidden_layer_sizes : tuple of int, or dict, default=(512,)
        Widths of the hidden layers of the encoders, for all modalities or by modality:
        ``{"image": (...), "text": (...)}``. Each layer is followed by ReLU.

    output_init : {"input_dim", "default"}, default="input_dim"
        Initial weights of the output layers: uniform in :math:`\pm d^{-1/2}` for
        :math:`d` features of the modality, or torch's default.

    label_weight : float, default=1.0
        Weight :math:`\eta \geq 0` of the label loss; 0 leaves it out.

    consistency_weight : float, default=0.1
        Weight :math:`\alpha \geq 0` of the consistency loss; 0 leaves it out.

    recast_weight : float, default=0.1
        Weight :math:`\beta \geq 0` of the recast loss; 0 leaves it out.

    dropout : float, default=0.4
        Share, in [0, 1), of the inputs of each layer of the encoders, features
        included, that the training sets to 0.

    mix_lambda : float, default=0.9
        Share :math:`\lambda` in [0, 1] of a row in its mixture; 1 mixes nothing.

    q_step : float, default=None
        Increase :math:`\geq 0` of the exponent per epoch. The first stage starts at 0.
        With None, the exponent grows to `q_max` in the course of each stage.

    q_max : float, default=0.5
        Largest exponent, in [0, 1]: 0 is the cross entropy, 1 the mean absolute error.

    prior : str, array-like or estimator, default="orthogonal"
        Source of the prior:

        - "orthogonal": random orthogonal columns, without a first stage;
        - "select": the modality with the best quality;
        - name of a modality: that modality, whatever its quality;
        - array of shape (embedding_dim, n_classes): the given weights, with columns in
          the order of `classes_`;
        - fitted :class:`DRCLProjector` with the same `classes_`: its prior. For
          searches and clones, wrap it in :class:`~sklearn.frozen.FrozenEstimator`.

    quality_on : {"train", "validation"}, default="train"
        Rows on which the quality is evaluated. On training rows, an overfitted encoder
        has a high quality; "validation" needs `early_stopping`.

    keep_all_priors : bool, default=False
        Whether to keep the priors of all modalities in `priors_`.

    recast_reduction : {"mean", "sum"}, default="sum"
        Whether the squared norm in :math:`L_{MSE}` is the mean over the columns of the
        common space, or their sum. See Notes.

    normalize_labels : bool, default=False
        Whether to divide the labels of a row by their number before recasting them.

    rcond : float, default=None
        Share of the largest singular value of the prior, in [0, 1), below which a
        singular value counts as 0 in the inverse. None takes the machine precision
        times the larger dimension.

    lr : float or dict, default=1e-3
        Learning rate of Adam for the encoders, for all modalities or by modality:
        ``{"image": 1e-4, "text": 1e-3}``. It may hold names of modalities that are
        added later.

    lr_prior : float, default=5e-4
        Learning rate of the first stage, for the encoders and the prior.

    betas : tuple of 2 floats, default=(0.5, 0.999)
        Decay rates of Adam's moment estimates, each in [0, 1).

    weight_decay : float, default=0.0
        L2 penalty of Adam: half of it times the squared weights is added to every loss.

    batch_size : int, default=64
        Number of rows in a batch. A batch larger than the training set is the whole
        training set.

    max_epochs : int or "auto", default="auto"
        Number of epochs; where modalities train apart, of each of them. "auto" is
        the smallest number, from 10 on, with at least `min_updates` batches.

    min_updates : int, default=600
        Minimum number of batches in the training, with ``max_epochs="auto"``.

    max_epochs_prior : int, default=None
        Number of epochs of the first stage for each modality; None takes `max_epochs`.

    output : {"embedding", "probabilities", "both"}, default="embedding"
        Output of :meth:`transform`: the embeddings, the label probabilities of
        :meth:`predict_proba`, or the two side by side, each of unit length. The latter
        two need ``label_weight > 0``.

    metric : {"cosine", "euclidean"}, default="cosine"
        Distance used for the ranking in :meth:`score` and in the validation.

    missing_labels : {"raise", "drop"}, default="raise"
        What :meth:`fit` does with rows that have no label: raise an error, or leave
        them out with a warning.

    early_stopping : bool, default=False
        Whether to hold out rows, stop the training when their mAP no longer improves,
        and restore the weights of the best epoch. :meth:`fit` takes other held-out rows
        as `X_val`.

    validation_fraction : float, default=0.1
        Share of the rows to hold out, in (0, 1).

    n_iter_no_change : int, default=None
        Number of epochs without an improvement of the validation mAP after which the
        training stops. None is a third of the epochs, at least 10.

    tol : float, default=0.0
        Minimum improvement of the validation mAP.

    warm_start : bool, default=False
        Whether :meth:`fit` continues the previous training, with the same classes,
        modalities and network sizes.

    checkpoint : str or path-like, default=None
        Folder of checkpoints, from which :meth:`fit` continues when it was killed or
        interrupted: with the same parameters and data, it ends with the same weights,
        on a CPU bit for bit. None takes none.

    checkpoint_every : int, default=1
        Number of epochs from one checkpoint to the next one, >= 1.

    random_state : int, RandomState instance or None, default=None
        Determines the initial weights, the held-out rows, the order of the rows and all
        other random draws. Pass an int for the same result in every call.

    verbose : int, default=0
        Verbosity: 0 is silent, 1 shows a progress bar, 2 prints a line for every epoch.

    device : str or torch.device, default="auto"
        Device of the networks. "auto" is CUDA if there is a GPU, else the CPU.

    callbacks : list of skorch callbacks, default=None
        Further skorch callbacks, or pairs of a name and a callback. They are copied;
        `callbacks_` has the copies.

    encoders : dict of str to torch.nn.Module or callable, default=None
        Networks of your own by modality, such as a convolution of images of shape
        (n, 3, h, w) or an embedding of token ids of shape (n, length). What they return
        takes the place of the features, and they learn with the layers of the method.
        A module is copied in :meth:`fit` with its weights; its parameters without
        `requires_grad` stay as they are. A callable gets the number of features, or the
        shape of an item with more than one dimension, and returns a module. Integers
        are passed as int64, all other numbers as float32. Every value of an item counts
        as a feature.

    lr_encoder : float or dict, default=None
        Learning rate of all networks in `encoders`, or by modality. None, and a
        modality that a dict leaves out, takes the rate of the layers that follow.

    n_image_features : int, default=None
        Number of leading image columns where one matrix holds both modalities. None
        takes half of the columns, with a warning.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted classes, or the column numbers of the label indicator.

    modalities_ : tuple of str
        Names of the fitted modalities.

    prior_ : ndarray of shape (embedding_dim, n_classes)
        Prior :math:`W`.

    prior_modality_ : str or None
        Modality with which the prior was learned; None if it was not learned here.

    quality_scores_ : dict of str to float
        Best quality of every modality of the first stage.

    priors_ : dict of str to ndarray of shape (embedding_dim, n_classes)
        Best prior of every modality; empty without `keep_all_priors`.

    n_features_in_ : int
        Number of features of all modalities of :meth:`fit` together.

    n_image_features_in_, n_text_features_in_ : int
        Number of features of the modality. Every other modality has an attribute of the
        same form.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if all of them are strings.

    n_iter_ : int
        Number of epochs run, over all phases and warm starts.

    history_ : list of dict
        One entry for every epoch, averaged over its batches: `phase` ("prior_image",
        "prior_text", ... in the first stage, the name of the modality in the second),
        `q`, `train_loss`, the same value as `{phase}_loss`, and `seconds`. The first
        stage adds `quality`. The second stage adds `label_loss` (:math:`L_q`),
        `consistency_loss` (:math:`L_D`) and `recast_loss` (:math:`L_{MSE}`), and with
        `early_stopping` also `valid_map` and `valid_loss`, which is computed with
        `q_max` and without mixing.

    loss_curve_ : list of float
        `train_loss` of every epoch.

    callbacks_ : list of tuple
        Names and copies of `callbacks` that ran, with what they recorded.

    module_ : torch.nn.ModuleDict
        "encoders" holds the encoders by modality, "prior" the prior.

    See Also
    --------
    ACMRProjector : Embed labeled pairs by an adversarial game.
    PairTransformer : Standardize, or otherwise prepare, each modality.

    Notes
    -----
    **Modalities by name.** ``fit({"image": A, "text": B, "audio": C}, labels)`` takes
    any names. The labels are one array for all modalities, or a mapping with labels for
    each; with a mapping, the numbers of rows may differ. :meth:`transform` and
    :meth:`score` take a mapping with any of the fitted names, and
    :meth:`transform_modality` takes one modality. Given the prior, the encoder of a
    modality does not depend on the other modalities or on their order. Tools for model
    selection slice the rows of pairs; these forms are for direct calls.

    **Early stopping** applies to the second stage alone, of each modality for itself.
    The held-out rows query the recast labels :math:`y W^+` of the training rows of
    their modality, scaled to unit length.

    **The prior.** For retrieval, an orthogonal prior is as good as a learned one where
    every row has one class, and better where rows have several of many labels. Without
    a first stage, the training takes about half of the time. As the columns of an
    orthogonal prior have the length 1, the probabilities of :meth:`predict_proba` are
    close to each other; those by a learned prior, with longer columns, are not. The
    quality on training rows favors the modality that overfits.

    **Dropout** keeps the encoders from learning few rows, or rows with many labels, by
    heart. It needs a larger learning rate than a training without. As the exponent
    grows, rows with improbable labels lose weight, and `train_loss` decreases even if
    nothing is learned.

    **Length of the recast labels.** As :math:`r W = y`, and the columns of a learned
    prior are longer than 1, the :math:`r_i` are shorter than the embeddings, and
    :math:`L_{MSE}` conflicts with the label loss. With "mean", its gradient is
    negligible in a wide space; with "sum", it has an effect. The columns of an
    orthogonal prior have the length of the embeddings.

    **Probabilities.** :meth:`predict_proba` raises an error after a fit with
    ``label_weight=0``. The second stage then trains the encoders without the label
    loss, and the prior cannot predict labels from their embeddings, even if the first
    stage has learned it.

    **Published settings** for Wikipedia, in the code of the paper [2]_::

        DRCLProjector(
            embedding_dim=2048, hidden_layer_sizes=(4096, 4096), consistency_weight=0.1,
            recast_weight=0.1, recast_reduction="mean", dropout=0.0, mix_lambda=0.9,
            q_step=0.01, q_max=1.0, prior="select",
            lr={"image": 6e-6, "text": 5e-3}, lr_prior=5e-4, batch_size=1024,
            max_epochs=200, early_stopping=True, n_iter_no_change=200,
        )

    **Departures from that code.** There, the cross entropy at :math:`q = 0` is NaN, and
    the first epoch is lost; later priors overwrite the best one; the last rows of an
    epoch are not used; and epochs are compared by a loss whose exponent changes, on the
    validation split of the data set. Here a share of the training rows is held out, and
    epochs are compared by mAP. The defaults are chosen for standardized features.

    References
    ----------
    .. [1] R. Pu, Y. Qin, D. Peng, X. Song, H. Zheng. "Deep Reversible Consistency
       Learning for Cross-modal Retrieval". IEEE Transactions on Multimedia, 2025.
       :doi:`10.48550/arXiv.2501.05686`

    .. [2] https://github.com/perquisite/DRCL

    Examples
    --------
    Images and texts need not be pairs, and their numbers may differ:

    >>> from sklearn_cmr import DRCLProjector
    >>> from sklearn_cmr.datasets import make_cross_modal_classification
    >>> A, B, y = make_cross_modal_classification(300, n_classes=4, random_state=0)
    >>> drcl = DRCLProjector(
    ...     embedding_dim=16, lr=1e-3, max_epochs=10, random_state=0
    ... ).fit({"image": A[:200], "text": B[100:]}, {"image": y[:200], "text": y[100:]})
    >>> drcl.transform_image(A).shape
    (300, 16)

    A further modality is embedded into the same space:

    >>> drcl.add_modality("sketch", A[:150, :20], y[:150]).modalities_
    ('image', 'text', 'sketch')
    >>> Z = drcl.transform({"sketch": A[:, :20], "text": B})
    >>> Z["sketch"].shape
    (300, 16)
    """

    _rows = Separate()
    # A file has the weights of the prior, wherever they came from.
    _rebuilt_with = {"prior": "select"}
    _parameter_constraints: dict = {
        **NetworkTransformer._parameter_constraints,
        **ProjectorMixin._parameter_constraints,
        "output": [StrOptions({"embedding", "probabilities", "both"})],
        "embedding_dim": [Interval(Integral, 1, None, closed="left"), None],
        "output_init": [StrOptions({"input_dim", "default"})],
        "label_weight": [Interval(Real, 0, None, closed="left")],
        "consistency_weight": [Interval(Real, 0, None, closed="left")],
        "recast_weight": [Interval(Real, 0, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "mix_lambda": [Interval(Real, 0, 1, closed="both")],
        "q_step": [Interval(Real, 0, None, closed="left"), None],
        "q_max": [Interval(Real, 0, 1, closed="both")],
        "prior": [str, "array-like", HasMethods(["fit", "transform_modality"])],
        "quality_on": [StrOptions({"train", "validation"})],
        "keep_all_priors": ["boolean"],
        "recast_reduction": [StrOptions({"mean", "sum"})],
        "normalize_labels": ["boolean"],
        "rcond": [Interval(Real, 0, 1, closed="left"), None],
        "lr": [Interval(Real, 0, None, closed="neither"), dict],
        "lr_prior": [Interval(Real, 0, None, closed="neither")],
        "betas": ["array-like"],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "max_epochs_prior": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        *,
        embedding_dim=None,
        hidden_layer_sizes=(512,),
        output_init="input_dim",
        label_weight=1.0,
        consistency_weight=0.1,
        recast_weight=0.1,
        dropout=0.4,
        mix_lambda=0.9,
        q_step=None,
        q_max=0.5,
        prior="orthogonal",
        quality_on="train",
        keep_all_priors=False,
        recast_reduction="sum",
        normalize_labels=False,
        rcond=None,
        lr=1e-3,
        lr_prior=5e-4,
        betas=(0.5, 0.999),
        weight_decay=0.0,
        batch_size=64,
        max_epochs="auto",
        min_updates=600,
        max_epochs_prior=None,
        output="embedding",
        metric="cosine",
        missing_labels="raise",
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=None,
        tol=0.0,
        warm_start=False,
        checkpoint=None,
        checkpoint_every=1,
        random_state=None,
        verbose=0,
        device="auto",
        callbacks=None,
        encoders=None,
        lr_encoder=None,
        n_image_features=None,
    ) -> None:
        self.embedding_dim = embedding_dim
        self.hidden_layer_sizes = hidden_layer_sizes
        self.output_init = output_init
        self.label_weight = label_weight
        self.consistency_weight = consistency_weight
        self.recast_weight = recast_weight
        self.dropout = dropout
        self.mix_lambda = mix_lambda
        self.q_step = q_step
        self.q_max = q_max
        self.prior = prior
        self.quality_on = quality_on
        self.keep_all_priors = keep_all_priors
        self.recast_reduction = recast_reduction
        self.normalize_labels = normalize_labels
        self.rcond = rcond
        self.lr = lr
        self.lr_prior = lr_prior
        self.betas = betas
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.min_updates = min_updates
        self.max_epochs_prior = max_epochs_prior
        self.output = output
        self.metric = metric
        self.missing_labels = missing_labels
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.random_state = random_state
        self.verbose = verbose
        self.device = device
        self.callbacks = callbacks
        self.encoders = encoders
        self.lr_encoder = lr_encoder
        self.n_image_features = n_image_features

    # -- networks and prior ----------------------------------------------------

    @property
    def _n_components(self):
        if self.embedding_dim is None:
            return max(_EMBEDDING_DIM, len(self.classes_))
        return self.embedding_dim

    def _build(self, n_features, n_classes):
        if self._n_components < n_classes:
            raise ValueError(
                f"embedding_dim={self.embedding_dim} must not be less than the number "
                f"of classes, {n_classes}, or the prior cannot be inverted. None takes "
                "a sufficient number."
            )
        if self.quality_on == "validation" and not self.early_stopping:
            raise ValueError(
                "quality_on='validation' evaluates the priors on held-out rows: set "
                "early_stopping=True, which holds out validation_fraction of the rows."
            )
        for name in n_features:
            self._learning_rate(name)
        self.quality_scores_, self.priors_, self.prior_modality_ = {}, {}, None
        self._has_label_term = False
        prior = self._build_prior(list(n_features), n_classes)
        module = nn.ModuleDict({"prior": prior})
        self._rows.grow(module, n_features, self._build_modality)
        return module

    def _build_modality(self, modality, n_inputs):
        widths = [n_inputs, *self._layer_sizes("hidden_layer_sizes", modality)]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        output = nn.Linear(widths[-1], self._n_components, bias=False)
        if self.output_init == "input_dim":
            bound = n_inputs**-0.5
            nn.init.uniform_(output.weight, -bound, bound)
        return {"encoders": nn.Sequential(*layers, output, UnitLength())}

    def _build_prior(self, modalities, n_classes):
        """Return the initial prior, frozen if it is not to be learned."""
        shape = (self._n_components, n_classes)
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
                    "The prior was learned for other classes, or for the same classes "
                    f"in another order: expected {self.classes_.tolist()}, got "
                    f"{weight.classes_.tolist()}."
                )
            weight = weight.prior_
        weight = check_matrix(weight, "prior", dtype=np.float32, copy=True)
        if weight.shape != shape:
            raise ValueError(
                f"The prior must have the shape (embedding_dim, n_classes) = {shape}, "
                f"got {weight.shape}."
            )
        return Prior(torch.from_numpy(weight), self.rcond).freeze()

    # -- training --------------------------------------------------------------

    def _phases(self, module, task):
        prior = module["prior"]
        if prior.weight.requires_grad:
            yield from self._learn_prior(module, task)
            prior.freeze()
        self._has_label_term |= self.label_weight > 0
        self.prior_ = prior.weight.detach().cpu().numpy().copy()
        weights = {
            "label_loss": self.label_weight,
            "consistency_loss": self.consistency_weight,
            "recast_loss": self.recast_weight,
        }
        for modality in task.modalities:
            loss = partial(
                encoder_loss,
                modality=modality,
                weights=weights,
                dropout=self.dropout,
                mix_lambda=self.mix_lambda,
                q_max=self.q_max,
                recast_reduction=self.recast_reduction,
                normalize_labels=self.normalize_labels,
            )
            parameters = list(module["encoders"][modality].parameters())
            lr = self._learning_rate(modality)
            yield task.make_phase(
                modality,
                name=modality,
                players=[self._player(modality, parameters, loss, lr)],
                schedule=partial(
                    self._exponent, first=1, n_epochs=task.n_epochs(modality)
                ),
                **self._validate_by_labels(module, modality, task),
            )

    def _learn_prior(self, module, task):
        """Train encoder and prior of each modality, then keep the best prior."""
        prior = module["prior"]
        start, scores = prior.weight.detach().clone(), self.quality_scores_
        weights: dict[str, torch.Tensor] = {}
        candidates = task.modalities if self.prior == "select" else [self.prior]
        for modality in candidates:
            encoder = module["encoders"][modality]
            # The second stage starts again from the same initial weights.
            untrained = copy.deepcopy(encoder.state_dict())
            prior.set_weight(start)
            evaluated = task.train(modality)
            if self.quality_on == "validation":
                evaluated = task.held_out(modality)
            best = BestPrior(modality, evaluated)
            name = f"prior_{modality}"
            n_epochs = self.max_epochs_prior or task.n_epochs(modality)
            parameters = [prior.weight, *encoder.parameters()]
            loss = partial(prior_loss, modality=modality, dropout=self.dropout)
            yield task.make_phase(
                modality,
                name=name,
                players=[self._player(name, parameters, loss, self.lr_prior)],
                schedule=partial(self._exponent, first=0, n_epochs=n_epochs),
                max_epochs=n_epochs,
                end_epoch=best,
                dataset_valid=None,
            )
            encoder.load_state_dict(untrained)
            scores[modality] = best.quality
            weights[modality] = best.weight
        # The first by name of equally good ones: the order of modalities is irrelevant.
        self.prior_modality_ = max(sorted(weights), key=lambda name: scores[name])
        prior.set_weight(weights[self.prior_modality_])
        if self.keep_all_priors:
            self.priors_ = {name: W.cpu().numpy() for name, W in weights.items()}

    def _exponent(self, epoch, first, n_epochs):
        step = self.q_max / n_epochs if self.q_step is None else self.q_step
        return {"q": min(self.q_max, step * (epoch + first))}

    def _validate_by_labels(self, module, modality, task):
        """Return how a phase scores held-out rows of a modality, if there are any."""
        held_out = task.held_out(modality)
        if held_out is None:
            return {}
        y = task.indicator(modality)
        inverse = module["prior"].inverse.cpu().numpy()
        recast = normalize(y.astype(np.float32) @ inverse, copy=False)
        score = partial(
            self._recast_map,
            modality=modality,
            dataset=held_out,
            gallery=recast,
            y_gallery=y,
        )
        return {"score_valid": score}

    def _recast_map(self, module, modality, dataset, gallery, y_gallery):
        """Return the mAP of held-out rows that query the recast training labels."""
        queries = encode_dataset(module["encoders"][modality], dataset, modality)
        with warnings.catch_warnings():
            # A held-out row may have labels that no training row of its modality has.
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            return mean_average_precision(
                queries.cpu().numpy(),
                gallery,
                indicator_of(dataset),
                y_gallery,
                metric=self.metric,
            )

    # -- encoding --------------------------------------------------------------

    def _check_label_head(self):
        if not self._has_label_term:
            raise ValueError(
                "predict_proba needs encoders that were trained by the label loss: fit "
                "with label_weight > 0."
            )

    def _label_head(self, module, modality):
        return module["prior"]
