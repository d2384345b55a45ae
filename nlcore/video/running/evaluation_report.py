"""Results of an evaluation: metrics, tables by class and by video, and a picture."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nlcore.video.labels.videos import Index, labels_of
from nlcore.video.loading.targets import check_targets, one_label, target_of
from nlcore.video.metrics import (
    ClassRow,
    class_table,
    confusion,
    draw_confusion,
    mean_average_precision,
    precision_table,
    predictions,
    top_k,
)
from nlcore.video.recipes.definition import Recipe
from nlcore.video.views import ViewScores


@dataclass(frozen=True)
class Results:
    """The metrics of an evaluation.

    Attributes
    ----------
    metrics : dict of str to float
        "top1" and "top5", the fractions of right videos, or "mean_average_precision".
    classes : list of ClassRow
    """

    metrics: dict[str, float]
    classes: list[ClassRow]


def write_results(
    scores: ViewScores,
    index: Index,
    recipe: Recipe,
    output: Path,
    dialect: str = "charades",
) -> Results:
    """Merge the scores, and write the results into a folder.

    The files are metrics.json, classes.csv and videos.csv, and confusion.png if each video has one
    label.

    Parameters
    ----------
    scores : ViewScores
    index : Index
        It has the labels of the videos, by path.
    recipe : Recipe
        `merge` and `loss` are used.
    output : Path
    dialect : str
        Of mean average precision, a key of `nlcore.video.metrics.PRECISION_DIALECTS`.

    Raises
    ------
    ValueError
        A view is missing, or a video is not in the index.
    """
    check_targets(index, recipe)
    merged = scores.merged(recipe.merge)  # (videos, classes)
    classes = merged.shape[1]
    names = [*index.names, *map(str, range(len(index.names), classes))][:classes]
    targets = _targets(scores, index, recipe)
    output.mkdir(parents=True, exist_ok=True)
    if one_label(recipe):
        metrics = {f"top{k}": top_k(merged, targets, k) for k in (1, 5)}
        rows = class_table(merged, targets, names)
        picture = draw_confusion(confusion(merged, targets), names)
        picture.savefig(output / "confusion.png", dpi=150)
    else:
        found = mean_average_precision(merged, targets, dialect)
        metrics = {"mean_average_precision": found}
        rows = precision_table(merged, targets, dialect, names)
    about = {"videos": len(scores.videos), "views": scores.scores.shape[1], "merge": recipe.merge}
    (output / "metrics.json").write_text(json.dumps(metrics | about, indent=2) + "\n", "utf-8")
    _write_classes(output / "classes.csv", rows)
    _write_videos(output / "videos.csv", scores.videos, merged, targets, names)
    return Results(metrics, rows)


def _targets(scores: ViewScores, index: Index, recipe: Recipe) -> np.ndarray:
    """Targets in the order of the scores' videos."""
    known = {video.path: video for video in index.videos}
    missing = [name for name in scores.videos if name not in known]
    if missing:
        raise ValueError(
            f"the index must have the {len(scores.videos)} videos of the scores; {len(missing)} "
            f"are missing, such as {missing[0]!r}"
        )
    return np.stack([target_of(labels_of(known[name]), recipe) for name in scores.videos])


def _write_classes(path: Path, rows: list[ClassRow]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("class", "videos", "value", "confused_with"))
        writer.writerows((row.name, row.videos, row.value, row.confused_with) for row in rows)


def _write_videos(
    path: Path, videos: Sequence[str], merged: np.ndarray, targets: np.ndarray, names: list[str]
) -> None:
    """A row for each video: its labels, the class with the largest score, and that score."""
    predicted = predictions(merged)
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("video", "labels", "predicted", "score", "right"))
        for video, row, target, first in zip(videos, merged, targets, predicted, strict=True):
            own = np.flatnonzero(target) if target.ndim else [target]
            labels = "; ".join(names[label] for label in own)
            writer.writerow((video, labels, names[first], f"{row[first]:.6g}", int(first in own)))
