"""Metrics, scorers and plots for cross-modal retrieval."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr.metrics._average_precision import (
    map_at_r,
    mean_average_precision,
    r_precision,
)
from sklearn_cmr.metrics._comparison import compare_retrieval
from sklearn_cmr.metrics._curves import precision_recall_curve
from sklearn_cmr.metrics._cutoffs import (
    hit_rate_at_k,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
)
from sklearn_cmr.metrics._displays import (
    ClassScoreDisplay,
    CommonSpaceDisplay,
    ComparisonDisplay,
    PrecisionRecallDisplay,
    RetrievalDisplay,
    TopKHitRateDisplay,
    TopKPrecisionDisplay,
    TopKRecallDisplay,
    TrainingCurveDisplay,
)
from sklearn_cmr.metrics._ranks import mean_rank, median_rank, reciprocal_rank, rsum
from sklearn_cmr.metrics._report import cross_modal_report
from sklearn_cmr.metrics._scorers import (
    MapScorer,  # noqa: F401 - files name it
    RetrievalScorer,  # noqa: F401
    make_map_scorer,
    make_retrieval_scorer,
    map_i2t_scorer,
    map_scorer,
    map_t2i_scorer,
)
from sklearn_cmr.metrics._trec import to_trec

__all__ = [
    "ClassScoreDisplay",
    "CommonSpaceDisplay",
    "ComparisonDisplay",
    "PrecisionRecallDisplay",
    "RetrievalDisplay",
    "TopKHitRateDisplay",
    "TopKPrecisionDisplay",
    "TopKRecallDisplay",
    "TrainingCurveDisplay",
    "compare_retrieval",
    "cross_modal_report",
    "hit_rate_at_k",
    "make_map_scorer",
    "make_retrieval_scorer",
    "map_at_r",
    "map_i2t_scorer",
    "map_scorer",
    "map_t2i_scorer",
    "mean_average_precision",
    "mean_rank",
    "median_rank",
    "ndcg_at_k",
    "precision_at_k",
    "precision_recall_curve",
    "r_precision",
    "recall_at_k",
    "reciprocal_rank",
    "rsum",
    "to_trec",
]
