"""What a detector finds, as the entries of COCO's result files."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

#: Task -> the kinds of results, as pycocotools names them.
RESULT_KINDS = {"mask": ("bbox", "segm"), "keypoints": ("bbox", "keypoints")}


class Detections(NamedTuple):
    """The objects that a detector finds in an image.

    Attributes
    ----------
    boxes : (K, 4) float
        Left, top, right, bottom in pixels.
    labels : (K,) int
    scores : (K,) float
    masks : (K, H, W) bool, or None
    keypoints : (K, 17, 3) float, or None
        x, y and 1.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    masks: np.ndarray | None = None
    keypoints: np.ndarray | None = None


def result_entries(image_id: int, found: Detections, kind: str) -> list[dict[str, Any]]:
    """The entries of an image in a result file of a kind: "bbox", "segm" or "keypoints".

    Raises
    ------
    ArithmeticError
        A score, a box or a keypoint is not finite.
    """
    parts = (found.boxes, found.scores, *(() if found.keypoints is None else (found.keypoints,)))
    if not all(np.isfinite(part).all() for part in parts):
        raise ArithmeticError(
            f"the detections in image {image_id} must be finite; received NaN or inf"
        )
    entries = []
    for n, (label, score) in enumerate(zip(found.labels, found.scores, strict=True)):
        entry: dict[str, Any] = {
            "image_id": image_id,
            "category_id": int(label),
            "score": float(score),
        }
        if kind == "bbox":
            left, top, right, bottom = map(float, found.boxes[n])
            entry["bbox"] = [left, top, right - left, bottom - top]
        elif kind == "segm":
            assert found.masks is not None
            entry["segmentation"] = _run_lengths(found.masks[n])
        else:
            assert found.keypoints is not None
            entry["keypoints"] = [float(v) for v in found.keypoints[n].reshape(-1)]
        entries.append(entry)
    return entries


def _run_lengths(inside: np.ndarray) -> dict[str, Any]:
    from pycocotools import mask

    runs = mask.encode(np.asfortranarray(inside.astype(np.uint8)))
    return {"size": list(runs["size"]), "counts": runs["counts"].decode("ascii")}
