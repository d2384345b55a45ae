"""What both trainers are given: each published recipe, reduced, in float64."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import NamedTuple

import numpy as np

from nlcore.video import RECIPES, Recipe
from nlcore.video.initial_weights import initial_network_weights
from nlcore.video.loading import Batch
from nlcore.video.running.learner import LearnerState

#: Clips of an iteration, each on a device of its own, so that gradients of two batches are added.
CLIPS = 2
#: Pixels of a clip along height and width, and of res5's output, the window of heads that have one.
PIXELS, SIDE = 48, 2


class Problem(NamedTuple):
    """What both trainers are given.

    Attributes
    ----------
    recipe : Recipe
    state : LearnerState
        float64.
    batches : list of Batch
        float64.
    rate : float
    """

    recipe: Recipe
    state: LearnerState
    batches: list[Batch]
    rate: float


def problem(name: str) -> Problem:
    """The problem of a published recipe, with the statistics of its clips.

    So activations neither grow nor fade, and rounding errors neither.
    """
    import torch
    from networks import calibrate

    from nlcore_torch.video.network import Network

    given = drawn_problem(name)
    network = Network(given.recipe.network, dtype=torch.float64)
    network.import_weights(given.state.weights)
    clips = np.concatenate([batch.pixels for batch in given.batches])
    calibrate(network, torch.from_numpy(clips))
    return given._replace(state=given.state._replace(weights=network.export_weights()))


def drawn_problem(name: str) -> Problem:
    """The problem before. It is the same in each process."""
    known = RECIPES[name]
    recipe = replace(
        known,
        network=replace(known.network, width=2, classes=5, dropout=0.0, head_window=SIDE),
        batch_norm="affine" if known.batch_norm == "affine" else "fixed_statistics",
        precise_statistics=0,
        batch=CLIPS,
        clips_per_device=1,
    )
    rng = np.random.default_rng(sorted(RECIPES).index(name))
    weights = initial_network_weights(recipe.network, 0, block_identity=False)
    state = LearnerState({n: _drawn(n, w, rng) for n, w in weights.items()}, {}, {})
    if recipe.momentum:
        for group in recipe.groups(weights).values():
            for weight in group:
                state.momentum[weight] = 1e-2 * rng.normal(size=weights[weight].shape)
    windows = any(block.window for block in recipe.network.blocks.values())  # of 4 frames in res3
    frames = 4 * prod(recipe.network.temporal_strides) if windows else 8
    batches = []
    for slot in range(CLIPS):
        pixels = rng.normal(size=(1, 3, frames, PIXELS, PIXELS))
        several = recipe.loss == "sigmoid_cross_entropy"
        targets = (
            rng.integers(0, 2, (1, 5)).astype(np.float64) if several else rng.integers(0, 5, 1)
        )
        batches.append(Batch(0, slot, np.array([slot]), pixels, targets))
    videos = known.stated_videos
    rate = recipe.learning_rate(recipe.total_iterations(videos) // 2, videos)
    return Problem(recipe, state, batches, rate)


def _drawn(name: str, weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A weight with no special value: none is 0 or 1. Branches are smaller than what they join."""
    value = weight.astype(np.float64)
    if name.endswith(("bn3.weight", "non_local.bn.weight")):
        return rng.uniform(0.1, 0.3, value.shape)
    if weight.ndim > 1:
        return value * rng.uniform(0.5, 1.5, value.shape)
    if name.endswith(("running_var", "weight")):
        return rng.uniform(0.5, 1.5, value.shape)
    return rng.normal(size=value.shape) / 4
