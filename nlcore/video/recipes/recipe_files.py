"""Recipes as JSON files, and settings of a command line such as "batch=8"."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from nlcore.video.network import NetworkSpec
from nlcore.video.recipes.definition import Recipe
from nlcore.video.recipes.presets import RECIPES, overridden, recipe

#: The key of a file that contains only the fields in which a recipe differs from a preset.
PRESET = "preset"


def recipe_to_json(value: Recipe) -> str:
    """All fields of a recipe as JSON, so that it does not depend on the presets.

    Examples
    --------
    >>> recipe_from_json(recipe_to_json(recipe("paper"))) == recipe("paper")
    True
    """
    values = {f.name: getattr(value, f.name) for f in fields(value)}
    network = value.network
    values["network"] = {f.name: getattr(network, f.name) for f in fields(NetworkSpec)}
    return json.dumps(values, indent=2) + "\n"


def recipe_from_json(text: str) -> Recipe:
    """The recipe of a JSON object: all fields, or "preset" and the fields that differ from it.

    Raises
    ------
    ValueError
        The text is not a JSON object, or a value is wrong.
    TypeError
        A field is unknown or missing, or a value is wrong.

    Examples
    --------
    >>> recipe_from_json('{"preset": "paper", "batch": 8}').batch
    8
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ValueError(f"a recipe must be JSON; received text that is not: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"a recipe must be a JSON object; received {type(values).__name__}")
    if PRESET in values:
        return recipe(values.pop(PRESET), **values)
    names = [f.name for f in fields(Recipe)]
    missing = [name for name in names if name not in values]
    unknown = [name for name in values if name not in names]
    if missing or unknown:
        raise TypeError(
            f"a recipe must have every field of Recipe, or {PRESET!r}, one of {tuple(RECIPES)}; "
            f"missing: {missing}, unknown: {unknown}"
        )
    return Recipe(**values)


def load_recipe(name: str, settings: Iterable[str] = ()) -> Recipe:
    """A preset by its name, or the recipe of a .json file, with settings such as "batch=8".

    A value is JSON, or text if it is not JSON. "network.depth=101" and
    "network.block.pairwise=dot_product" set fields of the network, see `recipe`.

    Raises
    ------
    OSError
        The file cannot be read.
    TypeError, ValueError
        A setting or a value is wrong.

    Examples
    --------
    >>> load_recipe("paper", ["batch=8", "network.block.pairwise=gaussian"]).name
    'paper with batch, network'
    """
    known = (
        recipe_from_json(Path(name).read_text("utf-8")) if name.endswith(".json") else recipe(name)
    )
    return overridden(known, overrides_of(settings))


def overrides_of(settings: Iterable[str]) -> dict[str, Any]:
    """Settings such as "batch=8" as a mapping, with a mapping inside for each part before a dot."""
    overrides: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not key or not equals:
            raise ValueError(f"a setting must be FIELD=VALUE; received {setting!r}")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        *parents, last = key.split(".")
        place = overrides
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ValueError(f"{parent} must be set only once; received {setting!r} too")
        if last in place:
            raise ValueError(f"{key} must be set only once; received {setting!r} too")
        place[last] = value
    return overrides
