"""Metrics of scores during training, and after it."""

from __future__ import annotations

from typing import Any

import numpy as np

from nlcore.video.labels.videos import Index, labels_of
from nlcore.video.loading.targets import one_label, target_of
from nlcore.video.metrics import mean_average_precision, top_k
from nlcore.video.recipes.definition import Recipe

#: Smallest score whose logarithm is taken.
TINY = 1e-12


def targets_of(index: Index, recipe: Recipe) -> np.ndarray:
    """The targets of all videos: (videos,) int64 or (videos, classes) float32."""
    return np.stack([target_of(labels_of(video), recipe) for video in index.videos])


def metrics_of_scores(
    scores: np.ndarray, targets: np.ndarray, recipe: Recipe, dialect: str = "charades"
) -> dict[str, float]:
    """The metrics of scores (videos, classes), by name.

    With one label a video: "loss", the mean of -log of the label's score, and "error" and
    "top5_error", the fractions of videos whose label is not among the 1 and 5 largest scores. With
    several: "loss", the mean binary cross-entropy, and "mean_average_precision" of the dialect.
    """
    scores = np.asarray(scores, np.float64)
    if one_label(recipe):
        own = np.take_along_axis(scores, targets[:, None], axis=1)
        loss = -np.log(np.maximum(own, TINY)).mean()
        errors: dict[str, Any] = {
            name: 1.0 - top_k(scores, targets, k) for name, k in (("error", 1), ("top5_error", 5))
        }
        return {"loss": float(loss), **errors}
    right = np.where(targets != 0, scores, 1.0 - scores)
    loss = -np.log(np.maximum(right, TINY)).mean()
    found = mean_average_precision(scores, targets, dialect)
    return {"loss": float(loss), "mean_average_precision": found}
