"""What importing the package brings in."""

# SPDX-License-Identifier: BSD-3-Clause

import importlib
import subprocess
import sys
from functools import cache
from textwrap import dedent

import pytest

import sklearn_cmr

HEAVY = ["faiss", "matplotlib", "sklearn.linear_model", "sklearn.neighbors"]

SEARCH = """
import sklearn_cmr
sklearn_cmr.datasets.load_captioned_digits  # a submodule is an attribute
import numpy as np
import sklearn_cmr.codes, sklearn_cmr.metrics, sklearn_cmr.neighbors
from sklearn_cmr import CrossModalNeighbors, PairTransformer, make_pairs
from sklearn_cmr.datasets import make_cross_modal_classification
from sklearn_cmr.hashing import pack_codes, unpack_codes
from sklearn_cmr.metrics import map_scorer, mean_average_precision

codes = np.where(np.arange(80).reshape(10, 8) % 3, 1, -1).astype(np.int8)
packed = pack_codes(codes)
neighbors = CrossModalNeighbors(n_neighbors=2, algorithm="brute").fit(packed)
assert neighbors.kneighbors(packed)[0].max() == 0
labels = np.arange(10) % 3
for encoded in (codes, packed, unpack_codes(packed, 8) * 0.5):
    assert mean_average_precision(encoded, encoded, labels, labels) == 1
"""


@cache
def imported_by(code):
    """Return the names of the modules that a fresh interpreter imports."""
    command = [sys.executable, "-c", f"{dedent(code)}\nimport sys; print(*sys.modules)"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_what_few_need_is_imported_where_it_is_used():
    code = "import sklearn_cmr; from sklearn_cmr import *"
    assert not imported_by(code) & set(HEAVY)


def test_metrics_search_and_codes_need_no_torch_and_no_plotting():
    unwanted = {"torch", "skorch", "matplotlib", "sklearn.manifold"}
    assert not imported_by(SEARCH) & unwanted


@pytest.mark.parametrize("name", ["hashing", "projection", ""])
def test_public_names(name):
    package = importlib.import_module(f"sklearn_cmr.{name}".rstrip("."))
    for public in package.__all__:
        assert getattr(getattr(package, public), "__name__", public) == public
        assert public in dir(package)
    with pytest.raises(AttributeError, match=f"'{package.__name__}' has no .* 'Other'"):
        package.Other  # noqa: B018


def test_submodules_are_attributes():
    assert "sklearn_cmr.datasets" in imported_by(SEARCH)
    assert set(dir(sklearn_cmr)) >= {"codes", "metrics", "neighbors"}
