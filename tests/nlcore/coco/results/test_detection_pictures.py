"""Pictures show what is annotated and what is found."""

import numpy as np
import pytest
from small_sets import HEIGHT, KEYPOINTS, WIDTH, person, square

pytest.importorskip("pycocotools")
pytest.importorskip("matplotlib")

from matplotlib.patches import Rectangle

from nlcore.coco.images.annotations import Category
from nlcore.coco.results.detection_pictures import draw_detections, merged_results

PIXELS = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
SKELETON = ((1, 2), (1, 3), (2, 3))


def rectangles(axes):
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def test_masks():
    categories = [Category(1, "square")]
    known = [square(1, 1, 10, 10, 20), square(2, 1, 50, 10, 20, iscrowd=1)]
    found = [{**square(1, 1, 12, 10, 20), "score": score} for score in (0.9, 0.6, 0.3)]
    figure = draw_detections(PIXELS, known, found, categories)
    left, right = figure.axes
    assert left.get_title() == "annotated: 2"
    assert right.get_title() == "found with a score of 0.5 or more: 2"
    assert len(rectangles(left)) == len(rectangles(right)) == 2
    assert rectangles(left)[0].get_bbox().bounds == (10, 10, 20, 20)
    assert [text.get_text() for text in left.texts] == ["square", "square (crowd)"]
    assert [text.get_text() for text in right.texts] == ["square 0.90", "square 0.60"]
    layers = right.images[1:]  # the first one is the photograph
    assert len(layers) == 2
    alpha = np.array(layers[0].get_array())[..., 3]
    assert (alpha > 0).sum() == 400 and alpha[10:30, 12:32].min() == 0.5


def test_skeletons():
    category = Category(1, "person", KEYPOINTS, SKELETON)
    one = person(1, 1, 10, 10, 34)
    one["keypoints"][6:9] = [0, 0, 0]  # the third is not there
    left, _ = draw_detections(PIXELS, [one], [], [category]).axes
    lines = [line for line in left.lines if line.get_linestyle() == "-"]
    assert len(lines) == 2  # one pair, white below its colour
    assert lines[0].get_xydata().tolist() == [[10, 10], [12, 12]]
    points = [line for line in left.lines if line.get_marker() == "o"]
    assert len(points[0].get_xdata()) == 16


def test_results_of_all_kinds():
    boxes = [{"image_id": 1, "score": 0.5, "bbox": [1, 2, 3, 4]}]
    masks = [{"image_id": 1, "score": 0.5, "segmentation": {}}]
    assert merged_results({"bbox": boxes, "segm": masks}) == [{**boxes[0], "segmentation": {}}]
