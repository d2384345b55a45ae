"""W_z y + b, what the block normalizes and adds to x: embeddings, subsampling, extent, W_z."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nlcore import NonLocalSpec
from nlcore.association import dot_product_order
from nlcore_torch.arithmetic import autocasts, scaled_product, sum_dtype, without_autocast
from nlcore_torch.concatenation import concatenation
from nlcore_torch.embedding import Layer, embedded, mapped
from nlcore_torch.operation import chooses_order, operation, project
from nlcore_torch.pooling import pooled_rows

Weights = Mapping[str, Tensor]


def response(spec: NonLocalSpec, weights: Weights, x: Tensor) -> Tensor:
    """W_z y + b for checked arguments: x (B, C, *positions) -> (B, C, *positions)."""
    theta, phi, g = embeddings(spec, weights, x)
    if _folds(spec, x, phi):
        kept = scaled_product(g.mT, phi, spec.scale / phi.shape[1])  # (B, D, D)
        return _to_positions(weights, weights["out.weight"] @ kept, x, theta)
    return projected(spec, weights, x, attended(spec, theta, phi, g))


def _folds(spec: NonLocalSpec, x: Tensor, phi: Tensor) -> bool:
    """Whether W_z y_i is cheapest as (W_z g^T phi s / M) theta_i, with no y."""
    if spec.pairwise != "dot_product" or spec.normalization != "count" or not chooses_order(x):
        return False
    if spec.extent != "all" or spec.window is not None:  # a matrix for each part of an item
        return False
    sizes = (x[0, 0].numel(), phi.shape[1], phi.shape[2], phi.shape[2], x.shape[1])
    return dot_product_order(*sizes) == "folded"


def attended(spec: NonLocalSpec, theta: Tensor, phi: Tensor, g: Tensor) -> Tensor:
    """y (B', N', D) from `embeddings`."""
    if spec.pairwise == "concatenation":
        return concatenation(theta.squeeze(2), phi.squeeze(2), g, spec.normalization == "sum")
    return operation(spec, theta, phi, g)


def embeddings(spec: NonLocalSpec, weights: Weights, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """theta (B', N', D), phi (B', M', D) and g (B', M', D), items of B' not seeing each other.

    The Gaussian's theta and phi are x's rows; of concatenation's they are the shares a (B', N', 1)
    and b (B', M', 1) of its logits, w_f . [theta_i, phi_j] + b_f = a_i + b_j.
    """
    made = _logit_shares if spec.pairwise == "concatenation" else _embeddings
    return _fold_all(spec, x, *made(spec, weights, x))


def projected(spec: NonLocalSpec, weights: Weights, x: Tensor, y: Tensor) -> Tensor:
    """W_z y + b at the positions of x (B, C, *positions), from y (B', N', D)."""
    y = unfolded(spec, x, y)  # (B, N, D)
    return _to_positions(weights, weights["out.weight"].expand(x.shape[0], -1, -1), x, y)


def _to_positions(weights: Weights, maps: Tensor, x: Tensor, rows: Tensor) -> Tensor:
    """maps (B, C, D) times rows (B, N, D), plus b -> (B, C, *positions)."""
    return mapped(maps, rows, weights.get("out.bias")).unflatten(2, x.shape[2:])


def _embeddings(spec: NonLocalSpec, weights: Weights, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """theta (B, N, D), phi (B, M, D) and g (B, M, D); the Gaussian's theta and phi are x's rows."""
    rows, pooled = _rows(x), _pooled(spec, x, "input")
    if not spec.embedded:
        phi = _rows(_pooled(spec, pooled, "embedding"))  # (B, M, C), the same wherever it is pooled
        (g,) = embedded(_rows(pooled), _stacked(weights, "g"))
        return rows, phi, _pooled_rows(spec, x, g)
    if spec.subsample is None:
        (stacked,) = embedded(rows, _stacked(weights, "theta", "phi", "g"))  # (B, N, 3 D)
        theta, phi, g = stacked.chunk(3, 2)
        return theta, phi, g
    # theta alone, so that pooling needs no copy of the rest
    if pooled is x:  # (B, N, D), (B, N, 2 D)
        theta, stacked = embedded(rows, _stacked(weights, "theta"), _stacked(weights, "phi", "g"))
    else:  # (B, N, D), (B, M, 2 D)
        (theta,) = embedded(rows, _stacked(weights, "theta"))
        (stacked,) = embedded(_rows(pooled), _stacked(weights, "phi", "g"))
    phi, g = _pooled_rows(spec, x, stacked).chunk(2, 2)
    return theta, phi, g


def _logit_shares(spec: NonLocalSpec, weights: Weights, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """a (B, N, 1), b (B, M, 1), g (B, M, D): w_f . [theta_i, phi_j] + b_f = a_i + b_j."""
    theta_weight, phi_weight = weights["f.weight"].chunk(2)  # (D,), (D,)
    rows, dtype = _rows(x), sum_dtype(x)  # (B, N, C)
    a_layer = _through(weights, "theta", theta_weight, dtype)
    if _pools(spec, "embedding"):  # the maximum is of phi's channels, so phi is needed
        stacked, a = _embeddings_and_shares(rows, _stacked(weights, "phi", "g"), a_layer)
        phi, g = _pooled_rows(spec, x, stacked).chunk(2, 2)
        b = project(phi, phi_weight).unsqueeze(2)
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
    """vector . (W x + b) as (W^T vector) . x + vector . b."""
    bias = weights.get(f"{name}.bias")
    with without_autocast(vector):
        row = vector.to(dtype).unsqueeze(0)  # (1, D)
        constant = None if bias is None else row @ bias.to(dtype)  # (1,)
        return row @ weights[f"{name}.weight"].to(dtype), constant  # (1, C)


def _embeddings_and_shares(rows: Tensor, layer: Layer, *shares: Layer) -> tuple[Tensor, ...]:
    """Embeddings of rows (B, P, C), and shares (B, P, 1) of the logits in the dtype of sums."""
    dtype = sum_dtype(rows)
    if rows.dtype == dtype and not autocasts(rows):
        return embedded(rows, layer, *shares)
    with without_autocast(rows):
        found = embedded(rows.to(dtype), *shares)
    return *embedded(rows, layer), *found


def _stacked(weights: Weights, *names: str) -> Layer:
    """Several embeddings as one product: (len(names) D, C) and (len(names) D,)."""
    weight = _cat([weights[f"{name}.weight"] for name in names])
    if f"{names[0]}.bias" not in weights:
        return weight, None
    return weight, _cat([weights[f"{name}.bias"] for name in names])


def _cat(tensors: list[Tensor]) -> Tensor:
    """Of one tensor, that tensor and no copy."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)


def _rows(x: Tensor) -> Tensor:
    """(B, C, *positions) -> (B, N, C)."""
    return x.flatten(2).mT


def _pools(spec: NonLocalSpec, at: str) -> bool:
    return spec.subsample is not None and spec.subsample_at == at


def _pooled(spec: NonLocalSpec, x: Tensor, at: str) -> Tensor:
    """x (B, C, *positions) -> (B, C, *pooled) where the spec subsamples there, else x itself."""
    if not _pools(spec, at):
        return x
    # on a tie torch's gradient goes to the first position in row-major order, as the spec says
    return (F.max_pool1d, F.max_pool2d, F.max_pool3d)[spec.ndim - 1](x, spec.pool)


def _pooled_rows(spec: NonLocalSpec, x: Tensor, rows: Tensor) -> Tensor:
    """rows (B, N, E) at x's positions -> (B, M, E) where embeddings are subsampled, else as is."""
    return pooled_rows(rows, x.shape[2:], spec.pool) if _pools(spec, "embedding") else rows


def _fold_all(
    spec: NonLocalSpec, x: Tensor, theta: Tensor, phi: Tensor, g: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Fold what stands at x's positions and what stands at the pooled ones."""
    positions = x.shape[2:]
    pooled = tuple(n // w for n, w in zip(positions, spec.pool, strict=True))
    return _fold(spec, theta, positions), _fold(spec, phi, pooled), _fold(spec, g, pooled)


def _fold(spec: NonLocalSpec, rows: Tensor, positions: Sequence[int]) -> Tensor:
    """rows (B, N, E) -> (B', N', E), each item of B' one set of positions, as nlcore.extent."""
    if spec.extent == "all" and spec.window is None:
        return rows
    frames, pixels = positions[0], positions[1] * positions[2]
    if spec.extent == "time":
        rows = rows.unflatten(1, (frames, pixels)).transpose(1, 2)  # (B, H W, T, E)
        return rows.flatten(0, 1)
    return rows.unflatten(1, (-1, (spec.window or 1) * pixels)).flatten(0, 1)


def unfolded(spec: NonLocalSpec, x: Tensor, rows: Tensor) -> Tensor:
    """The inverse of `_fold`, at x's positions or the pooled ones: (B', N', E) -> (B, N, E)."""
    if spec.extent == "time":
        rows = rows.unflatten(0, (x.shape[0], -1)).transpose(1, 2)  # (B, T, H W, E)
        return rows.flatten(1, 2)
    return rows.reshape(x.shape[0], -1, rows.shape[-1])
