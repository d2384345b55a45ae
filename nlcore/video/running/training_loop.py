"""The loop of a training, for every framework."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np

from nlcore.video.loading.worker_pool import Workers
from nlcore.video.running.checkpoint_files import Checkpoint, checkpoints_in, write_checkpoint
from nlcore.video.running.learner import Learner, LearnerState
from nlcore.video.running.reporting import Reporter
from nlcore.video.running.run_folder import RunFolder
from nlcore.video.running.run_settings import AnySettings
from nlcore.video.running.stopping import Stopping


class NotFinite(ValueError):
    """The loss is not finite. The message names the iteration, the files and the checkpoint."""


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
    settings: AnySettings,
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
        Or other settings with a `Task`.
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
        settings: AnySettings,
        learner: Learner,
        reporters: Sequence[Reporter],
        facts: dict[str, Any],
    ) -> None:
        self.settings, self.learner, self.facts = settings, learner, facts
        self.task, self.folder = settings.task(), RunFolder(settings.output)
        self.place = (learner.process, learner.processes)
        self.writes = learner.process == 0
        self.reporters = reporters if self.writes else ()
        self.sources = self.task.sources
        self.task.check_processes(*self.place)
        self.digest = self.task.digest
        self.done, self.evaluated = 0, False

    def run(self, initial: Callable[[], tuple[dict[str, np.ndarray], str]]) -> Outcome:
        settings = self.settings
        self.begin(initial)
        ahead = 2 * self.task.recipe.batch // self.learner.processes
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
        planned = range(self.done, until)
        began = time.monotonic()
        with closing(self.task.batches(workers, planned, *self.place)) as stream:
            for iteration, batches in stream:
                stop = self.step(iteration, batches, stopping, began)
                began = time.monotonic()
                if stop:
                    return True
        return False

    def step(
        self, iteration: int, batches: Iterator[Any], stopping: Stopping, began: float
    ) -> bool:
        """One iteration. Returns whether a signal was received in any process."""
        count = self.task.count(iteration)
        loss, counted = self.learner.gradients(batches, count)
        stop = float(stopping.received is not None)
        total, *sums, stops = self.learner.summed(np.array([loss, *np.atleast_1d(counted), stop]))
        if not math.isfinite(total):
            raise NotFinite(self._not_finite(iteration, loss, float(total)))
        rate = self.task.rate(iteration)
        self.learner.update(rate)
        self.done, self.evaluated = iteration + 1, False
        row = {"rate": rate, **self.task.row(float(total), np.array(sums), count)}
        row["seconds"] = time.monotonic() - began
        if self.writes:
            self.folder.training_table(self.task.training_columns).append(self.done, row)
        for reporter in self.reporters:
            reporter.training(self.done, row, count)
        return bool(stops)

    def evaluate(self, workers: Workers) -> None:
        """Compute the statistics of batch normalization, and validate."""
        ahead = range(self.done, self.done + self.task.recipe.precise_statistics)
        self.learner.statistics(
            batch
            for _, batches in self.task.batches(workers, ahead, *self.place)
            for batch in batches
        )
        self.evaluated = True
        if not self.task.validates:
            return
        try:
            found = self.task.validated(workers, self.learner)
        except ArithmeticError as error:
            raise NotFinite(
                f"{error} after iteration {self.done}. The last checkpoint is {self._last()}"
            ) from None
        if self.writes:
            table = self.folder.validation_table(self.task.validation_columns)
            table.append(self.done, found)
        for reporter in self.reporters:
            reporter.validation(self.done, found)

    def save(self) -> None:
        if self.writes:
            keep, form = self.settings.keep, self.task.form
            write_checkpoint(self.folder.checkpoints, self.checkpoint(), keep, form)

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(
            self.done,
            self.task.recipe,
            self.settings.seed,
            self.learner.state(),
            self.digest,
            self.evaluated,
            {**self.facts, "processes": self.learner.processes},
        )

    def say(self, message: str) -> None:
        for reporter in self.reporters:
            reporter.say(message)

    def _not_finite(self, iteration: int, loss: float, total: float) -> str:
        where = f"of {self.task.form.elements} of another process"
        if not math.isfinite(loss):
            where = f"of {', '.join(map(str, self.task.files(iteration, *self.place)))}"
        rate = f"at the learning rate {self.task.rate(iteration):g}"
        return (
            f"the loss of iteration {iteration}, {rate}, must be finite; received {total} {where}. "
            f"The last checkpoint is {self._last()}"
        )

    def _last(self) -> str:
        """The newest checkpoint."""
        return str((["none", *checkpoints_in(self.folder.checkpoints)])[-1])
