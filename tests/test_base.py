"""What all estimators share: parameters, training, encoding, scores, copies."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping

from sklearn_cmr import ACMRProjector, PairTransformer, make_pairs
from sklearn_cmr.base import NetworkTransformer, ProjectorMixin
from sklearn_cmr.datasets import make_cross_modal_classification
from sklearn_cmr.metrics import mean_average_precision
from sklearn_cmr.training import Player

A, B, y = make_cross_modal_classification(
    90, n_image_features=6, n_text_features=5, n_classes=3, random_state=0
)


def projector(**params):
    small = {"embedding_dim": 8, "hidden_layer_sizes": (16,), "max_epochs": 2}
    return ACMRProjector(**small | {"random_state": 0} | params)


@pytest.fixture(scope="module")
def reference():
    return projector().fit(A, B, y)


# A method in a few lines ------------------------------------------------------


class LinearProjector(ProjectorMixin, NetworkTransformer):
    """Pull pairs together: the least that a method has to write."""

    _parameter_constraints: dict = {
        **NetworkTransformer._parameter_constraints,
        **ProjectorMixin._parameter_constraints,
    }

    def __init__(
        self,
        *,
        embedding_dim=4,
        hidden_layer_sizes=(),
        lr=1e-2,
        betas=(0.9, 0.999),
        weight_decay=0.0,
        batch_size=32,
        max_epochs=3,
        metric="euclidean",
        missing_labels="raise",
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        tol=0.0,
        warm_start=False,
        checkpoint=None,
        checkpoint_every=1,
        random_state=None,
        verbose=0,
        device="auto",
        callbacks=None,
        n_image_features=None,
    ):
        for name, value in vars().copy().items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    def _build(self, n_features, n_classes):
        encoders = {
            name: torch.nn.Linear(width, self.embedding_dim)
            for name, width in n_features.items()
        }
        return torch.nn.ModuleDict({"encoders": torch.nn.ModuleDict(encoders)})

    def _phases(self, module, task):
        def loss(module, batch, state):
            z_img, z_txt = (
                encoder(batch.features[name])
                for name, encoder in module["encoders"].items()
            )
            return (z_img - z_txt).square().mean(), {}

        player = Player("projector", list(module.parameters()), loss, self.lr)
        return [task.make_phase(players=[player])]


def test_a_method_needs_two_hooks():
    estimator = LinearProjector(random_state=0).fit(A, B, y)
    assert estimator.loss_curve_[-1] < estimator.loss_curve_[0]
    Z = estimator.transform(make_pairs(A, B))
    assert Z["text"].shape == (90, 4) and Z["text"].dtype == np.float32
    assert estimator.get_feature_names_out()[4] == "text__linearprojector0"
    assert estimator.__sklearn_tags__().transformer_tags.preserves_dtype == ["float32"]
    i2t = mean_average_precision(Z["image"], Z["text"], y, y, metric="euclidean")
    t2i = mean_average_precision(Z["text"], Z["image"], y, y, metric="euclidean")
    expected = (i2t + t2i) / 2
    assert estimator.score(A, B, y) == expected


# Parameters -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "error", "text"),
    [
        ({"hidden_layer_sizes": {"image": (4,)}}, ValueError, r"got \['image'\]"),
        ({"hidden_layer_sizes": {"image": 4, "text": (4,)}}, ValueError, "got 4"),
        ({"hidden_layer_sizes": (4, -1)}, ValueError, "sequence of positive integers"),
        ({"hidden_layer_sizes": (4.0,)}, ValueError, "sequence of positive integers"),
        (
            {"hidden_layer_sizes": 16},
            ValueError,
            "must be an array-like or an instance",
        ),
        ({"callbacks": ["progress"]}, TypeError, "a name and one, got 'progress'"),
        ({"callbacks": [len]}, TypeError, "callbacks must hold skorch callbacks"),
        ({"callbacks": (Callback(),)}, ValueError, "must be an instance of 'list'"),
        ({"device": "gpu"}, ValueError, "device='gpu' cannot be used: .*[^.]. Use"),
        ({"device": 0}, ValueError, "'device' parameter"),
        ({"n_image_features": 0}, ValueError, "'n_image_features' parameter"),
        ({"max_epochs": 0}, ValueError, "'max_epochs' parameter"),
        ({"lr": 0}, ValueError, "'lr' parameter"),
        ({"validation_fraction": 1.0}, ValueError, "'validation_fraction' parameter"),
        ({"random_state": "a"}, ValueError, "'random_state' parameter"),
    ],
)
def test_wrong_parameters(params, error, text):
    estimator = projector(**params)
    with pytest.raises(error, match=text):
        estimator.fit(A, B, y)
    with pytest.raises(NotFittedError):
        estimator.transform(A, B)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_cuda_where_there_is_none():
    with pytest.raises(ValueError, match="device='cuda' cannot be used: .*Use 'auto'"):
        projector(device="cuda").fit(A, B, y)


def test_unknown_parameter():
    with pytest.raises(ValueError, match="Invalid parameter 'n_components'"):
        projector().set_params(n_components=3)


@pytest.mark.parametrize(
    "sizes",
    [[16], np.array([16]), {"image": (16,), "text": [16]}, (np.int64(16),)],
)
def test_hidden_layer_sizes_of_any_kind(sizes, reference):
    estimator = projector(hidden_layer_sizes=sizes).fit(A, B, y)
    assert_array_equal(estimator.transform_image(A), reference.transform_image(A))
    assert estimator.hidden_layer_sizes is sizes


def test_a_network_for_each_modality():
    sizes = {"image": (7, 3), "text": ()}
    module = projector(hidden_layer_sizes=sizes).fit(A, B, y).module_
    widths = [
        [
            layer.out_features
            for layer in encoder.modules()
            if hasattr(layer, "out_features")
        ]
        for encoder in module["encoders"].values()
    ]
    assert widths == [[7, 3, 8], [8]]


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), "auto"])
def test_device(device, reference):
    estimator = projector(device=device).fit(A, B, y)
    if next(estimator.module_.parameters()).device.type == "cpu":
        assert_array_equal(estimator.transform_text(B), reference.transform_text(B))


def test_callbacks_are_copied():
    class Counter(Callback):
        epochs = 0

        def on_epoch_end(self, net, **kwargs):
            self.epochs += 1

    counter = Counter()
    callbacks = [counter, ("clip", GradientNormClipping(1.0)), Callback]
    estimator = projector(callbacks=callbacks).fit(A, B, y)
    assert counter.epochs == 0
    assert estimator.callbacks is callbacks and callbacks[0] is counter
    clone(estimator).fit(A, B, y)


# Training ---------------------------------------------------------------------


def test_fitted_attributes(reference):
    assert_array_equal(reference.classes_, [0, 1, 2])
    assert reference.n_iter_ == 2 == len(reference.history_)
    assert [row["epoch"] for row in reference.history_] == [1, 2]
    losses = [row["train_loss"] for row in reference.history_]
    assert reference.loss_curve_ == losses
    assert not reference.module_.training


def test_same_seed_same_bits_and_global_generators_untouched():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, again = (projector().fit(A, B, y) for _ in range(2))
    refitted = first.transform_image(A), first.fit(A, B, y).transform_image(A)
    assert_array_equal(*refitted)
    assert_array_equal(again.transform_image(A), refitted[0])
    from_instance = projector(random_state=np.random.RandomState(0)).fit(A, B, y)
    assert_array_equal(from_instance.transform_image(A), refitted[0])
    assert (
        projector(random_state=1).fit(A, B, y).transform_image(A) != refitted[0]
    ).any()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_warm_start_continues():
    estimator = projector(warm_start=True).fit(A, B, y)
    early = estimator.transform_image(A)
    estimator.fit(A, B, y)
    assert [row["epoch"] for row in estimator.history_] == [1, 2, 3, 4]
    assert (estimator.transform_image(A) != early).any()
    estimator.set_params(warm_start=False).fit(A, B, y)
    assert_array_equal(estimator.transform_image(A), early)


@pytest.mark.parametrize(
    ("params", "arguments", "text"),
    [
        ({}, (A[:, :3], B, y), "X has 3 image features"),
        ({}, (np.hstack([A, B[:, 1:]]), y), "X has 10 features"),
        ({}, (A, B, y + 1), r"expected \[0, 1, 2\], got \[1, 2, 3\]"),
        ({}, (A, B, np.arange(90) % 2), r"expected \[0, 1, 2\], got \[0, 1\]"),
        ({"embedding_dim": 3}, (A, B, y), "expected 8 for each modality, got 3"),
        ({"hidden_layer_sizes": (3,)}, (A, B, y), r"got \(3,\). Set warm_start=False"),
    ],
)
def test_warm_start_with_another_task(params, arguments, text):
    estimator = projector(warm_start=True).fit(A, B, y).set_params(**params)
    early = estimator.transform_image(A)
    with pytest.raises(ValueError, match=text):
        estimator.fit(*arguments)
    assert_array_equal(estimator.transform_image(A), early)


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_early_stopping_without_room_for_all_classes(fraction):
    estimator = projector(early_stopping=True, validation_fraction=fraction)
    with pytest.raises(ValueError, match="stratified by class, which is not possible"):
        estimator.fit(A, B, y)


def test_early_stopping_records_the_validation_map():
    estimator = projector(early_stopping=True, max_epochs=4, n_iter_no_change=1)
    estimator.fit(A, B, y)
    assert all(0 < row["valid_map"] <= 1 for row in estimator.history_)
    assert estimator.n_iter_ == len(estimator.history_) <= 4


@pytest.mark.parametrize("labels", [np.linspace(0, 1, 90), y[1:], None])
def test_a_failed_fit_leaves_no_fitted_estimator(labels):
    estimator = projector()
    with pytest.raises(ValueError):
        estimator.fit(make_pairs(A, B), labels)
    with pytest.raises(NotFittedError):
        estimator.transform(A, B)


def test_a_failed_fit_leaves_no_fitted_transformer():
    estimator = PairTransformer(text=LinearProjector())
    with pytest.raises(ValueError):
        estimator.fit(make_pairs(A, B))
    with pytest.raises(NotFittedError):
        estimator.transform(make_pairs(A, B))


# Encoding and scores ----------------------------------------------------------


@pytest.mark.parametrize("rows", [[3], [5, 5], range(70), range(89, -1, -1)])
def test_rows_do_not_depend_on_their_company(rows, reference):
    rows = list(rows)
    Z_img, Z_txt = reference.transform(A, B)
    some = reference.transform(A[rows], B[rows])
    assert_array_equal(some[0], Z_img[rows])
    assert_array_equal(some[1], Z_txt[rows])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_score_is_the_mean_of_both_directions(metric):
    estimator = projector(metric=metric).fit(A, B, y)
    Z_img, Z_txt = estimator.transform(A, B)
    i2t = mean_average_precision(Z_img, Z_txt, y, y, metric=metric)
    t2i = mean_average_precision(Z_txt, Z_img, y, y, metric=metric)
    assert estimator.score(A, B, y) == (i2t + t2i) / 2


@pytest.mark.parametrize("modality", [["image"], None, 0])
def test_a_modality_is_named_by_a_string(reference, modality):
    with pytest.raises(ValueError, match="modality must be one of"):
        reference.transform_modality(A, modality)
    with pytest.raises(ValueError, match="modality must be one of"):
        reference.encoder_(modality)


def test_predict_proba(reference):
    from_image = reference.predict_proba(A, "image")
    from_text = reference.predict_proba({"text": B})
    both = reference.predict_proba(make_pairs(A, B))
    assert both.shape == (90, 3)
    assert_allclose(both.sum(axis=1), 1, rtol=1e-5)
    assert_allclose(both, (from_image + from_text) / 2, rtol=1e-5)
    assert_array_equal(both, reference.predict_proba(np.hstack([A, B])))
    with pytest.raises(TypeError, match=r"as one container: predict_proba\(make_pairs"):
        reference.predict_proba(A, B)
    with pytest.raises(ValueError, match="modality must be one of"):
        reference.predict_proba(A, "img")


@pytest.mark.parametrize(
    "copy_of", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))]
)
def test_copies_encode_alike(copy_of, reference):
    copied = copy_of(reference)
    assert_array_equal(copied.transform_image(A), reference.transform_image(A))
    assert copied.history_ == reference.history_
    assert copied.fit(A, B, y).n_iter_ == 2


def test_a_failed_refit_changes_nothing():
    estimator = projector().fit(A, B, y)
    before = vars(estimator).copy()
    Z = estimator.transform(A, B)
    with pytest.raises(ValueError, match="one class"):
        estimator.fit(A[:, :2], B, np.zeros(len(y)))
    assert vars(estimator) == before
    for part, expected in zip(estimator.transform(A, B), Z, strict=True):
        assert_array_equal(part, expected)


def test_a_dict_of_widths_names_each_modality_and_no_other():
    sizes = {"image": (4,), "text": (4,), "audio": (4,)}
    with pytest.raises(ValueError, match="a key for each modality.*audio"):
        projector(hidden_layer_sizes=sizes).fit(A, B, y)


def test_forgotten_labels_do_not_cost_the_trained_model(reference):
    estimator = copy.deepcopy(reference)
    with pytest.raises(ValueError, match="no third argument"):
        estimator.fit(A, B)
    assert_array_equal(estimator.transform_image(A), reference.transform_image(A))


@pytest.mark.parametrize("monitor", ["valid_loss", "valid_map"])
def test_early_stopping_needs_what_it_watches(monitor):
    callbacks = [EarlyStopping(monitor=monitor)]
    with pytest.raises(ValueError, match=f"{monitor}.*early_stopping=True"):
        projector(callbacks=callbacks).fit(A, B, y)
    projector(callbacks=callbacks, early_stopping=True).fit(A, B, y)


def test_frames_with_other_indices_are_not_paired():
    images, texts = pd.DataFrame(A), pd.DataFrame(B)
    with pytest.raises(ValueError, match="different indices"):
        projector().fit(images, texts.iloc[::-1], y)


def test_one_object_per_cell_is_refused_with_advice():
    frame = pd.DataFrame({"image": list(A), "text": ["words"] * len(A)})
    with pytest.raises(ValueError, match="np.stack"):
        projector().fit(frame, y)
