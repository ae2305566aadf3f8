"""Mixins that add to the base class, each of which inherits object."""

# SPDX-License-Identifier: BSD-3-Clause

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import ClassifierTags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_cmr._inputs.layout import PairLayout, check_same_length
from sklearn_cmr._lazy import public
from sklearn_cmr.codes import pack_bits


@public("sklearn_cmr.base")
class ProjectorMixin:
    """Output of estimators with a real-valued common space.

    A method that trains a label classifier on the embeddings has the parameter
    `output`, and writes two hooks: ``_label_head(module, modality)`` returns the
    function from embeddings to probabilities, and ``_check_label_head()`` raises if it
    was not trained.
    """

    _parameter_constraints: dict = {
        "embedding_dim": [Interval(Integral, 1, None, closed="left")],
        "metric": [StrOptions({"cosine", "euclidean"})],
    }
    embedding_dim: int
    metric: str
    label_weight: float
    output = "embedding"
    _n_features_out: int
    _label_head: Any
    _check_label_head: Any
    # Of the base class.
    _apply: Any
    classes_: np.ndarray
    module_: Any

    @property
    def _n_components(self):
        return self.embedding_dim

    @property
    def _component_numbers(self):
        width = 0 if self.output == "probabilities" else self._n_features_out
        n_classes = 0 if self.output == "embedding" else len(self.classes_)
        return range(width + n_classes)

    @property
    def _score_metric(self):
        return self.metric

    def _check_output(self, is_fitted):
        """Raise if the output needs a label classifier that is not trained."""
        if self.output == "embedding":
            return
        if is_fitted:
            self._check_label_head()
        elif not self.label_weight:
            raise ValueError(
                f"output={self.output!r} needs the label classifier, which only "
                f"label_weight > 0 trains; got label_weight={self.label_weight!r}. "
                "Set output='embedding'."
            )

    def _encoding_function(self, module, modality, output=None):
        """Return the function from features of a modality to the output."""
        encoder = module["encoders"][modality]
        output = self.output if output is None else output
        if output == "embedding":
            return encoder
        head = self._label_head(module, modality)
        if output == "probabilities":
            return lambda X: head(encoder(X))

        def encode(X):
            from torch import cat
            from torch.nn.functional import normalize

            Z = encoder(X)
            return cat([normalize(Z), normalize(head(Z))], 1)

        return encode

    def _label_probabilities(self, X, modality):
        self._check_label_head()
        function = self._encoding_function(self.module_, modality, "probabilities")
        return self._apply(function, X, modality)

    def _represent(self, Z):
        """Return embeddings in the form of the output."""
        return Z

    def _compared(self, Z):
        """Return the values by which rows are compared for equality."""
        return Z

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


@public("sklearn_cmr.base")
class HasherMixin:
    """Output of estimators with binary codes, the signs of what `_encode` returns."""

    _parameter_constraints: dict = {
        "n_bits": [Interval(Integral, 1, None, closed="left")],
        "output": [StrOptions({"sign", "packed"})],
    }
    n_bits: int
    output: str
    _n_features_out: int
    # Of the base class.
    _encode: Any
    _reader: Any

    def encode(self, X, modality, *, output="sign"):
        """Encode one modality alone, in a form to choose.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Features of that modality.

        modality : str
            Name of the modality, such as ``"image"`` or ``"text"``.

        output : {"sign", "bool", "packed", "real"}, default="sign"
            Codes of -1 and +1 (int8), of False and True, as packed bits (uint8, the
            first bit the most significant one, padded with 0 to whole bytes), or the
            real values in [-1, 1] whose signs they are (float32).

        Returns
        -------
        codes : ndarray of shape (n_samples, n_bits), or (n_samples, ceil(n_bits / 8))
            Codes of the rows; packed ones have the second shape.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the features are not those of the fit, or `output` is unknown.
        """
        check_is_fitted(self)
        form = code_form(output)
        return form(self._encode(self._reader.read_modality(X, modality), modality))

    @property
    def _n_components(self):
        return self.n_bits

    @property
    def _component_numbers(self):
        # A column of packed codes is named by its first bit.
        step = 8 if self.output == "packed" else 1
        return range(0, self._n_features_out, step)

    @property
    def _score_metric(self):
        return "hamming"

    def _check_output(self, is_fitted):
        """Every form of codes is there after any training."""

    def _encoding_function(self, module, modality):
        """Return the function from features of a modality to the relaxed codes."""
        return module["encoders"][modality]

    def _represent(self, Z):
        """Return codes in the form of the output."""
        return _CODE_FORMS[self.output](Z)

    def _compared(self, Z):
        """Return the values by which rows are compared for equality."""
        return np.where(np.isfinite(Z), np.where(Z >= 0, 1.0, -1.0), np.nan)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.transformer_tags.preserves_dtype = []
        return tags


_CODE_FORMS = {
    "sign": lambda relaxed: np.where(relaxed >= 0, np.int8(1), np.int8(-1)),
    "bool": lambda relaxed: relaxed >= 0,
    "packed": lambda relaxed: pack_bits(relaxed >= 0),
    "real": lambda relaxed: relaxed,
}


def code_form(output):
    """Return the function from relaxed codes to the form of codes that is named."""
    if not isinstance(output, str) or output not in _CODE_FORMS:
        raise ValueError(f"output must be one of {list(_CODE_FORMS)}, got {output!r}.")
    return _CODE_FORMS[output]


@public("sklearn_cmr.base")
class LabelProbabilityMixin:
    """Label probabilities of estimators that learn to predict them.

    A method writes ``_label_probabilities(X, modality)``, which takes validated
    features of one modality and returns an array of shape (n_samples, n_classes).
    """

    _label_probabilities: Any
    # Of the base class.
    _reader: Any

    def predict_proba(self, X, modality=None):
        """Compute the probabilities of the labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or container
            Features of the modality; or a container of pairs, as
            :func:`~sklearn_cmr.make_pairs` makes it.

        modality : str, default=None
            Name of the modality of `X`. None takes pairs, and averages the
            probabilities over the modalities.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the features are not those of the fit, or if no label loss was part of
            the training.

        TypeError
            If `modality` is no string.
        """
        check_is_fitted(self)
        if modality is None:
            parts = self._reader.read(PairLayout(X), reset=False)
            check_same_length(parts)
        elif isinstance(modality, str):
            parts = {modality: self._reader.read_modality(X, modality)}
        else:
            raise TypeError(
                f"modality must be the name of a modality, got {type(modality)}. Pass "
                "pairs as one container: predict_proba(make_pairs(X_img, X_txt))."
            )
        by_modality = [
            self._label_probabilities(part, name) for name, part in parts.items()
        ]
        return np.mean(by_modality, axis=0)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        # No classifier, but scikit-learn reads these of all that give probabilities.
        tags.classifier_tags = ClassifierTags(multi_label=True)
        return tags


@public("sklearn_cmr.base")
class AddModalityMixin:
    """A further modality for estimators whose modalities train apart."""

    # Of the base class.
    _add_modality: Any

    def add_modality(self, name, X, y):
        """Fit one more modality; the others stay as they are, bit for bit.

        Parameters
        ----------
        name : str
            Name of the new modality.

        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features of the new modality.

        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape \
(n_samples, n_classes)
            Labels, of the classes known from :meth:`fit`.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the name is taken or not usable, or if features or labels are not usable.
        """
        check_is_fitted(self)
        return self._add_modality(name, X, y)


MIXINS = (ProjectorMixin, HasherMixin, LabelProbabilityMixin, AddModalityMixin)
