"""nlcore-conformance: does an implementation compute the non-local block?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from nlcore_conformance.resolve import CannotRun, installed, load, names

app = typer.Typer(
    help="Does an implementation compute the non-local block? Exit status 0: it conforms; "
    "1: it does not; 2: it could not be run.",
    no_args_is_help=True,
    add_completion=False,
)


class ProfileName(StrEnum):
    quick = "quick"
    full = "full"


Device = Annotated[
    str | None, typer.Option(help="Handed to the backend, e.g. cpu or cuda.", metavar="NAME")
]


@app.command()
def run(
    backend: Annotated[
        list[str],
        typer.Argument(
            help="torch, keras, keras-tensorflow, keras-jax, keras-torch, reference; an import "
            "path like mylib.nonlocal:backend; or all."
        ),
    ],
    profile: Annotated[ProfileName, typer.Option(help="How hard to try.")] = ProfileName.quick,
    device: Device = None,
    seed: Annotated[int, typer.Option(help="Where the search starts.")] = 0,
    json_: Annotated[
        Path | None, typer.Option("--json", help="Write the results here.", metavar="FILE")
    ] = None,
) -> None:
    """Judge implementations against the reference."""
    try:
        requested = names(backend)
    except CannotRun as error:
        _cannot_run(str(error))
    if json_ is not None and not json_.parent.is_dir():
        _cannot_run(f"--json needs a folder that exists; received {json_}")
    reports: list[dict[str, Any]] = []
    if len(requested) > 1:  # one process each: Keras can run one engine in a process
        reports, code = _run_each(requested, profile, device, seed)
    else:
        report = _run_here(requested[0], profile, device, seed)
        reports, code = [report], 0 if report["conforms"] else 1
    if json_ is not None:
        json_.write_text(json.dumps(reports, indent=1, default=str))
    raise typer.Exit(code)


@app.command()
def replay(
    case: Annotated[str, typer.Argument(help="JSON as a failure prints it, or a file with it.")],
    backend: Annotated[
        str | None, typer.Option(help="Another backend than the case's.", metavar="NAME")
    ] = None,
    device: Device = None,
) -> None:
    """Judge one case again."""
    from nlcore_conformance.runner import replay as judge_again
    from nlcore_conformance.strategies import Case

    try:
        text = case if case.lstrip().startswith("{") else Path(case).read_text()
        fields = json.loads(text)
        problem, check = Case.from_json(fields["case"]), fields["check"]
        name = backend or fields["backend"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        _cannot_run(f"CASE must be the JSON of a failure, or a file with it: {error!r}")
    loaded = _load(name, device)
    try:
        judgements, broken = judge_again(check, loaded, problem)
    except ValueError as error:
        _cannot_run(str(error))
    except NotImplementedError as error:
        _cannot_run(f"{name} does not support the case: {error}")
    console = Console()
    console.print(f"{check}: {problem.spec}")
    if broken:
        console.print(broken)
    for j in judgements:
        detail = j.note or (
            f"worst at {list(j.index)}: expected {j.expected!r}, received {j.received!r}, "
            f"bound {j.bound:.3g}"
        )
        console.print(f"{j.output:<12} ratio {j.ratio:.3g}  {detail}", soft_wrap=True)
    raise typer.Exit(1 if broken or any(j.ratio > 1 for j in judgements) else 0)


@app.command("list")
def list_() -> None:
    """The installed backends."""
    for name, point in sorted(installed().items()):
        print(f"{name:20} {point.value}")


def _cannot_run(message: str) -> NoReturn:
    print(f"nlcore-conformance: {message}", file=sys.stderr)
    raise typer.Exit(2)


def _load(name: str, device: str | None) -> Any:
    try:
        backend = load(name)
    except CannotRun as error:
        _cannot_run(str(error))
    if device is not None:
        if not hasattr(backend, "device"):
            _cannot_run(f"{name} has no attribute `device` to set to {device!r}")
        backend.device = device
    return backend


def _run_here(name: str, profile: ProfileName, device: str | None, seed: int) -> dict[str, Any]:
    from nlcore_conformance import report
    from nlcore_conformance.runner import run as run_checks

    backend = _load(name, device)
    console = Console()
    columns = (
        TextColumn("{task.description:28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("compiling the reference")

        def progress(check: str, done: int, total: int) -> None:
            bar.update(task, description=check, completed=done, total=total)

        results = run_checks(backend, profile.value, seed, progress=progress)
    results.backend = name
    report.show(results, console)
    return results.to_json()


def _run_each(
    requested: list[str], profile: ProfileName, device: str | None, seed: int
) -> tuple[list[dict[str, Any]], int]:
    """Each in a process of its own, with their verdicts once more at the end."""
    reports: list[dict[str, Any]] = []
    codes, lines = [], []
    for name in requested:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "report.json")
            command = [sys.executable, "-m", "nlcore_conformance", "run", name]
            command += ["--profile", profile.value, "--seed", str(seed), "--json", str(file)]
            command += ["--device", device] if device is not None else []
            codes.append(subprocess.run(command, env=os.environ.copy(), check=False).returncode)
            if file.exists():
                reports += json.loads(file.read_text())
        lines.append((name, {0: "conforms", 1: "does not conform"}.get(codes[-1], "did not run")))
    print("\n" + "\n".join(f"{name:24} {line}" for name, line in lines))
    return reports, max(code if code in (0, 1) else 2 for code in codes)
