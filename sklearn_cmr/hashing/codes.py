"""Binary codes: as values of -1 and +1, as packed bits, and how far apart they are."""

# SPDX-License-Identifier: BSD-3-Clause

from numbers import Integral

import numpy as np
from sklearn.utils import check_array, gen_batches
from sklearn.utils._param_validation import Interval, validate_params

from sklearn_cmr._bits import as_words, count_differing, pack_signs

__all__ = ["hamming_distances", "pack_codes", "unpack_codes"]

# Pairs whose distances are counted at once.
_PAIRS = 2**17


@validate_params({"codes": ["array-like"]}, prefer_skip_nested_validation=True)
def pack_codes(codes):
    """Pack codes of -1 and +1 into bits, eight to the byte.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_bits)
        Codes of -1 and +1, of a floating or signed integer type, as a hasher's
        `transform` gives them. Bits of 0 and 1 or of bool are refused, because an array
        may show by chance only the value 1, which both forms have in common.

    Returns
    -------
    packed : ndarray of shape (n_samples, ceil(n_bits / 8)) of dtype uint8
        A set bit for +1. The first column is the highest bit of the first byte, as in
        :func:`numpy.packbits`; the bits left over in the last byte are 0. The binary
        indexes of faiss take rows of this form.

    Raises
    ------
    ValueError
        If the codes hold other values than -1 and +1 or are no 2-D array.

    See Also
    --------
    unpack_codes : The inverse.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr.hashing import pack_codes
    >>> pack_codes(np.array([[1, -1, 1], [-1, -1, -1]], dtype=np.int8))
    array([[160],
           [  0]], dtype=uint8)
    """
    codes = check_array(codes, ensure_min_samples=0, input_name="codes")
    return pack_signs(codes, "codes")


@validate_params(
    {"packed": ["array-like"], "n_bits": [Interval(Integral, 1, None, closed="left")]},
    prefer_skip_nested_validation=True,
)
def unpack_codes(packed, n_bits):
    """Unpack bits into codes of -1 and +1.

    Parameters
    ----------
    packed : array-like of shape (n_samples, ceil(n_bits / 8)) of dtype uint8
        Rows of bits in the form of :func:`pack_codes`.

    n_bits : int
        Length of the codes, at least 1.

    Returns
    -------
    codes : ndarray of shape (n_samples, n_bits) of dtype int8
        +1 for a set bit, -1 for any other.

    Raises
    ------
    ValueError
        If `packed` is not of the dtype uint8, does not have the width of `n_bits` bits
        or has set bits beyond them.

    See Also
    --------
    pack_codes : The inverse.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr.hashing import unpack_codes
    >>> unpack_codes(np.array([[160], [0]], dtype=np.uint8), 3)
    array([[ 1, -1,  1],
           [-1, -1, -1]], dtype=int8)
    """
    packed = check_array(packed, ensure_min_samples=0, input_name="packed")
    n_bytes = -(-n_bits // 8)
    if packed.dtype != np.uint8:
        raise ValueError(
            f"Packed bits must have the dtype uint8, got {packed.dtype}. pack_codes "
            "makes them from codes of -1 and +1."
        )
    if packed.shape[1] != n_bytes:
        raise ValueError(
            f"Codes of {n_bits} bits take {n_bytes} bytes, but packed has "
            f"{packed.shape[1]} columns."
        )
    bits = np.unpackbits(packed, axis=1)
    if bits[:, n_bits:].any():
        raise ValueError(
            f"packed has set bits beyond the first {n_bits} of each row, so that its "
            "codes are longer or in another order of bits. The first one must be the "
            "highest bit of the first byte."
        )
    codes = bits[:, :n_bits].view(np.int8)
    return 2 * codes - 1


@validate_params(
    {"A": ["array-like"], "B": ["array-like", None]},
    prefer_skip_nested_validation=True,
)
def hamming_distances(A, B=None):
    """Count the bits in which codes differ, for all pairs of rows.

    Parameters
    ----------
    A : array-like of shape (n_samples_A, n_bits) or (n_samples_A, n_bytes)
        Codes of -1 and +1, or packed bits of dtype uint8 (see :func:`pack_codes`).

    B : array-like of shape (n_samples_B, n_bits) or (n_samples_B, n_bytes), \
            default=None
        Codes in the same form; None for those of `A`.

    Returns
    -------
    distances : ndarray of shape (n_samples_A, n_samples_B) of dtype int32
        Beside it, the memory needed is small.

    Raises
    ------
    ValueError
        If one holds codes and the other one packed bits, if the widths differ or if
        there are other values than -1 and +1.

    See Also
    --------
    sklearn_cmr.CrossModalNeighbors : The nearest rows only, without the matrix.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_cmr.hashing import hamming_distances
    >>> codes = np.array([[1, 1, 1], [1, 1, -1], [-1, -1, -1]], dtype=np.int8)
    >>> hamming_distances(codes[:1], codes)
    array([[0, 1, 3]], dtype=int32)
    """
    given = {"A": A} if B is None else {"A": A, "B": B}
    codes = {name: check_array(X, input_name=name) for name, X in given.items()}
    first, last = codes["A"], codes.get("B", codes["A"])
    if (first.dtype == np.uint8) != (last.dtype == np.uint8):
        raise ValueError(
            f"A has the dtype {first.dtype} and B has the dtype {last.dtype}: uint8 "
            "means packed bits, any other dtype codes of -1 and +1. Give both in the "
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
