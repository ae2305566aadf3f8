"""What happens in `fit` between validated arguments and the engine."""

# SPDX-License-Identifier: BSD-3-Clause

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from skorch.callbacks import Callback, EarlyStopping
from torch.utils.data import Subset

from sklearn_cmr._inputs.arguments import read_arguments
from sklearn_cmr._inputs.labels import read_labels
from sklearn_cmr._inputs.layout import MODALITIES
from sklearn_cmr.training import (
    BatchIterator,
    PairNet,
    Phase,
    RowDataset,
    UnpairedDataset,
)

# Networks are initialised from torch's global generator, which fits in parallel
# threads would otherwise draw from in turns.
_BUILD_LOCK = threading.Lock()
# Held-out rows that are encoded at once.
VALID_BATCH = 256
# An adversary counts as unbeaten above this accuracy, after so many epochs.
_UNBEATEN_ACCURACY = 0.999
_UNBEATEN_EPOCHS = 5


@dataclass
class TrainingTask:
    """What a method gets to define its objective on.

    Attributes
    ----------
    dataset : RowDataset, Subset or UnpairedDataset
        Training rows.

    indicator : uint8 ndarray of shape (n_samples, n_classes)
        Labels of all rows of the underlying data set.

    single_label : bool
        Whether every row has exactly one label.

    make_phase : callable
        :class:`~sklearn_cmr.training.Phase` with the estimator's epochs, batch size
        and validation filled in.

    dataset_valid : RowDataset, Subset, UnpairedDataset or None
        Held-out rows.
    """

    dataset: RowDataset | Subset | UnpairedDataset
    indicator: np.ndarray
    single_label: bool
    make_phase: partial
    dataset_valid: RowDataset | Subset | UnpairedDataset | None = None


class Trainer(BaseEstimator):
    """The part of :class:`CrossModalTransformer` that builds, splits and trains."""

    # What shapes the networks, and so cannot change in a warm start.
    _network_parameters: tuple[str, ...] = ("hidden_layer_sizes",)
    _network_settings: dict[str, Any]
    _optimizer_states: dict[str, dict]

    def _check_callbacks(self):
        for item in self.callbacks or []:
            callback = item[1] if isinstance(item, tuple) else item
            is_class = isinstance(callback, type) and issubclass(callback, Callback)
            if not is_class and not isinstance(callback, Callback):
                raise TypeError(
                    f"callbacks must hold skorch callbacks, got {callback!r}."
                )
            if isinstance(callback, EarlyStopping) and not self.early_stopping:
                if str(callback.monitor).startswith("valid"):
                    raise ValueError(
                        f"The callback EarlyStopping watches {callback.monitor!r}, "
                        "which is recorded with early_stopping=True only. Set it on "
                        "the estimator, or watch 'train_loss'."
                    )

    def _layer_sizes(self, parameter, modality=None):
        """Return the hidden widths that a parameter gives, or gives a modality."""
        sizes = self._value_for(parameter, modality)
        if not np.iterable(sizes) or not all(
            isinstance(size, Integral) and int(size) > 0 for size in sizes
        ):
            raise ValueError(
                f"{parameter} must be a sequence of positive integers, got {sizes!r}."
            )
        return tuple(sizes)

    def _value_for(self, parameter, modality):
        """Return what a parameter, maybe a dict by modality, says of one modality."""
        value = getattr(self, parameter)
        if not isinstance(value, dict):
            return value
        if modality is None or set(value) != set(MODALITIES):
            raise ValueError(
                f"{parameter} given as a dict must have a key for each modality, "
                f"{list(MODALITIES)}; got {list(value)}."
            )
        return value[modality]

    def _read_network_settings(self):
        return {name: _freeze(getattr(self, name)) for name in self._network_parameters}

    def _check_continuation(self, labels):
        for name, value in self._read_network_settings().items():
            fitted = self._network_settings[name]
            if isinstance(value, dict) and isinstance(fitted, dict):
                # It may name modalities to come.
                value = {key: value[key] for key in fitted if key in value}
            if value != fitted:
                raise ValueError(
                    "warm_start=True continues with the same networks: expected "
                    f"{name}={fitted!r}, got {value!r}. Set warm_start=False to start "
                    "anew."
                )
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
        n_features = {name: part.shape[-1] for name, part in features.items()}
        with seeded_building(seed):
            return self._build(n_features, len(self.classes_))

    def _read_training_set(self, X, Y, y, *, reset):
        """Validate the arguments of `fit`; return features by modality, and labels."""
        layout, y = read_arguments(self, X, Y, y, reset=True)
        if reset:
            # Should this fit fail from here on, no earlier one must seem to be fitted.
            self.__dict__.pop("module_", None)
        features = self._reader().read(layout, reset=reset)
        features, labels = read_labels(
            y,
            features,
            self,
            missing=getattr(self, "missing_labels", "raise"),
            by_modality=self._any_modalities,
        )
        if not self._any_modalities:
            labels = labels.parts["image"]
        return features, labels

    def _make_task(self, features, labels, device, seed):
        """Put the training set on the device and hold rows out where asked to."""
        dataset = RowDataset(features, labels.indicator, device)
        if not self.early_stopping:
            return self._define_task(dataset, labels)
        train_rows, valid_rows = self._split_rows(labels, seed)
        train, held_out = Subset(dataset, train_rows), Subset(dataset, valid_rows)
        return self._define_task(train, labels, held_out, labels.indicator[valid_rows])

    def _define_task(self, train, labels, held_out=None, y_held_out=None):
        """Say what to train on, and what to judge it by if there is anything."""
        validation: dict[str, Any] = {}
        if held_out is not None:
            validation = self._validation(held_out, y_held_out)
        make_phase = partial(
            Phase,
            dataset=train,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            **validation,
        )
        return TrainingTask(
            train, labels.indicator, labels.has_single_labels, make_phase, held_out
        )

    def _validation(self, held_out, y):
        """Return the fields of a phase that say how held-out rows are judged."""
        score = partial(self._valid_map, dataset=held_out, y=y)
        return {"dataset_valid": held_out, "score_valid": score}

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
            keep_optimizers=self.warm_start,
            patience=self.n_iter_no_change if self.early_stopping else None,
            tol=self.tol,
            label=type(self).__name__,
            callbacks=self.callbacks,
            verbose=int(self.verbose),
            device=str(device_of(self.module_)),
        )
        try:
            net.fit_phases(self._objective(self.module_, task))
            self._keep_optimizers(net)
        except KeyboardInterrupt:
            self._keep_optimizers(net)
            raise
        except FloatingPointError:
            # What a fit that diverges leaves behind is nothing to continue from.
            self._optimizer_states = {}
            raise
        finally:
            self.module_.eval()
            self.n_iter_ = len(self.history_)
            self.loss_curve_ = [row["train_loss"] for row in self.history_]
        self._review_history()

    def _keep_optimizers(self, net):
        if self.warm_start:
            self._optimizer_states |= _copy_to_cpu(net.optimizer_states_)

    def _valid_map(self, module, dataset, y):
        encoded: dict[str, list] = {modality: [] for modality in self._modality_names}
        with torch.inference_mode():
            for batch in BatchIterator(dataset, VALID_BATCH):
                for modality, parts in encoded.items():
                    Z = self._encode(module, modality, batch.features[modality])
                    parts.append(Z.cpu().numpy())
        return self._mean_map({m: np.concatenate(Z) for m, Z in encoded.items()}, y)


@contextmanager
def seeded_building(seed):
    """Let networks be initialised from a seed, the caller's generators untouched."""
    with _BUILD_LOCK, torch.random.fork_rng(devices=[]):
        # The generator of the CPU alone: those of accelerators are the caller's.
        torch.default_generator.manual_seed(seed)
        yield


def is_unbeaten(epochs, accuracy):
    """Tell whether an adversary has hardly erred in the second half of the epochs.

    Parameters
    ----------
    epochs : list of dict
        Rows of the history; those in which it has not played do not count.

    accuracy : str
        What its accuracy is called there.
    """
    accuracies = [row[accuracy] for row in epochs if accuracy in row]
    recent = accuracies[len(accuracies) // 2 :]
    return len(recent) >= _UNBEATEN_EPOCHS and min(recent) > _UNBEATEN_ACCURACY


def device_of(module):
    """Return the device that a module's parameters are on."""
    return next(module.parameters()).device


def resolve_device(device):
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


def _freeze(value):
    """Return what a parameter says now, lists as the tuples that mean the same."""
    if isinstance(value, dict):
        return {key: _freeze(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return tuple(value)
    return value


def _copy_to_cpu(value):
    """Copy the tensors in nested dicts and lists to the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: _copy_to_cpu(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy_to_cpu(item) for item in value]
    return value
