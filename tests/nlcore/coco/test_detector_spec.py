"""Where the paper's blocks are, and which specs are refused."""

import pytest

from nlcore.coco import DetectorSpec, blocks_at


@pytest.mark.parametrize(
    ("backbone", "last_but_one"),
    [("resnet50", 4), ("resnet101", 21), ("resnet152", 34), ("resnext152_32x8d", 34)],
)
def test_before_the_last_residual_block_of_res4(backbone, last_but_one):
    spec = DetectorSpec(backbone=backbone, non_local=blocks_at("backbone", backbone))
    assert list(spec.blocks) == [f"backbone.body.layer3.{last_but_one}"]
    (block,) = spec.blocks.values()
    assert (block.channels, block.inner_channels, block.ndim) == (1024, 512, 2)
    assert (block.pairwise, block.subsample, block.batch_norm) == (
        "embedded_gaussian",
        (2, 2),
        True,
    )


def test_after_every_2_convolutions_of_the_head():
    spec = DetectorSpec("keypoints", non_local=blocks_at("head"), classes=2)
    names = [f"roi_heads.keypoint_head.{n}" for n in (3, 7, 11, 15)]
    assert list(spec.blocks) == names
    assert {block.channels for block in spec.blocks.values()} == {512}
    both = DetectorSpec("keypoints", non_local=blocks_at("both"), classes=2)
    assert list(both.blocks) == ["backbone.body.layer3.4", *names]
    assert DetectorSpec("keypoints", non_local=blocks_at("head"), head=64).head_channels == 64
    assert blocks_at("none") == ()


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"task": "boxes"}, "task must be one of .* received 'boxes'"),
        ({"backbone": "vgg"}, "backbone must be one of .* received 'vgg'"),
        ({"norm": "layer"}, "norm must be one of .* received 'layer'"),
        ({"classes": 1}, "classes must be at least 2"),
        ({"classes": 0}, "classes must be an int > 0"),
        ({"norm_eps": -1.0}, "norm_eps must be a float >= 0; received -1.0"),
        ({"norm_eps": "0"}, "norm_eps must be a float"),
        ({"min_size": ()}, "min_size must be a tuple of ints"),
        ({"min_size": (900,), "max_size": 800}, "max_size must be at least min_size"),
        ({"non_local": ("head.2",)}, "non_local must contain .* received 'head.2' for task 'mask'"),
        ({"non_local": ("res4.6",)}, "received 'res4.6'"),
        ({"non_local": ("res4.4", "res4.4")}, "must not repeat"),
        ({"non_local": "res4.4"}, "non_local must be a tuple of str"),
        ({"options": {"num_classes": 3}}, "options must be among .* received 'num_classes'"),
        ({"non_local": ("res4.4",), "block": {"pairwise": "x"}}, "pairwise must be one of"),
        ({"width": 0}, "width must be an int > 0"),
    ],
)
def test_wrong_fields(fields, error):
    with pytest.raises((TypeError, ValueError), match=error):
        DetectorSpec(**fields)


def test_wrong_places():
    with pytest.raises(ValueError, match=r"blocks must be one of .* received 'res4'"):
        blocks_at("res4")
    with pytest.raises(ValueError, match=r"backbone must be one of .* received 'vgg'"):
        blocks_at("backbone", "vgg")
