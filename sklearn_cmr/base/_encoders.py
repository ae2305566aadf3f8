"""Encoders of the caller: check them, build them, and put them before the networks."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import math
import zlib
from numbers import Real

import numpy as np
import torch
from torch import nn

from sklearn_cmr.training import (
    Backbone,
    BackboneEncoder,
    behind_backbones,
    device_of,
    encode_in_blocks,
)

# Rows that are encoded before the training, to find encoders that return NaN.
_ROWS_TRIED = 64


def check_encoders(encoders, modalities):
    """Raise unless every encoder is a module or a factory, and has its modality.

    Parameters
    ----------
    encoders : dict or None

    modalities : sequence of str
        Names of the modalities of the fit.
    """
    for name, encoder in (encoders or {}).items():
        if name not in modalities:
            raise ValueError(
                f"encoders has a network for {name!r}, which is no modality of X; X "
                f"has {list(modalities)}."
            )
        if not callable(encoder):  # as modules are
            raise TypeError(
                f"encoders[{name!r}] must be a torch.nn.Module, or a callable that "
                f"takes the number of features and returns one; got {encoder!r}."
            )


def check_same_encoders(encoders, fitted):
    """Raise unless encoders have the architecture of those that were fitted."""
    given, fitted = encoders or {}, fitted or {}
    if given.keys() != fitted.keys():
        raise ValueError(
            "warm_start=True continues with the same networks: expected encoders for "
            f"{list(fitted)}, got encoders for {list(given)}. Set warm_start=False to "
            "start over."
        )
    for name, encoder in given.items():
        if not _is_same(encoder, fitted[name]):
            raise ValueError(
                "warm_start=True continues with the same networks, but "
                f"encoders[{name!r}] is another one than in the last fit. Set "
                "warm_start=False to start over."
            )


def _is_same(encoder, other):
    if encoder is other:
        return True
    if isinstance(encoder, nn.Module) and isinstance(other, nn.Module):
        return _architecture(encoder) == _architecture(other)
    return encoder == other


def _architecture(module):
    shapes = {name: tuple(part.shape) for name, part in module.state_dict().items()}
    return type(module), repr(module), shapes


def make_backbone(encoder, modality, item):
    """Return a trainable copy of the encoder of a modality, its output measured.

    A factory draws initial weights from the seed of torch's generator and the name of
    the modality alone.

    Parameters
    ----------
    encoder : torch.nn.Module or callable

    modality : str

    item : tuple of (tuple of int, str)
        Shape and dtype of an item.

    Returns
    -------
    backbone : Backbone
    """
    shape, dtype = item
    seed = torch.initial_seed()
    torch.default_generator.manual_seed(seed + zlib.crc32(modality.encode()))
    module = encoder
    if not isinstance(encoder, nn.Module):
        module = encoder(shape[0] if len(shape) == 1 else shape)
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"encoders[{modality!r}], a factory, must return a torch.nn.Module; "
                f"got {module!r}."
            )
    try:
        module = copy.deepcopy(module).cpu()
    except Exception as error:
        raise TypeError(
            f"encoders[{modality!r}], a {type(module).__name__}, cannot be copied, and "
            f"every fit trains a copy of it: {error}"
        ) from error
    backbone = Backbone(module, modality, shape, getattr(torch, dtype))
    torch.default_generator.manual_seed(seed)
    _check_width(backbone, module)
    return backbone


def _check_width(backbone, module):
    """Raise if a module says that it has other features than it returns."""
    promised = getattr(module, "out_features", None)
    found = backbone.out_shape[-1]
    if promised is not None and promised != found:
        raise ValueError(
            f"encoders[{backbone.modality!r}] has out_features={promised}, but returns "
            f"{found} features for each item."
        )


def widths_for(estimator, n_features):
    """Build the encoders of modalities, and return the widths that a method gets.

    Parameters
    ----------
    estimator : NetworkTransformer
        Knows the encoders, shapes and dtypes of the fit, and takes note of regions.

    n_features : dict of str to int
        Number of features of every modality to build.

    Returns
    -------
    widths : dict of str to int

    backbones : dict of str to Backbone
    """
    encoders = estimator._encoders_in
    backbones = {
        name: make_backbone(encoders[name], name, estimator._items_in[name])
        for name in n_features
        if name in encoders
    }
    widths = dict(n_features)
    for name, backbone in backbones.items():
        *regions, widths[name] = backbone.out_shape
        if len(regions) > (name in estimator._region_modalities):
            raise ValueError(
                f"encoders[{name!r}] must return one row of features for each item; it "
                f"returned an array of shape {backbone.out_shape} for each. Add "
                "torch.nn.Flatten() or a pooling layer."
            )
        if regions:
            estimator._n_regions_in = estimator._n_regions_in | {name: regions[0]}
    return widths, backbones


def put_backbones(module, backbones):
    """Put backbones before the networks that a method has built for their features."""
    encoders = module["encoders"]
    for name, backbone in backbones.items():
        encoders[name] = BackboneEncoder(backbone, encoders[name])


def try_backbones(module, features, items):
    """Raise if a backbone returns NaN, or an infinite value, for the first rows."""
    for name, X in features.items():
        encoder = module["encoders"][name]
        if not isinstance(encoder, BackboneEncoder):
            continue
        dtype = getattr(torch, items[name][1])
        X = X[:_ROWS_TRIED]
        Z = encode_in_blocks(encoder.backbone.eval(), X, device_of(module), dtype)
        if not np.isfinite(Z).all():
            raise ValueError(
                f"encoders[{name!r}] returns NaN or infinite values for the first "
                f"{len(Z)} rows, before any training. Check its initial weights, and "
                "the scale of the items."
            )


def phases_behind(estimator, module, task):
    """Yield the phases of a method, whose losses see what the encoders return."""
    rates = estimator.lr_encoder
    if not isinstance(rates, dict):
        rates = {} if rates is None else dict.fromkeys(estimator._encoders_in, rates)
    for name, lr in rates.items():
        if name not in estimator._encoders_in:
            raise ValueError(
                f"lr_encoder has a rate for {name!r}, which has no encoder of yours; "
                f"encoders has networks for {list(estimator._encoders_in)}."
            )
        if not isinstance(lr, Real) or not 0 < float(lr) < math.inf:
            raise ValueError(
                f"lr_encoder of {name!r} must be a positive number, got {lr!r}."
            )
    for phase in estimator._phases(module, task):
        yield behind_backbones(phase, module, rates)
