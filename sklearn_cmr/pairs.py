"""A container of modalities whose rows belong together."""

# SPDX-License-Identifier: BSD-3-Clause

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from sklearn_cmr._arrays import is_frame, to_array
from sklearn_cmr._inputs.layout import (
    MODALITIES,
    check_same_index,
    check_same_length,
    check_unpaired,
    join_frames,
    shape_of,
)
from sklearn_cmr._lazy import lazy_names

if TYPE_CHECKING:
    from sklearn_cmr._inputs.container import Pairs

__all__ = ["Pairs", "make_pairs"]

__getattr__, __dir__ = lazy_names(
    __name__, {"sklearn_cmr._inputs.container": ["Pairs"]}
)


def make_pairs(X_img=None, X_txt=None, **modalities):
    """Put the features of several modalities into one container of pairs.

    ``GridSearchCV``, ``cross_validate``, ``train_test_split`` and ``Pipeline`` pass
    one ``X`` and select its rows. The container made here is such an ``X``.

    Parameters
    ----------
    X_img : {array-like, sparse matrix, tensor, dataframe} of shape \
            (n_samples, n_image_features), default=None
        Image features; row `i` belongs to row `i` of the other modalities.

    X_txt : {array-like, sparse matrix, tensor, dataframe} of shape \
            (n_samples, n_text_features), or array-like of str of shape (n_samples,), \
            default=None
        Text features, or raw strings for a vectorizer in a
        :class:`~sklearn_cmr.PairTransformer`.

    **modalities : array-like, sparse matrix, tensor or dataframe
        Features of further modalities by their names. At least two modalities are
        needed; they need not include the image and the text.

    Returns
    -------
    pairs : Pairs or DataFrame
        A :class:`skorch.helper.SliceDict` from the modalities to their features, with
        ``"image"`` and ``"text"`` first. A dataframe of images and a dataframe of texts
        give one dataframe with the columns ``image__*`` and ``text__*``.

    Raises
    ------
    ValueError
        If there are fewer than two modalities, or if the numbers of rows or, for pandas
        objects, the indices differ.

    TypeError
        If one of them is a container of pairs already, or a single string.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr import make_pairs
    >>> pairs = make_pairs(np.zeros((4, 3)), np.ones((4, 2)))
    >>> pairs
    <Pairs of image: (4, 3), text: (4, 2)>
    >>> pairs[1:3]["text"].shape
    (2, 2)
    >>> make_pairs(text=np.ones((4, 2)), audio=np.zeros((4, 5)))
    <Pairs of text: (4, 2), audio: (4, 5)>
    """
    parts = dict(zip(MODALITIES, (X_img, X_txt), strict=True))
    parts = {name: part for name, part in parts.items() if part is not None}
    twice = sorted(parts.keys() & modalities.keys())
    if twice:
        raise TypeError(f"make_pairs got the {twice[0]} features twice.")
    parts |= modalities
    if len(parts) < 2:
        raise ValueError(
            f"make_pairs needs two modalities or more; got {list(parts)}. Pass "
            "make_pairs(X_img, X_txt)."
        )
    check_unpaired(parts)
    check_same_index(parts)
    frame = join_frames(parts)
    if frame is not None:
        return frame
    sliceable = {name: _sliceable(part, name) for name, part in parts.items()}
    check_same_length(sliceable)
    from sklearn_cmr._inputs.container import Pairs  # with skorch, and torch

    return Pairs(**sliceable)


def _sliceable(part, name):
    if sparse.issparse(part):
        return part.tocsr()
    if is_frame(part):
        return part
    if hasattr(part, "to_numpy") or shape_of(part) is None:
        # A series would be sliced by its labels.
        part = np.asarray(to_array(part, f"{name} features"))
    if len(part.shape) == 0:
        raise ValueError(f"The {name} features have no rows: got {part!r}.")
    return part
