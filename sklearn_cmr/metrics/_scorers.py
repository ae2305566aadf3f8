"""Scorers that evaluate cross-modal retrieval in scikit-learn's model selection."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import StrOptions, validate_params
from sklearn.utils.metadata_routing import UNUSED

from sklearn_cmr._inputs.labels import as_label_array
from sklearn_cmr._warnings import stacklevel_of_caller
from sklearn_cmr.metrics._directions import DIRECTIONS, mean_map
from sklearn_cmr.metrics._embeddings import split_output
from sklearn_cmr.metrics._evaluation import MAP_CONSTRAINTS


def _warn_sorted_fold(estimator, y):
    """Warn if the classes in `y` look like a block of rows sorted by label.

    Random folds contain nearly all classes of the estimator and hardly any other one.
    With fewer than ten rows per class, missing classes are no evidence.
    """
    classes = np.asarray(getattr(estimator, "classes_", ()))
    y = y.toarray() if issparse(y) else as_label_array(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or classes.ndim != 1 or len(classes) == 0 or len(y) == 0:
        return
    known = np.isin(y, classes)
    n_found = len(set(y[known].tolist()))
    if np.mean(known) <= 0.5:
        finding = (
            f"{np.count_nonzero(~known)} of {len(y)} rows belong to classes the "
            "estimator was not trained on"
        )
    elif len(y) >= 10 * len(classes) and n_found < len(classes) / 2:
        finding = (
            f"{len(y)} rows hold only {n_found} of the {len(classes)} classes the "
            "estimator was trained on"
        )
    else:
        return
    warnings.warn(
        f"{finding}. Folds of rows that are sorted by label make such scores far too "
        "high or meaningless. Use a splitter that shuffles in cross-validation, such "
        "as StratifiedKFold(shuffle=True) or KFold(shuffle=True).",
        UserWarning,
        stacklevel=stacklevel_of_caller(),
    )


class MapScorer(BaseEstimator):
    """Score retrieval by the mean average precision, see :func:`make_map_scorer`.

    The scorer is an estimator for the sake of parameters, cloning and metadata routing.
    Its parameters have no defaults, as scikit-learn leaves defaults out of the
    representation of a search.
    """

    # The first argument of a scorer is no metadata.
    __metadata_request__score = {"estimator": UNUSED}

    def __init__(
        self,
        *,
        direction,
        metric,
        k,
        normalizer,
        ties,
        zero_relevant,
        chunk_size,
        random_state,
    ):
        self.direction = direction
        self.metric = metric
        self.k = k
        self.normalizer = normalizer
        self.ties = ties
        self.zero_relevant = zero_relevant
        self.chunk_size = chunk_size
        self.random_state = random_state

    def __call__(self, estimator, X, y=None, sample_weight=None):
        return self.score(estimator, X, y, sample_weight=sample_weight)

    def score(self, estimator, X, y, sample_weight=None):
        """Score the retrieval of the other modality by a fitted estimator.

        Parameters
        ----------
        estimator : object
            Fitted estimator whose `transform` gives image and text embeddings.

        X : {mapping, dataframe, array-like}
            Pairs in a form that `estimator.transform` takes.

        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Classes or label indicator of the pairs.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the queries.

        Returns
        -------
        score : float
            The mean average precision.
        """
        if y is None:
            raise ValueError(
                "The mean average precision needs labels to know what is relevant, but "
                "y is None. Pass y to the search or the cross-validation."
            )
        embeddings = split_output(estimator, estimator.transform(X))
        missing = {"image", "text"} - set(embeddings)
        if missing:
            raise ValueError(
                "A mapping returned by transform must have the keys 'image' and 'text';"
                f" got {sorted(map(str, embeddings))}."
            )
        _warn_sorted_fold(estimator, y)
        options = self.get_params(deep=False)
        direction = options.pop("direction")
        names = DIRECTIONS if direction == "mean" else [direction]
        return mean_map(
            embeddings,
            y,
            directions=[DIRECTIONS[name] for name in names],
            sample_weight=sample_weight,
            **options,
        )

    @property
    def __name__(self):
        # Labels the axis of scikit-learn's curves, without the underscores.
        name = "mean_average_precision"
        if self.k is not None:
            name += f"_at_{self.k}"
        if self.direction != "mean":
            name += "_{}_to_{}".format(*DIRECTIONS[self.direction])
        return name

    def _accept_sample_weight(self):
        # Asked by searches while metadata routing is off.
        return True

    def __repr__(self, N_CHAR_MAX=None):
        names = ("direction", *MAP_CONSTRAINTS)
        params = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"make_map_scorer({params})"

    def __eq__(self, other):
        return type(self) is type(other) and self.get_params() == other.get_params()

    def __hash__(self):
        return hash(repr(self))


@validate_params(
    {"direction": [StrOptions({"mean", "i2t", "t2i"})], **MAP_CONSTRAINTS},
    prefer_skip_nested_validation=True,
)
def make_map_scorer(
    *,
    direction="mean",
    metric="auto",
    k=None,
    normalizer="retrieved",
    ties="auto",
    zero_relevant="zero",
    chunk_size=None,
    random_state=None,
):
    """Make a scorer of the mean average precision for searches and cross-validation.

    The scorer encodes the held-out pairs with one call of `estimator.transform`. The
    items of one modality then retrieve those of the other. The output may have any of
    these forms:

    - a mapping with the keys "image" and "text", or a tuple of both;
    - a DataFrame or an array whose column names, or `get_feature_names_out` names,
      have the prefix `image__` or `text__`, also after another prefix such as that of
      a :class:`~sklearn.pipeline.FeatureUnion`;
    - an array without such names, whose first half is the image embeddings.

    Parameters
    ----------
    direction : {"mean", "i2t", "t2i"}, default="mean"
        Direction of retrieval: images retrieve texts ("i2t"), texts retrieve images
        ("t2i"), or the mean of both.

    metric : {"auto", "cosine", "euclidean", "hamming", "inner_product"}, \
            default="auto"
        See :func:`mean_average_precision`, as for all parameters below.

    k : int, default=None
        Length of the ranked list, None for all pairs.

    normalizer : {"retrieved", "min", "all"}, default="retrieved"
        Divisor of the average precision at `k`.

    ties : {"auto", "expected", "stable", "optimistic", "pessimistic", "random"}, \
            default="auto"
        Order of tied items.

    zero_relevant : {"zero", "skip", "nan"}, default="zero"
        Value of a query without any relevant item.

    chunk_size : int, default=None
        Number of queries processed at once.

    random_state : int, RandomState instance or None, default=None
        Determines the order of tied items if `ties="random"`.

    Returns
    -------
    scorer : callable
        Object with the signature `scorer(estimator, X, y, sample_weight=None)`, for
        the parameter `scoring`. Greater is better.

    Warns
    -----
    UserWarning
        If the fold seems to consist of rows sorted by label: most rows are of classes
        that are unknown to the estimator, or many rows cover less than half of its
        classes. The scores of such folds are meaningless.
    UndefinedMetricWarning
        See :func:`mean_average_precision`.

    See Also
    --------
    mean_average_precision : The metric.

    Notes
    -----
    With metadata routing enabled, `make_map_scorer().set_score_request(
    sample_weight=True)` requests weights of the queries. Use a new scorer for this:
    `map_scorer` is shared, and so would be its request.

    Examples
    --------
    >>> from sklearn_cmr.metrics import make_map_scorer
    >>> scorer = make_map_scorer(direction="i2t", k=50)
    >>> scorer.get_params()["k"]
    50
    """
    return MapScorer(
        direction=direction,
        metric=metric,
        k=k,
        normalizer=normalizer,
        ties=ties,
        zero_relevant=zero_relevant,
        chunk_size=chunk_size,
        random_state=random_state,
    )


map_scorer = make_map_scorer()
map_i2t_scorer = make_map_scorer(direction="i2t")
map_t2i_scorer = make_map_scorer(direction="t2i")
