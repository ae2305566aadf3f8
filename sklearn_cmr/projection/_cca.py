"""Canonical correlation analysis and partial least squares."""

# SPDX-License-Identifier: BSD-3-Clause

from numbers import Integral, Real

import numpy as np
from scipy import linalg, sparse
from sklearn.cross_decomposition import CCA, PLSSVD
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.extmath import svd_flip

from sklearn_cmr.base import CrossModalTransformer, ProjectorMixin


class CCAProjector(ProjectorMixin, CrossModalTransformer):
    r"""Canonical correlation analysis (CCA), or partial least squares (PLS).

    Standardized images and texts are projected linearly so that the components of a
    pair correlate most, or covary most with "pls" [1]_. Labels are not used. It is the
    unsupervised baseline of cross-modal retrieval.

    Parameters
    ----------
    n_components : int, default=10
        Width of the common space. Where a modality has fewer features, or the fit fewer
        rows, that number is the width.

    method : {"cca", "pls"}, default="cca"
        Whether to maximize correlations or covariances.

    solver : {"svd", "nipals"}, default="svd"
        Solver of CCA. "svd" decomposes the whitened cross-covariance; it is exact,
        fast, and always converges. "nipals" is the iteration of
        :class:`sklearn.cross_decomposition.CCA`. "pls" is always solved by
        :class:`sklearn.cross_decomposition.PLSSVD`.

    shrinkage : float, default=0.1
        Share of the mean variance that "svd" adds to the diagonal of the covariance of
        each modality, >= 0. With 0 and more features than rows, all correlations are 1.

    metric : {"cosine", "euclidean"}, default="cosine"
        Distance used for the ranking in :meth:`score` and in the validation.

    n_image_features : int, default=None
        Number of leading image columns where one matrix holds both modalities. None
        takes half of the columns, with a warning.

    Attributes
    ----------
    coef_ : dict of str to ndarray of shape (n_features, n_components)
        Projection of the features of every modality.

    intercept_ : dict of str to ndarray of shape (n_components,)
        What is added to the projection.

    modalities_ : tuple of str
        Names of the fitted modalities.

    n_features_in_ : int
        Number of features of all modalities together.

    n_image_features_in_, n_text_features_in_ : int
        Number of features of the modality. Every other modality has an attribute of the
        same form.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if all of them are strings.

    See Also
    --------
    SemanticMatchingProjector : A common space of class probabilities.

    References
    ----------
    .. [1] D. R. Hardoon, S. Szedmak, J. Shawe-Taylor. "Canonical Correlation Analysis:
       An Overview with Application to Learning Methods". Neural Computation, 16(12),
       2639-2664, 2004. :doi:`10.1162/0899766042321814`

    Examples
    --------
    >>> from sklearn_cmr import CCAProjector, make_pairs
    >>> from sklearn_cmr.datasets import make_cross_modal_classification
    >>> A, B, y = make_cross_modal_classification(300, n_classes=4, random_state=0)
    >>> cca = CCAProjector(n_components=5).fit(make_pairs(A[:200], B[:200]))
    >>> Z_img, Z_txt = cca.transform(A[200:], B[200:])
    >>> Z_img.shape
    (100, 5)
    """

    _requires_labels = False
    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "method": [StrOptions({"cca", "pls"})],
        "solver": [StrOptions({"svd", "nipals"})],
        "shrinkage": [Interval(Real, 0, None, closed="left")],
        "metric": ProjectorMixin._parameter_constraints["metric"],
        "n_image_features": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        *,
        n_components=10,
        method="cca",
        solver="svd",
        shrinkage=0.1,
        metric="cosine",
        n_image_features=None,
    ):
        self.n_components = n_components
        self.method = method
        self.solver = solver
        self.shrinkage = shrinkage
        self.metric = metric
        self.n_image_features = n_image_features

    @property
    def _n_components(self):
        return self.coef_["image"].shape[1]

    def _fit(self, features, labels):
        scalers, parts = {}, []
        for name, X in features.items():
            X = (X.toarray() if sparse.issparse(X) else X).astype(np.float64)
            if len(X) < 2:
                raise ValueError("CCA needs two samples or more, got n_samples = 1.")
            if not np.ptp(X, axis=0).any():
                raise ValueError(f"The {name} features are constant: nothing to learn.")
            scalers[name] = StandardScaler().fit(X)
            parts.append(scalers[name].transform(X))
        k = min(self.n_components, *parts[0].shape, parts[1].shape[1])
        if self.method == "pls":
            model = PLSSVD(k, scale=False).fit(*parts)
            weights = model.x_weights_, model.y_weights_
        elif self.solver == "nipals":
            model = CCA(k, scale=False).fit(*parts)
            weights = model.x_rotations_, model.y_rotations_
        else:
            weights = self._decompose(*parts, k)
        self.coef_, self.intercept_ = {}, {}
        for (name, scaler), W in zip(scalers.items(), weights, strict=True):
            self.coef_[name] = W / scaler.scale_[:, None]
            self.intercept_[name] = -scaler.mean_ @ self.coef_[name]

    def _decompose(self, A, B, k):
        """Return the weights of the first k canonical variates, of unit variance."""
        bases = []
        for X in (A, B):
            U, s, Vt = linalg.svd(X, full_matrices=False)
            noise = s.max(initial=0) * max(X.shape) * np.finfo(s.dtype).eps
            U, s, Vt = U[:, s > noise], s[s > noise], Vt[s > noise]
            n_samples, n_features = X.shape
            ridge = self.shrinkage * (s @ s) / n_features
            length = np.sqrt((s**2 + ridge) / n_samples)
            bases.append((U * (s / length / np.sqrt(n_samples)), Vt.T / length))
        (whitened_A, map_A), (whitened_B, map_B) = bases
        P, _, Qt = linalg.svd(whitened_A.T @ whitened_B, full_matrices=False)
        P, Qt = svd_flip(P, Qt)
        return map_A @ P[:, :k], map_B @ Qt[:k].T

    def _encode(self, X, modality):
        Z = X @ self.coef_[modality] + self.intercept_[modality]
        return np.asarray(Z, dtype=np.float32)
