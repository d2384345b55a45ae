"""Options that several commands of nlcore-coco share."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from nlcore.coco import COCO_RECIPES, CocoRecipe, CocoSet, coco_files, load_coco_recipe, read_coco
from nlcore.video.cli import terminal

Folder = Annotated[
    Path,
    typer.Argument(
        help="Folder that contains annotations/ and a folder of images for each split.",
        metavar="DIR",
    ),
]
RecipeOption = Annotated[
    str | None,
    typer.Option(help=f"Recipe: {', '.join(COCO_RECIPES)}, or a .json file.", metavar="NAME"),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        help="A field of the recipe, such as batch=8 or detector.blocks=none. Can be repeated.",
        metavar="FIELD=VALUE",
    ),
]


def or_exit() -> AbstractContextManager[None]:
    """End the command with one line and status 2 where something cannot be run."""
    return terminal.or_exit("nlcore-coco", "coco")


def recipe_named(name: str, settings: list[str] | None) -> CocoRecipe:
    """The recipe. Every mistake of the user is a ValueError."""
    try:
        return load_coco_recipe(name, settings or ())
    except TypeError as error:
        raise ValueError(str(error)) from None


def split_of(folder: Path, split: str, task: str) -> CocoSet:
    """The images of a split in COCO's layout."""
    return read_coco(*coco_files(folder, split, task), task)


def function_of(module: str, name: str) -> Any:
    """A function of `nlcore_torch.detection`, which is imported here."""
    try:
        return getattr(import_module(f"nlcore_torch.detection.{module}"), name)
    except ImportError as error:
        raise ValueError(
            f"needs {error.name}: pip install torch torchvision 'nlcore[coco]', where torchvision "
            "is the version for this torch"
        ) from None
