"""Blocks in the models of torchvision and timm, and a detector that is trained and evaluated.

`tox run -e detection` has what these need; elsewhere they are skipped.
"""

import json
import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision", exc_type=ImportError)

import numpy as np  # noqa: E402
from PIL import Image, ImageDraw  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.modules.batchnorm import _BatchNorm  # noqa: E402
from torchvision.datasets import CocoDetection  # noqa: E402
from torchvision.models import resnet50, video  # noqa: E402
from torchvision.models.detection import (  # noqa: E402
    MaskRCNN,
    keypointrcnn_resnet50_fpn,
    maskrcnn_resnet50_fpn,
)
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone  # noqa: E402
from torchvision.ops import FrozenBatchNorm2d  # noqa: E402
from torchvision.transforms.functional import to_tensor  # noqa: E402

from nlcore_torch.insertion import assert_identity, block_activity, insert, non_local_blocks, remove  # noqa: E402

# pycocotools' masks have NumPy 1's __array__, without `copy`
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

WIDTH, HEIGHT = 128, 96
CLASSES = ["rectangle", "disc"]
KEYPOINTS = 5
#: small enough for one core; a detector that knows nothing yet still finds things
SMALL = {
    "min_size": HEIGHT,
    "max_size": WIDTH,
    "box_score_thresh": 0.0,
    "box_detections_per_img": 10,
    "rpn_pre_nms_top_n_test": 200,
    "rpn_post_nms_top_n_test": 50,
}
UNTRAINED = {"weights": None, "weights_backbone": None}
RES4 = {"backbone.body.layer3.4": {"pairwise": "dot_product", "subsample": (2, 2)}}
#: after the ReLU of every second of the head's 8 convolutions
HEAD = {f"roi_heads.keypoint_head.{i}": {"channels": 512, "ndim": 2} for i in (3, 7, 11, 15)}


def mask_rcnn(**options):
    return maskrcnn_resnet50_fpn(**UNTRAINED, **SMALL, num_classes=1 + len(CLASSES), **options)


def frozen_mask_rcnn():
    """With the normalization that torchvision takes for a pretrained backbone."""
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=5
    )
    return MaskRCNN(backbone, 1 + len(CLASSES), **SMALL)


def keypoint_rcnn(**options):
    # the head's channels are 512, of 14x14 positions for each box
    sizes = {**SMALL, "num_keypoints": KEYPOINTS, **options}
    return keypointrcnn_resnet50_fpn(**UNTRAINED, **sizes)


def from_timm(name):
    return pytest.importorskip("timm").create_model(name, pretrained=False)


def image(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


IMAGES = image(2, 3, 64, 64)
CLIPS = image(2, 3, 4, 32, 32)
SCENES = [image(3, HEIGHT, WIDTH)]
LAST = {"pairwise": "dot_product"}
HOSTS = {  # model, blocks, input
    "resnet50": (lambda: resnet50(weights=None), {"layer3.4": LAST}, IMAGES),
    "timm resnet50": (lambda: from_timm("resnet50"), {"layer3.4": LAST, "layer2": {}}, IMAGES),
    "timm regnety": (lambda: from_timm("regnety_002"), {"s3.b3": LAST}, IMAGES),
    "timm convnext": (lambda: from_timm("convnext_atto"), {"stages.2.blocks.4": LAST}, IMAGES),
    # whose convolutions are classes of torchvision's own
    "r3d_18": (lambda: video.r3d_18(weights=None), {"layer2.1": {}, "layer3.0": LAST}, CLIPS),
    "mc3_18": (lambda: video.mc3_18(weights=None), {"layer2.1": {}, "layer3.0": LAST}, CLIPS),
    "r2plus1d_18": (lambda: video.r2plus1d_18(weights=None), {"layer3.0": LAST}, CLIPS),
    "Mask R-CNN": (mask_rcnn, RES4, SCENES),
    "Mask R-CNN, frozen": (frozen_mask_rcnn, RES4, SCENES),
    "Keypoint R-CNN": (keypoint_rcnn, {**RES4, **HEAD}, SCENES),
}


@pytest.fixture(params=HOSTS)
def host(request):
    make, where, x = HOSTS[request.param]
    torch.manual_seed(0)
    model = make().eval()
    if x is SCENES:
        # Until it is trained, each of 16 residual blocks doubles the variance: so large are the
        # features then that no box is left in the image.
        model.backbone.body.conv1.weight.data /= 2**8
    return model, where, x


@torch.no_grad()
def outputs(model, x):
    """Every tensor that the model puts out."""
    z = model(x)
    found = [z] if isinstance(z, torch.Tensor) else [t for one in z for t in one.values()]
    assert found and all(t.numel() and t.isfinite().all() for t in found)
    return found


def same(some, others):
    return len(some) == len(others) and all(map(torch.equal, some, others))


def host_init(model):
    """What many a host's init_weights does."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            nn.init.ones_(module.weight)


def test_a_block_in_a_host(host):
    model, where, x = host
    plain, names = outputs(model, x), list(model.state_dict())

    insert(model, where)
    assert_identity(model)
    assert list(non_local_blocks(model)) == [
        n for n, _ in model.named_modules() if n.endswith("non_local")
    ]
    assert set(non_local_blocks(model)) == {f"{name}.non_local" for name in where}
    assert same(outputs(model, x), plain)
    own = [
        f"{name}.{weight}"
        for name, b in non_local_blocks(model).items()
        for weight in b.state_dict()
    ]
    assert [name for name in model.state_dict() if name not in own] == names
    assert len(model.state_dict()) == len(names) + len(own)

    assert same(outputs(remove(model), x), plain)
    assert list(model.state_dict()) == names

    insert(model, where, example=x)
    for block in non_local_blocks(model).values():  # each of them is on the way to the outputs
        nn.init.ones_(block.bn.weight)
        assert not same(outputs(model, x), plain)
        nn.init.zeros_(block.bn.weight)
    assert_identity(model)
    host_init(model)
    with pytest.raises(AssertionError, match=r"is not the identity: expected bn.weight to be 0"):
        assert_identity(model)


@pytest.mark.parametrize("name", [n for n in HOSTS if "R-CNN" not in n])
def test_a_block_in_a_host_trains(name):
    make, where, x = HOSTS[name]
    torch.manual_seed(0)
    model = insert(make().train(), where)
    assert all(a.gradient is a.left_zero is False for a in block_activity(model).values())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    (model(x) - 1).square().mean().backward()
    optimizer.step()
    assert all(a.gradient is a.left_zero is True for a in block_activity(model).values())


def test_timm_checkpoints_through_a_block():
    torch.manual_seed(0)
    model = insert(from_timm("resnet26").train(), {"layer3.0": {}, "layer2": {}}, identity=False)
    gradients = []
    for checkpointing in (False, True):
        model.set_grad_checkpointing(checkpointing)
        model.zero_grad()
        model(IMAGES).square().sum().backward()
        gradients.append(
            [p.grad.clone() for b in non_local_blocks(model).values() for p in b.parameters()]
        )
    assert all(map(torch.equal, *gradients))
    assert all(g.count_nonzero() for g in gradients[0])


def test_torchvision_freezes_batch_norm_of_pretrained_backbones_only():
    kinds = {type(m) for m in mask_rcnn().backbone.modules()}
    assert nn.BatchNorm2d in kinds and FrozenBatchNorm2d not in kinds
    kinds = {type(m) for m in frozen_mask_rcnn().backbone.modules()}
    assert FrozenBatchNorm2d in kinds and nn.BatchNorm2d not in kinds


def test_a_head_without_boxes():
    torch.manual_seed(0)
    model = insert(keypoint_rcnn(box_score_thresh=1.0).eval(), {**RES4, **HEAD})
    seen = []
    model.roi_heads.keypoint_head.register_forward_hook(lambda *a: seen.append(a[-1].shape))
    with torch.no_grad():
        (found,) = model(SCENES)
    assert seen == [(0, 512, 14, 14)]
    assert found["keypoints"].shape == (0, KEYPOINTS, 3)


def test_keypoint_rcnn_trains():
    torch.manual_seed(0)
    model = insert(keypoint_rcnn().train(), {**RES4, **HEAD})
    keypoints = torch.tensor([[[30 + 5.0 * k, 25 + 6.0 * k, 1] for k in range(KEYPOINTS)]])
    target = {"boxes": torch.tensor([[20.0, 16, 70, 66]]), "labels": torch.tensor([1])}
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    losses = model(SCENES * 2, [{**target, "keypoints": keypoints}] * 2)
    sum(losses.values()).backward()
    optimizer.step()
    assert set(block_activity(model)) == {f"{name}.non_local" for name in {**RES4, **HEAD}}
    assert all(a.gradient is a.left_zero is True for a in block_activity(model).values())


def draw_scenes(folder, count=12):
    """Images of one rectangle and one disc each, annotated as COCO is; the annotations' path."""
    mask = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(count):
        picture = Image.fromarray(rng.integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8))
        sides = rng.permutation([0, WIDTH // 2])  # which half each is in
        for category, side in enumerate(sides, 1):
            w, h = rng.integers(28, 44, 2).tolist()
            x, y = int(side) + int(rng.integers(4, 18)), int(rng.integers(4, 50))
            if CLASSES[category - 1] == "rectangle":
                corners = [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
            else:
                r, h = w / 2, w
                angles = [2 * math.pi * k / 32 for k in range(32)]
                corners = [(x + r + r * math.cos(a), y + r + r * math.sin(a)) for a in angles]
            bright = rng.integers(120, 256, 3).tolist()
            ImageDraw.Draw(picture).polygon(corners, fill=tuple(bright))
            polygon = [float(v) for corner in corners for v in corner]
            (encoded,) = mask.frPyObjects([polygon], HEIGHT, WIDTH)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i + 1,
                    "category_id": category,
                    "segmentation": [polygon],
                    "bbox": [x, y, w, h],
                    "area": float(mask.area(encoded)),
                    "iscrowd": 0,
                }
            )
        picture.save(folder / f"{i + 1}.png")
        size = {"width": WIDTH, "height": HEIGHT}
        images.append({"id": i + 1, "file_name": f"{i + 1}.png", **size})
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASSES, 1)]
    # pycocotools asks for the info
    everything = {"info": {}, "images": images, "annotations": annotations}
    path = folder / "annotations.json"
    path.write_text(json.dumps({**everything, "categories": categories}))
    return path


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    return CocoDetection(folder, draw_scenes(folder))


def sample(scenes, index):
    """An image (3, H, W) and its target, as torchvision's detectors take them."""
    picture, annotations = scenes[index]
    boxes = torch.tensor([a["bbox"] for a in annotations], dtype=torch.float32)  # (K, 4)
    boxes[:, 2:] += boxes[:, :2]  # width and height to the other corner
    masks = np.stack([scenes.coco.annToMask(a) for a in annotations])  # (K, H, W)
    labels = torch.tensor([a["category_id"] for a in annotations])  # (K,)
    return to_tensor(picture), {"boxes": boxes, "labels": labels, "masks": torch.tensor(masks)}


def precision(scenes, found, kind):
    """COCO's AP of {boxes, labels, scores, masks (K, H, W)} for each image, of boxes or masks."""
    mask = pytest.importorskip("pycocotools.mask")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    results = []
    for image_id, one in zip(scenes.ids, found, strict=True):
        columns = (one[name] for name in ("boxes", "labels", "scores", "masks"))
        for box, label, score, m in zip(*columns, strict=True):
            result = {"image_id": image_id, "category_id": int(label), "score": float(score)}
            if kind == "bbox":
                left, top, right, bottom = box.tolist()
                result["bbox"] = [left, top, right - left, bottom - top]
            else:
                result["segmentation"] = mask.encode(np.asfortranarray(m.numpy().astype(np.uint8)))
            results.append(result)
    judged = evaluation.COCOeval(scenes.coco, scenes.coco.loadRes(results), kind)
    judged.evaluate()
    judged.accumulate()
    judged.summarize()
    return judged.stats[0]  # of intersections over unions from 0.5 to 0.95


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_the_evaluation_knows_right_from_wrong(scenes, kind):
    truth = [{"scores": torch.ones(2), **sample(scenes, i)[1]} for i in range(len(scenes))]
    assert precision(scenes, truth, kind) == pytest.approx(1.0, abs=1e-12)
    swapped = [{**one, "labels": 3 - one["labels"]} for one in truth]
    assert precision(scenes, swapped, kind) == 0.0
    half = [one if i % 2 else {**one, **swapped[i]} for i, one in enumerate(truth)]
    assert 0.0 < precision(scenes, half, kind) < 1.0


def test_mask_rcnn_with_a_block_trains_and_is_evaluated(scenes):
    torch.manual_seed(0)
    model = mask_rcnn(
        rpn_pre_nms_top_n_train=200,
        rpn_post_nms_top_n_train=100,
        rpn_batch_size_per_image=64,
        box_batch_size_per_image=32,
    )
    insert(model, RES4).train()
    assert_identity(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.003, momentum=0.9)
    losses = []
    for step in range(18):
        batch = [sample(scenes, (2 * step + k) % len(scenes)) for k in range(2)]
        torch.manual_seed(step % 6)  # the boxes to learn from are drawn: alike in every pass
        loss = sum(model(*map(list, zip(*batch, strict=True))).values())
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        # a network that starts from random weights would diverge
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-6:]) < np.mean(losses[:6])  # the third pass over the set, the first
    (activity,) = block_activity(model).values()
    assert activity.gradient and activity.left_zero

    model.eval()
    found = []
    for i in range(len(scenes)):
        with torch.no_grad():
            (one,) = model([sample(scenes, i)[0]])
        found.append({**one, "masks": one["masks"][:, 0] > 0.5})  # (K, H, W)
        assert len(one["scores"])
    # too few steps to find much: -1 would say that there was nothing to evaluate
    assert all(0.0 <= precision(scenes, found, kind) <= 1.0 for kind in ("bbox", "segm"))
