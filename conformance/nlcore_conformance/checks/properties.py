"""Properties of a block, judged without the reference: the backend's answers against each other.

Two answers to problems that are equal in exact arithmetic may differ by the sum of their bounds.
The bounds come from the magnitudes of the formulas' terms, not from the reference's results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from nlcore import NonLocalSpec
from nlcore.reference.extent import fold, unfold
from nlcore.weights import identity_weights
from nlcore_conformance.backend.protocol import Backend, Weights, accumulates, supports
from nlcore_conformance.bounds.arithmetic import arithmetic
from nlcore_conformance.checks.comparison import (
    Judgement,
    asked,
    bounds_of,
    float64,
    gradients,
    judged,
)
from nlcore_conformance.problems.case import Case, Problem, problem

Move = Callable[[np.ndarray], np.ndarray]


def identity(backend: Backend, case: Case) -> list[Judgement]:
    """With BN's weight and bias 0, or without BN W_z and its bias 0, z = x exactly.

    A subnormal x may be flushed to zero.
    """
    p = problem(case)
    zeros = {name: np.zeros_like(p.weights[name]) for name in identity_weights(case.spec)}
    return [equals_x(backend, p, p.weights | zeros)]


def equals_x(backend: Backend, p: Problem, weights: Weights) -> Judgement:
    """z with these weights, against x. p is the problem with weights of which none is 0."""
    # where an earlier stage may overflow, its product with 0 is NaN
    overflow = np.isinf(_bound(backend, p))
    flushed = arithmetic(p.dtype).given(float64(p.x)).error
    z = asked(backend, replace(p, weights=dict(weights)))
    return judged("z", z, float64(p.x), np.where(overflow, np.inf, flushed), p.dtype)


def repeatable(backend: Backend, case: Case) -> list[Judgement]:
    """The same call twice gives the same bits: weights are those given, and nothing is random."""
    p = problem(case)
    once, again = (asked(backend, p) for _ in range(2))
    first = _formed(once, p)
    return [first] if first.note else [_exactly(again, once, p)]


def permutation(backend: Backend, case: Case) -> list[Judgement]:
    """Positions in another order give their outputs in that order.

    If all positions see each other, all are reordered. If not, frames and pixels are.
    """
    p = problem(case)
    rng = np.random.default_rng(case.seed)

    def shuffled(sizes: tuple[int, ...], axes: tuple[int, ...]) -> Move:
        orders = [rng.permutation(n) for n in sizes]

        def move(a: np.ndarray) -> np.ndarray:
            rows = a.reshape(*a.shape[:2], *sizes)
            for axis, order in zip(axes, orders, strict=True):
                rows = np.take(rows, order, axis)
            return rows.reshape(a.shape)

        return move

    if case.spec.extent == "all":
        move = shuffled((int(np.prod(case.positions)),), (2,))
    else:
        frames, *pixels = case.positions
        move = shuffled((frames, int(np.prod(pixels))), (2, 3))
    return _alike(backend, p, replace(p, x=move(p.x)), move)


def batch_independence(backend: Backend, case: Case) -> list[Judgement]:
    """An item of a batch has the same output alone."""
    p = problem(case)
    chosen = slice(case.batch - 1, case.batch)
    return _alike(backend, p, replace(p, x=p.x[chosen]), lambda a: a[chosen])


def constant_g(backend: Backend, case: Case) -> list[Judgement]:
    """Under "sum" y = g where g is constant: z = BN(W_z g + b) + x, whatever f is.

    g is constant because W_g reads the first channel only, which is 1 everywhere.
    """
    p = problem(case)
    x, w = np.array(p.x), dict(p.weights)
    x[:, 0] = 1
    w["g.weight"] = np.array(w["g.weight"])
    w["g.weight"][:, 1:] = 0
    exact = {name: float64(value) for name, value in w.items()}
    g = exact["g.weight"][:, 0] + exact.get("g.bias", 0.0)  # (D,)
    out = exact["out.weight"] @ g + exact.get("out.bias", 0.0)  # (C,)
    if case.spec.batch_norm:
        slope = exact["bn.weight"] / np.sqrt(exact["bn.running_var"] + case.spec.eps)
        out = (out - exact["bn.running_mean"]) * slope + exact["bn.bias"]
    p = replace(p, x=x, weights=w)
    right = float64(x) + out.reshape(-1, *[1] * len(case.positions))
    return [judged("z", asked(backend, p), right, _bound(backend, p), case.dtype)]


def extent_as_batches(backend: Backend, case: Case) -> list[Judgement]:
    """Frames, pixels or windows that do not see each other, as items of a batch, give the same."""
    p = problem(case)
    spec = replace(case.spec, extent="all", window=None)
    rows = np.moveaxis(p.x, 1, -1)  # (B, T, H, W, C)
    folded = np.moveaxis(fold(case.spec, rows), -1, 1)  # (B', C, T', H', W')

    def back(a: np.ndarray) -> np.ndarray:
        return np.moveaxis(unfold(case.spec, np.moveaxis(a, 1, -1), rows.shape), -1, 1)

    return _alike(backend, replace(p, spec=spec, x=folded), p, back)


def rescaling(backend: Backend, case: Case) -> list[Judgement]:
    """W_g times 4 with W_z over 4 gives the same, and theta times 2 with phi over 2.

    For concatenation theta and phi times 2 with w_f over 2 does. Powers of two round nothing.
    """
    p = problem(case)
    factors = {"g": 4.0, "out": 0.25}
    if case.spec.pairwise == "concatenation":
        factors |= {"theta": 2.0, "phi": 2.0, "f": 0.5}
    elif case.spec.embedded:
        factors |= {"theta": 2.0, "phi": 0.5}
    weights = dict(p.weights)
    for name, value in p.weights.items():
        layer, _, part = name.partition(".")
        if layer in factors and (layer not in ("f", "out") or part == "weight"):
            weights[name] = value * value.dtype.type(factors[layer])
    return _alike(backend, p, replace(p, weights=weights), lambda a: a)


def outside_the_extent(backend: Backend, case: Case) -> list[Judgement]:
    """The gradient of one z_i is exactly 0 at every position that i does not see."""
    p = problem(case)
    rng = np.random.default_rng(case.seed)
    item = int(rng.integers(case.batch))
    position = tuple(int(rng.integers(n)) for n in case.positions)
    dz = np.zeros_like(p.dz)
    np.moveaxis(dz, 1, -1)[(item, *position)] = np.moveaxis(p.dz, 1, -1)[(item, *position)]
    seen = np.zeros((case.batch, 1, *case.positions), dtype=bool)
    seen[(item, 0, *_scope(case.spec, position))] = True
    dx = gradients(backend, replace(p, dz=dz))["dx"]
    bound = np.where(np.broadcast_to(seen, p.x.shape), np.inf, 0.0)
    return [judged("dx", dx, np.zeros(p.x.shape), bound, case.dtype)]


def _scope(spec: NonLocalSpec, position: tuple[int, ...]) -> tuple[slice | int, ...]:
    """Indices of the positions that `position` sees."""
    everything = slice(None)
    if spec.extent == "time":
        return (everything, *position[1:])
    if spec.extent == "space":
        return (position[0], everything, everything)
    if spec.window is not None:
        start = position[0] // spec.window * spec.window
        return (slice(start, start + spec.window), everything, everything)
    return (everything,) * len(position)


def _alike(backend: Backend, first: Problem, second: Problem, move: Move) -> list[Judgement]:
    """The answer to `second` against the moved answer to `first`; each may err by its bound."""
    for p in (first, second):
        if (why := supports(backend, p.spec, p.dtype)) is not True:
            raise NotImplementedError(why)
    z = asked(backend, first)
    form = _formed(z, first)
    if form.note:
        return [form]
    bound = move(_bound(backend, first)) + _bound(backend, second)
    return [judged("z", asked(backend, second), move(float64(z)), bound, second.dtype)]


def _formed(z: object, p: Problem) -> Judgement:
    """The judgement of z's form alone; no element counts."""
    return judged("z", z, np.zeros(p.x.shape), np.full(p.x.shape, np.inf), p.dtype)


def _exactly(z: object, first: np.ndarray, p: Problem) -> Judgement:
    """z against a first answer of the right form: equal, NaN and infinity in the same places."""
    right, bound = float64(first), np.zeros(p.x.shape)
    if not _formed(z, p).note:
        again = np.isclose(float64(z), right, rtol=0, atol=0, equal_nan=True) & ~np.isfinite(right)
        right, bound = np.where(again, 0.0, right), np.where(again, np.inf, 0.0)
    return judged("z", z, right, bound, p.dtype)


def _bound(backend: Backend, p: Problem) -> np.ndarray:
    """The bound of z."""
    return bounds_of(p, accumulates(backend, p.dtype))["z"]
