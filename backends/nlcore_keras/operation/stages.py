"""The block's steps in keras.ops, channels last: subsampling, extents, embeddings, moments."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from keras import ops

from nlcore import NonLocalSpec
from nlcore_keras.operation.concatenation import concatenation
from nlcore_keras.operation.operation import non_local_operation, project
from nlcore_keras.operation.precision import product, sum_dtype


def response(spec: NonLocalSpec, weights: Mapping[str, Any], x: Any) -> Any:
    """W_z y + b with y_i = 1/C(x) sum_j f(x_i, x_j) g(x_j), before normalization.

    Parameters
    ----------
    spec : NonLocalSpec
    weights : mapping of name to tensor
        Names and shapes of `nlcore.weight_shapes(spec)`, of the dtype of x; those of batch
        normalization are not read.
    x : (B, *positions, C)
        Sizes other than C may be unknown (None).

    Returns
    -------
    out : (B, *positions, C), of the dtype of x

    Source: arXiv 1711.07971, Eq. 6 and Sec. 3.3.
    """
    shape, x = ops.shape(x), fold(spec, x)
    if spec.pairwise == "concatenation":
        a, b, g = _logit_shares(spec, weights, x)
        y = concatenation(a, b, g, spec.normalization == "sum")  # (B', N, D)
    else:
        theta, phi, g = embeddings(spec, weights, x)
        y = non_local_operation(spec, _flat(theta), _flat(phi), _flat(g))  # (B', N, D)
    return unfold(spec, _linear(weights, ("out",), y), shape)


def embeddings(spec: NonLocalSpec, weights: Mapping[str, Any], x: Any) -> tuple[Any, Any, Any]:
    """theta(x), phi(x) and g(x), the last two subsampled: (B', *positions, D or C) each."""
    d = spec.inner_channels
    at_input = spec.subsample_at == "input"
    keys = max_pool(x, spec.pool) if at_input else x  # (B', *pooled, C)
    window = (1,) * spec.ndim if at_input else spec.pool
    if not spec.embedded:
        phi = max_pool(keys, window)
        return x, phi, max_pool(_linear(weights, ("g",), keys), window)
    if keys is x:
        stacked = _linear(weights, ("theta", "phi", "g"), x)  # (B', *positions, 3D)
        theta, stacked = stacked[..., :d], stacked[..., d:]
    else:
        theta = _linear(weights, ("theta",), x)  # (B', *positions, D)
        stacked = _linear(weights, ("phi", "g"), keys)  # (B', *pooled, 2D)
    stacked = max_pool(stacked, window)
    return theta, stacked[..., :d], stacked[..., d:]


def _logit_shares(spec: NonLocalSpec, weights: Mapping[str, Any], x: Any) -> tuple[Any, Any, Any]:
    """a (B', N), b (B', M), g (B', M, D): w_f . [theta_i, phi_j] + b_f = a_i + b_j."""
    d = spec.inner_channels
    theta_weight, phi_weight = weights["f.weight"][:d], weights["f.weight"][d:]  # (D,), (D,)
    a = _through(weights, "theta", theta_weight, x)
    if "f.bias" in weights:
        a = a + ops.cast(weights["f.bias"], a.dtype)
    if spec.subsample is not None and spec.subsample_at == "embedding":
        # the maximum is of phi's channels, so phi is needed
        stacked = max_pool(_linear(weights, ("phi", "g"), x), spec.pool)  # (B', *pooled, 2D)
        return a, project(_flat(stacked[..., :d]), phi_weight), _flat(stacked[..., d:])
    keys = x if spec.subsample is None else max_pool(x, spec.pool)  # (B', *pooled, C)
    return a, _through(weights, "phi", phi_weight, keys), _flat(_linear(weights, ("g",), keys))


def _through(weights: Mapping[str, Any], name: str, vector: Any, x: Any) -> Any:
    """vector . (W x + b) as (W^T vector) . x + vector . b: x (B', *positions, C) -> (B', P)."""
    dtype = sum_dtype(x.dtype)
    row = ops.expand_dims(ops.cast(vector, dtype), 0)  # (1, D)
    bias = weights.get(f"{name}.bias")
    constant = None if bias is None else (row @ ops.expand_dims(ops.cast(bias, dtype), 1))[0, 0]
    return project(_flat(x), (row @ ops.cast(weights[f"{name}.weight"], dtype))[0], constant)


def max_pool(x: Any, window: tuple[int, ...]) -> Any:
    """Max-pooling of x (B, *positions, D), window = stride, floor -> (B, *pooled, D).

    A tie goes to the first position of the window in row-major order, in the gradient too, and a
    NaN is the maximum. Not keras.ops.max_pool: on TensorFlow's CPU kernels it drops NaN, and in
    three dimensions it sends a tied gradient to every position.
    """
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
        best = x[:, 0]
        for k in range(1, size):
            keep = ops.logical_or(best >= x[:, k], ops.isnan(best))
            best = ops.where(keep, best, x[:, k])
        shape[axis] = pooled
        x = ops.reshape(best, shape)
    return x


def fold(spec: NonLocalSpec, x: Any) -> Any:
    """(B, T, H, W, C) -> (B', T', H', W', C): each item of B' is one set of positions.

    The same reshapes as `nlcore.reference.extent.fold`.
    """
    if spec.extent == "all" and spec.window is None:
        return x
    _, t, h, w, c = ops.shape(x)
    if spec.extent == "time":
        return ops.reshape(ops.transpose(x, (0, 2, 3, 1, 4)), (-1, t, 1, 1, c))
    return ops.reshape(x, (-1, spec.window or 1, h, w, c))


def unfold(spec: NonLocalSpec, y: Any, shape: tuple[Any, ...]) -> Any:
    """(B', N, C) -> `shape`, (B, *positions, C): the inverse of `fold`, positions restored."""
    if spec.extent != "time":
        return ops.reshape(y, shape)
    b, t, h, w, c = shape
    return ops.transpose(ops.reshape(y, (b, h, w, t, c)), (0, 3, 1, 2, 4))


def moments(out: Any) -> tuple[Any, Any, Any]:
    """Mean and biased variance (C,) of out (B, *positions, C), and how many they are over, ()."""
    axes = tuple(range(len(out.shape) - 1))
    count = ops.cast(prod(ops.shape(out)[:-1]), out.dtype)
    # not keras.ops.mean, which computes float64 in float32 on JAX
    mean = ops.sum(out, axis=axes) / count  # (C,)
    # from squared deviations: E[out^2] - E[out]^2 cancels
    variance = ops.sum(ops.square(out - mean), axis=axes) / count  # (C,)
    return mean, variance, count


def batch_norm(out: Any, mean: Any, variance: Any, weight: Any, bias: Any, eps: float) -> Any:
    """(out - mean) / sqrt(variance + eps) * weight + bias, per channel, for out (..., C)."""
    return (out - mean) * (weight / ops.sqrt(variance + eps)) + bias


def _linear(weights: Mapping[str, Any], names: tuple[str, ...], x: Any) -> Any:
    """x (..., C) times the stacked W^T of `names`, plus biases where they have them."""

    def stacked(kind: str) -> Any:
        arrays = [weights[f"{name}.{kind}"] for name in names]
        return arrays[0] if len(arrays) == 1 else ops.concatenate(arrays, axis=0)

    weight = stacked("weight")  # (D, C)
    y = product(ops.reshape(x, (-1, weight.shape[1])), ops.transpose(weight))  # (R, D)
    if f"{names[0]}.bias" in weights:
        # in sum_dtype for the gradient's sake: it sums over all positions
        dtype = sum_dtype(y.dtype)
        y = ops.cast(ops.cast(y, dtype) + ops.cast(stacked("bias"), dtype), y.dtype)
    return ops.reshape(y, (*ops.shape(x)[:-1], weight.shape[0]))


def _flat(x: Any) -> Any:
    """(B, *positions, D) -> (B, N, D)."""
    return ops.reshape(x, (ops.shape(x)[0], -1, x.shape[-1]))
