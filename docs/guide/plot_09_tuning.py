# SPDX-License-Identifier: BSD-3-Clause
"""
======
Tuning
======

The estimators are tuned with scikit-learn's own searches. Three things are particular
to cross-modal retrieval: the scorer, the folds, and the parameters that matter.
"""

# %%
# Scorer and folds
# ----------------
# The default score is the mean mAP of both directions over the whole ranking. Folds
# should be **shuffled and stratified**: data sets are often sorted by class. A test
# fold of few classes is easy, as nearly everything in it is relevant, and its mAP is
# too good. ``cv=3`` does not shuffle. Where `y` is an indicator of several labels,
# which cannot be stratified, take ``KFold(3, shuffle=True, random_state=0)``.
#
# A scorer is an object such as :data:`~sklearn_cmr.metrics.map_scorer`, or what
# :func:`~sklearn_cmr.metrics.make_map_scorer` returns, not a metric such as
# `mean_average_precision`. scikit-learn's ``scoring="average_precision"`` is something
# else: how well `predict_proba` finds each label.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    StratifiedKFold,
)

from sklearn_cmr import ACMRProjector
from sklearn_cmr.datasets import make_cross_modal_classification
from sklearn_cmr.metrics import make_map_scorer, map_i2t_scorer, map_t2i_scorer
from sklearn_cmr.pairs import make_pairs

X_img, X_txt, y = make_cross_modal_classification(
    n_samples=300, n_classes=5, class_sep=2.0, random_state=0
)
pairs = make_pairs(X_img, X_txt)
folds = StratifiedKFold(3, shuffle=True, random_state=0)
model = ACMRProjector(
    hidden_layer_sizes=(64,), embedding_dim=16, min_updates=50, random_state=0
)

# %%
# Grid search over margins and rates
# ----------------------------------
# Several scorers at once show both directions; `refit` names the one that decides. With
# ``verbose=1``, a search says how many fits it is about to do. The model is small and
# trains briefly here, so that the page builds quickly.

grid = {"margin": [0.1, 0.3, 0.5], "lr": [1e-4, 1e-3]}
search = GridSearchCV(
    model,
    grid,
    scoring={
        "i2t": map_i2t_scorer,
        "t2i": map_t2i_scorer,
        "top 50": make_map_scorer(k=50),
    },
    refit="t2i",
    cv=folds,
).fit(pairs, y)
print(search.best_params_)
for name in ("i2t", "t2i", "top 50"):
    print(f"{name:8} {search.cv_results_[f'mean_test_{name}'][search.best_index_]:.3f}")

# %%
# The whole grid at a glance. The best point is a corner, so that a real search would go
# on with higher rates and larger margins:

table = search.cv_results_["mean_test_t2i"].reshape(2, 3)
fig, ax = plt.subplots(figsize=(5, 3), layout="constrained")
shown = ax.imshow(table, cmap="viridis")
ax.set(xticks=range(3), xticklabels=grid["margin"], xlabel="margin")
ax.set(yticks=range(2), yticklabels=grid["lr"], ylabel="lr")
for (row, column), value in np.ndenumerate(table):
    color = "black" if value > 0.8 else "white"
    ax.text(column, row, f"{value:.3f}", ha="center", va="center", color=color)
fig.colorbar(shown, label="mAP, text queries")
plt.show()

# %%
# Successive halving
# ------------------
# Halving gives all candidates few epochs, and three times as many to the better third,
# until few are left. The number of epochs is the resource. ``min_resources="exhaust"``
# sets the first number so that the last round has `max_resources`, with which the best
# candidate is fitted again.

halving = HalvingGridSearchCV(
    model,
    {"margin": [0.05, 0.1, 0.2, 0.3, 0.5, 0.7], "lr": [1e-4, 1e-3]},
    resource="max_epochs",
    min_resources="exhaust",
    max_resources=27,
    factor=3,
    cv=folds,
    random_state=0,
).fit(pairs, y)
print(halving.best_params_, f"{halving.best_score_:.3f}")
print("candidates:", halving.n_candidates_, "epochs:", halving.n_resources_)

# %%
# What to tune first
# ------------------
# - the learning rate `lr`, on a logarithmic scale;
# - `margin` of the methods with triplets;
# - the width: `embedding_dim`, or `n_bits`, and `hidden_layer_sizes`;
# - the weight of each loss term: 0 leaves a term out, which is the honest ablation.
#
# Report the score of an **outer** split that the search has not seen:
# ``cross_val_score(search, pairs, y, cv=folds)``, or a test split that is looked at
# once.
