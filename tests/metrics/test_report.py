"""The report of all metrics in all directions, and the arguments it takes."""

# SPDX-License-Identifier: BSD-3-Clause

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.exceptions import UndefinedMetricWarning
from skorch.helper import SliceDict

from sklearn_cmr import SemanticMatchingProjector, make_pairs
from sklearn_cmr.metrics import (
    cross_modal_report,
    hit_rate_at_k,
    mean_average_precision,
    mean_rank,
    median_rank,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
    reciprocal_rank,
)

I2T, T2I = "image -> text", "text -> image"


def random_embeddings(n_samples=40, modalities=("image", "text"), form=np.float32):
    rng = np.random.default_rng(0)
    parts = {
        name: rng.choice([-1, 1], (n_samples, 10)).astype(form) for name in modalities
    }
    return parts, rng.integers(0, 4, n_samples)


def by_single_functions(query, gallery, y_query, y_gallery, cutoffs, **options):
    """The row of one direction, from the functions for each metric."""
    sets = query, gallery, y_query, y_gallery
    normalizer = options.pop("normalizer", "retrieved")
    row = {"mAP": mean_average_precision(*sets, **options)}
    for k in cutoffs:
        row |= {
            f"mAP@{k}": mean_average_precision(
                *sets, k=k, normalizer=normalizer, **options
            ),
            f"P@{k}": precision_at_k(*sets, k=k, **options),
            f"R@{k}": recall_at_k(*sets, k=k, **options),
            f"NDCG@{k}": ndcg_at_k(*sets, k=k, **options),
        }
    n_relevant = (np.asarray(y_query)[:, None] == np.asarray(y_gallery)).sum(axis=1)
    return row | {"queries": len(query), "no relevant": int(sum(n_relevant == 0))}


@pytest.mark.parametrize("form", [np.int8, np.float32])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"normalizer": "all", "metric": "euclidean"},
        {"ties": "optimistic", "sample_weight": np.arange(40)},
        {"ties": "expected", "chunk_size": 7},
        {"ties": "random", "random_state": 5},
    ],
)
def test_report_holds_what_the_functions_say(form, options):
    parts, y = random_embeddings(form=form)
    cutoffs = [1, 7, 100]
    report = cross_modal_report(parts, y, k=cutoffs, output_dict=True, **options)
    assert list(report) == [I2T, T2I, "mean"]
    for direction, pair in {
        I2T: (parts["image"], parts["text"]),
        T2I: (parts["text"], parts["image"]),
    }.items():
        expected = by_single_functions(*pair, y, y, cutoffs, **options)
        assert report[direction] == pytest.approx(expected, abs=1e-12)
        assert set(map(type, report[direction].values())) == {float, int}
    for name, value in report["mean"].items():
        both = [report[direction][name] for direction in (I2T, T2I)]
        total = np.sum(both) if name in ("queries", "no relevant") else np.mean(both)
        assert value == pytest.approx(total)


def test_three_modalities():
    parts, y = random_embeddings(modalities=("image", "text", "audio"))
    report = cross_modal_report(parts, y, output_dict=True)
    assert len(report) == 3 * 2 + 1
    row = report["audio -> text"]
    expected = by_single_functions(parts["audio"], parts["text"], y, y, [50])
    assert row == pytest.approx(expected)
    scores = [row["mAP"] for name, row in report.items() if name != "mean"]
    assert report["mean"]["mAP"] == pytest.approx(np.mean(scores))
    assert report["mean"]["queries"] == 6 * 40


def test_modalities_without_pairs():
    rng = np.random.default_rng(1)
    parts = {
        "image": rng.standard_normal((30, 4)),
        "text": rng.standard_normal((20, 4)),
    }
    y = {"text": rng.integers(0, 3, 20), "image": rng.integers(0, 3, 30)}
    report = cross_modal_report(parts, y, k=5, output_dict=True)
    expected = by_single_functions(
        parts["text"], parts["image"], y["text"], y["image"], [5]
    )
    assert report[T2I] == pytest.approx(expected)


def test_gallery_apart_from_the_queries():
    parts, y = random_embeddings(60, form=np.int8)
    queries = {name: part[:10] for name, part in parts.items()}
    database = {name: part[10:] for name, part in parts.items()}
    expected = by_single_functions(
        queries["image"], database["text"], y[:10], y[10:], [50]
    )
    for gallery in (database, (database["image"], database["text"])):
        report = cross_modal_report(
            queries, y[:10], gallery=gallery, y_gallery=y[10:], output_dict=True
        )
        assert report[I2T] == pytest.approx(expected)


def test_queries_without_relevant_items_are_counted():
    parts, y = random_embeddings()
    y_query = y.copy()
    y_query[:3] = 99
    with pytest.warns(UndefinedMetricWarning, match="3 of 40 queries") as record:
        report = cross_modal_report(
            parts, y_query, gallery=parts, y_gallery=y, zero_relevant="skip"
        )
    assert record[0].filename == __file__
    *_, i2t, t2i, _, mean = report.splitlines()
    assert [line.split()[-2:] for line in (i2t, t2i, mean)] == [
        ["40", "3"],
        ["40", "3"],
        ["80", "6"],
    ]


def test_forms_of_the_embeddings():
    parts, y = random_embeddings()
    image, text = parts["image"], parts["text"]
    expected = cross_modal_report(image, text, y)
    frames = {name: pd.DataFrame(part).add_prefix("c") for name, part in parts.items()}
    for X in (
        parts,
        SliceDict(**parts),
        (image, text),
        make_pairs(frames["image"], frames["text"]),
        pd.concat(frames, axis=1),
    ):
        assert cross_modal_report(X, y) == expected
        assert cross_modal_report(X, y=y) == expected
    assert cross_modal_report(X=image, Y=text, y=y) == expected
    assert cross_modal_report(frames["image"], frames["text"], y) == expected


def test_labels_of_several():
    parts, _ = random_embeddings()
    labels = (np.random.default_rng(0).random((40, 5)) < 0.5).astype(int)
    labels[:, 0] = np.arange(40) % 2
    labels[labels.sum(axis=1) == 0, 4] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        report = cross_modal_report(parts, labels, output_dict=True)
        ndcg = ndcg_at_k(parts["image"], parts["text"], labels, labels, k=50)
        score = mean_average_precision(parts["image"], parts["text"], labels, labels)
    assert report[I2T]["NDCG@50"] == pytest.approx(ndcg)
    assert report[I2T]["mAP"] == pytest.approx(score)


# Rows and values on request -----------------------------------------------------


@pytest.mark.parametrize("form", [np.int8, np.float32])
@pytest.mark.parametrize("labels", ["shared", "own", "sparse"])
def test_intra_modal_and_mixed_rows(form, labels):
    parts, y = random_embeddings(form=form)
    y_image = y_text = y
    if labels == "own":
        parts["text"] = parts["text"][:30]
        y_text = y[:30]
        y = {"image": y_image, "text": y_text}
    elif labels == "sparse":
        y = csr_array(np.eye(4, dtype=int)[y])
    options = {"k": 5, "output_dict": True}
    report = cross_modal_report(parts, y, intra_modal=True, mixed=True, **options)
    assert list(report) == [
        I2T,
        T2I,
        "image -> image",
        "text -> text",
        "image -> all",
        "text -> all",
        "mean",
    ]
    plain = cross_modal_report(parts, y, **options)
    assert {name: report[name] for name in plain} == plain
    whole = np.concatenate([parts["image"], parts["text"]])
    y_whole = np.concatenate([y_image, y_text])
    tasks = {
        "image -> image": (parts["image"], parts["image"], y_image, y_image, True),
        "text -> all": (
            parts["text"],
            whole,
            y_text,
            y_whole,
            40 + np.arange(len(y_text)),
        ),
    }
    for name, (*sets, own) in tasks.items():
        values = {
            "mAP": mean_average_precision(*sets, exclude_self=own),
            "P@5": precision_at_k(*sets, k=5, exclude_self=own),
            "NDCG@5": ndcg_at_k(*sets, k=5, exclude_self=own),
        }
        assert {column: report[name][column] for column in values} == pytest.approx(
            values
        )


def test_queries_apart_from_the_gallery_exclude_nothing():
    parts, y = random_embeddings(60)
    queries = {name: part[:10] for name, part in parts.items()}
    # Another order of the modalities.
    gallery = {name: parts[name][10:] for name in ("text", "image")}
    report = cross_modal_report(
        queries,
        y[:10],
        gallery=gallery,
        y_gallery=y[10:],
        intra_modal=True,
        mixed=True,
        ties="expected",
        output_dict=True,
    )
    image, text = parts["image"], parts["text"]
    options = {"ties": "expected"}
    score = mean_average_precision(image[:10], image[10:], y[:10], y[10:], **options)
    assert report["image -> image"]["mAP"] == pytest.approx(score)
    whole = np.concatenate([text[10:], image[10:]])
    y_whole = np.tile(y[10:], 2)
    score = mean_average_precision(image[:10], whole, y[:10], y_whole, **options)
    assert report["image -> all"]["mAP"] == pytest.approx(score)


def test_rows_of_pairs():
    rng = np.random.default_rng(0)
    image = rng.standard_normal((20, 5))
    number = np.repeat(np.arange(20), 5)
    text = image[number] + rng.standard_normal((100, 5))
    numbers = {"image": np.arange(20), "text": number}
    with pytest.warns(UndefinedMetricWarning, match="20 of 20"):
        report = cross_modal_report(
            image,
            text,
            numbers,
            relevance="pair",
            k=[1, 5],
            intra_modal=True,
            mixed=True,
            output_dict=True,
        )
    sets = image, text, np.arange(20), number
    assert report[I2T] == pytest.approx(
        {
            "Hit@1": hit_rate_at_k(*sets, k=1),
            "Hit@5": hit_rate_at_k(*sets, k=5),
            "MRR": reciprocal_rank(*sets),
            "median rank": median_rank(*sets),
            "mean rank": mean_rank(*sets),
            "queries": 20,
            "no relevant": 0,
        }
    )
    # An image has no other image of its number.
    row = report["image -> image"]
    assert row["Hit@5"] == 0 and np.isnan(row["mean rank"])
    assert row["no relevant"] == 20
    whole = np.concatenate([image, text])
    own = {"exclude_self": 20 + np.arange(100), "k": 1}
    score = hit_rate_at_k(text, whole, number, np.r_[np.arange(20), number], **own)
    assert report["text -> all"]["Hit@1"] == pytest.approx(score)


def test_rows_of_pairs_by_row():
    parts, _ = random_embeddings()
    rows = np.arange(40)
    options = {"relevance": "pair", "k": [1, 5], "mixed": True}
    assert cross_modal_report(parts, **options) == cross_modal_report(
        parts, rows, **options
    )
    short = {"image": parts["image"], "text": parts["text"][:30]}
    with pytest.raises(ValueError, match="Number the groups"):
        cross_modal_report(short, **options)


@pytest.mark.parametrize("weighted", [False, True])
def test_values_of_classes(weighted):
    parts, y = random_embeddings()
    names = np.array(["cat", "cow", "dog", "owl"])[y]
    weight = np.random.default_rng(0).random(40) if weighted else None
    options = {"k": 3, "per_class": True, "sample_weight": weight}
    report = cross_modal_report(parts, names, output_dict=True, **options)
    assert list(report[I2T]["per class"]) == ["cat", "cow", "dog", "owl"]
    image, text = parts["image"], parts["text"]
    for i, name in enumerate(["cat", "cow", "dog", "owl"]):
        own = y == i
        score = mean_average_precision(
            image[own],
            text,
            y[own],
            y,
            k=3,
            sample_weight=None if weight is None else weight[own],
        )
        row = report[I2T]["per class"][name]
        assert row["mAP@3"] == pytest.approx(score)
        assert row["queries"] == own.sum()
        both = [report[way]["per class"][name]["mAP@3"] for way in (I2T, T2I)]
        mean = report["mean"]["per class"][name]
        assert mean["mAP@3"] == pytest.approx(np.mean(both))
        assert mean["queries"] == 2 * own.sum()
    table = cross_modal_report(parts, names, **options).splitlines()
    assert len({len(line) for line in table if line}) == 1
    assert sum("-> text, owl" in line for line in table) == 1


def test_values_of_labels():
    """A query belongs to each of its labels."""
    parts, y = random_embeddings()
    labels = np.eye(4, dtype=int)[y]
    labels[::3, 0] = 1
    # A label that no query has.
    labels = np.insert(labels, 2, 0, axis=1)
    for form in (labels, csr_array(labels)):
        report = cross_modal_report(
            parts, form, mixed=True, per_class=True, output_dict=True
        )
        counts = [row["queries"] for row in report[I2T]["per class"].values()]
        assert counts == labels.sum(axis=0)[[0, 1, 3, 4]].tolist()
        assert list(report["image -> all"]["per class"]) == [0, 1, 3, 4]


def test_labels_of_a_dataframe_go_by_the_names_of_its_columns():
    parts, y = random_embeddings()
    labels = np.eye(4, dtype=int)[y]
    options = {"mixed": True, "per_class": True, "output_dict": True}
    expected = cross_modal_report(parts, labels, **options)
    for names, shown in (
        (["sea", "sky", "tree", "owl"], ["sea", "sky", "tree", "owl"]),
        (["sea", "sky", "tree", "sea"], [0, 1, 2, 3]),
    ):
        frame = pd.DataFrame(labels, columns=names)
        report = cross_modal_report(parts, frame, **options)
        for direction, row in expected.items():
            renamed = {shown[i]: own for i, own in row["per class"].items()}
            assert report[direction]["per class"] == renamed


def test_values_of_queries():
    parts, y = random_embeddings()
    options = {"k": [2, 9], "output_dict": True}
    report = cross_modal_report(parts, y, per_query=True, **options)
    values = report[T2I]["per query"]
    sets = parts["text"], parts["image"], y, y
    assert_allclose(values["R@9"], recall_at_k(*sets, k=9, per_query=True))
    plain = cross_modal_report(parts, y, **options)
    assert [*values, "queries", "no relevant"] == list(plain["mean"])
    for column, each in values.items():
        assert np.mean(each) == pytest.approx(plain[T2I][column])
    assert report["mean"] == plain["mean"]
    y[0] = 99
    with pytest.warns(UndefinedMetricWarning):
        report = cross_modal_report(
            parts,
            y,
            gallery={name: part[1:] for name, part in parts.items()},
            y_gallery=y[1:],
            zero_relevant="skip",
            per_query=True,
            **options,
        )
    missing = np.isnan(report[I2T]["per query"]["mAP"])
    assert_array_equal(missing, np.arange(40) == 0)


@pytest.mark.parametrize("digits", [0, 3, 6])
def test_table_shows_the_dictionary(digits):
    parts, y = random_embeddings()
    options = {"k": [1, 10]}
    table = cross_modal_report(parts, y, digits=digits, **options)
    values = cross_modal_report(parts, y, output_dict=True, **options)
    header, *lines = [line for line in table.splitlines() if line]
    assert re.split(r"\s{2,}", header.strip()) == list(values["mean"])
    assert len(lines) == 3
    for line, (name, row) in zip(lines, values.items(), strict=True):
        cells = re.split(r"\s{2,}", line.strip())
        assert cells[0] == name
        *scores, queries, missing = row.values()
        assert cells[1:-2] == [f"{score:.{digits}f}" for score in scores]
        assert cells[-2:] == [str(queries), str(missing)]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    "arguments, options, error, message",
    [
        ("XY", {}, ValueError, "got one array of embeddings"),
        ("M", {}, ValueError, "y is None"),
        ("MYy", {}, TypeError, "a paired container as X and two more arguments"),
        ("Oy", {}, ValueError, r"two modalities or more; got \['image'\]"),
        ("XYy", {"gallery": 0}, ValueError, "gallery and y_gallery belong together"),
        ("XYy", {"y_gallery": 0}, ValueError, "gallery and y_gallery belong together"),
        ("Xy", {}, ValueError, "got one array of embeddings"),
        ("XYy", {"k": 0}, ValueError, "'k' parameter"),
        ("XYy", {"k": [3, 0]}, ValueError, "k must be a positive integer"),
        ("XYy", {"k": None}, ValueError, "'k' parameter"),
        ("XYy", {"digits": -1}, ValueError, "'digits' parameter"),
        ("XYy", {"normalizer": "k"}, ValueError, "'normalizer' parameter"),
        ("XYy", {"per_query": True}, ValueError, "output_dict=True"),
        (
            "XYy",
            {"per_class": True, "relevance": "pair"},
            ValueError,
            "per_class=True needs classes",
        ),
        ("XYy", {"metric": "precomputed"}, ValueError, "'metric' parameter"),
        ("Xsy", {}, ValueError, "query has 10 columns and gallery has 3"),
    ],
)
def test_errors(arguments, options, error, message):
    parts, y = random_embeddings()
    known = {
        "X": parts["image"],
        "Y": parts["text"],
        "M": parts,
        "O": {"image": parts["image"]},
        "s": parts["text"][:, :3],
        "y": y,
    }
    with pytest.raises(error, match=message):
        cross_modal_report(*(known[name] for name in arguments), **options)


def test_errors_of_names():
    parts, y = random_embeddings()
    with pytest.raises(ValueError, match=r"y has the keys \['image'\]"):
        cross_modal_report(parts, {"image": y})
    gallery = {"image": parts["image"], "audio": parts["text"]}
    with pytest.raises(ValueError, match="The gallery has the modalities"):
        cross_modal_report(parts, y, gallery=gallery, y_gallery=y)
    with pytest.raises(ValueError, match="labels that all modalities share"):
        cross_modal_report(parts, {"image": y, "text": y}, sample_weight=np.ones(40))


def test_published_values(real_data):
    data = real_data("drcl_wiki_released")
    report = cross_modal_report(
        data["image"], data["text"], data["y"], output_dict=True
    )
    for direction, published in {
        I2T: {"mAP": 0.56190, "mAP@50": 0.55988},
        T2I: {"mAP": 0.53759, "mAP@50": 0.68478},
    }.items():
        found = {name: report[direction][name] for name in published}
        assert found == pytest.approx(published, abs=1e-4)


def test_an_estimator_is_no_embedding():
    with pytest.raises(TypeError, match="got the estimator SemanticMatchingProjector"):
        cross_modal_report(SemanticMatchingProjector(), np.ones((4, 2)), [0, 1, 0, 1])
