"""Small ranked lists that the tests of all metrics share."""

# SPDX-License-Identifier: BSD-3-Clause

from itertools import permutations, product

import numpy as np

EXAMPLE_A = ([0, 1, 1, 1, 3, 3], [1, 1, 0, 0, 1, 0])
EXAMPLE_B = ([0, 0, 2, 2, 2, 4], [1, 0, 1, 1, 0, 0])


def codes_at(distances, n_bits=8):
    """Codes at the given Hamming distances from the code of ones."""
    codes = np.ones((len(distances), n_bits), dtype=np.int8)
    for code, distance in zip(codes, distances, strict=True):
        code[:distance] = -1
    return codes


def angles_at(distances, dtype):
    """Vectors whose cosine with (1, 0) falls with the given distances."""
    angles = 0.25 * np.asarray(distances)
    return np.column_stack([np.cos(angles), np.sin(angles)]).astype(dtype)


def all_orders(distances, relevant):
    """Every order of the tied items, as lists of relevance."""
    levels = [
        [r for d, r in zip(distances, relevant, strict=True) if d == level]
        for level in sorted(set(distances))
    ]
    for choice in product(*(list(permutations(level)) for level in levels)):
        yield [r for level in choice for r in level]


def random_set(seed, n_query=20, n_gallery=50, n_bits=12, n_classes=4):
    rng = np.random.default_rng(seed)
    query = rng.choice([-1, 1], (n_query, n_bits)).astype(np.int8)
    gallery = rng.choice([-1, 1], (n_gallery, n_bits)).astype(np.int8)
    y_query = np.arange(n_query) % n_classes
    y_gallery = rng.permutation(np.arange(n_gallery) % n_classes)
    return query, gallery, y_query, y_gallery
