"""The table of the metrics beside other libraries."""

# SPDX-License-Identifier: BSD-3-Clause

import metric_parity
import pytest

from sklearn_cmr import metrics

# These are made of the metrics, or write files.
NO_METRICS = {"cross_modal_report", "to_trec"}


@pytest.fixture(scope="module")
def table():
    cases = metric_parity.generated_cases(n_query=20, n_gallery=60, seed=1)
    return metric_parity.measure(cases)


def test_every_metric_agrees_with_every_library(table):
    for row, (n_values, difference) in table.items():
        assert n_values >= 2, row
        assert difference < 1e-9, row
    assert {name for name, _ in table} == set(metric_parity.DEFINITIONS)
    functions = {
        name
        for name in metrics.__all__
        if name.islower() and not name.endswith("scorer")
    }
    compared = {name.partition(",")[0] for name, _ in table}
    assert compared == functions - NO_METRICS


def test_a_difference_is_seen(monkeypatch):
    monkeypatch.setattr(metrics, "r_precision", metrics.map_at_r)
    case = metric_parity.generated_cases(n_query=20, n_gallery=60)[0]
    _, difference = metric_parity.measure([case])["r_precision", "pytrec_eval"]
    assert difference > 0.01


def test_the_page_has_the_rows(table):
    rows = metric_parity.write_table(table).splitlines()
    names = [row for row in rows if row.startswith(("   * -", "     - scikit"))]
    assert len(names) > 20
    page = metric_parity.PAGE.read_text().splitlines()
    assert set(names) <= set(page)
