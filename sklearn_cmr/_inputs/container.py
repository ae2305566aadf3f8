"""A container of pairs that scikit-learn can slice. It imports skorch, and torch."""

# SPDX-License-Identifier: BSD-3-Clause

from numbers import Integral

import numpy as np
from sklearn.utils import _safe_indexing
from skorch.helper import SliceDict

from sklearn_cmr._arrays import is_frame, read_rows, take_rows
from sklearn_cmr._inputs.layout import check_same_length, shape_of


class Pairs(SliceDict):
    """Mapping from modalities to their features, sliced by rows.

    :func:`~sklearn_cmr.make_pairs` checks the features and makes the container. Rows
    that are selected of an array in a file (:class:`numpy.memmap`) are read when a
    modality is taken out of the container. The estimators of this package that train
    networks read them batch by batch.

    Parameters
    ----------
    **modalities : array, sparse matrix, tensor or dataframe
        Features with as many rows each, by the name of the modality.

    See Also
    --------
    sklearn_cmr.make_pairs : Checks features and makes this container, or a dataframe.
    sklearn_cmr.PairTransformer : Transforms each modality by a transformer of its own.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr.pairs import Pairs
    >>> pairs = Pairs(image=np.zeros((4, 3)), text=np.ones((4, 2)))
    >>> pairs[[0, 2]]
    <Pairs of image: (2, 3), text: (2, 2)>
    >>> pairs["text"].shape
    (4, 2)
    """

    # Where users and pickled files find it.
    __module__ = "sklearn_cmr.pairs"

    def __init__(self, **modalities):
        for name, part in modalities.items():
            _check_has_rows(part, name)
        check_same_length(modalities)
        super().__init__(**modalities)

    def __getitem__(self, key):
        if isinstance(key, str):
            if key not in self:
                raise KeyError(f"{key!r} is no modality of {self!r}")
            return read_rows(super().__getitem__(key))
        if isinstance(key, Integral):
            raise TypeError(
                f"Pairs are indexed by the name of a modality or by several rows; got "
                f"the integer {key}. For one row pass pairs[{key}:{int(key) + 1}]."
            )
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            key = key[0]  # scikit-learn selects rows by X[rows, ...]
        try:
            is_one = not isinstance(key, tuple) and np.ndim(key) == 1
            if not (is_one or isinstance(key, slice)):
                raise IndexError("rows have one dimension")
            parts = {name: _rows(part, key) for name, part in self.unread().items()}
            return Pairs(**parts)
        except (IndexError, TypeError, ValueError, RuntimeError) as error:
            raise IndexError(
                f"The rows of {self!r} cannot be selected by this "
                f"{type(key).__name__}: {error}. Pass a slice, the numbers of rows, or "
                "a mask with one entry for each row."
            ) from error

    def __setitem__(self, key, value):
        _check_has_rows(value, key)
        super().__setitem__(key, value)

    def unread(self):
        """Return the features as they are stored.

        Returns
        -------
        features : dict of str to object
            Those in files are rows that are not read yet.
        """
        return {name: dict.__getitem__(self, name) for name in self}

    # A dict would hand out the unread rows.

    def __iter__(self):
        return super().__iter__()

    def items(self):
        """Return the modalities and their features.

        Returns
        -------
        items : dict view
            Pairs of a name and features.
        """
        return {name: self[name] for name in self}.items()

    def values(self):
        """Return the features of all modalities.

        Returns
        -------
        values : dict view
            In the order of the modalities.
        """
        return {name: self[name] for name in self}.values()

    def get(self, key, default=None):
        """Return the features of a modality, if there are any.

        Parameters
        ----------
        key : str
            Name of the modality.

        default : object, default=None
            What to return in place of missing features.

        Returns
        -------
        features : object
            Features of the modality, or the default.
        """
        return self[key] if key in self else default

    def __reduce__(self):
        # The class is public, so that files name no private function.
        return type(self), (), None, None, iter(self.unread().items())

    def pop(self, key, *default):
        """Take a modality out of the container and return its features.

        Parameters
        ----------
        key : str
            Name of the modality.

        *default : object
            What to return in place of missing features; at most one.

        Returns
        -------
        features : object
            Features of the modality, or the default.
        """
        return read_rows(super().pop(key, *default))

    def copy(self):
        """Return a container of the same features.

        Returns
        -------
        pairs : Pairs
            The features themselves are not copied.
        """
        return Pairs(**self.unread())

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            f"{self!r} is a container of modalities and no array. Transform each "
            "modality with PairTransformer(image=..., text=...), or take one out of "
            "it: pairs['image']."
        )

    def __repr__(self):
        parts = (f"{name}: {tuple(part.shape)}" for name, part in self.unread().items())
        return f"<{type(self).__name__} of {', '.join(parts)}>"


def _check_has_rows(part, name):
    if len(shape_of(part) or ()) == 0:
        raise TypeError(
            f"The {name} features must be an array, a sparse matrix, a tensor or a "
            f"dataframe, got {type(part).__name__}. make_pairs turns lists into arrays."
        )


def _rows(part, key):
    return _safe_indexing(part, key) if is_frame(part) else take_rows(part, key)
