"""The engine: tasks, phases and players, batches on the device, training, inference."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr.training.backbones import network_and_features, network_of
from sklearn_cmr.training.batches import (
    Batch,
    RowDataset,
    UnpairedDataset,
    indicator_of,
    joint_sampler,
)
from sklearn_cmr.training.devices import device_of
from sklearn_cmr.training.inference import encode_dataset, encode_in_blocks
from sklearn_cmr.training.modalities import Joint, Paired, Separate, Task
from sklearn_cmr.training.phases import EpochState, Phase, Player
from sklearn_cmr.training.samplers import AnchorSampler, ClassBalanced

__all__ = [
    "AnchorSampler",
    "Batch",
    "ClassBalanced",
    "EpochState",
    "Joint",
    "Paired",
    "Phase",
    "Player",
    "RowDataset",
    "Separate",
    "Task",
    "UnpairedDataset",
    "device_of",
    "encode_dataset",
    "encode_in_blocks",
    "indicator_of",
    "joint_sampler",
    "network_and_features",
    "network_of",
]
