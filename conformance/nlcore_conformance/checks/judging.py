"""One case judged by one check: it passes, or it is a failure that can be judged again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from nlcore_conformance.backend.protocol import Backend
from nlcore_conformance.checks.check import Check
from nlcore_conformance.checks.comparison import Broken, Judgement
from nlcore_conformance.problems.case import Case


@dataclass
class Failure:
    """The smallest failing case that was found, and what is wrong with its answer.

    Attributes
    ----------
    judgement : Judgement or None
        The worst output; None where there was no answer.
    error : str
        Why there was no answer.
    stage : str
        The first stage at which the numbers part, "" where it is not known.
    """

    case: Case
    judgement: Judgement | None
    error: str = ""
    stage: str = ""


class Failed(Exception):
    """A ratio is above 1, or there is no answer, or it has another form."""

    def __init__(self, failure: Failure, judgements: Sequence[Judgement] = ()) -> None:
        super().__init__(failure.error or failure.judgement)
        self.failure = failure
        self.judgements = judgements  # of all outputs; none where there was no answer


def attempt(check: Check, backend: Backend, case: Case) -> list[Judgement]:
    """Judge one case; returns how each output compares.

    Raises
    ------
    Failed
        It does not pass.
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


def reproduction(backend: str, check: str, case: Case) -> str:
    """One line to paste into a shell, which judges the case again."""
    text = json.dumps({"backend": backend, "check": check, "case": case.to_json()})
    return f"nlcore-conformance replay '{text}'"
