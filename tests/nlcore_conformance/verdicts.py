"""A verdict with a result of every kind, to be written and read without a run."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date

from nlcore import NonLocalSpec
from nlcore_conformance.checks.comparison import Judgement
from nlcore_conformance.checks.judging import Failure
from nlcore_conformance.problems.case import Case
from nlcore_conformance.run.known import Known, statuses
from nlcore_conformance.run.results import CheckResult, Report
from nlcore_conformance.run.verdict import Verdict

TODAY = date(2026, 6, 1)
CASE = Case(NonLocalSpec(2, ndim=1, subsample=(2,)), 1, (3,), "float32")

PASS = CheckResult(
    "forward / gaussian",
    "NL-3",
    examples=36,
    worst=0.25,
    worst_case=CASE,
    by_output={"z": 0.25},
    elements=200,
    unpredictable=20,
    vacuous=9,
    seconds=1.5,
)
WRONG = CheckResult(
    "gradient / gaussian",
    "NL-9",
    examples=3,
    worst=0.5,
    worst_case=CASE,
    by_output={"dx": 0.5, "g.weight": 0.125},
    elements=60,
    failure=Failure(
        CASE,
        Judgement("dx", 12.5, (0, 1, 2), 1.0, 1.5, 0.04, 6, 0),
        stage="pooling",
    ),
    seconds=2.0,
)
RAISED = CheckResult(
    "gradient / concatenation",
    "NL-9",
    examples=1,
    failure=Failure(CASE, None, "raised RuntimeError: \x1b[31m<in place> & [bold]more\x1b[0m"),
    seconds=0.25,
)
MISSHAPEN = CheckResult(
    "forward / dot_product",
    "NL-3",
    examples=1,
    elements=6,
    failure=Failure(
        CASE,
        Judgement(
            "z", math.inf, (), math.nan, math.nan, math.nan, 6, 0, note="expected dtype float32"
        ),
    ),
)
NOT_RUN = CheckResult("gradient / batch statistics", "NL-9.2", not_run="no block_vjp")


def known(check: str, **changes) -> Known:
    entry = Known(check, "the reason", "https://example.org/1", date(2027, 1, 1), math.inf)
    return replace(entry, **changes)


def verdict(*results: CheckResult, entries: list[Known] | None = None) -> Verdict:
    """The verdict on these results; by default on one of each kind, of which one is known."""
    report = Report(
        "mylib.block:backend",
        "quick",
        7,
        list(results or (PASS, WRONG, RAISED, MISSHAPEN, NOT_RUN)),
        covered={"pairwise": {"gaussian": 36}, "dtype": {"float32": 36}},
        not_covered={"pairwise": {"concatenation": "not <supported>"}, "window": {"frames": ""}},
        seconds=61.0,
    )
    entries = [known("gradient / concatenation")] if entries is None else entries
    return Verdict(report, {"nlcore": "0.1.0"}, statuses(entries, report, TODAY))
