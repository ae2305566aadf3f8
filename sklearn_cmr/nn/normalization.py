"""Batch normalization with running statistics that are updated on request."""

# SPDX-License-Identifier: BSD-3-Clause

from itertools import pairwise

import torch.nn.functional as F
from torch import nn


class BatchNorm(nn.BatchNorm1d):
    """Apply batch normalization; update the running statistics only on request.

    Parameters
    ----------
    n_features : int

    tied : BatchNorm, default=None
        Layer to share the scale and the shift with. Running statistics are not shared,
        because they differ between modalities.

    track_running_stats : bool, default=True
        Whether there are running statistics, which the evaluation mode needs.
    """

    def __init__(self, n_features, tied=None, track_running_stats=True):
        super().__init__(n_features, track_running_stats=track_running_stats)
        nn.init.normal_(self.weight, 1.0, 0.02)
        if tied is not None:
            self.weight, self.bias = tied.weight, tied.bias

    def forward(self, X, track=False):
        """Normalize a batch; `track` updates the running statistics with it."""
        if track or not self.training:
            return super().forward(X)
        return F.batch_norm(
            X, None, None, self.weight, self.bias, training=True, eps=self.eps
        )

    def forward_groups(self, X):
        """Normalize each group of rows separately; X has the shape (b, n_groups, n)."""
        n_groups = X.shape[1]
        flat = F.batch_norm(
            X.flatten(1),
            None,
            None,
            self.weight.repeat(n_groups),
            self.bias.repeat(n_groups),
            training=True,
            eps=self.eps,
        )
        return flat.view_as(X)


class Network(nn.Sequential):
    """Apply layers in turn; update their running statistics on request."""

    def forward(self, X, track=False):
        """Apply all layers; `track` updates the running statistics."""
        for layer in self:
            X = layer(X, track) if isinstance(layer, BatchNorm) else layer(X)
        return X

    def forward_groups(self, X):
        """Apply all layers; normalize each group of rows separately.

        The running statistics are not updated.

        Parameters
        ----------
        X : tensor of shape (b, n_groups, n_features)
        """
        for layer in self:
            X = layer.forward_groups(X) if isinstance(layer, BatchNorm) else layer(X)
        return X


def make_normalized_layers(sizes, negative_slope, track_running_stats=True):
    """Return linear layers, each with batch normalization and a leaky ReLU."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        # The normalization would cancel a bias.
        linear = nn.Linear(n_in, n_out, bias=False)
        norm = BatchNorm(n_out, track_running_stats=track_running_stats)
        layers += [linear, norm, nn.LeakyReLU(negative_slope, inplace=True)]
    return layers


def share_last_layer(source, network):
    """Replace the last layer of a network by the last layer of another one.

    Both then hold the same linear layer, scale and shift. They stay shared when the
    networks are copied together, pickled, loaded or moved to a device.
    """
    linear, norm, _ = source[-3:]
    network[-3] = linear
    network[-2] = BatchNorm(norm.num_features, tied=norm)
