"""Both Gaussians, t_ij = theta_i . phi_j: y_i = sum_j w_ij g_j, w = softmax_j(s t) or exp(s t) / M.

Where N and M are static, no N x M array outlives a chunk of queries, and the backward direction
computes a chunk's w anew. Products are written with @: on the PyTorch engine keras.ops.matmul
computes float64 in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from nlcore_keras.operation.precision import sum_dtype

#: Elements of f in one chunk, over the whole batch (at least one query of each item). Where the
#: batch's size is unknown, elements of one item.
CHUNK = 1 << 22


def gaussian(theta: Any, phi: Any, g: Any, scale: float, by_sum: bool) -> Any:
    """y (B, N, V) from theta (B, N, D), phi (B, M, D), g (B, M, V)."""
    dtype = sum_dtype(g.dtype)
    rows, keys, values = (ops.cast(array, dtype) for array in (theta, phi, g))
    keys_t = ops.transpose(keys, (0, 2, 1))  # (B, D, M)

    def attend(queries: Any, keys_t: Any, values: Any) -> Any:  # (B, R, D) -> (B, R, V)
        return _weights(queries, keys_t, scale, by_sum) @ values

    chunks = _chunks(rows, keys)
    y = (
        attend(rows, keys_t, values)
        if chunks == 1
        else _mapped(attend, rows, keys_t, values, chunks)
    )
    return ops.cast(y, g.dtype)


def gaussian_weights(theta: Any, phi: Any, scale: float, by_sum: bool) -> Any:
    """w (B, R, M) of a few queries theta (B, R, D) and the keys phi (B, M, D)."""
    dtype = sum_dtype(phi.dtype)
    keys_t = ops.transpose(ops.cast(phi, dtype), (0, 2, 1))  # (B, D, M)
    return _weights(ops.cast(theta, dtype), keys_t, scale, by_sum)


def _weights(queries: Any, keys_t: Any, scale: float, by_sum: bool) -> Any:
    """w of some of the queries: (B, R, D), (B, D, M) -> (B, R, M)."""
    logits = (queries @ keys_t) * scale  # (B, R, M)
    if not by_sum:
        return ops.exp(logits) / ops.cast(ops.shape(keys_t)[2], keys_t.dtype)
    # written out, because keras.ops.softmax warns where M is 1
    # `initial` for JAX, which does not know that a symbolic M is not 0
    largest = ops.max(logits, axis=2, keepdims=True, initial=-float("inf"))  # (B, R, 1)
    f = ops.exp(logits - ops.stop_gradient(largest))
    # divided before the product with g, so that the backward direction needs no y of its own
    return f / ops.sum(f, axis=2, keepdims=True)


def _chunks(theta: Any, phi: Any) -> int:
    """How many chunks of queries theta (B, N, D) makes; 1 where N or M is unknown or a symbol."""
    (batch, n, _), m = theta.shape, phi.shape[1]
    if not (isinstance(n, int) and isinstance(m, int)):
        return 1
    rows = max(1, CHUNK // ((batch if isinstance(batch, int) else 1) * m))
    return -(-n // rows)


def _mapped(attend: Callable[..., Any], theta: Any, keys_t: Any, values: Any, chunks: int) -> Any:
    """`attend` of theta (B, N, D) in so many chunks of queries -> (B, N, V)."""
    recomputed = keras.remat(attend)  # in the backward direction, so that it stores no chunk's f
    n, batch = theta.shape[1], ops.shape(theta)[0]
    rows = -(-n // chunks)  # of equal size, so that padding adds less than one row a chunk
    padded = ops.pad(theta, [[0, 0], [0, chunks * rows - n], [0, 0]])
    split = ops.reshape(padded, (batch, chunks, rows, theta.shape[2]))
    y = ops.map(
        lambda queries: recomputed(queries, keys_t, values), ops.transpose(split, (1, 0, 2, 3))
    )  # (chunks, B, R, V)
    y = ops.transpose(y, (1, 0, 2, 3))
    return ops.reshape(y, (batch, chunks * rows, values.shape[2]))[:, :n]
