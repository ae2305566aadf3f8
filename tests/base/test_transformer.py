"""What all estimators share without torch: collapse, classes, weights of queries."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import (
    CCAProjector,
    CMGANProjector,
    DRCLProjector,
    PairTransformer,
    SemanticMatchingProjector,
    make_pairs,
)
from sklearn_cmr.base import (
    CrossModalTransformer,
    HasherMixin,
    LabelProbabilityMixin,
    NetworkTransformer,
    ProjectorMixin,
)
from tests.base.methods import METHODS, SMALL, A, B, each_method, make, y

BASELINES = [SemanticMatchingProjector, CCAProjector]


# Encodings that collapse ----------------------------------------------------------


def encoded(estimator, *X):
    return [np.unique(Z, axis=0) for Z in estimator.transform(*X)]


@pytest.mark.parametrize("cls", [*METHODS, SemanticMatchingProjector])
@pytest.mark.parametrize("as_sparse", [False, True])
def test_constant_features_of_one_modality(cls, as_sparse):
    kind = sparse.csr_array if as_sparse else np.asarray
    estimator = make(cls)
    with pytest.warns(ConvergenceWarning, match="StandardScaler") as caught:
        estimator.fit(kind(A), kind(np.ones_like(B)), y)
    (warning,) = [w for w in caught if w.category is ConvergenceWarning]
    assert "['text'] alike" in str(warning.message)
    assert str(warning.message).startswith(f"{cls.__name__} encodes")
    assert warning.filename == __file__
    Z_img, Z_txt = encoded(estimator, A, np.ones_like(B))
    assert len(Z_txt) == 1 < len(Z_img)


@pytest.mark.parametrize(
    ("cls", "change"),
    [
        *[(cls, lambda X: X * 1e-8) for cls in METHODS],
        # Layers that are saturated.
        (DRCLProjector, lambda X: X * 1e30),
    ],
)
def test_scales_at_which_encodings_collapse(cls, change):
    with pytest.warns(ConvergenceWarning, match=r"\['image', 'text'\] alike.*outlier"):
        estimator = make(cls).fit(change(A), change(B), y)
    # The remedy that the warning names.
    scale = PairTransformer(image=StandardScaler(), text=StandardScaler())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_pipeline(scale, estimator).fit(make_pairs(change(A), change(B)), y)


def test_an_outlier_at_which_encodings_collapse():
    def with_outlier(X):
        X = X.copy()
        X[0, 0] = 1e6
        return X

    # Batch normalization divides all features by its scale.
    estimator = make(CMGANProjector, batch_norm=True)
    with pytest.warns(ConvergenceWarning, match=r"\['image', 'text'\] alike.*outlier"):
        estimator.fit(with_outlier(A), with_outlier(B), y)


@pytest.mark.parametrize("cls", [*METHODS, *BASELINES])
@pytest.mark.parametrize("shift", [0, 3])
def test_healthy_fits_do_not_warn(cls, shift):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n_epochs in (1, 8):
            estimator = make(cls)
            if "max_epochs" in estimator.get_params():
                estimator.set_params(max_epochs=n_epochs)
            estimator.fit(A + shift, B + shift, y)
            estimator.fit(A[:12], B[:12], y[:12])


def test_a_modality_that_is_added_may_collapse():
    estimator = make(DRCLProjector).fit(A, B, y)
    with pytest.warns(ConvergenceWarning, match=r"training rows of \['audio'\] alike"):
        estimator.add_modality("audio", np.ones_like(A), y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@each_method
def test_collapsed_encodings_are_finite(cls):
    for scale in (0, 1e-30):
        estimator = make(cls).fit(A * scale, B * scale, y)
        for Z in estimator.transform(A * scale, B * scale):
            assert np.isfinite(Z).all()
        assert 0 <= estimator.score(A * scale, B * scale, y) <= 1


# Classes of authors ---------------------------------------------------------------


@pytest.mark.parametrize("mixin", [ProjectorMixin, HasherMixin, LabelProbabilityMixin])
@pytest.mark.parametrize("base", [CrossModalTransformer, NetworkTransformer])
def test_mixins_stand_before_the_base(mixin, base):
    with pytest.raises(TypeError, match=f"Own: {mixin.__name__} must come before"):
        type("Own", (base, mixin), {})


def test_no_class_is_a_projector_and_a_hasher():
    with pytest.raises(TypeError, match="either a projector or a hasher"):
        type("Own", (ProjectorMixin, HasherMixin, NetworkTransformer), {})


@pytest.mark.parametrize("hook", ["_build", "_phases", "_fit", "_encode"])
def test_a_class_without_a_hook_cannot_be_used(hook):
    is_network = hook in ("_build", "_phases")
    bases = (
        ProjectorMixin,
        NetworkTransformer if is_network else CrossModalTransformer,
    )
    hooks = {"_build", "_phases"} if is_network else {"_fit", "_encode"}
    own = type("Own", bases, dict.fromkeys(hooks - {hook}, lambda self: None))
    with pytest.raises(TypeError, match=hook):
        own()


@pytest.mark.parametrize("cls", METHODS)
def test_the_order_of_mixins_does_not_change_a_result(cls):
    *mixins, base = cls.__bases__
    own = {k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__")}
    reordered = type(cls.__name__, (*reversed(mixins), base), own)
    estimators = [make(cls), reordered(**make(cls).get_params(deep=False))]
    first, second = ([*e.fit(A, B, y).transform(A, B)] for e in estimators)
    for part, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(part, other)
        assert part.dtype == other.dtype
    tags = [repr(estimator.__sklearn_tags__()) for estimator in estimators]
    assert tags[0] == tags[1]


# sample_weight --------------------------------------------------------------------


@pytest.mark.parametrize("cls", [*METHODS, *BASELINES])
def test_sample_weight_is_for_the_score(cls):
    estimator = make(cls)
    weights = np.ones(len(y))
    # No private class is named.
    with pytest.raises(TypeError, match=r"^[A-Z]\w+\.fit\(\) got .* 'sample_weight'"):
        estimator.fit(A, B, y, sample_weight=weights)
    estimator.fit(A, B, y)
    assert estimator.score(A, B, y, sample_weight=weights) == pytest.approx(
        estimator.score(A, B, y)
    )
    with sklearn.config_context(enable_metadata_routing=True):
        requests = estimator.get_metadata_routing()
        assert not requests.fit.requests
        assert requests.score.requests == {"sample_weight": None}


def test_sample_weight_needs_labels_that_are_shared():
    estimator = make(DRCLProjector).fit(A, B, y)
    labels = {"image": y, "text": y}
    with pytest.raises(ValueError, match="sample_weight needs labels that all modal"):
        estimator.score(make_pairs(A, B), labels, sample_weight=np.ones(len(y)))


def test_small_parameters_are_known():
    known = {name for cls in METHODS for name in cls().get_params()}
    assert SMALL.keys() <= known
