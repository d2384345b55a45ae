"""The evaluation of a detector: result files, COCO's numbers, a table of classes, and pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nlcore.coco.coco_recipe import CocoRecipe
from nlcore.coco.images.annotations import CocoSet, read_document
from nlcore.coco.images.image_sources import EvaluationImages, check_classes
from nlcore.coco.results.average_precision import Precision, average_precision
from nlcore.coco.results.detection_pictures import draw_detections, merged_results
from nlcore.coco.results.finding_objects import Results, find_objects
from nlcore.video.loading.worker_pool import Workers
from nlcore.video.running.learner import Learner

EVALUATION = "evaluation"


@dataclass(frozen=True)
class CocoEvaluationSettings:
    """The settings of a detector's evaluation.

    Attributes
    ----------
    recipe : CocoRecipe
    images : CocoSet
    output : Path
        Folder of the results.
    workers : int
        Processes that load images. 0 loads them in the process that computes.
    pictures : int
        Number of images that are drawn with their detections, the first ones with annotations.
    """

    recipe: CocoRecipe
    images: CocoSet
    output: Path
    workers: int = 0
    pictures: int = 8

    def drawn(self) -> list[int]:
        """Places in the set of the images that are drawn."""
        found = (n for n in range(len(self.images)) if self.images.annotations(n))
        return [n for n, _ in zip(found, range(self.pictures), strict=False)]


def run_coco_evaluation(
    settings: CocoEvaluationSettings,
    learner: Learner,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> list[Precision] | None:
    """Find the objects in all images, and write the results. Every process calls it.

    Returns
    -------
    list of Precision or None
        Of boxes, then of masks or keypoints. None in all processes but the first.

    Raises
    ------
    ValueError
        A detection is not finite, the set does not fit the detector, or an image cannot be read.
    """
    images, source = settings.images, EVALUATION
    check_classes(images, settings.recipe)
    with Workers({source: EvaluationImages(images)}, settings.workers) as workers:
        try:
            found = find_objects(images, workers, source, learner, settings.output, tell)
        except ArithmeticError as error:
            raise ValueError(str(error)) from None
    if found is None:
        return None
    precisions = write_coco_results(images, found, settings.output)
    draw_images(settings, found)
    return precisions


def write_coco_results(images: CocoSet, found: Results, output: Path) -> list[Precision]:
    """Write results-KIND.json, metrics.json and classes.csv into a folder.

    The result files have COCO's form. The numbers are those of the files as they are read again.
    """
    output.mkdir(parents=True, exist_ok=True)
    document, precisions = read_document(images.path), []
    for kind, entries in found.items():
        path = output / f"results-{kind}.json"
        path.write_text(json.dumps(entries), "utf-8")
        written = json.loads(path.read_text("utf-8"))
        precisions.append(average_precision(document, written, kind))
    metrics = {one.kind: one.stats for one in precisions} | {"images": len(images)}
    (output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", "utf-8")
    _write_classes(output / "classes.csv", precisions)
    return precisions


def draw_images(settings: CocoEvaluationSettings, found: Results) -> list[Path]:
    """Draw the first images with their detections into pictures/."""
    images, paths = settings.images, []
    source = EvaluationImages(images)
    (settings.output / "pictures").mkdir(exist_ok=True)
    for number in settings.drawn():
        image_id = images.images[number].id
        own = {
            kind: [one for one in entries if one["image_id"] == image_id]
            for kind, entries in found.items()
        }
        pixels, known = source.load(number).pixels, images.annotations(number)
        figure = draw_detections(pixels, known, merged_results(own), images.categories)
        paths.append(settings.output / "pictures" / f"{image_id}.png")
        figure.savefig(paths[-1], dpi=110)
    return paths


def _write_classes(path: Path, precisions: Sequence[Precision]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("class", "objects", *(f"{one.kind}_AP" for one in precisions)))
        for rows in zip(*(one.classes for one in precisions), strict=True):
            writer.writerow((rows[0].name, rows[0].objects, *(row.AP for row in rows)))
