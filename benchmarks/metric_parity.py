"""Compare every metric with libraries that have it, and write the table of the docs.

    python benchmarks/metric_parity.py           print the table
    python benchmarks/metric_parity.py --write   write docs/metrics_parity.rst

Real data are taken from the folder that SKLEARN_CMR_DATA names.
"""

# SPDX-License-Identifier: BSD-3-Clause

import argparse
import os
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytrec_eval
from data import load, make_model
from scipy import ndimage, stats
from scipy.spatial.distance import cdist
from sklearn import metrics as of_sklearn

from sklearn_cmr import CCAProjector, ITQHasher, metrics

PAGE = Path(__file__).parents[1] / "docs" / "metrics_parity.rst"
LIBRARIES = ("scikit-learn", "scipy", "pytrec_eval-terrier")
CUTOFFS = (1, 5, 10, 50)
N_BITS = 32
DEFINITIONS = {
    "mean_average_precision": "mean, over the relevant items, of the precision at "
    "their ranks",
    "mean_average_precision, k": "the same of the first k ranks, over the number of "
    "all relevant items (``normalizer='all'``)",
    "map_at_r": "the same with k = R, the number of relevant items of the query",
    "r_precision": "precision at R",
    "precision_at_k": "share of relevant items in the first k",
    "recall_at_k": "share of the relevant items that are in the first k",
    "hit_rate_at_k": "share of the queries with a relevant item in the first k",
    "reciprocal_rank": "1 / rank of the first relevant item",
    "mean_rank": "rank of the first relevant item, by query",
    "median_rank": "median of that rank over the queries",
    "rsum": "sum of the hit rates of pairs at 1, 5, 10 in both directions, in percent",
    "ndcg_at_k": "gains discounted by log2(rank + 1), over those of the best order; "
    "the gain is the number of common labels",
    "ndcg_at_k, ties": "the same, mean over all orders of tied items",
    "ndcg_at_k, exponential": "the same with the gain 2^g - 1",
    "precision_recall_curve, rank": "mean precision and recall at every rank",
    "precision_recall_curve, recall": "interpolated precision at eleven recalls",
    "precision_recall_curve, radius": "mean precision and recall at every Hamming "
    "radius",
    "compare_retrieval": "p-value of the paired randomization test over all swaps of "
    "12 queries",
}
PAGE_TEXT = """\
The metrics beside other libraries
==================================

``benchmarks/metric_parity.py``, which wrote this page, computes every metric, and the
same values by {libraries}.
They are the values of single queries, where there is one for each. The libraries rank
by the distances of ``scipy.spatial.distance.cdist``, so that our distances are
compared, too.

The order of tied items is that of the gallery (``ties="stable"``), which every library
can be given. "expected", the default for codes, is in the row of NDCG, whose mean over
all orders scikit-learn computes; the tests compare the other metrics with the mean over
all orders of small lists. For reciprocal ranks of pairs, scikit-learn's order is
"pessimistic".

{table}

Not in the table: ``iprec_at_recall`` of trec_eval, interpolated precision. For a recall
of :math:`r` of :math:`R` relevant items it asks for the integer part of :math:`r R +
0.9` items, which is one too few where the fraction of :math:`r R` is below 0.1. Its
precision is then up to 0.004 higher on these sets; with exactly the recall asked for,
scikit-learn's curve gives our values.

The sets; "CCA" is the common space of the standardized training rows, "codes" its
quantization by ITQ:

{sets}
"""


class Case(NamedTuple):
    """A set of queries, a gallery, and their labels as indicators."""

    name: str
    query: np.ndarray
    gallery: np.ndarray
    y_query: np.ndarray
    y_gallery: np.ndarray


class Ranking:
    """What the libraries are given: distances, grades and scores without ties."""

    def __init__(self, case):
        metric = "hamming" if case.query.dtype == np.int8 else "cosine"
        self.distances = cdist(case.query, case.gallery, metric)
        self.grades = case.y_query.astype(int) @ case.y_gallery.astype(int).T
        self.relevant = self.grades > 0
        order = np.argsort(self.distances, axis=1, kind="stable")
        n_items = order.shape[1]
        self.ranks = np.empty_like(order)
        np.put_along_axis(self.ranks, order, np.arange(1, n_items + 1)[None], axis=1)
        self.scores = -self.ranks

    def per_query(self, function, *arrays, **options):
        """Apply a metric of one list to every query."""
        lists = zip(*(arrays or (self.relevant, self.scores)), strict=True)
        return np.array([function(*own, **options) for own in lists])

    def trec_eval(self, *measures):
        """Return the values of measures by query, in the order of the names."""
        qrels = {
            str(i): {str(j): int(own[j]) for j in np.flatnonzero(own)}
            for i, own in enumerate(self.grades)
        }
        run = {
            str(i): {str(j): float(score) for j, score in enumerate(own)}
            for i, own in enumerate(self.scores)
        }
        found = pytrec_eval.RelevanceEvaluator(qrels, set(measures)).evaluate(run)
        return [found[str(i)] for i in range(len(self.grades))]


def generated_cases(n_query=100, n_gallery=400, seed=0):
    """Return embeddings and codes, of one label and of several."""
    rng = np.random.default_rng(seed)
    cases = []
    for n_labels in ("one label", "several labels"):
        y = np.eye(10, dtype=int)[rng.integers(0, 10, n_query + n_gallery)]
        if n_labels == "several labels":
            y |= rng.random(y.shape) < 0.2
        Z = rng.normal(size=(len(y), 16)) + y @ rng.normal(size=(10, 16))
        codes = np.where(Z >= 0, 1, -1).astype(np.int8)
        for kind, X in (("embeddings", Z), ("16-bit codes", codes)):
            parts = X[:n_query], X[n_query:], y[:n_query], y[n_query:]
            cases.append(Case(f"generated {kind}, {n_labels}", *parts))
    return cases


def real_cases(n_query=300):
    """Return common spaces of real data: images query texts, training rows alone."""
    for name in ("wiki_cnn_pca", "iaprtc12_1962"):
        pairs, y = load(name, "train")
        indicator = y if y.ndim == 2 else np.eye(y.max() + 1, dtype=int)[y]
        labels = indicator[:n_query], indicator
        hasher = ITQHasher(projector=CCAProjector(), n_bits=N_BITS, random_state=0)
        for kind, est in (("CCA", CCAProjector()), (f"{N_BITS}-bit codes", hasher)):
            Z = make_model(est).fit(pairs, y).transform(pairs)
            yield Case(f"{name}, {kind}", Z["image"][:n_query], Z["text"], *labels)


def compare_lists(case):
    """Yield metric, library, our values and theirs for metrics of ranked lists."""
    ranking = Ranking(case)
    sets = case[1:]
    options = {"ties": "stable", "per_query": True}
    n_relevant = ranking.relevant.sum(1)
    cuts = ",".join(map(str, CUTOFFS))
    every_r = ",".join(map(str, np.unique(n_relevant)))
    trec = ranking.trec_eval(
        *("map", "Rprec", "recip_rank", f"P.{cuts}", f"recall.{cuts}"),
        *(f"map_cut.{cuts},{every_r}", f"success.{cuts}", f"ndcg_cut.{cuts}"),
    )

    def of_trec(*names):
        return np.array([[own[name] for name in names] for own in trec]).squeeze()

    def at_cutoffs(measure):
        return of_trec(*(f"{measure}_{k}" for k in CUTOFFS))

    ours = metrics.mean_average_precision(*sets, **options)
    theirs = ranking.per_query(of_sklearn.average_precision_score)
    yield "mean_average_precision", "scikit-learn", ours, theirs
    yield "mean_average_precision", "pytrec_eval", ours, of_trec("map")

    k = list(CUTOFFS)
    ours = metrics.mean_average_precision(*sets, k=k, normalizer="all", **options)
    theirs = at_cutoffs("map_cut")
    yield "mean_average_precision, k", "pytrec_eval", ours, theirs
    ours = metrics.map_at_r(*sets, **options)
    theirs = [own[f"map_cut_{r}"] for own, r in zip(trec, n_relevant, strict=True)]
    yield "map_at_r", "pytrec_eval", ours, theirs
    ours = metrics.r_precision(*sets, **options)
    yield "r_precision", "pytrec_eval", ours, of_trec("Rprec")
    for name, measure in (
        ("precision_at_k", "P"),
        ("recall_at_k", "recall"),
        ("hit_rate_at_k", "success"),
        ("ndcg_at_k", "ndcg_cut"),
    ):
        ours = getattr(metrics, name)(*sets, k=k, **options)
        yield name, "pytrec_eval", ours, at_cutoffs(measure)
    ours = metrics.reciprocal_rank(*sets, **options)
    yield "reciprocal_rank", "pytrec_eval", ours, of_trec("recip_rank")

    first = np.where(ranking.relevant, stats.rankdata(-ranking.scores, axis=1), np.inf)
    ours = metrics.mean_rank(*sets, **options)
    yield "mean_rank", "scipy", ours, first.min(1)
    ours = metrics.median_rank(*sets, ties="stable")
    yield "median_rank", "scipy", ours, ndimage.median(first.min(1))

    gains = (
        ("ndcg_at_k", "linear", ranking.grades),
        ("ndcg_at_k, exponential", "exponential", 2.0**ranking.grades - 1),
    )
    for name, gain, values in gains:
        ours = metrics.ndcg_at_k(*sets, k=10, gain=gain, **options)
        lists = values[:, None], ranking.scores[:, None]
        theirs = ranking.per_query(of_sklearn.ndcg_score, *lists, k=10)
        yield name, "scikit-learn", ours, theirs
    if case.query.dtype == np.int8:
        ours = metrics.ndcg_at_k(*sets, k=10, ties="expected", per_query=True)
        lists = ranking.grades[:, None], -ranking.distances[:, None]
        theirs = ranking.per_query(of_sklearn.ndcg_score, *lists, k=10)
        yield "ndcg_at_k, ties", "scikit-learn", ours, theirs

    # From the first rank on; the last point of scikit-learn's is that of no item.
    curves = np.array(
        [
            of_sklearn.precision_recall_curve(*own)[:2]
            for own in zip(ranking.relevant, ranking.scores, strict=True)
        ]
    )[:, :, -2::-1]
    curve = metrics.precision_recall_curve(*sets, ties="stable")
    ours = curve.precision, curve.recall
    yield "precision_recall_curve, rank", "scikit-learn", ours, curves.mean(0)
    curve = metrics.precision_recall_curve(*sets, by="recall", ties="stable")
    theirs = [
        np.mean([own[recall >= level - 1e-12].max() for own, recall in curves])
        for level in curve.thresholds
    ]
    yield "precision_recall_curve, recall", "scikit-learn", curve.precision, theirs
    if case.query.dtype == np.int8:
        curve = metrics.precision_recall_curve(*sets, by="radius")
        n_bits = case.query.shape[1]
        balls = [(ranking.distances * n_bits).round() <= r for r in range(n_bits + 1)]
        for name in ("precision", "recall"):
            score = getattr(of_sklearn, f"{name}_score")
            theirs = [
                score(ranking.relevant, ball, average="samples", zero_division=0)
                for ball in balls
            ]
            ours = getattr(curve, name)
            yield "precision_recall_curve, radius", "scikit-learn", ours, theirs


def compare_pairs(case):
    """Yield the same for metrics of pairs: each item has one relevant partner."""
    n = len(case.query)
    Z_img, Z_txt = case.query, case.gallery[:n]
    similarities = 1 - cdist(Z_img, Z_txt, "cosine")
    ours = metrics.rsum(Z_img, Z_txt, k=CUTOFFS[:3])
    theirs = 100 * sum(
        of_sklearn.top_k_accuracy_score(np.arange(n), scores, k=k, labels=np.arange(n))
        for scores in (similarities, similarities.T)
        for k in CUTOFFS[:3]
    )
    yield "rsum", "scikit-learn", ours, theirs
    options = {"relevance": "pair", "ties": "pessimistic"}
    ours = metrics.reciprocal_rank(Z_img, Z_txt, **options)
    theirs = of_sklearn.label_ranking_average_precision_score(np.eye(n), similarities)
    yield "reciprocal_rank", "scikit-learn", ours, theirs


def compare_tests(seed=0, n_tests=20, n_queries=12):
    """Yield p-values of two systems on few queries, where the test is complete."""
    rng = np.random.default_rng(seed)
    ours, theirs = [], []
    for shift in np.linspace(0, 0.3, n_tests):
        a = rng.random(n_queries)
        b = a + rng.normal(shift, 0.2, n_queries)
        table = metrics.compare_retrieval(
            a, b, n_resamples=2**n_queries, random_state=0, output_dict=True
        )
        test = stats.permutation_test(
            (a, b),
            lambda x, y, axis: np.mean(y - x, axis=axis),
            permutation_type="samples",
            n_resamples=np.inf,
        )
        ours.append(table["b"]["p"])
        theirs.append(test.pvalue)
    yield "compare_retrieval", "scipy", ours, theirs


def measure(cases):
    """Return numbers of values and largest differences, by metric and library."""
    found = {}
    for case in cases:
        results = [*compare_lists(case)]
        if case.query.dtype != np.int8:
            results += compare_pairs(case)
        for name, library, *values in results:
            found.setdefault((name, library), []).append(values)
    for name, library, *values in compare_tests():
        found.setdefault((name, library), []).append(values)
    table = {}
    for name in DEFINITIONS:
        for (own, library), pairs in found.items():
            if own == name:
                ours, theirs = (
                    np.concatenate([np.ravel(pair[i]) for pair in pairs])
                    for i in (0, 1)
                )
                table[name, library] = len(ours), np.abs(ours - theirs).max()
    return table


def write_table(table):
    """Return the table in reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    heads = "metric", "definition", "compared with", "values", "largest difference"
    rows = [heads]
    for (name, library), (n_values, difference) in table.items():
        metric, *form = name.split(", ")
        metric = ", ".join([f"``{metric}``", *form])
        size = f"{difference:.0e}" if difference else "0"
        rows.append((metric, DEFINITIONS[name], library, f"{n_values:,}", size))
    for row in rows:
        lines += [f"   {'  -' if i else '* -'} {cell}" for i, cell in enumerate(row)]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    arguments = parser.parse_args()
    cases = generated_cases()
    if os.environ.get("SKLEARN_CMR_DATA"):
        cases += real_cases()
    *others, last = (f"{name} {version(name)}" for name in LIBRARIES)
    page = PAGE_TEXT.format(
        libraries=f"{', '.join(others)} and {last}",
        table=write_table(measure(cases)),
        sets="\n".join(
            f"- {case.name}: {len(case.query):,} queries, {len(case.gallery):,} items"
            for case in cases
        ),
    )
    print(page, end="")
    if arguments.write:
        PAGE.write_text(page)


if __name__ == "__main__":
    main()
