"""Both Gaussians, t_ij = theta_i . phi_j: y_i = sum_j w_ij g_j, w = softmax_j(s t) or exp(s t) / M.

No N x M array outlives a chunk of queries: a fused kernel where one takes the shape, and
otherwise exact chunks of queries, recomputed in the backward direction.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.backends.cuda import SDPAParams, can_use_efficient_attention, can_use_flash_attention
from torch.utils.checkpoint import checkpoint

from nlcore_torch.arithmetic import scaled_product, sum_dtype, without_autocast

#: Elements of f that are held at once, over the whole batch (at least one query of each item).
CHUNK = 1 << 22


def gaussian(theta: Tensor, phi: Tensor, g: Tensor, scale: float, by_sum: bool) -> Tensor:
    """y (B, N, V) from theta (B, N, D), phi (B, M, D), g (B, M, V)."""
    if by_sum:
        # the kernels take softmax's maximum of t before they scale it, so s must not be negative
        query = _head(theta if scale >= 0 else -theta)  # (B, 1, N, D)
        key, value = _head(phi), _head(g)  # (B, 1, M, D), (B, 1, M, V)
        if _fused(query, key, value):
            y = F.scaled_dot_product_attention(query, key, value, scale=abs(scale)).squeeze(1)
            # a kernel may take a row whose logits are all NaN or -inf for a masked one: y_i = 0
            lost = ~theta.isfinite().all(-1, keepdim=True)  # (B, N, 1)
            lost = lost | phi.isnan().flatten(1).any(1).view(-1, 1, 1)
            return y.masked_fill(lost, torch.nan)  # (B, N, V)
    with without_autocast(theta):
        return _chunked(theta, phi, g, scale, by_sum)


def _head(rows: Tensor) -> Tensor:
    """(B, P, E) -> (B, 1, P, E) with the last axis contiguous, as the fused kernels want it."""
    return (rows if rows.stride(-1) == 1 else rows.contiguous()).unsqueeze(1)


def _fused(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether a kernel that stores no N x M array takes these shapes and this dtype."""
    if query.device.type != "cuda":
        return query.shape[-1] == value.shape[-1]
    params = SDPAParams(query, key, value, None, 0.0, False, False)
    return can_use_flash_attention(params) or can_use_efficient_attention(params)


def _chunked(theta: Tensor, phi: Tensor, g: Tensor, scale: float, by_sum: bool) -> Tensor:
    dtype = sum_dtype(g)
    keys, values = phi.to(dtype), g.to(dtype)  # (B, M, D), (B, M, V)
    rows = max(1, CHUNK // (phi.shape[0] * phi.shape[1]))
    if rows >= theta.shape[1]:
        return _attend(theta.to(dtype), keys, values, scale, by_sum).to(g.dtype)
    chunks = [
        checkpoint(
            _attend,
            queries.to(dtype),
            keys,
            values,
            scale,
            by_sum,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        for queries in theta.split(rows, dim=1)
    ]
    return torch.cat(chunks, dim=1).to(g.dtype)  # (B, N, V)


def _attend(theta: Tensor, phi: Tensor, g: Tensor, scale: float, by_sum: bool) -> Tensor:
    """The formula for some of the queries: (B, R, D), (B, M, D), (B, M, V) -> (B, R, V)."""
    logits = scaled_product(theta, phi.mT, scale)  # (B, R, M)
    weights = logits.softmax(-1) if by_sum else logits.exp() / phi.shape[1]  # (B, R, M)
    return weights @ g
