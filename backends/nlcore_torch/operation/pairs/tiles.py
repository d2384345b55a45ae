"""Both directions of a Gaussian whose theta and phi are one array, so that t_ij = t_ji.

The logits of the queries I and the keys J, transposed, are those of the queries J and the keys I.
So each tile of logits is computed once for both, and the gradients of both have one product with x.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import torch
from torch import Tensor

from nlcore_torch.operation.pairs.chunks import (
    differentiable_gradients,
    new_buffers,
    views,
    write_scaled_product,
)
from nlcore_torch.operation.precision import without_autocast
from nlcore_torch.operation.recording import differentiates, unrecorded


class InTiles(torch.autograd.Function):
    """y for theta = phi = x, and for each row the largest logit and the sum of exponentials.

    Tiles have at most `tile` queries and keys.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, g: Tensor, scale: float, by_sum: bool, tile: int) -> tuple[Tensor, ...]:
        return unrecorded(_response_in_tiles, x, g, scale, by_sum, tile)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, scale, by_sum, tile = inputs
        ctx.options = scale, by_sum, tile
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*tensors, *output)

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, g, *found = ctx.saved_tensors
        with without_autocast(x):
            if differentiates(dy):
                options = ctx.options[:2]
                dtheta, dphi, dg = differentiable_gradients(x, x, g, dy, *options)
                return dtheta + dphi, dg, None, None, None
            dx, dg = unrecorded(_gradients_in_tiles, x, g, *found, dy, *ctx.options)
        return dx, dg, None, None, None


def _response_in_tiles(
    x: Tensor, g: Tensor, scale: float, by_sum: bool, tile: int
) -> tuple[Tensor, Tensor, Tensor]:
    """y (B, N, V), and for each row the largest logit (B, N, 1) and the sum of exponentials.

    The exponentials are divided by that of the largest logit. Without the normalization by the sum,
    0 takes the place of the largest logit, and N that of the sum.
    """
    lowest = torch.finfo(x.dtype).min if by_sum else 0.0  # not -inf, because -inf + inf is NaN
    largest = x.new_full((*x.shape[:2], 1), lowest)  # (B, N, 1)
    total = torch.full_like(largest, 0.0 if by_sum else x.shape[1])  # (B, N, 1)
    y = torch.zeros_like(g)  # (B, N, V)
    blocks = _blocks(tile, x, g, largest, total, y)
    buffers = new_buffers(2, blocks[0][0], blocks[0][0])
    for number, (x_i, g_i, *sums_i) in enumerate(blocks):
        for x_j, g_j, *sums_j in blocks[number:]:
            logits, f = views(buffers, x_i, x_j)  # (B, R, R') each
            write_scaled_product(x_i, x_j.mT, scale, logits)
            _add(by_sum, logits, f, g_j, *sums_i)
            if x_j is not x_i:
                _add(by_sum, logits.mT, f.mT, g_i, *sums_j)
    return y.div_(total), largest, total


def _add(
    by_sum: bool,
    logits: Tensor,
    f: Tensor,
    values: Tensor,
    largest: Tensor,
    total: Tensor,
    sums: Tensor,
) -> None:
    """Add the terms of some keys to the sums (B, R, V) and `total` (B, R, 1) of some queries.

    f (B, R, R') is overwritten.
    """
    if not by_sum:
        sums.baddbmm_(torch.exp(logits, out=f), values)
        return
    higher = torch.maximum(largest, logits.amax(2, keepdim=True))  # (B, R, 1)
    torch.sub(logits, higher, out=f).exp_()
    kept = largest.sub_(higher).exp_()
    total.mul_(kept).add_(f.sum(2, keepdim=True))
    sums.mul_(kept).baddbmm_(f, values)
    largest.copy_(higher)


def _gradients_in_tiles(
    x: Tensor,
    g: Tensor,
    y: Tensor,
    largest: Tensor,
    total: Tensor,
    dy: Tensor,
    scale: float,
    by_sum: bool,
    tile: int,
) -> tuple[Tensor, Tensor]:
    """dx (B, N, D) and dg (B, N, V) from dy (B, N, V), one tile of pairs at a time."""
    d = dy / total  # (B, N, V)
    mean = (d * y).sum(2, keepdim=True) if by_sum else torch.zeros_like(total)  # (B, N, 1)
    dx, dg = torch.zeros_like(x), torch.zeros_like(g)
    blocks = _blocks(tile, x, g, largest, d, mean, dx, dg)
    buffers = new_buffers(3, blocks[0][0], blocks[0][0])
    for number, (x_i, g_i, largest_i, d_i, mean_i, dx_i, dg_i) in enumerate(blocks):
        for x_j, g_j, largest_j, d_j, mean_j, dx_j, dg_j in blocks[number:]:
            logits, f, dlogits = views(buffers, x_i, x_j)  # (B, R, R') each
            write_scaled_product(x_i, x_j.mT, scale, logits)
            torch.sub(logits, largest_i, out=f).exp_()  # of the queries I
            dg_j.baddbmm_(f.mT, d_i)
            torch.bmm(d_i, g_j.mT, out=dlogits).sub_(mean_i).mul_(f)
            if x_i is x_j:
                torch.add(dlogits, dlogits.mT, out=f)
                dx_i.baddbmm_(f, x_j, alpha=scale)
                continue
            logits.sub_(largest_j.mT).exp_()  # of the queries J
            dg_i.baddbmm_(logits, d_j)
            dlogits.addcmul_(torch.bmm(g_i, d_j.mT, out=f).sub_(mean_j.mT), logits)
            dx_i.baddbmm_(dlogits, x_j, alpha=scale)
            dx_j.baddbmm_(dlogits.mT, x_i, alpha=scale)
    return dx, dg


def _blocks(tile: int, *arrays: Tensor) -> list[tuple[Tensor, ...]]:
    """Split arrays (B, N, ...) into blocks of at most `tile` rows, about equal."""
    count = arrays[0].shape[1]
    rows = ceil(count / ceil(count / tile))
    rows = min(tile, ceil(rows / 32) * 32)  # matrix products are faster with aligned rows
    return list(zip(*(array.split(rows, 1) for array in arrays), strict=True))
