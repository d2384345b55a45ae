"""The command `nlcore-video plan`, as it is run."""

import sys

import pytest

pytest.importorskip("typer", reason="the command line needs nlcore[video]")

from nlcore.video import RECIPES, load_recipe, recipe
from nlcore.video.cli import main


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command in this process: exit status, output, messages."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["nlcore-video", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("name", RECIPES)
def test_every_preset_fits_into_80_columns(run, name):
    status, output, _ = run("plan", "--recipe", name)
    assert status == 0
    assert output.startswith(f"Recipe {name}\n")
    assert max(map(len, output.splitlines())) <= 80
    for part in ("Network", "Clips", "Schedule", "Optimizer", "Test", "It amounts to", "Sources"):
        assert f"\n{part}" in output


def test_numbers(run):
    _, output, _ = run("plan")
    rows = [" ".join(line.split()) for line in output.splitlines()]
    for row in (
        "frames 32 Sec. 4.1",
        "batch 64 Sec. 4.1: 8 GPUs of 8 clips",
        "150,000 38.9 0.001",
        "300,000 77.9 0.0001",
        "epochs 103.8",
        "test views 10 a video, of whole frames, shorter side 256",
        "C2 defaults lib/core/config.py",
    ):
        assert row in rows


def test_settings_files_and_pictures(run, tmp_path):
    files = [tmp_path / name for name in ("mine.json", "rates.png")]
    settings = ["--set", "batch=8", "--set", "network.classes=10", "--videos", 640]
    status, output, _ = run("plan", *settings, "--json", files[0], "--picture", files[1])
    assert status == 0
    assert output.startswith("Recipe paper with batch, network\n")
    assert "set by the user. paper: 64" in output
    assert "training videos  640 " in output
    assert load_recipe(str(files[0])) == recipe("paper", batch=8, network={"classes": 10})
    assert files[1].read_bytes().startswith(b"\x89PNG")
    status, output, _ = run("plan", "--recipe", files[0], "--set", "iterations=5")
    assert status == 0 and output.startswith("Recipe paper with batch, network, iterations\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "nature"], "nlcore-video: recipe must be one of ('paper', "),
        (["--set", "lr=1"], "nlcore-video: lr must be a field of Recipe"),
        (["--set", "batch=x"], "nlcore-video: batch must be an int > 0; received 'x'"),
        (["--set", "batch"], "nlcore-video: a setting must be FIELD=VALUE; received 'batch'"),
        (["--set", "stated_videos=null"], "nlcore-video: --videos is needed: 'paper with stated_"),
        (["--recipe", "none.json"], "nlcore-video: [Errno 2] No such file"),
        (["--recipe", "slowfast", "--videos", "9"], "nlcore-video: videos must be at least batch="),
    ],
)
def test_errors_are_one_line(run, arguments, message):
    status, output, messages = run("plan", *arguments)
    assert (status, output) == (2, "")
    assert messages.startswith(message) and messages.count("\n") == 1
