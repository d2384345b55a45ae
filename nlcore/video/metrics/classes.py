"""Results of every class: tables, and the confusion matrix with its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nlcore.video.metrics.accuracy import predictions
from nlcore.video.metrics.mean_precision import average_precisions
from nlcore.video.metrics.metric_arguments import as_labels, as_scores, as_targets, class_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Largest number of classes whose names are written beside a confusion matrix.
NAMED_CLASSES = 40


@dataclass(frozen=True)
class ClassRow:
    """One class of a test.

    Attributes
    ----------
    name : str
    videos : int
        Number of videos of the class.
    value : float
        Fraction of them that is predicted right, or average precision. NaN without videos.
    confused_with : str
        The class that most of the others are predicted as, or "".
    """

    name: str
    videos: int
    value: float
    confused_with: str = ""


def class_table(scores: Any, labels: Any, names: Sequence[str] | None = None) -> list[ClassRow]:
    """The top-1 accuracy of every class, and what it is confused with.

    Raises
    ------
    TypeError, ValueError
        See `top_k`, or the number of names is not the number of classes.
    """
    matrix = confusion(scores, labels)
    names = class_names(names, len(matrix))
    rows = []
    for number, row in enumerate(matrix):
        others = np.where(np.arange(len(row)) == number, 0, row)
        right = row[number] / row.sum() if row.sum() else float("nan")
        wrong = names[int(np.argmax(others))] if others.any() else ""
        rows.append(ClassRow(names[number], int(row.sum()), float(right), wrong))
    return rows


def precision_table(
    scores: Any, targets: Any, dialect: str = "charades", names: Sequence[str] | None = None
) -> list[ClassRow]:
    """The average precision of every class. Errors are those of `average_precisions`."""
    found = average_precisions(scores, targets, dialect)
    counts = as_targets(as_scores(scores), targets).sum(axis=0)
    names = class_names(names, len(found))
    return [ClassRow(*row) for row in zip(names, counts.tolist(), found.tolist(), strict=True)]


def confusion(scores: Any, labels: Any) -> np.ndarray:
    """The number of videos by class (rows) and by predicted class (columns), int64.

    Examples
    --------
    >>> confusion([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]], [0, 1, 1]).tolist()
    [[1, 0], [1, 1]]
    """
    scores = as_scores(scores)
    matrix = np.zeros((scores.shape[1],) * 2, np.int64)
    np.add.at(matrix, (as_labels(scores, labels), predictions(scores)), 1)
    return matrix


def draw_confusion(matrix: np.ndarray, names: Sequence[str] | None = None) -> Figure:
    """A picture of a confusion matrix: each row as fractions of the videos of its class.

    Names are written for up to `NAMED_CLASSES` classes. Needs matplotlib.
    """
    names = class_names(names, len(matrix))
    from matplotlib.figure import Figure

    fractions = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = 5.0 if len(names) > NAMED_CLASSES else 3.0 + 0.25 * len(names)
    figure = Figure((side + 1.0, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(fractions, cmap="Blues", vmin=0.0, vmax=1.0, interpolation="nearest")
    axes.set(xlabel="predicted class", ylabel="class")
    if len(names) <= NAMED_CLASSES:
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
    figure.colorbar(image, label="fraction of the videos of the class")
    return figure
