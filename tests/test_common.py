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
from collections import defaultdict
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

import sklearn_cmr
from sklearn_cmr.base import CrossModalTransformer, NetworkTransformer, _transformer
from sklearn_cmr.base._mixins import MIXINS

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


# Arguments of estimators that cannot be made without.
ARGUMENTS = {
    "CrossModalEnsemble": {"estimator": sklearn_cmr.SemanticMatchingProjector()},
    "CrossModalRetriever": {"model": sklearn_cmr.SemanticMatchingProjector()},
}


def _small(cls):
    """Make an instance that trains for a moment only."""
    estimator = cls(**ARGUMENTS.get(cls.__name__, {}))
    for name in estimator.get_params(deep=False):
        if name.startswith("max_epochs"):
            estimator.set_params(**{name: 2})
        elif name in ("embedding_dim", "n_bits"):
            estimator.set_params(**{name: 8})
    return estimator


ESTIMATORS = _estimator_classes()
TRANSFORMERS = [cls for cls in ESTIMATORS if hasattr(cls, "transform")]
METHODS = [cls for cls in ESTIMATORS if issubclass(cls, NetworkTransformer)]
PUBLIC_NAMES = [
    (module.__name__, name)
    for module in _public_modules()
    for name in getattr(module, "__all__", ())
]


def test_estimators_were_found():
    assert {sklearn_cmr.ACMRProjector, sklearn_cmr.PairTransformer} <= set(TRANSFORMERS)
    assert sklearn_cmr.CrossModalNeighbors in ESTIMATORS
    assert sklearn_cmr.CrossModalEnsemble in TRANSFORMERS
    assert {cls.__name__ for cls in METHODS} == {
        "AADAHHasher",
        "ACMRProjector",
        "CMGANProjector",
        "DRCLProjector",
        "SSAHHasher",
    }


# Two epochs on the checks' data, such as features of mean 100, teach no codes.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks([_small(cls) for cls in ESTIMATORS])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
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
    """Return a dict from the names of a section to their types and descriptions."""
    # A long type goes on in the next line after a backslash.
    section = re.sub(r"\s*\\\n\s*", " ", section)
    entries = {}
    for entry in re.split(r"\n(?=\S)", section):
        head, _, description = entry.partition("\n")
        names, _, kind = head.partition(" : ")
        description = " ".join(description.split())
        if not names.startswith("**"):
            entries |= dict.fromkeys(names.split(", "), (kind, description))
    return entries


def _parameters(cls):
    """Return the parameters that have a name of their own."""
    parameters = inspect.signature(cls).parameters
    return {name: p for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD}


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_docstring_names_every_parameter_with_its_default(cls):
    documented = _entries(_sections(cls.__doc__)["Parameters"])
    parameters = _parameters(cls)
    assert list(documented) == list(parameters)
    for name, parameter in parameters.items():
        default = documented[name][0].partition("default=")[2]
        if name in ARGUMENTS.get(cls.__name__, {}):  # by position, without a default
            assert parameter.default is parameter.empty and not default, name
            continue
        assert ast.literal_eval(default) == parameter.default, name
        assert parameter.kind is parameter.KEYWORD_ONLY, name


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_parameters_have_constraints(cls):
    assert set(cls._parameter_constraints) == set(_parameters(cls))


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


# Parameters that take other values in other estimators, and are worded by them.
WORDED_BY_TYPE = {
    "init",
    "label_loss",
    "lr",
    "metric",
    "output",
    "region_pooling",
    "similarity",
}
# Entries whose common description may be followed by sentences, and what these say.
EXTENDED = {
    "early_stopping": "what held-out rows of single modalities query",
    "embedding_dim": "what it is at least",
    "discriminator_hidden_layer_sizes": "which discriminators have no hidden layer",
    "hidden_layer_sizes": "what follows the layers, and what None takes",
    "lr_decay": "what decays where the phases are not counted in epochs",
    "margin": "its unit",
    "max_epochs": "what replaces it where modalities take turns",
    "quantization_weight": "what is too much",
}
# Entries with a description of their own in each estimator, or in one of them.
WORDED_APART = {
    "estimator": "a classifier of each modality, or the members of an ensemble",
    "estimators_": "by modality, or a list of members",
    "history_": "the losses of the method",
    "module_": "the networks of the method",
    "n_jobs": "what runs at the same time",
    "sampler": "what an epoch and a batch of the method are",
    "CrossModalEnsemble.random_state": "it draws the seeds of the members",
    "ITQHasher.random_state": "it has one random draw",
    "CrossModalNeighbors.feature_names_in_": "columns of one modality, or of codes",
    "CrossModalNeighbors.n_features_in_": "columns of one modality, or of codes",
    "PairTransformer.n_features_in_": "it also takes raw strings",
}


def _common_descriptions():
    """Collect the descriptions that two or more estimators have to share.

    Returns
    -------
    shared : dict of str to dict of str to str
        From each entry, with its type where this decides, to descriptions by estimator.
    """
    found = defaultdict(dict)
    for cls in ESTIMATORS:
        sections = _sections(cls.__doc__)
        for title in ("Parameters", "Attributes"):
            for name, (kind, text) in _entries(sections[title]).items():
                if {name, f"{cls.__name__}.{name}"} & WORDED_APART.keys():
                    continue
                key = (title, name)
                if name in WORDED_BY_TYPE:
                    choices = kind.partition(", default=")[0]
                    key += (*sorted(re.findall(r"[\w.]+", choices)),)
                found[key][cls.__name__] = re.sub(r":math:`.*?`", ":math:", text)
    return {key: texts for key, texts in found.items() if len(texts) > 1}


COMMON = _common_descriptions()


@pytest.mark.parametrize("key", COMMON, ids=" ".join)
def test_common_entries_have_one_wording(key):
    texts = [f"{text} " for text in COMMON[key].values()]
    if key[1] in EXTENDED:
        assert os.path.commonprefix(texts).endswith(". ")
    else:
        assert len(set(texts)) == 1


def test_exceptions_of_the_wording_are_needed():
    several = {key[1] for key, texts in COMMON.items() if len(set(texts.values())) > 1}
    assert several == EXTENDED.keys()
    entries = {
        name: _entries(_sections(cls.__doc__)["Parameters"])
        | _entries(_sections(cls.__doc__)["Attributes"])
        for cls, name in ((cls, cls.__name__) for cls in ESTIMATORS)
    }
    for exception in WORDED_APART:
        name = exception.rpartition(".")[2]
        texts = {own[name][1] for own in entries.values() if name in own}
        assert len(texts) > 1, exception


# The shape of the classes and their names ---------------------------------------


def _own(cls):
    return [c for c in cls.__mro__ if c.__module__.split(".")[0] == "sklearn_cmr"]


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_at_most_three_classes_stand_beside_true_mixins(cls):
    mixins = [c for c in _own(cls) if c.__name__.endswith("Mixin")]
    assert all(mixin.__bases__ == (object,) for mixin in mixins)
    assert len(_own(cls)) - len(mixins) <= 3
    assert set(_own(cls)) - set(mixins) <= {
        cls,
        CrossModalTransformer,
        NetworkTransformer,
    }


def _hooks(cls):
    """Return the private methods and properties that a class defines."""
    return {
        name
        for name, item in vars(cls).items()
        if re.match("_[a-z]", name)
        and (inspect.isfunction(item) or isinstance(item, property))
        and not getattr(item, "__isabstractmethod__", False)
    }


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pair
        for pair in combinations(
            [CrossModalTransformer, NetworkTransformer, *MIXINS], 2
        )
        # No estimator has both.
        if {cls.__name__ for cls in pair} != {"ProjectorMixin", "HasherMixin"}
    ],
)
def test_no_hook_is_defined_twice(first, second):
    assert not _hooks(first) & _hooks(second)


def _sources():
    return sorted(Path(sklearn_cmr.__file__).parent.rglob("*.py"))


def test_super_names_no_class():
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "super":
                assert not node.args, f"{path}:{node.lineno}"


NO_NAMES = (
    "alpha|beta|eta|adv_weight|neg_weight|reg|lr_domain|domain_.*|mse_reduction"
    "|inter_weight|intra_weight"
)


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_one_thing_has_one_name(cls):
    documented = _entries(_sections(cls.__doc__)["Attributes"])
    for name in [*_parameters(cls), *documented]:
        assert not re.fullmatch(NO_NAMES, name)


@pytest.mark.parametrize("cls", METHODS)
def test_parameters_that_every_method_has(cls):
    parameters = inspect.signature(cls).parameters
    common = NetworkTransformer._parameter_constraints.keys()
    assert common <= parameters.keys()
    assert {"missing_labels", "betas", "weight_decay"} <= common
    assert parameters["missing_labels"].default == "raise"
    assert parameters["weight_decay"].default == 0.0
    held_out = [inspect.signature(cls.fit).parameters[n] for n in ("X_val", "y_val")]
    assert all(p.kind is p.KEYWORD_ONLY and p.default is None for p in held_out)


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_modality_is_the_second_argument(cls):
    found = set()
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        # set_{method}_request is scikit-learn's.
        if name.startswith("_") or name.endswith("_request"):
            continue
        parameters = inspect.signature(method).parameters
        if "modality" in parameters and "X" in parameters:
            assert list(parameters)[:3] == ["self", "X", "modality"], name
            kind = parameters["modality"].kind
            assert kind is inspect.Parameter.POSITIONAL_OR_KEYWORD, name
            found.add(name)
    if issubclass(cls, CrossModalTransformer):
        assert "transform_modality" in found


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "cls", [cls for cls in TRANSFORMERS if issubclass(cls, CrossModalTransformer)]
)
def test_encodings_are_written_into_out(cls, monkeypatch):
    rng = np.random.default_rng(0)
    parts = {"image": rng.normal(size=(30, 6)), "text": rng.normal(size=(30, 5))}
    estimator = _small(cls).fit(*parts.values(), np.arange(30) % 3)
    monkeypatch.setattr(_transformer, "_ROWS_AT_ONCE", 11)
    for modality, X in parts.items():
        expected = estimator.transform_modality(X, modality)
        out = np.zeros_like(expected)
        encode = getattr(estimator, f"transform_{modality}")
        assert encode(X, out=out) is out
        np.testing.assert_array_equal(out, expected)


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
    # Estimators inside are equal by their parameters.
    assert repr(copied.get_params()) == repr(estimator.get_params())
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
