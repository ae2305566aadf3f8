"""Containers of pairs: equal bits from all, output like the input, clear errors."""

# SPDX-License-Identifier: BSD-3-Clause

import os
import subprocess
import sys
import types
from collections import OrderedDict, UserDict

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import Bunch
from sklearn.utils.fixes import parse_version
from skorch.helper import SliceDict

from sklearn_cmr import ACMRProjector, DRCLProjector, PairTransformer, make_pairs
from sklearn_cmr._inputs.features import FeatureReader, NumericChecks
from sklearn_cmr._inputs.layout import PairLayout

N_IMAGE, N_TEXT = 6, 5
# Small integers are exact in every dtype, so that all containers hold equal values.
_RNG = np.random.RandomState(0)
A = _RNG.randint(-3, 4, size=(60, N_IMAGE)).astype(np.float64)
B = _RNG.randint(-3, 4, size=(60, N_TEXT)).astype(np.float64)
y = np.arange(60) % 3
INDEX = _RNG.permutation(60) + 100
IMAGE_FRAME = pd.DataFrame(A, columns=list("abcdef"), index=INDEX)
TEXT_FRAME = pd.DataFrame(B, columns=list("abcde"), index=INDEX)
WHOLE = np.hstack([A, B])

# Arguments of transform; with the labels behind them those of fit.
FORMS = {
    "arrays": (A, B),
    "lists": (A.tolist(), B.tolist()),
    "frames": (IMAGE_FRAME, TEXT_FRAME),
    "slicedict": (SliceDict(image=A, text=B),),
    "slicedict_csr": (SliceDict(image=A, text=sparse.csr_array(B)),),
    "slicedict_tensors": (SliceDict(image=torch.tensor(A), text=torch.tensor(B)),),
    "dict": ({"image": A, "text": B},),
    "dict_of_frames": ({"image": IMAGE_FRAME, "text": TEXT_FRAME},),
    "dict_text_first": ({"text": B, "image": A},),
    "levels": (pd.concat({"image": IMAGE_FRAME, "text": TEXT_FRAME}, axis=1),),
    "prefixed": (make_pairs(IMAGE_FRAME, TEXT_FRAME),),
    "plain": (WHOLE,),
    "plain_csr": (sparse.csr_matrix(WHOLE),),
    "plain_frame": (pd.DataFrame(WHOLE, columns=list("abcdefghijk"), index=INDEX),),
}
each_form = pytest.mark.parametrize("form", FORMS)
ignore_missing_names = pytest.mark.filterwarnings(
    "ignore:X (has|does not have valid) feature names"
)


def projector(**params):
    small = {"embedding_dim": 8, "hidden_layer_sizes": (16,), "max_epochs": 2}
    return ACMRProjector(**small, **{"random_state": 0} | params)


def fitted(form="arrays"):
    return projector(n_image_features=N_IMAGE).fit(*FORMS[form], y)


def parts_of(Z):
    """Return the image and the text part of any output as arrays."""
    if isinstance(Z, tuple):
        return tuple(map(np.asarray, Z))
    if isinstance(Z, (dict, UserDict)):
        return np.asarray(Z["image"]), np.asarray(Z["text"])
    return tuple(np.hsplit(np.asarray(Z), 2))


def assert_same_parts(Z, expected):
    for part, expected_part in zip(parts_of(Z), parts_of(expected), strict=True):
        assert_array_equal(part, expected_part)


@pytest.fixture(scope="module")
def reference():
    return fitted()


@pytest.fixture(scope="module")
def embedded(reference):
    return reference.transform(A, B)


# The same bits ----------------------------------------------------------------


@ignore_missing_names
@each_form
def test_fit_on_any_form_transform_any_form(form, embedded):
    estimator = fitted(form)
    assert estimator.n_image_features_in_ == N_IMAGE
    assert estimator.n_text_features_in_ == N_TEXT
    assert estimator.n_features_in_ == N_IMAGE + N_TEXT
    for other, X in FORMS.items():
        if (form, other) in UNLIKE_NAMES or (other, form) in UNLIKE_NAMES:
            continue
        assert_same_parts(estimator.transform(*X), embedded)


# The columns of the plain frame have names of their own.
UNLIKE_NAMES = {
    ("plain_frame", paired)
    for paired in ("frames", "dict_of_frames", "levels", "prefixed")
}


@ignore_missing_names
@pytest.mark.parametrize(("form", "other"), sorted(UNLIKE_NAMES))
def test_frames_with_other_names_raise(form, other):
    with pytest.raises(ValueError, match="feature names"):
        fitted(form).transform(*FORMS[other])


@each_form
def test_fit_transform_and_score_agree_with_two_arrays(form, reference, embedded):
    estimator = projector(n_image_features=N_IMAGE)
    assert_same_parts(estimator.fit_transform(*FORMS[form], y), embedded)
    assert estimator.score(*FORMS[form], y) == reference.score(A, B, y)


@pytest.mark.parametrize(
    "dtype", ["f4", "f2", "g", ">f8", "i1", "i8", "u1", "bool", "int32"]
)
def test_dtypes(dtype):
    shifted = (A + 3, B + 3) if dtype in ("u1", "bool") else (A, B)
    X = [part.astype(dtype) for part in shifted]
    Z = projector().fit_transform(*X, y)
    expected = projector().fit_transform(*[part.astype("f8") for part in X], y)
    assert_same_parts(Z, expected)
    assert all(part.dtype == np.float32 for part in Z)


@pytest.mark.parametrize(
    "change",
    [
        np.asfortranarray,
        lambda X: np.repeat(X, 2, axis=0)[::2],
        lambda X: X[:, ::-1].copy()[:, ::-1],
        lambda X: pd.DataFrame(X).astype("Float64"),
        lambda X: pd.DataFrame(X).astype("Int64"),
        lambda X: pd.DataFrame(X).astype(object),
        sparse.dok_array,
        sparse.coo_matrix,
        sparse.csc_array,
        lambda X: torch.tensor(X, requires_grad=True),
        lambda X: torch.tensor(X, dtype=torch.bfloat16),
    ],
    ids="fortran strided reversed Float64 Int64 object dok coo csc grad bf16".split(),
)
def test_memory_layouts_and_array_types(change, embedded):
    X = [change(A), change(B)]
    assert_same_parts(projector().fit(*X, y).transform(*X), embedded)


def test_read_only_and_memory_mapped(tmp_path, embedded):
    read_only = [A.copy(), B.copy()]
    mapped = []
    for name, part in zip("ab", read_only, strict=True):
        part.setflags(write=False)
        np.save(tmp_path / f"{name}.npy", part)
        mapped.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    for X in (read_only, mapped):
        assert_same_parts(projector().fit(*X, y).transform(*X), embedded)


def test_polars_frames(embedded):
    pl = pytest.importorskip("polars")
    X_img, X_txt = pl.DataFrame(A, schema=list("abcdef")), pl.DataFrame(B)
    estimator = projector().fit(X_img, X_txt, y)
    assert_same_parts(estimator.transform(X_img, X_txt), embedded)
    pairs = make_pairs(X_img, X_txt)
    Z = projector().fit(pairs, y).transform(pairs)
    assert isinstance(Z, pl.DataFrame)
    assert_same_parts(Z, embedded)


@pytest.mark.parametrize("given", ["arrays", "frames", "plain", "prefixed"])
def test_arguments_are_left_alone(given):
    copies = [X.copy() for X in FORMS[given]]
    projector(n_image_features=N_IMAGE).fit_transform(*copies, y)
    for copy, X in zip(copies, FORMS[given], strict=True):
        assert_array_equal(np.asarray(copy), np.asarray(X))
        assert list(getattr(copy, "columns", [])) == list(getattr(X, "columns", []))


# The output mirrors the container ---------------------------------------------


@pytest.mark.parametrize("make", [dict, OrderedDict, UserDict, Bunch, SliceDict])
def test_mapping_gives_mapping_of_the_same_type(make, reference, embedded):
    Z = reference.transform(make(text=B, image=A))
    assert type(Z) is make
    assert list(Z) == ["text", "image"]
    assert_same_parts(Z, embedded)


def test_mappings_that_cannot_be_rebuilt_give_a_dict(tmp_path, embedded):
    np.savez(tmp_path / "pairs.npz", image=A, text=B)
    with np.load(tmp_path / "pairs.npz") as opened:
        view = types.MappingProxyType({"image": A, "text": B})
        for X in (opened, view):
            Z = projector().fit(X, y).transform(X)
            assert type(Z) is dict
            assert_same_parts(Z, embedded)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_one_modality(modality, reference, embedded):
    X = {"image": A, "text": B}[modality]
    expected = embedded[modality == "text"]
    Z = reference.transform(SliceDict(**{modality: X}))
    assert type(Z) is SliceDict and list(Z) == [modality]
    assert_array_equal(Z[modality], expected)
    assert_array_equal(reference.transform_modality(X, modality), expected)
    assert_array_equal(getattr(reference, f"transform_{modality}")(X), expected)
    assert_array_equal(
        getattr(reference, f"transform_{modality}")(sparse.csr_array(X)), expected
    )


NAMES = [f"acmrprojector{i}" for i in range(8)]
FLAT = [f"{modality}__{name}" for modality in ("image", "text") for name in NAMES]


def test_paired_frames_keep_layout_and_index():
    Z = fitted("levels").transform(*FORMS["levels"])
    assert list(Z.columns) == [(m, name) for m in ("image", "text") for name in NAMES]
    assert_array_equal(Z.index, INDEX)
    Z = fitted("prefixed").transform(*FORMS["prefixed"])
    assert list(Z.columns) == FLAT
    assert_array_equal(Z.index, INDEX)
    assert set(Z.dtypes) == {np.dtype(np.float32)}


def test_two_arrays_and_plain(reference):
    Z = reference.transform(*FORMS["frames"])
    assert type(Z) is tuple and all(type(part) is np.ndarray for part in Z)
    Z = reference.transform(WHOLE)
    assert type(Z) is np.ndarray and Z.shape == (60, 16) and Z.dtype == np.float32
    assert list(reference.get_feature_names_out()) == FLAT


@pytest.mark.parametrize("library", ["pandas", "polars"])
@ignore_missing_names
@each_form
def test_set_output(form, library, embedded):
    frames = pytest.importorskip(library)
    estimator = fitted(form).set_output(transform=library)
    Z = estimator.transform(*FORMS[form])
    assert_same_parts(Z, embedded)
    if form == "levels" and library == "pandas":
        assert Z.columns.nlevels == 2
    elif form in ("levels", "prefixed") or form.startswith("plain"):
        assert isinstance(Z, frames.DataFrame)
        assert list(Z.columns) == FLAT
    else:
        values = Z if isinstance(Z, tuple) else [Z["image"], Z["text"]]
        assert all(isinstance(part, frames.DataFrame) for part in values)
        assert [*values[0].columns, *values[1].columns] == FLAT
    if library == "pandas" and "frame" in form and isinstance(Z, frames.DataFrame):
        assert_array_equal(Z.index, INDEX)
    Z_img = estimator.transform_image(np.asarray(A))
    assert isinstance(Z_img, frames.DataFrame) and list(Z_img.columns) == FLAT[:8]
    restored = estimator.set_output(transform="default").transform(A, B)
    assert type(restored[0]) is np.ndarray


def test_set_output_changes_the_library_of_paired_frames():
    pl = pytest.importorskip("polars")
    pairs = make_pairs(pl.DataFrame(A), pl.DataFrame(B))
    estimator = projector().fit(pairs, y)
    assert isinstance(
        estimator.set_output(transform="pandas").transform(pairs), pd.DataFrame
    )


def test_set_output_none_changes_nothing_and_clone_keeps_it():
    estimator = projector().set_output(transform="pandas").set_output(transform=None)
    Z = clone(estimator).fit(A, B, y).transform(WHOLE)
    assert isinstance(Z, pd.DataFrame)


def test_names_come_from_the_fit_not_from_a_changed_parameter(reference):
    estimator = projector().fit(A, B, y).set_params(embedding_dim=3)
    assert list(estimator.get_feature_names_out()) == FLAT
    assert estimator.set_output(transform="pandas").transform_image(A).shape == (60, 8)


# An array of the caller -------------------------------------------------------


@pytest.mark.parametrize("library", ["default", "pandas"])
@pytest.mark.parametrize("X", [A, A.tolist(), sparse.csr_array(A), IMAGE_FRAME])
def test_out_is_what_comes_back(X, library):
    estimator = fitted("frames" if X is IMAGE_FRAME else "arrays")
    expected = estimator.transform_image(X)
    out = np.empty((60, 16), np.float32)[:, ::2]
    estimator.set_output(transform=library)
    assert estimator.transform_image(X, out=out) is out
    assert_array_equal(out, expected)


def test_out_may_be_in_a_file(reference, embedded, tmp_path):
    np.save(tmp_path / "X.npy", A)
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    out = np.lib.format.open_memmap(tmp_path / "Z.npy", "w+", np.float32, (30, 8))
    rows = make_pairs(X, B)[np.arange(30)]["image"]  # not read yet
    reference.transform_image(rows, out=out).flush()
    assert_array_equal(np.load(tmp_path / "Z.npy"), embedded[0][:30])


_BOTH = np.zeros((60, 8), np.float32)
_READ_ONLY = np.zeros((60, 8), np.float32)
_READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("out", "error", "text"),
    [
        (
            "codes.npy",
            TypeError,
            "out must be an array of numpy, such as numpy.empty or "
            "numpy.lib.format.open_memmap returns; got <class 'str'>.",
        ),
        (
            np.zeros((59, 8), np.float32),
            ValueError,
            "out must have the shape and dtype of the encodings, (60, 8) and float32; "
            "got (59, 8) and float32.",
        ),
        (
            np.zeros((60, 8)),
            ValueError,
            "out must have the shape and dtype of the encodings, (60, 8) and float32; "
            "got (60, 8) and float64.",
        ),
        (
            _READ_ONLY,
            ValueError,
            "out is read-only. Pass an array that can be written, such as "
            "numpy.lib.format.open_memmap(path, 'w+', dtype, shape) returns, or "
            "numpy.load(path, mmap_mode='r+').",
        ),
        (
            _BOTH,
            ValueError,
            "out and X share memory, so that rows would be overwritten before they are "
            "read. Pass another array.",
        ),
    ],
)
def test_out_that_cannot_take_the_encodings(out, error, text, reference):
    with pytest.raises(error) as caught:
        reference.transform_image(_BOTH[:, :N_IMAGE], out=out)
    assert str(caught.value) == text
    assert not np.any(_BOTH)


def test_out_may_not_hold_the_values_of_a_sparse_matrix(reference):
    out = np.ones((60, 8), np.float32)
    X = sparse.csr_array(np.ones((60, N_IMAGE)))
    X.data = out.ravel()[: X.nnz]
    with pytest.raises(ValueError, match="out and X share memory"):
        reference.transform_image(X, out=out)
    assert out.min() == out.max() == 1


# Feature names ----------------------------------------------------------------


@pytest.mark.parametrize("form", ["frames", "dict_of_frames", "levels", "prefixed"])
def test_feature_names_in(form):
    expected = [f"image__{name}" for name in "abcdef"]
    expected += [f"text__{name}" for name in "abcde"]
    assert list(fitted(form).feature_names_in_) == expected


@pytest.mark.parametrize("form", ["arrays", "slicedict", "plain", "plain_csr"])
def test_no_feature_names_in(form):
    assert not hasattr(fitted(form), "feature_names_in_")


def test_refit_on_arrays_forgets_names():
    estimator = fitted("frames").fit(A, B, y)
    assert not hasattr(estimator, "feature_names_in_")


def _reordered(form):
    if form in ("frames", "dict_of_frames"):
        X = IMAGE_FRAME[list("fedcba")], TEXT_FRAME
        return X if form == "frames" else ({"image": X[0], "text": X[1]},)
    (X,) = FORMS[form]
    return (X.iloc[:, [1, 0, *range(2, 11)]],)


@pytest.mark.parametrize("form", ["frames", "dict_of_frames", "levels", "prefixed"])
def test_reordered_columns_raise(form):
    with pytest.raises(
        ValueError, match="must be in the same order as they were in fit"
    ):
        fitted(form).transform(*_reordered(form))


def test_reordered_columns_of_one_modality_raise():
    with pytest.raises(ValueError, match="image feature names should match"):
        fitted("frames").transform_image(IMAGE_FRAME[list("fedcba")])
    with pytest.raises(ValueError, match="unseen at fit time: .'text__x'"):
        fitted("frames").transform_text(TEXT_FRAME.rename(columns={"a": "x"}))
    with pytest.raises(ValueError, match="yet now missing: .'text__a'"):
        fitted("frames").transform_text(TEXT_FRAME.drop(columns="a"))


def test_interleaved_columns_are_sorted_by_their_names(embedded):
    (X,) = FORMS["prefixed"]
    mixed = X.iloc[:, [6, 0, 7, 1, 8, 2, 3, 9, 4, 10, 5]]
    estimator = projector().fit(mixed, y)
    assert list(estimator.feature_names_in_) == list(mixed.columns)
    assert_same_parts(estimator.transform(mixed), embedded)
    assert_same_parts(estimator.transform(A, B), embedded)


@pytest.mark.parametrize("layout", ["levels", "prefixed"])
def test_names_that_begin_like_a_prefix(layout, embedded):
    # A ColumnTransformer puts its prefixes before those that are there.
    columns = [f"text__{name}" for name in "abcde"]
    parts = {"image": IMAGE_FRAME, "text": TEXT_FRAME.set_axis(columns, axis=1)}
    X = pd.concat(parts, axis=1)
    if layout == "prefixed":
        X.columns = ["__".join(names) for names in X.columns]
    estimator = projector().fit(X, y)
    assert estimator.feature_names_in_[-1] == "text__text__e"
    assert_same_parts(estimator.transform(X), embedded)
    assert_same_parts(estimator.transform(*parts.values()), embedded)


def test_plain_array_after_a_frame_with_text_first_raises():
    # Its columns could be in the order of the frame, or the image first.
    (X,) = FORMS["prefixed"]
    text_first = X[[*X.columns[N_IMAGE:], *X.columns[:N_IMAGE]]]
    estimator = projector().fit(text_first, y)
    with pytest.raises(ValueError, match="image columns do not come first"):
        estimator.transform(text_first.to_numpy())


@pytest.mark.parametrize("columns", [range(6), [0, "a", 1, "b", 2, "c"]])
def test_integer_column_names_become_strings(columns, embedded):
    X_img = IMAGE_FRAME.set_axis(list(columns), axis=1)
    estimator = projector().fit(X_img, TEXT_FRAME, y)
    assert estimator.feature_names_in_[0] == "image__0"
    assert_same_parts(estimator.transform(X_img, TEXT_FRAME), embedded)


def test_prefixed_frames_as_two_arrays(embedded):
    (X,) = FORMS["prefixed"]
    parts = X.filter(like="image__"), X.filter(like="text__")
    estimator = projector().fit(*parts, y)
    assert_same_parts(estimator.transform(*parts), embedded)
    assert_same_parts(estimator.transform(X), embedded)
    assert estimator.score(*parts, y) == estimator.score(X, y)


# Wrong use --------------------------------------------------------------------

FORGOTTEN = (
    "got two 2-D arrays and no third argument. If they are the image and the text "
    "features, pass the labels too: fit(X_img, X_txt, y), or, to a pipeline or a "
    "search, fit(make_pairs(X_img, X_txt), y). If the first one is the "
    "[image | text] features side by side and the second the label indicators, set "
    "n_image_features."
)
TWO_MORE = (
    "got a paired container as X and two more arguments. Pass (X, y) with a container "
    "or (X_img, X_txt, y) with arrays."
)
LIST = (
    "got a list of two arrays as X. Pass (X_img, X_txt, y), or (make_pairs(X_img, "
    "X_txt), y)."
)
KEYS = "a mapping X must have the keys 'image' and 'text'; got ['img', 'txt']."
TAGS = (B > 0).astype(int)
SOME_PREFIXED = FORMS["prefixed"][0].rename(columns={"text__a": "a"})
WRONG_FITS = {
    "labels forgotten": ((A, B), ValueError, FORGOTTEN),
    "labels forgotten, text of tags": ((A, TAGS), ValueError, FORGOTTEN),
    "labels forgotten, sparse text": ((A, sparse.csr_array(B)), ValueError, FORGOTTEN),
    "labels forgotten, frames": ((IMAGE_FRAME, TEXT_FRAME), ValueError, FORGOTTEN),
    "container and text": ((SliceDict(image=A, text=B), B, y), TypeError, TWO_MORE),
    "frame and text": ((*FORMS["prefixed"], B, y), TypeError, TWO_MORE),
    "levels and text": ((*FORMS["levels"], B, y), TypeError, TWO_MORE),
    "list": (([A, B], y), TypeError, LIST),
    "tuple": (((A, B), y), TypeError, LIST.replace("list", "tuple")),
    "list of frames": (([IMAGE_FRAME, TEXT_FRAME], y), TypeError, LIST),
    "list of lists": (([A.tolist(), B.tolist()], y), TypeError, LIST),
    "keys": (({"img": A, "txt": B}, y), ValueError, KEYS),
    "empty mapping": (({}, y), ValueError, "the keys 'image' and 'text'; got []."),
    "one key": (({"image": A}, y), ValueError, "got ['image']."),
    "more keys": (
        ({"image": A, "text": B, "audio": B}, y),
        ValueError,
        "got ['image', 'text', 'audio'].",
    ),
    "rows differ": (
        (A, B[:-1], y),
        ValueError,
        "Found input variables with inconsistent numbers of samples: [60, 59]",
    ),
    "labels differ": (
        (A, B, y[:-1]),
        ValueError,
        "Found input variables with inconsistent numbers of samples: [60, 60, 59]",
    ),
    "some columns prefixed": (
        (SOME_PREFIXED, y),
        ValueError,
        "Either all columns of a dataframe start with 'image__' or 'text__', or none; "
        "1 of 11 do not.",
    ),
    "no text columns": (
        (FORMS["prefixed"][0].filter(like="image__"), y),
        ValueError,
        "there is none for 'text'",
    ),
    "other levels": (
        (pd.concat({"img": IMAGE_FRAME, "text": TEXT_FRAME}, axis=1), y),
        ValueError,
        "the first one with ['img', 'text'].",
    ),
    "no labels": (
        (SliceDict(image=A, text=B),),
        ValueError,
        "requires y to be passed, but the target y is None",
    ),
    "text is a container": (
        (A, SliceDict(image=A, text=B), y),
        TypeError,
        "got a paired container as the text features",
    ),
    "text is a paired frame": (
        (A, *FORMS["prefixed"], y),
        TypeError,
        "got a paired container as the text features",
    ),
    "image is a list of arrays": (
        ([A, B], B, y),
        TypeError,
        "got a list of two arrays as the image features",
    ),
    "a string for the text": (
        (A, "abc", y),
        TypeError,
        "got a single string as the text features: 'abc'. Pass a list or an array",
    ),
    "a string": (("abc", y), TypeError, "got a single string as X: 'abc'"),
    "ragged lists": (
        ([[1, 2], [3]] * 30, B, y),
        ValueError,
        "image features must have the same number of features in each row; got a list",
    ),
    "a ragged list": (
        ([[1, 2], [3]] * 30, y),
        ValueError,
        "X must have the same number of features in each row; got a list of rows",
    ),
    "an empty frame": (
        (pd.DataFrame(), y),
        ValueError,
        "X must have features; got a dataframe without columns",
    ),
    "an empty frame of images": (
        (pd.DataFrame(index=range(60)), B, y),
        ValueError,
        "image features must have features; got a dataframe without columns",
    ),
    "no labels in the list": (
        (A, B, []),
        ValueError,
        "needs labels, but y has no rows",
    ),
    "a mapping of labels": (
        (A, B, {"image": y, "text": y}),
        ValueError,
        "got a mapping of labels, but ACMRProjector learns from pairs",
    ),
    "labels as text": ((A, y, y), ValueError, "The text features cannot be used: Exp"),
    "strings": (
        (A, np.array(["a"] * 60), y),
        ValueError,
        "The text features are strings. Turn them into numbers first, e.g. with "
        "PairTransformer(text=TfidfVectorizer()).",
    ),
    "a column of objects": (
        (IMAGE_FRAME.assign(a="x").astype({"a": object}), B, y),
        ValueError,
        "The image features cannot be used: could not convert string to float: 'x'",
    ),
    "a column of strings": (
        (IMAGE_FRAME.assign(a="x"), B, y),
        ValueError,
        # An older scikit-learn has other words for the strings of pandas 3.
        "The image features cannot be used: could not convert string to float: 'x'"
        if parse_version(sklearn.__version__) >= parse_version("1.9")
        else "image features",
    ),
    "dates": (
        (IMAGE_FRAME.astype("datetime64[ns]"), B, y),
        ValueError,
        "image features must hold numbers, got the dtype datetime64[ns]",
    ),
    "complex": ((A + 1j, B, y), ValueError, "Complex data not supported"),
    "NaN": (
        (np.where(A > 2, np.nan, A), B, y),
        ValueError,
        "Input image features contains NaN",
    ),
    "None": (([[None] * 6] * 60, B, y), ValueError, "image features contains NaN"),
    "NA": (
        (IMAGE_FRAME.astype("Int64").mask(IMAGE_FRAME > 2), B, y),
        ValueError,
        "image features contains NaN",
    ),
    "infinity": (
        (A, np.where(B > 2, np.inf, B), y),
        ValueError,
        "Input text features contains infinity",
    ),
    "beyond float32": (
        (A * 1e39, B, y),
        ValueError,
        "image features hold values as large as 3e+39, beyond the range of float32",
    ),
    "huge integers": (([[10**40] * 6] * 60, B, y), ValueError, "as large as 1e+40"),
    "three dimensions": ((A[:, None], B, y), ValueError, "array with dim 3"),
    "no rows": ((A[:0], B[:0], y[:0]), ValueError, "0 sample(s)"),
    "no columns": ((A[:, :0], B, y), ValueError, "0 feature(s)"),
    "None for images": ((None, B, y), ValueError, "The image features cannot be used"),
    "two columns of one name": (
        (IMAGE_FRAME.set_axis(["a"] * 6, axis=1), TEXT_FRAME, y),
        ValueError,
        "column names",
    ),
}


@pytest.mark.parametrize("use", WRONG_FITS)
def test_wrong_fit(use):
    arguments, error, text = WRONG_FITS[use]
    with pytest.raises(error) as caught:
        projector().fit(*arguments)
    assert text in " ".join(str(caught.value).split())


TABLE = ["labels forgotten", "container and text", "list", "keys", "rows differ"]


@pytest.mark.parametrize("use", [*TABLE, "some columns prefixed"])
def test_wrong_fit_says_exactly(use):
    arguments, error, text = WRONG_FITS[use]
    with pytest.raises(error) as caught:
        projector().fit(*arguments)
    assert str(caught.value) == text


@pytest.mark.parametrize("text", [B, TAGS, B.tolist()])
def test_labels_forgotten_in_a_second_fit(text, reference):
    # The split of the first fit must not make the image features a whole container.
    estimator = projector().fit(A, B, y)
    with pytest.raises(ValueError, match="got two 2-D arrays and no third argument"):
        estimator.fit(A, text)
    with pytest.raises(ValueError, match="got two 2-D arrays and no third argument"):
        reference.score(A, text)


def test_labels_forgotten_with_the_image_width_set():
    with pytest.raises(ValueError, match="n_image_features=6 leaves no column"):
        projector(n_image_features=N_IMAGE).fit(A, TAGS)


def test_indicator_labels_of_a_plain_array():
    indicator = np.eye(3, dtype=int)[y]
    estimator = projector(n_image_features=N_IMAGE).fit(WHOLE, indicator)
    assert 0 <= estimator.score(WHOLE, indicator) <= 1


@pytest.mark.parametrize("n_image_features", [11, 12])
def test_no_text_column_left(n_image_features):
    with pytest.raises(ValueError, match="leaves no column for the text"):
        projector(n_image_features=n_image_features).fit(WHOLE, y)


ONLY_PLAIN = (
    "X has 6 features, but ACMRProjector is expecting 11 features as input. A plain "
    "array holds both modalities side by side (6 image + 5 text features); for one "
    "modality use transform_image or transform_text."
)
SWAPPED = (
    "X has 5 image features, but ACMRProjector is expecting 6 image features as input. "
    "The text features have this width: the modalities may be swapped."
)
NO_KEY = "a mapping X must have the keys 'image' and 'text', or one of them; got []."
PAIRED = (
    "got a paired container as the image features. Pass it as the only features, or "
    "take the image features out of it."
)


@pytest.mark.parametrize(
    ("method", "arguments", "error", "text"),
    [
        (
            "transform",
            (A,),
            ValueError,
            ONLY_PLAIN,
        ),
        (
            "transform",
            (B, A),
            ValueError,
            SWAPPED,
        ),
        (
            "transform_text",
            (A,),
            ValueError,
            "X has 6 text features, but ACMRProjector is expecting 5 text features as "
            "input. The image features have this width: the modalities may be swapped.",
        ),
        (
            "transform",
            (A, B[:-1]),
            ValueError,
            "Found input variables with inconsistent numbers of samples: [60, 59]",
        ),
        (
            "transform",
            ({},),
            ValueError,
            NO_KEY,
        ),
        (
            "score",
            ({"image": A}, y),
            ValueError,
            "score needs two modalities or more, such as a mapping X with the keys "
            "'image' and 'text'; got ['image'].",
        ),
        (
            "transform_modality",
            (A, "img"),
            ValueError,
            "modality must be one of ['image', 'text'], got 'img'.",
        ),
        (
            "transform_image",
            ({"image": A},),
            TypeError,
            PAIRED,
        ),
        (
            "transform",
            (SliceDict(image=A, text=B), B),
            TypeError,
            PAIRED,
        ),
        (
            "transform_image",
            FORMS["prefixed"],
            TypeError,
            PAIRED,
        ),
    ],
)
def test_wrong_use_after_a_fit(method, arguments, error, text, reference):
    with pytest.raises(error) as caught:
        getattr(reference, method)(*arguments)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("transform", (A, B)),
        ("transform", ({"image": A},)),
        ("transform_image", (A,)),
        ("transform_text", (B,)),
        ("transform_modality", (A, "image")),
        ("predict_proba", (A, B)),
        ("score", (A, B, y)),
        ("get_feature_names_out", ()),
    ],
)
def test_not_fitted(method, arguments):
    with pytest.raises(NotFittedError):
        getattr(projector(), method)(*arguments)


def test_arguments_by_keyword(reference, embedded):
    assert_same_parts(projector().fit(X=A, Y=B, y=y).transform(X=A, Y=B), embedded)
    assert_same_parts(projector().fit_transform(X=A, Y=B, y=y), embedded)
    pairs = make_pairs(A, B)
    assert_same_parts(projector().fit_transform(X=pairs, y=y), embedded)
    assert_same_parts(projector().fit_transform(pairs, Y=y), embedded)
    score = reference.score(A, B, y)
    assert reference.score(X=A, Y=B, y=y) == score
    assert reference.score(pairs, y=y) == score
    assert reference.score(pairs, y, sample_weight=np.ones(60)) == pytest.approx(score)


def test_sample_weight_counts_queries(reference):
    weights = np.zeros(60)
    weights[:7] = 1
    assert reference.score(A, B, y, sample_weight=weights) != reference.score(A, B, y)
    with pytest.raises(ValueError, match="sample_weight"):
        reference.score(A, B, y, sample_weight=weights[1:])


@pytest.mark.parametrize("dok", [sparse.dok_array, sparse.dok_matrix])
def test_scipy_dok_is_no_mapping(dok, reference, embedded):
    assert isinstance(dok(WHOLE), dict)
    assert_same_parts(reference.transform(dok(WHOLE)), embedded)


# The index of the labels ------------------------------------------------------

SERIES = pd.Series(y, index=INDEX)
SHUFFLED_LABELS = [SERIES[::-1], pd.DataFrame(np.eye(3)[y], INDEX).sort_index()]


@pytest.mark.parametrize("labels", SHUFFLED_LABELS, ids=["series", "frame"])
@pytest.mark.parametrize(
    "form", ["frames", "dict_of_frames", "levels", "prefixed", "plain_frame"]
)
def test_labels_with_the_index_in_another_order_raise(form, labels):
    estimator = projector(n_image_features=N_IMAGE).fit(*FORMS[form], SERIES)
    for method in (estimator.fit, estimator.score):
        with pytest.raises(ValueError, match="have the same index in another order"):
            method(*FORMS[form], labels)
    with pytest.raises(ValueError, match="have the same index in another order"):
        PairTransformer(n_image_features=N_IMAGE).fit(*FORMS[form], labels)


@pytest.mark.parametrize(
    "labels", [SERIES, SERIES.reset_index(drop=True), pd.Series(y), y, y.tolist()]
)
def test_labels_with_another_index_belong_by_position(labels, embedded):
    for form in ("frames", "prefixed"):
        assert_same_parts(projector().fit_transform(*FORMS[form], labels), embedded)


def test_labels_of_a_modality_with_the_index_in_another_order_raise():
    X = {"image": IMAGE_FRAME, "audio": TEXT_FRAME[:30]}
    estimator = DRCLProjector(hidden_layer_sizes=(), max_epochs=1, embedding_dim=4)
    estimator.fit(X, {"image": SERIES, "audio": SERIES[:30]})
    with pytest.raises(ValueError, match="labels and the audio features have the same"):
        estimator.fit(X, {"image": SERIES, "audio": SERIES[:30][::-1]})


def test_frames_of_pairs_in_another_order_raise():
    X = {"image": IMAGE_FRAME, "audio": TEXT_FRAME[::-1]}
    estimator = DRCLProjector(hidden_layer_sizes=(), max_epochs=1, embedding_dim=4)
    with pytest.raises(ValueError, match="image and the audio features have different"):
        estimator.fit(X, y)
    estimator.fit(X, {"image": y, "audio": y})


# Methods that need no pairs ---------------------------------------------------


@pytest.mark.parametrize(
    ("X", "labels", "hint"),
    [
        ((A, B[:-1]), y, "Rows need not be pairs: pass the features of each modality"),
        (({"image": A, "text": B[:-1]},), y, "One array of labels is for pairs"),
        ((np.where(A > 2, np.nan, A), B), y, "contains NaN.\nRows need not be pairs"),
    ],
    ids=["arrays", "mapping", "NaN"],
)
def test_rows_that_are_no_pairs_get_a_hint(X, labels, hint):
    with pytest.raises(ValueError) as caught:
        DRCLProjector().fit(*X, labels)
    assert hint in str(caught.value)
    with pytest.raises(ValueError) as caught:
        projector().fit(*X, labels)
    assert hint not in str(caught.value)


# scikit-learn's array API -----------------------------------------------------


def test_validated_tensors_are_arrays():
    for X in (torch.tensor(A), torch.tensor(A, requires_grad=True)):
        part = NumericChecks().check_part(X, "image", projector())
        assert type(part) is np.ndarray


_DISPATCH = """
import numpy as np, sklearn, torch
from sklearn_cmr import ACMRProjector, PairTransformer
A, B, y = torch.randn(30, 4), torch.randn(30, 3), torch.arange(30) % 3
estimator = ACMRProjector(max_epochs=1, hidden_layer_sizes=(), n_image_features=4,
                          random_state=0)
whole = torch.hstack([A, B])
scores = []
for dispatch in (False, True):
    with sklearn.config_context(array_api_dispatch=dispatch):
        for X in ((A, B), ({"image": A, "text": B},), (whole,)):
            scores.append(estimator.fit(*X, y).score(*X, y))
        PairTransformer().fit_transform({"image": A, "text": B})
print(set(scores))
assert len(set(scores)) == 1
"""


def test_tensors_under_array_api_dispatch():
    pytest.importorskip("scipy", "1.14")  # scikit-learn refuses to dispatch with less
    # scipy reads the variable when it is imported.
    run = subprocess.run(
        [sys.executable, "-c", _DISPATCH],
        env=os.environ | {"SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr


# A failed fit -----------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [(A, B[:-1], y), (WHOLE[:, :6], y), ({"image": A},), (A, B * 1e39, y)]
)
def test_a_failed_reading_changes_nothing(arguments):
    estimator = projector(n_image_features=N_IMAGE).fit(*FORMS["prefixed"], y)
    before = dict(vars(estimator))
    layout = PairLayout(*arguments[:2]) if len(arguments) == 3 else None
    layout = layout or PairLayout(arguments[0])
    with pytest.raises(ValueError):
        FeatureReader(estimator).read(layout, reset=True)
    assert vars(estimator) == before
