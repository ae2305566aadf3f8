"""The training engine on small games: players, phases, failures."""

# SPDX-License-Identifier: BSD-3-Clause

import math
from functools import partial

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, Freezer, GradientNormClipping, LRScheduler
from torch import nn

from sklearn_cmr.training import PairNet, Phase, Player, RowDataset
from sklearn_cmr.training import net as net_file

N_ROWS, BATCH, LR = 40, 16, 0.01
CPU = torch.device("cpu")


def make_dataset(n_rows=N_ROWS):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n_rows)
    features = {
        "image": rng.normal(size=(n_rows, 5)).astype(np.float32) + y[:, None],
        "text": rng.normal(size=(n_rows, 4)).astype(np.float32) - y[:, None],
    }
    return RowDataset(features, np.eye(2, dtype=np.uint8)[y], CPU)


def make_module():
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            "image": nn.Linear(5, 3),
            "text": nn.Linear(4, 3),
            "judge": nn.Linear(3, 1, bias=False),
        }
    )


def encoder_loss(module, batch, state):
    z_img = module["image"](batch.features["image"])
    z_txt = module["text"](batch.features["text"])
    batch.shared["z"] = torch.cat([z_img, z_txt]).detach()
    gap = (z_img - z_txt).square().mean()
    told_apart = (module["judge"](z_img) - module["judge"](z_txt)).mean()
    return gap + 0.1 * told_apart, {"gap": gap}


def judge_loss(module, batch, state):
    z_img, z_txt = batch.shared["z"].chunk(2)
    loss = -(module["judge"](z_img) - module["judge"](z_txt)).mean()
    return loss + module["judge"].weight.square().sum(), {}


def parameters_of(module, *names):
    return [p for name in names for p in module[name].parameters()]


def two_players(module, **judge):
    encoder = Player(
        "encoder",
        parameters_of(module, "image", "text"),
        encoder_loss,
        LR,
        monitor="gap",
    )
    judge = {"loss": judge_loss, "lr": LR} | judge
    return [encoder, Player("judge", parameters_of(module, "judge"), **judge)]


def make_phase(players, **settings):
    settings = {
        "dataset": make_dataset(),
        "max_epochs": 3,
        "batch_size": BATCH,
    } | settings
    return Phase(players, **settings)


def train(module, *phases, **settings):
    net = PairNet(module, verbose=0, **settings)
    return net.fit_phases(phases)


def weights(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


class Recorder(Callback):
    """Keeps what it sees on the class, since every fit works on copies."""

    log: list = []


@pytest.fixture
def recorder():
    return type("FreshRecorder", (Recorder,), {"log": []})


# -- players -------------------------------------------------------------------


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize(
    "judge",
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
def test_game_equals_textbook_loop(judge, clip):
    module = make_module()
    callbacks = [GradientNormClipping(clip)] if clip else None
    players = two_players(module, **judge)
    train(module, make_phase(players), seed=7, callbacks=callbacks)

    other, dataset = make_module(), make_dataset()
    encoders = parameters_of(other, "image", "text")
    judges = parameters_of(other, "judge")
    lr = judge.get("lr", LR)
    lr = lr if callable(lr) else lambda epoch: judge.get("lr", LR)
    move_encoders = torch.optim.Adam(encoders, LR, fused=False, foreach=False)
    move_judge = torch.optim.Adam(
        judges,
        LR,
        judge.get("betas", (0.9, 0.999)),
        weight_decay=judge.get("weight_decay", 0.0),
        fused=False,
        foreach=False,
    )
    n_steps = 0
    for epoch in range(3):
        order = torch.randperm(
            N_ROWS, generator=torch.Generator().manual_seed(7 + epoch)
        )
        move_judge.param_groups[0]["lr"] = lr(epoch)
        for rows in order.split(BATCH):
            batch = dataset.take(rows)
            move_encoders.zero_grad()
            encoder_loss(other, batch, None)[0].backward()
            if clip:
                nn.utils.clip_grad_norm_(encoders, clip)
            move_encoders.step()
            n_steps += 1
            plays = epoch >= judge.get("begins", 0)
            if plays and n_steps % judge.get("every", 1) == 0:
                move_judge.zero_grad()
                judge_loss(other, batch, None)[0].backward()
                if clip:
                    nn.utils.clip_grad_norm_(judges, clip)
                move_judge.step()
    for name, tensor in other.state_dict().items():
        torch.testing.assert_close(
            module.state_dict()[name], tensor, rtol=1e-5, atol=1e-6, msg=name
        )


def test_optimizers_are_disjoint_and_complete():
    module = make_module()
    net = train(module, make_phase(two_players(module)))
    held = [
        {id(p) for group in optimizer.param_groups for p in group["params"]}
        for optimizer in (net.optimizer_encoder_, net.optimizer_judge_)
    ]
    assert net.optimizer_ is net.optimizer_encoder_
    assert not held[0] & held[1]
    assert held[0] | held[1] == {id(p) for p in module.parameters()}


def spied_on(log, name, loss):
    """Return the loss, which also notes who plays and the weights before the move."""

    def spy(module, batch, state):
        log.append((name, weights(module)))
        return loss(module, batch, state)

    return spy


def test_players_move_their_own_parameters_only():
    module, log = make_module(), []
    players = two_players(module)
    for player in players:
        player.loss = spied_on(log, player.name, player.loss)
    train(module, make_phase(players, turns=["encoder", "judge", "judge"]))
    log.append(("end", weights(module)))
    own = {"encoder": ("image", "text"), "judge": ("judge",)}
    for (name, before), (_, after) in zip(log[:-1], log[1:], strict=True):
        moved = {key for key in before if not torch.equal(before[key], after[key])}
        assert moved == {key for key in before if key.startswith(own[name])}


@pytest.mark.parametrize(
    ("every", "turns", "expected"),
    [
        (1, None, "ej ej ej ej"),
        (2, None, "e ej e ej"),
        (1, ["judge", "encoder"], "je je je je"),
        (2, ["encoder", "judge", "encoder", "encoder"], "eee ejee eee ejee"),
    ],
)
def test_order_of_play(every, turns, expected):
    module, log = make_module(), []
    players = two_players(module, every=every)
    if turns and turns[0] == "judge":
        players[1].loss = lambda module, *_: (module["judge"].weight.sum(), {})
    for player in players:
        player.loss = spied_on(log, player.name[0], player.loss)
    phase = make_phase(players, turns=turns, max_epochs=2, batch_size=N_ROWS // 2)
    train(module, phase)
    assert "".join(name for name, _ in log) == expected.replace(" ", "")


def test_one_backward_for_every_turn_and_no_stray_gradients(recorder):
    module = make_module()

    def on_grad_computed(self, net, named_parameters, batch, training):
        names = [name for name, _ in named_parameters]
        gradients = {
            name: None if p.grad is None else p.grad.clone()
            for name, p in net.module_.named_parameters()
        }
        self.log.append((names, gradients))

    recorder.on_grad_computed = on_grad_computed
    train(module, make_phase(two_players(module), max_epochs=2), callbacks=[recorder])
    assert len(recorder.log) == 2 * 3 * 2
    for turn, (names, gradients) in enumerate(recorder.log):
        prefix = ("image", "text") if turn % 2 == 0 else ("judge",)
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
    train(module, make_phase(two_players(module)), callbacks=[Freezer("judge.*")])
    assert torch.equal(before["judge.weight"], module["judge"].weight)


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
    net = train(module, make_phase(players, turns=turns, max_epochs=2))
    assert [name for name, _ in log] == turns * 3 * 2
    assert {f"{name}_loss" for name in names} <= net.epochs[-1].keys()
    steps = {
        name: int(getattr(net, f"optimizer_{name}_").state[module[name].weight]["step"])
        for name in names
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


# -- phases --------------------------------------------------------------------


def test_phases_come_from_a_generator():
    module = make_module()
    start, between = weights(module), {}

    def phases():
        yield make_phase(two_players(module)[:1], name="encode", max_epochs=2)
        between.update(weights(module))
        assert not module.training
        assert all(not p.grad_fn for p in module.parameters())
        judge = two_players(module)[1]
        judge.loss = lambda module, batch, state: (
            module["judge"](module["image"](batch.features["image"])).mean(),
            {},
        )
        yield make_phase([judge], name="judge", max_epochs=3)

    net = PairNet(module, verbose=0).fit_phases(phases())
    assert not torch.equal(start["image.weight"], between["image.weight"])
    assert torch.equal(start["judge.weight"], between["judge.weight"])
    assert torch.equal(between["image.weight"], module["image"].weight)
    assert not torch.equal(between["judge.weight"], module["judge"].weight)
    assert [row["phase"] for row in net.epochs] == ["encode"] * 2 + ["judge"] * 3
    assert [row["epoch"] for row in net.epochs] == [1, 2, 3, 4, 5]
    assert set(net.optimizer_states_) == {"encoder", "judge"}


def test_a_player_of_a_later_phase_goes_on_with_its_moments():
    once, twice = make_module(), make_module()
    train(once, make_phase(two_players(once), name="game", max_epochs=4))
    halves = [make_phase(two_players(twice), name="game", max_epochs=2)] * 2
    train(twice, *halves)
    assert_same_weights(weights(once), weights(twice))


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
    net = train(module, phase)
    assert [row["level"] for row in net.epochs] == losses[:3]
    # The weights are those of the second epoch.
    assert module["w"].item() == pytest.approx(-2 * LR, rel=1e-3)


def test_callbacks_start_anew_in_every_phase(recorder):
    recorder.initialize = lambda self: self.log.append("init") or self
    recorder.on_train_begin = lambda self, net, **kw: self.log.append("begin")
    recorder.on_epoch_end = lambda self, net, **kw: self.log.append(len(net.history))
    recorder.on_train_end = lambda self, net, **kw: self.log.append("end")
    module = make_module()
    scheduler = LRScheduler(policy="StepLR", step_size=1, gamma=0.1)
    phases = [
        make_phase(two_players(module), name=name, max_epochs=2) for name in ("a", "b")
    ]
    net = train(module, *phases, callbacks=[recorder(), scheduler])
    assert recorder.log == ["init", "begin", 1, 2, "end"] * 2
    np.testing.assert_allclose(
        [row["event_lr"] for row in net.epochs], [LR, LR / 10, LR, LR / 10]
    )


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
    net = train(module, phase)
    assert [kind for kind, *_ in seen] == ["begin", "loss"] * 2
    assert [float(scalars["weight"]) for _, scalars, _ in seen] == [0, 0, 0.5, 0.5]
    for _, scalars, _ in seen:
        assert all(v.dtype == torch.float32 and v.ndim == 0 for v in scalars.values())
    assert_same_weights(seen[0][2], seen[1][2])
    assert [row["weight"] for row in net.epochs] == [0, 0.5]


# -- history -------------------------------------------------------------------


@pytest.mark.parametrize("steps_per_sum", [1, 2, 256])
def test_terms_are_means_over_rows(monkeypatch, steps_per_sum):
    monkeypatch.setattr(net_file, "_STEPS_PER_SUM", steps_per_sum)
    module, seen = make_module(), []

    def loss(module, batch, state):
        value = module["image"](batch.features["image"]).square().mean()
        seen.append((value.item(), len(batch.rows)))
        return value, {"double": 2 * value}

    player = Player("encoder", parameters_of(module, "image"), loss, LR)
    net = train(module, make_phase([player], max_epochs=1))
    values, sizes = map(np.array, zip(*seen, strict=True))
    assert sizes.tolist() == [16, 16, 8]
    row = net.epochs[0]
    assert row["train_loss"] == pytest.approx(np.average(values, weights=sizes))
    assert row["train_loss"] == row["encoder_loss"]
    assert row["double"] == pytest.approx(2 * row["train_loss"])
    assert row["seconds"] > 0


def test_end_epoch_sees_the_evaluated_module_and_goes_into_the_history(recorder):
    seen = []

    class Watch(recorder):
        def on_epoch_end(self, net, **kwargs):
            self.log.append(net.history[-1, "quality"])

    def end_epoch(module, state):
        seen.append((module.training, state.scalars["strength"].item()))
        return {"quality": len(seen) / 2}

    module = make_module()
    phase = make_phase(
        two_players(module),
        schedule=lambda epoch: {"strength": float(epoch)},
        end_epoch=end_epoch,
    )
    net = train(module, phase, callbacks=[Watch])
    assert seen == [(False, 0.0), (False, 1.0), (False, 2.0)]
    assert Watch.log == [row["quality"] for row in net.epochs] == [0.5, 1, 1.5]


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
    )
    phase.players[0].lr = 0.3
    net = train(module, phase, patience=3)
    losses = [row["valid_loss"] for row in net.epochs]
    assert len(losses) < 200
    assert int(np.argmin(losses)) == len(losses) - 4
    assert_same_weights(weights(module), best[int(np.argmin(losses))])


def test_monitored_term_is_recorded_for_training_and_validation():
    module, valid = make_module(), make_dataset(n_rows=10)
    phase = make_phase(two_players(module), dataset_valid=valid, max_epochs=2)
    net = train(module, phase)
    with torch.no_grad():
        loss, terms = encoder_loss(module, valid.take(torch.arange(10)), None)
    row = net.epochs[-1]
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


# -- continued training --------------------------------------------------------


def test_continued_training_equals_training_in_one_go():
    whole = make_module()
    train(whole, make_phase(two_players(whole), max_epochs=5), seed=3)

    parts, epochs, states = make_module(), [], None
    for max_epochs in (2, 3):
        net = train(
            parts,
            make_phase(two_players(parts), max_epochs=max_epochs),
            seed=3,
            epochs=epochs,
            optimizer_states=states,
        )
        states = net.optimizer_states_
    assert_same_weights(weights(whole), weights(parts))
    assert [row["epoch"] for row in epochs] == [1, 2, 3, 4, 5]


def test_continued_training_counts_epochs_by_phase():
    module, seen, epochs = make_module(), [], []

    def phases():
        for name in ("a", "b"):
            yield make_phase(
                two_players(module),
                name=name,
                max_epochs=2,
                schedule=lambda epoch: seen.append(epoch) or {},
            )

    for _ in range(2):
        PairNet(module, verbose=0, epochs=epochs).fit_phases(phases())
    assert seen == [0, 1, 0, 1, 2, 3, 2, 3]
    assert [row["epoch"] for row in epochs] == list(range(1, 9))


def test_continued_training_obeys_a_new_learning_rate():
    module = make_module()
    net = train(module, make_phase(two_players(module), max_epochs=1))
    players = two_players(module, lr=0.5)
    states = net.optimizer_states_
    moments = {name: s[0]["exp_avg"].clone() for name, s in states.items()}
    net = train(module, make_phase(players, max_epochs=1), optimizer_states=states)
    for name, moment in moments.items():  # what is given is not written to
        assert torch.equal(moment, states[name][0]["exp_avg"])
    assert net.optimizer_judge_.param_groups[0]["lr"] == 0.5
    state = net.optimizer_judge_.state[module["judge"].weight]
    assert int(state["step"]) == 6  # three batches in each training


# -- failures ------------------------------------------------------------------


def fails_in_epoch(fail, epoch):
    """Return a game of the encoder that ends in `fail(module, value)` in an epoch."""

    def loss(module, batch, state):
        value = module["image"](batch.features["image"]).square().mean()
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


@pytest.mark.parametrize(
    ("fail", "named"),
    [(spoil_loss, "size, encoder_loss"), (spoil_gradient, "the weights")],
)
def test_non_finite_training_brings_last_good_weights_back(fail, named):
    make = fails_in_epoch(fail, epoch=2)
    module, sound = make_module(), make_module()
    net = PairNet(module, verbose=0, label="Toy")
    message = rf"Toy: {named}.* in epoch 3; .*'encoder': 0\.01.*GradientNormClipping"
    with pytest.raises(FloatingPointError, match=message):
        net.fit_phases([make(module, 5)])
    train(sound, make(sound, 2))
    assert_same_weights(weights(module), weights(sound))
    assert [row["epoch"] for row in net.epochs] == [1, 2]
    assert all(math.isfinite(row["train_loss"]) for row in net.epochs)
    assert not module.training


def test_running_statistics_and_shared_weights_come_back():
    def make_normalized():
        torch.manual_seed(0)
        shared = nn.Linear(5, 3)
        image = nn.Sequential(shared, nn.BatchNorm1d(3))
        return nn.ModuleDict({"image": image, "text": nn.Sequential(shared)})

    make = fails_in_epoch(spoil_loss, epoch=2)
    module, sound = make_normalized(), make_normalized()
    with pytest.raises(FloatingPointError):
        train(module, make(module, 5))
    train(sound, make(sound, 2))
    assert_same_weights(weights(module), weights(sound))
    assert module["text"][0].weight is module["image"][0].weight


def test_interrupt_in_a_step_is_passed_on():
    def interrupt(module, value):
        raise KeyboardInterrupt

    module = make_module()
    net = PairNet(module, verbose=0)
    with pytest.raises(KeyboardInterrupt):
        net.fit_phases([fails_in_epoch(interrupt, epoch=1)(module, 3)])
    assert [row["epoch"] for row in net.epochs] == [1]
    assert not module.training


def test_error_in_a_loss_is_passed_on():
    def fail(module, value):
        raise ZeroDivisionError("of the loss")

    module = make_module()
    with pytest.raises(ZeroDivisionError, match="of the loss"):
        train(module, fails_in_epoch(fail, epoch=0)(module, 3))


def test_optimizers_that_nobody_continues_leave_no_moments():
    """Wide networks would need their memory for the next phase."""
    kept, dropped = make_module(), make_module()
    nets = [
        train(module, make_phase(two_players(module)), keep_optimizers=keep)
        for module, keep in ((kept, True), (dropped, False))
    ]
    assert set(nets[0].optimizer_states_) == {"encoder", "judge"}
    assert not nets[1].optimizer_states_
    assert not any(optimizer.state for _, optimizer in nets[1].turns_)
    assert_same_weights(weights(kept), weights(dropped))


# -- threads -------------------------------------------------------------------


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("work", "expected"), [(math.inf, 1), (0.6, 1), (0.4, 2), (0.3, 3), (0.01, 4)]
)
def test_as_many_threads_as_there_is_work_for(
    four_threads, monkeypatch, work, expected
):
    """The work of a thread is given as a share of that of a step."""
    module = make_module()
    n_weights = sum(p.numel() for p in module.parameters())
    step = 3 * n_weights * make_phase(two_players(module)).batch_size
    monkeypatch.setattr(net_file, "_WORK_OF_A_THREAD", work * step)
    seen = []
    phase = make_phase(
        two_players(module),
        begin_epoch=lambda *_: seen.append(torch.get_num_threads()),
        max_epochs=1,
    )
    train(module, phase)
    assert seen == [expected]
    assert torch.get_num_threads() == 4


def test_threads_are_given_back_after_an_error(four_threads):
    module = make_module()
    with pytest.raises(FloatingPointError):
        train(module, fails_in_epoch(spoil_loss, epoch=0)(module, 1))
    assert torch.get_num_threads() == 4


# -- GPU -----------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_gives_the_losses_of_the_cpu():
    curves = []
    for device in ("cpu", "cuda"):
        module = make_module().to(device)
        cpu_dataset = make_dataset()
        features = {k: rows.tensor.numpy() for k, rows in cpu_dataset.features.items()}
        indicator = cpu_dataset.labels.tensor.numpy()
        dataset = RowDataset(features, indicator, torch.device(device))
        phase = make_phase(two_players(module), dataset=dataset, max_epochs=7)
        net = train(module, phase, device=device)
        curves.append([row["train_loss"] for row in net.epochs])
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-4)


def test_betas_are_two_numbers():
    parameter = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(ValueError, match=r"betas must be two numbers.*\(0.5,\)"):
        Player("one", [parameter], loss=None, lr=1e-3, betas=(0.5,))
