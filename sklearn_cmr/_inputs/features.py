"""Features: validate them, and compare them with those of the fit."""

# SPDX-License-Identifier: BSD-3-Clause

import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from scipy import sparse
from sklearn.utils import check_array, gen_batches
from sklearn.utils.validation import validate_data

from sklearn_cmr._arrays import (
    MappedRows,
    blocks_of,
    is_frame,
    named_errors,
    read_rows,
    to_array,
)
from sklearn_cmr._inputs.items import (
    check_items,
    compare_items,
    describe_items,
    n_values,
)
from sklearn_cmr._inputs.layout import (
    MODALITIES,
    PairLayout,
    check_keys,
    check_same_index,
    check_same_length,
    check_unpaired,
    frame_like,
    prefixed_names,
)
from sklearn_cmr._warnings import stacklevel_of_caller
from sklearn_cmr.exceptions import ImplicitSplitWarning

_FLOAT32_MAX = float(np.finfo(np.float32).max)
# Values of items with regions that are checked for padding at once.
_CHECKED_VALUES = 2**24
# Whether this process has given the ImplicitSplitWarning.
_split_warning_given = False


class NumericChecks:
    """Validate features as finite numbers in the range of float32.

    Attributes
    ----------
    matrix_options : dict
        Further options of `check_array` for a plain matrix.
    """

    matrix_options: dict = {}

    def check_part(self, part, modality, estimator, *, may_have_regions=False):
        """Return the validated features of one modality."""
        if isinstance(part, MappedRows) and part.ndim > 2:
            part = read_rows(part)
        if isinstance(part, MappedRows) and len(part):
            for block in blocks_of(part):
                self.check_part(block, modality, estimator)
            return part
        name = f"{modality} features"
        part = to_array(part, name)
        if _holds_strings(part):
            raise ValueError(
                f"The {name} are strings. Turn them into numbers first, e.g. with "
                f"PairTransformer({modality}=TfidfVectorizer())."
            )
        has_regions = may_have_regions and np.ndim(part) == 3
        if np.ndim(part) > 2 and not has_regions and hasattr(estimator, "encoders"):
            raise ValueError(
                f"The {name} cannot be used: Found array with dim {np.ndim(part)}, "
                "expected 2. Pass a network that reads it, "
                f"encoders={{{modality!r}: ...}}, or flatten it."
            )
        with named_errors(name, f"The {name}"):
            part = check_array(
                part,
                accept_sparse="csr",
                dtype="numeric",
                estimator=estimator,
                input_name=name,
                allow_nd=has_regions,
                ensure_all_finite="allow-nan" if has_regions else True,
            )
        if has_regions:
            _check_regions(part, name)
        self.check_values(part, name)
        return part

    def check_values(self, X, name):
        """Raise if values are not numbers or beyond the range of float32."""
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

    def check_items(self, part, modality, estimator):
        """Return the validated items of a modality that an encoder of the caller reads.

        They may have any shape, and integers stay integers.
        """
        if isinstance(part, MappedRows) and len(part):
            for block in blocks_of(part):
                self.check_items(block, modality, estimator)
            return part
        name = f"{modality} features"
        part = check_items(part, name, estimator)
        self.check_values(part, name)
        return part


_NUMERIC = NumericChecks()
_NO_READERS: Mapping[str, Callable] = MappingProxyType({})


class FeatureReader:
    """Validate the features of an estimator, and compare them with those of the fit.

    After all checks, :meth:`read` with ``reset=True`` stores on the estimator
    `modalities_`, `n_features_in_`, `n_<modality>_features_in_` and, if the features
    have names, `feature_names_in_`.

    Parameters
    ----------
    estimator : estimator
        Has the parameter `n_image_features`.

    any_modalities : bool, default=False
        Whether a mapping may have any names of modalities, with rows of their own.

    region_modalities : tuple of str, default=()
        Modalities whose items may have regions: features of shape
        (n_samples, n_regions, n_features).

    needs_same_regions : bool, default=False
        Whether items must have as many regions as those of the fit.

    encoded_modalities : collection of str, default=()
        Modalities that an encoder of the caller reads: features of shape
        (n_samples, ...), which may be integers. They are those of the fit afterwards,
        whose shapes and dtypes the estimator has in `_items_in`.

    reserved_names : container of str, default=()
        Names that no modality may have.

    other_readers : dict of str to callable, default={}
        Functions that validate what a fitted estimator encodes besides its modalities,
        such as labels, by name.

    checks : object, default=NumericChecks()
        Validates values, with the methods and the attribute of
        :class:`NumericChecks`.

    leaves_unread : bool, default=False
        Whether rows of a matrix in a file may stay there, as
        :class:`~sklearn_cmr._arrays.MappedRows`.
    """

    def __init__(
        self,
        estimator,
        *,
        any_modalities=False,
        region_modalities=(),
        needs_same_regions=False,
        encoded_modalities=(),
        reserved_names=(),
        other_readers=_NO_READERS,
        checks=_NUMERIC,
        leaves_unread=False,
    ):
        self.estimator = estimator
        self.any_modalities = any_modalities
        self.region_modalities = region_modalities
        self.needs_same_regions = needs_same_regions
        self.encoded_modalities = encoded_modalities
        self.reserved_names = reserved_names
        self.other_readers = other_readers
        self.checks = checks
        self.leaves_unread = leaves_unread

    @property
    def modality_names(self):
        """Names of the modalities that the estimator encodes."""
        return getattr(self.estimator, "modalities_", MODALITIES)

    def read(self, layout, *, reset):
        """Validate the features of a container.

        Parameters
        ----------
        layout : PairLayout

        reset : bool
            Whether to learn names and widths, as in `fit`, or to compare with them.

        Returns
        -------
        features : dict of str to {ndarray, CSR}
        """
        if self.any_modalities and layout.kind == "mapping":
            return self._read_modalities(layout, reset)
        if not reset:
            self._check_pair_is_known(layout)
        if layout.kind == "plain":
            read = self._learn_plain if reset else self._read_plain
            return read(layout.X)
        parts = layout.split()
        check_unpaired(parts)
        check_same_index(parts)
        if layout.kind == "mapping":
            check_keys(parts, need_both=reset)
        checked = self._check_parts(parts, reset)
        self._check_same_length(checked)
        self._learn_or_compare(layout, parts, checked, reset)
        return checked

    def read_modality(self, X, modality):
        """Validate the features of one modality of a fitted estimator."""
        is_name = isinstance(modality, str)
        if is_name and modality in self.other_readers:
            return self.other_readers[modality](X)
        if not is_name or modality not in self.modality_names:
            raise ValueError(
                f"modality must be one of {list(self.modality_names)}, got "
                f"{modality!r}."
            )
        check_unpaired({modality: X})
        part = self._check_part(X, modality, modality in self.estimator._items_in)
        self._compare_part(X, part, modality)
        return part

    def read_new_modality(self, X, name):
        """Validate the features of a modality that is new to a fitted estimator."""
        self._check_name(name)
        if name in self.modality_names:
            raise ValueError(
                f"The modality {name!r} is fitted already. Call fit again, or continue "
                "its training by fit with warm_start=True."
            )
        check_unpaired({name: X})
        return self._check_part(X, name, name in self.encoded_modalities)

    def remember_modality(self, X, part, name):
        """Store width and names of a modality that was added to the estimator.

        Parameters
        ----------
        X : object
            Features as they were passed.

        part : {ndarray, CSR}
            What :meth:`read_new_modality` returned for them.

        name : str
        """
        estimator = self.estimator
        estimator.modalities_ = (*estimator.modalities_, name)
        estimator._names_added = estimator._names_added | {
            name: prefixed_names(X.columns, name) if is_frame(X) else None
        }
        estimator._n_regions_in = estimator._n_regions_in | self._regions({name: part})
        if name in self.encoded_modalities:
            estimator._items_in = estimator._items_in | describe_items({name: part})
        setattr(estimator, f"n_{name}_features_in_", self._width(part, name))

    # -- containers with names -------------------------------------------------

    def _read_modalities(self, layout, reset):
        """Validate a mapping of any modalities, with rows of their own."""
        parts = layout.split()
        if not parts:
            raise ValueError("a mapping X must have a modality; got an empty one.")
        check_unpaired(parts)
        if not reset:
            return {name: self.read_modality(X, name) for name, X in parts.items()}
        for name in parts:
            self._check_name(name)
        checked = self._check_parts(parts, reset)
        self._learn_or_compare(layout, parts, checked, reset)
        return checked

    def _check_name(self, name):
        if not is_modality_name(name):
            raise ValueError(
                "The name of a modality must be a string without '.' and '__'; got "
                f"{name!r}."
            )
        if name in self.reserved_names:
            raise ValueError(
                f"The name {name!r} is reserved; choose another name for the modality."
            )

    def _check_pair_is_known(self, layout):
        """Raise if images and texts come in a form that the fit does not explain."""
        pair, known = set(MODALITIES), set(self.modality_names)
        if layout.kind == "plain":
            # Its columns mean what they meant in `fit`.
            is_known = known - set(self.estimator._names_added) == pair
        else:
            is_known = known >= pair
        if not is_known:
            raise ValueError(
                f"{type(self.estimator).__name__} was fitted on the modalities "
                f"{list(self.modality_names)}. Pass a mapping with some of these "
                "names, or one modality to transform_modality."
            )

    def _check_parts(self, parts, reset):
        encoded = self.encoded_modalities if reset else self.estimator._items_in
        return {
            name: self._check_part(part, name, name in encoded)
            for name, part in parts.items()
        }

    def _check_part(self, part, modality, has_encoder):
        part = part if self.leaves_unread else read_rows(part)
        try:
            if has_encoder:
                return self.checks.check_items(part, modality, self.estimator)
            return self.checks.check_part(
                part,
                modality,
                self.estimator,
                may_have_regions=modality in self.region_modalities,
            )
        except ValueError as error:
            if self.any_modalities and "contains NaN" in str(error):
                raise ValueError(f"{error}\n{_UNPAIRED_HINT}") from error
            raise

    def _check_same_length(self, parts):
        try:
            check_same_length(parts)
        except ValueError as error:
            if self.any_modalities:
                raise ValueError(f"{error}. {_UNPAIRED_HINT}") from None
            raise

    def _learn_or_compare(self, layout, parts, checked, reset):
        if not reset:
            for name, part in checked.items():
                self._compare_part(parts[name], part, name)
            return
        widths = [self._width(part, name) for name, part in checked.items()]
        header = np.empty((0, sum(widths)))
        names, frame = layout.column_names, layout.X
        if names is None and all(is_frame(part) for part in parts.values()):
            frame = next(iter(parts.values()))
            names = [
                name
                for modality, part in parts.items()
                for name in prefixed_names(part.columns, modality)
            ]
        if names is not None:
            twice = sorted(name for name, n in Counter(names).items() if n > 1)
            if twice:
                raise ValueError(
                    f"The column names must differ, but {twice[:5]} appear more than "
                    "once."
                )
            header = frame_like(frame, header, names)
        self._store(checked, header)

    def _store(self, checked, header):
        """Store on the estimator what later features are compared with."""
        estimator = self.estimator
        for name in self.modality_names:
            vars(estimator).pop(f"n_{name}_features_in_", None)
        for name, part in checked.items():
            setattr(estimator, f"n_{name}_features_in_", self._width(part, name))
        estimator.modalities_ = tuple(checked)
        estimator._names_added = {}
        estimator._n_regions_in = self._regions(checked)
        encoded = {m: checked[m] for m in checked if m in self.encoded_modalities}
        estimator._items_in = describe_items(encoded)
        validate_data(estimator, header, reset=True, skip_check_array=True)

    def _width(self, part, modality):
        """Return the number of features; of items for an encoder, that of values."""
        if modality in self.encoded_modalities:
            return n_values(part)
        return _width(part)

    def _regions(self, parts):
        """Return the number of regions of the items that have them."""
        return {
            name: part.shape[1]
            for name, part in parts.items()
            if len(part.shape) == 3 and name not in self.encoded_modalities
        }

    # -- one matrix ------------------------------------------------------------

    def _learn_plain(self, X):
        with named_errors("X"):
            checked = check_array(
                to_array(X),
                accept_sparse="csr",
                dtype="numeric",
                estimator=self.estimator,
                input_name="X",
                ensure_min_features=2,
                **self.checks.matrix_options,
            )
        n_image = _find_split(X, checked.shape[1], self.estimator.n_image_features)
        self.checks.check_values(checked, "X")
        parts = PairLayout(checked).split(n_image)
        self._store(parts, X if is_frame(X) else checked)
        return parts

    def _read_plain(self, X):
        estimator = self.estimator
        self._check_image_first(X)
        try:
            with named_errors("X"):
                X = validate_data(
                    estimator,
                    to_array(self._with_fitted_names(X)),
                    reset=False,
                    accept_sparse="csr",
                    dtype="numeric",
                    **self.checks.matrix_options,
                )
        except ValueError as error:
            if "is expecting" not in str(error):
                raise
            raise ValueError(
                f"{error} A plain array holds both modalities side by side "
                f"({estimator.n_image_features_in_} image + "
                f"{estimator.n_text_features_in_} text features); for one modality use "
                "transform_image or transform_text."
            ) from None
        self.checks.check_values(X, "X")
        return PairLayout(X).split(estimator.n_image_features_in_)

    def _check_image_first(self, X):
        """Raise if a plain matrix cannot have the column order of the fit."""
        names = getattr(self.estimator, "feature_names_in_", ())
        is_image = [str(name).startswith("image__") for name in names]
        if any(is_image) and not is_frame(X) and is_image != sorted(is_image)[::-1]:
            raise ValueError(
                f"{type(self.estimator).__name__} was fitted on a dataframe whose "
                "image columns do not come first, so that a plain array is ambiguous. "
                "Pass a dataframe with the same columns, or two arrays."
            )

    def _with_fitted_names(self, X):
        """Rename the bare columns of a plain frame as the fit knew them."""
        fitted = getattr(self.estimator, "feature_names_in_", None)
        if fitted is None or not is_frame(X) or X.shape[1] != len(fitted):
            return X
        n_image = self.estimator.n_image_features_in_
        names = [
            *prefixed_names(X.columns[:n_image], "image"),
            *prefixed_names(X.columns[n_image:], "text"),
        ]
        return frame_like(X, X, fitted) if names == list(fitted) else X

    # -- comparison with the fit -----------------------------------------------

    def _compare_part(self, raw, part, modality):
        """Raise if names or width of one modality are not those of the fit."""
        estimator = self.estimator
        expected = getattr(estimator, f"n_{modality}_features_in_")
        item = estimator._items_in.get(modality)
        fitted = self._fitted_names(modality) if is_frame(raw) else None
        if fitted is not None:
            names = prefixed_names(raw.columns, modality)
            # What looks like the prefix may belong to the name.
            if [f"{modality}__{name}" for name in raw.columns] != fitted:
                _compare_names(names, fitted, modality)
        if item is not None:
            compare_items(part, item, modality, type(estimator).__name__)
        elif modality in self.region_modalities:
            self._compare_regions(part, modality)
        width = _width(part) if item is None else n_values(part)
        if width != expected:
            message = (
                f"X has {width} {modality} features, but {type(estimator).__name__} is "
                f"expecting {expected} {modality} features as input."
            )
            for other in getattr(estimator, "modalities_", ()):
                if getattr(estimator, f"n_{other}_features_in_", None) == width:
                    message += (
                        f" The {other} features have this width: the modalities may be "
                        "swapped."
                    )
                    break
            raise ValueError(message)

    def _compare_regions(self, part, modality):
        name = type(self.estimator).__name__
        fitted = self.estimator._n_regions_in.get(modality)
        n_regions = part.shape[1] if part.ndim == 3 else None
        if (fitted is None) != (n_regions is None):
            known = "3-D, with regions" if fitted is not None else "2-D"
            raise ValueError(
                f"X is a {part.ndim}-D array, but the {modality} features that {name} "
                f"was fitted on are {known}."
            )
        if self.needs_same_regions and n_regions != fitted:
            raise ValueError(
                f"X has {n_regions} regions in each item, but {name} is expecting "
                f"{fitted}, in the same order."
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
            n_image = estimator.n_image_features_in_
            own = names[:n_image] if modality == "image" else names[n_image:]
        return prefixed_names(own, modality)


# How to pass rows of which only one modality can be used.
_UNPAIRED_HINT = (
    "Rows need not be pairs: pass the features of each modality with labels of its "
    "own, fit({'image': X_img, 'text': X_txt}, {'image': y_img, 'text': y_txt})."
)


def is_modality_name(name):
    """Return whether `name` can be part of the names of parameters and attributes."""
    is_name = isinstance(name, str) and name != ""
    return is_name and "." not in name and "__" not in name


def _find_split(X, n_features, n_image_features):
    """Return the number of image columns of a plain matrix.

    Without `n_image_features` it is half of the columns, with a warning. A dataframe
    with column names is refused then, since the names should mark the modality.
    """
    if n_image_features is None:
        _refuse_names(X)
        n_image_features = n_features // 2
        _warn_of_split(n_image_features, n_features)
    if n_image_features >= n_features:
        raise ValueError(
            f"n_image_features={n_image_features} leaves no column for the text in a "
            f"plain array with {n_features} features. A plain array holds both "
            "modalities side by side; two arrays are passed as "
            "fit(X_img, X_txt, y)."
        )
    return n_image_features


def _refuse_names(X):
    """Raise if a dataframe has column names, except numbered ones such as "pca0".

    scikit-learn's transformers make those from any input, also from an array.
    """
    names = list(X.columns) if is_frame(X) else []
    if not all(isinstance(name, str) for name in names):
        return
    by_stem = {re.sub(r"\d+$", "", name): name for name in names}
    if len(by_stem) > 1:
        first, *_, last = by_stem.values()
        raise ValueError(
            f"The columns of X are named, such as {first!r} and {last!r}, but the "
            "names do not mark image and text features. Start every name with "
            "'image__' or 'text__', or set n_image_features to the number of image "
            "columns, which come first."
        )


def _warn_of_split(n_image_features, n_features):
    global _split_warning_given
    if _split_warning_given:
        return
    warnings.warn(
        f"n_image_features is not set: the first {n_image_features} of the "
        f"{n_features} columns are taken as image features. If the text features start "
        "at another column, features of one modality leak into the other, and the "
        "scores are too good. Set n_image_features, or pass both matrices: "
        "fit(X_img, X_txt, y) or make_pairs(X_img, X_txt). This warning is given once.",
        ImplicitSplitWarning,
        stacklevel=stacklevel_of_caller(),
    )
    _split_warning_given = True


def _width(part):
    """Return the number of features; raw strings are one, images have all values."""
    if len(part.shape) > 3:
        return n_values(part)
    return part.shape[-1] if len(part.shape) > 1 else 1


def _check_regions(X, name):
    """Raise if a region is NaN in part, or an item has no region."""
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
