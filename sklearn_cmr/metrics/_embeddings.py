"""Embeddings by modality, as estimators return them and as users pass them."""

# SPDX-License-Identifier: BSD-3-Clause

import re

import numpy as np
from scipy.sparse import issparse

from sklearn_cmr._arrays import is_frame, to_array
from sklearn_cmr._inputs.arguments import split_arguments
from sklearn_cmr._inputs.layout import (
    MODALITIES,
    PairLayout,
    has_two_dimensions,
    is_mapping,
)
from sklearn_cmr.pairs import make_pairs

# The modality in a feature name such as "image__0" or "union__text__0".
_TOKEN = re.compile(r"(?:^|(?<=__))(image|text)__")


def _modality_columns(names):
    """Return the image and text columns by their names, None if no name tells."""
    modalities = [set(_TOKEN.findall(name)) for name in names]
    if not any(modalities):
        return None
    unclear = [
        name for name, found in zip(names, modalities, strict=True) if len(found) != 1
    ]
    if unclear:
        raise ValueError(
            "Either every output column carries one of 'image__' and 'text__' in its "
            f"name, or none does; {len(unclear)} of {len(names)} do not, such as "
            f"{unclear[0]!r}."
        )
    columns = {
        modality: np.flatnonzero([modality in found for found in modalities])
        for modality in MODALITIES
    }
    if 0 in map(len, columns.values()):
        raise ValueError(
            "The output of transform has columns of one modality only, such as "
            f"{names[0]!r}. Retrieval needs the embeddings of both."
        )
    return columns


def _output_names(estimator, output):
    """Return the names of the output columns, None if there are none to be had."""
    if hasattr(output, "columns"):
        # Two column levels become one name: ("image", 0) is "image__0".
        return [
            "__".join(map(str, name)) if isinstance(name, tuple) else str(name)
            for name in output.columns
        ]
    try:
        return [str(name) for name in estimator.get_feature_names_out()]
    except (AttributeError, NotImplementedError, ValueError):
        # A step of a pipeline or a member of a union may have no names.
        return None


def split_output(estimator, output):
    """Split the output of `transform` into a dict of the embeddings by modality."""
    if is_mapping(output):
        return dict(output)
    if isinstance(output, tuple | list) and len(output) == 2:
        return dict(zip(MODALITIES, output, strict=True))

    names = _output_names(estimator, output)
    array = np.asarray(to_array(output, "the output of transform"))
    if array.ndim != 2:
        raise ValueError(
            "transform must return embeddings of both modalities: a mapping with the "
            "keys 'image' and 'text', a tuple of two arrays, a DataFrame or one 2-D "
            f"array; got {type(output).__name__} of shape {array.shape}."
        )
    n_columns = array.shape[1]
    columns = None
    if names is not None:
        if len(names) != n_columns:
            raise ValueError(
                f"get_feature_names_out gives {len(names)} names, but transform "
                f"returns {n_columns} columns."
            )
        columns = _modality_columns(names)
    if columns is None:
        if n_columns % 2:
            raise ValueError(
                f"transform returns {n_columns} columns, which cannot be halved into "
                "image and text embeddings of equal width, and no column name says "
                "which is which. Name the columns 'image__*' and 'text__*'."
            )
        return dict(zip(MODALITIES, np.hsplit(array, 2), strict=True))
    return {modality: array[:, own] for modality, own in columns.items()}


def _read_arguments(X, Y, y, *, needs_labels):
    """Apply the argument rule: two modalities and labels, or a container and labels."""
    X, Y, y = split_arguments(X, Y, y)
    if y is None and needs_labels:
        raise ValueError(
            "Labels are needed to know what is relevant, but y is None. Pass "
            "(X_img, X_txt, y), or a container of both modalities and y."
        )
    return X if Y is None else (X, Y), y


def labels_by_modality(y, embeddings, sample_weight=None):
    """Return the labels of every modality; None stands for no labels."""
    if not is_mapping(y):
        return dict.fromkeys(embeddings, y)
    if sample_weight is not None:
        raise ValueError("sample_weight needs labels that all modalities share.")
    if set(y) != set(embeddings):
        raise ValueError(
            f"y has the keys {list(y)}, but the modalities are {list(embeddings)}. "
            "Pass the labels of each modality, or one array for all of them."
        )
    return {modality: y[modality] for modality in embeddings}


def read_embeddings(X, Y=None, y=None, *, needs_labels=True, sample_weight=None):
    """Return embeddings and labels by modality.

    Parameters
    ----------
    X : array-like, or container of embeddings
        Image embeddings; or a mapping from modalities to embeddings, a tuple of image
        and text embeddings, or a dataframe with the columns ``image__*`` and
        ``text__*``.

    Y : array-like
        Text embeddings; the labels where `X` is a container.

    y : array-like, sparse matrix, or mapping of them
        Labels.

    needs_labels : bool, default=True

    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the queries, refused where the modalities have labels of their own.

    Returns
    -------
    embeddings, labels : dict
    """
    X, y = _read_arguments(X, Y, y, needs_labels=needs_labels)
    if isinstance(X, tuple) and len(X) == 2:
        embeddings = dict(zip(MODALITIES, X, strict=True))
    else:
        layout = PairLayout(X)
        if layout.kind != "plain":
            embeddings = layout.split()
        elif not needs_labels and y is Y and has_two_dimensions(Y):
            # Next to a plain array, these are the embeddings of the other modality.
            embeddings, y = dict(zip(MODALITIES, (X, Y), strict=True)), None
        else:
            raise ValueError(
                "got one array of embeddings. Pass (Z_img, Z_txt, y), or a mapping "
                "such as {'image': Z_img, 'text': Z_txt} and y."
            )
    if len(embeddings) < 2:
        raise ValueError(
            f"Retrieval needs two modalities or more; got {list(embeddings)}."
        )
    return embeddings, labels_by_modality(y, embeddings, sample_weight)


def read_gallery(gallery, y_gallery, queries):
    """Return the embeddings and labels to retrieve, those of the queries by default."""
    embeddings, labels = queries
    if (gallery is None) != (y_gallery is None):
        raise ValueError("gallery and y_gallery belong together: pass both or neither.")
    if gallery is None:
        return queries
    found, y_found = read_embeddings(gallery, y_gallery)
    if set(found) != set(embeddings):
        raise ValueError(
            f"The gallery has the modalities {list(found)}, the queries have "
            f"{list(embeddings)}. Pass the same ones."
        )
    return found, y_found


def encode(estimator, X, Y=None, y=None, *, needs_labels=True):
    """Encode pairs by an estimator; return embeddings and labels by modality."""
    X, y = _read_arguments(X, Y, y, needs_labels=needs_labels)
    if isinstance(X, tuple):
        # Searches and pipelines take one container.
        X = make_pairs(*X)
    embeddings = split_output(estimator, estimator.transform(X))
    return embeddings, labels_by_modality(y, embeddings)


def read_texts(X, Y=None, y=None):
    """Return the features of the modalities that are texts themselves."""
    X, _ = _read_arguments(X, Y, y, needs_labels=False)
    layout = PairLayout(*X) if isinstance(X, tuple) else PairLayout(X)
    parts = {} if layout.kind == "plain" else layout.split()
    return {modality: part for modality, part in parts.items() if _are_texts(part)}


def _are_texts(part):
    if is_frame(part) or issparse(part):
        return False
    first = np.asarray(part[:1])
    return first.ndim == 1 and len(first) > 0 and isinstance(first[0], str)
