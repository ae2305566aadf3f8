"""Players and phases: what they check and compute."""

# SPDX-License-Identifier: BSD-3-Clause

import pytest
import torch

from sklearn_cmr.training import Player
from tests.training.games import (
    BATCH,
    image_loss,
    make_module,
    make_phase,
    two_players,
)


def make_player(**settings):
    parameter = torch.nn.Parameter(torch.zeros(3))
    return Player("one", [parameter], image_loss, **{"lr": 1e-3} | settings)


@pytest.mark.parametrize(
    "betas", [(0.5,), (0.5, 0.9, 0.9), (1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (0.9, 7)]
)
def test_betas_are_two_numbers_in_range(betas):
    with pytest.raises(ValueError, match=r"betas must be two numbers in \[0, 1\)") as e:
        make_player(betas=betas)
    assert repr(betas) in str(e.value)


@pytest.mark.parametrize("betas", [(0, 0), [0.5, 0.999]])
def test_betas_in_range_reach_the_optimizer(betas):
    (group,) = make_player(betas=betas).make_optimizer().param_groups
    assert group["betas"] == tuple(betas)


def test_optimizer_is_adam_with_the_settings_of_the_player():
    player = make_player(lr=lambda epoch: 1 / (1 + epoch), weight_decay=0.25)
    optimizer = player.make_optimizer(epoch=3)
    assert type(optimizer) is torch.optim.Adam
    (group,) = optimizer.param_groups
    assert group["params"] == player.parameters
    assert (group["lr"], group["weight_decay"]) == (0.25, 0.25)


def test_learning_rate_of_an_epoch():
    assert make_player(lr=0.5).lr_at(7) == 0.5
    assert make_player(lr=lambda epoch: epoch / 2).lr_at(7) == 3.5


def test_monitored_term_of_a_player():
    terms = {"gap": torch.tensor(2.0)}
    loss = torch.tensor(1.0)
    assert make_player().monitored(loss, terms) is loss
    assert make_player(monitor="gap").monitored(loss, terms) is terms["gap"]


def test_work_of_a_step_counts_the_weights_of_all_players():
    module = make_module()
    phase = make_phase(two_players(module))
    n_weights = sum(p.numel() for p in module.parameters())
    assert phase.n_multiply_adds == 3 * n_weights * BATCH
