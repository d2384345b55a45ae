"""One case judged by one check: passed, or a failure that can be judged again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from nlcore_conformance.checks.catalogue import Check, checks
from nlcore_conformance.checks.comparison import Broken, Judgement
from nlcore_conformance.problems.case import Case
from nlcore_conformance.backend.protocol import Backend


@dataclass
class Failure:
    """The smallest failing case that was found, and what was wrong with it."""

    case: Case
    judgement: Judgement | None  # None where the backend raised
    error: str = ""
    stage: str = ""  # the first at which the numbers part, where that can be told


class Failed(Exception):
    """A ratio above 1, or no answer, or one of another form."""

    def __init__(self, failure: Failure, judgements: Sequence[Judgement] = ()) -> None:
        super().__init__(failure.error or failure.judgement)
        self.failure = failure
        self.judgements = judgements  # of all outputs; none where the backend raised


def attempt(check: Check, backend: Backend, case: Case) -> list[Judgement]:
    """Judge one case.

    Raises
    ------
    Failed
    NotImplementedError
        The backend does not support the case.
    """
    try:
        judgements = check.judge(backend, case)
    except Broken as error:
        raise Failed(Failure(case, None, str(error))) from error
    worst = max(judgements, key=lambda j: j.ratio)
    if worst.ratio > 1:
        raise Failed(Failure(case, worst), judgements)
    return judgements


def named_check(name: str) -> Check:
    """The check of this name.

    Raises
    ------
    ValueError
        There is none.
    """
    known = {check.name: check for check in checks()}
    if name not in known:
        raise ValueError(f"check must be one of {list(known)}; received {name!r}")
    return known[name]


def reproduction(backend: str, check: str, case: Case) -> str:
    """One line to paste that judges the case again."""
    text = json.dumps({"backend": backend, "check": check, "case": case.to_json()})
    return f"nlcore-conformance replay '{text}'"
