"""Run the checks against a backend: hypothesis searches, the worst ratio is kept."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from nlcore_conformance.checks import Broken, Check, Judgement, checks
from nlcore_conformance.coverage import Counts, allowed_templates, not_covered, values
from nlcore_conformance.protocol import Backend, dtypes, supports
from nlcore_conformance.strategies import (
    Case,
    Sizes,
    by_place,
    cases,
)

#: Examples that a failing check may spend on finding its smallest case.
SHRINK_EXAMPLES = 120


@dataclass(frozen=True)
class Profile:
    """How hard to try."""

    examples: int  # of a check of weight 1
    sizes: Sizes


PROFILES = {
    "quick": Profile(examples=36, sizes=Sizes()),
    "full": Profile(examples=1000, sizes=Sizes(channels=40, axis=(400, 20, 8))),
}


@dataclass
class Failure:
    """The smallest failing case that was found, and what was wrong with it."""

    case: Case
    judgement: Judgement | None  # None where the backend raised
    error: str = ""


@dataclass
class CheckResult:
    """What one check found."""

    name: str
    clause: str
    examples: int = 0
    worst: float = 0.0  # ratio, over the examples that passed
    worst_case: Case | None = None
    elements: int = 0
    unpredictable: int = 0
    failure: Failure | None = None
    not_run: str = ""  # why, where no example could be tried

    @property
    def verdict(self) -> str:
        if self.failure is not None:
            return "FAIL"
        return "pass" if self.examples else "not run"


@dataclass
class Report:
    """A backend's verdict."""

    backend: str
    profile: str
    seed: int
    results: list[CheckResult] = field(default_factory=list)
    covered: Counts = field(default_factory=dict)  # field -> value -> examples
    not_covered: dict[str, dict[str, str]] = field(default_factory=dict)  # field -> value -> why
    seconds: float = 0.0

    @property
    def conforms(self) -> bool:
        """Nothing failed, and something was tried: what supports nothing conforms to nothing."""
        tried = any(r.examples for r in self.results)
        return tried and not any(r.failure for r in self.results)

    def to_json(self) -> dict[str, Any]:
        out = asdict(self) | {"conforms": self.conforms}
        for result, fields_ in zip(self.results, out["results"], strict=True):
            fields_["verdict"] = result.verdict
            fields_["worst_case"] = result.worst_case and result.worst_case.to_json()
            if result.failure:
                fields_["failure"]["case"] = result.failure.case.to_json()
        return out


class _Failed(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error or failure.judgement)
        self.failure = failure


def run(
    backend: Backend,
    profile: str = "quick",
    seed: int = 0,
    only: Callable[[Check], bool] = lambda check: True,
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> Report:
    """Run every check that `only` keeps; `progress` hears of each example."""
    start = time.perf_counter()
    report = Report(backend.name, profile, seed)
    chosen = [check for check in checks() if only(check)]
    for check in chosen:
        report.results.append(
            run_check(check, backend, PROFILES[profile], seed, report.covered, progress)
        )
    report.not_covered = not_covered(backend, report.covered)
    report.seconds = time.perf_counter() - start
    return report


def run_check(
    check: Check,
    backend: Backend,
    profile: Profile,
    seed: int,
    covered: Counts | None = None,
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> CheckResult:
    """Search for a case in which the backend breaks the check, and shrink the one found."""
    result = CheckResult(check.name, check.clause)
    if check.needs_vjp and not hasattr(backend, "block_vjp"):
        result.not_run = "the backend has no block_vjp"
        return result
    allowed, reason = allowed_templates(backend, check.pairwise, check.batch_norm)
    if not allowed:
        result.not_run = reason
        return result
    groups = by_place(allowed)
    each = math.ceil(profile.examples * check.weight / len(groups))
    total = each * len(groups)
    shrunk = 0

    def judge(case: Case) -> None:
        nonlocal shrunk
        if result.failure is not None:
            shrunk += 1
            if shrunk > SHRINK_EXAMPLES and case != result.failure.case:
                return  # small enough
        if supports(backend, case.spec, case.dtype) is not True:
            hypothesis.reject()
        try:
            judgements = attempt(check, backend, case)
        except NotImplementedError as error:
            result.not_run = str(error) or "block raised NotImplementedError"
            hypothesis.reject()
        except _Failed as error:
            result.failure = error.failure
            raise
        if result.failure is None:
            _tally(result, covered, case, judgements)
            progress(check.name, result.examples, total)

    # by place: hypothesis draws near to what it has drawn, and would leave whole extents out
    for number, group in enumerate(groups):
        strategy = cases(group, dtypes(backend), profile.sizes, check.training, check.data)
        try:
            _search(judge, strategy, each, seed + number)
        except _Failed:
            break
        except hypothesis.errors.Unsatisfiable:
            result.not_run = result.not_run or "no example could be tried"
    if result.examples:
        result.not_run = ""
    return result


def _search(
    judge: Callable[[Case], None], strategy: SearchStrategy[Case], examples: int, seed: int
) -> None:
    """Judge so many cases, and shrink the first that fails."""

    @hypothesis.seed(seed)
    @settings(
        max_examples=examples,
        phases=(Phase.generate, Phase.shrink),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        verbosity=hypothesis.Verbosity.quiet,
    )
    @given(strategy)
    def search(case: Case) -> None:
        judge(case)

    search()


def attempt(check: Check, backend: Backend, case: Case) -> list[Judgement]:
    """Judge one case.

    Raises
    ------
    _Failed
        A ratio above 1, or no answer, or one of another form.
    """
    try:
        judgements = check.judge(backend, case)
    except Broken as error:
        raise _Failed(Failure(case, None, str(error))) from error
    worst = max(judgements, key=lambda j: j.ratio)
    if worst.ratio > 1:
        raise _Failed(Failure(case, worst))
    return judgements


def replay(check_name: str, backend: Backend, case: Case) -> tuple[list[Judgement], str]:
    """Judge one case again; returns its judgements and the error, if the backend raised."""
    check = next((c for c in checks() if c.name == check_name), None)
    if check is None:
        raise ValueError(
            f"check must be one of {[c.name for c in checks()]}; received {check_name!r}"
        )
    try:
        return attempt(check, backend, case), ""
    except _Failed as error:
        judgement = error.failure.judgement
        return ([judgement] if judgement else []), error.failure.error


def reproduction(backend: str, check: str, case: Case) -> str:
    """One line to paste that judges the case again."""
    text = json.dumps({"backend": backend, "check": check, "case": case.to_json()})
    return f"nlcore-conformance replay '{text}'"


def _tally(
    result: CheckResult,
    covered: Counts | None,
    case: Case,
    judgements: list[Judgement],
) -> None:
    result.examples += 1
    result.elements += sum(j.elements for j in judgements)
    result.unpredictable += sum(j.unpredictable for j in judgements)
    ratio = max(j.ratio for j in judgements)
    if ratio >= result.worst:
        result.worst, result.worst_case = ratio, case
    judged = any(j.elements > j.unpredictable for j in judgements)
    if covered is not None and judged:
        for name, value in values(case).items():
            counts = covered.setdefault(name, {})
            counts[value] = counts.get(value, 0) + 1
