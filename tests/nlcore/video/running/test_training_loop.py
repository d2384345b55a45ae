"""The loop: a run that stops and goes on is the run that does not stop."""

import os
import re
import signal
from dataclasses import replace

import numpy as np
import pytest
from training_set import ToyLearner, small_index, small_recipe

from nlcore.video.initial_weights import initial_network_weights
from nlcore.video.labels import read_index
from nlcore.video.loading import LoadingError
from nlcore.video.running import NotFinite, RunSettings, newest_checkpoint, run_training
from nlcore.video.running.metric_tables import read_table


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return small_index(tmp_path_factory.mktemp("films"))


class Remembered:
    """A reporter that remembers what it is told."""

    def __init__(self):
        self.said, self.validated = [], []

    def training(self, iteration, values, clips):
        pass

    def validation(self, iteration, values):
        self.validated.append(iteration)

    def say(self, message):
        self.said.append(message)


def trained(settings, learner=None, reporter=None):
    """The learner after a call of `run_training`, and its outcome."""
    learner = learner or ToyLearner(settings.recipe, settings.seed)

    def initial():
        weights = initial_network_weights(settings.recipe.network, settings.seed)
        return weights, "random"

    outcome = run_training(settings, learner, initial, [reporter] if reporter else [])
    return learner, outcome


def settings_of(index, folder, **fields):
    given = {"recipe": small_recipe(), "validation": index, "seed": 3, "every": 3, **fields}
    return RunSettings(index=index, output=folder, **given)


def results_of(folder):
    """Everything of a run that must be equal, but the time it took."""
    training = read_table(folder / "training.csv")
    del training["seconds"]
    found = newest_checkpoint(folder / "checkpoints")
    arrays = {**found.state.weights, **{f"m.{n}": v for n, v in found.state.momentum.items()}}
    bits = {name: value.tobytes() for name, value in arrays.items()}
    tables = [
        {k: v.tolist() for k, v in t.items()}
        for t in (training, read_table(folder / "validation.csv"))
    ]
    return found.iteration, bits, tables


def test_a_run(index, tmp_path):
    learner, outcome = trained(settings_of(index, tmp_path / "run"))
    assert outcome == (8, None)
    assert [(i, first) for i, first, _ in learner.seen] == [
        (i, first) for i in range(8) for first in (0, 2)
    ]
    assert learner.rates == [0.01] * 6 + [0.001] * 2
    assert learner.precise == [2, 2, 2]  # one iteration of two devices, after 3, 6 and 8
    training = read_table(tmp_path / "run" / "training.csv")
    assert training["iteration"].tolist() == list(range(1, 9))
    assert training["rate"].tolist() == learner.rates
    assert set(np.round(training["error"] * 4)) <= {0, 1, 2, 3, 4}
    validation = read_table(tmp_path / "run" / "validation.csv")
    assert validation["iteration"].tolist() == [3, 6, 8]
    found = newest_checkpoint(tmp_path / "run" / "checkpoints")
    assert (found.iteration, found.evaluated, found.seed) == (8, True, 3)
    assert np.array_equal(found.state.weights["fc.weight"], learner.weights["fc.weight"])


def test_the_validation_error_is_that_of_the_scores(index, tmp_path):
    learner, _ = trained(settings_of(index, tmp_path / "run"))
    from nlcore.video.loading import ValidationClips

    clips = ValidationClips(index, small_recipe(), 3)
    wrong, loss = 0, 0.0
    for number in range(5):
        clip = clips.load(number)
        score = learner.scores(clip.pixels[None])[0]
        wrong += int(score.argmax() != clip.target)
        loss -= np.log(score[clip.target]) / 5
    row = {k: v[-1] for k, v in read_table(tmp_path / "run" / "validation.csv").items()}
    assert row["error"] == wrong / 5 and abs(row["loss"] - loss) < 1e-12
    assert row["top5_error"] == 0


class Killed(BaseException):
    pass


def killed(learner, iteration):
    def kill():
        raise Killed

    learner.after[iteration] = kill
    return learner


@pytest.mark.parametrize("at", [0, 2, 3, 4, 7])
def test_a_killed_run_goes_on_with_the_same_bits(index, tmp_path, at):
    trained(settings_of(index, tmp_path / "whole"))
    settings = settings_of(index, tmp_path / "killed")
    with pytest.raises(Killed):
        trained(settings, killed(ToyLearner(settings.recipe, 3), at))
    _, outcome = trained(replace(settings, resume=True))
    assert outcome == (8, None)
    assert results_of(tmp_path / "killed") == results_of(tmp_path / "whole")


@pytest.mark.parametrize("at", [0, 2, 4, 5, 7])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_a_checkpoint(index, tmp_path, at, number):
    trained(settings_of(index, tmp_path / "whole"))
    settings = settings_of(index, tmp_path / "stopped")
    learner, reporter = ToyLearner(settings.recipe, 3), Remembered()
    learner.after[at] = lambda: os.kill(os.getpid(), number)
    before = signal.getsignal(number)
    _, outcome = trained(settings, learner, reporter)
    assert signal.getsignal(number) is before
    name = signal.Signals(number).name
    assert outcome == (at + 1, name)
    said = f"stopped by {name} after iteration {at + 1}; --resume goes on"
    assert reporter.said[-1] == said
    assert newest_checkpoint(tmp_path / "stopped" / "checkpoints").iteration == at + 1
    resumed = Remembered()
    trained(replace(settings, resume=True), reporter=resumed)
    assert resumed.said[0] == f"resumed after iteration {at + 1}"
    assert reporter.validated + resumed.validated == [3, 6, 8]
    assert results_of(tmp_path / "stopped") == results_of(tmp_path / "whole")


def test_a_finished_run_stays(index, tmp_path):
    settings = settings_of(index, tmp_path / "run")
    trained(settings)
    before = results_of(tmp_path / "run")
    learner, outcome = trained(replace(settings, resume=True))
    assert outcome == (8, None) and not learner.seen
    assert results_of(tmp_path / "run") == before


def test_a_loss_that_is_not_finite(index, tmp_path):
    settings = settings_of(index, tmp_path / "run")
    learner = ToyLearner(settings.recipe, 3)
    learner.loss[4] = float("nan")
    with pytest.raises(NotFinite) as stopped:
        trained(settings, learner)
    videos = [number for i, _, numbers in learner.seen for number in numbers if i == 4]
    paths = ", ".join(str(index.root / index.videos[number].path) for number in videos)
    last = tmp_path / "run" / "checkpoints" / "iteration-00000003"
    assert str(stopped.value) == (
        f"the loss of iteration 4, at the learning rate {settings.recipe.learning_rate(4):g}, must "
        f"be finite; received nan of {paths}. "
        f"The last checkpoint is {last}"
    )
    assert len(learner.rates) == 4  # iteration 4 did not change the weights


@pytest.mark.parametrize("validated", [True, False])
def test_weights_that_are_not_finite_are_not_written(index, tmp_path, validated):
    settings = settings_of(index, tmp_path / "run", validation=index if validated else None)
    learner = ToyLearner(settings.recipe, 3)
    learner.after[5] = lambda: learner.gradient.fill(np.nan)
    message = "received NaN or inf after iteration 6. The" if validated else "such as 'fc.weight'"
    with pytest.raises(ValueError, match=re.escape(message)):
        trained(settings, learner)
    assert newest_checkpoint(tmp_path / "run" / "checkpoints").iteration == 3


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "must have .* bytes"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: os.utime(path, ns=(1, 1)), "has changed since it was indexed"),
    ],
    ids=["truncated", "missing", "changed"],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_videos_that_changed_after_they_were_indexed(tmp_path, damage, reason, workers):
    films = tmp_path / "films"
    films.mkdir()
    index = small_index(films, videos=4)
    settings = settings_of(index, tmp_path / "run", validation=None, workers=workers)
    path = films / "2-coffee.mp4"
    damage(path)
    with pytest.raises(ValueError, match=reason):
        read_index(films / "index.jsonl")  # a command notices it at once
    with pytest.raises(LoadingError, match=rf"^iteration 0, slot \d: {path}: .*{reason}"):
        trained(settings)


def test_a_damaged_video_of_the_same_size(tmp_path):
    index = small_index(tmp_path, videos=4)
    path = tmp_path / "2-coffee.mp4"
    state, content = path.stat(), path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + b"\0" * (len(content) - middle))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(LoadingError, match=rf"^iteration 0, slot \d: {path}: "):
        trained(settings_of(index, tmp_path / "run", validation=None))


def test_a_clip_that_the_dialect_refuses(index, tmp_path):
    """VC-2.9: at 1 frame a second, a clip of 2 x 1 frames at 30 a second shows none."""
    slow = replace(index, videos=tuple(replace(v, fps=1.0) for v in index.videos))
    recipe = small_recipe(sampling="pytorchvideo", frames=2, stride=1)
    with pytest.raises(LoadingError, match=r"^iteration \d, slot \d: .*: a clip must show a frame"):
        trained(settings_of(slow, tmp_path / "run", recipe=recipe, validation=None))


def test_labels_are_checked_before_the_training(index, tmp_path):
    recipe = small_recipe(network={"classes": 3})
    with pytest.raises(ValueError, match=r"3-rocket\.mp4 must have labels from 0 to 2"):
        trained(settings_of(index, tmp_path / "run", recipe=recipe))
    assert not (tmp_path / "run").exists()


def test_a_smaller_last_batch(index, tmp_path):
    schedule = {"iterations": None, "epochs": 2, "steps": (1,), "batch": 4, "last_batch": "kept"}
    settings = settings_of(index, tmp_path / "run", recipe=small_recipe(**schedule), every=2)
    learner, outcome = trained(settings)
    assert outcome.iteration == 4
    for epoch in range(2):
        numbers = [n for i, _, videos in learner.seen for n in videos if i // 2 == epoch and i < 4]
        assert sorted(numbers) == [0, 1, 2, 3, 4]
    assert [len(v) for i, _, v in learner.seen if i == 1] == [1]


def test_several_labels(index, tmp_path):
    recipe = small_recipe(loss="sigmoid_cross_entropy")
    trained(settings_of(index, tmp_path / "run", recipe=recipe))
    validation = read_table(tmp_path / "run" / "validation.csv")
    assert list(validation) == ["iteration", "loss", "mean_average_precision"]
    assert np.isnan(read_table(tmp_path / "run" / "training.csv")["error"]).all()
