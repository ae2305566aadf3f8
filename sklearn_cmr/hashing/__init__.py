"""Hash functions of several modalities into common binary codes."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr.hashing._aadah import AADAHHasher
from sklearn_cmr.hashing._ssah import SSAHHasher

__all__ = ["AADAHHasher", "SSAHHasher"]
