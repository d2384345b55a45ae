"""The checks as pytest tests, for someone's own run: see `pytest_plugin`."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from nlcore_conformance.checks import Check, checks
from nlcore_conformance.report import failure
from nlcore_conformance.resolve import load
from nlcore_conformance.runner import PROFILES, Report, run_check


@pytest.fixture(scope="session")
def nl_backend(pytestconfig: pytest.Config) -> Any:
    """The backend that --nl-backend names."""
    name = pytestconfig.getoption("--nl-backend")
    if name is None:
        pytest.skip("no --nl-backend given")
    backend = load(name)
    if device := pytestconfig.getoption("--nl-device"):
        backend.device = device  # type: ignore[attr-defined]
    return backend


@pytest.mark.parametrize("check", list(checks()), ids=lambda check: check.name)
def test_conformance(check: Check, nl_backend: Any, pytestconfig: pytest.Config) -> None:
    profile = pytestconfig.getoption("--nl-profile")
    seed = pytestconfig.getoption("--nl-seed")
    result = run_check(check, nl_backend, PROFILES[profile], seed)
    if result.failure is not None:
        console = Console(width=100)
        with console.capture() as text:
            name = pytestconfig.getoption("--nl-backend")
            console.print(failure(Report(name, profile, seed), result), soft_wrap=True)
        pytest.fail(text.get(), pytrace=False)
    if not result.examples:
        pytest.skip(result.not_run)
