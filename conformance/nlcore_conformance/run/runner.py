"""Run the checks against a backend: named problems, then hypothesis; the worst ratio is kept."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from nlcore_conformance.checks.catalogue import Check, checks
from nlcore_conformance.checks.comparison import Judgement
from nlcore_conformance.run.coverage import Counts, allowed_templates, not_covered, values
from nlcore_conformance.checks.judging import Failed, Failure, attempt
from nlcore_conformance.problems.named import problems
from nlcore_conformance.problems.case import Case
from nlcore_conformance.backend.protocol import Backend, declared_sums, dtypes, supports
from nlcore_conformance.checks.stages import first_stage
from nlcore_conformance.problems.strategies import Sizes, cases
from nlcore_conformance.problems.templates import by_place

#: Examples that a failing check may spend on finding its smallest case.
SHRINK_EXAMPLES = 120

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Profile:
    """How hard to try."""

    examples: int  # that a check of weight 1 draws
    sizes: Sizes
    dtypes: tuple[str, ...] | None = None  # only these, of those that the backend has


PROFILES = {
    "quick": Profile(examples=36, sizes=Sizes()),
    "full": Profile(examples=1000, sizes=Sizes(channels=40, axis=(400, 20, 8))),
}


@dataclass
class CheckResult:
    """What one check found."""

    name: str
    clause: str
    examples: int = 0
    worst: float = 0.0  # ratio, over the examples that passed
    worst_case: Case | None = None
    by_output: dict[str, float] = field(default_factory=dict)  # output -> worst ratio
    elements: int = 0
    unpredictable: int = 0  # elements without a finite bound, which did not count
    vacuous: int = 0  # elements whose bound is above their output's largest value
    failure: Failure | None = None
    not_run: str = ""  # why, where no example could be tried, or nothing of any judged
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        if self.failure is not None:
            return "FAIL"
        return "not run" if self.not_run or not self.examples else "pass"


@dataclass
class Report:
    """A backend's verdict."""

    backend: str
    profile: str
    seed: int
    results: list[CheckResult] = field(default_factory=list)
    covered: Counts = field(default_factory=dict)  # field -> value -> examples
    not_covered: dict[str, dict[str, str]] = field(default_factory=dict)  # field -> value -> why
    sums: dict[str, str] = field(default_factory=dict)  # dtype -> that which the backend sums in
    seconds: float = 0.0

    @property
    def tried(self) -> bool:
        """Whether anything was."""
        return any(r.verdict != "not run" for r in self.results)

    def to_json(self) -> dict[str, Any]:
        out = asdict(self)
        for result, fields_ in zip(self.results, out["results"], strict=True):
            fields_["verdict"] = result.verdict
            fields_["worst_case"] = result.worst_case and result.worst_case.to_json()
            if result.failure:
                fields_["failure"]["case"] = result.failure.case.to_json()
        return out


def run(
    backend: Backend,
    profile: str = "quick",
    seed: int = 0,
    only: Callable[[Check], bool] = lambda check: True,
    progress: Progress = lambda name, done, total: None,
    examples: int | None = None,
    dtypes: tuple[str, ...] | None = None,
) -> Report:
    """Run every check that `only` keeps; `progress` hears of each example.

    `examples` replaces the profile's number of examples that a check of weight 1 draws, and
    `dtypes` leaves only these of the backend's.
    """
    start = time.perf_counter()
    report = Report(backend.name, profile, seed, sums=declared_sums(backend))
    effort = replace(PROFILES[profile], dtypes=dtypes)
    if examples is not None:
        effort = replace(effort, examples=examples)
    for check in filter(only, checks()):
        report.results.append(run_check(check, backend, effort, seed, report.covered, progress))
    report.not_covered = not_covered(backend, report.covered)
    report.seconds = time.perf_counter() - start
    return report


def run_check(
    check: Check,
    backend: Backend,
    profile: Profile,
    seed: int,
    covered: Counts | None = None,
    progress: Progress = lambda name, done, total: None,
) -> CheckResult:
    """Try cases until the backend breaks the check, and shrink the one that does."""
    start = time.perf_counter()
    result = CheckResult(check.name, check.clause)
    plan, result.not_run = _plan(check, backend, profile, seed)
    total = len(plan.named) + plan.each * len(plan.groups)
    shrunk = 0

    def judge(case: Case) -> float | None:
        """The case's ratio, or None where the backend does not support it."""
        nonlocal shrunk
        if result.failure is not None:
            shrunk += 1
            if shrunk > SHRINK_EXAMPLES and case != result.failure.case:
                return 0.0  # small enough
        try:
            if (why := supports(backend, case.spec, case.dtype)) is not True:
                raise NotImplementedError(why)
            judgements = attempt(check, backend, case)
        except NotImplementedError as error:
            result.not_run = str(error) or "block raised NotImplementedError"
            return None
        except Failed as error:
            if result.failure is None:  # later ones are this one, made smaller
                _count(result, covered, case, error.judgements)
            result.failure = error.failure
            raise
        if result.failure is None:
            _count(result, covered, case, judgements)
            _tally(result, case, judgements)
            progress(check.name, result.examples, total)
        return max(j.ratio for j in judgements)

    large = None
    try:
        for case in plan.named:
            judge(case)
    except Failed as error:  # hypothesis may find it smaller
        large, result.failure = error.failure, None
    with contextlib.suppress(Failed):
        _search(plan, judge)
    result.failure = result.failure or large
    if result.failure is not None:
        result.failure.stage = first_stage(check, backend, result.failure.case)
    if result.examples:
        nothing = result.failure is None and result.elements == result.unpredictable
        result.not_run = "no element of any output had a finite bound" if nothing else ""
    result.seconds = time.perf_counter() - start
    return result


def drawn(check: Check, backend: Backend, profile: Profile, seed: int) -> list[Case]:
    """The cases that a run of the check tries where none fails, in their order."""
    plan, _ = _plan(check, backend, profile, seed)
    found: list[Case] = []

    def keep(case: Case) -> float | None:
        if supports(backend, case.spec, case.dtype) is not True:
            return None
        found.append(case)
        return 0.0

    for case in plan.named:
        keep(case)
    _search(plan, keep)
    return found


@dataclass
class _Plan:
    """What a check tries: named problems, and so many examples of each group of templates.

    One group for each ndim, extent and windowing: hypothesis draws near to what it has drawn, and
    would leave whole extents out.
    """

    named: list[Case] = field(default_factory=list)
    groups: list[SearchStrategy[Case]] = field(default_factory=list)
    each: int = 0
    seed: int = 0


def _plan(check: Check, backend: Backend, profile: Profile, seed: int) -> tuple[_Plan, str]:
    """The plan, or an empty one and why."""
    if check.needs_vjp and not hasattr(backend, "block_vjp"):
        return _Plan(), "the backend has no block_vjp"
    chosen = tuple(d for d in dtypes(backend) if profile.dtypes is None or d in profile.dtypes)
    if not chosen:
        return _Plan(), f"the backend's dtypes are {', '.join(dtypes(backend))}"
    allowed, reason = allowed_templates(backend, check.applies)
    if not allowed:
        return _Plan(), reason
    groups = [
        cases(group, chosen, profile.sizes, check.training, check.data, check.layouts)
        for group in by_place(allowed)
    ]
    each = math.ceil(profile.examples * check.weight / len(groups))
    return _Plan(list(problems(check, allowed, chosen, seed)), groups, each, seed), ""


def _search(plan: _Plan, judge: Callable[[Case], float | None]) -> None:
    """Judge drawn cases, climbing towards larger ratios, and shrink the first that fails."""
    for number, strategy in enumerate(plan.groups):

        @hypothesis.seed(plan.seed + number)
        @settings(
            max_examples=plan.each,
            phases=(Phase.generate, Phase.target, Phase.shrink),
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            print_blob=False,  # a case replays without hypothesis
            verbosity=hypothesis.Verbosity.quiet,
        )
        @given(strategy)
        def search(case: Case) -> None:
            ratio = judge(case)
            if ratio is None:
                hypothesis.reject()
            if ratio > 0:
                hypothesis.target(math.log(ratio), label="ratio")

        with contextlib.suppress(hypothesis.errors.Unsatisfiable):
            search()


def _count(
    result: CheckResult,
    covered: Counts | None,
    case: Case,
    judgements: Sequence[Judgement],
) -> None:
    """Count a case that was tried; without judgements the backend raised."""
    result.examples += 1
    for j in judgements:
        result.elements += j.elements
        result.unpredictable += j.unpredictable
        result.vacuous += j.vacuous
    judged = not judgements or any(j.elements > j.unpredictable for j in judgements)
    if covered is not None and judged:
        for name, value in values(case).items():
            counts = covered.setdefault(name, {})
            counts[value] = counts.get(value, 0) + 1


def _tally(result: CheckResult, case: Case, judgements: list[Judgement]) -> None:
    """Keep the worst ratios of a case that passed."""
    for j in judgements:
        result.by_output[j.output] = max(j.ratio, result.by_output.get(j.output, 0.0))
    ratio = max(j.ratio for j in judgements)
    if ratio >= result.worst:
        result.worst, result.worst_case = ratio, case
