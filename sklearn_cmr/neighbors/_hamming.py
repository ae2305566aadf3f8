"""Exact search by the Hamming distance."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from sklearn.utils import gen_batches

from sklearn_cmr.codes import as_words, count_differing
from sklearn_cmr.neighbors._blocks import map_blocks

# Queries and items compared at once, so that intermediate results stay in the cache.
_QUERIES = 32
_ITEMS = 2**12

# Few queries are compared with more items, so that the calls of numpy cost little.
_PAIRS = 2**16


class HammingSearch:
    """Search of packed codes by popcount.

    An item is represented by one integer, its key: its distance times the number of
    items, plus its row. The keys sort in the order of the result.

    Parameters
    ----------
    gallery : ndarray of shape (n_items, n_bytes) of dtype uint8

    copy : bool, default=True
        Whether a copy in the form that is searched may be kept. Otherwise, each search
        makes it anew, a part of the gallery at a time.
    """

    def __init__(self, gallery, *, copy=True):
        self.n_items = len(gallery)
        self.n_bits = 8 * gallery.shape[1]
        self.gallery = gallery
        self.words = as_words(gallery) if copy else None

    def search(self, query, k):
        """Return the distances and the rows of the nearest `k` items, in order."""
        distances, rows = np.divmod(self._nearest_keys(query, k), self.n_items)
        return distances.astype(np.int32), rows

    def ball(self, query, radius):
        """Return queries, distances and rows of the pairs within a radius, unsorted."""
        radius = int(min(radius, self.n_bits))
        words = as_words(query)

        def search(block):
            return self._find_within(words[:, block], radius, block.start)

        found = map_blocks(search, len(query), self.n_items, _QUERIES)
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))

    def _words(self, items):
        if self.words is None:
            return as_words(self.gallery[items])
        return self.words[:, items]

    def _nearest_keys(self, query, k):
        return self._scan(as_words(query), k)

    def _scan(self, query, k, limits=None, stops=None):
        """Return the keys of the nearest `k` items.

        Parameters
        ----------
        query : ndarray of shape (n_words, n_queries)

        k : int

        limits : ndarray of shape (n_queries,) or None
            Only items nearer than this are searched.

        stops : ndarray of shape (n_queries,) or None
            Only items before this row are searched.

        Returns
        -------
        keys : ndarray of shape (n_queries, k)
            Sorted. Keys that stand for missing items are larger than all others.
        """
        n_queries = query.shape[1]
        if limits is None:
            limits = np.full(n_queries, self.n_bits + 1)
            stops = np.full(n_queries, self.n_items)

        def search(block):
            return self._find_nearest(
                query[:, block], k, limits[block], stops[block].max()
            )

        width = max(1, _QUERIES * _ITEMS // self._n_at_once(_QUERIES, k))
        return np.concatenate(map_blocks(search, n_queries, self.n_items, width))

    @staticmethod
    def _n_at_once(n_queries, k=1):
        # Several times as many as are returned, or merging would dominate the cost.
        return max(_ITEMS, _PAIRS // n_queries, 4 * k)

    def _find_nearest(self, query, k, limits, stop):
        # Every query has its own range of keys, so that one sort serves all queries.
        span = (self.n_bits + 2) * self.n_items
        start = np.arange(query.shape[1])[:, None] * span
        best = np.repeat(
            start + span - 1, k, axis=1
        )  # placeholder of items not yet found
        waiting, n_waiting = [best.ravel()], 0
        dtype = np.min_scalar_type(self.n_bits + 1)
        limits = limits[:, None].astype(dtype)
        for items in gen_batches(int(stop), self._n_at_once(len(start), k)):
            distances = count_differing(query, self._words(items), self.n_bits)
            near = (distances < limits).ravel().nonzero()[0]
            if len(near) > 4 * best.size and k < distances.shape[1]:
                # Enough candidates to lower the limits. Partitioning 16-bit integers is
                # many times faster than partitioning 8-bit ones.
                wide = distances.astype(np.promote_types(dtype, np.uint16))
                kth = np.partition(wide, k - 1, axis=1)[:, k - 1 : k]
                limits = np.minimum(limits, kth + 1).astype(dtype)
                near = (distances < limits).ravel().nonzero()[0]
            owner, column = np.divmod(near, distances.shape[1])
            keys = distances.ravel()[near] * np.int64(self.n_items)
            waiting.append(keys + start[owner, 0] + (column + items.start))
            n_waiting += len(near)
            if n_waiting > best.size:
                best = self._merge(waiting, start, k)
                waiting, n_waiting = [best.ravel()], 0
                # Later rows must be strictly nearer.
                limits = ((best[:, -1:] - start) // self.n_items).astype(dtype)
        return self._merge(waiting, start, k) - start

    @staticmethod
    def _merge(waiting, start, k):
        keys = np.sort(np.concatenate(waiting))
        return keys[np.searchsorted(keys, start) + np.arange(k)]

    def _find_within(self, query, radius, first_query):
        owners, distances, rows = [], [], []
        for items in gen_batches(self.n_items, self._n_at_once(query.shape[1])):
            block = count_differing(query, self._words(items), self.n_bits)
            near = np.flatnonzero(block <= radius)
            owner, column = np.divmod(near, block.shape[1])
            owners.append(owner + first_query)
            distances.append(block.ravel()[near].astype(np.int32))
            rows.append(column + items.start)
        return np.concatenate(owners), np.concatenate(distances), np.concatenate(rows)


class FaissHammingSearch(HammingSearch):
    """Search of packed codes by faiss, with the same result as the popcount.

    Parameters
    ----------
    gallery : ndarray of shape (n_items, n_bytes) of dtype uint8

    faiss : module
    """

    def __init__(self, gallery, faiss):
        super().__init__(gallery)
        self.index = faiss.IndexBinaryFlat(self.n_bits)
        self.index.add(gallery)

    def ball(self, query, radius):
        """Return queries, distances and rows of the pairs within a radius, unsorted."""
        radius = int(min(radius, self.n_bits))
        ends, distances, rows = self.index.range_search(query, radius + 1)
        counts = np.diff(ends.astype(np.int64))
        owners = np.repeat(np.arange(len(query)), counts)
        return owners, distances.astype(np.int32), rows  # floats, from faiss

    def _nearest_keys(self, query, k):
        # Which of the items at the last distance faiss returns is undocumented. All are
        # among the results if it returned farther ones too. Otherwise, omitted items
        # matter only if their rows come before the last one returned.
        n_found = min(2 * k + 32, self.n_items)
        distances, rows = self.index.search(query, n_found)
        keys = np.sort(distances * np.int64(self.n_items) + rows, axis=1)
        last, row = np.divmod(keys[:, k - 1], self.n_items)
        unsure = np.flatnonzero(keys[:, -1] // self.n_items == last)
        keys = keys[:, :k]
        if n_found == self.n_items or len(unsure) == 0:
            return keys
        # Queries with a similar number of rows to search share a block.
        unsure = unsure[np.argsort(row[unsure])]
        words = as_words(query[unsure])
        found = self._scan(words, k, last[unsure] + 1, row[unsure] + 1)
        both = np.sort(np.hstack([keys[unsure], found]), axis=1)
        both[:, 1:][both[:, 1:] == both[:, :-1]] = np.iinfo(np.int64).max
        keys[unsure] = np.sort(both, axis=1)[:, :k]
        return keys
