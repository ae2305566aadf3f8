"""Output containers of estimators that return two modalities."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn.utils._set_output import ADAPTERS_MANAGER, _get_output_config


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
        """
        if transform is not None:
            if not hasattr(self, "_sklearn_output_config"):
                self._sklearn_output_config = {}
            self._sklearn_output_config["transform"] = transform
        return self

    def _output_adapter(self):
        """Return scikit-learn's adapter of the library that `set_output` asks for."""
        library = _get_output_config("transform", self)["dense"]
        return ADAPTERS_MANAGER.adapters.get(library)
