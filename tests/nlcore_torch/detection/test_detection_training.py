"""Training is the same bits, interrupted or not, and learns."""

import hashlib
import json
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision", exc_type=ImportError)
pytest.importorskip("pycocotools")
pytest.importorskip("safetensors")

from small_sets import small_coco_recipe, small_set  # noqa: E402
from started import started  # noqa: E402

from nlcore.coco import CocoRunSettings, coco_recipe_to_json  # noqa: E402
from nlcore.coco.coco_presets import COCO  # noqa: E402
from nlcore.video.running import newest_checkpoint  # noqa: E402
from nlcore.video.running.metric_tables import read_table  # noqa: E402
from nlcore_torch.detection import train  # noqa: E402

RUN = "from nlcore.coco.cli import main; main()"


def digests(run):
    """SHA-256 of the final weights and momentum, and the metrics but the time."""
    newest = sorted((run / "checkpoints").glob("iteration-*"))[-1]
    files = [(newest / f"{name}.safetensors").read_bytes() for name in ("weights", "momentum")]
    table = read_table(run / "training.csv")
    del table["seconds"]
    numbers = {name: column.tolist() for name, column in table.items()}
    validation = (run / "validation.csv").read_text()
    return newest.name, [hashlib.sha256(f).hexdigest() for f in files], numbers, validation


@pytest.fixture(scope="module", params=["mask", "keypoints"])
def folder(request, tmp_path_factory):
    """A folder in COCO's layout with a recipe, and the task."""
    folder = tmp_path_factory.mktemp("set")
    small_set(folder, request.param)
    (folder / "recipe.json").write_text(coco_recipe_to_json(small_coco_recipe(request.param)))
    return folder, request.param


def command(folder, run, *more):
    return [
        *("train", folder, "--training", "train", "--validation", "train"),
        *("--recipe", folder / "recipe.json", "--output", run, "--every", 2),
        *("--device", "cpu", "--workers", 0, *more),
    ]


def ended(group):
    for process in group:
        _, error = process.communicate(timeout=900)
        assert process.returncode == 0, error


def kill_after(group, run, iterations):
    """SIGKILL all processes when a number of iterations are done."""
    table = run / "training.csv"
    for _ in range(30_000):
        if table.exists() and table.read_text().count("\n") > iterations:
            break
        assert all(process.poll() is None for process in group), group[0].communicate()
        time.sleep(0.02)
    for process in group:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_goes_on_with_the_same_bits(folder, tmp_path, processes):
    data, _ = folder
    ended(started(command(data, tmp_path / "whole"), processes, RUN))
    run = tmp_path / "killed"
    kill_after(started(command(data, run), processes, RUN), run, 3)
    assert newest_checkpoint(run / "checkpoints", form=COCO).iteration in (2, 4)
    ended(started(command(data, run, "--resume"), processes, RUN))
    assert digests(run) == digests(tmp_path / "whole")
    assert digests(run)[0] == "iteration-00000006"


def test_workers_do_not_change_a_bit(folder, tmp_path):
    from nlcore.coco import coco_files, read_coco

    data, task = folder
    images = read_coco(*coco_files(data, "train", task), task)
    recipe = small_coco_recipe(task, iterations=2, steps=(1,))
    found = []
    for workers in (0, 1):
        run = tmp_path / f"run{workers}"
        settings = CocoRunSettings(recipe, images, run, images, workers=workers)
        assert train(settings, device="cpu") == (2, None)
        found.append(digests(run))
    assert found[0] == found[1]
    facts = json.loads((run / "checkpoints" / "iteration-00000002" / "checkpoint.json").read_text())
    assert {"torch", "torchvision", "pycocotools"} <= set(facts["facts"]["versions"])


def test_a_run_starts_from_another(folder, tmp_path):
    from nlcore.coco import coco_files, read_coco

    data, task = folder
    images = read_coco(*coco_files(data, "train", task), task)
    short = {"iterations": 1, "steps": (), "factors": (1.0,), "warmup": 0}
    plain = small_coco_recipe(task, "none", **short)
    train(CocoRunSettings(plain, images, tmp_path / "plain"), device="cpu")
    still = small_coco_recipe(task, initial="coco", base_rate=0.0, **short)
    settings = CocoRunSettings(still, images, tmp_path / "blocks")
    with pytest.raises(ValueError, match="starts from 'coco' weights; received none"):
        train(settings, device="cpu")
    settings = CocoRunSettings(still, images, tmp_path / "blocks2")
    train(settings, tmp_path / "plain", device="cpu")
    first, second = (
        newest_checkpoint(tmp_path / name / "checkpoints", form=COCO).state.weights
        for name in ("plain", "blocks2")
    )
    assert set(second) - set(first) == {n for n in second if ".non_local." in n}
    same = [n for n in first if "running_" not in n]
    assert len(same) > 100 and all(np.array_equal(first[n], second[n]) for n in same)
