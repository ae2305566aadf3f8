"""Ranked lists and relevance in the files that trec_eval reads."""

# SPDX-License-Identifier: BSD-3-Clause

from os import PathLike

import numpy as np
from sklearn.utils._param_validation import validate_params

from sklearn_cmr._arrays import to_array
from sklearn_cmr.metrics._evaluation import MAP_CONSTRAINTS, SET_CONSTRAINTS
from sklearn_cmr.metrics._retrieval import Retrieval

# Whole numbers up to this one are exact in float32, in which trec_eval reads scores.
_MAX_SCORE = 2**24


def _check_ids(ids, n_items, name):
    """Return names as strings, the positions by default."""
    if ids is None:
        return [str(i) for i in range(n_items)]
    ids = np.asarray(to_array(ids, name))
    if ids.ndim != 1:
        raise ValueError(f"{name} must be a list of names; got the shape {ids.shape}.")
    ids = [str(each) for each in ids.tolist()]
    if len(ids) != n_items:
        raise ValueError(
            f"{name} has {len(ids)} names for {n_items} items. Pass one for each."
        )
    if len(set(ids)) < len(ids):
        twice = next(each for each in ids if ids.count(each) > 1)
        raise ValueError(f"{name} must differ, but {twice!r} stands there twice.")
    wrong = next((each for each in ids if not each or each.split() != [each]), None)
    if wrong is not None:
        raise ValueError(
            f"{name} must not be empty or hold spaces, which separate the columns of "
            f"the files; got {wrong!r}."
        )
    return ids


@validate_params(
    {
        **{
            name: constraint
            for name, constraint in SET_CONSTRAINTS.items()
            if name not in ("ties", "random_state")
        },
        "run": [str, PathLike],
        "qrels": [str, PathLike],
        "k": MAP_CONSTRAINTS["k"],
        "query_ids": ["array-like", None],
        "item_ids": ["array-like", None],
        "name": [str],
    },
    prefer_skip_nested_validation=True,
)
def to_trec(
    query,
    gallery=None,
    y_query=None,
    y_gallery=None,
    *,
    run,
    qrels,
    k=None,
    metric="auto",
    relevance="label",
    exclude_self=False,
    query_ids=None,
    item_ids=None,
    name="sklearn_cmr",
    chunk_size=None,
):
    """Write ranked lists and relevant items to files that trec_eval reads.

    The file of ranked lists, the "run", has a line "query Q0 item rank score name" for
    each item of each list. The file of relevance, the "qrels", has a line
    "query 0 item grade" for each relevant item, graded as in :func:`ndcg_at_k`.

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

    run : str or path-like
        File of the ranked lists. An existing file is overwritten.

    qrels : str or path-like
        File of the relevant items. An existing file is overwritten.

    k : int, default=None
        Length of the ranked lists, None for the whole gallery.

    metric : {"auto", "cosine", "euclidean", "hamming", "inner_product", \
            "precomputed"}, default="auto"
        Distance used for the ranking, see :func:`mean_average_precision`.

    relevance : {"label", "pair"}, or {array-like, sparse matrix} of shape \
            (n_queries, n_items), default="label"
        What makes an item relevant: a class or a label in common, the pair, or a value
        above 0 in a matrix, see :func:`mean_average_precision`. The values of a matrix
        must be whole numbers.

    exclude_self : bool or array-like of int of shape (n_queries,), default=False
        Whether each query is left out of its own list, or the positions of the queries
        in the gallery, see :func:`mean_average_precision`.

    query_ids : array-like of shape (n_queries,), default=None
        Names of the queries, their positions by default.

    item_ids : array-like of shape (n_items,), default=None
        Names of the items, their positions by default.

    name : str, default="sklearn_cmr"
        Name of the run.

    chunk_size : int, default=None
        Number of queries processed at once, which bounds the memory.

    Raises
    ------
    ValueError
        As :func:`mean_average_precision`, and if names are not unique or hold spaces,
        or grades are no whole numbers.

    See Also
    --------
    mean_average_precision : With `ties="stable"` and `normalizer="all"`, the "map" of
        trec_eval for the whole list, and its "map_cut" at `k`.

    Notes
    -----
    trec_eval orders tied items by their names. To keep the order of `ties="stable"`,
    the score is the number of items from here to the end of the gallery, and never
    tied. trec_eval leaves out queries without a relevant item, as
    `zero_relevant="skip"` does.

    Examples
    --------
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from sklearn_cmr.metrics import to_trec
    >>> image = np.array([[1, 1, 1], [1, 1, -1]], dtype=np.int8)
    >>> text = np.array([[1, 1, 1], [1, 1, -1], [-1, 1, 1]], dtype=np.int8)
    >>> with TemporaryDirectory() as folder:
    ...     files = {"run": Path(folder, "run"), "qrels": Path(folder, "qrels")}
    ...     to_trec(image, text, [0, 1], [0, 1, 0], k=2, **files)
    ...     print(files["run"].read_text() + files["qrels"].read_text())
    0 Q0 0 1 3 sklearn_cmr
    0 Q0 1 2 2 sklearn_cmr
    1 Q0 1 1 3 sklearn_cmr
    1 Q0 0 2 2 sklearn_cmr
    0 0 0 1
    0 0 2 1
    1 0 1 1
    <BLANKLINE>
    """
    retrieval = Retrieval(
        query,
        gallery,
        y_query,
        y_gallery,
        metric=metric,
        relevance=relevance,
        exclude_self=exclude_self,
        ties="stable",
        gain="linear",
    )
    query_ids = _check_ids(query_ids, retrieval.n_query, "query_ids")
    item_ids = _check_ids(item_ids, retrieval.n_gallery, "item_ids")
    _check_ids([name], 1, "name")
    if retrieval.n_items > _MAX_SCORE:
        raise ValueError(
            f"The gallery has {retrieval.n_items} items, but trec_eval tells only "
            f"{_MAX_SCORE} places apart. Pass fewer items."
        )
    grades = retrieval.relevance.levels
    if np.any(grades != np.floor(grades)):
        raise ValueError(
            "Grades must be whole numbers, as trec_eval reads no others, but relevance "
            f"holds {grades[grades != np.floor(grades)][0]:g}. Scale or round them."
        )
    with (
        open(run, "w", encoding="utf-8") as run_file,
        open(qrels, "w", encoding="utf-8") as qrels_file,
    ):
        for rows, ranked, found in retrieval.ranked_items(k=k, chunk_size=chunk_size):
            for query_id, items, relevant in zip(
                query_ids[rows], ranked, found, strict=True
            ):
                run_file.writelines(
                    f"{query_id} Q0 {item_ids[item]} {rank} "
                    f"{retrieval.n_items + 1 - rank} {name}\n"
                    for rank, item in enumerate(items.tolist(), 1)
                )
                qrels_file.writelines(
                    f"{query_id} 0 {item_ids[item]} {grades[relevant[item]]:.0f}\n"
                    for item in np.flatnonzero(relevant).tolist()
                )
