"""torchvision's Mask R-CNN and Keypoint R-CNN, as a `nlcore.coco.DetectorSpec` says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

from torch import nn
from torchvision.models.detection import KeypointRCNN, MaskRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d

from nlcore import NonLocalSpec
from nlcore.coco.detector_spec import BACKBONES, HEAD_CONVOLUTIONS, DetectorSpec
from nlcore_torch.insertion import insert

Norm = Callable[[int], nn.Module]

NORMS: dict[str, Callable[[float], Norm]] = {
    "frozen": lambda eps: partial(FrozenBatchNorm2d, eps=eps),
    "batch": lambda eps: partial(nn.BatchNorm2d, eps=eps),
    "group": lambda eps: partial(nn.GroupNorm, 32, eps=eps),
}


def build_detector(spec: DetectorSpec, identity: bool = True) -> Any:
    """torchvision's model of a spec, with random weights, and its blocks inserted.

    Parameters
    ----------
    spec : DetectorSpec
    identity : bool
        Whether the new blocks are the identity, so that the outputs are those of torchvision's
        model, bit for bit.

    Returns
    -------
    nn.Module
        A `torchvision.models.detection.MaskRCNN` or `KeypointRCNN`. The names of its weights are
        torchvision's. Those of a block begin with the name of its module and ".non_local.".

    Notes
    -----
    After `torch.manual_seed`, the weights of the host are those of torchvision's builder, such as
    `maskrcnn_resnet50_fpn`, after the same seed.

    Examples
    --------
    >>> from nlcore.coco import DetectorSpec, blocks_at
    >>> model = build_detector(DetectorSpec(width=4, non_local=blocks_at("backbone")))
    >>> model.backbone.body.layer3[4].non_local.spec.channels
    1024
    """
    model = (_mask_rcnn if spec.task == "mask" else _keypoint_rcnn)(spec)
    where = {name: _fields(block) for name, block in spec.blocks.items()}
    return insert(model, where, identity=identity)


def _backbone(spec: DetectorSpec) -> BackboneWithFPN:
    known = BACKBONES[spec.backbone]
    body = ResNet(
        Bottleneck,
        list(known.depths),
        groups=known.groups,
        width_per_group=spec.width or known.width,
        norm_layer=NORMS[spec.norm](spec.norm_eps),
    )
    stages = {f"layer{stage}": str(stage - 1) for stage in range(1, 5)}
    return BackboneWithFPN(body, stages, [256, 512, 1024, 2048], spec.pyramid)


def _mask_rcnn(spec: DetectorSpec) -> MaskRCNN:
    backbone, options = _backbone(spec), _options(spec)
    if spec.head is None:
        return MaskRCNN(backbone, spec.classes, **options)
    head = MaskRCNNHeads(spec.pyramid, (spec.head,) * 4, 1)
    model = MaskRCNN(backbone, spec.classes, mask_head=head, **options)
    model.roi_heads.mask_predictor = MaskRCNNPredictor(spec.head, spec.head, spec.classes)
    return model


def _keypoint_rcnn(spec: DetectorSpec) -> KeypointRCNN:
    backbone, options = _backbone(spec), _options(spec)
    options["num_keypoints"] = spec.keypoints
    if spec.head is None:
        return KeypointRCNN(backbone, spec.classes, **options)
    head = KeypointRCNNHeads(spec.pyramid, (spec.head,) * HEAD_CONVOLUTIONS)
    model = KeypointRCNN(backbone, spec.classes, keypoint_head=head, **options)
    model.roi_heads.keypoint_predictor = KeypointRCNNPredictor(spec.head, spec.keypoints)
    return model


def _options(spec: DetectorSpec) -> dict[str, Any]:
    return {"min_size": spec.min_size, "max_size": spec.max_size, **spec.options}


def _fields(block: NonLocalSpec) -> dict[str, Any]:
    """The arguments of a `NonLocalBlock`, which has no dialect."""
    return {f.name: getattr(block, f.name) for f in fields(block) if f.name != "dialect"}
