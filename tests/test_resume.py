"""A fit that was killed or interrupted continues from its folder of checkpoints."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import json
import os
import pickle
import subprocess
import sys
import threading
import zipfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, EpochScoring, LRScheduler
from torch import nn

import sklearn_cmr
from sklearn_cmr import (
    AADAHHasher,
    ACMRProjector,
    CrossModalEnsemble,
    DRCLProjector,
    SSAHHasher,
    make_pairs,
)
from sklearn_cmr.metrics import map_scorer
from tests.base.methods import METHODS, A, B, each_method, make, y
from tests.helpers import assert_same_weights

ROOT = Path(__file__).parent.parent


class Stop(Exception):
    """What ends a fit in these tests."""


class Counter(Callback):
    """Count the epochs of all fits, and end a fit after so many."""

    n_epochs, limit, error = 0, None, Stop

    def on_epoch_end(self, net, **kwargs):
        Counter.n_epochs += 1
        if Counter.n_epochs == Counter.limit:
            raise Counter.error


@pytest.fixture(autouse=True)
def reset():
    Counter.n_epochs, Counter.limit, Counter.error = 0, None, Stop


def make_counted(cls, **params):
    return make(cls, **{"callbacks": [Counter], "max_epochs": 4} | params)


def fit_until(limit, estimator, error=Stop, data=(A, B, y), **options):
    """Fit, but end the fit after so many epochs."""
    Counter.n_epochs, Counter.limit, Counter.error = 0, limit, error
    with pytest.raises(error):
        estimator.fit(*data, **options)
    Counter.n_epochs, Counter.limit = 0, None


def history(estimator):
    return [{**row, "seconds": 0} for row in estimator.history_]


def assert_same_fit(first, second):
    assert_same_weights(first, second)
    assert history(first) == history(second)
    Z, Z_other = first.transform(A, B), second.transform(A, B)
    for own, other in zip(Z, Z_other, strict=True):
        np.testing.assert_array_equal(own, other)


# -- killed --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server():
    """Start a process that makes fits in forks, and kills them."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.killing"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    ) as process:

        def ask(**task):
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            assert "error" not in answer, answer["error"]
            return answer

        yield ask
        process.kill()


# A checkpoint takes six calls: four parts of a file, what waits for the disk (twice,
# with the folder), and the renaming. So these are in the second and third checkpoint.
WRITES = [8, 11, 12, 13, 14, 16]


# What the many of a method show, the few show in less time, of one method.
KILLED = [
    pytest.param(cls, 5, 4, WRITES, marks=pytest.mark.slow, id=f"{cls.__name__}-many")
    for cls in METHODS
]
KILLED.append(pytest.param(ACMRProjector, 1, 2, WRITES[2:3], id="ACMRProjector-few"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize(("cls", "n_folders", "n_kills", "writes"), KILLED)
def test_killed_fits_end_as_if_nothing_had_happened(
    server, cls, n_folders, n_kills, writes
):
    # In each folder, a fit is killed at random moments, again after it continued.
    task = {"n_folders": n_folders, "n_kills": n_kills, "writes": writes}
    answer = server(name=cls.__name__, epochs=3, seed=0, **task)
    expected = answer["expected"]
    for killed, continued, _ in answer["at_random"]:
        assert len(killed) == n_kills and set(killed) <= {None, expected}
        assert continued == expected
    # Those that are killed while they write a later checkpoint have an earlier one.
    for killed, continued, n_files in answer["at_writes"]:
        assert killed == [None] and n_files
        assert continued == expected


# -- interrupted -----------------------------------------------------------------------

CASES = [(cls, {}) for cls in METHODS] + [
    (ACMRProjector, {"early_stopping": True, "n_iter_no_change": 2}),
    (ACMRProjector, {"warm_start": True}),
    (ACMRProjector, {"n_projector_steps": 3, "batch_size": 7}),
    (DRCLProjector, {"prior": "select", "keep_all_priors": True}),
    (DRCLProjector, {"prior": "select", "early_stopping": True, "warm_start": True}),
    (SSAHHasher, {"schedule": "alternate", "n_rounds": 1, "encoder_passes": (2, 2)}),
    (SSAHHasher, {"self_supervision": False}),
    (AADAHHasher, {"sampler": "class_balanced", "warmup_epochs": 1}),
]


@pytest.mark.parametrize(
    "cls, params", CASES, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_interrupted_fits_continue(cls, params, tmp_path):
    reference = make_counted(cls, **params).fit(A, B, y)
    n_epochs = Counter.n_epochs
    assert n_epochs > 1
    for limit in {1, n_epochs // 2, n_epochs - 1} - {0}:
        folder = tmp_path / str(limit)
        params = {**params, "checkpoint": folder}
        fit_until(limit, make_counted(cls, **params), KeyboardInterrupt)
        continued = make_counted(cls, **params).fit(A, B, y)
        # The epoch in which it was interrupted is trained again.
        assert Counter.n_epochs == n_epochs - limit + 1
        assert_same_fit(continued, reference)
    # A finished fit is only read.
    Counter.n_epochs = 0
    found = make_counted(cls, **params).fit(A, B, y)
    assert Counter.n_epochs == 0
    assert_same_fit(found, reference)
    assert found.n_iter_ == reference.n_iter_
    for name in ("prior_", "quality_scores_", "priors_", "train_codes_", "label_loss_"):
        if hasattr(reference, name):
            first, second = getattr(found, name), getattr(reference, name)
            np.testing.assert_equal(first, second)


class Network(nn.Sequential):
    """A network of the caller; its dropout draws, and its statistics move."""

    def __init__(self, n_features, width=5, activation=nn.ReLU):
        layers = nn.BatchNorm1d(n_features), nn.Linear(n_features, width)
        super().__init__(*layers, activation(), nn.Dropout(0.5))


def with_network(cls, encoder, **params):
    return make_counted(cls, encoders={"image": encoder}, lr_encoder=0.01, **params)


@pytest.mark.parametrize("is_class", [True, False])
@each_method
def test_fits_with_own_networks_continue(cls, is_class, tmp_path):
    torch.manual_seed(0)
    network = Network if is_class else Network(A.shape[1])
    options = {"early_stopping": True, "warm_start": True, "max_epochs": 3}
    reference = with_network(cls, network, **options).fit(A, B, y)
    limit = Counter.n_epochs // 2 + 1
    options["checkpoint"] = tmp_path
    fit_until(limit, with_network(cls, network, **options), KeyboardInterrupt)
    continued = with_network(cls, copy.deepcopy(network), **options).fit(A, B, y)
    assert_same_fit(continued, reference)
    # The fits that follow are the same, too, also of what comes from a file.
    found = with_network(cls, network, **options).fit(A, B, y)
    found = pickle.loads(pickle.dumps(found))
    for own in (reference, found):
        own.set_params(checkpoint=None).fit(A, B, y)
    assert_same_fit(found, reference)


def test_other_networks_are_refused(tmp_path):
    def make_network(**params):
        torch.manual_seed(0)
        return Network(A.shape[1], **params)

    def fit(encoder, folder="networks"):
        params = {"checkpoint": tmp_path / folder, "max_epochs": 1}
        return with_network(ACMRProjector, encoder, **params).fit(A, B, y)

    fit(make_network())
    others = [
        make_network(width=4),
        make_network(activation=nn.Tanh),  # with the same weights
        make_network().requires_grad_(False),
        Network,
    ]
    for other in others:
        with pytest.raises(ValueError, match="encoders: the checkpoint has"):
            fit(other)
    for width in (1, 1, 5):
        error = pytest.raises(ValueError, match="other weights, by name or shape")
        with error if width == 5 else nullcontext():
            # Functions count by their names.
            fit(lambda n_features: Network(n_features, width), "functions")  # noqa: B023
    for _ in range(2):
        fit(nn.LazyLinear(3), "lazy")


def test_ctrl_c_leaves_the_last_finished_epoch(tmp_path):
    params = {"checkpoint": tmp_path, "checkpoint_every": 100, "max_epochs": 9}
    estimator = make_counted(ACMRProjector, **params)
    fit_until(6, estimator, KeyboardInterrupt)
    assert estimator.n_iter_ == 6
    Counter.n_epochs = 0
    make_counted(ACMRProjector, **params).fit(A, B, y)
    # The callback ended the sixth epoch before its checkpoint was taken.
    assert Counter.n_epochs == 4


def test_checkpoint_every_is_no_part_of_the_fit(tmp_path):
    reference = make_counted(ACMRProjector).fit(A, B, y)
    fit_until(3, make_counted(ACMRProjector, checkpoint=str(tmp_path)))
    other = {"checkpoint": str(tmp_path), "checkpoint_every": 2, "verbose": 1}
    assert_same_fit(make_counted(ACMRProjector, **other).fit(A, B, y), reference)


def test_a_failure_before_the_first_new_epoch_keeps_those_of_the_folder(tmp_path):
    fit_until(3, make_counted(ACMRProjector, checkpoint=tmp_path))
    estimator = make_counted(ACMRProjector, checkpoint=tmp_path)
    fit_until(1, estimator, KeyboardInterrupt)
    assert estimator.n_iter_ == 3
    assert [row["epoch"] for row in estimator.history_] == [1, 2, 3]


# -- seeds -----------------------------------------------------------------------------


def test_without_a_seed_the_fit_continues_with_that_of_the_folder(tmp_path):
    params = {"checkpoint": tmp_path, "random_state": None, "early_stopping": True}
    first = make_counted(ACMRProjector, **params)
    fit_until(3, first)
    reference = make_counted(ACMRProjector, **params | {"checkpoint": None})
    continued = make_counted(ACMRProjector, **params).fit(A, B, y)
    assert history(continued)[:2] == history(first)[:2]
    found = make_counted(ACMRProjector, **params).fit(A, B, y)
    assert_same_fit(found, continued)
    seed = json.loads(_about(tmp_path))["seed"]
    drawn = _DrawsOnce(seed)
    assert_same_fit(reference.set_params(random_state=drawn).fit(A, B, y), continued)


class _DrawsOnce(np.random.RandomState):
    """A source of one number, which the caller knows."""

    def __init__(self, number):
        super().__init__(0)
        self.number = number

    def randint(self, *args, **kwargs):
        return self.number


def _about(folder):
    path = sorted(folder.glob("*.zip"))[-1]
    with zipfile.ZipFile(path) as archive:
        return archive.read("about.json")


def test_a_generator_counts_as_it_is_at_the_start(tmp_path):
    params = {"checkpoint": tmp_path}
    seeded = np.random.RandomState(0)
    fit_until(3, make_counted(ACMRProjector, random_state=seeded, **params))
    with pytest.raises(ValueError, match="random_state: the checkpoint has drawn anot"):
        make_counted(ACMRProjector, random_state=seeded, **params).fit(A, B, y)
    afresh = np.random.RandomState(0)
    make_counted(ACMRProjector, random_state=afresh, **params).fit(A, B, y)
    assert Counter.n_epochs == 2


# -- what is refused -------------------------------------------------------------------


def changed(X, place=(3, 2)):
    X = X.copy()
    X[place] += 1
    return X


OTHERS = [
    ({"lr": 0.01}, {}, "lr: the checkpoint has 0.0001, the fit 0.01"),
    ({"max_epochs": 5}, {}, "max_epochs: the checkpoint has 4, the fit 5"),
    (
        {"hidden_layer_sizes": (8,)},
        {},
        r"sizes: the checkpoint has \[16\], the fit \[8",
    ),
    ({"random_state": 1}, {}, "random_state: the checkpoint has drawn another seed"),
    ({"callbacks": None}, {}, "callbacks: the checkpoint has .*Counter.*, the fit"),
    ({}, {"A": changed(A)}, "image features: other values"),
    ({}, {"B": changed(B)}, "text features: other values"),
    ({}, {"A": A.astype("f2")}, "image features: .*'float64'.* the fit .*'float16'"),
    ({}, {"B": sparse.csr_matrix(B)}, "text features: .*'dense'.* the fit .*'sparse'"),
    ({}, {"y": (y + 1) % 3}, "image labels: other values"),
    ({}, {"y": np.array(list("abc"))[y]}, r"classes: .*\[0, 1, 2\].*\['a', 'b', 'c'\]"),
    ({}, {"A": A[1:], "B": B[1:], "y": y[1:]}, r"features: .*\[60, 6\].*\[59, 6\]"),
]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Return a folder with a fit that was interrupted."""
    folder = tmp_path_factory.mktemp("begun")
    Counter.n_epochs, Counter.limit, Counter.error = 0, 2, Stop
    with pytest.raises(Stop):
        make_counted(ACMRProjector, checkpoint=folder).fit(A, B, y)
    return folder


@pytest.mark.parametrize("params, data, text", OTHERS, ids=lambda v: str(v)[:30])
def test_other_fits_are_refused_with_the_difference(begun, params, data, text):
    before = {path.name: path.read_bytes() for path in begun.iterdir()}
    given = {"A": A, "B": B, "y": y} | data
    estimator = make_counted(ACMRProjector, checkpoint=begun, **params)
    with pytest.raises(ValueError, match=text) as caught:
        estimator.fit(*given.values())
    assert "holds another fit than this one" in str(caught.value)
    assert "pass another folder, or delete this one" in str(caught.value)
    assert not hasattr(estimator, "module_")
    assert {path.name: path.read_bytes() for path in begun.iterdir()} == before


@pytest.mark.parametrize(
    "params",
    [
        {"lr": np.float64(1e-4)},
        {"hidden_layer_sizes": [16]},
        {"betas": [0.5, 0.999]},
        {"device": torch.device("cpu")},
        {"callbacks": [Counter()]},
    ],
    ids=lambda params: next(iter(params)),
)
def test_the_same_fit_in_other_words_continues(begun, params, tmp_path):
    defaults = ACMRProjector().get_params()
    if "betas" in params:
        params = {"betas": list(defaults["betas"])}
    for path in begun.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    estimator = make_counted(ACMRProjector, checkpoint=tmp_path, **params)
    estimator.fit(np.asfortranarray(A), B.tolist(), list(y))
    assert Counter.n_epochs == 3


def test_held_out_rows_are_compared(tmp_path):
    params = {"early_stopping": True, "checkpoint": tmp_path, "n_iter_no_change": 9}
    held_out = {"X_val": make_pairs(A[50:], B[50:]), "y_val": y[50:]}
    data = A[:50], B[:50], y[:50]
    estimator = make_counted(ACMRProjector, **params)
    fit_until(2, estimator, data=data, **held_out)
    other = {"X_val": make_pairs(changed(A)[:9], B[:9]), "y_val": y[:9]}
    with pytest.raises(ValueError, match="held-out image features: the checkpoint has"):
        make_counted(ACMRProjector, **params).fit(*data, **other)
    with pytest.raises(ValueError, match="held-out image features: the checkpoint has"):
        make_counted(ACMRProjector, **params).fit(*data)
    make_counted(ACMRProjector, **params).fit(*data, **held_out)
    assert Counter.n_epochs == 3


def test_other_methods_are_refused(begun):
    with pytest.raises(ValueError, match=r"estimator: .*ACMRProjector.*DRCLProjector"):
        make_counted(DRCLProjector, checkpoint=begun).fit(A, B, y)


def test_other_versions_are_named(begun, tmp_path, monkeypatch):
    for path in begun.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(sklearn_cmr, "__version__", "99.0")
    with pytest.warns(UserWarning, match="'sklearn_cmr': '99.0'.* continues from them"):
        make_counted(ACMRProjector, checkpoint=tmp_path).fit(A, B, y)


def test_an_archive_of_something_else_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "epoch-000-000001.zip", "w") as archive:
        archive.writestr("about.json", "{}")
    with pytest.raises(ValueError, match="have another format"):
        make(ACMRProjector, checkpoint=tmp_path).fit(A, B, y)


def test_features_mapped_from_a_file_are_compared(tmp_path):
    mapped = np.memmap(tmp_path / "A", np.float32, "w+", shape=A.shape)
    mapped[:] = A
    folder = tmp_path / "folder"
    fit_until(2, make_counted(ACMRProjector, checkpoint=folder), data=(mapped, B, y))
    # The same values, in memory.
    make_counted(ACMRProjector, checkpoint=folder).fit(A.astype("f4"), B, y)
    assert Counter.n_epochs == 3


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"checkpoint": 3}, "The 'checkpoint' parameter of ACMRProjector"),
        ({"checkpoint_every": 0}, "The 'checkpoint_every' parameter of ACMRProjector"),
        ({"checkpoint": ""}, "checkpoint is an empty text"),
    ],
)
def test_wrong_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        make(ACMRProjector, **params).fit(A, B, y)


def test_impossible_name_of_a_folder():
    message = "embedded null (byte|character).* another folder"
    with pytest.raises(ValueError, match=message):
        make(ACMRProjector, checkpoint="a\0b").fit(A, B, y)


# -- warm starts, and modalities that come later ---------------------------------------


def test_warm_starts_with_a_folder_each(tmp_path):
    def script(limit=None):
        estimator = make_counted(ACMRProjector, warm_start=True)
        for i in range(3):
            estimator.set_params(checkpoint=limit and tmp_path / str(i)).fit(A, B, y)
        return estimator

    reference = script()
    Counter.n_epochs, Counter.limit = 0, 7
    with pytest.raises(Stop):
        script(limit=7)
    Counter.n_epochs, Counter.limit = 0, None
    continued = script(limit=7)
    assert Counter.n_epochs == 12 - 7 + 1
    assert_same_fit(continued, reference)


def test_a_warm_start_in_the_folder_of_another_fit_is_refused(tmp_path):
    estimator = make_counted(ACMRProjector, warm_start=True, checkpoint=tmp_path)
    estimator.fit(A, B, y)
    with pytest.raises(
        ValueError, match="earlier fits: the checkpoint has None, the fi"
    ):
        estimator.fit(A, B, y)
    assert estimator.n_iter_ == 4


def test_a_warm_start_continues_from_the_same_weights_only(tmp_path):
    first = make_counted(ACMRProjector, warm_start=True).fit(A, B, y)
    saved = pickle.dumps(first)
    fit_until(2, first.set_params(checkpoint=tmp_path))
    with pytest.raises(
        ValueError, match="earlier fits: the checkpoint has {'epochs': 4"
    ):
        first.fit(A, B, y)
    loaded = pickle.loads(saved).set_params(checkpoint=tmp_path).fit(A, B, y)
    twice = pickle.loads(saved).fit(A, B, y)
    assert_same_fit(loaded, twice)


def test_a_modality_that_is_added_has_a_folder_in_the_folder(tmp_path):
    C, name = A[:, ::-1].copy(), "a/sound"
    reference = make_counted(DRCLProjector).fit(A, B, y).add_modality(name, C, y)

    def script():
        estimator = make_counted(DRCLProjector, checkpoint=tmp_path / "run")
        return estimator.fit(A, B, y).add_modality(name, C, y)

    Counter.n_epochs, Counter.limit = 0, 11
    with pytest.raises(Stop):
        script()
    Counter.n_epochs, Counter.limit = 0, None
    continued = script()
    assert Counter.n_epochs == 12 - 11 + 1
    assert_same_weights(continued, reference)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert (tmp_path / "run" / "modality_a%2Fsound").is_dir()


# -- callbacks -------------------------------------------------------------------------


class Smoothed(Callback):
    """Average the weights over the epochs: a callback with arrays as state."""

    def on_train_begin(self, net, **kwargs):
        self.mean_, self.seen_ = None, []

    def on_epoch_end(self, net, **kwargs):
        weights = torch.cat([p.detach().flatten() for p in net.module_.parameters()])
        self.mean_ = weights if self.mean_ is None else 0.5 * (self.mean_ + weights)
        self.seen_.append(float(weights.sum()))


class WithLock(Callback):
    def __init__(self):
        self.lock = threading.Lock()

    def __deepcopy__(self, memo):
        return WithLock()


def test_callbacks_go_on(tmp_path):
    callbacks = [
        Smoothed(),
        ("score", EpochScoring(map_scorer, on_train=True, name="train_map")),
        LRScheduler("StepLR", step_size=1, gamma=0.5),
        Counter,
    ]
    params = {"callbacks": callbacks, "max_epochs": 6}
    reference = make(ACMRProjector, **params).fit(A, B, y)
    fit_until(4, make(ACMRProjector, **params, checkpoint=tmp_path))
    for _ in range(2):  # continued, then found finished
        fitted = make(ACMRProjector, **params, checkpoint=tmp_path).fit(A, B, y)
        assert_same_fit(fitted, reference)
        names, copies = zip(*fitted.callbacks_, strict=True)
        assert names == tuple(name for name, _ in reference.callbacks_)
        expected = reference.callbacks_[0][1]
        assert copies[0].seen_ == expected.seen_ and len(expected.seen_) == 6
        assert torch.equal(copies[0].mean_, expected.mean_)
        assert copies[1].best_score_ == reference.callbacks_[1][1].best_score_
    assert Counter.n_epochs == 3


def test_a_callback_that_cannot_be_stored(tmp_path):
    estimator = make(ACMRProjector, callbacks=[WithLock()], checkpoint=tmp_path)
    with pytest.raises(
        TypeError, match="'WithLock' cannot be stored .* attribute 'lock', _thread"
    ):
        estimator.fit(A, B, y)
    assert list(tmp_path.glob("*.zip")) == []


# -- scikit-learn ----------------------------------------------------------------------


def test_clones_and_files_keep_the_folder(tmp_path):
    estimator = make(ACMRProjector, checkpoint=tmp_path / "a", checkpoint_every=3)
    for other in (clone(estimator), pickle.loads(pickle.dumps(estimator.fit(A, B, y)))):
        assert other.checkpoint == tmp_path / "a" and other.checkpoint_every == 3


def test_an_ensemble_continues(tmp_path):
    def make_ensemble(folder, **params):
        member = make_counted(ACMRProjector, checkpoint=folder)
        return CrossModalEnsemble(
            member, **{"n_estimators": 3, "random_state": 0} | params
        )

    reference = make_ensemble(None).fit(A, B, y)
    fit_until(7, make_ensemble(tmp_path))
    continued = make_ensemble(tmp_path).fit(A, B, y)
    assert Counter.n_epochs == 12 - 7 + 1
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["member_0", "member_1", "member_2"]
    for pair in zip(continued.estimators_, reference.estimators_, strict=True):
        assert_same_fit(*pair)
    with pytest.raises(ValueError, match="need random_state of the ensemble"):
        make_ensemble(tmp_path, random_state=None).fit(A, B, y)


def test_a_search_with_one_folder_says_what_is_wrong(tmp_path):
    search = GridSearchCV(
        make(ACMRProjector, checkpoint=tmp_path),
        {"lr": [0.01, 0.001]},
        scoring=map_scorer,
        cv=2,
        error_score="raise",
    )
    with pytest.raises(
        ValueError, match="a cross-validation differ, and need checkpoint"
    ):
        search.fit(make_pairs(A, B), y)
