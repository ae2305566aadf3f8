"""Settings and fixtures shared by all tests."""

# SPDX-License-Identifier: BSD-3-Clause

import gc
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from sklearn_cmr._inputs import features

# Two busy threads on tiny networks are many times slower than one.
torch.set_num_threads(1)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Spare Python the search for garbage among modules and tests, which all stay.

    There are millions of objects: one search takes longer than most of the tests.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def _forget_split_warning(monkeypatch):
    """Let every test see the warning that a process gives once."""
    monkeypatch.setattr(features, "_split_warning_given", False)


@pytest.fixture(scope="session")
def real_data():
    """Load one of the real data sets by name, or skip where they are not at hand."""
    folder = os.environ.get("SKLEARN_CMR_DATA")

    def load(name):
        if not folder:
            pytest.skip("set SKLEARN_CMR_DATA to the folder with the real data sets")
        path = Path(folder) / f"{name}.npz"
        if not path.exists():
            pytest.skip(f"SKLEARN_CMR_DATA has no {path.name}")
        with np.load(path) as arrays:
            return dict(arrays)

    return load
