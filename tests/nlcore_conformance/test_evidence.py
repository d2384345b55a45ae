"""The stamp changes with the code that decides verdicts, and with nothing else."""

from __future__ import annotations

import re

import pytest

from nlcore_conformance import evidence

SOURCE = '"""About."""\n\nLIMIT = 1\n\n\ndef judge(x):\n    """Doc."""\n    return x > LIMIT\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "check.py").write_text(SOURCE)
    monkeypatch.setattr(evidence, "JUDGING", (tmp_path,))
    return tmp_path


def test_it_names_the_specification_and_a_hash():
    assert re.fullmatch(
        r"specification \d\.\d, reference, bounds and checks [0-9a-f]{12}", evidence.stamp()
    )
    assert all(any(folder.glob("*.py")) for folder in evidence.JUDGING)


@pytest.mark.parametrize(
    "old, new, same",
    [
        ("LIMIT = 1", "LIMIT = 2", False),
        ("x > LIMIT", "x >= LIMIT", False),
        ('"""About."""', '"""Something\nelse."""', True),
        ("    return", "    # why\n\n    return", True),
    ],
)
def test_only_code_counts(folder, old, new, same):
    before = evidence.stamp()
    (folder / "check.py").write_text(SOURCE.replace(old, new))
    assert (evidence.stamp() == before) is same


def test_a_file_of_another_name_counts(folder):
    before = evidence.stamp()
    (folder / "check.py").rename(folder / "other.py")
    assert evidence.stamp() != before
