"""Similarities of embeddings and codes, a chunk of queries at a time."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_cmr._arrays import check_matrix
from sklearn_cmr.codes import (
    as_words,
    count_differing,
    pack_signs,
    refuse_booleans,
    refuse_packed,
)

# BLAS kernels sum the rows of incomplete blocks in another order. With complete blocks
# only, equal items get equal scores, whatever the chunk and their position.
BLOCK_ROWS = 32


def _score_dtype(query, gallery) -> np.dtype:
    """Precision in which scores are compared."""
    single = np.result_type(query, gallery, np.float32) == np.float32
    return np.dtype(np.float32 if single else np.float64)


def _pad_rows(X, dtype):
    """Copy X with zero rows below, up to a whole number of blocks."""
    padded = np.zeros((-(-len(X) // BLOCK_ROWS) * BLOCK_ROWS, X.shape[1]), dtype)
    padded[: len(X)] = X
    return padded


def _largest(X):
    """Return the largest absolute value of each row."""
    return np.maximum(
        X.max(axis=1).astype(np.float64), -X.min(axis=1).astype(np.float64)
    )


def _exponents(X):
    """Return exponents of powers of two that are larger than the lengths of the rows.

    Distances of lengths below 1 are sorted fastest.
    """
    n_columns = X.shape[1]
    return np.frexp(_largest(X))[1] + ((n_columns - 1).bit_length() + 1) // 2


def _scale_rows(X):
    """Copy X padded and in float64, each row scaled to a length below 1.

    Powers of two are exact, and the products of the scaled rows cannot overflow.
    """
    limit = np.finfo(np.float64).maxexp - 2
    exponent = np.clip(-_exponents(X), -limit, limit)
    scaled = _pad_rows(X, np.float64)
    scaled[: len(X)] *= np.ldexp(1.0, exponent)[:, None]
    return scaled


class _Cosine:
    """Negative cosine similarity, 0 with a zero vector.

    Products are divided by the length of the gallery item only; that of the query does
    not change its ranking. The values of -1/+1 codes are therefore exact, and tie where
    the Hamming distances tie.

    It is computed in float64 and rounded to the precision of the input: the float32
    kernels of some processors sum equal rows in different orders.
    """

    def __init__(self, query, gallery):
        self.dtype = _score_dtype(query, gallery)
        self.query = query
        self.n_gallery = len(gallery)
        self.gallery = _scale_rows(gallery)
        length = np.sqrt(np.einsum("ij,ij->i", self.gallery, self.gallery))
        length = length[: self.n_gallery]
        self.weight = np.divide(-1, length, out=np.zeros_like(length), where=length > 0)

    def distances(self, rows):
        n_rows = len(self.query[rows])
        products = _scale_rows(self.query[rows]) @ self.gallery.T
        products = products[:n_rows, : self.n_gallery]
        products *= self.weight
        return products.astype(self.dtype, copy=False)


class _InnerProduct:
    """Negative inner product.

    Neither the length of a query nor a common factor of the gallery changes a ranking.
    As the cosine, it is computed in float64 and rounded to the precision of the input.
    """

    def __init__(self, query, gallery):
        self.dtype = _score_dtype(query, gallery)
        self.query = query
        self.n_gallery = len(gallery)
        exponent = int(_exponents(gallery).max())
        self.gallery = np.ldexp(_pad_rows(gallery, np.float64), -exponent)

    def distances(self, rows):
        n_rows = len(self.query[rows])
        products = _scale_rows(self.query[rows]) @ self.gallery.T
        products = products[:n_rows, : self.n_gallery]
        return np.negative(products, out=products).astype(self.dtype, copy=False)


class _Euclidean:
    """Squared Euclidean distance.

    It is computed in float64 because |a|^2 + |b|^2 - 2 <a, b> cancels, and rounded to
    the precision of the input.
    """

    def __init__(self, query, gallery):
        self.dtype = _score_dtype(query, gallery)
        self.query = query
        self.n_gallery = len(gallery)
        self.exponent = self._choose_exponent(query, gallery)
        self.gallery = self._scale(gallery)
        self.squares = np.einsum("ij,ij->i", self.gallery, self.gallery)

    def _choose_exponent(self, query, gallery):
        """Return the exponent of a power of two that scales squares into the range.

        The division is exact and does not change the ranking.
        """
        largest = max(_largest(X).max() for X in (query, gallery))
        exponent = int(np.frexp(largest)[1])
        return exponent if abs(exponent) > np.finfo(self.dtype).maxexp // 4 else 0

    def _scale(self, X):
        scaled = _pad_rows(X, np.float64)
        return np.ldexp(scaled, -self.exponent) if self.exponent else scaled

    def distances(self, rows):
        n_rows = len(self.query[rows])
        query = self._scale(self.query[rows])
        distances = query @ self.gallery.T
        distances *= -2
        distances += np.einsum("ij,ij->i", query, query)[:, None]
        distances += self.squares
        # Rounding may make the distance of equal vectors slightly negative.
        np.maximum(distances, 0, out=distances)
        return distances[:n_rows, : self.n_gallery].astype(self.dtype)


class _Hamming:
    """Number of bits that differ, an integer."""

    def __init__(self, query, gallery):
        if (query.dtype == np.uint8) != (gallery.dtype == np.uint8):
            raise ValueError(
                f"query has dtype {query.dtype} and gallery has dtype {gallery.dtype}: "
                "uint8 means packed bits, any other dtype codes of -1 and +1. Pass "
                "both in the same form."
            )
        packed = query.dtype == np.uint8
        self.n_gallery = len(gallery)
        self.n_distances = query.shape[1] * (8 if packed else 1) + 1
        if not packed:
            query = pack_signs(query, "query")
            gallery = pack_signs(gallery, "gallery")
        self.query = as_words(query)
        self.gallery = as_words(gallery)

    def distances(self, rows, items=slice(None)):
        query, gallery = self.query[:, rows], self.gallery[:, items]
        return count_differing(query, gallery, self.n_distances - 1)


class _Precomputed:
    """Distances that are given."""

    def __init__(self, query, gallery):
        self.dtype = _score_dtype(query, query)
        self.matrix = query

    def distances(self, rows):
        # A copy, as sorting may overwrite it.
        return self.matrix[rows].astype(self.dtype)


SIMILARITIES: dict[str, type] = {
    "cosine": _Cosine,
    "euclidean": _Euclidean,
    "hamming": _Hamming,
    "inner_product": _InnerProduct,
    "precomputed": _Precomputed,
}


def check_embeddings(query, gallery, metric):
    """Validate both sets and return them with the metric that ranks them."""
    if metric == "precomputed":
        if gallery is not None:
            raise ValueError(
                "metric='precomputed' takes the distances of all items from all "
                "queries as query, and no gallery. Pass None for it."
            )
        return check_matrix(query, "query"), None, metric
    if gallery is None:
        raise ValueError(
            f"gallery is None, but metric={metric!r} compares the queries with it. "
            "Pass the embeddings of the gallery. If query holds distances, set "
            "metric='precomputed'."
        )
    if isinstance(query, BaseEstimator):
        raise TypeError(
            f"got the estimator {type(query).__name__} in place of embeddings. Pass "
            "what its transform returns."
        )
    query = check_matrix(query, "query")
    gallery = check_matrix(gallery, "gallery")
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"query has {query.shape[1]} columns and gallery has {gallery.shape[1]}. "
            "Both must lie in one common space: pass the transformed data of the two "
            "modalities."
        )
    if metric == "auto":
        refuse_booleans(query, "query")
        refuse_booleans(gallery, "gallery")
        codes = {X.dtype in (np.int8, np.uint8) for X in (query, gallery)}
        if len(codes) == 2:
            raise ValueError(
                f"metric='auto' cannot be resolved: query has dtype {query.dtype} and "
                f"gallery has dtype {gallery.dtype}. Set the metric, or pass both in "
                "the same form."
            )
        metric = "hamming" if codes.pop() else "cosine"
    elif metric != "hamming":
        refuse_packed(query, "query", metric)
        refuse_packed(gallery, "gallery", metric)
    return query, gallery, metric
