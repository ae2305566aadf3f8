"""CMGANProjector against the formulas, a textbook trainer and its promises."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import math
import pickle
import warnings
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from loops.cmgan import textbook_training
from loops.common import Data
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from torch._subclasses.fake_tensor import FakeTensorMode

from sklearn_cmr import make_pairs
from sklearn_cmr.datasets import make_cross_modal_classification
from sklearn_cmr.metrics import mean_average_precision
from sklearn_cmr.nn.losses import LABEL_LOSSES
from sklearn_cmr.nn.normalization import BatchNorm
from sklearn_cmr.projection import CMGANProjector
from sklearn_cmr.projection._cmgan.losses import discriminator_loss, generator_loss
from sklearn_cmr.training import Batch, EpochState
from sklearn_cmr.training.trainer import Trainer
from tests.helpers import (
    Recorder,
    check_encoder,
    check_given_held_out_rows,
    make_labels,
    make_task,
    map_of_directions,
    split_rows,
    standardize,
)

MODALITIES = ("image", "text")
OTHER = {"image": "text", "text": "image"}
WIDTHS = {"image": 5, "text": 4}
# What the formulas and the textbook below assume, whatever the defaults are.
SMALL = {
    "embedding_dim": 6,
    "hidden_layer_sizes": (8,),
    "discriminator_hidden_layer_sizes": (7,),
    "batch_norm": True,
    "input_dropout": 0.0,
    "output": "embedding",
    "inter_adversarial_weight": 1.0,
    "intra_adversarial_weight": 1.0,
    "label_weight": 1.0,
    "label_loss": "auto",
    "n_generator_steps": 2,
    "n_discriminator_steps": 1,
    "lr_decay_every": 2,
    "max_epochs": 3,
    "batch_size": 16,
    "random_state": 0,
}
WEIGHTS = {
    "inter_adversarial_weight": 0.7,
    "intra_adversarial_weight": 1.3,
    "label_weight": 0.4,
    "reconstruction_weight": 0.6,
}
DISCRIMINATORS = [f"{m}_{kind}" for kind in ("intra", "inter") for m in MODALITIES]
STATE = EpochState({}, torch.Generator())


# -- the formulas, row by row ------------------------------------------------------


def literal_network(network, X):
    """Apply linear layers, normalization by the batch and leaky ReLUs."""
    layers = network if isinstance(network, torch.nn.Sequential) else [network]
    for layer in layers:
        if isinstance(layer, torch.nn.Linear):
            X = np.array([[w @ x for w in layer.weight.detach().numpy()] for x in X])
            X = X if layer.bias is None else X + layer.bias.detach().numpy()
        elif isinstance(layer, torch.nn.BatchNorm1d):
            mean = sum(X) / len(X)
            variance = sum((row - mean) ** 2 for row in X) / len(X)
            X = (X - mean) / np.sqrt(variance + 1e-5)
            X = layer.weight.detach().numpy() * X + layer.bias.detach().numpy()
        else:
            X = np.where(X > 0, X, layer.negative_slope * X)
    return X


def literal_bce(logits, target):
    total = 0.0
    for (logit,) in logits:
        p = 1 / (1 + math.exp(-logit))
        total -= target * math.log(p) + (1 - target) * math.log(1 - p)
    return total / len(logits)


def literal_accuracy(real, fake):
    return (np.mean(real > 0) + np.mean(fake <= 0)) / 2


def joined(discriminator):
    """Return an inter-modal discriminator as layers that see codes and features."""
    parts = discriminator.code_layer, discriminator.feature_layer
    first = torch.nn.Linear(
        sum(part.in_features for part in parts),
        parts[0].out_features,
        bias=parts[0].bias is not None,
    )
    first.weight = torch.nn.Parameter(torch.cat([part.weight for part in parts], 1))
    if first.bias is not None:
        first.bias = parts[0].bias
    return torch.nn.Sequential(first, *discriminator.next_layers)


class Literal:
    """Everything that the losses need, in numpy."""

    def __init__(self, module, batch):
        self.module = module
        self.h = {m: part.numpy() for m, part in batch.features.items()}
        self.y = batch.y.numpy()
        self.s = {
            m: literal_network(module["encoders"][m], self.h[m][0]) for m in MODALITIES
        }
        self.r = {
            m: literal_network(module["decoders"][m], self.s[m]) for m in MODALITIES
        }

    def inter_logits(self, modality, code, condition):
        rows = np.array([[*s, *h] for s, h in zip(code, condition, strict=True)])
        return literal_network(
            joined(self.module["inter_discriminators"][modality]), rows
        )

    def intra(self, m):
        discriminator = self.module["intra_discriminators"][m]
        real = literal_network(discriminator, self.h[m][0])
        fake = literal_network(discriminator, self.r[m])
        loss = literal_bce(real, 1) + literal_bce(fake, 0)
        return loss, literal_accuracy(real, fake)

    def inter(self, m, mismatch, real_weight, cross_weight, mismatch_weight):
        anchors, mismatched = self.h[m]
        real = self.inter_logits(m, self.s[m], anchors)
        cross = self.inter_logits(m, self.s[OTHER[m]], anchors)
        loss = real_weight * literal_bce(real, 1) + cross_weight * literal_bce(cross, 0)
        condition = {"anchor": anchors, "self": mismatched}[mismatch]
        wrong = self.inter_logits(
            m, literal_network(self.module["encoders"][m], mismatched), condition
        )
        disjoint = [
            row
            for row, y, other in zip(wrong, *self.y, strict=True)
            if not {*np.flatnonzero(y)} & {*np.flatnonzero(other)}
        ]
        if mismatch_weight is not None and disjoint:
            loss += mismatch_weight * literal_bce(disjoint, 0)
        return loss, literal_accuracy(real, cross)

    def label(self, m, kind):
        total = 0.0
        logits = literal_network(self.module["classifiers"][m], self.s[m])
        for row, y in zip(logits, self.y[0], strict=True):
            if kind == "softmax":
                p = np.exp(row) / np.exp(row).sum()
                total -= (y / y.sum() * np.log(p)).sum()
            else:
                p = 1 / (1 + np.exp(-row))
                total -= (y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
        return total / len(logits)

    def generator(self, m, kind, weights):
        other, terms, loss = OTHER[m], {}, 0.0
        if weights["label_weight"] is not None:
            terms[f"{m}_label_loss"] = self.label(m, kind)
            loss += weights["label_weight"] * terms[f"{m}_label_loss"]
        if weights["reconstruction_weight"] is not None:
            error = np.mean((self.r[m] - self.h[m][0]) ** 2)
            terms[f"{m}_reconstruction_loss"] = error
            loss += weights["reconstruction_weight"] * error
        embedding = loss
        if weights["inter_adversarial_weight"] is not None:
            logits = self.inter_logits(other, self.s[m], self.h[other][0])
            loss += weights["inter_adversarial_weight"] * literal_bce(logits, 1)
        if weights["intra_adversarial_weight"] is not None:
            logits = literal_network(self.module["intra_discriminators"][m], self.r[m])
            loss += weights["intra_adversarial_weight"] * literal_bce(logits, 1)
        return embedding, terms | {f"{m}_generator_loss": loss}


# -- helpers -----------------------------------------------------------------------


def make_batch(y, seed=0, dtype=torch.float64):
    """Make a batch with labels of shape (roles, b, n_classes)."""
    rng = np.random.default_rng(seed)
    y = torch.as_tensor(np.asarray(y), dtype=dtype)
    features = {
        name: torch.tensor(rng.normal(size=(*y.shape[:2], width)), dtype=dtype)
        for name, width in WIDTHS.items()
    }
    return Batch(features, y, torch.arange(y[..., 0].numel()).view(y.shape[:2]), {})


def make_module(n_classes=3, seed=0, dtype=torch.float64, spread=0.5, **params):
    torch.manual_seed(seed)
    module = CMGANProjector(**{**SMALL, **params})._build(WIDTHS, n_classes)
    with torch.no_grad():
        for layer in module.modules():  # ones and zeros would hide a mistake
            if isinstance(layer, BatchNorm):
                layer.weight.normal_(1, spread)
                layer.bias.normal_(0, spread)
    return module.to(dtype)


def make_data(n_samples=60, **params):
    return make_cross_modal_classification(
        n_samples,
        n_image_features=5,
        n_text_features=4,
        n_classes=3,
        random_state=0,
        **params,
    )


def as_float(value):
    return value.item() if isinstance(value, torch.Tensor) else value


def statistics(module):
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


def generators(module):
    return [
        p
        for name, p in module.named_parameters()
        if not name.partition(".")[0].endswith("discriminators")
    ]


def discriminator_of(module, name):
    """Return the discriminator that the history calls by a name."""
    modality, kind = name.split("_")
    return module[f"{kind}_discriminators"][modality]


def network_of(name):
    """Name the network that a parameter belongs to."""
    return ".".join(name.split(".")[:2])


# -- loss terms --------------------------------------------------------------------

weight = st.sampled_from([None, 0.3, 2.0])
cases = {
    "kind": st.sampled_from(["single", "multi", "one class"]),
    "n": st.integers(2, 7),
    "n_classes": st.integers(2, 4),
    "seed": st.integers(0, 2**31 - 1),
}


def make_case(kind, n, n_classes, seed, **params):
    rng = np.random.default_rng(seed)
    y = [make_labels(kind, n, n_classes, rng) for _ in range(2)]
    return make_module(n_classes, seed, **params), make_batch(y, seed)


def discriminate(module, batch, **params):
    """Evaluate what the discriminators minimise, by default as the defaults have it."""
    params = {
        "intra": MODALITIES,
        "inter": MODALITIES,
        "input_dropout": 0.0,
        "mismatch": "anchor",
        "real_weight": 1.0,
        "cross_weight": 0.5,
        "mismatch_weight": 0.5,
    } | params
    return discriminator_loss(module, batch, STATE, **params)


def check_discriminators(loss, terms, expected):
    """Compare with the loss and the accuracy of every discriminator."""
    assert_allclose(loss.item(), sum(own for own, _ in expected.values()), rtol=1e-6)
    assert len(terms) == 2 * len(expected)
    for name, (own, accuracy) in expected.items():
        assert_allclose(terms[f"{name}_loss"], own, rtol=1e-6, err_msg=name)
        found = terms[f"{name}_accuracy"]
        assert_allclose(found, accuracy, atol=1e-6, err_msg=name)


@settings(max_examples=12, deadline=None)
@given(**cases)
def test_intra_modal_losses_equal_the_formula(**case):
    module, batch = make_case(**case)
    literal = Literal(module, batch)
    loss, terms = discriminate(module, batch, inter=())
    check_discriminators(
        loss, terms, {f"{m}_intra": literal.intra(m) for m in MODALITIES}
    )


@pytest.mark.parametrize("mismatch", ["anchor", "self"])
@settings(max_examples=12, deadline=None)
@given(
    **cases,
    real_weight=st.sampled_from([0.5, 1.0]),
    cross_weight=st.sampled_from([0.0, 0.7]),
    mismatch_weight=weight,
)
def test_inter_modal_losses_equal_the_formula(
    mismatch, kind, n, n_classes, seed, **weights
):
    module, batch = make_case(kind, n, n_classes, seed)
    literal = Literal(module, batch)
    of_inter = {f"{m}_inter": literal.inter(m, mismatch, **weights) for m in MODALITIES}
    found = discriminate(module, batch, intra=(), mismatch=mismatch, **weights)
    check_discriminators(*found, of_inter)
    of_intra = {f"{m}_intra": literal.intra(m) for m in MODALITIES}
    found = discriminate(module, batch._replace(cache={}), mismatch=mismatch, **weights)
    check_discriminators(*found, of_intra | of_inter)


@pytest.mark.parametrize("modalities", [MODALITIES, ("image",), ("text",)])
@settings(max_examples=12, deadline=None)
@given(
    **cases,
    label_loss=st.sampled_from(["softmax", "bce"]),
    share_classifier=st.booleans(),
    inter_adversarial_weight=weight,
    intra_adversarial_weight=weight,
    label_weight=weight,
    reconstruction_weight=weight,
)
def test_generator_losses_equal_the_formula(
    modalities, kind, n, n_classes, seed, label_loss, share_classifier, **weights
):
    module, batch = make_case(
        kind, n, n_classes, seed, share_classifier=share_classifier
    )
    literal = Literal(module, batch)
    if modalities == ("text",):  # as it is when the text's turn has come
        image = {"modalities": ("image",), "label_loss": LABEL_LOSSES[label_loss]}
        generator_loss(module, batch, STATE, **image, input_dropout=0.0, **weights)
    loss, terms = generator_loss(
        module,
        batch,
        STATE,
        modalities=modalities,
        input_dropout=0.0,
        label_loss=LABEL_LOSSES[label_loss],
        **weights,
    )
    embedding, expected = {}, {}
    for m in MODALITIES:
        embedding[m], own = literal.generator(m, label_loss, weights)
        expected |= own if m in modalities else {}
    total = sum(expected[f"{m}_generator_loss"] for m in modalities)
    if "text" in modalities:
        expected["embedding_loss"] = sum(embedding.values())
        expected["code_gap"] = np.abs(literal.s["image"] - literal.s["text"]).mean()
    assert_allclose(as_float(loss), total, rtol=1e-6, atol=1e-9)
    assert set(terms) == set(expected)
    for name, term in terms.items():
        found = as_float(term)
        assert_allclose(found, expected[name], rtol=1e-6, atol=1e-9, err_msg=name)


def test_rows_without_a_mismatch_do_not_count():
    """Neither in the mean, nor in the gradient; with none left the term is 0."""
    y = np.eye(3)[[[0, 1, 2, 0], [1, 1, 0, 2]]]  # the second row is no mismatch
    module, batch = make_module(), make_batch(y)
    objective = partial(
        discriminate,
        intra=(),
        inter=("image",),
        real_weight=0.0,
        cross_weight=0.0,
        mismatch_weight=1.0,
    )
    loss, _ = objective(module, batch)
    literal = Literal(module, batch)
    code = literal_network(module["encoders"]["image"], literal.h["image"][1])
    logits = literal.inter_logits("image", code, literal.h["image"][0])
    assert_allclose(loss.item(), literal_bce(logits[[0, 2, 3]], 0))
    alone = batch._replace(y=batch.y[[0, 0]], cache={})
    loss, _ = objective(module, alone)
    assert loss == 0
    found = torch.autograd.grad(
        loss, list(module["inter_discriminators"]["image"].parameters())
    )
    assert all((g == 0).all() for g in found)


def test_mismatched_forms_differ_in_the_condition_alone():
    module, batch = make_module(), make_batch(np.eye(3)[[[0, 1, 2], [1, 2, 0]]])
    objective = partial(discriminate, module, batch, intra=(), inter=("text",))
    anchor, own = (objective(mismatch=form)[0].item() for form in ("anchor", "self"))
    assert abs(anchor - own) > 1e-3
    batch.features["text"][1] = batch.features["text"][0]
    batch.cache.clear()
    assert objective(mismatch="anchor")[0] == objective(mismatch="self")[0]


def test_large_logits_stay_finite():
    """A sigmoid before the logarithm would saturate."""
    module = make_module(dtype=torch.float32)
    batch = make_batch(np.eye(3)[[[0, 1, 2], [1, 2, 0]]], dtype=torch.float32)
    with torch.no_grad():
        for name in DISCRIMINATORS:
            for p in discriminator_of(module, name).parameters():
                p.mul_(1e4)
    for loss, moved in all_losses(module, batch):
        found = torch.autograd.grad(loss, moved, allow_unused=True)
        assert loss.isfinite() and loss > 100
        assert all(g is None or g.isfinite().all() for g in found)


def all_losses(module, batch):
    """Give every network's loss and parameters, discriminators first."""
    for kind in ("intra", "inter"):
        for m in MODALITIES:
            alone = {"intra": (), "inter": ()} | {kind: (m,)}
            loss, _ = discriminate(module, batch._replace(cache={}), **alone)
            yield loss, list(module[f"{kind}_discriminators"][m].parameters())
    loss, _ = generator_loss(
        module,
        batch,
        STATE,
        modalities=MODALITIES,
        input_dropout=0.0,
        label_loss=LABEL_LOSSES["softmax"],
        **WEIGHTS,
    )
    yield loss, generators(module)


def test_each_loss_reaches_its_own_player():
    module, batch = make_module(), make_batch(np.eye(3)[[[0, 1, 2], [1, 2, 0]]])
    *discriminators, (loss, moved) = all_losses(module, batch)
    for own_loss, own in discriminators:
        reached = torch.autograd.grad(
            own_loss, list(module.parameters()), allow_unused=True
        )
        by_parameter = zip(module.parameters(), reached, strict=True)
        touched = {id(p) for p, g in by_parameter if g is not None}
        assert touched == {id(p) for p in own}
    assert all(g.abs().max() > 1e-12 for g in torch.autograd.grad(loss, moved))


def test_generators_mislead_the_other_modalitys_discriminator():
    """The gradient comes through the other modality's discriminator."""
    module, batch = make_module(), make_batch(np.eye(3)[[[0, 1, 2], [1, 2, 0]]])
    off = {
        "intra_adversarial_weight": None,
        "label_weight": None,
        "reconstruction_weight": None,
    }
    loss, _ = generator_loss(
        module,
        batch,
        STATE,
        modalities=("image",),
        input_dropout=0.0,
        inter_adversarial_weight=2.0,
        label_loss=None,
        **off,
    )
    code = module["encoders"]["image"](batch.features["image"][0])
    both = torch.cat([code, batch.features["text"][0]], 1)
    logits = joined(module["inter_discriminators"]["text"])(both)
    expected = 2 * F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
    moved = list(module["encoders"]["image"].parameters())
    pairs = zip(
        torch.autograd.grad(loss, moved),
        torch.autograd.grad(expected, moved),
        strict=True,
    )
    for own, textbook in pairs:
        assert_allclose(own, textbook, atol=1e-12)


@pytest.mark.parametrize("label_loss", ["softmax", "bce"])
def test_losses_never_look_at_values(label_loss):
    """Fake tensors have no values: a branch on data or an `.item()` would raise."""
    real = make_batch(np.eye(3)[[[0, 1, 2], [1, 2, 0]]], dtype=torch.float32)
    with FakeTensorMode() as mode:
        module = CMGANProjector(**SMALL)._build(WIDTHS, 3)
        features = {m: mode.from_tensor(X) for m, X in real.features.items()}
        batch = Batch(features, mode.from_tensor(real.y), real.rows, {})
        for loss, moved in all_losses(module, batch):
            loss.backward(inputs=moved)
            assert loss.shape == ()
    assert all(p.grad is not None for p in module.parameters())


# -- sharing and normalization -------------------------------------------------------


def last_layers(module):
    encoders = [module["encoders"][m] for m in MODALITIES]
    return [[encoder[-3].weight, *encoder[-2].parameters()] for encoder in encoders]


def assert_shared(module):
    for own, other in zip(*last_layers(module), strict=True):
        assert own is other
        assert own.data_ptr() == other.data_ptr()
    image, text = (module["encoders"][m][-2] for m in MODALITIES)
    assert image is not text
    assert image.running_mean.data_ptr() != text.running_mean.data_ptr()


def test_last_layer_is_shared_and_its_statistics_are_not():
    module = make_module()
    assert_shared(module)
    names = [name for name, _ in module.named_parameters()]
    shared = "encoders.text.3", "encoders.text.4"
    assert not any(name.startswith(shared) for name in names)
    image, text = (module["encoders"][m] for m in MODALITIES)
    assert image[0].weight is not text[0].weight
    image(torch.ones(3, 5, dtype=torch.float64), track=True)
    assert (image[-2].running_mean != 0).any()
    assert (text[-2].running_mean == 0).all()


@pytest.mark.parametrize("carry", [
    copy.deepcopy,
    lambda module: pickle.loads(pickle.dumps(module)),
    lambda module: module.to(torch.float32),
    lambda module: module.to("cuda" if torch.cuda.is_available() else "cpu"),
    lambda module: copy.deepcopy(module.half()).float().share_memory(),
], ids=["deepcopy", "pickle", "dtype", "device", "chain"])  # fmt: skip
def test_sharing_survives(carry):
    assert_shared(carry(make_module()))


def test_sharing_survives_loading_weights():
    source, target = make_module(seed=1), make_module(seed=2)
    target.load_state_dict(source.state_dict())
    assert_shared(target)
    for own, loaded in zip(source.parameters(), target.parameters(), strict=True):
        assert torch.equal(own, loaded)
    # What was kept apart cannot become shared: the last one wins, in both.
    apart = make_module(seed=3, share_last_layer=False)
    target.load_state_dict(apart.state_dict())
    assert_shared(target)
    assert torch.equal(
        target["encoders"]["image"][-3].weight, apart["encoders"]["text"][-3].weight
    )


def test_a_step_on_text_alone_moves_the_image_encoder():
    est = CMGANProjector(**SMALL, generator_update="alternate").fit(*make_data())
    for fitted in (est, copy.deepcopy(est), pickle.loads(pickle.dumps(est))):
        module = fitted.module_.train()
        before = module["encoders"]["image"][-3].weight.clone()
        parameters = list(module["encoders"]["text"].parameters())
        optimizer = torch.optim.SGD(parameters, lr=1.0)
        module["encoders"]["text"](torch.randn(8, 4))[:, 0].square().sum().backward()
        optimizer.step()
        assert_shared(module)
        assert (module["encoders"]["image"][-3].weight - before).abs().max() > 1e-4


def test_sharing_survives_training():
    for params in ({}, {"early_stopping": True}, {"generator_update": "alternate"}):
        est = CMGANProjector(**SMALL, **params).fit(*make_data())
        assert_shared(est.module_)


def test_layers_kept_apart():
    module = make_module(share_last_layer=False)
    for own, other in zip(*last_layers(module), strict=True):
        assert own is not other and not torch.equal(own, other)


def test_running_statistics_are_updated_by_the_first_generator_step_alone():
    module, batch = make_module(), make_batch(np.eye(3)[[[0, 1, 2], [1, 2, 0]]])
    start = statistics(module)
    losses = all_losses(module, batch)
    for _ in DISCRIMINATORS:
        next(losses)
    for name, buffer in statistics(module).items():
        assert torch.equal(buffer, start[name]), name
    batch.cache.clear()
    list(all_losses(module, batch))
    once = statistics(module)
    for m in MODALITIES:
        hidden = module["encoders"][m][0](batch.features[m][0]).detach()
        name = f"encoders.{m}.1.running_mean"
        assert_allclose(once[name], 0.9 * start[name] + 0.1 * hidden.mean(0))
        name = f"encoders.{m}.1.running_var"
        assert_allclose(once[name], 0.9 * start[name] + 0.1 * hidden.var(0))
    assert not any("discriminators" in name for name in once)
    list(all_losses(module, batch))  # a second step on the same batch
    for name, buffer in statistics(module).items():
        assert torch.equal(buffer, once[name]), name


def test_running_statistics_are_those_of_the_anchors():
    """With mismatched rows of another kind, they would be polluted."""
    X_img, X_txt, y = make_data(48)
    X_img = X_img + 100 * y[:, None]
    params = {**SMALL, "sampler": "shuffle", "batch_size": 48, "max_epochs": 80}
    est = CMGANProjector(**params, lr=1e-9).fit(X_img, X_txt, y)
    norm = est.module_["encoders"]["image"][1]
    hidden = est.module_["encoders"]["image"][0](torch.from_numpy(X_img).float())
    assert norm.num_batches_tracked == 80
    assert_allclose(norm.running_mean, hidden.mean(0).detach(), rtol=2e-3, atol=0.1)
    assert_allclose(norm.running_var, hidden.var(0).detach(), rtol=2e-3)


# -- training ----------------------------------------------------------------------


@pytest.mark.parametrize("steps", [(1, 1), (3, 2)])
@pytest.mark.parametrize("generator_update", ["joint", "alternate"])
def test_training_equals_the_textbook(generator_update, steps):
    X_img, X_txt, y = make_data(31)
    features = {"image": np.float32(X_img), "text": np.float32(X_txt)}
    params = {
        "lr": 1e-3,
        "lr_discriminator": 3e-3,
        "generator_update": generator_update,
        "n_generator_steps": steps[0],
        "n_discriminator_steps": steps[1],
        "max_epochs": 4,
        "batch_size": 8,
    }
    est = CMGANProjector(**{**SMALL, **params})
    # With all rows on one side of a kink, the gradient of a shift is noise.
    module = make_module(dtype=torch.float32, spread=0.0)
    expected, start = copy.deepcopy(module), copy.deepcopy(module.state_dict())
    task = make_task(est, features, y)
    recorder = Recorder()
    Trainer(module, seed=11, callbacks=[recorder]).fit(est._phases(module, task))
    assert len(recorder.rows) == 4 * 4

    def order(epoch):
        return torch.cat(recorder.rows[4 * epoch : 4 * epoch + 4], dim=1).numpy()

    data = Data(features, y, np.eye(3, dtype=np.uint8)[y])
    textbook_training(expected, est, data, 4, order)
    for name, own in module.named_parameters():
        own, theirs = own.detach(), weight_in_textbook(expected, name)
        assert_allclose(own, theirs.detach(), atol=3e-5, err_msg=name)
        assert (own - start[name]).abs().max() > 1e-3, name


def weight_in_textbook(module, name):
    """Return a parameter of networks whose inter-modal discriminators are joined."""
    kind, modality, part, *rest = name.split(".")
    if kind != "inter_discriminators":
        return module.get_parameter(name)
    critic = module[kind][modality]
    if part == "code_layer":
        return critic[0].weight[:, : SMALL["embedding_dim"]]
    if part == "feature_layer":
        return critic[0].weight[:, SMALL["embedding_dim"] :]
    layer, *rest = rest
    return critic.get_parameter(".".join([str(int(layer) + 1), *rest]))


@pytest.mark.parametrize("n_discriminator, n_generator", [(1, 1), (2, 3)])
@pytest.mark.parametrize("generator_update", ["joint", "alternate"])
def test_players_take_turns(generator_update, n_discriminator, n_generator):
    recorder = Recorder()
    steps = {
        "n_discriminator_steps": n_discriminator,
        "n_generator_steps": n_generator,
    }
    params = {**SMALL, **steps, "generator_update": generator_update}
    CMGANProjector(**params, callbacks=[recorder]).fit(*make_data(50))
    # What is shared bears the name that it has for images.
    image = {"encoders.image", "decoders.image", "classifiers.image"}
    text = {"encoders.text", "decoders.text", "classifiers.image"}
    generate = [image | text]
    if generator_update == "alternate":
        generate = [image, text | {"encoders.image"}]
    discriminators = {
        f"{k}_discriminators.{m}" for k in ("intra", "inter") for m in OTHER
    }
    turn = [discriminators] * n_discriminator + generate * n_generator
    moved = [{network_of(name) for name in names} for names in recorder.moved]
    assert moved == turn * 3 * 4


def test_every_network_is_trained():
    recorder = Recorder()
    est = CMGANProjector(**SMALL, lr=1e-2, callbacks=[recorder]).fit(*make_data())
    for name, weights in est.module_.named_parameters():
        assert (weights - recorder.starts[0][name]).abs().max() > 1e-4, name


def test_batches_reach_the_training():
    recorder = Recorder()
    params = {**SMALL, "sampler": "shuffle", "batch_size": 7}
    X_img, X_txt, y = make_data(50)
    CMGANProjector(**params, callbacks=[recorder]).fit(X_img, X_txt, y)
    # A batch of one could not be normalized: it joins the one before.
    assert [len(rows[0]) for rows in recorder.rows] == [7, 7, 7, 7, 7, 7, 8] * 3
    for anchors, mismatched in recorder.rows:
        assert (y[anchors] != y[mismatched]).all()
    epochs = [
        torch.cat([anchors for anchors, _ in recorder.rows[i : i + 7]]).tolist()
        for i in (0, 7)
    ]
    assert sorted(epochs[0]) == list(range(50))
    assert epochs[0] != epochs[1]


def test_held_out_rows_are_never_drawn():
    recorder = Recorder()
    X_img, X_txt, y = make_data(60)
    est = CMGANProjector(**SMALL, early_stopping=True, callbacks=[recorder])
    est.set_params(max_epochs=30, n_iter_no_change=30).fit(X_img, X_txt, y)
    drawn = torch.cat(recorder.rows, dim=1).unique().tolist()
    assert drawn == sorted(split_rows(y, 0.1)[0])
    for anchors, mismatched in recorder.rows:
        assert (y[anchors] != y[mismatched]).all()


def test_learning_rates_decay():
    rates = []

    class Rates(Callback):
        def on_epoch_end(self, net, **kwargs):
            rates.append(
                [net.optimizer_generator_.param_groups[0]["lr"],
                 net.optimizer_discriminator_.param_groups[0]["lr"]]
            )  # fmt: skip

    params = {**SMALL, "max_epochs": 5, "lr_decay": 0.1}
    est = CMGANProjector(**params, lr=0.01, lr_discriminator=0.02, warm_start=True)
    est.set_params(callbacks=[Rates()]).fit(*make_data())
    generator = [0.01, 0.01, 0.001, 0.001, 0.0001]
    assert_allclose(rates, [[lr, 2 * lr] for lr in generator])
    est.fit(*make_data())  # goes on where it stopped
    assert_allclose(rates[5], [0.0001, 0.0002])
    rates.clear()
    est.set_params(lr_discriminator=None, lr_decay=1.0, warm_start=False)
    est.fit(*make_data())
    assert_allclose(rates, 0.01)


def test_early_stopping():
    data = make_data(90, class_sep=3.0)
    params = {**SMALL, "max_epochs": 40, "early_stopping": True, "n_iter_no_change": 3}
    for update in ("joint", "alternate"):
        est = CMGANProjector(**params, generator_update=update).fit(*data)
        scores = [row["valid_map"] for row in est.history_]
        assert est.n_iter_ == np.argmax(scores) + 1 + 3 < 40
        assert all(np.isfinite(row["valid_loss"]) for row in est.history_)


@pytest.mark.parametrize("generator_update", ["joint", "alternate"])
def test_validation_loss_is_that_of_the_held_out_rows(generator_update):
    X_img, X_txt, y = make_data(60)
    params = {**SMALL, "max_epochs": 1, "early_stopping": True}
    params |= {"generator_update": generator_update, "reconstruction_weight": 0.5}
    recorder = Recorder()
    est = CMGANProjector(**params, callbacks=[recorder]).fit(X_img, X_txt, y)
    _, held_out = split_rows(y, 0.1)
    expected = 0.0
    for m, X in (("image", X_img), ("text", X_txt)):
        p = est.predict_proba(X[held_out], modality=m)
        expected -= np.log(p[np.arange(len(held_out)), y[held_out]]).mean()
        error = est.reconstruct(X[held_out], m) - X[held_out]
        expected += 0.5 * np.square(error).mean()
    assert_allclose(est.history_[0]["valid_loss"], expected, rtol=1e-4)


# -- the estimator -------------------------------------------------------------------

ABLATIONS = [
    {},
    {"intra_adversarial_weight": 0.0},
    {"inter_adversarial_weight": 0.0},
    {
        "inter_adversarial_weight": 0.0,
        "intra_adversarial_weight": 0.0,
        "reconstruction_weight": 1.0,
    },
    {"inter_adversarial_weight": 0.0, "intra_adversarial_weight": 0.0},
    {"reconstruction_weight": 0.5},
    {"share_last_layer": False},
    {"label_weight": 0.0},
    {"share_classifier": False},
    {"mismatch_weight": 0.0},
    {"mismatch": "self"},
    {"cross_weight": 0.0, "real_weight": 0.5},
    {"n_generator_steps": 1},
    {"n_discriminator_steps": 3},
    {"sampler": "shuffle"},
    {"generator_update": "alternate"},
    {"generator_update": "alternate", "label_weight": 0.0},
    {"generator_update": "alternate", "share_last_layer": False},
    {"label_loss": "softmax"},
    {"label_loss": "bce"},
    {"hidden_layer_sizes": {"image": (9, 8), "text": (8,)}},
    {"hidden_layer_sizes": (), "share_last_layer": False},
    {"decoder_hidden_layer_sizes": {"image": (), "text": (4, 3)}},
    {"discriminator_hidden_layer_sizes": ()},
]


@pytest.mark.filterwarnings("ignore:.*rows share a label with every row")
@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("params", ABLATIONS, ids=str)
def test_every_switch_runs(params, multilabel):
    X_img, X_txt, y = make_data(40, multilabel=multilabel)
    est = CMGANProjector(**{**SMALL, **params}).fit(X_img, X_txt, y)
    Z_img, Z_txt = est.transform(X_img, X_txt)
    assert Z_img.shape == Z_txt.shape == (40, 6)
    assert np.isfinite(Z_img).all() and np.isfinite(Z_txt).all()
    assert np.isfinite(est.loss_curve_).all()
    assert 0 < est.score(X_img, X_txt, y) <= 1
    expected = params.get("label_loss", "bce" if multilabel else "softmax")
    assert est.label_loss_ == expected


@pytest.mark.parametrize("parameter, low, high", [
    ("inter_adversarial_weight", 0.5, 5.0),
    ("intra_adversarial_weight", 0.5, 5.0),
    ("label_weight", 0.5, 5.0),
    ("reconstruction_weight", 0.0, 5.0),
    ("real_weight", 1.0, 5.0),
    ("cross_weight", 0.0, 5.0),
    ("mismatch_weight", 0.5, 5.0),
    ("mismatch", "anchor", "self"),
    ("sampler", "class_balanced", "shuffle"),
    ("generator_update", "joint", "alternate"),
    ("share_last_layer", True, False),
    ("share_classifier", True, False),
    ("n_generator_steps", 1, 2),
    ("n_discriminator_steps", 1, 2),
    ("lr_discriminator", None, 0.1),
    ("lr_decay", 1.0, 0.1),
    ("lr_decay_every", 1, 2),
    ("negative_slope", 0.0, 0.5),
    ("decoder_hidden_layer_sizes", None, (3,)),
    ("discriminator_hidden_layer_sizes", (7,), (8,)),
    ("betas", (0.5, 0.999), (0.9, 0.99)),
    ("weight_decay", 0.0, 0.1),
])  # fmt: skip
def test_parameters_reach_the_encoders(parameter, low, high):
    X_img, X_txt, y = make_data()
    codes = [
        CMGANProjector(**SMALL).set_params(**{"lr": 1e-2, parameter: value})
        .fit(X_img, X_txt, y).transform_image(X_img)
        for value in (low, high)
    ]  # fmt: skip
    assert np.abs(codes[0] - codes[1]).max() > 1e-4


@pytest.mark.parametrize("generator_update", ["joint", "alternate"])
def test_history(generator_update):
    params = {**SMALL, **WEIGHTS, "generator_update": generator_update}
    est = CMGANProjector(**params).fit(*make_data())
    assert [row["epoch"] for row in est.history_] == [1, 2, 3]
    kinds = ("generator", "label", "reconstruction", "intra", "inter")
    expected = {f"{m}_{kind}_loss" for m in MODALITIES for kind in kinds}
    expected |= {f"{name}_accuracy" for name in DISCRIMINATORS}
    expected |= {"epoch", "seconds", "embedding_loss", "code_gap", "train_loss"}
    expected |= {"generator_loss"} if generator_update == "joint" else set()
    expected.add("discriminator_loss")
    for row in est.history_:
        assert set(row) == expected
        own = sum(
            est.label_weight * row[f"{m}_label_loss"]
            + est.reconstruction_weight * row[f"{m}_reconstruction_loss"]
            for m in MODALITIES
        )
        assert_allclose(row["embedding_loss"], own, rtol=1e-5)
        total = sum(row[f"{m}_generator_loss"] for m in MODALITIES)
        assert row["embedding_loss"] < total
        assert_allclose(row.get("generator_loss", total), total, rtol=1e-5)
        assert all(0 <= row[f"{name}_accuracy"] <= 1 for name in DISCRIMINATORS)
    assert est.loss_curve_ == [row["embedding_loss"] for row in est.history_]
    assert est.loss_curve_[-1] < est.loss_curve_[0]


@pytest.mark.parametrize("off, missing", [
    ("intra_adversarial_weight", {"image_intra_loss", "text_intra_accuracy"}),
    ("inter_adversarial_weight", {"image_inter_loss", "text_inter_accuracy"}),
    ("label_weight", {"image_label_loss", "text_label_loss"}),
])  # fmt: skip
def test_what_is_off_is_left_out(off, missing):
    recorder = Recorder()
    est = CMGANProjector(**{**SMALL, off: 0.0}, callbacks=[recorder]).fit(*make_data())
    assert not missing & set(est.history_[0])
    trained = {network_of(name) for names in recorder.moved for name in names}
    networks_by_weight = {
        "intra_adversarial_weight": ("intra_discriminators", "decoders"),
        "inter_adversarial_weight": ("inter_discriminators",),
        "label_weight": ("classifiers",),
    }
    for weight, networks in networks_by_weight.items():
        for network in networks:
            assert (f"{network}.image" in trained) == (weight != off)


def test_predict_proba():
    for label_loss in ("softmax", "bce"):
        for shared in (True, False):
            X_img, X_txt, y = make_data(40, multilabel=True)
            params = {**SMALL, "share_classifier": shared, "label_loss": label_loss}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                est = CMGANProjector(**params).fit(X_img, X_txt, y)
            by_modality = []
            for modality, X in (("image", X_img), ("text", X_txt)):
                z = torch.from_numpy(est.transform_modality(X, modality))
                logits = est.module_["classifiers"][modality](z).detach()
                expected = torch.softmax(logits, 1)
                if label_loss == "bce":
                    expected = logits.sigmoid()
                by_modality.append(est.predict_proba(X, modality=modality))
                assert_allclose(by_modality[-1], expected, rtol=1e-5)
            both = est.predict_proba(make_pairs(X_img, X_txt))
            assert_allclose(both, np.mean(by_modality, axis=0), rtol=1e-6)


def test_predict_proba_takes_no_second_array():
    X_img, X_txt, y = make_data()
    est = CMGANProjector(**SMALL).fit(X_img, X_txt, y)
    with pytest.raises(TypeError, match=r"predict_proba\(make_pairs\(X_img, X_txt\)\)"):
        est.predict_proba(X_img, X_txt)


def test_encoder_gives_the_embedding_of_transform():
    X_img, X_txt, y = make_data()
    est = CMGANProjector(**SMALL).fit(X_img, X_txt, y)
    check_encoder(est, {"image": X_img, "text": X_txt})


def test_rows_that_the_caller_holds_out():
    params = {"max_epochs": 40, "early_stopping": True}
    est = CMGANProjector(**{**SMALL, **params}, n_iter_no_change=3)
    check_given_held_out_rows(est, *make_data(120, class_sep=3.0), n_train=80)


def test_labels_are_learnt():
    data = make_data(150, class_sep=3.0)
    est = CMGANProjector(**{**SMALL, "max_epochs": 20, "lr_decay_every": 8}).fit(*data)
    for modality, X in zip(MODALITIES, data[:2], strict=True):
        hits = est.predict_proba(X, modality=modality).argmax(1) == data[2]
        assert hits.mean() > 0.75  # by guessing: 0.33
    assert est.score(*data) > 0.7


def test_reconstruct():
    X_img, X_txt, y = make_data(150)
    params = {**SMALL, "embedding_dim": 16, "max_epochs": 16, "lr_decay_every": 6}
    params |= {"lr": 5e-3, "reconstruction_weight": 20.0}
    est = CMGANProjector(**params).fit(X_img, X_txt, y)
    for modality, X in (("image", X_img), ("text", X_txt)):
        found = est.reconstruct(X, modality)
        assert found.shape == X.shape and found.dtype == np.float32
        z = torch.from_numpy(est.transform_modality(X, modality))
        expected = est.module_["decoders"][modality](z).detach()
        assert_allclose(found, expected, atol=1e-5)
        assert_array_equal(est.reconstruct(X[3:4], modality)[0], found[3])
        assert np.square(found - X).mean() < 0.4 * X.var(0).mean()
    with pytest.raises(ValueError, match="modality"):
        est.reconstruct(X_img, "audio")
    with pytest.raises(ValueError, match="features"):
        est.reconstruct(X_txt, "image")


def test_untrained_networks_are_refused():
    X_img, X_txt, y = make_data()
    off = {
        "inter_adversarial_weight": 0.0,
        "intra_adversarial_weight": 0.0,
        "label_weight": 0.0,
    }
    est = CMGANProjector(**SMALL).fit(X_img, X_txt, y)
    # The intra-modal discriminators train decoders, but not to reconstruct.
    with pytest.raises(ValueError, match="reconstruct needs .* reconstruction_weight"):
        est.reconstruct(X_img, "image")
    est = CMGANProjector(**{**SMALL, "label_weight": 0.0}).fit(X_img, X_txt, y)
    with pytest.raises(ValueError, match="predict_proba needs .* label_weight"):
        est.predict_proba(make_pairs(X_img, X_txt))
    with pytest.raises(ValueError, match="nothing to learn"):
        CMGANProjector(**{**SMALL, **off}).fit(X_img, X_txt, y)


def test_encoding_treats_every_row_alone():
    X_img, X_txt, y = make_data(70)
    est = CMGANProjector(**SMALL).fit(X_img, X_txt, y)
    Z_img, Z_txt = est.transform(X_img, X_txt)
    assert_array_equal(est.transform_image(X_img[9:10])[0], Z_img[9])
    assert_array_equal(est.transform_text(X_txt[::-1])[::-1], Z_txt)
    before = statistics(est.module_)
    est.transform(X_img, X_txt)
    for name, buffer in est.module_.named_buffers():
        assert torch.equal(buffer, before[name])


def test_same_seed_same_result():
    data = make_data()
    codes = [
        CMGANProjector(**{**SMALL, "random_state": seed})
        .fit(*data)
        .transform(*data[:2])
        for seed in (0, 0, 1)
    ]
    assert_array_equal(codes[0], codes[1])
    assert np.abs(codes[0][0] - codes[2][0]).max() > 1e-3


@pytest.mark.parametrize("generator_update", ["joint", "alternate"])
def test_warm_start_goes_on_as_if_it_had_never_stopped(generator_update):
    data = make_data()
    params = {**SMALL, "generator_update": generator_update}
    whole = CMGANProjector(**{**params, "max_epochs": 6}).fit(*data)
    halves = CMGANProjector(**params, warm_start=True).fit(*data).fit(*data)
    assert halves.n_iter_ == 6
    assert_shared(halves.module_)
    assert_array_equal(whole.transform(*data[:2]), halves.transform(*data[:2]))


@pytest.mark.parametrize("changed", [
    {"hidden_layer_sizes": (9,)},
    {"decoder_hidden_layer_sizes": (9,)},
    {"discriminator_hidden_layer_sizes": (9,)},
    {"negative_slope": 0.1},
    {"batch_norm": False},
    {"share_last_layer": False},
    {"share_classifier": False},
], ids=str)  # fmt: skip
def test_warm_start_refuses_other_networks(changed):
    est = CMGANProjector(**{**SMALL, "max_epochs": 1}, warm_start=True)
    est.fit(*make_data()).set_params(**changed)
    with pytest.raises(ValueError, match=f"the same networks.*{next(iter(changed))}="):
        est.fit(*make_data())


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_score_ranks_by_the_metric(metric):
    X_img, X_txt, y = make_data()
    est = CMGANProjector(**SMALL, metric=metric).fit(X_img, X_txt, y)
    Z_img, Z_txt = est.transform(X_img, X_txt)
    expected = [
        mean_average_precision(a, b, y, y, metric=metric)
        for a, b in ((Z_img, Z_txt), (Z_txt, Z_img))
    ]
    assert est.score(X_img, X_txt, y) == pytest.approx(np.mean(expected))


def test_networks_have_the_widths_and_layers_asked_for():
    module = CMGANProjector(
        embedding_dim=40,
        hidden_layer_sizes={"image": (512, 100), "text": (30, 100)},
        discriminator_hidden_layer_sizes=(20, 10),
        negative_slope=0.1,
        batch_norm=True,
    )._build({"image": 128, "text": 10}, 7)

    def describe(network):
        linears = [x for x in network if isinstance(x, torch.nn.Linear)]
        kinds = "".join(type(layer).__name__[0] for layer in network)
        widths = [linears[0].in_features, *(layer.out_features for layer in linears)]
        return widths, kinds

    assert describe(module["encoders"]["image"]) == ([128, 512, 100, 40], "LBL" * 3)
    assert describe(module["encoders"]["text"]) == ([10, 30, 100, 40], "LBL" * 3)
    assert describe(module["decoders"]["image"]) == (
        [40, 100, 512, 128],
        "LBL" * 2 + "L",
    )
    assert describe(module["decoders"]["text"]) == ([40, 100, 30, 10], "LBL" * 2 + "L")
    image_inter, text_inter = (
        joined(module["inter_discriminators"][m]) for m in MODALITIES
    )
    assert describe(image_inter) == ([168, 20, 10, 1], "LBL" * 2 + "L")
    assert describe(text_inter) == ([50, 20, 10, 1], "LBL" * 2 + "L")
    assert module["intra_discriminators"]["image"].weight.shape == (1, 128)
    assert module["classifiers"]["image"].weight.shape == (7, 40)
    for layer in module.modules():
        if isinstance(layer, torch.nn.Linear):
            bound = layer.in_features**-0.5
            assert all(p.abs().max() <= bound for p in layer.parameters())
        elif isinstance(layer, BatchNorm):
            assert (layer.bias == 0).all()
            assert 0 < (layer.weight - 1).abs().max() < 0.1
        elif isinstance(layer, torch.nn.LeakyReLU):
            assert layer.negative_slope == 0.1


def test_encoders_without_batch_normalization():
    module = make_module(batch_norm=False)
    encoders = [module["encoders"][m] for m in MODALITIES]
    for encoder in encoders:
        kinds = [type(layer) for layer in encoder]
        assert kinds == [torch.nn.Linear, torch.nn.LeakyReLU] * 2
    image, text = encoders
    assert image[-2] is text[-2] and image[0] is not text[0]
    apart = make_module(batch_norm=False, share_last_layer=False)["encoders"]
    assert apart["image"][-2] is not apart["text"][-2]
    # In the training, a row is encoded as if it were alone.
    X = torch.randn(5, WIDTHS["image"], dtype=torch.float64)
    assert_allclose(image(X[:2]).detach(), image(X)[:2].detach())


def test_dropout_is_for_the_inputs_of_the_encoders_in_training():
    params = {"modalities": MODALITIES, "label_loss": LABEL_LOSSES["softmax"]}
    params |= WEIGHTS | {"input_dropout": 0.5}
    module, batch = make_module(), make_batch(np.eye(3)[[[0, 1, 2], [1, 2, 0]]])

    def state():
        return EpochState({}, torch.Generator().manual_seed(0))

    generator_loss(module, batch, state(), **params)
    generator = state().generator
    for m in MODALITIES:
        X = batch.features[m][0]
        kept = torch.empty_like(X).bernoulli_(0.5, generator=generator)
        assert 0 < kept.mean() < 1
        code = module["encoders"][m](X * kept * 2)
        assert_allclose(batch.cache[f"{m}_code_0"], code.detach())
    # The discriminators get whole features beside the codes of these inputs.
    codes = {m: batch.cache[f"{m}_code_0"] for m in MODALITIES}
    inter = module["inter_discriminators"]["image"]
    inputs = [torch.cat([codes[m], batch.features["image"][0]], 1) for m in MODALITIES]
    real, cross = (joined(inter)(X).detach().numpy() for X in inputs)
    terms = discriminate(module, batch, input_dropout=0.5, mismatch_weight=None)[1]
    expected = literal_bce(real, 1) + 0.5 * literal_bce(cross, 0)
    assert_allclose(terms["image_inter_loss"], expected)
    module.eval()
    losses = [
        generator_loss(
            module, batch._replace(cache={}), state(), **params | {"input_dropout": p}
        )[0]
        for p in (0.0, 0.5)
    ]
    assert losses[0] == losses[1]


def test_widths_that_cannot_be_shared_are_refused():
    data = make_data()
    widths = {"hidden_layer_sizes": {"image": (8,), "text": (7,)}}
    with pytest.raises(ValueError, match="same width in both modalities, got 8 and 7"):
        CMGANProjector(**{**SMALL, **widths}).fit(*data)
    CMGANProjector(**{**SMALL, **widths}, share_last_layer=False).fit(*data)
    with pytest.raises(ValueError, match="got 5 and 4"):
        CMGANProjector(**{**SMALL, "hidden_layer_sizes": ()}).fit(*data)


def test_rows_without_a_mismatch_give_a_warning():
    X_img, X_txt, y = make_data(40)
    y = np.eye(3, dtype=int)[y]
    y[[3, 5]] = 1
    with pytest.warns(UserWarning, match="2 of 40 rows share a label") as caught:
        CMGANProjector(**SMALL).fit(X_img, X_txt, y)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CMGANProjector(**SMALL, mismatch_weight=0.0).fit(X_img, X_txt, y)
        CMGANProjector(**{**SMALL, "inter_adversarial_weight": 0.0}).fit(
            X_img, X_txt, y
        )
    y[:, 0] = 1
    with pytest.warns(UserWarning, match="40 of 40 rows"):
        est = CMGANProjector(**SMALL).fit(X_img, X_txt, y)
    assert np.isfinite(est.loss_curve_).all()


UNBEATEN = {
    **SMALL,
    "discriminator_hidden_layer_sizes": (64,),
    "share_last_layer": False,
    "n_discriminator_steps": 20,
    "lr": 1e-9,
    "lr_discriminator": 0.03,
    "lr_decay": 1.0,
    "max_epochs": 12,
}


@pytest.mark.parametrize("params, kind", [
    ({"intra_adversarial_weight": 0.0}, "inter"),
    ({"inter_adversarial_weight": 0.0}, "intra"),
])  # fmt: skip
def test_unbeaten_discriminators_give_a_warning(params, kind):
    X_img, X_txt, y = make_data()
    est = CMGANProjector(**{**UNBEATEN, **params})
    with pytest.warns(ConvergenceWarning, match="loss has no effect") as caught:
        est.fit(X_img + 30, X_txt + 30, y)
    assert len(caught) == 1
    image, text = (f"the {kind}-modal discriminator of {m}" for m in MODALITIES)
    assert f"{image} and {text} made almost no errors" in str(caught[0].message)
    assert all(est.history_[-1][f"{m}_{kind}_accuracy"] == 1 for m in MODALITIES)


@pytest.mark.parametrize("params", [
    {"max_epochs": 8},
    {"lr": 0.01, "lr_discriminator": 1e-4},
    {"inter_adversarial_weight": 0.0, "intra_adversarial_weight": 0.0},
], ids=str)  # fmt: skip
def test_no_warning_without_a_strong_discriminator_for_long(params):
    X_img, X_txt, y = make_data()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        CMGANProjector(**{**UNBEATEN, **params}).fit(X_img + 30, X_txt + 30, y)


def test_one_row_to_train_on_is_refused():
    y = np.array([[1, 0], [0, 1]])
    est = CMGANProjector(**SMALL, early_stopping=True, validation_fraction=0.5)
    with pytest.raises(ValueError, match="at least two rows to train on, got 1"):
        est.fit(np.eye(2), np.eye(2), y)


@pytest.mark.filterwarnings("ignore:Every gallery item is relevant")
def test_one_row_to_validate_on_is_enough():
    rng = np.random.default_rng(0)
    y = np.eye(2, dtype=int)[[0, 1, 0, 1, 1]]
    est = CMGANProjector(**SMALL, early_stopping=True, validation_fraction=0.1)
    est.fit(rng.normal(size=(5, 3)), rng.normal(size=(5, 2)), y)
    assert np.isfinite([row["valid_loss"] for row in est.history_]).all()


@pytest.mark.parametrize("params", [
    {"inter_adversarial_weight": -1.0},
    {"intra_adversarial_weight": -1.0},
    {"label_weight": -1.0},
    {"reconstruction_weight": -1.0},
    {"real_weight": -1.0},
    {"cross_weight": -1.0},
    {"mismatch_weight": -1.0},
    {"mismatch": "other"},
    {"sampler": "balanced"},
    {"generator_update": "both"},
    {"n_generator_steps": 0},
    {"n_discriminator_steps": 0},
    {"lr_discriminator": 0.0},
    {"lr_decay": 0.0},
    {"lr_decay": 1.5},
    {"lr_decay_every": 0},
    {"negative_slope": -0.1},
    {"input_dropout": 1.0},
    {"batch_norm": "yes"},
    {"label_loss": "hinge"},
    {"label_loss": "mse"},
    {"weight_decay": -1.0},
    {"batch_size": 1},
], ids=str)  # fmt: skip
def test_wrong_parameters_are_refused(params):
    with pytest.raises(ValueError, match=f"The '{next(iter(params))}' parameter"):
        CMGANProjector(**{**SMALL, **params}).fit(*make_data())


# -- real data ---------------------------------------------------------------------


@pytest.mark.slow
def test_wikipedia_the_inter_modal_loss_aligns_separate_classifiers(real_data):
    """Without it, nothing but the shared layer ties texts to images."""
    train, test = standardize(real_data("wiki_sift_lda"))
    params = {
        "hidden_layer_sizes": (128,),
        "discriminator_hidden_layer_sizes": (128,),
        "batch_norm": True,
        "input_dropout": 0.0,
        "output": "embedding",
        "inter_adversarial_weight": 1.0,
        "intra_adversarial_weight": 1.0,
        "share_classifier": False,
        "n_generator_steps": 5,
        "n_discriminator_steps": 1,
        "batch_size": 128,
        "max_epochs": 20,
        "lr_decay_every": 4,
        "random_state": 0,
    }
    adversarial, own_condition, without = (
        map_of_directions(CMGANProjector(**{**params, **changed}).fit(*train), *test)
        for changed in ({}, {"mismatch": "self"}, {"inter_adversarial_weight": 0.0})
    )
    assert adversarial[1] > 0.135
    assert adversarial.mean() > own_condition.mean() + 0.01
    assert 0.10 < without[1] < 0.13  # chance: 0.118


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*rows share a label with every row")
def test_multi_label_data_beat_canonical_correlation(real_data):
    """CCA with 10 components has 0.4950 and 0.4808."""
    train, test = standardize(real_data("iaprtc12_1962"))
    est = CMGANProjector(random_state=0).fit(*train)
    assert (map_of_directions(est, *test) > (0.505, 0.495)).all()
