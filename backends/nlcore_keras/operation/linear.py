"""The block's linear maps, channels last: one product for weights that multiply the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras import ops

from nlcore_keras.operation.precision import product, sum_dtype

#: Tensors by the names of `nlcore.weight_shapes`.
Weights = Mapping[str, Any]
#: A weight (E, C) and its bias (E,), or None.
Layer = tuple[Any, Any | None]


def stacked(weights: Weights, *names: str) -> Layer:
    """The weights of `names` as one (E, C), and their biases as one (E,) where they have them."""

    def of(kind: str) -> Any:
        tensors = [weights[f"{name}.{kind}"] for name in names]
        return tensors[0] if len(tensors) == 1 else ops.concatenate(tensors, axis=0)

    return of("weight"), of("bias") if f"{names[0]}.bias" in weights else None


def linear(x: Any, layer: Layer) -> Any:
    """W x + b of x (..., C) for weight (E, C) and bias (E,) -> (..., E)."""
    weight, bias = layer
    y = product(ops.reshape(x, (-1, weight.shape[1])), ops.transpose(weight))  # (R, E)
    if bias is not None:
        # in the dtype of sums, because the bias's gradient is a sum over all rows
        dtype = sum_dtype(y.dtype)
        y = ops.cast(ops.cast(y, dtype) + ops.cast(bias, dtype), y.dtype)
    return ops.reshape(y, (*ops.shape(x)[:-1], weight.shape[0]))
