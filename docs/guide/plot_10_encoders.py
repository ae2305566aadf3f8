# SPDX-License-Identifier: BSD-3-Clause
"""
====================
Encoders of your own
====================

With `encoders`, a method starts from what a network of your own makes of an item, and
both learn together. This chapter compares four ways to read images: without a network,
with a new one, and with a pretrained one, frozen or tuned further.
"""

# %%
# Images, not features
# --------------------
# A digit can be anywhere in a frame of 12 by 12 pixels, with a sentence beside it. A
# modality with a network has items of any shape: here one channel of 12 by 12.

from copy import deepcopy

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from sklearn_cmr import DRCLProjector, PairTransformer, make_pairs
from sklearn_cmr.datasets import load_captioned_digits

digits = load_captioned_digits()
rng = np.random.default_rng(0)
images = np.zeros((len(digits.images), 1, 12, 12), dtype=np.float32)
for frame, image in zip(images, digits.images, strict=True):
    row, column = rng.integers(5, size=2)
    frame[0, row : row + 8, column : column + 8] = image / 16

fig, axes = plt.subplots(1, 8, figsize=(8, 1.4), layout="constrained")
for ax, image in zip(axes, images, strict=False):
    ax.imshow(image[0], cmap="gray_r")
    ax.set(xticks=[], yticks=[])
plt.show()

# %%
# New and pretrained networks
# ---------------------------
# A function that returns a network is called in `fit`, with the shape of an item, and
# the weights depend on `random_state`. An instance brings its weights: this one has
# learned to tell the digits from 5 to 9 apart, which need no sentences for that.


def make_network(shape):
    return nn.Sequential(
        nn.Conv2d(shape[0], 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.LayerNorm(32 * 3 * 3),
    )


large = digits.target >= 5
torch.manual_seed(0)
classifier = NeuralNetClassifier(
    nn.Sequential(make_network((1,)), nn.Linear(32 * 3 * 3, 5)),
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=1e-3,
    max_epochs=20,
    batch_size=64,
    train_split=None,
    verbose=0,
).fit(images[large], digits.target[large] - 5)
pretrained = classifier.module_[0]
frozen = deepcopy(pretrained).requires_grad_(False)

# %%
# Four ways
# ---------
# Pairs of the digits from 0 to 4 are few: 100 to learn from. The network of a method is
# copied in `fit`, so that `pretrained` stays as it is. Its learning rate, `lr_encoder`,
# is lower than that of the layers after it, which start anew.

ways = {
    "pixels": {},
    "new network": {"encoders": {"image": make_network}, "lr_encoder": 1e-3},
    "pretrained, frozen": {"encoders": {"image": frozen}},
    "pretrained, tuned": {"encoders": {"image": pretrained}, "lr_encoder": 1e-4},
}
order = rng.permutation(np.flatnonzero(~large))
train, test = order[:100], order[400:]
pairs, y = make_pairs(images, digits.text), digits.target
words = make_pipeline(TfidfVectorizer(), StandardScaler(with_mean=False))
flatten = FunctionTransformer(lambda X: X.reshape(len(X), -1))
pixels = make_pipeline(flatten, StandardScaler())
scores = {}
for name, parameters in ways.items():
    image = "passthrough" if parameters else pixels
    model = make_pipeline(
        PairTransformer(image=image, text=words),
        DRCLProjector(**parameters, min_updates=100, random_state=0),
    )
    scores[name] = model.fit(pairs[train], y[train]).score(pairs[test], y[test])
    print(f"{name:20}{scores[name]:.3f}")

# %%
# A digit elsewhere is the same digit. A convolution has this built in; layers that see
# pixels would have to learn it, and 100 images are too few.

fig, ax = plt.subplots(figsize=(6, 2.5), layout="constrained")
ax.barh(list(scores), list(scores.values()), color="tab:blue")
ax.set(xlabel=f"mAP on {len(test)} other pairs", xlim=(0, 1))
ax.invert_yaxis()
plt.show()

# %%
# - **Frozen**: encode all items once, store what the network returns, and train on it,
#   as in :doc:`plot_02_features`. The result is the same, in less time.
# - **Searches** choose between networks, too. The values of the parameter are then
#   mappings such as ``{"image": make_network}``.
# - **Texts** are arrays of token ids, padded to one length.
#   :ref:`An example <sphx_glr_auto_examples_plot_own_encoders.py>` trains networks for
#   both modalities, and looks into them.
#
# What a network gets and returns, what each method does with it, and files of such
# models are under :doc:`/own_encoders`.
