"""Base class of the estimators that train networks."""

# SPDX-License-Identifier: BSD-3-Clause

import math
import os
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning, UndefinedMetricWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from sklearn_cmr._inputs.arguments import read_arguments
from sklearn_cmr._inputs.labels import read_labels
from sklearn_cmr._inputs.layout import MODALITIES, check_index_of_labels
from sklearn_cmr._lazy import public
from sklearn_cmr._state import restored_on_failure
from sklearn_cmr._warnings import stacklevel_of_caller
from sklearn_cmr.base import _encoders
from sklearn_cmr.base._callbacks import check_callbacks
from sklearn_cmr.base._checkpoints import open_checkpoints
from sklearn_cmr.base._state import describe_build, freeze, from_state, to_state
from sklearn_cmr.base._transformer import CrossModalTransformer
from sklearn_cmr.metrics._directions import mean_map
from sklearn_cmr.training import (
    Joint,
    Paired,
    Player,
    Separate,
    Task,
    device_of,
    encode_dataset,
    encode_in_blocks,
    indicator_of,
)
from sklearn_cmr.training.devices import (
    resolve_device,
    seeded_building,
    standard_settings,
)
from sklearn_cmr.training.modalities import HeldOut
from sklearn_cmr.training.trainer import Trainer

# A discriminator counts as unbeaten above this accuracy, after so many epochs.
_UNBEATEN_ACCURACY = 0.999
_UNBEATEN_EPOCHS = 5
# Minimum number of epochs with max_epochs="auto".
_MIN_EPOCHS = 10
# Shares of a phase: number of decays of the learning rates, and how long early stopping
# waits for an improvement, at least so many epochs.
_N_DECAYS = 5
_PATIENCE = 1 / 3
_MIN_PATIENCE = 10


@public("sklearn_cmr.base")
class NetworkTransformer(CrossModalTransformer):
    """Train networks to encode modalities.

    A method writes `_build` and `_phases`. The module has a child "encoders" with the
    network of every modality, from features to the encoding.
    """

    _parameter_constraints: dict = {
        **CrossModalTransformer._parameter_constraints,
        "hidden_layer_sizes": ["array-like", dict],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "betas": ["array-like"],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "min_updates": [Interval(Integral, 0, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "checkpoint": [str, os.PathLike, None],
        "checkpoint_every": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "device": [str, torch.device],
        "callbacks": [list, None],
        "encoders": [dict, None],
        "lr_encoder": [Interval(Real, 0, None, closed="neither"), dict, None],
    }
    # The held-out rows are for direct calls: metadata routing does not pass them on.
    __metadata_request__fit = {"X_val": UNUSED, "y_val": UNUSED}

    callbacks: list | None
    device: Any  # a str or a torch.device; in files, a dict
    # A method may leave these out of its constructor.
    checkpoint: Any = None
    checkpoint_every = 1
    encoders: dict | None = None
    lr_encoder: Any = None
    # Of the mixin for the kind of output.
    _check_output: Any
    _encoding_function: Any
    module_: Any  # a ModuleDict of ModuleDicts
    history_: list[dict]
    _builds: list[dict[str, Any]]
    _moments: dict[str, dict]
    # The caller's encoders, and shapes and dtypes of their items, as in the fit.
    _items_in: Mapping[str, tuple[tuple[int, ...], str]] = MappingProxyType({})
    _encoders_in: Mapping[str, Any] = MappingProxyType({})

    # -- what a method may state about itself ------------------------------------

    # Whether modalities learn from pairs, together, or apart.
    _rows: Paired | Joint | Separate = Paired()
    # Number of rows that a batch needs at least.
    _min_batch_size = 1
    # Parameters that shape the networks, and so cannot change in a warm start.
    _network_parameters: tuple[str, ...] = ("hidden_layer_sizes",)
    # Values of parameters with which networks are rebuilt for the weights of a file. It
    # needs to name only those whose values at the fit may have changed or gone since.
    _rebuilt_with: dict[str, Any] = {}
    _packages_of_state = ("sklearn_cmr", "sklearn", "torch")
    # Looser than for closed forms, where small differences are meaningful. Trained
    # networks give them only where something, such as an outlier, shrinks them.
    _tolerance = 1e-2
    # Batches and blocks are cut out of the file.
    _leaves_unread = True
    # A modality is an entry of a ModuleDict.
    _reserved_names = frozenset({*dir(torch.nn.ModuleDict), "training"})

    @property
    def _any_modalities(self):  # type: ignore[override]
        return self._rows.accepts_unpaired

    @property
    def _encoded_modalities(self):  # type: ignore[override]
        return tuple(self.encoders or ())

    # -- hooks of a method -----------------------------------------------------

    @abstractmethod
    def _build(self, n_features, n_classes):
        """Return the module: everything that learns, as named children.

        Loading a file calls it again, on a copy with the parameters of the fit. It may
        read these, `classes_`, and what `_inspect_training_set` has stored.

        Parameters
        ----------
        n_features : dict of str to int
            Width of each modality; where the caller has an encoder for it, the width of
            its output, which stands for the features in all hooks and losses.

        n_classes : int

        Returns
        -------
        module : torch.nn.ModuleDict
            Its child "encoders" is a ModuleDict with a network for each modality, from
            float32 features to embeddings, or to the real values whose signs are the
            codes.
        """

    @abstractmethod
    def _phases(self, module, task):
        """Return or yield the :class:`~sklearn_cmr.training.Phase` s of the training.

        Parameters
        ----------
        module : torch.nn.ModuleDict
            What `_build` returned, on the device.

        task : Task
        """

    def _inspect_training_set(self, features, labels):
        """Check or store what the networks depend on, before they are built."""

    def _review_history(self, modalities):
        """Warn of problems that `history_` shows in the training of modalities."""

    # -- public API ------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, Y=None, y=None, *, X_val=None, y_val=None):
        """Fit to labeled pairs or, where the method needs no pairs, to modalities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_image_features), \
container of pairs, or mapping of modalities
            Image features; or a container of both modalities: a mapping with the keys
            ``image`` and ``text`` (:func:`~sklearn_cmr.make_pairs` makes one that
            scikit-learn can slice), a dataframe with the columns ``image__*`` and
            ``text__*`` or with these two as column levels, or one matrix with the
            image columns first (see `n_image_features`). Methods that need no pairs
            take a mapping from any names of modalities to their features.

        Y : {array-like, sparse matrix} of shape (n_samples, n_text_features)
            Text features; the labels where `X` is a container or a mapping: one array
            for all modalities or, where the method needs no pairs, a mapping from each
            name to its labels. Then the modalities may have any number of rows each.

        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape \
(n_samples, n_classes)
            Classes, or an indicator of the labels of each row.

        X_val : container of pairs, or mapping of modalities, default=None
            Held-out rows for `early_stopping`. Where modalities train apart, it may
            lack some of them, of which `validation_fraction` of the rows in `X` are
            held out.

        y_val : array-like, or mapping, default=None
            Labels of the held-out rows, of the classes in `y`: one array for all
            modalities, or a mapping as in `Y`.

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
            If a loss or a weight becomes infinite or NaN.

        OSError
            If the folder `checkpoint` cannot be read or written, or if another fit
            trains with it.

        Notes
        -----
        After any error, an interruption included, the estimator has the epochs that
        were finished. If there are none, it is as it was before.

        With `checkpoint`, the fit continues that of the folder, with the same
        parameters and data. Where others are found, it raises `ValueError`. If the
        folder has the finished fit, nothing is trained again.
        """
        check_callbacks(self.callbacks, self.early_stopping)
        self._check_output(is_fitted=False)
        device = resolve_device(self.device)
        with (
            restored_on_failure(self),
            standard_settings(device.type),
            ExitStack() as stack,
        ):
            continues = self.warm_start and self.__sklearn_is_fitted__()
            _encoders.check(self.encoders, _encoders.known_names(self, X, continues))
            features, labels = self._read_training_set(X, Y, y, reset=not continues)
            self._inspect_training_set(features, labels)
            seed = check_random_state(self.random_state).randint(2**31 - 1)
            held_out = self._read_held_out(X_val, y_val, features, labels, seed)
            checkpoints, held_out = stack.enter_context(
                open_checkpoints(self, features, labels, held_out, continues=continues)
            )
            seed = held_out.seed
            if continues:
                self._check_continuation(labels)
            else:
                self._encoders_in = dict(self.encoders or {})
                self._builds = [describe_build(self, features, seed)]
                with seeded_building(seed):
                    self.module_ = _encoders.build_networks(self, features)
                self._n_features_out = self._n_components
                self.__dict__.pop("history_", None)
                self._moments = {}
            self._fit(features, labels, device, held_out, checkpoints)
        self._review_history(tuple(features))
        self._warn_of_collapse(features)
        return self

    def encoder_(self, modality):
        """Return the network that encodes a modality.

        Parameters
        ----------
        modality : str
            Name of the modality, such as ``"image"`` or ``"text"``.

        Returns
        -------
        encoder : torch.nn.Module
            Maps a float32 tensor of shape (n_samples, n_features) to the embeddings, or
            to the real values in [-1, 1] whose signs are the codes. A modality with a
            network in `encoders` has items of any shape, and integers as int64. It is
            the network itself, no copy.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the modality is unknown.
        """
        check_is_fitted(self)
        encoders = self.module_["encoders"]
        if not isinstance(modality, str) or modality not in encoders:
            raise ValueError(
                f"modality must be one of {list(encoders)}, got {modality!r}."
            )
        return encoders[modality]

    def get_params(self, deep=True):
        """Return the parameters of the estimator, those of named callbacks included.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include ``callbacks__{name}`` and ``callbacks__{name}__{param}``.

        Returns
        -------
        params : dict
            Values by the names of the parameters.
        """
        params = super().get_params(deep=deep)
        if deep:
            for name, callback in self._named_callbacks().items():
                params[f"callbacks__{name}"] = callback
                if hasattr(callback, "get_params") and not isinstance(callback, type):
                    for key, value in callback.get_params(deep=False).items():
                        params[f"callbacks__{name}__{key}"] = value
        return params

    def set_params(self, **params):
        """Set parameters of the estimator, those of named callbacks included.

        Parameters
        ----------
        **params : dict
            Names as :meth:`get_params` returns them.

        Returns
        -------
        self : object
            The estimator.
        """
        own = {k: v for k, v in params.items() if not k.startswith("callbacks__")}
        super().set_params(**own)
        for key, value in params.items():
            if key not in own:
                self._set_callback_parameter(key, value)
        return self

    # -- files -----------------------------------------------------------------

    def _to_state(self):
        return to_state(self)

    def _from_state(self, state):
        from_state(self, state)

    def _needed_of(self, state):
        fitted = ("_builds", "_moments", "classes_") if "module_" in state else ()
        return (*self._get_param_names(), *fitted)

    # -- parameters ------------------------------------------------------------

    def _named_callbacks(self):
        given = self.callbacks if isinstance(self.callbacks, list) else []
        named = [item for item in given if isinstance(item, tuple)]
        return {item[0]: item[1] for item in named if len(item) == 2}

    def _set_callback_parameter(self, key, value):
        _, _, rest = key.partition("__")
        name, _, parameter = rest.partition("__")
        named = self._named_callbacks()
        if name not in named:
            raise ValueError(
                f"Invalid parameter {key!r}: callbacks has no callback with the name "
                f"{name!r}; its names are {list(named)}. Name a callback by a tuple: "
                "callbacks=[('name', callback)]."
            )
        if parameter:
            callback = named[name]
            is_class = isinstance(callback, type)
            if is_class or parameter not in callback.get_params(deep=False):
                raise ValueError(
                    f"Invalid parameter {key!r}: {callback!r} has no such parameter."
                    + " Pass an instance in place of the class." * is_class
                )
            callback.set_params(**{parameter: value})
        else:
            self.callbacks = [
                (name, value) if isinstance(item, tuple) and item[0] == name else item
                for item in self.callbacks or []
            ]

    def _value_for(self, parameter, modality):
        """Return the value of a parameter, maybe a dict, for one modality."""
        value = getattr(self, parameter)
        if not isinstance(value, dict):
            return value
        is_right = modality in value
        if not self._any_modalities and is_right:
            is_right = set(value) == set(MODALITIES)
        if not is_right:
            wanted = list(MODALITIES)
            if modality is not None and self._any_modalities:
                wanted = [modality]
            raise ValueError(
                f"{parameter} given as a dict must have a key for each modality, such "
                f"as {wanted}; got {list(value)}."
            )
        return value[modality]

    def _layer_sizes(self, parameter, modality=None):
        """Return the hidden widths that a parameter gives, or gives a modality."""
        sizes = self._value_for(parameter, modality)
        if not np.iterable(sizes) or not all(
            isinstance(size, Integral) and not isinstance(size, bool) and int(size) > 0
            for size in sizes
        ):
            raise ValueError(
                f"{parameter} must be a sequence of positive integers, got {sizes!r}."
            )
        return tuple(sizes)

    def _learning_rate(self, modality):
        """Return the learning rate of a modality that trains apart."""
        lr = self._value_for("lr", modality)
        if not isinstance(lr, Real) or not 0 < float(lr) < math.inf:
            raise ValueError(
                f"lr of {modality!r} must be a positive number, got {lr!r}."
            )
        return lr

    @property
    def _smallest_batch(self):
        """Number of rows of a batch: an encoder may normalize over them."""
        return max(self._min_batch_size, 2 if self._encoders_in else 1)

    def _count_epochs(self, n_rows, max_epochs=None):
        """Return the number of epochs of a phase with so many rows.

        Parameters
        ----------
        n_rows : int

        max_epochs : int or "auto", default=None
            None takes the parameter of the estimator.
        """
        max_epochs = self.max_epochs if max_epochs is None else max_epochs
        if max_epochs != "auto":
            return max_epochs
        # A smaller last batch is merged into the one before it.
        n_full, rest = divmod(n_rows, self.batch_size)
        n_batches = max(1, n_full + (rest >= self._smallest_batch))
        return max(_MIN_EPOCHS, math.ceil(self.min_updates / n_batches))

    def _count_patience(self, n_epochs):
        """Return the number of epochs without an improvement that end a phase."""
        if self.n_iter_no_change is not None:
            return self.n_iter_no_change
        return max(_MIN_PATIENCE, math.ceil(n_epochs * _PATIENCE))

    def _decayed(self, lr, n_epochs):
        """Return the function from the epoch to the decayed learning rate.

        Parameters
        ----------
        lr : float

        n_epochs : int
            Number of epochs of the phase.
        """
        if self.lr_decay_every is not None:
            return lambda epoch: lr * self.lr_decay ** (epoch // self.lr_decay_every)
        # The epochs of warm starts keep the last value.
        period = max(1, n_epochs / _N_DECAYS)
        return lambda epoch: (
            lr * self.lr_decay ** min(int(epoch / period), _N_DECAYS - 1)
        )

    def _player(self, name, parameters, loss, lr, **options):
        """Return a player whose Adam has the settings of the estimator.

        Parameters
        ----------
        name, loss, lr : see :class:`~sklearn_cmr.training.Player`

        parameters : iterable of torch.nn.Parameter
            Those that networks share may be repeated.

        **options : dict
            Further fields of the player.
        """
        return Player(
            name,
            list(dict.fromkeys(parameters)),
            loss,
            lr,
            self.betas,
            weight_decay=self.weight_decay,
            **options,
        )

    # -- reading ---------------------------------------------------------------

    def _read_held_out(self, X_val, y_val, features, labels, seed):
        """Validate the rows that the caller holds out, if there are any."""
        if (X_val is None) != (y_val is None):
            raise ValueError("Pass X_val and y_val together, or neither of them.")
        if not self.early_stopping:
            if X_val is not None:
                raise ValueError(
                    "X_val and y_val are for early stopping: set early_stopping=True."
                )
            return HeldOut(None, seed)
        if X_val is None:
            return HeldOut(self.validation_fraction, seed)
        layout, y_val = read_arguments(self, X_val, y_val, None, reset=False)
        parts = self._reader.read(layout, reset=False)
        unknown = [name for name in parts if name not in features]
        if unknown:
            raise ValueError(
                f"X_val holds {unknown}, which is not trained here; X holds "
                f"{list(features)}."
            )
        parts, labels_val = read_labels(
            y_val,
            parts,
            self,
            classes=labels.classes,
            missing=self.missing_labels,
            by_modality=self._any_modalities,
        )
        if not isinstance(self._rows, Separate) and set(parts) != set(features):
            raise ValueError(
                f"X_val must hold all modalities, {list(features)}, which learn "
                f"together; got {list(parts)}."
            )
        if isinstance(self._rows, Paired) and not labels_val.shared:
            raise ValueError(
                "The rows of X_val must be pairs, as those of X: pass y_val as one "
                "array of labels for all modalities."
            )
        return HeldOut(self.validation_fraction, seed, parts, labels_val)

    # -- training --------------------------------------------------------------

    def _fit(  # type: ignore[override]
        self, features, labels, device, held_out, checkpoints=None
    ):
        """Train the networks, and store the history of the finished epochs."""
        module = self.module_
        task = self._make_task(features, labels, device, held_out)
        module.to(device)
        _encoders.try_out(self, module, features)
        trainer = Trainer(
            module,
            seed=held_out.seed,
            history=vars(self).get("history_", ()),
            moments=self._moments,
            keep_moments=self.warm_start,
            callbacks=self.callbacks,
            checkpoints=checkpoints,
            tol=self.tol,
            label=type(self).__name__,
            encode=self._encode_with,
            verbose=int(self.verbose),
        )
        diverged = False
        try:
            trainer.fit(_encoders.phases(self, module, task))
        except FloatingPointError:
            diverged = True
            raise
        finally:
            if trainer.n_finished:
                self.history_ = trainer.history
                self.n_iter_ = len(trainer.history)
                self.loss_curve_ = [row["train_loss"] for row in trainer.history]
                self.callbacks_ = trainer.callbacks_
                # There is nothing to continue from after a training that diverged.
                is_continuable = self.warm_start and not diverged
                self._moments = trainer.moments if is_continuable else {}

    def _make_task(self, features, labels, device, held_out):
        """Put the rows on the device, hold some of them out, and make the task."""
        integers = _encoders.integer_modalities(self)
        splits, joint = self._rows.split(features, labels, device, held_out, integers)
        return Task(
            splits,
            joint,
            labels,
            is_paired=labels.shared,
            seed=held_out.seed,
            batch_size=int(self.batch_size),  # torch takes no integers of numpy
            min_batch_size=self._smallest_batch,
            count_epochs=self._count_epochs,
            count_patience=self._count_patience if self.early_stopping else None,
            score_held_out=self._score_held_out,
        )

    def _add_modality(self, name, X, y):
        """Train networks for one more modality, where modalities train apart."""
        rows, reader = self._rows, self._reader
        if not isinstance(rows, Separate):
            raise ValueError(
                "add_modality needs modalities that train apart, each from its labels: "
                "fit with self_supervision=True."
            )
        check_index_of_labels({name: X}, y)
        features = {name: reader.read_new_modality(X, name)}
        features, labels = read_labels(
            {name: y},
            features,
            self,
            classes=self.classes_,
            missing=self.missing_labels,
            by_modality=True,
        )
        device = resolve_device(self.device)
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        fraction = self.validation_fraction if self.early_stopping else None
        held_out = HeldOut(fraction, seed)
        module = self.module_
        opened = open_checkpoints(
            self,
            features,
            labels,
            held_out,
            continues=True,
            part=f"modality_{quote(name, safe='')}",
        )
        with (
            restored_on_failure(self, keeps_progress=False),
            standard_settings(device.type),
            opened as (checkpoints, held_out),
        ):
            seed = held_out.seed
            reader.remember_modality(X, features[name], name)
            try:
                build = describe_build(self, features, seed)
                with seeded_building(seed):
                    _encoders.grow_networks(self, module, name)
                self._builds = [*self._builds, build]
                self._fit(features, labels, device, held_out, checkpoints)
            except BaseException:
                rows.shrink(module, name)
                raise
        self._review_history((name,))
        self._warn_of_collapse(features)
        return self

    def _score_held_out(self, module, datasets):
        """Return the mean mAP of held-out rows, given data sets by modality."""
        encodings = {
            name: self._represent(
                encode_dataset(self._encoding_function(module, name), dataset, name)
                .cpu()
                .numpy()
            )
            for name, dataset in datasets.items()
        }
        y = {name: indicator_of(dataset) for name, dataset in datasets.items()}
        with warnings.catch_warnings():
            if len(set(map(id, datasets.values()))) > 1:
                # Without pairs, some class may be missing in a modality.
                warnings.simplefilter("ignore", UndefinedMetricWarning)
            return mean_map(encodings, y, metric=self._score_metric)

    def _check_continuation(self, labels):
        _encoders.check_same(self.encoders, self._encoders_in)
        for name in self._network_parameters:
            value = freeze(getattr(self, name))
            fitted = self._builds[0]["settings"][name]
            if isinstance(value, dict) and isinstance(fitted, dict):
                # It may name modalities that are added later.
                value = {key: value[key] for key in fitted if key in value}
            if value != fitted:
                raise ValueError(
                    "warm_start=True continues with the same networks: expected "
                    f"{name}={fitted!r}, got {value!r}. Set warm_start=False to start "
                    "over."
                )
        if self._n_components != self._n_features_out:
            raise ValueError(
                "warm_start=True continues with the same outputs: expected "
                f"{self._n_features_out} for each modality, got {self._n_components}. "
                "Set warm_start=False to start over."
            )
        if not np.array_equal(labels.classes, self.classes_):
            raise ValueError(
                "warm_start=True continues with the same classes: expected "
                f"{self.classes_.tolist()}, got {labels.classes.tolist()}. Set "
                "warm_start=False to start over."
            )
        if not isinstance(self._rows, Separate) and set(labels.parts) != set(
            self.modalities_
        ):
            raise ValueError(
                "warm_start=True continues with the same modalities, which learn from "
                f"each other: expected {list(self.modalities_)}, got "
                f"{list(labels.parts)}. Set warm_start=False to start over."
            )

    def _check_trained(self, term, method, weight):
        """Raise if no epoch has trained the network that a public method needs.

        Parameters
        ----------
        term : str
            Name, in the history, of the loss that trains the network.

        method : str
            Name of the public method.

        weight : str
            Name of the parameter that weighs the loss.
        """
        if not any(term in row for row in self.history_):
            raise ValueError(
                f"{method} needs a network that only {weight} > 0 trains, but it was 0 "
                f"in all epochs: fit with {weight} > 0."
            )

    def _warn_of_unbeaten(self, accuracies, advice):
        """Warn of discriminators that hardly erred in the second half of the epochs.

        Parameters
        ----------
        accuracies : dict of str to list of float
            From the description of a discriminator to its accuracy in every epoch.

        advice : str
            Parameters to change.
        """
        unbeaten = [name for name, values in accuracies.items() if _is_perfect(values)]
        if unbeaten:
            warnings.warn(
                f"{type(self).__name__}: {' and '.join(unbeaten)} made almost no "
                "errors in the second half of the epochs, so that the adversarial loss "
                "has no effect. Standardize the features, if they are not: "
                "PairTransformer(image=StandardScaler(), text=StandardScaler()). "
                f"Otherwise {advice}",
                ConvergenceWarning,
                stacklevel=stacklevel_of_caller(),
            )

    # -- encoding --------------------------------------------------------------

    def _encode(self, X, modality):
        self._check_output(is_fitted=True)
        return self._apply(self._encoding_function(self.module_, modality), X, modality)

    def _encode_with(self, module, X, modality):
        """Encode with networks in training, as `transform` does after it."""
        function = self._encoding_function(module, modality)
        dtype = _encoders.dtype_of(self, modality)
        return self._represent(encode_in_blocks(function, X, device_of(module), dtype))

    def _apply(self, function, X, modality):
        """Apply a function to all rows of a modality, block by block."""
        dtype = _encoders.dtype_of(self, modality)
        return encode_in_blocks(function, X, device_of(self.module_), dtype)


def _is_perfect(accuracies):
    recent = accuracies[len(accuracies) // 2 :]
    return len(recent) >= _UNBEATEN_EPOCHS and min(recent) > _UNBEATEN_ACCURACY
