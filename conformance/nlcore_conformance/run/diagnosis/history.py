"""Mutants whose answers depend on what they were asked before, as the backend's do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from nlcore_conformance.backend.protocol import Backend, accumulates
from nlcore_conformance.checks.check import Check
from nlcore_conformance.checks.comparison import float64
from nlcore_conformance.mutants import Mutant
from nlcore_conformance.problems.case import Case
from nlcore_conformance.run.diagnosis.replies import Answers, agrees, answers_of, close
from nlcore_conformance.run.shrinking import with_channels

#: Factors of a block's channels, for sizes that the backend was probably not asked for.
FACTORS = (3, 5, 7)
#: How many problems are tried at such sizes.
TRIED = 6


def changing_alike(
    check: Check, backend: Backend, zoo: Sequence[Mutant], cases: Sequence[Case]
) -> list[Mutant]:
    """The mutants that change their answers as the backend does.

    The backend answers a question twice. If both answers are the same, it answers two questions
    that differ in their numbers only, with sizes that are new to it.
    """
    changes = ((case, _change(check, backend, case)) for case in cases)
    case, theirs = next((found for found in changes if found[1] is not None), (None, None))
    if case is None or theirs is None:
        return _second_wrong(check, backend, zoo, cases)
    fits = [m for m in zoo if _changes_so(check, m.make(), case, *theirs)]
    random = None if fits else _random_outputs(check, backend, case)
    if random is None:
        return fits
    return [m for m in zoo if _random_outputs(check, m.make(), case) == random]


def _changes_so(
    check: Check, mutant: Backend, case: Case, change: dict[str, np.ndarray], answers: Answers
) -> bool:
    """Whether the mutant's second answer less its first is this change, within both bounds."""
    ours = _change(check, mutant, case)
    if ours is None:
        return False
    bounds = answers.bound(0, accumulates(mutant, case.dtype))
    return close(ours[0], change, {n: 2 * b for n, b in bounds.items()})


def _change(
    check: Check, backend: Backend, case: Case
) -> tuple[dict[str, np.ndarray], Answers] | None:
    """Second less first answer by output, or None where both are the same or not finite."""
    first, second = answers_of(check, backend, case), answers_of(check, backend, case)
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


def _random_outputs(check: Check, backend: Backend, case: Case) -> frozenset[str] | None:
    """The outputs that change by more than their bounds, or None if each change is the same."""
    one, other = _change(check, backend, case), _change(check, backend, case)
    if one is None or other is None:
        return None
    (change, first), again = one, other[0]
    if all(np.array_equal(change[n], again[n]) for n in change):
        return None
    bounds = first.bound(0, accumulates(backend, case.dtype))
    return frozenset(n for n in change if (np.abs(change[n]) > 2 * bounds[n]).any())


def _second_wrong(
    check: Check, backend: Backend, zoo: Sequence[Mutant], cases: Sequence[Case]
) -> list[Mutant]:
    """The mutants that are right at first, and give the backend's answers after that."""
    for first, second in _new_sizes(cases):
        before = answers_of(check, backend, first)
        if before is None or before.failed:
            continue
        after = answers_of(check, backend, second)
        if after is not None and after.failed:
            turns = ((first, before), (second, after))
            return [m for m in zoo if _agrees_in_turn(check, m, turns)]
    return []


def _new_sizes(cases: Sequence[Case]) -> Iterator[tuple[Case, Case]]:
    """Two problems of the same sizes, which have more channels than the cases."""
    for case in cases[:TRIED]:
        for factor in FACTORS:
            with contextlib.suppress(ValueError):  # no such spec
                first = replace(case, spec=with_channels(case.spec, factor * case.spec.channels))
                yield first, replace(first, seed=case.seed + 1)


def _agrees_in_turn(check: Check, mutant: Mutant, turns: Sequence[tuple[Case, Answers]]) -> bool:
    """Whether one instance gives these answers, one after the other."""
    made = mutant.make()
    return all(agrees(check, lambda: made, case, theirs) for case, theirs in turns)
