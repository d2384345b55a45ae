"""Schedules, groups of weights, and which recipes are refused."""

from dataclasses import replace

import pytest

from nlcore.coco import coco_recipe

KNOWN = coco_recipe("detectron_mask")


def test_detectron_schedule():
    """A line from a third of the rate over 500 iterations, and two steps by 10."""
    rates = [KNOWN.learning_rate(i, 1) for i in (0, 250, 500, 59_999, 60_000, 80_000, 89_999)]
    assert rates == pytest.approx(
        [0.02 / 3, (0.02 / 3 + 0.02) / 2, 0.02, 0.02, 0.002, 0.0002, 0.0002], rel=1e-12
    )
    assert KNOWN.total_iterations(5) == 90_000
    with pytest.raises(ValueError, match="iteration must be from 0 to 89999; received 90000"):
        KNOWN.learning_rate(90_000, 1)


def test_torchvision_schedule():
    """Steps in epochs that leave out the last images; warm-up in iterations, from a thousandth."""
    recipe = coco_recipe("torchvision_mask")
    images = 16 * 2000 + 5
    assert recipe.total_iterations(images) == 26 * 2000
    expected = {0: 2e-5, 1000: 0.02, 16 * 2000 - 1: 0.02, 16 * 2000: 0.002, 22 * 2000: 0.0002}
    for iteration, rate in expected.items():
        assert recipe.learning_rate(iteration, images) == pytest.approx(rate, rel=1e-12)
    keypoints = coco_recipe("torchvision_keypoints")
    assert (keypoints.epochs, keypoints.steps) == (46, (36, 43))
    with pytest.raises(ValueError, match="images must be at least batch=16; received 3"):
        recipe.total_iterations(3)


SHAPES = {
    "backbone.body.conv1.weight": (64, 3, 7, 7),
    "backbone.body.layer1.0.conv1.weight": (64, 64, 1, 1),
    "backbone.body.layer10.weight": (4, 4),
    "backbone.body.layer3.4.non_local.theta.weight": (512, 1024),
    "backbone.body.layer3.4.non_local.bn.weight": (1024,),
    "backbone.body.layer3.4.non_local.bn.bias": (1024,),
    "roi_heads.box_head.fc6.bias": (1024,),
}


def test_groups_of_weights():
    theta = "backbone.body.layer3.4.non_local.theta.weight"
    scale, shift = (f"backbone.body.layer3.4.non_local.bn.{n}" for n in ("weight", "bias"))
    bias = "roi_heads.box_head.fc6.bias"
    assert KNOWN.groups(SHAPES) == [
        (["backbone.body.layer10.weight", theta, scale], 1e-4, 1.0),
        ([shift, bias], 0.0, 2.0),
    ]
    other = replace(KNOWN, undecayed=("scale",), bias_rate=1.0, frozen=("backbone",))
    assert other.groups(SHAPES) == [([bias], 1e-4, 1.0)]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"iterations": None}, "one of iterations and epochs must be an int"),
        ({"epochs": 2}, "one of iterations and epochs must be an int"),
        ({"batch": 3}, "batch must be a multiple of images_per_device=2; received 3"),
        ({"steps": (5, 5)}, "steps must increase"),
        ({"steps": 5}, "steps must be a tuple"),
        ({"factors": (1.0,)}, "factors must be 3 numbers"),
        ({"base_rate": "fast"}, "base_rate must be a number; received 'fast'"),
        ({"base_rate": float("inf")}, "base_rate must be from 0"),
        ({"momentum": 2}, "momentum must be from 0 to 1; received 2"),
        ({"clip_norm": -1}, "clip_norm must be from 0"),
        ({"batch_norm": "frozen"}, "batch_norm must be one of"),
        ({"initial": "keras"}, "initial must be one of"),
        ({"flip": 1}, "flip must be a bool"),
        ({"undecayed": ("fc",)}, "undecayed must contain kinds of .* received 'fc'"),
        ({"detector": None}, "detector must be a DetectorSpec"),
    ],
)
def test_wrong_fields(fields, error):
    with pytest.raises((TypeError, ValueError), match=error):
        replace(KNOWN, **fields)
