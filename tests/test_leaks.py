"""Many fits, and many threads, in one process."""

# SPDX-License-Identifier: BSD-3-Clause

import gc
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning

from tests.wrong_inputs.rows import IMAGE, PAIRS, TEXT, Y, make, refitted

METHODS = ["AADAHHasher", "ACMRProjector", "CMGANProjector", "DRCLProjector"]
METHODS += ["SSAHHasher"]
N_FITS = 500
LINUX = Path("/proc/self/status")
ROOT = Path(__file__).parents[1]


def _resident():
    """Return the memory of the process that is no file, in bytes."""
    line = next(row for row in LINUX.read_text().splitlines() if "RssAnon" in row)
    return 1024 * int(line.split()[1])


def _open_things():
    """Return the numbers of open files and of threads."""
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


def _count_objects():
    gc.collect()
    return len(gc.get_objects())


def _use(name, seed):
    estimator = make(name, random_state=seed, early_stopping=False)
    estimator.fit(IMAGE, TEXT, Y).transform(PAIRS)


def check_many_fits():
    """Raise if many fits leave anything behind in this process."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    for i in range(50):
        _use(METHODS[i % len(METHODS)], i)
    before, things, n_threads = _resident(), _open_things(), threading.active_count()
    n_objects = _count_objects()
    for i in range(N_FITS):
        _use(METHODS[i % len(METHODS)], i)
    # One that stays from each fit would be seen, as would its weights and moments.
    assert _count_objects() - n_objects < N_FITS // 2
    assert _resident() - before < 2**23
    assert _open_things() == things
    assert threading.active_count() == n_threads


@pytest.mark.slow
@pytest.mark.skipif(not LINUX.exists(), reason="reads what Linux says of a process")
def test_many_fits_leave_nothing_behind():
    # In a process of its own: what other tests have freed lies there in pieces.
    code = f"from {__name__} import check_many_fits as check; check()"
    command = [sys.executable, "-c", f"import torch; torch.set_num_threads(1); {code}"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr


def _outputs(estimator):
    return [*estimator.transform(PAIRS).values(), estimator.score(PAIRS, Y)]


def _assert_equal(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_threads_that_encode(name):
    estimator = refitted(name)
    expected = _outputs(estimator)
    done = Parallel(n_jobs=8, backend="threading")(
        delayed(_outputs)(estimator) for _ in range(16)
    )
    for found in done:
        _assert_equal(found, expected)


def _fit(name, seed):
    return refitted(name, random_state=seed, max_epochs=2)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_threads_that_fit(name):
    state = torch.get_rng_state()
    done = Parallel(n_jobs=4, backend="threading")(
        delayed(_fit)(name, seed) for seed in range(4)
    )
    for seed, estimator in enumerate(done):
        _assert_equal(_outputs(estimator), _outputs(_fit(name, seed)))
    assert torch.equal(torch.get_rng_state(), state)
