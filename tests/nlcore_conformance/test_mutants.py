"""The zoo covers the specification, and the self-test tells wrong from right."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from nlcore import NonLocalSpec
from nlcore.spec import PAIRWISE
from nlcore_conformance.checks.catalogue import FORM, checks
from nlcore_conformance.mutants import Mutant, Variant, gradients, honest, mutants
from nlcore_conformance.mutants.rounding import tf32
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.problems.case import Case, arrays
from nlcore_conformance.selftest import self_test, table
from nlcore_conformance.checks.stages import STAGES

SPEC = Path(__file__).parents[2] / "docs" / "spec.md"

#: A mutant that gets the field wrong.
BY_FIELD = {
    "channels": "first 64 channels",
    "inner_channels": "D is C // 2",
    "ndim": "no pooling in 1-D",
    "pairwise": "2^t for e^t",
    "normalization": "normalization follows f",
    "scale": "no scale",
    "subsample": "windows of 2",
    "subsample_at": "pooling before phi and g",
    "extent": "extent space ignored",
    "window": "window ignored",
    "bias": "theta without bias",
    "pair_bias": "no pair bias",
    "batch_norm": "BN without weight",
    "eps": "eps 1e-5",
}
#: Of an error that is raised and of a permission no number can be wrong.
NOT_BROKEN = {"NL-10.2", "NL-11.3", "NL-12.1", "NL-12.4"}


def _clauses() -> set[str]:
    return set(re.findall(r"\*\*(NL-\d+\.\d+)\*\*", SPEC.read_text()))


def test_names_are_unique_and_each_has_a_rule_a_clause_and_a_stage():
    zoo = mutants()
    assert len(zoo) >= 90
    assert len({m.name for m in zoo}) == len(zoo) == len({(m.name, m.rule) for m in zoo})
    assert {m.clause for m in zoo} <= _clauses()
    assert {m.stage for m in zoo} == {*STAGES, ""}
    for mutant in zoo:
        made = mutant.make()
        assert made.name == mutant.name and made.dtypes
        assert 10 < len(mutant.rule) < 120 and mutant.rule.endswith("."), mutant.name


def test_every_field_and_every_clause_is_broken():
    assert set(BY_FIELD) == {f.name for f in fields(NonLocalSpec) if f.init}
    assert set(BY_FIELD.values()) <= {m.name for m in mutants()}
    assert _clauses() - {m.clause for m in mutants()} == NOT_BROKEN
    assert {f"NL-{n}" for n in range(1, 13)} == {m.clause.split(".")[0] for m in mutants()}


@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_wrong_gradients_come_with_a_right_forward_direction(pairwise):
    spec = NonLocalSpec(6, 5, pairwise=pairwise, subsample=(1, 2, 2), bias=True)
    case = Case(spec, 2, (2, 4, 5), "float32", seed=1, training=True)
    weights, x, dz = arrays(case)
    plain = Plain()
    right = plain.block(spec, weights, x, True)
    dx, _ = plain.block_vjp(spec, weights, x, dz, True)
    for mutant in gradients.ZOO:
        np.testing.assert_array_equal(mutant.make().block(spec, weights, x, True), right)
    wrong = next(m for m in gradients.ZOO if m.name == "dx without residual")
    assert np.abs(wrong.make().block_vjp(spec, weights, x, dz, True)[0] - dx).max() > 0.1


def test_tf32_keeps_ten_bits_and_rounds_half_to_even():
    unit = np.float32(2.0**-10)
    given = np.array([1, 1 + unit, 1 + unit / 2, 1 + 1.5 * unit, 1 + 0.75 * unit, -3, np.inf])
    kept = np.array([1, 1 + unit, 1, 1 + 2 * unit, 1 + unit, -3, np.inf])
    np.testing.assert_array_equal(tf32(given.astype(np.float32)), kept.astype(np.float32))


def test_quick_rejects_every_mutant_and_accepts_what_is_right():
    result = self_test("quick", seed=0)
    assert [row.name for row in result.rows if not row.ok] == []
    assert result.ok
    assert [row.name for row in result.rows] == [
        *(m.name for m in mutants()),
        *(v.name for v in honest()),
    ]
    assert all(row.ratio > 1 for row in result.rows if row.wrong)
    judged = {check.name: (*FORM, *check.judges) for check in checks()}
    for row in result.rows:
        if row.wrong and row.clause not in judged[row.check]:
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
    assert (survivor.check, survivor.tried) == ("", accepted.tried) and survivor.tried > 10
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
