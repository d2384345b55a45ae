"""The extent as a reshape into the batch, as in `nlcore.reference.extent`, for rows (B, N, E)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nlcore import NonLocalSpec


def fold(spec: NonLocalSpec, rows: Tensor, positions: Sequence[int]) -> Tensor:
    """Reshape the extent into the batch: rows (B, N, E) at `positions` -> (B', N', E).

    In the result, a position sees all positions of its own batch item and no others.
    """
    if spec.extent == "all" and spec.window is None:
        return rows
    frames, pixels = positions[0], positions[1] * positions[2]
    if spec.extent == "time":
        rows = rows.unflatten(1, (frames, pixels)).transpose(1, 2)  # (B, H W, T, E)
        return rows.flatten(0, 1)
    return rows.unflatten(1, (-1, (spec.window or 1) * pixels)).flatten(0, 1)


def unfold(spec: NonLocalSpec, x: Tensor, rows: Tensor) -> Tensor:
    """The inverse of `fold`: rows (B', N', E) at x's positions or the pooled ones -> (B, N, E)."""
    if spec.extent == "time":
        rows = rows.unflatten(0, (x.shape[0], -1)).transpose(1, 2)  # (B, T, H W, E)
        return rows.flatten(1, 2)
    return rows.reshape(x.shape[0], -1, rows.shape[-1])
