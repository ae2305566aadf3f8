"""Metrics and scorers for cross-modal retrieval."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr.metrics._ranking import mean_average_precision
from sklearn_cmr.metrics._scorers import (
    make_map_scorer,
    map_i2t_scorer,
    map_scorer,
    map_t2i_scorer,
)

__all__ = [
    "make_map_scorer",
    "map_i2t_scorer",
    "map_scorer",
    "map_t2i_scorer",
    "mean_average_precision",
]
