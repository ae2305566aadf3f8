"""make_pairs: containers that scikit-learn slices row by row."""

# SPDX-License-Identifier: BSD-3-Clause

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples
from skorch.helper import SliceDict

from sklearn_cmr import make_pairs

A = np.arange(24.0).reshape(8, 3)
B = np.arange(16.0).reshape(8, 2)
ROWS = np.array([5, 1, 1, 7])
WORDS = [f"word{i}" for i in range(8)]


def dense(part):
    return part.toarray() if sparse.issparse(part) else np.asarray(part)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (np.asarray, np.ndarray),
        (np.ndarray.tolist, np.ndarray),
        (pd.DataFrame, np.ndarray),
        (torch.tensor, torch.Tensor),
        (sparse.csr_array, sparse.csr_array),
        (sparse.csr_matrix, sparse.csr_matrix),
        (sparse.coo_array, sparse.csr_array),
        (sparse.csc_matrix, sparse.csr_matrix),
        (sparse.dok_array, sparse.csr_array),
    ],
)
def test_any_text_features(make, kind):
    pairs = make_pairs(A, make(B))
    assert type(pairs) is SliceDict
    assert type(pairs["text"]) is kind
    assert _num_samples(pairs) == 8
    assert_array_equal(dense(pairs["text"]), B)
    some = _safe_indexing(pairs, ROWS)
    assert_array_equal(dense(some["text"]), B[ROWS])
    assert_array_equal(some["image"], A[ROWS])


def _series(dtype):
    # An index in another order: slicing by label would pick other rows.
    return pd.Series(WORDS, index=range(7, -1, -1), dtype=dtype)


def _polars():
    return pytest.importorskip("polars").Series(WORDS)


@pytest.mark.parametrize(
    "make",
    [
        lambda: WORDS,
        lambda: tuple(WORDS),
        lambda: np.array(WORDS),
        lambda: np.array(WORDS, dtype=object),
        lambda: _series(object),
        lambda: _series("string"),
        lambda: _series("category"),
        _polars,
    ],
    ids="list tuple str object series string category polars".split(),
)
def test_strings_are_sliced_by_position(make):
    pairs = make_pairs(A, make())
    assert pairs["text"].shape == (8,)
    assert list(pairs[ROWS]["text"]) == [WORDS[i] for i in ROWS]


def test_frames_make_one_frame():
    index = pd.Index(list("hgfedcba"))
    X_img = pd.DataFrame(A, columns=["x", "y", 2], index=index)
    X_txt = pd.DataFrame(B.astype(np.float32), columns=["x", "y"], index=index)
    pairs = make_pairs(X_img, X_txt)
    assert list(pairs.columns) == [
        "image__x",
        "image__y",
        "image__2",
        "text__x",
        "text__y",
    ]
    assert pairs.index.equals(index)
    assert list(pairs.dtypes) == [np.float64] * 3 + [np.float32] * 2
    assert list(X_img.columns) == ["x", "y", 2]
    train, test = train_test_split(pairs, shuffle=False)
    assert_array_equal(test["text__y"], B[6:, 1])


def test_prefixes_are_not_doubled():
    X_img = pd.DataFrame(A, columns=["image__0", "image__1", "image__2"])
    pairs = make_pairs(X_img, pd.DataFrame(B, columns=["text__image__0", "b"]))
    assert list(pairs.columns) == [*X_img.columns, "text__text__image__0", "text__b"]


def test_polars_frames_make_one_frame():
    pl = pytest.importorskip("polars")
    pairs = make_pairs(pl.DataFrame(A, schema=list("abc")), pl.DataFrame(B))
    assert isinstance(pairs, pl.DataFrame)
    assert pairs.columns[:3] == ["image__a", "image__b", "image__c"]


def test_frames_of_two_libraries_make_a_mapping():
    pl = pytest.importorskip("polars")
    pairs = make_pairs(pd.DataFrame(A), pl.DataFrame(B))
    assert type(pairs) is SliceDict
    assert_array_equal(pairs["text"], B)


@pytest.mark.parametrize("text", ["frame", "series"])
def test_different_indices_raise(text):
    X_img = pd.DataFrame(A)
    X_txt = pd.DataFrame(B, index=range(1, 9))
    with pytest.raises(ValueError, match="have different indices"):
        make_pairs(X_img, X_txt if text == "frame" else X_txt[0])


def test_frame_beside_an_array_of_another_index_is_paired_by_position():
    pairs = make_pairs(pd.DataFrame(A, index=range(1, 9)), B)
    assert_array_equal(pairs["image"], A)


@pytest.mark.parametrize("make", [np.asarray, pd.DataFrame, sparse.csr_array, list])
def test_different_lengths_raise(make):
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[8, 7\]"):
        make_pairs(make(A), make(B[:-1]))


@pytest.mark.parametrize("part", [3, None, "a caption"])
def test_no_rows_raise(part):
    with pytest.raises(ValueError, match="The text part has no rows"):
        make_pairs(A, part)


@pytest.mark.parametrize(
    "pairs",
    [
        make_pairs(A, B),
        {"image": A},
        make_pairs(pd.DataFrame(A), pd.DataFrame(B)),
        pd.concat({"image": pd.DataFrame(A), "text": pd.DataFrame(B)}, axis=1),
    ],
    ids=["mapping", "one key", "prefixed", "levels"],
)
def test_containers_raise(pairs):
    with pytest.raises(TypeError, match="got a paired container as the image features"):
        make_pairs(pairs, B)


def test_pairs_pickle_and_nothing_is_copied():
    pairs = make_pairs(A, B)
    assert pairs["image"] is A
    assert_array_equal(pickle.loads(pickle.dumps(pairs))["text"], B)
