"""Devices, threads and ambient settings of torch, on which no result depends."""

# SPDX-License-Identifier: BSD-3-Clause

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

# Multiply-adds of a step that are worth a thread: with less to do, more threads wait
# for each other, and on a busy machine for a very long time.
_WORK_OF_A_THREAD = 1e8


def device_of(module):
    """Return the device that a module's parameters are on.

    Parameters
    ----------
    module : torch.nn.Module
        With one parameter or more.

    Returns
    -------
    device : torch.device
        That of the first parameter.
    """
    return next(module.parameters()).device


def resolve_device(device):
    """Return the torch device for a constructor argument; check that it computes."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        # A device that holds no data, such as "meta", fails here, too.
        torch.zeros(1, device=resolved).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        # Of pages of help, the first sentence.
        reason = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
        raise ValueError(
            f"device={device!r} cannot be used: {reason}. Use 'auto', 'cpu', or a "
            "device that torch can compute on here."
        ) from error
    return resolved


class _ProcessWide:
    """A setting of the whole process, held for as long as anybody needs it.

    Fits in several threads overlap. The first to come notes what the caller has set,
    the last to go restores it.
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.n_users = 0
        self.ambient: Any = None

    def enter(self, ambient):
        """Count one more user; note what the caller of the first one has set."""
        with self.lock:
            if self.n_users == 0:
                self.ambient = ambient
            self.n_users += 1

    def leave(self):
        """Return whether that was the last user."""
        with self.lock:
            self.n_users -= 1
            return self.n_users == 0


_dtype = _ProcessWide()
# Held while the number of threads that new threads inherit is not the caller's.
_threads_lock = threading.Lock()


@contextmanager
def standard_settings(device_type="cpu"):
    """Compute as if the caller had changed none of torch's ambient settings.

    These are the default dtype, the default device, autocasting, `torch.no_grad` and
    `torch.inference_mode`.
    """
    _own_threads()
    with ExitStack() as settings:
        # `torch.get_default_device` of torch 2.4 does not see `with torch.device(...)`.
        if torch.empty(0).device.type != "cpu":
            settings.enter_context(torch.device("cpu"))
        for kind in {"cpu", device_type} & {"cpu", "cuda"}:
            if torch.is_autocast_enabled(kind):
                settings.enter_context(torch.autocast(kind, enabled=False))
        if torch.is_inference_mode_enabled():
            settings.enter_context(torch.inference_mode(False))
        if not torch.is_grad_enabled():
            settings.enter_context(torch.enable_grad())
        settings.enter_context(_default_dtype())
        yield


@contextmanager
def _default_dtype():
    """Make float32 the default dtype, which torch has one of for all threads."""
    _dtype.enter(torch.get_default_dtype())
    try:
        if torch.get_default_dtype() != torch.float32:
            torch.set_default_dtype(torch.float32)
        yield
    finally:
        if _dtype.leave() and _dtype.ambient != torch.float32:
            torch.set_default_dtype(_dtype.ambient)


@contextmanager
def threads_for(n_multiply_adds):
    """Use as many threads as there is work for, then restore their number."""
    n_threads = _own_threads()
    n_useful = max(1, int(n_multiply_adds // _WORK_OF_A_THREAD))
    if n_useful >= n_threads:
        yield
        return
    try:
        _set_own_threads(n_useful)
        yield
    finally:
        _set_own_threads(n_threads)


def _own_threads():
    """Return the number of torch threads of the calling thread.

    A thread inherits it when it first meets torch.
    """
    with _threads_lock:
        return torch.get_num_threads()


def _set_own_threads(number):
    """Set the number of torch threads of the calling thread, and of no other.

    torch also lets threads that it has not met yet inherit the number. A thread of a
    pool that first meets torch while another one trains would keep that of the
    training. So a fresh thread sets what is inherited back.
    """
    with _threads_lock, ThreadPoolExecutor(max_workers=1) as fresh:
        inherited = fresh.submit(torch.get_num_threads).result()
        torch.set_num_threads(number)
        fresh.submit(torch.set_num_threads, inherited).result()


# Networks are initialized from torch's global generator, which fits in parallel
# threads would otherwise draw from in turns. Building may load an estimator, which
# builds networks in turn.
_build_lock = threading.RLock()


@contextmanager
def seeded_building(seed):
    """Initialize networks from a seed; the caller's generators stay untouched."""
    with _build_lock, torch.random.fork_rng(devices=[]):
        # The generator of the CPU alone: those of accelerators are the caller's.
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def seeded_drawing(seed, device):
    """Draw from the global generators, of a device too, after seeding them.

    The caller's generators stay untouched.
    """
    is_cuda = device.type == "cuda"
    with _build_lock, torch.random.fork_rng(devices=[device] if is_cuda else []):
        torch.default_generator.manual_seed(seed)
        if is_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
