"""Evaluation of detectors: in one process, or in those that `torchrun` starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from nlcore.coco.images.image_sources import EvaluationImages
from nlcore.coco.results.average_precision import Precision
from nlcore.coco.results.detection_report import CocoEvaluationSettings, run_coco_evaluation
from nlcore.video.running.learner import LearnerState
from nlcore_torch.detection.detection_learner import DetectionLearner
from nlcore_torch.detection.detector_attention import draw_looking
from nlcore_torch.detection.detector_start import (
    complete_detector_weights,
    read_detector_source,
)
from nlcore_torch.video.processes import place_of_process


def evaluate(
    settings: CocoEvaluationSettings,
    weights: Path,
    *,
    device: str | None = None,
    precision: str = "float32",
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> list[Precision] | None:
    """Find the objects of a set, and write COCO's numbers, files and pictures.

    Parameters
    ----------
    settings : CocoEvaluationSettings
    weights : Path
        A run, of which the newest checkpoint is taken, a checkpoint, or a file of weights.
    device : str, optional
        Default: "cuda" if there is one.
    precision : {"float32", "bfloat16", "float16"}
    tell : function
        Called with how many images of this process are done, of how many.

    Returns
    -------
    list of Precision or None
        None in all processes but the first.

    Raises
    ------
    ValueError, OSError
        See `nlcore.coco.results.detection_report.run_coco_evaluation`.

    Examples
    --------
    This evaluates a run::

        images = read_coco(*coco_files("coco", "val2017", "mask"))
        settings = CocoEvaluationSettings(coco_recipe("detectron_mask"), images, Path("results"))
        evaluate(settings, Path("runs/mask"))
    """
    found = complete_detector_weights(settings.recipe, read_detector_source(weights))
    with place_of_process(device) as place:
        learner = DetectionLearner(settings.recipe, 0, place, precision)
        learner.load(LearnerState(found, {}, {}))
        precisions = run_coco_evaluation(settings, learner, tell)
    if precisions is not None:
        draw_attention(settings, learner)
    return precisions


def draw_attention(settings: CocoEvaluationSettings, learner: DetectionLearner) -> list[Path]:
    """Draw where the middle of the best detection looks, in each block of the backbone."""
    images, paths = settings.images, []
    blocks = [name for name in settings.recipe.detector.blocks if name.startswith("backbone.")]
    for number in settings.drawn() if blocks else ():
        image = images.images[number]
        pixels = EvaluationImages(images).load(number).pixels
        boxes = learner.scores(pixels).boxes
        box = boxes[0] if len(boxes) else np.array([0, 0, image.width, image.height])
        middle = float(box[0::2].mean()), float(box[1::2].mean())
        for name in blocks:
            figure = draw_looking(learner.network, name, pixels, middle)
            paths.append(settings.output / "pictures" / f"{image.id}-{name}.png")
            figure.savefig(paths[-1], dpi=110)
    return paths
