"""Weights of detectors from torchvision's checkpoints: of ImageNet, or of COCO."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nlcore.checkpoints.converted import Converted, Place, account, take
from nlcore.coco.detector_spec import DetectorSpec

#: Where a classifier's weights are in a detector.
BODY = "backbone.body."
#: Weights that another number of classes or keypoints replaces.
PREDICTORS = (
    *("roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred"),
    *("roi_heads.mask_predictor.mask_fcn_logits",),
    *("roi_heads.keypoint_predictor.kps_score_lowres",),
)
#: A pattern in a name -> the one before torchvision 0.12, which the first checkpoints have.
OLDER = (
    (r"^(backbone\.fpn\.\w+_blocks\.\d+)\.0\.", r"\1."),
    (r"^rpn\.head\.conv\.0\.0\.", "rpn.head.conv."),
)
#: Names that are not weights, in both kinds of checkpoints.
IGNORED = r"(.*\.)?num_batches_tracked"


def convert_detector(
    spec: DetectorSpec,
    shapes: Mapping[str, tuple[int, ...]],
    source: Mapping[str, Any],
    kind: str,
) -> Converted[DetectorSpec]:
    """The weights of a detector that a checkpoint of torchvision has.

    Parameters
    ----------
    spec : DetectorSpec
    shapes : mapping of str to tuple
        The shapes of all weights of the detector, by torchvision's names.
    source : mapping of str to array
        State dict of a classifier such as resnet50, or of a detector such as
        maskrcnn_resnet50_fpn, with or without blocks.
    kind : {"imagenet", "coco"}

    Returns
    -------
    Converted
        Weights of blocks are missing, unless the source has them. For "imagenet", all that is not
        in the backbone's body is missing, and fc is left over. For "coco", the predictors of
        another number of classes are missing and left over.

    Raises
    ------
    ValueError
        The kind is unknown, a weight has the wrong shape, or other weights are missing or left
        over: it is a checkpoint of another network. The message names them.
    """
    if kind not in ("imagenet", "coco"):
        raise ValueError(f"kind must be 'imagenet' or 'coco'; received {kind!r}")
    names = dict.fromkeys(shapes)
    if kind == "imagenet":
        names = {n: None for n in shapes if n.startswith(BODY) and ".non_local." not in n}
    places = {name: Place(_named(name, source, kind), shapes[name]) for name in names}
    replaceable = tuple(n for n in shapes if n.rpartition(".")[0] in PREDICTORS)
    weights, read = take(source, places, shapes, replaceable)
    ignored = IGNORED + (r"|fc\.(weight|bias)" if kind == "imagenet" else "")
    converted = account(spec, shapes, weights, read, source, ignored, [])
    _check(converted, names, replaceable)
    return converted


def _named(name: str, source: Mapping[str, Any], kind: str) -> str:
    """The name of a weight in the source, in its newer or its older form."""
    if kind == "imagenet":
        return name.removeprefix(BODY)
    if name in source:
        return name
    older = name
    for pattern, replaced in OLDER:
        older = re.sub(pattern, replaced, older)
    older = re.sub(
        r"^(roi_heads\.mask_head)\.(\d)\.0\.",
        lambda found: f"{found[1]}.mask_fcn{int(found[2]) + 1}.",
        older,
    )
    return older


def _check(
    converted: Converted[DetectorSpec], names: Mapping[str, None], replaceable: tuple[str, ...]
) -> None:
    """Raise a ValueError unless only blocks and predictors are missing."""
    missing = [
        n
        for n in converted.missing
        if n in names and ".non_local." not in n and n not in replaceable
    ]
    left = [name for name in converted.left_over if name not in replaceable]
    if missing or left:
        raise ValueError(
            "the initial weights must be those of the detector's host, but for blocks and "
            f"predictors; missing: {missing[:3]} ({len(missing)}), left over: {left[:3]} "
            f"({len(left)})"
        )
