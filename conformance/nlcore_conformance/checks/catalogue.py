"""The checks: what is tried, and what the result is held against.

Every check draws cases, asks the backend, and judges each output element by its derived bound:
ratio = error / bound, which must not exceed 1. docs/spec.md has the clauses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

import nlcore
from nlcore import NonLocalSpec
from nlcore_conformance.checks import properties
from nlcore_conformance.checks.comparison import (
    Judgement,
    asked,
    bounds_of,
    expected_of,
    float64,
    judge_forward,
    judge_gradient,
    judged,
)
from nlcore_conformance.problems.case import DATA, LAYOUTS, Case, problem
from nlcore_conformance.backend.protocol import Backend, accumulates

#: The layouts of most checks; the others are the memory layout's own.
_LAYOUTS = ("contiguous", "channels_last", "strided")


#: What the checks below judge, by the clauses of docs/spec.md. All judge the form of what came.
FORM = ("NL-1.2", "NL-1.4", "NL-1.5")
_PAIRWISE = {
    "gaussian": ("NL-3.1", "NL-2.2", "NL-5.5"),
    "embedded_gaussian": ("NL-3.2",),
    "dot_product": ("NL-3.3",),
    "concatenation": ("NL-3.4",),
}
_VALUES = (
    *("NL-1.1", "NL-1.3", "NL-1.6", "NL-2.1", "NL-2.3", "NL-2.4"),
    *("NL-4.1", "NL-4.2", "NL-4.3", "NL-4.4", "NL-4.5"),
    *("NL-5.1", "NL-5.2", "NL-5.3", "NL-5.4", "NL-5.6"),
    *("NL-6.1", "NL-6.2", "NL-6.3", "NL-6.4", "NL-7.1", "NL-7.2", "NL-8.1", "NL-10.1", "NL-10.3"),
    *("NL-12.1", "NL-12.2", "NL-12.3", "NL-12.4", "NL-12.5"),
)
_GRADIENTS = ("NL-9.1", "NL-9.3", "NL-9.4", "NL-9.5")
_BATCH = ("NL-8.2", "NL-8.3")
_APART = ("NL-6.2", "NL-6.3", "NL-6.4")


@dataclass(frozen=True)
class Check:
    """One rule under test; its name is its id."""

    name: str
    clause: str  # of docs/spec.md, or a section of it: what the check is for
    judge: Callable[[Backend, Case], list[Judgement]]
    judges: tuple[str, ...]  # every clause that it judges, beside those of FORM
    applies: Callable[[NonLocalSpec], bool] = lambda spec: True
    weight: float = 1.0  # share of a profile's examples
    named: bool = False  # whether it tries the named problems
    training: bool = False
    needs_vjp: bool = False
    data: tuple[str, ...] = DATA
    layouts: tuple[str, ...] = _LAYOUTS


def forward(backend: Backend, case: Case) -> list[Judgement]:
    """z against the reference's."""
    right = expected_of(case, accumulates(backend, case.dtype), False)
    return judge_forward(backend, problem(case), right)


def gradient(backend: Backend, case: Case) -> list[Judgement]:
    """dx and every weight's gradient against the reference's."""
    right = expected_of(case, accumulates(backend, case.dtype), True)
    return judge_gradient(backend, problem(case), right)


def not_finite(backend: Backend, case: Case) -> list[Judgement]:
    """A NaN in x reaches every output that sees it and no other; an infinity, its own z at least.

    Under NL-11.3 an infinity may give NaN or infinity where it is seen.
    """
    where, right, bound = _with_nan(case, accumulates(backend, case.dtype))
    sees = np.isnan(right)
    p = problem(case)
    judgements = []
    for value in (np.nan, np.inf, -np.inf):
        p.x[where] = value
        z = asked(backend, p)
        judgement = judged("z", z, np.where(sees, 0.0, right), bound, case.dtype)
        if not judgement.note:
            got = float64(z)
            if np.isnan(value):
                lost = np.argwhere(sees & ~np.isnan(got))
            else:  # the residual at least
                lost = np.array([where] if np.isfinite(got[where]) else [])
            if len(lost):
                index = tuple(int(k) for k in lost[0])
                received = float(got[index])
                judgement = replace(
                    judgement, ratio=np.inf, index=index, expected=value, received=received
                )
        judgements.append(judgement)
    return judgements


@lru_cache(maxsize=4)  # several backends are asked the same
def _with_nan(case: Case, sums: str) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """Where x gets its NaN, the reference's z with it, and z's bounds, infinite where z is NaN."""
    p = problem(case)
    rng = np.random.default_rng(case.seed)
    where = tuple(int(rng.integers(n)) for n in p.x.shape)
    p.x[where] = np.nan
    right = nlcore.block(case.spec, p.weights, p.x, case.training)
    return where, right, np.where(np.isnan(right), np.inf, bounds_of(p, sums)["z"])


def checks() -> Iterator[Check]:
    """All checks, in the order of the report."""
    few = 0.3
    vjp: dict[str, Any] = {"weight": 0.75, "needs_vjp": True}

    def only(pairwise: str) -> Callable[[NonLocalSpec], bool]:
        return lambda spec: spec.pairwise == pairwise

    def batch_norm(spec: NonLocalSpec) -> bool:
        return spec.batch_norm

    judges: tuple[str, ...]
    every = (*_VALUES, *(clause for own in _PAIRWISE.values() for clause in own))
    batch: dict[str, Any] = {"training": True, "applies": batch_norm}
    for name, own in _PAIRWISE.items():
        judges = (*_VALUES, *own)
        yield Check(f"forward / {name}", "NL-3", forward, judges, only(name), named=True)
    judges = (*every, *_BATCH)
    yield Check("forward / batch statistics", "NL-8.2", forward, judges, named=True, **batch)
    for name, own in _PAIRWISE.items():
        judges = (*_VALUES, *own, *_GRADIENTS)
        yield Check(f"gradient / {name}", "NL-9", gradient, judges, only(name), named=True, **vjp)
    judges = (*every, *_BATCH, *_GRADIENTS, "NL-9.2")
    yield Check(
        "gradient / batch statistics", "NL-9.2", gradient, judges, named=True, **vjp, **batch
    )
    yield Check(
        "gradient / outside the extent",
        "NL-6",
        properties.outside_the_extent,
        ("NL-1.6", *_APART),
        weight=few,
        needs_vjp=True,
        data=("normal", "integers"),
    )
    yield Check(
        "memory layout", "NL-1.5", forward, every, weight=0.7, data=("normal",), layouts=LAYOUTS
    )
    yield Check("identity at insertion", "NL-10.4", properties.identity, ("NL-10.4",), weight=few)
    judges = (*every, "NL-11.1", "NL-11.2", "NL-11.3")
    yield Check("NaN and infinity", "NL-11.2", not_finite, judges, data=("normal",))
    yield Check("repeatable", "NL-10.3", properties.repeatable, ("NL-10.3",), weight=few)
    yield Check(
        "permutation",
        "NL-6.1",
        properties.permutation,
        ("NL-6.1",),
        lambda spec: spec.subsample is None and spec.window is None,
        weight=few,
    )
    yield Check(
        "batch independence", "NL-1.6", properties.batch_independence, ("NL-1.6",), weight=few
    )
    yield Check(
        "constant g",
        "NL-4.1",
        properties.constant_g,
        ("NL-4.1",),
        lambda spec: spec.normalization == "sum" and spec.pairwise != "concatenation",
        weight=few,
        data=tuple(data for data in DATA if data != "zero f"),  # where C = 0, y is not g
    )
    yield Check(
        "extent as batches",
        "NL-6",
        properties.extent_as_batches,
        _APART,
        lambda spec: spec.extent != "all" or spec.window is not None,
        weight=few,
    )
    yield Check("rescaling", "NL-2.1", properties.rescaling, ("NL-2.1",), weight=few)
