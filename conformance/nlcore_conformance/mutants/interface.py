"""NL-1, NL-10 and NL-11 got wrong: layouts, dtypes, state, NaN and infinity."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nlcore import NonLocalSpec
from nlcore.spec import FLOATS
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.plain_forward import Call, Pairs
from nlcore_conformance.backend.protocol import Weights
from nlcore_conformance.mutants.mutant import Zoo

ZOO = Zoo()
NARROW = ("float32", "float16", "bfloat16")


class _Wrapped(Plain):
    """The right block, around which x, the weights or z are changed."""

    def given(self, x: np.ndarray) -> np.ndarray:
        """The x that is used."""
        return x

    def kept(self, spec: NonLocalSpec, weights: Weights) -> Weights:
        """The weights that are used."""
        return weights

    def returned(self, z: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The array that is returned for z."""
        return z

    def block(
        self, spec: NonLocalSpec, weights: Weights, x: np.ndarray, training: bool = False
    ) -> np.ndarray:
        z = super().block(spec, self.kept(spec, weights), self.given(x), training)
        return self.returned(z, x)


ZOO.replace(
    "z in float64",
    "NL-1.4",
    "",
    "z comes in float64, whatever was asked for.",
    dtypes=NARROW,
    base=_Wrapped,
    returned=lambda self, z, x: z.astype(np.float64),
)
ZOO.replace(
    "z in float32",
    "NL-1.4",
    "",
    "z comes in float32 where x is of half precision.",
    dtypes=("float16", "bfloat16"),
    base=_Wrapped,
    returned=lambda self, z, x: z.astype(np.float32),
)
ZOO.replace(
    "z with channels last",
    "NL-1.2",
    "",
    "z comes as (B, *positions, C).",
    base=_Wrapped,
    returned=lambda self, z, x: np.moveaxis(z, 1, -1),
)
ZOO.replace(
    "axes of 1 squeezed",
    "NL-1.3",
    "",
    "z loses its axes of size 1.",
    base=_Wrapped,
    returned=lambda self, z, x: z.squeeze(),
)


@ZOO.wrong("one position rejected", "NL-1.3")
class _NoSingle(_Wrapped):
    """A single position is an error."""

    def given(self, x: np.ndarray) -> np.ndarray:
        if x[0, 0].size == 1:
            raise ValueError("expected more than one position")
        return x


@ZOO.wrong("views rejected", "NL-1.5")
class _NoViews(_Wrapped):
    """An x that is not contiguous is an error."""

    def given(self, x: np.ndarray) -> np.ndarray:
        if not x.flags.c_contiguous:
            raise ValueError("expected a contiguous x")
        return x


@ZOO.wrong("strides ignored", "NL-1.5")
class _NoStrides(_Wrapped):
    """x is read as though it were contiguous."""

    def given(self, x: np.ndarray) -> np.ndarray:
        # no further than a view of the same size can be read
        if any(stride < 0 for stride in x.strides):
            return x
        return np.lib.stride_tricks.as_strided(x, x.shape, np.empty_like(x, order="C").strides)


@ZOO.wrong("stride of the last axis ignored", "NL-1.5")
class _NoLastStride(_Wrapped):
    """x is read with a stride of one element along its last axis."""

    def given(self, x: np.ndarray) -> np.ndarray:
        strided = x.strides[-1] == 2 * x.itemsize
        if not strided:
            return x
        return np.lib.stride_tricks.as_strided(x, x.shape, (*x.strides[:-1], x.itemsize))


ZOO.replace(
    "direction of strides ignored",
    "NL-1.5",
    "",
    "x is read forwards where it lies backwards.",
    base=_Wrapped,
    given=lambda self, x: x[..., ::-1] if x.strides[-1] < 0 else x,
)
ZOO.replace(
    "byte order ignored",
    "NL-1.5",
    "",
    "The bytes of x are read in the machine's order.",
    base=_Wrapped,
    given=lambda self, x: x if x.dtype.isnative else x.view(x.dtype.newbyteorder("=")),
)


@ZOO.wrong("x overwritten", "NL-1.5")
class _Overwrites(_Wrapped):
    """The residual is added in place, to x."""

    def returned(self, z: np.ndarray, x: np.ndarray) -> np.ndarray:
        x[...] = z
        return z


@ZOO.wrong("weights built in each call", "NL-10.3")
class _Rebuilt(_Wrapped):
    """W_g is drawn anew inside each call."""

    def __init__(self, dtypes: tuple[str, ...] | None = None) -> None:
        super().__init__(dtypes)
        self.rng = np.random.default_rng(0)

    def kept(self, spec: NonLocalSpec, weights: Weights) -> Weights:
        like = weights["g.weight"]
        return {**weights, "g.weight": self.rng.normal(size=like.shape).astype(like.dtype)}


@ZOO.wrong("last bit varies", "NL-10.3", "", ("float32", "float64"))
class _LastBit(_Wrapped):
    """The last bit of some z differs from call to call."""

    def __init__(self, dtypes: tuple[str, ...] | None = None) -> None:
        super().__init__(dtypes)
        self.rng = np.random.default_rng(0)

    def returned(self, z: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.where(self.rng.random(z.shape) < 0.5, z, np.nextafter(z, z.dtype.type(np.inf)))


@ZOO.wrong("weights of the first call", "NL-10.1")
class _Stale(_Wrapped):
    """Weights are kept from the first call in which they had these shapes."""

    def __init__(self, dtypes: tuple[str, ...] | None = None) -> None:
        super().__init__(dtypes)
        self.first: dict[tuple, Weights] = {}

    def kept(self, spec: NonLocalSpec, weights: Weights) -> Weights:
        shapes = tuple((name, w.shape, w.dtype.name) for name, w in sorted(weights.items()))
        copy: Mapping[str, np.ndarray] = {name: w.copy() for name, w in weights.items()}
        return self.first.setdefault(shapes, copy)


ZOO.replace(
    "NaN taken for 0",
    "NL-11.1",
    "",
    "NaN and infinity in x become 0 and the largest number.",
    base=_Wrapped,
    given=lambda self, x: np.nan_to_num(x),
)
ZOO.replace(
    "NaN everywhere",
    "NL-11.2",
    "",
    "One NaN makes all of z NaN.",
    base=_Wrapped,
    returned=lambda self, z, x: np.where(np.isnan(z).any(), z.dtype.type(np.nan), z),
)


@ZOO.wrong("NaN rejected", "NL-11.1")
class _NaNRejected(_Wrapped):
    """A NaN in x is an error."""

    def given(self, x: np.ndarray) -> np.ndarray:
        if np.isnan(x).any():
            raise ValueError("x has a NaN")
        return x


@ZOO.wrong("NaN rows taken for masked", "NL-11.2", "operation")
class _NaNMasked(Plain):
    """A row of f that is NaN is taken for one without positions: y = 0."""

    def operation(self, call: Call, theta: np.ndarray, phi: np.ndarray, g: np.ndarray) -> Pairs:
        p = super().operation(call, theta, phi, g)
        p.y = np.where(np.isnan(p.weight).all(-1, keepdims=True), 0, p.y)
        return p


@ZOO.wrong("ReLU of NaN is 0", "NL-11.1", "operation")
class _NaNRectified(Plain):
    """max(0, NaN) is 0 in the concatenation, as in C's fmax."""

    def pairwise(self, call: Call, t: np.ndarray) -> np.ndarray:
        f = super().pairwise(call, t)
        return np.nan_to_num(f, posinf=np.inf) if call.spec.pairwise == "concatenation" else f


@ZOO.wrong("infinity clipped", "NL-11.1", "residual", FLOATS)
class _Clipped(Plain):
    """An infinite z becomes the largest finite number."""

    def answer(self, call: Call, rows: np.ndarray) -> np.ndarray:
        largest = 65504.0 if call.dtype.itemsize == 2 else np.finfo(call.dtype).max
        return super().answer(call, np.clip(rows, -largest, largest))
