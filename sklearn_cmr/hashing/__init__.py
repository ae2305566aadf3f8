"""Hash functions of several modalities into common binary codes, and their tools."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr.codes import hamming_distances, pack_codes, unpack_codes
from sklearn_cmr.hashing._aadah import AADAHHasher
from sklearn_cmr.hashing._ssah import SSAHHasher

__all__ = [
    "AADAHHasher",
    "SSAHHasher",
    "hamming_distances",
    "pack_codes",
    "unpack_codes",
]
