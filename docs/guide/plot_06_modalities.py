# SPDX-License-Identifier: BSD-3-Clause
"""
===================================
Unpaired data, and more modalities
===================================

Pairs are not always at hand: images from one source and texts from another may share
labels, but no items. And a search may cover more than images and texts. Four methods
need no pairs and take any number of modalities:
:class:`~sklearn_cmr.SemanticMatchingProjector`, :class:`~sklearn_cmr.DRCLProjector` and
the hashers :class:`~sklearn_cmr.SSAHHasher` and :class:`~sklearn_cmr.AADAHHasher`.
"""

# %%
# A mapping in place of pairs
# ---------------------------
# `X` maps the name of each modality to its features, `y` maps it to its labels. The
# numbers of rows may differ. Here, three views of the same digits serve as modalities,
# each with rows of its own.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import DRCLProjector
from sklearn_cmr.metrics import cross_modal_report

images, labels = load_digits(return_X_y=True)
pixels = images.reshape(-1, 8, 8)
views = {
    "pixels": images,
    "profiles": np.hstack([pixels.sum(axis=1), pixels.sum(axis=2)]),
    "spectrum": np.abs(np.fft.rfft2(pixels)).reshape(len(images), -1),
}
views = {name: StandardScaler().fit_transform(X) for name, X in views.items()}

order = np.random.default_rng(0).permutation(len(labels))
test, *train = np.split(order, [597, 897, 1297])
X = {name: views[name][rows] for name, rows in zip(views, train, strict=True)}
y = {name: labels[rows] for name, rows in zip(views, train, strict=True)}
print({name: part.shape for name, part in X.items()})

# %%
# Start with two modalities:

model = DRCLProjector(random_state=0)
first = ("pixels", "profiles")
model.fit({name: X[name] for name in first}, {name: y[name] for name in first})
print(model.modalities_)

# %%
# Add a modality later
# --------------------
# Each modality learns toward a common prior. A further one is added without touching
# the others: their embeddings, and a gallery made of them, stay as they are.

before = model.transform_modality(views["pixels"][test], "pixels")
model.add_modality("spectrum", X["spectrum"], y["spectrum"])
after = model.transform_modality(views["pixels"][test], "pixels")
print(model.modalities_, "pixels unchanged:", np.array_equal(before, after))

# %%
# Every modality finds every other one
# ------------------------------------
# A mapping of all modalities is scored in all directions.

Z = model.transform({name: part[test] for name, part in views.items()})
print(cross_modal_report(Z, labels[test], k=50))

# %%
# With `intra_modal`, each modality also searches itself, without the query:

names = list(Z)
report = cross_modal_report(Z, labels[test], intra_modal=True, output_dict=True)
table = np.array([[report[f"{a} -> {b}"]["mAP"] for b in names] for a in names])
fig, ax = plt.subplots(figsize=(4.5, 3.5), layout="constrained")
shown = ax.imshow(table, cmap="Blues", vmin=0, vmax=1)
ax.set(xticks=range(3), xticklabels=names, xlabel="gallery")
ax.set(yticks=range(3), yticklabels=names, ylabel="query")
for (row, column), value in np.ndenumerate(table):
    ax.text(column, row, f"{value:.2f}", ha="center", va="center", color="white")
fig.colorbar(shown, label="mAP")
plt.show()
