"""NL-7, NL-8 and NL-10.4 got wrong: W_z, batch normalization and the residual."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from nlcore import NonLocalSpec
from nlcore.spec import FLOATS
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.plain_forward import Call
from nlcore_conformance.backend.protocol import Weights
from nlcore_conformance.mutants.mutant import Zoo

ZOO = Zoo()
ZOO.replace(
    "W_z without bias",
    "NL-7.1",
    "W_z",
    "b_z is left out.",
    bias=lambda self, call, name: None if name == "out" else Plain.bias(self, call, name),
)
ZOO.replace(
    "W_z's bias only without BN",
    "NL-7.1",
    "W_z",
    "b_z is left out beside batch normalization.",
    bias=lambda self, call, name: (
        None if name == "out" and call.spec.batch_norm else Plain.bias(self, call, name)
    ),
)


@ZOO.wrong("b_z after BN", "NL-7.1", "batch normalization")
class _BiasAfter(Plain):
    """b_z is added to BN's result."""

    def bias(self, call: Call, name: str) -> np.ndarray | None:
        return None if name == "out" and call.spec.batch_norm else super().bias(call, name)

    def residual(self, call: Call, v: np.ndarray, x: np.ndarray) -> np.ndarray:
        late = call.spec.batch_norm and call.spec.bias
        return super().residual(call, v + call.w["out.bias"] if late else v, x)


ZOO.replace(
    "W_z is W_g transposed",
    "NL-7.1",
    "W_z",
    "W_z takes W_g's transpose.",
    weight=lambda self, call, name: (
        Plain.weight(self, call, "g").T if name == "out" else Plain.weight(self, call, name)
    ),
)
ZOO.replace(
    "no residual", "NL-7.1", "residual", "x is not added.", residual=lambda self, call, v, x: v
)
ZOO.replace(
    "x twice",
    "NL-7.1",
    "residual",
    "x is added by the block and by the model around it.",
    residual=lambda self, call, v, x: v + x + x,
)
ZOO.replace(
    "silently off",
    "NL-7.1",
    "residual",
    "z = x: the block is there and never runs.",
    residual=lambda self, call, v, x: x,
)
ZOO.replace(
    "ReLU after the block",
    "NL-7.2",
    "residual",
    "A ReLU follows the sum.",
    residual=lambda self, call, v, x: np.maximum(v + x, 0),
)
ZOO.replace(
    "ReLU before the sum",
    "NL-7.2",
    "residual",
    "A ReLU before x is added.",
    residual=lambda self, call, v, x: np.maximum(v, 0) + x,
)


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
    """Another factor (C,) in the place of 1 / sqrt(variance + eps)."""

    rstd: Callable[[Call, np.ndarray], np.ndarray]  # of the variance (C,)

    def batch_norm(self, call: Call, out: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mean, variance = self.statistics(call, out)
        rstd = self.rstd(call, variance).astype(call.work)
        xhat = (out - mean) * rstd
        return xhat * call.w["bn.weight"] + call.w["bn.bias"], xhat, rstd


for _eps, _why in {
    "1e-3": "another framework's default",
    "1e-5": "whatever the spec says",
}.items():
    ZOO.replace(
        f"eps {_eps}",
        "NL-8.1",
        "batch normalization",
        f"eps is {_eps}, {_why}.",
        eps=lambda self, call, eps=float(_eps): eps,
    )
ZOO.replace(
    "eps after the root",
    "NL-8.1",
    "batch normalization",
    "sqrt(variance) + eps.",
    base=_Eps,
    rstd=lambda self, call, variance: 1 / (np.sqrt(variance) + call.spec.eps),
)
ZOO.replace(
    "variance for deviation",
    "NL-8.1",
    "batch normalization",
    "The deviation is divided by the variance, not by its root.",
    base=_Eps,
    rstd=lambda self, call, variance: 1 / (variance + call.spec.eps),
)


class _Affine(Plain):
    """Other weights of BN."""

    affine: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]  # of all weights, by name

    def call(self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool) -> Call:
        call = super().call(spec, weights, x, training)
        return replace(call, w=call.w | self.affine(call.w)) if spec.batch_norm else call


ZOO.replace(
    "BN without weight",
    "NL-8.1",
    "batch normalization",
    "BN's weight is left out.",
    base=_Affine,
    affine=lambda self, w: {"bn.weight": np.ones_like(w["bn.weight"])},
)
ZOO.replace(
    "BN's weight plus 1",
    "NL-8.1",
    "batch normalization",
    "BN multiplies with 1 + weight.",
    base=_Affine,
    affine=lambda self, w: {"bn.weight": 1 + w["bn.weight"]},
)
for _part, _rule in {
    "bias": "BN's bias is left out.",
    "running_mean": "The running mean is taken for 0.",
}.items():
    ZOO.replace(
        f"BN without {_part.removeprefix('running_')}",
        "NL-8.1",
        "batch normalization",
        _rule,
        base=_Affine,
        affine=lambda self, w, name=f"bn.{_part}": {name: np.zeros_like(w[name])},
    )
ZOO.replace(
    "zero init lost",
    "NL-10.4",
    "batch normalization",
    "A BN weight that is all 0 is set to 1, as by a model that initializes it again.",
    base=_Affine,
    affine=lambda self, w: (
        {} if w["bn.weight"].any() else {"bn.weight": np.ones_like(w["bn.weight"])}
    ),
)


@ZOO.wrong("zero W_z drawn again", "NL-10.4", "W_z")
class _Redrawn(Plain):
    """A W_z that is all 0 is drawn again."""

    def weight(self, call: Call, name: str) -> np.ndarray:
        weight = super().weight(call, name)
        return weight if weight.any() or name != "out" else np.full_like(weight, 0.01)


ZOO.replace(
    "frozen statistics",
    "NL-8.2",
    "batch normalization",
    "The running statistics, in training too.",
    statistics=lambda self, call, out: Plain.statistics(self, replace(call, training=False), out),
)
ZOO.replace(
    "batch statistics in inference",
    "NL-8.1",
    "batch normalization",
    "The batch's statistics, in inference too.",
    statistics=lambda self, call, out: Plain.statistics(self, replace(call, training=True), out),
)


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

    axes: Callable[[int], tuple[int, ...]]  # of the number of axes

    def statistics(self, call: Call, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not call.training:
            return super().statistics(call, out)
        axes = self.axes(out.ndim)
        return out.mean(axes, keepdims=True), out.var(axes, keepdims=True)


ZOO.replace(
    "statistics of each item",
    "NL-8.2",
    "batch normalization",
    "Mean and variance of each item of the batch by itself.",
    base=_Axes,
    axes=lambda self, ndim: tuple(range(1, ndim - 1)),
)
ZOO.replace(
    "statistics of each frame",
    "NL-8.2",
    "batch normalization",
    "Mean and variance over the batch and all but the first axis of positions.",
    base=_Axes,
    axes=lambda self, ndim: (0, *range(2, ndim - 1)),
)
ZOO.replace(
    "statistics over channels",
    "NL-8.2",
    "batch normalization",
    "Mean and variance over the channels of each position.",
    base=_Axes,
    axes=lambda self, ndim: (ndim - 1,),
)


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
