"""Preprocessing of each modality by a transformer of its own."""

# SPDX-License-Identifier: BSD-3-Clause

from contextlib import contextmanager
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context, clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import get_tags
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.validation import check_is_fitted

from sklearn_cmr._arrays import is_frame, read_rows, to_array
from sklearn_cmr._inputs.arguments import read_arguments
from sklearn_cmr._inputs.features import FeatureReader, is_modality_name
from sklearn_cmr._inputs.labels import check_label_names, for_scikit_learn
from sklearn_cmr._inputs.layout import (
    PairLayout,
    bare_names,
    check_same_length,
    is_mapping,
    shape_of,
)
from sklearn_cmr._inputs.outputs import PairOutputMixin, check_input_features
from sklearn_cmr._inputs.parameters import refuse_boolean_numbers
from sklearn_cmr._lazy import public
from sklearn_cmr._state import StateMixin, restored_on_failure

_TRANSFORMER = [StrOptions({"passthrough"}), HasMethods(["fit", "transform"])]


class UncheckedParts:
    """Leave the checks of features to the transformers.

    Parameters
    ----------
    matrix_options : dict
        Further options of `check_array` for a plain matrix.
    """

    def __init__(self, matrix_options):
        self.matrix_options = matrix_options

    def check_part(self, part, modality, estimator, *, may_have_regions=False):
        """Return features with rows."""
        name = f"{modality} features"
        if shape_of(part) is None:
            part = np.asarray(to_array(part, name))
        if len(part.shape) == 0:
            raise ValueError(f"The {name} have no rows: got {part!r}.")
        return part

    def check_values(self, X, name):
        """Accept all values: scaling them may be what the transformer is for."""


@public("sklearn_cmr")
class PairTransformer(  # type: ignore[call-arg]
    StateMixin,
    PairOutputMixin,
    TransformerMixin,
    BaseEstimator,
    auto_wrap_output_keys=None,
):
    """Apply a transformer of its own to each modality.

    The output has the form of the input: a mapping gives a mapping, a paired dataframe
    a paired dataframe, one matrix one matrix. The features of a modality are passed to
    its transformer as they are, so that sparse text stays sparse. A transformer that
    takes strings, such as a vectorizer, gets the only column of a dataframe or matrix
    as a series or vector.

    Parameters
    ----------
    image : estimator or "passthrough", default="passthrough"
        Transformer of the image features. Its parameters are those of
        `PairTransformer` with the prefix ``image__``.

    text : estimator or "passthrough", default="passthrough"
        Transformer of the text features, with the prefix ``text__``.

    n_image_features : int, default=None
        Number of leading image columns where one matrix holds both modalities. None
        takes half of the columns, with a warning.

    **modalities : estimator or "passthrough"
        Transformers of further modalities by name, as in
        ``PairTransformer(audio=StandardScaler())``. Modalities without a transformer
        pass through.

    Attributes
    ----------
    transformers_ : dict of str to estimator or "passthrough"
        The fitted transformers by modality.

    modalities_ : tuple of str
        Names of the fitted modalities.

    n_features_in_ : int
        Number of features of all modalities together; raw strings count as one.

    n_image_features_in_, n_text_features_in_ : int
        Number of features of the modality. Every other modality has an attribute of
        the same form.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if all of them are strings.

    See Also
    --------
    make_pairs : Put the features of several modalities into one container.
    sklearn.compose.ColumnTransformer : The same for columns of one matrix.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.feature_extraction.text import TfidfVectorizer
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_cmr import PairTransformer, make_pairs
    >>> X_img = np.array([[0.0, 2.0], [4.0, 6.0]])
    >>> pairs = make_pairs(X_img, ["a red bird", "a blue bird"])
    >>> prepare = PairTransformer(image=StandardScaler(), text=TfidfVectorizer())
    >>> Z = prepare.fit_transform(pairs)
    >>> Z["image"]
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> Z["text"].shape
    (2, 3)
    """

    _parameter_constraints: dict = {
        "image": _TRANSFORMER,
        "text": _TRANSFORMER,
        "n_image_features": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        *,
        image="passthrough",
        text="passthrough",
        n_image_features=None,
        **modalities,
    ) -> None:
        self.image = image
        self.text = text
        self.n_image_features = n_image_features
        for name, transformer in modalities.items():
            if not self._is_parameter(name) or hasattr(type(self), name):
                raise TypeError(f"{name!r} cannot name a modality.")
            setattr(self, name, transformer)

    def get_params(self, deep=True):
        """Return the parameters, with those of further modalities.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return the parameters of the transformers too.

        Returns
        -------
        params : dict of str to object
            Values by the names of the parameters.
        """
        params = super().get_params(deep=deep)
        for name in filter(self._is_parameter, list(vars(self))):
            if name in params:
                continue
            params[name] = transformer = getattr(self, name)
            if deep and hasattr(transformer, "get_params"):
                for key, value in transformer.get_params().items():
                    params[f"{name}__{key}"] = value
        return params

    def set_params(self, **params):
        """Set parameters, also those of the transformers.

        Parameters
        ----------
        **params : dict
            Names as :meth:`get_params` returns them.

        Returns
        -------
        self : object
            The estimator.
        """
        for key in params:
            name, _, own = key.partition("__")
            if own and isinstance(params.get(name, getattr(self, name, None)), str):
                raise ValueError(
                    f"Invalid parameter {key!r}: {name!r} has no transformer, but "
                    f"{getattr(self, name)!r}."
                )
        return super().set_params(**params)

    @staticmethod
    def _is_parameter(name):
        """Return whether an attribute is a parameter, by scikit-learn's naming rule."""
        return is_modality_name(name) and name.strip("_") == name

    def _validate_params(self):
        super()._validate_params()
        refuse_boolean_numbers(self)

    def _transformers(self):
        """Return the transformers by modality, unfitted."""
        params = self.get_params(deep=False)
        del params["n_image_features"]
        return params

    def fit(self, X, Y=None, y=None):
        """Fit the transformers.

        Parameters
        ----------
        X : container of pairs, mapping of modalities, or \
                {array-like, sparse matrix} of shape (n_samples, n_image_features)
            Container as :meth:`ACMRProjector.fit <sklearn_cmr.ACMRProjector.fit>`
            takes it; a mapping with any names of modalities; or image features, if
            labels are passed too.

        Y : array-like or mapping, default=None
            Labels for the transformers; a mapping has the labels of each modality. If
            `X` is no container, the text features.

        y : array-like, default=None
            Labels, if `Y` is the text features.

        Returns
        -------
        self : object
            The fitted transformer.
        """
        self.fit_transform(X, Y, y)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X, Y=None, y=None):
        """Fit the transformers and apply them.

        Parameters
        ----------
        X, Y, y : as in `fit`
            Features and labels.

        Returns
        -------
        Z : container like `X`
            Transformed features.

        Raises
        ------
        ValueError
            If there are no features for a transformer, or if a transformer changes
            the number of rows. After any error the estimator is as it was before.

        TypeError
            If a transformer is a class, not an instance.
        """
        transformers = self._transformers()
        for name, transformer in transformers.items():
            _check_transformer(transformer, name)
        with restored_on_failure(self):
            layout, y = read_arguments(self, X, Y, y, reset=True, requires_labels=False)
            parts = self._reader().read(layout, reset=True)
            unused = [
                name
                for name, transformer in transformers.items()
                if name not in parts and not _passes(transformer)
            ]
            if unused:
                raise ValueError(
                    f"X has no features of {unused[0]!r}, which has a transformer; got "
                    f"the modalities {list(parts)}."
                )
            if is_mapping(y):
                check_label_names(y, parts)
            else:
                if y is not None:
                    check_same_length(parts)
                y = dict.fromkeys(parts, y)
            fitted, outputs = {}, {}
            for name, part in parts.items():
                transformer = transformers.get(name, "passthrough")
                if not _passes(transformer):
                    transformer = clone(transformer)
                    output = _fit_transform(transformer, part, y[name], name)
                    part = _check_rows(output, part, name, transformer)
                fitted[name], outputs[name] = transformer, part
            self.transformers_ = fitted
            return self._join(layout, outputs)

    def transform(self, X, Y=None):
        """Apply the transformers to all modalities, or to some of a mapping.

        Parameters
        ----------
        X : container of pairs, mapping of modalities, or \
                {array-like, sparse matrix} of shape (n_samples, n_image_features)
            A container, or image features.

        Y : {array-like, sparse matrix} of shape (n_samples, n_text_features), \
                default=None
            Text features, if `X` is no container.

        Returns
        -------
        Z : container like `X`, or tuple of two arrays
            Transformed features.

        Raises
        ------
        NotFittedError
            If :meth:`fit` was not called.

        ValueError
            If the features are not those of the fit: other modalities, widths or
            names.
        """
        check_is_fitted(self)
        layout = PairLayout(X, Y)
        outputs = {}
        for name, part in self._reader().read(layout, reset=False).items():
            fitted = self.transformers_[name]
            if not _passes(fitted):
                with _explained_errors(fitted, part, name):
                    output = fitted.transform(_as_input(part, fitted))
                part = _check_rows(output, part, name, fitted)
            outputs[name] = part
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
            ``image__*``, then ``text__*``, with the names from the transformers.
        """
        check_is_fitted(self)
        given = list(check_input_features(self, input_features))
        names: list[str] = []
        start = 0
        for modality, fitted in self.transformers_.items():
            stop = start + getattr(self, f"n_{modality}_features_in_")
            own = [name for name in given if name.startswith(f"{modality}__")]
            own = bare_names(own or given[start:stop], modality)
            if not _passes(fitted):
                own = fitted.get_feature_names_out(own)
            names += [f"{modality}__{name}" for name in own]
            start = stop
        return np.array(names, dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        parts = [get_tags(t) for t in self._transformers().values() if not _passes(t)]
        tags.input_tags.two_d_array = True
        tags.input_tags.dict = True
        tags.input_tags.sparse = all(part.input_tags.sparse for part in parts)
        tags.input_tags.allow_nan = any(part.input_tags.allow_nan for part in parts)
        tags.target_tags.required = any(part.target_tags.required for part in parts)
        return tags

    def _reader(self):
        # Transformers check for themselves. An imputer must get NaN, also as the first
        # step of a pipeline, whose tags do not show it.
        transforms = not all(map(_passes, self._transformers().values()))
        options = {"ensure_all_finite": False} if transforms else {}
        return FeatureReader(
            self,
            any_modalities=True,
            reserved_names={*dir(type(self)), "n_image_features"},
            checks=UncheckedParts(options),
            leaves_unread=True,
        )

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


def _passes(transformer):
    return isinstance(transformer, str) and transformer == "passthrough"


def _check_transformer(transformer, modality):
    """Raise unless `transformer` is an instance, with the methods of one."""
    if isinstance(transformer, type):
        raise TypeError(
            f"{modality} must be an instance, got the class {transformer.__name__}: it "
            "needs parentheses."
        )
    validate_parameter_constraints(
        {modality: _TRANSFORMER}, {modality: transformer}, "PairTransformer"
    )


def _as_input(part, transformer):
    """Return features as a transformer takes them: one column of strings as 1-D."""
    part = read_rows(part)
    first = transformer
    while steps := _steps(first):
        first = steps[0][1]
    if _passes(first) or first is None:
        return part
    tags = get_tags(first).input_tags
    if not tags.string or tags.two_d_array or _n_columns(part) != 1:
        return part
    if not is_frame(part):
        return part[:, 0]
    return part.iloc[:, 0] if hasattr(part, "iloc") else part.to_series()


def _steps(transformer):
    """Return the named transformers that a pipeline or a union consists of."""
    if isinstance(transformer, FeatureUnion):
        return transformer.transformer_list
    return transformer.steps if isinstance(transformer, Pipeline) else []


def _n_columns(part):
    """Return the number of columns, None for what has none."""
    return part.shape[1] if len(part.shape) == 2 else None


def _fit_transform(transformer, part, y, modality):
    """Fit the transformer of a modality and apply it."""
    part = _as_input(part, transformer)
    y = for_scikit_learn(y)
    with _explained_errors(transformer, part, modality):
        if hasattr(transformer, "fit_transform"):
            return transformer.fit_transform(part, y)
        return transformer.fit(part, y).transform(part)


@contextmanager
def _explained_errors(transformer, part, modality):
    """Say what was passed to a transformer where it fails on something unexpected."""
    try:
        yield
    except NotFittedError:
        raise
    except (AttributeError, OverflowError, TypeError, RuntimeError) as error:
        raise TypeError(
            f"The {modality} transformer, {transformer}, failed on "
            f"{type(part).__name__} of shape {tuple(part.shape)}: {error}. Vectorizers "
            "take strings, most other transformers a matrix of numbers."
        ) from error
    except ValueError as error:
        if type(error) is not ValueError:
            raise
        if len(part.shape) != 3:
            raise ValueError(
                f"The {modality} transformer, {transformer}, failed: {error}"
            ) from error
        raise ValueError(
            f"The {modality} features have regions, an array of shape {part.shape}, "
            f"and their transformer, {transformer}, failed: {error} Most transformers "
            "take rows: transform the regions beforehand, as the rows of "
            f"X.reshape(-1, {part.shape[2]}), and leave {modality}='passthrough'."
        ) from error


def _check_rows(output, part, modality, transformer):
    """Raise unless a transformer returned one row for each row of its input."""
    if not shape_of(output):
        raise TypeError(
            f"The {modality} transformer, {transformer}, must return an array, a "
            f"sparse matrix or a dataframe, got {type(output).__name__}."
        )
    if output.shape[0] != part.shape[0]:
        raise ValueError(
            f"The {modality} transformer, {transformer}, made {output.shape[0]} rows "
            f"of {part.shape[0]}. A vectorizer takes one column of strings, as in "
            "make_pairs(X_img, frame['caption']); for several columns use a "
            "ColumnTransformer."
        )
    return output
