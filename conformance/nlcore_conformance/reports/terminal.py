"""A verdict on the terminal: the table of checks, the failures, and the coverage of the spec."""

from __future__ import annotations

import textwrap

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nlcore_conformance.checks.judging import reproduction
from nlcore_conformance.run.coverage import VALUES
from nlcore_conformance.run.known import ratio_of
from nlcore_conformance.run.results import CheckResult, Report
from nlcore_conformance.run.verdict import Verdict, described

_STYLE = {"pass": "green", "FAIL": "bold red", "known": "yellow", "not run": "yellow"}

#: Number of characters of a line that the whole table needs.
WIDE = 76
#: Column -> the meaning of its figures.
COLUMNS = {
    "tried": "problems that were asked and judged",
    "not judged": "elements of the output without a finite bound: a stage may overflow the dtype, "
    "or rounding may make a normalizer or a batch's variance zero",
    "vacuous": "judged elements whose bound is above the largest value of their output",
    "worst ratio": "largest error / bound of an element; above 1 it fails",
}


def share(part: int, whole: int) -> str:
    """part / whole as a percentage, "" where the whole is 0."""
    return f"{part / whole:.1%}" if whole else ""


def ratio(result: CheckResult) -> str:
    """The result's ratio to three digits, "" where the check was not run."""
    return "" if result.verdict == "not run" else f"{ratio_of(result):.3g}"


def _shown(width: int) -> tuple[str, ...]:
    """The columns of figures for which a terminal of this width has room."""
    return tuple(COLUMNS) if width >= WIDE else ("worst ratio",)


def table(verdict: Verdict, width: int = WIDE) -> Table:
    """Each check with the figures of COLUMNS and its verdict, or on a narrow terminal without most.

    `width` is that of the terminal, in characters.
    """
    shown = _shown(width)
    report = verdict.report
    title = f"{report.backend}: profile {report.profile}, seed {report.seed}"
    out = Table(title=title, box=SIMPLE_HEAD, padding=0)  # narrow enough for 80 columns
    out.add_column("check", no_wrap=width >= WIDE, overflow="fold")
    if width >= WIDE:
        out.add_column("clause", no_wrap=True)
    for name in shown:
        out.add_column(name, justify="right")
    out.add_column("verdict", no_wrap=True)
    for r in report.results:
        text = Text(verdict.of(r), style=_STYLE[verdict.of(r)])
        left_out = share(r.unpredictable, r.elements)
        vacuous = share(r.vacuous, r.elements - r.unpredictable)
        figures = dict(zip(COLUMNS, (str(r.examples), left_out, vacuous, ratio(r)), strict=True))
        clause = (r.clause,) if width >= WIDE else ()
        out.add_row(r.name, *clause, *(figures[name] for name in shown), text)
    return out


def failure(report: Report, result: CheckResult) -> Text:
    """The smallest failing case, the values expected and received, and a line to paste."""
    assert result.failure is not None
    lines = described(result.failure, report.explains(result.name))
    return Text.assemble(
        (f"FAIL {result.name} ({result.clause})\n", "bold red"),
        "".join(_labelled(*line) for line in lines),
        "  to see it again:\n",
        (reproduction(report.backend, result.name, result.failure.case) + "\n", "cyan"),
    )


def _labelled(label: str, text: str) -> str:
    """A label and its text, whose further lines begin where the first one does."""
    return textwrap.indent(f"{label:<9} {text}".replace("\n", f"\n{'':10}"), "  ") + "\n"


def diagnosis(report: Report) -> Text:
    """The known mistakes that explain the failures, and the checks that each explains."""
    text = Text()
    for found in report.diagnoses:
        text.append(f"It {found.lines[0]}\n", style="bold red")
        for line in found.lines[1:]:
            text.append(f"  {line}\n")
        text.append(f"  in {', '.join(found.checks)}\n")
    return text


def coverage(report: Report) -> Text:
    """How much of the spec was judged, by field and value, and why the rest was not."""
    if not report.tried:
        return Text("covered: nothing, so there is nothing that it conforms to", style="yellow")
    count = sum(len(v) for v in VALUES.values())
    missing = [
        f"{name}={value}" + (f" ({why})" if why else "")
        for name, values in report.not_covered.items()
        for value, why in values.items()
    ]
    text = f"covered: {count - len(missing)} of {count} values of the spec's fields"
    if not missing:
        text = f"covered: all {count} values of the spec's fields"
    tried = [
        f"{dtype} (sums in {report.sums[dtype]})" if dtype in report.sums else dtype
        for dtype in sorted(report.covered.get("dtype", ()))
    ]
    text += f"; dtypes {', '.join(tried or ['none'])}"
    if missing:
        text += "\nnot covered: " + "\n             ".join(missing)
    return Text(text)


def show(verdict: Verdict, console: Console) -> None:
    """Print all of a verdict."""
    report = verdict.report
    console.print(table(verdict, console.width))
    meanings = Table.grid(padding=(0, 2, 0, 0))
    for name in _shown(console.width):
        meanings.add_row(name, COLUMNS[name], style="dim")
    console.print(meanings)
    if report.diagnoses:
        console.print(diagnosis(report))
    first = {name: found.checks[0] for found in report.diagnoses for name in found.checks}
    for result in report.results:
        if result in verdict.failed and first.get(result.name, result.name) != result.name:
            said = f"FAIL {result.name} ({result.clause}), as {first[result.name]}"
            console.print(Text(said, style="bold red"))
        elif result in verdict.failed:
            # the terminal's width must neither cut nor wrap lines to paste
            console.print(failure(report, result), soft_wrap=True)
        elif result.not_run:
            console.print(Text(f"not run: {result.name}: {result.not_run}", style="yellow"))
    for status in verdict.known:
        console.print(Text(str(status), style="yellow"), soft_wrap=True)
    console.print(coverage(report))
    style = "bold green" if verdict.conforms else "bold red"
    console.print(Text(f"{verdict.line} ({report.seconds:.0f} s)", style=style))
