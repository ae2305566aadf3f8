"""Weights of losses that are switched on or off between two fits of a warm start."""

# SPDX-License-Identifier: BSD-3-Clause

from numbers import Real

import numpy as np
import pytest
import torch

from sklearn_cmr import (
    AADAHHasher,
    ACMRProjector,
    CMGANProjector,
    DRCLProjector,
    SSAHHasher,
)
from sklearn_cmr.datasets import make_cross_modal_classification

METHODS = [ACMRProjector, CMGANProjector, DRCLProjector, SSAHHasher, AADAHHasher]
SMALL = {
    "embedding_dim": 8,
    "n_bits": 8,
    "hidden_layer_sizes": (16,),
    "discriminator_hidden_layer_sizes": (8,),
    "feature_dim": 8,
    "batch_size": 30,
    "max_epochs": 2,
    "max_epochs_label": 2,
    "random_state": 0,
}
A, B, y = make_cross_modal_classification(
    90, n_image_features=6, n_text_features=5, n_classes=3, random_state=0
)


def weights_of_losses(cls):
    """Return the weights among the parameters of a method, with values above 0."""
    return {
        name: value or 0.5
        for name, value in cls().get_params().items()
        if name.endswith("_weight") and isinstance(value, Real)
    }


SWITCHES = [
    pytest.param(cls, name, value, id=f"{cls.__name__}-{name}")
    for cls in METHODS
    for name, value in weights_of_losses(cls).items()
]


def test_every_method_has_weights():
    assert {switch.values[0] for switch in SWITCHES} == set(METHODS)


@pytest.mark.parametrize("begins_with", ["on", "off"])
@pytest.mark.parametrize(("cls", "name", "value"), SWITCHES)
def test_weights_may_be_switched_between_two_fits(cls, name, value, begins_with):
    """A player's parameters change with its terms: moments stay with their own."""
    params = {key: SMALL[key] for key in cls().get_params() if key in SMALL}
    if cls is CMGANProjector:
        params["output"] = "embedding"  # which needs no label loss
    estimator = cls(**params, warm_start=True)
    values = (value, 0, value) if begins_with == "on" else (0, value, 0)
    n_epochs = []
    for now in values:
        estimator.set_params(**{name: now}).fit(A, B, y)
        n_epochs.append(estimator.n_iter_)
        assert np.isfinite(estimator.loss_curve_).all()
        for key, weight in estimator.module_.state_dict().items():
            assert torch.isfinite(weight).all(), key
        parameters = dict(estimator.module_.named_parameters())
        for moments in estimator._moments.values():
            for key, own in moments.items():
                assert own["exp_avg"].shape == parameters[key].shape, key
        for Z in estimator.transform(A, B):
            assert np.isfinite(Z).all()
    assert n_epochs[0] < n_epochs[1] < n_epochs[2]
