"""pytest options of the suite: pytest --pyargs nlcore_conformance --nl-backend NAME."""

from __future__ import annotations

from typing import Any


def pytest_addoption(parser: Any) -> None:
    group = parser.getgroup("nlcore", "non-local block conformance")
    group.addoption(
        "--nl-backend",
        metavar="NAME",
        help="Backend to judge: a name, or an import path like mylib.nonlocal:backend.",
    )
    group.addoption("--nl-profile", default="quick", help="quick (default) or full.")
    group.addoption("--nl-device", metavar="NAME", help="Handed to the backend.")
    group.addoption("--nl-seed", type=int, default=0, help="Where the search starts.")
