"""NL-3 got wrong: f and its scale."""

from __future__ import annotations

import numpy as np

from nlcore_conformance.mutants.mutant import Zoo, gaussian
from nlcore_conformance.backend.plain import Call, Plain

ZOO = Zoo()


@ZOO.wrong("scale D^-1/2", "NL-3.2", "operation")
class _OverRootD(Plain):
    """The scale is D^-1/2, whatever the spec says."""

    def scale(self, call: Call) -> float:
        return call.spec.inner_channels**-0.5


@ZOO.wrong("scale C^-1/2", "NL-3.2", "operation")
class _OverRootC(Plain):
    """The scale is C^-1/2, of the channels of x."""

    def scale(self, call: Call) -> float:
        return call.spec.channels**-0.5


@ZOO.wrong("scale D^+1/2", "NL-3.2", "operation")
class _TimesRootD(Plain):
    """Divided by the scale D^-1/2 rather than multiplied: D^+1/2."""

    def scale(self, call: Call) -> float:
        return call.spec.inner_channels**0.5


@ZOO.wrong("no scale", "NL-3.1", "operation")
class _Unscaled(Plain):
    """The scale is 1, whatever the spec says."""

    def scale(self, call: Call) -> float:
        return 1.0


@ZOO.wrong("no scale for the dot product", "NL-3.3", "operation")
class _DotUnscaled(Plain):
    """The scale is the two Gaussians' only."""

    def scale(self, call: Call) -> float:
        return super().scale(call) if gaussian(call) else 1.0


@ZOO.wrong("scale squared", "NL-3.2", "operation")
class _ScaledTwice(Plain):
    """theta and phi are each multiplied with the scale."""

    def scale(self, call: Call) -> float:
        return call.spec.scale**2


@ZOO.wrong("scale without sign", "NL-3.2", "operation")
class _Unsigned(Plain):
    """The scale is |s|."""

    def scale(self, call: Call) -> float:
        return abs(call.spec.scale)


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


@ZOO.wrong("ReLU on the dot product", "NL-3.3", "operation")
class _DotActivated(Plain):
    """The dot product passes a ReLU."""

    def pairwise(self, call: Call, t: np.ndarray) -> np.ndarray:
        return (
            np.maximum(t, 0) if call.spec.pairwise == "dot_product" else super().pairwise(call, t)
        )


@ZOO.wrong("|dot product|", "NL-3.3", "operation")
class _DotUnsigned(Plain):
    """The dot product's absolute value."""

    def pairwise(self, call: Call, t: np.ndarray) -> np.ndarray:
        return np.abs(t) if call.spec.pairwise == "dot_product" else super().pairwise(call, t)


class _Relu(Plain):
    """Another function in the place of the concatenation's ReLU."""

    def relu(self, t: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def pairwise(self, call: Call, t: np.ndarray) -> np.ndarray:
        return self.relu(t) if call.spec.pairwise == "concatenation" else super().pairwise(call, t)


@ZOO.wrong("concatenation without ReLU", "NL-3.4", "operation")
class _NoRelu(_Relu):
    """The concatenation's ReLU is missing."""

    def relu(self, t: np.ndarray) -> np.ndarray:
        return t


@ZOO.wrong("leaky ReLU", "NL-3.4", "operation")
class _Leaky(_Relu):
    """A leaky ReLU, 0.01 t below 0."""

    def relu(self, t: np.ndarray) -> np.ndarray:
        return np.where(t > 0, t, t.dtype.type(0.01) * t)


@ZOO.wrong("|.| for ReLU", "NL-3.4", "operation")
class _Unsigned2(_Relu):
    """The absolute value in the place of the ReLU."""

    def relu(self, t: np.ndarray) -> np.ndarray:
        return np.abs(t)


@ZOO.wrong("ReLU6", "NL-3.4", "operation")
class _Relu6(_Relu):
    """A ReLU that ends at 6."""

    def relu(self, t: np.ndarray) -> np.ndarray:
        return np.clip(t, 0, 6)


@ZOO.wrong("phi before theta", "NL-3.4", "operation")
class _Reordered(Plain):
    """[phi_j, theta_i]: the halves of w_f change places."""

    def halves(self, call: Call) -> tuple[np.ndarray, np.ndarray]:
        left, right = super().halves(call)
        return right, left


@ZOO.wrong("first half of w_f twice", "NL-3.4", "operation")
class _OneHalf(Plain):
    """The first half of w_f multiplies both theta_i and phi_j."""

    def halves(self, call: Call) -> tuple[np.ndarray, np.ndarray]:
        left, _ = super().halves(call)
        return left, left


@ZOO.wrong("w_f interleaved", "NL-3.4", "operation")
class _Interleaved(Plain):
    """w_f's even entries are theta's, its odd entries phi's."""

    def halves(self, call: Call) -> tuple[np.ndarray, np.ndarray]:
        weight = call.w["f.weight"]
        return weight[::2], weight[1::2]


class _PairSum(Plain):
    def pair_sum(self, call: Call, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        bias = call.w["f.bias"] if call.spec.pair_bias else call.work.type(0)
        return self.summed(call, a, b, bias)

    def summed(self, call: Call, a: np.ndarray, b: np.ndarray, bias: np.ndarray) -> np.ndarray:
        raise NotImplementedError


@ZOO.wrong("ReLU of each half", "NL-3.4", "operation")
class _EachActivated(_PairSum):
    """A ReLU on w_f's product with theta_i, another on that with phi_j."""

    def summed(self, call: Call, a: np.ndarray, b: np.ndarray, bias: np.ndarray) -> np.ndarray:
        return np.maximum(a, 0) + np.maximum(b, 0) + bias


@ZOO.wrong("no pair bias", "NL-3.4", "operation")
class _NoPairBias(_PairSum):
    """b_f is left out."""

    def summed(self, call: Call, a: np.ndarray, b: np.ndarray, bias: np.ndarray) -> np.ndarray:
        return a + b


@ZOO.wrong("pair bias twice", "NL-3.4", "operation")
class _PairBiasTwice(_PairSum):
    """b_f is added to both halves."""

    def summed(self, call: Call, a: np.ndarray, b: np.ndarray, bias: np.ndarray) -> np.ndarray:
        return (a + bias) + (b + bias)


@ZOO.wrong("no pair bias in training", "NL-3.4", "operation")
class _NoPairBiasInTraining(_PairSum):
    """b_f is left out in training."""

    def summed(self, call: Call, a: np.ndarray, b: np.ndarray, bias: np.ndarray) -> np.ndarray:
        return a + b if call.training else a + b + bias


@ZOO.wrong("pair bias after the ReLU", "NL-3.4", "operation")
class _PairBiasAfter(_PairSum):
    """b_f is added to the ReLU's result."""

    def summed(self, call: Call, a: np.ndarray, b: np.ndarray, bias: np.ndarray) -> np.ndarray:
        return a + b

    def pairwise(self, call: Call, t: np.ndarray) -> np.ndarray:
        f = super().pairwise(call, t)
        return f + call.w["f.bias"] if call.spec.pair_bias else f
