"""Real handwritten digits with generated captions."""

# SPDX-License-Identifier: BSD-3-Clause

from numbers import Integral
from random import Random

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, validate_params

from sklearn_cmr.pairs import make_pairs

_DESCR = """\
Captioned digits
----------------

1,797 images of handwritten digits, each with an English caption of one sentence.

The images are scikit-learn's digits (`sklearn.datasets.load_digits`): 8 x 8 pixels
with values from 0 to 16, the test part of the "Optical Recognition of Handwritten
Digits" of the UCI Machine Learning Repository.

The captions were not written by people: a fixed random procedure makes them, the same
for everybody. A caption names the digit by one of several words or only calls it a
digit; it mentions one or two strokes, which other digits have too; it may call the
writing bold or faint, which is then true of this very image; it may compare the digit
with another one that looks alike; and it says where the digit was found, which means
nothing. Words alone therefore do not always settle the class.

References
----------
E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
Learning Repository, 1998. https://doi.org/10.24432/C50P49
"""

_NAMES = (
    ("zero", "nought", "nil"),
    ("one", "unit", "ace"),
    ("two", "pair", "deuce"),
    ("three", "trio", "triad"),
    ("four", "quartet", "tetrad"),
    ("five", "quintet", "fiver"),
    ("six", "sextet", "half dozen"),
    ("seven", "septet", "heptad"),
    ("eight", "octet", "octad"),
    ("nine", "nonet", "ennead"),
)
_NO_NAMES = ("digit", "figure", "numeral", "number", "character", "symbol")
# Every stroke belongs to two digits or more.
_STROKES = (
    ("a closed loop", "an oval ring", "a round outline"),
    ("an upright bar", "a straight stem", "a flat base"),
    ("an open hook", "a flat base", "a long diagonal"),
    ("an open hook", "two bows", "a pointed waist"),
    ("an upright bar", "a crossbar", "an open corner"),
    ("a flat top", "an open corner", "a round belly"),
    ("a closed loop", "a round belly", "a curved back"),
    ("a flat top", "a long diagonal", "a crossbar"),
    ("a round outline", "two bows", "a pointed waist", "an oval ring"),
    ("a closed loop", "a straight stem", "a curved back"),
)
_LOOK_ALIKES = (
    (6, 8),
    (7, 4),
    (7, 3),
    (5, 8),
    (9, 1),
    (3, 6),
    (0, 5),
    (1, 2),
    (3, 0),
    (4, 7),
)
_BOLD = ("bold", "heavy", "thick")
_FAINT = ("faint", "light", "thin")
_PLAIN = ("neat", "hasty", "small", "tidy", "slanted", "shaky")
_OPENINGS = (
    "here is",
    "this shows",
    "someone wrote",
    "we can see",
    "the picture has",
    "a scan of",
)
_PLACES = (
    "on a postal form",
    "from an old ledger",
    "in blue ink",
    "on squared paper",
    "by a clerk",
    "at the edge of a page",
    "on the back of a cheque",
    "from a school book",
)


@validate_params(
    {
        "n_class": [Interval(Integral, 1, 10, closed="both")],
        "return_X_y": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def load_captioned_digits(*, n_class=10, return_X_y=False):
    """Load scikit-learn's handwritten digits, each with a caption in English.

    A small real data set for a first cross-modal retrieval, without a download: the
    images are real, the captions come from a fixed random procedure.

    =================   ================
    Classes                           10
    Pairs per class                 ~180
    Pairs                           1797
    Image features       64, from 0 to 16
    Text                  one sentence
    =================   ================

    Parameters
    ----------
    n_class : int, default=10
        Number of classes to return, from 1 to 10: the digits below `n_class`.

    return_X_y : bool, default=False
        If True, return ``(X, y)`` instead of a Bunch object.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        image : ndarray of shape (1797, 64)
            The pixels of each image in one row, float64.
        images : ndarray of shape (1797, 8, 8)
            The same pixels as pictures.
        text : ndarray of shape (1797,)
            The captions, of dtype object.
        target : ndarray of shape (1797,)
            The digits.
        target_names : ndarray of shape (n_class,)
            The names of the digits in English.
        DESCR : str
            The full description of the data set.

    (X, y) : tuple if `return_X_y` is True
        The pairs as made by :func:`~sklearn_cmr.make_pairs`, with the parts `image` of
        shape (1797, 64) and `text` of shape (1797,), and the digits.

    See Also
    --------
    make_cross_modal_classification : Generate paired features.
    fetch_wikipedia : Real features of articles and their pictures.
    sklearn.datasets.load_digits : The digits without captions.

    Notes
    -----
    The caption of an image depends neither on `n_class` nor on the versions of Python
    and NumPy.

    Examples
    --------
    >>> from sklearn_cmr.datasets import load_captioned_digits
    >>> digits = load_captioned_digits()
    >>> digits.image.shape, digits.text.shape
    ((1797, 64), (1797,))
    >>> digits.text[0]
    'someone wrote a shaky zero with an oval ring, on squared paper'

    Ready for scikit-learn's tools:

    >>> X, y = load_captioned_digits(n_class=3, return_X_y=True)
    >>> X[:100]["text"].shape, y[:100].shape
    ((100,), (100,))
    """
    # Importing all of sklearn.datasets takes longer than loading the digits.
    from sklearn.datasets import load_digits

    digits = load_digits()
    captions = np.array(_write_captions(digits.data, digits.target), dtype=object)
    chosen = digits.target < n_class
    image, text, target = digits.data[chosen], captions[chosen], digits.target[chosen]

    if return_X_y:
        return make_pairs(image, text), target
    return Bunch(
        image=image,
        images=digits.images[chosen],
        text=text,
        target=target,
        target_names=np.array([names[0] for names in _NAMES[:n_class]]),
        DESCR=_DESCR,
    )


def _write_captions(images, digits):
    # Of the random generators at hand, the stream of Random.random alone is promised
    # never to change.
    rng = Random(0)

    def chance(probability):
        return rng.random() < probability

    def pick(options):
        return options[int(rng.random() * len(options))]

    def write(digit, bold):
        adjective = pick(_PLAIN)
        if chance(0.5):
            adjective = pick(_BOLD if bold else _FAINT)
        noun = pick(_NAMES[digit] if chance(0.8) else _NO_NAMES)
        stroke = pick(_STROKES[digit])
        caption = f"{pick(_OPENINGS)} a {adjective} {noun} with {stroke}"
        if chance(0.5):
            others = [other for other in _STROKES[digit] if other != stroke]
            caption += f" and {pick(others)}"
        if chance(0.3):
            caption += f", not unlike the {pick(_NAMES[pick(_LOOK_ALIKES[digit])])}"
        return f"{caption}, {pick(_PLACES)}"

    ink = images.sum(axis=1)
    bold = ink > np.median(ink)
    return [write(*pair) for pair in zip(digits.tolist(), bold.tolist(), strict=True)]
