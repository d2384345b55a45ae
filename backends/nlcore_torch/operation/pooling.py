"""Max-pooling of rows that stand at positions, channels last.

torch pools two axes at a time channels last in a tenth of the time that three, or channels first,
take, and needs no copy. A tie goes to the first position in row-major order, in the gradient too,
and a NaN is the maximum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def pooled_rows(rows: Tensor, positions: Sequence[int], window: Sequence[int]) -> Tensor:
    """rows (B, N, E) at positions of one to three axes -> (B, M, E), window = stride, floor."""
    if len(positions) == 2:
        positions, window = (1, *positions), (1, *window)
    frames, *pixels = (*positions, 1, 1)[:3]
    over_frames, *over_pixels = (*window, 1, 1)[:3]
    # over pixels, then over frames: the first position in row-major order stays the first
    if over_pixels != [1, 1]:
        images = rows.unflatten(1, (frames, *pixels)).flatten(0, 1)  # (B T, H, W, E)
        rows = _pool(images, tuple(over_pixels)).unflatten(0, (-1, frames)).flatten(1, 3)
    if over_frames != 1:
        images = rows.unflatten(1, (frames, -1))  # (B, T, H' W', E)
        rows = _pool(images, (over_frames, 1)).flatten(1, 2)
    return rows


def _pool(images: Tensor, window: tuple[int, ...]) -> Tensor:
    """(B, H, W, E) -> (B, H', W', E)."""
    if torch.compiler.is_compiling():  # which keeps for the backward direction what it needs
        return F.max_pool2d(images.movedim(-1, 1), window).movedim(1, -1)
    return _MaxPool.apply(images, window)[0]


class _MaxPool(torch.autograd.Function):
    """The maxima and their places: torch's own keeps the whole input for the backward direction."""

    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor, window: tuple[int, int]) -> tuple[Tensor, Tensor]:
        channels_first = images.movedim(-1, 1)  # (B, E, H, W)
        found, places = F.max_pool2d(channels_first, window, return_indices=True)
        # (B, H', W', E), W h + w of each; int32, since in half precision int64 would be as large as
        # the input that is not kept
        return found.movedim(1, -1), places.movedim(1, -1).int()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.pixels = inputs[0].shape[1:3]
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])
        ctx.save_for_forward(output[1])

    @staticmethod
    def backward(ctx: Any, d: Tensor, _: Any) -> tuple[Tensor, None]:
        places = ctx.saved_tensors[0].long().flatten(1, 2)  # (B, H' W', E)
        # expanded: scatter copies what it is given
        zeros = d.new_zeros(()).expand(d.shape[0], ctx.pixels.numel(), d.shape[-1])  # (B, H W, E)
        return zeros.scatter(1, places, d.flatten(1, 2)).unflatten(1, ctx.pixels), None

    @staticmethod
    def jvp(ctx: Any, d: Tensor, _: Any) -> tuple[Tensor, None]:
        places = ctx.saved_tensors[0].long()  # (B, H', W', E)
        pooled = d.flatten(1, 2).gather(1, places.flatten(1, 2))  # (B, H' W', E)
        return pooled.view(places.shape), None
