"""scikit-learn's own tools on pairs in every container, and their results equal."""

# SPDX-License-Identifier: BSD-3-Clause

import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    KFold,
    RandomizedSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    permutation_test_score,
    train_test_split,
    validation_curve,
)
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.helper import SliceDict

from sklearn_cmr import ACMRProjector, PairTransformer, make_pairs
from sklearn_cmr.datasets import make_cross_modal_classification
from sklearn_cmr.metrics import (
    make_map_scorer,
    map_i2t_scorer,
    map_scorer,
    map_t2i_scorer,
)

N_IMAGE, N_TEXT = 12, 7
_IMAGE, _TEXT, y = make_cross_modal_classification(
    72, n_image_features=N_IMAGE, n_text_features=N_TEXT, n_classes=3, random_state=0
)
# Few values, exact in every dtype; the text is not negative and partly zero.
A = np.round(_IMAGE * 4) / 4
B = np.maximum(np.round(_TEXT * 4) / 4, 0)
SEVERAL = np.column_stack([y == 0, y > 0, np.arange(72) % 2]).astype(int)
SEVERAL[:, 2] |= SEVERAL[:, 0]
WHOLE = np.hstack([A, B])
_IMAGE_FRAME = pd.DataFrame(A, columns=[f"i{i}" for i in range(N_IMAGE)])
_TEXT_FRAME = pd.DataFrame(B, columns=[f"t{i}" for i in range(N_TEXT)])

CONTAINERS = {
    "slicedict": make_pairs(A, B),
    "slicedict_csr": make_pairs(A, sparse.csr_array(B)),
    "slicedict_tensors": make_pairs(torch.tensor(A), torch.tensor(B)),
    "levels": pd.concat({"image": _IMAGE_FRAME, "text": _TEXT_FRAME}, axis=1),
    "prefixed": make_pairs(_IMAGE_FRAME, _TEXT_FRAME),
    "plain": WHOLE,
    "plain_csr": sparse.csr_array(WHOLE),
}
each_container = pytest.mark.parametrize("container", CONTAINERS)
CV = StratifiedKFold(2, shuffle=True, random_state=0)
OPTIONS = {"scoring": map_scorer, "cv": CV, "error_score": "raise"}
GRID = {"margin": [0.2, 0.5], "lr": [1e-3, 1e-2]}


def projector(**params):
    small = {"embedding_dim": 8, "hidden_layer_sizes": (16,), "max_epochs": 2}
    fixed = {"random_state": 0, "n_image_features": N_IMAGE}
    return ACMRProjector(**small | fixed | params)


@pytest.fixture(scope="module")
def expected():
    """Results with a mapping of dense arrays, made once for each tool."""
    made = {}

    def result(tool):
        if tool not in made:
            made[tool] = TOOLS[tool](CONTAINERS["slicedict"])
        return made[tool]

    return result


def _search(search_class, parameters=GRID, **params):
    def run(X):
        search = search_class(projector(), parameters, **OPTIONS | params).fit(X, y)
        assert search.best_params_.keys() == parameters.keys()
        assert search.transform(X) is not None
        results = search.cv_results_["mean_test_score"]
        return np.append(results, search.score(X, y))

    return run


def _halving(search_class, **params):
    return _search(
        search_class,
        min_resources=36,
        max_resources=72,
        random_state=0,
        **params,
    )


def _train_test_split(X):
    train, test, y_train, y_test = train_test_split(
        X, y, test_size=0.25, stratify=y, random_state=0
    )
    return projector().fit(train, y_train).score(test, y_test)


def _cross_validate(X):
    result = cross_validate(projector(), X, y, return_estimator=True, **OPTIONS)
    assert all(isinstance(fold, ACMRProjector) for fold in result["estimator"])
    return result["test_score"]


def _several_scorers(X):
    scoring = {"i2t": map_i2t_scorer, "t2i": map_t2i_scorer, "mean": map_scorer}
    result = cross_validate(projector(), X, y, **OPTIONS | {"scoring": scoring})
    both = (result["test_i2t"] + result["test_t2i"]) / 2
    np.testing.assert_allclose(result["test_mean"], both)
    return result["test_i2t"]


def _learning_curve(X):
    sizes, *scores = learning_curve(
        projector(), X, y, train_sizes=[18, 36], shuffle=True, random_state=0, **OPTIONS
    )
    assert_array_equal(sizes, [18, 36])
    return np.concatenate(scores)


def _validation_curve(X):
    return np.concatenate(
        validation_curve(
            projector(), X, y, param_name="margin", param_range=[0.2, 0.5], **OPTIONS
        )
    )


def _permutation_test(X):
    options = {k: v for k, v in OPTIONS.items() if k != "error_score"}
    score, permuted, p_value = permutation_test_score(
        projector(), X, y, n_permutations=3, random_state=0, **options
    )
    return np.array([score, *permuted, p_value])


TOOLS = {
    "train_test_split": _train_test_split,
    "grid": _search(GridSearchCV),
    "random": _search(RandomizedSearchCV, n_iter=2, random_state=0),
    "halving_grid": _halving(HalvingGridSearchCV),
    "halving_random": _halving(HalvingRandomSearchCV, n_candidates=2),
    "cross_validate": _cross_validate,
    "several_scorers": _several_scorers,
    "learning_curve": _learning_curve,
    "validation_curve": _validation_curve,
    "permutation_test": _permutation_test,
}


@each_container
@pytest.mark.parametrize("tool", TOOLS)
def test_tool(tool, container, expected):
    assert_array_equal(TOOLS[tool](CONTAINERS[container]), expected(tool))


# Worker processes -------------------------------------------------------------


@pytest.mark.slow
@each_container
def test_two_jobs_equal_one(container, expected):
    X = CONTAINERS[container]
    search = GridSearchCV(projector(), GRID, n_jobs=2, **OPTIONS).fit(X, y)
    scores = np.append(search.cv_results_["mean_test_score"], search.score(X, y))
    assert_array_equal(scores, expected("grid"))
    result = cross_validate(
        projector(), X, y, n_jobs=2, return_estimator=True, **OPTIONS
    )
    assert_array_equal(result["test_score"], expected("cross_validate"))
    fold = result["estimator"][0]
    assert_array_equal(fold.classes_, [0, 1, 2])


@pytest.mark.parametrize("container", ["slicedict", "prefixed"])
def test_threads_equal_one_process(container, expected):
    with joblib.parallel_config("threading", n_jobs=3):
        result = _cross_validate(CONTAINERS[container])
    assert_array_equal(result, expected("cross_validate"))


@pytest.mark.parametrize("container", ["slicedict", "levels", "prefixed", "plain"])
@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names")
def test_global_output_setting(container, library):
    pytest.importorskip(library)
    X = CONTAINERS[container]
    pipeline = make_pipeline(
        PairTransformer(image=StandardScaler(), n_image_features=N_IMAGE), projector()
    )
    scores = cross_val_score(pipeline, X, y, **OPTIONS)
    with config_context(transform_output=library):
        assert_array_equal(cross_val_score(pipeline, X, y, **OPTIONS), scores)


# Splitters --------------------------------------------------------------------

GROUPS = np.arange(72) // 6


@each_container
@pytest.mark.parametrize(
    "cv", [KFold(2, shuffle=True, random_state=0), GroupKFold(2), CV, 3]
)
@pytest.mark.parametrize("labels", [y, SEVERAL], ids=["classes", "indicator"])
def test_splitters(cv, container, labels):
    options = OPTIONS | {"cv": cv}
    if isinstance(cv, GroupKFold):
        options["groups"] = GROUPS
    arguments = projector(), CONTAINERS[container], labels
    if labels.ndim == 2 and isinstance(cv, StratifiedKFold):
        with pytest.raises(ValueError, match="Supported target types are"):
            cross_val_score(*arguments, **options)
        return
    scores = cross_val_score(*arguments, **options)
    assert ((scores > 0) & (scores <= 1)).all()


@each_container
def test_search_with_sparse_labels(container):
    # cross_val_score itself refuses a sparse y; a search takes it.
    options = OPTIONS | {"cv": KFold(2, shuffle=True, random_state=0)}
    found = [
        GridSearchCV(projector(), GRID, **options).fit(CONTAINERS[container], labels)
        for labels in (SEVERAL, sparse.csr_array(SEVERAL))
    ]
    dense, from_sparse = (search.cv_results_["mean_test_score"] for search in found)
    assert_array_equal(dense, from_sparse)


@each_container
def test_stratify_several_labels_by_their_sets(container):
    _, powerset = np.unique(SEVERAL, axis=0, return_inverse=True)
    powerset = powerset.ravel()  # numpy 2.0 keeps the axis
    X = CONTAINERS[container]
    splitter = StratifiedKFold(2, shuffle=True, random_state=0)
    folds = list(splitter.split(X, powerset))
    scores = cross_val_score(projector(), X, SEVERAL, **OPTIONS | {"cv": folds})
    assert np.isfinite(scores).all()
    for _, test in folds:
        assert len(set(powerset[test])) == len(set(powerset))


# Pipelines --------------------------------------------------------------------


@each_container
def test_pipeline_with_pair_transformer(container, tmp_path):
    X = CONTAINERS[container]
    prepare = PairTransformer(text=TfidfTransformer(), n_image_features=N_IMAGE)
    if container in ("levels", "prefixed"):
        prepare.set_params(text=StandardScaler())  # a frame holds no sparse output
    steps = [("prepare", prepare), ("projector", projector())]
    pipeline = Pipeline(steps)
    if container == "slicedict_tensors":
        pipeline.set_params(prepare__text=StandardScaler())
    cached = clone(pipeline).set_params(memory=str(tmp_path))
    scores = cross_val_score(pipeline, X, y, **OPTIONS)
    for _ in range(2):
        assert_array_equal(cross_val_score(cached, X, y, **OPTIONS), scores)
    search = GridSearchCV(pipeline, {"projector__margin": [0.2, 0.5]}, **OPTIONS)
    search.fit(X, y)
    assert search.best_estimator_.score(X, y) == search.score(X, y)
    names = search.best_estimator_.get_feature_names_out()
    assert names[0] == "image__acmrprojector0"


def _column_transformer(X, output):
    image, text = np.split(np.arange(N_IMAGE + N_TEXT), [N_IMAGE])
    columns = ColumnTransformer(
        [
            ("image", make_pipeline(StandardScaler(), PCA(5, random_state=0)), image),
            ("text", StandardScaler(with_mean=output == "pandas"), text),
        ]
    )
    return columns.set_output(transform=output)


@pytest.mark.parametrize("container", ["prefixed", "plain"])
def test_column_transformer_with_pandas_output(container):
    X = CONTAINERS[container]
    pipeline = make_pipeline(
        _column_transformer(X, "pandas"), projector(n_image_features=None)
    )
    scores = cross_val_score(pipeline, X, y, **OPTIONS)
    assert np.isfinite(scores).all()
    fitted = pipeline.fit(X, y)[-1]
    assert (fitted.n_image_features_in_, fitted.n_text_features_in_) == (5, N_TEXT)
    assert fitted.feature_names_in_[0].startswith("image__pca0")
    assert list(fitted.feature_names_in_)[5].startswith("text__")


def test_column_transformer_with_callable_columns_on_levels():
    X = CONTAINERS["levels"]
    columns = ColumnTransformer(
        [
            ("image", StandardScaler(), lambda X: np.arange(N_IMAGE)),
            ("text", StandardScaler(), lambda X: np.arange(N_IMAGE, X.shape[1])),
        ]
    )
    pipeline = make_pipeline(columns, projector())
    assert np.isfinite(cross_val_score(pipeline, X, y, **OPTIONS)).all()


@pytest.mark.parametrize("container", ["plain", "plain_csr", "prefixed"])
def test_column_transformer_with_array_output(container):
    # The width of the image part after the preprocessing has to be given.
    X = CONTAINERS[container]
    steps = [
        ("columns", _column_transformer(X, "default")),
        ("projector", projector(n_image_features=5)),
    ]
    pipeline = Pipeline(steps)
    if container == "plain_csr":
        pipeline.set_params(columns__image=PCA(5, random_state=0))
    assert np.isfinite(cross_val_score(pipeline, X, y, **OPTIONS)).all()
    fitted = pipeline.fit(X, y)[-1]
    assert (fitted.n_image_features_in_, fitted.n_text_features_in_) == (5, N_TEXT)


def test_scaler_with_pandas_output_keeps_the_prefixes():
    scale = StandardScaler().set_output(transform="pandas")
    pipeline = make_pipeline(scale, projector(n_image_features=None))
    scores = cross_val_score(pipeline, CONTAINERS["prefixed"], y, **OPTIONS)
    whole = make_pipeline(StandardScaler(), projector())
    assert_array_equal(scores, cross_val_score(whole, WHOLE, y, **OPTIONS))


def test_scaler_with_array_output_loses_the_split_with_a_warning():
    pipeline = make_pipeline(StandardScaler(), projector(n_image_features=None))
    with pytest.warns(UserWarning, match="n_image_features is not set"):
        pipeline.fit(CONTAINERS["prefixed"], y)


@pytest.mark.parametrize("container", ["plain", "plain_csr"])
def test_union_of_projectors(container):
    union = FeatureUnion([("a", projector()), ("b", projector(random_state=1))])
    scores = cross_val_score(union, CONTAINERS[container], y, **OPTIONS)
    assert ((scores > 0) & (scores < 0.9)).all()
    union.set_output(transform="pandas")
    labelled = cross_val_score(union, CONTAINERS[container], y, **OPTIONS)
    assert_array_equal(labelled, scores)


# Copies, files, routing -------------------------------------------------------


@each_container
def test_dump_and_load(container, tmp_path):
    X = CONTAINERS[container]
    estimator = projector().set_output(transform="default").fit(X, y)
    joblib.dump(estimator, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib")
    assert loaded.score(X, y) == estimator.score(X, y)
    assert clone(loaded).fit(X, y).score(X, y) == estimator.score(X, y)


@pytest.mark.slow
def test_load_in_another_process(tmp_path):
    estimator = projector().fit(A, B, y)
    joblib.dump((estimator, CONTAINERS["slicedict"]), tmp_path / "model.joblib")
    code = (
        "import joblib, numpy, sys\n"
        "estimator, pairs = joblib.load(sys.argv[1] + '/model.joblib')\n"
        "numpy.savez(sys.argv[1] + '/Z.npz', **estimator.transform(pairs))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)
    with np.load(tmp_path / "Z.npz") as Z:
        assert_array_equal(Z["image"], estimator.transform_image(A))
        assert_array_equal(Z["text"], estimator.transform_text(B))


@each_container
def test_metadata_routing(container):
    X = CONTAINERS[container]
    weights = np.linspace(0.1, 1, 72)
    pipeline = make_pipeline(
        PairTransformer(n_image_features=N_IMAGE), projector()
    ).fit(X, y)
    score = pipeline.score(X, y)
    with config_context(enable_metadata_routing=True):
        assert pipeline.score(X, y) == score
        search = GridSearchCV(clone(pipeline), {"acmrprojector__margin": [0.3]})
        search.set_params(**OPTIONS).fit(X, y)
        weighted = make_map_scorer().set_score_request(sample_weight=True)
        scores = cross_validate(
            pipeline,
            X,
            y,
            **OPTIONS | {"scoring": weighted},
            params={"sample_weight": weights},
        )
        unweighted = cross_validate(pipeline, X, y, **OPTIONS, params={})
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert (scores["test_score"] != unweighted["test_score"]).all()


def test_default_scoring_is_the_score_method():
    options = OPTIONS | {"scoring": None}
    X = CONTAINERS["slicedict"]
    scores = cross_val_score(projector(metric="cosine"), X, y, **options)
    np.testing.assert_allclose(scores, cross_val_score(projector(), X, y, **OPTIONS))


# What does not work, as the documentation says --------------------------------


def test_two_arrays_do_not_fit_a_search():
    with pytest.raises(TypeError):
        GridSearchCV(projector(), GRID, **OPTIONS).fit(A, B, y)


@pytest.mark.parametrize(
    ("pairs", "error"),
    [
        ({"image": A, "text": B}, "inconsistent numbers of samples"),
        ([A, B], "inconsistent numbers of samples|list of two arrays"),
    ],
)
def test_containers_without_rows_do_not_fit_a_search(pairs, error):
    with pytest.raises((ValueError, TypeError), match=error):
        cross_val_score(projector(), pairs, y, **OPTIONS)


def test_mapping_of_frames_does_not_fit_a_search():
    # The reason why make_pairs makes one frame of two.
    pairs = SliceDict(image=_IMAGE_FRAME, text=_TEXT_FRAME)
    assert projector().fit(pairs, y).score(pairs, y) > 0
    with pytest.raises((KeyError, pd.errors.InvalidIndexError)):
        cross_val_score(projector(), pairs, y, **OPTIONS)


@each_container
def test_cross_val_predict_wants_predict(container):
    with pytest.raises((AttributeError, ValueError, TypeError)):
        cross_val_predict(projector(), CONTAINERS[container], y, cv=CV)
