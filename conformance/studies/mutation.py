"""Which changes of a backend's source does the suite not see?

    python conformance/studies/mutation.py run torch --package nlcore_torch --json torch.json
    python conformance/studies/mutation.py page torch.json [MORE.json ...]

`run` makes mutants of the modules that the backend imports: each changes one thing in one statement
(see `source_mutants.edits`). Each is judged in a process of its own by the trials of a quick run
that execute the statement, until one fails. What is expected in a trial is computed once. After the
quickest trials, the mutants that no trial has rejected are judged together, several in one program.
Where a trial rejects them, halves of them are judged apart. FILE is written after each mutant, and
a run that was interrupted continues where it ended.

Several backends of one package are judged together: a mutant survives if all of them pass. `page`
writes docs/mutation.md. It takes from `reasons.toml` why survivors compute the same, and why some
statements are not executed.
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import json
import os
import platform
import random
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import grimp
import typer
from rich.console import Console

import nlcore
from nlcore_conformance.backend.resolve import installed
from nlcore_conformance.evidence import stamp
from nlcore_conformance.run.progress import progress
from source_mutants import fresh_import
from source_mutants import page as page_writer
from source_mutants.edits import edits
from source_mutants.judging import Measured, measured
from source_mutants.mutant import Module, Mutant, executing
from source_mutants.source import Source, owners
from source_mutants.together import verdicts
from source_mutants.trials import Trial, trials

ROOT = Path(__file__).parents[2]

app = typer.Typer(add_completion=False)


@app.command()
def run(
    backend: Annotated[list[str], typer.Argument(help="As for nlcore-conformance run.")],
    package: Annotated[str, typer.Option(help="Whose modules are changed.")],
    json_: Annotated[Path, typer.Option("--json", metavar="FILE", help="Where the results go.")],
    count: Annotated[int, typer.Option(help="How many mutants are judged.")] = 400,
    seed: Annotated[int, typer.Option(help="Which mutants are drawn.")] = 0,
    jobs: Annotated[int, typer.Option(help="How many are judged at a time.")] = 1,
    profile: Annotated[str, typer.Option(help="Of the run that judges them.")] = "quick",
    again: Annotated[bool, typer.Option(help="Judge the survivors in FILE again.")] = False,
) -> None:
    """Make mutants of a backend's package, and judge them."""
    console = Console(stderr=True)
    modules = modules_of(package, backend)
    asked = trials(backend, profile, 0, console)
    with progress(console) as tell:
        found = measured(
            asked,
            package,
            [module.file for module in modules],
            lambda done: tell("without mutants", done, len(asked)),
        )
    if found.failed:
        console.print("\n".join(found.failed), markup=False)
        raise typer.Exit(2)
    fresh_import.beforehand(found.imported)
    chosen, possible = drawn(modules, found, count, seed)
    document: dict[str, Any] = {
        "backends": backend,
        "package": package,
        "profile": profile,
        "seed": seed,
        "trials": len(asked),
        "possible": possible,
        "stamp": stamp(),
        "command": _command(),
        "versions": versions(package, modules),
        "files": [listed(module, found) for module in modules],
        "mutants": [mutant.to_json() for mutant in chosen],
    }
    known = _known(json_, document["versions"], again)
    document["mutants"] = [known.get(_key(row), row) for row in document["mutants"]]
    with progress(console) as tell:
        _judge(document, chosen, asked, found, jobs, json_, tell)
    verdicts = [row["verdict"] for row in document["mutants"]]
    console.print(f"{verdicts.count('survived')} of {len(verdicts)} mutants survived")


def _judge(
    document: dict[str, Any],
    chosen: Sequence[Mutant],
    asked: list[Trial],
    found: Measured,
    jobs: int,
    file: Path,
    tell: Any,
) -> None:
    """Judge the mutants whose outcome is not known, and write the document after each."""
    rows = document["mutants"]
    left = [n for n, row in enumerate(rows) if "verdict" not in row]
    outcomes = verdicts([chosen[n] for n in left], asked, found, document["package"], jobs)
    write(file, document)
    for done, (n, outcome, count) in enumerate(outcomes, start=len(rows) - len(left) + 1):
        rows[left[n]].update(vars(outcome), trials=count)
        write(file, document)
        survived = sum(row.get("verdict") == "survived" for row in rows)
        tell(f"{survived} survived", done, len(rows))


def _command() -> str:
    """The command of the whole run, of which this may be the last part."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--again"]
    return f"python conformance/studies/mutation.py {shlex.join(arguments)}"


def modules_of(package: str, backends: Iterable[str]) -> list[Module]:
    """The modules of the package that the backends' modules import, directly or not."""
    graph = grimp.build_graph(package, cache_dir=None)
    names: set[str] = set()
    for backend in backends:
        path = backend if ":" in backend else installed()[backend].value
        start = path.partition(":")[0]
        names |= {start, *graph.find_upstream_modules(start)}
    found = []
    for name in sorted(names):
        file = importlib.import_module(name).__file__
        assert file is not None
        if not file.endswith("__init__.py"):
            found.append(Module(name, file, Source(Path(file).read_text("utf-8"))))
    return found


def drawn(
    modules: Sequence[Module], found: Measured, count: int, seed: int
) -> tuple[list[Mutant], dict[str, int]]:
    """Mutants of executed statements, the kinds of edits in turn; and how many there could be."""
    kinds: dict[str, list[Mutant]] = {}
    possible = {"executed": 0, "not executed": 0}
    for module in modules:
        for edit in edits(module.source):
            mutant = Mutant(module, edit)
            if executing(found, [mutant], found.seconds):
                possible["executed"] += 1
                kinds.setdefault(edit.kind, []).append(mutant)
            else:
                possible["not executed"] += 1
    generator = random.Random(seed)
    for mutants in kinds.values():
        generator.shuffle(mutants)
    turns = itertools.chain.from_iterable(itertools.zip_longest(*kinds.values()))
    compiling = (m for m in turns if m is not None and m.module.source.compiles(m.edit))
    return list(itertools.islice(compiling, count)), possible


def listed(module: Module, found: Measured) -> dict[str, Any]:
    """How many statements a module has, and which are not executed."""
    lines, within = module.source.text.splitlines(), owners(module.source.tree)
    missing = [
        {"line": line, "within": within.get(line, ""), "text": lines[line - 1].strip()}
        for line in found.missing[module.file]
    ]
    statements = len(found.statements[module.file])
    return {"file": module.short, "statements": statements, "missing": missing}


def versions(package: str, modules: Sequence[Module]) -> dict[str, str]:
    """What the results depend on."""
    texts = "".join(module.source.text for module in modules).encode()
    return {
        "nlcore": nlcore.__version__,
        "python": platform.python_version(),
        package: hashlib.sha256(texts).hexdigest()[:12],
    }


def _known(file: Path, present: dict[str, str], again: bool) -> dict[tuple, dict[str, Any]]:
    """The mutants that a run with the present versions has judged, by what they change."""
    old = json.loads(file.read_text()) if file.exists() else {"versions": {}, "mutants": []}
    if old["versions"] != present:
        return {}
    left = ("", "survived") if again else ("",)
    return {_key(row): row for row in old["mutants"] if row.get("verdict", "") not in left}


def _key(row: dict[str, Any]) -> tuple:
    return row["file"], row["start"], row["after"]


def write(file: Path, document: dict[str, Any]) -> None:
    """Replace the file as a whole."""
    aside = file.with_name(file.name + ".part")
    aside.write_text(json.dumps(document, indent=1))
    os.replace(aside, file)


@app.command()
def page(
    files: Annotated[list[Path], typer.Argument(help="Files that `run` has written.")],
    output: Annotated[Path, typer.Option(help="The page.")] = ROOT / "docs" / "mutation.md",
) -> None:
    """Write the results as a page. Exit status 1: something has no reason."""
    runs = [json.loads(file.read_text()) for file in files]
    if len(stamps := {run["stamp"] for run in runs}) > 1:
        raise typer.BadParameter(f"the files differ in stamp: {', '.join(sorted(stamps))}")
    without_reason = page_writer.write(output, runs, page_writer.read_reasons())
    print("\n".join(without_reason))
    raise typer.Exit(int(bool(without_reason)))


if __name__ == "__main__":
    app()
