"""Dask and Ray, as their page shows: searches, killed workers, large galleries."""

# SPDX-License-Identifier: BSD-3-Clause

import doctest
import multiprocessing.forkserver
import os
import signal
import subprocess
import sys
from pathlib import Path

import joblib
import limits
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import (
    ACMRProjector,
    CrossModalNeighbors,
    PairTransformer,
    SSAHHasher,
    make_pairs,
)
from sklearn_cmr.datasets import make_cross_modal_classification

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("dask.distributed")
dask_search = pytest.importorskip("dask_ml.model_selection")
da = pytest.importorskip("dask.array")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "cluster.rst"
A, B, y = make_cross_modal_classification(
    120, n_image_features=16, n_text_features=8, n_classes=3, random_state=0
)
PAIRS = make_pairs(A, B)
SMALL = {"hidden_layer_sizes": (16,), "max_epochs": 2, "random_state": 0}
MODEL = make_pipeline(
    PairTransformer(image=StandardScaler()), ACMRProjector(**SMALL, embedding_dim=8)
)
GRID = {"acmrprojector__lr": [1e-3, 1e-2]}
CV = StratifiedKFold(2, shuffle=True, random_state=0)
# The last one is what torch imports in the first step of an optimizer.
PRELOAD = ["dask_ml.model_selection", "sklearn_cmr.projection._acmr", "torch._dynamo"]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Run the page; return its functions."""
    names = {"__name__": "__main__"}  # workers get them by value
    test = doctest.DocTestParser().get_doctest(
        PAGE.read_text(), names, PAGE.name, str(PAGE), 0
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        failed, tried = doctest.DocTestRunner().run(test, clear_globs=False)
    assert tried > 15 and not failed
    return test.globs


@pytest.fixture(scope="module")
def client(page):
    """Two worker processes, for the two GPUs that the machine seems to have."""
    config = {
        # How long the workers wait for a dead one; the nannies hand it on to them.
        "distributed.comm.timeouts.connect": "5s",
        # How long a cluster waits for a worker to start again: long, if it is busy.
        "distributed.deploy.lost-worker-timeout": "60s",
    }
    if "forkserver" in multiprocessing.get_all_start_methods():
        # What workers import is imported once: they are forks of what has it.
        config["distributed.worker.multiprocessing-method"] = "forkserver"
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        multiprocessing.forkserver.ensure_running()
    with dask.config.set(config):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.cuda, "device_count", lambda: 2)
            cluster = page["gpu_cluster"]()
        with cluster, distributed.Client(cluster) as client:
            client.wait_for_workers(2, timeout=60)
            yield client


@pytest.fixture(scope="module")
def expected():
    return scores(GridSearchCV(MODEL, GRID, cv=CV, refit=False).fit(PAIRS, y))


def scores(search):
    return [search.cv_results_[f"split{fold}_test_score"] for fold in range(2)]


def see():
    return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]


class KillOnce:
    """A score of a fold. The first process that asks for one dies."""

    def __init__(self, path):
        self.path = str(path)

    def __call__(self, estimator, X, y):
        try:
            with open(self.path, "x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            return estimator.score(X, y)
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs Linux to measure memory"
)
def test_two_million_rows_in_little_memory(tmp_path):
    n_rows, n_block, mb = 2_000_000, 100_000, 2**20
    rng = np.random.default_rng(0)
    images = np.lib.format.open_memmap(
        tmp_path / "images.npy", "w+", "float32", (n_rows, A.shape[1])
    )
    for start in range(0, n_rows, n_block):
        rng.standard_normal(out=images[start : start + n_block], dtype=np.float32)
    images.flush()
    model = SSAHHasher(**SMALL, n_bits=64, output="packed").fit(A, B, y)
    shape = n_rows, 8
    out = np.lib.format.open_memmap(tmp_path / "codes.npy", "w+", "uint8", shape)
    with limits.peak_memory() as encoding:
        mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
        model.transform_image(mapped, out=out)
    # Rows of two blocks, as other blocks.
    rows = slice(150_013, 250_009)
    assert_array_equal(out[rows], model.transform_image(images[rows]))

    neighbors = CrossModalNeighbors(n_neighbors=3)
    with limits.peak_memory() as search:
        for start in range(0, n_rows, n_block):
            neighbors.partial_fit(out[start : start + n_block])
        distances, found = neighbors.kneighbors(out[rows][:2])
    assert neighbors.n_samples_fit_ == n_rows
    assert_array_equal(distances[:, 0], 0)
    assert_array_equal(out[found[:, 0]], out[rows][:2])
    print(f"encoding {encoding.peak / mb:.0f} MB, search {search.peak / mb:.0f} MB")
    assert encoding.peak < images.nbytes / 2
    assert search.peak < 4 * out.nbytes


def test_joblib_backend_equals_sequential_search(client, expected):
    with distributed.get_task_stream(client) as stream, joblib.parallel_config("dask"):
        search = GridSearchCV(MODEL, GRID, cv=CV, refit=False).fit(PAIRS, y)
    assert stream.data  # the fits were tasks of Dask
    assert_array_equal(scores(search), expected)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_a_search_on_files_survives_a_killed_worker(client, page, expected, tmp_path):
    np.save(tmp_path / "image.npy", A)
    np.save(tmp_path / "text.npy", B)
    pairs = dask.delayed(page["read_pairs"])(str(tmp_path))
    before = dict(client.run(see).values())
    path = tmp_path / "killed"
    options = {"cv": CV, "scoring": KillOnce(path), "refit": False}
    search = dask_search.GridSearchCV(MODEL, GRID, **options).fit(pairs, y)
    client.wait_for_workers(2, timeout=60)
    after = dict(client.run(see).values())
    killed = int(path.read_text())
    print(f"workers {before}, killed {killed}, workers {after} (process: GPU)")
    assert killed in before and killed not in after
    assert_array_equal(scores(search), expected)
    # The new worker has the GPU of the dead one.
    assert sorted(before.values()) == sorted(after.values()) == ["0", "1"]


def test_workers_encode_files(client, page, tmp_path):
    model, images = page["model"], page["image"]
    np.save(tmp_path / "images.npy", images)
    target = str(tmp_path / "encoded")
    blocks = page["read_rows"](str(tmp_path / "images.npy"), 1000)
    da.to_npy_stack(target, page["encode_images"](model, blocks))
    encoded = da.from_npy_stack(target).compute()
    assert_array_equal(encoded, model.transform_image(images))


# In a process of its own: Ray puts its pool in place of joblib's.
_ON_RAY = """
import sys
import joblib
import numpy as np
import ray
from ray.util.joblib import register_ray
from tests.test_cluster import CV, GRID, MODEL, PAIRS, GridSearchCV, KillOnce, scores, y

register_ray()
search = GridSearchCV(MODEL, GRID, cv=CV, scoring=KillOnce(sys.argv[1]), refit=False)
retries = {"max_restarts": 3, "max_task_retries": 3}
with ray.init(num_cpus=2, include_dashboard=False, object_store_memory=2**27):
    with joblib.parallel_config("ray", n_jobs=-1, ray_remote_args=retries):
        search.fit(PAIRS, y)
np.save(sys.argv[2], scores(search))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_a_search_on_ray_survives_a_killed_worker(expected, tmp_path):
    pytest.importorskip("ray")
    killed, found = tmp_path / "killed", tmp_path / "scores.npy"
    paths = [str(ROOT), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    env = {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        # It sends no statistics, and writes no token into the home folder.
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
    }
    run = subprocess.run(
        [sys.executable, "-c", _ON_RAY, killed, found],
        env=os.environ | env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert int(killed.read_text())
    assert_array_equal(np.load(found), expected)
