"""Timing in turns, and the forms that the figures take."""

# SPDX-License-Identifier: BSD-3-Clause

import json

import numpy as np
import pytest
import torch
from harness import (
    Row,
    below_guard,
    compare,
    describe_machine,
    format_seconds,
    format_table,
    limited_threads,
    peak_memory,
    race,
    write_json,
    write_markdown,
)

ROWS = [
    Row("Training", "ACMR", "ours", 0.1),
    Row("Training", "ACMR", "textbook", 0.25, 2.5, 2.0),
    Row("Import", "package", "allowed", 2e-5, 0.5, 1.0, "wall", 2, "slow"),
]


def test_contenders_take_turns_after_a_warm_up():
    order = []
    contenders = {name: lambda name=name: order.append(name) for name in "abc"}
    times, clock, threads = race(contenders, rounds=3)
    assert {name: len(seconds) for name, seconds in times.items()} == dict.fromkeys(
        "abc", 3
    )
    assert (clock, threads) == ("CPU", 1)
    rounds = ["".join(order[i : i + 3]) for i in range(0, 12, 3)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len({names[0] for names in rounds}) == 3


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with limited_threads(1) as n_threads:
        assert n_threads == torch.get_num_threads() == 1
    with limited_threads(None) as n_threads:
        assert n_threads == before
    assert torch.get_num_threads() == before


def test_first_contender_is_what_the_others_are_compared_with():
    work = {"ours": lambda: sum(range(100)), "theirs": lambda: sum(range(1_000_000))}
    ours, theirs = compare("s", "t", work, rounds=3, targets={"theirs": 2.0}, per=4)
    assert ours.ratio is None and ours.target is None
    assert theirs.ratio > 2 and theirs.target == 2 and theirs.verdict == "yes"


def test_peak_memory_counts_what_is_freed_again():
    peak = peak_memory(lambda: np.ones(2**23))
    if peak is None:
        pytest.skip("the kernel keeps no marks of the memory")
    assert 63 <= peak < 80


def test_machine_is_described_without_paths(monkeypatch, tmp_path):
    line = f"benchmarks/speed.py --full train --json {tmp_path}/r.json --rounds 7"
    monkeypatch.setattr("sys.argv", line.split())
    command = describe_machine()["command"]
    assert command == "python benchmarks/speed.py --full train --rounds 7"


def test_guard_finds_what_lies_far_below_its_target():
    assert below_guard(ROWS) == [ROWS[2]]


def test_tables_show_every_row(tmp_path):
    text = format_table(ROWS)
    write_markdown(tmp_path / "r.md", ROWS, {"cpu": "some"})
    page = (tmp_path / "r.md").read_text()
    for shown in ("textbook", "2.50", "250 ms", "20 us", "NO", "slow", "CPU, 1 thr."):
        assert shown in text and shown in page
    assert page.count("## ") == 2 and "| cpu | some |" in page
    write_json(tmp_path / "r.json", ROWS, {"cpu": "some"})
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["machine"] == {"cpu": "some"}
    assert report["rows"][1]["ratio"] == 2.5


def test_units():
    values = [format_seconds(s) for s in (12.345, 0.5, 2e-3, 3e-6, 4e-9)]
    assert values == ["12.3 s", "500 ms", "2 ms", "3 us", "4 ns"]
