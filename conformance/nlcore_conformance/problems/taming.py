"""Weights and x scaled so that the logits have a size at which bounds are finite.

A logit is s theta_i . phi_j, or the concatenation's w_f . [theta_i, phi_j] + b_f. With logits
beyond the range of exp, or a normalizer near zero, no bound would be finite.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from nlcore import NonLocalSpec

Weights = dict[str, np.ndarray]


class _Limits(NamedTuple):
    """Limits of the logits in one dtype."""

    plain: float  # largest logit
    large: float  # largest logit of "large" data; its exp overflows in all dtypes but bfloat16
    terms: float  # largest sum of a logit's absolute terms


#: They are lower in half precision, where a logit's own rounding would be as large as the logit.
_LIMITS = {
    "bfloat16": _Limits(4.0, 16.0, 16.0),
    "float16": _Limits(6.0, 60.0, 64.0),
    "float32": _Limits(6.0, 120.0, np.inf),
    "float64": _Limits(6.0, 800.0, np.inf),
}
#: Pairs of positions in an array.
_PAIRS = 2**22
#: Largest f of "overflow" data: beyond float16, but not once it is divided by 8 or more.
_BEYOND_FLOAT16 = 2.5e5
#: Kinds of data whose point is ties or cancellation.
_AS_IT_IS = ("integers", "constant", "equal", "cancelling", "opposite", "zero f", "aligned")


def keep_from_zero(
    spec: NonLocalSpec, data: str, weights: Weights, x: np.ndarray, rng: np.random.Generator
) -> tuple[Weights, np.ndarray]:
    """Keep a dot product's C(x), the sum of f, away from 0: theta like phi, and x about a mean.

    Other rules, and data whose point is ties or cancellation, do not change.
    """
    by_sum = spec.pairwise == "dot_product" and spec.normalization == "sum"
    if not by_sum or data in _AS_IT_IS:
        return weights, x
    alike = {
        f"theta.{part}": weights[f"phi.{part}"] + 0.25 * weights[f"theta.{part}"]
        for part in ("weight", "bias")
        if f"theta.{part}" in weights
    }
    sign = rng.choice([-1.0, 1.0], (1, x.shape[1], *[1] * spec.ndim))
    return weights | alike, x + 1.5 * np.abs(x).mean() * sign


def tame(
    spec: NonLocalSpec, data: str, dtype: str, training: bool, weights: Weights, x: np.ndarray
) -> tuple[Weights, np.ndarray]:
    """Scale theta and phi, or the Gaussian's x, so that no logit is above its limit.

    "large" and "overflow" data are also scaled up to their limit.
    """
    overflow = data == "overflow" and dtype == "float16"
    if spec.pairwise == "concatenation":
        return (_overflowing_relu(spec, weights, x), x) if overflow else (weights, x)
    theta, phi = _embeddings(spec, weights, x)
    theta = abs(spec.scale) * theta.swapaxes(1, 2)  # (B, N, D)
    largest, terms = 0.0, 0.0
    rows = max(_PAIRS // (len(x) * phi.shape[2]), 1)
    for start in range(0, theta.shape[1], rows):
        some = theta[:, start : start + rows]
        logits = some @ phi  # (B, R, N)
        largest = max(largest, float(logits.max() if overflow else np.abs(logits).max()))
        terms = max(terms, float((np.abs(some) @ np.abs(phi)).max()))
    fixed = overflow or data in ("large", "overflow")
    limit, most = _limits(spec, dtype, training, fixed, overflow)
    factor = min(limit / max(largest, 1e-6), most / max(terms, 1e-6))
    if largest < 1e-2 or (factor >= 1 and not fixed):
        return weights, x
    return _scaled(spec, weights, x, math.sqrt(factor))


def _limits(
    spec: NonLocalSpec, dtype: str, training: bool, fixed: bool, overflow: bool
) -> tuple[float, float]:
    """The largest logit, and the largest sum of its absolute terms.

    Under "count" nothing divides by the sum of the f, so that the sum itself must stay in the range
    of the dtype of sums. With batch statistics the third power of the deviation, which appears in
    their gradient, must stay there too.
    """
    plain, large, terms = _LIMITS[dtype]
    if spec.normalization != "count":
        return large if fixed else plain, terms
    if overflow:
        limit = math.log(_BEYOND_FLOAT16) if "gaussian" in spec.pairwise else _BEYOND_FLOAT16
        return limit, np.inf
    if dtype == "float16":
        return plain, terms  # exp(11) overflows float16
    return min(large if fixed else plain, 20.0 if training else 60.0), terms


def _embeddings(
    spec: NonLocalSpec, weights: Weights, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """theta and phi of every position, (B, D, N); for the Gaussian both are x, (B, C, N)."""
    rows = x.reshape(*x.shape[:2], -1)  # (B, C, N)
    if not spec.embedded:
        return rows, rows
    theta, phi = (
        weights[f"{name}.weight"] @ rows + weights.get(f"{name}.bias", np.zeros(1))[:, None]
        for name in ("theta", "phi")
    )
    return theta, phi


def _scaled(
    spec: NonLocalSpec, weights: Weights, x: np.ndarray, root: float
) -> tuple[Weights, np.ndarray]:
    """theta and phi times `root` each, since all of the factor on theta might leave the range."""
    if not spec.embedded:
        return weights, x * root
    scaled = {n: v * root for n, v in weights.items() if n.startswith(("theta.", "phi."))}
    return weights | scaled, x


def _overflowing_relu(spec: NonLocalSpec, weights: Weights, x: np.ndarray) -> Weights:
    """Weights of a concatenation whose largest f is at its limit for "overflow" data."""
    theta, phi = _embeddings(spec, weights, x)
    left, right = np.split(weights["f.weight"], 2)
    a = (left @ theta)[:, :, None] + weights.get("f.bias", 0.0)  # (B, N, 1)
    b = (right @ phi)[:, None]  # (B, 1, N)
    largest = float((a + b).max())
    if largest < 1e-2:
        return weights
    limit = _BEYOND_FLOAT16 if spec.normalization == "count" else _LIMITS["float16"].large
    factor = limit / largest
    grown = {n: v * math.sqrt(factor) for n, v in weights.items() if n[:3] in ("the", "phi")}
    grown["f.weight"] = weights["f.weight"] * math.sqrt(factor)
    if spec.pair_bias:
        grown["f.bias"] = weights["f.bias"] * min(factor, 6e4)
    return weights | grown
