"""Wrong parameters: every one of every estimator, and those of functions."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import InvalidParameterError

import sklearn_cmr
from sklearn_cmr import (
    ACMRProjector,
    CCAProjector,
    CrossModalEnsemble,
    DRCLProjector,
    ITQHasher,
    SSAHHasher,
)
from tests.wrong_inputs.rows import IMAGE, PAIRS, TEXT, Row, Thing, Y, make

# Those of PairTransformer, some of which have any names, stand in `pairs`.
NAMES = sorted(
    name
    for name in sklearn_cmr.__all__
    if hasattr(getattr(sklearn_cmr, name), "get_params") and name != "PairTransformer"
)


def _fit(name, **params):
    estimator = make(name).set_params(**params)
    if name == "CrossModalNeighbors":
        return estimator.fit(IMAGE)
    if name == "CrossModalRetriever":
        return estimator.fit(IMAGE, TEXT, Y).index(image=IMAGE)
    return estimator.fit(IMAGE, TEXT, Y)


def _refused(name, parameter, value):
    return Row(
        f"{name}({parameter}={value!r})",
        lambda: _fit(name, **{parameter: value}),
        InvalidParameterError,
        f"The '{parameter}' parameter of {name} must be ",
    )


def _parameters():
    for name in NAMES:
        for parameter in make(name).get_params(deep=False):
            yield name, parameter


# Out of range in every estimator that has the parameter.
OUT_OF_RANGE = {
    "C": [0],
    "adversarial_weight": [-1e-9],
    "attention_threshold": [0],
    "batch_size": [0, 1.5],
    "chunk_size": [0],
    "consistency_weight": [-1],
    "discriminator_dropout": [1],
    "dropout": [1, -0.1],
    "embedding_dim": [0, 2.0],
    "feature_dim": [0],
    "grl_gamma": [0],
    "init": ["zeros"],
    "input_dropout": [1],
    "label_loss": ["hinge"],
    "label_weight": [-1],
    "lr": [0, float("nan")],
    "lr_attention": [0],
    "lr_decay": [0, 1.1],
    "lr_decay_every": [0],
    "lr_discriminator": [-1],
    "margin": [0, float("nan")],
    "max_epochs": [0, "many"],
    "metric": ["manhattan"],
    "min_updates": [-1],
    "mix_lambda": [2],
    "n_bits": [0, 2.5],
    "n_estimators": [0],
    "n_image_features": [0],
    "n_iter": [-1],
    "n_iter_no_change": [0],
    "n_neighbors": [0],
    "negative_slope": [1],
    "output": ["codes"],
    "q_max": [1.5],
    "radius": [-1],
    "random_state": [-1, "seed"],
    "rcond": [1],
    "shrinkage": [-1],
    "tol": [-1],
    "triplet_weight": [float("nan")],
    "validation_fraction": [0, 1, float("nan")],
    "verbose": [-1],
    "warmup_epochs": [-1],
    "weight_decay": [-1],
}
ROWS = [
    *(_refused(*each, Thing()) for each in _parameters()),
    *(
        _refused(name, parameter, value)
        for name, parameter in _parameters()
        for value in OUT_OF_RANGE.get(parameter, [])
    ),
]

# True counts as 1, which nobody means.
ROWS += [
    Row(
        f"{name}({parameter}=True)",
        lambda name=name, parameter=parameter: _fit(name, **{parameter: True}),
        ValueError,
        f"The '{parameter}' parameter of {name} must be a number, got the boolean True",
    )
    for name, parameter in [
        ("AADAHHasher", "n_bits"),
        ("ACMRProjector", "batch_size"),
        ("ACMRProjector", "margin"),
        ("CCAProjector", "n_components"),
        ("CMGANProjector", "embedding_dim"),
        ("CrossModalEnsemble", "n_estimators"),
        ("CrossModalNeighbors", "n_neighbors"),
        ("CrossModalRetriever", "chunk_size"),
        ("DRCLProjector", "lr"),
        ("ITQHasher", "n_iter"),
        ("SSAHHasher", "feature_dim"),
        ("SemanticMatchingProjector", "C"),
    ]
]

_SIZES = "hidden_layer_sizes must be a sequence of positive integers, got "
_KEYS = "hidden_layer_sizes given as a dict must have a key for each modality"
_BETAS = r"betas must be two numbers in \[0, 1\), the decay rates .*; got "
_CALLBACKS = "callbacks must hold skorch callbacks, or pairs of a name and one, got "


ROWS += [
    Row(
        f"{name}({parameter}={value!r})",
        lambda name=name, parameter=parameter, value=value: _fit(
            name, **{parameter: value}
        ),
        error,
        message,
    )
    for name, parameter, value, error, message in [
        ("ACMRProjector", "hidden_layer_sizes", (0,), ValueError, _SIZES),
        ("ACMRProjector", "hidden_layer_sizes", (4, -1), ValueError, _SIZES),
        ("CMGANProjector", "hidden_layer_sizes", (4.5,), ValueError, _SIZES),
        ("SSAHHasher", "hidden_layer_sizes", ("4",), ValueError, _SIZES),
        ("AADAHHasher", "hidden_layer_sizes", (True,), ValueError, _SIZES),
        ("DRCLProjector", "hidden_layer_sizes", [[4], [3]], ValueError, _SIZES),
        ("ACMRProjector", "hidden_layer_sizes", {}, ValueError, _KEYS),
        ("SSAHHasher", "hidden_layer_sizes", {"image": (4,)}, ValueError, _KEYS),
        ("ACMRProjector", "hidden_layer_sizes", {"img": (4,)}, ValueError, _KEYS),
        (
            "ACMRProjector",
            "hidden_layer_sizes",
            {"image": (4,), "text": (4,), "audio": (4,)},
            ValueError,
            _KEYS,
        ),
        (
            "DRCLProjector",
            "hidden_layer_sizes",
            {"image": None, "text": None},
            ValueError,
            _SIZES,
        ),
        (
            "ACMRProjector",
            "discriminator_hidden_layer_sizes",
            (0,),
            ValueError,
            f"discriminator_{_SIZES}",
        ),
        (
            "SSAHHasher",
            "label_hidden_layer_sizes",
            (-3,),
            ValueError,
            f"label_{_SIZES}",
        ),
        ("ACMRProjector", "betas", (0.9,), ValueError, _BETAS),
        ("ACMRProjector", "betas", (0.9, 1.0), ValueError, _BETAS),
        ("SSAHHasher", "betas", (float("nan"), 0.9), ValueError, _BETAS),
        ("DRCLProjector", "betas", [[0.9], [0.9, 0.9]], ValueError, _BETAS),
        ("AADAHHasher", "betas", ("0.9", "0.999"), ValueError, _BETAS),
        ("CMGANProjector", "betas", (None, None), ValueError, _BETAS),
        ("ACMRProjector", "device", "gpu9", ValueError, "device='gpu9' cannot be used"),
        ("ACMRProjector", "device", "", ValueError, "device='' cannot be used"),
        ("ACMRProjector", "callbacks", [3], TypeError, f"{_CALLBACKS}3"),
        ("ACMRProjector", "callbacks", [None], TypeError, f"{_CALLBACKS}None"),
        ("ACMRProjector", "callbacks", [len], TypeError, _CALLBACKS),
        ("ACMRProjector", "callbacks", [("a", 3)], TypeError, _CALLBACKS),
        ("ACMRProjector", "callbacks", [Thing], TypeError, _CALLBACKS),
        (
            "DRCLProjector",
            "lr",
            {"image": 0.1},
            ValueError,
            "lr given as a dict must have a key for each modality",
        ),
        (
            "DRCLProjector",
            "lr",
            {"image": 0.1, "text": 0},
            ValueError,
            "lr of 'text' must be a positive number, got 0",
        ),
        (
            "DRCLProjector",
            "lr",
            {"image": 0.1, "text": "fast"},
            ValueError,
            "lr of 'text' must be a positive number, got 'fast'",
        ),
        (
            "DRCLProjector",
            "prior",
            "image2",
            ValueError,
            "prior must be 'select', 'orthogonal', one of the modalities",
        ),
        (
            "DRCLProjector",
            "prior",
            [["a", "b"]],
            ValueError,
            "prior cannot be used: .* compatible with arrays of bytes/strings",
        ),
        (
            "DRCLProjector",
            "prior",
            np.ones((2, 2)),
            ValueError,
            r"The prior must have the shape \(embedding_dim, n_classes\) = \(3, 3\)",
        ),
        (
            "DRCLProjector",
            "prior",
            np.full((3, 3), np.nan),
            ValueError,
            "Input prior contains NaN",
        ),
        (
            "CrossModalNeighbors",
            "algorithm_params",
            {"n_links": 8},
            ValueError,
            "algorithm_params={'n_links': 8} are for the algorithms",
        ),
    ]
]

ROWS += [
    Row(
        "label classifier without a loss",
        lambda: make("ACMRProjector", output="both", label_weight=0).fit(PAIRS, Y),
        ValueError,
        "output='both' needs the label classifier, which only label_weight > 0 trains",
    ),
    Row(
        "unit length of one coordinate",
        lambda: make("ACMRProjector", embedding_dim=1).fit(PAIRS, Y),
        ValueError,
        "embeddings of one coordinate and unit length do not differ",
    ),
    Row(
        "prior that is not fitted",
        lambda: make("DRCLProjector", prior=DRCLProjector()).fit(PAIRS, Y),
        NotFittedError,
        "This DRCLProjector instance is not fitted yet",
    ),
    Row(
        "unknown parameter of the constructor",
        lambda: ACMRProjector(learning_rate=0.1),
        TypeError,
        r"ACMRProjector.__init__\(\) got an unexpected keyword argument "
        "'learning_rate'",
    ),
    Row(
        "unknown parameter of set_params",
        lambda: SSAHHasher().set_params(bits=3),
        ValueError,
        "Invalid parameter 'bits' for estimator SSAHHasher",
    ),
    Row(
        "parameter of no callback",
        lambda: ACMRProjector().set_params(callbacks__stop__patience=3),
        ValueError,
        "Invalid parameter 'callbacks__stop__patience': callbacks has no callback",
    ),
    Row(
        "projector by position",
        lambda: ACMRProjector(8),
        TypeError,
        r"ACMRProjector.__init__\(\) takes 1 positional argument but 2 were given",
    ),
]

# Estimators in estimators.
ROWS += [
    Row(
        f"ITQHasher of {type(projector).__name__}",
        lambda projector=projector: ITQHasher(projector=projector).fit(IMAGE, TEXT, Y),
        TypeError,
        "projector must be a projector or a hasher of sklearn_cmr, or a pipeline",
    )
    for projector in (
        PCA(2),
        StandardScaler(),
        KMeans(2),
        TfidfVectorizer(),
        make_pipeline(StandardScaler(), CCAProjector()),
    )
]
ROWS += [
    Row(
        "ITQHasher of a class",
        lambda: ITQHasher(projector=CCAProjector).fit(IMAGE, TEXT, Y),
        TypeError,
        "Cannot clone object. You should provide an instance",
    ),
    Row(
        "ITQHasher of a hasher",
        lambda: ITQHasher(projector=ITQHasher(n_bits=4)).fit(IMAGE, TEXT, Y),
        ValueError,
        "The projector must return real-valued embeddings",
    ),
    *(
        Row(
            f"ensemble of {value!r}",
            lambda value=value: CrossModalEnsemble(value).fit(IMAGE, TEXT, Y),
            error,
            message,
        )
        for value, error, message in [
            ([], ValueError, "A list of estimators holds one or more pairs"),
            ([CCAProjector()], ValueError, "A list of estimators holds one or more"),
            ([("a", CCAProjector(), 1)], ValueError, "A list of estimators holds"),
            (CCAProjector, TypeError, "An ensemble needs instances, got the class"),
            (PCA(2), TypeError, "'pca' must be a projector or a hasher of sklearn_cmr"),
            (
                [("a", CCAProjector()), ("a", CCAProjector())],
                ValueError,
                "Names provided are not unique",
            ),
            (
                [("a", CCAProjector()), ("b", ITQHasher())],
                ValueError,
                "Embeddings and codes cannot be combined",
            ),
            (
                [("a", ITQHasher(n_bits=4)), ("b", ITQHasher(n_bits=8))],
                ValueError,
                "The hashers of an ensemble need the same n_bits",
            ),
            (
                CCAProjector(n_image_features=2),
                ValueError,
                "'ccaprojector' has n_image_features=2, but the ensemble",
            ),
        ]
    ),
    Row(
        "retriever of a transformer of one matrix",
        lambda: sklearn_cmr.CrossModalRetriever(PCA(2)).fit(IMAGE, TEXT, Y),
        TypeError,
        "model must be a projector or a hasher of sklearn_cmr, or a pipeline",
    ),
]
