"""Which part of a resized frame a network sees: crops in training and in testing.

Offsets are (top, left) in the resized frame, and sizes (height, width).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np

from nlcore.video.draws import Draw


@dataclass(frozen=True)
class View:
    """How frames become the input of a network. Every frame of a clip has the same view.

    Attributes
    ----------
    size : (H, W)
        The frames are resized to it.
    top, left, height, width : int
        Then they are cropped: rows from top to top + height, columns from left to left + width. A
        row or column past the resized frame repeats its last one.
    output : (h, w)
        Then the crop is resized to it. It is (height, width), but for dialects that resize twice.
    flip : bool
        Then left and right are exchanged.
    """

    size: tuple[int, int]
    top: int
    left: int
    height: int
    width: int
    output: tuple[int, int]
    flip: bool = False


#: (resized size, crop, draw) -> top, left, height, width.
TrainingCrop = Callable[[tuple[int, int], int, Draw], tuple[int, int, int, int]]
#: (resized size, crop, index) -> (top, left) of one of three crops, or of the centre.
TestCrop = Callable[[tuple[int, int], int, int], tuple[int, int]]


def anywhere(size: tuple[int, int], crop: int, draw: Draw) -> tuple[int, int, int, int]:
    """Every offset is equally likely. 0 and side - crop are among them."""
    top, left = (
        draw.integer(name, 0, max(side - crop, 0))
        for name, side in zip(("top", "left"), size, strict=True)
    )
    return top, left, crop, crop


def before_the_last(size: tuple[int, int], crop: int, draw: Draw) -> tuple[int, int, int, int]:
    """Every offset but side - crop is equally likely, so the last row and column are never seen.

    SlowFast, datasets/transform.py: random_crop.
    """
    top, left = (
        draw.integer(name, 0, max(side - crop - 1, 0))
        for name, side in zip(("top", "left"), size, strict=True)
    )
    return top, left, crop, crop


#: Sides of the crop in `two_scales_at_five_places`, relative to the shorter side.
SCALES = (1, 0.8)


def two_scales_at_five_places(
    size: tuple[int, int], crop: int, draw: Draw
) -> tuple[int, int, int, int]:
    """A square of the shorter side or of 0.8 of it, at a corner or in the centre.

    A square whose side is within 2 of the network's input is cut to that. mmaction2,
    datasets/transforms/processing.py: MultiScaleCrop.
    """
    side = int(min(size) * SCALES[draw.integer("scale", 0, 1)])
    if abs(side - crop) < 3:
        side = crop
    down, right = ((n - side) // 4 for n in size)
    places = ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2))  # quarters of the way down and right
    rows, columns = places[draw.integer("place", 0, 4)]
    return rows * down, columns * right, side, side


def multiples_of_the_half(size: tuple[int, int], crop: int, index: int) -> tuple[int, int]:
    """Crop k begins at k floor((side - crop) / 2), down if that is above 0 there, else right.

    facebookresearch/video-nonlocal-net, customized_video_io.cc: ClipTransformFlex.
    """
    top, left = floored_centre(size, crop)
    return (top * index, left) if top > 0 else (top, left * index)


def ends_and_ceiled_middle(size: tuple[int, int], crop: int, index: int) -> tuple[int, int]:
    """Along the longer side: at 0, at ceil((side - crop) / 2), and at side - crop.

    SlowFast, datasets/transform.py: uniform_crop. pytorchvideo has the same.
    """
    top, left = ceiled_centre(size, crop)
    if size[0] > size[1]:
        return (0, top, size[0] - crop)[index], left
    return top, (0, left, size[1] - crop)[index]


def ends_then_middle(size: tuple[int, int], crop: int, index: int) -> tuple[int, int]:
    """The crops of `multiples_of_the_half` in the order 0, 2, 1.

    mmaction2, datasets/transforms/processing.py: ThreeCrop.
    """
    if crop not in size:
        raise ValueError(
            f"three crops of this dialect need a crop as high or as wide as the resized frame, "
            f"{size}; received {crop}"
        )
    down, right = floored_centre(size, crop)
    steps = (0, 2, 1)[index]
    return (0, right * steps) if crop == size[0] else (down * steps, 0)


def floored_centre(size: tuple[int, int], crop: int) -> tuple[int, int]:
    """floor((side - crop) / 2), at least 0."""
    top, left = (max(side - crop, 0) // 2 for side in size)
    return top, left


def ceiled_centre(size: tuple[int, int], crop: int) -> tuple[int, int]:
    """ceil((side - crop) / 2). SlowFast, datasets/transform.py: uniform_crop, middle."""
    top, left = (ceil((side - crop) / 2) for side in size)
    return top, left


def rounded_centre(size: tuple[int, int], crop: int) -> tuple[int, int]:
    """(side - crop) / 2, rounded half to even. torchvision's CenterCrop."""
    top, left = (round((side - crop) / 2) for side in size)
    return top, left


def whole(size: tuple[int, int]) -> View:
    """All of the frame."""
    return View(size, 0, 0, *size, output=size)


def whole_up_to_a_ratio(size: tuple[int, int]) -> View:
    """All of the frame, but of the longer side only the middle 1.6 times the shorter side.

    facebookresearch/video-nonlocal-net, customized_video_input_op.h, with a crop of 0 or less.
    """
    height, width = size
    if np.float32(max(size)) / np.float32(min(size)) > np.float32(1.6):
        longest = int(np.float32(1.6) * np.float32(min(size)))
        height, width = min(height, longest), min(width, longest)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return View(size, top, left, height, width, output=(height, width))
