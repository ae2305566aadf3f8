"""Retrieval of raw items: a model that encodes, and a gallery of what it encoded."""

# SPDX-License-Identifier: BSD-3-Clause

import copy
from contextlib import nullcontext
from numbers import Integral
from typing import Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import _safe_indexing, check_scalar, gen_batches, get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils._set_output import _safe_set_output
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples, check_is_fitted

from sklearn_cmr._arrays import to_array
from sklearn_cmr._inputs.arguments import split_arguments
from sklearn_cmr._inputs.layout import check_unpaired, is_mapping, shape_of
from sklearn_cmr._inputs.outputs import PairOutputMixin
from sklearn_cmr._inputs.parameters import explained_errors, refuse_boolean_numbers
from sklearn_cmr._lazy import public
from sklearn_cmr._state import StateMixin
from sklearn_cmr.neighbors._neighbors import CrossModalNeighbors

# What a fitted model may have, and a fitted retriever then has too.
_OF_THE_MODEL = ("classes_", "n_features_in_", "feature_names_in_")


@public("sklearn_cmr")
class CrossModalRetriever(  # type: ignore[call-arg]
    StateMixin,
    PairOutputMixin,
    TransformerMixin,
    BaseEstimator,
    auto_wrap_output_keys=None,
):
    """Retrieve items of one modality for queries of another one.

    It holds a model, which encodes the features of any modality, and a gallery of
    encoded items. :meth:`fit` trains the model, :meth:`index` encodes a gallery, and
    :meth:`query` encodes queries and finds the nearest items. A model that is fitted
    already needs no :meth:`fit`.

    Parameters
    ----------
    model : estimator
        Projector or hasher, or a pipeline or a search that ends in one.

    n_neighbors : int, default=10
        Number of neighbors that :meth:`kneighbors` finds, at least 1.

    metric : {"model", "cosine", "euclidean", "hamming"}, default="model"
        Distance used for the search. "model" is the parameter `metric` of a projector,
        and "hamming" for the codes of a hasher, packed or not. It is "cosine" for
        embeddings of a model without that parameter.

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

    chunk_size : int, default=16384
        Number of rows that are encoded at once, at least 1. It bounds the memory, where
        the steps of a pipeline copy the features.

    Attributes
    ----------
    model_ : estimator
        The fitted model.

    neighbors_ : CrossModalNeighbors or None
        The gallery, None before :meth:`index`.

    classes_ : ndarray of shape (n_classes,)
        Sorted classes, or the column numbers of the label indicator.

    n_features_in_ : int
        Number of features of all modalities of :meth:`fit` together.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if all of them are strings.

    See Also
    --------
    CrossModalNeighbors : The gallery alone, for queries that are encoded.

    Notes
    -----
    `model_` has the last three attributes if the model has them.

    All items of a gallery are of the common space, so that :meth:`add` may add items of
    another modality than the one of :meth:`index`.

    To deploy a large gallery, pickle the fitted model, and save the gallery by
    `neighbors_.save`. ``CrossModalRetriever(model).index(
    CrossModalNeighbors.load(folder))`` then starts at once. A pickled retriever holds
    both.

    Examples
    --------
    >>> from sklearn_cmr import CrossModalRetriever, SemanticMatchingProjector
    >>> from sklearn_cmr.datasets import make_cross_modal_classification
    >>> A, B, y = make_cross_modal_classification(300, n_classes=4, random_state=0)
    >>> retriever = CrossModalRetriever(SemanticMatchingProjector(), n_neighbors=3)
    >>> retriever.fit(A[:200], B[:200], y[:200])
    CrossModalRetriever(model=SemanticMatchingProjector(), n_neighbors=3)
    >>> names = [f"image {i}" for i in range(200, 300)]
    >>> ids, distances = retriever.index(image=A[200:], ids=names).query(text=B[200:])
    >>> ids.shape
    (100, 3)
    """

    _parameter_constraints: dict = {
        "model": [HasMethods(["fit", "transform"])],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "metric": [StrOptions({"model", "cosine", "euclidean", "hamming"})],
        "algorithm": [StrOptions({"auto", "brute", "faiss", "hnsw", "ivf"})],
        "algorithm_params": [dict, None],
        "chunk_size": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        model,
        *,
        n_neighbors=10,
        metric="model",
        algorithm="auto",
        algorithm_params=None,
        chunk_size=16384,
    ) -> None:
        self.model = model
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.algorithm = algorithm
        self.algorithm_params = algorithm_params
        self.chunk_size = chunk_size

    # -- the model ---------------------------------------------------------------

    # The parameters of the model were not validated: it validates them.
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, Y=None, y=None, **fit_params):
        """Fit a copy of the model.

        A gallery of an earlier fit is dropped: another model has encoded it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_image_features), \
container of pairs, or mapping of modalities
            Image features, or a container that the model takes.

        Y : {array-like, sparse matrix} of shape (n_samples, n_text_features)
            Text features; the labels where `X` is a container.

        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape \
(n_samples, n_classes)
            Labels.

        **fit_params : dict
            Further arguments of the model's `fit`.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        X, y = _container_and_labels(X, Y, y)
        model = clone(self.model)
        library = getattr(self, "_sklearn_output_config", {}).get("transform")
        if library is not None:
            _safe_set_output(model, transform=library)
        with explained_errors(model, "model") if is_mapping(X) else nullcontext():
            model.fit(X, y, **fit_params)
        self._adopt(model)
        return self

    def transform(self, X, Y=None):
        """Encode pairs, or the modalities of a mapping, by the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_image_features), \
container of pairs, or mapping of modalities
            Image features, or a container that the model takes.

        Y : {array-like, sparse matrix} of shape (n_samples, n_text_features), \
default=None
            Text features, if `X` is no container.

        Returns
        -------
        Z : tuple of arrays, or container like `X`
            Encoded modalities, as the model returns them; a tuple of two for `X` and
            `Y`.

        Raises
        ------
        NotFittedError
            If neither :meth:`fit` was called nor the model is fitted.
        """
        model = self._fitted_model()
        if Y is None:
            return model.transform(X)
        Z = model.transform({"image": X, "text": Y})
        return Z["image"], Z["text"]

    def fit_transform(self, X, Y=None, y=None, **fit_params):
        """Fit a copy of the model, then encode the training rows.

        Parameters
        ----------
        X, Y, y, **fit_params : object
            See :meth:`fit`.

        Returns
        -------
        Z : tuple of arrays, or container like `X`
            Encoded modalities; see :meth:`transform`.
        """
        self.fit(X, Y, y, **fit_params)
        X, Y, _ = split_arguments(X, Y, y)
        return self.transform(X, Y)

    def set_output(self, *, transform=None):
        """Set the output container of :meth:`transform`, also of the fitted model.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None
            ``"default"`` mirrors the container that was passed; None changes nothing.

        Returns
        -------
        self : object
            The estimator.
        """
        super().set_output(transform=transform)
        if hasattr(self, "model_"):
            _safe_set_output(self.model_, transform=transform)
        return self

    @available_if(lambda self: hasattr(self.model, "get_feature_names_out"))
    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns of the output, as the model does.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the features.

        Returns
        -------
        names : ndarray of str
            One for each column.
        """
        return self._fitted_model().get_feature_names_out(input_features)

    @available_if(lambda self: hasattr(self.model, "score"))
    def score(self, X, Y=None, y=None, **score_params) -> float:
        """Compute the score of the model: the mean average precision of its rankings.

        The rows query each other. The gallery has no part in it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_image_features), \
container of pairs, or mapping of modalities
            Image features, or a container that the model takes.

        Y : {array-like, sparse matrix} of shape (n_samples, n_text_features)
            Text features; the labels where `X` is a container.

        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape \
(n_samples, n_classes)
            Labels.

        **score_params : dict
            Further arguments of the model's `score`, such as `sample_weight`.

        Returns
        -------
        score : float
            For a projector or hasher the mean over all directions, between 0 and 1.

        Raises
        ------
        NotFittedError
            If neither :meth:`fit` was called nor the model is fitted.
        """
        X, y = _container_and_labels(X, Y, y)
        return self._fitted_model().score(X, y, **score_params)

    # -- the gallery -------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=False)
    def index(self, neighbors=None, *, ids=None, **modality) -> Self:
        """Encode items of one modality as the gallery, in place of an earlier one.

        Parameters
        ----------
        neighbors : CrossModalNeighbors, default=None
            A fitted gallery to search as it is, such as a loaded one, in place of
            features.

        ids : array-like of shape (n_items,), default=None
            Unique names of the items, which the searches return in place of row
            numbers.

        **modality : {array-like, sparse matrix, dataframe} of shape \
(n_items, n_features)
            Features of the items by the name of their modality, such as ``image=X``.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        NotFittedError
            If neither :meth:`fit` was called nor the model is fitted.

        TypeError
            If there is not one modality.

        ValueError
            If the features are not those that the model was fitted on, or if `ids` does
            not have one entry per row, or is not unique. The earlier gallery stays.
        """
        model = self._fitted_model()
        if neighbors is not None:
            is_gallery = isinstance(neighbors, CrossModalNeighbors)
            if modality or ids is not None or not is_gallery:
                raise TypeError(
                    "index takes a CrossModalNeighbors alone, or the features of one "
                    "modality by name, such as index(image=X, ids=names); got "
                    f"{type(neighbors).__name__} and {[*modality]}."
                )
            check_is_fitted(neighbors)
        else:
            metric = self.metric
            if metric == "model":
                metric = getattr(_encoder_of(model), "metric", "auto")
            neighbors = CrossModalNeighbors(
                n_neighbors=self.n_neighbors,
                metric=metric,
                algorithm=self.algorithm,
                algorithm_params=self.algorithm_params,
            )
            neighbors.fit(self._encode(modality), ids=ids)
        if not hasattr(self, "model_"):
            self._adopt(model)
        self.neighbors_ = neighbors
        return self

    def add(self, *, ids=None, **modality):
        """Encode items and append them to the gallery.

        Parameters
        ----------
        ids : array-like of shape (n_items,), default=None
            Unique names of the items, required if the items of the gallery have names.

        **modality : {array-like, sparse matrix, dataframe} of shape \
(n_items, n_features)
            Features of the items by the name of their modality.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        NotFittedError
            If :meth:`index` was not called.

        ValueError
            If the features are not those that the model was fitted on, or an id is in
            the gallery already.
        """
        self._gallery().add(self._encode(modality), ids=ids)
        return self

    def remove(self, ids):
        """Remove items from the gallery; see :meth:`CrossModalNeighbors.remove`.

        Parameters
        ----------
        ids : array-like of shape (n_removed,)
            Ids of the items, or their row numbers if they have none.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        NotFittedError
            If :meth:`index` was not called.

        ValueError
            If an id is not in the gallery or occurs twice, or if no item would be left.
        """
        self._gallery().remove(ids)
        return self

    def update(self, *, ids, **modality):
        """Encode items in place of those of the gallery with the same ids.

        Parameters
        ----------
        ids : array-like of shape (n_items,)
            Ids of the items to replace, or their row numbers if they have none.

        **modality : {array-like, sparse matrix, dataframe} of shape \
(n_items, n_features)
            Features of the items by the name of their modality.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        NotFittedError
            If :meth:`index` was not called.

        ValueError
            If the features are not those that the model was fitted on, or an id is not
            in the gallery.
        """
        self._gallery().update(self._encode(modality), ids=ids)
        return self

    # -- searching ---------------------------------------------------------------

    def query(self, *, n_neighbors=None, subset=None, as_frame=False, **modality):
        """Find the nearest items of each query.

        Parameters
        ----------
        n_neighbors : int, default=None
            Number of neighbors. None stands for that of the constructor.

        subset : array-like, default=None
            Items to search: a mask of the gallery, or their ids (row numbers if they
            have none). None stands for all items.

        as_frame : bool, default=False
            Whether to return a dataframe of pandas.

        **modality : {array-like, sparse matrix, dataframe} of shape \
(n_queries, n_features)
            Features of the queries by the name of their modality, such as ``text=X``.

        Returns
        -------
        ids : ndarray of shape (n_queries, n_neighbors)
            Ids of the items, or their rows in the gallery if they have none, by
            ascending distance.

        distances : ndarray of shape (n_queries, n_neighbors)
            Their distances.

        frame : DataFrame of n_queries * n_neighbors rows
            In place of both, if `as_frame` is true. The columns are ``query`` (row
            number, or index in a dataframe or series of pandas), ``rank`` from 1 on,
            ``id`` and ``distance``.

        Raises
        ------
        NotFittedError
            If :meth:`index` was not called.

        TypeError
            If there is not one modality.

        ValueError
            If the features are not those that the model was fitted on, if `subset` does
            not fit the gallery, or if there are fewer items than `n_neighbors`.

        ImportError
            If pandas is needed and not installed.
        """
        check_scalar(as_frame, "as_frame", bool)
        distances, ids = self.kneighbors(modality, n_neighbors, subset=subset)
        if not as_frame:
            return ids, distances
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "as_frame=True needs pandas: pip install pandas. as_frame=False "
                "returns arrays."
            ) from error
        n_queries, k = ids.shape
        (X,) = modality.values()
        names = X.index if hasattr(X, "iloc") else np.arange(n_queries)
        return pd.DataFrame(
            {
                "query": names.repeat(k),
                "rank": np.tile(np.arange(1, k + 1), n_queries),
                "id": ids.ravel(),
                "distance": distances.ravel(),
            }
        )

    def kneighbors(
        self, X=None, n_neighbors=None, return_distance=True, *, subset=None
    ):
        """Find the nearest items of each query, with the interface of scikit-learn.

        Parameters
        ----------
        X : mapping with one key, default=None
            Features of the queries by the name of their modality. None stands for the
            items of the gallery, which are not counted as their own neighbors.

        n_neighbors : int, default=None
            Number of neighbors. None stands for that of the constructor.

        return_distance : bool, default=True
            Whether to return the distances.

        subset : array-like, default=None
            Items to search, see :meth:`query`.

        Returns
        -------
        neigh_dist : ndarray of shape (n_queries, n_neighbors)
            Distances in ascending order. Only if `return_distance` is true.

        neigh_ind : ndarray of shape (n_queries, n_neighbors)
            Ids of the items, or their rows in the gallery if they have none.

        Raises
        ------
        NotFittedError
            If :meth:`index` was not called.

        TypeError
            If `X` is no mapping of one modality.

        ValueError
            See :meth:`query`.
        """
        neighbors = self._gallery()
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        check_scalar(k, "n_neighbors", Integral, min_val=1)
        Z = None if X is None else self._encode(X)
        return neighbors.kneighbors(Z, k, return_distance, subset=subset)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "model_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        of_model = copy.deepcopy(get_tags(self.model))
        tags.input_tags = of_model.input_tags
        tags.target_tags = of_model.target_tags
        if of_model.transformer_tags is not None:
            tags.transformer_tags = of_model.transformer_tags
        return tags

    # -- inside ------------------------------------------------------------------

    def _validate_params(self):
        super()._validate_params()
        refuse_boolean_numbers(self)

    def _adopt(self, model):
        """Take a fitted model, and forget what belongs to an earlier one."""
        self.model_ = model
        self.neighbors_ = None
        for name in _OF_THE_MODEL:
            self.__dict__.pop(name, None)
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))

    def _fitted_model(self):
        if hasattr(self, "model_"):
            return self.model_
        try:
            check_is_fitted(self.model)
        except NotFittedError as error:
            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet, nor is its "
                "model. Call 'fit' first, or pass a fitted model."
            ) from error
        return self.model

    def _gallery(self):
        self._fitted_model()
        if getattr(self, "neighbors_", None) is None:
            raise NotFittedError(
                f"This {type(self).__name__} instance has no gallery yet. Call 'index' "
                "first, such as index(image=X, ids=names)."
            )
        return self.neighbors_

    def _encode(self, given):
        """Return the encodings of a mapping of one modality."""
        if not is_mapping(given) or len(given) != 1:
            found = list(given) if is_mapping(given) else type(given).__name__
            raise TypeError(
                "Expected the features of one modality by its name, such as image=X, "
                f"or {{'image': X}} in kneighbors; got {found}."
            )
        ((modality, X),) = given.items()
        check_unpaired(given)
        X = X.tocsr() if sparse.issparse(X) else X
        if not isinstance(X, (list, tuple)):  # as strings they take less memory
            X = to_array(X, f"{modality} features")
            if shape_of(X) is None:
                raise TypeError(
                    f"The {modality} features must be an array, a list, a sparse "
                    f"matrix or a dataframe, got {type(X).__name__}."
                )
        model = self._fitted_model()
        # A batch without rows, too: the model says what is wrong with it.
        with explained_errors(model, "model"):
            parts = [
                np.asarray(model.transform({modality: _take(X, rows)})[modality])
                for rows in gen_batches(max(1, _num_samples(X)), self.chunk_size)
            ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _container_and_labels(X, Y, y):
    """Return two arguments, which every model takes, also a pipeline."""
    X, Y, y = split_arguments(X, Y, y)
    return (X, y) if Y is None else ({"image": X, "text": Y}, y)


def _encoder_of(model):
    """Return the estimator that encodes: the last step of a pipeline or of a search."""
    while True:
        if hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        elif hasattr(model, "steps"):
            model = model.steps[-1][1]
        else:
            return model


def _take(X, rows):
    """Return some rows of a container of one modality."""
    has_names = hasattr(X, "iloc") or hasattr(X, "columns")
    return _safe_indexing(X, rows) if has_names else X[rows]
