"""The detectors are torchvision's, and the blocks are where the paper has them."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision", exc_type=ImportError)

from small_sets import small_coco_recipe  # noqa: E402
from torch import nn  # noqa: E402
from torchvision.models.detection import (  # noqa: E402
    keypointrcnn_resnet50_fpn,
    maskrcnn_resnet50_fpn,
)
from torchvision.models.resnet import resnext101_32x8d  # noqa: E402
from torchvision.ops import FrozenBatchNorm2d  # noqa: E402

from nlcore.coco import DetectorSpec, blocks_at, coco_recipe  # noqa: E402
from nlcore_torch import assert_identity, non_local_blocks  # noqa: E402
from nlcore_torch.detection import build_detector  # noqa: E402

HOSTS = {
    "mask": (maskrcnn_resnet50_fpn, "backbone", 91),
    "keypoints": (keypointrcnn_resnet50_fpn, "both", 2),
}


@pytest.mark.parametrize("task", HOSTS)
def test_equal_to_torchvision(task):
    """Weights and outputs of torchvision's builder after the same seed, bit for bit."""
    build, place, classes = HOSTS[task]
    small = {"min_size": 64, "max_size": 96, "box_score_thresh": 0.0}
    torch.manual_seed(0)
    host = build(weights=None, weights_backbone=None, **small).eval()
    torch.manual_seed(0)
    spec = DetectorSpec(
        task,
        norm="batch",
        classes=classes,
        min_size=(64,),
        max_size=96,
        options={"box_score_thresh": 0.0},
        non_local=blocks_at(place),
    )
    own = build_detector(spec).eval()
    assert_identity(own)
    before, after = host.state_dict(), own.state_dict()
    assert [n for n in after if ".non_local." not in n] == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    host.backbone.body.conv1.weight.data /= 2**8  # so that boxes are inside of the image
    own.backbone.body.conv1.weight.data /= 2**8
    image = torch.rand(3, 64, 90, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        (right,), (found,) = host([image]), own([image])
    assert found.keys() == right.keys() and len(right["scores"])
    assert all(torch.equal(found[name], right[name]) for name in right)


def test_blocks_of_mask_rcnn():
    """One, before the last residual block of res4."""
    network = build_detector(coco_recipe("detectron_mask").detector)
    (name,) = non_local_blocks(network)
    assert name == "backbone.body.layer3.4.non_local"
    assert len(network.backbone.body.layer3) == 6
    shapes = {n: tuple(p.shape) for n, p in network.get_submodule(name).named_parameters()}
    assert shapes == {
        **dict.fromkeys(("theta.weight", "phi.weight", "g.weight"), (512, 1024)),
        "out.weight": (1024, 512),
        **dict.fromkeys(("bn.weight", "bn.bias"), (1024,)),
    }


def test_blocks_of_keypoint_rcnn():
    """Four in the head, after every 2 of 8 convolutions and their ReLU, and one in res4."""
    network = build_detector(coco_recipe("detectron_keypoints").detector)
    names = [f"roi_heads.keypoint_head.{n}.non_local" for n in (3, 7, 11, 15)]
    assert list(non_local_blocks(network)) == ["backbone.body.layer3.4.non_local", *names]
    head = network.roi_heads.keypoint_head
    kinds = [type(module) for module in head]
    assert kinds == [nn.Conv2d, nn.ReLU] * 8
    assert [head[n].non_local.spec.channels for n in (3, 7, 11, 15)] == [512] * 4
    seen = []
    for n in range(16):
        head[n].register_forward_hook(lambda m, x, z, n=n: seen.append(n))
        if hasattr(head[n], "non_local"):
            head[n].non_local.register_forward_hook(lambda m, x, z, n=n: seen.append(f"block {n}"))
    with torch.no_grad():
        head(torch.zeros(1, 256, 14, 14))
    assert [place for place in seen if isinstance(place, str)] == [
        f"block {n}" for n in (3, 7, 11, 15)
    ]
    for n in (3, 7, 11):  # the block is computed before the next convolution
        assert seen.index(f"block {n}") < seen.index(n + 1)


@pytest.mark.parametrize(("norm", "kind"), [("frozen", FrozenBatchNorm2d), ("group", nn.GroupNorm)])
def test_normalization(norm, kind):
    detector = {"norm": norm, "norm_eps": 0.0, "width": 32}
    spec = small_coco_recipe(detector=detector).detector
    body = build_detector(spec).backbone.body
    norms = [m for n, m in body.named_modules() if n.endswith(("bn1", "bn2", "downsample.1"))]
    assert len(norms) > 30 and {type(norm) for norm in norms} == {kind}
    assert {norm.eps for norm in norms} == {0.0}


def test_resnext():
    with torch.device("meta"):
        right = resnext101_32x8d()
        body = build_detector(DetectorSpec(backbone="resnext101_32x8d")).backbone.body
        deeper = build_detector(DetectorSpec(backbone="resnext152_32x8d")).backbone.body
    shapes = {n: p.shape for n, p in right.named_parameters() if not n.startswith("fc.")}
    assert {n: p.shape for n, p in body.named_parameters() if "bn" not in n} == {
        n: s for n, s in shapes.items() if "bn" not in n and "downsample.1" not in n
    }
    assert [len(getattr(deeper, f"layer{n}")) for n in (1, 2, 3, 4)] == [3, 8, 36, 3]
    assert deeper.layer3[0].conv2.groups == 32
