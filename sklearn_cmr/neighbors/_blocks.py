"""Blocks of queries, in threads where there are enough of them."""

# SPDX-License-Identifier: BSD-3-Clause

from concurrent.futures import ThreadPoolExecutor

from sklearn.utils import gen_batches
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads
from sklearn.utils.parallel import _get_threadpool_controller

# Pairs per thread: with fewer, starting a thread costs more than it saves.
_PAIRS_PER_THREAD = 2**22


def map_blocks(function, n_queries, n_items, width):
    """Apply a function to blocks of queries, in threads if there are enough.

    Parameters
    ----------
    function : callable
        Takes a slice of the queries.

    n_queries, n_items : int

    width : int
        Largest number of queries of a block.

    Returns
    -------
    results : list
        In the order of the queries.
    """
    n_threads = 1 + n_queries * n_items // _PAIRS_PER_THREAD
    n_threads = min(n_threads, n_queries, _openmp_effective_n_threads())
    width = min(width, -(-n_queries // n_threads))
    blocks = list(gen_batches(n_queries, width))
    if n_threads == 1:
        return list(map(function, blocks))
    # numpy releases the interpreter lock while it computes. Matrix products inside of
    # the threads must not start threads of their own.
    controller = _get_threadpool_controller()
    with (
        controller.limit(limits=1, user_api="blas"),
        ThreadPoolExecutor(n_threads) as pool,
    ):
        return list(pool.map(function, blocks))
