# SPDX-License-Identifier: BSD-3-Clause
"""
=========================================
Networks of your own for pixels and words
=========================================

Every method of this package starts from features: numbers that some network has made
of an image, or counts of words. With `encoders`, it starts from a network of your own,
which learns with the method. Here a small convolution reads the pixels of handwritten
digits, and a bag of embeddings reads the words of their captions. Then we look at what
the networks have learned: which pixels speak for the name of a digit.
"""

# %%
# Pixels and token ids
# --------------------
# An image is an array of shape (1, 8, 8): one channel, eight rows, eight columns. A
# caption is a row of token ids, padded with 0 to the length of the longest one. Both go
# into one container of pairs, as features do.

import re

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import CenteredNorm
from sklearn.model_selection import train_test_split
from torch import nn

from sklearn_cmr import ACMRProjector, make_pairs
from sklearn_cmr.datasets import load_captioned_digits

digits = load_captioned_digits()
images = (digits.images[:, None] / 16).astype(np.float32)

words_of = [re.findall(r"\w+", caption) for caption in digits.text]
vocabulary = sorted({word for words in words_of for word in words})
id_of = {word: i for i, word in enumerate(vocabulary, start=1)}
LENGTH = max(map(len, words_of))


def encode_words(words):
    """Return the ids of some words, padded to one length."""
    ids = [id_of[word] for word in words]
    return ids + [0] * (LENGTH - len(ids))


ids = np.array([encode_words(words) for words in words_of])
pairs = make_pairs(images, ids)
print(f"{pairs}, {len(vocabulary)} words")

# %%
# Two networks
# ------------
# How many features a network returns is found out by trying it on zeros. It ends in a
# normalization, because the method expects features that are standardized.

torch.manual_seed(0)
read_pixels = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.LayerNorm(32 * 4 * 4),
)


class BagOfEmbeddings(nn.Module):
    """The mean of the embeddings of the words of a text."""

    def __init__(self, n_words, width):
        super().__init__()
        self.embeddings = nn.EmbeddingBag(n_words + 1, width, padding_idx=0)
        self.normalize = nn.LayerNorm(width)

    def forward(self, ids):
        return self.normalize(self.embeddings(ids))


read_words = BagOfEmbeddings(len(vocabulary), width=64)

# %%
# Train and score
# ---------------
# The networks are copied in `fit`, so that they can be used again. To see what their
# training is worth, a second model gets copies that keep their random weights.

train, test, y_train, y_test = train_test_split(
    pairs, digits.target, train_size=900, stratify=digits.target, random_state=0
)
own = {"image": read_pixels, "text": read_words}
model = ACMRProjector(encoders=own, lr_encoder=1e-3, random_state=0)
model.fit(train, y_train)
print(f"mAP {model.score(test, y_test):.3f} with networks that learn")

for network in own.values():
    network.requires_grad_(False)
random = ACMRProjector(encoders=own, random_state=0).fit(train, y_train)
print(f"mAP {random.score(test, y_test):.3f} with random networks")

# %%
# Which pixels speak for a name?
# ------------------------------
# `encoder_` gives the trained network of a modality, from pixels to the embedding. So
# the similarity of an image and a word has a gradient with respect to the pixels. For
# the names of each digit we take the images that they retrieve, and ask what would make
# these still more similar to them than to the names of other digits: more ink (red), or
# less (blue)? The lines are the outlines of the mean image.

NAMES = [
    "zero nought nil",
    "one unit ace",
    "two pair deuce",
    "three trio triad",
    "four quartet tetrad",
    "five quintet fiver",
    "six sextet half dozen",
    "seven septet heptad",
    "eight octet octad",
    "nine nonet ennead",
]
N_FOUND = 30
queries = np.array([encode_words(names.split()) for names in NAMES])
words = torch.from_numpy(model.transform_text(queries))
image_encoder = model.encoder_("image")

gallery = torch.from_numpy(model.transform_image(test["image"]))
found = (words @ gallery.T).topk(N_FOUND).indices
share = (y_test[found.numpy()] == np.arange(10)[:, None]).mean()
print(f"{share:.0%} of the {N_FOUND} first images are the digit that the words name")

fig, axes = plt.subplots(4, 5, figsize=(8, 7), layout="constrained")
pictures, gradients = axes[::2].flat, axes[1::2].flat
for i, (names, items) in enumerate(zip(NAMES, found, strict=True)):
    pixels = torch.from_numpy(test["image"][items.numpy()]).requires_grad_()
    similarity = image_encoder(pixels) @ words.T
    advantage = similarity[:, i] - similarity.mean(dim=1)
    (gradient,) = torch.autograd.grad(advantage.mean(), pixels)
    mean = pixels.detach().mean(dim=0)[0].numpy()
    pictures[i].imshow(mean, cmap="gray_r")
    pictures[i].set_title(f"“{names}”", fontsize=9)
    gradients[i].imshow(
        gradient.sum(dim=0)[0].numpy(), cmap="RdBu_r", norm=CenteredNorm()
    )
    gradients[i].contour(mean, levels=[0.5], colors="black", linewidths=1)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
fig.suptitle(
    "Mean of the images that some words find, and where ink speaks for the words"
)
fig.savefig("own_encoders.png", dpi=100)
print("The picture is in own_encoders.png")
plt.show()
