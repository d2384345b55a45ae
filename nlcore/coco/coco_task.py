"""CocoTask: images and their objects as what a training trains on, and CocoRunSettings."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nlcore.coco.coco_presets import COCO
from nlcore.coco.coco_recipe import CocoRecipe
from nlcore.coco.images.annotations import CocoSet, read_document
from nlcore.coco.images.image_sources import (
    EvaluationImages,
    ImageBatch,
    TrainingImages,
    check_classes,
    image_batch,
)
from nlcore.coco.results.average_precision import average_precision
from nlcore.coco.results.detections import RESULT_KINDS
from nlcore.coco.results.finding_objects import find_objects
from nlcore.spec import positive_int
from nlcore.video.loading.batches import TRAINING, VALIDATION, device_batches, device_slots
from nlcore.video.loading.worker_pool import Workers
from nlcore.video.running.learner import Learner
from nlcore.video.running.run_settings import Points

#: Task -> the parts of the loss, by torchvision's names without "loss_".
LOSSES = {
    "mask": ("classifier", "box_reg", "mask", "objectness", "rpn_box_reg"),
    "keypoints": ("classifier", "box_reg", "keypoint", "objectness", "rpn_box_reg"),
}
#: pycocotools' name of a kind -> the name in tables.
NAMES = {"bbox": "box", "segm": "mask", "keypoints": "keypoint"}


@dataclass(frozen=True)
class CocoRunSettings(Points):
    """The settings of a detector's training.

    Attributes
    ----------
    recipe : CocoRecipe
    images : CocoSet
        Training images.
    output : Path
        Folder of the run.
    validation : CocoSet or None
        Images in which objects are found during training.
    seed, workers, every, keep, resume
        See `nlcore.video.running.RunSettings`. By default, it validates ten times.
    """

    recipe: CocoRecipe
    images: CocoSet
    output: Path
    validation: CocoSet | None = None
    seed: int = 0
    workers: int = 0
    every: int | None = None
    keep: int = 3
    resume: bool = False

    points = 10

    def __post_init__(self) -> None:
        positive_int("keep", self.keep)
        if self.every is not None:
            positive_int("every", self.every)

    @cached_property
    def training(self) -> TrainingImages:
        """The images that are trained on."""
        return TrainingImages(self.images, self.recipe, self.seed)

    @property
    def total(self) -> int:
        """Number of iterations of the training."""
        return self.recipe.total_iterations(len(self.training))

    def task(self) -> CocoTask:
        """The images, and the precision in the validation images."""
        return CocoTask(self)


class CocoTask:
    """The images of a training. See `nlcore.video.running.run_settings.Task`."""

    form = COCO

    def __init__(self, settings: CocoRunSettings) -> None:
        self.settings, self.recipe = settings, settings.recipe
        self.images = settings.training
        self.validates = settings.validation is not None
        self.training_columns = ("loss", *LOSSES[self.recipe.task])
        self.validation_columns = tuple(
            f"{NAMES[kind]}_{name}"
            for kind in RESULT_KINDS[self.recipe.task]
            for name in ("AP", "AP50", "AP75")
        )
        if settings.validation is not None:
            check_classes(settings.validation, self.recipe)

    @property
    def digest(self) -> str:
        return self.settings.images.digest

    @property
    def sources(self) -> dict[str, Any]:
        found: dict[str, Any] = {TRAINING: self.images}
        if self.settings.validation is not None:
            found[VALIDATION] = EvaluationImages(self.settings.validation)
        return found

    def _slots(self, process: int, processes: int) -> list[range]:
        batch, size = self.recipe.batch, self.recipe.images_per_device
        return device_slots(batch, size, batch, process, processes, "images")

    def check_processes(self, process: int, processes: int) -> None:
        self._slots(process, processes)

    def count(self, iteration: int) -> int:
        return self.recipe.batch

    def rate(self, iteration: int) -> float:
        return self.recipe.learning_rate(iteration, len(self.images))

    def batches(
        self, workers: Workers, iterations: Sequence[int], process: int, processes: int
    ) -> Generator[tuple[int, Iterator[ImageBatch]], None, None]:
        slots = self._slots(process, processes)
        return device_batches(workers, lambda iteration: slots, iterations, image_batch)

    def files(self, iteration: int, process: int, processes: int) -> list[Path]:
        slots = [slot for part in self._slots(process, processes) for slot in part]
        return [self.settings.images.file(self.images.image(iteration, slot)) for slot in slots]

    def row(self, loss: float, counted: np.ndarray, count: int) -> dict[str, float]:
        """`counted` are the parts of the loss."""
        return dict(zip(self.training_columns, map(float, (loss, *counted)), strict=True))

    def validated(self, workers: Workers, learner: Learner) -> dict[str, float]:
        images = self.settings.validation
        assert images is not None
        folder = self.settings.output / "validation"
        found = find_objects(images, workers, VALIDATION, learner, folder)
        if found is None:
            return {}
        document = read_document(images.path)
        row: dict[str, float] = {}
        for kind, results in found.items():
            stats = average_precision(document, results, kind).stats
            row |= {f"{NAMES[kind]}_{name}": stats[name] for name in ("AP", "AP50", "AP75")}
        return row
