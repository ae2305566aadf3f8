"""Comparison of systems: against scipy, by exact counts, and its rate of errors."""

# SPDX-License-Identifier: BSD-3-Clause

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from sklearn_cmr.metrics import compare_retrieval, mean_average_precision
from tests.metrics.ranked_lists import random_set


def two_systems(n_queries=40, shift=0.1, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.random(n_queries)
    return a, a + rng.normal(shift, 0.2, n_queries)


def test_exact_p_value():
    """All exchanges of the values of a few queries, each once."""
    a, b = two_systems(10)
    row = compare_retrieval(a, b, output_dict=True)["b"]
    signs = np.array(list(product([-1, 1], repeat=10)))
    means = signs @ (b - a) / 10
    as_large = np.abs(means) >= abs(np.mean(b - a)) - 1e-12
    assert row["p"] == pytest.approx(as_large.mean())
    assert row["p (Holm)"] == row["p"]
    assert row["queries"] == 10
    assert row["mean"] == pytest.approx(b.mean())
    assert row["baseline"] == pytest.approx(a.mean())
    assert row["difference"] == pytest.approx(np.mean(b - a))


def test_against_scipy():
    a, b = two_systems(60, shift=0.04)
    row = compare_retrieval(a, b, n_resamples=20_000, random_state=0, output_dict=True)[
        "b"
    ]
    test = stats.permutation_test(
        (a, b),
        lambda x, y: np.mean(y) - np.mean(x),
        permutation_type="samples",
        n_resamples=5_000,
        vectorized=False,
        random_state=np.random.default_rng(1),
    )
    assert row["p"] == pytest.approx(test.pvalue, abs=0.02)
    # For many queries, that of the t-test.
    t_test = stats.ttest_rel(a, b)
    assert row["p"] == pytest.approx(t_test.pvalue, abs=0.02)
    interval = t_test.confidence_interval(0.95)
    assert [row["low"], row["high"]] == pytest.approx(
        [-interval.high, -interval.low], abs=0.01
    )
    wide = compare_retrieval(
        a, b, confidence_level=0.99, random_state=0, output_dict=True
    )["b"]
    assert wide["low"] < row["low"] < row["high"] < wide["high"]


def test_equal_systems_seldom_differ():
    """At a level of 5 %, 5 % of equal systems."""
    found, covered = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        a = rng.beta(0.5, 1, 50)
        b = a + rng.choice([-1, 1], 50) * rng.exponential(0.1, 50)
        row = compare_retrieval(
            a, b, n_resamples=499, random_state=seed, output_dict=True
        )["b"]
        found.append(row["p"] <= 0.05)
        covered.append(row["low"] <= 0 <= row["high"])
    # Four standard deviations of the share.
    assert np.mean(found) == pytest.approx(0.05, abs=0.05)
    assert np.mean(covered) == pytest.approx(0.94, abs=0.05)


def test_several_systems():
    a, _ = two_systems()
    systems = {f"s{i}": two_systems(shift=0.02 * i)[1] for i in range(5)}
    options = {"random_state": 3, "output_dict": True}
    table = compare_retrieval(a, systems, **options)
    assert list(table) == list(systems)
    # Each row is that of the system alone, but for the correction.
    for name, values in systems.items():
        alone = compare_retrieval(a, values, **options)["b"]
        assert {**table[name], "p (Holm)": alone["p"]} == alone
    p = np.array([row["p"] for row in table.values()])
    order = np.argsort(p)
    expected = np.empty(5)
    largest = 0
    for place, i in enumerate(order):
        largest = max(largest, min(1, (5 - place) * p[i]))
        expected[i] = largest
    assert_allclose([row["p (Holm)"] for row in table.values()], expected)


def test_values_of_a_metric():
    query, gallery, *labels = random_set(0)
    values = [
        mean_average_precision(X, gallery, *labels, per_query=True)
        for X in (query, query[::-1])
    ]
    row = compare_retrieval(*values, random_state=0, output_dict=True)["b"]
    assert row["difference"] == pytest.approx(values[1].mean() - values[0].mean())
    series = [pd.Series(each) for each in values]
    again = compare_retrieval(*series, random_state=0, output_dict=True)["b"]
    assert again == row


def test_skipped_queries():
    a, b = two_systems()
    expected = compare_retrieval(a, b, random_state=0, output_dict=True)
    a, b = np.append(a, np.nan), np.append(b, np.nan)
    assert compare_retrieval(a, b, random_state=0, output_dict=True) == expected
    a[0] = np.nan
    with pytest.raises(ValueError, match="nan for different queries"):
        compare_retrieval(a, b)


def test_groups_of_queries():
    """Captions of one image count once; copies of a query are no further evidence."""
    a, b = two_systems(20)
    options = {"random_state": 0, "output_dict": True}
    expected = compare_retrieval(a, b, **options)["b"]
    order = np.random.default_rng(0).permutation(60)
    copies = [np.repeat(values, 3)[order] for values in (a, b)]
    names = np.repeat([f"image {i:02}" for i in range(20)], 3)[order]
    row = compare_retrieval(*copies, groups=names, **options)["b"]
    assert row == pytest.approx(expected)
    assert row["queries"] == 20
    apart = compare_retrieval(*copies, **options)["b"]
    assert apart["high"] - apart["low"] < 0.8 * (row["high"] - row["low"])
    # The mean of each group, with queries left out.
    copies[0][0] = copies[1][0] = np.nan
    again = compare_retrieval(*copies, groups=names.tolist(), **options)["b"]
    assert again == pytest.approx(expected)
    with pytest.raises(ValueError, match="each of the 20 queries"):
        compare_retrieval(a, b, groups=names)
    with pytest.raises(ValueError, match="1 queries or groups"):
        compare_retrieval(a, b, groups=np.zeros(20))


def test_identical_systems():
    a, _ = two_systems()
    row = compare_retrieval(a, a, random_state=0, output_dict=True)["b"]
    assert row["p"] == 1
    assert row["low"] == row["high"] == row["difference"] == 0


def test_table_shows_the_dictionary():
    a, b = two_systems()
    systems = {"mine": b, "a longer name": b[::-1]}
    table = compare_retrieval(a, systems, random_state=0, digits=4)
    rows = compare_retrieval(a, systems, random_state=0, output_dict=True)
    header, *lines = [line for line in table.splitlines() if line]
    assert re.split(r"\s{2,}", header.strip()) == list(rows["mine"])
    for line, (name, row) in zip(lines, rows.items(), strict=True):
        cells = re.split(r"\s{2,}", line.strip())
        *scores, queries = row.values()
        assert cells == [name, *(f"{score:.4f}" for score in scores), str(queries)]


def test_small_p_values_are_not_shown_as_zero():
    a, _ = two_systems()
    table = compare_retrieval(a, {"x": a + 0.5, "y": a}, random_state=0)
    assert re.findall(r"<[\d.]+", table) == ["<0.001"] * 2
    assert re.findall(r"<[\d.]+", compare_retrieval(a, a + 0.5, digits=5)) == []


@pytest.mark.parametrize(
    "a, b, options, message",
    [
        ([0.1, 0.2], [0.1, 0.2, 0.3], {}, "2 queries and b of 3"),
        ([0.1, 0.2], {"x": [0.1]}, {}, "2 queries and x of 1"),
        ([[0.1, 0.2]], [0.1], {}, r"a must hold one value .* shape \(1, 2\)"),
        ([0.1], [0.2], {}, "at least 2"),
        ([0.1, 0.2], {}, {}, "b is empty"),
        ([0.1, 0.2], [[0.1, 0.2], [0.3, 0.4]], {}, "Pass several systems as a mapping"),
        (["good", "bad"], [0.1, 0.2], {}, "a must hold numbers"),
        ([0.1, 0.2], {"x": [0.1, np.inf]}, {}, "x holds infinite values"),
        ([0.1, 0.2], [0.1, 0.2], {"groups": ["a", None]}, "groups has missing values"),
        ([0.1, 0.2], [0.1, 0.2], {"groups": [1, np.nan]}, "groups has missing values"),
        (
            [0.1, 0.2],
            [0.1, 0.2],
            {"groups": np.array([1, "a"], dtype=object)},
            "all numbers or all strings",
        ),
        ([0.1, 0.2], [0.1, 0.2], {"confidence_level": 1}, "'confidence_level'"),
        ([0.1, 0.2], [0.1, 0.2], {"n_resamples": 0}, "'n_resamples'"),
    ],
)
def test_errors(a, b, options, message):
    with pytest.raises(ValueError, match=message):
        compare_retrieval(a, b, **options)
