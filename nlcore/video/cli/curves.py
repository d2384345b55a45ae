"""nlcore-video curves: a picture of the errors of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nlcore.video.cli.terminal import or_exit
from nlcore.video.running.curve_picture import draw_curves


def curves(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs.", metavar="RUN...")],
    output: Annotated[
        Path, typer.Option(help="Picture to write: .png, .svg or .pdf.", metavar="FILE")
    ] = Path("curves.png"),
) -> None:
    """Draw the training and validation error of runs over the iterations, in one picture."""
    with or_exit():
        draw_curves(runs).savefig(output, dpi=150)
    print(f"{output}: {', '.join(map(str, runs))}")
