"""Measures of ranked lists whose ties are left open: the mean over all orders."""

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


def _last_levels(levels, k):
    """Find the last level that begins within the first `k` items of each query.

    Returns its index, and how many of its positions count, both of shape
    (n_rows, len(k)). Without such a level there is any index, and no position.
    """
    width = levels.n_items + 1
    row = np.arange(len(levels.totals))[:, None]
    place = levels.query * width + levels.start
    last = np.maximum(np.searchsorted(place, row * width + k) - 1, 0)
    taken = np.clip(k - levels.start[last], 0, levels.size[last])
    return last, np.where(levels.query[last] == row, taken, 0)


def _hits(levels, k):
    """Count the relevant items in the first `k`, on average over all orders."""
    if len(levels.query) == 0:
        return np.zeros((len(levels.totals), len(k)))
    last, taken = _last_levels(levels, k)
    hits = levels.found[last] + levels.hits[last] / levels.size[last] * taken
    return np.where(taken > 0, hits, 0)


def precision(levels, k):
    """Share of relevant items in the first `k`, an array."""
    return _hits(levels, k) / k


def recall(levels, k):
    """Share of the relevant items that are in the first `k`, an array."""
    return _hits(levels, k) / np.maximum(levels.n_relevant, 1)[:, None]


def interpolated_precision(levels, tenths):
    """Highest precision at any rank where the recall is at least some tenths."""
    values = np.zeros((len(levels.totals), len(tenths)))
    row = np.flatnonzero(levels.n_relevant)
    if len(row) == 0:
        return values
    # All in integers, ten times as large: the level that reaches each recall, ...
    wanted = tenths * levels.n_relevant[row, None]
    end = levels.found + levels.hits
    width = 10 * (levels.n_items + 1)
    level = np.searchsorted(
        levels.query * width + 10 * end, row[:, None] * width + wanted
    )
    # ... and its first rank there. Within a level the precision rises or falls all
    # along, so that this rank and the ends of levels hold the highest.
    size, hits, found = levels.size[level], levels.hits[level], levels.found[level]
    inside = np.maximum(-((10 * found - wanted) * size // (10 * hits)), 1)
    first = (found + hits / size * inside) / (levels.start[level] + inside)
    at_end = end / (levels.start + levels.size)
    best = np.maximum.reduceat(at_end, level.ravel()).reshape(level.shape)
    best = np.maximum(best, first)
    values[row] = np.maximum.accumulate(best[:, ::-1], axis=1)[:, ::-1]
    return values


def normalized_gain(levels, k, gains):
    """Discounted cumulative gain of the first `k`, divided by the highest possible.

    `k` is an array; `gains` says what an item of every grade is worth.
    """
    if len(levels.query) == 0:
        return np.zeros((len(levels.totals), len(k)))
    sums = _discount_sums(levels.n_items)
    last, taken = _last_levels(levels, k)
    # The gain at each position of a level is on average that of its items.
    gain = levels.gain / levels.size
    whole = gain * (sums[levels.start + levels.size] - sums[levels.start])
    start = levels.start[last]
    part = gain[last] * (sums[start + taken] - sums[start])
    total = levels.sum_before(whole)[last] + part

    # Best are the items of the highest grade, followed by those of the next one.
    end = np.cumsum(levels.totals[:, :0:-1], axis=1)[:, :, None]
    worth = np.diff(sums[np.minimum(end, k)], axis=1, prepend=0)
    ideal = np.einsum("g,rgk->rk", gains[:0:-1], worth)
    return np.where(taken > 0, total, 0) / np.where(ideal > 0, ideal, 1)


# Average precision --------------------------------------------------------------


def average_precision(levels, k, normalizer):
    """Average precision of the first `k` items of each query."""
    if len(levels.query) == 0:
        return np.zeros(len(levels.totals))
    taken = levels.size
    if k < levels.n_items:
        taken = np.clip(k - levels.start, 0, levels.size)
    if levels.is_single:
        precisions = (levels.found + 1) / (levels.start + 1)
        if k < levels.n_items:
            precisions *= taken
    else:
        harmonic = _harmonic_numbers(levels.n_items)
        precisions = _mean_level_precisions(
            levels.start, levels.found, levels.size, levels.hits, taken, harmonic
        )
    total = levels.sum(precisions)
    if normalizer == "all":
        divisor = levels.n_relevant
    elif normalizer == "min":
        divisor = np.minimum(levels.n_relevant, k)
    elif levels.is_single:
        divisor = levels.sum(taken)
    else:
        return _average_over_retrieved(levels, precisions, total, k)
    # Without a hit the sum is zero, and so is the average.
    return total / np.maximum(divisor, 1)


def _mean_level_precisions(start, found, size, hits, taken, harmonic):
    """Sum of the precisions at the relevant items of a level, mean over all orders.

    The level holds `size` items, `hits` of them relevant. `start` items, `found` of
    them relevant, stand before it. Only its first `taken` positions count.
    """
    rho = np.where(size > 1, (hits - 1) / np.maximum(size - 1, 1), 0.0)
    reciprocals = harmonic[start + taken] - harmonic[start]
    precisions = taken * rho + (found + 1 - rho * (start + 1)) * reciprocals
    return hits / np.maximum(size, 1) * precisions


def _average_over_retrieved(levels, precisions, total, k):
    """Average over the relevant items in the first `k`, mean over all orders.

    Their number depends on the order in one level only, the one that holds rank k.
    Given that number, all orders are still equally likely.
    """
    last, taken = _last_levels(levels, np.array([k]))
    start, found, size, hits = (
        values[last]
        for values in (levels.start, levels.found, levels.size, levels.hits)
    )
    fewest = np.maximum(0, taken - (size - hits))
    most = np.minimum(taken, hits)
    drawn = fewest + np.arange(np.max(most - fewest) + 1)
    possible = drawn <= most
    drawn = np.minimum(drawn, most)
    total = total[:, None] - np.where(taken > 0, precisions[last], 0)
    harmonic = _harmonic_numbers(levels.n_items)
    total = total + _mean_level_precisions(start, found, taken, drawn, taken, harmonic)

    # Hypergeometric distribution of the hits drawn, by logarithms of factorials.
    factorial = _log_factorials(levels.n_items)
    log_odds = -factorial[drawn] - factorial[hits - drawn]
    log_odds -= factorial[taken - drawn] + factorial[size - hits - (taken - drawn)]
    log_odds[~possible] = -np.inf
    odds = np.exp(log_odds - log_odds.max(axis=1, keepdims=True))
    values = total / np.maximum(found + drawn, 1)
    return (odds * values).sum(axis=1) / odds.sum(axis=1)
