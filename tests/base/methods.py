"""Small data, and the five methods on it."""

# SPDX-License-Identifier: BSD-3-Clause

import pytest

from sklearn_cmr import (
    AADAHHasher,
    ACMRProjector,
    CMGANProjector,
    DRCLProjector,
    SSAHHasher,
)
from sklearn_cmr.datasets import make_cross_modal_classification

METHODS = [ACMRProjector, CMGANProjector, DRCLProjector, SSAHHasher, AADAHHasher]
each_method = pytest.mark.parametrize("cls", METHODS)

SMALL = {
    "embedding_dim": 8,
    "n_bits": 16,
    "hidden_layer_sizes": (16,),
    "discriminator_hidden_layer_sizes": (8,),
    "feature_dim": 8,
    "batch_size": 30,
    "max_epochs": 3,
    "max_epochs_label": 3,
    "random_state": 0,
    "device": "cpu",
}
A, B, y = make_cross_modal_classification(
    60, n_image_features=6, n_text_features=5, n_classes=3, random_state=0
)


def make(cls, **params):
    """Make an estimator that trains for a moment."""
    names = cls().get_params(deep=False)
    return cls(**{k: v for k, v in SMALL.items() if k in names} | params)
