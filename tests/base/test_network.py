"""Training by all methods: failures, torch's ambient settings, callbacks."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
)

from sklearn_cmr import ACMRProjector, DRCLProjector, make_pairs
from sklearn_cmr.metrics import map_scorer
from tests.base.methods import METHODS, A, B, each_method, make, y
from tests.helpers import assert_same_weights


class Failure(Callback):
    """Raise an error in an event of an epoch, counted over all phases.

    `weights` are those of the end of the last finished epoch.
    """

    def __init__(self, error, epoch=0, event="on_epoch_begin"):
        self.error, self.epoch, self.event = error, epoch, event
        self.n_finished, self.weights = 0, None

    def __deepcopy__(self, memo):
        return self

    def notified(self, event):
        if event == self.event and self.n_finished == self.epoch:
            raise self.error

    def on_train_begin(self, net, **kwargs):
        self.notified("on_train_begin")

    def on_epoch_begin(self, net, **kwargs):
        self.notified("on_epoch_begin")

    def on_batch_end(self, net, **kwargs):
        self.notified("on_batch_end")

    def on_epoch_end(self, net, **kwargs):
        self.weights = copy.deepcopy(net.module_.state_dict())
        self.n_finished += 1


ERRORS = [
    KeyboardInterrupt("of the test"),
    RuntimeError("of the test"),
    FloatingPointError("of the test"),
]
each_error = pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
each_event = pytest.mark.parametrize(
    "event", ["on_train_begin", "on_epoch_begin", "on_batch_end"]
)


def assert_weights(estimator, expected):
    found = estimator.module_.state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def assert_same_output(estimator, expected):
    for part, other in zip(estimator.transform(A, B), expected, strict=True):
        assert_array_equal(part, other)


# A fit that fails ---------------------------------------------------------------


@each_method
@each_event
@each_error
def test_a_failure_in_the_first_epoch_leaves_an_unfitted_estimator(cls, error, event):
    estimator = make(cls, callbacks=[Failure(error, event=event)])
    with pytest.raises(type(error), match="of the test"):
        estimator.fit(A, B, y)
    assert vars(estimator) == estimator.get_params(deep=False)
    with pytest.raises(NotFittedError):
        estimator.transform(A, B)


@each_method
@each_event
@each_error
@pytest.mark.parametrize("warm_start", [False, True])
def test_a_failure_in_the_first_epoch_keeps_the_fitted_model(
    cls, error, event, warm_start
):
    estimator = make(cls, warm_start=warm_start).fit(A, B, y)
    Z, weights = (
        estimator.transform(A, B),
        copy.deepcopy(estimator.module_.state_dict()),
    )
    estimator.set_params(callbacks=[Failure(error, event=event)])
    before = vars(estimator).copy()
    with pytest.raises(type(error), match="of the test"):
        estimator.fit(A, B, y)
    assert vars(estimator) == before
    assert_weights(estimator, weights)
    assert_same_output(estimator, Z)
    n_iter = estimator.n_iter_
    estimator.set_params(callbacks=None).fit(A, B, y)
    assert (estimator.n_iter_ > n_iter) == warm_start


@each_method
@each_event
@each_error
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_later_failure_keeps_the_finished_epochs(cls, error, event):
    if event == "on_train_begin":
        event = "on_epoch_begin"  # the first phase of a method may have no more epochs
    failure = Failure(error, 2, event)
    estimator = make(cls, callbacks=[failure])
    with pytest.raises(type(error), match="of the test"):
        estimator.fit(A, B, y)
    assert estimator.n_iter_ == len(estimator.history_) == 2
    assert len(estimator.loss_curve_) == 2
    assert_weights(estimator, failure.weights)
    for Z in estimator.transform(A, B):
        assert np.isfinite(Z).all()


@each_method
@each_error
def test_a_later_failure_of_a_warm_start_keeps_its_finished_epochs(cls, error):
    estimator = make(cls, warm_start=True).fit(A, B, y)
    n_before = estimator.n_iter_
    failure = Failure(error, 1, "on_batch_end")
    with pytest.raises(type(error), match="of the test"):
        estimator.set_params(callbacks=[failure]).fit(A, B, y)
    assert estimator.n_iter_ == len(estimator.history_) == n_before + 1
    assert_weights(estimator, failure.weights)
    assert estimator.set_params(callbacks=None).fit(A, B, y).n_iter_ > n_before + 1


@each_method
def test_a_refit_that_was_interrupted_holds_its_own_epochs(cls):
    estimator = make(cls).fit(A, B, y)
    failure = Failure(KeyboardInterrupt("of the test"), 1)
    other = np.hstack([A, A])
    with pytest.raises(KeyboardInterrupt):
        estimator.set_params(callbacks=[failure]).fit(other, B, y)
    assert estimator.n_iter_ == len(estimator.history_) == 1
    assert_weights(estimator, failure.weights)
    assert estimator.n_image_features_in_ == other.shape[1]
    assert np.isfinite(estimator.transform_image(other)).all()


# Divergence ---------------------------------------------------------------------


class Explosion(Callback):
    """Make the weights of one network infinite in an epoch."""

    def __init__(self, epoch=0):
        self.epoch = epoch
        self.n_finished = 0

    def __deepcopy__(self, memo):
        return self

    def on_epoch_end(self, net, **kwargs):
        self.n_finished += 1

    def on_batch_end(self, net, **kwargs):
        if self.n_finished == self.epoch:
            with torch.no_grad():
                net.phase.players[0].parameters[0].fill_(torch.inf)


@each_method
@pytest.mark.parametrize("warm_start", [False, True])
def test_divergence_in_the_first_epoch(cls, warm_start):
    estimator = make(cls, callbacks=[Explosion()], warm_start=warm_start)
    with pytest.raises(FloatingPointError, match=r"in epoch 1\. .*StandardScaler"):
        estimator.fit(A, B, y)
    assert vars(estimator) == estimator.get_params(deep=False)
    estimator.set_params(callbacks=None).fit(A, B, y)
    Z = estimator.transform(A, B)
    n_before = estimator.n_iter_
    with pytest.raises(FloatingPointError, match="became infinite or NaN in epoch"):
        estimator.set_params(callbacks=[Explosion()]).fit(A, B, y)
    assert_same_output(estimator, Z)
    assert estimator.n_iter_ == n_before


@each_method
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_all_networks_encode_finitely_after_a_divergence(cls):
    estimator = make(cls, callbacks=[Explosion(2)])
    with pytest.raises(FloatingPointError, match=r"in epoch 3\."):
        estimator.fit(A, B, y)
    assert estimator.n_iter_ == 2
    for name, value in estimator.module_.state_dict().items():
        assert torch.isfinite(value).all(), name
    for Z in estimator.transform(A, B):
        assert np.isfinite(Z).all()
    assert estimator.encoder_("image")(torch.tensor(A).float()).isfinite().all()


@each_method
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_features_of_a_huge_scale_diverge_or_encode_finitely(cls):
    estimator = make(cls)
    try:
        estimator.fit(A * 1e30, B * 1e30, y)
    except FloatingPointError:
        assert vars(estimator) == estimator.get_params(deep=False)
    else:
        for Z in estimator.transform(A * 1e30, B * 1e30):
            assert np.isfinite(Z).all()


# Ambient settings of torch --------------------------------------------------------


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


AMBIENT = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "meta": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


def outputs_of(estimator):
    """Return all that an estimator computes of features."""
    outputs = dict(zip(("image", "text"), estimator.transform(A, B), strict=True))
    outputs["score"] = estimator.score(A, B, y)
    for method in ("predict_proba", "attention", "encode"):
        if hasattr(estimator, method):
            outputs[method] = getattr(estimator, method)(A, "image")
    if hasattr(estimator, "reconstruct"):
        outputs["reconstruct"] = estimator.reconstruct(A, "image")
    return outputs


@pytest.fixture(scope="module")
def plain():
    """Fits under torch's defaults, and their outputs."""
    made = {}

    def fitted(cls):
        if cls not in made:
            estimator = _with_all_outputs(cls).fit(A, B, y)
            made[cls] = estimator, outputs_of(estimator)
        return made[cls]

    return fitted


def _with_all_outputs(cls):
    extra = {"reconstruction_weight": 1.0}
    own = {k: v for k, v in extra.items() if k in cls().get_params()}
    return make(cls, early_stopping=True, validation_fraction=0.2, **own)


@each_method
@pytest.mark.parametrize("setting", AMBIENT)
def test_ambient_settings_change_no_bit(cls, setting, plain):
    reference, expected = plain(cls)
    with AMBIENT[setting]():
        estimator = _with_all_outputs(cls).fit(A, B, y)
        under = outputs_of(estimator), outputs_of(reference)
    assert_same_weights(estimator, reference)
    assert estimator.loss_curve_ == reference.loss_curve_
    for found in (*under, outputs_of(estimator)):
        for name, value in found.items():
            assert_array_equal(value, expected[name], err_msg=name)


@each_method
@pytest.mark.parametrize("setting", AMBIENT)
def test_warm_starts_and_copies_under_ambient_settings(cls, setting):
    plain = make(cls, warm_start=True).fit(A, B, y)
    with AMBIENT[setting]():
        first = make(cls, warm_start=True).fit(A, B, y)
    copied = copy.deepcopy(first).fit(A, B, y)
    with AMBIENT[setting]():
        first.fit(A, B, y)
    assert_same_weights(first, plain.fit(A, B, y))
    assert_same_weights(copied, plain)


def test_a_modality_is_added_under_ambient_settings():
    plain = make(DRCLProjector).fit(A, B, y).add_modality("audio", A + 1, y)
    for enter in AMBIENT.values():
        with enter():
            estimator = make(DRCLProjector).fit(A, B, y).add_modality("audio", A + 1, y)
        assert_same_weights(estimator, plain)


# Threads --------------------------------------------------------------------------


@each_method
def test_threads_of_a_pool_keep_their_torch_threads(cls):
    n_workers, n_threads, before = 4, 3, torch.get_num_threads()
    reference = make(cls).fit(A, B, y)
    all_are_here = threading.Barrier(n_workers, timeout=60)

    def fit(_):
        all_are_here.wait()
        estimator = make(cls).fit(A, B, y)
        all_are_here.wait()
        return estimator, torch.get_num_threads()

    torch.set_num_threads(n_threads)
    try:
        with ThreadPoolExecutor(n_workers) as pool:
            estimators, numbers = zip(*pool.map(fit, range(n_workers)), strict=True)
        assert numbers == (n_threads,) * n_workers
        assert torch.get_num_threads() == n_threads
        with ThreadPoolExecutor(1) as fresh:
            assert fresh.submit(torch.get_num_threads).result() == n_threads
    finally:
        torch.set_num_threads(before)
    for estimator in estimators:
        assert_same_weights(estimator, reference)


# Callbacks ------------------------------------------------------------------------


class RateLog(Callback):
    """Note the learning rates of all players in every epoch."""

    def __init__(self):
        self.rates = []

    def on_batch_begin(self, net, **kwargs):
        if not self.rates or self.rates[-1][0] != net.history[-1, "epoch"]:
            rates = {
                player.name: optimizer.param_groups[0]["lr"]
                for player, optimizer in net.turns_
            }
            self.rates.append((net.history[-1, "epoch"], rates))


@each_method
def test_schedulers_reach_all_players(cls):
    scheduler = LRScheduler(policy="StepLR", step_size=1, gamma=0.25)
    estimator = make(cls, callbacks=[("scheduler", scheduler), ("log", RateLog())])
    estimator.fit(A, B, y)
    logs = [c for name, c in estimator.callbacks_ if name.endswith("log")]
    assert sum(len(log.rates) for log in logs) == estimator.n_iter_
    for log in logs:
        (_, first), *others = log.rates
        for i, (_, rates) in enumerate(others, start=1):
            assert rates == {name: lr * 0.25**i for name, lr in first.items()}
    events = [row["event_lr"] for row in estimator.history_ if "event_lr" in row]
    assert len(events) == estimator.n_iter_
    plain = make(cls).fit(A, B, y)
    assert plain.loss_curve_ != estimator.loss_curve_


@each_method
def test_a_callback_may_set_learning_rates(cls):
    class Freeze(Callback):
        def on_epoch_begin(self, net, **kwargs):
            for group in net.optimizer_.param_groups:
                group["lr"] = 0.0

    estimator = make(cls, callbacks=[Freeze(), Failure(None, epoch=-1)])
    estimator.fit(A, B, y)
    frozen = make(cls, callbacks=[Failure(KeyboardInterrupt(), 1)])
    frozen.set_params(callbacks=[Freeze(), *frozen.callbacks])
    with pytest.raises(KeyboardInterrupt):
        frozen.fit(A, B, y)
    own = dict(estimator.module_.named_parameters())
    for name, value in frozen.module_.named_parameters():
        assert torch.equal(value, own[name]), name


def spread(net, X, y):
    """Score held-out rows by what `transform` gives, one modality at a time or all."""
    Z = net.transform(X)
    assert all(len(part) == len(y) for part in Z.values())
    return float(np.mean([np.std(part) for part in Z.values()]))


@each_method
def test_epoch_scoring_records(cls):
    scoring = EpochScoring(spread, lower_is_better=False, name="spread")
    estimator = make(cls, callbacks=[scoring], early_stopping=True)
    estimator.set_params(validation_fraction=0.2).fit(A, B, y)
    scored = [row["spread"] for row in estimator.history_ if "spread" in row]
    # The label network of SSAH has no held-out rows, the priors of DRCL neither.
    with_map = [row for row in estimator.history_ if "valid_map" in row]
    assert len(scored) >= len(with_map) > 0
    best = [callback.best_score_ for _, callback in estimator.callbacks_]
    assert max(scored) in best
    assert not hasattr(scoring, "best_score_")


@pytest.mark.parametrize("cls", [c for c in METHODS if c.__name__ != "DRCLProjector"])
def test_epoch_scoring_by_the_scorer_of_the_package(cls):
    scoring = EpochScoring(map_scorer, lower_is_better=False, name="map")
    extra = {"self_supervision": False}
    own = {k: v for k, v in extra.items() if k in cls().get_params()}
    estimator = make(cls, callbacks=[scoring], early_stopping=True, **own)
    estimator.set_params(validation_fraction=0.2).fit(A, B, y)
    for row in estimator.history_:
        assert row["map"] == pytest.approx(row["valid_map"])


@each_method
def test_callbacks_with_what_they_recorded(cls):
    callback = RateLog()
    estimator = make(cls, callbacks=[callback]).fit(A, B, y)
    assert callback.rates == []
    assert all(
        type(c) is RateLog and c is not callback for _, c in estimator.callbacks_
    )
    found = [epoch for _, c in estimator.callbacks_ for epoch, _ in c.rates]
    assert found == [row["epoch"] for row in estimator.history_]
    assert make(cls).fit(A, B, y).callbacks_ == []


@each_method
def test_parameters_of_callbacks(cls):
    clip = GradientNormClipping(1.0)
    estimator = make(cls, callbacks=[("clip", clip), Callback()])
    params = estimator.get_params()
    assert params["callbacks__clip"] is clip
    assert params["callbacks__clip__gradient_clip_value"] == 1.0
    assert not any(
        k.startswith("callbacks__") for k in estimator.get_params(deep=False)
    )
    copied = clone(estimator).set_params(callbacks__clip__gradient_clip_value=0.1)
    assert copied.callbacks[0][1].gradient_clip_value == 0.1
    assert clip.gradient_clip_value == 1.0
    other = GradientNormClipping(2.0)
    copied.set_params(callbacks__clip=other, callbacks__clip__gradient_clip_value=3.0)
    assert copied.callbacks[0] == ("clip", other)
    assert other.gradient_clip_value == 3.0
    for name in ("callbacks__other__x", "callbacks__clip__x", "callbacks__other"):
        with pytest.raises(ValueError, match=f"Invalid parameter '{name}'"):
            copied.set_params(**{name: 1})
    copied.set_params(callbacks__clip=GradientNormClipping)
    assert copied.get_params()["callbacks__clip"] is GradientNormClipping
    with pytest.raises(ValueError, match="Pass an instance in place of the class"):
        copied.set_params(callbacks__clip__gradient_clip_value=1.0)


@each_method
def test_parameters_of_callbacks_are_searched(cls):
    estimator = make(cls, callbacks=[("clip", GradientNormClipping(1.0))])
    search = GridSearchCV(
        estimator,
        {"callbacks__clip__gradient_clip_value": [1e-6, 10.0]},
        scoring=map_scorer,
        cv=StratifiedKFold(2, shuffle=True, random_state=0),
        error_score="raise",
    ).fit(make_pairs(A, B), y)
    best = search.best_params_["callbacks__clip__gradient_clip_value"]
    assert search.best_estimator_.callbacks[0][1].gradient_clip_value == best
    alone = make(cls, callbacks=[("clip", GradientNormClipping(best))])
    assert_same_weights(search.best_estimator_, alone.fit(A, B, y))


@each_method
def test_callbacks_that_cannot_be_copied(cls):
    class WithLock(Callback):
        def __init__(self):
            self.lock = threading.Lock()

    estimator = make(cls, callbacks=[WithLock()])
    with pytest.raises(
        TypeError, match="callback WithLock cannot be copied, and every"
    ):
        estimator.fit(A, B, y)
    assert vars(estimator) == estimator.get_params(deep=False)


@each_method
def test_checkpoints(cls, tmp_path):
    for given in (Checkpoint(dirname=tmp_path), Checkpoint):
        estimator = make(cls, callbacks=[given])
        with pytest.raises(
            ValueError, match="Checkpoint monitors 'valid_loss_best'.*Ch"
        ):
            estimator.fit(A, B, y)
    given = Checkpoint(dirname=tmp_path, monitor="train_loss_best", f_history=None)
    make(cls, callbacks=[given]).fit(A, B, y)
    assert (tmp_path / "params.pt").exists()


# Parameters -----------------------------------------------------------------------


@each_method
@pytest.mark.parametrize("device", ["mps", "meta", torch.device("meta")])
def test_devices_that_do_not_compute(cls, device):
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has the device")
    with pytest.raises(
        ValueError, match="device=.*cannot be used: .*Use 'auto', 'cpu'"
    ):
        make(cls, device=device).fit(A, B, y)


@each_method
@pytest.mark.parametrize("betas", [(0.9, 1.0), (-0.1, 0.9), (0.9,), (0.9, 0.99, 0.5)])
def test_betas_out_of_range(cls, betas):
    estimator = make(cls, betas=betas)
    with pytest.raises(ValueError, match=r"betas must be two numbers in \[0, 1\)"):
        estimator.fit(A, B, y)
    assert vars(estimator) == estimator.get_params(deep=False)


@each_method
@pytest.mark.parametrize("name", ["betas", "weight_decay"])
def test_adams_settings_reach_all_players(cls, name):
    class Settings(Callback):
        def on_train_begin(self, net, **kwargs):
            self.groups = [dict(g) for _, opt in net.turns_ for g in opt.param_groups]

    value = {"betas": (0.7, 0.8), "weight_decay": 0.25}[name]
    estimator = make(cls, callbacks=[Settings()], **{name: value}).fit(A, B, y)
    groups = [group for _, c in estimator.callbacks_ for group in c.groups]
    assert len(groups) > 1
    assert all(group[name] == value for group in groups)


@each_method
def test_label_minus_one_is_named(cls):
    marked = np.where(np.arange(60) % 10 == 0, -1, y)
    with pytest.warns(UserWarning, match="label -1.*missing_labels"):
        estimator = make(cls).fit(A, B, marked)
    assert -1 in estimator.classes_


@each_method
def test_rows_without_labels(cls):
    some = np.arange(60) % 10 == 0
    missing = np.where(some, np.nan, y)
    with pytest.raises(ValueError, match="y contains NaN"):
        make(cls).fit(A, B, missing)
    with pytest.warns(UserWarning, match="6 of"):
        estimator = make(cls, missing_labels="drop").fit(A, B, missing)
    assert_same_weights(estimator, make(cls).fit(A[~some], B[~some], y[~some]))


@each_method
def test_held_out_rows_of_the_caller(cls):
    train, valid = np.arange(60) % 5 > 0, np.arange(60) % 5 == 0
    X, X_val = (make_pairs(A[rows], B[rows]) for rows in (train, valid))
    estimator = make(cls, early_stopping=True)
    estimator.fit(X, y[train], X_val=X_val, y_val=y[valid])
    assert any("valid_map" in row for row in estimator.history_)
    split = make(cls, early_stopping=True, validation_fraction=0.2).fit(X, y[train])
    maps = [
        [row["valid_map"] for row in e.history_ if "valid_map" in row]
        for e in (estimator, split)
    ]
    assert maps[0] != maps[1]
    with pytest.raises(ValueError, match="Pass X_val and y_val together"):
        estimator.fit(X, y[train], X_val=X_val)
    with pytest.raises(ValueError, match="set early_stopping=True"):
        make(cls).fit(X, y[train], X_val=X_val, y_val=y[valid])


@each_method
def test_held_out_labels_in_another_order_are_refused(cls):
    frames = make_pairs(*(pd.DataFrame(part).add_prefix("x") for part in (A, B)))
    labels = pd.Series(y)
    estimator = make(cls, early_stopping=True)
    with pytest.raises(ValueError, match="same index in another order"):
        estimator.fit(frames, labels, X_val=frames, y_val=labels[::-1])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("lr", [1e10, 1e20, 1e30])
@each_method
def test_networks_encode_finitely_after_a_divergence(cls, lr):
    """Finite weights can be too large to compute with."""
    estimator = make(cls, lr=lr, max_epochs=5)
    try:
        estimator.fit(A, B, y)
    except FloatingPointError:
        pass
    if not hasattr(estimator, "module_"):
        return  # as it was before: unfitted
    for X, modality in ((A, "image"), (B, "text")):
        with torch.no_grad():
            Z = estimator.encoder_(modality)(torch.as_tensor(X, dtype=torch.float32))
        assert Z.isfinite().all()


@pytest.mark.parametrize(
    "callback, text",
    [
        (EpochScoring("accuracy"), r"function scoring\(net, X, y\).*'accuracy'"),
        (EpochScoring(map_scorer), "early_stopping=True only"),
        (BatchScoring(map_scorer), "Use EpochScoring"),
    ],
)
def test_scoring_callbacks_that_cannot_work(callback, text):
    with pytest.raises(ValueError, match=text):
        make(ACMRProjector, callbacks=[callback]).fit(A, B, y)


@pytest.mark.parametrize("modality", [["image"], None, 0, "sound"])
def test_modalities_that_are_unknown(modality):
    estimator = make(ACMRProjector).fit(A, B, y)
    for method in (lambda m: estimator.transform_modality(A, m), estimator.encoder_):
        with pytest.raises(ValueError, match="modality must be one of .*'text'"):
            method(modality)
