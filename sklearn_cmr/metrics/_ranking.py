"""Ranking metrics for cross-modal retrieval."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings
from functools import partial
from numbers import Integral

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils._param_validation import Interval, StrOptions, validate_params
from sklearn.utils.validation import _check_sample_weight

from sklearn_cmr._warnings import stacklevel_of_caller
from sklearn_cmr.metrics._measures import (
    average_precision,
    normalized_gain,
    precision,
    recall,
)
from sklearn_cmr.metrics._retrieval import Retrieval

_TIES = {"auto", "expected", "stable", "optimistic", "pessimistic", "random"}

# Constraints of the parameters that all forms of the mean average precision share.
_OPTIONS: dict[str, list] = {
    "metric": [StrOptions({"auto", "cosine", "euclidean", "hamming"})],
    "k": [Interval(Integral, 1, None, closed="left"), None],
    "normalizer": [StrOptions({"retrieved", "min", "all"})],
    "ties": [StrOptions(_TIES)],
    "zero_relevant": [StrOptions({"zero", "skip", "nan"})],
    "chunk_size": [Interval(Integral, 1, None, closed="left"), None],
    "random_state": ["random_state"],
}


def _measure(retrieval, measure, *, k, chunk_size):
    """Apply a measure to every query; return it and the numbers of relevant items."""
    chunks = [
        (measure(levels), levels.n_relevant)
        for levels in retrieval.chunks(k=k, chunk_size=chunk_size)
    ]
    values, n_relevant = map(np.concatenate, zip(*chunks, strict=True))
    return values, n_relevant


def _check_cutoffs(k, n_gallery):
    """Return one or several cut-offs as an array, none beyond the gallery."""
    if k is None:
        return np.array([n_gallery])
    cutoffs = np.atleast_1d(np.asarray(k))
    is_valid = cutoffs.ndim == 1 and cutoffs.dtype.kind in "iu" and cutoffs.size > 0
    if not is_valid or cutoffs.min() < 1:
        raise ValueError(f"k must be a positive integer or several of them, got {k!r}.")
    return np.minimum(cutoffs, n_gallery)


def _warn_degenerate(n_relevant, n_gallery, zero_relevant, score="1"):
    n_zero = np.count_nonzero(n_relevant == 0)
    if n_zero:
        effect = {
            "zero": "They count as 0",
            "skip": "They are left out of the mean",
            "nan": "Their value is nan, and so is the mean",
        }
        warnings.warn(
            f"{n_zero} of {len(n_relevant)} queries have no relevant item in the "
            f"gallery. {effect[zero_relevant]} (zero_relevant={zero_relevant!r}).",
            UndefinedMetricWarning,
            stacklevel=stacklevel_of_caller(),
        )
    if score is not None and np.all(n_relevant == n_gallery):
        warnings.warn(
            "Every gallery item is relevant to every query, so that any ranking scores "
            f"{score}. If this is a fold of a cross-validation, use a splitter that "
            "shuffles or stratifies.",
            UndefinedMetricWarning,
            stacklevel=stacklevel_of_caller(),
        )


def _average_queries(values, n_relevant, *, zero_relevant, per_query, sample_weight):
    """Apply `zero_relevant` and average over queries unless `per_query`."""
    if sample_weight is not None:
        sample_weight = _check_sample_weight(
            sample_weight, values, dtype=np.float64, ensure_non_negative=True
        )
    if zero_relevant != "zero":
        values[n_relevant == 0] = np.nan
    if per_query:
        return values
    if zero_relevant == "skip":
        kept = n_relevant > 0
        values = values[kept]
        sample_weight = None if sample_weight is None else sample_weight[kept]
    if len(values) == 0 or (sample_weight is not None and not sample_weight.any()):
        return np.nan if values.ndim == 1 else np.full(values.shape[1], np.nan)
    mean = np.average(values, axis=0, weights=sample_weight)
    return float(mean) if values.ndim == 1 else mean


# Constraints of the parameters of a metric that every metric has.
_SETS: dict[str, list] = {
    "query": ["array-like"],
    "gallery": ["array-like"],
    "y_query": ["array-like", "sparse matrix"],
    "y_gallery": ["array-like", "sparse matrix"],
    "per_query": ["boolean"],
    "sample_weight": ["array-like", None],
}


@validate_params(
    {**_SETS, **_OPTIONS},
    prefer_skip_nested_validation=True,
)
def mean_average_precision(
    query,
    gallery,
    y_query,
    y_gallery,
    *,
    metric="auto",
    k=None,
    normalizer="retrieved",
    ties="auto",
    zero_relevant="zero",
    per_query=False,
    chunk_size=None,
    sample_weight=None,
    random_state=None,
):
    r"""Mean average precision of retrieving a gallery by queries.

    Every query ranks all gallery items, the nearest first. With :math:`r(j) = 1` if
    the item at rank :math:`j` is relevant and 0 otherwise, and the precision
    :math:`P(j) = \frac{1}{j} \sum_{m \le j} r(m)`, the average precision is

    .. math::

        AP@k = \frac{1}{Z} \sum_{j=1}^{k} P(j) \, r(j),

    and the result is its mean over the queries. For cross-modal retrieval, `query` is
    one modality and `gallery` the other; the partner of a query stays in the gallery.

    Parameters
    ----------
    query : array-like of shape (n_queries, n_components)
        Embeddings or codes of the queries.

    gallery : array-like of shape (n_items, n_components)
        Embeddings or codes of the items to retrieve.

    y_query : {array-like, sparse matrix} of shape (n_queries,) or \
            (n_queries, n_labels)
        Classes of any type, or a label indicator of 0 and 1. An item is relevant if it
        has the same class, or at least one label in common.

    y_gallery : {array-like, sparse matrix} of shape (n_items,) or (n_items, n_labels)
        Classes or label indicator of the gallery, in the same form.

    metric : {"auto", "cosine", "euclidean", "hamming"}, default="auto"
        What "near" means. The Hamming distance takes codes of -1 and +1 of any dtype,
        or packed bits (uint8, as from :func:`numpy.packbits`). "auto" is the Hamming
        distance for int8 and uint8, the cosine similarity for other numbers. The
        cosine similarity with a zero vector is 0.

    k : int, default=None
        Length of the ranked list, None for the whole gallery.

    normalizer : {"retrieved", "min", "all"}, default="retrieved"
        The divisor :math:`Z`; it only matters with a `k` below the gallery size:

        - "retrieved": the number of relevant items within the first `k`, the usual
          one for real-valued embeddings. A single hit at rank 1 scores 1.
        - "min": the smaller one of `k` and the number of relevant items.
        - "all": the number of relevant items, as in the evaluations of TREC.

        A query without a relevant item in its first `k` scores 0 under each of them.

    ties : {"auto", "expected", "stable", "optimistic", "pessimistic", "random"}, \
            default="auto"
        How items at the same distance are ordered:

        - "expected": the mean over all orders, exact, without any sampling [1]_ [2]_.
        - "stable": in the order of the gallery.
        - "optimistic", "pessimistic": relevant items first, or last. For the whole
          list and for the normalizers "min" and "all" this is the highest and the
          lowest value of all orders.
        - "random": in the order of the gallery after shuffling it once.

        "auto" is "expected" for the Hamming distance and "stable" for the others.

    zero_relevant : {"zero", "skip", "nan"}, default="zero"
        Value of a query without any relevant item in the gallery: 0, left out of the
        mean, or nan.

    per_query : bool, default=False
        Whether to return the average precision of every query.

    chunk_size : int, default=None
        Number of queries handled at once, which bounds the memory. None chooses it by
        the size of the gallery. The result does not depend on it.

    sample_weight : array-like of shape (n_queries,), default=None
        Weights of the queries in the mean.

    random_state : int, RandomState instance or None, default=None
        Determines the order of tied items if `ties="random"`.

    Returns
    -------
    score : float or ndarray of shape (n_queries,)
        The mean average precision, or the average precision of every query if
        `per_query` is True; there, skipped queries are nan.

    Raises
    ------
    ValueError
        If an input is empty or holds nan, if the two sets differ in their width or do
        not fit their labels, if the labels of the two sets are not of one kind, if
        the Hamming distance is asked for values that are not codes.

    Warns
    -----
    UndefinedMetricWarning
        If there are queries without a relevant item, with their number, or if every
        item is relevant to every query, which makes the score 1 for any ranking.

    See Also
    --------
    make_map_scorer : The same as `scoring` of a search or a cross-validation.
    cross_modal_report : All metrics in all directions.
    sklearn.metrics.average_precision_score : Merges tied items into one threshold,
        which is neither the mean over their orders nor a bound of it.

    Notes
    -----
    Published values follow different rules. Tables of hashing methods usually rank
    the whole gallery with tied items in an arbitrary order; "mAP@50" of real-valued
    methods mostly means `k=50, normalizer="retrieved"`.

    Let level :math:`d` hold :math:`n_d` tied items, :math:`r_d` of them relevant, and
    let :math:`N_d` and :math:`C_d` be the items and the relevant items before it. The
    expected sum of precisions within the level is, with harmonic numbers :math:`H`,

    .. math::

        \frac{r_d}{n_d} \left[ n_d \rho_d
        + (C_d + 1 - \rho_d (N_d + 1)) (H_{N_d + n_d} - H_{N_d}) \right],
        \quad \rho_d = \frac{r_d - 1}{n_d - 1}.

    Integer distances are therefore counted and never sorted.

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
    retrieval = Retrieval(
        query,
        gallery,
        y_query,
        y_gallery,
        metric=metric,
        ties=ties,
        random_state=random_state,
    )
    if k is None or k >= retrieval.n_gallery:
        # The whole list: every normalizer is the number of relevant items.
        k, normalizer = retrieval.n_gallery, "all"
    values, n_relevant = _measure(
        retrieval,
        partial(average_precision, k=k, normalizer=normalizer),
        k=k,
        chunk_size=chunk_size,
    )
    _warn_degenerate(n_relevant, retrieval.n_gallery, zero_relevant)
    return _average_queries(
        values,
        n_relevant,
        zero_relevant=zero_relevant,
        per_query=per_query,
        sample_weight=sample_weight,
    )


# Constraints of the metrics at one or several cut-offs.
_CUTOFF_OPTIONS = {
    **_SETS,
    **{name: _OPTIONS[name] for name in _OPTIONS if name != "normalizer"},
    "k": [Interval(Integral, 1, None, closed="left"), "array-like"],
}


@validate_params(_CUTOFF_OPTIONS, prefer_skip_nested_validation=True)
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
    r"""Precision at k: the share of relevant items among the first `k`.

    .. math::

        P@k = \frac{1}{k} \sum_{j=1}^{k} r(j),

    with :math:`r(j) = 1` if the item at rank :math:`j` is relevant and 0 otherwise,
    averaged over the queries.

    Parameters
    ----------
    query : array-like of shape (n_queries, n_components)
        Embeddings or codes of the queries.

    gallery : array-like of shape (n_items, n_components)
        Embeddings or codes of the items to retrieve.

    y_query : {array-like, sparse matrix} of shape (n_queries,) or \
            (n_queries, n_labels)
        Classes of any type, or a label indicator of 0 and 1. An item is relevant if it
        has the same class, or at least one label in common.

    y_gallery : {array-like, sparse matrix} of shape (n_items,) or (n_items, n_labels)
        Classes or label indicator of the gallery, in the same form.

    k : int or array-like of int of shape (n_cutoffs,)
        Number of retrieved items, 1 or more; several numbers are evaluated at once. A
        `k` beyond the gallery counts as the size of the gallery.

    metric : {"auto", "cosine", "euclidean", "hamming"}, default="auto"
        What "near" means, see :func:`mean_average_precision`.

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
        Number of queries handled at once, which bounds the memory. None chooses it by
        the size of the gallery. The result does not depend on it.

    sample_weight : array-like of shape (n_queries,), default=None
        Weights of the queries in the mean.

    random_state : int, RandomState instance or None, default=None
        Determines the order of tied items if `ties="random"`.

    Returns
    -------
    score : float or ndarray of shape (n_cutoffs,)
        The mean over the queries; an array if `k` is one. If `per_query` is True, an
        ndarray with one row for each query, where skipped queries are nan.

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
    recall_at_k : The share of the relevant items that are found.
    precision_recall_curve : Precision and recall at every rank.
    TopKPrecisionDisplay : A plot of the precision at every rank.

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
    cutoffs = _check_cutoffs(k, retrieval.n_gallery)
    values, n_relevant = _measure(
        retrieval,
        partial(precision, k=cutoffs),
        k=cutoffs.max(),
        chunk_size=chunk_size,
    )
    _warn_degenerate(n_relevant, retrieval.n_gallery, zero_relevant)
    return _average_queries(
        values if np.ndim(k) else values[:, 0],
        n_relevant,
        zero_relevant=zero_relevant,
        per_query=per_query,
        sample_weight=sample_weight,
    )


@validate_params(_CUTOFF_OPTIONS, prefer_skip_nested_validation=True)
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
    r"""Recall at k: the share of the relevant items that are among the first `k`.

    .. math::

        R@k = \frac{1}{R} \sum_{j=1}^{k} r(j),

    with the number :math:`R` of relevant items in the whole gallery, averaged over the
    queries.

    Parameters
    ----------
    query : array-like of shape (n_queries, n_components)
        Embeddings or codes of the queries.

    gallery : array-like of shape (n_items, n_components)
        Embeddings or codes of the items to retrieve.

    y_query : {array-like, sparse matrix} of shape (n_queries,) or \
            (n_queries, n_labels)
        Classes of any type, or a label indicator of 0 and 1. An item is relevant if it
        has the same class, or at least one label in common.

    y_gallery : {array-like, sparse matrix} of shape (n_items,) or (n_items, n_labels)
        Classes or label indicator of the gallery, in the same form.

    k : int or array-like of int of shape (n_cutoffs,)
        Number of retrieved items, 1 or more; several numbers are evaluated at once. A
        `k` beyond the gallery counts as the size of the gallery.

    metric : {"auto", "cosine", "euclidean", "hamming"}, default="auto"
        What "near" means, see :func:`mean_average_precision`.

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
        Number of queries handled at once, which bounds the memory. None chooses it by
        the size of the gallery. The result does not depend on it.

    sample_weight : array-like of shape (n_queries,), default=None
        Weights of the queries in the mean.

    random_state : int, RandomState instance or None, default=None
        Determines the order of tied items if `ties="random"`.

    Returns
    -------
    score : float or ndarray of shape (n_cutoffs,)
        The mean over the queries; an array if `k` is one. If `per_query` is True, an
        ndarray with one row for each query, where skipped queries are nan.

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
    cutoffs = _check_cutoffs(k, retrieval.n_gallery)
    values, n_relevant = _measure(
        retrieval,
        partial(recall, k=cutoffs),
        k=cutoffs.max(),
        chunk_size=chunk_size,
    )
    _warn_degenerate(n_relevant, retrieval.n_gallery, zero_relevant, "the same")
    return _average_queries(
        values if np.ndim(k) else values[:, 0],
        n_relevant,
        zero_relevant=zero_relevant,
        per_query=per_query,
        sample_weight=sample_weight,
    )


@validate_params(
    {
        **_CUTOFF_OPTIONS,
        "k": [*_CUTOFF_OPTIONS["k"], None],
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
    r"""Score graded relevance: normalized discounted cumulative gain at k.

    Here relevance has grades: :math:`g(j)` is the number of labels that the item at
    rank :math:`j` shares with the query; with one class each it is 1 or 0. A gain
    counts the less, the later it comes,

    .. math::

        DCG@k = \sum_{j=1}^{k} \frac{g(j)}{\log_2(j + 1)},

    and is divided by the highest value that any ranking of the gallery reaches. The
    result is the mean over the queries.

    Parameters
    ----------
    query : array-like of shape (n_queries, n_components)
        Embeddings or codes of the queries.

    gallery : array-like of shape (n_items, n_components)
        Embeddings or codes of the items to retrieve.

    y_query : {array-like, sparse matrix} of shape (n_queries,) or \
            (n_queries, n_labels)
        Classes of any type, or a label indicator of 0 and 1.

    y_gallery : {array-like, sparse matrix} of shape (n_items,) or (n_items, n_labels)
        Classes or label indicator of the gallery, in the same form.

    metric : {"auto", "cosine", "euclidean", "hamming"}, default="auto"
        What "near" means, see :func:`mean_average_precision`.

    k : int or array-like of int of shape (n_cutoffs,), default=None
        Number of retrieved items, None for the whole gallery; several numbers are
        evaluated at once. A `k` beyond the gallery counts as the size of the gallery.

    gain : {"linear", "exponential"}, default="linear"
        What sharing :math:`g` labels is worth: :math:`g`, or :math:`2^g - 1`, which
        many papers on hashing use. They differ for label indicators only.

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
        Number of queries handled at once, which bounds the memory. None chooses it by
        the size of the gallery. The result does not depend on it.

    sample_weight : array-like of shape (n_queries,), default=None
        Weights of the queries in the mean.

    random_state : int, RandomState instance or None, default=None
        Determines the order of tied items if `ties="random"`.

    Returns
    -------
    score : float or ndarray of shape (n_cutoffs,)
        The mean over the queries; an array if `k` is one. If `per_query` is True, an
        ndarray with one row for each query, where skipped queries are nan.

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
    mean_average_precision : Does not tell grades of relevance apart.
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
    cutoffs = _check_cutoffs(k, retrieval.n_gallery)
    values, n_relevant = _measure(
        retrieval,
        partial(normalized_gain, k=cutoffs, gains=retrieval.gains),
        k=cutoffs.max(),
        chunk_size=chunk_size,
    )
    graded = retrieval.n_grades > 2
    _warn_degenerate(
        n_relevant, retrieval.n_gallery, zero_relevant, None if graded else "1"
    )
    return _average_queries(
        values if np.ndim(k) else values[:, 0],
        n_relevant,
        zero_relevant=zero_relevant,
        per_query=per_query,
        sample_weight=sample_weight,
    )
