"""The loop of a training, for every framework."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np

from nlcore.video.loading.batches import (
    TRAINING,
    VALIDATION,
    Batch,
    assigned_slots,
    training_batches,
    validation_batches,
)
from nlcore.video.loading.clip_sources import TrainingClips, ValidationClips
from nlcore.video.loading.targets import one_label
from nlcore.video.loading.worker_pool import Workers
from nlcore.video.running.checkpoint_files import Checkpoint, checkpoints_in, write_checkpoint
from nlcore.video.running.learner import Learner, LearnerState
from nlcore.video.running.reporting import Reporter
from nlcore.video.running.run_folder import RunFolder, index_digest
from nlcore.video.running.run_settings import RunSettings
from nlcore.video.running.stopping import Stopping
from nlcore.video.running.validation_metrics import metrics_of_scores, targets_of


class NotFinite(ValueError):
    """The loss is not finite. The message names the iteration, the videos and the checkpoint."""


class Outcome(NamedTuple):
    """How a call of `run_training` ended.

    Attributes
    ----------
    iteration : int
        Number of iterations that are done.
    stopped : str or None
        The signal that stopped it before the end.
    """

    iteration: int
    stopped: str | None


def run_training(
    settings: RunSettings,
    learner: Learner,
    initial: Callable[[], tuple[dict[str, np.ndarray], str]],
    reporters: Sequence[Reporter] = (),
    facts: dict[str, Any] | None = None,
) -> Outcome:
    """Train, and write checkpoints and metrics into the folder of the run.

    Every process calls it. The first one writes.

    Parameters
    ----------
    settings : RunSettings
    learner : Learner
        Of a backend.
    initial : function
        Returns the initial weights by name, and a report of where they come from. It is called
        unless the run is resumed.
    reporters : sequence of Reporter
    facts : dict, optional
        What checkpoints store of the software.

    Raises
    ------
    LoadingError
        A clip cannot be loaded.
    NotFinite
        The loss is not finite.
    ValueError, OSError
        The settings are wrong, see `RunFolder.begin`, or a file cannot be written.
    """
    return _Run(settings, learner, reporters, facts or {}).run(initial)


class _Run:
    """The state of the loop."""

    def __init__(
        self,
        settings: RunSettings,
        learner: Learner,
        reporters: Sequence[Reporter],
        facts: dict[str, Any],
    ) -> None:
        self.settings, self.learner, self.facts = settings, learner, facts
        self.recipe, self.folder = settings.recipe, RunFolder(settings.output)
        self.writes = learner.process == 0
        self.reporters = reporters if self.writes else ()
        self.clips = TrainingClips(settings.index, self.recipe, settings.seed)
        assigned_slots(self.recipe, self.recipe.batch, learner.process, learner.processes)
        self.digest = index_digest(settings.index)
        self.sources: dict[str, Any] = {TRAINING: self.clips}
        if settings.validation is not None:
            self.sources[VALIDATION] = ValidationClips(
                settings.validation, self.recipe, settings.seed
            )
            self.targets = targets_of(settings.validation, self.recipe)
        self.done, self.evaluated = 0, False

    def run(self, initial: Callable[[], tuple[dict[str, np.ndarray], str]]) -> Outcome:
        settings = self.settings
        self.begin(initial)
        ahead = 2 * self.recipe.batch // self.learner.processes
        with Stopping() as stopping, Workers(self.sources, settings.workers, ahead) as workers:
            while True:
                if settings.is_point(self.done) and not self.evaluated:
                    self.evaluate(workers)
                    self.save()
                if self.done == settings.total:
                    return Outcome(self.done, None)
                if self.steps(workers, stopping):
                    if not settings.is_point(self.done) or not self.evaluated:
                        self.save()
                    stopped = stopping.received or "a signal to another process"
                    self.say(f"stopped by {stopped} after iteration {self.done}; --resume goes on")
                    return Outcome(self.done, stopped)

    def begin(self, initial: Callable[[], tuple[dict[str, np.ndarray], str]]) -> None:
        """Load the newest checkpoint, or the initial weights."""
        found = self.folder.begin(self.settings, self.digest, self.writes, self.say)
        if found is None:
            weights, report = initial()
            self.learner.load(LearnerState(weights, {}, {}))
            self.say(report)
            return
        self.learner.load(found.state)
        self.done, self.evaluated = found.iteration, found.evaluated
        self.say(f"resumed after iteration {self.done}")

    def steps(self, workers: Workers, stopping: Stopping) -> bool:
        """Train until the next point. Returns whether a signal has stopped it."""
        until = self.settings.next_point(self.done)
        place = (self.learner.process, self.learner.processes)
        planned = range(self.done, until)
        began = time.monotonic()
        with closing(training_batches(workers, self.clips, planned, *place)) as stream:
            for iteration, batches in stream:
                stop = self.step(iteration, batches, stopping, began)
                began = time.monotonic()
                if stop:
                    return True
        return False

    def step(
        self, iteration: int, batches: Iterator[Batch], stopping: Stopping, began: float
    ) -> bool:
        """One iteration. Returns whether a signal was received in any process."""
        seen: list[int] = []
        clips = self.clips.count(iteration)
        loss, right = self.learner.gradients(_remembered(batches, seen), clips)
        stop = float(stopping.received is not None)
        total, right_clips, stops = self.learner.summed(np.array([loss, right, stop]))
        if not math.isfinite(total):
            raise NotFinite(self._not_finite(iteration, seen, loss, float(total)))
        rate = self.recipe.learning_rate(iteration, len(self.settings.index))
        self.learner.update(rate)
        self.done, self.evaluated = iteration + 1, False
        error = 1.0 - right_clips / clips if one_label(self.recipe) else math.nan
        row = {"rate": rate, "loss": float(total), "error": float(error)}
        row["seconds"] = time.monotonic() - began
        if self.writes:
            self.folder.training.append(self.done, row)
        for reporter in self.reporters:
            reporter.training(self.done, row, clips)
        return bool(stops)

    def evaluate(self, workers: Workers) -> None:
        """Compute the statistics of batch normalization, and classify the validation videos."""
        place = (self.learner.process, self.learner.processes)
        ahead = range(self.done, self.done + self.recipe.precise_statistics)
        self.learner.statistics(
            batch
            for _, batches in training_batches(workers, self.clips, ahead, *place)
            for batch in batches
        )
        self.evaluated = True
        index = self.settings.validation
        if index is None:
            return
        scores = np.zeros((len(index), self.recipe.network.classes))
        size = self.recipe.clips_per_device
        for batch in validation_batches(workers, len(index), size, *place):
            scores[batch.videos] = self.learner.scores(batch.pixels)
        scores = self.learner.summed(scores)
        if not np.isfinite(scores).all():
            raise NotFinite(
                f"the scores of the validation videos must be finite; received others after "
                f"iteration {self.done}. The last checkpoint is {self._last()}"
            )
        found = metrics_of_scores(scores, self.targets, self.recipe)
        if self.writes:
            self.folder.validation(self.recipe).append(self.done, found)
        for reporter in self.reporters:
            reporter.validation(self.done, found)

    def save(self) -> None:
        if self.writes:
            write_checkpoint(self.folder.checkpoints, self.checkpoint(), self.settings.keep)

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(
            self.done,
            self.recipe,
            self.settings.seed,
            self.learner.state(),
            self.digest,
            self.evaluated,
            {**self.facts, "processes": self.learner.processes},
        )

    def say(self, message: str) -> None:
        for reporter in self.reporters:
            reporter.say(message)

    def _not_finite(self, iteration: int, seen: Sequence[int], loss: float, total: float) -> str:
        index = self.settings.index
        paths = ", ".join(str(index.root / index.videos[number].path) for number in seen)
        where = f"of {paths}" if not math.isfinite(loss) else "of clips of another process"
        return (
            f"the loss of iteration {iteration} must be finite; received {total} {where}. The last "
            f"checkpoint is {self._last()}"
        )

    def _last(self) -> str:
        """The newest checkpoint."""
        return str((["none", *checkpoints_in(self.folder.checkpoints)])[-1])


def _remembered(batches: Iterable[Batch], seen: list[int]) -> Iterator[Batch]:
    """The batches, whose videos are added to a list."""
    for batch in batches:
        seen += batch.videos.tolist()
        yield batch
