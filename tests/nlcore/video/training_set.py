"""A small set of films, a small recipe, and a learner without a framework."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from films import pictures, write_film

from nlcore.video import Recipe, network_weight_shapes, recipe
from nlcore.video.draws import framework_seed
from nlcore.video.labels import Index, Source, make_index, read_index, read_list
from nlcore.video.running.learner import LearnerState

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "astronaut")


def small_index(folder: Path, videos: int = 5) -> Index:
    """Films of 20 frames and more, of 48 x 64 pixels, with the labels 0, 1, 2, 3, 0."""
    names = [f"{n}-{PHOTOGRAPHS[n]}.mp4" for n in range(videos)]
    for n, name in enumerate(names):
        frames = pictures(20 + n, photograph=PHOTOGRAPHS[n])
        write_film(folder / name, frames, options={"g": "6"})
    lines = [f"{name} {n % 4}" for n, name in enumerate(names)]
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    listing = read_list("slowfast", Source(folder / "list.csv", classes=4))
    make_index(listing, folder / "index.jsonl", "slowfast", workers=0)
    return read_index(folder / "index.jsonl")


def small_recipe(**fields: Any) -> Recipe:
    """A recipe for `small_index`: 8 iterations of 4 clips, on 2 devices, from random weights."""
    network = {"width": 2, "classes": 4, "non_local": ["res3.1"], **fields.pop("network", {})}
    known = recipe(
        "paper",
        **{
            "network": network,
            "frames": 4,
            "jitter": (36, 48),
            "crop": 32,
            "batch": 4,
            "clips_per_device": 2,
            "iterations": 8,
            "steps": (6,),
            "factors": (1.0, 0.1),
            "initial": "random",
            "precise_statistics": 1,
            "test_clips": 2,
            "test_short_side": 40,
            **fields,
        },
    )
    return replace(known, name="small")


class ToyLearner:
    """A Learner in NumPy. Its weights are those of the recipe's network, of which it trains fc.

    Logits are fc of the mean of each colour. The gradient has noise of the dropout's seed.
    """

    def __init__(self, recipe: Recipe, seed: int = 0, process: int = 0, processes: int = 1) -> None:
        self.recipe, self.seed, self.process, self.processes = recipe, seed, process, processes
        self.seen: list[tuple[int, int, tuple[int, ...]]] = []
        self.rates: list[float] = []
        self.precise: list[int] = []
        self.loss: dict[int, float] = {}  # iteration -> a loss in the place of its own
        self.after: dict[int, Any] = {}  # iteration -> a function to call

    def load(self, state: LearnerState) -> None:
        shapes = network_weight_shapes(self.recipe.network)
        self.weights = {n: np.array(state.weights[n], np.float32) for n in shapes}
        self.momentum = {n: np.array(value) for n, value in state.momentum.items()}
        self.extra = dict(state.extra)
        self.gradient = np.zeros_like(self.weights["fc.weight"])

    def state(self) -> LearnerState:
        copies = {n: value.copy() for n, value in self.weights.items()}
        return LearnerState(copies, {n: v.copy() for n, v in self.momentum.items()}, self.extra)

    def _probabilities(self, pixels: np.ndarray) -> np.ndarray:
        weight = self.weights["fc.weight"]
        colours = pixels.mean((2, 3, 4))  # (B, 3)
        logits = (colours[:, None] * weight[:, :3].astype(np.float64)).sum(2)  # (B, classes)
        raised = np.exp(logits - logits.max(1, keepdims=True))
        return raised / raised.sum(1, keepdims=True)

    def gradients(self, batches, clips: int) -> tuple[float, int]:
        loss, right = 0.0, 0
        for batch in batches:
            self.seen.append((batch.iteration, batch.first, tuple(batch.videos.tolist())))
            found = self._probabilities(batch.pixels)
            if batch.targets.ndim == 1:
                right += int((found.argmax(1) == batch.targets).sum())
                own = found[np.arange(len(found)), batch.targets]
            else:
                own = np.where(batch.targets, found, 1 - found)
            loss += self.loss.get(batch.iteration, -np.log(own).sum() / clips)
            noise = np.random.default_rng(
                framework_seed(self.seed, batch.iteration, batch.first)
            ).normal(size=self.gradient.shape)
            self.gradient += (noise * batch.pixels.mean() / clips).astype(np.float32)
            self.after.pop(batch.iteration, lambda: None)()
        return loss, right

    def update(self, rate: float) -> None:
        self.rates.append(rate)
        before = self.momentum.get("fc.weight", np.zeros_like(self.gradient))
        self.momentum["fc.weight"] = np.float32(0.9) * before + self.gradient
        self.weights["fc.weight"] -= np.float32(rate) * self.momentum["fc.weight"]
        self.gradient = np.zeros_like(self.gradient)

    def statistics(self, batches) -> None:
        self.precise.append(len(list(batches)))

    def scores(self, pixels: np.ndarray) -> np.ndarray:
        return self._probabilities(pixels)

    def summed(self, values: np.ndarray) -> np.ndarray:
        return values
