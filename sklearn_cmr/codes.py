"""Binary codes: packing into bits, popcounts and Hamming distances."""

# SPDX-License-Identifier: BSD-3-Clause

from functools import partial, reduce
from numbers import Integral

import numpy as np
from sklearn.utils import gen_batches
from sklearn.utils._param_validation import Interval, validate_params

from sklearn_cmr._arrays import check_matrix

__all__ = ["hamming_distances", "pack_codes", "unpack_codes"]

# Pairs of rows compared at once.
_PAIRS = 2**17


@validate_params({"codes": ["array-like"]}, prefer_skip_nested_validation=True)
def pack_codes(codes):
    """Pack codes of -1 and +1 into bits, eight to the byte.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_bits)
        Codes of -1 and +1, of a floating or signed integer dtype, such as the output
        of a hasher's `transform`. Bits of 0 and 1 and booleans are refused: an array
        that holds only ones could be in either form.

    Returns
    -------
    packed : ndarray of shape (n_samples, ceil(n_bits / 8)) of dtype uint8
        Set bits for +1. The first column is the highest bit of the first byte, as in
        :func:`numpy.packbits`. Unused bits of the last byte are 0. The binary indexes
        of faiss take rows of this form.

    Raises
    ------
    ValueError
        If the codes hold values other than -1 and +1, or are not a 2-D array.

    See Also
    --------
    unpack_codes : The inverse.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr.codes import pack_codes
    >>> pack_codes(np.array([[1, -1, 1], [-1, -1, -1]], dtype=np.int8))
    array([[160],
           [  0]], dtype=uint8)
    """
    codes = check_matrix(codes, "codes", ensure_min_samples=0)
    return pack_signs(codes, "codes")


@validate_params(
    {"packed": ["array-like"], "n_bits": [Interval(Integral, 1, None, closed="left")]},
    prefer_skip_nested_validation=True,
)
def unpack_codes(packed, n_bits):
    """Unpack bytes into codes of -1 and +1.

    Parameters
    ----------
    packed : array-like of shape (n_samples, ceil(n_bits / 8)) of dtype uint8
        Packed bits, as returned by :func:`pack_codes`.

    n_bits : int
        Length of the codes, at least 1.

    Returns
    -------
    codes : ndarray of shape (n_samples, n_bits) of dtype int8
        +1 for a set bit, -1 for an unset one.

    Raises
    ------
    ValueError
        If the dtype of `packed` is not uint8, if its width does not fit `n_bits`, or
        if bits beyond the first `n_bits` are set.

    See Also
    --------
    pack_codes : The inverse.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr.codes import unpack_codes
    >>> unpack_codes(np.array([[160], [0]], dtype=np.uint8), 3)
    array([[ 1, -1,  1],
           [-1, -1, -1]], dtype=int8)
    """
    packed = check_matrix(packed, "packed", ensure_min_samples=0)
    n_bytes = -(-n_bits // 8)
    if packed.dtype != np.uint8:
        raise ValueError(
            f"Packed bits must have the dtype uint8, got {packed.dtype}. Use "
            "pack_codes to pack codes of -1 and +1."
        )
    if packed.shape[1] != n_bytes:
        raise ValueError(
            f"Codes of {n_bits} bits take {n_bytes} bytes, but packed has "
            f"{packed.shape[1]} columns."
        )
    bits = np.unpackbits(packed, axis=1)
    if bits[:, n_bits:].any():
        raise ValueError(
            f"packed has set bits beyond the first {n_bits} of each row: its codes are "
            "longer, or the bits are in another order. The first bit must be the "
            "highest one of the first byte."
        )
    codes = bits[:, :n_bits].view(np.int8)
    return 2 * codes - 1


@validate_params(
    {"A": ["array-like"], "B": ["array-like", None]},
    prefer_skip_nested_validation=True,
)
def hamming_distances(A, B=None):
    """Compute the Hamming distances of all pairs of rows: the number of unequal bits.

    Parameters
    ----------
    A : array-like of shape (n_samples_A, n_bits) or (n_samples_A, n_bytes)
        Codes of -1 and +1, or packed bits of dtype uint8 (see :func:`pack_codes`).

    B : array-like of shape (n_samples_B, n_bits) or (n_samples_B, n_bytes), \
            default=None
        Codes in the same form. None stands for `A`.

    Returns
    -------
    distances : ndarray of shape (n_samples_A, n_samples_B) of dtype int32
        The distances. Little memory is needed besides.

    Raises
    ------
    ValueError
        If one holds codes and the other packed bits, if the widths differ, or if
        there are values other than -1 and +1.

    See Also
    --------
    sklearn_cmr.CrossModalNeighbors : Finds the nearest rows without the full matrix.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr.codes import hamming_distances
    >>> codes = np.array([[1, 1, 1], [1, 1, -1], [-1, -1, -1]], dtype=np.int8)
    >>> hamming_distances(codes[:1], codes)
    array([[0, 1, 3]], dtype=int32)
    """
    given = {"A": A} if B is None else {"A": A, "B": B}
    codes = {name: check_matrix(X, name) for name, X in given.items()}
    first, last = codes["A"], codes.get("B", codes["A"])
    if (first.dtype == np.uint8) != (last.dtype == np.uint8):
        raise ValueError(
            f"A has the dtype {first.dtype} and B has the dtype {last.dtype}: uint8 "
            "means packed bits, any other dtype codes of -1 and +1. Pass both in the "
            "same form."
        )
    if first.shape[1] != last.shape[1]:
        raise ValueError(
            f"A has {first.shape[1]} columns and B has {last.shape[1]}: codes of "
            "different lengths cannot be compared."
        )
    words = [
        as_words(X if X.dtype == np.uint8 else pack_signs(X, name))
        for name, X in codes.items()
    ]
    distances = np.empty((len(first), len(last)), dtype=np.int32)
    n_bits = 8 * words[0].itemsize * len(words[0])
    for rows in gen_batches(len(first), max(1, _PAIRS // len(last))):
        distances[rows] = count_differing(words[0][:, rows], words[-1], n_bits)
    return distances


# For the other modules of the package -------------------------------------------


def pack_bits(bits):
    """Pack rows of booleans into bytes, the first column into the highest bit."""
    return np.packbits(bits, axis=1)


def pack_signs(codes, name):
    """Pack codes of -1 and +1 into bits.

    Raises a ValueError with `name` in its message if there are other values.
    """
    positive = codes == 1
    wrong = ~positive & (codes != -1)
    found = None
    if codes.dtype.kind not in "if":  # booleans and unsigned ones may be bits
        found = f"has the dtype {codes.dtype}"
    elif wrong.any():
        found = f"contains the value {codes[wrong][0]!s}"
    if found is not None:
        raise ValueError(
            f"Codes must be -1 or +1, but {name} {found}. Binarize real values with "
            "np.where(h >= 0, 1, -1), and bits with np.where(bits, 1, -1). The metrics "
            "'cosine' and 'euclidean' take real values."
        )
    return pack_bits(positive)


def refuse_booleans(X, name):
    """Raise a ValueError if X is boolean: no metric follows from this dtype."""
    if X.dtype == bool:
        raise ValueError(
            f"metric='auto' cannot be resolved: {name} has the dtype bool. Convert the "
            "bits to codes with np.where(bits, 1, -1).astype(np.int8), pack them with "
            "np.packbits(bits, axis=1), or set the metric."
        )


def refuse_packed(X, name, metric):
    """Raise a ValueError if X is of bytes: `metric` would compare them as numbers."""
    if X.dtype == np.uint8:
        raise ValueError(
            f"{name} has the dtype uint8, that of packed bits, which metric={metric!r} "
            "would take for numbers. Use metric='hamming', or, if they are numbers, "
            f"{name}.astype(np.float32)."
        )


def as_words(packed):
    """View rows of packed bits as words: wide integers, one contiguous array each.

    The rows are not copied if each of them is one word.
    """
    n_bytes = packed.shape[1]
    # The popcount of two single bytes is faster than that of one 16-bit word.
    width = 1 if n_bytes <= 2 else 4 if n_bytes <= 4 else 8
    padded = np.ascontiguousarray(packed)
    if n_bytes % width:
        padded = np.zeros((len(packed), -(-n_bytes // width) * width), dtype=np.uint8)
        padded[:, :n_bytes] = packed
    return np.ascontiguousarray(padded.view(f"u{width}").T)


def count_differing(query, gallery, n_bits):
    """Count the differing bits of all pairs of rows.

    Parameters
    ----------
    query, gallery : ndarray of shape (n_words, n_rows)
        Words as returned by :func:`as_words`.

    n_bits : int
        Upper bound of the distances.

    Returns
    -------
    distances : ndarray of shape (n_queries, n_items)
        Integers of the smallest unsigned dtype that holds `n_bits`.
    """
    differing = (
        np.bitwise_count(words[:, None] ^ others)
        for words, others in zip(query, gallery, strict=True)
    )
    return reduce(partial(np.add, dtype=np.min_scalar_type(n_bits)), differing)
