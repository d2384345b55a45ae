"""What the blocks add to a detector: parameters and multiply-adds. Nothing is computed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nlcore.coco import DetectorSpec
from nlcore.video.placed_blocks import Placed, PlacementReport
from nlcore_torch.detection.detector_models import build_detector
from nlcore_torch.placement import placement_report


@dataclass(frozen=True)
class DetectorCost:
    """Parameters and forward multiply-adds of a detector for one image in testing.

    Attributes
    ----------
    parts : dict of str to PlacementReport
        "backbone" with the pyramid, "rpn.head", "roi_heads.box_head" and "roi_heads.mask_head" or
        "roi_heads.keypoint_head", each head with its predictor. All boxes that torchvision lets
        through are counted.
    """

    parts: dict[str, PlacementReport]

    @property
    def blocks(self) -> tuple[Placed, ...]:
        """The blocks of all parts, by their names in the detector."""
        return tuple(
            replace(block, name=f"{name}.{block.name}")
            for name, part in self.parts.items()
            for block in part.blocks
        )

    @property
    def parameters(self) -> int:
        return sum(part.parameters for part in self.parts.values())

    @property
    def multiply_adds(self) -> int:
        return sum(part.multiply_adds for part in self.parts.values())

    def added(self, what: str) -> float:
        """What the blocks add, as a part of the detector without them.

        `what` is "parameters" or "multiply_adds".
        """
        own = sum(getattr(block, what) for block in self.blocks)
        return own / (getattr(self, what) - own)

    def __str__(self) -> str:
        report = PlacementReport(self.blocks, self.parameters, self.multiply_adds)
        added = (
            f"the blocks add {100 * self.added('parameters'):.1f}% of the parameters and "
            f"{100 * self.added('multiply_adds'):.1f}% of the multiply-adds of the detector "
            "without them"
        )
        return f"{report}\n{added}"


def detector_cost(spec: DetectorSpec, size: tuple[int, int] = (800, 1344)) -> DetectorCost:
    """The cost of a detector for one image of a size in testing.

    Parameters
    ----------
    spec : DetectorSpec
    size : (height, width)
        Of the image that the backbone gets: resized and padded to multiples of 32.

    Returns
    -------
    DetectorCost
        Nothing is computed: the model is on the device "meta".

    Raises
    ------
    ValueError
        The size is not of multiples of 32.

    Examples
    --------
    >>> from nlcore.coco import coco_recipe
    >>> cost = detector_cost(coco_recipe("detectron_mask").detector)
    >>> f"{cost.added('parameters'):.1%}, {cost.added('multiply_adds'):.1%}"  # the paper: below 5%
    '4.7%, 4.7%'
    """
    if any(side < 32 or side % 32 for side in size):
        raise ValueError(f"size must be multiples of 32, as torchvision pads; received {size}")
    with torch.device("meta"):
        network = build_detector(spec)
        heads, rpn = network.roi_heads, network.rpn
        image = torch.empty(1, 3, *size)
        features = [
            torch.empty(1, spec.pyramid, -(-size[0] // step), -(-size[1] // step))
            for step in (4, 8, 16, 32, 64)
        ]
        proposals = rpn.post_nms_top_n()
        boxes = torch.empty(proposals, spec.pyramid, 7, 7)
        found = torch.empty(heads.detections_per_img, spec.pyramid, 14, 14)
        last = "mask" if spec.task == "mask" else "keypoint"
        head, predictor = (getattr(heads, f"{last}_{part}") for part in ("head", "predictor"))
        parts = {
            "backbone": placement_report(network.backbone, image),
            "rpn.head": placement_report(rpn.head, features),
            "roi_heads.box_head": _with_predictor(heads.box_head, heads.box_predictor, boxes),
            f"roi_heads.{last}_head": _with_predictor(head, predictor, found),
        }
    return DetectorCost(parts)


def _with_predictor(head: nn.Module, predictor: nn.Module, boxes: Tensor) -> PlacementReport:
    """The report of a head with its predictor. The names of blocks are those in the head."""
    found = placement_report(nn.Sequential(head, predictor), boxes)
    blocks = tuple(replace(block, name=block.name.removeprefix("0.")) for block in found.blocks)
    return replace(found, blocks=blocks)
