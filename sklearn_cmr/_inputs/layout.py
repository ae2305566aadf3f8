"""Containers of modalities: find the kind of one, split it and rebuild it."""

# SPDX-License-Identifier: BSD-3-Clause

from collections import UserDict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse

from sklearn_cmr._arrays import is_frame

MODALITIES = ("image", "text")


def shape_of(X):
    """Return the shape of an array, a tensor or a dataframe, None for what has none."""
    shape = getattr(X, "shape", None)  # of classes and modules it may be a function
    return tuple(shape) if isinstance(shape, tuple) else None


def shape_of_labels(y):
    """Return the shape of `y`, where lists of different lengths count as items."""
    shape = shape_of(y)
    if shape is not None:
        return shape
    try:
        return np.asarray(y).shape
    except ValueError:
        return (len(y),)


def has_two_dimensions(y):
    """Return whether `y` is a matrix rather than a vector."""
    return len(shape_of_labels(y)) == 2


def check_same_index(parts):
    """Raise if pandas objects of the same length have different indices."""
    indices = {name: part.index for name, part in parts.items() if _is_pandas(part)}
    for (first, index), (second, other) in pairwise(indices.items()):
        if len(index) == len(other) and not index.equals(other):
            raise ValueError(
                f"The {first} and the {second} features have different indices, so "
                "that their rows cannot be paired. Reset both indices, or reindex one "
                "like the other."
            )


def check_index_of_labels(parts, y):
    """Raise if the index of the labels is a permutation of the features' index.

    Other labels belong to the features by position, as in scikit-learn.
    """
    labels = y if is_mapping(y) else dict.fromkeys(parts, y)
    for name in parts.keys() & labels.keys():
        if not _is_pandas(parts[name]) or not _is_pandas(labels[name]):
            continue
        index, other = parts[name].index, labels[name].index
        if len(index) != len(other) or index.equals(other):
            continue
        if set(index) == set(other):
            raise ValueError(
                f"The labels and the {name} features have the same index in another "
                "order, so that they would be mismatched. Reindex the labels like the "
                "features, or pass y.to_numpy() if the rows are in the same order."
            )


def _is_pandas(part):
    return hasattr(part, "iloc")


def _with_columns(frame, names):
    frame = frame.copy(deep=False) if _is_pandas(frame) else frame.clone()
    frame.columns = names
    return frame


def join_frames(parts):
    """Join a dataframe of images and one of texts; None for any other features."""
    frames = list(parts.values())
    if set(parts) != set(MODALITIES) or not all(map(is_frame, frames)):
        return None
    if len(set(map(_is_pandas, frames))) > 1:
        return None
    check_same_length(parts)
    renamed = [
        _with_columns(parts[name], prefixed_names(list(parts[name].columns), name))
        for name in MODALITIES
    ]
    if not _is_pandas(frames[0]):
        return renamed[0].hstack(renamed[1])
    import pandas as pd

    return pd.concat(renamed, axis=1)


def check_keys(parts, *, need_both):
    """Raise if a mapping of features has other keys than the modalities."""
    keys, wanted = set(parts), set(MODALITIES)
    is_right = keys == wanted if need_both else keys <= wanted
    if not parts or not is_right:
        raise ValueError(
            "a mapping X must have the keys 'image' and 'text'"
            + ("" if need_both else ", or one of them")
            + f"; got {list(parts)}."
        )


def check_same_length(parts):
    """Raise scikit-learn's error if the modalities differ in the number of rows."""
    lengths = [part.shape[0] for part in parts.values()]
    if len(set(lengths)) > 1:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: {lengths}"
        )


def is_mapping(X):
    """Return whether `X` maps modalities to features (scipy's DOK arrays do not)."""
    return isinstance(X, Mapping) and not sparse.issparse(X)


def is_paired(X):
    """Return whether one object holds the features of both modalities by name."""
    if not is_frame(X):
        return is_mapping(X)
    if getattr(X.columns, "nlevels", 1) > 1:
        return set(X.columns.get_level_values(0)) == set(MODALITIES)
    return set(map(_modality_of, X.columns)) >= set(MODALITIES)


def check_unpaired(parts):
    """Raise if the features of one modality are a container of both, or a string."""
    for modality, part in parts.items():
        if isinstance(part, (str, bytes)):
            raise TypeError(
                f"got a single string as the {modality} features: {part[:40]!r}. Pass "
                "a list or an array of strings, one for each row."
            )
        if is_paired(part):
            raise TypeError(
                f"got a paired container as the {modality} features. Pass it as the "
                f"only features, or take the {modality} features out of it."
            )
        if _is_list_of_arrays(part):
            raise TypeError(
                f"got a {type(part).__name__} of two arrays as the {modality} "
                "features. Pass one array."
            )


def prefixed_names(names, modality):
    """Put ``modality__`` before every name, unless all of them have it already."""
    prefix = f"{modality}__"
    names = [str(name) for name in names]
    if all(name.startswith(prefix) for name in names):
        return names
    return [prefix + name for name in names]


def bare_names(names, modality):
    """Take ``modality__`` from the front of every name, if all of them have it."""
    prefix = f"{modality}__"
    return [name.removeprefix(prefix) for name in prefixed_names(names, modality)]


def _modality_of(column):
    """Return the modality that a flat column name starts with, or None."""
    if isinstance(column, str):
        for modality in MODALITIES:
            if column.startswith(f"{modality}__"):
                return modality
    return None


def frame_like(frame, values, names, index=None):
    """Build a dataframe of the same library with the given values and column names."""
    if _is_pandas(frame):
        built = type(frame)(values, index=index)
        built.columns = names
        return built
    return type(frame)(np.asarray(values), schema=list(names))


def _take_columns(frame, positions):
    return frame.iloc[:, positions] if _is_pandas(frame) else frame[:, positions]


class PairLayout:
    """Kind of container that holds the modalities, and how to split and rebuild it.

    Parameters
    ----------
    X : object
        Container of the modalities, or the image features.

    Y : object, default=None
        Text features, if `X` is the image features.

    Attributes
    ----------
    kind : {"arrays", "mapping", "levels", "prefixed", "plain"}
        Two arrays; a mapping; a dataframe with two column levels; a dataframe with the
        columns ``image__*`` and ``text__*``; one matrix with the image columns first.
    """

    def __init__(self, X, Y=None):
        self.X, self.Y = X, Y
        self.kind = self._find_kind()

    def _find_kind(self):
        X = self.X
        if self.Y is not None:
            return "arrays"
        if is_mapping(X):
            return "mapping"
        if isinstance(X, (str, bytes)):
            raise TypeError(f"got a single string as X: {X[:40]!r}. Pass features.")
        if _is_list_of_arrays(X):
            raise TypeError(
                f"got a {type(X).__name__} of two arrays as X. Pass (X_img, X_txt, y), "
                "or (make_pairs(X_img, X_txt), y)."
            )
        if not is_frame(X):
            return "plain"
        if set(X.columns) == set(MODALITIES):
            raise ValueError(
                "A dataframe with one column for each modality holds one object in "
                "each cell. Pass make_pairs(np.stack(X['image']), X['text'])."
            )
        if getattr(X.columns, "nlevels", 1) > 1:
            levels = list(dict.fromkeys(X.columns.get_level_values(0)))
            if X.columns.nlevels != 2 or set(levels) != set(MODALITIES):
                raise ValueError(
                    "A dataframe with column levels must have two, the first one with "
                    f"'image' and 'text'; got {X.columns.nlevels} levels, the first "
                    f"one with {levels}."
                )
            return "levels"
        modalities = [_modality_of(column) for column in X.columns]
        n_bare = modalities.count(None)
        if n_bare == len(modalities):
            return "plain"
        if n_bare:
            raise ValueError(
                "Either all columns of a dataframe start with 'image__' or 'text__', "
                f"or none; {n_bare} of {len(modalities)} do not."
            )
        missing = set(MODALITIES) - set(modalities)
        if missing:
            raise ValueError(
                "A dataframe with prefixed columns must have both 'image__' and "
                f"'text__' columns; there is none for {missing.pop()!r}. For one "
                "modality use transform_image or transform_text."
            )
        return "prefixed"

    @property
    def image_columns(self):
        """Mask of the image columns of a paired dataframe, in its column order."""
        if self.kind == "levels":
            return np.asarray(self.X.columns.get_level_values(0) == "image")
        return np.array([_modality_of(column) == "image" for column in self.X.columns])

    @property
    def column_names(self):
        """Names of the columns with their prefixes, or None where there are none."""
        if self.kind == "levels":
            return [f"{modality}__{name}" for modality, name in self.X.columns]
        if is_frame(self.X) and self.kind != "arrays":
            return list(self.X.columns)
        return None

    def split(self, n_image_features=None):
        """Return the features by modality.

        Parameters
        ----------
        n_image_features : int, default=None
            Number of image columns of a plain matrix; other containers ignore it.

        Returns
        -------
        parts : dict of str to object
        """
        X = self.X
        if self.kind == "arrays":
            return {"image": X, "text": self.Y}
        if self.kind == "mapping":
            # Pairs leave rows of files unread.
            X = X.unread() if hasattr(X, "unread") else X
            # In one order, so that the order of the keys does not matter.
            known = [modality for modality in MODALITIES if modality in X]
            others = [name for name in X if name not in MODALITIES]
            return {name: X[name] for name in [*known, *others]}
        if self.kind == "plain":
            if is_frame(X):
                order = list(range(X.shape[1]))
                return {
                    "image": _take_columns(X, order[:n_image_features]),
                    "text": _take_columns(X, order[n_image_features:]),
                }
            return {"image": X[:, :n_image_features], "text": X[:, n_image_features:]}
        is_image = self.image_columns
        parts = {
            "image": _take_columns(X, np.flatnonzero(is_image).tolist()),
            "text": _take_columns(X, np.flatnonzero(~is_image).tolist()),
        }
        if self.kind == "levels":
            return {name: part.droplevel(0, axis=1) for name, part in parts.items()}
        return {
            name: _with_columns(part, bare_names(part.columns, name))
            for name, part in parts.items()
        }

    def join(self, parts: Mapping[str, Any], names: Mapping[str, Sequence], adapter):
        """Return a container of the same kind that holds encoded features.

        Parameters
        ----------
        parts : mapping of str to array of shape (n_samples, n_components)
            One array for each modality of the container.

        names : mapping of str to sequence of str
            Column names without the modality's prefix.

        adapter : object or None
            scikit-learn's adapter of the dataframe library chosen by `set_output`.

        Returns
        -------
        Z : object
        """
        is_frame_given = self.kind in ("levels", "prefixed")
        is_sparse = any(map(sparse.issparse, parts.values()))
        if is_frame_given and is_sparse and adapter is None:
            # Sparse columns of a dataframe would lose what makes them fast.
            from sklearn_cmr._inputs.container import Pairs  # with skorch, and torch

            return Pairs(**parts)
        is_wanted_frame = adapter is None or adapter.is_supported_container(self.X)
        if self.kind in ("levels", "prefixed") and is_wanted_frame:
            return self._join_paired_frame(parts, names)
        if self.kind in ("levels", "prefixed", "plain"):
            whole = _hstack([parts[name] for name in MODALITIES])
            if adapter is None:
                return whole
            flat = [f"{m}__{name}" for m in MODALITIES for name in names[m]]
            return adapter.create_container(_dense(whole), self.X, columns=flat)
        if adapter is not None:
            inputs = self.split()
            parts = {
                m: adapter.create_container(
                    _dense(part),
                    inputs[m],
                    columns=[f"{m}__{name}" for name in names[m]],
                )
                for m, part in parts.items()
            }
        if self.kind == "arrays":
            return tuple(parts[name] for name in MODALITIES)
        in_order = {name: parts[name] for name in self.X}
        # Files opened as a mapping, such as .npz, cannot be built from their content.
        is_dict = isinstance(self.X, (dict, UserDict))
        return type(self.X)(**in_order) if is_dict else in_order

    def _join_paired_frame(self, parts, names):
        index = getattr(self.X, "index", None)
        frames = []
        for modality in MODALITIES:
            part = parts[modality]
            flat = [f"{modality}__{name}" for name in names[modality]]
            if type(part) is type(self.X):
                frames.append(_with_columns(part, flat))
            else:
                frames.append(frame_like(self.X, _dense(part), flat, index))
        if not _is_pandas(self.X):
            return frames[0].hstack(frames[1])
        import pandas as pd

        whole = pd.concat(frames, axis=1)
        if self.kind == "levels":
            pairs = [(m, name) for m in MODALITIES for name in names[m]]
            whole.columns = pd.MultiIndex.from_tuples(pairs)
        return whole


def _is_list_of_arrays(X):
    return isinstance(X, (list, tuple)) and len(X) == 2 and all(map(_is_matrix, X))


def _is_matrix(part):
    if isinstance(part, (list, tuple)):
        return len(part) > 0 and isinstance(part[0], (list, tuple, np.ndarray))
    return len(getattr(part, "shape", ())) >= 2


def _dense(part):
    if sparse.issparse(part):
        raise ValueError(
            "A dataframe cannot hold the sparse output of a transformer. Make it "
            "dense, e.g. with TruncatedSVD, or pass the features as "
            "{'image': ..., 'text': ...}."
        )
    part = np.asarray(part)
    if part.ndim > 2:
        raise ValueError(
            "A dataframe cannot hold items of more than one dimension, an array of "
            f"shape {part.shape}. Keep arrays with set_output(transform='default')."
        )
    return part


def _hstack(parts):
    if any(sparse.issparse(part) for part in parts):
        return sparse.hstack(parts, format="csr")
    return np.hstack(parts)
