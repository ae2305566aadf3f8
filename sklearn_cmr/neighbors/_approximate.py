"""Approximate search by the graphs and the inverted lists of faiss."""

# SPDX-License-Identifier: BSD-3-Clause

from math import isqrt
from numbers import Integral

import numpy as np
from sklearn.utils import check_scalar

from sklearn_cmr.neighbors._hamming import HammingSearch
from sklearn_cmr.neighbors._real import MatrixIndex

# The parameters of each algorithm, with their defaults; None depends on the gallery.
PARAMETERS: dict[str, dict] = {
    "hnsw": {"n_links": 32, "ef_construction": 80, "ef_search": 128},
    "ivf": {"n_lists": None, "n_probes": None},
}

_MAX_PARAMETER = 2**31 - 1  # of a C integer
# Rows per list that faiss wants to learn the lists from.
_ROWS_PER_LIST = 39


def read_parameters(algorithm, given, n_items):
    """Return all parameters of an algorithm, with those that were given."""
    parameters = PARAMETERS[algorithm].copy()
    given = {} if given is None else given
    unknown = given.keys() - parameters.keys()
    if unknown:
        raise ValueError(
            f"algorithm_params of {algorithm!r} are {[*parameters]}, got "
            f"{sorted(map(str, unknown))}."
        )
    for name, value in given.items():
        # faiss crashes on graphs with one link.
        check_scalar(
            value,
            f"algorithm_params[{name!r}]",
            Integral,
            min_val=2 if name == "n_links" else 1,
            max_val=_MAX_PARAMETER,
        )
    parameters |= given
    if algorithm == "ivf":
        largest = max(1, n_items // _ROWS_PER_LIST)
        if parameters["n_lists"] is None:
            parameters["n_lists"] = min(isqrt(n_items), largest)
        elif parameters["n_lists"] > largest:
            raise ValueError(
                f"n_lists={parameters['n_lists']} lists need {_ROWS_PER_LIST} items "
                f"each, but the gallery has {n_items} items. Set n_lists to {largest} "
                "or less."
            )
        if parameters["n_probes"] is None:
            parameters["n_probes"] = max(1, parameters["n_lists"] // 8)
    return parameters


class _FaissIndex:
    """Index of faiss that may miss neighbors.

    Parameters
    ----------
    gallery : ndarray of shape (n_items, n_columns)
        Packed bits, or numbers of float32.

    faiss : module

    algorithm : {"hnsw", "ivf"}

    given : dict or None
        Parameters of the algorithm.
    """

    def __init__(self, gallery, faiss, algorithm, given):
        own = read_parameters(algorithm, given, len(gallery))
        is_binary = gallery.dtype == np.uint8
        width = 8 * gallery.shape[1] if is_binary else gallery.shape[1]
        self.ef_search = own.get("ef_search")
        if algorithm == "hnsw":
            make = faiss.IndexBinaryHNSW if is_binary else faiss.IndexHNSWFlat
            self.index = make(width, int(own["n_links"]))
            self.index.hnsw.efConstruction = int(own["ef_construction"])
        else:
            flat, make = faiss.IndexFlatL2, faiss.IndexIVFFlat
            if is_binary:
                flat, make = faiss.IndexBinaryFlat, faiss.IndexBinaryIVF
            self.centers = flat(width)  # faiss keeps no reference
            self.index = make(self.centers, width, int(own["n_lists"]))
            self.index.nprobe = int(own["n_probes"])
            self.index.train(gallery)
        self.index.add(gallery)

    def search(self, query, k):
        """Return distances and rows of candidates; the rows of missing ones are -1."""
        if self.ef_search is not None:
            self.index.hnsw.efSearch = int(max(self.ef_search, k))
        return self.index.search(query, k)


class ApproximateHammingSearch(HammingSearch):
    """Search of packed codes that may miss neighbors.

    Parameters
    ----------
    gallery : ndarray of shape (n_items, n_bytes) of dtype uint8

    faiss : module

    algorithm : {"hnsw", "ivf"}

    given : dict or None
        Parameters of the algorithm.
    """

    def __init__(self, gallery, faiss, algorithm, given):
        super().__init__(gallery)
        self.index = _FaissIndex(gallery, faiss, algorithm, given)

    def _nearest_keys(self, query, k):
        distances, rows = self.index.search(query, min(2 * k + 32, self.n_items))
        keys = distances * np.int64(self.n_items) + rows
        keys[rows < 0] = np.iinfo(np.int64).max
        keys = np.sort(keys, axis=1)[:, :k]
        few = np.flatnonzero(keys[:, -1] == np.iinfo(np.int64).max)
        if len(few):
            keys[few] = super()._nearest_keys(query[few], k)
        return keys


class ApproximateRealIndex(MatrixIndex):
    """Squared Euclidean distances to items, some of which may be missing.

    Parameters
    ----------
    X : float32 ndarray of shape (n_items, n_features)

    faiss : module

    algorithm : {"hnsw", "ivf"}

    given : dict or None
        Parameters of the algorithm.
    """

    is_exact = False

    def __init__(self, X, faiss, algorithm, given):
        super().__init__(X)
        self.index = _FaissIndex(X, faiss, algorithm, given)

    def search(self, query, k):
        """Return distances and rows of `k` items, most of them the nearest ones."""
        distances, rows = self.index.search(query, k)
        few = np.flatnonzero((rows < 0).any(axis=1))
        if len(few):
            distances[few], rows[few] = super().search(query[few], k)
        return distances, rows
