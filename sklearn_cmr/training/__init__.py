"""The engine: batches on the device, players that take turns, fitting, inference."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr.training.batches import (
    Batch,
    BatchIterator,
    ClassBalanced,
    EachByItself,
    RowDataset,
    UnpairedDataset,
    indicator_of,
    joint_sampler,
    parts_of,
    whole_dataset,
)
from sklearn_cmr.training.inference import encode_in_blocks
from sklearn_cmr.training.net import EpochState, PairNet, Phase, Player

__all__ = [
    "Batch",
    "BatchIterator",
    "ClassBalanced",
    "EachByItself",
    "EpochState",
    "PairNet",
    "Phase",
    "Player",
    "RowDataset",
    "UnpairedDataset",
    "encode_in_blocks",
    "indicator_of",
    "joint_sampler",
    "parts_of",
    "whole_dataset",
]
