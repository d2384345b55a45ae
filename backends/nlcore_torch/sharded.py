"""The block on several devices, where each device has some of the frames of x.

The result at a position i is a sum over the keys of all devices. For the dot product, this sum is
one matrix, to which each device adds its part. The other pairwise functions receive the keys of one
device after the other and add up the sums. A softmax is rescaled when its maximum grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from nlcore import NonLocalSpec, check_weights
from nlcore_torch.batch_norm import batch_norm, batch_norm_over_devices
from nlcore_torch.operation.arguments import check_dtypes, check_tensor
from nlcore_torch.operation.concatenation import pair_sums_and_total
from nlcore_torch.operation.embeddings import embeddings
from nlcore_torch.operation.gaussian import CHUNK
from nlcore_torch.operation.precision import divided, scaled_product, sum_dtype, without_autocast
from nlcore_torch.operation.stages import attend, project

Group: TypeAlias = "dist.ProcessGroup | None"

#: sum_j f_ij g_j (B, N, V), sum_j f_ij (B, N, 1), and the largest logit (B, N, 1) of a softmax. The
#: sums of a softmax are divided by the exponential of this logit.
Sums = tuple[Tensor, Tensor, Tensor]

#: Calls a function without storing its intermediate results. The backward direction computes them
#: again.
_remade = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)


def sharded_block(
    spec: NonLocalSpec,
    weights: Mapping[str, Tensor],
    x: Tensor,
    training: bool = False,
    group: Group = None,
) -> Tensor:
    """`non_local_block` for an x whose first position axis is distributed over several devices.

    Parameters
    ----------
    spec, weights, training
        See `non_local_block`. They must be the same on every device.
    x : (B, C, *positions)
        The part of x on this device. The parts follow each other along the first position axis, in
        the order of ranks. All other sizes must be the same on every device.
    group : torch.distributed.ProcessGroup, optional
        The devices. Default: all processes.

    Returns
    -------
    z : (B, C, *positions)
        The part of z on this device.

    Raises
    ------
    TypeError, ValueError
        See `non_local_block`. Also if a device has an incomplete window, either of subsampling or
        of `spec.window`. Only the last device can have an incomplete window of subsampling.

    Notes
    -----
    As under data parallelism, the gradient of a weight is the part of this device, and the sum over
    all devices is the whole gradient. The backward direction communicates too, so all devices must
    run it. Memory grows with the positions of this device and the keys of one other device.

    Source: arXiv 1711.07971, Eq. 6. The softmax is rescaled as in arXiv 1805.02867.
    """
    if isinstance(x, Tensor) and x.ndim > 2:
        _check_windows(spec, x, group)
    check_tensor(spec, x)
    check_weights(spec, weights)
    check_dtypes(x, weights)
    theta, phi, g = embeddings(spec, weights, x)
    if spec.extent == "space" or spec.window is not None:  # no position sees another device
        y = attend(spec, theta, phi, g)
    else:
        with without_autocast(x):
            y = _attended(spec, theta, phi, g, group)
    out = project(spec, weights, x, y)
    if not spec.batch_norm:
        return x + out
    slope, bias = weights["bn.weight"], weights["bn.bias"]
    if training:
        return x + batch_norm_over_devices(
            out, slope, bias, spec.eps, lambda term: _Added.apply(term, group)
        )
    mean, variance = (weights[f"bn.running_{name}"].detach() for name in ("mean", "var"))
    return x + batch_norm(out, slope, bias, mean, variance, spec.eps)


def _check_windows(spec: NonLocalSpec, x: Tensor, group: Group) -> None:
    """Raise ValueError on every device if one of them has an incomplete window.

    If only that device raised, the others would wait for it.
    """
    window = spec.window or spec.pool[0]
    sizes = _sizes(x.shape[2], x.device, group)
    whole = sizes if spec.window is not None else sizes[:-1]
    for rank, frames in enumerate(whole):
        if frames % window:
            raise ValueError(
                f"each device must have complete windows of {window} positions along the first "
                f"position axis; received {frames} positions on device {rank}"
            )


def _attended(spec: NonLocalSpec, theta: Tensor, phi: Tensor, g: Tensor, group: Group) -> Tensor:
    """y (B', N', V) from the theta of this device and the phi and g of all devices."""
    dtype, by_sum = sum_dtype(g), spec.normalization == "sum"
    sizes = _sizes(phi.shape[1], phi.device, group)
    if spec.pairwise == "dot_product":
        share = spec.scale / sum(sizes)
        rows, keys = theta.to(dtype), phi.to(dtype)  # (B', N', D), (B', M', D)
        y = rows @ _Added.apply(scaled_product(keys.mT, g.to(dtype), share), group)
        if not by_sum:
            return y.to(g.dtype)
        ones = _Added.apply(keys.sum(1, keepdim=True) * share, group)  # (B', 1, D)
        return divided(y, rows @ ones.mT).to(g.dtype)
    largest = theta.new_full((*theta.shape[:2], 1), -torch.inf, dtype=dtype)  # (B', N', 1)
    total = torch.zeros_like(largest)
    state = (total.expand(-1, -1, g.shape[2]), total, largest)
    for rank, size in enumerate(sizes):
        step = partial(_step, spec, rank=rank, size=size, group=group)
        state = _remade(step, theta, phi, g, state)
    sums, total, _ = state
    return (divided(sums, total) if by_sum else sums / sum(sizes)).to(g.dtype)


def _step(
    spec: NonLocalSpec,
    theta: Tensor,
    phi: Tensor,
    g: Tensor,
    state: Sums,
    *,
    rank: int,
    size: int,
    group: Group,
) -> Sums:
    """`state` with the terms of the `size` keys of the device `rank` added."""
    packed = _From.apply(torch.cat([phi, g], 2), rank, size, group)  # (B', M', D + V)
    keys, values = packed.to(sum_dtype(g)).split((phi.shape[2], g.shape[2]), 2)
    if spec.pairwise == "concatenation":
        sums, total = pair_sums_and_total(theta.squeeze(2), keys.squeeze(2), values)
        return state[0] + sums, state[1] + total, state[2]
    rows = max(1, CHUNK // (theta.shape[0] * size))
    queries = theta.to(values.dtype).split(rows, 1)
    states = zip(*(part.split(rows, 1) for part in state), strict=True)
    merge = partial(_merged, spec)
    chunks = [_remade(merge, q, keys, values, *s) for q, s in zip(queries, states, strict=True)]
    sums, total, largest = (torch.cat(parts, 1) for parts in zip(*chunks, strict=True))
    return sums, total, largest


def _merged(
    spec: NonLocalSpec,
    theta: Tensor,
    phi: Tensor,
    g: Tensor,
    sums: Tensor,
    total: Tensor,
    largest: Tensor,
) -> Sums:
    """The sums of a Gaussian for queries (B', R, D), with the terms of keys (B', M, D) added."""
    logits = scaled_product(theta, phi.mT, spec.scale)  # (B', R, M)
    if spec.normalization == "count":
        f = logits.exp()
        return sums + f @ g, total, largest
    # The largest logit cancels in y, so it needs no gradient.
    higher = torch.maximum(largest, logits.amax(2, keepdim=True)).detach()  # (B', R, 1)
    f = (logits - higher).exp()
    kept = (largest - higher).exp()
    return kept * sums + f @ g, kept * total + f.sum(2, keepdim=True), higher


def _sizes(own: int, device: torch.device, group: Group) -> list[int]:
    """The value of `own` on each device, in the order of ranks."""
    every = [
        torch.empty(1, dtype=torch.int64, device=device) for _ in range(dist.get_world_size(group))
    ]
    dist.all_gather(every, torch.tensor([own], device=device), group)
    return [int(size) for size in every]


class _Added(torch.autograd.Function):
    """The sum of an array over all devices."""

    @staticmethod
    def forward(ctx: Any, array: Tensor, group: Group) -> Tensor:
        ctx.group = group
        total = array.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, None]:
        return _Added.apply(d, ctx.group), None


class _From(torch.autograd.Function):
    """The array (B, M, E) of the device `rank` of the group, with M = `size`."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, rank: int, size: int, group: Group) -> Tensor:
        ctx.group, ctx.mine, ctx.shape = group, dist.get_rank(group) == rank, own.shape
        ctx.source = rank if group is None else dist.get_global_rank(group, rank)
        sent = own.clone() if ctx.mine else own.new_empty((own.shape[0], size, own.shape[2]))
        sent = sent.contiguous()
        dist.broadcast(sent, ctx.source, group)
        return sent

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor, None, None, None]:
        total = d.clone(memory_format=torch.contiguous_format)
        dist.reduce(total, ctx.source, group=ctx.group)
        return total if ctx.mine else total.new_zeros(ctx.shape), None, None, None
