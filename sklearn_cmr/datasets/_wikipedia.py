"""The Wikipedia articles and pictures of the first paper on cross-modal retrieval."""

# SPDX-License-Identifier: BSD-3-Clause

import hashlib
import logging
import os
import shutil
import time
import warnings
import zlib
from http.client import HTTPException
from io import BytesIO
from numbers import Integral, Real
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import URLError
from urllib.request import urlopen
from zipfile import BadZipFile, ZipFile

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from sklearn_cmr._warnings import stacklevel_of_caller
from sklearn_cmr.pairs import make_pairs

logger = logging.getLogger(__name__)

_DESCR = """\
Wikipedia articles and their pictures
-------------------------------------

2,866 sections of Wikipedia's featured articles, each with the picture that illustrates
it, from 10 categories. The official split has 2,173 pairs to train and 693 to test.

An image is a normalized histogram of 128 visual words, made from SIFT descriptors; a
text is the distribution over 10 topics that latent Dirichlet allocation finds in it.
Both sum to 1 and are the features published with the data.

The data are distributed by their authors for research:
http://www.svcl.ucsd.edu/projects/crossmodal/

References
----------
N. Rasiwasia, J. Costa Pereira, E. Coviello, G. Doyle, G. R. G. Lanckriet, R. Levy and
N. Vasconcelos, "A New Approach to Cross-Modal Multimedia Retrieval", ACM International
Conference on Multimedia, 2010. https://doi.org/10.1145/1873951.1873987
"""

_URL = "https://www.svcl.ucsd.edu/projects/crossmodal/wikipedia_dataset.zip"
# Bytes of the archive, which has the pictures too, and of each file that is taken out
# of it: several times those of the published ones.
_MAX_ARCHIVE = 2**33
_MAX_EXTRACTED = 2**26
# Bytes that are read from the server at once.
_BLOCK = 2**20
_FEATURES = "raw_features.mat"
_LISTS = {"train": "trainset_txt_img_cat.list", "test": "testset_txt_img_cat.list"}
_FILES = (_FEATURES, *_LISTS.values())
_SUFFIXES = {"train": "tr", "test": "te"}
_CATEGORIES = (
    "art",
    "biology",
    "geography",
    "history",
    "literature",
    "media",
    "music",
    "royalty",
    "sport",
    "warfare",
)
_FEATURES_SHA256 = "ca628f765a69575e168ab29eb97f5ade12fadf47b31de1328c7ff631c7f225ae"
# Of the categories in the order of the list, one byte each: the list as a file may
# come with other line ends.
_CATEGORIES_SHA256 = {
    "train": "a8a17896b5cae1a1e38857a0159f233189295999736af4515a93a9ce0178f901",
    "test": "92f1e5b499b38142e1f5c3386d47e6ae3d7faf5028d4c3d9921c0d76f7f468bd",
}


@validate_params(
    {
        "data_home": [str, os.PathLike, None],
        "subset": [StrOptions({"train", "test", "all"})],
        "url": [str, None],
        "download_if_missing": ["boolean"],
        "return_X_y": ["boolean"],
        "n_retries": [Interval(Integral, 0, None, closed="left")],
        "delay": [Interval(Real, 0, None, closed="left")],
        "timeout": [Interval(Real, 0, None, closed="neither")],
    },
    prefer_skip_nested_validation=True,
)
def fetch_wikipedia(
    *,
    data_home=None,
    subset="train",
    url=None,
    download_if_missing=True,
    return_X_y=False,
    n_retries=3,
    delay=1.0,
    timeout=60.0,
):
    """Load the Wikipedia articles and their pictures (image-text classification).

    The data of the first paper on cross-modal retrieval [1]_, with its features.
    Downloads them the first time, and reads them from `data_home` from then on.

    =================   ===========================
    Classes                                      10
    Pairs               2866 (2173 train, 693 test)
    Image features         128 SIFT words, sum to 1
    Text features           10 LDA topics, sum to 1
    =================   ===========================

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder for the data; they go into its subfolder `wikipedia`. If None, this is
        scikit-learn's data folder, see :func:`sklearn.datasets.get_data_home`.

    subset : {"train", "test", "all"}, default="train"
        The part of the official split to load; "all" is the training part followed by
        the test part.

    url : str, default=None
        Address of the archive `wikipedia_dataset.zip`, for a mirror of it. If None,
        that of its authors.

    download_if_missing : bool, default=True
        If False, raise an OSError if the data are not in `data_home`, instead of
        downloading them.

    return_X_y : bool, default=False
        If True, return ``(X, y)`` instead of a Bunch object.

    n_retries : int, default=3
        Number of retries after a failed download.

    delay : float, default=1.0
        Number of seconds between retries.

    timeout : float, default=60.0
        Number of seconds to wait for an answer of the server, and for each next part of
        the archive.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        image : ndarray of shape (n_samples, 128)
            Histograms of visual words, float64 as in the source.
        text : ndarray of shape (n_samples, 10)
            Proportions of topics, float64 as in the source.
        target : ndarray of shape (n_samples,)
            The categories, from 0 to 9.
        target_names : ndarray of shape (10,)
            The names of the categories.
        image_id : ndarray of shape (n_samples,)
            The name of each picture in the archive, without its ending.
        text_id : ndarray of shape (n_samples,)
            The name of each article section in the archive, without its ending.
        DESCR : str
            The full description of the data set.

    (X, y) : tuple if `return_X_y` is True
        The pairs as made by :func:`~sklearn_cmr.make_pairs`, with the parts `image`
        and `text`, and the categories.

    Raises
    ------
    OSError
        If the data are missing and cannot or must not be downloaded, or if a file is
        not the published one or far too large. A download that is not the published one
        is removed.

    See Also
    --------
    load_captioned_digits : Real handwritten digits with generated captions.
    make_cross_modal_classification : Generate paired features.

    Notes
    -----
    Without access to the network, put `raw_features.mat`, `trainset_txt_img_cat.list`
    and `testset_txt_img_cat.list` of the archive into the subfolder `wikipedia` of
    `data_home`. The pictures and the articles themselves are not stored.

    Every time the data are loaded they are checked: the features by the SHA256
    checksum of their file, the lists by that of their categories.

    References
    ----------
    .. [1] `N. Rasiwasia, J. Costa Pereira, E. Coviello, G. Doyle, G. R. G. Lanckriet,
       R. Levy and N. Vasconcelos, "A New Approach to Cross-Modal Multimedia
       Retrieval", ACM International Conference on Multimedia, 2010.
       <https://doi.org/10.1145/1873951.1873987>`_

    Examples
    --------
    >>> from sklearn_cmr.datasets import fetch_wikipedia
    >>> wikipedia = fetch_wikipedia()  # doctest: +SKIP
    >>> wikipedia.image.shape, wikipedia.text.shape  # doctest: +SKIP
    ((2173, 128), (2173, 10))
    >>> X_test, y_test = fetch_wikipedia(
    ...     subset="test", return_X_y=True
    ... )  # doctest: +SKIP
    """
    # Slow to import, and needed by those who call this function only.
    from sklearn.datasets import get_data_home

    folder = Path(get_data_home(data_home)) / "wikipedia"
    missing = [name for name in _FILES if not (folder / name).exists()]
    if missing:
        if not download_if_missing:
            raise OSError(
                f"{', '.join(missing)} not found in {folder} and `download_if_missing` "
                "is False."
            )
        _download(url or _URL, folder, n_retries, delay, timeout)
    try:
        parts = _read(folder)
    except ValueError as error:
        raise OSError(
            f"{error} Remove this file from {folder} to download the data again."
        ) from error

    names = list(parts) if subset == "all" else [subset]
    data = {
        key: np.concatenate([parts[name][key] for name in names])
        for key in parts["train"]
    }
    if return_X_y:
        return make_pairs(data["image"], data["text"]), data["target"]
    return Bunch(**data, target_names=np.array(_CATEGORIES), DESCR=_DESCR)


def _download(url, folder, n_retries, delay, timeout):
    logger.info("Downloading %s to %s", url, folder)
    folder.mkdir(exist_ok=True)
    # Only files that were checked are moved to the folder; the rest is removed.
    with TemporaryDirectory(dir=folder, prefix="download_") as scratch:
        archive = Path(scratch, "archive.zip")
        try:
            while True:
                try:
                    _retrieve(url, archive, timeout)
                    break
                except (URLError, TimeoutError):
                    if n_retries == 0:
                        raise
                    warnings.warn(
                        f"Retry downloading from url: {url}",
                        stacklevel=stacklevel_of_caller(),
                    )
                    n_retries -= 1
                    time.sleep(delay)
        except (OSError, HTTPException, ValueError) as error:
            raise OSError(
                f"{url} could not be downloaded: {error}. Try again later, set `url` "
                f"to a mirror, or put {', '.join(_FILES)} into {folder} by hand."
            ) from error
        try:
            _extract(archive, Path(scratch))
            _read(Path(scratch))
        except (BadZipFile, ValueError, zlib.error) as error:
            raise OSError(
                f"The download of {url} is not the Wikipedia archive and was removed: "
                f"{error}"
            ) from error
        for name in _FILES:
            os.replace(Path(scratch, name), folder / name)


def _retrieve(url, path, timeout):
    """Download a file, by blocks; `urlretrieve` has neither timeout nor limit."""
    with urlopen(url, timeout=timeout) as response, open(path, "wb") as copy:
        n_bytes = 0
        while block := response.read(_BLOCK):
            n_bytes += len(block)
            if n_bytes > _MAX_ARCHIVE:
                raise OSError(f"it is larger than {_MAX_ARCHIVE} bytes")
            copy.write(block)
        expected = response.headers.get("Content-Length")
    if expected is not None and n_bytes < int(expected):
        raise URLError(f"got only {n_bytes} out of {expected} bytes")


def _extract(archive, folder):
    with ZipFile(archive) as members:
        # The files may lie at any depth.
        paths = {path.rpartition("/")[2]: path for path in members.namelist()}
        for name in _FILES:
            if name not in paths:
                raise ValueError(f"{name} is not in the archive.")
            # More than this is not read from it, whatever follows.
            size = members.getinfo(paths[name]).file_size
            if size > _MAX_EXTRACTED:
                raise ValueError(
                    f"{name} takes {size} bytes, more than {_MAX_EXTRACTED}."
                )
            with members.open(paths[name]) as source, open(folder / name, "wb") as copy:
                shutil.copyfileobj(source, copy)


def _read(folder):
    from scipy.io import loadmat

    content = (folder / _FEATURES).read_bytes()
    _check_sha256(content, _FEATURES_SHA256, _FEATURES)
    arrays = loadmat(BytesIO(content))
    parts = {}
    for part, suffix in _SUFFIXES.items():
        text_id, image_id, target = _read_list(folder, part)
        parts[part] = {
            "image": np.ascontiguousarray(arrays[f"I_{suffix}"], dtype=np.float64),
            "text": np.ascontiguousarray(arrays[f"T_{suffix}"], dtype=np.float64),
            "target": target,
            "image_id": image_id,
            "text_id": text_id,
        }
    return parts


def _read_list(folder, part):
    name = _LISTS[part]
    try:
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        rows = [line.split() for line in lines if line.strip()]
        categories = bytes(int(category) for _, _, category in rows)
    except ValueError as error:
        raise ValueError(
            f"{name} must hold a text name, an image name and a category number on "
            f"each line: {error}."
        ) from error
    _check_sha256(categories, _CATEGORIES_SHA256[part], f"the categories of {name}")
    target = np.frombuffer(categories, dtype=np.uint8)
    text_id, image_id, _ = np.array(rows, dtype=object).T
    return text_id, image_id, target.astype(np.int64) - 1


def _check_sha256(content, expected, name):
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ValueError(
            f"The SHA256 checksum of {name} ({found}) differs from expected "
            f"({expected})."
        )
