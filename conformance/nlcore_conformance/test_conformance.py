"""The checks as pytest tests, for someone's own run: see `pytest_plugin`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hypothesis", reason="the suite needs nlcore[conformance]")

from rich.console import Console

from nlcore_conformance import failures
from nlcore_conformance.checks import Check, checks
from nlcore_conformance.device import load_on
from nlcore_conformance.known import FIXED, KNOWN, Known, KnownError, load, statuses
from nlcore_conformance.report import failure
from nlcore_conformance.runner import PROFILES, Report, run_check


@pytest.fixture(scope="session")
def nl_backend(pytestconfig: pytest.Config) -> Any:
    """The backend that --nl-backend names."""
    name = pytestconfig.getoption("--nl-backend")
    if name is None:
        pytest.skip("no --nl-backend given")
    return load_on(pytestconfig.getoption("--nl-device"), name)


@pytest.fixture(scope="session")
def nl_known(pytestconfig: pytest.Config) -> list[Known]:
    """The known failures of --nl-known."""
    file = pytestconfig.getoption("--nl-known")
    try:
        return load(Path(file), [check.name for check in checks()]) if file else []
    except KnownError as error:
        pytest.exit(f"--nl-known: {error}", pytest.ExitCode.USAGE_ERROR)


@pytest.mark.parametrize("check", list(checks()), ids=lambda check: check.name)
def test_conformance(
    check: Check, nl_backend: Any, nl_known: list[Known], pytestconfig: pytest.Config
) -> None:
    name = pytestconfig.getoption("--nl-backend")
    profile = pytestconfig.getoption("--nl-profile")
    seed = pytestconfig.getoption("--nl-seed")
    result = run_check(check, nl_backend, PROFILES[profile], seed)
    report = Report(name, profile, seed, [result])
    known = [s for s in statuses(nl_known, report) if s.entry.check == check.name]
    if result.failure is not None:
        console = Console(width=100)
        with console.capture() as text:
            console.print(failure(report, result), soft_wrap=True)
        said = text.get() + "\n".join(map(str, known))
        if folder := pytestconfig.getoption("--nl-failures"):
            file = failures.write(Path(folder), name, nl_backend, check, result.failure)
            said += f"\n{file}"
        if any(s.state == KNOWN for s in known):
            pytest.xfail(said)
        pytest.fail(said, pytrace=False)
    for status in known:
        if status.state == FIXED:
            warnings.warn(str(status), stacklevel=1)
    if not result.examples:
        pytest.skip(result.not_run)
