"""Precision and recall at every rank, Hamming radius or level of recall."""

# SPDX-License-Identifier: BSD-3-Clause

from typing import NamedTuple

import numpy as np
from sklearn.utils._param_validation import StrOptions, validate_params

from sklearn_cmr.metrics._evaluation import (
    MAP_CONSTRAINTS,
    QUERY_CONSTRAINTS,
    SET_CONSTRAINTS,
    check_weights,
    warn_degenerate,
)
from sklearn_cmr.metrics._measures import interpolated_precision
from sklearn_cmr.metrics._retrieval import Retrieval

# Levels of recall at which the interpolated curve is read, in tenths.
_TENTHS = np.arange(11)


class PrecisionRecallCurve(NamedTuple):
    """What :func:`precision_recall_curve` returns."""

    precision: np.ndarray
    recall: np.ndarray
    thresholds: np.ndarray
    empty: np.ndarray


class _QueryWeights:
    """Weights of the queries, and their numbers of relevant items, by chunks."""

    def __init__(self, retrieval, sample_weight, zero_relevant):
        queries = np.empty(retrieval.n_query)
        self.weights = check_weights(sample_weight, queries, copy=True)
        self.n_relevant = np.empty(retrieval.n_query, dtype=np.int64)
        self.skips = zero_relevant == "skip"

    def read(self, rows, n_relevant):
        """Store the numbers of relevant items of some queries; return their weights."""
        self.n_relevant[rows] = n_relevant
        if self.skips:
            self.weights[rows] *= n_relevant > 0
        return self.weights[rows]

    @property
    def total(self):
        """Sum of the weights."""
        return self.weights.sum()

    @property
    def total_relevant(self):
        """Weighted sum of the numbers of relevant items."""
        return self.weights @ self.n_relevant


def _divide(sums, totals):
    """Divide sums by totals; the result is nan where the total is 0."""
    totals = np.broadcast_to(totals, sums.shape)
    mean = np.divide(sums, totals, out=np.full(sums.shape, np.nan), where=totals > 0)
    # Rounding may leave sums of fractions slightly above 1.
    return np.clip(mean, 0, 1)


def _divide_relevant(hits, queries):
    # Without any relevant item, the recall is 0 for queries that count, else nan.
    return _divide(hits, queries.total_relevant or queries.total)


def _curve_by_rank(retrieval, queries, *, k, average, chunk_size):
    # Second differences of two functions of the rank: the hits of all queries, and the
    # shares of their relevant items. Within a tie group both grow linearly.
    bends = np.zeros((2, retrieval.n_items + 1))
    for groups in retrieval.chunks(k=k, chunk_size=chunk_size):
        n_relevant = groups.n_relevant
        weights = queries.read(groups.rows, n_relevant)
        shares = weights / np.maximum(n_relevant, 1)
        slope = groups.hits / groups.size
        for bend, weight in zip(bends, (weights, shares), strict=True):
            rise = slope * weight[groups.query]
            bend += np.bincount(groups.start, rise, len(bend))
            bend -= np.bincount(groups.start + groups.size, rise, len(bend))
    ranks = np.arange(1, min(k, retrieval.n_items) + 1)
    hits, share = bends.cumsum(axis=1).cumsum(axis=1)[:, : len(ranks)]
    if average == "macro":
        recall = _divide(share, queries.total)
    else:
        recall = _divide_relevant(hits, queries)
    precision = _divide(hits, queries.total * ranks)
    return PrecisionRecallCurve(precision, recall, ranks, np.zeros(len(ranks)))


def _curve_by_radius(retrieval, queries, *, average, empty_ball, chunk_size):
    sums = np.zeros((5, retrieval.n_distances))
    for rows, counts in retrieval.distance_counts(chunk_size=chunk_size):
        retrieved = counts.sum(axis=1).cumsum(axis=1)
        hits = counts[:, 1].cumsum(axis=1)
        n_relevant = hits[:, -1]
        weights = queries.read(rows, n_relevant)
        precision = hits / np.maximum(retrieved, 1)
        recall = hits / np.maximum(n_relevant, 1)[:, None]
        values = (retrieved > 0, retrieved, hits, precision, recall)
        sums += [weights @ value for value in values]
    filled, retrieved, hits, precision, recall = sums
    if average == "macro":
        recall = _divide(recall, queries.total)
        precision = _divide(
            precision, filled if empty_ball == "skip" else queries.total
        )
    else:
        recall = _divide_relevant(hits, queries)
        if empty_ball == "zero":
            retrieved = np.where(retrieved > 0, retrieved, queries.total)
        precision = _divide(hits, retrieved)
    radii = np.arange(retrieval.n_distances)
    return PrecisionRecallCurve(
        precision, recall, radii, 1 - _divide(filled, queries.total)
    )


def _curve_by_recall(retrieval, queries, *, average, chunk_size):
    recall = _TENTHS / 10
    if average == "micro":
        curve = _curve_by_rank(
            retrieval,
            queries,
            k=retrieval.n_items,
            average="micro",
            chunk_size=chunk_size,
        )
        # Rounding may leave sums of fractions slightly too small.
        reached = np.searchsorted(curve.recall, recall - 1e-9)
        best = np.maximum.accumulate(curve.precision[::-1])[::-1]
        precision = np.append(best, 0)[reached]
    else:
        precision = np.zeros(len(recall))
        for groups in retrieval.chunks(chunk_size=chunk_size):
            weights = queries.read(groups.rows, groups.n_relevant)
            precision += weights @ interpolated_precision(groups, _TENTHS)
        precision = _divide(precision, queries.total)
    return PrecisionRecallCurve(precision, recall, recall, np.zeros(len(recall)))


@validate_params(
    {
        **SET_CONSTRAINTS,
        **{name: MAP_CONSTRAINTS[name] for name in ("k", "zero_relevant")},
        "sample_weight": QUERY_CONSTRAINTS["sample_weight"],
        "by": [StrOptions({"rank", "radius", "recall"})],
        "average": [StrOptions({"macro", "micro"})],
        "empty_ball": [StrOptions({"zero", "skip"})],
    },
    prefer_skip_nested_validation=True,
)
def precision_recall_curve(
    query,
    gallery=None,
    y_query=None,
    y_gallery=None,
    *,
    by="rank",
    average="macro",
    empty_ball="zero",
    k=None,
    metric="auto",
    relevance="label",
    exclude_self=False,
    ties="auto",
    zero_relevant="zero",
    chunk_size=None,
    sample_weight=None,
    random_state=None,
):
    r"""Compute precision and recall of retrieved lists of increasing length.

    Precision is the share of the retrieved items that are relevant, recall the share
    of the relevant items that are retrieved. A list grows from rank to rank, or with
    the Hamming radius around the query within which items are looked up.

    Parameters
    ----------
    query : array-like of shape (n_queries, embedding_dim)
        Embeddings or codes of the queries. With `metric="precomputed"`, their distances
        from all items, of shape (n_queries, n_items).

    gallery : array-like of shape (n_items, embedding_dim), default=None
        Embeddings or codes of the items to retrieve, None with precomputed distances.

    y_query : array-like of shape (n_queries,) or (n_queries, n_labels), default=None
        Classes of any type, or a dense or sparse label indicator of 0 and 1. An item is
        relevant if it has the same class, or at least one label in common.

    y_gallery : array-like of shape (n_items,) or (n_items, n_labels), default=None
        Classes or label indicator of the gallery, in the same form.

    by : {"rank", "radius", "recall"}, default="rank"
        Thresholds of the curve:

        - "rank": the first 1, 2, 3, ... items.
        - "radius": the items within the Hamming distance 0, 1, 2, ..., `n_bits`. For
          codes only. `ties` has no effect.
        - "recall": the interpolated curve of eleven points, with the highest precision
          at any rank where the recall is at least 0, 0.1, ..., 1.

        Curves of different kinds cannot be compared with each other.

    average : {"macro", "micro"}, default="macro"
        Whether to average the precision and the recall of the queries, or to divide
        the sums of their counts.

    empty_ball : {"zero", "skip"}, default="zero"
        Precision of a query without any item within the radius: 0, or left out of the
        mean. It matters with `by="radius"` only, where `empty` gives the share of such
        queries.

    k : int, default=None
        Last rank. None stands for the size of the gallery. With `by="rank"` only.

    metric : str, default="auto"
        Distance used for the ranking: "auto", "cosine", "euclidean", "hamming",
        "inner_product" or "precomputed", see :func:`mean_average_precision`.

    relevance : {"label", "pair"} or matrix, default="label"
        What makes an item relevant: a class or a label in common, the pair, or a value
        above 0 in a matrix of shape (n_queries, n_items), dense or sparse, see
        :func:`mean_average_precision`.

    exclude_self : bool or array-like of int of shape (n_queries,), default=False
        Whether each query is left out of its own list, or the positions of the queries
        in the gallery, see :func:`mean_average_precision`.

    ties : str, default="auto"
        How items at the same distance are ordered: "auto", "expected", "stable",
        "optimistic", "pessimistic" or "random", see :func:`mean_average_precision`.
        With "expected", the number of relevant items in a list is the mean over all
        orders.

    zero_relevant : {"zero", "skip", "nan"}, default="zero"
        Precision and recall of a query without any relevant item in the gallery: 0,
        left out of the mean, or nan.

    chunk_size : int, default=None
        Number of queries processed at once, which bounds the memory. None chooses it
        from the size of the gallery. The result does not depend on it.

    sample_weight : array-like of shape (n_queries,), default=None
        Weights of the queries.

    random_state : int, RandomState instance or None, default=None
        Determines the order of tied items if `ties="random"`.

    Returns
    -------
    curve : PrecisionRecallCurve
        A named tuple of four arrays of the same length:

        precision : ndarray of shape (n_thresholds,)
            Precision at every threshold.
        recall : ndarray of shape (n_thresholds,)
            Recall at every threshold, ascending.
        thresholds : ndarray of shape (n_thresholds,)
            The ranks, the radii, or the levels of recall.
        empty : ndarray of shape (n_thresholds,)
            Share of the queries that retrieve nothing within the radius; 0 for the
            other curves.

    Raises
    ------
    ValueError
        As :func:`mean_average_precision`, if `by="radius"` comes without codes, or `k`
        without `by="rank"`.

    Warns
    -----
    UndefinedMetricWarning
        See :func:`mean_average_precision`.

    See Also
    --------
    PrecisionRecallDisplay : Plots the curve.
    precision_at_k, recall_at_k : Values at single ranks, also for every query.

    Notes
    -----
    Published curves by radius often leave queries with an empty ball out of both
    means, which raises precision and recall at small radii.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr.metrics import precision_recall_curve
    >>> image = np.array([[1, 1, 1], [-1, 1, -1]], dtype=np.int8)
    >>> text = np.array([[1, 1, 1], [1, 1, -1], [-1, 1, 1]], dtype=np.int8)
    >>> labels = [0, 1], [0, 1, 0]
    >>> precision, recall, ranks, _ = precision_recall_curve(image, text, *labels)
    >>> ranks
    array([1, 2, 3])
    >>> precision
    array([0.75 , 0.625, 0.5  ])
    >>> curve = precision_recall_curve(image, text, *labels, by="radius")
    >>> curve.precision
    array([0.5 , 0.58..., 0.5 , 0.5 ])
    >>> curve.empty
    array([0.5, 0. , 0. , 0. ])
    """
    retrieval = Retrieval(
        query,
        gallery,
        y_query,
        y_gallery,
        metric=metric,
        relevance=relevance,
        exclude_self=exclude_self,
        ties=ties,
        random_state=random_state,
    )
    if k is not None and by != "rank":
        raise ValueError(
            f"k={k} ends a curve by rank; with by={by!r} there is no rank. Leave k out."
        )
    if by == "radius" and retrieval.n_distances is None:
        raise ValueError(
            "by='radius' needs the Hamming distance of codes: int8 codes of -1 and +1, "
            "packed bits (uint8), or metric='hamming'."
        )
    queries = _QueryWeights(retrieval, sample_weight, zero_relevant)
    options = {"average": average, "chunk_size": chunk_size}
    if by == "rank":
        curve = _curve_by_rank(retrieval, queries, k=k or retrieval.n_items, **options)
    elif by == "radius":
        options["empty_ball"] = empty_ball
        curve = _curve_by_radius(retrieval, queries, **options)
    else:
        curve = _curve_by_recall(retrieval, queries, **options)
    warn_degenerate(
        queries.n_relevant, retrieval.n_items, zero_relevant, score="the same"
    )
    if zero_relevant == "nan" and not queries.n_relevant.all():
        curve.precision[:] = np.nan
        curve.recall[:] = np.nan
    return curve
