# SPDX-License-Identifier: BSD-3-Clause
"""
================================
Look at the quality of retrieval
================================

One number such as the mAP does not show which queries work well. This example trains
:class:`~sklearn_cmr.ACMRProjector` on handwritten digits and sentences about them, and
examines the result: a table, curves, classes, the common space, and the items that
single queries retrieve.
"""

# %%
# Train
# -----
# With early stopping, a part of the training rows is held out for validation.

import matplotlib.pyplot as plt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import ACMRProjector, CrossModalRetriever, PairTransformer
from sklearn_cmr.datasets import load_captioned_digits
from sklearn_cmr.metrics import (
    ClassScoreDisplay,
    CommonSpaceDisplay,
    PrecisionRecallDisplay,
    RetrievalDisplay,
    TopKPrecisionDisplay,
    TopKRecallDisplay,
    TrainingCurveDisplay,
    cross_modal_report,
)

pairs, y = load_captioned_digits(return_X_y=True)
train, test, y_train, y_test = train_test_split(pairs, y, stratify=y, random_state=0)
text_features = make_pipeline(TfidfVectorizer(), StandardScaler(with_mean=False))
model = make_pipeline(
    PairTransformer(image=StandardScaler(), text=text_features),
    ACMRProjector(early_stopping=True, random_state=0),
)
retriever = CrossModalRetriever(model).fit(train, y_train)
TrainingCurveDisplay.from_estimator(retriever.model_)

# %%
# All metrics, both directions
# ----------------------------
# Every test image queries the test texts, and every test text the test images.

Z = retriever.transform(test)
print(cross_modal_report(Z, y_test, k=[10, 40]))

# %%
# Precision over recall, and both over the length of the list
# -----------------------------------------------------------
# A class has about 45 items in the test set, so that the precision of longer lists must
# fall, and no shorter list can have them all. A curve that falls earlier shows that
# items were missed.

fig, axes = plt.subplots(1, 3, figsize=(15, 4), layout="constrained")
PrecisionRecallDisplay.from_predictions(Z, y_test, ax=axes[0])
TopKPrecisionDisplay.from_predictions(Z, y_test, k=100, ax=axes[1])
TopKRecallDisplay.from_predictions(Z, y_test, k=100, ax=axes[2])

# %%
# Which digits are found
# ----------------------

ClassScoreDisplay.from_predictions(Z, y_test)

# %%
# The common space
# ----------------
# The circles are images, the triangles are texts. Where both shapes of one color lie
# together, images retrieve their texts and texts their images. Some texts lie in the
# wrong group: they mention two digits, or describe strokes and name no digit.

# sphinx_gallery_thumbnail_number = 4
display = CommonSpaceDisplay.from_predictions(Z, y_test, random_state=0)
display.figure_.savefig("common_space.png", dpi=90)

# %%
# What single queries retrieve
# ----------------------------
# Wrong items have a dashed frame. These queries were chosen to show some; the table
# above says how rare they are.

options = {"items": {"image": test["image"].reshape(-1, 8, 8)}, "random_state": 3}
display = RetrievalDisplay.from_estimator(retriever, test, y_test, **options)
display.figure_.savefig("retrieval.png", dpi=90)

# %%
# In the other direction, images retrieve sentences:

RetrievalDisplay.from_estimator(
    retriever, test, y_test, direction="i2t", queries=3, k=5, **options
)
print("The pictures are in common_space.png and retrieval.png")
plt.show()
