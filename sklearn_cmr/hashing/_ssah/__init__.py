"""Self-supervised adversarial hashing (SSAH)."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr.hashing._ssah.estimator import SSAHHasher

__all__ = ["SSAHHasher"]
