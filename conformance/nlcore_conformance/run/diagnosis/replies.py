"""Whether a mutant answers as a backend does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from nlcore_conformance.backend.protocol import Backend, accumulates, supports
from nlcore_conformance.checks.check import Check
from nlcore_conformance.checks.comparison import bounds_of, float64
from nlcore_conformance.checks.judging import Failed, attempt
from nlcore_conformance.checks.witness import Asked, Witness
from nlcore_conformance.problems.case import Case


@dataclass
class Answers:
    """What a backend answered to the questions of one case."""

    asked: list[Asked]
    failed: bool = False
    error: str = ""
    bounds: dict[int, dict[str, np.ndarray]] = field(default_factory=dict)

    def bound(self, number: int, sums: str) -> dict[str, np.ndarray]:
        """The bounds of the outputs of one question."""
        if number not in self.bounds:
            p = self.asked[number].problem
            finite = np.nan_to_num(float64(p.x), nan=0.0, posinf=0.0, neginf=0.0)
            p = replace(p, x=finite.astype(p.x.dtype))
            self.bounds[number] = bounds_of(p, sums, self.asked[number].gradient)
        return self.bounds[number]


class Known(NamedTuple):
    """Problems of a check, and the backend's answers to them."""

    wrong: list[tuple[Case, Answers]]
    right: list[tuple[Case, Answers]]


def answers_of(check: Check, backend: Backend, case: Case) -> Answers | None:
    """The backend's answers, or None where it does not support the case."""
    if supports(backend, case.spec, case.dtype) is not True:
        return None
    witness = Witness(backend, case)
    try:
        attempt(check, witness, case)
    except NotImplementedError:
        return None
    except Failed as error:
        judgement = error.failure.judgement
        said = error.failure.error if judgement is None else judgement.note
        return Answers(witness.asked, failed=True, error=said)
    return Answers(witness.asked)


def agrees(check: Check, make: Callable[[], Backend], case: Case, theirs: Answers) -> bool:
    """Whether the mutant's answers are the given ones, within the bound."""
    mutant = make()
    ours = answers_of(check, mutant, case)
    if ours is None:  # a mutant that is right here
        return not theirs.failed
    if ours.failed != theirs.failed or _kind(ours.error) != _kind(theirs.error):
        return False
    if theirs.error:
        return True
    sums = accumulates(mutant, case.dtype)
    pairs = zip(ours.asked, theirs.asked, strict=False)
    return all(close(a.answers, b.answers, theirs.bound(n, sums)) for n, (a, b) in enumerate(pairs))


def _kind(error: str) -> str:
    """What is wrong with an answer, without the place in the source."""
    return error.partition(" (")[0].partition(":")[0] if error.startswith("raised") else error


def close(a: dict[str, Any], b: dict[str, Any], bounds: dict[str, np.ndarray]) -> bool:
    """Whether two answers are equal where NaN is equal to NaN, each within its bound."""
    if a.keys() != b.keys():
        return False
    for name in a:
        x, y = float64(a[name]), float64(b[name])
        if x.shape != y.shape or x.shape != bounds[name].shape:
            return False
        with np.errstate(all="ignore"):
            near = np.abs(x - y) <= 2 * bounds[name]
        if not (near | (x == y) | (np.isnan(x) & np.isnan(y)) | ~np.isfinite(bounds[name])).all():
            return False
    return True
