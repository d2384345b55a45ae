"""The state of a new block: its constant weights, the distribution of the others, and z = x."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from nlcore import NonLocalSpec, weight_shapes
from nlcore.spec import FLOATS
from nlcore.weights import RUNNING, identity_weights, init_std, starts_constant
from nlcore_conformance.backend.formats import FORMATS
from nlcore_conformance.backend.protocol import Backend, init
from nlcore_conformance.bounds.normal_draws import mean_bound, square_bounds
from nlcore_conformance.checks.comparison import Judgement, float64, judged, new_weights
from nlcore_conformance.checks.properties import equals_x
from nlcore_conformance.problems.case import Case, problem


def initial_state(backend: Backend, case: Case) -> list[Judgement]:
    """A new block is the identity, with running statistics 0 and 1.

    With a declared `init` its biases and identity weights are 0, and its other weights have the
    mean and the mean square of draws from the normal distribution.
    """
    spec, declared = case.spec, init(backend)
    weights = new_weights(backend, spec)
    found = [
        judgement
        for name in weight_shapes(spec)
        for judgement in _weight(spec, name, weights[name], declared)
    ]
    if any(j.note for j in found):
        return found
    given = problem(case)
    new = {name: np.asarray(value).astype(given.x.dtype) for name, value in weights.items()}
    # bounds of a block that is not the identity
    kept = {name: given.weights[name] for name in identity_weights(spec)}
    p = replace(given, weights=new | kept)
    return [*found, equals_x(backend, p, new)]


def _weight(
    spec: NonLocalSpec, name: str, value: object, declared: str | None
) -> Iterator[Judgement]:
    """How a new weight compares with its constant, or with the declared distribution."""
    shape = weight_shapes(spec)[name]
    constant = starts_constant(spec, name, identity=True)
    if constant is None or not (declared or name in RUNNING):
        right, bound = np.zeros(shape), np.full(shape, np.nan)  # of any value
    else:
        right, bound = np.full(shape, constant), np.zeros(shape)
    dtype = value.dtype.name if isinstance(value, (np.ndarray, np.generic)) else ""
    form = judged(name, value, right, bound, dtype if dtype in FLOATS else "float32")
    yield form
    if constant is None and declared and not form.note:
        yield from _moments(name, float64(value), init_std(spec, name, declared), dtype)


def _moments(name: str, value: np.ndarray, std: float, dtype: str) -> Iterator[Judgement]:
    """The mean and the mean square of independent draws from N(0, std^2), rounded to `dtype`."""
    granted = 3 * FORMATS[dtype].unit  # a draw's rounding, and these sums in float64
    mean, square = np.array(value.mean()), np.array(np.mean(value**2))
    lower, upper = square_bounds(value.size, std)
    bound = mean_bound(value.size, std) + granted * math.sqrt(upper)
    yield judged(f"mean of {name}", mean, np.zeros(()), np.array(bound), "float64")
    bound = (upper - std**2 if square > std**2 else std**2 - lower) + granted * upper
    yield judged(f"mean square of {name}", square, np.array(std**2), np.array(bound), "float64")
