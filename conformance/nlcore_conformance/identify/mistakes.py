"""The known mistakes that explain answers which no rules explain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from nlcore_conformance.backend.protocol import supports
from nlcore_conformance.checks.comparison import Broken, asked
from nlcore_conformance.identify.answers import Answer
from nlcore_conformance.mutants import Mutant, mutants
from nlcore_conformance.run.diagnosis.replies import close

#: An answer is compared if its error is so many bounds: two small mistakes are close by chance.
FAR = 4.0
#: How many answers are compared at most, spread over all.
COMPARED = 24


def mistakes(answers: Sequence[Answer]) -> tuple[list[str], bool]:
    """What the mutants compute that give the most answers, and whether they give all of them.

    The answers are those that no rules explain. A mutant computes the spec that was asked for with
    one mistake. So it gives an answer only if the backend's other rules are those of the spec.
    """
    given = [answer for answer in answers if answer.z is not None and answer.computed is None]
    compared = given[:: -(-len(given) // COMPARED)] if given else []
    found: Counter[str] = Counter()
    known = {mutant.name: mutant for mutant in mutants()}
    for answer in compared:
        found.update(name for name, mutant in known.items() if _gives(mutant, answer))
    most = max(found.values(), default=0)
    best = [known[name] for name, count in found.items() if count == most]
    many = f"{most} of {len(compared)} answers that no rules explain"
    said = [f"what {m.name!r} computes ({m.clause}), in {many}: {m.mistake}" for m in best]
    return said, most == len(compared)


def _gives(mutant: Mutant, answer: Answer) -> bool:
    """Whether the mutant's answer is this one, which is far from the right one."""
    backend, trial, z = mutant.make(), answer.trial, answer.z
    if z is None or answer.ratio <= FAR:
        return False
    if supports(backend, answer.asked, trial.dtype) is not True:
        return False
    p = trial.problem(answer.asked)
    weights = {name: weight.copy() for name, weight in p.weights.items()}
    try:
        own = asked(backend, replace(p, weights=weights, x=p.x.copy()))
    except (Broken, NotImplementedError):
        return False
    bound = trial.expected(answer.asked).bounds["z"]
    return own.dtype == z.dtype and close({"z": own}, {"z": z}, {"z": bound})
