"""Preprocessing of each modality by a transformer of its own."""

# SPDX-License-Identifier: BSD-3-Clause

from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context, clone
from sklearn.utils import get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from sklearn_cmr._inputs.arguments import read_arguments
from sklearn_cmr._inputs.features import FeatureReader
from sklearn_cmr._inputs.layout import MODALITIES, PairLayout, bare_names
from sklearn_cmr._inputs.outputs import PairOutputMixin


class _PartChecks:
    """Leave the checks of a part to its transformer."""

    def __init__(self, transforms):
        # Transformers check for themselves: an imputer must get to see NaN, also as
        # the first step of a pipeline, whose tags do not tell.
        self.plain_options = {"ensure_all_finite": False} if transforms else {}

    def check_part(self, part, modality, estimator, has_regions=False):
        part = part if hasattr(part, "shape") else np.asarray(part)
        if len(part.shape) == 0:
            raise ValueError(f"The {modality} features have no rows: got {part!r}.")
        return part

    def check_range(self, X, name):
        """Accept all values: scaling them may be what the transformer is for."""


class PairTransformer(  # type: ignore[call-arg]
    PairOutputMixin,
    TransformerMixin,
    BaseEstimator,
    auto_wrap_output_keys=None,
):
    """Apply one transformer to the images and another one to the texts.

    The output has the form of the input: a mapping gives a mapping, a paired dataframe
    a paired dataframe, one matrix one matrix. Each part is passed to its transformer
    as it is, so that sparse text stays sparse and raw strings reach a vectorizer.

    Parameters
    ----------
    image : estimator or "passthrough", default="passthrough"
        Transformer of the image features. Its parameters are those of
        `PairTransformer` with the prefix ``image__``.

    text : estimator or "passthrough", default="passthrough"
        Transformer of the text features, with the prefix ``text__``.

    n_image_features : int, default=None
        Where a plain matrix is cut: its first `n_image_features` columns are the image.
        None takes half of the columns, with a warning. Other containers ignore it.

    Attributes
    ----------
    image_ : estimator or "passthrough"
        The fitted transformer of the image features.

    text_ : estimator or "passthrough"
        The fitted transformer of the text features.

    n_features_in_ : int
        Number of image and text features together; raw strings count as one.

    n_image_features_in_ : int
        Number of image features.

    n_text_features_in_ : int
        Number of text features.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where dataframes were passed.

    See Also
    --------
    make_pairs : Put two feature matrices into one container.
    sklearn.compose.ColumnTransformer : The same for columns of one matrix.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.feature_extraction.text import TfidfVectorizer
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_cmr import PairTransformer, make_pairs
    >>> X_img = np.array([[0.0, 2.0], [4.0, 6.0]])
    >>> pairs = make_pairs(X_img, np.array(["a red bird", "a blue bird"], dtype=object))
    >>> prepare = PairTransformer(image=StandardScaler(), text=TfidfVectorizer())
    >>> Z = prepare.fit_transform(pairs)
    >>> Z["image"]
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> Z["text"].shape
    (2, 3)
    """

    _parameter_constraints: dict = {
        "image": [StrOptions({"passthrough"}), HasMethods(["fit", "transform"])],
        "text": [StrOptions({"passthrough"}), HasMethods(["fit", "transform"])],
        "n_image_features": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self, *, image="passthrough", text="passthrough", n_image_features=None
    ):
        self.image = image
        self.text = text
        self.n_image_features = n_image_features

    def fit(self, X, Y=None, y=None):
        """Fit both transformers.

        Parameters
        ----------
        X : container of pairs, or {array-like, sparse matrix} of shape \
                (n_samples, n_image_features)
            Container as :meth:`ACMRProjector.fit <sklearn_cmr.ACMRProjector.fit>`
            takes it; or image features, if labels are passed too.

        Y : array-like, default=None
            Labels, passed on to both transformers; the text features where `X` is no
            container.

        y : array-like, default=None
            Labels, where `Y` is the text features.

        Returns
        -------
        self : object
            The fitted transformer.
        """
        self.fit_transform(X, Y, y)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X, Y=None, y=None):
        """Fit both transformers and apply them.

        Parameters
        ----------
        X, Y, y : see :meth:`fit`

        Returns
        -------
        Z : container like `X`
        """
        for modality in MODALITIES:
            if isinstance(getattr(self, modality), type):
                raise TypeError(
                    f"{modality} must be an instance, got the class "
                    f"{getattr(self, modality).__name__}: it needs parentheses."
                )
        layout, y = read_arguments(self, X, Y, y, reset=True, requires_labels=False)
        parts = self._reader.read(layout, reset=True)
        outputs = {}
        for modality, part in parts.items():
            transformer = getattr(self, modality)
            if transformer != "passthrough":
                transformer = clone(transformer)
                output = _fit_transform(transformer, part, y, modality)
                part = _check_rows(output, part, modality, transformer)
            setattr(self, f"{modality}_", transformer)
            outputs[modality] = part
        return self._join(layout, outputs)

    def transform(self, X, Y=None):
        """Apply both transformers, or the one of a mapping with one key.

        Parameters
        ----------
        X : container of pairs, or {array-like, sparse matrix} of shape \
                (n_samples, n_image_features)
            A container, or image features.

        Y : {array-like, sparse matrix} of shape (n_samples, n_text_features), \
                default=None
            Text features, if `X` is no container.

        Returns
        -------
        Z : container like `X`, or tuple of two arrays
        """
        check_is_fitted(self)
        layout = PairLayout(X, Y)
        outputs = {}
        for modality, part in self._reader.read(layout, reset=False).items():
            fitted = getattr(self, f"{modality}_")
            if fitted != "passthrough":
                part = _check_rows(fitted.transform(part), part, modality, fitted)
            outputs[modality] = part
        return self._join(layout, outputs)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the output columns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the input columns, where none were seen in `fit`.

        Returns
        -------
        names : ndarray of str objects
            ``image__*``, then ``text__*``, with the names that the parts give.
        """
        check_is_fitted(self)
        given = list(_check_feature_names_in(self, input_features))
        names = []
        for modality in MODALITIES:
            own = [name for name in given if name.startswith(f"{modality}__")]
            if not own:
                cut = self.n_image_features_in_
                own = given[:cut] if modality == "image" else given[cut:]
            own = bare_names(own, modality)
            fitted = getattr(self, f"{modality}_")
            if fitted != "passthrough":
                own = fitted.get_feature_names_out(own)
            names += [f"{modality}__{name}" for name in own]
        return np.array(names, dtype=object)

    def __sklearn_is_fitted__(self):
        # A fit that failed may have left attributes that end in an underscore.
        return hasattr(self, "text_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        parts = [part for part in (self.image, self.text) if part != "passthrough"]
        inputs = [get_tags(part).input_tags for part in parts]
        tags.input_tags.two_d_array = True
        tags.input_tags.dict = True
        tags.input_tags.sparse = all(part.sparse for part in inputs)
        tags.input_tags.allow_nan = any(part.allow_nan for part in inputs)
        tags.target_tags.required = any(
            get_tags(part).target_tags.required for part in parts
        )
        return tags

    @property
    def _reader(self):
        transforms = (self.image, self.text) != ("passthrough", "passthrough")
        return FeatureReader(self, checks=_PartChecks(transforms))

    def _join(self, layout, outputs):
        adapter = self._output_adapter()
        if adapter is None and layout.kind not in ("levels", "prefixed"):
            return layout.join(outputs, {}, None)
        names = self.get_feature_names_out()
        by_modality = {
            modality: bare_names(
                [name for name in names if name.startswith(f"{modality}__")], modality
            )
            for modality in outputs
        }
        return layout.join(outputs, by_modality, adapter)


def _fit_transform(transformer, part, y, modality):
    """Fit the transformer of a part and apply it."""
    try:
        if hasattr(transformer, "fit_transform"):
            return transformer.fit_transform(part, y)
        return transformer.fit(part, y).transform(part)
    except ValueError as error:
        if len(part.shape) != 3:
            raise
        raise ValueError(
            f"The {modality} features have regions, an array of shape {part.shape}, "
            f"and their transformer, {transformer}, failed: {error} Most transformers "
            "take rows: transform the regions beforehand, as the rows of "
            f"X.reshape(-1, {part.shape[2]}), and leave {modality}='passthrough'."
        ) from error


def _check_rows(output, part, modality, transformer):
    """Raise if a transformer did not give one row for each of its input's."""
    if output.shape[0] != part.shape[0]:
        raise ValueError(
            f"The {modality} transformer, {transformer}, made {output.shape[0]} rows "
            f"of {part.shape[0]}. A vectorizer wants a 1-D array of strings, as in "
            "make_pairs(X_img, frame['caption']); of a dataframe it sees the column "
            "names, and needs a ColumnTransformer that names its column."
        )
    return output
