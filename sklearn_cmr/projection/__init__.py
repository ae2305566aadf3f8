"""Projection methods, which map several modalities into one real-valued space."""

# SPDX-License-Identifier: BSD-3-Clause

from typing import TYPE_CHECKING

from sklearn_cmr._lazy import lazy_names

if TYPE_CHECKING:
    from sklearn_cmr.projection._acmr import ACMRProjector
    from sklearn_cmr.projection._cmgan import CMGANProjector
    from sklearn_cmr.projection._drcl import DRCLProjector

__all__ = ["ACMRProjector", "CMGANProjector", "DRCLProjector"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "sklearn_cmr.projection._acmr": ["ACMRProjector"],
        "sklearn_cmr.projection._cmgan": ["CMGANProjector"],
        "sklearn_cmr.projection._drcl": ["DRCLProjector"],
    },
)
