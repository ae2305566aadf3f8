# SPDX-License-Identifier: BSD-3-Clause
"""
=======================================
Ablations: what each loss term is worth
=======================================

The loss of ACMR has several terms. Each has a weight, and a weight of 0 leaves the term
out, so that an ablation study is a grid search of single points.
"""

# %%
# The grid
# --------
# The first point changes nothing. Every other one leaves out one term. All are compared
# on the same folds of the training rows, and the test rows stay unused.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import ACMRProjector, PairTransformer
from sklearn_cmr.datasets import load_captioned_digits
from sklearn_cmr.metrics import map_scorer

pairs, y = load_captioned_digits(return_X_y=True)
train, _, y_train, _ = train_test_split(
    pairs, y, train_size=500, stratify=y, random_state=0
)
text_features = make_pipeline(TfidfVectorizer(), StandardScaler(with_mean=False))
model = make_pipeline(
    PairTransformer(image=StandardScaler(), text=text_features),
    ACMRProjector(
        hidden_layer_sizes=(128,),
        embedding_dim=64,
        lr=2e-3,
        min_updates=60,
        random_state=0,
    ),
)
terms = {
    "all terms": None,
    "no adversarial loss": "adversarial_weight",
    "no label loss": "label_weight",
    "no triplet loss": "triplet_weight",
    "no negatives": "negative_weight",
}
grid = [
    {} if weight is None else {f"acmrprojector__{weight}": [0]}
    for weight in terms.values()
]
search = GridSearchCV(
    model,
    grid,
    scoring=map_scorer,
    cv=StratifiedKFold(4, shuffle=True, random_state=0),
    refit=False,
)
search.fit(train, y_train)

# %%
# The scores
# ----------
# The error bars are standard deviations over the folds. Folds differ in how hard they
# are for all models alike, so the right chart shows the change within each fold, too. A
# term whose dots lie on both sides of 0 has no proven worth on this data set.
#
# Either of the label loss and the triplet loss is nearly enough by itself. But a
# triplet loss without negatives only draws items together, also those of different
# digits.

n_folds = search.n_splits_
scores = np.array(
    [search.cv_results_[f"split{fold}_test_score"] for fold in range(n_folds)]
)
mean, deviation = scores.mean(axis=0), scores.std(axis=0, ddof=1)
change = scores[:, 1:] - scores[:, :1]
for name, value, spread in zip(terms, mean, deviation, strict=True):
    print(f"{name:20} mAP {value:.3f} ± {spread:.3f}")

LIMIT = 0.1  # of the right chart
names = list(terms)
colors = ["tab:blue"] + ["0.7"] * len(change.T)
fig, (ax, change_ax) = plt.subplots(1, 2, figsize=(10, 3), layout="constrained")
bars = ax.barh(names, mean, xerr=deviation, color=colors, capsize=4)
ax.invert_yaxis()
ax.bar_label(bars, [f"{value:.3f}" for value in mean], padding=4)
ax.set(xlim=(0, 1.1), title="mAP in cross-validation")
for place, values in enumerate(change.T, start=1):
    change_ax.plot(values, [place] * n_folds, "o", color="tab:blue", alpha=0.6)
    if values.max() < -LIMIT:
        change_ax.text(-LIMIT, place, f"  ← {values.mean():.2f}", va="center")
change_ax.axvline(0, color="0.4", linewidth=0.8)
change_ax.set(
    xlim=(-LIMIT, LIMIT),
    xticks=[-LIMIT, -LIMIT / 2, 0, LIMIT / 2, LIMIT],
    ylim=(len(names) - 0.5, -0.5),
    yticks=range(len(names)),
    yticklabels=[],
    title="Change in each fold",
)
change_ax.grid(alpha=0.3, axis="x")
plt.show()
