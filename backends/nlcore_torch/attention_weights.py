"""Attention weights w_ij = f(x_i, x_j) / C(x) of one position i, as in the paper's Figure 3."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from nlcore_torch.block import NonLocalBlock
from nlcore_torch.operation.arguments import check_tensor
from nlcore_torch.operation.extent import unfold
from nlcore_torch.operation.stages import attend


class TopResponses(NamedTuple):
    """The largest w_ij of one position i, in descending order.

    Attributes
    ----------
    weights : (B, k)
    positions : (B, k, ndim)
        The position j in x. With subsampling, it is the first position of the window of j.
    """

    weights: Tensor
    positions: Tensor


def responses(block: NonLocalBlock, x: Tensor, position: Sequence[int]) -> Tensor:
    """The weights w_ij of the position i for every j, such that y_i = sum_j w_ij g(x_j).

    Parameters
    ----------
    block : NonLocalBlock
        Its spec can have any pairwise function, normalization and extent.
    x : (B, C, *positions)
    position : sequence of int
        The position i, with an index for each axis.

    Returns
    -------
    weights : (B, *pooled positions)
        w_ij. It is 0 for positions j that i does not see.

    Raises
    ------
    ValueError, TypeError
        x is not valid for the block, or the position is outside x.

    Notes
    -----
    No N x M array is computed. Since y_i is linear in g, w_ij is the derivative of y_i with respect
    to g_j.

    Examples
    --------
    >>> block = NonLocalBlock(4, ndim=2)
    >>> weights = responses(block, torch.randn(1, 4, 3, 3), (0, 0))
    >>> weights.shape, round(weights.sum().item(), 5)  # the embedded Gaussian is a softmax
    (torch.Size([1, 3, 3]), 1.0)
    """
    spec = block.spec
    check_tensor(spec, x)
    sizes = x.shape[2:]
    if len(position) != len(sizes) or not all(
        0 <= k < size for k, size in zip(position, sizes, strict=True)
    ):
        raise ValueError(
            f"position must be an index into {tuple(sizes)}; received {tuple(position)}"
        )
    index = 0
    for k, size in zip(position, sizes, strict=True):
        index = index * size + k  # index of i in row-major order
    with torch.no_grad():
        theta, phi, g = block.embeddings(x)
    ones = torch.ones_like(g[..., :1]).requires_grad_()  # (B', M', 1), in the place of g
    with torch.enable_grad():
        y = unfold(spec, x, attend(spec, theta, phi, ones))  # (B, N, 1)
        (weights,) = torch.autograd.grad(y[:, index].sum(), ones)
    pooled = [size // window for size, window in zip(sizes, spec.pool, strict=True)]
    return unfold(spec, x, weights).view(x.shape[0], *pooled)


def top_responses(
    block: NonLocalBlock, x: Tensor, position: Sequence[int], k: int = 20
) -> TopResponses:
    """The k largest w_ij of the position i and their positions j, see `responses`.

    Parameters
    ----------
    block, x, position
        See `responses`.
    k : int
        Number of weights.

    Returns
    -------
    TopResponses
        ``weights`` (B, k), the largest first, and ``positions`` (B, k, ndim).

    Raises
    ------
    ValueError, TypeError
        k is not between 1 and the number of positions j, or see `responses`.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> x = torch.randn(1, 4, 5, 5)
    >>> weights, positions = top_responses(NonLocalBlock(4, ndim=2), x, (2, 2), k=3)
    >>> weights.shape, positions.shape
    (torch.Size([1, 3]), torch.Size([1, 3, 2]))
    """
    weights = responses(block, x, position)
    pooled, count = weights.shape[1:], prod(weights.shape[1:])
    if not 1 <= k <= count:
        raise ValueError(f"k must be from 1 to {count}, the number of positions j; received {k}")
    values, places = weights.flatten(1).topk(k)  # (B, k)
    axes = torch.unravel_index(places, pooled)
    window = torch.tensor(block.spec.pool, device=x.device)  # (ndim,)
    return TopResponses(values, torch.stack(axes, -1) * window)
