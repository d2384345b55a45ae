"""What a learner of detectors computes, and what it stores."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision", exc_type=ImportError)
pytest.importorskip("pycocotools")

from dataclasses import replace  # noqa: E402

from small_sets import HEIGHT, WIDTH, small_coco_recipe, small_set  # noqa: E402

from nlcore.coco.coco_task import LOSSES  # noqa: E402
from nlcore.coco.images.image_sources import TrainingImages, image_batch  # noqa: E402
from nlcore.video.running.learner import LearnerState  # noqa: E402
from nlcore_torch import block_activity  # noqa: E402
from nlcore_torch.detection import DetectionLearner, detector_start  # noqa: E402


@pytest.fixture(scope="module", params=["mask", "keypoints"])
def images(request, tmp_path_factory):
    return small_set(tmp_path_factory.mktemp("set"), request.param)


def learner_of(images, **fields):
    recipe = small_coco_recipe(images.task, **fields)
    learner = DetectionLearner(recipe, 3)
    weights, _ = detector_start(recipe, 3)
    learner.load(LearnerState(weights, {}, {}))
    return learner, TrainingImages(images, recipe, 3)


def batches(images, iteration):
    return [image_batch(iteration, slot, [images.load(iteration, slot)]) for slot in (0, 1)]


def test_the_loss_is_the_mean_of_torchvision(images):
    learner, source = learner_of(images)
    loss, parts = learner.gradients(batches(source, 0), 2)
    assert loss == pytest.approx(parts.sum(), rel=1e-6) and len(parts) == 5
    gradient = learner.network.rpn.head.cls_logits.weight.grad.clone()
    again, _ = learner_of(images)
    total = np.zeros(5)
    for batch in batches(source, 0):
        total += again.gradients([batch], 2)[1]
    assert np.array_equal(total, parts)
    assert torch.equal(again.network.rpn.head.cls_logits.weight.grad, gradient)
    (first,) = batches(source, 0)[:1]
    other, _ = learner_of(images)
    torch.manual_seed(99)  # the draws do not depend on the state of torch's generator
    assert np.array_equal(other.gradients([first], 1)[1], again_alone(images, first))


def again_alone(images, batch):
    learner, _ = learner_of(images)
    return learner.gradients([batch], 1)[1]


def test_blocks_are_active_after_an_update(images):
    learner, source = learner_of(images)
    assert not any(a.left_zero for a in block_activity(learner.network).values())
    learner.gradients(batches(source, 0), 2)
    assert all(a.gradient for a in block_activity(learner.network).values())
    learner.update(0.01)
    activity = block_activity(learner.network)
    assert len(activity) == (1 if images.task == "mask" else 5)
    assert all(a.left_zero for a in activity.values())


def test_a_state_is_all_of_it(images):
    learner, source = learner_of(images)
    for iteration in range(2):
        learner.gradients(batches(source, iteration), 2)
        learner.update(0.01)
    state = learner.state()
    other = DetectionLearner(learner.recipe, 3)
    other.load(state)
    for one in (learner, other):
        one.gradients(batches(source, 2), 2)
        one.update(0.01)
    first, second = learner.state(), other.state()
    assert first.weights.keys() == second.weights.keys()
    assert all(np.array_equal(first.weights[n], second.weights[n]) for n in first.weights)
    assert all(np.array_equal(first.momentum[n], second.momentum[n]) for n in first.momentum)
    name = next(iter(first.weights))
    with pytest.raises(ValueError, match=f"are missing, unknown .* such as {name!r}"):
        missing = {n: v for n, v in state.weights.items() if n != name}
        other.load(replace_weights(state, missing))


def replace_weights(state, weights):
    return LearnerState(weights, state.momentum, state.extra)


def test_frozen_weights_and_biases(images):
    recipe = small_coco_recipe(images.task, frozen=("backbone.body",), bias_rate=0.0)
    assert recipe.undecayed == ("bias",)
    learner = DetectionLearner(recipe, 3)
    weights, _ = detector_start(recipe, 3)
    learner.load(LearnerState(weights, {}, {}))
    source = TrainingImages(images, recipe, 3)
    learner.gradients(batches(source, 0), 2)
    learner.update(0.01)
    after = learner.state().weights
    changed = {n for n in after if not np.array_equal(after[n], weights[n])}
    assert changed and not any(n.startswith("backbone.body") or n.endswith("bias") for n in changed)


def test_affine_blocks(images):
    recipe = small_coco_recipe(images.task, batch_norm="affine")
    trained = {name for names, _, _ in recipe.groups({}) for name in names}
    assert trained == set()
    learner = DetectionLearner(recipe, 3)
    assert not any(p.requires_grad for n, p in learner.network.named_parameters() if ".bn" in n)


def test_detections(images):
    learner, source = learner_of(images)
    pixels = source.load(0, 0).pixels
    found = learner.scores(pixels)
    assert found.boxes.shape == (3, 4) and found.scores.shape == found.labels.shape == (3,)
    if images.task == "mask":
        assert found.masks.shape == (3, HEIGHT, WIDTH) and found.masks.dtype == bool
    else:
        assert found.keypoints.shape == (3, 17, 3)
    assert len(LOSSES[images.task]) == 5


def test_precisions(images):
    recipe = small_coco_recipe(images.task)
    with pytest.raises(ValueError, match=r"precision must be one of .* received 'int8'"):
        DetectionLearner(recipe, precision="int8")
    learner = DetectionLearner(replace(recipe), 3, precision="bfloat16")
    weights, _ = detector_start(recipe, 3)
    learner.load(LearnerState(weights, {}, {}))
    loss, _ = learner.gradients(batches(TrainingImages(images, recipe, 3), 0), 2)
    assert np.isfinite(loss)
