"""Every public name has a page; a site that is not whole is noticed."""

# SPDX-License-Identifier: BSD-3-Clause

import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr

import sklearn_cmr
from sklearn_cmr import metrics

DOCS = Path(__file__).parents[1] / "docs"
PROJECT = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]
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


def _check(folder):
    command = [sys.executable, DOCS / "check_build.py", folder]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_site_without_its_pages_is_noticed(tmp_path):
    run = _check(tmp_path)
    assert run.returncode == 1
    assert "index.html" in run.stderr
    assert "plot_quickstart.html" in run.stderr


@pytest.mark.parametrize(
    "tag",
    [
        '<script defer="defer" src="https://cdn.jsdelivr.net/npm/mathjax@4/a.js">',
        '<link rel="stylesheet" href="//elsewhere.org/a.css?v=1" />',
    ],
)
def test_a_page_that_needs_a_network_is_noticed(tmp_path, tag):
    link = '<a href="https://elsewhere.org/a.js">'
    (tmp_path / "whole.html").write_text(f'{link}<script src="_static/a.js">')
    (tmp_path / "formulas.html").write_text(link + tag)
    last = _check(tmp_path).stderr.splitlines()[-1]
    assert last.startswith("formulas.html needs a network: it loads ")


def test_every_example_is_on_the_page_of_examples():
    index = (DOCS.parent / "examples" / "index.rst").read_text()
    pictures = re.findall(r"^   \.\./examples/(\w+)\.py$", index, re.M)
    entries = re.findall(r"^   (\w+)$", index, re.M)
    assert pictures == entries  # in the same order
    scripts = (DOCS.parent / "examples").glob("*.py")
    assert sorted(pictures) == sorted(path.stem for path in scripts)


# -- links from the diagrams of estimators ---------------------------------------------


def _linked(html):
    """Return what the links of a diagram name, without the address of the site."""
    site = PROJECT["urls"]["Documentation"]
    return re.findall(rf'href="{re.escape(site)}generated/([\w.]+)\.html"', html)


def _estimators():
    needs = {"CrossModalEnsemble": "estimator", "CrossModalRetriever": "model"}
    for name in sklearn_cmr.__all__:
        cls = getattr(sklearn_cmr, name)
        if inspect.isclass(cls) and issubclass(cls, BaseEstimator):
            part = {needs[name]: sklearn_cmr.CCAProjector()} if name in needs else {}
            yield cls(**part)


@pytest.mark.parametrize(
    "estimator", list(_estimators()), ids=lambda estimator: type(estimator).__name__
)
def test_the_diagram_of_an_estimator_links_to_its_page(estimator):
    pages = {f"sklearn_cmr.{entry}" for entry in _documented()}
    name = f"sklearn_cmr.{type(estimator).__name__}"
    linked = _linked(estimator_html_repr(estimator))
    assert name in linked
    assert set(linked) <= pages


@pytest.mark.parametrize("maker", ["make_map_scorer", "make_retrieval_scorer"])
def test_the_diagram_of_a_scorer_links_to_the_page_of_its_maker(maker):
    make = getattr(metrics, maker)
    scorer = make() if maker == "make_map_scorer" else make("recall", k=5)
    assert f"metrics.{maker}" in _documented()
    assert {f"sklearn_cmr.metrics.{maker}"} == set(_linked(estimator_html_repr(scorer)))


def test_diagrams_of_pipelines_and_searches_link_to_the_pages_of_their_parts():
    prepare = sklearn_cmr.PairTransformer(image=StandardScaler())
    pipeline = make_pipeline(prepare, sklearn_cmr.ACMRProjector())
    search = GridSearchCV(pipeline, {"acmrprojector__margin": [0.2, 0.5]})
    for composed in (pipeline, search):
        html = estimator_html_repr(composed)
        assert {"sklearn_cmr.PairTransformer", "sklearn_cmr.ACMRProjector"} == set(
            _linked(html)
        )
        assert re.search(r"scikit-learn\.org/\S*StandardScaler\.html", html)


def test_a_class_of_another_package_has_no_link_to_this_site():
    class OwnProjector(sklearn_cmr.ACMRProjector):
        pass

    assert _linked(estimator_html_repr(OwnProjector())) == []
