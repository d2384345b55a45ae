"""Checks of scores, labels and targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def as_scores(scores: Any) -> np.ndarray:
    """Scores as an array of floats, (videos, classes)."""
    array = np.asarray(scores)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"scores must have shape (videos, classes); received shape {array.shape}")
    if array.dtype.kind != "f":
        raise TypeError(f"scores must be floating point; received dtype {array.dtype}")
    if np.isnan(array).any():
        raise ValueError(
            f"scores must not be NaN; received NaN for video {first_video(np.isnan(array))}"
        )
    return array


def as_labels(scores: np.ndarray, labels: Any) -> np.ndarray:
    """Labels as an array of ints, (videos,)."""
    array, (videos, classes) = np.asarray(labels), scores.shape
    if array.shape != (videos,):
        raise ValueError(f"labels must have shape ({videos},); received shape {array.shape}")
    if array.dtype.kind not in "iu":
        raise TypeError(f"labels must be ints; received dtype {array.dtype}")
    wrong = (array < 0) | (array >= classes)
    if wrong.any():
        at = first_video(wrong)
        raise ValueError(
            f"labels must be from 0 to {classes - 1}; received {array[at]} for video {at}"
        )
    return array


def as_targets(scores: np.ndarray, targets: Any) -> np.ndarray:
    """Targets as an array of bools, (videos, classes)."""
    array = np.asarray(targets)
    if array.shape != scores.shape:
        raise ValueError(f"targets must have shape {scores.shape}; received shape {array.shape}")
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        raise ValueError(
            f"targets must be 0 or 1; received {array[wrong][0]} for video {first_video(wrong)}"
        )
    return array != 0


def first_video(wrong: np.ndarray) -> Any:
    """The number of the first video for which something is wrong."""
    return int(np.argwhere(wrong)[0][0])


def class_names(names: Sequence[str] | None, classes: int) -> Sequence[str]:
    if names is not None and len(names) != classes:
        raise ValueError(f"names must be {classes}, one for each class; received {len(names)}")
    return [str(n) for n in (range(classes) if names is None else names)]
