"""NL-9 got wrong: the gradients of pooling and batch normalization, and the form of the answer."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from nlcore import NonLocalSpec
from nlcore.reference.pooling import from_windows, windows
from nlcore.spec import FLOATS
from nlcore_conformance.backend.plain import Grads, Plain
from nlcore_conformance.backend.plain_forward import Call, Stages, flat
from nlcore_conformance.backend.protocol import Weights
from nlcore_conformance.mutants.mutant import Zoo

ZOO = Zoo()


class _Places(Plain):
    """A maximum's gradient goes to other places of its window, where x itself is pooled."""

    def shares(self, split: np.ndarray) -> np.ndarray:
        """The share of the gradient that each of a window's values (..., W, D) gets."""
        raise NotImplementedError

    def unpooled(
        self, call: Call, name: str, s: Stages, d: np.ndarray, like: np.ndarray
    ) -> np.ndarray:
        of_x = name == "keys" or (name == "phi" and not call.spec.embedded)
        if name not in s.index or not of_x:
            return super().unpooled(call, name, s, d, like)
        split = windows(s.folded, call.spec.pool)  # (B', *pooled, W, C)
        d = d.reshape(*split.shape[:-2], 1, d.shape[-1])
        whole = from_windows(self.shares(split) * d, s.folded.shape, call.spec.pool)
        return flat(whole.astype(call.work))


@ZOO.wrong("gradient to the last of equals", "NL-9.4", "pooling")
class _LastOfEquals(_Places):
    """Of equal maxima the last gets the gradient."""

    def shares(self, split: np.ndarray) -> np.ndarray:
        last = split.shape[-2] - 1 - split[..., ::-1, :].argmax(-2)
        return np.arange(split.shape[-2])[:, None] == last[..., None, :]


@ZOO.wrong("gradient shared by equals", "NL-9.4", "pooling")
class _SharedByEquals(_Places):
    """Equal maxima share the gradient."""

    def shares(self, split: np.ndarray) -> np.ndarray:
        equal = split == split.max(-2, keepdims=True)
        return equal / equal.sum(-2, keepdims=True)


ZOO.replace(
    "gradient to all equals",
    "NL-9.4",
    "pooling",
    "Equal maxima get the whole gradient each.",
    base=_Places,
    shares=lambda self, split: split == split.max(-2, keepdims=True),
)
ZOO.replace(
    "gradient to the first of a window",
    "NL-9.4",
    "pooling",
    "The first position of a window gets the gradient, wherever the maximum stood.",
    pool_vjp=lambda self, call, shape, index, d: Plain.pool_vjp(self, call, shape, index * 0, d),
)


@ZOO.wrong("gradient to the whole window", "NL-9.4", "pooling")
class _WholeWindow(Plain):
    """All the positions of a window share the gradient."""

    def pool_vjp(
        self, call: Call, shape: tuple[int, ...], index: np.ndarray, d: np.ndarray
    ) -> np.ndarray:
        size, whole = math.prod(call.spec.pool), np.zeros(shape, call.work)
        for k in range(size):
            whole += super().pool_vjp(call, shape, index * 0 + k, d / size)
        return whole


@ZOO.wrong("gradient of dropped positions", "NL-9.4", "pooling")
class _Dropped(Plain):
    """Positions that pooling drops get the gradient of their neighbours."""

    def pool_vjp(
        self, call: Call, shape: tuple[int, ...], index: np.ndarray, d: np.ndarray
    ) -> np.ndarray:
        whole = super().pool_vjp(call, shape, index, d)
        kept = [n - n % w for n, w in zip(shape[1:-1], call.spec.pool, strict=True)]
        ends = [(0, n - k) for n, k in zip(shape[1:-1], kept, strict=True)]
        inside = whole[:, *(slice(k) for k in kept)]
        return np.pad(inside, [(0, 0), *ends, (0, 0)], mode="edge")


class _Through(Plain):
    """Another gradient through the batch's mean and variance."""

    #: Of the mean's term and the variance's, both (B, *positions, C).
    terms: Callable[[Call, np.ndarray, np.ndarray], np.ndarray]

    def through_statistics(self, call: Call, xhat: np.ndarray, dz: np.ndarray) -> np.ndarray:
        return self.terms(call, self.mean(call, dz), xhat * self.mean(call, dz * xhat))


ZOO.replace(
    "no gradient through the mean",
    "NL-9.2",
    "batch normalization",
    "The batch's mean is taken for a constant.",
    base=_Through,
    terms=lambda self, call, mean, variance: variance,
)
ZOO.replace(
    "no gradient through the variance",
    "NL-9.2",
    "batch normalization",
    "The batch's variance is taken for a constant.",
    base=_Through,
    terms=lambda self, call, mean, variance: mean,
)
ZOO.replace(
    "no gradient through statistics",
    "NL-9.2",
    "batch normalization",
    "The batch's mean and variance are taken for constants, as running ones are.",
    base=_Through,
    terms=lambda self, call, mean, variance: np.zeros_like(variance),
)


@ZOO.wrong("gradient of the unbiased variance", "NL-9.2", "batch normalization")
class _UnbiasedThrough(_Through):
    """The variance's term is divided by n - 1."""

    def terms(self, call: Call, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        n = math.prod(call.shape[:-1])
        return mean + variance * call.work.type(n / max(n - 1, 1))


@ZOO.wrong("statistics' gradient in inference", "NL-9.1", "batch normalization")
class _AlwaysThrough(Plain):
    """The gradient goes through mean and variance in inference too, where they are constants."""

    def batch_norm_vjp(self, call: Call, s: Stages, dz: np.ndarray) -> tuple[np.ndarray, Grads]:
        if not call.training:
            assert s.xhat is not None
            _, grads = super().batch_norm_vjp(call, s, dz)
            dz = dz - self.through_statistics(call, s.xhat, dz)
            return super().batch_norm_vjp(call, s, dz)[0], grads
        return super().batch_norm_vjp(call, s, dz)


class _BatchNormGrads(Plain):
    """Other gradients of BN's weight and bias."""

    alter: Callable[[Call, Stages, np.ndarray, Grads], Grads]  # of dz and the right gradients

    def batch_norm_vjp(self, call: Call, s: Stages, dz: np.ndarray) -> tuple[np.ndarray, Grads]:
        dout, grads = super().batch_norm_vjp(call, s, dz)
        return dout, grads | self.alter(call, s, dz, grads)


ZOO.replace(
    "BN's weight: gradient by W_z y",
    "NL-9.1",
    "batch normalization",
    "The gradient of BN's weight multiplies with W_z y, not with what is normalized.",
    base=_BatchNormGrads,
    alter=lambda self, call, s, dz, grads: {
        "bn.weight": (dz * s.out).sum(tuple(range(dz.ndim - 1)))
    },
)
ZOO.replace(
    "BN's bias: gradient averaged",
    "NL-9.1",
    "batch normalization",
    "The gradient of BN's bias is a mean.",
    base=_BatchNormGrads,
    alter=lambda self, call, s, dz, grads: {
        "bn.bias": grads["bn.bias"] / call.work.type(dz[..., 0].size)
    },
)


class _Answer(Plain):
    """Another answer of block_vjp."""

    def answer_vjp(self, dx: np.ndarray, grads: Grads) -> tuple[np.ndarray, Grads]:
        raise NotImplementedError

    def block_vjp(
        self,
        spec: NonLocalSpec,
        weights: Weights,
        x: np.ndarray,
        dz: np.ndarray,
        training: bool = False,
    ) -> tuple[np.ndarray, Grads]:
        return self.answer_vjp(*super().block_vjp(spec, weights, x, dz, training))


@ZOO.wrong("gradients pile up", "NL-9.1", "")
class _PileUp(_Answer):
    """Gradients are added to those of the call before, where these have the same shapes."""

    def __init__(self, dtypes: tuple[str, ...] | None = None) -> None:
        super().__init__(dtypes)
        self.before: Grads = {}

    def answer_vjp(self, dx: np.ndarray, grads: Grads) -> tuple[np.ndarray, Grads]:
        shapes = {name: grad.shape for name, grad in grads.items()}
        if shapes == {name: grad.shape for name, grad in self.before.items()}:
            grads = {
                name: (grad + self.before[name].astype(grad.dtype)).astype(grad.dtype)
                for name, grad in grads.items()
            }
        self.before = grads
        return dx, grads


ZOO.replace(
    "gradients in float64",
    "NL-1.4",
    "",
    "Gradients come in float64, whatever was asked for.",
    dtypes=("float32", "float16", "bfloat16"),
    base=_Answer,
    answer_vjp=lambda self, dx, grads: (
        dx.astype(np.float64),
        {n: g.astype(np.float64) for n, g in grads.items()},
    ),
)


@ZOO.wrong("gradients of running statistics", "NL-9.1", "batch normalization", FLOATS)
class _OfRunning(Plain):
    """The running statistics have gradients too."""

    def block_vjp(
        self,
        spec: NonLocalSpec,
        weights: Weights,
        x: np.ndarray,
        dz: np.ndarray,
        training: bool = False,
    ) -> tuple[np.ndarray, Grads]:
        dx, grads = super().block_vjp(spec, weights, x, dz, training)
        more = {n: np.zeros_like(w) for n, w in weights.items() if n.startswith("bn.running")}
        return dx, grads | more
