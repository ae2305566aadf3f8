"""Ranking metrics for cross-modal retrieval."""

# SPDX-License-Identifier: BSD-3-Clause

import sys
import warnings
from functools import lru_cache, partial, reduce
from numbers import Integral

import numpy as np
from scipy.sparse import issparse
from scipy.special import digamma, gammaln
from sklearn.exceptions import DataConversionWarning, UndefinedMetricWarning
from sklearn.utils import (
    assert_all_finite,
    check_array,
    check_random_state,
    gen_batches,
)
from sklearn.utils._param_validation import Interval, StrOptions, validate_params
from sklearn.utils.validation import _check_sample_weight

# Pairs handled at once unless chunk_size is given. Counting is fastest while a chunk
# stays in the processor's cache; matrix products and sorting want longer chunks.
_COUNTED_PAIRS = 2**17
_SORTED_PAIRS = 2**19

# BLAS kernels sum the rows left over from full blocks in another order. With whole
# blocks only, equal items get equal scores, whatever the chunk and their position.
_BLOCK_ROWS = 32

_TIES = {"auto", "expected", "stable", "optimistic", "pessimistic", "random"}

# Constraints of the parameters that all forms of the mean average precision share.
_OPTIONS: dict[str, list] = {
    "metric": [StrOptions({"auto", "cosine", "euclidean", "hamming"})],
    "k": [Interval(Integral, 1, None, closed="left"), None],
    "normalizer": [StrOptions({"retrieved", "min", "all"})],
    "ties": [StrOptions(_TIES)],
    "zero_relevant": [StrOptions({"zero", "skip", "nan"})],
    "chunk_size": [Interval(Integral, 1, None, closed="left"), None],
    "random_state": ["random_state"],
}


# Similarity -------------------------------------------------------------------


def _score_dtype(query, gallery) -> np.dtype:
    """Precision in which scores are compared."""
    single = np.result_type(query, gallery, np.float32) == np.float32
    return np.dtype(np.float32 if single else np.float64)


def _pad_rows(X, dtype):
    """Copy X with zero rows below, up to a whole number of blocks."""
    padded = np.zeros((-(-len(X) // _BLOCK_ROWS) * _BLOCK_ROWS, X.shape[1]), dtype)
    padded[: len(X)] = X
    return padded


def _as_words(packed):
    """View rows of packed bits as a few wide integers, one contiguous array each."""
    n_bytes = packed.shape[1]
    width = next((width for width in (1, 2, 4) if n_bytes <= width), 8)
    padded = np.zeros((len(packed), -(-n_bytes // width) * width), dtype=np.uint8)
    padded[:, :n_bytes] = packed
    return np.ascontiguousarray(padded.view(f"u{width}").T)


class _Cosine:
    """Negative cosine similarity, 0 with a zero vector.

    The products are taken before dividing by the length of the gallery item, and the
    length of the query, which does not change its ranking, is left out: the values of
    -1/+1 codes stay exact and tie where the Hamming distances tie.
    """

    def __init__(self, query, gallery):
        self.dtype = _score_dtype(query, gallery)
        self.query = query
        self.n_gallery = len(gallery)
        self.gallery = self._scale(gallery)
        length = np.sqrt(np.einsum("ij,ij->i", self.gallery, self.gallery))
        length = length[: self.n_gallery]
        self.weight = np.divide(-1, length, out=np.zeros_like(length), where=length > 0)

    def _scale(self, X):
        # Powers of two are exact, and the products of the scaled rows cannot overflow.
        largest = np.maximum(
            X.max(axis=1).astype(np.float64), -X.min(axis=1).astype(np.float64)
        )
        limit = np.finfo(self.dtype).maxexp - 2
        exponent = np.clip(-np.frexp(largest)[1], -limit, limit)
        scaled = _pad_rows(X, self.dtype)
        scaled[: len(X)] *= np.ldexp(self.dtype.type(1), exponent)[:, None]
        return scaled

    def distances(self, rows):
        n_rows = len(self.query[rows])
        products = self._scale(self.query[rows]) @ self.gallery.T
        products = products[:n_rows, : self.n_gallery]
        products *= self.weight
        return products


class _Euclidean:
    """Squared Euclidean distance.

    It is taken in float64 because |a|^2 + |b|^2 - 2 <a, b> cancels, and rounded to the
    precision of the input.
    """

    def __init__(self, query, gallery):
        self.dtype = _score_dtype(query, gallery)
        self.query = query
        self.n_gallery = len(gallery)
        self.gallery = _pad_rows(gallery, np.float64)
        self.squares = np.einsum("ij,ij->i", self.gallery, self.gallery)

    def distances(self, rows):
        n_rows = len(self.query[rows])
        query = _pad_rows(self.query[rows], np.float64)
        distances = query @ self.gallery.T
        distances *= -2
        distances += np.einsum("ij,ij->i", query, query)[:, None]
        distances += self.squares
        # Rounding may leave the distance of equal vectors a little below zero.
        np.maximum(distances, 0, out=distances)
        return distances[:n_rows, : self.n_gallery].astype(self.dtype)


class _Hamming:
    """Number of bits that differ, an integer."""

    def __init__(self, query, gallery):
        if (query.dtype == np.uint8) != (gallery.dtype == np.uint8):
            raise ValueError(
                f"query has dtype {query.dtype} and gallery has dtype {gallery.dtype}: "
                "uint8 means packed bits, any other dtype codes of -1 and +1. Give "
                "both in the same form."
            )
        packed = query.dtype == np.uint8
        self.n_gallery = len(gallery)
        self.n_levels = query.shape[1] * (8 if packed else 1) + 1
        if not packed:
            query = self._pack(query, "query")
            gallery = self._pack(gallery, "gallery")
        self.query = _as_words(query)
        self.gallery = _as_words(gallery)

    @staticmethod
    def _pack(codes, name):
        positive = codes == 1
        wrong = ~positive & (codes != -1)
        if wrong.any():
            raise ValueError(
                f"Codes must be -1 or +1, but {name} contains the value "
                f"{codes[wrong][0]!s}. Binarise real values with "
                "np.where(h >= 0, 1, -1), or choose metric='cosine' or 'euclidean'."
            )
        return np.packbits(positive, axis=1)

    def distances(self, rows):
        dtype = np.min_scalar_type(self.n_levels - 1)
        differing = (
            np.bitwise_count(query[rows, None] ^ gallery)
            for query, gallery in zip(self.query, self.gallery, strict=True)
        )
        return reduce(partial(np.add, dtype=dtype), differing)


_SIMILARITIES: dict[str, type[_Cosine] | type[_Euclidean] | type[_Hamming]] = {
    "cosine": _Cosine,
    "euclidean": _Euclidean,
    "hamming": _Hamming,
}


def _check_embeddings(query, gallery, metric):
    """Validate both sets and return the similarity that ranks them."""
    query = check_array(query, input_name="query")
    gallery = check_array(gallery, input_name="gallery")
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"query has {query.shape[1]} columns and gallery has {gallery.shape[1]}. "
            "Both must lie in one common space: pass the transformed data of the two "
            "modalities."
        )
    if metric == "auto":
        codes = {X.dtype in (np.int8, np.uint8) for X in (query, gallery)}
        if len(codes) == 2:
            raise ValueError(
                f"metric='auto' cannot decide: query has dtype {query.dtype} and "
                f"gallery has dtype {gallery.dtype}. Name the metric, or give both in "
                "the same form."
            )
        metric = "hamming" if codes.pop() else "cosine"
    return query, gallery, metric


# Relevance --------------------------------------------------------------------


class _SameClass:
    """Items of the same class are relevant."""

    def __init__(self, query, gallery):
        if query.dtype.kind != gallery.dtype.kind:
            # Joining numbers and strings would turn the numbers into strings.
            query, gallery = query.astype(object), gallery.astype(object)
        try:
            classes, codes = np.unique(
                np.concatenate([query, gallery]), return_inverse=True
            )
        except TypeError as error:
            raise ValueError(
                "The labels must be all numbers or all strings, but y_query and "
                "y_gallery mix them."
            ) from error
        codes = codes.astype(np.min_scalar_type(len(classes) - 1))
        self.query, self.gallery = codes[: len(query)], codes[len(query) :]

    def block(self, rows):
        return self.query[rows, None] == self.gallery


class _SharedLabel:
    """Items with at least one label in common are relevant."""

    def __init__(self, query, gallery):
        if query.shape[1] != gallery.shape[1]:
            raise ValueError(
                f"y_query has {query.shape[1]} label columns and y_gallery has "
                f"{gallery.shape[1]}. Binarise both with the same label set."
            )
        self.query = self._pack(query, "y_query")
        self.gallery = self._pack(gallery, "y_gallery")

    @staticmethod
    def _pack(labels, name):
        packed = []
        for rows in gen_batches(labels.shape[0], max(1, 2**24 // labels.shape[1])):
            dense = labels[rows].toarray() if issparse(labels) else labels[rows]
            if not np.isin(dense, (0, 1)).all():
                raise ValueError(
                    f"A 2-D {name} must be a label indicator of 0 and 1. Pass classes "
                    "as a 1-D array, or binarise sets of labels with "
                    "MultiLabelBinarizer."
                )
            packed.append(np.packbits(dense == 1, axis=1))
        return _as_words(np.concatenate(packed))

    def block(self, rows):
        shared = (
            (query[rows, None] & gallery) != 0
            for query, gallery in zip(self.query, self.gallery, strict=True)
        )
        return reduce(np.logical_or, shared)


def _check_one_labels(y, n_items, name, owner):
    if issparse(y):
        y = y.tocsr()
    else:
        y = np.asarray(y)
        if y.ndim == 2 and y.shape[1] == 1:
            warnings.warn(
                f"{name} is a column vector; it is read as a 1-D array of classes.",
                DataConversionWarning,
                stacklevel=6,
            )
            y = y[:, 0]
        assert_all_finite(y, input_name=name)
    if y.ndim not in (1, 2) or 0 in y.shape:
        raise ValueError(
            f"{name} must be a 1-D array of classes or a 2-D label indicator, not "
            f"empty; got the shape {y.shape}."
        )
    if y.shape[0] != n_items:
        raise ValueError(
            f"{owner} has {n_items} rows but {name} has {y.shape[0]}. Pass one label "
            "(row) for each item, in the same order."
        )
    return y


def _check_labels(y_query, y_gallery, n_query, n_gallery):
    """Validate the labels and return the relation that says what is relevant."""
    y_query = _check_one_labels(y_query, n_query, "y_query", "query")
    y_gallery = _check_one_labels(y_gallery, n_gallery, "y_gallery", "gallery")
    if y_query.ndim != y_gallery.ndim:
        raise ValueError(
            f"y_query is {y_query.ndim}-D and y_gallery is {y_gallery.ndim}-D. Pass "
            "classes (1-D) or label indicators (2-D) for both."
        )
    return (_SameClass if y_query.ndim == 1 else _SharedLabel)(y_query, y_gallery)


# Ranking ----------------------------------------------------------------------


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


class _Retrieval:
    """Queries ranked against a gallery, a chunk of queries at a time.

    All metrics are built on :meth:`chunks`. It gives every query as a list of levels,
    best first: a level is a group of tied items whose order is left open. Where the
    order is fixed, every level is a single item.
    """

    def __init__(
        self, query, gallery, y_query, y_gallery, *, metric, ties, random_state=None
    ):
        query, gallery, metric = _check_embeddings(query, gallery, metric)
        self.n_query, self.n_gallery = len(query), len(gallery)
        self.relevance = _check_labels(y_query, y_gallery, self.n_query, self.n_gallery)
        if ties == "auto":
            ties = "expected" if metric == "hamming" else "stable"
        self.similarity = _SIMILARITIES[metric](query, gallery)
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
                chunk_size = max(_BLOCK_ROWS, _SORTED_PAIRS // self.n_gallery)
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


# Average precision ------------------------------------------------------------


@lru_cache(maxsize=1)
def _harmonic_numbers(n):
    """Return 1 + 1/2 + ... + 1/m for m = 0, ..., n."""
    return digamma(np.arange(1, n + 2)) + np.euler_gamma


@lru_cache(maxsize=1)
def _log_factorials(n):
    """Return log(m!) for m = 0, ..., n."""
    return gammaln(np.arange(1, n + 2))


def _normalize(total, n_hits, n_relevant, k, normalizer):
    if normalizer == "retrieved":
        divisor = n_hits
    elif normalizer == "min":
        divisor = np.minimum(n_relevant, k)
    else:
        divisor = n_relevant
    # Without a hit the sum is zero, and so is the average.
    return total / np.maximum(divisor, 1)


def _ranked_precision(hits, n_relevant, *, k, normalizer):
    """Average precision at k of lists in a fixed order."""
    hits = hits[:, :k]
    n_rows, length = hits.shape
    n_hits = hits.sum(axis=1)
    start = np.cumsum(n_hits) - n_hits
    # Rank and number of hits at every relevant item, row after row.
    rank = np.flatnonzero(hits) + 1
    rank -= np.repeat(np.arange(n_rows) * length, n_hits)
    found = np.arange(1, len(rank) + 1)
    found -= np.repeat(start, n_hits)
    total = np.zeros(n_rows)
    some = n_hits > 0
    total[some] = np.add.reduceat(found / rank, start[some])
    return _normalize(total, n_hits, n_relevant, k, normalizer)


def _block_precision(size, hits, n_relevant, *, k, normalizer, ties):
    """Average precision at k with the relevant items first or last in every level."""
    start = np.cumsum(size, axis=1) - size
    found = np.cumsum(hits, axis=1) - hits
    if ties == "pessimistic":
        start += size - hits
    taken = np.clip(k - start, 0, hits)
    harmonic = _harmonic_numbers(int(size[0].sum()))
    # sum of (found + j) / (start + j) for j = 1, ..., taken
    total = taken + (found - start) * (harmonic[start + taken] - harmonic[start])
    n_hits = taken.sum(axis=1)
    return _normalize(total.sum(axis=1), n_hits, n_relevant, k, normalizer)


def _mean_level_precision(start, found, size, hits, taken, harmonic):
    """Mean over all orders of the precisions at the relevant items of a level.

    The level holds `size` items, `hits` of them relevant. `start` items, `found` of
    them relevant, stand before it. Only its first `taken` positions count.
    """
    rho = np.where(size > 1, (hits - 1) / np.maximum(size - 1, 1), 0.0)
    reciprocals = harmonic[start + taken] - harmonic[start]
    precisions = taken * rho + (found + 1 - rho * (start + 1)) * reciprocals
    return hits / np.maximum(size, 1) * precisions


def _expected_precision(size, hits, n_relevant, *, k, normalizer):
    """Mean of the average precision at k over all orders of tied items."""
    end = np.cumsum(size, axis=1)
    start = end - size
    found = np.cumsum(hits, axis=1) - hits
    taken = np.clip(k - start, 0, size)
    n_items = int(end[0, -1])
    harmonic = _harmonic_numbers(n_items)
    precisions = _mean_level_precision(start, found, size, hits, taken, harmonic)
    if normalizer != "retrieved":
        total = precisions.sum(axis=1)
        return _normalize(total, None, n_relevant, k, normalizer)

    # The number of hits in the top k depends on the order in one level only, the one
    # that holds rank k. Given that number, all orders are still equally likely.
    last = np.argmax(end >= k, axis=1)[:, None]
    before = np.arange(end.shape[1]) < last
    fixed = np.where(before, precisions, 0).sum(axis=1, keepdims=True)
    start, found, size, hits, taken = (
        np.take_along_axis(values, last, axis=1)
        for values in (start, found, size, hits, taken)
    )
    fewest = np.maximum(0, taken - (size - hits))
    most = np.minimum(taken, hits)
    drawn = fewest + np.arange(np.max(most - fewest) + 1)
    possible = drawn <= most
    drawn = np.minimum(drawn, most)
    total = fixed + _mean_level_precision(start, found, taken, drawn, taken, harmonic)

    # Hypergeometric distribution of the hits drawn, by logarithms of factorials.
    factorial = _log_factorials(n_items)
    log_odds = -factorial[drawn] - factorial[hits - drawn]
    log_odds -= factorial[taken - drawn] + factorial[size - hits - (taken - drawn)]
    log_odds[~possible] = -np.inf
    odds = np.exp(log_odds - log_odds.max(axis=1, keepdims=True))
    values = total / np.maximum(found + drawn, 1)
    return (odds * values).sum(axis=1) / odds.sum(axis=1)


def _average_precision(size, hits, n_relevant, *, k, normalizer, ties):
    """Average precision of every query of a chunk."""
    if size is None:
        return _ranked_precision(hits, n_relevant, k=k, normalizer=normalizer)
    if ties == "expected":
        return _expected_precision(size, hits, n_relevant, k=k, normalizer=normalizer)
    return _block_precision(
        size, hits, n_relevant, k=k, normalizer=normalizer, ties=ties
    )


# Queries ----------------------------------------------------------------------


def _warn_degenerate(n_relevant, n_gallery, zero_relevant):
    n_zero = np.count_nonzero(n_relevant == 0)
    if n_zero:
        effect = {
            "zero": "They count as 0",
            "skip": "They are left out of the mean",
            "nan": "Their value is nan, and so is the mean",
        }
        warnings.warn(
            f"{n_zero} of {len(n_relevant)} queries have no relevant item in the "
            f"gallery. {effect[zero_relevant]} (zero_relevant={zero_relevant!r}).",
            UndefinedMetricWarning,
            stacklevel=4,
        )
    if np.all(n_relevant == n_gallery):
        warnings.warn(
            "Every gallery item is relevant to every query, so that any ranking scores "
            "1. If this is a fold of a cross-validation, use a splitter that shuffles "
            "or stratifies.",
            UndefinedMetricWarning,
            stacklevel=4,
        )


def _average_queries(values, n_relevant, *, zero_relevant, per_query, sample_weight):
    """Apply `zero_relevant` and average over queries unless `per_query`."""
    if sample_weight is not None:
        sample_weight = _check_sample_weight(
            sample_weight, values, dtype=np.float64, ensure_non_negative=True
        )
    if zero_relevant != "zero":
        values[n_relevant == 0] = np.nan
    if per_query:
        return values
    if zero_relevant == "skip":
        kept = n_relevant > 0
        values = values[kept]
        sample_weight = None if sample_weight is None else sample_weight[kept]
    if len(values) == 0 or (sample_weight is not None and not sample_weight.any()):
        return np.nan
    return float(np.average(values, weights=sample_weight))


@validate_params(
    {
        "query": ["array-like"],
        "gallery": ["array-like"],
        "y_query": ["array-like", "sparse matrix"],
        "y_gallery": ["array-like", "sparse matrix"],
        **_OPTIONS,
        "per_query": ["boolean"],
        "sample_weight": ["array-like", None],
    },
    prefer_skip_nested_validation=True,
)
def mean_average_precision(
    query,
    gallery,
    y_query,
    y_gallery,
    *,
    metric="auto",
    k=None,
    normalizer="retrieved",
    ties="auto",
    zero_relevant="zero",
    per_query=False,
    chunk_size=None,
    sample_weight=None,
    random_state=None,
):
    r"""Mean average precision of retrieving a gallery by queries.

    Every query ranks all gallery items, the nearest first. With :math:`r(j) = 1` if
    the item at rank :math:`j` is relevant and 0 otherwise, and the precision
    :math:`P(j) = \frac{1}{j} \sum_{m \le j} r(m)`, the average precision is

    .. math::

        AP@k = \frac{1}{Z} \sum_{j=1}^{k} P(j) \, r(j),

    and the result is its mean over the queries. For cross-modal retrieval, `query` is
    one modality and `gallery` the other; the partner of a query stays in the gallery.

    Parameters
    ----------
    query : array-like of shape (n_queries, n_components)
        Embeddings or codes of the queries.

    gallery : array-like of shape (n_items, n_components)
        Embeddings or codes of the items to retrieve.

    y_query : {array-like, sparse matrix} of shape (n_queries,) or \
            (n_queries, n_labels)
        Classes of any type, or a label indicator of 0 and 1. An item is relevant if it
        has the same class, or at least one label in common.

    y_gallery : {array-like, sparse matrix} of shape (n_items,) or (n_items, n_labels)
        Classes or label indicator of the gallery, in the same form.

    metric : {"auto", "cosine", "euclidean", "hamming"}, default="auto"
        What "near" means. The Hamming distance takes codes of -1 and +1 of any dtype,
        or packed bits (uint8, as from :func:`numpy.packbits`). "auto" is the Hamming
        distance for int8 and uint8, the cosine similarity for any other dtype. The
        cosine similarity with a zero vector is 0.

    k : int, default=None
        Length of the ranked list, None for the whole gallery.

    normalizer : {"retrieved", "min", "all"}, default="retrieved"
        The divisor :math:`Z`; it only matters with a `k` below the gallery size:

        - "retrieved": the number of relevant items within the first `k`, the usual
          one for real-valued embeddings. A single hit at rank 1 scores 1.
        - "min": the smaller one of `k` and the number of relevant items.
        - "all": the number of relevant items, as in the evaluations of TREC.

        A query without a relevant item in its first `k` scores 0 under each of them.

    ties : {"auto", "expected", "stable", "optimistic", "pessimistic", "random"}, \
            default="auto"
        How items at the same distance are ordered:

        - "expected": the mean over all orders, exact, without any sampling [1]_ [2]_.
        - "stable": in the order of the gallery.
        - "optimistic", "pessimistic": relevant items first, or last. For the whole
          list and for the normalizers "min" and "all" this is the highest and the
          lowest value of all orders.
        - "random": in the order of the gallery after shuffling it once.

        "auto" is "expected" for the Hamming distance and "stable" for the others.

    zero_relevant : {"zero", "skip", "nan"}, default="zero"
        Value of a query without any relevant item in the gallery: 0, left out of the
        mean, or nan.

    per_query : bool, default=False
        Whether to return the average precision of every query.

    chunk_size : int, default=None
        Number of queries handled at once, which bounds the memory. None chooses it by
        the size of the gallery. The result does not depend on it.

    sample_weight : array-like of shape (n_queries,), default=None
        Weights of the queries in the mean.

    random_state : int, RandomState instance or None, default=None
        Determines the order of tied items if `ties="random"`.

    Returns
    -------
    score : float or ndarray of shape (n_queries,)
        The mean average precision, or the average precision of every query if
        `per_query` is True; there, skipped queries are nan.

    Raises
    ------
    ValueError
        If an input is empty or holds nan, if the two sets differ in their width or do
        not fit their labels, if the labels of the two sets are not of one kind, if
        the Hamming distance is asked for values that are not codes.

    Warns
    -----
    UndefinedMetricWarning
        If there are queries without a relevant item, with their number, or if every
        item is relevant to every query, which makes the score 1 for any ranking.

    See Also
    --------
    make_map_scorer : The same as `scoring` of a search or a cross-validation.
    sklearn.metrics.average_precision_score : Merges tied items into one threshold,
        which is neither the mean over their orders nor a bound of it.

    Notes
    -----
    Published values follow different rules. Tables of hashing methods usually rank
    the whole gallery with tied items in an arbitrary order; "mAP@50" of real-valued
    methods mostly means `k=50, normalizer="retrieved"`.

    Let level :math:`d` hold :math:`n_d` tied items, :math:`r_d` of them relevant, and
    let :math:`N_d` and :math:`C_d` be the items and the relevant items before it. The
    expected sum of precisions within the level is, with harmonic numbers :math:`H`,

    .. math::

        \frac{r_d}{n_d} \left[ n_d \rho_d
        + (C_d + 1 - \rho_d (N_d + 1)) (H_{N_d + n_d} - H_{N_d}) \right],
        \quad \rho_d = \frac{r_d - 1}{n_d - 1}.

    Integer distances are therefore counted and never sorted.

    Cosine similarities and Euclidean distances of float64 (and wide integer) input
    are compared in float64, all others in float32.

    References
    ----------
    .. [1] F. McSherry and M. Najork, "Computing information retrieval performance
       measures efficiently in the presence of tied scores", ECIR 2008.
    .. [2] K. He, F. Cakir, S. A. Bargal and S. Sclaroff, "Hashing as tie-aware
       learning to rank", CVPR 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr.metrics import mean_average_precision
    >>> image = np.array([[1, 1, 1], [1, 1, -1]], dtype=np.int8)
    >>> text = np.array([[1, 1, 1], [1, 1, -1], [-1, 1, 1]], dtype=np.int8)
    >>> mean_average_precision(image, text, [0, 1], [0, 1, 0])
    0.958...
    >>> mean_average_precision(image, text, [0, 1], [0, 1, 0], ties="pessimistic")
    0.916...
    """
    retrieval = _Retrieval(
        query,
        gallery,
        y_query,
        y_gallery,
        metric=metric,
        ties=ties,
        random_state=random_state,
    )
    if k is None or k >= retrieval.n_gallery:
        # The whole list: every normalizer is the number of relevant items.
        k, normalizer = retrieval.n_gallery, "all"
    values = np.empty(retrieval.n_query)
    n_relevant = np.empty(retrieval.n_query, dtype=np.int64)
    for rows, size, hits, total in retrieval.chunks(k=k, chunk_size=chunk_size):
        values[rows] = _average_precision(
            size, hits, total, k=k, normalizer=normalizer, ties=retrieval.ties
        )
        n_relevant[rows] = total
    _warn_degenerate(n_relevant, retrieval.n_gallery, zero_relevant)
    return _average_queries(
        values,
        n_relevant,
        zero_relevant=zero_relevant,
        per_query=per_query,
        sample_weight=sample_weight,
    )
