"""How fast the package is beside what people would write or use in its place.

    python benchmarks/speed.py                       all but the slowest, half an hour
    python benchmarks/speed.py --quick train map     two sections, small sizes, 3 rounds
    python benchmarks/speed.py --guard               exit code 1 if a ratio has dropped

Every figure is a ratio: the contenders take turns in one process, and the median of at
least five rounds counts. "1 thread" rows give CPU time, the others wall time with the
numbers of threads that the libraries choose.
"""

# SPDX-License-Identifier: BSD-3-Clause

import argparse
import contextlib
import io
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from functools import partial
from itertools import product
from pathlib import Path

import joblib
import launches
import numpy as np
import retrieval
import search as search_peers
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
from loops import aadah, acmr, cmgan, drcl, floor, rankings, skorch_default, ssah
from loops.common import make_data
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, ParameterGrid, StratifiedKFold
from skorch.callbacks import Callback

from sklearn_cmr import (
    AADAHHasher,
    ACMRProjector,
    CMGANProjector,
    DRCLProjector,
    SSAHHasher,
    make_pairs,
)
from sklearn_cmr.metrics import map_scorer, mean_average_precision

ROUNDS, QUICK_ROUNDS = 5, 3
DEFAULT = None  # as many threads as the libraries choose

# -- 1. training -------------------------------------------------------------------

SIZES = {
    "2,173 x (128 + 10)": partial(make_data, 2173, 128, 10),
    "2,173 x (4,096 + 300)": partial(make_data, 2173, 4096, 300),
    "10,000 x (4,096 + 1,386)": partial(
        make_data, 10_000, 4096, 1386, 24, multilabel=True
    ),
}
SMALL, WIDE, LARGE = SIZES

PUBLISHED_DRCL = {
    "embedding_dim": 2048,
    "hidden_layer_sizes": (4096, 4096),
    "batch_size": 1024,
    **drcl.SETTINGS,
}
# A method: its loops and its estimator. To add one, write a module of loops, see
# loops/__init__.py, and name it here.
METHODS = {
    "ACMR": (acmr, ACMRProjector()),
    "CM-GANs": (cmgan, CMGANProjector(**cmgan.SETTINGS)),
    "DRCL": (
        drcl,
        DRCLProjector(
            embedding_dim=256, hidden_layer_sizes=(512, 512), **drcl.SETTINGS
        ),
    ),
    "DRCL, published": (drcl, DRCLProjector(**PUBLISHED_DRCL)),
    "SSAH": (ssah, SSAHHasher(**ssah.SETTINGS)),
    "AADAH": (aadah, AADAHHasher()),
}
# What is asked for where matrix products do not dominate, and where they do.
_OVERHEAD = {"textbook": 2.0, "bare": 1 / 1.10, "skorch": 1.5}
_PRODUCTS = {"textbook": 1.0, "bare": 1 / 1.10}
_SKORCH = {"skorch": 1.5}
# Which runs there are: method, size, epochs in a run, threads, and what is asked for.
RUNS = [
    ("ACMR", SMALL, 10, 1, _OVERHEAD | {"textbook": 2.3}),
    ("ACMR", SMALL, 10, DEFAULT, {"textbook": 5.0}),
    ("ACMR", WIDE, 3, 1, _OVERHEAD | {"textbook": 2.8, "bare": 1 / 1.05}),
    ("ACMR", WIDE, 3, DEFAULT, {"textbook": 6.0}),
    ("ACMR", LARGE, 1, 1, _PRODUCTS),
    ("CM-GANs", SMALL, 2, 1, _OVERHEAD),
    ("CM-GANs", SMALL, 2, DEFAULT, {"textbook": 2.0}),
    ("CM-GANs", WIDE, 1, 1, _PRODUCTS),
    ("CM-GANs", LARGE, 1, 1, _PRODUCTS),
    ("DRCL", SMALL, 5, 1, _PRODUCTS | _SKORCH),
    ("DRCL", SMALL, 5, DEFAULT, {"textbook": 1.0}),
    ("DRCL", WIDE, 1, 1, _PRODUCTS),
    ("DRCL", LARGE, 1, 1, _PRODUCTS),
    ("DRCL, published", SMALL, 1, DEFAULT, {"textbook": 2.0, "bare": 1 / 1.10}),
    ("SSAH", SMALL, 5, 1, _OVERHEAD),
    ("SSAH", SMALL, 5, DEFAULT, {"textbook": 2.0}),
    ("SSAH", WIDE, 1, 1, _PRODUCTS),
    ("SSAH", LARGE, 1, 1, _PRODUCTS),
    ("AADAH", SMALL, 2, 1, _OVERHEAD),
    ("AADAH", SMALL, 2, DEFAULT, {"textbook": 2.0}),
    ("AADAH", WIDE, 1, 1, _PRODUCTS),
    ("AADAH", LARGE, 1, 1, _PRODUCTS),
]
# Minutes each, of networks whose products and passes of Adam leave little to gain.
SLOW_RUNS = {(name, LARGE) for name in METHODS if name != "ACMR"}


def fit(estimator, data):
    """Train with history and progress bar on; its text goes nowhere."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = clone(estimator).set_params(verbose=1)
        return model.fit(data.features["image"], data.features["text"], data.y)


def with_epochs(estimator, epochs):
    """Return a copy of an estimator that passes as often through all its phases."""
    lengths = {"max_epochs", "max_epochs_label"} & set(estimator.get_params())
    return clone(estimator).set_params(random_state=0, **dict.fromkeys(lengths, epochs))


def is_wanted(name, size, threads, options):
    """Tell whether a run is one of those that the command line asks for."""
    if options.quick and (size != SMALL or threads != 1):
        return False
    if options.one_thread and threads != 1:
        return False
    if options.methods and name not in options.methods:
        return False
    return options.full or (name, size) not in SLOW_RUNS


def train(options):
    """Training: an epoch, what `fit` does before it included."""
    made = {}
    for name, size, epochs, threads, targets in RUNS:
        if not is_wanted(name, size, threads, options):
            continue
        if options.quick:
            epochs = max(1, epochs // 3)
        if size not in made:
            made = {size: SIZES[size]()}  # one at a time: the largest has 220 MB
        data = made[size]
        loops, estimator = METHODS[name]
        estimator = with_epochs(estimator, epochs).set_params(device=options.device)
        arguments = (estimator, data, epochs)
        contenders = {
            "sklearn_cmr": partial(fit, estimator, data),
            "textbook": partial(loops.textbook, *arguments),
            "bare": partial(loops.bare, *arguments),
        }
        if "skorch" in targets and not options.quick:
            contenders["skorch"] = partial(skorch_default.train, *arguments)
            contenders["floor"], _ = floor.record(contenders["bare"])
        if options.device != "cpu":
            del contenders["textbook"]  # it knows the CPU alone
        rows = compare(
            "Training, an epoch",
            f"{name}, {size}",
            contenders,
            rounds=options.rounds,
            threads=threads,
            clock=None if options.device == "cpu" else "wall",
            targets=targets,
            per=epochs,
        )
        n_steps = -(-data.n_samples // estimator.batch_size)
        rows[0].note = f"{n_steps} batches of {estimator.batch_size}"
        yield from rows


def steps(options):
    """Steps: what a batch launches, kernels or operators; how long a GPU idles."""
    data = SIZES[SMALL]()
    on_gpu = torch.device(options.device).type == "cuda"
    for name, (_, estimator) in METHODS.items():
        if options.methods and name not in options.methods:
            continue
        estimator = clone(estimator).set_params(device=options.device)

        def make_run(epochs, estimator=estimator):
            return partial(fit, with_epochs(estimator, epochs), data)

        n_batches = -(-data.n_samples // estimator.batch_size)
        with limited_threads(1):
            n_launches, idle = launches.per_step(make_run, n_batches, options.device)
        note = f"{n_launches:,.0f} {'kernels' if on_gpu else 'operators'} a batch"
        if on_gpu:
            note += f"; the GPU idles for {idle:.0%} of the time"
        yield Row(
            "What a batch launches", f"{name}, {SMALL}", "sklearn_cmr", None, note=note
        )
    if on_gpu:
        yield from largest_batches(options)
    else:
        print("left out: idle share and largest batch (need a GPU)", flush=True)


def largest_batches(options):
    """Train on ever larger batches, as far as the memory goes."""
    for name in ("ACMR", "DRCL", "SSAH", "AADAH"):

        def fits(batch_size, estimator=METHODS[name][1]):
            data = make_data(batch_size, 128, 10)
            params = {"batch_size": batch_size, "device": options.device}
            fit(with_epochs(clone(estimator).set_params(**params), 1), data)

        found = launches.largest_batch(fits, 2**10, 2**18)
        yield Row(
            "What a batch launches", name, f"largest batch: {found:,} pairs", None
        )


class EpochClock(Callback):
    """Note the times at the beginning of every epoch: wall, thread, process."""

    phases: list = []  # of the class: fits work on copies

    def on_train_begin(self, net, **kwargs):
        self.phases.append([])

    def on_epoch_begin(self, net, **kwargs):
        now = time.perf_counter(), time.thread_time(), time.process_time()
        self.phases[-1].append(now)


def checkpoints(options):
    """Checkpoints: an epoch with one, compared with an epoch without."""
    epochs = 4
    size = SMALL if options.quick else WIDE
    data = SIZES[size]()
    for name, (_, estimator) in METHODS.items():
        if options.methods and name not in options.methods:
            continue
        if name == "DRCL, published" and not options.full:
            continue
        estimator = with_epochs(estimator, epochs).set_params(device=options.device)
        times = {False: [], True: []}
        for _, is_stored in product(range(options.rounds), times):
            EpochClock.phases.clear()
            with tempfile.TemporaryDirectory() as folder, limited_threads(1):
                estimator.set_params(
                    callbacks=[EpochClock()], checkpoint=folder if is_stored else None
                )
                fit(estimator, data)
                sizes = [path.stat().st_size for path in Path(folder).iterdir()]
                n_bytes = max(sizes, default=0)
            # The first epoch of a phase also provides the memory.
            lengths = [np.diff(phase[1:], axis=0) for phase in EpochClock.phases]
            times[is_stored].append(np.concatenate(lengths))
        without, stored = (np.median(np.concatenate(own), 0) for own in times.values())
        wall, thread, process = stored / without - 1
        yield Row(
            "Checkpoints, an epoch",
            f"{name}, {size}",
            "without checkpoint",
            without[0],
            without[0] / stored[0],
            None if options.quick else 1 / 1.02,
            clock="wall",
            note=f"{n_bytes / 1e6:,.1f} MB; wall {wall:+.1%}, CPU of the training "
            f"thread {thread:+.1%}, with that of the writing one {process:+.1%}",
        )


# -- 2. mean average precision -----------------------------------------------------

RANKINGS = {
    "693 x 693": (693, 693, 10, False),
    "2,000 x 18,000": (2000, 18_000, 24, True),
    "2,100 x 193,734": (2100, 193_734, 21, True),
}
# Queries that those who take them one by one get; the rest is extrapolated.
_SAMPLED = 100


def ranking_task(n_queries, n_items, n_labels, multilabel, kind):
    """Return queries, gallery and their labels, by direction."""
    rng = np.random.default_rng(0)

    def points(n):
        if kind == "cosine":
            return rng.standard_normal((n, 64), dtype=np.float32)
        return rng.choice(np.array([-1, 1], dtype=np.int8), (n, 64))

    def labels(n):
        if not multilabel:
            return rng.integers(n_labels, size=n)
        return (rng.random((n, n_labels)) < 2 / n_labels).astype(np.int8)

    y_query, y_gallery = labels(n_queries), labels(n_items)
    if multilabel:
        y_query[:, 0] |= ~y_query.any(axis=1)
    return [
        (points(n_queries), points(n_items), y_query, y_gallery)
        for _ in ("image to text", "text to image")
    ]


def rank(function, directions, n_queries=None):
    """Evaluate both directions, or their first queries."""
    for query, gallery, y_query, y_gallery in directions:
        function(query[:n_queries], gallery, y_query[:n_queries], y_gallery)


def map_(options):
    """Mean average precision over the whole ranking, both directions."""
    seconds, all_metrics = {}, []
    for (size, shape), kind in product(RANKINGS.items(), ("cosine", "hamming")):
        if options.quick and size != "693 x 693":
            continue
        directions = ranking_task(*shape, kind)
        prepared = [rankings.prepare(*sets, kind) for sets in directions]
        others = rankings.COSINE if kind == "cosine" else rankings.HAMMING
        targets = {}
        if size == "2,000 x 18,000":
            targets = rankings.TARGETS[kind]
        largest = size == "2,100 x 193,734"
        contenders = {"sklearn_cmr": partial(rank, mean_average_precision, directions)}
        shares = {"sklearn_cmr": 1.0}
        for name, (function, one_by_one) in others.items():
            if largest and name not in rankings.ON_LARGEST:
                continue
            if one_by_one:
                shares[name] = min(1.0, _SAMPLED / shape[0])
                contenders[name] = partial(rank, function, prepared, _SAMPLED)
            else:
                shares[name] = 1.0
                contenders[name] = partial(rank, function, directions)
        rows = compare_scaled(size, kind, contenders, shares, targets, options)
        seconds[size, kind] = rows[0].seconds
        peak = peak_memory(contenders["sklearn_cmr"])
        if peak is not None:
            rows[0].note = f"peak memory {peak:,.0f} MiB"
        yield from rows
        if largest:
            yield growth_row(seconds, kind, peak)
        elif options.quick or size == "2,000 x 18,000":
            all_metrics += retrieval.metrics(kind, size, directions, options)
    yield from all_metrics
    for name, reason in rankings.MISSING.items():
        print(f"left out: {name} ({reason})", flush=True)


def compare_scaled(size, kind, contenders, shares, targets, options):
    """Compare, where some contenders have done only a share of the queries."""
    task = f"{kind}, {size}"
    rows = compare(
        "mAP of the whole ranking",
        task,
        contenders,
        rounds=options.rounds,
        targets=targets,
    )
    for row in rows:
        share = shares[row.contender]
        if share < 1:
            row.seconds /= share
            row.ratio /= share
            row.note = f"from {_SAMPLED} queries"
    return rows


def growth_row(seconds, kind, peak):
    """Tell how the largest size compares with the one before it, by pairs."""
    small, large = "2,000 x 18,000", "2,100 x 193,734"
    n_small, n_large = (
        RANKINGS[size][0] * RANKINGS[size][1] for size in (small, large)
    )
    a_pair = seconds[small, kind] / n_small, seconds[large, kind] / n_large
    return Row(
        "mAP of the whole ranking",
        f"{kind}, {large}",
        "a pair of the size before",
        a_pair[0],
        a_pair[0] / a_pair[1],
        0.8,
        note="linear in the pairs at 1",
    )


# -- 3. search ---------------------------------------------------------------------


def search(options):
    """Search of the ten nearest of a million items, beside faiss where there is one."""
    searches = {
        "64-bit codes": (search_peers.random_codes, search_peers.code_contenders),
        "64 numbers": (search_peers.random_rows, search_peers.row_contenders),
    }
    n_items = 100_000 if options.quick else search_peers.N_ITEMS
    n_queries = 100
    for kind, (make, contenders_of) in searches.items():
        gallery, query = (
            make(n, np.random.default_rng(n)) for n in (n_items, n_queries)
        )
        contenders = contenders_of(gallery, query)
        search_peers.check_same(contenders, gallery, query)
        runs = {name: partial(*one) for name, one in contenders.items()}
        task = f"{kind}, {n_queries} of {n_items:,}"
        yield from compare(
            "Search, a query",
            task,
            runs,
            rounds=options.rounds,
            per=n_queries,
        )
    yield from retrieval.searches(options)
    yield from retrieval.balls(options)
    yield from retrieval.approximate(options)


# -- 4. grid search ----------------------------------------------------------------

GRID = {"margin": [4.0, 6.0, 8.0], "lr": [2e-4, 3e-4, 5e-4]}
# Of a fit in the search.
_GRID_EPOCHS, _QUICK_GRID_EPOCHS = 5, 1


def grid(options):
    """Grid search: 9 candidates, 3 folds."""
    epochs = _QUICK_GRID_EPOCHS if options.quick else _GRID_EPOCHS
    data = SIZES[SMALL]()
    X = make_pairs(data.features["image"], data.features["text"])
    folds = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X, data.y))
    estimator = ACMRProjector(max_epochs=epochs, random_state=0)

    def ours(n_jobs=None):
        GridSearchCV(
            estimator, GRID, scoring=map_scorer, cv=folds, refit=False, n_jobs=n_jobs
        ).fit(X, data.y)

    def textbook():
        for params, (rows, _) in product(ParameterGrid(GRID), folds):
            part = data._replace(
                features={name: F[rows] for name, F in data.features.items()},
                y=data.y[rows],
                indicator=data.indicator[rows],
            )
            acmr.textbook(clone(estimator).set_params(**params), part, epochs)

    task = f"27 fits of ACMR, {SMALL}, {epochs} epochs"
    contenders = {"GridSearchCV": ours, "27 textbook fits": textbook}
    targets = {"27 textbook fits": 2.0}
    race_them = partial(compare, "Grid search", task, rounds=options.rounds)
    rows = race_them(contenders, targets=targets)
    rows[0].note = "scores the held-out folds, too"
    yield from rows
    if options.one_thread:
        return
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        both = {"GridSearchCV, n_jobs=2": partial(ours, 2), "sequential": ours}
        targets = {"sequential": 1.8}
        yield from race_them(both, threads=DEFAULT, targets=targets)


# -- 5. encoding -------------------------------------------------------------------


def encode(options):
    """Encoding: rows a second of `transform_image`."""
    data = SIZES[SMALL]()
    estimator = ACMRProjector(max_epochs=1, random_state=0, device=options.device)
    model = fit(estimator, data)
    module = model.encoder_("image")
    n_stored = 100_000 if options.quick else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        stored = np.lib.format.open_memmap(
            Path(folder, "rows.npy"), "w+", np.float32, (n_stored, 128)
        )
        for start in range(0, n_stored, data.n_samples):
            block = stored[start : start + data.n_samples]
            block[:] = data.features["image"][: len(block)]
        inputs = {
            1: data.features["image"][:1],
            1000: data.features["image"][:1000],
            n_stored: stored,
        }
        for n_rows, X in inputs.items():
            repeats = max(1, 2000 // n_rows)

            def ours(X=X, repeats=repeats):
                for _ in range(repeats):
                    model.transform_image(X)

            def bare(X=X, repeats=repeats):
                with torch.inference_mode():
                    for _ in range(repeats):
                        module(torch.from_numpy(X).to(options.device)).cpu().numpy()

            contenders = {"transform_image": ours}
            if n_rows < n_stored:
                contenders["network, one call"] = bare
            task = f"{n_rows:,} rows of 128 features"
            rows = compare(
                "Encoding", task, contenders, rounds=options.rounds, per=repeats
            )
            for row in rows:
                row.note = f"{n_rows / row.seconds:,.0f} rows/s"
            if X is stored:
                peak = peak_memory(ours)
                if peak is not None:
                    result = n_rows * 64 * 4 / 2**20
                    rows[0].note += (
                        f"; peak memory {peak:,.0f} MiB, the result {result:,.0f} and "
                        f"pages of the file {stored.nbytes / 2**20:,.0f} included"
                    )
            yield from rows


# -- 6. growth ---------------------------------------------------------------------


def growth(options):
    """Growth of time and memory, as the slope of the logarithms."""
    if options.quick:
        print("left out: growth (slopes need large sizes)", flush=True)
        return
    for task, values, make_run, expected in growth_tasks():
        runs = {str(value): make_run(value) for value in values}
        times, clock, threads = race(runs, rounds=options.rounds)
        seconds = [statistics.median(times[name]) for name in runs]
        peaks = [peak_memory(run) for run in runs.values()]
        logs = np.log(values)
        slope = np.polyfit(logs, np.log(seconds), 1)[0]
        note = f"time grows with power {slope:.2f}"
        if None not in peaks and min(peaks) > 0:
            memory = np.polyfit(logs, np.log(peaks), 1)[0]
            note += f", memory with {memory:.2f} ({max(peaks):,.0f} MiB at most)"
        listed = ", ".join(
            f"{value:,}: {format_seconds(time)}"
            for value, time in zip(values, seconds, strict=True)
        )
        yield Row(
            "Growth",
            task,
            listed,
            seconds[-1],
            clock=clock,
            threads=threads,
            note=f"{note}; {expected}",
        )


def growth_tasks():
    """Yield what grows, its values, a function from value to run, and the reason."""

    def epoch(n_samples=2000, n_features=128, batch_size=64):
        data = make_data(n_samples, n_features, 32)
        estimator = ACMRProjector(max_epochs=2, batch_size=batch_size, random_state=0)
        return partial(fit, estimator, data)

    def ranking(n_items=10_000, n_bits=64, kind="hamming"):
        rng = np.random.default_rng(0)
        query, gallery = (
            rng.choice(np.array([-1, 1], dtype=np.int8), (n, n_bits))
            if kind == "hamming"
            else rng.standard_normal((n, n_bits), dtype=np.float32)
            for n in (500, n_items)
        )
        labels = rng.integers(10, size=500), rng.integers(10, size=n_items)
        return partial(mean_average_precision, query, gallery, *labels)

    yield (
        "ACMR, 2 epochs, by rows",
        [1000, 2000, 4000, 8000, 16_000],
        lambda n: epoch(n_samples=n),
        "1 expected: so many more batches",
    )
    yield (
        "ACMR, 2 epochs, by image features",
        [128, 512, 2048, 8192],
        lambda d: epoch(n_features=d),
        "below 1 expected: the first layer alone grows",
    )
    yield (
        "ACMR, 2 epochs, by batch size",
        [16, 64, 256, 1024],
        lambda b: epoch(batch_size=b),
        "between -1 (the cost of a step) and 0 (that of the products)",
    )
    yield (
        "Hamming mAP, by bits",
        [16, 32, 64, 128, 256],
        lambda bits: ranking(n_bits=bits),
        "well below 1 expected: counting, not the distance, takes the time",
    )
    yield (
        "Hamming mAP, by gallery",
        [2500, 5000, 10_000, 20_000, 40_000],
        lambda n: ranking(n_items=n),
        "1 expected: every pair is counted once",
    )
    yield (
        "cosine mAP, by gallery",
        [2500, 5000, 10_000, 20_000, 40_000],
        lambda n: ranking(n_items=n, kind="cosine"),
        "a little above 1 expected: the gallery is sorted",
    )


# -- 7. import ---------------------------------------------------------------------

_IMPORTS = """
import time
import torch, sklearn
start = time.process_time()
from sklearn_cmr import *  # a plain import leaves the methods for later
print(time.process_time() - start)
"""
_IMPORT_TARGET = 0.15


def import_(options):
    """Import: time over that of torch and scikit-learn."""
    command = [sys.executable, "-c", _IMPORTS]
    seconds = [
        float(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout
        )
        for _ in range(ROUNDS + 1)
    ][1:]
    median = statistics.median(seconds)
    yield Row(
        "Import",
        "from sklearn_cmr import * after torch and sklearn",
        f"allowed: {_IMPORT_TARGET} s",
        median,
        _IMPORT_TARGET / median,
        1.0,
        note="ratio: the time that is allowed over ours",
    )


# -- command line ------------------------------------------------------------------

SECTIONS = {
    "train": train,
    "steps": steps,
    "checkpoints": checkpoints,
    "map": map_,
    "search": search,
    "grid": grid,
    "encode": encode,
    "growth": growth,
    "import": import_,
}


def parse_arguments():
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes only")
    parser.add_argument("--full", action="store_true", help="the slowest runs, too")
    parser.add_argument("--methods", nargs="*", help=f"of {', '.join(METHODS)}")
    parser.add_argument(
        "--one-thread",
        action="store_true",
        help="CPU time on one thread only, for a machine that others use, too",
    )
    parser.add_argument("--rounds", type=int, help=f"{ROUNDS}, or {QUICK_ROUNDS}")
    parser.add_argument("--device", default="cpu", help="for train, steps, encode")
    parser.add_argument("--json", metavar="FILE", help="write all figures")
    parser.add_argument("--markdown", metavar="FILE", help="write the page of results")
    parser.add_argument(
        "--guard",
        action="store_true",
        help="small sizes; exit code 1 if a ratio is far below its target",
    )
    options = parser.parse_args()
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    options.sections = options.sections or list(SECTIONS)
    options.quick |= options.guard
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    return options


def main():
    """Run the sections and write what is asked for."""
    options = parse_arguments()
    machine = describe_machine()
    for key, value in machine.items():
        print(f"{key:18} {value}")
    rows = []
    for name in options.sections:
        for row in SECTIONS[name](options):
            rows.append(row)
            ratio = "" if row.ratio is None else f"{row.ratio:6.2f} x"
            time = format_seconds(row.seconds)
            print(
                f"{name:7} {row.task:40} {row.contender:26} {time:>8} {ratio}  "
                f"{row.note}",
                flush=True,
            )
    print("\n" + format_table(rows))
    if options.json:
        write_json(options.json, rows, machine)
    if options.markdown:
        write_markdown(options.markdown, rows, machine)
    dropped = below_guard(rows) if options.guard else []
    for row in dropped:
        print(
            f"too slow: {row.task} against {row.contender}: {row.ratio:.2f} x, "
            f"{row.target:.2f} x is the target"
        )
    sys.exit(1 if dropped else 0)


if __name__ == "__main__":
    main()
