"""All loops of the speed benchmark do the work that `fit` does."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
from loops import aadah, acmr, cmgan, drcl, floor, rankings, skorch_default, ssah
from loops.common import make_data, same_order
from numpy.testing import assert_allclose

from sklearn_cmr import (
    AADAHHasher,
    ACMRProjector,
    CMGANProjector,
    DRCLProjector,
    SSAHHasher,
)
from sklearn_cmr.metrics import mean_average_precision

EPOCHS = 2
COMMON = {"max_epochs": EPOCHS, "random_state": 0}
SMALL = {"embedding_dim": 16, **COMMON}
METHODS = {
    "ACMR": (acmr, ACMRProjector(hidden_layer_sizes=(16,), **SMALL)),
    # Of steps that are repeated on a batch, `history_` has the last one only.
    "CM-GANs": (
        cmgan,
        CMGANProjector(
            hidden_layer_sizes=(16,),
            discriminator_hidden_layer_sizes=(16,),
            n_discriminator_steps=1,
            n_generator_steps=1,
            **cmgan.SETTINGS,
            **SMALL,
        ),
    ),
    "DRCL": (
        drcl,
        DRCLProjector(
            hidden_layer_sizes=(16, 16), batch_size=64, **drcl.SETTINGS, **SMALL
        ),
    ),
    "SSAH": (
        ssah,
        SSAHHasher(
            hidden_layer_sizes=(16,),
            label_hidden_layer_sizes=(16,),
            feature_dim=16,
            batch_size=64,
            max_epochs_label=EPOCHS,
            **ssah.SETTINGS,
            **COMMON,
        ),
    ),
    "AADAH": (
        aadah,
        AADAHHasher(hidden_layer_sizes=(16, 16), batch_size=64, **COMMON),
    ),
}
# Why the textbook's losses may differ by more than rounding.
TOLERANCES = {
    # Its discriminator gets the embeddings after the step of the encoders.
    ("ACMR", "discriminator_loss"): 0.02,
    # Of rows with equal labels, its bank renews those of the batch alone.
    "SSAH": 2e-3,
}


def order_of(loops, estimator, data):
    """Return the rows of `fit`, in the form that the textbook loop takes."""
    if loops is cmgan:
        return lambda epoch: cmgan.anchor_rows(estimator, data, epoch).numpy()
    return same_order(estimator, data.n_samples)


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_loops_reach_the_losses_of_fit(method, multilabel):
    loops, estimator = METHODS[method]
    data = make_data(200, 12, 6, 12, multilabel=multilabel)
    estimator.fit(data.features["image"], data.features["text"], data.y)
    order = order_of(loops, estimator, data)
    for history in (
        loops.textbook(estimator, data, EPOCHS, order),
        loops.bare(estimator, data, EPOCHS),
    ):
        assert len(history) == len(estimator.history_)
        for found, expected in zip(history, estimator.history_, strict=True):
            for name, value in found.items():
                rtol = TOLERANCES.get((method, name), TOLERANCES.get(method, 1e-4))
                assert_allclose(value, expected[name], rtol=rtol, err_msg=name)


@pytest.mark.parametrize("method", METHODS)
def test_skorch_trains_the_same(method):
    """In an order of its own: the losses come close."""
    _, estimator = METHODS[method]
    data = make_data(200, 12, 6, 5)
    estimator.fit(data.features["image"], data.features["text"], data.y)
    losses = skorch_default.train(estimator, data, EPOCHS)
    assert_allclose(losses, estimator.loss_curve_, rtol=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_floor_repeats_the_products_and_the_optimiser(method):
    loops, estimator = METHODS[method]
    data = make_data(100, 12, 6, 5)
    repeat, calls = floor.record(lambda: loops.bare(estimator, data, 1))
    repeat()
    names = {call.func.overloadpacket.__name__ for call in calls}
    assert {"mm", "_fused_adam_"} <= names


@pytest.mark.parametrize("kind", ["cosine", "hamming"])
def test_rankings_agree(kind):
    """But for the order of items that are tied, or differ by rounding."""
    rng = np.random.default_rng(0)
    query, gallery = (np.float32(rng.normal(size=(n, 64))) for n in (30, 200))
    y_query, y_gallery = rng.integers(4, size=30), rng.integers(4, size=200)
    functions, tolerance = rankings.COSINE, 5e-4
    if kind == "hamming":
        query, gallery = np.sign(query).astype(np.int8), np.sign(gallery).astype("i1")
        functions, tolerance = rankings.HAMMING, 0.02
    expected = mean_average_precision(query, gallery, y_query, y_gallery)
    sets = query, gallery, y_query, y_gallery
    for name, (function, one_by_one) in functions.items():
        value = function(*rankings.prepare(*sets, kind) if one_by_one else sets)
        if value is not None:  # a bound computes less
            assert_allclose(value, expected, rtol=tolerance, err_msg=name)
