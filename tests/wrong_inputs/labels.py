"""Wrong labels and weights: in `fit`, for held-out rows, and in `score`."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import polars as pl
from scipy import sparse

from sklearn_cmr import make_pairs
from tests.wrong_inputs.rows import (
    IMAGE,
    INDICATOR,
    PAIRS,
    TEXT,
    N,
    Row,
    Thing,
    Y,
    changed,
    fitted,
    make,
)

_SAMPLES = "Found input variables with inconsistent numbers of samples"
_UNKNOWN = "Unknown label type: "
_COLLECTION = "y holds a collection of labels for each row"
_MISSING = "Input y contains NaN"
_MIXED = "Unknown label type: y mixes strings with other labels"

_LABELS = {
    "a number": (1, TypeError, "Expected sequence or array-like, got"),
    "a 0-D array": (np.array(1), TypeError, "Input should have at least 1 dimension"),
    "a string": ("abc", ValueError, "got a single string as y: 'abc'"),
    "3-D": (INDICATOR[..., None], ValueError, "y must be 1-D or 2-D, got an array of"),
    "empty": ([], ValueError, "CCAProjector|SemanticMatchingProjector needs labels"),
    "fewer": (Y[1:], ValueError, _SAMPLES),
    "more": (np.tile(Y, 2), ValueError, _SAMPLES),
    "fractions": (np.linspace(0.1, 0.9, N), ValueError, f"{_UNKNOWN}continuous"),
    "of one class": (
        np.zeros(N),
        ValueError,
        ".* needs labels of at least two classes",
    ),
    "NaN in part": (changed(Y, np.nan, 0), ValueError, _MISSING),
    "infinite": (changed(Y, np.inf, 0), ValueError, "Input y contains infinity"),
    "None": ([None] * N, ValueError, f"{_MISSING} or None in 12 of 12 rows"),
    "None in part": ([None, *Y[1:]], ValueError, f"{_MISSING} or None in 1 of 12 rows"),
    "missing in a series": (pd.Series([None, *"ab" * 5, "a"]), ValueError, _MISSING),
    "strings and numbers": (["a", 1] * 6, ValueError, _MIXED),
    "complex": (Y + 1j, ValueError, "Complex data not supported"),
    "an indicator with -1": (changed(INDICATOR, -1), ValueError, _UNKNOWN),
    "an indicator of 0 and 2": (2 * INDICATOR, ValueError, f"{_UNKNOWN}multilabel"),
    "an indicator of halves": (INDICATOR / 2, ValueError, f"{_UNKNOWN}continuous"),
    "an indicator with NaN": (changed(INDICATOR, np.nan), ValueError, _MISSING),
    "an indicator of strings": (INDICATOR.astype(str), ValueError, _UNKNOWN),
    "a row of zeros": (
        changed(INDICATOR, 0, 0),
        ValueError,
        "1 of 12 rows of y have no",
    ),
    "all zeros": (INDICATOR * 0, ValueError, "12 of 12 rows of y have no label"),
    "sparse with -1": (sparse.csr_array(changed(INDICATOR, -1)), ValueError, _UNKNOWN),
    "sparse with NaN": (
        sparse.csr_array(changed(INDICATOR, np.nan)),
        ValueError,
        _MISSING,
    ),
    "sparse and 1-D": (
        sparse.coo_array(Y),
        ValueError,
        r"y is a sparse array of shape \(12,\). Pass classes as a dense 1-D array",
    ),
    "sparse, fewer": (sparse.csr_array(INDICATOR[1:]), ValueError, _SAMPLES),
    "sparse zeros": (
        sparse.csr_array((N, 3)),
        ValueError,
        "12 of 12 rows of y have no",
    ),
    "sets": ([{0}, {1}] * 6, ValueError, _COLLECTION),
    "lists": ([[0], [0, 1]] * 6, ValueError, _COLLECTION),
    "a generator": ((i for i in Y), TypeError, "Expected sequence or array-like, got"),
    "a function": (len, TypeError, "Expected sequence or array-like, got"),
    "a lazy frame": (
        pl.LazyFrame({"a": Y}),
        TypeError,
        "Expected sequence or array-like, got",
    ),
    "masked": (np.ma.masked_array(Y, Y == 0), TypeError, "y is a masked array"),
    "bytes": (Y.astype("S"), TypeError, "Support for labels represented as bytes"),
    "objects": ([Thing() for _ in range(N)], ValueError, f"{_UNKNOWN}unknown"),
}

_PAIRED = "got a mapping of labels, but ACMRProjector learns from pairs"
_NAMES = "The labels must have the names of the modalities: expected"
_KIND = "The labels of all modalities must be of one kind"
_HELD_OUT = "Pass X_val and y_val together, or neither of them"


def _fit(*arguments, name="SemanticMatchingProjector", **params):
    return lambda: make(name, **params).fit(*arguments)


def _by_modality(image, text, name="DRCLProjector"):
    return _fit(
        {"image": IMAGE, "text": TEXT}, {"image": image, "text": text}, name=name
    )


def _held_out(X_val, y_val, name="ACMRProjector", **params):
    params = {"early_stopping": True, "validation_fraction": 0.4} | params
    return lambda: make(name, **params).fit(IMAGE, TEXT, Y, X_val=X_val, y_val=y_val)


def _score(y, **weights):
    return lambda: fitted("ACMRProjector").score(IMAGE, TEXT, y, **weights)


ROWS = [
    Row(f"fit: labels are {name}", _fit(IMAGE, TEXT, y), error, message)
    for name, (y, error, message) in _LABELS.items()
]
ROWS += [
    Row(name, call, error, message)
    for name, call, error, message in [
        (
            "no label at all",
            _fit(IMAGE, TEXT, [None] * N, missing_labels="drop"),
            ValueError,
            "None of the 12 rows of y has a label",
        ),
        (
            "sparse and 1-D, to be dropped",
            _fit(IMAGE, TEXT, sparse.coo_array(Y), missing_labels="drop"),
            ValueError,
            "y is a sparse array of shape",
        ),
        (
            "mapping for pairs",
            _by_modality(Y, Y, name="ACMRProjector"),
            ValueError,
            _PAIRED,
        ),
        (
            "labels of other names",
            _fit(PAIRS, {"image": Y, "txt": Y}, name="DRCLProjector"),
            ValueError,
            _NAMES,
        ),
        (
            "labels of one modality",
            _fit(PAIRS, {"image": Y}, name="SSAHHasher"),
            ValueError,
            _NAMES,
        ),
        (
            "None for one modality",
            _by_modality(Y, None),
            ValueError,
            "The text labels are None. Pass one for each row",
        ),
        ("fewer labels of one modality", _by_modality(Y, Y[1:]), ValueError, _SAMPLES),
        ("classes and an indicator", _by_modality(Y, INDICATOR), ValueError, _KIND),
        ("numbers and strings", _by_modality(Y, Y.astype(str)), ValueError, _KIND),
        (
            "numbers and dates",
            _by_modality(Y, Y.astype("datetime64[D]")),
            ValueError,
            _KIND,
        ),
        (
            "numbers and durations",
            _by_modality(Y.astype("timedelta64[D]"), Y),
            ValueError,
            _KIND,
        ),
        (
            "numbers and records",
            _by_modality(Y, np.zeros(N, dtype=[("a", int)])),
            ValueError,
            _KIND,
        ),
        (
            "indicators of other widths",
            _by_modality(INDICATOR, np.eye(4, dtype=int)[Y]),
            ValueError,
            _KIND,
        ),
        (
            "one array for other numbers of rows",
            _fit({"image": IMAGE, "text": TEXT[1:]}, Y, name="AADAHHasher"),
            ValueError,
            _SAMPLES,
        ),
        # Held-out rows.
        ("X_val alone", _held_out(PAIRS, None), ValueError, _HELD_OUT),
        ("y_val alone", _held_out(None, Y), ValueError, _HELD_OUT),
        (
            "held-out rows without early stopping",
            _held_out(PAIRS, Y, early_stopping=False),
            ValueError,
            "X_val and y_val are for early stopping: set early_stopping=True",
        ),
        ("fewer held-out labels", _held_out(PAIRS, Y[1:]), ValueError, _SAMPLES),
        (
            "held-out labels that are new",
            _held_out(PAIRS, Y + 1),
            ValueError,
            r"y holds labels that were not seen in fit: \[3\]",
        ),
        (
            "held-out rows of other widths",
            _held_out(make_pairs(TEXT, IMAGE), Y),
            ValueError,
            "X has 3 image features, but ACMRProjector is expecting 4",
        ),
        (
            "held-out rows of one modality",
            _held_out({"image": IMAGE}, Y, name="AADAHHasher"),
            ValueError,
            "X_val must hold all modalities",
        ),
        (
            "held-out rows of another modality",
            _held_out({"image": IMAGE, "audio": IMAGE}, Y, name="SSAHHasher"),
            ValueError,
            "modality must be one of",
        ),
        (
            "held-out labels by modality, for pairs",
            _held_out(PAIRS, {"image": Y, "text": Y}),
            ValueError,
            "got a mapping of labels",
        ),
        (
            "too few rows to hold out",
            _fit(IMAGE, TEXT, Y, name="CMGANProjector", early_stopping=True),
            ValueError,
            "early_stopping=True holds out validation_fraction=0.1 of 12 rows",
        ),
        (
            "weights in fit",
            lambda: make("ACMRProjector").fit(IMAGE, TEXT, Y, sample_weight=Y),
            TypeError,
            r"NetworkTransformer.fit\(\) got an unexpected keyword argument "
            "'sample_weight'",
        ),
        # Scores.
        (
            "fewer labels to score",
            _score(Y[1:]),
            ValueError,
            "query has 12 rows but y_query",
        ),
        (
            "fractions to score",
            _score(Y / 3),
            ValueError,
            "Unknown label type: y_query",
        ),
        (
            "NaN to score",
            _score(changed(Y, np.nan, 0)),
            ValueError,
            "Input y_query contains",
        ),
        (
            "sparse and 1-D to score",
            _score(sparse.coo_array(Y)),
            ValueError,
            "y_query is a sparse array of shape",
        ),
        (
            "labels by modality of other names",
            lambda: fitted("DRCLProjector").score(PAIRS, {"a": Y, "b": Y}),
            ValueError,
            _NAMES,
        ),
        (
            "weights and labels by modality",
            lambda: fitted("DRCLProjector").score(
                PAIRS, {"image": Y, "text": Y}, sample_weight=Y
            ),
            ValueError,
            "sample_weight needs labels that all modalities share",
        ),
    ]
]

_WEIGHT = "sample_weight cannot be used: "
ROWS += [
    Row(f"weights are {name}", _score(Y, sample_weight=weights), error, message)
    for name, weights, error, message in [
        (
            "fewer",
            np.ones(N - 1),
            ValueError,
            r"sample_weight.shape == \(11,\), expected",
        ),
        ("2-D", np.ones((N, 1)), ValueError, f"{_WEIGHT}Sample weights must be 1D"),
        ("negative", -np.ones(N), ValueError, "Negative values in data passed to"),
        ("zero", np.zeros(N), ValueError, f"{_WEIGHT}Sample weights must contain"),
        ("NaN", np.full(N, np.nan), ValueError, "Input sample_weight contains NaN"),
        ("words", ["a"] * N, ValueError, "sample_weight must hold numbers, got"),
        ("sets", [{1}] * N, TypeError, f"{_WEIGHT}float"),
        ("huge integers", [10**400] * N, ValueError, f"{_WEIGHT}int too large"),
        (
            "dates",
            np.full(N, np.datetime64("2020-01-01")),
            ValueError,
            "sample_weight must hold numbers, got the dtype datetime64",
        ),
        ("bytes", Y.astype("S"), ValueError, "sample_weight must hold numbers, got"),
        ("complex", Y + 1j, ValueError, "sample_weight must hold numbers, got"),
        (
            "missing",
            pd.Series([None, *[1.0] * (N - 1)]),
            ValueError,
            "Input sample_weight",
        ),
        (
            "masked",
            np.ma.masked_array(Y, Y == 0),
            TypeError,
            "sample_weight is a masked array",
        ),
        (
            "lists",
            [[1], [1, 2]] * 6,
            ValueError,
            "sample_weight must have the same number",
        ),
    ]
]
