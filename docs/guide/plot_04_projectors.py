# SPDX-License-Identifier: BSD-3-Clause
"""
==========
Projectors
==========

A projector maps every modality into one real-valued space, in which items with common
labels are close. This chapter trains one, follows its training, and looks at its space.
"""

# %%
# Training
# --------
# By default a network is trained for as many epochs as a few hundred updates take, so
# that small data sets get enough of them. `early_stopping` holds rows out and keeps the
# weights with the best mAP on them.

import matplotlib.pyplot as plt
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import ACMRProjector, PairTransformer, make_pairs
from sklearn_cmr.datasets import make_cross_modal_classification
from sklearn_cmr.metrics import CommonSpaceDisplay, TrainingCurveDisplay

X_img, X_txt, y = make_cross_modal_classification(
    n_samples=600, n_classes=5, class_sep=2.0, random_state=0
)
pairs = make_pairs(X_img, X_txt)
scale = PairTransformer(image=StandardScaler(), text=StandardScaler())
train, y_train = scale.fit_transform(pairs[:400]), y[:400]
test, y_test = scale.transform(pairs[400:]), y[400:]

model = ACMRProjector(
    hidden_layer_sizes=(128,), embedding_dim=32, early_stopping=True, random_state=0
)
model.fit(train, y_train)
print(f"{model.n_iter_} epochs, mAP {model.score(test, y_test):.3f}")
last = model.history_[-1]
print({name: last[name] for name in ("epoch", "train_loss", "valid_map")})

# %%
# The history has every loss term of every epoch:

TrainingCurveDisplay.from_estimator(model)
plt.show()

# %%
# The space
# ---------
# Embeddings of both modalities in one plane. Where circles and triangles of a color lie
# together, images find texts.

CommonSpaceDisplay.from_predictions(model.transform(test), y_test, random_state=0)
plt.show()

# %%
# Embedding, probabilities, or both
# ---------------------------------
# A projector with a label loss has class probabilities, too. `output` says what
# `transform` returns; it can be changed after the fit.

for output in ("embedding", "probabilities", "both"):
    model.set_params(output=output)
    width = model.transform_image(test["image"]).shape[1]
    print(f"{output:14} {width:3} wide, mAP {model.score(test, y_test):.3f}")

# %%
# More training
# -------------
# `warm_start` continues where the last fit has ended, also with other rows. For long
# fits, `checkpoint` names a folder that a killed fit is continued from: see
# :doc:`/resuming`.
