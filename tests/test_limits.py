"""Features that are larger than the memory: what a process may take beside them."""

# SPDX-License-Identifier: BSD-3-Clause

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
MB = 2**20
N_CLASSES = 4


def write(path, n_samples, n_features, dtype="float32"):
    """Write features around means of classes, block by block; return the classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(N_CLASSES, size=n_samples)
    means = rng.normal(size=(N_CLASSES, n_features))
    X = np.lib.format.open_memmap(path, "w+", dtype, (n_samples, n_features))
    for start in range(0, n_samples, 1000):
        part = y[start : start + 1000]
        noise = rng.standard_normal((len(part), n_features), dtype=np.float32)
        X[start : start + len(part)] = means[part] + noise
    return y


def test_methods_train_on_files():
    """The benchmark at a hundredth of its size."""
    command = [sys.executable, limits.__file__, "--scale", "0.01", "--allowed", "192"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    rows = [line for line in run.stdout.splitlines() if "Projector" in line]
    rows += [line for line in run.stdout.splitlines() if "Hasher" in line]
    assert len(rows) == len(limits.METHODS)


_UNDER_A_LIMIT = """
import sys
import numpy as np
import limits
from sklearn_cmr import ACMRProjector

folder, n_bytes = sys.argv[1], int(sys.argv[2])
image, text, y = (np.load(f"{folder}/{name}.npy", mmap_mode="r") for name in "ity")
params = {"hidden_layer_sizes": (16,), "embedding_dim": 8, "random_state": 0}
estimator = ACMRProjector(**params, max_epochs=1)
estimator.fit(np.array(image[:100]), np.array(text[:100]), y[:100])  # loads modules
limits.limit_memory(n_bytes)
with limits.peak_memory() as memory:
    if len(sys.argv) > 3:
        image = np.array(image)
    estimator.fit(image, text, y)
    codes = estimator.transform_image(image)
assert codes.shape == (len(y), 8)
print(memory.peak)
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_features_of_ten_times_the_memory(dtype, tmp_path):
    """The limit holds: with a copy in memory, the same process ends with an error."""
    n_samples = 6000 if dtype == "float64" else 12_000
    y = write(tmp_path / "i.npy", n_samples, 4096, dtype)
    write(tmp_path / "t.npy", n_samples, 20)
    np.save(tmp_path / "y.npy", y)
    size = (tmp_path / "i.npy").stat().st_size
    allowed = size // 10
    command = [sys.executable, "-c", _UNDER_A_LIMIT, str(tmp_path), str(allowed)]
    options = {"capture_output": True, "text": True, "timeout": 300}
    options["cwd"] = Path(limits.__file__).parent
    run = subprocess.run(command, **options)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < allowed
    print(allowed, run.stdout)
    if dtype == "float32":
        run = subprocess.run([*command, "copy"], **options)
        assert "MemoryError" in run.stderr


def score_and_memory(estimator, X, y):
    """Return what the worker holds while the rows of its fold are there."""
    memory = limits.memory_of_process("RssAnon")
    return {"map": map_scorer(estimator, X, y), "memory": memory}


def test_workers_of_a_search_share_the_file(tmp_path):
    """A fold's rows are read batch by batch, and not copied before."""
    n_samples, n_features = 3000, 8192
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
