"""Codes in all forms, label probabilities of networks that were trained, or not."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest

from sklearn_cmr import (
    AADAHHasher,
    ACMRProjector,
    CMGANProjector,
    DRCLProjector,
    SemanticMatchingProjector,
    SSAHHasher,
    make_pairs,
)
from tests.base.methods import A, B, make, y

HASHERS = [SSAHHasher, AADAHHasher]


@pytest.mark.parametrize("cls", HASHERS)
@pytest.mark.parametrize("output", [["sign"], "codes", None, 1, {"sign": 1}])
def test_forms_of_codes_that_are_unknown(cls, output):
    estimator = make(cls).fit(A, B, y)
    with pytest.raises(ValueError, match=r"output must be one of \['sign', 'bool'"):
        estimator.encode(A, "image", output=output)


@pytest.mark.parametrize("cls", HASHERS)
def test_forms_of_codes_agree(cls):
    estimator = make(cls, n_bits=12).fit(A, B, y)
    signs, bits, packed, real = (
        estimator.encode(B, "text", output=form)
        for form in ("sign", "bool", "packed", "real")
    )
    np.testing.assert_array_equal(signs, estimator.transform_text(B))
    np.testing.assert_array_equal(bits, signs > 0)
    np.testing.assert_array_equal(bits, real >= 0)
    np.testing.assert_array_equal(packed, np.packbits(bits, axis=1))
    assert (signs.dtype, bits.dtype, real.dtype) == (np.int8, bool, np.float32)
    estimator.set_params(output="packed")
    np.testing.assert_array_equal(packed, estimator.transform_text(B))
    names = estimator.get_feature_names_out()
    # Two bytes for twelve bits, named by the first of their bits.
    prefix = f"text__{cls.__name__.lower()}"
    assert list(names[2:]) == [f"{prefix}0", f"{prefix}8"]


@pytest.mark.parametrize(
    ("cls", "weights"),
    [
        (ACMRProjector, {"label_weight": 0}),
        (CMGANProjector, {"label_weight": 0, "output": "embedding"}),
        (DRCLProjector, {"label_weight": 0}),
        (SSAHHasher, {"label_weight": 0}),
    ],
)
def test_probabilities_need_a_label_loss(cls, weights):
    estimator = make(cls, **weights).fit(A, B, y)
    for arguments in ((A, "image"), (make_pairs(A, B),)):
        with pytest.raises(ValueError, match="label_weight > 0"):
            estimator.predict_proba(*arguments)


def test_reconstructions_need_a_reconstruction_loss():
    estimator = make(CMGANProjector).fit(A, B, y)
    with pytest.raises(ValueError, match="reconstruction_weight > 0"):
        estimator.reconstruct(A, "image")
    estimator = CMGANProjector(
        reconstruction_weight=1.0, max_epochs=20, random_state=0
    ).fit(A, B, y)
    output = estimator.reconstruct(A, "image")
    assert np.corrcoef(output.ravel(), A.ravel())[0, 1] > 0.5


def test_aadah_has_no_probabilities():
    assert not hasattr(AADAHHasher, "predict_proba")


@pytest.mark.parametrize(
    "cls",
    [
        ACMRProjector,
        CMGANProjector,
        DRCLProjector,
        SSAHHasher,
        SemanticMatchingProjector,
    ],
)
def test_probabilities_of_pairs_are_means(cls):
    estimator = make(cls).fit(A, B, y)
    parts = [estimator.predict_proba(A, "image"), estimator.predict_proba(B, "text")]
    both = estimator.predict_proba(make_pairs(A, B))
    np.testing.assert_allclose(both, np.mean(parts, axis=0), rtol=1e-6)
    assert both.shape == (len(y), 3)
    assert ((both >= 0) & (both <= 1)).all()
    with pytest.raises(TypeError, match=r"predict_proba\(make_pairs\(X_img, X_txt\)\)"):
        estimator.predict_proba(A, B)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        estimator.predict_proba({"image": A, "text": B[1:]})
