"""
=======================
Type words, find digits
=======================

The images are real handwritten digits, the texts are sentences that describe them.
:class:`~sklearn_cmr.ACMRProjector` learns a common space of both, in which words
retrieve digits. Type your own::

    python examples/plot_quickstart.py a round nought
"""

# SPDX-License-Identifier: BSD-3-Clause

# %%
# Pairs, and a pipeline that prepares each modality in its own way
# ----------------------------------------------------------------
# The data set comes with scikit-learn: nothing is downloaded.

import sys

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import ACMRProjector, PairTransformer
from sklearn_cmr.datasets import load_captioned_digits
from sklearn_cmr.metrics import map_i2t_scorer, map_t2i_scorer

pairs, y = load_captioned_digits(return_X_y=True)
train, test, y_train, y_test = train_test_split(pairs, y, stratify=y, random_state=0)
print(f"{len(train)} training pairs, {len(test)} test pairs; the first text:")
print(f"    {train['text'][0]!r}")

text_features = make_pipeline(TfidfVectorizer(), StandardScaler(with_mean=False))
model = make_pipeline(
    PairTransformer(image=StandardScaler(), text=text_features),
    ACMRProjector(random_state=0, verbose=1),
)

# %%
# Train and score
# ---------------
# Every test image queries the test texts, and every test text the test images.

model.fit(train, y_train)
print(f"image -> text  mAP {map_i2t_scorer(model, test, y_test):.3f}")
print(f"text -> image  mAP {map_t2i_scorer(model, test, y_test):.3f}")

# %%
# Retrieve
# --------
# A mapping with one key encodes one modality alone. The digits are ranked by the cosine
# similarity between their embeddings and those of the words.

N_FOUND = 10
typed = " ".join(sys.argv[1:])
queries = [typed] if typed else ["a round nought", "the figure four", "lucky seven"]

gallery = model.transform({"image": test["image"]})["image"]
words = model.transform({"text": np.array(queries, dtype=object)})["text"]
gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
found = np.argsort(-words @ gallery.T, axis=1)[:, :N_FOUND]

for query, items in zip(queries, found, strict=True):
    print(f"{query!r} finds the digits {' '.join(map(str, y_test[items]))}")

# %%
# The digits that the words retrieve, best first:

fig, axes = plt.subplots(
    len(queries), N_FOUND, figsize=(N_FOUND, 1.5 * len(queries)), squeeze=False
)
for row, query, items in zip(axes, queries, found, strict=True):
    row[0].set_title(f"“{query}”", loc="left")
    for ax, item in zip(row, items, strict=True):
        ax.imshow(test["image"][item].reshape(8, 8), cmap="gray_r")
        ax.set(xticks=[], yticks=[])
fig.tight_layout()
fig.savefig("quickstart.png", dpi=100)
print("The picture is in quickstart.png")
plt.show()
