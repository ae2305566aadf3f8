"""Any number of modalities by name, whose rows need not be pairs."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import math
import warnings
import zlib
from abc import ABCMeta, abstractmethod
from collections.abc import Mapping
from functools import partial
from itertools import permutations
from numbers import Real

import numpy as np
import torch
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklearn_cmr._fitting import VALID_BATCH, resolve_device, seeded_building
from sklearn_cmr._inputs.arguments import read_arguments
from sklearn_cmr._inputs.labels import Labels, check_label_names, read_labels
from sklearn_cmr._inputs.layout import PairLayout, check_same_length, is_mapping
from sklearn_cmr.base import CrossModalTransformer
from sklearn_cmr.metrics import mean_average_precision
from sklearn_cmr.training import (
    BatchIterator,
    RowDataset,
    UnpairedDataset,
    indicator_of,
    joint_sampler,
    parts_of,
)
from sklearn_cmr.training.batches import in_order

# What the training of one more modality leaves beside its networks.
_CHANGED_BY_ADDING = (
    "history_",
    "n_iter_",
    "loss_curve_",
    "_optimizer_states",
    "_n_regions_in",
)


class UnpairedMixin(CrossModalTransformer, metaclass=ABCMeta):
    """Reading of modalities that have rows and labels of their own.

    A method that needs no pairs inherits it, or :class:`SeparateTrainingMixin` if it
    trains every modality apart. Its `_make_task` gets the labels as
    :class:`LabelsByModality`.
    """

    modalities_: tuple[str, ...]

    _any_modalities = True
    # Whether a modality learns without the others.
    _trains_apart = False

    # -- public API ------------------------------------------------------------

    def fit(self, X, Y=None, y=None):
        """Learn from labelled pairs, or from modalities with labels of their own.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_image_features), \
                container of pairs, or mapping of modalities
            Image features; or a container of both modalities, see
            :func:`~sklearn_cmr.make_pairs`; or a mapping from any names of modalities,
            one or more, to their features.

        Y : {array-like, sparse matrix} of shape (n_samples, n_text_features)
            Text features; the labels where `X` is a container or a mapping: one for
            all modalities, or a mapping from each name to its labels. With a mapping,
            the modalities may have any number of rows each.

        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape \
                (n_samples, n_classes)
            Classes, or an indicator of the labels of each row.

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
        return super().fit(X, Y, y)

    def score(self, X, Y=None, y=None, sample_weight=None):
        """Return the mean mAP over all ordered pairs of modalities.

        The items of one modality query those of another one over the whole ranking.

        Parameters
        ----------
        X, Y, y : see :meth:`fit`
            A mapping may hold any two or more of the fitted modalities.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the queries, where all modalities share their labels.

        Returns
        -------
        score : float
            Between 0 and 1.
        """
        check_is_fitted(self)
        layout, y = read_arguments(self, X, Y, y, reset=False)
        features = self._reader().read(layout, reset=False)
        if len(features) < 2:
            raise ValueError(
                f"score needs two modalities or more; got {list(features)}."
            )
        if not is_mapping(y):
            check_same_length(features)
            parts = self._encode_parts(features)
            return self._mean_map(parts, y, sample_weight=sample_weight)
        if sample_weight is not None:
            raise ValueError("sample_weight needs labels that all modalities share.")
        check_label_names(y, features)
        parts = self._encode_parts(features)
        score = partial(mean_average_precision, metric=self._score_metric())
        directions = permutations(parts, 2)
        return float(
            np.mean([score(parts[q], parts[g], y[q], y[g]) for q, g in directions])
        )

    # -- training --------------------------------------------------------------

    def _check_continuation(self, labels):
        super()._check_continuation(labels)
        if not self._trains_apart and set(labels.parts) != set(self.modalities_):
            raise ValueError(
                "warm_start=True continues with the same modalities, which learn from "
                f"each other: expected {list(self.modalities_)}, got "
                f"{list(labels.parts)}. Set warm_start=False to start anew."
            )

    def _value_for(self, parameter, modality):
        value = getattr(self, parameter)
        if not isinstance(value, Mapping):
            return value
        if modality not in value:
            raise ValueError(
                f"{parameter} given as a dict must have a key for each modality; got "
                f"{list(value)}, which lacks {modality!r}."
            )
        return value[modality]

    def _learning_rate(self, modality):
        lr = self._value_for("lr", modality)
        if not isinstance(lr, Real) or not 0 < float(lr) < math.inf:
            raise ValueError(
                f"lr of {modality!r} must be a positive number, got {lr!r}."
            )
        return lr


class JointTrainingMixin(UnpairedMixin, metaclass=ABCMeta):
    """Training of all modalities together, whether their rows are pairs or not.

    `_objective` gets one :class:`~sklearn_cmr._fitting.TrainingTask`. If the labels are
    shared, rows are aligned; otherwise its data sets draw the rows of every modality
    independently of the others. Held-out rows are judged by the mean mAP of all ordered
    pairs of modalities.
    """

    def _make_task(self, features, labels, device, seed):
        make_task = super()._make_task
        if labels.shared:
            first, *_ = labels.parts.values()
            return make_task(features, first, device, seed)
        tasks = {
            name: make_task({name: part}, labels.parts[name], device, seed)
            for name, part in features.items()
        }
        indicators = [part.indicator for part in labels.parts.values()]
        joined = Labels(labels.classes, np.concatenate(indicators), None)
        train = UnpairedDataset({name: task.dataset for name, task in tasks.items()})
        held_out = None
        if self.early_stopping:
            held_out = UnpairedDataset(
                {name: task.dataset_valid for name, task in tasks.items()}
            )
        return self._define_task(train, joined, held_out)

    def _validation(self, held_out, y):
        return {
            "dataset_valid": held_out,
            "score_valid": partial(self._cross_map, datasets=parts_of(held_out)),
            "sampler_valid": joint_sampler(held_out, lambda part: in_order),
        }

    def _cross_map(self, module, datasets):
        """Return the mean mAP over ordered pairs of modalities, with data sets each."""
        codes = {
            name: encode_rows(module, self._encode, name, dataset)
            for name, dataset in datasets.items()
        }
        y = {name: indicator_of(dataset) for name, dataset in datasets.items()}
        return self._mean_map_across(codes, codes, y)

    def _mean_map_across(self, queries, gallery, y):
        """Return the mean mAP of queries that rank what another modality has.

        Parameters
        ----------
        queries, gallery, y : dict of str to ndarray
            By modality; not all of them need have something to be ranked.
        """
        score = partial(mean_average_precision, metric=self._score_metric())
        with warnings.catch_warnings():
            # Without pairs, some class may be missing in a modality.
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            scores = [
                score(queries[q], gallery[g], y[q], y[g])
                for q, g in permutations(queries, 2)
                if g in gallery
            ]
        return float(np.mean(scores))


def encode_rows(module, encode, modality, dataset):
    """Encode all rows of a data set of one modality."""
    with torch.inference_mode():
        parts = [
            encode(module, modality, batch.features[modality]).cpu().numpy()
            for batch in BatchIterator(dataset, VALID_BATCH)
        ]
    return np.concatenate(parts)


class SeparateTrainingMixin(UnpairedMixin, metaclass=ABCMeta):
    """Training of every modality apart, and adding one later.

    The module has the networks by modality as child "networks". `_objective` gets a
    dict of :class:`~sklearn_cmr._fitting.TrainingTask` by modality, and trains no more
    than the modalities in there. Held-out rows are judged by their loss.
    """

    _trains_apart = True
    # The held-out rows are for direct calls: metadata routing does not pass them on.
    __metadata_request__fit = {"X_val": UNUSED, "y_val": UNUSED}
    _validation_set: tuple = (None, None)

    @abstractmethod
    def _build_network(self, modality, n_inputs):
        """Return the network of one modality, with weights from torch's generator."""

    def fit(self, X, Y=None, y=None, *, X_val=None, y_val=None):
        """Learn from labelled pairs, or from modalities with labels of their own.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_image_features), \
                container of pairs, or mapping of modalities
            Image features; or a container of both modalities, see
            :func:`~sklearn_cmr.make_pairs`; or a mapping from any names of modalities,
            one or more, to their features.

        Y : {array-like, sparse matrix} of shape (n_samples, n_text_features)
            Text features; the labels where `X` is a container or a mapping: one for
            all modalities, or a mapping from each name to its labels. With a mapping,
            the modalities may have any number of rows each.

        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape \
                (n_samples, n_classes)
            Classes, or an indicator of the labels of each row.

        X_val : container of pairs, or mapping of modalities, default=None
            Held-out rows for `early_stopping`. Of a modality that is not in there,
            `validation_fraction` of its rows in `X` are held out.

        y_val : array-like, or mapping, default=None
            Their labels, of the classes in `y`: one for all modalities, or a mapping.

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
        if (X_val is None) != (y_val is None):
            raise ValueError("Pass X_val and y_val together, or neither of them.")
        if X_val is not None and not self.early_stopping:
            raise ValueError(
                "X_val and y_val are for early stopping: set early_stopping=True."
            )
        self._validation_set = X_val, y_val
        try:
            return super().fit(X, Y, y)
        finally:
            del self._validation_set

    def add_modality(self, name, X, y):
        """Learn one more modality; what is fitted already stays as it is, bit by bit.

        Parameters
        ----------
        name : str
            Name of the new modality.

        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Its features.

        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape \
                (n_samples, n_classes)
            Its labels, of the classes known from :meth:`fit`.

        Returns
        -------
        self : object
            The estimator.
        """
        check_is_fitted(self)
        part = self._reader().read_new_modality(X, name)
        features, own = read_labels(
            y,
            {name: part},
            self,
            classes=self.classes_,
            missing=getattr(self, "missing_labels", "raise"),
        )
        device = resolve_device(self.device)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        tasks = self._make_task(features, own, device, seed)
        before = {key: copy.copy(self.__dict__[key]) for key in _CHANGED_BY_ADDING}
        shape = features[name].shape
        if len(shape) == 3:
            self._n_regions_in[name] = shape[1]
        networks = self.module_["networks"]
        try:
            with seeded_building(seed):
                networks.update(self._build_networks({name: shape[-1]}))
            self.module_.to(device)
            self._train(tasks, seed)
        except BaseException:
            if name in networks:
                del networks[name]
            self.__dict__.update(before)
            raise
        self._reader().remember_modality(X, features[name], name)
        return self

    def _build_networks(self, n_features):
        """Build a network for each modality from the seed and its name alone."""
        seed = torch.initial_seed()
        networks = nn.ModuleDict()
        for name, n_inputs in n_features.items():
            torch.default_generator.manual_seed(seed + zlib.crc32(name.encode()))
            networks[name] = self._build_network(name, n_inputs)
        torch.default_generator.manual_seed(seed)
        return networks

    def _encode(self, module, modality, X):
        return module["networks"][modality](X)

    def _make_task(self, features, labels, device, seed):
        held_out = self._read_validation_set(device)
        tasks = {}
        for name, part in features.items():
            own, part = labels.parts[name], {name: part}
            if name in held_out:
                train = RowDataset(part, own.indicator, device)
                tasks[name] = self._define_task(train, own, held_out[name])
            else:
                tasks[name] = super()._make_task(part, own, device, seed)
        return tasks

    def _read_validation_set(self, device):
        """Return the data sets of the modalities that `fit` got held-out rows of."""
        X_val, y_val = self._validation_set
        if X_val is None:
            return {}
        features = self._reader().read(PairLayout(X_val), reset=False)
        _, labels = read_labels(
            y_val, features, self, classes=self.classes_, by_modality=True
        )
        held_out = {}
        for name, part in features.items():
            indicator = labels.parts[name].indicator
            held_out[name] = RowDataset({name: part}, indicator, device)
        return held_out

    def _validation(self, held_out, y):
        return {"dataset_valid": held_out}
