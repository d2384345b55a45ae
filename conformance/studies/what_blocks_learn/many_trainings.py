"""All trainings that are not done, several at a time, each in a process with one thread."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any

from what_blocks_learn.configurations import BY_NAME, CONFIGURATIONS, STILL
from what_blocks_learn.film_tasks import TASKS
from what_blocks_learn.trainings import Place, Training, carry_out


def trainings(seeds: int) -> list[Training]:
    """All trainings: those from which others start, then task by task."""
    firsts = [Training(STILL, "c2d", seed) for seed in range(seeds)]
    return firsts + [
        Training(task, each.name, seed)
        for task in TASKS
        for seed in range(seeds)
        for each in CONFIGURATIONS
        if task in each.tasks
    ]


def work(training: Training) -> float:
    """About how long a training takes, in units of C2D's."""
    if training.task == STILL:
        return 0.7
    own, base = BY_NAME[training.configuration], BY_NAME["c2d"]
    return 0.5 * own.frames / base.frames + 0.5 * own.size()[1] / base.size()[1]


def carry_out_all(
    place: Place, wanted: Sequence[Training], jobs: int, until: float
) -> Iterator[tuple[Training, dict[str, Any]]]:
    """Carry out the trainings that have no result, and yield each result as it comes.

    A training waits for the one that it starts from. After the time `until`, of time.monotonic(),
    none is begun.
    """
    left = [training for training in wanted if not place.result(training).exists()]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_one_thread) as pool:
        running: dict[Future[dict[str, Any]], Training] = {}
        try:
            while left or running:
                for training in _ready(place, left)[: jobs - len(running)]:
                    if time.monotonic() < until:
                        running[pool.submit(carry_out, place, training)] = training
                        left.remove(training)
                if not running:
                    return
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(done), done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _ready(place: Place, left: Sequence[Training]) -> list[Training]:
    """Those whose first weights are there."""
    return [t for t in left if t.task == STILL or place.start(t.seed).exists()]


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
