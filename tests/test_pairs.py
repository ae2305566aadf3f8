"""make_pairs: containers whose rows scikit-learn can select."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from sklearn_cmr import make_pairs
from sklearn_cmr.pairs import Pairs

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
        (pd.DataFrame, pd.DataFrame),
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
    assert type(pairs) is Pairs
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
    assert type(pairs) is Pairs
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


def test_no_rows_raise():
    with pytest.raises(ValueError, match="The text features have no rows: got array"):
        make_pairs(A, 3)
    with pytest.raises(TypeError, match="got a single string as the text features"):
        make_pairs(A, "a caption")
    with pytest.raises(ValueError, match=r"two modalities or more; got \['image'\]"):
        make_pairs(A, None)


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


# Any modalities ---------------------------------------------------------------


@pytest.mark.parametrize("make", [np.asarray, pd.DataFrame, sparse.csr_array])
def test_any_names(make):
    pairs = make_pairs(text=make(B), audio=make(A), sketch=WORDS)
    assert list(pairs) == ["text", "audio", "sketch"]
    some = _safe_indexing(pairs, ROWS)
    assert_array_equal(dense(some["audio"]), A[ROWS])
    assert list(some["sketch"]) == [WORDS[i] for i in ROWS]
    train, test = train_test_split(pairs, shuffle=False)
    assert_array_equal(dense(test["text"]), B[6:])
    assert list(make_pairs(A, B, audio=make(A))) == ["image", "text", "audio"]


def test_a_modality_twice_raises():
    with pytest.raises(TypeError):
        make_pairs(A, B, X_img=A)
    with pytest.raises(TypeError, match="got the image features twice"):
        make_pairs(A, B, image=A)


def test_frames_keep_their_names_in_a_mapping():
    frame = pd.DataFrame(A, columns=list("xyz"), index=list("hgfedcba"))
    pairs = make_pairs(audio=frame, text=B)
    assert list(pairs[ROWS[:1]]["audio"].index) == ["c"]


# The container ----------------------------------------------------------------


def test_a_container_of_pairs_is_no_array():
    pairs = make_pairs(np.zeros((500, 100)), np.ones((500, 50)))
    for use in (np.asarray, np.array, StandardScaler().fit, PCA(2).fit):
        with pytest.raises(TypeError, match="is a container of modalities") as caught:
            use(pairs)
        assert "PairTransformer(image=" in str(caught.value)
        assert len(str(caught.value)) < 250


def test_container_like_a_mapping():
    pairs = make_pairs(A, B)
    assert repr(pairs) == "<Pairs of image: (8, 3), text: (8, 2)>"
    assert pairs.shape == (8,) and len(pairs) == 8 and len(Pairs()) == 0
    for copied in (pairs.copy(), copy.copy(pairs), pickle.loads(pickle.dumps(pairs))):
        assert type(copied) is Pairs and list(copied) == ["image", "text"]
        assert_array_equal(copied["text"], B)
    assert dict(pairs) == {"image": pairs["image"], "text": pairs["text"]}
    with pytest.raises(TypeError, match=r"For one row pass pairs\[2:3\]"):
        pairs[2]
    with pytest.raises(KeyError):
        pairs["audio"]
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        Pairs(image=A, text=B[:-1])
