"""Base classes for authors of methods."""

# SPDX-License-Identifier: BSD-3-Clause

from typing import TYPE_CHECKING

from sklearn_cmr.base._mixins import (
    AddModalityMixin,
    HasherMixin,
    LabelProbabilityMixin,
    ProjectorMixin,
)
from sklearn_cmr.base._transformer import CrossModalTransformer

if TYPE_CHECKING:
    from sklearn_cmr.base._network import NetworkTransformer

__all__ = [
    "AddModalityMixin",
    "CrossModalTransformer",
    "HasherMixin",
    "LabelProbabilityMixin",
    "NetworkTransformer",
    "ProjectorMixin",
]


def __getattr__(name):
    # The one that needs torch is imported when it is used.
    if name == "NetworkTransformer":
        from sklearn_cmr.base._network import NetworkTransformer

        return NetworkTransformer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
