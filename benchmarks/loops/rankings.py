"""Mean average precision as published evaluators and other packages compute it.

All functions take ``(query, gallery, y_query, y_gallery)`` and return the mean over the
queries. Those who take one query after the other get what :func:`prepare` returns,
which is not timed.
"""

# SPDX-License-Identifier: BSD-3-Clause

from functools import partial

import numpy as np
import torch
from sklearn.metrics import average_precision_score

# Pairs whose distances stay in the processor's cache.
_CACHED_PAIRS = 2**16


def prepare(query, gallery, y_query, y_gallery, kind):
    """Bring everything into the form in which it is multiplied fastest."""
    sets = [np.float32(query), np.float32(gallery)]
    if kind == "cosine":
        sets = [X / np.linalg.norm(X, axis=1, keepdims=True) for X in sets]
    labels = [np.float32(y) if y.ndim == 2 else y for y in (y_query, y_gallery)]
    return *sets, *labels


def find_relevant(y_query, y_gallery):
    """Tell for all pairs whether they share a label."""
    if y_query.ndim == 2:
        return y_query @ y_gallery.T > 0
    return y_query[:, None] == y_gallery


def average_precision(hits):
    """Return the average precision of one list."""
    ranks = np.flatnonzero(hits) + 1
    return np.mean(np.arange(1, len(ranks) + 1) / ranks) if len(ranks) else 0.0


def by_query(query, gallery, y_query, y_gallery, kind=None):
    """Multiply for all queries, rank and average one after the other.

    `kind` is that of the sort: published evaluators leave it to numpy, which may order
    tied items in any way, and another one on another processor.
    """
    distances = -query @ gallery.T
    relevant = find_relevant(y_query, y_gallery)
    pairs = zip(distances, relevant, strict=True)
    return np.mean(
        [average_precision(hits[row.argsort(kind=kind)]) for row, hits in pairs]
    )


def all_by_query(query, gallery, y_query, y_gallery):
    """Do everything for one query after the other, as published evaluators of codes."""
    scores = []
    for point, label in zip(query, y_query, strict=True):
        hits = find_relevant(label[None], y_gallery)[0]
        distances = 0.5 * (len(point) - point @ gallery.T)
        scores.append(average_precision(hits[distances.argsort()]))
    return np.mean(scores)


def by_sklearn(query, gallery, y_query, y_gallery):
    """Call scikit-learn's score for every query."""
    scores = [
        average_precision_score(hits, row)
        for hits, row in zip(
            find_relevant(y_query, y_gallery), query @ gallery.T, strict=True
        )
        if hits.any()
    ]
    return np.sum(scores) / len(query)


def by_torchmetrics(query, gallery, y_query, y_gallery):
    """Call the metric of torchmetrics on all pairs at once."""
    # It takes no item for relevant whose score is not positive.
    scores = torch.from_numpy(query) @ torch.from_numpy(gallery).T + 2
    relevant = torch.from_numpy(find_relevant(y_query, y_gallery))
    indexes = torch.arange(len(query))[:, None].expand_as(scores)
    metric = RetrievalMAP()
    return metric(scores.flatten(), relevant.flatten(), indexes.flatten()).item()


def by_ranx(query, gallery, y_query, y_gallery):
    """Hand all relevant items and all scores to ranx."""
    names = np.array([f"d{i}" for i in range(len(gallery))])
    relevant = find_relevant(y_query, y_gallery)
    scores = query @ gallery.T
    qrels, run = {}, {}
    for number in range(len(query)):
        name = f"q{number}"
        qrels[name] = dict.fromkeys(names[relevant[number]], 1)
        run[name] = dict(zip(names, scores[number].tolist(), strict=True))
    return evaluate(Qrels(qrels), Run(run), "map")


def product_and_sort(query, gallery, y_query, y_gallery):
    """The similarities and their order, and nothing else."""
    query = query / np.linalg.norm(query, axis=1, keepdims=True)
    gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    for start in range(0, len(query), 64):
        np.sort(query[start : start + 64] @ gallery.T, axis=1)


def popcount_and_count(query, gallery, y_query, y_gallery):
    """The distances and how many items there are at each, and nothing else."""
    n_levels = query.shape[1] + 1
    query, gallery = (
        np.packbits(codes > 0, axis=1).view(np.uint64) for codes in (query, gallery)
    )
    gallery = np.ascontiguousarray(gallery.T)
    step = max(1, _CACHED_PAIRS // gallery.shape[1])
    for start in range(0, len(query), step):
        part = query[start : start + step]
        distances = n_levels * np.arange(len(part), dtype=np.int32)[:, None]
        for column, word in zip(part.T, gallery, strict=True):
            distances = distances + np.bitwise_count(column[:, None] ^ word)
        distances = torch.from_numpy(distances.ravel())
        torch.bincount(distances, minlength=n_levels * len(part))


# Contenders, and whether they take one query after the other.
_BY_QUERY = {
    "numpy, by query": (by_query, True),
    "numpy, by query, stable": (partial(by_query, kind="stable"), True),
    "scikit-learn, by query": (by_sklearn, True),
}
COSINE = _BY_QUERY | {"product + sort": (product_and_sort, False)}
HAMMING = _BY_QUERY | {
    "numpy, products by query": (all_by_query, True),
    "popcount + counting": (popcount_and_count, False),
}
ON_LARGEST = ["numpy, by query", "numpy, by query, stable"]
TARGETS = {
    "cosine": {
        "numpy, by query": 5.0,
        "torchmetrics": 14.0,
        "product + sort": 1 / 3.2,
    },
    "hamming": {"numpy, products by query": 25.0, "popcount + counting": 1 / 2},
}

# Packages that need not be there.
MISSING = {}
try:
    from torchmetrics.retrieval import RetrievalMAP
except ImportError as error:
    MISSING["torchmetrics"] = error
else:
    COSINE["torchmetrics"] = (by_torchmetrics, True)
try:
    from ranx import Qrels, Run, evaluate
except ImportError as error:
    MISSING["ranx"] = error
else:
    COSINE["ranx"] = (by_ranx, True)
