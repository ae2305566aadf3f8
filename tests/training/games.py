"""Small games that the tests of the engine play."""

# SPDX-License-Identifier: BSD-3-Clause

import math

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import nn

from sklearn_cmr.training import Phase, Player, RowDataset
from sklearn_cmr.training.trainer import Trainer

N_ROWS, BATCH, LR = 40, 16, 0.01
CPU = torch.device("cpu")


def make_dataset(n_rows=N_ROWS, device=CPU):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n_rows)
    features = {
        "image": rng.normal(size=(n_rows, 5)).astype(np.float32) + y[:, None],
        "text": rng.normal(size=(n_rows, 4)).astype(np.float32) - y[:, None],
    }
    return RowDataset(features, np.eye(2, dtype=np.uint8)[y], device)


def make_module():
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            "image": nn.Linear(5, 3),
            "text": nn.Linear(4, 3),
            "critic": nn.Linear(3, 1, bias=False),
        }
    )


def encoder_loss(module, batch, state):
    z_img = module["image"](batch.features["image"])
    z_txt = module["text"](batch.features["text"])
    batch.cache["z"] = torch.cat([z_img, z_txt]).detach()
    gap = (z_img - z_txt).square().mean()
    told_apart = (module["critic"](z_img) - module["critic"](z_txt)).mean()
    return gap + 0.1 * told_apart, {"gap": gap}


def critic_loss(module, batch, state):
    z_img, z_txt = batch.cache["z"].chunk(2)
    loss = -(module["critic"](z_img) - module["critic"](z_txt)).mean()
    return loss + module["critic"].weight.square().sum(), {}


def image_loss(module, batch, state):
    return module["image"](batch.features["image"]).square().mean(), {}


def parameters_of(module, *names):
    return [p for name in names for p in module[name].parameters()]


def two_players(module, **critic):
    encoder = Player(
        "encoder",
        parameters_of(module, "image", "text"),
        encoder_loss,
        LR,
        monitor="gap",
    )
    critic = {"loss": critic_loss, "lr": LR} | critic
    return [encoder, Player("critic", parameters_of(module, "critic"), **critic)]


def make_phase(players, **settings):
    settings = {
        "dataset": make_dataset(),
        "max_epochs": 3,
        "batch_size": BATCH,
    } | settings
    return Phase(players, **settings)


def train(module, *phases, **settings):
    return Trainer(module, verbose=0, **settings).fit(phases)


def weights(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def spied_on(log, name, loss):
    """Return the loss, which also notes who plays and the weights before the step."""

    def spy(module, batch, state):
        log.append((name, weights(module)))
        return loss(module, batch, state)

    return spy


def make_recorder(**methods):
    """Make a callback class with a log, on the class since fits work on copies."""
    return type("Recorder", (Callback,), {"log": [], **methods})


def fails_in_epoch(fail, epoch):
    """Return a game of the encoder that ends in `fail(module, value)` in an epoch."""

    def loss(module, batch, state):
        value, _ = image_loss(module, batch, state)
        if state.scalars["at"] == epoch and len(batch.rows) < BATCH:  # the last batch
            value = fail(module, value)
        return value, {"size": value.detach()}

    def make(module, max_epochs):
        player = Player("encoder", parameters_of(module, "image"), loss, LR)
        return make_phase(
            [player], max_epochs=max_epochs, schedule=lambda epoch: {"at": epoch}
        )

    return make


def spoil_loss(module, value):
    return value * math.nan


def spoil_gradient(module, value):
    # 0, but its slope is infinity times 0.
    return value + (0 * module["image"].weight).sum().sqrt()
