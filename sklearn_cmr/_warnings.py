"""The line of code that a warning points at."""

# SPDX-License-Identifier: BSD-3-Clause

import sys

# Packages between a function that warns and the code of the user.
_INNER = ("sklearn_cmr.", "sklearn.", "joblib.")


def stacklevel_of_caller():
    """Return the `stacklevel` with which a warning points at the code of the user."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(_INNER):
        level, frame = level + 1, frame.f_back
    return level
