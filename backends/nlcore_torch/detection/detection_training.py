"""Training of detectors: in one process, or in those that `torchrun` starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from nlcore.coco import CocoRunSettings
from nlcore.video.running import Outcome, run_training
from nlcore.video.running.reporting import Reporter, tensorboard_log
from nlcore.video.running.run_folder import facts_of
from nlcore_torch.detection.detection_learner import DetectionLearner
from nlcore_torch.detection.detector_start import detector_start, read_detector_source
from nlcore_torch.video.processes import place_of_process

#: Packages of which a checkpoint states the version.
PACKAGES = ("torch", "torchvision", "pycocotools", "pillow")


def train(
    settings: CocoRunSettings,
    initial: Path | None = None,
    *,
    device: str | None = None,
    precision: str = "float32",
    deterministic: bool = False,
    reporters: Sequence[Reporter] = (),
) -> Outcome:
    """Train a detector, or continue its training.

    Parameters
    ----------
    settings : CocoRunSettings
    initial : Path, optional
        Initial weights as the recipe says: a file of torchvision's, a checkpoint, or a run.
    device : str, optional
        Default: "cuda" if there is one.
    precision : {"float32", "bfloat16", "float16"}
    deterministic : bool
        Whether PyTorch must compute the same bits each time, where it can. On CPUs it always does.
    reporters : sequence of Reporter

    Returns
    -------
    Outcome

    Raises
    ------
    ValueError, OSError
        See `nlcore.video.running.run_training`.

    Examples
    --------
    This trains on a folder in COCO's layout::

        images = read_coco(*coco_files("coco", "train2017", "mask"))
        settings = CocoRunSettings(coco_recipe("detectron_mask"), images, Path("runs/mask"))
        train(settings, Path("resnet50.pth"))
    """
    if deterministic:
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False

    def start() -> tuple[dict[str, np.ndarray], str]:
        source = None if initial is None else read_detector_source(initial)
        return detector_start(settings.recipe, settings.seed, source)

    with place_of_process(device) as place, tensorboard_log(settings.output, place.process) as log:
        learner = DetectionLearner(settings.recipe, settings.seed, place, precision)
        facts = facts_of("torch", PACKAGES, device=str(place.device), precision=precision)
        return run_training(settings, learner, start, (*reporters, *log), facts)
