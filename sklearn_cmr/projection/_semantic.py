"""Semantic matching: class probabilities as the common space."""

# SPDX-License-Identifier: BSD-3-Clause

from numbers import Integral, Real

import numpy as np
from sklearn.base import clone
from sklearn.multiclass import OneVsRestClassifier
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from sklearn_cmr._inputs.labels import for_scikit_learn
from sklearn_cmr._lazy import public
from sklearn_cmr.base import (
    CrossModalTransformer,
    LabelProbabilityMixin,
    ProjectorMixin,
)


@public("sklearn_cmr")
class SemanticMatchingProjector(
    LabelProbabilityMixin, ProjectorMixin, CrossModalTransformer
):
    """Semantic matching (SM).

    The embedding of an item is the class probabilities that a classifier of its
    modality computes [1]_: the linear baseline of supervised retrieval. :meth:`fit`
    also takes a mapping of any modalities with rows and labels of their own.

    Parameters
    ----------
    estimator : classifier, default=None
        Classifier with `predict_proba`. It is cloned for every modality and, where rows
        have several labels, for every label (one-vs-rest). None is logistic regression.

    C : float, default=0.03
        Inverse strength of the regularization of the logistic regression, > 0. It has
        no effect if `estimator` is given.

    subtract_prior : bool or "auto", default="auto"
        Whether the embedding is the class probabilities minus the frequencies of the
        classes in the training rows of the modality. Cosines then compare what an item
        says about its class beyond the frequencies. "auto" subtracts them if every row
        has one label; with several labels, items often share the frequent ones, which
        the subtraction would hide. :meth:`predict_proba` returns the probabilities.

    n_jobs : int, default=None
        Number of jobs of the one-vs-rest classifiers; None is 1.

    metric : {"cosine", "euclidean"}, default="cosine"
        Distance used for the ranking in :meth:`score` and in the validation.

    missing_labels : {"raise", "drop"}, default="raise"
        What :meth:`fit` does with rows that have no label: raise an error, or leave
        them out with a warning.

    n_image_features : int, default=None
        Number of leading image columns where one matrix holds both modalities. None
        takes half of the columns, with a warning.

    Attributes
    ----------
    estimators_ : dict of str to classifier
        Fitted classifier of every modality, of the labels that occur in it.

    class_priors_ : dict of str to ndarray of shape (n_classes,)
        What is subtracted from the probabilities of every modality; zeros if nothing
        is.

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
    CCAProjector : A linear common space, learned without labels.

    References
    ----------
    .. [1] N. Rasiwasia et al. "A New Approach to Cross-Modal Multimedia Retrieval". ACM
       Multimedia, 251-260, 2010. :doi:`10.1145/1873951.1873987`

    Examples
    --------
    >>> from sklearn_cmr import SemanticMatchingProjector
    >>> from sklearn_cmr.datasets import make_cross_modal_classification
    >>> A, B, y = make_cross_modal_classification(300, n_classes=4, random_state=0)
    >>> sm = SemanticMatchingProjector().fit(A[:200], B[:200], y[:200])
    >>> sm.transform_image(A[200:]).shape
    (100, 4)
    """

    _any_modalities = True
    _parameter_constraints: dict = {
        **CrossModalTransformer._parameter_constraints,
        "estimator": [HasMethods(["fit", "predict_proba"]), None],
        "C": [Interval(Real, 0, None, closed="neither")],
        "subtract_prior": ["boolean", StrOptions({"auto"})],
        "n_jobs": [Integral, None],
        "metric": ProjectorMixin._parameter_constraints["metric"],
    }

    def __init__(
        self,
        *,
        estimator=None,
        C=0.03,
        subtract_prior="auto",
        n_jobs=None,
        metric="cosine",
        missing_labels="raise",
        n_image_features=None,
    ) -> None:
        self.estimator = estimator
        self.C = C
        self.subtract_prior = subtract_prior
        self.n_jobs = n_jobs
        self.metric = metric
        self.missing_labels = missing_labels
        self.n_image_features = n_image_features

    @property
    def _n_components(self):
        return len(self.classes_)

    def _fit(self, features, labels):
        estimator = self.estimator
        if estimator is None:
            from sklearn.linear_model import LogisticRegression  # slow to import

            # The default tol stops at once where features are far from zero.
            estimator = LogisticRegression(C=self.C, max_iter=1000, tol=1e-6)
        is_single = labels.has_single_labels
        if not is_single:
            estimator = OneVsRestClassifier(estimator, n_jobs=self.n_jobs)
        subtract = is_single if self.subtract_prior == "auto" else self.subtract_prior
        self.estimators_, self.class_priors_, self._used = {}, {}, {}
        for name, X in features.items():
            y = labels.parts[name].indicator
            # A label that no row of the modality has cannot be learned.
            used = np.flatnonzero(y.any(axis=0))
            if len(used) < 2:
                raise ValueError(f"The {name} labels have only one class.")
            target = y.argmax(axis=1) if is_single else for_scikit_learn(y[:, used])
            self.estimators_[name] = clone(estimator).fit(X, target)
            self.class_priors_[name] = y.mean(axis=0) * subtract
            self._used[name] = used

    def _label_probabilities(self, X, modality):
        P = np.zeros((X.shape[0], len(self.classes_)))
        P[:, self._used[modality]] = self.estimators_[modality].predict_proba(X)
        return P

    def _encode(self, X, modality):
        Z = self._label_probabilities(X, modality) - self.class_priors_[modality]
        return Z.astype(np.float32)
