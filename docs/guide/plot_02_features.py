# SPDX-License-Identifier: BSD-3-Clause
"""
==================
Preparing features
==================

The estimators take features: one vector for each image and for each text. They work
best on standardized ones. This chapter prepares words and pixels with scikit-learn, and
shows how to use the features of large pretrained models.
"""

# %%
# Words and pixels
# ----------------
# A vectorizer makes sparse features of sentences. They stay sparse in the whole
# pipeline, and become dense batch by batch in the training.

import matplotlib.pyplot as plt
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

from sklearn_cmr import DRCLProjector, PairTransformer
from sklearn_cmr.datasets import load_captioned_digits

pairs, y = load_captioned_digits(return_X_y=True)
pairs, y = pairs[:600], y[:600]
print(pairs["text"][0])

texts = {
    "TF-IDF": TfidfVectorizer(),
    "TF-IDF, scaled": make_pipeline(TfidfVectorizer(), StandardScaler(with_mean=False)),
    "TF-IDF, 40 topics": make_pipeline(
        TfidfVectorizer(), TruncatedSVD(40, random_state=0), StandardScaler()
    ),
}
scores = {}
for name, text in texts.items():
    prepare = PairTransformer(image=StandardScaler(), text=text)
    model = make_pipeline(prepare, DRCLProjector(random_state=0))
    scores[name] = cross_val_score(model, pairs, y, cv=2).mean()
    print(f"{name:20}{scores[name]:.3f}")

# %%
# Every word of these sentences counts, so that a projection to few topics loses some.
# Scaling changes little here. It matters where columns differ much in their spread,
# such as counts, or pixels beside colors: a network sees the large ones only.

fig, ax = plt.subplots(figsize=(6, 2.5), layout="constrained")
ax.barh(list(scores), list(scores.values()), color="tab:blue")
ax.set(xlabel="mAP, mean of two folds", xlim=(min(scores.values()) - 0.1, 1))
ax.invert_yaxis()
plt.show()

# %%
# A non-negative sparse matrix of counts is best divided by its maxima:

counts = make_pipeline(TfidfVectorizer(use_idf=False, norm=None), MaxAbsScaler())
print(repr(counts.fit_transform(pairs["text"][:100])))

# %%
# Features of pretrained models
# -----------------------------
# Encode every image and every text **once**, store the arrays, and search over methods
# and parameters on them: a fit then takes seconds. The recipe is the same for
# `open_clip`, `timm`, `sentence-transformers` and others:
#
# .. code-block:: python
#
#     import numpy as np
#     import timm
#     import torch
#     from sentence_transformers import SentenceTransformer
#
#     name = "vit_base_patch16_224"
#     network = timm.create_model(name, pretrained=True, num_classes=0)
#     prepare = timm.data.create_transform(
#         **timm.data.resolve_model_data_config(network)
#     )
#     with torch.inference_mode():
#         X_img = np.vstack(
#             [network.eval()(prepare(image)[None]).numpy() for image in images]
#         )
#     X_txt = SentenceTransformer("all-MiniLM-L6-v2").encode(sentences)
#     np.save("images.npy", X_img)
#     np.save("texts.npy", X_txt)
#
# Large arrays can stay on the disk: ``np.load("images.npy", mmap_mode="r")`` is read
# block by block, both in the training and in `transform`. Standardize them as above;
# the statistics of a :class:`~sklearn.preprocessing.StandardScaler` can be fitted on a
# part of the rows.
