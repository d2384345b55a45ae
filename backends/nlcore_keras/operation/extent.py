"""Which positions see each other, as reshapes into the batch.

The same reshapes as `nlcore.reference.extent`, on tensors.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from nlcore import NonLocalSpec


def fold(spec: NonLocalSpec, x: Any) -> Any:
    """(B, T, H, W, C) -> (B', T', H', W', C), each item of B' one set of positions."""
    if spec.extent == "all" and spec.window is None:
        return x
    _, t, h, w, c = ops.shape(x)
    if spec.extent == "time":
        return ops.reshape(ops.transpose(x, (0, 2, 3, 1, 4)), (-1, t, 1, 1, c))  # (B H W, T, ...)
    return ops.reshape(x, (-1, spec.window or 1, h, w, c))


def unfold(spec: NonLocalSpec, rows: Any, shape: tuple[Any, ...]) -> Any:
    """The inverse of `fold`, from rows: (B', N', C) -> `shape`, (B, *positions, C)."""
    if spec.extent != "time":
        return ops.reshape(rows, shape)
    b, t, h, w, c = shape
    return ops.transpose(ops.reshape(rows, (b, h, w, t, c)), (0, 3, 1, 2, 4))
