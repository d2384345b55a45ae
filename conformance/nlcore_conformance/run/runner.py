"""Run the checks on a backend: judge each case, and keep the worst ratio."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nlcore.block_cost import seen
from nlcore_conformance.backend.protocol import Backend, declared_sums, supports
from nlcore_conformance.checks.catalogue import CHECKS, named_check
from nlcore_conformance.checks.check import Check
from nlcore_conformance.checks.comparison import Judgement
from nlcore_conformance.checks.judging import Failed, attempt
from nlcore_conformance.checks.stages import first_stage
from nlcore_conformance.problems.case import Case
from nlcore_conformance.run.coverage import not_covered, values
from nlcore_conformance.run.diagnosis import diagnose
from nlcore_conformance.run.results import CheckResult, Diagnosis, Report
from nlcore_conformance.run.search import PROFILES, Profile, drawn, planned, search
from nlcore_conformance.run.shrinking import shrunk

#: Examples that a failing check may spend on finding its smallest case.
SHRINK_EXAMPLES = 120

#: Called with a check's name, how many of its cases are judged, and how many there are.
Progress = Callable[[str, int, int], None]


def _silent(name: str, done: int, total: int) -> None:
    """Report no progress."""


def run(
    backend: Backend,
    profile: str = "quick",
    seed: int = 0,
    *,
    only: Callable[[Check], bool] = lambda check: True,
    progress: Progress = _silent,
    examples: int | None = None,
    dtypes: tuple[str, ...] | None = None,
) -> Report:
    """Run the checks on a backend.

    Parameters
    ----------
    profile : {"quick", "full"}
        How many examples are drawn, and how large they are.
    seed : int
        The same seed draws the same examples.
    only
        Which checks are run.
    progress
        Called after each case.
    examples : int, optional
        Replaces the profile's number of examples that a check of weight 1 draws.
    dtypes : tuple of str, optional
        Only these of the backend's dtypes are used.

    Returns
    -------
    Report
        `results` has a `CheckResult` for each check, whose `verdict` is "pass", "FAIL" or "not
        run". The backend conforms if none is "FAIL" and `tried` is true.

    Raises
    ------
    CannotRun
        The backend's own `supports` raises.
    """
    start = time.perf_counter()
    report = Report(backend.name, profile, seed, sums=declared_sums(backend))
    effort = replace(PROFILES[profile], dtypes=dtypes)
    if examples is not None:
        effort = replace(effort, examples=examples)
    for check in filter(only, CHECKS):
        report.results.append(run_check(check, backend, effort, seed, report, progress))
    report.diagnoses = diagnosed(report.results, backend, effort, seed)
    report.not_covered = not_covered(backend, report.covered)
    report.seconds = time.perf_counter() - start
    return report


def diagnosed(
    results: Sequence[CheckResult], backend: Backend, profile: Profile, seed: int
) -> list[Diagnosis]:
    """The diagnoses of the checks that fail."""
    asked: dict[Check, Sequence[Case]] = {}
    for result in results:
        if result.failure is not None:
            check = named_check(result.name)
            plan, _ = planned(check, backend, profile, seed)
            more = plan.named or drawn(check, backend, profile, seed)
            asked[check] = [result.failure.case, *more]
    return diagnose(backend, asked)


def run_check(
    check: Check,
    backend: Backend,
    profile: Profile,
    seed: int,
    report: Report | None = None,
    progress: Progress = _silent,
) -> CheckResult:
    """Judge cases until the backend fails the check, and shrink the case that fails.

    The values and the sizes of the judged cases are counted in `report`.
    """
    start = time.perf_counter()
    plan, reason = planned(check, backend, profile, seed)
    result = CheckResult(check.name, check.clause, not_run=reason)
    judge = _Judge(check, backend, result, report, progress, plan.total)
    large = None
    try:
        for case in plan.named:
            judge(case)
    except Failed as error:  # hypothesis may find a smaller case
        large, result.failure = error.failure, None
    with contextlib.suppress(Failed):
        search(plan, judge)
    result.failure = result.failure or large
    if result.failure is not None:
        result.failure = shrunk(check, backend, result.failure)
        result.failure.stage = first_stage(check, backend, result.failure.case)
    if result.examples:
        nothing = result.failure is None and result.elements == result.unpredictable
        result.not_run = "no element of any output had a finite bound" if nothing else ""
    result.seconds = time.perf_counter() - start
    return result


@dataclass
class _Judge:
    """Judges the cases of one check one by one, and stores the outcome in `result`."""

    check: Check
    backend: Backend
    result: CheckResult
    report: Report | None
    progress: Progress
    total: int
    shrunk: int = 0

    def __call__(self, case: Case) -> float | None:
        """The case's ratio, or None where the backend does not support it. Raises Failed."""
        result = self.result
        if result.failure is not None:
            self.shrunk += 1
            if self.shrunk > SHRINK_EXAMPLES and case != result.failure.case:
                return 0.0  # small enough
        try:
            if (why := supports(self.backend, case.spec, case.dtype)) is not True:
                raise NotImplementedError(why)
            judgements = attempt(self.check, self.backend, case)
        except NotImplementedError as error:
            result.not_run = str(error) or "block raised NotImplementedError"
            return None
        except Failed as error:
            if result.failure is None:  # later failures are this one, made smaller
                self._count(case, error.judgements)
            result.failure = error.failure
            raise
        worst = max(j.ratio for j in judgements)
        if result.failure is None:
            self._count(case, judgements)
            for j in judgements:
                result.by_output[j.output] = max(j.ratio, result.by_output.get(j.output, 0.0))
            if worst >= result.worst:
                result.worst, result.worst_case = worst, case
            self.progress(self.check.name, result.examples, self.total)
        return worst

    def _count(self, case: Case, judgements: Sequence[Judgement]) -> None:
        """Count a case; without judgements the backend raised."""
        self.result.examples += 1
        for j in judgements:
            self.result.elements += j.elements
            self.result.unpredictable += j.unpredictable
            self.result.vacuous += j.vacuous
        judged = not judgements or any(j.elements > j.unpredictable for j in judgements)
        if self.report is not None and judged:
            gradient = self.check.gradient
            for name, value in values(case, gradient).items():
                counts = self.report.covered.setdefault(name, {})
                counts[value] = counts.get(value, 0) + 1
            kind, largest = "gradients" if gradient else "z", self.report.largest
            largest[kind] = max(largest.get(kind, 0), seen(case.spec, case.positions))
