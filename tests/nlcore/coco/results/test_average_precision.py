"""The numbers are pycocotools' own."""

import json

import numpy as np
import pytest
from small_sets import document, person

from nlcore.coco.results.average_precision import TEN, TWELVE, average_precision
from nlcore.coco.results.detections import Detections, result_entries

pytest.importorskip("pycocotools")


def results_of(content, kind, noise, seed=0):
    """The annotations as results, moved by noise."""
    rng = np.random.default_rng(seed)
    found = []
    for one in content["annotations"]:
        box = [v + rng.normal(0, noise) for v in one["bbox"]]
        entry = {"image_id": one["image_id"], "category_id": 1, "score": float(rng.random())}
        if kind == "bbox":
            entry["bbox"] = box
        elif kind == "segm":
            x, y, w, h = box
            entry["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        else:
            entry["keypoints"] = [v + rng.normal(0, noise) for v in one["keypoints"]]
        found.append(entry)
    return found


def official(path, results_path, kind):
    """As anyone evaluates a result file."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO(str(path))
    judged = COCOeval(truth, truth.loadRes(str(results_path)), kind)
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
    return judged.stats.tolist()


@pytest.mark.parametrize("kind", ["bbox", "segm", "keypoints"])
@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_equal_to_pycocotools(tmp_path, kind, noise):
    content = document("keypoints", images=9)
    content["annotations"].append(person(50, 1, 40, 20, 30, iscrowd=1))
    results = results_of(content, kind, noise)
    truth, written = tmp_path / "truth.json", tmp_path / "results.json"
    truth.write_text(json.dumps({"info": {}, **content}))
    if kind == "segm":
        from pycocotools import mask

        for one in results:
            (runs,) = mask.frPyObjects(one["segmentation"], 64, 96)
            one["segmentation"] = {"size": runs["size"], "counts": runs["counts"].decode()}
    written.write_text(json.dumps(results))
    before = json.dumps(content)
    found = average_precision(content, results, kind)
    assert list(found.stats) == list(TEN if kind == "keypoints" else TWELVE)
    assert list(found.stats.values()) == official(truth, written, kind)
    assert json.dumps(content) == before
    assert found.classes == [("square", 8, found.stats["AP"], found.stats["AP50"])]
    assert (found.stats["AP"] == pytest.approx(1.0, abs=1e-12)) == (noise == 0)


def test_nothing_found():
    found = average_precision(document(), [], "bbox")
    assert found.stats["AP"] == found.stats["AR100"] == 0.0
    assert found.stats["APl"] == -1.0  # no square is so large
    with pytest.raises(ValueError, match="images of the set; received image 77"):
        average_precision(document(), [{"image_id": 77}], "bbox")


def test_entries_of_result_files():
    masks = np.zeros((1, 64, 96), bool)
    masks[0, 5:9, 7:9] = True
    found = Detections(
        np.array([[1.0, 2.0, 4.0, 8.0]]), np.array([3]), np.array([0.5]), masks, np.ones((1, 17, 3))
    )
    common = {"image_id": 9, "category_id": 3, "score": 0.5}
    assert result_entries(9, found, "bbox") == [{**common, "bbox": [1.0, 2.0, 3.0, 6.0]}]
    assert result_entries(9, found, "keypoints") == [{**common, "keypoints": [1.0] * 51}]
    (entry,) = result_entries(9, found, "segm")
    from pycocotools import mask

    assert np.array_equal(mask.decode(entry["segmentation"]), masks[0])
    json.dumps(entry)
    with pytest.raises(ArithmeticError, match="detections in image 9 must be finite"):
        result_entries(9, found._replace(scores=np.array([np.nan])), "bbox")
