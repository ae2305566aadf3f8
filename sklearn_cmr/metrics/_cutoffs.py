"""Precision, recall, hit rate and NDCG at k."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn.utils._param_validation import StrOptions, validate_params

from sklearn_cmr.metrics._evaluation import CUTOFFS, QUERY_CONSTRAINTS, score_queries
from sklearn_cmr.metrics._measures import hit_rate, normalized_gain, precision, recall


@validate_params(
    {
        **QUERY_CONSTRAINTS,
        "k": CUTOFFS,
    },
    prefer_skip_nested_validation=True,
)
def precision_at_k(
    query,
    gallery=None,
    y_query=None,
    y_gallery=None,
    *,
    k,
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
    r"""Compute the precision at k: the share of relevant items among the first `k`.

    .. math::

        P@k = \frac{1}{k} \sum_{j=1}^{k} r(j),

    with :math:`r(j) = 1` if the item at rank :math:`j` is relevant and 0 otherwise,
    averaged over the queries.

    Parameters
    ----------
    query : array-like of shape (n_queries, embedding_dim)
        Embeddings or codes of the queries. With `metric="precomputed"`, their distances
        from all items, of shape (n_queries, n_items).

    gallery : array-like of shape (n_items, embedding_dim), default=None
        Embeddings or codes of the items to retrieve, None with precomputed distances.

    y_query : array-like of shape (n_queries,) or (n_queries, n_labels), default=None
        Classes of any type, or a dense or sparse label indicator of 0 and 1. An item is
        relevant if it has the same class, or at least one label in common.

    y_gallery : array-like of shape (n_items,) or (n_items, n_labels), default=None
        Classes or label indicator of the gallery, in the same form.

    k : int or array-like of int of shape (n_cutoffs,)
        Number of retrieved items, at least 1, or several such numbers. A `k` beyond
        the gallery counts as the size of the gallery.

    metric : str, default="auto"
        Distance used for the ranking: "auto", "cosine", "euclidean", "hamming",
        "inner_product" or "precomputed", see :func:`mean_average_precision`.

    relevance : {"label", "pair"} or matrix, default="label"
        What makes an item relevant: a class or a label in common, the pair, or a value
        above 0 in a matrix of shape (n_queries, n_items), dense or sparse, see
        :func:`mean_average_precision`.

    exclude_self : bool or array-like of int of shape (n_queries,), default=False
        Whether each query is left out of its own list, or the positions of the queries
        in the gallery, see :func:`mean_average_precision`.

    ties : str, default="auto"
        How items at the same distance are ordered: "auto", "expected", "stable",
        "optimistic", "pessimistic" or "random", see :func:`mean_average_precision`.
        "optimistic" and "pessimistic" are the highest and the lowest value of all
        orders.

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
    recall_at_k : The share of the relevant items that are retrieved.
    r_precision : The precision at the number of relevant items.
    precision_recall_curve : Precision and recall at every rank.
    TopKPrecisionDisplay : Plots the precision at every rank.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr.metrics import precision_at_k
    >>> image = np.array([[1, 1, 1], [1, 1, -1]], dtype=np.int8)
    >>> text = np.array([[1, 1, 1], [1, 1, -1], [-1, 1, 1]], dtype=np.int8)
    >>> precision_at_k(image, text, [0, 1], [0, 1, 0], k=1)
    1.0
    >>> precision_at_k(image, text, [0, 1], [0, 1, 0], k=[1, 2])
    array([1.   , 0.625])
    """
    return score_queries(
        precision,
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
        **QUERY_CONSTRAINTS,
        "k": CUTOFFS,
    },
    prefer_skip_nested_validation=True,
)
def recall_at_k(
    query,
    gallery=None,
    y_query=None,
    y_gallery=None,
    *,
    k,
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
    r"""Compute the recall at k: the share of the relevant items in the first `k`.

    .. math::

        R@k = \frac{1}{R} \sum_{j=1}^{k} r(j),

    with the number :math:`R` of relevant items in the whole gallery, averaged over the
    queries.

    Parameters
    ----------
    query : array-like of shape (n_queries, embedding_dim)
        Embeddings or codes of the queries. With `metric="precomputed"`, their distances
        from all items, of shape (n_queries, n_items).

    gallery : array-like of shape (n_items, embedding_dim), default=None
        Embeddings or codes of the items to retrieve, None with precomputed distances.

    y_query : array-like of shape (n_queries,) or (n_queries, n_labels), default=None
        Classes of any type, or a dense or sparse label indicator of 0 and 1. An item is
        relevant if it has the same class, or at least one label in common.

    y_gallery : array-like of shape (n_items,) or (n_items, n_labels), default=None
        Classes or label indicator of the gallery, in the same form.

    k : int or array-like of int of shape (n_cutoffs,)
        Number of retrieved items, at least 1, or several such numbers. A `k` beyond
        the gallery counts as the size of the gallery.

    metric : str, default="auto"
        Distance used for the ranking: "auto", "cosine", "euclidean", "hamming",
        "inner_product" or "precomputed", see :func:`mean_average_precision`.

    relevance : {"label", "pair"} or matrix, default="label"
        What makes an item relevant: a class or a label in common, the pair, or a value
        above 0 in a matrix of shape (n_queries, n_items), dense or sparse, see
        :func:`mean_average_precision`.

    exclude_self : bool or array-like of int of shape (n_queries,), default=False
        Whether each query is left out of its own list, or the positions of the queries
        in the gallery, see :func:`mean_average_precision`.

    ties : str, default="auto"
        How items at the same distance are ordered: "auto", "expected", "stable",
        "optimistic", "pessimistic" or "random", see :func:`mean_average_precision`.
        "optimistic" and "pessimistic" are the highest and the lowest value of all
        orders.

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
    hit_rate_at_k : What is called recall in image-text retrieval.
    precision_at_k : The share of the retrieved items that are relevant.
    precision_recall_curve : Precision and recall at every rank.

    Notes
    -----
    "R@k" of image-text retrieval is another metric, the share of the queries with any
    relevant item among the first `k`: use :func:`hit_rate_at_k`. With one relevant item
    to a query, both are the same. With five captions of each image, they differ by a
    factor of five: a published "R@1" of 0.50 is a recall of captions at 1 of 0.10. At
    greater `k` the factor is smaller.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr.metrics import recall_at_k
    >>> image = np.array([[1, 1, 1], [1, 1, -1]], dtype=np.int8)
    >>> text = np.array([[1, 1, 1], [1, 1, -1], [-1, 1, 1]], dtype=np.int8)
    >>> recall_at_k(image, text, [0, 1], [0, 1, 0], k=1)
    0.75
    >>> recall_at_k(image, text, [0, 1], [0, 1, 0], k=[1, 2])
    array([0.75 , 0.875])
    """
    return score_queries(
        recall,
        query,
        gallery,
        y_query,
        y_gallery,
        k=k,
        any_ranking="the same",
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
        "k": CUTOFFS,
    },
    prefer_skip_nested_validation=True,
)
def hit_rate_at_k(
    query,
    gallery=None,
    y_query=None,
    y_gallery=None,
    *,
    k,
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
    r"""Compute the hit rate at k: the share of queries that find any relevant item.

    .. math::

        H@k = \max_{j \le k} r(j),

    with :math:`r(j) = 1` if the item at rank :math:`j` is relevant and 0 otherwise,
    averaged over the queries. Papers on image-text retrieval call it recall at k
    (``R@1``, ``R@5``, ``R@10``).

    Parameters
    ----------
    query : array-like of shape (n_queries, embedding_dim)
        Embeddings or codes of the queries. With `metric="precomputed"`, their distances
        from all items, of shape (n_queries, n_items).

    gallery : array-like of shape (n_items, embedding_dim), default=None
        Embeddings or codes of the items to retrieve, None with precomputed distances.

    y_query : array-like of shape (n_queries,) or (n_queries, n_labels), default=None
        Classes of any type, or a dense or sparse label indicator of 0 and 1. An item is
        relevant if it has the same class, or at least one label in common.

    y_gallery : array-like of shape (n_items,) or (n_items, n_labels), default=None
        Classes or label indicator of the gallery, in the same form.

    k : int or array-like of int of shape (n_cutoffs,)
        Number of retrieved items, at least 1, or several such numbers. A `k` beyond
        the gallery counts as the size of the gallery.

    metric : str, default="auto"
        Distance used for the ranking: "auto", "cosine", "euclidean", "hamming",
        "inner_product" or "precomputed", see :func:`mean_average_precision`.

    relevance : {"label", "pair"} or matrix, default="label"
        What makes an item relevant: a class or a label in common, the pair, or a value
        above 0 in a matrix of shape (n_queries, n_items), dense or sparse, see
        :func:`mean_average_precision`.

    exclude_self : bool or array-like of int of shape (n_queries,), default=False
        Whether each query is left out of its own list, or the positions of the queries
        in the gallery, see :func:`mean_average_precision`.

    ties : str, default="auto"
        How items at the same distance are ordered: "auto", "expected", "stable",
        "optimistic", "pessimistic" or "random", see :func:`mean_average_precision`.
        "optimistic" and "pessimistic" are the highest and the lowest value of all
        orders. "expected" is the probability of a hit.

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
    recall_at_k : The share of the relevant items that are retrieved.
    rsum : The sum of the hit rates at 1, 5 and 10 in both directions.
    TopKHitRateDisplay : Plots the hit rate at every rank.
    median_rank, mean_rank, reciprocal_rank : Where the first relevant item stands.

    Examples
    --------
    Two captions of each image, of which the second one of the first image is misplaced:

    >>> import numpy as np
    >>> from sklearn_cmr.metrics import hit_rate_at_k, recall_at_k
    >>> image = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> text = np.array([[1.0, 0.1], [0.1, 1.0], [0.3, 1.0], [0.2, 1.0]])
    >>> pairs = {"y_query": [0, 1], "y_gallery": [0, 0, 1, 1], "relevance": "pair"}
    >>> hit_rate_at_k(image, text, k=[1, 2], **pairs)
    array([0.5, 1. ])
    >>> recall_at_k(image, text, k=[1, 2], **pairs)
    array([0.25, 0.5 ])
    """
    return score_queries(
        hit_rate,
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
        **QUERY_CONSTRAINTS,
        "k": [*CUTOFFS, None],
        "gain": [StrOptions({"linear", "exponential"})],
    },
    prefer_skip_nested_validation=True,
)
def ndcg_at_k(
    query,
    gallery=None,
    y_query=None,
    y_gallery=None,
    *,
    k=None,
    gain="linear",
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
    r"""Compute the normalized discounted cumulative gain (NDCG) at k.

    Relevance is graded: :math:`g(j)` is the number of labels that the item at rank
    :math:`j` shares with the query, 1 or 0 with one class per item; or its value in a
    matrix `relevance`. The gains are
    discounted by rank,

    .. math::

        DCG@k = \sum_{j=1}^{k} \frac{g(j)}{\log_2(j + 1)},

    and the sum is divided by the highest value of all rankings of the gallery. The
    result is the mean over the queries.

    Parameters
    ----------
    query : array-like of shape (n_queries, embedding_dim)
        Embeddings or codes of the queries. With `metric="precomputed"`, their distances
        from all items, of shape (n_queries, n_items).

    gallery : array-like of shape (n_items, embedding_dim), default=None
        Embeddings or codes of the items to retrieve, None with precomputed distances.

    y_query : array-like of shape (n_queries,) or (n_queries, n_labels), default=None
        Classes of any type, or a dense or sparse label indicator of 0 and 1. An item is
        relevant if it has the same class, or at least one label in common.

    y_gallery : array-like of shape (n_items,) or (n_items, n_labels), default=None
        Classes or label indicator of the gallery, in the same form.

    k : int or array-like of int of shape (n_cutoffs,), default=None
        Number of retrieved items, or several such numbers. None stands for the whole
        gallery. A `k` beyond the gallery counts as the size of the gallery.

    gain : {"linear", "exponential"}, default="linear"
        Gain of an item that shares :math:`g` labels with the query: :math:`g`, or
        :math:`2^g - 1` as in many papers on hashing. They differ for graded
        relevance only.

    metric : str, default="auto"
        Distance used for the ranking: "auto", "cosine", "euclidean", "hamming",
        "inner_product" or "precomputed", see :func:`mean_average_precision`.

    relevance : {"label", "pair"} or matrix, default="label"
        What makes an item relevant: a class or a label in common, the pair, or a value
        above 0 in a matrix of shape (n_queries, n_items), dense or sparse, see
        :func:`mean_average_precision`.

    exclude_self : bool or array-like of int of shape (n_queries,), default=False
        Whether each query is left out of its own list, or the positions of the queries
        in the gallery, see :func:`mean_average_precision`.

    ties : str, default="auto"
        How items at the same distance are ordered: "auto", "expected", "stable",
        "optimistic", "pessimistic" or "random", see :func:`mean_average_precision`.
        "optimistic" and "pessimistic" put the items with higher gains first, or last.

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
    mean_average_precision : A metric of binary relevance.
    sklearn.metrics.ndcg_score : The same for given scores, with `ties="expected"`.

    References
    ----------
    .. [1] K. Järvelin and J. Kekäläinen, "Cumulated gain-based evaluation of IR
       techniques", ACM Transactions on Information Systems 20(4), 2002.
    .. [2] F. McSherry and M. Najork, "Computing information retrieval performance
       measures efficiently in the presence of tied scores", ECIR 2008.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr.metrics import ndcg_at_k
    >>> image = np.array([[1.0, 0.0]])
    >>> text = np.array([[1.0, 0.1], [1.0, 0.2], [0.0, 1.0]])
    >>> ndcg_at_k(image, text, [[1, 1]], [[0, 1], [1, 1], [0, 0]])
    0.859...
    >>> ndcg_at_k(image, text, relevance=[[1, 2, 0]])
    0.859...
    """
    return score_queries(
        normalized_gain,
        query,
        gallery,
        y_query,
        y_gallery,
        k=k,
        gain=gain,
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
