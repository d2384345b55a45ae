"""A training step by nlcore's loop and by hand: the same network, clips and optimizer.

The loop reads clips that are decoded already, so that it is compared without the loader. All else
is as in a training: draws, batches, the check of each video's file, metrics in a file, a bar.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nlcore.video import Recipe, recipe
from nlcore.video.labels import Index
from nlcore.video.running import RunSettings, run_training
from nlcore.video.running.reporting import TerminalReporter
from nlcore_torch.video.learner import TorchLearner
from nlcore_torch.video.network import Network

#: Name -> fields of a recipe: the size of examples/recognition, and a network of full width.
SIZES: dict[str, dict[str, Any]] = {
    "width 8, 16 x 8 x 64 x 64": {
        "network": {"width": 8, "temporal_strides": [1, 1, 2]},
        **{"batch": 16, "clips_per_device": 16, "frames": 8, "jitter": (64, 72), "crop": 64},
    },
    "width 64, 2 x 8 x 112 x 112": {
        "network": {"temporal_strides": [1, 1, 2]},
        **{"batch": 2, "clips_per_device": 2, "frames": 8, "jitter": (112, 128), "crop": 112},
    },
}


class StoredIndex(Index):
    """An index whose videos are in memory: every frame is the same, and already resized."""

    def read(self, number: int, indices: Sequence[int], **more: Any) -> np.ndarray:
        (view,) = more["each"].views
        return _stored(view.output, len(indices))


_PIXELS: dict[tuple[int, ...], np.ndarray] = {}


def _stored(size: tuple[int, int], frames: int) -> np.ndarray:
    shape = (1, 3, frames, *size)  # of one view
    if shape not in _PIXELS:
        _PIXELS[shape] = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return _PIXELS[shape]


class Alternate:
    """A reporter that makes a step by hand after each iteration of the loop, and times both."""

    def __init__(self, step: Callable[[], object]) -> None:
        self._step, self._began = step, 0.0
        self.seconds: dict[str, list[float]] = {"loop": [], "by hand": []}

    def training(self, iteration: int, values: Mapping[str, float], clips: int) -> None:
        ended = time.perf_counter()
        self._step()
        before, self._began = self._began, time.perf_counter()
        if before:  # the first iteration waits until all has begun
            self.seconds["loop"].append(ended - before)
            self.seconds["by hand"].append(self._began - ended)

    def validation(self, iteration: int, values: Mapping[str, float]) -> None:
        pass

    def say(self, message: str) -> None:
        pass


def steps(index: Index, size: str, count: int) -> dict[str, list[float]]:
    """Seconds of `count` steps of each, one after the other."""
    known = _recipe(index, size, count + 1)
    learner, alternate = TorchLearner(known), Alternate(by_hand(known))
    weights = learner.state().weights
    stored = StoredIndex(*(getattr(index, field.name) for field in fields(Index)))
    with tempfile.TemporaryDirectory() as folder, TerminalReporter(count + 1) as bar:
        settings = RunSettings(known, stored, Path(folder), every=count + 1)
        run_training(settings, learner, lambda: (weights, ""), (bar, alternate))
    return alternate.seconds


def _recipe(index: Index, size: str, iterations: int) -> Recipe:
    """As the paper trains, with every weight new and no checkpoint but the last."""
    changes = SIZES[size]
    return recipe(
        "paper",
        **{
            **changes,
            "network": {**changes["network"], "classes": len(index.names)},
            **{"iterations": iterations, "steps": (), "factors": (1.0,)},
            **{"initial": "random", "precise_statistics": 0},
        },
    )


def by_hand(known: Recipe) -> Callable[[], object]:
    """A step as a script writes it, on one batch that is in memory."""
    network = Network(known.network).train()
    optimizer = torch.optim.SGD(
        network.parameters(), known.base_rate, momentum=0.9, weight_decay=1e-4, nesterov=True
    )
    clips = torch.randn(known.batch, 3, known.frames, known.crop, known.crop)
    labels = torch.arange(known.batch) % known.network.classes

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(clips), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
