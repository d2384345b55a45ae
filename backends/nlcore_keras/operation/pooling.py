"""Max-pooling, channels last.

A tie goes to the first position of the window in row-major order, in the gradient too, and a NaN is
the maximum. keras.ops.max_pool does neither: TensorFlow's CPU kernels drop NaN, and in three
dimensions they send a tied gradient to every position.
"""

from __future__ import annotations

from math import prod
from typing import Any

from keras import ops


def max_pool(x: Any, window: tuple[int, ...]) -> Any:
    """x (B, *positions, E) -> (B, *pooled, E), window = stride, floor."""
    # axis by axis from the last, which keeps the order of the window's positions
    for axis in range(len(window), 0, -1):
        size = window[axis - 1]
        if size == 1:
            continue
        shape = list(ops.shape(x))
        pooled = shape[axis] // size
        x = x[(slice(None),) * axis + (slice(0, pooled * size),)]
        rest = prod(shape[axis + 1 :])
        x = ops.reshape(x, (-1, size, rest))  # (..., window, ...)
        best = x[:, 0]  # (..., ...)
        for k in range(1, size):
            keep = ops.logical_or(best >= x[:, k], ops.isnan(best))
            best = ops.where(keep, best, x[:, k])
        shape[axis] = pooled
        x = ops.reshape(best, shape)
    return x
