"""Training in Keras is the same bits, interrupted or not, and its runs are PyTorch's."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import keras
import pytest
from training_set import small_index, small_recipe

import nlcore_torch.video.training
from nlcore.video import RECIPES, recipe_to_json
from nlcore.video.running import RunSettings, newest_checkpoint, read_checkpoint
from nlcore.video.running.metric_tables import read_table
from nlcore_keras.video.learner import KerasLearner
from nlcore_keras.video.training import train

pytest.importorskip("safetensors")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    return folder, small_index(folder)


def run_settings(films, folder, **fields):
    given = {"recipe": small_recipe(), "validation": films[1], "every": 3, **fields}
    return RunSettings(index=films[1], output=folder, **given)


def digests(run):
    """SHA-256 of the final weights, the momentum and the metrics but the time."""
    newest = sorted((run / "checkpoints").glob("iteration-*"))[-1]
    found = {
        name: hashlib.sha256((newest / f"{name}.safetensors").read_bytes()).hexdigest()
        for name in ("weights", "momentum")
    }
    table = read_table(run / "training.csv")
    found["training"] = [table[name].tolist() for name in ("iteration", "rate", "loss", "error")]
    found["validation"] = (run / "validation.csv").read_text()
    return newest.name, found


@pytest.fixture(scope="module")
def whole(films, tmp_path_factory):
    """A run without interruption."""
    run = tmp_path_factory.mktemp("run") / "whole"
    assert train(run_settings(films, run), device="cpu") == (8, None)
    return run


def test_the_folder_of_a_run(films, whole):
    names = sorted(path.name for path in whole.iterdir())
    assert names == ["checkpoints", "recipe.json", "training.csv", "validation.csv"]
    found = newest_checkpoint(whole / "checkpoints")
    assert found.facts["framework"] == "keras"
    assert found.facts["engine"] == keras.backend.backend()
    assert found.iteration == 8 and found.evaluated
    table = read_table(whole / "training.csv")
    recipe, videos = small_recipe(), len(films[1])
    assert table["rate"].tolist() == [recipe.learning_rate(i, videos) for i in range(8)]


def test_rates_are_those_of_the_recipe_in_both_trainers(monkeypatch, films, tmp_path):
    """Every iteration's rate comes from `Recipe.learning_rate`, and reaches the update as it is."""
    from nlcore_torch.video.learner import TorchLearner

    recipe = small_recipe(iterations=40, steps=(7, 20), factors=(1.0, 0.1, 0.01), warmup=5.0)
    expected, found = [recipe.learning_rate(i, 5) for i in range(40)], {}
    assert len(set(expected)) == 8
    for learner, trainer in (
        (KerasLearner, train),
        (TorchLearner, nlcore_torch.video.training.train),
    ):
        rates = found[learner] = []
        monkeypatch.setattr(learner, "gradients", lambda self, batches, clips: (0.0, 0))
        monkeypatch.setattr(learner, "update", lambda self, rate, rates=rates: rates.append(rate))
        monkeypatch.setattr(learner, "statistics", lambda self, batches: None)
        settings = run_settings(
            films, tmp_path / learner.__name__, recipe=recipe, validation=None, every=40
        )
        trainer(settings, device="cpu")
    assert found[KerasLearner] == found[TorchLearner] == expected


def test_a_rate_for_every_iteration_of_every_recipe():
    """`test_sgd.py` shows that an update uses the rate that it is given, as PyTorch's does."""
    for recipe in RECIPES.values():
        total = recipe.total_iterations(recipe.stated_videos)
        for iteration in (0, total // 3, total // 2, total - 1):
            assert recipe.learning_rate(iteration, recipe.stated_videos) > 0


@pytest.mark.slow
def test_workers_do_not_change_a_bit(films, whole, tmp_path):
    for workers in (1, 3):
        run = tmp_path / f"run{workers}"
        train(run_settings(films, run, workers=workers), device="cpu")
        assert digests(run) == digests(whole)


@pytest.mark.slow
def test_a_run_in_two_parts(films, whole, tmp_path, monkeypatch):
    settings = run_settings(films, tmp_path / "parts")
    update, count = KerasLearner.update, []

    def stopping(self, rate):
        update(self, rate)
        count.append(rate)
        if len(count) == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(KerasLearner, "update", stopping)
    stopped = train(settings, device="cpu")
    assert stopped.stopped == "SIGTERM" and stopped.iteration in (5, 6)
    train(replace(settings, resume=True), device="cpu")
    assert digests(tmp_path / "parts") == digests(whole)


@pytest.mark.slow
def test_a_run_goes_on_in_the_other_framework(films, whole, tmp_path):
    """Checkpoints of both have the same files: each goes on from the other's."""
    settings = run_settings(films, tmp_path / "mixed", every=4)
    nlcore_torch.video.training.train(settings, device="cpu")
    last = tmp_path / "mixed" / "checkpoints" / "iteration-00000008"
    both = [read_checkpoint(path) for path in (last, whole / "checkpoints" / last.name)]
    for kind in ("weights", "momentum"):
        ours, theirs = (getattr(one.state, kind) for one in both)
        shapes = [{n: (v.shape, v.dtype) for n, v in found.items()} for found in (ours, theirs)]
        assert shapes[0] == shapes[1]
    last.rename(tmp_path / "last")  # so that half of the run is left
    assert train(replace(settings, resume=True), device="cpu") == (8, None)
    table = read_table(tmp_path / "mixed" / "training.csv")
    assert table["iteration"].tolist() == list(range(1, 9))
    frameworks = [
        read_checkpoint(path).facts["framework"]
        for path in sorted((tmp_path / "mixed" / "checkpoints").iterdir())
    ]
    assert frameworks == ["torch", "keras"]


@pytest.mark.slow
def test_a_network_learns(films, tmp_path):
    """Four photographs, one of each class: the loss falls by far."""
    network = {"width": 4, "dropout": 0.0, "temporal_strides": (1, 1, 1)}
    batch = {"batch": 8, "clips_per_device": 8, "iterations": 40, "steps": (30,)}
    recipe = small_recipe(base_rate=0.05, network=network, **batch)
    train(run_settings(films, tmp_path / "run", recipe=recipe, every=40), device="cpu")
    loss = read_table(tmp_path / "run" / "training.csv")["loss"]
    assert loss[-5:].mean() < 0.5 * loss[:5].mean()


RUN = "from nlcore.video.cli import main; main()"


def started(films, engine, run, *more):
    (films[0] / "recipe.json").write_text(recipe_to_json(small_recipe()))
    index = films[0] / "index.jsonl"
    arguments = (
        *("train", index, "--validation", index, "--recipe", films[0] / "recipe.json"),
        *("--output", run, "--every", 3, "--framework", "keras", "--device", "cpu", *more),
    )
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *map(str, arguments)],
        env={
            **os.environ,
            "KERAS_BACKEND": engine,
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process):
    _, error = process.communicate(timeout=2000)
    assert process.returncode == 0, error


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "workers"), [("tensorflow", 1), ("jax", 0), ("torch", 3)])
def test_a_killed_run_goes_on_with_the_same_bits(films, tmp_path, engine, workers):
    pytest.importorskip(engine)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    ended(started(films, engine, whole, "--workers", 0))
    at = random.randint(1, 6)
    process = started(films, engine, killed, "--workers", workers)
    table = killed / "training.csv"
    while not (table.exists() and table.read_text().count("\n") > at):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.communicate()
    ended(started(films, engine, killed, "--workers", workers, "--resume"))
    assert digests(killed) == digests(whole), f"killed after iteration {at}"


def test_devices(films, tmp_path):
    with pytest.raises(ValueError, match=r"device must be one that Keras supports on .* 'no'"):
        train(run_settings(films, tmp_path / "run"), device="no")
    assert not (tmp_path / "run").exists()
