# SPDX-License-Identifier: BSD-3-Clause
"""
==========
Evaluation
==========

A score is comparable only together with its definition. Published evaluations of
cross-modal retrieval differ in the cut-off, the normalizer, the order of ties and in
what counts as relevant. Here each of these is an argument, and the `repr` of a scorer
names them.
"""

# %%
# Why one mAP differs from another
# --------------------------------
# One model, one test set, image queries in a gallery of texts, several definitions:

import matplotlib.pyplot as plt
import numpy as np

from sklearn_cmr import SemanticMatchingProjector
from sklearn_cmr.datasets import make_cross_modal_classification
from sklearn_cmr.metrics import (
    ComparisonDisplay,
    compare_retrieval,
    cross_modal_report,
    hit_rate_at_k,
    mean_average_precision,
    recall_at_k,
)

X_img, X_txt, y = make_cross_modal_classification(
    n_samples=900, n_classes=6, class_sep=2.0, random_state=0
)
train, test = slice(0, 600), slice(600, None)
model = SemanticMatchingProjector().fit(X_img[train], X_txt[train], y[train])
Z_img, Z_txt = model.transform(X_img[test], X_txt[test])
data = Z_img, Z_txt, y[test], y[test]

values = {
    "whole ranking": mean_average_precision(*data),
    "k=50, over those retrieved": mean_average_precision(*data, k=50),
    "k=50, over min(relevant, k)": mean_average_precision(
        *data, k=50, normalizer="min"
    ),
    "k=50, over all relevant": mean_average_precision(*data, k=50, normalizer="all"),
}
for name, value in values.items():
    print(f"{name:30}{value:.3f}")

# %%
# The first definition is the default: the mean of the precisions at all relevant items.
# With `k=50`, only the first 50 items count, and the normalizer says what the sum of
# their precisions is divided by. The second definition is the ``mAP@50`` of most
# papers, which divides by the relevant items among the 50; it ignores those that are
# missing from the list, and is the highest one here.
#
# Ties
# ----
# Binary codes have few distinct distances, so that many items tie. The order of ties is
# then part of the result. The default for codes is the expected value over all orders,
# which does not depend on the order of the gallery. Here, codes of six bits show how
# much there is to gain by a favorable order:

codes = [np.where(Z > 0, 1, -1).astype(np.int8) for Z in (Z_img, Z_txt)]
for ties in ("optimistic", "expected", "pessimistic"):
    value = mean_average_precision(*codes, y[test], y[test], ties=ties)
    print(f"ties={ties:14}{value:.3f}")

# %%
# Pairs as relevance
# ------------------
# In image-text retrieval, only the items of the same pair are relevant. The usual
# figure there, "R@k", is the share of queries with a hit among the first `k`:
# :func:`~sklearn_cmr.metrics.hit_rate_at_k`. With several captions for each image it is
# not the recall, which asks for all of them: one hit among five relevant captions is a
# recall of 0.2.

print("hit rate:", hit_rate_at_k(Z_img, Z_txt, relevance="pair", k=[1, 5, 10]).round(3))

image = np.arange(60)  # of each of 60 images, five noisy captions
captions = Z_img[:60].repeat(5, axis=0) + np.random.default_rng(0).normal(
    0, 0.2, (300, 6)
)
five = Z_img[:60], captions, image, image.repeat(5)
print(f"five captions: hit rate {hit_rate_at_k(*five, k=1):.3f}", end=", ")
print(f"recall {recall_at_k(*five, k=1):.3f}")

# %%
# All directions in one table
# ---------------------------

Z = {"image": Z_img, "text": Z_txt}
print(cross_modal_report(Z, y[test], k=[10, 50]))

# %%
# Is the difference real?
# -----------------------
# Systems are compared with a baseline query by query: `per_query=True` gives the
# values, and :func:`~sklearn_cmr.metrics.compare_retrieval` a p-value and an interval
# of the mean difference. The baseline is the model from above, with the default
# ``C=0.03``. All three others are worse, and no interval contains 0: the differences
# are more than chance of the choice of queries.

base = mean_average_precision(*data, per_query=True)
systems = {}
for C in (0.001, 1.0, 100.0):
    other = SemanticMatchingProjector(C=C).fit(X_img[train], X_txt[train], y[train])
    embeddings = other.transform(X_img[test], X_txt[test])
    systems[f"C={C:g}"] = mean_average_precision(
        *embeddings, y[test], y[test], per_query=True
    )
print(compare_retrieval(base, systems, random_state=0))

display = ComparisonDisplay.from_values(base, systems, random_state=0)
display.ax_.set(title="image -> text", xlabel="mAP minus that of C=0.03")
plt.show()
