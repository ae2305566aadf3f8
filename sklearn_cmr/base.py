"""Base class of all estimators: arguments, validation, fitting, encoding, output."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import threading
from abc import ABCMeta, abstractmethod
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.model_selection import train_test_split
from sklearn.utils import ClassifierTags, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (
    _check_feature_names_in,
    check_consistent_length,
    check_is_fitted,
)
from skorch.callbacks import Callback
from torch.utils.data import Subset

from sklearn_cmr._inputs import FeatureReaderMixin, check_keys
from sklearn_cmr._labels import check_labels
from sklearn_cmr._outputs import PairOutputMixin
from sklearn_cmr.metrics import mean_average_precision
from sklearn_cmr.pairs import MODALITIES, PairLayout
from sklearn_cmr.training import (
    BatchIterator,
    PairNet,
    Phase,
    RowDataset,
    encode_in_blocks,
)

# Networks are initialised from torch's global generator, which fits in parallel
# threads would otherwise draw from in turns.
_BUILD_LOCK = threading.Lock()
# Held-out rows that are encoded at once.
_VALID_BATCH = 4096


@dataclass
class TrainingTask:
    """What a method gets to define its objective on.

    Attributes
    ----------
    dataset : RowDataset or Subset
        Training rows.

    indicator : uint8 ndarray of shape (n_samples, n_classes)
        Labels of all rows of the underlying data set.

    single_label : bool
        Whether every row has exactly one label.

    make_phase : callable
        :class:`~sklearn_cmr.training.Phase` with the estimator's epochs, batch size
        and validation filled in.
    """

    dataset: RowDataset | Subset
    indicator: np.ndarray
    single_label: bool
    make_phase: partial


class CrossModalTransformer(
    FeatureReaderMixin,
    PairOutputMixin,
    TransformerMixin,
    BaseEstimator,
    metaclass=ABCMeta,
    auto_wrap_output_keys=None,
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
        layout, y = self._read_arguments(X, Y, y, reset=True)
        self._check_callbacks()
        device = _resolve_device(self.device)
        continues = self.warm_start and hasattr(self, "module_")
        features = self._read_features(layout, reset=not continues)
        labels = check_labels(y, self)
        check_consistent_length(*features.values(), labels.indicator)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        if continues:
            self._check_continuation(labels)
        else:
            self.classes_ = labels.classes
            self._n_features_out = self._n_components
            self.module_ = self._build_seeded(features, seed)
            self.history_: list[dict] = []
            self._optimizer_states: dict[str, dict] = {}
        self.module_.to(device)
        dataset = RowDataset(features, labels.indicator, device)
        self._train(self._make_task(dataset, labels, seed), seed)
        return self

    def fit_transform(self, X, Y=None, y=None):
        """Fit to labelled pairs, then encode them.

        Parameters
        ----------
        X, Y, y : see :meth:`fit`

        Returns
        -------
        Z : see :meth:`transform`
        """
        self.fit(X, Y, y)
        return self.transform(X) if y is None or Y is None else self.transform(X, Y)

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
        """
        check_is_fitted(self)
        layout = PairLayout(X, Y)
        parts = self._encode_parts(self._read_features(layout, reset=False))
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
        """
        return self.transform_modality(X, "text")

    def score(self, X, Y=None, y=None, sample_weight=None):
        """Return the mean of the mAP of both directions over the whole ranking.

        Every item queries the items of the other modality.

        Parameters
        ----------
        X, Y, y : see :meth:`fit`

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the queries.

        Returns
        -------
        score : float
            Between 0 and 1.
        """
        check_is_fitted(self)
        layout, y = self._read_arguments(X, Y, y, reset=False)
        features = self._read_features(layout, reset=False)
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
            [f"{m}__{name}" for m in MODALITIES for name in self._component_names()],
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
        if module is not None and _device_of(module).type != "cpu":
            # A model trained on an accelerator must load where there is none.
            state["module_"] = copy.deepcopy(module).cpu()
        return state

    # -- fitting ---------------------------------------------------------------

    def _check_callbacks(self):
        for item in self.callbacks or []:
            callback = item[1] if isinstance(item, tuple) else item
            is_class = isinstance(callback, type) and issubclass(callback, Callback)
            if not is_class and not isinstance(callback, Callback):
                raise TypeError(
                    f"callbacks must hold skorch callbacks, got {callback!r}."
                )

    def _layer_sizes(self, parameter, modality=None):
        """Return the hidden widths that a parameter gives, or gives a modality."""
        sizes = getattr(self, parameter)
        if isinstance(sizes, dict):
            if modality is None or modality not in sizes:
                raise ValueError(
                    f"{parameter} given as a dict must have a key for each modality, "
                    f"{list(MODALITIES)}; got {list(sizes)}."
                )
            sizes = sizes[modality]
        if not np.iterable(sizes) or not all(
            isinstance(size, Integral) and size > 0 for size in sizes
        ):
            raise ValueError(
                f"{parameter} must be a sequence of positive integers, got {sizes!r}."
            )
        return tuple(sizes)

    def _check_continuation(self, labels):
        if self._n_components != self._n_features_out:
            raise ValueError(
                "warm_start=True continues with the same outputs: expected "
                f"{self._n_features_out} for each modality, got {self._n_components}. "
                "Set warm_start=False to start anew."
            )
        if not np.array_equal(labels.classes, self.classes_):
            raise ValueError(
                "warm_start=True continues with the same classes: expected "
                f"{self.classes_.tolist()}, got {labels.classes.tolist()}. Set "
                "warm_start=False to start anew."
            )

    def _build_seeded(self, features, seed):
        n_features = {name: part.shape[1] for name, part in features.items()}
        with _BUILD_LOCK, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self._build(n_features, len(self.classes_))

    def _make_task(self, dataset, labels, seed):
        train, validation = dataset, {}
        if self.early_stopping:
            train_rows, valid_rows = self._split_rows(labels, seed)
            train, held_out = Subset(dataset, train_rows), Subset(dataset, valid_rows)
            score = partial(
                self._valid_map, dataset=held_out, y=labels.indicator[valid_rows]
            )
            validation = {"dataset_valid": held_out, "score_valid": score}
        make_phase = partial(
            Phase,
            dataset=train,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            **validation,
        )
        return TrainingTask(
            train, labels.indicator, labels.has_single_labels, make_phase
        )

    def _split_rows(self, labels, seed):
        """Hold out rows for early stopping: shuffled, and stratified by class."""
        rows = np.arange(len(labels.indicator))
        try:
            return train_test_split(
                rows,
                test_size=self.validation_fraction,
                stratify=labels.codes,
                random_state=seed,
            )
        except ValueError as error:
            raise ValueError(
                f"early_stopping=True holds out validation_fraction="
                f"{self.validation_fraction} of {len(rows)} rows, stratified by class, "
                f"which is not possible: {str(error).rstrip('.')}. Use more rows, "
                "another validation_fraction, or early_stopping=False."
            ) from error

    def _train(self, task, seed):
        net = PairNet(
            self.module_,
            seed=seed,
            epochs=self.history_,
            optimizer_states=self._optimizer_states,
            patience=self.n_iter_no_change if self.early_stopping else None,
            tol=self.tol,
            label=type(self).__name__,
            callbacks=self.callbacks,
            verbose=int(self.verbose),
            device=str(_device_of(self.module_)),
        )
        try:
            net.fit_phases(self._objective(self.module_, task))
        finally:
            self.module_.eval()
            self.n_iter_ = len(self.history_)
            self.loss_curve_ = [row["train_loss"] for row in self.history_]
        if self.warm_start:
            self._optimizer_states = _copy_to_cpu(net.optimizer_states_)
        self._review_history()

    def _valid_map(self, module, dataset, y):
        encoded = {modality: [] for modality in MODALITIES}
        with torch.inference_mode():
            for batch in BatchIterator(dataset, _VALID_BATCH):
                for modality, parts in encoded.items():
                    Z = self._encode(module, modality, batch.features[modality])
                    parts.append(Z.cpu().numpy())
        return self._mean_map({m: np.concatenate(Z) for m, Z in encoded.items()}, y)

    # -- encoding --------------------------------------------------------------

    def _encode_parts(self, parts):
        return {
            modality: self._apply_in_blocks(self._encode, modality, X)
            for modality, X in parts.items()
        }

    def _apply_in_blocks(self, function, modality, X):
        function = partial(function, self.module_, modality)
        return encode_in_blocks(function, X, _device_of(self.module_))

    def _mean_map(self, parts, y, **kwargs):
        score = partial(
            mean_average_precision,
            y_query=y,
            y_gallery=y,
            metric=self._score_metric(),
            **kwargs,
        )
        Z_img, Z_txt = parts["image"], parts["text"]
        return float((score(Z_img, Z_txt) + score(Z_txt, Z_img)) / 2)

    def _score_metric(self):
        """Return how `score` ranks; chosen by the dtype of the output by default."""
        return "auto"

    def _component_names(self):
        name = type(self).__name__.lower()
        return [f"{name}{i}" for i in range(self._n_features_out)]


class LabelProbabilityMixin:
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
        """
        check_is_fitted(self)
        if modality is None:
            parts = self._read_features(PairLayout(X, Y), reset=False)
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

    @property
    def _n_components(self):
        return self.embedding_dim

    def _score_metric(self):
        return self.metric

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _device_of(module):
    return next(module.parameters()).device


def _resolve_device(device):
    """Return the torch device for a constructor argument; check that it is there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={device!r} cannot be used: {str(error).rstrip('.')}. Use 'auto', "
            "'cpu', or a device that torch sees here."
        ) from error
    return resolved


def _copy_to_cpu(value):
    """Copy the tensors in nested dicts and lists to the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: _copy_to_cpu(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy_to_cpu(item) for item in value]
    return value
