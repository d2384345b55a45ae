"""NL-5 and NL-11.1 got wrong: subsampling."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from nlcore import NonLocalSpec
from nlcore.reference.pooling import max_pool, max_pool_vjp, windows
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.plain_forward import Call
from nlcore_conformance.mutants.mutant import Respecified, Zoo

ZOO = Zoo()
ZOO.replace(
    "pooling before phi and g",
    "NL-5.3",
    "pooling",
    "x is pooled where phi and g should be: W max(x) for max(W x).",
    pools=lambda self, call: ("keys",) if Plain.pools(self, call) else (),
)
ZOO.replace(
    "pooling after phi and g",
    "NL-5.4",
    "pooling",
    "phi and g are pooled where x should be: max(W x) for W max(x).",
    pools=lambda self, call: ("phi", "g") if Plain.pools(self, call) else (),
)


@ZOO.wrong("Gaussian pools x for g", "NL-5.5", "pooling")
class _GaussianBefore(Plain):
    """The Gaussian's g is taken of the pooled x, as its phi is."""

    def pools(self, call: Call) -> tuple[str, ...]:
        pools = super().pools(call)
        return ("keys",) if pools and not call.spec.embedded else pools


ZOO.replace("no pooling", "NL-5.1", "pooling", "Nothing is pooled.", pools=lambda self, call: ())


@ZOO.wrong("theta pooled too", "NL-5.1", "pooling")
class _ThetaToo(Plain):
    """theta is pooled, and its windows' positions get one y."""

    def theta(self, call: Call, x: np.ndarray) -> np.ndarray:
        theta = super().theta(call, x)
        if call.spec.subsample is None:
            return theta
        whole, out = max_pool(theta, call.spec.pool)[0], theta.copy()
        for axis, size in enumerate(call.spec.pool, start=1):
            whole = whole.repeat(size, axis)
        out[tuple(slice(n) for n in whole.shape)] = whole
        return out


class _Pooling(Plain):
    """Another pooling: it takes the value at a place of each window."""

    place: Callable[[np.ndarray], np.ndarray]  # of a window's values (..., W, D)

    def pool(self, call: Call, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        split = windows(x, call.spec.pool)
        index = self.place(split)[..., None, :]  # (B', *pooled, 1, D)
        return np.take_along_axis(split, index, -2)[..., 0, :], index


ZOO.replace(
    "strides for pooling",
    "NL-5.1",
    "pooling",
    "The first position of each window rather than the largest value.",
    base=_Pooling,
    place=lambda self, split: np.zeros_like(split.argmax(-2)),
)
ZOO.replace(
    "pooling by size",
    "NL-5.1",
    "pooling",
    "The value of the largest size, whatever its sign.",
    base=_Pooling,
    place=lambda self, split: np.abs(split).argmax(-2),
)
ZOO.replace(
    "NaN is no maximum",
    "NL-11.1",
    "pooling",
    "A maximum leaves NaN out.",
    base=_Pooling,
    place=lambda self, split: np.where(np.isnan(split), -np.inf, split).argmax(-2),
)


@ZOO.wrong("average pooling", "NL-5.1", "pooling")
class _Average(Plain):
    """The mean of each window."""

    def pool(self, call: Call, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _, index = super().pool(call, x)
        return windows(x, call.spec.pool).mean(-2), index

    def pool_vjp(
        self, call: Call, shape: tuple[int, ...], index: np.ndarray, d: np.ndarray
    ) -> np.ndarray:
        size, whole = math.prod(call.spec.pool), np.zeros(shape, call.work)
        for k in range(size):
            whole += super().pool_vjp(call, shape, index * 0 + k, d / size)
        return whole


class _Shifted(Plain):
    """Pooling of x with rows added or left out at either end of each axis."""

    #: (size, window) of an axis -> rows added (> 0) or left out (< 0) at its start and its end.
    ends: Callable[[int, int], tuple[int, int]]

    def pool(self, call: Call, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ends = self.all_ends(call, x.shape)
        x = np.pad(x, [(max(a, 0), max(b, 0)) for a, b in ends], constant_values=-np.inf)
        return max_pool(x[tuple(slice(max(-a, 0), None) for a, _ in ends)], call.spec.pool)

    def pool_vjp(
        self, call: Call, shape: tuple[int, ...], index: np.ndarray, d: np.ndarray
    ) -> np.ndarray:
        ends = self.all_ends(call, shape)
        grown = tuple(n + a + b for n, (a, b) in zip(shape, ends, strict=True))
        whole = max_pool_vjp(grown, call.spec.pool, index, d).astype(call.work)
        whole = np.pad(whole, [(max(-a, 0), 0) for a, _ in ends])
        return whole[tuple(slice(n) for n in shape)]

    def all_ends(self, call: Call, shape: tuple[int, ...]) -> list[tuple[int, int]]:
        axes = zip(shape[1:-1], call.spec.pool, strict=True)
        return [(0, 0), *(self.ends(n, window) for n, window in axes), (0, 0)]


ZOO.replace(
    "pooling rounds up",
    "NL-5.2",
    "pooling",
    "What does not fill a window is pooled all the same.",
    base=_Shifted,
    ends=lambda self, n, window: (0, -n % window),
)
ZOO.replace(
    "pooling from the end",
    "NL-5.2",
    "pooling",
    "The first positions are dropped rather than the last.",
    base=_Shifted,
    ends=lambda self, n, window: (-(n % window), 0),
)


@ZOO.wrong("pooling a flat list", "NL-5.6", "pooling")
class _Flat(Plain):
    """Pooling runs over the flattened list of positions."""

    def pool(self, call: Call, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return max_pool(x.reshape(len(x), -1, x.shape[-1]), (math.prod(call.spec.pool),))

    def pool_vjp(
        self, call: Call, shape: tuple[int, ...], index: np.ndarray, d: np.ndarray
    ) -> np.ndarray:
        whole = (shape[0], math.prod(shape[1:-1]), shape[-1])
        d = max_pool_vjp(whole, (math.prod(call.spec.pool),), index, d)
        return d.reshape(shape).astype(call.work)


@ZOO.wrong("g follows phi's maxima", "NL-5.3", "pooling")
class _Together(Plain):
    """g is taken where phi is largest."""

    def pooled(
        self, call: Call, name: str, x: np.ndarray, index: dict[str, np.ndarray]
    ) -> np.ndarray:
        if name != "g" or "phi" not in index or not call.spec.embedded:
            return super().pooled(call, name, x, index)
        index["g"] = index["phi"]
        return np.take_along_axis(windows(x, call.spec.pool), index["g"], -2)[..., 0, :]


class _Repooled(Respecified):
    """Other windows."""

    windows: Callable[[tuple[int, ...], NonLocalSpec], tuple[int, ...]]  # of the spec's own

    def other(self, spec: NonLocalSpec, positions: tuple[int, ...]) -> dict[str, Any]:
        return {"subsample": self.windows(spec.pool, spec)} if spec.subsample else {}


ZOO.replace(
    "window sizes reversed",
    "NL-5.1",
    "pooling",
    "The windows' sizes are read from the last axis on.",
    base=_Repooled,
    windows=lambda self, pool, spec: pool[::-1],
)
ZOO.replace(
    "windows of 2",
    "NL-5.1",
    "pooling",
    "Windows are 2 wide where they should be wider.",
    base=_Repooled,
    windows=lambda self, pool, spec: tuple(min(n, 2) for n in pool),
)
ZOO.replace(
    "no pooling in time",
    "NL-5.1",
    "pooling",
    "Frames are not pooled.",
    base=_Repooled,
    windows=lambda self, pool, spec: (
        (1, *pool[1:]) if spec.ndim == 3 and spec.extent == "all" else pool
    ),
)
ZOO.replace(
    "no pooling of extent time",
    "NL-6.3",
    "pooling",
    "With extent time the frames are not pooled.",
    base=_Repooled,
    windows=lambda self, pool, spec: (1, 1, 1) if spec.extent == "time" else pool,
)
ZOO.replace(
    "no pooling in windows",
    "NL-5.1",
    "pooling",
    "With temporal windows nothing is pooled.",
    base=_Repooled,
    windows=lambda self, pool, spec: (1, 1, 1) if spec.window else pool,
)
ZOO.replace(
    "no pooling in 1-D",
    "NL-5.1",
    "pooling",
    "With one axis nothing is pooled.",
    base=_Repooled,
    windows=lambda self, pool, spec: (1,) if spec.ndim == 1 else pool,
)
ZOO.replace(
    "square windows",
    "NL-5.1",
    "pooling",
    "H is pooled by W's window.",
    base=_Repooled,
    windows=lambda self, pool, spec: (*pool[:-2], pool[-1], pool[-1]) if spec.ndim > 1 else pool,
)
