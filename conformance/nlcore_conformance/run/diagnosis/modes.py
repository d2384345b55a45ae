"""The one value of a field with which checks fail, where no known mistake explains them."""

from __future__ import annotations

from nlcore_conformance.checks.check import Check
from nlcore_conformance.problems.case import Case
from nlcore_conformance.run.coverage import values
from nlcore_conformance.run.diagnosis.replies import Known
from nlcore_conformance.run.results import Diagnosis


def modes(known: dict[Check, Known]) -> list[Diagnosis]:
    """The values, like extent=time, with which checks fail and without which they pass."""
    wrong = {c: [values_of(c, case) for case, _ in k.wrong] for c, k in known.items()}
    right = {c: [values_of(c, case) for case, _ in k.right] for c, k in known.items()}
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


def values_of(check: Check, case: Case) -> set[str]:
    """The values of a problem's fields, like "extent=time"."""
    return {f"{name}={value}" for name, value in values(case, check.gradient).items()}
