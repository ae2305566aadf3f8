"""Encoding of rows in blocks of a fixed size, so that no row depends on others."""

# SPDX-License-Identifier: BSD-3-Clause

import math
from contextlib import nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import nn
from torch.overrides import TorchFunctionMode

from sklearn_cmr.training.batches import BatchIterator, whole_dataset
from sklearn_cmr.training.devices import standard_settings

# Matrix kernels differ by shape in the last bits. One fixed block size for all calls
# on a device makes the output of a row independent of the other rows, bit for bit.
# (Wide networks may still differ in the last bits between one and more threads.)
_BLOCK_ROWS = {"cpu": 64, "cuda": 1024}
# Below this number of outputs, the product of a row depends on where the row lies in
# memory on some CPUs, unless rows have whole groups of values.
_NARROW, _GROUP = 16, 4
# Blocks whose results are fetched together: an accelerator is waited for that seldom.
_BLOCKS_PER_FETCH = 16
# Rows of a data set, which are on the device already, that are encoded at once.
_DATASET_ROWS = 1024
# Values of a block at most: of images, it has fewer rows.
_BLOCK_VALUES = 2**25


def encode_in_blocks(encode, X, device, dtype=torch.float32):
    """Encode all rows of a matrix, block by block.

    Parameters
    ----------
    encode : callable
        Maps a tensor of shape (block, n_features), or (block, ...) if `X` has more
        dimensions, to one of shape (block, ...), row by row.

    X : {ndarray, CSR} of shape (n_samples, n_features) or (n_samples, ...)
        Validated features of any numeric dtype; cast and made dense by the block.

    device : torch.device
        Where `encode` computes.

    dtype : torch.dtype, default=torch.float32
        Type that the features are cast to.

    Returns
    -------
    Z : ndarray of shape (n_samples, ...)
        Outputs of `encode`.
    """
    n_samples = X.shape[0]
    n_block = _limited(_BLOCK_ROWS.get(device.type, _BLOCK_ROWS["cuda"]), X.shape)
    n_fetched = n_block * _BLOCKS_PER_FETCH
    Z = None
    aligned = _AlignedLinear() if _needs_alignment(encode, device) else nullcontext()
    with standard_settings(device.type), torch.inference_mode(), aligned:
        for start in range(0, n_samples, n_fetched):
            stop = min(start + n_fetched, n_samples)
            blocks = [
                _encode_block(
                    encode, X[i : min(i + n_block, stop)], n_block, device, dtype
                )
                for i in range(start, stop, n_block)
            ]
            encoded = torch.cat(blocks).cpu().numpy()
            if Z is None:
                Z = np.empty((n_samples, *encoded.shape[1:]), dtype=encoded.dtype)
            Z[start:stop] = encoded
    return Z


def _limited(n_rows, shape):
    """Return a number of rows that depends on the shape of a row alone."""
    return max(1, min(n_rows, _BLOCK_VALUES // math.prod(shape[1:])))


def _encode_block(encode, rows, n_block, device, dtype):
    """Encode the rows of a block without waiting for an accelerator."""
    is_cuda = device.type == "cuda"
    n_rows = rows.shape[0]
    staging = torch.empty(n_block, *rows.shape[1:], dtype=dtype, pin_memory=is_cuda)
    staging.numpy()[:n_rows] = rows.toarray() if sparse.issparse(rows) else rows
    staging[n_rows:] = 0
    return encode(staging.to(device, non_blocking=is_cuda))[:n_rows]


class _AlignedLinear(TorchFunctionMode):
    """Fill up the inputs of narrow linear layers with zeros to whole groups."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.linear and len(args) > 1:
            X, weight, *bias = args
            missing = (0, -X.shape[-1] % _GROUP)
            if missing[1] and len(weight) < _NARROW:
                args = (F.pad(X, missing), F.pad(weight, missing), *bias)
        return func(*args, **(kwargs or {}))


def _needs_alignment(encode, device):
    """Return whether a function may contain a narrow layer that needs zeros."""
    if device.type != "cpu" or not isinstance(encode, nn.Module):
        return device.type == "cpu"
    return any(
        isinstance(layer, nn.Linear)
        and layer.out_features < _NARROW
        and layer.in_features % _GROUP
        for layer in encode.modules()
    )


def encode_dataset(encode, dataset, modality):
    """Encode one modality of a data set, whose rows need no fixed blocks.

    Parameters
    ----------
    encode : callable
        Maps the features of a batch to a tensor of shape (b, ...).

    dataset : RowDataset or torch.utils.data.Subset of one
        Its rows are encoded in their order.

    modality : str
        The one to encode.

    Returns
    -------
    Z : tensor of shape (n_samples, ...)
        On the device of the data set.
    """
    n_rows = _limited(_DATASET_ROWS, whole_dataset(dataset).shape_of(modality))
    with torch.inference_mode():
        parts = [
            encode(batch.features[modality]) for batch in BatchIterator(dataset, n_rows)
        ]
        return torch.cat(parts)
