"""Timing of contenders in turns, and what becomes of the figures."""

# SPDX-License-Identifier: BSD-3-Clause

import ctypes
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

# A guarded ratio may fall to this share of its target before the guard complains.
GUARD_SHARE = 0.7
_PACKAGES = ["torch", "numpy", "scikit-learn", "skorch"]


@dataclass
class Row:
    """One line of the table.

    Attributes
    ----------
    section, task, contender : str

    seconds : float or None
        Median of the rounds.

    ratio : float or None
        Time of the contender over ours, the median of the ratios of the rounds; more
        is better for us.

    target : float or None
        What the ratio is to reach.

    clock : {"CPU", "wall"}

    threads : int

    note : str
        Further figures.
    """

    section: str
    task: str
    contender: str
    seconds: float | None
    ratio: float | None = None
    target: float | None = None
    clock: str = "CPU"
    threads: int = 1
    note: str = ""

    @property
    def verdict(self):
        """Tell whether the target is reached, for the table."""
        if self.target is None:
            return ""
        return "yes" if self.ratio >= self.target else "NO"


# -- timing ------------------------------------------------------------------------


@contextmanager
def limited_threads(n_threads):
    """Pin torch and the BLAS libraries to some threads; None leaves them alone."""
    before = torch.get_num_threads()
    limits = nullcontext() if n_threads is None else threadpool_limits(n_threads)
    with limits:
        torch.set_num_threads(n_threads or before)
        try:
            yield torch.get_num_threads()
        finally:
            torch.set_num_threads(before)


def race(contenders, *, rounds, threads=1, clock=None):
    """Run contenders in turns, as often as asked for, after a round to warm up.

    Parameters
    ----------
    contenders : dict of str to callable

    rounds : int

    threads : int or None
        None leaves the numbers of threads as they are.

    clock : {"CPU", "wall"}, default=None
        None takes CPU time on one thread, which other work on the machine changes less,
        and wall time otherwise. An accelerator needs wall time.

    Returns
    -------
    times : dict of str to list of float
        Seconds of every round.

    clock : {"CPU", "wall"}

    threads : int
    """
    names = list(contenders)
    times = {name: [] for name in names}
    clock = clock or ("CPU" if threads == 1 else "wall")
    read_clock = {"CPU": time.process_time, "wall": time.perf_counter}[clock]
    with limited_threads(threads) as n_threads:
        for turn in range(-1, rounds):
            # Nobody always runs in the wake of the same other one.
            shift = turn % len(names)
            for name in names[shift:] + names[:shift]:
                gc.collect()
                start = read_clock()
                contenders[name]()
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                if turn >= 0:
                    times[name].append(read_clock() - start)
    return times, clock, n_threads


def compare(section, task, contenders, *, targets=None, per=1, **options):
    """Race contenders, of whom the first is ours, and return their rows.

    `targets` gives the ratio that is asked for by contender, `per` what to divide the
    times by, such as the number of epochs in a run; see :func:`race` for `options`.
    """
    times, clock, n_threads = race(contenders, **options)
    ours = times[next(iter(contenders))]
    rows = []
    for name, seconds in times.items():
        ratios = [theirs / own for theirs, own in zip(seconds, ours, strict=True)]
        is_ours = seconds is ours
        rows.append(
            Row(
                section,
                task,
                name,
                statistics.median(seconds) / per,
                None if is_ours else statistics.median(ratios),
                None if is_ours else (targets or {}).get(name),
                clock,
                n_threads,
            )
        )
    return rows


def peak_memory(run):
    """Return by how many MiB a call raises the memory of the process; None if unknown.

    The kernel keeps the highest mark, so that no peak is missed.
    """
    marks = Path("/proc/self/clear_refs")
    if not marks.exists():
        return None
    gc.collect()
    # What was freed but not given back would hide what is needed now.
    ctypes.CDLL(None).malloc_trim(0)
    marks.write_text("5")
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) / 1024


def _status(field):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise ValueError(f"/proc/self/status has no {field}")


# -- output ------------------------------------------------------------------------


def describe_machine():
    """Return what the figures depend on beside the code."""
    return {
        "date": date.today().isoformat(),
        "commit": _commit(),
        "command": _command(sys.argv),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "default threads": torch.get_num_threads(),
        "load when started": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    } | {name: version(name) for name in _PACKAGES}


def _commit():
    command = ["git", "describe", "--always", "--dirty"]
    folder = Path(__file__).parent
    try:
        found = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def _command(arguments):
    """Return the command line without where its results go."""
    kept, outputs = [], {"--json", "--markdown"}
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if not {before, argument} & outputs:
            kept.append(argument)
    return " ".join(["python", *kept])


def _cpu_name():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor()


_HEADER = ["task", "contender", "time", "clock", "ratio", "target", "reached", "note"]


def _cells(row):
    return [
        row.task,
        row.contender,
        format_seconds(row.seconds),
        "" if row.seconds is None else f"{row.clock}, {row.threads} thr.",
        "" if row.ratio is None else f"{row.ratio:.2f}",
        "" if row.target is None else f"{row.target:.2f}",
        row.verdict,
        row.note,
    ]


def format_seconds(seconds):
    """Write a time with a unit that suits it; nothing for None."""
    if seconds is None:
        return ""
    for unit, scale in (("s", 1), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def format_table(rows):
    """Lay rows out as plain text, section by section."""
    cells = [_HEADER, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(texts):
        padded = (text.ljust(width) for text, width in zip(texts, widths, strict=True))
        return "  ".join(padded).rstrip()

    lines, section = [], None
    for row, texts in zip(rows, cells[1:], strict=True):
        if row.section != section:
            section = row.section
            lines += ["", section, line(_HEADER), line(["-" * w for w in widths])]
        lines.append(line(texts))
    return "\n".join(lines[1:])


_EXPLANATION = """\
`ratio` is the time of the contender over that of the package, measured in the same run
on the same machine: the contenders take turns, and the median of the rounds' ratios
counts. More is better; `target` is what it is to reach. On one thread CPU time is
measured, otherwise wall time.
"""


def write_markdown(path, rows, machine):
    """Write the page of results."""
    lines = ["# Speed", "", _EXPLANATION, "| | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in machine.items()]
    section = None
    for row in rows:
        if row.section != section:
            section = row.section
            lines += ["", f"## {section}", ""]
            lines += [f"| {' | '.join(_HEADER)} |", "|---" * len(_HEADER) + "|"]
        lines.append(f"| {' | '.join(_cells(row))} |")
    Path(path).write_text("\n".join(lines) + "\n")


def write_json(path, rows, machine):
    """Write all figures for other programs."""
    report = {"machine": machine, "rows": [asdict(row) for row in rows]}
    Path(path).write_text(json.dumps(report, indent=1) + "\n")


def below_guard(rows):
    """Return the rows whose ratio is far below its target."""
    return [
        row
        for row in rows
        if row.target is not None and row.ratio < GUARD_SHARE * row.target
    ]
