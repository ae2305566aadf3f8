"""Networks made of fully connected layers."""

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
        Width of the input, of every hidden layer and of the output.

    activation, output_activation : {"identity", "relu", "tanh", "logistic"}
        Non-linearity after the hidden layers, and after the last one.

    init : {"glorot", "default"}
        Glorot uniform weights and zero biases, or the default of torch.

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
    """Set values to 0 with probability `p`, drawn from a generator, scale the others.

    Parameters
    ----------
    X : tensor of any shape

    p : float
        In [0, 1).

    generator : torch.Generator
        On the device of `X`; `torch.nn.Dropout` draws from the global one.
    """
    kept = torch.empty_like(X).bernoulli_(1 - p, generator=generator)
    return X * kept / (1 - p)


class MultiScale(nn.Module):
    """Add smoothed copies to word counts: means over windows, stretched again.

    Parameters
    ----------
    n_inputs : int

    scales : sequence of int
        Widths of the windows; those wider than the input are left out.
    """

    def __init__(self, n_inputs, scales):
        super().__init__()
        self.scales = [scale for scale in scales if scale <= n_inputs]
        # A negative one would silence its copy of counts for ever.
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
    """Local response normalisation of vectors, as in the published code."""

    def __init__(self):
        # torch divides alpha by the size.
        super().__init__(size=5, alpha=5e-4, beta=0.75, k=2.0)

    def forward(self, X):
        return super().forward(X.unsqueeze(2)).squeeze(2)
