"""Bounds of the forward direction: the block in numbers that carry their own error bound."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nlcore import NonLocalSpec
from nlcore.reference.extent import fold, unfold
from nlcore.reference.pooling import windows
from nlcore_conformance.bounds.arithmetic import Arithmetic, Bounded


@dataclass(frozen=True)
class Setting:
    """The block to bound, and the arithmetic that an implementation may use.

    Attributes
    ----------
    a : Arithmetic
    spec : NonLocalSpec
    w : dict of str to Bounded
        The weights.
    training : bool
        Whether batch normalization uses the batch's statistics.
    pairs : int or None
        Only some positions i are bounded where there are more pairs than this. None, which a
        gradient needs, bounds all.
    """

    a: Arithmetic
    spec: NonLocalSpec
    w: dict[str, Bounded]
    training: bool
    pairs: int | None

    @property
    def merges_w_z(self) -> bool:
        """Whether theta may be multiplied by phi^T g W_z^T, so that y and dy are not stored."""
        return self.spec.pairwise == "dot_product" and self.spec.normalization == "count"

    @property
    def moves_g_bias(self) -> bool:
        """Whether b_g may be added after the mean, since the weights' sum is 1."""
        gaussian = "gaussian" in self.spec.pairwise
        return gaussian and self.spec.normalization == "sum" and bool(self.spec.bias)


@dataclass
class Pairs:
    """The operation, step by step; (B', N, M) but for c and y."""

    t: Bounded
    f: Bounded
    weight: Bounded  # f / C
    c: Bounded  # C: (B', N, 1), or the number M
    y: Bounded  # (B', N, V)


@dataclass
class Stages:
    """The result of each stage of the block."""

    folded: Bounded  # (B', *positions, C)
    keys: Bounded  # (B', *positions or pooled, C)
    theta: Bounded  # (B', N, D)
    phi: Bounded  # (B', M, D)
    g: Bounded  # (B', M, V)
    before_pool: dict[str, Bounded]  # the arrays that were pooled: (B', *positions, D)
    y: Bounded  # (B', N, V)
    pairs: Pairs | None  # None where there is no gradient
    z: Bounded  # (B, *positions, C)
    xhat: Bounded | None = None  # (B, *positions, C)
    slope: Bounded | None = None  # (C,), BN's weight / sqrt(var + eps)


def forward(s: Setting, x: Bounded) -> Stages:
    """The stages of x (B, *positions, C)."""
    a, spec, w = s.a, s.spec, s.w
    before: dict[str, Bounded] = {}

    def pooled(name: str, array: Bounded, at: str) -> Bounded:
        if spec.subsample is None or spec.subsample_at != at:
            return array
        before[name] = array
        return _max_pool(array, spec.subsample)

    folded = x.apply(lambda v: fold(spec, v))
    keys = pooled("keys", folded, "input")
    theta = _linear(a, w, "theta", folded) if spec.embedded else folded
    phi = pooled("phi", _linear(a, w, "phi", keys) if spec.embedded else keys, "embedding")
    g = pooled("g", _linear(a, w, "g", keys), "embedding")
    theta, phi, g = (flat(b) for b in (theta, phi, g))
    g = g.settled()
    pairs = operation(s, theta, phi, g) if s.pairs is None else None
    y = _with_late_bias(s, pairs.y if pairs else _some_rows(s, theta, phi, g), g)
    if pairs:
        pairs.y = y
    out = _linear(a, w, "out", y)
    if s.moves_g_bias:  # W_z b_g is added to b_z if there is one, and the product starts from it
        size = np.abs(w["out.weight"].value) @ np.abs(w["g.bias"].value)  # (C,)
        extra = 2 * a.gamma(y.value.shape[-1]) * size
        out = Bounded(out.value, out.error + extra, out.magnitude)
    if s.merges_w_z:
        wide = a.wide  # NL-4.5: all numbers between theta, phi and y have the dtype of sums
        kept = wide.matmul(phi.settled().T, g)  # (B', D, V)
        kept = wide.scale(kept, spec.scale / g.value.shape[1])
        kept = wide.matmul(kept, w["out.weight"].T)  # (B', D, C)
        out = associated(a, out, wide.matmul(theta.settled(), kept))
    out = out.settled()  # (B', N, C)
    out = out.apply(lambda v: unfold(spec, v, x.value.shape))
    stages = Stages(folded, keys, theta, phi, g, before, y, pairs, a.add(out, x))
    if spec.batch_norm:
        stages.xhat, rstd = _normalized(s, out)
        stages.slope = a.wide.multiply(rstd, w["bn.weight"])
        scaled = a.wide.multiply(stages.xhat, w["bn.weight"])
        # An implementation may compute out * slope + (bias - mean * slope). Its terms are as large
        # as the magnitude.
        error = scaled.error + a.unit * (3 * scaled.magnitude + w["bn.bias"].magnitude)
        stages.z = a.total(Bounded(scaled.value, error, scaled.magnitude), w["bn.bias"], x)
    return stages


def _with_late_bias(s: Setting, y: Bounded, g: Bounded) -> Bounded:
    """y, where g and y may be stored and summed without b_g, by which they may be larger."""
    if not s.moves_g_bias:
        return y
    roundings = 2 * s.a.unit + s.a.gamma(g.value.shape[1])
    error = y.error + roundings * np.abs(s.w["g.bias"].value)
    return Bounded(y.value, error, y.magnitude)


def _normalized(s: Setting, out: Bounded) -> tuple[Bounded, Bounded]:
    """(out - mean) / sqrt(var + eps) and 1 / sqrt(var + eps) (C,)."""
    a = s.a.wide  # squares and their sum are in the range of the dtype of sums
    mean, variance = (s.w[n] for n in ("bn.running_mean", "bn.running_var"))
    if s.training:
        axes = tuple(range(out.value.ndim - 1))
        count = out.value.size // out.value.shape[-1]
        mean = a.scale(a.sum(out, axes), 1 / count).settled()  # (1, ..., C)
        centred = a.subtract(out, mean).settled()
        variance = a.scale(a.sum(a.multiply(centred, centred), axes), 1 / count)
    # a mean of squares is not negative, whatever its error
    floor = s.spec.eps * (1 - 4 * a.unit) if s.training else 0.0
    rstd = a.rsqrt(a.add(variance, Bounded.exact(np.float64(s.spec.eps))), floor)
    xhat = a.multiply(a.subtract(out, mean), rstd)  # its magnitude keeps |out| + |mean|
    return xhat, rstd


def _some_rows(s: Setting, theta: Bounded, phi: Bounded, g: Bounded) -> Bounded:
    """y (B', N, V), at evenly spaced positions where there are more pairs than the setting's."""
    assert s.pairs is not None
    batch, n, _ = theta.value.shape
    kept = _kept(batch, n, phi.value.shape[1], s.pairs)
    if len(kept) == n:
        return operation(s, theta, phi, g).y
    y = operation(s, theta.apply(lambda v: v[:, kept]), phi, g).y
    whole = Bounded.exact(np.zeros((batch, n, y.value.shape[-1])))
    whole.error[...] = np.inf
    for some, all_ in zip(parts(y), parts(whole), strict=True):
        all_[:, kept] = some
    return whole


def _kept(batch: int, n: int, m: int, pairs: int) -> np.ndarray:
    """The positions i of N that are bounded, evenly spaced if not all."""
    rows = max(pairs // (batch * m), 1)
    return np.unique(np.linspace(0, n - 1, rows).astype(int)) if n > rows else np.arange(n)


def bounded_positions(spec: NonLocalSpec, x: np.ndarray, pairs: int) -> np.ndarray:
    """Whether z is bounded at each position of x (B, *positions, C) -> (B, *positions, 1)."""
    folded = fold(spec, x[..., :1])  # (B', *positions, 1)
    windowed = zip(folded.shape[1:-1], spec.pool, strict=True)
    n, m = math.prod(folded.shape[1:-1]), math.prod(size // w for size, w in windowed)
    marked = np.zeros((len(folded), n, 1), bool)
    marked[:, _kept(len(folded), n, m, pairs)] = True
    return unfold(spec, marked, (*x.shape[:-1], 1))


def operation(s: Setting, theta: Bounded, phi: Bounded, g: Bounded) -> Pairs:
    """y and the steps to it, from theta (B', N, D), phi (B', M, D) and g (B', M, V)."""
    a, spec = s.a.wide, s.spec  # an f beyond the dtype's range must not spoil a y within it
    t, f = _pairwise(s, theta, phi)
    m = g.value.shape[1]
    if spec.normalization == "count":
        c = Bounded.exact(np.full((1, 1, 1), float(m)))
        weight = a.divide(f, c)
        return Pairs(t, f, weight, c, s.a.matmul(weight, g))
    c = a.sum(f, -1)  # (B', N, 1)
    weight = a.divide(f, c)
    linear = spec.pairwise == "dot_product"
    return Pairs(t, f, weight, c, _weighted_mean(s.a, f, c, weight, g, linear))


def _pairwise(s: Setting, theta: Bounded, phi: Bounded) -> tuple[Bounded, Bounded]:
    """t and f, (B', N, M) each."""
    a, spec, w = s.a.wide, s.spec, s.w
    if spec.pairwise == "concatenation":
        half = spec.inner_channels
        weight = w["f.weight"].reshape(-1, 1)  # (2D, 1)
        left = a.matmul(theta, weight.apply(lambda v: v[:half])).settled()  # (B', N, 1)
        right = a.matmul(phi, weight.apply(lambda v: v[half:])).settled()  # (B', M, 1)
        bias = [w["f.bias"]] if spec.pair_bias else []
        t = a.total(left, right.T, *bias)  # (B', N, M)
        return t, a.relu(t)
    theta, phi = theta.settled(), phi.settled()
    t = a.matmul(theta, phi.T)  # (B', N, M)
    if spec.scale != 1:  # theta and phi may each be scaled, and stored, before the product
        scaled = 2 * a.unit * (theta.magnitude @ phi.T.magnitude)
        t = Bounded(t.value, t.error + scaled, t.magnitude)
    if spec.pairwise == "dot_product":  # theta (phi^T g): phi^T g may be stored
        t = Bounded(t.value, t.error + a.unit * t.magnitude, t.magnitude)
    f = a.scale(t, spec.scale)
    if spec.pairwise != "dot_product":
        shift = f.value.max(-1, keepdims=True) if spec.normalization == "sum" else 0.0
        f = a.exp(f, shift)
    return t, f


def _weighted_mean(
    a: Arithmetic, f: Bounded, c: Bounded, weight: Bounded, g: Bounded, linear: bool
) -> Bounded:
    """y = sum_j f_j g_j / sum_j f_j: an error e_j in f_j moves y by e_j (g_j - y) / C.

    So a factor that all f_j have in common cancels, and a constant g comes back exactly but for the
    rounding of the two sums and of the division. Where f is `linear` in phi it may not cancel:
    theta (phi^T g) over theta (phi^T 1) forms no f, and the errors of the two are unrelated.
    """
    least = np.abs(c.value) - c.error  # (B', N, 1)
    certain = (c.value == 0) & (c.error == 0)
    least = np.where(least > 0, least, np.nan)
    y = weight.value @ g.value  # (B', N, V)
    moved = np.stack(
        [
            (f.error * np.abs(g.value[:, None, :, v] - y[:, :, None, v])).sum(-1)
            for v in range(y.shape[-1])  # one at a time: (B', N, M)
        ],
        axis=-1,
    )  # (B', N, V)
    if linear:
        moved = f.error @ np.abs(g.value) + np.abs(y) * f.error.sum(-1, keepdims=True)
    terms = f.value.shape[-1]
    sums = f.magnitude @ g.magnitude + np.abs(y) * f.magnitude.sum(-1, keepdims=True)
    # for the product with g alone each f_j and f_j / C may be stored, and underflow
    size = np.abs(f.value)
    small = np.where(size > 0, a.tiny * (1 + least), 0.0)
    rounded = (2 * a.unit * size + small) @ np.abs(g.value)
    spread = (np.abs(f.value) + f.error) @ g.error
    error = (moved + spread + a.gamma(terms) * sums + rounded) / least
    error = np.where(certain, 0.0, np.where(np.isnan(error), np.inf, error))
    return a.stored(Bounded(y, error, np.abs(y)), 2).settled()


def _linear(a: Arithmetic, w: dict[str, Bounded], name: str, x: Bounded) -> Bounded:
    """W x + b at every position, (..., C) -> (..., D)."""
    y = a.matmul(x, w[f"{name}.weight"].T)
    if f"{name}.bias" not in w:
        return y
    bias = w[f"{name}.bias"]  # a product may start from it
    extra = a.gamma(x.value.shape[-1]) * bias.magnitude
    return a.add(y, Bounded(bias.value, bias.error + extra, bias.magnitude))


def _max_pool(x: Bounded, window: tuple[int, ...]) -> Bounded:
    """The maximum; its error is at most the largest of the values that may be the maximum."""
    split = x.apply(lambda v: windows(v, window))  # (B', *pooled, W, D)
    candidates = may_be_maximum(split)
    error = np.where(candidates, split.error, 0.0).max(-2)
    magnitude = np.where(candidates, split.magnitude, 0.0).max(-2)
    return Bounded(split.value.max(-2), error, magnitude)


def may_be_maximum(split: Bounded) -> np.ndarray:
    """Which of a window's values (..., W, D) may be its maximum."""
    least = (split.value - split.error).max(-2, keepdims=True)
    return split.value + split.error >= least


def associated(a: Arithmetic, d: Bounded, product: Bounded) -> Bounded:
    """d, a product of several matrices, where products of some of them may be stored.

    `product` is d computed from those stored products. Where it may not be finite, the error is
    unbounded.
    """
    finite = np.isfinite(product.error)
    error = np.where(finite, d.error + a.unit * d.magnitude, np.inf)
    return Bounded(d.value, error, d.magnitude)


def flat(b: Bounded) -> Bounded:
    """(B', *positions, D) -> (B', N, D)."""
    return b.apply(lambda v: v.reshape(len(v), -1, v.shape[-1]))


def parts(b: Bounded) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three arrays of a bounded number."""
    return b.value, b.error, b.magnitude
