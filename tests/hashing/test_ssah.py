"""SSAHHasher against the formulas, the defects to avoid and its promises."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import math
import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from torch import nn

from sklearn_cmr import SSAHHasher, make_pairs
from sklearn_cmr.datasets import make_cross_modal_classification
from sklearn_cmr.hashing._ssah.bank import (
    Bank,
    LabelBank,
    count_label_rows,
    sample_counts,
)
from sklearn_cmr.hashing._ssah.losses import (
    Criterion,
    discriminator_loss,
    encoder_loss,
    joint_loss,
    label_network_loss,
    pair_loss,
    pair_weights,
)
from sklearn_cmr.hashing._ssah.networks import (
    LABEL,
    Discriminator,
    Output,
    has_counts,
)
from sklearn_cmr.metrics import mean_average_precision
from sklearn_cmr.training import Batch, EpochState
from tests.helpers import (
    Recorder,
    assert_same_weights,
    make_labels,
    split_rows,
    weights_of,
)

SMALL = {
    "n_bits": 8,
    "hidden_layer_sizes": (16,),
    "label_hidden_layer_sizes": (16,),
    "discriminator_hidden_layer_sizes": (12, 8),
    "adversarial_weight": 0.01,
    "input_dropout": 0.0,
    "feature_dim": 10,
    "lr": 1e-3,
    "batch_size": 32,
    "max_epochs": 3,
    "max_epochs_label": 3,
    "random_state": 0,
}
A, B, y = make_cross_modal_classification(
    90, n_image_features=6, n_text_features=5, n_classes=3, random_state=0
)
PAIR = ("image", "text")
PARTS = (
    *("encoders.label", "encoders.image", "encoders.text"),
    *("discriminators.image", "discriminators.text"),
)
UNPAIRED = ({"image": A, "text": B[20:]}, {"image": y, "text": y[20:]})


def hasher(**params):
    return SSAHHasher(**SMALL | params)


def epochs_of(estimator, phase):
    return [row for row in estimator.history_ if row["phase"] == phase]


@pytest.fixture(scope="module")
def reference():
    return hasher().fit(A, B, y)


# -- the formulas, pair by pair ------------------------------------------------------


def literal_similarity(a, b, kind):
    if kind == "binary":
        return float(a @ b > 0)
    return round(float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))), 9)


def literal_pair_loss(logits, S, balanced, smoothing=0.0):
    """Every pair weighs 1; balanced, similarity weighs as much as dissimilarity."""
    ratio = 1.0
    if balanced and 0 < S.sum() < S.size:
        ratio = (S.size - S.sum()) / S.sum()
    total = sum_of_weights = 0.0
    for theta, s in zip(logits.ravel(), S.ravel(), strict=True):
        p = 1 / (1 + math.exp(-theta))
        weight, wanted = ratio * s + (1 - s), s * (1 - smoothing)
        total -= weight * (wanted * math.log(p) + (1 - wanted) * math.log(1 - p))
        sum_of_weights += weight
    return total / sum_of_weights


def literal_terms(output, y, bank, options):
    """Compare with every row of the bank as often as it counts."""
    feature, code, logits = (part.detach().numpy() for part in output)
    y = y.numpy()
    repeats = bank.counts.long().numpy()
    banked = {
        "feature_loss": np.repeat(bank.feature.detach().numpy(), repeats, axis=0),
        "hash_loss": np.repeat(bank.code.detach().numpy(), repeats, axis=0),
    }
    y_bank = np.repeat(bank.y.numpy(), repeats, axis=0)
    S = np.array(
        [[literal_similarity(a, b, options["similarity"]) for b in y_bank] for a in y]
    )
    own = {"feature_loss": feature, "hash_loss": code}
    length = options["feature_length"]
    if length is not None:
        for parts in (own, banked):
            rows = parts["feature_loss"]
            norms = np.linalg.norm(rows, axis=1, keepdims=True)
            parts["feature_loss"] = length * rows / norms
    terms = {
        name: literal_pair_loss(
            own[name] @ part.T / 2,
            S,
            options["balanced"],
            options["similarity_smoothing"],
        )
        for name, part in banked.items()
    }
    signs = np.where(code >= 0, 1, -1)
    terms["quantization_loss"] = np.mean((code - signs) ** 2)
    p = 1 / (1 + np.exp(-logits))
    if options["label_loss"] == "bce":
        terms["label_loss"] = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    else:
        terms["label_loss"] = np.mean((p - y) ** 2)
    terms["balance_loss"] = np.mean([np.mean(bit) ** 2 for bit in code.T])
    if options["reduction"] == "sum":
        sizes = (S.size, S.size, code.size, y.size, code.size)
        terms = {
            name: size * term
            for size, (name, term) in zip(sizes, terms.items(), strict=True)
        }
    return terms


def literal_adversarial_loss(logits, target, kind):
    if kind == "lsgan":
        return np.mean([(z - target) ** 2 for z in logits])
    return np.mean([math.log(1 + math.exp(-z if target else z)) for z in logits])


def criterion(**options):
    weights = {
        "feature_loss": 0.7,
        "hash_loss": 1.3,
        "quantization_loss": 0.2,
        "label_loss": 0.5,
        "balance_loss": 0.4,
        "adversarial_loss": 0.3,
    }
    weights |= options.pop("weights", {})
    return Criterion(
        **{
            "weights": weights,
            "reduction": "mean",
            "balanced": True,
            "similarity": "binary",
            "similarity_smoothing": 0.0,
            "feature_length": None,
            "label_loss": "bce",
            "adversarial_loss": "bce",
        }
        | options
    )


def draw_labels(*args):
    return torch.tensor(make_labels(*args)).double()


def make_output(n, n_classes, rng, feature_dim=5, n_bits=4):
    return Output(
        torch.tensor(np.maximum(rng.normal(size=(n, feature_dim)), 0.01)),
        torch.tensor(np.tanh(rng.normal(size=(n, n_bits)))),
        torch.tensor(rng.normal(size=(n, n_classes))),
    )


def make_bank(labels, rng):
    output = make_output(len(labels), labels.shape[1], rng)
    counts = torch.tensor(rng.integers(1, 4, len(labels))).double()
    return Bank(output.feature, output.code, labels, counts)


OPTIONS = {
    "reduction": st.sampled_from(["mean", "sum"]),
    "balanced": st.booleans(),
    "similarity": st.sampled_from(["binary", "cosine"]),
    "similarity_smoothing": st.sampled_from([0.0, 0.001, 0.3]),
    "feature_length": st.sampled_from([None, 2.0]),
    "label_loss": st.sampled_from(["bce", "mse"]),
    "adversarial_loss": st.sampled_from(["bce", "lsgan"]),
}


@settings(max_examples=80, deadline=None)
@given(
    kind=st.sampled_from(["single", "multi", "one class"]),
    n=st.integers(1, 6),
    n_bank=st.integers(1, 6),
    n_classes=st.integers(2, 4),
    seed=st.integers(0, 2**31 - 1),
    options=st.fixed_dictionaries(OPTIONS),
)
def test_terms_equal_the_formulas(kind, n, n_bank, n_classes, seed, options):
    rng = np.random.default_rng(seed)
    labels = draw_labels(kind, n, n_classes, rng)
    bank = make_bank(draw_labels(kind, n_bank, n_classes, rng), rng)
    output = make_output(n, n_classes, rng)
    loss = criterion(**options)
    terms = loss.pair_terms(output, labels, bank) | loss.own_terms(output, labels)
    literal = literal_terms(output, labels, bank, options)
    assert terms.keys() == literal.keys()
    for name, term in terms.items():
        assert_allclose(term.item(), literal[name], rtol=1e-6, err_msg=name)


def make_problem(seed=0, n=6, n_classes=3, kind="multi", p=0.0):
    """Build a module in double precision, a batch and a bank that its labels fill."""
    rng = np.random.default_rng(seed)
    estimator = hasher(n_bits=4, feature_dim=5, hidden_layer_sizes=(7,))
    estimator.set_params(discriminator_dropout=p)
    estimator.classes_, estimator.text_fusion_ = np.arange(n_classes), False
    estimator._n_regions_in = {}
    torch.manual_seed(seed)
    module = estimator._build({"image": 4, "text": 3}, n_classes).double()
    features = {
        name: torch.tensor(rng.normal(size=(n, d)))
        for name, d in {"image": 4, "text": 3}.items()
    }
    labels = draw_labels(kind, n, n_classes, rng)
    batch = Batch(features, labels, torch.arange(n), {})
    bank = SimpleNamespace(content=make_bank(labels, rng))
    return module, batch, bank


def state(seed=0):
    return EpochState({}, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("modality", ["image", "text"])
@pytest.mark.parametrize("adversarial_loss", ["bce", "lsgan"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses_equal_the_formulas(modality, adversarial_loss, reduction):
    module, batch, bank = make_problem()
    options = {"adversarial_loss": adversarial_loss, "reduction": reduction}
    weighted = criterion(**options)
    discriminator = module["discriminators"][modality]
    with torch.no_grad():
        output = module["encoders"][modality].outputs(batch.features[modality])
        real = module["encoders"][LABEL].outputs(batch.y).feature
        logits = {
            "fake": discriminator(output.feature, None).numpy().ravel(),
            "real": discriminator(real, None).numpy().ravel(),
        }
    n = len(batch.y) if reduction == "sum" else 1
    literal = literal_terms(output, batch.y, bank.content, vars(weighted))
    loss = literal_adversarial_loss(logits["fake"], 1, adversarial_loss)
    literal["adversarial_loss"] = n * loss
    found, terms = encoder_loss(
        module, batch, state(), modality=modality, bank=bank, criterion=weighted
    )
    assert terms.keys() == literal.keys()
    for name, term in terms.items():
        assert_allclose(term.item(), literal[name], rtol=1e-6, err_msg=name)
    expected = sum(weighted.weights[name] * term for name, term in literal.items())
    assert_allclose(found.item(), expected, rtol=1e-6)

    found, terms = discriminator_loss(
        module, batch, state(), modality=modality, criterion=weighted
    )
    expected = literal_adversarial_loss(logits["real"], 1, adversarial_loss)
    expected += literal_adversarial_loss(logits["fake"], 0, adversarial_loss)
    assert_allclose(found.item(), n * expected / 2, rtol=1e-6)
    cut = 0 if adversarial_loss == "bce" else 0.5
    rights = [*(logits["real"] > cut), *(logits["fake"] <= cut)]
    assert_allclose(terms["discriminator_accuracy"].item(), np.mean(rights))


def test_loss_without_a_label_network_compares_the_modalities():
    module, batch, _ = make_problem()
    weighted = criterion()
    with torch.no_grad():
        image, text = (
            module["encoders"][m].outputs(batch.features[m]) for m in ("image", "text")
        )
    ones = torch.ones(len(batch.y)).double()
    bank = Bank(text.feature, text.code, batch.y, ones)
    literal = literal_terms(image, batch.y, bank, vars(weighted))
    own = literal_terms(text, batch.y, bank, vars(weighted))
    for name in ("quantization_loss", "label_loss", "balance_loss"):
        literal[name] += own[name]
    loss, terms = joint_loss(module, batch, state(), criterion=weighted)
    assert terms.keys() == literal.keys()
    for name, term in terms.items():
        assert_allclose(term.item(), literal[name], rtol=1e-6, err_msg=name)
    expected = sum(weighted.weights[name] * term for name, term in literal.items())
    assert_allclose(loss.item(), expected, rtol=1e-6)
    loss.backward()
    assert module["encoders"]["text"].code.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("similar", [0.0, 1.0])
def test_pairs_of_zero_features(similar):
    """J1 is log 2, and its gradient (1/2 - S) / 2 times the bank."""
    bank = torch.rand(4, 5, dtype=torch.float64) + 0.1
    feature = torch.zeros(1, 5, dtype=torch.float64, requires_grad=True)
    S, counts = torch.full((1, 4), similar).double(), torch.ones(4).double()
    loss = pair_loss(feature @ bank.T / 2, S, pair_weights(S, counts, balanced=True))
    assert_allclose(loss.item(), math.log(2))
    loss.backward()
    expected = (0.5 - similar) / 2 * bank.mean(0)
    assert_allclose(feature.grad[0], expected)
    assert (feature.grad * (1 - 2 * similar) > 0).all()


@given(
    n_similar=st.integers(0, 12),
    losses=st.lists(st.floats(-5, 5), min_size=12, max_size=12),
)
def test_balanced_pairs(n_similar, losses):
    """Similar and dissimilar pairs weigh the same; one kind alone weighs 1 a pair."""
    logits = torch.tensor(losses, dtype=torch.float64).view(3, 4)
    S = (torch.arange(12) < n_similar).double().view(3, 4)
    counts = torch.ones(4).double()
    loss = pair_loss(logits, S, pair_weights(S, counts, True)).item()
    single = torch.nn.functional.softplus(logits) - S * logits
    means = [single[S == kind].mean().item() for kind in (0, 1) if (S == kind).any()]
    assert_allclose(loss, np.mean(means), rtol=1e-9)


@pytest.mark.parametrize("balanced", [True, False])
def test_graded_similarities_are_what_pairs_are_fitted_to(balanced):
    """Weights say how much a pair counts, not what it aims at."""
    S = torch.tensor([[0.5, 0.0, 0.0, 0.0, 1.0, 0.25]], dtype=torch.float64)
    wanted = torch.tensor([0.5, 0.25], dtype=torch.float64)
    logits = torch.zeros_like(S).index_copy_(
        1, torch.tensor([0, 5]), wanted.logit()[None]
    )
    logits.requires_grad_()
    weights = pair_weights(S, torch.ones(6, dtype=torch.float64), balanced)
    pair_loss(logits, S, weights).backward()
    assert_allclose(logits.grad[0, [0, 5]], 0, atol=1e-12)
    assert (logits.grad[0, 1:5] != 0).all()


def test_large_logits_do_not_overflow():
    """log(1 + exp(.)) does, above 88, in the published code (11.3)."""
    logits = torch.tensor([[500.0, -500.0], [500.0, -500.0]], requires_grad=True)
    S, counts = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.ones(2)
    loss = pair_loss(logits, S, pair_weights(S, counts, False))
    assert_allclose(loss.item(), 250)
    loss.backward()
    assert_allclose(logits.grad, [[0, 0], [0.25, -0.25]])


# -- the adversarial loss ------------------------------------------------------------


def test_the_adversarial_loss_has_a_gradient_for_the_encoder():
    """It has none in the published code, whose features are constants (11.1)."""
    module, batch, bank = make_problem()
    only = dict.fromkeys(criterion().weights, 0.0) | {"adversarial_loss": 1.0}
    loss, _ = encoder_loss(
        module,
        batch,
        state(),
        modality="image",
        bank=bank,
        criterion=criterion(weights=only),
    )
    encoder = module["encoders"]["image"]
    gradients = torch.autograd.grad(loss, list(encoder.body.parameters()))
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_every_player_moves_its_own_network_alone():
    """In the published code encoder steps train the discriminators (11.1)."""

    class Movers(Callback):
        seen = {}

        def on_grad_computed(self, net, named_parameters, **kwargs):
            now = copy.deepcopy(net.module_.state_dict())
            self.note(net, now)
            self.before, self.mover = now, {name for name, _ in named_parameters}

        def on_train_end(self, net, **kwargs):
            self.note(net, net.module_.state_dict())
            del self.before

        def note(self, net, now):
            if hasattr(self, "before"):
                moved = {n for n in now if not torch.equal(now[n], self.before[n])}
                assert moved <= self.mover
                parts = {".".join(name.split(".")[:2]) for name in moved}
                self.seen.setdefault(net.phase.name, []).append(parts)

    hasher(callbacks=[Movers], adversarial_weight=1.0).fit(A, B, y)
    turns = {phase: [*map(sorted, parts)] for phase, parts in Movers.seen.items()}
    assert {name for part in turns["label"] for name in part} == {"encoders.label"}
    for modality in ("image", "text"):
        expected = [[f"discriminators.{modality}"], [f"encoders.{modality}"]]
        assert turns[modality] == expected * (len(turns[modality]) // 2)


def test_discriminators_stay_as_they_are_without_the_adversarial_loss():
    recorder = Recorder()
    estimator = hasher(adversarial_weight=0, callbacks=[recorder]).fit(A, B, y)
    first, last = recorder.starts[0], weights_of(estimator)
    for name, value in first.items():
        assert torch.equal(value, last[name]) == ("discriminator" in name), name
    assert "adversarial_loss" not in estimator.history_[-1]


def test_discriminator_dropout_is_drawn_from_the_given_generator():
    discriminator = Discriminator([5, 400], 0.25)
    X = torch.randn(3, 5)
    first, again, other = (discriminator(X, state(s).generator) for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first, discriminator.eval()(X, None))
    estimators = [
        hasher(discriminator_dropout=0.5, adversarial_weight=1).fit(A, B, y)
        for _ in range(2)
    ]
    assert_same_weights(*estimators)


def test_input_dropout_is_drawn_from_the_generator_in_training_alone():
    module, batch, bank = make_problem()
    network, X = module["encoders"]["image"], batch.features["image"]
    whole = network.outputs(X, state().generator).feature
    assert torch.equal(whole, network.body(X))
    network.p = 0.25
    generator = state().generator
    mask = torch.empty_like(X).bernoulli_(0.75, generator=generator)
    thinned = network.outputs(X, state().generator)
    assert_allclose(
        thinned.feature.detach(), network.body(X * mask / 0.75).detach(), rtol=1e-6
    )
    network.eval()
    assert torch.equal(network.outputs(X).feature, whole)
    plain, first, again = (hasher(input_dropout=p).fit(A, B, y) for p in (0, 0.3, 0.3))
    assert_same_weights(first, again)
    assert_same_weights(plain, first, "encoders.label")
    assert not np.array_equal(
        plain.encode(A, "image", output="real"), first.encode(A, "image", output="real")
    )
    joint = [
        hasher(input_dropout=p, self_supervision=False).fit(A, B, y).loss_curve_
        for p in (0, 0.3)
    ]
    assert joint[0] != joint[1]


def test_balanced_bits():
    """Bits that are the same for almost all rows tell nothing apart."""
    imbalance = {}
    for weight in (0, 3):
        estimator = SSAHHasher(
            n_bits=16, max_epochs=15, balance_weight=weight, random_state=0
        ).fit(A, B, y)
        relaxed = estimator.encode(B, "text", output="real")
        imbalance[weight] = np.mean(relaxed.mean(0) ** 2)
    assert imbalance[3] < imbalance[0] / 2


# Encoders that hardly move, against discriminators that learn at once.
UNBEATEN = {"max_epochs": 20, "lr": 1e-6, "lr_discriminator": 0.01}
UNBEATEN |= {"adversarial_weight": 0.01, "balance_weight": 0}
SHIFTED = {"image": A + 5, "text": B + 3}


def test_unbeaten_discriminators_are_reported():
    estimator = hasher(**UNBEATEN)
    with pytest.warns(
        ConvergenceWarning, match="of image and the discriminator of text made"
    ) as caught:
        estimator.fit(SHIFTED, y)
    assert len([w for w in caught if w.category is ConvergenceWarning]) == 1
    message = str(caught[0].message)
    for advice in ("StandardScaler", "adversarial_weight=0", "lower lr_discriminator"):
        assert advice in message
    # The modalities of an earlier fit are not reported again.
    with pytest.warns(
        ConvergenceWarning, match="SSAHHasher: the discriminator of audio"
    ):
        estimator.add_modality("audio", A[:, :4] + 5, y)


@pytest.mark.parametrize(
    "params",
    [
        {"adversarial_weight": 0},
        {"self_supervision": False},
        # An encoder that beats its discriminator.
        {"adversarial_weight": 1.0, "lr": 1e-3, "lr_discriminator": 1e-4},
        # Too few epochs to tell.
        {"max_epochs": 8},
    ],
)
def test_nothing_is_reported_unless_a_discriminator_is_unbeaten(params):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hasher(**UNBEATEN | params).fit(SHIFTED, y)


def test_a_weight_of_0_is_not_reported_for_the_past():
    estimator = hasher(warm_start=True, **UNBEATEN)
    with pytest.warns(ConvergenceWarning, match="made almost no errors"):
        estimator.fit(SHIFTED, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.set_params(adversarial_weight=0, max_epochs=1).fit(SHIFTED, y)


# -- the bank ------------------------------------------------------------------------


def test_equal_labels_are_one_row_that_counts_as_often():
    first = np.eye(3, dtype=np.uint8)[[0, 1, 1, 0, 1]]
    second = np.eye(3, dtype=np.uint8)[[2, 0, 1]]
    distinct, counts = count_label_rows([first, second])
    assert_array_equal(distinct, [[0, 0, 1], [0, 1, 0], [1, 0, 0]])
    assert_array_equal(counts, [1, 3, 2])
    assert_array_equal(count_label_rows([first, first])[1], [3, 2])


@given(n_classes=st.integers(1, 150), n=st.integers(1, 40), seed=st.integers(0, 99))
def test_distinct_rows_of_any_width_are_in_lexical_order(n_classes, n, seed):
    rng = np.random.default_rng(seed)
    indicator = rng.integers(2, size=(6, n_classes), dtype=np.uint8)
    indicator[:3] = indicator[3]  # apart in the last columns only
    indicator[:2, -1] = 0, 1
    indicator = indicator[rng.integers(6, size=n)]
    expected = np.unique(indicator, axis=0, return_counts=True)
    for found, wanted in zip(count_label_rows([indicator]), expected, strict=True):
        assert_array_equal(found, wanted)


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    share=st.floats(0.01, 1),
    seed=st.integers(0, 1000),
)
def test_a_sample_has_every_kind_in_proportion(counts, share, seed):
    counts = np.array(counts)
    size = max(1, int(share * counts.sum()))
    sampled = sample_counts(counts, size, seed)
    assert sampled.sum() == size
    assert (abs(sampled - counts * size / counts.sum()) < 1 + 1e-6).all()
    assert (sampled <= counts).all()


def make_module(n_classes=3):
    return make_problem(n_classes=n_classes)[0].float()


@pytest.mark.parametrize("size", [None, 4])
def test_the_bank_is_refreshed_and_batches_are_fresh(size):
    """Full refresh; in the published code a third is noise at first (11.5, 11.6)."""
    module = make_module()
    labels = (np.random.default_rng(0).random((30, 3)) > 0.5).astype(np.uint8)
    labels[:, 0] = 1
    bank = LabelBank([labels], size, 0, torch.device("cpu"))
    assert len(bank.dataset) == 30
    assert bank.counts.sum() == (size or 30)
    bank.refresh(module)
    with torch.no_grad():
        output = module["encoders"][LABEL].outputs(bank.y)
        assert_allclose(bank.content.feature, output.feature, rtol=1e-5)
        assert_allclose(bank.content.code, output.code, rtol=1e-5)
    rows = torch.tensor([3, 20])
    fresh = make_output(2, 3, np.random.default_rng(1))
    fresh = Output(*(part.float().requires_grad_() for part in fresh))
    bank.update(rows, fresh)
    taken = bank.content
    assert not taken.feature.requires_grad and not taken.code.requires_grad
    own = bank.dataset.take(rows).y
    for place, row in enumerate(bank.y[:-1]):
        matches = (own == row).all(1).nonzero().ravel()
        expected = fresh.code[matches[-1]] if len(matches) else output.code[place]
        assert_allclose(taken.code[place], expected.detach(), rtol=1e-5)
    assert bank.counts[-1] == 0
    codes, y_codes = bank.expanded()
    assert codes.shape == (size or 30, 4) and y_codes.shape == (size or 30, 3)
    assert set(np.unique(codes)) <= {-1, 1}


def test_label_network_loss_equals_the_formulas():
    module, batch, _ = make_problem(kind="single", n=8)
    indicator = batch.y.numpy().astype(np.uint8)
    module = module.float()
    bank = LabelBank([indicator], None, 0, torch.device("cpu"))
    bank.refresh(module)
    nn.init.normal_(module["encoders"][LABEL].code.weight)  # the bank is stale now
    drawn = bank.dataset.take(torch.arange(8))
    loss, terms = label_network_loss(
        module, drawn, state(), bank=bank, criterion=criterion()
    )
    with torch.no_grad():
        output = module["encoders"][LABEL].outputs(drawn.y)
    ones = torch.ones(8)
    whole = Bank(output.feature, output.code, drawn.y, ones)
    literal = literal_terms(output, drawn.y, whole, vars(criterion()))
    assert terms.keys() == literal.keys()
    for name, term in terms.items():
        assert_allclose(term.item(), literal[name], rtol=1e-4, err_msg=name)
    assert loss.requires_grad


def test_a_sampled_bank_learns(reference):
    # A sample of classes of one size would be in proportion.
    some = np.r_[np.flatnonzero(y > 0), np.flatnonzero(y == 0)[:10]]
    full, sampled = (
        hasher(bank_size=size).fit(A[some], B[some], y[some]) for size in (None, 12)
    )
    assert full.history_[-1]["hash_loss"] != sampled.history_[-1]["hash_loss"]
    assert sampled.history_[-1]["hash_loss"] < sampled.history_[0]["hash_loss"]
    # As many rows as there are, or more, are no sample.
    assert_same_weights(hasher(bank_size=90).fit(A, B, y), reference)


# -- networks ------------------------------------------------------------------------


def test_layers():
    estimator = hasher(hidden_layer_sizes={"image": (), "text": (7, 6)}, lrn=True)
    module = estimator.fit(A, B, y).module_
    kinds = {
        name: [type(layer).__name__ for layer in body]
        for name, body in {
            "label": module["encoders"][LABEL].body,
            "image": module["encoders"]["image"].body,
            "text": module["encoders"]["text"].body,
        }.items()
    }
    dense = ["Linear", "ReLU"]
    assert kinds == {
        "label": [*dense, "ResponseNorm", *dense],
        "image": dense,
        "text": [*dense, "ResponseNorm"] * 3,
    }
    encoder = module["encoders"]["text"]
    assert encoder.code.weight.shape == (8, 10)
    assert encoder.labels.weight.shape == (3, 10)
    shapes = [
        tuple(w.shape)
        for w in module["discriminators"]["image"].parameters()
        if w.ndim > 1
    ]
    assert shapes == [(12, 10), (8, 12), (1, 8)]


@pytest.mark.parametrize("modality", [*PAIR, LABEL])
def test_a_network_gives_codes_alone_or_all_outputs(modality):
    module, batch, _ = make_problem()
    X = (batch.features | {LABEL: batch.y})[modality]
    network = module["encoders"][modality]
    output = network.outputs(X)
    assert torch.equal(network(X), output.code)
    assert torch.equal(network.body(X), output.feature)
    assert torch.equal(network.labels(output.feature), output.logits)
    assert (output.feature >= 0).all() and (output.code.abs() <= 1).all()


@pytest.mark.filterwarnings("ignore:SSAHHasher encodes")
def test_normal_initial_weights():
    estimator = hasher(init="normal", hidden_layer_sizes=(300,), lr=1e-12)
    estimator.set_params(lr_label=1e-12).fit(A, B, y)
    for name, value in weights_of(estimator).items():
        assert value.abs().max() < 0.06, name
        if value.numel() > 500:
            assert_allclose(value.std(), 0.01, rtol=0.1, err_msg=name)


def test_text_fusion_is_for_counts():
    counts = np.random.default_rng(0).poisson(0.2, (90, 40))
    assert has_counts(counts) and has_counts(sparse.csr_array(counts))
    assert not has_counts(counts - 0.5) and not has_counts(counts + 1)
    assert not has_counts(sparse.csr_array(-counts))
    assert not has_counts(B)
    for texts in (counts, sparse.csr_array(counts)):
        estimator = hasher().fit(A, texts, y)
        assert estimator.text_fusion_ is True
        body = estimator.module_["encoders"]["text"].body
        assert body[0].scales == [5, 10, 15, 30]
        assert body[1].in_features == 5 * 40
        assert_array_equal(
            estimator.transform_text(texts[:9]), estimator.transform_text(texts)[:9]
        )
    plain = hasher(text_fusion=False).fit(A, counts, y)
    assert plain.text_fusion_ is False
    body = plain.module_["encoders"]["text"].body
    assert body[0].in_features == 40
    assert hasher().fit(A, B, y).text_fusion_ is False
    forced = hasher(text_fusion=True, text_scales=(2, 3)).fit(A, B, y)
    assert forced.module_["encoders"]["text"].body[0].scales == [2, 3]


@pytest.mark.parametrize("pooling", ["mean", "max", "flatten"])
def test_images_with_regions(pooling):
    X = np.stack([A, A + 1, 2 * A], axis=1)
    X[::3, 2] = np.nan
    estimator = hasher(region_pooling=pooling).fit(X, B, y)
    assert estimator.n_image_features_in_ == 6
    codes = estimator.transform_image(X)
    assert codes.shape == (90, 8)
    if pooling == "flatten":
        with pytest.raises(ValueError, match="2 regions.*expecting 3"):
            estimator.transform_image(X[:, :2])
        pooled = np.nan_to_num(X).reshape(90, 18)
    else:
        assert_array_equal(estimator.transform_image(X[:, [2, 0, 1]]), codes)
        pool = {"mean": np.nanmean, "max": np.nanmax}[pooling]
        pooled = pool(X, axis=1)
    flat = hasher().fit(pooled, B, y)
    relaxed = flat.encode(pooled, "image", output="real")
    assert_allclose(estimator.encode(X, "image", output="real"), relaxed, atol=1e-4)


def test_a_modality_with_regions_is_added(reference):
    X = np.stack([A, A + 1, 2 * A], axis=1)
    estimator = hasher().fit({"text": B}, y)
    estimator.add_modality("image", X, y)
    assert estimator.n_image_features_in_ == 6
    assert estimator.transform_image(X).shape == (90, 8)
    with pytest.raises(ValueError, match="3-D, with regions"):
        estimator.transform_image(A)


# -- training ------------------------------------------------------------------------


def test_history(reference):
    phases = ["label", "image", "text"]
    assert [row["phase"] for row in reference.history_] == np.repeat(phases, 3).tolist()
    pairs = {"feature_loss", "hash_loss", "quantization_loss", "label_loss"}
    pairs |= {"balance_loss"}
    shown = {"epoch", "phase", "train_loss", "seconds"}
    assert set(reference.history_[0]) == shown | pairs | {"label_network_loss"}
    assert set(reference.history_[-1]) == shown | pairs | {
        *("adversarial_loss", "text_encoder_loss", "text_discriminator_loss"),
        "discriminator_accuracy",
    }
    assert reference.n_iter_ == 9
    assert all(math.isfinite(loss) for loss in reference.loss_curve_)


def test_the_label_network_stays_as_it_is_while_others_imitate_it():
    recorder = Recorder()
    estimator = hasher(callbacks=[recorder]).fit(A, B, y)
    names = [name for name in recorder.starts[0] if "label." in name]
    before, after = recorder.starts[0], recorder.by_phase["label"].weights[-1]
    later = recorder.weights[3:]
    assert any(not torch.equal(before[name], after[name]) for name in names)
    for weights in [*later, weights_of(estimator)]:
        assert all(torch.equal(weights[name], after[name]) for name in names)


def test_epochs_of_the_label_network():
    estimator = hasher(max_epochs_label=5, max_epochs=2).fit(A, B, y)
    assert [len(epochs_of(estimator, p)) for p in ("label", "image")] == [5, 2]


def test_learning_rates_by_network():
    recorder = Recorder()
    hasher(
        lr={"image": 1e-3, "text": 2e-3},
        lr_label=3e-3,
        lr_discriminator=4e-3,
        callbacks=[recorder],
    ).fit(A, B, y)
    assert recorder.rates[::3] == [
        {"label_network": 3e-3},
        {"image_discriminator": 4e-3, "image_encoder": 1e-3},
        {"text_discriminator": 4e-3, "text_encoder": 2e-3},
    ]
    recorder = Recorder()
    hasher(lr={"image": 1e-3, "text": 2e-3}, callbacks=[recorder]).fit(A, B, y)
    assert recorder.rates[-1] == {"text_discriminator": 2e-3, "text_encoder": 2e-3}


def test_adam_parameters_reach_all_networks():
    seen = set()

    class Settings(Callback):
        def on_train_begin(self, net, **kwargs):
            for player, optimizer in net.turns_:
                (group,) = optimizer.param_groups
                seen.add((player.name, group["betas"], group["weight_decay"]))

    for self_supervision in (True, False):
        hasher(
            betas=(0.5, 0.9),
            weight_decay=0.1,
            self_supervision=self_supervision,
            callbacks=[Settings],
        ).fit(A, B, y)
    encoders = [f"{m}_{kind}" for m in PAIR for kind in ("encoder", "discriminator")]
    names = {"label_network", "encoders", *encoders}
    assert seen == {(name, (0.5, 0.9), 0.1) for name in names}


def test_learning_rates_decay():
    recorder = Recorder()
    hasher(max_epochs=5, lr_decay=0.5, lr_decay_every=2, callbacks=[recorder]).fit(
        A, B, y
    )
    assert recorder.by_phase["text"].rates == [
        {"text_discriminator": rate, "text_encoder": rate}
        for rate in (1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4)
    ]
    assert recorder.by_phase["label"].rates == [{"label_network": 3e-3}] * 3


def test_published_schedule():
    recorder = Recorder()
    estimator = hasher(
        schedule="alternate",
        n_rounds=2,
        label_passes=(2, 1),
        encoder_passes={"image": (2,), "text": (1, 1)},
        discriminator_passes=(1, 1),
        lr_label=1e-2,
        lr_discriminator=1e-4,
        lr_decay=0.5,
        callbacks=[recorder],
    ).fit(A, B, y)
    one_round = ["label"] * 2
    one_round += ["image_discriminator"] * 2 + ["image"]
    one_round += ["text_discriminator"] * 2 + ["text"] * 2
    assert [phase.name for phase in recorder.phases] == one_round * 2
    n_epochs = [2, 1, 1, 1, 2, 1, 1, 1, 1]
    assert [phase.max_epochs for phase in recorder.phases] == n_epochs * 2
    rates = [rate for own in recorder.rates for rate in own.values()]
    first = np.repeat([1e-2, 5e-3, 1e-4, 5e-5, 1e-3, 1e-4, 5e-5, 1e-3, 5e-4], n_epochs)
    assert_allclose(rates, [*first, *first / 2])
    # The label network goes on in the second round; then it stays as it is.
    assert len(epochs_of(estimator, "label")) == 6
    assert not estimator.module_["encoders"][LABEL].code.weight.requires_grad


@pytest.mark.filterwarnings("ignore:SSAHHasher encodes")
def test_published_settings_run():
    counts = np.random.default_rng(0).poisson(0.1 + 0.3 * np.eye(3, 60)[y])
    estimator = SSAHHasher(
        n_bits=16,
        hidden_layer_sizes={"image": (), "text": (32,)},
        feature_dim=16,
        label_hidden_layer_sizes=(32,),
        text_fusion=True,
        lrn=True,
        init="normal",
        quantization_weight=1e-4,
        label_weight=1e-4,
        adversarial_weight=1,
        balance_weight=0,
        input_dropout=0,
        reduction="sum",
        pair_weight=None,
        label_loss="mse",
        adversarial_loss="lsgan",
        schedule="alternate",
        n_rounds=2,
        lr={"image": 3.2e-5, "text": 3.2e-4},
        lr_label=1e-2,
        lr_discriminator=1e-3,
        lr_decay=0.32,
        random_state=0,
    ).fit(A, counts, y)
    assert all(math.isfinite(loss) for loss in estimator.loss_curve_)
    assert epochs_of(estimator, "text")


def test_early_stopping_asks_the_codes_of_labels():
    recorder = Recorder()
    params = {"early_stopping": True, "validation_fraction": 0.3, "lr": 1e-2}
    estimator = hasher(
        max_epochs=40,
        max_epochs_label=30,
        n_iter_no_change=3,
        callbacks=[recorder],
        **params,
    ).fit(A, B, y)
    train, held_out = split_rows(y, 0.3)
    for modality, X in (("image", A), ("text", B)):
        score = mean_average_precision(
            estimator.transform_modality(X[held_out], modality),
            estimator.transform_modality(y[train], "label"),
            y[held_out],
            y[train],
        )
        maps = [row["valid_map"] for row in epochs_of(estimator, modality)]
        assert len(maps) < 40
        assert_allclose(score, max(maps))
    assert len(epochs_of(estimator, "label")) == 30
    assert estimator.train_codes_.shape == (90, 8)


def test_rows_held_out_by_the_caller_have_labels_of_their_own():
    """As many as the training rows, so that those of the latter would fit, too."""
    held_out = {"image": A[45:], "text": B[45:]}
    estimator = hasher(early_stopping=True, max_epochs=1).fit(
        A[:45], B[:45], y[:45], X_val=held_out, y_val=y[45:]
    )
    gallery = estimator.transform_modality(y[:45], "label")
    for modality, X in held_out.items():
        codes = estimator.transform_modality(X, modality)
        (row,) = epochs_of(estimator, modality)
        expected = mean_average_precision(codes, gallery, y[45:], y[:45])
        assert row["valid_map"] == pytest.approx(expected)


@pytest.mark.parametrize("self_supervision", [True, False])
def test_the_caller_may_hold_out_the_rows_that_the_fit_would(self_supervision):
    params = {"early_stopping": True, "self_supervision": self_supervision}
    params |= {"validation_fraction": 0.3, "n_iter_no_change": 2, "lr": 1e-2}
    expected = hasher(max_epochs=20, **params).fit(A, B, y)
    train, held_out = split_rows(y, 0.3)
    X_val = make_pairs(A[held_out], B[held_out])
    estimator = hasher(max_epochs=20, **params)
    estimator.fit(A[train], B[train], y[train], X_val=X_val, y_val=y[held_out])
    assert_same_weights(estimator, expected)
    maps = [row.get("valid_map") for row in estimator.history_]
    assert maps == [row.get("valid_map") for row in expected.history_]
    if not self_supervision:
        assert_allclose(max(maps), estimator.score(X_val, y[held_out]))


@pytest.mark.parametrize(
    ("X_val", "y_val", "text"),
    [
        ({"image": A}, y, "must hold all modalities.*which learn together"),
        ({"image": A, "text": B[:40]}, {"image": y, "text": y[:40]}, "must be pairs"),
    ],
)
def test_without_self_supervision_held_out_rows_are_pairs(X_val, y_val, text):
    estimator = hasher(self_supervision=False, early_stopping=True)
    with pytest.raises(ValueError, match=text):
        estimator.fit(A, B, y, X_val=X_val, y_val=y_val)
    assert hasher(early_stopping=True).fit(A, B, y, X_val=X_val, y_val=y_val).n_iter_


def test_warm_start_continues_the_encoders():
    once = hasher(max_epochs=4, max_epochs_label=3).fit(A, B, y)
    twice = hasher(max_epochs=2, max_epochs_label=3, warm_start=True)
    twice.fit(A, B, y).fit(A, B, y)
    assert_same_weights(once, twice)
    phases = [row["phase"] for row in twice.history_]
    assert phases[7:] == ["image", "image", "text", "text"]
    assert_array_equal(once.train_codes_, twice.train_codes_)
    for changed in ({"n_bits": 4}, {"feature_dim": 4}, {"self_supervision": False}):
        with pytest.raises(ValueError, match="warm_start=True continues with the same"):
            copy.deepcopy(twice).set_params(**changed).fit(A, B, y)


class Moments(Callback):
    """Check that every parameter goes on with its own moments of Adam."""

    def __init__(self):
        self.left, self.n_compared = {}, 0

    def __deepcopy__(self, memo):
        return self

    def moments_of(self, net):
        names = {id(value): name for name, value in net.module_.named_parameters()}
        return {
            names[id(parameter)]: own["exp_avg"].clone()
            for _, optimizer in net.turns_
            for parameter, own in optimizer.state.items()
        }

    def on_train_begin(self, net, **kwargs):
        for name, moments in self.moments_of(net).items():
            assert torch.equal(moments, self.left[name]), name
            self.n_compared += 1

    def on_train_end(self, net, **kwargs):
        self.left |= self.moments_of(net)


@pytest.mark.parametrize("off_first", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"schedule": "alternate"}, {"self_supervision": False}]
)
@pytest.mark.parametrize(
    "name",
    [
        "feature_weight",
        "hash_weight",
        "quantization_weight",
        "label_weight",
        "adversarial_weight",
    ],
)
def test_a_weight_is_switched_between_two_fits(name, options, off_first):
    moments = Moments()
    estimator = hasher(warm_start=True, n_rounds=1, callbacks=[moments], **options)
    weight = getattr(estimator, name)
    values = (0, weight, 0) if off_first else (weight, 0, weight)
    for value in values:
        estimator.set_params(**{name: value}).fit(A, B, y)
    assert moments.n_compared
    assert all(math.isfinite(loss) for loss in estimator.loss_curve_)
    assert all(value.isfinite().all() for value in estimator.module_.parameters())


def test_a_loss_that_diverges_is_an_error():
    with pytest.raises(FloatingPointError, match="SSAHHasher label: "):
        hasher(lr_label=1e38).fit(A, B, y)


@pytest.mark.filterwarnings("ignore:SSAHHasher encodes")
@pytest.mark.parametrize(
    "params",
    [
        {"feature_weight": 0},
        {"hash_weight": 0},
        {"quantization_weight": 0},
        {"label_weight": 0},
        {"adversarial_weight": 0},
        {"pair_weight": None},
        {"similarity_smoothing": 0.1},
        {"normalize_features": True},
        {"label_loss": "mse"},
        {"adversarial_loss": "lsgan"},
        {"reduction": "sum"},
        {"init": "normal"},
        {"self_supervision": False},
        {"schedule": "alternate"},
        {"discriminator_dropout": 0.5},
    ],
)
def test_every_switch_has_an_effect(params, reference):
    estimator = hasher(**params).fit(A, B, y)
    relaxed = [est.encode(A, "image", output="real") for est in (estimator, reference)]
    assert (relaxed[0] != relaxed[1]).any()
    assert all(math.isfinite(loss) for loss in estimator.loss_curve_)


def test_cosine_similarity_is_for_several_labels():
    X_img, X_txt, labels = make_cross_modal_classification(
        60, n_classes=4, multilabel=True, random_state=0
    )
    fits = [
        hasher(similarity=kind).fit(X_img, X_txt, labels)
        for kind in ("binary", "cosine")
    ]
    codes = [fit.encode(X_img, "image", output="real") for fit in fits]
    assert (codes[0] != codes[1]).any()
    # For single labels both say the same.
    single = hasher(similarity="cosine").fit(A, B, y)
    assert_same_weights(single, hasher().fit(A, B, y))


# -- pairs, modalities and labels ----------------------------------------------------


def test_unpaired_equals_paired(reference):
    parts, labels = {"image": A, "text": B}, {"image": y, "text": y}
    unpaired = hasher().fit(parts, labels)
    assert_same_weights(unpaired, reference)
    assert unpaired.train_codes_ is None
    assert_same_weights(hasher().fit(parts, y), reference)


def test_modalities_with_rows_of_their_own():
    estimator = hasher().fit(*UNPAIRED)
    assert estimator.train_codes_ is None
    assert 0 < estimator.score(*UNPAIRED) <= 1
    more = hasher().fit(
        {**UNPAIRED[0], "audio": A[:50, :4]}, UNPAIRED[1] | {"audio": y[:50]}
    )
    assert more.modalities_ == ("image", "text", "audio")
    # The third one brings no labels that the first does not have.
    for part in PARTS:
        assert_same_weights(more, estimator, part)


def test_rows_in_another_order():
    order = np.random.default_rng(0).permutation(90)
    first, turned = (
        hasher(batch_size=90).fit(A[rows], B[rows], y[rows])
        for rows in (np.arange(90), order)
    )
    # The label network does not notice; the others add the rows in another order.
    assert_same_weights(first, turned, "encoders.label")
    for modality, X in (("image", A), ("text", B)):
        relaxed = [est.encode(X, modality, output="real") for est in (first, turned)]
        assert_allclose(*relaxed, atol=1e-3)


def test_a_modality_is_added_without_a_change_to_the_others(reference):
    estimator = copy.deepcopy(reference)
    estimator.add_modality("audio", A[:, :4], y)
    for part in PARTS:
        assert_same_weights(estimator, reference, part)
    assert_array_equal(estimator.train_codes_, reference.train_codes_)
    joint = hasher().fit({"image": A, "text": B, "audio": A[:, :4]}, y)
    assert_same_weights(estimator, joint)
    assert estimator.transform({"audio": A[:, :4]})["audio"].shape == (90, 8)


def test_regions_of_a_failed_addition_are_forgotten():
    regions = np.random.default_rng(0).normal(size=(90, 4, 6))
    estimator = hasher().fit({"text": B}, y)
    with pytest.raises(FloatingPointError):
        estimator.set_params(lr=1e38).add_modality("image", regions, y)
    estimator.set_params(lr=1e-3).add_modality("image", A, y)
    assert estimator.transform_image(A).shape == (90, 8)


@pytest.mark.parametrize("schedule", ["distill", "alternate"])
def test_added_modalities_leave_the_label_network(schedule):
    estimator = hasher(schedule=schedule, n_rounds=1).fit({"image": A}, y)
    before = weights_of(estimator)
    estimator.add_modality("text", B, y)
    after = weights_of(estimator)
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_train_codes_are_the_signs_of_all_networks_together(reference):
    relaxed = [
        reference.encode(X, modality, output="real")
        for modality, X in (("image", A), ("text", B), ("label", y))
    ]
    expected = np.where(sum(relaxed) >= 0, 1, -1)
    assert reference.train_codes_.dtype == np.int8
    assert_array_equal(reference.train_codes_, expected)


def test_labels_as_queries(reference):
    codes = reference.transform_modality(y[:5], "label")
    assert codes.dtype == np.int8 and codes.shape == (5, 8)
    for labels in (np.eye(3, dtype=int)[y[:5]], sparse.csr_array(np.eye(3)[y[:5]])):
        assert_array_equal(reference.transform_modality(labels, "label"), codes)
    assert_array_equal(reference.transform({"label": y[:5]})["label"], codes)
    real = reference.encode(y[:5], "label", output="real")
    assert_array_equal(np.where(real >= 0, 1, -1), codes)
    with pytest.raises(ValueError, match=r"not seen in fit: \[7\]"):
        reference.transform_modality([0, 7], "label")
    with pytest.raises(ValueError, match="4 columns, expected"):
        reference.transform_modality(np.eye(4, dtype=int), "label")
    named = hasher().fit(A, B, np.array(["c", "a", "b"])[y])
    assert_array_equal(
        named.transform_modality(["a", "c"], "label"),
        named.transform_modality([[1, 0, 0], [0, 0, 1]], "label"),
    )


@pytest.mark.parametrize("modality", ["image", "text", "label"])
def test_codes_do_not_depend_on_the_batch(modality, reference):
    X = {"image": A, "text": B, "label": y}[modality]
    whole = reference.encode(X, modality, output="real")
    parts = [reference.encode(X[i : i + 7], modality, output="real") for i in (0, 7)]
    assert_array_equal(np.concatenate(parts), whole[:14])
    one = reference.encode(X[3:4], modality, output="real")
    assert_array_equal(one, whole[3:4])


@pytest.mark.filterwarnings("ignore:SSAHHasher encodes")
@pytest.mark.parametrize("n_bits", [1, 5, 8, 13])
def test_packed_codes_come_back(n_bits):
    estimator = hasher(n_bits=n_bits, max_epochs=1).fit(A, B, y)
    signs = estimator.transform_image(A)
    packed = estimator.encode(A, "image", output="packed")
    assert packed.shape == (90, math.ceil(n_bits / 8)) and packed.dtype == np.uint8
    bits = np.unpackbits(packed, axis=1, count=n_bits)
    assert_array_equal(2 * bits.astype(int) - 1, signs)
    assert_array_equal(estimator.encode(A, "image", output="bool"), signs > 0)
    packing = hasher(n_bits=n_bits, max_epochs=1, output="packed").fit(A, B, y)
    assert_array_equal(packing.transform_image(A), packed)
    assert_array_equal(packing.train_codes_, estimator.train_codes_)
    assert packing.score(A, B, y) == estimator.score(A, B, y)


def test_predict_proba_is_the_sigmoid_of_the_label_head(reference):
    encoder = reference.module_["encoders"]["text"]
    with torch.no_grad():
        logits = encoder.outputs(torch.tensor(B).float()).logits.numpy()
    p = reference.predict_proba(B, modality="text")
    assert_allclose(p, 1 / (1 + np.exp(-logits)), rtol=1e-4)
    with pytest.raises(ValueError, match="label_weight > 0"):
        hasher(label_weight=0).fit(A, B, y).predict_proba(make_pairs(A, B))


def test_pickling_keeps_networks_and_classes(reference):
    loaded = pickle.loads(pickle.dumps(reference))
    assert_array_equal(loaded.transform_image(A), reference.transform_image(A))
    assert not loaded.module_["encoders"][LABEL].code.weight.requires_grad


# -- without a label network ---------------------------------------------------------


def test_without_self_supervision():
    estimator = hasher(self_supervision=False).fit(A, B, y)
    assert "label_network" not in estimator.module_
    assert set(estimator.history_[0]) == {
        *("epoch", "train_loss", "encoders_loss", "feature_loss", "hash_loss"),
        *("quantization_loss", "label_loss", "balance_loss", "seconds"),
    }
    relaxed = [
        estimator.encode(X, m, output="real") for m, X in (("image", A), ("text", B))
    ]
    assert_array_equal(estimator.train_codes_, np.where(sum(relaxed) >= 0, 1, -1))
    with pytest.raises(ValueError, match="Labels cannot be encoded"):
        estimator.transform_modality(y, "label")
    with pytest.raises(ValueError, match="fit with self_supervision=True"):
        estimator.add_modality("audio", A, y)
    three = hasher(self_supervision=False).fit({"a": A, "b": B, "c": A[:, :2]}, y)
    assert three.modalities_ == ("a", "b", "c")
    three.set_params(warm_start=True)
    with pytest.raises(ValueError, match="continues with the same modalities"):
        three.fit({"a": A, "b": B}, y)


def test_without_self_supervision_early_stopping_asks_the_other_modality():
    estimator = hasher(
        self_supervision=False, early_stopping=True, validation_fraction=0.3
    ).fit({"text": B, "audio": A}, y)
    _, rows = split_rows(y, 0.3)
    score = estimator.score({"text": B[rows], "audio": A[rows]}, y[rows])
    assert_allclose(score, max(row["valid_map"] for row in estimator.history_))


@pytest.mark.parametrize("data", [UNPAIRED, ({"image": A}, y)])
def test_without_self_supervision_pairs_are_needed(data):
    with pytest.raises(ValueError, match="needs paired rows of two or more modalities"):
        hasher(self_supervision=False).fit(*data)


# -- rows without labels -------------------------------------------------------------


@pytest.mark.parametrize("form", ["indicator", "sparse", "list", "classes", "objects"])
def test_rows_without_labels_are_left_out(form):
    missing = [4, 50]
    kept = np.setdiff1d(np.arange(90), missing)
    labels = np.eye(3, dtype=int)[y]
    if form in ("indicator", "sparse", "list"):
        labels[missing] = 0
        if form == "sparse":
            labels = sparse.csr_array(labels)
        expected = np.eye(3, dtype=int)[y[kept]]
        given = labels.tolist() if form == "list" else labels
    elif form == "classes":
        given = y.astype(float)
        given[missing] = np.nan
        expected = y[kept].astype(float)
    else:
        given = np.array(["a", "b", "c"], dtype=object)[y]
        given[missing] = None
        expected = given[kept]
    strict = hasher()
    with pytest.raises(ValueError, match="no label|NaN"):
        strict.fit(A, B, given)
    with pytest.warns(UserWarning, match="2 of 90 rows of y have no label"):
        estimator = hasher(missing_labels="drop").fit(A, sparse.csr_array(B), given)
    assert estimator.train_codes_.shape == (88, 8)
    assert_same_weights(estimator, hasher().fit(A[kept], B[kept], expected))


def test_rows_without_labels_of_some_modalities_are_left_out():
    parts, labels = UNPAIRED
    indicators = {name: np.eye(3, dtype=int)[own] for name, own in labels.items()}
    indicators["text"][:3] = 0
    estimator = hasher(missing_labels="drop")
    with pytest.warns(UserWarning, match="3 of 70 rows of the text labels"):
        estimator.fit(parts, indicators)
    kept = {"image": A, "text": B[23:]}
    own = {"image": np.eye(3)[y], "text": np.eye(3)[y[23:]]}
    assert_same_weights(estimator, hasher().fit(kept, own))
    audio = np.eye(3, dtype=int)[y]
    audio[0] = 0
    with pytest.warns(UserWarning, match="1 of 90 rows"):
        estimator.add_modality("audio", A, audio)
    assert estimator.modalities_ == ("image", "text", "audio")


def test_missing_classes_in_a_column():
    labels = y[:, None].astype(float)
    labels[[4, 50]] = np.nan
    with pytest.warns(UserWarning, match="2 of 90 rows of y have no label|1d array"):
        estimator = hasher(missing_labels="drop").fit(A, B, labels)
    assert estimator.train_codes_.shape == (88, 8)
    with pytest.raises(ValueError, match="None of the 90 rows of y has a label"):
        hasher(missing_labels="drop").fit(A, B, [None] * 90)


def test_nothing_is_said_if_all_rows_have_labels(reference):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator = hasher(missing_labels="drop").fit(A, B, y)
    assert_same_weights(estimator, reference)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        hasher(missing_labels="drop").fit(A, B, y[:80])


# -- refusals ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"lr": {"image": 1e-3}}, "lr given as a dict must have.*'text'"),
        ({"lr": {"image": 1e-3, "text": 0}}, "lr of 'text' must be a positive"),
        ({"hidden_layer_sizes": {"text": (3,)}}, "must have a key for.*'image'"),
        ({"label_hidden_layer_sizes": (0,)}, "label_hidden_layer_sizes must be a seq"),
        ({"encoder_passes": (0,), "schedule": "alternate"}, "encoder_passes must be"),
        ({"text_scales": (0,), "text_fusion": True}, "text_scales must be"),
        (
            {"lr": {"image": 1, "text": 1}, "self_supervision": False},
            "must be a number",
        ),
        (
            {"feature_weight": 0, "hash_weight": 0, "label_weight": 0},
            "must be > 0; all are 0",
        ),
        ({"adversarial_weight": -1}, "'adversarial_weight' parameter"),
        ({"balance_weight": -1}, "'balance_weight' parameter"),
        ({"discriminator_dropout": 1.0}, "'discriminator_dropout' parameter"),
        ({"input_dropout": 1.0}, "'input_dropout' parameter"),
        ({"pair_weight": "none"}, "'pair_weight' parameter"),
        ({"output": "real"}, "'output' parameter"),
    ],
)
def test_refusals(params, text):
    estimator = hasher(**params)
    with pytest.raises(ValueError, match=text):
        estimator.fit(A, B, y)
    with pytest.raises(NotFittedError):
        estimator.transform(A, B)


def test_label_is_no_modality(reference):
    estimator = copy.deepcopy(reference).set_params(warm_start=True)
    with pytest.raises(ValueError, match="must be one of .*, got 'label'"):
        estimator.fit({"image": A, "label": y}, y)
    with pytest.raises(ValueError, match="'label' is reserved"):
        hasher().fit({"image": A, "label": B}, y)
    with pytest.raises(ValueError, match="'label' is reserved"):
        copy.deepcopy(reference).add_modality("label", B, y)


# -- quality -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_labels_get_codes_of_their_own(seed):
    labels = np.arange(96) % 8
    X = np.random.default_rng(seed).normal(size=(96, 3))
    estimator = hasher(
        label_hidden_layer_sizes=(64,),
        feature_dim=64,
        lr_label=3e-3,
        max_epochs_label=60,
        max_epochs=1,
        random_state=seed,
    ).fit(X, X, labels)
    codes = estimator.transform_modality(np.arange(8), "label")
    assert len(np.unique(codes, axis=0)) == 8
    of_rows = codes[labels]
    assert mean_average_precision(of_rows, of_rows, labels, labels) > 0.99


@pytest.mark.parametrize("schedule", ["distill", "alternate"])
def test_it_learns_to_retrieve(schedule):
    estimator = hasher(
        n_bits=16,
        max_epochs=40,
        max_epochs_label=20,
        lr=1e-2,
        lr_label=1e-2,
        schedule=schedule,
    ).fit(A, B, y)
    assert estimator.score(A, B, y) > 0.7
    assert estimator.score({"label": y, "text": B}, y) > 0.7
    untrained = hasher(max_epochs=1, lr=1e-9, lr_label=1e-9).fit(A, B, y)
    assert untrained.score(A, B, y) < 0.5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:SSAHHasher")
def test_ablations_rank_as_in_the_paper():
    """Without pairs of codes, or if signs are all that counts, nothing is learned."""
    variants = {
        "full": {},
        "no label network": {"self_supervision": False},
        "no pairs of features": {"feature_weight": 0},
        "no pairs of codes": {"hash_weight": 0},
        "pairs not balanced": {"pair_weight": None},
        "bits not balanced": {"balance_weight": 0},
        "strong game": {"adversarial_weight": 1},
        "strong quantisation": {"quantization_weight": 1},
    }
    scores = dict.fromkeys(variants, 0.0)
    for seed in range(2):
        X_img, X_txt, labels = make_cross_modal_classification(
            400, n_classes=8, random_state=seed
        )
        for name, params in variants.items():
            estimator = SSAHHasher(
                n_bits=16,
                hidden_layer_sizes=(64,),
                feature_dim=64,
                batch_size=64,
                max_epochs=20,
                random_state=seed,
                **params,
            ).fit(X_img[:300], X_txt[:300], labels[:300])
            scores[name] += estimator.score(X_img[300:], X_txt[300:], labels[300:]) / 2
    full = scores.pop("full")
    assert full > max(scores.values()) + 0.01
    assert full > scores["no label network"] + 0.05
    assert full > scores["pairs not balanced"] + 0.02
    assert scores["no pairs of codes"] < 0.25
    assert scores["strong quantisation"] < full / 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "image_to_text", "text_to_image"),
    [("wiki_cnn_pca", 0.44, 0.72), ("iaprtc12_1962", 0.51, 0.62)],
)
def test_defaults_work_on_real_features(real_data, name, image_to_text, text_to_image):
    """benchmarks/quality.py measures more bits with more seeds."""
    arrays = real_data(name)
    parts = {}
    for modality in ("image", "text"):
        scaler = StandardScaler().fit(arrays[f"{modality}_train"])
        for split in ("train", "test"):
            X = scaler.transform(arrays[f"{modality}_{split}"])
            parts[modality, split] = X
    estimator = SSAHHasher(random_state=0).fit(
        parts["image", "train"], parts["text", "train"], arrays["y_train"]
    )
    codes = {key: estimator.transform_modality(X, key[0]) for key, X in parts.items()}
    labels = arrays["y_test"], arrays["y_train"]
    i2t, t2i = (
        mean_average_precision(codes[q, "test"], codes[g, "train"], *labels)
        for q, g in (("image", "text"), ("text", "image"))
    )
    assert i2t > image_to_text and t2i > text_to_image
