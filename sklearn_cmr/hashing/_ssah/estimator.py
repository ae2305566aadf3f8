"""Estimator of self-supervised adversarial hashing."""

# SPDX-License-Identifier: BSD-3-Clause

from functools import partial
from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from sklearn_cmr._inputs.labels import check_labels
from sklearn_cmr._lazy import public
from sklearn_cmr.base import (
    AddModalityMixin,
    HasherMixin,
    LabelProbabilityMixin,
    NetworkTransformer,
)
from sklearn_cmr.hashing._ssah.bank import LabelBank
from sklearn_cmr.hashing._ssah.losses import (
    ADVERSARIAL_LOSSES,
    Criterion,
    discriminator_loss,
    encoder_loss,
    joint_loss,
    label_network_loss,
)
from sklearn_cmr.hashing._ssah.networks import (
    LABEL,
    Discriminator,
    SemanticNetwork,
    freeze,
    has_counts,
    init_normal,
    is_frozen,
    make_body,
)
from sklearn_cmr.metrics import mean_average_precision
from sklearn_cmr.nn.layers import MultiScale
from sklearn_cmr.nn.regions import RegionPooling
from sklearn_cmr.training import (
    Paired,
    Phase,
    Separate,
    device_of,
    encode_dataset,
    encode_in_blocks,
    indicator_of,
    network_and_features,
)


@public("sklearn_cmr")
class SSAHHasher(
    AddModalityMixin, HasherMixin, LabelProbabilityMixin, NetworkTransformer
):
    r"""Self-supervised adversarial hashing (SSAH).

    Every modality has an encoder, and the labels have one as well: the *label network*.
    An encoder maps its input to a nonnegative semantic feature :math:`F`. One linear
    layer maps :math:`F` to a relaxed code :math:`H = \tanh(\cdot)`, another one to the
    logits of the labels :math:`\hat L`. The label network is trained first: its codes
    learn the similarities of the labels. The encoders of the modalities then learn to
    agree with its features and codes of all labels of the training set. Each of them
    has a discriminator, which learns to tell features of the modality from features of
    labels and gives the encoder an adversarial loss [1]_. Since all networks learn from
    labels alone, modalities need labels, but no pairs. There may be any number of
    modalities with any numbers of rows, and :meth:`add_modality` adds one later without
    a change to the others.

    The *bank* holds rows :math:`i` of labels with constants :math:`F_i^l` and
    :math:`H_i^l`; the batch holds rows :math:`j`. With logits
    :math:`\Delta_{ij} = \frac{1}{2} \langle F_i^l, F_j \rangle` and
    :math:`\Gamma_{ij} = \frac{1}{2} \langle H_i^l, H_j \rangle`, similarities
    :math:`S_{ij} \in [0, 1]` of labels and the discriminator :math:`D`, an encoder
    minimizes

    .. math::

        L &= \alpha J_1 + \gamma J_2 + \eta J_3 + \beta J_4 + \zeta J_5 + \delta A \\
        J_1 &= \operatorname{mean}_{ij} w_{ij} \left[ \log(1 + e^{\Delta_{ij}})
            - S_{ij} \Delta_{ij} \right] \\
        J_2 &= \operatorname{mean}_{ij} w_{ij} \left[ \log(1 + e^{\Gamma_{ij}})
            - S_{ij} \Gamma_{ij} \right] \\
        J_3 &= \operatorname{mean}_{jk} (H_{jk} - \operatorname{sign} H_{jk})^2 \\
        J_4 &= \operatorname{mean}_{jm} \operatorname{BCE}(\hat L_{jm}, L_{jm}) \\
        J_5 &= \operatorname{mean}_k (\operatorname{mean}_j H_{jk})^2 \\
        A &= \operatorname{mean}_j \operatorname{BCE}(D(F_j), 1)

    and the label network minimizes the same without :math:`A`. The discriminator
    minimizes :math:`\frac{1}{2} \operatorname{mean}_j [ \operatorname{BCE}(D(F_j^l), 1)
    + \operatorname{BCE}(D(F_j), 0) ]`. The codes are the signs of :math:`H`; the sign
    of 0 is positive.

    Parameters
    ----------
    n_bits : int, default=32
        Number of bits of a code.

    hidden_layer_sizes : tuple of int, or dict, default=(256,)
        Widths of the hidden layers of the encoders, for all modalities or by modality:
        ``{"image": (...), "text": (...)}``. The layers come before the semantic
        feature, each followed by ReLU.

    feature_dim : int, default=512
        Width of the semantic feature.

    label_hidden_layer_sizes : tuple of int, default=()
        Widths of the hidden layers of the label network.

    discriminator_hidden_layer_sizes : tuple of int, default=(128,)
        Widths of the hidden layers of every discriminator.

    discriminator_dropout : float, default=0.0
        Dropout rate of the hidden layers of every discriminator, in [0, 1).

    input_dropout : float, default=0.2
        Probability, in [0, 1), with which an encoder gets 0 in place of a feature in
        the training. The other features are divided by ``1 - input_dropout``.

    text_fusion : {"auto"} or bool, default="auto"
        Whether the input of the text encoder includes copies of the texts that are
        smoothed over windows of neighboring columns. This suits word counts whose
        columns are in a meaningful order. "auto" does so if the texts of :meth:`fit`
        are nonnegative and mostly 0.

    text_scales : tuple of int, default=(5, 10, 15, 30, 50)
        Widths of these windows. Those wider than the texts are left out.

    region_pooling : {"mean", "max", "flatten"}, default="mean"
        How the regions of an image are combined into one vector. "flatten" concatenates
        them and needs the same number of regions in every call.

    init : {"default", "normal"}, default="default"
        Initial weights and biases: those of torch, or normal with standard deviation
        0.01.

    lrn : bool, default=False
        Whether the hidden layers of the label network, and all layers of the text
        encoder up to the semantic feature, are followed by local response
        normalization. Its effect is here close to a division by 1.7.

    feature_weight : float, default=1.0
        Weight :math:`\alpha \geq 0` of the feature loss; 0 leaves it out.

    hash_weight : float, default=1.0
        Weight :math:`\gamma \geq 0` of the hash loss; 0 leaves it out.

    quantization_weight : float, default=0.01
        Weight :math:`\eta \geq 0` of the quantization loss; 0 leaves it out. With a
        weight near 1, codes become binary before they separate the labels.

    balance_weight : float, default=3.0
        Weight :math:`\zeta \geq 0` of the bit balance loss, which makes the values of a
        bit equally frequent [2]_; 0 leaves it out.

    label_weight : float, default=1.0
        Weight :math:`\beta \geq 0` of the label loss; 0 leaves it out.

    adversarial_weight : float, default=0.0
        Weight :math:`\delta \geq 0` of the adversarial loss; 0 leaves it out.

    reduction : {"mean", "sum"}, default="mean"
        Whether the terms are means, as above, or sums over the same items. The choice
        changes the meaning of the weights.

    pair_weight : {"balanced"} or None, default="balanced"
        Weights :math:`w_{ij}` of the pairs. "balanced" multiplies those of similar
        pairs by the ratio of dissimilar to similar pairs between batch and bank, if
        there are both; None gives all pairs the same weight, as published.

    similarity : {"binary", "cosine"}, default="binary"
        :math:`S_{ij}`: 1 for rows with a common label, or the cosine of the label
        indicators.

    similarity_smoothing : float, default=0.0
        Share, in [0, 1), by which all :math:`S_{ij}` are reduced.

    normalize_features : bool, default=False
        Whether the features in :math:`\Delta` are scaled to the length
        :math:`\sqrt{n\_bits}` of a code.

    label_loss : {"bce", "mse"}, default="bce"
        Label loss of the sigmoids: binary cross entropy or mean squared error.

    adversarial_loss : {"bce", "lsgan"}, default="bce"
        Loss of the discriminators' logits: binary cross entropy, or the squared error
        of the logits themselves.

    self_supervision : bool, default=True
        Whether there is a label network. Without it, paired rows of a batch are
        compared with each other across the modalities, and there are no discriminators.

    schedule : {"distill", "alternate"}, default="distill"
        "distill" trains the label network, freezes it, and then trains each modality;
        discriminator and encoder take a step on every batch. "alternate" is the
        published loop of `n_rounds` rounds: label network, discriminators and encoders
        take turns of several epochs each.

    n_rounds : int, default=3
        Number of rounds of "alternate".

    label_passes : tuple of int, default=(10, 5)
        Number of epochs of the label network in each stage of a round of "alternate".
        A stage ends early when the loss rises.

    encoder_passes : tuple of int, or dict, default=(15, 7, 5)
        The same for the encoders, for all modalities or by modality.

    discriminator_passes : tuple of int, default=(1, 1)
        The same for the discriminators, whose stages never end early.

    bank_size : int, default=None
        Number of rows of labels that a batch is compared with: a random sample in which
        every row of labels has its share. None takes all rows. Equal rows cost no more
        than one, so that a sample is worthwhile only with many combinations of labels.

    lr : float or dict, default=2e-3
        Learning rate of Adam for the encoders, for all modalities or by modality:
        ``{"image": 1e-4, "text": 1e-3}``. It may hold names of modalities that are
        added later.

    lr_label : float, default=3e-3
        Learning rate of Adam for the label network.

    lr_discriminator : float, default=None
        Learning rate of every discriminator; None takes `lr`.

    lr_decay : float, default=1.0
        Factor in (0, 1] by which all learning rates are multiplied every
        `lr_decay_every` epochs. "distill" keeps `lr_label` constant. "alternate"
        multiplies all learning rates in round :math:`r` and stage :math:`s`, counted
        from 0, by the factor to the power :math:`r + s`.

    lr_decay_every : int, default=None
        Number of epochs between two decays of the learning rates, at least 1. None is a
        fifth of the epochs; warm starts keep the last rate.

    betas : tuple of 2 floats, default=(0.9, 0.999)
        Decay rates of Adam's moment estimates, each in [0, 1).

    weight_decay : float, default=0.0
        L2 penalty of Adam: half of it times the squared weights is added to every loss.

    batch_size : int, default=128
        Number of rows in a batch. A batch larger than the training set is the whole
        training set.

    max_epochs : int or "auto", default="auto"
        Number of epochs; where modalities train apart, of each of them. "auto" is
        the smallest number, from 10 on, with at least `min_updates` batches.
        "alternate" takes `encoder_passes` instead.

    min_updates : int, default=300
        Minimum number of batches in the training, with ``max_epochs="auto"``.

    max_epochs_label : int, default=None
        Number of epochs of the label network with "distill"; None takes `max_epochs`.
        The encoders cannot learn what the label network has not learned.

    output : {"sign", "packed"}, default="sign"
        Form of the output of :meth:`transform`: codes of -1 and +1 (int8), or their
        bits packed into bytes (uint8). :meth:`encode` has further forms.

    missing_labels : {"raise", "drop"}, default="raise"
        What :meth:`fit` does with rows that have no label: raise an error, or leave
        them out with a warning.

    early_stopping : bool, default=False
        Whether to hold out rows, stop the training when their mAP no longer improves,
        and restore the weights of the best epoch. :meth:`fit` takes other held-out rows
        as `X_val`. Held-out rows of a modality query the label network's codes of the
        labels of all training rows.

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

    train_codes_ : int8 ndarray of shape (n_samples, n_bits) or None
        One code of -1 and +1 for every pair that :meth:`fit` learned from, without
        rows dropped for missing labels: the signs of the sum of the relaxed codes of
        its modalities and its labels. None if the rows were no pairs.

    text_fusion_ : bool
        Whether the input of the text encoder includes smoothed copies.

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
        For every epoch, averaged over its batches: `phase` ("label", then the name of
        each modality; with "alternate" also "{m}_discriminator"), `feature_loss`
        (:math:`J_1`), `hash_loss` (:math:`J_2`), `quantization_loss` (:math:`J_3`),
        `label_loss` (:math:`J_4`) and `balance_loss` (:math:`J_5`); for a modality
        "{m}", with an `adversarial_weight`, also `adversarial_loss` (:math:`A`),
        `{m}_discriminator_loss` and `discriminator_accuracy`, whose chance level is
        0.5; `train_loss`, also named by its network, `label_network_loss` or
        `{m}_encoder_loss`; `seconds`; and with `early_stopping` `valid_map` and
        `valid_loss`. Without `self_supervision`, the terms are sums over the
        modalities, and there is no `phase`.

    loss_curve_ : list of float
        `train_loss` of every epoch.

    callbacks_ : list of tuple
        Names and copies of `callbacks` that ran, with what they recorded.

    module_ : torch.nn.ModuleDict
        "encoders" holds the encoders by modality, and the label network as "label";
        "discriminators" holds the discriminators by modality.

    See Also
    --------
    DRCLProjector : A real-valued common space, also without pairs.
    PairTransformer : Standardize, or otherwise prepare, each modality.

    Notes
    -----
    **Labels as queries.** ``transform_modality(y, "label")`` and ``encode(y, "label")``
    encode labels of any kind that :meth:`fit` takes.

    **Modalities by name.** ``fit({"image": A, "text": B, "audio": C}, labels)`` takes
    any names but "label". The labels are one array for all modalities, or a mapping
    with labels for each; then the numbers of rows may differ. :meth:`transform` and
    :meth:`score` take a mapping with any of the fitted names, and
    :meth:`transform_modality` takes one modality. In the bank, the count of a row of
    labels is its largest count in any modality. Therefore pairs give the same result
    whether or not they are given as pairs. Tools for model selection slice the rows of
    pairs; mappings are for direct calls.

    **Images with regions.** An image may be a matrix: `X` of shape (n_samples,
    n_regions, n_features). A missing region has NaN in all its features, as
    ``np.where(mask[..., None], X, np.nan)`` makes it.

    **Balanced pairs** are a departure from the paper. With ten classes, one pair in ten
    is similar, and the dissimilar ones dominate the loss.

    **The label network** limits what the encoders can learn. If `hash_loss` still falls
    at the end of its phase, as with many combinations of labels, more epochs of the
    label network help more than more epochs of the encoders.

    **Balanced bits** are a departure from the paper, too. The hash loss leaves all
    directions free that are orthogonal to the codes of the label network. There, the
    relaxed codes of uncertain items keep a constant part, which decides most of their
    signs: bits are the same for almost all items. The bit balance loss removes it. It
    raised the mAP of test rows that query each other from 0.343 to 0.370, on Wikipedia
    with CNN features (32 bits, three seeds).

    **The discriminators** hardly err: features of labels and of images differ too much,
    and the encoders learn from the features of labels by :math:`J_1` as well. With
    ``adversarial_weight=0.1, lr_discriminator=1e-4, discriminator_dropout=0.5`` they
    err, but the mAP of test rows that query each other does not rise: 0.367 and 0.370
    without the adversarial loss on Wikipedia with CNN features, 0.793 and 0.799 on the
    UCI multiple features (32 bits, three seeds). Therefore it is left out by default.
    :meth:`fit` warns of discriminators with an accuracy above 0.999 in every epoch of
    the second half of their training, if this is five epochs or more.

    **With pairs**, ``self_supervision=False`` trains no label network. Neither it nor
    the label network is better everywhere: measure both.

    **Ablations** of the paper: ``self_supervision=False``, ``text_fusion=False``,
    ``adversarial_weight=0``, and each of the weights 0.

    **Published settings**, with the sums of the paper and the loop of the code [3]_::

        SSAHHasher(
            hidden_layer_sizes={"image": (), "text": (4096,)}, feature_dim=512,
            label_hidden_layer_sizes=(4096,), text_fusion=True, lrn=True, init="normal",
            discriminator_hidden_layer_sizes=(512, 256), quantization_weight=1e-4,
            label_weight=1e-4, adversarial_weight=1, reduction="sum", pair_weight=None,
            balance_weight=0, input_dropout=0, label_loss="mse",
            adversarial_loss="lsgan", schedule="alternate",
            lr={"image": 3.2e-5, "text": 3.2e-4}, lr_label=1e-2, lr_discriminator=1e-3,
            lr_decay=0.32, batch_size=128,
        )

    with the features of a convolutional network's last hidden layer as images and the
    counts of tags as texts.

    **Departures from that code.** There, the discriminators see constant features, so
    that the encoders get no gradient from the adversarial loss, while their steps move
    the discriminators in the wrong direction. The loss of pairs is squared. The bank
    starts as noise, and one epoch replaces about two thirds of its rows. The gains of
    the smoothed texts may be negative at the start, which sets them to 0 for good. Here
    every epoch visits every row once. The defaults are this package's own, for
    standardized features.

    References
    ----------
    .. [1] C. Li, C. Deng, N. Li, W. Liu, X. Gao, D. Tao. "Self-Supervised Adversarial
       Hashing Networks for Cross-Modal Retrieval". IEEE/CVF Conference on Computer
       Vision and Pattern Recognition, 4242-4251, 2018. :arxiv:`1804.01223`

    .. [2] Y. Weiss, A. Torralba, R. Fergus. "Spectral Hashing". Advances in Neural
       Information Processing Systems 21, 1753-1760, 2008.

    .. [3] https://github.com/lelan-li/SSAH

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

    Labels can be queries as well, and codes can be packed into bytes:

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
        "input_dropout",
        "text_fusion",
        "text_scales",
        "region_pooling",
        "lrn",
        "self_supervision",
    )
    _parameter_constraints: dict = {
        **NetworkTransformer._parameter_constraints,
        **HasherMixin._parameter_constraints,
        "feature_dim": [Interval(Integral, 1, None, closed="left")],
        "label_hidden_layer_sizes": ["array-like"],
        "discriminator_hidden_layer_sizes": ["array-like"],
        "discriminator_dropout": [Interval(Real, 0, 1, closed="left")],
        "input_dropout": [Interval(Real, 0, 1, closed="left")],
        "text_fusion": ["boolean", StrOptions({"auto"})],
        "text_scales": ["array-like"],
        "region_pooling": [StrOptions({"mean", "max", "flatten"})],
        "init": [StrOptions({"default", "normal"})],
        "lrn": ["boolean"],
        "feature_weight": [Interval(Real, 0, None, closed="left")],
        "hash_weight": [Interval(Real, 0, None, closed="left")],
        "quantization_weight": [Interval(Real, 0, None, closed="left")],
        "balance_weight": [Interval(Real, 0, None, closed="left")],
        "label_weight": [Interval(Real, 0, None, closed="left")],
        "adversarial_weight": [Interval(Real, 0, None, closed="left")],
        "reduction": [StrOptions({"mean", "sum"})],
        "pair_weight": [StrOptions({"balanced"}), None],
        "similarity": [StrOptions({"binary", "cosine"})],
        "similarity_smoothing": [Interval(Real, 0, 1, closed="left")],
        "normalize_features": ["boolean"],
        "label_loss": [StrOptions({"bce", "mse"})],
        "adversarial_loss": [StrOptions(set(ADVERSARIAL_LOSSES))],
        "self_supervision": ["boolean"],
        "schedule": [StrOptions({"distill", "alternate"})],
        "n_rounds": [Interval(Integral, 1, None, closed="left")],
        "label_passes": ["array-like"],
        "encoder_passes": ["array-like", dict],
        "discriminator_passes": ["array-like"],
        "bank_size": [Interval(Integral, 1, None, closed="left"), None],
        "lr": [Interval(Real, 0, None, closed="neither"), dict],
        "lr_label": [Interval(Real, 0, None, closed="neither")],
        "lr_discriminator": [Interval(Real, 0, None, closed="neither"), None],
        "lr_decay": [Interval(Real, 0, 1, closed="right")],
        "lr_decay_every": [Interval(Integral, 1, None, closed="left"), None],
        "betas": ["array-like"],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "max_epochs_label": [Interval(Integral, 1, None, closed="left"), None],
        "missing_labels": [StrOptions({"raise", "drop"})],
    }

    _region_modalities = ("image",)
    _reserved_names = NetworkTransformer._reserved_names | {LABEL}

    def __init__(
        self,
        *,
        n_bits=32,
        hidden_layer_sizes=(256,),
        feature_dim=512,
        label_hidden_layer_sizes=(),
        discriminator_hidden_layer_sizes=(128,),
        discriminator_dropout=0.0,
        input_dropout=0.2,
        text_fusion="auto",
        text_scales=(5, 10, 15, 30, 50),
        region_pooling="mean",
        init="default",
        lrn=False,
        feature_weight=1.0,
        hash_weight=1.0,
        quantization_weight=0.01,
        balance_weight=3.0,
        label_weight=1.0,
        adversarial_weight=0.0,
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
        bank_size=None,
        lr=2e-3,
        lr_label=3e-3,
        lr_discriminator=None,
        lr_decay=1.0,
        lr_decay_every=None,
        betas=(0.9, 0.999),
        weight_decay=0.0,
        batch_size=128,
        max_epochs="auto",
        min_updates=300,
        max_epochs_label=None,
        output="sign",
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
        self.n_bits = n_bits
        self.hidden_layer_sizes = hidden_layer_sizes
        self.feature_dim = feature_dim
        self.label_hidden_layer_sizes = label_hidden_layer_sizes
        self.discriminator_hidden_layer_sizes = discriminator_hidden_layer_sizes
        self.discriminator_dropout = discriminator_dropout
        self.input_dropout = input_dropout
        self.text_fusion = text_fusion
        self.text_scales = text_scales
        self.region_pooling = region_pooling
        self.init = init
        self.lrn = lrn
        self.feature_weight = feature_weight
        self.hash_weight = hash_weight
        self.quantization_weight = quantization_weight
        self.balance_weight = balance_weight
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
        self.bank_size = bank_size
        self.lr = lr
        self.lr_label = lr_label
        self.lr_discriminator = lr_discriminator
        self.lr_decay = lr_decay
        self.lr_decay_every = lr_decay_every
        self.betas = betas
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.min_updates = min_updates
        self.max_epochs_label = max_epochs_label
        self.output = output
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

    # -- reading ---------------------------------------------------------------

    # Also without a label network, pairs may have any number of modalities.
    _any_modalities = True

    @property
    def _rows(self):  # type: ignore[override]
        return Separate() if self.self_supervision else Paired()

    @property
    def _needs_same_regions(self):  # type: ignore[override]
        return self.region_pooling == "flatten"

    def _inspect_training_set(self, features, labels):
        if not self.self_supervision and not (labels.shared and len(features) > 1):
            raise ValueError(
                "self_supervision=False trains the modalities on each other: it needs "
                "paired rows of two or more modalities, with one array of labels; got "
                f"{list(features)}"
                + ("." if labels.shared else " with labels of their own.")
            )
        if not (self.warm_start and hasattr(self, "text_fusion_")):
            text_fusion = self.text_fusion
            if text_fusion == "auto":
                is_counted = "text" in features and "text" not in self._items_in
                text_fusion = is_counted and has_counts(features["text"])
            self.text_fusion_ = bool(text_fusion)
        self.train_codes_ = None

    def _other_readers(self):
        return {LABEL: self._read_label_queries}

    def _read_label_queries(self, y):
        if LABEL not in self.module_["encoders"]:
            raise ValueError(
                "Labels cannot be encoded: with self_supervision=False, there is no "
                "label network."
            )
        return check_labels(y, self, classes=self.classes_).indicator

    # -- networks --------------------------------------------------------------

    def _build(self, n_features, n_classes):
        encoders = nn.ModuleDict()
        if self.self_supervision:
            encoders[LABEL] = self._build_encoder(LABEL, n_classes)
            self._initialize(encoders[LABEL])
        module = nn.ModuleDict({"encoders": encoders})
        Separate.grow(module, n_features, self._build_modality)
        return module

    def _build_modality(self, modality, n_inputs):
        networks = {"encoders": self._build_encoder(modality, n_inputs)}
        if self.self_supervision:
            self._learning_rate(modality)
            hidden = self._layer_sizes("discriminator_hidden_layer_sizes")
            networks["discriminators"] = Discriminator(
                [self.feature_dim, *hidden], self.discriminator_dropout
            )
        for network in networks.values():
            self._initialize(network)
        return networks

    def _initialize(self, network):
        if self.init == "normal":
            network.apply(init_normal)

    def _build_encoder(self, modality, n_inputs):
        first: list[nn.Module] = []
        n_normalized = 0
        if modality == LABEL:
            hidden = self._layer_sizes("label_hidden_layer_sizes")
            n_normalized = len(hidden)
        else:
            hidden = self._layer_sizes("hidden_layer_sizes", modality)
        if modality in self._n_regions_in:
            first.append(RegionPooling(self.region_pooling))
            if self.region_pooling == "flatten":
                n_inputs *= self._n_regions_in[modality]
        if modality == "text":
            n_normalized = len(hidden) + 1
            if self.text_fusion_:
                block = MultiScale(n_inputs, self._layer_sizes("text_scales"))
                first.append(block)
                n_inputs = block.n_outputs
        sizes = [n_inputs, *hidden, self.feature_dim]
        body = make_body(sizes, n_normalized if self.lrn else 0, first)
        return SemanticNetwork(
            body,
            self.feature_dim,
            self.n_bits,
            len(self.classes_),
            0.0 if modality == LABEL else self.input_dropout,
        )

    # -- training --------------------------------------------------------------

    def _phases(self, module, task):
        criterion = Criterion(
            weights={
                "feature_loss": self.feature_weight,
                "hash_loss": self.hash_weight,
                "quantization_loss": self.quantization_weight,
                "balance_loss": self.balance_weight,
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
                "One of feature_weight, hash_weight and label_weight must be > 0; all "
                "are 0."
            )
        if not self.self_supervision:
            yield self._joint_phase(module, task, criterion)
        else:
            indicators = [task.indicator(modality) for modality in task.modalities]
            bank = LabelBank(indicators, self.bank_size, task.seed, device_of(module))
            schedule = getattr(self, f"_{self.schedule}")
            yield from schedule(module, task, bank, criterion)
            freeze(module["encoders"][LABEL])
        if task.is_paired:
            self.train_codes_ = self._unify(module, task)

    def _distill(self, module, task, bank, criterion):
        """Train the label network, then the encoder of each modality to agree with it.

        Discriminator and encoder take a step on every batch.
        """
        if not is_frozen(module["encoders"][LABEL]):
            n_epochs = self._count_epochs(len(bank.dataset), self.max_epochs_label)
            yield self._label_phase(module, bank, criterion, self.lr_label, n_epochs)
            freeze(module["encoders"][LABEL])
        bank.refresh(module)
        for modality in task.modalities:
            decayed = partial(self._decayed, n_epochs=task.n_epochs(modality))
            players = [self._encoder(module, modality, bank, criterion, decayed)]
            if self.adversarial_weight:
                players.append(
                    self._discriminator(module, modality, criterion, decayed)
                )
            yield task.make_phase(
                modality,
                name=modality,
                players=players,
                # The encoder is monitored, but takes its step last.
                turns=[player.name for player in reversed(players)],
                **self._validated(modality, task, bank),
            )

    def _alternate(self, module, task, bank, criterion):
        """Train the label network, discriminators and encoders by turns, in rounds."""
        label_passes = self._layer_sizes("label_passes")
        if is_frozen(module["encoders"][LABEL]):
            label_passes = ()
        discriminator_passes = self._layer_sizes("discriminator_passes")
        if not self.adversarial_weight:
            discriminator_passes = ()
        encoder_passes = {
            m: self._layer_sizes("encoder_passes", m) for m in task.modalities
        }
        for round_ in range(self.n_rounds):
            for n_passes, decayed in self._stages(label_passes, round_):
                lr = decayed(self.lr_label)
                yield self._label_phase(
                    module, bank, criterion, lr, n_passes, stops_on_rise=True
                )
            bank.refresh(module)
            for modality in task.modalities:
                for n_passes, decayed in self._stages(discriminator_passes, round_):
                    yield task.make_phase(
                        modality,
                        name=f"{modality}_discriminator",
                        players=[
                            self._discriminator(module, modality, criterion, decayed)
                        ],
                        max_epochs=n_passes,
                        dataset_valid=None,
                    )
                for n_passes, decayed in self._stages(encoder_passes[modality], round_):
                    yield task.make_phase(
                        modality,
                        name=modality,
                        players=[
                            self._encoder(module, modality, bank, criterion, decayed)
                        ],
                        max_epochs=n_passes,
                        stops_on_rise=True,
                        **self._validated(modality, task, bank),
                    )

    def _stages(self, passes, round_):
        """Pair the passes of each stage with the decay of its learning rates."""
        for stage, n_passes in enumerate(passes):
            factor = self.lr_decay ** (round_ + stage)
            yield n_passes, lambda lr, factor=factor: lr * factor

    def _label_phase(self, module, bank, criterion, lr, max_epochs, **options):
        loss = partial(label_network_loss, bank=bank, criterion=criterion)
        network = module["encoders"][LABEL]
        return Phase(
            name=LABEL,
            players=[self._player("label_network", network.parameters(), loss, lr)],
            dataset=bank.dataset,
            max_epochs=max_epochs,
            batch_size=self.batch_size,
            begin_epoch=bank.refresh,
            **options,
        )

    def _encoder(self, module, modality, bank, criterion, decayed):
        return self._player(
            f"{modality}_encoder",
            module["encoders"][modality].parameters(),
            partial(encoder_loss, modality=modality, bank=bank, criterion=criterion),
            decayed(self._learning_rate(modality)),
            base_lr=self._learning_rate(modality),
        )

    def _discriminator(self, module, modality, criterion, decayed):
        return self._player(
            f"{modality}_discriminator",
            module["discriminators"][modality].parameters(),
            partial(discriminator_loss, modality=modality, criterion=criterion),
            decayed(self.lr_discriminator or self._learning_rate(modality)),
        )

    def _joint_phase(self, module, task, criterion):
        """Train all encoders together, without a label network."""
        if isinstance(self.lr, dict):
            raise ValueError(
                "lr must be a number with self_supervision=False, where one optimizer "
                f"trains all encoders; got {self.lr!r}."
            )
        loss = partial(joint_loss, criterion=criterion)
        lr = self._decayed(self.lr, task.n_epochs())
        return task.make_phase(
            players=[
                self._player("encoders", module["encoders"].parameters(), loss, lr)
            ]
        )

    def _validated(self, modality, task, bank):
        """Return the fields of a phase for the validation, if rows are held out."""
        held_out = task.held_out(modality)
        if held_out is None:
            return {}
        score = partial(
            self._label_map,
            modality=modality,
            dataset=held_out,
            y=indicator_of(held_out),
            bank=bank,
        )
        return {"score_valid": score}

    def _label_map(self, module, modality, dataset, y, bank):
        """Return the mAP of held-out rows that query the codes of the bank."""
        relaxed = encode_dataset(module["encoders"][modality], dataset, modality)
        codes = self._represent(relaxed.cpu().numpy())
        gallery, y_gallery = bank.expanded()
        return mean_average_precision(codes, self._represent(gallery), y, y_gallery)

    def _review_history(self, modalities):
        if not (self.self_supervision and self.adversarial_weight):
            return
        accuracies = {
            f"the discriminator of {modality}": [
                row["discriminator_accuracy"]
                for row in self.history_
                if row["phase"] in (modality, f"{modality}_discriminator")
                and "discriminator_accuracy" in row
            ]
            for modality in modalities
        }
        self._warn_of_unbeaten(
            accuracies,
            "set adversarial_weight=0 to train without discriminators, or raise "
            "adversarial_weight and lower lr_discriminator, for example to 1 and 1e-4.",
        )

    def _unify(self, module, task):
        """Return the signs of the sums of the relaxed codes of pairs."""
        encoders = module["encoders"]
        relaxed = [
            encode_dataset(encoders[name], task.whole(name), name).cpu().numpy()
            for name in task.modalities
        ]
        if self.self_supervision:
            y = indicator_of(task.whole(task.modalities[0]))
            relaxed.append(encode_in_blocks(encoders[LABEL], y, device_of(module)))
        return np.where(sum(relaxed) >= 0, np.int8(1), np.int8(-1))

    # -- encoding --------------------------------------------------------------

    def _label_probabilities(self, X, modality):
        self._check_trained("label_loss", "predict_proba", "label_weight")
        predict = partial(_predict_labels, self.encoder_(modality))
        return self._apply(predict, X, modality)


def _predict_labels(encoder, X):
    network, features = network_and_features(encoder, X)
    return network.outputs(features).logits.sigmoid()
