"""Random inputs end in a documented error or in a finite result."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException
from hypothesis.extra.numpy import array_shapes, arrays

from sklearn_cmr import CrossModalNeighbors, PairTransformer, make_pairs, metrics
from sklearn_cmr.codes import hamming_distances, pack_codes, unpack_codes
from sklearn_cmr.datasets import make_cross_modal_classification
from tests.test_wrong_inputs import RAW
from tests.wrong_inputs.rows import make

# The same examples in every run; their number is bounded, not their time.
bounded = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
few = settings(bounded, max_examples=12)

DTYPES = st.sampled_from(["f8", "f4", "i8", "i1", "u1", "?", "c16", "U3", "M8[s]", "O"])
NUMBERS = st.sampled_from(["f8", "f4", "i8", "i1"])


@st.composite
def any_array(draw, n=None, dtypes=DTYPES, max_dims=3):
    """Draw an array: of `n` rows two times in three, else of any shape."""
    shape = draw(array_shapes(min_dims=0, max_dims=max_dims, min_side=0, max_side=6))
    if n is not None and shape and draw(st.integers(0, 2)):
        shape = (n, *shape[1:])
    dtype = np.dtype(draw(dtypes))
    if dtype.kind == "O":
        elements = st.none() | st.integers(-2, 2) | st.text(max_size=2)
        return draw(arrays(dtype, shape, elements=elements))
    return draw(arrays(dtype, shape))


@st.composite
def features(draw, n, width):
    """Draw numbers that mostly can be features, in a few of all places NaN or large."""
    elements = st.floats(-1e3, 1e3, width=32) | st.sampled_from([0.0, np.nan, 1e300])
    rare = draw(st.integers(0, 9)) == 9
    plain = st.floats(-1e3, 1e3, width=32)
    return draw(arrays("f8", (n, width), elements=elements if rare else plain))


def mostly(usual, other):
    """Draw from the second strategy once in a while, so that few inputs are wrong."""
    return st.integers(0, 7).flatmap(lambda i: other if i == 7 else usual)


def labels(n):
    """Draw labels, sometimes an indicator or what is neither."""
    classes = arrays("i8", n, elements=st.integers(0, 2))
    indicator = arrays("i8", (n, 3), elements=st.integers(0, 1))
    return mostly(classes, indicator | any_array(n))


SCALARS = (
    st.none() | st.booleans() | st.integers(-2, 20) | st.floats() | st.text(max_size=3)
)


@contextmanager
def documented():
    """Let errors pass whose message tells more than that of a library."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except HypothesisException:  # some are type errors, too
        raise
    except (ValueError, TypeError, FloatingPointError) as error:
        message = str(error)
        assert len(message) > 20
        assert not RAW.match(message), message


def assert_finite(result):
    for part in result if isinstance(result, (tuple, list)) else [result]:
        assert np.isfinite(part).all()


METRICS = ["mean_average_precision", "map_at_r", "r_precision", "precision_at_k"]
METRICS += ["recall_at_k", "hit_rate_at_k", "ndcg_at_k", "reciprocal_rank"]


@bounded
@given(data=st.data())
def test_metrics_of_any_arrays(data):
    name = data.draw(st.sampled_from(METRICS))
    n, m = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    with documented():
        k = (
            {"k": data.draw(mostly(st.integers(1, 6), SCALARS))}
            if name.endswith("_k")
            else {}
        )
        score = getattr(metrics, name)(
            data.draw(mostly(features(n, 3), any_array(n))),
            data.draw(mostly(features(m, 3), any_array(m))),
            data.draw(labels(n)),
            data.draw(labels(m)),
            **k,
        )
        assert 0 <= score <= 1 + 1e-12


@bounded
@given(data=st.data())
def test_metrics_of_embeddings(data):
    name = data.draw(st.sampled_from(METRICS))
    n, m = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    options = {
        "metric": data.draw(
            st.sampled_from(["auto", "cosine", "euclidean", "hamming"])
        ),
        "ties": data.draw(
            st.sampled_from(["auto", "expected", "stable", "optimistic"])
        ),
        "exclude_self": data.draw(mostly(st.just(False), st.just(True))),
        "chunk_size": data.draw(mostly(st.none(), st.integers(0, 3))),
        "sample_weight": data.draw(mostly(st.none(), any_array(n, NUMBERS, 1))),
    }
    if name.endswith("_k"):
        options["k"] = data.draw(st.integers(1, 6))
    with documented():
        y = data.draw(arrays("i8", n + m, elements=st.integers(0, 2)))
        score = getattr(metrics, name)(
            data.draw(features(n, 3)),
            data.draw(features(m, 3)),
            y[:n],
            y[n:],
            **options,
        )
        # Weights of zero, all queries left out: there is no mean.
        assert np.isnan(score) or 0 <= score <= 1 + 1e-12


VALUES = mostly(arrays("f8", 5, elements=st.floats(0, 1)), any_array(5, max_dims=2))


@bounded
@given(a=VALUES, b=VALUES, groups=mostly(st.none(), labels(5)))
def test_comparisons(a, b, groups):
    with documented():
        table = metrics.compare_retrieval(
            a, b, groups=groups, n_resamples=9, random_state=0, output_dict=True
        )
        assert 0 <= table["b"]["p"] <= 1


@bounded
@given(data=st.data())
def test_reports(data):
    n = data.draw(st.integers(1, 5))
    with documented():
        report = metrics.cross_modal_report(
            data.draw(features(n, 3)),
            data.draw(features(n, 3)),
            data.draw(labels(n)),
            k=data.draw(mostly(st.integers(1, 6), SCALARS)),
            output_dict=True,
        )
        assert_finite(report["mean"]["mAP"])


@bounded
@given(
    X=mostly(
        arrays("i1", (3, 8), elements=st.sampled_from([-1, 1])) | arrays("u1", (3, 1)),
        any_array(),
    ),
    n_bits=mostly(st.just(8), SCALARS),
)
def test_codes(X, n_bits):
    for function in (pack_codes, hamming_distances, lambda X: unpack_codes(X, n_bits)):
        with documented():
            assert_finite(function(X))


@bounded
@given(data=st.data())
def test_searches(data):
    n = data.draw(st.integers(1, 5))
    with documented():
        gallery = data.draw(mostly(features(n, 3), any_array(n)))
        neighbors = CrossModalNeighbors(
            n_neighbors=data.draw(mostly(st.just(1), SCALARS)),
            metric=data.draw(
                st.sampled_from(["auto", "cosine", "euclidean", "hamming"])
            ),
        ).fit(gallery, ids=data.draw(mostly(st.none(), any_array(n, max_dims=1))))
        query = data.draw(mostly(st.just(gallery), any_array(n)))
        subset = data.draw(mostly(st.none(), any_array(n, max_dims=1)))
        distances, _ = neighbors.kneighbors(query, subset=subset)
        assert_finite(distances)
        neighbors.radius_neighbors(query, data.draw(mostly(st.floats(0, 5), SCALARS)))
        neighbors.remove(data.draw(mostly(st.just([0]), any_array(max_dims=1))))


@bounded
@given(X=any_array(4), Z=any_array(4), rows=any_array(4, max_dims=1))
def test_containers(X, Z, rows):
    with documented():
        pairs = make_pairs(X, Z)
        assert len(PairTransformer().fit(pairs).transform(pairs)["image"]) == len(pairs)
        try:
            pairs[rows]
        except IndexError as error:
            assert str(error).startswith("The rows of <Pairs")


@bounded
@given(
    n=mostly(st.integers(1, 8), SCALARS),
    n_classes=mostly(st.integers(2, 4), SCALARS),
    multilabel=st.booleans(),
    n_labels=mostly(st.floats(1, 2), SCALARS),
    weights=mostly(st.none(), any_array(3, max_dims=1)),
)
def test_generators(n, n_classes, multilabel, n_labels, weights):
    with documented():
        data = make_cross_modal_classification(
            n,
            n_classes=n_classes,
            multilabel=multilabel,
            n_labels=n_labels,
            weights=weights,
            random_state=0,
        )
        assert_finite(data)


ESTIMATORS = ["AADAHHasher", "ACMRProjector", "CCAProjector", "CMGANProjector"]
ESTIMATORS += ["CrossModalEnsemble", "DRCLProjector", "ITQHasher", "SSAHHasher"]
ESTIMATORS += ["SemanticMatchingProjector"]


@pytest.mark.parametrize("name", ESTIMATORS)
@few
@given(data=st.data())
def test_estimators(name, data):
    n = data.draw(mostly(st.integers(6, 9), st.integers(1, 3)))
    with documented():
        estimator = make(name)
        if hasattr(estimator, "missing_labels"):
            missing = data.draw(st.sampled_from(["raise", "drop"]))
            estimator.set_params(missing_labels=missing)
        X = data.draw(mostly(features(n, 3), any_array(n)))
        Z = data.draw(mostly(features(n, 2), any_array(n)))
        y = data.draw(labels(n))
        encoded = estimator.fit(X, Z, y).transform(X, Z)
        assert_finite(encoded)
        other = data.draw(mostly(features(n, 3), any_array(n)))
        assert_finite(estimator.transform_image(other))


@pytest.mark.parametrize("name", ESTIMATORS)
@few
@given(data=st.data())
def test_parameters(name, data):
    X_img, X_txt, y = make_cross_modal_classification(
        12, n_image_features=3, n_text_features=2, n_classes=2, random_state=0
    )
    with documented():
        estimator = make(name)
        names = sorted({*estimator.get_params(deep=False)} - {"n_jobs", "verbose"})
        value = data.draw(SCALARS | st.lists(SCALARS, max_size=2))
        estimator.set_params(**{data.draw(st.sampled_from(names)): value})
        assert_finite(
            estimator.fit({"image": X_img, "text": X_txt}, y).transform(X_img, X_txt)
        )
