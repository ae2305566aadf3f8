"""Encoding in blocks: rows that do not depend on their neighbours."""

# SPDX-License-Identifier: BSD-3-Clause

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from torch.utils.data import Subset

from sklearn_cmr.nn.layers import make_mlp
from sklearn_cmr.training import RowDataset, encode_dataset, encode_in_blocks

CPU = torch.device("cpu")
N_ROWS = 300


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return make_mlp([37, 65, 11], activation="tanh", output_activation="tanh").eval()


def make_rows(n_rows=N_ROWS):
    return np.random.default_rng(0).normal(size=(n_rows, 37)).astype(np.float32)


@given(rows=st.lists(st.integers(0, N_ROWS - 1), min_size=1, max_size=200))
@settings(max_examples=40, deadline=None)
def test_rows_are_encoded_alike_in_any_company(network, rows):
    X = make_rows()
    whole = encode_in_blocks(network, X, CPU)
    np.testing.assert_array_equal(encode_in_blocks(network, X[rows], CPU), whole[rows])


def test_single_rows_are_encoded_alike(network):
    X = make_rows()
    alone = [encode_in_blocks(network, X[i : i + 1], CPU) for i in range(N_ROWS)]
    np.testing.assert_array_equal(np.vstack(alone), encode_in_blocks(network, X, CPU))


# Blocks have 64 rows; 16 of them are fetched together.
@pytest.mark.parametrize("n_rows", [1, 64, 300, 1023, 1024, 1025, 2100])
def test_encoding_is_that_of_the_network(network, n_rows):
    X = make_rows(n_rows)
    Z = encode_in_blocks(network, X, CPU)
    assert Z.dtype == np.float32
    with torch.no_grad():
        expected = network(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(Z, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "convert",
    [
        lambda X: X.astype(np.float64),
        np.asfortranarray,
        lambda X: np.ascontiguousarray(X[::-1])[::-1],
        sparse.csr_array,
        lambda X: sparse.csr_matrix(X.astype(np.float64)),
    ],
    ids=["float64", "fortran", "negative strides", "csr", "csr of float64"],
)
def test_kinds_of_matrices(network, convert):
    X = make_rows()
    Z = encode_in_blocks(network, convert(X), CPU)
    np.testing.assert_array_equal(Z, encode_in_blocks(network, X, CPU))


def test_rows_of_a_shorter_block_do_not_leak_into_the_padding(network):
    """A layer that looks at the whole block shows what is behind the rows."""
    sums = []

    def encode(X):
        sums.append(X.abs().sum(1))
        return X

    encode_in_blocks(encode, np.ones((100, 3), dtype=np.float32), CPU)
    assert {len(block) for block in sums} == {len(sums[0])}
    assert int(sum((block > 0).sum() for block in sums)) == 100


def test_dtype_of_the_output_is_kept():
    Z = encode_in_blocks(lambda X: X.sign().to(torch.int8), make_rows(), CPU)
    assert Z.dtype == np.int8


def test_no_graph_and_no_change_of_the_network(network):
    seen = []

    def encode(X):
        seen.append(torch.is_grad_enabled())
        return network(X)

    encode_in_blocks(encode, make_rows(), CPU)
    assert not any(seen)
    assert not network.training
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


def test_memmap_is_not_loaded_as_a_whole(tmp_path):
    n_rows, n_features = 100_000, 100
    shape = (n_rows, n_features)
    path = tmp_path / "X.npy"
    X = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    X[:, 0] = np.arange(n_rows)
    X.flush()
    X = np.load(path, mmap_mode="r")
    network = torch.nn.Linear(n_features, 2)
    tracemalloc.start()
    Z = encode_in_blocks(network, X, CPU)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert Z.shape == (n_rows, 2)
    assert Z.nbytes <= peak < 2e6  # the features are 40 MB


# -- data sets -------------------------------------------------------------------


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("n_rows", [1, 1024, 2100])
def test_encoding_of_a_data_set(network, make, n_rows):
    X = make_rows(n_rows)
    indicator = np.ones((n_rows, 1), dtype=np.uint8)
    features = {"text": np.zeros((n_rows, 2)), "image": make(X)}
    dataset = RowDataset(features, indicator, CPU)
    Z = encode_dataset(network, dataset, "image")
    assert not Z.requires_grad
    expected = encode_in_blocks(network, X, CPU)
    np.testing.assert_allclose(Z.numpy(), expected, rtol=1e-4, atol=1e-6)
    rows = np.random.default_rng(1).permutation(n_rows)[: 1 + n_rows // 2]
    part = encode_dataset(network, Subset(dataset, rows), "image")
    np.testing.assert_allclose(part.numpy(), expected[rows], rtol=1e-4, atol=1e-6)


def test_a_data_set_is_encoded_in_blocks(network):
    sizes = []

    def encode(X):
        sizes.append(len(X))
        assert not torch.is_grad_enabled()
        return X

    X = make_rows(2100)
    dataset = RowDataset({"image": X}, np.ones((2100, 1), dtype=np.uint8), CPU)
    Z = encode_dataset(encode, dataset, "image")
    assert sizes == [1024, 1024, 52]
    np.testing.assert_array_equal(Z.numpy(), X)


# -- GPU -----------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("n_rows", [1, 2, 63, 1023, 1025, 2500])
def test_rows_are_encoded_alike_on_a_gpu(network, n_rows):
    cuda = torch.device("cuda")
    on_gpu = make_mlp([37, 65, 11], activation="tanh", output_activation="tanh").to(
        cuda
    )
    X = np.random.default_rng(0).normal(size=(3000, 37)).astype(np.float32)
    rows = np.random.default_rng(1).permutation(3000)[:n_rows]
    whole = encode_in_blocks(on_gpu, X, cuda)
    np.testing.assert_array_equal(encode_in_blocks(on_gpu, X[rows], cuda), whole[rows])
