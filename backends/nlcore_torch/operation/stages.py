"""The stages from x to W_z y + b. The block normalizes the result and adds x."""

from __future__ import annotations

from torch import Tensor

from nlcore import NonLocalSpec
from nlcore_torch.operation.arguments import is_channels_last
from nlcore_torch.operation.concatenation import concatenation
from nlcore_torch.operation.dot_product import dot_product, merged_with_w_z
from nlcore_torch.operation.embeddings import Weights, embeddings
from nlcore_torch.operation.extent import unfold
from nlcore_torch.operation.gaussian import gaussian
from nlcore_torch.operation.linear import mapped


def response(
    spec: NonLocalSpec, weights: Weights, x: Tensor, memory_budget: int | None = None
) -> Tensor:
    """W_z y + b (B, C, *positions) from x (B, C, *positions). The arguments must be checked."""
    return output(spec, weights, x, *embeddings(spec, weights, x), memory_budget)


def output(
    spec: NonLocalSpec,
    weights: Weights,
    x: Tensor,
    theta: Tensor,
    phi: Tensor,
    g: Tensor,
    memory_budget: int | None = None,
) -> Tensor:
    """W_z y + b (B, C, *positions) from theta, phi and g as `embeddings` returns them."""
    if spec.pairwise == "dot_product":
        maps = merged_with_w_z(spec, weights["out.weight"], theta, phi, g)
        if maps is not None:  # (B, C, D), and theta takes the place of y
            return project(spec, weights, x, theta, maps)
    return project(spec, weights, x, attend(spec, theta, phi, g, memory_budget))


def attend(
    spec: NonLocalSpec, theta: Tensor, phi: Tensor, g: Tensor, memory_budget: int | None = None
) -> Tensor:
    """y (B', N', V) from theta, phi and g as `embeddings` returns them.

    `memory_budget` is that of `gaussian`.
    """
    by_sum = spec.normalization == "sum"
    if spec.pairwise == "concatenation":
        return concatenation(theta.squeeze(2), phi.squeeze(2), g, by_sum)
    if spec.pairwise == "dot_product":
        return dot_product(theta, phi, g, spec.scale, by_sum)
    return gaussian(theta, phi, g, spec.scale, by_sum, memory_budget)


def project(
    spec: NonLocalSpec, weights: Weights, x: Tensor, y: Tensor, maps: Tensor | None = None
) -> Tensor:
    """W_z y + b (B, C, *positions) from y (B', N', V). x determines the positions.

    If `maps` (B, C, D) is given, it replaces W_z by one matrix per batch item, and y is theta.
    """
    if maps is None:
        maps = weights["out.weight"].expand(x.shape[0], -1, -1)  # (B, C, V)
    rows = unfold(spec, x, y)  # (B, N, V)
    last = is_channels_last(x)
    found = mapped(maps, rows, weights.get("out.bias"), last)  # (B, C, N)
    if not last:
        return found.unflatten(2, x.shape[2:])
    # Not found.unflatten(2, ...), which for a batch of one has the strides of no memory format.
    # torch 2.13 computes wrong gradients of batch normalization with them.
    return found.mT.unflatten(1, x.shape[2:]).movedim(-1, 1)
