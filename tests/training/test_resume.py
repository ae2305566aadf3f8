"""State of a phase in checkpoints: what is stored of players, callbacks and hooks."""

# SPDX-License-Identifier: BSD-3-Clause

import copy

import pytest
import torch
from skorch.callbacks import Callback, EarlyStopping, Freezer, LRScheduler, ProgressBar

from sklearn_cmr.training.checkpoints import Checkpoints
from sklearn_cmr.training.trainer import Trainer
from tests.training.games import (
    assert_same_weights,
    make_module,
    make_phase,
    two_players,
    weights,
)


class Stop(Exception):
    pass


class StopAt(Callback):
    """End the training after so many epochs."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch and net.phase.name == "":
            raise Stop

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def play(module, folder=None, *, callbacks=(), stop_at=None, phases=None, **critic):
    """Train a game of two players, and store it in a folder."""
    callbacks = [*copy.deepcopy(list(callbacks)), StopAt(stop_at)]
    phases = phases or [make_phase(two_players(module, **critic), max_epochs=6)]
    options = {"callbacks": callbacks, "verbose": 0}
    if folder is None:
        return Trainer(module, **options).fit(phases)
    with Checkpoints(folder) as checkpoints:
        checkpoints.about = {"fingerprint": {}, "seed": 0}
        return Trainer(module, checkpoints=checkpoints, **options).fit(phases)


class OwnState(Callback):
    """A callback that says itself what it stores."""

    def __init__(self):
        self.log = object()

    def on_train_begin(self, net, **kwargs):
        self.n_seen = 0

    def on_epoch_end(self, net, **kwargs):
        self.n_seen += 1
        net.history.record("n_seen", self.n_seen)

    def state_dict(self):
        return {"n": self.n_seen}

    def load_state_dict(self, state):
        self.n_seen = state["n"]


@pytest.mark.parametrize(
    "callbacks, critic",
    [
        ([], {"every": 2}),  # of three batches an epoch
        ([], {"begins": 2}),
        ([], {"lr": lambda epoch: 0.01 / (epoch + 1)}),
        ([Freezer("image.*")], {}),
        ([LRScheduler("ReduceLROnPlateau", monitor="train_loss", patience=0)], {}),
        ([LRScheduler("CyclicLR", base_lr=1e-3, max_lr=1e-1, step_every="batch")], {}),
        ([EarlyStopping("train_loss", patience=3, load_best=True)], {}),
        ([OwnState()], {}),
        ([ProgressBar()], {}),
    ],
    ids=[
        "turns",
        "begin",
        "rate",
        "freezer",
        "plateau",
        "cyclic",
        "best",
        "own",
        "bar",
    ],
)
def test_it_goes_on_where_it_was(tmp_path, callbacks, critic):
    options = {"callbacks": callbacks, **critic}
    reference, continued = make_module(), make_module()
    first = play(reference, **options)
    with pytest.raises(Stop):
        play(make_module(), tmp_path, stop_at=4, **options)
    second = play(continued, tmp_path, **options)
    assert_same_weights(weights(reference), weights(continued))
    for row, other in zip(first.history, second.history, strict=True):
        assert row | {"seconds": 0} == other | {"seconds": 0}
    assert second.n_finished == first.n_finished


class Memory:
    """A hook that remembers something from epoch to epoch."""

    def __init__(self):
        self.seen = torch.zeros(0)

    def __call__(self, module, state):
        self.seen = torch.cat([self.seen, module["image"].bias.detach()[:1]])
        return {"n_seen": len(self.seen)}

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


def test_what_stands_between_phases_sees_what_it_saw(tmp_path):
    def phases(module, notes):
        for name in ("first", "second", ""):
            memory = Memory()
            yield make_phase(two_players(module), name=name, end_epoch=memory)
            notes.append((weights(module), memory.seen))
            with torch.no_grad():
                module["text"].bias.zero_()

    notes, notes_again = [], []
    reference, continued = make_module(), make_module()
    play(reference, phases=phases(reference, notes))
    broken = make_module()
    with pytest.raises(Stop):
        play(broken, tmp_path, stop_at=2, phases=phases(broken, []))
    play(continued, tmp_path, phases=phases(continued, notes_again))
    assert_same_weights(weights(reference), weights(continued))
    for (first, seen), (second, seen_again) in zip(notes, notes_again, strict=True):
        assert_same_weights(first, second)
        assert torch.equal(seen, seen_again) and len(seen) == 3
    names = sorted(path.name for path in tmp_path.glob("phase*"))
    assert names == [f"phase-{index:03d}-end.zip" for index in range(3)]


def test_other_phases_are_refused(tmp_path):
    def phases(module, name):
        return [make_phase(two_players(module), name=name)]

    module = make_module()
    play(module, tmp_path, phases=phases(module, "first"))
    module = make_module()
    with pytest.raises(ValueError, match="'first', that of the training is 'other'"):
        play(module, tmp_path, phases=phases(module, "other"))
    assert_same_weights(weights(module), weights(make_module()))
