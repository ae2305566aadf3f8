"""The handwritten digits with generated captions."""

# SPDX-License-Identifier: BSD-3-Clause

import pickle
import random
import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline

from sklearn_cmr.datasets import load_captioned_digits
from sklearn_cmr.pairs import Pairs


@pytest.fixture(scope="module")
def digits():
    return load_captioned_digits()


def test_images_are_those_of_scikit_learn(digits):
    expected = load_digits()
    assert_array_equal(digits.image, expected.data)
    assert_array_equal(digits.images, expected.images)
    assert_array_equal(digits.target, expected.target)
    assert digits.image.dtype == np.float64


def test_contents(digits):
    assert digits.image.shape == (1797, 64)
    assert digits.images.shape == (1797, 8, 8)
    assert digits.text.shape == (1797,)
    assert digits.text.dtype == object
    assert all(type(caption) is str for caption in digits.text)
    assert list(digits.target_names[[0, 9]]) == ["zero", "nine"]
    assert "1,797 images" in digits.DESCR


@pytest.mark.parametrize(
    ("row", "caption"),
    [
        (0, "someone wrote a shaky zero with an oval ring, on squared paper"),
        (
            1,
            "we can see a tidy one with a flat base and a straight stem, on the back "
            "of a cheque",
        ),
        (
            10,
            "this shows a thick zero with a round outline, not unlike the half dozen, "
            "on a postal form",
        ),
        (1796, "we can see a hasty octad with two bows, from an old ledger"),
    ],
)
def test_captions_never_change(digits, row, caption):
    assert digits.text[row] == caption


def test_captions_leave_the_global_generators_alone(digits):
    def states():
        return random.getstate(), pickle.dumps(np.random.get_state())  # noqa: NPY002

    before = states()
    again = load_captioned_digits()
    assert states() == before
    assert_array_equal(again.text, digits.text)


def test_text_is_informative_but_not_trivial(digits):
    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    cv = StratifiedKFold(3, shuffle=True, random_state=0)
    accuracy = cross_val_score(model, digits.text, digits.target, cv=cv).mean()
    assert 0.85 < accuracy < 0.97


def test_no_single_word_but_a_name_settles_the_class(digits):
    subject = re.compile(r" a \w+ ([\w ]+?) with (.*)")
    classes_of = {}
    for caption, digit in zip(digits.text, digits.target, strict=True):
        _, strokes = subject.search(caption).groups()
        strokes = strokes.split(",")[0]
        for stroke in strokes.split(" and "):
            classes_of.setdefault(stroke, set()).add(digit)
    assert len(classes_of) > 10
    assert min(len(classes) for classes in classes_of.values()) >= 2


def test_boldness_is_true_of_the_very_image(digits):
    ink = digits.image.sum(axis=1)
    bold, faint = (
        np.array(
            [re.search(rf"\b({words})\b", text) is not None for text in digits.text]
        )
        for words in ("bold|heavy|thick", "faint|light|thin")
    )
    assert bold.sum() > 300 and faint.sum() > 300
    assert ink[bold].min() > np.median(ink) >= ink[faint].max()


def test_n_class_keeps_the_captions(digits):
    few = load_captioned_digits(n_class=3)
    kept = digits.target < 3
    for key in ("image", "images", "text", "target"):
        assert_array_equal(few[key], digits[key][kept])
    assert list(few.target_names) == ["zero", "one", "two"]


def test_return_X_y(digits):
    X, y = load_captioned_digits(return_X_y=True)
    assert isinstance(X, Pairs)
    assert sorted(X) == ["image", "text"]
    assert_array_equal(X["image"], digits.image)
    assert_array_equal(X["text"], digits.text)
    assert_array_equal(y, digits.target)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    assert len(X_train["text"]) == len(y_train) == 1347
    assert len(X_test["image"]) == len(y_test) == 450


@pytest.mark.parametrize(
    ("name", "value"), [("n_class", 0), ("n_class", 11), ("return_X_y", "no")]
)
def test_parameters_are_validated(name, value):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of"):
        load_captioned_digits(**{name: value})
