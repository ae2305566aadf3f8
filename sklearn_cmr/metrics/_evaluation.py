"""The toolbox of all metrics: constraints, cut-offs, averages over queries."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings
from functools import partial
from numbers import Integral

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight

from sklearn_cmr._arrays import named_errors, to_array
from sklearn_cmr._warnings import stacklevel_of_caller
from sklearn_cmr.metrics._retrieval import Retrieval

_POSITIVE = Interval(Integral, 1, None, closed="left")
_TIES = {"auto", "expected", "stable", "optimistic", "pessimistic", "random"}

_METRICS = {"auto", "cosine", "euclidean", "hamming", "inner_product"}

# Constraints of the options of the mean average precision of embeddings.
MAP_CONSTRAINTS: dict[str, list] = {
    "k": [_POSITIVE, None],
    "normalizer": [StrOptions({"retrieved", "min", "all"})],
    "metric": [StrOptions(_METRICS)],
    "ties": [StrOptions(_TIES)],
    "zero_relevant": [StrOptions({"zero", "skip", "nan"})],
    "chunk_size": [_POSITIVE, None],
    "random_state": ["random_state"],
}

# Constraints of what tells the relevant items.
RELEVANCE_CONSTRAINTS: dict[str, list] = {
    "relevance": [StrOptions({"label", "pair"}), "array-like", "sparse matrix"],
    "exclude_self": ["boolean", "array-like"],
}

# Constraints of the parameters that all functions of two sets share.
SET_CONSTRAINTS: dict[str, list] = {
    "query": ["array-like"],
    "gallery": ["array-like", None],
    "y_query": ["array-like", "sparse matrix", None],
    "y_gallery": ["array-like", "sparse matrix", None],
    "metric": [StrOptions(_METRICS | {"precomputed"})],
    **RELEVANCE_CONSTRAINTS,
    "ties": MAP_CONSTRAINTS["ties"],
    "chunk_size": MAP_CONSTRAINTS["chunk_size"],
    "random_state": MAP_CONSTRAINTS["random_state"],
}

# Constraints of one or several cut-offs.
CUTOFFS: list = [_POSITIVE, "array-like"]

# Constraints of the parameters that all means over queries share.
QUERY_CONSTRAINTS: dict[str, list] = {
    **SET_CONSTRAINTS,
    "zero_relevant": MAP_CONSTRAINTS["zero_relevant"],
    "per_query": ["boolean"],
    "sample_weight": ["array-like", None],
}


def score_queries(
    measure,
    query,
    gallery,
    y_query,
    y_gallery,
    *,
    k=None,
    gain=None,
    any_ranking="1",
    average="mean",
    metric,
    relevance,
    exclude_self,
    ties,
    zero_relevant,
    per_query,
    chunk_size,
    sample_weight,
    random_state,
):
    """Evaluate a measure on all queries: what every metric does.

    Parameters
    ----------
    measure : callable
        Returns an array of shape (n_rows, n_cutoffs) for tie groups and the keyword
        `k`, an array of cut-offs.

    k : int or array-like of int, default=None
        Cut-offs, None for the whole list.

    gain : {"linear", "exponential"} or None, default=None
        Gain of graded relevance. None stands for binary relevance.

    any_ranking : str or None, default="1"
        Score of any ranking if all items are relevant, see :func:`warn_degenerate`.

    average : {"mean", "median"}, default="mean"

    query, gallery, y_query, y_gallery, metric, relevance, exclude_self, ties, \
            zero_relevant, per_query, chunk_size, sample_weight, random_state : see \
            :func:`~sklearn_cmr.metrics.mean_average_precision`

    Returns
    -------
    score : float or ndarray
    """
    retrieval = Retrieval(
        query,
        gallery,
        y_query,
        y_gallery,
        metric=metric,
        ties=ties,
        relevance=relevance,
        exclude_self=exclude_self,
        random_state=random_state,
        gain=gain,
    )
    if retrieval.n_grades > 2:
        # Rankings differ even if all items are relevant.
        any_ranking = None
    cutoffs = check_cutoffs(k, retrieval.n_items)
    values, n_relevant = evaluate_queries(
        retrieval, partial(measure, k=cutoffs), k=cutoffs.max(), chunk_size=chunk_size
    )
    warn_degenerate(n_relevant, retrieval.n_items, zero_relevant, any_ranking)
    return average_queries(
        values if np.ndim(k) else values[:, 0],
        n_relevant,
        zero_relevant=zero_relevant,
        per_query=per_query,
        sample_weight=sample_weight,
        average=average,
    )


def evaluate_queries(retrieval, measure, *, k, chunk_size):
    """Apply a measure to every query; return it and the numbers of relevant items."""
    chunks = [
        (measure(groups), groups.n_relevant)
        for groups in retrieval.chunks(k=k, chunk_size=chunk_size)
    ]
    values, n_relevant = map(np.concatenate, zip(*chunks, strict=True))
    return values, n_relevant


def _median(values, weights):
    """Return the median, half way between the two middle values if there are two."""
    if weights is None or np.isnan(values).any():
        return np.median(values)
    options = {"weights": weights, "method": "inverted_cdf"}
    lower = np.quantile(values, 0.5, **options)
    upper = -np.quantile(-values, 0.5, **options)
    return (lower + upper) / 2


def check_cutoffs(k, n_gallery=None):
    """Return one or several cut-offs as an array, none beyond a given gallery."""
    if k is None:
        return np.array([n_gallery])
    try:
        cutoffs = np.atleast_1d(np.asarray(k))
    except ValueError:  # lists of different lengths
        cutoffs = np.empty(0)
    is_valid = cutoffs.ndim == 1 and cutoffs.dtype.kind in "iu" and cutoffs.size > 0
    if not is_valid or cutoffs.min() < 1:
        raise ValueError(f"k must be a positive integer or several of them, got {k!r}.")
    return cutoffs if n_gallery is None else np.minimum(cutoffs, n_gallery)


def check_weights(sample_weight, queries, **options):
    """Return the weights of queries by scikit-learn's check, whose options it takes."""
    sample_weight = to_array(sample_weight, "sample_weight")
    dtype = getattr(sample_weight, "dtype", None)
    if getattr(dtype, "kind", "O") not in "biufO":
        raise ValueError(f"sample_weight must hold numbers, got the dtype {dtype}.")
    with named_errors("sample_weight"):
        return _check_sample_weight(
            sample_weight,
            queries,
            dtype=np.float64,
            ensure_non_negative=True,
            **options,
        )


def warn_degenerate(n_relevant, n_gallery, zero_relevant, score="1"):
    """Warn of queries without a relevant item, and if all items are relevant to all.

    `score` is that of any ranking in the second case, None for metrics that then still
    depend on the ranking.
    """
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
            stacklevel=stacklevel_of_caller(),
        )
    if score is not None and np.all(n_relevant == n_gallery):
        warnings.warn(
            "Every gallery item is relevant to every query, so that any ranking scores "
            f"{score}. In cross-validation, use a splitter that shuffles or "
            "stratifies.",
            UndefinedMetricWarning,
            stacklevel=stacklevel_of_caller(),
        )


def average_queries(
    values, n_relevant, *, zero_relevant, per_query, sample_weight, average="mean"
):
    """Apply `zero_relevant` and average over queries unless `per_query`."""
    if sample_weight is not None:
        sample_weight = check_weights(sample_weight, values)
    if zero_relevant != "zero":
        values[n_relevant == 0] = np.nan
    if per_query:
        return values
    if zero_relevant == "skip":
        has_relevant = n_relevant > 0
        values = values[has_relevant]
        if sample_weight is not None:
            sample_weight = sample_weight[has_relevant]
    if len(values) == 0 or (sample_weight is not None and not sample_weight.any()):
        return np.nan if values.ndim == 1 else np.full(values.shape[1], np.nan)
    if average == "median":
        mean = _median(values, sample_weight)
    else:
        mean = np.average(values, axis=0, weights=sample_weight)
    return float(mean) if values.ndim == 1 else mean
