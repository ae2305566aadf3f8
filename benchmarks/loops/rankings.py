"""Mean average precision as published evaluators and other packages compute it.

All functions take ``(query, gallery, y_query, y_gallery)`` and return the mean over the
queries.
"""

# SPDX-License-Identifier: BSD-3-Clause

from functools import partial

import numpy as np
import torch
from sklearn.metrics import average_precision_score


def relevant_to(label, y_gallery):
    """Tell which items share a label with one query."""
    return y_gallery @ label > 0 if y_gallery.ndim == 2 else y_gallery == label


def cosine_to(query, gallery):
    """Return the similarities of one query."""
    norms = np.linalg.norm(gallery, axis=1) * np.linalg.norm(query)
    return gallery @ query / norms


def hamming_to(query, gallery):
    """Return the negative distances of one query, as the published evaluators do."""
    return -0.5 * (len(query) - gallery.astype(np.float32) @ query)


def by_query(query, gallery, y_query, y_gallery, similarity):
    """Rank and average one query after the other, with numpy alone."""
    total = 0.0
    for point, label in zip(query, y_query, strict=True):
        relevant = relevant_to(label, y_gallery)
        hits = relevant[np.argsort(-similarity(point, gallery))]
        if hits.any():
            ranks = np.flatnonzero(hits) + 1
            total += np.mean(np.arange(1, len(ranks) + 1) / ranks)
    return total / len(query)


def by_sklearn(query, gallery, y_query, y_gallery, similarity):
    """Call scikit-learn's score for every query."""
    scores = [
        average_precision_score(relevant, similarity(point, gallery))
        for point, label in zip(query, y_query, strict=True)
        if (relevant := relevant_to(label, y_gallery)).any()
    ]
    return np.sum(scores) / len(query)


def by_torchmetrics(query, gallery, y_query, y_gallery):
    """Call the metric of torchmetrics on all pairs at once."""
    scores = torch.nn.functional.normalize(torch.from_numpy(query))
    scores = scores @ torch.nn.functional.normalize(torch.from_numpy(gallery)).T
    # It takes no item for relevant whose score is not positive.
    scores += 2
    relevant = np.stack([relevant_to(label, y_gallery) for label in y_query])
    indexes = torch.arange(len(query))[:, None].expand_as(scores)
    return RetrievalMAP()(
        scores.flatten(), torch.from_numpy(relevant).flatten(), indexes.flatten()
    ).item()


def by_ranx(query, gallery, y_query, y_gallery):
    """Hand all relevant items and all scores to ranx."""
    names = np.array([f"d{i}" for i in range(len(gallery))])
    qrels, run = {}, {}
    for number, (point, label) in enumerate(zip(query, y_query, strict=True)):
        relevant = relevant_to(label, y_gallery)
        qrels[f"q{number}"] = dict.fromkeys(names[relevant], 1)
        scores = cosine_to(point, gallery).tolist()
        run[f"q{number}"] = dict(zip(names, scores, strict=True))
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
    for start in range(0, len(query), 64):
        part = query[start : start + 64]
        distances = np.zeros((len(part), gallery.shape[1]), dtype=np.int64)
        for column, word in zip(part.T, gallery, strict=True):
            distances += np.bitwise_count(column[:, None] ^ word)
        distances += n_levels * np.arange(len(part))[:, None]
        np.bincount(distances.ravel(), minlength=n_levels * len(part))


# Contenders, and whether they take one query after the other.
COSINE = {
    "numpy, by query": (partial(by_query, similarity=cosine_to), True),
    "scikit-learn, by query": (partial(by_sklearn, similarity=cosine_to), True),
    "product + sort": (product_and_sort, False),
}
HAMMING = {
    "numpy, by query": (partial(by_query, similarity=hamming_to), True),
    "scikit-learn, by query": (partial(by_sklearn, similarity=hamming_to), True),
    "popcount + counting": (popcount_and_count, False),
}
ON_LARGEST = ["numpy, by query"]
TARGETS = {
    "cosine": {
        "numpy, by query": 5.0,
        "torchmetrics": 14.0,
        "product + sort": 1 / 3.2,
    },
    "hamming": {"numpy, by query": 25.0, "popcount + counting": 1 / 2},
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
