"""Features that are larger than the memory: what a process may take beside them."""

# SPDX-License-Identifier: BSD-3-Clause

import os
import subprocess
import sys
from pathlib import Path

import limits
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, KFold

from sklearn_cmr import ACMRProjector, make_pairs
from sklearn_cmr.metrics import map_scorer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("/proc/self/status").exists(), reason="needs Linux to measure memory"
    ),
]
ROOT = Path(limits.__file__).parents[1]
N_CLASSES = 4


def write(path, n_samples, n_features, dtype="float32"):
    """Write features around means of classes, block by block; return the classes.

    All blocks have the same noise: how much memory they take does not depend on it.
    """
    rng = np.random.default_rng(0)
    y = rng.integers(N_CLASSES, size=n_samples)
    means = rng.normal(size=(N_CLASSES, n_features)).astype(np.float32)
    noise = rng.standard_normal((1000, n_features), dtype=np.float32)
    X = np.lib.format.open_memmap(path, "w+", dtype, (n_samples, n_features))
    for start in range(0, n_samples, 1000):
        part = y[start : start + 1000]
        X[start : start + len(part)] = means[part] + noise[: len(part)]
    return y


def test_methods_train_on_files(tmp_path):
    """The benchmark at a hundredth of its size."""
    limits.write_data(tmp_path, limits.N_SAMPLES // 100)
    rows = limits.run_apart(limits.METHODS, tmp_path, allowed=192 * 2**20)
    assert list(rows) == list(limits.METHODS)
    assert all(row["fit"]["peak"] < 192 * 2**20 for row in rows.values())


_UNDER_A_LIMIT = """
import sys
import numpy as np
import limits
from sklearn_cmr import ACMRProjector

n_bytes, folder = int(sys.argv[1]), sys.argv[2]
params = {"hidden_layer_sizes": (16,), "embedding_dim": 8, "random_state": 0}
estimator = ACMRProjector(**params, max_epochs=1)
text, y = (np.load(f"{folder}/{name}.npy") for name in ("text", "y"))
estimator.fit(text, text, y).transform(text, text)  # loads modules
limits.limit_memory(n_bytes)
for name in ("float32", "float64"):
    image = np.load(f"{folder}/{name}.npy", mmap_mode="r")
    n_rows = len(image)
    with limits.peak_memory() as memory:
        estimator.fit(image, text[:n_rows], y[:n_rows])
        Z = estimator.transform_image(image)
    assert Z.shape == (n_rows, 8)
    print(memory.peak)
    try:
        np.array(image)
    except MemoryError:
        print("no copy")
"""


def test_features_of_ten_times_the_memory(tmp_path):
    """The limit holds: there, the features cannot be copied into the memory."""
    np.save(tmp_path / "y.npy", write(tmp_path / "text.npy", 36_000, 20))
    write(tmp_path / "float32.npy", 36_000, 4096)
    write(tmp_path / "float64.npy", 18_000, 4096, "float64")
    allowed = (tmp_path / "float64.npy").stat().st_size // 10
    run = subprocess.run(
        [sys.executable, "-c", _UNDER_A_LIMIT, str(allowed), str(tmp_path)],
        cwd=ROOT,
        # The limit is one of addresses: without further arenas of threads.
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([".", "benchmarks"]), "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    first, refused, second, refused_again = run.stdout.splitlines()
    assert refused == refused_again == "no copy"
    assert max(int(first), int(second)) < allowed


def score_and_memory(estimator, X, y):
    """Return what the worker holds while the rows of its fold are there."""
    memory = limits.memory_of_process("RssAnon")
    return {"map": map_scorer(estimator, X, y), "memory": memory}


def test_workers_of_a_search_share_the_file(tmp_path):
    """A fold's rows are read batch by batch, and not copied before."""
    n_samples, n_features = 6000, 8192
    y = write(tmp_path / "image.npy", n_samples, n_features)
    image = np.load(tmp_path / "image.npy", mmap_mode="r")
    text = np.eye(N_CLASSES)[y] + np.random.default_rng(0).normal(size=(n_samples, 4))
    params = {"hidden_layer_sizes": (8,), "embedding_dim": 4, "max_epochs": 1}
    search = GridSearchCV(
        ACMRProjector(**params, random_state=0),
        {"margin": [0.3, 0.5]},
        scoring=score_and_memory,
        cv=KFold(2, shuffle=True, random_state=0),
        refit=False,
        n_jobs=2,
        error_score="raise",
    )
    memory = {}
    for n_rows in (200, n_samples):
        search.fit(make_pairs(image[:n_rows], text[:n_rows]), y[:n_rows])
        found = [search.cv_results_[f"split{i}_test_memory"] for i in range(2)]
        memory[n_rows] = np.max(found)
    assert memory[n_samples] - memory[200] < image.nbytes / 4
    # The scores are those of the same rows in memory.
    scores = search.cv_results_["mean_test_map"]
    search.set_params(n_jobs=None).fit(make_pairs(np.array(image), text), y)
    np.testing.assert_allclose(search.cv_results_["mean_test_map"], scores)
