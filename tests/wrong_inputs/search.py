"""Wrong inputs of galleries, retrievers and codes."""

# SPDX-License-Identifier: BSD-3-Clause

import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import torch
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_cmr import (
    CrossModalNeighbors,
    CrossModalRetriever,
    SemanticMatchingProjector,
    codes,
)
from tests.wrong_inputs.rows import (
    CODES,
    IMAGE,
    PAIRS,
    TEXT,
    N,
    Row,
    Thing,
    Y,
    changed,
)

PACKED = codes.pack_codes(CODES)
NAMES = [f"item {i}" for i in range(N)]
_X = "X cannot be used: "
_GALLERIES = {"real": IMAGE, "codes": CODES, "packed": PACKED}


def _gallery(kind="real", ids=None, **params):
    params = {"n_neighbors": 2} | params
    return CrossModalNeighbors(**params).fit(_GALLERIES[kind], ids=ids)


def _find(X, kind="real", **options):
    return lambda: _gallery(kind).kneighbors(X, **options)


_MATRICES = [
    ("vector", IMAGE[:, 0], ValueError, f"{_X}Expected 2D array, got 1D array"),
    ("3-D array", IMAGE[..., None], ValueError, f"{_X}Found array with dim 3"),
    ("no rows", np.empty((0, 4)), ValueError, f"{_X}Found array with 0 sample"),
    ("NaN", changed(IMAGE, np.nan), ValueError, "Input X contains NaN"),
    ("complex numbers", IMAGE + 1j, ValueError, f"{_X}Complex data not supported"),
    ("words", np.full((N, 4), "a"), ValueError, f"{_X}dtype='numeric' is not"),
    ("objects", np.full((N, 4), Thing()), TypeError, f"{_X}float"),
    ("huge integers", [[10**400] * 4] * N, ValueError, f"{_X}int too large"),
    ("ragged", [[1.0]] * 11 + [[1.0, 2.0]], ValueError, "X must have the same number"),
    (
        "dates",
        np.full((N, 4), np.datetime64("2020-01-01")),
        ValueError,
        "X must hold numbers, got the dtype datetime64",
    ),
    ("CSR", sparse.csr_array(IMAGE), TypeError, "Sparse data was passed for X"),
    ("sparse tensor", torch.tensor(IMAGE).to_sparse(), TypeError, "X is a tensor that"),
    (
        "lazy frame",
        pl.LazyFrame({"a": [1.0]}),
        TypeError,
        "X is a LazyFrame, whose rows",
    ),
    ("set", {1}, ValueError, f"{_X}Expected 2D array, got scalar array"),
    (
        "both modalities",
        PAIRS,
        ValueError,
        "X must hold the rows of one modality, got a",
    ),
    (
        "categories",
        pd.DataFrame({"a": pd.Categorical(["x"])}),
        ValueError,
        "X must hold",
    ),
]
ROWS = []
for _name, _matrix, _error, _message in _MATRICES:
    ROWS += [
        Row(
            f"gallery: {_name}",
            lambda X=_matrix: CrossModalNeighbors().fit(X),
            _error,
            _message,
        ),
        Row(f"queries: {_name}", _find(_matrix), _error, _message),
        Row(
            f"add: {_name}",
            lambda X=_matrix: _gallery().add(X),
            _error,
            _message,
        ),
        Row(
            f"update: {_name}",
            lambda X=_matrix: _gallery().update(X, ids=range(N)),
            _error,
            _message,
        ),
        Row(
            f"radius: {_name}",
            lambda X=_matrix: _gallery().radius_neighbors(X),
            _error,
            _message,
        ),
    ]

_FORM = "X has the dtype .*, but the gallery holds "
_UNIQUE = "ids must be unique, but"
_ABSENT = "1 of 1 (rows|ids) are not in the gallery, such as"
_ROWS = "The items have no ids, but their row numbers"
ROWS += [
    Row(name, call, error, message)
    for name, call, error, message in [
        (
            "queries of another width",
            _find(IMAGE[:, 1:]),
            ValueError,
            "X has 3 features, but CrossModalNeighbors is expecting 4",
        ),
        (
            "real queries of codes",
            _find(IMAGE, "codes"),
            ValueError,
            f"{_FORM}codes of -1",
        ),
        (
            "packed queries of codes",
            _find(PACKED, "codes"),
            ValueError,
            f"{_FORM}codes of -1",
        ),
        (
            "codes as queries of packed bits",
            _find(CODES, "packed"),
            ValueError,
            f"{_FORM}packed",
        ),
        (
            "codes as queries of real values",
            _find(CODES),
            ValueError,
            f"{_FORM}real values",
        ),
        (
            "packed queries of another width",
            _find(PACKED[:, :1], "packed"),
            ValueError,
            "X has 1 features, but",
        ),
        (
            "codes with zeros",
            lambda: CrossModalNeighbors().fit(CODES * (CODES > 0)),
            ValueError,
            "Codes must be -1 or .1, but X contains the value 0",
        ),
        (
            "real values as codes",
            lambda: _gallery(metric="hamming"),
            ValueError,
            "Codes must be -1 or .1, but X contains",
        ),
        (
            "booleans",
            lambda: CrossModalNeighbors().fit(IMAGE > 0),
            ValueError,
            "metric='auto' cannot be resolved: X has the dtype bool",
        ),
        (
            "before fit",
            lambda: CrossModalNeighbors().kneighbors(IMAGE),
            NotFittedError,
            "This CrossModalNeighbors instance is not fitted yet",
        ),
        (
            "save before fit",
            lambda: CrossModalNeighbors().save("no-such-folder"),
            NotFittedError,
            "This CrossModalNeighbors instance is not fitted yet",
        ),
        (
            "k=0",
            _find(IMAGE, n_neighbors=0),
            ValueError,
            "n_neighbors == 0, must be >= 1",
        ),
        (
            "k of 13 items",
            _find(IMAGE, n_neighbors=13),
            ValueError,
            "Expected n_neighbors <= n_samples_fit",
        ),
        (
            "k of all others",
            _find(None, n_neighbors=12),
            ValueError,
            "Expected n_neighbors < n_samples_fit",
        ),
        (
            "k=1.5",
            _find(IMAGE, n_neighbors=1.5),
            TypeError,
            "n_neighbors must be an instance of int",
        ),
        (
            "k as string",
            _find(IMAGE, n_neighbors="2"),
            TypeError,
            "n_neighbors must be an instance of int",
        ),
        (
            "radius -1",
            lambda: _gallery().radius_neighbors(IMAGE, -1),
            ValueError,
            "radius == -1, must be >= 0",
        ),
        (
            "radius nan",
            lambda: _gallery().radius_neighbors(IMAGE, float("nan")),
            ValueError,
            "radius is nan, must be a number",
        ),
        (
            "radius as string",
            lambda: _gallery().radius_neighbors(IMAGE, "1"),
            TypeError,
            "radius must be an instance of float",
        ),
        (
            "mask of another length",
            _find(IMAGE, subset=[True]),
            ValueError,
            "A mask of the gallery needs 12 entries",
        ),
        (
            "mask of nothing",
            _find(IMAGE, subset=[False] * N),
            ValueError,
            "subset leaves no item to search",
        ),
        (
            "2-D subset",
            _find(IMAGE, subset=np.ones((N, 2))),
            ValueError,
            "subset must be one-dimensional, .* shape .12, 2.",
        ),
        (
            "ragged subset",
            _find(IMAGE, subset=[[1], [1, 2]]),
            ValueError,
            "subset must have the same number",
        ),
        (
            "subset as string",
            _find(IMAGE, subset="all"),
            ValueError,
            "subset must be one-dimensional",
        ),
        ("subset of floats", _find(IMAGE, subset=[0.5]), ValueError, _ROWS),
        ("subset of unknown rows", _find(IMAGE, subset=[99]), ValueError, _ABSENT),
        ("subset of rows twice", _find(IMAGE, subset=[1, 1]), ValueError, _UNIQUE),
        (
            "k of a small subset",
            _find(IMAGE, subset=[1], n_neighbors=2),
            ValueError,
            "Expected n_neighbors <= n_samples_fit",
        ),
        (
            "fewer ids",
            lambda: _gallery(ids=[1, 2]),
            ValueError,
            "Got 2 ids for 12 rows",
        ),
        ("ids twice", lambda: _gallery(ids=[1] * N), ValueError, _UNIQUE),
        (
            "2-D ids",
            lambda: _gallery(ids=np.ones((N, 2))),
            ValueError,
            "ids must be one-dimensional, .* shape .12, 2.",
        ),
        (
            "ids that are a string",
            lambda: _gallery(ids="abc"),
            ValueError,
            "ids must be one-dimensional",
        ),
        (
            "ids of sets",
            lambda: _gallery(ids=[{1}] * N),
            TypeError,
            "ids must be numbers or names, got {1}",
        ),
        (
            "dicts to remove",
            lambda: _gallery(ids=NAMES).remove([{}]),
            TypeError,
            "ids must be numbers or names, got {}",
        ),
        (
            "gallery of one name",
            lambda: CrossModalNeighbors().fit(pd.DataFrame(IMAGE, columns=[*"aaaa"])),
            ValueError,
            "X cannot be used: Expected unique column names",
        ),
        (
            "ids of lists",
            lambda: _gallery(ids=[[1], [1, 2]] * 6),
            ValueError,
            "ids must have the same number",
        ),
        (
            "ids of another kind",
            lambda: _gallery(ids=NAMES).add(IMAGE[:1], ids=[3]),
            ValueError,
            "The new ids have the dtype",
        ),
        (
            "ids of some",
            lambda: _gallery().add(IMAGE[:1], ids=[3]),
            ValueError,
            "Either all items of a gallery must have ids or none",
        ),
        (
            "no ids of some",
            lambda: _gallery(ids=NAMES).add(IMAGE[:1]),
            ValueError,
            "Either all items of a gallery must have ids or none",
        ),
        (
            "ids that are known",
            lambda: _gallery(ids=NAMES).add(IMAGE[:1], ids=NAMES[:1]),
            ValueError,
            _UNIQUE,
        ),
        (
            "unknown ids to remove",
            lambda: _gallery(ids=NAMES).remove(["x"]),
            ValueError,
            _ABSENT,
        ),
        (
            "unknown rows to remove",
            lambda: _gallery().remove([12]),
            ValueError,
            _ABSENT,
        ),
        ("-1 to remove", lambda: _gallery().remove([-1]), ValueError, _ABSENT),
        ("a mask to remove", lambda: _gallery().remove([True] * N), ValueError, _ROWS),
        (
            "all to remove",
            lambda: _gallery().remove(range(N)),
            ValueError,
            "All 12 items would be removed",
        ),
        (
            "a number to remove",
            lambda: _gallery().remove(3),
            ValueError,
            "ids must be one-dimensional",
        ),
        (
            "None to remove",
            lambda: _gallery().remove(None),
            ValueError,
            "ids must be one-dimensional",
        ),
        (
            "unknown ids to update",
            lambda: _gallery(ids=NAMES).update(IMAGE[:1], ids=["x"]),
            ValueError,
            _ABSENT,
        ),
        (
            "fewer ids to update",
            lambda: _gallery().update(IMAGE, ids=[1]),
            ValueError,
            "Got 1 ids for 12 rows",
        ),
        (
            "more columns to add",
            lambda: _gallery().add(np.hstack([IMAGE, IMAGE])),
            ValueError,
            "X has 8 features, but",
        ),
        (
            "codes to add to packed bits",
            lambda: _gallery("packed").add(CODES),
            ValueError,
            f"{_FORM}packed bits",
        ),
        (
            "unknown parameter of hnsw",
            lambda: _gallery(algorithm="hnsw", algorithm_params={"m": 3}),
            ValueError,
            "algorithm_params of 'hnsw' are",
        ),
        (
            "graph of one link",
            lambda: _gallery(algorithm="hnsw", algorithm_params={"n_links": 1}),
            ValueError,
            r"algorithm_params\['n_links'\] == 1, must be >= 2",
        ),
        (
            "graph of True links",
            lambda: _gallery(algorithm="hnsw", algorithm_params={"n_links": True}),
            ValueError,
            r"algorithm_params\['n_links'\] == True, must be >= 2",
        ),
        (
            "more links than an integer holds",
            lambda: _gallery(algorithm="hnsw", algorithm_params={"n_links": 2**31}),
            ValueError,
            r"algorithm_params\['n_links'\] == 2147483648, must be <=",
        ),
        (
            "no probes",
            lambda: _gallery(algorithm="ivf", algorithm_params={"n_probes": 0}),
            ValueError,
            r"algorithm_params\['n_probes'\] == 0, must be >= 1",
        ),
        (
            "half a list",
            lambda: _gallery(algorithm="ivf", algorithm_params={"n_lists": 0.5}),
            TypeError,
            r"algorithm_params\['n_lists'\] must be an instance of int",
        ),
        (
            "more lists than items",
            lambda: _gallery(algorithm="ivf", algorithm_params={"n_lists": 50}),
            ValueError,
            "n_lists=50 lists need 39 items each",
        ),
        # Codes.
        (
            "pack zeros",
            lambda: codes.pack_codes(np.zeros((2, 2))),
            ValueError,
            "Codes must be -1 or .1, but codes contains the value 0",
        ),
        (
            "pack bits",
            lambda: codes.pack_codes(np.array([[0, 1]], np.uint8)),
            ValueError,
            "Codes must be -1 or .1, but codes has the dtype uint8",
        ),
        (
            "pack booleans",
            lambda: codes.pack_codes([[True, False]]),
            ValueError,
            "Codes must be -1 or .1, but codes has the dtype bool",
        ),
        (
            "pack halves",
            lambda: codes.pack_codes([[0.5]]),
            ValueError,
            "Codes must be -1 or .1, but codes contains the value 0.5",
        ),
        (
            "pack NaN",
            lambda: codes.pack_codes([[np.nan]]),
            ValueError,
            "Input codes contains NaN",
        ),
        (
            "pack a vector",
            lambda: codes.pack_codes([1, -1]),
            ValueError,
            "codes cannot be used: Expected 2D array",
        ),
        (
            "pack a string",
            lambda: codes.pack_codes("+-"),
            InvalidParameterError,
            "The 'codes' parameter of pack_codes must be an array-like",
        ),
        (
            "pack objects",
            lambda: codes.pack_codes([[Thing()]]),
            TypeError,
            "codes cannot be used: float",
        ),
        (
            "pack dates",
            lambda: codes.pack_codes(np.full((2, 2), np.datetime64("2020"))),
            ValueError,
            "codes must hold numbers, got the dtype",
        ),
        (
            "unpack codes",
            lambda: codes.unpack_codes(CODES, 12),
            ValueError,
            "Packed bits must have the dtype uint8, got int8",
        ),
        (
            "unpack too many bits",
            lambda: codes.unpack_codes(PACKED, 99),
            ValueError,
            "Codes of 99 bits take 13 bytes, but packed has 2 columns",
        ),
        (
            "unpack too few bits",
            lambda: codes.unpack_codes(np.full((1, 1), 255, np.uint8), 3),
            ValueError,
            "packed has set bits beyond the first 3",
        ),
        (
            "unpack no bits",
            lambda: codes.unpack_codes(PACKED, 0),
            InvalidParameterError,
            "The 'n_bits' parameter of unpack_codes",
        ),
        (
            "distances of other widths",
            lambda: codes.hamming_distances(CODES, CODES[:, 1:]),
            ValueError,
            "A has 12 columns and B has 11",
        ),
        (
            "distances of other forms",
            lambda: codes.hamming_distances(CODES, PACKED),
            ValueError,
            "A has the dtype int8 and B has the dtype uint8",
        ),
        (
            "distances of real values",
            lambda: codes.hamming_distances(IMAGE),
            ValueError,
            "Codes must be -1 or .1, but A contains",
        ),
        (
            "distances of None",
            lambda: codes.hamming_distances(None),
            InvalidParameterError,
            "The 'A' parameter of hamming_distances",
        ),
    ]
]

# -- files ---------------------------------------------------------------------------


def _stored(change, name="neighbors.json"):
    """Return a function that loads a gallery, one file of which has changed."""

    def load():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "gallery")
            _gallery(ids=np.arange(N)).save(path)
            change(path / name)
            CrossModalNeighbors.load(path, mmap_mode=None).kneighbors(IMAGE)

    return load


def _header(**values):
    def change(path):
        header = json.loads(path.read_text())
        for key, value in values.items():
            if value is None:
                del header[key]
            else:
                header[key] = value
        path.write_text(json.dumps(header))

    return _stored(change)


def _content(content, name="neighbors.json"):
    return _stored(lambda path: path.write_bytes(content), name)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-8])


def _objects(path):
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)


_DAMAGED = ".*(neighbors.json|gallery.npy|ids.npy) is damaged"
_HEAD = "The header of .* is damaged"
ROWS += [
    Row(f"file: {name}", call, error, message)
    for name, call, error, message in [
        (
            "no folder",
            lambda: CrossModalNeighbors.load("no-such-folder"),
            FileNotFoundError,
            ".*is missing: no-such-folder holds no gallery",
        ),
        (
            "number as folder",
            lambda: CrossModalNeighbors.load(3),
            TypeError,
            "(expected|argument should be a) str.* os.PathLike object.* not '?int",
        ),
        (
            "mode",
            lambda: CrossModalNeighbors.load("x", mmap_mode="w"),
            ValueError,
            "mmap_mode must be 'r' or None, got 'w'",
        ),
        ("empty header", _content(b""), ValueError, _DAMAGED),
        ("no text", _content(b"\xff\x00"), ValueError, _DAMAGED),
        ("a list", _content(b"[1, 2]"), ValueError, _DAMAGED),
        ("null", _content(b"null"), ValueError, _DAMAGED),
        (
            "another format",
            _header(format=99),
            ValueError,
            ".* has the format 99, this version",
        ),
        ("no format", _header(format=None), ValueError, _DAMAGED),
        ("no parameters", _header(parameters=None), ValueError, _HEAD),
        (
            "parameters of another class",
            _header(parameters={"k": 3}),
            ValueError,
            _HEAD,
        ),
        (
            "parameters out of range",
            _header(parameters={"n_neighbors": 0}),
            ValueError,
            _HEAD,
        ),
        ("parameters as a list", _header(parameters=[1]), ValueError, _HEAD),
        (
            "another metric",
            _header(effective_metric="hamming"),
            ValueError,
            "The gallery in .* has the shape",
        ),
        ("unknown metric", _header(effective_metric="l7"), ValueError, _HEAD),
        ("number as metric", _header(effective_metric=3), ValueError, _HEAD),
        (
            "another width",
            _header(n_features_in=9),
            ValueError,
            "The gallery in .* has the shape",
        ),
        (
            "width as string",
            _header(n_features_in="4"),
            ValueError,
            "The gallery in .* has the shape",
        ),
        (
            "another shape",
            _header(shape=[3, 4]),
            ValueError,
            ".* holds an array of shape",
        ),
        ("shape of one number", _header(shape=[3]), ValueError, _DAMAGED),
        ("shape as string", _header(shape="ab"), ValueError, _DAMAGED),
        ("unknown dtype", _header(dtype="<z9"), ValueError, _DAMAGED),
        ("number as dtype", _header(dtype=3), ValueError, _DAMAGED),
        ("names as a number", _header(feature_names_in=3), ValueError, _HEAD),
        (
            "names of other columns",
            _header(feature_names_in=["a"]),
            ValueError,
            _HEAD,
        ),
        (
            "no gallery",
            _stored(Path.unlink, "gallery.npy"),
            FileNotFoundError,
            ".*gallery.npy",
        ),
        (
            "gallery cut",
            _stored(_cut, "gallery.npy"),
            ValueError,
            ".*gallery.npy is damaged or incomplete",
        ),
        (
            "empty gallery",
            _content(b"", "gallery.npy"),
            ValueError,
            ".*gallery.npy is damaged or incomplete",
        ),
        (
            "no array",
            _content(b"hello", "gallery.npy"),
            ValueError,
            ".*gallery.npy is damaged or incomplete",
        ),
        (
            "a pickle",
            _stored(_objects, "gallery.npy"),
            ValueError,
            ".*gallery.npy is damaged or incomplete",
        ),
        (
            "ids cut",
            _stored(_cut, "ids.npy"),
            ValueError,
            ".*ids.npy is damaged or incomplete",
        ),
        (
            "a pickle of ids",
            _stored(_objects, "ids.npy"),
            ValueError,
            ".*ids.npy is damaged or incomplete",
        ),
        (
            "folder that is full",
            _stored(lambda path: _gallery().save(path.parent)),
            FileExistsError,
            ".* is not empty. Save to a new folder",
        ),
        (
            "ids of tuples",
            _stored(
                lambda path: _gallery(ids=np.array(["a", *range(11)], object)).save(
                    path.parent / "x"
                )
            ),
            ValueError,
            "Ids of the dtype object can be saved if all",
        ),
    ]
]

# -- retrievers ------------------------------------------------------------------------


def _retriever(**params):
    model = SemanticMatchingProjector()
    return CrossModalRetriever(model, **{"n_neighbors": 2} | params).fit(IMAGE, TEXT, Y)


def _query(**options):
    return lambda: _retriever().index(image=IMAGE, ids=NAMES).query(**options)


_ONE = "Expected the features of one modality by its name"
ROWS += [
    Row(f"retriever: {name}", call, error, message)
    for name, call, error, message in [
        ("no query", _query(), TypeError, _ONE),
        ("two queries", _query(image=IMAGE, text=TEXT), TypeError, _ONE),
        (
            "unknown modality",
            _query(audio=IMAGE),
            ValueError,
            "modality must be one of .* got 'audio'",
        ),
        ("swapped", _query(text=IMAGE), ValueError, "X has 4 text features"),
        (
            "None",
            _query(text=None),
            TypeError,
            "The text features must be an array, a list",
        ),
        (
            "set",
            _query(text={1}),
            TypeError,
            "The text features must be an array, a list",
        ),
        (
            "generator",
            _query(text=(row for row in TEXT)),
            TypeError,
            "The text features must be",
        ),
        (
            "class",
            _query(text=np.ndarray),
            TypeError,
            "The text features must be an array",
        ),
        (
            "string",
            _query(text="abc"),
            TypeError,
            "got a single string as the text features",
        ),
        (
            "NaN",
            _query(text=changed(TEXT, np.nan)),
            ValueError,
            "Input text features contains NaN",
        ),
        (
            "sparse tensor",
            _query(text=torch.tensor(TEXT).to_sparse()),
            TypeError,
            "text features is a tensor",
        ),
        (
            "lazy frame",
            _query(text=pl.LazyFrame({"a": [1.0]})),
            TypeError,
            "text features is a LazyFrame",
        ),
        (
            "no rows",
            _query(text=TEXT[:0]),
            ValueError,
            "The text features cannot be used: Found array with 0",
        ),
        (
            "k=0",
            _query(text=TEXT, n_neighbors=0),
            ValueError,
            "n_neighbors == 0, must be >= 1",
        ),
        (
            "k of 13 items",
            _query(text=TEXT, n_neighbors=13),
            ValueError,
            "Expected n_neighbors <=",
        ),
        ("unknown subset", _query(text=TEXT, subset=["x"]), ValueError, _ABSENT),
        (
            "frame as string",
            _query(text=TEXT, as_frame="yes"),
            TypeError,
            "as_frame must be an instance of bool",
        ),
        (
            "array to kneighbors",
            lambda: _retriever().index(image=IMAGE).kneighbors(TEXT),
            TypeError,
            _ONE,
        ),
        (
            "not fitted",
            lambda: CrossModalRetriever(SemanticMatchingProjector()).query(text=TEXT),
            NotFittedError,
            "This CrossModalRetriever instance is not fitted yet, nor is its model",
        ),
        (
            "no gallery",
            lambda: _retriever().query(text=TEXT),
            NotFittedError,
            "This CrossModalRetriever instance has no gallery yet",
        ),
        ("index of nothing", lambda: _retriever().index(), TypeError, _ONE),
        (
            "index of two",
            lambda: _retriever().index(image=IMAGE, text=TEXT),
            TypeError,
            _ONE,
        ),
        (
            "index of an array",
            lambda: _retriever().index(IMAGE),
            TypeError,
            "index takes a CrossModalNeighbors alone",
        ),
        (
            "index of no gallery",
            lambda: _retriever().index(CrossModalNeighbors()),
            NotFittedError,
            "This CrossModalNeighbors instance is not fitted",
        ),
        (
            "index and ids",
            lambda: _retriever().index(_gallery(), ids=NAMES),
            TypeError,
            "index takes a CrossModalNeighbors alone",
        ),
        (
            "fewer ids",
            lambda: _retriever().index(image=IMAGE, ids=NAMES[1:]),
            ValueError,
            "Got 11 ids for 12 rows",
        ),
        (
            "add of nothing",
            lambda: _retriever().index(image=IMAGE).add(),
            TypeError,
            _ONE,
        ),
        (
            "remove of an unknown id",
            lambda: _retriever().index(image=IMAGE, ids=NAMES).remove(["x"]),
            ValueError,
            _ABSENT,
        ),
        (
            "update of an unknown id",
            lambda: _retriever().index(image=IMAGE).update(ids=[99], image=IMAGE[:1]),
            ValueError,
            _ABSENT,
        ),
        (
            "another argument of fit",
            lambda: CrossModalRetriever(SemanticMatchingProjector()).fit(
                IMAGE, TEXT, Y, epochs=3
            ),
            TypeError,
            "CrossModalTransformer.fit.. got an unexpected keyword argument",
        ),
        (
            "no model",
            lambda: CrossModalRetriever(),
            TypeError,
            r"CrossModalRetriever.__init__\(\) missing 1 required",
        ),
        (
            "class as model",
            lambda: CrossModalRetriever(SemanticMatchingProjector).fit(IMAGE, TEXT, Y),
            TypeError,
            "Cannot clone object. You should provide an instance",
        ),
    ]
]
