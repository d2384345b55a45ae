"""Bounds of the backward direction: the vector-Jacobian product in bounded numbers."""

from __future__ import annotations

import numpy as np

from nlcore import NonLocalSpec
from nlcore.reference.extent import fold, unfold
from nlcore.reference.pooling import from_windows, windows
from nlcore_conformance.bounds.arithmetic import Arithmetic, Bounded
from nlcore_conformance.bounds.forward_bounds import (
    Setting,
    Stages,
    associated,
    flat,
    may_be_maximum,
    parts,
)


def backward(
    setting: Setting, x: Bounded, s: Stages, dz: Bounded
) -> tuple[Bounded, dict[str, Bounded]]:
    """dx and the weights' gradients by name, from x and dz (B, *positions, C)."""
    a, spec, w = setting.a, setting.spec, setting.w
    grads: dict[str, Bounded] = {}
    batch, dout = len(x.value), dz
    if s.xhat is not None and s.slope is not None:
        rows = (batch, -1, x.value.shape[-1])  # (B, R, C)
        wide = a.wide  # sums between dz and dout are in the range of their own dtype
        bias = _over_batch(wide, dz.reshape(*rows))  # (C,)
        weight = _over_batch(wide, wide.multiply(dz, s.xhat).reshape(*rows))  # (C,)
        grads["bn.weight"], grads["bn.bias"] = a.stored(weight), a.stored(bias)
        if setting.training:
            count = x.value.size // x.value.shape[-1]
            through = wide.scale(wide.add(bias, wide.multiply(s.xhat, weight)), 1 / count)
            dout = wide.subtract(dz, through)
        dout = a.multiply(dout, s.slope)
    dout = flat(dout.settled().apply(lambda v: fold(spec, v)))  # (B', N, C)
    dy = a.matmul(dout, w["out.weight"])  # (B', N, V)
    if not setting.merges_w_z:
        dy = dy.settled()
    _linear_grads(a, w, "out", s.y, dout, grads, batch)
    dtheta, dphi, dg = _operation_vjp(setting, s, dy, grads)

    keys = flat(s.keys)
    dphi, dg = (_unpooled(spec, s, name, d) for name, d in (("phi", dphi), ("g", dg)))
    _linear_grads(a, w, "g", keys, dg, grads, batch)
    dg = a.matmul(dg, w["g.weight"])  # (B', M, C)
    if spec.embedded:
        _linear_grads(a, w, "theta", flat(s.folded), dtheta, grads, batch)
        _linear_grads(a, w, "phi", keys, dphi, grads, batch)
        dtheta, dphi = a.matmul(dtheta, w["theta.weight"]), a.matmul(dphi, w["phi.weight"])
    dphi, dg = (_unpooled(spec, s, "keys", d) for d in (dphi, dg))

    def at_x(d: Bounded) -> Bounded:
        folded = d.reshape(*s.folded.value.shape)
        return folded.apply(lambda v: unfold(spec, v, x.value.shape))

    return a.total(at_x(dtheta), at_x(dphi), at_x(dg), dz), grads


def _operation_vjp(
    setting: Setting, s: Stages, dy: Bounded, grads: dict[str, Bounded]
) -> tuple[Bounded, Bounded, Bounded]:
    """dtheta, dphi and dg; the gradients of w_f and b_f are stored in `grads`."""
    a, spec, w, p = setting.a, setting.spec, setting.w, s.pairs
    assert p is not None
    dp = a.matmul(dy, s.g.T)  # (B', N, M)
    if spec.normalization == "sum":
        # delta_i = dy_i . y_i, or sum_j w_ij dp_ij; the size is that of the second form
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
    dg = a.matmul(p.weight.T, dy)  # (B', M, V)
    if spec.pairwise != "concatenation":
        theta, phi = s.theta.settled(), s.phi.settled()
        dtheta, dphi = a.matmul(dt, phi), a.matmul(dt.T, theta)
        if spec.pairwise == "dot_product":  # as theta (phi^T g), and s / N may come last
            left, right = a.matmul(theta.T, dy), a.matmul(phi.T, s.g)  # (B', D, V)
            dtheta = associated(a, dtheta, a.matmul(dy, right.T))
            dphi = associated(a, dphi, a.matmul(s.g, left.T))
            dg = associated(a, dg, a.matmul(phi, left))
        return dtheta, dphi, dg
    half = spec.inner_channels
    da, db = a.sum(dt, -1), a.sum(dt, -2).T  # (B', N, 1), (B', M, 1)
    halves = [a.matmul(_rows(d).T, _rows(e)) for d, e in ((da, s.theta), (db, s.phi))]  # (1, D)
    both = [np.concatenate(arrays, -1)[0] for arrays in zip(*map(parts, halves), strict=True)]
    grads["f.weight"] = Bounded(*both)  # (2D,)
    if spec.pair_bias:
        grads["f.bias"] = a.sum(da, (0, 1, 2)).apply(lambda v: v.reshape(()))
    weight = w["f.weight"]
    dtheta = a.multiply(da, weight.apply(lambda v: v[:half]))
    return dtheta, a.multiply(db, weight.apply(lambda v: v[half:])), dg


def _linear_grads(
    a: Arithmetic,
    w: dict[str, Bounded],
    name: str,
    x: Bounded,
    dy: Bounded,
    grads: dict[str, Bounded],
    batch: int,
) -> None:
    """Store the gradients of W and b in `grads`, from x (B', N, C) and dy (B', N, D).

    An implementation may sum all rows at once, or store a gradient for each item of the batch.
    """
    x, dy = (b.reshape(batch, -1, b.value.shape[-1]) for b in (x, dy))  # (B, R, C), (B, R, D)
    each = a.matmul(dy.T, x)  # (B, D, C)
    chain = a.gamma(x.value.shape[0] * x.value.shape[1]) * each.magnitude  # or all in one sum
    weight = a.sum(Bounded(each.value, each.error + chain, each.magnitude), 0)  # (1, D, C)
    grads[f"{name}.weight"] = weight.reshape(*weight.value.shape[1:])
    if f"{name}.bias" in w:
        grads[f"{name}.bias"] = _over_batch(a, dy)


def _over_batch(a: Arithmetic, d: Bounded) -> Bounded:
    """The sum over items and rows of d (B, R, D) -> (D,), at once or stored for each item."""
    each = a.sum(d, 1)  # (B, 1, D)
    chain = a.gamma(d.value.shape[0] * d.value.shape[1]) * each.magnitude
    return a.sum(Bounded(each.value, each.error + chain, each.magnitude), 0).reshape(-1)


def _unpooled(spec: NonLocalSpec, s: Stages, name: str, d: Bounded) -> Bounded:
    """d (B', M, D) back through the pooling of `name`, if it was pooled -> (B', N, D).

    Where rounding decides which position was the maximum, all of d may go to any of them. An exact
    tie without error goes to the first.
    """
    if name not in s.before_pool or spec.subsample is None:
        return d
    whole = s.before_pool[name]
    split = whole.apply(lambda v: windows(v, spec.subsample))  # (B', *pooled, W, D)
    candidates = may_be_maximum(split)
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
    return flat(out.apply(lambda v: from_windows(v, shape, spec.subsample)))


def _rows(b: Bounded) -> Bounded:
    """(..., D) -> (R, D)."""
    return b.apply(lambda v: v.reshape(-1, v.shape[-1]))
