# SPDX-License-Identifier: BSD-3-Clause
"""
==================================
Tune ACMR on Wikipedia by its mAP
==================================

From features to a tuned and scored pipeline: 2,866 Wikipedia articles with one picture
each, 10 classes, the official split. The search uses only the training split.
"""

# %%
# The data
# --------
# The first call downloads the data set. Without a connection, the example runs on a
# small generated data set, whose scores say nothing about Wikipedia.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import (
    ACMRProjector,
    PairTransformer,
    SemanticMatchingProjector,
    make_pairs,
)
from sklearn_cmr.datasets import fetch_wikipedia, make_cross_modal_classification
from sklearn_cmr.metrics import map_i2t_scorer, map_scorer, map_t2i_scorer

try:
    train, y_train = fetch_wikipedia(subset="train", return_X_y=True)
    test, y_test = fetch_wikipedia(subset="test", return_X_y=True)
except OSError as error:
    print(f"The Wikipedia data set is not available: {error}")
    print("All results below are those of a small generated data set.")
    X_img, X_txt, y = make_cross_modal_classification(n_samples=600, random_state=0)
    train, test, y_train, y_test = train_test_split(
        make_pairs(X_img, X_txt), y, test_size=0.3, stratify=y, random_state=0
    )

# %%
# A pipeline, a grid, a shuffled splitter
# ---------------------------------------
# The scaler is fitted within each fold. Always shuffle: in many data sets of this kind
# the rows are sorted by class, so that unshuffled folds would hold one class each.

pipeline = make_pipeline(
    PairTransformer(image=StandardScaler(), text=StandardScaler()),
    ACMRProjector(random_state=0),
)
grid = {
    "acmrprojector__margin": [0.2, 0.5],
    "acmrprojector__lr": [1e-4, 3e-4],
}
search = GridSearchCV(
    pipeline,
    grid,
    scoring=map_scorer,
    cv=StratifiedKFold(3, shuffle=True, random_state=0),
    n_jobs=2,
)
search.fit(train, y_train)
for name, value in search.best_params_.items():
    print(f"best {name.removeprefix('acmrprojector__')}: {value}")
print(f"mAP in cross-validation: {search.best_score_:.3f}")

# %%
# The test split, used once
# -------------------------
# The baseline is semantic matching: the embedding of an item is the class probabilities
# that the logistic regression of its modality computes, minus the class frequencies.

baseline = make_pipeline(
    PairTransformer(image=StandardScaler(), text=StandardScaler()),
    SemanticMatchingProjector(),
).fit(train, y_train)

for name, model in {"semantic matching": baseline, "ACMR": search}.items():
    i2t, t2i = map_i2t_scorer(model, test, y_test), map_t2i_scorer(model, test, y_test)
    print(f"{name}: image -> text {i2t:.3f}, text -> image {t2i:.3f}")

# %%
# How the mAP depends on margin and learning rate:

scores = search.cv_results_["mean_test_score"].reshape(
    len(grid["acmrprojector__lr"]), len(grid["acmrprojector__margin"])
)
fig, ax = plt.subplots(figsize=(5, 3))
picture = ax.imshow(scores, cmap="YlGn", alpha=0.5)
ax.set(
    xlabel="margin",
    ylabel="lr",
    title="mAP in cross-validation",
    xticks=range(scores.shape[1]),
    yticks=range(scores.shape[0]),
    xticklabels=grid["acmrprojector__margin"],
    yticklabels=grid["acmrprojector__lr"],
)
for (row, column), value in np.ndenumerate(scores):
    ax.text(column, row, f"{value:.3f}", ha="center", va="center")
fig.colorbar(picture)
fig.tight_layout()
plt.show()
