"""The weights that the training of a detector starts from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nlcore.coco import CocoRecipe
from nlcore.coco.coco_presets import COCO
from nlcore.coco.detector_weights import convert_detector
from nlcore.video.draws import framework_seed
from nlcore.video.running.run_folder import load_run
from nlcore_torch.convert import read_weights
from nlcore_torch.detection.detection_learner import weights_of
from nlcore_torch.detection.detector_models import build_detector
from nlcore_torch.video.sgd_learner import copied

Weights = dict[str, np.ndarray]


def read_detector_source(path: Path) -> Mapping[str, Any]:
    """The weights of a file, of a checkpoint, or of the newest checkpoint of a run."""
    return load_run(path, form=COCO).state.weights if path.is_dir() else read_weights(path)


def random_detector_weights(recipe: CocoRecipe, seed: int) -> Weights:
    """torchvision's random weights of a seed, with blocks that are the identity.

    The state of torch's generator stays.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(framework_seed(seed, 0))
        network = build_detector(recipe.detector)
    return {name: copied(value) for name, value in weights_of(network).items()}


def detector_start(
    recipe: CocoRecipe, seed: int, source: Mapping[str, Any] | None = None
) -> tuple[Weights, str]:
    """The initial weights of a training, and a report of where they come from.

    Parameters
    ----------
    recipe : CocoRecipe
    seed : int
        Of the weights that the source does not have.
    source : mapping of str to array, optional
        A recipe with ``initial="random"`` has none, and any other one needs it.

    Returns
    -------
    weights : dict of str to array
        All weights of the detector, by torchvision's names.
    report : str

    Raises
    ------
    ValueError
        A source is missing or not used, or is not one of the recipe's host, see
        `nlcore.coco.detector_weights.convert_detector`.

    Examples
    --------
    >>> from nlcore.coco import coco_recipe
    >>> small = coco_recipe("detectron_mask", initial="random", detector={"width": 4})
    >>> weights, report = detector_start(small, seed=1)
    >>> report
    'random initial weights of seed 1'
    """
    random = random_detector_weights(recipe, seed)
    if recipe.initial == "random":
        if source is not None:
            raise ValueError(
                f"{recipe.name!r} starts from random weights; received others (set initial to "
                "'imagenet' or 'coco' to use them)"
            )
        return random, f"random initial weights of seed {seed}"
    if source is None:
        raise ValueError(
            f"{recipe.name!r} starts from {recipe.initial!r} weights; received none (set initial "
            "to 'random' to start without)"
        )
    shapes = {name: value.shape for name, value in random.items()}
    converted = convert_detector(recipe.detector, shapes, source, recipe.initial)
    found = {n: np.asarray(converted.weights.get(n, v), np.float32) for n, v in random.items()}
    return found, converted.report()


def complete_detector_weights(recipe: CocoRecipe, source: Mapping[str, Any]) -> Weights:
    """All weights of a detector.

    Raises
    ------
    ValueError
        A weight is missing or left over.
    """
    shapes = {n: v.shape for n, v in random_detector_weights(recipe, 0).items()}
    converted = convert_detector(recipe.detector, shapes, source, "coco")
    return {n: np.asarray(v, np.float32) for n, v in converted.whole().weights.items()}
