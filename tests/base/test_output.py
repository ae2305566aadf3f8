"""The outputs of projectors: embeddings, label probabilities, or both."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import normalize

from sklearn_cmr import ACMRProjector, CMGANProjector, DRCLProjector, make_pairs
from sklearn_cmr.metrics import map_scorer, mean_average_precision
from tests.base.methods import A, B, make, y

each_projector = pytest.mark.parametrize(
    "cls", [ACMRProjector, CMGANProjector, DRCLProjector]
)


@each_projector
def test_outputs_of_one_fit(cls):
    est = make(cls, output="embedding").fit(A, B, y)
    Z = est.transform_image(A)
    assert Z.shape == (60, 8)
    probabilities = est.set_params(output="probabilities").transform_image(A)
    np.testing.assert_array_equal(probabilities, est.predict_proba(A, "image"))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    both = est.set_params(output="both").transform_image(A)
    expected = np.hstack([normalize(Z), normalize(probabilities)])
    np.testing.assert_allclose(both, expected, atol=1e-6)
    assert both.dtype == np.float32
    np.testing.assert_array_equal(both, est.transform(A, B)[0])
    np.testing.assert_array_equal(est.predict_proba(A, "image"), probabilities)


@each_projector
def test_names_of_the_output_columns(cls):
    est = make(cls, output="embedding").fit(A, B, y)
    for output, width in (("embedding", 8), ("probabilities", 3), ("both", 11)):
        est.set_params(output=output).set_output(transform="pandas")
        frame = est.transform(make_pairs(A, B))["text"]
        assert isinstance(frame, pd.DataFrame)
        prefix = f"text__{cls.__name__.lower()}"
        assert frame.columns.tolist() == [f"{prefix}{i}" for i in range(width)]
        assert len(est.get_feature_names_out()) == 2 * width


@each_projector
@pytest.mark.parametrize("output", ["probabilities", "both"])
def test_scores_and_validation_rank_by_the_output(cls, output):
    est = make(cls, output=output, early_stopping=True)
    est.fit(A, B, y, X_val=make_pairs(A, B), y_val=y)
    Z, Z_txt = est.transform(A, B)
    expected = [
        mean_average_precision(Z, Z_txt, y, y),
        mean_average_precision(Z_txt, Z, y, y),
    ]
    assert est.score(A, B, y) == pytest.approx(np.mean(expected))
    assert map_scorer(est, make_pairs(A, B), y) == est.score(A, B, y)
    if cls is not DRCLProjector:  # whose embeddings query the recast labels
        best = max(row["valid_map"] for row in est.history_)
        assert best == pytest.approx(est.score(A, B, y), abs=1e-6)


@each_projector
@pytest.mark.parametrize("output", ["probabilities", "both"])
def test_an_untrained_classifier_is_refused(cls, output):
    with pytest.raises(ValueError, match="only label_weight > 0 trains; got label_w"):
        make(cls, output=output, label_weight=0).fit(A, B, y)
    est = make(cls, output="embedding", label_weight=0).fit(A, B, y)
    assert est.transform_image(A).shape == (60, 8)
    est.set_params(output=output)
    with pytest.raises(ValueError, match="label_weight"):
        est.transform(A, B)


@each_projector
def test_other_outputs_are_refused(cls):
    with pytest.raises(ValueError, match="'output' parameter"):
        make(cls, output="codes").fit(A, B, y)
