"""Ways of rows: whether modalities learn from pairs, from rows of their own, or apart.

Such an object splits the rows of a training and holds some of them out. Only where
modalities train apart can one be added later. Its labels are those of
:mod:`sklearn_cmr._inputs.labels`, by modality.
"""

# SPDX-License-Identifier: BSD-3-Clause

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import Dataset, Subset

from sklearn_cmr.training.batches import (
    RowDataset,
    UnpairedDataset,
    indicator_of,
    joint_sampler,
    whole_dataset,
)
from sklearn_cmr.training.phases import Phase
from sklearn_cmr.training.samplers import in_order


class HeldOut(NamedTuple):
    """Which rows are held out for validation.

    Parameters
    ----------
    fraction : float or None
        Share of the rows of the training set; None holds nothing out.

    seed : int
        Fixes which rows they are.

    features : dict of str to {ndarray, CSR}
        Rows that the caller has held out, by modality; none by default.

    labels : LabelsByModality or None
        Their labels.
    """

    fraction: float | None
    seed: int
    features: dict[str, Any] = {}
    labels: Any = None


class Split(NamedTuple):
    """Data sets of the rows to train on and, if there are any, of those held out."""

    train: Dataset
    held_out: Dataset | None = None


@dataclass
class Task:
    """What the phases of a training are defined on, whatever the way of rows.

    Parameters
    ----------
    splits : dict of str to Split
        Rows of every modality to train; of pairs, the same for all modalities.

    joint : Split or None
        Rows of all modalities together; None where every modality trains apart.

    labels : LabelsByModality
        Labels of all rows of the training set, with those held out of it.

    is_paired : bool
        Whether rows of the modalities belong together.

    seed : int
        Fixes the rows held out and the order of the batches.

    batch_size : int
        Number of rows of a batch.

    count_epochs : callable
        ``count_epochs(n_rows)`` returns the number of epochs for so many rows.

    min_batch_size : int
        A smaller last batch is merged into the one before it.

    count_patience : callable or None
        ``count_patience(n_epochs)`` returns the patience of a phase of so many epochs.

    score_held_out : callable or None
        ``score_held_out(module, datasets)`` returns the mAP of held-out rows, given
        their data sets by modality. None leaves their loss to be monitored.
    """

    splits: dict[str, Split]
    joint: Split | None
    labels: Any
    is_paired: bool
    seed: int
    batch_size: int
    count_epochs: Callable[[int], int]
    min_batch_size: int = 1
    count_patience: Callable[[int], int] | None = None
    score_held_out: Callable | None = None

    @property
    def modalities(self):
        """Names of the modalities to train."""
        return tuple(self.splits)

    @property
    def has_single_labels(self):
        """Whether every row has exactly one label."""
        return self.labels.has_single_labels

    def split(self, modality=None):
        """Return the rows of one modality, or of all together."""
        return self.joint if modality is None else self.splits[modality]

    def train(self, modality=None):
        """Return the data set to train one modality on, or all together."""
        return self.split(modality).train

    def held_out(self, modality=None):
        """Return the held-out data set of one modality, or of all together, or None."""
        return self.split(modality).held_out

    def indicator(self, modality=None):
        """Return the label indicator of the rows of :meth:`train`."""
        return indicator_of(self.train(modality))

    def whole(self, modality):
        """Return the data set of all rows of a modality, with those held out of it."""
        return whole_dataset(self.train(modality))

    def n_epochs(self, modality=None):
        """Return the number of epochs that train one modality, or all together."""
        return self.count_epochs(len(self.train(modality)))

    def make_phase(self, modality=None, **fields):
        """Return a phase that trains one modality, or all together.

        Parameters
        ----------
        modality : str, default=None
            The one to train; None trains all together.

        **fields : dict
            Fields of :class:`Phase`, which replace those that the task sets.

        Returns
        -------
        phase : Phase
            With data sets, batches and epochs of the task.
        """
        train, held_out = self.split(modality)
        known: dict[str, Any] = {
            "dataset": train,
            "batch_size": self.batch_size,
            "min_batch_size": self.min_batch_size,
            "max_epochs": fields.get("max_epochs") or self.n_epochs(modality),
        }
        if self.count_patience is not None:
            known["patience"] = self.count_patience(known["max_epochs"])
        if held_out is not None:
            known["dataset_valid"] = held_out
            known["sampler_valid"] = joint_sampler(held_out, lambda part: in_order)
            if modality is None and self.score_held_out is not None:
                datasets = {name: own.held_out for name, own in self.splits.items()}
                known["score_valid"] = partial(self.score_held_out, datasets=datasets)
        return Phase(**known | fields)


class Paired:
    """Rows are pairs: all modalities learn together, from the same rows."""

    accepts_unpaired = False

    def split(self, features, labels, device, held_out, integers=()):
        """Return the rows of every modality, and of all together.

        Parameters
        ----------
        features : dict of str to {ndarray, CSR}
            Validated features.

        labels : LabelsByModality
            Labels of their rows.

        device : torch.device
            Where batches are needed.

        held_out : HeldOut
            Which rows are held out.

        integers : container of str, default=()
            Modalities whose features stay integers.

        Returns
        -------
        splits : dict of str to Split
            Rows of every modality.

        joint : Split or None
            Rows of all modalities together.
        """
        first, *_ = labels.parts.values()
        joint = _split_rows(features, first, device, held_out, integers)
        return dict.fromkeys(features, joint), joint


class Joint:
    """All modalities learn together, from pairs or from rows of their own."""

    accepts_unpaired = True

    def split(self, features, labels, device, held_out, integers=()):
        """Return the rows of every modality, and of all together; see Paired."""
        given = held_out.labels
        if labels.shared and (given is None or given.shared):
            return Paired().split(features, labels, device, held_out, integers)
        splits, _ = Separate().split(features, labels, device, held_out, integers)
        train: Dataset = UnpairedDataset({m: own.train for m, own in splits.items()})
        if labels.shared:
            # The caller holds out rows that are no pairs; those to learn from are.
            first, *_ = labels.parts.values()
            train = RowDataset(features, first.indicator, device, integers)
            splits = {m: own._replace(train=train) for m, own in splits.items()}
        parts = {m: own.held_out for m, own in splits.items()}
        is_held_out = all(part is not None for part in parts.values())
        return splits, Split(train, UnpairedDataset(parts) if is_held_out else None)


class Separate:
    """Every modality learns apart from the others; one may be added later."""

    accepts_unpaired = True

    def split(self, features, labels, device, held_out, integers=()):
        """Return the rows of every modality; see Paired."""
        splits = {
            name: _split_rows(
                {name: part}, labels.parts[name], device, held_out, integers
            )
            for name, part in features.items()
        }
        return splits, None

    @staticmethod
    def grow(module, n_features, build_modality):
        """Add networks for modalities to a module.

        The initial weights depend on the seed and on the name of a modality alone, not
        on the other modalities, nor on their order.

        Parameters
        ----------
        module : torch.nn.ModuleDict
            Changed in place.

        n_features : dict of str to int
            Width of each new modality.

        build_modality : callable
            ``build_modality(name, n_inputs)`` returns a dict from the name of a child
            of the module, such as "encoders", to the network of the modality in there.
        """
        seed = torch.initial_seed()
        for name, n_inputs in n_features.items():
            torch.default_generator.manual_seed(seed + zlib.crc32(name.encode()))
            for child, network in build_modality(name, n_inputs).items():
                if child not in module:
                    module[child] = nn.ModuleDict()
                module[child][name] = network
        torch.default_generator.manual_seed(seed)

    @staticmethod
    def shrink(module, name):
        """Take the networks of a modality out of a module."""
        for networks in module.values():
            if isinstance(networks, nn.ModuleDict) and name in networks:
                del networks[name]


def _split_rows(features, labels, device, held_out, integers):
    """Return aligned rows, split into those to train on and those held out."""
    dataset = RowDataset(features, labels.indicator, device, integers)
    if set(features) <= set(held_out.features):
        given = {name: held_out.features[name] for name in features}
        own = held_out.labels.parts[next(iter(features))]
        return Split(dataset, RowDataset(given, own.indicator, device, integers))
    if held_out.fraction is None:
        return Split(dataset)
    rows = np.arange(len(labels.indicator))
    try:
        train, valid = train_test_split(
            rows,
            test_size=held_out.fraction,
            stratify=labels.codes,
            random_state=held_out.seed,
        )
    except ValueError as error:
        raise ValueError(
            f"early_stopping=True holds out validation_fraction={held_out.fraction} of "
            f"{len(rows)} rows, stratified by class, which is not possible: "
            f"{str(error).rstrip('.')}. Use more rows, another validation_fraction, or "
            "early_stopping=False."
        ) from error
    return Split(Subset(dataset, train), Subset(dataset, valid))
