"""Folder with the checkpoints of one training."""

# SPDX-License-Identifier: BSD-3-Clause

import errno
import json
import os
import re
import sys
import warnings
import zipfile
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sklearn_cmr._warnings import stacklevel_of_caller
from sklearn_cmr.training.packing import Packer, unpack, unpack_text

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# Number of checkpoints of epochs that are kept: if the last one is damaged, there is
# the one before it.
_N_KEPT = 2
_NAME = re.compile(r"(?:epoch-(\d+)-(\d+)|phase-(\d+)-end)\.zip")
_LOCK = "lock"


class Checkpoints:
    """Folder with the checkpoints of one training, locked while it is open.

    A finished phase has a file, and the last two epochs have one each. A file is a zip
    archive without compression: what the training is (`about.json`), its finished
    epochs (`history.json`), its state (`state.json`), and the arrays of the state
    (`numbers.bin`). There are checksums of all of them.

    Files are written in a thread, to another name in the same folder, and renamed when
    they are on the disk. So every file is whole, whenever the process ends.

    Parameters
    ----------
    folder : str or path-like
        It is made if it does not exist.

    every : int, default=1
        Number of epochs from one checkpoint to the next one. Each phase also has one at
        its end, and a training one of its last finished epoch if it fails.

    Attributes
    ----------
    about : dict
        What the training is, as plain data, for every file that is written. Files whose
        entry "fingerprint" or "seed" differs are of another training.
    """

    def __init__(self, folder, every=1):
        self.folder = Path(folder).absolute()
        self.every = every
        self.about: dict[str, Any] = {}
        self._packer = Packer()
        self._writing: Future | None = None
        self._pending: tuple | None = None

    # -- opening and closing ---------------------------------------------------

    def __enter__(self):
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.folder / _LOCK)
        except BlockingIOError as error:
            raise BlockingIOError(
                error.errno,
                "Another fit trains with this folder of checkpoints. Wait for it, end "
                "it, or pass another folder: fits in parallel need one each",
                str(self.folder),
            ) from None
        except ValueError as error:  # a name with a zero byte
            raise ValueError(
                f"The folder of checkpoints cannot be used: {error} in "
                f"{str(self.folder)!r}. Pass another folder."
            ) from error
        except OSError as error:
            raise self._explained(error, "cannot be used") from error
        try:
            for remainder in self.folder.glob(".*.zip.tmp"):
                remainder.unlink()
            # A folder that cannot be written to is found out now, not after an epoch.
            probe = self.folder / ".probe.zip.tmp"
            probe.touch()
            probe.unlink()
        except OSError as error:
            self._lock.close()
            raise self._explained(error, "cannot be written to") from error
        self._writer = ThreadPoolExecutor(max_workers=1)
        return self

    def __exit__(self, kind, error, traceback):
        try:
            if error is None:
                self._wait()
            else:
                self._save_before(error)
        finally:
            self._writer.shutdown()
            self._lock.close()

    def _save_before(self, error):
        """Write the last finished epoch, if it is not yet written."""
        try:
            self._wait()
            if self._pending is not None:
                self._start_writing()
                self._wait()
        except OSError as failure:
            if failure is not error:
                error.add_note(str(failure))

    # -- reading ---------------------------------------------------------------

    def read_about(self):
        """Return what the training in the folder is, or None if there is none."""
        for path in reversed(self._files()):
            try:
                with self._open(path) as archive:
                    return json.loads(archive.read("about.json"))
            except DamagedError:
                continue
        return None

    def read_phase(self, index):
        """Return state and history of a finished phase.

        Parameters
        ----------
        index : int
            Number of the phase in the training.

        Returns
        -------
        state : dict or None
            None if the phase is not finished.

        rows : list of dict
        """
        return self._read_last(f"phase-{index:03d}-end.zip")

    def read_epoch(self, index):
        """Return state and history of the last epoch of a phase; see `read_phase`."""
        return self._read_last(f"epoch-{index:03d}-*.zip")

    def _read_last(self, pattern):
        for path in sorted(self.folder.glob(pattern), reverse=True):
            try:
                return self._read(path)
            except DamagedError as error:
                warnings.warn(
                    f"{error} The training continues from the checkpoint before it.",
                    RuntimeWarning,
                    stacklevel=stacklevel_of_caller(),
                )
        return None, []

    def _read(self, path):
        with self._open(path) as archive:
            about, rows, state = [
                archive.read(f"{name}.json") for name in ("about", "history", "state")
            ]
            about = json.loads(about)
            rows = unpack_text(rows)
            numbers = np.frombuffer(archive.read("numbers.bin"), np.uint8)
            state = unpack(state, numbers)
        if any(about[key] != self.about[key] for key in ("fingerprint", "seed")):
            raise ValueError(
                f"{str(path)!r} is of another training than the other files there. "
                "Delete it, or pass another folder."
            )
        return state, rows

    @contextmanager
    def _open(self, path):
        """Open an archive in which anything unexpected counts as damage."""
        try:
            file = open(path, "rb")
        except OSError as error:
            raise self._explained(error, "cannot be read") from error
        with file:
            try:
                with zipfile.ZipFile(file) as archive:
                    yield archive
            except Exception as error:
                raise DamagedError(
                    f"The checkpoint {str(path)!r} is damaged, and left out: {error!r}."
                ) from error

    def _files(self):
        """Return the checkpoints in the order of the training."""
        found = []
        for path in self.folder.iterdir():
            if match := _NAME.fullmatch(path.name):
                phase, epoch, finished = match.groups()
                is_end = phase is None
                place = (int(finished or phase), is_end, 0 if is_end else int(epoch))
                found.append((place, path))
        return [path for _, path in sorted(found)]

    # -- writing ---------------------------------------------------------------

    def keep_epoch(self, index, state, rows):
        """Take over the state after an epoch, and write it if it is due.

        Parameters
        ----------
        index : int
            Number of the phase in the training.

        state : dict
            What :class:`~sklearn_cmr.training.packing.Packer` knows. It is copied.

        rows : list of str
            Packed rows of the history of the phase.

        Raises
        ------
        OSError
            If the checkpoint before this one could not be written.
        """
        self._take(f"epoch-{index:03d}-{len(rows):06d}.zip", state, rows)
        if len(rows) % self.every == 0:
            self._start_writing()

    def keep_phase(self, index, state, rows):
        """Take over the state after a phase, and write it; see `keep_epoch`."""
        self._take(f"phase-{index:03d}-end.zip", state, rows)
        self._start_writing()

    def _take(self, name, state, rows):
        self._wait()  # for the memory of the numbers
        self._pending = None
        text, numbers = self._packer.pack(state)
        members = {
            "about.json": json.dumps(self.about).encode(),
            "history.json": f"[{','.join(rows)}]".encode(),
            "state.json": text.encode(),
            "numbers.bin": memoryview(numbers),
        }
        self._pending = name, members

    def _start_writing(self):
        assert self._pending is not None
        (name, members), self._pending = self._pending, None
        self._writing = self._writer.submit(self._write, name, members)

    def _wait(self):
        """Wait until the last checkpoint is written; raise what went wrong."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(self, name, members):
        try:
            _write_whole(self.folder / name, members)
            epochs = [path for path in self._files() if path.name.startswith("epoch")]
            for path in epochs[:-_N_KEPT]:
                path.unlink()
        except OSError as error:
            raise self._explained(
                error,
                "could not take a checkpoint",
                "The checkpoints before it are whole. Make room, or make it writable, "
                "then fit again, which continues from them",
            ) from error

    def _explained(self, error, problem, advice="Pass another folder"):
        """Return an error of the same kind that says what to do."""
        reason = error.strerror or str(error)
        if isinstance(error, FileExistsError):
            reason = "there is a file of this name"
        return OSError(
            error.errno or errno.EIO,
            f"The folder of checkpoints {problem}: {reason}. {advice}",
            str(self.folder),
        )


class DamagedError(Exception):
    """A file is no whole checkpoint."""


def _write_whole(path, members):
    """Write an archive so that the path has all of it, or what it had before."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            with zipfile.ZipFile(file, "w") as archive:
                for name, content in members.items():
                    archive.writestr(name, content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync_folder(folder):
    """Wait until the names in a folder are on the disk, where a system can."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _lock(path):
    """Return an open file that is locked until it is closed, or the process ends."""
    file = open(path, "ab")
    try:
        if sys.platform == "win32":
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            raise BlockingIOError(errno.EAGAIN, "locked") from error
        raise
    return file
