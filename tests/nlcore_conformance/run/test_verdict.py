"""A verdict: what counts as failed, its one line, and that it survives JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from verdicts import MISSHAPEN, NOT_RUN, PASS, RAISED, WRONG, known, verdict

from nlcore_conformance.checks.comparison import Judgement
from nlcore_conformance.document import dumps
from nlcore_conformance.run.results import Report
from nlcore_conformance.run.verdict import (
    Verdict,
    described,
    from_json,
    precision,
    read,
    write,
)


def test_results_of_every_kind():
    v = verdict()
    results = (PASS, WRONG, RAISED, MISSHAPEN, NOT_RUN)
    assert [v.of(r) for r in results] == ["pass", "FAIL", "known", "FAIL", "not run"]
    assert v.failed == [WRONG, MISSHAPEN]
    assert v.exit_status == 1
    assert v.line == "mylib.block:backend does not conform: 2 of 5 checks fail"


@pytest.mark.parametrize(
    "v, status, line",
    [
        (verdict(PASS, RAISED), 0, "conforms to what it supports, 1 known failure apart"),
        (verdict(PASS, RAISED, entries=[]), 1, "does not conform: 1 of 2 checks fail"),
        (verdict(NOT_RUN), 1, "does not conform: nothing was tried"),
        (
            Verdict(Report("x", "quick", 0), cannot_run="needs y"),
            2,
            "could not be run: needs y",
        ),
    ],
)
def test_exit_status_and_line(v, status, line):
    assert v.exit_status == status
    assert v.line == f"{v.report.backend} {line}"


def test_everything_covered_conforms_without_more_words():
    v = verdict(PASS, entries=[])
    v.report.not_covered = {}
    assert v.line == "mylib.block:backend conforms"


def test_two_known_failures_are_counted():
    both = [known(r.name) for r in (RAISED, WRONG)]
    assert verdict(PASS, RAISED, WRONG, entries=both).line.endswith("2 known failures apart")


def test_json_and_back():
    v = verdict(PASS, WRONG, RAISED, NOT_RUN)
    text = dumps(v.to_json())
    again = from_json(json.loads(text))
    assert again == v
    assert isinstance(again.report.results[1].failure.judgement.index, tuple)
    assert again.known[0].entry.expires == v.known[0].entry.expires


def test_json_has_no_numbers_that_are_none():
    fields = json.loads(dumps(verdict().to_json()), parse_constant=pytest.fail)
    judgement = fields["results"][3]["failure"]["judgement"]
    assert (judgement["ratio"], judgement["bound"]) == ("inf", "nan")
    assert fields["results"][1]["verdict"] == "FAIL"
    assert repr(from_json(fields).report) == repr(verdict().report)


def test_a_failure_is_described():
    lines = dict(described(WRONG.failure))
    assert lines["spec"].startswith("NonLocalSpec(channels=2")
    assert "shape (1, 2, 3), float32, data normal" in lines["x"]
    assert lines["expected"] == "dx[0, 1, 2] = 1.0"
    assert lines["received"] == "dx[0, 1, 2] = 1.5"
    assert lines["bound"] == "0.04; error / bound = 12.5"
    assert lines["stage"] == "first difference in: pooling"
    assert "stage" not in dict(described(replace(WRONG.failure, stage="")))
    assert "RuntimeError" in dict(described(RAISED.failure))["backend"]
    assert dict(described(MISSHAPEN.failure))["z"] == "expected dtype float32"


def test_verdicts_are_written_and_read(tmp_path):
    write(tmp_path / "out.json", [verdict(), verdict()])
    assert repr(read(tmp_path / "out.json")) == repr([verdict(), verdict()])


@pytest.mark.parametrize(
    "dtype, relative, ratio, name",
    [
        ("float64", 1e-7, 1e7, "float32"),
        ("float64", 4e-4, 1e11, "float16 or TF32"),
        ("float32", 4e-4, 500.0, "float16 or TF32"),
        ("float32", 0.3, 500.0, ""),  # too large for it
        ("float32", 1e-6, 1.5, ""),  # float32's own
        ("bfloat16", 0.01, 3.0, ""),
    ],
)
def test_an_error_of_the_size_of_a_less_precise_format_is_said(dtype, relative, ratio, name):
    judgement = Judgement("z", ratio, (0,), 1.0, 1.0 + relative, relative / ratio, 1, 0)
    said = precision(judgement, dtype)
    assert said == (f"the error is as large as rounding to {name} makes it" if name else "")
