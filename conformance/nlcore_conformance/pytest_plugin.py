"""pytest options of the suite: pytest --pyargs nlcore_conformance --nl-backend NAME.

pytest loads this wherever nlcore is installed, with or without the suite's packages.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

NEEDED = ("hypothesis", "ml_dtypes", "rich", "typer")


def pytest_addoption(parser: Any) -> None:
    group = parser.getgroup("nlcore", "non-local block conformance")
    group.addoption(
        "--nl-backend",
        metavar="NAME",
        help="Backend to judge: a name, or an import path like mylib.non_local:backend.",
    )
    group.addoption("--nl-profile", default="quick", help="quick (default) or full.")
    group.addoption("--nl-device", metavar="NAME", help="Handed to the backend.")
    group.addoption("--nl-seed", type=int, default=0, help="Where the search starts.")
    group.addoption("--nl-known", metavar="FILE", help="Known failures, in TOML.")
    group.addoption("--nl-failures", metavar="DIR", help="Write failing cases into this folder.")


def pytest_configure(config: Any) -> None:
    """Say what to install, where the suite is asked for and cannot run."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if config.getoption("--nl-backend") is not None and missing:
        import pytest

        raise pytest.UsageError(
            f"--nl-backend needs {', '.join(missing)}: pip install 'nlcore[conformance]'"
        )
