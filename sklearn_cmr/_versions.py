"""Versions of the package and of what it stands on, for reports of problems."""

# SPDX-License-Identifier: BSD-3-Clause

from importlib.metadata import PackageNotFoundError, version

import sklearn

# Beside those that scikit-learn shows; the last ones are optional.
_PACKAGES = ("sklearn-cmr", "torch", "skorch", "tqdm", "faiss-cpu", "onnx", "skops")


def show_versions() -> None:
    """Print the versions that the report of a problem should hold.

    They are those of :func:`sklearn.show_versions`, of this package, and of its other
    dependencies. A package that is not installed has the version None. The last lines
    are the names of the GPUs that torch finds.
    """
    import torch

    sklearn.show_versions()
    print("\nCross-modal retrieval:")
    for name in _PACKAGES:
        print(f"{name:>13}: {_version_of(name)}")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    print(f"{'CUDA':>13}: {torch.version.cuda}, GPUs: {gpus}")


def _version_of(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None
