"""Checks that every public estimator and every public name has to pass."""

# SPDX-License-Identifier: BSD-3-Clause

import ast
import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

import sklearn_cmr

# The checks pass arrays of any width to default-constructed estimators.
pytestmark = [
    pytest.mark.filterwarnings("ignore:n_image_features is not set"),
    pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names"),
]

# What check_estimator leaves out; the last word of some names is a needed package.
MORE_CHECKS = [
    "check_dataframe_column_names_consistency",
    "check_param_validation",
]
MORE_TRANSFORMER_CHECKS = [
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
]


def _public_modules():
    found = pkgutil.walk_packages(sklearn_cmr.__path__, prefix="sklearn_cmr.")
    names = [module.name for module in found if "._" not in module.name]
    return [sklearn_cmr, *map(importlib.import_module, names)]


def _estimator_classes():
    public = [getattr(sklearn_cmr, name) for name in sklearn_cmr.__all__]
    return [
        item
        for item in public
        if inspect.isclass(item) and issubclass(item, BaseEstimator)
    ]


def _small(cls):
    """Make an instance that trains for a moment only."""
    estimator = cls()
    for name in estimator.get_params(deep=False):
        if name.startswith("max_epochs"):
            estimator.set_params(**{name: 2})
        elif name in ("embedding_dim", "n_bits"):
            estimator.set_params(**{name: 8})
    return estimator


ESTIMATORS = _estimator_classes()
TRANSFORMERS = [cls for cls in ESTIMATORS if hasattr(cls, "transform")]
PUBLIC_NAMES = [
    (module.__name__, name)
    for module in _public_modules()
    for name in getattr(module, "__all__", ())
]


def test_estimators_were_found():
    assert {sklearn_cmr.ACMRProjector, sklearn_cmr.PairTransformer} <= set(TRANSFORMERS)
    assert sklearn_cmr.CrossModalNeighbors in ESTIMATORS


@parametrize_with_checks([_small(cls) for cls in ESTIMATORS])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    ("cls", "check"),
    [
        *product(ESTIMATORS, MORE_CHECKS),
        *product(TRANSFORMERS, MORE_TRANSFORMER_CHECKS),
    ],
)
def test_more_scikit_learn_checks(cls, check):
    for library in ("pandas", "polars"):
        if check.endswith(library):
            pytest.importorskip(library)
    estimator = _small(cls)
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=0)
    getattr(estimator_checks, check)(cls.__name__, estimator)


@pytest.mark.slow
def test_array_api_check():
    # scipy reads the variable when it is imported.
    command = [sys.executable, "-m", "pytest", "-q", "-k", "check_array_api_input"]
    options = ["-p", "no:cacheprovider", "--no-header", "--no-cov", __file__]
    if not _has_plugin("pytest_cov"):
        options.remove("--no-cov")
    run = subprocess.run(
        [*command, *options],
        env=os.environ | {"SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert f"{len(ESTIMATORS)} passed" in run.stdout


def _has_plugin(name):
    return importlib.util.find_spec(name) is not None


def _sections(docstring):
    """Split a numpydoc docstring into its sections."""
    parts = re.split(r"\n\n([A-Z][A-Za-z ]+)\n-{3,}\n", inspect.cleandoc(docstring))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _entries(section):
    """Return a dict from the names of a section to what stands behind the colon."""
    # A long type goes on in the next line after a backslash.
    section = re.sub(r"\s*\\\n\s*", " ", section)
    entries = {}
    for names, kind in re.findall(r"^(\w[\w, ]*) : (.+)$", section, re.MULTILINE):
        entries |= dict.fromkeys(names.split(", "), kind)
    return entries


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_docstring_names_every_parameter_with_its_default(cls):
    documented = _entries(_sections(cls.__doc__)["Parameters"])
    parameters = inspect.signature(cls).parameters
    assert list(documented) == list(parameters)
    for name, parameter in parameters.items():
        default = documented[name].partition("default=")[2]
        assert ast.literal_eval(default) == parameter.default, name
        assert parameter.kind is parameter.KEYWORD_ONLY, name


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_parameters_have_constraints(cls):
    assert set(cls._parameter_constraints) == set(inspect.signature(cls).parameters)


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_docstring_names_every_fitted_attribute(cls):
    pd = pytest.importorskip("pandas")
    documented = _entries(_sections(cls.__doc__)["Attributes"])
    rng = np.random.RandomState(0)
    names = ["image__a", "image__b", "text__a", "text__b"]
    if cls not in TRANSFORMERS:  # one modality
        names = names[:2]
    X = pd.DataFrame(rng.randn(30, len(names)), columns=names)
    estimator = _small(cls).fit(X, np.arange(30) % 3)
    fitted = {name for name in vars(estimator) if re.fullmatch(r"[a-z]\w*_", name)}
    assert fitted == set(documented)


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_docstring_has_an_example(cls):
    assert ">>>" in _sections(cls.__doc__)["Examples"]


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_public_methods_have_docstrings(cls):
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        if not name.startswith("_") and method.__module__.startswith("sklearn_cmr"):
            assert method.__doc__, name


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_tags(cls):
    tags = _small(cls).__sklearn_tags__()
    assert tags.input_tags.two_d_array and tags.input_tags.dict
    assert (tags.transformer_tags is not None) == (cls in TRANSFORMERS)
    assert not tags.non_deterministic
    assert not tags.no_validation
    assert not tags._skip_test


@pytest.mark.parametrize("cls", TRANSFORMERS)
def test_clone_copies_parameters_and_set_output(cls):
    estimator = _small(cls).set_output(transform="pandas")
    copied = clone(estimator)
    assert copied.get_params() == estimator.get_params()
    assert copied._sklearn_output_config == {"transform": "pandas"}


@pytest.mark.parametrize(("module", "name"), PUBLIC_NAMES)
def test_public_names_have_docstrings(module, name):
    item = getattr(importlib.import_module(module), name)
    if callable(item):
        assert (item.__doc__ or "").strip()


@pytest.mark.parametrize(
    "module", _public_modules(), ids=lambda module: module.__name__
)
def test_public_modules_have_docstrings(module):
    assert (module.__doc__ or "").strip()


def test_labels_and_metadata_need_no_routing():
    for cls in TRANSFORMERS:
        requests = _small(cls).get_metadata_routing()
        assert not requests.fit.requests, cls
