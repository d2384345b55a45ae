"""Runs of several backends: each in a process of its own, whatever becomes of it."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner
from verdicts import verdict

from nlcore_conformance import processes
from nlcore_conformance.backend.resolve import CannotRun
from nlcore_conformance.cli import app
from nlcore_conformance.processes import Request

FULL = Request(
    "full",
    3,
    "cpu",
    ("forward", "identity"),
    ("float32", "float16"),
    5,
    Path("k.toml"),
    Path("folder"),
)


def test_a_request_is_the_same_on_the_command_line(monkeypatch):
    default, seen = Request(), []
    assert all(getattr(FULL, f.name) != getattr(default, f.name) for f in fields(Request))
    monkeypatch.setattr(processes, "possible", lambda request: [])
    monkeypatch.setattr(
        processes, "judge", lambda names, request: seen.append(request) or [verdict()]
    )
    for request in (FULL, default):
        CliRunner().invoke(app, ["run", "reference", *request.arguments()])
    assert seen == [FULL, default]


def test_no_check_of_that_name():
    with pytest.raises(CannotRun, match="no check has 'backwards' in its name: expected one of"):
        processes.possible(Request(checks=("forward", "backwards")))


def test_a_wrong_file_of_known_failures(tmp_path):
    (tmp_path / "known.toml").write_text('[[known]]\ncheck = "x"')
    with pytest.raises(CannotRun, match="expected the fields"):
        processes.possible(Request(known=tmp_path / "known.toml"))


def test_each_backend_has_a_process(tmp_path, monkeypatch, capfd):
    (tmp_path / "lib.py").write_text(
        "import os, nlcore\n"
        "def right(spec, weights, x, training=False):\n"
        "    return nlcore.block(spec, weights, x, training).astype(x.dtype)\n"
        "def dies(spec, weights, x, training=False):\n"
        "    os._exit(7)\n"
    )
    monkeypatch.chdir(tmp_path)
    request = Request(checks=("forward / gaussian",), examples=1)
    requested = ["lib:right", "lib:dies", "lib:nothing"]
    right, dies, nothing = processes.judge(requested, request)
    assert right.conforms and right.report.backend == "lib:right"
    assert right.environment["numpy"]
    assert dies.cannot_run == "its process ended with status 7"
    assert "has no attribute 'nothing'" in nothing.cannot_run
    assert [v.exit_status for v in (right, dies, nothing)] == [0, 2, 2]
    out, _ = capfd.readouterr()
    assert out.splitlines()[-3:] == [right.line, dies.line, nothing.line]
    assert json.loads(json.dumps(right.to_json(), default=str))["conforms"] is True
