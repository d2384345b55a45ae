"""Recipes for COCO by name, recipes that differ from them, and recipes as JSON files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from nlcore.coco.coco_recipe import CocoRecipe
from nlcore.coco.detector_spec import DetectorSpec, blocks_at
from nlcore.video.recipes.overrides import check_fields, with_fields
from nlcore.video.recipes.recipe_files import PRESET, overrides_of
from nlcore.video.running.checkpoint_files import RecipeForm

#: Names of places in the sources of recipes -> where they are.
PLACES = {
    "the paper": "Wang et al. 2018, arXiv 1711.07971, Sec. 5.3. It states no schedule.",
    "Detectron": "facebookresearch/Detectron, configs/12_2017_baselines and lib/core/config.py",
    "torchvision": "pytorch/vision, references/detection/README.md, train.py and engine.py",
}
_DETECTRON: dict[str, Any] = {
    "batch": 16,
    "images_per_device": 2,
    "epochs": None,
    "base_rate": 0.02,
    "factors": (1.0, 0.1, 0.01),
    "warmup": 500,
    "warmup_factor": 1 / 3,
    "undecayed": ("bias",),
    "bias_rate": 2.0,
    "frozen": ("backbone.body.conv1", "backbone.body.layer1"),
}
_TORCHVISION: dict[str, Any] = {
    "batch": 16,
    "images_per_device": 2,
    "iterations": None,
    "base_rate": 0.02,
    "factors": (1.0, 0.1, 0.01),
    "warmup": 1000,
    "warmup_factor": 0.001,
    "frozen": ("backbone.body.conv1", "backbone.body.layer1"),
}
_PERSONS: dict[str, Any] = {
    "task": "keypoints",
    "classes": 2,
    "min_size": (640, 672, 704, 736, 768, 800),
}


def _preset(place: str, task: str, values: dict[str, Any]) -> CocoRecipe:
    """A schedule of a place, with the paper's blocks."""
    blocks = blocks_at("backbone" if task == "mask" else "both")
    detector = DetectorSpec(**({} if task == "mask" else _PERSONS), non_local=blocks)
    sources = dict.fromkeys(values, place) | {"detector": f"the paper (blocks), {place} (the rest)"}
    name = f"{place.lower()}_{task}"
    return CocoRecipe(name=name, detector=detector, sources=sources, **values)


_LONGER: dict[str, Any] = {"iterations": 130_000, "steps": (100_000, 120_000)}
#: Name -> a recipe: someone's schedule, with the paper's blocks.
COCO_RECIPES: dict[str, CocoRecipe] = {
    one.name: one
    for one in (
        _preset(
            "Detectron", "mask", {**_DETECTRON, "iterations": 90_000, "steps": (60_000, 80_000)}
        ),
        _preset("Detectron", "keypoints", {**_DETECTRON, **_LONGER}),
        _preset("torchvision", "mask", {**_TORCHVISION, "epochs": 26, "steps": (16, 22)}),
        _preset("torchvision", "keypoints", {**_TORCHVISION, "epochs": 46, "steps": (36, 43)}),
    )
}


def coco_recipe(preset: str, **overrides: Any) -> CocoRecipe:
    """A recipe for COCO, with fields replaced.

    Parameters
    ----------
    preset : str
        One of `COCO_RECIPES`: "detectron_mask", "detectron_keypoints", "torchvision_mask",
        "torchvision_keypoints".
    **overrides
        Fields of `CocoRecipe`. A mapping for `detector` replaces only the fields that it contains.
        In it, `blocks` is "none", "backbone", "head" or "both", see `blocks_at`.

    Raises
    ------
    TypeError, ValueError
        The preset or a field is unknown, or a value is wrong.

    Examples
    --------
    >>> coco_recipe("detectron_mask", detector={"backbone": "resnet101", "blocks": "backbone"})
    <CocoRecipe 'detectron_mask with detector': batch 16, 90000 iterations, rate 0.02>
    """
    if preset not in COCO_RECIPES:
        raise ValueError(f"recipe must be one of {tuple(COCO_RECIPES)}; received {preset!r}")
    return changed(COCO_RECIPES[preset], overrides)


def changed(known: CocoRecipe, overrides: Mapping[str, Any]) -> CocoRecipe:
    """A recipe with fields replaced, see `coco_recipe`."""
    check_fields(CocoRecipe, overrides, without=("name", "sources"))
    values = dict(overrides)
    if isinstance(values.get("detector"), Mapping):
        values["detector"] = _detector(known.detector, values["detector"])
    return with_fields(known, values, whole="detector")


def _detector(known: DetectorSpec, given: Mapping[str, Any]) -> DetectorSpec:
    names = {f.name for f in fields(DetectorSpec)}
    if unknown := sorted(set(given) - names - {"blocks"}):
        raise TypeError(
            f"detector.{unknown[0]} must be blocks or a field of DetectorSpec, {sorted(names)}; "
            f"received {unknown[0]}={given[unknown[0]]!r}"
        )
    values = dict(given)
    blocks = values.pop("blocks", None)
    backbone = values.get("backbone", known.backbone)
    if blocks is not None:
        if "non_local" in values:
            raise ValueError("detector must have blocks or non_local, not both; received both")
        values["non_local"] = blocks_at(blocks, backbone)
    elif backbone != known.backbone and known.non_local and "non_local" not in values:
        raise ValueError(
            "detector must have blocks or non_local for another backbone, because the blocks of "
            f"{known.backbone} are not those of {backbone}; received neither"
        )
    for name in ("block", "options"):
        if isinstance(values.get(name), Mapping):
            values[name] = {**getattr(known, name), **values[name]}
    return replace(known, **values)


def coco_recipe_to_json(value: CocoRecipe) -> str:
    """All fields of a recipe as JSON.

    Examples
    --------
    >>> known = coco_recipe("torchvision_keypoints")
    >>> coco_recipe_from_json(coco_recipe_to_json(known)) == known
    True
    """
    values = {f.name: getattr(value, f.name) for f in fields(value)}
    values["detector"] = {f.name: getattr(value.detector, f.name) for f in fields(DetectorSpec)}
    return json.dumps(values, indent=2) + "\n"


def coco_recipe_from_json(text: str) -> CocoRecipe:
    """The recipe of a JSON object: all fields, or "preset" and the fields that differ from it.

    Raises
    ------
    ValueError
        The text is not a JSON object, or a value is wrong.
    TypeError
        A field is unknown or missing, or a value is wrong.

    Examples
    --------
    >>> coco_recipe_from_json('{"preset": "torchvision_mask", "epochs": 12, "steps": [8, 11]}')
    <CocoRecipe 'torchvision_mask with epochs, steps': batch 16, 12 epochs, rate 0.02>
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ValueError(f"a recipe must be JSON; received text that is not: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"a recipe must be a JSON object; received {type(values).__name__}")
    if PRESET in values:
        return coco_recipe(values.pop(PRESET), **values)
    return CocoRecipe(**values)


def load_coco_recipe(name: str, settings: Iterable[str] = ()) -> CocoRecipe:
    """A preset by its name, or the recipe of a .json file, with settings such as "batch=8".

    A value is JSON, or text if it is not JSON. "detector.blocks=none" sets a field of the detector.

    Raises
    ------
    OSError
        The file cannot be read.
    TypeError, ValueError
        A setting or a value is wrong.

    Examples
    --------
    >>> load_coco_recipe("detectron_mask", ["detector.blocks=none"]).detector.blocks
    {}
    """
    is_file = name.endswith(".json")
    known = coco_recipe_from_json(Path(name).read_text("utf-8")) if is_file else coco_recipe(name)
    return changed(known, overrides_of(settings))


#: How the recipes of COCO are stored in checkpoints. A learner checks the weights.
COCO = RecipeForm(
    *("nlcore_coco_checkpoint", "images", coco_recipe_to_json, coco_recipe_from_json),
    lambda recipe, weights: None,
)
