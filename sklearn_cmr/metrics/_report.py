"""One table of all metrics in all directions."""

# SPDX-License-Identifier: BSD-3-Clause

from functools import partial
from numbers import Integral

import numpy as np
from sklearn.utils._param_validation import Interval, validate_params

from sklearn_cmr.metrics._directions import list_directions
from sklearn_cmr.metrics._embeddings import read_embeddings, read_gallery
from sklearn_cmr.metrics._evaluation import (
    CUTOFFS,
    MAP_CONSTRAINTS,
    QUERY_CONSTRAINTS,
    average_queries,
    check_cutoffs,
    evaluate_queries,
    warn_degenerate,
)
from sklearn_cmr.metrics._measures import (
    average_precision,
    normalized_gain,
    precision,
    recall,
)
from sklearn_cmr.metrics._retrieval import Retrieval


def _measure_all(groups, *, cutoffs, normalizer):
    """Return all values of every query in one array, in the order of the columns."""
    return np.column_stack(
        [
            average_precision(groups, [groups.n_items, *cutoffs], normalizer),
            precision(groups, cutoffs),
            recall(groups, cutoffs),
            normalized_gain(groups, cutoffs),
        ]
    )


def _format(report, digits):
    """Write the report as a table."""
    *scores, queries, missing = columns = list(report["mean"])
    widths = [max(len(column), digits + 2) for column in columns]
    name_width = max(map(len, report))
    lines = ["  ".join([" " * name_width, *map(str.rjust, columns, widths)]), ""]
    for name, row in report.items():
        cells = [f"{row[column]:.{digits}f}" for column in scores]
        cells += [str(row[queries]), str(row[missing])]
        line = "  ".join([name.rjust(name_width), *map(str.rjust, cells, widths)])
        lines += ["", line] if name == "mean" else [line]
    return "\n".join(lines) + "\n"


@validate_params(
    {
        **MAP_CONSTRAINTS,
        "k": CUTOFFS,
        "sample_weight": QUERY_CONSTRAINTS["sample_weight"],
        "digits": [Interval(Integral, 0, None, closed="left")],
        "output_dict": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def cross_modal_report(
    X,
    Y=None,
    y=None,
    *,
    gallery=None,
    y_gallery=None,
    metric="auto",
    k=50,
    normalizer="retrieved",
    ties="auto",
    zero_relevant="zero",
    chunk_size=None,
    sample_weight=None,
    random_state=None,
    digits=3,
    output_dict=False,
):
    """Build a report of the main retrieval metrics for all directions.

    The items of every modality serve as queries for the items of every other modality.
    The last row is the mean over the directions.

    Parameters
    ----------
    X : array-like of shape (n_samples, embedding_dim), or container of embeddings
        Image embeddings or codes; or those of any number of modalities: a mapping
        from names to arrays, a tuple of image and text, or a dataframe with the columns
        ``image__*`` and ``text__*``, as returned by `transform`.

    Y : array-like of shape (n_samples, embedding_dim)
        Text embeddings or codes; the labels where `X` is a container.

    y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_labels), or \
            mapping of them
        Classes or label indicator of the items. If the modalities do not come in
        pairs, a mapping from each of them to its labels.

    gallery : container of embeddings, default=None
        Embeddings or codes of the items to retrieve, with the same modalities as the
        queries. None retrieves from `X` and `Y` themselves.

    y_gallery : {array-like, sparse matrix}, or mapping of them, default=None
        Labels of the gallery.

    metric : {"auto", "cosine", "euclidean", "hamming", "inner_product"}, \
            default="auto"
        Distance used for the ranking, see :func:`mean_average_precision`.

    k : int or array-like of int of shape (n_cutoffs,), default=50
        Length of the ranked lists, 1 or more. A `k` beyond the gallery counts as the
        size of the gallery.

    normalizer : {"retrieved", "min", "all"}, default="retrieved"
        Divisor of the average precision at `k`, see :func:`mean_average_precision`.

    ties : {"auto", "expected", "stable", "optimistic", "pessimistic", "random"}, \
            default="auto"
        How items at the same distance are ordered, see
        :func:`mean_average_precision`.

    zero_relevant : {"zero", "skip", "nan"}, default="zero"
        Value of a query without any relevant item in the gallery: 0, left out of the
        mean, or nan. The report has a column with their number.

    chunk_size : int, default=None
        Number of queries processed at once, which bounds the memory.

    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the queries, where all modalities share their labels.

    random_state : int, RandomState instance or None, default=None
        Determines the order of tied items if `ties="random"`.

    digits : int, default=3
        Number of digits in the table. The dictionary is not rounded.

    output_dict : bool, default=False
        Whether to return a dictionary.

    Returns
    -------
    report : str or dict
        A table, or a dictionary of the same structure::

            {"image -> text": {"mAP": 0.41, "mAP@50": 0.45, "P@50": 0.36,
                               "R@50": 0.27, "NDCG@50": 0.38,
                               "queries": 693, "no relevant": 0},
             "text -> image": {...},
             "mean": {...}}

        "mAP" is that of the whole ranking. "no relevant" is the number of queries
        without any relevant item in the gallery. The last row holds the sums of the
        numbers of queries.

    Raises
    ------
    ValueError
        As :func:`mean_average_precision`; if labels are missing, if there is only
        one modality, or if the modalities of gallery and queries differ.

    TypeError
        If a container comes with two more arguments.

    Warns
    -----
    UndefinedMetricWarning
        See :func:`mean_average_precision`.

    See Also
    --------
    mean_average_precision, precision_at_k, recall_at_k, ndcg_at_k : The metrics.
    sklearn.metrics.classification_report : A report of this form for classifiers.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr.metrics import cross_modal_report
    >>> image = np.array([[1.0, 0.1], [0.9, 0.3], [0.2, 1.0], [0.6, 0.5]])
    >>> text = np.array([[0.8, 0.1], [0.9, 0.8], [0.1, 0.7], [0.2, 0.9]])
    >>> print(cross_modal_report(image, text, [0, 0, 1, 1], k=2))
                     mAP  mAP@2    P@2    R@2  NDCG@2  queries  no relevant
    <BLANKLINE>
    image -> text  0.854  0.750  0.750  0.750   0.750        4            0
    text -> image  0.896  0.875  0.875  0.875   0.847        4            0
    <BLANKLINE>
             mean  0.875  0.812  0.812  0.812   0.798        8            0
    <BLANKLINE>
    """
    queries = read_embeddings(X, Y, y, sample_weight=sample_weight)
    embeddings, labels = queries
    found, y_found = read_gallery(gallery, y_gallery, queries)
    names = np.atleast_1d(np.asarray(k))
    columns = ["mAP"]
    columns += [f"{name}@{n}" for name in ("mAP", "P", "R", "NDCG") for n in names]
    report = {}
    for query, target in list_directions(embeddings, found):
        retrieval = Retrieval(
            embeddings[query],
            found[target],
            labels[query],
            y_found[target],
            metric=metric,
            ties=ties,
            random_state=random_state,
            gain="linear",
        )
        measure = partial(
            _measure_all,
            cutoffs=check_cutoffs(k, retrieval.n_items),
            normalizer=normalizer,
        )
        values, n_relevant = evaluate_queries(
            retrieval, measure, k=None, chunk_size=chunk_size
        )
        warn_degenerate(n_relevant, retrieval.n_items, zero_relevant, score="the same")
        means = average_queries(
            values,
            n_relevant,
            zero_relevant=zero_relevant,
            per_query=False,
            sample_weight=sample_weight,
        )
        report[f"{query} -> {target}"] = {
            **dict(zip(columns, means.tolist(), strict=True)),
            "queries": len(values),
            "no relevant": int(np.count_nonzero(n_relevant == 0)),
        }
    rows = list(report.values())
    report["mean"] = {
        **{name: float(np.mean([row[name] for row in rows])) for name in columns},
        **{name: sum(row[name] for row in rows) for name in ("queries", "no relevant")},
    }
    return report if output_dict else _format(report, digits)
