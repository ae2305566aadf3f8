"""Devices, threads and ambient settings of torch, on which no result depends."""

# SPDX-License-Identifier: BSD-3-Clause

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_cmr.training import Player, device_of, encode_in_blocks
from sklearn_cmr.training import devices as devices_file
from sklearn_cmr.training.devices import (
    resolve_device,
    seeded_building,
    standard_settings,
    threads_for,
)
from tests.training.games import (
    CPU,
    LR,
    assert_same_weights,
    fails_in_epoch,
    make_module,
    make_phase,
    spoil_loss,
    train,
    two_players,
    weights,
)

# -- devices -------------------------------------------------------------------


def unusable_devices():
    devices = ["mps", "meta", "nonsense", "cuda:99", "cpu:x", ""]
    return [*devices, "cuda"] if not torch.cuda.is_available() else devices


@pytest.mark.parametrize("device", unusable_devices())
def test_devices_that_cannot_compute_are_refused(device):
    with pytest.raises(ValueError, match="cannot be used: ") as caught:
        resolve_device(device)
    message = str(caught.value)
    assert message.startswith(f"device={device!r}")
    assert message.endswith(
        "Use 'auto', 'cpu', or a device that torch can compute on here."
    )
    assert "\n" not in message


def test_usable_devices():
    has_gpu = torch.cuda.is_available()
    assert resolve_device("cpu") == CPU
    assert resolve_device("auto").type == ("cuda" if has_gpu else "cpu")
    assert device_of(make_module()) == CPU


# -- ambient settings --------------------------------------------------------------


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


AMBIENT = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "meta": lambda: torch.device("meta"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


def read_settings():
    return (
        torch.get_default_dtype(),
        torch.empty(0).device,
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
    )


STANDARD = (torch.float32, CPU, True, False, False)


@pytest.mark.parametrize("name", AMBIENT)
def test_settings_are_standard_within_and_restored_behind(name):
    with AMBIENT[name]():
        before = read_settings()
        assert before != STANDARD
        with standard_settings():
            assert read_settings() == STANDARD
            with standard_settings():
                assert read_settings() == STANDARD
            assert read_settings() == STANDARD
        assert read_settings() == before
        with pytest.raises(ZeroDivisionError), standard_settings():
            raise ZeroDivisionError
        assert read_settings() == before
    assert read_settings() == STANDARD


def noisy_phase(module):
    """Return a phase whose loss makes tensors by torch's defaults."""

    def loss(module, batch, state):
        image = batch.features["image"]
        noise = torch.randn(image.shape, generator=state.generator)
        scale = torch.tensor(0.5) * torch.ones(len(image), 1)
        z = module["image"](image + scale * noise)
        return z.square().mean() + z.std(), {"spread": z.detach().std()}

    player = Player("image", list(module.parameters()), loss, LR)
    return make_phase([player])


def build_and_train():
    """Build, train and encode in the way of the estimators."""
    with standard_settings():
        with seeded_building(3):
            module = nn.ModuleDict({"image": nn.Linear(5, 3)})
        trainer = train(module, noisy_phase(module))
    return results_of(module, trainer)


def results_of(module, trainer):
    X = np.random.default_rng(0).normal(size=(70, 5))
    curve = [(row["train_loss"], row["spread"]) for row in trainer.history]
    return weights(module), encode_in_blocks(module["image"], X, CPU), curve


def assert_same_results(first, second):
    assert_same_weights(first[0], second[0])
    assert all(tensor.dtype == torch.float32 for tensor in second[0].values())
    assert second[1].dtype == np.float32
    np.testing.assert_array_equal(first[1], second[1])
    assert first[2] == second[2]


@pytest.mark.parametrize("name", AMBIENT)
def test_results_do_not_depend_on_ambient_settings(name):
    expected = build_and_train()
    with AMBIENT[name]():
        found = build_and_train()
    assert_same_results(expected, found)


@pytest.mark.parametrize("name", AMBIENT)
def test_trainer_and_encoding_set_them_for_themselves(name):
    found = []
    for ambient in (nullcontext, AMBIENT[name]):
        with seeded_building(3):
            module = nn.ModuleDict({"image": nn.Linear(5, 3)})
        phase = noisy_phase(module)
        with ambient():
            found.append(results_of(module, train(module, phase)))
    assert_same_results(*found)


def test_settings_of_overlapping_threads():
    """The default dtype, which all threads share, is restored by the last one."""
    inside, first_is_out = threading.Barrier(2), threading.Event()

    def short():
        with standard_settings():
            inside.wait()
        first_is_out.set()

    def long():
        with standard_settings():
            inside.wait()
            assert first_is_out.wait(10)
            return torch.get_default_dtype()

    with default_dtype(torch.float64), ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(run) for run in (short, long)]
        assert [run.result() for run in runs] == [None, torch.float32]
        assert torch.get_default_dtype() == torch.float64


def test_fits_in_overlapping_threads():
    expected = build_and_train()
    with default_dtype(torch.float64), ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(build_and_train) for _ in range(8)]
        results = [run.result() for run in runs]
        assert torch.get_default_dtype() == torch.float64
    for found in results:
        assert_same_results(expected, found)


# -- threads -------------------------------------------------------------------


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("work", "expected"), [(math.inf, 1), (0.6, 1), (0.4, 2), (0.3, 3), (0.01, 4)]
)
def test_as_many_threads_as_there_is_work_for(
    four_threads, monkeypatch, work, expected
):
    """The work of a thread is given as a share of that of a step."""
    module = make_module()
    seen = []
    phase = make_phase(
        two_players(module),
        begin_epoch=lambda *_: seen.append(torch.get_num_threads()),
        max_epochs=1,
    )
    monkeypatch.setattr(devices_file, "_WORK_OF_A_THREAD", work * phase.n_multiply_adds)
    train(module, phase)
    assert seen == [expected]
    assert torch.get_num_threads() == 4


def test_threads_are_restored_after_an_error(four_threads):
    module = make_module()
    with pytest.raises(FloatingPointError):
        train(module, fails_in_epoch(spoil_loss, epoch=0)(module, 1))
    assert torch.get_num_threads() == 4


def number_in_a_new_thread():
    with ThreadPoolExecutor(1) as fresh:
        return fresh.submit(torch.get_num_threads).result()


def test_other_threads_keep_their_number(four_threads):
    with threads_for(0):
        assert torch.get_num_threads() == 1
        assert number_in_a_new_thread() == 4
        with threads_for(0):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == number_in_a_new_thread() == 4


def test_a_number_of_its_own_stays_with_a_thread(four_threads):
    """Neither is it inherited by new threads, nor lost while others train."""

    def run():
        torch.set_num_threads(2)
        inside.wait()
        with threads_for(0):
            pass
        return torch.get_num_threads()

    inside = threading.Barrier(2)
    with ThreadPoolExecutor(1) as pool:
        own = pool.submit(run)
        with threads_for(0):
            inside.wait()
            assert own.result() == 2
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("trains_during", [True, False])
def test_threads_that_meet_torch_during_a_training(four_threads, trains_during):
    """The number of a thread that first meets torch meanwhile is the ambient one."""
    training, met, done = (threading.Event() for _ in range(3))

    def long():
        with threads_for(0):
            training.set()
            assert met.wait(10)
        done.set()
        return torch.get_num_threads()

    def late():
        assert training.wait(10)
        if trains_during:
            with threads_for(0):
                torch.ones(3).sum()
            met.set()
        else:
            assert torch.get_num_threads() == 4
            met.set()
            assert done.wait(10)
            with threads_for(0):
                torch.ones(3).sum()
        return torch.get_num_threads()

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(run) for run in (long, late)]
        assert [run.result() for run in runs] == [4, 4]


def test_all_threads_of_a_pool_end_with_the_ambient_number(four_threads):
    together = threading.Barrier(6)

    def run(_):
        module = make_module()
        train(module, make_phase(two_players(module), max_epochs=2))
        together.wait(30)  # so that every thread of the pool has a run
        return torch.get_num_threads()

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(run, range(6))) == [4] * 6
    assert torch.get_num_threads() == number_in_a_new_thread() == 4


# -- seeds ---------------------------------------------------------------------


def test_networks_are_built_from_the_seed_alone():
    def build(seed):
        with seeded_building(seed):
            return torch.nn.Linear(3, 2).weight.detach()

    torch.manual_seed(5)
    ambient = torch.random.get_rng_state()
    first = build(0)
    assert torch.equal(torch.random.get_rng_state(), ambient)
    torch.rand(3)
    assert torch.equal(first, build(0))
    assert not torch.equal(first, build(1))
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(first, w) for w in pool.map(build, [0] * 20))


# -- GPU -----------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_autocast_is_off_within():
    with torch.autocast("cuda", dtype=torch.float16):
        with standard_settings("cuda"):
            assert not torch.is_autocast_enabled("cuda")
        assert torch.is_autocast_enabled("cuda")
