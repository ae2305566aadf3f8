"""Wrong inputs of metrics, reports, scorers and displays."""

# SPDX-License-Identifier: BSD-3-Clause

from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import torch
from scipy import sparse
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_cmr import metrics
from tests.wrong_inputs.rows import (
    CODES,
    IMAGE,
    INDICATOR,
    PAIRS,
    N,
    Row,
    Thing,
    Y,
    changed,
    fitted,
)

ITEMS = IMAGE[::-1]


def _map(query=IMAGE, gallery=ITEMS, y_query=Y, y_gallery=Y, **options):
    return metrics.mean_average_precision(query, gallery, y_query, y_gallery, **options)


# Functions of two sets, and those of them that have a `k`.
TWO_SETS = {
    "mean_average_precision": None,
    "map_at_r": None,
    "r_precision": None,
    "precision_at_k": 3,
    "recall_at_k": 3,
    "hit_rate_at_k": 3,
    "ndcg_at_k": 3,
    "precision_recall_curve": None,
    "mean_rank": None,
    "median_rank": None,
    "reciprocal_rank": None,
}
ROWS = []
for _name, _k in TWO_SETS.items():
    _own = getattr(metrics, _name)
    _function = partial(_own, k=_k) if _k else _own
    for _what, _call, _error, _message in [
        (
            "vector",
            lambda f: f(IMAGE[:, 0], ITEMS, Y, Y),
            ValueError,
            "query cannot be used: Expected 2D array, got 1D array",
        ),
        (
            "NaN",
            lambda f: f(changed(IMAGE, np.nan), ITEMS, Y, Y),
            ValueError,
            "Input query contains NaN",
        ),
        (
            "other width",
            lambda f: f(IMAGE, ITEMS[:, 1:], Y, Y),
            ValueError,
            "query has 4 columns and gallery has 3. Both must lie in one common",
        ),
        (
            "no labels",
            lambda f: f(IMAGE, ITEMS),
            ValueError,
            "Labels are needed to know what is relevant",
        ),
        (
            "labels of the queries only",
            lambda f: f(IMAGE, ITEMS, Y),
            ValueError,
            "y_gallery is missing",
        ),
        (
            "fewer labels",
            lambda f: f(IMAGE, ITEMS, Y[1:], Y),
            ValueError,
            "query has 12 rows but y_query has 11",
        ),
        (
            "metric",
            lambda f: f(IMAGE, ITEMS, Y, Y, metric="manhattan"),
            InvalidParameterError,
            "The 'metric' parameter of .* must be a str among",
        ),
        (
            "chunk_size=0",
            lambda f: f(IMAGE, ITEMS, Y, Y, chunk_size=0),
            InvalidParameterError,
            "The 'chunk_size' parameter of .* must be an int in the range",
        ),
        (
            "unknown option",
            lambda f: f(IMAGE, ITEMS, Y, Y, order="best"),
            TypeError,
            "got an unexpected keyword argument 'order'",
        ),
    ]:
        ROWS.append(
            Row(f"{_name}: {_what}", partial(_call, _function), _error, _message)
        )

# One function stands for all of two sets, which share their checks.
_USED = "{} cannot be used: "
_MATRICES = {
    "number": (
        3,
        InvalidParameterError,
        "The '{}' parameter of .* must be an array-like",
    ),
    "generator": (
        (row for row in IMAGE),
        InvalidParameterError,
        "The '{}' parameter of",
    ),
    "empty": (np.empty((0, 4)), ValueError, f"{_USED}Found array with 0 sample"),
    "3-D": (IMAGE[..., None], ValueError, f"{_USED}Found array with dim 3"),
    "infinity": (changed(IMAGE, np.inf), ValueError, "Input {} contains infinity"),
    "complex": (IMAGE + 1j, ValueError, f"{_USED}Complex data not supported"),
    "words": (np.full((N, 4), "a"), ValueError, f"{_USED}dtype='numeric' is not"),
    "objects": (np.full((N, 4), Thing()), TypeError, f"{_USED}float"),
    "sets": ([[{1}] * 4] * N, TypeError, f"{_USED}float"),
    "huge integers": ([[10**400] * 4] * N, ValueError, f"{_USED}int too large"),
    "ragged": ([[1.0]] * 11 + [[1.0, 2.0]], ValueError, "{} must have the same number"),
    "dates": (
        np.full((N, 4), np.datetime64("2020-01-01")),
        ValueError,
        "{} must hold numbers, got the dtype datetime64",
    ),
    "durations": (
        np.full((N, 4), np.timedelta64(1, "s")),
        ValueError,
        "{} must hold numbers, got the dtype timedelta64",
    ),
    "categories": (
        pd.DataFrame({i: pd.Categorical(["a"] * N) for i in range(4)}),
        ValueError,
        "{} must hold numbers, got the dtype object",
    ),
    "words in a frame": (
        pd.DataFrame(IMAGE).astype(object).assign(a="x"),
        ValueError,
        # The second with scikit-learn 1.6.
        f"{_USED}could not convert string to float|.* must hold numbers",
    ),
    "words in polars": (
        pl.DataFrame({str(i): ["a"] * N for i in range(4)}),
        ValueError,
        "{} must hold numbers, got the dtype object",
    ),
    "columns of one name": (
        pd.DataFrame(IMAGE, columns=[*"aaaa"]),
        ValueError,
        f"{_USED}Expected unique column names",
    ),
    "CSR": (
        sparse.csr_array(IMAGE),
        InvalidParameterError,
        "The '{}' parameter of .* must be an array-like",
    ),
    "sparse tensor": (
        torch.tensor(IMAGE).to_sparse(),
        TypeError,
        "{} is a tensor that",
    ),
    "tensor without values": (
        torch.empty((N, 4), device="meta"),
        TypeError,
        "{} is a tensor that cannot be turned into an array",
    ),
    "masked": (np.ma.masked_array(IMAGE, IMAGE > 0), TypeError, "{} is a masked array"),
    "matrix of numpy": (
        IMAGE.view(np.matrix),
        TypeError,
        f"{_USED}np.matrix is not supported",
    ),
    "codes": (
        CODES[:, :4],
        ValueError,
        "metric='auto' cannot be resolved: query has dtype",
    ),
}
for _name, (_X, _error, _message) in _MATRICES.items():
    ROWS += [
        Row(
            f"queries are {_name}",
            lambda X=_X: _map(X),
            _error,
            _message.format("query"),
        ),
        Row(
            f"gallery is {_name}",
            lambda X=_X: _map(gallery=X),
            _error,
            _message.format("gallery"),
        ),
    ]

_LABELS = "{} must be a 1-D array of classes or a 2-D label indicator, not empty"
ROWS += [
    Row(f"labels are {name}", lambda y=y: _map(y_query=y), error, message)
    for name, y, error, message in [
        ("a number", 3, InvalidParameterError, "The 'y_query' parameter of"),
        ("0-D", np.array(3), ValueError, _LABELS.format("y_query")),
        ("3-D", INDICATOR[..., None], ValueError, _LABELS.format("y_query")),
        ("empty", [], ValueError, _LABELS.format("y_query")),
        (
            "NaN in part",
            changed(Y, np.nan, 0),
            ValueError,
            "Input y_query contains NaN",
        ),
        (
            "None in part",
            [None, *Y[1:]],
            ValueError,
            "Input y_query contains NaN or None",
        ),
        (
            "fractions",
            Y / 3,
            ValueError,
            "Unknown label type: y_query holds continuous",
        ),
        ("an indicator", INDICATOR, ValueError, "y_query is 2-D and y_gallery is 1-D"),
        ("strings", Y.astype(str), ValueError, "The labels must be all numbers or all"),
        ("sets", [{0}] * N, ValueError, "y_query holds a collection of labels"),
        (
            "mixed",
            ["a", 1] * 6,
            ValueError,
            "Unknown label type: y_query mixes strings",
        ),
        (
            "sparse and 1-D",
            sparse.coo_array(Y),
            ValueError,
            "y_query is a sparse array of",
        ),
    ]
]
ROWS += [
    Row(
        f"both labels are {name}",
        lambda y=y: _map(y_query=y, y_gallery=y),
        error,
        message,
    )
    for name, y, error, message in [
        (
            "indicators with -1",
            changed(INDICATOR, -1),
            ValueError,
            "A 2-D y_query must be",
        ),
        (
            "indicators of halves",
            INDICATOR / 2,
            ValueError,
            "A 2-D y_query must be a label",
        ),
        (
            "sparse with 2",
            sparse.csr_array(2 * INDICATOR),
            ValueError,
            "A 2-D y_query must be a label indicator of 0 and 1",
        ),
        (
            "sparse and 1-D",
            sparse.coo_array(Y),
            ValueError,
            "y_query is a sparse array",
        ),
    ]
]
ROWS += [
    Row(
        "indicators of other widths",
        lambda: _map(y_query=INDICATOR, y_gallery=INDICATOR[:, 1:]),
        ValueError,
        "y_query has 3 label columns and y_gallery has 2",
    ),
    Row(
        "pairs of an indicator",
        lambda: _map(y_query=INDICATOR, y_gallery=INDICATOR, relevance="pair"),
        ValueError,
        "relevance='pair' needs one number or name for each item",
    ),
    Row(
        "pairs of other numbers",
        lambda: _map(IMAGE[1:], ITEMS, None, None, relevance="pair"),
        ValueError,
        "relevance='pair' pairs the rows one by one, but there are 11 queries and 12",
    ),
    Row(
        "booleans of no metric",
        lambda: _map(IMAGE > 0, ITEMS > 0),
        ValueError,
        "metric='auto' cannot be resolved: query has the dtype bool",
    ),
    Row(
        "packed bits of another width",
        lambda: _map(np.ones((N, 2), np.uint8), np.ones((N, 3), np.uint8)),
        ValueError,
        "query has 2 columns and gallery has 3",
    ),
    Row(
        "codes with zeros",
        lambda: _map(CODES * (CODES > 0), CODES),
        ValueError,
        "Codes must be -1 or .1, but query contains the value 0",
    ),
    Row(
        "real values as codes",
        lambda: _map(metric="hamming"),
        ValueError,
        "Codes must be -1 or .1, but query contains the value",
    ),
]

_MATRIX = "relevance cannot be used: "
ROWS += [
    Row(
        f"relevance is {name}",
        lambda matrix=matrix: _map(y_query=None, y_gallery=None, relevance=matrix),
        error,
        message,
    )
    for name, matrix, error, message in [
        ("unknown", "class", InvalidParameterError, "The 'relevance' parameter of"),
        ("of another shape", np.ones((N, 3)), ValueError, r"relevance has the shape"),
        ("negative", -np.ones((N, N)), ValueError, "relevance must be 0 or greater"),
        ("NaN", np.full((N, N), np.nan), ValueError, "Input relevance contains NaN"),
        ("words", np.full((N, N), "a"), ValueError, f"{_MATRIX}dtype='numeric' is not"),
        ("objects", np.full((N, N), Thing()), TypeError, f"{_MATRIX}float"),
        (
            "dates",
            np.full((N, N), np.datetime64("2020-01-01")),
            ValueError,
            "relevance must hold numbers, got the dtype datetime64",
        ),
        ("a dict", {"a": 1}, ValueError, f"{_MATRIX}Expected 2D array"),
    ]
]
ROWS += [
    Row(
        "relevance and labels",
        lambda: _map(relevance=np.ones((N, N))),
        ValueError,
        "A matrix of relevance stands in place of labels, but y_query and y_gallery",
    ),
    Row(
        "precomputed distances and a gallery",
        lambda: _map(np.ones((N, N)), metric="precomputed"),
        ValueError,
        "metric='precomputed' takes the distances of all items from all",
    ),
    Row(
        "precomputed distances that are dates",
        lambda: _map(
            np.full((N, N), np.datetime64("2020-01-01")), None, metric="precomputed"
        ),
        ValueError,
        "query must hold numbers, got the dtype datetime64",
    ),
]

_K = "k must be a positive integer or several of them, got "
ROWS += [
    Row(
        f"{name}: k={k!r}",
        lambda name=name, k=k: getattr(metrics, name)(IMAGE, ITEMS, Y, Y, k=k),
        error,
        message,
    )
    for name, k, error, message in [
        (
            "precision_at_k",
            0,
            InvalidParameterError,
            "The 'k' parameter of precision_at_k",
        ),
        (
            "recall_at_k",
            -1,
            InvalidParameterError,
            "The 'k' parameter of recall_at_k must",
        ),
        (
            "ndcg_at_k",
            2.5,
            InvalidParameterError,
            "The 'k' parameter of ndcg_at_k must be",
        ),
        (
            "hit_rate_at_k",
            "3",
            InvalidParameterError,
            "The 'k' parameter of hit_rate_at_k",
        ),
        ("precision_at_k", [], ValueError, f"{_K}"),
        ("precision_at_k", [0], ValueError, f"{_K}"),
        ("precision_at_k", [1.5], ValueError, f"{_K}"),
        ("recall_at_k", [[1, 2]], ValueError, f"{_K}"),
        ("recall_at_k", [[1, 2], [3]], ValueError, f"{_K}"),
        ("ndcg_at_k", [1, None], ValueError, f"{_K}"),
        ("ndcg_at_k", ["a"], ValueError, f"{_K}"),
        ("hit_rate_at_k", np.array(-1), ValueError, f"{_K}"),
        (
            "mean_average_precision",
            0,
            InvalidParameterError,
            "The 'k' parameter of mean",
        ),
    ]
]
ROWS += [
    Row(f"{name}={value!r}", lambda o={name: value}: _map(**o), error, message)
    for name, value, error, message in [
        ("ties", "any", InvalidParameterError, "The 'ties' parameter of"),
        ("normalizer", "k", InvalidParameterError, "The 'normalizer' parameter of"),
        (
            "zero_relevant",
            None,
            InvalidParameterError,
            "The 'zero_relevant' parameter of",
        ),
        ("per_query", "yes", InvalidParameterError, "The 'per_query' parameter of"),
        (
            "random_state",
            "seed",
            InvalidParameterError,
            "The 'random_state' parameter of",
        ),
        ("exclude_self", [0, 1], ValueError, "exclude_self must be a boolean, or the"),
        (
            "exclude_self",
            [50] * N,
            ValueError,
            "exclude_self holds positions from 50 to 50",
        ),
        (
            "exclude_self",
            [0.5] * N,
            ValueError,
            "exclude_self must be a boolean, or the",
        ),
        (
            "sample_weight",
            "abc",
            InvalidParameterError,
            "The 'sample_weight' parameter of",
        ),
    ]
]
ROWS += [
    Row(
        "itself of a gallery of another length",
        lambda: _map(gallery=ITEMS[1:], y_gallery=Y[1:], exclude_self=True),
        ValueError,
        "exclude_self=True means that query i is item i, but there are 12",
    ),
    Row(
        "itself of one item",
        lambda: _map(IMAGE[:1], ITEMS[:1], Y[:1], Y[:1], exclude_self=True),
        ValueError,
        "The gallery holds one item, and nothing is left to retrieve",
    ),
    Row(
        "exponential gain of large grades",
        lambda: metrics.ndcg_at_k(
            IMAGE,
            ITEMS,
            k=3,
            relevance=np.full((N, N), 5000.0) * np.eye(N) + 1,
            gain="exponential",
        ),
        ValueError,
        "Relevance is graded up to 5001",
    ),
    Row(
        "gain",
        lambda: metrics.ndcg_at_k(IMAGE, ITEMS, Y, Y, k=3, gain="quadratic"),
        InvalidParameterError,
        "The 'gain' parameter of ndcg_at_k must be a str among",
    ),
    Row(
        "no k",
        lambda: metrics.precision_at_k(IMAGE, ITEMS, Y, Y),
        TypeError,
        "missing a required (keyword-only )?argument: 'k'",
    ),
]

# -- comparisons, files, reports ---------------------------------------------------

_VALUES = np.linspace(0, 1, N)
_NO_NUMBERS = "a must hold numbers, one for each query"


def _compare(a=_VALUES, b=_VALUES**2, **options):
    return lambda: metrics.compare_retrieval(a, b, **{"n_resamples": 9} | options)


def _to_trec(**options):
    files = {"run": "no-such-folder/run", "qrels": "no-such-folder/qrels"}
    return lambda: metrics.to_trec(IMAGE, ITEMS, Y, Y, **files | options)


def _report(*arguments, **options):
    return lambda: metrics.cross_modal_report(*arguments, **options)


_SYSTEMS = {"image": IMAGE, "text": ITEMS}
ROWS += [
    Row(f"compare: {name}", call, error, message)
    for name, call, error, message in [
        (
            "2-D",
            _compare(np.ones((N, 2))),
            ValueError,
            "a must hold one value for each",
        ),
        (
            "a number",
            _compare(3.0),
            InvalidParameterError,
            "The 'a' parameter of compare",
        ),
        ("words", _compare(["x"] * N), ValueError, _NO_NUMBERS),
        ("sets", _compare([{1}] * N), ValueError, _NO_NUMBERS),
        ("huge", _compare([10**400] * N), ValueError, _NO_NUMBERS),
        (
            "ragged",
            _compare([[1], [1, 2]] * 6),
            ValueError,
            "a must have the same number",
        ),
        (
            "lazy",
            _compare(pl.LazyFrame({"a": _VALUES})),
            InvalidParameterError,
            "The 'a' par",
        ),
        (
            "other queries",
            _compare(b=_VALUES[1:]),
            ValueError,
            "The baseline has values of 12",
        ),
        (
            "other nan",
            _compare(b=changed(_VALUES, np.nan, 0)),
            ValueError,
            "The baseline and b",
        ),
        (
            "no system",
            _compare(b={}),
            ValueError,
            "b is empty. Pass the values of at least",
        ),
        (
            "words of a system",
            _compare(b={"x": "abc"}),
            ValueError,
            "x must hold one value for each query",
        ),
        (
            "one query",
            _compare([1.0], [0.5]),
            ValueError,
            "The baseline and b have values for 1",
        ),
        (
            "fewer groups",
            _compare(groups=[1]),
            ValueError,
            "groups must name the group of each",
        ),
        (
            "groups None",
            _compare(groups=[None] * N),
            ValueError,
            "groups has missing values",
        ),
        (
            "groups of dicts",
            _compare(groups=[{}] * N),
            ValueError,
            "groups must be all numbers",
        ),
        (
            "n_resamples",
            _compare(n_resamples=0),
            InvalidParameterError,
            "The 'n_resamples' par",
        ),
        (
            "level",
            _compare(confidence_level=95),
            InvalidParameterError,
            "The 'confidence_level'",
        ),
        (
            "digits",
            _compare(digits=-1),
            InvalidParameterError,
            "The 'digits' parameter of",
        ),
    ]
]
ROWS += [
    Row(f"to_trec: {name}", call, error, message)
    for name, call, error, message in [
        (
            "number as run",
            _to_trec(run=3),
            InvalidParameterError,
            "The 'run' parameter of",
        ),
        ("no folder", _to_trec(), FileNotFoundError, ".*no-such-folder/run"),
        (
            "fewer names",
            _to_trec(query_ids=["a"]),
            ValueError,
            "query_ids has the shape .1,. for 12",
        ),
        (
            "0-D names",
            _to_trec(query_ids=np.array(3)),
            ValueError,
            "query_ids has the shape .. for 12",
        ),
        (
            "2-D names",
            _to_trec(item_ids=np.ones((N, 2))),
            ValueError,
            "item_ids has the shape .12, 2. for 12",
        ),
        (
            "equal names",
            _to_trec(item_ids=["a"] * N),
            ValueError,
            "item_ids must differ, but",
        ),
        (
            "names with spaces",
            _to_trec(item_ids=[f"a {i}" for i in range(N)]),
            ValueError,
            "item_ids must not be empty or hold spaces",
        ),
        (
            "no files",
            lambda: metrics.to_trec(IMAGE, ITEMS, Y, Y),
            TypeError,
            "missing a required (keyword-only )?argument: 'run'",
        ),
        (
            "k",
            _to_trec(k=0),
            InvalidParameterError,
            "The 'k' parameter of to_trec must be",
        ),
    ]
]
ROWS += [
    Row(f"report: {name}", call, error, message)
    for name, call, error, message in [
        (
            "one array",
            _report(IMAGE, Y),
            ValueError,
            "got one array of embeddings. Pass",
        ),
        (
            "no labels",
            _report(_SYSTEMS),
            ValueError,
            "Labels are needed to know what is",
        ),
        (
            "one modality",
            _report({"image": IMAGE}, Y),
            ValueError,
            "Retrieval needs two mod",
        ),
        (
            "other labels",
            _report(_SYSTEMS, {"a": Y}),
            ValueError,
            r"y has the keys \['a'\], but",
        ),
        (
            "weights",
            _report(_SYSTEMS, {"image": Y, "text": Y}, sample_weight=Y),
            ValueError,
            "sample_weight needs labels that all",
        ),
        (
            "words as weights",
            _report(IMAGE, ITEMS, Y, sample_weight=["a"] * N),
            ValueError,
            "sample_weight must hold numbers",
        ),
        (
            "gallery alone",
            _report(IMAGE, ITEMS, Y, gallery=_SYSTEMS),
            ValueError,
            "gallery and y_gallery belong together",
        ),
        (
            "other gallery",
            _report(IMAGE, ITEMS, Y, gallery={"a": IMAGE, "b": IMAGE}, y_gallery=Y),
            ValueError,
            "The gallery has the modalities",
        ),
        (
            "k=0",
            _report(IMAGE, ITEMS, Y, k=0),
            InvalidParameterError,
            "The 'k' parameter of",
        ),
        ("ragged k", _report(IMAGE, ITEMS, Y, k=[[1, 2], [3]]), ValueError, _K),
        (
            "lazy frame",
            _report(pl.LazyFrame({"a": [1.0]}), ITEMS, Y),
            TypeError,
            ".* is a LazyFrame, whose rows",
        ),
        (
            "rsum of one array",
            lambda: metrics.rsum(IMAGE),
            ValueError,
            "got one array of embeddings",
        ),
        (
            "rsum of other rows",
            lambda: metrics.rsum(IMAGE, ITEMS[1:]),
            ValueError,
            "relevance='pair' pairs the rows one",
        ),
    ]
]

# -- scorers -------------------------------------------------------------------------


class Encoder:
    """Something that encodes to what it is given."""

    def __init__(self, output):
        self.output = output

    def transform(self, X):
        return self.output


def _score(output):
    return lambda: metrics.map_scorer(Encoder(output), IMAGE, Y)


_OUTPUT = "transform must return embeddings of both modalities"
ROWS += [
    Row(f"scorer: {name}", call, error, message)
    for name, call, error, message in [
        (
            "no estimator",
            lambda: metrics.map_scorer(None, IMAGE, Y),
            TypeError,
            "The mean average precision needs an estimator whose transform",
        ),
        (
            "y first",
            lambda: metrics.map_scorer(Y, Y),
            TypeError,
            "The mean average precision needs an estimator",
        ),
        (
            "no labels",
            lambda: metrics.map_scorer(fitted("ACMRProjector"), PAIRS),
            ValueError,
            "The mean average precision needs labels",
        ),
        ("None", _score(None), ValueError, _OUTPUT),
        ("a vector", _score(Y), ValueError, _OUTPUT),
        ("three arrays", _score((IMAGE, IMAGE, IMAGE)), ValueError, _OUTPUT),
        (
            "odd columns",
            _score(IMAGE[:, 1:]),
            ValueError,
            "transform returns 3 columns, which cannot be halved",
        ),
        (
            "one modality",
            _score({"image": IMAGE}),
            ValueError,
            "A mapping returned by transform must have the keys",
        ),
        (
            "other rows",
            _score((IMAGE, IMAGE[1:])),
            ValueError,
            "gallery has 11 rows but y_gallery has 12",
        ),
        (
            "names of one",
            _score(pd.DataFrame(IMAGE).add_prefix("image__")),
            ValueError,
            "The output of transform has columns of one modality",
        ),
        (
            "names of some",
            _score(pd.DataFrame(IMAGE, columns=["image__a", "b", "c", "text__d"])),
            ValueError,
            "Either every output column carries one of",
        ),
        (
            "direction",
            lambda: metrics.make_map_scorer(direction="both"),
            InvalidParameterError,
            "The 'direction' parameter of make_map_scorer",
        ),
        (
            "k=0",
            lambda: metrics.make_map_scorer(k=0),
            InvalidParameterError,
            "The 'k' parameter of make_map_scorer must be",
        ),
        (
            "name",
            lambda: metrics.make_retrieval_scorer("auc"),
            InvalidParameterError,
            "The 'name' parameter of make_retrieval_scorer",
        ),
        (
            "option",
            lambda: metrics.make_retrieval_scorer("ndcg", k=3, depth=3),
            TypeError,
            "The metric 'ndcg' has no option 'depth' in a scorer",
        ),
        (
            "per query",
            lambda: metrics.make_retrieval_scorer("map", per_query=True),
            TypeError,
            "The metric 'map' has no option 'per_query'",
        ),
        (
            "k missing",
            lambda: metrics.make_retrieval_scorer("recall"),
            TypeError,
            "The metric 'recall' needs the option k",
        ),
        (
            "several k",
            lambda: metrics.make_retrieval_scorer("recall", k=[1, 2]),
            InvalidParameterError,
            "The 'k' parameter of make_retrieval_scorer",
        ),
        (
            "fewer labels",
            lambda: metrics.map_i2t_scorer(fitted("CCAProjector"), PAIRS, Y[1:]),
            ValueError,
            "query has 12 rows but y_query has 11",
        ),
    ]
]

# -- displays ------------------------------------------------------------------------

_SPACE = metrics.CommonSpaceDisplay.from_predictions
_RETRIEVED = metrics.RetrievalDisplay.from_predictions
_CURVE = metrics.PrecisionRecallDisplay.from_predictions
_TRAINING = metrics.TrainingCurveDisplay.from_estimator
ROWS += [
    Row(f"display: {name}", call, error, message)
    for name, call, error, message in [
        (
            "too few items",
            lambda: _SPACE(IMAGE[:1], ITEMS[:1], Y[:1]),
            ValueError,
            "method='tsne' needs 4 items or more .*; got 2",
        ),
        (
            "items drawn",
            lambda: _SPACE(IMAGE, ITEMS, Y, n_samples=1),
            ValueError,
            "method='tsne' needs 4 items or more",
        ),
        (
            "equal items",
            lambda: _SPACE(IMAGE * 0, ITEMS * 0, Y),
            ValueError,
            "All items have the same embedding",
        ),
        (
            "one column",
            lambda: _SPACE(IMAGE[:, :1], ITEMS[:, :1], Y),
            ValueError,
            "A plane needs embeddings of two columns or more",
        ),
        (
            "method",
            lambda: _SPACE(IMAGE, ITEMS, Y, method="umap"),
            InvalidParameterError,
            "The 'method' parameter of",
        ),
        (
            "one array",
            lambda: _CURVE(IMAGE, Y),
            ValueError,
            "got one array of embeddings",
        ),
        (
            "no labels",
            lambda: _CURVE(_SYSTEMS),
            ValueError,
            "Labels are needed to know what is relevant",
        ),
        (
            "NaN",
            lambda: _CURVE(changed(IMAGE, np.nan), ITEMS, Y),
            ValueError,
            "Input query contains NaN",
        ),
        (
            "queries",
            lambda: _RETRIEVED(IMAGE, ITEMS, Y, queries=0),
            InvalidParameterError,
            "The 'queries' parameter of",
        ),
        (
            "query that is not there",
            lambda: _RETRIEVED(IMAGE, ITEMS, Y, queries=[99]),
            ValueError,
            r"queries must be rows from 0 to 11; got \[99\]",
        ),
        (
            "direction",
            lambda: _RETRIEVED(IMAGE, ITEMS, Y, direction="i2i"),
            InvalidParameterError,
            "The 'direction' parameter of",
        ),
        (
            "estimator without history",
            lambda: _TRAINING(fitted("CCAProjector")),
            TypeError,
            "CCAProjector has no attribute history_. Pass an estimator",
        ),
        (
            "number as estimator",
            lambda: _TRAINING(3),
            TypeError,
            "3 is not an estimator instance",
        ),
    ]
]
