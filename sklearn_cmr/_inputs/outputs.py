"""Output containers of estimators that return two modalities."""

# SPDX-License-Identifier: BSD-3-Clause

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
