"""Retrieval quality with the defaults on real feature sets."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import (
    ACMRProjector,
    CMGANProjector,
    DRCLProjector,
    PairTransformer,
    make_pairs,
)
from sklearn_cmr.metrics import map_scorer


# benchmarks/quality.py measures all of them with more seeds.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "name", "n_seeds", "expected"),
    [
        (ACMRProjector, "wiki_sift_lda", 1, 0.262),
        (ACMRProjector, "wiki_cnn_pca", 1, 0.385),
        (ACMRProjector, "uci_mfeat", 1, 0.805),
        (ACMRProjector, "iaprtc12_1962", 1, 0.560),
        (ACMRProjector, "pascal_sentence_100", 1, 0.600),
        (CMGANProjector, "wiki_sift_lda", 1, 0.250),
        (DRCLProjector, "wiki_sift_lda", 1, 0.265),
        (DRCLProjector, "wiki_cnn_pca", 1, 0.380),
        (DRCLProjector, "uci_mfeat", 1, 0.770),
    ],
)
def test_defaults_work_out_of_the_box(real_data, method, name, n_seeds, expected):
    arrays = real_data(name)
    train = make_pairs(arrays["image_train"], arrays["text_train"])
    test = make_pairs(arrays["image_test"], arrays["text_test"])
    scores = []
    for seed in range(n_seeds):
        model = make_pipeline(
            PairTransformer(image=StandardScaler(), text=StandardScaler()),
            method(random_state=seed),
        ).fit(train, arrays["y_train"])
        scores.append(map_scorer(model, test, arrays["y_test"]))
    assert np.mean(scores) >= expected
