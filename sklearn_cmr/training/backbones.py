"""Networks of the caller before those of a method, and how losses see them.

For a method, the outputs of such a backbone are the features of the modality. Its
losses are written on features, and need not know where those come from.
"""

# SPDX-License-Identifier: BSD-3-Clause

import zlib
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from sklearn_cmr.training.devices import seeded_drawing

# With a single one, layers such as `squeeze` would take the rows for something else.
_ITEMS_TRIED = 2


class Backbone(nn.Module):
    """Network of the caller that turns the items of a modality into features.

    A part of it whose parameters are all frozen stays in evaluation mode, so that
    neither its weights nor its statistics move.

    Parameters
    ----------
    module : torch.nn.Module

    modality : str

    item_shape : tuple of int
        Shape of an item.

    dtype : torch.dtype
        Type of the items: int64 or float32.

    Attributes
    ----------
    out_shape : tuple of int
        Shape of the features of an item, found out with two items of zeros, or of ones
        where zeros fail.

    n_multiply_adds : float
        Number of multiply-adds of an item, found out with them, too.
    """

    def __init__(self, module, modality, item_shape, dtype):
        super().__init__()
        self.module = module
        self.modality = modality
        self.item_shape = tuple(item_shape)
        self.eval()
        items = torch.zeros(_ITEMS_TRIED, *self.item_shape, dtype=dtype)
        with torch.no_grad():
            try:
                features = self._call(items)
            except ValueError:
                # A text of the id 0 alone may be nothing but padding.
                items = torch.ones_like(items)
                features = self._call(items)
            with _Counter() as counter:
                self._call(items)
        self.out_shape = tuple(features.shape[1:])
        self.n_multiply_adds = counter.n_operations / 2 / _ITEMS_TRIED

    def train(self, mode=True):
        """Set the mode of all parts but the frozen ones."""
        super().train(mode)
        for part in self.module.modules():
            if mode and is_frozen(part):
                part.eval()
        return self

    def forward(self, X):
        """Return the features of items.

        Parameters
        ----------
        X : float32 or int64 tensor of shape (b, *item_shape)

        Returns
        -------
        features : float32 tensor of shape (b, *out_shape)
        """
        features = self._call(X)
        if features.shape[1:] != self.out_shape:
            raise ValueError(
                f"{self._name} returned features of shape {tuple(features.shape[1:])} "
                f"for each item, and {self.out_shape} before. The shape must be the "
                "same in every batch."
            )
        return features

    @property
    def _name(self):
        return f"encoders[{self.modality!r}], a {type(self.module).__name__},"

    def _call(self, X):
        kind = str(X.dtype).removeprefix("torch.")
        try:
            features = self.module(X)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            hint = ""
            # In the trial, which every id passes; later, one may be too large.
            if not X.is_floating_point() and not hasattr(self, "out_shape"):
                hint = (
                    " Integers are passed as int64; for a network that computes with "
                    "real numbers, pass X.astype('float32')."
                )
            raise ValueError(
                f"{self._name} cannot encode items, a {kind} tensor of shape "
                f"{tuple(X.shape)}: {str(error).rstrip('.') or type(error).__name__}."
                f"{hint}"
            ) from error
        if not isinstance(features, torch.Tensor) or not features.is_floating_point():
            found = getattr(features, "dtype", type(features).__name__)
            raise ValueError(
                f"{self._name} must return one tensor of real numbers, got {found}. "
                "Wrap it in a module that picks the features."
            )
        if features.ndim < 2 or features.shape[0] != X.shape[0]:
            raise ValueError(
                f"{self._name} must return one row of features for each item, a tensor "
                f"of shape (n, out_features): {len(X)} items gave the shape "
                f"{tuple(features.shape)}. Add torch.nn.Flatten() or a pooling layer."
            )
        return features.float()


class _Counter(TorchDispatchMode):
    """Count floating-point operations, as torch's `FlopCounterMode` does.

    That one hooks into the modules of all threads.
    """

    n_operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.n_operations += count(*args, **kwargs, out_val=out)
        return out


class BackboneEncoder(nn.Module):
    """Encoder of a modality: a backbone, then the network of the method.

    Parameters
    ----------
    backbone : Backbone

    network : torch.nn.Module
        From the features that the backbone returns to the encoding.
    """

    def __init__(self, backbone, network):
        super().__init__()
        self.backbone = backbone
        self.network = network

    def forward(self, X, **options):
        """Return the encoding of items; the network takes the options."""
        return self.network(self.backbone(X), **options)


def network_of(encoder):
    """Return the network of the method that an encoder is, or ends in.

    Parameters
    ----------
    encoder : torch.nn.Module
        From the child "encoders" of a module.

    Returns
    -------
    network : torch.nn.Module
        Without a network of the caller that stands before it.
    """
    return encoder.network if isinstance(encoder, BackboneEncoder) else encoder


def network_and_features(encoder, X):
    """Return the network of the method in an encoder, and the features that it gets.

    Parameters
    ----------
    encoder : torch.nn.Module
        From the child "encoders" of a module.

    X : tensor
        What the encoder takes: features, or items for a backbone.

    Returns
    -------
    network : torch.nn.Module
        Without a network of the caller that stands before it.

    features : tensor
        What the network gets.
    """
    if isinstance(encoder, BackboneEncoder):
        return encoder.network, encoder.backbone(X)
    return encoder, X


def is_frozen(module):
    """Return whether a module has parameters, and none of them is to be trained."""
    flags = [parameter.requires_grad for parameter in module.parameters()]
    return bool(flags) and not any(flags)


def backbones_of(module):
    """Return the backbones in a module by modality."""
    return {
        name: encoder.backbone
        for name, encoder in module["encoders"].items()
        if isinstance(encoder, BackboneEncoder)
    }


def behind_backbones(phase, module, rates):
    """Return a phase whose losses see the outputs of the backbones as features.

    Parameters
    ----------
    phase : Phase

    module : torch.nn.ModuleDict

    rates : dict of str to float
        Learning rates of backbones by modality, before any decay. The others have that
        of the player that moves them.

    Returns
    -------
    phase : Phase
    """
    backbones = backbones_of(module)
    if not backbones:
        return phase
    lr_of = {p: rates[m] for m in rates for p in backbones[m].parameters()}
    players = [
        replace(
            player,
            loss=_LossBehind(player.loss, module, backbones),
            rate_factors={
                p: lr_of[p] / player.base_rate for p in player.parameters if p in lr_of
            },
        )
        for player in phase.players
    ]
    work = sum(backbone.n_multiply_adds for backbone in backbones.values())
    return replace(phase, players=players, n_multiply_adds_before=work)


class _LossBehind:
    """Loss of a player that gets the networks of the method, and their features."""

    def __init__(self, loss, module, backbones):
        self.loss = loss
        self.backbones = backbones
        encoders = {name: network_of(own) for name, own in module["encoders"].items()}
        # The networks are those of the module, also after it has been trained.
        self.view = nn.ModuleDict({**module, "encoders": nn.ModuleDict(encoders)})
        self.state = None
        self.n_calls = 0

    def __call__(self, module, batch, state):
        self.view.training = module.training
        if state is not self.state:  # of another epoch
            self.state, self.n_calls = state, 0
        self.n_calls += 1
        seed = (state.generator.initial_seed() << 20) + self.n_calls
        features = _EncodedFeatures(batch.features, self.backbones, seed)
        return self.loss(self.view, batch._replace(features=features), state)


class _EncodedFeatures(Mapping):
    """Features by modality, where backbones run when theirs are first asked for.

    What a loss asks for under `torch.no_grad` is a constant.
    """

    def __init__(self, given, backbones, seed):
        self.given = given
        self.backbones = backbones
        self.seed = seed
        self.done: dict[tuple[str, bool], torch.Tensor] = {}

    def __len__(self):
        return len(self.given)

    def __iter__(self):
        return iter(self.given)

    def __getitem__(self, name):
        if name not in self.backbones:
            return self.given[name]
        if torch.is_grad_enabled():
            return self._encode_once(name, True)
        if (name, True) in self.done:
            return self.done[name, True].detach()
        return self._encode_once(name, False)

    def _encode_once(self, name, has_gradient):
        if (name, has_gradient) not in self.done:
            self.done[name, has_gradient] = self._encode(name)
        return self.done[name, has_gradient]

    def _encode(self, name):
        backbone, X = self.backbones[name], self.given[name]
        n_leading = X.ndim - len(backbone.item_shape)  # such as roles, and rows
        items = X.reshape(-1, *backbone.item_shape)
        if backbone.training:
            # Dropout of the caller's draws from the global generators.
            with seeded_drawing(self.seed + zlib.crc32(name.encode()), X.device):
                features = backbone(items)
        else:
            features = backbone(items)
        return features.view(*X.shape[:n_leading], *backbone.out_shape)
