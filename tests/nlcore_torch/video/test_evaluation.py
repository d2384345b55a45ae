"""Evaluation: the scores of all views, alone and by two processes, and the commands."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from started import started
from training_set import small_index, small_recipe

from nlcore.video import recipe_to_json
from nlcore.video.cli import main
from nlcore.video.initial_weights import initial_network_weights
from nlcore.video.labels.index_file import write_index
from nlcore.video.loading import EvaluationClips, views_of
from nlcore.video.running import Checkpoint, write_checkpoint
from nlcore.video.running.learner import LearnerState
from nlcore.video.running.view_scoring import EvaluationSettings
from nlcore.video.views import read_scores
from nlcore_torch.video import Network
from nlcore_torch.video.evaluation import evaluate

load_file = pytest.importorskip("safetensors.numpy").load_file
pytest.importorskip("typer")

NAMES = ["run", "play [guitar]", "jump", "eat"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with films, and a checkpoint of weights that classify them at random."""
    folder = tmp_path_factory.mktemp("films")
    index, recipe = small_index(folder), small_recipe(network={"width": 4})
    weights = initial_network_weights(recipe.network, 2)
    weights["fc.weight"] = weights["fc.weight"] * np.float32(100)
    facts = {"names": NAMES}
    checkpoint = Checkpoint(8, recipe, 0, LearnerState(weights, {}, {}), facts=facts)
    path = write_checkpoint(folder / "run" / "checkpoints", checkpoint)
    (folder / "recipe.json").write_text(recipe_to_json(recipe))
    return folder, index, recipe, path


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["nlcore-video", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


def test_scores_are_those_of_the_network(trained, tmp_path):
    folder, index, recipe, path = trained
    found = evaluate(EvaluationSettings(recipe, index, tmp_path), folder / "run", device="cpu")
    network = Network(recipe.network).eval()
    network.import_weights(load_file(path / "weights.safetensors"))
    network = network.fused()
    clips = EvaluationClips(index, recipe)
    with torch.no_grad():
        for video in range(5):
            for view in range(2):
                x = torch.from_numpy(clips.load(video, view).pixels[None])
                assert np.array_equal(found.scores[video, view], network.scores(x).numpy()[0])


def test_the_command(trained, tmp_path, monkeypatch, capsys):
    folder, _, _, path = trained
    index, common = folder / "index.jsonl", ("--workers", 0, "--device", "cpu")
    assert command(monkeypatch, "evaluate", path, index, "--output", tmp_path, *common) == 0
    printed = capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert f"5 videos, 2 views each: top1 {metrics['top1']:.4f}, top5 1.0000" in printed
    scores, (facts,) = read_scores([tmp_path / "scores.npz"])
    assert facts["framework"] == "torch" and scores.clips == 2

    # from the scores alone
    again = ("--scores", tmp_path / "scores.npz", "--merge", "max", "--output", tmp_path / "max")
    assert command(monkeypatch, "evaluate", folder / "run", index, *again) == 0
    assert json.loads((tmp_path / "max" / "metrics.json").read_text())["merge"] == "max"

    # other views, and a file of weights
    views = ("--views", 3, "--crops", 3, "--short-side", 36, "--crop", 32, "--batch", 4)
    file = path / "weights.safetensors"
    named = ("--recipe", folder / "recipe.json", "--output", tmp_path / "views")
    assert command(monkeypatch, "evaluate", file, index, *named, *views, *common) == 0
    scores, _ = read_scores([tmp_path / "views" / "scores.npz"])
    assert (scores.clips, scores.crops) == (3, 3)


def test_one_file_by_hand(trained, tmp_path):
    folder, index, recipe, path = trained
    found = evaluate(EvaluationSettings(recipe, index, tmp_path), folder / "run", device="cpu")
    for run in (folder / "run", path):
        network = Network.from_run(run, device="cpu").fused()
        with torch.no_grad():
            for number, video in enumerate(index.videos):
                views = views_of(index.root / video.path, recipe)
                scores = [network.scores(torch.from_numpy(view)).numpy()[0] for view in views]
                assert np.array_equal(scores, found.scores[number])


SEVERAL = {"loss": "sigmoid_cross_entropy", "merge": "max"}


@pytest.mark.parametrize("fields", [{}, SEVERAL], ids=["one label", "several labels"])
def test_classify(trained, tmp_path, monkeypatch, capsys, fields):
    folder, index, recipe, _ = trained
    settings = EvaluationSettings(replace(recipe, **fields), index, tmp_path)
    merged = evaluate(settings, folder / "run", device="cpu").merged(fields.get("merge", "mean"))
    files = [tmp_path / "a [b].mp4", index.root / index.videos[1].path]
    shutil.copy(index.root / index.videos[3].path, files[0])
    monkeypatch.setenv("COLUMNS", "300")
    sets = [word for name, value in fields.items() for word in ("--set", f"{name}={value}")]
    arguments = ("classify", folder / "run", *files, "-k", 2, "--device", "cpu", *sets)
    assert command(monkeypatch, *arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    head, *rows = [re.split(r"\s{2,}", line.strip()) for line in lines]
    assert head == ["video", "class", "score"] and len(rows) == 4
    for place, number in enumerate((3, 1)):
        first, second = np.argsort(-merged[number], kind="stable")[:2]
        one, other = rows[2 * place], rows[2 * place + 1]
        assert one == [str(files[place]), NAMES[first], f"{merged[number][first]:.3f}"]
        assert other == [NAMES[second], f"{merged[number][second]:.3f}"]


def test_classify_names_everything(trained, monkeypatch, capsys):
    folder, index, *_ = trained
    monkeypatch.setenv("COLUMNS", "40")
    file = index.root / index.videos[0].path
    arguments = ("classify", folder / "run", file, "-k", 9, "--device", "cpu")
    assert command(monkeypatch, *arguments) == 0
    printed = capsys.readouterr().out
    assert "…" not in printed and len(re.findall(r"\d\.\d{3}$", printed, re.M)) == 4
    assert command(monkeypatch, "classify", folder / "run", "none.mp4") == 2
    assert "none.mp4" in capsys.readouterr().err


def test_an_index_with_other_labels(trained, tmp_path, monkeypatch, capsys):
    folder, index, *_ = trained
    write_index(tmp_path / "other.jsonl", replace(index, names=tuple(reversed(NAMES))))
    arguments = ("evaluate", folder / "run", tmp_path / "other.jsonl", "--device", "cpu")
    assert command(monkeypatch, *arguments) == 2
    assert "label 0 must be 'run'; received 'eat', and 4 other names in all" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none", "index.jsonl"], "none must be a run, a checkpoint or a file; there is none"),
        (["run", "none.jsonl"], "No such file"),
        (["run", "index.jsonl", "--crops", 2], "test_crops must be 1 or 3; received 2"),
        (["run", "index.jsonl", "--device", "no"], "device must be one that PyTorch supports"),
        (["run", "index.jsonl", "--set", "batches=2"], "batches must be a field of Recipe"),
        (["run", "index.jsonl", "--scores", "index.jsonl"], "must be a file of scores"),
        ([".", "index.jsonl"], "must be a run or a checkpoint"),
    ],
)
def test_what_cannot_be_run(trained, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(trained[0])
    assert command(monkeypatch, "evaluate", *arguments, "--output", "out", "--workers", 0) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_give_the_same_scores(trained, tmp_path):
    folder, index, recipe, _ = trained
    right = evaluate(
        EvaluationSettings(recipe, index, tmp_path / "1"), folder / "run", device="cpu"
    )
    arguments = [
        *("evaluate", folder / "run", folder / "index.jsonl", "--output", tmp_path / "2"),
        *("--device", "cpu", "--workers", 0),
    ]
    for process in started(arguments, 2):
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
    found, _ = read_scores([tmp_path / "2" / "scores.npz"])
    assert np.array_equal(found.scores, right.scores) and found.computed.all()
    assert (tmp_path / "2" / "metrics.json").exists()


def test_the_framework_is_imported_when_it_is_used():
    code = "import sys, nlcore.video.cli.commands; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "False\n", result.stderr
