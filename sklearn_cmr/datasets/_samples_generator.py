"""Generate paired image and text features that share a latent class structure."""

# SPDX-License-Identifier: BSD-3-Clause

from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_params

from sklearn_cmr._arrays import check_matrix


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_image_features": [Interval(Integral, 1, None, closed="left")],
        "n_text_features": [Interval(Integral, 1, None, closed="left")],
        "n_classes": [Interval(Integral, 2, None, closed="left")],
        "n_latent": [Interval(Integral, 1, None, closed="left")],
        "class_sep": [Interval(Real, 0, None, closed="left")],
        "nonlinearity": [Interval(Real, 0, 1, closed="both")],
        "image_noise": [Interval(Real, 0, None, closed="left")],
        "text_noise": [Interval(Real, 0, None, closed="left")],
        "multilabel": ["boolean"],
        "n_labels": [Interval(Real, 1, None, closed="left")],
        "weights": ["array-like", None],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_cross_modal_classification(
    n_samples=1000,
    *,
    n_image_features=64,
    n_text_features=32,
    n_classes=10,
    n_latent=8,
    class_sep=1.5,
    nonlinearity=0.5,
    image_noise=1.0,
    text_noise=1.0,
    multilabel=False,
    n_labels=2,
    weights=None,
    random_state=None,
):
    r"""Generate a random cross-modal classification problem.

    Every class has a center in a latent space, and every instance a latent point near
    the center of its class. The image and the text of an instance are two noisy views
    of this one point, each through its own random map. The modalities therefore share
    the class of an instance and what sets it apart within the class, and nothing else.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of pairs.

    n_image_features : int, default=64
        Number of image features.

    n_text_features : int, default=32
        Number of text features.

    n_classes : int, default=10
        Number of classes, or of labels if `multilabel` is true; at least 2.

    n_latent : int, default=8
        Dimension of the latent space. The fewer dimensions, the more the classes
        overlap.

    class_sep : float, default=1.5
        Standard deviation of the class centers; that of the instances around their
        center is 1. With 0 the modalities are paired, but no feature tells the
        classes apart.

    nonlinearity : float, default=0.5
        Share of the hyperbolic tangent in the maps, from 0 (linear) to 1.

    image_noise : float, default=1.0
        Standard deviation of the Gaussian noise added to every image feature.

    text_noise : float, default=1.0
        Standard deviation of the Gaussian noise added to every text feature.

    multilabel : bool, default=False
        Whether an instance has several labels. Its latent point then lies near the sum
        of their centers, scaled to the length of one.

    n_labels : float, default=2
        Mean number of labels of an instance if `multilabel` is true, from 1 to
        `n_classes`. Every instance has at least one label.

    weights : array-like of shape (n_classes,), default=None
        Proportions of the classes, positive; they are scaled to sum to 1. If None, the
        classes are balanced. The class sizes follow the proportions exactly, up to
        rounding. If `multilabel` is true, labels are drawn with these weights, without
        replacement.

    random_state : int, RandomState instance or None, default=None
        Determines all random numbers. Pass an int for reproducible output across
        multiple function calls. See :term:`Glossary <random_state>`.

    Returns
    -------
    X_img : ndarray of shape (n_samples, n_image_features)
        Image features, float64.

    X_txt : ndarray of shape (n_samples, n_text_features)
        Text features, float64. Row `i` belongs to row `i` of `X_img`.

    y : ndarray of shape (n_samples,) or (n_samples, n_classes)
        Classes from 0 to ``n_classes - 1``, or the label indicator matrix if
        `multilabel` is true; int64.

    Raises
    ------
    ValueError
        If `weights` does not hold one positive, finite number per class, or if
        `n_labels` exceeds `n_classes`.

    See Also
    --------
    make_cross_modal_regions : Images of regions, few of which are informative.
    load_captioned_digits : Real handwritten digits with generated captions.
    fetch_wikipedia : Real features of articles and their pictures.

    Notes
    -----
    With the label indicator :math:`y_i`, the class centers :math:`C \sim
    \mathcal{N}(0, \text{class\_sep}^2)`, and :math:`W_v, u_i, \varepsilon_{iv}`
    standard normal, the instance :math:`i` has in the modality :math:`v` the features

    .. math::

        z_i &= C^\top y_i / \sqrt{|y_i|} + u_i \\
        a_{iv} &= W_v^\top z_i / \sqrt{\text{n\_latent}} \\
        x_{iv} &= (1 - \text{nonlinearity}) \, a_{iv}
            + \text{nonlinearity} \, \tanh(a_{iv})
            + \text{noise}_v \, \varepsilon_{iv}

    The random numbers of the image do not depend on the parameters of the text, and
    the noise is scaled after it is drawn: with a fixed seed, a change of `image_noise`
    or `text_noise` changes the amount of the noise and nothing else.

    Examples
    --------
    >>> from sklearn_cmr.datasets import make_cross_modal_classification
    >>> X_img, X_txt, y = make_cross_modal_classification(
    ...     200, n_image_features=12, n_text_features=7, n_classes=4, random_state=0
    ... )
    >>> X_img.shape, X_txt.shape, y.shape
    ((200, 12), (200, 7), (200,))

    Several labels for each pair:

    >>> *_, Y = make_cross_modal_classification(
    ...     200, n_classes=4, multilabel=True, random_state=0
    ... )
    >>> Y.shape, int(Y.sum(axis=1).min())
    ((200, 4), 1)
    """
    if multilabel and n_labels > n_classes:
        raise ValueError(
            f"n_labels={n_labels} must not exceed n_classes={n_classes}: an instance "
            "has each label at most once."
        )
    proportions = _check_weights(weights, n_classes)
    rng = check_random_state(random_state)

    if multilabel:
        Y = _draw_label_sets(n_samples, n_labels, proportions, rng)
    else:
        Y = _draw_classes(n_samples, proportions, rng)
    latent = _draw_latent(Y, n_latent, class_sep, rng)
    X_img, X_txt = (
        _view(latent, n_features, nonlinearity, noise, rng)
        for n_features, noise in (
            (n_image_features, image_noise),
            (n_text_features, text_noise),
        )
    )
    return X_img, X_txt, Y if multilabel else Y.argmax(axis=1)


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_regions": [Interval(Integral, 1, None, closed="left")],
        "n_informative": [Interval(Integral, 1, None, closed="left")],
        "min_regions": [Interval(Integral, 1, None, closed="left"), None],
        "n_backgrounds": [Interval(Integral, 1, None, closed="left")],
        "n_image_features": [Interval(Integral, 1, None, closed="left")],
        "n_text_features": [Interval(Integral, 1, None, closed="left")],
        "n_classes": [Interval(Integral, 2, None, closed="left")],
        "n_latent": [Interval(Integral, 1, None, closed="left")],
        "class_sep": [Interval(Real, 0, None, closed="left")],
        "image_noise": [Interval(Real, 0, None, closed="left")],
        "text_noise": [Interval(Real, 0, None, closed="left")],
        "return_informative": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_cross_modal_regions(
    n_samples=1000,
    *,
    n_regions=9,
    n_informative=2,
    min_regions=None,
    n_backgrounds=10,
    n_image_features=32,
    n_text_features=32,
    n_classes=10,
    n_latent=8,
    class_sep=1.5,
    image_noise=1.0,
    text_noise=1.0,
    return_informative=False,
    random_state=None,
):
    r"""Generate images of regions, few of which show what their texts are about.

    Instances are made as by :func:`make_cross_modal_classification`: latent points
    around the centers of their classes. The text, and each informative region of the
    image, is a noisy view of the latent point. Every other region shows one of several
    backgrounds, which are the same in all classes.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of pairs.

    n_regions : int, default=9
        Number of regions of an image.

    n_informative : int, default=2
        Number of regions that show the instance, in random places.

    min_regions : int, default=None
        If given, the images have different numbers of regions, from `min_regions` to
        `n_regions`, all equally likely; absent regions come last and are NaN.

    n_backgrounds : int, default=10
        Number of different backgrounds.

    n_image_features : int, default=32
        Number of features of a region.

    n_text_features : int, default=32
        Number of text features.

    n_classes : int, default=10
        Number of classes; at least 2.

    n_latent : int, default=8
        Dimension of the latent space.

    class_sep : float, default=1.5
        Standard deviation of the centers of classes and of backgrounds; that of points
        around their center is 1.

    image_noise : float, default=1.0
        Standard deviation of the Gaussian noise added to every feature of a region.

    text_noise : float, default=1.0
        Standard deviation of the Gaussian noise added to every text feature.

    return_informative : bool, default=False
        Whether to return which regions are informative.

    random_state : int, RandomState instance or None, default=None
        Determines all random numbers. Pass an int for reproducible output across
        multiple function calls. See :term:`Glossary <random_state>`.

    Returns
    -------
    X_img : ndarray of shape (n_samples, n_regions, n_image_features)
        Image features, float64.

    X_txt : ndarray of shape (n_samples, n_text_features)
        Text features, float64. Row `i` belongs to row `i` of `X_img`.

    y : ndarray of shape (n_samples,)
        Classes from 0 to ``n_classes - 1``, balanced; int64.

    informative : ndarray of shape (n_samples, n_regions)
        Which regions are informative; bool. Only if `return_informative` is true.

    Raises
    ------
    ValueError
        If `min_regions` exceeds `n_regions`, or `n_informative` the least number of
        regions of an image.

    See Also
    --------
    make_cross_modal_classification : Images without regions.

    Examples
    --------
    >>> from sklearn_cmr.datasets import make_cross_modal_regions
    >>> X_img, X_txt, y = make_cross_modal_regions(200, min_regions=4, random_state=0)
    >>> X_img.shape, X_txt.shape, y.shape
    ((200, 9, 32), (200, 32), (200,))
    """
    fewest = n_regions if min_regions is None else min_regions
    if not n_informative <= fewest <= n_regions:
        raise ValueError(
            "an image must have n_informative regions at least and n_regions at most: "
            f"got n_informative={n_informative}, min_regions={min_regions} and "
            f"n_regions={n_regions}."
        )
    rng = check_random_state(random_state)
    Y = _draw_classes(n_samples, np.full(n_classes, 1 / n_classes), rng)
    latent = _draw_latent(Y, n_latent, class_sep, rng)

    counts = rng.randint(fewest, n_regions + 1, size=(n_samples, 1))
    absent = np.arange(n_regions) >= counts
    places = np.where(absent, np.inf, rng.random_sample(absent.shape))
    informative = places.argsort(axis=1).argsort(axis=1) < n_informative
    shown = rng.randint(n_backgrounds, size=absent.size)
    background = _draw_latent(np.eye(n_backgrounds)[shown], n_latent, class_sep, rng)
    scene = np.where(
        informative[..., None],
        latent[:, None],
        background.reshape(*absent.shape, n_latent),
    )
    X_img = _view(scene, n_image_features, 0.5, image_noise, rng)
    X_img[absent] = np.nan
    X_txt = _view(latent, n_text_features, 0.5, text_noise, rng)
    y = Y.argmax(axis=1)
    return (X_img, X_txt, y, informative) if return_informative else (X_img, X_txt, y)


def _check_weights(weights, n_classes):
    if weights is None:
        return np.full(n_classes, 1 / n_classes)
    weights = check_matrix(weights, "weights", ensure_2d=False, dtype=np.float64)
    if weights.shape != (n_classes,) or weights.min() <= 0:
        raise ValueError(
            f"weights must hold one positive number for each of the {n_classes} "
            f"classes; got {weights}."
        )
    return weights / weights.sum()


def _draw_classes(n_samples, proportions, rng):
    # Rounding the cumulative sizes, not each size by itself, keeps their sum.
    ends = np.rint(n_samples * proportions.cumsum()).astype(np.int64)
    classes = np.searchsorted(ends, np.arange(n_samples), side="right")
    return np.eye(len(proportions), dtype=np.int64)[rng.permutation(classes)]


def _draw_label_sets(n_samples, n_labels, proportions, rng):
    n_classes = len(proportions)
    sizes = 1 + rng.binomial(
        n_classes - 1, (n_labels - 1) / (n_classes - 1), size=(n_samples, 1)
    )
    # The labels with the largest Gumbel-perturbed log-weights are a weighted sample
    # without replacement.
    keys = np.log(proportions) + rng.gumbel(size=(n_samples, n_classes))
    ranks = (-keys).argsort(axis=1).argsort(axis=1)
    return (ranks < sizes).astype(np.int64)


def _draw_latent(Y, n_latent, class_sep, rng):
    centers = class_sep * rng.standard_normal((Y.shape[1], n_latent))
    latent = Y @ centers / np.sqrt(Y.sum(axis=1, keepdims=True))
    latent += rng.standard_normal(latent.shape)
    return latent


def _view(latent, n_features, nonlinearity, noise, rng):
    n_latent = latent.shape[-1]
    activation = latent @ rng.standard_normal((n_latent, n_features))
    activation /= np.sqrt(n_latent)
    signal = (1 - nonlinearity) * activation + nonlinearity * np.tanh(activation)
    return signal + noise * rng.standard_normal(signal.shape)
