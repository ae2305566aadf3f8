"""Precision-recall curves by rank, Hamming radius and recall."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import precision_score, recall_score

from sklearn_cmr.metrics import precision_at_k, precision_recall_curve, recall_at_k
from tests.metrics.ranked_lists import (
    EXAMPLE_A,
    all_orders,
    angles_at,
    codes_at,
    random_set,
)

KINDS = ("rank", "radius", "recall")


def one_query(distances, relevant, form="hamming", **options):
    if form == "hamming":
        query, gallery = codes_at([0]), codes_at(distances)
    else:
        gallery = angles_at(distances, form)
        query = np.array([[1, 0]], dtype=form)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        return precision_recall_curve(query, gallery, [1], relevant, **options)


def uneven_set(seed, form=np.int8):
    """Queries whose classes are of different sizes, with many tied items."""
    rng = np.random.default_rng(seed)
    query, gallery, *_ = random_set(seed, n_query=15, n_gallery=40, n_bits=5)
    y_gallery = rng.choice(4, 40, p=[0.1, 0.2, 0.3, 0.4])
    y_gallery[:4] = np.arange(4)
    return query.astype(form), gallery.astype(form), np.arange(15) % 4, y_gallery


# By rank ----------------------------------------------------------------------


@pytest.mark.parametrize("form", ["hamming", np.float32, np.float64])
def test_example_by_rank(form):
    curve = one_query(*EXAMPLE_A, form, ties="expected")
    assert_array_equal(curve.thresholds, [1, 2, 3, 4, 5, 6])
    hits = np.array([1, 4 / 3, 5 / 3, 2, 5 / 2, 3])
    assert_allclose(curve.precision, hits / curve.thresholds)
    assert_allclose(curve.recall, hits / 3)
    assert_array_equal(curve.empty, np.zeros(6))


@pytest.mark.parametrize(
    "ties", ["expected", "stable", "optimistic", "pessimistic", "random"]
)
@pytest.mark.parametrize("form", [np.int8, np.float32, np.float64])
def test_by_rank_is_precision_and_recall_at_k(form, ties):
    sets = uneven_set(0, form)
    options = {"ties": ties, "random_state": 0}
    weight = np.random.default_rng(0).random(15)
    for k in (None, 12, 40, 99):
        curve = precision_recall_curve(*sets, k=k, sample_weight=weight, **options)
        ranks = np.arange(1, min(k or 40, 40) + 1)
        assert_array_equal(curve.thresholds, ranks)
        options_at = options | {"k": ranks, "sample_weight": weight}
        assert_allclose(curve.precision, precision_at_k(*sets, **options_at))
        assert_allclose(curve.recall, recall_at_k(*sets, **options_at))


def test_micro_by_rank():
    sets = uneven_set(1)
    n_relevant = (sets[2][:, None] == sets[3]).sum(axis=1)
    weight = np.arange(15) % 3
    values = precision_at_k(*sets, k=np.arange(1, 41), per_query=True)
    hits = weight @ (values * np.arange(1, 41))
    curve = precision_recall_curve(*sets, average="micro", sample_weight=weight)
    assert_allclose(curve.precision, weight @ values / weight.sum())
    assert_allclose(curve.recall, hits / (weight @ n_relevant))


# By radius ----------------------------------------------------------------------


def test_example_by_radius():
    curve = one_query(*EXAMPLE_A, by="radius")
    assert_array_equal(curve.thresholds, np.arange(9))
    assert_allclose(curve.precision, [1] + 8 * [1 / 2])
    assert_allclose(curve.recall, [1 / 3, 2 / 3, 2 / 3] + 6 * [1])
    assert_array_equal(curve.empty, np.zeros(9))


@pytest.mark.parametrize("average", ["macro", "micro"])
@pytest.mark.parametrize("empty_ball", ["zero", "skip"])
def test_by_radius_is_that_of_a_classifier(average, empty_ball):
    """To retrieve an item is to predict that it is relevant."""
    sets = query, gallery, y_query, y_gallery = uneven_set(2)
    weight = np.arange(1, 16)
    relevant = y_query[:, None] == y_gallery
    distances = (5 - query.astype(int) @ gallery.T) // 2
    curve = precision_recall_curve(
        *sets,
        by="radius",
        average=average,
        empty_ball=empty_ball,
        sample_weight=weight,
    )
    assert_array_equal(curve.thresholds, np.arange(6))
    for radius in range(6):
        retrieved = distances <= radius
        filled = retrieved.any(axis=1)
        assert curve.empty[radius] == pytest.approx(
            1 - weight @ filled / weight.sum(), abs=1e-15
        )
        if average == "micro":
            options = {"sample_weight": np.repeat(weight, 40), "zero_division": 0}
            flat = relevant.ravel(), retrieved.ravel()
            expected = precision_score(*flat, **options), recall_score(*flat, **options)
        else:
            rows = list(zip(relevant, retrieved, strict=True))
            precisions = [precision_score(*row, zero_division=0) for row in rows]
            recalls = [recall_score(*row) for row in rows]
            counted = weight * filled if empty_ball == "skip" else weight
            expected = (
                np.average(precisions, weights=counted),
                np.average(recalls, weights=weight),
            )
        found = curve.precision[radius], curve.recall[radius]
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_all_balls_empty(average):
    code = np.ones((1, 4), dtype=np.int8)
    sets = code, np.concatenate([-code, -code]), [0], [0, 1]
    options = {"by": "radius", "average": average}
    for empty_ball, value in {"zero": 0, "skip": np.nan}.items():
        curve = precision_recall_curve(*sets, empty_ball=empty_ball, **options)
        assert_array_equal(curve.precision, 4 * [value] + [0.5])
        assert_array_equal(curve.recall, [0, 0, 0, 0, 1])
        assert_array_equal(curve.empty, [1, 1, 1, 1, 0])


def test_ties_do_not_matter_by_radius():
    sets = uneven_set(3)
    expected = precision_recall_curve(*sets, by="radius")
    for ties in ("stable", "optimistic", "random"):
        curve = precision_recall_curve(*sets, by="radius", ties=ties)
        assert_array_equal(curve, expected)


def test_packed_codes_by_radius():
    query, gallery, *labels = random_set(4, n_bits=16)
    packed = np.packbits(query > 0, axis=1), np.packbits(gallery > 0, axis=1)
    assert_array_equal(
        precision_recall_curve(*packed, *labels, by="radius"),
        precision_recall_curve(query, gallery, *labels, by="radius"),
    )


# By recall --------------------------------------------------------------------


def interpolate(precision, recall):
    """The highest precision wherever the recall is at least 0, 0.1, ..., 1."""
    return [precision[recall > level / 10 - 1e-12].max() for level in range(11)]


@given(
    items=st.lists(
        st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=30
    ),
    form=st.sampled_from(["hamming", np.float32, np.float64]),
    average=st.sampled_from(["macro", "micro"]),
)
@settings(max_examples=100, deadline=None)
def test_interpolated_precision_of_one_query(items, form, average):
    distances, relevant = map(list, zip(*items, strict=True))
    options = {"form": form, "ties": "expected", "average": average}
    curve = one_query(distances, relevant, by="recall", **options)
    whole = one_query(distances, relevant, **options)
    assert_array_equal(curve.recall, np.arange(11) / 10)
    assert_array_equal(curve.thresholds, curve.recall)
    assert_array_equal(curve.empty, np.zeros(11))
    expected = np.zeros(11)
    if any(relevant):
        expected = interpolate(whole.precision, whole.recall)
    assert_allclose(curve.precision, expected, atol=1e-12)


@pytest.mark.parametrize(
    "ties", ["expected", "stable", "optimistic", "pessimistic", "random"]
)
@pytest.mark.parametrize("form", [np.int8, np.float32])
def test_interpolated_precision_of_many_queries(form, ties):
    sets = query, gallery, y_query, y_gallery = uneven_set(5, form)
    options = {"ties": ties, "random_state": 0}
    weight = np.arange(1, 16)
    curves = [
        precision_recall_curve(query[[i]], gallery, y_query[[i]], y_gallery, **options)
        for i in range(15)
    ]
    expected = [interpolate(curve.precision, curve.recall) for curve in curves]
    options["sample_weight"] = weight
    curve = precision_recall_curve(*sets, by="recall", **options)
    assert_allclose(curve.precision, np.average(expected, axis=0, weights=weight))

    whole = precision_recall_curve(*sets, average="micro", **options)
    curve = precision_recall_curve(*sets, by="recall", average="micro", **options)
    assert_allclose(curve.precision, interpolate(whole.precision, whole.recall))


def test_interpolated_example():
    """Relevant items at the ranks 1, 3 and 10."""
    relevant = [1, 0, 1, 0, 0, 0, 0, 0, 0, 1]
    curve = one_query(range(8), relevant[:8], np.float64, by="recall")
    assert_allclose(curve.precision, 6 * [1] + 5 * [2 / 3])
    distances = np.linspace(0, 6, 10)
    curve = one_query(distances, relevant, np.float64, by="recall")
    assert_allclose(curve.precision, 4 * [1] + 3 * [2 / 3] + 4 * [3 / 10])


def test_mean_over_all_orders_by_rank():
    distances, relevant = [0, 1, 1, 1, 2, 2], [0, 1, 1, 0, 0, 1]
    orders = np.array(list(all_orders(distances, relevant)))
    curve = one_query(distances, relevant)
    hits = orders.cumsum(axis=1).mean(axis=0)
    assert_allclose(curve.precision, hits / np.arange(1, 7))
    assert_allclose(curve.recall, hits / 3)


# All kinds --------------------------------------------------------------------


@pytest.mark.parametrize("average", ["macro", "micro"])
@pytest.mark.parametrize("by", KINDS)
def test_zero_relevant(by, average):
    query, gallery, y_query, y_gallery = uneven_set(6)
    options = {"by": by, "average": average}
    known = precision_recall_curve(
        query[5:], gallery, y_query[5:], y_gallery, **options
    )
    y_query[:5] = 99
    curves = {}
    for policy in ("zero", "skip", "nan"):
        with pytest.warns(UndefinedMetricWarning, match="5 of 15 queries") as record:
            curves[policy] = precision_recall_curve(
                query, gallery, y_query, y_gallery, zero_relevant=policy, **options
            )
        assert record[0].filename == __file__
    assert_allclose(curves["skip"], known, atol=1e-12)
    assert np.isnan(curves["nan"].precision).all()
    assert np.isnan(curves["nan"].recall).all()
    if average == "macro":
        assert_allclose(curves["zero"].precision, known.precision * 10 / 15)
        if by != "recall":
            assert_allclose(curves["zero"].recall, known.recall * 10 / 15)
    elif by == "rank":
        assert_allclose(curves["zero"].precision, known.precision * 10 / 15)
        assert_allclose(curves["zero"].recall, known.recall)


@pytest.mark.parametrize("average", ["macro", "micro"])
@pytest.mark.parametrize("by", KINDS)
def test_nothing_is_relevant(by, average):
    query, gallery, y_query, y_gallery = uneven_set(6)
    for policy, value in {"zero": 0, "skip": np.nan}.items():
        with pytest.warns(UndefinedMetricWarning, match="15 of 15"):
            curve = precision_recall_curve(
                query,
                gallery,
                y_query + 9,
                y_gallery,
                by=by,
                average=average,
                zero_relevant=policy,
            )
        assert_array_equal(curve.precision, np.full(len(curve.thresholds), value))
        if by != "recall":
            assert_array_equal(curve.recall, np.full(len(curve.thresholds), value))


@pytest.mark.parametrize("average", ["macro", "micro"])
@pytest.mark.parametrize("by", KINDS)
def test_invariance(by, average):
    query, gallery, y_query, y_gallery = uneven_set(7)
    options = {"by": by, "average": average}
    expected = precision_recall_curve(query, gallery, y_query, y_gallery, **options)
    assert np.all(np.diff(expected.recall) >= 0)
    order = np.random.default_rng(0).permutation(40)
    repeats = np.arange(15) % 3
    weighted = precision_recall_curve(
        query, gallery, y_query, y_gallery, sample_weight=repeats, **options
    )
    repeated = precision_recall_curve(
        query.repeat(repeats, axis=0),
        gallery,
        y_query.repeat(repeats),
        y_gallery,
        **options,
    )
    assert_allclose(repeated, weighted, atol=1e-12)
    for chunk_size in (1, 4, 100):
        curve = precision_recall_curve(
            query,
            gallery[order],
            y_query,
            y_gallery[order],
            chunk_size=chunk_size,
            **options,
        )
        assert_allclose(curve, expected, atol=1e-12)


def test_sample_weight_is_not_changed():
    query, gallery, y_query, y_gallery = uneven_set(8)
    y_query[:3] = 99
    weight = np.ones(15)
    with pytest.warns(UndefinedMetricWarning, match="3 of 15"):
        precision_recall_curve(
            query,
            gallery,
            y_query,
            y_gallery,
            zero_relevant="skip",
            sample_weight=weight,
        )
    assert_array_equal(weight, np.ones(15))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"by": "radius"}, "by='radius' needs the Hamming distance of codes"),
        ({"by": "recall", "k": 3}, "with by='recall' there is no rank"),
        ({"by": "distance"}, "'by' parameter"),
        ({"average": "mean"}, "'average' parameter"),
        ({"empty_ball": "nan"}, "'empty_ball' parameter"),
        ({"k": 0}, "'k' parameter"),
        ({"sample_weight": [1]}, "sample_weight"),
    ],
)
def test_errors(options, message):
    query, gallery, *labels = uneven_set(9)
    with pytest.raises(ValueError, match=message):
        precision_recall_curve(query * 0.5, gallery * 0.5, *labels, **options)
