"""Search for the nearest items of a gallery."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr.neighbors._neighbors import CrossModalNeighbors
from sklearn_cmr.neighbors._retriever import CrossModalRetriever

__all__ = ["CrossModalNeighbors", "CrossModalRetriever"]
