"""Packed codes and their distances: round trips, literal counts, refused input."""

# SPDX-License-Identifier: BSD-3-Clause

import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_array_equal
from scipy.spatial.distance import cdist

from sklearn_cmr.codes import hamming_distances, pack_codes, unpack_codes

CODES = np.array([[1, -1, 1], [-1, -1, -1], [1, 1, 1]], dtype=np.int8)


def signs(max_bits=70):
    """Codes of -1 and +1 of any shape."""
    shapes = array_shapes(min_dims=2, max_dims=2, max_side=max_bits)
    return arrays(np.int8, shapes, elements=st.sampled_from([-1, 1]))


def random_codes(n_samples, n_bits, seed=0):
    bits = np.random.RandomState(seed).randint(2, size=(n_samples, n_bits))
    return np.where(bits, 1, -1).astype(np.int8)


@given(signs())
def test_round_trip(codes):
    packed = pack_codes(codes)
    assert packed.dtype == np.uint8
    assert packed.shape == (len(codes), (codes.shape[1] + 7) // 8)
    unpacked = unpack_codes(packed, codes.shape[1])
    assert unpacked.dtype == np.int8
    assert_array_equal(unpacked, codes)


@given(signs(max_bits=20))
def test_the_first_code_is_the_highest_bit(codes):
    n_bits = codes.shape[1]
    for code, packed in zip(codes, pack_codes(codes), strict=True):
        digits = "".join("1" if value == 1 else "0" for value in code)
        number = int.from_bytes(packed.tobytes(), "big")
        assert f"{number:0{8 * len(packed)}b}" == digits + "0" * (-n_bits % 8)


def test_no_rows():
    packed = pack_codes(np.empty((0, 9), dtype=np.int8))
    assert packed.shape == (0, 2)
    assert unpack_codes(packed, 9).shape == (0, 9)


@pytest.mark.parametrize(
    "form",
    [
        np.ndarray.tolist,
        pd.DataFrame,
        torch.tensor,
        lambda codes: codes.astype(np.float32),
        lambda codes: codes.astype(np.int64),
        np.asfortranarray,
    ],
)
def test_forms(form):
    assert_array_equal(pack_codes(form(CODES)), [[0b10100000], [0], [0b11100000]])
    assert_array_equal(hamming_distances(form(CODES)), hamming_distances(CODES))


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.array([[1, 0]]), "codes contains the value 0"),
        (np.array([[0.5, 1.0]]), r"codes contains the value 0\.5"),
        (np.array([[1, 2]]), "codes contains the value 2"),
        (np.array([[True, True]]), "codes has the dtype bool"),
        (np.array([[1, 1]], dtype=np.uint8), "codes has the dtype uint8"),
        (np.array([[1.0, np.nan]]), "Input codes contains NaN"),
        (np.array([1, -1]), "Expected 2D array"),
        (np.empty((2, 0), dtype=np.int8), r"0 feature\(s\)"),
    ],
)
def test_pack_codes_refuses(codes, message):
    with pytest.raises(ValueError, match=message):
        pack_codes(codes)


@pytest.mark.parametrize(
    ("packed", "n_bits", "message"),
    [
        (CODES, 3, "must have the dtype uint8, got int8"),
        (
            np.zeros((2, 2), dtype=np.uint8),
            17,
            "17 bits take 3 bytes, but packed has 2",
        ),
        (np.zeros((2, 2), dtype=np.uint8), 8, "8 bits take 1 bytes, but packed has 2"),
        (np.array([[1]], dtype=np.uint8), 7, "set bits beyond the first 7"),
        (np.array([[0]], dtype=np.uint8), 0, "'n_bits' parameter .* must be an int"),
        (np.zeros(3, dtype=np.uint8), 8, "Expected 2D array"),
    ],
)
def test_unpack_codes_refuses(packed, n_bits, message):
    with pytest.raises(ValueError, match=message):
        unpack_codes(packed, n_bits)


@pytest.mark.parametrize("n_bits", [1, 7, 8, 20, 64, 65, 255, 256, 300])
def test_distances_are_those_of_scipy(n_bits):
    A, B = random_codes(30, n_bits), random_codes(50, n_bits, seed=1)
    expected = cdist(A, B, "hamming") * n_bits
    distances = hamming_distances(A, B)
    assert distances.dtype == np.int32
    assert_array_equal(distances, np.rint(expected))
    assert_array_equal(hamming_distances(pack_codes(A), pack_codes(B)), distances)
    assert_array_equal(hamming_distances(A), hamming_distances(A, A))


def test_opposite_codes_of_many_bits():
    ones = np.ones((1, 70_001), dtype=np.int8)
    assert hamming_distances(ones, -ones) == [[70_001]]


def test_distances_need_little_memory_beside_the_result():
    A = random_codes(4000, 64)
    A_packed = pack_codes(A)
    tracemalloc.start()
    distances = hamming_distances(A_packed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < distances.nbytes + 8e6
    half = (64 - A[:5].astype(int) @ A.T.astype(int)) // 2
    assert_array_equal(distances[:5], half)


@pytest.mark.parametrize(
    ("A", "B", "message"),
    [
        (CODES, pack_codes(CODES), "A has the dtype int8 and B has the dtype uint8"),
        (CODES, CODES[:, :2], "A has 3 columns and B has 2"),
        (CODES, CODES * 2, "B contains the value"),
        (CODES * 0, CODES, "A contains the value 0"),
        (CODES[:0], CODES, r"0 sample\(s\)"),
    ],
)
def test_distances_refuse(A, B, message):
    with pytest.raises(ValueError, match=message):
        hamming_distances(A, B)
