"""The command line: exit statuses, one line where a backend cannot be run, files, replay."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import nlcore
from nlcore import NonLocalSpec
from nlcore_conformance.cli import app
from nlcore_conformance.problems.case import Case

CASE = Case(NonLocalSpec(2, ndim=1), 1, (3,), "float32")

WRONG = """
import nlcore

class Backend:
    name = "wrong"
    dtypes = ("float32",)

    def supports(self, spec, dtype):
        return spec.ndim == 1 or "one axis only"

    def block(self, spec, weights, x, training=False):
        return nlcore.block(spec, weights, x, training).astype(x.dtype) * x.dtype.type(1.01)

backend = Backend()
"""


MISTAKES = """
class Init:
    def __init__(self):
        raise KeyError("no weights")

class Slots:
    __slots__ = ()

    def block(self, spec, weights, x, training=False):
        return x

class Dtypes:
    dtypes = "float32"

    def block(self, spec, weights, x, training=False):
        return x

class Supports:
    def supports(self, spec, dtype):
        raise ValueError("undecided")

    def block(self, spec, weights, x, training=False):
        return x

class Pair:
    def block(self, spec, weights, x, training=False):
        return x, [weights]
"""


def invoke(*arguments: str):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def wrong(tmp_path, monkeypatch) -> str:
    """The name of a wrong backend in the folder that one stands in."""
    (tmp_path / "wrong_block.py").write_text(WRONG)
    monkeypatch.chdir(tmp_path)
    return "wrong_block:backend"


def test_help_names_the_commands_and_the_exit_statuses():
    result = invoke("--help")
    assert result.exit_code == 0
    for word in ("run", "replay", "identify", "self-test", "vectors", "list", "and 2 if"):
        assert word in result.output


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["no-such-backend"], "unknown backend 'no-such-backend': expected one of"),
        (
            ["no_such_module:backend"],
            "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        (["json:no_such_attribute"], "has no attribute 'no_such_attribute'"),
        (["json:__name__"], "must be an object with block"),
        (["reference", "--device", "cuda"], "has no attribute `device`"),
        (["reference", "--check", "nothing"], "no check has 'nothing' in its name"),
        (["reference", "--known", "nothing.toml"], "expected a TOML file"),
        (["reference", "--json", "nowhere/out.json"], "--json needs a file in a folder that ex"),
        (["reference", "--report", "."], "--report needs a file in a folder that exists"),
        (
            ["reference", "--report", "out", "--junit", "./out"],
            "need a file each; received --junit out, --report out",
        ),
        (["reference", "--failures", "mistakes.py"], "received the file"),
        (["mistakes:Init"], "mistakes:Init cannot be used: KeyError: 'no weights'"),
        (["mistakes:Slots"], "must have an attribute `name`, or let one be set"),
        (["mistakes:Dtypes"], "dtypes must be a tuple of some of"),
        (
            ["mistakes:Supports"],
            "supports must return True, or a str with the reason why not; it raised",
        ),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_cannot_be_run_exits_2_with_one_line(arguments, says, tmp_path, monkeypatch):
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mistakes", raising=False)
    result = invoke("run", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_missing_package_exits_2_with_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "nlcore_conformance.reports.html", None)
    result = invoke("run", "reference", "--report", "out.html")
    assert result.exit_code == 2
    assert "pip install 'nlcore[conformance]'" in result.stderr


def test_a_dtype_that_the_backend_does_not_have_exits_2(wrong):
    result = invoke("run", wrong, "--dtype", "bfloat16", "--json", "out.json")
    assert result.exit_code == 2
    assert "computes in ('float32',); received --dtype bfloat16" in result.stderr
    (verdict,) = json.loads(Path("out.json").read_text())
    assert verdict["cannot_run"] in result.stderr


def test_a_run_with_all_its_files(wrong, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    (tmp_path / "known.toml").write_text(
        '[[known]]\ncheck = "forward / gaussian"\nreason = "r"\nlink = "l"\n'
        "expires = 2999-01-01\nworst_ratio = inf\n"
    )
    options = "--check forward --examples 2 --seed 3 --known known.toml --failures folder"
    files = "--report out.html --junit out.xml --json out.json"
    result = invoke("run", wrong, *options.split(), *files.split())
    assert result.exit_code == 1, result.output
    assert "FAIL forward / dot_product (NL-3)" in result.output
    assert "FAIL forward / gaussian (NL-3)" not in result.output
    assert "known failure until 2999-01-01: forward / gaussian" in result.output
    for word in ("spec      NonLocalSpec(", "expected  z[", "received  z[", "error / bound"):
        assert word in result.output
    (verdict,) = json.loads((tmp_path / "out.json").read_text())
    assert [r["name"].split()[0] for r in verdict["results"]] == ["forward"] * 5
    assert verdict["seed"] == 3
    suite = ET.parse(tmp_path / "out.xml").getroot()[0]
    assert (suite.get("failures"), suite.get("skipped")) == ("4", "1")
    assert "wrong_block:backend does not conform" in (tmp_path / "out.html").read_text()
    names = sorted(path.name for path in (tmp_path / "folder").iterdir())
    assert len(names) == 10 and names[0] == "wrong-block-backend-forward-batch-statistics.json"
    line = next(n for n in result.output.splitlines() if n.startswith("nlcore-conformance replay"))
    for case in (line.split("'")[1], f"folder/{names[0]}"):
        again = invoke("replay", case)
        assert again.exit_code == 1 and "ratio" in again.output


def test_answers_of_another_form_fail_and_every_file_is_written(tmp_path, monkeypatch):
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mistakes", raising=False)
    options = "--check forward --examples 1 --failures folder --json out.json --junit out.xml"
    result = invoke("run", "mistakes:Pair", *options.split())
    assert result.exit_code == 1, result.output
    assert "received tuple" in result.output
    (verdict,) = json.loads(Path("out.json").read_text())
    assert len(ET.parse("out.xml").getroot()[0].findall("testcase")) == 5
    assert len(list(Path("folder").iterdir())) == 2 * len(verdict["results"])
    identified = invoke("identify", "mistakes:Pair")
    assert identified.exit_code == 1 and "received tuple" in identified.output


def test_a_file_that_cannot_be_written_after_all_exits_2(tmp_path, monkeypatch):
    from nlcore_conformance.run import verdict

    def full(file, verdicts):
        raise OSError(28, "No space left on device", str(file))

    monkeypatch.setattr(verdict, "write", full)
    options = ("--check", "rescaling", "--examples", "1", "--json", tmp_path / "out.json")
    result = invoke("run", "reference", *options)
    assert result.exit_code == 2
    assert result.stderr.startswith("nlcore-conformance: [Errno 28] No space left on device")


def test_known_failures_alone_exit_0(wrong, tmp_path):
    (tmp_path / "known.toml").write_text(
        '[[known]]\ncheck = "memory layout"\nreason = "r"\nlink = "l"\n'
        "expires = 2999-01-01\nworst_ratio = inf\n"
    )
    options = ("--check", "memory layout", "--examples", "1")
    assert invoke("run", wrong, *options).exit_code == 1
    result = invoke("run", wrong, *options, "--known", "known.toml")
    assert result.exit_code == 0
    assert f"{wrong} conforms to what it supports, 1 known failure apart" in result.output


def test_replay_judges_a_case_again():
    text = json.dumps(
        {"backend": "reference", "check": "forward / embedded_gaussian", "case": CASE.to_json()}
    )
    result = invoke("replay", text)
    assert result.exit_code == 0, result.output
    assert "ratio" in result.output


@pytest.mark.parametrize("case", ["{}", "nothing.json", '{"check": "no such check", "case": {}}'])
def test_replay_of_nonsense_exits_2(case):
    result = invoke("replay", case)
    assert result.exit_code == 2
    assert "CASE must be the JSON of a failure" in result.stderr
    assert result.stderr.count("\n") == 1


def test_replay_without_a_package_that_it_needs_exits_2(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    case = CASE.to_json() | {"dtype": "bfloat16", "seed": 1234}  # not one that was made before
    text = json.dumps({"backend": "reference", "check": "repeatable", "case": case})
    result = invoke("replay", text)
    assert result.exit_code == 2
    assert "needs ml_dtypes: pip install 'nlcore[conformance]'" in result.stderr


def test_replay_of_what_is_not_supported_exits_2(wrong):
    spec = NonLocalSpec(2, ndim=2).arguments()
    case = {**CASE.to_json(), "spec": spec, "positions": [2, 2]}
    text = json.dumps({"backend": wrong, "check": "forward / gaussian", "case": case})
    result = invoke("replay", text)
    assert result.exit_code == 2
    assert "does not support the case: one axis only" in result.stderr


def test_list_names_the_installed_backends():
    assert (
        "reference            nlcore_conformance.backend.reference:backend" in invoke("list").output
    )


def test_identify_names_the_dialect_or_exits_1(wrong):
    result = invoke("identify", wrong)
    assert result.exit_code == 1, result.output
    assert "one axis only" in result.output
    assert invoke("identify", "no-such-backend").exit_code == 2


def test_identify_of_what_cannot_be_asked_exits_2(tmp_path, monkeypatch):
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mistakes", raising=False)
    result = invoke("identify", "mistakes:Supports")
    assert result.exit_code == 2
    assert "it raised ValueError: undecided" in result.stderr


@pytest.mark.parametrize("ok", [True, False])
def test_self_test_exits_as_it_went(monkeypatch, ok):
    from nlcore_conformance import selftest
    from nlcore_conformance.backend.plain import Plain

    row = selftest.Row("a mutant", "its rule", "NL-1", Plain(), check="repeatable" if ok else "")
    seen = []

    def judged(profile, seed, progress):
        seen.append((profile, seed))
        return selftest.SelfTest(profile, seed, [row])

    monkeypatch.setattr(selftest, "self_test", judged)
    result = invoke("self-test", "--profile", "full", "--seed", "4")
    assert result.exit_code == (0 if ok else 1)
    assert "a mutant" in result.output
    assert seen == [("full", 4)]


def test_vectors_export_says_what_it_wrote(tmp_path, monkeypatch):
    from nlcore_conformance.vectors import export

    monkeypatch.setattr(export, "export", lambda folder: [folder / "a", folder / "b"])
    assert invoke("vectors", "export", tmp_path).output == f"2 files in {tmp_path}\n"


def test_vectors_that_cannot_be_written_or_read_exit_2_with_one_line(tmp_path):
    file = tmp_path / "a.float32.safetensors"
    file.touch()
    for arguments in (["export", file], ["check", tmp_path, "--vectors", tmp_path]):
        result = invoke("vectors", *arguments)
        assert result.exit_code == 2
        assert str(tmp_path) in result.stderr and result.stderr.count("\n") == 1


def test_vectors_check_judges_a_folder(tmp_path):
    from safetensors.numpy import load_file, save_file

    vectors = Path(__file__).parents[2] / "conformance" / "vectors"
    assert invoke("vectors", "check", tmp_path, "--vectors", vectors).exit_code == 2
    vector = min(vectors.glob("*.safetensors"))
    z = load_file(vector)["expected/z"].astype(np.float32)
    for off, status in ((0, 0), (1, 1)):
        save_file({"z": z + np.float32(off)}, tmp_path / f"{vector.stem}.float32.safetensors")
        result = invoke("vectors", "check", tmp_path, "--vectors", vectors)
        assert result.exit_code == status, result.output
        assert (f"FAIL {vector.stem}" in result.output) == bool(off)


def test_the_version():
    result = invoke("--version")
    assert result.exit_code == 0
    assert result.output == f"nlcore {nlcore.__version__}, specification {nlcore.SPEC_VERSION}\n"
