"""A training step in two processes and in one, and what its sums of gradients take.

Each process has one thread and half of the clips. One process has two threads and all clips. The
sums are nlcore's: of all gradients as one array, by gloo.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from nlcore.video import placement, recipe
from nlcore.video.loading import Batch
from nlcore_torch.video.learner import TorchLearner
from nlcore_torch.video.processes import Place

PROCESSES = 2
#: Of NL C2D R50 with 5 blocks: clips (B, 3, T, H, W).
CLIPS = (8, 3, 8, 112, 112)


def process_steps(
    count: int, clips: tuple[int, ...] = CLIPS, width: int = 64
) -> dict[str, list[float]]:
    """Seconds of `count` steps of each kind, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "seconds.npz"
        multiprocessing.spawn(_process, (count, clips, width, output), PROCESSES)
        with np.load(output) as found:
            return {name: found[name].tolist() for name in found}


def _process(rank: int, count: int, clips: tuple[int, ...], width: int, output: Path) -> None:
    store = f"file://{output}.store"  # where the processes find each other
    dist.init_process_group("gloo", store, rank=rank, world_size=PROCESSES)
    seconds: dict[str, list[float]] = {"one process": [], "processes": [], "sums": []}
    place, alone = Place(rank, PROCESSES, torch.device("cpu")), Place(0, 1, torch.device("cpu"))
    learner = _learner(place, width)
    step = _step(learner, (clips[0] // PROCESSES, *clips[1:]))
    one = _step(_learner(alone, width), clips) if rank == 0 else lambda: None
    gradients = [torch.zeros_like(p) for p in learner.network.parameters()]
    calls: list[tuple[str, int, Callable[[], object]]] = [
        ("one process", PROCESSES, one),
        ("processes", 1, step),
        ("sums", 1, lambda: place.add_all(gradients)),
    ]
    for _ in range(count + 1):
        for name, threads, call in calls:
            torch.set_num_threads(threads)
            dist.barrier()
            began = time.perf_counter()
            call()
            dist.barrier()
            seconds[name].append(time.perf_counter() - began)
    if rank == 0:
        np.savez(output, **{name: times[1:] for name, times in seconds.items()})
    dist.destroy_process_group()


def _learner(place: Place, width: int) -> TorchLearner:
    network = {
        **{"non_local": placement(50, 5), "dialect": "caffe2", "width": width},
        "temporal_strides": (1, 1, 2),
    }
    return TorchLearner(recipe("paper", network=network, initial="random"), place=place)


def _step(learner: TorchLearner, clips: tuple[int, ...]) -> Callable[[], object]:
    """A step of this process on random clips (B, 3, T, H, W)."""
    pixels = np.random.default_rng(0).normal(size=clips).astype(np.float32)
    slots = np.arange(len(pixels))
    batch = Batch(0, 0, slots, pixels, slots)

    def step() -> None:
        learner.gradients([batch], len(pixels) * learner.processes)
        learner.update(1e-3)

    return step
