"""From x to theta, phi and g: the extent's folding, products with weights, and subsampling."""

from __future__ import annotations

from math import prod
from typing import Any

from keras import ops

from nlcore import NonLocalSpec
from nlcore_keras.operation.concatenation import logit_share
from nlcore_keras.operation.extent import fold
from nlcore_keras.operation.linear import Weights, linear, stacked
from nlcore_keras.operation.pooling import max_pool
from nlcore_keras.operation.precision import sum_dtype


def embeddings(spec: NonLocalSpec, weights: Weights, x: Any) -> tuple[Any, Any, Any]:
    """theta (B', N', D), phi (B', M', D) and g (B', M', V) of x (B, *positions, C).

    Items of B' do not see each other. The Gaussian's theta and phi are x's rows. In the place of
    theta and phi, the concatenation has the shares a (B', N') and b (B', M') of its logits,
    w_f . [theta_i, phi_j] + b_f = a_i + b_j.
    """
    x = fold(spec, x)
    if spec.pairwise == "concatenation":
        return _logit_shares(spec, weights, x)
    theta, phi, g = _embeddings(spec, weights, x)
    return _rows(theta), _rows(phi), _rows(g)


def _embeddings(spec: NonLocalSpec, weights: Weights, x: Any) -> tuple[Any, Any, Any]:
    """theta (B', *positions, D), and subsampled phi (B', *pooled, D) and g (B', *pooled, V)."""
    d = spec.inner_channels
    keys = _pooled(spec, x, "input")  # (B', *pooled, C), or x itself
    if not spec.embedded:
        phi = _pooled(spec, keys, "embedding")  # (B', *pooled, C), the same wherever it is pooled
        return x, phi, _pooled(spec, linear(keys, stacked(weights, "g")), "embedding")
    if keys is x:
        both = linear(x, stacked(weights, "theta", "phi", "g"))  # (B', *positions, 2 D + V)
        theta, both = both[..., :d], both[..., d:]
    else:
        theta = linear(x, stacked(weights, "theta"))  # (B', *positions, D)
        both = linear(keys, stacked(weights, "phi", "g"))  # (B', *pooled, D + V)
    both = _pooled(spec, both, "embedding")
    return theta, both[..., :d], both[..., d:]


def _logit_shares(spec: NonLocalSpec, weights: Weights, x: Any) -> tuple[Any, Any, Any]:
    """a (B', N'), b (B', M'), g (B', M', V): w_f . [theta_i, phi_j] + b_f = a_i + b_j."""
    d = spec.inner_channels
    theta_weight, phi_weight = weights["f.weight"][:d], weights["f.weight"][d:]  # (D,), (D,)
    a = _through(weights, "theta", theta_weight, x)
    if "f.bias" in weights:
        a = a + ops.cast(weights["f.bias"], a.dtype)
    if _pools(spec, "embedding"):  # the maximum is of phi's channels, so phi is needed
        both = max_pool(linear(x, stacked(weights, "phi", "g")), spec.pool)  # (B', *pooled, D + V)
        return a, logit_share(_rows(both[..., :d]), phi_weight), _rows(both[..., d:])
    keys = _pooled(spec, x, "input")  # (B', *pooled, C), or x itself
    b = _through(weights, "phi", phi_weight, keys)
    return a, b, _rows(linear(keys, stacked(weights, "g")))


def _through(weights: Weights, name: str, vector: Any, x: Any) -> Any:
    """vector . (W x + b) as (W^T vector) . x + vector . b: x (B', *positions, C) -> (B', P)."""
    dtype = sum_dtype(x.dtype)
    row = ops.expand_dims(ops.cast(vector, dtype), 0)  # (1, D)
    bias = weights.get(f"{name}.bias")
    constant = None if bias is None else (row @ ops.expand_dims(ops.cast(bias, dtype), 1))[0, 0]
    return logit_share(_rows(x), (row @ ops.cast(weights[f"{name}.weight"], dtype))[0], constant)


def _pools(spec: NonLocalSpec, at: str) -> bool:
    return spec.subsample is not None and spec.subsample_at == at


def _pooled(spec: NonLocalSpec, x: Any, at: str) -> Any:
    """x (B', *positions, E) -> (B', *pooled, E) where the spec subsamples there, else x itself."""
    return max_pool(x, spec.pool) if _pools(spec, at) else x


def _rows(x: Any) -> Any:
    """(B, *positions, E) -> (B, N, E)."""
    batch, *positions, channels = ops.shape(x)
    # -1 is not known for an empty batch, and tf2onnx 1.17 loses a product of unknown sizes
    known = all(isinstance(n, int) for n in positions)
    return ops.reshape(x, (batch, prod(positions) if known else -1, channels))
