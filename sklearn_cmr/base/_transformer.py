"""Base class of all estimators: arguments, encoding, output, score."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Collection
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import gen_batches
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sklearn_cmr._inputs.arguments import read_arguments, split_arguments
from sklearn_cmr._inputs.features import FeatureReader
from sklearn_cmr._inputs.labels import check_label_names, read_labels
from sklearn_cmr._inputs.layout import PairLayout, check_same_length, is_mapping
from sklearn_cmr._inputs.outputs import (
    PairOutputMixin,
    check_input_features,
    check_out,
)
from sklearn_cmr._inputs.parameters import refuse_boolean_numbers
from sklearn_cmr._lazy import public
from sklearn_cmr._state import StateMixin, restored_on_failure
from sklearn_cmr._warnings import stacklevel_of_caller
from sklearn_cmr.base._mixins import MIXINS, HasherMixin, ProjectorMixin
from sklearn_cmr.metrics._directions import mean_map

# Rows that are encoded before they take their final form, such as packed bits.
_ROWS_AT_ONCE = 2**16
# Training rows of a modality whose encodings are compared after a fit.
_ROWS_COMPARED = 256
# Share of rows with the same encoding from which on the user is warned.
_MANY_THE_SAME = 0.98


@public("sklearn_cmr.base")
class CrossModalTransformer(
    StateMixin,
    PairOutputMixin,
    TransformerMixin,
    BaseEstimator,
    metaclass=ABCMeta,
    auto_wrap_output_keys=None,  # type: ignore[call-arg]
):
    """Encode modalities so that items with common labels are close.

    A method subclasses it together with :class:`~sklearn_cmr.base.ProjectorMixin` or
    :class:`~sklearn_cmr.base.HasherMixin`, which come before it, and writes `_fit` and
    `_encode`. Those that train networks subclass
    :class:`~sklearn_cmr.base.NetworkTransformer`.
    """

    _parameter_constraints: dict = {
        "missing_labels": [StrOptions({"raise", "drop"})],
        "n_image_features": [Interval(Integral, 1, None, closed="left"), None],
    }

    # -- what a method may state about itself ------------------------------------

    # Whether it learns from labels.
    _requires_labels = True
    # Whether it takes any number of modalities by name, with rows of their own.
    _any_modalities = False
    # Modalities whose items may have regions: (n_samples, n_regions, n_features).
    _region_modalities: tuple[str, ...] = ()
    # Whether all items need as many regions as those of the fit.
    _needs_same_regions = False
    # Modalities that an encoder of the caller reads: (n_samples, ...).
    _encoded_modalities: Collection[str] = ()
    # Whether it takes rows of a matrix in a file, which are read when they are needed.
    _leaves_unread = False

    # Encodings that differ by less than this share of their length count as the same.
    _tolerance = 1e-5
    # Names that no modality may have.
    _reserved_names: frozenset[str] = frozenset()

    # Set by the reader of features.
    modalities_: tuple[str, ...]
    classes_: np.ndarray

    def __init_subclass__(cls, **kwargs):
        # Only this class defines `transform`: scikit-learn must not wrap it again.
        super().__init_subclass__(**{"auto_wrap_output_keys": None} | kwargs)
        base = cls.__mro__.index(CrossModalTransformer)
        late = [c.__name__ for c in cls.__mro__[base:] if c in MIXINS]
        if late:
            raise TypeError(
                f"{cls.__name__}: {', '.join(late)} must come before the base class, "
                f"as in class {cls.__name__}({', '.join(late)}, NetworkTransformer)."
            )
        if issubclass(cls, ProjectorMixin) and issubclass(cls, HasherMixin):
            raise TypeError(
                f"{cls.__name__} must be either a projector or a hasher, not both."
            )

    # -- hooks of a method -----------------------------------------------------

    @abstractmethod
    def _fit(self, features, labels):
        """Learn from validated data.

        Parameters
        ----------
        features : dict of str to {ndarray, CSR} of shape (n_samples, n_features)
            By modality.

        labels : LabelsByModality or None
            None where the method learns without labels.
        """

    @abstractmethod
    def _encode(self, X, modality):
        """Encode validated features of one modality.

        Parameters
        ----------
        X : {ndarray, CSR} of shape (n_samples, n_features)

        modality : str

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            Embeddings, or the real values whose signs are the codes.
        """

    # -- public API ------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, Y=None, y=None):
        """Fit to labeled pairs.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_image_features), \
container of pairs, or mapping of modalities
            Image features; or a container of both modalities: a mapping with the keys
            ``image`` and ``text`` (:func:`~sklearn_cmr.make_pairs` makes one that
            scikit-learn can slice), a dataframe with the columns ``image__*`` and
            ``text__*`` or with these two as column levels, or one matrix with the
            image columns first (see `n_image_features`).

        Y : {array-like, sparse matrix} of shape (n_samples, n_text_features)
            Text features; the labels where `X` is a container.

        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape \
(n_samples, n_classes)
            Classes, or an indicator of the labels of each pair.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If features or labels are missing, do not fit together or are not usable.
            After any error the estimator is as it was before.

        TypeError
            If a container comes with two more arguments.
        """
        with restored_on_failure(self):
            features, labels = self._read_training_set(X, Y, y)
            self._fit(features, labels)
            self._n_features_out = self._n_components
        self._warn_of_collapse(features)
        return self

    def fit_transform(self, X, Y=None, y=None):
        """Fit to labeled pairs, then encode them.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_image_features), \
container of pairs, or mapping of modalities
            Image features, or a container; see :meth:`fit`.

        Y : {array-like, sparse matrix} of shape (n_samples, n_text_features)
            Text features; the labels where `X` is a container.

        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape \
(n_samples, n_classes)
            Labels.

        Returns
        -------
        Z : tuple of arrays, or container like `X`
            Encoded modalities; see :meth:`transform`.
        """
        self.fit(X, Y, y)
        X, Y, _ = split_arguments(X, Y, y)
        return self.transform(X, Y)

    def transform(self, X, Y=None):
        """Encode pairs, or the modalities of a mapping.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_image_features), \
container of pairs, or mapping of modalities
            Image features, or a container as in :meth:`fit`, of any kind whatever
            the estimator was fitted on. A mapping may hold one modality alone.

        Y : {array-like, sparse matrix} of shape (n_samples, n_text_features), \
default=None
            Text features, if `X` is no container.

        Returns
        -------
        Z : tuple of arrays, or container like `X`
            Encoded modalities, each of shape (n_samples, n_outputs): the width of the
            embeddings, of the codes, or of what `output` asks for. Two arrays give a
            tuple, a mapping one of the same type with the same keys, a paired dataframe
            one of the same layout and index, one matrix the encoded image and text side
            by side.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the features are not those of the fit: other widths or names, or other
            numbers of rows.
        """
        check_is_fitted(self)
        layout = PairLayout(X, Y)
        parts = self._encode_parts(self._reader.read(layout, reset=False))
        names = dict.fromkeys(parts, self._component_names())
        return layout.join(parts, names, self._output_adapter())

    def transform_modality(self, X, modality, *, out=None):
        """Encode one modality alone.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Features of that modality.

        modality : str
            Name of the modality, such as ``"image"`` or ``"text"``.

        out : ndarray of shape (n_samples, n_outputs), default=None
            Array that the encodings are written into, a bounded number of rows at once,
            such as one in a file (:func:`numpy.lib.format.open_memmap`). Its shape and
            dtype must be those of the encodings, and it must share no memory with `X`.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_outputs)
            A dataframe if :meth:`set_output` asks for one; but always `out` itself if
            it is given.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the features are not those of the fit: other widths or names; or if `out`
            cannot take the encodings.

        TypeError
            If `out` is no array of numpy.
        """
        check_is_fitted(self)
        Z = self._encode_part(self._reader.read_modality(X, modality), modality, out)
        adapter = self._output_adapter()
        if adapter is None or out is not None:
            return Z
        columns = [f"{modality}__{name}" for name in self._component_names()]
        return adapter.create_container(Z, X, columns=columns)

    def transform_image(self, X, *, out=None):
        """Encode images alone.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape \
(n_samples, n_image_features)
            Image features.

        out : ndarray of shape (n_samples, n_outputs), default=None
            Array that the encodings are written into, a bounded number of rows at once,
            such as one in a file (:func:`numpy.lib.format.open_memmap`). Its shape and
            dtype must be those of the encodings, and it must share no memory with `X`.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_outputs)
            A dataframe if :meth:`set_output` asks for one; but always `out` itself if
            it is given.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the features are not those of the fit: other widths or names; or if `out`
            cannot take the encodings.

        TypeError
            If `out` is no array of numpy.
        """
        return self.transform_modality(X, "image", out=out)

    def transform_text(self, X, *, out=None):
        """Encode texts alone.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape \
(n_samples, n_text_features)
            Text features.

        out : ndarray of shape (n_samples, n_outputs), default=None
            Array that the encodings are written into, a bounded number of rows at once,
            such as one in a file (:func:`numpy.lib.format.open_memmap`). Its shape and
            dtype must be those of the encodings, and it must share no memory with `X`.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_outputs)
            A dataframe if :meth:`set_output` asks for one; but always `out` itself if
            it is given.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the features are not those of the fit: other widths or names; or if `out`
            cannot take the encodings.

        TypeError
            If `out` is no array of numpy.
        """
        return self.transform_modality(X, "text", out=out)

    def score(self, X, Y=None, y=None, sample_weight=None) -> float:
        """Compute the mean average precision over the whole ranking.

        The items of one modality query those of another one. The score is the mean over
        all ordered pairs of modalities: for pairs, over both directions.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_image_features), \
container of pairs, or mapping of modalities
            Image features, or a container; see :meth:`fit`. A mapping may hold any two
            or more of the fitted modalities.

        Y : {array-like, sparse matrix} of shape (n_samples, n_text_features)
            Text features; the labels where `X` is a container.

        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape \
(n_samples, n_classes)
            Labels.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the queries, where all modalities share their labels.

        Returns
        -------
        score : float
            Between 0 and 1.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the features are not those of the fit: other widths or names, or other
            numbers of rows.
        """
        check_is_fitted(self)
        layout, y = read_arguments(self, X, Y, y, reset=False)
        features = self._reader.read(layout, reset=False)
        if len(features) < 2:
            raise ValueError(
                "score needs two modalities or more, such as a mapping X with the keys "
                f"'image' and 'text'; got {list(features)}."
            )
        if not is_mapping(y):
            check_same_length(features)
        else:
            check_label_names(y, features)
            if sample_weight is not None:
                raise ValueError(
                    "sample_weight needs labels that all modalities share; got a "
                    "mapping of labels."
                )
        return mean_map(
            self._encode_parts(features),
            y,
            metric=self._score_metric,
            sample_weight=sample_weight,
        )

    def get_feature_names_out(self, input_features=None):
        """Return the names of the output columns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Only checked against the features that were passed to `fit`.

        Returns
        -------
        names : ndarray of str objects
            ``image__{name}{i}``, then ``text__{name}{i}``, with the class's name.
        """
        check_is_fitted(self)
        check_input_features(self, input_features, generate_names=False)
        return np.array(
            [
                f"{modality}__{name}"
                for modality in self.modalities_
                for name in self._component_names()
            ],
            dtype=object,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self._requires_labels
        tags.target_tags.one_d_labels = True
        tags.target_tags.two_d_labels = True
        tags.target_tags.multi_output = True
        tags.input_tags.two_d_array = True
        tags.input_tags.dict = True
        tags.input_tags.sparse = True
        tags.non_deterministic = False
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_n_features_out")

    # -- reading ---------------------------------------------------------------

    def _validate_params(self):
        super()._validate_params()
        refuse_boolean_numbers(self)

    @property
    def _reader(self):
        return self._make_reader(self._other_readers())

    def _make_reader(self, other_readers):
        return FeatureReader(
            self,
            any_modalities=self._any_modalities,
            region_modalities=self._region_modalities,
            needs_same_regions=self._needs_same_regions,
            encoded_modalities=self._encoded_modalities,
            reserved_names=self._reserved_names,
            other_readers=other_readers,
            leaves_unread=self._leaves_unread,
        )

    def _read_training_set(self, X, Y, y, *, reset=True):
        """Validate the arguments of `fit`.

        Parameters
        ----------
        X, Y, y : see :meth:`fit`

        reset : bool, default=True
            Whether the features define what later ones are compared with.

        Returns
        -------
        features : dict of str to {ndarray, CSR}

        labels : LabelsByModality or None
        """
        layout, y = read_arguments(
            self, X, Y, y, reset=True, requires_labels=self._requires_labels
        )
        features = self._make_reader({}).read(layout, reset=reset)
        if not self._requires_labels:
            return features, None
        features, labels = read_labels(
            y,
            features,
            self,
            missing=self.missing_labels,
            by_modality=self._any_modalities,
        )
        if reset:
            self.classes_ = labels.classes
        return features, labels

    def _other_readers(self):
        """Return what reads queries that are no modality, such as labels, by name."""
        return {}

    # -- encoding --------------------------------------------------------------

    def _encode_parts(self, parts):
        return {name: self._encode_part(X, name) for name, X in parts.items()}

    def _encode_part(self, X, modality, out=None):
        """Encode validated features in the form of the output, a bounded part at once.

        The real values of codes take more memory than the codes.
        """
        n_rows = X.shape[0]
        if out is not None:
            # One row tells, before the work, what all of them look like.
            row = self._represent(self._encode(X[:1], modality))
            check_out(out, X, (n_rows, *row.shape[1:]), row.dtype)
        for part in gen_batches(n_rows, _ROWS_AT_ONCE):
            Z = self._represent(self._encode(X[part], modality))
            if out is None:
                out = np.empty((n_rows, *Z.shape[1:]), Z.dtype)
            out[part] = Z
        return out

    def _component_names(self):
        name = type(self).__name__.lower()
        return [f"{name}{i}" for i in self._component_numbers]

    # -- after a fit -----------------------------------------------------------

    def _warn_of_collapse(self, features):
        """Warn if nearly all training rows of a modality have the same encoding."""
        collapsed = []
        for modality, X in features.items():
            n_rows = X.shape[0]
            n_compared = min(n_rows, _ROWS_COMPARED)
            rows = np.linspace(0, n_rows - 1, n_compared).astype(int)
            Z = self._compared(self._encode(X[rows], modality))
            if not np.isfinite(Z).all():
                collapsed.append(modality)
                continue
            typical = np.median(Z, axis=0)
            length = np.abs(Z).max(axis=1).clip(np.finfo(Z.dtype).tiny)
            is_same = np.abs(Z - typical).max(axis=1) <= self._tolerance * length
            if n_compared > 2 and is_same.mean() >= _MANY_THE_SAME:
                collapsed.append(modality)
        if collapsed:
            warnings.warn(
                f"{type(self).__name__} encodes (nearly) all training rows of "
                f"{collapsed} alike, or not to finite values, so that they can hardly "
                "be told apart. Usual causes are features that are constant, of a very "
                "small or very large scale, or dominated by an outlier. Standardize "
                "them: PairTransformer(image=StandardScaler(), text=StandardScaler()).",
                ConvergenceWarning,
                stacklevel=stacklevel_of_caller(),
            )
