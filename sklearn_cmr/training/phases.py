"""What a training consists of: phases, players, and what a loss gets to see."""

# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import NamedTuple

import numpy as np
import torch

from sklearn_cmr.training.samplers import Sampler, in_order, shuffled


class EpochState(NamedTuple):
    """What a loss gets besides the module and the batch.

    Parameters
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

    Parameters
    ----------
    name : str
        Unique in the method. Names its optimizer, ``optimizer_{name}_``, and its loss
        in the history, ``{name}_loss``. Where the trainer keeps Adam's moments, a
        player of the same name in a later phase continues with them.

    parameters : sequence of torch.nn.Parameter
        What it updates. Only players that take turns on one network share parameters.

    loss : callable
        ``loss(module, batch, state)`` returns the 0-d tensor to minimize and a dict of
        terms for the history. A pure function of tensors, without host synchronization;
        only ``batch.cache`` may be written to.

    lr : float or callable
        Learning rate, or ``lr(epoch)``.

    betas : tuple of float
        Decay rates of Adam's moments.

    every : int
        It takes a step on every `every`-th batch.

    begins : int
        First epoch in which it takes steps, 0-based.

    monitor : str, default=None
        Name of the term that decreases as the model improves; the loss itself by
        default. That of the first player is recorded as `train_loss` and `valid_loss`.

    weight_decay : float
        Half of it times the squared weights is added to the loss.

    base_lr : float, default=None
        Learning rate before any decay; None is that of the first epoch.

    rate_factors : dict of torch.nn.Parameter to float
        Factors of the learning rate, for parameters with a rate of their own. They
        follow its decays.
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
    base_lr: float | None = None
    rate_factors: Mapping[torch.nn.Parameter, float] = field(default_factory=dict)

    def __post_init__(self):
        betas = list(self.betas) if np.iterable(self.betas) else []
        is_valid = all(isinstance(beta, Real) and 0 <= beta < 1 for beta in betas)
        if not is_valid or len(betas) != 2:
            raise ValueError(
                "betas must be two numbers in [0, 1), the decay rates of Adam's first "
                f"and second moment estimates; got {self.betas!r}."
            )

    def lr_at(self, epoch):
        """Return the learning rate of a 0-based epoch."""
        return self.lr(epoch) if callable(self.lr) else self.lr

    @property
    def base_rate(self):
        """Learning rate before any decay."""
        return self.lr_at(0) if self.base_lr is None else self.base_lr

    def groups(self):
        """Return the parameters by the factor of their rate, as the optimizer does.

        Those with the rate of the player come first.

        Returns
        -------
        groups : dict of float to list of torch.nn.Parameter
            Without empty groups.
        """
        groups: dict[float, list[torch.nn.Parameter]] = {1.0: []}
        for parameter in self.parameters:
            factor = self.rate_factors.get(parameter, 1.0)
            groups.setdefault(factor, []).append(parameter)
        return {factor: own for factor, own in groups.items() if own}

    def make_optimizer(self, epoch=0):
        """Build Adam; its fused form is several times faster where there is one."""
        fused = self.parameters[0].device.type in ("cpu", "cuda")
        beta1, beta2 = self.betas
        lr = self.lr_at(epoch)
        return torch.optim.Adam(
            [
                {"params": own, "lr": lr * factor, "rate_factor": factor}
                for factor, own in self.groups().items()
            ],
            betas=(float(beta1), float(beta2)),
            weight_decay=self.weight_decay,
            fused=fused,
        )

    def monitored(self, loss, terms):
        """Return what decreases as the model improves."""
        return loss if self.monitor is None else terms[self.monitor]


@dataclass
class Phase:
    """A stretch of training with its own players.

    Parameters
    ----------
    players : sequence of Player
        The first one takes a step on every batch, and its loss is monitored.

    dataset : RowDataset, Subset or UnpairedDataset
        Training rows.

    max_epochs, batch_size : int
        Number of epochs, and of rows in a batch.

    name : str
        Recorded in the history. Where a method has several phases, each has its own.

    turns : sequence of str, default=None
        Names of the players in the order of their steps on a batch, with repeats; each
        once by default.

    schedule : callable, default=None
        ``schedule(epoch)`` returns named floats for the losses and for the history.

    begin_epoch : callable, default=None
        ``begin_epoch(module, state)`` runs before every epoch, e.g. to refresh banks.
        What it remembers from epoch to epoch is in checkpoints if it has the methods
        ``state_dict()`` and ``load_state_dict(state)``.

    end_epoch : callable, default=None
        ``end_epoch(module, state)`` runs after every epoch, the module in evaluation
        mode, and returns named floats for the history. It may have the
        two methods, too.

    sampler : callable, default=shuffled
        See `sklearn_cmr.training.batches.BatchIterator`.

    sampler_valid : callable, default=in_order
        The same for the held-out rows.

    min_batch_size : int
        A smaller last batch is merged into the one before it.

    dataset_valid : RowDataset, Subset or UnpairedDataset, default=None
        Held-out rows.

    score_valid : callable, default=None
        ``score_valid(module)`` returns the mAP of held-out rows, which early stopping
        monitors; without it, early stopping monitors their loss.

    patience : int, default=None
        Number of epochs without an improvement on the held-out rows after which the
        phase ends; None never ends it early.

    stops_on_rise : bool
        Whether the phase ends when `train_loss` rises, with the weights before that.

    n_multiply_adds_before : float
        Number of multiply-adds of a row before the networks of the method.
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
    patience: int | None = None
    stops_on_rise: bool = False
    n_multiply_adds_before: float = 0.0

    @property
    def n_multiply_adds(self):
        """Rough number of multiply-adds of a step of all players."""
        n_weights = sum(p.numel() for own in self.players for p in own.parameters)
        return 3 * (n_weights + self.n_multiply_adds_before) * self.batch_size
