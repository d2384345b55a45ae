"""Both Gaussians, one chunk of queries at a time."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from nlcore_torch.operation.pairs.fused import fused
from nlcore_torch.operation.precision import scaled_product, sum_dtype, without_autocast
from nlcore_torch.operation.recording import differentiates, unrecorded


class InChunks(torch.autograd.Function):
    """y, and w of the first `kept` chunks of `rows` queries.

    The backward direction computes the other chunks of w again. A fused kernel can compute y
    instead, where no w is kept.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        theta: Tensor,
        phi: Tensor,
        g: Tensor,
        scale: float,
        by_sum: bool,
        by_kernel: bool,
        rows: int,
        kept: int,
    ) -> tuple[Tensor, ...]:
        dtype = sum_dtype(g)
        keys, values = phi.to(dtype), g.to(dtype)  # (B, M, D), (B, M, V)
        first = min(kept * rows, theta.shape[1]) if by_kernel else theta.shape[1]
        parts: list[Tensor] = []
        weights: list[Tensor] = []
        for queries in theta[:, :first].split(rows, 1) if first else ():
            chunk = weights_of(queries.to(dtype), keys, scale, by_sum)  # (B, R, M)
            parts.append((chunk @ values).to(g.dtype))
            if len(weights) < kept:
                weights.append(chunk)
        if first < theta.shape[1]:
            parts.append(fused(theta[:, first:], phi, g, scale))
        y = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        return y, *weights  # (B, N, V), (B, R, M) each

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.scale, ctx.by_sum, _, ctx.rows, _ = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)  # of w, whose gradients would be arrays of zeros
        ctx.save_for_backward(*tensors, *output[1:])

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        if dy is None:
            return (None,) * 8
        theta, phi, g, *kept = ctx.saved_tensors
        arguments = theta, phi, g, dy, ctx.scale, ctx.by_sum
        with without_autocast(theta):
            if differentiates(dy):
                dtheta, dphi, dg = differentiable_gradients(*arguments)
            else:
                dtheta, dphi, dg = unrecorded(_gradients, *arguments, ctx.rows, *kept)
        return dtheta, dphi, dg, None, None, None, None, None


def differentiable_gradients(
    theta: Tensor, phi: Tensor, g: Tensor, dy: Tensor, scale: float, by_sum: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """`_gradients` as the formula is written. What is differentiated again stores w anyway."""
    dtype = sum_dtype(g)
    queries, keys, values, d = theta.to(dtype), phi.to(dtype), g.to(dtype), dy.to(dtype)
    weights = weights_of(queries, keys, scale, by_sum)  # (B, N, M)
    dlogits = weights * (d @ values.mT)  # (B, N, M)
    if by_sum:
        dlogits = dlogits - weights * dlogits.sum(-1, keepdim=True)
    dtheta = scaled_product(dlogits, keys, scale).to(theta.dtype)
    dphi = scaled_product(dlogits.mT, queries, scale).to(phi.dtype)
    return dtheta, dphi, (weights.mT @ d).to(g.dtype)


def _gradients(
    theta: Tensor,
    phi: Tensor,
    g: Tensor,
    dy: Tensor,
    scale: float,
    by_sum: bool,
    rows: int,
    *kept: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """dtheta, dphi and dg, one chunk of `rows` queries at a time, with w of the first ones kept."""
    dtype = sum_dtype(g)
    keys, values = phi.to(dtype), g.to(dtype)  # (B, M, D), (B, M, V)
    dtheta = torch.empty_like(theta, dtype=dtype)
    dphi, dg = torch.zeros_like(keys), torch.zeros_like(values)
    buffers = new_buffers(2, theta[:, :rows], keys)
    chunks = zip(*(array.split(rows, 1) for array in (theta, dy, dtheta)), strict=True)
    for number, (queries, d, dqueries) in enumerate(chunks):
        queries, d = queries.to(dtype), d.to(dtype)  # (B, R, D), (B, R, V)
        pairs, weights = views(buffers, queries, keys)  # (B, R, M) each
        if number < len(kept):
            weights = kept[number]
        else:
            write_scaled_product(queries, keys.mT, scale, pairs)
            if by_sum:
                torch.softmax(pairs, -1, out=weights)
            else:
                torch.exp(pairs, out=weights).div_(phi.shape[1])
        dg.baddbmm_(weights.mT, d)
        dlogits = torch.bmm(d, values.mT, out=pairs)  # of w, until the next lines
        if by_sum:  # w (dw - sum_j w dw), row by row in the processor's cache
            torch._softmax_backward_data(dlogits, weights, -1, dtype, grad_input=dlogits)
        else:
            dlogits.mul_(weights)
        dqueries.baddbmm_(dlogits, keys, beta=0, alpha=scale)
        dphi.baddbmm_(dlogits.mT, queries, alpha=scale)
    return dtheta.to(theta.dtype), dphi.to(phi.dtype), dg.to(g.dtype)


def weights_of(theta: Tensor, phi: Tensor, scale: float, by_sum: bool) -> Tensor:
    """w (B, R, M) of R queries, from theta (B, R, D) and phi (B, M, D)."""
    logits = scaled_product(theta, phi.mT, scale)  # (B, R, M)
    return logits.softmax(-1) if by_sum else logits.exp() / phi.shape[1]


def new_buffers(count: int, queries: Tensor, keys: Tensor) -> list[Tensor]:
    """Memory for arrays of these pairs or fewer, which is not allocated again in each chunk."""
    size = keys.shape[0] * queries.shape[1] * keys.shape[1]
    return [keys.new_empty(size) for _ in range(count)]


def views(buffers: list[Tensor], queries: Tensor, keys: Tensor) -> list[Tensor]:
    """The buffers as arrays (B, R, R') for queries (B, R, D) and keys (B, R', D)."""
    shape = keys.shape[0], queries.shape[1], keys.shape[1]
    return [buffer[: prod(shape)].view(shape) for buffer in buffers]


def write_scaled_product(a: Tensor, b: Tensor, scale: float, out: Tensor) -> None:
    """`scaled_product`, written to `out`."""
    torch.bmm(a, b, out=out)
    if scale != 1:
        out.mul_(scale)
