"""Both Gaussians, t_ij = theta_i . phi_j: y_i = sum_j w_ij g_j, w = softmax_j(s t) or exp(s t) / M.

No N x M array is stored, only a chunk of its rows at a time. On a GPU, torch's fused attention
computes both directions if it supports the shapes. On the CPU, it computes the forward direction
only. The backward direction computes w again, one chunk of queries at a time. This is not slower
than the backward direction of the fused kernel, and it can be differentiated again. A problem of at
most two chunks is computed as the formula is written.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from nlcore_torch.operation.recording import applied, exports, records, without_tracer_warnings

#: Number of elements of f in a chunk, over the whole batch (at least one query per batch item).
CHUNK = 1 << 21


def gaussian(theta: Tensor, phi: Tensor, g: Tensor, scale: float, by_sum: bool) -> Tensor:
    """y (B, N, V) from theta (B, N, D), phi (B, M, D) and g (B, M, V)."""
    on_cpu, exporting = theta.device.type == "cpu", exports()
    if by_sum and (not on_cpu or exporting) and _takes(theta, phi, g):
        return _fused(theta, phi, g, scale)
    with without_autocast(theta):
        if exporting or 2 * _rows(theta, phi) >= theta.shape[1]:
            dtype = sum_dtype(g)
            theta, phi, values = theta.to(dtype), phi.to(dtype), g.to(dtype)
            return (_weights(theta, phi, scale, by_sum) @ values).to(g.dtype)
        return applied(_InChunks, theta.to(g.dtype), phi.to(g.dtype), g, scale, by_sum)


class _InChunks(torch.autograd.Function):
    """y, with a backward direction that computes w again, one chunk of queries at a time."""

    generate_vmap_rule = True

    @staticmethod
    def forward(theta: Tensor, phi: Tensor, g: Tensor, scale: float, by_sum: bool) -> Tensor:
        if by_sum and theta.device.type == "cpu" and _takes(theta, phi, g):
            return _fused(theta, phi, g, scale)
        dtype = sum_dtype(g)
        keys, values = phi.to(dtype), g.to(dtype)  # (B, M, D), (B, M, V)
        chunks = [
            _weights(queries.to(dtype), keys, scale, by_sum) @ values
            for (queries,) in _split(phi, theta)
        ]
        return torch.cat(chunks, 1).to(g.dtype)  # (B, N, V)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.scale, ctx.by_sum = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        theta, phi, g = ctx.saved_tensors
        dtype = sum_dtype(g)
        with without_autocast(theta):
            keys, values = phi.to(dtype), g.to(dtype)  # (B, M, D), (B, M, V)
            dtheta, dphi, dg = [], torch.zeros_like(keys), torch.zeros_like(values)
            for queries, d in _split(phi, theta, dy):
                queries, d = queries.to(dtype), d.to(dtype)  # (B, R, D), (B, R, V)
                weights = _weights(queries, keys, ctx.scale, ctx.by_sum)  # (B, R, M)
                dg = dg.baddbmm(weights.mT, d)
                dlogits = weights * (d @ values.mT)  # (B, R, M)
                if ctx.by_sum:
                    dlogits = dlogits - weights * dlogits.sum(-1, keepdim=True)
                dtheta.append(scaled_product(dlogits, keys, ctx.scale).to(theta.dtype))
                dphi = dphi.baddbmm(dlogits.mT, queries, alpha=ctx.scale)
        return torch.cat(dtheta, 1), dphi.to(phi.dtype), dg.to(g.dtype), None, None


def _weights(theta: Tensor, phi: Tensor, scale: float, by_sum: bool) -> Tensor:
    """w (B, R, M) of R queries, from theta (B, R, D) and phi (B, M, D)."""
    logits = scaled_product(theta, phi.mT, scale)  # (B, R, M)
    return logits.softmax(-1) if by_sum else logits.exp() / phi.shape[1]


def _rows(theta: Tensor, phi: Tensor) -> int:
    """Number of queries of each batch item in a chunk."""
    return max(1, CHUNK // (theta.shape[0] * phi.shape[1]))


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
