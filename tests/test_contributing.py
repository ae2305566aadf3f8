"""CONTRIBUTING.md says what is true, and its methods work."""

# SPDX-License-Identifier: BSD-3-Clause

import ast
import inspect
import io
import re
import sys
import tokenize
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

import sklearn_cmr
from sklearn_cmr import ACMRProjector, PairTransformer, make_pairs
from sklearn_cmr.base import NetworkTransformer, _mixins
from sklearn_cmr.datasets import make_cross_modal_classification
from sklearn_cmr.metrics import map_scorer

# The checks pass arrays of any width to default-constructed estimators.
pytestmark = [
    pytest.mark.filterwarnings("ignore:n_image_features is not set"),
    pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names"),
]

PACKAGE = Path(sklearn_cmr.__file__).parent
TESTS = Path(__file__).parent
CONTRIBUTING = TESTS.parent / "CONTRIBUTING.md"
MODULES = {
    path.relative_to(PACKAGE): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}
METHOD_ROOMS = ("projection", "hashing")
# Whatever a method builds on must not know any method.
FLOORS = ("_inputs", "codes", "metrics", "neighbors", "nn", "training")
_MAX_LINES_OF_CODE = 500


def _text():
    return CONTRIBUTING.read_text(encoding="utf-8")


# -- the layout ----------------------------------------------------------------------


def _room(path):
    """Return the folder or the file, of those right below the package, of a module."""
    return path.parts[0].removesuffix(".py")


def _table():
    """Return, for each room that the table names, those that it may import."""
    head = "| room | holds | may import |\n|---|---|---|\n"
    rows = _text().partition(head)[2].partition("\n\n")[0].splitlines()
    cells = [row.strip("|").split("|") for row in rows]
    rooms = [room.strip(" `/") for room, _, _ in cells]
    tools = rooms[:5]
    allowed = [set(re.findall(r"`(\w+)`", names)) for _, _, names in cells]
    return {
        room: own if room in tools else own.union(tools)
        for room, own in zip(rooms, allowed, strict=True)
    }


def _own_imports(path):
    """Yield the modules of the package that a module imports, with the names."""
    for node in ast.walk(MODULES[path]):
        if isinstance(node, ast.Import):
            imported = [(name.name, "") for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            imported = [(node.module, name.name) for name in node.names]
        else:
            continue
        for module, name in imported:
            if module.split(".")[0] == "sklearn_cmr":
                yield (module, name) if "." in module else (f"{module}.{name}", "")


def _imported_rooms():
    """Return the rooms that each room imports; the package's own names are no room."""
    rooms = {}
    for path in MODULES:
        if path != Path("__init__.py"):
            imported = {module.split(".")[1] for module, _ in _own_imports(path)}
            imported -= {_room(path), "__version__"}
            rooms.setdefault(_room(path), set()).update(imported)
    return rooms


def _methods():
    """Return the modules or packages of the methods, such as "projection._acmr"."""
    return {
        f"{room}.{path.stem}"
        for room in METHOD_ROOMS
        for path in (PACKAGE / room).glob("_[a-z]*")
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }


def test_the_table_names_every_room():
    rooms = {_room(path) for path in MODULES} - {"__init__"}
    assert set(_table()) == rooms


@pytest.mark.parametrize("room", _table())
def test_a_room_imports_only_what_the_table_allows(room):
    assert _imported_rooms()[room] <= _table()[room]


def test_arrows_run_one_way():
    # It raises CycleError, which names the rooms of a cycle.
    tuple(TopologicalSorter(_table()).static_order())
    tuple(TopologicalSorter(_imported_rooms()).static_order())


def test_the_table_keeps_the_floors_apart():
    allowed = _table()
    for room in FLOORS:
        above = {"base", *METHOD_ROOMS}
        if room != "training":
            above.add("training")
        assert not allowed[room] & above, room
    assert not allowed["training"] & {"_inputs", "codes", "metrics", "neighbors"}
    # Iterative quantization has a projector by default.
    above = {room: allowed[room] & set(METHOD_ROOMS) for room in allowed}
    assert above.pop("hashing") == {"projection"}
    assert not any(above.values())


def test_only_init_files_import_a_method():
    methods = _methods()
    assert {"projection._acmr", "hashing._ssah"} <= methods
    for path in MODULES:
        if path.parts in [
            ("__init__.py",),
            *((r, "__init__.py") for r in METHOD_ROOMS),
        ]:
            continue
        own = ".".join(path.with_suffix("").parts[:2])
        for module, name in _own_imports(path):
            parts = [*module.split(".")[1:], name]
            assert ".".join(parts[:2]) not in methods - {own}, path


def test_private_names_stay_in_their_module():
    for path in MODULES:
        for module, name in _own_imports(path):
            is_module = PACKAGE.parent.joinpath(
                *module.split("."), f"{name}.py"
            ).exists()
            assert not name.startswith("_") or is_module, f"{path} imports {name}"


def _count_lines_of_code(path):
    """Count the lines that are neither blank nor comments nor docstrings."""
    source = (PACKAGE / path).read_text(encoding="utf-8")
    nothing = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER}
    nothing |= {tokenize.INDENT, tokenize.DEDENT}
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in nothing:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(MODULES[path]):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines.difference_update(range(node.lineno, node.end_lineno + 1))
    return len(lines)


def test_modules_are_as_short_as_promised():
    assert f"most {_MAX_LINES_OF_CODE} lines of code" in _text()
    lengths = {path: _count_lines_of_code(path) for path in MODULES}
    too_long = {str(p): n for p, n in lengths.items() if n > _MAX_LINES_OF_CODE}
    assert not too_long


def test_every_room_and_every_method_has_tests():
    exempt = {"_arrays", "_lazy", "_warnings", "exceptions", "_state", "_inputs"}
    for room in set(_table()) - exempt:
        places = [TESTS / room, TESTS / f"test_{room.lstrip('_')}.py"]
        assert any(place.exists() for place in places), room
    for method in _methods():
        room, name = method.split("._")
        assert (TESTS / room / f"test_{name}.py").exists(), method


def test_named_files_exist():
    named = re.findall(r"`((?:tests|sklearn_cmr|benchmarks)/[\w./]+)`", _text())
    example = "sklearn_cmr/projection/_contrastive.py"
    assert len(named) > 5 and example in named
    for path in {*named} - {example}:
        assert (TESTS.parent / path).exists(), path


def test_mixins_inherit_object_and_write_no_hook():
    for mixin in _mixins.MIXINS:
        assert mixin.__bases__ == (object,)
        written = NetworkTransformer.__abstractmethods__ & set(vars(mixin))
        assert not written | ({"_fit", "_encode"} & set(vars(mixin))), mixin


def test_mixins_after_the_base_class_are_refused():
    with pytest.raises(TypeError, match="ProjectorMixin must come before"):
        type("Wrong", (NetworkTransformer, _mixins.ProjectorMixin), {})


# -- the methods that it shows ---------------------------------------------------------


def _listing(name):
    """Run the listing that defines a class, as a module that pickle finds."""
    listings = re.findall(r"```python\n(.*?)```", _text(), re.DOTALL)
    (code,) = [code for code in listings if f"class {name}(" in code]
    module = ModuleType(f"listing_{name}")
    sys.modules[module.__name__] = module
    exec(compile(code, str(CONTRIBUTING), "exec"), vars(module))
    return module


contrastive = _listing("ContrastiveProjector")
ContrastiveProjector = contrastive.ContrastiveProjector


class RidgeProjector(_listing("RidgeProjector").RidgeProjector):
    """The sketch with the constructor that it leaves out."""

    _parameter_constraints = {
        name: ACMRProjector._parameter_constraints[name]
        for name in ("metric", "missing_labels", "n_image_features")
    }

    def __init__(
        self, *, metric="cosine", missing_labels="raise", n_image_features=None
    ):
        self.metric = metric
        self.missing_labels = missing_labels
        self.n_image_features = n_image_features


SMALL = [ContrastiveProjector(embedding_dim=8, max_epochs=2), RidgeProjector()]


@pytest.fixture(scope="module")
def data():
    pairs = make_cross_modal_classification(400, n_classes=4, random_state=0)
    return train_test_split(*pairs, random_state=0)


# Some checks pass features that are nearly constant, which networks warn of.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(SMALL)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", SMALL, ids=lambda item: type(item).__name__)
@pytest.mark.parametrize(
    "check",
    [
        "check_dataframe_column_names_consistency",
        "check_param_validation",
        "check_set_output_transform_pandas",
        "check_transformer_get_feature_names_out_pandas",
    ],
)
def test_more_scikit_learn_checks(estimator, check):
    pytest.importorskip("pandas")
    getattr(estimator_checks, check)(type(estimator).__name__, estimator)


@pytest.mark.parametrize(
    "estimator", [ContrastiveProjector(max_epochs=20, random_state=0), RidgeProjector()]
)
def test_it_learns(estimator, data):
    A, A_test, B, B_test, y, y_test = data
    estimator.fit(A, B, y)
    chance = estimator.score(
        A_test, B_test, np.random.RandomState(0).permutation(y_test)
    )
    assert estimator.score(A_test, B_test, y_test) > chance + 0.4


def test_the_loss_is_that_of_the_docstring():
    rng = np.random.RandomState(0)
    u, v = rng.randn(2, 6, 3)
    y = np.eye(3)[[0, 1, 2, 0, 1, 0]]
    y[3, 1] = 1
    tau = 0.7

    def share(queries, items, i, j):
        similar = [np.exp(queries[i] @ item / tau) for item in items]
        return np.log(similar[j] / sum(similar))

    expected = 0.0
    for i in range(6):
        positives = [j for j in range(6) if y[i] @ y[j] > 0]
        for j in positives:
            both = share(u, v, i, j) + share(v, u, i, j)
            expected -= both / len(positives) / (2 * 6)
    tensors = [torch.from_numpy(part) for part in (u, v, y)]
    assert_allclose(contrastive.contrastive_loss(*tensors, tau).item(), expected)


def test_the_listing_works_with_the_tools_of_scikit_learn(data):
    A, _, B, _, y, _ = data
    standardize = PairTransformer(image=StandardScaler(), text=StandardScaler())
    estimator = ContrastiveProjector(max_epochs=2, early_stopping=True, random_state=0)
    search = GridSearchCV(
        make_pipeline(standardize, estimator),
        {"contrastiveprojector__temperature": [0.1, 1.0]},
        scoring=map_scorer,
        cv=2,
    ).fit(make_pairs(A, B), y)
    best = search.best_estimator_[-1]
    assert best.n_iter_ == 2 and "valid_map" in best.history_[-1]


def _documented(cls):
    section = re.search(
        r"Parameters\n-+\n(.*?)\n\n\w+\n-+\n", inspect.getdoc(cls), re.DOTALL
    )
    return {
        name
        for names in re.findall(r"^(\w[\w, ]*) : ", section[1], re.MULTILINE)
        for name in names.split(", ")
    }


def test_the_missing_entries_of_the_docstring_are_those_of_acmr():
    parameters = set(inspect.signature(ContrastiveProjector).parameters)
    own = _documented(ContrastiveProjector)
    assert own == {"temperature"}
    assert parameters - own <= _documented(ACMRProjector)
