"""Layers, and networks of fully connected layers."""

# SPDX-License-Identifier: BSD-3-Clause

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

ACTIVATIONS = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "logistic": nn.Sigmoid,
}


def make_mlp(sizes, *, activation, output_activation="identity", init="glorot"):
    """Build a multi-layer perceptron.

    Parameters
    ----------
    sizes : sequence of int
        Widths of the input, of the hidden layers and of the output.

    activation, output_activation : {"identity", "relu", "tanh", "logistic"}
        Activation functions of the hidden layers and of the last layer.

    init : {"glorot", "default"}
        Initialization: uniform weights after Glorot and zero biases, or the default of
        torch.

    Returns
    -------
    network : torch.nn.Sequential
    """
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        linear = nn.Linear(n_in, n_out)
        if init == "glorot":
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        layers += [linear, ACTIVATIONS[activation]()]
    layers[-1] = ACTIVATIONS[output_activation]()
    return nn.Sequential(*layers)


class UnitLength(nn.Module):
    """Divide every row by its length; rows of zeros remain zeros."""

    def forward(self, X):
        return F.normalize(X, dim=1)


def dropout(X, p, generator):
    """Set random values to 0 and divide the others by ``1 - p``.

    Parameters
    ----------
    X : tensor of any shape

    p : float
        Probability of 0, in [0, 1).

    generator : torch.Generator
        Generator on the device of `X`. `torch.nn.Dropout` uses the global one.
    """
    mask = torch.empty_like(X).bernoulli_(1 - p, generator=generator)
    return X * mask / (1 - p)


class MultiScale(nn.Module):
    """Append smoothed copies to word counts: window means, interpolated back.

    Parameters
    ----------
    n_inputs : int

    scales : sequence of int
        Widths of the windows. Windows wider than the input are left out.
    """

    def __init__(self, n_inputs, scales):
        super().__init__()
        self.scales = [scale for scale in scales if scale <= n_inputs]
        # With a gain below 0, the ReLU would zero the copy and its gradient for good.
        self.gains = nn.Parameter(torch.ones(len(self.scales)))
        self.n_outputs = n_inputs * (1 + len(self.scales))

    def forward(self, X):
        counts = X.unsqueeze(1)
        copies = [counts]
        for gain, scale in zip(self.gains, self.scales, strict=True):
            means = F.avg_pool1d(counts, scale, stride=scale, ceil_mode=True)
            copies.append(
                F.interpolate((gain * means).relu(), size=X.shape[1], mode="linear")
            )
        return torch.cat(copies, 1).flatten(1)


class ResponseNorm(nn.LocalResponseNorm):
    """Apply the local response normalization of the published code to vectors."""

    def __init__(self):
        # torch divides alpha by size.
        super().__init__(size=5, alpha=5e-4, beta=0.75, k=2.0)

    def forward(self, X):
        return super().forward(X.unsqueeze(2)).squeeze(2)
