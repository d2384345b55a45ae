"""The problems of an identification: small, with numbers that tell the rules from each other."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from nlcore import NonLocalSpec, weight_shapes
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.protocol import Backend, accumulates, dtypes
from nlcore_conformance.checks.comparison import Expected, expected, judged
from nlcore_conformance.problems.case import Problem

#: Sizes that pooling windows do not fill, sizes that they fill, and larger ones, by number of axes.
SIZES: tuple[dict[int, tuple[int, ...]], ...] = (
    {1: (7,), 2: (5, 7), 3: (9, 3, 5)},
    {1: (8,), 2: (4, 6), 3: (6, 4, 4)},
    {1: (32,), 2: (16, 16), 3: (6, 8, 8)},
)
_BATCH = 2
#: It computes the many candidates. The reference then judges those near an answer.
_SCREEN = Plain(("float64",))


@dataclass(frozen=True)
class Trial:
    """One size of the problems, in a dtype that the backend computes in.

    Attributes
    ----------
    dtype, sums : str
        The dtype, and that of the backend's sums.
    size : int
        The place in `SIZES`.
    """

    dtype: str
    sums: str
    size: int

    def problem(self, spec: NonLocalSpec) -> Problem:
        """The spec's problem."""
        return _problem(spec, self.dtype, self.size)

    def expected(self, spec: NonLocalSpec) -> Expected:
        """The reference's result, and its bounds."""
        return _expected(spec, self)

    def ratio(self, z: np.ndarray, spec: NonLocalSpec) -> float:
        """Error / bound of z as the spec's result; inf where most elements have no finite bound."""
        right = self.expected(spec)
        j = judged("z", z, right.values["z"], right.bounds["z"], self.dtype)
        return j.ratio if j.unpredictable < j.elements / 2 else np.inf

    def error(self, z: np.ndarray, spec: NonLocalSpec) -> float:
        """The largest error of z as the spec's result, computed fast."""
        error = np.abs(z.astype(np.float64) - _screened(spec, self.dtype, self.size))
        return float(np.nan_to_num(error.max(), nan=np.inf))

    def alike(self, one: NonLocalSpec, other: NonLocalSpec) -> bool:
        """Whether an answer cannot tell the specs: their results are within both bounds."""
        results = (_screened(spec, self.dtype, self.size) for spec in (one, other))
        return not np.any(np.abs(np.subtract(*results)) > 2 * self.expected(one).bounds["z"])


def trials(backend: Backend) -> list[Trial]:
    """The problems' sizes in the backend's dtype, float32 if it has that."""
    known = dtypes(backend)
    dtype = "float32" if "float32" in known else known[0]
    return [Trial(dtype, accumulates(backend, dtype), size) for size in range(len(SIZES))]


@cache
def _problem(spec: NonLocalSpec, dtype: str, size: int) -> Problem:
    """The spec's problem: all specs share x, and a weight's numbers depend on its name."""
    x = _x(spec.channels, spec.ndim, dtype, size)
    weights = {n: _as(_weight(n, shape), dtype) for n, shape in weight_shapes(spec).items()}
    return Problem(spec, weights, x, x, False, dtype)


@cache
def _x(channels: int, ndim: int, dtype: str, size: int) -> np.ndarray:
    """Keys are alike, so that no sum of products is near 0; products are in the range of exp."""
    rng = np.random.default_rng(ndim)
    shape = (_BATCH, channels, *SIZES[size][ndim])  # (B, C, *positions)
    sign = rng.choice([-1.0, 1.0], (1, channels, *[1] * ndim))
    return _as(0.4 * (rng.normal(size=shape) + 1.5 * sign), dtype)


@cache
def _weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random numbers that depend on the name; the variance is small, so that eps matters."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name == "bn.running_var":
        return rng.uniform(2e-3, 5e-3, shape)
    if name == "theta.weight":
        return _weight("phi.weight", shape) + 0.1 * rng.normal(size=shape)
    if name.endswith("bias") or name.startswith("bn"):
        return 0.5 * rng.normal(size=shape)
    return rng.normal(size=shape) / np.sqrt(shape[-1])


def _as(array: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "bfloat16":
        import ml_dtypes

        return array.astype(ml_dtypes.bfloat16)
    return array.astype(dtype)


@lru_cache(maxsize=2**9)
def _expected(spec: NonLocalSpec, trial: Trial) -> Expected:
    return expected(trial.problem(spec), trial.sums, gradient=False)


@lru_cache(maxsize=2**11)
def _screened(spec: NonLocalSpec, dtype: str, size: int) -> np.ndarray:
    p = _problem(spec, dtype, size)
    weights = {name: weight.astype(np.float64) for name, weight in p.weights.items()}
    return _SCREEN.block(spec, weights, p.x.astype(np.float64))
