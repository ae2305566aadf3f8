"""Warnings that can be filtered by their class."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn.exceptions import InconsistentVersionWarning

__all__ = ["FileVersionWarning", "ImplicitSplitWarning"]


class FileVersionWarning(InconsistentVersionWarning):
    """Warn that a file was written by other versions than it is loaded with.

    It may fail when it is used, above all with an older scikit-learn, or give other
    results. To be sure, load the file with the versions that wrote it, or fit again.

    Parameters
    ----------
    estimator_name : str
        Class of the estimator in the file.

    written, present : dict of str to str
        Versions by package, of the file and of the process that loads it.

    Attributes
    ----------
    estimator_name, written, present : see Parameters

    current_sklearn_version, original_sklearn_version : str
        As in scikit-learn's warning.
    """

    def __init__(self, *, estimator_name, written, present):
        super().__init__(
            estimator_name=estimator_name,
            current_sklearn_version=present.get("sklearn"),
            original_sklearn_version=written.get("sklearn"),
        )
        self.written, self.present = written, present

    def __str__(self):
        differences = [
            f"{name} {version} (here {self.present.get(name)})"
            for name, version in self.written.items()
            if version != self.present.get(name)
        ]
        return (
            f"This {self.estimator_name} was saved with {', '.join(differences)}. It "
            "may fail or give other results. Load it with the versions that saved it, "
            "or fit it again."
        )


class ImplicitSplitWarning(UserWarning):
    """Warn that a plain matrix is split into image and text at its middle.

    A split at the wrong column puts features of one modality into the other, and the
    scores are too good. The warning is given once in a process. Set `n_image_features`,
    or pass a container of pairs, to state where the split is.
    """
