"""One run of the suite for each backend: here, or each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from nlcore_conformance import failures, report
from nlcore_conformance.checks.catalogue import checks
from nlcore_conformance.backend.device import load_on
from nlcore_conformance.run.document import dumps
from nlcore_conformance.run.environment import environment
from nlcore_conformance.run.known import Known, KnownError, statuses
from nlcore_conformance.run.known import load as load_known
from nlcore_conformance.run.progress import progress
from nlcore_conformance.backend.protocol import Backend, dtypes
from nlcore_conformance.backend.resolve import CannotRun
from nlcore_conformance.run.runner import Report, run
from nlcore_conformance.run.verdict import Verdict, from_json


@dataclass(frozen=True)
class Request:
    """What is asked of every backend."""

    profile: str = "quick"
    seed: int = 0
    device: str | None = None
    check: str = ""  # only checks whose name has this in it
    dtypes: tuple[str, ...] = ()  # only these; all that the backend has where there is none
    examples: int | None = None  # instead of the profile's
    known: Path | None = None
    failures: Path | None = None

    def arguments(self) -> list[str]:
        """The same on the command line of `nlcore-conformance run`."""
        given = {
            "profile": self.profile,
            "seed": self.seed,
            "device": self.device,
            "check": self.check or None,
            "examples": self.examples,
            "known": self.known,
            "failures": self.failures,
        }
        pairs = [(name, value) for name, value in given.items() if value is not None]
        pairs += [("dtype", dtype) for dtype in self.dtypes]
        return [text for name, value in pairs for text in (f"--{name}", str(value))]


def possible(request: Request) -> list[Known]:
    """Whether the request can be met by any backend; returns the known failures.

    Raises
    ------
    CannotRun
        No check has such a name, the file of known failures is none, or failures cannot be
        written.
    """
    every = [check.name for check in checks()]
    if not any(request.check in name for name in every):
        raise CannotRun(f"no check has {request.check!r} in its name: expected one of {every}")
    if request.failures is not None:
        failures.possible(request.failures)
    try:
        return load_known(request.known, every) if request.known else []
    except KnownError as error:
        raise CannotRun(str(error)) from error


def judge(names: list[str], request: Request) -> list[Verdict]:
    """Judge one backend here, several in a process each: Keras can run one engine in a process."""
    if len(names) > 1:
        verdicts = [_apart(name, request) for name in names]
        print("\n" + "\n".join(verdict.line for verdict in verdicts))
        return verdicts
    try:
        return [_here(names[0], request, Console())]
    except CannotRun as error:
        print(f"nlcore-conformance: {error}", file=sys.stderr)
        return [_cannot_run(names[0], request, str(error))]


def _here(name: str, request: Request, console: Console) -> Verdict:
    backend = load_on(request.device, name)
    own = dtypes(backend)
    if request.dtypes and not set(own) & set(request.dtypes):
        raise CannotRun(f"{name} computes in {own}; received --dtype {', '.join(request.dtypes)}")
    with progress(console) as tell:
        found = run(
            backend,
            request.profile,
            request.seed,
            lambda check: request.check in check.name,
            tell,
            request.examples,
            request.dtypes or None,
        )
    found.backend = name
    verdict = Verdict(found, environment(backend), statuses(possible(request), found))
    report.show(verdict, console)
    if request.failures is not None:
        _keep(request.failures, name, backend, found, console)
    return verdict


def _keep(folder: Path, name: str, backend: Backend, found: Report, console: Console) -> None:
    """Write every failing case into the folder."""
    every = {check.name: check for check in checks()}
    for result in found.results:
        if result.failure is not None:
            file = failures.write(folder, name, backend, every[result.name], result.failure)
            console.print(f"{result.name}: {file}", soft_wrap=True, markup=False)


def _apart(name: str, request: Request) -> Verdict:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "verdict.json")
        command = [sys.executable, "-m", "nlcore_conformance", "run", name, "--json", str(file)]
        child = subprocess.run([*command, *request.arguments()], check=False)
        if file.exists():
            return read(file)[0]
    return _cannot_run(name, request, f"its process ended with status {child.returncode}")


def _cannot_run(name: str, request: Request, why: str) -> Verdict:
    return Verdict(Report(name, request.profile, request.seed), cannot_run=why)


def write(file: Path, verdicts: list[Verdict]) -> None:
    """Write verdicts as JSON: a list, one object for each backend."""
    file.write_text(dumps([verdict.to_json() for verdict in verdicts]), encoding="utf-8")


def read(file: Path) -> list[Verdict]:
    """Verdicts that `write` wrote."""
    return [from_json(fields) for fields in json.loads(file.read_text(encoding="utf-8"))]
