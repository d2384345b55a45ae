"""The block and its vector-Jacobian product in plain NumPy, as a backend.

It is independent of the reference, and written as a careful newcomer would write it. The suite has
to accept it. A mutant is a subclass with one method replaced.
"""

from __future__ import annotations

import numpy as np

from nlcore import NonLocalSpec, init_weights
from nlcore.reference.pooling import max_pool_vjp
from nlcore.weights import RUNNING
from nlcore_conformance.backend.plain_forward import Call, Pairs, PlainForward, Stages, flat
from nlcore_conformance.backend.protocol import Weights

Grads = dict[str, np.ndarray]


class Plain(PlainForward):
    """A backend in NumPy.

    Parameters
    ----------
    dtypes : tuple of str, optional
        The dtypes that it computes in: float32 by default, or any of the four.
    """

    name = "plain"
    dtypes: tuple[str, ...] = ("float32",)
    init = "he"

    def __init__(self, dtypes: tuple[str, ...] | None = None) -> None:
        if dtypes is not None:
            self.dtypes = dtypes

    def supports(self, spec: NonLocalSpec, dtype: str) -> bool | str:
        """True, or why not."""
        return dtype in self.dtypes or f"dtype must be one of {self.dtypes}; received {dtype}"

    def initial(self, spec: NonLocalSpec) -> dict[str, np.ndarray]:
        """The weights of a new block, float64 arrays by name."""
        return init_weights(spec, np.random.default_rng(0), self.init)

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

    # The whole backward direction.

    def backward(self, call: Call, s: Stages, dz: np.ndarray) -> tuple[np.ndarray, Grads]:
        """dx (B, *positions, C) and the weights' gradients, of dz (B, *positions, C)."""
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

    # Embeddings and W_z.

    def linear_vjp(
        self, call: Call, name: str, x: np.ndarray, dy: np.ndarray
    ) -> tuple[np.ndarray, Grads]:
        """dx (B', N, C) and the gradients of W and b, from x (B', N, C) and dy (B', N, D)."""
        rows_x, rows_dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
        grads = {f"{name}.weight": self.product(call, rows_dy.T, rows_x)}  # (D, C)
        if f"{name}.bias" in call.w:
            grads[f"{name}.bias"] = self.total(call, rows_dy, 0)[0]  # (D,)
        dx = self.product(call, rows_dy, self.weight(call, name))  # (B' N, C)
        return call.stored(dx).reshape(*dy.shape[:-1], -1), grads

    # Subsampling.

    def unpooled(
        self, call: Call, name: str, s: Stages, d: np.ndarray, like: np.ndarray
    ) -> np.ndarray:
        """d (B', M, D) back through the pooling of `name`, if it was pooled: (B', N, D)."""
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

    def operation_vjp(
        self, call: Call, s: Stages, dy: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Grads]:
        """dtheta (B', N, D), dphi (B', M, D), dg (B', M, V) and the gradients of w_f and b_f."""
        dweight = self.product(call, dy, s.g.swapaxes(1, 2))  # (B', N, M)
        dt = self.normalizer_vjp(call, s.pairs, dweight) * self.slope(call, s.pairs)
        dtheta, dphi, grads = self.logits_vjp(call, s, dt)
        dg = self.product(call, s.pairs.weight.swapaxes(1, 2), dy)
        return dtheta, dphi, dg, grads

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

    def slope(self, call: Call, p: Pairs) -> np.ndarray | float:
        """df/dt (B', N, M)."""
        if call.spec.pairwise == "dot_product":
            return 1.0
        return (p.t > 0).astype(call.work) if call.spec.pairwise == "concatenation" else p.f

    def normalizer_vjp(self, call: Call, p: Pairs, dweight: np.ndarray) -> np.ndarray:
        """df (B', N, M) of dweight (B', N, M)."""
        if call.spec.normalization == "sum":
            dweight = dweight - self.total(call, p.weight * dweight, -1)
        return self.divided(call, dweight, p.c)

    # Batch normalization.

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
        """The part of dz that goes through the batch's mean and variance, (B, *positions, C)."""
        return self.mean(call, dz) + xhat * self.mean(call, dz * xhat)


backend = Plain()
