"""Precision, recall and NDCG at k."""

# SPDX-License-Identifier: BSD-3-Clause

from functools import partial

import numpy as np
from sklearn.utils._param_validation import StrOptions, validate_params

from sklearn_cmr.metrics._evaluation import (
    CUTOFF_CONSTRAINTS,
    average_queries,
    check_cutoffs,
    evaluate_queries,
    warn_degenerate,
)
from sklearn_cmr.metrics._measures import normalized_gain, precision, recall
from sklearn_cmr.metrics._retrieval import Retrieval


@validate_params(CUTOFF_CONSTRAINTS, prefer_skip_nested_validation=True)
def precision_at_k(
    query,
    gallery,
    y_query,
    y_gallery,
    *,
    k,
    metric="auto",
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
        Embeddings or codes of the queries.

    gallery : array-like of shape (n_items, embedding_dim)
        Embeddings or codes of the items to retrieve.

    y_query : {array-like, sparse matrix} of shape (n_queries,) or \
            (n_queries, n_labels)
        Classes of any type, or a label indicator of 0 and 1. An item is relevant if it
        has the same class, or at least one label in common.

    y_gallery : {array-like, sparse matrix} of shape (n_items,) or (n_items, n_labels)
        Classes or label indicator of the gallery, in the same form.

    k : int or array-like of int of shape (n_cutoffs,)
        Number of retrieved items, at least 1, or several such numbers. A `k` beyond
        the gallery counts as the size of the gallery.

    metric : {"auto", "cosine", "euclidean", "hamming"}, default="auto"
        Distance used for the ranking, see :func:`mean_average_precision`.

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
    recall_at_k : The share of the relevant items that are retrieved.
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
    retrieval = Retrieval(
        query,
        gallery,
        y_query,
        y_gallery,
        metric=metric,
        ties=ties,
        random_state=random_state,
    )
    cutoffs = check_cutoffs(k, retrieval.n_gallery)
    values, n_relevant = evaluate_queries(
        retrieval,
        partial(precision, k=cutoffs),
        k=cutoffs.max(),
        chunk_size=chunk_size,
    )
    warn_degenerate(n_relevant, retrieval.n_gallery, zero_relevant)
    return average_queries(
        values if np.ndim(k) else values[:, 0],
        n_relevant,
        zero_relevant=zero_relevant,
        per_query=per_query,
        sample_weight=sample_weight,
    )


@validate_params(CUTOFF_CONSTRAINTS, prefer_skip_nested_validation=True)
def recall_at_k(
    query,
    gallery,
    y_query,
    y_gallery,
    *,
    k,
    metric="auto",
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
        Embeddings or codes of the queries.

    gallery : array-like of shape (n_items, embedding_dim)
        Embeddings or codes of the items to retrieve.

    y_query : {array-like, sparse matrix} of shape (n_queries,) or \
            (n_queries, n_labels)
        Classes of any type, or a label indicator of 0 and 1. An item is relevant if it
        has the same class, or at least one label in common.

    y_gallery : {array-like, sparse matrix} of shape (n_items,) or (n_items, n_labels)
        Classes or label indicator of the gallery, in the same form.

    k : int or array-like of int of shape (n_cutoffs,)
        Number of retrieved items, at least 1, or several such numbers. A `k` beyond
        the gallery counts as the size of the gallery.

    metric : {"auto", "cosine", "euclidean", "hamming"}, default="auto"
        Distance used for the ranking, see :func:`mean_average_precision`.

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
    precision_at_k : The share of the retrieved items that are relevant.
    precision_recall_curve : Precision and recall at every rank.

    Notes
    -----
    In image-text retrieval without classes, "R@k" is the share of the queries whose
    own partner is among the first `k`. Number the pairs to get it:
    ``recall_at_k(image, text, np.arange(n), np.arange(n), k=10)``.

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
    retrieval = Retrieval(
        query,
        gallery,
        y_query,
        y_gallery,
        metric=metric,
        ties=ties,
        random_state=random_state,
    )
    cutoffs = check_cutoffs(k, retrieval.n_gallery)
    values, n_relevant = evaluate_queries(
        retrieval,
        partial(recall, k=cutoffs),
        k=cutoffs.max(),
        chunk_size=chunk_size,
    )
    warn_degenerate(n_relevant, retrieval.n_gallery, zero_relevant, "the same")
    return average_queries(
        values if np.ndim(k) else values[:, 0],
        n_relevant,
        zero_relevant=zero_relevant,
        per_query=per_query,
        sample_weight=sample_weight,
    )


@validate_params(
    {
        **CUTOFF_CONSTRAINTS,
        "k": [*CUTOFF_CONSTRAINTS["k"], None],
        "gain": [StrOptions({"linear", "exponential"})],
    },
    prefer_skip_nested_validation=True,
)
def ndcg_at_k(
    query,
    gallery,
    y_query,
    y_gallery,
    *,
    metric="auto",
    k=None,
    gain="linear",
    ties="auto",
    zero_relevant="zero",
    per_query=False,
    chunk_size=None,
    sample_weight=None,
    random_state=None,
):
    r"""Compute the normalized discounted cumulative gain (NDCG) at k.

    Relevance is graded: :math:`g(j)` is the number of labels that the item at rank
    :math:`j` shares with the query, 1 or 0 with one class per item. The gains are
    discounted by rank,

    .. math::

        DCG@k = \sum_{j=1}^{k} \frac{g(j)}{\log_2(j + 1)},

    and the sum is divided by the highest value of all rankings of the gallery. The
    result is the mean over the queries.

    Parameters
    ----------
    query : array-like of shape (n_queries, embedding_dim)
        Embeddings or codes of the queries.

    gallery : array-like of shape (n_items, embedding_dim)
        Embeddings or codes of the items to retrieve.

    y_query : {array-like, sparse matrix} of shape (n_queries,) or \
            (n_queries, n_labels)
        Classes of any type, or a label indicator of 0 and 1.

    y_gallery : {array-like, sparse matrix} of shape (n_items,) or (n_items, n_labels)
        Classes or label indicator of the gallery, in the same form.

    metric : {"auto", "cosine", "euclidean", "hamming"}, default="auto"
        Distance used for the ranking, see :func:`mean_average_precision`.

    k : int or array-like of int of shape (n_cutoffs,), default=None
        Number of retrieved items, or several such numbers. None stands for the whole
        gallery. A `k` beyond the gallery counts as the size of the gallery.

    gain : {"linear", "exponential"}, default="linear"
        Gain of an item that shares :math:`g` labels with the query: :math:`g`, or
        :math:`2^g - 1` as in many papers on hashing. They differ for label indicators
        only.

    ties : {"auto", "expected", "stable", "optimistic", "pessimistic", "random"}, \
            default="auto"
        How items at the same distance are ordered, see
        :func:`mean_average_precision`. "optimistic" and "pessimistic" put the items
        with more labels in common first, or last.

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
    """
    retrieval = Retrieval(
        query,
        gallery,
        y_query,
        y_gallery,
        metric=metric,
        ties=ties,
        random_state=random_state,
        gain=gain,
    )
    cutoffs = check_cutoffs(k, retrieval.n_gallery)
    values, n_relevant = evaluate_queries(
        retrieval,
        partial(normalized_gain, k=cutoffs, gains=retrieval.gains),
        k=cutoffs.max(),
        chunk_size=chunk_size,
    )
    graded = retrieval.n_grades > 2
    warn_degenerate(
        n_relevant, retrieval.n_gallery, zero_relevant, None if graded else "1"
    )
    return average_queries(
        values if np.ndim(k) else values[:, 0],
        n_relevant,
        zero_relevant=zero_relevant,
        per_query=per_query,
        sample_weight=sample_weight,
    )
