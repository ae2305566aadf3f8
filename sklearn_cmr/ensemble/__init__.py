"""Ensembles of projection or hashing methods."""

# SPDX-License-Identifier: BSD-3-Clause

from typing import TYPE_CHECKING

from sklearn_cmr._lazy import lazy_names

if TYPE_CHECKING:
    from sklearn_cmr.ensemble._ensemble import CrossModalEnsemble

__all__ = ["CrossModalEnsemble"]

__getattr__, __dir__ = lazy_names(
    __name__, {"sklearn_cmr.ensemble._ensemble": ["CrossModalEnsemble"]}
)
