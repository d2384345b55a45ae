"""pytest options of the suite: pytest --pyargs nlcore_conformance --nl-backend NAME.

pytest loads this wherever nlcore is installed, with or without the suite's packages.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

#: Packages that `test_conformance` needs beside nlcore's own requirements.
NEEDED = ("hypothesis", "ml_dtypes", "rich")


def pytest_addoption(parser: Any) -> None:
    """Add the suite's options."""
    group = parser.getgroup("nlcore", "non-local block conformance")
    group.addoption(
        "--nl-backend",
        metavar="NAME",
        help="Backend to judge: a name, or an import path like mylib.non_local:backend.",
    )
    group.addoption(
        "--nl-profile",
        choices=("quick", "full"),
        default="quick",
        help="How many problems are tried: quick (default) or full.",
    )
    group.addoption(
        "--nl-device", metavar="NAME", help="Device of the backend, such as cpu or cuda."
    )
    group.addoption("--nl-seed", type=int, default=0, help="Seed of the search for failures.")
    group.addoption("--nl-known", metavar="FILE", help="Known failures, in TOML.")
    group.addoption("--nl-failures", metavar="DIR", help="Write failing cases into this folder.")


def pytest_configure(config: Any) -> None:
    """Raise an error with what to install, if --nl-backend is given and a package is missing."""
    backend = config.getoption("--nl-backend")
    if backend is None:
        return
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        import pytest

        raise pytest.UsageError(
            f"--nl-backend needs {', '.join(missing)}: pip install 'nlcore[conformance]'"
        )
    config.pluginmanager.register(Session(backend), SESSION)


#: The name under which the `Session` is registered as a plugin, if there is a backend.
SESSION = "nlcore-session"


class Session:
    """The outcome of a session; with pytest-xdist, of all its processes."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.tried: list[int] = []  # how many cases each check judged
        self.lines: list[str] = []  # for the summary

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Collect the properties that `test_conformance` records."""
        if report.when == "call":
            recorded = dict(report.user_properties)
            self.tried += [recorded["nl_tried"]] if "nl_tried" in recorded else []
            self.lines += [recorded["nl_known"]] if "nl_known" in recorded else []

    def pytest_sessionfinish(self, session: Any) -> None:
        """Let a session fail if all of its checks were skipped."""
        if self.tried and not any(self.tried):
            self.lines.append(f"{self.backend} does not conform: nothing was tried")
            session.exitstatus = session.exitstatus or 1

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the collected lines."""
        if self.lines:
            terminalreporter.section("non-local block conformance")
            terminalreporter.write_line("\n".join(self.lines))
