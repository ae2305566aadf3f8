"""Files of all objects: by pickle and by skops, sound, damaged and hostile."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import doctest
import inspect
import io
import json
import pickle
import pickletools
import re
import subprocess
import sys
import zipfile
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import EpochTimer

import sklearn_cmr
from sklearn_cmr import (
    TRUSTED_TYPES,
    CCAProjector,
    CrossModalEnsemble,
    CrossModalNeighbors,
    CrossModalRetriever,
    DRCLProjector,
    ITQHasher,
    PairTransformer,
    SemanticMatchingProjector,
    make_pairs,
)
from sklearn_cmr.exceptions import FileVersionWarning
from sklearn_cmr.metrics import make_retrieval_scorer, map_i2t_scorer, map_scorer
from tests.base.methods import METHODS, A, B, make, y

skops = pytest.importorskip("skops.io")

# Epochs are few, and so are the rows.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = make_pairs(A, np.abs(B))


def _search(**options):
    prepare = PairTransformer(image=StandardScaler(), text=TfidfTransformer())
    folds = StratifiedKFold(2, shuffle=True, random_state=0)
    pipeline = make_pipeline(prepare, make(DRCLProjector))
    grid = {"drclprojector__lr": [1e-4, 1e-3]}
    return GridSearchCV(pipeline, grid, cv=folds, **options)


def _of_both(estimator):
    return estimator.transform(X)


def _neighbors(embedded, ids=None):
    return CrossModalNeighbors(n_neighbors=3).fit(embedded, ids=ids)


def _by_image(neighbors):
    return neighbors.kneighbors(_object("DRCLProjector").transform_image(A))


def _by_text(retriever):
    return retriever.query(text=X["text"])


# From a name to what makes an object, and to what it is for.
OBJECTS = {
    **{
        cls.__name__: (lambda cls=cls: make(cls, warm_start=True).fit(X, y), _of_both)
        for cls in METHODS
    },
    "CCAProjector": (lambda: CCAProjector().fit(X, y), _of_both),
    "SemanticMatchingProjector": (
        lambda: SemanticMatchingProjector().fit(X, np.eye(3)[y]),
        _of_both,
    ),
    "ITQHasher": (lambda: ITQHasher(n_bits=4).fit(X, y), _of_both),
    "names of classes": (
        lambda: make(DRCLProjector).fit(X, np.array(["a", "b", "c"], object)[y]),
        _of_both,
    ),
    "PairTransformer": (
        lambda: PairTransformer(image=StandardScaler(), text="passthrough").fit(X),
        _of_both,
    ),
    "search": (lambda: _search(scoring=map_scorer).fit(X, y), _of_both),
    "search by two scorers": (
        lambda: _search(
            scoring={"map": map_i2t_scorer, "ndcg": make_retrieval_scorer("ndcg", k=5)},
            refit="map",
        ).fit(X, y),
        _of_both,
    ),
    "ensemble of seeds": (
        lambda: CrossModalEnsemble(make(METHODS[-1]), n_estimators=2).fit(X, y),
        _of_both,
    ),
    "ensemble of methods": (
        lambda: CrossModalEnsemble(
            [("drcl", make(DRCLProjector)), ("cca", CCAProjector())]
        ).fit(X, y),
        _of_both,
    ),
    "neighbors": (
        lambda: _neighbors(_object("DRCLProjector").transform_image(A)),
        _by_image,
    ),
    "neighbors with ids": (
        lambda: _neighbors(
            _object("DRCLProjector").transform_image(A),
            [f"item {i}" for i in range(60)],
        ),
        _by_image,
    ),
    "retriever": (
        lambda: CrossModalRetriever(_object("DRCLProjector")).index(image=A),
        _by_text,
    ),
    "retriever of a search": (
        lambda: CrossModalRetriever(_object("search")).index(image=A, ids=range(60)),
        _by_text,
    ),
    "pairs": (lambda: X, lambda pairs: list(pairs.values())),
    "scorer": (lambda: make_retrieval_scorer("recall", k=3), repr),
}
each_object = pytest.mark.parametrize("name", OBJECTS)


@cache
def _object(name):
    return OBJECTS[name][0]()


def assert_equal(first, second):
    assert type(first) is type(second)
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        first, second = list(first.values()), list(second.values())
    if isinstance(first, (list, tuple)):
        for own, other in zip(first, second, strict=True):
            assert_equal(own, other)
    else:
        np.testing.assert_array_equal(first, second)


# -- sound files ---------------------------------------------------------------------


def by_skops(item):
    return skops.loads(skops.dumps(item), trusted=TRUSTED_TYPES)


@pytest.mark.parametrize(
    "stored", [by_skops, lambda item: pickle.loads(pickle.dumps(item)), copy.deepcopy]
)
@each_object
def test_what_is_stored_does_the_same(name, stored):
    use = OBJECTS[name][1]
    assert_equal(use(stored(_object(name))), use(_object(name)))


@pytest.mark.parametrize("name", [cls.__name__ for cls in METHODS])
def test_warm_starts_from_skops_continue_alike(name):
    estimators = [copy.deepcopy(_object(name)), by_skops(_object(name))]
    first, second = (_of_both(estimator.fit(X, y)) for estimator in estimators)
    assert_equal(first, second)


def test_all_public_estimators_are_tried():
    public = [getattr(sklearn_cmr, name) for name in sklearn_cmr.__all__]
    classes = {
        item.__name__
        for item in public
        if inspect.isclass(item) and issubclass(item, BaseEstimator)
    }
    written = " ".join(
        part for name in OBJECTS for part in names_in(pickle.dumps(_object(name), 2))
    )
    assert not {name for name in classes if name not in written}


def test_trusted_types_are_public_names():
    for name in TRUSTED_TYPES:
        module, _, cls = name.rpartition(".")
        found = getattr(sys.modules[module], cls)
        assert f"{found.__module__}.{found.__name__}" == name
        assert name.startswith(("sklearn_cmr.", "sklearn.model_selection."))


def names_in(pickled):
    """Return the names of classes and functions in a pickle of protocol 2."""
    found = pickletools.genops(pickled)
    return {argument for opcode, argument, _ in found if opcode.name == "GLOBAL"}


@each_object
def test_files_name_public_paths_only(name):
    named = names_in(pickle.dumps(_object(name), protocol=2))
    own = [path for path in named if path.startswith("sklearn_cmr")]
    assert own and not [path for path in own if re.search(r"[. ]_", path)]
    untrusted = skops.get_untrusted_types(data=skops.dumps(_object(name)))
    assert set(untrusted) <= set(TRUSTED_TYPES)


def test_every_public_class_says_where_it_is_public():
    packages = [sklearn_cmr, sklearn_cmr.metrics, sklearn_cmr.base]
    for package in packages:
        for name in package.__all__:
            item = getattr(package, name)
            if inspect.isclass(item):
                assert not re.search(r"\._", item.__module__), item
                own = [m for m in vars(item).values() if inspect.isfunction(m)]
                assert not own or inspect.getsource(own[0])


def test_objects_of_others_are_listed_for_the_reader():
    estimator = make(DRCLProjector, callbacks=[("timer", EpochTimer())]).fit(X, y)
    data = skops.dumps(estimator)
    untrusted = set(skops.get_untrusted_types(data=data)) - set(TRUSTED_TYPES)
    assert any("EpochTimer" in name for name in untrusted)
    with pytest.raises(Exception, match="EpochTimer"):
        skops.loads(data, trusted=TRUSTED_TYPES)
    loaded = skops.loads(data, trusted=[*TRUSTED_TYPES, *untrusted])
    assert_equal(_of_both(loaded), _of_both(estimator))


def test_folders_of_checkpoints_are_no_paths_of_one_system(tmp_path):
    estimator = make(DRCLProjector, checkpoint=tmp_path).fit(X, y)
    assert set(skops.get_untrusted_types(data=skops.dumps(estimator))) <= set(
        TRUSTED_TYPES
    )
    assert "PosixPath" not in str(names_in(pickle.dumps(estimator, protocol=2)))
    for loaded in (by_skops(estimator), pickle.loads(pickle.dumps(estimator))):
        assert loaded.checkpoint == tmp_path
        assert_equal(_of_both(loaded), _of_both(estimator))


@pytest.mark.parametrize("name", ["checkpoint", "device", "encoders"])
@pytest.mark.parametrize("value", [{"a": 1}, {}, 3])
def test_wrong_parameters_stay_for_fit_to_refuse(name, value):
    estimator = make(DRCLProjector, **{name: value})
    loaded = pickle.loads(pickle.dumps(estimator))
    assert loaded.get_params()[name] == value


@pytest.mark.parametrize("module", [pickle, skops], ids=["pickle", "skops"])
@pytest.mark.parametrize("package", ["sklearn_cmr", "sklearn"])
@pytest.mark.parametrize("name", ["CCAProjector", "PairTransformer", "neighbors"])
def test_other_versions_are_warned_of(name, package, module, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(f"{package}.__version__", "0.0.7")
        data = module.dumps(_object(name))
    trust = {"trusted": TRUSTED_TYPES} if module is skops else {}
    with pytest.warns(FileVersionWarning, match=f"{package} 0.0.7 .here") as caught:
        loaded = module.loads(data, **trust)
    assert caught[0].message.written[package] == "0.0.7"
    assert "may fail or give other results" in str(caught[0].message)
    use = OBJECTS[name][1]
    assert_equal(use(loaded), use(_object(name)))


def test_examples_of_the_page_on_saving(tmp_path, monkeypatch):
    page = Path(__file__).parent.parent / "docs" / "saving.rst"
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(page), module_relative=False)
    assert tried > 10 and not failed


# -- damaged files -------------------------------------------------------------------


@cache
def _tiny(name):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 12)
    pair = rng.normal(size=(12, 2)).astype("f4"), rng.normal(size=(12, 2)).astype("f4")
    if name == "network":
        estimator = make(DRCLProjector, embedding_dim=2, hidden_layer_sizes=(2,))
    else:
        estimator = SemanticMatchingProjector()
    return estimator.fit(*pair, labels), pair


def _write(folder, name):
    """Write a small model by pickle and by skops, with what it encodes."""
    model, pair = _tiny(name)
    (folder / f"{name}.pickle").write_bytes(pickle.dumps(model))
    skops.dump(model, folder / f"{name}.skops", compression=zipfile.ZIP_DEFLATED)
    np.savez(folder / f"{name}.npz", image=pair[0], text=pair[1])


# It runs in a process of its own, with little memory: a damaged pickle may ask for
# any amount, or end the process. It prints how many damaged files were refused, gave
# the same model, or another one.
_ATTACK = """
import contextlib, io, json, pickle, resource, sys, warnings
import numpy as np
import skops.io
from sklearn_cmr import DRCLProjector, SemanticMatchingProjector, TRUSTED_TYPES

folder, *names = sys.argv[1:]
warnings.simplefilter("ignore")


def describe(data, kind, pair):
    if kind == "pickle":
        model = pickle.loads(data)
    else:
        model = skops.io.loads(data, trusted=TRUSTED_TYPES)
    outputs = model.transform(pair)
    return [type(model).__name__, *(outputs[name].tobytes() for name in pair)]


def attack(data, kind, how, pair):
    expected = describe(data, kind, pair)
    counts = {"refused": 0, "same": 0, "other": []}
    rng = np.random.default_rng(0)
    for position in range(len(data)):
        damaged = bytearray(data[:position] if how == "cut" else data)
        if how == "flip":
            damaged[position] ^= 1 << rng.integers(8)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                found = describe(bytes(damaged), kind, pair)
        except Exception:
            counts["refused"] += 1
        else:
            if found == expected:
                counts["same"] += 1
            else:
                counts["other"].append(position)
    return counts


in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + 2**30,) * 2)
counts = {}
for name in names:
    pair = dict(np.load(f"{folder}/{name}.npz"))
    for kind in "pickle", "skops":
        data = open(f"{folder}/{name}.{kind}", "rb").read()
        for how in "cut", "flip":
            counts[f"{name} {kind} {how}"] = attack(data, kind, how, pair)
print(json.dumps(counts))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as on Linux")
def test_damaged_files_are_refused_or_give_the_same_model(tmp_path):
    """Cut off at every place, and with a flipped bit in every byte."""
    for name in ("network", "closed"):
        _write(tmp_path, name)
    run = subprocess.run(
        [sys.executable, "-c", _ATTACK, str(tmp_path), "network", "closed"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    for what, counts in json.loads(run.stdout).items():
        assert not counts["other"], what
        assert counts["refused"] > 5, what


# -- hostile files -------------------------------------------------------------------


def forge(monkeypatch, **changes):
    """Return files with changes in the state and a right digest, by kind."""
    model, _ = _tiny("network")
    state = model._to_state() | changes
    with monkeypatch.context() as patch:
        patch.setattr(DRCLProjector, "_to_state", lambda self: state)
        return {"pickle": pickle.dumps(model), "skops": skops.dumps(model)}


def load(kind, data):
    if kind == "pickle":
        return pickle.loads(data)
    return skops.loads(data, trusted=TRUSTED_TYPES)


@pytest.mark.parametrize("kind", ["pickle", "skops"])
def test_forged_networks_are_refused(kind, monkeypatch):
    state = _tiny("network")[0]._to_state()
    build, packed = state["_builds"][0], state["module_"]
    wide = build | {"settings": build["settings"] | {"hidden_layer_sizes": (10**9,)}}
    weights = packed["weights"]
    nan = {name: np.full_like(array, np.nan) for name, array in weights.items()}
    refused = pytest.raises(ValueError, match="holds no networks")
    for changes in (
        {"_builds": [wide]},
        {"_builds": []},
        {"_builds": None},
        {"module_": packed | {"weights": nan}},
        {"module_": packed | {"weights": {}}},
        {"module_": None},
        {"_moments": None},
        {"_moments": {"image": {"prior.weight": {"exp_avg": np.zeros(3)}}}},
        {"_moments": {"image": {"unknown": {"exp_avg": np.zeros(3)}}}},
        {"classes_": np.arange(10**6)},
    ):
        data = forge(monkeypatch, **changes)[kind]
        with refused:
            load(kind, data)
    assert load(kind, forge(monkeypatch)[kind]).transform(_pair_of("network"))


def _pair_of(name):
    return dict(zip(("image", "text"), _tiny(name)[1], strict=True))


def rewrite(data, change):
    """Return an archive whose members a function has changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stored.getvalue()


def _first_array(members):
    return next(name for name in members if name.endswith(".npy"))


def _claim_a_size(members):
    stored = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**9, 10**9)}
    np.lib.format.write_array_header_1_0(stored, header)
    members[_first_array(members)] = stored.getvalue() + b"1234"


def _hide_a_pickle(members):
    stored = io.BytesIO()
    np.save(stored, np.array([_Alarm()]), allow_pickle=True)
    members[_first_array(members)] = stored.getvalue()


def _name_a_file_outside(members):
    schema = members["schema.json"].decode()
    name = _first_array(members)
    members["schema.json"] = schema.replace(name, "../../secret.npy").encode()


def _name_a_function(members):
    schema = members["schema.json"].decode()
    schema = schema.replace('"DRCLProjector"', '"system"', 1)
    members["schema.json"] = schema.replace('"sklearn_cmr"', '"os"', 1).encode()


def _name_the_class(members, name):
    schema = members["schema.json"].decode()
    members["schema.json"] = schema.replace("DRCLProjector", name, 1).encode()


class _Alarm:
    """What runs code when it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("A pickle was loaded.",)


@pytest.mark.parametrize(
    "change",
    [
        _claim_a_size,
        _hide_a_pickle,
        _name_a_file_outside,
        _name_a_function,
        partial(_name_the_class, name="GoneProjector"),
        partial(_name_the_class, name="ACMRProjector"),
        lambda members: members.pop(_first_array(members)),
        lambda members: members.pop("schema.json"),
    ],
)
def test_hostile_archives_are_refused(change):
    data = rewrite(skops.dumps(_tiny("network")[0]), change)
    with pytest.raises(Exception) as caught:
        skops.loads(data, trusted=TRUSTED_TYPES)
    assert isinstance(caught.value, (ValueError, KeyError, MemoryError, TypeError)) or (
        "Untrusted" in type(caught.value).__name__
    )


def test_names_in_an_archive_write_no_files(tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")

    def add(members):
        members |= {"../outside.txt": b"x", "/tmp/outside.txt": b"x", "inside": b"x"}

    data = rewrite(skops.dumps(_tiny("network")[0]), add)
    assert skops.loads(data, trusted=TRUSTED_TYPES).transform(_pair_of("network"))
    assert [path.name for path in tmp_path.rglob("*")] == ["inner"]


def test_pickle_is_no_archive():
    with pytest.raises(zipfile.BadZipFile):
        skops.loads(pickle.dumps(_Alarm()), trusted=TRUSTED_TYPES)


def test_checksums_of_an_archive_are_looked_at():
    data = bytearray(skops.dumps(_tiny("closed")[0]))
    # In the coefficients of scikit-learn's estimators, which have no digest of ours.
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        member = archive.getinfo(_first_array(archive.namelist()))
    data[member.header_offset + 30 + len(member.filename) + member.file_size - 1] ^= 1
    with pytest.raises(zipfile.BadZipFile, match="CRC"):
        skops.loads(bytes(data), trusted=TRUSTED_TYPES)
