"""Train on features that are larger than the memory: time, and peak of the memory.

Every method runs in a process of its own: one epoch with small layers, on features
that are mapped from files. It fails if it takes more memory than it is allowed. At full
size, there are as many rows, features and classes as NUS-WIDE has.

    python benchmarks/limits.py [--scale 1] [--allowed 256] [--methods ACMRProjector]

The seconds are those of the processor, for a machine that others use, too.
"""

# SPDX-License-Identifier: BSD-3-Clause

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np

N_SAMPLES = 190_000
WIDTHS = {"image": 4096, "text": 1000}
N_CLASSES = 21
# Rows that are made at once.
_ROWS_AT_ONCE = 2048
_SECONDS_PER_SAMPLE = 0.005
_MB = 2**20

METHODS = (
    "ACMRProjector",
    "CMGANProjector",
    "DRCLProjector",
    "SSAHHasher",
    "AADAHHasher",
)
SMALL = {
    "embedding_dim": 32,
    "n_bits": 32,
    "hidden_layer_sizes": (64,),
    "discriminator_hidden_layer_sizes": (32,),
    "feature_dim": 64,
    "batch_size": 256,
    "max_epochs": 1,
    "max_epochs_label": 1,
    "random_state": 0,
}


# -- data --------------------------------------------------------------------------


def write_data(folder, n_samples):
    """Write features of images and tags, and labels, as .npy files, block by block.

    The features are noise around means of the labels; one to three labels a row.
    """
    rng = np.random.default_rng(0)
    folder = Path(folder)
    y = np.zeros((n_samples, N_CLASSES), dtype=np.uint8)
    for _ in range(3):
        y[np.arange(n_samples), rng.integers(N_CLASSES, size=n_samples)] = 1
    np.save(folder / "y.npy", y)
    for name, width in WIDTHS.items():
        means = rng.normal(size=(N_CLASSES, width)).astype(np.float32)
        X = np.lib.format.open_memmap(
            folder / f"{name}.npy", "w+", np.float32, (n_samples, width)
        )
        for start in range(0, n_samples, _ROWS_AT_ONCE):
            labels = y[start : start + _ROWS_AT_ONCE].astype(np.float32)
            noise = rng.standard_normal((len(labels), width), dtype=np.float32)
            X[start : start + len(labels)] = labels @ means + noise
        del X


def read_data(folder):
    """Map the features that :func:`write_data` has written; return them and labels."""
    folder = Path(folder)
    mapped = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in WIDTHS}
    return mapped, np.load(folder / "y.npy")


# -- memory ------------------------------------------------------------------------


def memory_of_process(field):
    """Return a size in bytes of `/proc/self/status`.

    "RssAnon" is the memory that the process itself fills; pages of mapped files do not
    count, since the system drops them where memory is short.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise ValueError(f"/proc/self/status has no {field}.")


@contextmanager
def peak_memory():
    """Measure by how much the memory of the process grows within, in bytes."""
    result = SimpleNamespace(peak=0)
    before = memory_of_process("RssAnon")
    done = threading.Event()

    def watch():
        while True:
            grown = memory_of_process("RssAnon") - before
            result.peak = max(result.peak, grown)
            if done.wait(_SECONDS_PER_SAMPLE):
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield result
    finally:
        done.set()
        thread.join()


def limit_memory(n_bytes):
    """Let the process take so much more memory than it has; mapped files are free."""
    import resource

    allowed = memory_of_process("VmData") + n_bytes
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, most))


# -- runs --------------------------------------------------------------------------


def run(name, folder, allowed, **params):
    """Fit and transform in this process; return times and peaks by call."""
    import torch

    import sklearn_cmr

    torch.set_num_threads(1)
    estimator = getattr(sklearn_cmr, name)()
    small = {k: v for k, v in SMALL.items() if k in estimator.get_params()}
    estimator.set_params(**small | params)
    features, y = read_data(folder)
    # What is done once in a process, such as imports of torch, is not measured.
    first = [np.array(X[:256]) for X in features.values()]
    estimator.fit(*first, y[:256]).transform(*first)
    limit_memory(allowed)
    row = {}
    calls = {"fit": (*features.values(), y), "transform": features.values()}
    for call, arguments in calls.items():
        with peak_memory() as memory:
            start = time.process_time()
            getattr(estimator, call)(*arguments)
            seconds = time.process_time() - start
        row[call] = {"seconds": seconds, "peak": memory.peak}
    return row


def run_apart(names, folder, allowed):
    """Return what :func:`run` returns, by method, from a process of its own."""
    command = [sys.executable, __file__, "--folder", str(folder), "--apart"]
    command += ["--allowed", str(allowed // _MB), "--methods", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{names} ended with an error:\n{done.stderr}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows")
    parser.add_argument("--allowed", type=int, default=256, help="in MB")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--folder", help="where the features are already")
    parser.add_argument("--apart", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    allowed = options.allowed * _MB
    if options.apart:
        rows = {name: run(name, options.folder, allowed) for name in options.methods}
        print(json.dumps(rows))
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.folder is None:
            write_data(folder, round(N_SAMPLES * options.scale))
        folder = options.folder or folder
        size = sum(X.nbytes for X in read_data(folder)[0].values()) / _MB
        print(f"features: {size:,.0f} MB; allowed: {options.allowed:,} MB\n")
        print("| method | fit, s | peak, MB | transform, s | peak, MB |")
        print("|---|---|---|---|---|")
        for name in options.methods:
            row = run_apart([name], folder, allowed)[name]
            cells = [
                f"{row[call]['seconds']:,.0f} | {row[call]['peak'] / _MB:,.0f}"
                for call in ("fit", "transform")
            ]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
