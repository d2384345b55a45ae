"""From frames to the numbers that a network gets: resize, crop, flip, normalize.

A dialect resizes bytes and then normalizes them, or normalizes first and then resizes float32.
Both are written out, so that the bits of the result do not depend on the version of a library.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np

from nlcore.video.sampling.cropping import View, whole
from nlcore.video.sampling.resampling import (
    byte_weights,
    float_weights,
    resize_bytes,
    resize_floats,
)


@dataclass(frozen=True)
class Values:
    """How a byte becomes a number, and when.

    Attributes
    ----------
    mean, std : tuple of three float
        Of R, G and B.
    divisor : float
        A byte is divided by it first: 1 or 255.
    by_inverse : bool
        Whether the difference to the mean is multiplied by float32(1 / std), not divided by std.
    resized_as : "bytes" or "floats"
        Whether frames are resized before or after they are normalized.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    divisor: float = 1.0
    by_inverse: bool = False
    resized_as: str = "bytes"

    def table(self) -> np.ndarray:
        """The number of each byte, by channel: (3, 256) float32, computed in float32."""
        return _table(self)


#: Every byte as itself.
_BYTES = np.tile(np.arange(256, dtype=np.uint8), (3, 1))


@cache
def _table(values: Values) -> np.ndarray:
    mean, std = (np.array(v, np.float32)[:, None] for v in (values.mean, values.std))  # (3, 1)
    byte = np.arange(256, dtype=np.float32)  # (256,)
    if values.divisor != 1:
        byte = byte / np.float32(values.divisor)
    above = byte - mean  # (3, 256)
    return above * (np.float32(1) / std) if values.by_inverse else above / std


def view_pixels(values: Values, frames: np.ndarray, view: View) -> np.ndarray:
    """Frames (T, H, W, 3), uint8, seen through a view: (3, T, h, w), float32."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(
            f"frames must be uint8 (T, H, W, 3); received {frames.dtype} {frames.shape}"
        )
    if view.output != (view.height, view.width):
        bytes_ = np.empty((len(frames), view.height, view.width, 3), np.uint8)
        _resize("bytes", frames, _BYTES, replace(view, flip=False), np.moveaxis(bytes_, 3, 0))
        frames, view = bytes_, replace(whole(view.output), flip=view.flip)
    out = np.empty((3, len(frames), *view.output), np.float32)
    _resize(values.resized_as, frames, _table(values), view, out)
    return out


def _resize(kind: str, frames: np.ndarray, table: np.ndarray, view: View, out: np.ndarray) -> None:
    """Resize, crop, flip and look up. What is cropped away is not computed."""
    samples = _samples(kind, frames.shape[1:3], view)
    kernel = {"bytes": resize_bytes, "floats": resize_floats}[kind]
    kernel(np.ascontiguousarray(frames), table, *samples, view.flip, out)


@lru_cache(maxsize=8)  # since all frames of a clip have the same ones
def _samples(kind: str, size: tuple[int, int], view: View) -> tuple[np.ndarray, ...]:
    """Pixels and weights of a view of frames (H, W): four arrays along rows, four along columns."""
    weights = {"bytes": byte_weights, "floats": float_weights}[kind]
    rows = _inside(view.top, view.height, view.size[0])
    columns = _inside(view.left, view.width, view.size[1])
    along = tuple(w[rows] for w in weights(size[0], view.size[0]))
    across = tuple(w[columns] for w in weights(size[1], view.size[1]))
    return along + across


def _inside(start: int, length: int, size: int) -> np.ndarray:
    """Rows or columns from start on, where those past the end are the last."""
    return np.minimum(np.arange(start, start + length), size - 1)
