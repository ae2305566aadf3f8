"""Adversarial cross-modal retrieval."""

# SPDX-License-Identifier: BSD-3-Clause

import math
import warnings
from functools import partial
from numbers import Integral, Real

import torch
import torch.nn.functional as F
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from sklearn_cmr._inputs.layout import MODALITIES
from sklearn_cmr._lazy import public
from sklearn_cmr._warnings import stacklevel_of_caller
from sklearn_cmr.base import (
    LabelProbabilityMixin,
    NetworkTransformer,
    ProjectorMixin,
)
from sklearn_cmr.nn.layers import ACTIVATIONS, UnitLength, make_mlp
from sklearn_cmr.nn.losses import LABEL_ACTIVATIONS, LABEL_LOSSES
from sklearn_cmr.nn.pairwise import (
    cosine_similarities,
    masked_mean_weights,
    masked_row_means,
    relevance,
    safe_sqrt,
    squared_distances,
)

# -- networks ----------------------------------------------------------------------

# Initial weights of the last layer of a normalized encoder, relative to `init`. Its
# scale does not change the embeddings, but Adam turns small weights faster: random
# directions give way to learned ones within a few hundred steps.
_OUTPUT_SCALE = 0.1


def make_encoder(sizes, *, activation, init, normalize):
    """Build an encoder, with the activation function also after the last layer.

    Parameters
    ----------
    sizes : sequence of int
        Widths of the input, of the hidden layers and of the embedding.

    activation : {"tanh", "relu", "logistic", "identity"}

    init : {"glorot", "default"}

    normalize : bool
        Whether to standardize every row before the last activation function, so that
        none becomes zero by "relu", and to divide it by its length after that.

    Returns
    -------
    encoder : torch.nn.Sequential
    """
    layers = make_mlp(
        sizes, activation=activation, output_activation=activation, init=init
    )
    if not normalize:
        return layers
    *hidden, last, output_activation = layers
    with torch.no_grad():
        last.weight *= _OUTPUT_SCALE
    standardize = nn.LayerNorm(sizes[-1], elementwise_affine=False)
    return nn.Sequential(*hidden, last, standardize, output_activation, UnitLength())


# -- losses ------------------------------------------------------------------------


def sample_triplets(sampling, relevant, squared, input_cosines, generator):
    """Select the positives and the negatives of the anchors of one modality.

    Parameters
    ----------
    sampling : {"all", "hard", "hard_input", "random"}

    relevant : bool tensor of shape (b, b)
        Whether an anchor (row) has a label in common with an item of the other
        modality (column). Row and column `i` are a pair.

    squared : tensor of shape (b, b)
        Squared distances from the anchors in the common space.

    input_cosines : tensor of shape (b, b)
        Cosines between the input features of the anchors. Only "hard_input" uses them.

    generator : torch.Generator

    Returns
    -------
    masks : bool tensor of shape (2, b, b)
        Positives and negatives. The row of negatives of an anchor that has none in the
        batch is empty.
    """
    if sampling == "all":
        return torch.stack([relevant, ~relevant])
    positive = torch.eye(len(relevant), dtype=torch.bool, device=relevant.device)
    if sampling == "random":
        positive = _argmax_mask(_random_like(squared, generator), relevant)
        similarity = _random_like(squared, generator)
    else:
        similarity = -squared.detach() if sampling == "hard" else input_cosines
    return torch.stack([positive, _argmax_mask(similarity, ~relevant)])


def _random_like(values, generator):
    return torch.rand(values.shape, generator=generator, device=values.device)


def _argmax_mask(values, allowed):
    """Return a mask of the largest allowed value of every row, if any is allowed."""
    best = values.masked_fill(~allowed, -math.inf).argmax(1, keepdim=True)
    return torch.zeros_like(allowed).scatter(1, best, True) & allowed


def triplet_loss(form, squared, masks, *, margin, negative_weight):
    """Compute the triplet loss, summed over the anchors' modalities.

    Parameters
    ----------
    form : {"paper", "ranking", "contrastive"}

    squared : tensor of shape (b, b)
        Squared distances from images (rows) to texts (columns).

    masks : bool tensor of shape (2, 2, b, b) or (1, 2, b, b)
        Positives and negatives of the anchors, which are the rows of a mask: of
        images, then of texts. A single entry, of symmetric masks, stands for both.

    margin, negative_weight : float

    Returns
    -------
    loss : 0-d tensor
        Anchors without a negative are left out of the means over negatives.
    """
    if form == "ranking":
        halves = torch.stack([squared, squared.T]) / 2
        near, _ = masked_row_means(halves, masks[:, 0])
        far, has_negative = masked_row_means(halves, masks[:, 1])
        hinges = F.relu(margin + near / negative_weight - far)
        return masked_row_means(hinges, has_negative)[0].sum()
    # Both modalities of anchors share distances and hinges; only the weights differ.
    weights = masked_mean_weights(masks, squared.dtype)
    positive_weights, negative_weights = weights[0] + weights[-1].mT
    if form == "contrastive":
        distances, near = squared, 2 * squared.diagonal().mean()
    else:
        distances = safe_sqrt(squared)
        near = (distances * positive_weights).sum()
    hinges = F.relu(margin - distances)
    return near + negative_weight * (hinges * negative_weights).sum()


def weight_norm(networks):
    """Sum the Frobenius norms of the weight matrices of some networks."""
    norms = [
        layer.weight.norm()
        for network in networks
        for layer in network
        if isinstance(layer, nn.Linear)
    ]
    return torch.stack(norms).sum()


def adversarial_loss(logits, is_text):
    """Compute the discriminator's cross entropy, summed over both modalities.

    Parameters
    ----------
    logits : tensor of shape (2 * b, 2)
        Logits of image embeddings, then of text embeddings.

    is_text : int64 tensor of shape (2 * b,)
        0 for images, then 1 for texts.
    """
    return 2 * F.cross_entropy(logits, is_text)


def projector_loss(
    module,
    batch,
    state,
    *,
    triplet_weight,
    label_weight,
    norm_weight,
    adversarial_weight,
    margin,
    negative_weight,
    triplet_form,
    triplet_sampling,
    label_loss,
    normalize,
):
    """Return the loss of the encoders and the label classifier, and its terms.

    A weight of None leaves its term out. With `normalize`, distances are relative to
    that of opposite embeddings of unit length. Subtracting the adversarial loss, with
    the discriminator held fixed, gives the encoders the gradient of a gradient reversal
    layer.
    """
    images, texts = (batch.features[modality] for modality in MODALITIES)
    encoders = [module["encoders"][modality] for modality in MODALITIES]
    z_img, z_txt = encoders[0](images), encoders[1](texts)
    z = torch.cat([z_img, z_txt])
    is_text = torch.arange(len(z), device=z.device) // len(images)
    batch.cache["embeddings"], batch.cache["is_text"] = z.detach(), is_text

    losses, terms = [], {}
    if triplet_weight is not None:
        relevant = relevance(batch.y, batch.y)
        squared = squared_distances(z_img, z_txt)
        if normalize:
            squared = squared / 4
        directions = [(squared, images), (squared.T, texts)]
        if triplet_sampling == "all":
            del directions[1]  # relevance is symmetric
        needs_cosines = triplet_sampling == "hard_input"
        masks = [
            sample_triplets(
                triplet_sampling,
                relevant,
                from_anchors,
                cosine_similarities(inputs, inputs) if needs_cosines else None,
                state.generator,
            )
            for from_anchors, inputs in directions
        ]
        terms["triplet_loss"] = triplet_loss(
            triplet_form,
            squared,
            torch.stack(masks),
            margin=margin,
            negative_weight=negative_weight,
        )
        losses.append(triplet_weight * terms["triplet_loss"])
    if label_weight is not None:
        # Twice the mean over both modalities is the sum of the two means.
        y = torch.cat([batch.y, batch.y])
        terms["label_loss"] = 2 * label_loss(module["classifier"](z), y)
        losses.append(label_weight * terms["label_loss"])
    if norm_weight is not None:
        terms["weight_norm"] = weight_norm(encoders)
        losses.append(norm_weight * terms["weight_norm"])
    loss = sum(losses) if losses else z.new_zeros(())
    terms["embedding_loss"] = loss
    if adversarial_weight is not None:
        reversal = adversarial_weight * state.scalars["grl_coefficient"]
        loss = loss - reversal * adversarial_loss(module["discriminator"](z), is_text)
    return loss, terms


def discriminator_loss(module, batch, state):
    """Return the loss of the discriminator on fixed embeddings, and its accuracy."""
    is_text = batch.cache["is_text"]
    logits = module["discriminator"](batch.cache["embeddings"])
    accuracy = (logits.argmax(1) == is_text).float().mean()
    return adversarial_loss(logits, is_text), {"discriminator_accuracy": accuracy}


# -- the estimator -----------------------------------------------------------------


@public("sklearn_cmr")
class ACMRProjector(LabelProbabilityMixin, ProjectorMixin, NetworkTransformer):
    r"""Adversarial cross-modal retrieval (ACMR).

    Two multi-layer perceptrons, the encoders, map the features of images and of texts
    to a common space. There, a label classifier predicts the labels, and a
    discriminator predicts the modality. The encoders are trained to help the label
    classifier and to mislead the discriminator. A triplet loss pulls items of different
    modalities together if they have a label in common, and pushes them apart otherwise
    [1]_.

    With the embeddings :math:`v_i = f_V(x_i^{img})` and :math:`t_i = f_T(x_i^{txt})` of
    the :math:`b` pairs of a batch, and over all layers :math:`l` of the encoders,

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

    where :math:`d` is the Euclidean distance, halved for embeddings of unit length. The
    positives :math:`P_i` of the anchor :math:`i` are the items with a label in common,
    the negatives :math:`N_i` are the others. In every batch, first the encoders and the
    label classifier minimize :math:`L_{emb} - \omega g L_{adv}`, then the discriminator
    :math:`D` minimizes :math:`L_{adv}`. The strength of the adversarial loss in epoch
    :math:`e`, counted from 0, is :math:`g = 2 / (1 + \exp(-\gamma e / e_{max})) - 1`.

    Parameters
    ----------
    embedding_dim : int, default=256
        Width of the common space.

    hidden_layer_sizes : tuple of int, or dict, default=(1024,)
        Widths of the hidden layers of the encoders, for all modalities or by modality:
        ``{"image": (...), "text": (...)}``.

    activation : {"tanh", "relu", "logistic", "identity"}, default="relu"
        Activation function of all layers of the encoders, the last one included:
        embeddings lie in [-1, 1] with "tanh" and are non-negative with "relu".

    init : {"glorot", "default"}, default="glorot"
        Initialization of all networks: uniform weights after Glorot and zero biases, or
        the default of torch.

    normalize : bool, default=True
        Whether embeddings have unit length. Then the outputs of an encoder are
        standardized by row before the last activation function, so that no row becomes
        zero, and divided by their length after it. The weights of its last layer start
        at a tenth of what `init` gives. False is the published method.

    discriminator_hidden_layer_sizes : tuple of int, default=(50,)
        Widths of the hidden layers of every discriminator.

    discriminator_activation : {"tanh", "relu", "logistic", "identity"}, default="relu"
        Activation function of the hidden layers of the discriminator. It is linear with
        "identity".

    triplet_weight : float, default=4.0
        Weight :math:`\alpha \geq 0` of the triplet loss; 0 leaves it out.

    label_weight : float, default=0.5
        Weight :math:`\beta \geq 0` of the label loss; 0 leaves it out.

    norm_weight : float, default=0.0
        Weight :math:`\rho \geq 0` of the weight norm; 0 leaves it out.

    adversarial_weight : float, default=1.0
        Weight :math:`\omega \geq 0` of the adversarial loss; 0 leaves it out.

    margin : float, default=0.5
        Margin :math:`\mu > 0` of the triplets. Opposite embeddings have the distance 1,
        and so the squared distance 1. Non-negative embeddings are nearer than that:
        with "relu", distances are at most 0.71, with "logistic" 0.4. :meth:`fit` warns
        of larger margins. With ``normalize=False``, distances have no scale: see Notes.

    negative_weight : float, default=3.0
        Weight :math:`\lambda \geq 0` of the negatives relative to the positives; 0
        leaves them out. The form "ranking" needs a weight > 0.

    triplet_form : {"paper", "ranking", "contrastive"}, default="paper"
        Triplet loss of an anchor:

        - "paper": :math:`L_{imi}` above;
        - "ranking": :math:`\max(0, \mu + Q^+ / \lambda - Q^-)`, where :math:`Q^\pm` is
          half of the mean squared distance to the positives and to the negatives;
        - "contrastive": the squared distance to the paired item, plus :math:`\lambda`
          times the mean of :math:`\max(0, \mu - d^2)` over the negatives.

        Anchors without a negative in the batch are left out of the means over
        negatives.

    triplet_sampling : {"all", "hard", "hard_input", "random"}, default="all"
        Positives and negatives of an anchor, from the other modality of the batch:

        - "all": all items with a label in common; all items without one;
        - "hard": the paired item; the negative closest to the anchor in the common
          space;
        - "hard_input": the paired item; the negative whose paired item, in the anchor's
          modality, has the largest cosine of the input features with the anchor;
        - "random": one random positive; one random negative.

    label_loss : {"auto", "softmax", "bce"}, default="softmax"
        Label loss: "softmax" is the cross entropy of the softmax, where the labels of a
        row are equally likely. "bce" is the binary cross entropy of one sigmoid per
        class, averaged over the classes. "auto" is "softmax" if every row has exactly
        one label, else "bce". "bce" predicts each label separately; "softmax" often
        ranks better.

    grl_schedule : "sigmoid" or float, default="sigmoid"
        Strength :math:`g \geq 0` of the adversarial loss (of the gradient reversal
        layer): the increasing one above, or a constant.

    grl_gamma : float, default=10.0
        Steepness :math:`\gamma > 0` of the "sigmoid" schedule.

    n_projector_steps : int, default=1
        Number of steps of the encoders per step of the discriminator, at least 1.

    lr : float, default=1e-4
        Learning rate of Adam for the encoders and what learns with them.

    lr_discriminator : float, default=1e-3
        Learning rate of every discriminator; None takes `lr`.

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

    min_updates : int, default=300
        Minimum number of batches in the training, with ``max_epochs="auto"``.

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
        One entry per epoch: its number `epoch`, `seconds`, `grl_coefficient`
        (:math:`g`), and, averaged over the batches,

        - `triplet_loss` (:math:`L_{imi}`), `label_loss` (:math:`L_{imd}`) and
          `weight_norm`, each if its weight is not 0;
        - `embedding_loss` (:math:`L_{emb}`), also named `train_loss`;
        - `projector_loss`, which the encoders minimize;
        - `discriminator_loss` (:math:`L_{adv}`) and `discriminator_accuracy`, which is
          0.5 at chance level;
        - with `early_stopping`, `valid_map` and `valid_loss` (:math:`L_{emb}`).

    loss_curve_ : list of float
        `train_loss` of every epoch.

    callbacks_ : list of tuple
        Names and copies of `callbacks` that ran, with what they recorded.

    module_ : torch.nn.ModuleDict
        "encoders" holds the encoders by modality, "classifier" the label classifier,
        "discriminator" the discriminator.

    label_loss_ : {"softmax", "bce"}
        Label loss that was used.

    See Also
    --------
    PairTransformer : Standardize, or otherwise transform, each modality.
    sklearn.cross_decomposition.CCA : A common space without labels.

    Notes
    -----
    **Adversarial training.** :math:`L_{emb} - L_{adv}` need not decrease, because the
    encoders increase :math:`L_{adv}` while the discriminator decreases it. Encoders
    that mislead the discriminator bring it to chance level: `discriminator_accuracy`
    0.5, :math:`L_{adv} = 2 \log 2`. Monitor these two and `embedding_loss`. The
    encoders learn nothing from a discriminator that is always right; :meth:`fit` warns
    of it. With ``adversarial_weight=0``, the discriminator is still trained. Its
    accuracy then measures how well the modalities can be told apart.

    **Scaling.** Standardize the features, because the initial weights suit features of
    unit variance. "hard_input" compares features by their cosine, for which features
    such as histograms are better not centered. With ``normalize=False``, distances grow
    with the dimension: scale `margin` with the square root of `embedding_dim`, or with
    `embedding_dim` in the forms with squared distances. Weights and rates that suit
    such embeddings are ``ACMRProjector(normalize=False, embedding_dim=64, margin=6,
    triplet_weight=1, adversarial_weight=0.3, lr=3e-4, lr_discriminator=None,
    min_updates=1000)``.

    **Narrow spaces.** Few non-negative coordinates of unit length leave little room:
    with fewer than 8 dimensions, set ``activation="tanh"`` or ``normalize=False``.

    **Margins.** With embeddings of unit length, margins from 0.2 to 0.5 rank almost
    equally well. Larger ones push the modalities apart faster than common labels pull
    them together, above all where rows have several labels; the discriminator is then
    always right. The forms with squared distances need smaller margins: about 0.1 with
    "ranking", and 0.2 with "contrastive".

    **Published settings**, those of the code for Wikipedia [2]_::

        ACMRProjector(
            embedding_dim=40,
            hidden_layer_sizes={"image": (512, 100), "text": (40, 100)},
            activation="tanh", normalize=False,
            discriminator_hidden_layer_sizes=(20, 10),
            discriminator_activation="identity", triplet_form="ranking",
            triplet_sampling="hard_input", margin=0.1, negative_weight=0.2,
            triplet_weight=64, label_weight=100, adversarial_weight=1, lr=1e-4,
            lr_discriminator=None, batch_size=64, max_epochs=50, metric="euclidean",
        )

    That code sums the triplet loss over a batch of 64, here it is averaged: hence
    ``triplet_weight=64``.

    **Departures from that code** follow the paper. In the code, the adversarial
    gradient does not reach the encoders, and the label classifier keeps its random
    weights. Rows are not shuffled, and the last ones are not used. Labels are encoded
    anew in every batch. One hinge is applied to the sums over the batch. Where all
    similarities are negative, a positive is taken for the negative.

    **Departures from the paper.** All terms are means, so that no weight depends on the
    batch size. The discriminator has a non-linear layer. Embeddings have unit length.
    The defaults are those of this package, chosen on training rows of seven data sets
    (``benchmarks/defaults/ACMR.md``).

    **Effect of the game.** With the defaults, the discriminator leads at first, and its
    accuracy falls to 0.5 to 0.7. Without the game, it stays above that, but embeddings
    rank as well: the triplet loss and the shared label classifier already align the
    modalities. With a larger `lr_discriminator` and many labels, the game can become
    unstable; the accuracy then jumps between 0 and 1.

    **Practice.** With `warm_start`, the weights, Adam's moment estimates and the
    schedule continue: :math:`g` keeps its final value. On a GPU, search with
    ``n_jobs=1``, because parallel processes share its memory.

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
    >>> acmr = ACMRProjector(embedding_dim=16, random_state=0).fit(A, B, y)
    >>> Z_img, Z_txt = acmr.transform(A_test, B_test)
    >>> Z_img.shape, Z_txt.shape
    ((75, 16), (75, 16))
    >>> acmr.score(A_test, B_test, y_test) > 0.9
    True
    """

    _network_parameters = (
        "hidden_layer_sizes",
        "activation",
        "normalize",
        "discriminator_hidden_layer_sizes",
        "discriminator_activation",
    )
    _parameter_constraints: dict = {
        **NetworkTransformer._parameter_constraints,
        **ProjectorMixin._parameter_constraints,
        "output": [StrOptions({"embedding", "probabilities", "both"})],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "init": [StrOptions({"glorot", "default"})],
        "normalize": ["boolean"],
        "discriminator_hidden_layer_sizes": ["array-like"],
        "discriminator_activation": [StrOptions(set(ACTIVATIONS))],
        "triplet_weight": [Interval(Real, 0, None, closed="left")],
        "label_weight": [Interval(Real, 0, None, closed="left")],
        "norm_weight": [Interval(Real, 0, None, closed="left")],
        "adversarial_weight": [Interval(Real, 0, None, closed="left")],
        "margin": [Interval(Real, 0, None, closed="neither")],
        "negative_weight": [Interval(Real, 0, None, closed="left")],
        "triplet_form": [StrOptions({"paper", "ranking", "contrastive"})],
        "triplet_sampling": [StrOptions({"all", "hard", "hard_input", "random"})],
        "label_loss": [StrOptions({"auto", "softmax", "bce"})],
        "grl_schedule": [
            StrOptions({"sigmoid"}),
            Interval(Real, 0, None, closed="left"),
        ],
        "grl_gamma": [Interval(Real, 0, None, closed="neither")],
        "n_projector_steps": [Interval(Integral, 1, None, closed="left")],
        "lr_discriminator": [Interval(Real, 0, None, closed="neither"), None],
        "betas": ["array-like"],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        embedding_dim=256,
        hidden_layer_sizes=(1024,),
        activation="relu",
        init="glorot",
        normalize=True,
        discriminator_hidden_layer_sizes=(50,),
        discriminator_activation="relu",
        triplet_weight=4.0,
        label_weight=0.5,
        norm_weight=0.0,
        adversarial_weight=1.0,
        margin=0.5,
        negative_weight=3.0,
        triplet_form="paper",
        triplet_sampling="all",
        label_loss="softmax",
        grl_schedule="sigmoid",
        grl_gamma=10.0,
        n_projector_steps=1,
        lr=1e-4,
        lr_discriminator=1e-3,
        betas=(0.5, 0.999),
        weight_decay=0.0,
        batch_size=64,
        max_epochs="auto",
        min_updates=300,
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
        self.activation = activation
        self.init = init
        self.normalize = normalize
        self.discriminator_hidden_layer_sizes = discriminator_hidden_layer_sizes
        self.discriminator_activation = discriminator_activation
        self.triplet_weight = triplet_weight
        self.label_weight = label_weight
        self.norm_weight = norm_weight
        self.adversarial_weight = adversarial_weight
        self.margin = margin
        self.negative_weight = negative_weight
        self.triplet_form = triplet_form
        self.triplet_sampling = triplet_sampling
        self.label_loss = label_loss
        self.grl_schedule = grl_schedule
        self.grl_gamma = grl_gamma
        self.n_projector_steps = n_projector_steps
        self.lr = lr
        self.lr_discriminator = lr_discriminator
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

    def _build(self, n_features, n_classes):
        if self.triplet_form == "ranking" and self.negative_weight == 0:
            raise ValueError(
                "triplet_form='ranking' compares positives with negatives and needs "
                "negative_weight > 0; got negative_weight=0."
            )
        width = self.embedding_dim
        if self.normalize and width == 1:
            raise ValueError(
                "embeddings of one coordinate and unit length do not differ; got "
                "embedding_dim=1. Raise it, or set normalize=False."
            )
        encoders = nn.ModuleDict()
        for modality, n_inputs in n_features.items():
            hidden = self._layer_sizes("hidden_layer_sizes", modality)
            encoders[modality] = make_encoder(
                [n_inputs, *hidden, width],
                activation=self.activation,
                init=self.init,
                normalize=self.normalize,
            )
        classifier = make_mlp([width, n_classes], activation="identity", init=self.init)
        hidden = self._layer_sizes("discriminator_hidden_layer_sizes")
        discriminator = make_mlp(
            [width, *hidden, 2],
            activation=self.discriminator_activation,
            init=self.init,
        )
        return nn.ModuleDict(
            {
                "encoders": encoders,
                "classifier": classifier,
                "discriminator": discriminator,
            }
        )

    def _phases(self, module, task):
        self.label_loss_ = self.label_loss
        if self.label_loss == "auto":
            self.label_loss_ = "softmax" if task.has_single_labels else "bce"
        names = ("triplet", "label", "norm", "adversarial")
        weights = {f"{x}_weight": getattr(self, f"{x}_weight") or None for x in names}
        if not any(weights.values()):
            raise ValueError(
                f"nothing to learn: one of {', '.join(weights)} must be > 0."
            )
        if self.normalize and self.triplet_weight:
            self._warn_of_margin()
        loss = partial(
            projector_loss,
            **weights,
            margin=self.margin,
            negative_weight=self.negative_weight,
            triplet_form=self.triplet_form,
            triplet_sampling=self.triplet_sampling,
            label_loss=LABEL_LOSSES[self.label_loss_],
            normalize=self.normalize,
        )
        networks = [module["encoders"], module["classifier"]]
        lr, lr_discriminator = self.lr, self.lr_discriminator
        return [
            task.make_phase(
                players=[
                    self._player(
                        "projector",
                        [p for network in networks for p in network.parameters()],
                        loss,
                        lr,
                        monitor="embedding_loss",
                    ),
                    self._player(
                        "discriminator",
                        module["discriminator"].parameters(),
                        discriminator_loss,
                        lr if lr_discriminator is None else lr_discriminator,
                        every=self.n_projector_steps,
                    ),
                ],
                schedule=partial(self._grl_coefficient, n_epochs=task.n_epochs()),
            )
        ]

    def _warn_of_margin(self):
        """Warn of a margin that no distance between embeddings reaches."""
        # Rows are standardized before the activation: sigmoids are far from 0 and 1.
        squared = {"relu": 0.5, "logistic": 0.16}.get(self.activation, 1.0)
        reach = {
            "paper": squared**0.5,
            "ranking": squared / 2,
            "contrastive": squared,
        }[self.triplet_form]
        if self.margin >= reach:
            warnings.warn(
                f"margin={self.margin} is not below {reach:.2f}, the largest distance "
                f"of embeddings with activation={self.activation!r} in "
                f"triplet_form={self.triplet_form!r}: the triplet loss pushes items "
                "without a common label apart without end, and may separate the "
                f"modalities. Choose a margin below {reach:.2f}.",
                UserWarning,
                stacklevel=stacklevel_of_caller(),
            )

    def _grl_coefficient(self, epoch, n_epochs):
        coefficient = self.grl_schedule
        if coefficient == "sigmoid":
            progress = min(1.0, epoch / n_epochs)
            coefficient = 2 / (1 + math.exp(-self.grl_gamma * progress)) - 1
        return {"grl_coefficient": float(coefficient)}

    def _review_history(self, modalities):
        # In an epoch of fewer batches than n_projector_steps, it may take no step.
        accuracies = [
            row["discriminator_accuracy"]
            for row in self.history_
            if "discriminator_accuracy" in row
            and self.adversarial_weight * row["grl_coefficient"] > 0
        ]
        self._warn_of_unbeaten(
            {"the discriminator": accuracies},
            "lower lr_discriminator, raise adversarial_weight, or set "
            "adversarial_weight=0 to train without the adversarial loss.",
        )

    def _check_label_head(self):
        self._check_trained("label_loss", "predict_proba", "label_weight")

    def _label_head(self, module, modality):
        activation = LABEL_ACTIVATIONS[self.label_loss_]
        classifier = module["classifier"]
        return lambda Z: activation(classifier(Z))
