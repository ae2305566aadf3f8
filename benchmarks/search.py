"""Speed of the top-k search beside faiss, scikit-learn and torch, on the CPU.

Every contender finds the ten nearest of 1,000,000 items: codes of 64 bits by the
Hamming distance, and 64 numbers of float32 by the Euclidean one. The contenders take
turns, the figure is the median of their times, and it is checked that all of them find
the same. Contenders that need faiss are left out where it is not installed.

    python benchmarks/search.py [--queries 100] [--threads 1] [--repeats 5]
                                [--items 1000000] [--seconds cpu] [--approximate]

With `--queries 1` the figure is the latency of one query. `--seconds cpu` measures the
time of the processor, for a machine that others use, too. `--approximate` compares the
approximate algorithms with the exact one, by their time, that of building their index,
and their recall: the share of the ten exact neighbors that they find, where an item as
near as the tenth one counts as found.
"""

# SPDX-License-Identifier: BSD-3-Clause

import argparse
import time

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from sklearn_cmr import CrossModalNeighbors

try:
    import faiss
except ImportError:
    faiss = None

N_ITEMS = 1_000_000
WIDTH = 64
K = 10
# Queries whose scores torch holds at once.
BLOCK = 32


def random_codes(n_items, rng):
    """Return packed codes of evenly spread bits."""
    return rng.integers(256, size=(n_items, WIDTH // 8), dtype=np.uint8)


def clustered_codes(n_items, rng):
    """Return packed codes as trained hashers give them: many items share a code."""
    centers = np.random.default_rng(0).integers(2, size=(20, WIDTH), dtype=bool)
    flipped = rng.random((n_items, WIDTH), dtype=np.float32) < 0.01
    return np.packbits(centers[rng.integers(20, size=n_items)] ^ flipped, axis=1)


def clustered_rows(n_items, rng):
    """Return numbers around 20 centers."""
    centers = np.random.default_rng(0).standard_normal((20, WIDTH), dtype=np.float32)
    noise = rng.standard_normal((n_items, WIDTH), dtype=np.float32)
    return centers[rng.integers(20, size=n_items)] + noise / 2


def random_rows(n_items, rng, width=WIDTH):
    """Return normally distributed numbers."""
    return rng.standard_normal((n_items, width), dtype=np.float32)


def own_search(gallery, metric, algorithm):
    """Return a search by CrossModalNeighbors."""
    model = CrossModalNeighbors(n_neighbors=K, metric=metric, algorithm=algorithm)
    return model.fit(gallery).kneighbors


def faiss_search(gallery, index):
    """Return a search by a flat index of faiss."""
    index.add(gallery)
    return lambda query: index.search(query, K)


def sklearn_search(gallery):
    """Return a search by scikit-learn's brute force."""
    model = NearestNeighbors(n_neighbors=K, algorithm="brute").fit(gallery)
    return model.kneighbors


def torch_search(gallery):
    """Return a search by a matrix product and topk."""
    gallery = torch.from_numpy(gallery)
    offset = -(gallery**2).sum(dim=1) / 2

    def search(query):
        blocks = [
            torch.addmm(offset, block, gallery.T).topk(K)
            for block in torch.from_numpy(query).split(BLOCK)
        ]
        return [torch.cat(parts).numpy() for parts in zip(*blocks, strict=True)]

    return search


def signs(packed):
    """Unpack codes to -1 and +1 of float32."""
    return np.where(np.unpackbits(packed, axis=1), 1, -1).astype(np.float32)


def code_contenders(gallery, query):
    """Return the searches of packed codes, each with the queries that it takes."""
    contenders = {
        "CrossModalNeighbors, brute": (own_search(gallery, "hamming", "brute"), query)
    }
    if faiss is not None:
        search = own_search(gallery, "hamming", "faiss")
        contenders["CrossModalNeighbors, faiss"] = search, query
        search = faiss_search(gallery, faiss.IndexBinaryFlat(WIDTH))
        contenders["faiss.IndexBinaryFlat"] = search, query
    gallery, query = signs(gallery), signs(query)
    contenders["scikit-learn, Euclidean of -1/+1"] = sklearn_search(gallery), query
    contenders["torch, product of -1/+1 and topk"] = torch_search(gallery), query
    return contenders


def row_contenders(gallery, query):
    """Return the searches of real-valued rows, each with the queries that it takes."""
    searches = {"CrossModalNeighbors, brute": own_search(gallery, "euclidean", "brute")}
    if faiss is not None:
        search = own_search(gallery, "euclidean", "faiss")
        searches["CrossModalNeighbors, faiss"] = search
        search = faiss_search(gallery, faiss.IndexFlatL2(WIDTH))
        searches["faiss.IndexFlatL2"] = search
    searches["scikit-learn, Euclidean"] = sklearn_search(gallery)
    searches["torch, product and topk"] = torch_search(gallery)
    return {name: (search, query) for name, search in searches.items()}


def distances_of(rows, gallery, query):
    """Return the distances of the found rows, taken anew and one by one."""
    if gallery.dtype == np.uint8:
        return np.bitwise_count(gallery[rows] ^ query[:, None]).sum(axis=2)
    found = gallery[rows].astype(np.float64) - query[:, None]
    return np.sqrt((found**2).sum(axis=2))


def check_same(contenders, gallery, query):
    """Raise unless all find items at the same distances, and ours the same rows."""
    rows = {name: search(given)[1] for name, (search, given) in contenders.items()}
    distances = {name: distances_of(rows[name], gallery, query) for name in rows}
    first, *others = rows
    for name in others:
        np.testing.assert_allclose(
            distances[name], distances[first], rtol=1e-6, err_msg=name
        )
        if name.startswith("CrossModalNeighbors"):
            np.testing.assert_array_equal(rows[name], rows[first], err_msg=name)


def measure(contenders, repeats, clock):
    """Return the median seconds of each contender; they take turns."""
    seconds = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, (search, query) in contenders.items():
            start = clock()
            search(query)
            seconds[name].append(clock() - start)
    return {name: float(np.median(times)) for name, times in seconds.items()}


def run(title, make, contenders_of, arguments):
    """Print the table of one kind of data."""
    n_queries = arguments.queries
    gallery = make(arguments.items, np.random.default_rng(1))
    query = make(n_queries, np.random.default_rng(2))
    contenders = contenders_of(gallery, query)
    check_same(contenders, gallery, query)
    medians = measure(contenders, arguments.repeats, CLOCKS[arguments.seconds])
    own = medians["CrossModalNeighbors, brute"]
    print(f"\n{title}; all find the same")
    for name, median in medians.items():
        per_query = 1000 * median / n_queries
        print(f"  {name:34} {per_query:8.3f} ms a query   {median / own:6.2f}")


def recall(distances, exact):
    """Return the share of the exact neighbors that were found."""
    limit = exact[:, -1:] * (1 + 1e-9)
    return float((distances <= limit).mean())


def run_approximate(title, make, metric, arguments):
    """Print times and recall of the approximate algorithms on one kind of data."""
    gallery = make(arguments.items, np.random.default_rng(1))
    query = make(arguments.queries, np.random.default_rng(2))
    clock = CLOCKS[arguments.seconds]
    searches, built = {}, {}
    for algorithm, params in APPROXIMATE:
        name = f"{algorithm} {params or ''}".strip()
        start = clock()
        model = CrossModalNeighbors(
            n_neighbors=K, metric=metric, algorithm=algorithm, algorithm_params=params
        )
        searches[name] = model.fit(gallery).kneighbors, query
        built[name] = clock() - start
    medians = measure(searches, arguments.repeats, clock)
    exact = searches["brute"][0](query)[0]
    print(f"\n{title}")
    for name, median in medians.items():
        found = recall(searches[name][0](query)[0], exact)
        print(
            f"  {name:34} {1000 * median / arguments.queries:8.3f} ms a query   "
            f"recall {found:.3f}   built in {built[name]:6.1f} s"
        )


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
APPROXIMATE: list[tuple[str, dict | None]] = [
    ("brute", None),
    ("hnsw", None),
    ("hnsw", {"ef_search": 512}),
    ("ivf", None),
    ("ivf", {"n_probes": 4}),
]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--items", type=int, default=N_ITEMS)
    parser.add_argument("--seconds", choices=CLOCKS, default="wall")
    parser.add_argument("--approximate", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with threadpool_limits(arguments.threads):
        print(
            f"{arguments.items:,} items, {arguments.queries} queries, {K} neighbours, "
            f"{arguments.threads} thread(s), median of {arguments.repeats}, "
            f"{arguments.seconds} time; a last column without a name is the time "
            "relative to the first row's"
        )
        if arguments.approximate:
            for title, make, metric in [
                ("64-bit codes, random", random_codes, "hamming"),
                ("64-bit codes, clustered", clustered_codes, "hamming"),
                ("64 numbers of float32, random", random_rows, "euclidean"),
                ("64 numbers of float32, clustered", clustered_rows, "euclidean"),
            ]:
                run_approximate(title, make, metric, arguments)
            parser.exit()
        for title, make, contenders_of in [
            ("64-bit codes, random", random_codes, code_contenders),
            ("64-bit codes, clustered", clustered_codes, code_contenders),
            ("64 numbers of float32", random_rows, row_contenders),
        ]:
            run(title, make, contenders_of, arguments)
