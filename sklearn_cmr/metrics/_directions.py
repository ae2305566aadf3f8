"""Directions of retrieval, and means of metrics over them."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np

from sklearn_cmr.metrics._average_precision import mean_average_precision
from sklearn_cmr.metrics._embeddings import labels_by_modality

# Modalities of the queries and of the gallery, by the names of the directions.
DIRECTIONS = {"i2t": ("image", "text"), "t2i": ("text", "image")}


def list_directions(queries, gallery):
    """Return all pairs of a modality of the queries and another one of the gallery."""
    return [
        (query, target) for query in queries for target in gallery if query != target
    ]


def mean_map(encodings, y, **options):
    """Compute the mean of the mean average precision over directions of retrieval.

    Parameters
    ----------
    encodings, y, **options : see :func:`mean_of_directions`

    Returns
    -------
    score : float
        The mean over the directions.
    """
    return mean_of_directions(mean_average_precision, encodings, y, **options)


def mean_of_directions(
    metric_function, encodings, y, *, gallery=None, directions=None, **options
):
    """Compute the mean of a metric over directions of retrieval.

    Parameters
    ----------
    metric_function : callable
        Metric such as :func:`~sklearn_cmr.metrics.mean_average_precision`.

    encodings : dict of str to array-like of shape (n_samples, embedding_dim)
        Embeddings or codes of the queries by modality.

    y : {array-like, sparse matrix}, or mapping of them
        Labels of all modalities, or by modality.

    gallery : dict of str to array-like, default=None
        Embeddings or codes of the items to retrieve, with the same labels. It may have
        fewer modalities. None stands for `encodings`.

    directions : iterable of pairs of str, default=None
        Modalities of the queries and of the gallery. None stands for all pairs of
        different modalities.

    **options : dict
        Options of the metric.

    Returns
    -------
    score : float
        The mean over the directions.
    """
    gallery = encodings if gallery is None else gallery
    if directions is None:
        directions = list_directions(encodings, gallery)
    labels = labels_by_modality(y, encodings, options.get("sample_weight"))
    scores = [
        metric_function(
            encodings[query], gallery[target], labels[query], labels[target], **options
        )
        for query, target in directions
    ]
    return float(np.mean(scores))
