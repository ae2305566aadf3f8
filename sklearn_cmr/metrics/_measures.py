"""Measures of ranked lists with ties: means over all orders of tied items."""

# SPDX-License-Identifier: BSD-3-Clause

from functools import lru_cache

import numpy as np
from scipy.special import digamma, gammaln


@lru_cache(maxsize=1)
def _harmonic_numbers(n):
    """Return 1 + 1/2 + ... + 1/m for m = 0, ..., n."""
    return digamma(np.arange(1, n + 2)) + np.euler_gamma


@lru_cache(maxsize=1)
def _log_factorials(n):
    """Return log(m!) for m = 0, ..., n."""
    return gammaln(np.arange(1, n + 2))


@lru_cache(maxsize=1)
def _discount_sums(n):
    """Return 1/log2(2) + 1/log2(3) + ... + 1/log2(m + 1) for m = 0, ..., n."""
    return np.concatenate([[0], np.cumsum(1 / np.log2(np.arange(2, n + 2)))])


def _last_groups(groups, k):
    """Find the last group that begins within the first `k` items of each query.

    Returns its index, and how many of its positions count, both of shape
    (n_rows, len(k)). Without such a group, the index is arbitrary and none counts.
    """
    width = groups.n_items + 1
    row = np.arange(len(groups.totals))[:, None]
    place = groups.query * width + groups.start
    last = np.maximum(np.searchsorted(place, row * width + k) - 1, 0)
    taken = np.clip(k - groups.start[last], 0, groups.size[last])
    return last, np.where(groups.query[last] == row, taken, 0)


def _hits(groups, k):
    """Count the relevant items in the first `k`, on average over all orders."""
    if len(groups.query) == 0:
        return np.zeros((len(groups.totals), len(k)))
    last, taken = _last_groups(groups, k)
    hits = groups.found[last] + groups.hits[last] / groups.size[last] * taken
    return np.where(taken > 0, hits, 0)


def precision(groups, k):
    """Return the share of relevant items in the first `k`, an array."""
    return _hits(groups, k) / k


def recall(groups, k):
    """Return the share of the relevant items in the first `k`, an array."""
    return _hits(groups, k) / np.maximum(groups.n_relevant, 1)[:, None]


def precision_at_r(groups, k=None):
    """Return the precision at the number of relevant items, as one column."""
    n_relevant = groups.n_relevant[:, None]
    return _hits(groups, n_relevant) / np.maximum(n_relevant, 1)


def interpolated_precision(groups, tenths):
    """Return the highest precision at any rank whose recall is at least some tenths."""
    values = np.zeros((len(groups.totals), len(tenths)))
    row = np.flatnonzero(groups.n_relevant)
    if len(row) == 0:
        return values
    # The group that reaches each recall, in integers that are ten times as large, ...
    wanted = tenths * groups.n_relevant[row, None]
    end = groups.found + groups.hits
    width = 10 * (groups.n_items + 1)
    group = np.searchsorted(
        groups.query * width + 10 * end, row[:, None] * width + wanted
    )
    # ... and the first rank in it that does. Precision is monotone within a group, so
    # that the highest one is at this rank or at the end of a group.
    size, hits, found = groups.size[group], groups.hits[group], groups.found[group]
    inside = np.maximum(-((10 * found - wanted) * size // (10 * hits)), 1)
    first = (found + hits / size * inside) / (groups.start[group] + inside)
    at_end = end / (groups.start + groups.size)
    best = np.maximum.reduceat(at_end, group.ravel()).reshape(group.shape)
    best = np.maximum(best, first)
    values[row] = np.maximum.accumulate(best[:, ::-1], axis=1)[:, ::-1]
    return values


def normalized_gain(groups, k):
    """Return the discounted gain of the first `k`, an array, divided by the highest."""
    if len(groups.query) == 0:
        return np.zeros((len(groups.totals), len(k)))
    sums = _discount_sums(groups.n_items)
    last, taken = _last_groups(groups, k)
    # The gain at each position of a group is on average that of its items.
    gain = groups.gain / groups.size
    whole = gain * (sums[groups.start + groups.size] - sums[groups.start])
    start = groups.start[last]
    part = gain[last] * (sums[start + taken] - sums[start])
    total = groups.sum_before(whole)[last] + part

    # The best ranking sorts the items by descending grade.
    end = np.cumsum(groups.totals[:, :0:-1], axis=1)[:, :, None]
    worth = np.diff(sums[np.minimum(end, k)], axis=1, prepend=0)
    ideal = np.einsum("g,rgk->rk", groups.gains[:0:-1], worth)
    return np.where(taken > 0, total, 0) / np.where(ideal > 0, ideal, 1)


# The first relevant item ----------------------------------------------------------


def _first_groups(groups):
    """Return the rows with any group, and the first group of each."""
    rows = np.flatnonzero(groups.n_groups)
    return rows, groups.first[rows]


def hit_rate(groups, k):
    """Return the probability of a relevant item in the first `k`, an array."""
    values = np.zeros((len(groups.totals), len(k)))
    rows, first = _first_groups(groups)
    start, size, hits = (
        each[first, None] for each in (groups.start, groups.size, groups.hits)
    )
    taken = np.clip(k - start, 0, size)
    # Without a hit, the items taken are some of those that are not relevant.
    misses = size - hits
    left = np.maximum(misses - taken, 0)
    factorial = _log_factorials(groups.n_items)
    log_odds = factorial[misses] - factorial[left]
    log_odds -= factorial[size] - factorial[size - taken]
    values[rows] = np.where(taken > misses, 1, 1 - np.exp(log_odds))
    return values


def mean_reciprocal_rank(groups, k):
    """Return the mean reciprocal rank of the first relevant item, 0 beyond `k`."""
    values = np.zeros((len(groups.totals), len(k)))
    rows, first = _first_groups(groups)
    start, size, hits = (
        each[first] for each in (groups.start, groups.size, groups.hits)
    )
    rank = start[:, None] + 1
    values[rows] = np.where(rank <= k, 1 / rank, 0)
    # One by one: the groups may be as long as the gallery.
    for i in np.flatnonzero(hits < size):
        before = np.arange(size[i] - hits[i] + 1)
        # Probability that the first relevant item has some others of its group before.
        missed = np.cumprod((size[i] - hits[i] - before) / (size[i] - before))
        odds = np.append(1, missed[:-1]) * hits[i] / (size[i] - before)
        sums = np.append(0, np.cumsum(odds / (rank[i] + before)))
        values[rows[i]] = sums[np.clip(k - start[i], 0, len(before))]
    return values


def first_rank(groups, k=None):
    """Return the mean rank of the first relevant item as one column, 0 without one."""
    values = np.zeros((len(groups.totals), 1))
    rows, first = _first_groups(groups)
    size, hits = groups.size[first], groups.hits[first]
    values[rows, 0] = groups.start[first] + (size + 1) / (hits + 1)
    return values


# Average precision --------------------------------------------------------------


def average_precision(groups, k, normalizer):
    """Return the average precision of the first `k` items of each query, an array."""
    # In the whole list, every normalizer is the number of relevant items.
    columns = [
        _average_precision(
            groups, cutoff, normalizer if cutoff < groups.n_items else "all"
        )
        for cutoff in k
    ]
    return np.column_stack(columns)


def average_precision_at_r(groups, k=None):
    """Return the average precision at the number of relevant items, as one column."""
    return _average_precision(groups, groups.n_relevant, "all")[:, None]


def _average_precision(groups, k, normalizer):
    """Return the average precision at one cut-off, or at one for each query."""
    if len(groups.query) == 0:
        return np.zeros(len(groups.totals))
    taken = groups.size
    if is_cut := np.ndim(k) > 0 or k < groups.n_items:
        last = k[groups.query] if np.ndim(k) else k
        taken = np.clip(last - groups.start, 0, groups.size)
    if groups.is_single:
        precisions = (groups.found + 1) / (groups.start + 1)
        if is_cut:
            precisions *= taken
    else:
        harmonic = _harmonic_numbers(groups.n_items)
        precisions = _mean_group_precisions(
            groups.start, groups.found, groups.size, groups.hits, taken, harmonic
        )
    total = groups.sum(precisions)
    if normalizer == "all":
        divisor = groups.n_relevant
    elif normalizer == "min":
        divisor = np.minimum(groups.n_relevant, k)
    elif groups.is_single:
        divisor = groups.sum(taken)
    else:
        return _average_over_retrieved(groups, precisions, total, k)
    # Without a hit, both the sum and the average are 0.
    return total / np.maximum(divisor, 1)


def _mean_group_precisions(start, found, size, hits, taken, harmonic):
    """Return the sum of precisions at relevant items of groups, mean over all orders.

    A group holds `size` items, `hits` of them relevant. `start` items, `found` of
    them relevant, stand before it. Only its first `taken` positions count.
    """
    rho = np.where(size > 1, (hits - 1) / np.maximum(size - 1, 1), 0.0)
    reciprocals = harmonic[start + taken] - harmonic[start]
    precisions = taken * rho + (found + 1 - rho * (start + 1)) * reciprocals
    return hits / np.maximum(size, 1) * precisions


def _average_over_retrieved(groups, precisions, total, k):
    """Average over the relevant items in the first `k`, mean over all orders.

    Their number depends on the order in one group only, the one that holds rank k.
    Given that number, all orders are still equally likely.
    """
    last, taken = _last_groups(groups, np.array([k]))
    start, found, size, hits = (
        values[last]
        for values in (groups.start, groups.found, groups.size, groups.hits)
    )
    fewest = np.maximum(0, taken - (size - hits))
    most = np.minimum(taken, hits)
    drawn = fewest + np.arange(np.max(most - fewest) + 1)
    possible = drawn <= most
    drawn = np.minimum(drawn, most)
    total = total[:, None] - np.where(taken > 0, precisions[last], 0)
    harmonic = _harmonic_numbers(groups.n_items)
    total = total + _mean_group_precisions(start, found, taken, drawn, taken, harmonic)

    # Hypergeometric distribution of the hits drawn, by logarithms of factorials.
    factorial = _log_factorials(groups.n_items)
    log_odds = -factorial[drawn] - factorial[hits - drawn]
    log_odds -= factorial[taken - drawn] + factorial[size - hits - (taken - drawn)]
    log_odds[~possible] = -np.inf
    odds = np.exp(log_odds - log_odds.max(axis=1, keepdims=True))
    values = total / np.maximum(found + drawn, 1)
    # Cumulative sums: those of numpy's `sum` depend on the number of columns, and with
    # it on the other queries.
    return np.cumsum(odds * values, axis=1)[:, -1] / np.cumsum(odds, axis=1)[:, -1]
