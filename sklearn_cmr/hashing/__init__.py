"""Binary codes and what makes them."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr.hashing.codes import hamming_distances, pack_codes, unpack_codes

__all__ = ["hamming_distances", "pack_codes", "unpack_codes"]
