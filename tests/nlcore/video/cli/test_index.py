"""The command `nlcore-video index`, as it is run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from films import pictures, write_film

from nlcore.video.cli import main
from nlcore.video.labels import read_index

pytest.importorskip("typer", reason="the command line needs nlcore[video]")

RUN = "from nlcore.video.cli import main; main()"


@pytest.fixture
def folder(tmp_path):
    for n in range(3):
        write_film(tmp_path / f"{n}.mp4", pictures(5 + n))
    (tmp_path / "list.csv").write_text("0.mp4 0\n1.mp4 1\n2.mp4 1\n")
    (tmp_path / "names.txt").write_text("run\nsit\n")
    return tmp_path


def run(monkeypatch, *arguments):
    """Exit status of the command in this process."""
    monkeypatch.setattr(sys, "argv", ["nlcore-video", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


def test_index(folder, monkeypatch, capsys):
    output = folder / "index.jsonl"
    options = ("--names", folder / "names.txt", "--workers", 1)
    status = run(monkeypatch, "index", "slowfast", folder / "list.csv", output, *options)
    assert status == 0
    assert capsys.readouterr().out == (
        f"{output}: 3 videos, 18 frames, 2 labels\ndecoded 3, known from earlier runs 0\n"
    )
    index = read_index(output)
    assert index.names == ("run", "sit") and [v.frames for v in index.videos] == [5, 6, 7]


def test_skipped_videos_set_the_status(folder, monkeypatch, capsys):
    (folder / "1.mp4").write_text("no video")
    output = folder / "index.jsonl"
    assert run(monkeypatch, "index", "slowfast", folder / "list.csv", output, "--workers", 0) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"{output}: 2 videos, 12 frames, 2 labels"
    assert printed[2] == f"skipped videos: 1, all of them in {folder / 'index.skipped.jsonl'}:"
    assert printed[3].startswith(f"  line 2, 1.mp4: {folder / '1.mp4'} must be a video")


def test_split(folder, monkeypatch, capsys):
    whole, *parts = (folder / name for name in ("index.jsonl", "train.jsonl", "val.jsonl"))
    assert run(monkeypatch, "index", "slowfast", folder / "list.csv", whole, "--workers", 0) == 0
    assert run(monkeypatch, "split", whole, *parts, "--fraction", "0.5") == 0
    assert capsys.readouterr().out.endswith(f"{parts[0]}: 2 videos\n{parts[1]}: 1 videos\n")
    training, validation = map(read_index, parts)
    assert {v.path for v in training.videos + validation.videos} == {"0.mp4", "1.mp4", "2.mp4"}
    assert run(monkeypatch, "split", whole, *parts) == 2
    assert f"{parts[0]} exists; delete it, or name another file" in capsys.readouterr().err
    assert run(monkeypatch, "split", whole, folder / "a.jsonl", folder / "a.jsonl") == 2
    assert "TRAINING and VALIDATION must differ" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["slowfast", "none.csv", "i.jsonl"], "No such file or directory: 'none.csv'"),
        (["slowfast", "names.txt", "i.jsonl"], "line 1: must be 'path label'"),
        (["slowfast", "list.csv", "names.txt"], "names.txt exists and is not an index"),
        (["slowfast", "list.csv", "i.jsonl", "--classes", "1"], "labels from 0 to 0; received 1"),
        (["torchvision", ".", "i.jsonl"], "split must be the name of a folder"),
        (["csv", "list.csv", "i.jsonl"], "'csv' is not one of 'slowfast'"),
    ],
)
def test_what_cannot_be_run(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    assert run(monkeypatch, "index", *arguments, "--workers", "0") == 2
    assert message in capsys.readouterr().err
    assert not Path("i.jsonl").exists()


@pytest.mark.parametrize("missing", ["typer", "rich", "av"])
def test_missing_packages_are_named(folder, missing):
    code = f"import sys; sys.modules[{missing!r}] = None; {RUN}"
    command = [sys.executable, "-c", code, "index", "slowfast", "list.csv", "i.jsonl"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    name = ended.stderr.split(":")[-2 if missing == "av" else 0]
    assert ended.stderr.count("\n") == 1 and "pip install 'nlcore[video]'" in ended.stderr
    assert f"needs {missing}" in ended.stderr, name


def test_a_killed_run_goes_on(folder):
    """A process that is killed after one video leaves its result, and the next run uses it."""
    code = f"""
import os
from nlcore.video.labels import making
real = making.measured
def once(path):
    if path.name == "1.mp4":
        os._exit(9)
    return real(path)
making.measured = once
{RUN}
"""
    arguments = ["index", "slowfast", "list.csv", "i.jsonl", "--workers", "0"]
    environment = {**os.environ, "COLUMNS": "200"}

    def ended(program):
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    assert ended(code).returncode == 9
    assert not (folder / "i.jsonl").exists()
    again = ended(RUN)
    assert again.returncode == 0 and "decoded 2, known from earlier runs 1" in again.stdout
