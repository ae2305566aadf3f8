"""Iterative quantization: binary codes from the embeddings of any projector."""

# SPDX-License-Identifier: BSD-3-Clause

from numbers import Integral

import numpy as np
from scipy import linalg
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import normalize
from sklearn.utils import check_random_state, get_tags
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.extmath import svd_flip

from sklearn_cmr._inputs.parameters import explained_errors
from sklearn_cmr._lazy import public
from sklearn_cmr.base import CrossModalTransformer, HasherMixin


def principal_axes(U, n_bits):
    """Return the map of rows to their first principal components, or to more columns.

    Parameters
    ----------
    U : ndarray of shape (n_samples, width)
        Centered rows.

    n_bits : int
        Number of columns. The map appends columns of zeros to narrower rows.

    Returns
    -------
    W : ndarray of shape (width, n_bits)
    """
    _, axes = linalg.eigh(U.T @ U)
    # Signs that do not depend on the solver.
    _, by_row = svd_flip(None, axes.T[::-1], u_based_decision=False)
    n_axes = min(n_bits, len(by_row))
    W = np.zeros((U.shape[1], n_bits))
    W[:, :n_axes] = by_row[:n_axes].T
    return W


def quantize_iteratively(V, R, n_iter):
    """Alternate between the codes of a rotation and the best rotation for the codes.

    Parameters
    ----------
    V : ndarray of shape (n_samples, n_bits)

    R : ndarray of shape (n_bits, n_bits)
        Orthogonal matrix to begin with.

    n_iter : int

    Returns
    -------
    R : ndarray of shape (n_bits, n_bits)

    losses : list of float
        Mean squared distance of a row to its code, before each iteration and after the
        last one.
    """
    losses = []
    for i in range(n_iter + 1):
        rotated = V @ R
        codes = np.where(rotated >= 0, 1.0, -1.0)
        losses.append(float(((codes - rotated) ** 2).sum(axis=1).mean()))
        if i < n_iter:
            R, _ = linalg.orthogonal_procrustes(V, codes)
    return R, losses


@public("sklearn_cmr")
class ITQHasher(HasherMixin, CrossModalTransformer):
    r"""Iterative quantization (ITQ) of the embeddings of a projector.

    A projector encodes the training rows. With the embeddings of all modalities,
    centered, of unit length and reduced to `n_bits` principal components, as the rows
    of :math:`V`, the codes :math:`B` and the rotation :math:`R` minimize [1]_

    .. math::

        \lVert B - V R \rVert_F^2
        \quad \text{with} \quad B \in \{-1, 1\}^{n \times n_{bits}}, \; R^T R = I

    in turns: the codes are the signs of :math:`V R`, and the rotation is the solution
    of the orthogonal Procrustes problem. The loss never rises.

    It takes modalities, pairs and labels as the projector does.

    Parameters
    ----------
    projector : estimator, default=None
        Projector of this package, or a pipeline that ends with one. A clone of it is
        fitted to arrays by modality. A :class:`~sklearn.frozen.FrozenEstimator` of a
        fitted one is used as it is. None is
        :class:`~sklearn_cmr.SemanticMatchingProjector`.

    n_bits : int, default=32
        Number of bits of a code.

    n_iter : int, default=50
        Number of iterations, >= 0. With 0, the rotation is random.

    output : {"sign", "packed"}, default="sign"
        Form of the output of :meth:`transform`: codes of -1 and +1 (int8), or their
        bits packed into bytes (uint8). :meth:`encode` has further forms.

    missing_labels : {"raise", "drop"}, default="raise"
        What :meth:`fit` does with rows that have no label: raise an error, or leave
        them out with a warning.

    random_state : int, RandomState instance or None, default=None
        Determines the initial rotation. Pass an int for the same result in every call.
        The projector has its own.

    n_image_features : int, default=None
        Number of leading image columns where one matrix holds both modalities. None
        takes half of the columns, with a warning.

    Attributes
    ----------
    projector_ : estimator
        Fitted projector.

    means_ : dict of str to ndarray of shape (width,)
        Mean training embedding of every modality.

    rotation_ : ndarray of shape (width, n_bits)
        Map of the centered embeddings to the real values whose signs are the codes. Its
        columns are orthonormal, or its rows if the embeddings have less than `n_bits`
        columns.

    quantization_losses_ : list of float
        Mean squared distance of a row of :math:`V R` to its code, before each iteration
        and after the last one.

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
    SemanticMatchingProjector : Class probabilities as embeddings.
    CCAProjector : Embeddings that are learned without labels, as in the paper.

    Notes
    -----
    Embeddings may have less columns than there are bits, such as ten class
    probabilities. Columns of zeros are appended, so that the bits are the sides of more
    hyperplanes than the embedding has dimensions. More bits then keep more of the
    cosines: embeddings of ten canonical variates have better codes of 64 bits than
    those of 64 canonical variates, most of which are noise.

    In the paper, the embeddings are ``CCAProjector(n_components=n_bits)``. Projectors
    that learn without labels, and frozen ones, need no labels in :meth:`fit`, and give
    no attribute `classes_`.

    References
    ----------
    .. [1] Y. Gong et al. "Iterative Quantization: A Procrustean Approach to Learning
       Binary Codes for Large-Scale Image Retrieval". IEEE Transactions on Pattern
       Analysis and Machine Intelligence, 35(12), 2916-2929, 2013.
       :doi:`10.1109/TPAMI.2012.193`

    Examples
    --------
    >>> from sklearn_cmr import CCAProjector, ITQHasher
    >>> from sklearn_cmr.datasets import make_cross_modal_classification
    >>> A, B, y = make_cross_modal_classification(300, n_classes=4, random_state=0)
    >>> itq = ITQHasher(n_bits=16, random_state=0).fit(A[:200], B[:200], y[:200])
    >>> itq.transform_image(A[200:]).shape
    (100, 16)
    >>> itq.set_params(projector=CCAProjector(n_components=5))
    ITQHasher(n_bits=16, projector=CCAProjector(n_components=5), random_state=0)
    >>> itq.fit({"image": A[:200], "text": B[:200]}).encode(A, "image").dtype
    dtype('int8')
    """

    _parameter_constraints: dict = {
        **CrossModalTransformer._parameter_constraints,
        **HasherMixin._parameter_constraints,
        "projector": [HasMethods(["fit", "transform"]), None],
        "n_iter": [Interval(Integral, 0, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        projector=None,
        n_bits=32,
        n_iter=50,
        output="sign",
        missing_labels="raise",
        random_state=None,
        n_image_features=None,
    ) -> None:
        self.projector = projector
        self.n_bits = n_bits
        self.n_iter = n_iter
        self.output = output
        self.missing_labels = missing_labels
        self.random_state = random_state
        self.n_image_features = n_image_features

    @property
    def _requires_labels(self):  # type: ignore[override]
        return _learns_from_labels(self._make_projector())

    @property
    def _any_modalities(self):  # type: ignore[override]
        return getattr(_last_step(self._make_projector()), "_any_modalities", False)

    @property
    def _encoded_modalities(self):  # type: ignore[override]
        return getattr(_last_step(self._make_projector()), "_encoded_modalities", ())

    def _make_projector(self):
        if self.projector is not None:
            return clone(self.projector)
        # The only method that another one uses; see CONTRIBUTING.md.
        from sklearn_cmr.projection import SemanticMatchingProjector

        return SemanticMatchingProjector()

    def _fit(self, features, labels):
        y = None if labels is None else labels.as_given()
        projector = self._make_projector()
        with explained_errors(projector, "projector"):
            self.projector_ = projector.fit(features, y)
            embeddings = {name: self._embed(X, name) for name, X in features.items()}
        widths = {name: Z.shape[1] for name, Z in embeddings.items()}
        if len(set(widths.values())) > 1:
            raise ValueError(
                "The projector must encode all modalities in one common space; got "
                f"embeddings of these widths: {widths}."
            )
        self.means_ = {name: Z.mean(axis=0) for name, Z in embeddings.items()}
        U = np.concatenate(
            [normalize(Z - self.means_[name]) for name, Z in embeddings.items()]
        )
        n_bits = int(self.n_bits)  # True counts as 1
        W = principal_axes(U, n_bits)
        rng = check_random_state(self.random_state)
        R, _ = linalg.qr(rng.normal(size=(n_bits, n_bits)))
        R, self.quantization_losses_ = quantize_iteratively(U @ W, R, self.n_iter)
        self.rotation_ = W @ R

    def _embed(self, X, modality):
        Z = np.asarray(self.projector_.transform({modality: X})[modality])
        if Z.ndim != 2 or Z.dtype.kind != "f":
            raise ValueError(
                "The projector must return real-valued embeddings of shape (n_samples, "
                f"embedding_dim); got an array of shape {Z.shape} and dtype {Z.dtype} "
                f"for {modality!r}. Pass a projector, such as CCAProjector(), and no "
                "hasher."
            )
        return Z.astype(np.float64)

    def _encode(self, X, modality):
        U = normalize(self._embed(X, modality) - self.means_[modality])
        # Rounding may leave [-1, 1].
        return np.clip(U @ self.rotation_, -1, 1).astype(np.float32)


def _learns_from_labels(estimator):
    """Return whether an estimator, or a step of a pipeline, has to be given labels."""
    if isinstance(estimator, FrozenEstimator):
        return False
    if isinstance(estimator, Pipeline):
        return any(_learns_from_labels(step) for _, step in estimator.steps)
    return hasattr(estimator, "fit") and get_tags(estimator).target_tags.required


def _last_step(estimator):
    """Return the end of a pipeline, also of a frozen one."""
    while isinstance(estimator, (Pipeline, FrozenEstimator)):
        is_pipeline = isinstance(estimator, Pipeline)
        estimator = estimator.steps[-1][1] if is_pipeline else estimator.estimator
    return estimator
