"""The command `nlcore-video convert`: weights there and back, bit for bit."""

import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("typer", reason="the command line needs nlcore[video]")
pytest.importorskip("safetensors", reason="it writes .safetensors")

from nlcore.checkpoints import (
    PUBLISHED,
    Published,
    convert_network,
    export_network,
    published,
    read_arrays,
)
from nlcore.video import network_weight_shapes, recipe
from nlcore.video.cli import main

NAME = "C2D_NLN_8x8_R50"
NETWORK = ["--set", "network.width=4", "--set", "network.classes=3"]


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command in this process: exit status, output, messages."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["nlcore-video", "convert", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code, *capsys.readouterr()

    return run


def drawn(network):
    rng = np.random.default_rng(0)
    shapes = network_weight_shapes(network)
    return {n: rng.uniform(0.5, 1, s).astype(np.float32) for n, s in shapes.items()}


def test_a_published_file_is_known_by_its_name(run, tmp_path, monkeypatch):
    spec = replace(published(NAME).spec, width=4, classes=3)
    monkeypatch.setitem(PUBLISHED, NAME, Published("slowfast", spec))
    weights = drawn(spec)
    with (tmp_path / f"{NAME}.pkl").open("wb") as file:
        pickle.dump({"blobs": export_network(spec, weights, "caffe2")}, file, protocol=2)
    status, output, _ = run(tmp_path / f"{NAME}.pkl", tmp_path / "ours.safetensors")
    assert status == 0 and "weights read" in output and "missing: none" in output
    found = read_arrays(tmp_path / "ours.safetensors")
    assert set(found) == set(weights)
    assert all(np.array_equal(found[n], weights[n]) for n in weights)


def test_there_and_back(run, tmp_path):
    network = recipe("slowfast", network={"width": 4, "classes": 3}).network
    weights = drawn(network)
    files = [tmp_path / f"{k}.safetensors" for k in range(3)]
    from safetensors.numpy import save_file

    save_file(weights, files[0])
    assert run(files[0], files[1], "--recipe", "slowfast", *NETWORK, "--to", "slowfast")[0] == 0
    theirs = read_arrays(files[1])
    assert convert_network(theirs, network, "slowfast").missing == ()
    back = (files[1], files[2], "--recipe", "slowfast", *NETWORK, "--naming", "slowfast")
    status, output, _ = run(*back)
    assert status == 0 and f"{files[2]}: {len(weights)} weights by the names of nlcore" in output
    found = read_arrays(files[2])
    assert all(np.array_equal(found[n], weights[n]) for n in weights)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.safetensors", "b.npz"], "FILE must end in .safetensors; received b.npz"),
        (["a.safetensors", "b.safetensors"], "--network or --recipe must state the network: "),
        (["a", "b.safetensors", "--network", "SLOWFAST_8x8_R50"], "has two pathways"),
        (["a", "b.safetensors", "--recipe", "paper", "--network", NAME], "both state a network"),
        (["a", "b.safetensors", "--set", "batch=2"], "--set changes a recipe: --recipe is needed"),
        ([f"{NAME}.pkl", "b.safetensors"], f"No such file or directory: '{NAME}.pkl'"),
    ],
)
def test_errors(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, _, error = run(*arguments)
    assert status == 2 and message in error and error.count("\n") == 1
    assert not (tmp_path / "b.safetensors").exists()
