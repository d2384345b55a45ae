"""conformance/studies/false_alarms.py: its tallies of right and wrong backends, and the page."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from nlcore_conformance.backend.plain import Plain
from nlcore_conformance.checks.catalogue import named_check
from nlcore_conformance.evidence import stamp
from nlcore_conformance.problems.case import Case

SCRIPT = Path(__file__).parents[2] / "conformance" / "studies" / "false_alarms.py"


class Twice(Plain):
    """Adds x twice."""

    def residual(self, call, v, x):
        return v + x + x


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("false_alarms_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # which its dataclasses look up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tallies(script):
    effort = script.Effort(examples=120, numbers=2, named=1, seed=0, sizes=script.SIZES)
    checks = [named_check("permutation"), named_check("gradient / outside the extent")]
    backends = {"plain": Plain(), "lib:twice": Twice()}
    every = list(script.judge_all(backends, "float32", checks, effort))
    assert [check for check, _, _ in every] == checks
    assert all(count > 0 for _, count, _ in every)
    return every[-1][-1]


def test_a_right_backend_has_no_alarm_and_every_example_is_counted(tallies):
    plain = tallies["plain"]
    assert plain.alarms == []
    assert plain.examples == tallies["lib:twice"].examples > 12
    assert set(plain.worst) == {"permutation", "gradient / outside the extent"}
    assert 0 < plain.largest <= 1 and plain.elements > plain.unpredictable


def test_an_alarm_is_a_line_to_paste(script, tallies):
    effort = script.Effort(examples=6, numbers=1, named=0, seed=1, sizes=script.SIZES)
    check = named_check("identity at insertion")
    ((_, _, found),) = script.judge_all({"lib:twice": Twice()}, "float32", [check], effort)
    alarm = found["lib:twice"].alarms[0]
    fields = json.loads(alarm.removeprefix("nlcore-conformance replay '").removesuffix("'"))
    assert (fields["backend"], fields["check"]) == ("lib:twice", check.name)
    assert Case.from_json(fields["case"]).dtype == "float32"
    assert found["lib:twice"].largest > 1


def test_each_draw_comes_with_several_numbers(script):
    effort = script.Effort(examples=0, numbers=3, named=0, seed=0, sizes=script.SIZES)
    found = list(script.examples(named_check("rescaling"), Plain(), "float32", 12, effort))
    assert len(found) % 3 == 0 and len(found) >= 12
    for first, *others in zip(*[iter(found)] * 3, strict=True):
        for other in others:
            plain = replace(other, data=first.data, layout=first.layout, seed=first.seed)
            assert plain == first and other.seed != first.seed


def test_runs_are_merged_on_one_page(script, tallies, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(sys, "argv", ["false_alarms.py", "--backend", "plain"])
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file in files:
        script.write(file, {"plain": {"float32": tallies["plain"]}})
    script.write_page(files)
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    command = "python conformance/studies/false_alarms.py --backend plain\n"
    assert text.count(command) == 2
    assert f"Made with {stamp()}, by" in text
    assert f"| plain | float32 | {2 * tallies['plain'].examples:,} |" in text
    assert "| permutation | z " in text


def test_it_has_help():
    done = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--page" in done.stdout


def test_files_of_other_checks_make_no_page(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "PAGE", tmp_path / "page.md")
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file in files:
        script.write(file, {})
    old = json.loads(files[0].read_text()) | {"stamp": "specification 0.9"}
    files[0].write_text(json.dumps(old))
    with pytest.raises(typer.BadParameter, match=r"different evidence: specification 0\.9, "):
        script.write_page(files)
    assert not (tmp_path / "page.md").exists()
