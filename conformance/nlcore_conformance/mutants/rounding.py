"""NL-12, NL-4.5 and NL-1.4 got wrong: right formulas in a worse arithmetic than the dtype's."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import ml_dtypes
import numpy as np

from nlcore import NonLocalSpec
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.plain_forward import Call, Pairs
from nlcore_conformance.backend.protocol import Weights
from nlcore_conformance.mutants.mutant import Zoo, by_sum, gaussian

ZOO = Zoo()
SINGLE, HALF = ("float32",), ("float16",)


def tf32(a: np.ndarray) -> np.ndarray:
    """float32 rounded to 10 explicit bits of mantissa, half to even."""
    bits = np.ascontiguousarray(a, np.float32).view(np.uint32)
    rounded = (bits + (0xFFF + ((bits >> 13) & 1)).astype(np.uint32)) & np.uint32(0xFFFFE000)
    return np.where(np.isfinite(a), rounded.view(np.float32), a)


class _Rounded(Plain):
    """Products of operands that are rounded further."""

    def applies(self, call: Call) -> bool:
        return True

    def round(self, a: np.ndarray) -> np.ndarray:
        return tf32(a)

    def product(self, call: Call, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if not self.applies(call):
            return super().product(call, a, b)
        return super().product(call, self.round(a), self.round(b))


ZOO.replace(
    "TF32",
    "NL-12.2",
    "embedding",
    "Operands of products have 10 bits of mantissa, as with TF32, and float32 is claimed.",
    dtypes=SINGLE,
    base=_Rounded,
)


def _length(call: Call) -> int:
    """The length of the products of theta and phi; the Gaussian's have that of the channels."""
    return call.spec.inner_channels if call.spec.embedded else call.spec.channels


for _width in (8, 64, 512):
    ZOO.replace(
        f"TF32 at D = {_width}",
        "NL-12.2",
        "embedding",
        f"Operands of products have 10 bits of mantissa, only where theta has {_width} entries.",
        dtypes=SINGLE,
        base=_Rounded,
        applies=lambda self, call, width=_width: _length(call) == width,
    )


class _TF32Logits(Plain):
    """TF32 in theta's products with phi only."""

    width: int

    def logits(self, call: Call, theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
        if theta.shape[-1] == self.width:
            theta, phi = tf32(theta), tf32(phi)
        return super().logits(call, theta, phi)


for _width in (8, 64, 512):
    ZOO.replace(
        f"TF32 logits at D = {_width}",
        "NL-12.2",
        "operation",
        f"theta and phi have 10 bits of mantissa in their product, only at a length of {_width}.",
        dtypes=SINGLE,
        base=_TF32Logits,
        width=_width,
    )
ZOO.replace(
    "bfloat16 operands",
    "NL-12.2",
    "embedding",
    "Operands of products are rounded to bfloat16, and float32 is claimed.",
    dtypes=SINGLE,
    base=_Rounded,
    round=lambda self, a: a.astype(ml_dtypes.bfloat16).astype(a.dtype),
)
ZOO.replace(
    "weights kept in float16",
    "NL-12.2",
    "embedding",
    "Weights are kept in float16, and float32 is claimed.",
    dtypes=SINGLE,
    weight=lambda self, call, name: (
        Plain.weight(self, call, name).astype(np.float16).astype(call.work)
    ),
)


@ZOO.wrong("float32 for float64", "NL-12.2", "embedding", ("float64",))
class _Single(Plain):
    """Everything is computed in float32, and float64 is claimed."""

    def call(self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool) -> Call:
        call = super().call(spec, weights, x, training)
        w = {name: a.astype(np.float32) for name, a in call.w.items()}
        return replace(call, w=w, work=np.dtype(np.float32))

    def rows(self, call: Call, x: np.ndarray) -> np.ndarray:
        return super().rows(call, x).astype(np.float32)


class Running(Plain):
    """Sums in sequence, kept in another dtype, where they have at least `least` terms."""

    sums: type
    least = 2

    def product(self, call: Call, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if a.shape[-1] < self.least:
            return super().product(call, a, b)
        total = np.zeros((*a.shape[:-1], b.shape[-1]), call.work)
        for k in range(a.shape[-1]):
            total += a[..., k, None] * b[..., k, None, :]
            total = total.astype(self.sums).astype(call.work)
        return total

    def total(self, call: Call, a: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
        right = super().total(call, a, axis)
        axes = (axis,) if isinstance(axis, int) else axis
        last = np.moveaxis(a, axes, range(-len(axes), 0)).reshape(right.size, -1)
        if last.shape[1] < self.least:
            return right
        total = np.zeros(right.size, call.work)
        for column in last.T:
            total = (total + column).astype(self.sums).astype(call.work)
        return total.reshape(right.shape)


ZOO.replace(
    "float16 sums",
    "NL-12.3",
    "embedding",
    "Running sums are kept in float16.",
    dtypes=HALF,
    base=Running,
    sums=np.float16,
)
ZOO.replace(
    "float16 sums of 4096",
    "NL-12.3",
    "operation",
    "Running sums of 4096 terms and more are kept in float16.",
    dtypes=HALF,
    base=Running,
    sums=np.float16,
    least=4096,
)
ZOO.replace(
    "bfloat16 sums",
    "NL-12.3",
    "embedding",
    "Running sums are kept in bfloat16.",
    dtypes=("bfloat16",),
    base=Running,
    sums=ml_dtypes.bfloat16,
)


class _OneHalfSum(Running):
    """Only sums for which a method calls `Running.total` are kept in float16."""

    sums = np.float16
    product, total = Plain.product, Plain.total


@ZOO.wrong("float16 softmax sum", "NL-12.3", "operation", HALF)
class _HalfSoftmax(_OneHalfSum):
    """The softmax's sum, and no other, is kept in float16."""

    def normalizer(self, call: Call, t: np.ndarray, f: np.ndarray) -> np.ndarray:
        if not (by_sum(call) and gaussian(call)):
            return super().normalizer(call, t, f)
        return Running.total(self, call, f, -1)


@ZOO.wrong("float16 mean", "NL-12.3", "batch normalization", HALF)
class _HalfMean(_OneHalfSum):
    """The batch's mean and variance are summed in float16."""

    def mean(self, call: Call, out: np.ndarray) -> np.ndarray:
        rows = out.reshape(-1, out.shape[-1])
        return Running.total(self, call, rows, 0)[0] / call.work.type(len(rows))


@ZOO.wrong("f kept in float16", "NL-4.5", "operation", HALF)
class _HalfF(Plain):
    """f is kept in float16 and overflows before it is divided by N."""

    def pairwise(self, call: Call, t: np.ndarray) -> np.ndarray:
        return call.stored(super().pairwise(call, t))


@ZOO.wrong("f g summed before the division", "NL-4.5", "operation", HALF)
class _LateDivision(Plain):
    """The sum of f g is kept in float16 and overflows before it is divided by N."""

    def operation(self, call: Call, theta: np.ndarray, phi: np.ndarray, g: np.ndarray) -> Pairs:
        p = super().operation(call, theta, phi, g)
        if not by_sum(call):
            p.y = call.stored(call.stored(self.product(call, p.f, g)) / p.c)
        return p


ZOO.replace(
    "exp in float16 without maximum",
    "NL-4.5",
    "operation",
    "exp of the logits themselves, kept in float16.",
    dtypes=HALF,
    base=_HalfF,
    shift=lambda self, call, t: 0.0,
)


@dataclass(frozen=True)
class _FlushingCall(Call):
    def stored(self, array: np.ndarray) -> np.ndarray:
        out = super().stored(array)
        return np.where(np.abs(out) < np.finfo(np.float16).smallest_normal, 0, out)


@ZOO.wrong("no subnormals in float16", "NL-1.4", "embedding", HALF)
class _Flushing(Plain):
    """float16 numbers below 2^-14 become 0."""

    def call(self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool) -> Call:
        call = super().call(spec, weights, x, training)
        return _FlushingCall(**{f.name: getattr(call, f.name) for f in fields(call)})


@ZOO.wrong("exp to 1e-4", "NL-12.5", "operation", SINGLE)
class _CoarseExp(Plain):
    """exp is right to 1e-4."""

    def pairwise(self, call: Call, t: np.ndarray) -> np.ndarray:
        f = super().pairwise(call, t)
        return f * (1 + np.float32(1e-4) * np.sin(37 * t)) if gaussian(call) else f


ZOO.replace(
    "coarse 1 / C",
    "NL-12.5",
    "operation",
    "1 / C(x) has 10 bits of mantissa.",
    dtypes=SINGLE,
    divided=lambda self, call, f, c: f * tf32(Plain.divided(self, call, np.ones_like(c), c)),
)


@ZOO.wrong("coarse 1 / sqrt", "NL-12.5", "batch normalization", SINGLE)
class _CoarseRoot(Plain):
    """BN's 1 / sqrt(variance + eps) has 10 bits of mantissa."""

    def batch_norm(self, call: Call, out: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mean, _ = self.statistics(call, out)
        rstd = tf32(super().batch_norm(call, out)[2])
        xhat = (out - mean) * rstd
        return xhat * call.w["bn.weight"] + call.w["bn.bias"], xhat, rstd


@ZOO.wrong("variance in one pass", "NL-8.2", "batch normalization", SINGLE)
class _OnePass(Plain):
    """The batch's variance is E[v^2] - E[v]^2, no less than 0, which cancels."""

    def statistics(self, call: Call, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, variance = super().statistics(call, out)
        if call.training:
            variance = np.maximum(self.mean(call, out * out) - mean * mean, 0)
        return mean, variance


@ZOO.wrong("small weights dropped", "NL-12.5", "operation", SINGLE)
class _Sparse(Plain):
    """Weights f / C below 1e-3 are dropped."""

    def divided(self, call: Call, f: np.ndarray, c: np.ndarray) -> np.ndarray:
        weight = super().divided(call, f, c)
        return np.where(weight < 1e-3, 0, weight) if gaussian(call) and by_sum(call) else weight
