"""The toolbox of all metrics: constraints, cut-offs, averages over queries."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings
from numbers import Integral

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight

from sklearn_cmr._arrays import to_array
from sklearn_cmr._warnings import stacklevel_of_caller

_POSITIVE = Interval(Integral, 1, None, closed="left")
_TIES = {"auto", "expected", "stable", "optimistic", "pessimistic", "random"}

# Constraints of the parameters that describe what is evaluated.
INPUT_CONSTRAINTS: dict[str, list] = {
    "query": ["array-like"],
    "gallery": ["array-like"],
    "y_query": ["array-like", "sparse matrix"],
    "y_gallery": ["array-like", "sparse matrix"],
    "sample_weight": ["array-like", None],
}

# Constraints of the options of the mean average precision.
MAP_CONSTRAINTS: dict[str, list] = {
    "metric": [StrOptions({"auto", "cosine", "euclidean", "hamming"})],
    "k": [_POSITIVE, None],
    "normalizer": [StrOptions({"retrieved", "min", "all"})],
    "ties": [StrOptions(_TIES)],
    "zero_relevant": [StrOptions({"zero", "skip", "nan"})],
    "chunk_size": [_POSITIVE, None],
    "random_state": ["random_state"],
}

# Those of the metrics without a divisor.
RANKING_CONSTRAINTS = {
    name: MAP_CONSTRAINTS[name] for name in MAP_CONSTRAINTS if name != "normalizer"
}

# Constraints of all parameters of a metric at one or several cut-offs.
CUTOFF_CONSTRAINTS: dict[str, list] = {
    **INPUT_CONSTRAINTS,
    **RANKING_CONSTRAINTS,
    "per_query": ["boolean"],
    "k": [_POSITIVE, "array-like"],
}


def evaluate_queries(retrieval, measure, *, k, chunk_size):
    """Apply a measure to every query; return it and the numbers of relevant items."""
    chunks = [
        (measure(groups), groups.n_relevant)
        for groups in retrieval.chunks(k=k, chunk_size=chunk_size)
    ]
    values, n_relevant = map(np.concatenate, zip(*chunks, strict=True))
    return values, n_relevant


def check_cutoffs(k, n_gallery):
    """Return one or several cut-offs as an array, none beyond the gallery."""
    if k is None:
        return np.array([n_gallery])
    cutoffs = np.atleast_1d(np.asarray(k))
    is_valid = cutoffs.ndim == 1 and cutoffs.dtype.kind in "iu" and cutoffs.size > 0
    if not is_valid or cutoffs.min() < 1:
        raise ValueError(f"k must be a positive integer or several of them, got {k!r}.")
    return np.minimum(cutoffs, n_gallery)


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


def average_queries(values, n_relevant, *, zero_relevant, per_query, sample_weight):
    """Apply `zero_relevant` and average over queries unless `per_query`."""
    if sample_weight is not None:
        sample_weight = _check_sample_weight(
            to_array(sample_weight, "sample_weight"),
            values,
            dtype=np.float64,
            ensure_non_negative=True,
        )
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
    mean = np.average(values, axis=0, weights=sample_weight)
    return float(mean) if values.ndim == 1 else mean
