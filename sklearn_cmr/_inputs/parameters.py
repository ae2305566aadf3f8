"""Parameters of estimators, beyond the checks of scikit-learn."""

# SPDX-License-Identifier: BSD-3-Clause

from contextlib import contextmanager

from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils._param_validation import Interval


def refuse_boolean_numbers(estimator):
    """Raise if a parameter that is a number is a boolean, which counts as 1 or 0.

    Parameters
    ----------
    estimator : estimator

    Raises
    ------
    ValueError
        If there is one.
    """
    for name, value in estimator.get_params(deep=False).items():
        constraints = estimator._parameter_constraints.get(name, [])
        is_number = any(isinstance(each, Interval) for each in constraints)
        if isinstance(value, bool) and is_number and "boolean" not in constraints:
            raise ValueError(
                f"The {name!r} parameter of {type(estimator).__name__} must be a "
                f"number, got the boolean {value}."
            )


@contextmanager
def explained_errors(estimator, parameter):
    """Say why an estimator fails on a mapping if it does not claim to take any.

    Parameters
    ----------
    estimator : estimator

    parameter : str
        Name of the parameter that holds it.
    """
    try:
        yield
    except Exception as error:
        if _takes_mappings(estimator):
            raise
        raise TypeError(
            f"{parameter} must be a projector or a hasher of sklearn_cmr, or a "
            "pipeline of PairTransformer and one, which take a mapping of modalities; "
            f"got {estimator!r}, which failed on a mapping: {error}"
        ) from error


def _takes_mappings(estimator):
    """Return whether an estimator, or all steps of a pipeline, say they take those."""
    if isinstance(estimator, FrozenEstimator):
        return _takes_mappings(estimator.estimator)
    if isinstance(estimator, Pipeline):
        return all(_takes_mappings(step) for _, step in estimator.steps)
    return not hasattr(estimator, "fit") or get_tags(estimator).input_tags.dict
