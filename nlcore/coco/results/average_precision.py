"""COCO's average precisions and recalls, as pycocotools computes them."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

#: Names of `COCOeval.stats` for boxes and masks, in pycocotools' order.
TWELVE = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl"),
    *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
)
#: The same for keypoints.
TEN = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")


class ClassPrecision(NamedTuple):
    """The result of a category. A number is -1 if the category has nothing to find."""

    name: str
    objects: int
    AP: float
    AP50: float


class Precision(NamedTuple):
    """The results of one kind.

    Attributes
    ----------
    kind : {"bbox", "segm", "keypoints"}
    stats : dict of str to float
        The names in `TWELVE`, or in `TEN` for keypoints. -1 if there is nothing to find.
    classes : list of ClassPrecision
    """

    kind: str
    stats: dict[str, float]
    classes: list[ClassPrecision]


def average_precision(
    document: dict[str, Any], results: Sequence[dict[str, Any]], kind: str
) -> Precision:
    """COCO's numbers of the results of a kind.

    Parameters
    ----------
    document : dict
        The content of the annotation file.
    results : sequence of dict
        The content of a result file.
    kind : {"bbox", "segm", "keypoints"}

    Returns
    -------
    Precision
        The numbers are those of `pycocotools.cocoeval.COCOeval`, bit for bit.

    Raises
    ------
    ValueError
        A result is of an image that is not in the document.
    """
    from pycocotools.cocoeval import COCOeval

    known = {image["id"] for image in document["images"]}
    if other := [one["image_id"] for one in results if one["image_id"] not in known]:
        raise ValueError(f"results must be of images of the set; received image {other[0]}")
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        truth = _indexed(document)
        found = truth.loadRes(copy.deepcopy(list(results))) if results else _none_of(document)
        judged = COCOeval(truth, found, kind)
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    names = TEN if kind == "keypoints" else TWELVE
    stats = {name: float(value) for name, value in zip(names, judged.stats, strict=True)}
    return Precision(kind, stats, _classes(judged, document))


def _indexed(document: dict[str, Any]) -> Any:
    from pycocotools.coco import COCO

    made = COCO()
    made.dataset = {"info": {}, **copy.deepcopy(document)}  # loadRes asks for info
    made.createIndex()
    return made


def _none_of(document: dict[str, Any]) -> Any:
    """An object without results, which `loadRes` does not make."""
    return _indexed({**document, "annotations": []})


def _classes(judged: Any, document: dict[str, Any]) -> list[ClassPrecision]:
    precision = judged.eval["precision"][:, :, :, 0, -1]  # (thresholds, recalls, classes)
    names = {category["id"]: category["name"] for category in document["categories"]}
    counts = dict.fromkeys(names, 0)
    for one in document["annotations"]:
        counts[one["category_id"]] += not one["iscrowd"]
    rows = []
    for n, category in enumerate(judged.params.catIds):
        values = _mean(precision[:, :, n]), _mean(precision[0, :, n])
        rows.append(ClassPrecision(names[category], counts[category], *values))
    return rows


def _mean(values: np.ndarray) -> float:
    """The mean of the values above -1."""
    kept = values[values > -1]
    return float(kept.mean()) if kept.size else -1.0
