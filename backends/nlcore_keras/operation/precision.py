"""The dtype of sums, and products and quotients that respect it."""

from __future__ import annotations

from functools import cache
from typing import Any

import keras
from keras import ops


def sum_dtype(dtype: Any) -> str:
    """The dtype of logits, normalizers and prefix sums: float32 for the half precisions."""
    return "float64" if keras.backend.standardize_dtype(dtype) == "float64" else "float32"


def product(a: Any, b: Any) -> Any:
    """a @ b in their dtype, rounded to nearest."""
    if a.dtype != b.dtype or keras.backend.standardize_dtype(a.dtype) != "bfloat16" or _rounds():
        return a @ b
    return ops.cast(ops.cast(a, "float32") @ ops.cast(b, "float32"), a.dtype)


def divided(numerator: Any, total: Any) -> Any:
    """numerator (B, N, V) / total (B, N, 1), and 0 with no gradient where the total is 0."""
    zero = ops.equal(total, 0)
    # The inner `where` keeps the division finite: the gradient of the branch that `where` does not
    # take is multiplied by 0.
    safe = ops.where(zero, ops.ones_like(total), total)  # (B, N, 1)
    return ops.where(zero, ops.zeros_like(numerator), numerator / safe)


@cache
def _rounds() -> bool:
    """Whether the engine rounds bfloat16 products.

    TensorFlow on the CPU multiplies in float32 and cuts the result off.
    """
    if keras.backend.backend() != "tensorflow":
        return True
    import tensorflow as tf

    return any(device.device_type != "CPU" for device in tf.config.list_physical_devices())
