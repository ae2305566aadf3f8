"""Array-likes in the forms that scikit-learn's checks can read."""

# SPDX-License-Identifier: BSD-3-Clause

import math
import mmap
import re
from contextlib import contextmanager

import numpy as np
from scipy import sparse
from sklearn.utils import check_array, gen_batches

# Values of an array in a file that are read at once.
_VALUES_AT_ONCE = 2**20


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


# -- arrays in files ---------------------------------------------------------------


def is_memory_mapped(X):
    """Return whether an array, or what it is a view of, is mapped from a file."""
    while X is not None:
        if isinstance(X, (np.memmap, mmap.mmap)):
            return True
        X = getattr(X, "base", None)
    return False


class MappedRows:
    """Rows of an array in a file, read when they are needed.

    NumPy copies the rows that a splitter of scikit-learn selects. This array-like only
    notes which they are. As in NumPy, a slice is a view, and anything else an array.

    Parameters
    ----------
    array : ndarray of shape (n_rows, ...)
        Mapped from a file, of two dimensions or more.

    rows : int64 ndarray of shape (n_samples,)
    """

    def __init__(self, array, rows):
        self.array = array
        # Torch reads no reversed ones.
        self.rows = np.ascontiguousarray(rows)
        self.shape = (len(rows), *array.shape[1:])
        self.dtype = array.dtype

    @property
    def ndim(self):
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self):
        """Number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self):
        """Number of bytes of the values."""
        return self.size * self.dtype.itemsize

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, rows):
        if isinstance(rows, slice):
            return MappedRows(self.array, self.rows[rows])
        return np.asarray(self.array[self.rows[rows]])

    def __array__(self, dtype=None, copy=None):
        return self[np.arange(len(self))].astype(dtype or self.dtype, copy=False)

    def __repr__(self):
        return f"<{self.shape[0]} rows of a {self.dtype} array of {self.array.shape}>"


def take_rows(X, rows):
    """Select rows; those of an array in a file are not read.

    Parameters
    ----------
    X : ndarray, sparse matrix, tensor or MappedRows

    rows : slice, or array-like of int or bool
    """
    if isinstance(rows, slice) or len(X.shape) < 2:
        return X[rows]
    is_rows = isinstance(X, MappedRows)
    if sparse.issparse(X) or not (is_rows or is_memory_mapped(X)):
        return X[rows]
    if is_rows:
        return MappedRows(X.array, X.rows[rows])
    return MappedRows(X, np.arange(len(X))[rows])


def read_rows(X):
    """Return rows of an array in a file as an array, and everything else as it is."""
    return np.asarray(X) if isinstance(X, MappedRows) else X


def blocks_of(X):
    """Yield consecutive rows of an array as arrays of bounded size."""
    n_rows = max(1, _VALUES_AT_ONCE // max(1, math.prod(X.shape[1:])))
    for rows in gen_batches(X.shape[0], n_rows):
        yield read_rows(X[rows])
