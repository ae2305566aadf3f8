"""The displays show what the metrics say, for every form of arguments."""

# SPDX-License-Identifier: BSD-3-Clause

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError, UndefinedMetricWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler, normalize

from sklearn_cmr import ACMRProjector, DRCLProjector, PairTransformer, make_pairs
from sklearn_cmr.datasets import load_captioned_digits
from sklearn_cmr.metrics import (
    ClassScoreDisplay,
    CommonSpaceDisplay,
    ComparisonDisplay,
    PrecisionRecallDisplay,
    RetrievalDisplay,
    TopKHitRateDisplay,
    TopKPrecisionDisplay,
    TopKRecallDisplay,
    TrainingCurveDisplay,
    compare_retrieval,
    cross_modal_report,
    hit_rate_at_k,
    make_map_scorer,
    mean_average_precision,
    precision_at_k,
    precision_recall_curve,
    recall_at_k,
)

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
plt = pytest.importorskip("matplotlib.pyplot")

CURVES = (PrecisionRecallDisplay, TopKPrecisionDisplay, TopKRecallDisplay)
LINES = (*CURVES, TopKHitRateDisplay)
I2T, T2I = "image → text", "text → image"


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


class Turned(TransformerMixin, BaseEstimator):
    """Embeddings: the columns of each modality in another order."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return {name: part[:, ::-1] for name, part in X.items()}


@pytest.fixture
def embeddings():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 4
    image, text = rng.standard_normal((2, 60, 4)) + 1.5 * np.eye(4)[y]
    return image.astype(np.float32), text.astype(np.float32), y


@pytest.fixture(scope="module")
def digits():
    """A pipeline trained on digits, and 80 others of them."""
    pairs, y = load_captioned_digits(n_class=5, return_X_y=True)
    model = make_pipeline(
        PairTransformer(image=StandardScaler(), text=TfidfVectorizer()),
        ACMRProjector(max_epochs=2, random_state=0),
    )
    return model.fit(pairs[:200], y[:200]), pairs[200:280], y[200:280]


def texts_in(ax):
    return [text.get_text() for text in ax.texts]


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# Curves -----------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"ties": "expected", "metric": "euclidean"}])
def test_precision_recall_curves(embeddings, options):
    image, text, y = embeddings
    display = PrecisionRecallDisplay.from_predictions(image, text, y, **options)
    pairs = {I2T: (image, text, y, y), T2I: (text, image, y, y)}
    assert list(display.curves) == list(pairs)
    for line, (direction, sets) in zip(display.lines_, pairs.items(), strict=True):
        curve = precision_recall_curve(*sets, **options)
        assert_array_equal(line.get_xdata(), curve.recall)
        assert_array_equal(line.get_ydata(), curve.precision)
        score = mean_average_precision(*sets, **options)
        assert display.mean_average_precision[direction] == score
        assert line.get_label() == f"{direction} (mAP = {score:.3f})"
    assert display.ax_.get_xlabel() == "Recall"
    assert display.figure_ is display.ax_.figure
    # By more than the color.
    assert len({line.get_linestyle() for line in display.lines_}) == 2


def test_precision_recall_curves_of_codes_by_radius(embeddings):
    image, text, y = embeddings
    codes = [np.where(part > 0, 1, -1).astype(np.int8) for part in (image, text)]
    display = PrecisionRecallDisplay.from_predictions(
        *codes, y, by="radius", average="micro", sample_weight=np.arange(60)
    )
    curve = precision_recall_curve(
        *codes, y, y, by="radius", average="micro", sample_weight=np.arange(60)
    )
    assert_array_equal(display.lines_[0].get_ydata(), curve.precision)
    assert_array_equal(display.curves[I2T].empty, curve.empty)


@pytest.mark.parametrize(
    "cls, metric",
    [
        (TopKPrecisionDisplay, precision_at_k),
        (TopKRecallDisplay, recall_at_k),
        (TopKHitRateDisplay, hit_rate_at_k),
    ],
)
def test_top_k_displays(embeddings, cls, metric):
    image, text, y = embeddings
    display = cls.from_predictions(image, text, y, k=20, name="here")
    for line, sets in zip(
        display.lines_, [(image, text, y, y), (text, image, y, y)], strict=True
    ):
        ranks = np.arange(1, 21)
        assert_array_equal(line.get_xdata(), ranks)
        assert_allclose(line.get_ydata(), metric(*sets, k=ranks))
    assert legend_of(display.ax_) == [f"here, {I2T}", f"here, {T2I}"]
    with pytest.raises(TypeError, match="takes no `by`; got by='radius'"):
        cls.from_predictions(image, text, y, by="radius")
    assert display.ax_.get_ylabel().endswith(" at k")


@pytest.mark.parametrize("cls", CURVES)
def test_curves_of_pairs(cls, embeddings):
    image, text, _ = embeddings
    expected = precision_recall_curve(image, text, relevance="pair")
    for display in (
        cls.from_predictions(image, text, relevance="pair"),
        cls.from_estimator(
            Turned(),
            make_pairs(image[:, ::-1], text[:, ::-1]),
            relevance="pair",
        ),
    ):
        assert_allclose(display.curves[I2T].recall, expected.recall)


def test_hit_rates_of_several_captions():
    """The recall of an image would be shared among its captions."""
    rng = np.random.default_rng(0)
    number = np.arange(60) // 3
    image = rng.standard_normal((20, 4))
    parts = {"image": image, "text": image[number] + rng.standard_normal((60, 4))}
    y = {"image": np.arange(20), "text": number}
    display = TopKHitRateDisplay.from_predictions(parts, y, relevance="pair")
    found, ranks = display.curves[I2T], np.arange(1, 61)
    sets = [*parts.values(), *y.values()]
    assert_allclose(found, hit_rate_at_k(*sets, k=ranks, relevance="pair"))
    assert found[-1] == 1 and len(display.curves[T2I]) == 20
    recall = TopKRecallDisplay.from_predictions(parts, y, relevance="pair")
    assert found[0] == pytest.approx(3 * recall.curves[I2T].recall[0])
    with pytest.raises(ValueError, match="k == 0, must be >= 1"):
        TopKHitRateDisplay.from_predictions(parts, y, k=0)


@pytest.mark.parametrize("cls", LINES)
def test_a_matrix_of_relevance_is_that_of_one_direction(cls, embeddings):
    image, text, _ = embeddings
    matrix = np.ones((len(image), len(text)))
    with pytest.raises(ValueError, match="is that of one direction"):
        cls.from_predictions(image, text, relevance=matrix)
    with pytest.raises(ValueError, match="is that of one direction"):
        cls.from_estimator(Turned(), make_pairs(image, text), relevance=matrix)


@pytest.mark.parametrize("cls", CURVES)
def test_any_number_of_modalities_and_a_gallery(cls, embeddings):
    image, text, y = embeddings
    parts = {"image": image, "text": text, "audio": image + text}
    assert len(cls.from_predictions(parts, y).lines_) == 6
    gallery = {name: part[20:] for name, part in parts.items()}
    display = cls.from_predictions(parts, y, gallery=gallery, y_gallery=y[20:])
    curve = precision_recall_curve(parts["audio"], text[20:], y, y[20:])
    assert_array_equal(display.curves["audio → text"].precision, curve.precision)


@pytest.mark.parametrize("cls", LINES)
def test_curves_of_several_methods_share_axes(cls, embeddings):
    image, text, y = embeddings
    _, ax = plt.subplots()
    first = cls.from_predictions(image, text, y, ax=ax, name="one")
    second = cls.from_predictions((image[:, :2], text[:, :2]), y, ax=ax, name="two")
    assert first.ax_ is second.ax_ is ax
    assert len(ax.lines) == len(set(legend_of(ax))) == 4
    assert len({line.get_color() for line in ax.lines}) == 4
    again = first.plot(name="three")
    assert again is first and first.ax_ is not ax
    assert all(label.startswith("three, ") for label in legend_of(first.ax_))


@pytest.mark.parametrize("cls", LINES)
def test_style_of_curves(cls, embeddings):
    image, text, y = embeddings
    options = {"curve_kwargs": {"c": "red", "lw": 3}}
    display = cls.from_predictions(image, text, y, **options)
    assert [line.get_color() for line in display.lines_] == ["red", "red"]
    display.plot(curve_kwargs=[{"label": "a"}, {"linestyle": ":"}])
    assert display.lines_[0].get_label() == "a"
    assert display.lines_[1].get_linestyle() == ":"
    with pytest.raises(ValueError, match="for each of the 2 curves; got 1"):
        display.plot(curve_kwargs=[{}])
    with pytest.raises(TypeError, match="tie"):
        cls.from_predictions(image, text, y, tie="expected")


# Arguments that all have in common ------------------------------------------------


ALL = {
    PrecisionRecallDisplay: lambda d: [line.get_xydata() for line in d.lines_],
    TopKPrecisionDisplay: lambda d: [line.get_xydata() for line in d.lines_],
    TopKRecallDisplay: lambda d: [line.get_xydata() for line in d.lines_],
    TopKHitRateDisplay: lambda d: [line.get_xydata() for line in d.lines_],
    ClassScoreDisplay: lambda d: [
        [bar.get_width() for bar in bars] for bars in d.bars_
    ],
    CommonSpaceDisplay: lambda d: list(d.positions.values()),
    RetrievalDisplay: lambda d: [d.relevant],
}
FIXED = {
    CommonSpaceDisplay: {"method": "pca", "random_state": 0},
    RetrievalDisplay: {"random_state": 0},
}


@pytest.mark.parametrize("cls", ALL)
def test_forms_of_arguments(cls, embeddings):
    image, text, y = embeddings
    options = FIXED.get(cls, {})
    pairs = make_pairs(image, text)
    values = ALL[cls]
    expected = values(cls.from_predictions(image[:, ::-1], text[:, ::-1], y, **options))
    model = Turned().fit(pairs)
    pipeline = make_pipeline(FunctionTransformer(), Turned()).fit(pairs)
    search = GridSearchCV(
        pipeline,
        {"functiontransformer": [None, "passthrough"]},
        scoring=make_map_scorer(),
        cv=StratifiedKFold(2, shuffle=True, random_state=0),
    ).fit(pairs, y)
    for display in (
        cls.from_predictions((image[:, ::-1], text[:, ::-1]), y, **options),
        cls.from_predictions(model.transform(pairs), y=y, **options),
        cls.from_estimator(model, image, text, y, **options),
        cls.from_estimator(model, pairs, y, **options),
        cls.from_estimator(pipeline, image, text, y, **options),
        cls.from_estimator(search, pairs, y, **options),
    ):
        for found, value in zip(values(display), expected, strict=True):
            assert_allclose(found, value)


@pytest.mark.parametrize("cls", ALL)
def test_wrong_arguments(cls, embeddings):
    image, text, y = embeddings
    with pytest.raises(ValueError, match="got one array of embeddings"):
        cls.from_predictions(image, y)
    with pytest.raises(TypeError, match="a paired container as X and two more"):
        cls.from_predictions(make_pairs(image, text), text, y)
    with pytest.raises(ValueError, match="two modalities or more"):
        cls.from_predictions({"image": image}, y)
    if cls is not CommonSpaceDisplay:
        with pytest.raises(ValueError, match="Labels are needed"):
            cls.from_predictions({"image": image, "text": text})
        with pytest.raises(ValueError, match="y_query has 59"):
            cls.from_predictions(image, text, y[1:])


@pytest.mark.parametrize("cls", LINES)
def test_warnings_point_at_the_caller(cls, embeddings):
    image, text, y = embeddings
    gallery = {"gallery": (image[1:], text[1:]), "y_gallery": np.r_[y[2:], 1]}
    queries = np.r_[99, y[1:]]
    with pytest.warns(UndefinedMetricWarning, match="1 of 60 queries") as record:
        cls.from_predictions(image, text, queries, **gallery)
    assert {warning.filename for warning in record} == {__file__}


@pytest.mark.parametrize("cls", ALL)
def test_axes_are_used(cls, embeddings):
    _, ax = plt.subplots()
    display = cls.from_predictions(*embeddings, ax=ax, **FIXED.get(cls, {}))
    assert display.ax_ is ax
    assert plt.get_fignums() == [ax.figure.number]


@pytest.mark.parametrize("cls", [*ALL, TrainingCurveDisplay, ComparisonDisplay])
def test_message_without_matplotlib(cls, embeddings, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        ImportError, match=f"{cls.__name__}.from_.* requires matplotlib"
    ):
        if cls is TrainingCurveDisplay:
            cls.from_estimator(Turned())
        elif cls is ComparisonDisplay:
            cls.from_values([0, 1], [1, 0])
        else:
            cls.from_predictions(*embeddings)
    display = cls([]) if cls is not RetrievalDisplay else cls([], [])
    with pytest.raises(ImportError, match=f"{cls.__name__}.plot requires matplotlib"):
        display.plot()


# Training ---------------------------------------------------------------------


def test_training_curves():
    history = [
        {"epoch": i, "train_loss": 9 / i, "valid_loss": 10 / i, "valid_map": i / 10}
        for i in range(1, 6)
    ]
    display = TrainingCurveDisplay(history).plot()
    assert list(display.lines_) == ["train_loss", "valid_loss", "valid_map"]
    for name, line in display.lines_.items():
        x, y = line.get_data()
        assert_array_equal(x[:5], [1, 2, 3, 4, 5])
        assert_array_equal(y[:5], [row[name] for row in history])
    assert display.lines_["train_loss"].axes is display.ax_
    assert display.lines_["valid_map"].axes is display.ax_map_
    assert legend_of(display.ax_) == list(display.lines_)


def test_training_curves_of_chosen_terms():
    history = [{"epoch": i, "train_loss": 1.0, "valid_map": 0.5} for i in (1, 2)]
    history[1]["late"] = 3.0
    display = TrainingCurveDisplay(history)
    display.plot(terms=["valid_map"])
    assert display.ax_map_ is None
    assert "mAP" in display.ax_.get_ylabel()
    display.plot(terms=["late"])
    assert_array_equal(display.lines_["late"].get_ydata()[:2], [np.nan, 3.0])
    with pytest.raises(ValueError, match=r"holds no \['loss'\]. Choose from .*'late'"):
        display.plot(terms=["loss"])


def test_training_in_phases(embeddings):
    projector = DRCLProjector(
        max_epochs=2, hidden_layer_sizes=(8,), embedding_dim=8, random_state=0
    ).fit(*embeddings)
    display = TrainingCurveDisplay.from_estimator(projector)
    phases = list(dict.fromkeys(row["phase"] for row in projector.history_))
    assert len(phases) > 1
    x, y = display.lines_["train_loss"].get_data()
    # A gap after each phase, so that no line joins two of them.
    assert np.isnan(y).sum() == len(phases)
    assert_allclose(y[~np.isnan(y)], projector.loss_curve_)
    assert_array_equal(x[~np.isnan(y)], np.arange(1, projector.n_iter_ + 1))
    display.figure_.canvas.draw()
    (top,) = display.ax_.child_axes
    assert [label.get_text() for label in top.get_xticklabels()] == phases


def test_training_of_pipelines_and_searches(digits):
    model, pairs, y = digits
    expected = model[-1].loss_curve_
    for estimator in (model[-1], model, make_pipeline(model)):
        display = TrainingCurveDisplay.from_estimator(estimator, terms=["label_loss"])
        assert list(display.lines_) == ["label_loss"]
        display = TrainingCurveDisplay.from_estimator(estimator)
        assert_allclose(display.lines_["train_loss"].get_ydata()[:2], expected)
    search = GridSearchCV(
        model, {"acmrprojector__margin": [0.3]}, cv=StratifiedKFold(2, shuffle=True)
    ).fit(pairs, y)
    display = TrainingCurveDisplay.from_estimator(search)
    expected = search.best_estimator_[-1].loss_curve_
    assert_allclose(display.lines_["train_loss"].get_ydata()[:2], expected)


def test_training_without_a_history():
    with pytest.raises(NotFittedError):
        TrainingCurveDisplay.from_estimator(ACMRProjector())
    with pytest.raises(TypeError, match="PCA has no attribute history_"):
        TrainingCurveDisplay.from_estimator(PCA().fit(np.eye(3)))


# Common space -----------------------------------------------------------------


def test_common_space_by_principal_components(embeddings):
    image, text, y = embeddings
    options = {"method": "pca", "random_state": 0, "n_samples": None}
    display = CommonSpaceDisplay.from_predictions(image, text, y, **options)
    assert list(display.positions) == ["image", "text"]
    rows = [
        np.flatnonzero(np.isclose(display.classes["image"], value))
        for value in range(4)
    ]
    assert [len(own) for own in rows] == [15] * 4
    # The distances of all items, in the order of their distance to the centre.
    plane = np.concatenate(list(display.positions.values()))
    expected = PCA(2).fit_transform(normalize(np.concatenate([image, text])))
    assert_allclose(
        np.sort(np.linalg.norm(plane, axis=1)),
        np.sort(np.linalg.norm(expected, axis=1)),
        rtol=1e-4,
    )
    for modality, points in display.scatter_.items():
        assert_allclose(points.get_offsets(), display.positions[modality])
    assert legend_of(display.ax_) == ["image", "text", "0", "1", "2", "3"]


def test_common_space_draws_the_same_pairs(embeddings):
    image, _, y = embeddings
    display = CommonSpaceDisplay.from_predictions(
        image, image, y, n_samples=10, method="pca", random_state=1
    )
    assert display.positions["image"].shape == (10, 2)
    assert_allclose(display.positions["image"], display.positions["text"], atol=1e-5)
    assert_array_equal(display.classes["image"], display.classes["text"])
    again = CommonSpaceDisplay.from_predictions(
        image, image, y, n_samples=10, method="pca", random_state=1
    )
    assert_array_equal(again.positions["text"], display.positions["text"])
    other = CommonSpaceDisplay.from_predictions(
        image, image, y, n_samples=10, method="pca", random_state=2
    )
    assert not np.array_equal(other.classes["text"], display.classes["text"])


def test_common_space_by_neighbors(embeddings):
    """Classes that lie apart in the space lie apart in the plane."""
    _, _, y = embeddings
    rng = np.random.default_rng(0)
    image, text = np.eye(4)[y] + 0.01 * rng.standard_normal((2, 60, 4))
    display = CommonSpaceDisplay.from_predictions(image, text, y, random_state=0)
    places = np.concatenate(list(display.positions.values()))
    classes = np.concatenate(list(display.classes.values()))
    centres = [places[classes == label].mean(axis=0) for label in range(4)]
    distances = np.linalg.norm(places[:, None] - centres, axis=2)
    assert_array_equal(distances.argmin(axis=1), classes)


def test_common_space_of_codes(embeddings):
    image, text, y = embeddings
    codes = [np.where(part > 0, 1, -1).astype(np.int8) for part in (image, text)]
    packed = [np.packbits(part > 0, axis=1) for part in codes]
    options = {"method": "pca", "random_state": 0}
    displays = [
        CommonSpaceDisplay.from_predictions(*sets, y, **options)
        for sets in (codes, packed)
    ]
    norms = [
        np.sort(np.linalg.norm(display.positions["text"], axis=1))
        for display in displays
    ]
    # A bit is 2 wide as -1 and +1, and 1 wide as 0 and 1.
    assert_allclose(norms[0], 2 * norms[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("convert", [np.asarray, csr_array, list])
def test_common_space_of_several_labels(embeddings, convert):
    """Colored by modality; one label alone gives colors."""
    image, text, y = embeddings
    labels = (np.random.default_rng(0).random((60, 3)) < 0.5).astype(int)
    options = {"method": "pca", "random_state": 0}
    display = CommonSpaceDisplay.from_predictions(
        image, text, convert(labels), **options
    )
    assert display.classes is None
    assert legend_of(display.ax_) == ["image", "text"]
    colors = [points.get_facecolor()[0] for points in display.scatter_.values()]
    assert not np.array_equal(*colors)
    display = CommonSpaceDisplay.from_predictions(image, text, labels[:, 1], **options)
    assert legend_of(display.ax_) == ["image", "text", "0", "1"]


def test_common_space_without_labels(embeddings):
    image, text, _ = embeddings
    parts = {"image": image, "text": text[:30], "audio": text}
    display = CommonSpaceDisplay.from_predictions(parts, method="pca", n_samples=20)
    assert [len(places) for places in display.positions.values()] == [20, 20, 20]
    assert legend_of(display.ax_) == ["image", "text", "audio"]
    of_two = CommonSpaceDisplay.from_predictions(image, text, method="pca")
    assert [len(places) for places in of_two.positions.values()] == [60, 60]
    assert legend_of(of_two.ax_) == ["image", "text"]


def test_colors_of_many_classes(embeddings):
    image, text, _ = embeddings
    for n_classes, n_named in [(10, 10), (15, 15), (25, 0)]:
        y = np.arange(60) % n_classes
        display = CommonSpaceDisplay.from_predictions(image, text, y, method="pca")
        colors = display.scatter_["image"].get_facecolor()
        assert len(np.unique(colors, axis=0)) == n_classes
        assert len(legend_of(display.ax_)) == 2 + n_named


@pytest.mark.parametrize(
    "options, message",
    [
        ({"method": "umap"}, "'method' parameter"),
        ({"n_samples": 0}, "'n_samples' parameter"),
        ({"n_samples": 2.5}, "'n_samples' parameter"),
        ({"X": np.zeros((60, 1)), "Y": np.ones((60, 1))}, "two columns or more"),
        ({"Y": np.ones((60, 2))}, "query has 4 columns and gallery has 2"),
        ({"y": [0, 1]}, "inconsistent numbers of samples"),
    ],
)
def test_errors_of_the_common_space(embeddings, options, message):
    image, text, y = embeddings
    with pytest.raises(ValueError, match=message):
        CommonSpaceDisplay.from_predictions(**{"X": image, "Y": text, "y": y} | options)


# Retrieval --------------------------------------------------------------------


@pytest.mark.parametrize(
    "direction", ["t2i", "i2t", ("text", "image"), ("image", "image")]
)
def test_retrieval_shows_the_nearest(embeddings, direction):
    image, text, y = embeddings
    parts = {"image": image, "text": text}
    names = {name: [f"{name} no. {row}" for row in range(60)] for name in parts}
    rows = [3, 50, 17]
    display = RetrievalDisplay.from_predictions(
        parts, y, direction=direction, items=names, queries=rows, k=6
    )
    query, target = {"t2i": ("text", "image"), "i2t": ("image", "text")}.get(
        direction, direction
    )
    similarity = normalize(parts[query])[rows] @ normalize(parts[target]).T
    found = np.argsort(-similarity, axis=1)[:, :6]
    assert display.queries == [f"{query} no. {row}" for row in rows]
    assert display.found == [[f"{target} no. {row}" for row in own] for own in found]
    assert_array_equal(display.relevant, y[found] == y[rows][:, None])
    shown = texts_in(display.ax_)
    assert shown.count("✓") == display.relevant.sum()
    assert shown.count("✗") == (~display.relevant).sum()
    assert set(sum(display.found, [])) < set(shown)


def test_retrieval_draws_queries(embeddings):
    options = {"queries": 5, "k": 2}
    displays = [
        RetrievalDisplay.from_predictions(*embeddings, random_state=seed, **options)
        for seed in (0, 0, 1)
    ]
    assert len(set(displays[0].queries)) == 5
    assert displays[0].queries == displays[1].queries != displays[2].queries
    # What is shown without items: row and label.
    _, _, y = embeddings
    assert set(displays[0].queries) <= {f"text {i} ({y[i]})" for i in range(60)}


def test_retrieval_of_digits(digits):
    model, pairs, y = digits
    pictures = pairs["image"].reshape(-1, 8, 8)
    options = {"items": {"image": pictures}, "queries": [4, 9], "k": 3}
    display = RetrievalDisplay.from_estimator(model, pairs, y, **options)
    assert display.queries == [pairs["text"][4], pairs["text"][9]]
    assert len(display.ax_.images) == 6
    for image, picture in zip(display.ax_.images, sum(display.found, []), strict=True):
        assert_array_equal(image.get_array(), picture)
    display = RetrievalDisplay.from_estimator(
        model, pairs["image"], pairs["text"], y, direction="i2t", **options
    )
    assert len(display.ax_.images) == 2
    assert set(sum(display.found, [])) <= set(pairs["text"])


def test_retrieval_of_several_labels(embeddings):
    image, text, _ = embeddings
    labels = np.eye(4, dtype=int)[np.arange(60) % 4]
    labels[:, 0] |= np.arange(60) % 3 == 0
    display = RetrievalDisplay.from_predictions(image, text, labels, queries=[0, 1])
    assert display.queries == ["text 0", "text 1"]
    rows = [[int(name.split()[1]) for name in own] for own in display.found]
    for query, own, relevant in zip((0, 1), rows, display.relevant, strict=True):
        assert_array_equal(relevant, labels[own] @ labels[query] > 0)


def test_retrieval_of_pairs(embeddings):
    image, text, _ = embeddings
    options = {"relevance": "pair", "queries": [3, 5], "k": 60, "direction": "i2t"}
    display = RetrievalDisplay.from_predictions(image, text, **options)
    assert display.queries == ["image 3", "image 5"]
    assert display.relevant.sum(axis=1).tolist() == [1, 1]
    for found, right, row in zip(display.found, display.relevant, (3, 5), strict=True):
        assert found[np.flatnonzero(right)[0]] == f"text {row}"
    pairs = make_pairs(image[:, ::-1], text[:, ::-1])
    again = RetrievalDisplay.from_estimator(Turned(), pairs, **options)
    assert again.found == display.found
    # Two rows of one image.
    numbers = np.arange(60) // 2
    display = RetrievalDisplay.from_predictions(image, text, numbers, **options)
    assert display.relevant.sum(axis=1).tolist() == [2, 2]


def test_retrieval_of_own_queries():
    """Pictures of any shape and texts of any letters, marked or not."""
    rng = np.random.default_rng(0)
    wide, high = rng.random((4, 8, 3)), rng.random((9, 3))
    queries = ["costs $5_and $7", wide, "long " * 100, "x" * 300]
    found = [[wide, high], ["a", "b", "c"], [high, "mixed"], ["d"]]
    display = RetrievalDisplay(queries, found).plot(image_kwargs={"cmap": "viridis"})
    display.figure_.canvas.draw()
    shown = texts_in(display.ax_)
    assert "“costs $5_and $7”" in shown
    assert not {"✓", "✗"} & set(shown)
    assert max(map(len, shown)) < 250
    assert sum("x" * 50 in text for text in shown) == 1
    assert {"a", "b", "c", "mixed"} < set(shown)
    extents = [image.get_extent() for image in display.ax_.images]
    ratios = [abs((x1 - x0) / (y1 - y0)) for x0, x1, y0, y1 in extents]
    assert_allclose(sorted(ratios), [1 / 3, 1 / 3, 2, 2])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"direction": "a2b"}, "'direction' parameter"),
        ({"direction": ("image", "audio")}, "direction must be"),
        ({"direction": ("image",)}, "direction must be"),
        ({"queries": 0}, "'queries' parameter"),
        ({"queries": [0.5]}, "queries must be a number of queries or row"),
        ({"queries": [60]}, "queries must be rows from 0 to 59"),
        ({"queries": [-1]}, "queries must be rows from 0 to 59"),
        ({"k": 0}, "'k' parameter"),
        ({"items": {"audio": []}}, r"items has the keys \['audio'\]"),
        ({"items": {"image": ["a"]}}, "items holds 1 of the modality 'image'"),
        ({"metric": "l1"}, "'metric' parameter"),
    ],
)
def test_errors_of_retrieval(embeddings, options, message):
    with pytest.raises(ValueError, match=message):
        RetrievalDisplay.from_predictions(*embeddings, **options)


# Bars ---------------------------------------------------------------------------


@pytest.mark.parametrize("score", ["mAP", "NDCG@5"])
def test_scores_of_classes(embeddings, score):
    image, text, y = embeddings
    names = np.array(["cat", "cow", "dog", "owl"])[y]
    options = {"k": 5, "metric": "euclidean"}
    display = ClassScoreDisplay.from_predictions(
        image, text, names, score=score, **options
    )
    report = cross_modal_report(
        image, text, names, per_class=True, output_dict=True, **options
    )
    for bars, direction in zip(
        display.bars_, ("image -> text", "text -> image"), strict=True
    ):
        rows = report[direction]["per class"].values()
        widths = [bar.get_width() for bar in bars]
        assert widths == pytest.approx([row[score] for row in rows])
    ticks = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert ticks == ["cat", "cow", "dog", "owl"]
    assert legend_of(display.ax_) == [I2T, T2I]
    assert display.ax_.get_xlabel() == score


def test_classes_of_one_modality_only(embeddings):
    image, text, y = embeddings
    y_text = np.where(y == 3, 0, y)
    with pytest.warns(UndefinedMetricWarning, match="15 of 60"):
        display = ClassScoreDisplay.from_predictions(
            {"image": image, "text": text}, {"image": y, "text": y_text}
        )
    assert np.isnan(display.bars_[1][3].get_width())
    assert display.bars_[0][3].get_width() == 0


def test_errors_of_class_scores(embeddings):
    with pytest.raises(ValueError, match=r"no score 'mAP@5'. Choose from .*mAP@50"):
        ClassScoreDisplay.from_predictions(*embeddings, score="mAP@5")
    with pytest.raises(TypeError, match="sets output_dict itself"):
        ClassScoreDisplay.from_predictions(*embeddings, output_dict=True)


def test_comparison_of_systems():
    rng = np.random.default_rng(0)
    a = rng.random(80)
    systems = {"one": a + rng.normal(0.1, 0.1, 80), "two": a[::-1]}
    options = {"random_state": 0, "confidence_level": 0.9}
    _, ax = plt.subplots()
    display = ComparisonDisplay.from_values(a, systems, ax=ax, **options)
    assert display.ax_ is ax
    table = compare_retrieval(a, systems, output_dict=True, **options)
    points, _, (intervals,) = display.errorbar_
    assert_allclose(points.get_xdata(), [row["difference"] for row in table.values()])
    for segment, row in zip(intervals.get_segments(), table.values(), strict=True):
        assert_allclose(segment[:, 0], [row["low"], row["high"]])
    ticks = [text.get_text() for text in ax.get_yticklabels()]
    # No p-value is 0.
    assert ticks == ["one (p < 0.001)", f"two (p = {table['two']['p (Holm)']:.3f})"]
    again = ComparisonDisplay(table).plot(errorbar_kwargs={"color": "red"})
    assert again.errorbar_[0].get_color() == "red"
