"""Why a backend fails: the mutants, which are known mistakes, whose answers are the backend's.

A mutant explains a check if its answers are the backend's within the bound, on problems that the
backend gets wrong and on some that it gets right. Where no mutant does, two at once are tried.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from nlcore_conformance.backend.protocol import Backend
from nlcore_conformance.checks.check import Check
from nlcore_conformance.mutants import Mutant, mutants
from nlcore_conformance.mutants.conditions import Conditional
from nlcore_conformance.mutants.mutant import together
from nlcore_conformance.mutants.rounding import Running
from nlcore_conformance.problems.case import Case
from nlcore_conformance.run.diagnosis.first_weights import starting_alike
from nlcore_conformance.run.diagnosis.history import changing_alike
from nlcore_conformance.run.diagnosis.modes import modes, values_of
from nlcore_conformance.run.diagnosis.replies import Answers, Known, agrees, answers_of
from nlcore_conformance.run.results import Cause, Diagnosis

#: How many problems of a check are used: that the backend gets wrong, and that it gets right.
WRONG, RIGHT = 24, 12
#: How many pairs of mutants are tried, and in how many problems it is seen which ones may fit.
PAIRED, PROBLEMS = 300, 8
#: Pairs of positions of the largest problem that is used, where enough smaller ones are wrong.
PAIRS = 2**16
#: Pairs of positions of the largest problem in which all mutants are asked.
ALL = 2**21
#: How many wrong problems are enough, and how many right ones above PAIRS are used.
FEW = LARGER = 4


def diagnose(
    backend: Backend, asked: dict[Check, Sequence[Case]], zoo: Iterable[Mutant] | None = None
) -> list[Diagnosis]:
    """The diagnoses of a backend, from problems of each check that it fails.

    A mutant may explain a check only where a spec's field, or another property of the problems, has
    one value, as a mistake in one of several code paths does. Checks that no known mistake explains
    are put together by the value with which they fail and without which they pass. If there is no
    such value, they have no diagnosis.

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
        # the mistake that explains the most checks, and those that explain the same ones
        every = {fit.key: fit for fits in fitting.values() for fit in fits}
        explained = {
            key: tuple(c for c, fits in fitting.items() if key in (fit.key for fit in fits))
            for key in every
        }
        best = max(explained, key=lambda key: len(explained[key]))
        only, checks = every[best].only, explained[best]
        causes = [f.mutant for k, f in every.items() if (f.only, explained[k]) == (only, checks)]
        found.append(
            Diagnosis(
                tuple(check.name for check in checks),
                tuple(Cause(m.name, m.mistake, m.clause) for m in causes),
                only,
            )
        )
        for check in checks:
            fitting[check] = []
    return found + modes({check: known[check] for check in unexplained})


class _Fit(NamedTuple):
    """A mutant that explains a check, perhaps only where a field has one value."""

    mutant: Mutant
    only: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What is the same in several checks."""
        return self.mutant.name, self.only


def _known(check: Check, backend: Backend, cases: Sequence[Case]) -> Known:
    """A few problems of a check that the backend gets wrong, and some that it gets right."""
    wrong, right = known = Known([], [])
    # large numbers last, and only if no other is wrong: there, two codes of one mistake differ
    for case in sorted(cases, key=lambda case: (case.data == "large", case.pairs > PAIRS)):
        largest = ALL if len(wrong) < FEW else PAIRS
        if wrong and (case.data == "large" or case.pairs > largest):
            continue
        if len(wrong) >= WRONG and len(right) >= RIGHT:
            break
        answers = answers_of(check, backend, case)
        if answers is not None:
            kept, most = (wrong, WRONG) if answers.failed else (right, RIGHT)
            if len(kept) < most:
                kept.append((case, answers))
    if wrong:
        smallest = min((case for case, _ in wrong), key=lambda case: case.pairs)
        right += _larger(check, backend, cases, smallest)
    return known


def _larger(
    check: Check, backend: Backend, cases: Sequence[Case], wrong: Case
) -> Iterator[tuple[Case, Answers]]:
    """A few problems between PAIRS and the smallest one that is wrong, from small to large."""
    alike = [case for case in cases if case.dtype == wrong.dtype]
    sizes = {case.pairs: case for case in alike if PAIRS < case.pairs < wrong.pairs}
    spread = np.linspace(0, len(sizes) - 1, min(LARGER, len(sizes))).round().astype(int)
    for place in spread:
        case = sizes[sorted(sizes)[place]]
        answers = answers_of(check, backend, case)
        if answers is not None and not answers.failed:
            yield case, answers


def _fitting(check: Check, backend: Backend, known: Known, zoo: list[Mutant]) -> list[_Fit]:
    """The mutants whose answers are the backend's, or else the pairs of them."""
    wrong, right = known
    if not wrong:
        return []
    if check.initial:
        return [_Fit(m) for m in starting_alike(backend, zoo, known)]
    if all(case.pairs > ALL for case, _ in wrong):  # other mistakes are seen at small sizes, too
        large = (m for m in zoo if _may_need_length(m))
        return [_Fit(m) for m in _agreeing(check, large, wrong + right)]
    if found := _agreeing(check, zoo, wrong + right):
        return [_Fit(m) for m in found]
    if in_one_path := _in_one_path(check, known, zoo):
        return in_one_path
    found = _agreeing(check, _pairs(check, zoo, wrong), wrong + right)
    found = found or changing_alike(check, backend, zoo, [case for case, _ in wrong + right])
    return [_Fit(m) for m in found]


def _may_need_length(mutant: Mutant) -> bool:
    """Whether it is wrong only under a condition, which may be one of long rows."""
    if issubclass(mutant.make, Running):
        return mutant.make.least > Running.least
    return issubclass(mutant.make, Conditional)


def _in_one_path(check: Check, known: Known, zoo: Iterable[Mutant]) -> list[_Fit]:
    """The mutants whose answers are the backend's where a field has one value, as in one path.

    All problems that fail have the value. Of those that pass, the fewest have it, and not all.
    """
    left = _agreeing(check, zoo, known.wrong)
    if not left:
        return []
    right = [(answered, values_of(check, answered[0])) for answered in known.right]
    shared = set.intersection(*(values_of(check, case) for case, _ in known.wrong))
    having = {value: [a for a, have in right if value in have] for value in sorted(shared)}
    for value in sorted(having, key=lambda value: len(having[value])):
        if len(having[value]) < len(right) and (fits := _agreeing(check, left, having[value])):
            return [_Fit(m, value) for m in fits]
    return []


def _agreeing(
    check: Check, zoo: Iterable[Mutant], known: Sequence[tuple[Case, Answers]]
) -> list[Mutant]:
    """The mutants that give these answers. The quickest problems leave few for the others."""
    left = list(zoo)
    for case, answers in sorted(known, key=lambda k: k[0].pairs):
        left = [m for m in left if agrees(check, m.make, case, answers)]
    return left


def _pairs(
    check: Check, zoo: Sequence[Mutant], wrong: Sequence[tuple[Case, Answers]]
) -> list[Mutant]:
    """Two mutants in one, those pairs that most probably give these answers.

    In most problems both are wrong, or one of them gives the answers alone.
    """
    fits = Counter(itertools.combinations(range(len(zoo)), 2))
    for case, theirs in wrong[:PROBLEMS]:
        ours = [answers_of(check, m.make(), case) for m in zoo]
        seen = {n for n, a in enumerate(ours) if a is not None and a.failed and not a.error}
        alone = {n for n in seen if agrees(check, zoo[n].make, case, theirs)}
        fits.update(p for p in fits if seen.issuperset(p) or alone.intersection(p))
    best = (together(zoo[one], zoo[other]) for (one, other), _ in fits.most_common(PAIRED))
    return [both for both in best if both is not None]
