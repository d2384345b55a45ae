"""nlcore-video evaluate: a trained network classifies the test views of videos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nlcore.video.cli import options as shared
from nlcore.video.cli.terminal import or_exit, progress
from nlcore.video.labels import read_index
from nlcore.video.loading.targets import check_names
from nlcore.video.metrics import PRECISION_DIALECTS
from nlcore.video.recipes import Recipe
from nlcore.video.running import Checkpoint
from nlcore.video.running.evaluation_report import Results, write_results
from nlcore.video.running.run_folder import load_run
from nlcore.video.running.view_scoring import EvaluationSettings
from nlcore.video.views import ViewScores, read_scores

Tell = Callable[[int, int], None]
#: Number of classes that are printed, of all that are in the file.
SHOWN = 10


Model = Annotated[
    Path, typer.Argument(help="A run, a checkpoint, or a file of weights.", metavar="MODEL")
]
TestIndex = Annotated[Path, typer.Argument(help="Index of the videos.", metavar="INDEX")]
Output = Annotated[
    Path | None,
    typer.Option(help="Folder of the results. Default: MODEL/evaluation.", metavar="DIR"),
]
Views = Annotated[
    int | None, typer.Option(help="Number of clips of a video. Default: the recipe's.", min=1)
]
Crops = Annotated[
    int | None, typer.Option(help="Number of crops of a clip, 1 or 3. Default: the recipe's.")
]
ShortSide = Annotated[
    int | None,
    typer.Option(help="Shorter side of the frames in pixels. Default: the recipe's.", min=1),
]
Crop = Annotated[
    int | None,
    typer.Option(
        help="Side of a crop in pixels, or 0 for whole frames. Default: the recipe's.", min=0
    ),
]
Merge = Annotated[
    str | None,
    typer.Option(help="How to merge the scores of views: mean, max or sum. Default: the recipe's."),
]
Dialect = Annotated[
    str,
    typer.Option(help=f"How to compute mean average precision: {', '.join(PRECISION_DIALECTS)}."),
]
Scores = Annotated[
    list[Path] | None,
    typer.Option(
        help="Scores of an earlier evaluation: they are merged, and nothing is computed. Can be "
        "repeated.",
        metavar="FILE",
    ),
]
Naming = Annotated[
    str,
    typer.Option(help="Project whose names a file of weights has, as for train.", metavar="NAME"),
]
BatchSize = Annotated[
    int, typer.Option(help="Number of views of one size that are computed at once.", min=1)
]


def evaluate(
    model: Model,
    index: TestIndex,
    output: Output = None,
    views: Views = None,
    crops: Crops = None,
    short_side: ShortSide = None,
    crop: Crop = None,
    merge: Merge = None,
    dialect: Dialect = "charades",
    scores: Scores = None,
    recipe: shared.RecipeOption = None,
    set: shared.SetOption = None,
    naming: Naming = "nlcore",
    root: shared.RootOption = None,
    batch: BatchSize = 1,
    framework: shared.FrameworkOption = shared.Framework.torch,
    workers: shared.WorkersOption = 4,
    device: shared.DeviceOption = None,
    precision: shared.PrecisionOption = shared.Precision.float32,
    channels_last: shared.ChannelsLastOption = False,
) -> None:
    """Classify the test views of videos, and merge the scores of each video.

    The recipe determines the views, unless options change them. The command writes scores.npz,
    metrics.json, classes.csv, videos.csv and confusion.png into DIR. A file of weights needs
    --recipe.

    Several GPUs: torchrun --nproc-per-node 8 --no-python nlcore-video evaluate ...
    """
    with or_exit():
        changes = {
            "test_clips": views,
            "test_crops": crops,
            "test_short_side": short_side,
            "merge": merge,
        }
        tested: dict[str, Any] = {k: value for k, value in changes.items() if value is not None}
        if crop is not None:
            tested["test_crop"] = crop or None
        trained = None if scores or not model.is_dir() else load_run(model, print)
        chosen = shared.changed_recipe(_recipe(model, recipe, trained), set, tested)
        videos = read_index(index, root, check=not scores)
        found: ViewScores | None
        folder = output or (model if model.is_dir() else model.parent) / "evaluation"
        if scores:
            found, _ = read_scores(scores)
        else:
            computed = shared.function_of(framework, "evaluation", "evaluate")
            options = {
                "device": device,
                "precision": precision.value,
                "channels_last": channels_last,
            }
            if trained is not None:
                check_names(videos, trained.names, str(model))
            settings = EvaluationSettings(chosen, videos, folder, workers, batch)
            found = _computed(lambda tell: computed(settings, model, naming, tell=tell, **options))
        if found is not None:
            _print(write_results(found, videos, chosen, folder, dialect), found, folder)


def _computed(compute: Callable[[Tell], ViewScores | None]) -> ViewScores | None:
    """The scores, with a bar in the first process."""
    if not shared.is_first_process():
        return compute(lambda done, total: None)
    with progress(Console(stderr=True), "views") as tell:
        return compute(tell)


def _recipe(model: Path, name: str | None, trained: Checkpoint | None) -> Recipe:
    if name is not None:
        return shared.recipe_of(name, None)
    if trained is not None:
        return trained.recipe
    if not model.is_dir():
        if not model.exists():
            raise FileNotFoundError(f"{model} must be a run, a checkpoint or a file; there is none")
        raise ValueError(f"--recipe is needed: {model} is a file of weights")
    return load_run(model, print).recipe


def _print(results: Results, scores: ViewScores, folder: Path) -> None:
    table = Table(box=None, pad_edge=False)
    value = "accuracy" if "top1" in results.metrics else "average precision"
    for column in ("class", "videos", value, "confused with"):
        table.add_column(column, header_style="dim")
    worst = sorted(results.classes, key=lambda row: (row.value != row.value, row.value))
    for row in worst[:SHOWN]:
        table.add_row(  # Text, since names may have brackets
            Text(row.name), str(row.videos), f"{row.value:.3f}", Text(row.confused_with)
        )
    console = Console()
    console.print(table)
    if len(worst) > SHOWN:
        print(f"and {len(worst) - SHOWN} better classes, all of them in {folder / 'classes.csv'}")
    shown = ", ".join(
        f"{name.replace('_', ' ')} {value:.4f}" for name, value in results.metrics.items()
    )
    print(f"{folder}: {len(scores.videos)} videos, {scores.scores.shape[1]} views each: {shown}")
