"""The rule of two or three arguments, and its messages."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np

from sklearn_cmr._inputs.labels import has_two_dimensions
from sklearn_cmr._inputs.layout import PairLayout, is_paired


def read_arguments(estimator, X, Y, y, *, reset, requires_labels=True):
    """Apply the rule of `fit` and `score`: (X, Y, y), or (X, y) with a container.

    Parameters
    ----------
    estimator : estimator
        Named in messages; has the parameter `n_image_features`.

    X, Y, y : object
        Arguments of the caller.

    reset : bool
        Whether this is a `fit`.

    requires_labels : bool, default=True
        Whether labels must be there.

    Returns
    -------
    layout : PairLayout

    y : object
        Labels, unchecked; None if they are neither there nor required.
    """
    if Y is not None and y is not None:
        if is_paired(X):
            raise TypeError(
                "got a paired container as X and two more arguments. Pass (X, y) "
                "with a container or (X_img, X_txt, y) with arrays."
            )
        return PairLayout(X, Y), y
    y = y if Y is None else Y
    if y is None and requires_labels:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but "
            "the target y is None."
        )
    layout = PairLayout(X)
    # Text given as 0/1 tags looks exactly like a label indicator.
    if (
        y is not None
        and layout.kind == "plain"
        and has_two_dimensions(y)
        and _is_like_image(estimator, X, reset)
    ):
        remedy = "pass the labels too: fit(X_img, X_txt, y)"
        if not requires_labels:
            remedy = "put them into one container: fit(make_pairs(X_img, X_txt))"
        raise ValueError(
            "got two 2-D arrays and no third argument. If they are the image and the "
            f"text features, {remedy}. If the first one is the [image | text] features "
            "side by side and the second the label indicators, set n_image_features."
        )
    return layout, y


def features_of_arguments(X, Y, y):
    """Return the arguments of `transform` among those of `fit_transform`."""
    return (X,) if Y is None or y is None else (X, Y)


def _is_like_image(estimator, X, reset):
    """Tell whether a plain matrix may be the image features alone."""
    if reset:
        return estimator.n_image_features is None
    X = X if hasattr(X, "shape") else np.asarray(X)
    return X.shape[1:] == (estimator.n_image_features_in_,)
