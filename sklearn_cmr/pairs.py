"""Containers of paired features that scikit-learn can slice."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from scipy import sparse

from sklearn_cmr._inputs.layout import (
    check_same_index,
    check_same_length,
    check_unpaired,
    is_frame,
    is_pandas,
    prefixed_names,
    with_columns,
)


def make_pairs(X_img, X_txt):
    """Put two feature matrices into one container that scikit-learn can slice.

    ``GridSearchCV``, ``cross_validate``, ``train_test_split`` and ``Pipeline`` pass
    one ``X`` around and slice its rows. The container made here is such an ``X``.

    Parameters
    ----------
    X_img : {array-like, sparse matrix, tensor, dataframe} of shape \
            (n_samples, n_image_features)
        Image features; row `i` belongs to row `i` of `X_txt`.

    X_txt : {array-like, sparse matrix, tensor, dataframe} of shape \
            (n_samples, n_text_features), or array-like of str of shape (n_samples,)
        Text features, or raw strings for a vectorizer in a
        :class:`~sklearn_cmr.PairTransformer`.

    Returns
    -------
    pairs : SliceDict or DataFrame
        ``SliceDict(image=X_img, text=X_txt)``; two dataframes give one dataframe with
        the columns ``image__*`` and ``text__*``, because a `SliceDict` would slice
        their columns instead of their rows.

    Raises
    ------
    ValueError
        If the numbers of rows or, for pandas objects, the indices differ.

    TypeError
        If one of them is a container of pairs already.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr import make_pairs
    >>> pairs = make_pairs(np.zeros((4, 3)), np.ones((4, 2)))
    >>> sorted(pairs), len(pairs)
    (['image', 'text'], 4)
    >>> pairs[1:3]["text"].shape
    (2, 2)
    """
    parts = {"image": X_img, "text": X_txt}
    check_unpaired(parts)
    check_same_index(parts)
    if is_frame(X_img) and is_frame(X_txt) and is_pandas(X_img) == is_pandas(X_txt):
        return _join_frames(parts)
    # Here, as it imports torch.
    from skorch.helper import SliceDict

    sliceable = {name: _sliceable(part, name) for name, part in parts.items()}
    check_same_length(sliceable)
    return SliceDict(**sliceable)


def _sliceable(part, name):
    if sparse.issparse(part):
        return part.tocsr()
    if hasattr(part, "to_numpy") or not hasattr(part, "shape"):
        # A SliceDict would slice the columns of a frame, and a series by its labels.
        part = np.asarray(part)
    if len(part.shape) == 0:
        raise ValueError(f"The {name} part has no rows: got {part!r}.")
    return part


def _join_frames(parts):
    check_same_length(parts)
    renamed = []
    for modality, frame in parts.items():
        names = prefixed_names(list(frame.columns), modality)
        renamed.append(with_columns(frame, names))
    first, second = renamed
    if is_pandas(first):
        import pandas as pd

        return pd.concat(renamed, axis=1)
    return first.hstack(second)
