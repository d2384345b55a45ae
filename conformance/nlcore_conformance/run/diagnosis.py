"""Why a backend fails: the mutants, which are known mistakes, whose answers are the backend's.

A mutant explains a check if its answers are the backend's within the bound, on problems that the
backend gets wrong and on some that it gets right. Where no mutant does, two at once are tried.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from nlcore_conformance.backend.protocol import Backend, accumulates, supports
from nlcore_conformance.checks.check import Check
from nlcore_conformance.checks.comparison import bounds_of, float64
from nlcore_conformance.checks.judging import Failed, attempt
from nlcore_conformance.checks.witness import Asked, Witness
from nlcore_conformance.mutants import Mutant, mutants
from nlcore_conformance.mutants.mutant import together
from nlcore_conformance.problems.case import Case
from nlcore_conformance.run.coverage import values
from nlcore_conformance.run.results import Cause, Diagnosis

#: How many problems of a check are used: that the backend gets wrong, and that it gets right.
WRONG, RIGHT = 24, 12
#: How many pairs of mutants are tried, and in how many problems it is seen which ones may fit.
PAIRED, PROBLEMS = 300, 8
#: Pairs of positions of the largest problem that is used, beside one that the backend gets wrong.
PAIRS = 2**16


def diagnose(
    backend: Backend, asked: dict[Check, Sequence[Case]], zoo: Iterable[Mutant] | None = None
) -> list[Diagnosis]:
    """The diagnoses of a backend, from problems of each check that it fails.

    Checks that no known mistake explains are put together by the one value of a spec's field, or of
    another property of the problems, with which they fail and without which they pass. If there is
    no such value, they have no diagnosis.

    Parameters
    ----------
    asked
        Check -> problems, of which the backend gets some wrong.
    zoo
        By default `mutants()`.
    """
    zoo = list(mutants() if zoo is None else zoo)
    known = {check: _known(check, backend, cases) for check, cases in asked.items()}
    fitting = {check: _fitting(check, backend, k, zoo) for check, k in known.items()}
    unexplained = [check for check, fits in fitting.items() if not fits]
    found = []
    while any(fitting.values()):
        # the mutant that explains the most checks, and those that explain the same ones
        every = {m.name: m for m in itertools.chain.from_iterable(fitting.values())}
        explained = {
            name: tuple(c for c, fits in fitting.items() if name in (m.name for m in fits))
            for name in every
        }
        checks = max(explained.values(), key=len)
        causes = [m for name, m in every.items() if explained[name] == checks]
        found.append(
            Diagnosis(
                tuple(check.name for check in checks),
                tuple(Cause(m.name, m.mistake, m.clause) for m in causes),
            )
        )
        for check in checks:
            fitting[check] = []
    return found + _modes({check: known[check] for check in unexplained})


class _Known(NamedTuple):
    """Problems, and the backend's answers to them."""

    wrong: list[tuple[Case, _Answers]]
    right: list[tuple[Case, _Answers]]


def _known(check: Check, backend: Backend, cases: Sequence[Case]) -> _Known:
    """A few problems of a check that the backend gets wrong, and some that it gets right."""
    wrong, right = known = _Known([], [])
    # large numbers last, and only if no other is wrong: there, two codes of one mistake differ
    for case in sorted(cases, key=lambda case: case.data == "large"):
        enough = len(wrong) >= WRONG and len(right) >= RIGHT
        if enough or (wrong and (case.pairs > PAIRS or case.data == "large")):
            continue
        answers = _answers(check, backend, case)
        if answers is not None:
            kept, most = (wrong, WRONG) if answers.failed else (right, RIGHT)
            if len(kept) < most:
                kept.append((case, answers))
    return known


def _fitting(check: Check, backend: Backend, known: _Known, zoo: list[Mutant]) -> list[Mutant]:
    """The mutants whose answers are the backend's, or else the pairs of them."""
    wrong, right = known
    if not wrong or check.initial:  # in which answers are random
        return []
    return (
        _agreeing(check, zoo, wrong + right)
        or _agreeing(check, _pairs(check, zoo, wrong), wrong + right)
        or _changing_alike(check, backend, zoo, [case for case, _ in wrong + right])
    )


def _modes(known: dict[Check, _Known]) -> list[Diagnosis]:
    """The values, like extent=time, with which checks fail and without which they pass."""
    wrong = {c: [_values(c, case) for case, _ in k.wrong] for c, k in known.items()}
    right = {c: [_values(c, case) for case, _ in k.right] for c, k in known.items()}
    left = [check for check in known if wrong[check]]
    found = []
    while left:
        explained: dict[str, list[Check]] = {}
        for check in left:
            for value in set.intersection(*wrong[check]).difference(*right[check]):
                explained.setdefault(value, []).append(check)
        # a value must tell some problems that fail from some that pass
        able = {v: cs for v, cs in explained.items() if any(right[c] for c in cs)}
        if not able:
            break
        only = max(sorted(able), key=lambda value: len(able[value]))
        checks = able[only]
        functions = {v for c in checks for have in wrong[c] for v in have if "pairwise=" in v}
        several = functions if len(functions) == 1 and functions != {only} else set()
        found.append(Diagnosis(tuple(c.name for c in checks), only=" and ".join([only, *several])))
        left = [check for check in left if check not in checks]
    return found


def _values(check: Check, case: Case) -> set[str]:
    """The values of a problem's fields, like "extent=time"."""
    return {f"{name}={value}" for name, value in values(case, check.gradient).items()}


def _agreeing(
    check: Check, zoo: Iterable[Mutant], known: Sequence[tuple[Case, _Answers]]
) -> list[Mutant]:
    """The mutants that give these answers."""
    left = list(zoo)
    for case, answers in known:
        left = [m for m in left if _agrees(check, m.make, case, answers)]
    return left


def _pairs(
    check: Check, zoo: Sequence[Mutant], wrong: Sequence[tuple[Case, _Answers]]
) -> list[Mutant]:
    """Two mutants in one, those pairs that most probably give these answers.

    In most problems both are wrong, or one of them gives the answers alone.
    """
    fits = Counter(itertools.combinations(range(len(zoo)), 2))
    for case, theirs in wrong[:PROBLEMS]:
        ours = [_answers(check, m.make(), case) for m in zoo]
        seen = {n for n, a in enumerate(ours) if a is not None and a.failed and not a.error}
        alone = {n for n in seen if _agrees(check, zoo[n].make, case, theirs)}
        fits.update(p for p in fits if seen.issuperset(p) or alone.intersection(p))
    best = (together(zoo[one], zoo[other]) for (one, other), _ in fits.most_common(PAIRED))
    return [both for both in best if both is not None]


def _changing_alike(
    check: Check, backend: Backend, zoo: Iterable[Mutant], cases: Iterable[Case]
) -> list[Mutant]:
    """The mutants whose second answer to a question differs from the first as the backend's does.

    Such a backend keeps a state, so its other answers depend on what was asked before. The question
    is the first to which both answers are finite.
    """
    changes = ((case, _change(check, backend, case)) for case in cases)
    case, theirs = next((found for found in changes if found[1] is not None), (None, None))
    if case is None or theirs is None:
        return []
    fits = []
    for mutant in zoo:
        ours = _change(check, mutant.make(), case)
        if ours is not None:
            bounds = theirs[1].bound(0, accumulates(mutant.make(), case.dtype))
            if _close(ours[0], theirs[0], {n: 2 * b for n, b in bounds.items()}):
                fits.append(mutant)
    return fits


def _change(
    check: Check, backend: Backend, case: Case
) -> tuple[dict[str, np.ndarray], _Answers] | None:
    """Second less first answer by output, or None where both are the same or not finite."""
    first, second = _answers(check, backend, case), _answers(check, backend, case)
    if first is None or second is None or not (first.asked and first.asked[0].answers):
        return None
    a, b = first.asked[0].answers, second.asked[0].answers
    if not all(isinstance(answer, np.ndarray) for answer in (*a.values(), *b.values())):
        return None
    if a.keys() != b.keys() or any(a[n].shape != b[n].shape for n in a):
        return None
    if not all(np.isfinite(float64(answer)).all() for answer in (*a.values(), *b.values())):
        return None
    change = {n: float64(b[n]) - float64(a[n]) for n in a}
    return (change, first) if any(np.any(d) for d in change.values()) else None


@dataclass
class _Answers:
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


def _answers(check: Check, backend: Backend, case: Case) -> _Answers | None:
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
        return _Answers(witness.asked, failed=True, error=said)
    return _Answers(witness.asked)


def _agrees(check: Check, make: Callable[[], Backend], case: Case, theirs: _Answers) -> bool:
    """Whether the mutant's answers are the given ones, within the bound."""
    mutant = make()
    ours = _answers(check, mutant, case)
    if ours is None:  # a mutant that is right here
        return not theirs.failed
    if ours.failed != theirs.failed or _kind(ours.error) != _kind(theirs.error):
        return False
    if theirs.error:
        return True
    sums = accumulates(mutant, case.dtype)
    pairs = zip(ours.asked, theirs.asked, strict=False)
    return all(
        _close(a.answers, b.answers, theirs.bound(n, sums)) for n, (a, b) in enumerate(pairs)
    )


def _kind(error: str) -> str:
    """What is wrong with an answer, without the place in the source."""
    return error.partition(" (")[0].partition(":")[0] if error.startswith("raised") else error


def _close(a: dict[str, Any], b: dict[str, Any], bounds: dict[str, np.ndarray]) -> bool:
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
