"""Callbacks in a fit: the caller's own, early stopping, progress."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import io
import sys

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    LRScheduler,
)

from sklearn_cmr import ACMRProjector, make_pairs
from sklearn_cmr.training.callbacks import ProgressBar
from sklearn_cmr.training.net import PairNet


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 80)
    X_img = rng.normal(size=(80, 6)).astype(np.float32) + y[:, None]
    X_txt = rng.normal(size=(80, 4)).astype(np.float32) - y[:, None]
    return X_img, X_txt, y


def make_estimator(**params):
    settings = {
        "embedding_dim": 4,
        "hidden_layer_sizes": (8,),
        "discriminator_hidden_layer_sizes": (4,),
        "lr": 0.01,
        "batch_size": 32,
        "max_epochs": 4,
        "random_state": 0,
        "device": "cpu",
    }
    return ACMRProjector(**settings | params)


def make_recorder(**methods):
    """Make a callback class with a log, on the class since fits work on copies."""
    return type("Recorder", (Callback,), {"log": [], **methods})


def note_weights(self, net, **kwargs):
    self.log.append(copy.deepcopy(net.module_.state_dict()))


def interrupt(self, net, **kwargs):
    raise KeyboardInterrupt


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


# -- the caller's callbacks ------------------------------------------------------


class Stateful(Callback):
    n_fits: list = []

    def __init__(self, start=0):
        self.start = start

    def initialize(self):
        self.count_ = self.start
        return self

    def on_epoch_end(self, net, **kwargs):
        self.count_ += 1

    def on_train_end(self, net, **kwargs):
        self.n_fits.append(self.count_)


@pytest.mark.parametrize(
    "callbacks",
    [[Stateful], [Stateful()], [("mine", Stateful())], [("mine", Stateful)]],
    ids=["class", "instance", "named", "named class"],
)
def test_forms_of_callbacks_and_copies(data, callbacks):
    Stateful.n_fits.clear()
    given = list(callbacks)
    estimator = make_estimator(callbacks=callbacks)
    estimator.fit(*data).fit(*data)
    assert Stateful.n_fits == [4, 4]
    assert estimator.callbacks is callbacks
    assert callbacks == given
    instance = callbacks[0][1] if isinstance(callbacks[0], tuple) else callbacks[0]
    assert not hasattr(instance, "count_")


def test_names_of_our_callbacks_are_free_for_the_caller(data):
    recorder = make_recorder(on_epoch_end=note_weights)
    names = ["valid_map", "early_stopping", "progress_bar", "epoch_timer_2"]
    callbacks = [(name, recorder()) for name in names]
    callbacks += [
        EarlyStopping(monitor="train_loss"),
        EarlyStopping(monitor="valid_loss"),
    ]
    make_estimator(callbacks=callbacks, early_stopping=True, max_epochs=1).fit(*data)
    assert len(recorder.log) == 4


@pytest.mark.parametrize("event", [None, "on_batch_begin", "on_batch_end"])
def test_batches_are_announced_to_those_who_listen(data, monkeypatch, event):
    announced = []
    notify = PairNet.notify

    def count(net, method_name, **kwargs):
        announced.append(method_name)
        return notify(net, method_name, **kwargs)

    monkeypatch.setattr(PairNet, "notify", count)
    seen = []
    methods = {event: lambda self, net, training, **kw: seen.append(training)}
    recorder = make_recorder(**methods if event else {})
    estimator = make_estimator(callbacks=[recorder], max_epochs=1, early_stopping=True)
    estimator.fit(*data)
    n_batches = 3 + 1 if event else 0  # of training and of validation
    assert announced.count("on_batch_begin") == n_batches
    assert announced.count("on_batch_end") == n_batches
    assert "on_grad_computed" not in announced
    assert seen == [True] * (n_batches - 1) + [False] * (n_batches > 0)


def test_estimator_has_what_callbacks_recorded(data):
    estimator = make_estimator(callbacks=[Stateful, ("mine", Stateful(start=3))])
    estimator.fit(*data)
    recorded = [(name, callback.count_) for name, callback in estimator.callbacks_]
    assert recorded == [("Stateful", 4), ("mine", 7)]


def test_epoch_scoring_of_an_estimator(data):
    """Encodings come by modality, of rows that are held out."""

    def width_and_rows(net, X, y):
        Z = net.transform(X)
        assert y.shape == (8, 3)
        return sum(Z[name].shape == (8, 4) for name in ("image", "text"))

    scoring = EpochScoring(width_and_rows, name="both", lower_is_better=False)
    estimator = make_estimator(callbacks=[scoring], early_stopping=True).fit(*data)
    assert [row["both"] for row in estimator.history_] == [2] * estimator.n_iter_
    assert estimator.callbacks_[0][1].best_score_ == 2


def test_batch_losses_are_recorded_for_those_who_listen(data):
    def on_batch_end(self, net, loss, **kwargs):
        self.log.append((float(loss), net.history[-1, "batches", -1, "train_loss"]))

    recorder = make_recorder(on_batch_end=on_batch_end)
    make_estimator(callbacks=[recorder], max_epochs=1).fit(*data)
    assert len(recorder.log) == 3
    assert all(loss == recorded for loss, recorded in recorder.log)


def test_listening_does_not_change_the_training(data):
    def listen(self, *args, **kwargs):
        pass

    events = ("on_batch_begin", "on_batch_end", "on_grad_computed")
    recorder = make_recorder(**dict.fromkeys(events, listen))
    quiet = make_estimator().fit(*data)
    heard = make_estimator(callbacks=[recorder]).fit(*data)
    assert_same_weights(quiet.module_.state_dict(), heard.module_.state_dict())
    assert quiet.loss_curve_ == heard.loss_curve_


def test_lr_scheduler_reaches_all_players(data):
    def on_epoch_end(self, net, **kwargs):
        optimizers = [net.optimizer_projector_, net.optimizer_discriminator_]
        self.log.append([own.param_groups[0]["lr"] for own in optimizers])

    recorder = make_recorder(on_epoch_end=on_epoch_end)
    scheduler = LRScheduler(policy="StepLR", step_size=1, gamma=0.1)
    estimator = make_estimator(callbacks=[recorder, scheduler], max_epochs=3)
    estimator.set_params(lr_discriminator=1e-3).fit(*data)
    np.testing.assert_allclose(recorder.log, np.outer([1e-2, 1e-3, 1e-4], [1, 0.1]))
    np.testing.assert_allclose(
        [row["event_lr"] for row in estimator.history_], [1e-2, 1e-3, 1e-4]
    )


@pytest.mark.parametrize("monitor", ["valid_loss", "valid_map", "train_loss"])
def test_checkpoint_keeps_the_best_epoch(data, tmp_path, monitor):
    recorder = make_recorder(on_epoch_end=note_weights)
    checkpoint = Checkpoint(
        monitor=f"{monitor}_best", dirname=str(tmp_path), f_pickle=None
    )
    estimator = make_estimator(
        callbacks=[recorder, checkpoint],
        early_stopping=True,
        max_epochs=8,
        lr=0.05,
        n_iter_no_change=8,
    ).fit(*data)
    values = [row[monitor] for row in estimator.history_]
    best = np.argmax(values) if monitor == "valid_map" else np.argmin(values)
    saved = torch.load(tmp_path / "params.pt", weights_only=True)
    assert_same_weights(saved, recorder.log[best])
    assert not any(name.endswith("_best") for name in estimator.history_[-1])


# -- early stopping ----------------------------------------------------------------


def test_early_stopping_brings_the_best_weights_of_every_child_back(data):
    recorder = make_recorder(on_epoch_end=note_weights)
    estimator = make_estimator(
        callbacks=[recorder],
        early_stopping=True,
        max_epochs=60,
        n_iter_no_change=3,
        lr=0.05,
    ).fit(*data)
    maps = [row["valid_map"] for row in estimator.history_]
    best = int(np.argmax(maps))
    assert estimator.n_iter_ == len(maps) == best + 3 + 1 < 60
    assert all(np.isfinite(row["valid_loss"]) for row in estimator.history_)
    assert all("seconds" in row for row in estimator.history_)
    # The callback of the last epoch is not called: our early stopping comes first.
    assert len(recorder.log) == len(maps) - 1
    assert_same_weights(estimator.module_.state_dict(), recorder.log[best])
    for child in ("encoders.image", "encoders.text", "classifier", "discriminator"):
        name = f"{child}.0.weight"
        assert not torch.equal(recorder.log[-1][name], recorder.log[best][name])


def test_best_weights_come_back_without_a_stop(data):
    recorder = make_recorder(on_epoch_end=note_weights)
    estimator = make_estimator(
        callbacks=[recorder], early_stopping=True, max_epochs=8, lr=0.05
    ).fit(*data)
    best = int(np.argmax([row["valid_map"] for row in estimator.history_]))
    assert_same_weights(estimator.module_.state_dict(), recorder.log[best])


@pytest.mark.parametrize("n_iter_no_change", [1, 3])
def test_tol_says_what_counts_as_better(data, n_iter_no_change):
    estimator = make_estimator(
        early_stopping=True, max_epochs=20, tol=1.0, n_iter_no_change=n_iter_no_change
    ).fit(*data)
    assert estimator.n_iter_ == 1 + n_iter_no_change
    first = make_estimator(early_stopping=True, max_epochs=1, grl_schedule=0.0)
    # The first epoch's coefficient is 0 in the default schedule, too.
    assert_same_weights(
        estimator.module_.state_dict(), first.fit(*data).module_.state_dict()
    )


# -- stopping by hand ----------------------------------------------------------------

EVENTS = [
    "on_train_begin",
    "on_epoch_begin",
    "on_batch_begin",
    "on_grad_computed",
    "on_batch_end",
    "on_epoch_end",
]


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("event", EVENTS)
def test_interrupt_is_passed_on(data, event, early_stopping):
    recorder = make_recorder(**{event: interrupt})
    estimator = make_estimator(callbacks=[recorder], early_stopping=early_stopping)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(*data)
    if event == "on_epoch_end":  # the first epoch is finished
        assert estimator.transform(*data[:2])[0].shape == (80, 4)
        assert estimator.n_iter_ == len(estimator.history_) == 1
    else:
        with pytest.raises(NotFittedError):
            estimator.transform(*data[:2])


def test_interrupt_ends_a_search(data):
    search = GridSearchCV(
        make_estimator(callbacks=[make_recorder(on_epoch_begin=interrupt)]),
        {"margin": [0.5, 1.0]},
        cv=ShuffleSplit(2, random_state=0),
    )
    with pytest.raises(KeyboardInterrupt):
        search.fit(make_pairs(*data[:2]), data[2])


def test_early_stopping_of_the_caller_is_no_interrupt(data):
    stopping = EarlyStopping(
        monitor="train_loss", patience=2, threshold=1e9, threshold_mode="abs"
    )
    estimator = make_estimator(callbacks=[stopping], max_epochs=10).fit(*data)
    assert estimator.n_iter_ == 3
    assert stopping.misses_ == 0


# -- progress ----------------------------------------------------------------------


def test_silent_by_default(data, capfd):
    make_estimator(early_stopping=True, n_iter_no_change=1, tol=1.0).fit(*data)
    assert capfd.readouterr() == ("", "")


def test_progress_in_a_log_file(data, capfd):
    make_estimator(
        verbose=1,
        early_stopping=True,
        max_epochs=20,
        n_iter_no_change=20,
        adversarial_weight=0,
    ).fit(*data)
    out, err = capfd.readouterr()
    assert out == ""
    assert "\r" not in err
    assert "\x1b" not in err
    lines = err.splitlines()
    assert len(lines) == 11
    shown = [1, *range(2, 21, 2)]
    for epoch, line in zip(shown, lines, strict=True):
        assert line.startswith("ACMRProjector:")
        assert f" {epoch}/20 [" in line
        assert "<" in line  # elapsed < remaining
        for name in ("train_loss=", "discriminator_loss=", "valid_loss=", "valid_map="):
            assert name in line


def test_progress_shows_the_last_epoch_of_a_stopped_fit(data, capfd):
    estimator = make_estimator(
        verbose=1, early_stopping=True, max_epochs=50, tol=1.0, n_iter_no_change=3
    ).fit(*data)
    lines = capfd.readouterr().err.splitlines()
    assert estimator.n_iter_ == 4
    assert [line.split()[2] for line in lines] == ["1/50", "4/50"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("fails", [False, True])
def test_progress_in_a_terminal_is_one_bar_that_closes(data, monkeypatch, fails):
    terminal, bars = Terminal(), []
    monkeypatch.setattr(sys, "stderr", terminal)
    on_train_begin = ProgressBar.on_train_begin

    def watch(self, net, **kwargs):
        on_train_begin(self, net, **kwargs)
        bars.append(self.bar_)

    monkeypatch.setattr(ProgressBar, "on_train_begin", watch)
    callbacks = [make_recorder(on_epoch_end=interrupt)] if fails else None
    estimator = make_estimator(verbose=1, callbacks=callbacks)
    if fails:
        with pytest.raises(KeyboardInterrupt):
            estimator.fit(*data)
    else:
        estimator.fit(*data)
    text = terminal.getvalue()
    assert len(bars) == 1
    assert bars[0].disable  # tqdm's mark of a closed bar
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert "\r" in text
    assert ("4/4" in text) != fails
    assert "train_loss=" in text


def test_a_line_per_epoch(data, capfd):
    make_estimator(verbose=2, early_stopping=True).fit(*data)
    out, err = capfd.readouterr()
    assert err == ""
    header, _, *rows = out.splitlines()
    for name in ("train_loss", "discriminator_loss", "valid_loss", "valid_map", "dur"):
        assert name in header.split()
    assert len(rows) == 4


def test_a_callback_with_the_name_of_a_default_one_is_recorded(data):
    callback = make_recorder()()
    estimator = make_estimator(callbacks=[("print_log", callback)]).fit(*data)
    assert [name for name, _ in estimator.callbacks_] == ["print_log"]


def test_names_of_callbacks_are_strings(data):
    with pytest.raises(TypeError, match="pairs of a name and one, got"):
        make_estimator(callbacks=[(1, make_recorder()())]).fit(*data)
