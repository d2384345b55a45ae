"""Verdicts as JUnit XML: a testsuite for each backend, a testcase for each check."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from nlcore_conformance.checks.judging import reproduction
from nlcore_conformance.run.known import ratio_of
from nlcore_conformance.run.results import CheckResult
from nlcore_conformance.run.verdict import Verdict, described

#: A terminal's colours, and characters that XML 1.0 does not have.
_NO_XML = re.compile(r"\x1b\[[0-9;]*m|[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(file: Path, verdicts: list[Verdict]) -> None:
    """Write one testsuites element. Raises OSError where the file cannot be written."""
    document = JUnitXml("nlcore-conformance")
    for verdict in verdicts:
        document.append(_suite(verdict))
    document.update_statistics()
    document.write(str(file))


def _suite(verdict: Verdict) -> TestSuite:
    """The checks of one backend. Its time is the sum of theirs."""
    report = verdict.report
    suite = TestSuite(_text(report.backend))
    suite.timestamp = datetime.now(UTC).isoformat(timespec="seconds")
    about = {"profile": report.profile, "seed": str(report.seed), **verdict.environment}
    for name, value in about.items():
        suite.add_property(name, _text(value))
    if verdict.cannot_run:
        case = _case(report.backend, "run", 0.0)
        case.result = [Error(_text(verdict.cannot_run), "CannotRun")]
        suite.add_testcase(case)
    for result in report.results:
        case = _case(report.backend, result.name, result.seconds)
        _set_outcome(case, verdict, result)
        suite.add_testcase(case)
    suite.update_statistics()
    return suite


def _case(backend: str, name: str, seconds: float) -> TestCase:
    classname = f"nlcore_conformance.{backend.replace('.', '_')}"  # a dot is a level
    return TestCase(name, _text(classname), round(seconds, 3))


def _set_outcome(case: TestCase, verdict: Verdict, result: CheckResult) -> None:
    """Set a failure, the reason for a skipped check, or nothing where the check passed."""
    status = verdict.status(result.name)
    if verdict.of(result) == "not run":
        case.result = [Skipped(_text(result.not_run))]
    elif verdict.of(result) == "known":
        case.result = [Skipped(_text(str(status)))]
    elif result.failure is not None:
        message = status or result.failure.error or f"error / bound = {ratio_of(result):.3g}"
        failure = Failure(_text(str(message)), result.clause)
        said = described(result.failure, verdict.report.explains(result.name))
        lines = [f"{label}: {text}" for label, text in said]
        lines.append(reproduction(verdict.report.backend, result.name, result.failure.case))
        failure.text = _text("\n".join(lines))
        case.result = [failure]
    elif status is not None:
        case.system_out = _text(str(status))


def _text(value: str) -> str:
    """The text in characters of XML 1.0."""
    return _NO_XML.sub("", value)
