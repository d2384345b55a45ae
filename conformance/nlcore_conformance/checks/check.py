"""A check: the problems that it asks, and how it judges the answers.

Every check draws cases, asks the backend, and judges each output element by its derived bound:
ratio = error / bound, which must not exceed 1. docs/spec.md has the clauses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

import nlcore
from nlcore_conformance.backend.protocol import Backend, accumulates
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
from nlcore_conformance.problems.case import Case, problem
from nlcore_conformance.problems.question import Question


@dataclass(frozen=True, kw_only=True)
class Check(Question):
    """One rule under test; its name identifies it.

    Attributes
    ----------
    clause : str
        The clause of docs/spec.md that the check is for, or a section of it.
    judge : callable
        (backend, case) -> how each output compares. It raises `comparison.Broken` where there is no
        answer, and NotImplementedError where the backend does not support the case.
    clauses : tuple of str
        The clauses that it enforces in addition to those of `catalogue.FORM`, which every check
        enforces.
    """

    clause: str
    judge: Callable[[Backend, Case], list[Judgement]]
    clauses: tuple[str, ...]


def forward(backend: Backend, case: Case) -> list[Judgement]:
    """z against the reference's."""
    sums = accumulates(backend, case.dtype)
    return judge_forward(backend, problem(case), lambda: expected_of(case, sums, False))


def gradient(backend: Backend, case: Case) -> list[Judgement]:
    """dx and every weight's gradient against the reference's."""
    sums = accumulates(backend, case.dtype)
    return judge_gradient(backend, problem(case), lambda: expected_of(case, sums, True))


def not_finite(backend: Backend, case: Case) -> list[Judgement]:
    """A NaN in x reaches every output that sees it and no other; an infinity reaches its own z.

    Under NL-11.3 every output that sees an infinity may be NaN or infinite.
    """
    where, p = _place(case), problem(case)
    judgements = []
    for value in (np.nan, np.inf, -np.inf):
        p.x[where] = value
        z = asked(backend, p)
        right, bound = _with_nan(case, accumulates(backend, case.dtype))
        sees = np.isnan(right)
        judgement = judged("z", z, np.where(sees, 0.0, right), bound, case.dtype)
        if not judgement.note:
            got = float64(z)
            if np.isnan(value):
                lost = np.argwhere(sees & ~np.isnan(got))
            else:  # by the residual
                lost = np.array([where] if np.isfinite(got[where]) else [])
            if len(lost):
                index = tuple(int(k) for k in lost[0])
                received = float(got[index])
                judgement = replace(
                    judgement, ratio=np.inf, index=index, expected=value, received=received
                )
        judgements.append(judgement)
    return judgements


def _place(case: Case) -> tuple[int, ...]:
    """The index in x of what is not finite."""
    rng = np.random.default_rng(case.seed)
    return tuple(int(rng.integers(n)) for n in (case.batch, case.spec.channels, *case.positions))


@lru_cache(maxsize=4)  # several backends get the same problem
def _with_nan(case: Case, sums: str) -> tuple[np.ndarray, np.ndarray]:
    """The reference's z with a NaN in x, and z's bounds, inf where z is NaN."""
    p = problem(case)
    p.x[_place(case)] = np.nan
    right = nlcore.block(case.spec, p.weights, p.x, case.training)
    return right, np.where(np.isnan(right), np.inf, bounds_of(p, sums)["z"])
