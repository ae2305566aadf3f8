"""Cross-modal generative adversarial networks."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr.projection._cmgan.estimator import CMGANProjector

__all__ = ["CMGANProjector"]
