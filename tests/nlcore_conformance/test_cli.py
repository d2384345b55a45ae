"""The command line: exit statuses, one line where a backend cannot be run, replay."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from nlcore import NonLocalSpec
from nlcore_conformance import resolve
from nlcore_conformance.cli import app
from nlcore_conformance.reference import Reference
from nlcore_conformance.runner import run
from nlcore_conformance.strategies import Case

CASE = Case(NonLocalSpec(2, ndim=1), 1, (3,), "float32")


def invoke(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_help_names_the_commands_and_the_exit_statuses():
    result = invoke("--help")
    assert result.exit_code == 0
    for word in ("run", "replay", "list", "2:"):
        assert word in result.output


@pytest.mark.parametrize(
    "name, says",
    [
        ("no-such-backend", "unknown backend 'no-such-backend': expected one of"),
        (
            "no_such_module:backend",
            "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("json:no_such_attribute", "has no attribute 'no_such_attribute'"),
        ("json:__name__", "must be an object with block"),
    ],
)
def test_what_cannot_be_run_exits_2_with_one_line(name, says):
    result = invoke("run", name)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_device_that_a_backend_does_not_have_exits_2():
    result = invoke("run", "reference", "--device", "cuda")
    assert result.exit_code == 2
    assert "has no attribute `device`" in result.stderr


def test_replay_judges_a_case_again():
    text = json.dumps(
        {"backend": "reference", "check": "forward / embedded_gaussian", "case": CASE.to_json()}
    )
    result = invoke("replay", text)
    assert result.exit_code == 0, result.output
    assert "ratio" in result.output


def test_replay_of_nonsense_exits_2():
    result = invoke("replay", "{}")
    assert result.exit_code == 2
    assert "CASE must be the JSON of a failure" in result.stderr


def test_a_failure_says_what_came_and_its_line_to_paste_works(tmp_path, monkeypatch):
    (tmp_path / "wrong_block.py").write_text(
        "import nlcore\n"
        "def backend(spec, weights, x, training=False):\n"
        "    return nlcore.block(spec, weights, x, training).astype(x.dtype) * x.dtype.type(1.01)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "60")
    result = invoke("run", "wrong_block:backend")
    assert result.exit_code == 1
    assert "FAIL forward / gaussian (NL-3)" in result.output
    for word in ("spec      NonLocalSpec(", "expected  z[", "received  z[", "error / bound"):
        assert word in result.output
    line = next(n for n in result.output.splitlines() if n.startswith("nlcore-conformance replay"))
    again = invoke("replay", line.split("'")[1])
    assert again.exit_code == 1 and "ratio" in again.output


def test_cases_survive_json():
    case = Case(
        NonLocalSpec(4, subsample=(1, 2, 2), extent="space"), 2, (1, 3, 4), "bfloat16", seed=7
    )
    assert Case.from_json(json.loads(json.dumps(case.to_json()))) == case


def test_all_names_every_installed_backend_once():
    assert resolve.names(["torch", "torch"]) == ["torch"]
    every = resolve.names(["all"])
    assert {"torch", "keras-tensorflow", "keras-jax", "keras-torch", "reference"} <= set(every)
    assert "keras" not in every


def test_a_report_is_json():
    report = run(Reference(), only=lambda c: c.name == "repeatable")
    out = json.loads(json.dumps(report.to_json(), default=str))
    assert out["conforms"] is True
    assert out["results"][0]["verdict"] == "pass"
