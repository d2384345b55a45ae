"""One training: its start, its run by nlcore's trainer, and its results as a JSON file."""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from nlcore.checkpoints.starting_weights import read_source, starting_weights
from nlcore.video import Recipe
from nlcore.video.labels import Index
from nlcore.video.running import RunSettings, run_training
from nlcore.video.running.metric_tables import read_table
from nlcore.video.running.video_task import metrics_of_scores, targets_of
from nlcore.video.running.view_scoring import EvaluationSettings, run_evaluation
from nlcore_torch.video.learner import TorchLearner
from what_blocks_learn.configurations import BY_NAME, STILL, first_recipe
from what_blocks_learn.film_files import DecodedIndex, decoded_index, groups_of, index_file
from what_blocks_learn.film_tasks import TASKS
from what_blocks_learn.pictures_used import SPLITS

#: Times that a run validates.
POINTS = 5
#: Views that are computed at once in the evaluation.
VIEWS = 50


@dataclass(frozen=True)
class Training:
    """A task, a configuration and a seed. The seed is of clips and of new weights."""

    task: str
    configuration: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.task}-{self.configuration}-{self.seed}"

    @property
    def recipe(self) -> Recipe:
        if self.task == STILL:
            return first_recipe()
        return BY_NAME[self.configuration].recipe(self.task)


@dataclass(frozen=True)
class Place:
    """The folder of the study: its films, its results, and the runs while they last."""

    folder: Path

    @property
    def films(self) -> Path:
        return self.folder / "films"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def result(self, training: Training) -> Path:
        """The file of results. A training whose file is there is done."""
        return self.results / f"{training.name}.json"

    def run(self, training: Training) -> Path:
        return self.folder / "runs" / training.name

    def start(self, seed: int) -> Path:
        """Weights of the first network, by torchvision's names, without the axis of time."""
        return self.folder / "starts" / f"{seed}.safetensors"

    def weights(self, training: Training) -> Path:
        """Trained weights by nlcore's names."""
        return self.folder / "weights" / f"{training.name}.safetensors"


def carry_out(place: Place, training: Training) -> dict[str, Any]:
    """Train, evaluate and write the results and the weights, unless a signal stops it."""
    run, start = place.run(training), None if training.task == STILL else place.start(training.seed)
    shutil.rmtree(run, ignore_errors=True)
    both = indices(place.films, training.task)
    result, weights = trained(training.recipe, *both, run, training.seed, start)
    result = {**vars(training), **result}
    place.weights(training).parent.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(weights, place.weights(training))
    if training.task == STILL:
        write_start(place.start(training.seed), weights)
    write_result(place.result(training), result)
    shutil.rmtree(run)
    return result


def trained(
    recipe: Recipe,
    index: Index,
    validation: Index,
    run: Path,
    seed: int,
    start: Path | None = None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The results of a training in a new folder `run`, and the weights by nlcore's names.

    It is what `nlcore-video train` and `evaluate` do, in one process and without TensorBoard.

    Raises
    ------
    KeyboardInterrupt
        A signal has stopped the training.
    """
    began = time.process_time()
    learner = TorchLearner(recipe, seed)
    every = -(-recipe.total_iterations(len(index)) // POINTS)
    settings = RunSettings(recipe, index, run, validation, seed, every=every, keep=1)

    def initial() -> tuple[dict[str, np.ndarray], str]:
        return starting_weights(recipe, seed, None if start is None else read_source(start))

    if run_training(settings, learner, initial).stopped:
        raise KeyboardInterrupt
    tested = EvaluationSettings(recipe, validation, run / "evaluation", batch=VIEWS)
    found = run_evaluation(tested, learner)
    assert found is not None  # there is one process
    scores, targets = found.merged(recipe.merge), targets_of(validation, recipe)
    right = scores.argmax(1) == targets
    result = {
        **metrics_of_scores(scores, targets, recipe),
        "films": len(right),
        "right": int(right.sum()),
        **groups_right(right, groups_of(validation)),
        "seconds": time.process_time() - began,
        "training": _columns(run / "training.csv", ("loss", "error")),
        "validation": _columns(run / "validation.csv", ("iteration", "loss", "error")),
    }
    return result, learner.state().weights


def groups_right(right: np.ndarray, groups: np.ndarray) -> dict[str, int]:
    """The number of groups, and of those whose films are all right."""
    numbers = np.unique(groups)
    solved = sum(bool(right[groups == number].all()) for number in numbers)
    return {"groups": len(numbers), "groups_right": solved}


def write_start(path: Path, weights: dict[str, np.ndarray]) -> None:
    """Write C2D's weights as those of a 2-D ResNet by torchvision's names."""
    flat = {}
    for name, value in weights.items():
        name = re.sub(r"^res(\d)", lambda m: f"layer{int(m[1]) - 1}", name)
        name = name.replace("shortcut_bn", "downsample.1").replace("shortcut", "downsample.0")
        flat[name] = np.ascontiguousarray(value[:, :, 0] if value.ndim == 5 else value)
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(flat, path)


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Write aside, then rename: a file is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(result), encoding="utf-8")
    aside.replace(path)


@lru_cache(maxsize=1)
def indices(films: Path, task: str) -> tuple[DecodedIndex, DecodedIndex]:
    """The two indices of a task. Their films are decoded once in a process."""
    training, validation = (decoded_index(index_file(films, TASKS[task], s)) for s in SPLITS)
    return training, validation


def _columns(table: Path, names: tuple[str, ...]) -> dict[str, list[float]]:
    return {name: [round(v, 5) for v in read_table(table)[name].tolist()] for name in names}
