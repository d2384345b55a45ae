"""NL-4 got wrong: C(x)."""

from __future__ import annotations

import math

import numpy as np

from nlcore_conformance.mutants.mutant import Zoo, by_sum, gaussian
from nlcore_conformance.backend.plain import Call, Plain

ZOO = Zoo()


class _Normalizer(Plain):
    """Another C(x) where this applies."""

    def applies(self, call: Call) -> bool:
        return True

    def instead(self, call: Call, f: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def normalizer(self, call: Call, t: np.ndarray, f: np.ndarray) -> np.ndarray:
        right = super().normalizer(call, t, f)
        return self.instead(call, f) if self.applies(call) else right


class _Count(_Normalizer):
    """Another N."""

    def applies(self, call: Call) -> bool:
        return not by_sum(call)

    def count(self, call: Call, keys: int) -> float:
        raise NotImplementedError

    def instead(self, call: Call, f: np.ndarray) -> np.ndarray:
        return np.full((1, 1, 1), self.count(call, f.shape[-1]), call.work)


@ZOO.wrong("softmax over queries", "NL-4.1", "operation")
class _OverQueries(_Normalizer):
    """The softmax is taken over i."""

    def applies(self, call: Call) -> bool:
        return by_sum(call) and gaussian(call)

    def instead(self, call: Call, f: np.ndarray) -> np.ndarray:
        return f.sum(1, keepdims=True)  # (B', 1, M)

    def shift(self, call: Call, t: np.ndarray) -> np.ndarray | float:
        return t.max((1, 2), keepdims=True) if self.applies(call) else 0.0


@ZOO.wrong("softmax over all pairs", "NL-4.1", "operation")
class _OverPairs(_Normalizer):
    """One sum for all pairs of an item."""

    def applies(self, call: Call) -> bool:
        return by_sum(call) and gaussian(call)

    def instead(self, call: Call, f: np.ndarray) -> np.ndarray:
        return f.sum((1, 2), keepdims=True)

    def shift(self, call: Call, t: np.ndarray) -> np.ndarray | float:
        return t.max((1, 2), keepdims=True) if self.applies(call) else 0.0


@ZOO.wrong("always the sum", "NL-4.2", "operation")
class _AlwaysSum(_Normalizer):
    """The sum of f, also where N is asked for."""

    def instead(self, call: Call, f: np.ndarray) -> np.ndarray:
        return self.total(call, f, -1)


@ZOO.wrong("always the count", "NL-4.1", "operation")
class _AlwaysCount(_Normalizer):
    """N, also where the sum of f is asked for."""

    def instead(self, call: Call, f: np.ndarray) -> np.ndarray:
        return np.full((1, 1, 1), f.shape[-1], call.work)

    def shift(self, call: Call, t: np.ndarray) -> np.ndarray | float:
        return 0.0


@ZOO.wrong("normalization follows f", "NL-4.3", "operation")
class _ByFunction(_Normalizer):
    """The Gaussians' default normalization, whatever was given: the sum."""

    def applies(self, call: Call) -> bool:
        return gaussian(call)

    def instead(self, call: Call, f: np.ndarray) -> np.ndarray:
        return self.total(call, f, -1)


@ZOO.wrong("softmax of the dot product", "NL-4.1", "operation")
class _DotSoftmax(Plain):
    """A dot product by its sum is taken for a softmax."""

    def pairwise(self, call: Call, t: np.ndarray) -> np.ndarray:
        if by_sum(call) and call.spec.pairwise == "dot_product":
            return np.exp(t - self.shift(call, t))
        return super().pairwise(call, t)


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


@ZOO.wrong("N of the whole batch", "NL-4.2", "operation")
class _WholeBatch(_Count):
    """N counts the positions of all the items of a batch."""

    def count(self, call: Call, keys: int) -> float:
        return keys * call.shape[0]


@ZOO.wrong("N less one", "NL-4.2", "operation")
class _LessOne(_Count):
    """N leaves i itself out."""

    def count(self, call: Call, keys: int) -> float:
        return max(keys - 1, 1)


@ZOO.wrong("sum of |f|", "NL-4.1", "operation")
class _Absolute(_Normalizer):
    """C(x) is the sum of |f|."""

    def applies(self, call: Call) -> bool:
        return by_sum(call)

    def instead(self, call: Call, f: np.ndarray) -> np.ndarray:
        return np.abs(f).sum(-1, keepdims=True)


@ZOO.wrong("sum plus 1e-6", "NL-4.1", "operation")
class _PlusEps(_Normalizer):
    """C(x) is the sum of f plus 1e-6, so that it is not 0."""

    def applies(self, call: Call) -> bool:
        return by_sum(call) and not gaussian(call)

    def instead(self, call: Call, f: np.ndarray) -> np.ndarray:
        return self.total(call, f, -1) + call.work.type(1e-6)


@ZOO.wrong("sum plus 1", "NL-4.1", "operation")
class _PlusOne(Plain):
    """The softmax's sum has a further term exp(0)."""

    def normalizer(self, call: Call, t: np.ndarray, f: np.ndarray) -> np.ndarray:
        c = super().normalizer(call, t, f)
        return c + np.exp(-self.shift(call, t)) if by_sum(call) and gaussian(call) else c


@ZOO.wrong("divided twice", "NL-4.1", "operation")
class _Twice(Plain):
    """What the sum normalized is divided by N besides."""

    def divided(self, call: Call, f: np.ndarray, c: np.ndarray) -> np.ndarray:
        return super().divided(call, f, c * f.shape[-1] if by_sum(call) else c)


@ZOO.wrong("C = 0 makes NaN", "NL-4.4", "operation")
class _ZeroOverZero(Plain):
    """0 / 0 where C(x) is 0."""

    def divided(self, call: Call, f: np.ndarray, c: np.ndarray) -> np.ndarray:
        return f / c


@ZOO.wrong("C = 0 makes the mean", "NL-4.4", "operation")
class _MeanAtZero(Plain):
    """Where C(x) is 0, every position counts the same."""

    def divided(self, call: Call, f: np.ndarray, c: np.ndarray) -> np.ndarray:
        return np.where(c == 0, call.work.type(1 / f.shape[-1]), super().divided(call, f, c))


@ZOO.wrong("one maximum for all rows", "NL-4.5", "operation")
class _OneMaximum(Plain):
    """The largest logit of an item is subtracted from all its rows, some of which underflow."""

    def shift(self, call: Call, t: np.ndarray) -> np.ndarray | float:
        return t.max((1, 2), keepdims=True) if by_sum(call) else 0.0


@ZOO.wrong("exp without maximum", "NL-4.5", "operation")
class _NoMaximum(Plain):
    """No maximum is subtracted before exp, which overflows."""

    def shift(self, call: Call, t: np.ndarray) -> np.ndarray | float:
        return 0.0
