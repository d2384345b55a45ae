"""nlcore-video train: a network is trained by a recipe, or goes on."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from nlcore.video.cli import options as shared
from nlcore.video.cli.terminal import or_exit
from nlcore.video.cli.training_options import (
    DeterministicOption,
    KeepOption,
    OutputOption,
    ResumeOption,
    SeedOption,
)
from nlcore.video.labels import read_index
from nlcore.video.recipes import RECIPES, Recipe, load_recipe
from nlcore.video.running.reporting import TerminalReporter
from nlcore.video.running.run_folder import RunFolder
from nlcore.video.running.run_settings import RunSettings

TrainingIndex = Annotated[
    Path, typer.Argument(help="Index of the training videos.", metavar="INDEX")
]
Validation = Annotated[
    Path | None, typer.Option(help="Index of the validation videos.", metavar="INDEX")
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help=f"Recipe: {', '.join(RECIPES)}, or a .json file. Default: paper, or with --resume "
        "that of the run.",
        metavar="NAME",
    ),
]
Initial = Annotated[
    Path | None,
    typer.Option(help="Initial weights: a file, a checkpoint, or a run.", metavar="PATH"),
]
Naming = Annotated[
    str | None,
    typer.Option(
        help="Project whose names they have: nlcore, torchvision (also timm), keras, caffe2, "
        "slowfast, pytorchvideo or mmaction2. Default: by `initial` of the recipe.",
        metavar="NAME",
    ),
]
Every = Annotated[
    int | None,
    typer.Option(
        help="Iterations between validations, each with a checkpoint. Default: 1/100 of all.",
        min=1,
    ),
]
Compile = Annotated[bool, typer.Option("--compile", help="Compile the network.")]


def train(
    index: TrainingIndex,
    output: OutputOption,
    recipe: RecipeName = None,
    set: shared.SetOption = None,
    validation: Validation = None,
    root: shared.RootOption = None,
    resume: ResumeOption = False,
    initial: Initial = None,
    naming: Naming = None,
    seed: SeedOption = 0,
    every: Every = None,
    keep: KeepOption = 3,
    framework: shared.FrameworkOption = shared.Framework.torch,
    workers: shared.WorkersOption = 4,
    device: shared.DeviceOption = None,
    precision: shared.PrecisionOption = shared.Precision.float32,
    channels_last: shared.ChannelsLastOption = False,
    compile: Compile = False,
    deterministic: DeterministicOption = False,
) -> None:
    """Train a network by a recipe.

    SIGTERM and Ctrl-C end it after the current iteration, with a checkpoint and exit status 1. To
    continue, run the same command with --resume. The results are the same as without the stop.

    Several GPUs: torchrun --nproc-per-node 8 --no-python nlcore-video train ...
    """
    with or_exit():
        train_with = shared.function_of(framework, "training", "train")
        settings = RunSettings(
            recipe=_recipe(output, recipe, set, resume),
            index=read_index(index, root),
            output=output,
            validation=None if validation is None else read_index(validation, root),
            seed=seed,
            workers=workers,
            every=every,
            keep=keep,
            resume=resume,
        )
        with ExitStack() as stack:
            reporters = []
            if shared.is_first_process():
                reporters.append(stack.enter_context(TerminalReporter(settings.total)))
            outcome = train_with(
                settings,
                initial,
                naming,
                device=device,
                precision=precision.value,
                channels_last=channels_last,
                compile=compile,
                deterministic=deterministic,
                reporters=reporters,
            )
    if outcome.stopped is not None:
        raise typer.Exit(1)
    if shared.is_first_process():
        print(f"{output}: {outcome.iteration} iterations are done")


def _recipe(output: Path, name: str | None, settings: list[str] | None, resume: bool) -> Recipe:
    """The recipe that is named, or that of the run that is resumed."""
    stored = RunFolder(output).recipe
    if name is None and resume and stored.exists():
        return shared.changed_recipe(load_recipe(str(stored)), settings)
    return shared.recipe_of(name or "paper", settings)
