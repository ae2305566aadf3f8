"""Mean average precision, whole and at the number of relevant items."""

# SPDX-License-Identifier: BSD-3-Clause

from functools import partial

from sklearn.utils._param_validation import validate_params

from sklearn_cmr.metrics._evaluation import (
    CUTOFFS,
    MAP_CONSTRAINTS,
    QUERY_CONSTRAINTS,
    score_queries,
)
from sklearn_cmr.metrics._measures import (
    average_precision,
    average_precision_at_r,
    precision_at_r,
)


@validate_params(
    {
        **QUERY_CONSTRAINTS,
        "k": [*CUTOFFS, None],
        "normalizer": MAP_CONSTRAINTS["normalizer"],
    },
    prefer_skip_nested_validation=True,
)
def mean_average_precision(
    query,
    gallery=None,
    y_query=None,
    y_gallery=None,
    *,
    k=None,
    normalizer="retrieved",
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
    r"""Compute the mean average precision (mAP) of the retrieval by queries.

    Every query ranks all gallery items by increasing distance. With :math:`r(j) = 1` if
    the item at rank :math:`j` is relevant and 0 otherwise, and the precision
    :math:`P(j) = \frac{1}{j} \sum_{m \le j} r(m)`, the average precision is

    .. math::

        AP@k = \frac{1}{Z} \sum_{j=1}^{k} P(j) \, r(j),

    and the result is its mean over the queries. For cross-modal retrieval, `query` is
    one modality and `gallery` the other. The partner of a query stays in the gallery.

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

    normalizer : {"retrieved", "min", "all"}, default="retrieved"
        Divisor :math:`Z`. It matters only if `k` is smaller than the gallery:

        - "retrieved": the number of relevant items within the first `k`, as usual for
          real-valued embeddings. A single relevant item at rank 1 scores 1.
        - "min": the minimum of `k` and the number of relevant items.
        - "all": the number of relevant items, as in the evaluations of TREC.

        A query without a relevant item in its first `k` scores 0 with each divisor.

    metric : str, default="auto"
        Distance used for the ranking: "auto", "cosine", "euclidean", "hamming",
        "inner_product" or "precomputed". The Hamming distance takes codes of -1 and +1
        of any dtype, or packed bits (uint8, as from :func:`numpy.packbits`). "auto" is
        the Hamming distance for int8 and uint8, and the cosine similarity for other
        dtypes. The cosine similarity with a zero vector is 0. Items with a larger inner
        product are nearer. With "precomputed", `query` holds distances; pass
        similarities with the opposite sign.

    relevance : {"label", "pair"} or matrix, default="label"
        What makes an item relevant:

        - "label": a class or a label in common.
        - "pair": the pair, whose items stand in the same row of `query` and `gallery`.
          If there are several items to a query, such as five captions of each image,
          `y_query` and `y_gallery` number the groups that belong together.
        - a matrix of shape (n_queries, n_items), dense or sparse, in place of labels: a
          value above 0. There are at most 256 distinct values.

    exclude_self : bool or array-like of int of shape (n_queries,), default=False
        Whether the queries stand in the gallery, and each is left out of its own list:
        query i is item i if True. If only some of the items are queries, as in a
        gallery of several modalities, the position of every query in the gallery.
        Left in its list, each query finds itself first: random embeddings of 200 items
        of 10 classes then score 0.187 in place of 0.126.

    ties : str, default="auto"
        How items at the same distance are ordered:

        - "expected": the mean over all orders, exact, without any sampling [1]_ [2]_.
        - "stable": in the order of the gallery.
        - "optimistic", "pessimistic": relevant items first, or last. For the whole
          list and for the normalizers "min" and "all" this is the highest and the
          lowest value of all orders.
        - "random": in the order of the gallery, shuffled once.
        - "auto": "expected" for the Hamming distance and "stable" for the others.

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
        The mean average precision, an array if `k` is one. If `per_query` is True, the
        average precision of every query, an array with one row per query, where skipped
        queries are nan.

    Raises
    ------
    ValueError
        If an input is empty or holds nan, if the two sets differ in width or do not
        fit their labels, if the labels of the two sets are not of one kind, if what
        tells the relevance is missing or given twice, if the Hamming distance is
        requested for values that are not codes, or if `k` is not a positive integer.

    Warns
    -----
    UndefinedMetricWarning
        If there are queries without a relevant item, or if every item is relevant to
        every query, so that any ranking scores 1.

    See Also
    --------
    make_map_scorer : Makes a scorer of it, for searches and cross-validation.
    cross_modal_report : Computes all metrics in all directions.
    map_at_r : The average precision at the number of relevant items.
    sklearn.metrics.average_precision_score : Merges tied items into one threshold. This
        is neither the mean over their orders nor a bound of it.

    Notes
    -----
    Published values follow different rules. Tables of hashing methods usually rank
    the whole gallery, with tied items in an arbitrary order. ``mAP@50`` of real-valued
    methods mostly means `k=50, normalizer="retrieved"`.

    Let :math:`n_d` items be tied at the distance :math:`d`, :math:`r_d` of them
    relevant, and let :math:`N_d` and :math:`C_d` be the numbers of nearer items and of
    nearer relevant items. With harmonic numbers :math:`H`, the expected sum of the
    precisions within this tie group is

    .. math::

        \frac{r_d}{n_d} \left[ n_d \rho_d
        + (C_d + 1 - \rho_d (N_d + 1)) (H_{N_d + n_d} - H_{N_d}) \right],
        \quad \rho_d = \frac{r_d - 1}{n_d - 1}.

    Integer distances are therefore counted and need no sorting.

    Cosine similarities and Euclidean distances of float64 (and wide integer) input
    are compared in float64, all others in float32.

    References
    ----------
    .. [1] F. McSherry and M. Najork, "Computing information retrieval performance
       measures efficiently in the presence of tied scores", ECIR 2008.
    .. [2] K. He, F. Cakir, S. A. Bargal and S. Sclaroff, "Hashing as tie-aware
       learning to rank", CVPR 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr.metrics import mean_average_precision
    >>> image = np.array([[1, 1, 1], [1, 1, -1]], dtype=np.int8)
    >>> text = np.array([[1, 1, 1], [1, 1, -1], [-1, 1, 1]], dtype=np.int8)
    >>> mean_average_precision(image, text, [0, 1], [0, 1, 0])
    0.958...
    >>> mean_average_precision(image, text, [0, 1], [0, 1, 0], ties="pessimistic")
    0.916...
    """
    return score_queries(
        partial(average_precision, normalizer=normalizer),
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


@validate_params(QUERY_CONSTRAINTS, prefer_skip_nested_validation=True)
def map_at_r(
    query,
    gallery=None,
    y_query=None,
    y_gallery=None,
    *,
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
    r"""Compute the mean average precision at R (MAP@R).

    Every list ends after as many items as are relevant to the query, :math:`R`:

    .. math::

        MAP@R = \frac{1}{R} \sum_{j=1}^{R} P(j) \, r(j),

    with the precision :math:`P(j)` of the first :math:`j` items, and :math:`r(j) = 1`
    if the item at rank :math:`j` is relevant, averaged over the queries [1]_.

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
    r_precision : The precision of the same list.
    mean_average_precision : The same for lists of a given length.

    References
    ----------
    .. [1] K. Musgrave, S. Belongie and S.-N. Lim, "A metric learning reality check",
       ECCV 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr.metrics import map_at_r
    >>> image = np.array([[1, 1, 1], [1, 1, -1]], dtype=np.int8)
    >>> text = np.array([[1, 1, 1], [1, 1, -1], [-1, 1, 1]], dtype=np.int8)
    >>> map_at_r(image, text, [0, 1], [0, 1, 0])
    0.875
    """
    return score_queries(
        average_precision_at_r,
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


@validate_params(QUERY_CONSTRAINTS, prefer_skip_nested_validation=True)
def r_precision(
    query,
    gallery=None,
    y_query=None,
    y_gallery=None,
    *,
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
    r"""Compute the R-precision: the precision at the number of relevant items.

    .. math::

        RP = \frac{1}{R} \sum_{j=1}^{R} r(j),

    with the number :math:`R` of items that are relevant to the query, and
    :math:`r(j) = 1` if the item at rank :math:`j` is relevant, averaged over the
    queries [1]_. At this rank, precision and recall are the same.

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
    map_at_r : Heeds the order within the same list.
    precision_at_k : The precision of lists of a given length.

    References
    ----------
    .. [1] C. D. Manning, P. Raghavan and H. Schütze, "Introduction to information
       retrieval", Cambridge University Press, 2008, section 8.4.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr.metrics import r_precision
    >>> image = np.array([[1, 1, 1], [1, 1, -1]], dtype=np.int8)
    >>> text = np.array([[1, 1, 1], [1, 1, -1], [-1, 1, 1]], dtype=np.int8)
    >>> r_precision(image, text, [0, 1], [0, 1, 0])
    0.875
    """
    return score_queries(
        precision_at_r,
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
