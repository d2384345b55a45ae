"""The dot product, f = s theta_i . phi_j: keys are multiplied first, so that no array is N x M.

Products are written with @: on the PyTorch engine keras.ops.matmul computes float64 in float32.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from nlcore_keras.operation.precision import divided, sum_dtype


def dot_product(theta: Any, phi: Any, g: Any, scale: float, by_sum: bool) -> Any:
    """y = s theta (phi^T g) / C (B, N, V) from theta (B, N, D), phi (B, M, D), g (B, M, V)."""
    dtype = sum_dtype(g.dtype)
    rows, values = ops.cast(theta, dtype), ops.cast(g, dtype)
    keys_t = _scaled_keys(phi, scale, dtype)  # (B, D, M): C is 1 or the mean of f
    y = rows @ (keys_t @ values)  # (B, D, V), then (B, N, V)
    if by_sum:
        y = divided(y, rows @ ops.sum(keys_t, axis=2, keepdims=True))
    return ops.cast(y, g.dtype)


def dot_product_weights(theta: Any, phi: Any, scale: float, by_sum: bool) -> Any:
    """w (B, R, M) of a few queries theta (B, R, D) and the keys phi (B, M, D)."""
    dtype = sum_dtype(phi.dtype)
    rows, keys_t = ops.cast(theta, dtype), _scaled_keys(phi, scale, dtype)
    f = rows @ keys_t  # (B, R, M): s t / M
    return divided(f, rows @ ops.sum(keys_t, axis=2, keepdims=True)) if by_sum else f


def _scaled_keys(phi: Any, scale: float, dtype: str) -> Any:
    """s phi^T / M in the dtype of sums: (B, M, D) -> (B, D, M)."""
    keys = ops.cast(phi, dtype)
    return ops.transpose(keys, (0, 2, 1)) * (scale / ops.cast(ops.shape(keys)[1], dtype))
