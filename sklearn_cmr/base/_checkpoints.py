"""Which fit a folder of checkpoints is of: parameters, data and seed."""

# SPDX-License-Identifier: BSD-3-Clause

import functools
import hashlib
import inspect
import os
import sys
import warnings
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import sklearn
import torch
from scipy import sparse
from torch import nn

from sklearn_cmr._warnings import stacklevel_of_caller
from sklearn_cmr.training.checkpoints import Checkpoints
from sklearn_cmr.training.state import moments_to_arrays, weights_of

# Of the files themselves: a package that writes others has another number.
_FORMAT = 1
# Parameters on which the result does not depend, or that are compared in another way.
_NOT_COMPARED = {
    *("checkpoint", "checkpoint_every", "verbose", "device", "callbacks"),
    "random_state",
}
# Bytes that are read at once, of a file that features are mapped from.
_BYTES_AT_ONCE = 2**24
_N_DIGITS = 32


@contextmanager
def open_checkpoints(estimator, features, labels, held_out, *, continues, part=""):
    """Open the folder that a fit is stored in and continued from.

    Parameters
    ----------
    estimator : NetworkTransformer

    features : dict of str to {ndarray, CSR}

    labels : LabelsByModality

    held_out : HeldOut

    continues : bool
        Whether the networks that the estimator has are trained further.

    part : str, default=""
        Name of a folder in the folder.

    Yields
    ------
    checkpoints : Checkpoints or None
        None if the estimator has no folder.

    held_out : HeldOut
        With the seed of the fit in the folder, if there is one.

    Raises
    ------
    ValueError
        If the folder is of a fit with other parameters or data.

    OSError
        If the folder cannot be used, or another fit trains with it.
    """
    if estimator.checkpoint is None:
        yield None, held_out
        return
    if not os.fspath(estimator.checkpoint):
        raise ValueError(
            "checkpoint is an empty text: pass the name of a folder, '.' for the "
            "current one, or None for no checkpoints."
        )
    folder = Path(estimator.checkpoint) / part
    with Checkpoints(folder, estimator.checkpoint_every) as checkpoints:
        fingerprint = {
            **_describe_parameters(estimator),
            **_describe_data(features, labels, held_out),
            "earlier fits": _describe_networks(estimator) if continues else None,
        }
        seed = held_out.seed
        found = checkpoints.read_about()
        if found is not None:
            seed = _check_same(found, fingerprint, seed, estimator, folder)
        checkpoints.about = {
            "format": _FORMAT,
            "fingerprint": fingerprint,
            "seed": seed,
            "versions": _versions(),
        }
        yield checkpoints, held_out._replace(seed=seed)


def _check_same(found, fingerprint, seed, estimator, folder):
    """Return the seed of the fit in a folder, if it is the same fit."""
    if found.get("format") != _FORMAT:
        raise ValueError(
            f"The checkpoints in {str(folder)!r} have another format: another version "
            f"of the package has written them, {found.get('versions')}. Continue with "
            "it, or pass another folder."
        )
    differences = _find_differences(found["fingerprint"], fingerprint)
    if estimator.random_state is not None and found["seed"] != seed:
        differences.append("random_state: the checkpoint has drawn another seed")
    if differences:
        raise ValueError(
            f"checkpoint={str(folder)!r} holds another fit than this one. "
            f"{'; '.join(differences)}. Repeat the same fit to continue it, or pass "
            "another folder, or delete this one. The fits of a search or of a "
            "cross-validation differ, and need checkpoint=None."
        )
    others = {
        name: version
        for name, version in found["versions"].items()
        if version != _versions().get(name)
    }
    if others:
        warnings.warn(
            f"The checkpoints in {str(folder)!r} were written with {others}, and "
            f"{_versions()} continues from them: the result may differ from that of an "
            "uninterrupted fit.",
            UserWarning,
            stacklevel=stacklevel_of_caller(),
        )
    return found["seed"]


def _find_differences(found, given):
    differences = []
    for name in dict.fromkeys([*given, *found]):
        old, new = found.get(name), given.get(name)
        if repr(old) == repr(new) or old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            keys = [key for key in old if key != "digest" and old[key] != new.get(key)]
            if keys and "digest" in old:
                old, new = ({k: own.get(k) for k in keys} for own in (old, new))
            elif "digest" in old:
                differences.append(f"{name}: other values")
                continue
        differences.append(f"{name}: the checkpoint has {old!r}, the fit {new!r}")
    return differences


def _versions():
    package = __name__.partition(".")[0]
    return {
        package: sys.modules[package].__version__,
        "scikit-learn": sklearn.__version__,
        "torch": str(torch.__version__),
    }


# -- parameters ----------------------------------------------------------------------


def _describe_parameters(estimator):
    parameters = estimator.get_params(deep=False)
    callbacks = [_describe_callback(item) for item in estimator.callbacks or []]
    return {
        "estimator": _name_of(type(estimator)),
        **{k: _describe(v) for k, v in parameters.items() if k not in _NOT_COMPARED},
        "callbacks": callbacks,
    }


def _describe_callback(item):
    name, callback = item if isinstance(item, tuple) else (None, item)
    if isinstance(callback, type):
        callback = callback()
    # Where a callback prints to is left out, as any function.
    values = {k: v for k, v in vars(callback).items() if not inspect.isroutine(v)}
    return [name, _name_of(type(callback)), _describe(values)]


def _describe(value):
    """Return plain data that is equal for equal values of a parameter."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, (list, tuple)):
        return [_describe(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _describe(item) for key, item in value.items()}
    if isinstance(value, (os.PathLike, torch.device)):
        return str(value)
    if isinstance(value, functools.partial):
        return _describe(["partial", value.func, *value.args, value.keywords])
    if isinstance(value, (np.ndarray, torch.Tensor)) or sparse.issparse(value):
        return _describe_array(value)
    # A fitted estimator counts as its networks.
    module = value if isinstance(value, nn.Module) else getattr(value, "module_", None)
    if isinstance(module, nn.Module):
        return {"class": _name_of(type(value)), "digest": _digest_of_network(module)}
    # Of other objects, the values may differ in every process.
    return _name_of(value if hasattr(value, "__qualname__") else type(value))


def _name_of(value):
    return f"{value.__module__}.{value.__qualname__}"


# -- data ----------------------------------------------------------------------------


def _describe_data(features, labels, held_out):
    parts = {
        "classes": _describe(labels.classes.tolist()),
        "labels shared by the modalities": labels.shared,
        **_describe_rows("", features, labels),
    }
    if held_out.labels is not None:
        parts |= _describe_rows("held-out ", held_out.features, held_out.labels)
    return parts


def _describe_rows(prefix, features, labels):
    described = {}
    for name, X in features.items():
        described[f"{prefix}{name} features"] = _describe_array(X)
        indicator = labels.parts[name].indicator
        described[f"{prefix}{name} labels"] = _describe_array(indicator)
    return described


def _describe_array(X):
    if isinstance(X, torch.Tensor):
        X = X.detach().cpu().numpy()
    digest = _new_digest()
    if sparse.issparse(X):
        X = X.tocsr()
        for part in (X.data, X.indices, X.indptr):
            _update(digest, part)
    else:
        _update(digest, X)
    return {
        "kind": "sparse" if sparse.issparse(X) else "dense",
        "shape": list(X.shape),
        "dtype": str(X.dtype),
        "digest": digest.hexdigest()[:_N_DIGITS],
    }


def _describe_networks(estimator):
    """Describe what earlier fits have left to the one that continues them."""
    return {
        "epochs": len(estimator.history_),
        "digest": _digest_of(estimator.module_, estimator._moments),
    }


def _digest_of_network(module):
    """Return a digest of the weights, of which are frozen, and of the layers."""
    learning = [own.requires_grad for own in module.parameters()]
    parts = _digest_of(module), repr(module), learning
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:_N_DIGITS]


def _digest_of(module, moments=None):
    digest = _new_digest()
    arrays = weights_of(module)
    for player, parameters in moments_to_arrays(moments or {}).items():
        for name, own in parameters.items():
            arrays |= {f"{player} {name} {key}": value for key, value in own.items()}
    for name, array in sorted(arrays.items()):
        digest.update(name.encode())
        _update(digest, array)
    return digest.hexdigest()[:_N_DIGITS]


def _new_digest():
    return hashlib.sha256(usedforsecurity=False)


def _update(digest, array):
    """Add an array to a digest, block by block: it may be mapped from a file."""
    if array.ndim < 2:
        array = array.reshape(-1)
    if array.dtype.hasobject:
        digest.update(repr(array.tolist()).encode())
        return
    n_rows = max(1, _BYTES_AT_ONCE * len(array) // max(1, array.nbytes))
    for start in range(0, len(array), n_rows):
        block = np.ascontiguousarray(array[start : start + n_rows])
        digest.update(block.view(np.uint8) if block.size else b"")
