"""The training of one phase on small games: players, losses, history."""

# SPDX-License-Identifier: BSD-3-Clause

import weakref
from functools import partial

import numpy as np
import pytest
import torch
from skorch.callbacks import Freezer, GradientNormClipping
from torch import nn

from sklearn_cmr.training import Player
from sklearn_cmr.training.net import PairNet
from tests.training.games import (
    BATCH,
    LR,
    N_ROWS,
    assert_same_weights,
    critic_loss,
    encoder_loss,
    make_dataset,
    make_module,
    make_phase,
    make_recorder,
    parameters_of,
    spied_on,
    train,
    two_players,
    weights,
)

# -- players -------------------------------------------------------------------


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize(
    "critic",
    [
        {},
        {"every": 2},
        {"every": 2, "begins": 1, "weight_decay": 0.3},
        {"lr": lambda epoch: LR / (1 + epoch)},
        {"betas": (0.5, 0.9)},
        {"weight_decay": 0.3},
    ],
    ids=["plain", "every", "begins", "lr", "betas", "weight_decay"],
)
def test_game_equals_textbook_loop(critic, clip):
    module = make_module()
    callbacks = [GradientNormClipping(clip)] if clip else None
    players = two_players(module, **critic)
    train(module, make_phase(players), seed=7, callbacks=callbacks)

    other, dataset = make_module(), make_dataset()
    encoders = parameters_of(other, "image", "text")
    critics = parameters_of(other, "critic")
    lr = critic.get("lr", LR)
    lr = lr if callable(lr) else lambda epoch: critic.get("lr", LR)
    step_encoders = torch.optim.Adam(encoders, LR, fused=False, foreach=False)
    step_critic = torch.optim.Adam(
        critics,
        LR,
        critic.get("betas", (0.9, 0.999)),
        weight_decay=critic.get("weight_decay", 0.0),
        fused=False,
        foreach=False,
    )
    n_steps = 0
    for epoch in range(3):
        order = torch.randperm(
            N_ROWS, generator=torch.Generator().manual_seed(7 + epoch)
        )
        step_critic.param_groups[0]["lr"] = lr(epoch)
        for rows in order.split(BATCH):
            batch = dataset.take(rows)
            step_encoders.zero_grad()
            encoder_loss(other, batch, None)[0].backward()
            if clip:
                nn.utils.clip_grad_norm_(encoders, clip)
            step_encoders.step()
            n_steps += 1
            plays = epoch >= critic.get("begins", 0)
            if plays and n_steps % critic.get("every", 1) == 0:
                step_critic.zero_grad()
                critic_loss(other, batch, None)[0].backward()
                if clip:
                    nn.utils.clip_grad_norm_(critics, clip)
                step_critic.step()
    for name, tensor in other.state_dict().items():
        torch.testing.assert_close(
            module.state_dict()[name], tensor, rtol=1e-5, atol=1e-6, msg=name
        )


def test_optimizers_are_disjoint_and_complete():
    module = make_module()
    net = PairNet(module, make_phase(two_players(module)), verbose=0).run()
    held = [
        {id(p) for group in optimizer.param_groups for p in group["params"]}
        for optimizer in (net.optimizer_encoder_, net.optimizer_critic_)
    ]
    assert not held[0] & held[1]
    assert held[0] | held[1] == {id(p) for p in module.parameters()}
    # That of skorch stands for both.
    groups = net.optimizer_.param_groups
    assert groups[0] is net.optimizer_encoder_.param_groups[0]
    assert groups[1] is net.optimizer_critic_.param_groups[0]


def test_players_move_their_own_parameters_only():
    module, log = make_module(), []
    players = two_players(module)
    for player in players:
        player.loss = spied_on(log, player.name, player.loss)
    train(module, make_phase(players, turns=["encoder", "critic", "critic"]))
    log.append(("end", weights(module)))
    own = {"encoder": ("image", "text"), "critic": ("critic",)}
    for (name, before), (_, after) in zip(log[:-1], log[1:], strict=True):
        moved = {key for key in before if not torch.equal(before[key], after[key])}
        assert moved == {key for key in before if key.startswith(own[name])}


@pytest.mark.parametrize(
    ("every", "turns", "expected"),
    [
        (1, None, "ec ec ec ec"),
        (2, None, "e ec e ec"),
        (1, ["critic", "encoder"], "ce ce ce ce"),
        (2, ["encoder", "critic", "encoder", "encoder"], "eee ecee eee ecee"),
    ],
)
def test_order_of_play(every, turns, expected):
    module, log = make_module(), []
    players = two_players(module, every=every)
    if turns and turns[0] == "critic":
        players[1].loss = lambda module, *_: (module["critic"].weight.sum(), {})
    for player in players:
        player.loss = spied_on(log, player.name[0], player.loss)
    phase = make_phase(players, turns=turns, max_epochs=2, batch_size=N_ROWS // 2)
    train(module, phase)
    assert "".join(name for name, _ in log) == expected.replace(" ", "")


def test_one_backward_for_every_turn_and_no_stray_gradients():
    module = make_module()

    def on_grad_computed(self, net, named_parameters, batch, training):
        names = [name for name, _ in named_parameters]
        gradients = {
            name: None if p.grad is None else p.grad.clone()
            for name, p in net.module_.named_parameters()
        }
        self.log.append((names, gradients))

    recorder = make_recorder(on_grad_computed=on_grad_computed)
    train(module, make_phase(two_players(module), max_epochs=2), callbacks=[recorder])
    assert len(recorder.log) == 2 * 3 * 2
    for turn, (names, gradients) in enumerate(recorder.log):
        prefix = ("image", "text") if turn % 2 == 0 else ("critic",)
        assert names == [name for name in gradients if name.startswith(prefix)]
        before = recorder.log[turn - 1][1] if turn else dict.fromkeys(gradients)
        for name in gradients.keys() - set(names):
            same = gradients[name] is before[name] is None
            assert same or torch.equal(gradients[name], before[name])


def test_frozen_parameters_stay():
    module = make_module()
    before = weights(module)
    train(module, make_phase(two_players(module)), callbacks=[Freezer("text.*")])
    after = weights(module)
    for name in before:
        is_same = torch.equal(before[name], after[name])
        assert is_same == name.startswith("text")


def test_parameters_frozen_on_the_way_stay():
    first, second = make_module(), make_module()
    train(first, make_phase(two_players(first), max_epochs=1))
    train(second, make_phase(two_players(second)), callbacks=[Freezer("text.*", at=2)])
    assert torch.equal(first["text"].weight, second["text"].weight)
    assert not torch.equal(first["image"].weight, second["image"].weight)


def test_frozen_player_stays():
    module = make_module()
    before = weights(module)
    train(module, make_phase(two_players(module)), callbacks=[Freezer("critic.*")])
    assert torch.equal(before["critic.weight"], module["critic"].weight)


def test_six_players_generators_five_times():
    """Four discriminators once, then two generators five times, as in CM-GANs."""
    names = ["g_img", "g_txt", "d1", "d2", "d3", "d4"]
    module = nn.ModuleDict({name: nn.Linear(5, 1) for name in names})
    log = []

    def make_player(name):
        def loss(module, batch, state):
            value = module[name](batch.features["image"]).mean()
            return value, {f"{name}_mean": value}

        return Player(
            name, list(module[name].parameters()), spied_on(log, name, loss), LR
        )

    players = [make_player(name) for name in names]
    turns = names[2:] + 5 * names[:2]
    trainer = train(module, make_phase(players, turns=turns, max_epochs=2))
    assert [name for name, _ in log] == turns * 3 * 2
    assert {f"{name}_loss" for name in names} <= trainer.history[-1].keys()
    steps = {
        name: int(trainer.moments[name][f"{name}.weight"]["step"]) for name in names
    }
    assert steps == dict.fromkeys(names[:2], 30) | dict.fromkeys(names[2:], 6)


def test_min_max_over_one_loss():
    """Two players over one loss of opposite sign, one of them on every fourth batch."""
    module = nn.ParameterDict(
        {
            "down": nn.Parameter(torch.tensor([2.0])),
            "up": nn.Parameter(torch.tensor([3.0])),
        }
    )

    def loss(module, batch, state, sign):
        return sign * (module["down"] * module["up"]).sum(), {}

    players = [
        Player("down", [module["down"]], partial(loss, sign=1), LR),
        Player("up", [module["up"]], partial(loss, sign=-1), LR, every=4),
    ]
    log = []
    players[0].loss = spied_on(log, "down", players[0].loss)
    train(module, make_phase(players, max_epochs=1, batch_size=N_ROWS // 8))
    ups = [float(seen["up"]) for _, seen in log] + [module["up"].item()]
    assert ups[0] == ups[1] == ups[2] == ups[3] == 3.0
    assert ups[4] == ups[7] == pytest.approx(3.0 + LR)
    assert ups[8] == pytest.approx(3.0 + 2 * LR, abs=1e-4)
    assert module["down"].item() == pytest.approx(2.0 - 8 * LR, abs=1e-4)


# -- epochs --------------------------------------------------------------------


def test_schedule_and_begin_epoch():
    module, seen = make_module(), []

    def begin_epoch(module, state):
        seen.append(("begin", dict(state.scalars), weights(module)))

    def loss(module, batch, state):
        seen.append(("loss", dict(state.scalars), weights(module)))
        value = module["image"](batch.features["image"]).square().mean()
        return state.scalars["weight"] * value, {}

    phase = make_phase(
        [Player("encoder", parameters_of(module, "image"), loss, LR)],
        schedule=lambda epoch: {"weight": 0.5 * epoch, "count": epoch},
        begin_epoch=begin_epoch,
        max_epochs=2,
        batch_size=N_ROWS,
    )
    trainer = train(module, phase)
    assert [kind for kind, *_ in seen] == ["begin", "loss"] * 2
    assert [float(scalars["weight"]) for _, scalars, _ in seen] == [0, 0, 0.5, 0.5]
    for _, scalars, _ in seen:
        assert all(v.dtype == torch.float32 and v.ndim == 0 for v in scalars.values())
    assert_same_weights(seen[0][2], seen[1][2])
    assert [row["weight"] for row in trainer.history] == [0, 0.5]


def test_a_phase_stops_when_its_loss_rises():
    losses = [3.0, 2.0, 2.5, 1.0]
    module = nn.ParameterDict({"w": torch.zeros(1)})

    def loss(module, batch, state):
        return state.scalars["level"] + 1e-3 * module["w"].sum(), {}

    phase = make_phase(
        [Player("only", [module["w"]], loss, LR)],
        max_epochs=4,
        batch_size=N_ROWS,
        schedule=lambda epoch: {"level": losses[epoch]},
        stops_on_rise=True,
    )
    trainer = train(module, phase)
    assert [row["level"] for row in trainer.history] == losses[:3]
    # The weights are those of the second epoch.
    assert module["w"].item() == pytest.approx(-2 * LR, rel=1e-3)


# -- history -------------------------------------------------------------------


def test_terms_are_means_over_rows():
    module, seen = make_module(), []

    def loss(module, batch, state):
        value = module["image"](batch.features["image"]).square().mean()
        seen.append((value.item(), len(batch.rows)))
        return value, {"double": 2 * value}

    player = Player("encoder", parameters_of(module, "image"), loss, LR)
    trainer = train(module, make_phase([player], max_epochs=1))
    values, sizes = map(np.array, zip(*seen, strict=True))
    assert sizes.tolist() == [16, 16, 8]
    row = trainer.history[0]
    assert row["train_loss"] == pytest.approx(np.average(values, weights=sizes))
    assert row["train_loss"] == row["encoder_loss"]
    assert row["double"] == pytest.approx(2 * row["train_loss"])
    assert row["seconds"] > 0


def test_terms_of_a_step_are_not_kept():
    """Small tensors between large ones would keep the memory from being used again."""
    module, terms, n_alive = make_module(), [], []

    def loss(module, batch, state):
        term = torch.ones(()) + 1
        terms.append(weakref.ref(term))
        n_alive.append(sum(known() is not None for known in terms))
        return module["image"](batch.features["image"]).square().mean(), {"two": term}

    player = Player("encoder", parameters_of(module, "image"), loss, LR)
    trainer = train(module, make_phase([player], max_epochs=1, batch_size=2))
    assert len(terms) == N_ROWS // 2
    assert max(n_alive) <= 2
    assert trainer.history[0]["two"] == 2


def test_end_epoch_sees_the_evaluated_module_and_goes_into_the_history():
    seen = []

    def on_epoch_end(self, net, **kwargs):
        self.log.append(net.history[-1, "quality"])

    recorder = make_recorder(on_epoch_end=on_epoch_end)

    def end_epoch(module, state):
        seen.append((module.training, state.scalars["strength"].item()))
        return {"quality": len(seen) / 2}

    module = make_module()
    phase = make_phase(
        two_players(module),
        schedule=lambda epoch: {"strength": float(epoch)},
        end_epoch=end_epoch,
    )
    trainer = train(module, phase, callbacks=[recorder])
    assert seen == [(False, 0.0), (False, 1.0), (False, 2.0)]
    assert recorder.log == [row["quality"] for row in trainer.history] == [0.5, 1, 1.5]


def test_without_a_score_early_stopping_watches_the_held_out_loss():
    module = make_module()
    best = {}

    def end_epoch(module, state):
        best[len(best)] = weights(module)
        return {}

    phase = make_phase(
        two_players(module),
        dataset_valid=make_dataset(17),
        max_epochs=200,
        end_epoch=end_epoch,
        patience=3,
    )
    phase.players[0].lr = 0.3
    trainer = train(module, phase)
    losses = [row["valid_loss"] for row in trainer.history]
    assert len(losses) < 200
    assert int(np.argmin(losses)) == len(losses) - 4
    assert_same_weights(weights(module), best[int(np.argmin(losses))])


def test_monitored_term_is_recorded_for_training_and_validation():
    module, valid = make_module(), make_dataset(n_rows=10)
    phase = make_phase(two_players(module), dataset_valid=valid, max_epochs=2)
    trainer = train(module, phase)
    with torch.no_grad():
        loss, terms = encoder_loss(module, valid.take(torch.arange(10)), None)
    row = trainer.history[-1]
    assert row["train_loss"] == row["gap"] != row["encoder_loss"]
    assert row["valid_loss"] == pytest.approx(float(terms["gap"]), rel=1e-5)
    assert row["valid_loss"] != pytest.approx(float(loss), rel=1e-5)


def test_validation_does_not_change_the_training():
    first, second = make_module(), make_module()
    train(first, make_phase(two_players(first)))
    valid = make_dataset(n_rows=10)
    train(second, make_phase(two_players(second), dataset_valid=valid))
    assert_same_weights(weights(first), weights(second))


def test_samplers_of_training_and_validation():
    def roles(n_samples, batch_size, generator):
        for _ in range(2):
            yield torch.randint(n_samples, (3, batch_size), generator=generator)

    module, shapes = make_module(), []

    def loss(module, batch, state):
        shapes.append((module.training, tuple(batch.features["image"].shape)))
        anchor, near, far = module["image"](batch.features["image"])
        value = (anchor - near).square().mean() - (anchor - far).square().mean()
        return value, {}

    phase = make_phase(
        [Player("encoder", parameters_of(module, "image"), loss, LR)],
        sampler=roles,
        sampler_valid=roles,
        dataset_valid=make_dataset(n_rows=10),
        max_epochs=1,
        batch_size=8,
    )
    train(module, phase)
    assert shapes == [(True, (3, 8, 5))] * 2 + [(False, (3, 8, 5))] * 2


def test_held_out_rows_come_in_order():
    module, rows = make_module(), []

    def loss(module, batch, state):
        if not module.training:
            assert not torch.is_grad_enabled()
            rows.extend(batch.rows.tolist())
        return module["image"](batch.features["image"]).square().mean(), {}

    player = Player("encoder", parameters_of(module, "image"), loss, LR)
    train(module, make_phase([player], dataset_valid=make_dataset(), max_epochs=2))
    assert rows == 2 * list(range(N_ROWS))


# -- GPU -----------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_gives_the_losses_of_the_cpu():
    curves = []
    for device in ("cpu", "cuda"):
        module = make_module().to(device)
        dataset = make_dataset(device=torch.device(device))
        phase = make_phase(two_players(module), dataset=dataset, max_epochs=7)
        trainer = train(module, phase)
        curves.append([row["train_loss"] for row in trainer.history])
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-4)
