"""Every public name has a page; a site that is not whole is noticed."""

# SPDX-License-Identifier: BSD-3-Clause

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
ROOMS = (
    "base",
    "datasets",
    "ensemble",
    "exceptions",
    "export",
    "hashing",
    "metrics",
    "neighbors",
    "pairs",
    "projection",
    "training",
)


def _documented():
    """Return the objects that the page of the API names."""
    entries = re.findall(r"^   ([\w.]+)$", (DOCS / "api.rst").read_text(), re.M)
    found = {}
    for entry in entries:
        *room, name = entry.split(".")
        module = importlib.import_module(".".join(["sklearn_cmr", *room]))
        found[entry] = getattr(module, name)
    return found


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_every_public_name_has_a_page(room):
    module = importlib.import_module(f"sklearn_cmr.{room}".rstrip("."))
    documented = list(_documented().values())
    missing = [
        name
        for name in module.__all__
        if not any(getattr(module, name) is other for other in documented)
    ]
    assert not missing


def test_no_page_is_named_twice():
    documented = _documented()
    assert len({id(value) for value in documented.values()}) == len(documented)


def test_a_site_without_its_pages_is_noticed(tmp_path):
    run = subprocess.run(
        [sys.executable, DOCS / "check_build.py", tmp_path],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert "index.html" in run.stderr
    assert "plot_quickstart.html" in run.stderr
