"""nlcore-coco check, and mistakes of the command line."""

import json

import pytest
from small_sets import document, write_set
from typer.testing import CliRunner

from nlcore.coco.cli.coco_commands import app

pytest.importorskip("PIL")


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.stdout, result.stderr


def test_a_folder(tmp_path):
    write_set(tmp_path, document())
    write_set(tmp_path, document("keypoints"), "keypoints")
    code, out, _ = run("check", tmp_path)
    assert code == 0
    assert out.count("4 images, 3 annotations; 3 images are trained on") == 2
    (tmp_path / "train" / "2.png").unlink()
    code, out, _ = run("check", tmp_path, "--output", tmp_path / "findings.jsonl")
    assert code == 1 and "missing file" in out and "an error" in out
    lines = [json.loads(line) for line in (tmp_path / "findings.jsonl").read_text().splitlines()]
    wrong = [line for line in lines if line["error"]]
    assert [line["kind"] for line in wrong] == ["missing file"] * 2
    assert wrong[0]["where"] == "image 2"


def test_one_split(tmp_path):
    write_set(tmp_path, document())
    write_set(tmp_path, document(images=9), split="val")
    code, out, _ = run("check", tmp_path, "--split", "val")
    assert code == 0 and "9 images" in out and "4 images" not in out
    code, _, error = run("check", tmp_path, "--split", "test")
    assert code == 2
    assert "must have files such as instances_test.json or person_keypoints_test.json" in error


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            ["evaluate", "nothing.pth", "."],
            "needs torchvision|nothing.pth must be a run, a checkpoint or a file",
        ),
        (["plan", "--recipe", "paper"], "recipe must be one of"),
        (["plan", "--set", "detector.depth=50"], "detector.depth must be blocks or a field"),
        (["plan", "--recipe", "torchvision_keypoints"], "--images is needed"),
        (["curves", "nothing"], "must be the folder of a run"),
    ],
)
def test_mistakes(words, error):
    import re

    code, out, shown = run(*words)
    assert (code, out) == (2, "")
    assert shown.startswith("nlcore-coco: ") and re.search(error, shown)


def test_version():
    import nlcore

    assert run("--version")[:2] == (0, f"nlcore {nlcore.__version__}\n")
