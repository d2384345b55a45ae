"""The commands of nlcore-video, one module each."""

from __future__ import annotations

import typer

from nlcore.video.cli.attend import ALL, attend
from nlcore.video.cli.classify import classify
from nlcore.video.cli.convert import convert
from nlcore.video.cli.curves import curves
from nlcore.video.cli.evaluate import evaluate
from nlcore.video.cli.index import index, split
from nlcore.video.cli.options import VersionOption
from nlcore.video.cli.plan import plan
from nlcore.video.cli.train import train

app = typer.Typer(no_args_is_help=True)


@app.callback()
def options(version: VersionOption = False) -> None:
    """Train and evaluate the paper's networks on videos.

    The exit status is 0 if the command did all of its work, 1 if it did only a part, and 2 if it
    could not be run or an error ended it.
    """


app.command()(index)
app.command()(split)
app.command()(plan)
app.command()(train)
app.command()(evaluate)
app.command()(classify)
app.command()(curves)
app.command()(convert)
app.command(context_settings=ALL)(attend)
