# SPDX-License-Identifier: BSD-3-Clause
"""
======================
Evaluate as in a paper
======================

The upper half of a handwritten digit queries lower halves, and the other way round.
Three methods are compared as in a paper: by classes and by pairs, over several seeds,
with intervals and tests of significance.
"""

# %%
# Two modalities, with true pairs
# -------------------------------
# The upper half takes the place of the image, the lower half that of the text. Every
# item has a class, the digit, and a partner, its other half.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import bootstrap
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import (
    ACMRProjector,
    CCAProjector,
    CrossModalNeighbors,
    PairTransformer,
    SemanticMatchingProjector,
    make_pairs,
)
from sklearn_cmr.metrics import (
    ComparisonDisplay,
    compare_retrieval,
    cross_modal_report,
)

pixels, y = load_digits(return_X_y=True)
pairs = make_pairs(pixels[:, :32], pixels[:, 32:])
train, test, y_train, y_test = train_test_split(
    pairs, y, train_size=600, test_size=500, stratify=y, random_state=0
)

# %%
# Every method and seed, on the same split
# ----------------------------------------
# Two of the methods draw no random numbers, so that one fit is enough. ACMR gets three
# seeds. All have their defaults. For a paper, tune all methods on the training rows,
# with equal effort.

methods = {
    "CCA": [CCAProjector()],
    "semantic matching": [SemanticMatchingProjector()],
    "ACMR": [ACMRProjector(random_state=seed) for seed in range(3)],
}
embeddings = {}
for name, fits in methods.items():
    embeddings[name] = []
    for projector in fits:
        prepare = PairTransformer(image=StandardScaler(), text=StandardScaler())
        model = make_pipeline(prepare, projector).fit(train, y_train)
        embeddings[name].append(model.transform(test))

# %%
# The table
# ---------
# :func:`~sklearn_cmr.metrics.cross_modal_report` gives the value of every query. Two
# things vary. The standard deviation over the seeds says what another training would
# give. The interval says what other queries would give: it is the bootstrap of the
# queries, each of which counts once, with the mean of its directions and seeds.


def evaluate(name, column, labels=y_test, **options):
    """Return the values of shape (seeds, directions, queries) of a method."""
    found = []
    for Z in embeddings[name]:
        report = cross_modal_report(
            Z, labels, per_query=True, output_dict=True, **options
        )
        ways = "image -> text", "text -> image"
        found.append([report[way]["per query"][column] for way in ways])
    return np.array(found)


values = {name: evaluate(name, "mAP") for name in methods}
by_query = {name: value.mean(axis=(0, 1)) for name, value in values.items()}
print("mAP of classes     up -> low  low -> up   mean    seeds         interval")
for name, value in values.items():
    up, low = value.mean(axis=(0, 2))
    seeds = value.mean(axis=(1, 2))
    spread = f"± {seeds.std(ddof=1):.3f}" if len(seeds) > 1 else ""
    interval = bootstrap(
        (by_query[name],), np.mean, method="percentile", n_resamples=999, random_state=0
    ).confidence_interval
    print(
        f"{name:18}{up:10.3f}{low:11.3f}{seeds.mean():7.3f}{spread:>9}"
        f"   {interval.low:.3f} to {interval.high:.3f}"
    )

# %%
# Is the difference real?
# -----------------------
# Intervals that overlap decide nothing, since all methods have the same queries: some
# are hard for all of them. :func:`~sklearn_cmr.metrics.compare_retrieval` tests the
# differences of single queries, and corrects the p-values for the number of methods.

BASELINE = "semantic matching"
others = [name for name in methods if name != BASELINE]
systems = {name: by_query[name] for name in others}
draws = {"n_resamples": 999, "random_state": 0}
print(compare_retrieval(by_query[BASELINE], systems, **draws))

# %%
# The partner of every query
# --------------------------
# With `relevance="pair"`, only the other half of the same digit is right. "Hit@k" is
# the "R@k" of papers: the share of queries with their partner among the first `k`. The
# median rank is 1 at best, and 250 by chance. No labels are passed: here they would be
# the numbers of the pairs. CCA, which learns from pairs alone, is
# now ahead of the methods that learn from classes: what is best depends on what counts
# as right, so that a paper must say it.

columns = ["Hit@1", "Hit@5", "Hit@10", "median rank"]
options = {"labels": None, "relevance": "pair", "k": [1, 5, 10]}
print(f"pairs             {'':2}{'  '.join(columns)}")
for name in methods:
    *shares, ranks = (evaluate(name, column, **options) for column in columns)
    row = "".join(f"{share.mean():7.3f}" for share in shares)
    print(f"{name:18}{row}{np.median(ranks, axis=2).mean():14.1f}")

reciprocal = {
    name: evaluate(name, "MRR", **options).mean(axis=(0, 1)) for name in methods
}
fig, axes = plt.subplots(1, 2, figsize=(10, 2.2), layout="constrained")
for ax, measured, title in (
    (axes[0], by_query, "mAP of classes"),
    (axes[1], reciprocal, "MRR of pairs"),
):
    systems = {name: measured[name] for name in others}
    ComparisonDisplay.from_values(measured[BASELINE], systems, ax=ax, **draws)
    ax.set(title=title, xlabel=f"difference from {BASELINE}")

# %%
# What is found
# -------------
# Upper halves, each with the lower half that a method finds for it, make new digits.
# The first row has the true lower halves.

chosen = [np.flatnonzero(y_test == digit)[0] for digit in range(10)]
upper = test["image"][chosen]
rows = {"true digits": test["text"][chosen]}
for name in methods:
    Z = embeddings[name][0]
    gallery = CrossModalNeighbors(n_neighbors=1).fit(Z["text"])
    nearest = gallery.kneighbors(Z["image"][chosen], return_distance=False)[:, 0]
    rows[name] = test["text"][nearest]

fig, axes = plt.subplots(len(rows), 10, figsize=(9, 4), layout="constrained")
for line, (name, lower) in zip(axes, rows.items(), strict=True):
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for ax, top, bottom in zip(line, upper, lower, strict=True):
        ax.imshow(np.concatenate([top, bottom]).reshape(8, 8), cmap="gray_r")
        ax.axhline(3.5, color="tab:orange", linewidth=1)
        ax.set(xticks=[], yticks=[])
fig.suptitle("Upper halves, with the lower halves that they find")
plt.show()
