"""The known mistakes that explain answers which no rules explain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nlcore_conformance.backend.protocol import supports
from nlcore_conformance.checks.comparison import Broken, asked, float64
from nlcore_conformance.identify.answers import Answer
from nlcore_conformance.mutants import Mutant, mutants


def mistakes(answers: Sequence[Answer]) -> list[str]:
    """What the mutants compute that give the most of these answers, within the bounds.

    A mutant computes the spec that was asked for with one mistake. So an answer is explained only
    if the backend's other rules are those of its spec.
    """
    given = [answer for answer in answers if answer.z is not None and answer.computed is None]
    found: Counter[str] = Counter()
    known = {mutant.name: mutant for mutant in mutants()}
    for answer in given:
        found.update(name for name, mutant in known.items() if _gives(mutant, answer))
    most = max(found.values(), default=0)
    best = [known[name] for name, count in found.items() if count == most]
    many = f"{most} of the {len(given)} answers that no rules explain"
    return [f"what {m.name!r} computes ({m.clause}), in {many}: {m.mistake}" for m in best]


def _gives(mutant: Mutant, answer: Answer) -> bool:
    """Whether the mutant's answer is this one, and not the right one."""
    backend, trial, z = mutant.make(), answer.trial, answer.z
    if z is None or supports(backend, answer.asked, trial.dtype) is not True:
        return False
    p = trial.problem(answer.asked)
    weights = {name: weight.copy() for name, weight in p.weights.items()}
    try:
        own = asked(backend, replace(p, weights=weights, x=p.x.copy()))
    except (Broken, NotImplementedError):
        return False
    if own.shape != z.shape or trial.ratio(own, answer.asked) <= 1:
        return False
    bound = trial.expected(answer.asked).bounds["z"]
    return bool(np.all(np.abs(float64(own) - float64(z)) <= 2 * bound))
