"""Docstrings of all public names follow numpydoc, as those of scikit-learn do."""

# SPDX-License-Identifier: BSD-3-Clause

import importlib
import inspect
import pkgutil
import tomllib
from pathlib import Path

import pytest

import sklearn_cmr

validation = pytest.importorskip("numpydoc.validate")

# Ignored everywhere, but those of classes only in the classes of some rooms.
_PROJECT = Path(__file__).parents[1] / "pyproject.toml"
_SETTINGS = tomllib.loads(_PROJECT.read_text())["tool"]["numpydoc_validation"]
_IGNORED = set(_SETTINGS["checks"]) - {"all"}
_OF_CLASSES = {"ES01", "EX01", "SA01"}
# The classes of these rooms are parts of larger ones, which have the examples.
_ROOMS_OF_PARTS = {"base", "exceptions", "training"}
# Small methods of `training` say in one line what they take and return.
_OF_SMALL_METHODS = {"PR01", "RT01"}


def _rooms():
    names = [module.name for module in pkgutil.iter_modules(sklearn_cmr.__path__)]
    rooms = ["", *(name for name in names if not name.startswith("_"))]
    modules = {room: _module(room) for room in rooms}
    return [room for room, module in modules.items() if hasattr(module, "__all__")]


def _module(room):
    return importlib.import_module(f"sklearn_cmr.{room}".rstrip("."))


def _public_objects(room):
    """Return the classes and functions of a room by their names.

    Those that it has from another room are validated there.
    """
    module = _module(room)
    found = {name: getattr(module, name) for name in module.__all__}
    is_described = (inspect.isclass, inspect.isfunction)
    return {k: v for k, v in found.items() if any(kind(v) for kind in is_described)}


def _methods(cls):
    """Yield the names of the public methods that classes of the package define."""
    for name in dir(cls):
        owner = next((base for base in cls.__mro__ if name in vars(base)), object)
        attribute = vars(owner).get(name)
        function = getattr(attribute, "fget", None) or getattr(cls, name)
        is_own = getattr(function, "__qualname__", "").endswith(f".{name}")
        where = getattr(function, "__module__", None) or ""
        if not name.startswith("_") and is_own and where.startswith("sklearn_cmr"):
            yield name


def _findings(room):
    for name, value in _public_objects(room).items():
        path = ".".join(filter(None, ["sklearn_cmr", room, name]))
        ignored = set(_IGNORED)
        if inspect.isclass(value) and room not in _ROOMS_OF_PARTS:
            ignored -= _OF_CLASSES
        paths = {path: ignored}
        for method in _methods(value) if inspect.isclass(value) else ():
            one_line = "\n" not in (inspect.getdoc(getattr(value, method)) or "")
            small = room == "training" and one_line
            extra = _OF_SMALL_METHODS if small else set()
            paths[f"{path}.{method}"] = {*_IGNORED, *extra}
        for place, codes in paths.items():
            for code, message in validation.validate(place)["errors"]:
                if code not in codes:
                    yield f"{place}: {code} {message}"


@pytest.mark.parametrize("room", _rooms())
def test_docstrings_follow_numpydoc(room):
    findings = list(_findings(room))
    assert not findings, "\n".join(findings)


def test_findings_are_noticed(monkeypatch):
    def fit(X):
        """Fit.

        Parameters
        ----------
        Z : ndarray
            Features.
        """

    monkeypatch.setattr(sklearn_cmr, "fit", fit, raising=False)
    monkeypatch.setattr(sklearn_cmr, "__all__", ["fit"])
    assert any("PR01" in finding for finding in _findings(""))
