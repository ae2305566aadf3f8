"""The estimator of AADAH."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings
from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning, UndefinedMetricWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import nn
from torch.utils.data import Subset

from sklearn_cmr._lazy import public
from sklearn_cmr._warnings import stacklevel_of_caller
from sklearn_cmr.base import HasherMixin, NetworkTransformer
from sklearn_cmr.base._mixins import code_form
from sklearn_cmr.hashing._aadah.losses import (
    DISTANCES,
    SIMILARITIES,
    Ranking,
    attention_loss,
    hashing_loss,
)
from sklearn_cmr.hashing._aadah.networks import PARTS, AttentionHash
from sklearn_cmr.metrics._directions import mean_map
from sklearn_cmr.nn.layers import make_mlp
from sklearn_cmr.training import (
    ClassBalanced,
    Joint,
    encode_dataset,
    indicator_of,
    joint_sampler,
    network_and_features,
    network_of,
)
from sklearn_cmr.training.samplers import shuffled

# Rows of each class in a class-balanced batch.
_ROWS_OF_CLASS = 4
# Training rows on which the unattended codes are evaluated if no rows are held out.
_MAX_EVALUATED_ROWS = 256
# Share of rows in batches without a triplet above which a warning is given.
_MANY_WITHOUT_TRIPLET = 0.1


@public("sklearn_cmr")
class AADAHHasher(HasherMixin, NetworkTransformer):
    r"""Attention-aware deep adversarial hashing (AADAH).

    Every modality has an *encoder* of three networks. The feature network extracts
    features of an item. The attention network divides them into an attended and an
    unattended part, by the regions of an image, or by coordinates where there are no
    regions. The hash network encodes each part. Feature and hash networks learn to rank
    items by their labels, with the codes of both parts. Attention networks learn to
    make the unattended part uninformative about the labels, so that the informative
    features become part of the attended ones. Only the attended codes are used for
    retrieval [1]_.

    With features :math:`f` and the probabilities :math:`P = \operatorname{softmax}
    G(f)` of its :math:`R` regions or coordinates, the mask :math:`Z_r = [P_r \geq
    \alpha / R]` gives the relaxed codes :math:`H = \tanh D(Z f)` of the attended part
    and :math:`U = \tanh D((1 - Z) f)` of the unattended part. The triplet loss of codes
    :math:`X` that rank codes :math:`Y` by a distance :math:`d` in [0, 1] is

    .. math::

        F(X, Y) = \frac{1}{n} \sum_{i, j, k \,:\, S_{ij} > S_{ik}}
            \max(0, \epsilon + d(x_i, y_j) - d(x_i, y_k)),

    over all triplets of a batch in which :math:`i` is more similar to :math:`j` than to
    :math:`k`, with :math:`n` active triplets, those with a positive loss. Feature
    networks and hash networks minimize

    .. math::

        L = \beta \sum_{A \neq B} F(H^A, H^B) + \gamma \sum_A F(H^A, H^A) +
            \delta L_{adv} + \eta L_Q, \qquad L_{adv} = \sum_{A \neq B} F(H^A, U^B)

    with fixed masks, where :math:`L_Q` is the mean of :math:`(H - \operatorname{sign}
    H)^2`. In every `attention_every`-th batch, the attention networks then maximize
    :math:`L_{adv}`, or minimize the triplet loss of the reversed order, with the other
    networks fixed. With more than two modalities, every sum is divided by the number of
    its pairs and multiplied by 2, so that the weights keep their meaning.

    Parameters
    ----------
    n_bits : int, default=32
        Number of bits of a code.

    hidden_layer_sizes : tuple of int, or dict, default=None
        Widths of the hidden layers of the encoders, for all modalities or by modality:
        ``{"image": (...), "text": (...)}``. They are the layers of the feature
        networks, each followed by ReLU. None takes ``(1024, 512)``, and ``(512,)`` for
        items with regions.

    hash_hidden_layer_sizes : tuple of int, or dict, default=None
        Widths of the hidden layers of the hash networks, in the same form. None takes
        ``(512,)`` for the image and no hidden layer for other modalities.

    use_attention : bool or tuple of str, default=True
        Whether to divide the features into an attended and an unattended part, or the
        names of the modalities in which to do so. False is plain hashing by triplets.

    attention_threshold : float, default=1.0
        Threshold :math:`\alpha > 0` of the probabilities, in units of :math:`1 / R`.
        Up to 1, the attended part of an item is never empty; above 1, it can be.

    mask_gradient : {"ste", "ste_raw", "soft"}, default="ste"
        Gradient that replaces that of the mask :math:`Z`:

        - "ste": that of :math:`R P`, where it is within 1 of the threshold;
        - "ste_raw": that of :math:`P`, smaller by a factor of :math:`R`;
        - "soft": that of :math:`Z = \sigma(5 (R P - \alpha))`, which is also the mask
          in training.

    mask_inference : {"hard", "same"}, default="hard"
        Mask of the encoding where `mask_gradient` is "soft": 0 and 1, or the mask of
        the training.

    region_pooling : {"mean", "sum", "flatten"}, default="mean"
        Pooling of the attended regions into the input of the hash network. "flatten"
        keeps their order and needs the same number of regions in all items.

    margin : float, default=0.1
        Margin :math:`\epsilon > 0` of the triplets. The distance of opposite codes
        is 1.

    distance : {"euclidean", "sqeuclidean"}, default="euclidean"
        Distance :math:`d` of relaxed codes: Euclidean or squared Euclidean, divided by
        its largest value.

    similarity : {"binary", "count", "cosine"}, default="binary"
        Similarity :math:`S` of labels: whether there is a common label, the number of
        common labels, or the cosine of the label indicators.

    inter_triplet_weight : float, default=1.0
        Weight :math:`\beta \geq 0` of the triplet loss across modalities; 0 leaves it
        out.

    intra_triplet_weight : float, default=1.0
        Weight :math:`\gamma \geq 0` of the triplet loss within modalities; 0 leaves it
        out.

    adversarial_weight : float, default=1.0
        Weight :math:`\delta \geq 0` of the adversarial loss; 0 leaves it out.

    quantization_weight : float, default=0.0
        Weight :math:`\eta \geq 0` of the quantization loss; 0 leaves it out.

    triplet_reduction : {"active", "valid", "sum"}, default="active"
        Divisor of a triplet loss: the number :math:`n` of its active triplets, the
        number of all its triplets, or 1.

    attention_loss : {"flipped", "maximize"}, default="flipped"
        Loss of the attention networks: the triplet loss of the reversed order of the
        unattended codes, or the negative triplet loss of the right order.

    detach_query : bool, default=True
        Whether the attended codes, which rank the unattended ones, are constants in the
        loss of the attention networks.

    sampler : {"shuffle", "class_balanced"}, default="shuffle"
        Batches of random rows, or of four rows each of random classes.

    attention_every : int, default=4
        Number of batches between two steps of the attention networks, at least 1.

    warmup_epochs : int, default=0
        Number of epochs at the start in which all features are attended.

    lr : float, default=3e-4
        Learning rate of Adam for the encoders and what learns with them.

    lr_attention : float, default=2e-3
        Learning rate of the attention networks; None takes `lr`.

    lr_decay : float, default=1.0
        Factor in (0, 1] by which all learning rates are multiplied every
        `lr_decay_every` epochs.

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

    min_updates : int, default=300
        Minimum number of batches in the training, with ``max_epochs="auto"``.

    output : {"sign", "packed"}, default="sign"
        Form of the output of :meth:`transform`: codes of -1 and +1 (int8), or their
        bits packed into bytes (uint8). :meth:`encode` has further forms.

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
        One entry for every epoch, averaged over its batches: `inter_loss`, `intra_loss`
        and `adversarial_loss`, the sums above without their weights;
        `quantization_loss` if it has a weight; `train_loss`, their weighted sum, and
        `hashing_loss`, the same value; `attention_loss`, the loss of the attention
        networks, in epochs in which they took a step; `active_fraction`, the share of
        active triplets; `attended_fraction_image`, `attended_fraction_text`, ..., the
        attended share of the features; `no_triplet`, the share of rows in batches
        without a triplet; `masked`, 0 in the warm-up and 1 after it; `unattended_map`,
        the mAP of attended codes that rank the unattended ones of another modality, on
        the held-out rows, or else on up to 256 training rows; and `seconds`. With
        `early_stopping` also `valid_loss` and `valid_map`.

    loss_curve_ : list of float
        `train_loss` of every epoch.

    callbacks_ : list of tuple
        Names and copies of `callbacks` that ran, with what they recorded.

    module_ : torch.nn.ModuleDict
        "encoders" holds the encoders by modality, each with the networks `features`,
        `attention` and `hashing`.

    See Also
    --------
    DRCLProjector : Embed modalities that need not be paired.
    PairTransformer : Standardize, or otherwise prepare, each modality.

    Notes
    -----
    **Regions.** Image features may have the shape (n_samples, n_regions, n_features).
    If the number of regions differs between items, all features of an absent region are
    NaN: ``np.where(present[..., None], X, np.nan)``. Absent regions do not change a
    result, and :math:`R` is the number of regions of the item. For features without
    regions, of any modality, the attention is over the coordinates of the last hidden
    layer of the feature network.

    **Without pairs.** Triplets need labels only. ``fit({"image": A, "text": B},
    {"image": ya, "text": yb})`` takes modalities with their own rows, of any number,
    and samples them independently of each other. With one array of labels for all, the
    rows are pairs, or tuples of more modalities. The pair is the most informative
    positive: use pairs where there are any. Tools for model selection slice the rows of
    pairs; these forms are for direct calls.

    **Diagnostics.** `unattended_map` should fall towards the mAP of a random ranking,
    while `attended_fraction_image` and the like stay well below 1. With "active", a
    triplet loss is the mean loss of the active triplets and need not fall, but
    `active_fraction` does. With "valid", the adversarial loss loses weight as triplets
    become inactive, and more information stays in the unattended part. With
    ``adversarial_weight=0``, the attention networks learn from the other terms.

    **Attention and its adversary** help on some data. The mAP of 32 bits, where test
    rows query each other, was 0.355 on Wikipedia with CNN features, 0.335 with
    ``use_attention=False`` and 0.329 with ``adversarial_weight=0``; on the UCI multiple
    features it was 0.792, 0.796 and 0.798 (means of three seeds).

    **Triplets** are not enumerated. The losses and gradients of a batch of size
    :math:`b` follow from :math:`b` sorted rows of distances, in memory of order
    :math:`b^2`. Only the similarities "count" and "cosine" take time of order
    :math:`b^3`, in bounded memory. An anchor does not rank itself within its modality.
    With many classes of few rows, most anchors of a random batch have no positive but
    their partner; then use ``sampler="class_balanced"``.

    **The adversarial loss of the paper** is::

        AADAHHasher(
            attention_loss="maximize", detach_query=False, triplet_reduction="sum",
            mask_gradient="ste_raw",
        )

    It does not work: the attention networks attend to less than 2% of the features, and
    the codes lose most of their information. The mAP on test rows was 0.22 on the UCI
    multiple features, where the defaults have 0.79, and 0.15 on Wikipedia with CNN
    features, where the defaults have 0.36 (32 bits, standardized features, mean of
    three seeds). Use these settings only to reproduce the paper.

    Widths, margin and training settings of the paper are not published, and the
    defaults are this package's own. So is the scale of the distances, by which one
    margin suits codes of any length. The convolutional networks of the paper are not
    included: features are the outputs of an image network or a text network.

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

    _rows = Joint()
    _parameter_constraints: dict = {
        **NetworkTransformer._parameter_constraints,
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
        "inter_triplet_weight": [Interval(Real, 0, None, closed="left")],
        "intra_triplet_weight": [Interval(Real, 0, None, closed="left")],
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
        "lr_decay_every": [Interval(Integral, 1, None, closed="left"), None],
        "betas": ["array-like"],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
    }
    _region_modalities = ("image",)
    _min_batch_size = 2
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
        inter_triplet_weight=1.0,
        intra_triplet_weight=1.0,
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
        lr_decay_every=None,
        betas=(0.9, 0.999),
        weight_decay=0.0,
        batch_size=128,
        max_epochs="auto",
        min_updates=300,
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
        self.hash_hidden_layer_sizes = hash_hidden_layer_sizes
        self.use_attention = use_attention
        self.attention_threshold = attention_threshold
        self.mask_gradient = mask_gradient
        self.mask_inference = mask_inference
        self.region_pooling = region_pooling
        self.margin = margin
        self.distance = distance
        self.similarity = similarity
        self.inter_triplet_weight = inter_triplet_weight
        self.intra_triplet_weight = intra_triplet_weight
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
        self.lr_decay_every = lr_decay_every
        self.betas = betas
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.min_updates = min_updates
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

    # -- encoding --------------------------------------------------------------

    def encode(self, X, modality, *, part="attended", output="sign"):
        """Encode one modality alone, in a chosen form.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features), \
                or array-like of shape (n_samples, n_regions, n_features)
            Features of that modality.

        modality : str
            Its name, such as ``"image"`` or ``"text"``.

        part : {"attended", "unattended", "full"}, default="attended"
            Part of the features to encode. Retrieval uses the attended codes; the
            unattended ones should be uninformative about the labels.

        output : {"sign", "bool", "packed", "real"}, default="sign"
            Codes of -1 and +1 (int8), booleans, packed bits (uint8, the first bit is
            the most significant one, padded with 0 to whole bytes), or the relaxed
            codes in [-1, 1] (float32), whose signs are the bits.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_bits), or (n_samples, ceil(n_bits / 8))
            Codes of the rows; packed ones have the second shape.

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
        form = code_form(output)
        X = self._reader.read_modality(X, modality)
        if part == "unattended":
            self._check_attention(modality)
        encode = partial(self.encoder_(modality), part=part)
        return form(self._apply(encode, X, modality))

    def attention(self, X, modality):
        """Return the attention to the regions or coordinates of one modality.

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
            Probability :math:`P` of each region, 0 where it is absent. For items
            without regions, of each coordinate of the last layer of the feature
            network.

        mask : ndarray of the same shape
            The attended regions or coordinates: booleans, or float32 weights in [0, 1]
            if ``mask_gradient="soft"`` and ``mask_inference="same"``.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the features are not those of the fit, or if the modality has no
            attention network.
        """
        check_is_fitted(self)
        X = self._reader.read_modality(X, modality)
        self._check_attention(modality)
        encoder = self.encoder_(modality)
        both = self._apply(partial(_attention, encoder), X, modality)
        mask = both[:, 1]
        if not network_of(encoder).soft_inference:
            mask = mask.astype(bool)
        return both[:, 0], mask

    def _check_attention(self, modality):
        if network_of(self.encoder_(modality)).attention is None:
            raise ValueError(
                f"The encoder of the modality {modality!r} has no attention network, "
                "and no unattended part: fit with use_attention=True."
            )

    @property
    def _needs_same_regions(self):  # type: ignore[override]
        return self.region_pooling == "flatten"

    # -- networks --------------------------------------------------------------

    def _build(self, n_features, n_classes):
        if len(n_features) < 2:
            raise ValueError(
                f"{type(self).__name__} ranks items across modalities: X must have "
                f"two modalities or more, got {list(n_features)}."
            )
        attended = self._attended_modalities(list(n_features))
        encoders = {
            name: self._build_network(name, n_inputs, name in attended)
            for name, n_inputs in n_features.items()
        }
        return nn.ModuleDict({"encoders": nn.ModuleDict(encoders)})

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
                f"The {modality} features have one region in each item, which leaves "
                "the attention no choice. Pass them without regions, X[:, 0], or leave "
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

    def _phases(self, module, task):
        ranking = Ranking(
            self.distance, self.similarity, self.margin, self.triplet_reduction
        )
        weights = {
            "inter_loss": self.inter_triplet_weight,
            "intra_loss": self.intra_triplet_weight,
            "adversarial_loss": self.adversarial_weight,
            "quantization_loss": self.quantization_weight,
        }
        networks = map(network_of, module["encoders"].values())
        attention = [network.attention for network in networks]
        of_attention = [p for own in attention if own for p in own.parameters()]
        is_of_attention = set(of_attention)
        others = [p for p in module.parameters() if p not in is_of_attention]
        is_adversarial = bool(of_attention and self.adversarial_weight)
        triplet_weights = self.inter_triplet_weight, self.intra_triplet_weight
        if not (any(triplet_weights) or is_adversarial):
            raise ValueError(
                "nothing to learn: inter_triplet_weight, intra_triplet_weight, or "
                "adversarial_weight with use_attention, must be > 0."
            )
        loss = partial(hashing_loss, ranking=ranking, weights=weights)
        n_epochs = task.n_epochs()
        parameters = others if is_adversarial else others + of_attention
        players = [
            self._player("hashing", parameters, loss, self._decayed(self.lr, n_epochs))
        ]
        if is_adversarial:
            loss = partial(
                attention_loss,
                ranking=ranking,
                kind=self.attention_loss,
                detach_query=self.detach_query,
            )
            lr = self.lr if self.lr_attention is None else self.lr_attention
            turns = {"every": self.attention_every, "begins": self.warmup_epochs}
            players.append(
                self._player(
                    "attention",
                    of_attention,
                    loss,
                    self._decayed(lr, n_epochs),
                    **turns,
                )
            )
        phase = task.make_phase(
            players=players,
            sampler=joint_sampler(task.train(), self._make_sampler),
            schedule=self._mask_schedule,
        )
        if of_attention:
            evaluated = {
                name: _thin_out(split.train)
                if split.held_out is None
                else split.held_out
                for name, split in task.splits.items()
            }
            phase.end_epoch = partial(self._evaluate_unattended, datasets=evaluated)
        return [phase]

    def _evaluate_unattended(self, module, state, datasets):
        """Return the mAP of attended codes that rank the unattended ones."""
        queries, gallery = {}, {}
        for name, dataset in datasets.items():
            encoder = module["encoders"][name]
            codes = encode_dataset(partial(_encode_both, encoder), dataset, name)
            queries[name] = codes[:, 0].cpu().numpy()
            if network_of(encoder).attention is not None:
                gallery[name] = codes[:, 1].cpu().numpy()
        y = {name: indicator_of(dataset) for name, dataset in datasets.items()}
        with warnings.catch_warnings():
            # Some class may be missing in a modality.
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            return {"unattended_map": mean_map(queries, y, gallery=gallery)}

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

    def _review_history(self, modalities):
        shares = [row["no_triplet"] for row in self.history_ if "no_triplet" in row]
        share = np.mean(shares or 0)
        if share > _MANY_WITHOUT_TRIPLET:
            warnings.warn(
                f"{share:.0%} of the rows were in batches without any triplet, which "
                "do not train the networks: all their items are similar to each other, "
                "or all are dissimilar. Increase batch_size, use fewer and more "
                "specific labels, or set similarity='count', which grades the "
                "similarities.",
                ConvergenceWarning,
                stacklevel=stacklevel_of_caller(),
            )


def _attention(encoder, X):
    """Return attention and mask of a batch as one tensor."""
    network, features = network_and_features(encoder, X)
    return torch.stack(network.attend(*network.extract(features)), 1)


def _encode_both(encoder, X):
    """Return attended and unattended codes of a batch as one tensor."""
    network, features = network_and_features(encoder, X)
    f, present = network.extract(features)
    both = network.encode_both(f, network.mask(f, present), present)
    return (torch.stack(both, 1) >= 0).to(torch.int8) * 2 - 1


def _thin_out(dataset):
    """Return a subset of evenly spaced rows."""
    n_rows = len(dataset)
    rows = np.linspace(0, n_rows - 1, min(n_rows, _MAX_EVALUATED_ROWS)).astype(int)
    return Subset(dataset, rows.tolist())
