"""The folder of checkpoints: whole files, whatever happens, or a clear error."""

# SPDX-License-Identifier: BSD-3-Clause

import errno
import os
import signal
import subprocess
import sys
import threading
import warnings
import zipfile

import numpy as np
import pytest

from sklearn_cmr.training import checkpoints as module
from sklearn_cmr.training.checkpoints import Checkpoints
from sklearn_cmr.training.packing import pack_text

ABOUT = {"fingerprint": {"lr": 0.1}, "seed": 1}


def rows(n_epochs):
    return [pack_text({"epoch": i + 1}) for i in range(n_epochs)]


def state(n_epochs, n_values=8):
    return {"weights": np.full(n_values, n_epochs, np.float32)}


@pytest.fixture
def opened(tmp_path):
    """Open folders, and close them at the end."""
    stack = []

    def open_(folder=tmp_path, **options):
        stack.append(Checkpoints(folder, **options))
        stack[-1].__enter__()
        stack[-1].about = ABOUT
        return stack[-1]

    yield open_
    for checkpoints in stack:
        checkpoints.__exit__(None, None, None)


def write(folder, n_epochs, index=0, **options):
    with Checkpoints(folder, **options) as checkpoints:
        checkpoints.about = ABOUT
        for epoch in range(1, n_epochs + 1):
            checkpoints.keep_epoch(index, state(epoch), rows(epoch))


def epoch_in(checkpoints, index=0):
    found, history = checkpoints.read_epoch(index)
    if found is None:
        return 0
    (n_epochs,) = set(found["weights"].tolist())
    assert [row["epoch"] for row in history] == list(range(1, int(n_epochs) + 1))
    return n_epochs


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "lock")


# -- files -----------------------------------------------------------------------------


def test_the_last_two_epochs_are_kept(tmp_path, opened):
    write(tmp_path, 5)
    assert names(tmp_path) == ["epoch-000-000004.zip", "epoch-000-000005.zip"]
    assert epoch_in(opened()) == 5


def test_an_empty_folder_has_nothing(tmp_path, opened):
    checkpoints = opened(tmp_path / "new" / "folder")
    assert checkpoints.read_about() is None
    assert checkpoints.read_epoch(0) == checkpoints.read_phase(0) == (None, [])


def test_phases_stay(tmp_path, opened):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.about = ABOUT
        for index in range(3):
            checkpoints.keep_epoch(index, state(1), rows(1))
            checkpoints.keep_phase(index, state(index + 10), rows(2))
    assert names(tmp_path) == [
        *("epoch-001-000001.zip", "epoch-002-000001.zip"),
        *(f"phase-{index:03d}-end.zip" for index in range(3)),
    ]
    checkpoints = opened()
    assert checkpoints.read_about() == ABOUT
    for index in range(3):
        found, history = checkpoints.read_phase(index)
        assert set(found["weights"]) == {index + 10} and len(history) == 2
    assert checkpoints.read_phase(3) == (None, [])


@pytest.mark.parametrize("every, kept", [(2, [4, 6]), (3, [3, 6]), (4, [4]), (9, [])])
def test_every(tmp_path, every, kept):
    write(tmp_path, 7, every=every)
    assert names(tmp_path) == [f"epoch-000-{epoch:06d}.zip" for epoch in kept]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_failure_writes_the_last_finished_epoch(tmp_path, opened, error):
    with pytest.raises(error), Checkpoints(tmp_path, every=100) as checkpoints:
        checkpoints.about = ABOUT
        for epoch in (1, 2, 3):
            checkpoints.keep_epoch(0, state(epoch), rows(epoch))
        raise error
    assert names(tmp_path) == ["epoch-000-000003.zip"]
    assert epoch_in(opened()) == 3


def test_other_files_are_left_alone(tmp_path, opened):
    for name in ("notes.txt", "epoch-1.zip", "my.zip.tmp"):
        (tmp_path / name).write_text("mine")
    write(tmp_path, 3)
    assert {"notes.txt", "epoch-1.zip", "my.zip.tmp"} < set(names(tmp_path))
    assert epoch_in(opened()) == 3


def test_remainders_of_a_killed_write_are_cleared_away(tmp_path, opened):
    write(tmp_path, 1)
    (tmp_path / ".epoch-000-000002.zip.tmp").write_bytes(b"half")
    assert epoch_in(opened()) == 1
    assert names(tmp_path) == ["epoch-000-000001.zip"]


def test_files_of_another_training_are_refused(tmp_path, opened):
    write(tmp_path, 1)
    checkpoints = opened()
    checkpoints.about = ABOUT | {"seed": 2}
    with pytest.raises(ValueError, match="is of another training than the other files"):
        checkpoints.read_epoch(0)


def test_no_pickle(tmp_path):
    write(tmp_path, 1)
    with zipfile.ZipFile(tmp_path / "epoch-000-000001.zip") as archive:
        assert archive.namelist() == [
            *("about.json", "history.json", "state.json", "numbers.bin")
        ]


# -- damage ----------------------------------------------------------------------------


def damaged(contents, step):
    """Yield a file cut off, or with a flipped byte, at many places."""
    for place in range(0, len(contents), step):
        yield contents[:place]
        yield contents[:place] + bytes([contents[place] ^ 0xFF]) + contents[place + 1 :]


@pytest.mark.parametrize("step", [31, pytest.param(1, marks=pytest.mark.slow)])
def test_a_damaged_file_is_left_out_for_the_one_before_it(tmp_path, opened, step):
    write(tmp_path, 2)
    checkpoints = opened()
    last = tmp_path / "epoch-000-000002.zip"
    contents = last.read_bytes()
    n_left_out = 0
    for changed in damaged(contents, step):
        last.write_bytes(changed)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = epoch_in(checkpoints)
        # A flipped byte of a date changes nothing. No other weights ever come out.
        assert found == 2 - len(caught)
        for warning in caught:
            assert "is damaged, and left out" in str(warning.message)
        n_left_out += len(caught)
    assert n_left_out > 0.8 * 2 * len(contents) / step


def test_without_a_whole_file_the_phase_begins_anew(tmp_path, opened):
    write(tmp_path, 2)
    for path in tmp_path.glob("epoch*"):
        path.write_bytes(b"")
    checkpoints = opened()
    assert checkpoints.read_about() is None
    with pytest.warns(RuntimeWarning, match="left out") as caught:
        assert checkpoints.read_epoch(0) == (None, [])
    assert len(caught) == 2


# -- errors ----------------------------------------------------------------------------


def fail_with(number):
    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_failed_write(tmp_path, opened, monkeypatch, number, function):
    checkpoints = opened()
    checkpoints.keep_epoch(0, state(1), rows(1))
    checkpoints._wait()
    with monkeypatch.context() as patch:
        patch.setattr(module.os, function, fail_with(number))
        checkpoints.keep_epoch(0, state(2), rows(2))
        with pytest.raises(OSError, match="could not take a checkpoint") as caught:
            checkpoints.keep_epoch(0, state(3), rows(3))
    assert caught.value.errno == number and str(tmp_path) in str(caught.value)
    assert "The checkpoints before it are whole" in str(caught.value)
    assert names(tmp_path) == ["epoch-000-000001.zip"]
    assert epoch_in(checkpoints) == 1
    checkpoints.keep_epoch(0, state(3), rows(3))
    checkpoints._wait()
    assert epoch_in(checkpoints) == 3


def test_a_failed_write_is_raised_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(module.os, "fsync", fail_with(errno.ENOSPC))
    with pytest.raises(
        OSError, match="No space left on device. The checkpoints before"
    ):
        write(tmp_path, 1)
    assert names(tmp_path) == []


def test_a_failed_write_does_not_replace_another_error(tmp_path, monkeypatch):
    monkeypatch.setattr(module.os, "fsync", fail_with(errno.ENOSPC))
    with pytest.raises(KeyboardInterrupt) as caught, Checkpoints(tmp_path) as opened:
        opened.about = ABOUT
        opened.keep_epoch(0, state(1), rows(1))
        raise KeyboardInterrupt
    assert "No space left on device" in caught.value.__notes__[0]


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of 128 KiB, where that is allowed."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"cannot mount a small file system: {error}")
    if done.returncode:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk(small_disk, opened):
    folder = small_disk / "run"
    write(folder, 1)
    # Weights of 200 KB.
    with pytest.raises(OSError, match="could not take a checkpoint") as caught:
        with Checkpoints(folder) as checkpoints:
            checkpoints.about = ABOUT
            checkpoints.keep_epoch(0, state(2, 50_000), rows(2))
    assert caught.value.errno == errno.ENOSPC
    assert names(folder) == ["epoch-000-000001.zip"]
    assert epoch_in(opened(folder)) == 1


def test_a_read_only_disk(small_disk):
    folder = small_disk / "run"
    write(folder, 1)
    command = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(command, check=True)
    with pytest.raises(OSError, match="cannot be (used|written to): Read-only file"):
        write(folder, 2)
    assert names(folder) == ["epoch-000-000001.zip"]


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    # The superuser may write anywhere.
    monkeypatch.setattr(module.Path, "touch", fail_with(errno.EACCES))
    with pytest.raises(PermissionError, match="cannot be written to: Permission denie"):
        write(tmp_path, 1)
    monkeypatch.undo()
    write(tmp_path, 1)  # it is not locked any more


def test_a_file_in_place_of_the_folder(tmp_path):
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(
        FileExistsError, match="cannot be used: there is a file of this"
    ):
        write(path, 1)
    with pytest.raises(NotADirectoryError, match="cannot be used: Not a directory"):
        write(path / "below", 1)
    assert path.read_text() == "mine"


# -- two at once -----------------------------------------------------------------------


def test_two_trainings_at_once(tmp_path, opened):
    opened()
    with pytest.raises(BlockingIOError, match="Another fit trains with this folder"):
        Checkpoints(tmp_path).__enter__()


def test_the_folder_is_free_after_the_end(tmp_path):
    for _ in range(2):
        write(tmp_path, 1)
    with pytest.raises(KeyboardInterrupt), Checkpoints(tmp_path):
        raise KeyboardInterrupt
    write(tmp_path, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_process_leaves_no_lock(tmp_path, opened):
    # Without torch, so that it starts quickly.
    code = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'ab'); "
        "fcntl.flock(file, fcntl.LOCK_EX); print('locked', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(BlockingIOError):
            Checkpoints(tmp_path).__enter__()
        process.send_signal(signal.SIGKILL)
    opened()


def test_writing_is_done_beside_the_training(tmp_path, opened, monkeypatch):
    checkpoints = opened()
    started, go_on = threading.Event(), threading.Event()

    def wait(descriptor, fsync=os.fsync):
        started.set()
        go_on.wait()
        fsync(descriptor)

    monkeypatch.setattr(module.os, "fsync", wait)
    weights = np.zeros(4, np.float32)
    checkpoints.keep_epoch(0, {"weights": weights}, rows(1))
    started.wait()
    weights += 9  # the training goes on, while the file is not yet written
    assert names(tmp_path) == [".epoch-000-000001.zip.tmp"]
    go_on.set()
    checkpoints._wait()
    found, _ = checkpoints.read_epoch(0)
    assert not found["weights"].any()


def test_nothing_is_left_open(tmp_path):
    def count():
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("the open files of the process cannot be counted")
    write(tmp_path, 1)
    before = count()
    for _ in range(10):
        write(tmp_path, 2)
        with pytest.raises(ValueError), Checkpoints(tmp_path) as checkpoints:
            checkpoints.about = ABOUT
            epoch_in(checkpoints)
            with pytest.raises(BlockingIOError):
                Checkpoints(tmp_path).__enter__()
            raise ValueError
    assert count() == before
