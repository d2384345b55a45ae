"""A picture of the errors of runs during training and validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nlcore.video.running.metric_tables import ITERATION, read_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The training curve is the mean over this fraction of the iterations.
SMOOTHED = 0.05


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """The mean of each value and up to width - 1 before it.

    Examples
    --------
    >>> running_mean(np.array([1.0, 3.0, 5.0]), 2).tolist()
    [1.0, 2.0, 4.0]
    """
    total = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    return (total[ends] - total[starts]) / (ends - starts)


def draw_curves(runs: Sequence[Path | str]) -> Figure:
    """The training (dashed) and validation (solid) error of runs. Needs matplotlib.

    The error is top-1, as in the paper's Figure 4. If a run has clips with several labels, or is
    not one of videos, it is the loss.

    Raises
    ------
    ValueError
        A folder has no metrics.
    """
    from matplotlib.figure import Figure

    if not runs:
        raise ValueError("runs must be at least one folder; received none")
    tables = [_tables(Path(run)) for run in runs]
    percent = all(np.isfinite(training.get("error", np.nan)).all() for training, _ in tables)
    column, scale = ("error", 100.0) if percent else ("loss", 1.0)
    figure = Figure((7.0, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for number, (run, (training, validation)) in enumerate(zip(runs, tables, strict=True)):
        name, color = Path(run).resolve().name, f"C{number}"
        at = training[ITERATION]
        smooth = running_mean(training[column], max(round(SMOOTHED * len(at)), 1))
        axes.plot(at, scale * smooth, "--", color=color, lw=1, label=f"{name}, training")
        if column in validation:
            points = (validation[ITERATION], scale * validation[column])
            axes.plot(*points, "-", color=color, marker="o", ms=3, label=f"{name}, validation")
    axes.set(xlabel="iterations", ylabel="top-1 error (%)" if percent else "loss")
    axes.set_ylim(bottom=0.0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def _tables(run: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    training = read_table(run / "training.csv")
    if not training or not len(training[ITERATION]):
        raise ValueError(f"{run} must be the folder of a run; received one without training.csv")
    return training, read_table(run / "validation.csv")
