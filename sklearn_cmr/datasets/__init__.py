"""Paired data: generators, a small real set and the field's classic."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr.datasets._digits import load_captioned_digits
from sklearn_cmr.datasets._emoji import fetch_emoji
from sklearn_cmr.datasets._samples_generator import (
    make_cross_modal_classification,
    make_cross_modal_regions,
)
from sklearn_cmr.datasets._wikipedia import fetch_wikipedia

__all__ = [
    "fetch_emoji",
    "fetch_wikipedia",
    "load_captioned_digits",
    "make_cross_modal_classification",
    "make_cross_modal_regions",
]
