"""Galleries in files: the same result, mapped into memory, and checked."""

# SPDX-License-Identifier: BSD-3-Clause

import json
import pickle
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError

from sklearn_cmr import CrossModalNeighbors
from sklearn_cmr.codes import pack_codes, unpack_codes


def sample(form, n_items, seed=0):
    rng = np.random.RandomState(seed)
    if form == "real":
        return rng.randn(n_items, 5)
    codes = np.where(rng.randint(2, size=(n_items, form)), 1, -1).astype(np.int8)
    return codes


@pytest.fixture
def saved(tmp_path):
    """A small gallery in a folder."""
    model = CrossModalNeighbors(n_neighbors=1).fit(np.eye(3), ids=["a", "b", "c"])
    model.save(tmp_path / "gallery")
    return tmp_path / "gallery"


@pytest.mark.parametrize("form", ["real", 3, 20, 64, 130])
@pytest.mark.parametrize("mmap_mode", ["r", None])
@pytest.mark.parametrize("algorithm", ["auto", "brute", "faiss"])
def test_a_loaded_gallery_gives_the_same_result(tmp_path, form, mmap_mode, algorithm):
    if algorithm == "faiss":
        pytest.importorskip("faiss")
    gallery, query = sample(form, 9000), sample(form, 11, seed=1)
    model = CrossModalNeighbors(n_neighbors=7, radius=1.5, algorithm=algorithm)
    model.fit(gallery).save(tmp_path / "new" / "gallery")
    copied = CrossModalNeighbors.load(tmp_path / "new" / "gallery", mmap_mode=mmap_mode)
    assert copied.get_params() == model.get_params()
    assert copied.n_features_in_ == model.n_features_in_
    for search in ("kneighbors", "radius_neighbors"):
        for one, other in zip(
            getattr(copied, search)(query), getattr(model, search)(query), strict=True
        ):
            assert all(map(np.array_equal, one, other))
    assert type(copied.kneighbors(query)[0]) is np.ndarray


@pytest.mark.parametrize(
    "ids",
    [
        np.arange(3) + 2**40,
        np.array([0.5, 1.5, 2.5]),
        np.array(["a", "bb", "ü"]),
        np.array(["a", "bb", "ü"], dtype=object),
        pd.Series(["a", "bb", "c"]),
    ],
)
@pytest.mark.parametrize("mmap_mode", ["r", None])
def test_ids_come_back(tmp_path, ids, mmap_mode):
    CrossModalNeighbors(n_neighbors=1).fit(np.eye(3), ids=ids).save(tmp_path)
    model = CrossModalNeighbors.load(tmp_path, mmap_mode=mmap_mode)
    assert model.ids_.tolist() == list(ids)
    found = model.kneighbors(np.eye(3))[1]
    assert found.ravel().tolist() == list(ids)
    assert type(found) is np.ndarray
    with pytest.raises(ValueError, match="ids must be unique"):
        model.add(np.eye(3), ids=ids)


def test_names_of_columns_come_back(tmp_path):
    X = pd.DataFrame(np.eye(3), columns=["x", "y", "z"])
    CrossModalNeighbors(n_neighbors=1, radius=np.float64(2.5)).fit(X).save(tmp_path)
    model = CrossModalNeighbors.load(tmp_path)
    assert model.feature_names_in_.tolist() == ["x", "y", "z"]
    assert model.radius == 2.5
    with pytest.raises(ValueError, match="feature names should match"):
        model.kneighbors(X.iloc[:, ::-1])


def test_packed_rows_are_in_the_order_of_pack_codes(tmp_path):
    codes = sample(20, 9)
    CrossModalNeighbors().fit(codes).save(tmp_path)
    packed = np.load(tmp_path / "gallery.npy")
    assert_array_equal(packed, pack_codes(codes))
    assert_array_equal(unpack_codes(packed, 20), codes)


@pytest.mark.parametrize("form", ["real", 64])
def test_changes_leave_the_files_alone(tmp_path, form):
    gallery, query = sample(form, 50), sample(form, 4, seed=1)
    model = CrossModalNeighbors(n_neighbors=3).fit(gallery)
    model.save(tmp_path)
    before = (tmp_path / "gallery.npy").read_bytes()
    mapped = CrossModalNeighbors.load(tmp_path)
    mapped.kneighbors(query)
    for changed in (model, mapped):
        changed.update(query, ids=[5, 7, 1, 2]).add(query).remove([0, 51])
    for one, other in zip(
        mapped.kneighbors(query), model.kneighbors(query), strict=True
    ):
        assert_array_equal(one, other)
    assert (tmp_path / "gallery.npy").read_bytes() == before
    assert type(mapped._gallery()) is np.ndarray
    mapped.save(tmp_path / "again")
    again = CrossModalNeighbors.load(tmp_path / "again")
    assert_array_equal(again.kneighbors(query)[1], model.kneighbors(query)[1])


def test_part_of_a_mapped_gallery(saved):
    model = CrossModalNeighbors.load(saved)
    found = model.kneighbors(np.eye(3), subset=["c", "a"])[1]
    assert found.ravel().tolist() == ["a", "a", "c"]


def test_a_mapped_gallery_can_be_pickled(saved):
    model = CrossModalNeighbors.load(saved)
    content = pickle.dumps(model)
    for path in saved.iterdir():
        path.unlink()
    copied = pickle.loads(content)
    assert copied.kneighbors(np.eye(3))[1].ravel().tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("n_bytes", [8, 20])
def test_a_large_gallery_starts_at_once(tmp_path, n_bytes):
    n_items = 10**7
    # A sparse file: it takes no room on the disk.
    CrossModalNeighbors().fit(np.zeros((1, n_bytes), dtype=np.uint8)).save(tmp_path)
    gallery = np.lib.format.open_memmap(
        tmp_path / "gallery.npy", "w+", np.uint8, (n_items, n_bytes)
    )
    gallery[n_items - 3] = 255
    gallery.flush()
    header = tmp_path / "neighbors.json"
    content = json.loads(header.read_text()) | {"shape": [n_items, n_bytes]}
    header.write_text(json.dumps(content))
    tracemalloc.start()
    model = CrossModalNeighbors.load(tmp_path)
    at_start = tracemalloc.get_traced_memory()[1]
    query = np.full((1, n_bytes), 255, dtype=np.uint8)
    distances, rows = model.kneighbors(query, 2)
    at_end = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows.tolist() == [[n_items - 3, 0]]
    assert distances.tolist() == [[0, 8 * n_bytes]]
    assert at_start < 1e5
    assert at_end < 2e7  # a quarter of the smaller file


def test_save_needs_an_empty_folder_and_a_gallery(saved, tmp_path):
    model = CrossModalNeighbors.load(saved)
    with pytest.raises(FileExistsError, match="is not empty. Save to a new folder"):
        model.save(saved)
    assert CrossModalNeighbors.load(saved).n_samples_fit_ == 3
    with pytest.raises(NotFittedError):
        CrossModalNeighbors().save(tmp_path / "other")
    model = CrossModalNeighbors().fit(np.eye(2), ids=np.array(["a", 1], dtype=object))
    with pytest.raises(ValueError, match="can be saved if all of them are strings"):
        model.save(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_missing_files(saved, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no gallery"):
        CrossModalNeighbors.load(tmp_path / "nothing")
    (saved / "ids.npy").unlink()
    with pytest.raises(FileNotFoundError, match="ids.npy"):
        CrossModalNeighbors.load(saved)


def change_header(folder, **entries):
    path = folder / "neighbors.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.mark.parametrize("mmap_mode", ["r", None])
def test_damaged_arrays(saved, mmap_mode):
    path = saved / "gallery.npy"
    content = path.read_bytes()
    for damaged in (content[:-1], content[:20], b"", b"no array" * 20):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="gallery.npy is damaged or incomplete"):
            CrossModalNeighbors.load(saved, mmap_mode=mmap_mode)
    for other in (np.eye(4), np.eye(3, dtype=np.float32), np.ones(9)):
        np.save(path, other)
        with pytest.raises(ValueError, match="The files are not of one gallery"):
            CrossModalNeighbors.load(saved, mmap_mode=mmap_mode)
    path.write_bytes(content)
    np.save(saved / "ids.npy", np.array(["a", "b"]))
    with pytest.raises(ValueError, match="ids.npy holds an array of shape"):
        CrossModalNeighbors.load(saved, mmap_mode=mmap_mode)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"format": 2}, "has the format 2, this version of sklearn_cmr reads format 1"),
        ({"shape": 3}, "neighbors.json is damaged"),
        ({"parameters": {"n_neighbors": 0}}, "header of .* is damaged: The 'n_nei"),
        ({"parameters": {"n_trees": 5}}, "header of .* is damaged: .*n_trees"),
        ({"n_features_in": 4}, "do not fit the metric 'cosine' of 4 features"),
        ({"effective_metric": "hamming"}, "do not fit the metric 'hamming'"),
    ],
)
def test_damaged_header(saved, entries, message):
    change_header(saved, **entries)
    with pytest.raises(ValueError, match=message):
        CrossModalNeighbors.load(saved)


def test_header_that_is_no_json(saved):
    (saved / "neighbors.json").write_text("{")
    with pytest.raises(ValueError, match="neighbors.json is damaged"):
        CrossModalNeighbors.load(saved)


def test_load_maps_or_reads(saved):
    with pytest.raises(ValueError, match="mmap_mode must be 'r' or None, got 'w'"):
        CrossModalNeighbors.load(saved, mmap_mode="w")
