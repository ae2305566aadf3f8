"""Exact search of real-valued rows by the cosine or the Euclidean distance."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from sklearn.utils import gen_batches

from sklearn_cmr.neighbors._blocks import map_blocks

# float64 values processed at once where rows are prepared or compared.
_NUMBERS = 2**18

# Candidates of all queries processed at once.
_CANDIDATES = 2**21

# Queries, and pairs of a query and an item, compared at once by matrix products, so
# that these stay in the cache. Few queries are compared with more items.
_QUERIES = 128
_PAIRS = 2**18

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


class MatrixIndex:
    """Squared Euclidean distances by matrix products in float32.

    It is several times as fast as scikit-learn's brute force, which computes the
    products in float64.

    Parameters
    ----------
    X : float32 ndarray of shape (n_items, n_features)
    """

    # Whether a search finds all items that are nearer than the last one it returns.
    is_exact = True

    def __init__(self, X):
        self.X = X
        self.squares = np.einsum("ij,ij->i", X, X)

    def search(self, query, k):
        """Return distances and rows of `k` items no other item is nearer than."""

        def search(block):
            return self._find_nearest(query[block], k)

        width = max(1, _PAIRS // max(_PAIRS // _QUERIES, 4 * k))
        found = map_blocks(search, len(query), len(self.X), width)
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))

    def ball(self, query, radius):
        """Return how many items lie within the radius of each query, and their rows."""
        radius = radius.astype(np.float32)

        def search(block):
            return self._find_within(query[block], radius[block])

        found = map_blocks(search, len(query), len(self.X), _QUERIES)
        counts, rows = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return counts, rows

    def _scan(self, query, n_items):
        """Yield items, and their distances less the square of the query's length."""
        factor = -2 * query
        for items in gen_batches(len(self.X), n_items):
            distances = factor @ self.X[items].T
            distances += self.squares[items]
            yield items, distances

    def _find_nearest(self, query, k):
        n_queries = len(query)
        owners = rows = np.empty(0, dtype=np.intp)
        distances = np.empty(0, dtype=np.float32)
        limits = np.full((n_queries, 1), np.inf, dtype=np.float32)
        # Several times as many as are returned, or merging would dominate the cost.
        n_at_once = max(_PAIRS // n_queries, 4 * k)
        for items, block in self._scan(query, n_at_once):
            near = (block < limits).ravel().nonzero()[0]
            if len(near) > 4 * n_queries * k and k < block.shape[1]:
                # Enough candidates to lower the limits.
                kth = np.partition(block, k - 1, axis=1)[:, k - 1 : k]
                kth = np.nextafter(kth, np.float32(np.inf))
                limits = np.minimum(limits, kth)
                near = (block < limits).ravel().nonzero()[0]
            owner, column = np.divmod(near, block.shape[1])
            owners = np.concatenate([owners, owner])
            distances = np.concatenate([distances, block.ravel()[near]])
            rows = np.concatenate([rows, column + items.start])
            if len(owners) > 2 * n_queries * k or items.stop == len(self.X):
                # The first block has `k` items of every query.
                order = np.lexsort((distances, owners))
                first = np.searchsorted(owners[order], np.arange(n_queries))
                kept = order[(first[:, None] + np.arange(k)).ravel()]
                owners, distances, rows = owners[kept], distances[kept], rows[kept]
                # Later items must be strictly nearer.
                limits = distances.reshape(n_queries, k)[:, -1:]
        shape = n_queries, k
        squares = np.einsum("ij,ij->i", query, query)[:, None]
        return distances.reshape(shape) + squares, rows.reshape(shape)

    def _find_within(self, query, radius):
        limits = (radius - np.einsum("ij,ij->i", query, query))[:, None]
        found = []
        for items, block in self._scan(query, max(1, _PAIRS // len(query))):
            near = (block <= limits).ravel().nonzero()[0]
            owner, column = np.divmod(near, block.shape[1])
            found.append((owner, column + items.start))
        owners, rows = map(np.concatenate, zip(*found, strict=True))
        counts = np.bincount(owners, minlength=len(query))
        return counts, rows[np.argsort(owners, kind="stable")]


class FaissIndex:
    """Squared Euclidean distances by faiss."""

    is_exact = True

    def __init__(self, X, faiss):
        self.index = faiss.IndexFlatL2(X.shape[1])
        self.index.add(X)

    def search(self, query, k):
        return self.index.search(query, k)

    def ball(self, query, radius):
        # One radius for all queries: some find more candidates than they need.
        ends, _, rows = self.index.range_search(query, float(radius.max()))
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

    make_index : callable, default=MatrixIndex
        Takes the rows in float32, and returns the index that finds the candidates.
    """

    def __init__(self, gallery, metric, make_index=MatrixIndex):
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
        self.index = make_index(X)

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
        reach = np.minimum(self._reach(length, radius), np.finfo(np.float32).max)
        counts, rows = self.index.ball(prepared, reach)
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
        if not self.index.is_exact:
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
