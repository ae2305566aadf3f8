"""What all methods do on an accelerator, a real or a simulated one."""

# SPDX-License-Identifier: BSD-3-Clause

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch

from tests.accelerator import simulated

SUITE = Path(__file__).parent / "accelerator" / "suite.py"


def run_suite(device):
    """Run the tests in a process of their own.

    It has to know the simulated device from the start, and no other test should.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*command, str(SUITE)],
        env=os.environ | {"SKLEARN_CMR_ACCELERATOR": device},
        cwd=SUITE.parents[2],
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout


@pytest.mark.slow
def test_simulated_device(monkeypatch):
    # A virtual environment that is not active has its ninja in this folder.
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    monkeypatch.setenv("PATH", path)
    missing = simulated.missing_tools()
    if missing:
        pytest.skip(f"needs {missing} to build the simulated device")
    run_suite(simulated.NAME)


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda():
    run_suite("cuda")
