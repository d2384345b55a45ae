"""A run's folder is begun once, and only its own training goes on in it."""

from dataclasses import replace

import pytest
from training_set import small_index, small_recipe

from nlcore.video.initial_weights import initial_network_weights
from nlcore.video.running import Checkpoint, RunFolder, RunSettings, index_digest, write_checkpoint
from nlcore.video.running.learner import LearnerState
from nlcore.video.running.run_folder import checkpoint_at, facts_of, load_run


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return small_index(tmp_path_factory.mktemp("films"))


def settings_of(index, folder, **fields):
    return RunSettings(**{"recipe": small_recipe(), "index": index, "output": folder, **fields})


def checkpoint_of(recipe, **fields):
    state = LearnerState(initial_network_weights(recipe.network, 0), {}, {})
    given = {"iteration": 2, "recipe": recipe, "seed": 0, "state": state, "index": "i"}
    return Checkpoint(**{**given, **fields})


def test_a_run_is_not_overwritten(index, tmp_path):
    folder, settings = RunFolder(tmp_path / "run"), settings_of(index, tmp_path / "run")
    for _ in range(2):  # it may be begun again until an iteration is done
        assert folder.begin(settings, "i", True, print) is None
    folder.training.append(1, {"rate": 1, "loss": 1, "error": 1, "seconds": 1})
    with pytest.raises(FileExistsError, match="run has a run; resume it"):
        folder.begin(settings, "i", True, print)


def test_resuming_without_a_checkpoint(index, tmp_path):
    settings, said = settings_of(index, tmp_path, resume=True), []
    folder = RunFolder(tmp_path)
    folder.training.append(1, {"rate": 1, "loss": 1, "error": 1, "seconds": 1})
    assert folder.begin(settings, "i", True, said.append) is None
    assert said == [f"{tmp_path / 'checkpoints'} has no whole checkpoint; the training begins anew"]
    assert folder.training.path.read_text() == "iteration,rate,loss,error,seconds\n"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"recipe": small_recipe(network={"width": 4})}, "network: the checkpoint has"),
        ({"recipe": small_recipe(base_rate=0.5)}, "base_rate: the checkpoint has 0.01, the rec"),
        ({"seed": 9}, "seed: the checkpoint has 0, the run 9"),
        ({"digest": "j"}, "they differ in the training videos"),
    ],
)
def test_a_checkpoint_of_another_training(index, tmp_path, fields, message):
    folder = RunFolder(tmp_path)
    write_checkpoint(folder.checkpoints, checkpoint_of(small_recipe()))
    digest = fields.pop("digest", "i")
    settings = settings_of(index, tmp_path, resume=True, **fields)
    with pytest.raises(ValueError, match=message):
        folder.begin(settings, digest, True, print)
    assert not folder.recipe.exists()
    assert folder.begin(settings_of(index, tmp_path, resume=True), "i", True, print).iteration == 2


def test_the_digest_is_of_what_is_read(index, tmp_path):
    digest = index_digest(index)
    moved = replace(index, root=tmp_path)
    touched = replace(index, videos=tuple(replace(v, modified=1) for v in index.videos))
    assert index_digest(moved) == index_digest(touched) == digest
    first, *others = index.videos
    for change in ({"frames": 9}, {"labels": (1,)}, {"path": "x"}, {"fps": 9.0}):
        other = replace(index, videos=(replace(first, **change), *others))
        assert index_digest(other) != digest
    assert index_digest(replace(index, videos=(*others, first))) != digest


def test_weights_of_a_run_or_a_checkpoint(tmp_path):
    recipe = small_recipe()
    write_checkpoint(tmp_path / "run" / "checkpoints", checkpoint_of(recipe))
    path = write_checkpoint(tmp_path / "run" / "checkpoints", checkpoint_of(recipe, iteration=5))
    assert load_run(tmp_path / "run").iteration == load_run(path).iteration == 5
    with pytest.raises(ValueError, match="must be a run or a checkpoint; received no whole"):
        load_run(tmp_path)


def test_points():
    settings = RunSettings(small_recipe(), range(5), None, every=3)
    assert [n for n in range(9) if settings.is_point(n)] == [3, 6, 8]
    assert [settings.next_point(n) for n in range(8)] == [3, 3, 3, 6, 6, 6, 8, 8]
    long = RunSettings(small_recipe(iterations=1001, steps=(6,)), range(5), None)
    assert long.period == 11
    with pytest.raises(ValueError, match="keep must be an int > 0"):
        RunSettings(small_recipe(), range(5), None, keep=0)


def test_facts():
    facts = facts_of("torch", ("no-such-package",), device="cpu")
    assert facts["framework"] == "torch" and facts["device"] == "cpu"
    assert {"python", "nlcore", "numpy"} <= set(facts["versions"])


def test_the_checkpoint_at_a_path(tmp_path):
    checkpoint = checkpoint_of(small_recipe(), facts={"names": ["a", "b"]})
    path = write_checkpoint(tmp_path / "run" / "checkpoints", checkpoint)
    for place in (tmp_path / "run", path, path / "weights.safetensors"):
        found = checkpoint_at(place)
        assert found.iteration == 2 and found.names == ("a", "b")
    (tmp_path / "other.safetensors").touch()
    assert checkpoint_at(tmp_path / "other.safetensors") is None
    with pytest.raises(ValueError, match="must be a run or a checkpoint; received no whole"):
        checkpoint_at(tmp_path / "run" / "checkpoints")


def test_a_damaged_checkpoint_is_told(tmp_path):
    folder, said = tmp_path / "run", []
    for iteration in (2, 4):
        checkpoint = checkpoint_of(small_recipe(), iteration=iteration)
        path = write_checkpoint(folder / "checkpoints", checkpoint)
    (path / "weights.safetensors").write_bytes(b"")
    assert checkpoint_at(folder, said.append).iteration == 2
    assert len(said) == 1 and path.name in said[0]
