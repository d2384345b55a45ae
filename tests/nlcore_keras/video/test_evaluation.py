"""Evaluation in Keras: the network's scores, and PyTorch's within the rounding of both."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from training_set import small_index, small_recipe

import nlcore_torch.video.evaluation
from nlcore.video import recipe_to_json
from nlcore.video.cli import main
from nlcore.video.initial_weights import initial_network_weights
from nlcore.video.loading import EvaluationClips
from nlcore.video.running import Checkpoint, write_checkpoint
from nlcore.video.running.learner import LearnerState
from nlcore.video.running.view_scoring import EvaluationSettings
from nlcore.video.views import read_scores
from nlcore_keras.video import Network
from nlcore_keras.video.evaluation import evaluate

pytest.importorskip("safetensors")
pytest.importorskip("typer")
SCRIPT = Path(__file__).parents[3] / "conformance" / "studies" / "networks.py"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with films, and a checkpoint of weights that classify them at random."""
    folder = tmp_path_factory.mktemp("films")
    index, recipe = small_index(folder, 2), small_recipe(network={"width": 4})
    weights = initial_network_weights(recipe.network, 2, block_identity=False)
    weights["fc.weight"] = weights["fc.weight"] * np.float32(3)
    checkpoint = Checkpoint(8, recipe, 0, LearnerState(weights, {}, {}))
    write_checkpoint(folder / "run" / "checkpoints", checkpoint)
    (folder / "recipe.json").write_text(recipe_to_json(recipe))
    return folder, index, recipe, weights


@pytest.fixture(scope="module")
def networks():
    spec = importlib.util.spec_from_file_location("networks_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_scores_are_torchs_within_the_bound(trained, tmp_path, networks):
    """The first-order bound of float64's errors is linear in u. So float32's is 2^29 times it."""
    folder, index, recipe, weights = trained
    run = folder / "run"
    ours = evaluate(EvaluationSettings(recipe, index, tmp_path / "keras"), run, device="cpu")
    theirs = nlcore_torch.video.evaluation.evaluate(
        EvaluationSettings(recipe, index, tmp_path / "torch"), run, device="cpu"
    )
    assert ours.videos == theirs.videos and ours.computed.all()
    network = networks.Network(recipe.network, dtype=torch.float64).eval()
    network.import_weights(weights)
    clips = EvaluationClips(index, recipe)
    for video in range(len(index)):
        for view in range(recipe.views):
            x = torch.from_numpy(clips.load(video, view).pixels[None].astype(np.float64))
            exact, bounds = networks.output_bounds(network, x, range(4), scores=True)
            bounds = 2.0**29 * bounds[0] + 2.0**-24 * exact[0]  # the scores are float32
            for found in (ours, theirs):
                assert (np.abs(found.scores[video, view] - exact[0]) <= bounds).all()
            assert 0.01 < exact.max() < 0.99 and bounds.max() < 0.01 * exact.max()


def test_the_network_of_a_run(trained):
    folder, _, recipe, weights = trained
    network = Network.from_run(folder / "run", positions=(4, 40, 40))
    assert network.spec == recipe.network and network.positions == (4, 40, 40)
    found = network.export_weights()
    assert found.keys() == weights.keys()
    assert all(np.array_equal(found[name], weights[name]) for name in found)


def test_the_command_writes_the_same_files(trained, tmp_path, monkeypatch, capsys):
    folder, *_ = trained
    arguments = [
        *("evaluate", folder / "run", folder / "index.jsonl", "--output", tmp_path),
        *("--framework", "keras", "--workers", 0, "--device", "cpu", "--batch", 2),
    ]
    monkeypatch.setattr(sys, "argv", ["nlcore-video", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert f"2 videos, 2 views each: top1 {metrics['top1']:.4f}" in capsys.readouterr().out
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["classes.csv", "confusion.png", "metrics.json", "scores.npz", "videos.csv"]
    scores, (facts,) = read_scores([tmp_path / "scores.npz"])
    assert facts["framework"] == "keras" and scores.clips == 2
