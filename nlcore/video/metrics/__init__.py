"""Accuracy, mean average precision as each project computes it, and results by class."""

from nlcore.video.metrics.accuracy import predictions, ranks, top_k
from nlcore.video.metrics.classes import (
    ClassRow,
    class_table,
    confusion,
    draw_confusion,
    precision_table,
)
from nlcore.video.metrics.mean_precision import (
    PRECISION_DIALECTS,
    PrecisionDialect,
    average_precisions,
    mean_average_precision,
)

__all__ = [
    "PRECISION_DIALECTS",
    "ClassRow",
    "PrecisionDialect",
    "average_precisions",
    "class_table",
    "confusion",
    "draw_confusion",
    "mean_average_precision",
    "precision_table",
    "predictions",
    "ranks",
    "top_k",
]
