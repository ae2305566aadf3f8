"""Batches: which rows, in which order, from which kind of matrix."""

# SPDX-License-Identifier: BSD-3-Clause

import threading
import tracemalloc

import numpy as np
import pytest
import torch
from scipy import sparse
from torch.utils.data import Subset

from sklearn_cmr.training import (
    RowDataset,
    UnpairedDataset,
    indicator_of,
    joint_sampler,
)
from sklearn_cmr.training.batches import BatchIterator, whole_dataset
from sklearn_cmr.training.samplers import EachByItself, in_order, shuffled

N_ROWS, N_FEATURES = 43, 6
CPU = torch.device("cpu")


def integers():
    """Values that every numeric dtype holds exactly, many of them 0."""
    return np.random.default_rng(0).integers(0, 4, (N_ROWS, N_FEATURES))


def read_only_memmap(tmp_path):
    np.save(tmp_path / "X.npy", integers().astype(np.float64))
    return np.load(tmp_path / "X.npy", mmap_mode="r")


def read_only(X):
    X.flags.writeable = False
    return X


def unaligned(X):
    """Give one byte of padding to every row, so that no torch stride describes it."""
    rows = np.zeros(len(X), dtype=[("x", np.float32, X.shape[1]), ("pad", "u1")])
    rows["x"] = X
    return rows["x"]


KINDS = {
    "float64": lambda X: X.astype(np.float64),
    "float16": lambda X: X.astype(np.float16),
    "int64": lambda X: X,
    "uint16": lambda X: X.astype(np.uint16),
    "bool": lambda X: X > 1,
    "big endian": lambda X: X.astype(">f4"),
    "fortran": lambda X: np.asfortranarray(X, dtype=np.float32),
    "columns of a wider array": lambda X: np.hstack([X, X]).astype(np.float32)[:, :6],
    "every other row": lambda X: np.repeat(X, 2, axis=0).astype(np.float32)[::2],
    "negative strides": lambda X: np.ascontiguousarray(X[::-1])[::-1],
    "unaligned rows": unaligned,
    "read only": lambda X: read_only(X.astype(np.float32)),
    "csr": lambda X: sparse.csr_array(X.astype(np.float64)),
    "csr of bool": lambda X: sparse.csr_array(X > 1),
    "csr matrix of int": lambda X: sparse.csr_matrix(X),
}


def make_dataset(X, other=None):
    other = np.arange(X.shape[0], dtype=np.float32)[:, None] if other is None else other
    indicator = np.eye(4, dtype=np.uint8)[np.arange(X.shape[0]) % 4]
    return RowDataset({"image": X, "text": other}, indicator, CPU)


def dense(X):
    X = X.toarray() if sparse.issparse(X) else X
    return np.asarray(X).astype(np.float32)


def assert_same_batches(first, second):
    first, second = list(first), list(second)
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.rows, b.rows)
        assert torch.equal(a.y, b.y)
        assert a.features.keys() == b.features.keys()
        for name in a.features:
            assert a.features[name].dtype == torch.float32
            assert torch.equal(a.features[name], b.features[name])


# -- rows ----------------------------------------------------------------------


@pytest.mark.parametrize("sampler", [shuffled, in_order])
@pytest.mark.parametrize("subset", [None, np.arange(5, 40, 2)])
@pytest.mark.parametrize("batch_size", [1, 10, 1000])
def test_every_row_once(sampler, subset, batch_size):
    dataset = make_dataset(integers())
    rows = np.arange(N_ROWS) if subset is None else subset
    if subset is not None:
        dataset = Subset(dataset, subset)
    generator = torch.Generator().manual_seed(0)
    batches = list(BatchIterator(dataset, batch_size, sampler, generator))
    seen = torch.cat([batch.rows for batch in batches]).numpy()
    assert sorted(seen) == list(rows)
    assert (list(seen) == list(rows)) == (sampler is in_order)
    assert [len(batch.rows) for batch in batches[:-1]] == [batch_size] * (
        len(batches) - 1
    )
    for batch in batches:
        assert torch.equal(batch.features["text"][:, 0], batch.rows.float())
        assert torch.equal(batch.y.argmax(1), batch.rows % 4)


def test_order_depends_on_the_generator_alone():
    dataset = make_dataset(integers())

    def order(seed):
        torch.manual_seed(np.random.default_rng().integers(100))
        generator = torch.Generator().manual_seed(seed)
        batches = BatchIterator(dataset, 8, shuffled, generator)
        return [torch.cat([batch.rows for batch in batches]) for _ in range(2)]

    first, second = order(0)
    assert not torch.equal(first, second)
    again, _ = order(0)
    assert torch.equal(first, again)
    other, _ = order(1)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("n_rows", "min_batch_size", "expected"),
    [
        (21, 1, [10, 10, 1]),
        (21, 2, [10, 11]),
        (22, 2, [10, 10, 2]),
        (20, 5, [10, 10]),
        (1, 2, [1]),
    ],
)
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_small_last_batch(n_rows, min_batch_size, expected, make):
    dataset = make_dataset(make(integers()[:n_rows]))
    generator = torch.Generator().manual_seed(0)
    batches = BatchIterator(dataset, 10, shuffled, generator, min_batch_size)
    assert [len(batch.rows) for batch in batches] == expected


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("subset", [None, np.arange(3, 40)])
def test_samplers_with_roles(make, subset):
    def triplets(n_samples, batch_size, generator):
        for size in [batch_size] * 40 + [3]:
            yield torch.randint(n_samples, (3, size), generator=generator)

    X = integers()
    dataset = make_dataset(make(X))
    if subset is not None:
        dataset = Subset(dataset, subset)
    batches = list(
        BatchIterator(dataset, 5, triplets, torch.Generator().manual_seed(0))
    )
    assert len(batches) == 41
    assert batches[-1].rows.shape == (3, 3)
    for batch in batches:
        assert batch.features["image"].shape == (*batch.rows.shape, N_FEATURES)
        assert batch.y.shape == (*batch.rows.shape, 4)
        expected = X[batch.rows.numpy()].astype(np.float32)
        np.testing.assert_array_equal(batch.features["image"].numpy(), expected)
        if subset is not None:
            assert set(batch.rows.flatten().tolist()) <= set(subset)


# -- kinds of matrices -----------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_batches_hold_the_rows_as_float32(kind):
    X = KINDS[kind](integers())
    generator = torch.Generator().manual_seed(0)
    for batch in BatchIterator(make_dataset(X), 8, shuffled, generator):
        values = batch.features["image"]
        assert values.dtype == torch.float32
        assert values.is_contiguous()
        np.testing.assert_array_equal(values.numpy(), dense(X)[batch.rows.numpy()])


@pytest.mark.parametrize("kind", KINDS)
def test_consecutive_batches_are_those_of_their_rows(kind):
    """They are cut from what is there, where that is possible."""
    dataset = make_dataset(KINDS[kind](integers()))
    for batch in BatchIterator(dataset, 10):
        assert_same_batches([batch], [dataset.take(batch.rows)])
    first = next(iter(BatchIterator(dataset, 10))).features["text"]
    whole = dataset.features["text"].tensor
    is_cut = first.data_ptr() == whole.data_ptr()
    assert is_cut == dataset.on_device


def test_batches_of_a_read_only_memmap(tmp_path):
    X = read_only_memmap(tmp_path)
    dataset = make_dataset(X)
    assert np.shares_memory(dataset.features["image"].tensor.numpy(), X)
    batches = list(BatchIterator(dataset, 8))
    whole = torch.cat([batch.features["image"] for batch in batches])
    np.testing.assert_array_equal(whole.numpy(), dense(X))


@pytest.mark.parametrize("kind", ["float64", "float16", "int64", "bool", "fortran"])
def test_dense_features_are_shared_not_copied(kind):
    X = KINDS[kind](integers())
    assert np.shares_memory(make_dataset(X).features["image"].tensor.numpy(), X)


def test_sparse_features_are_never_dense_as_a_whole():
    n_rows, n_features = 3000, 500
    X = sparse.random(n_rows, n_features, density=0.001, format="csr", random_state=0)
    dataset = make_dataset(X)
    tracemalloc.start()
    for batch in BatchIterator(dataset, 8):
        assert batch.features["image"].shape[1] == n_features
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A dense batch is 16 kB; the whole matrix 6 MB.
    assert peak < 3e5


# -- reading ahead -----------------------------------------------------------------


def read_ahead(iterator):
    """Take the way of features that wait on the host of an accelerator."""
    return iterator._prefetch(iterator._rows_of_batches())


@pytest.mark.parametrize("n_batches", [1, 2, 5])
@pytest.mark.parametrize("with_subset", [False, True])
def test_reading_ahead_gives_the_same_batches(n_batches, with_subset):
    X = np.random.default_rng(0).normal(size=(4 * n_batches - 1, 3))
    rows = np.random.default_rng(1).permutation(len(X))[: max(1, len(X) - 2)]
    epochs = []
    for part, read in ((X, iter), (sparse.csr_array(X), read_ahead)):
        dataset = make_dataset(part)
        if with_subset:
            dataset = Subset(dataset, rows)
        generator = torch.Generator().manual_seed(0)
        batches = BatchIterator(dataset, 4, shuffled, generator)
        epochs.append([*read(batches), *read(batches)])
    assert_same_batches(*epochs)


class FailingDataset(RowDataset):
    def take(self, rows):
        if (rows >= 100).any():
            raise OSError("the disk is gone")
        return super().take(rows)


def reading_threads():
    return {t for t in threading.enumerate() if "ThreadPoolExecutor" in t.name}


def test_errors_of_the_reading_thread_surface():
    X = sparse.csr_array(np.ones((200, 2)))
    indicator = np.ones((200, 1), dtype=np.uint8)
    dataset = FailingDataset({"image": X}, indicator, CPU)
    others = reading_threads()  # of other packages
    seen = 0
    with pytest.raises(OSError, match="the disk is gone"):
        for _ in read_ahead(BatchIterator(dataset, 4)):
            seen += 1
    assert seen == 25  # rows 0 to 99
    assert reading_threads() <= others


def test_leaving_an_epoch_early_leaves_no_thread():
    dataset = make_dataset(sparse.csr_array(np.ones((200, 2))))
    before = threading.active_count()
    batches = read_ahead(BatchIterator(dataset, 2))
    for number, _ in enumerate(batches):
        if number == 3:
            assert threading.active_count() > before
            break
    batches.close()
    assert threading.active_count() == before


def test_dataset_gives_single_rows():
    dataset = make_dataset(integers())
    assert len(dataset) == N_ROWS
    np.testing.assert_array_equal(
        dataset[5].features["image"][0].numpy(), integers()[5]
    )


# -- modalities with rows of their own -----------------------------------------


def make_unpaired(image_rows=None):
    """43 images, or some of them; 10 texts; both hold their row in each feature."""
    parts = {}
    for name, n_rows in {"image": N_ROWS, "text": 10}.items():
        X = np.repeat(np.arange(n_rows, dtype=np.float32)[:, None], 3, axis=1)
        indicator = np.eye(4, dtype=np.uint8)[np.arange(n_rows) % 4]
        X = sparse.csr_array(X) if name == "text" else X
        parts[name] = RowDataset({name: X}, indicator, CPU)
    if image_rows is not None:
        parts["image"] = Subset(parts["image"], image_rows)
    return UnpairedDataset(parts)


@pytest.mark.parametrize("image_rows", [None, np.arange(5, 40, 2)])
@pytest.mark.parametrize("inner", [shuffled, in_order])
def test_every_modality_in_its_own_order(image_rows, inner):
    dataset = make_unpaired(image_rows)
    n_images = N_ROWS if image_rows is None else len(image_rows)
    assert len(dataset) == n_images and dataset.lengths == [n_images, 10]
    sampler = EachByItself(dataset.lengths, [inner, inner])
    generator = torch.Generator().manual_seed(0)
    batches = list(BatchIterator(dataset, 8, sampler, generator, min_batch_size=4))
    for batch in batches:
        for i, name in enumerate(("image", "text")):
            assert torch.equal(batch.features[name][:, 0], batch.rows[i].float())
            assert torch.equal(batch.y[i].argmax(1), batch.rows[i] % 4)
    rows = torch.cat([batch.rows for batch in batches], dim=1)
    expected = range(N_ROWS) if image_rows is None else image_rows
    assert sorted(rows[0].tolist()) == list(expected)
    # The shorter one starts again when its rows end.
    passes = [p.tolist() for p in rows[1, : n_images // 10 * 10].split(10)]
    assert all(sorted(p) == list(range(10)) for p in passes)
    assert (passes[0] == passes[-1]) == (inner is in_order or len(passes) == 1)
    assert len(set(rows[1, len(passes) * 10 :].tolist())) == n_images % 10


def test_samplers_of_a_data_set_and_of_its_modalities():
    aligned, unpaired = make_dataset(integers()), make_unpaired()
    for dataset in (aligned, Subset(aligned, [3, 1])):
        assert joint_sampler(dataset, lambda part: part) is dataset
    sampler = joint_sampler(unpaired, lambda part: part)
    assert sampler.lengths == [N_ROWS, 10]
    assert sampler.samplers == list(unpaired.parts.values())


def test_whole_data_set_of_a_subset():
    dataset = make_dataset(integers())
    assert whole_dataset(dataset) is whole_dataset(Subset(dataset, [3, 1])) is dataset


@pytest.mark.parametrize("make", [make_dataset, lambda X: make_unpaired()])
def test_every_batch_has_a_cache_of_its_own(make):
    """Consecutive rows are cut in another way than others."""
    dataset = make(integers())
    for inner in (in_order, shuffled):
        sampler = joint_sampler(dataset, lambda part, inner=inner: inner)
        batches = list(BatchIterator(dataset, 8, sampler, torch.Generator()))
        for number, batch in enumerate(batches):
            assert batch.cache == {}
            batch.cache["number"] = number
        assert [batch.cache["number"] for batch in batches] == list(range(len(batches)))


def test_labels_of_a_data_set():
    dataset = make_unpaired(np.array([3, 1]))
    assert indicator_of(dataset.parts["image"]).argmax(axis=1).tolist() == [3, 1]
    labels = indicator_of(dataset.parts["text"])
    assert labels.dtype == np.uint8
    assert labels.argmax(axis=1).tolist() == [i % 4 for i in range(10)]


# -- GPU -----------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_batches_on_a_gpu(kind):
    X = KINDS[kind](integers())
    indicator = np.eye(4, dtype=np.uint8)[np.arange(N_ROWS) % 4]
    batches = []
    for device in ("cpu", "cuda"):
        dataset = RowDataset({"image": X}, indicator, torch.device(device))
        generator = torch.Generator().manual_seed(0)
        batches.append(
            [
                type(batch)(
                    {"image": batch.features["image"].cpu()},
                    batch.y.cpu(),
                    batch.rows.cpu(),
                    {},
                )
                for batch in BatchIterator(dataset, 8, shuffled, generator)
            ]
        )
    assert_same_batches(*batches)
