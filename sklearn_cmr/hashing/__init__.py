"""Binary codes of several modalities in one Hamming space."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr.hashing._ssah import SSAHHasher

__all__ = ["SSAHHasher"]
