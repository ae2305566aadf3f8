"""Labels: one class for each row, or an indicator of several."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import _safe_indexing
from sklearn.utils._missing import is_pandas_na, is_scalar_nan
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import (
    assert_all_finite,
    check_array,
    check_consistent_length,
)

from sklearn_cmr._arrays import is_frame, take_rows, to_array
from sklearn_cmr._inputs.layout import (
    check_same_length,
    has_two_dimensions,
    is_mapping,
    shape_of_labels,
)
from sklearn_cmr._warnings import stacklevel_of_caller

# Rows or labels that an error message names.
_N_NAMED = 5


@dataclass
class Labels:
    """Validated labels.

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
        The same object for every modality if `shared`.

    shared : bool
        Whether the modalities came with one array of labels: their rows belong
        together.
    """

    classes: np.ndarray
    parts: dict[str, Labels]
    shared: bool = False

    @property
    def has_single_labels(self):
        """Whether every row of every modality has exactly one label."""
        return all(part.has_single_labels for part in self.parts.values())

    def as_given(self):
        """Return the labels in a form that `fit` of another estimator takes."""
        by_modality = {
            name: for_scikit_learn(part.indicator)
            if part.codes is None
            else self.classes[part.codes]
            for name, part in self.parts.items()
        }
        return next(iter(by_modality.values())) if self.shared else by_modality


def read_labels(
    y, features, estimator, *, classes=None, missing="raise", by_modality=False
):
    """Validate the labels of features.

    Parameters
    ----------
    y : array-like, sparse matrix, or mapping of them
        One array of labels for all modalities, or a mapping from each modality to its
        labels.

    features : dict of str to {ndarray, CSR}
        Validated features by modality.

    estimator : estimator
        Named in messages.

    classes : ndarray of shape (n_classes,), default=None
        Classes that the labels must belong to; found in `y` by default.

    missing : {"raise", "drop"}, default="raise"
        Whether rows without a label raise, or are left out with a warning.

    by_modality : bool, default=False
        Whether a mapping of labels is allowed.

    Returns
    -------
    features : dict of str to {ndarray, CSR}
        Features of the rows with a label.

    labels : LabelsByModality
    """
    for own in y.values() if is_mapping(y) else [y]:
        _check_is_list(own, estimator)
    if not is_mapping(y):
        if by_modality:
            _check_pairs(features, y)
        check_consistent_length(*features.values(), y)
        if missing == "drop":
            features, y = _drop_unlabeled(features, y, "y")
        labels = check_labels(y, estimator, classes)
        parts = dict.fromkeys(features, labels)
        return features, LabelsByModality(labels.classes, parts, shared=True)
    if not by_modality:
        raise ValueError(
            f"got a mapping of labels, but {type(estimator).__name__} learns from "
            "pairs. Pass one array of labels for all modalities."
        )
    check_label_names(y, features)
    usable: dict = {}
    parts = {}
    for name in features:
        part, own = {name: features[name]}, y[name]
        if own is None:
            raise ValueError(f"The {name} labels are None. Pass one for each row.")
        check_consistent_length(features[name], own)
        if missing == "drop":
            part, own = _drop_unlabeled(part, own, f"the {name} labels")
        usable |= part
        parts[name] = _as_dense(own, f"y[{name!r}]")
    _check_same_kind(parts)
    # Checked together, since no modality needs to have items of every class.
    whole = check_labels(np.concatenate(list(parts.values())), estimator, classes)
    cuts = np.cumsum([len(part) for part in parts.values()])[:-1]
    indicators = np.split(whole.indicator, cuts)
    codes: list = [None] * len(parts)
    if whole.codes is not None:
        codes = np.split(whole.codes, cuts)
    by_name = zip(parts, indicators, codes, strict=True)
    return usable, LabelsByModality(
        whole.classes,
        {name: Labels(whole.classes, *own) for name, *own in by_name},
    )


def _check_is_list(y, estimator):
    """Raise for labels that cannot be one label for each row."""
    if isinstance(y, (str, bytes)):
        raise ValueError(
            f"got a single string as y: {y!r}. Pass one label for each row, or "
            "a sparse or dense indicator of labels."
        )
    if sparse.issparse(y) and y.ndim != 2:
        raise ValueError(
            f"y is a sparse array of shape {y.shape}. Pass classes as a dense 1-D "
            "array, or a sparse indicator of labels, which is 2-D."
        )
    if shape_of_labels(y)[:1] == (0,):
        raise ValueError(f"{type(estimator).__name__} needs labels, but y has no rows.")


def check_label_names(y, features):
    """Raise unless a mapping of labels has the names of the modalities."""
    if set(y) != set(features):
        raise ValueError(
            "The labels must have the names of the modalities: expected "
            f"{list(features)}, got {list(y)}."
        )


def _check_pairs(features, y):
    """Raise if modalities with one array of labels differ in the number of rows."""
    try:
        check_same_length(features)
    except ValueError as error:
        raise ValueError(
            f"{error}. One array of labels is for pairs; otherwise pass a mapping of "
            f"labels with the names {list(features)}."
        ) from None


def _check_same_kind(parts):
    """Raise unless the labels of all modalities can be compared."""
    first, *others = parts.values()
    if any(
        part.shape[1:] != first.shape[1:] or _kind(part) != _kind(first)
        for part in others
    ):
        found = {name: f"{p.dtype}{list(p.shape)}" for name, p in parts.items()}
        raise ValueError(
            "The labels of all modalities must be of one kind: classes of one "
            f"type, or indicators with the same columns; got {found}."
        )


def _as_dense(y, name):
    y = y.toarray() if sparse.issparse(y) else as_label_array(y, name)
    return _flatten(y) if y.ndim == 2 and y.shape[1] == 1 else y


def _flatten(column):
    """Turn a column into a vector, with scikit-learn's warning at the caller's line."""
    warnings.warn(
        "A column-vector y was passed when a 1d array was expected. Please change the "
        "shape of y to (n_samples,), for example using ravel().",
        DataConversionWarning,
        stacklevel=stacklevel_of_caller(),
    )
    return column.ravel()


def _kind(y):
    """Return whether labels are numbers, strings or other objects."""
    if y.dtype == object and y.size and isinstance(y.flat[0], str):
        return "text"  # as a series has them; types are not mixed
    kinds = {"U": "text", "S": "bytes", "O": "object", "V": "record"}
    return (kinds | {"M": "date", "m": "duration"}).get(y.dtype.kind, "number")


def check_labels(y, estimator, classes=None):
    """Validate labels without features.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape \
            (n_samples, n_classes)
        Classes of any dtype, or an indicator of 0 and 1.

    estimator : estimator
        Named in messages.

    classes : ndarray of shape (n_classes,), default=None
        Classes that the labels must belong to; found in `y` by default.

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
    try:
        y = _read_finite(y, estimator)
    except ValueError as error:
        if "NaN" not in str(error) or not hasattr(estimator, "missing_labels"):
            raise
        raise ValueError(
            f"{error} Set missing_labels='drop' to leave out rows without a label."
        ) from error
    if y.ndim == 2 and y.shape[1] == 1:
        y = _flatten(y.toarray() if sparse.issparse(y) else y)
    if y.ndim not in (1, 2):
        raise ValueError(f"y must be 1-D or 2-D, got an array of shape {y.shape}.")
    if y.shape[0] == 0:
        raise ValueError(f"{name} needs labels, but y has no rows.")
    check_classification_targets(y)
    labels = _check_classes(y) if y.ndim == 1 else _check_indicator(y, estimator)
    if classes is not None:
        return _among_classes(labels, classes)
    n_used = int((labels.indicator.sum(axis=0) > 0).sum())
    if n_used < 2:
        found = "" if labels.codes is None else f": {labels.classes.tolist()[0]!r}"
        raise ValueError(
            f"{name} needs labels of at least two classes, but y has only one "
            f"class{found}."
        )
    _warn_of_marked_rows(labels)
    return labels


def _read_finite(y, estimator):
    if sparse.issparse(y):
        return check_array(y, accept_sparse="csr", input_name="y", estimator=estimator)
    y = as_label_array(y)
    assert_all_finite(y, input_name="y", estimator_name=type(estimator).__name__)
    return y


def _warn_of_marked_rows(labels):
    """Warn of a class -1 beside others that are not negative."""
    if labels.codes is None or labels.classes.dtype.kind not in "if":
        return
    lowest, *others = labels.classes.tolist()
    # Of two classes, -1 is the negative one.
    if lowest == -1 and len(others) > 1 and min(others) >= 0:
        n_marked = int((labels.codes == 0).sum())
        warnings.warn(
            f"{n_marked} of {len(labels.codes)} rows of y have the label -1, which is "
            "learned as a class. If it marks rows without a label, replace it by None "
            "or NaN, and leave these rows out, e.g. by missing_labels='drop'.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )


def as_label_array(y, name="y"):
    """Turn dense labels into an array; refuse collections, and missing labels.

    Parameters
    ----------
    y : array-like
        One label or one row of an indicator for each item.

    name : str
        Name in messages.

    Returns
    -------
    y : ndarray
    """
    given = y
    is_ragged = False
    try:
        y = np.asarray(to_array(y, name))
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
    if y.ndim == 1 and y.dtype.kind in "US" and isinstance(given, (list, tuple)):
        # NumPy turns NaN and numbers in a list with strings into strings.
        y = np.array(given, dtype=object)
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
    if y.ndim == 1:
        _refuse_mixed_types(y, name)
    # Integers and booleans in a dataframe of objects; strings in a list.
    plain = np.asarray(y.tolist())
    is_string = plain.dtype.kind == "U" and isinstance(given, (list, tuple))
    return plain if plain.dtype.kind in "biu" or is_string else y


def _refuse_mixed_types(y, name):
    strings = [label for label in y if isinstance(label, str)]
    if 0 < len(strings) < len(y):
        other = next(label for label in y if not isinstance(label, str))
        raise ValueError(
            f"Unknown label type: {name} mixes strings with other labels, such as "
            f"{strings[0]!r} and {other!r}. Make all labels strings, or all numbers."
        )


def for_scikit_learn(y):
    """Return labels with indicators of 8 bits as such of int, all others as they are.

    One-vs-rest and `LabelBinarizer` of scikit-learn number the columns of an indicator
    in the dtype of its values, and would merge those from 256 on with others (1.9.1).

    Parameters
    ----------
    y : array-like, sparse matrix or None

    Returns
    -------
    y : array-like, sparse matrix or None
    """
    values = np.asarray(y) if is_frame(y) else y
    is_narrow = str(getattr(values, "dtype", "")) in ("int8", "uint8")
    return values.astype(int) if is_narrow and has_two_dimensions(values) else y


def _drop_unlabeled(features, y, name):
    """Leave out rows without a label, with a warning.

    None and NaN are no classes; an indicator row of zeros has no label.
    """
    labeled = _has_label(y)
    if labeled.all():
        return features, y
    if not labeled.any():
        raise ValueError(f"None of the {len(labeled)} rows of {name} has a label.")
    warnings.warn(
        f"{(~labeled).sum()} of {len(labeled)} rows of {name} have no label and are "
        "left out.",
        UserWarning,
        stacklevel=stacklevel_of_caller(),
    )
    rows = np.flatnonzero(labeled)
    usable = {modality: take_rows(X, rows) for modality, X in features.items()}
    return usable, _safe_indexing(y, rows)


def _has_label(y):
    if sparse.issparse(y):
        return np.asarray((y != 0).sum(axis=1)).ravel() > 0
    y = to_array(y) if hasattr(y, "detach") else y
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
    """Encode labels by given classes, not all of which need to occur."""
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


def _check_indicator(y, estimator):
    kind = type_of_target(y)
    values = np.unique(y.data if sparse.issparse(y) else y)
    if kind != "multilabel-indicator" or not np.isin(values, (0, 1)).all():
        raise ValueError(
            f"Unknown label type: {kind} with the values {values[:_N_NAMED].tolist()}. "
            "A 2-D y must be an indicator of 0 and 1 with one column for each class; "
            "lists of labels become one with sklearn.preprocessing.MultiLabelBinarizer."
        )
    indicator = (y.toarray() if sparse.issparse(y) else y).astype(np.uint8)
    unlabeled = np.flatnonzero(indicator.sum(axis=1) == 0)
    if len(unlabeled):
        named = ", ".join(map(str, unlabeled[:_N_NAMED]))
        remedy = "Drop them from the features and from y"
        if hasattr(estimator, "missing_labels"):
            remedy += ", or set missing_labels='drop'"
        raise ValueError(
            f"{len(unlabeled)} of {len(indicator)} rows of y have no label (the first "
            f"rows: {named}). {remedy}."
        )
    return Labels(np.arange(indicator.shape[1]), indicator, None)
