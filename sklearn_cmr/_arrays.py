"""Array-likes in the forms that scikit-learn's checks can read."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from sklearn.utils import check_array


def to_array(X):
    """Turn a list or a tensor into an array; leave everything else as it is.

    scikit-learn's checks leave lists of None or of huge integers as objects, and stop
    at tensors that require gradients.
    """
    if isinstance(X, (list, tuple)):
        return np.asarray(X)
    if hasattr(X, "detach"):
        X = X.detach()
        X = X.float() if "bfloat16" in str(X.dtype) else X
        return X.cpu().numpy()
    return X


def as_array(X, name):
    """Turn a list or a tensor into an array, with a message for ragged lists.

    Parameters
    ----------
    X : array-like
        Other forms than lists and tensors are returned as they are.

    name : str
        Name of `X` in messages.

    Returns
    -------
    X : array-like

    Raises
    ------
    ValueError
        If the rows of a list differ in length.
    """
    try:
        return to_array(X)
    except ValueError as error:
        raise ValueError(
            f"The rows of {name} differ in length. Pass a rectangular array."
        ) from error


def check_matrix(X, name, **options):
    """Validate a matrix by scikit-learn's `check_array`, whose options it takes."""
    return check_array(as_array(X, name), input_name=name, **options)
