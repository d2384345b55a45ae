"""Mutants judged first alone, by the quickest trials, and then several in one program.

Most mutants are rejected in a moment, and those that survive take all trials. So the mutants that
are left after the quickest trials are judged together. If no trial rejects the program, all of them
survive. If one does, the two halves are judged apart, by the trials from this one on, until it is
known which mutants are rejected. A mutant that hides another's mistake makes it survive, never the
other way round.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from source_mutants.judging import SLOWER, START, Job, Measured, Outcome, judge_all
from source_mutants.mutant import Mutant, changed, executing
from source_mutants.trials import Trial, in_turns

#: Seconds of the trials, without a mutant, by which a mutant is judged alone.
ALONE = 4.0
#: How many mutants are judged in one program.
TOGETHER = 10


class _Some(NamedTuple):
    """Mutants by number, the numbers of their trials, and whether these are all trials left."""

    mutants: tuple[int, ...]
    trials: list[int]
    whole: bool


def verdicts(
    mutants: Sequence[Mutant],
    asked: Sequence[Trial],
    found: Measured,
    package: str,
    at_a_time: int,
) -> Iterator[tuple[int, Outcome, int]]:
    """The number of each mutant, its outcome, and the number of its trials."""
    order = in_turns(asked, found.seconds)
    own = [executing(found, [mutant], order) for mutant in mutants]
    left: list[int] = []

    def job(some: _Some) -> tuple[_Some, Job]:
        limit = START + SLOWER * sum(found.seconds[k] for k in some.trials)
        changes = changed([mutants[n] for n in some.mutants])
        return some, Job(changes, [asked[k] for k in some.trials], limit)

    quick = (_quick(found, trials) for trials in own)
    alone = [_Some((n,), trials, len(trials) == len(own[n])) for n, trials in enumerate(quick)]
    for some, outcome in judge_all(deque(map(job, alone)), package, at_a_time):
        (n,) = some.mutants
        if outcome.verdict == "rejected" or some.whole:
            yield n, outcome, len(own[n])
        else:
            left.append(n)
    waiting = deque(
        job(_Some(tuple(group), executing(found, [mutants[n] for n in group], order), True))
        for group in groups(left, mutants)
    )
    for some, outcome in judge_all(waiting, package, at_a_time):
        if outcome.verdict == "rejected" and len(some.mutants) > 1:
            middle = len(some.mutants) // 2
            for half in (some.mutants[:middle], some.mutants[middle:]):
                waiting.append(job(_Some(half, some.trials[outcome.passed :], True)))
        else:
            for n in some.mutants:
                yield n, outcome, len(own[n])


def _quick(found: Measured, trials: Sequence[int]) -> list[int]:
    """The first trials, of `ALONE` seconds without a mutant."""
    chosen, seconds = [], 0.0
    for number in trials:
        if (seconds := seconds + found.seconds[number]) > ALONE:
            break
        chosen.append(number)
    return chosen


def groups(left: Sequence[int], mutants: Sequence[Mutant]) -> list[list[int]]:
    """The numbers of mutants in groups of up to `TOGETHER`, in which none overlaps another."""
    found: list[list[int]] = []
    for n in left:
        for group in found:
            if len(group) < TOGETHER and not any(mutants[n].overlaps(mutants[k]) for k in group):
                group.append(n)
                break
        else:
            found.append([n])
    return found
