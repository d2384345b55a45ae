"""VideoTask: clips of videos as what a training trains on, and the metrics of their scores."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Generator, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nlcore.video.labels.videos import Index, labels_of
from nlcore.video.loading.batches import (
    TRAINING,
    VALIDATION,
    Batch,
    assigned_slots,
    training_batches,
    validation_batches,
)
from nlcore.video.loading.clip_sources import TrainingClips, ValidationClips
from nlcore.video.loading.targets import check_names, one_label, target_of
from nlcore.video.loading.worker_pool import Workers
from nlcore.video.metrics import mean_average_precision, top_k
from nlcore.video.recipes.definition import Recipe
from nlcore.video.running.checkpoint_files import VIDEO
from nlcore.video.running.learner import Learner

#: Smallest score whose logarithm is taken.
TINY = 1e-12
#: Numbers of an iteration.
TRAINING_COLUMNS = ("loss", "error")


class VideoTask:
    """The clips of a recipe, an index and a seed. See `nlcore.video.running.run_settings.Task`."""

    form = VIDEO
    training_columns = TRAINING_COLUMNS

    def __init__(self, recipe: Recipe, index: Index, validation: Index | None, seed: int) -> None:
        self.recipe, self.index, self.validation, self.seed = recipe, index, validation, seed
        self.validates = validation is not None
        if validation is not None:
            check_names(validation, index.names, "the training videos")
        one = ("loss", "error", "top5_error")
        self.validation_columns: Sequence[str] = (
            one if one_label(recipe) else ("loss", "mean_average_precision")
        )

    @property
    def digest(self) -> str:
        return index_digest(self.index)

    @cached_property
    def clips(self) -> TrainingClips:
        return TrainingClips(self.index, self.recipe, self.seed)

    @property
    def sources(self) -> dict[str, Any]:
        found: dict[str, Any] = {TRAINING: self.clips}
        if self.validation is not None:
            found[VALIDATION] = ValidationClips(self.validation, self.recipe, self.seed)
        return found

    def check_processes(self, process: int, processes: int) -> None:
        assigned_slots(self.recipe, self.recipe.batch, process, processes)

    def count(self, iteration: int) -> int:
        return self.clips.count(iteration)

    def rate(self, iteration: int) -> float:
        return self.recipe.learning_rate(iteration, len(self.index))

    def batches(
        self, workers: Workers, iterations: Sequence[int], process: int, processes: int
    ) -> Generator[tuple[int, Iterator[Batch]], None, None]:
        return training_batches(workers, self.clips, iterations, process, processes)

    def files(self, iteration: int, process: int, processes: int) -> list[Path]:
        parts = assigned_slots(self.recipe, self.count(iteration), process, processes)
        numbers = [self.clips.video(iteration, slot) for part in parts for slot in part]
        return [self.index.root / self.index.videos[number].path for number in numbers]

    def row(self, loss: float, counted: np.ndarray, count: int) -> dict[str, float]:
        """`counted` is the number of clips whose label has the largest logit."""
        error = 1.0 - counted[0] / count if one_label(self.recipe) else math.nan
        return {"loss": float(loss), "error": float(error)}

    def validated(self, workers: Workers, learner: Learner) -> dict[str, float]:
        index = self.validation
        assert index is not None
        scores = np.zeros((len(index), self.recipe.network.classes))
        size = self.recipe.clips_per_device
        place = (learner.process, learner.processes)
        for batch in validation_batches(workers, len(index), size, *place):
            scores[batch.videos] = learner.scores(batch.pixels)
        scores = learner.summed(scores)
        if not np.isfinite(scores).all():
            raise ArithmeticError(
                "the scores of the validation videos must be finite; received NaN or inf"
            )
        return metrics_of_scores(scores, targets_of(index, self.recipe), self.recipe)


def index_digest(index: Index) -> str:
    """SHA-256 of what training reads of an index. It does not depend on where the videos are."""
    digest = hashlib.sha256(json.dumps([len(index), *index.names]).encode())
    for video in index.videos:
        facts = (video.path, video.frames, video.fps, video.width, video.height)
        digest.update(json.dumps([*facts, video.labels, video.intervals]).encode())
    return digest.hexdigest()


def targets_of(index: Index, recipe: Recipe) -> np.ndarray:
    """The targets of all videos: (videos,) int64 or (videos, classes) float32."""
    return np.stack([target_of(labels_of(video), recipe) for video in index.videos])


def metrics_of_scores(
    scores: np.ndarray, targets: np.ndarray, recipe: Recipe, dialect: str = "charades"
) -> dict[str, float]:
    """The metrics of scores (videos, classes), by name.

    With one label a video: "loss", the mean of -log of the label's score, and "error" and
    "top5_error", the fractions of videos whose label is not among the 1 and 5 largest scores. With
    several: "loss", the mean binary cross-entropy, and "mean_average_precision" of the dialect.
    """
    scores = np.asarray(scores, np.float64)
    if one_label(recipe):
        own = np.take_along_axis(scores, targets[:, None], axis=1)
        loss = -np.log(np.maximum(own, TINY)).mean()
        errors: dict[str, Any] = {
            name: 1.0 - top_k(scores, targets, k) for name, k in (("error", 1), ("top5_error", 5))
        }
        return {"loss": float(loss), **errors}
    right = np.where(targets != 0, scores, 1.0 - scores)
    loss = -np.log(np.maximum(right, TINY)).mean()
    found = mean_average_precision(scores, targets, dialect)
    return {"loss": float(loss), "mean_average_precision": found}
