"""Projections of several modalities into one real-valued common space."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr.projection._acmr import ACMRProjector
from sklearn_cmr.projection._cmgan import CMGANProjector
from sklearn_cmr.projection._drcl import DRCLProjector

__all__ = ["ACMRProjector", "CMGANProjector", "DRCLProjector"]
