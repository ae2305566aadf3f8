"""State of objects: in files, with versions and a digest; after a fit that failed."""

# SPDX-License-Identifier: BSD-3-Clause

import hashlib
import sys
import warnings
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_cmr._warnings import stacklevel_of_caller
from sklearn_cmr.exceptions import FileVersionWarning

# Its entry in the state.
_SEAL = "_seal"


class StateMixin:
    """State that is refused when it was changed, or when something is missing.

    A class whose attributes cannot be written as they are overrides `_to_state` and
    `_from_state`.
    """

    # Packages, by the names of their modules, whose versions go into files.
    _packages_of_state: tuple[str, ...] = ("sklearn_cmr", "sklearn")

    # Of scikit-learn's base class.
    _get_param_names: Any

    def _to_state(self):
        """Return what files hold, by name."""
        return vars(self).copy()

    def _from_state(self, state):
        """Restore the attributes from what `_to_state` returned."""
        self.__dict__.update(state)

    def _needed_of(self, state):
        """Return the names of what a state must hold."""
        return self._get_param_names()

    def __getstate__(self):
        state = self._to_state()
        versions = _versions(self._packages_of_state)
        own, nested = _digests([type(self).__name__, versions, state])
        seal = {"versions": versions, "digest": own, "nested_digest": nested}
        return state | {_SEAL: seal}

    def __setstate__(self, state):
        name = type(self).__name__
        seal: Any = state.get(_SEAL) if isinstance(state, dict) else None
        versions = seal.get("versions") if isinstance(seal, dict) else None
        if not isinstance(versions, dict):
            raise ValueError(
                f"The state of {name} has no versions and no digest: it was not written"
                f" by a released version of sklearn_cmr. Fit {name} again."
            )
        present = _versions(self._packages_of_state)
        state = {key: value for key, value in state.items() if key != _SEAL}
        own, nested = _digests([name, versions, state])
        is_same = own == seal.get("digest")
        if versions == present:  # others may restore what is nested with changes
            is_same &= nested == seal.get("nested_digest")
        if not is_same:
            raise ValueError(
                f"The state of {name} is not the one that was saved: its digest "
                "differs. The file is damaged or was edited. Use another copy of it, "
                f"or fit {name} again."
            )
        if versions != present:
            warnings.warn(
                FileVersionWarning(
                    estimator_name=name, written=versions, present=present
                ),
                stacklevel=stacklevel_of_caller(),
            )
        missing = [name for name in self._needed_of(state) if name not in state]
        if missing:
            raise ValueError(
                f"The state of {name} was written by {_listed(versions)} and lacks "
                f"{missing}, which this version, {_listed(present)}, needs. Load it "
                f"with the versions that wrote it, or fit {name} again."
            )
        self._from_state(state)


@contextmanager
def restored_on_failure(estimator, *, keeps_progress=True):
    """Restore the attributes of an estimator if a fit fails.

    Parameters
    ----------
    estimator : estimator

    keeps_progress : bool, default=True
        Whether to leave the estimator as it is if the training has finished epochs,
        which shows in a new `history_`.
    """
    before = vars(estimator).copy()
    try:
        yield
    except BaseException:
        now = vars(estimator)
        has_progress = "history_" in now and now["history_"] is not before.get(
            "history_"
        )
        if not (keeps_progress and has_progress):
            now.clear()
            now.update(before)
        raise


def _versions(packages):
    # Without local parts: a file may go from a build for GPUs to one for CPUs.
    found = {name: str(sys.modules[name].__version__) for name in packages}
    return {name: version.partition("+")[0] for name, version in found.items()}


def _listed(versions):
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _digests(value):
    """Return the digest of plain values, and that of the estimators in them.

    The first is the same in all versions of Python, numpy and scikit-learn. Of objects
    that are neither, such as callbacks and functions, only the presence counts.
    """
    own, nested = hashlib.sha256(), hashlib.sha256()
    _feed(value, own, nested, ())
    return own.hexdigest(), nested.hexdigest()


def _feed(value, own, nested, outer):
    """Write a value into a digest, each part with its type and its length.

    Parameters
    ----------
    value : object

    own, nested : hashlib objects
        Digests of the plain values, and of estimators in them.

    outer : tuple of int
        Identities of the estimators around the value, which it may refer to.
    """

    def write(*parts):
        own.update(repr(parts).encode())

    if isinstance(value, np.ndarray):
        value = np.asarray(value)
        if value.dtype.hasobject or value.dtype.kind == "T":
            write("objects", value.shape)
            value = value.ravel().tolist()
        else:
            write("array", value.dtype.str, value.shape)
            own.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
            return
    if isinstance(value, str):
        write("str", value.encode("utf-8", "surrogatepass"))
    elif value is None or isinstance(value, bytes):
        write("bytes", value)
    elif isinstance(value, (bool, np.bool_)):
        write("bool", bool(value))
    elif isinstance(value, Integral):
        write("int", int(value))
    elif isinstance(value, Real):
        write("float", float(value))
    elif isinstance(value, (list, tuple)):
        write("list", len(value))
        for item in value:
            _feed(item, own, nested, outer)
    elif isinstance(value, dict):
        write("dict", len(value))
        for key, item in value.items():
            _feed(key, own, nested, outer)
            _feed(item, own, nested, outer)
    elif isinstance(value, (set, frozenset)):
        write("set", sorted(map(repr, value)))
    elif isinstance(value, BaseEstimator) and id(value) not in outer:
        write("estimator", type(value).__name__)
        is_ours = isinstance(value, StateMixin)
        state = value._to_state() if is_ours else vars(value)
        _feed(state, nested, nested, (*outer, id(value)))
    else:
        write("object")
