"""How several threads share the rows of a kernel.

A kernel computes the rows [start, stop). It writes each row independently of the others and adds
in a fixed order. So the result is the same, bit for bit, for any number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numba

#: Number of threads: NUMBA_NUM_THREADS if it is set, else one per processor.
THREADS: int = vars(numba.config)["NUMBA_NUM_THREADS"]
#: Below this many multiply-adds the calling thread computes alone: sharing them takes longer.
SMALL = 2**18
#: The rows are divided into this many parts per thread. A thread that is done early takes over
#: parts of a delayed one.
PARTS = 4


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="nlcore")


if hasattr(os, "register_at_fork"):  # a forked process does not inherit the threads of the pool
    os.register_at_fork(after_in_child=_pool.cache_clear)


def run(kernel: Callable[..., None], rows: int, work: int, *arguments: Any) -> None:
    """Call ``kernel(start, stop, *arguments)`` on parts of the rows, in several threads.

    Parameters
    ----------
    kernel
        A function decorated with `compiled` that writes into its arguments.
    rows : int
        Number of rows.
    work : int
        Number of multiply-adds of all rows. Below `SMALL`, the calling thread does everything.
    """
    if THREADS == 1 or rows < 2 or work < SMALL:
        kernel(0, rows, *arguments)
        return
    step = -(-rows // (PARTS * THREADS))
    starts = range(0, rows, step)
    done = [_pool().submit(kernel, n, min(n + step, rows), *arguments) for n in starts]
    for part in done:
        part.result()
