"""Where a position looks: the weights w_ij = f(x_i, x_j) / C(x) of one i (the paper's Figure 3)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from nlcore_torch.block import NonLocalBlock
from nlcore_torch.operation.arguments import check_tensor
from nlcore_torch.operation.embeddings import embeddings
from nlcore_torch.operation.extent import unfold
from nlcore_torch.operation.stages import attend


class TopResponses(NamedTuple):
    """The largest w_ij of one position i, in descending order."""

    weights: Tensor  # (B, k)
    positions: Tensor  # (B, k, ndim): of j in x; with subsampling, where its window begins


def responses(block: NonLocalBlock, x: Tensor, position: Sequence[int]) -> Tensor:
    """w_ij of the position i for every j, such that y_i = sum_j w_ij g(x_j).

    Parameters
    ----------
    block
        For any pairwise function, normalization and extent; j that i does not see have w_ij = 0.
    x : (B, C, *positions)
    position
        i, an index for each axis.

    Returns
    -------
    weights : (B, *pooled positions)

    Raises
    ------
    ValueError, TypeError
        An x that does not fit the block, or a position outside it.

    Notes
    -----
    No N x M array is made: w_ij is the derivative of y_i by g_j, where y is linear.
    """
    spec = block.spec
    check_tensor(spec, x)
    sizes = x.shape[2:]
    if len(position) != len(sizes) or not all(
        0 <= k < size for k, size in zip(position, sizes, strict=True)
    ):
        raise ValueError(f"position must lie in {tuple(sizes)}; received {tuple(position)}")
    index = 0
    for k, size in zip(position, sizes, strict=True):
        index = index * size + k  # of i in row-major order
    with torch.no_grad():
        theta, phi, g = embeddings(spec, block.named_weights(), x)
    ones = torch.ones_like(g[..., :1]).requires_grad_()  # (B', M', 1), as the extent folds them
    with torch.enable_grad():
        y = unfold(spec, x, attend(spec, theta, phi, ones))  # (B, N, 1)
        (weights,) = torch.autograd.grad(y[:, index].sum(), ones)
    pooled = [size // window for size, window in zip(sizes, spec.pool, strict=True)]
    return unfold(spec, x, weights).view(x.shape[0], *pooled)


def top_responses(
    block: NonLocalBlock, x: Tensor, position: Sequence[int], k: int = 20
) -> TopResponses:
    """The k largest w_ij of the position i, and where their j are; see `responses`.

    Raises
    ------
    ValueError
        k is not between 1 and the number of positions j, or as `responses`.
    """
    weights = responses(block, x, position)
    pooled, count = weights.shape[1:], prod(weights.shape[1:])
    if not 1 <= k <= count:
        raise ValueError(f"k must be from 1 to {count}, the positions j; received {k}")
    values, places = weights.flatten(1).topk(k)  # (B, k)
    axes = torch.unravel_index(places, pooled)
    window = torch.tensor(block.spec.pool, device=x.device)  # (ndim,)
    return TopResponses(values, torch.stack(axes, -1) * window)
