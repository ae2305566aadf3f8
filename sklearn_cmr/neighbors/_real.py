"""Exact search of real-valued rows by the cosine or the Euclidean distance."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from sklearn.utils import gen_batches

# float64 values processed at once where rows are prepared or compared.
_NUMBERS = 2**18

# Candidates of all queries processed at once.
_CANDIDATES = 2**21

# The squares of larger values overflow in float32.
_LARGEST = 1e15


def _power_of_two(values):
    """Return powers of two that scale values to between 0.5 and 1."""
    exponents = np.clip(np.frexp(values)[1], -1022, 1022)
    return np.ldexp(1.0, -exponents)


def _scale_rows(X):
    """Convert rows to float64, scaled such that their squares are finite."""
    X = X.astype(np.float64)
    factors = _power_of_two(np.abs(X).max(axis=1))
    X *= factors[:, None]
    return X, factors


def _dot(X, Y):
    # Unlike einsum, the order of summation is the same for one row and many.
    return (X * Y).sum(axis=1)


def _cosine_distances(X, Y):
    """Return 1 - cos for pairs of rows, 1 with a row of zeros."""
    X, Y = _scale_rows(X)[0], _scale_rows(Y)[0]
    # Products before the division: those of codes are exact, so that ties remain ties.
    length = np.sqrt(_dot(X, X) * _dot(Y, Y))
    cosine = np.divide(_dot(X, Y), length, out=np.zeros(len(X)), where=length > 0)
    return 1 - np.clip(cosine, -1, 1)


def _euclidean_distances(X, Y):
    # Differences first: |x|^2 + |y|^2 - 2 <x, y> would cancel.
    difference, factors = _scale_rows(X.astype(np.float64) - Y)
    return np.sqrt(_dot(difference, difference)) / factors


class _SklearnIndex:
    """Squared Euclidean distances by scikit-learn's brute force."""

    def __init__(self, X):
        # Imported here because it is slow to import.
        from sklearn.neighbors import NearestNeighbors

        self.index = NearestNeighbors(algorithm="brute", metric="sqeuclidean").fit(X)

    def search(self, query, k):
        return self.index.kneighbors(query, k)

    def ball(self, query, radius):
        rows = self.index.radius_neighbors(query, radius, return_distance=False)
        return list(map(len, rows)), np.concatenate(rows)


class _FaissIndex:
    """Squared Euclidean distances by faiss."""

    def __init__(self, X, faiss):
        self.index = faiss.IndexFlatL2(X.shape[1])
        self.index.add(X)

    def search(self, query, k):
        return self.index.search(query, k)

    def ball(self, query, radius):
        ends, _, rows = self.index.range_search(query, radius)
        return np.diff(ends.astype(np.int64)), rows


class RealSearch:
    """Search of real-valued rows by a library, without the effects of its rounding.

    The library compares all rows in float32 by matrix products and returns more
    candidates than needed. Their distances are then computed in float64, pair by pair,
    so that they depend on the pair only. More candidates are fetched until no nearer
    row can be missing because of rounding.

    Parameters
    ----------
    gallery : ndarray of shape (n_items, n_features)

    metric : {"cosine", "euclidean"}

    faiss : module or None
        None for scikit-learn.
    """

    def __init__(self, gallery, metric, faiss=None):
        self.gallery = gallery
        self.cosine = metric == "cosine"
        self.scale = 1.0
        if not self.cosine:
            largest = max(abs(float(gallery.max())), abs(float(gallery.min())))
            self.scale = _power_of_two(largest)
        # Rounding errors grow with the distance from the origin: center the rows.
        some = gallery[:: max(1, len(gallery) // 2**12)]
        self.center = self._normalize(some).mean(axis=0)
        X = np.empty(gallery.shape, dtype=np.float32)
        for rows in gen_batches(len(X), max(1, _NUMBERS // X.shape[1])):
            X[rows] = self._normalize(gallery[rows]) - self.center
        self.index = _SklearnIndex(X) if faiss is None else _FaissIndex(X, faiss)

    def search(self, query, k):
        """Return the distances and the rows of the nearest `k` items, in order."""
        distances = np.empty((len(query), k))
        rows = np.empty((len(query), k), dtype=np.intp)
        n_found = 2 * k + 16
        unsure = np.arange(len(query))
        while len(unsure):
            n_found = min(n_found, len(self.gallery))
            width = max(1, _CANDIDATES // max(n_found, query.shape[1]))
            left = []
            for batch in gen_batches(len(unsure), width):
                at = unsure[batch]
                distances[at], rows[at], sure = self._nearest(query[at], k, n_found)
                left.append(at[~sure])
            unsure = np.concatenate(left)
            n_found *= 8
        return distances, rows

    def ball(self, query, radius):
        """Return queries, distances and rows of the pairs within a radius, unsorted."""
        prepared, length = self._prepare(query)
        reach = self._reach(length, radius).max()
        counts, rows = self.index.ball(prepared, min(reach, np.finfo(np.float32).max))
        owners = np.repeat(np.arange(len(query)), counts)
        distances = self._distances(query, owners, rows)
        near = distances <= radius
        return owners[near], distances[near], rows[near]

    def _nearest(self, query, k, n_found):
        """Return distances, rows, and whether these are certainly the nearest ones."""
        if n_found == len(self.gallery):
            rows = np.tile(np.arange(n_found), (len(query), 1))
        else:
            prepared, length = self._prepare(query)
            approximate, rows = self.index.search(prepared, n_found)
        owners = np.repeat(np.arange(len(query)), n_found)
        distances = self._distances(query, owners, rows.ravel()).reshape(rows.shape)
        order = np.lexsort((rows, distances))[:, :k]
        distances = np.take_along_axis(distances, order, axis=1)
        rows = np.take_along_axis(rows, order, axis=1)
        if n_found == len(self.gallery):
            return distances, rows, np.ones(len(query), dtype=bool)
        sure = approximate[:, -1] > self._reach(length, distances[:, -1])
        return distances, rows, sure

    def _normalize(self, X):
        """Map rows such that squared Euclidean distances give the order."""
        if not self.cosine:
            return X * np.float64(self.scale)
        X = _scale_rows(X)[0]
        length = np.sqrt(_dot(X, X))[:, None]
        return np.divide(X, length, out=X, where=length > 0)

    def _prepare(self, query):
        """Return queries in the form of the index, and their lengths."""
        with np.errstate(over="ignore"):  # a huge query is far from all items
            X = self._normalize(query) - self.center
            length = np.sqrt(_dot(X, X))
        return np.clip(X, -_LARGEST, _LARGEST).astype(np.float32), length

    def _reach(self, length, distances):
        """Return upper bounds of the squared distances that the index computes.

        In float32, the error of the squared distance of a and b is at most
        c (|a| + |b|)^2, where c grows with the number of features. At the distance r,
        |b| is at most |a| + r. By the cosine, the index finds zero rows nearer than
        they are, never farther.
        """
        n_features = self.gallery.shape[1]
        single = np.finfo(np.float32)
        c = (n_features + 8) * single.eps
        if self.cosine:
            # 1 - cos cancels, so that its rounding error matters for similar vectors.
            r = np.sqrt(2 * (distances + (n_features + 8) * np.finfo(np.float64).eps))
        else:
            r = distances * self.scale
        return r**2 + c * (2 * length + r) ** 2 + n_features * single.tiny

    def _distances(self, query, owners, rows):
        compare = _cosine_distances if self.cosine else _euclidean_distances
        distances = np.empty(len(rows))
        width = max(1, _NUMBERS // query.shape[1])
        for start in range(0, len(rows), width):  # rows may be empty
            pairs = slice(start, start + width)
            distances[pairs] = compare(query[owners[pairs]], self.gallery[rows[pairs]])
        return distances
