"""Ways of rows: data sets of each way, their phases, modalities added later."""

# SPDX-License-Identifier: BSD-3-Clause

import zlib

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch import nn
from torch.utils.data import Subset

from sklearn_cmr._inputs.labels import Labels, LabelsByModality
from sklearn_cmr.training import (
    Joint,
    Paired,
    Phase,
    RowDataset,
    Separate,
    Task,
    UnpairedDataset,
    indicator_of,
)
from sklearn_cmr.training.batches import whole_dataset
from sklearn_cmr.training.devices import seeded_building
from sklearn_cmr.training.modalities import HeldOut
from sklearn_cmr.training.samplers import EachByItself, in_order, shuffled
from tests.training.games import CPU

N_CLASSES = 3
CLASSES = np.arange(N_CLASSES)
LENGTHS = {"image": 30, "text": 18}


def make_part(n_rows, is_multi=False):
    codes = np.arange(n_rows) % N_CLASSES
    indicator = np.eye(N_CLASSES, dtype=np.uint8)[codes]
    if is_multi:
        indicator[::2, 0] = 1
        codes = None
    return Labels(CLASSES, indicator, codes)


def make_features(lengths, start=0):
    """Every row holds its number; the width tells the modality."""
    return {
        name: np.repeat(np.arange(start, start + n)[:, None], 1 + len(name), axis=1)
        for name, n in lengths.items()
    }


def make_shared(n_rows=30, is_multi=False, names=("image", "text")):
    lengths = dict.fromkeys(names, n_rows)
    part = make_part(n_rows, is_multi)
    return make_features(lengths), LabelsByModality(
        CLASSES, dict.fromkeys(names, part), shared=True
    )


def make_unshared(lengths=LENGTHS):
    parts = {name: make_part(n_rows) for name, n_rows in lengths.items()}
    return make_features(lengths), LabelsByModality(CLASSES, parts, shared=False)


def make_given(names, is_shared, n_rows=6):
    """Return what the caller holds out, whose rows start at 100."""
    lengths = {name: n_rows + i * (not is_shared) for i, name in enumerate(names)}
    part = {name: make_part(n) for name, n in lengths.items()}
    labels = LabelsByModality(CLASSES, part, shared=is_shared)
    return HeldOut(0.5, 0, make_features(lengths, start=100), labels)


NOTHING, THIRD = HeldOut(None, 0), HeldOut(1 / 3, 0)
WAYS = [Paired(), Joint(), Separate()]
IDS = ["Paired", "Joint", "Separate"]


def rows_of(dataset, modality):
    """Return the rows of the features that the data set of a modality has."""
    if isinstance(dataset, UnpairedDataset):
        dataset = dataset.parts[modality]
    indices = dataset.indices if isinstance(dataset, Subset) else slice(None)
    return whole_dataset(dataset).X[modality][indices, 0]


# -- splits --------------------------------------------------------------------


def test_which_ways_accept_rows_that_are_no_pairs():
    assert [way.accepts_unpaired for way in WAYS] == [False, True, True]


@pytest.mark.parametrize("way", [Paired(), Joint()], ids=IDS[:2])
@pytest.mark.parametrize("is_multi", [False, True])
@pytest.mark.parametrize("held_out", [NOTHING, THIRD], ids=["none", "fraction"])
def test_pairs_stay_pairs(way, held_out, is_multi):
    features, labels = make_shared(is_multi=is_multi)
    splits, joint = way.split(features, labels, CPU, held_out)
    assert list(splits) == ["image", "text"]
    assert splits["image"] is splits["text"] is joint
    assert set(whole_dataset(joint.train).X) == {"image", "text"}
    train = rows_of(joint.train, "image")
    assert_array_equal(train, rows_of(joint.train, "text"))
    if held_out is NOTHING:
        assert joint.held_out is None and isinstance(joint.train, RowDataset)
        assert_array_equal(train, np.arange(30))
        return
    valid = rows_of(joint.held_out, "text")
    assert_array_equal(np.sort(np.r_[train, valid]), np.arange(30))
    assert len(valid) == 10
    assert_array_equal(indicator_of(joint.held_out), indicator_of_rows(labels, valid))
    if not is_multi:  # stratified
        assert np.bincount(valid % N_CLASSES, minlength=3).max() <= 4


def indicator_of_rows(labels, rows, modality="image"):
    return labels.parts[modality].indicator[rows]


def test_held_out_rows_depend_on_the_seed():
    features, labels = make_shared()
    rows = [
        rows_of(Paired().split(features, labels, CPU, HeldOut(0.5, seed))[1][1], "text")
        for seed in (0, 0, 1)
    ]
    assert_array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[2])


@pytest.mark.parametrize("way", [Paired(), Joint()], ids=IDS[:2])
def test_pairs_that_the_caller_holds_out(way):
    features, labels = make_shared()
    given = make_given(features, is_shared=True)
    splits, joint = way.split(features, labels, CPU, given)
    assert splits["image"] is splits["text"] is joint
    for name in splits:
        assert_array_equal(rows_of(joint.train, name), np.arange(30))
        assert_array_equal(rows_of(joint.held_out, name), np.arange(100, 106))
    assert_array_equal(indicator_of(joint.held_out), make_part(6).indicator)


@pytest.mark.parametrize("held_out", [NOTHING, THIRD], ids=["none", "fraction"])
def test_rows_of_their_own_learn_together(held_out):
    features, labels = make_unshared()
    splits, joint = Joint().split(features, labels, CPU, held_out)
    assert isinstance(joint.train, UnpairedDataset)
    for name, n_rows in LENGTHS.items():
        assert joint.train.parts[name] is splits[name].train
        assert set(whole_dataset(splits[name].train).X) == {name}
        rows = rows_of(joint.train, name)
        if held_out is THIRD:
            assert joint.held_out.parts[name] is splits[name].held_out
            assert len(rows_of(joint.held_out, name)) == n_rows // 3
            rows = np.sort(np.r_[rows, rows_of(joint.held_out, name)])
        assert_array_equal(rows, np.arange(n_rows))
    assert (joint.held_out is None) == (held_out is NOTHING)


@pytest.mark.parametrize("is_shared", [False, True])
def test_rows_of_their_own_with_what_the_caller_holds_out(is_shared):
    features, labels = make_unshared()
    given = make_given(features, is_shared)
    _, joint = Joint().split(features, labels, CPU, given)
    assert joint.train.lengths == [30, 18]
    assert isinstance(joint.held_out, UnpairedDataset)
    assert joint.held_out.lengths == [6, 6 if is_shared else 7]
    for name in features:
        assert rows_of(joint.held_out, name)[0] == 100


def test_pairs_with_held_out_rows_that_are_no_pairs():
    features, labels = make_shared()
    given = make_given(features, is_shared=False)
    splits, joint = Joint().split(features, labels, CPU, given)
    assert isinstance(joint.train, RowDataset)
    assert set(joint.train.X) == {"image", "text"}
    for name in features:
        assert splits[name].train is joint.train
        assert splits[name].held_out is joint.held_out.parts[name]
    assert joint.held_out.lengths == [6, 7]


@pytest.mark.parametrize("make", [make_shared, make_unshared])
@pytest.mark.parametrize("held_out", [NOTHING, THIRD], ids=["none", "fraction"])
def test_every_modality_apart(make, held_out):
    features, labels = make()
    splits, joint = Separate().split(features, labels, CPU, held_out)
    assert joint is None
    for name, split in splits.items():
        assert set(whole_dataset(split.train).X) == {name}
        rows = rows_of(split.train, name)
        if held_out is THIRD:
            valid = rows_of(split.held_out, name)
            assert len(valid) == len(features[name]) // 3
            expected = labels.parts[name].indicator[valid]
            assert_array_equal(indicator_of(split.held_out), expected)
            rows = np.sort(np.r_[rows, valid])
        else:
            assert split.held_out is None
        assert_array_equal(rows, np.arange(len(features[name])))


def test_caller_holds_rows_of_some_modalities_out():
    """The fraction is held out of the others."""
    features, labels = make_unshared()
    given = make_given(["text"], is_shared=False)
    splits, _ = Separate().split(features, labels, CPU, given)
    assert_array_equal(rows_of(splits["text"].held_out, "text"), np.arange(100, 106))
    assert len(splits["text"].train) == 18
    assert len(splits["image"].train) == len(splits["image"].held_out) == 15


def test_a_modality_without_held_out_rows():
    features, labels = make_unshared()
    given = make_given(["text"], is_shared=False)._replace(fraction=None)
    splits, _ = Separate().split(features, labels, CPU, given)
    assert splits["image"].held_out is None
    assert len(splits["text"].held_out) == 6
    # Rows of all modalities are needed for a validation of all of them together.
    _, joint = Joint().split(features, labels, CPU, given)
    assert joint.held_out is None


@pytest.mark.parametrize("way", WAYS, ids=IDS)
def test_too_few_rows_to_hold_some_out(way):
    features, labels = make_shared(n_rows=4)  # one class has two rows, others one
    message = "holds out validation_fraction=0.25 of 4 rows, stratified by class"
    with pytest.raises(ValueError, match=message) as caught:
        way.split(features, labels, CPU, HeldOut(0.25, 0))
    assert "Use more rows" in str(caught.value)


# -- tasks ---------------------------------------------------------------------


def make_task(way, held_out=NOTHING, make=make_shared, **fields):
    features, labels = make()
    splits, joint = way.split(features, labels, CPU, held_out)
    known = {"batch_size": 5, "count_epochs": lambda n_rows: n_rows - 11, "seed": 7}
    return Task(splits, joint, labels, is_paired=labels.shared, **known | fields)


def test_a_task_of_pairs():
    task = make_task(Paired(), THIRD)
    assert task.modalities == ("image", "text")
    assert task.has_single_labels
    assert task.train() is task.train("image") is task.train("text")
    assert task.held_out() is task.held_out("text")
    assert task.split() is task.joint
    assert len(task.indicator()) == len(task.indicator("text")) == 20
    assert len(task.whole("image")) == 30


def test_a_task_of_rows_of_their_own():
    task = make_task(Separate(), THIRD, make_unshared)
    assert (len(task.train("image")), len(task.held_out("image"))) == (20, 10)
    assert (len(task.train("text")), len(task.held_out("text"))) == (12, 6)
    assert len(task.indicator("text")) == 12
    assert len(task.whole("text")) == 18


def test_a_task_has_single_labels_where_all_modalities_have():
    pairs_of_many = make_task(Paired(), make=lambda: make_shared(is_multi=True))
    assert not pairs_of_many.has_single_labels
    features, labels = make_unshared()
    labels.parts["text"] = make_part(18, is_multi=True)
    splits, joint = Joint().split(features, labels, CPU, NOTHING)
    task = Task(splits, joint, labels, False, 0, batch_size=5, count_epochs=len)
    assert not task.has_single_labels


def test_a_phase_without_held_out_rows():
    task = make_task(Paired())
    phase = task.make_phase(players=[], name="a", batch_size=6)
    assert isinstance(phase, Phase)
    assert phase.dataset is task.train()
    assert (phase.name, phase.max_epochs, phase.batch_size) == ("a", 19, 6)
    assert phase.dataset_valid is phase.score_valid is phase.patience is None
    assert phase.sampler is shuffled


@pytest.mark.parametrize(
    ("way", "make"),
    [(Paired(), make_shared), (Joint(), make_unshared)],
    ids=["pairs", "rows of their own"],
)
def test_a_phase_of_all_modalities_is_scored_on_held_out_rows(way, make):
    asked = []

    def score(module, datasets):
        asked.append((module, datasets))
        return 0.5

    task = make_task(way, THIRD, make, score_held_out=score)
    phase = task.make_phase(players=[])
    assert phase.dataset is task.train()
    assert phase.dataset_valid is task.held_out()
    assert phase.score_valid("module") == 0.5
    ((module, datasets),) = asked
    assert module == "module"
    assert datasets == {name: task.held_out(name) for name in ("image", "text")}
    if way.accepts_unpaired:
        assert isinstance(phase.sampler_valid, EachByItself)
        assert phase.sampler_valid.lengths == [10, 6]
        assert phase.sampler_valid.samplers == [in_order, in_order]
    else:
        assert phase.sampler_valid is in_order


@pytest.mark.parametrize("way", [Paired(), Separate()], ids=["Paired", "Separate"])
def test_a_phase_of_one_modality_has_no_score(way):
    task = make_task(way, THIRD)
    phase = task.make_phase("text", players=[])
    assert phase.dataset is task.train("text")
    assert phase.dataset_valid is task.held_out("text")
    assert phase.sampler_valid is in_order
    assert phase.score_valid is None


def test_fields_of_a_phase_win_over_those_of_the_task():
    task = make_task(Paired(), THIRD, score_held_out=max)
    fields = {"dataset_valid": None, "score_valid": None, "sampler_valid": shuffled}
    phase = task.make_phase(players=[], **fields)
    assert phase.dataset_valid is phase.score_valid is None
    assert phase.sampler_valid is shuffled


# -- added modalities --------------------------------------------------------------


def build_modality(name, n_inputs):
    layers = nn.Sequential(nn.Linear(n_inputs, 4), nn.Linear(4, 2))
    return {"encoders": layers, "heads": nn.Linear(2, 1)}


def grown(*steps, seed=3):
    """Grow a module by the widths of each step; return its weights."""
    module = nn.ModuleDict({"shared": nn.Linear(2, 2)})
    for n_features in steps:
        with seeded_building(seed):
            Separate.grow(module, n_features, build_modality)
    return module


def weights_of(module, name):
    own = f".{name}."
    return {k: v for k, v in module.state_dict().items() if own in k}


@pytest.mark.parametrize(
    "steps",
    [
        [{"text": 3, "image": 5}],
        [{"image": 5}, {"text": 3}],
        [{"text": 3}, {"image": 5}],
        [{"audio": 2, "image": 5, "text": 3}],
        [{"audio": 8}, {"image": 5, "video": 1, "text": 3}],
    ],
)
def test_initial_weights_depend_on_seed_and_name_alone(steps):
    module, other = grown({"image": 5, "text": 3}), grown(*steps)
    for name in ("image", "text"):
        first, second = weights_of(module, name), weights_of(other, name)
        assert len(first) == 6 and first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_initial_weights_differ_by_seed_and_by_name():
    module, other = grown({"image": 5, "text": 5}), grown({"image": 5}, seed=4)
    weight = module["encoders"]["image"][0].weight
    assert not torch.equal(weight, module["encoders"]["text"][0].weight)
    assert not torch.equal(weight, other["encoders"]["image"][0].weight)


def test_the_seed_of_a_modality_is_that_of_the_module_plus_the_checksum_of_its_name():
    torch.manual_seed(3 + zlib.crc32(b"image"))
    expected = build_modality("image", 5)["encoders"]
    found = grown({"image": 5})["encoders"]["image"]
    for key, value in expected.state_dict().items():
        assert torch.equal(value, found.state_dict()[key])


def test_growing_continues_with_the_seed():
    """What is built behind it does not depend on which modalities there are."""
    drawn = []
    for n_features in ({"image": 5}, {"text": 3, "image": 5}):
        with seeded_building(3):
            Separate.grow(nn.ModuleDict(), n_features, build_modality)
            drawn.append(torch.rand(4))
    assert torch.equal(*drawn)


def test_shrinking_undoes_growing():
    module, expected = grown({"image": 5}, {"text": 3}), grown({"image": 5})
    Separate.shrink(module, "text")
    assert list(module["encoders"]) == list(module["heads"]) == ["image"]
    assert module.state_dict().keys() == expected.state_dict().keys()
    Separate.shrink(module, "text")  # nothing is left to take out
    assert isinstance(module["shared"], nn.Linear)


def test_epochs_and_patience_follow_from_the_rows_to_train_on():
    task = make_task(Separate(), THIRD, make_unshared, count_patience=lambda n: n // 2)
    assert [task.n_epochs(name) for name in ("image", "text")] == [9, 1]
    phase = task.make_phase("image", players=[])
    assert (phase.max_epochs, phase.patience) == (9, 4)
    phase = task.make_phase("image", players=[], max_epochs=20)
    assert (phase.max_epochs, phase.patience) == (20, 10)
