"""Pictures of docs/evidence.md: films of each task, and the points of curves."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nlcore.video.running.curve_picture import running_mean
from what_blocks_learn.film_tasks import SEGMENTS, TASKS, Film
from what_blocks_learn.intervals import mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The networks whose curves are drawn, and those of each task that are.
DRAWN = ("c2d", "i3d_3x1x1", "nl5", "nl5_i3d")
CURVES = ("compare", "move", "flash")
#: Tasks and number of films that are drawn.
SHOWN = {"compare": 4, "move": 2, "flash": 1}
#: The training error is the mean of so many iterations.
SMOOTHED = 25
CURVE_COLUMNS = ("task", "configuration", "split", "iteration", "error", "half", "seeds")


def draw_films(films: Sequence[tuple[str, Film]]) -> Figure:
    """A frame of each segment of each film, a row for each film with its title."""
    from matplotlib.figure import Figure

    figure = Figure((7.2, 1.05 * len(films)), layout="constrained")
    axes = figure.subplots(len(films), SEGMENTS, squeeze=False)
    for (title, film), row in zip(films, axes, strict=True):
        for segment, axis in enumerate(row):
            number = segment * len(film.frames) // SEGMENTS
            axis.imshow(film.frames[number])
            axis.set(xticks=[], yticks=[])
            if film is films[-1][1]:
                axis.set_xlabel(f"frame {number}", fontsize=7)
        row[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=8)
    return figure


def films_shown(seed: int) -> list[tuple[str, Film]]:
    """The films of one group of each task, of validation."""
    found = []
    for name, count in SHOWN.items():
        films = TASKS[name].films("validation", seed)
        for _ in range(count):
            _, film = next(films)
            found.append((f"{name}: {film.label}", film))
    return found


def write_curves(path: Path, results: Iterable[dict[str, Any]]) -> None:
    """The mean training and validation errors over seeds, in percent, as CSV."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in results:
        if result["task"] in CURVES and result["configuration"] in DRAWN:
            groups.setdefault((result["task"], result["configuration"]), []).append(result)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(CURVE_COLUMNS)
        for key, runs in groups.items():
            for split in ("training", "validation"):
                columns = [_points(run, split) for run in runs]
                for number, at in enumerate(columns[0][0]):
                    found = mean([100 * errors[number] for _, errors in columns])
                    numbers = f"{found.value:.2f}", f"{found.half:.2f}"
                    out.writerow([*key, split, int(at), *numbers, len(runs)])


def _points(run: dict[str, Any], split: str) -> tuple[np.ndarray, np.ndarray]:
    """Iterations and errors."""
    errors = np.array(run[split]["error"])
    if split == "validation":
        return np.array(run[split]["iteration"]), errors
    smooth = running_mean(errors, SMOOTHED)
    at = np.arange(SMOOTHED, len(errors) + 1, SMOOTHED)
    return at, smooth[at - 1]
