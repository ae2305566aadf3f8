"""Encoders of the caller: check them, build them, and put them before the networks."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import math
import operator
import zlib
from functools import partial
from numbers import Real
from types import FunctionType

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from sklearn_cmr._inputs.layout import MODALITIES, is_mapping
from sklearn_cmr.training import device_of, encode_in_blocks
from sklearn_cmr.training.backbones import (
    Backbone,
    BackboneEncoder,
    backbones_of,
    behind_backbones,
)

# Rows that are encoded before the training, to find encoders that return NaN.
_ROWS_TRIED = 64


def check(encoders, modalities):
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


def known_names(estimator, X, continues):
    """Return the names of the modalities in `X` and, in a warm start, of the fit."""
    names = dict.fromkeys(X if is_mapping(X) else MODALITIES)
    return [*(names | dict.fromkeys(estimator.modalities_) if continues else names)]


def check_same(encoders, fitted):
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
    if isinstance(encoder, partial) and isinstance(other, partial):
        return _call_of(encoder) == _call_of(other)
    return encoder == other


def _call_of(factory):
    # The texts of arguments: arrays among them have no single truth value.
    return factory.func, repr(factory.args), repr(factory.keywords)


def _architecture(module):
    shapes = {
        name: None if is_lazy(part) else tuple(part.shape)
        for name, part in module.state_dict().items()
    }
    return type(module), repr(module), shapes


def _make_backbone(encoder, modality, item):
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
    salt = zlib.crc32(f"encoders {modality}".encode())
    torch.default_generator.manual_seed(seed + salt)
    module = encoder
    if not isinstance(encoder, nn.Module):
        given = shape[0] if len(shape) == 1 else shape
        try:
            module = encoder(given)
        except Exception as error:
            raise TypeError(
                f"encoders[{modality!r}], a factory, must take the number of features "
                "of an item, or its shape if that has more dimensions, and return a "
                f"torch.nn.Module; called with {given} it failed: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"encoders[{modality!r}], a factory, must return a torch.nn.Module; "
                f"got {module!r}."
            )
    try:
        module = _copied(module).cpu()
    except Exception as error:
        raise TypeError(
            f"encoders[{modality!r}], a {type(module).__name__}, cannot be copied, and "
            f"every fit trains a copy of it: {error}"
        ) from error
    backbone = Backbone(module, modality, shape, getattr(torch, dtype))
    torch.default_generator.manual_seed(seed)
    _check_width(backbone, module)
    return backbone


def _copied(module):
    """Return a copy of a module, whose parameters learn if the given ones do."""
    # Without gradients: copies of TorchScript's parameters would be results otherwise.
    with torch.no_grad():
        copied = copy.deepcopy(module)
    for own, given in zip(copied.parameters(), module.parameters(), strict=True):
        if own.requires_grad != given.requires_grad:
            own.requires_grad_(given.requires_grad)
    return copied


def _check_width(backbone, module):
    """Raise if a module says that it has other features than it returns."""
    promised = getattr(module, "out_features", None)
    found = backbone.out_shape[-1]
    if 0 in backbone.out_shape:
        raise ValueError(
            f"encoders[{backbone.modality!r}] must return features, but returns an "
            f"array of shape {backbone.out_shape} for each item."
        )
    if promised is not None and promised != found:
        raise ValueError(
            f"encoders[{backbone.modality!r}] has out_features={promised}, but returns "
            f"{found} features for each item."
        )


def build_networks(estimator, modalities):
    """Return what `_build` makes for modalities, behind the encoders of the caller.

    Encoders, shapes, widths and classes are those that the fit has stored.
    """
    widths, backbones = _make_backbones(estimator, modalities)
    module = estimator._build(widths, len(estimator.classes_))
    _put_backbones(module, backbones)
    return module


def grow_networks(estimator, module, modality):
    """Add what `_build_modality` makes, behind the encoder of the caller."""
    if modality in (estimator.encoders or {}):
        own = {modality: estimator.encoders[modality]}
        check(own, [modality])
        estimator._encoders_in = estimator._encoders_in | own
    widths, backbones = _make_backbones(estimator, [modality])
    estimator._rows.grow(module, widths, estimator._build_modality)
    _put_backbones(module, backbones)


def _make_backbones(estimator, modalities):
    """Build the encoders of modalities, and return the widths that a method gets.

    Parameters
    ----------
    estimator : NetworkTransformer
        It takes note of regions.

    modalities : sequence of str

    Returns
    -------
    widths : dict of str to int

    backbones : dict of str to Backbone
    """
    encoders = estimator._encoders_in
    backbones = {
        name: _make_backbone(encoders[name], name, estimator._items_in[name])
        for name in modalities
        if name in encoders
    }
    widths = {name: getattr(estimator, f"n_{name}_features_in_") for name in modalities}
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


def _put_backbones(module, backbones):
    """Put backbones before the networks that a method has built for their features."""
    encoders = module["encoders"]
    for name, backbone in backbones.items():
        encoders[name] = BackboneEncoder(backbone, encoders[name])


def try_out(estimator, module, features):
    """Raise if a backbone returns NaN for the first rows, or mixes rows."""
    for name, backbone in backbones_of(module).items():
        if name not in features:  # in a warm start without it
            continue
        X = features[name][:_ROWS_TRIED]
        dtype = dtype_of(estimator, name)
        Z = encode_in_blocks(backbone.eval(), X, device_of(module), dtype)
        if not np.isfinite(Z).all():
            raise ValueError(
                f"encoders[{name!r}] returns NaN or infinite values for the first "
                f"{len(Z)} rows, before any training. Check its initial weights, and "
                "the scale of the items."
            )
        alone = encode_in_blocks(backbone, X[:1], device_of(module), dtype)
        if not np.allclose(alone, Z[:1], rtol=1e-2, atol=1e-3 * np.abs(Z).max()):
            raise ValueError(
                f"encoders[{name!r}] returns other features for the first row alone "
                f"than beside {len(Z) - 1} others, in evaluation mode. The encoding of "
                "an item must depend on it alone: normalize over its own features, or "
                "by statistics of the training, as LayerNorm and BatchNorm do."
            )


def phases(estimator, module, task):
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
        is_number = isinstance(lr, Real) and not isinstance(lr, (bool, np.bool_))
        if not is_number or not 0 < lr < math.inf:
            raise ValueError(
                f"lr_encoder of {name!r} must be a positive number, got {lr!r}."
            )
    for phase in estimator._phases(module, task):
        yield behind_backbones(phase, module, rates)


def dtype_of(estimator, modality):
    """Return the type of the tensors that the encoder of a modality reads."""
    _, dtype = estimator._items_in.get(modality, (None, "float32"))
    return getattr(torch, dtype)


def integer_modalities(estimator):
    """Return the modalities whose features stay integers."""
    return [
        name for name, (_, dtype) in estimator._items_in.items() if dtype == "int64"
    ]


# -- files ---------------------------------------------------------------------------


class _ForPickle:
    """Encoder of the caller that skops cannot write.

    Pickle, joblib and copies have the encoder in its place.
    """

    def __init__(self, encoder, modality):
        self.encoder = encoder
        self.modality = modality

    def __reduce__(self):
        return operator.getitem, ((self.encoder,), 0)

    def __getstate__(self):
        kind = type(self.encoder).__name__
        raise TypeError(
            f"encoders[{self.modality!r}] is an instance of {kind}, and skops writes "
            "only names of classes and functions that can be imported. Fit with such a "
            f"class or function, encoders={{{self.modality!r}: MyNetwork}}, which is "
            "called with the number of features, or save by pickle or joblib."
        )


def into_files(encoders):
    """Return encoders such that skops refuses those that it could not load."""
    if not isinstance(encoders, dict):
        return encoders
    return {
        name: encoder if _has_name(encoder) else _ForPickle(encoder, name)
        for name, encoder in encoders.items()
    }


def from_files(encoders):
    """Return the encoders that :func:`into_files` was given."""
    if not isinstance(encoders, dict):
        return encoders
    return {
        name: own.encoder if isinstance(own, _ForPickle) else own
        for name, own in encoders.items()
    }


def _has_name(encoder):
    """Return whether an encoder is in a file by name: no network, no lambda."""
    if isinstance(encoder, partial):
        encoder = encoder.func
    if isinstance(encoder, (type, FunctionType)):
        return encoder.__qualname__.isidentifier()
    return not isinstance(encoder, nn.Module)
