"""DRCLProjector against the formulas, the defects to avoid and its promises."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from skorch.callbacks import Callback
from torch import nn

from sklearn_cmr import ACMRProjector, DRCLProjector, make_pairs
from sklearn_cmr.datasets import make_cross_modal_classification
from sklearn_cmr.metrics import mean_average_precision
from sklearn_cmr.nn.layers import UnitLength
from sklearn_cmr.nn.layers import dropout as drop_out
from sklearn_cmr.projection._drcl import (
    Prior,
    consistency_loss,
    encoder_loss,
    generalized_cross_entropy,
    label_probability,
    mix_rows,
    prior_loss,
    recast_loss,
)
from sklearn_cmr.training import Batch, EpochState
from tests.helpers import (
    Recorder,
    assert_same_weights,
    check_encoder,
    make_labels,
    split_rows,
    standardize,
    weights_of,
)

SMALL = {
    "embedding_dim": 8,
    "hidden_layer_sizes": (16,),
    "prior": "select",
    "lr": 1e-3,
    "batch_size": 32,
    "max_epochs": 3,
    "random_state": 0,
}
A, B, y = make_cross_modal_classification(
    90, n_image_features=6, n_text_features=5, n_classes=3, random_state=0
)


def projector(**params):
    return DRCLProjector(**SMALL | params)


@pytest.fixture(scope="module")
def reference():
    return projector(keep_all_priors=True).fit(A, B, y)


def rows_of(estimator, phase):
    return [row for row in estimator.history_ if row["phase"] == phase]


# -- the formulas, row by row --------------------------------------------------------


def literal_gce(probabilities, q):
    return np.mean(
        [
            -np.log(s) if q == 0 else (1 - s**q) / q
            for s in np.maximum(probabilities, 1e-12)
        ]
    )


def cosine(a, b):
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return a @ b / lengths if lengths else 0.0


def literal_consistency(r, f):
    b, total = len(r), 0.0
    for i in range(b):
        for j in range(b):
            total += (2 * cosine(r[i], r[j]) - 2 * cosine(f[i], f[j])) ** 2
            total += (2 * cosine(r[i], f[j]) - 2 * cosine(r[j], f[i])) ** 2
    return total / b**2


def literal_loss(module, batch, q, order, options, masks=(1.0, 1.0)):
    with torch.no_grad():
        X, (first, relu, last, _) = batch.features["image"], module["encoders"]["image"]
        f = last(relu(first(X * masks[0])) * masks[1]).numpy()
    W = module["prior"].weight.detach().numpy()
    labels = batch.y.numpy()
    f = np.array([row / max(np.linalg.norm(row), 1e-12) for row in f])
    shares = labels
    if options["normalize_labels"]:
        shares = np.array([row / row.sum() for row in labels])
    if order is not None:
        lam = options["mix_lambda"]

        def mix(part):
            return np.array(
                [lam * part[i] + (1 - lam) * part[j] for i, j in enumerate(order)]
            )

        f, labels, shares = mix(f), mix(labels), mix(shares)
    r = shares @ np.linalg.pinv(W)
    probabilities = []
    for row, own in zip(f @ W, labels, strict=True):
        p = np.exp(row) / np.exp(row).sum()
        probabilities.append(p @ own)
    squared = [((a - b) ** 2).sum() for a, b in zip(r, f, strict=True)]
    scale = f.shape[1] if options["recast_reduction"] == "mean" else 1
    terms = {
        "label_loss": literal_gce(probabilities, q),
        "consistency_loss": literal_consistency(r, f),
        "recast_loss": np.mean(squared) / scale,
    }
    return sum(options["weights"][name] * term for name, term in terms.items()), terms


def make_problem(kind="single", n=6, n_classes=3, seed=0, width=5):
    rng = np.random.default_rng(seed)
    X = torch.tensor(rng.normal(size=(n, 4)))
    labels = torch.tensor(make_labels(kind, n, n_classes, rng))
    torch.manual_seed(seed)
    layers = [nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, width, bias=False)]
    network = nn.Sequential(*layers, UnitLength())
    prior = Prior(torch.randn(width, n_classes, dtype=torch.float64), None).freeze()
    module = nn.ModuleDict(
        {"encoders": nn.ModuleDict({"image": network.double()}), "prior": prior}
    )
    return module, Batch({"image": X}, labels, torch.arange(n), {})


def make_state(q, seed=0):
    scalars = {"q": torch.tensor(q, dtype=torch.float64)}
    return EpochState(scalars, torch.Generator().manual_seed(seed))


OPTIONS = {
    "weights": {"label_loss": 1.0, "consistency_loss": 0.3, "recast_loss": 0.7},
    "dropout": 0.0,
    "mix_lambda": 0.8,
    "q_max": 0.9,
    "recast_reduction": "sum",
    "normalize_labels": False,
}


def options_of(estimator):
    """Return what the loss of an encoder gets from an estimator."""
    weights = {
        "label_loss": estimator.label_weight,
        "consistency_loss": estimator.consistency_weight,
        "recast_loss": estimator.recast_weight,
    }
    others = OPTIONS.keys() - {"weights"}
    return {"weights": weights} | {name: getattr(estimator, name) for name in others}


weight = st.sampled_from([0.0, 0.3, 2.0])


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["single", "multi", "one class"]),
    n=st.integers(1, 8),
    n_classes=st.integers(2, 5),
    seed=st.integers(0, 2**31 - 1),
    q=st.sampled_from([0.0, 0.01, 0.5, 1.0]),
    training=st.booleans(),
    options=st.fixed_dictionaries(
        {
            "weights": st.fixed_dictionaries(dict.fromkeys(OPTIONS["weights"], weight)),
            "dropout": st.sampled_from([0.0, 0.4]),
            "mix_lambda": st.floats(0.6, 1),
            "q_max": st.sampled_from([0.0, 0.4, 1.0]),
            "recast_reduction": st.sampled_from(["mean", "sum"]),
            "normalize_labels": st.booleans(),
        }
    ),
)
def test_encoder_loss_equals_the_formulas(
    kind, n, n_classes, seed, q, training, options
):
    module, batch = make_problem(kind, n, n_classes, seed)
    X = batch.features["image"]
    module.train(training)
    loss, terms = encoder_loss(
        module, batch, make_state(q, seed), modality="image", **options
    )
    order, masks = None, [1.0, 1.0]
    if training:
        generator = torch.Generator().manual_seed(seed)
        if options["dropout"]:
            masks = [
                drop_out(X.new_ones(n, width), options["dropout"], generator)
                for width in (4, 7)
            ]
        order = torch.randperm(n, generator=generator).tolist()
    exponent = q if training else options["q_max"]
    expected, literal = literal_loss(module, batch, exponent, order, options, masks)
    assert terms.keys() == literal.keys()
    for name, term in terms.items():
        assert_allclose(term.item(), literal[name], rtol=1e-5, atol=1e-7, err_msg=name)
    assert_allclose(loss.item(), expected, rtol=1e-5, atol=1e-7)
    if loss.requires_grad:
        parameters = list(module["encoders"].parameters())
        for gradient in torch.autograd.grad(loss, parameters, allow_unused=True):
            assert gradient is None or gradient.isfinite().all()


@pytest.mark.parametrize("kind", ["single", "multi"])
@pytest.mark.parametrize("q", [0.0, 0.3])
def test_first_stage_is_the_label_loss_of_network_and_prior(kind, q):
    module, batch = make_problem(kind)
    module["prior"].weight.requires_grad_(True)
    loss, terms = prior_loss(
        module, batch, make_state(q), modality="image", dropout=0.0
    )
    weights = {"label_loss": 1.0, "consistency_loss": 0.0, "recast_loss": 0.0}
    options = OPTIONS | {"weights": weights}
    assert_allclose(
        loss.item(), literal_loss(module, batch, q, None, options)[0], rtol=1e-6
    )
    assert terms == {}
    loss.backward()
    assert module["prior"].weight.grad.abs().sum() > 0


@given(
    probabilities=st.lists(st.floats(0, 1), min_size=1, max_size=9),
    q=st.floats(0, 1) | st.sampled_from([1e-30, 1e-12, 1e-6]),
)
def test_generalized_cross_entropy(probabilities, q):
    probability = torch.tensor(probabilities, dtype=torch.float64, requires_grad=True)
    loss = generalized_cross_entropy(probability, torch.tensor(q, dtype=torch.float64))
    # Python's power loses the small exponents; the series does not.
    log_probability = np.log(np.maximum(probabilities, 1e-12))
    if q > 1e-3:
        expected = literal_gce(probabilities, q)
    else:
        expected = np.mean(
            -log_probability
            - q * log_probability**2 / 2
            - q**2 * log_probability**3 / 6
        )
    assert_allclose(loss.item(), expected, rtol=1e-4, atol=1e-9)
    loss.backward()
    assert probability.grad.isfinite().all()


@pytest.mark.parametrize("q", [0.0, 1e-7, 1e-4, 0.02, 0.5, 1.0])
def test_gradient_of_generalized_cross_entropy(q):
    """-s^(q-1) / b; zero at q = 0 in the release, whose first epoch is lost (9.1)."""
    probability = torch.tensor([0.9, 0.2, 0.01], requires_grad=True)
    generalized_cross_entropy(probability, torch.tensor(q)).backward()
    expected = -(np.array([0.9, 0.2, 0.01]) ** (q - 1)) / 3
    assert_allclose(probability.grad.numpy(), expected, rtol=1e-4)


def test_generalized_cross_entropy_spans_both_known_losses():
    probability = torch.tensor([0.7, 0.1])
    cross_entropy = generalized_cross_entropy(probability, torch.tensor(0.0))
    assert_allclose(cross_entropy, -np.log([0.7, 0.1]).mean(), rtol=1e-6)
    absolute_error = generalized_cross_entropy(probability, torch.tensor(1.0))
    assert_allclose(absolute_error, 1 - 0.4, rtol=1e-6)


def test_numbers_by_hand():
    r = torch.tensor([[2.0, 0], [0, 1]])
    f = torch.tensor([[1.0, 0], [1, 0]])
    # Labels are orthogonal and embeddings coincide: 2 * 0 against 2 * 1, twice of four.
    # Label 0 sees embedding 1 with 2 * 1, label 1 sees embedding 0 with 0.
    assert_allclose(consistency_loss(r, torch.eye(2), f), (4 + 4) / 4 + (4 + 4) / 4)
    assert_allclose(recast_loss(r, f, "sum"), (1 + 2) / 2)
    assert_allclose(recast_loss(r, f, "mean"), (1 + 2) / 4)
    (mixed,) = mix_rows(torch.tensor([1, 0]), 0.75, r)
    assert_allclose(mixed, [[1.5, 0.25], [0.5, 0.75]])
    assert_allclose(
        label_probability(torch.tensor([[0.2, 0.3, 0.5]]), r.new_tensor([1, 0, 1])), 0.7
    )


def test_perfect_embeddings_have_no_consistency_loss():
    prior = Prior(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), None)
    labels = torch.eye(3)[[0, 1, 2, 1]]
    r = labels @ prior.freeze().inverse
    assert_allclose(consistency_loss(labels, prior.inverse, 3 * r), 0, atol=1e-10)
    assert_allclose(recast_loss(r, r, "sum"), 0)


@given(seed=st.integers(0, 99), n=st.integers(1, 9), m=st.integers(3, 12))
def test_consistency_loss_has_the_gradient_of_the_formula(seed, n, m):
    """In spite of the short cuts through labels and symmetry."""
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "dtype": torch.float64}
    labels, inverse = torch.rand(n, 3, **options), torch.randn(3, m, **options)
    f = torch.randn(n, m, **options, requires_grad=True)

    def cosines(a, b):
        return a @ b.T / (a.norm(dim=1)[:, None] * b.norm(dim=1))

    r = labels @ inverse
    intra = 2 * cosines(r, r) - 2 * cosines(f, f)
    inter = 2 * cosines(r, f) - 2 * cosines(r, f).T
    literal = intra.square().mean() + inter.square().mean()
    loss = consistency_loss(labels, inverse, f)
    assert_allclose(loss.item(), literal.item(), rtol=1e-9, atol=1e-14)
    (expected,) = torch.autograd.grad(literal, f)
    (found,) = torch.autograd.grad(loss, f)
    assert_allclose(found, expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("kind", ["single", "multi", "one class"])
def test_a_batch_of_one(kind):
    """Mixing is the identity, and the matrices have nothing but their diagonals."""
    module, batch = make_problem(kind, n=1)
    options = OPTIONS | {"modality": "image"}
    loss, terms = encoder_loss(module.train(), batch, make_state(0.9), **options)
    assert_allclose(terms["consistency_loss"].item(), 0, atol=1e-12)
    unmixed, _ = encoder_loss(module.eval(), batch, make_state(0.9), **options)
    assert_allclose(loss.item(), unmixed.item(), rtol=1e-12)


def test_a_zero_embedding_is_no_nan():
    """The release divides by its norm (9.9)."""
    module, batch = make_problem()
    nn.init.zeros_(module["encoders"]["image"][2].weight)
    loss, _ = encoder_loss(module, batch, make_state(0.5), modality="image", **OPTIONS)
    gradients = torch.autograd.grad(loss, list(module["encoders"].parameters()))
    assert loss.isfinite() and all(g.isfinite().all() for g in gradients)


def test_mixed_embeddings_keep_their_length_and_labels_sum_to_one():
    module, batch = make_problem()
    f = nn.functional.normalize(torch.randn(6, 5), dim=1)
    mixed, labels = mix_rows(torch.randperm(6), 0.5, f, batch.y)
    assert (mixed.norm(dim=1) < 1.0001).all() and (mixed.norm(dim=1) < 0.99).any()
    assert_allclose(labels.sum(1), 1)


# -- the prior -----------------------------------------------------------------------


def test_recast_labels_come_back_as_the_labels(reference):
    prior = reference.module_["prior"]
    labels = torch.eye(3)
    assert_allclose(labels @ prior.inverse @ prior.weight, labels, atol=1e-5)
    expected = np.linalg.pinv(reference.prior_)
    assert_allclose(prior.inverse, expected, rtol=1e-4, atol=1e-6)


def test_rcond_drops_small_singular_values():
    W = np.zeros((8, 3), dtype=np.float32)
    W[[0, 1, 2], [0, 1, 2]] = 4, 2, 0.1
    full = projector(prior=W).fit(A, B, y).module_["prior"].inverse
    assert_allclose(np.diag(full), [0.25, 0.5, 10], rtol=1e-5)
    cut = projector(prior=W, rcond=0.1).fit(A, B, y).module_["prior"].inverse
    assert_allclose(np.diag(cut), [0.25, 0.5, 0], rtol=1e-5)


def test_the_prior_is_the_best_one_and_a_true_copy():
    """In the release the name refers to what later steps overwrite (9.2)."""
    recorder = Recorder()
    # A step as long as this makes the quality go up and down.
    estimator = projector(
        lr_prior=1.0, max_epochs_prior=12, callbacks=[recorder], keep_all_priors=True
    ).fit(A, B, y)
    for modality in ("image", "text"):
        phase = f"prior_{modality}"
        qualities = [row["quality"] for row in rows_of(estimator, phase)]
        weights = [w["prior.weight"] for w in recorder.by_phase[phase].weights]
        best = int(np.argmax(qualities))
        assert estimator.quality_scores_[modality] == max(qualities)
        assert_array_equal(estimator.priors_[modality], weights[best])
    assert any(
        np.argmax([row["quality"] for row in rows_of(estimator, f"prior_{m}")]) < 11
        for m in ("image", "text")
    )
    scores = estimator.quality_scores_
    assert estimator.prior_modality_ == max(scores, key=scores.get)
    assert_array_equal(estimator.prior_, estimator.priors_[estimator.prior_modality_])
    assert_array_equal(estimator.prior_, estimator.module_["prior"].weight.numpy())


def test_quality_is_the_mean_probability_of_the_true_labels():
    recorder = Recorder()
    estimator = projector(callbacks=[recorder]).fit(A, B, y)
    for modality, X in (("image", A), ("text", B)):
        phase = f"prior_{modality}"
        weights = recorder.by_phase[phase].weights
        for row, state in zip(rows_of(estimator, phase), weights, strict=True):
            trained = copy.deepcopy(estimator)
            trained.module_.load_state_dict(state)
            p = trained.predict_proba(X, modality=modality)
            assert_allclose(row["quality"], p[np.arange(90), y].mean(), rtol=1e-5)


def test_quality_on_held_out_rows():
    params = {"early_stopping": True, "validation_fraction": 0.3, "lr_prior": 1e-2}
    on_train = projector(**params).fit(A, B, y)
    on_held_out = projector(**params, quality_on="validation").fit(A, B, y)
    assert on_train.quality_scores_ != on_held_out.quality_scores_
    with pytest.raises(ValueError, match="set early_stopping=True"):
        projector(quality_on="validation").fit(A, B, y)


def test_stages_start_from_the_same_weights_and_every_prior_from_the_same():
    recorder = Recorder()
    projector(callbacks=[recorder]).fit(A, B, y)
    assert list(recorder.by_phase) == ["prior_image", "prior_text", "image", "text"]
    start, of_text, of_image, _ = recorder.starts
    assert torch.equal(start["prior.weight"], of_text["prior.weight"])
    W0 = start["prior.weight"]
    assert_allclose(W0.T @ W0, np.eye(3), atol=1e-5)
    for name, value in of_image.items():
        if name.startswith("encoders"):
            assert torch.equal(value, start[name]), name


def test_the_prior_stays_as_it_is_in_the_second_stage():
    recorder = Recorder()
    estimator = projector(callbacks=[recorder]).fit(A, B, y)
    prior = torch.tensor(estimator.prior_)
    for modality in ("image", "text"):
        for weights in recorder.by_phase[modality].weights:
            assert torch.equal(weights["prior.weight"], prior)


def test_of_equally_good_priors_the_first_by_name_is_kept():
    """Both learn the labels by heart, to a quality of exactly 1."""
    X = 10 * np.eye(3)[y]
    estimator = projector(
        hidden_layer_sizes=(), lr_prior=10, max_epochs_prior=30, keep_all_priors=True
    )
    for names in (("b", "a", "c"), ("c", "b", "a"), ("a", "c", "b")):
        estimator.fit(dict.fromkeys(names, X), y)
        assert estimator.quality_scores_ == dict.fromkeys("abc", 1.0)
        assert estimator.prior_modality_ == "a"
        assert_array_equal(estimator.prior_, estimator.priors_["a"])
        assert not np.array_equal(estimator.priors_["a"], estimator.priors_["b"])


def test_the_order_of_modalities_changes_nothing(reference):
    turned = projector(keep_all_priors=True).fit({"text": B, "image": A}, y)
    assert turned.prior_modality_ == reference.prior_modality_
    assert turned.quality_scores_ == reference.quality_scores_
    expected = weights_of(reference)
    assert all(torch.equal(w, expected[name]) for name, w in weights_of(turned).items())


def test_initial_weights_depend_on_the_seed_and_the_own_name_alone():
    """Neither the company nor the place matters, and equal widths are no matter."""

    def start_of(names, **params):
        recorder = Recorder()
        projector(prior="orthogonal", max_epochs=1, callbacks=[recorder], **params).fit(
            dict.fromkeys(names, A), y
        )
        state = recorder.starts[0]
        return {name: state[f"encoders.{name}.0.weight"] for name in names}

    together = start_of(("c", "a", "b"))
    for name, weight in together.items():
        assert torch.equal(start_of((name,))[name], weight)
        assert not torch.equal(start_of((name,), random_state=1)[name], weight)
    assert not torch.equal(together["a"], together["b"])
    assert not torch.equal(together["b"], together["c"])
    # A modality that is added later starts as it would have started in `fit`.
    recorder = Recorder()
    estimator = projector(prior="orthogonal", max_epochs=1, callbacks=[recorder])
    estimator.fit({"a": A}, y).add_modality("b", A, y)
    assert torch.equal(
        recorder.by_phase["b"].starts[0]["encoders.b.0.weight"], together["b"]
    )


def test_orthogonal_prior():
    estimator = projector(prior="orthogonal").fit(A, B, y)
    W = estimator.prior_
    assert W.shape == (8, 3)
    assert_allclose(W.T @ W, np.eye(3), atol=1e-5)
    assert estimator.prior_modality_ is None and estimator.quality_scores_ == {}
    assert {row["phase"] for row in estimator.history_} == {"image", "text"}


@pytest.mark.parametrize("modality", ["image", "text"])
def test_prior_of_one_modality(modality, reference):
    estimator = projector(prior=modality).fit(A, B, y)
    assert_array_equal(estimator.prior_, reference.priors_[modality])
    assert estimator.prior_modality_ == modality
    scores = reference.quality_scores_
    assert estimator.quality_scores_ == {modality: scores[modality]}
    assert estimator.priors_ == {}
    if modality == reference.prior_modality_:
        assert_same_weights(estimator, reference)


def test_prior_from_an_array_or_another_fit(reference):
    W = reference.prior_
    from_array = projector(prior=W).fit(A, B, y)
    assert_same_weights(from_array, reference)
    W_before = W.copy()
    from_list = projector(prior=W.astype(float).tolist()).fit(A, B, y)
    assert_same_weights(from_list, reference)
    from_fit = projector(prior=reference).fit(A, B, y)
    assert_same_weights(from_fit, reference)
    assert_array_equal(W, W_before)
    # Searches clone what they get: FrozenEstimator keeps it fitted.
    frozen = clone(projector(prior=FrozenEstimator(reference))).fit(A, B, y)
    assert_same_weights(frozen, reference)
    assert from_fit.prior_ is not reference.prior_


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"prior": "audio"}, r"one of the modalities \['image', 'text'\].*got 'audio'"),
        ({"prior": np.zeros((3, 8))}, r"= \(8, 3\), got \(3, 8\)"),
        ({"prior": np.zeros(8)}, "Expected 2D array"),
        ({"prior": np.full((8, 3), np.nan)}, "prior contains NaN"),
        ({"prior": 3}, "'prior' parameter"),
        ({"prior": ACMRProjector()}, "not fitted yet"),
        ({"prior": DRCLProjector()}, "not fitted yet"),
        ({"embedding_dim": 2}, "embedding_dim=2 must not be less than.*classes, 3"),
        ({"lr": {"image": 1e-3}}, "lr given as a dict.*each modality.*'text'.; got"),
        ({"lr": {"image": 1e-3, "text": 0}}, "lr of 'text' must be a positive"),
        ({"lr": -1.0}, "'lr' parameter"),
        (
            {"hidden_layer_sizes": {"text": (3,)}},
            "each modality.*'image'.; got .'text'",
        ),
        ({"dropout": 1.0}, "'dropout' parameter"),
        ({"mix_lambda": 1.1}, "'mix_lambda' parameter"),
        ({"q_max": 2}, "'q_max' parameter"),
        ({"betas": (0.5,)}, "betas must be two numbers"),
    ],
)
def test_refusals(params, text):
    estimator = projector(**params)
    with pytest.raises((ValueError, NotFittedError), match=text):
        estimator.fit(A, B, y)


def test_a_prior_for_other_classes_is_refused(reference):
    """The release keys its files by shape and data set alone (9.11)."""
    for labels in (y + 1, np.array(["c", "a", "b"])[y]):
        with pytest.raises(ValueError, match="learned for other classes.*got"):
            projector(prior=reference).fit(A, B, labels)
    # The same classes, stored in another order.
    turned = copy.deepcopy(reference)
    turned.classes_ = turned.classes_[::-1]
    with pytest.raises(ValueError, match="in another order"):
        projector(prior=turned).fit(A, B, y)
    with pytest.raises(ValueError, match="shape"):
        projector(prior=reference, embedding_dim=9).fit(A, B, y)


def test_a_refit_learns_its_prior_anew(reference):
    estimator = projector(random_state=1).fit(A, B, y)
    first = estimator.prior_
    assert_same_weights(estimator.set_params(random_state=0).fit(A, B, y), reference)
    assert not np.array_equal(estimator.prior_, first)


# -- training ------------------------------------------------------------------------


def test_history(reference):
    phases = ["prior_image", "prior_text", "image", "text"]
    assert [row["phase"] for row in reference.history_] == np.repeat(phases, 3).tolist()
    assert [row["epoch"] for row in reference.history_] == list(range(1, 13))
    first, second = reference.history_[0], reference.history_[-1]
    assert set(first) == {
        *("epoch", "phase", "q", "train_loss", "prior_image_loss", "quality"),
        "seconds",
    }
    assert set(second) == {
        *("epoch", "phase", "q", "train_loss", "text_loss", "label_loss"),
        *("consistency_loss", "recast_loss", "seconds"),
    }
    assert reference.n_iter_ == 12
    assert reference.loss_curve_ == [row["train_loss"] for row in reference.history_]


def test_exponents_grow_from_0_and_from_the_first_step():
    estimator = projector(q_step=0.3, q_max=0.5, max_epochs_prior=4).fit(A, B, y)
    for phase, exponents in (
        ("prior_text", [0, 0.3, 0.5, 0.5]),
        ("text", [0.3, 0.5, 0.5]),
    ):
        assert_allclose([row["q"] for row in rows_of(estimator, phase)], exponents)


def test_first_epoch_learns():
    """At q = 0 the release loses it to a loss of NaN without a gradient (9.1)."""
    recorder = Recorder()
    estimator = projector(callbacks=[recorder]).fit(A, B, y)
    assert rows_of(estimator, "prior_image")[0]["q"] == 0
    start, after = recorder.starts[0], recorder.weights[0]
    assert not torch.equal(after["prior.weight"], start["prior.weight"])
    assert all(math.isfinite(loss) for loss in estimator.loss_curve_)


@pytest.mark.parametrize("batch_size", [7, 32, 1024])
def test_every_row_plays_in_every_epoch(batch_size):
    """The release drops the tail, and everything where n < batch_size (9.7)."""
    recorder = Recorder()
    projector(batch_size=batch_size, max_epochs=2, callbacks=[recorder]).fit(A, B, y)
    for phase in ("prior_image", "text"):
        rows = torch.cat(recorder.by_phase[phase].rows).tolist()
        assert sorted(rows) == sorted([*range(90)] * 2)
        assert rows[:90] != rows[90:]


def test_training_mode_returns_after_every_evaluation():
    """eval() without train() switches the mixing off (9.5)."""

    class Modes(Callback):
        seen = []

        def on_batch_begin(self, net, training, **kwargs):
            self.seen.append((training, net.module_.training))

    projector(early_stopping=True, callbacks=[Modes]).fit(A, B, y)
    assert all(wanted == real for wanted, real in Modes.seen)
    assert {wanted for wanted, _ in Modes.seen} == {True, False}


def literal_recast_map(estimator, Z, y_query, y_gallery):
    """Let embeddings rank what the prior's inverse makes of every row of labels."""
    inverse = np.linalg.pinv(estimator.prior_.astype(float))
    gallery = []
    for row in y_gallery:
        r = row @ inverse
        gallery.append(r / np.linalg.norm(r))
    return mean_average_precision(
        Z, np.array(gallery), y_query, y_gallery, metric=estimator.metric
    )


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_early_stopping_watches_the_map_and_restores(metric):
    recorder = Recorder()
    params = {"early_stopping": True, "validation_fraction": 0.2, "metric": metric}
    estimator = projector(
        **params, max_epochs=40, n_iter_no_change=3, lr=0.03, callbacks=[recorder]
    ).fit(A, B, y)
    for modality, X in (("image", A), ("text", B)):
        rows = rows_of(estimator, modality)
        assert len(rows) < 40
        scores = [row["valid_map"] for row in rows]
        best = int(np.argmax(scores))
        assert len(rows) == best + 4
        states = recorder.by_phase[modality].weights
        key = f"encoders.{modality}.0.weight"
        assert torch.equal(estimator.module_.state_dict()[key], states[best][key])
        train, held_out = split_rows(y, estimator.validation_fraction)
        indicator = np.eye(3)[y]
        expected = literal_recast_map(
            estimator,
            estimator.transform_modality(X[held_out], modality),
            indicator[held_out],
            indicator[train],
        )
        assert scores[best] == pytest.approx(expected, abs=1e-6)
    # The first stage is not stopped, and has no held-out rows of its own.
    first = rows_of(estimator, "prior_image")
    assert len(first) == 40
    assert not {"valid_map", "valid_loss"} & set(first[0])


def test_validation_map_of_several_labels_and_rows_of_ones_own():
    """The recast labels of the training rows of that modality are the gallery."""
    X_img, X_txt, labels = make_cross_modal_classification(
        120, n_classes=4, multilabel=True, random_state=0
    )
    held_out = np.arange(80, 120)
    estimator = projector(
        early_stopping=True, lr=1e-2, n_iter_no_change=9, normalize_labels=True
    ).fit(
        {"image": X_img[:80], "text": X_txt[:50]},
        {"image": labels[:80], "text": labels[:50]},
        X_val={"image": X_img[held_out], "text": X_txt[held_out]},
        y_val=labels[held_out],
    )
    for modality, X, n_train in (("image", X_img, 80), ("text", X_txt, 50)):
        scores = [row["valid_map"] for row in rows_of(estimator, modality)]
        Z = estimator.transform_modality(X[held_out], modality)
        expected = literal_recast_map(estimator, Z, labels[held_out], labels[:n_train])
        assert max(scores) == pytest.approx(expected, abs=1e-6)


def test_validation_loss_has_a_fixed_exponent():
    """A growing exponent makes the loss fall by itself (9.4)."""
    recorder = Recorder()
    estimator = projector(
        early_stopping=True, n_iter_no_change=9, q_step=0.2, callbacks=[recorder]
    ).fit(A, B, y)
    for modality, X in (("image", A), ("text", B)):
        states = recorder.by_phase[modality].weights
        _, held_out = split_rows(y, estimator.validation_fraction)
        batch = Batch(
            {modality: torch.tensor(X[held_out]).float()},
            torch.eye(3)[torch.tensor(y[held_out])],
            None,
            {},
        )
        trained = copy.deepcopy(estimator)
        for row, state in zip(rows_of(estimator, modality), states, strict=True):
            trained.module_.load_state_dict(state)
            loss, _ = encoder_loss(
                trained.module_, batch, None, modality=modality, **options_of(trained)
            )
            assert_allclose(loss.item(), row["valid_loss"], rtol=1e-4)


def test_without_early_stopping_all_rows_and_epochs_count():
    estimator = projector(n_iter_no_change=1).fit(A, B, y)
    assert estimator.n_iter_ == 12
    assert not {"valid_map", "valid_loss"} & set(estimator.history_[-1])


def test_warm_start_continues_the_second_stage():
    # With q_step=None, the exponent would grow faster in a shorter training.
    params = {"max_epochs_prior": 3, "q_step": 0.01}
    once = projector(max_epochs=4, **params).fit(A, B, y)
    twice = projector(max_epochs=2, **params, warm_start=True)
    prior = twice.fit(A, B, y).prior_
    twice.fit(A, B, y)
    assert_array_equal(twice.prior_, prior)
    assert_same_weights(once, twice)
    phases = [row["phase"] for row in twice.history_]
    assert phases[6:] == ["image", "image", "text", "text"] * 2
    assert [row["q"] for row in rows_of(twice, "text")] == [
        row["q"] for row in rows_of(once, "text")
    ]


def test_a_loss_that_diverges_is_an_error():
    """The release ends with undefined variables (9.15)."""
    with pytest.raises(FloatingPointError, match="DRCLProjector prior_image: "):
        projector(lr_prior=1e38).fit(A, B, y)


@pytest.mark.parametrize("stage", ["lr", "lr_prior"])
def test_a_learning_rate_moves_its_stage(stage, reference):
    estimator = projector(keep_all_priors=True, **{stage: 2e-3}).fit(A, B, y)
    is_same = np.array_equal(estimator.priors_["image"], reference.priors_["image"])
    assert is_same == (stage == "lr")


def test_learning_rates_and_widths_by_modality(reference):
    """A list that is too short is an IndexError in the release (9.14)."""
    estimator = projector(lr={"image": 1e-3, "text": 1e-2}).fit(A, B, y)
    assert_array_equal(estimator.transform_image(A), reference.transform_image(A))
    assert (estimator.transform_text(B) != reference.transform_text(B)).any()
    sizes = {"image": (), "text": (7, 6), "audio": (5,)}
    networks = projector(hidden_layer_sizes=sizes).fit(A, B, y).module_["encoders"]
    shapes = {
        name: [tuple(w.shape) for n, w in part.named_parameters() if "weight" in n]
        for name, part in networks.items()
    }
    assert shapes == {"image": [(8, 6)], "text": [(7, 5), (6, 7), (8, 6)]}
    assert networks["text"][-2].bias is None


@pytest.mark.parametrize("output_init", ["input_dim", "default"])
def test_output_init(output_init):
    estimator = projector(output_init=output_init, hidden_layer_sizes=(400,))
    torch.manual_seed(0)
    weights = estimator._build_modality("image", 16)["encoders"][-2].weight
    bound = 1 / 4 if output_init == "input_dim" else 1 / 20
    assert 0.98 * bound < weights.abs().max() <= bound


# -- ablations and options -----------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {"consistency_weight": 0},
        {"recast_weight": 0},
        {"recast_weight": 1.0, "recast_reduction": "sum"},
        {"consistency_weight": 0, "recast_weight": 0, "mix_lambda": 1.0},
        {"label_weight": 0},
        {"weight_decay": 0.1},
        {"mix_lambda": 1.0},
        {"dropout": 0},
        {"q_max": 0},
        {"q_step": 1},
    ],
)
def test_every_switch_has_an_effect(params, reference):
    W = reference.prior_
    full = projector(prior=W, lr=1e-2).fit(A, B, y)
    estimator = projector(prior=W, lr=1e-2, **params).fit(A, B, y)
    assert (estimator.transform_image(A) != full.transform_image(A)).any()
    assert all(math.isfinite(loss) for loss in estimator.loss_curve_)


def test_plain_losses_by_the_exponent():
    cross_entropy = projector(q_max=0).fit(A, B, y)
    assert {row["q"] for row in cross_entropy.history_} == {0}
    absolute_error = projector(q_step=1, q_max=1).fit(A, B, y)
    assert {row["q"] for row in rows_of(absolute_error, "image")} == {1}


def test_mixing_with_1_equals_none(reference):
    one_epoch = {"prior": reference.prior_, "mix_lambda": 1.0, "max_epochs": 1}
    one_epoch |= {"dropout": 0.0, "batch_size": 90}
    estimator = projector(**one_epoch).fit(A, B, y)
    start = projector(**one_epoch, lr=1e-12).fit(A, B, y)
    labels = torch.eye(3)[torch.tensor(y)]
    options = options_of(start)
    batch = Batch({"image": torch.tensor(A).float()}, labels, None, {})
    loss, _ = encoder_loss(start.module_, batch, None, modality="image", **options)
    assert_allclose(estimator.loss_curve_[0], loss.item(), rtol=1e-4)


def test_several_labels_a_row():
    X_img, X_txt, labels = make_cross_modal_classification(
        120, n_classes=4, multilabel=True, random_state=0
    )
    learning = {"max_epochs": 20, "lr": 1e-2, "lr_prior": 1e-2}
    recasting = {"recast_weight": 1.0, "recast_reduction": "sum"}
    scores = []
    for normalize in (False, True):
        estimator = projector(normalize_labels=normalize, **learning, **recasting)
        scores.append(estimator.fit(X_img, X_txt, labels).score(X_img, X_txt, labels))
        p = estimator.predict_proba(make_pairs(X_img, X_txt))
        assert_allclose(p.sum(1), 1, rtol=1e-5)
    assert scores[0] != scores[1]
    Z = np.random.default_rng(0).normal(size=(2, 120, 8))
    assert min(scores) > mean_average_precision(*Z, labels, labels) + 0.1


def test_rows_without_a_label_are_refused():
    labels = np.eye(3, dtype=int)[y]
    labels[4] = 0
    with pytest.raises(ValueError, match="have no label"):
        projector().fit(A, B, labels)


@pytest.mark.parametrize("n_classes", [3, 300])
def test_the_default_width_has_room_for_all_classes(n_classes):
    labels = np.zeros((90, n_classes), dtype=int)
    labels[np.arange(90), y] = labels[:, 3:] = 1
    estimator = projector(embedding_dim=None, max_epochs=1, prior="orthogonal")
    estimator.set_params(warm_start=True).fit(A, B, labels).fit(A, B, labels)
    width = max(256, n_classes)
    assert estimator.prior_.shape == (width, n_classes)
    assert estimator.transform_text(B).shape == (90, width)
    assert len(estimator.get_feature_names_out()) == 2 * width
    other = DRCLProjector(prior=estimator, max_epochs=1).fit(A, B, labels)
    assert_array_equal(other.prior_, estimator.prior_)
    estimator.set_params(embedding_dim=width).fit(A, B, labels)
    with pytest.raises(ValueError, match=f"expected {width} for each"):
        estimator.set_params(embedding_dim=width + 1).fit(A, B, labels)


@pytest.mark.parametrize("phase", ["prior_image", "image"])
def test_dropout_is_a_matter_of_training(phase):
    """Zeros go into every layer while it learns, and into none that encodes."""
    seen = []

    class Inputs(Callback):
        def on_train_begin(self, net, **kwargs):
            encoder = net.module_["encoders"]["image"]
            for layer in (encoder[0], encoder[2]):
                layer.register_forward_hook(self.look)

        @staticmethod
        def look(layer, inputs, output):
            seen.append((inputs[0] == 0).float().mean().item())

    params = {"callbacks": [Inputs], "max_epochs": 1, "dropout": 0.5}
    params |= {"prior": "select" if phase == "prior_image" else "orthogonal"}
    projector(**params).fit({"image": A}, y)
    assert 0.4 < seen[0] < 0.6 and seen[1] > 0.5
    seen.clear()
    projector(**params | {"dropout": 0.0}).fit({"image": A}, y)
    assert seen[0] == 0


def test_one_feature_column_is_a_feature():
    """The release would take it for labels (9.8)."""
    estimator = projector().fit(A[:, :1], B, y)
    assert estimator.module_["encoders"]["image"][0].in_features == 1
    assert estimator.transform_image(A[:, :1]).shape == (90, 8)


def test_embeddings_have_unit_length(reference):
    for Z in reference.transform(A, B):
        assert_allclose(np.linalg.norm(Z, axis=1), 1, rtol=1e-5)


def test_predict_proba_is_the_softmax_through_the_prior(reference):
    Z = reference.transform_text(B)
    logits = Z @ reference.prior_
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    p = reference.predict_proba(B, modality="text")
    assert_allclose(p, expected, rtol=1e-4)


def test_predict_proba_takes_no_second_array(reference):
    with pytest.raises(TypeError, match=r"predict_proba\(make_pairs\(X_img, X_txt\)\)"):
        reference.predict_proba(A, B)


def test_encoder_gives_the_embedding_of_transform(reference):
    check_encoder(reference, {"image": A, "text": B})


@pytest.mark.parametrize("prior", ["select", "orthogonal", "given"])
def test_predict_proba_needs_the_label_loss(prior, reference):
    """A prior that is learned does not help: the encoders start anew without it."""
    prior = reference.prior_ if prior == "given" else prior
    estimator = projector(label_weight=0, prior=prior).fit(A, B, y)
    with pytest.raises(ValueError, match="needs encoders that were trained.*label_wei"):
        estimator.predict_proba(make_pairs(A, B))
    # What counts is what was fitted.
    estimator.set_params(label_weight=1, warm_start=True)
    with pytest.raises(ValueError, match="fit with label_weight > 0"):
        estimator.predict_proba(A, "image")
    estimator.fit(A, B, y)
    assert_allclose(estimator.predict_proba(make_pairs(A, B)).sum(1), 1, rtol=1e-5)


def test_pickling_keeps_prior_and_classes():
    labels = np.array(["c", "a", "b"])[y]
    estimator = projector().fit(A, B, labels)
    loaded = pickle.loads(pickle.dumps(estimator))
    assert_array_equal(loaded.classes_, ["a", "b", "c"])
    assert_array_equal(loaded.prior_, estimator.prior_)
    assert_array_equal(loaded.transform_image(A), estimator.transform_image(A))
    assert not loaded.module_["prior"].weight.requires_grad
    assert_same_weights(projector(prior=loaded).fit(A, B, labels), estimator)


# -- quality -------------------------------------------------------------------------


def test_it_learns_to_retrieve():
    scores = {}
    for name, scale in {"full": 1, "no loss": 0}.items():
        weights = {
            "label_weight": scale,
            "consistency_weight": 0.1 * scale,
            "recast_weight": 0.1 * scale,
        }
        learning = {"dropout": 0.0, "max_epochs": 40, "lr": 1e-2, "lr_prior": 1e-2}
        estimator = projector(**learning, **weights)
        scores[name] = estimator.fit(A, B, y).score(A, B, y)
    assert scores["full"] > 0.7 > scores["no loss"] + 0.2


@pytest.mark.slow
def test_the_label_loss_carries_the_quality(real_data):
    """And a prior that is learned is no worse than an orthogonal one."""
    train, test = standardize(real_data("wiki_sift_lda"))
    # The epoch is selected on held-out rows, as in the published procedure.
    recipe = {
        "embedding_dim": 64,
        "hidden_layer_sizes": (128, 128),
        "dropout": 0.0,
        "prior": "select",
        "recast_reduction": "mean",
        "batch_size": 256,
        "lr": {"image": 2e-4, "text": 2e-3},
        "lr_prior": 1e-3,
        "max_epochs": 50,
        "early_stopping": True,
        "n_iter_no_change": 50,
    }

    def fit_and_score(**params):
        estimator = DRCLProjector(random_state=0, **recipe | params)
        estimator.fit(*train)
        return estimator.prior_, estimator.score(*test)

    prior, learned = fit_and_score()
    assert learned > fit_and_score(prior="orthogonal")[1] - 0.01
    assert fit_and_score(prior=prior, label_weight=0)[1] < 0.16 < learned - 0.05


def test_released_outputs_of_a_trained_model(real_data):
    """Published embeddings, probabilities and prior for 462 pairs of Wikipedia."""
    released = real_data("drcl_wiki_released")
    W, labels = released["W"], released["y"]
    prior = Prior(torch.tensor(W), None).freeze()
    accuracies = []
    for modality in ("image", "text"):
        f = torch.tensor(released[modality])
        assert_allclose(f.norm(dim=1), 1, rtol=1e-5)
        p = prior(f).detach().numpy()
        assert_allclose(p, released[f"{modality}_pred"], atol=5e-6)
        accuracies.append(np.mean(p.argmax(1) == labels))
    assert_allclose(accuracies, [0.561, 0.855], atol=1e-3)
    # What the inverse of that prior is, and what it makes of a label.
    singular = np.linalg.svd(W, compute_uv=False)
    assert_allclose(singular[[-1, 0]], [1.92, 5.89], atol=0.01)
    assert_allclose(np.linalg.norm(W, axis=0), 5.2, atol=0.25)
    r = torch.eye(10) @ prior.inverse
    assert_allclose(r.norm(dim=1), 0.25, atol=0.04)
    assert_allclose(r @ prior.weight.detach(), np.eye(10), atol=1e-5)
    own = prior(r).detach().diag()
    assert_allclose(own, math.e / (math.e + 9), rtol=1e-5)


def test_a_released_prior_can_be_given(real_data):
    """The second stage, and what it trains, take it as it is."""
    W = real_data("drcl_wiki_released")["W"]
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 6)
    parts = [5 * np.eye(10, d)[labels] + rng.normal(size=(60, d)) for d in (12, 11)]
    estimator = projector(embedding_dim=2048, prior=W, max_epochs=30)
    estimator.fit(*parts, labels)
    assert_array_equal(estimator.prior_, W)
    assert estimator.quality_scores_ == {}
    hits = estimator.predict_proba(make_pairs(*parts)).argmax(1) == labels
    assert hits.mean() > 0.9
