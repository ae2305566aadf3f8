"""The mean mAP over directions, against single calls."""

# SPDX-License-Identifier: BSD-3-Clause

from itertools import permutations

import numpy as np
import pytest

from sklearn_cmr.metrics import mean_average_precision
from sklearn_cmr.metrics._directions import list_directions, mean_map

rng = np.random.default_rng(0)
Y = {name: rng.integers(3, size=n) for name, n in zip("abc", (20, 25, 30), strict=True)}
Z = {name: rng.standard_normal((len(y), 4)) for name, y in Y.items()}
PAIRED = {name: rng.standard_normal((20, 4)) for name in "abc"}


def test_mean_over_all_directions():
    scores = [
        mean_average_precision(Z[q], Z[g], Y[q], Y[g], k=5, metric="euclidean")
        for q, g in permutations("abc", 2)
    ]
    assert mean_map(Z, Y, k=5, metric="euclidean") == np.mean(scores)


def test_shared_labels_and_weights():
    y, weight = Y["a"], np.arange(20)
    scores = [
        mean_average_precision(PAIRED[q], PAIRED[g], y, y, sample_weight=weight)
        for q, g in permutations("abc", 2)
    ]
    assert mean_map(PAIRED, y, sample_weight=weight) == np.mean(scores)


def test_gallery_of_fewer_modalities():
    gallery = {"b": -Z["b"]}
    scores = [
        mean_average_precision(Z[q], gallery["b"], Y[q], Y["b"]) for q in ("a", "c")
    ]
    assert list_directions(Z, gallery) == [("a", "b"), ("c", "b")]
    assert mean_map(Z, Y, gallery=gallery) == np.mean(scores)


def test_given_directions():
    expected = mean_average_precision(Z["c"], Z["a"], Y["c"], Y["a"])
    assert mean_map(Z, Y, directions=[("c", "a")]) == expected


def test_errors():
    with pytest.raises(ValueError, match="y has the keys"):
        mean_map(Z, {"a": Y["a"], "b": Y["b"]})
    with pytest.raises(ValueError, match="labels that all modalities share"):
        mean_map(Z, Y, sample_weight=np.ones(20))
