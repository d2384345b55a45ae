"""The block in plain NumPy, with an array of all N x M pairs: the forward direction.

Each stage is a small method, so that a mutant can replace one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nlcore import NonLocalSpec, check_input, check_weights
from nlcore.reference.extent import fold, unfold
from nlcore.reference.pooling import max_pool
from nlcore_conformance.backend.protocol import Weights


@dataclass(frozen=True)
class Call:
    """The arguments of one call, which every stage receives.

    Between stages arrays have the dtype `work`, that of sums: float32 for the half precisions, else
    `dtype` itself. `stored` rounds them to `dtype` where a stage ends.
    """

    spec: NonLocalSpec
    w: dict[str, np.ndarray]  # the weights, in `work`
    training: bool
    dtype: np.dtype
    work: np.dtype
    shape: tuple[int, ...]  # (B, *positions, C)

    def stored(self, array: np.ndarray) -> np.ndarray:
        """The array rounded to `dtype`, in `work` again."""
        return array.astype(self.dtype, copy=False).astype(self.work, copy=False)


@dataclass
class Pairs:
    """The operation, step by step; arrays are (B', N, M) but for c and y."""

    t: np.ndarray
    f: np.ndarray
    c: np.ndarray  # C(x): (B', N, 1), or (1, 1, 1)
    weight: np.ndarray  # f / C
    y: np.ndarray  # (B', N, V)


@dataclass
class Stages:
    """The result of each stage."""

    folded: np.ndarray  # (B', *positions, C)
    keys: np.ndarray  # (B', *positions or pooled, C)
    theta: np.ndarray  # (B', N, D), the Gaussian's: (B', N, C)
    phi: np.ndarray  # (B', M, D)
    g: np.ndarray  # (B', M, V)
    pairs: Pairs
    out: np.ndarray  # (B, *positions, C), W_z y + b
    z: np.ndarray  # (B, *positions, C)
    xhat: np.ndarray | None  # (B, *positions, C), BN's (out - mean) * rstd
    rstd: np.ndarray | None  # (C,), BN's 1 / sqrt(variance + eps)
    index: dict[str, np.ndarray] = field(
        default_factory=dict
    )  # where in its window each maximum was


class PlainForward:
    """The forward direction; `Plain` adds the gradients."""

    # The arguments, and the answer.

    def call(self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool) -> Call:
        """The arguments, checked; x (B, C, *positions)."""
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

    # The whole forward direction.

    def forward(self, call: Call, x: np.ndarray) -> Stages:
        """The stages of x (B, *positions, C)."""
        index: dict[str, np.ndarray] = {}
        folded = self.fold(call, x)  # (B', *positions, C)
        keys = self.pooled(call, "keys", folded, index)
        theta = flat(self.theta(call, folded))  # (B', N, D)
        phi = flat(self.pooled(call, "phi", self.phi(call, keys), index))  # (B', M, D)
        g = flat(self.pooled(call, "g", self.g(call, keys), index))  # (B', M, V)
        pairs = self.operation(call, theta, phi, g)
        out = self.unfold(call, self.linear(call, "out", pairs.y))  # (B, *positions, C)
        v, xhat, rstd = out, None, None
        if call.spec.batch_norm:
            v, xhat, rstd = self.batch_norm(call, out)
        z = call.stored(self.residual(call, v, x))
        return Stages(folded, keys, theta, phi, g, pairs, out, z, xhat, rstd, index)

    # Sums.

    def product(self, call: Call, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """a (..., P, K) times b (..., K, Q)."""
        return a @ b

    def total(self, call: Call, a: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
        """The sum over `axis`, which stays with length 1."""
        return a.sum(axis, keepdims=True)

    # Extent.

    def fold(self, call: Call, x: np.ndarray) -> np.ndarray:
        """(B, *positions, C) -> (B', *positions, C): all positions of an item see each other."""
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

    # Subsampling.

    def pools(self, call: Call) -> tuple[str, ...]:
        """Names of the arrays that are pooled."""
        if call.spec.subsample is None:
            return ()
        return ("keys",) if call.spec.subsample_at == "input" else ("phi", "g")

    def pooled(
        self, call: Call, name: str, x: np.ndarray, index: dict[str, np.ndarray]
    ) -> np.ndarray:
        """x (B', *positions, D), pooled if `name` is; the maxima's places are stored in `index`."""
        if name not in self.pools(call):
            return x
        values, index[name] = self.pool(call, x)
        return values

    def pool(self, call: Call, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B', *positions, D) -> (B', *pooled, D), and where in its window each value was."""
        return max_pool(x, call.spec.pool)

    # The operation.

    def operation(self, call: Call, theta: np.ndarray, phi: np.ndarray, g: np.ndarray) -> Pairs:
        """y (B', N, V) and the steps to it, from theta (B', N, D), phi (B', M, D), g (B', M, V)."""
        t = self.logits(call, theta, phi)
        f = self.pairwise(call, t)
        c = self.normalizer(call, t, f)
        weight = self.divided(call, f, c)
        return Pairs(t, f, c, weight, call.stored(self.product(call, weight, g)))

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

    def pairwise(self, call: Call, t: np.ndarray) -> np.ndarray:
        """f (B', N, M) of t; under "sum" the largest exp of a row is 1, a factor that C cancels."""
        if call.spec.pairwise == "dot_product":
            return t
        if call.spec.pairwise == "concatenation":
            return np.maximum(t, 0)
        return np.exp(t - self.shift(call, t))

    def shift(self, call: Call, t: np.ndarray) -> np.ndarray | float:
        """The number subtracted from t (B', N, M) before exp: (B', N, 1), or 0."""
        return t.max(-1, keepdims=True) if call.spec.normalization == "sum" else 0.0

    def normalizer(self, call: Call, t: np.ndarray, f: np.ndarray) -> np.ndarray:
        """C(x): (B', N, 1), or M as (1, 1, 1)."""
        if call.spec.normalization == "sum":
            return self.total(call, f, -1)
        return np.full((1, 1, 1), f.shape[-1], call.work)

    def divided(self, call: Call, f: np.ndarray, c: np.ndarray) -> np.ndarray:
        """f / C, and 0 where C is 0."""
        return np.where(c == 0, call.work.type(0), f / np.where(c == 0, call.work.type(1), c))

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

    def residual(self, call: Call, v: np.ndarray, x: np.ndarray) -> np.ndarray:
        return v + x


def flat(x: np.ndarray) -> np.ndarray:
    """(B', *positions, D) -> (B', N, D)."""
    return x.reshape(len(x), -1, x.shape[-1])
