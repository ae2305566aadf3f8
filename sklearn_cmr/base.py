"""Base class of all estimators: arguments, validation, fitting, encoding, output."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from functools import partial
from itertools import permutations
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import TransformerMixin, _fit_context
from sklearn.utils import ClassifierTags, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (
    _check_feature_names_in,
    check_is_fitted,
)

from sklearn_cmr._fitting import Trainer, device_of, resolve_device
from sklearn_cmr._inputs.arguments import read_arguments, split_arguments
from sklearn_cmr._inputs.features import FeatureReader
from sklearn_cmr._inputs.layout import PairLayout, check_keys, check_same_length
from sklearn_cmr._inputs.outputs import PairOutputMixin
from sklearn_cmr.metrics import mean_average_precision
from sklearn_cmr.training import encode_in_blocks


class CrossModalTransformer(
    PairOutputMixin,
    TransformerMixin,
    Trainer,
    metaclass=ABCMeta,
    auto_wrap_output_keys=None,  # type: ignore[call-arg]
):
    """Learn to encode two modalities so that items with common labels are close.

    A method subclasses it and writes `_build`, `_objective` and, where encoding is
    more than a call of the modality's network, `_encode`. The parameters named in
    `_parameter_constraints` here belong to every method.
    """

    _parameter_constraints: dict = {
        "hidden_layer_sizes": ["array-like", dict],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "device": [str, torch.device],
        "callbacks": [list, None],
        "n_image_features": [Interval(Integral, 1, None, closed="left"), None],
    }

    # -- hooks of a method -----------------------------------------------------

    @abstractmethod
    def _build(self, n_features, n_classes):
        """Return the module: all that learns, as named children.

        Parameters
        ----------
        n_features : dict of str to int
            Width of each modality.

        n_classes : int

        Returns
        -------
        module : torch.nn.ModuleDict
            Has, or lets `_encode` reach, a network for each modality.
        """

    @abstractmethod
    def _objective(self, module, task):
        """Return or yield the :class:`~sklearn_cmr.training.Phase` s of the training.

        Parameters
        ----------
        module : torch.nn.Module
            What `_build` returned, on the device.

        task : TrainingTask
        """

    def _encode(self, module, modality, X):
        """Encode a float32 tensor of one modality."""
        return module[modality](X)

    def _review_history(self):
        """Look at `history_` after the training and warn of what went wrong."""

    # -- public API ------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, Y=None, y=None):
        """Learn from labelled pairs.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_image_features), \
                or container of pairs
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

        TypeError
            If a container comes with two more arguments.

        FloatingPointError
            If a loss becomes infinite or NaN; the last finite weights are in `module_`.
        """
        self._check_callbacks()
        device = resolve_device(self.device)
        continues = self.warm_start and hasattr(self, "module_")
        features, labels = self._read_training_set(X, Y, y, reset=not continues)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        if continues:
            self._check_continuation(labels)
        else:
            self.classes_ = labels.classes
            self._n_features_out = self._n_components
            self.module_ = self._build_seeded(features, seed)
            self._network_settings = self._read_network_settings()
            self.history_: list[dict] = []
            self._optimizer_states = {}
        self.module_.to(device)
        try:
            self._train(self._make_task(features, labels, device, seed), seed)
        except (TypeError, ValueError):
            if not self.history_:
                # Arguments that allow no training must leave no networks to use.
                del self.module_
            raise
        return self

    def fit_transform(self, X, Y=None, y=None):
        """Fit to labelled pairs, then encode them.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_image_features), \
                or container of pairs
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
        """Encode pairs, or the one modality of a mapping with one key.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_image_features), \
                or container of pairs
            Image features, or a container as in :meth:`fit`, of any kind whatever
            the estimator was fitted on.

        Y : {array-like, sparse matrix} of shape (n_samples, n_text_features), \
                default=None
            Text features, if `X` is no container.

        Returns
        -------
        Z : tuple of arrays, or container like `X`
            Encoded modalities, each of shape (n_samples, n_components). Two arrays give
            a tuple, a mapping one of the same type with the same keys, a paired
            dataframe one of the same layout and index, one matrix the encoded image and
            text side by side.

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
        parts = self._encode_parts(self._reader().read(layout, reset=False))
        names = dict.fromkeys(parts, self._component_names())
        return layout.join(parts, names, self._output_adapter())

    def transform_modality(self, X, modality):
        """Encode one modality alone.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Features of that modality.

        modality : str
            Its name: ``"image"`` or ``"text"``.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            A dataframe if :meth:`set_output` asks for one.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the features are not those of the fit: other widths or names, or other
            numbers of rows.
        """
        check_is_fitted(self)
        features = self._read_modality(X, modality)
        Z = self._encode_parts({modality: features})[modality]
        adapter = self._output_adapter()
        if adapter is None:
            return Z
        columns = [f"{modality}__{name}" for name in self._component_names()]
        return adapter.create_container(Z, X, columns=columns)

    def transform_image(self, X):
        """Encode images alone.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape \
                (n_samples, n_image_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the features are not those of the fit: other widths or names, or other
            numbers of rows.
        """
        return self.transform_modality(X, "image")

    def transform_text(self, X):
        """Encode texts alone.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape \
                (n_samples, n_text_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the features are not those of the fit: other widths or names, or other
            numbers of rows.
        """
        return self.transform_modality(X, "text")

    def score(self, X, Y=None, y=None, sample_weight=None):
        """Return the mean of the mAP of both directions over the whole ranking.

        Every item queries the items of the other modality.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_image_features), \
                or container of pairs
            Image features, or a container; see :meth:`fit`.

        Y : {array-like, sparse matrix} of shape (n_samples, n_text_features)
            Text features; the labels where `X` is a container.

        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape \
                (n_samples, n_classes)
            Labels.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the queries.

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
        features = self._reader().read(layout, reset=False)
        check_keys(features, need_both=True)
        parts = self._encode_parts(features)
        return self._mean_map(parts, y, sample_weight=sample_weight)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the output columns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Only checked against the features that were passed to `fit`.

        Returns
        -------
        names : ndarray of str objects of shape (2 * n_components,)
            ``image__{name}{i}``, then ``text__{name}{i}``, with the class's name.
        """
        check_is_fitted(self)
        _check_feature_names_in(self, input_features, generate_names=False)
        return np.array(
            [
                f"{modality}__{name}"
                for modality in self._modality_names
                for name in self._component_names()
            ],
            dtype=object,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.one_d_labels = True
        tags.target_tags.two_d_labels = True
        tags.target_tags.multi_output = True
        tags.input_tags.two_d_array = True
        tags.input_tags.dict = True
        tags.input_tags.sparse = True
        tags.non_deterministic = False
        return tags

    def __sklearn_is_fitted__(self):
        # A fit that failed may have left attributes that end in an underscore.
        return hasattr(self, "module_")

    def __getstate__(self):
        state = super().__getstate__().copy()
        module = state.get("module_")
        if module is not None and device_of(module).type != "cpu":
            # A model trained on an accelerator must load where there is none.
            state["module_"] = copy.deepcopy(module).cpu()
        return state

    # -- reading ---------------------------------------------------------------

    _any_modalities = False
    _region_modalities: tuple[str, ...] = ()
    _needs_same_regions = False

    def _reader(self):
        return FeatureReader(
            self,
            any_modalities=self._any_modalities,
            region_modalities=self._region_modalities,
            needs_same_regions=self._needs_same_regions,
            reserved_names=dir(torch.nn.ModuleDict),
        )

    def _read_modality(self, X, modality):
        return self._reader().read_modality(X, modality)

    @property
    def _modality_names(self):
        return self._reader().modality_names

    # -- encoding --------------------------------------------------------------

    def _encode_parts(self, parts):
        return {
            modality: self._apply_in_blocks(self._encode, modality, X)
            for modality, X in parts.items()
        }

    def _apply_in_blocks(self, function, modality, X):
        function = partial(function, self.module_, modality)
        return encode_in_blocks(function, X, device_of(self.module_))

    def _mean_map(self, parts, y, **kwargs):
        score = partial(
            mean_average_precision,
            y_query=y,
            y_gallery=y,
            metric=self._score_metric(),
            **kwargs,
        )
        return float(
            np.mean([score(*pair) for pair in permutations(parts.values(), 2)])
        )

    def _score_metric(self):
        """Return how `score` ranks; chosen by the dtype of the output by default."""
        return "auto"

    def _component_names(self):
        name = type(self).__name__.lower()
        return [f"{name}{i}" for i in range(self._n_features_out)]


class LabelProbabilityMixin(CrossModalTransformer, metaclass=ABCMeta):
    """Class probabilities from the label head that a method trains."""

    @abstractmethod
    def _label_probabilities(self, module, modality, X):
        """Return the probabilities for a float32 tensor of one modality."""

    def predict_proba(self, X, Y=None, *, modality=None):
        """Return the probabilities of the labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or container
            As in :meth:`transform`; the features of one modality if it is named.

        Y : {array-like, sparse matrix} of shape (n_samples, n_text_features), \
                default=None
            Text features, if `X` is no container.

        modality : str, default=None
            Which modality `X` is. None takes pairs and averages what is said of the
            image and of the text.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the features are not those of the fit: other widths or names, or other
            numbers of rows.
        """
        check_is_fitted(self)
        if modality is None:
            parts = self._reader().read(PairLayout(X, Y), reset=False)
            check_same_length(parts)
        elif Y is not None:
            raise TypeError(
                "With modality given, pass the features of that modality alone."
            )
        else:
            parts = {modality: self._read_modality(X, modality)}
        by_modality = [
            self._apply_in_blocks(self._label_probabilities, name, part)
            for name, part in parts.items()
        ]
        return np.mean(by_modality, axis=0)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # No classifier, but scikit-learn reads these of all that give probabilities.
        tags.classifier_tags = ClassifierTags(multi_label=True)
        return tags


class ProjectorMixin:
    """What the estimators with a real-valued common space share."""

    _parameter_constraints: dict = {
        "embedding_dim": [Interval(Integral, 1, None, closed="left")],
        "metric": [StrOptions({"cosine", "euclidean"})],
    }
    embedding_dim: int
    metric: str

    @property
    def _n_components(self):
        return self.embedding_dim

    def _score_metric(self):
        return self.metric

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


class HasherMixin(CrossModalTransformer, metaclass=ABCMeta):
    """What the estimators with binary codes share.

    A method writes `_relaxed_codes`; their signs, with that of 0 positive, are the
    codes.
    """

    _parameter_constraints: dict = {
        **CrossModalTransformer._parameter_constraints,
        "n_bits": [Interval(Integral, 1, None, closed="left")],
        "output": [StrOptions({"sign", "packed"})],
    }
    n_bits: int
    output: str

    @abstractmethod
    def _relaxed_codes(self, module, modality, X):
        """Return the real-valued codes, of shape (b, n_bits), of one modality."""

    def encode(self, X, modality, *, output="sign"):
        """Encode one modality alone, in the form that is asked for.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Features of that modality.

        modality : str
            Its name: ``"image"`` or ``"text"``.

        output : {"sign", "bool", "packed", "real"}, default="sign"
            Codes of -1 and +1 (int8), of False and True, as packed bits (uint8, the
            first bit the most significant one, padded with 0 to whole bytes), or the
            real values in [-1, 1] whose signs they are (float32).

        Returns
        -------
        codes : ndarray of shape (n_samples, n_bits), or (n_samples, ceil(n_bits / 8))

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the features are not those of the fit, or `output` is unknown.
        """
        check_is_fitted(self)
        part = self._read_modality(X, modality)
        return self._encode_as(output, self._relaxed_codes, modality, part)

    def _encode_as(self, output, relaxed_codes, modality, X):
        if output not in _CODE_FORMS:
            raise ValueError(
                f"output must be one of {list(_CODE_FORMS)}, got {output!r}."
            )
        return _CODE_FORMS[output](self._apply_in_blocks(relaxed_codes, modality, X))

    def _encode(self, module, modality, X):
        # Signs are taken in every block: an eighth of the memory of real codes.
        is_positive = self._relaxed_codes(module, modality, X) >= 0
        return is_positive.to(torch.int8) * 2 - 1

    def _encode_parts(self, parts):
        codes = super()._encode_parts(parts)
        if self.output == "packed":
            return {name: _pack(part) for name, part in codes.items()}
        return codes

    @property
    def _n_components(self):
        return self.n_bits

    def _component_names(self):
        names = super()._component_names()
        # Each column of packed codes is named by its first bit.
        return names[::8] if self.output == "packed" else names

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags


def _pack(codes):
    return np.packbits(codes >= 0, axis=1)


_CODE_FORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sign": lambda relaxed: np.where(relaxed >= 0, np.int8(1), np.int8(-1)),
    "bool": lambda relaxed: relaxed >= 0,
    "packed": _pack,
    "real": lambda relaxed: relaxed,
}
