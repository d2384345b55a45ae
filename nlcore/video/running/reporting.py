"""The events of a training, and who receives them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol


class Reporter(Protocol):
    """Receives the events of a run. Each method may be empty."""

    def training(self, iteration: int, values: Mapping[str, float], clips: int) -> None:
        """An iteration of this number of clips is done."""

    def validation(self, iteration: int, values: Mapping[str, float]) -> None:
        """The validation videos are classified."""

    def say(self, message: str) -> None:
        """A line for people."""


class TerminalReporter:
    """A bar with the remaining time and clips a second, and a line for each validation.

    Where the output is no terminal, there is no bar, and a line every `SECONDS`.
    """

    SECONDS = 60.0

    def __init__(self, total: int, elements: str = "clips") -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._console, self._elements = Console(stderr=True), elements
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[what]}"),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task("training", total=total, what="")
        self._stack = ExitStack()
        self._clips, self._began, self._told = 0, time.monotonic(), time.monotonic()

    def __enter__(self) -> TerminalReporter:
        if self._console.is_terminal:
            self._stack.enter_context(self._bar)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def training(self, iteration: int, values: Mapping[str, float], clips: int) -> None:
        self._clips += clips
        now = time.monotonic()
        speed = self._clips / max(now - self._began, 1e-9)
        what = f"loss {values['loss']:.3f}, {speed:.3g} {self._elements}/s"
        self._bar.update(self._task, completed=iteration, what=what)
        if not self._console.is_terminal and now - self._told > self.SECONDS:
            self._told = now
            self.say(f"iteration {iteration}: {what}")

    def validation(self, iteration: int, values: Mapping[str, float]) -> None:
        shown = ", ".join(f"{name.replace('_', ' ')} {v:.4g}" for name, v in values.items())
        self.say(f"iteration {iteration}: validation {shown}")

    def say(self, message: str) -> None:
        self._console.print(message, highlight=False, markup=False)


class TensorBoardReporter:
    """Writes every metric as a scalar: "training/loss", "validation/error", ..."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def training(self, iteration: int, values: Mapping[str, float], clips: int) -> None:
        self._write("training", iteration, values)

    def validation(self, iteration: int, values: Mapping[str, float]) -> None:
        self._write("validation", iteration, values)
        self._writer.flush()

    def say(self, message: str) -> None:
        pass

    def _write(self, kind: str, iteration: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{kind}/{name}", value, iteration)


@contextmanager
def tensorboard_log(run: Path, process: int = 0) -> Iterator[tuple[TensorBoardReporter, ...]]:
    """A reporter into `run`/tensorboard, or none without TensorBoard and in other processes."""
    if process or find_spec("tensorboard") is None:
        yield ()
        return
    from tensorboard.summary import DirectoryOutput, Writer

    with closing(Writer(DirectoryOutput(str(run / "tensorboard")))) as writer:
        yield (TensorBoardReporter(writer),)
