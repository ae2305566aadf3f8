"""How losses and validation mAP went while an estimator was trained."""

# SPDX-License-Identifier: BSD-3-Clause

from itertools import groupby

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import check_is_fitted

from sklearn_cmr._lazy import public
from sklearn_cmr.metrics._displays.style import COLORS, LINE_STYLES, make_axes

_SCORE, _SCORE_LABEL = "valid_map", "Validation mAP"
_DEFAULT_TERMS = ("train_loss", "valid_loss", _SCORE)


def _find_history(estimator):
    """Return the history of an estimator, of a search's best one, of a last step."""
    found = estimator
    while not hasattr(found, "history_"):
        check_is_fitted(found)
        if hasattr(found, "best_estimator_"):
            found = found.best_estimator_
        elif isinstance(found, Pipeline):
            found = found[-1]
        else:
            raise TypeError(
                f"{type(found).__name__} has no attribute history_. Pass an estimator "
                "that was trained in epochs, a pipeline that ends with one, or a "
                "search over it with refit=True."
            )
    return found.history_


@public("sklearn_cmr.metrics")
class TrainingCurveDisplay:
    """Losses and validation mAP over the epochs of a training.

    Make it by :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    history : list of dict
        `history_` of an estimator: a dict of values for each epoch.

    Attributes
    ----------
    lines_ : dict of str to matplotlib Line2D
        The curves by the name of the value.

    ax_ : matplotlib Axes
        Axes with the losses.

    ax_map_ : matplotlib Axes or None
        Axes with the validation mAP, on the right-hand side of the same plot; None
        without one.

    figure_ : matplotlib Figure
        Figure with the axes.

    See Also
    --------
    sklearn.model_selection.LearningCurveDisplay : Scores over the number of training
        rows.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn_cmr import ACMRProjector
    >>> from sklearn_cmr.datasets import make_cross_modal_classification
    >>> from sklearn_cmr.metrics import TrainingCurveDisplay
    >>> X_img, X_txt, y = make_cross_modal_classification(random_state=0)
    >>> projector = ACMRProjector(max_epochs=3, early_stopping=True, random_state=0)
    >>> projector.fit(X_img, X_txt, y)
    ACMRProjector(...)
    >>> TrainingCurveDisplay.from_estimator(projector)
    <...>
    >>> plt.show()  # doctest: +SKIP
    """

    def __init__(self, history) -> None:
        self.history = history

    @classmethod
    def from_estimator(cls, estimator, *, terms=None, ax=None):
        """Plot the training of a fitted estimator.

        Parameters
        ----------
        estimator : object
            Fitted estimator with `history_`, or a pipeline that ends with one, or a
            search over it.

        terms : list of str, default=None
            Values of the history to draw, such as `"discriminator_accuracy"`. By
            default, the losses of training and validation, and the validation mAP.

        ax : matplotlib Axes, default=None
            Axes to draw on, new ones by default.

        Returns
        -------
        display : TrainingCurveDisplay
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        return cls(_find_history(estimator)).plot(ax, terms=terms)

    def plot(self, ax=None, *, terms=None):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, new ones by default.

        terms : list of str, default=None
            Values of the history to draw; the losses of training and validation, and
            the validation mAP by default.

        Returns
        -------
        display : TrainingCurveDisplay
            The display, with the artists as attributes.
        """
        terms = self._check_terms(terms)
        self.ax_ = make_axes(self, ax, layout="constrained")
        self.figure_ = self.ax_.figure
        has_losses = set(terms) != {_SCORE}
        self.ax_map_ = None
        axes = dict.fromkeys(terms, self.ax_)
        if _SCORE in terms and has_losses:
            self.ax_map_ = axes[_SCORE] = self.ax_.twinx()
            self.ax_map_.set_ylabel(_SCORE_LABEL)
        self.lines_ = {}
        for i, term in enumerate(terms):
            (self.lines_[term],) = axes[term].plot(
                *self._values(term),
                label=term,
                color=COLORS[i % len(COLORS)],
                linestyle=LINE_STYLES[i % len(LINE_STYLES)],
                marker=".",
                markersize=4,
            )
        has_phases = self._mark_phases()
        self.ax_.set(xlabel="Epoch", ylabel="Loss" if has_losses else _SCORE_LABEL)
        self.ax_.grid(alpha=0.3)
        # Above the axes, where it hides no line of the two scales.
        self.ax_.legend(
            handles=list(self.lines_.values()),
            loc="lower center",
            bbox_to_anchor=(0.5, 1.06 if has_phases else 1),
            ncols=3,
            frameon=False,
        )
        return self

    def _check_terms(self, terms):
        known = list(dict.fromkeys(name for row in self.history for name in row))
        if terms is None:
            return [name for name in _DEFAULT_TERMS if name in known]
        unknown = [name for name in terms if name not in known]
        if unknown:
            raise ValueError(
                f"The history holds no {unknown}. Choose from {known}; valid_* is "
                "recorded with early_stopping=True."
            )
        return list(terms)

    def _phases(self):
        """Return the name and the rows of each phase of the training."""
        return [
            (name, list(rows))
            for name, rows in groupby(self.history, key=lambda row: row.get("phase"))
        ]

    def _values(self, term):
        """Return epochs and values, with a gap between two phases."""
        epochs, values = [], []
        for _, rows in self._phases():
            epochs += [row["epoch"] for row in rows] + [np.nan]
            values += [row.get(term, np.nan) for row in rows] + [np.nan]
        return epochs, values

    def _mark_phases(self):
        """Separate and name the phases; tell whether there are more than one."""
        phases = self._phases()
        if len(phases) < 2:
            return False
        middles = []
        for _, rows in phases:
            first, last = rows[0]["epoch"], rows[-1]["epoch"]
            middles.append((first + last) / 2)
            if first > 1:
                self.ax_.axvline(first - 0.5, color="0.6", linewidth=0.8, zorder=0)
        top = self.ax_.secondary_xaxis("top")
        top.set_xticks(middles, [name for name, _ in phases], fontsize="small")
        top.tick_params(length=0)
        return True
