"""nlcore-coco evaluate: COCO's numbers of a trained detector."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from nlcore.coco import CocoRecipe
from nlcore.coco.cli import coco_options as shared
from nlcore.coco.coco_presets import COCO, changed
from nlcore.coco.results.average_precision import Precision
from nlcore.coco.results.detection_report import CocoEvaluationSettings
from nlcore.video.cli.options import (
    DeviceOption,
    PrecisionOption,
    WorkersOption,
    is_first_process,
)
from nlcore.video.cli.options import Precision as Dtype
from nlcore.video.cli.terminal import progress
from nlcore.video.recipes.recipe_files import overrides_of
from nlcore.video.running.run_folder import load_run

#: Number of classes that are printed, of all that are in the file.
SHOWN = 10

Model = Annotated[
    Path, typer.Argument(help="A run, a checkpoint, or a file of weights.", metavar="MODEL")
]
Split = Annotated[str, typer.Option(help="Split whose images are tested.", metavar="NAME")]
Output = Annotated[
    Path | None,
    typer.Option(help="Folder of the results. Default: MODEL/evaluation.", metavar="DIR"),
]
Pictures = Annotated[int, typer.Option(help="Number of images that are drawn.", min=0)]


def evaluate(
    model: Model,
    folder: shared.Folder,
    split: Split = "val2017",
    output: Output = None,
    recipe: shared.RecipeOption = None,
    set: shared.SetOption = None,
    pictures: Pictures = 8,
    workers: WorkersOption = 4,
    device: DeviceOption = None,
    precision: PrecisionOption = Dtype.float32,
) -> None:
    """Detect the objects in a split, and print COCO's metrics as pycocotools computes them.

    The command writes into DIR: results-bbox.json and results-segm.json or results-keypoints.json
    in COCO's form, metrics.json, classes.csv, and pictures of detections and of where the block in
    the backbone looks. A file of weights needs --recipe.

    Several GPUs: torchrun --nproc-per-node 8 --no-python nlcore-coco evaluate ...
    """
    with shared.or_exit():
        computed = shared.function_of("detection_evaluation", "evaluate")
        chosen = changed(_recipe(model, recipe), overrides_of(set or ()))
        target = output or (model if model.is_dir() else model.parent) / "evaluation"
        images = shared.split_of(folder, split, chosen.task)
        settings = CocoEvaluationSettings(chosen, images, target, workers, pictures)
        options = {"device": device, "precision": precision.value}
        found = _with_bar(lambda tell: computed(settings, model, tell=tell, **options))
    if found is not None:
        _print(found, target, len(images))


def _with_bar(
    compute: Callable[[Callable[[int, int], None]], list[Precision] | None],
) -> list[Precision] | None:
    if not is_first_process():
        return compute(lambda done, total: None)
    with progress(Console(stderr=True), "images") as tell:
        return compute(tell)


def _recipe(model: Path, name: str | None) -> CocoRecipe:
    if name is not None:
        return shared.recipe_named(name, None)
    if not model.is_dir():
        if not model.exists():
            raise FileNotFoundError(f"{model} must be a run, a checkpoint or a file; there is none")
        raise ValueError(f"--recipe is needed: {model} is a file of weights")
    return load_run(model, print, COCO).recipe


def _print(found: list[Precision], folder: Path, images: int) -> None:
    console = Console()
    for one in found:
        table = Table(title=one.kind, title_justify="left", box=None, pad_edge=False)
        for name in one.stats:
            table.add_column(name, header_style="dim", justify="right")
        table.add_row(
            *(f"{100 * value:.1f}" if value >= 0 else "-" for value in one.stats.values())
        )
        console.print(table)
    classes = Table(box=None, pad_edge=False)
    for column in ("class", "objects", *(f"{one.kind} AP" for one in found)):
        classes.add_column(column, header_style="dim")
    rows = sorted(zip(*(one.classes for one in found), strict=True), key=lambda row: row[0].AP)
    for row in rows[:SHOWN]:
        classes.add_row(row[0].name, str(row[0].objects), *(f"{100 * r.AP:.1f}" for r in row))
    console.print(classes)
    if len(rows) > SHOWN:
        print(f"and {len(rows) - SHOWN} better classes, all of them in {folder / 'classes.csv'}")
    print(f"{folder}: {images} images")
