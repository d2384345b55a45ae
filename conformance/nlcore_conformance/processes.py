"""One run of the suite for each backend: in this process, or each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from nlcore_conformance.backend.protocol import Backend, CannotRun, dtypes
from nlcore_conformance.backend.resolve import load
from nlcore_conformance.checks.catalogue import CHECKS, named_check
from nlcore_conformance.reports import terminal
from nlcore_conformance.run import failures
from nlcore_conformance.run.environment import environment
from nlcore_conformance.run.known import Known, KnownError, known_failures, statuses
from nlcore_conformance.run.progress import progress
from nlcore_conformance.run.results import Report
from nlcore_conformance.run.runner import run
from nlcore_conformance.run.verdict import Verdict, read


@dataclass(frozen=True)
class Request:
    """The options of a run, which are the same for every backend."""

    profile: str = "quick"
    seed: int = 0
    device: str | None = None
    checks: tuple[str, ...] = ()  # only checks with one of these in their name
    dtypes: tuple[str, ...] = ()  # only these; without any, all of the backend's
    examples: int | None = None  # instead of the profile's
    known: Path | None = None  # file of known failures
    failures: Path | None = None  # folder for failing cases

    def asks(self, check: str) -> bool:
        """Whether the check of this name is to be run."""
        return not self.checks or any(part in check for part in self.checks)

    def arguments(self) -> list[str]:
        """The same options for the command line `nlcore-conformance run`."""
        given = {
            "profile": self.profile,
            "seed": self.seed,
            "device": self.device,
            "examples": self.examples,
            "known": self.known,
            "failures": self.failures,
        }
        pairs = [(name, value) for name, value in given.items() if value is not None]
        pairs += [("check", check) for check in self.checks]
        pairs += [("dtype", dtype) for dtype in self.dtypes]
        return [text for name, value in pairs for text in (f"--{name}", str(value))]


def possible(request: Request) -> list[Known]:
    """Check the options that do not depend on the backend; returns the known failures.

    Raises
    ------
    CannotRun
        No check has such a name, the file of known failures has another form, or failures cannot
        be written.
    """
    every = [check.name for check in CHECKS]
    for part in request.checks:
        if not any(part in name for name in every):
            raise CannotRun(f"no check has {part!r} in its name: expected one of {every}")
    if request.failures is not None:
        failures.possible(request.failures)
    try:
        return known_failures(request.known, every) if request.known else []
    except KnownError as error:
        raise CannotRun(str(error)) from error


def judge(names: list[str], request: Request) -> list[Verdict]:
    """Judge one backend here, several in a process each, as Keras runs one engine in a process."""
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
    """Judge a backend in this process, and print its verdict."""
    backend = load(name, request.device)
    own = dtypes(backend)
    if request.dtypes and not set(own) & set(request.dtypes):
        raise CannotRun(f"{name} computes in {own}; received --dtype {', '.join(request.dtypes)}")
    with progress(console) as tell:
        found = run(
            backend,
            profile=request.profile,
            seed=request.seed,
            only=lambda check: request.asks(check.name),
            progress=tell,
            examples=request.examples,
            dtypes=request.dtypes or None,
        )
    found.backend = name
    verdict = Verdict(found, environment(backend), statuses(possible(request), found))
    terminal.show(verdict, console)
    if request.failures is not None:
        _keep(request.failures, name, backend, found, console)
    return verdict


def _keep(folder: Path, name: str, backend: Backend, found: Report, console: Console) -> None:
    """Write every failing case into the folder."""
    for result in found.results:
        if result.failure is not None:
            file = failures.write(folder, name, backend, named_check(result.name), result.failure)
            console.print(f"{result.name}: {file}", soft_wrap=True, markup=False)


def _apart(name: str, request: Request) -> Verdict:
    """Judge a backend in a process of its own, which prints its verdict."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "verdict.json")
        command = [sys.executable, "-m", "nlcore_conformance", "run", name, "--json", str(file)]
        child = subprocess.run([*command, *request.arguments()], check=False)
        if file.exists():
            return read(file)[0]
    return _cannot_run(name, request, f"its process ended with status {child.returncode}")


def _cannot_run(name: str, request: Request, why: str) -> Verdict:
    """The verdict on a backend that could not be run."""
    return Verdict(Report(name, request.profile, request.seed), cannot_run=why)
