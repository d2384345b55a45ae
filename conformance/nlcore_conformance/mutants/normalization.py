"""NL-4 got wrong: C(x)."""

from __future__ import annotations

import math

import numpy as np

from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.plain_forward import Call, Pairs
from nlcore_conformance.mutants.mutant import Zoo, by_sum, dot_product, gaussian

ZOO = Zoo()


class _Normalizer(Plain):
    """Another C(x) where `applies` is true."""

    def applies(self, call: Call) -> bool:
        return True

    def instead(self, call: Call, f: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def normalizer(self, call: Call, t: np.ndarray, f: np.ndarray) -> np.ndarray:
        right = super().normalizer(call, t, f)
        return self.instead(call, f) if self.applies(call) else right


class _OverPairs(_Normalizer):
    """A softmax over these axes of (B', N, M)."""

    axis: int | tuple[int, ...]

    def applies(self, call: Call) -> bool:
        return by_sum(call) and gaussian(call)

    def instead(self, call: Call, f: np.ndarray) -> np.ndarray:
        return f.sum(self.axis, keepdims=True)

    def shift(self, call: Call, t: np.ndarray) -> np.ndarray | float:
        return t.max((1, 2), keepdims=True) if self.applies(call) else 0.0


ZOO.replace(
    "softmax over queries",
    "NL-4.1",
    "operation",
    "The softmax is taken over i.",
    base=_OverPairs,
    axis=1,
)
ZOO.replace(
    "softmax over all pairs",
    "NL-4.1",
    "operation",
    "One sum for all pairs of an item.",
    base=_OverPairs,
    axis=(1, 2),
)
ZOO.replace(
    "always the sum",
    "NL-4.2",
    "operation",
    "The sum of f, also where N is asked for.",
    base=_Normalizer,
    instead=lambda self, call, f: self.total(call, f, -1),
)
ZOO.replace(
    "always the count",
    "NL-4.1",
    "operation",
    "N, also where the sum of f is asked for.",
    base=_Normalizer,
    instead=lambda self, call, f: np.full((1, 1, 1), f.shape[-1], call.work),
    shift=lambda self, call, t: 0.0,
)
ZOO.replace(
    "normalization follows f",
    "NL-4.3",
    "operation",
    "The Gaussians' default normalization, whatever was given: the sum.",
    base=_Normalizer,
    applies=lambda self, call: gaussian(call),
    instead=lambda self, call, f: self.total(call, f, -1),
)


@ZOO.wrong("softmax of the dot product", "NL-4.1", "operation")
class _DotSoftmax(Plain):
    """A dot product by its sum is taken for a softmax."""

    def pairwise(self, call: Call, t: np.ndarray) -> np.ndarray:
        if by_sum(call) and dot_product(call):
            return np.exp(t - self.shift(call, t))
        return super().pairwise(call, t)


class _Count(_Normalizer):
    """Another N."""

    def applies(self, call: Call) -> bool:
        return not by_sum(call)

    def count(self, call: Call, keys: int) -> float:
        raise NotImplementedError

    def instead(self, call: Call, f: np.ndarray) -> np.ndarray:
        return np.full((1, 1, 1), self.count(call, f.shape[-1]), call.work)


@ZOO.wrong("N before pooling", "NL-4.2", "operation")
class _Unpooled(_Count):
    """N counts the positions before subsampling."""

    def count(self, call: Call, keys: int) -> float:
        n = math.prod(call.shape[1:-1])
        seen = {"all": n, "space": n // call.shape[1], "time": call.shape[1]}[call.spec.extent]
        return seen // call.shape[1] * call.spec.window if call.spec.window else seen


@ZOO.wrong("N of the whole clip", "NL-4.2", "operation")
class _WholeClip(_Count):
    """N counts the positions of the whole clip, whatever the extent."""

    def count(self, call: Call, keys: int) -> float:
        if call.spec.extent == "all" and call.spec.window is None:
            return keys
        pooled = (n // p for n, p in zip(call.shape[1:-1], call.spec.pool, strict=True))
        return math.prod(pooled)


ZOO.replace(
    "N of the whole batch",
    "NL-4.2",
    "operation",
    "N counts the positions of all the items of a batch.",
    base=_Count,
    count=lambda self, call, keys: keys * call.shape[0],
)
ZOO.replace(
    "N less one",
    "NL-4.2",
    "operation",
    "N leaves i itself out.",
    base=_Count,
    count=lambda self, call, keys: max(keys - 1, 1),
)
ZOO.replace(
    "sum of |f|",
    "NL-4.1",
    "operation",
    "C(x) is the sum of |f|.",
    base=_Normalizer,
    applies=lambda self, call: by_sum(call),
    instead=lambda self, call, f: np.abs(f).sum(-1, keepdims=True),
)
ZOO.replace(
    "sum plus 1e-6",
    "NL-4.1",
    "operation",
    "C(x) is the sum of f plus 1e-6, so that it is not 0.",
    base=_Normalizer,
    applies=lambda self, call: by_sum(call) and not gaussian(call),
    instead=lambda self, call, f: self.total(call, f, -1) + call.work.type(1e-6),
)


@ZOO.wrong("sum plus 1", "NL-4.1", "operation")
class _PlusOne(Plain):
    """The softmax's sum has a further term exp(0)."""

    def normalizer(self, call: Call, t: np.ndarray, f: np.ndarray) -> np.ndarray:
        c = super().normalizer(call, t, f)
        return c + np.exp(-self.shift(call, t)) if by_sum(call) and gaussian(call) else c


ZOO.replace(
    "divided twice",
    "NL-4.1",
    "operation",
    "What the sum normalized is divided by N besides.",
    divided=lambda self, call, f, c: Plain.divided(
        self, call, f, c * f.shape[-1] if by_sum(call) else c
    ),
)
ZOO.replace(
    "C = 0 makes NaN",
    "NL-4.4",
    "operation",
    "0 / 0 where C(x) is 0.",
    divided=lambda self, call, f, c: f / c,
)


@ZOO.wrong("C = 0 makes the mean", "NL-4.4", "operation")
class _MeanAtZero(Plain):
    """Where C(x) is 0, every position counts the same."""

    def divided(self, call: Call, f: np.ndarray, c: np.ndarray) -> np.ndarray:
        return np.where(c == 0, call.work.type(1 / f.shape[-1]), super().divided(call, f, c))


ZOO.replace(
    "one maximum for all rows",
    "NL-4.5",
    "operation",
    "The largest logit of an item is subtracted from all its rows, some of which underflow.",
    shift=lambda self, call, t: t.max((1, 2), keepdims=True) if by_sum(call) else 0.0,
)
ZOO.replace(
    "exp without maximum",
    "NL-4.5",
    "operation",
    "No maximum is subtracted before exp, which overflows.",
    shift=lambda self, call, t: 0.0,
)


@ZOO.wrong("phi g kept in float16", "NL-4.5", "operation", ("float16",))
class _HalfProduct(Plain):
    """theta (phi^T g), where phi^T g / N is kept in float16 and overflows."""

    def operation(self, call: Call, theta: np.ndarray, phi: np.ndarray, g: np.ndarray) -> Pairs:
        p = super().operation(call, theta, phi, g)
        if dot_product(call) and not by_sum(call):
            share = call.work.type(call.spec.scale / phi.shape[1])
            kept = call.stored(self.product(call, phi.swapaxes(1, 2), g) * share)  # (B', D, V)
            p.y = call.stored(self.product(call, theta, kept))
        return p
