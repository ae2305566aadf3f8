"""Ensemble of projectors or hashers that differ in their seeds or methods."""

# SPDX-License-Identifier: BSD-3-Clause

import os
from itertools import chain
from numbers import Integral

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.base import _fit_context, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.metaestimators import _BaseComposition, available_if
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from sklearn_cmr._inputs.arguments import read_arguments
from sklearn_cmr._lazy import public
from sklearn_cmr._state import restored_on_failure
from sklearn_cmr.base import (
    CrossModalTransformer,
    HasherMixin,
    LabelProbabilityMixin,
    ProjectorMixin,
)
from sklearn_cmr.base._mixins import code_form

# Training rows of a modality on which bits are compared, to align them.
_ROWS_ALIGNED = 2**14


@public("sklearn_cmr")
class CrossModalEnsemble(
    LabelProbabilityMixin, CrossModalTransformer, _BaseComposition
):
    r"""Ensemble of projectors or of hashers, fitted with several seeds.

    Networks that differ in their random initialization and batches make different
    errors. Their combined encoding ranks better than that of one of them [1]_, and
    methods can be combined as well.

    The embeddings :math:`z_1, \dots, z_M` of an item by the :math:`M` members become

    .. math::

        \frac{1}{\sqrt{M}} \left[ \frac{z_1}{|z_1|}, \dots, \frac{z_M}{|z_M|} \right]

    so that the cosine similarity of two items is the mean over the members. A zero
    embedding stays zero. The majority of the members decides the bits of hashers, or
    these are concatenated; see `combine_bits`.

    Parameters
    ----------
    estimator : estimator or list of (str, estimator)
        Projector or hasher, or a pipeline that ends in one; or a list of such
        estimators with names, either projectors or hashers. Its parameters are those of
        the ensemble with the prefix ``estimator__``; those of a list have the names as
        prefixes.

    n_estimators : int, default=5
        Number of fits of every estimator, >= 1. An estimator without the parameter
        `random_state` would be the same each time: it is fitted once and counts as
        often.

    combine_bits : {"majority", "concatenate"}, default="majority"
        How the codes of hashers are combined: bit by bit, so that the code has the
        `n_bits` of a member, or one after the other. For the majority, the bits of a
        member are matched with those of the first one, up to their signs, by their
        correlation in the training rows. The first member decides ties. The parameter
        has no effect on projectors.

    missing_labels : {"raise", "drop"}, default="raise"
        What :meth:`fit` does with rows that have no label: raise an error, or leave
        them out with a warning.

    n_jobs : int, default=None
        Number of fits at the same time; None is 1 unless a
        :func:`joblib.parallel_config` says otherwise. It has no effect on the result.

    random_state : int, RandomState instance or None, default=None
        Seed of the seeds of the members, which replace those of their estimators. With
        an int, the members are among those of any larger `n_estimators`.

    n_image_features : int, default=None
        Number of leading image columns where one matrix holds both modalities. None
        takes half of the columns, with a warning.

    Attributes
    ----------
    estimators_ : list of estimator
        The fitted members. Their parameter `random_state` is the seed of the member.

    named_estimators_ : dict of str to estimator
        The same by name: the one in the list, or that of the class in lowercase, with
        the number of the fit, such as ``acmrprojector_0``.

    classes_ : ndarray of shape (n_classes,)
        Sorted classes, or the column numbers of the label indicator.

    modalities_ : tuple of str
        Names of the fitted modalities.

    n_features_in_ : int
        Number of features of all modalities of :meth:`fit` together.

    n_image_features_in_, n_text_features_in_ : int
        Number of features of the modality. Every other modality has an attribute of the
        same form.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if all of them are strings.

    See Also
    --------
    PairTransformer : Preprocessing, which the members share if it precedes the ensemble
        in a pipeline.

    Notes
    -----
    The members get validated numbers by modality. What makes numbers of strings or of
    missing values comes before the ensemble, not inside a member. Modalities need not
    be paired if no member needs pairs. There is no `classes_` if no member learns from
    labels.

    The majority has the `n_bits` that were asked for, and ranks better than one hasher
    of as many bits: it is the default. Concatenated codes rank better still, also
    better than one hasher of as many bits, where longer codes are no burden.

    Where an estimator has a folder `checkpoint`, each member has a folder in it,
    ``member_0`` and so on, so that a killed fit of the ensemble continues.

    Members learn in processes of their own if `n_jobs` is not 1. On a GPU, each process
    has a context and a copy of the features there.

    References
    ----------
    .. [1] B. Lakshminarayanan, A. Pritzel and C. Blundell. "Simple and Scalable
       Predictive Uncertainty Estimation using Deep Ensembles". Advances in Neural
       Information Processing Systems, 2017. :doi:`10.48550/arXiv.1612.01474`

    Examples
    --------
    >>> from sklearn_cmr import ACMRProjector, CrossModalEnsemble
    >>> from sklearn_cmr.datasets import make_cross_modal_classification
    >>> A, B, y = make_cross_modal_classification(300, n_classes=4, random_state=0)
    >>> acmr = ACMRProjector(embedding_dim=16, max_epochs=5)
    >>> ensemble = CrossModalEnsemble(acmr, n_estimators=3, random_state=0)
    >>> ensemble.fit(A[:200], B[:200], y[:200]).transform_image(A[200:]).shape
    (100, 48)
    >>> list(ensemble.named_estimators_)
    ['acmrprojector_0', 'acmrprojector_1', 'acmrprojector_2']
    """

    # The held-out rows are for direct calls: metadata routing does not pass them on.
    __metadata_request__fit = {"X_val": UNUSED, "y_val": UNUSED}

    _parameter_constraints: dict = {
        **CrossModalTransformer._parameter_constraints,
        "estimator": [HasMethods(["fit", "transform"]), list],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "combine_bits": [StrOptions({"majority", "concatenate"})],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator,
        *,
        n_estimators=5,
        combine_bits="majority",
        missing_labels="raise",
        n_jobs=None,
        random_state=None,
        n_image_features=None,
    ) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.combine_bits = combine_bits
        self.missing_labels = missing_labels
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.n_image_features = n_image_features

    # -- parameters ------------------------------------------------------------

    def get_params(self, deep=True):
        """Return the parameters of the ensemble, those of its estimators included.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include ``estimator__{param}``; for a list ``{name}`` and
            ``{name}__{param}``.

        Returns
        -------
        params : dict
            Values by the names of the parameters.
        """
        return self._get_params("estimator", deep=deep)

    def set_params(self, **params):
        """Set parameters of the ensemble, those of its estimators included.

        Parameters
        ----------
        **params : dict
            Names as :meth:`get_params` returns them. The name of an estimator in the
            list replaces it.

        Returns
        -------
        self : object
            The ensemble.
        """
        return self._set_params("estimator", **params)

    def _named(self):
        """Return the estimators to fit, by name."""
        if isinstance(self.estimator, list):
            return self.estimator
        return [(type(last_step(self.estimator)).__name__.lower(), self.estimator)]

    def _last_steps(self):
        """Return the projectors or hashers; those of the fit if there was one."""
        estimators = getattr(self, "estimators_", None)
        if estimators is None:
            estimators = [estimator for _, estimator in self._named()]
        return [last_step(estimator) for estimator in estimators]

    def _check_estimators(self):
        """Raise unless the estimators can be combined."""
        named = self._named()
        if not named or not all(_is_named_estimator(item) for item in named):
            raise ValueError(
                "A list of estimators holds one or more pairs of a name and an "
                "estimator, such as [('acmr', ACMRProjector()), ('drcl', "
                f"DRCLProjector())]; got {self.estimator!r}."
            )
        self._validate_names([name for name, _ in named])
        for name, estimator in named:
            self._check_estimator(name, estimator)
        steps = {name: last_step(estimator) for name, estimator in named}
        kinds = {name: isinstance(own, HasherMixin) for name, own in steps.items()}
        if len(set(kinds.values())) > 1:
            hashers = [name for name, is_hasher in kinds.items() if is_hasher]
            others = [name for name, is_hasher in kinds.items() if not is_hasher]
            raise ValueError(
                f"Embeddings and codes cannot be combined: {others} are projectors, "
                f"and {hashers} are hashers. Make an ensemble of either."
            )
        if not any(kinds.values()):
            return
        self._check_same(steps, "output")
        if self.combine_bits == "majority":
            self._check_same(steps, "n_bits")

    def _check_estimator(self, name, estimator):
        last = last_step(estimator)
        if isinstance(last, type):
            raise TypeError(
                f"An ensemble needs instances, got the class {last.__name__}: it needs "
                "parentheses."
            )
        if not isinstance(last, (ProjectorMixin, HasherMixin)) or not isinstance(
            last, CrossModalTransformer
        ):
            raise TypeError(
                f"{name!r} must be a projector or a hasher of sklearn_cmr, or a "
                f"pipeline that ends in one; got {last!r}."
            )
        own = last.n_image_features
        if own is not None and own != self.n_image_features:
            raise ValueError(
                f"{name!r} has n_image_features={own}, but the ensemble, which splits "
                f"the features for its members, has {self.n_image_features}. Set "
                "n_image_features on the ensemble."
            )

    def _check_same(self, steps, parameter):
        values = {name: getattr(own, parameter) for name, own in steps.items()}
        if len(set(values.values())) > 1:
            hint = ", or combine_bits='concatenate'" * (parameter == "n_bits")
            raise ValueError(
                f"The hashers of an ensemble need the same {parameter}; got {values}. "
                f"Set one value for all of them{hint}."
            )

    # -- what the estimators have in common ------------------------------------

    @property
    def _is_hasher(self):
        return isinstance(self._last_steps()[0], HasherMixin)

    @property
    def _requires_labels(self):  # type: ignore[override]
        return any(getattr(s, "_requires_labels", True) for s in self._last_steps())

    @property
    def _any_modalities(self):  # type: ignore[override]
        return all(step._any_modalities for step in self._last_steps())

    @property
    def _region_modalities(self):  # type: ignore[override]
        first, *others = [step._region_modalities for step in self._last_steps()]
        return tuple(name for name in first if all(name in own for own in others))

    @property
    def _needs_same_regions(self):  # type: ignore[override]
        return any(step._needs_same_regions for step in self._last_steps())

    @property
    def _encoded_modalities(self):  # type: ignore[override]
        names = (step._encoded_modalities for step in self._last_steps())
        return tuple(dict.fromkeys(chain.from_iterable(names)))

    @property
    def _reserved_names(self):  # type: ignore[override]
        return frozenset().union(*(s._reserved_names for s in self._last_steps()))

    # -- fit -------------------------------------------------------------------

    # The parameters of the members were not validated: they validate them.
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, Y=None, y=None, *, X_val=None, y_val=None):
        """Fit the members to labeled pairs or, if none needs pairs, to modalities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_image_features), \
container of pairs, or mapping of modalities
            Image features; or a container of both modalities: a mapping with the keys
            ``image`` and ``text`` (:func:`~sklearn_cmr.make_pairs` makes one that
            scikit-learn can slice), a dataframe with the columns ``image__*`` and
            ``text__*`` or with these two as column levels, or one matrix with the
            image columns first (see `n_image_features`). Members that need no pairs
            take a mapping from any names of modalities to their features.

        Y : {array-like, sparse matrix} of shape (n_samples, n_text_features)
            Text features; the labels where `X` is a container or a mapping: one array
            for all modalities or, where no member needs pairs, a mapping from each
            name to its labels. Then the modalities may have any number of rows each.

        y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape \
(n_samples, n_classes)
            Classes, or an indicator of the labels of each row.

        X_val : container of pairs, or mapping of modalities, default=None
            Held-out rows for the early stopping of all members. Without them, each
            member holds out rows of its own.

        y_val : array-like, or mapping, default=None
            Labels of the held-out rows, of the classes in `y`.

        Returns
        -------
        self : object
            The fitted ensemble.

        Raises
        ------
        ValueError
            If features or labels are missing, do not fit together or are not usable;
            or if the estimators cannot be combined. After any error the ensemble is as
            it was before.

        TypeError
            If a container comes with two more arguments, or if an estimator is neither
            a projector nor a hasher.

        FloatingPointError
            If a loss or a weight of a member becomes infinite or NaN.
        """
        self._check_estimators()
        with restored_on_failure(self):
            members = self._make_members()
            # What they have in common says how features are read.
            self.estimators_ = list(members.values())
            features, labels = self._read_training_set(X, Y, y)
            held_out = self._read_held_out(X_val, y_val)
            self._fit(features, labels, members, held_out)
            modality, part = next(iter(features.items()))
            self._n_features_out = self._encode(part[:1], modality).shape[1]
        return self

    def _make_members(self):
        """Return the unfitted members by name, in rounds over the estimators."""
        rng = check_random_state(self.random_state)
        members: dict = {}
        for i in range(self.n_estimators):
            for name, estimator in self._named():
                if i == 0 or _seed_names(estimator):
                    member = clone(estimator)
                    seeds = {key: _draw_seed(rng) for key in _seed_names(member)}
                    member.set_params(**seeds)
                    self._separate_checkpoints(member, f"member_{len(members)}")
                    members[f"{name}_{i}"] = member
                else:
                    members[f"{name}_{i}"] = members[f"{name}_0"]
        return members

    def _separate_checkpoints(self, member, name):
        """Give a member a folder of its own in each folder of checkpoints."""
        folders = {
            key: os.path.join(value, name)
            for key, value in member.get_params(deep=True).items()
            if f"__{key}".endswith("__checkpoint") and value is not None
        }
        if folders and self.random_state is None:
            raise ValueError(
                "Members with the parameter checkpoint need random_state of the "
                "ensemble: without it, the next fit draws other seeds for them, and "
                "cannot continue. Pass an int."
            )
        member.set_params(**folders)

    def _read_held_out(self, X_val, y_val):
        """Return the held-out rows as keyword arguments of the members' `fit`."""
        if (X_val is None) != (y_val is None):
            raise ValueError("Pass X_val and y_val together, or neither of them.")
        if X_val is None:
            return {}
        for name, estimator in self._named():
            if isinstance(estimator, Pipeline):
                raise ValueError(
                    f"X_val would not be transformed by the pipeline {name!r}. "
                    "Transform X and X_val before the ensemble."
                )
            if not has_fit_parameter(estimator, "X_val"):
                raise ValueError(
                    f"X_val and y_val are for early stopping, but {name!r}, "
                    f"{estimator!r}, trains no networks."
                )
        layout, y_val = read_arguments(self, X_val, y_val, None, reset=False)
        return {"X_val": self._reader.read(layout, reset=False), "y_val": y_val}

    def _fit(self, features, labels, members, held_out):  # type: ignore[override]
        y = None
        if labels is not None:
            y = labels.as_given()
        else:
            self.__dict__.pop("classes_", None)
        # A member without a seed stands there several times.
        distinct: dict = {}
        for name, member in members.items():
            distinct.setdefault(id(member), (name, member))
        done = Parallel(n_jobs=self.n_jobs)(
            delayed(_fit_member)(name, member, features, y, held_out)
            for name, member in distinct.values()
        )
        fitted = dict(zip(distinct, done, strict=True))
        self.named_estimators_ = {
            name: fitted[id(member)] for name, member in members.items()
        }
        self.estimators_ = list(self.named_estimators_.values())
        self._alignments = None
        if self._is_hasher and self.combine_bits == "majority":
            self._alignments = self._align(features)

    def _align(self, features):
        """Return for every member which bits, with which signs, are those of the first.

        Returns
        -------
        alignments : list of (ndarray of shape (n_bits,), ndarray of shape (n_bits,))
            Positions of the bits, and the signs to multiply them with.
        """
        codes: list[list] = [[] for _ in self.estimators_]
        for modality, X in features.items():
            n_rows = X.shape[0]
            n_compared = min(n_rows, _ROWS_ALIGNED)
            rows = np.linspace(0, n_rows - 1, n_compared).astype(int)
            relaxed = self._encode_by_members(X[rows], modality)
            for own, Z in zip(codes, relaxed, strict=True):
                own.append(_signs(Z))
        first, *others = map(np.concatenate, codes)
        identity = np.arange(first.shape[1]), np.ones(first.shape[1], np.float32)
        return [identity, *(match_bits(first, own) for own in others)]

    # -- encoding --------------------------------------------------------------

    def _map_members(self, function, X, modality):
        """Call a function of a member, features and modality for all members."""
        done: dict = {}
        for member in self.estimators_:
            if id(member) not in done:
                last = last_step(member)
                prepared = _prepare(member, X, modality)
                done[id(member)] = np.asarray(function(last, prepared, modality))
        return [done[id(member)] for member in self.estimators_]

    def _encode_by_members(self, X, modality):
        encode = _relaxed_codes if self._is_hasher else _embeddings
        return self._map_members(encode, X, modality)

    def _encode(self, X, modality):
        encoded = self._encode_by_members(X, modality)
        if not self._is_hasher:
            parts = [_unit_rows(Z) / len(encoded) ** 0.5 for Z in encoded]
            return np.hstack(parts, dtype=np.float32)
        if self._alignments is None:
            return np.hstack(encoded)
        votes = [
            _signs(Z)[:, bits] * signs
            for Z, (bits, signs) in zip(encoded, self._alignments, strict=True)
        ]
        # Half a vote more for the first member decides ties.
        return (sum(votes) + votes[0] / 2) / (len(votes) + 0.5)

    def _represent(self, Z):
        """Return encodings in the form of the output of the members."""
        return code_form(self._last_steps()[0].output)(Z) if self._is_hasher else Z

    @property
    def _component_numbers(self):
        is_packed = self._is_hasher and self._last_steps()[0].output == "packed"
        # A column of packed codes is named by its first bit.
        return range(0, self._n_features_out, 8 if is_packed else 1)

    @property
    def _score_metric(self):
        return "hamming" if self._is_hasher else "cosine"

    def _has_codes(self):
        return self._is_hasher

    @available_if(_has_codes)
    def encode(self, X, modality, *, output="sign"):
        """Encode one modality alone, in a form to choose, if the members are hashers.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)
            Features of that modality.

        modality : str
            Name of the modality, such as ``"image"`` or ``"text"``.

        output : {"sign", "bool", "packed", "real"}, default="sign"
            Form of the codes, as in
            :meth:`SSAHHasher.encode <sklearn_cmr.SSAHHasher.encode>`. Real values are
            those of the members or, for the majority, the shares of the votes between
            -1 and 1.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_bits), or (n_samples, ceil(n_bits / 8))
            Codes of the rows; packed ones have the second shape.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the features are not those of the fit, or `output` is unknown.
        """
        check_is_fitted(self)
        form = code_form(output)
        return form(self._encode(self._reader.read_modality(X, modality), modality))

    def _have_probabilities(self):
        return all(hasattr(step, "predict_proba") for step in self._last_steps())

    @available_if(_have_probabilities)
    def predict_proba(self, X, modality=None):
        """Compute the mean of the members' probabilities of the labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or container
            Features of the modality; or a container of pairs, as
            :func:`~sklearn_cmr.make_pairs` makes it.

        modality : str, default=None
            Name of the modality of `X`. None takes pairs, and averages the
            probabilities over the modalities.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the features are not those of the fit, or if no label loss was part of
            the training of a member.

        TypeError
            If `modality` is no string.
        """
        return super().predict_proba(X, modality)

    def _label_probabilities(self, X, modality):
        return np.mean(self._map_members(_probabilities, X, modality), axis=0)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = [] if self._is_hasher else ["float32"]
        return tags


def match_bits(reference, codes):
    """Match the bits of one code with those of another code of the same rows.

    Among all one-to-one assignments, that with the largest sum of absolute correlations
    is chosen. The correlation with a constant bit is 0.

    Parameters
    ----------
    reference, codes : float32 ndarray of shape (n_samples, n_bits)
        Codes of -1 and +1.

    Returns
    -------
    bits : ndarray of shape (n_bits,)
        Position in `codes` of every bit of `reference`.

    signs : float32 ndarray of shape (n_bits,)
        -1 for bits that are negated.
    """
    first, second = (part - part.mean(axis=0) for part in (reference, codes))
    scale = np.outer(*(np.linalg.norm(part, axis=0) for part in (first, second)))
    correlation = first.T @ second
    correlation /= np.where(scale > 0, scale, 1)
    rows, bits = linear_sum_assignment(np.abs(correlation), maximize=True)
    return bits, _signs(correlation[rows, bits])


def last_step(estimator):
    """Return the last step of a pipeline, or of one that a pipeline ends in."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def _prepare(member, X, modality):
    """Transform features of one modality by the steps before the last one."""
    while isinstance(member, Pipeline):
        if len(member) > 1:
            X = member[:-1].transform({modality: X})[modality]
        member = member.steps[-1][1]
    return X


def _is_named_estimator(item):
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)


def _seed_names(estimator):
    """Return the names of the parameters that are seeds, in one order."""
    names = sorted(estimator.get_params(deep=True))
    return [name for name in names if f"__{name}".endswith("__random_state")]


def _draw_seed(rng):
    return int(rng.randint(np.iinfo(np.int32).max))


def _fit_member(name, member, features, y, held_out):
    try:
        return member.fit(features, y, **held_out)
    except Exception as error:
        error.add_note(
            f"It was raised in the fit of {name!r}, a member of the ensemble."
        )
        raise


def _embeddings(step, X, modality):
    return step.transform_modality(X, modality)


def _relaxed_codes(step, X, modality):
    return step.encode(X, modality, output="real")


def _probabilities(step, X, modality):
    return step.predict_proba(X, modality)


def _unit_rows(Z):
    """Scale rows to unit length; zeros stay zeros."""
    # In float64, the squares of float32 values neither overflow nor vanish.
    Z = Z.astype(np.float64)
    lengths = np.linalg.norm(Z, axis=1, keepdims=True)
    return np.divide(Z, lengths, out=np.zeros_like(Z), where=lengths > 0)


def _signs(Z):
    return np.where(Z >= 0, np.float32(1), np.float32(-1))
