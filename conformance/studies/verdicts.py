"""Judge other packages' blocks, as installed, and write docs/verdicts.md.

    python conformance/studies/verdicts.py run verdicts.json
    python conformance/studies/verdicts.py page verdicts.json [MORE.json ...]

`run` judges the adapters whose packages are installed. Those that need other environments are run
there, and `page` merges the files. The page has no date: the same verdicts make the same page.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import jinja2
import typer
from rich.console import Console

import nlcore
from nlcore import NonLocalSpec
from nlcore_conformance.backend.protocol import Backend, supports
from nlcore_conformance.checks.catalogue import CHECKS
from nlcore_conformance.checks.check import Check
from nlcore_conformance.checks.judging import reproduction
from nlcore_conformance.evidence import stamp
from nlcore_conformance.identify import identify
from nlcore_conformance.run.coverage import VALUES
from nlcore_conformance.run.progress import progress
from nlcore_conformance.run.results import CheckResult, Report
from nlcore_conformance.run.runner import run as run_checks
from nlcore_conformance.run.runner import run_check
from nlcore_conformance.run.search import PROFILES
from nlcore_conformance.run.verdict import described

ROOT = Path(__file__).parents[2]
PROFILE, SEED = "quick", 0
#: Adapters, in the order of the page, and the distribution that each needs.
ADAPTERS = {
    "mmcv:nonlocal1d": "mmcv-lite",
    "mmcv:nonlocal2d": "mmcv-lite",
    "mmcv:nonlocal3d": "mmcv-lite",
    "pytorchvideo:nonlocal3d": "pytorchvideo",
    "slowfast:nonlocal3d": "slowfast",
    "timm:nonlocal2d": "timm",
}
#: The columns of the page: dtypes that are judged together.
DTYPES = (("float32", "float64"), ("float16",), ("bfloat16",))

app = typer.Typer(add_completion=False)


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="Where the results go, as JSON.")],
    adapter: Annotated[list[str] | None, typer.Option(help="Only these.")] = None,
) -> None:
    """Judge every adapter whose package is installed."""
    console = Console(stderr=True)
    found = []
    for name in adapter or ADAPTERS:
        module, _, attribute = name.partition(":")
        try:
            backends = importlib.import_module(f"nlcore_torch.adapters.{module}")
        except ImportError as error:
            console.print(f"{name} is left out: {error}", markup=False)
            continue
        backend, default = (getattr(backends, attribute + end) for end in ("", "_default"))
        console.print(name)
        found.append(_judged(name, backend, default, console))
        file.write_text(json.dumps(found, indent=1))


def _judged(name: str, backend: Any, default: Any, console: Console) -> dict[str, Any]:
    """The page's data on one implementation."""
    with progress(console) as tell:
        identified = identify(default, tell)
        reports = [
            run_checks(backend, PROFILE, SEED, progress=tell, dtypes=dtypes) for dtypes in DTYPES
        ]
    path = f"nlcore_torch.adapters.{name}"
    return {
        "adapter": name,
        "path": path,
        "name": backend.name,
        "distribution": ADAPTERS[name],
        "version": _version(ADAPTERS[name]),
        "torch": _version("torch"),
        "nlcore": nlcore.__version__,
        "stamp": stamp(),
        "sentence": identified.sentence,
        "dialects": list(identified.dialects),
        "rules": [(name, found.text) for name, found in identified.rules.items()],
        "checks": [
            {"name": c.name, "clause": c.clause, "cells": cells}
            for c in CHECKS
            if any(cells := [_cell(backend, c, r, d) for r, d in zip(reports, DTYPES, strict=True)])
        ],
        "failures": _failures(path, reports),
        "not_run": _not_run(reports[0]),
        **_coverage(reports),
    }


def _version(distribution: str) -> str:
    """The distribution's version without a local part, like "+cpu"."""
    return version(distribution).partition("+")[0]


def _cell(backend: Backend, check: Check, report: Report, dtypes: tuple[str, ...]) -> str:
    """A check's verdict and worst ratio; where one pairwise function fails, the others' too."""
    result = next(r for r in report.results if r.name == check.name)
    failed: list[str] = []
    while result.failure is not None:
        failed.append(result.failure.case.spec.pairwise)
        rest = _Without(backend, tuple(failed))
        result = run_check(check, rest, replace(PROFILES[PROFILE], dtypes=dtypes), SEED)
    if not failed:
        return _ratio(result)
    if not result.examples:
        return "FAIL"
    return f"FAIL with {' and '.join(failed)}; {_ratio(result)} without"


def _ratio(result: CheckResult) -> str:
    return f"{result.worst:.3g}" if result.examples else ""


class _Without:
    """A backend without some of its pairwise functions."""

    def __init__(self, backend: Any, pairwise: tuple[str, ...]) -> None:
        self.backend, self.pairwise = backend, pairwise
        self.name, self.dtypes = backend.name, backend.dtypes
        self.block, self.block_vjp = backend.block, backend.block_vjp
        self.initial = backend.initial

    def supports(self, spec: NonLocalSpec, dtype: str) -> bool | str:
        if spec.pairwise in self.pairwise:
            return f"without {spec.pairwise}"
        return supports(self.backend, spec, dtype)


def _failures(path: str, reports: list[Report]) -> list[dict[str, Any]]:
    """Each check's failures, those of the same kind once."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for report, dtypes in zip(reports, DTYPES, strict=True):
        for result in report.results:
            failure = result.failure
            if failure is None:
                continue
            # errors are told apart by their first words; all wrong numbers are of one kind
            kind = " ".join(failure.error.split()[:8])
            said = described(failure, report.explains(result.name))
            entry = {
                "check": result.name,
                "clause": result.clause,
                "lines": [(label, text.splitlines()[0]) for label, text in said],
                "replay": reproduction(path, result.name, failure.case),
                "dtypes": [],
            }
            found.setdefault((result.name, kind), entry)["dtypes"] += [" and ".join(dtypes)]
    return list(found.values())


def _not_run(report: Report) -> dict[str, list[str]]:
    """Why checks were not run -> their names."""
    found: dict[str, list[str]] = {}
    for result in report.results:
        if result.not_run:
            found.setdefault(result.not_run, []).append(result.name)
    return found


def _coverage(reports: list[Report]) -> dict[str, Any]:
    """How many of the values of the spec's fields were tried, and why the others were not."""
    missing: dict[str, list[str]] = {}
    for field, values in VALUES.items():
        for value in values:
            if not any(value in report.covered.get(field, {}) for report in reports):
                why = reports[0].not_covered.get(field, {}).get(value, "")
                missing.setdefault(why or "nothing that it has can be so", []).append(
                    f"{field}={value}"
                )
    total = sum(map(len, VALUES.values()))
    return {
        "values": total,
        "covered": total - sum(map(len, missing.values())),
        "missing": missing,
    }


@app.command()
def page(
    files: Annotated[list[Path], typer.Argument(help="Files that `run` has written.")],
    output: Annotated[Path, typer.Option(help="The page.")] = ROOT / "docs" / "verdicts.md",
) -> None:
    """Write the results as a page."""
    results = [result for file in files for result in json.loads(file.read_text())]
    results.sort(key=lambda result: list(ADAPTERS).index(result["adapter"]))
    names = [result["adapter"] for result in results]
    if len(set(names)) < len(names):
        raise typer.BadParameter(f"an adapter is in more than one file: {', '.join(names)}")
    for key in ("nlcore", "stamp"):
        if len(values := {result[key] for result in results}) > 1:
            raise typer.BadParameter(f"the files differ in {key}: {', '.join(sorted(values))}")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.get_template("verdicts.md.jinja")
    columns = [" and ".join(dtypes) for dtypes in DTYPES]
    text = template.render(
        results=results, columns=columns, passed=_passed, profile=PROFILE, seed=SEED
    )
    output.write_text(text, encoding="utf-8")


def _passed(result: dict[str, Any], column: int) -> str:
    """How many of the checks that were run the implementation passes."""
    cells = [check["cells"][column] for check in result["checks"]]
    ran = [cell for cell in cells if cell]
    return f"{sum('FAIL' not in cell for cell in ran)} of {len(ran)}"


if __name__ == "__main__":
    app()
