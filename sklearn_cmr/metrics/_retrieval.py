"""Queries ranked against a gallery, in bounded memory."""

# SPDX-License-Identifier: BSD-3-Clause

import sys

import numpy as np
from sklearn.utils import check_random_state, gen_batches

from sklearn_cmr.metrics._relevance import make_relevance
from sklearn_cmr.metrics._similarity import BLOCK_ROWS, SIMILARITIES, check_embeddings

# Pairs handled at once unless chunk_size is given. Counting is fastest while a chunk
# stays in the processor's cache; matrix products and sorting want longer chunks.
_COUNTED_PAIRS = 2**17
_SORTED_PAIRS = 2**19


def _sort(distances, relevant, k=None):
    """Order every row by distance, equal ones in the order of the columns.

    Returns the distances in a form that is fit for comparison only, and the relevance,
    both in the new order and cut to the first `k` columns. Overwrites `distances`.
    """
    # Equal as numbers, -0.0 and 0.0 have different bits; this leaves 0.0 only.
    distances += 0
    if distances.dtype == np.float32:
        # One integer holds all: the distance above, the column and the relevance below.
        # Sorting integers is many times faster than finding and applying an order.
        bits = distances.view(np.int32)
        # The order of the bits is that of the numbers, reversed for negative ones.
        mask = bits >> 31
        mask &= 0x7FFFFFFF
        mask ^= bits
        keys = mask.astype(np.int64)
        keys <<= 32
        keys |= np.arange(keys.shape[1]) << 1
        keys |= relevant.view(np.int8)
        if k is not None and k < keys.shape[1]:
            keys = np.partition(keys, k - 1, axis=1)[:, :k].copy()
        keys.sort(axis=1)
        upper = 1 if sys.byteorder == "little" else 0
        return keys.view(np.int32)[:, upper::2], (keys.astype(np.uint8) & 1).view(bool)

    order = np.argsort(distances, axis=1)
    ranked = np.take_along_axis(distances, order, axis=1)
    # The fast sort is not stable: repeat the rows where that matters.
    tied = (ranked[:, 1:] == ranked[:, :-1]).any(axis=1)
    order[tied] = np.argsort(distances[tied], axis=1, kind="stable")
    return ranked[:, :k], np.take_along_axis(relevant, order[:, :k], axis=1)


def _count_sorted(distances, relevant):
    """Count items and relevant items at every distinct distance of a row.

    A level is stored at the rank of its first item; the other columns are empty.
    """
    ranked, relevant = _sort(distances, relevant)
    first = np.ones(ranked.shape, dtype=bool)
    first[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    start = np.flatnonzero(first)
    size = np.zeros(ranked.shape, dtype=np.int64)
    size.flat[start] = np.diff(start, append=ranked.size)
    hits = np.zeros(ranked.shape, dtype=np.int64)
    hits.flat[start] = np.add.reduceat(relevant.ravel(), start, dtype=np.int64)
    return size, hits


def _count(distances, relevant, n_levels):
    """Count items and relevant items at the distances 0, ..., n_levels - 1."""
    n_rows = len(distances)
    # The bins of a row: all distances of other items, then all of relevant ones.
    n_bins = 2 * n_levels
    bins = np.multiply(relevant, n_levels, dtype=np.min_scalar_type(n_bins))
    bins += distances
    dtype = np.min_scalar_type(n_rows * n_bins)
    bins = bins + np.arange(0, n_rows * n_bins, n_bins, dtype=dtype)[:, None]
    counts = np.bincount(bins.ravel(), minlength=n_rows * n_bins)
    counts = counts.reshape(n_rows, 2, n_levels)
    return counts.sum(axis=1), counts[:, 1]


class Retrieval:
    """Queries ranked against a gallery, a chunk of queries at a time.

    All metrics are built on :meth:`chunks`. It gives every query as a list of levels,
    best first: a level is a group of tied items whose order is left open. Where the
    order is fixed, every level is a single item.
    """

    def __init__(
        self, query, gallery, y_query, y_gallery, *, metric, ties, random_state=None
    ):
        query, gallery, metric = check_embeddings(query, gallery, metric)
        self.n_query, self.n_gallery = len(query), len(gallery)
        self.relevance = make_relevance(
            y_query, y_gallery, self.n_query, self.n_gallery
        )
        if ties == "auto":
            ties = "expected" if metric == "hamming" else "stable"
        self.similarity = SIMILARITIES[metric](query, gallery)
        self.ties = ties
        self.n_levels = getattr(self.similarity, "n_levels", None)
        self.order = None
        if ties == "random":
            self.order = check_random_state(random_state).permutation(self.n_gallery)

    def chunks(self, *, k=None, chunk_size=None):
        """Yield the levels of a chunk of queries.

        Parameters
        ----------
        k : int or None
            No more than the first `k` items are needed.

        chunk_size : int or None
            Number of queries in a chunk.

        Yields
        ------
        rows : slice
            The queries.

        size : ndarray of shape (n_rows, n_levels) or None
            Number of items in each level, 0 for a level without items. None if every
            level is one item.

        hits : ndarray of shape (n_rows, n_levels)
            Number of relevant items in each level.

        n_relevant : ndarray of shape (n_rows,)
            Number of relevant items in the whole gallery.
        """
        ordered = self.ties in ("stable", "random")
        counts = self.n_levels is not None and not ordered
        if chunk_size is None:
            if counts:
                chunk_size = max(1, _COUNTED_PAIRS // self.n_gallery)
            else:
                chunk_size = max(BLOCK_ROWS, _SORTED_PAIRS // self.n_gallery)
        for rows in gen_batches(self.n_query, int(chunk_size)):
            relevant = self.relevance.block(rows)
            distances = self.similarity.distances(rows)
            if counts:
                size, hits = _count(distances, relevant, self.n_levels)
                yield rows, size, hits, hits.sum(axis=1)
                continue
            n_relevant = relevant.sum(axis=1)
            if self.n_levels is not None:
                distances = distances.astype(np.float32)
            if self.order is not None:
                distances = distances.take(self.order, axis=1)
                relevant = relevant.take(self.order, axis=1)
            if ordered:
                yield rows, None, _sort(distances, relevant, k)[1], n_relevant
            else:
                yield rows, *_count_sorted(distances, relevant), n_relevant
