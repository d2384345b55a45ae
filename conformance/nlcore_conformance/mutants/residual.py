"""NL-7, NL-8 and NL-10.4 got wrong: W_z, batch normalization and the residual."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nlcore import NonLocalSpec
from nlcore.spec import FLOATS
from nlcore_conformance.mutants.mutant import Zoo
from nlcore_conformance.backend.plain import Call, Plain
from nlcore_conformance.backend.protocol import Weights

ZOO = Zoo()


@ZOO.wrong("W_z without bias", "NL-7.1", "W_z")
class _NoBias(Plain):
    """b_z is left out."""

    def bias(self, call: Call, name: str) -> np.ndarray | None:
        return None if name == "out" else super().bias(call, name)


@ZOO.wrong("W_z's bias only without BN", "NL-7.1", "W_z")
class _NoBiasBesideBN(Plain):
    """b_z is left out beside batch normalization."""

    def bias(self, call: Call, name: str) -> np.ndarray | None:
        return None if name == "out" and call.spec.batch_norm else super().bias(call, name)


@ZOO.wrong("b_z after BN", "NL-7.1", "batch normalization")
class _BiasAfter(Plain):
    """b_z is added to BN's result."""

    def bias(self, call: Call, name: str) -> np.ndarray | None:
        return None if name == "out" and call.spec.batch_norm else super().bias(call, name)

    def residual(self, call: Call, v: np.ndarray, x: np.ndarray) -> np.ndarray:
        late = call.spec.batch_norm and call.spec.bias
        return super().residual(call, v + call.w["out.bias"] if late else v, x)


@ZOO.wrong("W_z is W_g transposed", "NL-7.1", "W_z")
class _TiedOut(Plain):
    """W_z takes W_g's transpose."""

    def weight(self, call: Call, name: str) -> np.ndarray:
        return super().weight(call, "g").T if name == "out" else super().weight(call, name)


@ZOO.wrong("no residual", "NL-7.1", "residual")
class _NoResidual(Plain):
    """x is not added."""

    def residual(self, call: Call, v: np.ndarray, x: np.ndarray) -> np.ndarray:
        return v


@ZOO.wrong("x twice", "NL-7.1", "residual")
class _TwiceResidual(Plain):
    """x is added by the block and by the model around it."""

    def residual(self, call: Call, v: np.ndarray, x: np.ndarray) -> np.ndarray:
        return v + x + x


@ZOO.wrong("silently off", "NL-7.1", "residual")
class _Off(Plain):
    """z = x: the block is there and never runs."""

    def residual(self, call: Call, v: np.ndarray, x: np.ndarray) -> np.ndarray:
        return x


@ZOO.wrong("ReLU after the block", "NL-7.2", "residual")
class _ReluAfter(Plain):
    """A ReLU follows the sum."""

    def residual(self, call: Call, v: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.maximum(v + x, 0)


@ZOO.wrong("ReLU before the sum", "NL-7.2", "residual")
class _ReluBefore(Plain):
    """A ReLU before x is added."""

    def residual(self, call: Call, v: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.maximum(v, 0) + x


@ZOO.wrong("dropout in training", "NL-7.2", "residual")
class _Dropout(Plain):
    """A tenth of the block's answer is dropped in training."""

    def residual(self, call: Call, v: np.ndarray, x: np.ndarray) -> np.ndarray:
        if not call.training:
            return v + x
        kept = np.random.default_rng(0).random(v.shape) < 0.9
        return np.where(kept, v / call.work.type(0.9), 0) + x


@ZOO.wrong("BN of the sum", "NL-7.1", "residual")
class _NormalizedSum(Plain):
    """BN(W_z y + x) with the running statistics, rather than BN(W_z y) + x."""

    def residual(self, call: Call, v: np.ndarray, x: np.ndarray) -> np.ndarray:
        if not call.spec.batch_norm or call.training:
            return v + x
        slope = call.w["bn.weight"] / np.sqrt(call.w["bn.running_var"] + call.spec.eps)
        return v + x * slope.astype(call.work)


class _Eps(Plain):
    """1 / sqrt(variance + eps), otherwise."""

    def rstd(self, call: Call, variance: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def batch_norm(self, call: Call, out: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mean, variance = self.statistics(call, out)
        rstd = self.rstd(call, variance).astype(call.work)
        xhat = (out - mean) * rstd
        return xhat * call.w["bn.weight"] + call.w["bn.bias"], xhat, rstd


@ZOO.wrong("eps 1e-3", "NL-8.1", "batch normalization")
class _LargeEps(Plain):
    """eps is 1e-3, another framework's default."""

    def eps(self, call: Call) -> float:
        return 1e-3


@ZOO.wrong("eps 1e-5", "NL-8.1", "batch normalization")
class _DefaultEps(Plain):
    """eps is 1e-5, whatever the spec says."""

    def eps(self, call: Call) -> float:
        return 1e-5


@ZOO.wrong("eps after the root", "NL-8.1", "batch normalization")
class _EpsOutside(_Eps):
    """sqrt(variance) + eps."""

    def rstd(self, call: Call, variance: np.ndarray) -> np.ndarray:
        return 1 / (np.sqrt(variance) + call.spec.eps)


@ZOO.wrong("variance for deviation", "NL-8.1", "batch normalization")
class _NoRoot(_Eps):
    """The deviation is divided by the variance, not by its root."""

    def rstd(self, call: Call, variance: np.ndarray) -> np.ndarray:
        return 1 / (variance + call.spec.eps)


class _Affine(Plain):
    """BN's weight and bias, otherwise."""

    def affine(self, w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        raise NotImplementedError

    def call(self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool) -> Call:
        call = super().call(spec, weights, x, training)
        return replace(call, w=call.w | self.affine(call.w)) if spec.batch_norm else call


@ZOO.wrong("BN without weight", "NL-8.1", "batch normalization")
class _NoWeight(_Affine):
    """BN's weight is left out."""

    def affine(self, w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"bn.weight": np.ones_like(w["bn.weight"])}


@ZOO.wrong("BN's weight plus 1", "NL-8.1", "batch normalization")
class _WeightPlusOne(_Affine):
    """BN multiplies with 1 + weight."""

    def affine(self, w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"bn.weight": 1 + w["bn.weight"]}


@ZOO.wrong("BN without bias", "NL-8.1", "batch normalization")
class _NoShift(_Affine):
    """BN's bias is left out."""

    def affine(self, w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"bn.bias": np.zeros_like(w["bn.bias"])}


@ZOO.wrong("BN without mean", "NL-8.1", "batch normalization")
class _NoMean(_Affine):
    """The running mean is taken for 0."""

    def affine(self, w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"bn.running_mean": np.zeros_like(w["bn.running_mean"])}


@ZOO.wrong("zero init lost", "NL-10.4", "batch normalization")
class _Reset(_Affine):
    """A BN weight that is all 0 is set to 1, as by a model that initializes it again."""

    def affine(self, w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {} if w["bn.weight"].any() else {"bn.weight": np.ones_like(w["bn.weight"])}


@ZOO.wrong("zero W_z drawn again", "NL-10.4", "W_z")
class _Redrawn(Plain):
    """A W_z that is all 0 is drawn again."""

    def weight(self, call: Call, name: str) -> np.ndarray:
        weight = super().weight(call, name)
        return weight if weight.any() or name != "out" else np.full_like(weight, 0.01)


@ZOO.wrong("frozen statistics", "NL-8.2", "batch normalization")
class _Frozen(Plain):
    """The running statistics, in training too."""

    def statistics(self, call: Call, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return super().statistics(replace(call, training=False), out)


@ZOO.wrong("batch statistics in inference", "NL-8.1", "batch normalization")
class _Unfrozen(Plain):
    """The batch's statistics, in inference too."""

    def statistics(self, call: Call, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return super().statistics(replace(call, training=True), out)


@ZOO.wrong("unbiased variance", "NL-8.2", "batch normalization")
class _Unbiased(Plain):
    """The batch's variance is divided by n - 1."""

    def statistics(self, call: Call, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, variance = super().statistics(call, out)
        n = out[..., 0].size
        return mean, variance * call.work.type(n / max(n - 1, 1)) if call.training else variance


@ZOO.wrong("statistics with momentum", "NL-8.2", "batch normalization")
class _Momentum(Plain):
    """Training normalizes with the running statistics just updated, by a momentum of 0.1."""

    def statistics(self, call: Call, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        running = call.w["bn.running_mean"], call.w["bn.running_var"]
        if not call.training:
            return running
        now, kept = call.work.type(0.1), call.work.type(0.9)
        mean, variance = super().statistics(call, out)
        return now * mean + kept * running[0], now * variance + kept * running[1]


class _Axes(Plain):
    """The batch's statistics over other axes of (B, *positions, C)."""

    def axes(self, ndim: int) -> tuple[int, ...]:
        raise NotImplementedError

    def statistics(self, call: Call, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not call.training:
            return super().statistics(call, out)
        axes = self.axes(out.ndim)
        return out.mean(axes, keepdims=True), out.var(axes, keepdims=True)


@ZOO.wrong("statistics of each item", "NL-8.2", "batch normalization")
class _Instance(_Axes):
    """Mean and variance of each item of the batch by itself."""

    def axes(self, ndim: int) -> tuple[int, ...]:
        return tuple(range(1, ndim - 1))


@ZOO.wrong("statistics of each frame", "NL-8.2", "batch normalization")
class _Frame(_Axes):
    """Mean and variance over the batch and all but the first axis of positions."""

    def axes(self, ndim: int) -> tuple[int, ...]:
        return (0, *range(2, ndim - 1))


@ZOO.wrong("statistics over channels", "NL-8.2", "batch normalization")
class _Layer(_Axes):
    """Mean and variance over the channels of each position."""

    def axes(self, ndim: int) -> tuple[int, ...]:
        return (ndim - 1,)


@ZOO.wrong("running statistics changed", "NL-8.3", "", FLOATS)
class _InPlace(Plain):
    """Training writes into the running statistics that it was given."""

    def block(
        self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool = False
    ) -> np.ndarray:
        z = super().block(spec, weights, x, training)
        if training and spec.batch_norm:
            weights["bn.running_mean"][...] *= weights["bn.running_mean"].dtype.type(0.9)
        return z
