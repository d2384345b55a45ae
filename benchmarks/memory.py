"""Peak memory of one call: on the CPU in a process of its own, on a GPU by torch."""

from __future__ import annotations

import multiprocessing
import os
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

Call = Callable[[], object]

#: glibc then gives every larger block back to the system when it is freed, so that the first call
#: leaves nothing in reserve for the one that is measured.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def peak(prepare: Callable[..., Call], *arguments: object) -> int:
    """Bytes above what is held before it that a call needs, in a new process.

    `prepare(*arguments)` is called there and returns the call, which is called once beforehand.
    """
    os.environ.update(ALLOCATOR)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measured, prepare, arguments).result()


def peak_on_gpu(call: Call, device: str) -> int:
    """Bytes that torch allocates for a call above what is held before it."""
    import torch

    call()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _measured(prepare: Callable[..., Call], arguments: tuple[object, ...]) -> int:
    call = prepare(*arguments)
    call()
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
