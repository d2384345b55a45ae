"""The block and its vector-Jacobian product in plain NumPy, the N x M pairs laid out.

An implementation of its own, as a careful newcomer would write it: the suite has to accept it.
Each stage is a small method, so that `nlcore_conformance.mutants` can get one of them wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nlcore import NonLocalSpec, check_input, check_weights
from nlcore.reference.extent import fold, unfold
from nlcore.reference.pooling import max_pool, max_pool_vjp
from nlcore.weights import RUNNING
from nlcore_conformance.backend.protocol import Weights

Grads = dict[str, np.ndarray]


@dataclass(frozen=True)
class Call:
    """What was asked for; every stage sees it.

    Arrays are held in `work`, the dtype of sums: float32 for the half precisions, else `dtype`
    itself. `stored` rounds them to `dtype` where a stage ends.
    """

    spec: NonLocalSpec
    w: dict[str, np.ndarray]  # the weights, in `work`
    training: bool
    dtype: np.dtype
    work: np.dtype
    shape: tuple[int, ...]  # (B, *positions, C)

    def stored(self, array: np.ndarray) -> np.ndarray:
        """The array as it is after having been kept in `dtype`."""
        return array.astype(self.dtype, copy=False).astype(self.work, copy=False)


@dataclass
class Pairs:
    """The operation's forward direction; (B', N, M) unless said."""

    t: np.ndarray
    f: np.ndarray
    c: np.ndarray  # C(x): (B', N, 1), or (1, 1, 1)
    weight: np.ndarray  # f / C
    y: np.ndarray  # (B', N, D)


@dataclass
class Stages:
    """What the block computes on the way."""

    folded: np.ndarray  # (B', *positions, C)
    keys: np.ndarray  # (B', *positions or pooled, C)
    theta: np.ndarray  # (B', N, D), the Gaussian's: (B', N, C)
    phi: np.ndarray  # (B', M, D)
    g: np.ndarray  # (B', M, D)
    pairs: Pairs
    out: np.ndarray  # (B, *positions, C), W_z y + b
    z: np.ndarray  # (B, *positions, C)
    xhat: np.ndarray | None  # (B, *positions, C), BN's (out - mean) * rstd
    rstd: np.ndarray | None  # (C,), BN's 1 / sqrt(variance + eps)
    index: dict[str, np.ndarray] = field(default_factory=dict)  # where each pooled maximum stood


class Plain:
    """A backend in NumPy.

    Parameters
    ----------
    dtypes : tuple of str, optional
        What it computes in: float32, or any of the four.
    """

    name = "plain"
    dtypes: tuple[str, ...] = ("float32",)

    def __init__(self, dtypes: tuple[str, ...] | None = None) -> None:
        if dtypes is not None:
            self.dtypes = dtypes

    def supports(self, spec: NonLocalSpec, dtype: str) -> bool | str:
        """True, or why not."""
        return dtype in self.dtypes or f"dtype must be one of {self.dtypes}; received {dtype}"

    @np.errstate(all="ignore")  # NaN and infinity are data
    def block(
        self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool = False
    ) -> np.ndarray:
        """z (B, C, *positions) in x's dtype."""
        call = self.call(spec, weights, x, training)
        return self.answer(call, self.forward(call, self.rows(call, x)).z)

    @np.errstate(all="ignore")
    def block_vjp(
        self,
        spec: NonLocalSpec,
        weights: Weights,
        x: np.ndarray,
        dz: np.ndarray,
        training: bool = False,
    ) -> tuple[np.ndarray, Grads]:
        """dx (B, C, *positions) and the weights' gradients by name, in x's dtype."""
        call = self.call(spec, weights, x, training)
        stages = self.forward(call, self.rows(call, x))
        dx, grads = self.backward(call, stages, self.rows(call, dz))
        order = (name for name in weights if name not in RUNNING)
        return self.answer(call, dx), {n: np.asarray(grads[n]).astype(call.dtype) for n in order}

    # What comes in and goes out.

    def call(self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool) -> Call:
        check_input(spec, x.shape, x.dtype.name)
        check_weights(spec, weights)
        half = x.dtype.name in ("float16", "bfloat16")
        dtype = x.dtype.newbyteorder("=")
        work = np.dtype(np.float32) if half else dtype
        w = {name: np.asarray(array).astype(work) for name, array in weights.items()}
        batch, channels, *positions = x.shape
        return Call(spec, w, training, dtype, work, (batch, *positions, channels))

    def rows(self, call: Call, x: np.ndarray) -> np.ndarray:
        """(B, C, *positions) -> (B, *positions, C)."""
        return np.ascontiguousarray(np.moveaxis(x, 1, -1)).astype(call.work, copy=False)

    def answer(self, call: Call, rows: np.ndarray) -> np.ndarray:
        """(B, *positions, C) -> (B, C, *positions), in the dtype asked for."""
        return np.ascontiguousarray(np.moveaxis(rows, -1, 1)).astype(call.dtype)

    # The two directions.

    def forward(self, call: Call, x: np.ndarray) -> Stages:
        """x (B, *positions, C) and all that follows of it."""
        index: dict[str, np.ndarray] = {}
        folded = self.fold(call, x)  # (B', *positions, C)
        keys = self.pooled(call, "keys", folded, index)
        theta = flat(self.theta(call, folded))  # (B', N, D)
        phi = flat(self.pooled(call, "phi", self.phi(call, keys), index))  # (B', M, D)
        g = flat(self.pooled(call, "g", self.g(call, keys), index))  # (B', M, D)
        pairs = self.operation(call, theta, phi, g)
        out = self.unfold(call, self.linear(call, "out", pairs.y))  # (B, *positions, C)
        v, xhat, rstd = out, None, None
        if call.spec.batch_norm:
            v, xhat, rstd = self.batch_norm(call, out)
        z = call.stored(self.residual(call, v, x))
        return Stages(folded, keys, theta, phi, g, pairs, out, z, xhat, rstd, index)

    def backward(self, call: Call, s: Stages, dz: np.ndarray) -> tuple[np.ndarray, Grads]:
        """dx (B, *positions, C) and the weights' gradients, given dz (B, *positions, C)."""
        dout, grads = self.batch_norm_vjp(call, s, dz) if call.spec.batch_norm else (dz, {})
        dout = flat(self.fold(call, call.stored(dout)))  # (B', N, C)
        dy, more = self.linear_vjp(call, "out", s.pairs.y, dout)
        grads |= more
        dtheta, dphi, dg, more = self.operation_vjp(call, s, dy)
        grads |= more
        paths = {"residual": dz}
        for name, d in (("theta", dtheta), ("phi", dphi), ("g", dg)):
            at = s.folded if name == "theta" else s.keys  # (B', *positions, C)
            d = self.unpooled(call, name, s, call.stored(d), at)
            if name == "g" or call.spec.embedded:
                d, more = self.linear_vjp(call, name, flat(at), d)
                grads |= more
            if name != "theta":
                d = self.unpooled(call, "keys", s, d, s.folded)
            paths[name] = self.unfold(call, d)
        return self.gathered(call, paths), grads

    def gathered(self, call: Call, paths: dict[str, np.ndarray]) -> np.ndarray:
        """dx, the sum over the paths by which z depends on x; each (B, *positions, C)."""
        return paths["theta"] + paths["phi"] + paths["g"] + paths["residual"]

    # Sums.

    def product(self, call: Call, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """a (..., P, K) times b (..., K, Q)."""
        return a @ b

    def total(self, call: Call, a: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
        """The sum over `axis`, which is kept with length 1."""
        return a.sum(axis, keepdims=True)

    # Extent.

    def fold(self, call: Call, x: np.ndarray) -> np.ndarray:
        """(B, *positions, C) -> (B', *positions, C): each item of B' sees itself."""
        return fold(call.spec, x)

    def unfold(self, call: Call, x: np.ndarray) -> np.ndarray:
        """(B', N, C) -> (B, *positions, C)."""
        return unfold(call.spec, x, (*call.shape[:-1], x.shape[-1]))

    # Embeddings and W_z.

    def theta(self, call: Call, x: np.ndarray) -> np.ndarray:
        """(B', *positions, C) -> (B', *positions, D)."""
        return self.linear(call, "theta", x) if call.spec.embedded else x

    def phi(self, call: Call, x: np.ndarray) -> np.ndarray:
        return self.linear(call, "phi", x) if call.spec.embedded else x

    def g(self, call: Call, x: np.ndarray) -> np.ndarray:
        return self.linear(call, "g", x)

    def linear(self, call: Call, name: str, x: np.ndarray) -> np.ndarray:
        """W x + b at every position: (..., C) -> (..., D)."""
        y = self.product(call, x.reshape(-1, x.shape[-1]), self.weight(call, name).T)
        bias = self.bias(call, name)
        y = y if bias is None else y + bias
        return call.stored(y).reshape(*x.shape[:-1], -1)

    def weight(self, call: Call, name: str) -> np.ndarray:
        return call.w[f"{name}.weight"]

    def bias(self, call: Call, name: str) -> np.ndarray | None:
        return call.w.get(f"{name}.bias")

    def linear_vjp(
        self, call: Call, name: str, x: np.ndarray, dy: np.ndarray
    ) -> tuple[np.ndarray, Grads]:
        """dx (B', N, C) and the gradients of W and b, from x (B', N, C) and dy (B', N, D)."""
        rows_x, rows_dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
        grads = {f"{name}.weight": self.product(call, rows_dy.T, rows_x)}  # (D, C)
        if call.spec.bias:
            grads[f"{name}.bias"] = self.total(call, rows_dy, 0)[0]  # (D,)
        dx = self.product(call, rows_dy, self.weight(call, name))  # (B' N, C)
        return call.stored(dx).reshape(*dy.shape[:-1], -1), grads

    # Subsampling.

    def pools(self, call: Call) -> tuple[str, ...]:
        """What is pooled."""
        if call.spec.subsample is None:
            return ()
        return ("keys",) if call.spec.subsample_at == "input" else ("phi", "g")

    def pooled(
        self, call: Call, name: str, x: np.ndarray, index: dict[str, np.ndarray]
    ) -> np.ndarray:
        """x (B', *positions, D), pooled where `name` is; its maxima's places go to `index`."""
        if name not in self.pools(call):
            return x
        values, index[name] = self.pool(call, x)
        return values

    def pool(self, call: Call, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B', *positions, D) -> (B', *pooled, D), and where in its window each value stood."""
        return max_pool(x, call.spec.pool)

    def unpooled(
        self, call: Call, name: str, s: Stages, d: np.ndarray, like: np.ndarray
    ) -> np.ndarray:
        """d (B', M, D) back through the pooling of `name`, where there was one: (B', N, D)."""
        if name not in s.index:
            return d
        index = s.index[name]  # (B', *pooled, 1, D)
        d = d.reshape(*index.shape[:-2], d.shape[-1])
        shape = (*like.shape[:-1], d.shape[-1])
        return flat(self.pool_vjp(call, shape, index, d))

    def pool_vjp(
        self, call: Call, shape: tuple[int, ...], index: np.ndarray, d: np.ndarray
    ) -> np.ndarray:
        """d (B', *pooled, D) at the places of the maxima -> `shape`, (B', *positions, D)."""
        return max_pool_vjp(shape, call.spec.pool, index, d).astype(call.work)

    # The operation.

    def operation(self, call: Call, theta: np.ndarray, phi: np.ndarray, g: np.ndarray) -> Pairs:
        """y (B', N, V) and what leads to it, of theta (B', N, D), phi (B', M, D), g (B', M, V)."""
        t = self.logits(call, theta, phi)
        f = self.pairwise(call, t)
        c = self.normalizer(call, t, f)
        weight = self.divided(call, f, c)
        return Pairs(t, f, c, weight, call.stored(self.product(call, weight, g)))

    def operation_vjp(
        self, call: Call, s: Stages, dy: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Grads]:
        """dtheta (B', N, D), dphi (B', M, D), dg (B', M, V) and the pairwise function's own."""
        dweight = self.product(call, dy, s.g.swapaxes(1, 2))  # (B', N, M)
        dt = self.normalizer_vjp(call, s.pairs, dweight) * self.slope(call, s.pairs)
        dtheta, dphi, grads = self.logits_vjp(call, s, dt)
        dg = self.product(call, s.pairs.weight.swapaxes(1, 2), dy)
        return dtheta, dphi, dg, grads

    def scale(self, call: Call) -> float:
        return call.spec.scale

    def logits(self, call: Call, theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
        """t (B', N, M): s theta_i . phi_j, or w_f . [theta_i, phi_j] + b_f."""
        if call.spec.pairwise != "concatenation":
            return self.scale(call) * self.product(call, theta, phi.swapaxes(1, 2))
        left, right = self.halves(call)
        a = self.product(call, theta, left[:, None])  # (B', N, 1)
        b = self.product(call, phi, right[:, None])  # (B', M, 1)
        return self.pair_sum(call, a, b.swapaxes(1, 2))

    def halves(self, call: Call) -> tuple[np.ndarray, np.ndarray]:
        """w_f's entries for theta and for phi, each (D,)."""
        weight, half = call.w["f.weight"], call.spec.inner_channels
        return weight[:half], weight[half:]

    def pair_sum(self, call: Call, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """a (B', N, 1) + b (B', 1, M), and b_f."""
        return a + b + call.w["f.bias"] if call.spec.pair_bias else a + b

    def logits_vjp(
        self, call: Call, s: Stages, dt: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Grads]:
        """dtheta (B', N, D), dphi (B', M, D) and w_f's and b_f's gradients, of dt (B', N, M)."""
        if call.spec.pairwise != "concatenation":
            dt = self.scale(call) * dt
            dtheta = self.product(call, dt, s.phi)
            return dtheta, self.product(call, dt.swapaxes(1, 2), s.theta), {}
        da = self.total(call, dt, 2)  # (B', N, 1)
        db = self.total(call, dt, 1).swapaxes(1, 2)  # (B', M, 1)
        parts = [
            self.product(call, d.reshape(1, -1), e.reshape(-1, e.shape[-1]))[0]  # (D,)
            for d, e in ((da, s.theta), (db, s.phi))
        ]
        grads = {"f.weight": np.concatenate(parts)}
        if call.spec.pair_bias:
            grads["f.bias"] = self.total(call, da, (0, 1, 2)).reshape(())
        left, right = self.halves(call)
        return da * left, db * right, grads

    def pairwise(self, call: Call, t: np.ndarray) -> np.ndarray:
        """f (B', N, M) of t; exp's largest in a row is 1 where C cancels it."""
        if call.spec.pairwise == "dot_product":
            return t
        if call.spec.pairwise == "concatenation":
            return np.maximum(t, 0)
        return np.exp(t - self.shift(call, t))

    def shift(self, call: Call, t: np.ndarray) -> np.ndarray | float:
        """What is subtracted from t (B', N, M) before exp: (B', N, 1), or 0."""
        return t.max(-1, keepdims=True) if call.spec.normalization == "sum" else 0.0

    def slope(self, call: Call, p: Pairs) -> np.ndarray | float:
        """df/dt (B', N, M)."""
        if call.spec.pairwise == "dot_product":
            return 1.0
        return (p.t > 0).astype(call.work) if call.spec.pairwise == "concatenation" else p.f

    def normalizer(self, call: Call, t: np.ndarray, f: np.ndarray) -> np.ndarray:
        """C(x): (B', N, 1), or M as (1, 1, 1)."""
        if call.spec.normalization == "sum":
            return self.total(call, f, -1)
        return np.full((1, 1, 1), f.shape[-1], call.work)

    def divided(self, call: Call, f: np.ndarray, c: np.ndarray) -> np.ndarray:
        """f / C, and 0 where C is 0."""
        return np.where(c == 0, call.work.type(0), f / np.where(c == 0, call.work.type(1), c))

    def normalizer_vjp(self, call: Call, p: Pairs, dweight: np.ndarray) -> np.ndarray:
        """df (B', N, M) of dweight (B', N, M)."""
        if call.spec.normalization == "sum":
            dweight = dweight - self.total(call, p.weight * dweight, -1)
        return self.divided(call, dweight, p.c)

    # Batch normalization and the residual.

    def batch_norm(self, call: Call, out: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """BN(out), out's (out - mean) * rstd, both (B, *positions, C), and rstd (C,)."""
        mean, variance = self.statistics(call, out)
        rstd = 1 / np.sqrt(variance + call.work.type(self.eps(call)))
        xhat = (out - mean) * rstd
        return xhat * call.w["bn.weight"] + call.w["bn.bias"], xhat, rstd

    def eps(self, call: Call) -> float:
        return call.spec.eps

    def statistics(self, call: Call, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (C,) of out (B, *positions, C), or the running ones."""
        if not call.training:
            return call.w["bn.running_mean"], call.w["bn.running_var"]
        mean = self.mean(call, out)
        return mean, self.mean(call, (out - mean) ** 2)

    def mean(self, call: Call, out: np.ndarray) -> np.ndarray:
        """The mean per channel: (B, *positions, C) -> (C,)."""
        rows = out.reshape(-1, out.shape[-1])
        return self.total(call, rows, 0)[0] / call.work.type(len(rows))

    def batch_norm_vjp(self, call: Call, s: Stages, dz: np.ndarray) -> tuple[np.ndarray, Grads]:
        """The gradient at W_z y + b, and those of BN's weight and bias."""
        assert s.xhat is not None and s.rstd is not None
        axes = tuple(range(dz.ndim - 1))
        grads = {
            "bn.weight": self.total(call, dz * s.xhat, axes).reshape(-1),
            "bn.bias": self.total(call, dz, axes).reshape(-1),
        }
        if call.training:
            dz = dz - self.through_statistics(call, s.xhat, dz)
        return dz * (call.w["bn.weight"] * s.rstd), grads

    def through_statistics(self, call: Call, xhat: np.ndarray, dz: np.ndarray) -> np.ndarray:
        """What the batch's mean and variance take off dz, before rstd: (B, *positions, C)."""
        return self.mean(call, dz) + xhat * self.mean(call, dz * xhat)

    def residual(self, call: Call, v: np.ndarray, x: np.ndarray) -> np.ndarray:
        return v + x


def flat(x: np.ndarray) -> np.ndarray:
    """(B', *positions, D) -> (B', N, D)."""
    return x.reshape(len(x), -1, x.shape[-1])


backend = Plain()
