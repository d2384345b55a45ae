"""nlcore-conformance: does an implementation compute the non-local block?

Each command imports the packages that it needs: `replay` works without hypothesis, `run` without
matplotlib.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

import nlcore
from nlcore.spec import FLOATS
from nlcore_conformance.backend.protocol import CannotRun
from nlcore_conformance.backend.resolve import installed, load, names
from nlcore_conformance.run.progress import progress

app = typer.Typer(
    no_args_is_help=True,
)
vectors_app = typer.Typer(
    help="Test vectors, for implementations that are not in Python.", no_args_is_help=True
)
app.add_typer(vectors_app, name="vectors")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nlcore {nlcore.__version__}, specification {nlcore.SPEC_VERSION}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Judge whether an implementation computes the non-local block.

    The exit status is 0 if it conforms, 1 if it does not, and 2 if it could not be run.
    """


class ProfileName(StrEnum):
    quick = "quick"
    full = "full"


DtypeName = StrEnum("DtypeName", {name: name for name in FLOATS})  # type: ignore[misc]

Device = Annotated[
    str | None, typer.Option(help="Device of the backend, such as cpu or cuda.", metavar="NAME")
]
ProfileOption = Annotated[
    ProfileName, typer.Option(help="How many problems are tried, and how large they are.")
]
Seed = Annotated[int, typer.Option(help="Seed of the search for failures.")]
BackendName = Annotated[
    str, typer.Argument(help="A name that `list` prints, or an import path.", metavar="BACKEND")
]
Folder = Annotated[Path, typer.Argument(help="Folder of the vectors to write.", metavar="DIR")]


def _file(help_: str) -> typer.models.OptionInfo:
    """An option that is a file."""
    return typer.Option(help=help_, metavar="FILE")


@app.command()
def run(
    backend: Annotated[
        list[str],
        typer.Argument(
            help="torch, keras, keras-tensorflow, keras-jax, keras-torch, reference, all, or an "
            "import path such as mylib.nonlocal:backend."
        ),
    ],
    profile: ProfileOption = ProfileName.quick,
    device: Device = None,
    seed: Seed = 0,
    check: Annotated[
        list[str] | None,
        typer.Option(
            help="Run only checks with this text in their name. Can be repeated.", metavar="TEXT"
        ),
    ] = None,
    dtype: Annotated[
        list[DtypeName] | None, typer.Option(help="Try only this dtype. Can be repeated.")
    ] = None,
    examples: Annotated[
        int | None, typer.Option(help="Problems of each check. Default: the profile's.", min=1)
    ] = None,
    known: Annotated[Path | None, _file("File of known failures, in TOML.")] = None,
    report: Annotated[Path | None, _file("Write a report in HTML to this file.")] = None,
    junit: Annotated[Path | None, _file("Write the results as JUnit XML to this file.")] = None,
    json: Annotated[Path | None, _file("Write the results as JSON to this file.")] = None,
    failures: Annotated[
        Path | None, typer.Option(help="Write failing cases into this folder.", metavar="DIR")
    ] = None,
) -> None:
    """Judge implementations against the reference."""
    with _or_exit():
        from nlcore_conformance import processes

        request = processes.Request(
            profile.value,
            seed,
            device,
            tuple(check or ()),
            tuple(dtype or ()),
            examples,
            known,
            failures,
        )
        requested = names(backend)
        processes.possible(request)
        modules = {"json": "run.verdict", "junit": "reports.junit", "report": "reports.html"}
        writers = _writers({"json": json, "junit": junit, "report": report}, modules)
        verdicts = processes.judge(requested, request)
        for file, write in writers.items():
            write(file, verdicts)
    raise typer.Exit(max(verdict.exit_status for verdict in verdicts))


def _writers(
    files: dict[str, Path | None], modules: dict[str, str]
) -> dict[Path, Callable[[Path, Any], None]]:
    """File -> the function that writes it, imported now and not after a long run.

    Both arguments are by option: the file, and the module whose `write` writes it.
    """
    wanted = {option: file for option, file in files.items() if file is not None}
    for option, file in wanted.items():
        if file.is_dir() or not file.parent.is_dir():
            raise CannotRun(f"--{option} needs a file in a folder that exists; received {file}")
    if len({file.resolve() for file in wanted.values()}) < len(wanted):
        given = ", ".join(f"--{option} {file}" for option, file in wanted.items())
        raise CannotRun(f"--json, --junit and --report need a file each; received {given}")
    return {
        file: import_module(f"nlcore_conformance.{modules[option]}").write
        for option, file in wanted.items()
    }


@app.command()
def replay(
    case: Annotated[str, typer.Argument(help="JSON that a failure prints, or a file with it.")],
    backend: Annotated[
        str | None, typer.Option(help="Backend to judge. Default: the case's.", metavar="NAME")
    ] = None,
    device: Device = None,
) -> None:
    """Judge one case again."""
    with _or_exit():
        from nlcore_conformance.checks.stages import first_stage
        from nlcore_conformance.run import failures

        try:
            recorded = failures.read(case)
        except (OSError, ValueError, KeyError, TypeError) as error:
            _cannot_run(f"CASE must be the JSON of a failure, or a file with it: {error!r}")
        name = backend or recorded.backend
        loaded = load(name, device)
        try:
            judgements, broken = failures.replay(recorded, loaded)
        except NotImplementedError as error:
            _cannot_run(f"{name} does not support the case: {error}")
        lines = [f"{recorded.check.name}: {recorded.case.spec}", *([broken] if broken else [])]
        lines += [f"{j.output:<12} ratio {j.ratio:.3g}  {_detail(j)}" for j in judgements]
        fails = bool(broken) or any(j.ratio > 1 for j in judgements)
        if fails and (stage := first_stage(recorded.check, loaded, recorded.case)):
            lines.append(f"first difference in: {stage}")
    print("\n".join(lines))
    raise typer.Exit(int(fails))


def _detail(j: Any) -> str:
    """The worst element of one output, or the form that is wrong."""
    place = f"worst at {list(j.index)}: expected {j.expected!r}, received {j.received!r}"
    return j.note or f"{place}, bound {j.bound:.3g}"


@app.command()
def identify(backend: BackendName, device: Device = None) -> None:
    """Find out, rule by rule, what an implementation computes, and which dialect that is."""
    console = Console()
    with _or_exit():
        from nlcore_conformance import identify as identification

        loaded = load(backend, device)
        with progress(console) as tell:
            found = identification.identify(loaded, tell)
    identification.show(found, console)
    raise typer.Exit(int(not found.identified))


@app.command("self-test")
def self_test(
    profile: ProfileOption = ProfileName.quick,
    seed: Seed = 0,
    json: Annotated[Path | None, _file("Write the results as JSON to this file.")] = None,
) -> None:
    """Test the suite: it must reject every shipped mutant and accept right implementations."""
    console = Console()
    with _or_exit():
        from nlcore_conformance import selftest as test

        writers = _writers({"json": json}, {"json": "selftest"})
        with progress(console) as tell:
            found = test.self_test(profile.value, seed, tell)
        for file, write in writers.items():
            write(file, found)
    console.print(test.table(found))
    raise typer.Exit(int(not found.ok))


@vectors_app.command("export")
def export_vectors(folder: Folder) -> None:
    """Write the test vectors into a folder. Each version writes the same bits each time."""
    with _or_exit():
        from nlcore_conformance.vectors.export import export

        with Console(stderr=True).status("making the test vectors"):
            files = export(folder)
    print(f"{len(files)} files in {folder}")


@vectors_app.command("clips")
def export_clip_vectors(folder: Folder) -> None:
    """Write the vectors of draws, clips and views (docs/clips.md), bit for bit."""
    from nlcore_conformance.vectors.clip_vectors import export

    print(f"{len(export(folder))} files in {folder}")


@vectors_app.command("check")
def check_vectors(
    folder: Annotated[Path, typer.Argument(help="Folder of the outputs.", metavar="DIR")],
    against: Annotated[
        Path | None,
        typer.Option(
            "--vectors", help="Folder of the vectors. Default: they are made again.", metavar="DIR"
        ),
    ] = None,
) -> None:
    """Judge a folder of outputs that an implementation has computed from the vectors."""
    with _or_exit():
        from nlcore_conformance.vectors import outputs

        with Console(stderr=True).status("judging the outputs"):
            results = outputs.check(folder, against)
    console = Console()
    console.print(outputs.table(results))
    for result in results:
        if result.verdict == "FAIL":
            console.print(outputs.failure(result), soft_wrap=True, markup=False)
    conform = outputs.conforms(results)
    print(f"the outputs {'conform' if conform else 'do not conform'}")
    raise typer.Exit(int(not conform))


@app.command("list")
def list_() -> None:
    """List the installed backends."""
    for name, point in sorted(installed().items()):
        print(f"{name:20} {point.value}")


@contextmanager
def _or_exit() -> Iterator[None]:
    """End the command with one line and status 2 where something cannot be run."""
    try:
        yield
    except CannotRun as error:
        _cannot_run(str(error))
    except ImportError as error:
        _cannot_run(f"needs {error.name}: pip install 'nlcore[conformance]'")
    except OSError as error:  # a file that cannot be read or written
        _cannot_run(str(error))


def _cannot_run(message: str) -> NoReturn:
    """Print the message and end with status 2."""
    print(f"nlcore-conformance: {message}", file=sys.stderr)
    raise typer.Exit(2)
