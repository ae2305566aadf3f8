"""Hashing methods, which encode several modalities as binary codes, and code tools."""

# SPDX-License-Identifier: BSD-3-Clause

from typing import TYPE_CHECKING

from sklearn_cmr._lazy import lazy_names
from sklearn_cmr.codes import hamming_distances, pack_codes, unpack_codes

if TYPE_CHECKING:
    from sklearn_cmr.hashing._aadah import AADAHHasher
    from sklearn_cmr.hashing._itq import ITQHasher
    from sklearn_cmr.hashing._ssah import SSAHHasher

__all__ = [
    "AADAHHasher",
    "ITQHasher",
    "SSAHHasher",
    "hamming_distances",
    "pack_codes",
    "unpack_codes",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "sklearn_cmr.hashing._aadah": ["AADAHHasher"],
        "sklearn_cmr.hashing._itq": ["ITQHasher"],
        "sklearn_cmr.hashing._ssah": ["SSAHHasher"],
    },
)
