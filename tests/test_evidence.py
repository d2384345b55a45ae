"""Evidence in docs/ was made with the present specification, bounds and checks."""

import json
from pathlib import Path

import pytest

from nlcore_conformance.backend.variants import honest
from nlcore_conformance.evidence import stamp
from nlcore_conformance.mutants import mutants

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize(
    "file", ["self_test.json", "mutation.md", "verdicts.md", "false_alarms.md"]
)
def test_evidence_is_of_the_present_checks(file):
    """After a change of the specification, the bounds or the checks it has to be made again."""
    assert stamp() in (DOCS / file).read_text(encoding="utf-8")


def test_the_self_test_has_every_implementation():
    rows = json.loads((DOCS / "self_test.json").read_text(encoding="utf-8"))["rows"]
    assert [row["name"] for row in rows] == [i.name for i in (*mutants(), *honest())]
