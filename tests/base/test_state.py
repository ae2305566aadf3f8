"""The state of estimators that train networks: plain values, and nothing lost."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import pickle
import pickletools
import warnings
from functools import cache

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from skorch.callbacks import EpochTimer

from sklearn_cmr import CMGANProjector, DRCLProjector, SSAHHasher
from sklearn_cmr.base import NetworkTransformer, ProjectorMixin
from sklearn_cmr.exceptions import FileVersionWarning
from tests.base.methods import METHODS, A, B, each_method, make, y
from tests.helpers import assert_same_weights

# Epochs are few, and so are the rows.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = {"image": A, "text": B}


@cache
def _fitted(cls):
    return make(cls, warm_start=True).fit(A, B, y)


def fitted(cls):
    """Return a fitted estimator that a test may change."""
    return copy.copy(_fitted(cls))


def through_pickle(estimator):
    return pickle.loads(pickle.dumps(estimator))


def assert_same_outputs(first, second, X=X):
    outputs, others = first.transform(X), second.transform(X)
    for modality in X:
        assert_array_equal(outputs[modality], others[modality])


def frozen(estimator):
    parameters = estimator.module_.named_parameters()
    return {name for name, parameter in parameters if not parameter.requires_grad}


def plain_types(value):
    """Yield the types of all that a state holds."""
    yield type(value)
    if isinstance(value, dict):
        for item in (*value, *value.values()):
            yield from plain_types(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from plain_types(item)


# -- what it holds -------------------------------------------------------------------


@each_method
def test_it_is_made_of_plain_values_and_arrays(cls):
    state = fitted(cls).__getstate__()
    types = set(plain_types(state))
    assert types <= {dict, list, tuple, str, int, float, bool, type(None), np.ndarray}
    globals_ = [
        argument
        for opcode, argument, _ in pickletools.genops(
            pickle.dumps(fitted(cls), protocol=2)
        )
        if opcode.name == "GLOBAL"
    ]
    assert f"sklearn_cmr {cls.__name__}" in globals_
    assert not any(name.startswith(("torch", "skorch")) for name in globals_)


@each_method
def test_weights_are_those_of_the_module(cls):
    estimator = fitted(cls)
    weights = estimator.__getstate__()["module_"]["weights"]
    expected = estimator.module_.state_dict()
    assert weights.keys() == expected.keys()
    for name, array in weights.items():
        assert_array_equal(array, expected[name].numpy())


def test_shared_weights_are_stored_once():
    estimator = fitted(CMGANProjector)
    weights = estimator.__getstate__()["module_"]["weights"]
    expected = sum(parameter.nbytes for parameter in estimator.module_.parameters())
    expected += sum(buffer.nbytes for buffer in estimator.module_.buffers())
    assert sum(own.nbytes for own in {id(a): a for a in weights.values()}.values()) == (
        expected
    )


def test_state_is_a_copy():
    estimator = fitted(DRCLProjector)
    before = estimator.transform(X)
    for array in estimator.__getstate__()["module_"]["weights"].values():
        array[:] = 7
    assert_array_equal(estimator.transform(X)["image"], before["image"])


@pytest.mark.parametrize("device", [torch.device("cpu"), "cpu", "auto"])
def test_device_comes_back_as_it_was_given(device):
    estimator = make(DRCLProjector, device=device)
    assert torch.device not in set(plain_types(estimator.__getstate__()))
    for other in (through_pickle(estimator), through_pickle(estimator.fit(A, B, y))):
        assert other.device == device and type(other.device) is type(device)


def test_callbacks_stay_as_they_are():
    estimator = make(DRCLProjector, callbacks=[("timer", EpochTimer())]).fit(A, B, y)
    other = through_pickle(estimator)
    names = [name for name, _ in estimator.callbacks_]
    assert names and [name for name, _ in other.callbacks_] == names
    assert isinstance(other.callbacks[0][1], EpochTimer)
    other.set_params(callbacks__timer="passed").set_params(callbacks=None)
    assert other.callbacks is None


# -- what comes back -----------------------------------------------------------------


@each_method
@pytest.mark.parametrize("copied", [through_pickle, copy.deepcopy, copy.copy])
def test_copies_give_the_same_bits_and_continue_alike(cls, copied):
    estimator = fitted(cls)
    other = copied(estimator)
    assert_same_outputs(estimator, other)
    assert frozen(estimator) == frozen(other)
    assert other.get_params() == estimator.get_params()
    assert vars(other).keys() == vars(estimator).keys()
    assert not any(part.training for part in other.module_.modules())
    assert other.history_ == estimator.history_
    assert_same_weights(estimator.fit(A, B, y), other.fit(A, B, y))


def test_what_is_frozen_stays_frozen():
    assert frozen(fitted(DRCLProjector)) == {"prior.weight"}
    assert any(name.startswith("encoders.label") for name in frozen(fitted(SSAHHasher)))
    estimator = fitted(CMGANProjector)
    estimator.encoder_("image")[0].weight.requires_grad_(False)
    assert frozen(through_pickle(estimator)) == {"encoders.image.0.weight"}


@pytest.mark.parametrize("batch_norm", [False, True])
def test_what_is_shared_stays_shared(batch_norm):
    estimator = make(CMGANProjector, batch_norm=batch_norm).fit(A, B, y)
    other = through_pickle(estimator).module_
    assert [n for n, _ in other.named_parameters()] == [
        n for n, _ in estimator.module_.named_parameters()
    ]
    image, text = other["encoders"]["image"], other["encoders"]["text"]
    shared = -3 if batch_norm else -2
    assert image[shared].weight is text[shared].weight
    assert other["classifiers"]["image"] is other["classifiers"]["text"]


def test_modules_in_training_mode_stay_so():
    estimator = fitted(CMGANProjector)
    estimator.encoder_("text").train()
    modes = [part.training for part in through_pickle(estimator).module_.modules()]
    assert modes == [part.training for part in estimator.module_.modules()]
    assert any(modes) and not all(modes)


# Parameters that shape the networks, with values that give others, or an error.
CHANGES = {
    "embedding_dim": 2,
    "n_bits": 4,
    "hidden_layer_sizes": (3, 3),
    "discriminator_hidden_layer_sizes": (3,),
    "feature_dim": 5,
    "label_hidden_layer_sizes": (3,),
    "batch_norm": True,
    "share_last_layer": False,
    "normalize": False,
    "use_attention": False,
    "self_supervision": False,
    "quality_on": "validation",
    "prior": "nonsense",
    "lr": {"image": 1e-3},
    "max_epochs": 1,
}


@each_method
def test_parameters_set_after_the_fit_change_nothing(cls):
    estimator = fitted(cls)
    names = estimator.get_params(deep=False)
    changes = {k: v for k, v in CHANGES.items() if k in names}
    if cls is SSAHHasher:
        changes.pop("self_supervision")  # `transform` reads it, too
    estimator.set_params(**changes)
    other = through_pickle(through_pickle(estimator))
    assert_same_outputs(fitted(cls), other)
    assert {name: getattr(other, name) for name in changes} == changes


def test_sizes_that_are_changed_in_place_after_the_fit():
    sizes = [8]
    estimator = make(DRCLProjector, hidden_layer_sizes=sizes).fit(A, B, y)
    sizes.append(5)
    assert_same_outputs(estimator, through_pickle(estimator))


def test_prior_of_another_estimator_that_changed_since():
    first = make(DRCLProjector).fit(A, B, y)
    second = make(DRCLProjector, prior=first).fit(A, B, y)
    expected = second.transform(X)
    first.set_params(embedding_dim=5).fit(A, B, y > 0)
    other = through_pickle(second)
    assert_array_equal(other.transform(X)["text"], expected["text"])
    assert frozen(other) == {"prior.weight"}


@pytest.mark.parametrize("cls", [DRCLProjector, SSAHHasher])
def test_modality_that_was_added_with_settings_of_its_own(cls):
    sizes = {"image": (8,), "text": (4,)}
    estimator = make(cls, hidden_layer_sizes=sizes, random_state=3).fit(A, B, y)
    estimator.set_params(hidden_layer_sizes=sizes | {"audio": (5, 3)})
    estimator.add_modality("audio", A[:50, :3], y[:50])
    estimator.set_params(hidden_layer_sizes=(2,), random_state=None)
    other = through_pickle(estimator)
    assert_same_outputs(estimator, other, X | {"audio": A[:, :3]})
    estimator.set_params(hidden_layer_sizes=(6,), random_state=0)
    other.set_params(hidden_layer_sizes=(6,), random_state=0)
    for own in (estimator, other):
        own.add_modality("depth", A[:, :2], y)
    assert_same_outputs(estimator, other, {"depth": A[:, :2]})


def test_failed_addition_leaves_a_state_that_loads():
    estimator = fitted(DRCLProjector)
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        estimator.set_params(hidden_layer_sizes=(0,)).add_modality("audio", A, y)
    assert_same_outputs(estimator, through_pickle(estimator))


class Computing(ProjectorMixin, NetworkTransformer):
    """A method that computes with its weights, and has a buffer that is not saved."""

    def __init__(self, *, embedding_dim=3, metric="cosine", missing_labels="raise"):
        self.embedding_dim = embedding_dim
        self.metric = metric
        self.missing_labels = missing_labels

    hidden_layer_sizes, lr, betas, weight_decay = (), 1e-3, (0.9, 0.999), 0.0
    batch_size, max_epochs, min_updates, tol = 30, 1, 0, 0.0
    early_stopping, validation_fraction, n_iter_no_change = False, 0.1, None
    warm_start, random_state, verbose, device = False, 0, 0, "cpu"
    callbacks = n_image_features = checkpoint = encoders = lr_encoder = None

    def _build(self, n_features, n_classes):
        encoders = torch.nn.ModuleDict()
        for name, n_inputs in n_features.items():
            encoders[name] = torch.nn.Linear(n_inputs, self.embedding_dim)
            scale = encoders[name].weight.abs().max().item()
            encoders[name].register_buffer(
                "noise", scale * torch.randn(self.embedding_dim), persistent=False
            )
        return torch.nn.ModuleDict({"encoders": encoders})

    def _phases(self, module, task):
        def loss(module, batch, state):
            Z = [module["encoders"][m](X) for m, X in batch.features.items()]
            return (Z[0] - Z[1]).square().mean(), {}

        return [
            task.make_phase(
                players=[self._player("all", module.parameters(), loss, self.lr)]
            )
        ]


def test_networks_are_built_again_from_the_same_seed():
    estimator = Computing().fit(A, B, y)
    other = through_pickle(estimator)
    assert_same_outputs(estimator, other)
    assert_array_equal(
        estimator.encoder_("image").noise.numpy(), other.encoder_("image").noise.numpy()
    )


# -- the process around --------------------------------------------------------------


def global_state():
    return np.random.get_state()[1].copy()  # noqa: NPY002


def test_global_generators_and_settings_stay_untouched():
    data = pickle.dumps(fitted(DRCLProjector))
    torch.manual_seed(5)
    before = torch.random.get_rng_state(), global_state()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            other = pickle.loads(data)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert_array_equal(before[1], global_state())
    assert_same_outputs(fitted(DRCLProjector), other)
    assert not other.module_["encoders"]["image"][0].weight.is_inference()


def test_unfitted_and_cloned_estimators_have_states():
    estimator = make(DRCLProjector, hidden_layer_sizes={"image": (4,), "text": [5]})
    assert through_pickle(estimator).get_params() == estimator.get_params()
    assert "module_" not in vars(through_pickle(clone(fitted(DRCLProjector))))
    assert joblib.hash(estimator) == joblib.hash(clone(estimator))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading"])
def test_estimators_travel_to_workers_and_back(backend):
    estimators = [fitted(cls) for cls in METHODS]
    run = joblib.Parallel(n_jobs=2, backend=backend)
    for estimator, other in zip(
        estimators,
        run(joblib.delayed(copy.copy)(estimator) for estimator in estimators),
        strict=True,
    ):
        assert_same_outputs(estimator, other)


@pytest.mark.slow
def test_arrays_that_are_mapped_into_memory(tmp_path):
    joblib.dump(fitted(CMGANProjector), tmp_path / "cmgan.joblib")
    other = joblib.load(tmp_path / "cmgan.joblib", mmap_mode="r")
    assert_same_outputs(fitted(CMGANProjector), other)
    other.fit(A, B, y)


# -- what is refused -----------------------------------------------------------------


def reseal(estimator, state):
    """Return a state with a right digest, as a file of somebody else may have."""
    forged = object.__new__(type(estimator))
    forged._packages_of_state = estimator._packages_of_state
    forged._to_state = lambda: {k: v for k, v in state.items() if k != "_seal"}
    return forged.__getstate__()


def load(cls, state):
    object.__new__(cls).__setstate__(state)


@each_method
def test_sizes_are_refused_before_anything_is_allocated(cls):
    estimator = fitted(cls)
    state = estimator.__getstate__()
    settings = dict(state["_builds"][0]["settings"])
    settings["hidden_layer_sizes"] = (10**9,)
    build = state["_builds"][0] | {"settings": settings}
    forged = reseal(estimator, state | {"_builds": [build]})
    with pytest.raises(ValueError, match="holds no networks .* must be an array of"):
        load(cls, forged)
    for width in (10**9, 10**30, -1, "6", None, [6]):
        forged = reseal(estimator, state | {"n_image_features_in_": width})
        with pytest.raises(ValueError, match="holds no networks"):
            load(cls, forged)


def test_weights_that_do_not_fit_are_refused():
    estimator = fitted(DRCLProjector)
    packed = estimator.__getstate__()["module_"]
    name = "encoders.image.0.weight"
    weights = packed["weights"]
    nan = weights[name].copy()
    nan[0, 0] = np.nan
    for change, message in [
        ({"weights": weights | {name: nan}}, f"{name} holds NaN"),
        ({"weights": weights | {name: weights[name].T}}, "must be an array of shape"),
        ({"weights": weights | {name: weights[name].astype(">f4")}}, "float32"),
        ({"weights": weights | {name: weights[name].astype("f8")}}, "float32"),
        ({"weights": weights | {name: None}}, "must be an array of numbers"),
        ({"weights": weights | {"more": nan[0, 1:]}}, r"\['more'\] are unknown"),
        ({"weights": {}}, "are missing"),
        ({"weights": None}, "damaged"),
        ({"frozen": None}, "damaged"),
        ({"training": ["nothing"]}, "damaged"),
    ]:
        state = estimator.__getstate__()
        state["module_"] = packed | change
        with pytest.raises(ValueError, match=message):
            load(DRCLProjector, reseal(estimator, state))


@each_method
def test_any_changed_value_is_refused(cls):
    state = fitted(cls).__getstate__()
    weights = state["module_"]["weights"]
    name, array = next((n, a) for n, a in weights.items() if a.dtype.kind == "f")
    array = array.copy()
    array.view(np.uint8)[-1] ^= 1
    packed = state["module_"] | {"weights": weights | {name: array}}
    for change in (
        {"module_": packed},
        {"classes_": state["classes_"][::-1]},
        {"classes_": state["classes_"].astype(float)},
        {"batch_size": state["batch_size"] + 1},
        {"loss_curve_": state["loss_curve_"][:-1]},
        {"more": None},
    ):
        with pytest.raises(ValueError, match="is not the one that was saved"):
            load(cls, state | change)
    with pytest.raises(ValueError, match="is not the one that was saved"):
        load(cls, dict(reversed(state.items())))
    with pytest.raises(ValueError, match="is not the one that was saved"):
        load(next(other for other in METHODS if other is not cls), state)


@pytest.mark.parametrize(
    "state", [{}, None, [], {"_seal": None}, {"_seal": {}}, {"_seal": {"versions": 1}}]
)
def test_state_without_a_digest_is_refused(state):
    with pytest.raises(ValueError, match="has no versions and no digest"):
        load(DRCLProjector, state)


def test_networks_that_no_file_can_restore_are_not_saved():
    estimator = fitted(DRCLProjector)
    estimator.module_["encoders"]["image"] = torch.nn.Linear(6, 8)
    with pytest.raises(ValueError, match=r"module_ was changed after the fit.*missing"):
        pickle.dumps(estimator)
    estimator = fitted(DRCLProjector)
    estimator.module_.double()
    with pytest.raises(ValueError, match=r"module_ was changed.*float64"):
        copy.deepcopy(estimator)


# -- versions ------------------------------------------------------------------------


@pytest.mark.parametrize("package", ["sklearn_cmr", "sklearn", "torch"])
def test_other_versions_are_warned_of(package, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(f"{package}.__version__", "0.0.7")
        data = pickle.dumps(fitted(DRCLProjector))
    with pytest.warns(FileVersionWarning, match=f"saved with {package} 0.0.7 .here"):
        other = pickle.loads(data)
    assert_same_outputs(fitted(DRCLProjector), other)


def test_builds_for_other_devices_are_the_same_version(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("torch.__version__", torch.__version__.split("+")[0] + "+cu999")
        data = pickle.dumps(fitted(DRCLProjector))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.loads(data)


@pytest.mark.parametrize("name", ["_builds", "_moments", "classes_", "betas"])
def test_missing_attribute_names_the_version_that_wrote_it(name, monkeypatch):
    estimator = fitted(DRCLProjector)
    state = estimator.__getstate__()
    state.pop(name)
    with monkeypatch.context() as patch:
        patch.setattr("sklearn_cmr.__version__", "0.0.7")
        state = reseal(estimator, state)
    with (
        pytest.warns(FileVersionWarning),
        pytest.raises(ValueError, match=rf"sklearn_cmr 0\.0\.7.* and lacks \['{name}'"),
    ):
        load(DRCLProjector, state)
