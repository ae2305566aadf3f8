"""Labels of every kind: what they become, and what is refused."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.exceptions import DataConversionWarning

from sklearn_cmr import ACMRProjector, SSAHHasher
from sklearn_cmr._inputs.labels import check_labels, read_labels

CODES = np.array([2, 0, 1, 1, 0, 2])
INDICATOR = np.eye(3, dtype=int)[CODES]
NAMES = np.array(["ant", "bee", "cow"])
SEVERAL = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 1], [1, 0, 0], [0, 1, 1]])


def check(y):
    return check_labels(y, ACMRProjector())


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (CODES, [0, 1, 2]),
        (CODES.tolist(), [0, 1, 2]),
        (CODES * 10 - 5, [-5, 5, 15]),
        (CODES.astype(float), [0, 1, 2]),
        (CODES.astype(object), [0, 1, 2]),
        (CODES.astype(np.uint8), [0, 1, 2]),
        (NAMES[CODES], NAMES),
        (NAMES[CODES].astype(object), NAMES),
        (NAMES[CODES].tolist(), NAMES),
        (pd.Series(CODES, index=CODES), [0, 1, 2]),
        (pd.Series(CODES, dtype="Int64"), [0, 1, 2]),
        (pd.Series(CODES, dtype="category"), [0, 1, 2]),
        (pd.Series(NAMES[CODES]), NAMES),
        (pd.Series(NAMES[CODES], dtype="string"), NAMES),
        (pd.Series(NAMES[CODES], dtype="category"), NAMES),
        (torch.tensor(CODES), [0, 1, 2]),
        (torch.tensor(CODES * 1.0, requires_grad=True), [0, 1, 2]),
    ],
)
def test_classes(y, classes):
    labels = check(y)
    assert_array_equal(labels.classes, classes)
    assert_array_equal(labels.codes, CODES)
    assert_array_equal(labels.indicator, INDICATOR)
    assert labels.indicator.dtype == np.uint8
    assert labels.has_single_labels


@pytest.mark.parametrize("dtype", [bool, object])
def test_boolean_classes(dtype):
    labels = check((CODES > 0).astype(dtype))
    assert labels.classes.tolist() == [False, True]
    assert_array_equal(labels.codes, CODES > 0)


@pytest.mark.parametrize(
    "y",
    [
        pd.DataFrame({"label": CODES}),
        CODES[:, None],
        sparse.csr_array(CODES[:, None]),
        pd.DataFrame({"label": NAMES[CODES]}),
    ],
)
def test_one_column_is_flattened_with_a_warning(y):
    with pytest.warns(DataConversionWarning, match="column-vector y") as caught:
        labels = check(y)
    assert [warning.filename for warning in caught] == [__file__]
    assert_array_equal(labels.codes, CODES)


@pytest.mark.parametrize(
    "make",
    [
        np.asarray,
        np.ndarray.tolist,
        lambda y: y.astype(float),
        lambda y: y.astype(bool),
        lambda y: pd.DataFrame(y, columns=list("abc")),
        lambda y: pd.DataFrame(y).astype("boolean"),
        sparse.csr_array,
        sparse.csr_matrix,
        sparse.coo_array,
        sparse.lil_array,
        lambda y: sparse.csr_array(y, dtype=bool),
        torch.tensor,
    ],
    ids=[
        *("int", "list", "float", "bool", "frame", "boolean", "csr", "csr_matrix"),
        *("coo", "lil", "csr_bool", "tensor"),
    ],
)
def test_indicator(make):
    labels = check(make(SEVERAL))
    assert_array_equal(labels.classes, [0, 1, 2])
    assert_array_equal(labels.indicator, SEVERAL)
    assert labels.indicator.dtype == np.uint8
    assert labels.codes is None
    assert not labels.has_single_labels
    assert check(make(INDICATOR)).has_single_labels


def test_a_sparse_indicator_may_store_zeros():
    y = sparse.csr_array(SEVERAL)
    y.data[0] = 0
    assert_array_equal(check(y).indicator, y.toarray())


def test_empty_classes_of_an_indicator_are_kept():
    padded = np.hstack([SEVERAL, np.zeros((6, 2), dtype=int)])
    assert_array_equal(check(padded).classes, range(5))


@pytest.mark.parametrize(
    ("y", "text"),
    [
        (np.linspace(0, 1, 6), "Unknown label type: continuous"),
        (np.linspace(0, 1, 18).reshape(6, 3), "Unknown label type: continuous-multi"),
        (np.arange(18).reshape(6, 3), "Unknown label type: multiclass-multioutput"),
        (INDICATOR * 2 - 1, "Unknown label type: multilabel-indicator with the values"),
        (INDICATOR * 2, "must be an indicator of 0 and 1"),
        ([[0, 1], [1, 2]] * 3, "lists of labels become one with"),
        (NAMES[SEVERAL], "Unknown label type"),
        (np.array([1, "a", 2, "b", 1, "a"], dtype=object), "Unknown label type"),
        (np.full(6, 3), "ACMRProjector needs labels of at least two classes, but y has "
         "only one class: 3."),
        (np.full(6, "ant"), "only one class: 'ant'."),
        (np.eye(3, dtype=int)[[1] * 6], "only one class."),
        (SEVERAL * [[1], [0], [1], [1], [0], [1]],
         "2 of 6 rows of y have no label (the first rows: 1, 4). Drop them "
         "from the features and from y, or set missing_labels='drop'."),
        (np.array([np.nan, 0, 1, 1, 0, 2]), "Input y contains NaN"),
        (np.array([np.inf, 0, 1, 1, 0, 2]), "Input y contains infinity"),
        (np.array([None, "a", "b", None, "a", "b"], dtype=object),
         "Input y contains NaN or None in 2 of 6 rows (the first rows: 0, 3)."),
        (pd.Series([None, *"abcab"]), "Input y contains NaN"),
        (pd.Series([pd.NA, *"abcab"], dtype="string"), "Input y contains NaN"),
        (pd.Series([pd.NA, 1, 2, 1, 2, 1], dtype="Int64"), "Input y contains NaN"),
        ([{0, 1}, {1}] * 3, "MultiLabelBinarizer"),
        ([(0, 1), (1,)] * 3, "MultiLabelBinarizer"),
        ([["ant", "bee"], ["bee"]] * 3, "MultiLabelBinarizer"),
        (pd.Series([[0, 1], [1]] * 3), "MultiLabelBinarizer"),
        ([], "ACMRProjector needs labels, but y has no rows."),
        (np.zeros((0, 3)), "ACMRProjector needs labels, but y has no rows."),
        (np.array(3), "y must be 1-D or 2-D, got an array of shape ()."),
        (["a", 1, "b", 2, "a", 1],
         "Unknown label type: y mixes strings with other labels, such as 'a' and 1."),
        (np.array([1, "a", 2, "b", 1, "a"], dtype=object),
         "Unknown label type: y mixes strings with other labels, such as 'a' and 1."),
        (["a", None, "b", "a", np.nan, "b"],
         "NaN or None in 2 of 6 rows (the first rows: 1, 4)."),
        (["a", "b", "b", "a", np.nan, "b"],
         "NaN or None in 1 of 6 rows (the first rows: 4)."),
        (np.zeros((6, 2, 2)), "y must be 1-D or 2-D, got an array of shape (6, 2, 2)."),
    ],
)  # fmt: skip
def test_refused(y, text):
    with pytest.raises(ValueError) as caught:
        check(y)
    assert text in str(caught.value)


A = np.random.RandomState(0).randn(6, 4)
B = np.random.RandomState(1).randn(6, 3)


@pytest.mark.parametrize("y", [NAMES[CODES], CODES > 0, CODES * 10, SEVERAL])
def test_estimators_take_the_labels(y):
    estimator = ACMRProjector(
        embedding_dim=4, hidden_layer_sizes=(), max_epochs=1, random_state=0
    )
    estimator.fit(A, B, y)
    expected = range(3) if y.ndim == 2 else np.unique(y)
    assert_array_equal(estimator.classes_, expected)
    assert 0 < estimator.score(A, B, y) <= 1


@pytest.mark.parametrize("missing", [-1, -1.0])
def test_a_class_of_minus_one_warns(missing):
    y = np.where(CODES == 2, missing, CODES * 5)
    y = np.append(y, 7)
    with pytest.warns(UserWarning, match="2 of 7 rows .* the label -1.*missing_labels"):
        labels = check(y)
    assert_array_equal(labels.classes, [-1, 0, 5, 7])


@pytest.mark.parametrize(
    "y", [CODES - 1, CODES, np.sign(CODES * 2 - 1), -CODES, -2 * (CODES == 0) + CODES]
)
def test_other_negative_classes_do_not_warn(y):
    is_marked = sorted(set(y.tolist())) == [-1, 0, 1]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check(y)
    assert len(caught) == is_marked


def test_the_warning_of_minus_one_points_at_the_caller():
    y = np.append(CODES, -1)
    X = np.random.RandomState(0).randn(7, 4)
    with pytest.warns(UserWarning, match="label -1") as caught:
        ACMRProjector(hidden_layer_sizes=(), max_epochs=1).fit(X, X, y)
    assert [warning.filename for warning in caught] == [__file__]


PARTS = {"image": np.arange(12.0).reshape(6, 2), "text": np.ones((6, 3))}


def read(y, **options):
    return read_labels(y, PARTS, ACMRProjector(), **options)


@pytest.mark.parametrize("by_modality", [False, True])
def test_shared_labels(by_modality):
    features, labels = read(CODES, by_modality=by_modality)
    assert features is PARTS or features == PARTS
    assert labels.shared and labels.has_single_labels
    assert labels.parts["image"] is labels.parts["text"]
    assert_array_equal(labels.parts["text"].codes, CODES)


def test_labels_by_modality():
    y = {"text": [0, 1, 0, 1, 0, 1], "image": CODES}
    _, labels = read(y, by_modality=True)
    assert not labels.shared and list(labels.parts) == ["image", "text"]
    assert_array_equal(labels.classes, [0, 1, 2])
    assert labels.parts["text"].indicator.shape == (6, 3)
    _, several = read({"image": INDICATOR, "text": SEVERAL}, by_modality=True)
    assert not several.has_single_labels
    with pytest.raises(ValueError, match="got a mapping of labels, but ACMRProjector"):
        read(y)


@pytest.mark.parametrize(
    ("y", "rows"),
    [
        (["a", None, "b", "a", np.nan, "b"], [0, 2, 3, 5]),
        (np.array([0, 1, np.nan, 1, 0, 2]), [0, 1, 3, 4, 5]),
        (SEVERAL * [[1], [0], [1], [1], [0], [1]], [0, 2, 3, 5]),
        (sparse.csr_array(SEVERAL * [[1], [0], [1], [1], [0], [1]]), [0, 2, 3, 5]),
        (torch.tensor([0.0, 1, np.nan, 1, 0, 2], requires_grad=True), [0, 1, 3, 4, 5]),
    ],
    ids=["list", "array", "indicator", "sparse", "tensor"],
)
@pytest.mark.parametrize("by_modality", [False, True])
def test_rows_without_labels_are_dropped(y, rows, by_modality):
    y = {"image": y, "text": y} if by_modality else y
    with pytest.warns(UserWarning, match="have no label and are left out"):
        features, labels = read(y, missing="drop", by_modality=by_modality)
    for name, part in features.items():
        assert_array_equal(part, PARTS[name][rows])
        assert len(labels.parts[name].indicator) == len(rows)


def test_labels_among_given_classes():
    _, labels = read([1, 0, 1, 1, 0, 1], classes=np.arange(3))
    assert labels.parts["image"].indicator.shape == (6, 3)
    with pytest.raises(ValueError, match=r"not seen in fit: \[3\]"):
        read([1, 0, 1, 1, 0, 3], classes=np.arange(3))


@pytest.mark.parametrize("as_container", [True, False])
def test_collections_of_labels_with_a_plain_array(as_container):
    X = {"image": A, "text": B} if as_container else np.hstack([A, B])
    estimator = ACMRProjector(n_image_features=4, max_epochs=1)
    with pytest.raises(ValueError, match="MultiLabelBinarizer"):
        estimator.fit(X, [(0, 1), (1,)] * 3)


@pytest.mark.parametrize("as_given", [np.array, list, pd.Categorical])
def test_strings_of_several_containers_are_of_one_kind(as_given):
    series = pd.Series(NAMES[CODES], dtype=object)
    y = {"image": as_given(NAMES[CODES]), "text": series[::-1].to_numpy()}
    _, labels = read(y, by_modality=True)
    assert labels.classes.tolist() == NAMES.tolist()
    assert_array_equal(labels.parts["image"].codes, CODES)
    assert_array_equal(labels.parts["text"].codes, CODES[::-1])
    with pytest.raises(ValueError, match="must be of one kind"):
        read(y | {"image": CODES}, by_modality=True)


@pytest.mark.parametrize(
    "labels, text", [([], "y has no rows"), ("abc", "a single string as y: 'abc'")]
)
def test_labels_that_are_no_list_of_labels(labels, text):
    A, B = np.ones((3, 2)), np.ones((3, 4))
    with pytest.raises(ValueError, match=text):
        ACMRProjector().fit(A, B, labels)
    with pytest.raises(ValueError, match=text):
        SSAHHasher().fit({"image": A, "text": B}, {"image": [0, 1, 1], "text": labels})
