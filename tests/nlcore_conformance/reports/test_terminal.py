"""What is printed: every figure has its explanation, and nothing is cut at 80 columns."""

from __future__ import annotations

from rich.console import Console
from verdicts import NOT_RUN, PASS, RAISED, WRONG, verdict

from nlcore_conformance.reports.terminal import COLUMNS, coverage, show
from nlcore_conformance.run.coverage import VALUES


def printed(v, width: int = 80) -> str:
    console = Console(width=width)
    with console.capture() as text:
        show(v, console)
    return text.get()


def test_a_row_has_the_figures():
    row = next(n for n in printed(verdict()).splitlines() if PASS.name in n)
    assert row.split() == [
        "forward",
        "/",
        "gaussian",
        "NL-3",
        "36",
        "10.0%",
        "5.0%",
        "0.25",
        "pass",
    ]


def test_every_figure_is_explained():
    text = printed(verdict())
    for name in COLUMNS:
        assert any(line.startswith(f"{name}  ") for line in text.splitlines())


def test_nothing_is_cut_at_80_columns():
    text = printed(verdict())
    assert "…" not in text
    for result in verdict().report.results:
        assert f" {result.name} " in text


def test_a_narrow_terminal_shows_names_and_verdicts_whole():
    text = printed(verdict(), 40)
    assert "…" not in text and "..." not in text
    words = " ".join(text.split())
    for result in verdict().report.results:
        assert result.name.split(" / ")[0] in words
    assert "worst ratio" in words and "vacuous" not in words


def test_failures_known_failures_and_what_was_not_run():
    text = printed(verdict(), 200)
    assert "FAIL gradient / gaussian (NL-9)" in text
    assert "  stage     first difference in: pooling\n" in text
    assert "FAIL gradient / concatenation" not in text
    assert "known failure until 2027-01-01: gradient / concatenation: the reason (https" in text
    assert "not run: gradient / batch statistics: no block_vjp" in text
    assert "pairwise=concatenation (not <supported>)" in text
    assert text.endswith("mylib.block:backend does not conform: 2 of 5 checks fail (61 s)\n")


def test_an_error_is_printed_as_it_is():
    assert "<in place> & [bold]more" in printed(verdict(PASS, WRONG, RAISED, entries=[]))


def test_nothing_is_covered_only_where_nothing_was_tried():
    nothing = "covered: nothing, so there is nothing that it conforms to"
    assert str(coverage(verdict(NOT_RUN).report)) == nothing
    report = verdict(RAISED).report
    report.covered = {}  # where no element of it has a bound
    count = sum(map(len, VALUES.values()))
    expected = f"covered: {count - 2} of {count} values of the spec's fields; dtypes"
    assert str(coverage(report)).startswith(expected)
