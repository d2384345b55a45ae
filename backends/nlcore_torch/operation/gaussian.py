"""Both Gaussians, t_ij = theta_i . phi_j: y_i = sum_j w_ij g_j, w = softmax_j(s t) or exp(s t) / M.

No N x M array is stored, unless a memory budget allows it. On a GPU, torch's fused attention
computes both directions if it supports the shapes. On the CPU, it computes the forward direction
only. The backward direction computes w again, one chunk of queries at a time, except for the chunks
that the budget has kept. If theta and phi are the same array, then t_ij = t_ji, and both directions
compute one of the two, one tile of pairs at a time. A problem of at most two chunks is computed as
the formula is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, isqrt, prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.backends.cuda import (
    SDPAParams,
    can_use_efficient_attention,
    can_use_flash_attention,
    flash_sdp_enabled,
)

from nlcore_torch.operation.precision import scaled_product, sum_dtype, without_autocast
from nlcore_torch.operation.recording import (
    applied,
    exports,
    records,
    unrecorded,
    without_tracer_warnings,
)

#: Number of elements of f in a chunk or tile, over the whole batch (at least one query or pair per
#: batch item).
CHUNK = 1 << 21


def gaussian(
    theta: Tensor, phi: Tensor, g: Tensor, scale: float, by_sum: bool, memory_budget: int = 0
) -> Tensor:
    """y (B, N, V) from theta (B, N, D), phi (B, M, D) and g (B, M, V).

    For the gradient, up to `memory_budget` bytes of w are stored.
    """
    on_cpu, exporting = theta.device.type == "cpu", exports()
    if by_sum and (not on_cpu or exporting) and _takes(theta, phi, g):
        return _fused(theta, phi, g, scale)
    with without_autocast(theta):
        dtype = sum_dtype(g)
        if exporting or 2 * _rows(theta, phi) >= theta.shape[1]:
            theta, phi, values = theta.to(dtype), phi.to(dtype), g.to(dtype)
            return (_weights(theta, phi, scale, by_sum) @ values).to(g.dtype)
        if theta is phi and theta.dtype == g.dtype == dtype:
            return applied(_InTiles, theta, g, scale, by_sum)[0]
        kept = 0
        if torch.is_grad_enabled() and not records():  # without gradients, nothing is stored
            kept = memory_budget // (
                theta.shape[0] * _rows(theta, phi) * phi.shape[1] * dtype.itemsize
            )
        return applied(_InChunks, theta.to(g.dtype), phi.to(g.dtype), g, scale, by_sum, kept)[0]


class _InChunks(torch.autograd.Function):
    """y, and w of the first `kept` chunks of queries. The backward direction computes w again, one
    chunk at a time, where it is not kept.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        theta: Tensor, phi: Tensor, g: Tensor, scale: float, by_sum: bool, kept: int
    ) -> tuple[Tensor, ...]:
        dtype = sum_dtype(g)
        keys, values = phi.to(dtype), g.to(dtype)  # (B, M, D), (B, M, V)
        parts, weights, first = [], [], kept * _rows(theta, phi)
        fused = by_sum and theta.device.type == "cpu" and _takes(theta, phi, g)
        for (queries,) in _split(phi, theta[:, :first] if fused else theta):
            chunk = _weights(queries.to(dtype), keys, scale, by_sum)  # (B, R, M)
            parts.append((chunk @ values).to(g.dtype))
            if len(weights) < kept:
                weights.append(chunk)
        if fused and first < theta.shape[1]:
            parts.append(_fused(theta[:, first:], phi, g, scale))
        return torch.cat(parts, 1), *weights  # (B, N, V), (B, R, M) each

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.scale, ctx.by_sum, _ = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*tensors, *output[1:])

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        theta, phi, g, *kept = ctx.saved_tensors
        arguments = theta, phi, g, dy, ctx.scale, ctx.by_sum
        with without_autocast(theta):
            if torch.is_grad_enabled():
                gradients = _differentiable_gradients(*arguments)
            else:
                gradients = unrecorded(_gradients, *arguments, *kept)
        return *gradients, None, None, None


class _InTiles(torch.autograd.Function):
    """y for theta = phi = x, and for each row the largest logit and the sum of exponentials.

    The logits of the queries I and the keys J, transposed, are those of the queries J and the keys
    I. So each tile of logits is computed once for both.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, g: Tensor, scale: float, by_sum: bool) -> tuple[Tensor, ...]:
        return unrecorded(_response_in_tiles, x, g, scale, by_sum)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.scale, ctx.by_sum = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*tensors, *output)

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, g, *found = ctx.saved_tensors
        with without_autocast(x):
            if torch.is_grad_enabled():
                dtheta, dphi, dg = _differentiable_gradients(x, x, g, dy, ctx.scale, ctx.by_sum)
                return dtheta + dphi, dg, None, None
            dx, dg = unrecorded(_gradients_in_tiles, x, g, *found, dy, ctx.scale, ctx.by_sum)
        return dx, dg, None, None


def _gradients(
    theta: Tensor, phi: Tensor, g: Tensor, dy: Tensor, scale: float, by_sum: bool, *kept: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """dtheta, dphi and dg, one chunk of queries at a time, with w of the first chunks kept."""
    dtype = sum_dtype(g)
    keys, values = phi.to(dtype), g.to(dtype)  # (B, M, D), (B, M, V)
    dtheta, dphi, dg = torch.empty_like(theta), torch.zeros_like(keys), torch.zeros_like(values)
    for number, (queries, d, dqueries) in enumerate(_split(phi, theta, dy, dtheta)):
        queries, d = queries.to(dtype), d.to(dtype)  # (B, R, D), (B, R, V)
        if number < len(kept):
            weights = kept[number]  # (B, R, M)
        else:
            weights = _weights(queries, keys, scale, by_sum)
        dg.baddbmm_(weights.mT, d)
        dlogits = torch.bmm(d, values.mT).mul_(weights)  # (B, R, M)
        if by_sum:
            dlogits.addcmul_(weights, dlogits.sum(-1, keepdim=True), value=-1)
        dqueries.copy_(scaled_product(dlogits, keys, scale))
        dphi.baddbmm_(dlogits.mT, queries, alpha=scale)
    return dtheta, dphi.to(phi.dtype), dg.to(g.dtype)


def _differentiable_gradients(
    theta: Tensor, phi: Tensor, g: Tensor, dy: Tensor, scale: float, by_sum: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """`_gradients` as the formula is written. What is differentiated again stores w anyway."""
    dtype = sum_dtype(g)
    queries, keys, values, d = theta.to(dtype), phi.to(dtype), g.to(dtype), dy.to(dtype)
    weights = _weights(queries, keys, scale, by_sum)  # (B, N, M)
    dlogits = weights * (d @ values.mT)  # (B, N, M)
    if by_sum:
        dlogits = dlogits - weights * dlogits.sum(-1, keepdim=True)
    dtheta = scaled_product(dlogits, keys, scale).to(theta.dtype)
    dphi = scaled_product(dlogits.mT, queries, scale).to(phi.dtype)
    return dtheta, dphi, (weights.mT @ d).to(g.dtype)


def _response_in_tiles(
    x: Tensor, g: Tensor, scale: float, by_sum: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """y (B, N, V), and for each row the largest logit (B, N, 1) and the sum of exponentials.

    The exponentials are divided by that of the largest logit. Without the normalization by the sum,
    0 takes the place of the largest logit, and N that of the sum.
    """
    lowest = torch.finfo(x.dtype).min if by_sum else 0.0  # not -inf, because -inf + inf is NaN
    largest = x.new_full((*x.shape[:2], 1), lowest)  # (B, N, 1)
    total = torch.full_like(largest, 0.0 if by_sum else x.shape[1])  # (B, N, 1)
    y = torch.zeros_like(g)  # (B, N, V)
    blocks = _blocks(x, g, largest, total, y)
    buffers = _buffers(2, x, blocks)
    for number, (queries, values, *sums) in enumerate(blocks):
        for keys, other_values, *other_sums in blocks[number:]:
            logits, f = _views(buffers, queries, keys)  # (B, R, R') each
            _scaled_product(queries, keys.mT, scale, logits)
            _add(logits, f, other_values, *sums, by_sum)
            if keys is not queries:
                _add(logits.mT, f.mT, values, *other_sums, by_sum)
    return y.div_(total), largest, total


def _add(
    logits: Tensor,
    f: Tensor,
    values: Tensor,
    largest: Tensor,
    total: Tensor,
    sums: Tensor,
    by_sum: bool,
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
) -> tuple[Tensor, Tensor]:
    """dx and dg from dy, one tile of pairs at a time. The logits of both orders have one product
    with x.
    """
    d = dy / total  # (B, N, V)
    mean = (d * y).sum(2, keepdim=True) if by_sum else torch.zeros_like(total)  # (B, N, 1)
    dx, dg = torch.zeros_like(x), torch.zeros_like(g)
    blocks = _blocks(x, g, largest, d, mean, dx, dg)
    buffers = _buffers(3, x, blocks)
    for number, (x_i, g_i, largest_i, d_i, mean_i, dx_i, dg_i) in enumerate(blocks):
        for x_j, g_j, largest_j, d_j, mean_j, dx_j, dg_j in blocks[number:]:
            logits, f, dlogits = _views(buffers, x_i, x_j)  # (B, R, R') each
            _scaled_product(x_i, x_j.mT, scale, logits)
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


def _weights(theta: Tensor, phi: Tensor, scale: float, by_sum: bool) -> Tensor:
    """w (B, R, M) of R queries, from theta (B, R, D) and phi (B, M, D)."""
    logits = scaled_product(theta, phi.mT, scale)  # (B, R, M)
    return logits.softmax(-1) if by_sum else logits.exp() / phi.shape[1]


def _rows(theta: Tensor, phi: Tensor) -> int:
    """Number of queries of each batch item in a chunk."""
    return max(1, CHUNK // (theta.shape[0] * phi.shape[1]))


def _blocks(*arrays: Tensor) -> list[tuple[Tensor, ...]]:
    """Split arrays (B, N, ...) into the blocks of rows, about equal, between which tiles are."""
    batch, count = arrays[0].shape[:2]
    most = max(1, isqrt(CHUNK // batch))
    rows = ceil(count / ceil(count / most))
    rows = min(most, ceil(rows / 32) * 32)  # matrix products are faster with aligned rows
    return list(zip(*(array.split(rows, 1) for array in arrays), strict=True))


def _buffers(count: int, x: Tensor, blocks: list[tuple[Tensor, ...]]) -> Tensor:
    """Memory for arrays of the size of a tile, which is not allocated again for each tile."""
    return x.new_empty(count, x.shape[0] * blocks[0][0].shape[1] ** 2)


def _views(buffers: Tensor, queries: Tensor, keys: Tensor) -> list[Tensor]:
    """The buffers as arrays (B, R, R')."""
    shape = queries.shape[0], queries.shape[1], keys.shape[1]
    return [buffer[: prod(shape)].view(shape) for buffer in buffers]


def _scaled_product(a: Tensor, b: Tensor, scale: float, out: Tensor) -> None:
    """`scaled_product`, written to `out`."""
    torch.bmm(a, b, out=out)
    if scale != 1:
        out.mul_(scale)


def _split(phi: Tensor, *by_query: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Split arrays (B, N, ...) into chunks of queries."""
    rows = _rows(by_query[0], phi)
    return zip(*(array.split(rows, 1) for array in by_query), strict=True)


def _takes(theta: Tensor, phi: Tensor, g: Tensor) -> bool:
    """Whether a fused kernel, which stores no N x M array, supports these shapes and this dtype."""
    if theta.device.type != "cuda":
        with without_tracer_warnings():  # the widths are those of the weights at every size
            same = theta.shape[-1] in (g.shape[-1],)
        return same and (records() or flash_sdp_enabled())
    params = SDPAParams(_head(theta), _head(phi), _head(g), None, 0.0, False, False)
    return can_use_flash_attention(params) or can_use_efficient_attention(params)


def _fused(theta: Tensor, phi: Tensor, g: Tensor, scale: float) -> Tensor:
    """y with w = softmax_j(s t), by torch's fused attention."""
    # The kernels take the maximum of t before they multiply it by s, so s must not be negative.
    query = _head(theta if scale >= 0 else -theta)  # (B, 1, N, D)
    y = F.scaled_dot_product_attention(query, _head(phi), _head(g), scale=abs(scale)).squeeze(1)
    # If all logits of a row are NaN or -inf, a kernel can treat it as masked and return y_i = 0.
    # So y_i is set to NaN if theta_i is not finite, a phi_j is NaN, or no phi_j is finite.
    lost = ~theta.isfinite().all(-1, keepdim=True)  # (B, N, 1)
    finite = phi.isfinite().all(-1)  # (B, M)
    lost = lost | (phi.isnan().flatten(1).any(1) | ~finite.any(1)).view(-1, 1, 1)
    return y.masked_fill(lost, torch.nan)  # (B, N, V)


def _head(rows: Tensor) -> Tensor:
    """(B, P, E) -> (B, 1, P, E) with a contiguous last axis, as the fused kernels require."""
    return (rows if rows.stride(-1) == 1 else rows.contiguous()).unsqueeze(1)
