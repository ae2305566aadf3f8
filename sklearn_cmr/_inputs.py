"""How estimators read their arguments: pairs in any form, and their labels."""

# SPDX-License-Identifier: BSD-3-Clause

import warnings
from collections import Counter

import numpy as np
from scipy import sparse
from sklearn.utils import check_array, gen_batches
from sklearn.utils.validation import validate_data

from sklearn_cmr.pairs import (
    MODALITIES,
    PairLayout,
    check_same_index,
    check_same_length,
    check_unpaired,
    frame_like,
    is_frame,
    is_paired,
    prefixed_names,
)

_FLOAT32_MAX = float(np.finfo(np.float32).max)
# Values of items with regions that are checked for padding at once.
_CHECKED_VALUES = 2**24


def has_two_dimensions(y):
    """Tell whether `y` is a matrix rather than a vector."""
    return len(shape_of_labels(y)) == 2


def shape_of_labels(y):
    """Return the shape of `y`, where lists of different lengths count as items."""
    if sparse.issparse(y):
        return y.shape
    try:
        return np.asarray(y).shape
    except ValueError:
        return (len(y),)


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


class FeatureReaderMixin:
    """Reading of features and labels, with clear errors for wrong ones."""

    n_image_features: int | None
    n_image_features_in_: int
    n_text_features_in_: int
    feature_names_in_: np.ndarray
    _n_regions_in: dict[str, int]

    # Modalities whose items may have regions: (n_samples, n_regions, n_features).
    _region_modalities: tuple[str, ...] = ()
    # Whether the networks need as many regions as those of the fit.
    _needs_same_regions = False

    @property
    def _modality_names(self):
        """Names of the modalities that the estimator encodes."""
        return MODALITIES

    def _check_plain_options(self):
        """Return more options for the validation of a plain matrix."""
        return {}

    def _check_range(self, X, name):
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

    def _read_arguments(self, X, Y, y, *, reset):
        """Apply the argument rule of `fit` and `score`.

        Three arguments are image features, text features and labels; two are a
        container of both and the labels. `reset` is for `fit`.

        Returns
        -------
        layout : PairLayout

        y : object
            Labels, unchecked.
        """
        if Y is not None and y is not None:
            if is_paired(X):
                raise TypeError(
                    "got a paired container as X and two more arguments. Pass (X, y) "
                    "with a container or (X_img, X_txt, y) with arrays."
                )
            return PairLayout(X, Y), y
        y = y if Y is None else Y
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but "
                "the target y is None."
            )
        layout = PairLayout(X)
        # Text given as 0/1 tags looks exactly like a label indicator.
        if (
            layout.kind == "plain"
            and has_two_dimensions(y)
            and self._is_like_image(X, reset)
        ):
            raise ValueError(
                "got two 2-D arrays and no third argument. If they are the image and "
                "the text features, pass the labels too: fit(X_img, X_txt, y). If the "
                "first one is the [image | text] features side by side and the second "
                "the label indicators, set n_image_features."
            )
        return layout, y

    def _is_like_image(self, X, reset):
        """Tell whether a plain matrix may be the image features alone."""
        if reset:
            return self.n_image_features is None
        X = X if hasattr(X, "shape") else np.asarray(X)
        return X.shape[1:] == (self.n_image_features_in_,)

    def _read_features(self, layout, *, reset):
        """Validate features and return them by modality; `reset` is for `fit`."""
        if layout.kind == "plain":
            return self._read_plain(layout, reset)
        parts = layout.split()
        check_unpaired(parts)
        check_same_index(parts)
        if layout.kind == "mapping":
            check_keys(parts, need_both=reset)
        checked = {name: self._check_part(part, name) for name, part in parts.items()}
        check_same_length(checked)
        if reset:
            self._remember_parts(layout, parts, checked)
        else:
            for name, part in checked.items():
                self._compare_part(parts[name], part, name)
        return checked

    def _read_modality(self, X, modality):
        """Validate the features of one modality of a fitted estimator."""
        if modality not in self._modality_names:
            raise ValueError(
                f"modality must be one of {list(self._modality_names)}, got "
                f"{modality!r}."
            )
        check_unpaired({modality: X})
        part = self._check_part(X, modality)
        self._compare_part(X, part, modality)
        return part

    def _read_plain(self, layout, reset):
        X = layout.X if reset else self._with_fitted_names(layout.X)
        if not reset:
            self._check_image_first(X)
        try:
            X = validate_data(
                self,
                _as_array(X),
                reset=reset,
                accept_sparse="csr",
                dtype="numeric",
                ensure_min_features=2 if reset else 1,
                **self._check_plain_options(),
            )
        except ValueError as error:
            if reset or "is expecting" not in str(error):
                raise
            raise ValueError(
                f"{error} A plain array holds both modalities side by side "
                f"({self.n_image_features_in_} image + {self.n_text_features_in_} text "
                "features); for one modality use transform_image or transform_text."
            ) from None
        if reset:
            n_image = cut_plain(X.shape[1], self.n_image_features)
            self.n_image_features_in_ = n_image
            self.n_text_features_in_ = X.shape[1] - n_image
            self._n_regions_in = {}
        self._check_range(X, "X")
        return PairLayout(X).split(self.n_image_features_in_)

    def _check_image_first(self, X):
        """Raise if a plain matrix cannot have the column order of the fit."""
        names = getattr(self, "feature_names_in_", ())
        is_image = [str(name).startswith("image__") for name in names]
        if any(is_image) and not is_frame(X) and is_image != sorted(is_image)[::-1]:
            raise ValueError(
                f"{type(self).__name__} was fitted on a dataframe whose image columns "
                "do not come first, so that a plain array is ambiguous. Pass a "
                "dataframe with the same columns, or two arrays."
            )

    def _with_fitted_names(self, X):
        """Rename the bare columns of a plain frame as the fit knew them."""
        fitted = getattr(self, "feature_names_in_", None)
        if fitted is None or not is_frame(X) or X.shape[1] != len(fitted):
            return X
        cut = self.n_image_features_in_
        names = [
            *prefixed_names(X.columns[:cut], "image"),
            *prefixed_names(X.columns[cut:], "text"),
        ]
        return frame_like(X, X, fitted) if names == list(fitted) else X

    def _check_part(self, part, modality):
        name = f"{modality} features"
        part = _as_array(part)
        if _holds_strings(part):
            raise ValueError(
                f"The {name} are strings. Turn them into numbers first, e.g. with "
                f"PairTransformer({modality}=TfidfVectorizer())."
            )
        has_regions = modality in self._region_modalities and np.ndim(part) == 3
        try:
            part = check_array(
                part,
                accept_sparse="csr",
                dtype="numeric",
                estimator=self,
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
        self._check_range(part, name)
        return part

    def _remember_parts(self, layout, parts, checked):
        widths = {modality: _width(part) for modality, part in checked.items()}
        for modality, width in widths.items():
            setattr(self, f"n_{modality}_features_in_", width)
        self._n_regions_in = {
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
        validate_data(self, header, reset=True, skip_check_array=True)

    def _compare_part(self, raw, part, modality):
        """Raise if names or width of one modality are not those of the fit."""
        expected = getattr(self, f"n_{modality}_features_in_")
        fitted = self._fitted_names(modality) if is_frame(raw) else None
        if fitted is not None:
            names = prefixed_names(raw.columns, modality)
            # What looks like the prefix may belong to the name.
            if [f"{modality}__{name}" for name in raw.columns] != fitted:
                _compare_names(names, fitted, modality)
        if modality in self._region_modalities:
            self._compare_regions(part, modality)
        if _width(part) != expected:
            raise ValueError(
                f"X has {_width(part)} {modality} features, but "
                f"{type(self).__name__} is expecting {expected} {modality} features as "
                "input."
            )

    def _compare_regions(self, part, modality):
        fitted = self._n_regions_in.get(modality)
        n_regions = part.shape[1] if part.ndim == 3 else None
        if (fitted is None) != (n_regions is None):
            known = "3-D, with regions" if fitted is not None else "2-D"
            raise ValueError(
                f"X is a {part.ndim}-D array, but the {modality} features that "
                f"{type(self).__name__} was fitted on are {known}."
            )
        if self._needs_same_regions and n_regions != fitted:
            raise ValueError(
                f"X has {n_regions} regions in each item, but {type(self).__name__} "
                f"is expecting {fitted}, in the same order."
            )

    def _fitted_names(self, modality):
        """Return the prefixed names of the features, or None if they had none."""
        if not hasattr(self, "feature_names_in_"):
            return None
        names = list(self.feature_names_in_)
        own = [name for name in names if name.startswith(f"{modality}__")]
        other = [n for n in names if n.split("__")[0] in self._modality_names]
        if len(other) < len(names):  # fitted on a plain frame with bare names
            cut = self.n_image_features_in_
            own = names[:cut] if modality == "image" else names[cut:]
        return prefixed_names(own, modality)


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
