"""Nested values as JSON and one block of numbers, and back, without pickle."""

# SPDX-License-Identifier: BSD-3-Clause

import json
import math
from collections import OrderedDict

import numpy as np
import torch

from sklearn_cmr.training.state import as_array

# Arrays begin at multiples of so many bytes.
_ALIGNMENT = 64
_PLAIN = (type(None), bool, int, float, str)
_SEQUENCES = {"tuple": tuple, "set": set, "frozenset": frozenset}
# Kinds of dtypes whose bytes are their values.
_DTYPES = "biufcSUmM"


class Packer:
    """Pack values; the memory of the numbers is used again by the next call.

    It knows None, bool, int, float, str, lists, tuples, sets, dicts, tensors, and
    arrays and scalars of numpy.
    """

    def __init__(self):
        self.buffer = np.empty(0, np.uint8)

    def pack(self, value):
        """Return a value as text and numbers.

        Parameters
        ----------
        value : object

        Returns
        -------
        text : str
            JSON.

        numbers : uint8 ndarray
            Copies of all arrays. The next call overwrites it.

        Raises
        ------
        TypeError
            If a part of the value is of another type.
        """
        arrays: list[np.ndarray] = []

        def refer(array):
            arrays.append(array)
            return len(arrays) - 1

        plain = to_plain(value, refer)
        places, n_bytes = [], 0
        for array in arrays:
            places.append([array.dtype.str, array.shape, n_bytes])
            n_bytes += math.ceil(array.nbytes / _ALIGNMENT) * _ALIGNMENT
        if len(self.buffer) != n_bytes:
            self.buffer = np.zeros(n_bytes, np.uint8)
        for array, place in zip(arrays, places, strict=True):
            np.copyto(_at(place, self.buffer), array)
        return json.dumps({"arrays": places, "value": plain}), self.buffer


def unpack(text, numbers):
    """Return the value that :meth:`Packer.pack` has packed.

    Parameters
    ----------
    text : str

    numbers : uint8 ndarray

    Returns
    -------
    value : object
        Its arrays and tensors are copies.
    """
    packed = json.loads(text)
    arrays = [_at(place, numbers) for place in packed["arrays"]]
    return _from_plain(packed["value"], arrays.__getitem__)


def pack_text(value):
    """Return a value as text alone, where arrays are small."""
    return json.dumps(
        to_plain(value, lambda array: [array.dtype.str, array.shape, _hex(array)])
    )


def unpack_text(text):
    """Return the value that :func:`pack_text` has packed."""
    return _from_plain(json.loads(text), _from_hex)


def _hex(array):
    return array.tobytes().hex()


def _from_hex(reference):
    dtype, shape, digits = reference
    return np.frombuffer(bytes.fromhex(digits), dtype).reshape(shape)


def _at(place, buffer):
    """Return the part of a buffer that holds an array."""
    dtype, shape, start = place
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    return buffer[start : start + n_bytes].view(dtype).reshape(shape)


def to_plain(value, refer=id):
    """Return a value as JSON can hold it.

    Parameters
    ----------
    value : object

    refer : callable
        ``refer(array)`` stores an array and returns what stands in its place.

    Raises
    ------
    TypeError
        If a part of the value is neither plain data nor an array.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, torch.Tensor):
        return {"tensor": refer(as_array(value))}
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in _DTYPES:
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return {kind: refer(np.asarray(value))}
    if type(value) is list:
        return [to_plain(item, refer) for item in value]
    if type(value) in (dict, OrderedDict):
        # As pairs: the keys of JSON are texts alone.
        items = [[to_plain(part, refer) for part in item] for item in value.items()]
        return {"dict": items}
    for kind, cls in _SEQUENCES.items():
        if type(value) is cls:
            return {kind: [to_plain(item, refer) for item in value]}
    raise TypeError(f"{_type_name(value)} is neither plain data nor an array")


def _from_plain(plain, look_up):
    if isinstance(plain, list):
        return [_from_plain(item, look_up) for item in plain]
    if not isinstance(plain, dict):
        return plain
    ((kind, content),) = plain.items()
    if kind == "dict":
        return {_from_plain(k, look_up): _from_plain(v, look_up) for k, v in content}
    if kind in _SEQUENCES:
        return _SEQUENCES[kind](_from_plain(item, look_up) for item in content)
    array = look_up(content)
    if kind == "scalar":
        return array[()]
    array = array.copy()
    return torch.from_numpy(array) if kind == "tensor" else array


def _type_name(value):
    return f"{type(value).__module__}.{type(value).__qualname__}"
