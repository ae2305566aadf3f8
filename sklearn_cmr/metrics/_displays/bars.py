"""Plots of scores by class, and of differences between systems."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support

from sklearn_cmr._lazy import public
from sklearn_cmr.metrics._comparison import compare_retrieval
from sklearn_cmr.metrics._displays.style import COLORS, make_axes
from sklearn_cmr.metrics._embeddings import encode
from sklearn_cmr.metrics._report import cross_modal_report

_HATCHES = ("", "//", "..", "xx")


@public("sklearn_cmr.metrics")
class ClassScoreDisplay:
    """Plot of a score by class, one bar for each class and direction of retrieval.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create it. All parameters
    are stored as attributes.

    Parameters
    ----------
    scores : dict of str to dict
        Scores of the queries of each class, by the name of the direction.

    score : str, default="mAP"
        Name of the score.

    Attributes
    ----------
    bars_ : list of matplotlib BarContainer
        The bars of each direction, in the order of `scores`.

    ax_ : matplotlib Axes
        Axes with the bars.

    figure_ : matplotlib Figure
        Figure with the axes.

    See Also
    --------
    cross_modal_report : The values, with `per_class=True`.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from sklearn_cmr.metrics import ClassScoreDisplay
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(60) % 3
    >>> image, text = rng.standard_normal((2, 60, 3)) + 2 * np.eye(3)[y]
    >>> ClassScoreDisplay.from_predictions(image, text, y, score="P@5", k=5)
    <...>
    >>> plt.show()  # doctest: +SKIP
    """

    def __init__(self, scores, *, score="mAP") -> None:
        self.scores = scores
        self.score = score

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        Y=None,
        y=None,
        *,
        score="mAP",
        ax=None,
        bar_kwargs=None,
        **options,
    ):
        """Plot the scores of a fitted estimator.

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

        score : str, default="mAP"
            Column of the report, such as ``"mAP@50"`` or ``"NDCG@50"``.

        ax : matplotlib Axes, default=None
            Axes to draw on, new ones by default.

        bar_kwargs : dict, default=None
            Keywords of matplotlib's `barh`.

        **options : dict
            Keywords of :func:`cross_modal_report`, such as `k` and `metric`.

        Returns
        -------
        display : ClassScoreDisplay
            The display, drawn.
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        embeddings, labels = encode(estimator, X, Y, y)
        display = cls._compute((embeddings, labels), score, options)
        return display.plot(ax, bar_kwargs=bar_kwargs)

    @classmethod
    def from_predictions(
        cls,
        X,
        Y=None,
        y=None,
        *,
        gallery=None,
        y_gallery=None,
        score="mAP",
        ax=None,
        bar_kwargs=None,
        **options,
    ):
        """Plot the scores of embeddings.

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

        score : str, default="mAP"
            Column of the report, such as ``"mAP@50"`` or ``"NDCG@50"``.

        ax : matplotlib Axes, default=None
            Axes to draw on, new ones by default.

        bar_kwargs : dict, default=None
            Keywords of matplotlib's `barh`.

        **options : dict
            Keywords of :func:`cross_modal_report`, such as `k` and `metric`.

        Returns
        -------
        display : ClassScoreDisplay
            The display, drawn.
        """
        check_matplotlib_support(f"{cls.__name__}.from_predictions")
        options |= {"gallery": gallery, "y_gallery": y_gallery}
        display = cls._compute((X, Y, y), score, options)
        return display.plot(ax, bar_kwargs=bar_kwargs)

    @classmethod
    def _compute(cls, sets, score, options):
        fixed = sorted({"per_class", "per_query", "output_dict"} & set(options))
        if fixed:
            raise TypeError(f"{cls.__name__} sets {fixed[0]} itself. Leave it out.")
        report = cross_modal_report(*sets, per_class=True, output_dict=True, **options)
        mean = report.pop("mean")
        if score not in mean:
            known = [name for name in mean if name != "per class"]
            raise ValueError(
                f"The report has no score {score!r}. Choose from {known}, or set k."
            )
        scores = {
            direction.replace("->", "→"): {
                label: own[score] for label, own in row["per class"].items()
            }
            for direction, row in report.items()
        }
        return cls(scores, score=score)

    def plot(self, ax=None, *, bar_kwargs=None):
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, new ones by default.

        bar_kwargs : dict, default=None
            Keywords of matplotlib's `barh`.

        Returns
        -------
        display : ClassScoreDisplay
            The display, with the artists as attributes.
        """
        self.ax_ = make_axes(self, ax, layout="constrained")
        self.figure_ = self.ax_.figure
        # A class may be missing among the queries of some modality.
        labels = list(
            dict.fromkeys(label for row in self.scores.values() for label in row)
        )
        place = np.arange(len(labels))
        height = 0.8 / max(1, len(self.scores))
        self.bars_ = []
        for i, (direction, row) in enumerate(self.scores.items()):
            style = {
                "height": height,
                "label": direction,
                "color": COLORS[i % len(COLORS)],
                "hatch": _HATCHES[i % len(_HATCHES)],
                "edgecolor": "white",
                **(bar_kwargs or {}),
            }
            shift = (i - (len(self.scores) - 1) / 2) * height
            values = [row.get(label, np.nan) for label in labels]
            self.bars_.append(self.ax_.barh(place + shift, values, **style))
        self.ax_.set_yticks(place, [str(label) for label in labels])
        self.ax_.invert_yaxis()
        self.ax_.set(xlabel=self.score, ylabel="Class")
        self.ax_.grid(alpha=0.3, axis="x")
        # Above the axes, where there are no bars.
        self.ax_.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False
        )
        return self


@public("sklearn_cmr.metrics")
class ComparisonDisplay:
    """Plot of the differences of systems from a baseline, with their intervals.

    Use :meth:`from_values` to create it. All parameters are stored as attributes.

    Parameters
    ----------
    comparison : dict of str to dict
        What :func:`compare_retrieval` returns with `output_dict=True`.

    Attributes
    ----------
    errorbar_ : matplotlib ErrorbarContainer
        The differences and their intervals.

    ax_ : matplotlib Axes
        Axes with the differences.

    figure_ : matplotlib Figure
        Figure with the axes.

    See Also
    --------
    compare_retrieval : The values.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from sklearn_cmr.metrics import ComparisonDisplay
    >>> rng = np.random.default_rng(0)
    >>> baseline = rng.random(100)
    >>> systems = {
    ...     "larger": baseline + rng.normal(0.05, 0.1, 100),
    ...     "other seed": baseline + rng.normal(0, 0.1, 100),
    ... }
    >>> ComparisonDisplay.from_values(baseline, systems, random_state=0)
    <...>
    >>> plt.show()  # doctest: +SKIP
    """

    def __init__(self, comparison) -> None:
        self.comparison = comparison

    @classmethod
    def from_values(cls, a, b, *, ax=None, errorbar_kwargs=None, **options):
        """Plot the comparison of the values of systems for the same queries.

        Parameters
        ----------
        a : array-like of shape (n_queries,)
            Values of the baseline, by any metric with `per_query=True`.

        b : array-like of shape (n_queries,), or mapping of str to such
            Values of the other system, or of several by their names.

        ax : matplotlib Axes, default=None
            Axes to draw on, new ones by default.

        errorbar_kwargs : dict, default=None
            Keywords of matplotlib's `errorbar`.

        **options : dict
            Keywords of :func:`compare_retrieval`, such as `confidence_level` and
            `random_state`.

        Returns
        -------
        display : ComparisonDisplay
            The display, drawn.
        """
        check_matplotlib_support(f"{cls.__name__}.from_values")
        display = cls(compare_retrieval(a, b, output_dict=True, **options))
        return display.plot(ax, errorbar_kwargs=errorbar_kwargs)

    def plot(self, ax=None, *, errorbar_kwargs=None):
        """Draw the differences, with the p-values of Holm's method.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, new ones by default.

        errorbar_kwargs : dict, default=None
            Keywords of matplotlib's `errorbar`.

        Returns
        -------
        display : ComparisonDisplay
            The display, with the artists as attributes.
        """
        self.ax_ = make_axes(self, ax, layout="constrained")
        self.figure_ = self.ax_.figure
        columns = ("difference", "low", "high", "p (Holm)")
        difference, low, high, p_values = (
            np.array([row[column] for row in self.comparison.values()])
            for column in columns
        )
        place = np.arange(len(difference))
        style = {
            "fmt": "o",
            "capsize": 4,
            "color": COLORS[0],
            **(errorbar_kwargs or {}),
        }
        # An interval of the bootstrap may lie beside the mean by rounding only.
        reach = np.maximum([difference - low, high - difference], 0)
        self.errorbar_ = self.ax_.errorbar(difference, place, xerr=reach, **style)
        self.ax_.axvline(0, color="0.4", linewidth=0.8, zorder=0)
        names = [
            f"{name} (p < 0.001)" if p < 0.001 else f"{name} (p = {p:.3f})"
            for name, p in zip(self.comparison, p_values, strict=True)
        ]
        self.ax_.set_yticks(place, names)
        self.ax_.set_ylim(len(place) - 0.5, -0.5)
        self.ax_.set_xlabel("Difference to the baseline")
        self.ax_.grid(alpha=0.3, axis="x")
        return self
