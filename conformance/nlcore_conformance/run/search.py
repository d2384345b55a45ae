"""The cases that a check judges: named problems, then cases that hypothesis draws."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from nlcore_conformance.backend.protocol import Backend, dtypes, paths, supports
from nlcore_conformance.checks.check import Check
from nlcore_conformance.problems.case import Case
from nlcore_conformance.problems.named import problems
from nlcore_conformance.problems.strategies import Sizes, cases
from nlcore_conformance.problems.templates import by_place
from nlcore_conformance.run.probing import allowed_templates


@dataclass(frozen=True)
class Profile:
    """How many cases are judged, and how large they are."""

    examples: int  # drawn by a check of weight 1
    sizes: Sizes
    dtypes: tuple[str, ...] | None = None  # only these of the backend's dtypes


PROFILES = {
    "quick": Profile(examples=36, sizes=Sizes()),
    "full": Profile(examples=1000, sizes=Sizes(channels=40, axis=(400, 20, 8))),
}


@dataclass
class Plan:
    """The named problems of a check, and how many examples of each group of templates it draws.

    There is one group for each ndim, extent and windowing, because hypothesis draws near its
    earlier draws, and would leave out whole extents.
    """

    named: list[Case] = field(default_factory=list)
    groups: list[SearchStrategy[Case]] = field(default_factory=list)
    each: int = 0  # examples of each group
    seed: int = 0

    @property
    def total(self) -> int:
        """How many cases are judged, where none fails."""
        return len(self.named) + self.each * len(self.groups)


def planned(check: Check, backend: Backend, profile: Profile, seed: int) -> tuple[Plan, str]:
    """The plan of a check, and ""; or an empty plan, and why there is nothing to judge."""
    if not hasattr(backend, check.needs):
        return Plan(), f"the backend has no {check.needs}"
    chosen = tuple(d for d in dtypes(backend) if profile.dtypes is None or d in profile.dtypes)
    if not chosen:
        return Plan(), f"the backend's dtypes are {', '.join(dtypes(backend))}"
    allowed, reason = allowed_templates(backend, check.applies)
    if not allowed:
        return Plan(), reason
    groups = [cases(check, group, chosen, profile.sizes) for group in by_place(allowed)]
    each = math.ceil(profile.examples * check.weight / len(groups))
    named = problems(check, allowed, chosen, seed, lambda spec, dtype: paths(backend, spec, dtype))
    return Plan(list(named), groups, each, seed), ""


def search(plan: Plan, judge: Callable[[Case], float | None]) -> None:
    """Judge drawn cases in search of larger ratios, and shrink the first case that fails.

    `judge` returns a case's ratio, or None where the backend does not support the case. It raises
    an exception for a case that fails, which `search` raises again for the smallest. If that case
    then passes, as the backend's answers vary from call to call, `search` returns.
    """
    for number, strategy in enumerate(plan.groups):

        @hypothesis.seed(plan.seed + number)
        @settings(
            max_examples=plan.each,
            phases=(Phase.generate, Phase.target, Phase.shrink),
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            print_blob=False,  # a case is replayed without hypothesis
            verbosity=hypothesis.Verbosity.quiet,
        )
        @given(strategy)
        def draw(case: Case) -> None:
            ratio = judge(case)
            if ratio is None:
                hypothesis.reject()
            if ratio > 0:
                hypothesis.target(math.log(ratio), label="ratio")

        with contextlib.suppress(hypothesis.errors.Unsatisfiable, hypothesis.errors.Flaky):
            draw()


def drawn(check: Check, backend: Backend, profile: Profile, seed: int) -> list[Case]:
    """The cases that `runner.run_check` judges if none fails, in their order."""
    plan, _ = planned(check, backend, profile, seed)
    found: list[Case] = []

    def keep(case: Case) -> float | None:
        if supports(backend, case.spec, case.dtype) is not True:
            return None
        found.append(case)
        return 0.0

    for case in plan.named:
        keep(case)
    search(plan, keep)
    return found
