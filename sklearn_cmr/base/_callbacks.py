"""Check of the callbacks that are passed to estimators that train networks."""

# SPDX-License-Identifier: BSD-3-Clause

from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
)


def check_callbacks(callbacks, early_stopping):
    """Raise unless a list of callbacks can be used.

    Parameters
    ----------
    callbacks : list or None
        Callbacks of skorch, or pairs of a name and one.

    early_stopping : bool
        Whether rows are held out.

    Raises
    ------
    TypeError
        If an item is no callback.

    ValueError
        If a callback needs what the training does not have.
    """
    for item in callbacks or []:
        is_named = (
            isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)
        )
        callback = item[1] if is_named else item
        is_class = isinstance(callback, type) and issubclass(callback, Callback)
        if not is_class and not isinstance(callback, Callback):
            raise TypeError(
                "callbacks must hold skorch callbacks, or pairs of a name and one, "
                f"got {item!r}."
            )
        if is_class:
            callback = callback()
        _check_scoring(callback, early_stopping)
        monitor = getattr(callback, "monitor", None)
        if (
            isinstance(callback, (EarlyStopping, Checkpoint))
            and str(monitor).startswith("valid")
            and not early_stopping
        ):
            raise ValueError(
                f"The callback {type(callback).__name__} monitors {monitor!r}, "
                "which is recorded with early_stopping=True only. Set it on the "
                "estimator, or monitor 'train_loss' (Checkpoint: "
                "'train_loss_best')."
            )


def _check_scoring(callback, early_stopping):
    if isinstance(callback, BatchScoring):
        raise ValueError(
            "BatchScoring needs predictions, which the training does not make. Use "
            "EpochScoring with a function scoring(net, X, y)."
        )
    if not isinstance(callback, EpochScoring):
        return
    if not callable(callback.scoring):
        raise ValueError(
            "EpochScoring needs a function scoring(net, X, y), such as "
            "sklearn_cmr.metrics.map_scorer, where X are features by modality; got "
            f"scoring={callback.scoring!r}."
        )
    if not callback.on_train and not early_stopping:
        raise ValueError(
            "EpochScoring scores held-out rows, which are there with "
            "early_stopping=True only. Set it on the estimator, or on_train=True "
            "on the callback."
        )
