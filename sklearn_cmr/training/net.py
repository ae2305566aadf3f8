"""A skorch net that trains a module through one phase, its players taking turns."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import math
import time

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, LRScheduler, PrintLog

from sklearn_cmr.training.batches import BatchIterator, whole_dataset
from sklearn_cmr.training.callbacks import ProgressBar, make_early_stopping
from sklearn_cmr.training.phases import EpochState, Terms

# Rows of the last batch of an epoch whose encodings are checked.
_ROWS_CHECKED = 64
# What skorch records of an epoch besides the values for users.
_BOOKKEEPING = ("batches", "dur", "_batch_count", "_best")


class PairNet(NeuralNet):
    """Train a module through one phase.

    Parameters
    ----------
    module : torch.nn.Module
        Trained in place. Everything that learns is a named child of it, so that early
        stopping and checkpoints, which use ``module_`` alone, cover it all.

    phase : Phase

    seed : int, default=0
        Fixes the order of the batches and the numbers that losses draw.

    first_epoch : int, default=0
        Number of finished epochs of this phase, from which schedules continue.

    n_epochs_before : int, default=0
        Number of finished epochs of all phases, from which the history counts.

    moments : dict, default=None
        Adam's moments to continue from, by player and name of the parameter.

    keep_moments : bool, default=False
        Whether to store the moments after every epoch, in `moments_`. They take twice
        the memory of the weights.

    patience : int, default=None
        Epochs without an improvement of `valid_map`, or `valid_loss` where the phase
        has no score, before the phase stops; None does not stop.

    tol : float, default=0.0
        Minimum improvement.

    label : str, default="fit"
        Shown in messages and in the progress bar.

    encode : callable, default=None
        ``encode(module, X, modality)`` returns the encoding of an array of features,
        for callbacks that score.

    checkpoints : PhaseCheckpoints, default=None
        Where the training continues from, and what stores it after every epoch.

    **kwargs : dict
        Parameters of :class:`skorch.NeuralNet`.

    Attributes
    ----------
    epochs_ : list of dict
        Finished epochs of the phase.

    moments_ : dict
        Adam's moments after the last finished epoch, by player and parameter.

    added_callbacks_ : list of tuple
        Names and copies of the caller's callbacks.
    """

    callbacks: list | None

    def __init__(
        self,
        module,
        phase,
        *,
        seed=0,
        first_epoch=0,
        n_epochs_before=0,
        moments=None,
        keep_moments=False,
        tol=0.0,
        label="fit",
        encode=None,
        checkpoints=None,
        **kwargs,
    ):
        self.phase = phase
        self.seed = seed
        self.first_epoch = first_epoch
        self.n_epochs_before = n_epochs_before
        self.moments = moments
        self.keep_moments = keep_moments
        self.tol = tol
        self.label = label
        self.encode = encode
        self.checkpoints = checkpoints
        # Scoring callbacks encode for themselves: no step leaves predictions.
        kwargs = {"criterion": torch.nn.Identity, "use_caching": False} | kwargs
        super().__init__(
            module, train_split=None, max_epochs=phase.max_epochs, **kwargs
        )

    # -- set-up ----------------------------------------------------------------

    @property
    def _default_callbacks(self):
        return [("print_log", PrintLog())] if self.verbose > 1 else []

    def initialize_module(self):
        """Take the module as it is."""
        self.module_ = self.module
        self.device_ = next(self.module.parameters()).device
        self.order_generator_ = torch.Generator()
        self.generator_ = torch.Generator(self.device_)
        self.names_ = {p: name for name, p in self.module.named_parameters()}
        return self

    def initialize_optimizer(self):
        """Give every player its optimizer; `optimizer_` represents all of them."""
        optimizers = {}
        for player in self.phase.players:
            optimizer = player.make_optimizer(self.first_epoch)
            known = (self.moments or {}).get(player.name, {})
            _load_moments(optimizer, self._names_of(player), known)
            setattr(self, f"optimizer_{player.name}_", optimizer)
            optimizers[player.name] = optimizer
        players = {player.name: player for player in self.phase.players}
        order = self.phase.turns or list(players)
        self.turns_ = [(players[name], optimizers[name]) for name in order]
        self.optimizer_ = _AllOptimizers(list(optimizers.values()))
        self.moments_ = {}
        return self

    def _names_of(self, player):
        groups = player.groups().values()
        return [self.names_[parameter] for own in groups for parameter in own]

    def initialize_callbacks(self):
        """Put what the phase needs before copies of the caller's callbacks."""
        phase, added, given = self.phase, [], self.callbacks
        if self.verbose == 1:
            added.append(ProgressBar(phase.max_epochs, self._phase_label()))
        if phase.dataset_valid is not None and phase.patience is not None:
            monitor = "valid_loss" if phase.score_valid is None else "valid_map"
            added.append(make_early_stopping(phase.patience, self.tol, monitor))
        if phase.stops_on_rise:
            added.append(make_early_stopping(1, 0.0, "train_loss"))
        copies = [_copied(item) for item in given or []]
        self.callbacks = [*added, *copies]
        super().initialize_callbacks()
        self.callbacks = given
        own = {id(callback) for callback in added}
        # With verbose > 1, skorch refuses a callback of the caller with this name.
        own_names = {name for name, _ in self._default_callbacks}
        self.added_callbacks_ = [
            (name, callback)
            for name, callback in self.callbacks_
            if id(callback) not in own and name not in own_names
        ]
        self.watches_batches_ = self._is_overridden("on_batch_begin", "on_batch_end")
        self.watches_gradients_ = self._is_overridden("on_grad_computed")
        # A scheduler of the caller has the learning rates to itself.
        self.sets_rates_ = not any(
            isinstance(callback, LRScheduler) for _, callback in self.callbacks_
        )
        return self

    def _is_overridden(self, *methods):
        return any(
            getattr(type(callback), method) is not getattr(Callback, method)
            for _, callback in self.callbacks_
            for method in methods
        )

    def _phase_label(self):
        return f"{self.label} {self.phase.name}".rstrip()

    def get_split_datasets(self, X, y=None, **fit_params):
        """Return the data sets of the phase."""
        return self.phase.dataset, self.phase.dataset_valid

    def get_iterator(self, dataset, training=False):
        """Return the batches of a data set of the phase."""
        phase = self.phase
        return BatchIterator(
            dataset,
            phase.batch_size,
            phase.sampler if training else phase.sampler_valid,
            self.order_generator_,
            phase.min_batch_size,
        )

    # -- the loop --------------------------------------------------------------

    def run(self):
        """Train through the phase.

        Unlike skorch's own loop, it raises `KeyboardInterrupt`. After any error the
        module has the weights of the last finished epoch, or of the beginning; with
        early stopping, those of the best epoch.
        """
        self.initialize()
        self.epoch_, self.step_ = self.first_epoch, 0
        self.good_weights_ = _GoodWeights(self.module_, self.phase.players)
        # Scoring callbacks of skorch find the kind of the data by these.
        rows = whole_dataset(self.phase.dataset)
        X, y = getattr(rows, "X", None), getattr(rows, "y", None)
        try:
            self.notify("on_train_begin", X=X, y=y)
            if self.checkpoints is not None:
                self.checkpoints.continue_epochs(self)
                self.good_weights_.keep()
                self._keep_moments()
            n_left = self.phase.max_epochs - len(self.history)
            self.fit_loop(self.phase.dataset, epochs=n_left)
        except KeyboardInterrupt:
            if not self._is_stopped_early():
                self.good_weights_.restore()
                raise
        except BaseException:
            self.good_weights_.restore()
            raise
        finally:
            try:
                # Before the first epoch, there is nothing to bring back or to show.
                if self.history:
                    self.notify("on_train_end", X=X, y=y)
            finally:
                self.module_.eval()
                self.epochs_ = self._finished_epochs()
                self._free_memory()
        return self

    def _free_memory(self):
        """Drop copies of weights and moments: the next phase may want the memory."""
        del self.good_weights_
        for _, optimizer in self.turns_:
            optimizer.state.clear()
        for _, callback in self.callbacks_:
            if isinstance(callback, LRScheduler):
                callback.lr_scheduler_ = None  # holds the optimizers

    def _is_stopped_early(self):
        return any(
            isinstance(callback, EarlyStopping)
            and callback.misses_ == callback.patience
            for _, callback in self.callbacks_
        )

    def on_epoch_begin(self, net, **kwargs):
        """Open the history's row; set seeds, learning rates, scalars and banks."""
        super().on_epoch_begin(net, **kwargs)
        phase = self.phase
        self.start_ = time.monotonic()
        # Seeded in every epoch, so that a warm start continues an uninterrupted run.
        self.order_generator_.manual_seed(self.seed + self.epoch_)
        self.generator_.manual_seed(self.seed + self.epoch_)
        self.history.record("epoch", self.n_epochs_before + len(self.history))
        if phase.name:
            self.history.record("phase", phase.name)
        self._set_rates()
        values = phase.schedule(self.epoch_) if phase.schedule else {}
        for name, value in values.items():
            self.history.record(name, value)
        scalars = {
            name: torch.tensor(value, dtype=torch.float32, device=self.device_)
            for name, value in values.items()
        }
        self.state_ = EpochState(scalars, self.generator_)
        if phase.begin_epoch is not None:
            phase.begin_epoch(self.module_, self.state_)

    def _set_rates(self):
        """Set the learning rates of the epoch, except those that a callback has set.

        Such a rate is not that of the epoch before.
        """
        if not self.sets_rates_:
            return
        for player, optimizer in self.turns_:
            last = player.lr_at(max(self.epoch_ - 1, self.first_epoch))
            for group in optimizer.param_groups:
                factor = group["rate_factor"]
                if group["lr"] == last * factor:
                    group["lr"] = player.lr_at(self.epoch_) * factor

    def on_epoch_end(self, net, **kwargs):
        """Record the values of the phase, count the epoch and copy its weights."""
        phase = self.phase
        if phase.end_epoch is not None:
            self.module_.eval()
            for name, value in phase.end_epoch(self.module_, self.state_).items():
                self.history.record(name, value)
        if phase.score_valid is not None:
            self.module_.eval()
            self.history.record("valid_map", phase.score_valid(self.module_))
            self.record_best("valid_map", lower_is_better=False)
        self.epoch_ += 1
        self.good_weights_.keep()
        self._keep_moments()
        # An epoch with a duration is finished.
        self.history.record("dur", time.monotonic() - self.start_)

    def _keep_moments(self):
        if self.keep_moments:
            self.moments_ = {
                player.name: _moments_of(optimizer, self._names_of(player))
                for player, optimizer in self.turns_
            }

    def notify(self, method_name, **kwargs):
        """Call a method of the net and of all callbacks; then store their states."""
        super().notify(method_name, **kwargs)
        if method_name == "on_epoch_end" and self.checkpoints is not None:
            self.checkpoints.keep_epoch(self)

    def train_step(self, batch, **fit_params):
        """Take one step of every player that is due on this batch.

        Returns
        -------
        step : dict
            ``loss`` of the first player, and all `terms` by player.
        """
        step_terms: dict[str, Terms] = {}
        first = self.phase.players[0]
        for player, optimizer in self.turns_:
            if self.epoch_ < player.begins or (self.step_ + 1) % player.every:
                continue
            for parameter in player.parameters:
                parameter.grad = None  # ten times quicker than optimizer.zero_grad()
            moved = [p for p in player.parameters if p.requires_grad]
            loss, terms = player.loss(self.module_, batch, self.state_)
            if moved:
                loss.backward(inputs=moved)
            if self.watches_gradients_:
                named = [(self.names_[p], p) for p in moved]
                self.notify(
                    "on_grad_computed",
                    named_parameters=named,
                    batch=batch,
                    training=True,
                )
            optimizer.step()
            terms[f"{player.name}_loss"] = loss
            if player is first:
                terms["train_loss"] = player.monitored(loss, terms)
            step_terms[player.name] = {
                k: v.detach() if v.requires_grad else v for k, v in terms.items()
            }
        self.step_ += 1
        return {"loss": step_terms[first.name]["train_loss"], "terms": step_terms}

    def validation_step(self, batch, **fit_params):
        """Evaluate the monitored loss of the first player."""
        player = self.phase.players[0]
        with torch.no_grad():
            loss, terms = player.loss(self.module_, batch, self.state_)
        loss = player.monitored(loss, terms)
        return {"loss": loss, "terms": {"valid": {"valid_loss": loss}}}

    def transform(self, X):
        """Encode features by modality, so that a scoring callback can use a scorer."""
        self.module_.eval()
        return {name: self.encode(self.module_, part, name) for name, part in X.items()}

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Run one epoch; the device is waited for once, at its end.

        Batches are recorded and announced only if a callback listens to them.
        """
        if iterator is None:
            return
        self._set_training(training)
        means = _TermMeans()
        n_batches = 0
        for batch in iterator:
            if self.watches_batches_:
                self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch)
            n_rows = batch.rows.shape[-1]
            for player, terms in step["terms"].items():
                means.add(player, terms, n_rows)
            if self.watches_batches_:
                self.history.record_batch(f"{prefix}_loss", step["loss"].item())
                self.history.record_batch(f"{prefix}_batch_size", n_rows)
                self.notify(
                    "on_batch_end", batch=batch, training=training, y_pred=None, **step
                )
            n_batches += 1
        if not self.watches_batches_:
            # Checkpoint looks for the last batch in the history.
            self.history.new_batch()
            self.history.record_batch(f"{prefix}_batch_size", n_rows)
        values = means.compute()
        if training:
            self._check_finite(values, batch)
        for name, value in values.items():
            self.history.record(name, value)
        self.record_best(f"{prefix}_loss", lower_is_better=True)
        self.history.record(f"{prefix}_batch_count", n_batches)

    def record_best(self, name, *, lower_is_better):
        """Record in `{name}_best`, for callbacks, if the last value is the best."""
        *earlier, value = self.history[:, name]
        if not lower_is_better:
            earlier, value = [-other for other in earlier], -value
        self.history.record(f"{name}_best", all(value < other for other in earlier))

    def _check_finite(self, values, batch):
        """Raise if a loss term, a weight or an encoding is infinite or NaN."""
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if not bad and not self.good_weights_.is_finite():
            bad = ["the weights"]
        if not bad and not self._encodes_finitely(batch):
            # Weights may be finite and too large to compute with.
            bad = ["the encodings"]
        if not bad:
            return
        rates = {
            p.name: optimizer.param_groups[0]["lr"] for p, optimizer in self.turns_
        }
        raise FloatingPointError(
            f"{self._phase_label()}: {', '.join(bad)} became infinite or NaN in epoch "
            f"{self.history[-1, 'epoch']}. The estimator has the weights of the epoch "
            "before it; if there is none, it is as it was before fit. Standardize the "
            "features (PairTransformer(image=StandardScaler(), text=StandardScaler())),"
            f" lower the learning rate (now {rates}), or clip gradients with "
            "callbacks=[skorch.callbacks.GradientNormClipping(1.0)]."
        )

    @torch.no_grad()
    def _encodes_finitely(self, batch):
        """Tell whether the encoders map a few rows to finite values."""
        self.module_.eval()
        encoders = dict(self.module_.named_children()).get("encoders", {})
        n_rows = min(batch.rows.shape[-1], _ROWS_CHECKED)
        is_finite = [
            # Where rows have roles, those of the first one.
            encoders[name]((X[0] if X.shape[:2] == batch.rows.shape else X)[:n_rows])
            .isfinite()
            .all()
            for name, X in batch.features.items()
            if name in encoders
        ]
        return not is_finite or torch.stack(is_finite).all().item()

    def _finished_epochs(self):
        """Return the finished epochs of the phase as plain dicts."""
        return [
            {k: v for k, v in row.items() if not k.endswith(_BOOKKEEPING)}
            | {"seconds": row["dur"]}
            for row in self.history
            if "dur" in row
        ]

    def latest_values(self):
        """Return what to show of the last epoch: losses and the validation mAP."""
        others = [f"{player.name}_loss" for player in self.phase.players[1:]]
        shown = ["train_loss", *others, "valid_loss", "valid_map"]
        row = self.history[-1]
        return {name: row[name] for name in shown if name in row}


class _AllOptimizers(torch.optim.Optimizer):
    """The optimizers of all players as one, for callbacks that set learning rates.

    Its parameter groups are theirs. It takes no steps itself.
    """

    def __init__(self, optimizers):
        first, *_ = optimizers
        super().__init__(first.param_groups[0]["params"], first.defaults)
        self.optimizers = optimizers
        self._collect_groups()
        # Where torch's schedulers look for steps that came before theirs.
        self._opt_called = True

    def _collect_groups(self):
        self.param_groups = [
            group for optimizer in self.optimizers for group in optimizer.param_groups
        ]

    def step(self, closure=None):
        """Do nothing: the optimizers of the players take the steps."""

    def state_dict(self):
        """Return the states of all optimizers, in the order of the players."""
        return {"optimizers": [own.state_dict() for own in self.optimizers]}

    def load_state_dict(self, state_dict):
        """Load the states of all optimizers."""
        states = state_dict["optimizers"]
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(state)
        self._collect_groups()


def _copied(item):
    """Return a callback of the caller, which holds state, as a copy of it."""
    try:
        return copy.deepcopy(item)
    except Exception as error:
        callback = item[1] if isinstance(item, tuple) else item
        raise TypeError(
            f"The callback {type(callback).__name__} cannot be copied, and every fit "
            f"works on a copy of it: {error}. Give it no open files, locks or "
            "generators, or a __deepcopy__ of its own."
        ) from error


def _moments_of(optimizer, names):
    """Return copies of Adam's moments by the name of the parameter."""
    state = optimizer.state_dict()["state"]
    return {
        names[i]: {key: value.detach().cpu().clone() for key, value in own.items()}
        for i, own in state.items()
    }


def _load_moments(optimizer, names, moments):
    """Continue from moments, where there are any, by the name of the parameter."""
    state = {
        i: {key: value.clone() for key, value in moments[name].items()}
        for i, name in enumerate(names)
        if name in moments
    }
    # The learning rate and other settings may have changed since.
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


class _TermMeans:
    """Mean of every loss term over the rows of an epoch, without waiting for it.

    The terms of a step are added up at once. Kept, the many small tensors would lie
    between the large ones of later steps, and the memory could not be used again.
    """

    def __init__(self):
        self.names: dict[str, list[str]] = {}
        self.sums: dict[str, torch.Tensor] = {}
        self.n_rows: dict[str, int] = {}

    def add(self, player, terms, n_rows):
        self.names[player] = list(terms)
        values = torch.stack(list(terms.values()))
        if player in self.sums:
            self.sums[player].add_(values, alpha=n_rows)
        else:
            self.sums[player] = values * n_rows
        self.n_rows[player] = self.n_rows.get(player, 0) + n_rows

    def compute(self):
        means: dict[str, float] = {}
        for player, sums in self.sums.items():
            values = (sums / self.n_rows[player]).tolist()
            means.update(zip(self.names[player], values, strict=True))
        return means


class _GoodWeights:
    """Copy of what the players of a phase update, and of all buffers.

    It stays in its place from epoch to epoch: for wide networks, new memory would cost
    more than the copying.
    """

    def __init__(self, module, players):
        moved = dict.fromkeys(p for player in players for p in player.parameters)
        self.parameters = [parameter.detach() for parameter in moved]
        self.current = [*self.parameters, *module.buffers()]
        self.copies = [tensor.clone() for tensor in self.current]

    def is_finite(self):
        sums = [parameter.sum() for parameter in self.parameters]
        return torch.stack(sums).isfinite().all().item()

    def keep(self):
        for own, current in zip(self.copies, self.current, strict=True):
            own.copy_(current)

    def restore(self):
        for own, current in zip(self.copies, self.current, strict=True):
            current.copy_(own)
