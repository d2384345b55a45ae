"""NL-9 got wrong: the gradients of the weights and of x."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from nlcore_conformance.backend.plain import Grads, Plain
from nlcore_conformance.backend.plain_forward import Call, Stages
from nlcore_conformance.mutants.mutant import Zoo

ZOO = Zoo()


class _Altered(Plain):
    """Other gradients of some weights."""

    def alter(self, call: Call, grads: Grads) -> Grads:
        raise NotImplementedError

    def backward(self, call: Call, s: Stages, dz: np.ndarray) -> tuple[np.ndarray, Grads]:
        dx, grads = super().backward(call, s, dz)
        return dx, grads | self.alter(call, grads)


@ZOO.wrong("halves of w_f's gradient", "NL-9.1", "operation")
class _GradHalves(_Altered):
    """The halves of w_f's gradient change places."""

    def alter(self, call: Call, grads: Grads) -> Grads:
        if "f.weight" not in grads:
            return {}
        return {"f.weight": np.roll(grads["f.weight"], call.spec.inner_channels)}


ZOO.replace(
    "gradient of W_g of D rows",
    "NL-9.1",
    "embedding",
    "The rows of W_g beyond D are not trained.",
    base=_Altered,
    alter=lambda self, call, grads: {
        "g.weight": np.where(
            np.arange(call.spec.value_channels)[:, None] < call.spec.inner_channels,
            grads["g.weight"],
            0,
        )
    },
)
ZOO.replace(
    "no gradient of biases of the embeddings alone",
    "NL-9.1",
    "embedding",
    "Where only the embeddings have biases, these are not trained.",
    base=_Altered,
    alter=lambda self, call, grads: {
        f"{part}.bias": np.zeros_like(grads[f"{part}.bias"])
        for part in ("theta", "phi", "g")
        if f"{part}.bias" in grads and call.spec.bias == "embeddings"
    },
)
ZOO.replace(
    "no gradient of b_f",
    "NL-9.1",
    "operation",
    "b_f is not trained.",
    base=_Altered,
    alter=lambda self, call, grads: (
        {"f.bias": np.zeros_like(grads["f.bias"])} if "f.bias" in grads else {}
    ),
)
ZOO.replace(
    "no gradient of W_z",
    "NL-9.1",
    "W_z",
    "W_z is never updated.",
    base=_Altered,
    alter=lambda self, call, grads: {"out.weight": np.zeros_like(grads["out.weight"])},
)


@ZOO.wrong("bias gradients averaged", "NL-9.1", "embedding")
class _MeanBias(_Altered):
    """The gradients of biases are means over the positions."""

    def alter(self, call: Call, grads: Grads) -> Grads:
        rows = call.work.type(math.prod(call.shape[:-1]))
        layers = ("theta.bias", "phi.bias", "g.bias", "out.bias")
        return {name: grads[name] / rows for name in layers if name in grads}


ZOO.replace(
    "gradients averaged over the batch",
    "NL-9.1",
    "embedding",
    "The gradients of weights are means over the items of the batch.",
    base=_Altered,
    alter=lambda self, call, grads: {
        name: grad / call.work.type(call.shape[0]) for name, grad in grads.items()
    },
)


@ZOO.wrong("gradient of a square weight transposed", "NL-9.1", "embedding")
class _Transposed(_Altered):
    """W_g's gradient is transposed where D is C."""

    def alter(self, call: Call, grads: Grads) -> Grads:
        grad = grads["g.weight"]
        return {"g.weight": grad.T} if grad.shape[0] == grad.shape[1] else {}


class _FirstRows(Plain):
    """A weight's gradient is that of the first items of (B', N, C)."""

    kept: Callable[[Call, int], int]  # of the number B' of items

    def linear_vjp(
        self, call: Call, name: str, x: np.ndarray, dy: np.ndarray
    ) -> tuple[np.ndarray, Grads]:
        dx, _ = super().linear_vjp(call, name, x, dy)
        kept = self.kept(call, len(x))
        return dx, super().linear_vjp(call, name, x[:kept], dy[:kept])[1]


ZOO.replace(
    "gradient of the first item",
    "NL-9.1",
    "embedding",
    "The gradients of weights leave the later items of the batch out.",
    base=_FirstRows,
    kept=lambda self, call, items: items // call.shape[0],
)
ZOO.replace(
    "gradient of the first pixel",
    "NL-9.1",
    "embedding",
    "With extent time the gradients of weights come of each item's first pixels only.",
    base=_FirstRows,
    kept=lambda self, call, items: items if call.spec.extent != "time" else (items + 1) // 2,
)
ZOO.replace(
    "gradient of the first window",
    "NL-9.1",
    "embedding",
    "With temporal windows the gradients of weights leave the last one out.",
    base=_FirstRows,
    kept=lambda self, call, items: items - 1 if call.spec.window and items > 1 else items,
)


class _Paths(Plain):
    """dx lacks one of its paths."""

    without: str

    def gathered(self, call: Call, paths: dict[str, np.ndarray]) -> np.ndarray:
        return super().gathered(call, paths | {self.without: np.zeros_like(paths["g"])})


for _path in ("theta", "phi", "g", "residual"):
    ZOO.replace(
        f"dx without {_path}",
        "NL-9.1",
        "residual" if _path == "residual" else "embedding",
        f"The gradient of x leaves out what comes through {_path}.",
        base=_Paths,
        without=_path,
    )


@ZOO.wrong("Gaussian's x used once", "NL-2.2", "operation")
class _GaussianOnce(Plain):
    """The gradient of the Gaussian's products leaves one of the two x out."""

    def gathered(self, call: Call, paths: dict[str, np.ndarray]) -> np.ndarray:
        once = {} if call.spec.embedded else {"phi": np.zeros_like(paths["g"])}
        return super().gathered(call, paths | once)


class _Leak(Plain):
    """The keys' gradient is spread over this axis of (B, *positions, C)."""

    axis: int
    applies: Callable[[Call], bool]

    def gathered(self, call: Call, paths: dict[str, np.ndarray]) -> np.ndarray:
        if self.applies(call):
            spread = {
                n: paths[n] * 0 + paths[n].mean(self.axis, keepdims=True) for n in ("phi", "g")
            }
            paths = paths | spread
        return super().gathered(call, paths)


ZOO.replace(
    "gradient leaks across frames",
    "NL-9.1",
    "operation",
    "With extent space the keys' gradient is spread over the frames.",
    base=_Leak,
    axis=1,
    applies=lambda self, call: call.spec.extent == "space",
)
ZOO.replace(
    "gradient leaks across pixels",
    "NL-9.1",
    "operation",
    "With extent time the keys' gradient is spread over the pixels of a row.",
    base=_Leak,
    axis=3,
    applies=lambda self, call: call.spec.extent == "time",
)
ZOO.replace(
    "gradient leaks across windows",
    "NL-9.1",
    "operation",
    "With temporal windows the keys' gradient is spread over all frames.",
    base=_Leak,
    axis=1,
    applies=lambda self, call: call.spec.window is not None,
)
ZOO.replace(
    "gradient leaks across the batch",
    "NL-1.6",
    "operation",
    "The keys' gradient is spread over the items of the batch.",
    base=_Leak,
    axis=0,
    applies=lambda self, call: True,
)
