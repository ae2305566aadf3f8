# SPDX-License-Identifier: BSD-3-Clause
"""
==========
Large data
==========

Features may be larger than the memory, and a gallery larger than the features. This
chapter keeps both in files: the training reads batches, a search over parameters reads
its folds, and a gallery is encoded block by block. The files are small here, and the
code is that for large ones.
"""

# %%
# Standardize once, into a file
# -----------------------------
# Assume that the features of a pretrained network are in a file. It is mapped, not
# read. One pass over it learns means and deviations, a second one writes standardized
# features into another file.

import tempfile
import tracemalloc
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.preprocessing import StandardScaler, label_binarize
from sklearn.utils import gen_batches

from sklearn_cmr import CrossModalNeighbors, DRCLProjector, SSAHHasher, make_pairs
from sklearn_cmr.datasets import make_cross_modal_classification

folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
raw_file, file = Path(folder.name, "raw.npy"), Path(folder.name, "image.npy")
X_img, X_txt, y = make_cross_modal_classification(
    n_samples=2400, n_classes=10, n_image_features=4000, random_state=0
)
np.save(raw_file, X_img.astype(np.float32))
del X_img

raw = np.load(raw_file, mmap_mode="r")
blocks = list(gen_batches(len(raw), 200))
scaler = StandardScaler()
for rows in blocks:
    scaler.partial_fit(raw[rows])
images = np.lib.format.open_memmap(file, "w+", raw.dtype, raw.shape)
for rows in blocks:
    images[rows] = scaler.transform(raw[rows])
images.flush()
X_txt = StandardScaler().fit_transform(X_txt).astype(np.float32)

# %%
# Train and validate on the file
# ------------------------------
# A container of pairs only notes which rows a fold has, and they are read batch by
# batch, where rows of one array are copied. `tracemalloc` sees the arrays of NumPy, so
# that it shows what is held at once.

images = np.load(file, mmap_mode="r")
pairs = make_pairs(images, X_txt)
train, test = np.arange(2000), pairs[2000:]
small = {"hidden_layer_sizes": (64,), "batch_size": 200, "random_state": 0}
model = DRCLProjector(**small, max_epochs=5, n_image_features=4000)
model.fit(pairs[train], y[train])
print(f"mAP {model.score(test, y[2000:]):.3f}")


def peak(work):
    """Return the megabytes of arrays that a function has held at once."""
    tracemalloc.start()
    work()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most / 1e6


def validate(read):
    return lambda: cross_val_score(model, read(), y, cv=folds)


folds = StratifiedKFold(2, shuffle=True, random_state=0)
held = {
    "folds of one array": peak(validate(lambda: np.hstack([images, X_txt]))),
    "folds of pairs": peak(validate(lambda: pairs)),
}

# %%
# A gallery larger than the memory
# --------------------------------
# With `out`, encodings are written into a file block by block, so that embeddings may
# be larger than the memory, too. Codes are small enough to be added to the search,
# block by block: an encoding does not depend on the rows beside it. The output is the
# rows of the three nearest images of two texts.

shape = len(images), model.transform_image(images[:1]).shape[1]
embeddings = np.lib.format.open_memmap(
    Path(folder.name, "embeddings.npy"), "w+", np.float32, shape
)
hasher = SSAHHasher(**small, max_epochs=2, max_epochs_label=2, output="packed")
hasher.fit(pairs[:1000], y[:1000])
neighbors = CrossModalNeighbors(n_neighbors=3)


def encode():
    model.transform_image(images, out=embeddings)
    for rows in blocks:
        neighbors.partial_fit(hasher.transform_image(images[rows]))


held["gallery, in blocks"] = peak(encode)
queries = hasher.transform_text(X_txt[:2])
print(neighbors.kneighbors(queries, return_distance=False))

# %%
# Folds of one array are copies of the file. With pairs, what is left is mostly the
# ranking for the score, which depends on the number of rows and not on their width.

fig, ax = plt.subplots(figsize=(6, 2.3), layout="constrained")
ax.barh(list(held), list(held.values()), color="tab:blue")
ax.axvline(file.stat().st_size / 1e6, color="0.4", linestyle=":")
ax.set(xlabel="megabytes of arrays at once; dotted: the file of the images")
ax.invert_yaxis()
plt.show()

# %%
# Data that arrive in shards
# --------------------------
# With `warm_start`, a fit continues the one before it. The labels are an indicator of
# all classes, since a shard may lack one. A shard should have rows of all kinds:
# shuffle before you write.

indicator = label_binarize(y, classes=range(10))
by_class = train[np.argsort(y[train], kind="stable")]
shards = {
    "all rows": [train],
    "4 shuffled shards": np.array_split(train, 4),
    "4 shards by class": np.array_split(by_class, 4),
}
fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
for name, parts in shards.items():
    model = DRCLProjector(**small, max_epochs=1, warm_start=True)
    scores = []
    for rows in parts * 3:
        model.fit(pairs[rows], indicator[rows])
        scores.append(model.score(test, y[2000:]))
    ax.plot(np.arange(1, len(scores) + 1) / len(parts), scores, "o-", label=name)
ax.set(xlabel="passes over the data", ylabel="mAP on other rows")
ax.legend()
plt.show()
folder.cleanup()

# %%
# More about features in files is under :doc:`/memory`, about shards under
# :doc:`/shards`, and about searches and galleries on several machines under
# :doc:`/cluster`. :doc:`plot_14_limits` measures the training itself.
