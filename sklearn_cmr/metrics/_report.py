"""One table of all metrics in all directions."""

# SPDX-License-Identifier: BSD-3-Clause

from functools import partial
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse, vstack
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from sklearn_cmr._arrays import is_frame, to_array
from sklearn_cmr._inputs.labels import as_label_array
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
    first_rank,
    hit_rate,
    mean_reciprocal_rank,
    normalized_gain,
    precision,
    recall,
)
from sklearn_cmr.metrics._retrieval import Retrieval
from sklearn_cmr.metrics._tables import format_rows

# Columns that count queries, and what a row holds beside numbers.
_COUNTS = ("queries", "no relevant")
_EXTRAS = ("per class", "per query")


class _Task(NamedTuple):
    """Sets of one row of the report."""

    query: Any
    gallery: Any
    y_query: Any
    y_gallery: Any
    exclude_self: Any = False


def _measure_labels(groups, *, cutoffs, normalizer):
    """Return all values of every query in one array, in the order of the columns."""
    return np.column_stack(
        [
            average_precision(groups, [groups.n_items, *cutoffs], normalizer),
            precision(groups, cutoffs),
            recall(groups, cutoffs),
            normalized_gain(groups, cutoffs),
        ]
    )


def _measure_pairs(groups, *, cutoffs):
    """Return the values where pairs are relevant."""
    rank = first_rank(groups)
    # Without a relevant item there is no rank, whatever `zero_relevant` says.
    rank[groups.n_relevant == 0] = np.nan
    reciprocal = mean_reciprocal_rank(groups, np.array([groups.n_items]))
    return np.column_stack([hit_rate(groups, cutoffs), reciprocal, rank, rank])


def _name_columns(cutoffs, relevance):
    if relevance == "pair":
        return [*(f"Hit@{n}" for n in cutoffs), "MRR", "median rank", "mean rank"]
    names = ("mAP", "P", "R", "NDCG")
    return ["mAP", *(f"{name}@{n}" for name in names for n in cutoffs)]


def _list_tasks(queries, gallery, *, intra_modal):
    """Return the sets of all pairs of modalities by their names."""
    embeddings, labels = queries
    found, y_found = gallery
    pairs = list_directions(embeddings, found)
    if intra_modal:
        pairs += [(modality, modality) for modality in embeddings]
    # Queries that are looked for among other items do not stand in the gallery.
    return {
        f"{query} -> {target}": _Task(
            embeddings[query],
            found[target],
            labels[query],
            y_found[target],
            found is embeddings and query == target,
        )
        for query, target in pairs
    }


def _list_mixed_tasks(queries, gallery):
    """Return the sets of the queries of every modality and the items of all."""
    embeddings, labels = (_as_arrays(parts) for parts in queries)
    found, y_found = (_as_arrays(parts) for parts in gallery)
    for names, parts in ((labels, embeddings), (y_found, found)):
        for modality, y in names.items():
            if y is None:
                # Row i of every modality belongs to pair i.
                names[modality] = np.arange(len(parts[modality]))
    is_own = gallery[0] is queries[0]
    tasks, begin = {}, 0
    for modality, part in embeddings.items():
        own = queries[1][modality]  # a dataframe has names of labels
        tasks[f"{modality} -> all"] = _Task(
            part,
            np.concatenate(list(found.values())),
            labels[modality] if own is None else own,
            _join(list(y_found.values())),
            begin + np.arange(len(part)) if is_own else False,
        )
        begin += len(part)
    return tasks


def _as_arrays(parts):
    return {
        name: part if part is None or issparse(part) else np.asarray(to_array(part))
        for name, part in parts.items()
    }


def _join(labels):
    return vstack(labels) if any(map(issparse, labels)) else np.concatenate(labels)


def _class_members(y):
    """Return the rows of every class, or of every label, by its name."""
    names = list(y.columns) if is_frame(y) else []
    if issparse(y):
        y = y.toarray()
    y = as_label_array(y)
    if y.ndim == 2 and y.shape[1] > 1:
        if len(set(names)) < y.shape[1]:
            names = list(range(y.shape[1]))
        return {
            label: np.flatnonzero(own)
            for label, own in zip(names, y.T, strict=True)
            if own.any()
        }
    classes, code = np.unique(y, return_inverse=True)
    rows = (np.flatnonzero(code.ravel() == i) for i in range(len(classes)))
    return dict(zip(classes.tolist(), rows, strict=True))


def _average(columns, values, n_relevant, *, zero_relevant, sample_weight):
    """Return one row: the averages over some queries, and their numbers."""
    options = {"zero_relevant": zero_relevant, "sample_weight": sample_weight}
    row = {}
    for column, each in zip(columns, values.T, strict=True):
        row[column] = average_queries(
            each.copy(),
            n_relevant,
            per_query=False,
            average="median" if column.startswith("median") else "mean",
            **options,
        )
    counts = (len(values), int(np.count_nonzero(n_relevant == 0)))
    return row | dict(zip(_COUNTS, counts, strict=True))


def _mean_of_rows(rows):
    """Return the means of the scores and the sums of the counts."""
    return {
        name: sum(row[name] for row in rows)
        if name in _COUNTS
        else float(np.mean([row[name] for row in rows]))
        for name in rows[0]
        if name not in _EXTRAS
    }


def _mean_of_directions(rows):
    mean = _mean_of_rows(rows)
    if "per class" in rows[0]:
        tables = [row["per class"] for row in rows]
        # A class may be missing among the queries of some modality.
        labels = dict.fromkeys(label for table in tables for label in table)
        mean["per class"] = {
            label: _mean_of_rows([table[label] for table in tables if label in table])
            for label in labels
        }
    return mean


def _format(report, digits):
    """Write the report as a table."""
    rows: dict[str, dict] = {}
    for name, row in report.items():
        rows[name] = {
            column: cell for column, cell in row.items() if column not in _EXTRAS
        }
        for label, own in row.get("per class", {}).items():
            rows[f"{name}, {label}"] = own
    header, lines = format_rows(rows, digits, min_width=digits + 2)
    text = [header, ""]
    for name, line in lines.items():
        text += ["", line] if name == "mean" else [line]
    return "\n".join(text) + "\n"


@validate_params(
    {
        **MAP_CONSTRAINTS,
        "k": CUTOFFS,
        "relevance": [StrOptions({"label", "pair"})],
        "intra_modal": ["boolean"],
        "mixed": ["boolean"],
        "per_class": ["boolean"],
        "per_query": ["boolean"],
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
    k=50,
    normalizer="retrieved",
    metric="auto",
    relevance="label",
    intra_modal=False,
    mixed=False,
    ties="auto",
    zero_relevant="zero",
    per_class=False,
    per_query=False,
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
        pairs, a mapping from each of them to its labels. With `relevance="pair"`, the
        numbers of the pairs, or None.

    gallery : container of embeddings, default=None
        Embeddings or codes of the items to retrieve, with the same modalities as the
        queries. None retrieves from `X` and `Y` themselves.

    y_gallery : {array-like, sparse matrix}, or mapping of them, default=None
        Labels of the gallery.

    k : int or array-like of int of shape (n_cutoffs,), default=50
        Length of the ranked lists, 1 or more. A `k` beyond the gallery counts as the
        size of the gallery.

    normalizer : {"retrieved", "min", "all"}, default="retrieved"
        Divisor of the average precision at `k`, see :func:`mean_average_precision`.

    metric : {"auto", "cosine", "euclidean", "hamming", "inner_product"}, \
            default="auto"
        Distance used for the ranking, see :func:`mean_average_precision`.

    relevance : {"label", "pair"}, default="label"
        What makes an item relevant: a class or a label in common, or the pair. Pairs
        are the rows, or `y` numbers them, see :func:`mean_average_precision`. With
        "pair", the columns are those of image-text retrieval.

    intra_modal : bool, default=False
        Whether to add the rows of retrieval within each modality. An item is left out
        of its own list, unless there is a `gallery`. These rows are no part of the
        mean.

    mixed : bool, default=False
        Whether to add a row for each modality that retrieves from the items of all
        modalities at once, such as "image -> all". An item is left out of its own
        list, unless there is a `gallery`. These rows are no part of the mean.

    ties : str, default="auto"
        How items at the same distance are ordered: "auto", "expected", "stable",
        "optimistic", "pessimistic" or "random", see :func:`mean_average_precision`.

    zero_relevant : {"zero", "skip", "nan"}, default="zero"
        Value of a query without any relevant item in the gallery: 0, left out of the
        mean, or nan. The report has a column with their number. They have no rank,
        which is nan in the columns of ranks or left out.

    per_class : bool, default=False
        Whether to add the rows of the queries of each class, or with each label. Labels
        go by the number of their column, or by its name in a dataframe; those of no
        query are left out.

    per_query : bool, default=False
        Whether to add the values of every query, to the dictionary only.

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

        With `relevance="pair"`, the columns are the hit rates ("Hit@1"), "MRR", "median
        rank" and "mean rank". With `per_class`, each row has a dictionary "per class"
        of rows by label. With `per_query`, each row but the mean has a dictionary "per
        query" of arrays by column.

    Raises
    ------
    ValueError
        As :func:`mean_average_precision`; if labels are missing, if there is only
        one modality, if the modalities of gallery and queries differ, if
        `per_query=True` comes without `output_dict=True`, or `per_class=True` with
        `relevance="pair"`.

    TypeError
        If a container comes with two more arguments.

    Warns
    -----
    UndefinedMetricWarning
        See :func:`mean_average_precision`.

    See Also
    --------
    mean_average_precision, precision_at_k, recall_at_k, ndcg_at_k : The metrics.
    hit_rate_at_k, reciprocal_rank, median_rank, mean_rank : Those of pairs.
    compare_retrieval : Tests differences, from the values of every query.
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

    The same items as pairs:

    >>> print(cross_modal_report(image, text, relevance="pair", k=[1, 2], digits=2))
                   Hit@1  Hit@2   MRR  median rank  mean rank  queries  no relevant
    <BLANKLINE>
    image -> text   0.25   0.75  0.58         2.00       2.00        4            0
    text -> image   0.50   1.00  0.75         1.50       1.50        4            0
    <BLANKLINE>
             mean   0.38   0.88  0.67         1.75       1.75        8            0
    <BLANKLINE>
    """
    if per_query and not output_dict:
        raise ValueError(
            "per_query=True gives arrays, which a table has no room for. Set "
            "output_dict=True, too."
        )
    if per_class and relevance == "pair":
        raise ValueError(
            "per_class=True needs classes, but with relevance='pair' the labels number "
            "pairs. Use relevance='label'."
        )
    queries = read_embeddings(
        X, Y, y, needs_labels=relevance == "label", sample_weight=sample_weight
    )
    found = read_gallery(gallery, y_gallery, queries)
    tasks = _list_tasks(queries, found, intra_modal=intra_modal)
    if mixed:
        tasks |= _list_mixed_tasks(queries, found)
    columns = _name_columns(check_cutoffs(k), relevance)
    measure = _measure_pairs
    if relevance == "label":
        measure = partial(_measure_labels, normalizer=normalizer)
    options = {"zero_relevant": zero_relevant, "sample_weight": sample_weight}
    weight = None if sample_weight is None else np.asarray(to_array(sample_weight))
    report = {}
    for name, task in tasks.items():
        retrieval = Retrieval(
            *task[:4],
            metric=metric,
            relevance=relevance,
            exclude_self=task.exclude_self,
            ties=ties,
            random_state=random_state,
            gain="linear" if relevance == "label" else None,
        )
        cutoffs = check_cutoffs(k, retrieval.n_items)
        values, n_relevant = evaluate_queries(
            retrieval, partial(measure, cutoffs=cutoffs), k=None, chunk_size=chunk_size
        )
        warn_degenerate(n_relevant, retrieval.n_items, zero_relevant, score="the same")
        row = report[name] = _average(columns, values, n_relevant, **options)
        if per_class:
            row["per class"] = {
                label: _average(
                    columns,
                    values[rows],
                    n_relevant[rows],
                    zero_relevant=zero_relevant,
                    sample_weight=None if weight is None else weight[rows],
                )
                for label, rows in _class_members(task.y_query).items()
            }
        if per_query:
            values = average_queries(values, n_relevant, per_query=True, **options)
            row["per query"] = dict(zip(columns, values.T, strict=True))
    across = [f"{a} -> {b}" for a, b in list_directions(queries[0], found[0])]
    report["mean"] = _mean_of_directions([report[name] for name in across])
    return report if output_dict else _format(report, int(digits))
