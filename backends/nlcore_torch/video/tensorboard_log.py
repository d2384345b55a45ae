"""Metrics for TensorBoard, if it is installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any


class TensorBoardReporter:
    """A `nlcore.video.running.reporting.Reporter` that writes scalars."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def training(self, iteration: int, values: Mapping[str, float], clips: int) -> None:
        self._write("training", iteration, values)

    def validation(self, iteration: int, values: Mapping[str, float]) -> None:
        self._write("validation", iteration, values)

    def say(self, message: str) -> None:
        pass

    def _write(self, kind: str, iteration: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{kind}/{name}", value, iteration)


@contextmanager
def tensorboard_log(run: Path, process: int) -> Iterator[tuple[TensorBoardReporter, ...]]:
    """A reporter into `run`/tensorboard, or none without TensorBoard and in other processes."""
    if process or find_spec("tensorboard") is None:
        yield ()
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(run / "tensorboard") as writer:
        yield (TensorBoardReporter(writer),)
