"""Real data sets, the folds of their training rows, and what precedes every method."""

# SPDX-License-Identifier: BSD-3-Clause

import os
from pathlib import Path

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import PairTransformer, make_pairs

REAL_SETS = [
    "wiki_sift_lda",
    "wiki_cnn_pca",
    "uci_mfeat",
    "iaprtc12_1962",
    "pascal_sentence_100",
]


def load(name, part):
    """Return the pairs and the labels of a set's part, "train" or "test"."""
    with np.load(Path(os.environ["SKLEARN_CMR_DATA"]) / f"{name}.npz") as arrays:
        pairs = make_pairs(arrays[f"image_{part}"], arrays[f"text_{part}"])
        return pairs, arrays[f"y_{part}"]


def make_folds(y):
    """Return three shuffled folds, stratified where every row has one class."""
    kind = StratifiedKFold if np.ndim(y) == 1 else KFold
    return kind(3, shuffle=True, random_state=0)


def make_scaler():
    """Return the standardization of both modalities."""
    return PairTransformer(image=StandardScaler(), text=StandardScaler())


def make_model(estimator):
    """Return the pipeline that standardizes both modalities before an estimator."""
    return make_pipeline(make_scaler(), estimator)
