"""Options of the commands that train: a network on videos, a detector on images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

OutputOption = Annotated[
    Path, typer.Option(help="Folder of the run, for checkpoints and metrics.", metavar="RUN")
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Continue from the newest whole checkpoint in RUN.")
]
SeedOption = Annotated[int, typer.Option(help="Seed of all random choices.", min=0)]
KeepOption = Annotated[int, typer.Option(help="Number of checkpoints to keep.", min=1)]
DeterministicOption = Annotated[
    bool,
    typer.Option(
        "--deterministic",
        help="Use algorithms that give the same bits in each run, where there are any.",
    ),
]
