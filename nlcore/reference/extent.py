"""The extent as a reshape into the batch."""

from __future__ import annotations

from typing import Any

from nlcore.spec import NonLocalSpec


def fold(spec: NonLocalSpec, x: Any) -> Any:
    """Reshape the extent into the batch: (B, T, H, W, C) -> (B', T', H', W', C).

    In the result, a position sees all positions of its own batch item and no others. The shape is
    (B T, 1, H, W, C) for "space", (B H W, T, 1, 1, C) for "time" and (B T/w, w, H, W, C) for
    windows of w frames. For "all" and for ndim 1 and 2, x is returned as it is.
    """
    if spec.extent == "all" and spec.window is None:
        return x
    b, t, h, w, c = x.shape
    if spec.extent == "time":
        return x.transpose(0, 2, 3, 1, 4).reshape(b * h * w, t, 1, 1, c)
    frames = spec.window or 1
    return x.reshape(b * t // frames, frames, h, w, c)


def unfold(spec: NonLocalSpec, z: Any, shape: tuple[int, ...]) -> Any:
    """The inverse of `fold`: (B', T', H', W', C) -> `shape`, (B, T, H, W, C)."""
    if spec.extent == "time":
        b, t, h, w, c = shape
        return z.reshape(b, h, w, t, c).transpose(0, 3, 1, 2, 4)
    return z.reshape(shape)
