"""A skorch net whose players take turns on every batch."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, EpochTimer, PrintLog

from sklearn_cmr.training.batches import BatchIterator, Sampler, in_order, shuffled
from sklearn_cmr.training.callbacks import (
    ProgressBar,
    ValidationScore,
    make_early_stopping,
)

# Steps whose loss terms are kept as single tensors before they are summed.
_STEPS_PER_SUM = 256
# Multiply-adds of a step that are worth a thread: with less to do, more threads wait
# for each other, and on a busy machine for a very long time.
_WORK_OF_A_THREAD = 1e8
# What skorch notes of an epoch beside the values that users read.
_BOOKKEEPING = ("batches", "dur", "_batch_count", "_best")


class EpochState(NamedTuple):
    """What a loss may know beside the module and the batch.

    Attributes
    ----------
    scalars : dict of str to 0-d float32 tensor on the device
        Values of the phase's `schedule` in this epoch.

    generator : torch.Generator
        Source of random numbers on the device.
    """

    scalars: dict[str, torch.Tensor]
    generator: torch.Generator


Terms = dict[str, torch.Tensor]


@dataclass
class Player:
    """One party of the training game.

    Attributes
    ----------
    name : str
        Unique in the method. Names its optimizer, ``optimizer_{name}_``, and its loss
        in the history, ``{name}_loss``. Who plays in a later phase again goes on with
        the moments of its optimizer.

    parameters : sequence of torch.nn.Parameter
        What it moves. Only players that take turns on one network share parameters.

    loss : callable
        ``loss(module, batch, state)`` returns the 0-d tensor to minimise and a dict of
        terms for the history. A pure function of tensors, without host synchronisation.

    lr : float or callable
        Learning rate, or ``lr(epoch)``.

    betas : tuple of float
        Decay rates of Adam's moments.

    every : int
        It plays in every `every`-th batch.

    begins : int
        First epoch in which it plays, 0-based.

    monitor : str, default=None
        The term that falls as the model improves; the loss itself by default. Of the
        first player it is recorded as `train_loss` and `valid_loss`.

    weight_decay : float
        Half of it times the squared weights is added to the loss.
    """

    name: str
    parameters: Sequence[torch.nn.Parameter]
    loss: Callable[..., tuple[torch.Tensor, Terms]]
    lr: float | Callable[[int], float]
    betas: tuple[float, float] = (0.9, 0.999)
    every: int = 1
    begins: int = 0
    monitor: str | None = None
    weight_decay: float = 0.0

    def __post_init__(self):
        if len(self.betas) != 2:
            raise ValueError(
                f"betas must be two numbers, the decay rates of Adam's first and "
                f"second moment; got {self.betas!r}."
            )

    def lr_at(self, epoch):
        """Return the learning rate of a 0-based epoch."""
        return self.lr(epoch) if callable(self.lr) else self.lr

    def make_optimizer(self):
        """Build Adam; its fused form is several times faster where there is one."""
        parameters = list(self.parameters)
        fused = parameters[0].device.type in ("cpu", "cuda")
        beta1, beta2 = self.betas
        return torch.optim.Adam(
            parameters,
            lr=self.lr_at(0),
            betas=(beta1, beta2),
            weight_decay=self.weight_decay,
            fused=fused,
        )

    def monitored(self, loss, terms):
        """Return what falls as the model improves."""
        return loss if self.monitor is None else terms[self.monitor]


@dataclass
class Phase:
    """A stretch of training with its own players.

    Attributes
    ----------
    players : sequence of Player
        The first leads: it plays on every batch, and its loss is the one to monitor.

    dataset : RowDataset or Subset
        Training rows.

    max_epochs, batch_size : int

    name : str
        Put into the history; where a method has more than one phase, each has its own.

    turns : sequence of str, default=None
        Names of the players in the order of play within a batch, with repeats; each
        once by default.

    schedule : callable, default=None
        ``schedule(epoch)`` gives named floats for the losses and for the history.

    begin_epoch : callable, default=None
        ``begin_epoch(module, state)`` runs before every epoch, e.g. to refresh banks.

    end_epoch : callable, default=None
        ``end_epoch(module, state)`` runs after every epoch, the module in evaluation
        mode, and returns named floats for the history.

    sampler : callable, default=shuffled
        See :class:`~sklearn_cmr.training.batches.BatchIterator`.

    sampler_valid : callable, default=in_order
        The same for the held-out rows.

    min_batch_size : int
        A smaller last batch is merged into the one before it.

    dataset_valid : RowDataset or Subset, default=None
        Held-out rows.

    score_valid : callable, default=None
        ``score_valid(module)`` gives the mAP on them, which early stopping watches;
        without it, early stopping watches their loss.

    stops_on_rise : bool
        Whether the phase ends when `train_loss` rises, with the weights before that.
    """

    players: Sequence[Player]
    dataset: torch.utils.data.Dataset
    max_epochs: int
    batch_size: int
    name: str = ""
    turns: Sequence[str] | None = None
    schedule: Callable[[int], dict[str, float]] | None = None
    begin_epoch: Callable[[torch.nn.Module, EpochState], None] | None = None
    end_epoch: Callable[[torch.nn.Module, EpochState], dict[str, float]] | None = None
    sampler: Sampler = shuffled
    sampler_valid: Sampler = in_order
    min_batch_size: int = 1
    dataset_valid: torch.utils.data.Dataset | None = None
    score_valid: Callable[[torch.nn.Module], float] | None = None
    stops_on_rise: bool = False


class PairNet(NeuralNet):
    """Train one module through the phases of a method.

    Everything that learns is a named child of `module`, so that early stopping and
    checkpoints, which know ``module_`` alone, cover it all.

    Parameters
    ----------
    module : torch.nn.Module
        Trained in place.

    seed : int, default=0
        Fixes the order of the batches and the numbers that losses draw.

    epochs : list of dict, default=None
        Finished epochs of earlier trainings, which this one continues and extends.

    optimizer_states : dict, default=None
        States of the players' optimizers to continue from, by player.

    keep_optimizers : bool, default=True
        Whether the states of the optimizers outlive their phase, in `optimizer_states_`
        and for players who play again. They take twice the memory of the weights.

    patience : int, default=None
        Epochs without a better `valid_map`, or `valid_loss` where a phase has no
        score, before the phase stops; None does not stop.

    tol : float, default=0.0
        What counts as better.

    label : str, default="fit"
        Shown in messages and in the progress bar.

    **kwargs : dict
        Parameters of :class:`skorch.NeuralNet`.
    """

    callbacks: list | None

    def __init__(
        self,
        module,
        *,
        seed=0,
        epochs=None,
        optimizer_states=None,
        keep_optimizers=True,
        patience=None,
        tol=0.0,
        label="fit",
        **kwargs,
    ):
        self.seed = seed
        self.epochs = [] if epochs is None else epochs
        self.optimizer_states = optimizer_states
        self.keep_optimizers = keep_optimizers
        self.patience = patience
        self.tol = tol
        self.label = label
        kwargs.setdefault("criterion", torch.nn.Identity)
        super().__init__(module, train_split=None, **kwargs)

    # -- set-up ----------------------------------------------------------------

    @property
    def _default_callbacks(self):
        printing = [("print_log", PrintLog())] if self.verbose > 1 else []
        return [("epoch_timer", EpochTimer()), *printing]

    def initialize_module(self):
        """Take the module as it is."""
        self.module_ = self.module
        self.device_ = next(self.module.parameters()).device
        self.order_generator_ = torch.Generator()
        self.generator_ = torch.Generator(self.device_)
        self.names_ = {p: name for name, p in self.module.named_parameters()}
        return self

    def initialize_optimizer(self):
        """Give every player of the phase its optimizer; the first is `optimizer_`."""
        states = (self.optimizer_states or {}) | self.optimizer_states_
        optimizers = {}
        for player in self.phase_.players:
            optimizer = player.make_optimizer()
            if player.name in states:
                # Moments and step counts alone: the learning rate may have changed.
                # Copies, since the optimizer would write into what it is given.
                state = copy.deepcopy(states[player.name])
                optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
            setattr(self, f"optimizer_{player.name}_", optimizer)
            optimizers[player.name] = optimizer
        players = {player.name: player for player in self.phase_.players}
        order = self.phase_.turns or list(players)
        self.turns_ = [(players[name], optimizers[name]) for name in order]
        self.optimizer_ = next(iter(optimizers.values()))
        return self

    def initialize_callbacks(self):
        """Put what the phase needs before the caller's callbacks."""
        phase, added, given = self.phase_, [], self.callbacks
        if phase.score_valid is not None:
            added.append(ValidationScore(phase.score_valid))
        if self.verbose == 1:
            added.append(ProgressBar(phase.max_epochs, self._phase_label()))
        if phase.dataset_valid is not None and self.patience is not None:
            monitor = "valid_loss" if phase.score_valid is None else "valid_map"
            added.append(make_early_stopping(self.patience, self.tol, monitor))
        if phase.stops_on_rise:
            added.append(make_early_stopping(1, 0.0, "train_loss"))
        # The caller's callbacks hold state: every fit works on copies of them.
        self.callbacks = [*added, *copy.deepcopy(given or [])]
        super().initialize_callbacks()
        self.callbacks = given
        self.watches_batches_ = self._is_overridden("on_batch_begin", "on_batch_end")
        self.watches_gradients_ = self._is_overridden("on_grad_computed")
        return self

    def _is_overridden(self, *methods):
        return any(
            getattr(type(callback), method) is not getattr(Callback, method)
            for _, callback in self.callbacks_
            for method in methods
        )

    def _phase_label(self):
        return f"{self.label} {self.phase_.name}".rstrip()

    def get_split_datasets(self, X, y=None, **fit_params):
        """Return the data sets of the phase."""
        return self.phase_.dataset, self.phase_.dataset_valid

    def get_iterator(self, dataset, training=False):
        """Return the batches of a data set of the phase."""
        phase = self.phase_
        return BatchIterator(
            dataset,
            phase.batch_size,
            phase.sampler if training else phase.sampler_valid,
            self.order_generator_,
            phase.min_batch_size,
        )

    # -- the loop --------------------------------------------------------------

    def fit_phases(self, phases: Iterable[Phase]):
        """Train through all phases.

        `phases` may be a generator: what stands behind a ``yield`` sees the module as
        that phase has left it. Every phase starts with a history and callbacks of its
        own; `epochs` holds what all of them have left.
        """
        self.optimizer_states_: dict[str, dict] = {}
        for phase in phases:
            self.phase_ = phase
            self.initialized_ = False  # a new phase is no re-initialisation to report
            self.initialize()
            self.max_epochs = phase.max_epochs
            self.epoch_ = sum(row.get("phase", "") == phase.name for row in self.epochs)
            self.step_ = 0
            try:
                with _threads_for(phase):
                    self.partial_fit(phase.dataset)
            finally:
                self.module_.eval()
                self.epochs += self._finished_epochs()
                self._leave_optimizers()
        return self

    def _leave_optimizers(self):
        for player, optimizer in self.turns_:
            if self.keep_optimizers:
                state = optimizer.state_dict()["state"]
                self.optimizer_states_[player.name] = state
            else:
                # Nobody steps any more: let the next phase have the memory.
                optimizer.state.clear()

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        """Train through the current phase; unlike skorch's, pass Ctrl-C on."""
        self.notify("on_train_begin", X=X, y=y)
        self.good_weights_ = _GoodWeights(self.module_, self.phase_.players)
        try:
            self.fit_loop(X, y)
        except KeyboardInterrupt:
            if not self._is_stopped_early():
                raise
        finally:
            self.notify("on_train_end", X=X, y=y)
            del self.good_weights_
        return self

    def _is_stopped_early(self):
        return any(
            isinstance(callback, EarlyStopping)
            and callback.misses_ == callback.patience
            for _, callback in self.callbacks_
        )

    def on_epoch_begin(self, net, **kwargs):
        """Open the history's row; set seeds, learning rates, scalars and banks."""
        super().on_epoch_begin(net, **kwargs)
        phase = self.phase_
        # Seeded anew in every epoch: a warm start goes on as if it had never stopped.
        self.order_generator_.manual_seed(self.seed + self.epoch_)
        self.generator_.manual_seed(self.seed + self.epoch_)
        self.history.record("epoch", len(self.epochs) + len(self.history))
        if phase.name:
            self.history.record("phase", phase.name)
        for player, optimizer in self.turns_:
            if callable(player.lr):
                for group in optimizer.param_groups:
                    group["lr"] = player.lr_at(self.epoch_)
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

    def on_epoch_end(self, net, **kwargs):
        """Record what the phase says of the epoch, and count it."""
        phase = self.phase_
        if phase.end_epoch is not None:
            self.module_.eval()
            for name, value in phase.end_epoch(self.module_, self.state_).items():
                self.history.record(name, value)
        self.epoch_ += 1

    def train_step(self, batch, **fit_params):
        """Let every player whose turn it is move its own parameters.

        Returns
        -------
        step : dict
            ``loss`` of the first player, and all `terms` by player.
        """
        step_terms: dict[str, Terms] = {}
        first = self.phase_.players[0]
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
        """Evaluate what falls as the model improves, by the first player."""
        player = self.phase_.players[0]
        with torch.no_grad():
            loss, terms = player.loss(self.module_, batch, self.state_)
        loss = player.monitored(loss, terms)
        return {"loss": loss, "terms": {"valid": {"valid_loss": loss}}}

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
                self.notify("on_batch_end", batch=batch, training=training, **step)
            n_batches += 1
        if not self.watches_batches_:
            # Checkpoint looks for the last batch in the history.
            self.history.new_batch()
            self.history.record_batch(f"{prefix}_batch_size", n_rows)
        values = means.compute()
        if training:
            self._guard_weights(values)
        for name, value in values.items():
            self.history.record(name, value)
        self.record_best(f"{prefix}_loss", lower_is_better=True)
        self.history.record(f"{prefix}_batch_count", n_batches)

    def record_best(self, name, *, lower_is_better):
        """Note in `{name}_best`, for callbacks, if the last value is the best yet."""
        *earlier, value = self.history[:, name]
        if not lower_is_better:
            earlier, value = [-other for other in earlier], -value
        self.history.record(f"{name}_best", all(value < other for other in earlier))

    def _guard_weights(self, values):
        """Keep the weights of a finite epoch; bring them back after another one."""
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if not bad and not self.good_weights_.are_finite():
            bad = ["the weights"]
        if not bad:
            self.good_weights_.keep()
            return
        self.good_weights_.bring_back()
        rates = {
            p.name: optimizer.param_groups[0]["lr"] for p, optimizer in self.turns_
        }
        raise FloatingPointError(
            f"{self._phase_label()}: {', '.join(bad)} became infinite or NaN in epoch "
            f"{self.history[-1, 'epoch']}; the last finite weights are back in "
            "module_. Standardise the features "
            "(PairTransformer(image=StandardScaler(), text=StandardScaler())), lower "
            f"the learning rate (now {rates}), or clip gradients with "
            "callbacks=[skorch.callbacks.GradientNormClipping(1.0)]."
        )

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
        others = [f"{player.name}_loss" for player in self.phase_.players[1:]]
        shown = ["train_loss", *others, "valid_loss", "valid_map"]
        row = self.history[-1]
        return {name: row[name] for name in shown if name in row}


class _TermMeans:
    """Mean of every loss term over the rows of an epoch, without waiting for it."""

    def __init__(self):
        self.pending: dict[str, list[torch.Tensor]] = {}
        self.weights: dict[str, list[float]] = {}
        self.names: dict[str, list[str]] = {}
        self.sums: dict[str, torch.Tensor] = {}
        self.n_rows: dict[str, float] = {}

    def add(self, player, terms, n_rows):
        self.names[player] = list(terms)
        self.pending.setdefault(player, []).extend(terms.values())
        self.weights.setdefault(player, []).append(n_rows)
        if len(self.weights[player]) == _STEPS_PER_SUM:
            self._sum_up(player)

    def _sum_up(self, player):
        weights = self.weights.pop(player)
        values = torch.stack(self.pending.pop(player)).view(len(weights), -1)
        sums = values.new_tensor(weights) @ values
        self.sums[player] = self.sums.get(player, 0) + sums
        self.n_rows[player] = self.n_rows.get(player, 0) + sum(weights)

    def compute(self):
        for player in list(self.pending):
            self._sum_up(player)
        means: dict[str, float] = {}
        for player, sums in self.sums.items():
            values = (sums / self.n_rows[player]).tolist()
            means.update(zip(self.names[player], values, strict=True))
        return means


class _GoodWeights:
    """Copy of what the players of a phase move, and of all buffers.

    It stays in its place from epoch to epoch: for wide networks, new memory would cost
    more than the copying.
    """

    def __init__(self, module, players):
        moved = dict.fromkeys(p for player in players for p in player.parameters)
        self.parameters = [parameter.detach() for parameter in moved]
        self.current = [*self.parameters, *module.buffers()]
        self.kept = [tensor.clone() for tensor in self.current]

    def are_finite(self):
        sums = [parameter.sum() for parameter in self.parameters]
        return torch.stack(sums).isfinite().all().item()

    def keep(self):
        for kept, current in zip(self.kept, self.current, strict=True):
            kept.copy_(current)

    def bring_back(self):
        for kept, current in zip(self.kept, self.current, strict=True):
            current.copy_(kept)


@contextmanager
def _threads_for(phase):
    """Use as many threads as there is work for, then give them back."""
    n_threads = torch.get_num_threads()
    n_weights = sum(p.numel() for player in phase.players for p in player.parameters)
    n_useful = max(1, int(3 * n_weights * phase.batch_size // _WORK_OF_A_THREAD))
    if n_useful < n_threads:
        torch.set_num_threads(n_useful)
    try:
        yield
    finally:
        if torch.get_num_threads() != n_threads:
            torch.set_num_threads(n_threads)
