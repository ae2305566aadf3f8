"""Plot of the common space of all modalities."""

# SPDX-License-Identifier: BSD-3-Clause

from numbers import Integral

import numpy as np
from scipy.sparse import issparse
from sklearn.preprocessing import normalize
from sklearn.utils import check_random_state
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._param_validation import Interval, StrOptions, validate_params
from sklearn.utils.validation import check_consistent_length

from sklearn_cmr._inputs.labels import as_label_array
from sklearn_cmr._lazy import public
from sklearn_cmr.metrics._displays.style import class_colors, make_axes
from sklearn_cmr.metrics._embeddings import encode, read_embeddings
from sklearn_cmr.metrics._evaluation import MAP_CONSTRAINTS
from sklearn_cmr.metrics._similarity import check_embeddings

_MARKERS = "o^sDPX*v"
# More classes than these have colors of their own, but no place in the legend.
_MOST_NAMED = 20
# With fewer items the perplexity would be below 1; with two, and with
# equal items, scikit-learn crashes.
_LEAST_TSNE = 4

_CONSTRAINTS = {
    "method": [StrOptions({"tsne", "pca"})],
    "n_samples": [Interval(Integral, 1, None, closed="left"), None],
    "metric": [StrOptions({"auto", "cosine", "euclidean", "hamming"})],
    "random_state": MAP_CONSTRAINTS["random_state"],
    "scatter_kwargs": [dict, None],
}


@public("sklearn_cmr.metrics")
class CommonSpaceDisplay:
    """Plot of the items of all modalities in the common space, in two dimensions.

    Markers show the modality, colors the class. In a good common space the modalities
    of one class lie together, and different classes lie apart.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create it. All parameters
    are stored as attributes.

    Parameters
    ----------
    positions : dict of str to ndarray of shape (n_items, 2)
        Positions by modality.

    classes : dict of str to ndarray of shape (n_items,), default=None
        Class of each item by modality. None colors by modality.

    Attributes
    ----------
    scatter_ : dict of str to matplotlib PathCollection
        The points by modality.

    ax_ : matplotlib Axes
        Axes with the points.

    figure_ : matplotlib Figure
        Figure with the axes.

    See Also
    --------
    RetrievalDisplay : Shows the items that queries retrieve.

    Notes
    -----
    Items with several labels are colored by modality. To look at one label, pass its
    column of the indicator as `y`.

    Distances in such a plot are only a rough guide: t-SNE preserves neighborhoods, not
    the distances between groups.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from sklearn_cmr.metrics import CommonSpaceDisplay
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(60) % 3
    >>> image, text = rng.standard_normal((2, 60, 3)) + 2 * np.eye(3)[y]
    >>> CommonSpaceDisplay.from_predictions(image, text, y, method="pca")
    <...>
    >>> plt.show()  # doctest: +SKIP
    """

    def __init__(self, positions, *, classes=None) -> None:
        self.positions = positions
        self.classes = classes

    @classmethod
    @validate_params(_CONSTRAINTS, prefer_skip_nested_validation=True)
    def from_estimator(
        cls,
        estimator,
        X,
        Y=None,
        y=None,
        *,
        method="tsne",
        n_samples=500,
        metric="auto",
        random_state=None,
        ax=None,
        scatter_kwargs=None,
    ):
        """Plot the common space of a fitted estimator.

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
                n_labels), or mapping of them, default=None
            Classes or label indicator, also one for each modality. Without them,
            `X` must be a container.

        method : {"tsne", "pca"}, default="tsne"
            Projection to two dimensions, by :class:`~sklearn.manifold.TSNE` or
            :class:`~sklearn.decomposition.PCA`.

        n_samples : int, default=500
            Number of items of each modality that are drawn at random; the same pairs
            of all modalities if there are equally many. None takes all.

        metric : {"auto", "cosine", "euclidean", "hamming"}, default="auto"
            Distance used for the ranking, see :func:`mean_average_precision`.

        random_state : int, RandomState instance or None, default=None
            Determines the drawn items and the projection.

        ax : matplotlib Axes, default=None
            Axes to draw on, new ones by default.

        scatter_kwargs : dict, default=None
            Keywords of matplotlib's `scatter`.

        Returns
        -------
        display : CommonSpaceDisplay
            The display, drawn.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        embeddings, labels = encode(estimator, X, Y, y, needs_labels=False)
        display = cls._compute(
            embeddings, labels, method, n_samples, metric, random_state
        )
        return display.plot(ax, scatter_kwargs=scatter_kwargs)

    @classmethod
    @validate_params(_CONSTRAINTS, prefer_skip_nested_validation=True)
    def from_predictions(
        cls,
        X,
        Y=None,
        y=None,
        *,
        method="tsne",
        n_samples=500,
        metric="auto",
        random_state=None,
        ax=None,
        scatter_kwargs=None,
    ):
        """Plot the common space of embeddings.

        Parameters
        ----------
        X : array-like of shape (n_samples, embedding_dim), or container of embeddings
            Image embeddings or codes; or those of all modalities, see
            :func:`cross_modal_report`.

        Y : array-like of shape (n_samples, embedding_dim)
            Text embeddings or codes; the labels where `X` is a container.

        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, \
                n_labels), or mapping of them, default=None
            Classes or label indicator, also one for each modality.

        method : {"tsne", "pca"}, default="tsne"
            Projection to two dimensions, by :class:`~sklearn.manifold.TSNE` or
            :class:`~sklearn.decomposition.PCA`.

        n_samples : int, default=500
            Number of items of each modality that are drawn at random; the same pairs
            of all modalities if there are equally many. None takes all.

        metric : {"auto", "cosine", "euclidean", "hamming"}, default="auto"
            Distance used for the ranking, see :func:`mean_average_precision`.

        random_state : int, RandomState instance or None, default=None
            Determines the drawn items and the projection.

        ax : matplotlib Axes, default=None
            Axes to draw on, new ones by default.

        scatter_kwargs : dict, default=None
            Keywords of matplotlib's `scatter`.

        Returns
        -------
        display : CommonSpaceDisplay
            The display, drawn.
        """
        check_matplotlib_support(f"{cls.__name__}.from_predictions")
        embeddings, labels = read_embeddings(X, Y, y, needs_labels=False)
        display = cls._compute(
            embeddings, labels, method, n_samples, metric, random_state
        )
        return display.plot(ax, scatter_kwargs=scatter_kwargs)

    @classmethod
    def _compute(cls, embeddings, labels, method, n_samples, metric, random_state):
        random_state = check_random_state(random_state)
        embeddings = _as_vectors(embeddings, metric)
        classes = _read_classes(labels, embeddings)
        rows = _draw_rows(embeddings, n_samples, random_state)
        drawn = [X[rows[modality]] for modality, X in embeddings.items()]
        plane = _find_plane(np.concatenate(drawn), method, random_state)
        ends = np.cumsum([len(X) for X in drawn])[:-1]
        positions = dict(zip(embeddings, np.split(plane, ends), strict=True))
        if classes is not None:
            classes = {modality: y[rows[modality]] for modality, y in classes.items()}
        return cls(positions, classes=classes)

    def plot(self, ax=None, *, scatter_kwargs=None):
        """Draw the points.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, new ones by default.

        scatter_kwargs : dict, default=None
            Keywords of matplotlib's `scatter`.

        Returns
        -------
        display : CommonSpaceDisplay
            The display, with the artists as attributes.
        """
        self.ax_ = make_axes(self, ax, figsize=(7, 5), layout="constrained")
        self.figure_ = self.ax_.figure
        style = {"s": 20, "alpha": 0.8, "edgecolors": "white", "linewidths": 0.4}
        style |= scatter_kwargs or {}
        names, colors = self._colors()
        self.scatter_ = {}
        handles = []
        for i, (modality, places) in enumerate(self.positions.items()):
            marker = _MARKERS[i % len(_MARKERS)]
            options = {"c": colors[modality], "marker": marker, **style}
            self.scatter_[modality] = self.ax_.scatter(*places.T, **options)
            color = "0.3" if names else colors[modality]
            handles.append(_legend_handle(modality, marker, color))
        if len(names) <= _MOST_NAMED:
            handles += [_legend_handle(name, "s", names[name]) for name in names]
        # Outside of the axes, where it hides no points.
        self.ax_.legend(handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5))
        # Neither the places nor the directions mean anything by themselves.
        self.ax_.set(xticks=[], yticks=[])
        return self

    def _colors(self):
        """Return the color of each class by its name, and those of all points."""
        if self.classes is None:
            return {}, dict(
                zip(self.positions, class_colors(len(self.positions)), strict=True)
            )
        classes, codes = np.unique(
            np.concatenate(list(self.classes.values())), return_inverse=True
        )
        palette = class_colors(len(classes))
        ends = np.cumsum([len(y) for y in self.classes.values()])[:-1]
        colors = {
            modality: [palette[code] for code in own]
            for modality, own in zip(self.classes, np.split(codes, ends), strict=True)
        }
        return dict(zip(map(str, classes), palette, strict=True)), colors


def _legend_handle(label, marker, color):
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="", label=label, marker=marker, color=color)


def _as_vectors(embeddings, metric):
    """Return vectors whose Euclidean distances order pairs as `metric` does."""
    (name, first), *others = embeddings.items()
    vectors = {}
    for other, X in others:
        vectors[name], vectors[other], metric = check_embeddings(first, X, metric)
    for modality, X in vectors.items():
        if metric == "cosine":
            vectors[modality] = normalize(X)
        elif X.dtype == np.uint8:
            vectors[modality] = np.unpackbits(X, axis=1).astype(np.float32)
        elif metric == "hamming":
            vectors[modality] = X.astype(np.float32)
    return vectors


def _read_classes(labels, embeddings):
    """Return the class of every item, None without labels or with several for one."""
    classes = {}
    for modality, y in labels.items():
        if y is None or issparse(y):
            return None
        y = as_label_array(y)
        if y.ndim == 2 and y.shape[1] > 1:
            return None
        check_consistent_length(embeddings[modality], y)
        classes[modality] = y.ravel()
    return classes


def _draw_rows(embeddings, n_samples, random_state):
    """Draw items of every modality, the same rows if there are equally many."""
    lengths = {modality: len(X) for modality, X in embeddings.items()}
    rows = {}
    for length in dict.fromkeys(lengths.values()):
        n_drawn = length if n_samples is None else min(n_samples, length)
        rows[length] = random_state.permutation(length)[:n_drawn]
    return {modality: rows[length] for modality, length in lengths.items()}


def _find_plane(X, method, random_state):
    if X.shape[1] < 2:
        raise ValueError("A plane needs embeddings of two columns or more; got one.")
    if method == "pca":
        from sklearn.decomposition import PCA

        return PCA(n_components=2, random_state=random_state).fit_transform(X)
    if len(X) < _LEAST_TSNE:
        raise ValueError(
            f"method='tsne' needs {_LEAST_TSNE} items or more of all modalities "
            f"together; got {len(X)}. Pass more, or method='pca'."
        )
    if (X == X[0]).all():
        raise ValueError(
            "All items have the same embedding, which method='tsne' cannot lay out. A "
            "model that encodes all items alike has not learned."
        )
    # Importing it takes longer than importing the whole package.
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(X) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=random_state)
    return tsne.fit_transform(X)
