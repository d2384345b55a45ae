"""A backend's answers, and how near each is to a spec's result for the same problem."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from nlcore import NonLocalSpec, weight_shapes
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.protocol import Backend, accumulates, dtypes, supports
from nlcore_conformance.checks.comparison import Broken, Expected, asked, expected, judged
from nlcore_conformance.identify.candidates import CHANNELS
from nlcore_conformance.problems.case import Problem

_BATCH = 2
#: Sizes that pooling windows do not fill.
_POSITIONS = {1: (7,), 2: (5, 7), 3: (3, 5, 5)}
#: It computes the many candidates. The reference then judges those near an answer.
_SCREEN = Plain(("float64",))
#: How many candidates are judged by their bounds: the nearest.
_NEAREST = 4


@dataclass
class Answer:
    """The backend's result for one spec."""

    asked: NonLocalSpec
    z: np.ndarray | None = None
    why: str = ""  # why there is no z


class Examined:
    """A backend that is examined: its answers, and their ratios to any spec's result."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        known = dtypes(backend)
        self.dtype = "float32" if "float32" in known else known[0]

    def answer(self, spec: NonLocalSpec) -> Answer:
        """The backend's result for the spec, or why there is none."""
        p = _problem(spec, self.dtype)
        own = {name: weight.copy() for name, weight in p.weights.items()}
        try:
            if (why := supports(self.backend, spec, self.dtype)) is not True:
                return Answer(spec, why=str(why))
            z = asked(self.backend, replace(p, weights=own, x=p.x.copy()))
        except NotImplementedError as error:
            return Answer(spec, why=str(error) or "block raised NotImplementedError")
        except Broken as error:
            return Answer(spec, why=str(error))
        form = judged("z", z, np.zeros(p.x.shape), np.full(p.x.shape, np.inf), self.dtype)
        return Answer(spec, why=form.note) if form.note else Answer(spec, z)

    def ratio(self, z: np.ndarray, spec: NonLocalSpec) -> float:
        """Error / bound of z as the spec's result; inf where most elements have no finite bound."""
        right = _expected(spec, self.dtype, accumulates(self.backend, self.dtype))
        j = judged("z", z, right.values["z"], right.bounds["z"], self.dtype)
        return j.ratio if j.unpredictable < j.elements / 2 else np.inf

    def nearest(self, z: np.ndarray, specs: list[NonLocalSpec]) -> list[NonLocalSpec]:
        """The few specs whose results are nearest to z, the nearest first."""
        got = z.astype(np.float64)

        def error(spec: NonLocalSpec) -> float:
            return float(np.nan_to_num(np.abs(got - _screened(spec, self.dtype)).max(), nan=np.inf))

        return sorted(specs, key=error)[:_NEAREST]


@cache
def _problem(spec: NonLocalSpec, dtype: str) -> Problem:
    """The spec's problem: all specs share x, and a weight's numbers depend on its name."""
    # keys are alike, so that no sum of products is near 0; products are in the range of exp
    rng = np.random.default_rng(spec.ndim)
    sign = rng.choice([-1.0, 1.0], (1, CHANNELS, *[1] * spec.ndim))
    x = (
        rng.normal(size=(_BATCH, CHANNELS, *_POSITIONS[spec.ndim])) + 1.5 * sign
    )  # (B, C, *positions)
    weights = {n: _as(_weight(n, shape), dtype) for n, shape in weight_shapes(spec).items()}
    x = _as(0.4 * x, dtype)
    return Problem(spec, weights, x, x, False, dtype)


@cache
def _weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random numbers that depend on the name; the variance is small, so that eps matters."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name == "out.bias":  # some sources have none
        return np.zeros(shape)
    if name == "bn.running_var":
        return rng.uniform(0.02, 0.05, shape)
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


@cache
def _expected(spec: NonLocalSpec, dtype: str, sums: str) -> Expected:
    return expected(_problem(spec, dtype), sums, gradient=False)


@cache
def _screened(spec: NonLocalSpec, dtype: str) -> np.ndarray:
    p = _problem(spec, dtype)
    weights = {name: weight.astype(np.float64) for name, weight in p.weights.items()}
    return _SCREEN.block(spec, weights, p.x.astype(np.float64))
