"""Speed of all metrics and of searches of every size, for speed.py."""

# SPDX-License-Identifier: BSD-3-Clause

import time
from functools import partial

import numpy as np
import search
from harness import compare, limited_threads

from sklearn_cmr import CrossModalNeighbors
from sklearn_cmr.metrics import (
    hit_rate_at_k,
    mean_average_precision,
    median_rank,
    ndcg_at_k,
    precision_recall_curve,
    recall_at_k,
)

METRICS = {
    "mAP": mean_average_precision,
    **{
        f"mAP, ties={ties!r}": partial(mean_average_precision, ties=ties)
        for ties in ("expected", "stable", "optimistic", "pessimistic", "random")
    },
    "mAP, k=50": partial(mean_average_precision, k=50),
    "ndcg_at_k, k=10": partial(ndcg_at_k, k=10),
    "recall_at_k, k=10": partial(recall_at_k, k=10),
    "hit_rate_at_k, k=10": partial(hit_rate_at_k, k=10),
    "median_rank": median_rank,
    "precision_recall_curve": precision_recall_curve,
}

# -- metrics -----------------------------------------------------------------------


def metrics(kind, size, directions, options):
    """Yield the time of each metric, relative to that of the mAP."""

    def rank(function):
        for sets in directions:
            function(*sets)

    runs = {name: partial(rank, function) for name, function in METRICS.items()}
    yield from compare("All metrics", f"{kind}, {size}", runs, rounds=options.rounds)


# -- search ------------------------------------------------------------------------

# What is searched: the metric, the width of a row, and who makes the rows.
KINDS = {
    "64-bit codes": ("hamming", search.random_codes),
    "128 numbers": ("euclidean", partial(search.random_rows, width=128)),
}
# Numbers of queries, by the number of items.
SIZES = {10_000: (1, 32, 1000), 100_000: (1, 32, 1000), 1_000_000: (1, 32)}
# Pairs of a query and an item in one measurement, at least.
_PAIRS = 10**7
_APPROXIMATE_ITEMS, _APPROXIMATE_QUERIES = 100_000, 100


def searches(options):
    """Yield the time of a query, by the number of queries and items."""
    for (kind, (metric, make)), (n_items, blocks) in _cases(KINDS, SIZES, options):
        gallery, queries = _make(make, n_items, max(blocks))
        found = _contenders(gallery, metric)
        for n_queries in blocks:
            repeats = max(1, _PAIRS // (n_queries * n_items))
            query = queries[:n_queries]
            runs = {
                name: partial(_repeat, one, query, repeats)
                for name, one in found.items()
            }
            yield from compare(
                "Search by the number of queries, a query",
                f"{kind}, {n_queries} of {n_items:,}",
                runs,
                rounds=options.rounds,
                per=n_queries * repeats,
            )


def balls(options):
    """Yield the time of a query by radius, with many hits."""
    n_items = 100_000 if options.quick else search.N_ITEMS
    for kind, radius in {"64-bit codes": 24, "128 numbers": 14.0}.items():
        metric, make = KINDS[kind]
        gallery, query = _make(make, n_items, 1)
        models = _models(gallery, metric, _exact())
        runs = {
            name: partial(model.radius_neighbors, query, radius)
            for name, model in models.items()
        }
        hits = len(models["brute"].radius_neighbors(query, radius)[1][0])
        if search.faiss is not None:
            index = _index(gallery, metric)
            limit = radius + 1 if metric == "hamming" else radius**2
            runs["index of faiss"] = partial(index.range_search, query, limit)
        task = f"{kind}, radius {radius:g}, 1 of {n_items:,}"
        rows = compare("Search by radius, a query", task, runs, rounds=options.rounds)
        rows[0].note = f"{hits:,} hits"
        yield from rows


def approximate(options):
    """Yield the time of a query by approximate algorithms, and their recall."""
    if search.faiss is None:
        print("left out: approximate search (needs faiss)", flush=True)
        return
    kinds = {
        "64-bit codes, clustered": ("hamming", search.clustered_codes),
        "64 numbers, clustered": ("euclidean", search.clustered_rows),
    }
    n_items = _APPROXIMATE_ITEMS // (10 if options.quick else 1)
    for kind, (metric, make) in kinds.items():
        gallery, query = _make(make, n_items, _APPROXIMATE_QUERIES)
        models, notes = {}, {}
        with limited_threads(1):
            for algorithm, params in search.APPROXIMATE:
                name = f"{algorithm} {params or ''}".strip()
                start = time.process_time()
                models |= _models(gallery, metric, {name: (algorithm, params)})
                notes[name] = f"built in {time.process_time() - start:.3g} s"
        exact = models["brute"].kneighbors(query)[0]
        rows = compare(
            "Approximate search, a query",
            f"{kind}, {len(query)} of {n_items:,}",
            {name: partial(model.kneighbors, query) for name, model in models.items()},
            rounds=options.rounds,
            per=len(query),
        )
        for row in rows:
            found = models[row.contender].kneighbors(query)[0]
            recall = search.recall(found, exact)
            row.note = f"recall {recall:.3f}, {notes[row.contender]}"
        yield from rows


def _cases(kinds, sizes, options):
    for kind in kinds.items():
        for n_items, blocks in sizes.items():
            if not options.quick or n_items == min(sizes):
                yield kind, (n_items, blocks)


def _make(make, n_items, n_queries):
    return make(n_items, np.random.default_rng(1)), make(
        n_queries, np.random.default_rng(2)
    )


def _repeat(one, query, repeats):
    for _ in range(repeats):
        one(query)


def _exact():
    names = ["brute"] if search.faiss is None else ["brute", "faiss"]
    return {name: (name, None) for name in names}


def _models(gallery, metric, algorithms):
    return {
        name: CrossModalNeighbors(
            n_neighbors=search.K,
            metric=metric,
            algorithm=algorithm,
            algorithm_params=params,
        ).fit(gallery)
        for name, (algorithm, params) in algorithms.items()
    }


def _index(gallery, metric):
    """Return a flat index of faiss."""
    if metric == "hamming":
        index = search.faiss.IndexBinaryFlat(8 * gallery.shape[1])
    else:
        index = search.faiss.IndexFlatL2(gallery.shape[1])
    index.add(gallery)
    return index


def _contenders(gallery, metric):
    """Return the exact searches by name."""
    models = _models(gallery, metric, _exact())
    found = {name: model.kneighbors for name, model in models.items()}
    if search.faiss is not None:
        index = _index(gallery, metric)
        found["index of faiss"] = lambda query: index.search(query, search.K)
    return found
