"""A simulated accelerator, built where there is a C++ compiler."""

# SPDX-License-Identifier: BSD-3-Clause

import contextlib
import ctypes
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.utils import cpp_extension

SOURCE = Path(__file__).with_name("device.cpp")
# Name of the device in torch.
NAME = "simulated"


def missing_tools():
    """Return what a build needs and this machine lacks, or an empty string."""
    tools = cpp_extension.get_cxx_compiler(), "ninja"
    return " and ".join(tool for tool in tools if shutil.which(tool) is None)


def register():
    """Make the device known to torch, for the rest of the process.

    It has to be done before the first backward pass: torch then starts a thread for
    every device that it knows.

    Returns
    -------
    counts : ctypes.CDLL
        Its functions `count_operators` and `count_waits` return what the process has
        done so far.
    """
    path = _build()
    torch.ops.load_library(path)
    torch.utils.rename_privateuse1_backend(NAME)
    # What torch asks the module of a device.
    module = SimpleNamespace(
        _is_in_bad_fork=lambda: False,
        current_device=lambda: 0,
        device_count=lambda: 1,
        get_amp_supported_dtype=lambda: [torch.float16],
        is_available=lambda: True,
        manual_seed_all=lambda seed: None,
    )
    torch._register_device_module(NAME, module)
    return ctypes.CDLL(path)


def _build():
    """Return the path of the library, from the cache if it is there."""
    key = hashlib.sha256(SOURCE.read_bytes() + torch.__version__.encode()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = cache / "sklearn_cmr" / f"{NAME}-{key[:16]}{cpp_extension.LIB_EXT}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_suffix(".lock")):
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                built = cpp_extension.load(
                    NAME,
                    [str(SOURCE)],
                    extra_cflags=["-O1"],
                    build_directory=folder,
                    is_python_module=False,
                )
                os.replace(built, path)
    return str(path)


@contextlib.contextmanager
def _locked(path):
    """Let one process at a time build; a lock ends with the process that holds it."""
    import fcntl

    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
