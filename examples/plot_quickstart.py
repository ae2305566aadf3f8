# SPDX-License-Identifier: BSD-3-Clause
"""
=======================
Type words, find digits
=======================

The images are real handwritten digits, the texts are sentences that describe them.
:class:`~sklearn_cmr.ACMRProjector` learns a common space of both, in which words
retrieve digits. Type your own::

    python examples/plot_quickstart.py a round nought
"""

# %%
# Pairs, and a pipeline that prepares each modality in its own way
# ----------------------------------------------------------------
# The data set comes with scikit-learn: nothing is downloaded.

import sys

import matplotlib.pyplot as plt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import ACMRProjector, CrossModalRetriever, PairTransformer
from sklearn_cmr.datasets import load_captioned_digits
from sklearn_cmr.metrics import RetrievalDisplay, map_i2t_scorer, map_t2i_scorer

pairs, y = load_captioned_digits(return_X_y=True)
train, test, y_train, y_test = train_test_split(pairs, y, stratify=y, random_state=0)
print(f"{len(train)} training pairs, {len(test)} test pairs; the first text:")
print(f"    {train['text'][0]!r}")

text_features = make_pipeline(TfidfVectorizer(), StandardScaler(with_mean=False))
model = make_pipeline(
    PairTransformer(image=StandardScaler(), text=text_features),
    ACMRProjector(random_state=0, verbose=1),
)
retriever = CrossModalRetriever(model, n_neighbors=10)

# %%
# Train and score
# ---------------
# Every test image queries the test texts, and every test text the test images.

retriever.fit(train, y_train)
print(f"image -> text  mAP {map_i2t_scorer(retriever, test, y_test):.3f}")
print(f"text -> image  mAP {map_t2i_scorer(retriever, test, y_test):.3f}")

# %%
# Retrieve
# --------
# The gallery are the test images. The digits are ranked by the cosine similarity
# between their embeddings and those of the words.

typed = " ".join(sys.argv[1:])
queries = [typed] if typed else ["a round nought", "the figure four", "lucky seven"]

retriever.index(image=test["image"])
found, distances = retriever.query(text=queries)
for query, items in zip(queries, found, strict=True):
    print(f"{query!r} finds the digits {' '.join(map(str, y_test[items]))}")

# %%
# The digits that the words retrieve, best first:

pictures = test["image"].reshape(-1, 8, 8)
display = RetrievalDisplay(queries, pictures[found]).plot()
display.figure_.savefig("quickstart.png", dpi=90)
print("The picture is in quickstart.png")
plt.show()
