"""The loader of emoji, against a file server on the loopback and the real files."""

# SPDX-License-Identifier: BSD-3-Clause

import hashlib
import io
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_cmr.datasets import _emoji, fetch_emoji
from sklearn_cmr.pairs import Pairs

LIST = "emoji-test.txt"
ARCHIVE = "cldr-common-41.0.zip"
FACE, HEART, DOG = "\U0001f600", "\u2764\ufe0f", "\U0001f415"
GUIDE_DOG = "\U0001f415\u200d\U0001f9ba"  # a dog, a joiner and a vest
ROWS = f"""\
# group: Smileys & Emotion
# subgroup: face-smiling
1F600                  ; fully-qualified     # {FACE} E1.0 grinning face
# subgroup: heart
2764 FE0F              ; fully-qualified     # {HEART} E0.6 red heart
2764                   ; unqualified         # E0.6 red heart
# group: Component
1F3FB                  ; component           # E1.0 light skin tone
# group: Animals & Nature
# subgroup: animal-mammal
1F415                  ; fully-qualified     # {DOG} E0.7 dog
1F415 200D 1F9BA       ; fully-qualified     # {GUIDE_DOG} E12.0 service dog
1F44B 1F3FB            ; fully-qualified     # E1.0 waving hand: light skin tone
1FAE8                  ; fully-qualified     # E15.0 shaking face
"""
WORDS = {
    "en": {
        FACE: ("grinning face", "face | grin | grinning face"),
        "\u2764": ("red heart", "heart"),
        DOG: ("dog", "dog | pet"),
        GUIDE_DOG: ("service dog", "↑↑↑"),
    },
    "ja": {
        FACE: ("にっこり笑う", "笑顔 | 顔"),
        "\u2764": ("赤いハート", "ハート|愛"),
        DOG: ("イヌ", "犬"),
    },
}


def _xml(entries):
    rows = [
        f'<annotation cp="{key}">{keywords}</annotation>'
        f'<annotation cp="{key}" type="tts">{name}</annotation>'
        for key, (name, keywords) in entries.items()
    ]
    rows = "".join(rows)
    return f"<ldml><annotations>{rows}</annotations></ldml>".encode()


def _words(words):
    """Return files by name: joined emoji have their own, as in the source."""
    files = {}
    for code, entries in words.items():
        joined = {key: value for key, value in entries.items() if "\u200d" in key}
        single = {key: value for key, value in entries.items() if key not in joined}
        files[f"annotations/{code}.xml"] = _xml(single)
        files[f"annotationsDerived/{code}.xml"] = _xml(joined)
    return files


def _zip(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(f"common/{name}", data)
    return content.getvalue()


def _sha256(*contents):
    return hashlib.sha256(b"".join(contents)).hexdigest()


def _put(folder, files):
    for name, content in files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _left_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def files(monkeypatch, tmp_path):
    """A small release, declared to be the published one; nothing is installed."""
    words = _words(WORDS)
    monkeypatch.setattr(_emoji, "_UNICODE_FOLDER", str(tmp_path / "usr"))
    monkeypatch.setattr(_emoji, "_LANGUAGES", sorted(WORDS))
    monkeypatch.setattr(_emoji, "_LIST_SHA256", _sha256(ROWS.encode()))
    monkeypatch.setattr(_emoji, "_WORDS_SHA256", _sha256(*words.values()))
    return {LIST: ROWS.encode(), ARCHIVE: _zip(words)}


@pytest.fixture
def font(monkeypatch, tmp_path):
    """A pretended font, whose picture of an emoji has one gray for its code."""

    def draw(glyphs, character, size):
        return np.full((size, size, 3), ord(character[0]) % 256, dtype=np.uint8)

    monkeypatch.setattr(_emoji, "_load_font", lambda path: None)
    monkeypatch.setattr(_emoji, "_draw", draw)
    path = tmp_path / "font.ttf"
    path.touch()
    return path


@pytest.fixture
def server():
    """A file server; `server.files` maps names to contents."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.removeprefix("/mirror/")
            httpd.requests.append(name)
            content = httpd.files.get(name)
            if content is None or httpd.failures > 0:
                httpd.failures -= 1
                self.send_error(404 if content is None else 503)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.files, httpd.requests, httpd.failures = {}, [], 0
    httpd.url = f"http://127.0.0.1:{httpd.server_port}/mirror"
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield httpd
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture
def fetch(files, font, server, tmp_path):
    """The loader, with the small release on the server and no data at home."""
    server.files |= files

    def call(**params):
        options = {"url": server.url, "n_retries": 0, "delay": 0, "font": font}
        return fetch_emoji(data_home=tmp_path / "home", **(options | params))

    return call


def test_download(fetch, files, server, tmp_path):
    data = fetch(image_size=8)
    assert list(data.emoji) == [FACE, HEART, DOG, GUIDE_DOG]
    assert list(data.text) == [
        "grinning face | face | grin",
        "red heart | heart",
        "dog | pet",
        "service dog",
    ]
    assert list(data.target_names) == ["Smileys & Emotion", "Animals & Nature"]
    assert_array_equal(data.target, [0, 0, 1, 1])
    assert data.images.shape == (4, 8, 8, 3)
    assert_array_equal(data.images[:, 0, 0, 0], [0x00, 0x64, 0x15, 0x15])
    assert data.image.shape == (4, 192)
    assert data.image.dtype == np.float32
    assert_array_equal(data.image[1], np.float32(0x64) / np.float32(255))
    assert [Path(name).name for name in data.filenames[:2]] == ["font.ttf", LIST]
    assert ARCHIVE in data.filenames[2]
    assert "Noto Color Emoji" in data.DESCR
    assert _left_in(tmp_path / "home") == sorted(files)


def test_download_happens_once(fetch, server):
    for _ in range(3):
        fetch()
    fetch(download_if_missing=False)
    assert sorted(server.requests) == sorted([LIST, ARCHIVE])


def test_subgroups(fetch):
    data = fetch(target="subgroup")
    assert list(data.target_names) == ["face-smiling", "heart", "animal-mammal"]
    assert_array_equal(data.target, [0, 1, 2, 2])


def test_languages_leave_out_emoji_that_one_of_them_does_not_name(fetch):
    data = fetch(languages=["ja", "en"])
    assert list(data.emoji) == [FACE, HEART, DOG]
    assert list(data.text) == ["ja", "en"]
    assert list(data.text["ja"]) == [
        "にっこり笑う | 笑顔 | 顔",
        "赤いハート | ハート | 愛",
        "イヌ | 犬",
    ]
    assert list(data.text["en"]) == list(fetch().text[:3])


def test_return_X_y(fetch):
    X, y = fetch(return_X_y=True)
    data = fetch()
    assert isinstance(X, Pairs)
    assert list(X) == ["image", "text"]
    assert_array_equal(X["image"], data.image)
    assert_array_equal(X["text"], data.text)
    assert_array_equal(y, data.target)


def test_return_X_y_has_a_modality_of_each_language(fetch):
    X, y = fetch(languages=("en", "ja"), return_X_y=True)
    assert list(X) == ["image", "en", "ja"]
    assert len(X) == len(y) == 3
    assert X["ja"][2] == "イヌ | 犬"


def test_installed_files_are_preferred_to_a_download(fetch, server, tmp_path):
    _put(tmp_path / "usr" / "emoji", {LIST: ROWS.encode()})
    _put(tmp_path / "usr" / "cldr" / "common", _words(WORDS))
    assert len(fetch().emoji) == 4
    assert server.requests == []
    # Files at home are preferred to them.
    dogs = ROWS[ROWS.index("# group: Animals") :]
    _put(tmp_path / "home" / "emoji", {LIST: dogs.encode()})
    assert list(fetch().emoji) == [DOG, GUIDE_DOG]


def test_a_language_that_is_not_installed_is_downloaded(fetch, server, tmp_path):
    _put(tmp_path / "usr" / "cldr" / "common", _words({"en": WORDS["en"]}))
    fetch()
    assert server.requests == [LIST]
    assert len(fetch(languages="ja").emoji) == 3
    assert server.requests == [LIST, ARCHIVE]


@pytest.mark.parametrize(
    ("name", "package"), [(LIST, "unicode-data"), (ARCHIVE, "unicode-cldr-core")]
)
def test_missing_without_download(fetch, files, server, tmp_path, name, package):
    del files[name]
    _put(tmp_path / "home" / "emoji", files)
    with pytest.raises(OSError, match="`download_if_missing` is False") as caught:
        fetch(download_if_missing=False)
    assert str(caught.value).startswith(f"{name} not found in")
    assert f"{package} " in str(caught.value)
    assert server.requests == []


@pytest.mark.parametrize("name", [LIST, ARCHIVE])
def test_not_on_the_server(fetch, server, name):
    del server.files[name]
    with pytest.raises(OSError, match="could not be downloaded: .*404") as caught:
        fetch()
    assert f"{server.url}/{name}" in str(caught.value)
    assert "unicode-cldr-core" in str(caught.value)


def test_retries(fetch, server):
    server.failures = 2
    with pytest.raises(OSError, match="503"):
        fetch(n_retries=1)
    server.failures = 2
    fetch(n_retries=2)
    assert server.requests.count(LIST) == 5


DAMAGES = {
    "not a zip": (ARCHIVE, b"<html>moved</html>", "not a zip file"),
    "no language": (ARCHIVE, _zip(_words({"en": WORDS["en"]})), "annotations/ja.xml"),
    "other words": (
        ARCHIVE,
        _zip(_words(WORDS | {"en": WORDS["ja"]})),
        "checksum of the words",
    ),
    "other list": (LIST, ROWS.replace("dog", "cat").encode(), "checksum of emoji-test"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_bad_download_is_not_kept(fetch, files, server, tmp_path, damage):
    name, content, reason = DAMAGES[damage]
    server.files[name] = content
    with pytest.raises(OSError, match=reason) as caught:
        fetch()
    assert f"{server.url}/{name}" in str(caught.value)
    assert name not in _left_in(tmp_path / "home")
    server.files[name] = files[name]
    assert len(fetch().emoji) == 4


def test_download_that_is_too_large_is_stopped(fetch, monkeypatch, tmp_path):
    monkeypatch.setattr(_emoji, "_WORDS_BYTES", 100)
    with pytest.raises(OSError, match="has more than 100 bytes"):
        fetch()
    assert _left_in(tmp_path / "home") == [LIST]


def test_archive_whose_members_are_too_large_is_refused(fetch, server, monkeypatch):
    monkeypatch.setattr(_emoji, "_LIST_BYTES", len(ROWS.encode()))
    large = {"en": dict.fromkeys(WORDS["en"], ("dog", "woof " * 1000))}
    server.files[ARCHIVE] = _zip(_words(WORDS | large))
    with pytest.raises(OSError, match="annotations/en.xml is too large"):
        fetch()


def test_a_server_that_does_not_answer(fetch, monkeypatch):
    monkeypatch.setattr(_emoji, "_TIMEOUT", 0.1)
    silent = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    with silent:  # it listens, and nobody accepts
        with pytest.raises(OSError, match="could not be downloaded: .*timed out"):
            fetch(url=f"http://127.0.0.1:{silent.server_port}")


BOMB = b'<!DOCTYPE ldml [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><ldml>&b;</ldml>'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (BOMB, "defines XML entities"),
        (BOMB.decode().encode("utf-16"), "codec can't decode"),
        (b"<ldml>", "no element found"),
    ],
)
def test_files_that_are_not_of_cldr_are_refused(fetch, tmp_path, content, reason):
    common = tmp_path / "usr" / "cldr" / "common"
    _put(common, _words(WORDS) | {"annotations/en.xml": content})
    with pytest.raises(OSError, match=f"en.xml is not a file of CLDR: .*{reason}"):
        fetch()


def test_files_put_by_hand_are_checked_for_their_form(fetch, tmp_path):
    home = tmp_path / "home" / "emoji"
    _put(home, {ARCHIVE: b"no"})
    with pytest.raises(OSError, match="is not a zip file. Remove it"):
        fetch()
    _put(home, {ARCHIVE: _zip({})})
    with pytest.raises(OSError, match="en.xml is not a file of CLDR"):
        fetch()
    _put(home, {LIST: b"\xff no emoji", ARCHIVE: _zip(_words(WORDS))})
    with pytest.raises(OSError, match="must list emoji"):
        fetch()


def test_concurrent_fetches(fetch, files, tmp_path):
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(fetch().target))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for target in results:
        assert_array_equal(target, [0, 0, 1, 1])
    assert _left_in(tmp_path / "home") == sorted(files)


def test_missing_font(fetch, monkeypatch, tmp_path):
    monkeypatch.setattr(_emoji, "_FONT_FOLDERS", (str(tmp_path / "fonts"),))
    with pytest.raises(OSError, match="Noto Color Emoji was not found") as caught:
        fetch(font=None)
    assert str(tmp_path / "home" / "emoji" / "NotoColorEmoji.ttf") in str(caught.value)
    assert str(tmp_path / "fonts" / "NotoColorEmoji.ttf") in str(caught.value)
    assert "fonts-noto-color-emoji (Debian" in str(caught.value)
    with pytest.raises(OSError, match="no file .*other.ttf"):
        fetch(font=tmp_path / "other.ttf")


def test_missing_pillow(files, monkeypatch, tmp_path):
    (tmp_path / "font.ttf").touch()
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="needs Pillow"):
        fetch_emoji(font=tmp_path / "font.ttf", data_home=tmp_path)


def test_pillow_without_raqm(files, monkeypatch, tmp_path):
    features = pytest.importorskip("PIL.features")
    (tmp_path / "font.ttf").touch()
    monkeypatch.setattr(features, "check", lambda feature: False)
    with pytest.raises(ImportError, match="the installed Pillow lacks it"):
        fetch_emoji(font=tmp_path / "font.ttf", data_home=tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("languages", "xx"),
        ("languages", 3),
        ("image_size", 7),
        ("image_size", 129),
        ("target", "family"),
        ("font", 3),
        ("data_home", 3),
        ("url", 3),
        ("download_if_missing", "no"),
        ("return_X_y", "no"),
        ("n_retries", -1),
        ("delay", -1),
    ],
)
def test_parameters_are_validated(name, value):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of"):
        fetch_emoji(**{name: value})


@pytest.mark.parametrize("languages", [[], ["en", "en"], ["en", "xx"], [3]])
def test_lists_of_languages_are_validated(languages):
    with pytest.raises(ValueError, match="`languages` must be one or more different"):
        fetch_emoji(languages=languages)


# From here on, with the files that are installed.


@pytest.fixture
def noto():
    pil_features = pytest.importorskip("PIL.features")
    if not pil_features.check("raqm"):
        pytest.skip("Pillow lacks libraqm")
    for folder in _emoji._FONT_FOLDERS:
        if (path := Path(folder, "NotoColorEmoji.ttf")).is_file():
            return path
    pytest.skip("the font Noto Color Emoji is not installed")


def test_pictures_are_drawn_from_the_font(files, noto, tmp_path):
    _put(tmp_path / "emoji", files)
    data = fetch_emoji(data_home=tmp_path, font=noto, image_size=16)
    assert list(data.emoji) == [FACE, HEART, DOG, GUIDE_DOG]
    face, heart, dog, guide_dog = data.images[:, 4:12, 4:12].reshape(4, -1, 3).mean(1)
    assert min(face[:2]) > face[2] + 40  # yellow
    assert heart[0] > max(heart[1:]) + 80  # red
    assert np.abs(dog - guide_dog).max() > 10  # another picture, of the same size
    corners = data.images[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners[1].min() > 250  # white


def test_emoji_that_the_font_does_not_have_are_left_out(files, noto, tmp_path):
    unknown = "\U0001f415\u200d\U0001f600"  # a joined sequence that no font has
    letter = "A"
    rows = ROWS + (
        "1F415 200D 1F600 ; fully-qualified # E99.0 dog face\n"
        "0041 ; fully-qualified # E99.0 letter\n"
    )
    more = {unknown: ("dog face", "dog"), letter: ("letter", "a")}
    words = _words({"en": WORDS["en"] | more})
    _put(tmp_path / "emoji", {LIST: rows.encode(), ARCHIVE: _zip(words)})
    data = fetch_emoji(data_home=tmp_path, font=noto, image_size=8)
    assert list(data.emoji) == [FACE, HEART, DOG, GUIDE_DOG]


def test_other_fonts_are_refused(files, tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    pytest.importorskip("PIL")
    _put(tmp_path / "emoji", files)
    dejavu = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    rows = ROWS[ROWS.index("# group: Animals") :]
    _put(tmp_path / "emoji", {LIST: rows.encode()})
    with pytest.raises(OSError, match="DejaVuSans.ttf draws none of the emoji"):
        fetch_emoji(data_home=tmp_path, font=dejavu)
    no_font = tmp_path / "text.ttf"
    no_font.write_bytes(b"no font")
    with pytest.raises(OSError, match="`font` must be NotoColorEmoji.ttf.*text.ttf"):
        fetch_emoji(data_home=tmp_path, font=no_font)


def test_checksums_are_those_of_the_releases():
    folder = Path("/usr/share/unicode")
    dtd = folder / "cldr" / "common" / "dtd" / "ldml.dtd"
    if not dtd.is_file() or 'cldrVersion CDATA #FIXED "41"' not in dtd.read_text():
        pytest.skip("CLDR 41 is not installed")
    checksum = hashlib.sha256()
    for code in _emoji._LANGUAGES:
        for part in ("annotations", "annotationsDerived"):
            path = folder / "cldr" / "common" / part / f"{code}.xml"
            checksum.update(path.read_bytes())
    assert checksum.hexdigest() == _emoji._WORDS_SHA256
    emoji_list = (folder / "emoji" / LIST).read_bytes()
    if b"# Version: 15.0\n" in emoji_list:
        assert _sha256(emoji_list) == _emoji._LIST_SHA256


@pytest.mark.slow
def test_real_data(real_data, noto, tmp_path):
    names = {"en": "english", "de": "german", "es": "spanish", "ja": "japanese"}
    try:
        data = fetch_emoji(
            languages=list(names),
            target="subgroup",
            data_home=tmp_path,
            download_if_missing=False,
        )
    except OSError as error:
        pytest.skip(str(error))
    expected = real_data("emoji")
    if len(data.emoji) != 1849:
        pytest.skip("the installed files are of other versions")
    rows = expected["english"] != ""
    assert_array_equal(data.emoji, expected["chars"][rows])
    assert len(data.target_names) == 99
    assert_array_equal(data.target_names[data.target], expected["subgroup"][rows])
    for code, name in names.items():
        for found, words in zip(data.text[code], expected[name][rows], strict=True):
            assert set(found.split(" | ")) == set(words.split(" | "))
    difference = np.abs(data.images.astype(float) - expected["images"][rows])
    assert difference.mean() < 1
    assert difference.mean((1, 2, 3)).max() < 12
