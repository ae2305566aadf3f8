"""What the tables of wrong inputs share: the form of a row, and small data."""

# SPDX-License-Identifier: BSD-3-Clause

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from sklearn.base import clone

import sklearn_cmr
from sklearn_cmr import make_pairs


class Row(NamedTuple):
    """One wrong input.

    Attributes
    ----------
    name : str

    call : callable
        Without arguments.

    error : type
        The exact class of the exception.

    message : str
        Regular expression that the beginning of its message matches.
    """

    name: str
    call: Callable
    error: type
    message: str


N = 12
N_IMAGE, N_TEXT = 4, 3
_rng = np.random.default_rng(0)
Y = np.arange(N) % 3
IMAGE = _rng.normal(size=(N, N_IMAGE)) + Y[:, None]
TEXT = _rng.normal(size=(N, N_TEXT)) - Y[:, None]
WHOLE = np.hstack([IMAGE, TEXT])
INDICATOR = np.eye(3, dtype=int)[Y]
PAIRS = make_pairs(IMAGE, TEXT)
CODES = np.where(_rng.normal(size=(N, 12)) > 0, 1, -1).astype(np.int8)


def changed(X, value, place=(1, 0)):
    """Return a copy of an array with another value in one place."""
    X = np.array(X, dtype=np.result_type(X, value))
    X[place] = value
    return X


def make(name, **params):
    """Return a small estimator by the name of its class."""
    cls = getattr(sklearn_cmr, name)
    small = {
        "embedding_dim": 3,
        "n_bits": 4,
        "n_components": 2,
        "feature_dim": 3,
        "hidden_layer_sizes": (4,),
        "label_hidden_layer_sizes": (4,),
        "discriminator_hidden_layer_sizes": (3,),
        "batch_size": 6,
        "max_epochs": 1,
        "max_epochs_prior": 1,
        "random_state": 0,
        "n_estimators": 2,
    }
    needed = {
        "CrossModalEnsemble": {"estimator": sklearn_cmr.SemanticMatchingProjector()},
        "CrossModalRetriever": {"model": sklearn_cmr.SemanticMatchingProjector()},
    }.get(name, {})
    estimator = cls(**needed)
    known = estimator.get_params(deep=False)
    small = {name: value for name, value in small.items() if name in known}
    return estimator.set_params(**small | params)


@cache
def _fitted(name):
    return make(name).fit(IMAGE, TEXT, Y)


def fitted(name):
    """Return an estimator fitted to the pairs, which the caller must not change."""
    return _fitted(name)


def refitted(name, **params):
    """Return an estimator of its own, fitted to the pairs."""
    return clone(make(name, **params)).fit(IMAGE, TEXT, Y)


class Thing:
    """An object that is nothing else."""

    def __repr__(self):
        return "Thing()"
