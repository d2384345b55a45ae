"""Verdicts as one HTML file without links to others: text, tables, and a picture of the ratios."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import jinja2
import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nlcore_conformance.checks.judging import reproduction
from nlcore_conformance.reports.terminal import COLUMNS, ratio, share
from nlcore_conformance.run.coverage import VALUES
from nlcore_conformance.run.known import ratio_of
from nlcore_conformance.run.results import CheckResult, Report
from nlcore_conformance.run.verdict import Verdict, described

#: How many passing cases are shown, the nearest to failing first.
NEAREST = 5

_COLOURS = {"pass": "#1f5fa8", "FAIL": "#b3261e", "known": "#b26a00"}
#: The picture's range. A ratio outside is drawn at its edge, with its value beside it.
_LEAST, _MOST = 1e-4, 1e3


def write(file: Path, verdicts: list[Verdict]) -> None:
    """Write the page. Raises OSError where the file cannot be written."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "by_output": _by_output,
        "columns": COLUMNS,
        "described": described,
        "nearest": _nearest,
        "picture": _picture,
        "ratio": ratio,
        "reproduction": reproduction,
        "share": share,
        "values": VALUES,
    }
    environment.filters["ratio_of"] = ratio_of
    page = environment.get_template("report.html.jinja").render(verdicts=verdicts)
    file.write_text(page, encoding="utf-8")


def _by_output(report: Report) -> dict[str, list]:
    """The checks that judge several gradients, and the names of these; {} if there is none."""
    several = [r for r in report.results if "dx" in r.by_output and len(r.by_output) > 1]
    names = dict.fromkeys(name for r in several for name in r.by_output)
    return {"checks": several, "outputs": list(names)} if several else {}


def _nearest(report: Report) -> list[CheckResult]:
    """The passing checks whose worst ratio is largest, and above 0."""
    passing = [r for r in report.results if r.verdict == "pass" and r.worst > 0]
    return sorted(passing, key=ratio_of, reverse=True)[:NEAREST]


def _picture(verdict: Verdict) -> str:
    """The picture that `draw` makes, as the address of an SVG; "" if no check was run."""
    count = sum(r.verdict != "not run" for r in verdict.report.results)
    if not count:
        return ""
    with matplotlib.rc_context({"svg.hashsalt": "nlcore", "font.size": 9}):
        figure = Figure(figsize=(9, 1.0 + 0.27 * count), layout="constrained")
        draw(figure.subplots(), verdict)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()


def draw(axes: Axes, verdict: Verdict) -> None:
    """Draw a row for each check that was run: its worst ratio, and that of each of its outputs."""
    results = [r for r in verdict.report.results if r.verdict != "not run"]
    for row, result in enumerate(results):
        if row % 2 == 0:
            axes.axhspan(row - 0.5, row + 0.5, color="#f4f5f7", zorder=0)
        outputs = [_clipped(value) for value in result.by_output.values()]
        axes.plot(outputs, [row] * len(outputs), "|", color="#6b7280", markersize=8, zorder=2)
        style, mark = verdict.of(result), "X" if result.failure else "o"
        at = _clipped(ratio_of(result))
        axes.plot(at, row, mark, color=_COLOURS[style], markersize=7, zorder=3)
        axes.text(
            1.01,
            row,
            _figure(result),
            transform=axes.get_yaxis_transform(),
            va="center",
            color=_COLOURS[style],
            fontsize=8,
        )
    axes.axvline(1, color=_COLOURS["FAIL"], linewidth=1.2, zorder=1)
    axes.set_xscale("log")
    axes.set_xlim(_LEAST / 2, _MOST * 2)
    axes.set_ylim(len(results) - 0.5, -0.5)
    axes.set_yticks(range(len(results)), [r.name for r in results])
    axes.set_xlabel("error / bound; 1 is the most that is granted")
    axes.grid(axis="x", color="#d6d9de", linewidth=0.6)
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _figure(result: CheckResult) -> str:
    """A check's worst ratio, after the name of its output."""
    if result.failure is None:
        worst = max(result.by_output, key=result.by_output.__getitem__, default="")
        return f"{worst} {ratio(result)}"
    judgement = result.failure.judgement
    if judgement is None:
        return "raised"
    return f"{judgement.output}: form" if judgement.note else f"{judgement.output} {ratio(result)}"


def _clipped(value: float) -> float:
    """The value in the picture's range."""
    return min(max(value, _LEAST), _MOST)
