"""Estimator of CM-GANs."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings
from functools import partial
from numbers import Integral, Real

from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklearn_cmr._inputs.layout import MODALITIES
from sklearn_cmr._lazy import public
from sklearn_cmr._warnings import stacklevel_of_caller
from sklearn_cmr.base import (
    LabelProbabilityMixin,
    NetworkTransformer,
    ProjectorMixin,
)
from sklearn_cmr.nn.losses import LABEL_ACTIVATIONS, LABEL_LOSSES
from sklearn_cmr.nn.normalization import Network, make_normalized_layers
from sklearn_cmr.projection._cmgan.losses import discriminator_loss, generator_loss
from sklearn_cmr.projection._cmgan.networks import (
    InterModalDiscriminator,
    make_encoder,
    tie_encoders,
)
from sklearn_cmr.training import AnchorSampler
from sklearn_cmr.training.samplers import anchors_in_order


@public("sklearn_cmr")
class CMGANProjector(LabelProbabilityMixin, ProjectorMixin, NetworkTransformer):
    r"""Cross-modal generative adversarial networks (CM-GANs).

    Two autoencoders, one per modality, share the last layer of their encoders. The
    output of this layer, the code, lies in the common space. Intra-modal discriminators
    learn to distinguish features from their reconstructions. Inter-modal discriminators
    get a code together with the features of one modality. They learn to distinguish the
    code of these features from two others: the code of the paired item in the other
    modality, and the code of a mismatched item, which has no label in common. The
    autoencoders learn to mislead all discriminators, so that the codes of the
    modalities become alike. A label classifier keeps the classes apart [1]_.

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

    and the same with images and texts exchanged. In every batch, first the intra-modal
    discriminators :math:`D` and the inter-modal discriminators :math:`C` take their
    steps. Then the autoencoders and the label classifier take theirs to minimize
    :math:`J_{G_V} + J_{G_T}`.

    Parameters
    ----------
    embedding_dim : int, default=64
        Width of the common space.

    hidden_layer_sizes : tuple of int, or dict, default=(256,)
        Widths of the hidden layers of the encoders, for all modalities or by modality:
        ``{"image": (...), "text": (...)}``. With `share_last_layer`, the last of them
        must be equal.

    decoder_hidden_layer_sizes : tuple of int, or dict, default=None
        Widths of the hidden layers of the decoders, in the same form. None reverses
        those of the encoders.

    discriminator_hidden_layer_sizes : tuple of int, default=(512,)
        Widths of the hidden layers of every discriminator. The intra-modal ones are
        linear.

    negative_slope : float, default=0.2
        Slope, in [0, 1), of the leaky ReLU below 0. It is the activation of all hidden
        layers and of the last layer of the encoders.

    batch_norm : bool, default=False
        Whether all layers of the encoders have batch normalization. It keeps every
        coordinate of the codes at one variance, also those that tell nothing of the
        labels, which harms retrieval where rows are few or labels are many. Decoders
        and inter-modal discriminators always have it.

    input_dropout : float, default=0.5
        Probability, in [0, 1), with which an encoder gets 0 in place of a feature in
        the training. The other features are divided by ``1 - input_dropout``.

    share_last_layer : bool, default=True
        Whether the last layers of the encoders share their weights and, with
        `batch_norm`, their scales and shifts. The running statistics are never shared.

    share_classifier : bool, default=True
        Whether both modalities share one label classifier, which aligns their classes
        from the start. With one classifier per modality, the inter-modal adversarial
        loss alone aligns the classes, which takes more epochs.

    inter_adversarial_weight : float, default=0.1
        Weight :math:`\alpha \geq 0` of the inter-modal adversarial loss; 0 leaves it
        out.

    intra_adversarial_weight : float, default=0.1
        Weight :math:`\beta \geq 0` of the intra-modal adversarial loss; 0 leaves it
        out.

    label_weight : float, default=1.0
        Weight :math:`\gamma \geq 0` of the label loss; 0 leaves it out.

    reconstruction_weight : float, default=0.0
        Weight :math:`\delta \geq 0` of the reconstruction loss; 0 leaves it out.

    real_weight : float, default=1.0
        Weight :math:`\rho \geq 0` of the codes of the features in :math:`J_C`.

    cross_weight : float, default=0.5
        Weight :math:`\kappa \geq 0` of the codes of the paired items in :math:`J_C`.

    mismatch_weight : float, default=0.5
        Weight :math:`\mu \geq 0` of the codes of the mismatched items in :math:`J_C`;
        0 leaves them out.

    mismatch : {"anchor", "self"}, default="anchor"
        Features that accompany the code of a mismatched item: those of the anchor,
        :math:`x_i`, or its own, :math:`\bar x_i`, as in the published code. With
        "self", mismatched pairs do not differ from the real ones.

    label_loss : {"auto", "softmax", "bce"}, default="softmax"
        Label loss: "softmax" is the cross entropy of the softmax, where the labels of a
        row are equally likely. "bce" is the binary cross entropy of one sigmoid per
        class, averaged over the classes. "auto" is "softmax" if every row has exactly
        one label, else "bce". "bce" predicts each label separately; "softmax" often
        ranks better.

    sampler : {"class_balanced", "shuffle"}, default="class_balanced"
        How anchors are drawn:

        - "class_balanced": first a class, then one of its items, with replacement, for
          as many full batches as cover the number of pairs;
        - "shuffle": every pair once per epoch, in random order.

        Mismatched items are drawn in the same way, from those without a label in
        common.

    generator_update : {"joint", "alternate"}, default="joint"
        "joint" updates both autoencoders in one step. "alternate" updates that of the
        images, then that of the texts. What they share is then in two optimizers.

    n_generator_steps : int, default=1
        Number of steps of the autoencoders per batch, at least 1.

    n_discriminator_steps : int, default=1
        Number of steps of every discriminator per batch, at least 1.

    lr : float, default=1e-3
        Learning rate of Adam for the encoders and what learns with them.

    lr_discriminator : float, default=None
        Learning rate of every discriminator; None takes `lr`.

    lr_decay : float, default=0.5
        Factor in (0, 1] by which all learning rates are multiplied every
        `lr_decay_every` epochs.

    lr_decay_every : int, default=None
        Number of epochs between two decays of the learning rates, at least 1. None is a
        fifth of the epochs; warm starts keep the last rate.

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

    min_updates : int, default=1000
        Minimum number of batches in the training, with ``max_epochs="auto"``.

    output : {"embedding", "probabilities", "both"}, default="both"
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
        One entry per epoch: its number `epoch`, `seconds`, and, averaged over the
        batches, with `{m}` for "image" and "text",

        - `{m}_generator_loss` (:math:`J_G`), and with "joint" `generator_loss`, the sum
          of both;
        - `{m}_label_loss` and `{m}_reconstruction_loss`, each if its weight is not 0;
        - `{m}_intra_loss` (:math:`J_D`) and `{m}_inter_loss` (:math:`J_C`) of the
          discriminators, and `discriminator_loss`, their sum;
        - `{m}_intra_accuracy`, for features and reconstructions, and
          `{m}_inter_accuracy`, for the codes of the features and of the paired items;
          both are 0.5 at chance level;
        - `embedding_loss`, the sum of both :math:`J_G` without the adversarial terms,
          also named `train_loss`;
        - `code_gap`, the mean absolute difference between the codes of paired items,
          which is not part of any loss;
        - with `early_stopping`, `valid_map` and `valid_loss` (`embedding_loss`).

        Where steps are repeated in a batch, the values are those of the last one.

    loss_curve_ : list of float
        `train_loss` of every epoch.

    callbacks_ : list of tuple
        Names and copies of `callbacks` that ran, with what they recorded.

    module_ : torch.nn.ModuleDict
        "encoders", "decoders", "intra_discriminators", "inter_discriminators" and
        "classifiers", each by modality. With `share_classifier`, the classifiers are
        one object.

    label_loss_ : {"softmax", "bce"}
        Label loss that was used.

    See Also
    --------
    ACMRProjector : Adversarial training with one discriminator and a triplet loss.
    PairTransformer : Standardize, or otherwise transform, each modality.

    Notes
    -----
    **Scaling.** Standardize the features: the inter-modal discriminators get them
    together with the codes, which large values would outweigh.

    **Adversarial training.** With one label classifier for both modalities, the
    adversarial losses gain nothing in retrieval: it is the classifier that aligns the
    modalities. With weights of 1 the adversarial losses make the embedding alone better
    on some data, and the probabilities worse. The losses of autoencoders and
    discriminators need not decrease. Monitor `embedding_loss` and the accuracies. Where
    `{m}_inter_accuracy` stays at 1, the autoencoders learn nothing from the
    discriminator: lower `lr_discriminator`; :meth:`fit` warns of it.
    `{m}_intra_accuracy` falls below 0.5 where the decoders take many more steps than
    the discriminators.

    **Reconstruction.** The intra-modal adversarial loss makes reconstructions look like
    features, but not like the features that were encoded. :meth:`reconstruct` therefore
    needs ``reconstruction_weight > 0``.

    **Normalization.** In the training, each group of inputs is normalized by its own
    batch. The running statistics, by which :meth:`transform` with `batch_norm` and
    :meth:`reconstruct` normalize, are updated once per batch, when the autoencoders
    first encode its anchors. Mismatched items and
    the steps of the discriminators do not update them. As one row alone cannot be
    normalized, `batch_size` is at least 2, and a last batch of one pair joins the batch
    before it.

    **Published settings**, those of the code [2]_ except for its lost weight sharing::

        CMGANProjector(
            embedding_dim=1024, hidden_layer_sizes=(1024,),
            discriminator_hidden_layer_sizes=(512,), batch_norm=True, input_dropout=0,
            share_classifier=False, inter_adversarial_weight=1,
            intra_adversarial_weight=1, label_weight=1, mismatch="self",
            generator_update="alternate", n_generator_steps=5, n_discriminator_steps=1,
            lr=1e-3, lr_decay=0.5, lr_decay_every=100, batch_size=64, max_epochs=2000,
            output="embedding",
        )

    **Departures from that code.** There, moving the networks to the GPU splits the
    shared layer into two copies with equal initial weights
    (``share_last_layer=False``). Discriminator steps and mismatched items update the
    running statistics. A sigmoid before the logarithm saturates. Retrieval scores
    standardize the queries with the statistics of the test set. The convolutional
    networks of the paper are not included: the inputs are features that an image or a
    text network has extracted.

    **Defaults** are those of this package, chosen on training rows of seven data sets.
    Without batch normalization in the encoders, and with dropout of their inputs,
    the training overfits less where rows are few or labels are many. One step of
    every player per batch, and more batches, replace five steps on the same batch. With
    one classifier per modality, train longer.

    **Output.** The embedding has more coordinates than the label loss needs, and the
    cosine weighs them alike. The label probabilities therefore often retrieve better
    than the embeddings alone. The two together are the best on most data.

    **Pairs without a mismatched item.** An item that has a label in common with every
    other one is left out of the mismatch term; :meth:`fit` warns of it.

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
    >>> Z_img, Z_txt = cmgan.transform(A_test, B_test)  # 16 + 4 classes
    >>> Z_img.shape, Z_txt.shape
    ((75, 20), (75, 20))
    >>> print(f"{cmgan.score(A_test, B_test, y_test):.1f}")
    1.0

    With a reconstruction loss, the decoders reconstruct features from codes:

    >>> cmgan = cmgan.set_params(reconstruction_weight=1, max_epochs=5).fit(A, B, y)
    >>> cmgan.reconstruct(A_test, "image").shape == A_test.shape
    True
    """

    _min_batch_size = 2
    _network_parameters = (
        "hidden_layer_sizes",
        "decoder_hidden_layer_sizes",
        "discriminator_hidden_layer_sizes",
        "negative_slope",
        "batch_norm",
        "share_last_layer",
        "share_classifier",
    )
    _parameter_constraints: dict = {
        **NetworkTransformer._parameter_constraints,
        **ProjectorMixin._parameter_constraints,
        "output": [StrOptions({"embedding", "probabilities", "both"})],
        "decoder_hidden_layer_sizes": ["array-like", dict, None],
        "discriminator_hidden_layer_sizes": ["array-like"],
        "negative_slope": [Interval(Real, 0, 1, closed="left")],
        "batch_norm": ["boolean"],
        "input_dropout": [Interval(Real, 0, 1, closed="left")],
        "share_last_layer": ["boolean"],
        "share_classifier": ["boolean"],
        "inter_adversarial_weight": [Interval(Real, 0, None, closed="left")],
        "intra_adversarial_weight": [Interval(Real, 0, None, closed="left")],
        "label_weight": [Interval(Real, 0, None, closed="left")],
        "reconstruction_weight": [Interval(Real, 0, None, closed="left")],
        "real_weight": [Interval(Real, 0, None, closed="left")],
        "cross_weight": [Interval(Real, 0, None, closed="left")],
        "mismatch_weight": [Interval(Real, 0, None, closed="left")],
        "mismatch": [StrOptions({"anchor", "self"})],
        "label_loss": [StrOptions({"auto", "softmax", "bce"})],
        "sampler": [StrOptions({"class_balanced", "shuffle"})],
        "generator_update": [StrOptions({"joint", "alternate"})],
        "n_generator_steps": [Interval(Integral, 1, None, closed="left")],
        "n_discriminator_steps": [Interval(Integral, 1, None, closed="left")],
        "lr_discriminator": [Interval(Real, 0, None, closed="neither"), None],
        "lr_decay": [Interval(Real, 0, 1, closed="right")],
        "lr_decay_every": [Interval(Integral, 1, None, closed="left"), None],
        "betas": ["array-like"],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        # One row alone cannot be normalized.
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
        batch_norm=False,
        input_dropout=0.5,
        share_last_layer=True,
        share_classifier=True,
        inter_adversarial_weight=0.1,
        intra_adversarial_weight=0.1,
        label_weight=1.0,
        reconstruction_weight=0.0,
        real_weight=1.0,
        cross_weight=0.5,
        mismatch_weight=0.5,
        mismatch="anchor",
        label_loss="softmax",
        sampler="class_balanced",
        generator_update="joint",
        n_generator_steps=1,
        n_discriminator_steps=1,
        lr=1e-3,
        lr_discriminator=None,
        lr_decay=0.5,
        lr_decay_every=None,
        betas=(0.5, 0.999),
        weight_decay=0.0,
        batch_size=64,
        max_epochs="auto",
        min_updates=1000,
        output="both",
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
        self.decoder_hidden_layer_sizes = decoder_hidden_layer_sizes
        self.discriminator_hidden_layer_sizes = discriminator_hidden_layer_sizes
        self.negative_slope = negative_slope
        self.batch_norm = batch_norm
        self.input_dropout = input_dropout
        self.share_last_layer = share_last_layer
        self.share_classifier = share_classifier
        self.inter_adversarial_weight = inter_adversarial_weight
        self.intra_adversarial_weight = intra_adversarial_weight
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
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.min_updates = min_updates
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

    def reconstruct(self, X, modality):
        """Encode features of one modality, and decode the codes.

        This needs decoders that were fitted with ``reconstruction_weight > 0``. The
        intra-modal adversarial loss alone does not make them reconstruct their input.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Features of the modality.

        modality : str
            Its name: ``"image"`` or ``"text"``.

        Returns
        -------
        reconstructed : ndarray of shape (n_samples, n_features)
            Where the modality has a network in `encoders`, reconstructed are the
            features that this network returns.
        """
        check_is_fitted(self)
        self._check_trained(
            f"{MODALITIES[0]}_reconstruction_loss",
            "reconstruct",
            "reconstruction_weight",
        )
        encoder, decoder = self.encoder_(modality), self.module_["decoders"][modality]
        X = self._reader.read_modality(X, modality)
        return self._apply(lambda X: decoder(encoder(X)), X, modality)

    def _check_label_head(self):
        self._check_trained(
            f"{MODALITIES[0]}_label_loss", "predict_proba", "label_weight"
        )

    def _label_head(self, module, modality):
        activation = LABEL_ACTIVATIONS[self.label_loss_]
        classifier = module["classifiers"][modality]
        return lambda Z: activation(classifier(Z))

    def _review_history(self, modalities):
        accuracies = {
            f"the {kind}-modal discriminator of {modality}": [
                row[f"{modality}_{kind}_accuracy"]
                for row in self.history_
                if f"{modality}_{kind}_accuracy" in row
            ]
            for modality in modalities
            for kind in ("intra", "inter")
        }
        self._warn_of_unbeaten(
            accuracies,
            "lower lr_discriminator or n_discriminator_steps, or set "
            "inter_adversarial_weight or intra_adversarial_weight to 0 to train "
            "without that loss.",
        )

    def _build(self, n_features, n_classes):
        width, slope = self.embedding_dim, self.negative_slope
        encoders: dict[str, Network] = {}
        last_widths = []
        decoders, intra, inter, classifiers = (nn.ModuleDict() for _ in range(4))
        for modality, n_inputs in n_features.items():
            hidden = self._layer_sizes("hidden_layer_sizes", modality)
            sizes = [n_inputs, *hidden, width]
            encoders[modality] = make_encoder(sizes, slope, self.batch_norm)
            last_widths.append(sizes[-2])
            if self.decoder_hidden_layer_sizes is None:
                decoder_hidden = hidden[::-1]
            else:
                decoder_hidden = self._layer_sizes(
                    "decoder_hidden_layer_sizes", modality
                )
            sizes = [width, *decoder_hidden]
            decoders[modality] = Network(
                *make_normalized_layers(sizes, slope), nn.Linear(sizes[-1], n_inputs)
            )
            intra[modality] = nn.Linear(n_inputs, 1)
            inter[modality] = InterModalDiscriminator(
                width,
                n_inputs,
                self._layer_sizes("discriminator_hidden_layer_sizes"),
                slope,
            )
            if not self.share_classifier:
                classifiers[modality] = nn.Linear(width, n_classes)
        if self.share_classifier:
            classifiers.update(dict.fromkeys(n_features, nn.Linear(width, n_classes)))
        if self.share_last_layer:
            if len(set(last_widths)) > 1:
                raise ValueError(
                    "share_last_layer=True needs last hidden layers of the same width "
                    f"in both modalities, got {last_widths[0]} and {last_widths[1]}: "
                    "change hidden_layer_sizes, or set share_last_layer=False."
                )
            tie_encoders(*encoders.values())
        return nn.ModuleDict(
            {
                "encoders": nn.ModuleDict(encoders),
                "decoders": decoders,
                "intra_discriminators": intra,
                "inter_discriminators": inter,
                "classifiers": classifiers,
            }
        )

    def _phases(self, module, task):
        self.label_loss_ = self.label_loss
        if self.label_loss == "auto":
            self.label_loss_ = "softmax" if task.has_single_labels else "bce"
        n_epochs = task.n_epochs()
        generators = self._generators(module, n_epochs)
        discriminators = self._discriminators(module, n_epochs)
        turns = [p.name for p in discriminators] * self.n_discriminator_steps
        turns += [p.name for p in generators] * self.n_generator_steps
        return [
            task.make_phase(
                # The last generator comes first: its terms cover both modalities.
                players=[*generators[::-1], *discriminators],
                turns=turns,
                sampler=self._sampler(task),
                sampler_valid=anchors_in_order,
            )
        ]

    def _generators(self, module, n_epochs):
        """Return the players that train the autoencoders and the label classifiers."""
        names = ("inter_adversarial", "intra_adversarial", "label", "reconstruction")
        weights = {f"{x}_weight": getattr(self, f"{x}_weight") or None for x in names}
        if not any(weights.values()):
            raise ValueError(
                f"nothing to learn: one of {', '.join(weights)} must be > 0."
            )
        loss = partial(
            generator_loss,
            label_loss=LABEL_LOSSES[self.label_loss_],
            input_dropout=self.input_dropout,
            **weights,
        )
        modalities_of: dict[str, tuple[str, ...]] = {"generator": MODALITIES}
        if self.generator_update == "alternate":
            modalities_of = {f"{m}_generator": (m,) for m in MODALITIES}
        has_embedding_loss = self.label_weight or self.reconstruction_weight
        return [
            self._player(
                name,
                self._generator_parameters(module, modalities),
                partial(loss, modalities=modalities),
                self._decayed(self.lr, n_epochs),
                monitor="embedding_loss" if has_embedding_loss else None,
            )
            for name, modalities in modalities_of.items()
        ]

    def _generator_parameters(self, module, modalities):
        networks = []
        for modality in modalities:
            networks.append(module["encoders"][modality])
            if self.intra_adversarial_weight or self.reconstruction_weight:
                networks.append(module["decoders"][modality])
            if self.label_weight:
                networks.append(module["classifiers"][modality])
        return [p for network in networks for p in network.parameters()]

    def _discriminators(self, module, n_epochs):
        """Return one player for all discriminators, or none if there are none.

        Discriminators have neither inputs nor weights in common. A joint step therefore
        equals one step of each.
        """
        intra = MODALITIES if self.intra_adversarial_weight else ()
        inter = MODALITIES if self.inter_adversarial_weight else ()
        networks = [module["intra_discriminators"][m] for m in intra]
        networks += [module["inter_discriminators"][m] for m in inter]
        if not networks:
            return []
        loss = partial(
            discriminator_loss,
            intra=intra,
            inter=inter,
            input_dropout=self.input_dropout,
            mismatch=self.mismatch,
            real_weight=self.real_weight,
            cross_weight=self.cross_weight,
            mismatch_weight=self.mismatch_weight or None,
        )
        lr = self.lr if self.lr_discriminator is None else self.lr_discriminator
        parameters = [p for network in networks for p in network.parameters()]
        return [
            self._player("discriminator", parameters, loss, self._decayed(lr, n_epochs))
        ]

    def _sampler(self, task):
        labels = task.indicator()
        if len(labels) < 2:
            raise ValueError(
                "batch normalization needs at least two rows to train on, got "
                f"{len(labels)}."
            )
        mismatched = bool(self.inter_adversarial_weight and self.mismatch_weight)
        sampler = AnchorSampler(labels, self.sampler == "class_balanced", mismatched)
        n_alone = int((~sampler.has_mismatch).sum())
        if mismatched and n_alone:
            warnings.warn(
                f"{n_alone} of {len(labels)} rows share a label with every row: they "
                "have no mismatched row and are left out of that term.",
                UserWarning,
                stacklevel=stacklevel_of_caller(),
            )
        return sampler
