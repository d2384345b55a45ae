"""The vectors of draws, clips and views are those of this version, in another language too."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest
from committed import COMMITTED, ROOT
from typer.testing import CliRunner

from nlcore.video.draws import Draw
from nlcore.video.sampling import CLIP_DIALECTS, View, dialect
from nlcore_conformance.cli import app
from nlcore_conformance.vectors.clip_vectors import files

FOLDER = COMMITTED / "clips"
NODE = ROOT / "examples" / "node"
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not on PATH")


def entries(name):
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def test_export_makes_the_committed_files_again_bit_for_bit(tmp_path):
    ran = CliRunner().invoke(app, ["vectors", "clips", str(tmp_path)])
    assert ran.exit_code == 0 and ran.output.startswith("7 files in")
    names = sorted(path.name for path in FOLDER.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    changed = [n for n in names if (tmp_path / n).read_bytes() != (FOLDER / n).read_bytes()]
    assert changed == [], "run: nlcore-conformance vectors clips conformance/vectors/clips"


def test_they_stay_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 5e5


def test_every_file_is_on_the_page():
    page = (ROOT / "docs" / "clips.md").read_text(encoding="utf-8")
    assert [name for name in files() if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize("name", ["clips.json", "sizes.json", "views.json", "pixels.json"])
def test_every_dialect_is_there(name):
    assert {entry["dialect"] for entry in entries(name) if "dialect" in entry} == set(CLIP_DIALECTS)


def test_pixels_are_read_as_the_same_float32():
    first, *others = entries("pixels.json")
    frames = np.array(first["frames"], np.uint8)
    for entry in others:
        view = View(**{k: tuple(v) if isinstance(v, list) else v for k, v in entry["view"].items()})
        expected = dialect(entry["dialect"]).pixels(frames, view)
        found = np.array(entry["pixels"], np.float32).reshape(entry["shape"])
        assert np.array_equal(found, expected), entry["about"]


def test_some_draws_skip_a_word():
    """A range of 2^63 + 1 integers rejects nearly half of the words."""
    skipped = 0
    for entry in entries("draws.json"):
        place = (int(entry[key]) for key in ("seed", "iteration", "slot"))
        first = next(Draw(*place).words(entry["name"]))
        skipped += first >= 2**63 + 1
    assert skipped > 5


def run_node(example):
    command = ["node", example / "check_clips.mjs", FOLDER]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@needs_node
def test_the_example_in_javascript_gets_them():
    ran = run_node(NODE)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout.split()[0]) > 1500


@needs_node
@pytest.mark.parametrize(
    "rule, wrong, clause",
    [
        ("turn < 10", "turn < 9", "VC-1.2"),
        ("word < (WORD / count) * count", "true", "VC-1.4"),
        ("f32(side * ratio)", "side * ratio", "VC-3, caffe2"),
        ("% N)", ")", "VC-2, paper"),
    ],
)
def test_the_example_with_one_rule_wrong_does_not(tmp_path, rule, wrong, clause):
    example = shutil.copytree(NODE, tmp_path / "node")
    code = (example / "clips.mjs").read_text(encoding="utf-8")
    assert code.count(rule) == 1
    (example / "clips.mjs").write_text(code.replace(rule, wrong), encoding="utf-8")
    ran = run_node(example)
    assert ran.returncode == 1 and clause in ran.stderr
