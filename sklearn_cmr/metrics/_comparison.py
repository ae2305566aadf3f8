"""Tests of whether one system retrieves better than another."""

# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np
from scipy.stats import bootstrap, permutation_test
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_params

from sklearn_cmr._arrays import to_array
from sklearn_cmr.metrics._tables import format_rows

# Numbers that are drawn at once, which bounds the memory.
_DRAWN = 2**22


def _check_values(values, name):
    values = np.asarray(to_array(values, name))
    if values.ndim != 1:
        raise ValueError(
            f"{name} must hold one value for each query; got the shape {values.shape}. "
            "Compute the metric with per_query=True, and with several cut-offs choose "
            "a column. Pass several systems as a mapping from their names to values."
        )
    try:
        values = values.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{name} must hold numbers, one for each query; got the dtype "
            f"{values.dtype}."
        ) from error
    if np.isinf(values).any():
        raise ValueError(
            f"{name} holds infinite values, whose differences have no mean. Pass nan "
            "for queries without a value."
        )
    return values


def _number_groups(groups, n_queries):
    """Return the number of the group of every query."""
    groups = np.asarray(to_array(groups, "groups"))
    if groups.shape != (n_queries,):
        raise ValueError(
            f"groups must name the group of each of the {n_queries} queries; got the "
            f"shape {groups.shape}."
        )
    # nan is unequal to itself.
    if any(name is None or name != name for name in groups.tolist()):
        raise ValueError(
            "groups has missing values. Give queries that belong to no other one a "
            "name of their own."
        )
    try:
        return np.unique(groups, return_inverse=True)[1]
    except TypeError as error:
        raise ValueError(
            "groups must be all numbers or all strings, but mixes them."
        ) from error


def _known_queries(a, b, name):
    """Find the queries for which both systems have a value."""
    if len(a) != len(b):
        raise ValueError(
            f"The baseline has values of {len(a)} queries and {name} of {len(b)}. Pass "
            "values of the same queries in the same order."
        )
    missing = np.isnan(a)
    if np.any(missing != np.isnan(b)):
        raise ValueError(
            f"The baseline and {name} have nan for different queries. Whether a query "
            "is skipped depends on its relevant items only: pass values of the same "
            "queries and gallery."
        )
    return ~missing


def _average_groups(values, groups):
    """Return the mean of the values of every group."""
    size = np.bincount(groups)
    # Of some groups, all queries may have been left out.
    return np.bincount(groups, values)[size > 0] / size[size > 0]


def _compare(a, b, *, n_resamples, confidence_level, seed):
    """Return one row of the table."""
    difference = b - a
    options = {
        "n_resamples": n_resamples,
        "batch": max(1, _DRAWN // len(difference)),
        "vectorized": True,
    }
    # Exchanging the two systems on a query changes the sign of its difference.
    test = permutation_test(
        (difference,),
        np.mean,
        permutation_type="samples",
        random_state=np.random.RandomState(seed),
        axis=0,
        **options,
    )
    interval = bootstrap(
        (difference,),
        np.mean,
        confidence_level=confidence_level,
        method="percentile",
        random_state=np.random.RandomState(seed),
        **options,
    ).confidence_interval
    return {
        "baseline": float(a.mean()),
        "mean": float(b.mean()),
        "difference": float(difference.mean()),
        "low": float(interval.low),
        "high": float(interval.high),
        "p": float(test.pvalue),
    }


def _holm(p_values):
    """Adjust p-values for their number, by Holm's step-down method."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.maximum.accumulate(np.asarray(p_values)[order] * factors)
    result = np.empty(len(p_values))
    result[order] = np.minimum(adjusted, 1)
    return result


def _format(table, digits):
    rows = {
        name: {
            column: _show_p(cell, digits) if column.startswith("p") else cell
            for column, cell in row.items()
        }
        for name, row in table.items()
    }
    header, lines = format_rows(rows, digits)
    return "\n".join([header, "", *lines.values()]) + "\n"


def _show_p(p, digits):
    """Round a p-value, but not to 0."""
    least = 10.0**-digits
    return f"<{least:.{digits}f}" if p < least else p


@validate_params(
    {
        "a": ["array-like"],
        "b": ["array-like", Mapping],
        "groups": ["array-like", None],
        "n_resamples": [Interval(Integral, 1, None, closed="left")],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
        "digits": [Interval(Integral, 0, None, closed="left")],
        "output_dict": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def compare_retrieval(
    a,
    b,
    *,
    groups=None,
    n_resamples=9999,
    confidence_level=0.95,
    random_state=None,
    digits=3,
    output_dict=False,
):
    """Compare systems by their values for the same queries.

    The mean difference from a baseline comes with a confidence interval and a p-value.
    The p-value is that of the paired randomisation test [1]_: if the two systems were
    equally good, the two values of a query could be exchanged. It is the share of all
    such exchanges, or of a sample of them, with a mean difference at least as large,
    in either direction. The interval is the paired percentile bootstrap over the
    queries. With several systems, p-values are also corrected by Holm's method [2]_,
    so that the probability of any false finding among them is bounded.

    Parameters
    ----------
    a : array-like of shape (n_queries,)
        Values of the baseline, by any metric with `per_query=True`.

    b : array-like of shape (n_queries,), or mapping of str to such
        Values of the other system, or of several by their names, for the same queries
        in the same order. Queries that are nan in both are left out.

    groups : array-like of shape (n_queries,), default=None
        Numbers or names of groups of queries that are not independent of each other,
        such as the captions of one image. The mean of a group counts as one query.

    n_resamples : int, default=9999
        Number of random exchanges and of bootstrap samples. If there are no more
        exchanges than this, each is made once, and the p-value is exact.

    confidence_level : float, default=0.95
        Level of the interval of each difference, between 0 and 1. The intervals are
        not corrected for the number of systems.

    random_state : int, RandomState instance or None, default=None
        Determines the exchanges and the bootstrap samples. All systems share them.

    digits : int, default=3
        Number of digits in the table, where a small p-value is shown as "<0.001". The
        dictionary is not rounded.

    output_dict : bool, default=False
        Whether to return a dictionary.

    Returns
    -------
    table : str or dict
        A table, or a dictionary of the same structure, with one row for each system in
        `b`; a single one is called "b"::

            {"b": {"baseline": 0.41, "mean": 0.44, "difference": 0.03,
                   "low": 0.01, "high": 0.05, "p": 0.004, "p (Holm)": 0.004,
                   "queries": 693}}

    Raises
    ------
    ValueError
        If there are values of different queries, of fewer than two, or more than one
        value for a query; if a value is infinite or no number; if the name of a group
        is missing.

    See Also
    --------
    ComparisonDisplay : Plots the differences with their intervals.
    mean_average_precision, cross_modal_report : Give the values with
        `per_query=True`.

    References
    ----------
    .. [1] M. D. Smucker, J. Allan and B. Carterette, "A comparison of statistical
       significance tests for information retrieval evaluation", CIKM 2007.
    .. [2] S. Holm, "A simple sequentially rejective multiple test procedure",
       Scandinavian Journal of Statistics 6(2), 1979.

    Examples
    --------
    >>> from sklearn_cmr.metrics import compare_retrieval
    >>> a = [0.1, 0.4, 0.3, 0.2, 0.6, 0.3, 0.5, 0.4]
    >>> b = [0.3, 0.5, 0.4, 0.5, 0.6, 0.5, 0.4, 0.6]
    >>> print(compare_retrieval(a, b, random_state=0))
       baseline   mean  difference    low   high      p  p (Holm)  queries
    <BLANKLINE>
    b     0.350  0.475       0.125  0.038  0.200  0.062     0.062        8
    <BLANKLINE>
    """
    a = _check_values(a, "a")
    systems = dict(b) if isinstance(b, Mapping) else {"b": b}
    if not systems:
        raise ValueError("b is empty. Pass the values of at least one system.")
    if groups is not None:
        groups = _number_groups(groups, len(a))
    seed = check_random_state(random_state).randint(2**31 - 1)
    table = {}
    for name, values in systems.items():
        pair = a, _check_values(values, str(name))
        known = _known_queries(*pair, name)
        pair = tuple(each[known] for each in pair)
        if groups is not None:
            pair = tuple(_average_groups(each, groups[known]) for each in pair)
        if len(pair[0]) < 2:
            raise ValueError(
                f"The baseline and {name} have values for {len(pair[0])} queries or "
                "groups of them. A comparison needs at least 2."
            )
        table[name] = _compare(
            *pair,
            n_resamples=n_resamples,
            confidence_level=confidence_level,
            seed=seed,
        )
        table[name]["queries"] = len(pair[0])
    adjusted = _holm([row["p"] for row in table.values()])
    for row, p in zip(table.values(), adjusted, strict=True):
        queries = row.pop("queries")
        row |= {"p (Holm)": float(p), "queries": queries}
    return table if output_dict else _format(table, int(digits))
