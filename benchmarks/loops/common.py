"""Data, networks, row order and means for the loops of all methods."""

# SPDX-License-Identifier: BSD-3-Clause

from typing import NamedTuple

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import check_random_state
from torch.utils.data import DataLoader

from sklearn_cmr.base._encoders import build_networks
from sklearn_cmr.datasets import make_cross_modal_classification
from sklearn_cmr.training.devices import seeded_building

_FEW_ROWS = 64


class Data(NamedTuple):
    """A training set.

    Attributes
    ----------
    features : dict of str to float32 ndarray of shape (n_samples, n_features)

    y : ndarray
        Labels in the form that `fit` takes.

    indicator : uint8 ndarray of shape (n_samples, n_classes)
    """

    features: dict[str, np.ndarray]
    y: np.ndarray
    indicator: np.ndarray

    @property
    def n_samples(self):
        """Number of pairs."""
        return len(self.indicator)

    def tensors(self, device="cpu"):
        """Return the features by modality and the labels as float32 tensors."""
        features = {
            name: torch.from_numpy(X).to(device) for name, X in self.features.items()
        }
        return features, torch.from_numpy(self.indicator).float().to(device)


def make_data(n_samples, n_image_features, n_text_features, n_classes=10, **params):
    """Generate a training set of the given size."""
    image, text, y = make_cross_modal_classification(
        n_samples,
        n_image_features=n_image_features,
        n_text_features=n_text_features,
        n_classes=n_classes,
        random_state=0,
        **params,
    )
    features = {"image": np.float32(image), "text": np.float32(text)}
    indicator = y if y.ndim == 2 else y[:, None] == np.unique(y)
    return Data(features, y, indicator.astype(np.uint8))


def seed_of(estimator):
    """Return the seed that `fit` gives its generators."""
    return check_random_state(estimator.random_state).randint(2**31 - 1)


def prepare(estimator, data):
    """Return a copy of an estimator and its networks before the first step."""
    estimator = clone(estimator)
    # A few rows are enough for the attributes that `fit` sets; checking all takes time.
    few = [part[:_FEW_ROWS] for part in (*data.features.values(), data.y)]
    estimator._inspect_training_set(*estimator._read_training_set(*few))
    estimator.classes_ = np.arange(data.indicator.shape[1])
    with seeded_building(seed_of(estimator)):
        module = build_networks(estimator, data.features)
    return estimator, module.to(device_for(estimator)).train()


def build(estimator, data):
    """Return the networks of an estimator before the first step."""
    return prepare(estimator, data)[1]


def device_for(estimator):
    """Return the device to train on."""
    return torch.device("cpu" if estimator.device == "auto" else estimator.device)


def seeded_generator(estimator, epoch, device="cpu"):
    """Return a generator in the state of that of `fit` at the start of an epoch."""
    return torch.Generator(device).manual_seed(seed_of(estimator) + epoch)


def same_order(estimator, n_samples):
    """Return a function for :func:`load` that gives the batches of `fit`."""

    def order(epoch):
        generator = seeded_generator(estimator, epoch)
        rows = torch.randperm(n_samples, generator=generator)
        return [part.tolist() for part in rows.split(estimator.batch_size)]

    return order


def load(dataset, batch_size, order, epoch):
    """Return the data loader of a tutorial, with the given batches if there are any."""
    if order is None:
        return DataLoader(dataset, batch_size=batch_size, shuffle=True)
    return DataLoader(dataset, batch_sampler=order(epoch))


class Means:
    """Compute the mean of every loss term over the rows of an epoch."""

    def __init__(self):
        self.values, self.n_rows = {}, {}

    def add(self, n_rows, **terms):
        """Add the terms of a batch, as numbers or as tensors on any device."""
        for name, value in terms.items():
            self.values.setdefault(name, []).append(value)
            self.n_rows.setdefault(name, []).append(n_rows)

    def compute(self):
        """Return the means as floats."""
        return {
            name: float(np.average(torch.tensor(values), weights=self.n_rows[name]))
            for name, values in self.values.items()
        }
