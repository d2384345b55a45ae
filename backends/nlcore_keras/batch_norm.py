"""Batch normalization of W_z y + b, and the statistics that it takes from a batch."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from keras import ops


class Moments(NamedTuple):
    """Statistics of x (B, *positions, C) over B and all positions, per channel."""

    mean: Any  # (C,)
    variance: Any  # (C,), biased: what normalizes the batch
    unbiased: Any  # (C,), what the running variance takes; 0 of one value per channel


def moments(x: Any) -> Moments:
    """The moments of x (B, *positions, C), in its dtype."""
    axes = tuple(range(len(x.shape) - 1))
    count = ops.cast(prod(ops.shape(x)[:-1]), x.dtype)  # ()
    # not keras.ops.mean, which computes float64 in float32 on JAX
    mean = ops.sum(x, axis=axes) / count
    # from squared deviations, because E[x^2] - E[x]^2 cancels
    variance = ops.sum(ops.square(x - mean), axis=axes) / count
    return Moments(mean, variance, variance * (count / ops.where(count > 1, count - 1, count)))


def batch_norm(x: Any, weight: Any, bias: Any, mean: Any, variance: Any, eps: float) -> Any:
    """(x - mean) / sqrt(variance + eps) * weight + bias, per channel of x (..., C)."""
    return (x - mean) * (weight / ops.sqrt(variance + eps)) + bias
