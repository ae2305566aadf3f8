"""Top-k search over a stored gallery."""

# SPDX-License-Identifier: BSD-3-Clause

import sys
from itertools import chain
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import check_scalar, column_or_1d, gen_batches
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    check_is_fitted,
)

from sklearn_cmr._arrays import check_matrix, is_frame
from sklearn_cmr._inputs.layout import (
    MODALITIES,
    bare_names,
    frame_like,
    is_mapping,
    is_paired,
)
from sklearn_cmr.codes import pack_signs, refuse_booleans
from sklearn_cmr.neighbors._hamming import FaissHammingSearch, HammingSearch
from sklearn_cmr.neighbors._real import RealSearch

# Neighbors found at once, and queries of one radius search.
_FOUND = 2**20
_BALLS = 2**10


class CrossModalNeighbors(BaseEstimator):
    """Find the exact nearest neighbors of queries in a gallery.

    The gallery holds the embeddings or codes of one modality, the queries are those of
    any modality. The interface is that of :class:`~sklearn.neighbors.NearestNeighbors`
    with three additions: the Hamming distance of codes and packed bits, ids of the
    items, and :meth:`partial_fit`. The result depends neither on the library that
    computes it nor on the division of the queries. Neighbors are sorted by distance,
    and by their row in the gallery where the distances are equal.

    Parameters
    ----------
    n_neighbors : int, default=5
        Number of neighbors that :meth:`kneighbors` finds, at least 1.

    radius : float, default=1.0
        Largest distance of the neighbors that :meth:`radius_neighbors` finds, at least
        0. For the Hamming distance it is a number of bits.

    metric : {"auto", "cosine", "euclidean", "hamming"}, default="auto"
        Distance used for the search. "cosine" is one minus the cosine similarity,
        which is 0 with a zero vector. "hamming" is the number of differing bits; it
        takes codes of -1 and +1 or packed bits (uint8, as from
        :func:`~sklearn_cmr.codes.pack_codes`). "auto" is "hamming" for a gallery of
        int8 or uint8, and "cosine" for other dtypes.

    algorithm : {"auto", "brute", "faiss"}, default="auto"
        Implementation of the search; all give the same result. "faiss" is an optional
        package (``pip install 'sklearn-cmr[faiss]'``). "brute" is a popcount in numpy
        for the Hamming distance, and scikit-learn's brute force for the others. "auto"
        is "faiss" for the Hamming distance on Linux if it is installed, else "brute".

    Attributes
    ----------
    effective_metric_ : str
        "cosine", "euclidean" or "hamming".

    n_samples_fit_ : int
        Number of items in the gallery.

    ids_ : ndarray of shape (n_samples_fit_,) or None
        Ids of the items, None if they have none.

    n_features_in_ : int
        Number of columns of the gallery. Columns of packed bits are bytes.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, if the gallery is a dataframe, without the prefix
        ``image__`` or ``text__`` if all of them have it.

    See Also
    --------
    sklearn.neighbors.NearestNeighbors : Has more metrics, trees, sparse input.
    sklearn_cmr.codes.hamming_distances : Computes all Hamming distances.

    Notes
    -----
    A search compares every query with every item. Besides the gallery and the result,
    it needs little memory, whatever the number of queries. The number of threads is
    that of OpenMP (``OMP_NUM_THREADS``).

    Real-valued distances are float64. The library finds candidates in float32 by matrix
    products, and the distances of the candidates are then computed in float64. More
    candidates are fetched where rounding might have hidden a nearer item. With many
    equal rows, such as codes stored as floats, this takes several times as long: store
    codes as int8, or packed.

    The popcount in numpy is nearly as fast as faiss for codes of 64 bits, and slower
    for longer ones. For real values, scikit-learn's brute force was the faster one in
    ``benchmarks/search.py``. On other systems than Linux, the OpenMP libraries of faiss
    and torch may conflict and end the process. "auto" does not use faiss there.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr import CrossModalNeighbors
    >>> texts = np.array([[1, 1, 1], [1, 1, -1], [-1, -1, -1]], dtype=np.int8)
    >>> neighbors = CrossModalNeighbors(n_neighbors=2).fit(texts)
    >>> images = np.array([[1, -1, -1]], dtype=np.int8)
    >>> distances, rows = neighbors.kneighbors(images)
    >>> distances
    array([[1, 1]], dtype=int32)
    >>> rows
    array([[1, 2]])
    """

    _parameter_constraints: dict = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "radius": [Interval(Real, 0, None, closed="left")],
        "metric": [StrOptions({"auto", "cosine", "euclidean", "hamming"})],
        "algorithm": [StrOptions({"auto", "brute", "faiss"})],
    }

    def __init__(self, *, n_neighbors=5, radius=1.0, metric="auto", algorithm="auto"):
        self.n_neighbors = n_neighbors
        self.radius = radius
        self.metric = metric
        self.algorithm = algorithm

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, *, ids=None):
        """Store a gallery.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or mapping with one key
            Embeddings, codes of -1 and +1, or packed bits, one row per item: an array,
            a dataframe, a tensor, or a mapping of one modality to one of these. They
            are copied.

        y : object
            Ignored, present by convention.

        ids : array-like of shape (n_samples,), default=None
            Unique names of the items, which the searches return in place of row
            numbers.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If the gallery is empty, not finite, a container of both modalities, or
            does not hold codes although the metric needs them; if `ids` does not have
            one entry per row, or is not unique.

        ImportError
            If `algorithm="faiss"` and faiss is not installed.
        """
        gallery = self._read(X, reset=True, keep=True)
        self.ids_ = self._read_ids(ids, len(gallery))
        self._known_ids = None
        self._blocks = [gallery]
        self.n_samples_fit_ = len(gallery)
        self._index = self._make_index()
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, *, ids=None):
        """Append items to the gallery.

        The result is that of :meth:`fit` on all items. The index is rebuilt at the next
        search, so that many small additions are cheap.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or mapping with one key
            Items in the form of those in the gallery.

        y : object
            Ignored, present by convention.

        ids : array-like of shape (n_samples,), default=None
            Unique names of the items, required if the items of the gallery have names.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If the items do not fit the gallery: another width, another form, `ids`
            for one part only, or an id that the gallery has already.
        """
        if not self.__sklearn_is_fitted__():
            return self.fit(X, ids=ids)
        added = self._read(X, reset=False, keep=True)
        new = self._read_ids(ids, len(added))
        if (new is None) != (self.ids_ is None):
            raise ValueError(
                "Either all items of a gallery must have ids or none: "
                + ("those in it have, the new ones" if new is None else "the new ones")
                + (" have not." if new is None else " have, those in it have not.")
            )
        if new is not None:
            joined = _join_ids(self.ids_, new)
            if self._known_ids is None:
                self._known_ids = set(self.ids_.tolist())
            self._known_ids |= _check_unique(new, self._known_ids)
            self.ids_ = joined
        self._blocks = [*self._blocks, added]
        self.n_samples_fit_ += len(added)
        self._index = None
        return self

    def kneighbors(self, X=None, n_neighbors=None, return_distance=True):
        """Find the nearest items of each query.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features), or mapping with one key, \
                default=None
            Queries in the form of the gallery. None stands for the items of the
            gallery, which are not counted as their own neighbors.

        n_neighbors : int, default=None
            Number of neighbors. None stands for that of the constructor.

        return_distance : bool, default=True
            Whether to return the distances.

        Returns
        -------
        neigh_dist : ndarray of shape (n_queries, n_neighbors)
            Distances in ascending order: int32 for the Hamming distance, float64 for
            the others. Only if `return_distance` is true.

        neigh_ind : ndarray of shape (n_queries, n_neighbors)
            Rows of the items in the gallery, or their ids if they have any.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the queries do not fit the gallery, or if there are fewer items than
            `n_neighbors`.
        """
        check_is_fitted(self)
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        check_scalar(k, "n_neighbors", Integral, min_val=1)
        query = self._gallery() if X is None else self._read(X, reset=False)
        n_others = self.n_samples_fit_ - (X is None)
        if k > n_others:
            relation = "<" if X is None else "<="
            raise ValueError(
                f"Expected n_neighbors {relation} n_samples_fit, but n_neighbors = {k},"
                f" n_samples_fit = {self.n_samples_fit_}, n_samples = {len(query)}"
            )
        index = self._fitted_index()
        found = []
        for batch in gen_batches(len(query), max(1, _FOUND // int(k))):
            nearest = index.search(query[batch], k + (X is None))
            found.append(_without_self(nearest, batch) if X is None else nearest)
        distances, rows = map(np.concatenate, zip(*found, strict=True))
        rows = rows if self.ids_ is None else self.ids_[rows]
        return (distances, rows) if return_distance else rows

    def radius_neighbors(
        self, X=None, radius=None, return_distance=True, sort_results=False
    ):
        """Find all items within a distance of each query.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features), or mapping with one key, \
                default=None
            Queries in the form of the gallery. None stands for the items of the
            gallery, which are not counted as their own neighbors.

        radius : float, default=None
            Largest distance. None stands for that of the constructor.

        return_distance : bool, default=True
            Whether to return the distances.

        sort_results : bool, default=False
            Whether to sort the neighbors by distance instead of by row.

        Returns
        -------
        neigh_dist : ndarray of shape (n_queries,) of arrays
            Distances for each query: int32 for the Hamming distance, float64 for the
            others. Only if `return_distance` is true.

        neigh_ind : ndarray of shape (n_queries,) of arrays
            Rows of the items in the gallery, or their ids if they have any.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the queries do not fit the gallery.
        """
        check_is_fitted(self)
        radius = self.radius if radius is None else radius
        check_scalar(radius, "radius", Real, min_val=0)
        if np.isnan(radius):
            raise ValueError("radius is nan, must be a number >= 0.")
        query = self._gallery() if X is None else self._read(X, reset=False)
        index = self._fitted_index()
        found = []
        for batch in gen_batches(len(query), _BALLS):
            owners, distances, rows = index.ball(query[batch], radius)
            if X is None:
                others = rows != owners + batch.start
                owners, distances, rows = (
                    owners[others],
                    distances[others],
                    rows[others],
                )
            keys = (rows, distances, owners) if sort_results else (rows, owners)
            order = np.lexsort(keys)
            ends = np.cumsum(np.bincount(owners, minlength=len(query[batch])))[:-1]
            rows = rows if self.ids_ is None else self.ids_[rows]
            found.append([np.split(part[order], ends) for part in (distances, rows)])
        distances, rows = map(_array_of_arrays, zip(*found, strict=True))
        return (distances, rows) if return_distance else rows

    def __sklearn_is_fitted__(self):
        # A fit that failed may have left attributes that end in an underscore.
        return hasattr(self, "n_samples_fit_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.dict = True
        return tags

    def __getstate__(self):
        # Rebuilt from the gallery, possibly without faiss.
        return super().__getstate__() | {"_index": None, "_known_ids": None}

    # -- reading ---------------------------------------------------------------

    def _read(self, X, *, reset, keep=False):
        """Validate rows; return packed bits or floating numbers.

        `reset` is for `fit`, `keep` for rows that become part of the gallery.
        """
        given = _one_modality(X)
        _check_feature_names(self, given, reset=reset)
        X = check_matrix(given, "X", order="C", copy=keep, estimator=self)
        is_code = X.dtype in (np.int8, np.uint8)
        if reset:
            self.effective_metric_ = self.metric
            if self.metric == "auto":
                refuse_booleans(X, "X")
                self.effective_metric_ = "hamming" if is_code else "cosine"
            self._packed = X.dtype == np.uint8
        is_hamming = self.effective_metric_ == "hamming"
        if not reset:
            # Before the widths, which differ between packed and unpacked codes.
            self._check_form(X.dtype, is_code, is_hamming)
        _check_n_features(self, X, reset=reset)
        if not is_hamming:
            return X if X.dtype in (np.float32, np.float64) else X.astype(np.float64)
        return X if self._packed else pack_signs(X, "X")

    def _check_form(self, dtype, is_code, is_hamming):
        """Raise if rows are codes and the gallery is not, or in another form."""
        unlike = self.metric == "auto" and is_code != is_hamming
        if unlike or (is_hamming and (dtype == np.uint8) != self._packed):
            form = "real values"
            if is_hamming:
                form = "packed bits" if self._packed else "codes of -1 and +1"
            raise ValueError(
                f"X has the dtype {dtype}, but the gallery holds {form}. Pass both in "
                "the same form: uint8 means packed bits, int8 codes of -1 and +1."
            )

    @staticmethod
    def _read_ids(ids, n_rows):
        if ids is None:
            return None
        ids = column_or_1d(ids).copy()
        if len(ids) != n_rows:
            raise ValueError(f"Got {len(ids)} ids for {n_rows} rows.")
        _check_unique(ids)
        return ids

    # -- searching -------------------------------------------------------------

    def _gallery(self):
        if len(self._blocks) > 1:
            self._blocks = [np.concatenate(self._blocks)]
        return self._blocks[0]

    def _fitted_index(self):
        if self._index is None:
            self._index = self._make_index()
        return self._index

    def _make_index(self):
        is_hamming = self.effective_metric_ == "hamming"
        faiss = None
        if self.algorithm == "faiss":
            faiss = _import_faiss()
        elif self.algorithm == "auto" and is_hamming and sys.platform == "linux":
            faiss = _import_faiss(optional=True)
        gallery = self._gallery()
        if not is_hamming:
            return RealSearch(gallery, self.effective_metric_, faiss)
        if faiss is None:
            return HammingSearch(gallery)
        return FaissHammingSearch(gallery, faiss)


def _import_faiss(optional=False):
    try:
        import faiss
    except ImportError as error:
        if optional:
            return None
        raise ImportError(
            "algorithm='faiss' needs an optional package: pip install "
            "'sklearn-cmr[faiss]'. 'brute' gives the same result without it."
        ) from error
    return faiss


def _one_modality(X):
    """Return the rows of a container, without the modality in their column names."""
    if is_mapping(X) and len(X) == 1:
        (X,) = X.values()
    if is_paired(X):
        found = "a dataframe of both"
        if is_mapping(X):
            found = f"a mapping with the keys {list(X)}"
        raise ValueError(
            f"X must hold the rows of one modality, got {found}. Pass one of them."
        )
    if is_frame(X):
        for modality in MODALITIES:
            columns = list(X.columns)
            if all(str(name).startswith(f"{modality}__") for name in columns):
                # Columns of embeddings mean the same in all modalities.
                return frame_like(X, X, bare_names(columns, modality))
    return X


def _check_unique(ids, known=frozenset()):
    """Return ids as a set, or raise if one occurs twice or is known already."""
    seen = set()
    for name in ids.tolist():
        if name in seen or name in known:
            raise ValueError(
                f"ids must be unique, but {name!r} names more than one item. Number "
                "the items, or leave ids out: the rows that a search returns can index "
                "an array of names that are not unique."
            )
        seen.add(name)
    return seen


def _join_ids(old, new):
    kinds = {old.dtype.kind, new.dtype.kind, np.result_type(old, new).kind}
    # Joining with an array of objects converts no id.
    if len(kinds) > 1 and "O" not in kinds:
        raise ValueError(
            f"The new ids have the dtype {new.dtype}, those in the gallery {old.dtype}."
            " Pass ids of one kind."
        )
    return np.concatenate([old, new])


def _without_self(nearest, batch):
    """Remove each item from its own neighbors, or else the farthest neighbor."""
    distances, rows = nearest
    own = rows == np.arange(batch.start, batch.stop)[:, None]
    own[:, -1] |= ~own.any(axis=1)
    shape = len(rows), rows.shape[1] - 1
    return distances[~own].reshape(shape), rows[~own].reshape(shape)


def _array_of_arrays(batches):
    """Put the arrays of all batches into one array of objects."""
    arrays = list(chain.from_iterable(batches))
    result = np.empty(len(arrays), dtype=object)
    result[:] = arrays
    return result
