"""Damaged sets: each has its error or its count."""

import copy
import json

import numpy as np
import pytest
from small_sets import HEIGHT, WIDTH, Image, document, person, square, write_set

from nlcore.coco import read_coco
from nlcore.coco.images.annotation_rules import KINDS
from nlcore.coco.images.set_check import check_set


def changed(change, task="mask"):
    content = document(task)
    change(content)
    return content


def first(content, **fields):
    content["annotations"][0].update(fields)


def keep_only(content, *names):
    for name in set(content) - set(names):
        del content[name]


def run_lengths(content, counts, size=(HEIGHT, WIDTH)):
    first(content, segmentation={"counts": counts, "size": list(size)})


#: A change of a document -> the kind of finding, and a part of its text.
ERRORS = {
    "no annotations": (
        lambda c: keep_only(c, "images", "categories"),
        "document",
        "must be a list",
    ),
    "no images": (lambda c: c.update(images=[], annotations=[]), "document", "at least one entry"),
    "no file name": (lambda c: c["images"][0].update(file_name=None), "image", "must be a str"),
    "no size": (lambda c: c["images"][0].update(width=0), "image", "width must be an int > 0"),
    "doubled image": (lambda c: c["images"].append(c["images"][0]), "repeated id", "2 have it"),
    "doubled annotation": (
        lambda c: c["annotations"][1].update(id=1),
        "repeated id",
        "must be uni",
    ),
    "category 0": (lambda c: c["categories"][0].update(id=0), "category", "label 0 is the backgr"),
    "unknown image": (lambda c: first(c, image_id=99), "unknown image", "received 99"),
    "unknown category": (lambda c: first(c, category_id=9), "unknown category", "received 9"),
    "three numbers": (lambda c: first(c, bbox=[1, 2, 3]), "box", "must be x, y, width, height"),
    "nan": (lambda c: first(c, bbox=[1, 2, 3, float("nan")]), "box", "must be x, y, width"),
    "negative": (lambda c: first(c, bbox=[9, 9, -3, 4]), "box", "width and height >= 0"),
    "no polygon": (lambda c: first(c, segmentation=[]), "segmentation", "received none"),
    "a line": (lambda c: first(c, segmentation=[[1, 2, 3, 4]]), "segmentation", "3 points or more"),
    "odd": (lambda c: first(c, segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "segmentation", "3 points"),
    "short runs": (lambda c: run_lengths(c, [5, 5]), "segmentation", "add up to 6144 pixels"),
    "turned runs": (lambda c: run_lengths(c, [6144], (WIDTH, HEIGHT)), "segmentation", "of size"),
    "no area": (lambda c: first(c, area=None), "evaluation field", "area must be a number"),
    "no iscrowd": (lambda c: first(c, iscrowd=None), "evaluation field", "iscrowd must be 0 or 1"),
}
KEYPOINT_ERRORS = {
    "two points": (lambda c: first(c, keypoints=[1, 2, 2]), "keypoints", "x, y, v of 17 points"),
    "visibility 3": (lambda c: first(c, keypoints=[1, 2, 3] * 17), "keypoints", "0, 1 or 2"),
    "wrong count": (lambda c: first(c, num_keypoints=3), "evaluation field", "must be 17"),
    "other skeleton": (
        lambda c: c["categories"][0].update(keypoints=["a"]),
        "category",
        "17 names",
    ),
}


@pytest.mark.parametrize("name", [*ERRORS, *KEYPOINT_ERRORS])
def test_errors(name, tmp_path):
    task = "keypoints" if name in KEYPOINT_ERRORS else "mask"
    change, kind, text = {**ERRORS, **KEYPOINT_ERRORS}[name]
    content = changed(change, task)
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(content))
    write_set(tmp_path, document(task), task)
    report = check_set(path, tmp_path / "train", task)
    found = [one for one in report.errors if one.kind == kind]
    assert len(found) == len(report.errors) >= 1
    assert text in found[0].what
    with pytest.raises(ValueError) as refused:
        read_coco(path, tmp_path / "train", task)
    assert text in str(refused.value)


def test_no_json(tmp_path):
    path = tmp_path / "annotations.json"
    path.write_text('{"images": [')
    with pytest.raises(ValueError, match=r"annotations.json must be JSON"):
        check_set(path, tmp_path)
    path.write_text("[]")
    assert check_set(path, tmp_path).errors[0].what == "must be an object; received list"


#: A change of a document -> the counts of the findings, and the images that are trained on, of 3.
COUNTS = {
    "whole": (lambda c: None, {"image without annotations": 1}, 3),
    "crowd": (
        lambda c: c["annotations"].append(square(9, 1, 1, 1, 5, iscrowd=1)),
        {"crowd": 1, "image without annotations": 1},
        3,
    ),
    "crowds only": (
        lambda c: first(c, iscrowd=1),
        {"crowd": 1, "image with crowds only": 1, "image without annotations": 1},
        3,
    ),
    "zero size": (
        lambda c: c["annotations"].append(square(9, 1, 1, 1, 5, bbox=[1, 1, 0, 4])),
        {"box of zero size": 1, "image without annotations": 1},
        3,
    ),
    "tiny": (
        lambda c: first(c, bbox=[5, 5, 1, 30]),
        {"image with tiny boxes only": 1, "image without annotations": 1},
        2,
    ),
    "beyond": (
        lambda c: first(c, bbox=[-5, 5, 30, 30]),
        {"box beyond the image": 1, "image without annotations": 1},
        3,
    ),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name, tmp_path):
    change, counts, trained = COUNTS[name]
    path = write_set(tmp_path, changed(change))
    report = check_set(path, tmp_path / "train")
    assert dict(report.counts) == counts and not report.errors
    assert (report.images, report.trained) == (4, trained)
    assert set(counts) <= set(KINDS)


def test_persons(tmp_path):
    content = document("keypoints")
    points = copy.deepcopy(content["annotations"][0]["keypoints"])
    points[2::3] = [2] * 9 + [0] * 8
    first(content, keypoints=points, num_keypoints=9)
    content["annotations"].append(person(9, 2, 1, 1, 20))
    content["annotations"][-1].update(keypoints=[0] * 51, num_keypoints=0)
    path = write_set(tmp_path, content, "keypoints")
    report = check_set(path, tmp_path / "train", "keypoints")
    assert dict(report.counts) == {
        "person without keypoints": 1,
        "image with few keypoints": 1,
        "image without annotations": 1,
    }
    assert report.trained == 2 and not report.errors


def test_files(tmp_path):
    """Grey, CMYK, turned by EXIF, cut off, of another size, and missing."""
    path = write_set(tmp_path, document(images=8))
    images = tmp_path / "train"
    grey = np.full((HEIGHT, WIDTH), 90, np.uint8)
    Image.fromarray(grey).save(images / "1.png")
    Image.fromarray(np.stack([grey] * 4, -1), "CMYK").save(images / "2.png", "JPEG")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.stack([grey] * 3, -1)).save(images / "3.png", "JPEG", exif=exif)
    whole = (images / "4.png").read_bytes()
    (images / "4.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (HEIGHT, WIDTH)).save(images / "5.png", "JPEG", exif=exif)
    Image.new("RGB", (9, 9)).save(images / "6.png")
    (images / "7.png").unlink()
    told = []
    report = check_set(path, images, tell=lambda *done: told.append(done))
    counts = dict(report.counts)
    assert counts.pop("image without annotations") == 1
    assert counts == {
        "not RGB": 2,
        "EXIF rotation": 1,
        "unreadable file": 1,
        "other size": 2,
        "missing file": 1,
    }
    texts = {one.where: one.what for one in report.errors}
    assert set(texts) == {f"image {n}" for n in (4, 5, 6, 7)}
    assert "received 64 x 96: its EXIF orientation 6 turns it" in texts["image 5"]
    assert texts["image 6"].endswith(
        "must have 96 x 64 pixels, as its annotations state; received 9 x 9"
    )
    assert told[-1] == (8, 8)
