"""Warnings that can be filtered by their class."""

# SPDX-License-Identifier: BSD-3-Clause

__all__ = ["ImplicitSplitWarning"]


class ImplicitSplitWarning(UserWarning):
    """Warn that a plain matrix is split into image and text at its middle.

    A split at the wrong column puts features of one modality into the other, and the
    scores are too good. The warning is given once in a process. Set `n_image_features`,
    or pass a container of pairs, to state where the split is.
    """
