"""Ids of the items of a gallery."""

# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Hashable

import numpy as np
from sklearn.utils._missing import is_pandas_na, is_scalar_nan

from sklearn_cmr._arrays import to_array


def as_names(names, parameter):
    """Return names, numbers or a mask as an array; `parameter` is for messages."""
    array = np.asarray(to_array(names, parameter))
    if array.ndim != 1:
        raise ValueError(
            f"{parameter} must be one-dimensional, with one entry for each item; got "
            f"{type(names).__name__} of shape {array.shape}. Pass a list, or an array "
            "of one dimension."
        )
    # numpy would turn the numbers into strings.
    is_list = isinstance(names, list | tuple) and array.dtype.kind in "US"
    if is_list and not all(isinstance(name, str | bytes) for name in names):
        raise ValueError(
            f"{parameter} must be all numbers or all strings, but mixes them."
        )
    if array.dtype.kind == "O":
        wrong = [each for each in array if not isinstance(each, Hashable)]
        if wrong:
            raise TypeError(f"{parameter} must be numbers or names, got {wrong[0]!r}.")
    return array


def read_ids(ids, n_rows):
    """Return a copy of unique ids, one for each row; None stands for no ids."""
    if ids is None:
        return None
    ids = as_names(ids, "ids").copy()
    if len(ids) != n_rows:
        raise ValueError(f"Got {len(ids)} ids for {n_rows} rows.")
    if ids.dtype.kind in "fO" and any(map(_is_missing, ids.tolist())):
        raise ValueError("ids has missing values. Every item needs an id, or none has.")
    check_unique(ids)
    return ids


def _is_missing(name):
    return name is None or is_scalar_nan(name) or is_pandas_na(name)


def check_unique(ids, known=frozenset()):
    """Return ids as a set, or raise if one occurs twice or is known already."""
    seen = set()
    for name in ids.tolist():
        if name in seen or name in known:
            raise ValueError(
                f"ids must be unique, but {name!r} names more than one item. Number "
                "the items, or leave ids out: the rows that a search returns can index "
                "an array of names that are not unique. To replace an item, use update."
            )
        seen.add(name)
    return seen


def join_ids(old, new):
    """Return the ids of a gallery and of new items, or raise if they differ in kind."""
    kinds = {old.dtype.kind, new.dtype.kind, np.result_type(old, new).kind}
    # Joining with an array of objects converts no id.
    if len(kinds) > 1 and "O" not in kinds:
        raise ValueError(
            f"The new ids have the dtype {new.dtype}, those in the gallery {old.dtype}."
            " Pass ids of one kind."
        )
    return np.concatenate([old, new])


def find_rows(wanted, ids, n_rows):
    """Return the rows of items.

    Parameters
    ----------
    wanted : array-like of shape (n_wanted,)
        Ids; row numbers if there are no ids.

    ids : ndarray of shape (n_rows,) or None
        Ids of all items.

    n_rows : int
        Number of all items.

    Returns
    -------
    rows : ndarray of shape (n_wanted,)
        In the order of `wanted`.

    Raises
    ------
    ValueError
        If an id is unknown or occurs twice.
    """
    wanted = as_names(wanted, "ids")
    if ids is None and len(wanted) and wanted.dtype.kind not in "iu":
        raise ValueError(
            f"The items have no ids, but their row numbers; got the dtype "
            f"{wanted.dtype}. Pass integers, or give the items ids in fit."
        )
    names = wanted.tolist()
    position = {name: i for i, name in enumerate(names)}
    if len(position) < len(names):
        twice = next(name for i, name in enumerate(names) if position[name] != i)
        raise ValueError(f"ids must be unique, but {twice!r} occurs more than once.")
    rows = np.full(len(names), -1)
    if ids is None:
        known = (wanted >= 0) & (wanted < n_rows)
        rows[known] = wanted[known]
    else:
        candidates = np.arange(n_rows)
        if ids.dtype.kind in "iu" and wanted.dtype.kind in "iu":
            candidates = np.flatnonzero(np.isin(ids, wanted))  # few in no time
        for row, name in zip(candidates, ids[candidates].tolist(), strict=True):
            if name in position:
                rows[position[name]] = row
    unknown = np.flatnonzero(rows < 0)
    if len(unknown):
        what = "rows" if ids is None else "ids"
        raise ValueError(
            f"{len(unknown)} of {len(names)} {what} are not in the gallery, such as "
            f"{names[unknown[0]]!r}. It holds {n_rows} items."
        )
    return rows
