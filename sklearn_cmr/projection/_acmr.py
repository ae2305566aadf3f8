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

from sklearn_cmr._fitting import is_unbeaten
from sklearn_cmr.base import (
    CrossModalTransformer,
    LabelProbabilityMixin,
    ProjectorMixin,
)
from sklearn_cmr.nn.layers import ACTIVATIONS, make_mlp
from sklearn_cmr.nn.losses import LABEL_LOSSES
from sklearn_cmr.nn.pairwise import (
    cosine_similarities,
    masked_row_means,
    mean_weights,
    relevance,
    root,
    squared_distances,
)
from sklearn_cmr.training import Player


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


def triplet_loss(form, squared, masks, *, margin, neg_weight):
    """Structure preservation for the anchors of one modality, or of both.

    Parameters
    ----------
    form : {"paper", "ranking", "contrastive"}

    squared : tensor of shape (b, b)
        Squared distances from the anchors (rows) to the items of the other modality.

    masks : bool tensor of shape (n_directions, 2, b, b)
        Positives and negatives of the anchors, which are the rows of a mask; the second
        direction has the columns of `squared` as anchors.

    margin, neg_weight : float

    Returns
    -------
    loss : 0-d tensor
        Summed over the directions. Anchors without a negative are left out of the mean
        over negatives.
    """
    if form == "ranking":
        halves = torch.stack([squared, squared.T][: len(masks)]) / 2
        near, _ = masked_row_means(halves, masks[:, 0])
        far, has_negative = masked_row_means(halves, masks[:, 1])
        hinges = F.relu(margin + near / neg_weight - far)
        return masked_row_means(hinges, has_negative)[0].sum()
    # The directions share distances and hinges: only the weights in the means differ.
    weights = mean_weights(masks, squared.dtype)
    weights = weights[0] if len(masks) == 1 else weights[0] + weights[1].mT
    if form == "contrastive":
        near, distances = len(masks) * squared.diagonal().mean(), squared
    else:
        distances = root(squared)
        near = (distances * weights[0]).sum()
    return near + neg_weight * (F.relu(margin - distances) * weights[1]).sum()


def weight_norms(networks):
    """Sum the Frobenius norms of the weight matrices of some networks."""
    norms = [
        layer.weight.norm()
        for network in networks
        for layer in network
        if isinstance(layer, nn.Linear)
    ]
    return torch.stack(norms).sum()


def domain_loss(logits):
    """Cross entropy of the modality classifier, summed over both modalities.

    Parameters
    ----------
    logits : tensor of shape (2 * b, 2)
        Of image embeddings, then of text embeddings.
    """
    return 2 * F.cross_entropy(logits, _is_text(logits))


def domain_accuracy(logits):
    """Share of right verdicts of the modality classifier; see :func:`domain_loss`."""
    return (logits.argmax(1) == _is_text(logits)).float().mean()


def _is_text(logits):
    return torch.arange(len(logits), device=logits.device) // (len(logits) // 2)


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
    """Return what projectors and label classifier minimise, and its terms.

    Subtracting the adversarial loss, with the modality classifier held fixed, gives
    the projectors the gradient of a gradient reversal layer.
    """
    images, texts = batch.features["image"], batch.features["text"]
    z_img, z_txt = module["image"](images), module["text"](texts)
    z = torch.cat([z_img, z_txt])
    batch.shared["z"] = z.detach()

    relevant = relevance(batch.y, batch.y)
    squared = squared_distances(z_img, z_txt)
    masks = []
    for from_anchors, inputs in ((squared, images), (squared.T, texts)):
        needs_inputs = triplet_sampling == "hard_input"
        cosines = cosine_similarities(inputs, inputs) if needs_inputs else None
        masks += sample_triplets(
            triplet_sampling, relevant, from_anchors, cosines, state.generator
        )
    triplet = triplet_loss(
        triplet_form,
        squared,
        torch.stack(masks).unflatten(0, (2, 2)),
        margin=margin,
        neg_weight=neg_weight,
    )
    # Twice the mean over both modalities is the sum of the two means.
    label = 2 * label_loss(module["classifier"](z), batch.y.repeat(2, 1))
    adversarial = domain_loss(module["domain"](z))

    loss = alpha * triplet + beta * label
    terms = {"triplet_loss": triplet, "label_loss": label}
    if reg is not None:
        terms["weight_norm"] = weight_norms([module["image"], module["text"]])
        loss = loss + reg * terms["weight_norm"]
    terms["embedding_loss"] = loss
    reversal = adv_weight * state.scalars["grl_coefficient"]
    return loss - reversal * adversarial, terms


def domain_objective(module, batch, state):
    """Return what the modality classifier minimises, the embeddings held fixed."""
    logits = module["domain"](batch.shared["z"])
    return domain_loss(logits), {"domain_accuracy": domain_accuracy(logits)}


class ACMRProjector(LabelProbabilityMixin, ProjectorMixin, CrossModalTransformer):
    r"""Adversarial cross-modal retrieval (ACMR).

    Two perceptrons project paired image and text features into a common space, where a
    classifier recognises the labels and another one, the modality classifier, tries to
    tell images from texts. The projectors learn to help the first and to deceive the
    second; a triplet loss draws items with common labels together across the
    modalities and keeps items without any apart [1]_.

    With the embeddings :math:`v_i = f_V(x_i^{img})` and :math:`t_i = f_T(x_i^{txt})` of
    the :math:`b` pairs of a batch, and over all layers :math:`l` of the projectors,

    .. math::

        L_{imd} &= -\frac{1}{b} \sum_i \sum_c y_{ic} \left[ \log p_c(v_i)
            + \log p_c(t_i) \right] \\
        L_{imi} &= \frac{1}{b} \sum_i \Big[ \operatorname*{mean}_{j \in P_i} d(v_i, t_j)
            + \lambda \operatorname*{mean}_{k \in N_i} \max(0, \mu - d(v_i, t_k)) \Big]
            + \text{the same from texts to images} \\
        L_{adv} &= -\frac{1}{b} \sum_i \left[ \log D_{img}(v_i)
            + \log D_{txt}(t_i) \right] \\
        L_{emb} &= \alpha L_{imi} + \beta L_{imd}
            + \rho \sum_l \left( \| W_V^l \|_F + \| W_T^l \|_F \right)

    where :math:`d` is the Euclidean distance, and items share a label with the anchor
    :math:`i` in :math:`P_i` and none in :math:`N_i`. The projectors and the label
    classifier minimise :math:`L_{emb} - \omega g L_{adv}`, the modality classifier
    :math:`D` minimises :math:`L_{adv}`, in turns on every batch. In epoch :math:`e`,
    counted from 0, the game has the strength
    :math:`g = 2 / (1 + \exp(-\gamma e / e_{max})) - 1`.

    Parameters
    ----------
    embedding_dim : int, default=64
        Width of the common space.

    hidden_layer_sizes : tuple of int, or dict, default=(512,)
        Widths of the hidden layers of both projectors, or of each:
        ``{"image": (...), "text": (...)}``.

    activation : {"tanh", "relu", "logistic", "identity"}, default="relu"
        Follows every layer of the projectors, the last one included: embeddings lie
        between -1 and 1 with "tanh", and are not negative with "relu".

    init : {"glorot", "default"}, default="glorot"
        Initial weights of all networks: Glorot's uniform with zero biases, or torch's.

    domain_hidden_layer_sizes : tuple of int, default=(50,)
        Widths of the hidden layers of the modality classifier.

    domain_activation : {"tanh", "relu", "logistic", "identity"}, default="relu"
        Follows its hidden layers; "identity" makes it linear.

    alpha : float, default=1.0
        Weight :math:`\alpha \geq 0` of the triplet loss; 0 leaves it out.

    beta : float, default=0.5
        Weight :math:`\beta \geq 0` of the label loss; 0 leaves it out.

    margin : float, default=6.0
        Distance :math:`\mu \geq 0` up to which a negative is pushed away. See Notes.

    neg_weight : float, default=3.0
        Weight :math:`\lambda \geq 0` of the negatives relative to the positives; 0
        leaves them out. The "ranking" form needs more than 0.

    reg : float, default=0.0
        Weight :math:`\rho \geq 0` of the norms of the projectors' weights.

    adv_weight : float, default=0.3
        Weight :math:`\omega \geq 0` of the game; with 0 the projectors ignore it.

    triplet_form : {"paper", "ranking", "contrastive"}, default="paper"
        What the triplet loss is for an anchor:

        - "paper": :math:`L_{imi}` above;
        - "ranking": :math:`\max(0, \mu + Q^+ / \lambda - Q^-)` with the mean halves
          :math:`Q^\pm` of the squared distances to its positives and negatives;
        - "contrastive": the squared distance to its partner, plus :math:`\lambda` times
          the mean of :math:`\max(0, \mu - d^2)` over its negatives.

        Anchors without a negative in the batch are left out of what involves one.

    triplet_sampling : {"all", "hard", "hard_input", "random"}, default="all"
        Positives and negatives of an anchor, out of the batch's other modality:

        - "all": every item with a common label; every item without one;
        - "hard": its partner; the negative closest to it in the common space;
        - "hard_input": its partner; the partner of the negative whose input features,
          in the anchor's modality, have the largest cosine with the anchor's;
        - "random": one of each.

    label_loss : {"auto", "softmax", "bce"}, default="auto"
        "softmax" shares one unit of probability among the labels of a row, "bce" uses
        one sigmoid a class and averages over the classes. "auto" is "softmax" if every
        row has one label, else "bce".

    grl_schedule : "sigmoid" or float, default="sigmoid"
        Strength :math:`g \geq 0` of the game (of the gradient reversal): the growing
        one above, or a constant.

    grl_gamma : float, default=10.0
        Steepness :math:`\gamma > 0` of the "sigmoid" schedule.

    n_projector_steps : int, default=1
        Steps of the projectors for each step of the modality classifier, at least 1.

    lr : float, default=3e-4
        Learning rate of the projectors and the label classifier.

    lr_domain : float, default=None
        Learning rate of the modality classifier; None takes `lr`.

    betas : tuple of 2 floats, default=(0.5, 0.999)
        Decay rates of Adam's moments, in [0, 1).

    batch_size : int, default=64
        Pairs in a batch.

    max_epochs : int, default=30
        Epochs of a call of :meth:`fit`.

    metric : {"cosine", "euclidean"}, default="cosine"
        How :meth:`score` and the validation rank.

    early_stopping : bool, default=False
        Whether to hold out pairs, stop when their mAP no longer grows, and return to
        the weights of the best epoch.

    validation_fraction : float, default=0.1
        Share of the pairs to hold out, in (0, 1).

    n_iter_no_change : int, default=10
        Epochs without a better validation mAP before the training stops.

    tol : float, default=0.0
        What the validation mAP must grow by to count as better.

    warm_start : bool, default=False
        Whether :meth:`fit` continues from the last call, with its classes and widths.

    random_state : int, RandomState instance or None, default=None
        Determines initial weights, held-out pairs, batches and random triplets. Pass an
        int for the same result in every call.

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

    n_features_in_ : int
        Number of features of both modalities together.

    n_image_features_in_, n_text_features_in_ : int
        Number of features of each modality.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features. Only if all of them are strings.

    n_iter_ : int
        Number of epochs run.

    history_ : list of dict
        For every epoch: its number `epoch`, and, averaged over its batches,
        `triplet_loss` (:math:`L_{imi}`), `label_loss` (:math:`L_{imd}`), `weight_norm`
        (if `reg` > 0), `embedding_loss` (:math:`L_{emb}`, also as `train_loss`),
        `projector_loss` (what the projectors minimise), `domain_loss`
        (:math:`L_{adv}`), `domain_accuracy` (of the modality classifier; 0.5 where it
        is beaten), `grl_coefficient` (:math:`g`), and `seconds`; `valid_map` and
        `valid_loss` (:math:`L_{emb}`) with `early_stopping`.

    loss_curve_ : list of float
        `embedding_loss` of every epoch.

    module_ : torch.nn.ModuleDict
        The networks "image", "text", "classifier" and "domain" (the modality
        classifier).

    label_loss_ : {"softmax", "bce"}
        The label loss used.

    See Also
    --------
    PairTransformer : Standardise, or otherwise prepare, each modality.
    sklearn.cross_decomposition.CCA : A common space without labels.

    Notes
    -----
    **The game.** :math:`L_{emb} - L_{adv}` does not fall to a floor: the two players
    pull :math:`L_{adv}` in opposite directions, until the modality classifier can only
    guess (`domain_accuracy` 0.5, :math:`L_{adv} = 2 \log 2`). Watch these and
    `embedding_loss`. A modality classifier that is never wrong has nothing to teach;
    :meth:`fit` warns of it.

    **Scaling.** Standardise the features: the networks are initialised for that, tanh
    saturates on counts, and histograms that sum to 1 hardly move it. "hard_input"
    compares input features by their cosine; pass them uncentred there. Distances grow
    with the dimension: scale `margin` with the square root of `embedding_dim`, or with
    `embedding_dim` itself in the forms with squared distances.

    **Published settings**, those of the code for Wikipedia [2]_::

        ACMRProjector(
            embedding_dim=40,
            hidden_layer_sizes={"image": (512, 100), "text": (40, 100)},
            activation="tanh", domain_hidden_layer_sizes=(20, 10),
            domain_activation="identity", triplet_form="ranking",
            triplet_sampling="hard_input", margin=0.1, neg_weight=0.2, alpha=64,
            beta=100, adv_weight=1, lr=1e-4, batch_size=64, max_epochs=50,
            metric="euclidean",
        )

    That code sums the triplets over a batch of 64, here they are averaged: hence
    ``alpha=64``.

    **Departures from that code**, all of them towards the paper. There, the adversarial
    gradient does not reach the projectors, the label classifier keeps its random
    weights, rows are not shuffled and the last ones not used, labels are encoded anew
    in every batch, one hinge acts on the sums over the batch, and where all
    similarities are negative, a positive is taken for the negative. Beyond the paper,
    terms are means, so that no weight depends on the batch size, the modality
    classifier has a non-linear layer, and the defaults are this package's own, for
    standardised features.

    **Practice.** With `warm_start`, weights, Adam's moments and the schedule continue:
    the game keeps its final strength. On a GPU search with ``n_jobs=1``, since the
    processes would share its memory.

    References
    ----------
    .. [1] B. Wang, Y. Yang, X. Xu, A. Hanjalic, H. T. Shen. "Adversarial Cross-Modal
       Retrieval". ACM International Conference on Multimedia, 154-162, 2017.
       :doi:`10.1145/3123266.3123326`

    .. [2] https://github.com/sunpeng981712364/ACMR_demo

    Examples
    --------
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn_cmr import ACMRProjector
    >>> from sklearn_cmr.datasets import make_cross_modal_classification
    >>> data = make_cross_modal_classification(300, n_classes=4, random_state=0)
    >>> A, A_test, B, B_test, y, y_test = train_test_split(*data, random_state=0)
    >>> acmr = ACMRProjector(
    ...     embedding_dim=16, lr=1e-3, max_epochs=10, random_state=0
    ... ).fit(A, B, y)
    >>> Z_img, Z_txt = acmr.transform(A_test, B_test)
    >>> Z_img.shape, Z_txt.shape
    ((75, 16), (75, 16))
    >>> print(f"{acmr.score(A_test, B_test, y_test):.1f}")
    0.9
    """

    _network_parameters = (
        "hidden_layer_sizes",
        "activation",
        "domain_hidden_layer_sizes",
        "domain_activation",
    )
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
        "grl_schedule": [
            StrOptions({"sigmoid"}),
            Interval(Real, 0, None, closed="left"),
        ],
        "grl_gamma": [Interval(Real, 0, None, closed="neither")],
        "n_projector_steps": [Interval(Integral, 1, None, closed="left")],
        "lr_domain": [Interval(Real, 0, None, closed="neither"), None],
        "betas": ["array-like"],
    }

    def __init__(
        self,
        *,
        embedding_dim=64,
        hidden_layer_sizes=(512,),
        activation="relu",
        init="glorot",
        domain_hidden_layer_sizes=(50,),
        domain_activation="relu",
        alpha=1.0,
        beta=0.5,
        margin=6.0,
        neg_weight=3.0,
        reg=0.0,
        adv_weight=0.3,
        triplet_form="paper",
        triplet_sampling="all",
        label_loss="auto",
        grl_schedule="sigmoid",
        grl_gamma=10.0,
        n_projector_steps=1,
        lr=3e-4,
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
        if self.triplet_form == "ranking" and self.neg_weight == 0:
            raise ValueError(
                "triplet_form='ranking' ranks positives against negatives and needs "
                "neg_weight > 0; got neg_weight=0."
            )
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
        played = [
            row for row in self.history_ if self.adv_weight * row["grl_coefficient"] > 0
        ]
        if is_unbeaten(played, "domain_accuracy"):
            warnings.warn(
                "The modality classifier has told images from texts without error in "
                "the second half of the epochs: the adversarial game has no effect. "
                "Standardise the features, if they are not: "
                "PairTransformer(image=StandardScaler(), text=StandardScaler()). "
                "Otherwise lower lr_domain, raise adv_weight, or set adv_weight=0 to "
                "leave the game out on purpose.",
                ConvergenceWarning,
                stacklevel=2,
            )

    def _label_probabilities(self, module, modality, X):
        logits = module["classifier"](self._encode(module, modality, X))
        return logits.softmax(1) if self.label_loss_ == "softmax" else logits.sigmoid()
