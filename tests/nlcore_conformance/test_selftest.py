"""The self-test rejects every mutant, and tells wrong from right."""

from __future__ import annotations

import pytest
from rich.console import Console

from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.backend.variants import Variant, honest
from nlcore_conformance.checks.catalogue import CHECKS, FORM
from nlcore_conformance.mutants import Mutant, mutants
from nlcore_conformance.selftest import self_test, table


def test_quick_rejects_every_mutant_and_accepts_what_is_right():
    result = self_test("quick", seed=0)
    assert [row.name for row in result.rows if not row.ok] == []
    assert result.ok
    assert [row.name for row in result.rows] == [
        *(m.name for m in mutants()),
        *(v.name for v in honest()),
    ]
    assert all(row.ratio > 1 for row in result.rows if row.wrong)
    judged = {check.name: (*FORM, *check.clauses) for check in CHECKS}
    for row in result.rows:
        by_condition = row.name.startswith("wrong where")  # any check may meet the condition
        if row.wrong and not by_condition and row.clause not in judged[row.check]:
            # a scale that is wrong is so for several pairwise functions
            assert row.clause.startswith("NL-3."), (row.name, row.clause, row.check)
            assert any(clause.startswith("NL-3.") for clause in judged[row.check])
    assert all(0 <= row.ratio <= 1 and row.case for row in result.rows if not row.wrong)


@pytest.mark.parametrize("seed", [1, 4])
@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("ReLU'(0) = 1", "gradient / concatenation"),
        ("ReLU'(0) = 1/2", "gradient / concatenation"),
        ("float16 softmax sum", "forward / embedded_gaussian"),
        ("variance in one pass", "forward / batch statistics"),
    ],
)
def test_named_problems_reject_under_every_seed_what_random_search_rarely_does(name, check, seed):
    mutant = next(m for m in mutants() if m.name == name)
    result = self_test("quick", seed, zoo=(mutant,), right=(), only=lambda c: c.name == check)
    assert result.rows[0].check == check and result.rows[0].ratio > 1


def _forward_only(check) -> bool:
    return check.name == "forward / gaussian"


class _Other(Plain):
    """Adds x twice."""

    def residual(self, call, v, x):
        return v + x + x


def test_a_mutant_that_is_right_fails_the_self_test():
    same = Mutant("none", "Nothing is wrong.", "NL-7.1", Plain)
    other = Mutant("x twice", "x is added twice.", "NL-7.1", _Other, "residual")
    heard: list[tuple[str, int, int]] = []
    result = self_test(
        "quick",
        1,
        progress=lambda *said: heard.append(said),
        zoo=(same, other),
        right=(Variant("plain", "as it is", Plain()),),
        only=_forward_only,
    )
    survivor, rejected, accepted = result.rows
    assert not result.ok
    assert [row.ok for row in result.rows] == [False, True, True]
    assert survivor.check == "" and survivor.tried >= accepted.tried > 10
    assert rejected.check == "forward / gaussian" and rejected.ratio > 1 and rejected.case
    assert heard[-1][1] == heard[-1][2] == len(heard)
    console = Console(width=120)
    with console.capture() as text:
        console.print(table(result))
    lines = {line.split("│")[1].strip(): line for line in text.get().splitlines() if "│" in line}
    assert "accepted" in lines["none"] and "rejected" in lines["x twice"]
    assert "NL-7.1" in lines["x twice"] and "forward / gaussian" in lines["x twice"]


def test_a_right_implementation_that_is_wrong_fails_the_self_test():
    result = self_test(
        "quick", 0, zoo=(), right=(Variant("x twice", "", _Other()),), only=_forward_only
    )
    assert not result.ok and result.rows[0].check == "forward / gaussian"


def test_what_was_never_tried_is_not_accepted():
    result = self_test(
        "quick", 0, zoo=(), right=(Variant("nothing", "", Plain(())),), only=_forward_only
    )
    assert not result.ok and result.rows[0].tried == 0
