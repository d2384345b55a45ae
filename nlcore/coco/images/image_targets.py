"""The boxes, labels, masks and keypoints of an image, as torchvision's detectors are trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nlcore.coco.images.annotation_rules import MIN_KEYPOINTS, PERSON_KEYPOINTS
from nlcore.coco.images.annotations import CocoImage

Annotation = dict[str, Any]
Target = dict[str, np.ndarray]


def trained_on(annotations: Sequence[Annotation], task: str) -> str | None:
    """None if an image with these annotations is trained on, else the kind of finding.

    An image needs a box with a width and a height above 1 pixel, and for keypoints 10 visible ones
    over all its objects.

    Notes
    -----
    Source: torchvision's references/detection/coco_utils.py,
    `_coco_remove_images_without_annotations`.
    """
    if not annotations:
        return "image without annotations"
    if all(min(one["bbox"][2:]) <= 1 for one in annotations):
        return "image with tiny boxes only"
    if task == "keypoints":
        visible = sum(v > 0 for one in annotations for v in one["keypoints"][2::3])
        if visible < MIN_KEYPOINTS:
            return "image with few keypoints"
    return None


def target_of_image(image: CocoImage, annotations: Sequence[Annotation], task: str) -> Target:
    """The target of an image.

    Crowds are left out. Boxes are cut off at the image. Those without a width or height are left
    out afterwards.

    Returns
    -------
    dict
        "boxes" (K, 4) float32: left, top, right, bottom in pixels. "labels" (K,) int64: the ids of
        the categories. "masks" (K, H, W) uint8, or "keypoints" (K, 17, 3) float32: x, y and v.

    Notes
    -----
    Source: torchvision's references/detection/coco_utils.py, `ConvertCocoPolysToMask`.
    """
    kept = [one for one in annotations if one["iscrowd"] == 0]
    boxes = np.array([one["bbox"] for one in kept], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, image.width)
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, image.height)
    whole = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])  # (K,)
    kept = [one for one, is_whole in zip(kept, whole, strict=True) if is_whole]
    target: Target = {
        "boxes": boxes[whole],
        "labels": np.array([one["category_id"] for one in kept], np.int64),
    }
    if task == "mask":
        masks = [mask_of(one["segmentation"], image.height, image.width) for one in kept]
        empty = np.zeros((0, image.height, image.width), np.uint8)
        target["masks"] = np.stack(masks) if masks else empty
    else:
        points = np.array([one["keypoints"] for one in kept], np.float32)
        target["keypoints"] = points.reshape(-1, PERSON_KEYPOINTS, 3)
    return target


def mask_of(segmentation: Any, height: int, width: int) -> np.ndarray:
    """(height, width) uint8: 1 inside of polygons or run lengths, as pycocotools has it."""
    from pycocotools import mask

    if isinstance(segmentation, list):
        runs = mask.merge(mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        runs = mask.frPyObjects(segmentation, height, width)
    else:
        runs = segmentation
    return mask.decode(runs)


def mirrored(target: Target, width: int, pairs: Sequence[int]) -> Target:
    """The target of the image mirrored left to right.

    Parameters
    ----------
    target : Target
    width : int
        Of the image.
    pairs : sequence of int
        For each keypoint the one that it becomes, see `mirror_pairs`.
    """
    boxes = target["boxes"].copy()
    boxes[:, 0::2] = width - target["boxes"][:, 2::-2]
    found = {**target, "boxes": boxes}
    if "masks" in target:
        found["masks"] = np.ascontiguousarray(target["masks"][:, :, ::-1])
    if "keypoints" in target:
        points = target["keypoints"][:, list(pairs)]  # a copy
        points[..., 0] = width - points[..., 0]
        points[points[..., 2] == 0] = 0
        found["keypoints"] = points
    return found


def mirror_pairs(names: Sequence[str]) -> tuple[int, ...]:
    """For each keypoint the place of the one on the other side, by "left" and "right" in its name.

    Examples
    --------
    >>> mirror_pairs(["nose", "left_eye", "right_eye"])
    (0, 2, 1)
    """
    swap = {"left": "right", "right": "left"}
    others = ["_".join(swap.get(word, word) for word in name.split("_")) for name in names]
    return tuple(
        names.index(other) if other in names else place for place, other in enumerate(others)
    )
