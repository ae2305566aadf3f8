"""Top-k search over a stored gallery."""

# SPDX-License-Identifier: BSD-3-Clause

import sys
from functools import partial
from itertools import chain
from numbers import Integral, Real
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import check_scalar, gen_batches
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    check_is_fitted,
)

from sklearn_cmr._arrays import check_matrix, is_frame, named_errors
from sklearn_cmr._inputs.layout import (
    MODALITIES,
    bare_names,
    frame_like,
    is_mapping,
    is_paired,
)
from sklearn_cmr._inputs.parameters import refuse_boolean_numbers
from sklearn_cmr._lazy import public
from sklearn_cmr._state import StateMixin, restored_on_failure
from sklearn_cmr.codes import pack_signs, refuse_booleans, refuse_packed
from sklearn_cmr.neighbors._approximate import (
    PARAMETERS,
    ApproximateHammingSearch,
    ApproximateRealIndex,
)
from sklearn_cmr.neighbors._files import read_gallery, write_gallery
from sklearn_cmr.neighbors._hamming import FaissHammingSearch, HammingSearch
from sklearn_cmr.neighbors._ids import (
    as_names,
    check_unique,
    find_rows,
    join_ids,
    read_ids,
)
from sklearn_cmr.neighbors._real import FaissIndex, RealSearch

# Neighbors found at once, and queries of one radius search.
_FOUND = 2**20
_BALLS = 2**10


@public("sklearn_cmr")
class CrossModalNeighbors(StateMixin, BaseEstimator):
    """Find the nearest neighbors of queries in a gallery.

    The gallery holds the embeddings or codes of one modality, the queries are those of
    any modality. The interface is that of :class:`~sklearn.neighbors.NearestNeighbors`
    with additions: the Hamming distance of codes and packed bits, ids of the items,
    search in a subset, galleries that change (:meth:`add`, :meth:`remove`,
    :meth:`update`), and files that are mapped into memory (:meth:`save`,
    :meth:`load`). The search is exact unless an approximate `algorithm` is chosen. The
    result then depends neither on the library that computes it nor on the division of
    the queries. Neighbors are sorted by distance, and by their row in the gallery where
    the distances are equal.

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
        :func:`~sklearn_cmr.hashing.pack_codes`). "auto" is "hamming" for a gallery of
        int8 or uint8, and "cosine" for other dtypes.

    algorithm : {"auto", "brute", "faiss", "hnsw", "ivf"}, default="auto"
        Implementation of the search. The first three are exact and give the same
        result. "faiss" is an optional package (``pip install 'sklearn-cmr[faiss]'``).
        "brute" is a popcount in numpy for the Hamming distance, and matrix products for
        the others. "auto" is "faiss" for the Hamming distance on Linux if it is
        installed, else "brute". "hnsw" and "ivf" are faiss's graph of neighbors and its
        inverted lists, which may miss neighbors.

    algorithm_params : dict, default=None
        Parameters of the approximate algorithms, integers of at least 1. Those of
        "hnsw" are ``n_links`` (32, at least 2), ``ef_construction`` (80) and
        ``ef_search`` (128); those of "ivf" ``n_lists`` (the square root of the number
        of items) and ``n_probes`` (an eighth of them). Larger ``ef_search`` and
        ``n_probes`` miss fewer neighbors and take more time. None takes these defaults.

    Attributes
    ----------
    effective_metric_ : str
        "cosine", "euclidean" or "hamming".

    n_samples_fit_ : int
        Number of items in the gallery.

    ids_ : ndarray of shape (`n_samples_fit_`,) or None
        Ids of the items, None if they have none.

    n_features_in_ : int
        Number of columns of the gallery. Columns of packed bits are bytes.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if the gallery is a dataframe, without the prefix
        ``image__`` or ``text__`` if all of them have it.

    See Also
    --------
    sklearn.neighbors.NearestNeighbors : Has more metrics, trees, sparse input.
    sklearn_cmr.hashing.hamming_distances : Computes all Hamming distances.

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
    for longer ones and for one query at a time. For real values, the matrix products
    were faster than faiss in ``benchmarks/search.py`` for more than one query. On other
    systems than Linux, the OpenMP libraries of faiss and torch may conflict and end the
    process. "auto" does not use faiss there.

    "hnsw" and "ivf" compute the distances of the items that they find as the others do,
    and always find `n_neighbors`. ``benchmarks/search.py --approximate`` prints their
    recall: the share of the exact neighbors that they find. On its
    generated codes, many of which are equal, "hnsw" finds half of them and "ivf" all.
    Their index takes long to build, also after each change of the gallery, and is not
    stored. The graph depends on the number of threads. A radius search and a search in
    a subset are exact whatever the algorithm.

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
        "algorithm": [StrOptions({"auto", "brute", "faiss", "hnsw", "ivf"})],
        "algorithm_params": [dict, None],
    }

    def __init__(
        self,
        *,
        n_neighbors=5,
        radius=1.0,
        metric="auto",
        algorithm="auto",
        algorithm_params=None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.radius = radius
        self.metric = metric
        self.algorithm = algorithm
        self.algorithm_params = algorithm_params

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
            one entry per row, or is not unique; if `algorithm_params` has other entries
            than the algorithm. After any error the estimator is as it was before.

        ImportError
            If `algorithm` needs faiss, which is not installed.
        """
        with restored_on_failure(self):
            gallery = self._read(X, reset=True, keep=True)
            self.ids_ = read_ids(ids, len(gallery))
            self._known_ids: set | None = None
            self._blocks = [gallery]
            self.n_samples_fit_ = len(gallery)
            self._index = self._make_index(gallery)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, *, ids=None) -> Self:
        """Append items to the gallery by :meth:`add`, or store the first ones.

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
        return self.add(X, ids=ids)

    @_fit_context(prefer_skip_nested_validation=True)
    def add(self, X, *, ids=None):
        """Append items to a gallery.

        The result is that of :meth:`fit` on all items. The index is rebuilt at the next
        search, so that many small additions are cheap.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or mapping with one key
            Items in the form of those in the gallery.

        ids : array-like of shape (n_samples,), default=None
            Unique names of the items, required if the items of the gallery have names.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the items do not fit the gallery: another width, another form, `ids`
            for one part only, or an id that the gallery has already.
        """
        check_is_fitted(self)
        added = self._read(X, reset=False, keep=True)
        new = read_ids(ids, len(added))
        if (new is None) != (self.ids_ is None):
            raise ValueError(
                "Either all items of a gallery must have ids or none: "
                + ("those in it have, the new ones" if new is None else "the new ones")
                + (" have not." if new is None else " have, those in it have not.")
            )
        if new is not None:
            joined = join_ids(self.ids_, new)
            if self._known_ids is None:
                self._known_ids = set(self.ids_.tolist())
            self._known_ids |= check_unique(new, self._known_ids)
            self.ids_ = joined
        self._blocks = [*self._blocks, added]
        self.n_samples_fit_ += len(added)
        self._index = None
        return self

    def remove(self, ids):
        """Remove items from the gallery.

        The result is that of :meth:`fit` on the items that are left. One call takes a
        pass over the gallery: remove many items at once.

        Parameters
        ----------
        ids : array-like of shape (n_removed,)
            Ids of the items, each once. If the items have no ids these are row numbers,
            and the items that are left have new ones, as by :func:`numpy.delete`.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If an id is not in the gallery or occurs twice, or if no item would be left.
            Nothing is removed then.
        """
        check_is_fitted(self)
        rows = find_rows(ids, self.ids_, self.n_samples_fit_)
        if len(rows) == self.n_samples_fit_:
            raise ValueError(
                f"All {len(rows)} items would be removed, but a gallery needs one item "
                "at least. Use fit to store other items."
            )
        self._blocks = [np.delete(np.asarray(self._gallery()), rows, axis=0)]
        if self.ids_ is not None:
            self.ids_ = np.delete(self.ids_, rows)
        self._known_ids = None
        self.n_samples_fit_ -= len(rows)
        self._index = None
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def update(self, X, *, ids):
        """Replace items of the gallery, which keep their ids and rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or mapping with one key
            Items in the form of those in the gallery.

        ids : array-like of shape (n_samples,)
            Ids of the items to replace, each once; row numbers if the items have no
            ids.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the items do not fit the gallery, or if `ids` does not have one entry per
            row, or one that is not in the gallery or occurs twice. Nothing is replaced
            then.
        """
        check_is_fitted(self)
        new = self._read(X, reset=False)
        rows = find_rows(ids, self.ids_, self.n_samples_fit_)
        if len(rows) != len(new):
            raise ValueError(f"Got {len(rows)} ids for {len(new)} rows.")
        gallery = self._gallery()
        # Copied: the rows may be mapped from a file, or of less precision.
        gallery = np.array(gallery, dtype=np.result_type(gallery, new))
        gallery[rows] = new
        self._blocks = [gallery]
        self._index = None
        return self

    def kneighbors(
        self, X=None, n_neighbors=None, return_distance=True, *, subset=None
    ):
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

        subset : array-like, default=None
            Items to search: booleans of shape (`n_samples_fit_`,), or their ids
            (row numbers if they have none). None stands for all items. The result is
            that of a gallery of these items, so that without `X` only they are queries.

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
            If the queries do not fit the gallery, if `subset` does not, or if there are
            fewer items than `n_neighbors`.
        """
        check_is_fitted(self)
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        check_scalar(k, "n_neighbors", Integral, min_val=1)
        gallery, names = self._searched(subset)
        query = gallery if X is None else self._read(X, reset=False)
        if k > len(gallery) - (X is None):
            relation = "<" if X is None else "<="
            raise ValueError(
                f"Expected n_neighbors {relation} n_samples_fit, but n_neighbors = {k},"
                f" n_samples_fit = {len(gallery)}, n_samples = {len(query)}"
            )
        index = self._index_of(gallery, subset)
        found = []
        for batch in gen_batches(len(query), max(1, _FOUND // int(k))):
            nearest = index.search(query[batch], k + (X is None))
            found.append(_without_self(nearest, batch) if X is None else nearest)
        distances, rows = map(np.concatenate, zip(*found, strict=True))
        rows = rows if names is None else names[rows]
        return (distances, rows) if return_distance else rows

    def radius_neighbors(
        self,
        X=None,
        radius=None,
        return_distance=True,
        sort_results=False,
        *,
        subset=None,
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

        subset : array-like, default=None
            Items to search: booleans of shape (`n_samples_fit_`,), or their ids
            (row numbers if they have none). None stands for all items. The result is
            that of a gallery of these items, so that without `X` only they are queries.

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
            If the queries or `subset` do not fit the gallery.
        """
        check_is_fitted(self)
        radius = self.radius if radius is None else radius
        check_scalar(radius, "radius", Real, min_val=0)
        if np.isnan(radius):
            raise ValueError("radius is nan, must be a number >= 0.")
        gallery, names = self._searched(subset)
        query = gallery if X is None else self._read(X, reset=False)
        index = self._index_of(gallery, subset)
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
            rows = rows if names is None else names[rows]
            found.append([np.split(part[order], ends) for part in (distances, rows)])
        distances, rows = map(_array_of_arrays, zip(*found, strict=True))
        return (distances, rows) if return_distance else rows

    def save(self, path):
        """Write the gallery, its ids and the parameters to a folder.

        The folder has the rows as ``gallery.npy``, packed for the Hamming distance, the
        ids as ``ids.npy``, and the rest as text. :meth:`load` reads it.

        Parameters
        ----------
        path : str or path
            A folder, which is made. If it exists, it must be empty.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        FileExistsError
            If the folder is not empty.

        ValueError
            If the ids are objects other than strings.
        """
        check_is_fitted(self)
        names = getattr(self, "feature_names_in_", None)
        header = {
            "parameters": self.get_params(),
            "effective_metric": self.effective_metric_,
            "is_packed": bool(self._packed),
            "n_features_in": self.n_features_in_,
            "feature_names_in": None if names is None else names.tolist(),
        }
        write_gallery(path, header, self._gallery(), self.ids_)

    @classmethod
    def load(cls, path, *, mmap_mode="r"):
        """Load what :meth:`save` has written.

        Parameters
        ----------
        path : str or path
            The folder.

        mmap_mode : {"r", None}, default="r"
            "r" maps the files into memory: the call returns at once however large the
            gallery is, processes share its memory, and a search of codes copies
            nothing. "auto" then stands for the algorithm "brute". A search of real
            values copies the rows when it is first used. :meth:`add`, :meth:`remove`
            and :meth:`update` copy the rows and leave the files as they are. None reads
            the files.

        Returns
        -------
        neighbors : CrossModalNeighbors
            The fitted estimator, with the parameters of the one that was saved. Strings
            among the ids have a dtype of numpy.

        Raises
        ------
        FileNotFoundError
            If a file is missing.

        ValueError
            If the size, shape or dtype of a file is not as :meth:`save` left it. The
            rows themselves are not read.
        """
        is_mode = isinstance(mmap_mode, str) and mmap_mode == "r"
        if mmap_mode is not None and not is_mode:
            raise ValueError(f"mmap_mode must be 'r' or None, got {mmap_mode!r}.")
        header, gallery, ids = read_gallery(path, mmap_mode)
        try:
            self = cls(**header["parameters"])
            self._validate_params()
            self.effective_metric_ = header["effective_metric"]
            self._packed = header["is_packed"]
            self.n_features_in_ = header["n_features_in"]
            names = header["feature_names_in"]
            if self.effective_metric_ not in ("cosine", "euclidean", "hamming"):
                raise ValueError(f"unknown metric {self.effective_metric_!r}")
            if names is not None and len(names) != self.n_features_in_:
                raise ValueError(f"{len(names)} names of {self.n_features_in_} columns")
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"The header of {path} is damaged: {error}. Save the gallery anew."
            ) from error
        is_hamming = self.effective_metric_ == "hamming"
        n_bits = self.n_features_in_ if is_hamming and not self._packed else None
        width = self.n_features_in_ if n_bits is None else -(-n_bits // 8)
        is_right = (
            gallery.dtype == np.uint8 if is_hamming else gallery.dtype.kind == "f"
        )
        if gallery.shape[1] != width or not is_right or not len(gallery):
            raise ValueError(
                f"The gallery in {path} has the shape {gallery.shape} and the dtype "
                f"{gallery.dtype}, which do not fit the metric "
                f"{self.effective_metric_!r} of {self.n_features_in_} features. Save "
                "the gallery anew."
            )
        if names is not None:
            self.feature_names_in_ = np.asarray(names, dtype=object)
        # What a search takes out of it is a plain array, too.
        self.ids_ = None if ids is None else np.asarray(ids)
        self._known_ids = None
        self._blocks = [gallery]
        self._index = None
        self.n_samples_fit_ = len(gallery)
        return self

    def __sklearn_is_fitted__(self):
        return hasattr(self, "n_samples_fit_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.dict = True
        return tags

    def _to_state(self):
        # Rebuilt from the gallery, possibly without faiss.
        state = vars(self) | {"_index": None, "_known_ids": None}
        if "_blocks" in state:
            # Rows that are mapped from a file are written like others.
            state["_blocks"] = [np.asarray(self._gallery())]
        return state

    # -- reading ---------------------------------------------------------------

    def _validate_params(self):
        super()._validate_params()
        refuse_boolean_numbers(self)

    def _read(self, X, *, reset, keep=False):
        """Validate rows; return packed bits or floating numbers.

        `reset` is for `fit`, `keep` for rows that become part of the gallery.
        """
        given = _one_modality(X)
        with named_errors("X"):
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
            refuse_packed(X, "X", self.effective_metric_)
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

    # -- searching -------------------------------------------------------------

    def _gallery(self):
        if len(self._blocks) > 1:
            self._blocks = [np.concatenate(self._blocks)]
        return self._blocks[0]

    def _searched(self, subset):
        """Return the rows to search, and their ids or else their row numbers."""
        gallery = self._gallery()
        if subset is None:
            return gallery, self.ids_
        subset = as_names(subset, "subset")
        if subset.dtype != bool:
            rows = np.sort(find_rows(subset, self.ids_, len(gallery)))
        elif len(subset) == len(gallery):
            rows = np.flatnonzero(subset)
        else:
            raise ValueError(
                f"A mask of the gallery needs {len(gallery)} entries, one for each "
                f"item; subset has {len(subset)}."
            )
        if not len(rows):
            raise ValueError(
                "subset leaves no item to search. Pass a mask with one true entry at "
                "least, or None for all items."
            )
        # No part of a mapped gallery is mapped.
        part = np.asarray(gallery)[rows]
        return part, rows if self.ids_ is None else self.ids_[rows]

    def _index_of(self, gallery, subset):
        if subset is not None:
            return self._make_index(gallery, exact=True)
        if self._index is None:
            self._index = self._make_index(gallery)
        return self._index

    def _make_index(self, gallery, *, exact=False):
        is_hamming = self.effective_metric_ == "hamming"
        is_mapped = isinstance(gallery, np.memmap)
        is_approximate = self.algorithm in PARAMETERS
        if self.algorithm_params is not None and not is_approximate:
            raise ValueError(
                f"algorithm_params={self.algorithm_params} are for the algorithms "
                f"{[*PARAMETERS]}; algorithm={self.algorithm!r} has none."
            )
        faiss = None
        if self.algorithm == "faiss" or is_approximate:
            faiss = _import_faiss(self.algorithm)
        elif (
            self.algorithm == "auto"
            and is_hamming
            and not is_mapped  # faiss would copy the rows
            and sys.platform == "linux"
        ):
            faiss = _import_faiss()
        gallery = np.asarray(gallery)
        if is_approximate and not exact:
            options = faiss, self.algorithm, self.algorithm_params
            if is_hamming:
                return ApproximateHammingSearch(gallery, *options)
            return RealSearch(
                gallery,
                self.effective_metric_,
                lambda X: ApproximateRealIndex(X, *options),
            )
        if faiss is None:
            if is_hamming:
                return HammingSearch(gallery, copy=not is_mapped)
            return RealSearch(gallery, self.effective_metric_)
        if is_hamming:
            return FaissHammingSearch(gallery, faiss)
        make_index = partial(FaissIndex, faiss=faiss)
        return RealSearch(gallery, self.effective_metric_, make_index)


def _import_faiss(algorithm=None):
    """Import faiss, or return None unless an algorithm needs it."""
    try:
        import faiss
    except ImportError as error:
        if algorithm is None:
            return None
        raise ImportError(
            f"algorithm={algorithm!r} needs an optional package: pip install "
            "'sklearn-cmr[faiss]'. 'brute' gives the exact result without it."
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
