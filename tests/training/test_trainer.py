"""Training through phases: moments, callbacks, learning rates, failures."""

# SPDX-License-Identifier: BSD-3-Clause

import math
import threading
import warnings

import numpy as np
import pytest
import torch
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    LRScheduler,
)
from torch import nn

from sklearn_cmr.training import Player, encode_in_blocks
from sklearn_cmr.training.net import PairNet
from sklearn_cmr.training.trainer import Trainer
from tests.training.games import (
    BATCH,
    CPU,
    LR,
    N_ROWS,
    assert_same_weights,
    fails_in_epoch,
    image_loss,
    make_dataset,
    make_module,
    make_phase,
    make_recorder,
    parameters_of,
    spoil_gradient,
    spoil_loss,
    train,
    two_players,
    weights,
)

# -- phases --------------------------------------------------------------------


def test_phases_come_from_a_generator():
    module = make_module()
    start, between = weights(module), {}

    def phases():
        yield make_phase(two_players(module)[:1], name="encode", max_epochs=2)
        between.update(weights(module))
        assert not module.training
        assert all(not p.grad_fn for p in module.parameters())
        critic = two_players(module)[1]
        critic.loss = lambda module, batch, state: (
            module["critic"](module["image"](batch.features["image"])).mean(),
            {},
        )
        yield make_phase([critic], name="critic", max_epochs=3)

    trainer = Trainer(module, verbose=0).fit(phases())
    assert not torch.equal(start["image.weight"], between["image.weight"])
    assert torch.equal(start["critic.weight"], between["critic.weight"])
    assert torch.equal(between["image.weight"], module["image"].weight)
    assert not torch.equal(between["critic.weight"], module["critic"].weight)
    assert [row["phase"] for row in trainer.history] == ["encode"] * 2 + ["critic"] * 3
    assert [row["epoch"] for row in trainer.history] == [1, 2, 3, 4, 5]
    assert trainer.n_finished == 5
    assert set(trainer.moments) == {"encoder", "critic"}


# -- moments -------------------------------------------------------------------


def test_a_player_of_a_later_phase_continues_with_its_moments():
    once, twice = make_module(), make_module()
    train(once, make_phase(two_players(once), name="game", max_epochs=4))
    halves = [make_phase(two_players(twice), name="game", max_epochs=2)] * 2
    train(twice, *halves)
    assert_same_weights(weights(once), weights(twice))


def test_continued_training_equals_training_in_one_go():
    whole = make_module()
    train(whole, make_phase(two_players(whole), max_epochs=5), seed=3)

    parts, history, moments = make_module(), [], None
    for max_epochs in (2, 3):
        trainer = train(
            parts,
            make_phase(two_players(parts), max_epochs=max_epochs),
            seed=3,
            history=history,
            moments=moments,
        )
        assert trainer.n_finished == max_epochs
        history, moments = trainer.history, trainer.moments
    assert_same_weights(weights(whole), weights(parts))
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5]


def test_continued_training_counts_epochs_by_phase():
    module, seen, history = make_module(), [], []

    def phases():
        for name in ("a", "b"):
            yield make_phase(
                two_players(module),
                name=name,
                max_epochs=2,
                schedule=lambda epoch: seen.append(epoch) or {},
            )

    for _ in range(2):
        history = Trainer(module, verbose=0, history=history).fit(phases()).history
    assert seen == [0, 1, 0, 1, 2, 3, 2, 3]
    assert [row["epoch"] for row in history] == list(range(1, 9))


def test_continued_training_obeys_a_new_learning_rate():
    module, rates = make_module(), make_rate_recorder()
    before = train(module, make_phase(two_players(module), max_epochs=1))
    copies = copied_moments(before.moments)
    players = two_players(module, lr=0.5)
    phase = make_phase(players, max_epochs=1)
    after = train(module, phase, moments=before.moments, callbacks=[rates])
    assert_same_moments(before.moments, copies)  # what is given is not written to
    assert rates.log == [(LR, 0.5)]
    # Three batches in each training.
    assert int(after.moments["critic"]["critic.weight"]["step"]) == 6


def test_moments_that_nobody_continues_are_dropped():
    """Wide networks would need their memory for the next phase."""
    kept, dropped = make_module(), make_module()
    trainers = [
        train(module, make_phase(two_players(module)), keep_moments=keep)
        for module, keep in ((kept, True), (dropped, False))
    ]
    assert set(trainers[0].moments) == {"encoder", "critic"}
    assert not trainers[1].moments
    assert_same_weights(weights(kept), weights(dropped))


def copied_moments(moments):
    return {
        player: {
            name: {key: value.clone() for key, value in own.items()}
            for name, own in by_name.items()
        }
        for player, by_name in moments.items()
    }


def assert_same_moments(first, second):
    assert first.keys() == second.keys()
    for player, by_name in first.items():
        assert by_name.keys() == second[player].keys()
        for name, own in by_name.items():
            assert own.keys() == second[player][name].keys()
            for key, value in own.items():
                assert torch.equal(value, second[player][name][key]), (name, key)


def make_twins():
    """Return networks of one shape: moments by position would fit, too."""
    torch.manual_seed(0)
    return nn.ModuleDict({name: nn.Linear(5, 3) for name in "abc"})


def twins_loss(names):
    def loss(module, batch, state):
        image = batch.features["image"]
        values = [module[n](image).square().mean() * (1 + ord(n)) for n in names]
        return torch.stack(values).sum(), {}

    return loss


@pytest.mark.parametrize(
    ("first", "second"),
    [("abc", "c"), ("abc", "bc"), ("c", "abc"), ("ab", "bc"), ("abc", "cab")],
)
def test_every_parameter_keeps_its_own_moments(first, second):
    module, other = make_twins(), make_twins()

    def make_player(module, names):
        own = parameters_of(module, *names)
        return Player("twins", own, twins_loss(names), LR)

    moments, history = {}, []
    for names in (first, second):
        trainer = train(
            module,
            make_phase([make_player(module, names)], max_epochs=2),
            moments=moments,
            history=history,
            seed=5,
        )
        moments, history = trainer.moments, trainer.history

    dataset, epoch = make_dataset(), 0
    adams = {n: torch.optim.Adam(other[n].parameters(), LR) for n in "abc"}
    for names in (first, second):
        for _ in range(2):
            generator = torch.Generator().manual_seed(5 + epoch)
            epoch += 1
            for rows in torch.randperm(N_ROWS, generator=generator).split(BATCH):
                other.zero_grad()
                twins_loss(names)(other, dataset.take(rows), None)[0].backward()
                for name in names:
                    adams[name].step()
    for name, tensor in weights(other).items():
        torch.testing.assert_close(module.state_dict()[name], tensor)


def test_players_that_share_parameters_have_their_own_moments():
    module = make_twins()

    def make_phase_of(*names_of_players):
        players = [
            Player(f"on_{names}", parameters_of(module, *names), twins_loss(names), LR)
            for names in names_of_players
        ]
        return make_phase(players, max_epochs=1)

    trainer = train(module, make_phase_of("ab", "bc"))
    first, second = trainer.moments["on_ab"], trainer.moments["on_bc"]
    assert set(first) == {"a.weight", "a.bias", "b.weight", "b.bias"}
    assert set(second) == {"b.weight", "b.bias", "c.weight", "c.bias"}
    assert not torch.equal(first["b.weight"]["exp_avg"], second["b.weight"]["exp_avg"])
    copies = copied_moments(trainer.moments)
    # A player that does not take part keeps its moments for later.
    later = train(module, make_phase_of("bc"), moments=trainer.moments)
    assert_same_moments({"on_ab": first}, {"on_ab": later.moments["on_ab"]})
    assert_same_moments(trainer.moments, copies)
    assert int(later.moments["on_bc"]["b.weight"]["step"]) == 6


# -- learning rates --------------------------------------------------------------


def make_rate_recorder():
    """Make a callback that notes the rates of all optimizers in the epochs' steps."""

    def note(self, net, **kwargs):
        optimizers = [net.optimizer_encoder_, net.optimizer_critic_]
        self.log.append(tuple(o.param_groups[0]["lr"] for o in optimizers))

    return make_recorder(on_epoch_begin=note)


def train_with_rates(*callbacks, **settings):
    """Return the learning rates of both players in every epoch, and the trainer."""
    module, rates = make_module(), make_rate_recorder()
    phase = make_phase(two_players(module, **{"lr": 0.1} | settings), max_epochs=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer = train(module, phase, callbacks=[*callbacks, rates])
    return np.array(rates.log), trainer


def falling(epoch):
    return 0.1 / (1 + epoch)


def test_learning_rates_by_epoch_without_callbacks():
    rates, _ = train_with_rates(lr=falling)
    assert rates[:, 0].tolist() == [LR] * 4
    assert rates[:, 1].tolist() == [falling(epoch) for epoch in range(4)]


SCHEDULERS = {
    "StepLR": (
        LRScheduler("StepLR", step_size=2, gamma=0.1),
        [1, 1, 0.1, 0.1],
    ),
    "ExponentialLR": (
        LRScheduler(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5),
        [1, 0.5, 0.25, 0.125],
    ),
    "LambdaLR": (
        LRScheduler("LambdaLR", lr_lambda=lambda epoch: 1 + epoch),
        [1, 2, 3, 4],
    ),
    "ReduceLROnPlateau": (
        LRScheduler("ReduceLROnPlateau", monitor=lambda net: 1.0, patience=0),
        [1, 1, 0.1, 0.01],
    ),
    "ReduceLROnPlateau of the history": (
        LRScheduler("ReduceLROnPlateau", patience=0, mode="max", threshold=1e9),
        [1, 1, 0.1, 0.01],
    ),
    "by batch": (
        LRScheduler("StepLR", step_size=3, gamma=0.5, step_every="batch"),
        [1, 0.5, 0.25, 0.125],
    ),
    "cyclic": (
        LRScheduler(
            "CyclicLR",
            base_lr=LR,
            max_lr=2 * LR,
            step_size_up=3,
            step_every="batch",
            cycle_momentum=False,
        ),
        None,
    ),
}


@pytest.mark.parametrize("rate", [0.1, falling], ids=["number", "callable"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_reach_all_players(name, rate):
    scheduler, factors = SCHEDULERS[name]
    rates, trainer = train_with_rates(scheduler, lr=rate)
    if factors is None:
        expected = np.array([[1, 1], [2, 2], [1, 1], [2, 2]]) * LR
    else:
        expected = np.outer(factors, [LR, 0.1])
    np.testing.assert_allclose(rates, expected)
    if scheduler.step_every == "epoch":
        recorded = [row["event_lr"] for row in trainer.history]
        np.testing.assert_allclose(recorded, rates[:, 0])


def test_a_scheduler_changes_the_steps():
    """Adam's steps are as long as the rate: without one, weights stay."""
    stop = LRScheduler("LambdaLR", lr_lambda=lambda epoch: float(epoch == 0))
    short, stopped = make_module(), make_module()
    train(short, make_phase(two_players(short), max_epochs=1))
    train(stopped, make_phase(two_players(stopped), max_epochs=3), callbacks=[stop])
    assert_same_weights(weights(short), weights(stopped))


@pytest.mark.parametrize("event", ["on_train_begin", "on_epoch_begin", "on_epoch_end"])
@pytest.mark.parametrize("rate", [0.1, falling], ids=["number", "callable"])
def test_a_rate_that_a_callback_sets_stays(event, rate):
    def set_rate(self, net, **kwargs):
        if not self.log:
            self.log.append(True)
            for group in net.optimizer_.param_groups:
                group["lr"] = 0.7

    rates, _ = train_with_rates(make_recorder(**{event: set_rate}), lr=rate)
    expected = np.full((4, 2), 0.7)
    if event == "on_epoch_end":
        expected[0] = [LR, 0.1]
    assert rates.tolist() == expected.tolist()


def test_a_rate_of_one_player_leaves_the_other_one_its_own():
    def set_rate(self, net, **kwargs):
        net.optimizer_encoder_.param_groups[0]["lr"] *= 0.5

    rates, _ = train_with_rates(make_recorder(on_epoch_begin=set_rate), lr=falling)
    np.testing.assert_allclose(rates[:, 0], LR * 0.5 ** np.arange(1, 5))
    np.testing.assert_allclose(rates[:, 1], [falling(epoch) for epoch in range(4)])


def test_callable_rates_count_on_in_a_continued_training():
    module, rates = make_module(), make_rate_recorder()
    history = []
    for _ in range(2):
        phase = make_phase(two_players(module, lr=falling), max_epochs=2)
        trainer = train(module, phase, history=history, callbacks=[rates])
        history = trainer.history
    assert [rate for _, rate in rates.log] == [falling(epoch) for epoch in range(4)]


# -- the caller's callbacks --------------------------------------------------------


def test_callbacks_start_anew_in_every_phase():
    recorder = make_recorder(
        initialize=lambda self: self.log.append("init") or self,
        on_train_begin=lambda self, net, **kw: self.log.append("begin"),
        on_epoch_end=lambda self, net, **kw: self.log.append(len(net.history)),
        on_train_end=lambda self, net, **kw: self.log.append("end"),
    )
    module = make_module()
    scheduler = LRScheduler(policy="StepLR", step_size=1, gamma=0.1)
    phases = [
        make_phase(two_players(module), name=name, max_epochs=2) for name in ("a", "b")
    ]
    trainer = train(module, *phases, callbacks=[recorder(), scheduler])
    assert recorder.log == ["init", "begin", 1, 2, "end"] * 2
    np.testing.assert_allclose(
        [row["event_lr"] for row in trainer.history], [LR, LR / 10, LR, LR / 10]
    )


class Counter(Callback):
    def initialize(self):
        self.count_ = 0
        return self

    def on_epoch_end(self, net, **kwargs):
        self.count_ += 1


def test_copies_of_callbacks_have_what_they_recorded():
    module, counter = make_module(), Counter()
    callbacks = [counter, ("mine", Counter)]
    phase = make_phase(two_players(module), dataset_valid=make_dataset(9), patience=9)
    trainer = train(module, phase, callbacks=callbacks)
    # Those of the engine are not among them.
    recorded = [(name, callback.count_) for name, callback in trainer.callbacks_]
    assert recorded == [("Counter", 3), ("mine", 3)]
    assert not hasattr(counter, "count_")
    assert callbacks[0] is counter


def test_names_of_callbacks_have_the_phase_before_them():
    module = make_module()
    phases = [
        make_phase(two_players(module), name=name, max_epochs=n_epochs)
        for name, n_epochs in (("a", 1), ("b", 2))
    ]
    trainer = train(module, *phases, callbacks=[Counter, ("mine", Counter())])
    recorded = {name: callback.count_ for name, callback in trainer.callbacks_}
    assert recorded == {"a__Counter": 1, "a__mine": 1, "b__Counter": 2, "b__mine": 2}


def test_callbacks_of_a_failed_phase_have_what_they_recorded():
    module = make_module()
    trainer = Trainer(module, verbose=0, callbacks=[Counter])
    with pytest.raises(FloatingPointError):
        trainer.fit([fails_in_epoch(spoil_loss, epoch=2)(module, 5)])
    ((name, callback),) = trainer.callbacks_
    assert (name, callback.count_) == ("Counter", 2)


@pytest.mark.parametrize("is_named", [False, True])
def test_a_callback_that_cannot_be_copied(is_named):
    class Locked(Callback):
        def __init__(self):
            self.lock = threading.Lock()

    module, item = make_module(), Locked()
    before = weights(module)
    callbacks = [("mine", item) if is_named else item]
    trainer = Trainer(module, verbose=0, callbacks=callbacks)
    message = "The callback Locked cannot be copied, .* no open files, locks"
    with pytest.raises(TypeError, match=message):
        trainer.fit([make_phase(two_players(module))])
    assert_same_weights(before, weights(module))
    assert (trainer.n_finished, trainer.history, trainer.callbacks_) == (0, [], [])


def test_checkpoint_and_callers_early_stopping(tmp_path):
    module = make_module()
    checkpoint = Checkpoint(
        monitor="train_loss_best", dirname=str(tmp_path), f_pickle=None
    )
    stopping = EarlyStopping("train_loss", patience=2, threshold=1e9)
    phase = make_phase(two_players(module), max_epochs=9)
    trainer = train(module, phase, callbacks=[stopping, checkpoint])
    assert trainer.n_finished == len(trainer.history) < 9
    assert (tmp_path / "params.pt").exists()


def test_checkpoint_has_the_moments_of_all_players(tmp_path):
    """And saving them leaves them as they are."""
    module, sound = make_module(), make_module()
    checkpoint = Checkpoint(monitor=None, dirname=str(tmp_path), f_pickle=None)
    trainer = train(module, make_phase(two_players(module)), callbacks=[checkpoint])
    expected = train(sound, make_phase(two_players(sound)))
    assert_same_weights(weights(module), weights(sound))
    assert_same_moments(trainer.moments, expected.moments)

    net = PairNet(module, make_phase(two_players(module)), verbose=0).initialize()
    net.load_params(f_optimizer=tmp_path / "optimizer.pt")
    weight = module["critic"].weight
    found = net.optimizer_critic_.state[weight]["exp_avg"]
    assert torch.equal(found, trainer.moments["critic"]["critic.weight"]["exp_avg"])
    assert net.optimizer_.param_groups[1] is net.optimizer_critic_.param_groups[0]


# -- scoring callbacks -------------------------------------------------------------


def encode(module, X, modality):
    """Encode in the way of an estimator."""
    return encode_in_blocks(module[modality], X, CPU)


def mean_of_codes(net, X, y):
    """Return the mean of the encoding of the first class, over both modalities."""
    assert y.dtype == np.uint8 and y.shape[1] == 2
    Z = net.transform(X)
    assert Z.keys() == X.keys() == {"image", "text"}
    assert len(Z["image"]) == len(Z["text"]) == len(y)
    assert not net.module_.training
    return float(np.mean([Z[name][y[:, 0] > 0].mean() for name in Z]))


@pytest.mark.parametrize("on_train", [False, True])
def test_epoch_scoring(on_train):
    def note(self, net, **kwargs):
        self.log.append(weights(net.module_))

    module, recorder, valid = make_module(), make_recorder(on_epoch_end=note), 11
    scoring = EpochScoring(
        mean_of_codes, on_train=on_train, name="codes", lower_is_better=False
    )
    phase = make_phase(two_players(module), dataset_valid=make_dataset(valid))
    trainer = train(module, phase, callbacks=[scoring, recorder], encode=encode)

    rows = make_dataset() if on_train else make_dataset(valid)
    expected = []
    for state in recorder.log:
        module.load_state_dict(state)
        Z = {name: encode(module, X, name) for name, X in rows.X.items()}
        own = rows.y[:, 0] > 0
        expected.append(np.mean([Z["image"][own].mean(), Z["text"][own].mean()]))
    recorded = [row["codes"] for row in trainer.history]
    np.testing.assert_allclose(recorded, expected, rtol=1e-6)
    (_, copy), _ = trainer.callbacks_
    assert copy.best_score_ == max(recorded)
    assert not any(key.endswith("_best") for row in trainer.history for key in row)


def test_epoch_scoring_on_rows_of_a_subset():
    module, n_rows = make_module(), []

    def count(net, X, y):
        n_rows.append([len(X["image"]), len(X["text"]), len(y)])
        np.testing.assert_array_equal(y, make_dataset().y[30:])
        np.testing.assert_array_equal(X["text"], make_dataset().X["text"][30:])
        return len(y)

    held_out = torch.utils.data.Subset(make_dataset(), np.arange(30, N_ROWS))
    phase = make_phase(two_players(module), dataset_valid=held_out, max_epochs=2)
    trainer = train(module, phase, callbacks=[EpochScoring(count)], encode=encode)
    assert n_rows == [[10, 10, 10]] * 2
    assert [row["count"] for row in trainer.history] == [10, 10]


def test_epoch_scoring_without_held_out_rows_records_nothing():
    module = make_module()
    scoring = EpochScoring(mean_of_codes)
    phase = make_phase(two_players(module))
    trainer = train(module, phase, callbacks=[scoring], encode=encode)
    assert trainer.n_finished == 3
    assert not any("mean_of_codes" in row for row in trainer.history)


def test_epoch_scoring_does_not_change_the_training():
    quiet, scored = make_module(), make_module()
    train(quiet, make_phase(two_players(quiet)))
    scoring = EpochScoring(mean_of_codes, on_train=True)
    phase = make_phase(two_players(scored))
    train(scored, phase, callbacks=[scoring], encode=encode)
    assert_same_weights(weights(quiet), weights(scored))


# -- failures ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fail", "named"),
    [(spoil_loss, "size, encoder_loss"), (spoil_gradient, "the weights")],
)
def test_non_finite_training_brings_last_good_weights_back(fail, named):
    make = fails_in_epoch(fail, epoch=2)
    module, sound = make_module(), make_module()
    trainer = Trainer(module, verbose=0, label="Toy")
    message = rf"Toy: {named}.* in epoch 3; .*'encoder': 0\.01.*GradientNormClipping"
    with pytest.raises(FloatingPointError, match=message.replace(";", r"\.")):
        trainer.fit([make(module, 5)])
    train(sound, make(sound, 2))
    assert_same_weights(weights(module), weights(sound))
    assert [row["epoch"] for row in trainer.history] == [1, 2]
    assert all(math.isfinite(row["train_loss"]) for row in trainer.history)
    assert not module.training


def make_normalized():
    torch.manual_seed(0)
    shared = nn.Linear(5, 3)
    image = nn.Sequential(shared, nn.BatchNorm1d(3))
    return nn.ModuleDict({"image": image, "text": nn.Sequential(shared)})


def test_running_statistics_and_shared_weights_come_back():
    make = fails_in_epoch(spoil_loss, epoch=2)
    module, sound = make_normalized(), make_normalized()
    with pytest.raises(FloatingPointError):
        train(module, make(module, 5))
    train(sound, make(sound, 2))
    assert_same_weights(weights(module), weights(sound))
    assert module["text"][0].weight is module["image"][0].weight


FAILURES = [
    "loss",
    "held-out loss",
    "sampler",
    "schedule",
    "begin_epoch",
    "end_epoch",
    "score_valid",
    "on_train_begin",
    "on_epoch_begin",
    "on_batch_begin",
    "on_grad_computed",
    "on_batch_end",
    "on_epoch_end",
]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, MemoryError])
@pytest.mark.parametrize("n_before", [0, 2])
@pytest.mark.parametrize("place", FAILURES)
@pytest.mark.parametrize("patience", [None, 9])
def test_any_failure_leaves_the_finished_epochs(place, n_before, error, patience):
    module, sound = make_normalized(), make_normalized()
    epoch = [0]

    def fail_here(here):
        if here == place and epoch[0] >= n_before:
            raise error("of the test")

    def loss(module, batch, state):
        fail_here("loss" if module.training else "held-out loss")
        return image_loss(module, batch, state)

    def sampler(n_samples, batch_size, generator):
        fail_here("sampler")
        yield from torch.randperm(n_samples, generator=generator).split(batch_size)

    def begin_epoch(module, state):
        fail_here("begin_epoch")

    def end_epoch(module, state):
        fail_here("end_epoch")
        return {}

    def schedule(at):
        epoch[0] = at
        fail_here("schedule")
        return {}

    def score_valid(module):
        fail_here("score_valid")
        return 0.1 * epoch[0]

    def make_failing_phase(module, **settings):
        player = Player("image", parameters_of(module, "image"), loss, LR)
        return make_phase([player], sampler=sampler, **settings)

    def fail_there(name):
        return lambda self, net, **kwargs: fail_here(name)

    methods = {name: fail_there(name) for name in FAILURES if name.startswith("on_")}
    trainer = Trainer(module, verbose=0, callbacks=[make_recorder(**methods)])
    phase = make_failing_phase(
        module,
        max_epochs=5,
        schedule=schedule,
        begin_epoch=begin_epoch,
        end_epoch=end_epoch,
        score_valid=score_valid,
        dataset_valid=make_dataset(9),
        patience=patience,
    )
    if place == "on_train_begin":
        n_before = 0
        epoch[0] = 9
    with pytest.raises(error, match="of the test"):
        trainer.fit([phase])
    # Callbacks hear of an epoch when it is over.
    n_finished = n_before + (place == "on_epoch_end")
    assert trainer.n_finished == len(trainer.history) == n_finished
    assert all(math.isfinite(row["train_loss"]) for row in trainer.history)
    assert not module.training
    place = None
    if n_finished:
        train(sound, make_failing_phase(sound, max_epochs=n_finished))
    assert_same_weights(weights(module), weights(sound))


def test_an_error_under_early_stopping_keeps_the_best_epoch():
    module, sound = make_module(), make_module()
    make, scores = fails_in_epoch(spoil_loss, epoch=3), iter([0.2, 0.9, 0.4])
    phase = make(module, 9)
    phase.dataset_valid = make_dataset(9)
    phase.score_valid = lambda module: next(scores)
    phase.patience = 5
    trainer = Trainer(module, verbose=0)
    with pytest.raises(FloatingPointError):
        trainer.fit([phase])
    assert [row["valid_map"] for row in trainer.history] == [0.2, 0.9, 0.4]
    train(sound, make(sound, 2))
    assert_same_weights(weights(module), weights(sound))


def test_an_error_keeps_the_moments_of_the_last_finished_epoch():
    module, sound = make_module(), make_module()
    make = fails_in_epoch(spoil_gradient, epoch=2)
    trainer = Trainer(module, verbose=0)
    with pytest.raises(FloatingPointError):
        trainer.fit([make(module, 5)])
    assert_same_moments(trainer.moments, train(sound, make(sound, 2)).moments)


def test_an_error_in_a_later_phase_keeps_the_earlier_ones():
    module, sound = make_module(), make_module()
    trainer = Trainer(module, verbose=0)

    def phases(module, n_more):
        yield make_phase(two_players(module), name="first", max_epochs=2)
        phase = fails_in_epoch(spoil_loss, epoch=1)(module, n_more)
        phase.name = "second"
        yield phase

    with pytest.raises(FloatingPointError, match="second: .* in epoch 4"):
        trainer.fit(phases(module, 5))
    train(sound, *phases(sound, 1))
    assert_same_weights(weights(module), weights(sound))
    assert [row["phase"] for row in trainer.history] == ["first", "first", "second"]


def test_an_error_between_phases_keeps_the_weights():
    module, sound = make_module(), make_module()

    def phases():
        yield make_phase(two_players(module))
        raise ZeroDivisionError("between")

    trainer = Trainer(module, verbose=0)
    with pytest.raises(ZeroDivisionError, match="between"):
        trainer.fit(phases())
    train(sound, make_phase(two_players(sound)))
    assert_same_weights(weights(module), weights(sound))
    assert trainer.n_finished == 3


@pytest.mark.parametrize(
    "after", [EarlyStopping(load_best=True), EpochScoring(mean_of_codes), LRScheduler]
)
def test_a_failure_at_the_start_is_not_masked_by_later_callbacks(after):
    def fail(self, net, **kwargs):
        raise KeyboardInterrupt("of the test")

    module = make_module()
    callbacks = [make_recorder(on_train_begin=fail), after]
    phase = make_phase(two_players(module))
    with pytest.raises(KeyboardInterrupt, match="of the test"):
        train(module, phase, callbacks=callbacks)
