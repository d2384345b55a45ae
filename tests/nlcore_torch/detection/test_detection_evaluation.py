"""An evaluation writes pycocotools' numbers of its own result files, and pictures."""

import csv
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision", exc_type=ImportError)
pytest.importorskip("pycocotools")
pytest.importorskip("safetensors")

from small_sets import small_coco_recipe, small_set  # noqa: E402
from started import started  # noqa: E402

from nlcore.coco.results.average_precision import TEN, TWELVE  # noqa: E402
from nlcore.coco.results.detection_report import CocoEvaluationSettings  # noqa: E402
from nlcore_torch.detection import evaluate  # noqa: E402
from nlcore_torch.detection.detector_start import random_detector_weights  # noqa: E402

RUN = "from nlcore.coco.cli import main; main()"


@pytest.fixture(scope="module", params=["mask", "keypoints"])
def evaluated(request, tmp_path_factory):
    """The folder of a set, its images, and the results of a detector that knows nothing."""
    from safetensors.numpy import save_file

    folder, task = tmp_path_factory.mktemp("set"), request.param
    images = small_set(folder, task)
    recipe = small_coco_recipe(task)
    save_file(random_detector_weights(recipe, 1), folder / "weights.safetensors")
    settings = CocoEvaluationSettings(recipe, images, folder / "results", pictures=2)
    told = []
    found = evaluate(
        settings, folder / "weights.safetensors", device="cpu", tell=lambda *done: told.append(done)
    )
    assert told[-1] == (4, 4)
    return folder, images, found


def test_equal_to_pycocotools_on_the_same_file(evaluated):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    folder, images, found = evaluated
    kinds = ["bbox", "segm" if images.task == "mask" else "keypoints"]
    assert [one.kind for one in found] == kinds
    metrics = json.loads((folder / "results" / "metrics.json").read_text())
    document = json.loads(images.path.read_text())
    (folder / "truth.json").write_text(json.dumps({"info": {}, **document}))
    for one in found:
        truth = COCO(str(folder / "truth.json"))
        results = truth.loadRes(str(folder / "results" / f"results-{one.kind}.json"))
        assert len(results.anns) == 4 * 3  # 3 in each image
        judged = COCOeval(truth, results, one.kind)
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
        names = TEN if one.kind == "keypoints" else TWELVE
        assert metrics[one.kind] == dict(zip(names, judged.stats.tolist(), strict=True))
        assert metrics[one.kind] == one.stats


def test_files(evaluated):
    folder, _, found = evaluated
    with (folder / "results" / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["class"], row["objects"]) for row in rows] == [("square", "3")]
    assert float(rows[0]["bbox_AP"]) == found[0].stats["AP"]
    block = "backbone.body.layer3.4"
    names = {path.name for path in (folder / "results" / "pictures").iterdir()}
    assert names == {"1.png", "2.png", f"1-{block}.png", f"2-{block}.png"}


@pytest.mark.slow
def test_two_processes_find_the_same(evaluated, tmp_path):
    from nlcore.coco import coco_recipe_to_json

    folder, images, _ = evaluated
    (tmp_path / "recipe.json").write_text(coco_recipe_to_json(small_coco_recipe(images.task)))
    words = [
        *("evaluate", folder / "weights.safetensors", folder, "--split", "train"),
        *("--recipe", tmp_path / "recipe.json", "--output", tmp_path / "results"),
        *("--pictures", 0, "--workers", 0, "--device", "cpu"),
    ]
    for process in started(words, 2, RUN):
        _, error = process.communicate(timeout=900)
        assert process.returncode == 0, error
    for kind in ("bbox", "segm" if images.task == "mask" else "keypoints"):
        first, second = (
            json.loads((path / "results" / f"results-{kind}.json").read_text())
            for path in (folder, tmp_path)
        )
        assert first == second


def test_weights_of_another_detector(evaluated):
    folder, images, _ = evaluated
    other = small_coco_recipe(images.task, "none")
    settings = CocoEvaluationSettings(other, images, folder / "other")
    with pytest.raises(ValueError, match=r"left over: .*non_local"):
        evaluate(settings, folder / "weights.safetensors", device="cpu")


def test_where_a_position_looks(evaluated):
    from nlcore_torch.attention_weights import responses
    from nlcore_torch.detection import build_detector, draw_looking
    from nlcore_torch.detection.detector_attention import block_input

    _, images, _ = evaluated
    torch.manual_seed(0)
    network = build_detector(small_coco_recipe(images.task).detector).train()
    module = "backbone.body.layer3.4"
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[:, 48:] = 255
    x, seen = block_input(network, module, pixels)
    assert x.shape == (1, 1024, 6, 8)  # 64 x 96 pixels become 80 x 120, padded to 96 x 128
    assert seen.shape == (96, 128, 3) and network.training
    assert (seen[80:] == 0).all() and (seen[:, 120:] == 0).all()
    # (v - mean) / std std + mean has four roundings of numbers below 4: 4 x 4 x 2^-24
    assert np.abs(seen[:80, :50]).max() < 1e-6
    assert np.abs(seen[:80, 70:120] - 1).max() < 1e-6
    figure = draw_looking(network, module, pixels, (70.0, 20.0), k=3)
    title = figure.axes[0].get_title()
    block = network.get_submodule(f"{module}.non_local")
    weights = responses(block, x, (1, 5))[0]  # (3, 4), of windows of 2 x 2
    count = min(3, int((weights >= 0.001).sum()))
    assert title.startswith(f"weights of at least 0.001: {count}, of position (1, 5) in (6, 8)")
    itself = bool(weights[0, 2] >= weights.flatten().sort().values[-count])
    arrows = [text for text in figure.axes[0].texts if text.arrow_patch is not None]
    assert len(arrows) == count - itself
    with pytest.raises(ValueError, match=r"module must be one of .* received 'backbone'"):
        block_input(network, "backbone", pixels)
