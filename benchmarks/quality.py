"""Retrieval quality on real feature sets, beside the baselines to beat.

For each data set: the two baselines (canonical correlation analysis without labels, and
semantic matching by logistic regression), then every method with its defaults and, with
``--search``, tuned by GridSearchCV on the training split alone. Inputs are standardized
by PairTransformer. The figure is the mAP over the whole ranking of the test split by
cosine similarity, averaged over both directions: mean and standard deviation over the
seeds.

    SKLEARN_CMR_DATA=... python benchmarks/quality.py [--search] [--methods ACMR DRCL]
        [--seeds 3] [--jobs 2] [name ...]
"""

# SPDX-License-Identifier: BSD-3-Clause

import argparse
import os
import time
from pathlib import Path

import numpy as np
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import (
    ACMRProjector,
    CCAProjector,
    CMGANProjector,
    DRCLProjector,
    PairTransformer,
    SemanticMatchingProjector,
    make_pairs,
)
from sklearn_cmr.metrics import map_scorer

DATA_SETS = [
    "wiki_sift_lda",
    "wiki_cnn_pca",
    "uci_mfeat",
    "iaprtc12_1962",
    "pascal_sentence_100",
]
# What is tried for each method; a list holds grids side by side.
GRIDS = {
    ACMRProjector: {
        "margin": [4.0, 6.0, 8.0],
        "lr": [3e-4, 5e-4],
        "label_weight": [0.5, 1.0],
        "adversarial_weight": [0.1, 0.3],
    },
    CMGANProjector: [
        {"betas": [(0.5, 0.999), (0.9, 0.999)]},
        {
            "betas": [(0.5, 0.999), (0.9, 0.999)],
            "lr_decay_every": [1],
            "max_epochs": [8],
        },
        {
            "sampler": ["shuffle"],
            "label_weight": [0.3, 1.0],
            "lr_decay_every": [1],
            "max_epochs": [8],
        },
        {
            "betas": [(0.9, 0.999)],
            "label_weight": [0.5, 1.0],
            "sampler": ["shuffle"],
        },
    ],
    DRCLProjector: [
        {
            "hidden_layer_sizes": [(512,), (256, 256)],
            "lr": [3e-4, {"image": 1e-4, "text": 3e-4}],
            "max_epochs": [50, 100],
            "max_epochs_prior": [50],
        },
        {
            "hidden_layer_sizes": [(256, 256)],
            "lr": [3e-4],
            "recast_weight": [1.0],
            "recast_reduction": ["sum"],
            "max_epochs": [100],
            "max_epochs_prior": [50],
        },
        {
            "hidden_layer_sizes": [(1024,)],
            "lr": [{"image": 1e-4, "text": 3e-4}],
            "prior": ["text"],
            "max_epochs": [50, 100],
            "max_epochs_prior": [50],
        },
    ],
}
BASELINES = {"CCA": CCAProjector(), "SM": SemanticMatchingProjector()}
METHODS = {method.__name__.removesuffix("Projector"): method for method in GRIDS}


def load(name):
    """Return the training and the test pairs of a data set with their labels."""
    with np.load(Path(os.environ["SKLEARN_CMR_DATA"]) / f"{name}.npz") as arrays:
        return [
            (
                make_pairs(arrays[f"image_{part}"], arrays[f"text_{part}"]),
                arrays[f"y_{part}"],
            )
            for part in ("train", "test")
        ]


def make_model(method):
    """Return the pipeline that standardizes both modalities before a method."""
    return make_pipeline(
        PairTransformer(image=StandardScaler(), text=StandardScaler()), method
    )


def make_folds(y):
    """Return shuffled folds, stratified where every row has one class."""
    kind = StratifiedKFold if y.ndim == 1 else KFold
    return kind(3, shuffle=True, random_state=0)


def report(name, label, scores, seconds):
    """Print one line of the table."""
    print(
        f"{name:15} {label:18} {np.mean(scores):.4f} +- {np.std(scores):.4f}"
        f"   {seconds:6.1f} s",
        flush=True,
    )


def fit_seeds(method, seeds, params, train, y_train, test, y_test):
    """Return the mean mAP of both directions on the test split, for every seed."""
    models = (make_model(method(random_state=s, **params)) for s in range(seeds))
    return [map_scorer(model.fit(train, y_train), test, y_test) for model in models]


def search(method, params, train, y_train, n_jobs):
    """Return the parameters that cross-validation of the training split prefers."""
    prefix = f"{method.__name__.lower()}__"
    grids = GRIDS[method]
    grids = [
        {prefix + name: values for name, values in grid.items()}
        for grid in (grids if isinstance(grids, list) else [grids])
    ]
    result = GridSearchCV(
        make_model(method(random_state=0, **params)),
        grids,
        scoring=map_scorer,
        cv=make_folds(y_train),
        n_jobs=n_jobs,
        refit=False,
    ).fit(train, y_train)
    best = result.best_params_.items()
    return {name.removeprefix(prefix): value for name, value in best}


def run(name, methods, seeds, with_search, n_jobs):
    """Print the figures of one data set."""
    (train, y_train), (test, y_test) = load(name)
    for label, baseline in BASELINES.items():
        start = time.perf_counter()
        model = make_model(baseline).fit(train, y_train)
        score = map_scorer(model, test, y_test)
        report(name, f"{label}, defaults", [score], time.perf_counter() - start)
    for label in methods:
        method, params = METHODS[label], {}
        if method is DRCLProjector and y_train.ndim == 2:
            # The common space must be as wide as there are classes.
            params["embedding_dim"] = max(256, y_train.shape[1])
        data = train, y_train, test, y_test
        start = time.perf_counter()
        scores = fit_seeds(method, seeds, params, *data)
        report(name, f"{label}, defaults", scores, time.perf_counter() - start)
        if with_search:
            start = time.perf_counter()
            best = search(method, params, train, y_train, n_jobs)
            scores = fit_seeds(method, seeds, params | best, *data)
            report(name, f"{label}, tuned", scores, time.perf_counter() - start)
            print(f"{'':15} chosen by cross-validation: {best}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=DATA_SETS)
    parser.add_argument(
        "--search", action="store_true", help="tune on the training split"
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="processes of the search")
    arguments = parser.parse_args()
    for data_set in arguments.names:
        run(
            data_set,
            arguments.methods,
            arguments.seeds,
            arguments.search,
            arguments.jobs,
        )
