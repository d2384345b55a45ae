"""Mutants cover the specification, and each is wrong where it says."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from nlcore import NonLocalSpec
from nlcore.spec import PAIRWISE
from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.checks.stages import STAGES
from nlcore_conformance.mutants import mutants
from nlcore_conformance.mutants.gradients import of_operation, of_stages, of_weights
from nlcore_conformance.problems.case import Case, arrays

SPEC = Path(__file__).parents[3] / "docs" / "spec.md"


#: A mutant that gets the field wrong.
BY_FIELD = {
    "channels": "first 64 channels",
    "inner_channels": "D is C // 2",
    "value_channels": "g of D channels",
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
    assert len({m.name for m in zoo}) == len(zoo) == len({(m.name, m.mistake) for m in zoo})
    assert {m.clause for m in zoo} <= _clauses()
    assert {m.stage for m in zoo} == {*STAGES, ""}
    for mutant in zoo:
        made = mutant.make()
        assert made.name == mutant.name and made.dtypes
        assert 10 < len(mutant.mistake) < 120 and mutant.mistake.endswith("."), mutant.name


def test_every_field_and_every_clause_is_broken():
    assert set(BY_FIELD) == {f.name for f in fields(NonLocalSpec) if f.init}
    assert set(BY_FIELD.values()) <= {m.name for m in mutants()}
    assert _clauses() - {m.clause for m in mutants()} == NOT_BROKEN
    assert {f"NL-{n}" for n in range(1, 13)} == {m.clause.split(".")[0] for m in mutants()}


@pytest.mark.parametrize("bias", [True, "embeddings"])
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_wrong_gradients_come_with_a_right_forward_direction(pairwise, bias):
    biases = {"bias": bias, "pair_bias": False}
    spec = NonLocalSpec(6, 5, value_channels=7, pairwise=pairwise, subsample=(1, 2, 2), **biases)
    case = Case(spec, 2, (2, 4, 5), "float32", seed=1, training=True)
    weights, x, dz = arrays(case)
    plain = Plain()
    right = plain.block(spec, weights, x, True)
    dx, _ = plain.block_vjp(spec, weights, x, dz, True)
    for mutant in (*of_operation.ZOO, *of_weights.ZOO, *of_stages.ZOO):
        np.testing.assert_array_equal(mutant.make().block(spec, weights, x, True), right)
    wrong = next(m for m in of_weights.ZOO if m.name == "dx without residual")
    assert np.abs(wrong.make().block_vjp(spec, weights, x, dz, True)[0] - dx).max() > 0.1
