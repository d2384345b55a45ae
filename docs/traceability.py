"""What enforces each clause of spec.md: the suite's checks, mutants, vectors, and tests.

The table of docs/traceability.md is made of this, and the build fails where it has a hole.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlcore_conformance.checks.catalogue import CHECKS, FORM
from nlcore_conformance.mutants import mutants

ROOT = Path(__file__).parents[1]
CLAUSE = re.compile(r"^- \*\*([A-Z]{2}-\d+\.\d+)\*\* (.*)$", re.MULTILINE)

#: Tests of this project's own implementations, where a black box cannot be asked.
TESTS = {
    "NL-1.1": "tests/nlcore/test_spec.py::test_input_that_does_not_fit",
    "NL-1.3": "tests/nlcore/test_spec.py::test_input_that_does_not_fit",
    "NL-2.4": "tests/nlcore/test_spec.py::test_inner_channels_default_to_half",
    "NL-2.5": "tests/nlcore/test_spec.py::test_value_channels_default_to_inner_channels",
    "NL-3.4": "tests/nlcore/test_spec.py::test_wrong_value",
    "NL-4.3": "tests/nlcore/test_spec.py::test_normalization_default",
    "NL-5.2": "tests/nlcore/test_spec.py::test_input_that_does_not_fit",
    "NL-6.2": "tests/nlcore/test_spec.py::test_wrong_value",
    "NL-6.3": "tests/nlcore/test_spec.py::test_wrong_value",
    "NL-6.4": "tests/nlcore/test_spec.py::test_input_that_does_not_fit",
    "NL-10.2": "tests/nlcore/test_weights.py::test_weights_that_do_not_fit",
}


@dataclass
class Enforced:
    """What enforces one clause."""

    clause: str
    checks: list[str]
    mutants: list[str]
    vectors: list[str]
    tests: list[str]


def clauses(page: str = "spec") -> list[str]:
    """The number of every clause of a page, in its order."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    return [number for number, _ in CLAUSE.findall(text)]


def vectors() -> list[dict[str, Any]]:
    """The test vectors' entries in their manifest."""
    manifest = ROOT / "conformance" / "vectors" / "manifest.json"
    return json.loads(manifest.read_text(encoding="utf-8"))["vectors"]


def traced() -> list[Enforced]:
    """Every clause of the specification, in its order."""
    found = {clause: Enforced(clause, [], [], [], []) for clause in clauses()}
    for check in CHECKS:
        for clause in dict.fromkeys((*FORM, *check.clauses)):
            found[clause].checks.append(check.name)
    for mutant in mutants():
        found[mutant.clause].mutants.append(mutant.name)
    for vector in vectors():
        for clause in vector["clauses"]:
            found[clause].vectors.append(vector["name"])
    for clause, test in TESTS.items():
        found[clause].tests.append(test)
    return list(found.values())


def holes(rows: Iterable[Enforced]) -> list[str]:
    """Clauses that nothing enforces, checks without a clause, and tests that are not there."""
    out = [f"{r.clause} has no check and no test" for r in rows if not (r.checks or r.tests)]
    sections = {clause.split(".")[0] for clause in clauses()}
    for check in CHECKS:
        if not check.clauses:
            out.append(f"the check {check.name!r} judges no clause")
        if check.clause not in clauses() and check.clause not in sections:
            out.append(f"the check {check.name!r} is for {check.clause}, which is not there")
    for clause, test in TESTS.items():
        path, name = test.split("::")
        source = ROOT / path
        if not source.exists() or f"def {name}(" not in source.read_text(encoding="utf-8"):
            out.append(f"{clause} names a test that is not there: {test}")
    return out


def families(names: list[str]) -> str:
    """Names of checks in a few words: a family's name once, and "all" where none is missing."""
    every: dict[str, list[str]] = {}
    for check in CHECKS:
        every.setdefault(check.name.split(" / ")[0], []).append(check.name)
    if set(names) == {name for members in every.values() for name in members}:
        return "all"
    out = []
    for family, members in every.items():
        named = [name for name in members if name in names]
        kinds, left = (
            [name.removeprefix(f"{family} / ") for name in members if (name in named) == is_named]
            for is_named in (True, False)
        )
        if not named or named == [family]:
            out += named
        elif len(left) < 2:
            out.append(f"{family} / all" + "".join(f" but {kind}" for kind in left))
        else:
            out.append(f"{family} / {', '.join(kinds)}")
    return "; ".join(out)


def tests_of(page: str, folder: str) -> dict[str, list[str]]:
    """Clause -> the tests below a folder whose docstrings begin with its number.

    Raises
    ------
    ValueError
        A clause of the page has no test, or a test names a clause that is not there.
    """
    found: dict[str, list[str]] = {clause: [] for clause in clauses(page)}
    for path in sorted((ROOT / folder).rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                named = re.match(r"([A-Z]{2}-\d+\.\d+[ :]*)*", ast.get_docstring(node) or "")
                for clause in re.findall(r"[A-Z]{2}-\d+\.\d+", named[0] if named else ""):
                    if clause not in found:
                        raise ValueError(
                            f"{path.name}: {node.name} names {clause}, not in {page}.md"
                        )
                    found[clause].append(f"{path.stem}::{node.name}")
    untested = [clause for clause, tests in found.items() if not tests]
    if untested:
        raise ValueError(f"expected a test of every clause of {page}.md; {untested} have none")
    return found
