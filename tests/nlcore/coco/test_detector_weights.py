"""Checkpoints of torchvision, by name and shape."""

import numpy as np
import pytest

from nlcore.coco import DetectorSpec
from nlcore.coco.detector_weights import convert_detector

SPEC = DetectorSpec(non_local=("res4.4",))
SHAPES = {
    "backbone.body.conv1.weight": (4, 3, 7, 7),
    "backbone.body.bn1.running_mean": (4,),
    "backbone.body.layer3.4.non_local.theta.weight": (2, 4),
    "backbone.fpn.inner_blocks.0.0.weight": (4, 4, 1, 1),
    "backbone.fpn.layer_blocks.3.0.bias": (4,),
    "rpn.head.conv.0.0.weight": (4, 4, 3, 3),
    "roi_heads.box_predictor.cls_score.weight": (3, 8),
    "roi_heads.mask_head.0.0.weight": (4, 4, 3, 3),
    "roi_heads.mask_head.3.0.bias": (4,),
    "roi_heads.mask_predictor.mask_fcn_logits.bias": (3,),
}
OLDER = {
    "backbone.fpn.inner_blocks.0.0.weight": "backbone.fpn.inner_blocks.0.weight",
    "backbone.fpn.layer_blocks.3.0.bias": "backbone.fpn.layer_blocks.3.bias",
    "rpn.head.conv.0.0.weight": "rpn.head.conv.weight",
    "roi_heads.mask_head.0.0.weight": "roi_heads.mask_head.mask_fcn1.weight",
    "roi_heads.mask_head.3.0.bias": "roi_heads.mask_head.mask_fcn4.bias",
}
BLOCK = "backbone.body.layer3.4.non_local.theta.weight"


def coco_source(older=False):
    rng = np.random.default_rng(0)
    names = {name: OLDER.get(name, name) if older else name for name in SHAPES}
    return {
        names[n]: rng.normal(size=shape).astype(np.float32)
        for n, shape in SHAPES.items()
        if n != BLOCK
    }


@pytest.mark.parametrize("older", [False, True])
def test_a_detector(older):
    source = coco_source(older)
    found = convert_detector(SPEC, SHAPES, source, "coco")
    assert found.missing == (BLOCK,) and found.left_over == ()
    for name, origin in found.names.items():
        assert found.weights[name] is not None
        assert np.array_equal(found.weights[name], source[origin])
    assert set(found.names) == set(SHAPES) - {BLOCK}
    assert f"missing: {BLOCK}" in found.report()
    source[BLOCK] = np.zeros((2, 4), np.float32)
    assert convert_detector(SPEC, SHAPES, source, "coco").missing == ()


def test_another_number_of_classes():
    source = coco_source()
    name = "roi_heads.box_predictor.cls_score.weight"
    source[name] = np.zeros((91, 8), np.float32)
    found = convert_detector(SPEC, SHAPES, source, "coco")
    assert found.missing == (BLOCK, name) and found.left_over == (name,)


def test_a_classifier():
    source = {
        "conv1.weight": np.ones((4, 3, 7, 7), np.float32),
        "bn1.running_mean": np.ones(4, np.float32),
        "bn1.num_batches_tracked": np.int64(3),
        "fc.weight": np.ones((1000, 4), np.float32),
        "fc.bias": np.ones(1000, np.float32),
    }
    found = convert_detector(SPEC, SHAPES, source, "imagenet")
    assert set(found.weights) == {"backbone.body.conv1.weight", "backbone.body.bn1.running_mean"}
    assert set(found.ignored) == {"bn1.num_batches_tracked", "fc.weight", "fc.bias"}
    del source["bn1.running_mean"]
    with pytest.raises(ValueError, match=r"missing: \['backbone.body.bn1.running_mean'\] \(1\)"):
        convert_detector(SPEC, SHAPES, source, "imagenet")


def test_another_network():
    source = coco_source()
    source["extra.weight"] = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match=r"left over: \['extra.weight'\] \(1\)"):
        convert_detector(SPEC, SHAPES, source, "coco")
    del source["extra.weight"]
    source["rpn.head.conv.0.0.weight"] = np.zeros((5, 4, 3, 3), np.float32)
    with pytest.raises(ValueError, match=r"'rpn.head.conv.0.0.weight' must have shape"):
        convert_detector(SPEC, SHAPES, source, "coco")
    with pytest.raises(ValueError, match="kind must be 'imagenet' or 'coco'; received 'keras'"):
        convert_detector(SPEC, SHAPES, source, "keras")
