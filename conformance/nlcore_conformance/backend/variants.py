"""Right implementations that compute differently from the plain one. The suite must accept them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nlcore import NonLocalSpec
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.plain_forward import Call, Pairs, flat
from nlcore_conformance.backend.protocol import Backend
from nlcore_conformance.backend.reference import Reference


@dataclass(frozen=True)
class Variant:
    """A right implementation, and how it differs from the plain one."""

    name: str
    difference: str
    backend: Backend


class _Reference64(Reference):
    """The reference in float64 alone, since its other dtypes only round that."""

    def supports(self, spec: NonLocalSpec, dtype: str) -> bool | str:
        return dtype == "float64" or "as in float64"


class _Different(Plain):
    """Computes some specs differently from the plain one, and supports no others."""

    dtypes = ("float32", "bfloat16")

    def differs(self, spec: NonLocalSpec) -> bool:
        """Whether it computes this spec differently."""
        return True

    def supports(self, spec: NonLocalSpec, dtype: str) -> bool | str:
        return super().supports(spec, dtype) if self.differs(spec) else "as the plain one does"


class _OtherAssociation(_Different):
    """theta (phi^T g) for (theta phi^T) g: no N x M product decides a dot product's y."""

    def differs(self, spec: NonLocalSpec) -> bool:
        return spec.pairwise == "dot_product"

    def operation(self, call: Call, theta: np.ndarray, phi: np.ndarray, g: np.ndarray) -> Pairs:
        p = super().operation(call, theta, phi, g)
        keys = phi.swapaxes(1, 2)  # (B', D, M)
        theta = theta * call.work.type(call.spec.scale)
        y = self.product(call, theta, self.product(call, keys, g))  # (B', N, V)
        if call.spec.normalization == "sum":
            p.c = self.product(call, theta, self.total(call, keys, -1))  # (B', N, 1)
        p.y = call.stored(self.divided(call, y, p.c))
        return p


class _FoldedOutput(_Different):
    """W_z g^T phi s / M, a product of no position, times theta: neither y nor f decides z."""

    def differs(self, spec: NonLocalSpec) -> bool:
        return spec.pairwise == "dot_product" and spec.normalization == "count"

    def operation(self, call: Call, theta: np.ndarray, phi: np.ndarray, g: np.ndarray) -> Pairs:
        share = call.work.type(call.spec.scale / phi.shape[1])
        kept = call.stored(self.product(call, phi.swapaxes(1, 2), g) * share)  # (B', D, V)
        maps = call.stored(self.product(call, kept, self.weight(call, "out").T))  # (B', D, C)
        self.out = self.product(call, theta, maps)  # (B', N, C)
        return super().operation(call, theta, phi, g)

    def linear(self, call: Call, name: str, x: np.ndarray) -> np.ndarray:
        if name != "out":
            return super().linear(call, name, x)
        bias = self.bias(call, name)
        return call.stored(self.out if bias is None else self.out + bias)


class _PrefixSums(_Different):
    """Concatenation by the keys in order: with a_i + b_j > 0 for the first k_i of them, y is
    (a_i sum g + sum b g) / C, of sums over those.
    """

    def differs(self, spec: NonLocalSpec) -> bool:
        return spec.pairwise == "concatenation"

    def operation(self, call: Call, theta: np.ndarray, phi: np.ndarray, g: np.ndarray) -> Pairs:
        p = super().operation(call, theta, phi, g)
        if not np.isfinite(p.t).all():  # which have no order
            return p
        left, right = self.halves(call)
        a = self.product(call, theta, left[:, None])[..., 0]  # (B', N)
        a = a + call.w["f.bias"] if call.spec.pair_bias else a
        b = self.product(call, phi, right[:, None])  # (B', M, 1)
        y = np.zeros_like(p.y)
        for item in range(len(a)):
            order = np.argsort(-b[item, :, 0], kind="stable")
            keys, values = b[item][order], g[item][order]  # (M, 1), (M, V)
            # the last columns are those of C by its sum
            values = np.concatenate([values, np.ones_like(keys)], 1)
            sums = np.cumsum(np.concatenate([values, keys * values], 1), 0, call.work.type)
            sums = np.concatenate([np.zeros_like(sums[:1]), sums])  # (M + 1, 2 V + 2)
            count = np.searchsorted(-keys[:, 0], a[item])  # (N,)
            plain, times = np.split(sums[count], 2, 1)
            total = a[item][:, None] * plain + times  # (N, V + 1)
            c = total[:, -1:] if call.spec.normalization == "sum" else p.c[0]
            c = (
                np.where(count[:, None] == 0, call.work.type(0), c)
                if call.spec.normalization == "sum"
                else c
            )
            y[item] = self.divided(call, total[:, :-1], c)
        p.y = call.stored(y)
        return p


class _FoldedWeights(_Different):
    """Concatenation by (w_f W_theta) x, a product of weights, where phi itself is not pooled."""

    def differs(self, spec: NonLocalSpec) -> bool:
        return spec.pairwise == "concatenation"

    def theta(self, call: Call, x: np.ndarray) -> np.ndarray:
        self.queries = x  # for the logits
        return super().theta(call, x)

    def phi(self, call: Call, x: np.ndarray) -> np.ndarray:
        self.keys = x
        return super().phi(call, x)

    def logits(self, call: Call, theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
        if "phi" in self.pools(call):
            return super().logits(call, theta, phi)
        sums = []
        for name, half, x in zip(
            ("theta", "phi"), self.halves(call), (self.queries, self.keys), strict=True
        ):
            folded = self.product(call, half[None], self.weight(call, name))[0]  # (C,)
            bias = self.bias(call, name)
            extra = call.work.type(0) if bias is None else half @ bias
            sums.append(self.product(call, flat(x), folded[:, None]) + extra)  # (B', N, 1)
        return self.pair_sum(call, sums[0], sums[1].swapaxes(1, 2))


class _Exp2(_Different):
    """exp as exp2 of the logits times a rounded log2(e)."""

    def differs(self, spec: NonLocalSpec) -> bool:
        return "gaussian" in spec.pairwise

    def pairwise(self, call: Call, t: np.ndarray) -> np.ndarray:
        log2e = call.work.type(np.log2(np.e))
        return np.exp2((t - self.shift(call, t)) * log2e)


class _Exp2Late(_Different):
    """exp2, the factor log2(e) applied before the maximum is subtracted."""

    def differs(self, spec: NonLocalSpec) -> bool:
        return "gaussian" in spec.pairwise

    def pairwise(self, call: Call, t: np.ndarray) -> np.ndarray:
        t = t * call.work.type(np.log2(np.e))
        return np.exp2(t - self.shift(call, t))


class _Online(_Different):
    """A softmax in two blocks of keys, the first one's sums rescaled to the second's maximum."""

    def differs(self, spec: NonLocalSpec) -> bool:
        return "gaussian" in spec.pairwise and spec.normalization == "sum"

    def operation(self, call: Call, theta: np.ndarray, phi: np.ndarray, g: np.ndarray) -> Pairs:
        p = super().operation(call, theta, phi, g)
        middle = phi.shape[1] // 2
        if not middle:
            return p
        maximum = np.full_like(p.t[..., :1], -np.inf)
        c, y = np.zeros_like(maximum), np.zeros_like(p.y)
        for keys in (slice(middle), slice(middle, None)):
            t = p.t[..., keys]
            new = np.maximum(maximum, t.max(-1, keepdims=True))
            f, kept = np.exp(t - new), np.exp(maximum - new)
            c = c * kept + self.total(call, f, -1)
            y = y * kept + self.product(call, f, g[:, keys])
            maximum = new
        p.y = call.stored(y / c)
        return p


class _LateDivision(_Different):
    """sum f g first, divided by C(x) afterwards."""

    def operation(self, call: Call, theta: np.ndarray, phi: np.ndarray, g: np.ndarray) -> Pairs:
        p = super().operation(call, theta, phi, g)
        p.y = call.stored(self.divided(call, self.product(call, p.f, g), p.c))
        return p


class _FoldedNorm(_Different):
    """Batch normalization as out * slope + (bias - mean * slope)."""

    def differs(self, spec: NonLocalSpec) -> bool:
        return spec.batch_norm

    def batch_norm(self, call: Call, out: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        _, xhat, rstd = super().batch_norm(call, out)
        mean, _ = self.statistics(call, out)
        slope = rstd * call.w["bn.weight"]
        return out * slope + (call.w["bn.bias"] - mean * slope), xhat, rstd


class _LateBias(_Different):
    """b_g as W_z b_g in the bias of W_z, from which its sum starts."""

    def differs(self, spec: NonLocalSpec) -> bool:
        by_sum = spec.normalization == "sum" and "gaussian" in spec.pairwise
        return bool(spec.bias) and by_sum

    def bias(self, call: Call, name: str) -> np.ndarray | None:
        return None if name == "g" else super().bias(call, name)

    def linear(self, call: Call, name: str, x: np.ndarray) -> np.ndarray:
        if name != "out":
            return super().linear(call, name, x)
        weight, bias = self.weight(call, name), self.bias(call, name)  # (C, V), (C,) or None
        start = weight @ call.w["g.bias"]  # (C,)
        start = start if bias is None else start + bias
        y = np.broadcast_to(start, (*x.shape[:-1], len(start))).astype(call.work)
        for k in range(x.shape[-1]):
            y = y + x[..., k, None] * weight[:, k]
        self.pairs.y = call.stored(self.pairs.y + call.w["g.bias"])  # for the gradient of W_z
        return call.stored(y)

    def operation(self, call: Call, theta: np.ndarray, phi: np.ndarray, g: np.ndarray) -> Pairs:
        self.pairs = super().operation(call, theta, phi, g)
        return self.pairs


class InSequence(_Different):
    """Every sum in sequence, one term after the other."""

    def product(self, call: Call, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        total = np.zeros((*a.shape[:-1], b.shape[-1]), call.work)
        for k in range(a.shape[-1]):
            total += a[..., k, None] * b[..., k, None, :]
        return total

    def total(self, call: Call, a: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
        axes = (axis,) if isinstance(axis, int) else axis
        kept = np.moveaxis(a, axes, range(-len(axes), 0))
        shape = [1 if n in {k % a.ndim for k in axes} else size for n, size in enumerate(a.shape)]
        flat = kept.reshape(*kept.shape[: a.ndim - len(axes)], -1)
        return np.cumsum(flat, -1)[..., -1].reshape(shape)


def honest() -> tuple[Variant, ...]:
    """Right implementations, all of which must be accepted."""
    out = [
        Variant("reference", "nlcore itself, in float64", _Reference64()),
        Variant("float32", "plain", Plain(("float32",))),
        Variant("float64", "plain", Plain(("float64",))),
        Variant("float16", "stages in float16, sums in float32", Plain(("float16",))),
        Variant("bfloat16", "bfloat16 operands, sums in float32", Plain(("bfloat16",))),
    ]
    for name, kind in {
        "other association": _OtherAssociation,
        "folded output": _FoldedOutput,
        "prefix sums": _PrefixSums,
        "folded weights": _FoldedWeights,
        "exp2": _Exp2,
        "exp2, scaled first": _Exp2Late,
        "online softmax": _Online,
        "late division": _LateDivision,
        "folded batch normalization": _FoldedNorm,
        "b_g after the mean": _LateBias,
        "sums in sequence": InSequence,
    }.items():
        out.append(Variant(name, " ".join(str(kind.__doc__).split()), kind()))
    return tuple(out)
