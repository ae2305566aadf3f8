# SPDX-License-Identifier: BSD-3-Clause
"""
======
Search
======

A model encodes; a search keeps a gallery of what it has encoded, and answers queries
with the names of items. :class:`~sklearn_cmr.CrossModalRetriever` holds both.
"""

# %%
# A model and its gallery
# -----------------------
# `fit` trains the model, `index` encodes a gallery of any modality, and `query` takes
# raw items of any modality. Names of the items come back as they were given, the
# nearest one first, with their distances, here cosine distances. Without names, the
# numbers of the rows come back.

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import (
    CrossModalNeighbors,
    CrossModalRetriever,
    PairTransformer,
    SemanticMatchingProjector,
)
from sklearn_cmr.datasets import load_captioned_digits

pairs, y = load_captioned_digits(return_X_y=True)
train, test, y_train, y_test = train_test_split(pairs, y, stratify=y, random_state=0)
prepare = PairTransformer(image=StandardScaler(), text=TfidfVectorizer())
model = make_pipeline(prepare, SemanticMatchingProjector())
retriever = CrossModalRetriever(model, n_neighbors=4).fit(train, y_train)

names = [f"scan-{number:03}" for number in range(len(y_test))]
retriever.index(image=test["image"], ids=names)
ids, distances = retriever.query(text=["a round nought", "lucky seven"])
print(ids)
print(distances.round(3))

# %%
# The same as a dataframe of pandas, if that is installed:

print(retriever.query(text=["the figure four"], as_frame=True))

# %%
# A gallery that changes
# ----------------------
# Items are added, removed and replaced by their names. `subset` restricts a query to
# some of them, such as those of one user, without another index.

retriever.remove(ids[0][:2])
print("without the first two:", retriever.query(text=["a round nought"])[0][0])
odd = [name for name in names[1::2] if name not in ids[0][:2]]
print("odd numbers only:", retriever.query(text=["a round nought"], subset=odd)[0][0])

# %%
# Images find images, too: the gallery does not know what a query is made of. These
# queries are in the gallery, so that each of them finds itself first.

found = retriever.query(image=test["image"][:3])[0]
place = {name: row for row, name in enumerate(names)}
fig, axes = plt.subplots(3, 5, figsize=(6, 4), layout="constrained")
for row, (query, items) in enumerate(zip(test["image"][:3], found, strict=True)):
    shown = [query, *(test["image"][place[name]] for name in items)]
    for ax, image in zip(axes[row], shown, strict=True):
        ax.imshow(image.reshape(8, 8), cmap="gray_r")
        ax.set(xticks=[], yticks=[])
axes[0, 0].set_title("query")
axes[0, 1].set_title("found")
plt.show()

# %%
# Large galleries
# ---------------
# :class:`~sklearn_cmr.CrossModalNeighbors` is the gallery alone, for items that are
# encoded already. Its `kneighbors` returns what that of scikit-learn does: distances
# first, then rows or names. The exact search compares a query with all items, so that
# its time grows with the gallery. Codes take less of it than embeddings:

random = np.random.default_rng(0)
galleries = {
    "codes of 64 bits": random.integers(0, 256, (200_000, 8), dtype=np.uint8),
    "64 values": random.standard_normal((200_000, 64), dtype=np.float32),
}
for name, items in galleries.items():
    gallery = CrossModalNeighbors(n_neighbors=10).fit(items)
    start = perf_counter()
    distances, rows = gallery.kneighbors(items[:100])
    milliseconds = 1000 * (perf_counter() - start) / 100
    print(f"200,000 items, {name}: {milliseconds:.1f} ms for each of 100 queries")

# %%
# - Codes are searched by faiss where it is installed, with the same results.
# - `algorithm="hnsw"` and `"ivf"` are approximate: measure their recall against the
#   exact answer on your own data.
# - `retriever.neighbors_.save(folder)` writes a gallery, and
#   ``CrossModalNeighbors.load(folder)`` maps it into memory: it starts at once,
#   whatever its size.
#
# When to move to a database
# --------------------------
# A gallery stays in :class:`~sklearn_cmr.CrossModalNeighbors` as long as one machine
# holds it and one process changes it. It moves when it outgrows the memory, when a team
# changes its items, or when these stand beside other tables. Codes move later than
# embeddings: 100 million of 64 bits take 0.8 GB. No adapter is needed, and the
# neighbors are the same. :doc:`/databases` compares LanceDB, PostgreSQL and others; the
# first two have an example each.
