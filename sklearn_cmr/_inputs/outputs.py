"""Output containers of estimators that return two modalities."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from scipy import sparse
from sklearn.utils._set_output import ADAPTERS_MANAGER, _get_output_config
from sklearn.utils.validation import _check_feature_names_in

from sklearn_cmr._inputs.layout import shape_of_labels


class PairOutputMixin:
    """`set_output` for transformers whose output is more than one array.

    scikit-learn's own wrapper labels only the first of a tuple, with all names.
    """

    def set_output(self, *, transform=None):
        """Set the output container of `transform` and `fit_transform`.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None
            ``"default"`` mirrors the container that was passed; None changes nothing.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If `transform` is another value.
        """
        if transform is not None:
            known = ("default", *sorted(ADAPTERS_MANAGER.adapters))
            if not isinstance(transform, str) or transform not in known:
                raise ValueError(
                    f"transform must be one of {[*known]} or None, got {transform!r}."
                )
            if not hasattr(self, "_sklearn_output_config"):
                self._sklearn_output_config = {}
            self._sklearn_output_config["transform"] = transform
        return self

    def _output_adapter(self):
        """Return scikit-learn's adapter of the library that `set_output` asks for."""
        library = _get_output_config("transform", self)["dense"]
        return ADAPTERS_MANAGER.adapters.get(library)


def check_input_features(estimator, input_features, **options):
    """Validate the argument of `get_feature_names_out` by scikit-learn's check."""
    if input_features is not None and len(shape_of_labels(input_features)) != 1:
        raise ValueError(
            "input_features must be a list of the names of the features, got "
            f"{input_features!r}."
        )
    return _check_feature_names_in(estimator, input_features, **options)


def check_out(out, X, shape, dtype):
    """Raise unless an array of the caller can take the encodings of all rows.

    Parameters
    ----------
    out : object
        What the caller passed.

    X : {ndarray, CSR, MappedRows}
        Features that are read while `out` is written.

    shape : tuple of int

    dtype : dtype
    """
    if not isinstance(out, np.ndarray):
        raise TypeError(
            "out must be an array of numpy, such as numpy.empty or "
            f"numpy.lib.format.open_memmap returns; got {type(out)}."
        )
    if (out.shape, out.dtype) != (shape, dtype):
        raise ValueError(
            f"out must have the shape and dtype of the encodings, {shape} and {dtype}; "
            f"got {out.shape} and {out.dtype}."
        )
    if not out.flags.writeable:
        raise ValueError(
            "out is read-only. Pass an array that can be written, such as "
            "numpy.lib.format.open_memmap(path, 'w+', dtype, shape) returns, or "
            "numpy.load(path, mmap_mode='r+')."
        )
    # What holds the values of a sparse matrix, or those of rows in a file.
    source = X.data if sparse.issparse(X) else getattr(X, "array", X)
    if isinstance(source, np.ndarray) and np.shares_memory(out, source):
        raise ValueError(
            "out and X share memory, so that rows would be overwritten before they are "
            "read. Pass another array."
        )
