"""Targets are those of torchvision's references."""

import numpy as np
import pytest
from small_sets import HEIGHT, KEYPOINTS, WIDTH, person, square

from nlcore.coco.images.annotations import CocoImage
from nlcore.coco.images.image_targets import (
    mask_of,
    mirror_pairs,
    mirrored,
    target_of_image,
    trained_on,
)

pytest.importorskip("pycocotools")
IMAGE = CocoImage(1, "1.png", WIDTH, HEIGHT)


def test_boxes_are_cut_off_and_empty_ones_dropped():
    given = [
        square(1, 1, 10, 10, 20, category_id=3),
        square(2, 1, 10, 10, 20, iscrowd=1),
        square(3, 1, 5, 5, 20, bbox=[5, 5, 0, 20]),
        square(4, 1, -8, 50, 40),
        square(5, 1, 100, 5, 20),  # all of it is beyond the image
    ]
    target = target_of_image(IMAGE, given, "mask")
    assert target["boxes"].tolist() == [[10, 10, 30, 30], [0, 50, 32, 64]]
    assert target["labels"].tolist() == [3, 1] and target["labels"].dtype == np.int64
    assert target["masks"].shape == (2, HEIGHT, WIDTH) and target["masks"].dtype == np.uint8
    assert target["masks"].sum((1, 2)).tolist() == [400, 32 * 14]
    assert target["masks"][0, 10:30, 10:30].all()


@pytest.mark.parametrize("task", ["mask", "keypoints"])
def test_an_image_with_crowds_only(task):
    target = target_of_image(IMAGE, [person(1, 1, 1, 1, 9, iscrowd=1)], task)
    assert target["boxes"].shape == (0, 4) and target["labels"].shape == (0,)
    shapes = {"mask": (0, HEIGHT, WIDTH), "keypoints": (0, 17, 3)}
    assert target["masks" if task == "mask" else "keypoints"].shape == shapes[task]


def test_polygons_and_run_lengths_are_the_same_mask():
    from pycocotools import mask

    inside = np.zeros((HEIGHT, WIDTH), np.uint8)
    inside[10:30, 10:30] = inside[40:50, 60:65] = 1
    changes = np.flatnonzero(np.diff(inside.T.reshape(-1))) + 1
    counts = np.diff([0, *changes, inside.size]).tolist()
    squeezed = mask.encode(np.asfortranarray(inside))
    squeezed["counts"] = squeezed["counts"].decode()
    polygons = [[10, 10, 30, 10, 30, 30, 10, 30], [60, 40, 65, 40, 65, 50, 60, 50]]
    for segmentation in (polygons, {"counts": counts, "size": [HEIGHT, WIDTH]}, squeezed):
        assert np.array_equal(mask_of(segmentation, HEIGHT, WIDTH), inside)


def test_which_images_are_trained_on():
    """As `_coco_remove_images_without_annotations` in torchvision's references decides."""
    assert trained_on([], "mask") == "image without annotations"
    thin = square(1, 1, 5, 5, 9, bbox=[5, 5, 1, 30])
    assert trained_on([thin], "mask") == "image with tiny boxes only"
    assert trained_on([thin, square(2, 1, 5, 5, 1.5)], "mask") is None
    assert trained_on([square(1, 1, 5, 5, 9, iscrowd=1)], "mask") is None
    few = person(1, 1, 5, 5, 30)
    few["keypoints"][2::3] = [1] * 9 + [0] * 8
    assert trained_on([few], "keypoints") == "image with few keypoints"
    assert trained_on([few, person(2, 1, 5, 5, 30)], "keypoints") is None


def test_mirrored():
    given = [person(1, 1, 10, 10, 17)]
    given[0]["keypoints"][3:6] = [0, 0, 0]  # the left eye is not there
    pairs = mirror_pairs(KEYPOINTS)
    assert [KEYPOINTS[n] for n in pairs[:5]] == [
        *("nose", "right_eye", "left_eye", "right_ear", "left_ear")
    ]
    target = target_of_image(IMAGE, given, "keypoints")
    target["masks"] = target_of_image(IMAGE, given, "mask")["masks"]
    found = mirrored(target, WIDTH, pairs)
    assert found["boxes"].tolist() == [[WIDTH - 27, 10, WIDTH - 10, 27]]
    assert np.array_equal(found["masks"], target["masks"][:, :, ::-1])
    before, after = target["keypoints"][0], found["keypoints"][0]
    assert after[0].tolist() == [WIDTH - before[0, 0], before[0, 1], 2]
    assert after[1].tolist() == [WIDTH - before[2, 0], before[2, 1], 2]  # the right eye's
    assert after[2].tolist() == [0, 0, 0]
    again = mirrored(found, WIDTH, pairs)
    assert all(np.array_equal(again[name], target[name]) for name in target)
