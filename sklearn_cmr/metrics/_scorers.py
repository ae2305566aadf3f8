"""Scorers that evaluate cross-modal retrieval in scikit-learn's model selection."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings
from abc import ABCMeta, abstractmethod
from inspect import signature

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import (
    StrOptions,
    validate_parameter_constraints,
    validate_params,
)
from sklearn.utils.metadata_routing import UNUSED

from sklearn_cmr._inputs.labels import as_label_array
from sklearn_cmr._inputs.layout import MODALITIES
from sklearn_cmr._lazy import public
from sklearn_cmr._warnings import stacklevel_of_caller
from sklearn_cmr.metrics._average_precision import (
    map_at_r,
    mean_average_precision,
    r_precision,
)
from sklearn_cmr.metrics._cutoffs import (
    hit_rate_at_k,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
)
from sklearn_cmr.metrics._directions import DIRECTIONS, mean_of_directions
from sklearn_cmr.metrics._embeddings import split_output
from sklearn_cmr.metrics._evaluation import MAP_CONSTRAINTS, check_cutoffs
from sklearn_cmr.metrics._ranks import mean_rank, median_rank, reciprocal_rank, rsum

# The metrics by the names of their scorers.
METRICS = {
    "hit_rate": hit_rate_at_k,
    "map": mean_average_precision,
    "map_at_r": map_at_r,
    "ndcg": ndcg_at_k,
    "neg_mean_rank": mean_rank,
    "neg_median_rank": median_rank,
    "precision": precision_at_k,
    "r_precision": r_precision,
    "recall": recall_at_k,
    "reciprocal_rank": reciprocal_rank,
    "rsum": rsum,
}
# What a scorer passes itself, or what makes no sense between two modalities.
_SETTLED = {
    "X",
    "Y",
    "y",
    "query",
    "gallery",
    "y_query",
    "y_gallery",
    "sample_weight",
    "per_query",
    "exclude_self",
}
# Constraints of a scorer that differ from those of the metrics.
SCORER_CONSTRAINTS: dict[str, list] = {
    "k": MAP_CONSTRAINTS["k"],
    "metric": MAP_CONSTRAINTS["metric"],
    "relevance": [StrOptions({"label", "pair"})],
}


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


def _relevance(function, options):
    """Return the relevance of a metric with some options."""
    return options.get("relevance", signature(function).parameters["relevance"].default)


class _DirectionScorer(BaseEstimator, metaclass=ABCMeta):
    """Scorer of the retrieval in one direction or in both.

    It is an estimator for the sake of parameters, cloning and metadata routing. Its
    parameters have no defaults, as scikit-learn leaves defaults out of the
    representation of a search. A subclass has the parameter `direction` and defines
    what is computed.
    """

    # The first argument of a scorer is no metadata.
    __metadata_request__score = {"estimator": UNUSED}

    direction: str
    # The function that makes it.
    _maker: str

    @abstractmethod
    def _metric(self):
        """Return the function of a metric, its sign, and its options."""

    def _doc_link_url_param_generator(self):
        # The diagram in a notebook links to the page of the function.
        module = "sklearn_cmr.metrics"
        return {"estimator_module": module, "estimator_name": self._maker}

    def __call__(self, estimator, X, y=None, sample_weight=None):
        return self.score(estimator, X, y, sample_weight=sample_weight)

    def score(self, estimator, X, y=None, sample_weight=None):
        """Score the retrieval of the other modality by a fitted estimator.

        Parameters
        ----------
        estimator : object
            Fitted estimator whose `transform` gives image and text embeddings.

        X : {mapping, dataframe, array-like}
            Pairs in a form that `estimator.transform` takes.

        y : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
            Classes or label indicator of the pairs. Only pairs as relevance go
            without.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the queries.

        Returns
        -------
        score : float
            The value of the metric.
        """
        if not hasattr(estimator, "transform"):
            raise TypeError(
                f"The {self._title} needs an estimator whose transform encodes the "
                f"modalities; got {type(estimator).__name__}. Call "
                "scorer(estimator, X, y)."
            )
        function, sign, options = self._metric()
        by_pair = _relevance(function, options) == "pair"
        if y is None and not by_pair:
            raise ValueError(
                f"The {self._title} needs labels to know what is relevant, but y is "
                "None. Pass y to the search or the cross-validation."
            )
        embeddings = split_output(estimator, estimator.transform(X))
        missing = {"image", "text"} - set(embeddings)
        if missing:
            raise ValueError(
                "A mapping returned by transform must have the keys 'image' and 'text';"
                f" got {sorted(map(str, embeddings))}."
            )
        if by_pair:
            # The labels are those that the estimator is trained with.
            y = None
        else:
            _warn_sorted_fold(estimator, y)
        if function is rsum:
            # A sum over both directions, which has no mean.
            pair = {name: embeddings[name] for name in MODALITIES}
            return rsum(pair, y, sample_weight=sample_weight, **options)
        names = DIRECTIONS if self.direction == "mean" else [self.direction]
        return sign * mean_of_directions(
            function,
            embeddings,
            y,
            directions=[DIRECTIONS[name] for name in names],
            sample_weight=sample_weight,
            **options,
        )

    @property
    def __name__(self):
        # Labels the axis of scikit-learn's curves, without the underscores.
        function, _, options = self._metric()
        name = self._title.replace(" ", "_")
        k = options.get("k")
        if k is not None:
            name += "_at_" + "_".join(map(str, np.atleast_1d(k)))
        if self.direction != "mean":
            name += "_{}_to_{}".format(*DIRECTIONS[self.direction])
        relevance = _relevance(function, options)
        if relevance != _relevance(function, {}):
            name += f"_of_{relevance}s"
        return name

    def _accept_sample_weight(self):
        # Asked by searches while metadata routing is off.
        return True

    def __eq__(self, other):
        return type(self) is type(other) and self.get_params() == other.get_params()

    def __hash__(self):
        return hash(repr(self))


@public("sklearn_cmr.metrics")
class MapScorer(_DirectionScorer):
    """Score retrieval by the mean average precision.

    See :func:`~sklearn_cmr.metrics.make_map_scorer`.
    """

    _title = "mean average precision"
    _maker = "make_map_scorer"

    def __init__(
        self,
        *,
        direction,
        k,
        normalizer,
        metric,
        ties,
        zero_relevant,
        chunk_size,
        random_state,
    ) -> None:
        self.direction = direction
        self.k = k
        self.normalizer = normalizer
        self.metric = metric
        self.ties = ties
        self.zero_relevant = zero_relevant
        self.chunk_size = chunk_size
        self.random_state = random_state

    def _metric(self):
        options = self.get_params(deep=False)
        del options["direction"]
        return mean_average_precision, 1, options

    def __repr__(self, N_CHAR_MAX=None):
        names = ("direction", *MAP_CONSTRAINTS)
        params = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self._maker}({params})"


@public("sklearn_cmr.metrics")
class RetrievalScorer(_DirectionScorer):
    """Score retrieval by any metric, see :func:`make_retrieval_scorer`."""

    _maker = "make_retrieval_scorer"

    def __init__(self, *, name, direction, options) -> None:
        self.name = name
        self.direction = direction
        self.options = options

    @property
    def _title(self):
        # Those of ranks keep their sign in the name, as scikit-learn's do.
        return self.name.replace("_", " ")

    def _metric(self):
        sign = -1 if self.name.startswith("neg_") else 1
        return METRICS[self.name], sign, self.options

    def __repr__(self, N_CHAR_MAX=None):
        # Sorted, as equal scorers have equal hashes.
        options = {"direction": self.direction, **dict(sorted(self.options.items()))}
        params = "".join(f", {name}={value!r}" for name, value in options.items())
        return f"{self._maker}({self.name!r}{params})"


@validate_params(
    {"direction": [StrOptions({"mean", "i2t", "t2i"})], **MAP_CONSTRAINTS},
    prefer_skip_nested_validation=True,
)
def make_map_scorer(
    *,
    direction="mean",
    k=None,
    normalizer="retrieved",
    metric="auto",
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

    k : int, default=None
        Length of the ranked list, None for all pairs. See
        :func:`mean_average_precision`, as for all parameters below.

    normalizer : {"retrieved", "min", "all"}, default="retrieved"
        Divisor of the average precision at `k`.

    metric : {"auto", "cosine", "euclidean", "hamming", "inner_product"}, \
            default="auto"
        Distance used for the ranking.

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
    make_retrieval_scorer : Scorers of other metrics.

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
        k=k,
        normalizer=normalizer,
        metric=metric,
        ties=ties,
        zero_relevant=zero_relevant,
        chunk_size=chunk_size,
        random_state=random_state,
    )


def _check_options(name, direction, options):
    """Refuse options that the metric does not have or that a scorer cannot use."""
    parameters = METRICS[name]._skl_parameter_constraints
    allowed = sorted(set(parameters) - _SETTLED)
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise TypeError(
            f"The metric {name!r} has no option {unknown[0]!r} in a scorer. Its "
            f"options are {', '.join(allowed)}."
        )
    own = SCORER_CONSTRAINTS
    if name == "rsum":
        own = {**SCORER_CONSTRAINTS, "k": [*SCORER_CONSTRAINTS["k"][:1], tuple, list]}
        if direction != "mean":
            raise ValueError(
                f"'rsum' is the sum over both directions; got direction={direction!r}. "
                "Use 'hit_rate' for one direction."
            )
    elif "k" in parameters and None not in parameters["k"] and "k" not in options:
        raise TypeError(f"The metric {name!r} needs the option k, such as k=10.")
    constraints = {option: own.get(option, parameters[option]) for option in options}
    validate_parameter_constraints(constraints, options, "make_retrieval_scorer")
    if "k" in options:
        check_cutoffs(options["k"], n_gallery=1)


@validate_params(
    {
        "name": [StrOptions(set(METRICS))],
        "direction": [StrOptions({"mean", "i2t", "t2i"})],
    },
    prefer_skip_nested_validation=True,
)
def make_retrieval_scorer(name, *, direction="mean", **options):
    """Make a scorer of any retrieval metric for searches and cross-validation.

    It works as that of :func:`make_map_scorer`, which describes the forms of the output
    of `estimator.transform`.

    Parameters
    ----------
    name : str
        The metric:

        - "map": :func:`mean_average_precision`
        - "map_at_r": :func:`map_at_r`
        - "r_precision": :func:`r_precision`
        - "precision": :func:`precision_at_k`
        - "recall": :func:`recall_at_k`
        - "hit_rate": :func:`hit_rate_at_k`
        - "ndcg": :func:`ndcg_at_k`
        - "reciprocal_rank": :func:`reciprocal_rank`
        - "rsum": :func:`rsum`, the sum over both directions, whose pairs are the rows
        - "neg_median_rank", "neg_mean_rank": :func:`median_rank` and
          :func:`mean_rank` with the opposite sign, as greater is better

    direction : {"mean", "i2t", "t2i"}, default="mean"
        Direction of retrieval: images retrieve texts ("i2t"), texts retrieve images
        ("t2i"), or the mean of both.

    **options : dict
        Keywords of the metric, such as `k`, `metric`, `ties` and `gain`. `k` is a
        single number, but for "rsum". With `relevance="pair"`, the rows are the pairs,
        and the labels `y` that the estimator may need have no effect on the score.

    Returns
    -------
    scorer : callable
        Object with the signature `scorer(estimator, X, y=None, sample_weight=None)`,
        for the parameter `scoring`. Its `__name__` tells metric, `k`, direction and
        relevance.

    Raises
    ------
    TypeError
        If the metric has no such option, or needs a `k`.
    ValueError
        If the value of an option is invalid, or "rsum" comes with one direction.

    Warns
    -----
    UserWarning
        See :func:`make_map_scorer`.
    UndefinedMetricWarning
        See :func:`mean_average_precision`.

    See Also
    --------
    make_map_scorer : Scorer of the mean average precision.

    Notes
    -----
    In cross-validation, an image with five captions is five rows. Its copies are then
    five items of the gallery, each with one relevant caption. Compute the metrics
    themselves, with every image once and the numbers of the groups, for values to
    publish.

    Examples
    --------
    >>> from sklearn_cmr.metrics import make_retrieval_scorer
    >>> scorer = make_retrieval_scorer("ndcg", k=10, direction="i2t")
    >>> scorer
    make_retrieval_scorer('ndcg', direction='i2t', k=10)
    >>> scorer.__name__
    'ndcg_at_10_image_to_text'
    >>> pairs = make_retrieval_scorer("hit_rate", k=1, relevance="pair")
    >>> total = make_retrieval_scorer("rsum")
    >>> scoring = {each.__name__: each for each in (scorer, pairs, total)}
    >>> list(scoring)
    ['ndcg_at_10_image_to_text', 'hit_rate_at_1_of_pairs', 'rsum']
    """
    _check_options(name, direction, options)
    return RetrievalScorer(name=name, direction=direction, options=options)


map_scorer: MapScorer = make_map_scorer()
map_i2t_scorer: MapScorer = make_map_scorer(direction="i2t")
map_t2i_scorer: MapScorer = make_map_scorer(direction="t2i")
