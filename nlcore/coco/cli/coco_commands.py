"""The commands of nlcore-coco, one module each."""

from __future__ import annotations

import typer

from nlcore.coco.cli.check_files import check
from nlcore.coco.cli.evaluate_detector import evaluate
from nlcore.coco.cli.plan_detector import plan
from nlcore.coco.cli.train_detector import curves, train
from nlcore.video.cli.options import VersionOption

app = typer.Typer(no_args_is_help=True)


@app.callback()
def options(version: VersionOption = False) -> None:
    """Train and evaluate torchvision's Mask R-CNN and Keypoint R-CNN with the paper's blocks.

    The exit status is 0 if the command did all of its work, 1 if it did only a part, and 2 if it
    could not be run or an error ended it.
    """


app.command()(check)
app.command()(plan)
app.command()(train)
app.command()(evaluate)
app.command()(curves)
