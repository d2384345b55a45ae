"""Max-pooling of channels-last rows over one to three position axes.

At most two axes are pooled at a time, because torch pools two axes of channels-last images in a
tenth of the time that it takes for three axes or for channels-first images, and needs no copy. Of
equal maxima, the first position in row-major order counts, also in the gradient. A NaN is the
maximum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nlcore_torch.operation.recording import applied, records


def pooled_rows(rows: Tensor, positions: Sequence[int], window: Sequence[int]) -> Tensor:
    """Pool rows (B, N, E) at `positions` -> (B, M, E). The stride is the window.

    Positions that do not fill a window are dropped.
    """
    if len(positions) == 2:
        positions, window = (1, *positions), (1, *window)
    frames, *pixels = (*positions, 1, 1)[:3]
    over_frames, *over_pixels = (*window, 1, 1)[:3]
    # Pixels are pooled before frames, so that of equal maxima the first in row-major order counts.
    if over_pixels != [1, 1]:
        images = rows.unflatten(1, (frames, *pixels)).flatten(0, 1)  # (B T, H, W, E)
        rows = _pool(images, tuple(over_pixels)).unflatten(0, (-1, frames)).flatten(1, 3)
    if over_frames != 1:
        images = rows.unflatten(1, (frames, -1))  # (B, T, H' W', E)
        rows = _pool(images, (over_frames, 1)).flatten(1, 2)
    return rows


def _pool(images: Tensor, window: tuple[int, ...]) -> Tensor:
    """(B, H, W, E) -> (B, H', W', E)."""
    if records():  # a compiler decides itself what to store for the gradient
        return F.max_pool2d(images.movedim(-1, 1), window).movedim(1, -1)
    return applied(_MaxPool, images, window)[0]


class _MaxPool(torch.autograd.Function):
    """Max-pooling that stores only the indices of the maxima for the backward direction.

    torch's own function stores its whole input.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor, window: tuple[int, int]) -> tuple[Tensor, Tensor]:
        channels_first = images.movedim(-1, 1)  # (B, E, H, W)
        found, places = F.max_pool2d(channels_first, window, return_indices=True)
        # The indices W h + w (B, H', W', E) are int32, because int64 indices can be as large as the
        # whole half-precision input.
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
        # an expanded 0 instead of an array of zeros, because scatter copies its input anyway
        zeros = d.new_zeros(()).expand(d.shape[0], ctx.pixels.numel(), d.shape[-1])  # (B, H W, E)
        return zeros.scatter(1, places, d.flatten(1, 2)).unflatten(1, ctx.pixels), None

    @staticmethod
    def jvp(ctx: Any, d: Tensor, _: Any) -> tuple[Tensor, None]:
        places = ctx.saved_tensors[0].long()  # (B, H', W', E)
        pooled = d.flatten(1, 2).gather(1, places.flatten(1, 2))  # (B, H' W', E)
        return pooled.view(places.shape), None
