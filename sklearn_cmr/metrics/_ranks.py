"""Where the first relevant item stands."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from sklearn.utils._param_validation import StrOptions, validate_params

from sklearn_cmr.metrics._cutoffs import hit_rate_at_k
from sklearn_cmr.metrics._directions import list_directions
from sklearn_cmr.metrics._embeddings import read_embeddings, read_gallery
from sklearn_cmr.metrics._evaluation import (
    CUTOFFS,
    MAP_CONSTRAINTS,
    QUERY_CONSTRAINTS,
    score_queries,
)
from sklearn_cmr.metrics._measures import first_rank, mean_reciprocal_rank


@validate_params(
    {
        **QUERY_CONSTRAINTS,
        "zero_relevant": [StrOptions({"skip", "nan"})],
    },
    prefer_skip_nested_validation=True,
)
def median_rank(
    query,
    gallery=None,
    y_query=None,
    y_gallery=None,
    *,
    metric="auto",
    relevance="label",
    exclude_self=False,
    ties="auto",
    zero_relevant="nan",
    per_query=False,
    chunk_size=None,
    sample_weight=None,
    random_state=None,
):
    r"""Compute the median rank of the first relevant item.

    The rank of the nearest relevant item, 1 if it comes first, is a number for each
    query, and the result is its median over the queries. Lower is better.

    Parameters
    ----------
    query : array-like of shape (n_queries, embedding_dim)
        Embeddings or codes of the queries. With `metric="precomputed"`, their distances
        from all items, of shape (n_queries, n_items).

    gallery : array-like of shape (n_items, embedding_dim), default=None
        Embeddings or codes of the items to retrieve, None with precomputed distances.

    y_query : {array-like, sparse matrix} of shape (n_queries,) or \
            (n_queries, n_labels), default=None
        Classes of any type, or a label indicator of 0 and 1. An item is relevant if it
        has the same class, or at least one label in common.

    y_gallery : {array-like, sparse matrix} of shape (n_items,) or \
            (n_items, n_labels), default=None
        Classes or label indicator of the gallery, in the same form.

    metric : {"auto", "cosine", "euclidean", "hamming", "inner_product", \
            "precomputed"}, default="auto"
        Distance used for the ranking, see :func:`mean_average_precision`.

    relevance : {"label", "pair"}, or {array-like, sparse matrix} of shape \
            (n_queries, n_items), default="label"
        What makes an item relevant: a class or a label in common, the pair, or a value
        above 0 in a matrix, see :func:`mean_average_precision`.

    exclude_self : bool or array-like of int of shape (n_queries,), default=False
        Whether each query is left out of its own list, or the positions of the queries
        in the gallery, see :func:`mean_average_precision`.

    ties : {"auto", "expected", "stable", "optimistic", "pessimistic", "random"}, \
            default="auto"
        How items at the same distance are ordered, see
        :func:`mean_average_precision`. With "expected", the rank of a query is the mean
        over all orders: of :math:`n` tied items with :math:`h` relevant ones, the first
        relevant one has the place :math:`(n + 1) / (h + 1)`.

    zero_relevant : {"skip", "nan"}, default="nan"
        Value of a query without any relevant item in the gallery, which has no rank:
        left out of the median, or nan.

    per_query : bool, default=False
        Whether to return the value of every query.

    chunk_size : int, default=None
        Number of queries processed at once, which bounds the memory. None chooses it
        from the size of the gallery. The result does not depend on it.

    sample_weight : array-like of shape (n_queries,), default=None
        Weights of the queries in the median.

    random_state : int, RandomState instance or None, default=None
        Determines the order of tied items if `ties="random"`.

    Returns
    -------
    score : float or ndarray of shape (n_queries,)
        Median over the queries, or the value of every query if `per_query` is True.
        Skipped queries are nan there.

    Raises
    ------
    ValueError
        See :func:`mean_average_precision`.

    Warns
    -----
    UndefinedMetricWarning
        See :func:`mean_average_precision`.

    See Also
    --------
    mean_rank : The mean over the queries.
    hit_rate_at_k : The share of the queries whose rank is at most `k`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr.metrics import median_rank
    >>> image = np.array([[1, 1, 1], [1, 1, -1]], dtype=np.int8)
    >>> text = np.array([[1, 1, 1], [1, 1, -1], [-1, 1, 1]], dtype=np.int8)
    >>> median_rank(image, text[:2], [0, 1], [1, 0])
    2.0
    """
    return score_queries(
        first_rank,
        query,
        gallery,
        y_query,
        y_gallery,
        average="median",
        metric=metric,
        relevance=relevance,
        exclude_self=exclude_self,
        ties=ties,
        zero_relevant=zero_relevant,
        per_query=per_query,
        chunk_size=chunk_size,
        sample_weight=sample_weight,
        random_state=random_state,
    )


@validate_params(
    {
        **QUERY_CONSTRAINTS,
        "zero_relevant": [StrOptions({"skip", "nan"})],
    },
    prefer_skip_nested_validation=True,
)
def mean_rank(
    query,
    gallery=None,
    y_query=None,
    y_gallery=None,
    *,
    metric="auto",
    relevance="label",
    exclude_self=False,
    ties="auto",
    zero_relevant="nan",
    per_query=False,
    chunk_size=None,
    sample_weight=None,
    random_state=None,
):
    r"""Compute the mean rank of the first relevant item.

    The rank of the nearest relevant item, 1 if it comes first, is a number for each
    query, and the result is its mean over the queries. Lower is better.

    Parameters
    ----------
    query : array-like of shape (n_queries, embedding_dim)
        Embeddings or codes of the queries. With `metric="precomputed"`, their distances
        from all items, of shape (n_queries, n_items).

    gallery : array-like of shape (n_items, embedding_dim), default=None
        Embeddings or codes of the items to retrieve, None with precomputed distances.

    y_query : {array-like, sparse matrix} of shape (n_queries,) or \
            (n_queries, n_labels), default=None
        Classes of any type, or a label indicator of 0 and 1. An item is relevant if it
        has the same class, or at least one label in common.

    y_gallery : {array-like, sparse matrix} of shape (n_items,) or \
            (n_items, n_labels), default=None
        Classes or label indicator of the gallery, in the same form.

    metric : {"auto", "cosine", "euclidean", "hamming", "inner_product", \
            "precomputed"}, default="auto"
        Distance used for the ranking, see :func:`mean_average_precision`.

    relevance : {"label", "pair"}, or {array-like, sparse matrix} of shape \
            (n_queries, n_items), default="label"
        What makes an item relevant: a class or a label in common, the pair, or a value
        above 0 in a matrix, see :func:`mean_average_precision`.

    exclude_self : bool or array-like of int of shape (n_queries,), default=False
        Whether each query is left out of its own list, or the positions of the queries
        in the gallery, see :func:`mean_average_precision`.

    ties : {"auto", "expected", "stable", "optimistic", "pessimistic", "random"}, \
            default="auto"
        How items at the same distance are ordered, see
        :func:`mean_average_precision`. With "expected", the rank of a query is the mean
        over all orders: of :math:`n` tied items with :math:`h` relevant ones, the first
        relevant one has the place :math:`(n + 1) / (h + 1)`.

    zero_relevant : {"skip", "nan"}, default="nan"
        Value of a query without any relevant item in the gallery, which has no rank:
        left out of the mean, or nan.

    per_query : bool, default=False
        Whether to return the value of every query.

    chunk_size : int, default=None
        Number of queries processed at once, which bounds the memory. None chooses it
        from the size of the gallery. The result does not depend on it.

    sample_weight : array-like of shape (n_queries,), default=None
        Weights of the queries in the mean.

    random_state : int, RandomState instance or None, default=None
        Determines the order of tied items if `ties="random"`.

    Returns
    -------
    score : float or ndarray of shape (n_queries,)
        Mean over the queries, or the value of every query if `per_query` is True.
        Skipped queries are nan there.

    Raises
    ------
    ValueError
        See :func:`mean_average_precision`.

    Warns
    -----
    UndefinedMetricWarning
        See :func:`mean_average_precision`.

    See Also
    --------
    median_rank : The median over the queries, which single bad ranks do not move.
    reciprocal_rank : The mean of the reciprocals.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr.metrics import mean_rank
    >>> image = np.array([[1, 1, 1], [1, 1, -1]], dtype=np.int8)
    >>> text = np.array([[1, 1, 1], [1, 1, -1], [-1, 1, 1]], dtype=np.int8)
    >>> mean_rank(image, text[:2], [0, 1], [1, 0])
    2.0
    """
    return score_queries(
        first_rank,
        query,
        gallery,
        y_query,
        y_gallery,
        metric=metric,
        relevance=relevance,
        exclude_self=exclude_self,
        ties=ties,
        zero_relevant=zero_relevant,
        per_query=per_query,
        chunk_size=chunk_size,
        sample_weight=sample_weight,
        random_state=random_state,
    )


@validate_params(
    {
        **QUERY_CONSTRAINTS,
        "k": [*CUTOFFS, None],
    },
    prefer_skip_nested_validation=True,
)
def reciprocal_rank(
    query,
    gallery=None,
    y_query=None,
    y_gallery=None,
    *,
    k=None,
    metric="auto",
    relevance="label",
    exclude_self=False,
    ties="auto",
    zero_relevant="zero",
    per_query=False,
    chunk_size=None,
    sample_weight=None,
    random_state=None,
):
    r"""Compute the mean reciprocal rank (MRR) of the first relevant item.

    .. math::

        RR = \frac{1}{\min \{j : r(j) = 1\}},

    with :math:`r(j) = 1` if the item at rank :math:`j` is relevant and 0 otherwise,
    averaged over the queries [1]_. With `k`, it is 0 if no relevant item is among the
    first `k`.

    Parameters
    ----------
    query : array-like of shape (n_queries, embedding_dim)
        Embeddings or codes of the queries. With `metric="precomputed"`, their distances
        from all items, of shape (n_queries, n_items).

    gallery : array-like of shape (n_items, embedding_dim), default=None
        Embeddings or codes of the items to retrieve, None with precomputed distances.

    y_query : {array-like, sparse matrix} of shape (n_queries,) or \
            (n_queries, n_labels), default=None
        Classes of any type, or a label indicator of 0 and 1. An item is relevant if it
        has the same class, or at least one label in common.

    y_gallery : {array-like, sparse matrix} of shape (n_items,) or \
            (n_items, n_labels), default=None
        Classes or label indicator of the gallery, in the same form.

    k : int or array-like of int of shape (n_cutoffs,), default=None
        Number of retrieved items, or several such numbers. None stands for the whole
        gallery. A `k` beyond the gallery counts as the size of the gallery.

    metric : {"auto", "cosine", "euclidean", "hamming", "inner_product", \
            "precomputed"}, default="auto"
        Distance used for the ranking, see :func:`mean_average_precision`.

    relevance : {"label", "pair"}, or {array-like, sparse matrix} of shape \
            (n_queries, n_items), default="label"
        What makes an item relevant: a class or a label in common, the pair, or a value
        above 0 in a matrix, see :func:`mean_average_precision`.

    exclude_self : bool or array-like of int of shape (n_queries,), default=False
        Whether each query is left out of its own list, or the positions of the queries
        in the gallery, see :func:`mean_average_precision`.

    ties : {"auto", "expected", "stable", "optimistic", "pessimistic", "random"}, \
            default="auto"
        How items at the same distance are ordered, see
        :func:`mean_average_precision`. "optimistic" and "pessimistic" are the highest
        and the lowest value of all orders.

    zero_relevant : {"zero", "skip", "nan"}, default="zero"
        Value of a query without any relevant item in the gallery: 0, left out of the
        mean, or nan.

    per_query : bool, default=False
        Whether to return the value of every query.

    chunk_size : int, default=None
        Number of queries processed at once, which bounds the memory. None chooses it
        from the size of the gallery. The result does not depend on it.

    sample_weight : array-like of shape (n_queries,), default=None
        Weights of the queries in the mean.

    random_state : int, RandomState instance or None, default=None
        Determines the order of tied items if `ties="random"`.

    Returns
    -------
    score : float or ndarray of shape (n_cutoffs,)
        Mean over the queries, an array if `k` is one. If `per_query` is True, an array
        with one row per query, where skipped queries are nan.

    Raises
    ------
    ValueError
        As :func:`mean_average_precision`, and if `k` is not a positive integer.

    Warns
    -----
    UndefinedMetricWarning
        See :func:`mean_average_precision`.

    See Also
    --------
    hit_rate_at_k : The share of the queries with any relevant item among the first `k`.
    mean_rank, median_rank : Averages of the rank itself.

    References
    ----------
    .. [1] E. M. Voorhees, "The TREC-8 question answering track report", TREC 1999.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr.metrics import reciprocal_rank
    >>> image = np.array([[1, 1, 1], [1, 1, -1]], dtype=np.int8)
    >>> text = np.array([[1, 1, 1], [1, 1, -1], [-1, 1, 1]], dtype=np.int8)
    >>> reciprocal_rank(image, text[:2], [0, 1], [1, 0])
    0.5
    """
    return score_queries(
        mean_reciprocal_rank,
        query,
        gallery,
        y_query,
        y_gallery,
        k=k,
        metric=metric,
        relevance=relevance,
        exclude_self=exclude_self,
        ties=ties,
        zero_relevant=zero_relevant,
        per_query=per_query,
        chunk_size=chunk_size,
        sample_weight=sample_weight,
        random_state=random_state,
    )


@validate_params(
    {
        "k": CUTOFFS,
        "metric": MAP_CONSTRAINTS["metric"],
        "relevance": [StrOptions({"label", "pair"})],
        **{
            name: QUERY_CONSTRAINTS[name]
            for name in (
                "ties",
                "zero_relevant",
                "chunk_size",
                "sample_weight",
                "random_state",
            )
        },
    },
    prefer_skip_nested_validation=True,
)
def rsum(
    X,
    Y=None,
    y=None,
    *,
    gallery=None,
    y_gallery=None,
    k=(1, 5, 10),
    metric="auto",
    relevance="pair",
    ties="auto",
    zero_relevant="zero",
    chunk_size=None,
    sample_weight=None,
    random_state=None,
):
    r"""Compute the sum of the hit rates at several k in all directions, in percent.

    With the default `k` and two modalities, this is the "rSum" of papers on image-text
    retrieval, at most 600:

    .. math::

        100 \sum_{k \in \{1, 5, 10\}} (H_{i \to t}@k + H_{t \to i}@k).

    Parameters
    ----------
    X : array-like of shape (n_samples, embedding_dim), or container of embeddings
        Image embeddings or codes; or those of any number of modalities, see
        :func:`cross_modal_report`.

    Y : array-like of shape (n_samples, embedding_dim), default=None
        Text embeddings or codes; the numbers of the pairs where `X` is a container.

    y : {array-like, sparse matrix}, or mapping of them, default=None
        Numbers or names of the pairs, with one array for each modality where they have
        different numbers of items. None pairs the rows one by one.

    gallery : container of embeddings, default=None
        Embeddings or codes of the items to retrieve, with the same modalities as the
        queries. None retrieves from `X` and `Y` themselves.

    y_gallery : {array-like, sparse matrix}, or mapping of them, default=None
        Numbers or names of the pairs in the gallery.

    k : int or array-like of int of shape (n_cutoffs,), default=(1, 5, 10)
        Numbers of retrieved items.

    metric : {"auto", "cosine", "euclidean", "hamming", "inner_product"}, \
            default="auto"
        Distance used for the ranking, see :func:`mean_average_precision`.

    relevance : {"label", "pair"}, default="pair"
        What makes an item relevant, see :func:`mean_average_precision`.

    ties : {"auto", "expected", "stable", "optimistic", "pessimistic", "random"}, \
            default="auto"
        How items at the same distance are ordered, see
        :func:`mean_average_precision`.

    zero_relevant : {"zero", "skip", "nan"}, default="zero"
        Value of a query without any relevant item in the gallery: 0, left out of the
        mean, or nan.

    chunk_size : int, default=None
        Number of queries processed at once, which bounds the memory.

    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the queries, where all modalities share their labels.

    random_state : int, RandomState instance or None, default=None
        Determines the order of tied items if `ties="random"`.

    Returns
    -------
    score : float
        The sum, at most 100 for each `k` and each direction.

    Raises
    ------
    ValueError
        See :func:`cross_modal_report`.

    Warns
    -----
    UndefinedMetricWarning
        See :func:`mean_average_precision`.

    See Also
    --------
    hit_rate_at_k : The terms of the sum.

    Examples
    --------
    Two captions of each image:

    >>> import numpy as np
    >>> from sklearn_cmr.metrics import rsum
    >>> image = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> text = np.array([[1.0, 0.1], [0.1, 1.0], [0.3, 1.0], [0.2, 1.0]])
    >>> rsum(image, text, {"image": [0, 1], "text": [0, 0, 1, 1]}, k=[1, 2])
    325.0
    """
    queries = read_embeddings(
        X, Y, y, needs_labels=relevance == "label", sample_weight=sample_weight
    )
    embeddings, labels = queries
    found, y_found = read_gallery(gallery, y_gallery, queries)
    rates = [
        hit_rate_at_k(
            embeddings[query],
            found[target],
            labels[query],
            y_found[target],
            k=k,
            metric=metric,
            relevance=relevance,
            ties=ties,
            zero_relevant=zero_relevant,
            chunk_size=chunk_size,
            sample_weight=sample_weight,
            random_state=random_state,
        )
        for query, target in list_directions(embeddings, found)
    ]
    return float(100 * np.sum(rates))
