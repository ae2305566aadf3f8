"""Array-likes in the forms that scikit-learn's checks can read."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from sklearn.utils import check_array


def as_array(X, name):
    """Convert lists to arrays, and tensors to those that numpy can read.

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
    if hasattr(X, "detach"):  # a tensor, which may record gradients
        X = X.detach()
        return X.float() if "bfloat16" in str(X.dtype) else X
    if isinstance(X, list | tuple):
        try:
            return np.asarray(X)
        except ValueError as error:
            raise ValueError(
                f"The rows of {name} differ in length. Pass a rectangular array."
            ) from error
    return X


def check_matrix(X, name, **options):
    """Validate a matrix by scikit-learn's `check_array`, whose options it takes."""
    return check_array(as_array(X, name), input_name=name, **options)
