"""Fitted estimators on disk, in another process, copied and cloned."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import EarlyStopping

from sklearn_cmr import ACMRProjector


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    X_img = rng.normal(size=(60, 6)).astype(np.float32) + y[:, None]
    X_txt = rng.normal(size=(60, 4)).astype(np.float32) - y[:, None]
    return X_img, X_txt, y


def fit(data, **params):
    settings = {
        "embedding_dim": 4,
        "hidden_layer_sizes": (8,),
        "max_epochs": 2,
        "random_state": 0,
        "device": "cpu",
    }
    return ACMRProjector(**settings | params).fit(*data)


def assert_same_outputs(first, second, data):
    for Z, other in zip(
        first.transform(*data[:2]), second.transform(*data[:2]), strict=True
    ):
        np.testing.assert_array_equal(Z, other)


LOAD_AND_ENCODE = """
import sys
import joblib, numpy as np
folder = sys.argv[1]
pairs = np.load(folder + "/pairs.npz")
for name in sys.argv[2:]:
    estimator = joblib.load(f"{folder}/{name}")
    Z_img, Z_txt = estimator.transform(pairs["image"], pairs["text"])
    np.savez(f"{folder}/{name}.npz", image=Z_img, text=Z_txt)
    print(estimator.n_iter_, estimator.score(pairs["image"], pairs["text"], pairs["y"]))
"""


@pytest.mark.slow
def test_another_process_gives_the_same_bits(data, tmp_path):
    estimator = fit(data, callbacks=[EarlyStopping(monitor="train_loss")])
    joblib.dump(estimator, tmp_path / "by_joblib")
    (tmp_path / "by_pickle").write_bytes(pickle.dumps(estimator))
    names = ["by_joblib", "by_pickle"]
    np.savez(tmp_path / "pairs.npz", image=data[0], text=data[1], y=data[2])
    run = subprocess.run(
        [sys.executable, "-c", LOAD_AND_ENCODE, str(tmp_path), *names],
        capture_output=True,
        text=True,
        check=True,
    )
    Z_img, Z_txt = estimator.transform(*data[:2])
    for name in names:
        with np.load(tmp_path / f"{name}.npz") as encoded:
            np.testing.assert_array_equal(encoded["image"], Z_img)
            np.testing.assert_array_equal(encoded["text"], Z_txt)
    assert run.stdout.split() == 2 * ["2", str(estimator.score(*data))]


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))],
    ids=["deepcopy", "pickle"],
)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_copies_are_equal_and_independent(data, copied, early_stopping):
    estimator = fit(data, early_stopping=early_stopping)
    other = copied(estimator)
    assert_same_outputs(estimator, other, data)
    assert other.history_ == estimator.history_
    assert other.get_params() == estimator.get_params()
    with torch.no_grad():
        other.encoder_("image")[0].weight.zero_()
    other.history_.clear()
    assert_same_outputs(estimator, fit(data, early_stopping=early_stopping), data)
    assert len(estimator.history_) == 2


def test_copies_continue_a_warm_start_alike(data):
    estimator = fit(data, warm_start=True)
    other = pickle.loads(pickle.dumps(estimator))
    assert_same_outputs(estimator.fit(*data), other.fit(*data), data)


def test_clone_forgets_what_was_learnt(data):
    estimator = fit(data, warm_start=True)
    fresh = clone(estimator)
    learnt = {name for name in vars(estimator) if name not in estimator.get_params()}
    assert {"module_", "history_", "n_iter_", "classes_"} <= learnt
    assert not learnt & set(vars(fresh))


def test_pickle_holds_weights_and_history_alone(data):
    n_bytes = [len(pickle.dumps(fit(data, warm_start=warm))) for warm in (False, True)]
    weights = fit(data).module_.state_dict().values()
    n_weights = sum(tensor.nbytes for tensor in weights)
    assert n_bytes[0] < n_weights + 10_000
    assert n_bytes[0] + 2 * 0.9 * n_weights < n_bytes[1]  # Adam's two moments


# -- GPU -----------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.slow
def test_model_of_a_gpu_loads_where_there_is_none(data, tmp_path):
    estimator = fit(data, device="cuda", warm_start=True)
    joblib.dump(estimator, tmp_path / "estimator.joblib")
    assert next(estimator.module_.parameters()).device.type == "cuda"
    np.savez(tmp_path / "pairs.npz", image=data[0], text=data[1], y=data[2])
    subprocess.run(
        [sys.executable, "-c", LOAD_AND_ENCODE, str(tmp_path), "estimator.joblib"],
        env={"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": ":".join(sys.path)},
        check=True,
    )
    with np.load(tmp_path / "estimator.joblib.npz") as encoded:
        np.testing.assert_allclose(
            encoded["image"], estimator.transform(*data[:2])[0], rtol=1e-3, atol=1e-5
        )
