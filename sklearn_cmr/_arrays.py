"""Array-likes in the forms that scikit-learn's checks can read."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from sklearn.utils import check_array


def is_frame(X):
    """Return whether `X` is a pandas or polars dataframe."""
    return hasattr(X, "columns") and hasattr(X, "head")


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
        return X.cpu().numpy()
    return X


def check_matrix(X, name, **options):
    """Validate a matrix by scikit-learn's `check_array`, whose options it takes."""
    return check_array(to_array(X, name), input_name=name, **options)
