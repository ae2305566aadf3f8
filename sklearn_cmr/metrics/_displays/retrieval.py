"""Plot of queries and the items that they retrieve."""

# SPDX-License-Identifier: BSD-3-Clause

from numbers import Integral
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_random_state
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from sklearn_cmr._arrays import to_array
from sklearn_cmr._lazy import public
from sklearn_cmr.metrics._directions import DIRECTIONS
from sklearn_cmr.metrics._displays.style import make_axes
from sklearn_cmr.metrics._embeddings import (
    encode,
    read_embeddings,
    read_texts,
)
from sklearn_cmr.metrics._evaluation import CUTOFFS, MAP_CONSTRAINTS
from sklearn_cmr.metrics._retrieval import Retrieval


class _Mark(NamedTuple):
    """What stands at an item and around a picture."""

    glyph: str
    color: str
    style: str


# Glyph, color and style of the line each tell right from wrong.
_RIGHT = _Mark("✓", "#0072b2", "solid")
_WRONG = _Mark("✗", "#d55e00", "dashed")
_UNMARKED = _Mark("", "0.6", "solid")
# Lengths, in units of the side of a picture; about an inch where the axes are new.
_GAP = 0.12
_LINE = 0.26
_QUERY_WIDTH = 1.7
_TEXT_WIDTH = 8.5
# Letters of the default font that fit into the unit.
_LETTERS = 14

_CONSTRAINTS = {
    "direction": [StrOptions(set(DIRECTIONS)), tuple, list],
    "items": [dict, None],
    "queries": CUTOFFS,
    "k": [Interval(Integral, 1, None, closed="left")],
    "metric": MAP_CONSTRAINTS["metric"],
    "relevance": [StrOptions({"label", "pair"})],
    "random_state": MAP_CONSTRAINTS["random_state"],
    "image_kwargs": [dict, None],
}


@public("sklearn_cmr.metrics")
class RetrievalDisplay:
    """Plot of queries and retrieved items, with relevant and irrelevant ones marked.

    Every item is an image or a text. Retrieved images are shown side by side, texts
    one per line, the nearest first.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create it, or the
    constructor, such as for queries that have no label. All parameters are stored as
    attributes.

    Parameters
    ----------
    queries : list of str or array-like
        Queries, each a text or an image: an array of shape (height, width) or
        (height, width, 3).

    found : list of list of str or array-like
        Items that each query retrieved, the nearest first.

    relevant : array-like of bool of shape (n_queries, k), default=None
        Whether the items are relevant. None leaves them unmarked.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with all the items.

    figure_ : matplotlib Figure
        Figure with the axes.

    See Also
    --------
    CommonSpaceDisplay : Shows the embeddings of all items as points.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn_cmr.metrics import RetrievalDisplay
    >>> queries = ["a round nought", "the figure four"]
    >>> found = [["zero", "nil", "nine"], ["four", "one", "quartet"]]
    >>> RetrievalDisplay(queries, found, relevant=[[1, 1, 0], [1, 0, 1]]).plot()
    <...>
    >>> plt.show()  # doctest: +SKIP
    """

    def __init__(self, queries, found, *, relevant=None) -> None:
        self.queries = queries
        self.found = found
        self.relevant = relevant

    @classmethod
    @validate_params(_CONSTRAINTS, prefer_skip_nested_validation=True)
    def from_estimator(
        cls,
        estimator,
        X,
        Y=None,
        y=None,
        *,
        direction="t2i",
        items=None,
        queries=4,
        k=8,
        metric="auto",
        relevance="label",
        random_state=None,
        ax=None,
        image_kwargs=None,
    ):
        """Plot the items that a fitted estimator retrieves.

        Parameters
        ----------
        estimator : object
            Fitted estimator whose `transform` gives the embeddings of the modalities,
            such as a projector, a pipeline that ends with one, or a search over it.

        X : array-like of shape (n_samples, n_image_features), or container of pairs
            Image features, or whatever `estimator.transform` takes.

        Y : array-like of shape (n_samples, n_text_features)
            Text features; the labels where `X` is a container.

        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, \
                n_labels), or mapping of them
            Classes or label indicator, also one for each modality.

        direction : {"t2i", "i2t"} or tuple of two str, default="t2i"
            Texts retrieve images, or images retrieve texts; or the names of the
            modalities of the queries and of the gallery.

        items : dict of str to sequence, default=None
            Images or texts to show for the rows of each modality. Without them,
            features that are texts are shown, and row numbers with labels otherwise.

        queries : int or array-like of int, default=4
            Number of queries to draw at random, or the rows to take.

        k : int, default=8
            Number of items that a query retrieves.

        metric : {"auto", "cosine", "euclidean", "hamming", "inner_product"}, \
                default="auto"
            Distance used for the ranking, see :func:`mean_average_precision`. Items at
            the same distance are shown in the order of their rows.

        relevance : {"label", "pair"}, default="label"
            What makes an item relevant: a class or a label in common, or the pair.
            Pairs are the rows, or `y` numbers them, see :func:`mean_average_precision`.

        random_state : int, RandomState instance or None, default=None
            Determines the queries.

        ax : matplotlib Axes, default=None
            Axes to draw on, new ones by default.

        image_kwargs : dict, default=None
            Keywords of matplotlib's `imshow`.

        Returns
        -------
        display : RetrievalDisplay
            The display, drawn.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        embeddings, labels = encode(
            estimator, X, Y, y, needs_labels=relevance == "label"
        )
        display = cls._compute(
            embeddings,
            labels,
            {**read_texts(X, Y, y), **(items or {})},
            direction,
            queries,
            k,
            metric,
            relevance,
            random_state,
        )
        return display.plot(ax, image_kwargs=image_kwargs)

    @classmethod
    @validate_params(_CONSTRAINTS, prefer_skip_nested_validation=True)
    def from_predictions(
        cls,
        X,
        Y=None,
        y=None,
        *,
        direction="t2i",
        items=None,
        queries=4,
        k=8,
        metric="auto",
        relevance="label",
        random_state=None,
        ax=None,
        image_kwargs=None,
    ):
        """Plot the items that embeddings retrieve.

        Parameters
        ----------
        X : array-like of shape (n_samples, embedding_dim), or container of embeddings
            Image embeddings or codes; or those of all modalities, see
            :func:`cross_modal_report`.

        Y : array-like of shape (n_samples, embedding_dim)
            Text embeddings or codes; the labels where `X` is a container.

        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, \
                n_labels), or mapping of them
            Classes or label indicator, also one for each modality.

        direction : {"t2i", "i2t"} or tuple of two str, default="t2i"
            Texts retrieve images, or images retrieve texts; or the names of the
            modalities of the queries and of the gallery.

        items : dict of str to sequence, default=None
            Images or texts to show for the rows of each modality. Row numbers with
            labels are shown otherwise.

        queries : int or array-like of int, default=4
            Number of queries to draw at random, or the rows to take.

        k : int, default=8
            Number of items that a query retrieves.

        metric : {"auto", "cosine", "euclidean", "hamming", "inner_product"}, \
                default="auto"
            Distance used for the ranking, see :func:`mean_average_precision`. Items at
            the same distance are shown in the order of their rows.

        relevance : {"label", "pair"}, default="label"
            What makes an item relevant: a class or a label in common, or the pair.
            Pairs are the rows, or `y` numbers them, see :func:`mean_average_precision`.

        random_state : int, RandomState instance or None, default=None
            Determines the queries.

        ax : matplotlib Axes, default=None
            Axes to draw on, new ones by default.

        image_kwargs : dict, default=None
            Keywords of matplotlib's `imshow`.

        Returns
        -------
        display : RetrievalDisplay
            The display, drawn.
        """
        check_matplotlib_support(f"{cls.__name__}.from_predictions")
        embeddings, labels = read_embeddings(X, Y, y, needs_labels=relevance == "label")
        display = cls._compute(
            embeddings,
            labels,
            items or {},
            direction,
            queries,
            k,
            metric,
            relevance,
            random_state,
        )
        return display.plot(ax, image_kwargs=image_kwargs)

    @classmethod
    def _compute(
        cls,
        embeddings,
        labels,
        items,
        direction,
        queries,
        k,
        metric,
        relevance,
        random_state,
    ):
        query, target = _read_direction(direction, embeddings)
        unknown = set(items) - set(embeddings)
        if unknown:
            raise ValueError(
                f"items has the keys {list(items)}, but the modalities are "
                f"{list(embeddings)}."
            )
        retrieval = Retrieval(
            embeddings[query],
            embeddings[target],
            labels[query],
            labels[target],
            metric=metric,
            relevance=relevance,
            ties="stable",
        )
        rows = _choose_rows(queries, retrieval.n_query, random_state)
        distances = retrieval.similarity.distances(rows)
        found = np.argsort(distances, axis=1, kind="stable")[:, :k]
        relevant = retrieval.relevance.relevant(rows)
        shown = {
            modality: _make_items(modality, items.get(modality), labels[modality], n)
            for modality, n in (
                (query, retrieval.n_query),
                (target, retrieval.n_gallery),
            )
        }
        return cls(
            [shown[query][row] for row in rows],
            [[shown[target][row] for row in own] for own in found],
            relevant=np.take_along_axis(relevant, found, axis=1).astype(bool),
        )

    def plot(self, ax=None, *, image_kwargs=None):
        """Draw queries and items.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, new ones by default.

        image_kwargs : dict, default=None
            Keywords of matplotlib's `imshow`; gray values are dark on light by default.

        Returns
        -------
        display : RetrievalDisplay
            The display, with the axes as attributes.
        """
        is_new = ax is None
        self.ax_ = ax = make_axes(self, ax, layout="constrained")
        self.figure_ = ax.figure
        image_kwargs = {"cmap": "gray_r", **(image_kwargs or {})}
        width = max(map(_measure_row, self.queries, self.found))
        bottom = -3 * _GAP
        for i, (query, found) in enumerate(zip(self.queries, self.found, strict=True)):
            marks = [_UNMARKED] * len(found)
            if self.relevant is not None:
                marks = [_RIGHT if right else _WRONG for right in self.relevant[i]]
            top = bottom + 3 * _GAP
            bottom = _draw_row(ax, top, width, query, found, marks, image_kwargs)
        ax.set(xlim=(-_GAP, width), ylim=(bottom + _GAP, -_GAP), aspect="equal")
        ax.set_axis_off()
        if is_new:
            self.figure_.set_size_inches(width + _GAP, bottom + 2 * _GAP)
        return self


def _draw_row(ax, top, width, query, found, marks, image_kwargs):
    """Draw a query and its items; return where they end."""
    left, bottom = 0.0, top
    if isinstance(query, str):
        _write(ax, left, top, f"“{_cut(query, width)}”", fontweight="bold")
        top = bottom = top + 1.2 * _LINE
    else:
        _show(ax, left, top, query, _UNMARKED, image_kwargs)
        _write(ax, 1 + 2 * _GAP, top, "→")
        left, bottom = _QUERY_WIDTH, top + 1
    for item, mark in zip(found, marks, strict=True):
        if isinstance(item, str):
            _write(ax, left, top, mark.glyph, color=mark.color)
            _write(ax, left + _LINE, top, _cut(item, width - left - _LINE))
            top += _LINE
            bottom = max(bottom, top)
        else:
            _show(ax, left, top, item, mark, image_kwargs)
            left += 1 + _GAP
            bottom = top + 1
    return bottom


def _measure_row(query, found):
    """Return the width of a query and its items."""
    pictures = [item for item in found if not isinstance(item, str)]
    left = 0 if isinstance(query, str) else _QUERY_WIDTH
    # Texts need some room, however few pictures there are.
    return max(_TEXT_WIDTH, left + len(pictures) * (1 + _GAP))


def _cut(text, width):
    """Shorten a text to the letters that fit into a width."""
    text = " ".join(text.split())
    n_letters = int(width * _LETTERS)
    # Not every language has spaces.
    return text if len(text) <= n_letters else f"{text[: n_letters - 1]}…"


def _write(ax, left, top, text, **style):
    style = {"fontsize": "small", "verticalalignment": "top", **style}
    # Dollars are dollars, not mathematics.
    ax.text(left, top, text, clip_on=True, parse_math=False, **style)


def _show(ax, left, top, picture, mark, image_kwargs):
    """Draw a picture into a square, and a frame that tells what it is."""
    from matplotlib.patches import Rectangle

    picture = np.asarray(picture)
    height, width = np.divide(picture.shape[:2], max(picture.shape[:2]))
    extent = (left, left + width, top + height, top)
    ax.imshow(picture, extent=extent, **image_kwargs)
    frame = {"edgecolor": mark.color, "linestyle": mark.style, "linewidth": 2}
    ax.add_patch(Rectangle((left, top), width, height, fill=False, **frame))
    if mark.glyph:
        # In a corner, on its color: it is seen on any picture.
        box = {"facecolor": mark.color, "edgecolor": "none", "pad": 1.5}
        ax.text(
            left + width,
            top + height,
            mark.glyph,
            color="white",
            fontsize="small",
            bbox=box,
            horizontalalignment="right",
            verticalalignment="bottom",
        )


def _read_direction(direction, embeddings):
    """Return the modality of the queries and that of what they find."""
    pair = DIRECTIONS[direction] if isinstance(direction, str) else direction
    if len(pair) != 2 or not set(pair) <= set(embeddings):
        raise ValueError(
            "direction must be 't2i', 'i2t' or a tuple of two of the modalities "
            f"{list(embeddings)}; got {direction!r}."
        )
    return pair


def _choose_rows(queries, n_query, random_state):
    """Return the rows of the queries to show."""
    if isinstance(queries, Integral):
        rows = check_random_state(random_state).permutation(n_query)
        return rows[:queries]
    rows = np.asarray(queries)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or not rows.size:
        raise ValueError(
            f"queries must be a number of queries or row numbers, got {queries!r}."
        )
    if rows.min() < 0 or rows.max() >= n_query:
        raise ValueError(f"queries must be rows from 0 to {n_query - 1}; got {rows}.")
    return rows


def _make_items(modality, items, labels, n_items):
    """Return the picture or text to show for every row."""
    if items is None:
        names = [f"{modality} {row}" for row in range(n_items)]
        if not issparse(labels) and np.ndim(labels) == 1:
            labels = np.asarray(to_array(labels, "y"))
            names = [
                f"{name} ({label})" for name, label in zip(names, labels, strict=True)
            ]
        return names
    if hasattr(items, "to_numpy"):
        items = items.to_numpy()
    if len(items) != n_items:
        raise ValueError(
            f"items holds {len(items)} of the modality {modality!r}, which has "
            f"{n_items} rows. Pass one for each row, in the same order."
        )
    return items
