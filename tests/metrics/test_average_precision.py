"""Mean average precision: exact values, brute force, options and errors."""

# SPDX-License-Identifier: BSD-3-Clause

import tracemalloc
import warnings
from fractions import Fraction
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array, csr_matrix
from sklearn.exceptions import DataConversionWarning, UndefinedMetricWarning
from sklearn.metrics import average_precision_score

from sklearn_cmr.metrics import mean_average_precision
from tests.metrics.ranked_lists import (
    EXAMPLE_A,
    EXAMPLE_B,
    all_orders,
    angles_at,
    codes_at,
    random_set,
)

NORMALIZERS = ("retrieved", "min", "all")
ORDERED = ("stable", "random")


def one_query(distances, relevant, form="hamming", **options):
    """Average precision of one query of class 1."""
    if form == "hamming":
        query, gallery = codes_at([0]), codes_at(distances)
    else:
        gallery = angles_at(distances, form)
        query = gallery[:1] * 0 + [[1, 0]]
        query = query.astype(form)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        return mean_average_precision(query, gallery, [1], relevant, **options)


def exact_ap(relevant, k, normalizer):
    """Average precision of an ordered list, as a fraction."""
    hits = [rank for rank, r in enumerate(relevant, 1) if r]
    retrieved = [rank for rank in hits if rank <= k]
    divisor = {
        "retrieved": len(retrieved),
        "min": min(k, len(hits)),
        "all": len(hits),
    }[normalizer]
    total = sum(Fraction(found, rank) for found, rank in enumerate(retrieved, 1))
    return total / divisor if divisor else Fraction(0)


# Exact values -----------------------------------------------------------------


@pytest.mark.parametrize("form", ["hamming", np.float32, np.float64])
@pytest.mark.parametrize(
    "example, ties, expected",
    [
        (EXAMPLE_A, "expected", Fraction(409, 540)),
        (EXAMPLE_A, "optimistic", Fraction(13, 15)),
        (EXAMPLE_A, "pessimistic", Fraction(2, 3)),
        (EXAMPLE_A, "stable", Fraction(13, 15)),
        (EXAMPLE_B, "expected", Fraction(181, 270)),
        (EXAMPLE_B, "optimistic", Fraction(29, 36)),
        (EXAMPLE_B, "pessimistic", Fraction(8, 15)),
        (([2] * 6, [1, 0, 1, 0, 1, 0]), "expected", Fraction(129, 200)),
        (([2] * 5, [0, 0, 0, 0, 1]), "expected", Fraction(137, 300)),
        (([2] * 5, [0, 0, 0, 0, 1]), "stable", Fraction(1, 5)),
        (([0, 1, 1], [0, 1, 1]), "expected", Fraction(7, 12)),
    ],
)
def test_whole_list(example, ties, expected, form):
    assert one_query(*example, form, ties=ties) == pytest.approx(
        float(expected), abs=1e-14
    )


@pytest.mark.parametrize("form", ["hamming", np.float32, np.float64])
@pytest.mark.parametrize(
    "k, expected",
    [
        (1, (1, 1, Fraction(1, 3))),
        (2, (1, Fraction(2, 3), Fraction(4, 9))),
        (3, (Fraction(17, 18), Fraction(14, 27), Fraction(14, 27))),
        (4, (Fraction(31, 36), Fraction(31, 54), Fraction(31, 54))),
    ],
)
def test_example_a_at_k(k, expected, form):
    scores = [
        one_query(*EXAMPLE_A, form, ties="expected", k=k, normalizer=normalizer)
        for normalizer in NORMALIZERS
    ]
    assert_allclose(scores, [float(value) for value in expected], atol=1e-14)


def test_auto_is_expected_for_distances_and_stable_for_scores():
    assert one_query(*EXAMPLE_A) == pytest.approx(409 / 540)
    assert one_query(*EXAMPLE_A, np.float32) == pytest.approx(13 / 15)


def test_tied_list_formula():
    """E[AP] of one level is ((M - 1) / (L - 1) (L - H_L) + H_L) / L."""
    for length, relevant in [(2, 1), (7, 3), (40, 11), (300, 299)]:
        harmonic = sum(Fraction(1, i) for i in range(1, length + 1))
        ratio = Fraction(relevant - 1, length - 1)
        expected = (ratio * (length - harmonic) + harmonic) / length
        y = [1] * relevant + [0] * (length - relevant)
        assert one_query([1] * length, y) == pytest.approx(float(expected), abs=1e-13)


@given(
    items=st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6),
    k=st.integers(1, 7),
    normalizer=st.sampled_from(NORMALIZERS),
    form=st.sampled_from(["hamming", np.float32, np.float64]),
)
@settings(max_examples=150, deadline=None)
def test_against_all_orders(items, k, normalizer, form):
    distances = [distance for distance, _ in items]
    relevant = [int(r) for _, r in items]
    options = {"k": k, "normalizer": normalizer, "form": form}
    values = [
        exact_ap(order, k, normalizer) for order in all_orders(distances, relevant)
    ]
    score = {
        ties: one_query(distances, relevant, ties=ties, **options)
        for ties in ("expected", "optimistic", "pessimistic", "stable")
    }
    random = one_query(distances, relevant, ties="random", random_state=3, **options)

    assert score["expected"] == pytest.approx(
        float(sum(values) / len(values)), abs=1e-12
    )
    by_gallery = [relevant[i] for i in np.argsort(distances, kind="stable")]
    stable = exact_ap(by_gallery, k, normalizer)
    assert score["stable"] == pytest.approx(float(stable), abs=1e-12)
    assert np.isclose(random, [float(value) for value in values]).any()

    first, last = (
        [r for _, r in sorted(zip(distances, relevant, strict=True), key=key)]
        for key in (lambda item: (item[0], -item[1]), lambda item: item)
    )
    best, worst = (exact_ap(order, k, normalizer) for order in (first, last))
    assert score["optimistic"] == pytest.approx(float(best), abs=1e-12)
    assert score["pessimistic"] == pytest.approx(float(worst), abs=1e-12)
    if normalizer != "retrieved" or k >= len(items):
        assert (best, worst) == (max(values), min(values))


def test_retrieved_is_not_bounded_by_optimistic():
    """A further, late hit in the top k lowers the mean over the retrieved hits."""
    example = ([0, 1, 2, 3, 3], [1, 0, 0, 1, 0])
    options = {"k": 4, "normalizer": "retrieved"}
    assert one_query(*example, ties="optimistic", **options) == pytest.approx(3 / 4)
    assert one_query(*example, ties="pessimistic", **options) == 1


def test_expected_retrieved_in_a_large_level():
    """Odds of large levels must not overflow."""
    n_items, n_relevant, k = 20_000, 10_000, 1_000
    gallery = np.ones((n_items, 8), dtype=np.int8)
    y = np.arange(n_items) < n_relevant
    options = {"k": k, "ties": "expected"}
    score = mean_average_precision(gallery[:1], gallery, [True], y, **options)
    # Given c hits the value is rho + (1 - rho) H_k / k, linear in rho = (c-1) / (k-1).
    rho = (k * n_relevant / n_items - 1) / (k - 1)
    harmonic = np.sum(1 / np.arange(1, k + 1))
    assert score == pytest.approx(rho + (1 - rho) * harmonic / k, abs=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "hamming"])
def test_random_averages_to_expected(metric):
    sets = random_set(0, n_query=8, n_gallery=30, n_bits=3)
    expected = mean_average_precision(*sets, metric=metric, ties="expected")
    scores = [
        mean_average_precision(*sets, metric=metric, ties="random", random_state=seed)
        for seed in range(200)
    ]
    assert len(set(scores)) > 100
    assert np.mean(scores) == pytest.approx(expected, abs=4 * np.std(scores) / 14)
    assert scores[0] == mean_average_precision(
        *sets, metric=metric, ties="random", random_state=0
    )


# Comparison with other evaluators ---------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_average_precision_score_without_ties(dtype):
    rng = np.random.default_rng(0)
    query = rng.standard_normal((15, 6)).astype(dtype)
    gallery = rng.standard_normal((40, 6)).astype(dtype)
    y_query, y_gallery = np.arange(15) % 3, np.arange(40) % 3
    for metric, scores in {
        "cosine": query @ gallery.T / np.linalg.norm(gallery, axis=1),
        "euclidean": -np.linalg.norm(query[:, None] - gallery, axis=2),
    }.items():
        values = mean_average_precision(
            query, gallery, y_query, y_gallery, metric=metric, per_query=True
        )
        expected = [
            average_precision_score(y_gallery == label, score)
            for label, score in zip(y_query, scores, strict=True)
        ]
        assert_allclose(values, expected, rtol=1e-12)


def test_average_precision_score_merges_ties():
    """A reminder why it is not the model for tied lists."""
    distances, relevant = EXAMPLE_A
    merged = average_precision_score(relevant, -np.array(distances))
    assert merged == pytest.approx(2 / 3)
    assert one_query(*EXAMPLE_A) == pytest.approx(409 / 540)


@pytest.mark.parametrize("ties", ["stable", "expected", "random"])
def test_published_values(real_data, ties):
    data = real_data("drcl_wiki_released")
    image, text, y = data["image"], data["text"], data["y"]
    for k, published in {None: (0.56190, 0.53759), 50: (0.55988, 0.68478)}.items():
        scores = [
            mean_average_precision(*pair, y, y, k=k, ties=ties, random_state=0)
            for pair in ((image, text), (text, image))
        ]
        assert_allclose(scores, published, atol=1e-4)


def test_published_data_has_ties(real_data):
    data = real_data("drcl_wiki_released")
    image, text, y = data["image"], data["text"], data["y"]
    bounds = [
        mean_average_precision(image, text, y, y, ties=ties)
        for ties in ("pessimistic", "optimistic")
    ]
    assert_allclose(bounds, [0.561825, 0.562001], atol=2e-6)


# Metrics ----------------------------------------------------------------------


@pytest.mark.parametrize("ties", ["expected", "stable", "optimistic", "pessimistic"])
@pytest.mark.parametrize("n_bits", [1, 7, 8, 24, 64, 65, 300])
def test_metrics_agree_on_codes(n_bits, ties):
    sets = random_set(n_bits, n_bits=n_bits)
    scores = [
        mean_average_precision(*sets, metric=metric, ties=ties, per_query=True)
        for metric in ("hamming", "cosine", "euclidean")
    ]
    assert_allclose(scores[1], scores[0], rtol=1e-12)
    assert_allclose(scores[2], scores[0], rtol=1e-12)


@pytest.mark.parametrize("k", [None, 100])
def test_stable_in_long_lists(k):
    """Short rows are sorted by insertion, which is stable by chance."""
    query, gallery, y_query, y_gallery = random_set(0, n_gallery=1000, n_bits=5)
    expected = [
        exact_ap(
            y_gallery[np.argsort(-gallery @ code, kind="stable")] == label,
            k or 1000,
            "all",
        )
        for code, label in zip(query, y_query, strict=True)
    ]
    forms = (np.int8, np.float32, np.float64)
    for form, metric in product(forms, ("cosine", "hamming")):
        values = mean_average_precision(
            query.astype(form),
            gallery.astype(form),
            y_query,
            y_gallery,
            metric=metric,
            ties="stable",
            normalizer="all",
            k=k,
            per_query=True,
        )
        assert_allclose(values, [float(value) for value in expected], rtol=1e-12)


@pytest.mark.parametrize("ties", ["stable", "random"])
@pytest.mark.parametrize("n_bits", [3, 300])
@pytest.mark.parametrize("k", [None, 20])
def test_counted_orders_of_integer_distances(ties, n_bits, k):
    """They are those of a stable sort of the gallery, or of the shuffled gallery."""
    query, gallery, y_query, y_gallery = random_set(5, n_gallery=300, n_bits=n_bits)
    options = {"k": k, "ties": ties, "normalizer": "all", "per_query": True}
    values = mean_average_precision(
        query, gallery, y_query, y_gallery, random_state=2, **options
    )
    shuffle = np.arange(300)
    if ties == "random":
        shuffle = np.random.RandomState(2).permutation(300)
    distances = (n_bits - query.astype(int) @ gallery[shuffle].T.astype(int)) // 2
    order = shuffle[np.argsort(distances, axis=1, kind="stable")]
    relevant = (y_query[:, None] == y_gallery[order]).astype(float)
    precisions = np.cumsum(relevant, axis=1) / np.arange(1, 301)
    total = (precisions * relevant)[:, :k].sum(axis=1)
    assert_allclose(values, total / relevant.sum(axis=1), rtol=1e-12)


@pytest.mark.parametrize("n_bits", [1, 8, 12, 64, 200])
@pytest.mark.parametrize("k", [None, 10])
def test_packed_codes(n_bits, k):
    query, gallery, *labels = random_set(1, n_bits=n_bits)
    packed = np.packbits(query > 0, axis=1), np.packbits(gallery > 0, axis=1)
    assert mean_average_precision(*packed, *labels, k=k) == pytest.approx(
        mean_average_precision(query, gallery, *labels, k=k), abs=1e-15
    )


def test_complementary_codes_of_many_bits():
    """All bits differ: the distance must not overflow."""
    for n_bits in (255, 256, 257, 1024):
        query = np.ones((1, n_bits), dtype=np.int8)
        gallery = np.concatenate([-query, query])
        assert mean_average_precision(query, gallery, [1], [0, 1]) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int16])
def test_codes_of_other_dtypes(dtype):
    query, gallery, *labels = random_set(2)
    expected = mean_average_precision(query, gallery, *labels)
    score = mean_average_precision(
        query.astype(dtype), gallery.astype(dtype), *labels, metric="hamming"
    )
    assert score == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zero_vectors_have_cosine_zero(dtype):
    query = np.array([[1, 0], [0, 0]], dtype=dtype)
    gallery = np.array([[-1, 0], [0, 0], [1, 1], [-0.0, 1]], dtype=dtype)
    # Ranking of the first query: item 2, items 1 and 3 tied at 0, item 0.
    options = {"per_query": True, "ties": "expected"}
    values = mean_average_precision(query, gallery, [1, 1], [0, 1, 0, 0], **options)
    # The second query is as near to all four.
    assert_allclose(values, [(1 / 2 + 1 / 3) / 2, (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4])


@pytest.mark.parametrize("scale", [2.0**-140, 2.0**-100, 2.0**100, 2.0**120])
def test_cosine_of_extreme_lengths(scale):
    """Squares of these values are not to be had in float32."""
    query, gallery, *labels = random_set(3)
    query, gallery = query.astype(np.float32), gallery.astype(np.float32)
    expected = mean_average_precision(query, gallery, *labels)
    scale = np.float32(scale)
    assert mean_average_precision(query * scale, gallery, *labels) == expected
    assert mean_average_precision(query, gallery * scale, *labels) == expected


def test_cosine_ignores_and_euclidean_heeds_length():
    query = np.array([[1.0, 0.0]])
    gallery = np.array([[9.0, 0.1], [1.0, 0.3]])
    assert mean_average_precision(query, gallery, [0], [0, 1]) == 1
    euclidean = mean_average_precision(query, gallery, [0], [0, 1], metric="euclidean")
    assert euclidean == 0.5


def test_float64_scores_are_not_rounded():
    """Both distances round to the same float32."""
    query, gallery = np.array([[1.0, 0.0]]), np.array([[1.0, 1e-5], [1.0, 2e-6]])
    for metric in ("cosine", "euclidean"):
        for ties in ("stable", "pessimistic"):
            score = mean_average_precision(
                query, gallery, [0], [1, 0], metric=metric, ties=ties
            )
            assert score == 1


@pytest.mark.parametrize(
    ("form", "scales"), [(np.float64, (1e300, 1e-300)), (np.float32, (1e20, 1e-22))]
)
def test_euclidean_at_any_scale(form, scales):
    query, gallery, *labels = random_set(16)
    rng = np.random.default_rng(0)
    query, gallery = (form(rng.uniform(-1, 1, X.shape)) for X in (query, gallery))
    options = {"metric": "euclidean", "per_query": True}
    expected = mean_average_precision(query, gallery, *labels, **options)
    for scale in scales:
        # A power of two leaves every digit.
        power = form(2.0 ** np.round(np.log2(scale)))
        scores = mean_average_precision(
            query * power, gallery * power, *labels, **options
        )
        assert_array_equal(scores, expected)


def test_float32_euclidean_far_from_the_origin():
    rng = np.random.default_rng(0)
    query, gallery = rng.integers(0, 9, (10, 3)), rng.integers(0, 9, (30, 3))
    labels = np.arange(10) % 2, np.arange(30) % 2
    options = {"metric": "euclidean", "ties": "expected"}
    expected = mean_average_precision(query, gallery, *labels, **options)
    moved = [(X + 4096).astype(np.float32) for X in (query, gallery)]
    assert mean_average_precision(*moved, *labels, **options) == expected


# Labels -----------------------------------------------------------------------


def test_labels_of_any_type():
    query, gallery, y_query, y_gallery = random_set(4)
    expected = mean_average_precision(query, gallery, y_query, y_gallery)
    names = np.array(["art", "biology", "history", "war"])
    for transform in (
        lambda y: names[y],
        lambda y: names[y].astype(object),
        lambda y: names[y].tolist(),
        lambda y: np.asarray(y) * 1000.0 - 7,
        lambda y: pd.Series(names[y], index=y + 100),
        lambda y: pd.Categorical(names[y]),
        lambda y: torch.tensor(y),
        lambda y: np.eye(4, dtype=int)[y],
        lambda y: np.eye(4, dtype=bool)[y],
        lambda y: csr_matrix(np.eye(4)[y]),
        lambda y: csr_array(np.eye(4)[y]),
        lambda y: pd.DataFrame(np.eye(4)[y]),
    ):
        score = mean_average_precision(
            query, gallery, transform(y_query), transform(y_gallery)
        )
        assert score == expected
    assert expected == mean_average_precision(
        query, gallery, names[y_query], names[y_gallery].astype(object)
    )


def test_many_classes():
    """More classes than one byte holds."""
    y = np.arange(600)
    codes = np.random.default_rng(0).standard_normal((600, 12)).astype(np.float32)
    assert mean_average_precision(codes, codes, y, y) == 1


@pytest.mark.filterwarnings("ignore:.*no relevant item")
@pytest.mark.parametrize("n_labels", [2, 9, 24, 64, 65, 150])
@pytest.mark.parametrize("convert", [np.asarray, csr_array, csr_matrix])
def test_shared_labels(n_labels, convert):
    rng = np.random.default_rng(n_labels)
    query, gallery, *_ = random_set(5)
    y_query = (rng.random((20, n_labels)) < 1 / n_labels).astype(int)
    y_gallery = (rng.random((50, n_labels)) < 1 / n_labels).astype(int)
    y_query[:2], y_gallery[:3] = 0, 0
    y_query[:2, -1], y_gallery[:3, -1] = 1, 1
    relevant = y_query @ y_gallery.T > 0
    assert relevant[:2].any() and not relevant[:2].all()
    values = mean_average_precision(
        query, gallery, convert(y_query), convert(y_gallery), per_query=True
    )
    for i in range(20):
        expected = mean_average_precision(query[[i]], gallery, [True], relevant[i])
        assert values[i] == pytest.approx(expected, abs=1e-15)


def test_column_of_classes():
    query, gallery, y_query, y_gallery = random_set(6)
    with pytest.warns(DataConversionWarning, match="y_query is a column"):
        score = mean_average_precision(query, gallery, y_query[:, None], y_gallery)
    assert score == mean_average_precision(query, gallery, y_query, y_gallery)


# Queries without relevant items, weights --------------------------------------


def test_zero_relevant():
    query, gallery, y_query, y_gallery = random_set(7)
    known = mean_average_precision(
        query[2:], gallery, y_query[2:], y_gallery, per_query=True
    )
    y_query[:2] = 99
    sets = query, gallery, y_query, y_gallery
    with pytest.warns(UndefinedMetricWarning, match="2 of 20 queries") as record:
        assert mean_average_precision(*sets) == pytest.approx(known.sum() / 20)
    assert record[0].filename == __file__
    for policy, mean, value in [
        ("zero", known.sum() / 20, 0),
        ("skip", known.mean(), np.nan),
        ("nan", np.nan, np.nan),
    ]:
        with pytest.warns(UndefinedMetricWarning, match=policy):
            score = mean_average_precision(*sets, zero_relevant=policy)
        with pytest.warns(UndefinedMetricWarning, match=policy):
            values = mean_average_precision(*sets, zero_relevant=policy, per_query=True)
        assert_allclose(score, mean)
        assert_array_equal(values, np.concatenate([[value, value], known]))


def test_nothing_left_to_average():
    query, gallery, y_query, y_gallery = random_set(7)
    with pytest.warns(UndefinedMetricWarning, match="20 of 20"):
        score = mean_average_precision(
            query, gallery, y_query + 100, y_gallery, zero_relevant="skip"
        )
    assert np.isnan(score)


@pytest.mark.parametrize("labels", [[1, 1, 1], [[0, 1], [1, 1], [0, 1]]])
def test_everything_relevant(labels):
    X = np.random.default_rng(0).standard_normal((3, 2))
    with pytest.warns(UndefinedMetricWarning, match="any ranking scores 1"):
        assert mean_average_precision(X, X, labels, labels) == 1


def test_sample_weight():
    sets = random_set(8)
    values = mean_average_precision(*sets, per_query=True)
    weight = np.random.default_rng(0).random(20)
    assert mean_average_precision(*sets, sample_weight=weight) == pytest.approx(
        np.average(values, weights=weight)
    )
    repeats = np.arange(20) % 3
    query, gallery, y_query, y_gallery = sets
    assert mean_average_precision(*sets, sample_weight=repeats) == pytest.approx(
        mean_average_precision(
            query.repeat(repeats, axis=0), gallery, y_query.repeat(repeats), y_gallery
        )
    )


def test_skipped_queries_lose_their_weight():
    query, gallery, y_query, y_gallery = random_set(8)
    y_query[0] = 99
    weight = np.arange(20) + 1.0
    with pytest.warns(UndefinedMetricWarning, match="1 of 20"):
        score = mean_average_precision(
            query,
            gallery,
            y_query,
            y_gallery,
            zero_relevant="skip",
            sample_weight=weight,
        )
    assert score == pytest.approx(
        mean_average_precision(
            query[1:], gallery, y_query[1:], y_gallery, sample_weight=weight[1:]
        )
    )


# Invariance and memory --------------------------------------------------------


@pytest.mark.parametrize("form", ["codes", np.float32, np.float64])
@pytest.mark.parametrize(
    "ties", ["expected", "stable", "optimistic", "pessimistic", "random"]
)
@pytest.mark.parametrize("k", [None, 7])
def test_chunk_size(form, ties, k):
    rng = np.random.default_rng(0)
    if form == "codes":
        sets = random_set(9, n_query=50, n_gallery=150)
    else:
        gallery = rng.standard_normal((150, 8)).astype(form)
        gallery[75:] = gallery[:75]
        sets = (
            rng.standard_normal((50, 8)).astype(form),
            gallery,
            rng.integers(0, 3, 50),
            rng.integers(0, 3, 150),
        )
    options = {"ties": ties, "k": k, "random_state": 0, "per_query": True}
    expected = mean_average_precision(*sets, **options)
    for chunk_size in (1, 3, 50, np.int64(1000)):
        values = mean_average_precision(*sets, chunk_size=chunk_size, **options)
        assert_allclose(values, expected, rtol=1e-13)


@pytest.mark.parametrize("n_labels", [None, 70])
@pytest.mark.parametrize(
    ("form", "ties"),
    [(np.int8, "optimistic"), (np.int8, "pessimistic"), (np.float32, "stable")],
)
def test_galleries_beyond_the_cache(form, ties, n_labels):
    """They are ranked piece by piece."""
    query, gallery, y_query, y_gallery = random_set(11, 5, 50_001, n_classes=7)
    y_gallery[-3:] = y_query[0]
    relevant = y_query[:, None] == y_gallery
    if n_labels is not None:
        y_query, y_gallery = (np.eye(n_labels)[10 * y] for y in (y_query, y_gallery))
    distances = (query[:, None] != gallery).sum(axis=2)
    tie_break = {"optimistic": ~relevant, "pessimistic": relevant, "stable": None}[ties]
    expected = []
    for row, hit in enumerate(relevant):
        keys = (
            (distances[row],) if tie_break is None else (tie_break[row], distances[row])
        )
        ranks = np.flatnonzero(hit[np.lexsort(keys)]) + 1
        expected.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    values = mean_average_precision(
        query.astype(form),
        gallery.astype(form),
        y_query,
        y_gallery,
        ties=ties,
        per_query=True,
    )
    assert_allclose(values, expected, rtol=1e-12)


@pytest.mark.parametrize("form", ["codes", np.float32, np.float64])
def test_order_of_gallery_leaves_expectation(form):
    query, gallery, y_query, y_gallery = random_set(10)
    if form != "codes":
        query, gallery = query.astype(form), gallery.astype(form)
    order = np.random.default_rng(0).permutation(len(gallery))
    for k, normalizer in product((None, 5, 30), NORMALIZERS):
        scores = [
            mean_average_precision(
                query,
                gallery[rows],
                y_query,
                y_gallery[rows],
                k=k,
                normalizer=normalizer,
                ties="expected",
            )
            for rows in (slice(None), order)
        ]
        assert scores[0] == pytest.approx(scores[1], abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_duplicates_tie_wherever_they_stand(dtype):
    """Equal embeddings get equal scores, so that their order is left open."""
    rng = np.random.default_rng(0)
    query = rng.standard_normal((40, 33)).astype(dtype)
    items = rng.standard_normal((231, 33)).astype(dtype)
    gallery = np.concatenate([items, items])
    y = np.repeat([0, 1], len(items))
    bounds = [
        mean_average_precision(query, gallery, y[200:240], y, ties=ties)
        for ties in ("pessimistic", "optimistic")
    ]
    ranks = 2 * np.arange(1, len(items) + 1)
    hits = np.arange(1, len(items) + 1)
    assert_allclose(bounds, [np.mean(hits / ranks), np.mean(hits / (ranks - 1))])


def test_bounds_and_normalizers_are_ordered():
    sets = random_set(11)
    for k in (1, 5, 20, None):
        expected = [
            mean_average_precision(*sets, k=k, normalizer=normalizer)
            for normalizer in NORMALIZERS
        ]
        assert expected[0] >= expected[1] - 1e-15 and expected[1] >= expected[2] - 1e-15
        low, high = (
            mean_average_precision(*sets, k=k, normalizer="min", ties=ties)
            for ties in ("pessimistic", "optimistic")
        )
        assert low < expected[1] < high


@pytest.mark.parametrize("normalizer", ["retrieved", "min", "all"])
@pytest.mark.parametrize("form", [np.int8, np.float32])
def test_several_cutoffs_at_once(form, normalizer):
    query, gallery, *labels = random_set(2)
    sets = query.astype(form), gallery.astype(form), *labels
    cutoffs = [80, 1, 7, 50]
    options = {"normalizer": normalizer}
    scores = mean_average_precision(*sets, k=cutoffs, **options)
    expected = [mean_average_precision(*sets, k=k, **options) for k in cutoffs]
    assert_allclose(scores, expected, rtol=1e-12)
    values = mean_average_precision(*sets, k=cutoffs, per_query=True, **options)
    assert values.shape == (20, 4)
    assert_allclose(values.mean(axis=0), scores, rtol=1e-12)
    with pytest.raises(ValueError, match="k must be"):
        mean_average_precision(*sets, k=[1, 0])


def test_k_beyond_the_gallery():
    sets = random_set(12)
    for normalizer, ties in product(NORMALIZERS, ("expected", "stable")):
        options = {"normalizer": normalizer, "ties": ties}
        assert mean_average_precision(*sets, k=51, **options) == pytest.approx(
            mean_average_precision(*sets, **options), abs=1e-15
        )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_gallery_of_one():
    code = np.ones((1, 4), dtype=np.int8)
    for ties in ("expected", "stable", "optimistic", "pessimistic", "random"):
        for k in (None, 1, 3):
            options = {"ties": ties, "k": k}
            assert mean_average_precision(code, -code, [1], [1], **options) == 1
            assert mean_average_precision(code, -code, [1], [0], **options) == 0


@pytest.mark.parametrize("form", ["codes", np.float32, np.float64])
def test_memory_is_bounded(form):
    rng = np.random.default_rng(0)
    n_query, n_gallery = 3_000, 8_000
    if form == "codes":
        query = rng.choice([-1, 1], (n_query, 16)).astype(np.int8)
        gallery = rng.choice([-1, 1], (n_gallery, 16)).astype(np.int8)
    else:
        query = rng.standard_normal((n_query, 4)).astype(form)
        gallery = rng.standard_normal((n_gallery, 4)).astype(form)
    y_query, y_gallery = rng.integers(0, 10, n_query), rng.integers(0, 10, n_gallery)
    sets = query[:200], gallery, y_query[:200], y_gallery
    peaks = []
    for chunk_size in (200, 20, None):
        tracemalloc.start()
        mean_average_precision(*sets, chunk_size=chunk_size)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # One byte for every pair of the full problem, less than its relevance alone.
    assert peaks[1] < peaks[0] / 3
    assert peaks[1] < n_query * n_gallery / 3
    assert peaks[2] < 64 * 2**20


def test_inputs_are_not_changed():
    query, gallery, y_query, y_gallery = random_set(13)
    for form in (np.int8, np.float32, np.float64):
        arrays = query.astype(form), gallery.astype(form), y_query, y_gallery
        copies = [array.copy() for array in arrays]
        for ties in ("expected", "random"):
            mean_average_precision(*arrays, ties=ties)
        for array, copy in zip(arrays, copies, strict=True):
            assert_array_equal(array, copy)


# Inputs -----------------------------------------------------------------------


def test_other_containers():
    query, gallery, *labels = random_set(14)
    codes = query, gallery
    reals = query + 0.25 * np.arange(12), gallery - 0.5
    for pair in (codes, reals):
        expected = mean_average_precision(*pair, *labels)
        for convert in (torch.tensor, pd.DataFrame):
            converted = [convert(X) for X in pair]
            assert mean_average_precision(*converted, *labels) == expected
    lists = [X.tolist() for X in reals]
    assert mean_average_precision(*lists, *labels) == mean_average_precision(
        *reals, *labels
    )


def test_views_of_foreign_memory():
    query, gallery, *labels = random_set(15)
    expected = mean_average_precision(query, gallery, *labels)
    assert expected == mean_average_precision(
        np.asfortranarray(query), np.repeat(gallery, 2, axis=0)[::2], *labels
    )


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"query": np.ones((3, 5))}, "query has 5 columns and gallery has 4"),
        ({"query": np.ones(4)}, "Expected 2D array"),
        ({"query": np.full((3, 4), np.nan)}, "query contains NaN"),
        ({"gallery": np.full((5, 4), np.inf)}, "gallery contains infinity"),
        ({"query": np.ones((3, 4), dtype=bool)}, "query has the dtype bool"),
        ({"gallery": np.ones((5, 4), dtype=bool)}, "gallery has the dtype bool"),
        ({"query": np.ones((0, 4)), "y_query": []}, "0 sample"),
        ({"y_query": [0, 1]}, "query has 3 rows but y_query has 2"),
        ({"y_gallery": [0, 1]}, "gallery has 5 rows but y_gallery has 2"),
        ({"y_query": np.eye(3)}, "y_query is 2-D and y_gallery is 1-D"),
        ({"y_query": ["a", "b", "c"]}, "all numbers or all strings"),
        ({"y_query": [{0}, {1}, {0, 1}]}, "y_query holds a collection.*Binarizer"),
        ({"y_query": [[0], [1], [0, 1]]}, "y_query holds a collection.*Binarizer"),
        ({"y_query": [0.5, 1.0, 1.5]}, "Unknown label type: y_query"),
        ({"y_query": np.array(["a", 1, 2], dtype=object)}, "mixes strings with other"),
        ({"y_query": [0, 1, np.nan]}, "y_query contains NaN"),
        (
            {"y_query": np.eye(3), "y_gallery": np.eye(5)},
            "y_query has 3 label columns and y_gallery has 5",
        ),
        (
            {"y_query": np.eye(3), "y_gallery": 2 * np.ones((5, 3))},
            "2-D y_gallery must be a label indicator",
        ),
        ({"y_query": np.ones((3, 2, 2))}, r"got the shape \(3, 2, 2\)"),
        ({"metric": "hamming"}, "query contains the value 0.5"),
        (
            {"query": np.array([[1, -1, 0, 1]] * 3, dtype=np.int8)},
            "dtype int8 and gallery has dtype float64",
        ),
        (
            {
                "query": np.array([[1, -1, 0, 1]] * 3, dtype=np.int8),
                "gallery": np.ones((5, 4), dtype=np.int8),
            },
            r"query contains the value 0\. Binarize",
        ),
        (
            {
                "query": np.ones((3, 4), dtype=np.int8),
                "gallery": np.ones((5, 4), dtype=np.uint8),
            },
            "uint8 means packed bits",
        ),
        (
            {
                "query": np.ones((3, 4), dtype=np.uint8),
                "gallery": np.ones((5, 4), dtype=np.uint8),
                "metric": "cosine",
            },
            "query has the dtype uint8, that of packed bits",
        ),
        ({"k": 0}, "'k' parameter"),
        ({"k": 2.0}, "'k' parameter"),
        ({"chunk_size": 0}, "'chunk_size' parameter"),
        ({"metric": "manhattan"}, "'metric' parameter"),
        ({"ties": "mean"}, "'ties' parameter"),
        ({"normalizer": "k"}, "'normalizer' parameter"),
        ({"zero_relevant": "drop"}, "'zero_relevant' parameter"),
        ({"sample_weight": [1, 2]}, "sample_weight"),
        ({"sample_weight": [1, 2, -1]}, "[Nn]egative"),
    ],
)
def test_errors(changes, message):
    arguments = {
        "query": np.full((3, 4), 0.5),
        "gallery": np.full((5, 4), 0.5),
        "y_query": [0, 1, 0],
        "y_gallery": [0, 1, 0, 1, 0],
    }
    arguments |= changes
    with pytest.raises(ValueError, match=message):
        mean_average_precision(**arguments)
