"""Peak memory of one call, in a process of its own."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

Call = Callable[[], object]


def peak(prepare: Callable[..., tuple[Call, Call]], *arguments: object) -> int:
    """Bytes above what is held before it that the second of two calls needs, in a new process.

    `prepare(*arguments)` is called there and returns the call that warms up the libraries, on a
    small problem, and the one that is measured.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measured, prepare, arguments).result()


def _measured(prepare: Callable[..., tuple[Call, Call]], arguments: tuple[object, ...]) -> int:
    warm_up, call = prepare(*arguments)
    warm_up()
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is held now
    kept = call()  # until it is measured
    after = _resident("VmHWM")
    del kept
    return after - before


def _resident(field: str) -> int:
    """A field of this process' status, in bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    if found is None:
        raise RuntimeError(f"peak memory is read from /proc/self/status; it has no {field}")
    return 1024 * int(found[1])
