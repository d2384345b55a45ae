"""Verdicts as JUnit XML: a testsuite for each backend, a testcase for each check."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

from nlcore_conformance.checks.judging import reproduction
from nlcore_conformance.run.known import ratio_of
from nlcore_conformance.run.runner import CheckResult
from nlcore_conformance.run.verdict import Verdict, described

#: What XML 1.0 has no character for, with the terminal's colours whole.
_NO_XML = re.compile(r"\x1b\[[0-9;]*m|[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(file: Path, verdicts: list[Verdict]) -> None:
    """Write one testsuites element. Raises OSError where the file cannot be written."""
    root = ET.Element("testsuites", name="nlcore-conformance")
    suites = [_suite(root, verdict) for verdict in verdicts]
    _count(root, suites, sum(v.report.seconds for v in verdicts))
    ET.indent(root)
    ET.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)


def _suite(root: ET.Element, verdict: Verdict) -> ET.Element:
    report = verdict.report
    suite = ET.SubElement(root, "testsuite", name=_text(report.backend))
    suite.set("timestamp", datetime.now(UTC).isoformat(timespec="seconds"))
    properties = ET.SubElement(suite, "properties")
    about = {"profile": report.profile, "seed": str(report.seed), **verdict.environment}
    for name, value in about.items():
        ET.SubElement(properties, "property", name=name, value=_text(value))
    if verdict.cannot_run:
        case = _case(suite, report.backend, "run", 0.0)
        ET.SubElement(case, "error", message=_text(verdict.cannot_run), type="CannotRun")
    for result in report.results:
        case = _case(suite, report.backend, result.name, result.seconds)
        _outcome(case, verdict, result)
    _count(suite, [suite], report.seconds)
    return suite


def _case(suite: ET.Element, backend: str, name: str, seconds: float) -> ET.Element:
    classname = f"nlcore_conformance.{backend.replace('.', '_')}"  # a dot is a level
    return ET.SubElement(
        suite, "testcase", classname=_text(classname), name=name, time=f"{seconds:.3f}"
    )


def _outcome(case: ET.Element, verdict: Verdict, result: CheckResult) -> None:
    status = verdict.status(result.name)
    if verdict.of(result) == "not run":
        ET.SubElement(case, "skipped", message=_text(result.not_run))
    elif verdict.of(result) == "known":
        ET.SubElement(case, "skipped", message=_text(str(status)))
    elif result.failure is not None:
        message = status or result.failure.error or f"error / bound = {ratio_of(result):.3g}"
        element = ET.SubElement(case, "failure", message=_text(str(message)), type=result.clause)
        lines = [f"{label}: {text}" for label, text in described(result.failure)]
        lines.append(reproduction(verdict.report.backend, result.name, result.failure.case))
        element.text = _text("\n".join(lines))
    elif status is not None:
        ET.SubElement(case, "system-out").text = _text(str(status))


def _count(element: ET.Element, suites: list[ET.Element], seconds: float) -> None:
    cases = [case for suite in suites for case in suite.iter("testcase")]
    element.set("tests", str(len(cases)))
    for name, child in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(name, str(sum(case.find(child) is not None for case in cases)))
    element.set("time", f"{seconds:.3f}")


def _text(value: str) -> str:
    return _NO_XML.sub("", value)
