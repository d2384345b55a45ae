"""Dtypes, products, and division where the divisor may be 0."""

from __future__ import annotations

from functools import cache
from typing import Any

import keras
from keras import ops

from nlcore.spec import FLOATS


def float_name(name: str, array: Any) -> str:
    """The dtype of a tensor or array, by name; TypeError unless it is floating point."""
    dtype = getattr(array, "dtype", None)
    seen = type(array).__name__ if dtype is None else keras.backend.standardize_dtype(dtype)
    if seen not in FLOATS:
        raise TypeError(f"{name} must be a floating-point tensor, one of {FLOATS}; received {seen}")
    return seen


def sum_dtype(dtype: Any) -> str:
    """The dtype of sums over arrays of `dtype`: float64 stays, the others are float32."""
    return "float64" if keras.backend.standardize_dtype(dtype) == "float64" else "float32"


def product(a: Any, b: Any) -> Any:
    """a @ b in their dtype, rounded to nearest."""
    if a.dtype != b.dtype or keras.backend.standardize_dtype(a.dtype) != "bfloat16" or _rounds():
        return a @ b
    return ops.cast(ops.cast(a, "float32") @ ops.cast(b, "float32"), a.dtype)


@cache
def _rounds() -> bool:
    """Whether bfloat16 products are rounded: TensorFlow's on the CPU are float32, then cut off."""
    if keras.backend.backend() != "tensorflow":
        return True
    import tensorflow as tf

    return any(device.device_type != "CPU" for device in tf.config.list_physical_devices())


def divided(y: Any, total: Any) -> Any:
    """y (B, N, V) / total (B, N, 1); where the total is 0, 0 with no gradient."""
    zero = ops.equal(total, 0)
    # both: the gradient of the branch that is not taken is multiplied by 0, so it must be finite
    safe = ops.where(zero, ops.ones_like(total), total)  # (B, N, 1)
    return ops.where(zero, ops.zeros_like(y), y / safe)
