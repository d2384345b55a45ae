"""The video trainer's loop trains on images, with a learner of NumPy."""

import os
import re
import signal

import numpy as np
import pytest
from small_sets import small_coco_recipe, small_set

from nlcore.coco import CocoRunSettings
from nlcore.coco.coco_presets import COCO
from nlcore.coco.results.detections import Detections
from nlcore.video.draws import framework_seed
from nlcore.video.running import NotFinite, newest_checkpoint, read_checkpoint, run_training
from nlcore.video.running.learner import LearnerState
from nlcore.video.running.metric_tables import read_table

pytest.importorskip("pycocotools")
pytest.importorskip("safetensors")


class ToyDetector:
    """A learner whose only weight is a number, and which finds a box of its size."""

    def __init__(self, processes=1, process=0):
        self.process, self.processes = process, processes
        self.after, self.loss, self.seen = {}, {}, []

    def load(self, state):
        self.weight = np.array(state.weights["w"])
        self.momentum = {n: np.array(v) for n, v in state.momentum.items()}
        self.gradient = np.zeros(1)

    def state(self):
        return LearnerState({"w": self.weight.copy()}, dict(self.momentum), {})

    def gradients(self, batches, count):
        parts = np.zeros(5)
        for batch in batches:
            self.seen.append((batch.iteration, batch.first, tuple(batch.numbers)))
            area = sum(target["boxes"].sum() for target in batch.targets) / 1000
            noise = framework_seed(3, batch.iteration, batch.first) / 2**32
            parts += np.array([area, noise, 1, 2, 3]) * len(batch.numbers) / count
            self.gradient += area * noise
        self.after.pop(batch.iteration, lambda: None)()
        return self.loss.get(batch.iteration, parts.sum()), parts

    def update(self, rate):
        self.momentum["w"] = 0.9 * self.momentum.get("w", 0) + self.gradient
        self.weight = self.weight - rate * self.momentum["w"]
        self.gradient = np.zeros(1)

    def statistics(self, batches):
        assert list(batches) == []

    def scores(self, pixels):
        side = 30 + float(self.weight[0])
        boxes = np.array([[8, 4, 8 + side, 4 + side]])
        masks = np.zeros((1, *pixels.shape[:2]), bool)
        masks[0, 4:30, 8:36] = True
        return Detections(boxes, np.array([1]), np.array([0.9]), masks, np.ones((1, 17, 3)))

    def summed(self, values):
        return values


@pytest.fixture(scope="module", params=["mask", "keypoints"])
def images(request, tmp_path_factory):
    return small_set(tmp_path_factory.mktemp("set"), request.param)


def trained(images, folder, learner=None, **fields):
    recipe = small_coco_recipe(images.task)
    settings = CocoRunSettings(recipe, images, folder, images, 3, every=2, **fields)
    learner = learner or ToyDetector()
    outcome = run_training(settings, learner, lambda: ({"w": np.ones(1)}, "one"))
    return learner, outcome


def everything(folder):
    training = read_table(folder / "training.csv")
    del training["seconds"]
    found = newest_checkpoint(folder / "checkpoints", form=COCO)
    tables = [{k: v.tolist() for k, v in training.items()}, (folder / "validation.csv").read_text()]
    return found.iteration, found.state.weights["w"].tobytes(), tables


def test_a_run(images, tmp_path):
    learner, outcome = trained(images, tmp_path)
    assert outcome == (6, None)
    assert [key[:2] for key in learner.seen] == [(i, slot) for i in range(6) for slot in (0, 1)]
    training = read_table(tmp_path / "training.csv")
    part = "mask" if images.task == "mask" else "keypoint"
    parts = ["classifier", "box_reg", part, "objectness", "rpn_box_reg"]
    assert list(training) == ["iteration", "rate", "loss", *parts, "seconds"]
    assert np.allclose(training["loss"], sum(training[name] for name in parts), rtol=1e-12)
    assert training["rate"][2] == 0.002 and training["rate"][5] == pytest.approx(0.0002)
    validation = read_table(tmp_path / "validation.csv")
    assert validation["iteration"].tolist() == [2, 4, 6]
    assert set(validation) == {
        "iteration",
        *(f"box_{name}" for name in ("AP", "AP50", "AP75")),
        *(f"{part}_{name}" for name in ("AP", "AP50", "AP75")),
    }
    assert (validation["box_AP"] > 0).all()
    found = newest_checkpoint(tmp_path / "checkpoints", form=COCO)
    assert found.recipe == small_coco_recipe(images.task) and found.index == images.digest
    with pytest.raises(ValueError, match="no entry 'nlcore_video_checkpoint'"):
        read_checkpoint(tmp_path / "checkpoints" / "iteration-00000006")


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", [0, 1, 2, 5])
def test_a_killed_run_goes_on_with_the_same_bits(images, tmp_path, at):
    trained(images, tmp_path / "whole")

    def kill():
        raise Killed

    learner = ToyDetector()
    learner.after[at] = kill
    with pytest.raises(Killed):
        trained(images, tmp_path / "killed", learner)
    _, outcome = trained(images, tmp_path / "killed", resume=True)
    assert outcome == (6, None)
    assert everything(tmp_path / "killed") == everything(tmp_path / "whole")


def test_a_signal_ends_it_with_a_checkpoint(images, tmp_path):
    learner = ToyDetector()
    learner.after[2] = lambda: os.kill(os.getpid(), signal.SIGTERM)
    assert trained(images, tmp_path, learner)[1] == (3, "SIGTERM")
    assert newest_checkpoint(tmp_path / "checkpoints", form=COCO).iteration == 3


def test_a_loss_that_is_not_finite(images, tmp_path):
    learner = ToyDetector()
    learner.loss[3] = float("inf")
    with pytest.raises(NotFinite) as stopped:
        trained(images, tmp_path, learner)
    numbers = [n for i, _, found in learner.seen for n in found if i == 3]
    paths = ", ".join(str(images.file(number)) for number in numbers)
    assert "the loss of iteration 3, at the learning rate 0." in str(stopped.value)
    assert f", must be finite; received inf of {paths}." in str(stopped.value)


def test_detections_that_are_not_finite(images, tmp_path):
    learner = ToyDetector()
    learner.after[1] = lambda: setattr(learner, "weight", np.array([np.nan]))
    message = "the detections in image 1 must be finite; received NaN or inf after iteration 2. The"
    with pytest.raises(NotFinite, match=re.escape(message)):
        trained(images, tmp_path, learner)


def test_a_checkpoint_of_other_images(images, tmp_path):
    trained(images, tmp_path / "run")
    other = small_set(tmp_path / "set", images.task, annotations=images.annotations(0))
    with pytest.raises(ValueError, match="they differ in the training images"):
        trained(other, tmp_path / "run", resume=True)


def test_processes_divide_the_batch(images, tmp_path):
    with pytest.raises(
        ValueError, match=r"must divide 2, the devices of the recipe .batch=2, imag"
    ):
        trained(images, tmp_path, ToyDetector(processes=3))
