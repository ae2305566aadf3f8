"""Wrong features of estimators: in `fit` and in what encodes."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import polars as pl
import torch
from scipy import sparse
from sklearn.exceptions import NotFittedError

from tests.wrong_inputs.rows import (
    IMAGE,
    PAIRS,
    TEXT,
    WHOLE,
    N,
    Row,
    Thing,
    Y,
    changed,
    fitted,
    make,
    refitted,
)

_NAN = changed(IMAGE, np.nan)
_FRAME = pd.DataFrame(IMAGE)


def _wrong_matrices(own):
    """Return wrong matrices, with errors, of features that messages call by a name."""
    unusable = f"(The )?{own} cannot be used: "
    numbers = f"{own} must hold numbers, got the dtype "
    strings = f"The {own} are strings. Turn them into numbers first"
    two_d = f"{unusable}Expected 2D array, got "
    ragged = f"{own} must have the same number of features in each row"
    lone = "got a single string as "
    tensor = f"{own} is a tensor that cannot be turned into an array"
    return {
        "number": (3.0, ValueError, f"{two_d}scalar array"),
        "0-D array": (np.array(1.0), ValueError, f"{two_d}scalar array"),
        "object": (Thing(), ValueError, f"{two_d}scalar array"),
        "set": ({1, 2}, ValueError, f"{two_d}scalar array"),
        "generator": ((row for row in IMAGE), ValueError, f"{two_d}scalar array"),
        "range": (range(N), ValueError, two_d),
        "vector": (IMAGE[:, 0], ValueError, f"{two_d}1D array"),
        "empty list": ([], ValueError, f"{two_d}1D array"),
        "4-D array": (
            IMAGE[..., None, None],
            ValueError,
            f"{unusable}Found array with dim 4",
        ),
        "no rows": (
            np.empty((0, 4)),
            ValueError,
            f"{unusable}Found array with 0 sample",
        ),
        "no columns": (
            np.empty((N, 0)),
            ValueError,
            f"{unusable}Found array with 0 feature",
        ),
        "NaN": (_NAN, ValueError, f"Input {own} contains NaN"),
        "infinity": (
            changed(IMAGE, np.inf),
            ValueError,
            f"Input {own} contains infinity",
        ),
        "-infinity": (
            changed(IMAGE, -np.inf),
            ValueError,
            f"Input {own} contains infinity",
        ),
        "NaN in a frame": (
            _FRAME.where(IMAGE > 0),
            ValueError,
            f"Input {own} contains NaN",
        ),
        "NaN in CSR": (sparse.csr_array(_NAN), ValueError, f"Input {own} contains NaN"),
        "null in polars": (
            pl.DataFrame({"a": [1.0] * (N - 1) + [None]}),
            ValueError,
            f"Input {own} contains NaN",
        ),
        "complex": (IMAGE + 1j, ValueError, f"{unusable}Complex data not supported"),
        "complex CSR": (
            sparse.csr_array(IMAGE + 1j),
            ValueError,
            f"{unusable}Complex data not supported",
        ),
        "None": (np.full((N, 4), None), ValueError, f"Input {own} contains NaN"),
        "objects": (np.full((N, 4), Thing()), TypeError, f"{unusable}float"),
        "dicts": ([[{}] * 4] * N, TypeError, f"{unusable}float"),
        "huge integers": ([[10**400] * 4] * N, ValueError, f"{unusable}int too large"),
        "numbers as strings": (IMAGE.astype(str), ValueError, strings),
        "bytes": (IMAGE.astype("S"), ValueError, strings),
        "words": (np.full((N, 4), "word"), ValueError, strings),
        "list of words": (["word"] * N, ValueError, strings),
        "words in a frame": (
            _FRAME.astype(object).assign(a="word"),
            ValueError,
            # The second with scikit-learn 1.6.
            f"{unusable}could not convert string to float|{numbers}object",
        ),
        "dates": (np.full((N, 4), np.datetime64("2020-01-01")), ValueError, numbers),
        "durations": (np.full((N, 4), np.timedelta64(1, "s")), ValueError, numbers),
        "categories": (
            pd.DataFrame({"a": pd.Categorical(["x"] * N)}),
            ValueError,
            numbers,
        ),
        "dates in a frame": (
            pd.DataFrame({"a": pd.date_range("2020", periods=N)}),
            ValueError,
            numbers,
        ),
        "records": (np.zeros(N, dtype=[("a", float)]), ValueError, two_d),
        "beyond float32": (
            np.full((N, 4), 1e300),
            ValueError,
            f"{own} hold values as large as 1e\\+300",
        ),
        "rows of different lengths": (
            [[1.0]] * (N - 1) + [[1.0, 2.0]],
            ValueError,
            ragged,
        ),
        "frame without columns": (
            pd.DataFrame(index=range(N)),
            ValueError,
            f"{own} must have features; got a dataframe without columns",
        ),
        "lazy frame": (
            pl.LazyFrame({"a": [1.0] * N}),
            TypeError,
            f"{own} is a LazyFrame, whose rows are not computed yet",
        ),
        "masked": (
            np.ma.masked_array(IMAGE, IMAGE > 0),
            TypeError,
            f"{own} is a masked array, whose mask would be lost",
        ),
        "matrix of numpy": (
            IMAGE.view(np.matrix),
            TypeError,
            f"{unusable}np.matrix is not",
        ),
        "sparse tensor": (torch.tensor(IMAGE).to_sparse(), TypeError, tensor),
        "tensor without values": (
            torch.empty((N, 4), device="meta"),
            TypeError,
            tensor,
        ),
        "complex tensor": (
            torch.tensor(IMAGE + 1j),
            ValueError,
            f"{unusable}Complex data",
        ),
        "string": ("words", TypeError, lone),
        "two arrays": ([IMAGE, IMAGE], TypeError, "got a list of two arrays as "),
    }


# Where a matrix holds both modalities, scikit-learn's words for strings.
_OTHERWISE = {
    "numbers as strings": "X cannot be used: dtype='numeric' is not compatible",
    "bytes": "X cannot be used: dtype='numeric' is not compatible",
    "words": "X cannot be used: dtype='numeric' is not compatible",
    "list of words": "X cannot be used: Expected 2D array, got 1D array",
    "categories": "X cannot be used: Found array with 1 feature",
    "dates in a frame": "X cannot be used: Found array with 1 feature",
    "null in polars": "Input X contains NaN",
}

ROWS = []
for _name, (_X, _error, _message) in _wrong_matrices("image features").items():
    ROWS += [
        Row(
            f"fit: images are {_name}",
            lambda X=_X: make("SemanticMatchingProjector").fit(X, TEXT, Y),
            _error,
            _message,
        ),
        Row(
            f"transform_image: {_name}",
            lambda X=_X: fitted("ACMRProjector").transform_image(X),
            _error,
            _message,
        ),
    ]
for _name, (_X, _error, _message) in _wrong_matrices("text features").items():
    ROWS.append(
        Row(
            f"fit: texts in a mapping are {_name}",
            lambda X=_X: make("CCAProjector").fit({"image": IMAGE, "text": X}, Y),
            _error,
            _message,
        )
    )
for _name, (_X, _error, _message) in _wrong_matrices("X").items():
    ROWS.append(
        Row(
            f"fit: one matrix is {_name}",
            lambda X=_X: make("SSAHHasher", n_image_features=2).fit(X, Y),
            _error,
            _OTHERWISE.get(_name, _message),
        )
    )

_SAMPLES = "Found input variables with inconsistent numbers of samples"
_TWO_MATRICES = "got two 2-D arrays and no third argument"
_EXPECTS = "X has {} features, but ACMRProjector is expecting {} features as input"


def _fit(*arguments, name="ACMRProjector", **params):
    return lambda: make(name, **params).fit(*arguments)


def _encode(*arguments, method="transform", name="ACMRProjector"):
    return lambda: getattr(fitted(name), method)(*arguments)


ROWS += [
    Row(name, call, error, message)
    for name, call, error, message in [
        (
            "nothing but X",
            _fit(IMAGE),
            ValueError,
            "This ACMRProjector estimator requires y",
        ),
        (
            "no X",
            _fit(None, TEXT, Y),
            ValueError,
            "The image features cannot be used: Exp",
        ),
        ("no labels", _fit(IMAGE, TEXT), ValueError, _TWO_MATRICES),
        (
            "no labels for a mapping",
            _fit(PAIRS),
            ValueError,
            "This ACMRProjector estimator",
        ),
        ("fewer images", _fit(IMAGE[1:], TEXT, Y), ValueError, _SAMPLES),
        ("fewer texts", _fit(IMAGE, TEXT[1:], Y), ValueError, _SAMPLES),
        (
            "fewer texts, unpaired",
            _fit(IMAGE, TEXT[1:], Y, name="DRCLProjector"),
            ValueError,
            _SAMPLES,
        ),
        (
            "one row",
            _fit(IMAGE[:1], TEXT[:1], Y[:1]),
            ValueError,
            "ACMRProjector needs labels of at least two classes",
        ),
        (
            "pairs and texts",
            _fit(PAIRS, TEXT, Y),
            TypeError,
            "got a paired container as X and two more arguments",
        ),
        (
            "pairs as texts",
            _fit(IMAGE, PAIRS, Y),
            TypeError,
            "got a paired container as the text features",
        ),
        (
            "labels as texts",
            _fit(IMAGE, Y, TEXT),
            ValueError,
            "The text features cannot be used: Expected 2D array, got 1D array",
        ),
        (
            "mapping without texts",
            _fit({"image": IMAGE}, Y),
            ValueError,
            "a mapping X must have the keys 'image' and 'text'; got",
        ),
        (
            "mapping with other keys",
            _fit({"img": IMAGE, "txt": TEXT}, Y),
            ValueError,
            "a mapping X must have the keys",
        ),
        (
            "mapping with more keys",
            _fit({"image": IMAGE, "text": TEXT, "audio": IMAGE}, Y),
            ValueError,
            "a mapping X must have the keys",
        ),
        ("empty mapping", _fit({}, Y), ValueError, "a mapping X must have the keys"),
        (
            "empty mapping, any names",
            _fit({}, Y, name="DRCLProjector"),
            ValueError,
            "a mapping X must have a modality; got an empty one",
        ),
        (
            "None in a mapping",
            _fit({"image": IMAGE, "text": None}, Y),
            ValueError,
            "The text features cannot be used: Expected 2D",
        ),
        (
            "name that is no string",
            _fit({3: IMAGE, "text": TEXT}, Y, name="DRCLProjector"),
            ValueError,
            "The name of a modality must be a string without",
        ),
        (
            "name with a dot",
            _fit({"a.b": IMAGE, "text": TEXT}, Y, name="SSAHHasher"),
            ValueError,
            "The name of a modality must be a string without",
        ),
        (
            "name that torch needs",
            _fit({"keys": IMAGE, "text": TEXT}, Y, name="SSAHHasher"),
            ValueError,
            "The name 'keys' is reserved; choose another name",
        ),
        (
            "cut after the last column",
            _fit(WHOLE, Y, n_image_features=7),
            ValueError,
            "n_image_features=7 leaves no column for the text",
        ),
        (
            "one column",
            _fit(WHOLE[:, :1], Y),
            ValueError,
            "X cannot be used: Found array with 1 feature",
        ),
        (
            "3-D images where none are known",
            _fit(IMAGE[..., None], TEXT, Y),
            ValueError,
            "The image features cannot be used: Found array with dim 3",
        ),
        (
            "regions NaN in part",
            _fit(
                changed(np.ones((N, 2, 3)), np.nan, (0, 0, 0)),
                TEXT,
                Y,
                name="AADAHHasher",
            ),
            ValueError,
            "The image features have regions with some values NaN",
        ),
        (
            "item without regions",
            _fit(changed(np.ones((N, 2, 3)), np.nan, 0), TEXT, Y, name="AADAHHasher"),
            ValueError,
            "The image features have an item without any region: row 0",
        ),
        (
            "columns of one name",
            _fit(
                pd.DataFrame(IMAGE, columns=[*"aabc"]),
                pd.DataFrame(TEXT, columns=[*"abc"]),
                Y,
            ),
            ValueError,
            "The image features cannot be used: Expected unique column names",
        ),
        (
            "columns of one name, one matrix",
            _fit(pd.DataFrame(IMAGE, columns=[*"aabc"]), Y, n_image_features=2),
            ValueError,
            "X cannot be used: Expected unique column names",
        ),
        (
            "names without modality",
            _fit(pd.DataFrame(WHOLE, columns=[*"abcdefg"]), Y),
            ValueError,
            "The columns of X are named, such as 'a' and 'g', but the names do",
        ),
        (
            "prefix of some names",
            _fit(pd.DataFrame(IMAGE, columns=["image__a", "b", "text__c", "d"]), Y),
            ValueError,
            "Either all columns of a dataframe start with",
        ),
        (
            "prefix of images only",
            _fit(pd.DataFrame(IMAGE).add_prefix("image__"), Y),
            ValueError,
            "A dataframe with prefixed columns must have both",
        ),
        (
            "three levels of columns",
            _fit(
                pd.DataFrame(
                    IMAGE,
                    columns=pd.MultiIndex.from_product(
                        [["image", "text"], ["a"], [1, 2]]
                    ),
                ),
                Y,
            ),
            ValueError,
            "A dataframe with column levels must have two",
        ),
        (
            "column of vectors",
            _fit(pd.DataFrame({"image": list(IMAGE), "text": list(TEXT)}), Y),
            ValueError,
            "A dataframe with one column for each modality holds one object",
        ),
        (
            "other index of texts",
            _fit(pd.DataFrame(IMAGE), pd.DataFrame(TEXT, index=range(1, N + 1)), Y),
            ValueError,
            "The image and the text features have different indices",
        ),
        (
            "other order of labels",
            _fit(pd.DataFrame(IMAGE), pd.DataFrame(TEXT), pd.Series(Y)[::-1]),
            ValueError,
            "The labels and the .* features have the same index in another order",
        ),
        # What is not of the fit.
        (
            "reconstruct without a decoder",
            _encode(IMAGE, "image", method="reconstruct", name="CMGANProjector"),
            ValueError,
            "reconstruct needs a network that only reconstruction_weight > 0 trains",
        ),
        (
            "constant column in CCA",
            _fit({"image": IMAGE * [0, 0, 0, 0], "text": TEXT}, name="CCAProjector"),
            ValueError,
            "Constant image features",
        ),
        (
            "not fitted",
            lambda: make("ACMRProjector").transform(IMAGE, TEXT),
            NotFittedError,
            "This ACMRProjector instance is not fitted yet",
        ),
        (
            "score before fit",
            lambda: make("SSAHHasher").score(IMAGE, TEXT, Y),
            NotFittedError,
            "This SSAHHasher instance is not fitted yet",
        ),
        (
            "encode before fit",
            lambda: make("ITQHasher").encode(IMAGE, "image"),
            NotFittedError,
            "This ITQHasher instance is not fitted yet",
        ),
        (
            "encoder_ before fit",
            lambda: make("CMGANProjector").encoder_("image"),
            NotFittedError,
            "This CMGANProjector instance is not fitted yet",
        ),
        (
            "add_modality before fit",
            lambda: make("DRCLProjector").add_modality("audio", IMAGE, Y),
            NotFittedError,
            "This DRCLProjector instance is not fitted yet",
        ),
        (
            "names before fit",
            lambda: make("AADAHHasher").get_feature_names_out(),
            NotFittedError,
            "This AADAHHasher instance is not fitted yet",
        ),
        (
            "swapped modalities",
            _encode(TEXT, IMAGE),
            ValueError,
            "X has 3 image features, but ACMRProjector is expecting 4 image",
        ),
        (
            "image as text",
            _encode(IMAGE, method="transform_text"),
            ValueError,
            "X has 4 text features, but ACMRProjector is expecting 3 text",
        ),
        (
            "images alone to transform",
            _encode(IMAGE),
            ValueError,
            _EXPECTS.format(4, 7),
        ),
        (
            "more columns",
            _encode(np.hstack([WHOLE, IMAGE])),
            ValueError,
            _EXPECTS.format(11, 7),
        ),
        ("fewer texts to transform", _encode(IMAGE, TEXT[1:]), ValueError, _SAMPLES),
        (
            "unknown modality in a mapping",
            _encode({"audio": IMAGE}),
            ValueError,
            "a mapping X must have the keys",
        ),
        (
            "empty mapping to transform",
            _encode({}),
            ValueError,
            "a mapping X must have the keys",
        ),
        (
            "unknown modality",
            _encode(IMAGE, "audio", method="transform_modality"),
            ValueError,
            r"modality must be one of \['image', 'text'\], got 'audio'",
        ),
        (
            "modality None",
            _encode(IMAGE, None, method="transform_modality"),
            ValueError,
            "modality must be one of .* got None",
        ),
        (
            "modality 0",
            _encode(IMAGE, 0, method="transform_modality"),
            ValueError,
            "modality must be one of .* got 0",
        ),
        (
            "modalities as modality",
            _encode(IMAGE, ["image"], method="transform_modality"),
            ValueError,
            "modality must be one of .* got ",
        ),
        (
            "modality and features swapped",
            _encode("image", IMAGE, method="transform_modality"),
            ValueError,
            "modality must be one of ",
        ),
        (
            "unknown modality to encode",
            _encode(IMAGE, "audio", method="encode", name="SSAHHasher"),
            ValueError,
            "modality must be one of .* got 'audio'",
        ),
        (
            "unknown modality of an encoder",
            _encode("audio", method="encoder_"),
            ValueError,
            "modality must be one of .* got 'audio'",
        ),
        (
            "number of an encoder",
            _encode(0, method="encoder_", name="AADAHHasher"),
            ValueError,
            "modality must be one of .* got 0",
        ),
        (
            "modality of probabilities",
            _encode(IMAGE, 3, method="predict_proba"),
            TypeError,
            "modality must be the name of a modality",
        ),
        (
            "two arrays of probabilities",
            _encode(IMAGE, TEXT, method="predict_proba"),
            TypeError,
            "modality must be the name of a modality",
        ),
        (
            "images alone of probabilities",
            _encode(IMAGE, method="predict_proba"),
            ValueError,
            _EXPECTS.format(4, 7),
        ),
        (
            "unknown form of codes",
            lambda: fitted("ITQHasher").encode(IMAGE, "image", output="hex"),
            ValueError,
            r"output must be one of \['sign', 'bool', 'packed', 'real'\], got 'hex'",
        ),
        (
            "no form of codes",
            lambda: fitted("SSAHHasher").encode(IMAGE, "image", output=None),
            ValueError,
            "output must be one of .* got None",
        ),
        (
            "list of forms",
            lambda: fitted("AADAHHasher").encode(IMAGE, "image", output=["sign"]),
            ValueError,
            "output must be one of .* got ",
        ),
        (
            "unknown modality of a reconstruction",
            lambda: refitted("CMGANProjector", reconstruction_weight=1).reconstruct(
                IMAGE, "audio"
            ),
            ValueError,
            "modality must be one of .* got 'audio'",
        ),
        (
            "other width of a reconstruction",
            lambda: refitted("CMGANProjector", reconstruction_weight=1).reconstruct(
                TEXT, "image"
            ),
            ValueError,
            "X has 3 image features",
        ),
        (
            "codes of labels of another width",
            lambda: fitted("SSAHHasher").encode(np.eye(4), "label"),
            ValueError,
            "y has 4 columns, expected one for each of the 3 classes",
        ),
        (
            "score of one modality",
            lambda: fitted("DRCLProjector").score({"image": IMAGE}, Y),
            ValueError,
            "score needs two modalities or more",
        ),
        (
            "score without labels",
            _encode(IMAGE, TEXT, method="score"),
            ValueError,
            _TWO_MATRICES,
        ),
        (
            "names of features",
            lambda: fitted("ACMRProjector").get_feature_names_out(3),
            ValueError,
            "input_features must be a list of the names of the features, got 3",
        ),
        (
            "too few names of features",
            lambda: fitted("ACMRProjector").get_feature_names_out(["a"]),
            ValueError,
            "input_features should have length equal to number of features",
        ),
        (
            "unknown container of the output",
            lambda: make("ACMRProjector").set_output(transform="numpy"),
            ValueError,
            r"transform must be one of .* or None, got 'numpy'",
        ),
        (
            "list of containers",
            lambda: make("ACMRProjector").set_output(transform=["pandas"]),
            ValueError,
            "transform must be one of ",
        ),
        (
            "other names of columns",
            lambda: (
                make("SemanticMatchingProjector")
                .fit(_FRAME.add_prefix("a"), pd.DataFrame(TEXT).add_prefix("b"), Y)
                .transform_image(_FRAME.add_prefix("c"))
            ),
            ValueError,
            "The image feature names should match those that were passed during fit",
        ),
        # One more modality.
        (
            "modality that is known",
            lambda: refitted("DRCLProjector").add_modality("image", IMAGE, Y),
            ValueError,
            "The modality 'image' is fitted already",
        ),
        (
            "name of a new modality",
            lambda: refitted("DRCLProjector").add_modality(3, IMAGE, Y),
            ValueError,
            "The name of a modality must be a string without",
        ),
        (
            "no name of a new modality",
            lambda: refitted("DRCLProjector").add_modality("", IMAGE, Y),
            ValueError,
            "The name of a modality must be a string without",
        ),
        (
            "NaN in a new modality",
            lambda: refitted("DRCLProjector").add_modality("audio", _NAN, Y),
            ValueError,
            "Input audio features contains NaN",
        ),
        (
            "no labels of a new modality",
            lambda: refitted("DRCLProjector").add_modality("audio", IMAGE, None),
            ValueError,
            "The audio labels are None",
        ),
        (
            "fewer labels of a new modality",
            lambda: refitted("SSAHHasher").add_modality("audio", IMAGE, Y[1:]),
            ValueError,
            _SAMPLES,
        ),
        (
            "new classes of a new modality",
            lambda: refitted("DRCLProjector").add_modality("audio", IMAGE, Y + 1),
            ValueError,
            "y holds labels that were not seen in fit",
        ),
    ]
]
