"""What a file in COCO's format must contain, and what of it training leaves out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

#: Keypoints of COCO's persons, for which its evaluation has tolerances.
PERSON_KEYPOINTS = 17
#: torchvision trains on an image only if it has so many visible keypoints.
MIN_KEYPOINTS = 10


class Finding(NamedTuple):
    """Something that is wrong, or is treated in a special way.

    Attributes
    ----------
    kind : str
        A key of `KINDS`.
    where : str
        Such as "annotation 7".
    what : str
        What was expected and what was received, or what is done with it.
    """

    kind: str
    where: str
    what: str

    @property
    def is_error(self) -> bool:
        return KINDS[self.kind] is None


#: Kind of finding -> what training and evaluation do with it, or None if they refuse the set.
KINDS: dict[str, str | None] = {
    "document": None,
    "image": None,
    "category": None,
    "repeated id": None,
    "unknown image": None,
    "unknown category": None,
    "box": None,
    "segmentation": None,
    "keypoints": None,
    "evaluation field": None,
    "missing file": None,
    "unreadable file": None,
    "other size": None,
    "crowd": "not trained on; detections inside are ignored in the evaluation",
    "box of zero size": "not trained on, as in torchvision's references",
    "box beyond the image": "cut off at the image",
    "image without annotations": "not trained on; evaluated",
    "image with crowds only": "trained on as background",
    "image with tiny boxes only": "not trained on, as in torchvision's references",
    "image with few keypoints": f"not trained on: fewer than {MIN_KEYPOINTS} are visible",
    "person without keypoints": "trained on as a box; no keypoint is",
    "not RGB": "converted to RGB by Pillow",
    "EXIF rotation": "ignored: annotations are of the stored pixels, as in torchvision",
}


def document_findings(document: Any, task: str) -> Iterator[Finding]:
    """What is wrong with the lists of a file, its images and its categories."""
    if not isinstance(document, dict):
        yield Finding("document", "file", f"must be an object; received {type(document).__name__}")
        return
    for name in ("images", "annotations", "categories"):
        if not isinstance(document.get(name), list):
            received = type(document.get(name)).__name__ if name in document else "nothing"
            yield Finding("document", name, f"must be a list; received {received}")
        elif not all(isinstance(one, dict) for one in document[name]):
            yield Finding("document", name, "must contain objects only; received others")
        else:
            yield from _id_findings(name, document[name])
    for image in _objects(document, "images"):
        yield from _image_findings(image)
    for category in _objects(document, "categories"):
        yield from _category_findings(category, task)
    for name in ("images", "categories"):
        if document.get(name) == []:
            yield Finding("document", name, "must have at least one entry; received none")


def _objects(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = document.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _id_findings(name: str, entries: list[dict[str, Any]]) -> Iterator[Finding]:
    for entry in entries:
        if not _whole(entry.get("id")):
            yield Finding("document", name, f"id must be an int; received {entry.get('id')!r}")
    counts = Counter(entry["id"] for entry in entries if _whole(entry.get("id")))
    for number, count in counts.items():
        if count > 1:
            yield Finding("repeated id", f"{name}, id {number}", f"must be unique; {count} have it")


def _image_findings(image: dict[str, Any]) -> Iterator[Finding]:
    where = f"image {image.get('id')}"
    if not isinstance(image.get("file_name"), str) or not image["file_name"]:
        yield Finding("image", where, f"file_name must be a str; received {image.get('file_name')}")
    for side in ("width", "height"):
        if not _whole(image.get(side)) or image[side] < 1:
            yield Finding("image", where, f"{side} must be an int > 0; received {image.get(side)}")


def _category_findings(category: dict[str, Any], task: str) -> Iterator[Finding]:
    where = f"category {category.get('id')}"
    if _whole(category.get("id")) and category["id"] < 1:
        what = "id must be at least 1, because label 0 is the background; received "
        yield Finding("category", where, what + str(category["id"]))
    if not isinstance(category.get("name"), str):
        yield Finding("category", where, f"name must be a str; received {category.get('name')!r}")
    if task == "keypoints":
        count = len(category.get("keypoints") or ())
        if count != PERSON_KEYPOINTS:
            what = f"keypoints must be {PERSON_KEYPOINTS} names, for which COCO's evaluation has "
            yield Finding("category", where, f"{what}tolerances; received {count}")


def annotation_findings(document: dict[str, Any], task: str) -> Iterator[Finding]:
    """What is wrong with the annotations of a file without `document_findings`, and what is left
    out of the training."""
    images = {image["id"]: image for image in document["images"]}
    categories = {category["id"] for category in document["categories"]}
    for one in document["annotations"]:
        where = f"annotation {one['id']}"
        if one.get("image_id") not in images:
            what = f"image_id must be that of an image; received {one.get('image_id')!r}"
            yield Finding("unknown image", where, what)
            continue
        if one.get("category_id") not in categories:
            what = f"category_id must be that of a category; received {one.get('category_id')!r}"
            yield Finding("unknown category", where, what)
        yield from _one_annotation(one, where, images[one["image_id"]], task)


def _one_annotation(
    one: dict[str, Any], where: str, image: dict[str, Any], task: str
) -> Iterator[Finding]:
    if one.get("iscrowd") not in (0, 1):
        what = f"iscrowd must be 0 or 1; received {one.get('iscrowd')!r}"
        yield Finding("evaluation field", where, what)
    if not _number(one.get("area")):
        what = f"area must be a number; received {one.get('area')!r}"
        yield Finding("evaluation field", where, what)
    box = one.get("bbox")
    if box is None or not _numbers(box, 4):
        yield Finding("box", where, f"bbox must be x, y, width, height; received {_short(box)}")
        return
    x, y, width, height = box
    if width < 0 or height < 0:
        yield Finding("box", where, f"bbox must have a width and height >= 0; received {box}")
    elif width == 0 or height == 0:
        yield Finding("box of zero size", where, f"bbox is {box}")
    elif x < 0 or y < 0 or x + width > image["width"] or y + height > image["height"]:
        what = f"bbox is {box} in an image of {image['width']} x {image['height']}"
        yield Finding("box beyond the image", where, what)
    if one.get("iscrowd") == 1:
        yield Finding("crowd", where, "is a crowd")
    if task == "mask":
        yield from segmentation_findings(one.get("segmentation"), where, image)
    else:
        yield from _keypoint_findings(one, where)


def segmentation_findings(
    segmentation: Any, where: str, image: dict[str, Any]
) -> Iterator[Finding]:
    """What is wrong with polygons or run lengths."""
    kind = "segmentation"
    if isinstance(segmentation, list):
        if not segmentation:
            yield Finding(kind, where, "segmentation must have a polygon; received none")
        for polygon in segmentation:
            if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
                what = "a polygon must have x, y of 3 points or more; received "
                yield Finding(kind, where, what + _short(polygon))
            elif not _numbers(polygon, len(polygon)):
                yield Finding(
                    kind, where, f"a polygon must have numbers; received {_short(polygon)}"
                )
        return
    if not isinstance(segmentation, dict):
        what = "segmentation must be polygons or run lengths; received "
        yield Finding(kind, where, what + _short(segmentation))
        return
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [image["height"], image["width"]]:
        what = f"run lengths must be of size {[image['height'], image['width']]}; received {size}"
        yield Finding(kind, where, what)
    elif isinstance(counts, list):
        if not all(_whole(n) and n >= 0 for n in counts) or sum(counts) != size[0] * size[1]:
            what = f"run lengths must add up to {size[0] * size[1]} pixels; received "
            total = sum(n for n in counts if _number(n))
            yield Finding(kind, where, f"{what}{total}")
    elif not isinstance(counts, str):
        what = "counts must be a list or a str; received "
        yield Finding(kind, where, what + _short(counts))


def _keypoint_findings(one: dict[str, Any], where: str) -> Iterator[Finding]:
    points = one.get("keypoints")
    if not _numbers(points, 3 * PERSON_KEYPOINTS):
        what = f"keypoints must be x, y, v of {PERSON_KEYPOINTS} points; received "
        yield Finding("keypoints", where, what + _short(points))
        return
    assert points is not None
    if any(v not in (0, 1, 2) for v in points[2::3]):
        yield Finding("keypoints", where, "v of a keypoint must be 0, 1 or 2; received others")
    visible = sum(v > 0 for v in points[2::3])
    if one.get("num_keypoints") != visible:
        what = f"num_keypoints must be {visible}, the points with v > 0; received "
        yield Finding("evaluation field", where, what + repr(one.get("num_keypoints")))
    if visible == 0 and one.get("iscrowd") == 0:
        yield Finding("person without keypoints", where, "no point has v > 0")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(map(_number, values))


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) > 4:
        return f"a list of {len(value)}"
    return repr(value)[:80]
