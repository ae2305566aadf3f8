"""Wrong inputs of generators and loaders of data sets."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_cmr import datasets
from tests.wrong_inputs.rows import Row

_MAKE = {"n_samples": 12, "n_classes": 2}
_WRONG = {
    "make_cross_modal_classification": {
        "n_samples": [0, 2.5, None],
        "n_image_features": [0],
        "n_text_features": [-1],
        "n_classes": [1],
        "n_latent": [0],
        "class_sep": [-1, float("nan")],
        "nonlinearity": [1.5],
        "image_noise": [-1],
        "text_noise": ["loud"],
        "multilabel": ["yes"],
        "n_labels": [0.5],
        "weights": [3],
        "random_state": [-1, "seed"],
    },
    "make_cross_modal_regions": {
        "n_samples": [0],
        "n_classes": [1],
        "random_state": [[1]],
    },
    "load_captioned_digits": {"n_class": [0, 11, "two", None], "return_X_y": ["yes"]},
    "fetch_wikipedia": {
        "data_home": [3],
        "subset": ["valid"],
        "url": [3],
        "download_if_missing": ["no"],
        "return_X_y": [None],
        "n_retries": [-1],
        "delay": [-1, float("nan")],
        "timeout": [0, None],
    },
}
ROWS = [
    Row(
        f"{name}({parameter}={value!r})",
        lambda name=name, options={parameter: value}: getattr(datasets, name)(
            **options
        ),
        InvalidParameterError,
        f"The '{parameter}' parameter of {name} must be ",
    )
    for name, parameters in _WRONG.items()
    for parameter, values in parameters.items()
    for value in values
]
_POSITIVE = "weights must hold one positive number for each of the 2 classes"
ROWS += [
    Row(
        f"weights={weights!r:.20}",
        lambda weights=weights: datasets.make_cross_modal_classification(
            **_MAKE, weights=weights
        ),
        error,
        message,
    )
    for weights, error, message in [
        ([1], ValueError, _POSITIVE),
        ([1, -2], ValueError, _POSITIVE),
        ([0, 0], ValueError, _POSITIVE),
        ([[1, 2]], ValueError, _POSITIVE),
        ([1, np.nan], ValueError, "Input weights contains NaN"),
        (
            ["a", "b"],
            ValueError,
            "weights cannot be used: dtype='numeric' is not compatible",
        ),
        ([[1], [1, 2]], ValueError, "weights must have the same number"),
        ([1j, 2], ValueError, "weights cannot be used: Complex data"),
        ([{}, {}], TypeError, "weights cannot be used: float"),
        ([10**400, 1], ValueError, "weights cannot be used: int too large"),
    ]
]
ROWS += [
    Row(
        "more labels than classes",
        lambda: datasets.make_cross_modal_classification(
            **_MAKE, multilabel=True, n_labels=3
        ),
        ValueError,
        "n_labels",
    ),
]
