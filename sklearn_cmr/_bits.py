"""Binary codes as packed bits: checks, wide words, popcounts."""

# SPDX-License-Identifier: BSD-3-Clause

from functools import partial, reduce

import numpy as np


def pack_signs(codes, name):
    """Pack codes of -1 and +1 into bits, the first one highest, +1 as a set bit.

    Raises a ValueError that calls the codes `name` if they hold anything else.
    """
    positive = codes == 1
    wrong = ~positive & (codes != -1)
    found = None
    if codes.dtype.kind not in "if":  # all True, or all 1, could be bits as well
        found = f"has the dtype {codes.dtype}"
    elif wrong.any():
        found = f"contains the value {codes[wrong][0]!s}"
    if found is not None:
        raise ValueError(
            f"Codes must be -1 or +1, but {name} {found}. Binarise real values with "
            "np.where(h >= 0, 1, -1), bits with np.where(bits, 1, -1); the metrics "
            "'cosine' and 'euclidean' take real values as they are."
        )
    return np.packbits(positive, axis=1)


def refuse_booleans(X, name):
    """Raise a ValueError if X is boolean, where its type is to tell the metric."""
    if X.dtype == bool:
        raise ValueError(
            f"metric='auto' cannot decide: {name} has the dtype bool. Turn bits into "
            "codes with np.where(bits, 1, -1).astype(np.int8), pack them with "
            "np.packbits(bits, axis=1), or name the metric."
        )


def as_words(packed):
    """View rows of packed bits as a few wide integers, one contiguous array each."""
    n_bytes = packed.shape[1]
    # Counting the bits of two single bytes is faster than those of one 16-bit word.
    width = 1 if n_bytes <= 2 else 4 if n_bytes <= 4 else 8
    padded = np.zeros((len(packed), -(-n_bytes // width) * width), dtype=np.uint8)
    padded[:, :n_bytes] = packed
    return np.ascontiguousarray(padded.view(f"u{width}").T)


def count_differing(query, gallery, n_bits):
    """Count the bits in which all pairs of rows differ.

    Parameters
    ----------
    query, gallery : ndarray of shape (n_words, n_rows)
        Words as :func:`as_words` makes them.

    n_bits : int
        No pair differs in more bits.

    Returns
    -------
    distances : ndarray of shape (n_queries, n_items)
        Of the smallest unsigned type that holds `n_bits`.
    """
    differing = (
        np.bitwise_count(words[:, None] ^ others)
        for words, others in zip(query, gallery, strict=True)
    )
    return reduce(partial(np.add, dtype=np.min_scalar_type(n_bits)), differing)
