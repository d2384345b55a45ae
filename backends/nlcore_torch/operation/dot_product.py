"""The dot product, f = s theta_i . phi_j: its matrices are multiplied in the cheapest order.

No array is larger than an argument or y. In half precision, and in an exported graph, keys come
first: the product of other matrices may leave the range of the dtype, and a graph is for other
sizes too.
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
    sum_dtype,
    without_autocast,
)


def dot_product(theta: Tensor, phi: Tensor, g: Tensor, scale: float, by_sum: bool) -> Tensor:
    """y = s (theta phi^T) g / C (B, N, V) from theta (B, N, D), phi (B, M, D), g (B, M, V)."""
    share = scale / phi.shape[1]  # C(x) = M: dividing first keeps a half-precision sum in range
    if not by_sum:
        return _product(theta, phi, g, share)
    dtype = sum_dtype(theta)  # before the division by C a product may be out of half's range
    with without_autocast(theta):
        rows, keys = theta.to(dtype), phi.to(dtype)  # (B, N, D), (B, M, D)
        y = _product(rows, keys, g.to(dtype), share)  # (B, N, V)
        total = rows @ (keys.sum(1, keepdim=True) * share).mT  # (B, N, 1): C / M
    return divided(y, total).to(g.dtype)


def folded(spec: NonLocalSpec, w_z: Tensor, theta: Tensor, phi: Tensor, g: Tensor) -> Tensor | None:
    """W_z g^T phi s / M (B, C, D), so that W_z y_i is its product with theta_i: y is not needed.

    None where another order is cheaper, or where a sum, an extent or a window is between W_z and
    theta.
    """
    if spec.normalization != "count" or spec.extent != "all" or spec.window is not None:
        return None
    if _order(theta, phi, g, w_z.shape[0]) != "folded":
        return None
    return w_z @ scaled_product(g.mT, phi, spec.scale / phi.shape[1])  # by (B, D, D)


def dot_product_order(
    queries: int, keys: int, inner: int, values: int, channels: int | None = None
) -> str:
    """The order with the fewest multiply-adds, see `nlcore.block_cost.dot_product_costs`."""
    costs = dot_product_costs(queries, keys, inner, values, channels)
    return min(costs, key=lambda order: costs[order])


def _product(theta: Tensor, phi: Tensor, g: Tensor, share: float) -> Tensor:
    """(theta phi^T) g times share."""
    if _order(theta, phi, g) == "pairs":
        return scaled_product(theta, phi.mT, share) @ g  # (B, N, M), then (B, N, V)
    return theta @ scaled_product(phi.mT, g, share)  # (B, D, V), then (B, N, V)


def _order(theta: Tensor, phi: Tensor, g: Tensor, channels: int | None = None) -> str:
    full = theta.dtype == sum_dtype(theta) and not autocasts(theta)
    if not full or torch.compiler.is_exporting():
        return "keys"
    return dot_product_order(theta.shape[1], phi.shape[1], theta.shape[2], g.shape[2], channels)
