"""Networks made of fully connected layers."""

# SPDX-License-Identifier: BSD-3-Clause

from itertools import pairwise

import torch
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
