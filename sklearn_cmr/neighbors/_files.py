"""Galleries in files that can be mapped into memory."""

# SPDX-License-Identifier: BSD-3-Clause

import json
from operator import index
from pathlib import Path

import numpy as np

# Changes with the layout of the folder.
_FORMAT = 1
_HEADER, _GALLERY, _IDS = "neighbors.json", "gallery.npy", "ids.npy"


def write_gallery(folder, header, gallery, ids):
    """Write a gallery to a new folder.

    Parameters
    ----------
    folder : str or path

    header : dict
        Values that JSON can hold.

    gallery : ndarray of shape (n_items, n_columns)

    ids : ndarray of shape (n_items,) or None
    """
    ids = _storable(ids)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        # The files of a gallery may be mapped into memory at this moment.
        raise FileExistsError(
            f"{folder} is not empty. Save to a new folder, or delete this one first."
        )
    np.save(folder / _GALLERY, gallery, allow_pickle=False)
    if ids is not None:
        np.save(folder / _IDS, ids, allow_pickle=False)
    header = header | {
        "format": _FORMAT,
        "shape": gallery.shape,
        "dtype": gallery.dtype.str,
        "dtype_of_ids": None if ids is None else ids.dtype.str,
    }
    # Last, so that what was not written to the end cannot be loaded. numpy's numbers
    # become Python's.
    text = json.dumps(header, indent=2, default=lambda number: number.item())
    (folder / _HEADER).write_text(text + "\n", encoding="utf-8")


def read_gallery(folder, mmap_mode):
    """Read what :func:`write_gallery` has written.

    Parameters
    ----------
    folder : str or path

    mmap_mode : {"r", None}

    Returns
    -------
    header : dict

    gallery : ndarray of shape (n_items, n_columns)

    ids : ndarray of shape (n_items,) or None

    Raises
    ------
    FileNotFoundError
        If a file is missing.

    ValueError
        If a file is damaged, or does not fit the others.
    """
    path = Path(folder) / _HEADER
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: {folder} holds no gallery that "
            "CrossModalNeighbors.save has written to the end."
        )
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
        form = header["format"]
        n_rows, n_columns = map(index, header["shape"])
        kind, kind_of_ids = np.dtype(header["dtype"]), header["dtype_of_ids"]
        kind_of_ids = None if kind_of_ids is None else np.dtype(kind_of_ids)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} is damaged: {error}. Save the gallery anew."
        ) from error
    if form != _FORMAT:
        raise ValueError(
            f"{path} has the format {form}, this version of sklearn_cmr reads format "
            f"{_FORMAT}. Load the gallery with the version that has saved it."
        )
    gallery = _read_array(
        path.with_name(_GALLERY), (n_rows, n_columns), kind, mmap_mode
    )
    ids = None
    if kind_of_ids is not None:
        ids = _read_array(path.with_name(_IDS), (n_rows,), kind_of_ids, mmap_mode)
    return header, gallery, ids


def _storable(ids):
    """Return ids in a dtype that needs no pickle."""
    if ids is None or ids.dtype != object:
        return ids
    converted = ids.astype(str)
    # Numbers among the objects would become strings, and final zero bytes get lost.
    if not (converted == ids).all():
        raise ValueError(
            "Ids of the dtype object can be saved if all of them are strings. Pass "
            "strings, or numbers, as ids to fit."
        )
    return converted


def _read_array(path, shape, kind, mmap_mode):
    try:
        array = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except FileNotFoundError:
        raise
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(
            f"{path} is damaged or incomplete: {error}. Save the gallery anew."
        ) from error
    found = getattr(array, "shape", None), getattr(array, "dtype", None)
    if found != (shape, kind):
        raise ValueError(
            f"{path} holds an array of shape {found[0]} and dtype {found[1]}, but the "
            f"header says {shape} and {kind}. The files are not of one "
            "gallery: save it anew."
        )
    return array
