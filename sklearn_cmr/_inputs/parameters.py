"""Parameters of estimators, beyond the checks of scikit-learn."""

# SPDX-License-Identifier: BSD-3-Clause

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
