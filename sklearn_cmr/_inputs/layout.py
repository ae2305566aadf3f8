"""Containers of modalities: how they are told apart, split and rebuilt."""

# SPDX-License-Identifier: BSD-3-Clause

from collections import UserDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse

MODALITIES = ("image", "text")


def check_same_index(parts):
    """Raise if two pandas objects name their rows differently."""
    indices = [part.index for part in parts.values() if is_pandas(part)]
    if len(indices) == 2 and len(indices[0]) == len(indices[1]):
        if not indices[0].equals(indices[1]):
            raise ValueError(
                "The image and the text features have different indices, so that their "
                "rows cannot be paired. Reset both indices, or reindex one like the "
                "other."
            )


def is_pandas(part):
    return hasattr(part, "iloc")


def with_columns(frame, names):
    frame = frame.copy(deep=False) if is_pandas(frame) else frame.clone()
    frame.columns = names
    return frame


def check_same_length(parts):
    """Raise scikit-learn's error if the modalities differ in the number of rows."""
    lengths = [part.shape[0] for part in parts.values()]
    if len(set(lengths)) > 1:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: {lengths}"
        )


def is_frame(X):
    """Tell whether `X` is a pandas or polars dataframe."""
    return hasattr(X, "columns") and hasattr(X, "head")


def is_mapping(X):
    """Tell whether `X` maps modalities to features (scipy's DOK arrays do not)."""
    return isinstance(X, Mapping) and not sparse.issparse(X)


def is_paired(X):
    """Tell whether one object names the features of both modalities."""
    if not is_frame(X):
        return is_mapping(X)
    if getattr(X.columns, "nlevels", 1) > 1:
        return set(X.columns.get_level_values(0)) == set(MODALITIES)
    return set(map(modality_of, X.columns)) >= set(MODALITIES)


def check_unpaired(parts):
    """Raise if what stands for one modality is a container of both."""
    for modality, part in parts.items():
        if is_paired(part):
            raise TypeError(
                f"got a paired container as the {modality} features. Pass it as the "
                f"only features, or take the {modality} features out of it."
            )
        if is_list_of_arrays(part):
            raise TypeError(
                f"got a list of two arrays as the {modality} features. Pass one array."
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


def modality_of(column):
    """Return the modality that a flat column name starts with, or None."""
    if isinstance(column, str):
        for modality in MODALITIES:
            if column.startswith(f"{modality}__"):
                return modality
    return None


def frame_like(frame, values, names, index=None):
    """Build a dataframe of the same library with the given values and column names."""
    if is_pandas(frame):
        built = type(frame)(values, index=index)
        built.columns = names
        return built
    return type(frame)(np.asarray(values), schema=list(names))


def take_columns(frame, positions):
    return frame.iloc[:, positions] if is_pandas(frame) else frame[:, positions]


class PairLayout:
    """The form in which a caller passed the modalities.

    Parameters
    ----------
    X : object
        The first argument of the caller.

    Y : object, default=None
        The text features, where the modalities came as two arrays.

    Attributes
    ----------
    kind : {"arrays", "mapping", "levels", "prefixed", "plain"}
        Two arrays; a mapping; a dataframe with two column levels; a dataframe with the
        columns ``image__*`` and ``text__*``; one matrix with the columns side by side.
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
        if is_list_of_arrays(X):
            raise TypeError(
                "got a list of two arrays as X. Pass (X_img, X_txt, y), or "
                "SliceDict(image=X_img, text=X_txt)."
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
        modalities = [modality_of(column) for column in X.columns]
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
        return np.array([modality_of(column) == "image" for column in self.X.columns])

    @property
    def column_names(self):
        """Names of the columns with their prefixes, or None where there are none."""
        if self.kind == "levels":
            return [f"{modality}__{name}" for modality, name in self.X.columns]
        if is_frame(self.X) and self.kind != "arrays":
            return list(self.X.columns)
        return None

    def split(self, n_image_features=None):
        """Return the parts as a dict from modality to features.

        `n_image_features` is where a plain matrix is cut; the others ignore it.
        """
        X = self.X
        if self.kind == "arrays":
            return {"image": X, "text": self.Y}
        if self.kind == "mapping":
            # In one order, so that the order of the keys does not matter.
            known = [modality for modality in MODALITIES if modality in X]
            others = [name for name in X if name not in MODALITIES]
            return {name: X[name] for name in [*known, *others]}
        if self.kind == "plain":
            if is_frame(X):
                order = list(range(X.shape[1]))
                return {
                    "image": take_columns(X, order[:n_image_features]),
                    "text": take_columns(X, order[n_image_features:]),
                }
            return {"image": X[:, :n_image_features], "text": X[:, n_image_features:]}
        is_image = self.image_columns
        parts = {
            "image": take_columns(X, np.flatnonzero(is_image).tolist()),
            "text": take_columns(X, np.flatnonzero(~is_image).tolist()),
        }
        if self.kind == "levels":
            return {name: part.droplevel(0, axis=1) for name, part in parts.items()}
        return {
            name: with_columns(part, bare_names(part.columns, name))
            for name, part in parts.items()
        }

    def join(self, parts: Mapping[str, Any], names: Mapping[str, Sequence], adapter):
        """Build the like of the caller's container from encoded parts.

        Parameters
        ----------
        parts : mapping of str to array of shape (n_samples, n_components)
            One array for each modality of the container.

        names : mapping of str to sequence of str
            Column names without the modality's prefix.

        adapter : object or None
            scikit-learn's adapter of the dataframe library chosen by `set_output`.
        """
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
                frames.append(with_columns(part, flat))
            else:
                frames.append(frame_like(self.X, _dense(part), flat, index))
        if not is_pandas(self.X):
            return frames[0].hstack(frames[1])
        import pandas as pd

        whole = pd.concat(frames, axis=1)
        if self.kind == "levels":
            pairs = [(m, name) for m in MODALITIES for name in names[m]]
            whole.columns = pd.MultiIndex.from_tuples(pairs)
        return whole


def is_list_of_arrays(X):
    return isinstance(X, (list, tuple)) and len(X) == 2 and all(map(_is_matrix, X))


def _is_matrix(part):
    if isinstance(part, (list, tuple)):
        return len(part) > 0 and isinstance(part[0], (list, tuple, np.ndarray))
    return len(getattr(part, "shape", ())) >= 2


def _dense(part):
    if sparse.issparse(part):
        raise ValueError(
            "A dataframe cannot hold the sparse output of a transformer. Make it "
            "dense, e.g. with TruncatedSVD, or pass the pairs as "
            "SliceDict(image=..., text=...)."
        )
    part = np.asarray(part)
    if part.ndim > 2:
        raise ValueError(
            "A dataframe cannot hold items with regions, an array of shape "
            f"{part.shape}. Keep arrays with set_output(transform='default')."
        )
    return part


def _hstack(parts):
    if any(sparse.issparse(part) for part in parts):
        return sparse.hstack(parts, format="csr")
    return np.hstack(parts)
