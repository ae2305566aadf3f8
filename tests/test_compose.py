"""PairTransformer: a transformer for each modality, in every container."""

# SPDX-License-Identifier: BSD-3-Clause

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import (
    CountVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    LabelBinarizer,
    MaxAbsScaler,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn.utils import get_tags
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_cmr import (
    AADAHHasher,
    ACMRProjector,
    DRCLProjector,
    PairTransformer,
    make_pairs,
)
from sklearn_cmr.metrics import map_scorer
from sklearn_cmr.pairs import Pairs

_RNG = np.random.RandomState(0)
A = _RNG.randn(48, 6)
B = _RNG.randint(0, 4, size=(48, 5)).astype(float)
y = np.arange(48) % 3
WORDS = np.array([f"w{i % 3} x{i % 5} common" for i in range(48)], dtype=object)
INDEX = _RNG.permutation(48)
IMAGE_FRAME = pd.DataFrame(A, columns=list("abcdef"), index=INDEX)
TEXT_FRAME = pd.DataFrame(B, columns=list("abcde"), index=INDEX)
PAIRS = make_pairs(A, B)
WHOLE = np.hstack([A, B])


def scaler_and_pca():
    return PairTransformer(
        image=StandardScaler(), text=PCA(2, random_state=0), n_image_features=6
    )


SCALED = StandardScaler().fit_transform(A)
REDUCED = PCA(2, random_state=0).fit_transform(B)

FORMS = {
    "arrays": (A, B),
    "frames": (IMAGE_FRAME, TEXT_FRAME),
    "slicedict": (PAIRS,),
    "dict": ({"text": B, "image": A},),
    "levels": (pd.concat({"image": IMAGE_FRAME, "text": TEXT_FRAME}, axis=1),),
    "prefixed": (make_pairs(IMAGE_FRAME, TEXT_FRAME),),
    "plain": (WHOLE,),
    "plain_csr": (sparse.csr_array(WHOLE),),
}


def parts_of(Z):
    if isinstance(Z, tuple):
        return [np.asarray(part) for part in Z]
    if isinstance(Z, dict):
        return [np.asarray(Z["image"]), np.asarray(Z["text"])]
    return np.split(np.asarray(Z), [6], axis=1)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "plain_csr"])
def test_every_form(form):
    X = FORMS[form]
    prepare = scaler_and_pca()
    labels = (y,) if len(X) == 2 else ()
    for Z in (prepare.fit_transform(*X, *labels), prepare.transform(*X)):
        assert_allclose(parts_of(Z)[0], SCALED)
        assert_allclose(parts_of(Z)[1], REDUCED)
        assert type(Z) is (tuple if len(X) == 2 else type(X[0]))
    assert prepare.n_features_in_ == 11
    assert (prepare.n_image_features_in_, prepare.n_text_features_in_) == (6, 5)
    if isinstance(Z, dict):
        assert list(Z) == list(X[0])
    if form in ("levels", "prefixed"):
        assert_array_equal(Z.index, INDEX)
        assert Z.columns.nlevels == X[0].columns.nlevels
    expected = [f"text__pca{i}" for i in range(2)]
    assert list(prepare.get_feature_names_out()[6:]) == expected


@pytest.mark.parametrize("form", ["levels", "prefixed"])
def test_frames_keep_the_dtypes_of_each_part(form):
    parts = {
        "image": IMAGE_FRAME.astype(np.float32),
        "text": TEXT_FRAME.astype(int).assign(a=WORDS),
    }
    X = pd.concat(parts, axis=1)
    if form == "prefixed":
        X.columns = ["__".join(names) for names in X.columns]
    Z = PairTransformer(image=StandardScaler()).fit_transform(X)
    assert list(Z.dtypes) == list(X.dtypes)
    pd.testing.assert_frame_equal(PairTransformer().fit_transform(X), X)


def test_passthrough_is_the_default_and_leaves_parts_alone():
    Z = PairTransformer().fit_transform(PAIRS)
    assert Z["image"] is A and Z["text"] is B
    raw = PairTransformer().fit_transform(make_pairs(A, WORDS))
    assert raw["text"] is WORDS


@pytest.mark.parametrize("text", [TfidfTransformer(), MaxAbsScaler(), "passthrough"])
def test_sparse_text_stays_sparse(text):
    pairs = make_pairs(A, sparse.csr_array(B))
    prepare = PairTransformer(image=StandardScaler(), text=text).fit(pairs)
    Z = prepare.transform(pairs)
    assert type(Z) is Pairs
    assert sparse.issparse(Z["text"]) and Z["text"].format == "csr"
    assert_allclose(Z["image"], SCALED)
    reduced = PairTransformer(text=TruncatedSVD(2)).fit_transform(pairs)["text"]
    assert type(reduced) is np.ndarray and reduced.shape == (48, 2)


def test_plain_sparse_matrix():
    X = sparse.csr_array(WHOLE)
    prepare = PairTransformer(text=TfidfTransformer(), n_image_features=6)
    Z = prepare.fit_transform(X)
    assert sparse.issparse(Z) and Z.shape == X.shape
    assert_allclose(Z.toarray()[:, 6:], TfidfTransformer().fit_transform(B).toarray())


@pytest.mark.parametrize(
    "words", [WORDS, WORDS.tolist(), pd.Series(WORDS, index=INDEX)]
)
def test_raw_strings(words):
    pairs = make_pairs(A, words)
    text = make_pipeline(TfidfVectorizer(), TruncatedSVD(3, random_state=0))
    prepare = PairTransformer(image=StandardScaler(), text=text).fit(pairs)
    Z = prepare.transform(pairs)
    assert_allclose(Z["text"], clone(text).fit_transform(WORDS))
    assert prepare.n_text_features_in_ == 1
    assert_array_equal(prepare.transform({"text": WORDS[:4]})["text"], Z["text"][:4])
    assert list(prepare.get_feature_names_out()[6:]) == [
        f"text__truncatedsvd{i}" for i in range(3)
    ]


def test_raw_strings_in_a_dataframe_column():
    frame = make_pairs(IMAGE_FRAME, pd.DataFrame({"caption": WORDS}, index=INDEX))
    by_column = ColumnTransformer(
        [("tfidf", make_pipeline(TfidfVectorizer(), TruncatedSVD(2)), "caption")]
    )
    Z = PairTransformer(image=StandardScaler(), text=by_column).fit_transform(frame)
    assert Z.shape == (48, 8) and Z.index.equals(frame.index)
    two = make_pairs(IMAGE_FRAME, pd.DataFrame({"a": WORDS, "b": WORDS}, index=INDEX))
    # A vectorizer that gets a frame takes its column names for documents.
    with pytest.raises(ValueError, match="made 2 rows of 48|empty vocabulary"):
        PairTransformer(text=TfidfVectorizer(token_pattern=".")).fit(two)


@pytest.mark.parametrize(
    ("pairs", "text", "grid"),
    [
        (
            make_pairs(A, WORDS),
            make_pipeline(TfidfVectorizer(), TruncatedSVD(random_state=0)),
            {"f__text__truncatedsvd__n_components": [2, 3]},
        ),
        (PAIRS, StandardScaler(), {"f__image__with_mean": [True, False]}),
        (
            FORMS["prefixed"][0],
            "passthrough",
            {"f__text": ["passthrough", StandardScaler(), PCA(2)]},
        ),
    ],
    ids=["strings", "mapping", "frame"],
)
def test_nested_parameters_in_a_grid(pairs, text, grid):
    projector = ACMRProjector(
        embedding_dim=16, hidden_layer_sizes=(), max_epochs=1, random_state=0
    )
    prepare = PairTransformer(image=StandardScaler(), text=text)
    search = GridSearchCV(
        Pipeline([("f", prepare), ("projector", projector)]),
        grid,
        scoring=map_scorer,
        cv=StratifiedKFold(2, shuffle=True, random_state=0),
        error_score="raise",
    )
    search.fit(pairs, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_.keys() == grid.keys()
    assert search.score(pairs, y) > 0


class _Recorder(BaseEstimator):
    """Remember the labels and the features of `fit`; has no `fit_transform`."""

    def fit(self, X, y=None):
        self.X_, self.y_ = X, y
        return self

    def transform(self, X):
        return X[:, :2]


@pytest.mark.parametrize("arguments", [(PAIRS, y), (A, B, y), (WHOLE, y)])
def test_labels_reach_both_parts(arguments):
    prepare = PairTransformer(
        image=SelectKBest(k=2), text=_Recorder(), n_image_features=6
    ).fit(*arguments)
    selected = SelectKBest(k=2).fit(A, y).get_support()
    assert_array_equal(prepare.transformers_["image"].get_support(), selected)
    assert prepare.transformers_["text"].y_ is y
    assert_array_equal(prepare.transformers_["text"].X_, B)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array, pd.DataFrame])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, bool, int])
def test_labels_of_more_than_256_columns(kind, dtype):
    # LabelBinarizer numbers the columns of an indicator of 8 bits modulo 256.
    Y = np.eye(300, dtype=dtype)
    Y[:, 0] = Y[1, 299] = Y[2, 256] = 1
    X = np.zeros((300, 2))
    prepare = PairTransformer(image=_Recorder()).fit(make_pairs(X, X), kind(Y))
    binary = LabelBinarizer().fit_transform(prepare.transformers_["image"].y_)
    assert_array_equal(binary, Y)


def test_given_transformers_stay_unfitted():
    prepare = scaler_and_pca()
    prepare.fit(PAIRS)
    assert not hasattr(prepare.image, "scale_")
    assert prepare.transformers_["image"] is not prepare.image
    copied = clone(prepare)
    assert not hasattr(copied, "transformers_")
    assert copied.get_params()["image__with_mean"]
    prepare.set_params(image__with_mean=False, text="passthrough")
    assert prepare.get_params()["image__with_mean"] is False


@pytest.mark.parametrize(
    "imputer", [SimpleImputer(), make_pipeline(SimpleImputer(), StandardScaler())]
)
@pytest.mark.parametrize("form", FORMS)
def test_missing_values_reach_the_imputer(imputer, form):
    X = (_with_hole(FORMS[form][0]), *FORMS[form][1:])
    prepare = PairTransformer(image=imputer, n_image_features=6)
    if form == "plain_csr":
        prepare.set_params(image=SimpleImputer())
    labels = (y,) if len(X) == 2 else ()
    for Z in (prepare.fit_transform(*X, *labels), prepare.transform(*X)):
        dense = Z.toarray() if sparse.issparse(Z) else np.hstack(parts_of(Z))
        assert np.isfinite(dense).all()


def _with_hole(X):
    """Put NaN where the first image feature of the first row is."""
    if isinstance(X, dict):
        return type(X)(text=X["text"], image=_with_hole(X["image"]))
    X = X.copy()
    if isinstance(X, pd.DataFrame):
        X.iloc[0, 0] = np.nan
    else:
        X[0, 0] = np.nan
    return X


def test_missing_values_stop_a_part_that_takes_none():
    with pytest.raises(ValueError, match="NaN"):
        PairTransformer(image=PCA(2), n_image_features=6).fit(_with_hole(WHOLE))
    with pytest.raises(ValueError, match="NaN"):
        PairTransformer(n_image_features=6).fit(_with_hole(WHOLE))


# Names and output -------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("slicedict", [f"image__x{i}" for i in range(6)]),
        ("frames", [f"image__{name}" for name in "abcdef"]),
        ("prefixed", [f"image__{name}" for name in "abcdef"]),
        ("levels", [f"image__{name}" for name in "abcdef"]),
    ],
)
def test_names_are_those_of_the_parts(form, expected):
    prepare = PairTransformer(image=StandardScaler(), text=PCA(2))
    prepare.fit(*FORMS[form], *((y,) if form == "frames" else ()))
    assert list(prepare.get_feature_names_out()) == [
        *expected,
        "text__pca0",
        "text__pca1",
    ]


def test_images_have_as_many_features_as_values():
    images, texts = np.zeros((5, 3, 4, 4)), np.ones((5, 2))
    prepare = PairTransformer(text=StandardScaler()).fit(make_pairs(images, texts))
    assert prepare.n_image_features_in_ == 48
    assert prepare.n_features_in_ == len(prepare.get_feature_names_out()) == 50
    with pytest.raises(ValueError, match="X has 24 image features"):
        prepare.transform(make_pairs(images[:, :, 2:], texts))


def test_names_of_a_vocabulary():
    prepare = PairTransformer(text=TfidfVectorizer()).fit(make_pairs(A, WORDS))
    names = prepare.get_feature_names_out()
    assert names[6] == "text__common" and len(names) == 6 + 9


def test_reordered_columns_raise():
    prepare = PairTransformer().fit(FORMS["prefixed"][0])
    with pytest.raises(ValueError, match="must be in the same order"):
        prepare.transform(make_pairs(IMAGE_FRAME[list("fedcba")], TEXT_FRAME))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output(library):
    frames = pytest.importorskip(library)
    prepare = scaler_and_pca().set_output(transform=library).fit(PAIRS)
    Z = prepare.transform(PAIRS)
    assert type(Z) is Pairs
    assert all(isinstance(part, frames.DataFrame) for part in Z.values())
    assert list(Z["text"].columns) == ["text__pca0", "text__pca1"]
    assert isinstance(prepare.transform(WHOLE), frames.DataFrame)


def test_a_frame_cannot_hold_sparse_output():
    frame = FORMS["prefixed"][0]
    prepare = PairTransformer(text=TfidfTransformer())
    Z = prepare.fit_transform(frame)
    assert type(Z) is Pairs and sparse.issparse(Z["text"])
    with pytest.raises(ValueError, match="cannot hold the sparse output"):
        prepare.set_output(transform="pandas").fit_transform(frame)


@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names")
def test_images_with_regions():
    """They pass as they are, padding included, beside a text that is transformed."""
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    regions = rng.normal(size=(40, 4, 5)) + y[:, None, None]
    regions[::3, 2:] = np.nan
    pairs = make_pairs(regions, rng.normal(size=(40, 3)) + y[:, None])
    prepare = PairTransformer(text=StandardScaler())
    assert prepare.fit_transform(pairs)["image"] is pairs["image"]
    hasher = AADAHHasher(n_bits=12, output="packed", max_epochs=1, random_state=0)
    search = GridSearchCV(
        make_pipeline(prepare, hasher),
        {"aadahhasher__n_bits": [4, 12]},
        scoring=map_scorer,
        cv=StratifiedKFold(2, shuffle=True, random_state=0),
        error_score="raise",
    ).fit(pairs, y)
    assert search.score(pairs, y) == search.best_estimator_.score(pairs, y)
    with pytest.raises(ValueError, match="have regions.*Found array with dim 3.*pass"):
        PairTransformer(image=StandardScaler()).fit(pairs)
    with pytest.raises(ValueError, match=r"items of more than one dim.*\(40, 4, 5"):
        prepare.set_output(transform="pandas").fit_transform(pairs)


def test_parts_that_make_frames_themselves():
    scale = StandardScaler().set_output(transform="pandas")
    prepare = PairTransformer(image=scale, text=clone(scale), n_image_features=6)
    for form, X in FORMS.items():
        if len(X) == 1 and form != "plain_csr":
            Z = prepare.fit_transform(*X)
            assert_allclose(parts_of(Z)[0], SCALED)
            assert list(prepare.get_feature_names_out())[0].startswith("image__")


def test_one_key():
    prepare = scaler_and_pca().fit(PAIRS)
    assert_allclose(prepare.transform({"text": B})["text"], REDUCED)
    assert list(prepare.transform(Pairs(image=A[:3]))) == ["image"]


def test_parts_of_a_plain_matrix_without_a_cut_warn():
    with pytest.warns(UserWarning, match="the first 5 of the 11 columns are taken"):
        PairTransformer().fit(WHOLE)


# Wrong use --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "arguments", "error", "text"),
    [
        ({}, (A, B), ValueError, r"put them into one container: fit\(make_pairs\("),
        ({}, (PAIRS, B, y), TypeError, "got a paired container as X and two more"),
        ({}, (A, PAIRS, y), TypeError, "got a paired container as the text features"),
        ({}, ([A, B],), TypeError, "got a list of two arrays as X"),
        (
            {"text": PCA()},
            ({"image": A},),
            ValueError,
            r"no features of 'text', .*; got the modalities \['image'\]",
        ),
        ({}, ({"image": A, "text": B[1:]}, y), ValueError, r"samples: \[48, 47\]"),
        (
            {},
            ({"image": A, "text": B[1:]}, {"image": y}),
            ValueError,
            "The labels must have the names of the modalities",
        ),
        (
            {"text": TfidfVectorizer()},
            ({"image": A, "text": "abc"},),
            TypeError,
            "got a single string as the text features: 'abc'",
        ),
        ({}, ((A, B),), TypeError, "got a tuple of two arrays as X"),
        ({}, ({"image": A, "text": None},), ValueError, "text features have no rows"),
        (
            {"image": "drop"},
            (PAIRS,),
            ValueError,
            "must be a str among {'passthrough'}",
        ),
        ({"text": 3}, (PAIRS,), ValueError, "implementing 'fit' and 'transform'"),
        (
            {"text": StandardScaler},
            (PAIRS,),
            TypeError,
            "must be an instance, got the class",
        ),
        (
            {"n_image_features": 11},
            (WHOLE,),
            ValueError,
            "leaves no column for the text",
        ),
    ],
)
def test_wrong_fit(params, arguments, error, text):
    with pytest.raises(error, match=text):
        PairTransformer(**params).fit(*arguments)


@pytest.mark.parametrize(
    ("X", "error", "text"),
    [
        (
            make_pairs(B, A),
            ValueError,
            "X has 5 image features, but PairTransformer is",
        ),
        (A, ValueError, "X has 6 features, but PairTransformer is expecting 11"),
        ({}, ValueError, "must have a modality; got an empty one"),
        ({"image": {"image": A}}, TypeError, "paired container as the image features"),
    ],
)
def test_wrong_transform(X, error, text):
    prepare = PairTransformer(n_image_features=6).fit(WHOLE)
    with pytest.raises(error, match=text):
        prepare.transform(X)


def test_not_fitted():
    for method, arguments in (("transform", (PAIRS,)), ("get_feature_names_out", ())):
        with pytest.raises(NotFittedError):
            getattr(PairTransformer(), method)(*arguments)


def test_a_fit_that_fails_leaves_the_estimator_as_it_was():
    prepare = PairTransformer(text=StandardScaler())
    for features in (make_pairs(A[:, :3], WORDS), {"image": A[:, :3], "audio": B}):
        with pytest.raises(ValueError, match="string|no features of 'text'"):
            prepare.fit(features)
        with pytest.raises(NotFittedError):
            prepare.transform(PAIRS)
    expected = prepare.fit(PAIRS).transform(PAIRS)["text"]
    with pytest.raises(ValueError, match="string"):
        prepare.fit(make_pairs(A[:, :3], WORDS))
    assert_array_equal(prepare.transform(PAIRS)["text"], expected)


def test_rows_lost_by_a_transformer_raise():
    prepare = PairTransformer(image=FunctionTransformer(lambda X: X[:-1]))
    with pytest.raises(ValueError, match="made 47 rows of 48"):
        prepare.fit(PAIRS)


def test_no_warning_in_a_pipeline():
    pipeline = make_pipeline(
        PairTransformer(image=StandardScaler(), text=TfidfTransformer()),
        ACMRProjector(embedding_dim=4, hidden_layer_sizes=(), max_epochs=1),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipeline.fit(make_pairs(A, sparse.csr_array(B)), y)


# Columns of strings -----------------------------------------------------------


@pytest.mark.parametrize(
    "vectorizer",
    [
        TfidfVectorizer(),
        make_pipeline(TfidfVectorizer(), TruncatedSVD(2, random_state=0)),
        Pipeline(
            [("inner", make_pipeline(TfidfVectorizer())), ("last", "passthrough")]
        ),
        make_union(TfidfVectorizer(), CountVectorizer()),
    ],
    ids=["vectorizer", "pipeline", "nested", "union"],
)
@pytest.mark.parametrize("form", ["frame", "mapping", "matrix", "polars"])
def test_one_column_of_strings_reaches_a_vectorizer(form, vectorizer):
    expected = clone(vectorizer).fit_transform(WORDS)
    column = pd.DataFrame({"caption": WORDS}, index=INDEX)
    X = {
        "frame": lambda: make_pairs(IMAGE_FRAME, column),
        "mapping": lambda: {"image": A, "text": column},
        "matrix": lambda: make_pairs(A, WORDS[:, None]),
        "polars": lambda: {
            "image": A,
            "text": pytest.importorskip("polars").DataFrame({"caption": list(WORDS)}),
        },
    }[form]()
    dense = TruncatedSVD(2, random_state=0)
    text = make_pipeline(vectorizer, dense) if form == "frame" else vectorizer
    expected = clone(dense).fit_transform(expected) if form == "frame" else expected
    prepare = PairTransformer(text=text)
    for Z in (prepare.fit_transform(X), prepare.transform(X)):
        Z_text = Z.to_numpy()[:, 6:] if form == "frame" else Z["text"]
        assert_allclose(
            *(
                np.asarray(getattr(Z, "toarray", lambda Z=Z: Z)())
                for Z in (Z_text, expected)
            )
        )


def test_one_column_of_numbers_stays_a_column():
    pairs = make_pairs(IMAGE_FRAME, TEXT_FRAME[["a"]])
    Z = PairTransformer(text=StandardScaler()).fit_transform(pairs)
    assert_allclose(Z["text__a"], StandardScaler().fit_transform(B[:, :1])[:, 0])


# Any modalities ---------------------------------------------------------------

SOUND = {"image": A, "text": B, "audio": A[:, :3] + 1}


def test_any_modalities():
    prepare = PairTransformer(audio=StandardScaler(), image=PCA(2)).fit(SOUND)
    assert prepare.modalities_ == ("image", "text", "audio")
    assert prepare.n_audio_features_in_ == 3 and prepare.n_features_in_ == 14
    Z = prepare.transform(SOUND)
    assert_allclose(Z["audio"], SCALED[:, :3])
    assert Z["text"] is B and Z["image"].shape == (48, 2)
    names = list(prepare.get_feature_names_out())
    assert names[:2] == ["image__pca0", "image__pca1"]
    assert names[-3:] == ["audio__x11", "audio__x12", "audio__x13"]
    only = prepare.transform({"audio": SOUND["audio"][:5]})
    assert_allclose(only["audio"], SCALED[:5, :3])
    with pytest.raises(ValueError, match="modality must be one of"):
        prepare.transform({"sketch": B})


def test_parameters_of_any_modality():
    prepare = PairTransformer(audio=StandardScaler())
    assert prepare.get_params()["audio__with_mean"] is True
    assert list(prepare.get_params(deep=False)) == [
        "image",
        "n_image_features",
        "text",
        "audio",
    ]
    copied = clone(prepare)
    assert copied.audio is not prepare.audio
    copied.set_params(audio__with_mean=False)
    assert prepare.audio.with_mean and not copied.audio.with_mean
    assert repr(copied) == "PairTransformer(audio=StandardScaler(with_mean=False))"
    assert "audio" in copied._repr_html_()
    # Fitted and private attributes are no parameters.
    fitted = copied.set_output(transform="default").fit(SOUND)
    assert fitted.get_params(deep=False).keys() == prepare.get_params(False).keys()
    copied = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(
        copied.transform(SOUND)["audio"], fitted.transform(SOUND)["audio"]
    )
    with pytest.raises(ValueError, match="Invalid parameter 'sketch'"):
        prepare.set_params(sketch=PCA())


def test_parameters_of_any_modality_in_a_grid():
    pipeline = make_pipeline(
        PairTransformer(audio=PCA()),
        DRCLProjector(embedding_dim=8, hidden_layer_sizes=(), max_epochs=1),
    )
    search = GridSearchCV(
        pipeline,
        {"pairtransformer__audio__n_components": [1, 2]},
        cv=StratifiedKFold(2, shuffle=True, random_state=0),
        error_score="raise",
    ).fit(make_pairs(**SOUND), y)
    best = search.best_estimator_
    assert best[-1].n_audio_features_in_ == best[0].audio.n_components
    assert best[-1].modalities_ == ("image", "text", "audio")


def test_modalities_with_rows_and_labels_of_their_own():
    X = {"image": A, "audio": SOUND["audio"][:30]}
    labels = {"image": y, "audio": y[:30]}
    prepare = PairTransformer(image=SelectKBest(k=2), audio=SelectKBest(k=1))
    Z = prepare.fit_transform(X, labels)
    assert_array_equal(Z["image"], SelectKBest(k=2).fit_transform(A, y))
    assert Z["audio"].shape == (30, 1)


@pytest.mark.parametrize("name", ["fit", "transform", "_audio", "audio_", "a__b"])
def test_names_that_no_modality_can_have(name):
    with pytest.raises(TypeError, match="cannot name a modality"):
        PairTransformer(**{name: PCA()})


def test_wrong_transformer_of_any_modality():
    with pytest.raises(InvalidParameterError, match="'audio' parameter of PairTransf"):
        PairTransformer(audio=3).fit(SOUND)
    with pytest.raises(TypeError, match="audio must be an instance"):
        PairTransformer(audio=PCA).fit(SOUND)
    with pytest.raises(ValueError, match="'n_image_features' is reserved"):
        PairTransformer().fit({"n_image_features": A})


# Tags -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "allow_nan"),
    [
        ({}, False),
        ({"image": StandardScaler()}, True),
        ({"text": SimpleImputer()}, True),
        ({"audio": SimpleImputer()}, True),
        ({"image": PCA(), "text": TruncatedSVD()}, False),
        ({"image": PCA(), "text": SimpleImputer()}, True),
    ],
)
def test_missing_values_are_allowed_if_some_transformer_takes_them(params, allow_nan):
    assert get_tags(PairTransformer(**params)).input_tags.allow_nan is allow_nan


@pytest.mark.parametrize(
    ("params", "sparse_input", "required"),
    [
        ({}, True, False),
        ({"image": PCA(), "text": OrdinalEncoder()}, False, False),
        ({"image": MaxAbsScaler(), "text": LinearDiscriminantAnalysis()}, False, True),
    ],
)
def test_tags_of_the_parts(params, sparse_input, required):
    tags = get_tags(PairTransformer(**params))
    assert tags.input_tags.sparse is sparse_input
    assert tags.target_tags.required is required


@pytest.mark.parametrize("form", ["prefixed", "levels"])
def test_column_of_strings_of_a_paired_frame(form):
    captions = ["a red bird", "a blue bird", "two fish"] * 4
    image = pd.DataFrame(np.arange(24.0).reshape(12, 2), columns=["u", "v"])
    text = pd.DataFrame({"caption": captions})
    frame = pd.concat({"image": image, "text": text}, axis=1)
    if form == "prefixed":
        frame.columns = ["__".join(column) for column in frame.columns]
    prepare = PairTransformer(image=StandardScaler(), text=TfidfVectorizer())
    Z = prepare.fit_transform(frame)
    expected = TfidfVectorizer().fit_transform(captions)
    assert type(Z) is Pairs
    assert_array_equal(Z["text"].toarray(), expected.toarray())
    assert_array_equal(prepare.transform(frame)["text"].toarray(), expected.toarray())
