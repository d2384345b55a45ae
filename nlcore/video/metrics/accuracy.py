"""Top-k accuracy, with a rule for ties."""

from __future__ import annotations

from typing import Any

import numpy as np

from nlcore.spec import positive_int
from nlcore.video.metrics.metric_arguments import as_labels, as_scores


def top_k(scores: Any, labels: Any, k: int = 1) -> float:
    """The fraction of the videos whose label is among the k classes with the largest scores.

    Of classes with equal scores, the one with the smaller number comes first. Other projects leave
    the order of ties to their sort.

    Parameters
    ----------
    scores : (videos, classes)
    labels : (videos,) int
    k : int

    Raises
    ------
    TypeError, ValueError
        A shape is wrong, a score is NaN, a label is not a class, or k is not positive.

    Examples
    --------
    >>> top_k([[0.5, 0.5], [0.25, 0.75]], [1, 1])
    0.5
    """
    return float(np.mean(ranks(scores, labels) < positive_int("k", k)))


def ranks(scores: Any, labels: Any) -> np.ndarray:
    """The number of classes that come before the label of each video, in `top_k`'s order.

    Examples
    --------
    >>> ranks([[0.5, 0.5], [0.25, 0.75]], [1, 1]).tolist()
    [1, 0]
    """
    scores = as_scores(scores)
    labels = as_labels(scores, labels)
    own = np.take_along_axis(scores, labels[:, None], axis=1)  # (videos, 1)
    before = np.arange(scores.shape[1]) < labels[:, None]  # (videos, classes)
    return np.sum((scores > own) | ((scores == own) & before), axis=1)


def predictions(scores: Any) -> np.ndarray:
    """The class with the largest score of each video, by `top_k`'s rule for ties."""
    return np.argmax(as_scores(scores), axis=1)  # argmax takes the first of equal scores
