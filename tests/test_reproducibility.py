"""Seeds, warm starts and threads: what is repeated bit for bit, and what is touched."""

# SPDX-License-Identifier: BSD-3-Clause

import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest
import sklearn
import torch
from joblib import Parallel, delayed
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold, cross_validate
from sklearn.preprocessing import label_binarize
from skorch.callbacks import Callback

from sklearn_cmr import ACMRProjector, make_pairs

N_ROWS = 80


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, N_ROWS)
    X_img = rng.normal(size=(N_ROWS, 6)).astype(np.float32) + y[:, None]
    X_txt = rng.normal(size=(N_ROWS, 4)).astype(np.float32) - y[:, None]
    return X_img, X_txt, y


def make_estimator(**params):
    settings = {
        "embedding_dim": 8,
        "hidden_layer_sizes": (8,),
        "discriminator_hidden_layer_sizes": (4,),
        "lr": 0.01,
        "batch_size": 32,
        "max_epochs": 3,
        "random_state": 0,
        "device": "cpu",
    }
    return ACMRProjector(**settings | params)


def weights_of(estimator):
    return {k: v.clone() for k, v in estimator.module_.state_dict().items()}


def assert_same_weights(first, second):
    first, second = weights_of(first), weights_of(second)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def history_of(estimator):
    return [
        {k: v for k, v in row.items() if k != "seconds"} for row in estimator.history_
    ]


# -- random_state ----------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"early_stopping": True},
        {"triplet_sampling": "random"},
        {"init": "default"},
        {"triplet_sampling": "random", "early_stopping": True, "n_projector_steps": 2},
    ],
)
def test_same_seed_same_bits(data, params):
    estimator = make_estimator(**params).fit(*data)
    first = clone(estimator).fit(*data)
    assert_same_weights(estimator, first)
    assert history_of(estimator) == history_of(first)
    assert_same_weights(estimator.fit(*data), first)


def test_kinds_of_random_state(data):
    fitted = make_estimator(random_state=np.random.RandomState(5)).fit(*data)
    again = make_estimator(random_state=np.random.RandomState(5)).fit(*data)
    assert_same_weights(fitted, again)

    shared = np.random.RandomState(5)
    first = make_estimator(random_state=shared).fit(*data)
    second = make_estimator(random_state=shared).fit(*data)
    assert_same_weights(first, fitted)
    assert history_of(first) != history_of(second)

    unseeded = [make_estimator(random_state=None).fit(*data) for _ in range(2)]
    assert history_of(unseeded[0]) != history_of(unseeded[1])
    assert history_of(make_estimator(random_state=1).fit(*data)) != history_of(
        make_estimator(random_state=2).fit(*data)
    )


def numpy_state():
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return name, keys.tolist(), *rest


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("random_state", [0, np.random.RandomState(0)])
def test_global_generators_are_untouched(data, random_state, fails):
    before = random.getstate(), numpy_state(), torch.get_rng_state()
    estimator = make_estimator(
        random_state=random_state,
        triplet_sampling="random",
        early_stopping=True,
        lr=1e30 if fails else 0.01,
    )
    if fails:
        with pytest.raises(FloatingPointError):
            estimator.fit(*data)
    else:
        estimator.fit(*data).transform(*data[:2])
    assert random.getstate() == before[0]
    assert numpy_state() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_global_generators_have_no_effect(data):
    fitted = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        fitted.append(make_estimator(triplet_sampling="random").fit(*data))
    assert_same_weights(*fitted)


def test_kind_of_matrix_has_no_effect_on_the_bits(data, tmp_path):
    X_img, X_txt, y = data
    np.save(tmp_path / "X.npy", X_img)
    fitted = make_estimator(early_stopping=True).fit(X_img, X_txt, y)
    for image, text in [
        (X_img.astype(np.float64), np.asfortranarray(X_txt)),
        (np.load(tmp_path / "X.npy", mmap_mode="r"), X_txt),
        (sparse.csr_array(X_img), sparse.csr_matrix(X_txt.astype(np.float64))),
    ]:
        other = make_estimator(early_stopping=True).fit(image, text, y)
        assert_same_weights(fitted, other)
        for Z, other_Z in zip(
            fitted.transform(X_img, X_txt), other.transform(image, text), strict=True
        ):
            np.testing.assert_array_equal(Z, other_Z)


def test_indicator_and_classes_train_alike(data):
    X_img, X_txt, y = data
    fitted = make_estimator().fit(X_img, X_txt, y)
    indicator = label_binarize(y, classes=[0, 1, 2])
    other = make_estimator().fit(X_img, X_txt, indicator)
    assert_same_weights(fitted, other)


def test_metadata_routing_has_no_effect(data):
    fitted = make_estimator().fit(*data)
    with sklearn.config_context(enable_metadata_routing=True):
        other = make_estimator().fit(*data)
    assert_same_weights(fitted, other)


# -- processes and threads ---------------------------------------------------------


@pytest.mark.slow
def test_cross_validation_in_two_processes(data):
    X_img, X_txt, y = data
    results = [
        cross_validate(
            make_estimator(),
            make_pairs(X_img, X_txt),
            y,
            cv=KFold(2, shuffle=True, random_state=0),
            n_jobs=n_jobs,
            return_estimator=True,
            error_score="raise",
        )
        for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(results[0]["test_score"], results[1]["test_score"])
    for first, second in zip(*(r["estimator"] for r in results), strict=True):
        assert_same_weights(first, second)


class SlowToBuild(ACMRProjector):
    """Lets other threads draw from the global generator before it does."""

    def _build(self, n_features, n_classes):
        time.sleep(0.02)
        return super()._build(n_features, n_classes)


def test_fits_in_parallel_threads(data):
    def fit(seed):
        estimator = make_estimator(
            random_state=seed, triplet_sampling="random", init="default", max_epochs=2
        )
        return SlowToBuild(**estimator.get_params()).fit(*data)

    n_threads, rng_state = torch.get_num_threads(), torch.get_rng_state()
    parallel = Parallel(n_jobs=4, backend="threading")(
        delayed(fit)(i) for i in range(8)
    )
    for seed, estimator in enumerate(parallel):
        assert_same_weights(estimator, fit(seed))
    assert torch.get_num_threads() == n_threads
    assert torch.equal(torch.get_rng_state(), rng_state)


def test_number_of_torch_threads_has_no_effect(data):
    """True where steps are small, since the engine then takes one thread anyway."""
    before = torch.get_num_threads()
    fitted = []
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            fitted.append(make_estimator().fit(*data))
            assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)
    assert_same_weights(*fitted)


FIT_AND_PRINT = """
import numpy as np
from sklearn_cmr import ACMRProjector
rng = np.random.default_rng(0)
y = rng.integers(0, 3, 60)
X_img, X_txt = rng.normal(size=(60, 6)), rng.normal(size=(60, 4))
estimator = ACMRProjector(
    embedding_dim=4, hidden_layer_sizes=(8,), max_epochs=2, random_state=0, device="cpu"
)
print(repr(estimator.fit(X_img, X_txt, y).loss_curve_))
"""


@pytest.mark.slow
def test_process_with_another_hash_seed():
    run = subprocess.run(
        [sys.executable, "-c", FIT_AND_PRINT],
        env=os.environ | {"PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    here: dict = {}
    exec(FIT_AND_PRINT, here)
    assert run.stdout.strip() == repr(here["estimator"].loss_curve_)


# -- warm_start ----------------------------------------------------------------------


def test_warm_start_goes_on_as_if_it_had_not_stopped(data):
    """With a fixed seed and a constant schedule, 3 + 3 epochs are 6 epochs."""
    params = {"grl_schedule": 0.5, "triplet_sampling": "random"}
    whole = make_estimator(max_epochs=6, **params).fit(*data)
    parts = make_estimator(warm_start=True, **params).fit(*data)
    assert parts.n_iter_ == 3
    parts.fit(*data)
    assert_same_weights(whole, parts)
    assert history_of(whole) == history_of(parts)
    assert parts.n_iter_ == len(parts.history_) == len(parts.loss_curve_) == 6
    assert [row["epoch"] for row in parts.history_] == [1, 2, 3, 4, 5, 6]


class StopLike(Callback):
    """Press Ctrl-C at the beginning of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) > self.epoch:
            raise KeyboardInterrupt


def test_warm_start_goes_on_after_ctrl_c(data):
    options = {"grl_schedule": 1.0, "warm_start": True, "max_epochs": 6}
    whole = make_estimator(**options).fit(*data)
    estimator = make_estimator(**options, callbacks=[StopLike(2)])
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(*data)
    assert estimator.n_iter_ == 2
    estimator.set_params(callbacks=None, max_epochs=4).fit(*data)
    assert_same_weights(estimator, whole)


def test_warm_start_obeys_new_parameters(data):
    first = make_estimator(warm_start=True).fit(*data)
    second = make_estimator(warm_start=True).fit(*data)
    first.set_params(lr=1e-5).fit(*data)
    second.fit(*data)
    assert first.loss_curve_[:3] == second.loss_curve_[:3]
    assert first.loss_curve_[-1] != second.loss_curve_[-1]


def test_without_warm_start_fits_start_anew(data):
    estimator = make_estimator().fit(*data)
    before = history_of(estimator)
    assert history_of(estimator.fit(*data)) == before
    assert estimator.n_iter_ == 3


def test_warm_start_needs_the_same_widths_and_classes(data):
    X_img, X_txt, y = data
    estimator = make_estimator(warm_start=True).fit(*data)
    before, history = weights_of(estimator), history_of(estimator)
    with pytest.raises(ValueError, match="6 image features"):
        estimator.fit(X_img[:, :5], X_txt, y)
    with pytest.raises(ValueError, match="4 text features"):
        estimator.fit(X_img, X_txt[:, :3], y)
    with pytest.raises(ValueError, match="same classes"):
        estimator.fit(X_img, X_txt, y + 1)
    assert all(
        torch.equal(v, before[k]) for k, v in estimator.module_.state_dict().items()
    )
    assert history_of(estimator) == history
    assert estimator.fit(*data).n_iter_ == 6


@pytest.mark.parametrize(
    "changed",
    [
        {"hidden_layer_sizes": {"image": (4,), "text": (5,)}},
        {"activation": "tanh"},
        {"discriminator_hidden_layer_sizes": (3, 3)},
        {"discriminator_activation": "logistic"},
    ],
)
def test_warm_start_needs_the_same_networks(data, changed):
    estimator = make_estimator(warm_start=True).fit(*data).set_params(**changed)
    with pytest.raises(ValueError, match=f"same networks: expected {[*changed][0]}="):
        estimator.fit(*data)


def test_warm_start_takes_lists_and_tuples_alike(data):
    estimator = make_estimator(warm_start=True, hidden_layer_sizes=(4,)).fit(*data)
    n_iter = estimator.n_iter_
    estimator.set_params(hidden_layer_sizes=[4]).fit(*data)
    assert estimator.n_iter_ == 2 * n_iter


# -- non-finite loss -------------------------------------------------------------------


def test_non_finite_loss_leaves_a_usable_model(data):
    estimator = make_estimator(warm_start=True).fit(*data)
    before = weights_of(estimator)
    with pytest.raises(
        FloatingPointError, match=r"ACMRProjector: .* in epoch 4\. .*1e\+30"
    ):
        estimator.set_params(lr=1e30).fit(*data)
    assert all(
        torch.equal(v, before[k]) for k, v in estimator.module_.state_dict().items()
    )
    assert [row["epoch"] for row in estimator.history_] == [1, 2, 3]
    assert estimator.n_iter_ == len(estimator.loss_curve_) == 3
    assert np.isfinite(estimator.transform(*data[:2])[0]).all()
    assert estimator.set_params(lr=0.01).fit(*data).n_iter_ == 6


def test_non_finite_loss_in_the_first_epoch(data):
    estimator = make_estimator(lr=1e30, early_stopping=True)
    with pytest.raises(FloatingPointError, match=r"in epoch 1\. "):
        estimator.fit(*data)
    assert vars(estimator) == estimator.get_params(deep=False)
    with pytest.raises(NotFittedError):
        estimator.transform(*data[:2])
