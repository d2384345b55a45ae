"""nlcore-video classify: a trained network names what video files show."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nlcore.video.cli import options as shared
from nlcore.video.cli.terminal import or_exit, progress
from nlcore.video.labels import index_of_files
from nlcore.video.running.run_folder import load_run
from nlcore.video.running.view_scoring import EvaluationSettings

Run = Annotated[Path, typer.Argument(help="A run or a checkpoint.", metavar="RUN")]
Files = Annotated[list[Path], typer.Argument(help="Video files.", metavar="VIDEO...")]
Largest = Annotated[int, typer.Option("-k", help="Number of classes to print.", min=1)]


def classify(
    run: Run,
    videos: Files,
    k: Largest = 5,
    set: shared.SetOption = None,
    framework: shared.FrameworkOption = shared.Framework.torch,
    device: shared.DeviceOption = None,
    precision: shared.PrecisionOption = shared.Precision.float32,
) -> None:
    """Print the classes of video files with the largest scores.

    The recipe of the run determines the views, and how their scores are merged. If it merges by
    sum, a score is a sum over the views.
    """
    with or_exit():
        found = load_run(run, print)
        recipe = shared.changed_recipe(found.recipe, set)
        compute = shared.function_of(framework, "evaluation", "evaluate")
        with TemporaryDirectory() as folder, progress(Console(stderr=True), "views") as tell:
            settings = EvaluationSettings(recipe, index_of_files(videos), Path(folder))
            options = {"device": device, "precision": precision.value}
            scores = compute(settings, run, tell=tell, **options).merged(recipe.merge)
    table = Table(box=None, pad_edge=False)
    for column in ("video", "class", "score"):
        table.add_column(column, header_style="dim", overflow="fold")
    for path, row in zip(videos, scores, strict=True):
        for place, label in enumerate(np.argsort(-row, kind="stable")[:k]):
            name = found.names[label] if label < len(found.names) else str(label)
            file = Text("" if place else str(path))  # Text, since names may have brackets
            table.add_row(file, Text(name), f"{row[label]:.3f}")
    Console().print(table)
