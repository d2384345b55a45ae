"""DetectorSpec: Mask R-CNN and Keypoint R-CNN with the paper's non-local blocks, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nlcore.dialects import dialect
from nlcore.spec import NonLocalSpec, positive_int

#: What a detector finds beside boxes.
TASKS = ("mask", "keypoints")


@dataclass(frozen=True)
class Backbone:
    """A ResNet or ResNeXt of torchvision: residual blocks per stage, groups, their width."""

    depths: tuple[int, int, int, int]
    groups: int = 1
    width: int = 64


#: Name -> backbone. torchvision has a builder for each but the last, which its ResNet class builds.
BACKBONES: dict[str, Backbone] = {
    "resnet50": Backbone((3, 4, 6, 3)),
    "resnet101": Backbone((3, 4, 23, 3)),
    "resnet152": Backbone((3, 8, 36, 3)),
    "resnext101_32x8d": Backbone((3, 4, 23, 3), 32, 8),
    "resnext152_32x8d": Backbone((3, 8, 36, 3), 32, 8),
}
#: Normalization of the backbone: FrozenBatchNorm2d, BatchNorm2d, or GroupNorm of 32 groups.
NORMS = ("frozen", "batch", "group")
#: Convolutions of the keypoint head, and those that a block may follow.
HEAD_CONVOLUTIONS = 8
HEAD_BLOCKS = tuple(f"head.{number}" for number in range(1, HEAD_CONVOLUTIONS + 1))
#: Where the paper has blocks, by the words that `blocks_at` knows.
PLACES = ("none", "backbone", "head", "both")
#: Arguments of torchvision's MaskRCNN and KeypointRCNN that `options` may contain.
OPTIONS = (
    *("rpn_pre_nms_top_n_train", "rpn_pre_nms_top_n_test"),
    *("rpn_post_nms_top_n_train", "rpn_post_nms_top_n_test"),
    *("rpn_nms_thresh", "rpn_fg_iou_thresh", "rpn_bg_iou_thresh"),
    *("rpn_batch_size_per_image", "rpn_positive_fraction", "rpn_score_thresh"),
    *("box_score_thresh", "box_nms_thresh", "box_detections_per_img"),
    *("box_fg_iou_thresh", "box_bg_iou_thresh"),
    *("box_batch_size_per_image", "box_positive_fraction"),
)


@dataclass(frozen=True)
class DetectorSpec:
    """torchvision's Mask R-CNN or Keypoint R-CNN with a feature pyramid, and non-local blocks.

    Parameters
    ----------
    task : {"mask", "keypoints"}
    backbone : str
        A key of `BACKBONES`.
    non_local : tuple of str
        What a block follows: a residual block of the backbone, such as "res4.4", or a convolution
        of the keypoint head with its ReLU, from "head.1" to "head.8". See `blocks_at`.
    block : mapping
        Fields of the `NonLocalSpec` of all blocks, except channels and ndim. They replace those of
        the dialect.
    dialect : str
        Dialect of the blocks, a key of `nlcore.DIALECTS`.
    classes : int
        Outputs of the box predictor: the largest id of a category, plus 1 for the background. 91
        for COCO's 80 categories, whose ids end at 90, as in torchvision. 2 for persons.
    keypoints : int
        Number of keypoints of an object. Not used for masks.
    norm : {"frozen", "batch", "group"}
        Normalization of the backbone: "frozen" is batch normalization with fixed statistics, scale
        and shift, "batch" is trained as the recipe states, and "group" is group normalization.
    norm_eps : float
        eps of the normalization. torchvision sets it to 0 for its first COCO checkpoints (COCO_V1).
    min_size : tuple of int
        Shorter side in pixels to which images are resized. In training one of them, drawn for each
        image. In testing the last.
    max_size : int
        Longest side after that.
    width : int, optional
        Width of a group of the 3x3 convolutions. Default: the backbone's.
    pyramid : int
        Channels of the feature pyramid.
    head : int, optional
        Channels of the convolutions of the mask or keypoint head. Default: 256 or 512.
    options : mapping
        Other arguments of torchvision's class, see `OPTIONS`.

    Raises
    ------
    TypeError, ValueError
        A field is wrong. The message gives its name, the expected and the received value.

    Notes
    -----
    Source of the places: arXiv 1711.07971, Sec. 5.3: one block before the last residual block of
    res4, and 4 blocks in the keypoint head, after every 2 convolutions.

    Examples
    --------
    >>> spec = DetectorSpec("keypoints", non_local=blocks_at("both", "resnet50"), classes=2)
    >>> list(spec.blocks)[:2]
    ['backbone.body.layer3.4', 'roi_heads.keypoint_head.3']
    """

    task: str = "mask"
    backbone: str = "resnet50"
    non_local: tuple[str, ...] = ()
    block: Mapping[str, Any] = field(default_factory=dict, hash=False)
    dialect: str = "paper"
    classes: int = 91
    keypoints: int = 17
    norm: str = "frozen"
    norm_eps: float = 1e-5
    min_size: tuple[int, ...] = (800,)
    max_size: int = 1333
    width: int | None = None
    pyramid: int = 256
    head: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name, values in {"task": TASKS, "backbone": tuple(BACKBONES), "norm": NORMS}.items():
            if getattr(self, name) not in values:
                raise ValueError(
                    f"{name} must be one of {values}; received {getattr(self, name)!r}"
                )
        for name in ("classes", "keypoints", "max_size", "pyramid"):
            positive_int(name, getattr(self, name))
        for name in ("width", "head"):
            if getattr(self, name) is not None:
                positive_int(name, getattr(self, name))
        if self.classes < 2:
            raise ValueError(
                f"classes must be at least 2, with the background; received {self.classes}"
            )
        if isinstance(self.norm_eps, bool) or not isinstance(self.norm_eps, (int, float)):
            raise TypeError(f"norm_eps must be a float >= 0; received {self.norm_eps!r}")
        if not 0 <= self.norm_eps < 1:
            raise ValueError(f"norm_eps must be a float >= 0; received {self.norm_eps!r}")
        self._check_sizes()
        self._check_options()
        block = {name: tuple(v) if isinstance(v, list) else v for name, v in self.block.items()}
        object.__setattr__(self, "block", block)
        self._check_non_local()

    def _check_sizes(self) -> None:
        sides = self.min_size
        if not isinstance(sides, (tuple, list)) or not sides:
            raise TypeError(f"min_size must be a tuple of ints; received {sides!r}")
        sides = tuple(positive_int("min_size", side) for side in sides)
        object.__setattr__(self, "min_size", sides)
        if max(sides) > self.max_size:
            raise ValueError(
                f"max_size must be at least min_size={sides}; received {self.max_size}"
            )

    def _check_options(self) -> None:
        unknown = [name for name in self.options if name not in OPTIONS]
        if unknown:
            raise TypeError(f"options must be among {OPTIONS}; received {unknown[0]!r}")
        object.__setattr__(self, "options", dict(self.options))

    def _check_non_local(self) -> None:
        if isinstance(self.non_local, str) or not all(isinstance(n, str) for n in self.non_local):
            raise TypeError(f"non_local must be a tuple of str; received {self.non_local!r}")
        object.__setattr__(self, "non_local", tuple(self.non_local))
        known = [*self._residual_blocks(), *(HEAD_BLOCKS if self.task == "keypoints" else ())]
        for name in self.non_local:
            if name not in known:
                raise ValueError(
                    f"non_local must contain residual blocks of the {self.backbone}, such as "
                    f"{known[:3]}, or convolutions of the keypoint head, such as "
                    f"{HEAD_BLOCKS[:2]}; received {name!r} for task {self.task!r}"
                )
        if len(set(self.non_local)) < len(self.non_local):
            raise ValueError(f"non_local must not repeat a name; received {self.non_local}")
        _ = self.blocks  # raises for a wrong field

    def _residual_blocks(self) -> list[str]:
        depths = BACKBONES[self.backbone].depths
        return [f"res{stage}.{n}" for stage, depth in enumerate(depths, 2) for n in range(depth)]

    @property
    def head_channels(self) -> int:
        """Channels of the convolutions of the mask or keypoint head."""
        return self.head or (256 if self.task == "mask" else 512)

    @property
    def blocks(self) -> dict[str, NonLocalSpec]:
        """Name of the module of torchvision that a block follows -> the block's spec."""
        found = {}
        for name in self.non_local:
            place, number = name.split(".")
            if place == "head":
                module = f"roi_heads.keypoint_head.{2 * int(number) - 1}"  # its ReLU
                channels = self.head_channels
            else:
                module = f"backbone.body.layer{int(place[3:]) - 1}.{number}"
                channels = 256 * 2 ** (int(place[3:]) - 2)
            found[module] = dialect(self.dialect, channels, ndim=2, **self.block)
        return found


def blocks_at(place: str, backbone: str = "resnet50") -> tuple[str, ...]:
    """Return the names of the paper's blocks, for `DetectorSpec.non_local`.

    Parameters
    ----------
    place : {"none", "backbone", "head", "both"}
        "backbone" is one block before the last residual block of res4. "head" is 4 blocks in the
        keypoint head, after every 2 of its 8 convolutions.
    backbone : str

    Examples
    --------
    >>> blocks_at("backbone", "resnet101"), blocks_at("head")
    (('res4.21',), ('head.2', 'head.4', 'head.6', 'head.8'))
    """
    if place not in PLACES:
        raise ValueError(f"blocks must be one of {PLACES}; received {place!r}")
    if backbone not in BACKBONES:
        raise ValueError(f"backbone must be one of {tuple(BACKBONES)}; received {backbone!r}")
    found: tuple[str, ...] = ()
    if place in ("backbone", "both"):
        found += (f"res4.{BACKBONES[backbone].depths[2] - 2}",)
    if place in ("head", "both"):
        found += HEAD_BLOCKS[1::2]
    return found
