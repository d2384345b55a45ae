"""A picture of the losses and of the average precisions of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nlcore.video.running.curve_picture import SMOOTHED, running_mean
from nlcore.video.running.metric_tables import ITERATION, read_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Styles of the lines of a run, of each kind of result.
STYLES = ("-", "--")


def draw_precision_curves(runs: Sequence[Path | str]) -> Figure:
    """The training loss of runs, and beside it the AP in the validation images. Needs matplotlib.

    Raises
    ------
    ValueError
        A folder has no metrics.
    """
    from matplotlib.figure import Figure

    if not runs:
        raise ValueError("runs must be at least one folder; received none")
    figure = Figure((11.0, 4.2), layout="constrained")
    losses, precisions = figure.subplots(1, 2)
    for number, run in enumerate(map(Path, runs)):
        name, colour = run.resolve().name, f"C{number}"
        training = read_table(run / "training.csv")
        if not training or not len(training[ITERATION]):
            raise ValueError(
                f"{run} must be the folder of a run; received one without training.csv"
            )
        at = training[ITERATION]
        smooth = running_mean(training["loss"], max(round(SMOOTHED * len(at)), 1))
        losses.plot(at, smooth, color=colour, lw=1, label=name)
        validation = read_table(run / "validation.csv")
        columns = [column for column in validation if column.endswith("_AP")]
        for column, style in zip(columns, STYLES, strict=False):
            label = f"{name}, {column.removesuffix('_AP')}"
            points = validation[ITERATION], 100 * validation[column]
            precisions.plot(*points, style, color=colour, marker="o", ms=3, label=label)
    losses.set(xlabel="iterations", ylabel="training loss")
    precisions.set(xlabel="iterations", ylabel="AP (%)")
    for axes in (losses, precisions):
        axes.set_ylim(bottom=0.0)
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8)
    return figure
