"""The rule for arguments: three are image, text and labels; two a container, labels."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr._inputs.layout import (
    PairLayout,
    check_index_of_labels,
    check_same_index,
    has_two_dimensions,
    is_mapping,
    is_paired,
    shape_of_labels,
)


def split_arguments(X, Y=None, y=None):
    """Separate the features from the labels by the number of arguments.

    Parameters
    ----------
    X, Y, y : object
        Image features, text features and labels; or a container and its labels, as
        `Y` or as `y`.

    Returns
    -------
    X : object
        Image features, or the container.

    Y : object or None
        Text features; None if `X` is the container.

    y : object or None
        Labels.
    """
    if Y is None or y is None:
        return X, None, y if Y is None else Y
    if is_paired(X):
        raise TypeError(
            "got a paired container as X and two more arguments. Pass (X, y) with a "
            "container or (X_img, X_txt, y) with arrays."
        )
    return X, Y, y


def read_arguments(estimator, X, Y, y, *, reset, requires_labels=True):
    """Apply the rule for arguments to those of `fit` or `score`.

    Parameters
    ----------
    estimator : estimator
        Has the parameter `n_image_features`.

    X, Y, y : object
        Arguments of the method.

    reset : bool
        Whether the method is `fit`. Otherwise, the estimator is fitted.

    requires_labels : bool, default=True
        Whether to raise if there are no labels.

    Returns
    -------
    layout : PairLayout
        Features, unchecked.

    y : object or None
        Labels, unchecked.
    """
    X, Y, y = split_arguments(X, Y, y)
    if y is None and requires_labels:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but "
            "the target y is None."
        )
    layout = PairLayout(X, Y)
    # Text given as 0/1 tags looks exactly like a label indicator.
    if (
        layout.kind == "plain"
        and y is not None
        and has_two_dimensions(y)
        and _may_be_image(estimator, X, reset)
    ):
        call = "fit" if reset else "score"
        remedy = (
            f"pass the labels too: {call}(X_img, X_txt, y), or, to a pipeline or a "
            f"search, {call}(make_pairs(X_img, X_txt), y)"
        )
        if not requires_labels:
            remedy = "put them into one container: fit(make_pairs(X_img, X_txt))"
        raise ValueError(
            "got two 2-D arrays and no third argument. If they are the image and the "
            f"text features, {remedy}. If the first one is the [image | text] features "
            "side by side and the second the label indicators, set n_image_features."
        )
    if y is not None and layout.kind != "plain":
        parts = layout.split()
        check_index_of_labels(parts, y)
        if not is_mapping(y):
            check_same_index(parts)
    elif y is not None:
        check_index_of_labels({"image": X}, y)
    return layout, y


def _may_be_image(estimator, X, reset):
    """Return whether a plain matrix may be the image features alone."""
    if reset:
        return estimator.n_image_features is None
    # Without an attribute where the fit had no images.
    n_image_features = getattr(estimator, "n_image_features_in_", None)
    return shape_of_labels(X)[1:] == (n_image_features,)
