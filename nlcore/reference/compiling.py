"""How nlcore's kernels are compiled, and how their work is shared between threads.

A kernel works on the range [start, stop) of its rows and writes each row alone, in a fixed order,
so that its bits depend on neither the number of threads nor on how the rows are divided.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numba

#: Without fastmath: a reference reorders no sum. Without the lock, so that threads run at once.
compiled = numba.njit(cache=True, nogil=True)
#: For small functions of scalars, which take part in a caller's vectorisation.
inlined = numba.njit(inline="always")

#: One for each processor, or as NUMBA_NUM_THREADS says.
THREADS: int = vars(numba.config)["NUMBA_NUM_THREADS"]
#: Multiply-adds that the calling thread does by itself: handing fewer over takes longer.
SMALL = 2**18
#: Parts of the rows for each thread: the last ones even out what a busy machine delays.
PARTS = 4


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="nlcore")


if hasattr(os, "register_at_fork"):  # a forked child has none of its parent's threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def run(kernel: Callable[..., None], rows: int, work: int, *arguments: Any) -> None:
    """Call ``kernel(start, stop, *arguments)`` until all rows are done.

    Parameters
    ----------
    kernel
        Compiled by `compiled`; it writes into its arguments.
    rows : int
        How many there are.
    work : int
        Multiply-adds of all of them.
    """
    if THREADS == 1 or rows < 2 or work < SMALL:
        kernel(0, rows, *arguments)
        return
    step = -(-rows // (PARTS * THREADS))
    starts = range(0, rows, step)
    done = [_pool().submit(kernel, n, min(n + step, rows), *arguments) for n in starts]
    for part in done:
        part.result()
