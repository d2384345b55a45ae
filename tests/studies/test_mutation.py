"""conformance/studies/mutation.py: the mutants of a package of a few lines, judged and listed."""

from __future__ import annotations

import importlib
import json
import sys
from collections import deque
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nlcore_conformance.checks.catalogue import named_check
from nlcore_conformance.evidence import stamp

pytest.importorskip("coverage", reason="it measures which statements are executed")
pytest.importorskip("grimp", reason="it reads the imports")

STUDIES = Path(__file__).parents[2] / "conformance" / "studies"
BACKEND = """
import nlcore
from tiny.numbers import kept


class Backend:
    name = "tiny"
    dtypes = ("float64",)

    def supports(self, spec, dtype):
        return spec.ndim == 1 or "ndim must be 1"

    def block(self, spec, weights, x, training=False):
        return kept(nlcore.block(spec, weights, x, training))


backend = Backend()
"""
NUMBERS = '''"""Numbers."""


def kept(z):
    """z."""
    return z * 1


def unused(z):
    return z + 1
'''


@pytest.fixture(scope="module")
def study():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(STUDIES)
        yield importlib.import_module("mutation")


@pytest.fixture(scope="module")
def tiny(study, tmp_path_factory):
    """A package whose only backend is right, and the three checks that are asked of it."""
    folder = tmp_path_factory.mktemp("packages")
    for name, text in {"__init__": "", "backend": BACKEND, "numbers": NUMBERS}.items():
        file = folder / "tiny" / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    names = ("identity at insertion", "repeatable", "batch independence")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setattr("source_mutants.trials.CHECKS", tuple(map(named_check, names)))
        yield folder
        for name in [name for name in sys.modules if name.partition(".")[0] == "tiny"]:
            del sys.modules[name]


def command(study, *arguments):
    return CliRunner().invoke(study.app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def results(study, tiny):
    file = tiny / "results.json"
    done = command(
        study, "run", "tiny.backend:backend", "--package", "tiny", "--json", file, "--jobs", 2
    )
    assert done.exit_code == 0, done.output
    return file


def changes(results, verdict):
    rows = json.loads(results.read_text())["mutants"]
    return {row["after"]: row["by"] for row in rows if row["verdict"] == verdict}


def test_what_computes_the_same_survives_and_what_does_not_is_rejected(results):
    survived = changes(results, "survived")
    assert {"return z / 1", "return (z)"} <= set(survived)
    rejected = changes(results, "rejected")
    assert rejected["return z * 2"] == rejected["return z * 0"] == "identity at insertion"
    assert "return (1)" in rejected
    assert rejected["dtypes = ('float64?',)"] == "import"


def test_what_is_not_executed_is_listed_and_not_changed(results):
    found = json.loads(results.read_text())
    files = {file["file"]: file for file in found["files"]}
    assert files["tiny/backend.py"]["missing"] == []
    (missing,) = files["tiny/numbers.py"]["missing"]
    assert missing == {"line": 10, "within": "unused", "text": "return z + 1"}
    assert all(row["before"] != "return z + 1" for row in found["mutants"])
    assert found["possible"]["not executed"] > 0
    assert found["stamp"] == stamp()


def test_a_run_continues_where_it_ended(study, results):
    found = json.loads(results.read_text())
    marked = next(row for row in found["mutants"] if row["verdict"] == "rejected")
    lost = next(row for row in found["mutants"] if row["verdict"] == "survived")
    marked["note"] = "of an earlier run"
    del lost["verdict"]
    results.write_text(json.dumps(found))
    command(study, "run", "tiny.backend:backend", "--package", "tiny", "--json", results)
    rows = json.loads(results.read_text())["mutants"]
    assert [row["after"] for row in rows if row["note"] == "of an earlier run"] == [marked["after"]]
    assert lost["after"] in changes(results, "survived")


@pytest.mark.parametrize(
    "text, by",
    [
        ("def kept(z):\n    while True:\n        pass\n", "time"),
        ("def kept(z):\n    import os\n    os._exit(3)\n", "end"),
        ("import numpy\ndef kept(z):\n    numpy.ones(2**40)\n", "identity at insertion"),
        ("import nothing\n", "import"),
    ],
)
def test_a_mutant_that_does_not_answer_is_rejected(study, tiny, text, by):
    from nlcore import NonLocalSpec
    from nlcore_conformance.problems.case import Case
    from source_mutants.judging import Changed, Job, judge_all
    from source_mutants.trials import Trial

    case = Case(NonLocalSpec(2, ndim=1), 1, (3,), "float64")
    trial = Trial("tiny.backend:backend", named_check("identity at insertion"), case)
    changed = Changed("tiny.numbers", str(tiny / "tiny" / "numbers.py"), text)
    limit = 3.0 if by == "time" else 300.0
    waiting = deque([("it", Job([changed], [trial], limit))])
    ((key, outcome),) = judge_all(waiting, "tiny", 1)
    assert (key, outcome.verdict, outcome.by) == ("it", "rejected", by)


def test_mutants_of_one_program_have_the_verdicts_that_they_have_alone(
    study, tiny, results, tmp_path, monkeypatch
):
    """Without the trials of each alone, all of them are judged in a few programs."""
    monkeypatch.setattr("source_mutants.together.ALONE", 0.0)
    file = tmp_path / "together.json"
    command(study, "run", "tiny.backend:backend", "--package", "tiny", "--json", file)
    for verdict in ("survived", "rejected"):
        assert set(changes(file, verdict)) == set(changes(results, verdict)) != set()


def test_mutants_of_one_program_do_not_overlap(study):
    from source_mutants.edits import edits
    from source_mutants.mutant import Module, Mutant, changed
    from source_mutants.source import Source
    from source_mutants.together import TOGETHER, groups

    module = Module("tiny.numbers", "numbers.py", Source(NUMBERS + BACKEND))
    mutants = [Mutant(module, edit) for edit in edits(module.source)]
    mutants = [mutant for mutant in mutants if module.source.compiles(mutant.edit)]
    found = groups(range(len(mutants)), mutants)
    assert sorted(n for group in found for n in group) == list(range(len(mutants)))
    assert 1 < max(map(len, found)) <= TOGETHER
    for group in found:
        (change,) = changed([mutants[n] for n in group])
        for n in group:  # each edit is there
            assert mutants[n].to_json()["after"] in " ".join(change.text.split())


def test_the_page_tells_the_reasons_and_what_has_none(study, results, tmp_path, monkeypatch):
    file = {"file": "tiny/numbers.py", "before": "return z * 1"}
    same = {**file, "after": "return z / 1", "reason": "1 divides exactly."}
    reasons = {"survivor": [same], "not_executed": []}
    monkeypatch.setattr(study.page_writer, "read_reasons", lambda: reasons)
    output = tmp_path / "page.md"
    done = command(study, "page", results, "--output", output)
    assert done.exit_code == 1
    assert "tiny/numbers.py:6: return z * 1  ->  return (z)" in done.output
    assert "tiny/numbers.py:10: return z + 1" in done.output
    text = output.read_text()
    assert "1 divides exactly.\n\n```\n   6 - return z * 1\n     + return z / 1\n" in text
    assert f"{stamp()}, by" in text
    reasons["survivor"].append({**file, "reason": "The same."})
    reasons["survivor"].append(
        {"file": "tiny/backend.py", "before": 'name = "tiny"', "reason": "A"}
    )
    used = {"files": ["tiny/numbers.py"], "within": ["unused"], "reason": "Nobody calls it."}
    reasons["not_executed"].append(used)
    command(study, "page", results, "--output", output)
    assert "| Nobody calls it. | 1 | `unused` |" in output.read_text()


EDITED = '''
def f(é, b):
    """Text."""
    if é < b and not b:
        b = b.sum(1, keepdim=True)
    return é - b[1:].mT
'''


def test_each_edit_changes_one_thing(study):
    from source_mutants.edits import edits
    from source_mutants.source import Source

    source = Source(EDITED)
    every = [edit for edit in edits(source) if source.compiles(edit)]
    found = {(edit.kind, source.shown(edit)[1]) for edit in every}
    assert found >= {
        ("comparison", "if é <= b and not b:"),
        ("condition", "if not (é < b and not b):"),
        ("condition", "if False:"),
        ("operator", "if é < b or not b:"),
        ("operator", "if é < b and b:"),
        ("term", "if ((not b)):"),
        ("statement", "pass"),
        ("axis", "b = b.sum(-1, keepdim=True)"),
        ("argument", "b = b.sum(1)"),
        ("call", "b = b"),
        ("constant", "b = b.sum(1, keepdim=False)"),
        ("operator", "return é + b[1:].mT"),
        ("term", "return (b[1:].mT)"),
        ("argument", "return é - b[:].mT"),
        ("axis", "return é - b[1:]"),
    }
    assert all(source.changed(edit).count("\n") == EDITED.count("\n") for edit in every)
    lines = {tuple(edit.lines) for edit in every}
    assert lines == {(4,), (5,), (6,)}


def test_it_has_help(study):
    assert "--package" in command(study, "run", "--help").output
