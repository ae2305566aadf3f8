"""Attention-aware deep adversarial hashing."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr.hashing._aadah.estimator import AADAHHasher

__all__ = ["AADAHHasher"]
