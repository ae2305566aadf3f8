"""Networks as plain values, and back: what files hold of them."""

# SPDX-License-Identifier: BSD-3-Clause

from contextlib import contextmanager

import numpy as np
import torch

from sklearn_cmr.training import standard_settings
from sklearn_cmr.training.state import (
    check_weights,
    load_weights,
    moments_from_arrays,
    weights_of,
)


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
        several names. Names of the parameters that are "frozen", and of the modules in
        "training" mode.

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
        "frozen": [n for n, p in module.named_parameters() if not p.requires_grad],
        "training": [name for name, part in module.named_modules() if part.training],
    }


@contextmanager
def refused_if_broken():
    """Turn any error of reading networks into one that says what to do."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            "The file holds no networks that this estimator can have trained: it is "
            f"damaged, or of another version. {type(error).__name__}: {error}"
        ) from error


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
    except (NotImplementedError, RuntimeError):
        # Networks of others may compute with their weights while they are built, for
        # which the device "meta" has no values. Ours do not.
        return
    check_weights(module, weights)
