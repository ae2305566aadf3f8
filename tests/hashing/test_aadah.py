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
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from skorch.callbacks import Callback
from torch import nn

from sklearn_cmr import AADAHHasher, make_pairs
from sklearn_cmr.datasets import (
    make_cross_modal_classification,
    make_cross_modal_regions,
)
from sklearn_cmr.hashing._aadah import (
    AttentionHash,
    Ranking,
    attend,
    attention_objective,
    hashing_objective,
)
from sklearn_cmr.metrics import map_scorer, mean_average_precision
from sklearn_cmr.training import Batch, EpochState

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


def weights_of(estimator):
    return copy.deepcopy(estimator.module_.state_dict())


def assert_same_weights(first, second):
    first, second = weights_of(first), weights_of(second)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


class Spy(Callback):
    """Remember weights and rows; fits on copies would forget them."""

    def __init__(self):
        self.start, self.weights, self.rows = None, [], []

    def __deepcopy__(self, memo):
        return self

    def on_train_begin(self, net, **kwargs):
        self.start = copy.deepcopy(net.module_.state_dict())

    def on_batch_begin(self, net, batch, training, **kwargs):
        if training:
            self.rows.append(batch.rows)

    def on_epoch_end(self, net, **kwargs):
        self.weights.append(copy.deepcopy(net.module_.state_dict()))


# -- the objectives, triplet by triplet ----------------------------------------------


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


def literal_parts(module, batch):
    """Attended and unattended codes by modality, with masks by hand."""
    H, U = {}, {}
    for name, X in batch.features.items():
        network = module[name]
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

            def encode(mask):
                if not has_regions:
                    pooled = f * mask
                else:
                    pooled = (f * mask[..., None]).sum(1)
                    if network.pooling == "mean":
                        pooled /= np.maximum(1, mask.sum(1))[:, None]
                return network.hashing(torch.tensor(pooled)).numpy()

            H[name] = encode(Z)
            if network.attention is not None:
                U[name] = encode(present - Z)
    return H, U


def literal_objectives(module, batch, weights, options, attention_loss="flipped"):
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
    flips = attention_loss == "flipped"
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


def make_labels(kind, n, rng):
    labels = np.zeros((n, 4))
    labels[np.arange(n), rng.integers(0, 4, n)] = 1
    if kind == "multi":
        labels = np.maximum(labels, rng.random(labels.shape) < 0.3)
    elif kind == "one class":
        labels[:] = np.eye(4)[0]
    return labels


def make_problem(kinds, labels="single", paired=True, n=6, seed=0, **options):
    """Networks and a batch of modalities m0, m1, ...; a kind tells what each is like."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    module, features = nn.ModuleDict(), {}
    for i, kind in enumerate(kinds):
        module[f"m{i}"] = make_network(kind, 3, **options)
        shape = (n, 4, 3) if "regions" in kind else (n, 3)
        X = rng.normal(size=shape)
        if "regions" in kind:
            X[rng.random((n, 4)) < 0.3] = np.nan
            X[:, 0] = rng.normal(size=(n, 3))
        features[f"m{i}"] = torch.tensor(X)
    rows = torch.tensor(rng.permutation(50)[:n])
    Y = torch.tensor(make_labels(labels, n, rng))
    if not paired:
        # A modality of few rows may have one twice in a batch.
        rows = torch.tensor(rng.integers(0, n + 2, (len(kinds), n)))
        by_row = [torch.tensor(make_labels(labels, n + 2, rng)) for _ in kinds]
        Y = torch.stack([own[r] for own, r in zip(by_row, rows, strict=True)])
    return module, Batch(features, Y, rows, {})


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
    attention_loss=st.sampled_from(["flipped", "maximize"]),
    options=st.fixed_dictionaries(
        {
            "distance": st.sampled_from(["euclidean", "sqeuclidean"]),
            "similarity": st.sampled_from(["binary", "count", "cosine"]),
            "margin": st.sampled_from([0.05, 0.4]),
            "reduction": st.sampled_from(["valid", "active", "sum"]),
        }
    ),
)
def test_objectives_equal_the_formulas(
    kinds, labels, paired, n, seed, pooling, weights, attention_loss, options
):
    module, batch = make_problem(kinds, labels, paired, n, seed, pooling=pooling)
    has_attention = any("plain" not in kind for kind in kinds)
    ranked = [weights["inter_loss"], weights["intra_loss"]]
    if not any([*ranked, weights["adversarial_loss"] * has_attention]):
        weights["inter_loss"] = 1.0
    expected, expected_loss, expected_game = literal_objectives(
        module, batch, weights, options, attention_loss
    )
    ranking = Ranking(**options)
    loss, terms = hashing_objective(
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
        game, _ = attention_objective(
            module,
            batch,
            make_state(),
            ranking=ranking,
            attention_loss=attention_loss,
            detach_query=True,
        )
        assert_allclose(game.item(), expected_game, **tolerance)
