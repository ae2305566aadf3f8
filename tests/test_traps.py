"""Traps that lie in silence elsewhere: here they warn, raise, or cannot happen."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import ACMRProjector, PairTransformer, make_pairs
from sklearn_cmr._inputs import features
from sklearn_cmr.datasets import make_cross_modal_classification
from sklearn_cmr.exceptions import ImplicitSplitWarning
from sklearn_cmr.metrics import make_map_scorer, map_scorer

N_IMAGE, N_TEXT = 12, 7
A, B, y = make_cross_modal_classification(
    240, n_image_features=N_IMAGE, n_text_features=N_TEXT, n_classes=4, random_state=0
)
WHOLE = np.hstack([A, B])
SHUFFLED = StratifiedKFold(4, shuffle=True, random_state=0)


def projector(**params):
    small = {"embedding_dim": 8, "hidden_layer_sizes": (16,), "max_epochs": 2}
    return ACMRProjector(**small | {"random_state": 0} | params)


# A cut in the wrong place ------------------------------------------------------


@pytest.mark.parametrize("estimator", [projector(), PairTransformer()])
def test_the_default_half_warns_and_names_the_split(estimator):
    text = (
        "n_image_features is not set: the first 9 of the 19 columns are taken as image "
        "features. If the text features start at another column, features of one "
        "modality leak into the other, and the scores are too good."
    )
    with pytest.warns(UserWarning) as caught:
        estimator.fit(WHOLE, y)
    (warning,) = caught
    assert warning.category is ImplicitSplitWarning
    assert str(warning.message).startswith(text)
    assert (estimator.n_image_features_in_, estimator.n_text_features_in_) == (9, 10)


@pytest.mark.parametrize(
    "fit",
    [
        lambda: projector().fit(WHOLE, y),
        lambda: projector().fit_transform(WHOLE, y),
        lambda: make_pipeline(StandardScaler(), projector()).fit(
            make_pairs(*FRAMES), y
        ),
        lambda: cross_val_score(projector(), WHOLE, y, cv=SHUFFLED, scoring=map_scorer),
    ],
    ids=["fit", "fit_transform", "pipeline", "search"],
)
def test_the_default_half_warns_once_at_the_caller(fit):
    with pytest.warns(ImplicitSplitWarning) as caught:
        fit()
        projector().fit(WHOLE[:, :9], y)
    assert [warning.filename for warning in caught] == [__file__]


def test_a_warning_that_became_an_error_is_given_again():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            with pytest.raises(ImplicitSplitWarning):
                projector().fit(WHOLE, y)


FRAMES = [
    pd.DataFrame(part, columns=[f"{name}__{i}" for i in range(part.shape[1])])
    for name, part in (("img", A), ("txt", B))
]
PAIRED_FRAME = make_pairs(*FRAMES)
NAMED = {
    "other prefixes": pd.concat(FRAMES, axis=1),
    "other names": pd.DataFrame(WHOLE, columns=list("abcdefghijklmnopqrs")),
    "numbered": pd.DataFrame(WHOLE).rename(columns=lambda i: f"{'xz'[i >= 12]}{i}"),
}


@pytest.mark.parametrize("names", NAMED)
@pytest.mark.parametrize("estimator", [projector(), PairTransformer()])
def test_names_that_tell_nothing_of_modalities_raise(estimator, names):
    frame = NAMED[names]
    with pytest.raises(ValueError) as caught:
        clone(estimator).fit(frame, y)
    for remedy in ("Start every name with 'image__' or 'text__'", "n_image_features"):
        assert remedy in str(caught.value)
    fitted = clone(estimator).set_params(n_image_features=N_IMAGE).fit(frame, y)
    assert fitted.n_image_features_in_ == N_IMAGE
    prefixed = frame.set_axis(
        [f"{'image' if i < N_IMAGE else 'text'}__{i}" for i in range(19)], axis=1
    )
    assert clone(estimator).fit(prefixed, y).n_image_features_in_ == N_IMAGE


def test_columns_that_are_only_numbered_warn():
    # Such as those that scikit-learn's transformers make.
    frame = pd.DataFrame(WHOLE).rename(columns=lambda i: f"pca{i}")
    for X in (frame, pd.DataFrame(WHOLE)):
        with pytest.warns(ImplicitSplitWarning):
            projector().fit(X, y)
        features._split_warning_given = False


def test_a_wrong_half_makes_the_score_better():
    # The reason for the warning: three image columns in the text are a leak.
    X_img, X_txt, labels = make_cross_modal_classification(
        240,
        n_image_features=N_IMAGE,
        n_text_features=N_TEXT,
        n_classes=4,
        image_noise=0.1,
        text_noise=3,
        random_state=2,
    )
    wrong, right = (
        cross_val_score(
            projector(max_epochs=15, lr=1e-2, adversarial_weight=0, n_image_features=n),
            np.hstack([X_img, X_txt]),
            labels,
            cv=SHUFFLED,
            scoring=map_scorer,
        ).mean()
        for n in (9, N_IMAGE)
    )
    assert wrong > right + 0.1


@pytest.mark.parametrize("X", [(A, B), (make_pairs(A, B),)])
def test_named_modalities_do_not_warn(X):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        projector().fit(*X, y)


def test_a_set_cut_does_not_warn_and_is_remembered():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator = projector(n_image_features=N_IMAGE).fit(WHOLE, y)
        estimator.set_params(n_image_features=None)
        Z = estimator.transform(WHOLE)
        estimator.score(WHOLE, y)
    np.testing.assert_array_equal(Z, np.hstack(estimator.transform(A, B)))


def test_images_and_labels_without_the_text_warn():
    with pytest.warns(UserWarning, match="the first 6 of the 12 columns are taken"):
        projector().fit(A, y)


def test_text_of_tags_is_never_taken_for_labels():
    tags = (B > 0).astype(int)
    tags[:, 0] = 1
    with pytest.raises(ValueError, match="pass the labels too"):
        projector().fit(A, tags)


# Projectors side by side -------------------------------------------------------


def _union():
    return FeatureUnion(
        [
            ("a", projector(n_image_features=N_IMAGE)),
            ("b", projector(n_image_features=N_IMAGE, max_epochs=3)),
        ]
    )


def test_union_is_split_by_names():
    train, test = next(SHUFFLED.split(WHOLE, y))
    union = _union().fit(WHOLE[train], y[train])
    Z = union.transform(WHOLE[test])
    names = union.get_feature_names_out()
    is_image = np.array(["__image__" in name for name in names])
    assert is_image.sum() == 16 and not is_image[8:16].any()

    class Halves:
        classes_ = np.unique(y)

        def transform(self, X):
            return np.hstack([Z[:, is_image], Z[:, ~is_image]])

    score = map_scorer(union, WHOLE[test], y[test])
    assert score == map_scorer(Halves(), WHOLE[test], y[test])

    class WrongHalves(Halves):
        def transform(self, X):
            return Z

    # Each half would hold the images and the texts of the same rows.
    assert map_scorer(WrongHalves(), WHOLE[test], y[test]) > score + 0.1


def test_union_in_a_cross_validation_stays_near_its_members():
    options = {"cv": SHUFFLED, "scoring": map_scorer, "error_score": "raise"}
    union = cross_val_score(_union(), WHOLE, y, **options).mean()
    member = cross_val_score(_union()["a"], WHOLE, y, **options).mean()
    assert abs(union - member) < 0.1


# Folds of sorted rows ----------------------------------------------------------

ORDER = np.argsort(y, kind="stable")
SORTED = make_pairs(A[ORDER], B[ORDER]), y[ORDER]


@pytest.mark.parametrize("cv", [4, KFold(4), KFold(3), KFold(8)])
def test_folds_of_sorted_rows_warn(cv):
    with pytest.warns(
        UserWarning, match="sorted by label|Every gallery item"
    ) as caught:
        scores = cross_val_score(
            projector(), *SORTED, cv=cv, scoring=map_scorer, error_score="raise"
        )
    assert len(caught) >= len(scores) / 2


@pytest.mark.parametrize(
    "cv",
    [
        SHUFFLED,
        StratifiedKFold(4),
        KFold(4, shuffle=True, random_state=0),
        KFold(20, shuffle=True, random_state=0),
    ],
)
def test_shuffled_or_stratified_folds_do_not_warn(cv):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cross_val_score(
            projector(), *SORTED, cv=cv, scoring=map_scorer, error_score="raise"
        )


@pytest.mark.filterwarnings("ignore:60 rows hold only 1 of the 4 classes")
def test_one_class_folds_score_one_with_a_warning():
    estimator = projector().fit(A, B, y)
    one = y == 2
    with pytest.warns(UndefinedMetricWarning, match="any ranking scores 1"):
        assert map_scorer(estimator, make_pairs(A[one], B[one]), y[one]) == 1
    with pytest.warns(UndefinedMetricWarning, match="any ranking scores 1"):
        assert estimator.score(A[one], B[one], y[one]) == 1


def test_projectors_are_no_classifiers():
    # scikit-learn stratifies classifiers' folds by itself; the documentation must not
    # promise this for our estimators.
    from sklearn.base import is_classifier
    from sklearn.model_selection import check_cv

    assert not is_classifier(projector())
    folds = check_cv(4, y, classifier=is_classifier(projector()))
    assert isinstance(folds, KFold) and not folds.shuffle
    assert is_classifier(DummyClassifier())


# Early stopping on sorted rows -------------------------------------------------


@pytest.fixture
def held_out(monkeypatch):
    """Collect the rows that fits train on and those that they hold out."""
    collected = []
    make_task = ACMRProjector._make_task

    def make_and_keep(self, *args):
        task = make_task(self, *args)
        collected.append((task.train().indices, task.held_out().indices))
        return task

    monkeypatch.setattr(ACMRProjector, "_make_task", make_and_keep)
    return collected


@pytest.mark.parametrize("fraction", [0.1, 0.25])
def test_held_out_rows_of_sorted_rows_have_all_classes(fraction, held_out):
    pairs, labels = SORTED
    estimator = projector(early_stopping=True, validation_fraction=fraction)
    estimator.fit(pairs, labels)
    ((train, valid),) = held_out
    assert len(valid) == round(fraction * len(labels))
    assert not set(train) & set(valid)
    assert sorted([*train, *valid]) == list(range(len(labels)))
    counts = np.bincount(labels[valid], minlength=4)
    assert counts.min() > 0 and np.ptp(counts) <= 1
    # Nearly everything would be relevant if the last rows were held out.
    assert 0.2 < estimator.history_[0]["valid_map"] < 0.8


def test_held_out_rows_of_indicators_are_shuffled(held_out):
    pairs, labels = SORTED
    projector(early_stopping=True).fit(pairs, np.eye(4, dtype=int)[labels])
    ((_, valid),) = held_out
    assert len(set(labels[valid])) == 4


def test_the_split_follows_the_seed(held_out):
    for seed in (0, 0, 1):
        projector(early_stopping=True, random_state=seed).fit(*SORTED)
    first, again, other = (set(valid) for _, valid in held_out)
    assert first == again != other


# Ties and denominators ---------------------------------------------------------


def test_definition_is_part_of_the_scorer():
    scorer = make_map_scorer(k=5, normalizer="all", ties="pessimistic")
    for option in ("k=5", "normalizer='all'", "ties='pessimistic'", "direction='mean'"):
        assert option in repr(scorer)
