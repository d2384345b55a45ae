"""The dot product, f = s theta_i . phi_j, with its matrix products in the cheapest order.

No array is larger than an argument or y. In half precision and in an exported graph, the order is
always theta (phi^T g). In bfloat16, the other orders would round once more. An exported graph must
also be efficient at other sizes. float16 is computed in float32, because a product of two of the
three matrices could overflow where y does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore import NonLocalSpec
from nlcore.block_cost import dot_product_costs
from nlcore_torch.operation.precision import (
    autocasts,
    divided,
    scaled_product,
    share,
    sum_dtype,
    without_autocast,
)
from nlcore_torch.operation.recording import exports


def dot_product(theta: Tensor, phi: Tensor, g: Tensor, scale: float, by_sum: bool) -> Tensor:
    """y = s (theta phi^T) g / C (B, N, V) from theta (B, N, D), phi (B, M, D), g (B, M, V)."""
    factor = share(scale, phi.shape[1])
    if not by_sum and theta.dtype != torch.float16:
        return _product(theta, phi, g, factor)
    dtype = sum_dtype(theta)
    with without_autocast(theta):
        rows, keys = theta.to(dtype), phi.to(dtype)  # (B, N, D), (B, M, D)
        y = _product(rows, keys, g.to(dtype), factor)  # (B, N, V)
        if not by_sum:
            return y.to(g.dtype)
        total = rows @ (keys.sum(1, keepdim=True) * factor).mT  # (B, N, 1): C / M
    return divided(y, total).to(g.dtype)


def merged_with_w_z(
    spec: NonLocalSpec, w_z: Tensor, theta: Tensor, phi: Tensor, g: Tensor
) -> Tensor | None:
    """W_z g^T phi s / M (B, C, D), whose product with theta_i is W_z y_i, so that y is not needed.

    Returns None if another order is cheaper. Also returns None for normalization "sum", an extent
    or a window, because W_z y_i is then not theta_i times one matrix per item of B.
    """
    if spec.normalization != "count" or spec.extent != "all" or spec.window is not None:
        return None
    if _order(theta, phi, g, w_z.shape[0]) != "merged":
        return None
    # (C, V) @ (B, V, D)
    return w_z @ scaled_product(g.mT, phi, share(spec.scale, phi.shape[1]))


def dot_product_order(
    queries: int, keys: int, inner: int, values: int, channels: int | None = None
) -> str:
    """The order with the fewest multiply-adds in `nlcore.block_cost.dot_product_costs`."""
    costs = dot_product_costs(queries, keys, inner, values, channels)
    best = "keys"
    for order, cost in costs.items():  # not min(), which torch.compile rejects for dynamic sizes
        if cost < costs[best]:
            best = order
    return best


def _product(theta: Tensor, phi: Tensor, g: Tensor, factor: float) -> Tensor:
    """factor (theta phi^T) g (B, N, V)."""
    if _order(theta, phi, g) == "pairs":
        return scaled_product(theta, phi.mT, factor) @ g  # (B, N, M), then (B, N, V)
    return theta @ scaled_product(phi.mT, g, factor)  # (B, D, V), then (B, N, V)


def _order(theta: Tensor, phi: Tensor, g: Tensor, channels: int | None = None) -> str:
    """The order of the products for these tensors. "merged" is possible if channels is given."""
    full = theta.dtype == sum_dtype(theta) and not autocasts(theta)
    if not full or exports():
        return "keys"
    return dot_product_order(theta.shape[1], phi.shape[1], theta.shape[2], g.shape[2], channels)
