"""Plots of precision over recall, and over the length of the list."""

# SPDX-License-Identifier: BSD-3-Clause

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping
from numbers import Integral

import numpy as np
from sklearn.utils import check_scalar
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import _num_samples

from sklearn_cmr._lazy import public
from sklearn_cmr.metrics._average_precision import mean_average_precision
from sklearn_cmr.metrics._curves import precision_recall_curve
from sklearn_cmr.metrics._cutoffs import hit_rate_at_k
from sklearn_cmr.metrics._directions import list_directions
from sklearn_cmr.metrics._displays.style import COLORS, LINE_STYLES, make_axes
from sklearn_cmr.metrics._embeddings import encode, read_embeddings, read_gallery
from sklearn_cmr.metrics._evaluation import MAP_CONSTRAINTS, RELEVANCE_CONSTRAINTS

# Options that the mean average precision has in common with the curves.
_COMMON = {*MAP_CONSTRAINTS, *RELEVANCE_CONSTRAINTS, "sample_weight"}


class _CurveDisplay(metaclass=ABCMeta):
    """Plot with one line for each direction of retrieval.

    A subclass defines `_compute` for the values, `_line` for the line of a direction,
    and `_axes_options` for the axes.
    """

    _axes_options: dict
    curves: dict
    name: str | None

    @classmethod
    @abstractmethod
    def _compute(cls, directions, name, options):
        """Return the display for a dict of direction to sets."""

    @abstractmethod
    def _line(self, direction):
        """Return x, y, and the label."""

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        Y=None,
        y=None,
        *,
        name=None,
        ax=None,
        curve_kwargs=None,
        **options,
    ):
        """Plot the curves of a fitted estimator.

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

        name : str, default=None
            Name of the method, for the legend.

        ax : matplotlib Axes, default=None
            Axes to draw on, new ones by default. Several methods may share them.

        curve_kwargs : dict or list of dict, default=None
            Keywords of matplotlib's `plot`, for all lines or for each.

        **options : dict
            Keywords of the function that computes the curves, such as `metric`,
            `relevance` ("label" or "pair"), `ties` and `k`.

        Returns
        -------
        display : object
            The display, drawn.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        queries = encode(estimator, X, Y, y, needs_labels=_needs_labels(options))
        display = cls._compute(_sets_by_direction(queries, queries), name, options)
        return display.plot(ax, curve_kwargs=curve_kwargs)

    @classmethod
    def from_predictions(
        cls,
        X,
        Y=None,
        y=None,
        *,
        gallery=None,
        y_gallery=None,
        name=None,
        ax=None,
        curve_kwargs=None,
        **options,
    ):
        """Plot the curves of embeddings.

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

        gallery : container of embeddings, default=None
            Embeddings or codes of the items to retrieve, by default the queries
            themselves.

        y_gallery : {array-like, sparse matrix}, or mapping of them, default=None
            Labels of the gallery.

        name : str, default=None
            Name of the method, for the legend.

        ax : matplotlib Axes, default=None
            Axes to draw on, new ones by default. Several methods may share them.

        curve_kwargs : dict or list of dict, default=None
            Keywords of matplotlib's `plot`, for all lines or for each.

        **options : dict
            Keywords of the function that computes the curves, such as `metric`,
            `relevance` ("label" or "pair"), `ties` and `k`.

        Returns
        -------
        display : object
            The display, drawn.
        """
        check_matplotlib_support(f"{cls.__name__}.from_predictions")
        queries = read_embeddings(X, Y, y, needs_labels=_needs_labels(options))
        found = read_gallery(gallery, y_gallery, queries)
        display = cls._compute(_sets_by_direction(queries, found), name, options)
        return display.plot(ax, curve_kwargs=curve_kwargs)

    def plot(self, ax=None, *, name=None, curve_kwargs=None):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, new ones by default.

        name : str, default=None
            Name of the method, for the legend; that of the display by default.

        curve_kwargs : dict or list of dict, default=None
            Keywords of matplotlib's `plot`, for all lines or for each.

        Returns
        -------
        display : object
            The display, with the artists as attributes.
        """
        self.ax_ = make_axes(self, ax)
        self.figure_ = self.ax_.figure
        from matplotlib.cbook import normalize_kwargs
        from matplotlib.lines import Line2D

        if curve_kwargs is None or isinstance(curve_kwargs, Mapping):
            curve_kwargs = [curve_kwargs] * len(self.curves)
        elif len(curve_kwargs) != len(self.curves):
            raise ValueError(
                "curve_kwargs must be a dict, or a list with one for each of the "
                f"{len(self.curves)} curves; got {len(curve_kwargs)}."
            )
        name = self.name if name is None else name
        self.lines_ = []
        for i, direction in enumerate(self.curves):
            x, y, label = self._line(direction)
            style = {
                "label": label if name is None else f"{name}, {label}",
                # Other displays may have drawn on the same axes.
                "color": COLORS[len(self.ax_.lines) % len(COLORS)],
                "linestyle": LINE_STYLES[i % len(LINE_STYLES)],
                **normalize_kwargs(curve_kwargs[i], Line2D),
            }
            self.lines_ += self.ax_.plot(x, y, **style)
        self.ax_.set(**self._axes_options)
        self.ax_.grid(alpha=0.3)
        self.ax_.legend()
        return self


@public("sklearn_cmr.metrics")
class PrecisionRecallDisplay(_CurveDisplay):
    """Plot of precision over recall, one line for each direction of retrieval.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create it. All parameters
    are stored as attributes.

    Parameters
    ----------
    curves : dict of str to PrecisionRecallCurve
        What :func:`precision_recall_curve` returns, by the name of the direction.

    mean_average_precision : dict of str to float, default=None
        The mAP by the name of the direction, for the legend.

    name : str, default=None
        Name of the method, for the legend.

    Attributes
    ----------
    lines_ : list of matplotlib Line2D
        The curves, in the order of `curves`.

    ax_ : matplotlib Axes
        Axes with the curves.

    figure_ : matplotlib Figure
        Figure with the axes.

    See Also
    --------
    precision_recall_curve : The values.
    TopKPrecisionDisplay : Plots precision over the length of the list.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from sklearn_cmr.metrics import PrecisionRecallDisplay
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(60) % 3
    >>> image, text = rng.standard_normal((2, 60, 3)) + 2 * np.eye(3)[y]
    >>> PrecisionRecallDisplay.from_predictions(image, text, y)
    <...>
    >>> plt.show()  # doctest: +SKIP
    """

    _axes_options = {
        "xlabel": "Recall",
        "ylabel": "Precision",
        "xlim": (-0.01, 1.01),
        "ylim": (-0.01, 1.01),
    }

    def __init__(self, curves, *, mean_average_precision=None, name=None) -> None:
        self.curves = curves
        self.mean_average_precision = mean_average_precision
        self.name = name

    @classmethod
    def _compute(cls, directions, name, options):
        # The average precision is that of the whole list, whatever the curve shows.
        common = {
            key: value
            for key, value in options.items()
            if key in _COMMON and key != "k"
        }
        curves = {
            direction: precision_recall_curve(*sets, **options)
            for direction, sets in directions.items()
        }
        scores = {
            direction: mean_average_precision(*sets, **common)
            for direction, sets in directions.items()
        }
        return cls(curves, mean_average_precision=scores, name=name)

    def _line(self, direction):
        curve, label = self.curves[direction], direction
        if self.mean_average_precision is not None:
            label += f" (mAP = {self.mean_average_precision[direction]:.3f})"
        return curve.recall, curve.precision, label


class _TopKDisplay(_CurveDisplay):
    """Plot of a quantity at `k` over `k`, by the attribute `_quantity`."""

    _quantity: str

    @staticmethod
    def _curve(sets, options):
        return precision_recall_curve(*sets, by="rank", **options)

    def __init__(self, curves, *, name=None):
        self.curves = curves
        self.name = name

    @classmethod
    def _compute(cls, directions, name, options):
        if "by" in options:
            raise TypeError(
                f"{cls.__name__} draws the {cls._quantity} by rank and takes no `by`; "
                f"got by={options['by']!r}. Use PrecisionRecallDisplay for other "
                "curves."
            )
        curves = {
            direction: cls._curve(sets, options)
            for direction, sets in directions.items()
        }
        return cls(curves, name=name)

    def _line(self, direction):
        curve = self.curves[direction]
        return curve.thresholds, getattr(curve, self._quantity), direction


@public("sklearn_cmr.metrics")
class TopKPrecisionDisplay(_TopKDisplay):
    """Plot of the precision at `k` over `k`, one line for each direction.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create it; their keyword
    `k` is the length of the longest list. All parameters are stored as attributes.

    Parameters
    ----------
    curves : dict of str to PrecisionRecallCurve
        What :func:`precision_recall_curve` returns, by the name of the direction.

    name : str, default=None
        Name of the method, for the legend.

    Attributes
    ----------
    lines_ : list of matplotlib Line2D
        The curves, in the order of `curves`.

    ax_ : matplotlib Axes
        Axes with the curves.

    figure_ : matplotlib Figure
        Figure with the axes.

    See Also
    --------
    precision_at_k : The values.
    TopKRecallDisplay : Plots the recall at `k`.
    PrecisionRecallDisplay : Plots precision over recall.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from sklearn_cmr.metrics import TopKPrecisionDisplay
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(60) % 3
    >>> image, text = rng.standard_normal((2, 60, 3)) + 2 * np.eye(3)[y]
    >>> TopKPrecisionDisplay.from_predictions(image, text, y, k=20)
    <...>
    >>> plt.show()  # doctest: +SKIP
    """

    _quantity = "precision"
    _axes_options = {
        "xlabel": "k",
        "ylabel": "Precision at k",
        "ylim": (-0.01, 1.01),
    }


@public("sklearn_cmr.metrics")
class TopKRecallDisplay(_TopKDisplay):
    """Plot of the recall at `k` over `k`, one line for each direction.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create it; their keyword
    `k` is the length of the longest list. All parameters are stored as attributes.

    Parameters
    ----------
    curves : dict of str to PrecisionRecallCurve
        What :func:`precision_recall_curve` returns, by the name of the direction.

    name : str, default=None
        Name of the method, for the legend.

    Attributes
    ----------
    lines_ : list of matplotlib Line2D
        The curves, in the order of `curves`.

    ax_ : matplotlib Axes
        Axes with the curves.

    figure_ : matplotlib Figure
        Figure with the axes.

    See Also
    --------
    recall_at_k : The values.
    TopKPrecisionDisplay : Plots the precision at `k`.
    TopKHitRateDisplay : Plots what is called recall in image-text retrieval.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from sklearn_cmr.metrics import TopKRecallDisplay
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(60) % 3
    >>> image, text = rng.standard_normal((2, 60, 3)) + 2 * np.eye(3)[y]
    >>> TopKRecallDisplay.from_predictions(image, text, y, k=20)
    <...>
    >>> plt.show()  # doctest: +SKIP
    """

    _quantity = "recall"
    _axes_options = {
        "xlabel": "k",
        "ylabel": "Recall at k",
        "ylim": (-0.01, 1.01),
    }


@public("sklearn_cmr.metrics")
class TopKHitRateDisplay(_TopKDisplay):
    """Plot of the hit rate at `k` over `k`, one line for each direction.

    The hit rate is the "R@k" of image-text retrieval. Use :meth:`from_estimator` or
    :meth:`from_predictions` to create it; their keyword `k` is the length of the
    longest list. All parameters are stored as attributes.

    Parameters
    ----------
    curves : dict of str to ndarray of shape (n_ranks,)
        Hit rates at 1, 2, 3, ..., as :func:`hit_rate_at_k` returns them, by the name of
        the direction.

    name : str, default=None
        Name of the method, for the legend.

    Attributes
    ----------
    lines_ : list of matplotlib Line2D
        The curves, in the order of `curves`.

    ax_ : matplotlib Axes
        Axes with the curves.

    figure_ : matplotlib Figure
        Figure with the axes.

    See Also
    --------
    hit_rate_at_k : The values.
    TopKRecallDisplay : Plots the share of the relevant items that are retrieved.

    Examples
    --------
    Five captions of each image:

    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from sklearn_cmr.metrics import TopKHitRateDisplay
    >>> rng = np.random.default_rng(0)
    >>> image, number = rng.standard_normal((30, 4)), np.arange(150) // 5
    >>> text = image[number] + rng.standard_normal((150, 4))
    >>> TopKHitRateDisplay.from_predictions(
    ...     {"image": image, "text": text},
    ...     {"image": np.arange(30), "text": number},
    ...     relevance="pair",
    ...     k=10,
    ... )
    <...>
    >>> plt.show()  # doctest: +SKIP
    """

    _quantity = "hit rate"
    _axes_options = {
        "xlabel": "k",
        "ylabel": "Hit rate at k",
        "ylim": (-0.01, 1.01),
    }

    @staticmethod
    def _curve(sets, options):
        n_items = _num_samples(sets[1])
        k = options.get("k")
        if k is None:
            k = n_items
        check_scalar(k, "k", Integral, min_val=1)
        ranks = np.arange(1, min(k, n_items) + 1)
        return hit_rate_at_k(*sets, **{**options, "k": ranks})

    def _line(self, direction):
        curve = self.curves[direction]
        return np.arange(1, len(curve) + 1), curve, direction


def _needs_labels(options):
    relevance = options.get("relevance", "label")
    if not isinstance(relevance, str):
        raise ValueError(
            "A matrix of relevance is that of one direction, but a display draws all "
            "of them. Compute the curves with precision_recall_curve and pass them to "
            "the constructor."
        )
    return relevance == "label"


def _sets_by_direction(queries, gallery):
    """Return the sets of all ordered pairs of modalities by their names."""
    embeddings, labels = queries
    found, y_found = gallery
    return {
        f"{query} → {target}": (
            embeddings[query],
            found[target],
            labels[query],
            y_found[target],
        )
        for query, target in list_directions(embeddings, found)
    }
