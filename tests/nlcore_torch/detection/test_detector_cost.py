"""What the blocks add, counted by hand."""

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("torchvision", exc_type=ImportError)

from nlcore.coco import DetectorSpec, blocks_at, coco_recipe
from nlcore_torch.detection import detector_cost


def test_less_than_5_percent():
    """The paper's Sec. 5.3, for Mask R-CNN with ResNet-50."""
    cost = detector_cost(coco_recipe("detectron_mask").detector, (800, 1344))
    (block,) = cost.blocks
    assert block.name == "backbone.body.layer3.4.non_local"
    assert block.shape == (1, 1024, 50, 84)
    positions, pooled, channels, inner = 50 * 84, 25 * 42, 1024, 512
    embeddings = 4 * positions * channels * inner  # theta, phi, g and out
    pairs = 2 * positions * pooled * inner
    assert block.multiply_adds == embeddings + pairs
    assert block.parameters == 4 * channels * inner + 2 * channels
    plain = detector_cost(DetectorSpec(), (800, 1344))
    assert plain.blocks == () and plain.added("parameters") == 0
    assert cost.multiply_adds - plain.multiply_adds == block.multiply_adds
    assert cost.parameters - plain.parameters == block.parameters
    assert 0.04 < cost.added("multiply_adds") < 0.05
    assert 0.04 < cost.added("parameters") < 0.05
    assert "the blocks add 4.7% of the parameters and 4.7%" in str(cost)


def test_the_page_states_what_the_blocks_add():
    page = Path(__file__).parents[3] / "docs" / "coco.md"
    text = " ".join(page.read_text(encoding="utf-8").split())
    mask, persons = (
        detector_cost(coco_recipe(name).detector, (800, 1344))
        for name in ("detectron_mask", "detectron_keypoints")
    )
    added = f"adds {mask.added('parameters'):.1%} to the parameters"
    assert f"{added} and {mask.added('multiply_adds'):.1%} to the multiply-adds of Mask" in text
    assert f"together add {persons.added('multiply_adds'):.1%} to the multiply-adds of Key" in text


def test_the_heads():
    spec = DetectorSpec("keypoints", classes=2, non_local=blocks_at("head"), min_size=(800,))
    cost = detector_cost(spec, (64, 64))
    names = [f"roi_heads.keypoint_head.{n}.non_local" for n in (3, 7, 11, 15)]
    assert [block.name for block in cost.blocks] == names
    assert {block.shape for block in cost.blocks} == {(100, 512, 14, 14)}
    convolutions = 100 * 196 * 9 * (256 * 512 + 7 * 512 * 512)
    predictor = 100 * 16 * 512 * 17 * 14 * 14
    blocks = sum(block.multiply_adds for block in cost.blocks)
    found = cost.parts["roi_heads.keypoint_head"].multiply_adds
    assert found == convolutions + predictor + blocks
    with pytest.raises(ValueError, match=r"size must be multiples of 32.* received \(800, 1333\)"):
        detector_cost(spec, (800, 1333))
