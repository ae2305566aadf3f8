# SPDX-License-Identifier: BSD-3-Clause
"""
=======================
Search across languages
=======================

Pictures of emoji, and their names and keywords in English, German, Spanish and
Japanese, are five modalities of one common space. No pairs are used: every modality has
training rows of its own, and only the classes are shared. After the training, a word in
Japanese finds pictures, and words in Spanish.
"""

# %%
# Five modalities
# ---------------
# The classes are the 99 subgroups of Unicode. Where
# :func:`~sklearn_cmr.datasets.fetch_emoji` finds neither the font nor the words,
# nothing is learned below.

from itertools import permutations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.font_manager import get_font_names
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_cmr import CrossModalRetriever, DRCLProjector, PairTransformer
from sklearn_cmr.datasets import fetch_emoji
from sklearn_cmr.metrics import cross_modal_report

LANGUAGES = ["en", "de", "es", "ja"]

try:
    emoji = fetch_emoji(languages=LANGUAGES, target="subgroup", image_size=64)
except (ImportError, OSError) as error:
    emoji = None
    print(f"The emoji are not available, so nothing is searched: {error}")
else:
    for language in LANGUAGES:
        print(f"{language}: {emoji.text[language][0]}")


# %%
# Features
# --------
# Pictures are described by edges and colors, as in :ref:`another example
# <sphx_glr_auto_examples_plot_emoji.py>`. Texts are described by the sequences of up to
# four characters in their words: Japanese has no spaces between words, and German words
# are joined.
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


def text_features():
    return TfidfVectorizer(
        analyzer="char_wb", ngram_range=(1, 4), min_df=2, sublinear_tf=True
    )


model = make_pipeline(
    PairTransformer(
        image=make_pipeline(FunctionTransformer(describe_pictures), StandardScaler()),
        **{language: text_features() for language in LANGUAGES},
    ),
    DRCLProjector(min_updates=200, random_state=0),
)

# %%
# Train without pairs
# -------------------
# A quarter of the emoji is held out. Of the others, every modality takes a random half,
# each its own one. All directions are then evaluated on the held-out emoji; a random
# order would have a mAP of about 0.04.

if emoji:
    rows = np.arange(len(emoji.emoji))
    train, test = train_test_split(rows, test_size=0.25, random_state=0)
    parts = {"image": emoji.image, **emoji.text}
    rng = np.random.default_rng(0)
    own = {name: rng.permutation(train)[: len(train) // 2] for name in parts}
    model.fit(
        {name: part[own[name]] for name, part in parts.items()},
        {name: emoji.target[own[name]] for name in parts},
    )

    Z = model.transform({name: part[test] for name, part in parts.items()})
    report = cross_modal_report(Z, emoji.target[test], output_dict=True)
    table = np.full((5, 5), np.nan)
    for (row, a), (column, b) in permutations(enumerate(parts), 2):
        table[row, column] = report[f"{a} -> {b}"]["mAP"]
    print(f"mAP, the mean of all directions: {np.nanmean(table):.3f}")
    fig, ax = plt.subplots(figsize=(5, 4), layout="compressed")
    shown = ax.imshow(table, cmap="Blues", vmin=0, vmax=1)
    ax.set(xticks=range(5), xticklabels=parts, xlabel="gallery")
    ax.set(yticks=range(5), yticklabels=parts, ylabel="query")
    for (row, column), value in np.ndenumerate(table):
        label = "" if row == column else f"{value:.2f}"
        color = "white" if value > 0.6 else "black"
        ax.text(column, row, label, ha="center", va="center", color=color)
    fig.colorbar(shown, label="mAP")

# %%
# A word in Japanese finds pictures and words in Spanish
# ------------------------------------------------------
# One retriever holds the pictures, another one the Spanish texts, and both answer the
# same queries.

queries = {
    "猫": "neko, a cat",
    "時計": "tokei, a clock",
    "国旗": "kokki, a national flag",
    "手": "te, a hand",
    "家族": "kazoku, a family",
    "矢印": "yajirushi, an arrow",
}
N_FOUND = 6

# Letters that no installed font has would be drawn as empty boxes.
japanese = {"Noto Sans CJK JP", "IPAexGothic", "Hiragino Sans", "Yu Gothic"}
fonts = sorted(japanese.intersection(get_font_names()))

if emoji:
    pictures = CrossModalRetriever(model, n_neighbors=N_FOUND)
    pictures.index(image=emoji.image[test], ids=test)
    spanish = CrossModalRetriever(model, n_neighbors=N_FOUND)
    spanish.index(es=emoji.text["es"][test], ids=test)
    words = np.array(list(queries), dtype=object)
    found_pictures, _ = pictures.query(ja=words)
    found_texts, _ = spanish.query(ja=words)

    plt.rcParams["font.family"] = ["DejaVu Sans", *fonts]
    fig = plt.figure(figsize=(9, 1.5 * len(queries)), layout="constrained")
    rows = fig.subfigures(len(queries), 1)
    for row, word, items, texts in zip(
        rows, queries, found_pictures, found_texts, strict=True
    ):
        meaning = queries[word]
        label = f"{word} ({meaning})" if fonts else meaning
        row.suptitle(f"Japanese: {label}", x=0.01, ha="left", fontweight="bold")
        *axes, text_ax = row.subplots(1, N_FOUND + 1, width_ratios=[1] * N_FOUND + [3])
        for ax, item in zip(axes, items, strict=True):
            ax.imshow(emoji.images[item])
            ax.set_axis_off()
        names = [emoji.text["es"][item].split(" | ")[0] for item in texts]
        text_ax.text(0, 0.5, "\n".join(names), va="center", fontsize="small")
        text_ax.set_axis_off()
        print(f"{word} ({meaning}): {' '.join(emoji.emoji[items])}")
        print("    " + ", ".join(names))
    fig.savefig("languages.png", dpi=90)
    print("The picture is in languages.png")
    plt.show()
