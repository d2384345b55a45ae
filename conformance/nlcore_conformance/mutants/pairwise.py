"""NL-3 got wrong: f and its scale."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.plain_forward import Call
from nlcore_conformance.mutants.mutant import Zoo, concatenation, dot_product, gaussian

ZOO = Zoo()

ZOO.replace(
    "scale D^-1/2",
    "NL-3.2",
    "operation",
    "The scale is D^-1/2, whatever the spec says.",
    scale=lambda self, call: call.spec.inner_channels**-0.5,
)
ZOO.replace(
    "scale C^-1/2",
    "NL-3.2",
    "operation",
    "The scale is C^-1/2, of the channels of x.",
    scale=lambda self, call: call.spec.channels**-0.5,
)
ZOO.replace(
    "scale D^+1/2",
    "NL-3.2",
    "operation",
    "Divided by the scale D^-1/2 rather than multiplied: D^+1/2.",
    scale=lambda self, call: call.spec.inner_channels**0.5,
)
ZOO.replace(
    "no scale",
    "NL-3.1",
    "operation",
    "The scale is 1, whatever the spec says.",
    scale=lambda self, call: 1.0,
)
ZOO.replace(
    "no scale for the dot product",
    "NL-3.3",
    "operation",
    "The scale is the two Gaussians' only.",
    scale=lambda self, call: Plain.scale(self, call) if gaussian(call) else 1.0,
)
ZOO.replace(
    "scale squared",
    "NL-3.2",
    "operation",
    "theta and phi are each multiplied with the scale.",
    scale=lambda self, call: call.spec.scale**2,
)
ZOO.replace(
    "scale without sign",
    "NL-3.2",
    "operation",
    "The scale is |s|.",
    scale=lambda self, call: abs(call.spec.scale),
)


@ZOO.wrong("distances for products", "NL-3.1", "operation")
class _Distances(Plain):
    """The Gaussian of |x_i - x_j|^2 / 2, as in the filter that it descends from."""

    def logits(self, call: Call, theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
        t = super().logits(call, theta, phi)
        if call.spec.embedded:
            return t
        a, b = ((e * e).sum(-1) * call.spec.scale / 2 for e in (theta, phi))
        return t - a[:, :, None] - b[:, None, :]


@ZOO.wrong("2^t for e^t", "NL-3.2", "operation")
class _Base2(Plain):
    """exp2 without the factor log2(e)."""

    def logits(self, call: Call, theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
        t = super().logits(call, theta, phi)
        return t * call.work.type(np.log(2)) if gaussian(call) else t


@ZOO.wrong("logits clipped", "NL-3.2", "operation")
class _Clipped(Plain):
    """Logits are clipped to [-30, 30], so that exp does not overflow."""

    def logits(self, call: Call, theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
        t = super().logits(call, theta, phi)
        return np.clip(t, -30, 30) if gaussian(call) else t


ZOO.replace(
    "ReLU on the dot product",
    "NL-3.3",
    "operation",
    "The dot product passes a ReLU.",
    pairwise=lambda self, call, t: (
        np.maximum(t, 0) if dot_product(call) else Plain.pairwise(self, call, t)
    ),
)
ZOO.replace(
    "|dot product|",
    "NL-3.3",
    "operation",
    "The dot product's absolute value.",
    pairwise=lambda self, call, t: (
        np.abs(t) if dot_product(call) else Plain.pairwise(self, call, t)
    ),
)


class _Relu(Plain):
    """Another function in the place of the concatenation's ReLU."""

    relu: Callable[[np.ndarray], np.ndarray]  # of t

    def pairwise(self, call: Call, t: np.ndarray) -> np.ndarray:
        return self.relu(t) if concatenation(call) else super().pairwise(call, t)


ZOO.replace(
    "concatenation without ReLU",
    "NL-3.4",
    "operation",
    "The concatenation's ReLU is missing.",
    base=_Relu,
    relu=lambda self, t: t,
)
ZOO.replace(
    "leaky ReLU",
    "NL-3.4",
    "operation",
    "A leaky ReLU, 0.01 t below 0.",
    base=_Relu,
    relu=lambda self, t: np.where(t > 0, t, t.dtype.type(0.01) * t),
)
ZOO.replace(
    "|.| for ReLU",
    "NL-3.4",
    "operation",
    "The absolute value in the place of the ReLU.",
    base=_Relu,
    relu=lambda self, t: np.abs(t),
)
ZOO.replace(
    "ReLU6",
    "NL-3.4",
    "operation",
    "A ReLU that ends at 6.",
    base=_Relu,
    relu=lambda self, t: np.clip(t, 0, 6),
)

ZOO.replace(
    "phi before theta",
    "NL-3.4",
    "operation",
    "[phi_j, theta_i]: the halves of w_f change places.",
    halves=lambda self, call: Plain.halves(self, call)[::-1],
)
ZOO.replace(
    "first half of w_f twice",
    "NL-3.4",
    "operation",
    "The first half of w_f multiplies both theta_i and phi_j.",
    halves=lambda self, call: (Plain.halves(self, call)[0],) * 2,
)
ZOO.replace(
    "w_f interleaved",
    "NL-3.4",
    "operation",
    "w_f's even entries are theta's, its odd entries phi's.",
    halves=lambda self, call: (call.w["f.weight"][::2], call.w["f.weight"][1::2]),
)
ZOO.replace(
    "w_f split at V",
    "NL-3.4",
    "operation",
    "phi's entries of w_f begin after V entries, from the first again at the end.",
    halves=lambda self, call: (
        Plain.halves(self, call)[0],
        np.roll(call.w["f.weight"], -call.spec.value_channels)[: call.spec.inner_channels],
    ),
)


def _pair_bias(call: Call) -> np.ndarray:
    return call.w["f.bias"] if call.spec.pair_bias else call.work.type(0)


ZOO.replace(
    "ReLU of each half",
    "NL-3.4",
    "operation",
    "A ReLU on w_f's product with theta_i, another on that with phi_j.",
    pair_sum=lambda self, call, a, b: np.maximum(a, 0) + np.maximum(b, 0) + _pair_bias(call),
)
ZOO.replace(
    "no pair bias",
    "NL-3.4",
    "operation",
    "b_f is left out.",
    pair_sum=lambda self, call, a, b: a + b,
)
ZOO.replace(
    "pair bias twice",
    "NL-3.4",
    "operation",
    "b_f is added to both halves.",
    pair_sum=lambda self, call, a, b: (a + _pair_bias(call)) + (b + _pair_bias(call)),
)
ZOO.replace(
    "no pair bias in training",
    "NL-3.4",
    "operation",
    "b_f is left out in training.",
    pair_sum=lambda self, call, a, b: a + b if call.training else a + b + _pair_bias(call),
)


@ZOO.wrong("pair bias after the ReLU", "NL-3.4", "operation")
class _PairBiasAfter(Plain):
    """b_f is added to the ReLU's result."""

    def pair_sum(self, call: Call, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a + b

    def pairwise(self, call: Call, t: np.ndarray) -> np.ndarray:
        f = super().pairwise(call, t)
        return f + call.w["f.bias"] if call.spec.pair_bias else f
