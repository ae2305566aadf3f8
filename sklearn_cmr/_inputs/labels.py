"""Labels: one class per row, or an indicator of several."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils import _safe_indexing, column_or_1d
from sklearn.utils._missing import is_pandas_na, is_scalar_nan
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import (
    assert_all_finite,
    check_array,
    check_consistent_length,
)

from sklearn_cmr._inputs.layout import is_mapping

# Rows that an error message names.
_N_NAMED = 5


def has_two_dimensions(y):
    """Tell whether `y` is a matrix rather than a vector."""
    return len(shape_of_labels(y)) == 2


def shape_of_labels(y):
    """Return the shape of `y`, where lists of different lengths count as items."""
    if sparse.issparse(y):
        return y.shape
    try:
        return np.asarray(y).shape
    except ValueError:
        return (len(y),)


@dataclass
class Labels:
    """Checked labels.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The sorted classes; for an indicator the numbers of its columns.

    indicator : uint8 ndarray of shape (n_samples, n_classes)

    codes : ndarray of shape (n_samples,) or None
        Positions in `classes`; None if the labels came as an indicator.
    """

    classes: np.ndarray
    indicator: np.ndarray
    codes: np.ndarray | None

    @property
    def has_single_labels(self):
        """Whether every row has exactly one label."""
        return bool((self.indicator.sum(axis=1) == 1).all())


class LabelsByModality(NamedTuple):
    """Labels of every modality over one common list of classes.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)

    parts : dict of str to Labels

    shared : bool
        Whether the modalities came with one array of labels: their rows belong
        together.
    """

    classes: np.ndarray
    parts: dict[str, Labels]
    shared: bool = False


def read_labels(
    y, features, estimator, *, classes=None, missing="raise", by_modality=False
):
    """Validate the labels of features that are validated already.

    Parameters
    ----------
    y : array-like of shape (n_samples,), {array-like, sparse matrix} of shape \
(n_samples, n_classes), or mapping of them
        Labels of all modalities, or by modality.

    features : dict of str to {ndarray, CSR} of shape (n_samples, ...)

    estimator : estimator
        Named in messages.

    classes : ndarray of shape (n_classes,), default=None
        What the labels have to belong to; found in `y` by default.

    missing : {"raise", "drop"}, default="raise"
        What happens to rows without a label.

    by_modality : bool, default=False
        Whether `y` may be a mapping.

    Returns
    -------
    features : dict of str to {ndarray, CSR}
        Without the rows that have no label.

    labels : LabelsByModality
    """
    if not is_mapping(y) or not by_modality:
        if missing == "drop":
            features, y = drop_unlabelled(features, y, "y")
        labels = check_labels(y, estimator, classes=classes)
        check_consistent_length(*features.values(), labels.indicator)
        parts = dict.fromkeys(features, labels)
        return features, LabelsByModality(labels.classes, parts, shared=True)
    check_same_names(features, y)
    if missing == "drop":
        features, y = _drop_by_modality(features, y)
    parts = {name: _as_labels(y[name]) for name in features}
    for name, part in parts.items():
        check_consistent_length(features[name], part)
    _check_same_kind(parts)
    # Checked together, since no modality needs to have items of every class.
    whole = check_labels(np.concatenate(list(parts.values())), estimator, classes)
    cuts = np.cumsum([len(part) for part in parts.values()])[:-1]
    indicators = np.split(whole.indicator, cuts)
    codes = [None] * len(parts)
    if whole.codes is not None:
        codes = np.split(whole.codes, cuts)
    return features, LabelsByModality(
        whole.classes,
        {
            name: Labels(whole.classes, indicator, own)
            for name, indicator, own in zip(parts, indicators, codes, strict=True)
        },
    )


def check_same_names(features, y):
    """Raise if a mapping of labels has other names than the modalities."""
    if set(y) != set(features):
        raise ValueError(
            "The labels must have the names of the modalities: expected "
            f"{list(features)}, got {list(y)}."
        )


def _drop_by_modality(features, y):
    parts, labels = dict(features), dict(y)
    for name in features:
        part = {name: features[name]}
        part, labels[name] = drop_unlabelled(part, y[name], f"the {name} labels")
        parts |= part
    return parts, labels


def _as_labels(y):
    y = y.toarray() if sparse.issparse(y) else as_label_array(y)
    is_column = y.ndim == 2 and y.shape[1] == 1
    return column_or_1d(y, warn=True) if is_column else y


def _check_same_kind(parts):
    """Raise unless the labels of all modalities are comparable."""
    first, *others = parts.values()
    if any(
        part.shape[1:] != first.shape[1:] or _kind(part) != _kind(first)
        for part in others
    ):
        found = {name: f"{p.dtype}{list(p.shape)}" for name, p in parts.items()}
        raise ValueError(
            "The labels of all modalities must be of one kind: classes of one type, or "
            f"indicators with the same columns; got {found}."
        )


def _kind(y):
    """Tell numbers, strings and other objects apart."""
    return {"U": "text", "S": "bytes", "O": "object"}.get(y.dtype.kind, "number")


def check_labels(y, estimator, classes=None):
    """Check training labels.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape \
            (n_samples, n_classes)
        Classes of any dtype, or an indicator of 0 and 1.

    estimator : estimator
        Named in messages.

    classes : ndarray of shape (n_classes,), default=None
        What the labels have to belong to; found in `y` by default.

    Returns
    -------
    labels : Labels

    Raises
    ------
    ValueError
        If the labels are continuous, missing in some row, all of one class or, where
        `classes` are given, of another class.
    """
    name = type(estimator).__name__
    if sparse.issparse(y):
        y = check_array(y, accept_sparse="csr", input_name="y", estimator=estimator)
    else:
        y = as_label_array(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y.toarray() if sparse.issparse(y) else y, warn=True)
    if y.ndim > 2:
        raise ValueError(f"y must be 1-D or 2-D, got an array of shape {y.shape}.")
    if not sparse.issparse(y):
        assert_all_finite(y, input_name="y", estimator_name=name)
    check_classification_targets(y)
    labels = _check_classes(y) if y.ndim == 1 else _check_indicator(y)
    if classes is not None:
        return _among_classes(labels, classes)
    n_used = int((labels.indicator.sum(axis=0) > 0).sum())
    if n_used < 2:
        found = "" if labels.codes is None else f": {labels.classes.tolist()[0]!r}"
        raise ValueError(
            f"{name} needs labels of at least two classes, but y has only one "
            f"class{found}."
        )
    return labels


def as_label_array(y, name="y"):
    """Turn dense labels into an array; refuse collections, and missing labels.

    Parameters
    ----------
    y : array-like
        One label or one row of an indicator for each item.

    name : str
        Stands in messages.

    Returns
    -------
    y : ndarray
    """
    is_ragged = False
    try:
        y = np.asarray(y)
    except ValueError:  # lists of different lengths
        is_ragged = True
    if is_ragged or (
        y.dtype == object
        and y.size
        and isinstance(y.flat[0], (set, frozenset, list, tuple, np.ndarray))
    ):
        raise ValueError(
            f"{name} holds a collection of labels for each row. Turn it into an "
            "indicator with sklearn.preprocessing.MultiLabelBinarizer."
        )
    if y.dtype != object or y.ndim not in (1, 2):
        return y
    by_row = y.reshape(len(y), -1)
    rows = [i for i, labels in enumerate(by_row) if any(map(_is_missing, labels))]
    if rows:
        named = ", ".join(map(str, rows[:_N_NAMED]))
        raise ValueError(
            f"Input {name} contains NaN or None in {len(rows)} of {len(y)} rows (the "
            f"first rows: {named})."
        )
    # Integers and booleans that a dataframe has kept as objects.
    plain = np.asarray(y.tolist())
    return plain if plain.dtype.kind in "biu" else y


def drop_unlabelled(features, y, name):
    """Leave out rows without a label, with a warning.

    Parameters
    ----------
    features : dict of str to {ndarray, CSR} of shape (n_samples, ...)
        Aligned rows.

    y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape \
            (n_samples, n_classes)
        Unchecked labels. None and NaN are no classes; an indicator row of zeros has no
        label.

    name : str
        What the warning calls the labels.

    Returns
    -------
    features, y : like the arguments
    """
    check_consistent_length(*features.values(), y)
    labelled = _has_label(y)
    if labelled.all():
        return features, y
    if not labelled.any():
        raise ValueError(f"None of the {len(labelled)} rows of {name} has a label.")
    warnings.warn(
        f"{(~labelled).sum()} of {len(labelled)} rows of {name} have no label and are "
        "left out.",
        UserWarning,
        stacklevel=2,
    )
    rows = np.flatnonzero(labelled)
    kept = {modality: part[rows] for modality, part in features.items()}
    return kept, _safe_indexing(y, rows)


def _has_label(y):
    if sparse.issparse(y):
        return np.asarray((y != 0).sum(axis=1)).ravel() > 0
    if has_two_dimensions(y) and np.shape(y)[1] > 1:
        return (np.asarray(y) != 0).any(axis=1)
    labels = np.asarray(y, dtype=object).reshape(-1)
    return np.array([not _is_missing(label) for label in labels])


def _is_missing(label):
    return label is None or is_scalar_nan(label) or is_pandas_na(label)


def _check_classes(y):
    classes, codes = np.unique(y, return_inverse=True)
    indicator = np.zeros((len(y), len(classes)), dtype=np.uint8)
    indicator[np.arange(len(y)), codes] = 1
    return Labels(classes, indicator, codes)


def _among_classes(labels, classes):
    """Express labels by given classes, not all of which need to occur."""
    if labels.codes is None:
        if len(labels.classes) != len(classes):
            raise ValueError(
                f"y has {len(labels.classes)} columns, expected one for each of the "
                f"{len(classes)} classes."
            )
        return Labels(classes, labels.indicator, None)
    position = {label: i for i, label in enumerate(classes.tolist())}
    found = labels.classes.tolist()
    unseen = [label for label in found if label not in position]
    if unseen:
        raise ValueError(
            f"y holds labels that were not seen in fit: {unseen[:_N_NAMED]}; expected "
            f"some of {classes.tolist()}."
        )
    codes = np.array([position[label] for label in found])[labels.codes]
    return Labels(classes, np.eye(len(classes), dtype=np.uint8)[codes], codes)


def _check_indicator(y):
    kind = type_of_target(y)
    values = np.unique(y.data if sparse.issparse(y) else y)
    if kind != "multilabel-indicator" or not np.isin(values, (0, 1)).all():
        raise ValueError(
            f"Unknown label type: {kind} with the values {values[:_N_NAMED].tolist()}. "
            "A 2-D y must be an indicator of 0 and 1 with one column for each class."
        )
    indicator = (y.toarray() if sparse.issparse(y) else y).astype(np.uint8)
    unlabelled = np.flatnonzero(indicator.sum(axis=1) == 0)
    if len(unlabelled):
        named = ", ".join(map(str, unlabelled[:_N_NAMED]))
        raise ValueError(
            f"{len(unlabelled)} of {len(indicator)} rows of y have no label (the first "
            f"rows: {named}). Such a row is similar to nothing: drop it from the "
            "features and from y."
        )
    return Labels(np.arange(indicator.shape[1]), indicator, None)
