"""Retrieval quality of the hashers on real feature sets, beside the baseline to beat.

For each data set and number of bits: canonical correlation analysis (NIPALS) with as
many components as bits, whose signs are the codes, and every method with its defaults.
Inputs are standardized by PairTransformer. The test split queries the training split.
The figures are mAPs over the whole ranking by Hamming distance, with the expected value
over ties: mean and standard deviation over the seeds.

    SKLEARN_CMR_DATA=... python benchmarks/quality_hashing.py [--bits 16 32 64] \
        [--seeds 3] [--methods SSAH ...] [name ...]
"""

# SPDX-License-Identifier: BSD-3-Clause

import argparse
import os
import time
from pathlib import Path

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cmr import (
    AADAHHasher,
    CCAProjector,
    PairTransformer,
    SSAHHasher,
    make_pairs,
)
from sklearn_cmr.metrics import mean_average_precision

DATA_SETS = ["wiki_cnn_pca", "iaprtc12_1962"]
METHODS = {"AADAH": AADAHHasher, "SSAH": SSAHHasher}


def load(name):
    """Return the training and the test pairs of a data set with their labels."""
    with np.load(Path(os.environ["SKLEARN_CMR_DATA"]) / f"{name}.npz") as arrays:
        return [
            (
                make_pairs(arrays[f"image_{part}"], arrays[f"text_{part}"]),
                arrays[f"y_{part}"],
            )
            for part in ("train", "test")
        ]


def make_model(method):
    """Return the pipeline that standardizes both modalities before a method."""
    return make_pipeline(
        PairTransformer(image=StandardScaler(), text=StandardScaler()), method
    )


def encode_by_cca(train, y_train, test, *, n_bits, seed):
    """Return the signs of the canonical variates, centered on the training pairs."""
    model = make_model(CCAProjector(n_components=n_bits, solver="nipals")).fit(train)
    return [
        {
            modality: np.where(Z >= 0, 1, -1).astype(np.int8)
            for modality, Z in model.transform(pairs).items()
        }
        for pairs in (train, test)
    ]


def encode_by(method, train, y_train, test, *, n_bits, seed):
    """Return the codes of a hasher with its defaults."""
    model = make_model(method(n_bits=n_bits, random_state=seed)).fit(train, y_train)
    return [model.transform(pairs) for pairs in (train, test)]


def run(name, encode, seeds, n_bits):
    """Return the mAPs of image and text queries by seed, and the seconds of a fit."""
    (train, y_train), (test, y_test) = load(name)
    start, scores = time.perf_counter(), []
    for seed in range(seeds):
        gallery, queries = encode(train, y_train, test, n_bits=n_bits, seed=seed)
        scores.append(
            [
                mean_average_precision(queries[q], gallery[g], y_test, y_train)
                for q, g in (("image", "text"), ("text", "image"))
            ]
        )
    return np.array(scores), (time.perf_counter() - start) / seeds


def report(name, label, n_bits, scores, seconds):
    """Print one line of the table."""
    (i2t, t2i), mean = scores.mean(axis=0), scores.mean(axis=1)
    print(
        f"{name:15} {label:6} {n_bits:3} bits   I2T {i2t:.4f}   T2I {t2i:.4f}   "
        f"mean {mean.mean():.4f} +- {mean.std():.4f}   {seconds:6.1f} s",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=DATA_SETS)
    parser.add_argument("--bits", nargs="+", type=int, default=[16, 32, 64])
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    for data_set in arguments.names:
        for bits in arguments.bits:
            report(data_set, "CCA", bits, *run(data_set, encode_by_cca, 1, bits))
            for chosen in arguments.methods:

                def encode(*args, method=METHODS[chosen], **kwargs):
                    return encode_by(method, *args, **kwargs)

                scores, seconds = run(data_set, encode, arguments.seeds, bits)
                report(data_set, chosen, bits, scores, seconds)
