"""Metrics, scorers and plots for cross-modal retrieval."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr.metrics._average_precision import mean_average_precision
from sklearn_cmr.metrics._curves import precision_recall_curve
from sklearn_cmr.metrics._cutoffs import ndcg_at_k, precision_at_k, recall_at_k
from sklearn_cmr.metrics._displays import (
    CommonSpaceDisplay,
    PrecisionRecallDisplay,
    RetrievalDisplay,
    TopKPrecisionDisplay,
    TrainingCurveDisplay,
)
from sklearn_cmr.metrics._report import cross_modal_report
from sklearn_cmr.metrics._scorers import (
    make_map_scorer,
    map_i2t_scorer,
    map_scorer,
    map_t2i_scorer,
)

__all__ = [
    "CommonSpaceDisplay",
    "PrecisionRecallDisplay",
    "RetrievalDisplay",
    "TopKPrecisionDisplay",
    "TrainingCurveDisplay",
    "cross_modal_report",
    "make_map_scorer",
    "map_i2t_scorer",
    "map_scorer",
    "map_t2i_scorer",
    "mean_average_precision",
    "ndcg_at_k",
    "precision_at_k",
    "precision_recall_curve",
    "recall_at_k",
]
