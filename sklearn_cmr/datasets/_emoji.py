"""Unicode's emoji: pictures, groups, and words in many languages."""

# SPDX-License-Identifier: BSD-3-Clause

import hashlib
import logging
import os
import re
import time
import zipfile
import zlib
from http.client import HTTPException
from io import BytesIO
from numbers import Integral, Real
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen
from xml.etree import ElementTree

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from sklearn_cmr.pairs import make_pairs

logger = logging.getLogger(__name__)

_DESCR = """\
Emoji and their words
---------------------

Unicode's emoji without variants of the skin tone, each with a picture, with its group
and subgroup, and with its name and keywords in one or several of 79 languages.

The pictures are drawn from the font Noto Color Emoji (SIL Open Font License 1.1), the
groups are those of Unicode's emoji-test.txt, and the words are those of the Unicode
Common Locale Data Repository (both under the Unicode License). With emoji 15.0 and CLDR
41 these are 1,849 emoji in 9 groups and 99 subgroups.

References
----------
Unicode Technical Standard #51, "Unicode Emoji". https://www.unicode.org/reports/tr51/
Unicode Common Locale Data Repository. https://cldr.unicode.org/
Noto Emoji fonts. https://github.com/googlefonts/noto-emoji
"""

_FONT = "NotoColorEmoji.ttf"
# Where Debian and Ubuntu, Fedora, Arch and Alpine install it.
_FONT_FOLDERS = (
    "/usr/share/fonts/truetype/noto",
    "/usr/share/fonts/google-noto-color-emoji-fonts",
    "/usr/share/fonts/noto",
)
_UNICODE_FOLDER = "/usr/share/unicode"
_LIST = "emoji-test.txt"
_LIST_URL = "https://unicode.org/Public/emoji/15.0/emoji-test.txt"
_LIST_SHA256 = "8445f23ac8388e096be19d0262e14fceff856ff52093f2356dc89485f1a853db"
_WORDS = "cldr-common-41.0.zip"
_WORDS_URL = "https://unicode.org/Public/cldr/41/cldr-common-41.0.zip"
# Of the files that are read from the archive, of all languages, one after another.
_WORDS_SHA256 = "2e5e179cd86c2a33a62c15ac602a4704d7eca35a34e997f175e8f76e85034fc4"
_WORDS_FOLDERS = ("annotations", "annotationsDerived")
# Those that name every emoji.
_LANGUAGES = (
    "af am ar as az be bg bn bs ca cs cy da de el en es et eu fa fi fil fr ga gd gl gu "
    "he hi hr hu hy is it ja ka kk km kn ko lo lt lv mk ml mn mr ms my ne nl no pa pl "
    "pt ro ru si sk sl so sq sr sr_Latn sv sw ta te th tk tr uk ur uz vi yue yue_Hans "
    "zh zh_Hant"
).split()
_LIST_BYTES = 10_000_000
_WORDS_BYTES = 200_000_000
_TIMEOUT = 30  # seconds without a single byte

_SKIN_TONES = {chr(code) for code in range(0x1F3FB, 0x1F400)}
_INHERITED = "↑↑↑"  # what CLDR writes in place of words of a more general language
# The only size of the bitmaps in the font, and their height in pixels.
_FONT_SIZE = 109
_HEIGHT = 128


@validate_params(
    {
        "languages": [StrOptions(set(_LANGUAGES)), list, tuple],
        "image_size": [Interval(Integral, 8, _HEIGHT, closed="both")],
        "target": [StrOptions({"group", "subgroup"})],
        "font": [str, os.PathLike, None],
        "data_home": [str, os.PathLike, None],
        "url": [str, None],
        "download_if_missing": ["boolean"],
        "return_X_y": ["boolean"],
        "n_retries": [Interval(Integral, 0, None, closed="left")],
        "delay": [Interval(Real, 0, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def fetch_emoji(
    *,
    languages="en",
    image_size=32,
    target="group",
    font=None,
    data_home=None,
    url=None,
    download_if_missing=True,
    return_X_y=False,
    n_retries=3,
    delay=1.0,
):
    """Load Unicode's emoji: pictures, and words in many languages (classification).

    The pictures are drawn from the font Noto Color Emoji, without variants of the skin
    tone. The words are the names and keywords of Unicode's Common Locale Data
    Repository (CLDR). Needs Pillow (``pip install 'sklearn-cmr[plots]'``).

    =================   ==================================
    Classes             9 groups, or 99 subgroups
    Pairs                                             1849
    Image features      `image_size` ** 2 * 3, from 0 to 1
    Text                name and keywords, in 79 languages
    =================   ==================================

    Parameters
    ----------
    languages : str or list of str, default="en"
        Languages of the words, by their codes in CLDR: of the 79 languages that name
        every emoji, such as "en", "de", "es" or "ja". A list makes a modality of each.

    image_size : int, default=32
        Height and width of the pictures in pixels, from 8 to 128.

    target : {"group", "subgroup"}, default="group"
        The classes: "group" is such as "Animals & Nature", "subgroup" such as
        "animal-bird".

    font : str or path-like, default=None
        The file `NotoColorEmoji.ttf`, with bitmaps. If None, it is searched in the
        subfolder `emoji` of `data_home`, then where the packages of the system install
        it. It is never downloaded.

    data_home : str or path-like, default=None
        Folder for the data; they go into its subfolder `emoji`. If None, this is
        scikit-learn's data folder, see :func:`sklearn.datasets.get_data_home`.

    url : str, default=None
        Address of a folder with the files `emoji-test.txt` and `cldr-common-41.0.zip`,
        for a mirror of them. If None, those of the Unicode Consortium.

    download_if_missing : bool, default=True
        If False, raise an OSError if the data are neither in `data_home` nor installed,
        instead of downloading them.

    return_X_y : bool, default=False
        If True, return ``(X, y)`` instead of a Bunch object.

    n_retries : int, default=3
        Number of retries after a failed download.

    delay : float, default=1.0
        Number of seconds between retries.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        image : ndarray of shape (n_samples, image_size * image_size * 3)
            The pixels of each picture in one row, float32 from 0 to 1.
        images : ndarray of shape (n_samples, image_size, image_size, 3)
            The same pixels as pictures, uint8 from 0 to 255: red, green, blue, on
            white.
        text : ndarray of shape (n_samples,), or dict of str to ndarray
            The name and the further keywords of each emoji, separated by ``" | "``, of
            dtype object. For a list of languages, one such array by language.
        emoji : ndarray of shape (n_samples,)
            The emoji as strings, of dtype object.
        target : ndarray of shape (n_samples,)
            The classes, from 0.
        target_names : ndarray of shape (n_classes,)
            The names of the classes, in the order of Unicode.
        filenames : list of str
            The files that were read.
        DESCR : str
            The full description of the data set.

    (X, y) : tuple if `return_X_y` is True
        The pairs as made by :func:`~sklearn_cmr.make_pairs`, and the classes. The
        modalities are `image` and `text`. For a list of languages, they are `image` and
        the codes of the languages.

    Raises
    ------
    ImportError
        If Pillow is missing, or was built without libraqm, which joins the characters
        of one emoji.

    OSError
        If the font is missing or is another one, if the data are missing and cannot or
        must not be downloaded, or if a download is not the published file.

    See Also
    --------
    load_captioned_digits : Real handwritten digits with generated captions.
    fetch_wikipedia : Real features of articles and their pictures.

    Notes
    -----
    Each file is taken from the first place that has it: the subfolder `emoji` of
    `data_home`; the folder of an installed package (fonts-noto-color-emoji,
    unicode-data and unicode-cldr-core of Debian, or those of the same content of other
    systems); a download of emoji 15.0 and CLDR 41, checked by SHA256 checksums.
    Installed packages and files put into `data_home` may be of other versions, which
    have other emoji and words; they are not checked. Published results should name the
    versions.

    An emoji without words in one of the languages is left out: with CLDR 41 the 21 that
    are new in emoji 15.0. So is one that the font cannot draw as a single picture.

    Examples
    --------
    >>> from sklearn_cmr.datasets import fetch_emoji
    >>> emoji = fetch_emoji()  # doctest: +SKIP
    >>> emoji.images.shape, emoji.text[0]  # doctest: +SKIP
    ((1849, 32, 32, 3), 'grinning face | face | grin')
    >>> X, y = fetch_emoji(
    ...     languages=["en", "ja"], return_X_y=True
    ... )  # doctest: +SKIP
    >>> X  # doctest: +SKIP
    <Pairs of image: (1849, 3072), en: (1849,), ja: (1849,)>
    """
    # Slow to import, and needed by those who call this function only.
    from sklearn.datasets import get_data_home

    codes = _check_languages(languages)
    folder = Path(get_data_home(data_home)) / "emoji"
    font_path = _find_font(font, folder)
    glyphs = _load_font(font_path)
    options = (folder, url, download_if_missing, n_retries, delay)
    list_path = _find_list(*options)
    words_path = _find_words(codes, *options)

    words = {code: _read_words(words_path, code) for code in codes}
    emoji, names, pictures = [], [], []
    for character, *groups in _read_list(list_path):
        if all(_key(character) in words[code] for code in codes):
            picture = _draw(glyphs, character, image_size)
            if picture is not None:
                emoji.append(character)
                names.append(groups[target == "subgroup"])
                pictures.append(picture)
    if not pictures:
        raise OSError(
            f"{font_path} draws none of the emoji that have words. `font` must be "
            f"{_FONT} with bitmaps."
        )

    images = np.stack(pictures)
    image = images.reshape(len(images), -1).astype(np.float32) / 255
    text = {
        code: np.array([words[code][_key(one)] for one in emoji], dtype=object)
        for code in codes
    }
    # Unlike np.unique, this keeps the order of Unicode.
    target_names = list(dict.fromkeys(names))
    y = np.array([target_names.index(name) for name in names])
    if return_X_y:
        if isinstance(languages, str):
            return make_pairs(image, text[languages]), y
        return make_pairs(image=image, **text), y
    return Bunch(
        image=image,
        images=images,
        text=text[languages] if isinstance(languages, str) else text,
        emoji=np.array(emoji, dtype=object),
        target=y,
        target_names=np.array(target_names),
        filenames=[str(font_path), str(list_path), str(words_path)],
        DESCR=_DESCR,
    )


def _check_languages(languages):
    codes = [languages] if isinstance(languages, str) else list(languages)
    unknown = [code for code in codes if code not in _LANGUAGES]
    if not codes or unknown or len(set(codes)) < len(codes):
        raise ValueError(
            f"`languages` must be one or more different codes of {_LANGUAGES}; got "
            f"{languages!r}."
        )
    return codes


def _find_font(font, folder):
    places = [folder / _FONT, *(Path(place, _FONT) for place in _FONT_FOLDERS)]
    if font is not None:
        places = [Path(font)]
    for place in places:
        if place.is_file():
            return place
    raise OSError(
        "The font Noto Color Emoji was not found: there is no file "
        f"{', '.join(map(str, places))}. Install the package fonts-noto-color-emoji "
        "(Debian, Ubuntu), google-noto-color-emoji-fonts (Fedora) or noto-fonts-emoji "
        f"(Arch), or set `font` to a file {_FONT} of "
        "https://github.com/googlefonts/noto-emoji."
    )


def _load_font(path):
    try:
        from PIL import ImageFont, features
    except ImportError as error:
        raise ImportError(
            "fetch_emoji needs Pillow to draw: pip install 'sklearn-cmr[plots]'."
        ) from error
    if not features.check("raqm"):
        raise ImportError(
            "fetch_emoji needs libraqm, which joins the characters of one emoji, and "
            "the installed Pillow lacks it. Install Pillow from PyPI, or the libraries "
            "libraqm and fribidi of the system."
        )
    layout = ImageFont.Layout.RAQM
    try:
        # A string: Pillow 10.1 takes no other path.
        return ImageFont.truetype(str(path), _FONT_SIZE, layout_engine=layout)
    except OSError as error:
        raise OSError(
            f"`font` must be {_FONT}, with bitmaps of {_FONT_SIZE} points; got {path}: "
            f"{error}."
        ) from error


def _draw(font, character, image_size):
    """Return the picture of an emoji, or None if the font does not have it."""
    from PIL import Image, ImageDraw

    width = font.getlength(character)
    # A sequence that the font does not know is drawn as several emoji side by side.
    if width != font.getlength("\N{GRINNING FACE}"):
        return None
    # The bitmaps are a little wider than high; the sides are empty in most of them.
    picture = Image.new("RGB", (_HEIGHT, _HEIGHT), "white")
    corner = ((_HEIGHT - round(width)) // 2, 0)
    ImageDraw.Draw(picture).text(corner, character, font=font, embedded_color=True)
    if picture.getextrema() == ((255, 255),) * 3:
        return None
    size = (image_size, image_size)
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS))


def _key(emoji):
    """Return how CLDR writes an emoji: without the request for its colored form."""
    return emoji.replace("\N{VARIATION SELECTOR-16}", "")


def _read_list(path):
    """Return the emoji without skin tones, each with its group and subgroup."""
    rows, group, subgroup = [], "", ""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("# group: "):
            group = line.removeprefix("# group: ")
        elif line.startswith("# subgroup: "):
            subgroup = line.removeprefix("# subgroup: ")
        elif found := re.match(r"([0-9A-F ]+?) *; fully-qualified ", line):
            emoji = "".join(chr(int(code, 16)) for code in found[1].split())
            if not _SKIN_TONES.intersection(emoji):
                rows.append((emoji, group, subgroup))
    if not rows:
        raise OSError(f"{path} must list emoji in the form of Unicode's {_LIST}.")
    return rows


def _read_words(root, code):
    """Return the names and keywords of a language by emoji."""
    names: dict[str, str] = {}
    keywords: dict[str, str] = {}
    for part in _WORDS_FOLDERS:
        path = root / part / f"{code}.xml"
        try:
            text = path.read_text(encoding="utf-8")
            # No file of CLDR defines entities, which may grow without bounds.
            if "<!ENTITY" in text:
                raise ValueError("it defines XML entities")
            entries = list(ElementTree.fromstring(text).iter("annotation"))
        except (OSError, KeyError, ValueError, ElementTree.ParseError) as error:
            raise OSError(f"{path} is not a file of CLDR: {error}.") from error
        for entry in entries:
            if entry.text and entry.text != _INHERITED:
                found = names if entry.get("type") == "tts" else keywords
                found[entry.get("cp", "")] = entry.text
    words = {}
    for key in names.keys() | keywords.keys():
        phrases = [names.get(key, ""), *keywords.get(key, "").split("|")]
        # The name comes first; most often it is also one of the keywords.
        words[key] = " | ".join(dict.fromkeys(filter(None, map(str.strip, phrases))))
    return words


def _find_list(folder, url, download_if_missing, n_retries, delay):
    for path in (folder / _LIST, Path(_UNICODE_FOLDER, "emoji", _LIST)):
        if path.is_file():
            return path
    address = f"{url.rstrip('/')}/{_LIST}" if url else _LIST_URL
    _forbid(download_if_missing, _LIST, "unicode-data", folder)
    content = _download(address, _LIST_BYTES, folder, n_retries, delay)
    _check_sha256(hashlib.sha256(content), _LIST_SHA256, _LIST, address)
    return _store(content, folder / _LIST)


def _find_words(codes, folder, url, download_if_missing, n_retries, delay):
    """Return the folder, perhaps one inside an archive, that has all the languages."""
    archive = folder / _WORDS
    if archive.is_file():
        try:
            return zipfile.Path(archive, "common/")
        except zipfile.BadZipFile as error:
            raise OSError(
                f"{archive} is not a zip file. Remove it to download it again."
            ) from error
    installed = Path(_UNICODE_FOLDER, "cldr", "common")
    if all(
        (installed / part / f"{code}.xml").is_file()
        for part in _WORDS_FOLDERS
        for code in codes
    ):
        return installed
    address = f"{url.rstrip('/')}/{_WORDS}" if url else _WORDS_URL
    _forbid(download_if_missing, _WORDS, "unicode-cldr-core", folder)
    content = _download(address, _WORDS_BYTES, folder, n_retries, delay)
    checksum = hashlib.sha256()
    try:
        with zipfile.ZipFile(BytesIO(content)) as members:
            for code in _LANGUAGES:
                for part in _WORDS_FOLDERS:
                    member = members.getinfo(f"common/{part}/{code}.xml")
                    if member.file_size > _LIST_BYTES:
                        raise ValueError(f"{member.filename} is too large")
                    checksum.update(members.read(member))
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError) as error:
        raise OSError(
            f"The download of {address} is not {_WORDS} and was removed: {error}."
        ) from error
    _check_sha256(checksum, _WORDS_SHA256, f"the words in {_WORDS}", address)
    return zipfile.Path(_store(content, archive), "common/")


def _forbid(download_if_missing, name, package, folder):
    if not download_if_missing:
        raise OSError(
            f"{name} not found in {folder}, the package {package} (Debian, Ubuntu) is "
            "not installed, and `download_if_missing` is False."
        )


def _download(url, max_bytes, folder, n_retries, delay):
    logger.info("Downloading %s to %s", url, folder)
    for retries_left in range(n_retries, -1, -1):
        try:
            with urlopen(url, timeout=_TIMEOUT) as response:
                content = response.read(max_bytes + 1)
            break
        except (OSError, HTTPException) as error:
            if not retries_left:
                raise OSError(
                    f"{url} could not be downloaded: {error}. Try again later, set "
                    "`url` to a mirror, install the packages unicode-data and "
                    f"unicode-cldr-core (Debian, Ubuntu), or put the file into {folder}"
                    " by hand."
                ) from error
            time.sleep(delay)
    if len(content) > max_bytes:
        raise OSError(
            f"The download of {url} was stopped: the file has more than {max_bytes} "
            "bytes and cannot be the published one."
        )
    return content


def _check_sha256(found, expected, name, url):
    if found.hexdigest() != expected:
        raise OSError(
            f"The download of {url} is not the published one and was removed: the "
            f"SHA256 checksum of {name} ({found.hexdigest()}) differs from expected "
            f"({expected})."
        )


def _store(content, path):
    """Write a file at once, so that no other process sees a part of it."""
    path.parent.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix="download_") as scratch:
        copy = Path(scratch, path.name)
        copy.write_bytes(content)
        os.replace(copy, path)
    return path
