"""The size to which frames are resized: how the short side is drawn, and how sizes are rounded.

Every rule keeps the aspect ratio, up to its rounding. A size is (height, width).
"""

from __future__ import annotations

from collections.abc import Callable
from math import floor

import numpy as np

from nlcore.video.draws import Draw

#: (lowest, highest, draw) -> short side.
ShortSide = Callable[[int, int, Draw], int]
#: (height, width, short side) -> (height, width).
Rounding = Callable[[int, int, int], tuple[int, int]]


def each_integer(lowest: int, highest: int, draw: Draw) -> int:
    """Every integer from lowest to highest is equally likely."""
    return draw.integer("jitter", lowest, highest)


def rounded(lowest: int, highest: int, draw: Draw) -> int:
    """A real number, rounded. So lowest and highest are half as likely as those between them.

    SlowFast, datasets/transform.py: random_short_side_scale_jitter.
    """
    return round(lowest + (highest - lowest) * draw.uniform("jitter"))


def inverse_rounded(lowest: int, highest: int, draw: Draw) -> int:
    """1 / u for a real number u between 1 / highest and 1 / lowest, rounded.

    SlowFast, as `rounded`, with DATA.INV_UNIFORM_SAMPLE.
    """
    least, most = 1.0 / highest, 1.0 / lowest
    return round(1.0 / (least + (most - least) * draw.uniform("jitter")))


def fixed(lowest: int, highest: int, draw: Draw) -> int:
    """The short side is not drawn."""
    if lowest != highest:
        raise ValueError(
            f"jitter must be one size twice, because the dialect draws none; received "
            f"({lowest}, {highest})"
        )
    return lowest


def truncated(height: int, width: int, short: int) -> tuple[int, int]:
    """Both sides times float32(short / the shorter side), cut to integers.

    The shorter side of the result may be short - 1. facebookresearch/video-nonlocal-net,
    customized_video_io.cc: ScaleTransform.
    """
    ratio = np.float32(short) / np.float32(min(height, width))
    return int(np.float32(height) * ratio), int(np.float32(width) * ratio)


def short_exact(height: int, width: int, short: int) -> tuple[int, int]:
    """As `truncated`, but the shorter side is `short`."""
    tall, wide = truncated(height, width, short)
    return (short, max(wide, short)) if height <= width else (max(tall, short), short)


def floored(height: int, width: int, short: int) -> tuple[int, int]:
    """The longer side is floor(longer / shorter short), in float64.

    pytorchvideo, transforms/functional.py: short_side_scale.
    """
    if width < height:
        return floor(height / width * short), short
    return short, floor(width / height * short)


def floored_unless_equal(height: int, width: int, short: int) -> tuple[int, int]:
    """As `floored`, but a frame whose shorter side is `short` keeps its size.

    SlowFast, datasets/transform.py: random_short_side_scale_jitter.
    """
    return (height, width) if min(height, width) == short else floored(height, width, short)


def half_up(height: int, width: int, short: int) -> tuple[int, int]:
    """Both sides times short / the shorter side in float64, plus 0.5, cut to integers.

    mmcv, image/geometric.py: rescale_size.
    """
    scale = short / min(height, width)
    return int(height * scale + 0.5), int(width * scale + 0.5)
