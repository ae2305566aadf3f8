"""Plots of retrieval and training."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr.metrics._displays.bars import ClassScoreDisplay, ComparisonDisplay
from sklearn_cmr.metrics._displays.curves import (
    PrecisionRecallDisplay,
    TopKHitRateDisplay,
    TopKPrecisionDisplay,
    TopKRecallDisplay,
)
from sklearn_cmr.metrics._displays.retrieval import RetrievalDisplay
from sklearn_cmr.metrics._displays.space import CommonSpaceDisplay
from sklearn_cmr.metrics._displays.training import TrainingCurveDisplay

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
]
