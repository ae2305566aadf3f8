"""The targets of the Makefile pass their arguments on."""

# SPDX-License-Identifier: BSD-3-Clause

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _last_command(target, **variables):
    """Return the words of the last command that make would run."""
    make = shutil.which("make")
    if make is None:
        pytest.skip("needs make")
    # What an outer `make test` hands down would overrule the variables.
    outer = ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "ARGS")
    given = [f"{name}={value}" for name, value in variables.items()]
    run = subprocess.run(
        [make, "-n", "--no-print-directory", target, *given],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in outer},
        capture_output=True,
        text=True,
        check=True,
    )
    return shlex.split(run.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ("", []),
        ("tests/metrics -x", ["tests/metrics", "-x"]),
        ('-m "not slow"', ["-m", "not slow"]),
    ],
)
@pytest.mark.parametrize("target", ["test", "coverage"])
def test_arguments_reach_pytest(target, given, passed):
    program, *words = _last_command(target, ARGS=given)
    assert Path(program).name == "pytest"
    # `--cov` without a value would take the first path for its own.
    own = words[: len(words) - len(passed)]
    assert ("--cov=sklearn_cmr" in own) == (target == "coverage")
    assert all(word.startswith("--") and "=" in word for word in own)
    assert words[len(own) :] == passed


def test_arguments_reach_the_benchmark():
    words = _last_command("benchmark", ARGS="--quick train")
    assert words[1:] == ["benchmarks/speed.py", "--quick", "train"]
