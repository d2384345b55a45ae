"""The block in plain NumPy, as a newcomer would write it, to be judged and to be broken."""

from __future__ import annotations

import numpy as np

from nlcore import NonLocalSpec
from nlcore.extent import fold, unfold
from nlcore.pooling import max_pool


@np.errstate(all="ignore")  # NaN and infinity are data
def block(spec: NonLocalSpec, weights: dict, x: np.ndarray, training: bool = False) -> np.ndarray:
    """z in x's dtype throughout, the N x M pairs laid out."""
    rows = np.moveaxis(x, 1, -1)  # (B, *positions, C)

    def linear(name: str, a: np.ndarray) -> np.ndarray:
        y = a @ weights[f"{name}.weight"].T
        return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y

    def pooled(a: np.ndarray, at: str) -> np.ndarray:
        return max_pool(a, spec.pool)[0] if spec.subsample and spec.subsample_at == at else a

    def flat(a: np.ndarray) -> np.ndarray:
        return a.reshape(len(a), -1, a.shape[-1])

    folded = fold(spec, rows)
    keys = pooled(folded, "input")
    theta = flat(linear("theta", folded) if spec.embedded else folded)  # (B', N, D)
    phi = flat(pooled(linear("phi", keys) if spec.embedded else keys, "embedding"))  # (B', M, D)
    g = flat(pooled(linear("g", keys), "embedding"))  # (B', M, D)
    if spec.pairwise == "concatenation":
        left, right = np.split(weights["f.weight"], 2)
        t = (theta @ left)[:, :, None] + (phi @ right)[:, None, :]  # (B', N, M)
        f = np.maximum(t + weights.get("f.bias", x.dtype.type(0)), 0)
    else:
        f = x.dtype.type(spec.scale) * (theta @ phi.swapaxes(1, 2))  # (B', N, M)
        if spec.pairwise != "dot_product":
            by_sum = spec.normalization == "sum"
            f = np.exp(f - f.max(-1, keepdims=True) if by_sum else f)
    if spec.normalization == "sum":
        c = f.sum(-1, keepdims=True)
        weight = np.where(c == 0, 0, f / np.where(c == 0, 1, c))
    else:
        weight = f / x.dtype.type(f.shape[-1])
    out = unfold(spec, linear("out", weight @ g), rows.shape)  # (B, *positions, C)
    if spec.batch_norm:
        mean, variance = weights["bn.running_mean"], weights["bn.running_var"]
        if training:
            axes = tuple(range(out.ndim - 1))
            mean = out.mean(axes)
            variance = ((out - mean) ** 2).mean(axes)
        scale = weights["bn.weight"] / np.sqrt(variance + x.dtype.type(spec.eps))
        out = (out - mean) * scale + weights["bn.bias"]
    return np.moveaxis(out + rows, -1, 1)


block.__name__ = "plain"
