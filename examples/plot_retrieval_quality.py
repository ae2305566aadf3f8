"""
================================
Look at the quality of retrieval
================================

One number such as the mAP hides where a retrieval is good. This example trains
:class:`~sklearn_cmr.ACMRProjector` on handwritten digits and sentences about them, and
looks at what it has learnt: in a table, in curves, in the common space itself, and in
what single queries find.
"""

# SPDX-License-Identifier: BSD-3-Clause

# %%
# Train
# -----
# With early stopping, a part of the training rows is held out for validation.

import matplotlib.pyplot as plt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import ACMRProjector, PairTransformer
from sklearn_cmr.datasets import load_captioned_digits
from sklearn_cmr.metrics import (
    CommonSpaceDisplay,
    PrecisionRecallDisplay,
    RetrievalDisplay,
    TopKPrecisionDisplay,
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
model.fit(train, y_train)
TrainingCurveDisplay.from_estimator(model)

# %%
# All metrics, both directions
# ----------------------------
# Every test image queries the test texts, and every test text the test images.

Z = model.transform(test)
print(cross_modal_report(Z, y_test, k=[10, 40]))

# %%
# Precision over recall, and over the length of the list
# -------------------------------------------------------
# The items of a class in the test set are about 45: no list of more of them can be
# right to the end. A curve that falls before that has missed some.

fig, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
PrecisionRecallDisplay.from_predictions(Z, y_test, ax=axes[0])
TopKPrecisionDisplay.from_predictions(Z, y_test, k=100, ax=axes[1])

# %%
# The common space
# ----------------
# The circles are images, the triangles texts. Where both kinds of one colour lie
# together, an image finds its texts and a text its images. Some texts lie in the wrong
# group: they mention two digits, or describe strokes and name none.

display = CommonSpaceDisplay.from_predictions(Z, y_test, random_state=0)
display.figure_.savefig("common_space.png", dpi=90)

# %%
# What single queries find
# ------------------------
# The wrong items have a dashed frame. These queries were picked to show some: they are
# rarer than here, as the table says.

options = {"items": {"image": test["image"].reshape(-1, 8, 8)}, "random_state": 3}
display = RetrievalDisplay.from_estimator(model, test, y_test, **options)
display.figure_.savefig("retrieval.png", dpi=90)

# %%
# The other way round, images find sentences:

RetrievalDisplay.from_estimator(
    model, test, y_test, direction="i2t", queries=3, k=5, **options
)
print("The pictures are in common_space.png and retrieval.png")
plt.show()
