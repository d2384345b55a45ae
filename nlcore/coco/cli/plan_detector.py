"""nlcore-coco plan: all that a recipe will do, and what the blocks add, without any data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from nlcore.coco import COCO_RECIPES, CocoRecipe, DetectorSpec, coco_recipe_to_json
from nlcore.coco.cli import coco_options as shared
from nlcore.coco.coco_presets import PLACES

#: Images of train2017 that have annotations with a box, which are trained on for masks.
ANNOTATED = 117_266


def plan(
    recipe: Annotated[
        str,
        typer.Option(help=f"Recipe: {', '.join(COCO_RECIPES)}, or a .json file.", metavar="NAME"),
    ] = "detectron_mask",
    set: shared.SetOption = None,
    images: Annotated[
        int | None,
        typer.Option(help="Number of training images. Default for masks: train2017's.", min=1),
    ] = None,
    height: Annotated[
        int, typer.Option(help="Height of the image, in pixels, for the cost.", min=32)
    ] = 800,
    width: Annotated[
        int, typer.Option(help="Width of the image, in pixels, for the cost.", min=32)
    ] = 1344,
    json: Annotated[
        Path | None,
        typer.Option(help="Write all fields of the recipe to this file, as JSON.", metavar="FILE"),
    ] = None,
) -> None:
    """Show what a recipe will do: detector, blocks and what they add, schedule, and sources."""
    with shared.or_exit():
        found = shared.recipe_named(recipe, set)
        count = images or (ANNOTATED if found.task == "mask" else 0)
        if not count and found.epochs is not None:
            raise ValueError(
                f"--images is needed: {found.name!r} counts epochs, and trains on the images with "
                "10 visible keypoints, which nlcore-coco check counts"
            )
        tables = [
            _pairs("Detector", _detector(found.detector)),
            _fields(found),
            _pairs("Learning rate", _schedule(found, count)),
            _pairs("It amounts to", _totals(found, count)),
            _pairs("Sources", _places(found)),
        ]
        if json is not None:
            json.write_text(coco_recipe_to_json(found), encoding="utf-8")
        cost = shared.function_of("detector_cost", "detector_cost")(found.detector, (height, width))
    console = Console()
    console.print(f"A recipe, [bold]{found.name}[/bold]: the paper states no schedule for COCO")
    for table in tables:
        console.print()
        console.print(table)
    print(f"\nBlocks in an image of {height} x {width} pixels\n{cost}")


def _detector(spec: DetectorSpec) -> Iterable[tuple[str, str]]:
    for field in fields(spec):
        yield field.name, _text(getattr(spec, field.name))
    for name, block in spec.blocks.items():
        yield f"block after {name}", f"{block.pairwise}, {block.channels} channels"


def _fields(recipe: CocoRecipe) -> Table:
    table = Table(title="Training", title_justify="left", title_style="bold", box=None)
    for column in ("field", "value", "read in"):
        table.add_column(column, header_style="dim", overflow="fold")
    for field in fields(recipe):
        if field.name not in ("name", "detector", "sources"):
            value = _text(getattr(recipe, field.name))
            table.add_row(field.name, value, recipe.sources.get(field.name, ""))
    return table


def _schedule(recipe: CocoRecipe, images: int) -> Iterable[tuple[str, str]]:
    length = 1 if recipe.epochs is None else recipe.iterations_per_epoch(images)
    total = recipe.total_iterations(images)
    changes = {0, recipe.warmup, *(step * length for step in recipe.steps), total - 1}
    for iteration in sorted(change for change in changes if change < total):
        rate = recipe.learning_rate(iteration, images)
        yield f"from iteration {iteration:,}", f"{rate:.6g}"


def _totals(recipe: CocoRecipe, images: int) -> Iterable[tuple[str, str]]:
    total = recipe.total_iterations(images)
    devices = recipe.batch // recipe.images_per_device
    yield "iterations", f"{total:,}"
    yield "images", f"{total * recipe.batch:,}: {recipe.batch} an iteration, on {devices} devices"
    if images:
        yield "epochs", f"{total * recipe.batch / images:.1f} of {images:,} training images"


def _places(recipe: CocoRecipe) -> Iterable[tuple[str, str]]:
    sources = "\n".join(recipe.sources.values())
    return [(name, where) for name, where in PLACES.items() if name in sources]


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name}={one}" for name, one in value.items()) or "none"
    return "none" if value is None else str(value)


def _pairs(title: str, pairs: Iterable[tuple[str, str]]) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, show_header=False
    )
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for pair in pairs:
        table.add_row(*pair)
    return table
