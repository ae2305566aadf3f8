"""Hit rates, ranks and sums of them, also of images with five captions."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import rankdata
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import label_ranking_average_precision_score, top_k_accuracy_score

from sklearn_cmr.metrics import (
    hit_rate_at_k,
    map_at_r,
    mean_average_precision,
    mean_rank,
    median_rank,
    r_precision,
    recall_at_k,
    reciprocal_rank,
    rsum,
)
from tests.metrics import brute_force
from tests.metrics.ranked_lists import all_orders, angles_at, codes_at, random_set

CAPTIONS = 5


def captioned_images(seed=0, n_images=40, dim=6):
    """Images, five captions of each in mixed order, and the number of their image."""
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((n_images, dim))
    number = rng.permutation(np.repeat(np.arange(n_images), CAPTIONS))
    text = image[number] + 1.2 * rng.standard_normal((len(number), dim))
    return image, text, number


def cosine_distances(query, gallery):
    query, gallery = (
        X / np.linalg.norm(X, axis=1, keepdims=True) for X in (query, gallery)
    )
    return -query @ gallery.T


# Five captions of each image ----------------------------------------------------


def test_golden_values_of_captioned_images():
    """As published evaluators count: the best of the five captions."""
    image, text, number = captioned_images()
    distances = cosine_distances(image, text)
    ranks = rankdata(distances, axis=1, method="ordinal").astype(int)
    own = number == np.arange(40)[:, None]
    best = np.where(own, ranks, 1000).min(axis=1)
    pairs = {"y_query": np.arange(40), "y_gallery": number, "relevance": "pair"}
    k = [1, 5, 10]
    i2t = [np.mean(best <= n) for n in k]
    assert_allclose(hit_rate_at_k(image, text, k=k, **pairs), i2t)
    assert median_rank(image, text, **pairs) == np.median(best)
    assert mean_rank(image, text, **pairs) == pytest.approx(best.mean())
    assert reciprocal_rank(image, text, **pairs) == pytest.approx(np.mean(1 / best))
    assert_array_equal(median_rank(image, text, per_query=True, **pairs), best)

    # A text has one image, and its recall is its hit rate.
    ranks = rankdata(distances.T, axis=1, method="ordinal").astype(int)
    single = ranks[np.arange(200), number]
    pairs = {"y_query": number, "y_gallery": np.arange(40), "relevance": "pair"}
    t2i = [np.mean(single <= n) for n in k]
    assert_allclose(hit_rate_at_k(text, image, k=k, **pairs), t2i)
    assert_allclose(recall_at_k(text, image, k=k, **pairs), t2i)
    assert median_rank(text, image, **pairs) == np.median(single)

    numbers = {"image": np.arange(40), "text": number}
    total = rsum({"image": image, "text": text}, numbers)
    assert total == pytest.approx(100 * (sum(i2t) + sum(t2i)))
    assert rsum(image, text, numbers) == total
    assert rsum(image, text, numbers, k=1) == pytest.approx(100 * (i2t[0] + t2i[0]))


def test_recall_of_five_captions_is_a_fifth_of_the_hit_rate():
    image, text, number = captioned_images()
    pairs = {"y_query": np.arange(40), "y_gallery": number, "k": 1}
    hit_rate = hit_rate_at_k(image, text, **pairs)
    assert recall_at_k(image, text, **pairs) == pytest.approx(hit_rate / CAPTIONS)
    assert 0 < hit_rate < 1
    pairs["k"] = 10
    ratio = hit_rate_at_k(image, text, **pairs) / recall_at_k(image, text, **pairs)
    assert 1 < ratio < CAPTIONS


def test_rsum_pairs_rows_without_numbers():
    rng = np.random.default_rng(0)
    image = rng.standard_normal((30, 4))
    text = image + rng.standard_normal((30, 4))
    expected = 100 * sum(
        hit_rate_at_k(*sets, k=k, relevance="pair")
        for sets in ((image, text), (text, image))
        for k in (1, 5, 10)
    )
    assert rsum(image, text) == pytest.approx(expected)
    assert rsum((image, text)) == pytest.approx(expected)
    assert rsum(image, text, np.arange(30)) == pytest.approx(expected)
    y = np.arange(30) % 3
    gallery = {"image": image[10:], "text": text[10:]}
    apart = rsum(
        image[:10],
        text[:10],
        y[:10],
        gallery=gallery,
        y_gallery=y[10:],
        relevance="label",
        k=2,
    )
    rates = [
        hit_rate_at_k(a[:10], b[10:], y[:10], y[10:], k=2)
        for a, b in ((image, text), (text, image))
    ]
    assert apart == pytest.approx(100 * sum(rates))
    with pytest.raises(ValueError, match="Labels are needed"):
        rsum((image, text), relevance="label")


# Other libraries ------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3, 10])
def test_hit_rate_of_pairs_is_top_k_accuracy(k):
    """Scikit-learn sees the partner as the true class among all items."""
    rng = np.random.default_rng(0)
    query, gallery = rng.standard_normal((2, 30, 4))
    score = hit_rate_at_k(query, gallery, k=k, relevance="pair")
    similarity = -cosine_distances(query, gallery)
    expected = top_k_accuracy_score(np.arange(30), similarity, k=k)
    assert score == pytest.approx(expected)


def test_reciprocal_rank_of_pairs_is_label_ranking_precision():
    rng = np.random.default_rng(1)
    query, gallery = rng.standard_normal((2, 30, 4))
    similarity = -cosine_distances(query, gallery)
    expected = label_ranking_average_precision_score(np.eye(30), similarity)
    score = reciprocal_rank(query, gallery, relevance="pair")
    assert score == pytest.approx(expected)


# Ties -------------------------------------------------------------------------

MEASURES = {
    hit_rate_at_k: brute_force.hit_rate,
    reciprocal_rank: brute_force.reciprocal_rank,
    mean_rank: brute_force.rank,
    r_precision: brute_force.r_precision,
    map_at_r: brute_force.map_at_r,
}


@given(
    items=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=7
    ),
    k=st.integers(1, 8),
    metric=st.sampled_from(list(MEASURES)),
    form=st.sampled_from(["hamming", np.float32, np.float64]),
)
@settings(max_examples=200, deadline=None)
def test_against_all_orders(items, k, metric, form):
    distances, relevant = map(list, zip(*items, strict=True))
    if form == "hamming":
        query, gallery = codes_at([0]), codes_at(distances)
    else:
        query, gallery = np.array([[1, 0]], dtype=form), angles_at(distances, form)
    options = {"k": k} if metric in (hit_rate_at_k, reciprocal_rank) else {}

    def score(**more):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            sets = query, gallery, [1], np.where(relevant, 1, 0)
            return metric(*sets, **options, **more)

    if metric is mean_rank and not any(relevant):
        assert np.isnan(score())
        return
    values = [
        MEASURES[metric](list(order), k) for order in all_orders(distances, relevant)
    ]
    best, worst = max(values), min(values)
    if metric is mean_rank:
        best, worst = worst, best
    assert score(ties="expected") == pytest.approx(np.mean(values), abs=1e-12)
    assert score(ties="optimistic") == pytest.approx(best, abs=1e-12)
    assert score(ties="pessimistic") == pytest.approx(worst, abs=1e-12)
    stable = MEASURES[metric](brute_force.ranked(distances, relevant), k)
    assert score(ties="stable") == pytest.approx(stable, abs=1e-12)


def test_large_tie_groups():
    """One relevant item among n tied ones; its rank is uniform."""
    n = 5_000
    X = np.ones((1, 8), dtype=np.int8)
    sets = X, np.repeat(X, n, axis=0), [1], np.arange(n)
    harmonic = np.sum(1 / np.arange(1.0, n + 1))
    assert reciprocal_rank(*sets) == pytest.approx(harmonic / n, rel=1e-12)
    assert hit_rate_at_k(*sets, k=50) == pytest.approx(50 / n, rel=1e-9)
    assert mean_rank(*sets) == (n + 1) / 2
    assert r_precision(*sets) == pytest.approx(1 / n)


# Options ------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [hit_rate_at_k, reciprocal_rank])
@pytest.mark.parametrize("form", [np.int8, np.float32])
def test_several_cutoffs_at_once(metric, form):
    query, gallery, *labels = random_set(2)
    sets = query.astype(form), gallery.astype(form), *labels
    cutoffs = [50, 1, 7, 80]
    scores = metric(*sets, k=cutoffs)
    assert_allclose(scores, [metric(*sets, k=k) for k in cutoffs], rtol=1e-12)
    values = metric(*sets, k=cutoffs, per_query=True)
    assert_allclose(values.mean(axis=0), scores, rtol=1e-12)
    chunked = metric(*sets, k=cutoffs, per_query=True, chunk_size=3)
    assert_array_equal(chunked, values)
    assert scores[0] == metric(*sets, k=1000)


def test_reciprocal_rank_of_the_whole_gallery_by_default():
    sets = random_set(3)
    assert reciprocal_rank(*sets) == reciprocal_rank(*sets, k=50)
    assert reciprocal_rank(*sets, k=1) == hit_rate_at_k(*sets, k=1)


@pytest.mark.parametrize("metric", [r_precision, map_at_r, mean_rank, median_rank])
def test_values_of_queries(metric):
    sets = random_set(5)
    values = metric(*sets, per_query=True)
    assert values.shape == (20,)
    average = np.median if metric is median_rank else np.mean
    assert metric(*sets) == pytest.approx(average(values))
    assert_array_equal(metric(*sets, per_query=True, chunk_size=3), values)


def test_map_at_r_of_equal_classes_is_the_average_precision_at_their_size():
    query, gallery, y_query, _ = random_set(6)
    sets = query, gallery, y_query, np.arange(50) % 4
    values = map_at_r(*sets, per_query=True)
    sizes = np.bincount(sets[3])[y_query]
    for size in np.unique(sizes):
        expected = mean_average_precision(
            *sets, k=int(size), normalizer="all", per_query=True
        )
        assert_allclose(values[sizes == size], expected[sizes == size])


def test_weighted_median():
    sets = random_set(7)
    values = median_rank(*sets, per_query=True)
    times = np.random.default_rng(0).integers(0, 4, 20)
    repeated = np.median(np.repeat(values, times))
    assert median_rank(*sets, sample_weight=times) == repeated
    assert median_rank(*sets, sample_weight=np.ones(20)) == median_rank(*sets)


@pytest.mark.parametrize("metric", [mean_rank, median_rank])
def test_no_rank_without_a_relevant_item(metric):
    query, gallery, y_query, y_gallery = random_set(7)
    known = metric(query[2:], gallery, y_query[2:], y_gallery)
    y_query[:2] = 99
    sets = query, gallery, y_query, y_gallery
    with pytest.warns(UndefinedMetricWarning, match="2 of 20 queries"):
        assert np.isnan(metric(*sets))
    with pytest.warns(UndefinedMetricWarning, match="left out"):
        assert metric(*sets, zero_relevant="skip") == pytest.approx(known)
    with pytest.raises(ValueError, match="'zero_relevant' parameter"):
        metric(*sets, zero_relevant="zero")
