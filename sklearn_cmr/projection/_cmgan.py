"""Cross-modal generative adversarial networks."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings
from functools import partial
from numbers import Integral, Real

import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklearn_cmr._fitting import is_unbeaten
from sklearn_cmr._inputs.layout import MODALITIES
from sklearn_cmr.base import (
    CrossModalTransformer,
    LabelProbabilityMixin,
    ProjectorMixin,
)
from sklearn_cmr.nn.losses import LABEL_LOSSES
from sklearn_cmr.nn.normalization import (
    Network,
    make_normalized_layers,
    share_last_layer,
)
from sklearn_cmr.training import Player
from sklearn_cmr.training.anchors import AnchorSampler, anchors_in_order

_OTHER = dict(zip(MODALITIES, reversed(MODALITIES), strict=True))


def classifier_of(module, modality):
    """Return the label classifier of a modality, shared or not."""
    own = f"{modality}_classifier"
    return module[own if own in module else "classifier"]


# -- networks ----------------------------------------------------------------------


class InterDiscriminator(nn.Module):
    """Discriminator of codes beside features.

    Its first layer keeps the weights for codes apart from those for features: what it
    makes of features serves for all codes that stand beside them.

    Parameters
    ----------
    n_code, n_features : int

    hidden_layer_sizes : list of int

    negative_slope : float
    """

    def __init__(self, n_code, n_features, hidden_layer_sizes, negative_slope):
        super().__init__()
        sizes = [n_code + n_features, *hidden_layer_sizes]
        # Nobody asks a discriminator about a row alone.
        layers = make_normalized_layers(sizes, negative_slope, False)
        layers.append(nn.Linear(sizes[-1], 1))
        first = layers.pop(0)
        of_code, of_features = first.weight.detach().split([n_code, n_features], 1)
        self.of_code = self._make_part(of_code, first.bias)
        self.of_features = self._make_part(of_features, None)
        self.others = Network(*layers)

    @staticmethod
    def _make_part(weight, bias):
        # On "meta", no weights are drawn only to be replaced.
        n_outputs, n_inputs = weight.shape
        part = nn.Linear(n_inputs, n_outputs, bias=bias is not None, device="meta")
        part.weight, part.bias = nn.Parameter(weight.clone()), bias
        return part

    def forward(self, code, seen):
        """Return logits of codes, beside what `of_features` has seen."""
        return self.others(self.of_code(code).add_(seen))

    def forward_apart(self, codes, seen):
        """Judge kinds of codes, each normalised by itself.

        Parameters
        ----------
        codes : tensor of shape (b, n_kinds, n_code)

        seen : tensor of shape (b, n_kinds, n_outputs) or (b, 1, n_outputs)
        """
        return self.others.forward_apart(self.of_code(codes).add_(seen))


# -- losses ------------------------------------------------------------------------


def kept(batch, name, make):
    """Make what stays the same while one side takes its steps in the first one alone.

    The autoencoders stand still while the discriminators move, and the other way round.
    """
    if name not in batch.shared:
        with torch.no_grad():
            batch.shared[name] = make()
    return batch.shared[name]


def held_code(module, batch, modality, role=0):
    """Encode anchors (role 0) or mismatched rows (1), the encoder held fixed.

    They are normalised by their own batch and leave the running statistics alone.
    """
    features = batch.features[modality][role]
    return kept(batch, f"{modality}_code_{role}", lambda: module[modality](features))


def intra_logits(module, batch, modality):
    """Let the intra-modal discriminator judge features and their reconstructions."""

    def show():
        decoded = module[f"{modality}_decoder"](held_code(module, batch, modality))
        return torch.stack([batch.features[modality][0], decoded], 1)

    shown = kept(batch, f"{modality}_beside_reconstructions", show)
    return module[f"{modality}_intra"](shown).squeeze(2)


def inter_logits(module, batch, modality, mismatch):
    """Let the inter-modal discriminator judge codes beside features of the modality.

    These are the codes of the same rows, of their partners and, unless `mismatch` is
    None, of mismatched rows.
    """

    def show():
        codes = [held_code(module, batch, m) for m in (modality, _OTHER[modality])]
        if mismatch is not None:
            codes.append(held_code(module, batch, modality, role=1))
        return torch.stack(codes, 1)

    def beside():
        anchors, *others = batch.features[modality]
        rows = [anchors, anchors, *others] if mismatch == "self" else [anchors]
        return torch.stack(rows, 1)

    codes = kept(batch, f"{modality}_codes", show)
    features = kept(batch, f"{modality}_beside_{mismatch}", beside)
    discriminator = module[f"{modality}_inter"]
    seen = discriminator.of_features(features)
    return discriminator.forward_apart(codes, seen).squeeze(2)


def discriminator_objective(
    module,
    batch,
    state,
    *,
    intra,
    inter,
    mismatch,
    real_weight,
    cross_weight,
    mismatch_weight,
):
    """Return what the discriminators minimise, the sum over all of them.

    Those of the modalities `intra` tell features from their reconstructions. Those of
    the modalities `inter` see a code beside features, and tell the code of these
    features from that of their partner and, unless `mismatch_weight` is None, from that
    of a mismatched row.
    """
    if mismatch_weight is None or not inter:
        mismatch = None
    of_inter = [inter_logits(module, batch, modality, mismatch) for modality in inter]
    of_intra = [intra_logits(module, batch, modality) for modality in intra]
    if mismatch is not None:
        # A third kind, of no weight, so that all verdicts are of one shape.
        of_intra = [F.pad(logits, (0, 1)) for logits in of_intra]
    verdicts = torch.stack([*of_intra, *of_inter], 2)

    def weigh():
        anchors = batch.y[0]
        ones = anchors.new_ones(len(anchors))
        weights_intra = [ones, ones]
        weights_inter = [real_weight * ones, cross_weight * ones]
        if mismatch is not None:
            is_apart = (anchors * batch.y[1]).sum(1) == 0
            share = len(anchors) / is_apart.sum().clamp_min(1)
            weights_intra.append(torch.zeros_like(ones))
            weights_inter.append(mismatch_weight * share * is_apart)
        weights = [torch.stack(weights_intra, 1) for _ in intra]
        weights += [torch.stack(weights_inter, 1) for _ in inter]
        return torch.stack(weights, 2) / len(anchors)

    weights = kept(batch, "verdict_weights", weigh)
    is_real = torch.arange(verdicts.shape[1], device=verdicts.device)[:, None] == 0
    losses = F.softplus(torch.where(is_real, -verdicts, verdicts)) * weights
    losses = losses.sum((0, 1))
    is_right = (verdicts > 0) == is_real
    accuracies = is_right[:, :2].to(weights).mean((0, 1))
    names = [f"{m}_intra" for m in intra] + [f"{m}_inter" for m in inter]
    # Detached before it is taken apart, which the backward pass would have to undo.
    by_name = zip(names, losses.detach().unbind(), accuracies.unbind(), strict=True)
    terms: dict[str, torch.Tensor] = {}
    for name, loss, accuracy in by_name:
        terms |= {f"{name}_loss": loss, f"{name}_accuracy": accuracy}
    return losses.sum(), terms


def generator_objective(
    module,
    batch,
    state,
    *,
    modalities,
    inter_weight,
    intra_weight,
    label_weight,
    reconstruction_weight,
    label_loss,
):
    """Return what the generators of some modalities minimise; None leaves a term out.

    A generator's first pass over a batch moves its running statistics. Of held-out rows
    the game says nothing: they are judged by the other terms, in both modalities.
    """
    modalities = modalities if module.training else MODALITIES
    plays_inter = module.training and inter_weight is not None
    plays_intra = module.training and intra_weight is not None
    losses, verdicts, terms = [], [], {}
    for modality in modalities:
        inputs, summed = batch.features[modality][0], f"{modality}_embedding_loss"
        track = summed not in batch.shared
        code = module[modality](inputs, track)
        own = []
        if label_weight is not None:
            label = label_loss(classifier_of(module, modality)(code), batch.y[0])
            terms[f"{modality}_label_loss"] = label
            own.append(label_weight * label)
        if intra_weight is not None or reconstruction_weight is not None:
            decoded = module[f"{modality}_decoder"](code, track)
        if reconstruction_weight is not None:
            error = F.mse_loss(decoded, inputs)
            terms[f"{modality}_reconstruction_loss"] = error
            own.append(reconstruction_weight * error)
        losses.append(sum(own) if own else inputs.new_zeros(()))
        batch.shared[summed] = losses[-1].detach()
        batch.shared[f"{modality}_code_0"] = code.detach()
        if plays_inter:
            verdicts.append(posing_logits(module, batch, modality, code))
        if plays_intra:
            verdicts.append(module[f"{modality}_intra"](decoded))
    loss = sum(losses)
    if verdicts:
        played = [inter_weight] * plays_inter + [intra_weight] * plays_intra

        def weigh():
            # Filled on the device: a copy from the host would be waited for.
            return torch.stack([loss.new_full((), weight) for weight in played])

        weights = kept(batch, "game_weights", weigh)
        games = F.softplus(-torch.cat(verdicts, 1)).mean(0)  # called real
        games = games.view(len(modalities), -1) @ weights
        loss = loss + games.sum()
        # Detached before it is taken apart, which the backward pass would have to undo.
        losses = [a + b for a, b in zip(losses, games.detach().unbind(), strict=True)]
    for modality, own in zip(modalities, losses, strict=True):
        terms[f"{modality}_generator_loss"] = own
    if MODALITIES[-1] in modalities:  # by now, both have been there
        sums = [batch.shared[f"{modality}_embedding_loss"] for modality in MODALITIES]
        codes = [batch.shared[f"{modality}_code_0"] for modality in MODALITIES]
        terms["embedding_loss"] = sum(sums)
        terms["code_gap"] = F.l1_loss(*codes)
    return loss, terms


def posing_logits(module, batch, modality, code):
    """Let codes pass for those of their partners, before the other discriminator."""
    other = _OTHER[modality]
    discriminator = module[f"{other}_inter"]
    features = batch.features[other][0]
    seen = kept(batch, f"{other}_seen", lambda: discriminator.of_features(features))
    return discriminator(code, seen)


# -- the estimator -----------------------------------------------------------------


class CMGANProjector(LabelProbabilityMixin, ProjectorMixin, CrossModalTransformer):
    r"""Cross-modal generative adversarial networks (CM-GANs).

    Two autoencoders, one for each modality, share the last layer of their encoders;
    its output is the common space. Intra-modal discriminators learn to tell features
    from their reconstructions. Inter-modal ones see a code beside the features of one
    modality, and learn to tell the code of these very features from that of their
    partner in the other modality and from that of a mismatched item, which has no label
    in common. The autoencoders learn to deceive all of them, so that the codes of the
    modalities become alike, and a classifier keeps the labels apart [1]_.

    With the codes :math:`v_i = E_V(x_i)` of images and :math:`t_i = E_T(z_i)` of texts,
    the decoders :math:`R`, a mismatched item :math:`\bar x_i` for every anchor, and the
    mean cross entropies :math:`\ell_1(q) = -\operatorname{mean}_i \log \sigma(q_i)` and
    :math:`\ell_0(q) = -\operatorname{mean}_i \log \sigma(-q_i)` of logits over a batch,

    .. math::

        J_{D_V} &= \ell_1(D_V(x_i)) + \ell_0(D_V(R_V(v_i))) \\
        J_{C_V} &= \rho\, \ell_1(C_V(v_i, x_i)) + \kappa\, \ell_0(C_V(t_i, x_i))
            + \mu\, \ell_0(C_V(E_V(\bar x_i), x_i)) \\
        J_{G_V} &= \alpha\, \ell_1(C_T(v_i, z_i)) + \beta\, \ell_1(D_V(R_V(v_i)))
            + \gamma\, L_{label}(v_i) + \delta \operatorname{mean} (R_V(v_i) - x_i)^2

    and the same with images and texts exchanged. On every batch each discriminator
    takes its steps, first the intra-modal ones, :math:`D`, then the inter-modal ones,
    :math:`C`; then the autoencoders and the label classifier take theirs, towards less
    :math:`J_{G_V} + J_{G_T}`.

    Parameters
    ----------
    embedding_dim : int, default=64
        Width of the common space.

    hidden_layer_sizes : tuple of int, or dict, default=(256,)
        Widths of the hidden layers of both encoders, or of each:
        ``{"image": (...), "text": (...)}``. With `share_last_layer`, the last of them
        must be the same.

    decoder_hidden_layer_sizes : tuple of int, or dict, default=None
        The same for the decoders; None mirrors the encoders.

    discriminator_hidden_layer_sizes : tuple of int, default=(512,)
        Widths of the hidden layers of the inter-modal discriminators. The intra-modal
        ones are linear.

    negative_slope : float, default=0.2
        Slope, in [0, 1), of the leaky ReLU below 0. It follows batch normalisation in
        all hidden layers and in the last layer of the encoders.

    share_last_layer : bool, default=True
        Whether the last layer of the encoders has one set of weights, scales and
        shifts. The running statistics of its normalisation are always kept apart.

    share_classifier : bool, default=True
        Whether one label classifier serves both modalities. This aligns the classes of
        the modalities from the start. With one for each, the inter-modal game alone
        aligns them, which takes more epochs.

    inter_weight : float, default=1.0
        Weight :math:`\alpha \geq 0` of the inter-modal game; 0 leaves it out.

    intra_weight : float, default=1.0
        Weight :math:`\beta \geq 0` of the intra-modal game; 0 leaves it out.

    label_weight : float, default=0.3
        Weight :math:`\gamma \geq 0` of the label loss; 0 leaves it out.

    reconstruction_weight : float, default=0.0
        Weight :math:`\delta \geq 0` of the squared error of the reconstructions; 0
        leaves it out, and the decoders learn from the intra-modal game alone.

    real_weight : float, default=1.0
        Weight :math:`\rho \geq 0` of the features' own codes in :math:`J_C`.

    cross_weight : float, default=0.5
        Weight :math:`\kappa \geq 0` of the partners' codes in :math:`J_C`.

    mismatch_weight : float, default=0.5
        Weight :math:`\mu \geq 0` of the mismatched items' codes in :math:`J_C`; 0
        leaves them out.

    mismatch : {"anchor", "self"}, default="anchor"
        What stands beside the code of a mismatched item: the anchor's features
        :math:`x_i`, or its own, :math:`\bar x_i`, as in the published code. The latter
        pairs are no different from those that are to be called real.

    label_loss : {"auto", "softmax", "bce"}, default="softmax"
        "softmax" shares one unit of probability among the labels of a row, "bce" uses
        one sigmoid a class and averages over the classes. "auto" is "softmax" if every
        row has one label, else "bce". The latter predicts labels apart from each other;
        "softmax" tends to rank better.

    sampler : {"class_balanced", "shuffle"}, default="class_balanced"
        How anchors are drawn:

        - "class_balanced": a class, then one of its items, with replacement, for as
          many full batches as cover the number of pairs;
        - "shuffle": every pair once an epoch, in random order.

        Mismatched items are drawn alike, out of those without a common label.

    generator_update : {"joint", "alternate"}, default="joint"
        "joint" moves both autoencoders in one step. "alternate" moves that of the
        images, then that of the texts; what they share then belongs to two optimizers.

    n_generator_steps : int, default=5
        Steps of the autoencoders on every batch, at least 1.

    n_discriminator_steps : int, default=3
        Steps of every discriminator on every batch, at least 1.

    lr : float, default=1e-3
        Learning rate of the autoencoders and the label classifier.

    lr_discriminator : float, default=None
        Learning rate of the discriminators; None takes `lr`.

    lr_decay : float, default=0.5
        What all learning rates are multiplied with every `lr_decay_every` epochs, in
        (0, 1].

    lr_decay_every : int, default=2
        Epochs between two decays, at least 1.

    betas : tuple of 2 floats, default=(0.5, 0.999)
        Decay rates of Adam's moments, in [0, 1).

    batch_size : int, default=64
        Pairs in a batch, at least 2.

    max_epochs : int, default=10
        Epochs of a call of :meth:`fit`. With `warm_start`, the learning rates of
        another call go on where those of the last one stopped.

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
        Determines initial weights, held-out pairs, anchors and mismatched items. Pass
        an int for the same result in every call.

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
        For every epoch: its number `epoch`, `seconds`, and, averaged over its batches,
        with `{m}` for "image" and "text",

        - `{m}_generator_loss` (:math:`J_G`), and with "joint" `generator_loss`, the sum
          of both;
        - `{m}_label_loss`, and with `reconstruction_weight` > 0
          `{m}_reconstruction_loss`;
        - `{m}_intra_loss` (:math:`J_D`) and `{m}_inter_loss` (:math:`J_C`) of the
          discriminators, and `discriminator_loss`, their sum;
        - `{m}_intra_accuracy`, features against reconstructions, and
          `{m}_inter_accuracy`, own against partners' codes; 0.5 where the
          discriminator is beaten;
        - `embedding_loss`, the sum of all :math:`J_G` without the games, also called
          `train_loss`;
        - `code_gap`, the mean absolute difference of partners' codes, which no loss
          contains;
        - `valid_map` and `valid_loss` (`embedding_loss`) with `early_stopping`.

        Of the steps that are repeated on a batch, the last one counts.

    loss_curve_ : list of float
        `embedding_loss` of every epoch.

    module_ : torch.nn.ModuleDict
        The encoders "image" and "text", "{m}_decoder", the discriminators "{m}_intra"
        and "{m}_inter", and "classifier", or "{m}_classifier" if it is not shared.

    label_loss_ : {"softmax", "bce"}
        The label loss used.

    See Also
    --------
    ACMRProjector : One modality classifier as adversary, and a triplet loss.
    PairTransformer : Standardise, or otherwise prepare, each modality.

    Notes
    -----
    **Scaling.** Standardise the features: the inter-modal discriminators see them
    beside the codes, which large values would drown.

    **The game** has no floor to fall to: watch `embedding_loss` and the accuracies.
    Where `{m}_inter_accuracy` stays at 1, the discriminator has nothing to teach: lower
    `lr_discriminator`; :meth:`fit` warns of it. That of the intra-modal discriminators
    lies below 0.5 where the decoders, with `n_generator_steps` steps to one, outrun
    them.

    **Normalisation.** In training each kind of input is normalised by its own batch.
    The running statistics, by which :meth:`transform` normalises, move once for every
    batch: when the autoencoders first pass over its anchors. Neither mismatched items
    nor the steps of the discriminators move them. A last batch of one pair joins the
    batch before it.

    **Published settings**, those of the code [2]_ but for its lost weight sharing::

        CMGANProjector(
            embedding_dim=1024, hidden_layer_sizes=(1024,),
            discriminator_hidden_layer_sizes=(512,), share_classifier=False,
            label_weight=1, mismatch="self", generator_update="alternate",
            n_generator_steps=5, n_discriminator_steps=1, lr=1e-3, lr_decay=0.5,
            lr_decay_every=100, batch_size=64, max_epochs=2000,
        )

    **Departures from that code.** There, moving the networks to the GPU separates the
    shared layer into two copies that merely start equal (``share_last_layer=False``),
    discriminator steps and mismatched items move the running statistics, a sigmoid
    before the logarithm saturates, and retrieval scores queries standardised with the
    statistics of the test set. The defaults are this package's own: with one label
    classifier, stronger discriminators and a quick decay, the short training fits less
    of the noise in small data; ``lr_decay_every=1, betas=(0.9, 0.999)`` goes further.
    With a classifier for each modality, train longer, e.g. ``max_epochs=30,
    lr_decay_every=6``. The convolutional networks of the paper are not included:
    features are what an image or a text network has extracted.

    **Many labels.** With hundreds of labels, most of them rare,
    ``sampler="shuffle", label_weight=1`` may rank better.

    **Pairs without a mismatch.** An item that shares a label with every other one is
    left out of the mismatch term; :meth:`fit` warns of it.

    References
    ----------
    .. [1] Y. Peng, J. Qi. "CM-GANs: Cross-modal Generative Adversarial Networks for
       Common Representation Learning". ACM Transactions on Multimedia Computing,
       Communications, and Applications, 15(1), 22:1-22:24, 2019.
       :doi:`10.1145/3284750`

    .. [2] https://github.com/PKU-ICST-MIPL/CM-GANS_TOMM2019

    Examples
    --------
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn_cmr import CMGANProjector
    >>> from sklearn_cmr.datasets import make_cross_modal_classification
    >>> data = make_cross_modal_classification(300, n_classes=4, random_state=0)
    >>> A, A_test, B, B_test, y, y_test = train_test_split(*data, random_state=0)
    >>> cmgan = CMGANProjector(
    ...     embedding_dim=16, hidden_layer_sizes=(32,), random_state=0
    ... ).fit(A, B, y)
    >>> Z_img, Z_txt = cmgan.transform(A_test, B_test)
    >>> Z_img.shape, Z_txt.shape
    ((75, 16), (75, 16))
    >>> print(f"{cmgan.score(A_test, B_test, y_test):.1f}")
    0.9
    >>> cmgan.reconstruct(A_test, modality="image").shape == A_test.shape
    True
    """

    _network_parameters = (
        "hidden_layer_sizes",
        "decoder_hidden_layer_sizes",
        "discriminator_hidden_layer_sizes",
        "negative_slope",
        "share_last_layer",
        "share_classifier",
    )
    _parameter_constraints: dict = {
        **CrossModalTransformer._parameter_constraints,
        **ProjectorMixin._parameter_constraints,
        "decoder_hidden_layer_sizes": ["array-like", dict, None],
        "discriminator_hidden_layer_sizes": ["array-like"],
        "negative_slope": [Interval(Real, 0, 1, closed="left")],
        "share_last_layer": ["boolean"],
        "share_classifier": ["boolean"],
        "inter_weight": [Interval(Real, 0, None, closed="left")],
        "intra_weight": [Interval(Real, 0, None, closed="left")],
        "label_weight": [Interval(Real, 0, None, closed="left")],
        "reconstruction_weight": [Interval(Real, 0, None, closed="left")],
        "real_weight": [Interval(Real, 0, None, closed="left")],
        "cross_weight": [Interval(Real, 0, None, closed="left")],
        "mismatch_weight": [Interval(Real, 0, None, closed="left")],
        "mismatch": [StrOptions({"anchor", "self"})],
        "label_loss": [StrOptions({"auto", *LABEL_LOSSES})],
        "sampler": [StrOptions({"class_balanced", "shuffle"})],
        "generator_update": [StrOptions({"joint", "alternate"})],
        "n_generator_steps": [Interval(Integral, 1, None, closed="left")],
        "n_discriminator_steps": [Interval(Integral, 1, None, closed="left")],
        "lr_discriminator": [Interval(Real, 0, None, closed="neither"), None],
        "lr_decay": [Interval(Real, 0, 1, closed="right")],
        "lr_decay_every": [Interval(Integral, 1, None, closed="left")],
        "betas": ["array-like"],
        # One row alone cannot be normalised.
        "batch_size": [Interval(Integral, 2, None, closed="left")],
    }

    def __init__(
        self,
        *,
        embedding_dim=64,
        hidden_layer_sizes=(256,),
        decoder_hidden_layer_sizes=None,
        discriminator_hidden_layer_sizes=(512,),
        negative_slope=0.2,
        share_last_layer=True,
        share_classifier=True,
        inter_weight=1.0,
        intra_weight=1.0,
        label_weight=0.3,
        reconstruction_weight=0.0,
        real_weight=1.0,
        cross_weight=0.5,
        mismatch_weight=0.5,
        mismatch="anchor",
        label_loss="softmax",
        sampler="class_balanced",
        generator_update="joint",
        n_generator_steps=5,
        n_discriminator_steps=3,
        lr=1e-3,
        lr_discriminator=None,
        lr_decay=0.5,
        lr_decay_every=2,
        betas=(0.5, 0.999),
        batch_size=64,
        max_epochs=10,
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
        self.decoder_hidden_layer_sizes = decoder_hidden_layer_sizes
        self.discriminator_hidden_layer_sizes = discriminator_hidden_layer_sizes
        self.negative_slope = negative_slope
        self.share_last_layer = share_last_layer
        self.share_classifier = share_classifier
        self.inter_weight = inter_weight
        self.intra_weight = intra_weight
        self.label_weight = label_weight
        self.reconstruction_weight = reconstruction_weight
        self.real_weight = real_weight
        self.cross_weight = cross_weight
        self.mismatch_weight = mismatch_weight
        self.mismatch = mismatch
        self.label_loss = label_loss
        self.sampler = sampler
        self.generator_update = generator_update
        self.n_generator_steps = n_generator_steps
        self.n_discriminator_steps = n_discriminator_steps
        self.lr = lr
        self.lr_discriminator = lr_discriminator
        self.lr_decay = lr_decay
        self.lr_decay_every = lr_decay_every
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

    def reconstruct(self, X, *, modality):
        """Encode one modality and decode it again.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Features of that modality.

        modality : str
            Its name: ``"image"`` or ``"text"``.

        Returns
        -------
        reconstructed : ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        trained_by = ("image_intra_loss", "image_reconstruction_loss")
        self._check_trained(
            "reconstruct", trained_by, "intra_weight or reconstruction_weight"
        )
        return self._apply_in_blocks(
            self._decode, modality, self._read_modality(X, modality)
        )

    def _decode(self, module, modality, X):
        return module[f"{modality}_decoder"](self._encode(module, modality, X))

    def _label_probabilities(self, module, modality, X):
        self._check_trained("predict_proba", ("image_label_loss",), "label_weight")
        logits = classifier_of(module, modality)(self._encode(module, modality, X))
        return logits.softmax(1) if self.label_loss_ == "softmax" else logits.sigmoid()

    def _check_trained(self, method, terms, weights):
        """Raise if no epoch has trained the networks that a method needs."""
        if not any(term in row for row in self.history_ for term in terms):
            raise ValueError(
                f"{method} needs networks that were left untrained: fit with {weights} "
                "> 0."
            )

    def _review_history(self):
        unbeaten = [
            name
            for modality in MODALITIES
            for name in (f"{modality}_intra", f"{modality}_inter")
            if is_unbeaten(self.history_, f"{name}_accuracy")
        ]
        if unbeaten:
            warnings.warn(
                f"The discriminators {unbeaten} have hardly erred in the second half "
                "of the epochs: their game has no effect. Standardise the features, if "
                "they are not: "
                "PairTransformer(image=StandardScaler(), text=StandardScaler()). "
                "Otherwise lower lr_discriminator or n_discriminator_steps, or set "
                "inter_weight or intra_weight to 0 to leave a game out on purpose.",
                ConvergenceWarning,
                stacklevel=2,
            )

    def _build(self, n_features, n_classes):
        width, slope = self.embedding_dim, self.negative_slope
        of_inter = self._layer_sizes("discriminator_hidden_layer_sizes")
        module = nn.ModuleDict()
        encoders = []
        for modality, n_inputs in n_features.items():
            hidden = self._layer_sizes("hidden_layer_sizes", modality)
            sizes = [n_inputs, *hidden, width]
            encoders.append(Network(*make_normalized_layers(sizes, slope)))
            module[modality] = encoders[-1]
            if self.decoder_hidden_layer_sizes is None:
                of_decoder = hidden[::-1]
            else:
                of_decoder = self._layer_sizes("decoder_hidden_layer_sizes", modality)
            sizes = [width, *of_decoder]
            module[f"{modality}_decoder"] = Network(
                *make_normalized_layers(sizes, slope), nn.Linear(sizes[-1], n_inputs)
            )
            module[f"{modality}_intra"] = nn.Linear(n_inputs, 1)
            module[f"{modality}_inter"] = InterDiscriminator(
                width, n_inputs, of_inter, slope
            )
            if not self.share_classifier:
                module[f"{modality}_classifier"] = nn.Linear(width, n_classes)
        if self.share_classifier:
            module["classifier"] = nn.Linear(width, n_classes)
        if self.share_last_layer:
            widths = [encoder[-3].in_features for encoder in encoders]
            if widths[0] != widths[1]:
                raise ValueError(
                    "share_last_layer=True needs last hidden layers of the same width "
                    f"in both modalities, got {widths[0]} and {widths[1]}: change "
                    "hidden_layer_sizes, or set share_last_layer=False."
                )
            share_last_layer(*encoders)
        return module

    def _objective(self, module, task):
        self.label_loss_ = self.label_loss
        if self.label_loss == "auto":
            self.label_loss_ = "softmax" if task.single_label else "bce"
        generators = self._generators(module)
        discriminators = self._discriminators(module)
        turns = [p.name for p in discriminators] * self.n_discriminator_steps
        turns += [p.name for p in generators] * self.n_generator_steps
        return [
            task.make_phase(
                # The generator that plays last has seen both modalities: it leads.
                players=[*generators[::-1], *discriminators],
                turns=turns,
                sampler=self._sampler(task),
                sampler_valid=anchors_in_order,
                min_batch_size=2,
            )
        ]

    def _generators(self, module):
        names = ("inter", "intra", "label", "reconstruction")
        weights = {f"{x}_weight": getattr(self, f"{x}_weight") or None for x in names}
        if not any(weights.values()):
            raise ValueError(
                f"nothing to learn: one of {', '.join(weights)} must be > 0."
            )
        objective = partial(
            generator_objective, label_loss=LABEL_LOSSES[self.label_loss_], **weights
        )
        players: dict[str, tuple[str, ...]] = {"generator": MODALITIES}
        if self.generator_update == "alternate":
            players = {f"{modality}_generator": (modality,) for modality in MODALITIES}
        is_monitored = self.label_weight or self.reconstruction_weight
        return [
            Player(
                name,
                self._moved_by_generators(module, modalities),
                partial(objective, modalities=modalities),
                self._decayed(self.lr),
                self.betas,
                monitor="embedding_loss" if is_monitored else None,
            )
            for name, modalities in players.items()
        ]

    def _moved_by_generators(self, module, modalities):
        moved: dict[nn.Parameter, None] = {}  # each shared one once
        for modality in modalities:
            networks = [module[modality]]
            if self.intra_weight or self.reconstruction_weight:
                networks.append(module[f"{modality}_decoder"])
            if self.label_weight:
                networks.append(classifier_of(module, modality))
            for network in networks:
                moved |= dict.fromkeys(network.parameters())
        return list(moved)

    def _discriminators(self, module):
        """Return the one player that moves all discriminators, if there are any.

        They have neither inputs nor weights in common: one step moves them as steps one
        after the other would.
        """
        intra = MODALITIES if self.intra_weight else ()
        inter = MODALITIES if self.inter_weight else ()
        names = [f"{m}_intra" for m in intra] + [f"{m}_inter" for m in inter]
        if not names:
            return []
        objective = partial(
            discriminator_objective,
            intra=intra,
            inter=inter,
            mismatch=self.mismatch,
            real_weight=self.real_weight,
            cross_weight=self.cross_weight,
            mismatch_weight=self.mismatch_weight or None,
        )
        lr = self.lr if self.lr_discriminator is None else self.lr_discriminator
        moved = [p for name in names for p in module[name].parameters()]
        return [
            Player("discriminator", moved, objective, self._decayed(lr), self.betas)
        ]

    def _decayed(self, lr):
        return lambda epoch: lr * self.lr_decay ** (epoch // self.lr_decay_every)

    def _sampler(self, task):
        rows = getattr(task.dataset, "indices", slice(None))
        labels = task.indicator[rows]
        if len(labels) < 2:
            raise ValueError(
                "batch normalisation needs at least two rows to train on, got "
                f"{len(labels)}."
            )
        mismatched = bool(self.inter_weight and self.mismatch_weight)
        sampler = AnchorSampler(labels, self.sampler == "class_balanced", mismatched)
        n_alone = int((~sampler.has_mismatch).sum())
        if mismatched and n_alone:
            warnings.warn(
                f"{n_alone} of {len(labels)} rows share a label with every row: they "
                "have no mismatched row and are left out of that term.",
                UserWarning,
                stacklevel=2,
            )
        return sampler
