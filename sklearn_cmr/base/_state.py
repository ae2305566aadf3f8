"""Estimators that train networks as plain values, and back: what files hold."""

# SPDX-License-Identifier: BSD-3-Clause

import os
from functools import partial
from pathlib import Path

import numpy as np
import torch

from sklearn_cmr.base._encoders import (
    build_networks,
    from_files,
    grow_networks,
    into_files,
)
from sklearn_cmr.training.devices import seeded_building, standard_settings
from sklearn_cmr.training.state import (
    check_weights,
    load_weights,
    moments_from_arrays,
    moments_to_arrays,
    to_array,
    weights_of,
)

# Parameters of the training, which `_build` does not read.
_NOT_OF_NETWORKS = {
    *("callbacks", "checkpoint", "checkpoint_every", "device", "lr_encoder"),
    *("random_state", "verbose", "warm_start"),
}
# The parameter, and what it was in the fit.
_WITH_ENCODERS = {"encoders", "_encoders_in"}


def freeze(value):
    """Return a parameter as it is now, lists as the tuples that mean the same."""
    if isinstance(value, dict):
        return {key: freeze(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return tuple(value)
    return value


def describe_build(estimator, features, seed):
    """Return what networks are built from, so that they can be built again.

    Parameters
    ----------
    estimator : NetworkTransformer

    features : dict of str to {ndarray, CSR}

    seed : int

    Returns
    -------
    build : dict
        The "modalities", "settings": the parameters, and "seed". Widths and the
        caller's encoders are fitted attributes.
    """
    without = {*_NOT_OF_NETWORKS, "encoders", *estimator._rebuilt_with}
    names = [name for name in estimator._get_param_names() if name not in without]
    return {
        "modalities": list(features),
        "settings": {name: freeze(getattr(estimator, name)) for name in names},
        "seed": int(seed),
    }


def rebuild(estimator):
    """Build the networks as they were built, whatever the parameters are now.

    Parameters
    ----------
    estimator : NetworkTransformer
        With its fitted attributes but `module_`. It stays as it is.

    Returns
    -------
    module : torch.nn.ModuleDict
    """
    module = None
    for build in estimator._builds:
        # Attributes that `_build` sets are for the throw-away copy alone.
        other = object.__new__(type(estimator))
        fitted = build["settings"] | estimator._rebuilt_with | {"encoders": None}
        vars(other).update(vars(estimator) | fitted)
        with seeded_building(build["seed"]):
            if module is None:
                module = build_networks(other, build["modalities"])
            else:  # added after the fit
                for name in build["modalities"]:
                    grow_networks(other, module, name)
    return module


def to_state(estimator):
    """Return the attributes of an estimator, those of torch as plain values."""
    state = vars(estimator).copy()
    if isinstance(estimator.device, torch.device):
        state["device"] = {"torch.device": str(estimator.device)}
    if isinstance(estimator.checkpoint, os.PathLike):  # of this system alone
        state["checkpoint"] = {"path": os.fspath(estimator.checkpoint)}
    for name in _WITH_ENCODERS & state.keys():
        state[name] = into_files(state[name])
    if "module_" in state:
        state["module_"] = pack_module(estimator.module_, partial(rebuild, estimator))
        state["_moments"] = moments_to_arrays(estimator._moments)
    return state


def from_state(estimator, state):
    """Give an estimator the attributes that :func:`to_state` has returned.

    Raises
    ------
    ValueError
        If the networks are not such as the estimator builds.
    """
    vars(estimator).update(state)
    # Of an estimator that is not fitted, parameters may be anything.
    if _is_named(estimator.device, "torch.device"):
        estimator.device = torch.device(estimator.device["torch.device"])
    if _is_named(estimator.checkpoint, "path"):
        estimator.checkpoint = Path(estimator.checkpoint["path"])
    for name in _WITH_ENCODERS & state.keys():
        setattr(estimator, name, from_files(state[name]))
    if "module_" not in state:
        return
    try:
        module = unpack_module(state["module_"], partial(rebuild, estimator))
        estimator._moments = unpack_moments(state["_moments"], module)
    except Exception as error:
        raise ValueError(
            "The file holds no networks that this estimator can have trained: it is "
            f"damaged, or of another version. {type(error).__name__}: {error}"
        ) from error
    estimator.module_ = module


def _is_named(value, kind):
    return isinstance(value, dict) and value.keys() == {kind}


def pack_module(module, rebuild):
    """Return the weights of a module as arrays, and what is frozen.

    Parameters
    ----------
    module : torch.nn.Module

    rebuild : callable
        ``rebuild()`` returns a module with the same names and shapes.

    Returns
    -------
    packed : dict
        "weights" by the names of `state_dict`; what networks share is one array with
        several names. "buffers" that are not in it, which torch calls not persistent;
        those of the caller's networks may change in a fit. Names of the parameters that
        are "frozen", and of the modules in "training" mode.

    Raises
    ------
    ValueError
        If the weights would not fit the networks that a file is loaded into.
    """
    weights = weights_of(module)
    first_name: dict[int, str] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        weights[name] = weights[first_name.setdefault(id(tensor), name)]
    try:
        _check(weights, rebuild)
    except ValueError as error:
        raise ValueError(
            "module_ was changed after the fit, so that no file can restore it: save "
            f"module_.state_dict() in place of the estimator. {error}"
        ) from error
    return {
        "weights": weights,
        "buffers": {
            name: to_array(buffer)
            for name, buffer in module.named_buffers(remove_duplicate=False)
            if name not in weights
        },
        "frozen": [n for n, p in module.named_parameters() if not p.requires_grad],
        "training": [name for name, part in module.named_modules() if part.training],
    }


def unpack_module(packed, rebuild):
    """Return the module that :func:`pack_module` was given, on the CPU.

    Names, shapes, dtypes and values are checked before memory for it is allocated.

    Parameters
    ----------
    packed : dict

    rebuild : callable

    Returns
    -------
    module : torch.nn.Module
    """
    weights = packed["weights"]
    _check(weights, rebuild)
    with standard_settings():
        module = rebuild()
    load_weights(module, weights)
    for name, array in packed["buffers"].items():
        parent, _, own = name.rpartition(".")
        buffers = module.get_submodule(parent)._buffers
        if own not in buffers:
            raise ValueError(f"{name} is no buffer.")
        buffers[own] = torch.tensor(array)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in packed["frozen"])
    module.eval()
    for name in packed["training"]:
        module.get_submodule(name).training = True
    return module


def unpack_moments(moments, module):
    """Return Adam's moments as tensors, after a check of their names and shapes."""
    shapes = {name: tuple(own.shape) for name, own in module.named_parameters()}
    for player, parameters in moments.items():
        for name, own in parameters.items():
            found = {np.shape(value) for value in own.values()} - {()}
            if not found <= {shapes[name]}:
                raise ValueError(
                    f"The moments of {player}, {name} must be arrays of shape "
                    f"{shapes[name]}, got {found}."
                )
    return moments_from_arrays(moments)


def _check(weights, rebuild):
    """Raise if weights are not those of the networks, or are not numbers."""
    for name, array in weights.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
            raise ValueError(f"{name} must be an array of numbers, got {type(array)}.")
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise ValueError(f"{name} holds NaN.")
    try:
        with standard_settings(), torch.device("meta"):
            module = rebuild()
    except Exception:
        # Networks of others may compute with their weights while they are built, or be
        # built already; the device "meta" has no values for them. Ours do not.
        return
    check_weights(module, weights)
