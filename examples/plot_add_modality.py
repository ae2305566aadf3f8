# SPDX-License-Identifier: BSD-3-Clause
"""
======================================
Add a modality later: dial for a digit
======================================

A gallery of hashed images answers sentences. Labels are queries, too. Later, sounds are
added: the tones of telephone keys. Neither the networks of images and texts nor the
gallery change.
"""

# %%
# Images and sentences
# --------------------
# :class:`~sklearn_cmr.SSAHHasher` learns a network of the labels first, and then one of
# each modality, which has to agree with it. The gallery are the codes of test images.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_cmr import CrossModalNeighbors, PairTransformer, SSAHHasher
from sklearn_cmr.datasets import load_captioned_digits
from sklearn_cmr.metrics import mean_average_precision

pairs, y = load_captioned_digits(return_X_y=True)
train, test, y_train, y_test = train_test_split(pairs, y, stratify=y, random_state=0)
text_features = make_pipeline(TfidfVectorizer(), StandardScaler(with_mean=False))
prepare = PairTransformer(image=StandardScaler(), text=text_features)
hasher = SSAHHasher(n_bits=64, min_updates=100, random_state=0)
hasher.fit(prepare.fit_transform(train), y_train)

codes = hasher.transform(prepare.transform(test))
gallery = CrossModalNeighbors(n_neighbors=8).fit(codes["image"])
print("modalities:", *hasher.modalities_)

# %%
# Labels as queries
# -----------------
# The network of the labels encodes labels: the query "all images of a 3" needs neither
# an example nor a sentence. Labels rank better than sentences, since some sentences
# name two digits or none.

labels = hasher.transform_modality(np.arange(10), "label")


def score(queries, y_queries):
    """Return the mAP of queries to the gallery of images."""
    value = mean_average_precision(queries, codes["image"], y_queries, y_test)
    return round(value, 3)


print("label -> image:", score(labels, np.arange(10)))
print("text -> image: ", score(codes["text"], y_test))

# %%
# Sounds, which come later
# ------------------------
# The key of a telephone has two tones: one names its row, the other one its column.
# Here they are a little out of tune, and in noise. The features are the strengths of
# the frequencies between 600 and 1600 Hz. The sounds need labels, but no images.

ROWS = np.array([697, 770, 852, 941])
COLUMNS = np.array([1209, 1336, 1477])
PLACES = np.array([(3, 1), *np.ndindex(3, 3)])  # of the keys 0 to 9
SECONDS = np.arange(800) / 8000


def press(digits, rng):
    """Return the sounds of keys, of a tenth of a second."""
    row, column = PLACES[digits].T
    tones = np.stack([ROWS[row], COLUMNS[column]])[..., None]
    tones = tones * rng.uniform(0.985, 1.015, size=tones.shape)
    phases = rng.uniform(0, 2 * np.pi, size=tones.shape)
    sounds = np.sin(2 * np.pi * tones * SECONDS + phases).sum(axis=0)
    return sounds + rng.standard_normal(sounds.shape)


def spectrum(sounds):
    """Return the strengths of the frequencies, in steps of 10 Hz."""
    return np.log1p(np.abs(np.fft.rfft(sounds))[:, 60:160])


rng = np.random.default_rng(0)
y_sound = rng.integers(10, size=1000)
hear = make_pipeline(FunctionTransformer(spectrum), StandardScaler())
hasher.add_modality("sound", hear.fit_transform(press(y_sound, rng)), y_sound)
print("modalities:", *hasher.modalities_)
same = np.array_equal(
    hasher.transform(prepare.transform(test))["image"], codes["image"]
)
print("codes of images unchanged:", same)

y_pressed = rng.integers(10, size=300)
pressed = press(y_pressed, rng)
heard = hasher.transform_modality(hear.transform(pressed), "sound")
print("sound -> image:", score(heard, y_pressed))

# %%
# Three kinds of queries
# ----------------------
# A label, a sentence and a sound find images in the same gallery.

words = "a round nought"
sound = np.flatnonzero(y_pressed == 7)[0]
sentence = prepare.transform({"text": np.array([words], dtype=object)})["text"]
queries = {
    "label 3": labels[[3]],
    f"“{words}”": hasher.transform_modality(sentence, "text"),
    "sound of key 7": heard[[sound]],
}
fig = plt.figure(figsize=(10, 4.2), layout="constrained")
grid = fig.add_gridspec(len(queries), 11)
for row, (name, query) in enumerate(queries.items()):
    found = gallery.kneighbors(query, return_distance=False)[0]
    print(f"{name} finds the digits {' '.join(map(str, y_test[found]))}")
    ax = fig.add_subplot(grid[row, :3])
    if name.startswith("sound"):
        shown = spectrum(pressed)[sound]
        ax.plot(np.arange(600, 1600, 10), shown, color="tab:blue", linewidth=1)
        ax.set(title=name, xlabel="Hz", yticks=[])
    else:
        ax.text(0.5, 0.5, name, ha="center", va="center", fontsize=13)
        ax.axis("off")
    for column, item in enumerate(found, start=3):
        ax = fig.add_subplot(grid[row, column])
        ax.imshow(test["image"][item].reshape(8, 8), cmap="gray_r")
        ax.set(xticks=[], yticks=[])
plt.show()
