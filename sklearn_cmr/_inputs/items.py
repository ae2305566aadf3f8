"""Items of any shape, which an encoder of the caller reads: validate and compare."""

# SPDX-License-Identifier: BSD-3-Clause

import math

import numpy as np
from scipy import sparse
from sklearn.utils import check_array

from sklearn_cmr._arrays import to_array

_INT64_MAX = np.iinfo(np.int64).max


def check_items(part, name, estimator):
    """Return the items of a modality as one array; integers stay integers.

    Parameters
    ----------
    part : array-like of shape (n_samples, ...)

    name : str
        Name in messages.

    estimator : estimator

    Returns
    -------
    items : {ndarray, CSR} of shape (n_samples, ...)
    """
    try:
        part = to_array(part, name)
        kind = getattr(getattr(part, "dtype", None), "kind", None)
        if kind in ("O", "U", "S") and np.ndim(part) == 1 and len(part):
            raise ValueError(
                f"The {name} must be one array of shape (n_samples, ...); got "
                f"{len(part)} objects such as {part[0]!r:.40}."
            )
    except ValueError as error:
        raise ValueError(
            f"{error} Stack the items into one array. Turn texts into token ids, and "
            "pad them to one length, for example with 0."
        ) from error
    try:
        items = check_array(
            part,
            accept_sparse="csr",
            dtype="numeric",
            estimator=estimator,
            input_name=name,
            allow_nd=True,
        )
    except ValueError as error:
        if name in str(error):
            raise
        raise ValueError(f"The {name} cannot be used: {error}") from error
    if 0 in items.shape[1:]:
        raise ValueError(f"The {name} have no values: got the shape {items.shape}.")
    if items.dtype == np.uint64 and items.max() > _INT64_MAX:
        raise ValueError(
            f"The {name} hold integers as large as {items.max()}, beyond the range of "
            "int64."
        )
    return items


def n_values(items):
    """Return the number of values of an item."""
    return math.prod(items.shape[1:])


def describe_items(parts):
    """Return the shape of an item, and the dtype in which an encoder gets it.

    Parameters
    ----------
    parts : dict of str to {ndarray, CSR}

    Returns
    -------
    described : dict of str to (tuple of int, {"int64", "float32"})
    """
    return {
        name: (tuple(items.shape[1:]), "int64" if _are_integers(items) else "float32")
        for name, items in parts.items()
    }


def compare_items(items, fitted, modality, name):
    """Raise if items have another shape or kind of numbers than in the fit.

    Parameters
    ----------
    items : {ndarray, CSR}

    fitted : tuple
        What :func:`describe_items` returned in the fit.

    modality : str

    name : str
        Name of the estimator in messages.
    """
    shape, dtype = fitted
    found = tuple(items.shape[1:])
    if found != shape and (len(found) > 1 or len(shape) > 1):
        raise ValueError(
            f"X has {modality} items of shape {found}, but {name} is expecting items "
            f"of shape {shape}, as in fit."
        )
    if dtype == "int64" and not _are_integers(items):
        kind = "sparse" if sparse.issparse(items) else "real numbers"
        raise ValueError(
            f"The {modality} features are {kind}, but {name} was fitted on integers, "
            "such as token ids. Pass an array of integers."
        )


def _are_integers(items):
    # What is sparse is made dense as float32, as without an encoder.
    return items.dtype.kind in "iu" and not sparse.issparse(items)
