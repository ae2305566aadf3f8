"""Networks of CM-GANs."""

# SPDX-License-Identifier: BSD-3-Clause

from itertools import pairwise

from torch import nn

from sklearn_cmr.nn.normalization import (
    BatchNorm,
    Network,
    make_normalized_layers,
    share_last_layer,
)


def make_encoder(sizes, negative_slope, batch_norm):
    """Return linear layers, each with a leaky ReLU, with or without normalization."""
    if batch_norm:
        return Network(*make_normalized_layers(sizes, negative_slope))
    layers: list[nn.Module] = []
    for widths in pairwise(sizes):
        layers += [nn.Linear(*widths), nn.LeakyReLU(negative_slope, inplace=True)]
    return Network(*layers)


def tie_encoders(source, network):
    """Let an encoder share the last layer of another one.

    They stay shared when the networks are copied together, pickled, loaded or moved to
    a device. Running statistics are not shared.
    """
    if isinstance(source[-2], BatchNorm):
        share_last_layer(source, network)
    else:
        network[-2] = source[-2]


class InterModalDiscriminator(nn.Module):
    """Compute the logits of codes that are real codes of given features.

    The first layer holds its weights for codes apart from its weights for features. Its
    outputs for the features then serve for all codes beside them.

    Parameters
    ----------
    n_code, n_features : int

    hidden_layer_sizes : list of int

    negative_slope : float
    """

    def __init__(self, n_code, n_features, hidden_layer_sizes, negative_slope):
        super().__init__()
        sizes = [n_code + n_features, *hidden_layer_sizes]
        # Discriminators are used in the training only, which needs no statistics.
        layers = make_normalized_layers(
            sizes, negative_slope, track_running_stats=False
        )
        layers.append(nn.Linear(sizes[-1], 1))
        first = layers.pop(0)
        code, features = first.weight.detach().split([n_code, n_features], 1)
        self.code_layer = self._make_part(code, first.bias)
        self.feature_layer = self._make_part(features, None)
        self.next_layers = Network(*layers)

    @staticmethod
    def _make_part(weight, bias):
        # On the device "meta", no weights are drawn only to be replaced.
        n_outputs, n_inputs = weight.shape
        part = nn.Linear(n_inputs, n_outputs, bias=bias is not None, device="meta")
        part.weight, part.bias = nn.Parameter(weight.clone()), bias
        return part

    def forward(self, code, hidden):
        """Return the logits of codes.

        Parameters
        ----------
        code : tensor of shape (b, n_code)

        hidden : tensor of shape (b, n_outputs)
            Outputs of `feature_layer`.
        """
        return self.next_layers(self.code_layer(code).add_(hidden))

    def forward_groups(self, codes, hidden):
        """Return the logits of groups of codes, each normalized separately.

        Parameters
        ----------
        codes : tensor of shape (b, n_groups, n_code)

        hidden : tensor of shape (b, n_groups, n_outputs) or (b, 1, n_outputs)
            Outputs of `feature_layer`.
        """
        return self.next_layers.forward_groups(self.code_layer(codes).add_(hidden))
