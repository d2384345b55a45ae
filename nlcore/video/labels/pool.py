"""Work in processes, of which one that crashes costs only what it was doing."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def results(
    work: Callable[[Task], Result], tasks: Iterable[Task], workers: int
) -> Iterator[tuple[Task, Result | None]]:
    """Each task with its result, in the order in which they end. None if its process crashed.

    With 0 workers, tasks run in this process.
    """
    if workers == 0:
        yield from ((task, work(task)) for task in tasks)
        return
    waiting = deque(tasks)
    while waiting:
        running: dict[Future[Result], Task] = {}
        try:
            yield from _until_crash(work, waiting, running, workers)
        except BrokenProcessPool:  # it does not tell which of them crashed: each again, alone
            for task in running.values():
                alone: dict[Future[Result], Task] = {}
                try:
                    yield from _until_crash(work, deque([task]), alone, 1)
                except BrokenProcessPool:
                    yield task, None


def _until_crash(
    work: Callable[[Task], Result],
    waiting: deque[Task],
    running: dict[Future[Result], Task],
    workers: int,
) -> Iterator[tuple[Task, Result]]:
    """Run the tasks that wait, a few of them in advance. A crash leaves suspects in `running`."""
    context = multiprocessing.get_context("spawn")  # decoders and threads do not survive a fork
    pool = ProcessPoolExecutor(workers, context, signal.signal, (signal.SIGINT, signal.SIG_IGN))
    try:
        while waiting or running:
            while waiting and len(running) < 2 * workers:
                running[pool.submit(work, waiting[0])] = waiting[0]
                waiting.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                result = future.result()
                yield running.pop(future), result
    finally:
        pool.shutdown(cancel_futures=True)
