"""Canonical correlation analysis and partial least squares."""

# SPDX-License-Identifier: BSD-3-Clause

from numbers import Integral, Real

import numpy as np
from scipy import linalg, sparse
from sklearn.cross_decomposition import CCA, PLSSVD
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.extmath import svd_flip

from sklearn_cmr._lazy import public
from sklearn_cmr.base import CrossModalTransformer, ProjectorMixin


@public("sklearn_cmr")
class CCAProjector(ProjectorMixin, CrossModalTransformer):
    r"""Canonical correlation analysis (CCA), or partial least squares (PLS).

    Images and texts are standardized and projected linearly, so that the components of
    pairs have maximum correlation [1]_, or maximum covariance (PLS). Labels are not
    used. It is the unsupervised baseline of cross-modal retrieval.

    Parameters
    ----------
    n_components : int, default=10
        Width of the common space; less if a modality has fewer features or rows or,
        with "svd", a smaller rank.

    method : {"cca", "pls"}, default="cca"
        Whether to maximize correlations or covariances.

    solver : {"svd", "nipals"}, default="svd"
        Exact solver of CCA, or the iteration of scikit-learn's. "pls" has only one.

    shrinkage : float, default=0.1
        Share of the mean variance that "svd" adds to the diagonal of each covariance,
        >= 0. With 0 and more features than rows, all correlations are 1.

    metric : {"cosine", "euclidean"}, default="cosine"
        Distance used for the ranking in :meth:`score` and in the validation.

    n_image_features : int, default=None
        Number of leading image columns where one matrix holds both modalities. None
        takes half of the columns, with a warning.

    Attributes
    ----------
    coef_, intercept_ : dict of str to ndarray
        Linear map of every modality: ``X @ coef_["image"] + intercept_["image"]``.

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
    SemanticMatchingProjector : Linear baseline that learns from labels.
    ITQHasher : Makes binary codes of the embeddings.

    References
    ----------
    .. [1] D. R. Hardoon et al. "Canonical Correlation Analysis: An Overview with
       Application to Learning Methods". Neural Computation, 16(12), 2639-2664, 2004.
       :doi:`10.1162/0899766042321814`

    Examples
    --------
    >>> from sklearn_cmr import CCAProjector, make_pairs
    >>> from sklearn_cmr.datasets import make_cross_modal_classification
    >>> A, B, y = make_cross_modal_classification(300, n_classes=4, random_state=0)
    >>> cca = CCAProjector(n_components=5).fit(make_pairs(A[:200], B[:200]))
    >>> cca.transform_image(A[200:]).shape
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
    ) -> None:
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
        scalers, parts, noise = {}, [], []
        for name, X in features.items():
            eps = np.finfo(X.dtype if X.dtype.kind == "f" else float).eps
            X = (X.toarray() if sparse.issparse(X) else X).astype(np.float64)
            if not np.ptp(X, axis=0).any():
                raise ValueError(f"Constant {name} features (n_samples = {len(X)}).")
            scaler = scalers[name] = StandardScaler(copy=False).fit(X)
            # Typical length of the rounding error of a standardized row.
            noise.append(eps * linalg.norm(X / scaler.scale_) / np.sqrt(len(X)))
            parts.append(scaler.transform(X))
        k = min(self.n_components, *parts[0].shape, parts[1].shape[1])
        if self.method == "pls":
            model = PLSSVD(k, scale=False).fit(*parts)
            weights = model.x_weights_, model.y_weights_
        elif self.solver == "nipals":
            model = CCA(k, scale=False).fit(*parts)
            weights = model.x_rotations_, model.y_rotations_
        else:
            (A, map_A), (B, map_B) = map(self._whiten, parts, noise)
            P, Q = svd_flip(*linalg.svd(A.T @ B, full_matrices=False)[::2])
            weights = map_A @ P[:, :k], map_B @ Q[:k].T
        self.coef_, self.intercept_ = {}, {}
        for (name, scaler), W in zip(scalers.items(), weights, strict=True):
            self.coef_[name] = W / scaler.scale_[:, None]
            self.intercept_[name] = -scaler.mean_ @ self.coef_[name]

    def _whiten(self, X, noise):
        """Return the whitened features times a factor, and the map that whitens."""
        U, s, Vt = linalg.svd(X / np.sqrt(len(X)), full_matrices=False)
        used = s >= min(s[0], max(noise, s[0] * max(X.shape) * np.finfo(float).eps))
        U, s, V = U[:, used], s[used], Vt[used].T
        length = np.sqrt(s**2 + self.shrinkage * (s @ s) / len(V))
        return U * (s / length), V / length

    def _encode(self, X, modality):
        return (X @ self.coef_[modality] + self.intercept_[modality]).astype(np.float32)
