"""Features: validation, and comparison with those of the fit."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings
from collections import Counter

import numpy as np
from scipy import sparse
from sklearn.utils import check_array, gen_batches
from sklearn.utils.validation import validate_data

from sklearn_cmr._inputs.layout import (
    MODALITIES,
    PairLayout,
    check_same_index,
    check_same_length,
    check_unpaired,
    frame_like,
    is_frame,
    prefixed_names,
)

_FLOAT32_MAX = float(np.finfo(np.float32).max)
# Values of items with regions that are checked for padding at once.
_CHECKED_VALUES = 2**24


def cut_plain(n_features, n_image_features):
    """Return where a plain matrix is cut, or raise if it cannot be cut there.

    Half of the columns, with a warning, if `n_image_features` is None: a wrong cut
    puts image columns into the text, which makes scores look *better*.
    """
    if n_image_features is None:
        n_image_features = n_features // 2
        warnings.warn(
            f"n_image_features is not set: the first {n_image_features} of the "
            f"{n_features} columns are taken as image features.",
            UserWarning,
            stacklevel=2,
        )
    if n_image_features >= n_features:
        raise ValueError(
            f"n_image_features={n_image_features} leaves no column for the text in a "
            f"plain array with {n_features} features. A plain array holds both "
            "modalities side by side; two arrays are passed as "
            "fit(X_img, X_txt, y)."
        )
    return n_image_features


def check_keys(parts, *, need_both):
    """Raise if a mapping of features has other keys than the modalities."""
    keys, wanted = set(parts), set(MODALITIES)
    is_right = keys == wanted if need_both else keys <= wanted
    if not parts or not is_right:
        raise ValueError(
            "a mapping X must have the keys 'image' and 'text'"
            + ("" if need_both else ", or one of them")
            + f"; got {list(parts)}."
        )


class NumericChecks:
    """Checks of features that an estimator computes with."""

    # Options of the validation of a plain matrix.
    plain_options: dict = {}

    def check_part(self, part, modality, estimator, has_regions=False):
        """Validate the features of one modality."""
        name = f"{modality} features"
        part = _as_array(part)
        if _holds_strings(part):
            raise ValueError(
                f"The {name} are strings. Turn them into numbers first, e.g. with "
                f"PairTransformer({modality}=TfidfVectorizer())."
            )
        try:
            part = check_array(
                part,
                accept_sparse="csr",
                dtype="numeric",
                estimator=estimator,
                input_name=name,
                allow_nd=has_regions,
                ensure_all_finite="allow-nan" if has_regions else True,
            )
        except ValueError as error:
            if name in str(error):
                raise
            raise ValueError(f"The {name} cannot be used: {error}") from error
        if has_regions:
            _check_regions(part, name)
        self.check_range(part, name)
        return part

    def check_range(self, X, name):
        """Raise if values are no numbers or overflow where the networks compute."""
        values = X.data if sparse.issparse(X) else X
        if values.dtype.kind not in "biuf":
            raise ValueError(
                f"{name} must hold numbers, got the dtype {values.dtype}. Turn them "
                "into numbers first."
            )
        if values.dtype.kind != "f" or values.dtype.itemsize <= 4 or not values.size:
            return
        # Absent regions are NaN.
        largest = max(np.nanmax(values), -np.nanmin(values))
        if largest > _FLOAT32_MAX:
            raise ValueError(
                f"{name} hold values as large as {largest:.3g}, beyond the range of "
                "float32, in which the networks compute. Scale the features first."
            )


class FeatureReader:
    """Read the features of an estimator: validate them, compare them with its fit.

    What a fit has seen is stored on the estimator: `n_features_in_`,
    `n_image_features_in_` and alike, `feature_names_in_`, `modalities_`.

    Parameters
    ----------
    estimator : estimator

    any_modalities : bool, default=False
        Whether a mapping may have any names, with rows of their own.

    region_modalities : tuple of str, default=()
        Modalities whose items may have regions: (n_samples, n_regions, n_features).

    needs_same_regions : bool, default=False
        Whether all items need as many regions as those of the fit.

    checks : object, default=NumericChecks()
        How the values are checked.
    """

    def __init__(
        self,
        estimator,
        *,
        any_modalities=False,
        region_modalities=(),
        needs_same_regions=False,
        checks=None,
    ):
        self.estimator = estimator
        self.any_modalities = any_modalities
        self.region_modalities = region_modalities
        self.needs_same_regions = needs_same_regions
        self.checks = NumericChecks() if checks is None else checks

    @property
    def modality_names(self):
        """Names of the modalities that the estimator encodes."""
        return getattr(self.estimator, "modalities_", MODALITIES)

    @property
    def _name(self):
        return type(self.estimator).__name__

    # -- reading ---------------------------------------------------------------

    def read(self, layout, *, reset):
        """Validate features.

        Parameters
        ----------
        layout : PairLayout

        reset : bool
            Whether this is a fit, with which later features are compared.

        Returns
        -------
        parts : dict of str to {ndarray, CSR}
            By modality.
        """
        if reset:
            self._forget()
        if layout.kind == "plain":
            self._check_pair_is_known(layout, reset)
            return self._read_plain(layout, reset)
        parts = layout.split()
        check_unpaired(parts)
        if layout.kind == "mapping" and self.any_modalities:
            return self._read_any(layout, parts, reset)
        if layout.kind == "mapping":
            check_keys(parts, need_both=reset)
        self._check_pair_is_known(layout, reset)
        check_same_index(parts)
        checked = {name: self._check_part(part, name) for name, part in parts.items()}
        check_same_length(checked)
        if reset:
            self._remember(layout, parts, checked)
        else:
            for name, part in checked.items():
                self._compare(parts[name], part, name)
        return checked

    def read_modality(self, X, modality):
        """Validate the features of one modality of a fitted estimator."""
        if modality not in self.modality_names:
            raise ValueError(
                f"modality must be one of {list(self.modality_names)}, got "
                f"{modality!r}."
            )
        check_unpaired({modality: X})
        part = self._check_part(X, modality)
        self._compare(X, part, modality)
        return part

    def read_new_modality(self, X, name):
        """Validate the features of a modality that is new to a fitted estimator."""
        check_modality_name(name)
        if name in self.modality_names:
            raise ValueError(
                f"The modality {name!r} is fitted already. Fit anew, or continue its "
                "training by fit with warm_start=True."
            )
        check_unpaired({name: X})
        return self._check_part(X, name)

    def remember_modality(self, X, part, name):
        """Store what later features of a new modality are compared with."""
        estimator = self.estimator
        estimator.modalities_ = (*estimator.modalities_, name)
        columns = prefixed_names(X.columns, name) if is_frame(X) else None
        estimator._names_added = {**estimator._names_added, name: columns}
        if part.ndim == 3:
            regions = {**estimator._n_regions_in, name: part.shape[1]}
            estimator._n_regions_in = regions
        setattr(estimator, f"n_{name}_features_in_", _width(part))

    def _read_any(self, layout, parts, reset):
        if not parts:
            raise ValueError("a mapping X must have a modality; got an empty one.")
        for name in parts:
            check_modality_name(name)
        if not reset:
            return {name: self.read_modality(X, name) for name, X in parts.items()}
        checked = {name: self._check_part(part, name) for name, part in parts.items()}
        self.estimator.modalities_ = tuple(checked)
        self._remember(layout, parts, checked)
        return checked

    def _forget(self):
        estimator = self.estimator
        for name in getattr(estimator, "modalities_", ()):
            vars(estimator).pop(f"n_{name}_features_in_", None)
        estimator.modalities_ = MODALITIES
        estimator._names_added = {}

    def _check_pair_is_known(self, layout, reset):
        """Raise if images and texts come in a form that the fit does not explain."""
        if reset or not self.any_modalities:
            return
        pair, known = set(MODALITIES), set(self.modality_names)
        if layout.kind == "plain":
            # Its columns mean what they meant in `fit`.
            is_known = known - set(self.estimator._names_added) == pair
        else:
            is_known = known >= pair
        if not is_known:
            raise ValueError(
                f"{self._name} was fitted on the modalities "
                f"{list(self.modality_names)}. Pass a mapping with some of these names, "
                "or one modality to transform_modality."
            )

    # -- one matrix ------------------------------------------------------------

    def _read_plain(self, layout, reset):
        estimator = self.estimator
        X = layout.X if reset else self._with_fitted_names(layout.X)
        if not reset:
            self._check_image_first(X)
        try:
            X = validate_data(
                estimator,
                _as_array(X),
                reset=reset,
                accept_sparse="csr",
                dtype="numeric",
                ensure_min_features=2 if reset else 1,
                **self.checks.plain_options,
            )
        except ValueError as error:
            if reset or "is expecting" not in str(error):
                raise
            raise ValueError(
                f"{error} A plain array holds both modalities side by side "
                f"({estimator.n_image_features_in_} image + "
                f"{estimator.n_text_features_in_} text features); for one modality use "
                "transform_image or transform_text."
            ) from None
        if reset:
            n_image = cut_plain(X.shape[1], estimator.n_image_features)
            estimator.n_image_features_in_ = n_image
            estimator.n_text_features_in_ = X.shape[1] - n_image
            estimator._n_regions_in = {}
        self.checks.check_range(X, "X")
        return PairLayout(X).split(estimator.n_image_features_in_)

    def _check_image_first(self, X):
        """Raise if a plain matrix cannot have the column order of the fit."""
        names = getattr(self.estimator, "feature_names_in_", ())
        is_image = [str(name).startswith("image__") for name in names]
        if any(is_image) and not is_frame(X) and is_image != sorted(is_image)[::-1]:
            raise ValueError(
                f"{self._name} was fitted on a dataframe whose image columns do not "
                "come first, so that a plain array is ambiguous. Pass a dataframe with "
                "the same columns, or two arrays."
            )

    def _with_fitted_names(self, X):
        """Rename the bare columns of a plain frame as the fit knew them."""
        fitted = getattr(self.estimator, "feature_names_in_", None)
        if fitted is None or not is_frame(X) or X.shape[1] != len(fitted):
            return X
        cut = self.estimator.n_image_features_in_
        names = [
            *prefixed_names(X.columns[:cut], "image"),
            *prefixed_names(X.columns[cut:], "text"),
        ]
        return frame_like(X, X, fitted) if names == list(fitted) else X

    # -- one modality ----------------------------------------------------------

    def _check_part(self, part, modality):
        part = _as_array(part)
        has_regions = modality in self.region_modalities and np.ndim(part) == 3
        return self.checks.check_part(part, modality, self.estimator, has_regions)

    def _remember(self, layout, parts, checked):
        estimator = self.estimator
        widths = {modality: _width(part) for modality, part in checked.items()}
        for modality, width in widths.items():
            setattr(estimator, f"n_{modality}_features_in_", width)
        estimator._n_regions_in = {
            modality: part.shape[1]
            for modality, part in checked.items()
            if part.ndim == 3
        }
        names, frame = layout.column_names, layout.X
        if names is None and all(is_frame(part) for part in parts.values()):
            frame = next(iter(parts.values()))
            names = [
                name
                for modality, part in parts.items()
                for name in prefixed_names(part.columns, modality)
            ]
        header = np.empty((0, sum(widths.values())))
        if names is not None:
            twice = sorted(name for name, n in Counter(names).items() if n > 1)
            if twice:
                raise ValueError(
                    f"The column names must differ, but {twice[:5]} appear more than "
                    "once."
                )
            header = frame_like(frame, header, names)
        validate_data(estimator, header, reset=True, skip_check_array=True)

    def _compare(self, raw, part, modality):
        """Raise if names or width of one modality are not those of the fit."""
        expected = getattr(self.estimator, f"n_{modality}_features_in_")
        fitted = self._fitted_names(modality) if is_frame(raw) else None
        if fitted is not None:
            names = prefixed_names(raw.columns, modality)
            # What looks like the prefix may belong to the name.
            if [f"{modality}__{name}" for name in raw.columns] != fitted:
                _compare_names(names, fitted, modality)
        if modality in self.region_modalities:
            self._compare_regions(part, modality)
        if _width(part) != expected:
            raise ValueError(
                f"X has {_width(part)} {modality} features, but {self._name} is "
                f"expecting {expected} {modality} features as input."
            )

    def _compare_regions(self, part, modality):
        fitted = self.estimator._n_regions_in.get(modality)
        n_regions = part.shape[1] if part.ndim == 3 else None
        if (fitted is None) != (n_regions is None):
            known = "3-D, with regions" if fitted is not None else "2-D"
            raise ValueError(
                f"X is a {part.ndim}-D array, but the {modality} features that "
                f"{self._name} was fitted on are {known}."
            )
        if self.needs_same_regions and n_regions != fitted:
            raise ValueError(
                f"X has {n_regions} regions in each item, but {self._name} is "
                f"expecting {fitted}, in the same order."
            )

    def _fitted_names(self, modality):
        """Return the prefixed names of the features, or None if they had none."""
        estimator = self.estimator
        if modality in estimator._names_added:
            return estimator._names_added[modality]
        if not hasattr(estimator, "feature_names_in_"):
            return None
        names = list(estimator.feature_names_in_)
        own = [name for name in names if name.startswith(f"{modality}__")]
        other = [n for n in names if n.split("__")[0] in self.modality_names]
        if len(other) < len(names):  # fitted on a plain frame with bare names
            cut = estimator.n_image_features_in_
            own = names[:cut] if modality == "image" else names[cut:]
        return prefixed_names(own, modality)


def check_modality_name(name):
    """Raise if a name cannot be that of a modality."""
    if not isinstance(name, str) or not name or "." in name or "__" in name:
        raise ValueError(
            "The name of a modality must be a string without '.' and '__'; got "
            f"{name!r}."
        )


def _as_array(X):
    """Turn lists and tensors into what scikit-learn's checks see through.

    They leave lists of None or of huge integers as objects, and stop at tensors that
    record gradients.
    """
    if isinstance(X, (list, tuple)):
        return np.asarray(X)
    if hasattr(X, "detach"):  # a tensor, maybe one that records gradients
        X = X.detach()
        return X.float() if "bfloat16" in str(X.dtype) else X
    return X


def _width(part):
    """Return the number of features; raw strings are one."""
    return part.shape[-1] if len(part.shape) > 1 else 1


def _check_regions(X, name):
    """Raise unless every region is all there or all NaN, and every item has one."""
    if X.dtype.kind != "f":
        return
    per_item = max(1, X.shape[1] * X.shape[2])
    for rows in gen_batches(len(X), max(1, _CHECKED_VALUES // per_item)):
        missing = np.isnan(X[rows])
        absent = missing.all(axis=2)
        if (missing.any(axis=2) != absent).any():
            raise ValueError(
                f"The {name} have regions with some values NaN. A region that is "
                "absent, such as padding, must be NaN throughout; impute any other one."
            )
        empty = np.flatnonzero(absent.all(axis=1))
        if len(empty):
            raise ValueError(
                f"The {name} have an item without any region: row "
                f"{rows.start + empty[0]} is NaN throughout. Drop it."
            )


def _compare_names(names, fitted, modality):
    if names == fitted:
        return
    message = (
        f"The {modality} feature names should match those that were passed during fit."
    )
    unseen = [name for name in names if name not in set(fitted)]
    missing = [name for name in fitted if name not in set(names)]
    if unseen:
        message += f"\nFeature names unseen at fit time: {unseen[:5]}."
    if missing:
        message += f"\nFeature names seen at fit time, yet now missing: {missing[:5]}."
    if not unseen and not missing:
        message += "\nFeature names must be in the same order as they were in fit."
    raise ValueError(message)


def _holds_strings(part):
    if sparse.issparse(part) or is_frame(part):
        return False
    part = np.asarray(part)
    if part.dtype.kind in "US":
        return True
    return part.dtype == object and part.size > 0 and isinstance(part.flat[0], str)
