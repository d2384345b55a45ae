"""The block as a function of its weights and x."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from nlcore import NonLocalSpec, check_weights
from nlcore_keras.batch_norm import Moments, batch_norm, moments
from nlcore_keras.operation.arguments import check_dtypes, check_tensor, checked_data_format
from nlcore_keras.operation.linear import Weights
from nlcore_keras.operation.precision import sum_dtype
from nlcore_keras.operation.stages import response


def non_local_block(
    spec: NonLocalSpec,
    weights: Mapping[str, Any],
    x: Any,
    training: bool = False,
    data_format: str | None = None,
) -> Any:
    """z = BN(W_z y + b) + x with y_i = 1/C(x) sum_j f(x_i, x_j) g(x_j).

    Parameters
    ----------
    spec : NonLocalSpec
    weights : mapping of name to tensor, variable or array
        Exactly the names and shapes of `nlcore.weight_shapes(spec)`, of the dtype of x. Those of
        batch normalization may be float32 beside a half-precision x.
    x : (B, *positions, C), or (B, C, *positions) with data_format "channels_first"
        A tensor or array: float16, bfloat16, float32 or float64. Sizes other than C may be unknown
        in a compiled graph.
    training : bool
        Normalize with the batch's mean and biased variance over B and all positions, rather
        than with the running statistics. This function never changes the running statistics;
        `NonLocalBlock` does.
    data_format : {"channels_last", "channels_first"}, optional
        Default keras.config.image_data_format().

    Returns
    -------
    z : of the shape and dtype of x

    Raises
    ------
    TypeError, ValueError
        See `nlcore.check_input` and `nlcore.check_weights`; dtypes that differ; or an x of
        keras.Input, for which a functional model needs `NonLocalBlock`.

    Notes
    -----
    Half precisions multiply by the weights in their dtype. Everything between the embeddings and
    W_z, batch statistics, normalization and the sum with x are float32. Concatenation computes
    w_f . (W x) as (w_f W) . x, which can be infinite at an infinite x where the formula is
    infinity - infinity, NaN.

    Source: arXiv 1711.07971, Eq. 6 and Sec. 3.3, 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> from nlcore import NonLocalSpec, init_weights
    >>> spec = NonLocalSpec(8, ndim=2, subsample=(2, 2))
    >>> weights = init_weights(spec, np.random.default_rng(0), identity=False)
    >>> x = np.ones((1, 6, 6, 8))  # (B, H, W, C)
    >>> z = non_local_block(spec, weights, x, data_format="channels_last")
    """
    data_format = checked_data_format(data_format)
    if isinstance(x, keras.KerasTensor):
        raise TypeError(f"x must be a tensor; received {x}: NonLocalBlock takes one of keras.Input")
    check_tensor(spec, x, data_format)
    check_weights(spec, weights)
    check_dtypes(x, weights)
    tensors = {name: ops.convert_to_tensor(weight) for name, weight in weights.items()}
    return block_and_moments(spec, tensors, ops.convert_to_tensor(x), training, data_format)[0]


def block_and_moments(
    spec: NonLocalSpec, weights: Weights, x: Any, training: bool, data_format: str
) -> tuple[Any, Moments | None]:
    """z for checked arguments, and the batch's moments of W_z y + b where they normalize it."""
    if x.shape[0] == 0:
        return x, None
    if data_format == "channels_first":
        x = ops.moveaxis(x, 1, -1)  # (B, *positions, C)
    out, batch = response(spec, weights, x), None  # (B, *positions, C)
    if not spec.batch_norm:
        z = out + x
    else:
        dtype = sum_dtype(x.dtype)
        out = ops.cast(out, dtype)
        weight, bias, mean, variance = (
            ops.cast(weights[f"bn.{name}"], dtype)
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        if training:
            batch = moments(out)
            mean, variance = batch.mean, batch.variance
        else:  # state, which has no gradient
            mean, variance = ops.stop_gradient(mean), ops.stop_gradient(variance)
        normalized = batch_norm(out, weight, bias, mean, variance, spec.eps)
        z = ops.cast(normalized + ops.cast(x, dtype), x.dtype)
    return (ops.moveaxis(z, -1, 1) if data_format == "channels_first" else z), batch
