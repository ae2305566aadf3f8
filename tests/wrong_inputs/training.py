"""Wrong callbacks, and wrong arguments of the parts of a training."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import torch
from sklearn.utils._param_validation import InvalidParameterError
from skorch.callbacks import BatchScoring, Checkpoint, EarlyStopping, EpochScoring

from sklearn_cmr import ACMRProjector
from sklearn_cmr.training import Player
from sklearn_cmr.training.devices import resolve_device
from tests.wrong_inputs.rows import IMAGE, TEXT, Row, Y, make, refitted


def _fit(*callbacks, **params):
    return lambda: make("ACMRProjector", callbacks=[*callbacks], **params).fit(
        IMAGE, TEXT, Y
    )


def _set(**params):
    callbacks = [("stop", EarlyStopping(monitor="train_loss")), ("cls", EarlyStopping)]
    return lambda: ACMRProjector(callbacks=callbacks).set_params(**params)


def _player(**options):
    weights = [torch.nn.Parameter(torch.zeros(2))]
    settings = {"name": "encoders", "parameters": weights, "loss": None, "lr": 0.1}
    return lambda: Player(**settings | options)


_MONITOR = "The callback (EarlyStopping|Checkpoint) monitors 'valid_"
_BETAS = r"betas must be two numbers in \[0, 1\)"
_SCORING = r"EpochScoring needs a function scoring\(net, X, y\)"


def _warm(change, **params):
    estimator = refitted("ACMRProjector", warm_start=True)
    return lambda: estimator.set_params(**params).fit(*change(IMAGE, TEXT, Y))


ROWS = [
    Row(name, call, error, message)
    for name, call, error, message in [
        ("early stopping of nothing", _fit(EarlyStopping()), ValueError, _MONITOR),
        ("class that stops early", _fit(EarlyStopping), ValueError, _MONITOR),
        ("checkpoints of nothing", _fit(Checkpoint()), ValueError, _MONITOR),
        ("named checkpoints", _fit(("best", Checkpoint())), ValueError, _MONITOR),
        (
            "scores of batches",
            _fit(BatchScoring("accuracy")),
            ValueError,
            "BatchScoring needs predictions",
        ),
        ("scores by name", _fit(EpochScoring("accuracy")), ValueError, _SCORING),
        (
            "scores of no rows",
            _fit(EpochScoring(len)),
            ValueError,
            "EpochScoring scores held-out rows",
        ),
        (
            "one name twice",
            _fit(
                ("a", EarlyStopping(monitor="train_loss")),
                ("a", EarlyStopping(monitor="train_loss")),
            ),
            ValueError,
            "Found duplicate user-set callback name 'a'",
        ),
        (
            "tuple of one",
            _fit(("a",)),
            TypeError,
            "callbacks must hold skorch callbacks",
        ),
        (
            "number as name",
            _fit((3, EarlyStopping())),
            TypeError,
            "callbacks must hold skorch callbacks",
        ),
        (
            "callback alone",
            lambda: ACMRProjector(callbacks=EarlyStopping()).fit(IMAGE, TEXT, Y),
            InvalidParameterError,
            "The 'callbacks' parameter of ACMRProjector",
        ),
        (
            "parameter of a callback",
            _set(callbacks__stop__speed=3),
            ValueError,
            "Invalid parameter 'callbacks__stop__speed'",
        ),
        (
            "parameter of a class",
            _set(callbacks__cls__patience=3),
            ValueError,
            "Invalid parameter 'callbacks__cls__patience': .* Pass an instance",
        ),
        (
            "unknown callback",
            _set(callbacks__start=3),
            ValueError,
            "Invalid parameter 'callbacks__start': callbacks has no callback",
        ),
        ("player with one beta", _player(betas=(0.9,)), ValueError, _BETAS),
        ("player with a number as betas", _player(betas=0.9), ValueError, _BETAS),
        ("player with words as betas", _player(betas=("a", "b")), ValueError, _BETAS),
        ("player with ragged betas", _player(betas=[[1], [1, 2]]), ValueError, _BETAS),
        (
            "unknown device",
            lambda: resolve_device("gpu"),
            ValueError,
            "device='gpu' cannot be used",
        ),
        (
            "device of a number that is not there",
            lambda: resolve_device("cuda:99"),
            ValueError,
            "device='cuda:99' cannot be used",
        ),
        (
            "rate that diverges",
            lambda: make("ACMRProjector", lr=1e30, max_epochs=3).fit(IMAGE, TEXT, Y),
            FloatingPointError,
            "ACMRProjector: ",
        ),
        # Warm starts.
        (
            "warm start with other widths",
            _warm(lambda X, Z, y: (X[:, 1:], Z, y)),
            ValueError,
            "X has 3 image features",
        ),
        (
            "warm start with other classes",
            _warm(lambda X, Z, y: (X, Z, y + 1)),
            ValueError,
            "warm_start=True continues with the same classes",
        ),
        (
            "warm start with other networks",
            _warm(lambda *data: data, hidden_layer_sizes=(5,)),
            ValueError,
            "warm_start=True continues with the same networks",
        ),
        (
            "warm start with other outputs",
            _warm(lambda *data: data, embedding_dim=5),
            ValueError,
            "warm_start=True continues with the same",
        ),
        (
            "warm start with NaN",
            _warm(lambda X, Z, y: (X * np.nan, Z, y)),
            ValueError,
            "Input image features contains NaN",
        ),
    ]
]
