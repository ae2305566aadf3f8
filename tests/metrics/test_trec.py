"""Files for trec_eval, read as it reads them."""

# SPDX-License-Identifier: BSD-3-Clause

from collections import defaultdict

import numpy as np
import pytest
import pytrec_eval

from sklearn_cmr.metrics import (
    mean_average_precision,
    ndcg_at_k,
    precision_at_k,
    r_precision,
    recall_at_k,
    reciprocal_rank,
    to_trec,
)
from tests.metrics import brute_force
from tests.metrics.ranked_lists import random_set


def read(folder):
    """Read both files; items of a list are sorted as trec_eval sorts them."""
    scores, grades = defaultdict(dict), defaultdict(dict)
    for line in (folder / "run").read_text().splitlines():
        query, _, item, _, score, _ = line.split(" ")
        scores[query][item] = float(np.float32(score))
    for line in (folder / "qrels").read_text().splitlines():
        query, _, item, grade = line.split(" ")
        grades[query][item] = int(grade)
    runs = {
        query: sorted(items, key=lambda item: (items[item], item), reverse=True)
        for query, items in scores.items()
    }
    return runs, grades, scores


def write(folder, *sets, **options):
    to_trec(*sets, run=folder / "run", qrels=str(folder / "qrels"), **options)
    return read(folder)


@pytest.mark.parametrize("form", [np.int8, np.float32, np.float64])
def test_average_precision_of_the_files_is_the_stable_one(tmp_path, form):
    query, gallery, *labels = random_set(0, n_bits=4)
    sets = query.astype(form), gallery.astype(form), *labels
    runs, grades, _ = write(tmp_path, *sets)
    values = [
        brute_force.average_precision([int(item in grades[q]) for item in items], 50)
        for q, items in runs.items()
    ]
    expected = mean_average_precision(*sets, ties="stable", per_query=True)
    assert list(runs) == [str(i) for i in range(20)]
    assert values == pytest.approx(list(expected))


def test_trec_eval(tmp_path):
    query, gallery, *labels = random_set(1, n_bits=4)
    sets = query, gallery, *labels
    _, grades, scores = write(tmp_path, *sets)
    measures = {"map", "map_cut_10", "P_5", "recall_10", "recip_rank", "Rprec"}
    measures |= {"ndcg_cut_10"}
    evaluator = pytrec_eval.RelevanceEvaluator(grades, measures)
    found = evaluator.evaluate(dict(scores))
    options = {"ties": "stable", "per_query": True}
    expected = {
        "map": mean_average_precision(*sets, **options),
        "map_cut_10": mean_average_precision(*sets, k=10, normalizer="all", **options),
        "P_5": precision_at_k(*sets, k=5, **options),
        "recall_10": recall_at_k(*sets, k=10, **options),
        "recip_rank": reciprocal_rank(*sets, **options),
        "Rprec": r_precision(*sets, **options),
        "ndcg_cut_10": ndcg_at_k(*sets, k=10, **options),
    }
    for name, values in expected.items():
        assert [found[str(i)][name] for i in range(20)] == pytest.approx(list(values))


def test_names_cutoff_and_grades(tmp_path):
    query, gallery, *_ = random_set(2, n_query=3, n_gallery=8)
    grades = np.array([[0, 1, 2, 0, 0, 3, 0, 0], [0] * 8, [5] * 8])
    runs, found, _ = write(
        tmp_path,
        query,
        gallery,
        relevance=grades,
        k=4,
        query_ids=["a", "b", "c"],
        item_ids=[f"d{i}" for i in range(8)],
        name="mine",
    )
    assert {q: len(items) for q, items in runs.items()} == {"a": 4, "b": 4, "c": 4}
    assert found["a"] == {"d1": 1, "d2": 2, "d5": 3}
    assert "b" not in found
    assert set(found["c"].values()) == {5}
    line = (tmp_path / "run").read_text().splitlines()[0].split()
    assert line[0] == "a" and line[3] == "1" and line[5] == "mine"


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_without_the_query_itself(tmp_path, chunk_size):
    _, X, _, y = random_set(3, n_gallery=20, n_bits=4)
    own = {"exclude_self": True, "chunk_size": chunk_size}
    runs, grades, _ = write(tmp_path, X, X, y, y, **own)
    assert all(len(items) == 19 and q not in items for q, items in runs.items())
    assert all(q not in grades[q] for q in runs)
    values = [
        brute_force.average_precision([int(item in grades[q]) for item in items], 19)
        for q, items in runs.items()
    ]
    expected = mean_average_precision(
        X, X, y, y, ties="stable", exclude_self=True, per_query=True
    )
    assert values == pytest.approx(list(expected))


def test_matrices_are_not_changed(tmp_path):
    distances = np.random.default_rng(0).random((5, 5))
    relevance = np.ones((5, 5))
    relevance[0, 1:] = 0
    before = distances.copy(), relevance.copy()
    runs, *_ = write(
        tmp_path,
        distances,
        metric="precomputed",
        relevance=relevance,
        exclude_self=True,
    )
    assert len(runs) == 5
    for array, copy in zip((distances, relevance), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"query_ids": ["a"]}, r"query_ids has the shape \(1,\) for 20 items"),
        ({"query_ids": np.arange(20)[:, None]}, r"query_ids has the shape \(20, 1\)"),
        ({"query_ids": ["a"] * 20}, "'a' stands there twice"),
        ({"item_ids": [f"item {i}" for i in range(50)]}, "hold spaces"),
        ({"name": "my run"}, "name must not be empty or hold spaces"),
        ({"k": 0}, "'k' parameter"),
        ({"y_query": None, "y_gallery": None}, "Labels are needed"),
        (
            {"y_query": None, "y_gallery": None, "relevance": np.full((20, 50), 0.5)},
            "whole numbers",
        ),
    ],
)
def test_errors(tmp_path, options, message):
    names = ("query", "gallery", "y_query", "y_gallery")
    sets = dict(zip(names, random_set(0), strict=True)) | options
    with pytest.raises(ValueError, match=message):
        to_trec(**sets, run=tmp_path / "run", qrels=tmp_path / "qrels")
    assert not list(tmp_path.iterdir())


def test_one_file_for_both(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(ValueError, match="the same file"):
        to_trec(*random_set(0), run=path, qrels=str(path))
    assert not path.exists()
