"""Models of ONNX compute what `transform` does."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import doctest
import json
import logging
import random
import sys
import warnings
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import (
    AADAHHasher,
    ACMRProjector,
    CCAProjector,
    CMGANProjector,
    CrossModalEnsemble,
    CrossModalRetriever,
    DRCLProjector,
    ITQHasher,
    PairTransformer,
    SemanticMatchingProjector,
    SSAHHasher,
    __version__,
    make_pairs,
)
from sklearn_cmr.datasets import (
    make_cross_modal_classification,
    make_cross_modal_regions,
)
from sklearn_cmr.export import to_onnx
from tests.base.methods import make

FLAT = make_cross_modal_classification(
    90, n_image_features=9, n_text_features=11, n_classes=3, random_state=0
)
REGIONS = make_cross_modal_regions(
    90,
    n_regions=5,
    min_regions=3,
    n_image_features=6,
    n_text_features=7,
    n_classes=3,
    random_state=0,
)


def fit(cls, data=FLAT, **params):
    X_img, X_txt, y = data
    return make(cls, **params).fit(X_img[:60], X_txt[:60], y[:60])


def start(model):
    """Return a session of the runtime, from the bytes that a file has."""
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=providers)


def run(session, X):
    X = X if X.dtype.kind == "i" else X.astype(np.float32)
    (Z,) = session.run(None, {"X": X})
    return Z


def expect(est, X, modality, output):
    """Return what the estimator computes."""
    if hasattr(est, "n_bits"):
        return est.encode(X, modality, output=output)
    given = est.output
    try:
        return est.set_params(output=output).transform_modality(X, modality)
    finally:
        est.set_params(output=given)


def check_parity(est, X, modality, output=None):
    """Compare the model of an estimator with it; return a session with the model."""
    model = to_onnx(est, modality, output=output)
    onnx.checker.check_model(model, full_check=True)
    output = est.output if output is None else output
    expected = expect(est, X, modality, output)
    session = start(model)
    for rows in (slice(None), slice(1), slice(0)):
        Z = run(session, X[rows])
        assert Z.dtype == expected.dtype
        assert Z.shape == expected[rows].shape
        if Z.dtype == np.float32:
            np.testing.assert_allclose(Z, expected[rows], rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(Z, expected[rows])
    return session


SOFT = {"mask_gradient": "soft", "mask_inference": "same"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "cls, params, outputs",
    [
        (ACMRProjector, {"normalize": True}, ("embedding", "both")),
        (ACMRProjector, {"normalize": False}, ("probabilities",)),
        (CMGANProjector, {"batch_norm": True}, ("embedding",)),
        (CMGANProjector, {"batch_norm": False}, (None,)),
        (DRCLProjector, {}, ("probabilities", "both")),
        (SSAHHasher, {"text_fusion": True, "lrn": True}, ("packed", "sign")),
        (SSAHHasher, {"n_bits": 12, "output": "packed"}, (None,)),
        (AADAHHasher, {}, (None, "bool")),
        (AADAHHasher, SOFT, ("real",)),
        (AADAHHasher, {"use_attention": False}, ("packed",)),
    ],
)
def test_parity(cls, params, outputs):
    est = fit(cls, **params)
    for X, modality, output in zip(FLAT, ("image", "text"), outputs, strict=False):
        check_parity(est, X, modality, output)


@pytest.mark.slow
@pytest.mark.parametrize(
    "cls, params",
    [
        (AADAHHasher, {}),
        (AADAHHasher, {"region_pooling": "flatten"} | SOFT),
        (SSAHHasher, {"region_pooling": "flatten"}),
    ],
)
def test_parity_with_absent_regions(cls, params):
    est = fit(cls, REGIONS, **params)
    session = check_parity(est, REGIONS[0], "image", "real")
    if params.get("region_pooling") != "flatten":  # their number is free
        X = REGIONS[0][:, :3]
        Z, expected = run(session, X), expect(est, X, "image", "real")
        np.testing.assert_allclose(Z, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(Z >= 0, expected >= 0)  # the codes


def test_any_modality():
    y = FLAT[2]
    est = make(DRCLProjector).fit({"sound": FLAT[0]}, {"sound": y})
    check_parity(est, FLAT[0], "sound")


class Convolution(torch.nn.Module):
    out_features = 4

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU()
        )

    def forward(self, X):
        return self.layers(X).mean((2, 3))


class BagOfTokens(torch.nn.Module):
    out_features = 5

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(20, 5)

    def forward(self, X):
        return self.table(X).mean(1)


@pytest.mark.slow
def test_networks_of_the_caller():
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(90, 1, 6, 6)).astype(np.float32)
    tokens = rng.integers(0, 20, (90, 7))
    encoders = {"image": Convolution(), "text": BagOfTokens()}
    est = fit(SSAHHasher, (pixels, tokens, FLAT[2]), encoders=encoders)
    check_parity(est, pixels, "image")
    check_parity(est, tokens, "text")


@pytest.fixture(scope="module")
def projector():
    return fit(ACMRProjector)


def test_file_and_properties(tmp_path):
    X_img, X_txt, y = FLAT
    names = np.array(["bird", "cat", "été"])[y]
    est = fit(AADAHHasher, (X_img, X_txt, names))
    path = tmp_path / "text.onnx"
    model = to_onnx(est, "text", str(path))
    assert onnx.load(path) == model
    found = {item.key: item.value for item in model.metadata_props}
    assert [x.name for x in (*model.graph.input, *model.graph.output)] == ["X", "Z"]
    assert json.loads(found.pop("classes")) == ["bird", "cat", "été"]
    assert found == {
        "estimator": "AADAHHasher",
        "modality": "text",
        "output": "sign",
        "metric": "hamming",
        "sklearn_cmr_version": __version__,
    }


def state():
    return (
        random.getstate(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        torch.get_rng_state().tolist(),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        warnings.filters[:],
        [logging.getLogger(n).level for n in ("torch.onnx", "onnxscript", "onnx_ir")],
    )


def test_export_changes_nothing_and_holds_the_weights_of_the_output(projector, capfd):
    module = projector.module_
    weights = {name: w.clone() for name, w in module.state_dict().items()}
    modes = [m.training for m in module.modules()]
    learns = [p.requires_grad for p in module.parameters()]
    before = state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = to_onnx(projector, "image")
    assert state() == before
    assert [m.training for m in module.modules()] == modes
    assert [p.requires_grad for p in module.parameters()] == learns
    assert projector.module_ is module
    for name, w in module.state_dict().items():
        assert torch.equal(w, weights[name])
    assert capfd.readouterr() == ("", "")
    matrices = [p for p in projector.encoder_("image").parameters() if p.ndim > 1]
    stored = [tuple(t.dims) for t in model.graph.initializer if len(t.dims) > 1]
    assert sorted(stored) == sorted(tuple(p.shape) for p in matrices)
    # Nothing names files or folders of the machine that exported.
    assert b".py" not in model.SerializeToString()


@pytest.fixture
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.slow
def test_settings_of_the_caller_have_no_effect(request):
    est = fit(SSAHHasher, output="packed")
    expected = to_onnx(est, "image")
    request.getfixturevalue("double_precision")
    settings = torch.device("meta"), torch.autocast("cpu"), torch.inference_mode()
    with ExitStack() as stack:
        for each in settings:
            stack.enter_context(each)
        before = state()
        model = to_onnx(est, "image")
        assert state() == before
    assert model == expected


@pytest.mark.slow
def test_the_guide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[1] / "docs" / "onnx.rst"
    failed, tried = doctest.testfile(
        str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert not failed and tried > 10


# -- what is refused ---------------------------------------------------------------


SM = SemanticMatchingProjector()


@pytest.mark.parametrize(
    "other, advice",
    [
        (CCAProjector(), "Fit one, such as ACMRProjector"),
        (SM, "Fit one, such as ACMRProjector"),
        (ITQHasher(projector=SM), "Fit one, such as ACMRProjector"),
        (CrossModalEnsemble(SM, n_estimators=2), "its fitted members"),
        (CrossModalRetriever(SM), "model_"),
        (make_pipeline(PairTransformer(image=StandardScaler()), SM), "pipeline[-1]"),
        (GridSearchCV(SM, {"C": [1.0]}, cv=2), "search.best_estimator_[-1]"),
    ],
)
def test_other_estimators_are_refused(other, advice):
    fitted = clone(other).fit(make_pairs(*FLAT[:2]), FLAT[2])
    message = "to_onnx needs a fitted estimator that trains networks, got "
    with pytest.raises(TypeError, match=message + type(other).__name__) as error:
        to_onnx(fitted, "image")
    assert advice in str(error.value)


@pytest.mark.parametrize("given", [StandardScaler(), ACMRProjector, None, "model.pkl"])
def test_what_is_no_estimator_is_refused(given):
    with pytest.raises(TypeError, match="to_onnx needs a fitted estimator"):
        to_onnx(given, "image")


def test_last_step_of_a_pipeline():
    pipe = make_pipeline(
        PairTransformer(image=StandardScaler()), make(ACMRProjector, max_epochs=1)
    )
    pipe.fit(make_pairs(*FLAT[:2]), FLAT[2])
    prepared = pipe[:-1].transform({"image": FLAT[0]})["image"]
    expected = pipe.transform({"image": FLAT[0]})["image"]
    found = run(start(to_onnx(pipe[-1], "image")), prepared)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_not_fitted():
    with pytest.raises(NotFittedError, match="ACMRProjector"):
        to_onnx(ACMRProjector(), "image")


@pytest.mark.parametrize("modality", ["sound", None, 0])
def test_unknown_modality(projector, modality):
    with pytest.raises(ValueError, match="modality must be one of .*'image', 'text'"):
        to_onnx(projector, modality)


@pytest.mark.parametrize("output", ["sign", "codes", 1, ["embedding"]])
def test_unknown_output(projector, output):
    with pytest.raises(ValueError, match="output of ACMRProjector must be one of"):
        to_onnx(projector, "image", output=output)


def test_unknown_output_of_a_hasher():
    with pytest.raises(ValueError, match="of SSAHHasher .*'sign', 'bool', 'packed'"):
        to_onnx(fit(SSAHHasher), "image", output="embedding")


def test_untrained_label_classifier():
    est = fit(ACMRProjector, label_weight=0.0)
    with pytest.raises(ValueError, match="fit with label_weight > 0, or set output="):
        to_onnx(est, "image", output="probabilities")


class ConstantRows(torch.nn.Module):
    def forward(self, X):
        return X[: len(X)] * len(X)


class Branch(torch.nn.Module):
    def forward(self, X):
        return X if X.sum() > 0 else -X


@pytest.mark.parametrize("network", [ConstantRows(), Branch()])
def test_networks_that_torch_cannot_export(projector, network):
    est = copy.deepcopy(projector)
    est.module_["encoders"]["image"] = network
    with pytest.raises(ValueError, match="cannot export the network of .* 'image': "):
        to_onnx(est, "image")


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_missing_package(projector, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"'{package}'.*sklearn-cmr\[onnx\]"):
        to_onnx(projector, "image")


def test_a_failed_export_writes_no_file(projector, tmp_path):
    with pytest.raises(ValueError, match="must be one of"):
        to_onnx(projector, "image", tmp_path / "model.onnx", output="sign")
    assert not list(tmp_path.iterdir())
