"""Known failures: what a file of them must hold, and what a run makes of each."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date, timedelta

import pytest
from verdicts import PASS, RAISED, TODAY, WRONG, known, verdict

from nlcore_conformance.run.known import (
    EXPIRED,
    FIXED,
    KNOWN,
    WORSE,
    KnownError,
    known_failures,
    statuses,
)

CHECKS = [PASS.name, WRONG.name, RAISED.name]
ENTRY = """
[[known]]
check = "gradient / gaussian"
reason = "a reason"
link = "https://example.org/1"
expires = 2027-01-01
worst_ratio = 20.0
"""


def loaded(tmp_path, text: str):
    file = tmp_path / "known.toml"
    file.write_text(text)
    return known_failures(file, CHECKS)


def test_entries_are_read(tmp_path):
    other = ENTRY.replace("20.0", "inf") + 'backend = "torch"'
    first, second = loaded(tmp_path, ENTRY + other)
    assert first == known("gradient / gaussian", reason="a reason", worst_ratio=20.0)
    assert second == replace(first, worst_ratio=math.inf, backend="torch")
    assert first.expires == date(2027, 1, 1)


@pytest.mark.parametrize(
    "text, says",
    [
        ("[[known", "expected a TOML file"),
        ("[known]\na = 1", "expected [[known]] tables only; received ['known']"),
        ("[[failures]]", "expected [[known]] tables only; received ['failures']"),
        (ENTRY.replace("gaussian", "nothing"), "entry 1: check must be one of ['forward / "),
        (ENTRY.replace("reason =", "why ="), "entry 1: expected the fields ['check', 'reason'"),
        (ENTRY.replace('reason = "a reason"', ""), "received ['check', 'link', 'expires'"),
        (ENTRY + 'until = "x"', "and backend if wanted; received"),
        (ENTRY.replace("2027-01-01", '"2027-01-01"'), "expires must be a date like 2027-01-01"),
        (ENTRY.replace("2027-01-01", "2027-01-01T00:00:00"), "expires must be a date"),
        (ENTRY.replace('"a reason"', '" "'), "reason must be text; received ' '"),
        (ENTRY.replace("20.0", "1.0"), "worst_ratio must be a number above 1, or inf"),
        (ENTRY.replace("20.0", "nan"), "worst_ratio must be a number above 1, or inf"),
        (ENTRY.replace("20.0", '"inf"'), "worst_ratio must be a number above 1, or inf"),
        (ENTRY.replace("20.0", "true"), "worst_ratio must be a number above 1, or inf"),
        (ENTRY + ENTRY, "entry 2: expected one entry for 'gradient / gaussian'"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(tmp_path, text, says):
    with pytest.raises(KnownError) as error:
        loaded(tmp_path, text)
    assert says in str(error.value)
    assert "known.toml" in str(error.value)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(KnownError, match=r"nothing\.toml: expected a TOML file"):
        known_failures(tmp_path / "nothing.toml", CHECKS)


@pytest.mark.parametrize(
    "entry, state",
    [
        (known(WRONG.name, worst_ratio=12.5), KNOWN),
        (known(WRONG.name, worst_ratio=12.4), WORSE),
        (known(RAISED.name), KNOWN),
        (known(RAISED.name, worst_ratio=1e300), WORSE),
        (known(PASS.name), FIXED),
        (known(WRONG.name, expires=TODAY), KNOWN),
        (known(WRONG.name, expires=TODAY - timedelta(days=1)), EXPIRED),
    ],
)
def test_states(entry, state):
    v = verdict(PASS, WRONG, RAISED, entries=[entry])
    (status,) = v.known
    assert status.state == state
    assert entry.check in str(status) and entry.reason in str(status) and entry.link in str(status)
    assert (entry.check in [r.name for r in v.failed]) == (state in (WORSE, EXPIRED))


def test_what_no_longer_fails_does_not_fail_the_run():
    assert verdict(PASS, entries=[known(PASS.name)]).exit_status == 0


def test_an_entry_for_the_backend_goes_before_one_for_all():
    strict = known(WRONG.name, worst_ratio=2.0)
    own = known(WRONG.name, backend="mylib.block:backend")
    other = known(WRONG.name, backend="torch")
    for entries in ([strict, own], [own, strict], [own, other]):
        (status,) = verdict(WRONG, entries=entries).known
        assert (status.entry, status.state) == (own, KNOWN)
    assert verdict(WRONG, entries=[other]).known == []


def test_checks_that_were_not_tried_have_no_status():
    report = verdict(PASS).report
    assert statuses([known(WRONG.name)], report, TODAY) == []
