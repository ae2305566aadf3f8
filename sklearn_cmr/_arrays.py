"""Array-likes in the forms that scikit-learn's checks can read."""

# SPDX-License-Identifier: BSD-3-Clause

import re
from contextlib import contextmanager

import numpy as np
from sklearn.utils import check_array


def is_frame(X):
    """Return whether `X` is a pandas or polars dataframe with rows, no lazy one."""
    return hasattr(X, "shape") and hasattr(X, "columns") and hasattr(X, "head")


def to_array(X, name="X"):
    """Turn a list or a tensor into an array; return everything else as it is.

    scikit-learn's checks leave lists of None or of huge integers as objects, and stop
    at tensors that require gradients and at dataframes without columns.

    Parameters
    ----------
    X : array-like

    name : str, default="X"
        Name in messages.

    Returns
    -------
    X : array-like

    Raises
    ------
    ValueError
        If the rows of a list differ in length, or a dataframe has no columns.

    TypeError
        If it is a lazy dataframe, an array with masked values, or a tensor that is
        sparse or has no values.
    """
    if isinstance(X, (list, tuple)):
        try:
            return np.asarray(X)
        except ValueError as error:
            raise ValueError(
                f"{name} must have the same number of features in each row; got a "
                f"{type(X).__name__} of rows that differ in length."
            ) from error
    if is_frame(X) and X.shape[1] == 0:
        raise ValueError(f"{name} must have features; got a dataframe without columns.")
    if hasattr(X, "detach"):
        X = X.detach()
        X = X.float() if "bfloat16" in str(X.dtype) else X
        try:
            return X.cpu().numpy()
        except (TypeError, RuntimeError) as error:
            raise TypeError(
                f"{name} is a tensor that cannot be turned into an array: {error} "
                "Pass a dense tensor, or a sparse matrix of scipy."
            ) from error
    if np.ma.is_masked(X):
        raise TypeError(
            f"{name} is a masked array, whose mask would be lost. Pass its "
            "filled(value), or drop the rows with masked values."
        )
    if hasattr(X, "collect_schema") and not is_frame(X):
        raise TypeError(
            f"{name} is a {type(X).__name__}, whose rows are not computed yet. Pass "
            "what its method collect returns."
        )
    return X


@contextmanager
def named_errors(name, subject=None):
    """Name the input in errors of conversions to numbers.

    Parameters
    ----------
    name : str
        Name in messages, which those of scikit-learn's checks have already.

    subject : str, default=None
        What other messages begin with, the name by default.
    """
    try:
        yield
    except (TypeError, ValueError, OverflowError) as error:
        if re.search(rf"\b{re.escape(name)}\b", str(error)):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{subject or name} cannot be used: {error}") from error


def check_matrix(X, name, *, dtype=None, **options):
    """Validate a matrix of numbers by `check_array`, whose options it takes."""
    with named_errors(name):
        X = check_array(to_array(X, name), input_name=name, **options)
    if X.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} must hold numbers, got the dtype {X.dtype}. Turn them into "
            "numbers first."
        )
    # Not by `check_array`, which would make numbers of dates.
    return X if dtype is None else X.astype(dtype, copy=False)
