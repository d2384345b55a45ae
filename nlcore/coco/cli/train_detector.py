"""nlcore-coco train and curves: a detector is trained by a recipe, or goes on."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from nlcore.coco import CocoRecipe, CocoRunSettings, load_coco_recipe
from nlcore.coco.cli import coco_options as shared
from nlcore.coco.coco_presets import changed
from nlcore.coco.results.precision_curves import draw_precision_curves
from nlcore.video.cli.options import (
    DeviceOption,
    Precision,
    PrecisionOption,
    WorkersOption,
    is_first_process,
)
from nlcore.video.cli.training_options import (
    DeterministicOption,
    KeepOption,
    OutputOption,
    ResumeOption,
    SeedOption,
)
from nlcore.video.recipes.recipe_files import overrides_of
from nlcore.video.running.reporting import TerminalReporter
from nlcore.video.running.run_folder import RunFolder

Training = Annotated[str, typer.Option(help="Split of the training images.", metavar="SPLIT")]
Validation = Annotated[
    str | None,
    typer.Option(help="Split of the validation images. Default: no validation.", metavar="SPLIT"),
]
Initial = Annotated[
    Path | None,
    typer.Option(
        help="Initial weights, of the kind that the recipe states: torchvision's resnet50 or "
        "detector, a checkpoint, or a run.",
        metavar="PATH",
    ),
]
Every = Annotated[
    int | None,
    typer.Option(
        help="Iterations between validations, each with a checkpoint. Default: 1/10 of all.",
        min=1,
    ),
]


def train(
    folder: shared.Folder,
    output: OutputOption,
    recipe: shared.RecipeOption = None,
    set: shared.SetOption = None,
    training: Training = "train2017",
    validation: Validation = None,
    resume: ResumeOption = False,
    initial: Initial = None,
    seed: SeedOption = 0,
    every: Every = None,
    keep: KeepOption = 3,
    workers: WorkersOption = 4,
    device: DeviceOption = None,
    precision: PrecisionOption = Precision.float32,
    deterministic: DeterministicOption = False,
) -> None:
    """Train a detector by a recipe.

    SIGTERM and Ctrl-C end it after the current iteration, with a checkpoint and exit status 1. To
    continue, run the same command with --resume. The results are the same as without the stop.

    Several GPUs: torchrun --nproc-per-node 8 --no-python nlcore-coco train ...
    """
    with shared.or_exit():
        train_with = shared.function_of("detection_training", "train")
        chosen = _recipe(output, recipe, set, resume)
        settings = CocoRunSettings(
            recipe=chosen,
            images=shared.split_of(folder, training, chosen.task),
            output=output,
            validation=shared.split_of(folder, validation, chosen.task) if validation else None,
            seed=seed,
            workers=workers,
            every=every,
            keep=keep,
            resume=resume,
        )
        with ExitStack() as stack:
            reporters = []
            if is_first_process():
                reporter = TerminalReporter(settings.total, "images")
                reporters.append(stack.enter_context(reporter))
            outcome = train_with(
                settings,
                initial,
                device=device,
                precision=precision.value,
                deterministic=deterministic,
                reporters=reporters,
            )
    if outcome.stopped is not None:
        raise typer.Exit(1)
    if is_first_process():
        print(f"{output}: {outcome.iteration} iterations are done")


def _recipe(output: Path, name: str | None, settings: list[str] | None, resume: bool) -> CocoRecipe:
    """The recipe that is named, or that of the run that is resumed."""
    stored = RunFolder(output).recipe
    if name is None and resume and stored.exists():
        return changed(load_coco_recipe(str(stored)), overrides_of(settings or ()))
    return shared.recipe_named(name or "detectron_mask", settings)


def curves(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs.", metavar="RUN...")],
    output: Annotated[
        Path, typer.Option(help="Picture to write: .png, .svg or .pdf.", metavar="FILE")
    ] = Path("curves.png"),
) -> None:
    """Draw the loss and the AP of runs over the iterations, in one picture."""
    with shared.or_exit():
        draw_precision_curves(runs).savefig(output, dpi=150)
    print(f"{output}: {len(runs)} runs")
