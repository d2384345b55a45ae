"""Batches: the clips of a device's share of an iteration, stacked."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from nlcore.video.loading.clip_sources import LoadedClip, TrainingClips
from nlcore.video.loading.worker_pool import Workers
from nlcore.video.recipes.definition import Recipe
from nlcore.video.views import assigned

#: Names of the sources that `training_batches` and `validation_batches` read.
TRAINING, VALIDATION = "training", "validation"


class Batch(NamedTuple):
    """Clips that a device computes at once.

    Attributes
    ----------
    iteration : int
        Counted from 0, or -1 in validation.
    first : int
        Slot of the first clip in the global batch, or its video in validation.
    videos : (B,) int64
        Numbers of the videos in the index.
    pixels : (B, 3, T, h, w) float32
    targets : (B,) int64 or (B, classes) float32
    """

    iteration: int
    first: int
    videos: np.ndarray
    pixels: np.ndarray
    targets: np.ndarray


def assigned_slots(recipe: Recipe, clips: int, process: int = 0, processes: int = 1) -> list[range]:
    """The slots that a process computes: one range for each device of the recipe.

    A device has `Recipe.clips_per_device` slots, over which batch normalization computes its
    statistics. A process computes the devices with neighbouring slots one after another.

    Parameters
    ----------
    recipe : Recipe
    clips : int
        Number of clips in the iteration's batch, see `TrainingClips.count`.
    process, processes : int
        Number of the process from 0, and number of processes.

    Raises
    ------
    ValueError
        The devices of the recipe cannot be divided among the processes.

    Examples
    --------
    >>> from nlcore.video import recipe
    >>> assigned_slots(recipe("paper"), 64, process=1, processes=4)
    [range(16, 24), range(24, 32)]
    """
    return device_slots(recipe.batch, recipe.clips_per_device, clips, process, processes, "clips")


def device_slots(
    batch: int, size: int, clips: int, process: int, processes: int, elements: str
) -> list[range]:
    """`assigned_slots` for `size` elements a device. `elements` names them in errors."""
    devices = batch // size
    if processes < 1 or devices % processes:
        raise ValueError(
            f"the number of processes must divide {devices}, the devices of the recipe "
            f"(batch={batch}, {elements}_per_device={size}); received {processes}"
        )
    if not 0 <= process < processes:
        raise ValueError(f"process must be from 0 to {processes - 1}; received {process}")
    own = devices // processes
    firsts = range(process * own * size, (process + 1) * own * size, size)
    return [range(first, min(first + size, clips)) for first in firsts if first < clips]


def training_batches(
    workers: Workers,
    clips: TrainingClips,
    iterations: Sequence[int],
    process: int = 0,
    processes: int = 1,
) -> Generator[tuple[int, Iterator[Batch]], None, None]:
    """For each iteration: its number, and the batches of this process, one for each device.

    The batches of an iteration must be consumed before the next iteration is asked for.

    Parameters
    ----------
    workers : Workers
        With `clips` as its source "training".
    """

    def slots(iteration: int) -> list[range]:
        return assigned_slots(clips.recipe, clips.count(iteration), process, processes)

    return device_batches(workers, slots, iterations, stacked)


def device_batches(
    workers: Workers,
    slots: Callable[[int], list[range]],
    iterations: Sequence[int],
    stacked: Callable[[int, int, Iterable[Any]], Any],
) -> Generator[tuple[int, Iterator[Any]], None, None]:
    """`training_batches` of anything: a batch is stacked(iteration, first slot, elements)."""
    keys = ((i, slot) for i in iterations for part in slots(i) for slot in part)
    stream = workers.clips(TRAINING, keys)
    try:
        for i in iterations:
            yield i, (stacked(i, part[0], islice(stream, len(part))) for part in slots(i))
    finally:
        stream.close()


def validation_batches(
    workers: Workers, videos: int, size: int, process: int = 0, processes: int = 1
) -> Iterator[Batch]:
    """One clip of each video that is assigned to this process, in batches of `size` or fewer."""
    own = assigned(videos, 1, process, processes)[:, 0].tolist()
    stream = workers.clips(VALIDATION, ((video,) for video in own))
    try:
        for start in range(0, len(own), size):
            yield stacked(-1, own[start], islice(stream, size))
    finally:
        stream.close()


def stacked(iteration: int, first: int, clips: Iterable[LoadedClip]) -> Batch:
    """Clips of one size as a batch."""
    found = list(clips)
    return Batch(
        iteration,
        first,
        np.array([clip.video for clip in found]),
        np.stack([clip.pixels for clip in found]),
        np.stack([clip.target for clip in found]),
    )
