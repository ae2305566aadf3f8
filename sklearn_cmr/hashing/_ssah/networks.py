"""Networks of SSAH, and where the module has them."""

# SPDX-License-Identifier: BSD-3-Clause

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import nn

from sklearn_cmr._arrays import blocks_of
from sklearn_cmr.nn.layers import ResponseNorm, dropout

# Name under which the labels are encoded, beside the names of the modalities.
LABEL = "label"
# Standard deviation of all weights and biases with init="normal".
_INIT_STD = 0.01


class Output(NamedTuple):
    """Output of a :class:`SemanticNetwork` for a batch.

    Attributes
    ----------
    feature : tensor of shape (b, feature_dim)
        Semantic feature, nonnegative.

    code : tensor of shape (b, n_bits)
        Relaxed code in [-1, 1].

    logits : tensor of shape (b, n_classes)
        Logits of the labels.
    """

    feature: torch.Tensor
    code: torch.Tensor
    logits: torch.Tensor


class SemanticNetwork(nn.Module):
    """Encoder with a semantic feature and two linear heads, for codes and labels.

    Parameters
    ----------
    body : torch.nn.Module
        Maps the input to the semantic feature.

    feature_dim, n_bits, n_classes : int

    p : float, default=0.0
        Dropout rate of the input.
    """

    def __init__(self, body, feature_dim, n_bits, n_classes, p=0.0):
        super().__init__()
        self.body = body
        self.p = p
        self.code = nn.Linear(feature_dim, n_bits)
        self.labels = nn.Linear(feature_dim, n_classes)

    def forward(self, X):
        """Return the relaxed codes."""
        return self._code_of(self.body(X))

    def outputs(self, X, generator=None):
        """Return semantic features, relaxed codes and logits of the labels.

        In training, the generator draws the dropout of the input.
        """
        if self.p and self.training:
            X = dropout(X, self.p, generator)
        feature = self.body(X)
        return Output(feature, self._code_of(feature), self.labels(feature))

    def _code_of(self, feature):
        return self.code(feature).tanh()


class Discriminator(nn.Module):
    """Classifier of semantic features: of labels, or of a modality.

    Parameters
    ----------
    sizes : sequence of int
        Width of the input and of every hidden layer.

    p : float
        Dropout rate of the hidden layers.
    """

    def __init__(self, sizes, p):
        super().__init__()
        self.p = p
        self.hidden = nn.ModuleList(nn.Linear(*widths) for widths in pairwise(sizes))
        self.output = nn.Linear(sizes[-1], 1)

    def forward(self, X, generator):
        """Return one logit per row, high for features of labels."""
        for layer in self.hidden:
            X = layer(X).relu()
            if self.p and self.training:
                X = dropout(X, self.p, generator)
        return self.output(X)


def make_body(sizes, n_normalized, first=()):
    """Build layers of ReLU units.

    Parameters
    ----------
    sizes : sequence of int
        Width of the input and of every layer.

    n_normalized : int
        Number of layers, from the first, that are followed by a
        :class:`~sklearn_cmr.nn.layers.ResponseNorm`.

    first : sequence of torch.nn.Module
        Modules in front of the layers.
    """
    layers = [*first]
    for i, widths in enumerate(pairwise(sizes)):
        layers += [nn.Linear(*widths), nn.ReLU()]
        if i < n_normalized:
            layers.append(ResponseNorm())
    return nn.Sequential(*layers)


def init_normal(module):
    """Draw the weights and biases of a linear layer as the published code does."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=_INIT_STD)
        nn.init.normal_(module.bias, std=_INIT_STD)


def freeze(network):
    """Exclude the weights of a network from all further training."""
    network.requires_grad_(False)


def is_frozen(network):
    """Tell whether :func:`freeze` was called."""
    return not next(network.parameters()).requires_grad


def has_counts(X):
    """Tell whether features look like word counts: nonnegative and mostly 0."""
    n_nonzero = 0
    for values in [X.data] if sparse.issparse(X) else blocks_of(X):
        if (values < 0).any():
            return False
        n_nonzero += int(np.count_nonzero(values))
    return 2 * n_nonzero < math.prod(X.shape)
