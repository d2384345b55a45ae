"""The checks as pytest tests, for someone's own run: see `pytest_plugin`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# pytest_plugin.NEEDED
pytest.importorskip("hypothesis", reason="the suite needs nlcore[conformance]")
pytest.importorskip("ml_dtypes", reason="the suite needs nlcore[conformance]")
pytest.importorskip("rich", reason="the suite needs nlcore[conformance]")

from rich.console import Console

from nlcore_conformance.backend.protocol import CannotRun, declared_sums
from nlcore_conformance.backend.resolve import load
from nlcore_conformance.checks.catalogue import CHECKS
from nlcore_conformance.checks.check import Check
from nlcore_conformance.pytest_plugin import SESSION
from nlcore_conformance.reports.terminal import coverage, failure
from nlcore_conformance.run import failures
from nlcore_conformance.run.coverage import not_covered
from nlcore_conformance.run.known import FIXED, KNOWN, Known, KnownError, known_failures, statuses
from nlcore_conformance.run.results import Report
from nlcore_conformance.run.runner import diagnosed, run_check
from nlcore_conformance.run.search import PROFILES


@pytest.fixture(scope="session")
def nl_backend(pytestconfig: pytest.Config) -> Any:
    """The backend that --nl-backend names."""
    name = pytestconfig.getoption("--nl-backend")
    if name is None:
        pytest.skip("no --nl-backend given")
    try:
        if folder := pytestconfig.getoption("--nl-failures"):
            failures.possible(Path(folder))
        return load(name, pytestconfig.getoption("--nl-device"))
    except CannotRun as error:
        pytest.exit(str(error), pytest.ExitCode.USAGE_ERROR)


@pytest.fixture(scope="session")
def nl_known(pytestconfig: pytest.Config) -> list[Known]:
    """The known failures of --nl-known."""
    file = pytestconfig.getoption("--nl-known")
    try:
        return known_failures(Path(file), [check.name for check in CHECKS]) if file else []
    except KnownError as error:
        pytest.exit(f"--nl-known: {error}", pytest.ExitCode.USAGE_ERROR)


@pytest.fixture(scope="session")
def nl_report(pytestconfig: pytest.Config, nl_backend: Any) -> Iterator[Report]:
    """The results of all checks; the summary prints their coverage."""
    name, profile, seed = (
        pytestconfig.getoption(f"--nl-{option}") for option in ("backend", "profile", "seed")
    )
    report = Report(name, profile, seed, sums=declared_sums(nl_backend))
    yield report
    with contextlib.suppress(CannotRun):  # the session has ended
        report.not_covered = not_covered(nl_backend, report.covered)
    session = pytestconfig.pluginmanager.get_plugin(SESSION)
    assert session is not None  # since there is a backend
    session.lines.append(str(coverage(report)))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_conformance(
    check: Check,
    nl_backend: Any,
    nl_known: list[Known],
    nl_report: Report,
    pytestconfig: pytest.Config,
    record_property: Callable[[str, object], None],
) -> None:
    report = nl_report
    profile = PROFILES[report.profile]
    try:
        result = run_check(check, nl_backend, profile, report.seed, report)
    except CannotRun as error:
        pytest.exit(f"{report.backend}: {error}", pytest.ExitCode.USAGE_ERROR)
    report.results.append(result)
    record_property("nl_tried", result.examples)
    known = [s for s in statuses(nl_known, report) if s.entry.check == check.name]
    if result.failure is not None:
        diagnoses = diagnosed([result], nl_backend, profile, report.seed)
        report.diagnoses += diagnoses
        console = Console(width=100)
        with console.capture() as text:
            console.print(failure(report, result), soft_wrap=True)
        said = text.get() + "\n".join(map(str, known))
        for found in diagnoses:
            said += f"\nIt {'; '.join(found.lines)}"
        if folder := pytestconfig.getoption("--nl-failures"):
            file = failures.write(Path(folder), report.backend, nl_backend, check, result.failure)
            said += f"\n{file}"
        if any(s.state == KNOWN for s in known):
            pytest.xfail(said)
        pytest.fail(said, pytrace=False)
    for status in known:
        if status.state == FIXED:
            record_property("nl_known", str(status))
    if result.not_run:
        pytest.skip(result.not_run)
