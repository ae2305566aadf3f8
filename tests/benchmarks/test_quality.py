"""Measuring the quality: splits, protocols, ensembles, and the pages."""

# SPDX-License-Identifier: BSD-3-Clause

import argparse

import defaults
import numpy as np
import pandas as pd
import pytest
import quality
import quality_page
from candidates import CANDIDATES, METHODS
from data import make_folds, make_model
from sklearn.base import clone
from systems import (
    ABLATIONS,
    BASELINES,
    HASHERS,
    PROJECTORS,
    choose_members,
    make_ensemble,
)

from sklearn_cmr import CCAProjector, SemanticMatchingProjector, make_pairs
from sklearn_cmr.datasets import make_cross_modal_classification
from sklearn_cmr.metrics import map_scorer, mean_average_precision

A, B, y = make_cross_modal_classification(
    90, n_image_features=12, n_text_features=8, n_classes=3, random_state=0
)
PAIRS = make_pairs(A, B)
TRAIN, TEST = np.arange(60), np.arange(60, 90)


@pytest.mark.parametrize("name", METHODS)
def test_candidates_are_valid_parameters(name):
    known = METHODS[name]().get_params()
    for params in CANDIDATES[name].values():
        assert set(params) <= set(known)


@pytest.mark.parametrize("system", BASELINES + PROJECTORS + HASHERS, ids=str)
def test_what_is_tuned_and_ablated_exists(system):
    known = system.make(0).get_params()
    for grid in system.grid:
        assert set(grid) <= set(known)
    for params in ABLATIONS.get(system.name, {}).values():
        assert set(params) <= set(known)


@pytest.mark.parametrize("labels", [y, np.eye(3, dtype=int)[y]])
def test_splits_of_the_training_rows_are_disjoint(labels):
    fitted, held_out = defaults.split(labels, 0)
    assert sorted([*fitted, *held_out]) == list(range(90))
    assert len(held_out) == 30
    assert not np.array_equal(held_out, defaults.split(labels, 1)[1])


@pytest.mark.parametrize("name", defaults.GENERATED_SETS)
def test_generated_sets(name):
    pairs, labels = defaults.load_training_rows(name)
    params = defaults.GENERATED_SETS[name]
    assert len(labels) == len(pairs) == params["n_samples"]
    assert (labels.ndim == 2) == params.get("multilabel", False)


def test_scores_of_all_outputs_come_from_one_fit(monkeypatch, tmp_path):
    monkeypatch.setattr(defaults, "FOLDER", tmp_path)
    monkeypatch.setattr(defaults, "load_training_rows", lambda name: (PAIRS, y))
    params = {"max_epochs": 2, "embedding_dim": 4, "hidden_layer_sizes": (8,)}
    monkeypatch.setitem(CANDIDATES, "ACMR", {"tiny": params})
    for _ in range(2):  # the second run has nothing to add
        defaults.run("ACMR", ["tiny"], ["few_rows"], 2, 1)
        cells = pd.read_csv(tmp_path / "ACMR.csv")
        assert len(cells) == 2 * 3
    fitted, held_out = defaults.split(y, 1)
    model = make_model(METHODS["ACMR"](random_state=0, output="both", **params))
    model.fit(PAIRS[fitted], y[fitted])
    expected = map_scorer(model, PAIRS[held_out], y[held_out])
    (score,) = cells.query("split == 1 and output == 'both'").score
    assert score == pytest.approx(expected, abs=1e-5)
    defaults.write_table("ACMR")
    mean = cells[cells.output == "both"].score.mean()
    table = (tmp_path / "ACMR.md").read_text()
    assert f"| tiny | both | 2 |  |  |  |  |  | {mean:.4f}" in table


def test_protocols_of_codes():
    from sklearn_cmr import ITQHasher

    model = make_model(ITQHasher(n_bits=8, random_state=0)).fit(PAIRS[TRAIN], y[TRAIN])
    found = quality.evaluate(
        "hashing", model, PAIRS[TRAIN], y[TRAIN], PAIRS[TEST], y[TEST]
    )
    assert list(found) == ["test split", "training split", "other half"]
    Z, gallery = model.transform(PAIRS[TEST]), model.transform(PAIRS[TRAIN])
    i2t = mean_average_precision(Z["image"], gallery["text"], y[TEST], y[TRAIN])
    assert found["training split"][0].mean() == pytest.approx(i2t)
    t2i = mean_average_precision(Z["text"], Z["image"], y[TEST], y[TEST])
    assert found["test split"][1].mean() == pytest.approx(t2i)
    assert found["other half"].shape == (2, 30)


def test_members_are_chosen_by_cross_validation():
    candidates = {
        "sm": SemanticMatchingProjector(),
        "cca": CCAProjector(n_components=1),
    }
    folds = list(make_folds(y).split(y, y))
    members = choose_members(candidates, folds, make_model, PAIRS, y)

    def score(names):
        own = {name: clone(candidates[name]) for name in names}
        scores = []
        for fitted, held_out in folds:
            model = make_model(make_ensemble(own, random_state=0))
            model.fit(PAIRS[fitted], y[fitted])
            scores.append(map_scorer(model, PAIRS[held_out], y[held_out]))
        return np.mean(scores)

    subsets = [("sm",), ("cca",), ("sm", "cca")]
    assert tuple(members) == max(subsets, key=score)


def arguments(**changes):
    known = {
        "parts": ["projection", "hashing", "ablations"],
        "sets": ["uci_mfeat"],
        "systems": None,
        "settings": ["defaults", "tuned"],
        "seeds": 2,
        "bits": [16],
    }
    return argparse.Namespace(**known | changes)


def test_only_missing_fits_are_run():
    fits = quality.list_fits(arguments())
    assert {"ACMR", "rival", "ensemble", "SSAH", "CCA + ITQ"} <= {
        f[2].name for f in fits
    }
    assert [f[5] for f in fits if f[2].name == "CCA"] == [range(1)] * 2
    (one,) = quality.list_fits(
        arguments(parts=["projection"], systems=["ACMR"], settings=["defaults"])
    )
    row = ["projection", "uci_mfeat", "ACMR", "defaults", 0, 1, "test split"]
    cells = pd.DataFrame(
        [[*row, 0.1, 0.3, 0.2, 0.01, 1.0, "{}"]], columns=quality.COLUMNS
    )
    ((*_, seeds, _),) = quality.missing([one], cells)
    assert seeds == [0]


def test_page(monkeypatch, tmp_path):
    rows = [
        ["projection", "uci_mfeat", name, setting, 0, seed, "test split", 0.1, 0.3]
        + [0.2 + seed / 10, 0.01, 1.5, '{"margin": 1}']
        for name in ("SM", "ACMR")
        for setting in ("defaults", "tuned")
        for seed in range(2)
    ]
    rows += [
        ["hashing", "wiki_cnn_pca", "SSAH", "defaults", 32, 0, gallery, 0.4, 0.6]
        + [0.5, 0.01, 1.5, "{}"]
        for gallery in ("test split", "training split", "other half")
    ]
    rows += [
        [
            "ablations",
            "uci_mfeat",
            "ACMR",
            "no game",
            0,
            0,
            "test split",
            0.1,
            0.3,
            0.2,
            0.01,
            1.5,
            "{}",
        ]
    ]
    monkeypatch.setattr(quality_page, "PAGE", tmp_path / "QUALITY.md")
    quality_page.write_page(pd.DataFrame(rows, columns=quality.COLUMNS), "the command")
    page = quality_page.PAGE.read_text()
    assert "| command | the command |" in page
    assert "| data set | SM | ACMR | standard error over queries |" in page
    assert "| UCI handwritten digits, two views | 0.250 ± 0.050 |" in page
    assert "| Wikipedia, stronger features | 32 | training split | 0.500 |" in page
    assert "| no game | 0.200 |" in page
    assert "0.790 / 0.795 | 0.400 / 0.600 |" in page
    assert '`{"margin": 1}`' in page
