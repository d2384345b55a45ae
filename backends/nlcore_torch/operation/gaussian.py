"""Both Gaussians, t_ij = theta_i . phi_j: y_i = sum_j w_ij g_j, w = softmax_j(s t) or exp(s t) / M.

Memory is linear in N. On a GPU, torch's fused attention computes both directions if it supports the
shapes. On the CPU, it computes the forward direction only. The backward direction computes w again,
one chunk of queries at a time, except for the chunks that the memory budget has kept. This is not
slower than the backward direction of the fused kernel, and it can be differentiated again. If theta
and phi are one tensor, so that t_ij = t_ji, both directions compute one of the two, one tile of
pairs at a time. A problem of at most two chunks is computed as the formula is written.
"""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor

from nlcore_torch.operation.pairs.chunks import InChunks, weights_of
from nlcore_torch.operation.pairs.fused import fused, takes
from nlcore_torch.operation.pairs.tiles import InTiles
from nlcore_torch.operation.precision import sum_dtype, without_autocast
from nlcore_torch.operation.recording import applied, exports, records

#: By default, weights w that are stored for the gradients, per element of theta. All of them are
#: stored if there are at most 8 D keys.
STORED = 8
#: Number of elements of f in a chunk or a tile, over the whole batch (at least one query per batch
#: item).
CHUNK = 1 << 21


def kept_weights(queries: int, keys: int, width: int) -> int:
    """How many w a training stores for one batch item with the default budget and no GPU.

    `width` is D. A Gaussian whose theta and phi are one tensor stores none of more than two chunks.
    """
    rows = max(1, CHUNK // keys)
    pairs = queries * keys
    if 2 * rows >= queries:
        return pairs
    return min(pairs, STORED * queries * width // (rows * keys) * rows * keys)


def gaussian(
    theta: Tensor,
    phi: Tensor,
    g: Tensor,
    scale: float,
    by_sum: bool,
    memory_budget: int | None = None,
) -> Tensor:
    """y (B, N, V) from theta (B, N, D), phi (B, M, D) and g (B, M, V).

    For the gradients, up to `memory_budget` bytes of w are stored, by default `STORED` D for each
    position i.
    """
    on_cpu, exporting = theta.device.type == "cpu", exports()
    by_kernel = by_sum and takes(theta, phi, g)
    if by_kernel and (not on_cpu or exporting):
        return fused(theta, phi, g, scale)
    (batch, queries), keys, dtype = theta.shape[:2], phi.shape[1], sum_dtype(g)
    with without_autocast(theta):
        rows = 0 if exporting else max(1, CHUNK // (batch * keys))
        if exporting or 2 * rows >= queries:
            weights = weights_of(theta.to(dtype), phi.to(dtype), scale, by_sum)
            return (weights @ g.to(dtype)).to(g.dtype)
        recorded = records()  # a compiler decides itself what to store, and takes no tiles
        if theta is phi and theta.dtype == g.dtype == dtype and not recorded:
            tile = max(1, isqrt(CHUNK // batch))
            return applied(InTiles, theta, g, scale, by_sum, tile)[0]
        if theta is phi:  # torch.compile does not take one tensor twice
            phi = theta.view_as(theta)
        stores = torch.is_grad_enabled() and not recorded  # without gradients, nothing is read
        if memory_budget is None:
            memory_budget = STORED * theta.numel() * dtype.itemsize
        kept = memory_budget // (batch * rows * keys * dtype.itemsize) if stores else 0
        options = scale, by_sum, by_kernel, rows, kept
        return applied(InChunks, theta.to(g.dtype), phi.to(g.dtype), g, *options)[0]
