"""The checks: what is tried, and what the result is held against.

Every check draws cases, asks the backend, and judges each output element by its derived bound:
ratio = error / bound, which must not exceed 1. docs/spec.md has the clauses.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import nlcore
from nlcore.spec import PAIRWISE
from nlcore_conformance.bounds import block_bounds
from nlcore_conformance.protocol import Backend
from nlcore_conformance.strategies import DATA, Case, arrays


class Broken(Exception):
    """The backend did not answer, or not in the form that the protocol asks for."""


@dataclass(frozen=True)
class Judgement:
    """How one output of one case compares with the reference, at its worst element."""

    output: str  # "z", "dx" or a weight's name
    ratio: float  # error / bound; inf where the shape, the dtype or a NaN is wrong
    index: tuple[int, ...]
    expected: float
    received: float
    bound: float
    elements: int
    unpredictable: int  # elements without a finite bound, which do not count
    note: str = ""


@dataclass(frozen=True)
class Check:
    """One rule under test."""

    name: str
    clause: str  # of docs/spec.md
    pairwise: tuple[str, ...]
    judge: Callable[[Backend, Case], list[Judgement]]
    weight: float = 1.0  # share of a profile's examples
    training: bool = False
    needs_vjp: bool = False
    batch_norm: bool | None = None  # what the rule is about: only with, only without, or either
    data: tuple[str, ...] = DATA


def forward(backend: Backend, case: Case) -> list[Judgement]:
    """z against the reference's."""
    weights, x, _ = arrays(case)
    z = _unchanged(backend.block, case, weights, x)
    expected = nlcore.block(case.spec, weights, x, case.training)
    return [judged("z", z, expected, _bounds(case, gradient=False)["z"], case.dtype)]


def gradient(backend: Backend, case: Case) -> list[Judgement]:
    """dx and every weight's gradient against the reference's."""
    weights, x, dz = arrays(case)
    vjp = backend.block_vjp  # type: ignore[attr-defined]
    dx, dweights = _asked(vjp, case.spec, weights, x, dz, case.training)
    received = {"dx": dx, **dweights}
    dx, dweights = nlcore.block_vjp(case.spec, weights, x, dz, case.training)
    expected = {"dx": dx, **dweights}
    if set(received) != set(expected):
        raise Broken(f"gradients must be named {sorted(expected)}; received {sorted(received)}")
    bounds = _bounds(case, gradient=True)
    return [
        judged(name, received[name], expected[name], bounds[name], case.dtype) for name in expected
    ]


def identity(backend: Backend, case: Case) -> list[Judgement]:
    """With BN's weight and bias 0, or without BN W_z and its bias 0, z = x exactly."""
    weights, x, _ = arrays(case)
    # where a stage before may overflow, 0 times infinity is no 0
    overflow = np.isinf(_bounds(case, gradient=False)["z"])
    names = ("bn.weight", "bn.bias") if case.spec.batch_norm else ("out.weight", "out.bias")
    weights |= {name: np.zeros_like(weights[name]) for name in names if name in weights}
    z = _asked(backend.block, case.spec, weights, x, case.training)
    return [judged("z", z, _float64(x), np.where(overflow, np.inf, 0.0), case.dtype)]


def not_finite(backend: Backend, case: Case) -> list[Judgement]:
    """A NaN in x reaches every output that sees it and no other; an infinity, no other.

    Under NL-11.3 an infinity may give NaN or infinity where it is seen.
    """
    weights, x, _ = arrays(case)
    rng = np.random.default_rng(case.seed)
    where = tuple(rng.integers(n) for n in x.shape)
    value = rng.choice([np.nan, np.inf, -np.inf])
    x = np.array(x)
    x[where] = np.nan
    expected = nlcore.block(case.spec, weights, x, case.training)
    sees = np.isnan(expected)
    bound = np.where(sees, np.inf, _bounds(case, gradient=False, x=x)["z"])
    x[where] = value
    z = _asked(backend.block, case.spec, weights, x, case.training)
    judgement = judged("z", z, np.where(sees, 0.0, expected), bound, case.dtype)
    if np.isnan(value) and not judgement.note:
        lost = np.argwhere(sees & ~np.isnan(_float64(z)))
        if len(lost):
            index = tuple(int(k) for k in lost[0])
            received = float(_float64(z)[index])
            return [
                replace(judgement, ratio=np.inf, index=index, expected=np.nan, received=received)
            ]
    return [judgement]


def repeatable(backend: Backend, case: Case) -> list[Judgement]:
    """The same call twice gives the same bits: weights are held, nothing is drawn."""
    weights, x, _ = arrays(case)
    once, again = (_asked(backend.block, case.spec, weights, x, case.training) for _ in range(2))
    first = judged("z", once, np.zeros(x.shape), np.full(x.shape, np.inf), case.dtype)
    return (
        [first]
        if first.note
        else [judged("z", again, _float64(once), np.zeros(x.shape), case.dtype)]
    )


def checks() -> Iterator[Check]:
    """All checks, in the order of the report."""
    every, few = PAIRWISE, 0.3
    vjp: dict[str, Any] = {"weight": 0.75, "needs_vjp": True}
    batch: dict[str, Any] = {"training": True, "batch_norm": True}
    for name in PAIRWISE:
        yield Check(f"forward / {name}", "NL-3", (name,), forward)
    yield Check("forward / batch statistics", "NL-8.2", every, forward, **batch)
    for name in PAIRWISE:
        yield Check(f"gradient / {name}", "NL-9", (name,), gradient, **vjp)
    yield Check("gradient / batch statistics", "NL-9.2", every, gradient, **vjp, **batch)
    yield Check("identity at insertion", "NL-10.4", every, identity, few)
    yield Check("NaN and infinity", "NL-11.2", every, not_finite, few, data=("normal",))
    yield Check("repeatable", "NL-10.3", every, repeatable, few)


def judged(
    output: str, received: Any, expected: np.ndarray, bound: np.ndarray, dtype: str
) -> Judgement:
    """The worst element of one output; `expected` and `bound` are float64 of one shape."""
    if isinstance(received, np.generic):
        received = np.asarray(received)
    if not isinstance(received, np.ndarray) or received.shape != expected.shape:
        what = f"shape {np.shape(received)} of {type(received).__name__}"
        note = f"expected an array of shape {expected.shape}; received {what}"
        return Judgement(output, np.inf, (), np.nan, np.nan, np.nan, expected.size, 0, note)
    if received.dtype.name != dtype:
        note = f"expected dtype {dtype}; received {received.dtype.name}"
        return Judgement(output, np.inf, (), np.nan, np.nan, np.nan, expected.size, 0, note)
    counted = np.isfinite(bound) & np.isfinite(expected)
    got = _float64(received)
    with np.errstate(all="ignore"):
        error = np.abs(got - expected)
        ratio = np.where(error == 0, 0.0, error / bound)
    ratio = np.where(np.isnan(got), np.inf, ratio)
    ratio = np.where(counted, ratio, -1.0)
    flat = int(ratio.argmax())
    index = tuple(int(k) for k in np.unravel_index(flat, expected.shape))
    return Judgement(
        output,
        max(float(ratio.flat[flat]), 0.0),
        index,
        float(expected[index]),
        float(got[index]),
        float(bound[index]),
        expected.size,
        int(expected.size - counted.sum()),
    )


def _unchanged(block: Callable[..., Any], case: Case, weights: dict, x: np.ndarray) -> Any:
    """block's answer, having seen that it left its arguments alone."""
    before = {"x": x.copy(), **{name: w.copy() for name, w in weights.items()}}
    z = _asked(block, case.spec, weights, x, case.training)
    for name, old in before.items():
        new = x if name == "x" else weights[name]
        if not np.array_equal(old, new, equal_nan=old.dtype.kind == "f"):
            raise Broken(f"block must not change its arguments; it changed {name}")
    return z


def _asked(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the backend answers; its exceptions, but NotImplementedError, as Broken."""
    try:
        return function(*arguments)
    except NotImplementedError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"({last.filename.rsplit('/', 1)[-1]}:{last.lineno})"
        raise Broken(f"raised {type(error).__name__}: {error} {where}") from error


def _float64(value: Any) -> np.ndarray:
    return np.asarray(value).astype(np.float64)


def _bounds(case: Case, gradient: bool, x: np.ndarray | None = None) -> dict[str, np.ndarray]:
    weights, own, dz = arrays(case)
    upstream = dz if gradient else None
    x = own if x is None else x
    independent = case.data != "constant"
    return block_bounds(case.spec, weights, x, upstream, case.training, case.dtype, independent)
