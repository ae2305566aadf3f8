"""Hash functions of several modalities into common binary codes."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr.hashing._aadah import AADAHHasher

__all__ = ["AADAHHasher"]
