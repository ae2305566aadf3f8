"""What the tests of several modules share: data, recorders and ways into `fit`."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from skorch.callbacks import Callback

from sklearn_cmr import make_pairs
from sklearn_cmr._inputs.labels import read_labels
from sklearn_cmr.metrics import mean_average_precision
from sklearn_cmr.training.modalities import HeldOut

# -- data --------------------------------------------------------------------------


def make_labels(kind, n_samples, n_classes, rng):
    """Draw a label indicator.

    Parameters
    ----------
    kind : {"single", "multi", "one class", "all apart"}
        One label a row; several, the first row with all of them; the same label in
        all rows; or labels that differ between rows as long as there are classes, the
        last of which has no row.

    n_samples, n_classes : int

    rng : numpy.random.Generator

    Returns
    -------
    y : float64 ndarray of shape (n_samples, n_classes)
    """
    classes = rng.integers(0, n_classes, n_samples)
    if kind == "one class":
        classes[:] = 0
    elif kind == "all apart":
        classes = np.minimum(np.arange(n_samples), n_classes - 2)
    y = np.eye(n_classes)[classes]
    if kind == "multi":
        y = np.maximum(y, rng.random(y.shape) < 0.25)
        y[0] = 1  # overlaps everything
    return y


# -- training ----------------------------------------------------------------------


class Records:
    """What a recorder has noted.

    Attributes
    ----------
    phases : list of Phase

    starts : list of dict
        Weights at the beginning of each phase.

    rows : list of tensor
        Rows of each training batch.

    moved : list of set of str
        Names of the parameters that each step of a player updates.

    weights : list of dict
        Weights at the end of each epoch.

    rates : list of dict
        Learning rates at the end of each epoch, by player.
    """

    def __init__(self):
        self.phases, self.starts, self.rows = [], [], []
        self.moved, self.weights, self.rates = [], [], []


class Recorder(Records, Callback):
    """Record what a training does. Fits work on copies, which would forget it.

    Attributes
    ----------
    by_phase : dict of str to Records
        What belongs to one phase, by its name. The other attributes have it all.
    """

    def __init__(self):
        super().__init__()
        self.by_phase = {}

    def __deepcopy__(self, memo):
        return self

    def _note(self, net, **values):
        own = self.by_phase.setdefault(net.phase.name, Records())
        for name, value in values.items():
            getattr(self, name).append(value)
            getattr(own, name).append(value)

    def on_train_begin(self, net, **kwargs):
        self._note(net, phases=net.phase, starts=weights_of(net))

    def on_batch_begin(self, net, batch, training, **kwargs):
        if training:
            self._note(net, rows=batch.rows)

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self._note(net, moved={name for name, _ in named_parameters})

    def on_epoch_end(self, net, **kwargs):
        rates = {p.name: own.param_groups[0]["lr"] for p, own in net.turns_}
        self._note(net, weights=weights_of(net), rates=rates)


def weights_of(fitted):
    """Return a copy of the weights of an estimator, or of a net of skorch."""
    return copy.deepcopy(fitted.module_.state_dict())


def assert_same_weights(first, second, part=""):
    """Compare the weights of two estimators whose names begin alike, bit for bit."""
    first, second = (
        {k: v for k, v in own.module_.state_dict().items() if k.startswith(part)}
        for own in (first, second)
    )
    assert first and first.keys() == second.keys()
    for name, weights in first.items():
        assert torch.equal(weights, second[name]), name


def make_task(estimator, features, y, *, fraction=None, seed=0):
    """Return the task that `fit` makes, on the CPU.

    Parameters
    ----------
    estimator : NetworkTransformer

    features : dict of str to ndarray

    y : ndarray, or dict of str to ndarray

    fraction : float, default=None
        Share of the rows to hold out; none by default.

    seed : int, default=0
    """
    features, labels = read_labels(
        y, features, estimator, by_modality=estimator._any_modalities
    )
    device = torch.device("cpu")
    return estimator._make_task(features, labels, device, HeldOut(fraction, seed))


def split_rows(y, fraction, random_state=0):
    """Return the rows of a modality that `fit` trains on, and those it holds out."""
    seed = check_random_state(random_state).randint(2**31 - 1)
    # Several labels a row are no classes to stratify by.
    classes = y if np.ndim(y) == 1 else None
    rows = np.arange(len(y))
    return train_test_split(
        rows, test_size=fraction, stratify=classes, random_state=seed
    )


def check_given_held_out_rows(estimator, X_img, X_txt, y, n_train):
    """Fit with `X_val`: its rows are not trained on, but early stopping ranks them.

    Parameters
    ----------
    estimator : NetworkTransformer
        With ``early_stopping=True`` and, in the training, a best epoch that is not the
        last one.

    X_img, X_txt, y : ndarray

    n_train : int
        Number of the leading rows to train on.
    """
    recorder = Recorder()
    estimator.set_params(callbacks=[recorder])
    train = X_img[:n_train], X_txt[:n_train], y[:n_train]
    held_out = make_pairs(X_img[n_train:], X_txt[n_train:]), y[n_train:]
    estimator.fit(*train, X_val=held_out[0], y_val=held_out[1])
    drawn = {row for rows in recorder.rows for row in rows.flatten().tolist()}
    assert drawn == set(range(n_train))
    scores = [row["valid_map"] for row in estimator.history_]
    best = int(np.argmax(scores))
    n_epochs = best + 1 + estimator.n_iter_no_change
    assert estimator.n_iter_ == n_epochs < estimator.max_epochs
    assert estimator.score(*held_out) == pytest.approx(scores[best], abs=1e-6)
    for name, weights in estimator.module_.state_dict().items():
        assert torch.equal(weights, recorder.weights[best][name]), name
    with pytest.raises(ValueError, match="X_val and y_val together"):
        estimator.fit(*train, X_val=held_out[0])
    estimator.set_params(early_stopping=False)
    with pytest.raises(ValueError, match="set early_stopping=True"):
        estimator.fit(*train, X_val=held_out[0], y_val=held_out[1])


def check_encoder(estimator, features):
    """Compare `encoder_` with `transform`, given features by modality."""
    for modality, X in features.items():
        encoder = estimator.encoder_(modality)
        assert encoder is estimator.module_["encoders"][modality]
        found = encoder(torch.from_numpy(X).float()).detach()
        expected = estimator.transform_modality(X, modality)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="modality must be one of"):
        estimator.encoder_("sound")


# -- real data ---------------------------------------------------------------------


def standardize(arrays):
    """Standardize real data with the means and scales of the training rows.

    Parameters
    ----------
    arrays : dict
        What the fixture `real_data` loads.

    Returns
    -------
    train, test : tuple of (X_img, X_txt, y)
    """
    scalers = {
        name: StandardScaler().fit(arrays[f"{name}_train"])
        for name in ("image", "text")
    }
    return tuple(
        (
            *(scaler.transform(arrays[f"{m}_{part}"]) for m, scaler in scalers.items()),
            arrays[f"y_{part}"],
        )
        for part in ("train", "test")
    )


def map_of_directions(estimator, X_img, X_txt, y):
    """Return the mAP from images to texts, and from texts to images, by cosines."""
    Z_img, Z_txt = estimator.transform(X_img, X_txt)
    score = partial(mean_average_precision, y_query=y, y_gallery=y, metric="cosine")
    return np.array([score(Z_img, Z_txt), score(Z_txt, Z_img)])
