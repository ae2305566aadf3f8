"""The loader of the Wikipedia set, against a file server on the loopback."""

# SPDX-License-Identifier: BSD-3-Clause

import hashlib
import io
import threading
import warnings
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.io import savemat

from sklearn_cmr.datasets import _wikipedia, fetch_wikipedia
from sklearn_cmr.pairs import Pairs

FEATURES = "raw_features.mat"
LISTS = {"train": "trainset_txt_img_cat.list", "test": "testset_txt_img_cat.list"}


def _mat(train, test):
    """Write features as the source names them."""
    content = io.BytesIO()
    arrays = {"I_tr": train[0], "T_tr": train[1], "I_te": test[0], "T_te": test[1]}
    savemat(content, arrays)
    return content.getvalue()


def _list(target, end="\n"):
    rows = (f"t{row}-1.2\ti{row}\t{k + 1}{end}" for row, k in enumerate(target))
    return "".join(rows).encode()


def _zip(files, folder="wikipedia_dataset/"):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(folder + name, data)
    return content.getvalue()


def _sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        part: (rng.random((n, 6)), rng.random((n, 3)), rng.integers(0, 10, n))
        for part, n in (("train", 12), ("test", 5))
    }


@pytest.fixture
def files(arrays, monkeypatch):
    """A small set in the form of the source, declared to be the published one."""
    files = {FEATURES: _mat(arrays["train"], arrays["test"])}
    checksums = {}
    for part, name in LISTS.items():
        target = arrays[part][2]
        files[name] = _list(target)
        checksums[part] = _sha256(bytes((target + 1).tolist()))
    monkeypatch.setattr(_wikipedia, "_FEATURES_SHA256", _sha256(files[FEATURES]))
    monkeypatch.setattr(_wikipedia, "_CATEGORIES_SHA256", checksums)
    return files


@pytest.fixture
def server():
    """A file server; `server.files` maps paths to contents."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            httpd.requests.append(self.path)
            httpd.goes_on.wait()
            content = httpd.files.get(self.path)
            if content is None or httpd.failures > 0:
                httpd.failures -= 1
                self.send_error(404 if content is None else 503)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: httpd.cut])
            httpd.sends_all.wait()

        def log_message(self, *args):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.files, httpd.requests, httpd.failures, httpd.cut = {}, [], 0, None
    # Cleared where the server is to stop before the answer, or after the cut.
    httpd.goes_on, httpd.sends_all = threading.Event(), threading.Event()
    httpd.goes_on.set()
    httpd.sends_all.set()
    httpd.url = f"http://127.0.0.1:{httpd.server_port}/wikipedia_dataset.zip"
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield httpd
    httpd.goes_on.set()
    httpd.sends_all.set()
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def _fetch(server, data_home, **params):
    return fetch_wikipedia(
        data_home=data_home, url=server.url, **({"n_retries": 0, "delay": 0} | params)
    )


def _put(folder, files):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _left_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_download(server, files, arrays, tmp_path):
    server.files["/wikipedia_dataset.zip"] = _zip(files)
    for part, (image, text, target) in arrays.items():
        data = _fetch(server, tmp_path, subset=part)
        assert_array_equal(data.image, image)
        assert_array_equal(data.text, text)
        assert_array_equal(data.target, target)
        assert data.image.dtype == data.text.dtype == np.float64
        assert data.image.flags.c_contiguous and data.text.flags.c_contiguous
        assert data.target.dtype == np.int64
        assert list(data.text_id[:2]) == ["t0-1.2", "t1-1.2"]
        assert list(data.image_id[:2]) == ["i0", "i1"]
    assert list(data.target_names[[0, 9]]) == ["art", "warfare"]
    assert "Rasiwasia" in data.DESCR
    assert _left_in(tmp_path) == sorted(files)


def test_download_happens_once(server, files, tmp_path):
    server.files["/wikipedia_dataset.zip"] = _zip(files)
    for _ in range(3):
        _fetch(server, tmp_path)
    fetch_wikipedia(data_home=tmp_path, download_if_missing=False)
    assert server.requests == ["/wikipedia_dataset.zip"]


def test_train_is_the_default_and_all_is_train_then_test(files, arrays, tmp_path):
    _put(tmp_path / "wikipedia", files)
    default = fetch_wikipedia(data_home=tmp_path)
    assert_array_equal(default.image, arrays["train"][0])
    data = fetch_wikipedia(data_home=tmp_path, subset="all")
    for position, key in enumerate(("image", "text", "target")):
        expected = [arrays[part][position] for part in ("train", "test")]
        assert_array_equal(data[key], np.concatenate(expected))
    assert len(data.image_id) == len(data.text_id) == 17


def test_return_X_y(files, arrays, tmp_path):
    _put(tmp_path / "wikipedia", files)
    X, y = fetch_wikipedia(data_home=tmp_path, subset="test", return_X_y=True)
    image, text, target = arrays["test"]
    assert isinstance(X, Pairs)
    assert_array_equal(X["image"], image)
    assert_array_equal(X["text"], text)
    assert_array_equal(y, target)


def test_scikit_learn_data_is_the_default_folder(files, arrays, tmp_path, monkeypatch):
    _put(tmp_path / "wikipedia", files)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    data = fetch_wikipedia(download_if_missing=False)
    assert_array_equal(data.target, arrays["train"][2])


def test_files_put_by_hand_need_no_server(server, files, arrays, tmp_path):
    _put(tmp_path / "wikipedia", files)
    data = _fetch(server, str(tmp_path))
    assert_array_equal(data.text, arrays["train"][1])
    assert server.requests == []


@pytest.mark.parametrize("folder", ["", "a/b/"])
def test_depth_in_the_archive_does_not_matter(server, files, tmp_path, folder):
    server.files["/wikipedia_dataset.zip"] = _zip(files, folder)
    _fetch(server, tmp_path)
    assert _left_in(tmp_path) == sorted(files)


def test_only_the_three_files_are_kept(server, files, tmp_path):
    more = {"images/art/i0.jpg": b"0", "../../evil.py": b"1", "categories.list": b"art"}
    server.files["/wikipedia_dataset.zip"] = _zip(files | more)
    _fetch(server, tmp_path)
    assert _left_in(tmp_path) == sorted(files)
    assert not list(tmp_path.parent.glob("evil.py"))


@pytest.mark.parametrize("end", ["\r\n", "\n\n", "\n \n"])
def test_line_ends_do_not_matter(files, arrays, tmp_path, end):
    files[LISTS["train"]] = _list(arrays["train"][2], end)
    files[LISTS["test"]] = files[LISTS["test"]].rstrip()
    _put(tmp_path / "wikipedia", files)
    data = fetch_wikipedia(data_home=tmp_path, subset="all")
    assert_array_equal(data.target[:12], arrays["train"][2])
    assert_array_equal(data.target[12:], arrays["test"][2])
    assert data.image_id[-1] == "i4"


@pytest.mark.parametrize("name", [FEATURES, LISTS["test"]])
def test_missing_without_download(server, files, tmp_path, name):
    del files[name]
    _put(tmp_path / "wikipedia", files)
    with pytest.raises(OSError, match="not found in .*wikipedia") as caught:
        _fetch(server, tmp_path, download_if_missing=False)
    assert str(caught.value).startswith(f"{name} not found")
    assert "`download_if_missing` is False" in str(caught.value)
    assert server.requests == []


def test_missing_with_download_is_completed(server, files, tmp_path):
    server.files["/wikipedia_dataset.zip"] = _zip(files)
    _put(tmp_path / "wikipedia", {FEATURES: files[FEATURES]})
    _fetch(server, tmp_path)
    assert _left_in(tmp_path) == sorted(files)


def test_not_found_on_the_server(server, tmp_path):
    with pytest.raises(OSError, match="could not be downloaded: .*404") as caught:
        _fetch(server, tmp_path)
    message = str(caught.value)
    assert server.url in message
    assert str(tmp_path / "wikipedia") in message
    assert all(name in message for name in (FEATURES, *LISTS.values()))
    assert _left_in(tmp_path) == []


def test_server_down(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(OSError, match="could not be downloaded") as caught:
        _fetch(server, tmp_path)
    assert server.url in str(caught.value)
    assert _left_in(tmp_path) == []


def test_retries(server, files, tmp_path):
    server.files["/wikipedia_dataset.zip"] = _zip(files)
    server.failures = 2
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Retry downloading")
        _fetch(server, tmp_path, n_retries=2)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda files: b"<html>moved</html>", "not a zip file"),
        (lambda files: _zip(files | {FEATURES: b"no"}), "checksum of raw_features"),
        (lambda files: _zip({FEATURES: files[FEATURES]}), "is not in the archive"),
        (
            lambda files: _zip(files | {LISTS["test"]: b"t0 i0 1\n"}),
            "checksum of the categories of testset",
        ),
    ],
)
def test_bad_download_is_not_kept(server, files, tmp_path, damage, reason):
    server.files["/wikipedia_dataset.zip"] = damage(files)
    with pytest.raises(OSError, match="is not the Wikipedia archive") as caught:
        _fetch(server, tmp_path)
    assert server.url in str(caught.value)
    assert reason in str(caught.value)
    assert _left_in(tmp_path) == []
    # A later, good download is taken.
    server.files["/wikipedia_dataset.zip"] = _zip(files)
    _fetch(server, tmp_path)
    assert _left_in(tmp_path) == sorted(files)


def test_damaged_bytes_in_the_archive(server, files, tmp_path):
    content = bytearray(_zip(files))
    for position in range(100, 400):
        content[position] ^= 0xFF
    server.files["/wikipedia_dataset.zip"] = bytes(content)
    with pytest.raises(OSError, match="is not the Wikipedia archive"):
        _fetch(server, tmp_path)
    assert _left_in(tmp_path) == []


def test_download_cut_short(server, files, tmp_path):
    server.files["/wikipedia_dataset.zip"] = _zip(files)
    server.cut = 200
    with pytest.raises(OSError, match="could not be downloaded: .*got only 200"):
        _fetch(server, tmp_path)
    assert _left_in(tmp_path) == []


@pytest.mark.parametrize("stop", ["goes_on", "sends_all"])
def test_server_that_stops_is_not_waited_for(server, files, tmp_path, stop):
    server.files["/wikipedia_dataset.zip"] = _zip(files)
    server.cut = 200
    getattr(server, stop).clear()
    with pytest.raises(OSError, match="could not be downloaded: .*timed out"):
        _fetch(server, tmp_path, timeout=0.1)
    assert _left_in(tmp_path) == []


def test_timeout_is_retried(server, files, tmp_path):
    server.files["/wikipedia_dataset.zip"] = _zip(files)
    server.goes_on.clear()
    with pytest.warns(UserWarning, match="Retry downloading") as caught:
        with pytest.raises(OSError, match="timed out"):
            _fetch(server, tmp_path, timeout=0.1, n_retries=2)
    assert len(server.requests) == 3
    assert len(caught) == 2


def test_archive_is_limited(server, files, tmp_path, monkeypatch):
    server.files["/wikipedia_dataset.zip"] = _zip(files)
    monkeypatch.setattr(_wikipedia, "_MAX_ARCHIVE", 100)
    with pytest.raises(OSError, match="downloaded: it is larger than 100 bytes"):
        _fetch(server, tmp_path)
    assert _left_in(tmp_path) == []


def test_extracted_files_are_limited(server, files, tmp_path, monkeypatch):
    monkeypatch.setattr(_wikipedia, "_MAX_EXTRACTED", 2**16)
    # A thousandth of it in the archive.
    files[LISTS["train"]] = bytes(2**16 + 1)
    server.files["/wikipedia_dataset.zip"] = _zip(files)
    with pytest.raises(OSError, match="takes 65537 bytes, more than 65536"):
        _fetch(server, tmp_path)
    assert _left_in(tmp_path) == []


def test_addresses_are_https():
    assert _wikipedia._URL.startswith("https://")


@pytest.mark.parametrize("url", ["wikipedia.zip", "nothing://there", "http://"])
def test_url_of_nothing(tmp_path, url):
    with pytest.raises(OSError, match=f"{url} could not be downloaded: "):
        fetch_wikipedia(data_home=tmp_path, url=url, n_retries=0)
    assert _left_in(tmp_path) == []


def test_changed_features_on_disk_are_refused(server, files, tmp_path):
    folder = tmp_path / "wikipedia"
    changed = bytearray(files[FEATURES])
    changed[-1] ^= 1
    _put(folder, files | {FEATURES: bytes(changed)})
    with pytest.raises(OSError, match="Remove this file from") as caught:
        _fetch(server, tmp_path)
    assert _sha256(files[FEATURES]) in str(caught.value)
    assert _sha256(changed) in str(caught.value)
    assert str(folder) in str(caught.value)
    # The file may be somebody's own: it is neither used nor removed.
    assert _left_in(folder) == sorted(files)
    assert server.requests == []


@pytest.mark.parametrize(
    "row", [b"only two\n", b"a b c\n", b"a b 256\n", b"a b -1\n", b"\xff\xfe b 1\n"]
)
def test_list_in_another_form_is_refused(files, tmp_path, row):
    files[LISTS["train"]] += row
    _put(tmp_path / "wikipedia", files)
    with pytest.raises(OSError, match="trainset_txt_img_cat.list must hold"):
        fetch_wikipedia(data_home=tmp_path)


@pytest.mark.parametrize(
    "change", [lambda rows: rows[::-1], lambda rows: rows[:-1], lambda rows: []]
)
def test_list_in_another_order_is_refused(files, tmp_path, change):
    rows = files[LISTS["train"]].splitlines(keepends=True)
    files[LISTS["train"]] = b"".join(change(rows))
    _put(tmp_path / "wikipedia", files)
    with pytest.raises(OSError, match="checksum of the categories of trainset"):
        fetch_wikipedia(data_home=tmp_path)


def test_concurrent_fetches(server, files, arrays, tmp_path):
    server.files["/wikipedia_dataset.zip"] = _zip(files)
    results = []

    def fetch():
        results.append(_fetch(server, tmp_path).target)

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for target in results:
        assert_array_equal(target, arrays["train"][2])
    assert _left_in(tmp_path) == sorted(files)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data_home", 3),
        ("subset", "valid"),
        ("url", 3),
        ("download_if_missing", "no"),
        ("return_X_y", "no"),
        ("n_retries", -1),
        ("delay", -1),
        ("timeout", 0),
    ],
)
def test_parameters_are_validated(name, value):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of"):
        fetch_wikipedia(**{name: value})


def test_real_data(real_data, tmp_path, monkeypatch):
    real = real_data("wiki_sift_lda")
    parts = {
        part: [real[f"{kind}_{part}"] for kind in ("image", "text", "y")]
        for part in LISTS
    }
    files = {FEATURES: _mat(parts["train"], parts["test"])}
    files |= {name: _list(parts[part][2]) for part, name in LISTS.items()}
    # Rewritten here, so not byte for byte the published file; the checksums of the
    # published categories stay in force.
    monkeypatch.setattr(_wikipedia, "_FEATURES_SHA256", _sha256(files[FEATURES]))
    _put(tmp_path / "wikipedia", files)
    for part, n_samples in (("train", 2173), ("test", 693)):
        data = fetch_wikipedia(data_home=tmp_path, subset=part)
        image, text, target = parts[part]
        assert data.image.shape == (n_samples, 128)
        assert data.text.shape == (n_samples, 10)
        assert data.image.dtype == np.float64
        assert_array_equal(data.image, image)
        assert_array_equal(data.text, text)
        assert_array_equal(data.target, target)
