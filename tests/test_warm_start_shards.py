"""Warm starts over shards, as the page on data in pieces shows them."""

# SPDX-License-Identifier: BSD-3-Clause

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "shards.rst"


def test_page_on_shards_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = doctest.testfile(str(PAGE), module_relative=False)
    assert results.attempted > 10
    assert results.failed == 0
