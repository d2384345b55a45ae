"""Scores of all test views, computed by one or more processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from nlcore.spec import positive_int
from nlcore.video.labels.videos import Index
from nlcore.video.loading.clip_sources import EvaluationClips
from nlcore.video.loading.worker_pool import Workers
from nlcore.video.recipes.definition import Recipe
from nlcore.video.running.learner import Learner
from nlcore.video.views import ViewScores, assigned, read_scores

EVALUATION = "evaluation"


@dataclass(frozen=True)
class EvaluationSettings:
    """The settings of an evaluation.

    Attributes
    ----------
    recipe : Recipe
        It has the network and the test views.
    index : Index
    output : Path
        Folder of the results.
    workers : int
        Processes that load clips. 0 loads them in the process that computes.
    batch : int
        Largest number of views that are computed at once. Those of one batch have one size.
    """

    recipe: Recipe
    index: Index
    output: Path
    workers: int = 0
    batch: int = 1

    def __post_init__(self) -> None:
        positive_int("batch", self.batch)


def run_evaluation(
    settings: EvaluationSettings,
    learner: Learner,
    facts: dict[str, Any] | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> ViewScores | None:
    """The scores of all views. Every process calls it, and the first one returns them.

    Parameters
    ----------
    settings : EvaluationSettings
    learner : Learner
        With the weights.
    facts : dict, optional
        What the file of scores stores of the software.
    tell : function
        Called with how many views of this process are done, of how many.

    Raises
    ------
    LoadingError
        A view cannot be loaded.
    ValueError, OSError
        Scores are not finite, or cannot be written.
    """
    recipe, names = settings.recipe, [video.path for video in settings.index.videos]
    process, processes = learner.process, learner.processes
    clips = EvaluationClips(settings.index, recipe)
    scores = ViewScores(names, recipe.test_clips, recipe.test_crops, recipe.network.classes)
    own = assigned(len(names), recipe.views, process, processes).tolist()
    settings.output.mkdir(parents=True, exist_ok=True)
    ahead = -(-2 * settings.batch // recipe.test_crops)
    with Workers({EVALUATION: clips}, settings.workers, ahead) as workers:
        stream = workers.clips(EVALUATION, _crops_together(own, recipe.test_crops))
        views = (view for clip in stream for view in clip.pixels)
        done = 0
        for group in _of_one_size(views, settings.batch):
            found = learner.scores(np.stack(group))
            for row in found:
                video, view = own[done]
                scores.add(names[video], view, row)
                done += 1
            tell(done, len(own))
    if processes > 1:
        return _together(settings.output, scores, learner, facts or {})
    scores.save(settings.output / "scores.npz", facts)
    return scores


def _crops_together(views: list[list[int]], crops: int) -> Iterator[tuple[int, int, int]]:
    """(video, first view, end) of neighbouring views that are crops of one clip."""
    for (video, _), group in groupby(views, lambda pair: (pair[0], pair[1] // crops)):
        numbers = [view for _, view in group]
        yield video, numbers[0], numbers[-1] + 1


def _of_one_size(views: Iterable[np.ndarray], count: int) -> Iterator[list[np.ndarray]]:
    """Neighbouring views (3, T, h, w) of the same size, `count` or fewer at a time."""
    group: list[np.ndarray] = []
    for view in views:
        if group and (len(group) == count or group[0].shape != view.shape):
            yield group
            group = []
        group.append(view)
    if group:
        yield group


def _together(
    folder: Path, scores: ViewScores, learner: Learner, facts: dict[str, Any]
) -> ViewScores | None:
    """The scores of all processes, through a file of each."""
    files = [
        folder / f"scores-{process}-of-{learner.processes}.npz"
        for process in range(learner.processes)
    ]
    scores.save(files[learner.process], facts)
    learner.summed(np.zeros(1))  # until all files are written
    if learner.process:
        return None
    found, _ = read_scores(files)
    found.save(folder / "scores.npz", facts)
    for file in files:
        file.unlink()
    return found
