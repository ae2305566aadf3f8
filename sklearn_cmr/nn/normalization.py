"""Networks with batch normalisation whose statistics move only when told to."""

# SPDX-License-Identifier: BSD-3-Clause

from itertools import pairwise

import torch.nn.functional as F
from torch import nn


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that moves its running statistics only when told to.

    Parameters
    ----------
    n_features : int

    tied : BatchNorm, default=None
        The one to share scale and shift with. Statistics are never shared: the two
        modalities have different ones.

    track_running_stats : bool, default=True
        Whether there are running statistics, for the evaluation mode, at all.
    """

    def __init__(self, n_features, tied=None, track_running_stats=True):
        super().__init__(n_features, track_running_stats=track_running_stats)
        nn.init.normal_(self.weight, 1.0, 0.02)
        if tied is not None:
            self.weight, self.bias = tied.weight, tied.bias

    def forward(self, X, track=False):
        """Normalise a batch; `track` takes it up into the running statistics."""
        if track or not self.training:
            return super().forward(X)
        return F.batch_norm(
            X, None, None, self.weight, self.bias, training=True, eps=self.eps
        )

    def forward_apart(self, X):
        """Normalise kinds of rows each by itself: X has the shape (b, n_kinds, n)."""
        n_kinds = X.shape[1]
        flat = F.batch_norm(
            X.flatten(1),
            None,
            None,
            self.weight.repeat(n_kinds),
            self.bias.repeat(n_kinds),
            training=True,
            eps=self.eps,
        )
        return flat.view_as(X)


class Network(nn.Sequential):
    """Layers in a row, which tells those with running statistics to move them."""

    def forward(self, X, track=False):
        """Apply all layers; see :class:`BatchNorm` for `track`."""
        for layer in self:
            X = layer(X, track) if isinstance(layer, BatchNorm) else layer(X)
        return X

    def forward_apart(self, X):
        """Apply all layers to kinds of rows, as if to one kind after the other.

        Parameters
        ----------
        X : tensor of shape (b, n_kinds, n_features)
            Kinds are normalised each by itself and leave running statistics alone.
        """
        for layer in self:
            X = layer.forward_apart(X) if isinstance(layer, BatchNorm) else layer(X)
        return X


def make_normalized_layers(sizes, negative_slope, track_running_stats=True):
    """List the layers of a network all of which are normalised and leaky."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        # The normalisation would take a bias away.
        linear = nn.Linear(n_in, n_out, bias=False)
        norm = BatchNorm(n_out, track_running_stats=track_running_stats)
        layers += [linear, norm, nn.LeakyReLU(negative_slope, inplace=True)]
    return layers


def share_last_layer(source, network):
    """Replace the last layer of a network by that of another one.

    Both then hold the same linear layer and the same scale and shift, so that copying,
    pickling, loading weights and moving to a device keep them shared.
    """
    linear, norm, _ = source[-3:]
    network[-3] = linear
    network[-2] = BatchNorm(norm.num_features, tied=norm)
