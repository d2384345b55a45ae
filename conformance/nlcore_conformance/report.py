"""A run for people: the table of checks, the failures, and what of the spec was covered."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nlcore_conformance.coverage import VALUES
from nlcore_conformance.runner import CheckResult, Report, reproduction

_STYLE = {"pass": "green", "FAIL": "bold red", "not run": "yellow"}


def ratio(value: float) -> str:
    """A ratio to three digits."""
    return f"{value:.3g}"


def table(report: Report) -> Table:
    """Check, examples tried, elements without a finite bound, worst ratio, verdict."""
    out = Table(title=f"{report.backend}: profile {report.profile}, seed {report.seed}")
    out.add_column("check")
    out.add_column("clause")
    out.add_column("examples", justify="right")
    out.add_column("not judged", justify="right")
    out.add_column("worst ratio", justify="right")
    out.add_column("verdict")
    for r in report.results:
        worst = "" if not r.examples and r.failure is None else ratio(_worst(r))
        left_out = f"{r.unpredictable / r.elements:.1%}" if r.elements else ""
        verdict = Text(r.verdict, style=_STYLE[r.verdict])
        out.add_row(r.name, r.clause, str(r.examples), left_out, worst, verdict)
    return out


def _worst(result: CheckResult) -> float:
    if result.failure is None:
        return result.worst
    judgement = result.failure.judgement
    return float("inf") if judgement is None else judgement.ratio


def failure(report: Report, result: CheckResult) -> Text:
    """The smallest failing case, what was expected and what came, and a line to paste."""
    assert result.failure is not None
    case, judgement = result.failure.case, result.failure.judgement
    lines = [
        f"spec      {case.spec}",
        f"x         shape {(case.batch, case.spec.channels, *case.positions)}, {case.dtype}, "
        f"data {case.data}, layout {case.layout}, seed {case.seed}, training={case.training}",
    ]
    if judgement is None:
        lines.append(f"backend   {result.failure.error}")
    elif judgement.note:
        lines.append(f"{judgement.output:<9} {judgement.note}")
    else:
        place = f"{judgement.output}{list(judgement.index)}"
        lines += [
            f"expected  {place} = {judgement.expected!r}",
            f"received  {place} = {judgement.received!r}",
            f"bound     {judgement.bound:.3g}; error / bound = {ratio(judgement.ratio)}",
        ]
    return Text.assemble(
        (f"FAIL {result.name} ({result.clause})\n", "bold red"),
        "".join(f"  {line}\n" for line in lines),
        "  to see it again:\n",
        (reproduction(report.backend, result.name, case) + "\n", "cyan"),
    )


def coverage(report: Report) -> Text:
    """How much of the spec was tried, by field and value, and why the rest was not."""
    if not report.covered:
        return Text("covered: nothing, so there is nothing that it conforms to", style="yellow")
    count = sum(len(v) for v in VALUES.values())
    missing = [
        f"{name}={value}" + (f" ({why})" if why else "")
        for name, values in report.not_covered.items()
        for value, why in values.items()
    ]
    dtypes = ", ".join(sorted(report.covered["dtype"]))
    if not missing:
        return Text(f"covered: all {count} values of the spec's fields; dtypes {dtypes}")
    text = (
        f"covered: {count - len(missing)} of {count} values of the spec's fields; dtypes {dtypes}"
    )
    return Text(text + "\nnot covered: " + "\n             ".join(missing))


def verdict(report: Report) -> Text:
    """One line."""
    failed = [r.name for r in report.results if r.failure]
    not_run = sorted({f"{r.name}: {r.not_run}" for r in report.results if r.not_run})
    if report.conforms:
        text = f"{report.backend} conforms"
        if any(report.not_covered.values()) or not_run:
            text += " to what it supports"
        return Text(f"{text} ({report.seconds:.0f} s)", style="bold green")
    why = f"{len(failed)} of {len(report.results)} checks fail" if failed else "nothing was tried"
    return Text(f"{report.backend} does not conform: {why}", style="bold red")


def show(report: Report, console: Console) -> None:
    """Print all of it."""
    console.print(table(report))
    for result in report.results:
        if result.failure is not None:
            # lines to paste must be neither cut nor wrapped by the terminal's width
            console.print(failure(report, result), soft_wrap=True)
        elif result.not_run:
            console.print(Text(f"not run: {result.name}: {result.not_run}", style="yellow"))
    if any(r.unpredictable for r in report.results):
        console.print(
            "not judged: elements without a finite bound, where a stage may overflow the dtype, or "
            "rounding may make a normalizer or a batch's variance zero"
        )
    console.print(coverage(report))
    console.print(verdict(report))
