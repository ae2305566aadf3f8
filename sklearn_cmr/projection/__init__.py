"""Projection methods, which encode several modalities in a real-valued space."""

# SPDX-License-Identifier: BSD-3-Clause

from typing import TYPE_CHECKING

from sklearn_cmr._lazy import lazy_names

if TYPE_CHECKING:
    from sklearn_cmr.projection._acmr import ACMRProjector
    from sklearn_cmr.projection._cca import CCAProjector
    from sklearn_cmr.projection._cmgan import CMGANProjector
    from sklearn_cmr.projection._drcl import DRCLProjector
    from sklearn_cmr.projection._semantic import SemanticMatchingProjector

__all__ = [
    "ACMRProjector",
    "CCAProjector",
    "CMGANProjector",
    "DRCLProjector",
    "SemanticMatchingProjector",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "sklearn_cmr.projection._acmr": ["ACMRProjector"],
        "sklearn_cmr.projection._cca": ["CCAProjector"],
        "sklearn_cmr.projection._cmgan": ["CMGANProjector"],
        "sklearn_cmr.projection._drcl": ["DRCLProjector"],
        "sklearn_cmr.projection._semantic": ["SemanticMatchingProjector"],
    },
)
