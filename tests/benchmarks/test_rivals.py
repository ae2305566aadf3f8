"""The searches over the rivals of the methods."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
import rivals
from sklearn.utils import get_tags

from sklearn_cmr import make_pairs
from sklearn_cmr.datasets import make_cross_modal_classification

A, B, y = make_cross_modal_classification(
    90, n_image_features=6, n_text_features=5, n_classes=3, random_state=0
)
SEVERAL = np.maximum(np.eye(3, dtype=np.uint8)[y], np.eye(3, dtype=np.uint8)[y[::-1]])


@pytest.fixture(autouse=True)
def small_grids(monkeypatch):
    """Keep the kinds of candidates, with one value of each parameter and few trees."""
    grids = rivals.matching_grids

    def shorten(y):
        short = {
            kind: {k: v[:1] for k, v in own.items()} for kind, own in grids(y).items()
        }
        for grid in short.values():
            for estimator in grid.get("estimator", []):
                if "n_estimators" in estimator.get_params():
                    estimator.set_params(n_estimators=5)
        return short

    monkeypatch.setattr(rivals, "matching_grids", shorten)
    monkeypatch.setattr(rivals, "CCA_GRID", {"n_components": [3]})


# SVC(probability=True) is to go in a later scikit-learn.
@pytest.mark.filterwarnings("ignore:.*probability:FutureWarning")
@pytest.mark.parametrize(("labels", "n_kinds"), [(y, 5), (SEVERAL, 3)])
@pytest.mark.parametrize("n_bits", [None, 8])
def test_every_kind_is_tried_and_reported(labels, n_kinds, n_bits, capsys):
    if n_bits is None:
        search = rivals.make_rival(labels)
    else:
        search = rivals.make_hashing_rival(labels, n_bits)
    assert not hasattr(search, "best_params_")
    search.fit(make_pairs(A, B), labels)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    method = search.best_estimator_[-1]
    assert get_tags(method).transformer_tags is not None
    if n_bits is not None:
        assert method.transform_image(A).shape == (90, n_bits)
    rivals.report("made", search, 0.0)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + n_kinds
    assert f"{search.best_score_:.4f}" in lines[1]
    assert any(line.split()[0] == "CCAProjector" for line in lines)
