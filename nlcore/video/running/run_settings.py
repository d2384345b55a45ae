"""RunSettings: what a training run is told."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path

from nlcore.spec import positive_int
from nlcore.video.labels.videos import Index
from nlcore.video.recipes.definition import Recipe

#: Number of times that a run validates and writes a checkpoint, unless it is told.
POINTS = 100


@dataclass(frozen=True)
class RunSettings:
    """A recipe, the videos, and where and how often to write.

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
        are computed as the recipe says, and the validation videos are classified. By default, a
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

    @property
    def period(self) -> int:
        """`every`, or its default."""
        return self.every or ceil(self.total / POINTS)

    def is_point(self, done: int) -> bool:
        """Whether a checkpoint is written after this number of iterations."""
        return done == self.total or (done > 0 and done % self.period == 0)

    def next_point(self, done: int) -> int:
        """The number of iterations at the next checkpoint."""
        return min(self.total, (done // self.period + 1) * self.period)
