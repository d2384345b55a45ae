"""Medians of interleaved runs: what disturbs the machine disturbs all that is compared."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from statistics import median

Call = Callable[[], object]


def interleaved(
    calls: Mapping[str, Call],
    seconds: float = 20.0,
    rounds: int = 31,
    synchronize: Call = lambda: None,
) -> dict[str, list[float]]:
    """Seconds of each call, one run each in every round, forth and back.

    Parameters
    ----------
    calls
        Each is called twice beforehand, which is not counted.
    seconds, rounds
        No further round begins after either; there are three at least.
    synchronize
        Waits for the device, before and after each run.
    """
    for call in calls.values():
        call()
        call()
    synchronize()
    found: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    start = time.perf_counter()
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            if number >= 3 and time.perf_counter() - start > seconds:
                break
            for name in order:
                before = time.perf_counter()
                calls[name]()
                synchronize()
                found[name].append(time.perf_counter() - before)
            order.reverse()
    finally:
        gc.enable()
    return found


def medians(found: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: median(times) for name, times in found.items()}
