"""Which positions see each other, as reshapes of rows into the batch.

The same reshapes as `nlcore.reference.extent`, on rows (B, N, E).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nlcore import NonLocalSpec


def fold(spec: NonLocalSpec, rows: Tensor, positions: Sequence[int]) -> Tensor:
    """rows (B, N, E) -> (B', N', E), each item of B' one set of positions."""
    if spec.extent == "all" and spec.window is None:
        return rows
    frames, pixels = positions[0], positions[1] * positions[2]
    if spec.extent == "time":
        rows = rows.unflatten(1, (frames, pixels)).transpose(1, 2)  # (B, H W, T, E)
        return rows.flatten(0, 1)
    return rows.unflatten(1, (-1, (spec.window or 1) * pixels)).flatten(0, 1)


def unfold(spec: NonLocalSpec, x: Tensor, rows: Tensor) -> Tensor:
    """The inverse of `fold`, at x's positions or the pooled ones: (B', N', E) -> (B, N, E)."""
    if spec.extent == "time":
        rows = rows.unflatten(0, (x.shape[0], -1)).transpose(1, 2)  # (B, T, H W, E)
        return rows.flatten(1, 2)
    return rows.reshape(x.shape[0], -1, rows.shape[-1])
