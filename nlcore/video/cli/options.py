"""Options that several commands share, and the frameworks' functions by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

import nlcore
from nlcore.video.recipes import RECIPES, Recipe, load_recipe
from nlcore.video.recipes.presets import overridden
from nlcore.video.recipes.recipe_files import overrides_of


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nlcore {nlcore.__version__}")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
]


class Framework(StrEnum):
    """Which package trains."""

    torch = "torch"
    keras = "keras"


class Precision(StrEnum):
    """In which dtype most of a network is computed. Weights are float32."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


FrameworkOption = Annotated[Framework, typer.Option(help="The framework that computes.")]
RecipeOption = Annotated[
    str | None,
    typer.Option(help=f"Recipe: {', '.join(RECIPES)}, or a .json file.", metavar="NAME"),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        help="A field of the recipe, such as batch=8 or network.depth=101. Can be repeated.",
        metavar="FIELD=VALUE",
    ),
]
WorkersOption = Annotated[
    int,
    typer.Option(
        help="Processes that load clips or images. With 0, the command loads them itself.", min=0
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        help="Device that computes, such as cpu or cuda. Default: cuda if there is one.",
        metavar="NAME",
    ),
]
PrecisionOption = Annotated[
    Precision, typer.Option(help="Dtype in which most of the network is computed.")
]
ChannelsLastOption = Annotated[
    bool, typer.Option("--channels-last", help="Store clips with channels last in memory.")
]
RootOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the videos. Default: the one that the index states.", metavar="DIR"
    ),
]


def recipe_of(name: str, settings: Sequence[str] | None) -> Recipe:
    """The recipe. Every mistake of the user is a ValueError."""
    return _or_value_error(lambda: load_recipe(name, settings or ()))


def changed_recipe(
    known: Recipe, settings: Sequence[str] | None, more: Mapping[str, Any] | None = None
) -> Recipe:
    """A recipe with settings, and with more fields replaced. The name stays."""
    changed = _or_value_error(
        lambda: overridden(overridden(known, overrides_of(settings or ())), more or {})
    )
    return replace(changed, name=known.name)


def _or_value_error(make: Callable[[], Recipe]) -> Recipe:
    try:
        return make()
    except TypeError as error:
        raise ValueError(str(error)) from None


def function_of(framework: Framework, module: str, name: str) -> Any:
    """A function of the framework's package, which is imported here."""
    try:
        return getattr(import_module(f"nlcore_{framework.value}.video.{module}"), name)
    except ImportError as error:
        raise ValueError(
            f"--framework {framework.value} needs {error.name}: "
            f"pip install 'nlcore[{framework.value},video]'"
        ) from None


def is_first_process() -> bool:
    """Whether this process is the first of those that `torchrun` has started."""
    return os.environ.get("RANK", "0") == "0"
