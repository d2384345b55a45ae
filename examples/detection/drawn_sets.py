"""Two small sets in COCO's format, drawn on scikit-image's photographs.

`draw_shapes` has discs, rectangles and triangles, crowds as run lengths, and photographs without
anything. `draw_people` has figures of 17 keypoints. Each makes DIR/SPLIT/*.png and a file in
DIR/annotations, named as COCO's are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from skimage import data

PHOTOGRAPHS = (
    *("astronaut", "brick", "camera", "chelsea", "clock", "coffee", "coins", "grass", "gravel"),
    *("hubble_deep_field", "moon", "rocket"),
)
WIDTH, HEIGHT = 160, 128
SHAPES = ("disc", "rectangle", "triangle")
#: Every so many images there is a crowd, and another without anything.
CROWD_EVERY, EMPTY_EVERY = 6, 8

KEYPOINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
    *("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
)
#: Pairs of keypoints that are joined, counted from 1, as in COCO's files.
SKELETON = (
    *([16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9]),
    *([8, 10], [9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7]),
)
Point = tuple[float, float]


def draw_shapes(folder: Path, split: str, count: int, seed: int) -> Path:
    """Images of up to three shapes; returns the path of instances_SPLIT.json."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for number in range(1, count + 1):
        picture = background(rng)
        if number % EMPTY_EVERY:
            crowd = number % CROWD_EVERY == 0
            for found in _shapes(picture, rng, crowd):
                annotations.append({"id": len(annotations) + 1, "image_id": number, **found})
        images.append(_saved(picture, folder / split, number))
    categories = [
        {"id": n, "name": name, "supercategory": "shape"} for n, name in enumerate(SHAPES, 1)
    ]
    return _written(folder, f"instances_{split}.json", images, annotations, categories)


def draw_people(folder: Path, split: str, count: int, seed: int) -> Path:
    """Images of one or two figures; returns the path of person_keypoints_SPLIT.json."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for number in range(1, count + 1):
        picture = background(rng)
        sides = [0.5] if rng.random() < 0.5 else [0.28, 0.72]
        if number % EMPTY_EVERY:
            for side in sides:
                found = _person(picture, rng, WIDTH * side)
                annotations.append({"id": len(annotations) + 1, "image_id": number, **found})
        images.append(_saved(picture, folder / split, number))
    person = {"id": 1, "name": "person", "supercategory": "person"}
    person |= {"keypoints": list(KEYPOINTS), "skeleton": list(SKELETON)}
    return _written(folder, f"person_keypoints_{split}.json", images, annotations, [person])


def background(rng: np.random.Generator) -> Image.Image:
    """A random part of a photograph."""
    picture = getattr(data, str(rng.choice(PHOTOGRAPHS)))()
    picture = np.stack([picture] * 3, -1) if picture.ndim == 2 else picture[..., :3]
    height, width = picture.shape[:2]
    zoom = rng.uniform(1.0, min(height / HEIGHT, width / WIDTH))
    h, w = int(HEIGHT * zoom), int(WIDTH * zoom)
    top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    return Image.fromarray(picture[top : top + h, left : left + w]).resize((WIDTH, HEIGHT))


def _shapes(
    picture: Image.Image, rng: np.random.Generator, crowd: bool
) -> Iterator[dict[str, Any]]:
    """Draw one to three shapes in thirds of the picture, and in one a crowd of small ones."""
    thirds = rng.permutation(3)[: rng.integers(1 + crowd, 4)]
    for number, third in enumerate(thirds):
        category = int(rng.integers(1, len(SHAPES) + 1))
        colour = _colour(rng)
        middle = (WIDTH * (2 * third + 1) / 6 + rng.uniform(-4, 4), rng.uniform(36, HEIGHT - 36))
        if crowd and number == 0:
            yield _crowd(picture, rng, category, middle)
            continue
        outline = _outline(category, middle, rng.uniform(16, 26), rng)
        ImageDraw.Draw(picture).polygon(outline, fill=colour, outline=(0, 0, 0))
        yield {
            "category_id": category,
            "iscrowd": 0,
            **_region([outline]),
        }


def _outline(category: int, middle: Point, radius: float, rng: np.random.Generator) -> list[Point]:
    x, y = middle
    if SHAPES[category - 1] == "rectangle":
        w, h = radius * rng.uniform(0.7, 1.0), radius * rng.uniform(0.7, 1.0)
        return [(x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h)]
    corners, turn = (
        (32, 0.0) if SHAPES[category - 1] == "disc" else (3, rng.uniform(0, 2 * math.pi))
    )
    angles = [turn + 2 * math.pi * k / corners for k in range(corners)]
    return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]


def _crowd(
    picture: Image.Image, rng: np.random.Generator, category: int, middle: Point
) -> dict[str, Any]:
    """Many small shapes of a category; their region is given in run lengths."""
    outlines = []
    for _ in range(12):
        place = (middle[0] + rng.uniform(-20, 20), middle[1] + rng.uniform(-20, 20))
        outlines.append(_outline(category, place, 5.0, rng))
        ImageDraw.Draw(picture).polygon(outlines[-1], fill=_colour(rng))
    inside = _filled(outlines)
    columns = inside.T.reshape(-1)  # run lengths go down the columns and begin with the outside
    changes = np.flatnonzero(np.diff(columns.astype(int))) + 1
    runs = np.diff([0, *changes, columns.size]).tolist()
    return {
        "category_id": category,
        "iscrowd": 1,
        **_region(outlines),
        "segmentation": {"counts": [0, *runs] if columns[0] else runs, "size": [HEIGHT, WIDTH]},
    }


def _person(picture: Image.Image, rng: np.random.Generator, x: float) -> dict[str, Any]:
    """Draw a figure that stands at x in a random pose."""
    size = rng.uniform(0.75, 1.0) * HEIGHT * 0.9  # from head to feet
    joints = _pose(rng, x + rng.uniform(-6, 6), rng.uniform(0.03, 0.07) * HEIGHT, size)
    thick = size * 0.11
    limbs = [_limb(joints[a - 1], joints[b - 1], thick) for a, b in SKELETON[:4]]
    limbs += [_limb(joints[a - 1], joints[b - 1], 0.8 * thick) for a, b in SKELETON[8:12]]
    body = [joints[n] for n in (5, 6, 12, 11)]
    nose = joints[0]
    radius = size * 0.095
    head = [
        (nose[0] + radius * math.cos(a), nose[1] + radius * 1.15 * math.sin(a))
        for a in np.linspace(0, 2 * math.pi, 24, endpoint=False)
    ]
    pen = ImageDraw.Draw(picture)
    skin, shirt, trousers = (_colour(rng) for _ in range(3))
    for number, limb in enumerate(limbs):
        pen.polygon(limb, fill=trousers if number < 4 else skin)
    pen.polygon(body, fill=shirt)
    pen.polygon(head, fill=skin)
    for eye in joints[1:3]:
        pen.ellipse([eye[0] - 1, eye[1] - 1, eye[0] + 1, eye[1] + 1], fill=(0, 0, 0))
    for ear in joints[3:5]:
        pen.ellipse([ear[0] - 2, ear[1] - 2, ear[0] + 2, ear[1] + 2], fill=shirt)
    keypoints = []
    for px, py in joints:
        seen = 0 <= px < WIDTH and 0 <= py < HEIGHT
        keypoints += [round(px, 2), round(py, 2), 2] if seen else [0, 0, 0]
    return {
        "category_id": 1,
        "iscrowd": 0,
        "keypoints": keypoints,
        "num_keypoints": sum(v > 0 for v in keypoints[2::3]),
        **_region([*limbs, body, head]),
    }


def _pose(rng: np.random.Generator, x: float, top: float, size: float) -> list[Point]:
    """The 17 points. The figure faces the viewer, so its left is on the right."""
    nose = (x + rng.uniform(-0.02, 0.02) * size, top + 0.11 * size)
    joints: list[Point] = [nose]
    for across, up in ((0.035, -0.025), (0.085, 0.0)):
        joints += [(nose[0] + side * across * size, nose[1] + up * size) for side in (1, -1)]
    shoulders = [(x + side * 0.13 * size, top + 0.25 * size) for side in (1, -1)]
    hips = [(x + side * 0.085 * size, top + 0.55 * size) for side in (1, -1)]
    arms, legs = [], []
    for side, shoulder, hip in zip((1, -1), shoulders, hips, strict=True):
        bend, swing = rng.uniform(-0.2, 1.9), rng.uniform(-0.05, 0.45)
        elbow = _along(shoulder, side * bend, 0.16 * size)
        arms.append((elbow, _along(elbow, side * (bend + rng.uniform(-0.2, 0.9)), 0.15 * size)))
        knee = _along(hip, side * swing, 0.2 * size)
        legs.append((knee, _along(knee, side * (swing - rng.uniform(0, 0.3)), 0.2 * size)))
    joints += shoulders
    for pairs in (arms, legs):
        joints += hips if pairs is legs else []
        joints += [pair[0] for pair in pairs] + [pair[1] for pair in pairs]
    return joints


def _along(start: Point, angle: float, length: float) -> Point:
    """The end of a limb; angle 0 points down."""
    return start[0] + length * math.sin(angle), start[1] + length * math.cos(angle)


def _limb(start: Point, end: Point, thick: float) -> list[Point]:
    """A rectangle around a line."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = math.hypot(dx, dy) or 1.0
    ox, oy = -dy / length * thick / 2, dx / length * thick / 2
    corners = [(start[0] + ox, start[1] + oy), (end[0] + ox, end[1] + oy)]
    return [*corners, (end[0] - ox, end[1] - oy), (start[0] - ox, start[1] - oy)]


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """A saturated colour."""
    colour = rng.permutation([rng.integers(0, 60), rng.integers(200, 256), rng.integers(0, 256)])
    return int(colour[0]), int(colour[1]), int(colour[2])


def _filled(outlines: list[list[Point]]) -> np.ndarray:
    """(HEIGHT, WIDTH) bool: the pixels inside of any outline."""
    mask = Image.new("1", (WIDTH, HEIGHT))
    for outline in outlines:
        ImageDraw.Draw(mask).polygon(outline, fill=1)
    return np.array(mask)


def _region(outlines: list[list[Point]]) -> dict[str, Any]:
    """Polygons, box and area of outlines, as far as they are in the picture."""
    inside = _filled(outlines)
    clipped = [
        [(min(max(x, 0.0), float(WIDTH)), min(max(y, 0.0), float(HEIGHT))) for x, y in outline]
        for outline in outlines
    ]
    points = np.array([point for outline in clipped for point in outline])
    left, top = points.min(0)
    right, bottom = points.max(0)
    box = [round(float(v), 2) for v in (left, top, right - left, bottom - top)]
    polygons = [[round(v, 2) for point in outline for v in point] for outline in clipped]
    return {"bbox": box, "area": float(inside.sum()), "segmentation": polygons}


def _saved(picture: Image.Image, folder: Path, number: int) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{number:012d}.png"
    picture.save(folder / name)
    return {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}


def _written(folder: Path, name: str, images: list, annotations: list, categories: list) -> Path:
    path = folder / "annotations" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"info": {"description": "drawn on scikit-image's photographs"}, "licenses": []}
    content |= {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    return path
