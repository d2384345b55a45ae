"""The problems of the vectors show every clause of the specification that a file can show."""

from __future__ import annotations

import re

import ml_dtypes  # noqa: F401  # names "bfloat16"
from committed import ENTRIES, NOT_SHOWN, ROOT

import nlcore
from nlcore import NonLocalSpec


def test_every_clause_is_shown_or_says_why_not():
    text = (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")
    clauses = set(re.findall(r"\*\*(NL-\d+\.\d+)\*\*", text))
    shown = {clause for entry in ENTRIES.values() for clause in entry["clauses"]}
    assert len(clauses) > 40
    assert shown | set(NOT_SHOWN) == clauses
    assert not shown & set(NOT_SHOWN)


def test_every_pairwise_function_normalization_extent_and_place_is_there():
    specs = [NonLocalSpec(**entry["spec"]) for entry in ENTRIES.values()]
    pairs = {(spec.pairwise, spec.normalization) for spec in specs}
    assert len(pairs) == 8
    assert {(s.pairwise, s.subsample_at) for s in specs if s.subsample} == {
        (pairwise, at) for pairwise in nlcore.spec.PAIRWISE for at in nlcore.spec.SUBSAMPLE_AT
    }
    assert {spec.extent for spec in specs} == set(nlcore.spec.EXTENTS)
    assert {spec.ndim for spec in specs} == {1, 2, 3}
