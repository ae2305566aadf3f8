"""Cross-modal retrieval with the scikit-learn API."""

# SPDX-License-Identifier: BSD-3-Clause

from typing import TYPE_CHECKING

from sklearn_cmr._lazy import lazy_names

if TYPE_CHECKING:
    from sklearn_cmr._versions import show_versions
    from sklearn_cmr.compose import PairTransformer
    from sklearn_cmr.ensemble import CrossModalEnsemble
    from sklearn_cmr.hashing import AADAHHasher, ITQHasher, SSAHHasher
    from sklearn_cmr.neighbors import CrossModalNeighbors, CrossModalRetriever
    from sklearn_cmr.pairs import make_pairs
    from sklearn_cmr.projection import (
        ACMRProjector,
        CCAProjector,
        CMGANProjector,
        DRCLProjector,
        SemanticMatchingProjector,
    )

__all__ = [
    "AADAHHasher",
    "ACMRProjector",
    "CCAProjector",
    "CMGANProjector",
    "CrossModalEnsemble",
    "CrossModalNeighbors",
    "CrossModalRetriever",
    "DRCLProjector",
    "ITQHasher",
    "PairTransformer",
    "SSAHHasher",
    "SemanticMatchingProjector",
    "make_pairs",
    "show_versions",
]

#: What skops has to be told to trust: our classes that may be in a file, and splitters
#: of searches.
TRUSTED_TYPES = (
    *(f"sklearn_cmr.{name}" for name in __all__ if name[0].isupper()),
    "sklearn_cmr.metrics.MapScorer",
    "sklearn_cmr.metrics.RetrievalScorer",
    "sklearn_cmr.pairs.Pairs",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.ShuffleSplit",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.model_selection._split.StratifiedShuffleSplit",
)
__all__ += ["TRUSTED_TYPES"]

__version__ = "0.1.0.dev0"

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "sklearn_cmr._versions": ["show_versions"],
        "sklearn_cmr.compose": ["PairTransformer"],
        "sklearn_cmr.ensemble": ["CrossModalEnsemble"],
        "sklearn_cmr.hashing": ["AADAHHasher", "ITQHasher", "SSAHHasher"],
        "sklearn_cmr.neighbors": ["CrossModalNeighbors", "CrossModalRetriever"],
        "sklearn_cmr.pairs": ["make_pairs"],
        "sklearn_cmr.projection": [
            "ACMRProjector",
            "CCAProjector",
            "CMGANProjector",
            "DRCLProjector",
            "SemanticMatchingProjector",
        ],
    },
    ["base", "codes", "compose", "datasets", "ensemble", "export", "hashing"]
    + ["metrics", "neighbors", "nn", "pairs", "projection", "training"],
)
