"""The simple rivals of the methods: searches over baselines on the training rows.

The rival of the projectors is the best of semantic matching, with and without the class
prior, by logistic regression, linear discriminant analysis, support vector machines and
extremely randomized trees, and of canonical correlation analysis. The rival of the
hashers is the best of iterative quantization of both.

    SKLEARN_CMR_DATA=... python benchmarks/rivals.py [--bits 32] [name ...]

prints what cross-validation inside the training split prefers of every kind. With
``--bits`` it is about the hashers. The test split is not touched.
"""

# SPDX-License-Identifier: BSD-3-Clause

import argparse
import time
import warnings

import numpy as np
from data import REAL_SETS, load, make_folds, make_scaler
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from sklearn_cmr import (
    CCAProjector,
    ITQHasher,
    SemanticMatchingProjector,
)
from sklearn_cmr.metrics import map_scorer

CCA_GRID = {"n_components": [5, 10, 20], "shrinkage": [0.01, 0.1, 1.0]}


def matching_grids(y):
    """Return the parameters of semantic matching to try, by the classifier.

    Where rows have several labels, only classifiers whose one-vs-rest takes seconds
    with hundreds of labels.
    """
    prior = {"subtract_prior": [False, True]}
    grids = {
        "LR": {"C": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0], **prior},
        "LDA": {"estimator": [LinearDiscriminantAnalysis()], **prior},
    }
    if np.ndim(y) == 1:
        # Coupled pairs of classes rank better than a CalibratedClassifierCV of an SVC,
        # with all of its methods.
        machine = SVC(probability=True, random_state=0)
        trees = ExtraTreesClassifier(n_estimators=200, random_state=0)
        grids["SVC"] = {"estimator": [machine], "estimator__C": [2.0], **prior}
        grids["trees"] = {
            "estimator": [trees],
            "estimator__min_samples_leaf": [1, 3],
            **prior,
        }
    return grids


def make_search(methods, y):
    """Return the search over methods with grids, on standardized features.

    Parameters
    ----------
    methods : list of (estimator, dict)
        Each method with the grid of its parameters.

    y : ndarray
        Labels; they decide on the folds.

    Returns
    -------
    search : GridSearchCV
    """
    grids = [
        {"method": [method]} | {f"method__{name}": grid[name] for name in grid}
        for method, grid in methods
    ]
    return GridSearchCV(
        Pipeline([("standardize", make_scaler()), ("method", CCAProjector())]),
        grids,
        scoring=map_scorer,
        cv=make_folds(y),
    )


def make_rival(y):
    """Return the unfitted search over the rivals of the projectors.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_labels)
        Labels of the training rows.

    Returns
    -------
    search : GridSearchCV
        To be fitted to the pairs of the training rows and `y`.
    """
    matching = [
        (SemanticMatchingProjector(), grid) for grid in matching_grids(y).values()
    ]
    return make_search([*matching, (CCAProjector(), CCA_GRID)], y)


def make_hashing_rival(y, n_bits):
    """Return the unfitted search over the rivals of the hashers.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_labels)
        Labels of the training rows.

    n_bits : int

    Returns
    -------
    search : GridSearchCV
    """
    return make_search(
        [
            (
                ITQHasher(projector=projector, n_bits=n_bits, random_state=0),
                {f"projector__{name}": values for name, values in grid.items()},
            )
            for projector, grid in [
                *((SemanticMatchingProjector(), g) for g in matching_grids(y).values()),
                (CCAProjector(), CCA_GRID),
            ]
        ],
        y,
    )


def describe(params):
    """Return the kind of a candidate, and its settings."""
    method = params["method"]
    projector = getattr(method, "projector", method)
    classifier = params.get(
        "method__estimator", params.get("method__projector__estimator")
    )
    kind = type(projector if classifier is None else classifier).__name__
    settings = {
        name.removeprefix("method__").removeprefix("projector__"): value
        for name, value in params.items()
        if name != "method" and value is not classifier
    }
    return kind, settings


def report(name, search, seconds):
    """Print the best candidate of every kind, from the best kind to the worst."""
    results = search.cv_results_
    print(f"{name}: {len(results['params'])} candidates, {seconds:.0f} s")
    seen = set()
    for i in np.argsort(results["rank_test_score"]):
        kind, settings = describe(results["params"][i])
        if kind not in seen:
            seen.add(kind)
            mean, std = (results[f"{m}_test_score"][i] for m in ("mean", "std"))
            print(f"  {kind:28} {mean:.4f} +- {std:.4f}  {settings}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=REAL_SETS)
    parser.add_argument("--bits", type=int, help="rivals of the hashers")
    arguments = parser.parse_args()
    # SVC(probability=True) is to go in a later scikit-learn.
    warnings.filterwarnings("ignore", ".*probability", FutureWarning)
    for data_set in arguments.names:
        pairs, y = load(data_set, "train")
        bits = arguments.bits
        rival = make_rival(y) if bits is None else make_hashing_rival(y, bits)
        start = time.perf_counter()
        rival.set_params(refit=False).fit(pairs, y)
        report(data_set, rival, time.perf_counter() - start)
