"""Relevance of gallery items by the labels that they share with a query."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings
from functools import cached_property, partial, reduce

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import assert_all_finite, gen_batches

from sklearn_cmr._arrays import check_matrix
from sklearn_cmr._inputs.labels import as_label_array
from sklearn_cmr._warnings import stacklevel_of_caller
from sklearn_cmr.codes import as_words, pack_bits


class _SameClass:
    """Items of the same class are relevant."""

    levels = np.arange(2.0)

    def __init__(self, query, gallery):
        if query.dtype.kind != gallery.dtype.kind:
            # Joining numbers and strings would turn the numbers into strings.
            query, gallery = query.astype(object), gallery.astype(object)
        try:
            classes, codes = np.unique(
                np.concatenate([query, gallery]), return_inverse=True
            )
        except TypeError as error:
            raise ValueError(
                "The labels must be all numbers or all strings, but y_query and "
                "y_gallery mix them."
            ) from error
        codes = codes.astype(np.min_scalar_type(len(classes) - 1))
        self.query, self.gallery = codes[: len(query)], codes[len(query) :]
        self.sizes = np.bincount(self.gallery, minlength=len(classes))

    def relevant(self, rows, items=slice(None)):
        return (self.query[rows, None] == self.gallery[items]).view(np.uint8)

    def n_relevant(self, rows, relevant):
        return self.sizes[self.query[rows]]


class _SharedLabel:
    """Items with at least one label in common are relevant.

    The grade of relevance is the number of labels in common.
    """

    def __init__(self, query, gallery):
        if query.shape[1] != gallery.shape[1]:
            raise ValueError(
                f"y_query has {query.shape[1]} label columns and y_gallery has "
                f"{gallery.shape[1]}. Binarize both with the same label set."
            )
        self.query = self._pack(query, "y_query")
        self.gallery = self._pack(gallery, "y_gallery")

    @staticmethod
    def _pack(labels, name):
        packed = []
        for rows in gen_batches(labels.shape[0], max(1, 2**24 // labels.shape[1])):
            dense = labels[rows].toarray() if issparse(labels) else labels[rows]
            if not np.isin(dense, (0, 1)).all():
                raise ValueError(
                    f"A 2-D {name} must be a label indicator of 0 and 1. Pass classes "
                    "as a 1-D array, or binarize sets of labels with "
                    "MultiLabelBinarizer."
                )
            packed.append(pack_bits(dense == 1))
        return as_words(np.concatenate(packed))

    @cached_property
    def levels(self):
        """Grades up to a bound of the number of labels that two items share."""
        most = (
            np.bitwise_count(words).sum(axis=0).max()
            for words in (self.query, self.gallery)
        )
        return np.arange(max(1, int(min(most))) + 1.0)

    def relevant(self, rows, items=slice(None)):
        shared = (words != 0 for words in self._common(rows, items))
        return reduce(np.logical_or, shared).view(np.uint8)

    def n_relevant(self, rows, relevant):
        # Several times as fast as with 64 bits, or by np.count_nonzero.
        return relevant.sum(axis=1, dtype=np.uint32).astype(np.intp)

    def grades(self, rows, items=slice(None)):
        dtype = np.min_scalar_type(len(self.levels) - 1)
        shared = (np.bitwise_count(words) for words in self._common(rows, items))
        return reduce(partial(np.add, dtype=dtype), shared)

    def _common(self, rows, items):
        """Yield the labels in common, a word at a time."""
        for query, gallery in zip(self.query, self.gallery, strict=True):
            yield query[rows, None] & gallery[items]


class _Matrix:
    """Items with a value above 0 in a matrix of queries and items are relevant.

    A grade is the place of a value among all distinct ones, so that a byte holds it.
    """

    def __init__(self, matrix, n_query, n_gallery):
        matrix = check_matrix(
            matrix,
            "relevance",
            accept_sparse="csr",
            dtype=np.float64,
            copy=issparse(matrix),
        )
        if matrix.shape != (n_query, n_gallery):
            raise ValueError(
                f"relevance has the shape {matrix.shape}, but there are {n_query} "
                f"queries and {n_gallery} items. Pass one row for each query and one "
                "column for each item of the gallery."
            )
        if issparse(matrix):
            matrix.sum_duplicates()
        values = matrix.data if issparse(matrix) else matrix
        found = np.unique(values)
        if len(found) and found[0] < 0:
            raise ValueError(
                f"relevance must be 0 or greater, but holds {found[0]:g}. Pass 0 for "
                "items that are not relevant."
            )
        self.levels = np.append(0, found[found > 0])
        if len(self.levels) == 1:
            self.levels = np.arange(2.0)
        if len(self.levels) > 256:
            raise ValueError(
                f"relevance holds {len(self.levels)} distinct grades, and at most 256 "
                "are possible. Round the values."
            )
        places = np.searchsorted(self.levels, values).astype(np.uint8)
        if issparse(matrix):
            places = csr_array((places, matrix.indices, matrix.indptr), matrix.shape)
        self.matrix = places

    def relevant(self, rows, items=slice(None)):
        return (self.grades(rows, items) > 0).view(np.uint8)

    def n_relevant(self, rows, relevant):
        return np.count_nonzero(relevant, axis=1)

    def grades(self, rows, items=slice(None)):
        grades = self.matrix[rows, items]
        return grades.toarray() if issparse(grades) else grades


def _check_one_labels(y, n_items, name, owner):
    if issparse(y) and y.ndim != 2:
        raise ValueError(
            f"{name} is a sparse array of shape {y.shape}. Pass classes as a dense 1-D "
            "array, or a sparse indicator of labels, which is 2-D."
        )
    if issparse(y):
        y = y.tocsr()
    else:
        y = as_label_array(y, name)
        if y.ndim == 2 and y.shape[1] == 1:
            warnings.warn(
                f"{name} is a column vector; it is read as a 1-D array of classes.",
                DataConversionWarning,
                stacklevel=stacklevel_of_caller(),
            )
            y = y[:, 0]
        assert_all_finite(y, input_name=name)
    if y.ndim not in (1, 2) or 0 in y.shape:
        raise ValueError(
            f"{name} must be a 1-D array of classes or a 2-D label indicator, not "
            f"empty; got the shape {y.shape}."
        )
    if y.ndim == 1 and y.dtype.kind == "f" and (y != np.floor(y)).any():
        raise ValueError(
            f"Unknown label type: {name} holds continuous values. Pass classes, or an "
            "indicator of 0 and 1."
        )
    if y.shape[0] != n_items:
        raise ValueError(
            f"{owner} has {n_items} rows but {name} has {y.shape[0]}. Pass one label "
            "(row) for each item, in the same order."
        )
    return y


def make_relevance(y_query, y_gallery, n_query, n_gallery, relevance="label"):
    """Validate what tells the relevance and return the relation.

    Parameters
    ----------
    y_query, y_gallery : {array-like, sparse matrix}, or None
        Labels, or numbers of the pairs.

    n_query, n_gallery : int

    relevance : {"label", "pair"} or matrix, default="label"
        See :func:`~sklearn_cmr.metrics.mean_average_precision`.

    Returns
    -------
    relation : object
        With `levels`, the gains of the grades 0, 1, ..., and the methods
        `relevant(rows, items)`, `grades(rows, items)` and `n_relevant(rows, relevant)`.
    """
    if (y_query is None) != (y_gallery is None):
        raise ValueError(
            f"y_{'query' if y_query is None else 'gallery'} is missing. Pass both "
            "y_query and y_gallery, or neither."
        )
    if not isinstance(relevance, str):
        if y_query is not None:
            raise ValueError(
                "A matrix of relevance stands in place of labels, but y_query and "
                "y_gallery were passed, too. Pass one or the other."
            )
        return _Matrix(relevance, n_query, n_gallery)
    if y_query is None:
        if relevance == "label":
            raise ValueError(
                "Labels are needed to know what is relevant. Pass y_query and "
                "y_gallery, or set relevance='pair' or to a matrix."
            )
        if n_query != n_gallery:
            raise ValueError(
                f"relevance='pair' pairs the rows one by one, but there are {n_query} "
                f"queries and {n_gallery} items. Number the groups by y_query and "
                "y_gallery."
            )
        y_query = y_gallery = np.arange(n_query)
    y_query = _check_one_labels(y_query, n_query, "y_query", "query")
    y_gallery = _check_one_labels(y_gallery, n_gallery, "y_gallery", "gallery")
    if y_query.ndim != y_gallery.ndim:
        raise ValueError(
            f"y_query is {y_query.ndim}-D and y_gallery is {y_gallery.ndim}-D. Pass "
            "classes (1-D) or label indicators (2-D) for both."
        )
    if relevance == "pair" and y_query.ndim == 2:
        raise ValueError(
            f"relevance='pair' needs one number or name for each item, but y_query has "
            f"the shape {y_query.shape}. Use relevance='label' for label indicators."
        )
    return (_SameClass if y_query.ndim == 1 else _SharedLabel)(y_query, y_gallery)
