"""The stack level of warnings."""

# SPDX-License-Identifier: BSD-3-Clause

import sys

# Modules between a function that warns and the caller of the package.
_INNER = ("sklearn_cmr.", "sklearn.utils.")


def stacklevel_of_caller():
    """Return the `stacklevel` with which a warning points out of the package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(_INNER):
        level, frame = level + 1, frame.f_back
    return level
