"""Search for the defaults of the methods, on training rows alone.

Every candidate of `candidates.py` is fitted to two thirds of the training rows of
the real sets and of two generated ones, and scored on the last third: the mAP over
the whole ranking, the mean of both directions, where held-out rows query held-out rows.
The splits are shuffled, stratified where every row has one class. Test rows are never
read. Inputs are standardized by PairTransformer.

The scores are added to ``defaults/{method}.csv``, which keeps the cells that are there
already, and ``defaults/{method}.md`` shows them as a table. Of a projector, one fit
gives the scores of all its outputs.

    SKLEARN_CMR_DATA=... python benchmarks/defaults.py ACMR [--candidates name ...]
        [--sets name ...] [--splits 3] [--seeds 3] [--table]
"""

# SPDX-License-Identifier: BSD-3-Clause

import argparse
import subprocess
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from candidates import CANDIDATES, METHODS
from data import REAL_SETS, load, make_scaler
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

from sklearn_cmr import make_pairs
from sklearn_cmr.datasets import make_cross_modal_classification

FOLDER = Path(__file__).parent / "defaults"
GENERATED_SETS = {
    "few_rows": {
        "n_samples": 90,
        "n_image_features": 200,
        "n_text_features": 50,
        "n_classes": 6,
        "image_noise": 3.0,
        "text_noise": 2.0,
    },
    "many_labels": {
        "n_samples": 700,
        "n_image_features": 100,
        "n_text_features": 60,
        "n_classes": 60,
        "n_latent": 20,
        "image_noise": 2.0,
        "text_noise": 2.0,
        "multilabel": True,
        "n_labels": 3,
    },
}
SETS = [*REAL_SETS, *GENERATED_SETS]
OUTPUTS = ("embedding", "probabilities", "both")
KEYS = ["candidate", "set", "split", "seed", "output"]


def load_training_rows(name):
    """Return the training pairs of a set and their labels."""
    if name in GENERATED_SETS:
        A, B, y = make_cross_modal_classification(
            **GENERATED_SETS[name], random_state=0
        )
        return make_pairs(A, B), y
    return load(name, "train")


def split(y, number):
    """Return the rows to fit to and those to score on, of a numbered split."""
    kind = StratifiedShuffleSplit if y.ndim == 1 else ShuffleSplit
    splitter = kind(1, test_size=1 / 3, random_state=number)
    return next(splitter.split(np.zeros(len(y)), y))


def score_candidate(method, params, pairs, y, number, seed):
    """Yield the score of every output of one fit, and the seconds of the fit."""
    fitted, held_out = split(y, number)
    scaler = make_scaler()
    X, X_held_out = (
        scaler.fit_transform(pairs[fitted]),
        scaler.transform(pairs[held_out]),
    )
    estimator = method(random_state=seed, **params)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(X, y[fitted])
    seconds = time.perf_counter() - start
    outputs = OUTPUTS if hasattr(estimator, "embedding_dim") else ("codes",)
    for output in outputs:
        if output != "codes":
            if not estimator.label_weight and output != "embedding":
                continue
            estimator.set_params(output=output)
        yield output, estimator.score(X_held_out, y[held_out]), seconds


def run(name, candidates, sets, n_splits, n_seeds):
    """Add the missing cells to the file of a method."""
    path = FOLDER / f"{name}.csv"
    done = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=KEYS)
    known = set(done[KEYS[:4]].itertuples(index=False, name=None))
    for set_name in sets:
        pairs, y = load_training_rows(set_name)
        for candidate in candidates:
            params = CANDIDATES[name][candidate]
            for number in range(n_splits):
                for seed in range(n_seeds):
                    cell = (candidate, set_name, number, seed)
                    if cell in known:
                        continue
                    rows = [
                        [*cell, output, round(score, 5), round(seconds, 2)]
                        for output, score, seconds in score_candidate(
                            METHODS[name], params, pairs, y, number, seed
                        )
                    ]
                    frame = pd.DataFrame(rows, columns=[*KEYS, "score", "seconds"])
                    frame.to_csv(path, mode="a", header=not path.exists(), index=False)
            report(name, [candidate], [set_name])


def summarize(name):
    """Return mean scores by candidate and output (rows) and set (columns)."""
    frame = pd.read_csv(FOLDER / f"{name}.csv")
    return frame.pivot_table(
        index=["candidate", "output"], columns="set", values="score", sort=False
    ).reindex(columns=SETS)


def report(name, candidates, sets):
    """Print the means of some cells."""
    table = summarize(name)
    for (candidate, output), row in table[sets].iterrows():
        if candidate in candidates:
            values = "  ".join(f"{s} {row[s]:.4f}" for s in sets)
            print(f"{name} {candidate:40} {output:14} {values}", flush=True)


def write_table(name):
    """Write the table of a method, with its candidates."""
    table = summarize(name).round(4)
    table["mean"] = table.mean(axis=1, skipna=False).round(4)
    frame = pd.read_csv(FOLDER / f"{name}.csv")
    counts = frame.groupby(["candidate", "output", "set"]).size()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    lines = [
        f"# Candidates for the defaults of {METHODS[name].__name__}",
        "",
        "Mean mAP of both directions on held-out training rows; written by "
        f"`python benchmarks/defaults.py {name}` after commit {commit}. `fits` is the "
        "number of splits times that of seeds in each cell: compare rows with equal "
        "numbers, which share their splits.",
        "",
        "| candidate | output | fits | " + " | ".join(table.columns) + " |",
        "|---" * (len(table.columns) + 3) + "|",
    ]
    for (candidate, output), row in table.iterrows():
        values = ["" if np.isnan(value) else f"{value:.4f}" for value in row]
        fits = "-".join(
            map(str, np.unique([counts[candidate, output].agg(["min", "max"])]))
        )
        lines.append(
            f"| {candidate} | {output} | {fits} | " + " | ".join(values) + " |"
        )
    lines += ["", "Parameters of the candidates, where they are not the defaults:", ""]
    present = frame["candidate"].unique()
    for candidate, params in CANDIDATES[name].items():
        if candidate in present:
            lines.append(f"- {candidate}: `{params}`")
    (FOLDER / f"{name}.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("--candidates", nargs="+")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="only write the table")
    arguments = parser.parse_args()
    chosen = arguments.candidates or list(CANDIDATES[arguments.method])
    if not arguments.table:
        run(
            arguments.method,
            chosen,
            arguments.sets,
            arguments.splits,
            arguments.seeds,
        )
    write_table(arguments.method)
