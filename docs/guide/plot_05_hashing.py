# SPDX-License-Identifier: BSD-3-Clause
"""
=======
Hashing
=======

A binary code of 64 bits takes 8 bytes. A million items take 8 MB, and are searched
exhaustively in about a millisecond. This chapter learns codes, packs them, and
searches.
"""

# %%
# Codes
# -----
# A hasher is fitted like a projector. `transform` returns codes of -1 and +1, so that
# ``codes @ codes.T`` is meaningful; :func:`~sklearn_cmr.hashing.pack_codes` stores
# eight of them in a byte.

import matplotlib.pyplot as plt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import CrossModalNeighbors, ITQHasher, PairTransformer, SSAHHasher
from sklearn_cmr.datasets import load_captioned_digits
from sklearn_cmr.hashing import pack_codes

pairs, y = load_captioned_digits(return_X_y=True)
train, test, y_train, y_test = train_test_split(
    pairs, y, train_size=400, stratify=y, random_state=0
)
words = make_pipeline(TfidfVectorizer(), StandardScaler(with_mean=False))
prepare = PairTransformer(image=StandardScaler(), text=words)
train, test = prepare.fit_transform(train), prepare.transform(test)

hasher = SSAHHasher(n_bits=64, random_state=0).fit(train, y_train)
codes = hasher.transform(test)
packed = {name: pack_codes(part) for name, part in codes.items()}
print(codes, "->", packed["image"].shape, packed["image"].dtype)

# %%
# Search
# ------
# :class:`~sklearn_cmr.CrossModalNeighbors` takes codes, packed codes and embeddings
# alike. The distance of codes is the Hamming distance, a whole number of bits; items at
# the same distance keep the order of the gallery. A radius returns all items within so
# many bits.

gallery = CrossModalNeighbors(n_neighbors=5).fit(packed["image"])
distances, found = gallery.kneighbors(packed["text"][:3])
print("classes:", y_test[:3], "found:", y_test[found].tolist())
print("bits:", distances.tolist())
counts = [len(ids) for ids in gallery.radius_neighbors(packed["text"], 8)[1]]
print(f"within 8 bits: {min(counts)} to {max(counts)} of {len(y_test)} images")

# %%
# How many bits?
# --------------
# Quality grows with the bits, and levels off. ITQ on semantic matching is quick enough
# to look at the whole curve. A hasher that trains networks has to beat it: SSAH with
# its defaults does not do so here.

bits = [8, 16, 32, 64]
itq = [
    ITQHasher(n_bits=n, random_state=0).fit(train, y_train).score(test, y_test)
    for n in bits
]
ssah = hasher.score(test, y_test)
fig, ax = plt.subplots(figsize=(5.5, 3.5), layout="constrained")
ax.plot(bits, itq, "o-", label="ITQ on semantic matching")
ax.plot([64], [ssah], "s", label="SSAH")
ax.set(xscale="log", xticks=bits, xticklabels=bits, xlabel="bits", ylabel="mAP")
ax.minorticks_off()
ax.legend()
plt.show()
