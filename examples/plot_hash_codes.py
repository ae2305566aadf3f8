# SPDX-License-Identifier: BSD-3-Clause
"""
=======================
Search a million images
=======================

A code of 64 bits takes 8 bytes, so that a million items take 8 MB. This example hashes
a million images of digits, and finds those that words describe: the nearest ones, and
all within a radius. The times are printed. Another number of images is an argument::

    python examples/plot_hash_codes.py 100000
"""

# %%
# A hasher
# --------
# It learns from images of digits, each with a sentence. Preprocessing and hasher are
# one pipeline.

import sys
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import CrossModalNeighbors, PairTransformer, SSAHHasher
from sklearn_cmr.datasets import load_captioned_digits
from sklearn_cmr.hashing import hamming_distances

N_ITEMS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000

pairs, y = load_captioned_digits(return_X_y=True)
train, test, y_train, y_test = train_test_split(pairs, y, stratify=y, random_state=0)
text_features = make_pipeline(TfidfVectorizer(), StandardScaler(with_mean=False))
model = make_pipeline(
    PairTransformer(image=StandardScaler(), text=text_features),
    SSAHHasher(n_bits=64, output="packed", min_updates=200, random_state=0),
)
model.fit(train, y_train)
print(f"mAP on {len(test)} test pairs: {model.score(test, y_test):.3f}")

# %%
# A million codes
# ---------------
# The gallery are variants of the test images, in which every pixel is darker or
# brighter at random. They are made and encoded in blocks: the images would take 512 MB,
# their packed codes take 8 MB.

N_BLOCKS = 20
rng = np.random.default_rng(0)
origin = rng.integers(len(test), size=N_ITEMS)
start = perf_counter()
blocks = []
for rows in np.array_split(origin, N_BLOCKS):
    light = rng.uniform(0.3, 1.7, size=(len(rows), 64))
    variants = {"image": test["image"][rows] * light}
    blocks.append(model.transform(variants)["image"])
codes = np.concatenate(blocks)
print(f"made and encoded {N_ITEMS:,} images in {perf_counter() - start:.1f} s")
print(f"{codes.shape[1]} bytes each, {codes.nbytes / 1e6:.0f} MB in all")

# %%
# The nearest ones
# ----------------
# The search compares the query with all codes, so that it is exact. Items at the same
# distance keep the order of the gallery.

words = ["a round nought", "the figure four", "lucky seven"]
digits = np.array([0, 4, 7])
queries = model.transform({"text": words})["text"]
gallery = CrossModalNeighbors(n_neighbors=10).fit(codes)


def timed(search, *arguments, repeats=5):
    """Return the result of a search, and its shortest time in milliseconds."""
    times = []
    for _ in range(repeats):
        start = perf_counter()
        result = search(*arguments)
        times.append(perf_counter() - start)
    return result, 1000 * min(times)


(distances, found), milliseconds = timed(gallery.kneighbors, queries)
print(f"the 10 nearest of {N_ITEMS:,} codes: {milliseconds:.1f} ms for 3 queries")

fig, axes = plt.subplots(3, 10, figsize=(9, 3.2), layout="constrained")
fig.suptitle("The nearest of a million images, and in how many bits they differ")
for row, word, items, bits in zip(axes, words, origin[found], distances, strict=True):
    print(f"{word!r} finds the digits {' '.join(map(str, y_test[items]))}")
    row[0].set_ylabel(word.rsplit(maxsplit=1)[-1])
    for ax, item, distance in zip(row, items, bits, strict=True):
        ax.imshow(test["image"][item].reshape(8, 8), cmap="gray_r")
        ax.set_title(f"{distance} bits", fontsize=8)
        ax.set(xticks=[], yticks=[])

# %%
# All within a radius
# -------------------
# A larger radius finds more of the right items, until it takes in other classes. How
# far that is, :func:`~sklearn_cmr.hashing.hamming_distances` shows: it returns all
# distances.

(_, inside), milliseconds = timed(gallery.radius_neighbors, queries, 8)
counts = ", ".join(f"{len(items):,}" for items in inside)
print(f"within 8 bits: {counts} images, {milliseconds:.1f} ms for 3 queries")

radii = np.arange(49)
fig, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
all_distances = hamming_distances(queries, codes)
for word, digit, away in zip(words, digits, all_distances, strict=True):
    right = y_test[origin] == digit
    n_found = np.bincount(away, minlength=65).cumsum()[radii]
    n_right = np.bincount(away[right], minlength=65).cumsum()[radii]
    (line,) = ax.plot(radii, n_right / right.sum(), label=word)
    precision = np.divide(n_right, n_found, where=n_found > 0, out=np.ones(len(radii)))
    ax.plot(radii, precision, "--", color=line.get_color())
ax.plot([], [], "k-", label="share of the right ones found")
ax.plot([], [], "k--", label="share of the found ones right")
ax.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0.12, 0.05))
ax.set(xlabel="radius in bits", title="What a radius finds")
plt.show()

# %%
# Packed codes and embeddings
# ---------------------------
# The signs of 64 real values are the code. The values themselves are embeddings, which
# take 32 times the memory, and are compared by their cosine. The time of both grows
# with the gallery.

prepare, hasher = model[0], model[-1]
shown = prepare.transform({"image": test["image"][origin[:100_000]]})["image"]
values = hasher.encode(shown, "image", output="real")
sentence = prepare.transform({"text": words[:1]})["text"]
query = hasher.encode(sentence, "text", output="real")
fig, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
for name, items, one in (
    ("packed codes", codes, queries[:1]),
    ("embeddings", values, query),
):
    sizes = [n for n in (1_000, 10_000, 100_000, 1_000_000) if n <= len(items)]
    galleries = [CrossModalNeighbors().fit(items[:n]) for n in sizes]
    taken = [timed(stored.kneighbors, one)[1] for stored in galleries]
    ax.loglog(sizes, taken, "o-", label=name)
    print(f"{name}: {taken[-1]:.2f} ms for one query of {sizes[-1]:,} items")
ax.set(xlabel="items in the gallery", title="Milliseconds per query")
ax.set(ylim=(0.01, 100))
ax.yaxis.set_major_formatter("{x:g}")
ax.legend()
plt.show()

# %%
# Beyond one process
# ------------------
# ``gallery.save(folder)`` writes the gallery, and ``CrossModalNeighbors.load(folder)``
# maps it into memory. A gallery that outgrows one machine goes into a database: see
# :doc:`/databases`, and the examples for :ref:`LanceDB
# <sphx_glr_auto_examples_lancedb_gallery.py>` and :ref:`PostgreSQL
# <sphx_glr_auto_examples_postgresql_gallery.py>`, which find the same neighbors.
