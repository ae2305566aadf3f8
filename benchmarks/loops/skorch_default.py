"""Any method in the training loop of skorch: its ``DataLoader``, default Adam."""

# SPDX-License-Identifier: BSD-3-Clause

import torch
from skorch import NeuralNet

from loops.common import device_for, prepare, seed_of
from sklearn_cmr._inputs.labels import read_labels
from sklearn_cmr.training import Batch, EpochState
from sklearn_cmr.training.modalities import HeldOut


class TurnsNet(NeuralNet):
    """Train several players in turn on every batch, and otherwise as skorch does."""

    def __init__(self, module, *, phase, estimator, **kwargs):
        self.phase = phase
        self.estimator = estimator
        super().__init__(module, criterion=torch.nn.Identity, **kwargs)

    def initialize_module(self):
        """Use the given module, already initialized."""
        self.module_ = self.module
        self.step_ = 0
        return self

    def initialize_optimizer(self):
        """Give every player the default Adam."""
        self.optimizers_ = {
            player.name: torch.optim.Adam(
                player.parameters,
                lr=player.lr_at(0),
                betas=player.betas,
                weight_decay=player.weight_decay,
            )
            for player in self.phase.players
        }
        self.optimizer_ = next(iter(self.optimizers_.values()))
        return self

    def on_epoch_begin(self, net, **kwargs):
        super().on_epoch_begin(net, **kwargs)
        epoch, phase = len(self.history) - 1, self.phase
        values = phase.schedule(epoch) if phase.schedule else {}
        scalars = {name: torch.tensor(value) for name, value in values.items()}
        seed = seed_of(self.estimator) + epoch
        generator = torch.Generator(self.device).manual_seed(seed)
        self.state_ = EpochState(scalars, generator)
        if phase.begin_epoch is not None:
            phase.begin_epoch(self.module_, self.state_)

    def on_epoch_end(self, net, **kwargs):
        if self.phase.end_epoch is not None:
            self.phase.end_epoch(self.module_, self.state_)

    def train_step(self, batch, **fit_params):
        """Compute the loss of every player, and let its optimizer take a step."""
        self._set_training(True)
        features, y = batch
        features = dict(features)
        rows = features.pop("rows")
        if y.ndim == 3:  # roles come first in a batch, rows first in skorch
            features = {name: X.transpose(0, 1) for name, X in features.items()}
            y, rows = y.transpose(0, 1), rows.T
        batch = Batch(features, y, rows, {})
        losses = {}
        players = {player.name: player for player in self.phase.players}
        self.step_ += 1
        for name in self.phase.turns or players:
            player = players[name]
            if len(self.history) <= player.begins or self.step_ % player.every:
                continue
            self.optimizers_[name].zero_grad()
            loss, terms = player.loss(self.module_, batch, self.state_)
            loss.backward()
            self.optimizers_[name].step()
            losses[name] = player.monitored(loss, terms)
        return {"loss": losses[self.phase.players[0].name], "y_pred": None}


def rows_of_epoch(phase, n_samples, seed):
    """Return the rows of an epoch, of shape (n,), or (n, roles) if drawn by role."""
    generator = torch.Generator().manual_seed(seed)
    batches = phase.sampler(n_samples, phase.batch_size, generator)
    rows = torch.cat(list(batches), dim=-1)
    return rows.T if rows.ndim == 2 else rows


def train(estimator, data, epochs):
    """Train with the same networks and losses through skorch's own loop."""
    device = device_for(estimator)
    builder, module = prepare(estimator.set_params(max_epochs=epochs), data)
    features, labels = read_labels(data.y, data.features, builder)
    held_out = HeldOut(None, seed_of(estimator))
    task = builder._make_task(features, labels, device, held_out)
    losses = []
    for phase in builder._phases(module, task):
        rows = rows_of_epoch(phase, data.n_samples, seed_of(estimator))
        sources = {
            name: part.tensor[rows] for name, part in phase.dataset.features.items()
        }
        net = TurnsNet(
            module,
            phase=phase,
            estimator=builder,
            batch_size=phase.batch_size,
            max_epochs=phase.max_epochs,
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
            device=str(device),
        )
        net.fit(sources | {"rows": rows}, phase.dataset.labels.tensor[rows].float())
        losses += net.history[:, "train_loss"]
    return losses
