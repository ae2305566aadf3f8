"""Ranking of a gallery by queries, in bounded memory."""

# SPDX-License-Identifier: BSD-3-Clause

import sys
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from sklearn.utils import check_random_state, gen_batches, gen_even_slices

from sklearn_cmr._arrays import to_array
from sklearn_cmr.metrics._relevance import make_relevance
from sklearn_cmr.metrics._similarity import BLOCK_ROWS, SIMILARITIES, check_embeddings

# Pairs processed at once. Counting and sorting are fastest while a chunk stays in the
# processor's cache; matrix products want more queries.
_COUNTED_PAIRS = 2**16
_SORTED_PAIRS = 2**17
_PRODUCT_PAIRS = 2**22
# Approximate number of items counted at once; with more, the chunks are too short.
_COUNTED_ITEMS = 2**14
# Sums of larger exponential gains would overflow.
_MAX_EXPONENT = 960
# Counts that are evaluated at once.
_COUNTS = 2**16
# Ties that are put in order one by one; with more of them, wider keys are faster.
_TIES_PER_ROW = 4
_ITEMS_PER_TIE = 2**12


@dataclass
class TieGroups:
    """Ranked lists of some queries as tie groups.

    A tie group holds items at the same distance, all orders of which are equally
    likely. Where the order is fixed, a group is a single item. Only groups with a
    relevant item are stored, query by query, the nearest first.

    Attributes
    ----------
    rows : slice
        The queries.

    totals : ndarray of shape (n_rows, n_grades)
        Number of gallery items of every grade of relevance for each query.

    gains : ndarray of shape (n_grades,)
        Gain of an item of every grade.

    query : ndarray of shape (n_distances,)
        Row of the query that the group belongs to.

    start : ndarray of shape (n_distances,)
        Number of items before the group.

    found : ndarray of shape (n_distances,)
        Number of relevant items before the group.

    size, hits : ndarray of shape (n_distances,)
        Number of items in the group, and of relevant ones.

    gain : ndarray of shape (n_distances,)
        Sum of the gains in the group.

    is_single : bool
        Whether every group is a single item.

    n_groups, first : ndarray of shape (n_rows,)
        Number of groups of each query, and the index of the first one.
    """

    rows: slice
    totals: np.ndarray
    gains: np.ndarray
    query: np.ndarray
    start: np.ndarray
    size: np.ndarray
    hits: np.ndarray
    gain: np.ndarray
    is_single: bool = False

    def __post_init__(self):
        ends = np.searchsorted(self.query, np.arange(len(self.totals) + 1))
        self.first, self.n_groups = ends[:-1], np.diff(ends)
        if self.is_single:
            self.found = np.arange(len(self.query)) - self._first_of_query()
        else:
            self.found = self.sum_before(self.hits)

    @property
    def n_items(self):
        """Length of the gallery."""
        return int(self.totals[0].sum())

    @property
    def n_relevant(self):
        """Number of relevant items in the whole gallery, for each query."""
        return self.totals[:, 1:].sum(axis=1)

    def sum(self, values):
        """Sum one value of each group over the groups of every query."""
        sums = np.zeros(len(self.totals))
        has_groups = self.n_groups > 0
        # Many times as fast as bincount, which waits for every sum before the next.
        sums[has_groups] = np.add.reduceat(values, self.first[has_groups])
        return sums

    def sum_before(self, values):
        """Sum one value of each group over the groups before it, for every group."""
        first = self._first_of_query()
        if values.dtype.kind in "iu":
            # Exact, also where the sum runs on from query to query.
            before = np.cumsum(values) - values
            return before - before[first]
        # Large gains of one query must not swamp those of the next one.
        place = np.arange(len(values)) - first
        table = np.zeros((len(self.totals), np.max(place, initial=0) + 2))
        table[self.query, place + 1] = values
        return np.cumsum(table, axis=1)[self.query, place]

    def _first_of_query(self):
        """Return for every group the index of the first one of its query."""
        return np.repeat(self.first, self.n_groups)


@lru_cache(maxsize=1)
def _columns(n_columns, n_bits):
    """Return the numbers of columns, shifted by some bits."""
    return np.arange(n_columns) << n_bits


def _ordered_integers(distances):
    """Return integers in the order of numbers of float32, which it overwrites."""
    # Equal as numbers, -0.0 and 0.0 have different bits; this leaves 0.0 only.
    distances += 0
    bits = distances.view(np.int32)
    # The order of the bits is that of the numbers, reversed for negative ones.
    ordered = bits >> 31
    ordered &= 0x7FFFFFFF
    ordered ^= bits
    return ordered


def _sort_binary(distances, grades, *, tie_break):
    """Sort whole rows of binary grades by distance, in integers of 32 bits.

    Integers of 31 bits hold the distances of most rows, so that one bit is left for
    the grade. These keys are sorted in half the time of those of :func:`_sort`, but
    know no columns: ties of both grades are put in order afterwards, one by one.

    Returns the grades in the new order, or None where the distances do not fit or many
    of them are tied.
    """
    ordered = _ordered_integers(distances)
    lowest = int(ordered.min())
    if int(ordered.max()) - lowest >= 2**31:
        return None
    keys = ordered.view(np.uint32)
    keys -= np.uint32(lowest % 2**32)
    keys <<= 1
    keys |= grades
    ranked = np.sort(keys, axis=1)
    if tie_break == "column":
        n_rows, n_columns = keys.shape
        # Here, the keys go from grade 0 to grade 1 of one distance.
        ties = np.flatnonzero((ranked[:, 1:] ^ ranked[:, :-1]) == 1)
        if len(ties) > min(_TIES_PER_ROW * n_rows, keys.size // _ITEMS_PER_TIE):
            return None
        for row, place in np.column_stack(np.divmod(ties, n_columns - 1)):
            key = ranked[row, place]
            tied = keys[row][keys[row] | 1 == key | 1]  # in the order of the columns
            first = np.searchsorted(ranked[row], key)
            ranked[row, first : first + len(tied)] = tied
    return ranked.astype(np.uint8) & 1


def _sort(distances, grades, n_grades, *, tie_break, k=None):
    """Sort every row by distance.

    Equal distances are ordered by `tie_break`: by "column", by "grade", or in any
    order (None). Returns the distances in a form that is fit for comparison only, and
    the grades, both in the new order and cut to the first `k` columns. Overwrites
    `distances`.
    """
    n_columns = distances.shape[1]
    n_bits = (n_grades - 1).bit_length()
    if distances.dtype == np.float32 and n_columns << n_bits <= 2**32:
        # One integer holds all: the distance above, the column and the grade below.
        # Sorting integers is many times faster than finding and applying an order.
        keys = _ordered_integers(distances).astype(np.int64)
        keys <<= 32
        if tie_break == "column":
            keys |= _columns(n_columns, n_bits)
        keys |= grades
        if k is not None and k < n_columns:
            keys = np.partition(keys, k - 1, axis=1)[:, :k].copy()
        keys.sort(axis=1)
        upper = 1 if sys.byteorder == "little" else 0
        grades = keys.astype(np.min_scalar_type(n_grades)) & ((1 << n_bits) - 1)
        return keys.view(np.int32)[:, upper::2], grades

    order = np.argsort(distances, axis=1)
    ranked = np.take_along_axis(distances, order, axis=1)
    if tie_break is not None:
        # The fast sort is not stable: repeat the rows where that matters.
        tied = (ranked[:, 1:] == ranked[:, :-1]).any(axis=1)
        order[tied] = _stable_order(
            distances[tied], grades[tied] if tie_break == "grade" else None
        )
    return ranked[:, :k], np.take_along_axis(grades, order[:, :k], axis=1)


def _sort_by_count(distances, grades, n_distances):
    """Sort the grades of every row by integer distance, equal ones by column.

    The conversion of a sparse matrix from rows to columns is a counting sort in linear
    time. All rows go into one, each with distances of its own.
    """
    n_bins = len(distances) * n_distances
    dtype = np.int32 if max(n_bins, distances.size) < 2**31 else np.int64
    first = np.arange(0, n_bins, n_distances, dtype=dtype)[:, None]
    bins = np.add(distances, first, dtype=dtype).ravel()
    ends = np.array([0, bins.size], dtype=dtype)
    ranked = csr_array((grades.ravel(), bins, ends), shape=(1, n_bins)).tocsc()
    return ranked.data.reshape(grades.shape)


def _stable_order(distances, grades=None):
    """Order rows by distance, equal ones by grade or, without grades, by column."""
    if grades is None:
        return np.argsort(distances, axis=1, kind="stable")
    by_grade = np.argsort(grades, axis=1, kind="stable")
    distances = np.take_along_axis(distances, by_grade, axis=1)
    return np.take_along_axis(by_grade, _stable_order(distances), axis=1)


def _count(distances, grades, n_distances, n_grades):
    """Count the items of every grade at the distances 0, ..., n_distances - 1."""
    n_rows = len(distances)
    # The bins of a row: the distances of the items of grade 0, then of grade 1, ...
    n_bins = n_grades * n_distances
    bins = np.multiply(grades, n_distances, dtype=np.min_scalar_type(n_bins))
    bins += distances
    # bincount would copy any narrower integers.
    first = np.arange(0, n_rows * n_bins, n_bins)[:, None]
    bins = np.add(bins, first, dtype=np.intp)
    counts = np.bincount(bins.ravel(), minlength=n_rows * n_bins)
    return counts.reshape(n_rows, n_grades, n_distances)


def _split_positions(positions, shape):
    """Return row and column of sorted positions in a flat array."""
    n_rows, n_columns = shape
    begins = np.arange(n_rows + 1) * n_columns
    counts = np.diff(np.searchsorted(positions, begins))
    rows = np.repeat(np.arange(n_rows), counts)
    return rows, positions - np.repeat(begins[:-1], counts)


def _check_own(exclude_self, n_query, n_gallery):
    """Return the columns of the queries in the gallery, None if none is excluded."""
    is_flag = isinstance(exclude_self, bool | np.bool_)
    if is_flag and not exclude_self:
        return None
    if n_gallery == 1:
        raise ValueError(
            "The gallery holds one item, and nothing is left to retrieve without the "
            "query itself. Set exclude_self=False or pass more items."
        )
    if is_flag:
        if n_query != n_gallery:
            raise ValueError(
                f"exclude_self=True means that query i is item i, but there are "
                f"{n_query} queries and {n_gallery} items. Pass the positions of the "
                "queries in the gallery as exclude_self."
            )
        return np.arange(n_query)
    own = np.asarray(to_array(exclude_self, "exclude_self"))
    if own.shape != (n_query,) or own.dtype.kind not in "iu":
        raise ValueError(
            "exclude_self must be a boolean, or the position of each of the "
            f"{n_query} queries in the gallery; got an array of shape {own.shape} and "
            f"dtype {own.dtype}."
        )
    if own.min() < 0 or own.max() >= n_gallery:
        raise ValueError(
            f"exclude_self holds positions from {own.min()} to {own.max()}, but the "
            f"{n_gallery} items have the positions 0 to {n_gallery - 1}."
        )
    return own.astype(np.intp)


def _check_gains(levels, gain):
    """Return the gain of every grade; two grades stand for binary relevance."""
    if gain is None or len(levels) == 2:
        return np.arange(2.0)
    if gain == "linear":
        return levels
    if levels[-1] > _MAX_EXPONENT:
        raise ValueError(
            f"Relevance is graded up to {levels[-1]:g}, such as by the number of "
            f"shared labels, and gains of 2**{levels[-1]:g} are too large to be "
            "summed. Use gain='linear'."
        )
    return np.exp2(levels) - 1


class Retrieval:
    """Ranking of a gallery by queries, in chunks of queries.

    All metrics are built on :meth:`chunks`, or on :meth:`distance_counts`.

    Parameters
    ----------
    query, gallery, y_query, y_gallery, metric, relevance, exclude_self, ties, \
            random_state : see :func:`~sklearn_cmr.metrics.mean_average_precision`

    gain : {"linear", "exponential"} or None
        Gain of an item of grade g, the number of labels that it shares with the query:
        g or 2**g - 1. With None, relevance is binary.

    Attributes
    ----------
    n_query, n_gallery : int

    n_items : int
        Length of a ranked list: the gallery without the query itself where it is
        excluded.
    """

    def __init__(
        self,
        query,
        gallery,
        y_query,
        y_gallery,
        *,
        metric,
        ties,
        relevance="label",
        exclude_self=False,
        random_state=None,
        gain=None,
    ):
        query, gallery, metric = check_embeddings(query, gallery, metric)
        self.n_query = len(query)
        self.n_gallery = query.shape[1] if gallery is None else len(gallery)
        self.relevance: Any = make_relevance(
            y_query, y_gallery, self.n_query, self.n_gallery, relevance
        )
        self.own = _check_own(exclude_self, self.n_query, self.n_gallery)
        self.n_items = self.n_gallery - (self.own is not None)
        self.gains = _check_gains(self.relevance.levels, gain)
        self.n_grades = len(self.gains)
        self.may_sort_binary = self.n_grades == 2
        if ties == "auto":
            ties = "expected" if metric == "hamming" else "stable"
        self.similarity: Any = SIMILARITIES[metric](query, gallery)
        self.ties = ties
        self.n_distances = getattr(self.similarity, "n_distances", None)
        self.order = None
        if ties == "random":
            self.order = check_random_state(random_state).permutation(self.n_gallery)
            if self.own is not None:
                self.own_column = np.argsort(self.order)[self.own]

    def chunks(self, *, k=None, chunk_size=None):
        """Yield the :class:`TieGroups` of one chunk of queries after another.

        Parameters
        ----------
        k : int or None
            No more than the first `k` items are needed.

        chunk_size : int or None
            Number of queries in a chunk.
        """
        if self.n_distances is not None and self.ties not in ("stable", "random"):
            for rows, counts in self.distance_counts(chunk_size=chunk_size):
                yield self._counted_groups(rows, counts)
            return
        for block in self._batches(chunk_size, _PRODUCT_PAIRS, 2 * BLOCK_ROWS):
            distances = self.similarity.distances(block)
            for part in gen_batches(
                len(distances), max(1, _SORTED_PAIRS // self.n_gallery)
            ):
                rows = slice(block.start + part.start, block.start + part.stop)
                yield self._sorted_groups(rows, distances[part], k)

    def ranked_items(self, *, k=None, chunk_size=None):
        """Yield the queries of a chunk, their first `k` items, and the grades of all.

        Tied items stand in the order of the gallery. The grades are of shape
        (n_rows, n_gallery), and 0 for a query itself where it is excluded.
        """
        for rows in self._batches(chunk_size, _PRODUCT_PAIRS, 1):
            order = np.argsort(self.similarity.distances(rows), axis=1, kind="stable")
            grades = self._grades(rows)
            if self.own is not None:
                own = self.own[rows, None]
                order = order[order != own].reshape(-1, self.n_items)
                grades = np.where(np.arange(self.n_gallery) == own, 0, grades)
            yield rows, order[:, :k], grades

    def distance_counts(self, *, chunk_size=None):
        """Yield the queries of a chunk, and how many items are at each distance.

        The counts are of shape (n_rows, n_grades, n_distances). For integer distances
        only.
        """
        batch, begin, n_counts = [], 0, 0
        n_blocks = max(1, round(self.n_gallery / _COUNTED_ITEMS))
        blocks = list(gen_even_slices(self.n_gallery, n_blocks))
        for rows in self._batches(chunk_size, n_blocks * _COUNTED_PAIRS, 1):
            counts = (self._count_block(rows, items) for items in blocks)
            batch.append(reduce(np.add, counts))
            # What follows is done for many queries at once.
            n_counts += batch[-1].size
            if n_counts >= _COUNTS or rows.stop == self.n_query:
                yield slice(begin, rows.stop), np.concatenate(batch)
                batch, begin, n_counts = [], rows.stop, 0

    def _count_block(self, rows, items):
        """Count some items at each distance from some queries."""
        distances = self.similarity.distances(rows, items)
        grades = self._grades(rows, items)
        counts = _count(distances, grades, self.n_distances, self.n_grades)
        if self.own is not None:
            own = self.own[rows] - items.start
            row = np.flatnonzero((own >= 0) & (own < items.stop - items.start))
            own = own[row]
            counts[row, grades[row, own], distances[row, own]] -= 1
        return counts

    def _batches(self, chunk_size, n_pairs, least):
        if chunk_size is None:
            # A multiple of the block size, as incomplete blocks would be padded.
            chunk_size = max(least, n_pairs // self.n_gallery // least * least)
        return gen_batches(self.n_query, int(chunk_size))

    def _grades(self, rows, items=slice(None)):
        if self.n_grades > 2:
            return self.relevance.grades(rows, items)
        return self.relevance.relevant(rows, items)

    def _count_grades(self, rows, grades):
        """Count the items of every grade in the whole gallery."""
        if self.n_grades > 2:
            return _count(np.zeros_like(grades), grades, 1, self.n_grades)[:, :, 0]
        n_relevant = self.relevance.n_relevant(rows, grades)
        return np.column_stack([self.n_gallery - n_relevant, n_relevant])

    def _sorted_groups(self, rows, distances, k):
        """Return the items, or those at one distance, by sorting."""
        grades = self._grades(rows)
        totals = self._count_grades(rows, grades)
        if self.own is not None:
            row = np.arange(len(grades))
            totals[row, grades[row, self.own[rows]]] -= 1
        if self.order is not None:
            distances = distances.take(self.order, axis=1)
            grades = grades.take(self.order, axis=1)
        if self.own is not None:
            column = self.own if self.order is None else self.own_column
            kept = np.arange(self.n_gallery) != column[rows, None]
            distances, grades = (
                each[kept].reshape(-1, self.n_items) for each in (distances, grades)
            )
        if self.n_distances is not None:
            # The other orders of integer distances never come here.
            grades = _sort_by_count(distances, grades, self.n_distances)[:, :k]
            return self._single_groups(rows, totals, grades)
        if self.ties == "expected":
            return self._tied_groups(rows, totals, distances, grades)
        return self._ranked_groups(rows, totals, distances, grades, k)

    def _ranked_groups(self, rows, totals, distances, grades, k):
        """Return the items of lists in a fixed order."""
        last = self.n_grades - 1
        if self.ties == "optimistic":
            grades = last - grades
        tie_break = "column" if self.ties in ("stable", "random") else "grade"
        ranked = None
        if self.may_sort_binary and (k is None or k >= self.n_items):
            if distances.dtype == np.float32:
                ranked = _sort_binary(distances, grades, tie_break=tie_break)
            # What does not suit some queries will not suit the others.
            self.may_sort_binary = ranked is not None
        if ranked is None:
            options = {"tie_break": tie_break, "k": k}
            _, ranked = _sort(distances, grades, self.n_grades, **options)
        grades = ranked
        if self.ties == "optimistic":
            grades = last - grades
        return self._single_groups(rows, totals, grades)

    def _find_relevant(self, grades):
        """Return the positions of the relevant items in the flat array."""
        # Searching an array of booleans is several times faster.
        relevant = grades if self.n_grades > 2 else grades.view(bool)
        return np.flatnonzero(relevant)

    def _tied_groups(self, rows, totals, distances, grades):
        """Return groups of items at one distance, by sorting."""
        ranked, grades = _sort(distances, grades, self.n_grades, tie_break=None)
        # Items that are tied with the one before them; hardly any for real values.
        tied = np.zeros(ranked.shape, dtype=bool)
        tied[:, 1:] = ranked[:, 1:] == ranked[:, :-1]
        tied = np.flatnonzero(tied)
        if len(tied) == 0:
            return self._single_groups(rows, totals, grades)
        # The first and the last item of every group of more than one.
        breaks = np.flatnonzero(np.diff(tied) > 1)
        first = tied[np.append(0, breaks + 1)] - 1
        last = tied[np.append(breaks, -1)]
        # The first item and the size of the group of every relevant item.
        relevant = self._find_relevant(grades)
        group = np.maximum(np.searchsorted(first, relevant, side="right") - 1, 0)
        is_tied = (first[group] <= relevant) & (relevant <= last[group])
        begin = np.where(is_tied, first[group], relevant)
        size = np.where(is_tied, last[group] - first[group] + 1, 1)

        once = np.flatnonzero(np.diff(begin, prepend=-1))
        hits = np.diff(once, append=len(begin))
        gain = hits
        if self.n_grades > 2:
            gain = np.add.reduceat(self.gains[grades.flat[relevant]], once)
        query, start = _split_positions(begin[once], grades.shape)
        size = size[once]
        return TieGroups(rows, totals, self.gains, query, start, size, hits, gain)

    def _single_groups(self, rows, totals, grades):
        """Return every item of lists in a fixed order, as a group of its own."""
        relevant = self._find_relevant(grades)
        query, start = _split_positions(relevant, grades.shape)
        ones = np.broadcast_to(1, relevant.shape)
        gain = self.gains[grades.flat[relevant]] if self.n_grades > 2 else ones
        values = query, start, ones, ones, gain
        return TieGroups(rows, totals, self.gains, *values, is_single=True)

    def _counted_groups(self, rows, counts):
        """Return groups of items at one distance, by counts for every grade."""
        totals = counts.sum(axis=2)
        if self.ties == "expected":
            size = counts.sum(axis=1)
            hits = counts[:, 1:].sum(axis=1)
            gain = hits
            if self.n_grades > 2:
                gain = np.einsum("g,rgd->rd", self.gains, counts)
        else:
            # Ordered by grade, a group falls into one for each grade.
            step = -1 if self.ties == "optimistic" else 1
            by_grade = counts[:, ::step].transpose(0, 2, 1)
            size = by_grade.reshape(len(counts), -1)
            hits = np.where(np.arange(self.n_grades)[::step] > 0, by_grade, 0)
            hits = hits.reshape(size.shape)
            gain = (by_grade * self.gains[::step]).reshape(size.shape)
        kept = np.flatnonzero(hits)
        query, _ = _split_positions(kept, hits.shape)
        start = np.cumsum(size, axis=1) - size
        values = (each.ravel()[kept] for each in (start, size, hits, gain))
        return TieGroups(rows, totals, self.gains, query, *values)
