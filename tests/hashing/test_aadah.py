"""AADAHHasher against the formulas, its degenerate cases and its promises."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_cmr import AADAHHasher, make_pairs
from sklearn_cmr.datasets import (
    make_cross_modal_classification,
    make_cross_modal_regions,
)
from sklearn_cmr.hashing._aadah.losses import Ranking, attention_loss, hashing_loss
from sklearn_cmr.hashing._aadah.networks import AttentionHash, attend
from sklearn_cmr.metrics import map_scorer, mean_average_precision
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
    "hash_hidden_layer_sizes": (),
    "lr": 2e-3,
    "batch_size": 30,
    "max_epochs": 3,
    "attention_every": 2,
    "random_state": 0,
}
LEARNING = {"hidden_layer_sizes": (64,), "lr": 1e-2, "max_epochs": 30}
A, B, y = make_cross_modal_classification(
    90, n_image_features=6, n_text_features=5, n_classes=3, random_state=0
)
REGIONS, CAPTIONS, _ = make_cross_modal_regions(
    90,
    n_regions=4,
    min_regions=2,
    n_image_features=6,
    n_text_features=5,
    n_classes=3,
    random_state=0,
)


def hasher(**params):
    return AADAHHasher(**SMALL | params)


@pytest.fixture(scope="module")
def reference():
    return hasher().fit(A, B, y)


@pytest.fixture(scope="module")
def of_regions():
    return hasher().fit(REGIONS, CAPTIONS, y)


# -- the losses, triplet by triplet ----------------------------------------------


def literal_mask(logits, present, threshold=1.0):
    """Softmax over what is present, and what reaches its share of it."""
    P, Z = np.zeros(logits.shape), np.zeros(logits.shape)
    for i, row in enumerate(logits):
        there = np.flatnonzero(present[i])
        e = np.exp(row[there] - row[there].max())
        P[i, there] = e / e.sum()
        Z[i, there] = P[i, there] >= threshold / len(there) - 1e-7
    return P, Z


def literal_distance(x, z, distance):
    squared = ((x - z) ** 2).sum() / (4 * len(x))
    return squared if distance == "sqeuclidean" else math.sqrt(squared)


def literal_similarity(u, v, similarity):
    common = int((u * v).sum())
    if similarity == "count":
        return common
    if similarity == "cosine":
        return round(common / math.sqrt(u.sum() * v.sum()), 9)
    return common > 0


def literal_term(X, Z, y_x, y_z, rows_x, rows_z, options, wrong_order=False):
    """F(X, Z); rows are None across modalities."""
    cost, n_valid, n_active = 0.0, 0, 0
    for i, j, k in itertools.product(range(len(X)), range(len(Z)), range(len(Z))):
        if rows_x is not None and (rows_x[i] == rows_z[j] or rows_x[i] == rows_z[k]):
            continue
        s_ij = literal_similarity(y_x[i], y_z[j], options["similarity"])
        s_ik = literal_similarity(y_x[i], y_z[k], options["similarity"])
        if (s_ik > s_ij) if wrong_order else (s_ij > s_ik):
            n_valid += 1
            d_ij = literal_distance(X[i], Z[j], options["distance"])
            d_ik = literal_distance(X[i], Z[k], options["distance"])
            cost += max(0.0, options["margin"] + d_ij - d_ik)
            n_active += options["margin"] + d_ij - d_ik > 0
    divisor = {"valid": n_valid, "active": n_active, "sum": 1}[options["reduction"]]
    return cost / max(1, divisor)


def literal_codes(network, f, mask):
    """Codes of masked features, pooled over the regions if there are some."""
    if f.ndim == 3:
        total = (f * mask[..., None]).sum(1)
        f = total / np.maximum(1, mask.sum(1))[:, None]
        if network.pooling == "sum":
            f = total
    else:
        f = f * mask
    return network.hashing(torch.tensor(f)).numpy()


def literal_parts(module, batch):
    """Attended and unattended codes by modality, with masks by hand."""
    H, U = {}, {}
    for name, X in batch.features.items():
        network = module["encoders"][name]
        X = X.numpy()
        has_regions = X.ndim == 3
        present = ~np.isnan(X[..., 0]) if has_regions else None
        with torch.no_grad():
            f = network.features(torch.tensor(np.nan_to_num(X))).numpy()
            if not has_regions:
                present = np.ones(f.shape, dtype=bool)
            Z = present.astype(float)
            if network.attention is not None:
                logits = network.attention(torch.tensor(f)).numpy()
                _, Z = literal_mask(logits.reshape(present.shape), present)

            H[name] = literal_codes(network, f, Z)
            if network.attention is not None:
                U[name] = literal_codes(network, f, present - Z)
    return H, U


def literal_losses(module, batch, weights, options, kind="flipped"):
    """Return the terms of the first step, and the loss of the second."""
    H, U = literal_parts(module, batch)
    names = list(batch.features)
    y, rows = batch.y.numpy(), batch.rows.numpy()
    is_paired = rows.ndim == 1
    y = {m: y if is_paired else y[i] for i, m in enumerate(names)}
    rows = {m: rows if is_paired else rows[i] for i, m in enumerate(names)}
    n = len(names)

    def term(queries, gallery, a, b, wrong_order=False):
        own = (rows[a], rows[b]) if a == b else (None, None)
        return literal_term(
            queries[a], gallery[b], y[a], y[b], *own, options, wrong_order
        )

    pairs = [(a, b) for a in names for b in names if a != b]
    scale = 2 / (n * (n - 1))
    terms = {
        "inter_loss": scale * sum(term(H, H, a, b) for a, b in pairs),
        "intra_loss": 2 / n * sum(term(H, H, a, a) for a in names),
        "adversarial_loss": scale * sum(term(H, U, a, b) for a, b in pairs if b in U),
        "quantization_loss": np.mean([np.mean((np.abs(H[a]) - 1) ** 2) for a in names]),
    }
    flips = kind == "flipped"
    adversary = scale * sum(term(H, U, a, b, flips) for a, b in pairs if b in U)
    loss = sum(weights[name] * value for name, value in terms.items())
    return terms, loss, adversary if flips else -adversary


def make_network(kind, n_inputs, pooling="mean", **options):
    width = 5
    attention = {"regions": nn.Linear(width, 1), "features": nn.Linear(width, width)}
    return AttentionHash(
        nn.Sequential(nn.Linear(n_inputs, width), nn.ReLU()),
        attention.get(kind.split()[0]) if "plain" not in kind else None,
        nn.Sequential(nn.Linear(width, 4), nn.Tanh()),
        **{"pooling": pooling, "threshold": 1.0, "gradient": "ste", "inference": "hard"}
        | options,
    ).double()


def draw_labels(*args):
    return torch.tensor(make_labels(*args)).double()


def make_problem(kinds, labels="single", paired=True, n=6, seed=0, **options):
    """Networks and a batch of modalities m0, m1 and so on, one of each kind."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    encoders, features = nn.ModuleDict(), {}
    for i, kind in enumerate(kinds):
        encoders[f"m{i}"] = make_network(kind, 3, **options)
        shape = (n, 4, 3) if "regions" in kind else (n, 3)
        X = rng.normal(size=shape)
        if "regions" in kind:
            X[rng.random((n, 4)) < 0.3] = np.nan
            X[:, 0] = rng.normal(size=(n, 3))
        features[f"m{i}"] = torch.tensor(X)
    rows = torch.tensor(rng.permutation(50)[:n])
    Y = draw_labels(labels, n, 4, rng)
    if not paired:
        # A modality of few rows may have one twice in a batch.
        rows = torch.tensor(rng.integers(0, n + 2, (len(kinds), n)))
        by_row = [draw_labels(labels, n + 2, 4, rng) for _ in kinds]
        Y = torch.stack([own[r] for own, r in zip(by_row, rows, strict=True)])
    return nn.ModuleDict({"encoders": encoders}), Batch(features, Y, rows, {})


def make_state(masked=1.0):
    return EpochState({"masked": torch.tensor(masked)}, torch.Generator())


WEIGHTS = {
    "inter_loss": 1.0,
    "intra_loss": 1.0,
    "adversarial_loss": 1.0,
    "quantization_loss": 0.0,
}
RANKING = {
    "distance": "euclidean",
    "similarity": "binary",
    "margin": 0.1,
    "reduction": "valid",
}
weight = st.sampled_from([0.0, 0.3, 2.0])


@settings(max_examples=60, deadline=None)
@given(
    kinds=st.lists(
        st.sampled_from(["regions", "features", "features plain", "regions plain"]),
        min_size=2,
        max_size=3,
    ),
    labels=st.sampled_from(["single", "multi", "one class"]),
    paired=st.booleans(),
    n=st.integers(1, 6),
    seed=st.integers(0, 2**31 - 1),
    pooling=st.sampled_from(["mean", "sum"]),
    weights=st.fixed_dictionaries(dict.fromkeys(WEIGHTS, weight)),
    kind=st.sampled_from(["flipped", "maximize"]),
    options=st.fixed_dictionaries(
        {
            "distance": st.sampled_from(["euclidean", "sqeuclidean"]),
            "similarity": st.sampled_from(["binary", "count", "cosine"]),
            "margin": st.sampled_from([0.05, 0.4]),
            "reduction": st.sampled_from(["valid", "active", "sum"]),
        }
    ),
)
def test_losses_equal_the_formulas(
    kinds, labels, paired, n, seed, pooling, weights, kind, options
):
    module, batch = make_problem(kinds, labels, paired, n, seed, pooling=pooling)
    has_attention = any("plain" not in own for own in kinds)
    ranked = [weights["inter_loss"], weights["intra_loss"]]
    if not any([*ranked, weights["adversarial_loss"] * has_attention]):
        weights["inter_loss"] = 1.0
    expected, expected_loss, expected_game = literal_losses(
        module, batch, weights, options, kind
    )
    ranking = Ranking(**options)
    loss, terms = hashing_loss(
        module, batch, make_state(), ranking=ranking, weights=weights
    )
    tolerance = {"rtol": 2e-3, "atol": 2e-4 if options["reduction"] != "sum" else 2e-2}
    for name, value in expected.items():
        if name in terms:
            assert_allclose(terms[name].item(), value, err_msg=name, **tolerance)
        else:
            assert weights[name] == 0 or value == 0
    assert_allclose(loss.item(), expected_loss, **tolerance)
    if has_attention:
        game, _ = attention_loss(
            module,
            batch,
            make_state(),
            ranking=ranking,
            kind=kind,
            detach_query=True,
        )
        assert_allclose(game.item(), expected_game, **tolerance)


@pytest.mark.parametrize("n_modalities", [2, 3])
@pytest.mark.parametrize("distance", ["euclidean", "sqeuclidean"])
def test_collapsed_codes_cost_six_margins(n_modalities, distance):
    """Every term is the margin; more modalities keep the weights as they are."""
    module, batch = make_problem(["features"] * n_modalities, n=8)
    for network in module["encoders"].values():
        nn.init.zeros_(network.hashing[0].weight)
        nn.init.ones_(network.hashing[0].bias)
    ranking = Ranking(**RANKING | {"margin": 0.2, "distance": distance})
    loss, terms = hashing_loss(
        module, batch, make_state(), ranking=ranking, weights=WEIGHTS
    )
    for name in ("inter_loss", "intra_loss", "adversarial_loss"):
        assert terms[name].item() == pytest.approx(0.4)
    assert loss.item() == pytest.approx(1.2)


def test_codes_of_zero_are_as_far_from_their_signs_as_can_be():
    """The code of 0 is +1, and it has a slope towards there."""
    module, batch = make_problem(("features", "features"), n=4)
    for network in module["encoders"].values():
        nn.init.zeros_(network.hashing[-2].weight)
        nn.init.zeros_(network.hashing[-2].bias)
    weights = WEIGHTS | {"quantization_loss": 1.0}
    loss, terms = hashing_loss(
        module, batch, make_state(), ranking=Ranking(**RANKING), weights=weights
    )
    assert terms["quantization_loss"].item() == 1
    slope = torch.autograd.grad(loss, module["encoders"]["m0"].hashing[-2].bias)[0]
    assert (slope < 0).all()


def test_opposite_codes_by_hand():
    """K = 2, squared distances 0 and 1: nothing, or 1 + margin with swapped labels."""
    codes = torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    labels = torch.eye(2, dtype=torch.float64)
    batch = Batch({"a": None, "b": None}, labels, torch.arange(2), {})
    ranking = Ranking("sqeuclidean", "binary", 0.1, "valid")
    for gallery, expected in ((codes, 0), (-codes, 1.1)):
        losses, _, n_valid = ranking.losses(batch, [("a", codes, "b", gallery)])
        assert losses.item() == pytest.approx(expected)
        assert n_valid.item() == 2


def test_valid_triplets_of_several_labels():
    """Sharing labels is not transitive: 0 and 2 share them with 1, not together."""
    labels = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]])
    batch = Batch({"a": None, "b": None}, labels, torch.arange(4), {})
    codes = torch.zeros(4, 2)
    ranking = Ranking(**RANKING)
    terms = [("a", codes, "b", codes), ("a", codes, "a", codes)]
    *_, n_valid = ranking.losses(batch, terms)
    # Positives and negatives: 2 * 2, 3 * 1, 2 * 2, 1 * 3; without the anchor itself
    # 1 * 2, 2 * 1, 1 * 2 and none.
    assert n_valid.tolist() == [14, 6]


def test_rows_in_a_batch_twice_do_not_rank_themselves():
    labels = torch.eye(2)[[0, 0, 1]]
    codes = torch.zeros(3, 2)
    batch = Batch({"a": None, "b": None}, labels, torch.tensor([5, 5, 7]), {})
    *_, n_valid = Ranking(**RANKING).losses(batch, [("a", codes, "a", codes)])
    assert n_valid.item() == 0


def test_equal_cosines_are_equal():
    """1 / sqrt(3 * 1) and 3 / sqrt(3 * 9), and alike, must not differ by rounding."""
    labels = np.zeros((4, 30), dtype=np.float32)
    labels[0, :5] = labels[1, 0] = labels[2, [0, 1, 2, *range(10, 16)]] = 1
    labels[3, 20:25] = 1
    Y = torch.tensor(labels)
    rows = torch.tensor([[0, 0, 0, 0], [0, 1, 2, 3]])
    batch = Batch({"a": None, "b": None}, Y[rows], rows, {})
    codes = torch.zeros(4, 2)
    ranking = Ranking(**RANKING | {"similarity": "cosine"})
    *_, n_valid = ranking.losses(batch, [("a", codes, "b", codes)])
    # Four times row 0: itself before 1 and 2, which are equal, and these before 3.
    assert n_valid.item() == 4 * (3 + 2)


# -- attention -----------------------------------------------------------------------

present_all = torch.ones(50, 7, dtype=torch.bool)


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_something_is_attended_and_not_all(scale):
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(50, 7, generator=generator)
    P, Z = attend(logits, present_all, 1.0, None)
    assert_allclose(P.sum(1), 1, rtol=1e-5)
    assert ((Z == 0) | (Z == 1)).all()
    assert (Z.sum(1) >= 1).all() and (Z.sum(1) <= 6).all()
    assert torch.equal(Z == 1, P >= 1 / 7)


@pytest.mark.parametrize("value", [0.0, 1e-3, -7.3, 1e4])
@pytest.mark.parametrize("n_regions", [2, 3, 7, 49, 1000])
def test_equal_logits_attend_to_all(value, n_regions):
    """In spite of rounding, which may put R times 1 / R below 1."""
    logits = torch.full((3, n_regions), value)
    _, Z = attend(logits, torch.ones_like(logits, dtype=torch.bool), 1.0, None)
    assert (Z == 1).all()


def test_equal_logits_attend_to_all_of_any_number():
    """Rounding depends on the processor: some number puts the share below 1 / R."""
    for n_regions in range(2, 1001):
        logits = torch.zeros(1, n_regions)
        _, Z = attend(logits, torch.ones_like(logits, dtype=torch.bool), 1.0, None)
        assert (Z == 1).all(), n_regions


@pytest.mark.parametrize("threshold", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("error", [0.0, -3e-7, -3e-6, 3e-7])
def test_rounding_errors_are_tolerated_and_no_more(threshold, error):
    """A share that falls short by a few units in the last place is reached."""
    share = threshold * (1 + error) / 4
    others = (1 - share) / 3
    logits = torch.tensor([[share, others, others, others]], dtype=torch.float64).log()
    _, Z = attend(logits, torch.ones_like(logits, dtype=torch.bool), threshold, None)
    assert Z[0, 0] == (error > -1e-6)


def test_each_item_has_its_own_number_of_regions():
    logits = torch.tensor([[1.0, 0.0, 50.0, 50.0], [0.0, 0.0, 0.0, 1.0]])
    present = torch.tensor([[True, True, False, False], [True] * 4])
    P, Z = attend(logits, present, 1.0, None)
    assert_allclose(P[0], [math.e / (1 + math.e), 1 / (1 + math.e), 0, 0], rtol=1e-6)
    assert Z.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]
    for gradient in ("ste", "ste_raw", "soft"):
        _, mask = attend(logits, present, 1.0, gradient)
        assert (mask[0, 2:] == 0).all()


def test_threshold_in_units_of_the_share():
    logits = torch.log(torch.tensor([[0.1, 0.15, 0.25, 0.5]]))
    everything = torch.ones(1, 4, dtype=torch.bool)
    for threshold, expected in (
        (0.4, [1, 1, 1, 1]),
        (0.5, [0, 1, 1, 1]),
        (1.0, [0, 0, 1, 1]),
        (2.0, [0, 0, 0, 1]),
        (2.5, [0, 0, 0, 0]),
    ):
        _, Z = attend(logits, everything, threshold, None)
        assert Z.tolist() == [expected], threshold


@pytest.mark.parametrize("gradient", ["ste", "ste_raw", "soft"])
@pytest.mark.parametrize("threshold", [1.0, 0.7])
def test_mask_gradients(gradient, threshold):
    """dZ/dP times the Jacobian of the softmax, by hand."""
    logits = torch.tensor([[3.0, 0.5, 0.4, -1.0], [0.1, 0.0, 0.2, 9.9]]).double()
    present = torch.tensor([[True] * 4, [True, True, True, False]])
    logits.requires_grad_()
    P, Z = attend(logits, present, threshold, gradient)
    weights = torch.tensor([[1.0, -2.0, 3.0, 0.5], [2.0, 1.0, -1.0, 4.0]]).double()
    (found,) = torch.autograd.grad((Z * weights).sum(), logits)
    for i, n in enumerate((4, 3)):
        p = P[i, :n].detach().numpy()
        u = n * p - threshold
        if gradient == "ste":
            # The first region has n P - threshold = 2.4, where nothing passes.
            slope = np.where(np.abs(u) <= 1, n, 0)
            assert (slope[0] == 0) == (i == 0)
        elif gradient == "ste_raw":
            slope = np.ones(n)
        else:
            s = 1 / (1 + np.exp(-5 * u))
            assert_allclose(Z[i, :n].detach(), s)
            slope = 5 * n * s * (1 - s)
        if gradient != "soft":
            assert_array_equal(Z[i, :n].detach(), p >= threshold / n)
        jacobian = np.diag(p) - np.outer(p, p)
        expected = jacobian @ (slope * weights[i, :n].numpy())
        assert_allclose(found[i, :n], expected, atol=1e-12)
    assert found[1, 3] == 0


@pytest.mark.parametrize("kind", ["regions", "features"])
def test_attended_and_unattended_are_the_whole(kind):
    module, batch = make_problem([kind, kind], n=20)
    network = module["encoders"]["m0"]
    f, present = network.extract(batch.features["m0"])
    Z = network.mask(f, present)
    whole = present.to(f.dtype)
    parts = [part.unsqueeze(-1) if f.ndim == 3 else part for part in (Z, whole - Z)]
    selected = f * (whole.unsqueeze(-1) if f.ndim == 3 else whole)
    assert torch.equal(f * parts[0] + f * parts[1], selected)


def gradients_of(loss, module):
    named = dict(module.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return dict(zip(named, found, strict=True))


def is_moved(gradient):
    return gradient is not None and bool((gradient != 0).any())


def is_common_to_all_regions(name, parameter):
    """Tell the bias that is added to the logits of all regions: it has no effect."""
    return name.endswith(".attention.bias") and parameter.numel() == 1


@pytest.mark.parametrize("kinds", [("regions", "features"), ("features", "features")])
@pytest.mark.parametrize("mask_gradient", ["ste", "ste_raw", "soft"])
def test_each_step_has_gradients_of_its_own(kinds, mask_gradient):
    module, batch = make_problem(kinds, n=12, gradient=mask_gradient)
    ranking = Ranking(**RANKING)
    loss, _ = hashing_loss(
        module, batch, make_state(), ranking=ranking, weights=WEIGHTS
    )
    for name, gradient in gradients_of(loss, module).items():
        assert is_moved(gradient) == (".attention." not in name), name
    game = {"ranking": ranking, "kind": "flipped", "detach_query": True}
    loss, _ = attention_loss(module, batch, make_state(), **game)
    for name, gradient in gradients_of(loss, module).items():
        if gradient is not None and is_common_to_all_regions(name, gradient):
            assert_allclose(gradient, 0, atol=1e-12)
        elif ".attention." in name:
            assert is_moved(gradient), name
        elif ".features." in name:
            assert gradient is None, name


def test_without_an_adversary_the_other_terms_teach_attention():
    module, batch = make_problem(("regions", "features"), n=12)
    weights = WEIGHTS | {"adversarial_loss": 0.0}
    loss, terms = hashing_loss(
        module, batch, make_state(), ranking=Ranking(**RANKING), weights=weights
    )
    assert "adversarial_loss" not in terms
    for name, gradient in gradients_of(loss, module).items():
        if not is_common_to_all_regions(name, gradient):
            assert is_moved(gradient), name


def test_the_query_is_a_constant_or_not():
    """Text queries move the text's attention only if they are not detached."""
    module, batch = make_problem(("features", "features"), n=12)
    kept = module["encoders"]["m1"].attention
    gradients = {}
    for detach in (True, False):
        loss, _ = attention_loss(
            module,
            batch,
            make_state(),
            ranking=Ranking(**RANKING),
            kind="maximize",
            detach_query=detach,
        )
        gradients[detach] = torch.autograd.grad(loss, kept.weight)[0]
    # By hand: the term in which the text is ranked, and that in which it ranks.
    codes, others = {}, {}
    for name, X in batch.features.items():
        f, present = module["encoders"][name].extract(X)
        Z = module["encoders"][name].mask(f.detach(), present)
        codes[name] = module["encoders"][name].encode(f.detach(), Z)
        others[name] = module["encoders"][name].encode(
            f.detach(), present.to(f.dtype) - Z
        )
    ranking = Ranking(**RANKING)
    (ranked,), *_ = ranking.losses(
        batch, [("m0", codes["m0"].detach(), "m1", others["m1"])]
    )
    (ranks,), *_ = ranking.losses(
        batch, [("m1", codes["m1"], "m0", others["m0"].detach())]
    )
    own, queries = (
        torch.autograd.grad(-loss, kept.weight, retain_graph=True)[0]
        for loss in (ranked, ranks)
    )
    assert_allclose(gradients[True], own, atol=1e-12)
    assert_allclose(gradients[False], own + queries, atol=1e-12)
    assert is_moved(queries)


@pytest.mark.parametrize("frozen", ["lr", "lr_attention"])
def test_players_move_their_own_networks_alone(frozen):
    """A step too short to be seen leaves the others bit-identical."""
    recorder = Recorder()
    estimator = hasher(**{"lr_attention": 2e-3, frozen: 1e-60}, callbacks=[recorder])
    estimator.fit(REGIONS, CAPTIONS, y)
    for name, value in weights_of(estimator).items():
        is_still = (".attention." in name) == (frozen == "lr_attention")
        assert torch.equal(value, recorder.starts[0][name]) == is_still, name


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_warm_up_attends_to_all(weight_decay):
    recorder = Recorder()
    estimator = hasher(
        warmup_epochs=2, weight_decay=weight_decay, callbacks=[recorder]
    ).fit(A, B, y)
    assert [row["masked"] for row in estimator.history_] == [0, 0, 1]
    assert [row["adversarial_loss"] > 0 for row in estimator.history_] == [0, 0, 1]
    assert ["attention_loss" in row for row in estimator.history_] == [0, 0, 1]
    for name, value in recorder.starts[0].items():
        if ".attention." in name:
            assert torch.equal(recorder.weights[1][name], value), name
            assert not torch.equal(recorder.weights[2][name], value), name


# -- regions -------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_order_of_regions_and_padding_change_nothing(pooling):
    estimator = hasher(region_pooling=pooling).fit(REGIONS, CAPTIONS, y)
    real = estimator.encode(REGIONS, "image", output="real")
    shuffled = REGIONS[:, [2, 0, 3, 1]]
    padded = np.concatenate([REGIONS, np.full((90, 3, 6), np.nan)], axis=1)
    for X in (shuffled, padded):
        found = estimator.encode(X, "image", output="real")
        assert_allclose(found, real, atol=1e-5)
        for part in ("unattended", "full"):
            expected = estimator.encode(REGIONS, "image", part=part, output="real")
            found = estimator.encode(X, "image", part=part, output="real")
            assert_allclose(found, expected, atol=1e-5)
    P, Z = estimator.attention(REGIONS, "image")
    P_padded, Z_padded = estimator.attention(padded, "image")
    assert_allclose(P_padded[:, :4], P, atol=1e-6)
    assert_array_equal(Z_padded[:, :4], Z)
    assert (P_padded[:, 4:] == 0).all() and not Z_padded[:, 4:].any()


def test_flattened_regions_keep_their_order():
    estimator = hasher(region_pooling="flatten").fit(REGIONS, CAPTIONS, y)
    assert estimator.module_["encoders"]["image"].hashing[0].in_features == 4 * 16
    real = estimator.encode(REGIONS, "image", output="real")
    turned = estimator.encode(REGIONS[:, ::-1], "image", output="real")
    assert np.abs(real - turned).max() > 1e-3
    with pytest.raises(ValueError, match="X has 3 regions"):
        estimator.transform_image(REGIONS[:, :3])


def test_one_region_is_refused():
    with pytest.raises(ValueError, match="one region in each item"):
        hasher().fit(REGIONS[:, :1], CAPTIONS, y)
    estimator = hasher(use_attention=("text",)).fit(REGIONS[:, :1], CAPTIONS, y)
    flat = hasher(use_attention=("text",)).fit(REGIONS[:, 0], CAPTIONS, y)
    codes = estimator.encode(REGIONS[:, :1], "image", output="real")
    assert_allclose(codes, flat.encode(REGIONS[:, 0], "image", output="real"), 1e-4)


def test_attention_of_regions(of_regions):
    P, Z = of_regions.attention(REGIONS, modality="image")
    absent = np.isnan(REGIONS[..., 0])
    assert P.shape == Z.shape == (90, 4)
    assert P.dtype == np.float32 and Z.dtype == bool
    assert_allclose(P.sum(axis=1), 1, rtol=1e-5)
    assert (P[absent] == 0).all() and not Z[absent].any()
    share = 1 / (~absent).sum(axis=1, keepdims=True)
    clear = np.abs(P - share) > 1e-6
    assert_array_equal(Z[clear], (P >= share)[clear])
    P, Z = of_regions.attention(CAPTIONS, "text")
    assert P.shape == Z.shape == (90, 16)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_parts_of_the_features(modality, of_regions):
    X = {"image": REGIONS, "text": CAPTIONS}[modality]
    network = of_regions.module_["encoders"][modality]
    with torch.no_grad():
        f, present = network.extract(torch.tensor(X, dtype=torch.float32))
        Z = torch.tensor(of_regions.attention(X, modality)[1]).float()
        whole = present.float()
        masks = {"attended": Z, "unattended": whole - Z, "full": whole}
        for part, mask in masks.items():
            expected = network.encode(f, mask).numpy()
            real = of_regions.encode(X, modality, part=part, output="real")
            assert_allclose(real, expected, atol=1e-5)
            signs = of_regions.encode(X, modality, part=part)
            assert_array_equal(signs, np.where(real >= 0, 1, -1))
            packed = of_regions.encode(X, modality, part=part, output="packed")
            assert_array_equal(packed, np.packbits(real >= 0, axis=1))
    codes = of_regions.transform_modality(X, modality)
    assert_array_equal(codes, of_regions.encode(X, modality))
    assert codes.dtype == np.int8


def test_a_row_alone_equals_its_row_in_a_batch(of_regions):
    whole = of_regions.encode(REGIONS, "image", output="real")
    P, _ = of_regions.attention(REGIONS, "image")
    for row in (0, 17, 89):
        alone = REGIONS[row : row + 1]
        code = of_regions.encode(alone, "image", output="real")
        assert_array_equal(code[0], whole[row])
        assert_array_equal(of_regions.attention(alone, "image")[0][0], P[row])


def test_regions_in_a_search():
    search = GridSearchCV(
        hasher(max_epochs=1),
        {"margin": [0.05, 0.1]},
        scoring=map_scorer,
        cv=ShuffleSplit(2, random_state=0),
    ).fit(make_pairs(REGIONS, CAPTIONS), y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    loaded = pickle.loads(pickle.dumps(search.best_estimator_))
    assert_array_equal(
        loaded.transform_image(REGIONS), search.best_estimator_.transform_image(REGIONS)
    )


# -- masks ---------------------------------------------------------------------------


def test_soft_masks_are_hard_in_use_unless_asked_for():
    fits = {
        inference: hasher(mask_gradient="soft", mask_inference=inference).fit(A, B, y)
        for inference in ("hard", "same")
    }
    assert_same_weights(*fits.values())
    P, hard = fits["hard"].attention(A, "image")
    _, soft = fits["same"].attention(A, "image")
    assert hard.dtype == bool and soft.dtype == np.float32
    assert_allclose(soft, 1 / (1 + np.exp(-5 * (16 * P - 1))), rtol=1e-4)
    assert_array_equal(hard, soft >= 0.5)
    real = [fit.encode(A, "image", output="real") for fit in fits.values()]
    assert np.abs(real[0] - real[1]).max() > 1e-3


@pytest.mark.parametrize("named", [("image",), ("text",), ["image", "text"]])
def test_attention_of_some_modalities(named):
    estimator = hasher(use_attention=named).fit(A, B, y)
    for modality, X in (("image", A), ("text", B)):
        fraction = f"attended_fraction_{modality}"
        assert (fraction in estimator.history_[0]) == (modality in named)
        if modality in named:
            assert estimator.attention(X, modality)[1].mean() < 1
            continue
        assert_array_equal(
            estimator.encode(X, modality), estimator.encode(X, modality, part="full")
        )
        for call in (
            lambda m=modality, X=X: estimator.attention(X, m),
            lambda m=modality, X=X: estimator.encode(X, m, part="unattended"),
        ):
            with pytest.raises(
                ValueError, match=f"{modality}' has no attention network"
            ):
                call()
    assert "unattended_map" in estimator.history_[0]


def test_no_attention_is_plain_triplet_hashing():
    estimator = hasher(use_attention=False).fit(A, B, y)
    assert not any("attention" in name for name, _ in estimator.module_.named_modules())
    assert set(estimator.history_[0]) == {
        *("epoch", "masked", "inter_loss", "intra_loss", "hashing_loss"),
        *("train_loss", "active_fraction", "no_triplet", "seconds"),
    }


# -- training ------------------------------------------------------------------------


def test_history(reference):
    row = reference.history_[-1]
    assert set(row) == {
        *("epoch", "masked", "inter_loss", "intra_loss", "adversarial_loss"),
        *("attended_fraction_image", "attended_fraction_text", "unattended_map"),
        *("hashing_loss", "train_loss", "attention_loss", "active_fraction"),
        *("no_triplet", "seconds"),
    }
    parts = ("inter_loss", "intra_loss", "adversarial_loss")
    assert row["train_loss"] == pytest.approx(sum(row[name] for name in parts))
    assert row["hashing_loss"] == row["train_loss"] == reference.loss_curve_[-1]
    assert 0 < row["attended_fraction_image"] < 1
    assert row["no_triplet"] == 0


def test_attended_fraction_is_of_the_present_regions():
    """One batch an epoch: the last value is that before the last step."""
    recorder = Recorder()
    estimator = hasher(batch_size=90, callbacks=[recorder]).fit(REGIONS, CAPTIONS, y)
    before = copy.deepcopy(estimator)
    before.module_.load_state_dict(recorder.weights[-2])
    _, Z = before.attention(REGIONS, "image")
    expected = Z.sum() / (~np.isnan(REGIONS[..., 0])).sum()
    found = estimator.history_[-1]["attended_fraction_image"]
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("held_out", [False, True])
def test_unattended_map(held_out):
    estimator = hasher(early_stopping=held_out, n_iter_no_change=9).fit(A, B, y)
    rows = np.arange(90)
    best = estimator
    if held_out:
        recorder = Recorder()
        best = hasher(early_stopping=True, n_iter_no_change=9, callbacks=[recorder])
        best.fit(A, B, y)
        best.module_.load_state_dict(recorder.weights[-1])
        _, rows = split_rows(y, 0.1)
    codes = {
        (modality, part): best.encode(X[rows], modality, part=part)
        for modality, X in (("image", A), ("text", B))
        for part in ("attended", "unattended")
    }
    scores = [
        mean_average_precision(
            codes[q, "attended"], codes[g, "unattended"], y[rows], y[rows]
        )
        for q, g in (("image", "text"), ("text", "image"))
    ]
    assert estimator.history_[-1]["unattended_map"] == pytest.approx(np.mean(scores))


def test_early_stopping_watches_attended_codes_and_restores():
    recorder = Recorder()
    estimator = hasher(
        early_stopping=True,
        validation_fraction=0.3,
        n_iter_no_change=3,
        max_epochs=60,
        callbacks=[recorder],
    ).fit(A, B, y)
    scores = [row["valid_map"] for row in estimator.history_]
    assert len(scores) < 60
    best = int(np.argmax(scores))
    for name, value in weights_of(estimator).items():
        assert torch.equal(value, recorder.weights[best][name]), name
    _, rows = split_rows(y, 0.3)
    assert estimator.score(A[rows], B[rows], y[rows]) == pytest.approx(scores[best])


def test_warm_start_continues():
    once = hasher(max_epochs=4, warmup_epochs=1).fit(A, B, y)
    twice = hasher(max_epochs=2, warmup_epochs=1, warm_start=True).fit(A, B, y)
    # Six batches in each call, so that the attention's turns are the same.
    twice.fit(A, B, y)
    assert [row["masked"] for row in twice.history_] == [0, 1, 1, 1]
    assert_same_weights(once, twice)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"hash_hidden_layer_sizes": (4,)}, "networks"),
        ({"use_attention": ("text",)}, "networks"),
        ({"attention_threshold": 0.5}, "networks"),
        ({"mask_gradient": "soft"}, "networks"),
        ({"mask_inference": "same"}, "networks"),
        ({"region_pooling": "sum"}, "networks"),
        ({"n_bits": 4}, "outputs"),
    ],
)
def test_warm_start_keeps_what_it_has(changed, text, reference):
    estimator = copy.deepcopy(reference).set_params(warm_start=True, **changed)
    with pytest.raises(ValueError, match=f"continues with the same {text}: expected"):
        estimator.fit(A, B, y)


def test_warm_start_refuses(reference):
    estimator = copy.deepcopy(reference).set_params(warm_start=True)
    with pytest.raises(ValueError, match=r"expected \['image', 'text'\], got \['text'"):
        estimator.fit({"text": B}, y)
    estimator.set_params(
        inter_triplet_weight=0, intra_triplet_weight=0, adversarial_weight=0
    )
    with pytest.raises(ValueError, match="nothing to learn"):
        estimator.fit(A, B, y)
    # What was fitted before can still be used.
    assert_array_equal(estimator.transform_text(B), reference.transform_text(B))


@pytest.mark.parametrize("every", [1, 2])
def test_decay_of_learning_rates(every):
    """Two epochs with rates of next to nothing leave the weights as they are."""
    decayed = hasher(lr_decay=1e-30, lr_decay_every=every, max_epochs=every + 2)
    assert_same_weights(decayed.fit(A, B, y), hasher(max_epochs=every).fit(A, B, y))


def test_rates_in_every_epoch():
    recorder = Recorder()
    hasher(
        lr=0.1,
        lr_attention=0.2,
        lr_decay=0.5,
        lr_decay_every=2,
        max_epochs=5,
        callbacks=[recorder],
    ).fit(A, B, y)
    assert recorder.rates == [
        {"hashing": 0.1 * factor, "attention": 0.2 * factor}
        for factor in (1, 1, 0.5, 0.5, 0.25)
    ]


def test_weight_decay():
    sizes = [
        sum(
            w.square().sum()
            for w in hasher(weight_decay=d).fit(A, B, y).module_.parameters()
        )
        for d in (0.0, 0.5)
    ]
    assert sizes[1] < 0.97 * sizes[0]


@pytest.mark.parametrize(
    "params",
    [
        {"use_attention": False},
        {"use_attention": ("text",)},
        {"adversarial_weight": 0},
        {"intra_triplet_weight": 0},
        {"inter_triplet_weight": 0},
        {"quantization_weight": 0.5},
        {"mask_gradient": "ste_raw"},
        {"mask_gradient": "soft"},
        {"attention_loss": "maximize"},
        {"detach_query": False},
        {"triplet_reduction": "valid"},
        {"triplet_reduction": "sum"},
        {"attention_threshold": 0.8},
        {"attention_every": 1},
        {"lr_attention": 0.05},
        {"distance": "sqeuclidean"},
        {"margin": 0.3},
        {"sampler": "class_balanced"},
        {"warmup_epochs": 1},
        {"hash_hidden_layer_sizes": (7,)},
        {"hidden_layer_sizes": {"image": (9,), "text": ()}},
        {"betas": (0.5, 0.9)},
    ],
)
def test_every_switch_has_an_effect(params, reference):
    estimator = hasher(**params).fit(A, B, y)
    real = [fit.encode(A, "image", output="real") for fit in (estimator, reference)]
    assert np.abs(real[0] - real[1]).max() > 1e-5
    assert all(math.isfinite(loss) for loss in estimator.loss_curve_)


def test_the_game_of_the_paper_runs():
    estimator = hasher(
        attention_loss="maximize",
        detach_query=False,
        triplet_reduction="sum",
        mask_gradient="ste_raw",
        max_epochs=10,
    ).fit(A, B, y)
    for row in estimator.history_:
        # As the text has it: the negative of what the others minimise, later in a step.
        assert row["attention_loss"] == pytest.approx(-row["adversarial_loss"], rel=0.3)
    first, last = estimator.history_[0], estimator.history_[-1]
    assert last["inter_loss"] < first["inter_loss"]


@pytest.mark.parametrize("similarity", ["binary", "count", "cosine"])
def test_several_labels_a_row(similarity):
    X_img, X_txt, labels = make_cross_modal_classification(
        120, n_classes=4, multilabel=True, random_state=0
    )
    estimator = hasher(similarity=similarity, max_epochs=15, lr=1e-2)
    score = estimator.fit(X_img, X_txt, labels).score(X_img, X_txt, labels)
    codes = np.random.default_rng(0).choice(np.int8([-1, 1]), (2, 120, 8))
    assert score > mean_average_precision(*codes, labels, labels) + 0.1


def test_batches_without_triplets_are_told_of():
    """Two labels that all rows share but one: most batches have no dissimilar pair."""
    labels = np.ones((90, 2), dtype=int)
    labels[0, 1] = 0
    with pytest.warns(ConvergenceWarning, match="100% of the rows were in batches"):
        estimator = hasher().fit(A, B, labels)
    assert [row["no_triplet"] for row in estimator.history_] == [1, 1, 1]
    assert estimator.loss_curve_ == [0, 0, 0]
    with pytest.warns(ConvergenceWarning, match="batches without any triplet"):
        hasher(batch_size=1, max_epochs=1).fit(A[:9], B[:9], y[:9])


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"use_attention": ("audio",)}, "some of the modalities.*got"),
        ({"use_attention": "image"}, "use_attention"),
        (
            {
                "inter_triplet_weight": 0,
                "intra_triplet_weight": 0,
                "use_attention": False,
            },
            "nothing to",
        ),
        (
            {
                "inter_triplet_weight": 0,
                "intra_triplet_weight": 0,
                "adversarial_weight": 0,
            },
            "nothing to learn",
        ),
        ({"margin": 0}, "'margin' parameter"),
        ({"lr_decay_every": 0}, "'lr_decay_every' parameter"),
        ({"attention_threshold": 0}, "'attention_threshold' parameter"),
        ({"hidden_layer_sizes": {"image": (3,)}}, "must have a key for.*'text'"),
        ({"hash_hidden_layer_sizes": (0,)}, "hash_hidden_layer_sizes must be"),
        ({"betas": (0.5,)}, "betas must be two numbers"),
    ],
)
def test_refusals(params, text):
    estimator = hasher(**params)
    with pytest.raises(ValueError, match=text):
        estimator.fit(A, B, y)
    with pytest.raises(NotFittedError):
        estimator.transform(A, B)


def test_more_refusals(reference):
    with pytest.raises(ValueError, match="two modalities or more"):
        hasher().fit({"image": A}, y)
    labels = np.eye(3, dtype=int)[y]
    labels[0] = 1
    with pytest.raises(ValueError, match="exactly one label for each row"):
        hasher(sampler="class_balanced").fit(A, B, labels)
    with pytest.raises(ValueError, match="part must be one of"):
        reference.encode(A, "image", part="half")
    with pytest.raises(ValueError, match="output must be one of"):
        reference.encode(A, "image", output="hex")
    with pytest.raises(ValueError, match="modality must be one of"):
        reference.attention(A, "audio")


# -- more modalities, and rows without pairs -------------------------------------------


def test_three_paired_modalities():
    C = np.random.default_rng(0).normal(size=(90, 4)) + y[:, None]
    recorder = Recorder()
    estimator = hasher(callbacks=[recorder], **LEARNING).fit(
        {"image": A, "text": B, "audio": C}, y
    )
    assert estimator.modalities_ == ("image", "text", "audio")
    assert recorder.rows[0].ndim == 1
    assert sorted(torch.cat(recorder.rows[:3]).tolist()) == list(range(90))
    codes = estimator.transform({"audio": C, "text": B})
    assert codes["audio"].shape == (90, 8)
    assert estimator.score({"image": A, "text": B, "audio": C}, y) > 0.6


def test_a_modality_may_be_named_after_a_network():
    names = {"attention": A, "features": B}
    estimator = hasher().fit(names, y)
    plain = hasher().fit({"m0": A, "m1": B}, y)
    expected = [row["attention_loss"] for row in plain.history_]
    assert [row["attention_loss"] for row in estimator.history_] == expected


def test_rows_without_pairs():
    recorder = Recorder()
    estimator = hasher(callbacks=[recorder], **LEARNING).fit(
        {"image": REGIONS, "text": CAPTIONS[:40]}, {"image": y, "text": y[:40]}
    )
    epoch = torch.cat(recorder.rows[:3], dim=1)
    assert sorted(epoch[0].tolist()) == list(range(90))
    # The shorter modality starts again, in another order.
    assert sorted(epoch[1, :40].tolist()) == list(range(40))
    assert sorted(epoch[1, 40:80].tolist()) == list(range(40))
    assert epoch[1, :40].tolist() != epoch[1, 40:80].tolist()
    assert epoch[0].tolist() != epoch[1].tolist()
    X = {"image": REGIONS, "text": CAPTIONS[:40]}
    assert estimator.score(X, {"image": y, "text": y[:40]}) > 0.6


@pytest.mark.parametrize("sampler", ["shuffle", "class_balanced"])
def test_held_out_rows_without_pairs(sampler):
    recorder = Recorder()
    X, labels = {"image": A, "text": B[:40]}, {"image": y, "text": y[:40]}
    estimator = hasher(
        early_stopping=True,
        validation_fraction=0.3,
        sampler=sampler,
        callbacks=[recorder],
        n_iter_no_change=3,
    ).fit(X, labels)
    held_out = {name: split_rows(own, 0.3)[1] for name, own in labels.items()}
    used = torch.cat(recorder.rows, dim=1)
    assert not set(used[0].tolist()) & set(held_out["image"])
    assert not set(used[1].tolist()) & set(held_out["text"])
    scores = [row["valid_map"] for row in estimator.history_]
    rows, texts = held_out["image"], held_out["text"]
    expected = estimator.score(
        {"image": A[rows], "text": B[texts]}, {"image": y[rows], "text": y[texts]}
    )
    assert max(scores) == pytest.approx(expected)
    assert all(math.isfinite(row["valid_loss"]) for row in estimator.history_)


@pytest.mark.parametrize("paired", [True, False])
def test_the_caller_may_hold_out_the_rows_that_the_fit_would(paired):
    X = {"image": A, "text": B if paired else B[:60]}
    labels = {name: y[: len(part)] for name, part in X.items()}
    rows = {name: split_rows(own, 0.3) for name, own in labels.items()}

    def pick(which):
        own = {name: labels[name][rows[name][which]] for name in X}
        parts = {name: X[name][rows[name][which]] for name in X}
        return parts, own["image"] if paired else own

    params = {"early_stopping": True, "validation_fraction": 0.3, "max_epochs": 20}
    params |= {"n_iter_no_change": 2, "lr": 1e-2}
    expected = hasher(**params).fit(X, y if paired else labels)
    X_val, y_val = pick(1)
    estimator = hasher(**params).fit(*pick(0), X_val=X_val, y_val=y_val)
    assert_same_weights(estimator, expected)
    maps = [row["valid_map"] for row in estimator.history_]
    assert maps == [row["valid_map"] for row in expected.history_]
    assert max(maps) == pytest.approx(estimator.score(X_val, y_val))


def test_pairs_may_be_validated_on_rows_that_are_none():
    X_val, y_val = {"image": A, "text": B[:40]}, {"image": y, "text": y[:40]}
    recorder = Recorder()
    estimator = hasher(early_stopping=True, callbacks=[recorder])
    estimator.fit(A[40:], B[40:], y[40:], X_val=X_val, y_val=y_val)
    assert recorder.rows[0].ndim == 1
    maps = [row["valid_map"] for row in estimator.history_]
    assert max(maps) == pytest.approx(estimator.score(X_val, y_val))
    with pytest.raises(ValueError, match="must hold all modalities.*learn together"):
        estimator.fit(A, B, y, X_val={"image": A}, y_val=y)


# -- quality -------------------------------------------------------------------------


def test_it_learns_to_retrieve(reference):
    trained = hasher(**LEARNING).fit(A, B, y)
    assert trained.score(A, B, y) > 0.65 > reference.score(A, B, y) + 0.1


def test_widths():
    estimator = hasher(hidden_layer_sizes=None, hash_hidden_layer_sizes=None)
    torch.manual_seed(0)
    estimator._n_regions_in = {}
    flat = estimator._build_network("image", 6, True)
    text = estimator._build_network("text", 6, True)
    estimator._n_regions_in = {"image": 3}
    regions = estimator._build_network("image", 6, True)

    def shapes(network):
        return [tuple(w.shape) for w in network.parameters() if w.ndim == 2]

    assert shapes(flat) == [(1024, 6), (512, 1024), (512, 512), (512, 512), (8, 512)]
    assert shapes(text) == [(1024, 6), (512, 1024), (512, 512), (8, 512)]
    assert shapes(regions) == [(512, 6), (1, 512), (512, 512), (8, 512)]


@pytest.mark.slow
def test_attention_finds_the_informative_regions():
    params = {
        "n_bits": 16,
        "hidden_layer_sizes": (128,),
        "hash_hidden_layer_sizes": {"image": (64,), "text": ()},
        "lr": 1e-3,
        "batch_size": 64,
        "max_epochs": 25,
    }
    scores = {("image",): [], False: []}
    for seed in range(2):
        X_img, X_txt, classes, informative = make_cross_modal_regions(
            800,
            n_regions=16,
            n_classes=8,
            class_sep=2,
            image_noise=0.7,
            return_informative=True,
            random_state=seed,
        )
        test = X_img[600:], X_txt[600:], classes[600:]
        for attention, found in scores.items():
            estimator = AADAHHasher(
                use_attention=attention, random_state=seed, **params
            ).fit(X_img[:600], X_txt[:600], classes[:600])
            found.append(estimator.score(*test))
            if not attention:
                continue
            _, Z = estimator.attention(test[0], "image")
            is_informative = informative[600:]
            assert Z[is_informative].mean() > 0.8 > 0.4 > Z[~is_informative].mean()
            # Of eight classes: what is not attended tells next to nothing.
            attended, unattended = (
                mean_average_precision(
                    estimator.encode(test[1], "text"),
                    estimator.encode(test[0], "image", part=part),
                    test[2],
                    test[2],
                )
                for part in ("attended", "unattended")
            )
            assert unattended < 0.2 < attended - 0.4
    assert np.mean(scores["image",]) > np.mean(scores[False]) + 0.05


@pytest.mark.slow
def test_quality_on_real_features(real_data):
    arrays = real_data("wiki_cnn_pca")
    train, test = (
        [arrays[f"{name}_{part}"] for name in ("image", "text")]
        for part in ("train", "test")
    )
    scalers = [StandardScaler().fit(X) for X in train]
    train, test = (
        [scaler.transform(X) for scaler, X in zip(scalers, part, strict=True)]
        for part in (train, test)
    )
    estimator = AADAHHasher(n_bits=16, max_epochs=12, random_state=0)
    gallery = estimator.fit(*train, arrays["y_train"]).transform(*train)
    queries = estimator.transform(*test)
    labels = arrays["y_test"], arrays["y_train"]
    assert mean_average_precision(queries[0], gallery[1], *labels) > 0.34
    assert mean_average_precision(queries[1], gallery[0], *labels) > 0.57
