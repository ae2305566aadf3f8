"""Projections of several modalities into one real-valued common space."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr.projection._acmr import ACMRProjector

__all__ = ["ACMRProjector"]
