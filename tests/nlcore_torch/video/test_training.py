"""Training is the same bits, interrupted or not, whatever loads the clips."""

import hashlib
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from started import started
from training_set import small_index, small_recipe

from nlcore.video import recipe_to_json
from nlcore.video.cli import main
from nlcore.video.running import RunSettings, load_run, newest_checkpoint
from nlcore.video.running.metric_tables import read_table
from nlcore_torch.video.training import train

pytest.importorskip("safetensors")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    return folder, small_index(folder)


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


def run_settings(films, folder, **fields):
    given = {"recipe": small_recipe(), "validation": films[1], "every": 3, **fields}
    return RunSettings(**{"index": films[1], "output": folder, **given})


def test_workers_do_not_change_a_bit(films, tmp_path):
    found = []
    for workers in (0, 1, 3):
        run = tmp_path / f"run{workers}"
        outcome = train(run_settings(films, run, workers=workers), device="cpu")
        assert outcome == (8, None)
        found.append(digests(run))
    assert found[0] == found[1] == found[2]
    assert found[0][0] == "iteration-00000008"


def test_a_run_in_two_parts(films, tmp_path, monkeypatch):
    train(run_settings(films, tmp_path / "whole"), device="cpu")
    settings = run_settings(films, tmp_path / "parts")
    from nlcore_torch.video.learner import TorchLearner

    update, count = TorchLearner.update, []

    def stopping(self, rate):
        update(self, rate)
        count.append(rate)
        if len(count) == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(TorchLearner, "update", stopping)
    stopped = train(settings, device="cpu")
    assert stopped.stopped == "SIGTERM" and stopped.iteration in (5, 6)
    train(replace(settings, resume=True), device="cpu")
    assert digests(tmp_path / "parts") == digests(tmp_path / "whole")


def test_a_network_learns(films, tmp_path):
    """Four photographs, one of each class: the loss falls by far."""
    network = {"width": 4, "dropout": 0.0, "temporal_strides": (1, 1, 1)}
    batch = {"batch": 8, "clips_per_device": 8, "iterations": 40, "steps": (30,)}
    recipe = small_recipe(base_rate=0.05, network=network, **batch)
    train(run_settings(films, tmp_path / "run", recipe=recipe, every=40), device="cpu")
    loss = read_table(tmp_path / "run" / "training.csv")["loss"]
    assert loss[-5:].mean() < 0.5 * loss[:5].mean()
    assert load_run(tmp_path / "run").names == ("0", "1", "2", "3")


def test_initial_weights_of_another_run(films, tmp_path):
    """As from 32 to 128 frames: the network of a run, with another number of frames."""
    train(run_settings(films, tmp_path / "short", every=8), device="cpu")
    long = small_recipe(frames=8, initial="network", initial_recipe="small", base_rate=1e-30)
    said = []

    class Said:
        def training(self, *arguments): ...
        def validation(self, *arguments): ...
        def say(self, message):
            said.append(message)

    settings = run_settings(films, tmp_path / "long", recipe=long, every=8)
    with pytest.raises(ValueError, match="starts from 'network' weights of a network trained by"):
        train(settings, device="cpu")
    train(
        replace(settings, output=tmp_path / "long2"),
        tmp_path / "short",
        device="cpu",
        reporters=[Said()],
    )
    first, second = (
        newest_checkpoint(tmp_path / name / "checkpoints").state.weights
        for name in ("short", "long2")
    )
    assert all(np.array_equal(first[n], second[n]) for n in first if "running" not in n)
    assert said[0].startswith(f"{len(first)} of {len(first)} weights imported")


@pytest.mark.parametrize("names", ["dcba", "abcd"])
def test_a_run_with_other_labels_gives_no_classifier(films, tmp_path, names):
    """Though the number of classes is the same."""
    named = [replace(films[1], names=tuple(letters)) for letters in ("abcd", names)]
    folders = tmp_path / "first", tmp_path / "second"
    first = run_settings(films, folders[0], index=named[0], validation=None, every=8)
    train(first, device="cpu")
    recipe = small_recipe(initial="network", initial_recipe="small", base_rate=1e-30)
    second = replace(first, index=named[1], output=folders[1], recipe=recipe)
    train(second, folders[0], device="cpu")
    one, other = (load_run(folder).state.weights for folder in folders)
    changed = {n for n in one if "running" not in n and not np.array_equal(one[n], other[n])}
    assert changed == ({"fc.weight", "fc.bias"} if names == "dcba" else set())


def test_validation_videos_have_the_names_of_the_training_videos(films, tmp_path):
    named, other = (replace(films[1], names=tuple(letters)) for letters in ("abcd", "abdc"))
    settings = run_settings(films, tmp_path / "run", index=named, validation=other)
    with pytest.raises(ValueError, match="those of the training videos: label 2 must be 'c'"):
        train(settings, device="cpu")


def command(films, run, *more):
    (films[0] / "recipe.json").write_text(recipe_to_json(small_recipe()))
    index = films[0] / "index.jsonl"
    return [
        *("train", index, "--validation", index, "--recipe", films[0] / "recipe.json"),
        *("--output", run, "--every", 3, "--device", "cpu", *more),
    ]


def ended(group):
    for process in group:
        _, error = process.communicate(timeout=500)
        assert process.returncode == 0, error


def kill_after(group, run, iterations):
    """SIGKILL one process when a number of iterations are done, and then the others."""
    table = run / "training.csv"
    for _ in range(3000):
        if table.exists() and table.read_text().count("\n") > iterations:
            break
        assert all(process.poll() is None for process in group), group[0].communicate()
        time.sleep(0.02)
    for process in group:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "workers"), [(1, 0), (1, 2), (2, 0), (2, 1)])
def test_a_killed_run_goes_on_with_the_same_bits(films, tmp_path, processes, workers):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    ended(started(command(films, whole, "--workers", workers), processes))
    at = random.randint(1, 6)
    group = started(command(films, killed, "--workers", workers), processes)
    kill_after(group, killed, at)
    ended(started(command(films, killed, "--workers", workers, "--resume"), processes))
    assert digests(killed) == digests(whole), f"killed after iteration {at}"


@pytest.mark.slow
def test_two_processes_stop_together(films, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    ended(started(command(films, whole, "--workers", 0), 2))
    group = started(command(films, stopped, "--workers", 0), 2)
    table = stopped / "training.csv"
    while not (table.exists() and table.read_text().count("\n") > 2):
        time.sleep(0.02)
    group[1].send_signal(signal.SIGTERM)  # the second one only
    errors = [process.communicate(timeout=300)[1] for process in group]
    assert [process.returncode for process in group] == [1, 1], errors
    assert "--resume goes on" in errors[0]
    ended(started(command(films, stopped, "--workers", 0, "--resume"), 2))
    assert digests(stopped) == digests(whole)


def test_tensorboard_is_not_needed(films, tmp_path):
    run = tmp_path / "run"
    train(run_settings(films, run, every=8), device="cpu")
    assert sorted(p.name for p in run.iterdir() if p.name != "tensorboard") == [
        *("checkpoints", "recipe.json", "training.csv", "validation.csv")
    ]


def test_devices(films, tmp_path):
    with pytest.raises(ValueError, match="device must be one that PyTorch supports; received 'no'"):
        train(run_settings(films, tmp_path / "run"), device="no")
    assert not Path(tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "'paper with network' starts from 'imagenet' weights; received none"),
        (["--recipe", "papers"], "recipe must be one of"),
        (["--set", "batchs=8"], "batchs must be a field of Recipe"),
        (["--set", "network.classes=2"], "3-rocket.mp4 must have labels from 0 to 1"),
        (["--validation", "none.jsonl"], "No such file"),
        (["--initial", "none.pth"], "No such file"),
        (["--precision", "half"], "'half' is not one of"),
    ],
)
def test_what_cannot_be_run(films, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(
        sys,
        "argv",
        ["nlcore-video", "train", str(films[0] / "index.jsonl"), "--output", str(tmp_path / "run"),
         "--set", "network.width=2", "--workers", "0", *arguments],
    )  # fmt: skip
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch itself
def test_a_compiled_network_trains_alike(films, tmp_path):
    # Compiled dropout draws other numbers, and statistics of two values are ill-conditioned.
    recipe = small_recipe(
        network={"dropout": 0.0}, batch_norm="fixed_statistics", precise_statistics=0
    )
    for name, compile in (("plain", False), ("compiled", True)):
        settings = run_settings(films, tmp_path / name, recipe=recipe)
        train(settings, device="cpu", compile=compile)
    plain, compiled = (
        read_table(tmp_path / name / "training.csv")["loss"] for name in ("plain", "compiled")
    )
    # the first loss is of equal weights; its distance is rounding of some fifty layers
    assert abs(plain[0] - compiled[0]) <= 50 * 2.0**-20 * plain[0]
    assert (abs(plain - compiled) <= 50 * 2.0**-18 * plain).all() and len(plain) == 8
