"""COCO: the paper's detectors as data, images and annotations, recipes, checks and results.

No framework is imported. `nlcore_torch.detection` has the detectors.
"""

from nlcore.coco.coco_presets import (
    COCO_RECIPES,
    coco_recipe,
    coco_recipe_from_json,
    coco_recipe_to_json,
    load_coco_recipe,
)
from nlcore.coco.coco_recipe import CocoRecipe
from nlcore.coco.coco_task import CocoRunSettings
from nlcore.coco.detector_spec import DetectorSpec, blocks_at
from nlcore.coco.images.annotations import CocoSet, coco_files, read_coco
from nlcore.coco.images.set_check import SetReport, check_set

__all__ = [
    "COCO_RECIPES",
    "CocoRecipe",
    "CocoRunSettings",
    "CocoSet",
    "DetectorSpec",
    "SetReport",
    "blocks_at",
    "check_set",
    "coco_files",
    "coco_recipe",
    "coco_recipe_from_json",
    "coco_recipe_to_json",
    "load_coco_recipe",
    "read_coco",
]
