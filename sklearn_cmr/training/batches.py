"""Batches cut from features that lie on the device, or travel there in chunks."""

# SPDX-License-Identifier: BSD-3-Clause

import itertools
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import skorch.dataset
import torch
from scipy import sparse
from torch.utils.data import Dataset, Subset

from sklearn_cmr._arrays import MappedRows, is_memory_mapped
from sklearn_cmr.training.samplers import EachByItself, in_order

# Share of the free memory of an accelerator that resident features may take.
_RESIDENT_SHARE = 0.5
# Rows that are converted at once on the way to an accelerator.
_ROWS_PER_MOVE = 65_536
_TORCH_DTYPES = frozenset(
    map(np.dtype, ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1"))
)


class Batch(NamedTuple):
    """What a loss sees of the data.

    Parameters
    ----------
    features : mapping of str to float32 tensor of shape (..., n_rows, n_features)
        One entry for each modality; (..., n_rows, n_regions, n_features) of items with
        regions. What an encoder of the caller reads may have any shape, and int64.

    y : float32 tensor of shape (..., n_rows, n_classes)
        Label indicator.

    rows : int64 tensor of shape (b,) or (roles, b)
        Rows of the data set. Of modalities with rows of their own, the roles are the
        modalities; then features have the shape (b, n_features).

    cache : dict of str to object
        Written and read by the losses: results on this batch that a later player, or a
        later turn of the same player, uses again, so that no network runs twice on the
        same rows. A cached tensor is detached, unless the weights that it depends on
        stay the same until its last use. The cache is empty when a batch is cut, and
        is dropped with it; the engine neither reads nor writes it.
    """

    features: Mapping[str, torch.Tensor]
    y: torch.Tensor
    rows: torch.Tensor
    cache: dict[str, Any]


class _DeviceRows:
    """An array on the device that is cast to the type of a batch by the batch.

    Parameters
    ----------
    tensor : tensor

    dtype : torch.dtype, default=torch.float32
        Type of the batches.

    rows : int64 tensor, default=None
        The rows of the tensor that the array consists of; all by default.
    """

    def __init__(self, tensor, dtype=torch.float32, rows=None):
        self.tensor, self.dtype, self.rows = tensor, dtype, rows
        self.shape = tuple(tensor.shape)
        if rows is not None:
            self.shape = (len(rows), *self.shape[1:])

    def take(self, rows):
        places = rows.flatten()
        places = places if self.rows is None else self.rows[places]
        picked = self.tensor.index_select(0, places)
        return picked.to(self.dtype).view(*rows.shape, *picked.shape[1:])

    def cut(self, start, stop):
        if self.rows is None:
            return self.tensor[start:stop].to(self.dtype)
        return self.tensor.index_select(0, self.rows[start:stop]).to(self.dtype)


class _HostRows:
    """An array on the host (sparse, mapped from a file, or too large to move)."""

    def __init__(self, X, device, dtype=torch.float32):
        self.X, self.device = X, device
        self.dtype = np.dtype(str(dtype).removeprefix("torch."))
        self.shape = X.shape

    def take(self, rows):
        picked = self.X[rows.flatten().numpy()]
        if sparse.issparse(picked):
            # Cast first: dense, it would be twice as large, and copied once more.
            picked = picked.astype(self.dtype, copy=False).toarray()
        tensor = torch.from_numpy(np.ascontiguousarray(picked, dtype=self.dtype))
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        tensor = tensor.to(self.device, non_blocking=True)
        return tensor.view(*rows.shape, *tensor.shape[1:])


def _place_rows(X, device, dtype=torch.float32):
    """Choose where the rows of validated features live; batches have the dtype."""
    if isinstance(X, MappedRows) and device.type == "cpu" and _torch_reads(X.array):
        return _DeviceRows(_as_tensor(X.array), dtype, torch.from_numpy(X.rows))
    if sparse.issparse(X) or isinstance(X, MappedRows):
        return _HostRows(X, device, dtype)
    if X.dtype == bool:
        X = X.view(np.uint8)
    if device.type == "cpu":
        if _torch_reads(X):
            return _DeviceRows(_as_tensor(X), dtype)
        return _HostRows(X, device, dtype)
    # Integers that stay integers, such as bytes of images, are moved as they are.
    stored: np.dtype = np.dtype(np.float32)
    if dtype is torch.int64:
        stored = X.dtype if X.dtype in _TORCH_DTYPES else np.dtype(np.int64)
    if is_memory_mapped(X) or not _fits(X, device, stored):
        return _HostRows(X, device, dtype)
    stored_as = getattr(torch, stored.name)
    tensor = torch.empty(X.shape, dtype=stored_as, device=device)
    for start in range(0, len(X), _ROWS_PER_MOVE):
        block = np.asarray(X[start : start + _ROWS_PER_MOVE], dtype=stored)
        tensor[start : start + len(block)] = _as_tensor(block)
    return _DeviceRows(tensor, dtype)


def _torch_reads(X):
    """Return whether torch can use an array without copying it."""
    steps_forward = all(s >= 0 and s % X.itemsize == 0 for s in X.strides)
    return X.dtype in _TORCH_DTYPES and steps_forward


def _as_tensor(X):
    if X.flags.writeable:
        return torch.from_numpy(X)
    with warnings.catch_warnings():
        # Rows are only ever read, so that a read-only array is safe to share.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(X)


def _fits(X, device, stored):
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return stored.itemsize * X.size < _RESIDENT_SHARE * free


class RowDataset(skorch.dataset.Dataset):
    """Aligned rows of one or more modalities with their labels.

    As a data set of skorch it has the features `X` and the label indicator `y`, which
    its scoring callbacks pass on.

    Parameters
    ----------
    features : dict of str to {ndarray, CSR} of shape (n_samples, n_features)
        Validated features, or (n_samples, n_regions, n_features) of items with
        regions, or (n_samples, ...) for an encoder of the caller. None of them is
        copied whole on a CPU.

    indicator : uint8 ndarray of shape (n_samples, n_classes)
        Labels.

    device : torch.device
        Device of the batches.

    integers : container of str, default=()
        Modalities whose features are int64 in a batch, and not float32.
    """

    def __init__(self, features, indicator, device, integers=()):
        super().__init__(features, indicator, length=len(indicator))
        self.device = device
        self.features = {
            name: _place_rows(
                X, device, torch.int64 if name in integers else torch.float32
            )
            for name, X in features.items()
        }
        self.labels = _DeviceRows(torch.from_numpy(indicator).to(device))

    def __getitem__(self, row):
        return self.take(torch.as_tensor([row]))

    def shape_of(self, modality):
        """Return the shape of the features of a modality."""
        return self.features[modality].shape

    @property
    def on_device(self):
        """Whether a batch can be cut without touching the host."""
        return all(isinstance(rows, _DeviceRows) for rows in self.features.values())

    def take(self, rows):
        """Return the batch of the given rows; features keep the shape of `rows`."""
        on_device = rows.to(self.device, non_blocking=True)
        features = {
            name: source.take(on_device if isinstance(source, _DeviceRows) else rows)
            for name, source in self.features.items()
        }
        return Batch(features, self.labels.take(on_device), on_device, {})

    def cut(self, start, stop):
        """Return a batch of consecutive rows, all on the device: no copy if float32."""
        features = {name: own.cut(start, stop) for name, own in self.features.items()}
        rows = torch.arange(start, stop, device=self.device)
        return Batch(features, self.labels.cut(start, stop), rows, {})


class UnpairedDataset(Dataset):
    """Modalities with rows and labels of their own; a batch has as many of each.

    Parameters
    ----------
    parts : dict of str to RowDataset or torch.utils.data.Subset of one
        Each with one modality, all of them with the same classes.
    """

    def __init__(self, parts):
        self.parts = parts
        self.sources, indices = zip(*map(_unwrap, parts.values()), strict=True)
        self.device = self.sources[0].device
        self.on_device = all(source.on_device for source in self.sources)
        self.indices = [self._beside_rows(rows) for rows in indices]

    def __len__(self):
        return max(self.lengths)

    @property
    def lengths(self):
        """Number of rows of each modality."""
        return [len(part) for part in self.parts.values()]

    def _beside_rows(self, indices):
        """Put the indices of a subset where the rows of a batch are."""
        move = self.on_device and indices is not None
        return indices.to(self.device) if move else indices

    def take(self, rows):
        """Return the batch of rows of shape (n_modalities, b)."""
        features: dict[str, torch.Tensor] = {}
        picked = []
        for source, indices, own in zip(self.sources, self.indices, rows, strict=True):
            picked.append(source.take(own if indices is None else indices[own]))
            features |= picked[-1].features
        y = torch.stack([batch.y for batch in picked])
        return Batch(features, y, torch.stack([batch.rows for batch in picked]), {})


def _unwrap(dataset):
    """Return a data set and, if it is a subset of one, which rows it has."""
    if isinstance(dataset, Subset):
        return dataset.dataset, torch.as_tensor(dataset.indices)
    return dataset, None


def whole_dataset(dataset):
    """Return the data set that a subset is of, or the data set itself."""
    return _unwrap(dataset)[0]


def indicator_of(dataset):
    """Return the label indicator of the rows of a data set or of a subset.

    Parameters
    ----------
    dataset : RowDataset or torch.utils.data.Subset of one
        Rows with labels.

    Returns
    -------
    indicator : uint8 ndarray of shape (n_samples, n_classes)
        Without those of rows that a subset leaves out.
    """
    dataset, indices = _unwrap(dataset)
    indicator = dataset.labels.tensor.cpu().numpy()
    return indicator if indices is None else indicator[indices.numpy()]


def joint_sampler(dataset, make_sampler):
    """Return the sampler of a data set, or one for each of its modalities.

    Parameters
    ----------
    dataset : RowDataset, UnpairedDataset or torch.utils.data.Subset
        Rows to draw from.

    make_sampler : callable
        Makes the sampler of a data set of aligned rows.

    Returns
    -------
    sampler : callable
        Yields the rows of each batch.
    """
    if isinstance(dataset, UnpairedDataset):
        parts = dataset.parts.values()
        return EachByItself(dataset.lengths, list(map(make_sampler, parts)))
    return make_sampler(dataset)


class BatchIterator:
    """Iterate over the batches of one epoch, in place of a ``DataLoader``.

    Parameters
    ----------
    dataset : RowDataset or torch.utils.data.Subset of one

    batch_size : int

    sampler : callable, default=in_order
        ``sampler(n_samples, batch_size, generator)`` yields the rows of each batch.

    generator : torch.Generator, default=None
        Source of the random order, on the CPU so that it is the same on all devices.

    min_batch_size : int, default=1
        A smaller last batch is merged into the one before it.
    """

    def __init__(
        self, dataset, batch_size, sampler=in_order, generator=None, min_batch_size=1
    ):
        self.dataset, self.subset = _unwrap(dataset)
        self.batch_size = batch_size
        self.sampler = sampler
        self.generator = generator
        self.min_batch_size = min_batch_size

    def __iter__(self):
        if self._is_consecutive():
            return itertools.starmap(self.dataset.cut, self._bounds())
        batches = self._rows_of_batches()
        if self.dataset.on_device or self.dataset.device.type == "cpu":
            return map(self.dataset.take, batches)
        return self._prefetch(batches)

    def _is_consecutive(self):
        is_whole = isinstance(self.dataset, RowDataset) and self.subset is None
        in_turn = self.sampler is in_order and self.min_batch_size == 1
        return is_whole and in_turn and self.dataset.on_device

    def _bounds(self):
        n_samples = len(self.dataset)
        starts = range(0, n_samples, self.batch_size)
        return [(start, min(start + self.batch_size, n_samples)) for start in starts]

    def _rows_of_batches(self):
        n_samples = len(self.dataset if self.subset is None else self.subset)
        batches = list(self.sampler(n_samples, self.batch_size, self.generator))
        lengths = [rows.shape[-1] for rows in batches]
        if len(lengths) > 1 and lengths[-1] < self.min_batch_size:
            last = lengths.pop()
            lengths[-1] += last
        order = torch.cat(batches, dim=-1)
        if self.subset is not None:
            order = self.subset[order]
        if self.dataset.on_device:
            order = order.to(self.dataset.device)
        return order.split(lengths, dim=-1)

    def _prefetch(self, batches):
        """Read the next batch in a thread while the accelerator works on this one."""
        with ThreadPoolExecutor(max_workers=1) as reader:
            ahead = reader.submit(self.dataset.take, batches[0])
            for following in batches[1:]:
                ready, ahead = ahead, reader.submit(self.dataset.take, following)
                yield ready.result()
            yield ahead.result()
