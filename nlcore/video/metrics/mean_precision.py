"""Mean average precision as each project computes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from nlcore.video.metrics.metric_arguments import as_scores, as_targets


def precision_at_positives(scores: np.ndarray, targets: np.ndarray) -> float:
    """Average precision of one class: the mean over its videos of the precision at their rank.

    Videos with equal scores keep their order. A class without videos has NaN.

    Parameters
    ----------
    scores, targets : (videos,) float and bool
    """
    found = targets[np.argsort(-scores, kind="stable")]
    hits = np.cumsum(found)
    precision = hits / np.arange(1, len(found) + 1)
    count = hits[-1]
    return sum(precision[found].tolist()) / float(count) if count else float("nan")


def precision_at_thresholds(scores: np.ndarray, targets: np.ndarray) -> float:
    """Average precision of one class: the sum of precision x increase of recall over thresholds.

    Each different score is one threshold, so the order of equal scores has no effect. A class
    without videos has NaN. Source: scikit-learn, `average_precision_score`.

    Parameters
    ----------
    scores, targets : (videos,) float and bool
    """
    return _area(*_thresholds(scores, targets))


def precision_until_all_found(scores: np.ndarray, targets: np.ndarray) -> float:
    """`precision_at_thresholds` without the thresholds that add no recall at the end.

    Only the rounding differs. Source: mmaction2.
    """
    hits, selected = _thresholds(scores, targets)
    end = np.searchsorted(hits, hits[-1]) + 1
    return _area(hits[:end], selected[:end])


def _thresholds(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positives and videos with at least the score of each threshold, from the largest on."""
    order = np.argsort(scores, kind="stable")[::-1]
    scores, targets = scores[order], targets[order]
    different = scores[1:] != scores[:-1]  # np.diff of two infinities would be NaN
    last = np.append(np.flatnonzero(different), len(scores) - 1)
    return np.cumsum(targets)[last], last + 1


def _area(hits: np.ndarray, selected: np.ndarray) -> float:
    """The sum of precision x increase of recall."""
    if hits[-1] == 0:
        return float("nan")
    precision = np.append((hits / selected)[::-1], 1.0)
    recall = np.append((hits / hits[-1])[::-1], 0.0)
    return float(max(0.0, -np.sum(np.diff(recall) * precision[:-1])))


class PrecisionDialect(NamedTuple):
    """How a project computes mean average precision.

    Attributes
    ----------
    average_precision : callable
        Of scores and targets of one class.
    empty : {"nan", "dropped", "zero"}
        What a class without videos does to the mean: it becomes NaN, the class is dropped, or it
        counts as 0.
    none : float
        The result if every class is without videos.
    unlabelled_last : bool
        Whether videos without any label get the score -infinity.
    source : str
    """

    average_precision: Callable[[np.ndarray, np.ndarray], float]
    empty: str
    none: float
    unlabelled_last: bool
    source: str


_NAN = float("nan")
PRECISION_DIALECTS: dict[str, PrecisionDialect] = {
    "charades": PrecisionDialect(
        precision_at_positives,
        "nan",
        _NAN,
        True,
        "Charades_v1_classify.m of the data set; gsig/charades-algorithms, pytorch/utils/map.py",
    ),
    "slowfast": PrecisionDialect(
        precision_at_thresholds,
        "dropped",
        0.0,
        False,
        "SlowFast, slowfast/utils/meters.py, get_map",
    ),
    "mmaction2": PrecisionDialect(
        precision_until_all_found,
        "dropped",
        _NAN,
        False,
        "mmaction2, mmaction/evaluation/functional/accuracy.py, mean_average_precision",
    ),
    "scikit-learn": PrecisionDialect(
        precision_at_thresholds,
        "zero",
        0.0,
        False,
        "scikit-learn 1.9, average_precision_score; torchmetrics 1.9, in float32",
    ),
}


def average_precisions(scores: Any, targets: Any, dialect: str = "charades") -> np.ndarray:
    """The average precision of every class, (classes,) float64.

    A class without videos has NaN, or 0 in the dialect "scikit-learn".

    Parameters
    ----------
    scores : (videos, classes)
    targets : (videos, classes) of 0 and 1
    dialect : {"charades", "slowfast", "mmaction2", "scikit-learn"}
        See `PRECISION_DIALECTS`. torchmetrics 1.9 computes what scikit-learn does.

    Raises
    ------
    TypeError, ValueError
        A shape is wrong, a score is NaN, a target is not 0 or 1, or the dialect is unknown.
    """
    if dialect not in PRECISION_DIALECTS:
        expected = tuple(PRECISION_DIALECTS)
        raise ValueError(f"dialect must be one of {expected}; received {dialect!r}")
    known = PRECISION_DIALECTS[dialect]
    scores = as_scores(scores)
    targets = as_targets(scores, targets)
    if known.unlabelled_last:
        scores = np.where(targets.any(axis=1, keepdims=True), scores, -np.inf)
    found = np.array(
        [known.average_precision(s, t) for s, t in zip(scores.T, targets.T, strict=True)]
    )
    return np.nan_to_num(found) if known.empty == "zero" else found


def mean_average_precision(scores: Any, targets: Any, dialect: str = "charades") -> float:
    """The mean over the classes of `average_precisions`, in the way of a project.

    Parameters
    ----------
    scores, targets, dialect
        See `average_precisions`.

    Examples
    --------
    The third class has no video:

    >>> scores, targets = [[0.9, 0.1, 0.2], [0.8, 0.7, 0.1]], [[1, 0, 0], [0, 1, 0]]
    >>> {name: mean_average_precision(scores, targets, name) for name in PRECISION_DIALECTS}
    {'charades': nan, 'slowfast': 1.0, 'mmaction2': 1.0, 'scikit-learn': 0.6666666666666666}
    """
    found = average_precisions(scores, targets, dialect)
    known = PRECISION_DIALECTS[dialect]
    if known.empty == "dropped":
        found = found[~np.isnan(found)]
    return float(np.mean(found)) if len(found) else known.none
