"""How far an honest implementation may be from the reference, per output element.

The block and its vector-Jacobian product once more, written in numbers that carry their own
error bound (`nlcore_conformance.bounds.arithmetic`), with the N x M pairs laid out: problems here are
small. No bound depends on the result that is judged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nlcore import NonLocalSpec
from nlcore.reference.extent import fold, unfold
from nlcore.reference.pooling import from_windows, windows
from nlcore_conformance.bounds.arithmetic import Arithmetic, Bounded, arithmetic

Weights = dict[str, np.ndarray]

#: Where there are more pairs than these, and no gradient, only some positions i are bounded, unless
#: more are asked for.
PAIRS = 2**20


def block_bounds(
    spec: NonLocalSpec,
    weights: Weights,
    x: np.ndarray,
    dz: np.ndarray | None = None,
    training: bool = False,
    dtype: str = "float32",
    independent: bool = True,
    sums: str | None = None,
    pairs: int = PAIRS,
) -> dict[str, np.ndarray]:
    """Bounds on the absolute error of "z", and with dz of "dx" and each weight's gradient.

    Parameters
    ----------
    weights, x, dz
        As for `nlcore.block_vjp`; x is (B, C, *positions). Without dz there is no gradient.
    dtype : str
        The dtype that the implementation computes in.
    sums : str, optional
        The dtype that its sums are kept in: float32 for half precisions, else dtype itself.
    independent : bool
        Whether roundings may be taken for independent: not where many terms are equal.
    pairs : int
        So many pairs are laid out at most, where there is no gradient.

    Returns
    -------
    dict of str to array
        Bounds shaped like what they bound, inf where nothing can be said: an overflow of the
        dtype, or a normalizer that may be zero. Without dz, and with more than `pairs` pairs, z is
        bounded at evenly spaced positions only.
    """
    weights = {name: np.asarray(v).astype(np.float64) for name, v in weights.items()}
    x = np.asarray(x).astype(np.float64)
    dz = None if dz is None else np.asarray(dz).astype(np.float64)
    granted = arithmetic(dtype, sums, independent=independent)
    bounds = {n: b.error for n, b in _block(granted, spec, weights, x, dz, training, pairs)}
    if dtype == "float64":  # the reference's own rounding counts beside float64's, and only there
        exact = arithmetic(dtype, compensated=True)
        own = _block(exact, spec, weights, x, dz, training, pairs)
        bounds = {name: bounds[name] + b.error for name, b in own}
    return {name: np.where(np.isnan(b), np.inf, b) for name, b in bounds.items()}


def _block(
    a: Arithmetic,
    spec: NonLocalSpec,
    weights: Weights,
    x: np.ndarray,
    dz: np.ndarray | None,
    training: bool,
    most: int = PAIRS,
) -> list[tuple[str, Bounded]]:
    w = {name: a.given(v) for name, v in weights.items()}
    rows = a.given(np.moveaxis(x, 1, -1))  # (B, *positions, C)

    def first(b: Bounded) -> Bounded:
        return b.apply(lambda array: np.moveaxis(array, -1, 1))

    with np.errstate(all="ignore"):
        s = _forward(a, spec, w, rows, training, dz is not None, most)
        results = [("z", first(s.z))]
        if dz is not None:
            dx, grads = _vjp(a, spec, w, rows, s, a.given(np.moveaxis(dz, 1, -1)), training)
            results += [("dx", first(dx)), *grads.items()]
    return results


@dataclass
class _Pairs:
    """The operation's forward direction; (B', N, M) unless said."""

    t: Bounded
    f: Bounded
    weight: Bounded  # f / C
    c: Bounded  # C: (B', N, 1), or the number M
    y: Bounded  # (B', N, D)


@dataclass
class _Stages:
    folded: Bounded  # (B', *positions, C)
    keys: Bounded  # (B', *positions or pooled, C)
    theta: Bounded  # (B', N, D)
    phi: Bounded  # (B', M, D)
    g: Bounded  # (B', M, D)
    before_pool: dict[str, Bounded]  # what was pooled: (B', *positions, D)
    y: Bounded  # (B', N, D)
    pairs: _Pairs | None  # where there is a gradient
    z: Bounded  # (B, *positions, C)
    xhat: Bounded | None = None  # (B, *positions, C)
    slope: Bounded | None = None  # (C,), BN's weight / sqrt(var + eps)


def _forward(
    a: Arithmetic,
    spec: NonLocalSpec,
    w: dict[str, Bounded],
    x: Bounded,
    training: bool,
    gradient: bool,
    most: int,
) -> _Stages:
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
    theta, phi, g = (_flat(b) for b in (theta, phi, g))
    g = g.settled()
    pairs = _operation(a, spec, w, theta, phi, g) if gradient else None
    y = pairs.y if pairs else _response(a, spec, w, theta, phi, g, most)
    out = _linear(a, w, "out", y)
    if _folds(spec):
        wide = a.wide  # as all that is between theta, phi and y, by NL-4.5
        kept = wide.matmul(phi.settled().T, g)  # (B', D, V)
        kept = wide.scale(kept, spec.scale / g.value.shape[1])
        kept = wide.matmul(kept, w["out.weight"].T)  # (B', D, C)
        out = _associated(a, out, wide.matmul(theta.settled(), kept))
    out = out.settled()  # (B', N, C)
    out = out.apply(lambda v: unfold(spec, v, x.value.shape))
    stages = _Stages(folded, keys, theta, phi, g, before, y, pairs, a.add(out, x))
    if spec.batch_norm:
        stages.xhat, rstd = _normalized(a, spec, w, out, training)
        stages.slope = a.wide.multiply(rstd, w["bn.weight"])
        scaled = a.wide.multiply(stages.xhat, w["bn.weight"])
        # folded into out * slope + (bias - mean * slope), the terms are those of the magnitude
        error = scaled.error + a.unit * (3 * scaled.magnitude + w["bn.bias"].magnitude)
        stages.z = a.total(Bounded(scaled.value, error, scaled.magnitude), w["bn.bias"], x)
    return stages


def _normalized(
    a: Arithmetic, spec: NonLocalSpec, w: dict[str, Bounded], out: Bounded, training: bool
) -> tuple[Bounded, Bounded]:
    """(out - mean) / sqrt(var + eps) and 1 / sqrt(var + eps) (C,)."""
    a = a.wide  # squares and their sum are in the range of the dtype of sums
    mean, variance = (w[n] for n in ("bn.running_mean", "bn.running_var"))
    if training:
        axes = tuple(range(out.value.ndim - 1))
        count = out.value.size // out.value.shape[-1]
        mean = a.scale(a.sum(out, axes), 1 / count).settled()  # (1, ..., C)
        centred = a.subtract(out, mean).settled()
        variance = a.scale(a.sum(a.multiply(centred, centred), axes), 1 / count)
    # a mean of squares is not negative, whatever its error
    floor = spec.eps * (1 - 4 * a.unit) if training else 0.0
    rstd = a.rsqrt(a.add(variance, Bounded.exact(np.float64(spec.eps))), floor)
    xhat = a.multiply(a.subtract(out, mean), rstd)  # its magnitude keeps |out| + |mean|
    return xhat, rstd


def _response(
    a: Arithmetic,
    spec: NonLocalSpec,
    w: dict[str, Bounded],
    theta: Bounded,
    phi: Bounded,
    g: Bounded,
    most: int,
) -> Bounded:
    """y (B', N, D), at evenly spaced positions where there are more pairs than `most`."""
    batch, n, _ = theta.value.shape
    rows = max(most // (batch * phi.value.shape[1]), 1)
    if n <= rows:
        return _operation(a, spec, w, theta, phi, g).y
    kept = np.unique(np.linspace(0, n - 1, rows).astype(int))
    y = _operation(a, spec, w, theta.apply(lambda v: v[:, kept]), phi, g).y
    whole = Bounded.exact(np.zeros((batch, n, y.value.shape[-1])))
    whole.error[...] = np.inf
    for part, all_ in zip(_parts(y), _parts(whole), strict=True):
        all_[:, kept] = part
    return whole


def _operation(
    a: Arithmetic,
    spec: NonLocalSpec,
    w: dict[str, Bounded],
    theta: Bounded,
    phi: Bounded,
    g: Bounded,
) -> _Pairs:
    stored, a = a, a.wide  # an f beyond the dtype's range must not spoil a y within it
    if spec.pairwise == "concatenation":
        half = spec.inner_channels
        weight = w["f.weight"].reshape(-1, 1)  # (2D, 1)
        left = a.matmul(theta, weight.apply(lambda v: v[:half])).settled()  # (B', N, 1)
        right = a.matmul(phi, weight.apply(lambda v: v[half:])).settled()  # (B', M, 1)
        bias = [w["f.bias"]] if spec.pair_bias else []
        t = a.total(left, right.T, *bias)  # (B', N, M)
        f = a.relu(t)
    else:
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
    m = g.value.shape[1]
    if spec.normalization == "count":
        c = Bounded.exact(np.full((1, 1, 1), float(m)))
        weight = a.divide(f, c)
        return _Pairs(t, f, weight, c, stored.matmul(weight, g))
    c = a.sum(f, -1)  # (B', N, 1)
    weight = a.divide(f, c)
    linear = spec.pairwise == "dot_product"
    return _Pairs(t, f, weight, c, _weighted_mean(stored, f, c, weight, g, linear))


def _weighted_mean(
    a: Arithmetic, f: Bounded, c: Bounded, weight: Bounded, g: Bounded, linear: bool
) -> Bounded:
    """y = sum_j f_j g_j / sum_j f_j: an error e_j in f_j moves y by e_j (g_j - y) / C.

    So what all f_j have in common cancels, and a constant g comes back exactly but for the
    rounding of the two sums and the division. Not so where f is `linear` in phi: theta (phi^T g)
    over theta (phi^T 1) has no f, and the errors of the two are unrelated.
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
    # each f_j and f_j / C may be stored for the product with g alone, and underflow
    size = np.abs(f.value)
    small = np.where(size > 0, a.tiny * (1 + least), 0.0)
    rounded = (2 * a.unit * size + small) @ np.abs(g.value)
    spread = (np.abs(f.value) + f.error) @ g.error
    error = (moved + spread + a.gamma(terms) * sums + rounded) / least
    error = np.where(certain, 0.0, np.where(np.isnan(error), np.inf, error))
    return a.stored(Bounded(y, error, np.abs(y)), 2).settled()


def _vjp(
    a: Arithmetic,
    spec: NonLocalSpec,
    w: dict[str, Bounded],
    x: Bounded,
    s: _Stages,
    dz: Bounded,
    training: bool,
) -> tuple[Bounded, dict[str, Bounded]]:
    grads: dict[str, Bounded] = {}
    batch, dout = len(x.value), dz
    if s.xhat is not None and s.slope is not None:
        rows = (batch, -1, x.value.shape[-1])  # (B, R, C)
        wide = a.wide  # between dz and dout too, sums are in the range of their dtype
        bias = _over_batch(wide, dz.reshape(*rows))  # (C,)
        weight = _over_batch(wide, wide.multiply(dz, s.xhat).reshape(*rows))  # (C,)
        grads["bn.weight"], grads["bn.bias"] = a.stored(weight), a.stored(bias)
        if training:
            count = x.value.size // x.value.shape[-1]
            through = wide.scale(wide.add(bias, wide.multiply(s.xhat, weight)), 1 / count)
            dout = wide.subtract(dz, through)
        dout = a.multiply(dout, s.slope)
    dout = _flat(dout.settled().apply(lambda v: fold(spec, v)))  # (B', N, C)
    dy = a.matmul(dout, w["out.weight"])  # (B', N, D)
    if not _folds(spec):
        dy = dy.settled()
    _linear_grads(a, w, "out", s.y, dout, grads, batch)
    dtheta, dphi, dg = _operation_vjp(a, spec, w, s, dy, grads)

    keys = _flat(s.keys)
    dphi, dg = (_unpooled(spec, s, name, d) for name, d in (("phi", dphi), ("g", dg)))
    _linear_grads(a, w, "g", keys, dg, grads, batch)
    dg = a.matmul(dg, w["g.weight"])  # (B', M, C)
    if spec.embedded:
        _linear_grads(a, w, "theta", _flat(s.folded), dtheta, grads, batch)
        _linear_grads(a, w, "phi", keys, dphi, grads, batch)
        dtheta, dphi = a.matmul(dtheta, w["theta.weight"]), a.matmul(dphi, w["phi.weight"])
    dphi, dg = (_unpooled(spec, s, "keys", d) for d in (dphi, dg))

    def at_x(d: Bounded) -> Bounded:
        folded = d.reshape(*s.folded.value.shape)
        return folded.apply(lambda v: unfold(spec, v, x.value.shape))

    return a.total(at_x(dtheta), at_x(dphi), at_x(dg), dz), grads


def _operation_vjp(
    a: Arithmetic,
    spec: NonLocalSpec,
    w: dict[str, Bounded],
    s: _Stages,
    dy: Bounded,
    grads: dict[str, Bounded],
) -> tuple[Bounded, Bounded, Bounded]:
    p = s.pairs
    assert p is not None
    dp = a.matmul(dy, s.g.T)  # (B', N, M)
    if spec.normalization == "sum":
        # delta_i = dy_i . y_i, or sum_j w_ij dp_ij: the terms are those of the second form
        value = (dy.value * s.y.value).sum(-1, keepdims=True)  # (B', N, 1)
        size = (np.abs(p.weight.value) * dp.magnitude).sum(-1, keepdims=True)
        carried = (np.abs(dy.value) * s.y.error + dy.error * np.abs(s.y.value)).sum(-1)
        gamma = a.gamma(dp.value.shape[-1] + dy.value.shape[-1])
        delta = Bounded(value, carried[..., None] + gamma * size, size)
        dp = a.subtract(dp, a.stored(delta))
    if "gaussian" in spec.pairwise:
        dt = a.scale(a.multiply(p.weight, dp), spec.scale).settled()
    elif spec.pairwise == "dot_product":
        dt = a.divide(a.scale(dp, spec.scale), p.c)
    else:
        dt = a.divide(a.multiply(a.step(p.t), dp), p.c)
    dg = a.matmul(p.weight.T, dy)  # (B', M, D)
    if spec.pairwise != "concatenation":
        theta, phi = s.theta.settled(), s.phi.settled()
        dtheta, dphi = a.matmul(dt, phi), a.matmul(dt.T, theta)
        if spec.pairwise == "dot_product":  # as theta (phi^T g), and s / N may come last
            left, right = a.matmul(theta.T, dy), a.matmul(phi.T, s.g)  # (B', D, V)
            dtheta = _associated(a, dtheta, a.matmul(dy, right.T))
            dphi = _associated(a, dphi, a.matmul(s.g, left.T))
            dg = _associated(a, dg, a.matmul(phi, left))
        return dtheta, dphi, dg
    half = spec.inner_channels
    da, db = a.sum(dt, -1), a.sum(dt, -2).T  # (B', N, 1), (B', M, 1)
    halves = [a.matmul(_rows(d).T, _rows(e)) for d, e in ((da, s.theta), (db, s.phi))]  # (1, D)
    both = [np.concatenate(parts, -1)[0] for parts in zip(*map(_parts, halves), strict=True)]
    grads["f.weight"] = Bounded(*both)  # (2D,)
    if spec.pair_bias:
        grads["f.bias"] = a.sum(da, (0, 1, 2)).apply(lambda v: v.reshape(()))
    weight = w["f.weight"]
    dtheta = a.multiply(da, weight.apply(lambda v: v[:half]))
    return dtheta, a.multiply(db, weight.apply(lambda v: v[half:])), dg


def _folds(spec: NonLocalSpec) -> bool:
    """Whether W_z (phi^T g)^T may be multiplied by theta, so that neither y nor dy is stored."""
    return spec.pairwise == "dot_product" and spec.normalization == "count"


def _associated(a: Arithmetic, d: Bounded, product: Bounded) -> Bounded:
    """d, a product of several matrices, some of whose products are stored.

    Where `product`, computed by way of those, may not be finite, nothing can be said of d.
    """
    finite = np.isfinite(product.error)
    error = np.where(finite, d.error + a.unit * d.magnitude, np.inf)
    return Bounded(d.value, error, d.magnitude)


def _linear(a: Arithmetic, w: dict[str, Bounded], name: str, x: Bounded) -> Bounded:
    y = a.matmul(x, w[f"{name}.weight"].T)
    if f"{name}.bias" not in w:
        return y
    bias = w[f"{name}.bias"]  # a product may start from it
    extra = a.gamma(x.value.shape[-1]) * bias.magnitude
    return a.add(y, Bounded(bias.value, bias.error + extra, bias.magnitude))


def _linear_grads(
    a: Arithmetic,
    w: dict[str, Bounded],
    name: str,
    x: Bounded,
    dy: Bounded,
    grads: dict[str, Bounded],
    batch: int,
) -> None:
    """A weight's gradient may be stored for each item of the batch before these are summed."""
    x, dy = (b.reshape(batch, -1, b.value.shape[-1]) for b in (x, dy))  # (B, R, C), (B, R, D)
    each = a.matmul(dy.T, x)  # (B, D, C)
    chain = a.gamma(x.value.shape[0] * x.value.shape[1]) * each.magnitude  # or all in one sum
    weight = a.sum(Bounded(each.value, each.error + chain, each.magnitude), 0)  # (1, D, C)
    grads[f"{name}.weight"] = weight.reshape(*weight.value.shape[1:])
    if f"{name}.bias" in w:
        grads[f"{name}.bias"] = _over_batch(a, dy)


def _over_batch(a: Arithmetic, d: Bounded) -> Bounded:
    """The sum over items and rows of d (B, R, D) -> (D,), in one sum or stored for each item."""
    each = a.sum(d, 1)  # (B, 1, D)
    chain = a.gamma(d.value.shape[0] * d.value.shape[1]) * each.magnitude
    return a.sum(Bounded(each.value, each.error + chain, each.magnitude), 0).reshape(-1)


def _max_pool(x: Bounded, window: tuple[int, ...]) -> Bounded:
    """The maximum, in error by no more than the worst of those that may be the maximum."""
    split = x.apply(lambda v: windows(v, window))  # (B', *pooled, W, D)
    candidates = _may_be_maximum(split)
    error = np.where(candidates, split.error, 0.0).max(-2)
    magnitude = np.where(candidates, split.magnitude, 0.0).max(-2)
    return Bounded(split.value.max(-2), error, magnitude)


def _may_be_maximum(split: Bounded) -> np.ndarray:
    least = (split.value - split.error).max(-2, keepdims=True)
    return split.value + split.error >= least


def _unpooled(spec: NonLocalSpec, s: _Stages, name: str, d: Bounded) -> Bounded:
    """Send d (B', M, D) back through the pooling of `name`, where there was one -> (B', N, D).

    Where rounding decides which position was the maximum, the whole of d may be at any of them.
    An exact tie without error goes to the first.
    """
    if name not in s.before_pool or spec.subsample is None:
        return d
    whole = s.before_pool[name]
    split = whole.apply(lambda v: windows(v, spec.subsample))  # (B', *pooled, W, D)
    candidates = _may_be_maximum(split)
    in_doubt = (candidates.sum(-2, keepdims=True) > 1) & (
        np.where(candidates, split.error, 0.0).max(-2, keepdims=True) > 0
    )
    d = d.reshape(*split.value.shape[:-2], 1, d.value.shape[-1])  # (B', *pooled, 1, D)
    index = split.value.argmax(-2)[..., None, :]
    chosen = np.arange(split.value.shape[-2])[:, None] == index
    anywhere = candidates & in_doubt
    out = Bounded(
        np.where(chosen, d.value, 0.0),
        np.where(anywhere, np.abs(d.value) + d.error, np.where(chosen, d.error, 0.0)),
        np.where(anywhere | chosen, d.magnitude, 0.0),
    )
    shape = whole.value.shape
    return _flat(out.apply(lambda v: from_windows(v, shape, spec.subsample)))


def _flat(b: Bounded) -> Bounded:
    """(B', *positions, D) -> (B', N, D)."""
    return b.apply(lambda v: v.reshape(len(v), -1, v.shape[-1]))


def _rows(b: Bounded) -> Bounded:
    """(..., D) -> (R, D)."""
    return b.apply(lambda v: v.reshape(-1, v.shape[-1]))


def _parts(b: Bounded) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return b.value, b.error, b.magnitude
