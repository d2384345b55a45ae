"""From x to theta, phi and g: linear maps, subsampling, and the extent as a reshape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nlcore import NonLocalSpec
from nlcore_torch.operation.concatenation import logit_share
from nlcore_torch.operation.extent import fold
from nlcore_torch.operation.linear import Layer, embedded
from nlcore_torch.operation.pooling import pooled_rows
from nlcore_torch.operation.precision import autocasts, sum_dtype, without_autocast

Weights = Mapping[str, Tensor]


def embeddings(spec: NonLocalSpec, weights: Weights, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """theta (B', N', D), phi (B', M', D) and g (B', M', V), after `fold`.

    For the Gaussian, theta and phi are the rows of x, and one tensor if nothing is pooled. For the
    concatenation, they are the terms a (B', N', 1) and b (B', M', 1) of its logits,
    a_i + b_j = w_f . [theta_i, phi_j] + b_f.
    """
    make = _logit_shares if spec.pairwise == "concatenation" else _embeddings
    return _folded(spec, x, *make(spec, weights, x))


def embeddings_by_parts(
    spec: NonLocalSpec, parts: Mapping[str, Callable[..., Any]], x: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`embeddings`, where each of the layers "theta", "phi", "g" and "f" is called once.

    theta and phi map rows (B, P, C) to (B, P, D), and g maps them to (B, P, V). f maps theta
    (B, N, D) and phi (B, M, D) to the terms a (B, N, 1) and b (B, M, 1) of the logits.
    """
    pooled = _pooled(spec, x, "input")
    rows = _rows(x).contiguous()  # (B, N, C), once for all parts that store it
    key_rows = rows if pooled is x else _rows(pooled).contiguous()  # (B, M, C)
    if spec.embedded:
        theta = parts["theta"](rows)  # (B, N, D)
        phi = _pooled_rows(spec, x, parts["phi"](key_rows))  # (B, M, D)
    else:
        theta, phi = rows, _pooled_input(spec, rows, pooled)
    g = _pooled_rows(spec, x, parts["g"](key_rows))  # (B, M, V)
    if "f" in parts:
        theta, phi = parts["f"](theta, phi)
    return _folded(spec, x, theta, phi, g)


def _embeddings(spec: NonLocalSpec, weights: Weights, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """theta (B, N, D), phi (B, M, D), g (B, M, V). The Gaussian's theta and phi are rows of x."""
    d, v = spec.inner_channels, spec.value_channels
    rows, pooled = _rows(x), _pooled(spec, x, "input")
    if not spec.embedded:
        phi = _pooled_input(spec, rows, pooled)  # (B, M, C)
        (g,) = embedded(_rows(pooled), _stacked(weights, "g"))
        return rows, phi, _pooled_rows(spec, x, g)
    if spec.subsample is None:
        (stacked,) = embedded(rows, _stacked(weights, "theta", "phi", "g"))  # (B, N, 2 D + V)
        theta, phi, g = stacked.split((d, d, v), 2)
        return theta, phi, g
    # theta is a separate array, so that pooling phi and g needs no copy
    if pooled is x:  # (B, N, D), (B, N, D + V)
        theta, stacked = embedded(rows, _stacked(weights, "theta"), _stacked(weights, "phi", "g"))
    else:  # (B, N, D), (B, M, D + V)
        (theta,) = embedded(rows, _stacked(weights, "theta"))
        (stacked,) = embedded(_rows(pooled), _stacked(weights, "phi", "g"))
    phi, g = _pooled_rows(spec, x, stacked).split((d, v), 2)
    return theta, phi, g


def _logit_shares(spec: NonLocalSpec, weights: Weights, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """a (B, N, 1), b (B, M, 1), g (B, M, V) with a_i + b_j = w_f . [theta_i, phi_j] + b_f."""
    theta_weight, phi_weight = weights["f.weight"].chunk(2)  # (D,), (D,)
    rows, dtype = _rows(x), sum_dtype(x)  # (B, N, C)
    a_layer = _through(weights, "theta", theta_weight, dtype)
    if _pools(spec, "embedding"):  # pooling acts on the channels of phi, so phi is needed
        stacked, a = _embeddings_and_shares(rows, _stacked(weights, "phi", "g"), a_layer)
        phi, g = _pooled_rows(spec, x, stacked).split((spec.inner_channels, spec.value_channels), 2)
        b = logit_share(phi, phi_weight).unsqueeze(2)
    else:
        b_layer, g_layer = _through(weights, "phi", phi_weight, dtype), _stacked(weights, "g")
        if spec.subsample is None:
            g, a, b = _embeddings_and_shares(rows, g_layer, a_layer, b_layer)
        else:
            key_rows = _rows(_pooled(spec, x, "input"))  # (B, M, C)
            g, b = _embeddings_and_shares(key_rows, g_layer, b_layer)
            with without_autocast(rows):
                (a,) = embedded(rows.to(dtype), a_layer)
    if "f.bias" in weights:
        a = a + weights["f.bias"].to(dtype)
    return a, b, g


def _through(weights: Weights, name: str, vector: Tensor, dtype: torch.dtype) -> Layer:
    """The layer x -> vector . (W x + b), computed as (W^T vector) . x + vector . b."""
    bias = weights.get(f"{name}.bias")
    with without_autocast(vector):
        row = vector.to(dtype).unsqueeze(0)  # (1, D)
        constant = None if bias is None else row @ bias.to(dtype)  # (1,)
        return row @ weights[f"{name}.weight"].to(dtype), constant  # (1, C)


def _embeddings_and_shares(rows: Tensor, layer: Layer, *shares: Layer) -> tuple[Tensor, ...]:
    """Embeddings of rows (B, P, C), and terms (B, P, 1) of the logits in the dtype of sums."""
    dtype = sum_dtype(rows)
    if rows.dtype == dtype and not autocasts(rows):
        return embedded(rows, layer, *shares)
    with without_autocast(rows):
        found = embedded(rows.to(dtype), *shares)
    return *embedded(rows, layer), *found


def _stacked(weights: Weights, *names: str) -> Layer:
    """Several embeddings as one layer: weight (E, C) and bias (E,)."""
    weight = _cat([weights[f"{name}.weight"] for name in names])
    if f"{names[0]}.bias" not in weights:
        return weight, None
    return weight, _cat([weights[f"{name}.bias"] for name in names])


def _cat(tensors: list[Tensor]) -> Tensor:
    """`torch.cat`, without a copy if there is only one tensor."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)


def _rows(x: Tensor) -> Tensor:
    """(B, C, *positions) -> (B, N, C)."""
    # Not x.flatten(2).mT, whose gradient has strides with which torch is slow for a batch of one.
    return x.movedim(1, -1).flatten(1, -2)


def _folded(
    spec: NonLocalSpec, x: Tensor, theta: Tensor, phi: Tensor, g: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """theta (B, N, D), phi (B, M, D) and g (B, M, V) after `fold`."""
    positions = x.shape[2:]
    pooled = tuple(n // w for n, w in zip(positions, spec.pool, strict=True))
    queries = fold(spec, theta, positions)
    keys = queries if phi is theta else fold(spec, phi, pooled)
    return queries, keys, fold(spec, g, pooled)


def _pools(spec: NonLocalSpec, at: str) -> bool:
    """Whether the spec subsamples at "embedding" or at "input"."""
    return spec.subsample is not None and spec.subsample_at == at


def _pooled(spec: NonLocalSpec, x: Tensor, at: str) -> Tensor:
    """x (B, C, *positions) -> (B, C, *pooled) if the spec subsamples at `at`, else x itself."""
    if not _pools(spec, at):
        return x
    # On a tie, torch's gradient goes to the first position in row-major order, as in NL-9.4.
    return (F.max_pool1d, F.max_pool2d, F.max_pool3d)[spec.ndim - 1](x, spec.pool)


def _pooled_input(spec: NonLocalSpec, rows: Tensor, pooled: Tensor) -> Tensor:
    """The Gaussian's phi (B, M, C), pooled x wherever the spec pools, and else the rows of x."""
    return rows if spec.subsample is None else _rows(_pooled(spec, pooled, "embedding"))


def _pooled_rows(spec: NonLocalSpec, x: Tensor, rows: Tensor) -> Tensor:
    """rows (B, N, E) at x's positions -> (B, M, E) if embeddings are subsampled, else rows."""
    return pooled_rows(rows, x.shape[2:], spec.pool) if _pools(spec, "embedding") else rows
