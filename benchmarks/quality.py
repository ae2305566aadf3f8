"""Retrieval quality on real feature sets: methods, ensembles, baselines and rivals.

Every system is fitted to the training split of every set and evaluated on the test
split: with its defaults, and tuned by cross-validation of the training split. Inputs
are standardized by PairTransformer. The measured fits are kept in ``quality.csv``,
which later runs complete; ``QUALITY.md`` shows them.

    SKLEARN_CMR_DATA=... python benchmarks/quality.py [--parts projection hashing
        ablations] [--sets name ...] [--systems name ...] [--settings defaults tuned]
        [--seeds 5] [--bits 16 32 64] [--jobs 2] [--restart]
"""

# SPDX-License-Identifier: BSD-3-Clause

import argparse
import json
import shlex
import sys
import time
import warnings
from collections import defaultdict
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from data import REAL_SETS, load, make_folds, make_model
from joblib import Parallel, delayed
from quality_page import write_page
from rivals import make_rival, matching_grids
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, ParameterGrid
from systems import (
    ABLATIONS,
    BASELINES,
    ENSEMBLE,
    HASHERS,
    HASHING_BASELINES,
    PROJECTORS,
    RIVAL,
    choose_members,
    make_ensemble,
)

from sklearn_cmr import SemanticMatchingProjector
from sklearn_cmr.metrics import map_scorer, mean_average_precision

CELLS = Path(__file__).parent / "quality.csv"
KEYS = ["part", "set", "system", "setting", "bits", "seed"]
VALUES = ["i2t", "t2i", "mean", "se_queries"]
COLUMNS = [*KEYS, "protocol", *VALUES, "seconds", "params"]
ABLATED_SETS = ["wiki_cnn_pca", "uci_mfeat"]
ABLATED_BITS = 32
N_ABLATION_SEEDS = 3
DIRECTIONS = [("image", "text"), ("text", "image")]


# -- evaluation ----------------------------------------------------------------


def average_precisions(queries, gallery, y_queries, y_gallery):
    """Return the average precision of every query, an array for each direction."""
    return np.array(
        [
            mean_average_precision(
                queries[q], gallery[g], y_queries, y_gallery, per_query=True
            )
            for q, g in DIRECTIONS
        ]
    )


def take(encodings, rows):
    """Return some rows of all modalities."""
    return {name: Z[rows] for name, Z in encodings.items()}


def evaluate(part, model, train, y_train, test, y_test):
    """Return the average precisions of all queries by protocol."""
    Z = model.transform(test)
    precisions = {"test split": average_precisions(Z, Z, y_test, y_test)}
    if part == "hashing":
        Z_train = model.transform(train)
        precisions["training split"] = average_precisions(Z, Z_train, y_test, y_train)
        order = np.random.default_rng(0).permutation(len(y_test))
        halves = np.array_split(order, 2)
        precisions["other half"] = np.hstack(
            [
                average_precisions(take(Z, a), take(Z, b), y_test[a], y_test[b])
                for a, b in (halves, halves[::-1])
            ]
        )
    return precisions


# -- fits ----------------------------------------------------------------------


def tune(system, params, train, y_train):
    """Return the parameters that cross-validation of the training split prefers."""
    if not system.grid:
        return {}
    model = make_model(system.make(0, **params))
    prefix = f"{model.steps[-1][0]}__"
    search = GridSearchCV(
        model,
        [{prefix + name: own for name, own in grid.items()} for grid in system.grid],
        scoring=map_scorer,
        cv=make_folds(y_train),
        refit=False,
    ).fit(train, y_train)
    best = search.best_params_.items()
    return {name.removeprefix(prefix): value for name, value in best}


def tune_ensemble(tuned, train, y_train):
    """Return the members of the best ensemble of tuned methods and rivals."""
    candidates = {
        system.name.lower().replace("-", ""): system.make(
            0, **tuned.get(system.name, {})
        )
        for system in PROJECTORS
    }
    search = make_rival(y_train)
    chosen = list(ParameterGrid(search.param_grid))[tuned[RIVAL.name]["candidate"]]
    rivals = {"rival": clone(search.estimator).set_params(**chosen)[-1]}
    for name, grid in matching_grids(y_train).items():
        # The first candidate of every kind of classifier.
        params = next(iter(ParameterGrid(grid | {"subtract_prior": ["auto"]})))
        if name != "LR":
            rivals[name.lower()] = SemanticMatchingProjector().set_params(**params)
    candidates |= rivals
    folds = list(make_folds(y_train).split(y_train, y_train))
    return choose_members(candidates, folds, make_model, train, y_train)


def fit_seeds(part, set_name, system, setting, n_bits, seeds, extra, tuned):
    """Return the cells of one system on one set.

    Parameters
    ----------
    extra : dict
        Parameters besides those that are tuned.

    tuned : dict of str to dict
        Tuned parameters of the methods, for an ensemble.
    """
    train, y_train = load(set_name, "train")
    test, y_test = load(set_name, "test")
    params = extra | ({"n_bits": n_bits} if n_bits else {})
    chosen, cells = {}, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if setting == "tuned" and system.name == ENSEMBLE.name:
            chosen = tune_ensemble(tuned, train, y_train)
            system = system._replace(method=partial(make_ensemble, chosen))
        elif setting == "tuned" and system.name != RIVAL.name:
            chosen = tune(system, params, train, y_train)
            params |= chosen
        for seed in seeds:
            start = time.perf_counter()
            if system.name == RIVAL.name:
                search = make_rival(y_train).fit(train, y_train)
                model = search.best_estimator_
                chosen = {"candidate": int(search.best_index_), **search.best_params_}
            else:
                model = make_model(system.make(seed, **params)).fit(train, y_train)
            seconds = time.perf_counter() - start
            kind = "hashing" if n_bits else "projection"
            results = evaluate(kind, model, train, y_train, test, y_test)
            for protocol, precisions in results.items():
                both = precisions.mean(axis=0)
                error = both.std(ddof=1) / len(both) ** 0.5
                values = [*precisions.mean(axis=1), both.mean(), error]
                cells.append(
                    [
                        *(part, set_name, system.name, setting, n_bits, seed),
                        protocol,
                        *(round(float(value), 5) for value in values),
                        round(seconds, 2),
                        json.dumps(chosen, default=repr, sort_keys=True),
                    ]
                )
    return cells


def list_fits(arguments):
    """Return the arguments of :func:`fit_seeds` for all that is to be measured."""
    n_seeds, fits = arguments.seeds, []

    def add(part, sets, systems, settings, bits=(0,), extra=None):
        for set_name, system, setting, n_bits in product(sets, systems, settings, bits):
            seeds = range(n_seeds if system.is_random else 1)
            fits.append((part, set_name, system, setting, n_bits, seeds, extra or {}))

    sets, settings = arguments.sets, arguments.settings
    if "projection" in arguments.parts:
        add("projection", sets, BASELINES + PROJECTORS, settings)
        add("projection", sets, [ENSEMBLE], settings)
        add("projection", sets, [RIVAL], [s for s in settings if s == "tuned"])
    if "hashing" in arguments.parts:
        systems = HASHING_BASELINES + HASHERS
        add("hashing", sets, systems, settings, arguments.bits)
    if "ablations" in arguments.parts:
        n_seeds = N_ABLATION_SEEDS
        for system in PROJECTORS + HASHERS:
            bits = [ABLATED_BITS if system in HASHERS else 0]
            for label, extra in ABLATIONS[system.name].items():
                add("ablations", ABLATED_SETS, [system], [label], bits, extra)
    names = arguments.systems
    return [fit for fit in fits if names is None or fit[2].name in names]


def read_cells():
    """Return what was measured so far."""
    if not CELLS.exists():
        return pd.DataFrame(columns=COLUMNS)
    return pd.read_csv(CELLS)


def missing(fits, cells):
    """Return the fits without the seeds that were measured."""
    known = set(cells[KEYS].itertuples(index=False, name=None))
    rest = []
    for part, set_name, system, setting, n_bits, seeds, extra in fits:
        key = (part, set_name, system.name, setting, n_bits)
        seeds = [seed for seed in seeds if (*key, seed) not in known]
        if seeds:
            rest.append((part, set_name, system, setting, n_bits, seeds, extra))
    return rest


def read_tuned(cells):
    """Return what was chosen for the projectors and the rival, by set."""
    names = [system.name for system in [*PROJECTORS, RIVAL]]
    rows = cells[
        (cells.part == "projection")
        & (cells.setting == "tuned")
        & cells.system.isin(names)
    ]
    tuned: dict[str, dict] = defaultdict(dict)
    for row in rows.itertuples():
        tuned[row.set][row.system] = json.loads(row.params)
    return tuned


def measure(fits, n_jobs, tuned=None):
    """Run fits side by side, and append their cells as they come."""
    parallel = Parallel(n_jobs, return_as="generator_unordered")
    calls = (delayed(fit_seeds)(*fit, tuned[fit[1]] if tuned else {}) for fit in fits)
    for cells in parallel(calls):
        frame = pd.DataFrame(cells, columns=COLUMNS)
        frame.to_csv(CELLS, mode="a", header=not CELLS.exists(), index=False)
        for protocol, own in frame.groupby("protocol", sort=False):
            key = " ".join(str(value) for value in cells[0][:5])
            print(
                f"{key:50} {protocol:15} {own['mean'].mean():.4f} "
                f"{own.seconds.mean():6.1f} s {cells[0][-1]}",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ["projection", "hashing", "ablations"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--sets", nargs="+", choices=REAL_SETS, default=REAL_SETS)
    parser.add_argument("--systems", nargs="+")
    settings = ["defaults", "tuned"]
    parser.add_argument("--settings", nargs="+", choices=settings, default=settings)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--bits", nargs="+", type=int, default=[16, 32, 64])
    parser.add_argument("--jobs", type=int, default=2, help="number of processes")
    parser.add_argument("--restart", action="store_true", help="forget earlier fits")
    arguments = parser.parse_args()
    if arguments.restart:
        CELLS.unlink(missing_ok=True)
    fits = missing(list_fits(arguments), read_cells())
    # Ensembles take the tuned parameters of their members.
    late = [fit for fit in fits if fit[2].name == ENSEMBLE.name and fit[3] == "tuned"]
    measure([fit for fit in fits if fit not in late], arguments.jobs)
    measure(late, arguments.jobs, read_tuned(read_cells()))
    write_page(read_cells(), shlex.join(["python", *sys.argv]))
