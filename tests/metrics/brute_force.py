"""Metrics of one ranked list by their definitions, in plain Python."""

# SPDX-License-Identifier: BSD-3-Clause

from math import inf


def precision(relevant, k):
    return sum(relevant[:k]) / min(k, len(relevant))


def hit_rate(relevant, k):
    return float(any(relevant[:k]))


def rank(relevant, k=None):
    return relevant.index(1) + 1 if any(relevant) else inf


def reciprocal_rank(relevant, k):
    return 1 / rank(relevant) if any(relevant[:k]) else 0.0


def average_precision(relevant, k):
    hits = [precision(relevant, j + 1) for j in range(min(k, len(relevant)))]
    return sum(p * r for p, r in zip(hits, relevant, strict=False)) / max(
        1, sum(relevant)
    )


def r_precision(relevant, k=None):
    return precision(relevant, sum(relevant)) if any(relevant) else 0.0


def map_at_r(relevant, k=None):
    return average_precision(relevant, sum(relevant))


def ranked(distances, relevant):
    """Relevance of a list sorted by distance, in the order of the gallery."""
    order = sorted(range(len(distances)), key=lambda j: distances[j])
    return [int(relevant[j]) for j in order]
