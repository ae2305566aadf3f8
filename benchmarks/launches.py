"""What a training step launches, and what an accelerator does meanwhile."""

# SPDX-License-Identifier: BSD-3-Clause

import time

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile


def record(run, device):
    """Profile a run.

    Returns
    -------
    n_launches : int
        Kernels and copies of an accelerator, operators of a CPU.

    busy : float
        Seconds for which the accelerator has worked; 0 on a CPU.

    wall : float
        Seconds of the same run without the profiler.
    """
    on_gpu = torch.device(device).type == "cuda"
    start = time.perf_counter()
    run()
    if on_gpu:
        torch.cuda.synchronize()
    wall = time.perf_counter() - start
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with profile(activities=activities) as profiler:
        run()
        if on_gpu:
            torch.cuda.synchronize()
    if not on_gpu:
        operators = profiler.key_averages()
        n_launches = sum(op.count for op in operators if op.key.startswith("aten::"))
        return n_launches, 0.0, wall
    kernels = [e for e in profiler.events() if e.device_type == DeviceType.CUDA]
    busy = sum(kernel.time_range.elapsed_us() for kernel in kernels) / 1e6
    return len(kernels), busy, wall


def per_step(make_run, n_batches, device):
    """Return launches of a step and the share of the time that a GPU idles.

    Parameters
    ----------
    make_run : callable
        ``make_run(epochs)`` returns a training of that many epochs. What a training
        does but once is in the short one and in the long one, and drops out.

    n_batches : int
        Batches of an epoch.

    device : str
    """
    short, long = 1, 3
    make_run(short)()  # to warm up
    few, many = (record(make_run(epochs), device) for epochs in (short, long))
    launches, busy, wall = (b - a for a, b in zip(few, many, strict=True))
    n_steps = (long - short) * n_batches
    return launches / n_steps, 1 - busy / wall


def largest_batch(fits, first, last):
    """Return the largest power of 2 from `first` to `last` that fits the memory.

    Parameters
    ----------
    fits : callable
        ``fits(batch_size)`` trains on one batch.

    first, last : int
    """
    found, batch_size = None, first
    while batch_size <= last:
        try:
            fits(batch_size)
        except torch.OutOfMemoryError:
            break
        found, batch_size = batch_size, 2 * batch_size
    torch.cuda.empty_cache()
    return found
