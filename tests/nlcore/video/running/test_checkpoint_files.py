"""Checkpoints are whole or not there."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training_set import small_recipe

from nlcore.video.initial_weights import initial_network_weights
from nlcore.video.running import (
    Checkpoint,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from nlcore.video.running.checkpoint_files import check_same_training, checkpoints_in
from nlcore.video.running.learner import LearnerState

pytest.importorskip("safetensors")


@pytest.fixture(scope="module")
def checkpoint():
    recipe = small_recipe(network={"block": {"pairwise": "concatenation", "pair_bias": True}})
    weights = initial_network_weights(recipe.network, 1)
    momentum = {"fc.weight": np.arange(256, dtype=np.float32).reshape(4, 64)}
    state = LearnerState(weights, momentum, {"scale": 65536.0})
    return Checkpoint(4, recipe, 1, state, "digest", True, {"framework": "torch"})


def numbers(folder):
    return [int(path.name[10:]) for path in checkpoints_in(folder)]


def test_what_is_written_is_read(tmp_path, checkpoint):
    path = write_checkpoint(tmp_path, checkpoint)
    found = read_checkpoint(path)
    assert path.name == "iteration-00000004"
    assert replace(found, state=checkpoint.state) == checkpoint
    for kind in ("weights", "momentum"):
        right, read = getattr(checkpoint.state, kind), getattr(found.state, kind)
        assert set(read) == set(right)
        assert all(np.array_equal(read[n], right[n]) for n in right)
        assert all(read[n].dtype == right[n].dtype for n in right)
    assert found.state.extra == {"scale": 65536.0}
    assert os.listdir(tmp_path) == [path.name]


def test_the_newest_are_kept(tmp_path, checkpoint):
    for iteration in (1, 2, 30, 4):
        write_checkpoint(tmp_path, replace(checkpoint, iteration=iteration), keep=2)
    assert numbers(tmp_path) == [4, 30]
    assert newest_checkpoint(tmp_path).iteration == 30
    assert newest_checkpoint(tmp_path / "none") is None


def test_one_iteration_is_replaced(tmp_path, checkpoint):
    write_checkpoint(tmp_path, replace(checkpoint, evaluated=False))
    assert not newest_checkpoint(tmp_path).evaluated
    write_checkpoint(tmp_path, checkpoint)
    assert newest_checkpoint(tmp_path).evaluated and len(os.listdir(tmp_path)) == 1


def cut(path):
    content = (path / "weights.safetensors").read_bytes()
    (path / "weights.safetensors").write_bytes(content[: len(content) // 2])


def one_bit(path):
    content = bytearray((path / "momentum.safetensors").read_bytes())
    content[-1] ^= 1
    (path / "momentum.safetensors").write_bytes(content)


def without_entry(path):
    about = json.loads((path / "checkpoint.json").read_text())
    del about["seed"]
    (path / "checkpoint.json").write_text(json.dumps(about))


def other_version(path):
    text = (path / "checkpoint.json").read_text()
    text = text.replace('"nlcore_video_checkpoint": 1', '"nlcore_video_checkpoint": 9')
    (path / "checkpoint.json").write_text(text)


DAMAGES = {
    cut: "weights.safetensors is not as it was written",
    one_bit: "momentum.safetensors is not as it was written",
    without_entry: "no entry 'seed'",
    other_version: "its version must be 1",
    lambda path: (path / "checkpoint.json").write_text("{"): "Expecting",
    lambda path: (path / "checkpoint.json").write_text("[]"): "list indices",
    lambda path: (path / "checkpoint.json").unlink(): "No such file",
    lambda path: (path / "momentum.safetensors").unlink(): "No such file",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_ones_are_skipped_and_named(tmp_path, checkpoint, damage):
    write_checkpoint(tmp_path, checkpoint)
    path = write_checkpoint(tmp_path, replace(checkpoint, iteration=8))
    damage(path)
    with pytest.raises((ValueError, OSError), match=DAMAGES[damage]) as error:
        read_checkpoint(path)
    assert path.name in str(error.value)
    warnings = []
    assert newest_checkpoint(tmp_path, warnings.append).iteration == 4
    assert len(warnings) == 1 and path.name in warnings[0]


class FullDisk:
    """The disk is full after a number of files."""

    def __init__(self, files):
        self.left = files

    def __call__(self, descriptor):
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("files", [0, 1, 2, 3])
@pytest.mark.parametrize("iteration", [4, 8])
def test_a_full_disk(tmp_path, checkpoint, monkeypatch, files, iteration):
    write_checkpoint(tmp_path, replace(checkpoint, iteration=2), keep=1)
    before = write_checkpoint(tmp_path, checkpoint, keep=1)
    monkeypatch.setattr(os, "fsync", FullDisk(files))
    with pytest.raises(OSError) as error:
        write_checkpoint(tmp_path, replace(checkpoint, iteration=iteration), keep=1)
    assert error.value.errno == errno.ENOSPC
    expected = f"iteration-{iteration:08d} could not be written: No space left on device; "
    assert f"{expected}the last whole checkpoint is {before}" in str(error.value)
    assert os.listdir(tmp_path) == [before.name]
    assert newest_checkpoint(tmp_path).iteration == 4


def test_half_a_checkpoint_of_a_killed_run(tmp_path, checkpoint, monkeypatch):
    """Whatever is written aside when the process ends, the older checkpoint is found."""
    write_checkpoint(tmp_path, checkpoint)

    def end(self, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "rename", end)
        write_checkpoint(tmp_path, replace(checkpoint, iteration=8))
    assert len(os.listdir(tmp_path)) == 2
    assert newest_checkpoint(tmp_path).iteration == 4
    write_checkpoint(tmp_path, replace(checkpoint, iteration=8))
    assert numbers(tmp_path) == [4, 8] and len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("kind", ["weights", "momentum"])
def test_numbers_must_be_finite(tmp_path, checkpoint, kind):
    arrays = {**getattr(checkpoint.state, kind), "fc.weight": np.full((4, 64), np.nan, np.float32)}
    state = checkpoint.state._replace(**{kind: arrays})
    with pytest.raises(ValueError, match=rf"{kind} must be finite .* 1 are not, such as 'fc.w"):
        write_checkpoint(tmp_path, replace(checkpoint, state=state))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": {"width": 4}}, "network: the checkpoint has NetworkSpec"),
        ({"base_rate": 0.5}, "base_rate: the checkpoint has 0.01, the recipe 0.5"),
    ],
)
def test_another_recipe(checkpoint, change, message):
    block = {"block": {"pairwise": "concatenation", "pair_bias": True}}
    same = small_recipe(network=block)
    check_same_training(checkpoint, replace(same, name="other"), 1, "digest")
    other = small_recipe(**{**change, "network": {**block, **change.get("network", {})}})
    with pytest.raises(ValueError, match=message):
        check_same_training(checkpoint, other, 1, "digest")


def test_another_seed_or_set(checkpoint):
    with pytest.raises(ValueError, match="seed: the checkpoint has 1, the run 2; the training vid"):
        check_same_training(checkpoint, checkpoint.recipe, 2, "other")
