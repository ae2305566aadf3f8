# SPDX-License-Identifier: BSD-3-Clause
"""
====================
Pairs and containers
====================

Cross-modal retrieval finds images for texts, and texts for images. It learns from
**pairs**: row *i* of the image features belongs to row *i* of the text features, and
`y` holds the labels of the pairs. An estimator maps both modalities to one common
space, in which items with a label in common are close. This chapter shows the forms in
which pairs can be passed to an estimator, and what comes back.
"""

# %%
# Three arguments
# ---------------
# `fit` takes the matrix of the images, that of the texts, and the labels. They may be
# arrays, sparse matrices or dataframes of pandas and polars.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import StratifiedKFold, cross_val_score, train_test_split
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import PairTransformer, SemanticMatchingProjector, make_pairs
from sklearn_cmr.datasets import make_cross_modal_classification

X_img, X_txt, y = make_cross_modal_classification(
    n_samples=600, n_classes=4, random_state=0
)
model = SemanticMatchingProjector().fit(X_img, X_txt, y)
Z_img, Z_txt = model.transform(X_img, X_txt)
print(X_img.shape, X_txt.shape, "->", Z_img.shape, Z_txt.shape)

# %%
# This estimator is the simplest one: the common space has one coordinate for each
# class, the probability of the class minus its frequency, so that a value below 0 means
# "less likely than usual". Other estimators have coordinates without such a meaning.
#
# :meth:`~sklearn_cmr.SemanticMatchingProjector.transform_image` and `transform_text`
# encode one modality alone: a gallery of images needs no texts.

print(model.transform_text(X_txt[:2]).round(2))

# %%
# One container
# -------------
# `train_test_split`, `cross_val_score`, `GridSearchCV` and `Pipeline` pass one `X` and
# select its rows. :func:`~sklearn_cmr.make_pairs` makes such an `X` from both
# modalities. The score is the mean average precision (mAP): 1 if every query ranks all
# items with its label first.

pairs = make_pairs(X_img, X_txt)
print(pairs, len(pairs), "rows")

train, test, y_train, y_test = train_test_split(pairs, y, stratify=y, random_state=0)
folds = StratifiedKFold(3, shuffle=True, random_state=0)
print("mAP of each fold:", cross_val_score(model, train, y_train, cv=folds).round(3))

# %%
# Two errors of scikit-learn tell that the container is missing: "fit() takes from 2 to
# 3 positional arguments but 4 were given" follows from three arguments to a search or a
# pipeline, and "inconsistent numbers of samples: [2, 600]" from a dict or a tuple of
# both matrices.
#
# `transform` returns the form that it was given: a container gives a container.

print(model.fit(train, y_train).transform(test))

# %%
# A dataframe works, too, with the columns ``image__*`` and ``text__*``; so does one
# matrix with the image columns first and the parameter `n_image_features`.
#
# One transformer for each modality
# ---------------------------------
# :class:`~sklearn_cmr.PairTransformer` applies a transformer of its own to each
# modality. The parameters of these are within reach of a grid search: here
# ``image__with_std`` and ``text__with_std``.

prepare = PairTransformer(image=StandardScaler(), text=StandardScaler())
prepared = prepare.fit_transform(train)
for name, part in prepared.items():
    print(f"{name}: standard deviation {part.std():.2f}")

# %%
# Labels
# ------
# `y` has one class for each row, or is an indicator matrix with one column for each
# label, dense or sparse; lists of labels become one with scikit-learn's
# `MultiLabelBinarizer`. Two items are relevant for each other if they share a label.
#
# Below, the items of class 3 have the label 0, too. So they get high values in two
# columns, and are neighbors of class 0. With several labels, the coordinates are the
# probabilities themselves.

several = np.zeros((len(y), 4), dtype=int)
several[np.arange(len(y)), y] = 1
several[y == 3, 0] = 1  # class 3 has the label of class 0, too
Z = model.fit(X_img, X_txt, several).transform(pairs)

fig, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for ax, (name, part) in zip(axes, Z.items(), strict=True):
    rows = part[np.argsort(y, kind="stable")]
    shown = ax.imshow(rows, aspect="auto", cmap="gray_r", interpolation="nearest")
    ax.set(title=f"{name}s", xlabel="label", ylabel="item, sorted by class")
    ax.set_xticks(range(4))
fig.colorbar(shown, ax=axes, label="probability of the label")
plt.show()
