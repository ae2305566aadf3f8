"""Weights and moments as arrays by name: what files and checkpoints hold."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch
from torch.nn.parameter import is_lazy


def weights_of(module):
    """Return copies of all parameters and buffers of a module.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    weights : dict of str to ndarray
        By the names of `state_dict`; what networks share has several names. Lazy layers
        have no weights before their first use.
    """
    tensors = module.state_dict()
    return {name: to_array(own) for name, own in tensors.items() if not is_lazy(own)}


def check_weights(module, weights):
    """Raise a ValueError if a name, a shape or a dtype is not that of the module.

    Parameters
    ----------
    module : torch.nn.Module
        It may be on the device "meta".

    weights : dict of str to ndarray
        As :func:`weights_of` returns them, of all parameters and buffers.
    """
    tensors = module.state_dict()
    missing = sorted(set(tensors) - set(weights))
    unknown = sorted(set(weights) - set(tensors))
    if missing or unknown:
        raise ValueError(
            f"The weights do not fit the networks: {missing} are missing, {unknown} "
            "are unknown."
        )
    for name, tensor in tensors.items():
        given = weights[name]
        expected = f"{tuple(tensor.shape)} of {_dtype_name(tensor)}"
        found = f"{np.shape(given)} of {getattr(given, 'dtype', type(given).__name__)}"
        if found != expected:
            raise ValueError(
                f"The weights do not fit the networks: {name} must be an array of "
                f"shape {expected}, got {found}."
            )


def load_weights(module, weights):
    """Copy arrays into the parameters and buffers of a module.

    Parameters
    ----------
    module : torch.nn.Module

    weights : dict of str to ndarray
        As :func:`weights_of` returns them, of all parameters and buffers.

    Raises
    ------
    ValueError
        See :func:`check_weights`. Then the module is as it was before.
    """
    check_weights(module, weights)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            # torch would warn of arrays that it cannot write to.
            given = np.require(weights[name], requirements="W")
            tensor.copy_(torch.from_numpy(given))


def moments_to_arrays(moments):
    """Return copies of Adam's moments, by player and parameter, as arrays."""
    return {
        player: {
            name: {key: to_array(value) for key, value in own.items()}
            for name, own in parameters.items()
        }
        for player, parameters in moments.items()
    }


def moments_from_arrays(moments):
    """Return copies of Adam's moments, by player and parameter, as tensors."""
    return {
        player: {
            name: {key: torch.tensor(value) for key, value in own.items()}
            for name, own in parameters.items()
        }
        for player, parameters in moments.items()
    }


def to_array(tensor):
    """Return a copy of a tensor as an array in main memory."""
    return as_array(tensor).copy()


def as_array(tensor):
    """Return a tensor as an array, which may share its memory."""
    return tensor.detach().to("cpu", _stored_dtype(tensor)).numpy()


def _stored_dtype(tensor):
    # numpy has no bfloat16; float32 has all of its values.
    return torch.float32 if tensor.dtype == torch.bfloat16 else tensor.dtype


def _dtype_name(tensor):
    return str(_stored_dtype(tensor)).removeprefix("torch.")
