"""What all methods do on an accelerator: the same as on the CPU, without waiting.

The variable SKLEARN_CMR_ACCELERATOR names the device: "simulated", or "cuda". A process
has to register the simulated one before all else; `tests/test_gpu.py` starts one.
"""

# SPDX-License-Identifier: BSD-3-Clause

import os
import pickle
import warnings
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.utils._param_validation import StrOptions
from skorch.callbacks import Callback, EpochScoring, LRScheduler
from torch import nn

from sklearn_cmr import (
    AADAHHasher,
    ACMRProjector,
    CMGANProjector,
    DRCLProjector,
    SSAHHasher,
)
from sklearn_cmr.datasets import (
    make_cross_modal_classification,
    make_cross_modal_regions,
)
from sklearn_cmr.metrics import map_scorer
from tests.accelerator import simulated

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:margin=:UserWarning"),
    # Of torch, where it computes on the CPU in place of the simulated device.
    pytest.mark.filterwarnings(
        "ignore:An output with one or more elements:UserWarning"
    ),
]

NAME = os.environ.get("SKLEARN_CMR_ACCELERATOR", simulated.NAME)
IS_SIMULATED = NAME == simulated.NAME
METHODS = [ACMRProjector, CMGANProjector, DRCLProjector, SSAHHasher, AADAHHasher]
N_EPOCHS, BATCH_SIZE = 2, 16
SMALL = {
    "embedding_dim": 8,
    "n_bits": 8,
    "hidden_layer_sizes": (16,),
    "discriminator_hidden_layer_sizes": (8,),
    "feature_dim": 8,
    "batch_size": BATCH_SIZE,
    "max_epochs": N_EPOCHS,
    "max_epochs_label": N_EPOCHS,
    "random_state": 0,
}
# Generators of two real devices differ: nothing is drawn on the device.
WITHOUT_DRAWS = {
    "dropout": 0.0,
    "mix_lambda": 1.0,
    "input_dropout": 0.0,
    "discriminator_dropout": 0.0,
}
# What is not about the training, or has tests of its own below.
NOT_OPTIONS = {
    "early_stopping",
    "max_epochs",
    "metric",
    "missing_labels",
    "warm_start",
}


# -- data --------------------------------------------------------------------------


def make_data(n_samples, **options):
    widths = {"n_image_features": 12, "n_text_features": 7}
    return make_cross_modal_classification(
        n_samples, random_state=0, **{"n_classes": 4} | widths | options
    )


def pairs(n_samples):
    return make_data(n_samples)


def several_labels(n_samples):
    return make_data(n_samples, multilabel=True, n_classes=8)


def mapping(n_samples):
    image, text, y = make_data(n_samples)
    return {"image": image, "text": text}, y


def without_pairs(n_samples):
    """Return two modalities of which one has three quarters of the rows."""
    image, text, y = make_data(n_samples)
    n_texts = 3 * n_samples // 4
    return (
        {"image": image, "text": text[:n_texts]},
        {"image": y, "text": y[:n_texts]},
    )


def regions(n_samples):
    return make_cross_modal_regions(
        n_samples,
        n_regions=4,
        min_regions=2,
        n_image_features=6,
        n_text_features=5,
        n_classes=4,
        random_state=0,
    )[:3]


def same_regions(n_samples):
    image, text, y = regions(n_samples)
    return np.nan_to_num(image), text, y


def sparse_texts(n_samples):
    """Return word counts as CSR, which stay on the host."""
    image, text, y = make_data(n_samples, n_text_features=40)
    counts = np.floor(text - 1).clip(0)
    return image, sparse.csr_array(counts), y


def double(n_samples):
    image, text, y = make_data(n_samples)
    return image.astype(np.float64), text.astype(np.float64), y


# -- cases: all options ------------------------------------------------------------


def case(cls, data=pairs, **params):
    values = "-".join(f"{name}={value}" for name, value in params.items())
    return pytest.param(cls(**params), data, id=f"{cls.__name__}-{values or 'default'}")


OPTIONS = [
    case(ACMRProjector),
    case(
        ACMRProjector,
        triplet_form="ranking",
        triplet_sampling="hard",
        activation="tanh",
        discriminator_activation="identity",
        init="default",
        norm_weight=0.1,
        output="both",
    ),
    case(
        ACMRProjector,
        several_labels,
        triplet_form="contrastive",
        triplet_sampling="hard_input",
        activation="logistic",
        discriminator_activation="tanh",
        normalize=False,
        label_loss="bce",
        adversarial_weight=0.0,
        output="probabilities",
    ),
    case(
        ACMRProjector,
        triplet_sampling="random",
        activation="identity",
        discriminator_activation="logistic",
        label_loss="auto",
        n_projector_steps=2,
        negative_weight=0.0,
    ),
    case(ACMRProjector, triplet_weight=0.0),
    case(ACMRProjector, label_weight=0.0),
    case(CMGANProjector),
    case(
        CMGANProjector,
        several_labels,
        batch_norm=True,
        share_last_layer=False,
        share_classifier=False,
        mismatch="self",
        label_loss="bce",
        sampler="shuffle",
        generator_update="alternate",
        n_generator_steps=2,
        n_discriminator_steps=2,
        reconstruction_weight=1.0,
        output="probabilities",
    ),
    case(CMGANProjector, inter_adversarial_weight=0.0, label_loss="auto"),
    case(CMGANProjector, intra_adversarial_weight=0.0, mismatch_weight=0.0),
    case(CMGANProjector, real_weight=0.0, label_weight=0.0, output="embedding"),
    case(CMGANProjector, cross_weight=0.0),
    case(DRCLProjector),
    case(
        DRCLProjector,
        output_init="default",
        prior="select",
        keep_all_priors=True,
        recast_reduction="mean",
        normalize_labels=True,
        q_max=1.0,
        output="both",
    ),
    case(
        DRCLProjector,
        early_stopping=True,
        prior="image",
        quality_on="validation",
        consistency_weight=0.0,
        output="probabilities",
    ),
    case(DRCLProjector, without_pairs, label_weight=0.0),
    case(DRCLProjector, recast_weight=0.0, dropout=0.0),
    case(SSAHHasher),
    case(
        SSAHHasher,
        sparse_texts,
        text_fusion=True,
        lrn=True,
        init="normal",
        text_scales=(3, 5),
        adversarial_weight=1.0,
        discriminator_dropout=0.5,
        similarity="cosine",
        label_loss="mse",
        adversarial_loss="lsgan",
        normalize_features=True,
        bank_size=40,
        output="packed",
    ),
    case(
        SSAHHasher,
        several_labels,
        text_fusion=False,
        schedule="alternate",
        n_rounds=1,
        label_passes=(1,),
        encoder_passes=(1,),
        discriminator_passes=(1,),
        adversarial_weight=1.0,
        pair_weight=None,
        reduction="sum",
        lr=1e-5,
        balance_weight=0.0,
    ),
    case(SSAHHasher, without_pairs, quantization_weight=0.0, feature_weight=0.0),
    case(SSAHHasher, regions, region_pooling="max", hash_weight=0.0),
    case(SSAHHasher, same_regions, region_pooling="flatten", label_weight=0.0),
    case(SSAHHasher, self_supervision=False),
    case(AADAHHasher),
    case(
        AADAHHasher,
        several_labels,
        mask_gradient="soft",
        mask_inference="same",
        distance="sqeuclidean",
        similarity="count",
        triplet_reduction="valid",
        quantization_weight=0.1,
        output="packed",
    ),
    case(
        AADAHHasher,
        regions,
        mask_gradient="ste_raw",
        region_pooling="sum",
        similarity="cosine",
        attention_loss="maximize",
        detach_query=False,
        triplet_reduction="sum",
        intra_triplet_weight=0.0,
        warmup_epochs=1,
        attention_every=1,
    ),
    case(AADAHHasher, same_regions, region_pooling="flatten", sampler="class_balanced"),
    case(AADAHHasher, without_pairs, inter_triplet_weight=0.0),
    case(AADAHHasher, adversarial_weight=0.0),
    case(AADAHHasher, use_attention=False),
]
FORMS = [case(cls, form) for cls in METHODS for form in (double, sparse_texts)]
STEADY = [
    case(cls, **params)
    for cls, params in (
        (ACMRProjector, {}),
        (CMGANProjector, {"lr": 1e-4}),  # else its game amplifies rounding
        (DRCLProjector, {}),
        (SSAHHasher, {}),
        # Counted triplets make the loss jump where rounding decides whether one costs.
        (AADAHHasher, {"triplet_reduction": "valid"}),
    )
]


def test_every_option_is_among_the_cases():
    """Every word, every switch, and every weight of a loss, 0 and above 0."""
    for cls in METHODS:
        estimators = [own.values[0] for own in OPTIONS if type(own.values[0]) is cls]
        tried = {
            name: {getattr(own, name) for own in estimators}
            for name in cls._parameter_constraints
            if name not in NOT_OPTIONS and not isinstance(getattr(cls(), name), tuple)
        }
        for name, values in tried.items():
            for constraint in cls._parameter_constraints[name]:
                wanted: set = set()
                if isinstance(constraint, StrOptions):
                    wanted = set(constraint.options)
                elif constraint == "boolean":
                    wanted = {True, False}
                assert wanted <= values, f"{cls.__name__}: {name} lacks {wanted}"
            if name.endswith("_weight") and name not in ("class_weight", "pair_weight"):
                assert 0 in values and max(values) > 0, f"{cls.__name__}: {name}"


# -- the device --------------------------------------------------------------------


@pytest.fixture(scope="module")
def device():
    """Return what the tests use of the device: name, tolerance, a count of waits."""
    if IS_SIMULATED:
        counts = simulated.register()
        return SimpleNamespace(
            name=NAME, rtol=1e-5, counts=counts, waits=lambda: _counted(counts)
        )
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return SimpleNamespace(name=NAME, rtol=1e-4, waits=_warned)


@contextmanager
def _counted(counts):
    found = SimpleNamespace(n=counts.count_waits())
    yield found
    found.n = counts.count_waits() - found.n


@contextmanager
def _warned():
    found = SimpleNamespace(n=0)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield found
    finally:
        torch.cuda.set_sync_debug_mode("default")
    found.n = sum("synchronizing" in str(warning.message) for warning in caught)


def fit(estimator, data, device="cpu", **params):
    """Fit a small copy of an estimator, with the parameters that it has set itself."""
    given = estimator.get_params()
    own = {k: v for k, v in given.items() if v is not type(estimator)().get_params()[k]}
    small = {k: v for k, v in SMALL.items() if k in given}
    if device == "cuda" or not IS_SIMULATED:
        small |= {k: v for k, v in WITHOUT_DRAWS.items() if k in given}
    return clone(estimator).set_params(**small | own | params, device=device).fit(*data)


def assert_same_history(model, expected, rtol):
    assert len(model.history_) == len(expected.history_) > 0
    for row, other in zip(model.history_, expected.history_, strict=True):
        values, wanted = (
            {k: v for k, v in own.items() if isinstance(v, float) and k != "seconds"}
            for own in (row, other)
        )
        assert values.keys() == wanted.keys()
        for name, value in values.items():
            # Ranks may change by rounding; terms may be differences of larger numbers.
            is_rank = name.endswith(("_map", "_accuracy"))
            options = {"rtol": 0.1} if is_rank else {"rtol": rtol, "atol": rtol}
            np.testing.assert_allclose(value, wanted[name], err_msg=name, **options)


@pytest.mark.skipif(not IS_SIMULATED, reason="is about the simulated device")
class TestTheDeviceItself:
    def test_operands_of_two_devices_are_refused(self, device):
        X = torch.ones(3, 2, device=device.name)
        assert (X * torch.tensor(2.0)).sum().item() == 12  # a single number is fine
        for mix in (
            lambda: X + torch.ones(3, 2),
            lambda: X @ torch.ones(2, 3),
            lambda: torch.cat([X, torch.ones(3, 2)]),
            lambda: X[torch.tensor([0, 2])],
            lambda: torch.nn.functional.mse_loss(X, torch.ones(3, 2)),
        ):
            with pytest.raises(RuntimeError, match="(all tensors|two devices)"):
                mix()

    def test_generators_of_another_device_are_refused(self, device):
        with pytest.raises(RuntimeError, match="generator"):
            torch.rand(3, device=device.name, generator=torch.Generator())
        draws = [
            torch.rand(3, device=own, generator=torch.Generator(own).manual_seed(5))
            for own in ("cpu", device.name)
        ]
        torch.testing.assert_close(draws[0], draws[1].cpu())

    def test_it_counts_waits(self, device):
        X = torch.arange(6.0).to(device.name)
        rows = torch.tensor([1, 2]).to(device.name)
        for run in (
            lambda: (X * 2 + 1).exp().sum(),
            lambda: X[rows],
            lambda: X.view(2, 3).T.contiguous(),
            lambda: torch.zeros(3).to(device.name, non_blocking=True),
        ):
            with device.waits() as found:
                run()
            assert found.n == 0
        for run in (
            lambda: X.cpu(),
            lambda: X.sum().item(),
            lambda: bool((X > 2).any()),
            lambda: torch.equal(X, X),
            lambda: X[X > 2],
            lambda: X.nonzero(),
            lambda: torch.tensor(2.0, device=device.name),
        ):
            with device.waits() as found:
                run()
            assert found.n > 0

    def test_it_counts_operators(self, device):
        X = torch.arange(6.0).to(device.name)
        before = device.counts.count_operators()
        (X.exp() + X).sum()
        assert device.counts.count_operators() - before == 3


# -- training ----------------------------------------------------------------------


@pytest.mark.skipif(not IS_SIMULATED, reason="other rounding is amplified")
@pytest.mark.parametrize(("estimator", "data"), OPTIONS + FORMS)
def test_training_is_that_of_the_cpu(estimator, data, device):
    """Steps see the same numbers, and an epoch of more batches waits no more often."""
    expected = fit(estimator, data(64))
    with device.waits() as few:
        model = fit(estimator, data(64), device.name)
    assert model.module_["encoders"]["image"] is model.encoder_("image")
    devices = {tensor.device.type for tensor in model.module_.state_dict().values()}
    assert devices == {device.name}
    assert_same_history(model, expected, device.rtol)
    assert_same_outputs(model, expected, data(64), device)
    with device.waits() as many:
        fit(estimator, data(128), device.name)
    assert few.n == many.n


def assert_same_outputs(model, expected, data, device):
    X = data[0] if isinstance(data[0], dict) else {"image": data[0], "text": data[1]}
    for name, part in X.items():
        Z, wanted = (own.transform_modality(part, name) for own in (model, expected))
        if Z.dtype.kind == "f":
            np.testing.assert_allclose(Z, wanted, rtol=0.01, atol=1e-4)
        else:
            assert (Z == wanted).mean() > 0.95  # a value near 0 may change its sign


@pytest.mark.skipif(IS_SIMULATED, reason="is part of the test above")
@pytest.mark.parametrize(("estimator", "data"), STEADY)
def test_losses_are_those_of_the_cpu(estimator, data, device):
    params = {"hidden_layer_sizes": (64,)}
    models = [fit(estimator, data(64), own, **params) for own in ("cpu", device.name)]
    np.testing.assert_allclose(*[m.loss_curve_ for m in models], rtol=device.rtol)


@pytest.mark.skipif(IS_SIMULATED, reason="is part of the test above")
@pytest.mark.parametrize(("estimator", "data"), STEADY)
def test_steps_do_not_wait(estimator, data, device):
    n_waits = []
    fit(estimator, data(64), device.name)  # what is done once in a process
    for n_samples in (64, 640):
        with device.waits() as found:
            fit(estimator, data(n_samples), device.name)
        n_waits.append(found.n)
    assert n_waits[0] == n_waits[1]


def test_long_epochs_do_not_wait(device):
    n_waits = []
    for n_samples in (20, 700):
        with device.waits() as found:
            fit(ACMRProjector(), pairs(n_samples), device.name, batch_size=2)
        n_waits.append(found.n)
    assert n_waits[0] == n_waits[1]


@pytest.mark.parametrize(("estimator", "data"), STEADY)
def test_rows_are_encoded_alone(estimator, data, device):
    image, text, y = data(2500)
    model = fit(estimator, (image[:64], text[:64], y[:64]), device.name)
    whole = model.transform_image(image)
    rows = np.random.default_rng(0).permutation(2500)[:77]
    np.testing.assert_array_equal(model.transform_image(image[rows]), whole[rows])


@pytest.mark.parametrize(("estimator", "data"), STEADY)
def test_features_in_a_file_stay_on_the_host(estimator, data, device, tmp_path):
    image, text, y = data(128)
    np.save(tmp_path / "image.npy", image)
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    models = [fit(estimator, (X, text, y), device.name) for X in (image, mapped)]
    assert models[0].loss_curve_ == models[1].loss_curve_
    n_waits = []
    for n_samples in (64, 128):
        part = mapped[:n_samples], text[:n_samples], y[:n_samples]
        with device.waits() as found:
            fit(estimator, part, device.name)
        n_waits.append(found.n)
    assert n_waits[0] == n_waits[1]


class Batches(Callback):
    """Count the batches, and note on which devices they are."""

    def on_train_begin(self, net, **kwargs):
        self.n_batches_, self.devices_ = 0, set()

    def on_batch_end(self, net, batch, training, **kwargs):
        self.n_batches_ += training
        tensors = [*batch.features.values(), batch.y, batch.rows]
        self.devices_ |= {tensor.device.type for tensor in tensors}


@pytest.mark.parametrize(("estimator", "data"), STEADY)
def test_early_stopping_callbacks_and_warm_start(estimator, data, device):
    """Together: the best weights come back, and the training goes on from them."""
    params = {
        "early_stopping": True,
        "warm_start": True,
        "n_iter_no_change": 2,
        "max_epochs": 3,
        "callbacks": [
            ("batches", Batches()),
            ("rates", LRScheduler("StepLR", step_size=1, gamma=0.5)),
            ("score", EpochScoring(map_scorer, lower_is_better=False)),
        ],
    }
    if isinstance(estimator, (DRCLProjector, SSAHHasher)):
        del params["callbacks"][2]  # one modality at a time has no score of pairs
    models = [fit(estimator, data(64), own, **params) for own in ("cpu", device.name)]
    for model in models:
        model.fit(*data(64))
    assert_same_history(models[1], models[0], device.rtol)
    counts = [
        callback.n_batches_
        for name, callback in models[1].callbacks_
        if name.endswith("batches")
    ]
    assert counts and all(counts)
    devices = [
        callback.devices_
        for name, callback in models[1].callbacks_
        if name.endswith("batches")
    ]
    assert set.union(*devices) == {device.name}


@pytest.mark.parametrize("cls", [DRCLProjector, SSAHHasher])
def test_modalities_that_are_added(cls, device):
    image, text, y = pairs(64)
    models = [fit(cls(), (image, text, y), own) for own in ("cpu", device.name)]
    for model in models:
        model.add_modality("sound", image[:, :5], y)
    assert_same_history(models[1], models[0], device.rtol)
    Z = [model.transform_modality(image[:, :5], "sound") for model in models]
    np.testing.assert_allclose(*Z, rtol=0.01, atol=1e-4)


@pytest.mark.parametrize("cls", METHODS)
def test_all_outputs(cls, device):
    image, text, y = pairs(64)
    params = {"reconstruction_weight": 1.0} if cls is CMGANProjector else {}
    model, expected = (
        fit(cls(**params), (image, text, y), own) for own in (device.name, "cpu")
    )
    calls = {
        "score": (image, text, y),
        "predict_proba": (image, "image"),
        "reconstruct": (text, "text"),
        "attention": (image, "image"),
        "encode": (text, "text"),
    }
    for name, arguments in calls.items():
        if hasattr(cls, name):
            found, wanted = (
                getattr(own, name)(*arguments) for own in (model, expected)
            )
            if name == "attention":
                found, wanted = found[0], wanted[0]
            np.testing.assert_allclose(found, wanted, rtol=0.05, atol=1e-3)


class Stop(Callback):
    """End a fit in its second epoch, if told to."""

    is_active = True  # of the class: parameters of a fit that continues are the same

    def on_epoch_begin(self, net, **kwargs):
        if self.is_active and len(net.history) == 2:
            raise KeyboardInterrupt


class Network(nn.Sequential):
    """A network of the caller, with statistics that move."""

    def __init__(self, n_features):
        super().__init__(nn.BatchNorm1d(n_features), nn.Linear(n_features, 6))


@pytest.mark.parametrize(("estimator", "data"), STEADY)
def test_own_networks_and_checkpoints(estimator, data, device, tmp_path, monkeypatch):
    """A fit that was interrupted continues on the device, and on the CPU."""
    params = {"encoders": {"image": Network}, "lr_encoder": 0.001, "lr": 1e-4}
    expected = fit(estimator, data(64), **params)
    for name in (device.name, "cpu"):
        params |= {"checkpoint": tmp_path / name, "callbacks": [Stop]}
        with pytest.raises(KeyboardInterrupt):
            fit(estimator, data(64), device.name, **params)
        assert list(params["checkpoint"].glob("*.zip"))
        monkeypatch.setattr(Stop, "is_active", False)
        continued = fit(estimator, data(64), name, **params)
        assert_same_history(continued, expected, device.rtol)
        monkeypatch.undo()


@pytest.mark.parametrize("cls", METHODS)
def test_files_load_without_the_device(cls, device):
    image, text, y = pairs(64)
    model = fit(cls(), (image, text, y), device.name)
    loaded = pickle.loads(pickle.dumps(model))
    tensors = loaded.module_.state_dict().values()
    assert {tensor.device.type for tensor in tensors} == {"cpu"}
    assert_same_outputs(loaded, model, (image, text, y), device)
