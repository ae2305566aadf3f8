"""Fits in processes that are killed, for `test_resume.py`.

Run as a program, it imports torch once, then makes every fit in a fork of its own. It
reads tasks from its input, and writes answers to its output, as lines of JSON.
"""

# SPDX-License-Identifier: BSD-3-Clause

import hashlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

import sklearn_cmr
from tests.base.methods import A, B, make, y

# Small, but with what a method can have: phases, early stopping, own networks.
PARAMS = {
    "ACMRProjector": {"early_stopping": True, "encoders": {"image": nn.BatchNorm1d}},
    "CMGANProjector": {"batch_norm": True},
    "DRCLProjector": {"prior": "select"},
    "SSAHHasher": {},
    "AADAHHasher": {"warmup_epochs": 1},
}


def fit(name, folder, epochs):
    cls = getattr(sklearn_cmr, name)
    params = {"max_epochs": epochs, "checkpoint": folder, **PARAMS[name]}
    return make(cls, **params).fit(A, B, y)


def outcome(estimator):
    """Return all weights and the history, as one text that is equal for equal ones."""
    digest = hashlib.sha256()
    for key, tensor in sorted(estimator.module_.state_dict().items()):
        digest.update(key.encode() + tensor.numpy().tobytes())
    history = [{**row, "seconds": 0} for row in estimator.history_]
    digest.update(json.dumps(history).encode())
    return digest.hexdigest()


def in_fork(function, kill_after=None):
    """Return what a function returns in a fork, or None if that was killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.write(writer, function().encode())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(writer)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    with open(reader) as answer:
        text = answer.read()
    _, status = os.waitpid(child, 0)
    if status not in (0, signal.SIGKILL):
        raise RuntimeError(f"a fit ended with status {status}")
    return text or None


def kill_at_write(number):
    """Kill this process while it writes: in half of a file, or just before its end."""
    n_calls = 0

    def counted(function, spoil=lambda *args: None):
        def call(*args, **kwargs):
            nonlocal n_calls
            n_calls += 1
            if n_calls == number:
                spoil(*args)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    def write_half(archive, name, content):
        archive.writestr.__wrapped__(archive, name, bytes(content)[: len(content) // 2])
        archive.fp.flush()

    writestr = zipfile.ZipFile.writestr
    zipfile.ZipFile.writestr = counted(writestr, write_half)
    zipfile.ZipFile.writestr.__wrapped__ = writestr
    os.fsync, os.replace = counted(os.fsync), counted(os.replace)


def run(task):
    """Kill fits, continue them, and tell how they end."""
    name, epochs, rng = (
        task["name"],
        task["epochs"],
        np.random.default_rng(task["seed"]),
    )

    def train(folder, kill_at=None):
        if kill_at is not None:
            kill_at_write(kill_at)
        return outcome(fit(name, folder, epochs))

    def in_folder(moments=(), kill_at=None):
        """Return how fits in one folder end, some of them killed, the last one not."""
        with tempfile.TemporaryDirectory() as folder:
            killed = [in_fork(lambda: train(folder), moment) for moment in moments]
            if kill_at is not None:
                killed.append(in_fork(lambda: train(folder, kill_at)))
            n_files = len(list(Path(folder).glob("*.zip")))
            return [killed, in_fork(lambda: train(folder)), n_files]

    expected = in_fork(lambda: train(None))
    start = time.monotonic()
    assert in_folder() == [[], expected, 0]
    duration = time.monotonic() - start
    at_random = [
        in_folder(rng.uniform(0, duration, task["n_kills"]))
        for _ in range(task["n_folders"])
    ]
    at_writes = [in_folder(kill_at=number) for number in task["writes"]]
    return {"expected": expected, "at_random": at_random, "at_writes": at_writes}


def main():
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    # What the first fit imports, the forks have then.
    fit("ACMRProjector", None, 1)
    for line in sys.stdin:
        try:
            answer = run(json.loads(line))
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
