"""RunSettings: what a training run is told, and what its loop asks of any training."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nlcore.spec import positive_int
from nlcore.video.labels.videos import Index
from nlcore.video.loading.worker_pool import Workers
from nlcore.video.recipes.definition import Recipe
from nlcore.video.running.checkpoint_files import RecipeForm
from nlcore.video.running.learner import Learner
from nlcore.video.running.video_task import VideoTask

#: Number of times that a run validates and writes a checkpoint, unless it is told.
POINTS = 100


class Task(Protocol):
    """What a training trains on, and how its loss and its validation become rows of numbers.

    `VideoTask` is that of videos.

    Attributes
    ----------
    recipe
        It has batch and precise_statistics.
    form : RecipeForm
    digest : str
        Of what is trained on.
    sources : mapping of str to ClipSource
        What `Workers` load.
    training_columns, validation_columns : sequence of str
        Names of the numbers in the rows.
    validates : bool
        Whether there is something to validate with.
    """

    @property
    def recipe(self) -> Any: ...
    @property
    def form(self) -> RecipeForm: ...
    @property
    def digest(self) -> str: ...
    @property
    def sources(self) -> Mapping[str, Any]: ...
    @property
    def training_columns(self) -> Sequence[str]: ...
    @property
    def validation_columns(self) -> Sequence[str]: ...
    @property
    def validates(self) -> bool: ...

    def check_processes(self, process: int, processes: int) -> None:
        """Raise a ValueError unless the batch can be divided among the processes."""

    def count(self, iteration: int) -> int:
        """Number of elements in an iteration's batch, over all processes."""

    def rate(self, iteration: int) -> float:
        """The learning rate of an iteration."""

    def batches(
        self, workers: Workers, iterations: Sequence[int], process: int, processes: int
    ) -> Generator[tuple[int, Iterator[Any]], None, None]:
        """For each iteration: its number, and the batches of this process."""

    def files(self, iteration: int, process: int, processes: int) -> list[Path]:
        """The files that a process reads in an iteration."""

    def row(self, loss: float, counted: np.ndarray, count: int) -> dict[str, float]:
        """A row of training_columns, from the sums over all processes of `Learner.gradients`."""

    def validated(self, workers: Workers, learner: Learner) -> dict[str, float]:
        """A row of validation_columns. Raises an ArithmeticError for scores that are not finite."""


class Points:
    """When a run writes checkpoints, from its `total`, `every` and `points`."""

    points = POINTS
    every: int | None

    @property
    def total(self) -> int:
        """Number of iterations of the training."""
        raise NotImplementedError

    @property
    def period(self) -> int:
        """`every`, or its default."""
        return self.every or ceil(self.total / self.points)

    def is_point(self, done: int) -> bool:
        """Whether a checkpoint is written after this number of iterations."""
        return done == self.total or (done > 0 and done % self.period == 0)

    def next_point(self, done: int) -> int:
        """The number of iterations at the next checkpoint."""
        return min(self.total, (done // self.period + 1) * self.period)


class AnySettings(Protocol):
    """Settings of any training, see `RunSettings`."""

    @property
    def recipe(self) -> Any: ...
    @property
    def output(self) -> Path: ...
    @property
    def seed(self) -> int: ...
    @property
    def workers(self) -> int: ...
    @property
    def keep(self) -> int: ...
    @property
    def resume(self) -> bool: ...
    @property
    def total(self) -> int: ...
    def is_point(self, done: int) -> bool: ...
    def next_point(self, done: int) -> int: ...
    def task(self) -> Task:
        """What is trained on. It is made anew by each call."""


@dataclass(frozen=True)
class RunSettings(Points):
    """The settings of a training: a recipe, the videos, and where and how often to write.

    Attributes
    ----------
    recipe : Recipe
    index : Index
        Training videos.
    output : Path
        Folder of the run.
    validation : Index or None
        Videos of which the error is computed during training.
    seed : int
    workers : int
        Processes that load clips. 0 loads them in the process that trains.
    every : int or None
        Iterations between two checkpoints. Before each one, the statistics of batch normalization
        are computed as the recipe states, and the validation videos are classified. By default, a
        hundredth of the training.
    keep : int
        Number of checkpoints that are kept, the newest ones.
    resume : bool
        Whether to go on from the newest checkpoint in the folder.
    """

    recipe: Recipe
    index: Index
    output: Path
    validation: Index | None = None
    seed: int = 0
    workers: int = 0
    every: int | None = None
    keep: int = 3
    resume: bool = False

    def __post_init__(self) -> None:
        positive_int("keep", self.keep)
        if self.every is not None:
            positive_int("every", self.every)

    @property
    def total(self) -> int:
        """Number of iterations of the training."""
        return self.recipe.total_iterations(len(self.index))

    def task(self) -> VideoTask:
        """The clips of the videos, and their metrics."""
        return VideoTask(self.recipe, self.index, self.validation, self.seed)
