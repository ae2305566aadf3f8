"""The engine: tasks, phases and players, batches on the device, training, inference."""

# SPDX-License-Identifier: BSD-3-Clause

from sklearn_cmr.training.backbones import (
    Backbone,
    BackboneEncoder,
    backbones_of,
    behind_backbones,
    network_and_features,
    network_of,
)
from sklearn_cmr.training.batches import (
    Batch,
    BatchIterator,
    RowDataset,
    UnpairedDataset,
    indicator_of,
    joint_sampler,
)
from sklearn_cmr.training.devices import (
    device_of,
    resolve_device,
    seeded_building,
    standard_settings,
)
from sklearn_cmr.training.inference import encode_dataset, encode_in_blocks
from sklearn_cmr.training.modalities import HeldOut, Joint, Paired, Separate, Task
from sklearn_cmr.training.phases import EpochState, Phase, Player
from sklearn_cmr.training.samplers import AnchorSampler, ClassBalanced, EachByItself
from sklearn_cmr.training.trainer import Trainer

__all__ = [
    "AnchorSampler",
    "Backbone",
    "BackboneEncoder",
    "Batch",
    "BatchIterator",
    "ClassBalanced",
    "EachByItself",
    "EpochState",
    "HeldOut",
    "Joint",
    "Paired",
    "Phase",
    "Player",
    "RowDataset",
    "Separate",
    "Task",
    "Trainer",
    "UnpairedDataset",
    "backbones_of",
    "behind_backbones",
    "device_of",
    "encode_dataset",
    "encode_in_blocks",
    "indicator_of",
    "joint_sampler",
    "network_and_features",
    "network_of",
    "resolve_device",
    "seeded_building",
    "standard_settings",
]
