"""Wrong inputs of containers of pairs, and of their preprocessing."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import polars as pl
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_cmr import PairTransformer, make_pairs
from sklearn_cmr.pairs import Pairs
from tests.wrong_inputs.rows import IMAGE, PAIRS, TEXT, WHOLE, N, Row, Thing, Y, changed


def _transform(*arguments, **params):
    return lambda: PairTransformer(**params).fit(*arguments)


def _set(name, value):
    pairs = make_pairs(IMAGE, TEXT)

    def call():
        pairs[name] = value

    return call


class Returns:
    """A transformer that returns what it is given."""

    def __init__(self, output=None):
        self.output = output

    def get_params(self, deep=True):
        return {"output": self.output}

    def set_params(self, **params):
        return self

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return self.output

    def __sklearn_tags__(self):
        return StandardScaler().__sklearn_tags__()


_NO_ROWS = "The image features have no rows: got "
_SELECTED = '"?The rows of <Pairs .*> cannot be selected by this '
_FAILED = "The (image|text) transformer, .*, failed on "
_WORDS = ["a word", "two words"] * 6
_STRINGS = {"image": IMAGE, "text": TEXT}
ROWS = [
    Row(name, call, error, message)
    for name, call, error, message in [
        (
            "make_pairs()",
            lambda: make_pairs(),
            ValueError,
            "make_pairs needs two modalities or more; got",
        ),
        (
            "one modality",
            lambda: make_pairs(IMAGE),
            ValueError,
            "make_pairs needs two modalities or more; got",
        ),
        (
            "one modality twice",
            lambda: make_pairs(IMAGE, TEXT, image=IMAGE),
            TypeError,
            "make_pairs got the image features twice",
        ),
        (
            "fewer texts",
            lambda: make_pairs(IMAGE, TEXT[1:]),
            ValueError,
            "Found input variables with inconsistent numbers",
        ),
        (
            "pairs in pairs",
            lambda: make_pairs(PAIRS, TEXT),
            TypeError,
            "got a paired container as the image features",
        ),
        (
            "one string",
            lambda: make_pairs(IMAGE, "words"),
            TypeError,
            "got a single string as the text features",
        ),
        (
            "two arrays in one",
            lambda: make_pairs([IMAGE, IMAGE], TEXT),
            TypeError,
            "got a list of two arrays as the image",
        ),
        ("number", lambda: make_pairs(3, TEXT), ValueError, _NO_ROWS),
        (
            "generator",
            lambda: make_pairs((row for row in IMAGE), TEXT),
            ValueError,
            _NO_ROWS,
        ),
        ("set", lambda: make_pairs({1, 2}, TEXT), ValueError, _NO_ROWS),
        ("object", lambda: make_pairs(Thing(), TEXT), ValueError, _NO_ROWS),
        ("class", lambda: make_pairs(np.ndarray, TEXT), ValueError, _NO_ROWS),
        (
            "ragged",
            lambda: make_pairs([[1], [1, 2]] * 6, TEXT),
            ValueError,
            "image features must have the same number",
        ),
        (
            "lazy frame",
            lambda: make_pairs(pl.LazyFrame({"a": [1]}), TEXT),
            TypeError,
            "image features is a LazyFrame",
        ),
        (
            "other index",
            lambda: make_pairs(pd.DataFrame(IMAGE), pd.Series(_WORDS, range(1, 13))),
            ValueError,
            "The image and the text features have different indices",
        ),
        (
            "row of pairs",
            lambda: PAIRS[0],
            TypeError,
            "Pairs are indexed by the name of a modality or by several rows",
        ),
        (
            "unknown modality of pairs",
            lambda: PAIRS["audio"],
            KeyError,
            "\"'audio' is no modality of <Pairs of image",
        ),
        (
            "rows beyond the last",
            lambda: PAIRS[[99]],
            IndexError,
            f"{_SELECTED}list: index 99 is out of bounds",
        ),
        (
            "mask of another length",
            lambda: PAIRS[[True]],
            IndexError,
            f"{_SELECTED}list: boolean index",
        ),
        ("rows as floats", lambda: PAIRS[[0.5]], IndexError, f"{_SELECTED}list: "),
        ("float as rows", lambda: PAIRS[0.5], IndexError, f"{_SELECTED}float: "),
        ("ragged rows", lambda: PAIRS[[[1], [1, 2]]], IndexError, f"{_SELECTED}list: "),
        ("object as rows", lambda: PAIRS[Thing()], IndexError, f"{_SELECTED}Thing: "),
        (
            "pairs as an array",
            lambda: np.asarray(PAIRS),
            TypeError,
            "<Pairs of .* is a container of modalities and no array",
        ),
        (
            "list into pairs",
            _set("audio", [1, 2]),
            TypeError,
            "The audio features must be an array, a sparse",
        ),
        (
            "fewer rows into pairs",
            _set("audio", IMAGE[1:]),
            ValueError,
            "Cannot set array with shape",
        ),
        (
            "Pairs of None",
            lambda: Pairs(image=None, text=TEXT),
            TypeError,
            "The image features must be an array, a sparse",
        ),
        (
            "Pairs of lists",
            lambda: Pairs(image=[1, 2], text=[1, 2]),
            TypeError,
            "The image features must be an array",
        ),
        (
            "Pairs of other lengths",
            lambda: Pairs(image=IMAGE, text=TEXT[1:]),
            ValueError,
            "Found input variables with",
        ),
        # PairTransformer.
        (
            "image=3",
            _transform(PAIRS, image=3),
            InvalidParameterError,
            "The 'image' parameter of PairTransformer must be",
        ),
        (
            "text='scale'",
            _transform(PAIRS, text="scale"),
            InvalidParameterError,
            "The 'text' parameter of PairTransformer",
        ),
        (
            "image=None",
            _transform(PAIRS, image=None),
            InvalidParameterError,
            "The 'image' parameter of PairTransformer",
        ),
        (
            "audio=3",
            _transform({**PAIRS, "audio": IMAGE}, audio=3),
            InvalidParameterError,
            "The 'audio' parameter of PairTransformer",
        ),
        (
            "n_image_features=0",
            _transform(WHOLE, n_image_features=0),
            InvalidParameterError,
            "The 'n_image_features' parameter of",
        ),
        (
            "n_image_features=True",
            _transform(WHOLE, n_image_features=True),
            ValueError,
            "The 'n_image_features' parameter of PairTransformer must be a number",
        ),
        (
            "cut after the last column",
            _transform(WHOLE, n_image_features=9),
            ValueError,
            "n_image_features=9 leaves no column",
        ),
        (
            "class as transformer",
            _transform(PAIRS, image=StandardScaler),
            TypeError,
            "image must be an instance, got the class StandardScaler",
        ),
        (
            "name with a dot",
            lambda: PairTransformer(**{"a.b": "passthrough"}),
            TypeError,
            "'a.b' cannot name a modality",
        ),
        (
            "name of a method",
            lambda: PairTransformer(fit="passthrough"),
            TypeError,
            "'fit' cannot name a modality",
        ),
        (
            "transformer without features",
            _transform(PAIRS, audio=StandardScaler()),
            ValueError,
            "X has no features of 'audio', which has a transformer",
        ),
        (
            "before fit",
            lambda: PairTransformer().transform(PAIRS),
            NotFittedError,
            "This PairTransformer instance is not fitted",
        ),
        (
            "unknown modality",
            lambda: PairTransformer().fit(PAIRS).transform({"audio": IMAGE}),
            ValueError,
            "modality must be one of",
        ),
        (
            "swapped",
            lambda: PairTransformer().fit(PAIRS).transform(TEXT, IMAGE),
            ValueError,
            "X has 3 image features, but PairTransformer is",
        ),
        (
            "parameter of passthrough",
            lambda: PairTransformer().set_params(image__copy=True),
            ValueError,
            "Invalid parameter 'image__copy': 'image' has no transformer",
        ),
        (
            "unknown parameter",
            lambda: PairTransformer(image=StandardScaler()).set_params(image__scale=1),
            ValueError,
            "Invalid parameter 'scale' for estimator StandardScaler",
        ),
        (
            "numbers to a vectorizer",
            _transform(PAIRS, text=TfidfVectorizer()),
            TypeError,
            _FAILED,
        ),
        (
            "dicts to a vectorizer",
            _transform({"image": IMAGE, "text": [{}] * N}, text=TfidfVectorizer()),
            TypeError,
            _FAILED,
        ),
        (
            "numbers to a fitted vectorizer",
            lambda: (
                PairTransformer(text=TfidfVectorizer())
                .fit(make_pairs(IMAGE, _WORDS))
                .transform(IMAGE, TEXT[:, 0])
            ),
            TypeError,
            _FAILED,
        ),
        (
            "words to a scaler",
            _transform(make_pairs(IMAGE, _WORDS), text=StandardScaler()),
            ValueError,
            "The text transformer, .*, failed: could not convert string",
        ),
        (
            "tensor with gradients to a scaler",
            _transform(
                {"image": torch.tensor(IMAGE, requires_grad=True), "text": TEXT},
                image=StandardScaler(),
            ),
            TypeError,
            f"{_FAILED}Tensor of shape",
        ),
        (
            "regions to a scaler",
            _transform(
                {"image": np.ones((N, 2, 3)), "text": TEXT}, image=StandardScaler()
            ),
            ValueError,
            "The image features have regions, an array of shape",
        ),
        (
            "too many components",
            _transform(PAIRS, image=TruncatedSVD(50)),
            ValueError,
            "The image transformer, .*, failed: n_components",
        ),
        (
            "nothing returned",
            _transform(PAIRS, image=Returns()),
            TypeError,
            "The image transformer, .*, must return an array",
        ),
        (
            "list returned",
            _transform(PAIRS, image=Returns([1])),
            TypeError,
            "The image transformer, .*, must return an array",
        ),
        (
            "fewer rows returned",
            _transform(PAIRS, image=Returns(IMAGE[1:])),
            ValueError,
            "The image transformer, .*, made 11 rows of 12",
        ),
        (
            "NaN is fine, infinity is not",
            _transform(
                make_pairs(changed(IMAGE, np.inf), TEXT), image=StandardScaler()
            ),
            ValueError,
            "The image transformer, .*, failed: Input X contains infinity",
        ),
        (
            "labels of other names",
            _transform(PAIRS, {"a": Y}),
            ValueError,
            "The labels must have the names of the modalities",
        ),
        (
            "names of features",
            lambda: PairTransformer().fit(PAIRS).get_feature_names_out(3),
            ValueError,
            "input_features must be a list of the names",
        ),
        (
            "container of the output",
            lambda: PairTransformer().set_output(transform=3),
            ValueError,
            "transform must be one of .* or None, got 3",
        ),
    ]
]
