"""Relevance of gallery items by the labels that they share with a query."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings
from functools import cached_property, partial, reduce

import numpy as np
from scipy.sparse import issparse
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import assert_all_finite, gen_batches

from sklearn_cmr._inputs.labels import as_label_array
from sklearn_cmr._warnings import stacklevel_of_caller
from sklearn_cmr.codes import as_words, pack_bits


class _SameClass:
    """Items of the same class are relevant."""

    max_grade = 1

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
    def max_grade(self):
        """Upper bound of the number of labels that two items share."""
        most = (
            np.bitwise_count(words).sum(axis=0).max()
            for words in (self.query, self.gallery)
        )
        return max(1, int(min(most)))

    def relevant(self, rows, items=slice(None)):
        shared = (words != 0 for words in self._common(rows, items))
        return reduce(np.logical_or, shared).view(np.uint8)

    def n_relevant(self, rows, relevant):
        return np.count_nonzero(relevant, axis=1)

    def grades(self, rows, items=slice(None)):
        dtype = np.min_scalar_type(self.max_grade)
        shared = (np.bitwise_count(words) for words in self._common(rows, items))
        return reduce(partial(np.add, dtype=dtype), shared)

    def _common(self, rows, items):
        """Yield the labels in common, a word at a time."""
        for query, gallery in zip(self.query, self.gallery, strict=True):
            yield query[rows, None] & gallery[items]


def _check_one_labels(y, n_items, name, owner):
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


def make_relevance(y_query, y_gallery, n_query, n_gallery):
    """Validate the labels and return the relation of relevance."""
    y_query = _check_one_labels(y_query, n_query, "y_query", "query")
    y_gallery = _check_one_labels(y_gallery, n_gallery, "y_gallery", "gallery")
    if y_query.ndim != y_gallery.ndim:
        raise ValueError(
            f"y_query is {y_query.ndim}-D and y_gallery is {y_gallery.ndim}-D. Pass "
            "classes (1-D) or label indicators (2-D) for both."
        )
    return (_SameClass if y_query.ndim == 1 else _SharedLabel)(y_query, y_gallery)
