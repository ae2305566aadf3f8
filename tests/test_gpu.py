"""What all estimators do on a GPU: the same as on the CPU, without waiting for it."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone

from sklearn_cmr import (
    AADAHHasher,
    ACMRProjector,
    CMGANProjector,
    DRCLProjector,
    SSAHHasher,
)
from sklearn_cmr.datasets import make_cross_modal_classification

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

GPU = "cuda"
# What draws numbers on the device is off: generators of two devices differ.
ESTIMATORS = [
    ACMRProjector(),
    CMGANProjector(lr=1e-4),  # at the default rate its game amplifies rounding
    DRCLProjector(),
    SSAHHasher(discriminator_dropout=0.0),
    # Counted triplets make the loss jump where rounding decides whether one costs.
    AADAHHasher(triplet_reduction="valid"),
]


def make_data(n_samples):
    return make_cross_modal_classification(
        n_samples, n_image_features=20, n_text_features=8, n_classes=4, random_state=0
    )


def fit(estimator, data, device):
    lengths = {"max_epochs", "max_epochs_label"} & set(estimator.get_params())
    params = dict.fromkeys(lengths, 5) | {"batch_size": 16, "random_state": 0}
    return clone(estimator).set_params(**params, device=device).fit(*data)


@pytest.fixture(params=ESTIMATORS, ids=lambda estimator: type(estimator).__name__)
def estimator(request):
    return request.param


def test_losses_are_those_of_the_cpu(estimator):
    """Over 20 steps: 5 epochs of 4 batches."""
    curves = [fit(estimator, make_data(64), d).loss_curve_ for d in ("cpu", GPU)]
    np.testing.assert_allclose(*curves, rtol=1e-4)


def test_rows_are_encoded_alone(estimator):
    image, text, y = make_data(2500)
    model = fit(estimator, (image[:64], text[:64], y[:64]), GPU)
    whole = model.transform_image(image)
    rows = np.random.default_rng(0).permutation(2500)[:77]
    np.testing.assert_array_equal(model.transform_image(image[rows]), whole[rows])


def test_steps_do_not_wait_for_the_gpu(estimator):
    """An epoch of many batches waits no more often than one of a few."""
    n_waits = []
    fit(estimator, make_data(64), GPU)  # what is done once in a process
    torch.cuda.set_sync_debug_mode("warn")
    try:
        for n_samples in (64, 640):
            data = make_data(n_samples)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                fit(estimator, data, GPU)
            messages = [str(warning.message) for warning in caught]
            n_waits.append(sum("synchronizing" in message for message in messages))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert n_waits[0] == n_waits[1]
