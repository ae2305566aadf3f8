# SPDX-License-Identifier: BSD-3-Clause
"""
======================
Type words, find emoji
======================

The pictures are Unicode's emoji, the texts are their names and keywords in English.
:class:`~sklearn_cmr.CrossModalRetriever` finds pictures for words that you type::

    python examples/plot_emoji.py sweet food
"""

# %%
# Pictures and words
# ------------------
# :func:`~sklearn_cmr.datasets.fetch_emoji` draws the pictures from a font. Where it
# finds neither the font nor the words, nothing is learned below. The classes are the
# 99 subgroups of Unicode, such as "animal-bird".

import sys

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_cmr import (
    CrossModalRetriever,
    PairTransformer,
    SemanticMatchingProjector,
    make_pairs,
)
from sklearn_cmr.datasets import fetch_emoji
from sklearn_cmr.metrics import RetrievalDisplay, cross_modal_report

try:
    emoji = fetch_emoji(target="subgroup", image_size=64)
except (ImportError, OSError) as error:
    emoji = None
    print(f"The emoji are not available, so nothing is searched: {error}")
else:
    print(f"{len(emoji.emoji)} emoji; the first text is {emoji.text[0]!r}.")


# %%
# Features of pictures
# --------------------
# Pixels alone say little: a bird that flies to the left shares few pixels with one that
# flies to the right. A picture is divided into 4 x 4 squares, and each square is
# described by the directions of its edges (9 kinds) and by its colors (27 kinds). The
# pixels are already scaled to the range from 0 to 1.
def describe_pictures(pixels):
    images = pixels.reshape(-1, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    dy, dx = np.gradient(images.mean(axis=3), axis=(1, 2))
    strength = np.hypot(dx, dy)
    direction = (np.arctan2(dy, dx) % np.pi * 9 / np.pi).astype(int) % 9
    color = np.minimum(images * 3, 2).astype(int) @ [9, 3, 1]
    maps = [strength * (direction == kind) for kind in range(9)]
    maps += [color == kind for kind in range(27)]
    squares = [part.reshape(-1, 4, 8, 4, 8).mean(axis=(2, 4)) for part in maps]
    return np.sqrt(np.stack(squares, axis=1)).reshape(len(pixels), -1)


picture_features = make_pipeline(
    FunctionTransformer(describe_pictures), StandardScaler()
)
text_features = make_pipeline(
    TfidfVectorizer(sublinear_tf=True, stop_words="english"),
    StandardScaler(with_mean=False),
)
model = make_pipeline(
    PairTransformer(image=picture_features, text=text_features),
    SemanticMatchingProjector(),
)

# %%
# Train, and score on emoji that were held out
# --------------------------------------------
# A query is relevant to the emoji of its own subgroup. A random order would have a mAP
# of about 0.04.

if emoji:
    rows = np.arange(len(emoji.emoji))
    train, test = train_test_split(rows, test_size=0.25, random_state=0)
    pairs = make_pairs(emoji.image, emoji.text)
    retriever = CrossModalRetriever(model, n_neighbors=6)
    retriever.fit(pairs[train], emoji.target[train])
    print(cross_modal_report(retriever.transform(pairs[test]), emoji.target[test]))

# %%
# Type words
# ----------
# Only emoji that the model has never seen are searched. A word that occurs in no text
# of the training has no effect. Your own words, on the command line, take the place of
# these.

queries = [
    "o'clock",
    "flag of an island",
    "hand with fingers",
    "button with a sign",
    "car or train",
    "family with a boy",
]
if sys.argv[1:]:
    queries = [" ".join(sys.argv[1:])]

if emoji:
    retriever.index(image=emoji.image[test], ids=test)
    found, distances = retriever.query(text=np.array(queries, dtype=object))
    for query, items in zip(queries, found, strict=True):
        print(f"{query!r} finds {' '.join(emoji.emoji[items])}")
    display = RetrievalDisplay(queries, emoji.images[found]).plot()
    display.figure_.savefig("emoji.png", dpi=90)
    print("The picture is in emoji.png")
    plt.show()
