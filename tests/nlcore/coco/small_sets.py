"""Small sets in COCO's format, and detectors and recipes for them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlcore.coco import CocoRecipe, coco_recipe, read_coco

Image = pytest.importorskip("PIL.Image", reason="reading images needs nlcore[coco]")
ImageDraw = pytest.importorskip("PIL.ImageDraw")

WIDTH, HEIGHT = 96, 64
KEYPOINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
    *("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
)


def square(number: int, image: int, x: float, y: float, side: float, **fields: Any) -> dict:
    """An annotation of a square."""
    corners = [x, y, x + side, y, x + side, y + side, x, y + side]
    found = {"id": number, "image_id": image, "category_id": 1, "iscrowd": 0}
    found |= {"bbox": [x, y, side, side], "area": side * side, "segmentation": [corners]}
    return {**found, **fields}


def person(number: int, image: int, x: float, y: float, side: float, **fields: Any) -> dict:
    """An annotation of a square with 17 keypoints on its diagonal."""
    points = [v for k in range(17) for v in (x + side * k / 17, y + side * k / 17, 2)]
    return square(number, image, x, y, side, keypoints=points, num_keypoints=17, **fields)


def document(task: str = "mask", images: int = 4) -> dict:
    """Images of one square each, but the last, which has none."""
    make = square if task == "mask" else person
    category: dict[str, Any] = {"id": 1, "name": "square"}
    if task == "keypoints":
        category |= {"keypoints": list(KEYPOINTS), "skeleton": [[1, 2], [1, 3]]}
    return {
        "images": [
            {"id": n, "file_name": f"{n}.png", "width": WIDTH, "height": HEIGHT}
            for n in range(1, images + 1)
        ],
        "annotations": [make(n, n, 8.0 * n, 4.0 * n, 24.0 + n) for n in range(1, images)],
        "categories": [category],
    }


def write_set(folder: Path, content: dict, task: str = "mask", split: str = "train") -> Path:
    """Draw the images of a document, and write it in COCO's layout. Returns its path."""
    images = folder / split
    images.mkdir(parents=True, exist_ok=True)
    for image in content["images"]:
        rng = np.random.default_rng(image["id"])
        size = (image["height"], image["width"], 3)
        picture = Image.fromarray(rng.integers(0, 80, size, dtype=np.uint8))
        for one in content["annotations"]:
            if one["image_id"] == image["id"] and isinstance(one.get("bbox"), list):
                x, y, w, h = one["bbox"]
                ImageDraw.Draw(picture).rectangle([x, y, x + w, y + h], fill=(250, 200, 30))
        picture.save(images / image["file_name"])
    name = {"mask": "instances", "keypoints": "person_keypoints"}[task]
    path = folder / "annotations" / f"{name}_{split}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def small_set(folder: Path, task: str = "mask", **fields: Any):
    """A set in a folder."""
    path = write_set(folder, {**document(task), **fields}, task)
    return read_coco(path, folder / "train", task)


def small_coco_recipe(task: str = "mask", blocks: str | None = None, **fields: Any) -> CocoRecipe:
    """A recipe of 6 iterations of 2 images on 2 devices, of a narrow detector."""
    options = {
        "rpn_pre_nms_top_n_train": 60,
        "rpn_pre_nms_top_n_test": 60,
        "rpn_post_nms_top_n_train": 20,
        "rpn_post_nms_top_n_test": 20,
        "box_batch_size_per_image": 8,
        "box_score_thresh": 0.0,
        "box_detections_per_img": 3,
    }
    detector = {
        "blocks": blocks or ("backbone" if task == "mask" else "both"),
        "classes": 2,
        "min_size": (64, 80),
        "max_size": 128,
        "width": 4,
        "pyramid": 16,
        "head": 16,
        "norm": "batch",
        "options": options,
        **fields.pop("detector", {}),
    }
    known = coco_recipe(
        f"detectron_{task}",
        **{
            "detector": detector,
            "batch": 2,
            "images_per_device": 1,
            "iterations": 6,
            "steps": (4,),
            "factors": (1.0, 0.1),
            "base_rate": 0.002,
            "warmup": 2,
            "clip_norm": 5.0,
            "frozen": (),
            "initial": "random",
            **fields,
        },
    )
    return replace(known, name="small")
