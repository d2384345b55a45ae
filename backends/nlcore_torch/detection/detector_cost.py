"""What the blocks add to a detector: parameters and multiply-adds. Nothing is computed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nlcore.coco import DetectorSpec
from nlcore.video.placed_blocks import Placed, PlacementReport
from nlcore_torch.detection.detector_models import build_detector
from nlcore_torch.placement import placement_report

#: Names of parts of a detector, in the order in which they are computed.
PARTS = ("backbone", "rpn.head", "roi_heads.box_head", "roi_heads.mask_head")


@dataclass(frozen=True)
class DetectorCost:
    """Parameters and forward multiply-adds of a detector for one image in testing.

    Attributes
    ----------
    parts : dict of str to PlacementReport
        Backbone with pyramid, proposals, box head, and mask or keypoint head, by name. All boxes
        that torchvision lets through are counted.
    """

    parts: dict[str, PlacementReport]

    @property
    def blocks(self) -> tuple[Placed, ...]:
        return tuple(block for part in self.parts.values() for block in part.blocks)

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

    Raises
    ------
    ValueError
        The size is not of multiples of 32.
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
        mask = spec.task == "mask"
        last = "mask" if mask else "keypoint"
        head = getattr(heads, f"{last}_head")
        predictor = getattr(heads, f"{last}_predictor")
        parts = {
            "backbone": placement_report(network.backbone, image),
            "proposals": placement_report(rpn.head, features),
            "boxes": placement_report(
                torch.nn.Sequential(heads.box_head, heads.box_predictor), boxes
            ),
            last: placement_report(torch.nn.Sequential(head, predictor), found),
        }
    return DetectorCost(parts)
