"""A `Case` describes a problem in a few small values; a `Problem` holds its arrays."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from nlcore import NonLocalSpec
from nlcore_conformance.backend.formats import dtype_named
from nlcore_conformance.problems.numbers import numbers, weights
from nlcore_conformance.problems.taming import keep_from_zero, tame

#: How x lies in memory; the values are the same.
LAYOUTS = ("contiguous", "channels_last", "strided", "reversed", "byteswapped")
#: Kinds of data in which many terms are equal, or nearly equal beside a bias or a mean. Their
#: roundings are not independent.
_DEPENDENT = (
    "constant",
    "equal",
    "offset",
    "huge offset",
    "opposite",
    "tiny",
    "subnormal",
    "zero f",
    "aligned",
    "large bias",
)


@dataclass(frozen=True)
class Case:
    """One problem in a few small values, which determine all its arrays."""

    spec: NonLocalSpec
    batch: int
    positions: tuple[int, ...]
    dtype: str
    data: str = "normal"
    layout: str = "contiguous"
    seed: int = 0
    training: bool = False

    @property
    def pairs(self) -> int:
        """How many pairs of positions there are, without extent and subsampling."""
        return self.batch * math.prod(self.positions) ** 2

    def to_json(self) -> dict[str, Any]:
        """The fields, the spec's as a dict too."""
        return {**asdict(self), "spec": self.spec.arguments()}

    @staticmethod
    def from_json(fields: dict[str, Any]) -> Case:
        """The case that `to_json` was called on."""
        spec = NonLocalSpec(**fields["spec"])
        return Case(**{**fields, "spec": spec, "positions": tuple(fields["positions"])})


@dataclass(frozen=True, eq=False)
class Problem:
    """The block's arguments, and the gradient at its output."""

    spec: NonLocalSpec
    weights: dict[str, np.ndarray]
    x: np.ndarray  # (B, C, *positions)
    dz: np.ndarray  # (B, C, *positions)
    training: bool
    dtype: str
    independent: bool = True  # whether its roundings are, see `nlcore_conformance.bounds`


def problem(case: Case) -> Problem:
    """The case's problem; its arrays are new at every call."""
    weights, x, dz = arrays(case)
    independent = case.data not in _DEPENDENT
    return Problem(case.spec, weights, x, dz, case.training, case.dtype, independent)


def arrays(case: Case) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """The case's weights, x (B, C, *positions) and dz, in the case's dtype; new at every call."""
    weights, x, dz = _made(case)
    return {n: v.copy() for n, v in weights.items()}, laid_out(x.copy(), case.layout), dz.copy()


@lru_cache(maxsize=2)  # several backends get the same problem
@np.errstate(all="ignore")  # numbers that overflow the dtype are data
def _made(case: Case) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Weights, x and dz; the order of these calls is the order of the random draws."""
    spec, data, rng = case.spec, case.data, np.random.default_rng(case.seed)
    w = weights(spec, data, case.dtype, rng)
    x = numbers(data, (case.batch, spec.channels, *case.positions), case.dtype, rng)
    w, x = keep_from_zero(spec, data, w, x, rng)
    w, x = tame(spec, data, case.dtype, case.training, w, x)
    dtype = dtype_named(case.dtype)
    made, x = {n: v.astype(dtype) for n, v in w.items()}, x.astype(dtype)
    return made, x, rng.normal(size=x.shape).astype(dtype)


def laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    """x (B, C, *positions) with the same values in another memory layout, one of LAYOUTS."""
    if layout == "channels_last":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    if layout == "strided":
        return np.repeat(x, 2, axis=-1)[..., ::2]
    if layout == "reversed":
        return np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    if layout == "byteswapped" and x.dtype.name != "bfloat16":  # which has one byte order
        return x.astype(x.dtype.newbyteorder())
    return x
