"""NL-2 and NL-1.1 got wrong: theta, phi and g."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.plain_forward import Call
from nlcore_conformance.mutants.mutant import Zoo

ZOO = Zoo()

for _layer, _rule in {
    "theta": "b_theta is left out.",
    "phi": "b_phi is left out, which a softmax does not feel.",
    "g": "b_g is left out.",
}.items():
    ZOO.replace(
        f"{_layer} without bias",
        "NL-2.1",
        "embedding",
        _rule,
        bias=lambda self, call, name, left_out=_layer: (
            None if name == left_out else Plain.bias(self, call, name)
        ),
    )

ZOO.replace(
    "bias where there is none",
    "NL-2.3",
    "embedding",
    "theta keeps a bias of 0.01 where the spec has none.",
    bias=lambda self, call, name: (
        np.full(call.spec.inner_channels, 0.01, call.work)
        if name == "theta" and not call.spec.bias
        else Plain.bias(self, call, name)
    ),
)
ZOO.replace(
    "biases of the embeddings are left out",
    "NL-2.3",
    "embedding",
    "`bias` is taken for yes or no, and 'embeddings' for no.",
    bias=lambda self, call, name: (
        None if call.spec.bias == "embeddings" else Plain.bias(self, call, name)
    ),
)
ZOO.replace(
    "bias of W_z beside those of the embeddings",
    "NL-2.3",
    "W_z",
    "W_z keeps a bias of 0.01 where only the embeddings have biases.",
    bias=lambda self, call, name: (
        np.full(call.spec.channels, 0.01, call.work)
        if name == "out" and call.spec.bias == "embeddings"
        else Plain.bias(self, call, name)
    ),
)


@ZOO.wrong("g of D channels", "NL-2.5", "embedding")
class _ValuesOfD(Plain):
    """g has D channels: those beyond are 0."""

    def g(self, call: Call, x: np.ndarray) -> np.ndarray:
        g = super().g(call, x)
        return np.where(np.arange(g.shape[-1]) < call.spec.inner_channels, g, 0)


@ZOO.wrong("stacked weights split by D", "NL-2.5", "embedding")
class _SplitByD(Plain):
    """W_g, W_theta and W_phi are one matrix, which is split after D rows where g has V."""

    def weight(self, call: Call, name: str) -> np.ndarray:
        weight, order = super().weight(call, name), ("g", "theta", "phi")
        if name not in order or not call.spec.embedded:
            return weight
        stacked = np.concatenate([call.w[f"{part}.weight"] for part in order])  # (V + 2 D, C)
        first = order.index(name) * call.spec.inner_channels
        return stacked[(first + np.arange(len(weight))) % len(stacked)]


class _Tied(Plain):
    """One layer takes another's weight."""

    layer: str
    to: str

    def weight(self, call: Call, name: str) -> np.ndarray:
        tied = name == self.layer and f"{self.to}.weight" in call.w
        return super().weight(call, self.to if tied else name)


ZOO.replace(
    "phi is theta", "NL-2.1", "embedding", "phi takes W_theta.", base=_Tied, layer="phi", to="theta"
)
ZOO.replace("g is phi", "NL-2.1", "embedding", "g takes W_phi.", base=_Tied, layer="g", to="phi")

_EXCHANGED = {"theta": "phi", "phi": "theta", "g": "g", "out": "out"}
ZOO.replace(
    "theta and phi change places",
    "NL-2.1",
    "embedding",
    "W_theta and W_phi change places.",
    weight=lambda self, call, name: Plain.weight(self, call, _EXCHANGED[name]),
    bias=lambda self, call, name: Plain.bias(self, call, _EXCHANGED[name]),
)


@ZOO.wrong("square weights transposed", "NL-2.1", "embedding")
class _Transposed(Plain):
    """x W for W x, which only works where D is C."""

    def weight(self, call: Call, name: str) -> np.ndarray:
        weight = super().weight(call, name)
        return weight.T if weight.shape[0] == weight.shape[1] else weight


@ZOO.wrong("first 64 channels", "NL-2.1", "embedding")
class _FirstChannels(Plain):
    """The embeddings read the first 64 channels only."""

    def weight(self, call: Call, name: str) -> np.ndarray:
        weight = super().weight(call, name)
        return weight if name == "out" else np.where(np.arange(weight.shape[1]) < 64, weight, 0)


@ZOO.wrong("odd width cut off", "NL-2.1", "embedding")
class _OddWidth(Plain):
    """theta is computed two rows at a time, and the last one of an odd D is left at 0."""

    def theta(self, call: Call, x: np.ndarray) -> np.ndarray:
        theta = super().theta(call, x)
        last = theta.shape[-1] - 1
        return np.where(np.arange(last + 1) == last, 0, theta) if last % 2 == 0 and last else theta


class _Narrow(Plain):
    """The embeddings use some of the D rows of their weights."""

    width: Callable[[Call], int]  # how many

    def weight(self, call: Call, name: str) -> np.ndarray:
        weight = super().weight(call, name)
        if name == "out":
            return weight
        return np.where(np.arange(len(weight))[:, None] < self.width(call), weight, 0)


ZOO.replace(
    "D is C // 2",
    "NL-2.4",
    "embedding",
    "D is C // 2, whatever `inner_channels` says.",
    base=_Narrow,
    width=lambda self, call: max(call.spec.channels // 2, 1),
)
ZOO.replace(
    "D is at most C",
    "NL-2.1",
    "embedding",
    "D is at most C: the rows beyond are left out.",
    base=_Narrow,
    width=lambda self, call: call.spec.channels,
)


@ZOO.wrong("ReLU after the embeddings", "NL-2.1", "embedding")
class _Activated(Plain):
    """theta, phi and g pass a ReLU, as a layer of a framework's might."""

    def linear(self, call: Call, name: str, x: np.ndarray) -> np.ndarray:
        y = super().linear(call, name, x)
        return y if name == "out" else np.maximum(y, 0)


@ZOO.wrong("unit embeddings", "NL-2.1", "embedding")
class _UnitLength(Plain):
    """theta and phi are divided by their lengths."""

    def linear(self, call: Call, name: str, x: np.ndarray) -> np.ndarray:
        y = super().linear(call, name, x)
        if name not in ("theta", "phi"):
            return y
        length = np.sqrt((y * y).sum(-1, keepdims=True))
        return y / np.where(length == 0, 1, length)


@ZOO.wrong("scale misses the bias", "NL-3.2", "operation")
class _ScaledBeforeBias(Plain):
    """theta is s W_theta x + b_theta: the scale leaves the bias out."""

    def theta(self, call: Call, x: np.ndarray) -> np.ndarray:
        theta = super().theta(call, x)
        bias = self.bias(call, "theta")
        if bias is None or call.spec.scale == 1:
            return theta
        return theta + bias / call.spec.scale - bias


@ZOO.wrong("Gaussian of D channels", "NL-2.2", "operation")
class _GaussianOfD(Plain):
    """The Gaussian's products have length D where C is larger."""

    def theta(self, call: Call, x: np.ndarray) -> np.ndarray:
        theta = super().theta(call, x)
        if call.spec.embedded:
            return theta
        return np.where(np.arange(call.spec.channels) < call.spec.inner_channels, theta, 0)


@ZOO.wrong("reshaped without a transpose", "NL-1.1", "embedding")
class _Reshaped(Plain):
    """(B, C, N) is taken for (B, N, C) by a reshape, at the end too."""

    def rows(self, call: Call, x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x).reshape(call.shape).astype(call.work)

    def answer(self, call: Call, rows: np.ndarray) -> np.ndarray:
        batch, *positions, channels = call.shape
        return rows.reshape(batch, channels, *positions).astype(call.dtype)
