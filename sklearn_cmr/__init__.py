"""Cross-modal retrieval with the scikit-learn API."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr.compose import PairTransformer
from sklearn_cmr.hashing import AADAHHasher, SSAHHasher
from sklearn_cmr.neighbors import CrossModalNeighbors
from sklearn_cmr.pairs import make_pairs
from sklearn_cmr.projection import ACMRProjector, CMGANProjector, DRCLProjector

__all__ = [
    "AADAHHasher",
    "ACMRProjector",
    "CMGANProjector",
    "CrossModalNeighbors",
    "DRCLProjector",
    "PairTransformer",
    "SSAHHasher",
    "make_pairs",
]

__version__ = "0.1.0.dev0"
